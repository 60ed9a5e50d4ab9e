//! What is longer than it should be. This list may only shrink: a function that got shorter fails
//! the check until its number here is lowered, one that fits fails until its line is removed.

/// One function, or one `file`, and the length that it has today.
#[derive(Clone, Copy, Debug)]
pub struct Exception {
    pub path: &'static str,
    /// Of the function; `file` for the whole file.
    pub name: &'static str,
    pub lines: usize,
}

pub const EXCEPTIONS: &[Exception] = &[];
