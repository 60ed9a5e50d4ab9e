//! What the machine tells its driver to do.

use alloc::string::String;

use bytes::Bytes;

use super::Span;
use super::input::Channel;
use crate::ids::{ConnId, Epoch, LinkId, ServerId, SessionId, WriteSeq, Zxid};
use crate::limits::Limit;
use crate::quota::Excess;

/// One effect.
#[derive(Clone, Debug)]
pub enum Action {
    /// Into the one disk queue. Executed in order of `seq`, without gaps; reported stable by
    /// `Input::Persisted`.
    Write {
        seq: WriteSeq,
        op: WriteOp,
    },
    /// The background snapshot, outside the disk queue. One at a time; each step is answered by
    /// `Input::SnapshotStored`.
    Snapshot(SnapshotStep),
    Send {
        link: LinkId,
        bytes: Span,
    },
    /// Large or shared payloads travel by reference.
    SendShared {
        link: LinkId,
        body: Bytes,
    },
    Reply {
        conn: ConnId,
        bytes: Span,
    },
    /// Close after everything sent before has left.
    Close {
        whom: Whom,
        why: CloseReason,
    },
    Dial {
        peer: ServerId,
        channel: Channel,
    },
    /// A four-letter word came in: answer it with text, then close.
    Command {
        conn: ConnId,
        word: FourLetterWord,
    },
    /// Rare and structured, for logs and traces.
    Report(Event),
    /// The node can not go on without risking what it promised. Nothing after this takes effect.
    Halt(Fault),
}

/// A change of the data directory.
#[derive(Clone, Debug)]
pub enum WriteOp {
    /// One transaction: header, body and digest as they stand in the log.
    Append { zxid: Zxid, record: Bytes },
    /// `acceptedEpoch`, replaced atomically.
    AcceptedEpoch(Epoch),
    /// `currentEpoch`, replaced atomically.
    CurrentEpoch(Epoch),
    /// Drop every transaction after this zxid, and every snapshot that may hold one; then read the
    /// directory again and answer `Input::Reloaded`.
    Truncate { after: Zxid },
    /// A snapshot that replaces everything. Until `End` the old state stays; at `End` the log loses
    /// all after the snapshot's zxid, the file is synced and takes its name, and older snapshots
    /// and logs go. No append between `Begin` and `End`.
    Install(SnapshotStep),
}

/// A snapshot file in pieces.
#[derive(Clone, Debug)]
pub enum SnapshotStep {
    Begin {
        zxid: Zxid,
    },
    /// The next bytes of the serialized database: sessions, ACL table, znodes, terminator. File
    /// header and trailers are the storage's.
    Chunk(Bytes),
    /// All chunks were given; `digest` is the tree's at the snapshot's zxid.
    End {
        zxid: Zxid,
        digest: u64,
    },
    /// Forget what was begun.
    Abandon,
}

/// Either kind of connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Whom {
    Client(ConnId),
    Link(LinkId),
}

/// The four-letter words that are answered on the client port.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FourLetterWord {
    Ruok,
    Srvr,
    Stat,
    Mntr,
    Conf,
    Envi,
    Isro,
}

