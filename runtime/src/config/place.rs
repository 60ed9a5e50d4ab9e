//! Where a setting was written down, for messages about it.

use std::fmt;

/// A line of the configuration file, or an environment variable. Ordered as they are read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// A `-D` option in this variable.
    Variable(&'static str),
    /// Counted from 1.
    Line(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Variable(name) => f.write_str(name),
            Self::Line(number) => write!(f, "line {number}"),
        }
    }
}
