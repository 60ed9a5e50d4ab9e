//! The keys that say what clients may do and how much of it: one row each, with the way to read and
//! to show its value. ZooKeeper reads most of them from Java's system properties, so they may come
//! from `-D` options as well as from the file.

use std::time::Duration;

use vivarium_core::config::{Rules, SessionWeights};
use vivarium_core::limits::CLIENT_FRAME_BYTES_SETTING;

use super::complaint::Complaint;
use super::place::Place;

/// The name of the system property of a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Property {
    /// `zookeeper.` and the key.
    Prefixed,
    /// The key itself.
    Bare,
    /// None: the key stands in the file only.
    None,
}

use Property::{Bare, Prefixed};

/// Rules while they are read: some belong together, and come in any order.
#[derive(Clone, Default, Debug)]
pub(super) struct Draft {
    rules: Rules,
    require_sasl: bool,
    enforce: bool,
    /// Where `enforce.auth.enabled` was given.
    enforced_at: Option<Place>,
    /// Where `sessionRequireClientSASLAuth` was given.
    sasl_required_at: Option<Place>,
    schemes: Vec<String>,
    is_weighted: bool,
    weights: Weights,
}

/// ZooKeeper's defaults where they are not given.
#[derive(Clone, Copy, Debug)]
struct Weights(SessionWeights);

impl Default for Weights {
    fn default() -> Self {
        Self(SessionWeights {
            global: 3,
            renew: 2,
            local: 1,
        })
    }
}

/// Takes a value; what is allowed, if it is not that.
type Set = fn(&mut Draft, &str) -> Result<(), String>;

/// What the value is now, as it would be written; none where another row shows it.
type Show = fn(&Rules) -> Option<String>;

struct Row {
    key: &'static str,
    property: Property,
    set: Set,
    show: Show,
}

const fn row(key: &'static str, property: Property, set: Set, show: Show) -> Row {
    Row {
        key,
        property,
        set,
        show,
    }
}

