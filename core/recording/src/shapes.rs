//! A configuration as plain data. A new field of the core's types does not compile until it stands
//! here.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use vivarium_core::config::{Config, LearnerType, Member, Rules, SessionWeights, Throttle};
use vivarium_core::ids::ServerId;
use vivarium_core::mutants::Mutants;

#[derive(Serialize, Deserialize)]
pub(crate) struct ConfigShape {
    me: i64,
    members: BTreeMap<i64, MemberShape>,
    tick: Duration,
    init_limit: u32,
    sync_limit: u32,
    session_timeout_min: Duration,
    session_timeout_max: Duration,
    snap_count: u32,
    seed: u64,
    #[serde(with = "RulesShape")]
    rules: Rules,
}

#[derive(Serialize, Deserialize)]
struct MemberShape {
    observer: bool,
    host: String,
    quorum_port: u16,
    election_port: u16,
    client_address: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Rules")]
struct RulesShape {
    extended_types: bool,
    enforce_quota: bool,
    skip_acl: bool,
    super_digest: Option<String>,
    digest_auth: bool,
    enforced_schemes: Vec<String>,
    eager_acl_check: bool,
    local_sessions: bool,
    local_sessions_upgrading: bool,
    read_only_mode: bool,
    container_check_interval: Duration,
    container_max_per_minute: u32,
    container_never_used: Duration,
    frame_bytes_max: usize,
    outstanding_max: usize,
    address_connections_max: usize,
    connections_max: usize,
    #[serde(with = "ThrottleShape")]
    throttle: Throttle,
    memory_max: u64,
    disk_patience: Duration,
    epoch_counter_max: u32,
    snapshot_held_max: usize,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Throttle")]
struct ThrottleShape {
    requests_max: usize,
    drop_stale: bool,
    stale_latency: bool,
    wait_max: Duration,
    tokens: u32,
    fill_time: Duration,
    fill_count: u32,
    #[serde(with = "weights")]
    weights: Option<SessionWeights>,
    large_request: usize,
    large_bytes_max: usize,
}

/// Global, renew, local.
mod weights {
    use super::SessionWeights;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(
        weights: &Option<SessionWeights>,
        s: S,
    ) -> Result<S::Ok, S::Error> {
        weights.map(|w| [w.global, w.renew, w.local]).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        d: D,
    ) -> Result<Option<SessionWeights>, D::Error> {
        let weights = Option::<[u32; 3]>::deserialize(d)?;
        Ok(weights.map(|[global, renew, local]| SessionWeights {
            global,
            renew,
            local,
        }))
    }
}

impl From<&Config> for ConfigShape {
    fn from(config: &Config) -> Self {
        let Config {
            me,
            members,
            tick,
            init_limit,
            sync_limit,
            session_timeout_min,
            session_timeout_max,
            snap_count,
            seed,
            rules,
            mutants: _,
        } = config;
        let member = |(id, member): (&ServerId, &Member)| {
            let shape = MemberShape {
                observer: member.kind == LearnerType::Observer,
                host: member.host.clone(),
                quorum_port: member.quorum_port,
                election_port: member.election_port,
                client_address: member.client_address.clone(),
            };
            (id.0, shape)
        };
        Self {
            me: me.0,
            members: members.iter().map(member).collect(),
            tick: *tick,
            init_limit: *init_limit,
            sync_limit: *sync_limit,
            session_timeout_min: *session_timeout_min,
            session_timeout_max: *session_timeout_max,
            snap_count: *snap_count,
            seed: *seed,
            rules: rules.clone(),
        }
    }
}

impl ConfigShape {
    /// For the core; a server has no known bugs, but a replay may put one back.
    pub(crate) fn into_config(self, mutants: Mutants) -> Config {
        let member = |(id, shape): (i64, MemberShape)| {
            let kind = if shape.observer {
                LearnerType::Observer
            } else {
                LearnerType::Participant
            };
            let member = Member {
                kind,
                host: shape.host,
                quorum_port: shape.quorum_port,
                election_port: shape.election_port,
                client_address: shape.client_address,
            };
            (ServerId(id), member)
        };
        Config {
            me: ServerId(self.me),
            members: self.members.into_iter().map(member).collect(),
            tick: self.tick,
            init_limit: self.init_limit,
            sync_limit: self.sync_limit,
            session_timeout_min: self.session_timeout_min,
            session_timeout_max: self.session_timeout_max,
            snap_count: self.snap_count,
            seed: self.seed,
            rules: self.rules,
            mutants,
        }
    }
}
