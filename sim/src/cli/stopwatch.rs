//! Real time, for progress lines and measurements only: nothing simulated can see it.
#![allow(
    clippy::disallowed_types,
    reason = "measures the simulator from outside of any run"
)]

/// Time since it was started.
#[derive(Clone, Copy)]
pub(crate) struct Stopwatch {
    started: std::time::Instant,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        Self {
            started: std::time::Instant::now(),
        }
    }

    pub(crate) fn seconds(self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }
}
