//! Time as it comes in from the driver. The machine never asks for it.

use core::ops::{Add, Sub};
use core::time::Duration;

/// Monotonic time in nanoseconds since an arbitrary start.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(pub u64);

/// Wall clock in milliseconds since 1970; only reaches ctime, mtime and session ids.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WallMs(pub i64);

/// Both clocks at the moment of an input.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Now {
    pub mono: Instant,
    pub wall: WallMs,
}

/// When something was done last that must not be done often.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Seldom(Option<Instant>);

impl Seldom {
    /// May it be done again? Then it counts as done.
    pub fn admit(&mut self, now: Instant, interval: Duration) -> bool {
        let admitted = self.0.is_none_or(|last| now - last >= interval);
        if admitted {
            self.0 = Some(now);
        }
        admitted
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, d: Duration) -> Self {
        Self(self.0.saturating_add(d.as_nanos() as u64))
    }
}

impl Sub for Instant {
    type Output = Duration;

    /// Time passed since `earlier`; zero if `earlier` is later.
    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}
