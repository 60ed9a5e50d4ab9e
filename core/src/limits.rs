//! Every bound of the machine, each with its reason. Nothing else may invent one.

use core::time::Duration;

/// Longest client frame: ZooKeeper's default `jute.maxbuffer`.
pub const CLIENT_FRAME_BYTES_MAX: usize = 0xf_ffff;

/// The least and the most that `jute.maxbuffer` may be set to: a handshake must pass, and a few
/// dozen of the largest frames must fit into memory, on the way to each learner, too.
pub const CLIENT_FRAME_BYTES_SETTING: core::ops::RangeInclusive<usize> = 128..=(64 << 20);

/// Longest string or buffer in a stored or replicated record: twice the most that a frame may be
/// allowed to have. It does not depend on this server's `jute.maxbuffer`: what another server, or
/// this one with another setting, has taken from a client is always readable again.
pub const RECORD_FIELD_BYTES_MAX: usize = 2 * *CLIENT_FRAME_BYTES_SETTING.end();

/// Longest entry of a snapshot: path and data of a node, or an access control list, which have all
/// come in one client frame, and a little beside them. A reader keeps no more of what does not end.
pub const SNAPSHOT_ENTRY_BYTES_MAX: usize = *CLIENT_FRAME_BYTES_SETTING.end() + (4 << 10);

/// Longest access control list, encoded: one frame of default length. A request of that length
/// stays below, unless it multiplies itself by the scheme `auth`.
pub const ACL_BYTES_MAX: usize = CLIENT_FRAME_BYTES_MAX;

/// Memory of a znode beside its path and data, estimated: its entry, its place among the children
/// of its parent and in the index, and what allocations round up.
pub const ZNODE_BYTES: u64 = 200;

/// Longest election message, as in ZooKeeper's `QuorumCnxManager`.
pub const ELECTION_FRAME_BYTES_MAX: usize = 524_288;

/// Longest address text in the first message of an election connection, as in ZooKeeper.
pub const ELECTION_ADDRESS_BYTES_MAX: usize = 2_048;

/// Identities of one client: a handful is normal, and each write carries all of them to the leader.
pub const IDENTITIES_MAX: usize = 64;

/// And their bytes: user names are short.
pub const IDENTITIES_BYTES_MAX: usize = 16 << 10;

/// Identities in one REQUEST of another server, which may run with other limits than this one.
pub const AUTHINFO_COUNT_MAX: usize = 16 * IDENTITIES_MAX;

/// And their bytes.
pub const AUTHINFO_BYTES_MAX: usize = CLIENT_FRAME_BYTES_MAX;

/// Recent committed transactions kept in memory for DIFF: ZooKeeper's `commitLogCount`.
pub const COMMITTED_LOG_COUNT_MAX: usize = 500;

/// And their bytes, so that 500 large transactions do not pin half a gigabyte.
pub const COMMITTED_LOG_BYTES_MAX: usize = 32 << 20;

/// Requests in process on one server before clients are not read any more: ZooKeeper's
/// `globalOutstandingLimit`.
pub const REQUESTS_OUTSTANDING_MAX: usize = 1_000;

/// Connections from one address: ZooKeeper's default `maxClientCnxns`.
pub const ADDRESS_CONNECTIONS_MAX: usize = 60;

/// Bytes of large requests in process: ZooKeeper's default `largeRequestMaxBytes`.
pub const LARGE_REQUESTS_BYTES_MAX: usize = 100 << 20;

/// Part of the requests in process that one connection may have before it alone is not read: a
/// quarter, so that one greedy client leaves room for others.
pub const CONNECTION_OUTSTANDING_PART: usize = 4;

/// Bytes of requests in process on one server before clients are not read any more: sixty-four of
/// the largest frames.
pub const CLIENT_OUTSTANDING_BYTES_MAX: usize = 64 << 20;

/// And of one connection before it alone is not read: a quarter of all, as with the count.
pub const CONNECTION_OUTSTANDING_BYTES_MAX: usize = CLIENT_OUTSTANDING_BYTES_MAX / 4;

/// Bytes that came from connections that are not read for now, before nobody is read.
pub const CLIENT_HELD_BYTES_MAX: usize = 16 << 20;

/// Bytes for one client that it has not read, before it is not answered any more: as much as a
/// network of some length has under way.
pub const CLIENT_UNREAD_BYTES: usize = 1 << 20;

