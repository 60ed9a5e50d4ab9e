//! Checks on the tree itself. Each is a function from sources to findings, so that it can be shown
//! to fail on hand-made input; `tests/tidy.rs` runs all of them on the repository.

pub mod crates;
pub mod edges;
pub mod exceptions;
pub mod lengths;
pub mod source;
pub mod top_level;
pub mod words;

use std::fmt;

/// One thing that is not as it should be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Finding {
    /// File, relative to the repository.
    pub path: String,
    /// From 1; 0 when it is about the whole file.
    pub line: usize,
    pub what: String,
}

impl Finding {
    pub fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self {
            path: path.into(),
            line,
            what: what.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// Fails with one line for each finding.
#[track_caller]
pub fn assert_none(mut findings: Vec<Finding>) {
    findings.sort();
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(
        lines.is_empty(),
        "{} findings:\n{}",
        lines.len(),
        lines.join("\n")
    );
}
