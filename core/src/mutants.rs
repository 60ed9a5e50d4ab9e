//! Known bugs that can be put back one at a time, so that the simulator's checkers can be shown to
//! bite. Without the feature `mutants` every question is a compile-time `false`.

/// One bug of the catalogue.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Mutant {
    /// A proposal is acknowledged when it is written, not when it is synced.
    AckBeforeSync,
    /// Half of the voters count as a quorum.
    QuorumOfHalf,
    /// The accepted and current epochs are kept in memory only (ZOOKEEPER-335).
    EpochNotPersisted,
    /// TRUNC keeps one transaction too many.
    TruncOffByOne,
    /// The leader tells followers of commits of one turn in the wrong order.
    CommitOutOfOrder,
    /// A watch fires after the reply that shows the change.
    WatchAfterRead,
    /// Closing a session leaves its ephemeral nodes.
    EphemeralSurvivesSession,
    /// Reads do not wait for the session's own writes.
    OwnWriteNotSeen,
    /// A failed multi keeps the effect of the operations before the failure.
    MultiHalfApplied,
    /// A leader without a quorum goes on serving and never steps down, and counts itself only.
    StaleLeaderServing,
    /// A snapshot claims its zxid without the effect of the last transaction.
    SnapshotWithoutLastTxn,
    /// A COMMIT of an old epoch, kept across a change of leader, commits the next proposal.
    CommitOfOldEpoch,
    /// NEWLEADER is acknowledged before the synchronized transactions are durable (ZOOKEEPER-4646).
    NewLeaderAckBeforeSync,
    /// A client that has seen a newer zxid is let in.
    LastZxidSeenIgnored,
    /// A one-shot watch is not removed when it fires.
    WatchFiresTwice,
    /// Sequence numbers come from the number of children instead of the count of creates.
    SequenceFromChildCount,
    /// The leader counts observers' acknowledgements.
    ObserverCounts,
    /// Sessions are expired by the clock of the follower that they are connected to.
    FollowerExpires,
    /// A leader answers sync without asking whether a quorum still follows.
    SyncWithoutQuorum,
    /// A recursive watch hears of the node itself and of its children only.
    RecursiveWatchShallow,
    /// Events are sent to connections that may not read the node.
    EventsUnfiltered,
    /// The sweeper takes TTL nodes before their time.
    SweptEarly,
    /// A quota does not notice what is deleted.
    DeletesNotCounted,
    /// A write of data is not held against quotas.
    QuotaSkipsData,
    /// No access list is asked about the operations of a multi.
    MultiUnchecked,
    /// The reads of one multiRead see two states.
    MultiReadTorn,
    /// A local session is created for everybody when it begins.
    LocalSessionLeaks,
    /// A server without a quorum says yes to deletions.
    ReadOnlyAccepts,
    /// A client that does not read is answered all the same.
    UnreadAnswered,
    /// What could not be answered in its turn is answered after the session's next write.
    OverdueAnswers,
    /// A sync that failed is tried again, and its success believed.
    SyncRetried,
    /// The rename that gives an epoch file its name is not synced.
    RenameNotSynced,
    /// A write that the full disk cut off counts as whole.
    PartialWriteCounted,
    /// A write that found no room at all counts as done.
    RefusedWriteCounted,
    /// A leader takes writes whether a quorum has room for them or not.
    WritesWithoutRoom,
    /// A learner that was told to refuse writes does not hear that they are taken again.
    RefusedForEver,
}

impl Mutant {
    pub const ALL: &'static [Self] = &[
        Self::AckBeforeSync,
        Self::QuorumOfHalf,
        Self::EpochNotPersisted,
        Self::TruncOffByOne,
        Self::CommitOutOfOrder,
        Self::WatchAfterRead,
        Self::EphemeralSurvivesSession,
        Self::OwnWriteNotSeen,
        Self::MultiHalfApplied,
        Self::StaleLeaderServing,
        Self::SnapshotWithoutLastTxn,
        Self::CommitOfOldEpoch,
        Self::NewLeaderAckBeforeSync,
        Self::LastZxidSeenIgnored,
        Self::WatchFiresTwice,
        Self::SequenceFromChildCount,
        Self::ObserverCounts,
        Self::FollowerExpires,
        Self::SyncWithoutQuorum,
        Self::RecursiveWatchShallow,
        Self::EventsUnfiltered,
        Self::SweptEarly,
        Self::DeletesNotCounted,
        Self::QuotaSkipsData,
        Self::MultiUnchecked,
        Self::MultiReadTorn,
        Self::LocalSessionLeaks,
        Self::ReadOnlyAccepts,
        Self::UnreadAnswered,
        Self::OverdueAnswers,
        Self::SyncRetried,
        Self::RenameNotSynced,
        Self::PartialWriteCounted,
        Self::RefusedWriteCounted,
        Self::WritesWithoutRoom,
        Self::RefusedForEver,
    ];
}

/// The bug that is switched on, if any. Zero-sized unless the feature `mutants` is on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Mutants {
    #[cfg(feature = "mutants")]
    on: Option<Mutant>,
}

impl Mutants {
    pub const NONE: Self = Self {
        #[cfg(feature = "mutants")]
        on: None,
    };

    #[cfg(feature = "mutants")]
    pub const fn with(mutant: Mutant) -> Self {
        Self { on: Some(mutant) }
    }

    #[cfg(feature = "mutants")]
    pub fn has(self, mutant: Mutant) -> bool {
        self.on == Some(mutant)
    }

    #[cfg(not(feature = "mutants"))]
    pub const fn has(self, _mutant: Mutant) -> bool {
        false
    }
}