/// All of them, sorted.
static ROWS: &[Row] = &[
    row(
        "DigestAuthenticationProvider.enabled",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.digest_auth),
        |r| Some(r.digest_auth.to_string()),
    ),
    row(
        "DigestAuthenticationProvider.superDigest",
        Prefixed,
        |d, v| super_digest(v, &mut d.rules.super_digest),
        // Whoever knows the hash can look for the password.
        |r| r.super_digest.as_ref().map(|_| "(set)".to_owned()),
    ),
    row(
        "connection_throttle_fill_count",
        Prefixed,
        |d, v| number(v, 1, i32::MAX as u32, &mut d.rules.throttle.fill_count),
        |r| Some(r.throttle.fill_count.to_string()),
    ),
    row(
        "connection_throttle_fill_time",
        Prefixed,
        |d, v| millis(v, 1, &mut d.rules.throttle.fill_time),
        |r| Some(r.throttle.fill_time.as_millis().to_string()),
    ),
    row(
        "connection_throttle_global_session_weight",
        Prefixed,
        |d, v| number(v, 1, 1_000_000, &mut d.weights.0.global),
        |r| r.throttle.weights.map(|w| w.global.to_string()),
    ),
    row(
        "connection_throttle_local_session_weight",
        Prefixed,
        |d, v| number(v, 1, 1_000_000, &mut d.weights.0.local),
        |r| r.throttle.weights.map(|w| w.local.to_string()),
    ),
    row(
        "connection_throttle_renew_session_weight",
        Prefixed,
        |d, v| number(v, 1, 1_000_000, &mut d.weights.0.renew),
        |r| r.throttle.weights.map(|w| w.renew.to_string()),
    ),
    row(
        "connection_throttle_tokens",
        Prefixed,
        |d, v| number(v, 0, i32::MAX as u32, &mut d.rules.throttle.tokens),
        |r| Some(r.throttle.tokens.to_string()),
    ),
    row(
        "connection_throttle_weight_enabled",
        Prefixed,
        |d, v| boolean(v, &mut d.is_weighted),
        |r| Some(r.throttle.weights.is_some().to_string()),
    ),
    row(
        "enableEagerACLCheck",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.eager_acl_check),
        |r| Some(r.eager_acl_check.to_string()),
    ),
    row(
        "enforce.auth.enabled",
        Prefixed,
        |d, v| boolean(v, &mut d.enforce),
        |r| Some((!r.enforced_schemes.is_empty()).to_string()),
    ),
    row(
        "enforce.auth.schemes",
        Prefixed,
        |d, v| list(v, &mut d.schemes),
        |r| Some(r.enforced_schemes.join(",")),
    ),
    row(
        "enforceQuota",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.enforce_quota),
        |r| Some(r.enforce_quota.to_string()),
    ),
    row(
        "extendedTypesEnabled",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.extended_types),
        |r| Some(r.extended_types.to_string()),
    ),
    row(
        "globalOutstandingLimit",
        Prefixed,
        |d, v| number(v, 1, i32::MAX as usize, &mut d.rules.outstanding_max),
        |r| Some(r.outstanding_max.to_string()),
    ),
    row(
        "jute.maxbuffer",
        Bare,
        |d, v| {
            let range = CLIENT_FRAME_BYTES_SETTING;
            number(
                v,
                *range.start(),
                *range.end(),
                &mut d.rules.frame_bytes_max,
            )
        },
        |r| Some(r.frame_bytes_max.to_string()),
    ),
    row(
        "largeRequestMaxBytes",
        Prefixed,
        |d, v| {
            number(
                v,
                1,
                i32::MAX as usize,
                &mut d.rules.throttle.large_bytes_max,
            )
        },
        |r| Some(r.throttle.large_bytes_max.to_string()),
    ),
    row(
        "largeRequestThreshold",
        Prefixed,
        |d, v| match v {
            "-1" => {
                d.rules.throttle.large_request = 0;
                Ok(())
            }
            _ => number(v, 0, i32::MAX as usize, &mut d.rules.throttle.large_request)
                .map_err(|allowed| format!("{allowed}, or -1")),
        },
        |r| Some(r.throttle.large_request.to_string()),
    ),
    row(
        "localSessionsEnabled",
        Property::None,
        |d, v| boolean(v, &mut d.rules.local_sessions),
        |r| Some(r.local_sessions.to_string()),
    ),
    row(
        "localSessionsUpgradingEnabled",
        Property::None,
        |d, v| boolean(v, &mut d.rules.local_sessions_upgrading),
        |r| Some(r.local_sessions_upgrading.to_string()),
    ),
    row(
        "maxClientCnxns",
        Property::None,
        |d, v| {
            number(
                v,
                0,
                i32::MAX as usize,
                &mut d.rules.address_connections_max,
            )
        },
        // ZooKeeper shows it always, and so does `conf`.
        |_| None,
    ),
    row(
        "maxCnxns",
        Prefixed,
        |d, v| number(v, 0, i32::MAX as usize, &mut d.rules.connections_max),
        |r| Some(r.connections_max.to_string()),
    ),
    row(
        "readonlymode.enabled",
        Bare,
        |d, v| boolean(v, &mut d.rules.read_only_mode),
        |r| Some(r.read_only_mode.to_string()),
    ),
    row(
        "request_stale_latency_check",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.throttle.stale_latency),
        |r| Some(r.throttle.stale_latency.to_string()),
    ),
    row(
        "request_throttle_drop_stale",
        Prefixed,
        |d, v| boolean(v, &mut d.rules.throttle.drop_stale),
        |r| Some(r.throttle.drop_stale.to_string()),
    ),
    row(
        "request_throttle_max_requests",
        Prefixed,
        |d, v| number(v, 0, i32::MAX as usize, &mut d.rules.throttle.requests_max),
        |r| Some(r.throttle.requests_max.to_string()),
    ),
    row(
        "sessionRequireClientSASLAuth",
        Prefixed,
        |d, v| boolean(v, &mut d.require_sasl),
        |_| None,
    ),
    row(
        "skipACL",
        Prefixed,
        |d, v| yes(v, &mut d.rules.skip_acl),
        |r| Some(if r.skip_acl { "yes" } else { "no" }.to_owned()),
    ),
    row(
        "throttled_op_wait_time",
        Prefixed,
        |d, v| millis(v, 0, &mut d.rules.throttle.wait_max),
        |r| Some(r.throttle.wait_max.as_millis().to_string()),
    ),
    row(
        "vivarium.diskTimeout",
        Bare,
        |d, v| millis(v, 0, &mut d.rules.disk_patience),
        |r| Some(r.disk_patience.as_millis().to_string()),
    ),
    row(
        "vivarium.memoryLimit",
        Bare,
        |d, v| number(v, 0, i64::MAX as u64, &mut d.rules.memory_max),
        |r| Some(r.memory_max.to_string()),
    ),
    row(
        "znode.container.checkIntervalMs",
        Bare,
        |d, v| millis(v, 1, &mut d.rules.container_check_interval),
        |r| Some(r.container_check_interval.as_millis().to_string()),
    ),
    row(
        "znode.container.maxNeverUsedIntervalMs",
        Bare,
        |d, v| millis(v, 0, &mut d.rules.container_never_used),
        |r| Some(r.container_never_used.as_millis().to_string()),
    ),
    row(
        "znode.container.maxPerMinute",
        Bare,
        |d, v| number(v, 1, i32::MAX as u32, &mut d.rules.container_max_per_minute),
        |r| Some(r.container_max_per_minute.to_string()),
    ),
];

