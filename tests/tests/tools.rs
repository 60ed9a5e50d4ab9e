//! The tools that look into a data directory: what they print of one that a server has written, and
//! that they change nothing.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use vivarium_tests::client::flag;
use vivarium_tests::directory::{flip, logs, snapshots};
use vivarium_tests::ensemble::{self, Ensemble, Kind, Plan};
use vivarium_tests::peers;
use vivarium_tests::program;
use vivarium_tests::tool::{complaint, complaint_of_use, printed, run, text};
use vivarium_tests::wait;

/// Every file below a directory and its bytes.
fn content(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(dir).expect("a directory");
    files
        .map(|entry| {
            let path = entry.expect("an entry").path();
            (text(&path).to_owned(), fs::read(&path).expect("a file"))
        })
        .collect()
}

/// A server that has written a few of everything and has stopped.
fn written(name: &str) -> Ensemble {
    let mut ensemble = Plan::new(name, 1)
        .kind(Kind::Vivarium)
        .line("snapCount=42")
        .start();
    let mut client = ensemble.client(1);
    let made = (|| {
        client.create("/jobs", b"", flag::PERSISTENT)?;
        for number in 0..40 {
            client.create(&format!("/jobs/n{number:02}"), b"payload", flag::PERSISTENT)?;
        }
        client.set("/jobs/n03", b"\xff\x00", -1)?;
        client.create("/jobs/lease", b"held", flag::EPHEMERAL)?;
        client.delete("/jobs/n05", -1)
    })();
    made.expect("writes are answered");
    client.close().expect("answered");
    // It is taken after 21 to 42 writes, beside them; the one of the start is there already.
    let version_dir = ensemble.version_dir(1);
    let taken = || (snapshots(&version_dir).len() > 1).then_some(());
    wait::until("a snapshot", ensemble::SERVING, taken);
    ensemble.terminate(1);
    ensemble
}

#[test]
fn a_log_is_dumped_line_by_line() {
    let ensemble = written("tools-log");
    let dir = ensemble.data_dir(1);
    let before = content(&ensemble.version_dir(1));
    let dump = printed(&["log", "dump", text(&dir)]);
    let find = |text: &str| {
        let mut found = dump.lines().filter(|line| line.contains(text));
        let line = found.next().unwrap_or_else(|| panic!("{text} in {dump}"));
        assert_eq!(found.next(), None, "{text} twice");
        line.to_owned()
    };
    let create = find("path=\"/jobs/n07\"");
    assert!(create.contains(" type=create "), "{create}");
    assert!(
        create.contains(" mode=persistent data=payload acl=world:anyone:cdrwa "),
        "{create}"
    );
    assert!(find(" type=setData ").contains("version=1 data=hex:ff00"));
    assert!(find(" mode=ephemeral ").contains("path=\"/jobs/lease\""));
    assert!(find(" type=delete ").contains("path=\"/jobs/n05\""));
    assert!(find(" type=closeSession ").contains("ephemerals=[\"/jobs/lease\"]"));
    let under = printed(&["log", "dump", "--under", "/jobs/n03", text(&dir)]);
    assert_eq!(under.lines().count(), 2, "{under}");
    let json = printed(&[
        "log",
        "dump",
        "--json",
        "--from",
        "0x2",
        "--to",
        "3",
        text(&dir),
    ]);
    let zxids: Vec<_> = json
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON")["zxid"].clone())
        .collect();
    assert_eq!(zxids, ["0x2", "0x3"]);
    assert_eq!(content(&ensemble.version_dir(1)), before, "nothing changes");
}

