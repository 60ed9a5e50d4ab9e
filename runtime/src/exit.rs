//! How the process ends. The numbers are ZooKeeper's where it has one for the case, so that unit
//! files and scripts written for it keep their meaning.

/// The exit code of `vivarium`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Exit {
    /// Stopped as asked, or the command did its work.
    Success = 0,
    /// The data directory is damaged, the disk failed, or the machine halted.
    Failure = 1,
    /// The command line or the configuration can not be used.
    Usage = 2,
    /// The data directory can not be opened, or another server uses it.
    DataDirectory = 3,
    /// The leader committed something else than what this follower had next.
    UnmatchedCommit = 12,
    /// A port is taken or its address is not this machine's.
    Bind = 14,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
