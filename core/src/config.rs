//! What a node is told at boot; never changes afterwards.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::ids::ServerId;
use crate::limits::{
    ADDRESS_CONNECTIONS_MAX, CLIENT_FRAME_BYTES_MAX, LARGE_REQUESTS_BYTES_MAX,
    REQUESTS_OUTSTANDING_MAX, SNAPSHOT_HELD_BYTES_MAX,
};
use crate::mutants::Mutants;

/// A member's part in the ensemble.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LearnerType {
    /// Votes in elections and on proposals.
    Participant,
    /// Follows without a vote.
    Observer,
}

/// One `server.N` line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Member {
    pub kind: LearnerType,
    /// Host as written in the configuration (IPv6 in brackets).
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
    /// The client part of the line (`host:port`), if it had one.
    pub client_address: Option<String>,
}

/// Everything that a node knows from its configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// This server; in standalone mode 0, as ZooKeeper prints it.
    pub me: ServerId,
    /// All members. Empty means standalone.
    pub members: BTreeMap<ServerId, Member>,
    pub tick: Duration,
    /// In ticks.
    pub init_limit: u32,
    /// In ticks.
    pub sync_limit: u32,
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    /// Transactions between two snapshots.
    pub snap_count: u32,
    /// Drives the few random choices of the machine (when to take a snapshot), hashing included.
    pub seed: u64,
    pub rules: Rules,
    pub mutants: Mutants,
}

/// What clients may do and how much of it: ZooKeeper's switches, under their names in `zoo.cfg`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// `extendedTypesEnabled`: may there be TTL nodes?
    pub extended_types: bool,
    /// `enforceQuota`: is a write beyond a hard quota refused, or only logged?
    pub enforce_quota: bool,
    /// `skipACL`: everybody may do everything.
    pub skip_acl: bool,
    /// `DigestAuthenticationProvider.superDigest`: who proves this (`super:HASH`) may do all.
    pub super_digest: Option<String>,
    /// `DigestAuthenticationProvider.enabled`: is the scheme `digest` known?
    pub digest_auth: bool,
    /// `enforce.auth.schemes`, if `enforce.auth.enabled`; or `sasl`, if
    /// `sessionRequireClientSASLAuth`: only a connection that has proven one of these is answered.
    /// Empty: everybody is.
    pub enforced_schemes: Vec<String>,
    /// `enableEagerACLCheck`: the server that a client is connected to refuses by its own tree what
    /// an access list forbids, before the leader is asked.
    pub eager_acl_check: bool,
    /// `localSessionsEnabled`: sessions live in their server's memory only.
    pub local_sessions: bool,
    /// `localSessionsUpgradingEnabled`: until they create an ephemeral node.
    pub local_sessions_upgrading: bool,
    /// `readonlymode.enabled`: a server without a quorum answers reads of clients that asked so.
    pub read_only_mode: bool,
    /// `znode.container.checkIntervalMs`: time between two looks at containers and TTL nodes.
    pub container_check_interval: Duration,
    /// `znode.container.maxPerMinute`: most of them that are removed in a minute.
    pub container_max_per_minute: u32,
    /// `znode.container.maxNeverUsedIntervalMs`: a container that never had a child goes after this
    /// time without a change of its data; zero: never.
    pub container_never_used: Duration,
    /// `jute.maxbuffer`: longest frame of a client, in bytes.
    pub frame_bytes_max: usize,
    /// `globalOutstandingLimit`: requests in process before clients are not read any more.
    pub outstanding_max: usize,
    /// `maxClientCnxns`: connections from one address; 0: any number.
    pub address_connections_max: usize,
    /// `maxCnxns`: connections of clients; 0: any number.
    pub connections_max: usize,
    pub throttle: Throttle,
    /// `vivarium.memoryLimit`: bytes of the tree beyond which a write that makes it larger is
    /// refused; 0: never. Not a key of ZooKeeper.
    pub memory_max: u64,
    /// `vivarium.diskTimeout`: how long a write may be on its way to a leader's disk before the
    /// leader makes way for others; zero: as long as a follower may be behind, `syncLimit` times
    /// `tickTime`. Not a key of ZooKeeper.
    pub disk_patience: Duration,
    /// Counter of the last transaction of an epoch. Not a key: all that there are, except where
    /// a test wants to see the end of an epoch.
    pub epoch_counter_max: u32,
    /// Bytes of old states that are kept for a background snapshot before it is given up. Not a
    /// key: as many as `limits` say, except where a test wants to see the end of one.
    pub snapshot_held_max: usize,
}