/// Why a connection is closed: one variant per reason.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// This server has no leader, or is stopping.
    NotServing,
    /// Client frame longer than allowed, or negative: its length.
    FrameLength(i32),
    /// The first frame is not a ConnectRequest, or a frame is shorter than a request header.
    FrameMalformed,
    /// `maxClientCnxns` connections of this address are open.
    AddressFull { max: usize },
    /// `maxCnxns` connections are open.
    ServerFull { max: usize },
    /// More handshakes than `connection_throttle_tokens` allow.
    HandshakeThrottled,
    /// A large request of so many bytes beside too many others (`largeRequestMaxBytes`).
    LargeRequest(usize),
    /// A request waited for longer than its session's timeout (`request_throttle_drop_stale`).
    RequestStale,
    /// The client does not read what it is sent: so many bytes.
    NotReading { unread: usize },
    /// The operation is not one that a client may send: its number.
    OperationUnknown(i32),
    /// The client has seen `seen`, this server only `applied`.
    ClientAhead { seen: Zxid, applied: Zxid },
    /// Wrong password or no such session; the refusal was sent.
    SessionRefused(SessionId),
    /// Read-only mode: the client did not ask for it, or brings a session that only a leader knows.
    ReadOnly,
    /// The session was closed by its client, or expired.
    SessionClosed(SessionId),
    /// The session lives on another server now.
    SessionMoved(SessionId),
    /// The same session connected again here.
    SessionTakenOver(SessionId),
    /// Authentication failed; the refusal was sent.
    AuthFailed,
    /// It has proven none of the schemes that this server asks for; the refusal was sent.
    AuthenticationRequired,
    /// Its setWatches asks for more watches than may be kept. Clients do not look at an error of
    /// that reply, and would wait for ever.
    WatchesFull,
    /// Nothing was heard for longer than the session's timeout, or no session was opened.
    Idle,
    /// Another connection to the same peer replaces this one.
    Replaced,
    /// The server with the larger id keeps the election connection; it dials back.
    PeerDialsBack,
    /// Bytes on a port between servers that are no message of the protocol: what is wrong.
    PeerMalformed(&'static str),
    /// A server that is not in the configuration.
    PeerUnknown(ServerId),
    /// The peer claims this server's own id.
    PeerIsMe,
    /// The peer broke the protocol: the rule.
    PeerMisbehaved(&'static str),
    /// The peer's history is newer than the leader's: it must not follow.
    PeerAhead,
    /// The peer was silent, or did not acknowledge, for longer than its limit.
    PeerTimeout,
    /// The peer does not read fast enough.
    PeerSlow,
    /// This server left the role that the connection belonged to.
    RoleLeft,
    /// The server stops.
    Stopping,
}

/// What logs and traces should know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    Looking {
        round: i64,
    },
    /// Won an election; the epoch is not known before a quorum has come.
    Leading,
    Following {
        leader: ServerId,
    },
    Observing {
        leader: ServerId,
    },
    /// Serving clients from now on.
    Serving {
        epoch: Epoch,
        zxid: Zxid,
    },
    /// The role ended: why.
    Left {
        why: &'static str,
    },
    SyncChosen {
        learner: ServerId,
        mode: &'static str,
        from: Zxid,
    },
    Synchronized {
        mode: &'static str,
        zxid: Zxid,
    },
    SessionExpired {
        session: SessionId,
    },
    DigestMismatch {
        zxid: Zxid,
    },
    /// A client writes beyond a quota. Said once in a while only.
    QuotaExceeded(Excess),
    /// Requests are refused by this limit. Said once in a while only.
    LimitReached(Limit),
    SnapshotTaken {
        zxid: Zxid,
    },
    /// So much changed while it was written that too many old states would have to be kept for it.
    /// The log goes on; the next one is begun when it is due.
    SnapshotGivenUp {
        zxid: Zxid,
    },
    /// Clients' writes are refused from now on, because too few voters have room on their disks for
    /// them; or they are taken again.
    TakesWrites(bool),
    Note {
        text: String,
    },
}

/// Why a node stopped for good.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// The disk refused a write or a sync.
    Disk,
    /// The leader committed something else than what this follower has next (exit 12 in Java).
    CommitMismatch {
        expected: Option<Zxid>,
        committed: Zxid,
    },
    /// A committed or logged transaction can not be decoded.
    RecordUndecodable { zxid: Zxid },
    /// Extended types are enabled, and this member's sessions would look like one.
    ServerIdTooLarge { id: ServerId },
    /// Extended types are enabled, and a node's owner is none that is known.
    OwnerUnknown { owner: SessionId },
    /// `Input::Stop` was carried out.
    Stopped,
}