#[test]
fn a_log_is_verified_and_rot_is_named() {
    let ensemble = written("tools-verify");
    let dir = ensemble.data_dir(1);
    let report = printed(&["log", "verify", text(&dir)]);
    assert!(
        report.lines().all(|line| line.ends_with("end=clean")),
        "{report}"
    );
    let counted: usize = report
        .lines()
        .map(|line| {
            let (_, rest) = line.split_once("transactions=").expect("a count");
            let (count, _) = rest.split_once(' ').expect("more fields");
            count.parse::<usize>().expect("a number")
        })
        .sum();
    let dumped = printed(&["log", "dump", text(&dir)]).lines().count();
    assert_eq!(counted, dumped);
    let first = logs(&ensemble.version_dir(1)).swap_remove(0);
    flip(&first, 100);
    let said = complaint(&["log", "verify", text(&dir)]);
    let name = first.file_name().expect("a name").to_str().expect("text");
    assert!(said.contains(name) && said.contains("offset"), "{said}");
    assert!(complaint(&["log", "verify", "/nowhere"]).contains("/nowhere"));
}

#[test]
fn a_log_is_followed_while_a_server_writes() {
    let ensemble = Plan::new("tools-follow", 1).kind(Kind::Vivarium).start();
    let mut client = ensemble.client(1);
    client
        .create("/before", b"", flag::PERSISTENT)
        .expect("answered");
    let mut follow = Command::new(program::vivarium())
        .args(["log", "follow", text(&ensemble.data_dir(1))])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let output = follow.stdout.take().expect("piped");
    let mut lines = BufReader::new(output)
        .lines()
        .map(|line| line.expect("text"));
    assert!(lines.by_ref().any(|line| line.contains("path=\"/before\"")));
    client
        .create("/after", b"", flag::PERSISTENT)
        .expect("answered");
    assert!(lines.by_ref().any(|line| line.contains("path=\"/after\"")));
    follow.kill().expect("it still runs");
    follow.wait().expect("it ends");
}

#[test]
fn a_snapshot_is_dumped_counted_and_exported() {
    let ensemble = written("tools-snapshot");
    let dir = ensemble.data_dir(1);
    let dump = printed(&["snapshot", "dump", "--under", "/jobs", text(&dir)]);
    let node = "znode path=\"/jobs/n03\" owner=none czxid=0x";
    assert!(dump.lines().any(|line| line.starts_with(node)), "{dump}");
    let verified = printed(&["snapshot", "verify", text(&dir)]);
    assert_eq!(
        verified.lines().count(),
        snapshots(&ensemble.version_dir(1)).len()
    );
    let stat = printed(&["snapshot", "stat", "--json", text(&dir)]);
    let stat: serde_json::Value = serde_json::from_str(&stat).expect("JSON");
    assert_eq!(stat["most_children"][0]["path"], "/jobs", "{stat}");
    let exported = printed(&["snapshot", "export", "--under", "/jobs", text(&dir)]);
    let exported: serde_json::Value = serde_json::from_str(&exported).expect("JSON");
    assert_eq!(exported["znodes"]["/jobs/n01"]["data"], "payload");
    assert!(complaint(&["snapshot", "export", "--under", "/none", text(&dir)]).contains("/none"));
    let newest = snapshots(&ensemble.version_dir(1)).pop().expect("one");
    flip(
        &newest,
        fs::metadata(&newest).expect("a file").len() as usize / 2,
    );
    let said = complaint(&["snapshot", "verify", text(&newest)]);
    assert!(said.contains("is damaged at offset"), "{said}");
}

