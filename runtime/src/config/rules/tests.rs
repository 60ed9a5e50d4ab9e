use std::time::Duration;

use vivarium_core::config::{Rules, SessionWeights, Throttle};

use super::super::flags::{self, Flag};
use super::super::{Loaded, parse};
use super::{ROWS, deviations};

const BASE: &str = "dataDir=/d\nclientPort=2181\n";

fn flags(jvmflags: &str) -> Vec<Flag> {
    flags::read(|name| (name == "JVMFLAGS").then(|| jvmflags.to_owned()))
}

fn loaded(text: &str, jvmflags: &str) -> Result<Loaded, String> {
    let text = format!("{BASE}{text}");
    let unasked = |_: &std::path::Path| Err("standalone".to_owned());
    parse(text.as_bytes(), flags(jvmflags), unasked).map_err(|c| c.to_string())
}

fn rules(text: &str) -> Rules {
    let loaded = loaded(text, "").unwrap_or_else(|why| panic!("{text}: {why}"));
    assert_eq!(loaded.warnings, [] as [&str; 0], "{text}");
    loaded.settings.rules
}

#[test]
fn the_table_is_sorted() {
    assert!(
        ROWS.windows(2).all(|w| w[0].key < w[1].key),
        "sorted, hence unique"
    );
}

#[test]
fn a_file_without_them_means_the_defaults() {
    assert_eq!(rules(""), Rules::default());
    assert_eq!(deviations(&Rules::default()), [] as [&str; 0]);
}

/// Every key with a value that is not its default, and the rules that come of them all.
const ALL: &str = "DigestAuthenticationProvider.enabled=false
DigestAuthenticationProvider.superDigest=super:aGFzaA==
connection_throttle_fill_count=2
connection_throttle_fill_time=1000
connection_throttle_global_session_weight=5
connection_throttle_local_session_weight=2
connection_throttle_renew_session_weight=3
connection_throttle_tokens=10
connection_throttle_weight_enabled=true
enableEagerACLCheck=true
enforce.auth.enabled=true
enforce.auth.schemes= ip,
enforceQuota=true
extendedTypesEnabled=true
globalOutstandingLimit=50
jute.maxbuffer=0x400000
largeRequestMaxBytes=1000000
largeRequestThreshold=1000
localSessionsEnabled=true
localSessionsUpgradingEnabled=true
maxClientCnxns=0
maxCnxns=100
readonlymode.enabled=TRUE
request_stale_latency_check=true
request_throttle_drop_stale=false
request_throttle_max_requests=20
sessionRequireClientSASLAuth=false
skipACL=yes
throttled_op_wait_time=500
vivarium.diskTimeout=3000
vivarium.memoryLimit=123456789012
znode.container.checkIntervalMs=100
znode.container.maxNeverUsedIntervalMs=300000
znode.container.maxPerMinute=60
";

fn all() -> Rules {
    Rules {
        extended_types: true,
        enforce_quota: true,
        skip_acl: true,
        super_digest: Some("super:aGFzaA==".into()),
        digest_auth: false,
        enforced_schemes: vec!["ip".into()],
        eager_acl_check: true,
        local_sessions: true,
        local_sessions_upgrading: true,
        read_only_mode: true,
        container_check_interval: Duration::from_millis(100),
        container_max_per_minute: 60,
        container_never_used: Duration::from_secs(300),
        frame_bytes_max: 4 << 20,
        outstanding_max: 50,
        address_connections_max: 0,
        connections_max: 100,
        memory_max: 123_456_789_012,
        disk_patience: Duration::from_secs(3),
        epoch_counter_max: Rules::default().epoch_counter_max,
        snapshot_held_max: Rules::default().snapshot_held_max,
        throttle: Throttle {
            requests_max: 20,
            drop_stale: false,
            stale_latency: true,
            wait_max: Duration::from_millis(500),
            tokens: 10,
            fill_time: Duration::from_secs(1),
            fill_count: 2,
            weights: Some(SessionWeights {
                global: 5,
                renew: 3,
                local: 2,
            }),
            large_request: 1_000,
            large_bytes_max: 1_000_000,
        },
    }
}

#[test]
fn every_key_reaches_its_rule() {
    assert_eq!(rules(ALL), all());
    let given: Vec<&str> = ALL
        .lines()
        .map(|l| l.split('=').next().expect("key"))
        .collect();
    let known: Vec<&str> = super::keys().collect();
    assert_eq!(given, known, "the test names every key");
}

#[test]
fn with_the_prefix_they_are_taken_with_a_warning() {
    let text: String = ALL.lines().map(|l| format!("zookeeper.{l}\n")).collect();
    let found = loaded(&text, "").expect("usable");
    assert_eq!(found.settings.rules, all());
    assert_eq!(found.warnings.len(), ALL.lines().count());
    assert_eq!(
        found.warnings[0],
        "line 3: zookeeper.DigestAuthenticationProvider.enabled is taken as \
         DigestAuthenticationProvider.enabled; ZooKeeper itself would not read it with the prefix"
    );
}

