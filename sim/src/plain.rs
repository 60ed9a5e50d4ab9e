//! How what is fixed before a run looks in a file: durations with their unit, servers by number,
//! kinds by name. Gives shapes to types of other crates; decides nothing.

use std::time::Duration;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use vivarium_core::config::{Rules, SessionWeights, Throttle};
use vivarium_core::ids::ServerId;

use crate::clients::people::{CHIEF, PEOPLE, Person};
use crate::clients::workload::Kind;
use crate::observe::SimTime;

const UNITS: [(&str, u128); 4] = [
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// With the largest unit that divides it.
pub fn duration_text(d: Duration) -> String {
    let nanos = d.as_nanos();
    let fits = |(_, unit): &&(&str, u128)| nanos.is_multiple_of(*unit);
    let (name, unit) = UNITS.iter().find(fits).expect("everything is nanoseconds");
    format!("{}{name}", nanos / unit)
}

/// The reverse.
///
/// # Errors
/// What was expected.
pub fn duration_of(text: &str) -> Result<Duration, String> {
    let refused = || format!("\"{text}\" is no duration: a whole number of s, ms, us or ns");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = &text[digits.len()..];
    let (_, unit) = UNITS
        .iter()
        .find(|(name, _)| *name == unit)
        .ok_or_else(refused)?;
    let nanos = digits
        .parse::<u128>()
        .ok()
        .and_then(|n| n.checked_mul(*unit));
    let nanos = nanos
        .and_then(|n| u64::try_from(n).ok())
        .ok_or_else(refused)?;
    Ok(Duration::from_nanos(nanos))
}

pub mod duration {
    use super::*;

    pub fn serialize<S: Serializer>(d: &Duration, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&duration_text(*d))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Duration, D::Error> {
        duration_of(&String::deserialize(d)?).map_err(D::Error::custom)
    }
}

pub mod maybe_duration {
    use super::*;

    pub fn serialize<S: Serializer>(d: &Option<Duration>, s: S) -> Result<S::Ok, S::Error> {
        d.map(duration_text).serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Duration>, D::Error> {
        let text = Option::<String>::deserialize(d)?;
        text.map(|t| duration_of(&t))
            .transpose()
            .map_err(D::Error::custom)
    }
}

impl Serialize for SimTime {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if *self == Self::NEVER {
            return s.serialize_str("never");
        }
        duration::serialize(&Duration::from_nanos(self.0), s)
    }
}

impl<'de> Deserialize<'de> for SimTime {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        if text == "never" {
            return Ok(Self::NEVER);
        }
        let since = duration_of(&text).map_err(D::Error::custom)?;
        Ok(Self(since.as_nanos() as u64))
    }
}

pub mod server {
    use super::*;

    pub fn serialize<S: Serializer>(id: &ServerId, s: S) -> Result<S::Ok, S::Error> {
        id.0.serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<ServerId, D::Error> {
        i64::deserialize(d).map(ServerId)
    }
}

pub mod servers {
    use super::*;

    pub fn serialize<S: Serializer>(ids: &[ServerId], s: S) -> Result<S::Ok, S::Error> {
        s.collect_seq(ids.iter().map(|id| id.0))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<ServerId>, D::Error> {
        let ids = Vec::<i64>::deserialize(d)?;
        Ok(ids.into_iter().map(ServerId).collect())
    }
}

pub mod path {
    use super::*;
    use crate::clients::ops::Path;

    pub fn serialize<S: Serializer>(path: &Path, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(path)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Path, D::Error> {
        String::deserialize(d).map(Path::from)
    }
}

/// Something of a small set, by the name that it has in the code.
fn named<T: std::fmt::Debug + Copy>(all: &[T], name: &str) -> Result<T, String> {
    let found = all.iter().find(|one| format!("{one:?}") == name);
    found
        .copied()
        .ok_or_else(|| format!("{name} is none of {all:?}"))
}

macro_rules! by_name {
    ($module:ident, $type:ty, $all:expr) => {
        pub mod $module {
            use super::*;

            pub fn serialize<S: Serializer>(one: &$type, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(&format_args!("{one:?}"))
            }

            pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<$type, D::Error> {
                named(&$all, &String::deserialize(d)?).map_err(D::Error::custom)
            }
        }
    };
}

by_name!(disk_kind, vivarium_storage::faulty::Kind, {
    use vivarium_storage::faulty::Kind;
    [
        Kind::Read,
        Kind::Write,
        Kind::Sync,
        Kind::StrayWrite,
        Kind::StrayRead,
    ]
});
by_name!(rot, vivarium_storage::faulty::Rot, {
    use vivarium_storage::faulty::Rot;
    [Rot::Bit, Rot::Sector]
});

impl Serialize for Person {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(self.auth)
    }
}

impl<'de> Deserialize<'de> for Person {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let auth = String::deserialize(d)?;
        let known = PEOPLE.iter().chain([&CHIEF]);
        let names: Vec<&str> = known.map(|person| person.auth).collect();
        let refused = || D::Error::custom(format!("{auth} is none of {}", names.join(", ")));
        Self::by_auth(&auth).copied().ok_or_else(refused)
    }
}

/// Weights of requests, by kind. What is not named has none.
pub mod weights {
    use std::collections::BTreeMap;

    use super::*;

    pub fn serialize<S: Serializer>(weights: &[u64], s: S) -> Result<S::Ok, S::Error> {
        let kinds = Kind::ALL.iter().map(|kind| format!("{kind:?}"));
        let all: BTreeMap<String, u64> = kinds.zip(weights.iter().copied()).collect();
        all.serialize(s)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Vec<u64>, D::Error> {
        let mut all = vec![0; Kind::ALL.len()];
        for (name, weight) in BTreeMap::<String, u64>::deserialize(d)? {
            let kind = named(Kind::ALL, &name).map_err(D::Error::custom)?;
            all[kind as usize] = weight;
        }
        if all.iter().all(|weight| *weight == 0) {
            return Err(D::Error::custom("some kind of request needs a weight"));
        }
        Ok(all)
    }
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Rules")]
pub struct RulesShape {
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
    #[serde(with = "duration")]
    container_check_interval: Duration,
    container_max_per_minute: u32,
    #[serde(with = "duration")]
    container_never_used: Duration,
    frame_bytes_max: usize,
    outstanding_max: usize,
    address_connections_max: usize,
    connections_max: usize,
    #[serde(with = "ThrottleShape")]
    throttle: Throttle,
    memory_max: u64,
    #[serde(with = "duration")]
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
    #[serde(with = "duration")]
    wait_max: Duration,
    tokens: u32,
    #[serde(with = "duration")]
    fill_time: Duration,
    fill_count: u32,
    #[serde(with = "session_weights")]
    weights: Option<SessionWeights>,
    large_request: usize,
    large_bytes_max: usize,
}

/// Global, renew, local.
mod session_weights {
    use super::*;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_value() {
        for nanos in [0, 1, 1_500, 2_000_000, 90_000_000_000, 1_000_000_001] {
            let d = Duration::from_nanos(nanos);
            assert_eq!(duration_of(&duration_text(d)), Ok(d));
        }
        assert_eq!(duration_text(Duration::from_millis(1_500)), "1500ms");
        for bad in ["", "5", "ms", "-1s", "1.5s", "5m", "99999999999999999999s"] {
            assert!(duration_of(bad).is_err(), "{bad} was taken");
        }
    }
}