#[test]
fn fsck_says_what_a_start_would_do() {
    let ensemble = written("tools-fsck");
    let dir = ensemble.data_dir(1);
    let report = printed(&["fsck", text(&dir)]);
    assert!(
        report.contains("a server would start with this directory"),
        "{report}"
    );
    // The end of the last record is gone, as after a crash of another server.
    let last = logs(&ensemble.version_dir(1)).pop().expect("a log");
    let verified = printed(&["log", "verify", text(&last)]);
    let (_, used) = verified.split_once("used=").expect("a length");
    let (used, _) = used.split_once(' ').expect("more fields");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&last)
        .expect("a file");
    file.set_len(used.parse::<u64>().expect("a number") - 3)
        .expect("cut");
    let before = content(&ensemble.version_dir(1));
    let report = printed(&["fsck", text(&dir)]);
    assert!(report.contains("torn end"), "{report}");
    assert_eq!(content(&ensemble.version_dir(1)), before, "nothing changes");
    let oldest = snapshots(&ensemble.version_dir(1));
    for path in oldest {
        fs::remove_file(path).expect("removed");
    }
    let said = complaint(&["fsck", text(&dir)]);
    assert!(said.contains("there is no snapshot"), "{said}");
    // An operator who knows better may say so, and only then.
    let report = printed(&["fsck", "--trust-empty", text(&dir)]);
    assert!(report.contains("none: the logs alone"), "{report}");
    let to = program::scratch("tools-fsck-restored");
    let said = complaint(&["restore", text(&dir), text(&to)]);
    assert!(
        said.contains("neither a backup nor a snapshot in"),
        "{said}"
    );
    printed(&["restore", "--trust-empty", text(&dir), text(&to)]);
    let digest = |report: &str| {
        let line = report.lines().find(|line| line.starts_with("digest"));
        line.expect("a digest").to_owned()
    };
    let restored = printed(&["fsck", text(&to)]);
    assert_eq!(digest(&restored), digest(&report));
}

#[test]
fn a_restart_is_measured_beside_zookeeper() {
    let dir = program::scratch("bench-restart").join("work");
    let mut arguments = vec!["bench", "restart", "--json", "--rounds", "1"];
    arguments.extend(["--znodes", "1500", "--logged", "700", "--packing", "gzip"]);
    arguments.extend(["--dir", text(&dir)]);
    let java = peers::newest_zookeeper("a_restart_is_measured_beside_zookeeper");
    if let Some(java) = java {
        arguments.extend(["--zookeeper", java.classpath()]);
    }
    let json = printed(&arguments);
    let keys = ["\"serve_ms\":", "\"znode_bytes\":"];
    let ratios = ["\"time_ratio\":", "\"memory_ratio\":"];
    for key in keys
        .iter()
        .chain(java.and(Some(&ratios)).into_iter().flatten())
    {
        assert!(json.contains(key), "{key} in {json}");
    }
    assert!(!dir.exists(), "what the measurement made is gone");
    assert!(complaint_of_use(&["bench", "restart", "--znodes", "0"]).contains("nothing"));
}

/// The JSON objects of a command's lines, however it ends.
fn objects(arguments: &[&str]) -> Vec<serde_json::Value> {
    let output = String::from_utf8(run(arguments).stdout).expect("text");
    let lines = output.lines();
    lines
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

#[test]
fn verdicts_are_told_as_json_too() {
    let ensemble = written("tools-json");
    let dir = ensemble.data_dir(1);
    let fsck = objects(&["fsck", "--json", text(&dir)]);
    assert_eq!(
        (&fsck[0]["starts"], &fsck[0]["acceptedEpoch"]),
        (&true.into(), &0.into())
    );
    let log = objects(&["log", "verify", "--json", text(&dir)]);
    let transactions: u64 = log
        .iter()
        .map(|log| log["transactions"].as_u64().expect("count"))
        .sum();
    assert_eq!(
        transactions as usize,
        objects(&["log", "dump", "--json", text(&dir)]).len()
    );
    let snapshot = objects(&["snapshot", "verify", "--json", text(&dir)]);
    assert_eq!(snapshot.len(), snapshots(&ensemble.version_dir(1)).len());
    flip(&logs(&ensemble.version_dir(1))[0], 100);
    flip(&snapshots(&ensemble.version_dir(1))[0], 100);
    let log = objects(&["log", "verify", "--json", text(&dir)]);
    assert!(
        log[0]["problem"].as_str().expect("text").contains("offset"),
        "{log:?}"
    );
    let snapshot = objects(&["snapshot", "verify", "--json", text(&dir)]);
    assert!(
        snapshot.iter().any(|one| one["problem"].is_string()),
        "{snapshot:?}"
    );
    for path in snapshots(&ensemble.version_dir(1)) {
        fs::remove_file(path).expect("removed");
    }
    let fsck = objects(&["fsck", "--json", text(&dir)]);
    assert_eq!(fsck[0]["starts"], false);
}