/// Bytes of watch events, which nobody has asked for just now, that may pile up behind those
/// before the client is cut off: about fifty thousand.
pub const CLIENT_UNREAD_GROWTH_MAX: usize = 4 << 20;

/// Bytes that all clients together have not read, before those that have read nothing for longest
/// are cut off; what a server can give for that.
pub const CLIENTS_UNREAD_BYTES_MAX: usize = 256 << 20;

/// And how much is left of it then, so that it is not done again at once.
pub const CLIENTS_UNREAD_BYTES_LEFT: usize = CLIENTS_UNREAD_BYTES_MAX / 8 * 7;

/// Bytes for connections that are closed already, before the next of them are dropped: those of
/// whoever connects, asks, and hangs up without reading.
pub const LINGERING_BYTES_MAX: usize = 64 << 20;

/// Bytes of replies to one connection at a time, before others have their turn.
pub const REPLY_BYTES_AT_ONCE: usize = CLIENT_UNREAD_BYTES;

/// Bytes of replies in one turn; more wait for the next, so that a burst of reads of large nodes
/// does not have to fit into memory at once.
pub const REPLY_BYTES_PER_TURN: usize = 16 << 20;

/// Bytes that one watched path takes besides its text, and one watch on it, both rounded up from
/// what was measured. Only for the two bounds that follow.
pub const WATCHED_PATH_BYTES: u64 = 128;
pub const WATCH_BYTES: u64 = 32;

/// Bytes of all watches on one server before it refuses more: a hundred million on shared paths, or
/// twenty-five million on paths of their own, which no ensemble is known to come near. ZooKeeper
/// has no bound, and a client that watches without end takes its server's memory.
pub const WATCH_BYTES_MAX: u64 = 4 << 30;

/// And of the paths that one connection watches: a quarter of all, six million paths.
pub const WATCHED_PATHS_BYTES_PER_CONNECTION_MAX: u64 = WATCH_BYTES_MAX / 4;

/// Proposals without a quorum before the leader takes no more work: four times what its own and
/// two followers' clients may have outstanding.
pub const PROPOSALS_OUTSTANDING_MAX: usize = 4 * REQUESTS_OUTSTANDING_MAX;

/// Bytes on their way to the disk before a server takes no more: a leader refuses writes, a learner
/// leaves. As much as may wait for a slow peer.
pub const DISK_QUEUE_BYTES_MAX: usize = LINK_QUEUE_BYTES_MAX;

/// A leader that has made way because of its disk rests at least this long, so that the others can
/// elect one of them without its vote; about ten times what that takes.
pub const MAKE_WAY_REST_MIN: Duration = Duration::from_secs(2);

/// And does not make way for lack of room again before this time: if it leads once more, the others
/// could not agree, and to and fro would help nobody.
pub const MAKE_WAY_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes queued towards one peer before it is cut: two of the largest transactions for each
/// proposal would be unreasonable, 256 MiB is what a slow disk on the other side can catch up with.
pub const LINK_QUEUE_BYTES_MAX: usize = 256 << 20;

/// Bytes that a snapshot under way may keep of what has changed since its beginning: it is given up
/// then. Beside them is the tree itself, not copied.
pub const SNAPSHOT_HELD_BYTES_MAX: usize = 256 << 20;

/// Bytes of a snapshot in flight to a learner before the walk waits for the socket.
pub const SNAPSHOT_WINDOW_BYTES: usize = 1 << 20;

/// Bytes of a leader's snapshot that a learner's disk has not taken yet before the learner reads no
/// more of it.
pub const SNAPSHOT_UNSTORED_BYTES_MAX: usize = 8 << 20;

/// Bytes of a snapshot produced in one turn, so that no turn is long.
pub const SNAPSHOT_TURN_BYTES: usize = 256 << 10;

/// Longest time between two notifications of a looking server. ZooKeeper goes up to a minute, which
/// is how long an ensemble may then wait after a partition has healed; a message every two seconds
/// costs nothing.
pub const NOTIFICATION_INTERVAL_MAX: Duration = Duration::from_secs(2);

/// First time between two notifications of a looking server, as in ZooKeeper.
pub const NOTIFICATION_INTERVAL_MIN: Duration = Duration::from_millis(200);

/// Silence after a quorum of equal votes before they count, as in ZooKeeper (`finalizeWait`), when
/// a voter that can be reached has not said the same.
pub const ELECTION_FINALIZE_WAIT: Duration = Duration::from_millis(200);

