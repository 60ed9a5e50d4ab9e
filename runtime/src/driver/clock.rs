//! The two clocks of this machine, as the core wants them: the monotonic one never runs back.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use vivarium_core::time::{self, Now, WallMs};

/// Reads both clocks.
#[derive(Debug)]
pub(super) struct Clock {
    start: Instant,
    last: u64,
}

impl Clock {
    pub(super) fn start() -> Self {
        Self {
            start: Instant::now(),
            last: 0,
        }
    }

    /// The time now; not before any earlier answer.
    pub(super) fn read(&mut self) -> Now {
        let passed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last = self.last.max(passed);
        let wall = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => since.as_millis() as i64,
            Err(before) => -(before.duration().as_millis() as i64),
        };
        Now {
            mono: time::Instant(self.last),
            wall: WallMs(wall),
        }
    }

    /// The monotonic clock alone.
    pub(super) fn mono(&mut self) -> time::Instant {
        let passed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.last = self.last.max(passed);
        time::Instant(self.last)
    }

    /// The moment of a core instant, for timers.
    pub(super) fn at(&self, instant: time::Instant) -> Instant {
        self.start + std::time::Duration::from_nanos(instant.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_backwards() {
        let mut clock = Clock::start();
        let mut before = clock.read();
        for _ in 0..1_000 {
            let now = clock.read();
            assert!(now.mono >= before.mono);
            assert!(clock.mono() >= now.mono);
            before = now;
        }
        assert!(before.wall.0 > 1_600_000_000_000, "milliseconds since 1970");
    }
}