/// All keys, for whoever looks for the one that was meant.
pub(super) fn keys() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.key)
}

pub(super) fn is_rule(key: &str) -> bool {
    keys().any(|known| known == key)
}

/// A value that does not belong into a log.
pub(super) fn is_secret(key: &str) -> bool {
    key == "DigestAuthenticationProvider.superDigest"
}

/// The key that the system property `name` stands for.
pub(super) fn key_of_property(name: &str) -> Option<&'static str> {
    let is_named = |row: &&Row| match row.property {
        Prefixed => name.strip_prefix("zookeeper.") == Some(row.key),
        Bare => name.strip_prefix("zookeeper.").unwrap_or(name) == row.key,
        Property::None => false,
    };
    ROWS.iter().find(is_named).map(|row| row.key)
}

/// What differs from the defaults, as `key=value`.
pub(super) fn deviations(rules: &Rules) -> Vec<String> {
    let usual = Rules::default();
    ROWS.iter()
        .filter_map(|row| {
            let now = (row.show)(rules)?;
            ((row.show)(&usual) != Some(now.clone())).then(|| format!("{}={now}", row.key))
        })
        .collect()
}

impl Draft {
    /// Reads the value of a key of this table.
    ///
    /// # Errors
    /// Key, value and what is allowed.
    pub(super) fn take(&mut self, key: &str, value: &str, place: Place) -> Result<(), String> {
        let row = ROWS.iter().find(|row| row.key == key);
        let row = row.expect("the caller has asked whether it is a rule");
        if key == "enforce.auth.enabled" {
            self.enforced_at = Some(place);
        } else if key == "sessionRequireClientSASLAuth" {
            self.sasl_required_at = Some(place);
        }
        let shown = if is_secret(key) { "the value" } else { value };
        (row.set)(self, value).map_err(|allowed| format!("{key}: `{shown}` is not {allowed}"))
    }