/// How many rounds another server's election may be ahead of ours, and how many epochs its promise.
/// Both count elections, so nobody honest comes near; a made-up number must neither use up what is
/// left to count nor be written down as a promise that no leader can keep.
pub const ELECTIONS_AHEAD_MAX: i64 = 1 << 24;

/// A dial on the election port that led to nothing for so long may be repeated. Also the time that
/// a peer with a larger id has for dialling back.
pub const ELECTION_REDIAL_INTERVAL: Duration = Duration::from_millis(500);

/// The first time between two looks at a server whose election connection has ended while its vote
/// is waited for: what killing a process takes.
pub const ELECTION_PROBE_PAUSE_MIN: Duration = Duration::from_millis(5);

/// An election connection on which nothing answered for so long, while we were looking, is taken
/// for dead: TCP alone may need a quarter of an hour.
pub const ELECTION_LINK_SILENCE_MAX: Duration = Duration::from_secs(5);

/// A connection to the quorum port of a server that is still looking waits this long for it to
/// become the leader: a follower is often faster.
pub const LEADER_PATIENCE: Duration = Duration::from_secs(1);

/// What such a connection may say before it is answered, and any other before it has said who it
/// is: one FOLLOWERINFO is below 100 bytes.
pub const PARKED_BYTES_MAX: usize = 4_096;

/// An observer that has lost its leader waits up to this long before it looks again, as in
/// ZooKeeper.
pub const OBSERVER_REST_MAX: Duration = Duration::from_millis(200);

/// A server looks for a leader at least this long, and a tick, before it serves read-only clients,
/// as in ZooKeeper.
pub const READ_ONLY_GRACE_MIN: Duration = Duration::from_secs(2);

/// Time between two attempts to reach the leader, as in ZooKeeper.
pub const LEADER_CONNECT_RETRY: Duration = Duration::from_millis(100);

/// Attempts to reach an elected leader before looking again: those of ZooKeeper, and as many as
/// fit into the silence that a Java server keeps before it leads and opens its port, while we may
/// have done without.
pub const LEADER_CONNECT_TRIES: u32 =
    5 + (ELECTION_FINALIZE_WAIT.as_millis() / LEADER_CONNECT_RETRY.as_millis()) as u32;

/// Containers and TTL nodes that are looked at in one turn: a fraction of a millisecond.
pub const SWEEP_NODES_PER_STEP: usize = 4_096;

/// Shortest time between two steps of the sweeper, so that others have their turns.
pub const SWEEP_PAUSE_MIN: Duration = Duration::from_millis(1);

/// Refusals by the same limit are reported at most this often.
pub const REFUSAL_REPORT_INTERVAL: Duration = Duration::from_secs(5);

/// The same excess of the same quota is reported at most this often, as in ZooKeeper.
pub const QUOTA_REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Highest id of a server where extended types are enabled: the next one would give its sessions
/// the mark of an extended type (ZooKeeper's `MAX_EXTENDED_SERVER_ID`).
pub const EXTENDED_SERVER_ID_MAX: i64 = 254;

/// A connection without a session is closed after this time, as in ZooKeeper.
pub const SESSIONLESS_CONNECTION_TIMEOUT: Duration = Duration::from_secs(10);

/// A limit by which requests are refused, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Limit {
    /// The leader's `jute.maxbuffer`, by a write from a server that has a larger one.
    Frame { bytes: usize, max: usize },
    /// `vivarium.memoryLimit`, by a write that makes the tree larger.
    Memory { max: u64 },
    /// `throttled_op_wait_time`, by a request that waited while too many were in process.
    Wait { max: Duration },
    /// [`WATCH_BYTES_MAX`] or a connection's share of it, by a watch.
    Watches { watches: usize },
}

const _: () = assert!(SNAPSHOT_ENTRY_BYTES_MAX < RECORD_FIELD_BYTES_MAX);
const _: () = assert!(COMMITTED_LOG_COUNT_MAX >= 500);
const _: () = assert!(RECORD_FIELD_BYTES_MAX > CLIENT_FRAME_BYTES_MAX);
const _: () = assert!(RECORD_FIELD_BYTES_MAX > *CLIENT_FRAME_BYTES_SETTING.end());
const _: () = assert!(CONNECTION_OUTSTANDING_BYTES_MAX > CLIENT_FRAME_BYTES_MAX);
