//! What an operator meets: the four-letter words, a clean stop, and starts that must be refused
//! with a message that names the thing and the cure.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use vivarium_tests::client::{Client, Failure, flag, four_letters};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::writers::{Writers, assert_nothing_lost};
use vivarium_tests::{peers, program, wait};

/// How long a server may take to find that it can not start.
const REFUSAL: Duration = Duration::from_secs(15);

/// `key: value` or `key=value` or `key<tab>value` lines.
fn table(text: &str, separator: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.split_once(separator));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn word(ensemble: &Ensemble, id: i64, word: &str) -> String {
    four_letters(ensemble.client_address(id), word).expect("the word is answered")
}

#[test]
fn four_letter_words_of_a_standalone_server() {
    let ensemble = Plan::new("words-standalone", 1).start();
    let mut client = ensemble.client(1);
    client
        .create("/a", b"12345", flag::EPHEMERAL)
        .expect("a write is answered");
    client.exists("/watched", true).expect("a read is answered");
    assert_eq!(word(&ensemble, 1, "ruok"), "imok");
    assert_eq!(word(&ensemble, 1, "isro"), "rw");
    let srvr = word(&ensemble, 1, "srvr");
    let lines = table(&srvr, ": ");
    assert_eq!(lines["Mode"], "standalone");
    assert_eq!(lines["Zxid"], format!("{:#x}", client.last_zxid()));
    assert_eq!(lines["Node count"], "6");
    for key in [
        "Latency min/avg/max",
        "Received",
        "Sent",
        "Connections",
        "Outstanding",
    ] {
        assert!(lines.contains_key(key), "no {key} in {srvr}");
    }
    assert!(srvr.starts_with("Zookeeper version: "), "{srvr}");
    let stat = word(&ensemble, 1, "stat");
    assert!(stat.contains("\nClients:\n /127.0.0.1:"), "{stat}");
    let conf = table(&word(&ensemble, 1, "conf"), "=");
    assert_eq!(
        conf["clientPort"],
        ensemble.client_address(1).port().to_string()
    );
    assert_eq!(conf["tickTime"], "500");
    assert_eq!(
        (&*conf["minSessionTimeout"], &*conf["maxSessionTimeout"]),
        ("1000", "10000")
    );
    assert!(conf["dataDir"].ends_with("version-2"), "{conf:?}");
    assert_eq!(conf["serverId"], "0");
    let mntr = table(&word(&ensemble, 1, "mntr"), "\t");
    let expected = [
        ("zk_server_state", "standalone"),
        ("zk_znode_count", "6"),
        ("zk_ephemerals_count", "1"),
        ("zk_watch_count", "1"),
        ("zk_outstanding_requests", "0"),
    ];
    for (key, value) in expected {
        assert_eq!(
            mntr.get(key).map(String::as_str),
            Some(value),
            "{key} in {mntr:?}"
        );
    }
    for key in [
        "zk_version",
        "zk_avg_latency",
        "zk_num_alive_connections",
        "zk_packets_received",
    ] {
        assert!(mntr.contains_key(key), "no {key} in {mntr:?}");
    }
}

#[test]
fn four_letter_words_of_three_servers() {
    let ensemble = Plan::new("words-three", 3).start();
    let leader = ensemble.wait_leader();
    for id in ensemble.ids() {
        let role = if id == leader { "leader" } else { "follower" };
        let mntr = table(&word(&ensemble, id, "mntr"), "\t");
        assert_eq!(mntr["zk_server_state"], role);
        if id == leader {
            assert_eq!(mntr["zk_synced_followers"], "2");
            assert!(word(&ensemble, id, "srvr").contains("\nProposal sizes last/min/max: "));
        }
        let conf = word(&ensemble, id, "conf");
        assert_eq!(table(&conf, "=")["serverId"], id.to_string());
        assert!(
            conf.contains(&format!("\nserver.{leader}=127.0.0.1:")),
            "{conf}"
        );
        assert_eq!(word(&ensemble, id, "isro"), "rw");
    }
}

#[test]
fn four_letter_words_without_a_quorum() {
    let mut ensemble = Plan::new("words-alone", 3).prepare();
    ensemble.spawn(1);
    let address = ensemble.client_address(1);
    let ruok = wait::until("the port is open", REFUSAL, || {
        four_letters(address, "ruok").ok()
    });
    assert_eq!(ruok, "imok");
    assert_eq!(word(&ensemble, 1, "isro"), "null");
    for name in ["srvr", "stat", "mntr"] {
        let text = word(&ensemble, 1, name);
        assert_eq!(
            text,
            "This ZooKeeper instance is not currently serving requests\n"
        );
    }
}

