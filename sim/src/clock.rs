//! One server's two clocks, derived from simulated time: each machine starts elsewhere and runs a
//! little fast or slow. Monotonic time never runs back; wall time may jump.

use vivarium_core::time::{Instant, Now, WallMs};

use crate::observe::SimTime;

/// Wall time at the start of every run: 2024-01-01 00:00:00 UTC.
const WALL_START_MS: i64 = 1_704_067_200_000;

/// The most that a clock may be off, in parts per million: far more than hardware does, far less
/// than what makes timeouts meaningless.
pub const DRIFT_PPM_MAX: i32 = 50_000;

const MILLION: i128 = 1_000_000;

/// A machine's clocks.
#[derive(Clone, Debug)]
pub struct Clock {
    /// Where the current rate began.
    since: SimTime,
    mono_then: u64,
    drift_ppm: i32,
    /// What wall time adds to monotonic time, in milliseconds.
    wall_offset: i64,
}

impl Clock {
    /// A clock that shows `mono` now and is `wall_off_ms` away from true wall time.
    pub fn new(now: SimTime, mono: u64, wall_off_ms: i64, drift_ppm: i32) -> Self {
        let elapsed_ms = (now.0 / 1_000_000) as i64;
        let wall_offset = WALL_START_MS + elapsed_ms + wall_off_ms - (mono / 1_000_000) as i64;
        let mut clock = Self {
            since: now,
            mono_then: mono,
            drift_ppm: 0,
            wall_offset,
        };
        clock.set_drift(now, drift_ppm);
        clock
    }

    fn mono(&self, t: SimTime) -> u64 {
        let passed = i128::from(t.0.saturating_sub(self.since.0));
        let shown = passed + passed * i128::from(self.drift_ppm) / MILLION;
        self.mono_then + shown as u64
    }

    /// What the machine reads off its clocks.
    pub fn read(&self, t: SimTime) -> Now {
        let mono = self.mono(t);
        let wall = (mono / 1_000_000) as i64 + self.wall_offset;
        Now {
            mono: Instant(mono),
            wall: WallMs(wall),
        }
    }

    /// The first moment at which the monotonic clock shows at least `reading`.
    pub fn when(&self, reading: Instant) -> SimTime {
        let left = i128::from(reading.0.saturating_sub(self.mono_then));
        let rate = MILLION + i128::from(self.drift_ppm);
        let mut at = self.since.0 + (left * MILLION / rate) as u64;
        while self.mono(SimTime(at)) < reading.0 {
            at += 1;
        }
        SimTime(at)
    }

    /// From `now` on the clock runs at this rate. Readings do not jump.
    pub fn set_drift(&mut self, now: SimTime, ppm: i32) {
        assert!(ppm.abs() <= DRIFT_PPM_MAX, "drift of {ppm} ppm is no clock");
        self.mono_then = self.mono(now);
        self.since = now;
        self.drift_ppm = ppm;
    }

    /// Somebody sets the wall clock.
    pub fn jump_wall(&mut self, ms: i64) {
        self.wall_offset += ms;
    }

    pub fn drift_ppm(&self) -> i32 {
        self.drift_ppm
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_back() {
        for ppm in [-50_000, -137, 0, 1, 333, 50_000] {
            let clock = Clock::new(SimTime(1_000), 77, 0, ppm);
            for reading in [77, 78, 1_000, 123_456_789, 3_600_000_000_007] {
                let at = clock.when(Instant(reading));
                assert!(clock.read(at).mono.0 >= reading, "{ppm} ppm, {reading}");
                let before = SimTime(at.0.saturating_sub(1).max(1_000));
                assert!(at.0 == 1_000 || clock.read(before).mono.0 < reading);
            }
        }
    }

    #[test]
    fn a_change_of_rate_does_not_jump() {
        let mut clock = Clock::new(SimTime::ZERO, 0, 5, 1_000);
        let t = SimTime::from_millis(10_000);
        let before = clock.read(t);
        assert_eq!(before.mono.0, 10_010_000_000);
        assert_eq!(before.wall.0, WALL_START_MS + 10_015);
        clock.set_drift(t, -1_000);
        assert_eq!(clock.read(t), before);
        clock.jump_wall(-20_000);
        assert_eq!(clock.read(t).wall.0, WALL_START_MS - 9_985);
        assert_eq!(clock.read(t).mono, before.mono);
    }
}
