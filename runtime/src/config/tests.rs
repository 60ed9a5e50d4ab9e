use std::time::Duration;

use vivarium_core::config::LearnerType;
use vivarium_core::ids::ServerId;
use vivarium_storage::Packing;

use super::{Endpoint, Loaded, parse};

const THREE: &str = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/d\nclientPort=2181\n\
                     server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888\n";

fn loaded(text: &str) -> Loaded {
    parse(text.as_bytes(), Vec::new(), |_| Ok(ServerId(2)))
        .unwrap_or_else(|c| panic!("{text}: {c}"))
}

fn refused(text: &str) -> String {
    let found = parse(text.as_bytes(), Vec::new(), |_| Ok(ServerId(2)));
    found
        .map(|l| format!("accepted: {l:?}"))
        .unwrap_or_else(|c| c.to_string())
}

fn warned(text: &str) -> String {
    loaded(text).warnings.join("\n")
}

#[test]
fn standalone_defaults() {
    let Loaded {
        settings: s,
        warnings,
    } = loaded("dataDir=/d\nclientPort=2181\n");
    assert!(s.is_standalone());
    assert_eq!(s.me, ServerId(0));
    assert_eq!(s.tick, Duration::from_secs(3));
    assert_eq!(s.session_timeout_min, Duration::from_secs(6));
    assert_eq!(s.session_timeout_max, Duration::from_secs(60));
    assert_eq!(
        (s.rules.address_connections_max, s.snap_count),
        (60, 100_000)
    );
    assert_eq!(
        s.client,
        Endpoint {
            host: "0.0.0.0".into(),
            port: 2181
        }
    );
    assert_eq!(s.log_dir, s.data_dir);
    assert_eq!(warnings, [] as [&str; 0]);
}

#[test]
fn without_a_file_a_server_serves_this_machine() {
    let found = super::without_file().expect("usable");
    // Options in the environment of the tests would be obeyed as well.
    let rules = found.settings.rules.clone();
    let expected = super::Settings {
        rules,
        ..super::Settings::standalone()
    };
    assert_eq!(found.settings, expected);
}

#[test]
fn ensemble_of_three() {
    let Loaded {
        settings: s,
        warnings,
    } = loaded(THREE);
    assert_eq!(s.me, ServerId(2));
    assert_eq!(s.members.len(), 3);
    assert_eq!((s.init_limit, s.sync_limit), (10, 5));
    assert_eq!(s.session_timeout_min, Duration::from_secs(4));
    assert_eq!(s.peer_bind_host(), "b");
    assert_eq!(warnings, [] as [&str; 0]);
    let config = s.core(7);
    assert!(!config.is_standalone() && !config.is_observer());
    assert_eq!(config.seed, 7);
}

#[test]
fn one_voter_is_standalone_unless_it_insists() {
    let one = "dataDir=/d\nclientPort=2181\ninitLimit=10\nsyncLimit=5\nserver.2=a:2888:3888\n";
    assert!(loaded(one).settings.is_standalone());
    let insists = format!("{one}standaloneEnabled=false\n");
    assert_eq!(loaded(&insists).settings.members.len(), 1);
}

#[test]
fn observers() {
    let text = format!("{THREE}server.4=d:2888:3888:observer\npeerType=observer\n");
    let Loaded {
        settings: s,
        warnings,
    } = loaded(&text);
    assert_eq!(s.members[&ServerId(4)].kind, LearnerType::Observer);
    assert_eq!(
        warnings,
        ["line 10: peerType differs from line 7, which is obeyed (Participant)"]
    );
}

#[test]
fn client_port_from_the_server_line() {
    let base = "tickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=/d\nserver.1=a:2888:3888\n";
    let own = format!("{base}server.2=b:2888:3888;10.0.0.2:2182\n");
    assert_eq!(loaded(&own).settings.client.to_string(), "10.0.0.2:2182");
    let agreeing = format!("{own}clientPort=2182\n");
    assert_eq!(
        loaded(&agreeing).settings.client.to_string(),
        "10.0.0.2:2182"
    );
    let bare = format!("{base}server.2=b:2888:3888;2182\nclientPortAddress=::1\n");
    assert_eq!(loaded(&bare).settings.client.to_string(), "[::1]:2182");
    let other = format!("{own}clientPort=2181\n");
    assert_eq!(
        refused(&other),
        "line 7: clientPort is 2181 (line 7), but the own server line says 2182 (line 6)"
    );
    let elsewhere = format!("{own}clientPortAddress=10.0.0.9\n");
    assert!(refused(&elsewhere).starts_with("line 7: clientPortAddress is 10.0.0.9"));
}

#[test]
fn own_line_with_the_wildcard_binds_everything() {
    let text = THREE.replace("server.2=b", "server.2=0.0.0.0");
    assert_eq!(loaded(&text).settings.peer_bind_host(), "0.0.0.0");
    let listen = format!("{THREE}quorumListenOnAllIPs=true\n");
    assert_eq!(loaded(&listen).settings.peer_bind_host(), "0.0.0.0");
    let other = THREE.replace("server.1=a", "server.1=0.0.0.0");
    assert!(warned(&other).starts_with("line 6: 0.0.0.0 is no address of server.1"));
}