#[test]
fn sigterm_stops_cleanly_under_load() {
    let mut ensemble = Plan::new("sigterm", 3).start();
    let servers: Vec<SocketAddr> = ensemble
        .ids()
        .iter()
        .map(|id| ensemble.client_address(*id))
        .collect();
    let writers = Writers::start(&servers, 4, 0);
    for id in ensemble.ids() {
        let start = Instant::now();
        let status = ensemble.terminate(id);
        // Java's virtual machine ends with 128 + 15 whatever the program says.
        let clean = if ensemble_is_vivarium() { 0 } else { 143 };
        assert_eq!(
            status.code(),
            Some(clean),
            "server {id} ended with {status}"
        );
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "took {:?}",
            start.elapsed()
        );
        ensemble.start(id);
    }
    let acknowledged = writers.stop();
    ensemble.start_all();
    assert_nothing_lost(&mut ensemble.client(1), 0, &acknowledged);
}

fn ensemble_is_vivarium() -> bool {
    Kind::under_test().is_vivarium()
}

/// Starts server 1 and expects it to refuse: its log.
fn refusal(ensemble: &mut Ensemble) -> String {
    ensemble.spawn(1);
    let status = ensemble.wait_exit(1, REFUSAL);
    assert!(!status.success(), "a refused start ends with {status}");
    ensemble.log(1)
}

#[track_caller]
fn assert_says(text: &str, all: &[&str]) {
    if ensemble_is_vivarium() {
        for part in all {
            assert!(text.contains(part), "no {part:?} in: {text}");
        }
    }
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    if !ensemble_is_vivarium() {
        return peers::skip(
            "second server on one directory",
            "ZooKeeper does not notice",
        );
    }
    let mut first = Plan::new("lock-first", 1).start();
    let data = first.data_dir(1);
    let line = format!("dataDir={}", data.display());
    let mut second = Plan::new("lock-second", 1).prepare();
    let config = fs::read_to_string(second.config_path(1)).expect("the file is there");
    let own = format!("dataDir={}", second.data_dir(1).display());
    fs::write(second.config_path(1), config.replace(&own, &line)).expect("writable");
    let said = refusal(&mut second);
    assert_says(&said, &[&*data.to_string_lossy(), "another"]);
    first.assert_alive(&[1]);
    first
        .client(1)
        .create("/still", b"", flag::PERSISTENT)
        .expect("a write is answered");
    // The lock goes with the process, however it dies.
    first.kill(1);
    second.start(1);
    assert!(
        second
            .client(1)
            .exists("/still", false)
            .expect("a read is answered")
            .is_some()
    );
}

#[test]
fn a_busy_port_is_named() {
    let mut ensemble = Plan::new("busy-port", 1).prepare();
    let address = ensemble.client_address(1);
    let taken = TcpListener::bind(address).expect("the port is reserved for this test");
    let said = refusal(&mut ensemble);
    assert_says(&said, &[&address.to_string(), "clientPort"]);
    drop(taken);
    ensemble.start(1);
}

#[test]
fn a_busy_election_port_is_named() {
    if !ensemble_is_vivarium() {
        return peers::skip(
            "busy election port",
            "ZooKeeper retries for longer than this test",
        );
    }
    let mut ensemble = Plan::new("busy-election-port", 3).prepare();
    let address = ensemble.election_address(1);
    let taken = TcpListener::bind(address).expect("the port is reserved for this test");
    let said = refusal(&mut ensemble);
    assert_says(&said, &[&address.to_string(), "server.1"]);
    drop(taken);
    ensemble.start_all();
}