/// How clients that ask for too much are held back or turned away. All of it is off by default, as
/// in ZooKeeper.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Throttle {
    /// `request_throttle_max_requests`: requests in process beyond which others wait; 0: none.
    pub requests_max: usize,
    /// `request_throttle_drop_stale`: a request that waited so, and is stale when its turn comes,
    /// ends its connection.
    pub drop_stale: bool,
    /// `request_stale_latency_check`: a request is stale that waited longer than its session's
    /// timeout.
    pub stale_latency: bool,
    /// `throttled_op_wait_time`: a request that waited longer is answered `THROTTLEDOP`; zero:
    /// never.
    pub wait_max: Duration,
    /// `connection_throttle_tokens`: handshakes that may come at once; 0: any number.
    pub tokens: u32,
    /// `connection_throttle_fill_time`: in this time,
    pub fill_time: Duration,
    /// `connection_throttle_fill_count`: this many tokens come back.
    pub fill_count: u32,
    /// `connection_throttle_global_session_weight`, `..._renew_...`, `..._local_...`: tokens that a
    /// handshake takes, if `connection_throttle_weight_enabled`.
    pub weights: Option<SessionWeights>,
    /// `largeRequestThreshold`: a frame is large that has more bytes; 0: none is.
    pub large_request: usize,
    /// `largeRequestMaxBytes`: bytes of large frames in process beyond which the connection of the
    /// next one is closed.
    pub large_bytes_max: usize,
}

/// Tokens that handshakes take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SessionWeights {
    /// To open a session of the whole ensemble.
    pub global: u32,
    /// To come back to a session.
    pub renew: u32,
    /// To open a local session.
    pub local: u32,
}

impl Default for Throttle {
    fn default() -> Self {
        Self {
            requests_max: 0,
            drop_stale: true,
            stale_latency: false,
            wait_max: Duration::ZERO,
            tokens: 0,
            fill_time: Duration::from_millis(1),
            fill_count: 1,
            weights: None,
            large_request: 0,
            large_bytes_max: LARGE_REQUESTS_BYTES_MAX,
        }
    }
}

impl Default for Rules {
    /// ZooKeeper 3.9's defaults.
    fn default() -> Self {
        Self {
            extended_types: false,
            enforce_quota: false,
            skip_acl: false,
            super_digest: None,
            digest_auth: true,
            enforced_schemes: Vec::new(),
            eager_acl_check: false,
            local_sessions: false,
            local_sessions_upgrading: false,
            read_only_mode: false,
            container_check_interval: Duration::from_secs(60),
            container_max_per_minute: 10_000,
            container_never_used: Duration::ZERO,
            frame_bytes_max: CLIENT_FRAME_BYTES_MAX,
            outstanding_max: REQUESTS_OUTSTANDING_MAX,
            address_connections_max: ADDRESS_CONNECTIONS_MAX,
            connections_max: 0,
            throttle: Throttle::default(),
            memory_max: 0,
            disk_patience: Duration::ZERO,
            epoch_counter_max: u32::MAX - 1,
            snapshot_held_max: SNAPSHOT_HELD_BYTES_MAX,
        }
    }
}

impl Config {
    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }

    /// Requests in process on this server before clients are not read any more: the ensemble's
    /// other servers send theirs to the leader, too, so each takes a share, as in ZooKeeper.
    pub fn outstanding_max(&self) -> usize {
        let is_voter = |m: &&Member| m.kind == LearnerType::Participant;
        let voters = self.members.values().filter(is_voter).count();
        let share = if voters > 2 { voters - 1 } else { 1 };
        (self.rules.outstanding_max / share).max(1)
    }

    /// Is this server an observer?
    pub fn is_observer(&self) -> bool {
        self.members
            .get(&self.me)
            .is_some_and(|m| m.kind == LearnerType::Observer)
    }
}