#[test]
fn refusals_name_the_line() {
    let plain = "dataDir=/d\nclientPort=2181\n";
    for (text, says) in [
        ("clientPort=2181\n", "dataDir is not set"),
        ("dataDir=/d\n", "clientPort is not set; 2181 is usual"),
        ("dataDir=\nclientPort=1\n", "line 1: dataDir is empty"),
        (
            &format!("{plain}tickTime=2s\n"),
            "line 3: tickTime: `2s` is not a whole number",
        ),
        (
            &format!("{plain}tickTime=0\n"),
            "line 3: tickTime must be at least 1 millisecond",
        ),
        (
            &format!("{plain}maxClientCnxns=-1\n"),
            "line 3: maxClientCnxns: `-1` is not a whole number from 0 to 2147483647",
        ),
        (
            &format!("{plain}\n# x\nclientPort=99999\n"),
            "line 5: clientPort `99999` is not a number from 1 to 65535",
        ),
        (
            "dataDir=/d\nclientPort=70000\nclientPort=2181\n",
            "line 2: clientPort `70000` is not a number from 1 to 65535",
        ),
        (
            "dataDir=/d\nclientPortAddress=::1\n",
            "line 2: clientPortAddress is set, but not clientPort",
        ),
        (
            &format!("{plain}minSessionTimeout=70000\n"),
            "line 3: minSessionTimeout (70000 ms) is longer than maxSessionTimeout (60000 ms); \
             unset, they are 2 and 20 times tickTime",
        ),
        (
            &format!("{plain}server.1=a:2888\n"),
            "line 3: server.1: `a:2888` is not \
             host:quorumPort:electionPort[:participant|:observer]",
        ),
        (
            &format!("{plain}server.x=a:1:2\n"),
            "line 3: `server.x` must end in a server's number",
        ),
        (
            &format!("{plain}server.1=a:1:2:observer\n"),
            "line 3: all servers are observers; at least one must be a participant",
        ),
        (
            &format!("{plain}server.1=a:1:2\nserver.2=b:1:2:observer\n"),
            "line 3: one participant with observers is no ensemble; \
             set standaloneEnabled=false to run it as one",
        ),
        (
            &format!("{plain}secureClientPort=2281\n"),
            "line 3: secureClientPort can not be obeyed: TLS is not supported",
        ),
        (
            &format!("{plain}sslQuorum=true\n"),
            "line 3: sslQuorum=true can not be obeyed: TLS is not supported",
        ),
        (
            &format!("{plain}electionAlg=0\n"),
            "line 3: electionAlg=0 can not be obeyed: only fast leader election exists",
        ),
        (
            &format!("{plain}standaloneEnabled=maybe\n"),
            "line 3: standaloneEnabled: `maybe` is neither true nor false",
        ),
        (
            &THREE.replace("initLimit=10\n", ""),
            "initLimit is not set; an ensemble needs it",
        ),
        (
            &THREE.replace("syncLimit=5", "syncLimit=0"),
            "line 3: syncLimit must be at least 1",
        ),
        (
            &THREE.replace("server.2=b", "server.9=b"),
            "myid says 2, but there is no server.2: the servers are server.1, server.3, server.9",
        ),
        (
            &THREE.replace("server.3=c", "server.3=a"),
            "line 8: server.3 and server.1 (line 6) both use a:2888",
        ),
        (
            &THREE.replace("server.3=c", "server.2=c"),
            "line 8: server.2 is already `b:2888:3888` at line 7: two servers can not share",
        ),
        (
            &THREE.replace("server.3=c", "server.02=c"),
            "line 8: server 2 was already given at line 7",
        ),
    ] {
        let found = refused(text);
        assert!(
            found.starts_with(says),
            "{text}\n  found: {found}\n  wants: {says}"
        );
    }
}

#[test]
fn the_error_of_myid_is_passed_on() {
    let found = parse(THREE.as_bytes(), Vec::new(), |dir| {
        Err(format!("{}/myid is odd", dir.display()))
    });
    assert_eq!(found.expect_err("no id").to_string(), "/d/myid is odd");
}