#[test]
fn a_bad_configuration_names_the_line() {
    let cases: &[(&str, &[&str])] = &[
        ("tickTime=fast", &["line 2", "tickTime", "fast"]),
        ("tickTime=-5", &["line 2", "tickTime"]),
        ("clientPort=70000", &["line 2", "clientPort", "70000"]),
        ("server.one=127.0.0.1:2888:3888", &["line 2", "server.one"]),
        ("server.1=127.0.0.1", &["line 2", "server.1"]),
        ("server.1=127.0.0.1:port:3888", &["line 2", "server.1"]),
        (
            "minSessionTimeout=9000\nmaxSessionTimeout=3000",
            &["Timeout", "9000", "3000"],
        ),
    ];
    if !ensemble_is_vivarium() {
        return peers::skip("bad configuration", "ZooKeeper names no line");
    }
    for (line, says) in cases {
        let mut ensemble = Plan::new("bad-config", 1).prepare();
        let path = ensemble.config_path(1);
        let data = ensemble.data_dir(1);
        let port = ensemble.client_address(1).port();
        let text = format!("dataDir={}\n{line}\nclientPort={port}\n", data.display());
        fs::write(&path, text).expect("writable");
        let said = refusal(&mut ensemble);
        assert_says(&said, says);
        assert_says(&said, &[&path.to_string_lossy()]);
    }
}

#[test]
fn an_unknown_key_is_told_with_its_line() {
    if !ensemble_is_vivarium() {
        return peers::skip("unknown key", "ZooKeeper makes it a system property");
    }
    let mut ensemble = Plan::new("unknown-key", 1).line("snapCounts=500").prepare();
    ensemble.start(1);
    let config = fs::read_to_string(ensemble.config_path(1)).expect("the file is there");
    let line = config.lines().count();
    assert_says(
        &ensemble.log(1),
        &[&format!("line {line}"), "snapCounts", "snapCount?"],
    );
}

#[test]
fn a_missing_configuration_or_myid_is_named() {
    let mut ensemble = Plan::new("missing-config", 3).prepare();
    let myid = ensemble.data_dir(1).join("myid");
    fs::remove_file(&myid).expect("it was written");
    let said = refusal(&mut ensemble);
    assert_says(&said, &[&myid.to_string_lossy(), "missing"]);
    fs::write(&myid, "7\n").expect("writable");
    let said = refusal(&mut ensemble);
    assert_says(&said, &["7", "server.7"]);
    let config = ensemble.config_path(1);
    fs::remove_file(&config).expect("it was written");
    let said = refusal(&mut ensemble);
    assert_says(&said, &[&config.to_string_lossy()]);
}

#[test]
fn without_a_configuration_it_serves_on_the_usual_port() {
    if !ensemble_is_vivarium() {
        return peers::skip("start without a configuration", "ZooKeeper needs one");
    }
    let address: SocketAddr = ([127, 0, 0, 1], 2181).into();
    if TcpListener::bind(address).is_err() {
        return peers::skip("start without a configuration", "port 2181 is in use here");
    }
    let dir = program::scratch("no-config");
    let output = fs::File::create(dir.join("log.txt")).expect("target is writable");
    let mut command = Command::new(program::vivarium());
    command.arg("serve").current_dir(&dir).stdin(Stdio::null());
    command
        .stdout(output.try_clone().expect("a second handle"))
        .stderr(output);
    let mut child = command.spawn().expect("the server starts");
    let client = wait::poll(REFUSAL, || Client::connect(address, 5_000).ok());
    let worked = client.map(|mut client| client.create("/it", b"works", flag::PERSISTENT));
    drop(child.kill());
    drop(child.wait());
    let said = fs::read_to_string(dir.join("log.txt")).expect("it printed");
    assert!(matches!(worked, Some(Ok(_))), "{worked:?}: {said}");
    let first = said.lines().next().unwrap_or_default();
    assert!(
        first.contains("2181") && first.contains("vivarium-data"),
        "first line: {first}"
    );
    assert!(
        dir.join("vivarium-data/version-2").is_dir(),
        "no data in ./vivarium-data"
    );
    drop(fs::remove_dir_all(dir));
}

#[test]
fn the_number_of_connections_per_address_is_limited() {
    let mut ensemble = Plan::new("max-connections", 1).prepare();
    let path = ensemble.config_path(1);
    let text = fs::read_to_string(&path).expect("the file is there");
    fs::write(&path, text.replace("maxClientCnxns=0", "maxClientCnxns=3")).expect("writable");
    ensemble.start(1);
    let mut held: Vec<_> = (0..3).map(|_| ensemble.client(1)).collect();
    let surplus = Client::connect(ensemble.client_address(1), 5_000);
    assert!(matches!(surplus, Err(Failure::Lost(_))), "{surplus:?}");
    held[0].ping().expect("the others stay");
    held.pop()
        .expect("one")
        .close()
        .expect("closing is answered");
    held.push(ensemble.client(1));
}