    /// Puts together what belongs together.
    ///
    /// # Errors
    /// Authentication is enforced, but nobody could authenticate: no scheme is named, or one that
    /// this server can not check. ZooKeeper does not start then, either.
    pub(super) fn finish(&self) -> Result<Rules, Complaint> {
        let mut rules = self.rules.clone();
        if self.require_sasl {
            rules.enforced_schemes = vec!["sasl".to_owned()];
        } else if self.enforce {
            if self.schemes.is_empty() {
                return Err(Complaint {
                    place: self.enforced_at,
                    text: "enforce.auth.enabled is true, but enforce.auth.schemes names no scheme"
                        .into(),
                });
            }
            rules.enforced_schemes = self.schemes.clone();
        }
        let can_check = |s: &str| s == "ip" || (s == "digest" && rules.digest_auth);
        if let Some(scheme) = rules.enforced_schemes.iter().find(|s| !can_check(s)) {
            let (place, key) = if self.require_sasl {
                (self.sasl_required_at, "sessionRequireClientSASLAuth")
            } else {
                (self.enforced_at, "enforce.auth.enabled")
            };
            return Err(Complaint {
                place,
                text: format!("{key} is true, but this server has no provider of `{scheme}`"),
            });
        }
        if self.is_weighted {
            let SessionWeights {
                global,
                renew,
                local,
            } = self.weights.0;
            // A session of the ensemble is never cheaper than one of this server alone, as in
            // ZooKeeper; and the tokens are given in sessions of the ensemble.
            let (global, renew) = (global.max(local), renew.max(local));
            rules.throttle.weights = Some(SessionWeights {
                global,
                renew,
                local,
            });
        }
        Ok(rules)
    }
}

// ----- values -----

/// Java's `Boolean.parseBoolean`, except that it takes anything else for `false`.
fn boolean(value: &str, to: &mut bool) -> Result<(), String> {
    *to = match value.to_ascii_lowercase().as_str() {
        "true" => true,
        "false" => false,
        _ => return Err("true or false".into()),
    };
    Ok(())
}

/// What ZooKeeper's `skipACL` wants instead.
fn yes(value: &str, to: &mut bool) -> Result<(), String> {
    *to = match value {
        "yes" => true,
        "no" => false,
        _ => return Err("yes or no".into()),
    };
    Ok(())
}

fn number<T>(value: &str, least: T, most: T, to: &mut T) -> Result<(), String>
where
    T: TryFrom<i128> + PartialOrd + std::fmt::Display,
{
    let parsed = decode(value).and_then(|n| T::try_from(n).ok());
    match parsed {
        Some(n) if n >= least && n <= most => {
            *to = n;
            Ok(())
        }
        _ => Err(format!("a whole number from {least} to {most}")),
    }
}

/// Numbers as Java's `Integer.getInteger` reads them: also `0x1F`, `#1F` and `017`.
fn decode(value: &str) -> Option<i128> {
    let (sign, digits) = match value.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, value.strip_prefix('+').unwrap_or(value)),
    };
    if digits.starts_with(['+', '-']) {
        return None;
    }
    let hex = ["0x", "0X", "#"]
        .iter()
        .find_map(|p| digits.strip_prefix(p));
    let parsed = match (hex, digits.strip_prefix('0')) {
        (Some(hex), _) => i128::from_str_radix(hex, 16),
        (None, Some(octal)) if !octal.is_empty() => i128::from_str_radix(octal, 8),
        _ => digits.parse(),
    };
    parsed.ok().map(|n| sign * n)
}

fn millis(value: &str, least: u64, to: &mut Duration) -> Result<(), String> {
    let mut ms = 0;
    number(value, least, i32::MAX as u64, &mut ms).map_err(|a| format!("{a} (milliseconds)"))?;
    *to = Duration::from_millis(ms);
    Ok(())
}

fn list(value: &str, to: &mut Vec<String>) -> Result<(), String> {
    let names = value.split(',').map(str::trim).filter(|s| !s.is_empty());
    *to = names.map(str::to_owned).collect();
    Ok(())
}

/// `super:` and the base64 of a SHA-1.
fn super_digest(value: &str, to: &mut Option<String>) -> Result<(), String> {
    let Some((user, hash)) = value.split_once(':') else {
        return Err("USER:HASH, as ZooKeeper's DigestAuthenticationProvider prints it".into());
    };
    if user.is_empty() || hash.is_empty() {
        return Err("USER:HASH with both of them".into());
    }
    *to = Some(value.to_owned());
    Ok(())
}

#[cfg(test)]
mod tests;
