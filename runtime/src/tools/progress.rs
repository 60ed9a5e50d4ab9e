//! A line on the terminal for what takes longer than a second; nothing where stderr is no terminal.
#![allow(
    clippy::disallowed_types,
    reason = "a progress bar is about the time of the one who waits"
)]

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// Nothing is drawn before.
const QUIET: Duration = Duration::from_secs(1);

/// Work with a known size in bytes. Call it off by dropping it.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    began: Instant,
    total: u64,
    done: u64,
    what: String,
}

impl Progress {
    pub(super) fn bytes(what: impl Into<String>, total: u64) -> Self {
        Self {
            bar: None,
            began: Instant::now(),
            total,
            done: 0,
            what: what.into(),
        }
    }

    /// So many bytes more are done.
    pub(super) fn more(&mut self, bytes: u64) {
        self.at(self.done + bytes);
    }

    /// So many bytes are done.
    pub(super) fn at(&mut self, done: u64) {
        self.done = done;
        if self.bar.is_none() && self.began.elapsed() > QUIET {
            let style = "{msg} {bar:30} {percent}% {bytes_per_sec} {eta} left";
            let style = ProgressStyle::with_template(style).expect("a sound template");
            let bar = ProgressBar::new(self.total).with_style(style);
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
