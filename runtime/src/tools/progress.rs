//! A line on the terminal for what takes longer than a second; nothing where stderr is no terminal.
#![allow(
    clippy::disallowed_types,
    reason = "a progress bar is about the time of the one who waits"
)]

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Nothing is drawn before.
const QUIET: Duration = Duration::from_secs(1);

/// Work of which is told how much is done. Call it off by dropping it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    /// Bytes; `None` if it is not known.
    total: Option<u64>,
    done: u64,
    what: String,
}

impl Progress {
    pub(super) fn bytes(what: impl Into<String>, total: u64) -> Self {
        Self {
            bar: None,
            began: Instant::now(),
            total: Some(total),
            done: 0,
            what: what.into(),
        }
    }

    /// Work that nobody knows the size of, counted in `what`.
    pub(super) fn count(what: impl Into<String>) -> Self {
        Self {
            bar: None,
            began: Instant::now(),
            total: None,
            done: 0,
            what: what.into(),
        }
    }

    /// So much more is done.
    pub(super) fn more(&mut self, amount: u64) {
        self.at(self.done + amount);
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64) {
        self.done = done;
        if self.bar.is_none() && self.began.elapsed() > QUIET {
            let style = match self.total {
                Some(_) => "{msg} {bar:30} {percent}% {bytes_per_sec} {eta} left",
                None => "{pos} {msg} {per_sec}",
            };
            let style = ProgressStyle::with_template(style).expect("a sound template");
            let bar = match self.total {
                Some(total) => ProgressBar::new(total),
                None => ProgressBar::no_length(),
            };
            let bar = bar.with_style(style);
            self.bar = Some(bar.with_message(self.what.clone()));
        }
        if let Some(bar) = &self.bar {
            bar.set_position(done);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
