//! Which keys exist, and what becomes of those that ZooKeeper knows and this server does not act
//! on. A key that changes who counts as a quorum, or what a client may trust, is never ignored.

/// What to do with a key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Treatment {
    /// Read and obeyed.
    Used,
    /// Harmless to ignore; the operator is told why.
    Ignored(&'static str),
    /// Only this value (in any case) can be obeyed: the value, and what another one would need.
    Only(&'static str, &'static str),
    /// Can not be ignored and is not done: why.
    Refused(&'static str),
}

use super::rules;
use Treatment::{Ignored, Only, Refused, Used};

const FSYNC_WARNING: &str = "fsync.warningthresholdms";

const TUNING: &str = "it tunes a part that Vivarium does not have";
const TLS: &str = "TLS is not supported";
const SASL: &str = "authentication between servers is not supported";
const WEIGHTS: &str = "hierarchical quorums are not supported; every voter counts the same";

const BLUE: &str = "handshakes are refused when the tokens are spent, never at random before";

/// Every key of ZooKeeper's static configuration that is known here, sorted; the rules for clients
/// are in a table of their own.
const KEYS: &[(&str, Treatment)] = &[
    ("4lw.commands.whitelist", Used),
    ("admin.enableServer", Ignored("there is no admin server")),
    ("admin.serverPort", Ignored("there is no admin server")),
    ("autopurge.purgeInterval", Used),
    ("autopurge.snapRetainCount", Used),
    ("client.portUnification", Only("false", TLS)),
    ("clientPort", Used),
    ("clientPortAddress", Used),
    ("clientPortListenBacklog", Ignored(TUNING)),
    (
        "commitLogCount",
        Ignored("the last 500 transactions are kept for learners"),
    ),
    ("connectToLearnerMasterLimit", Ignored("initLimit is used")),
    ("connection_throttle_decrease_ratio", Ignored(BLUE)),
    ("connection_throttle_drop_decrease", Ignored(BLUE)),
    ("connection_throttle_drop_increase", Ignored(BLUE)),
    ("connection_throttle_freeze_time", Ignored(BLUE)),
    ("dataDir", Used),
    ("dataLogDir", Used),
    ("datadir", Used),
    (
        "dynamicConfigFile",
        Refused("list the servers in this file: it is read once at start"),
    ),
    ("electionAlg", Only("3", "only fast leader election exists")),
    (
        "forceSync",
        Ignored("every acknowledged write is synced to disk"),
    ),
    (FSYNC_WARNING, Used),
    ("initLimit", Used),
    ("leaderServes", Ignored("the leader always serves clients")),
    ("maxSessionTimeout", Used),
    ("metricsProvider.className", Ignored("use the word mntr")),
    ("metricsProvider.httpPort", Ignored("use the word mntr")),
    ("minSessionTimeout", Used),
    (
        "multiAddress.enabled",
        Only("false", "a server has one address"),
    ),
    (
        "observerMasterPort",
        Ignored("observers connect to the leader"),
    ),
    (
        "oraclePath",
        Refused("a quorum is a majority of the voters"),
    ),
    ("peerType", Used),
    ("portUnification", Only("false", TLS)),
    ("preAllocSize", Ignored(TUNING)),
    ("quorum.auth.enableSasl", Only("false", SASL)),
    ("quorum.auth.learnerRequireSasl", Only("false", SASL)),
    ("quorum.auth.serverRequireSasl", Only("false", SASL)),
    ("quorumListenOnAllIPs", Used),
    (
        "reconfigEnabled",
        Ignored("the members are those of this file"),
    ),
    (
        "request_stale_connection_check",
        Ignored("what waits for a closed connection is dropped with it"),
    ),
    (
        "request_throttle_stall_time",
        Ignored("a request goes on as soon as there is room"),
    ),
    ("request_throttler.shutdownTimeout", Ignored(TUNING)),
    ("secureClientPort", Refused(TLS)),
    ("secureClientPortAddress", Refused(TLS)),
    ("snapCount", Used),
    ("snapshot.compression.method", Used),
    ("snapshot.trust.empty", Used),
    ("sslQuorum", Only("false", TLS)),
    ("standaloneEnabled", Used),
    ("syncEnabled", Ignored("observers log to disk as well")),
    ("syncLimit", Used),
    ("tickTime", Used),
    ("vivarium.diskReserve", Used),
];

/// The key without the prefix of its system property. ZooKeeper does not take the prefix in its
/// file, but those who know the property's name write it there.
pub(super) fn without_prefix(key: &str) -> Option<&str> {
    let bare = key.strip_prefix("zookeeper.")?;
    treatment(bare).map(|_| bare)
}

/// The key of the file that the system property `name` stands for. What is written in the file
/// alone has none.
pub(super) fn key_of_property(name: &str) -> Option<&str> {
    if let Some(key) = rules::key_of_property(name) {
        return Some(key);
    }
    // ZooKeeper reads this one under both names.
    if name == FSYNC_WARNING {
        return Some(FSYNC_WARNING);
    }
    let key = name.strip_prefix("zookeeper.")?;
    let is_property = match treatment(key)? {
        Used => [
            "4lw.commands.whitelist",
            FSYNC_WARNING,
            "snapCount",
            "snapshot.compression.method",
            "snapshot.trust.empty",
        ]
        .contains(&key),
        Ignored(_) | Only(..) | Refused(_) => true,
    };
    is_property.then_some(key)
}

/// How to treat `key`; none when nobody has heard of it.
pub(super) fn treatment(key: &str) -> Option<Treatment> {
    if let Some((_, treatment)) = KEYS.iter().find(|(known, _)| *known == key) {
        return Some(*treatment);
    }
    if key.starts_with("server.") || rules::is_rule(key) {
        return Some(Used);
    }
    if key.starts_with("group.") || key.starts_with("weight.") {
        return Some(Refused(WEIGHTS));
    }
    if key.starts_with("ssl.") {
        return Some(Ignored(TLS));
    }
    None
}

/// The known key that `key` was probably meant to be.
pub(super) fn nearest(key: &str) -> Option<&'static str> {
    let lower = key.strip_prefix("zookeeper.").unwrap_or(key).to_lowercase();
    if lower.starts_with("server") && lower.bytes().any(|b| b.is_ascii_digit()) {
        return Some("server.N");
    }
    KEYS.iter()
        .filter(|(_, t)| matches!(t, Used))
        .map(|(known, _)| *known)
        .chain(rules::keys())
        .map(|known| (distance(&lower, &known.to_lowercase()), known))
        .filter(|(d, _)| *d <= (lower.len() / 3).max(1))
        .min_by_key(|(d, known)| (*d, *known == "datadir"))
        .map(|(_, known)| known)
}

/// Levenshtein distance in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let replace = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_key() {
        for (typed, meant) in [
            ("ticktime", Some("tickTime")),
            ("tickTim", Some("tickTime")),
            ("zookeeper.snapCoun", Some("snapCount")),
            ("zookeeper.skipAcl", Some("skipACL")),
            ("DataDir", Some("dataDir")),
            ("clientport", Some("clientPort")),
            ("maxClientConnections", None),
            ("maxClientCnxn", Some("maxClientCnxns")),
            ("server1", Some("server.N")),
            ("server_2", Some("server.N")),
            ("colour", None),
        ] {
            assert_eq!(nearest(typed), meant, "{typed}");
        }
    }

    #[test]
    fn keys_that_change_the_quorum_are_never_ignored() {
        for key in ["group.1", "weight.2", "oraclePath", "dynamicConfigFile"] {
            assert!(matches!(treatment(key), Some(Refused(_))), "{key}");
        }
    }

    #[test]
    fn the_table_has_no_key_twice() {
        assert!(
            KEYS.windows(2).all(|w| w[0].0 < w[1].0),
            "sorted, hence unique"
        );
    }
}