#[test]
fn oddities_are_warned_about() {
    let plain = "dataDir=/d\nclientPort=2181\n";
    for (text, says) in [
        (
            &format!("{plain}ticktime=2000\n"),
            "line 3: unknown key ticktime, ignored; did you mean tickTime?",
        ),
        (
            &format!("{plain}colour=red\n"),
            "line 3: unknown key colour, ignored",
        ),
        (
            &format!("{plain}clientPort=2182\n"),
            "line 3: clientPort was already given at line 2; `2182` is used",
        ),
        (
            &format!("{plain}forceSync=no\n"),
            "line 3: forceSync has no effect: every acknowledged",
        ),
        (
            &format!("{plain}4lw.commands.whitelist=srvr, dump\n"),
            "line 3: the word dump is not answered here",
        ),
        (
            &format!("{plain}datadir=/e\n"),
            "line 3: datadir is not a key of ZooKeeper",
        ),
        (
            &THREE.replace("server.3=c:2888:3888\n", ""),
            "2 voters tolerate no failure; use 3",
        ),
        (
            &format!("{THREE}server.4=d:2888:3888\n"),
            "4 voters tolerate no more failures than 3",
        ),
        (
            &format!("{THREE}server.300=d:1:2\nserver.5=e:1:2\n"),
            "line 9: server.300 is above 255",
        ),
    ] {
        let found = warned(text);
        assert!(
            found.starts_with(says),
            "{text}\n  found: {found}\n  wants: {says}"
        );
    }
}

#[test]
fn the_last_of_two_values_wins() {
    let found = loaded("dataDir=/d\nclientPort=2181\ntickTime=2000\ntickTime=4000\n");
    assert_eq!(found.settings.tick, Duration::from_secs(4));
}

#[test]
fn datadir_in_lower_case_is_taken_loudly() {
    let found = loaded("datadir=/d\nclientPort=2181\n");
    assert_eq!(found.settings.data_dir.to_str(), Some("/d"));
    assert!(
        found.warnings[0].contains("THE KEY IS dataDir"),
        "{:?}",
        found.warnings
    );
}

#[test]
fn whitelist() {
    let with = |list: &str| {
        let text = format!("dataDir=/d\nclientPort=2181\n4lw.commands.whitelist={list}\n");
        loaded(&text).settings.words
    };
    assert_eq!(
        with("*"),
        ["ruok", "srvr", "stat", "mntr", "conf", "envi", "isro"]
    );
    assert_eq!(with("mntr, srvr"), ["srvr", "mntr"]);
    assert_eq!(with(""), [] as [&str; 0]);
    assert!(
        loaded("dataDir=/d\nclientPort=1\n")
            .settings
            .answers("mntr")
    );
}

#[test]
fn session_timeouts_follow_the_tick_unless_given() {
    let found = loaded("dataDir=/d\nclientPort=1\ntickTime=500\nmaxSessionTimeout=2000\n");
    assert_eq!(found.settings.session_timeout_min, Duration::from_secs(1));
    assert_eq!(found.settings.session_timeout_max, Duration::from_secs(2));
    let found = loaded("dataDir=/d\nclientPort=1\nminSessionTimeout=-1\n");
    assert_eq!(found.settings.session_timeout_min, Duration::from_secs(6));
}

#[test]
fn snapshots_are_packed_as_zookeeper_is_told_to() {
    let packing = |value: &str| {
        let text = format!("dataDir=/d\nclientPort=2181\nsnapshot.compression.method={value}\n");
        loaded(&text).settings.packing
    };
    assert_eq!(packing(""), Packing::Plain);
    assert_eq!(packing("gz"), Packing::Gzip);
    assert_eq!(packing("SNAPPY"), Packing::Snappy);
    let said = refused("dataDir=/d\nclientPort=2181\nsnapshot.compression.method=zip\n");
    assert!(said.contains("line 3") && said.contains("zip"), "{said}");
}

#[test]
fn the_reserve_of_a_disk() {
    for (line, kib) in [("", 4_096), ("256", 256), ("0", 0)] {
        let key = if line.is_empty() {
            ""
        } else {
            "vivarium.diskReserve="
        };
        let settings = loaded(&format!("dataDir=/d\nclientPort=1\n{key}{line}\n")).settings;
        assert_eq!(settings.disk_reserve, kib << 10);
    }
    let text = refused("dataDir=/d\nclientPort=1\nvivarium.diskReserve=1\n");
    assert!(
        text.contains("neither 0 nor a number of KiB from 64"),
        "{text}"
    );
}

#[test]
fn logs_alone_are_trusted_when_the_operator_says_so() {
    let text = "dataDir=/d\nclientPort=2181\n";
    assert!(!loaded(text).settings.trust_empty);
    let text = format!("{text}snapshot.trust.empty=true\n");
    assert!(loaded(&text).settings.trust_empty);
}

#[test]
fn purges_are_on_unless_they_are_switched_off() {
    for (line, hours) in [
        ("", Some(1)),
        ("autopurge.purgeInterval=24\n", Some(24)),
        ("autopurge.purgeInterval=2d\n", Some(48)),
        ("autopurge.purgeInterval=0\n", None),
    ] {
        let settings = loaded(&format!("dataDir=/d\nclientPort=1\n{line}")).settings;
        let interval = hours.map(|h| std::time::Duration::from_secs(h * 3_600));
        assert_eq!(settings.purge_interval, interval, "{line}");
        assert_eq!(settings.snap_retain, 3);
    }
}
