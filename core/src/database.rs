//! The replicated state: znode tree, sessions, and the zxid up to which it was applied.

/// Replaced by the real thing in the next commit.
#[derive(Debug, Default)]
pub struct Database {}