#[test]
fn options_of_java_are_taken_as_zookeeper_names_them() {
    let jvmflags = "-Xmx1g -Djava.net.preferIPv4Stack=true -Djute.maxbuffer=8388608 \
                    -Dzookeeper.skipACL=yes -Dreadonlymode.enabled=true -Dzookeeper.snapCount=7 \
                    -Dznode.container.checkIntervalMs=5 -Dzookeeper.4lw.commands.whitelist=srvr";
    let Loaded { settings, warnings } = loaded("", jvmflags).expect("usable");
    assert_eq!(warnings, [] as [&str; 0]);
    assert_eq!(settings.rules.frame_bytes_max, 8 << 20);
    assert!(settings.rules.skip_acl && settings.rules.read_only_mode);
    assert_eq!(
        settings.rules.container_check_interval,
        Duration::from_millis(5)
    );
    assert_eq!((settings.snap_count, settings.words), (7, vec!["srvr"]));
}

#[test]
fn the_file_wins_over_options_and_the_last_option_over_others() {
    let jvmflags = "-Dzookeeper.maxCnxns=5 -Dzookeeper.maxCnxns=6 -Djute.maxbuffer=bad";
    let found = loaded("jute.maxbuffer=2000\n", jvmflags).expect("the bad one does not count");
    assert_eq!(found.settings.rules.connections_max, 6);
    assert_eq!(found.settings.rules.frame_bytes_max, 2_000);
}

#[test]
fn unknown_options_are_told() {
    let jvmflags = "-Dzookeeper.maxCnxn=5 -Dzookeeper.tickTime=5 -DskipACL=yes";
    let found = loaded("", jvmflags).expect("usable");
    assert_eq!(
        found.warnings,
        [
            "JVMFLAGS: unknown option -Dzookeeper.maxCnxn, ignored",
            "JVMFLAGS: unknown option -Dzookeeper.tickTime, ignored",
        ],
        "tickTime is no property, and skipACL has the prefix or is Java's own"
    );
    assert!(!found.settings.rules.skip_acl);
}

#[test]
fn bad_values_are_refused_with_what_is_allowed() {
    for (text, says) in [
        ("skipACL=true", "line 3: skipACL: `true` is not yes or no"),
        (
            "enforceQuota=yes",
            "line 3: enforceQuota: `yes` is not true or false",
        ),
        (
            "jute.maxbuffer=4m",
            "line 3: jute.maxbuffer: `4m` is not a whole number from 128 to 67108864",
        ),
        (
            "jute.maxbuffer=67108865",
            "line 3: jute.maxbuffer: `67108865` is not a whole number from 128 to 67108864",
        ),
        (
            "globalOutstandingLimit=0",
            "line 3: globalOutstandingLimit: `0` is not a whole number from 1 to 2147483647",
        ),
        (
            "largeRequestThreshold=-2",
            "line 3: largeRequestThreshold: `-2` is not a whole number from 0 to 2147483647, or -1",
        ),
        (
            "throttled_op_wait_time=1s",
            "line 3: throttled_op_wait_time: `1s` is not a whole number from 0 to 2147483647 \
             (milliseconds)",
        ),
        (
            "DigestAuthenticationProvider.superDigest=secret",
            "line 3: DigestAuthenticationProvider.superDigest: `the value` is not USER:HASH, as",
        ),
        (
            "#\nenforce.auth.enabled=true",
            "line 4: enforce.auth.enabled is true, but enforce.auth.schemes names no scheme",
        ),
        (
            "enforce.auth.enabled=true\nenforce.auth.schemes=ip,x509",
            "line 3: enforce.auth.enabled is true, but this server has no provider of `x509`",
        ),
        (
            "enforce.auth.schemes=digest\nenforce.auth.enabled=true\n\
             DigestAuthenticationProvider.enabled=false",
            "line 4: enforce.auth.enabled is true, but this server has no provider of `digest`",
        ),
        (
            "#\nsessionRequireClientSASLAuth=true",
            "line 4: sessionRequireClientSASLAuth is true, but this server has no provider of \
             `sasl`",
        ),
    ] {
        let found = loaded(text, "").map(|l| l.settings).expect_err(text);
        assert!(found.starts_with(says), "{text}\n  {found}\n  {says}");
    }
    let found = loaded("", "-Dzookeeper.skipACL=1").expect_err("refused");
    assert_eq!(found, "JVMFLAGS: skipACL: `1` is not yes or no");
}

#[test]
fn numbers_as_java_reads_them() {
    for (text, value) in [
        ("4194304", Some(4_194_304)),
        ("+7", Some(7)),
        ("-1", Some(-1)),
        ("0x400000", Some(4_194_304)),
        ("#fF", Some(255)),
        ("-0X10", Some(-16)),
        ("017", Some(15)),
        ("0", Some(0)),
        ("", None),
        ("08", None),
        ("+-1", None),
        ("1k", None),
    ] {
        assert_eq!(super::decode(text), value, "{text}");
    }
}

#[test]
fn schemes_alone_enforce_nothing() {
    assert_eq!(
        rules("enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip\n").enforced_schemes,
        ["digest", "ip"]
    );
    assert_eq!(
        rules("enforce.auth.schemes=digest,x509\n").enforced_schemes,
        [] as [&str; 0]
    );
}

#[test]
fn the_super_user_is_not_shown() {
    let found = rules("DigestAuthenticationProvider.superDigest=super:hash\nskipACL=yes\n");
    assert_eq!(
        deviations(&found),
        [
            "DigestAuthenticationProvider.superDigest=(set)",
            "skipACL=yes"
        ]
    );
    let twice = "DigestAuthenticationProvider.superDigest=a:b\n".repeat(2);
    let warnings = loaded(&twice, "").expect("usable").warnings.join("\n");
    assert!(
        warnings.contains("the later value") && !warnings.contains("a:b"),
        "{warnings}"
    );
}
