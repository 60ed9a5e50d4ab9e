//! Backups of servers at work, and what is restored from them: whole, at the right transaction,
//! and a data directory for Vivarium and for Apache ZooKeeper.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::Value;
use vivarium_tests::client::{Client, code, flag};
use vivarium_tests::directory::{flip, logs, snapshots};
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::tool::{complaint, run, text, told};
use vivarium_tests::writers::{Acknowledged, Writers, assert_nothing_lost};
use vivarium_tests::{peers, program, wait};

fn zxid(value: &Value) -> i64 {
    let text = value.as_str().expect("a zxid");
    i64::from_str_radix(text.trim_start_matches("0x"), 16).expect("a number")
}

fn backup(ensemble: &Ensemble, id: i64, to: &Path) -> Value {
    let server = ensemble.client_address(id).to_string();
    let dir = ensemble.data_dir(id);
    told(&[
        "backup",
        text(&dir),
        "--server",
        &server,
        "-o",
        text(to),
        "--json",
    ])
}

fn restore(from: &Path, to: &Path, more: &[&str]) -> Value {
    let mut arguments = vec!["restore", text(from), text(to), "--json"];
    arguments.extend(more);
    told(&arguments)
}

/// A server alone, and its directory empty so far.
fn bare(name: &str, kind: Kind) -> Ensemble {
    Plan::new(name, 1).kind(kind).prepare()
}

/// Transactions of the logs in a directory, oldest first.
fn transactions(dir: &Path) -> Vec<Value> {
    let output = run(&["log", "dump", "--json", text(dir)]);
    let lines = String::from_utf8(output.stdout).expect("text");
    lines
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

fn fsck(dir: &Path) -> String {
    let output = run(&["fsck", text(dir)]);
    String::from_utf8(output.stdout).expect("text")
}

/// The zxid in a file's name.
fn in_name(path: &Path) -> i64 {
    let hex = path.extension().expect("a zxid").to_str().expect("text");
    i64::from_str_radix(hex, 16).expect("a zxid")
}

/// What a server does each hour: the newest three snapshots stay, and the logs that follow.
fn purge(version_dir: &Path) {
    let found = snapshots(version_dir);
    let Some(oldest) = found.len().checked_sub(3).map(|at| in_name(&found[at])) else {
        return;
    };
    let old = logs(version_dir);
    let keep = old
        .partition_point(|path| in_name(path) <= oldest)
        .saturating_sub(1);
    let old = old.into_iter().take(keep);
    for path in found
        .into_iter()
        .filter(|path| in_name(path) < oldest)
        .chain(old)
    {
        fs::remove_file(path).expect("removed");
    }
}

/// Ends what waits for it, also when a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Starts a server on what `fill` writes into its directory, and gives a client of it.
fn started(name: &str, kind: Kind, fill: impl FnOnce(&Path)) -> (Ensemble, Client) {
    let mut ensemble = bare(name, kind);
    fill(&ensemble.data_dir(1));
    ensemble.start_all();
    let client = ensemble.client(1);
    (ensemble, client)
}

#[test]
fn a_backup_under_load_has_all_that_was_acknowledged_before_it() {
    let source = Plan::new("backup-load", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=300")
        .start();
    let to = source.dir().join("archive");
    let address = [source.client_address(1)];
    let mut acknowledged: Vec<Vec<Acknowledged>> = Vec::new();
    let mut ends = Vec::new();
    for generation in 0..4 {
        // What these writers were answered must be in the backup; the others write during it.
        let before = Writers::start(&address, 2, generation);
        wait::until("writes", Duration::from_secs(60), || {
            (before.count() > 400).then_some(())
        });
        acknowledged.push(before.stop());
        let during = Writers::start(&address, 3, generation + 100);
        wait::until("writes", Duration::from_secs(60), || {
            (during.count() > 100).then_some(())
        });
        let done = AtomicBool::new(false);
        let made = std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    purge(&source.version_dir(1));
                    std::thread::sleep(Duration::from_millis(3));
                }
            });
            let _stop = Stop(&done);
            backup(&source, 1, &to)
        });
        drop(during.stop());
        ends.push(zxid(&made["zxid"]));
        let manifest = fs::read(to.join("backup.json")).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        assert_eq!(manifest["zxid"], made["zxid"]);
        assert_eq!(manifest["digest"], made["digest"]);
    }
    assert!(ends.is_sorted(), "{ends:x?}");
    // Each of the runs can be restored, and has what its own writers were answered.
    for (number, end) in ends.iter().enumerate() {
        let (_server, mut client) = started("backup-load-back", Kind::Vivarium, |dir| {
            let back = restore(&to, dir, &["--at", &format!("{end:#x}")]);
            assert_eq!(zxid(&back["zxid"]), *end);
            assert_eq!(back["digest_check"], "as logged");
        });
        for (generation, all) in acknowledged.iter().enumerate().take(number + 1) {
            assert_nothing_lost(&mut client, generation, all);
        }
    }
}

#[test]
fn a_second_backup_copies_only_what_is_new_and_purged_history_stays() {
    let mut source = Plan::new("backup-again", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=100")
        .start();
    let to = source.dir().join("archive");
    let write = |client: &mut Client, from: i32| {
        for number in from..from + 100 {
            let made = client.create(&format!("/n{number}"), b"x", flag::PERSISTENT);
            made.expect("answered");
        }
    };
    let mut client = source.client(1);
    write(&mut client, 0);
    let first = backup(&source, 1, &to);
    // A snapshot may still be under way.
    wait::until("nothing is new", Duration::from_secs(20), || {
        let same = backup(&source, 1, &to);
        assert_eq!(same["zxid"], first["zxid"]);
        (same["copied_files"] == 0).then_some(())
    });
    let one = zxid(&first["zxid"]);
    for round in 1..7 {
        write(&mut client, round * 100);
        purge(&source.version_dir(1));
        let next = backup(&source, 1, &to);
        assert!(zxid(&next["zxid"]) >= one + 100, "{next}");
        assert_eq!(next["line"], Value::Null, "one history: {next}");
    }
    client.close().expect("answered");
    source.terminate(1);
    let oldest = transactions(&source.data_dir(1))[0]["zxid"].clone();
    assert!(
        zxid(&oldest) > one,
        "the purge has removed what is restored here"
    );
    let back = source.dir().join("back");
    restore(&to, &back, &["--at", first["zxid"].as_str().expect("text")]);
    let digest = first["digest"].as_str().expect("text");
    assert!(fsck(&back).contains(&format!("digest        {digest}\n")));
    // A backup directory is a data directory, too.
    assert!(fsck(&to).contains("a server would start"));
}

#[test]
fn every_moment_of_a_backup_comes_back_with_the_digest_of_the_log() {
    let mut source = Plan::new("restore-at", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=50")
        .start();
    let mut client = source.client(1);
    for number in 0..120 {
        let path = format!("/n{number:03}");
        client
            .create(&path, b"first", flag::PERSISTENT)
            .expect("answered");
        client.set(&path, b"second", -1).expect("answered");
        if number % 2 == 0 {
            client.delete(&path, -1).expect("answered");
        }
        // So that times tell transactions apart.
        std::thread::sleep(Duration::from_millis(2));
    }
    let to = source.dir().join("archive");
    backup(&source, 1, &to);
    client.close().expect("answered");
    source.terminate(1);
    let all = transactions(&to);
    let oldest = snapshots(&to.join("version-2"))
        .first()
        .cloned()
        .expect("a snapshot");
    let oldest = oldest
        .extension()
        .expect("a zxid")
        .to_str()
        .expect("text")
        .to_owned();
    let oldest = i64::from_str_radix(&oldest, 16).expect("a zxid");
    let usable: Vec<&Value> = all
        .iter()
        .filter(|txn| zxid(&txn["zxid"]) > oldest)
        .collect();
    assert!(usable.len() > 60, "{} of {}", usable.len(), all.len());
    for (number, txn) in usable.iter().enumerate().step_by(13) {
        let back = source.dir().join(format!("back-{number}"));
        let wanted = txn["zxid"].as_str().expect("text");
        let by_zxid = restore(&to, &back, &["--at", wanted]);
        assert_eq!(by_zxid["zxid"], txn["zxid"]);
        assert_eq!(by_zxid["digest"], txn["digest"]);
        let last = zxid(&all.last().expect("many")["zxid"]);
        assert_eq!(by_zxid["left_out"], last - zxid(&txn["zxid"]));
        let digest = txn["digest"].as_str().expect("text");
        assert!(
            fsck(&back).contains(&format!("digest        {digest}\n")),
            "{wanted}"
        );
        // By time: the last transaction that is not later.
        let time = txn["time"].as_str().expect("text");
        let expected = all
            .iter()
            .take_while(|txn| txn["time"].as_str() <= Some(time))
            .last();
        let dry = source.dir().join("dry");
        let by_time = restore(&to, &dry, &["--at", time, "--dry-run"]);
        assert_eq!(by_time["zxid"], expected.expect("one")["zxid"], "{time}");
        assert!(!dry.exists(), "a dry run writes nothing");
    }
}

#[test]
fn what_can_not_be_restored_is_refused_with_the_cure() {
    let mut source = Plan::new("restore-refused", 1).kind(Kind::Vivarium).start();
    let mut client = source.client(1);
    client
        .create("/a", b"", flag::PERSISTENT)
        .expect("answered");
    let to = source.dir().join("archive");
    let made = backup(&source, 1, &to);
    let live = source.data_dir(1);
    let said = complaint(&["restore", text(&to), text(&live)]);
    assert!(
        said.contains("is not empty") && said.contains("move version-2 away"),
        "{said}"
    );
    // Emptied under a server that still runs: its lock is in the way.
    let moved = source.dir().join("moved");
    fs::rename(live.join("version-2"), &moved).expect("moved");
    let said = complaint(&["restore", text(&to), text(&live)]);
    assert!(said.contains("is locked: another server uses"), "{said}");
    client.close().expect("answered");
    source.kill(1);
    let back = source.dir().join("back");
    let beyond = format!("{:#x}", zxid(&made["zxid"]) + 1);
    let said = complaint(&["restore", text(&to), text(&back), "--at", &beyond]);
    assert!(
        said.contains(&format!("ends at {}", made["zxid"].as_str().expect("text"))),
        "{said}"
    );
    let log = logs(&to.join("version-2")).pop().expect("a log");
    // In a record, and in a number of the head that no server reads.
    for (offset, problem) in [(40, "damaged at offset 16"), (12, "has changed it")] {
        flip(&log, offset);
        let said = complaint(&["restore", text(&to), text(&back)]);
        assert!(said.contains(problem), "{said}");
        flip(&log, offset);
    }
    let said = complaint(&["backup", text(&moved), "-o", text(&moved)]);
    assert!(said.contains("is no backup"), "{said}");
    assert!(!back.exists());
}

#[test]
fn logs_in_a_directory_of_their_own_are_not_forgotten() {
    let dir = program::scratch("backup-logs");
    let line = format!("dataLogDir={}", dir.display());
    let source = Plan::new("backup-two", 1)
        .kind(Kind::Vivarium)
        .line(&line)
        .line("snapCount=10");
    let source = source.start();
    let to = source.dir().join("archive");
    // With the first, empty snapshot alone as with later ones.
    let said = complaint(&["backup", text(&source.data_dir(1)), "-o", text(&to)]);
    assert!(said.contains("--log-dir"), "{said}");
    let mut client = source.client(1);
    for number in 0..30 {
        let made = client.create(&format!("/n{number}"), b"", flag::PERSISTENT);
        made.expect("answered");
    }
    let shown = source.zxid(1).expect("it serves");
    let exported = run(&["export", text(&source.data_dir(1))]);
    let said = String::from_utf8(exported.stderr).expect("text");
    assert!(said.contains("--log-dir"), "{said}");
    let config = source.config_path(1);
    let made = told(&["backup", text(&config), "-o", text(&to), "--json"]);
    assert_eq!(zxid(&made["zxid"]), shown);
    // The server itself tells where its files are.
    let address = source.client_address(1).to_string();
    wait::until("nothing is new", Duration::from_secs(20), || {
        let made = told(&["backup", &address, "-o", text(&to), "--json"]);
        assert_eq!(zxid(&made["zxid"]), shown);
        (made["copied_files"] == 0).then_some(())
    });
}

#[test]
fn a_history_that_was_replaced_begins_another_line() {
    let mut source = Plan::new("backup-lines", 1).kind(Kind::Vivarium).start();
    let mut client = source.client(1);
    client
        .create("/old", b"", flag::PERSISTENT)
        .expect("answered");
    let to = source.dir().join("archive");
    let old = backup(&source, 1, &to);
    client.close().expect("answered");
    source.kill(1);
    fs::remove_dir_all(source.version_dir(1)).expect("removed");
    source.start(1);
    let mut client = source.client(1);
    for number in 0..5 {
        let made = client.create(&format!("/new{number}"), b"", flag::PERSISTENT);
        made.expect("answered");
    }
    let new = backup(&source, 1, &to);
    assert_eq!(new["line"], 1, "{new}");
    let back = |name: &str, at: &str| {
        let dir = source.dir().join(name);
        restore(&to, &dir, &["--at", at]);
        fsck(&dir)
    };
    let digest = |value: &Value| {
        format!(
            "digest        {}\n",
            value["digest"].as_str().expect("text")
        )
    };
    assert!(back("new", new["zxid"].as_str().expect("text")).contains(&digest(&new)));
    // The old one is still there for who asks for it.
    let dir = source.dir().join("old");
    restore(&to, &dir, &["--line", "0"]);
    assert!(fsck(&dir).contains(&digest(&old)));
    // The same zxid in the old history is not mixed up with it: its folder is whole by itself.
    let manifest = fs::read(to.join("backup.json")).expect("a manifest");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    assert_eq!(manifest["lines"][1]["folder"], "line-2");
    assert!(fsck(&to).contains(&digest(&old)));
}

#[test]
fn what_was_purged_between_two_backups_is_a_gap_that_is_told() {
    let source = Plan::new("backup-gap", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=20")
        .start();
    let to = source.dir().join("archive");
    let mut client = source.client(1);
    let mut write = |from: i32, count: i32| {
        for number in from..from + count {
            let made = client.create(&format!("/n{number}"), b"x", flag::PERSISTENT);
            made.expect("answered");
        }
    };
    write(0, 100);
    let first = backup(&source, 1, &to);
    let one = zxid(&first["zxid"]);
    write(100, 600);
    purge(&source.version_dir(1));
    assert!(in_name(&logs(&source.version_dir(1))[0]) > one + 1);
    let second = backup(&source, 1, &to);
    assert_eq!(second["line"], 1, "{second}");
    let back = source.dir().join("back");
    let inside = format!("{:#x}", one + 5);
    let said = complaint(&["restore", text(&to), text(&back), "--at", &inside]);
    assert!(
        said.contains("in no backup") && said.contains("more often"),
        "{said}"
    );
    let time = transactions(&to).last().expect("one")["time"].clone();
    let later = format!("{}9Z", &time.as_str().expect("text")[..22]);
    let said = complaint(&["restore", text(&to), text(&back), "--at", &later]);
    assert!(said.contains("in no backup"), "{later}: {said}");
    let made = restore(&to, &back, &["--at", first["zxid"].as_str().expect("text")]);
    assert_eq!(made["digest"], first["digest"]);
}

#[test]
fn one_file_is_enough_for_the_newest_state() {
    let source = Plan::new("backup-file", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=50")
        .start();
    let mut client = source.client(1);
    for number in 0..120 {
        let path = format!("/n{number:03}");
        client
            .create(&path, b"x", flag::PERSISTENT)
            .expect("answered");
    }
    let file = source.dir().join("newest.snapshot");
    for number in 0..2 {
        let made = backup(&source, 1, &file);
        assert_eq!(zxid(&made["zxid"]), client.last_zxid());
        let back = source
            .dir()
            .join(format!("back-{}", made["zxid"].as_str().expect("text")));
        let found = restore(&file, &back, &[]);
        assert_eq!(found["digest"], made["digest"]);
        assert_eq!(
            found["digest"],
            transactions(&source.data_dir(1)).last().expect("one")["digest"]
        );
        let path = format!("/later{number}");
        client
            .create(&path, b"", flag::PERSISTENT)
            .expect("answered");
    }
    let exported = told(&["export", text(&file), "--path", "/n007"]);
    assert_eq!(exported["znodes"][0]["data"], "x");
    assert!(!file.with_extension("tmp").exists());
    // Names alone, from where they lie.
    for arguments in [
        ["backup", "server-1/data", "-o", "here.snapshot"],
        ["restore", "here.snapshot", "here", "--json"],
        ["export", "here.snapshot", "-o", "here.json"],
    ] {
        let mut command = Command::new(program::vivarium());
        let output = command.current_dir(source.dir()).args(arguments).output();
        let output = output.expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
    // Without the list beside it the file itself tells its zxid.
    fs::remove_file(source.dir().join("newest.snapshot.json")).expect("removed");
    let dry = source.dir().join("dry");
    assert_eq!(restore(&file, &dry, &["--dry-run"])["znodes"], 126);
    let Some(java) = peers::newest_zookeeper("one_file_is_enough_for_the_newest_state") else {
        return;
    };
    let name = format!("version-2/snapshot.{:x}", client.last_zxid() - 1);
    let (_server, mut back) = started("backup-file-java", Kind::ZooKeeper(java), |dir| {
        fs::create_dir_all(dir.join("version-2")).expect("made");
        fs::copy(&file, dir.join(name)).expect("copied");
    });
    assert!(exists(&mut back, "/n119"));
}

#[test]
fn rot_in_a_log_that_is_being_written_is_refused_and_a_torn_end_is_not() {
    let mut source = Plan::new("backup-rot", 1).kind(Kind::Vivarium).start();
    let mut client = source.client(1);
    for number in 0..50 {
        let path = format!("/n{number:03}");
        client
            .create(&path, b"x", flag::PERSISTENT)
            .expect("answered");
    }
    let dir = source.data_dir(1);
    let log = logs(&source.version_dir(1)).pop().expect("a log");
    let name = log
        .file_name()
        .expect("a name")
        .to_str()
        .expect("text")
        .to_owned();
    flip(&log, 2_000);
    let to = source.dir().join("archive");
    let said = complaint(&["backup", text(&dir), "-o", text(&to)]);
    assert!(
        said.contains(&name) && said.contains("damaged at offset"),
        "{said}"
    );
    assert!(!to.join("backup.json").exists());
    // The rot is gone, and a kill has torn the last record.
    flip(&log, 2_000);
    let whole = transactions(&dir).len();
    source.kill(1);
    let verified = run(&["log", "verify", "--json", text(&log)]);
    let verified: Value = serde_json::from_slice(&verified.stdout).expect("JSON");
    let used = verified["used"].as_u64().expect("a length");
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&log)
        .expect("a file");
    file.set_len(used - 3).expect("cut");
    let made = told(&["backup", text(&dir), "-o", text(&to), "--json"]);
    assert_eq!(transactions(&to).len(), whole - 1, "{made}");
}

#[test]
fn a_backup_that_was_killed_leaves_the_one_before() {
    let source = Plan::new("backup-killed", 1)
        .kind(Kind::Vivarium)
        .line("snapCount=100")
        .start();
    let to = source.dir().join("archive");
    let writers = Writers::start(&[source.client_address(1)], 3, 0);
    let mut made = backup(&source, 1, &to);
    for round in 0_u64..12 {
        let mut child = Command::new(program::vivarium())
            .args(["backup", text(&source.data_dir(1)), "-o", text(&to)])
            .stdout(std::process::Stdio::null())
            .spawn()
            .expect("the program runs");
        std::thread::sleep(Duration::from_millis(4 * round));
        child.kill().expect("an own child can be killed");
        child.wait().expect("it ends");
        let dry = source.dir().join("dry");
        let before = restore(&to, &dry, &["--dry-run"]);
        // It may have been done already.
        assert!(zxid(&before["zxid"]) >= zxid(&made["zxid"]), "{before}");
        if round % 4 == 3 {
            made = backup(&source, 1, &to);
        }
    }
    drop(writers.stop());
}

fn exists(client: &mut Client, path: &str) -> bool {
    client.exists(path, false).expect("answered").is_some()
}

#[test]
fn zookeeper_starts_from_a_backup_and_its_own_is_taken() {
    let Some(java) = peers::newest_zookeeper("zookeeper_starts_from_a_backup") else {
        return;
    };
    let java = Kind::ZooKeeper(java);
    for (from, into) in [(Kind::Vivarium, java), (java, Kind::Vivarium), (java, java)] {
        let source = Plan::new("backup-java", 1)
            .kind(from)
            .line("snapCount=40")
            .start();
        let mut client = source.client(1);
        for number in 0..100 {
            let path = format!("/n{number:03}");
            client
                .create(&path, b"x", flag::PERSISTENT)
                .expect("answered");
        }
        let middle = client.last_zxid();
        client
            .create("/after", b"", flag::PERSISTENT)
            .expect("answered");
        let to = source.dir().join("archive");
        let made = backup(&source, 1, &to);
        assert_eq!(zxid(&made["zxid"]), middle + 1);
        let at = format!("{middle:#x}");
        let (_server, mut back) = started("backup-java-back", into, |dir| {
            let found = restore(&to, dir, &["--at", &at]);
            assert_eq!(found["digest_check"], "as logged");
        });
        assert!(exists(&mut back, "/n099") && !exists(&mut back, "/after"));
        back.create("/goes-on", b"", flag::PERSISTENT)
            .expect("answered");
        assert_eq!(back.last_zxid(), middle + 2, "a session and a create later");
    }
}

/// What the documented procedure promises: all voters restored, at a moment before the end.
fn restored_ensemble(kind: Kind, only_first: bool) {
    let mut source = Plan::new("restore-three", 3).kind(kind).start();
    let leader = source.wait_leader();
    let mut client = source.client(leader);
    for number in 0..50 {
        let made = client.create(&format!("/n{number}"), b"", flag::PERSISTENT);
        made.expect("answered");
    }
    let middle = client.last_zxid();
    client
        .create("/after", b"", flag::PERSISTENT)
        .expect("answered");
    // What is left out goes on into another epoch, whose zxids must not come again.
    source.kill(leader);
    let next = source.wait_leader();
    let mut client = source.client(next);
    client
        .create("/in-the-next-epoch", b"", flag::PERSISTENT)
        .expect("answered");
    let left_out = client.last_zxid();
    assert!(left_out >> 32 > middle >> 32);
    let to = source.dir().join("archive");
    backup(&source, next, &to);
    let at = format!("{middle:#x}");
    let mut target = Plan::new("restored-three", 3).kind(kind).prepare();
    let restored: &[i64] = if only_first { &[1] } else { &[1, 2, 3] };
    for &id in restored {
        restore(&to, &target.data_dir(id), &["--at", &at]);
        let found = told(&["fsck", text(&target.data_dir(id)), "--json"]);
        assert_eq!(found["acceptedEpoch"], left_out >> 32);
        assert_eq!(found["currentEpoch"], middle >> 32);
    }
    if only_first {
        target.spawn(1);
        target.spawn(2);
        target.wait_serving(&[1, 2]);
    }
    target.start_all();
    for id in target.ids() {
        let mut client = target.client(id);
        client.sync("/").expect("answered");
        assert!(
            exists(&mut client, "/n49") && !exists(&mut client, "/after"),
            "server {id}"
        );
        let path = format!("/by-{id}");
        client
            .create(&path, b"", flag::PERSISTENT)
            .expect("answered");
        assert!(
            client.last_zxid() >> 32 > middle >> 32,
            "an epoch beyond the old one"
        );
        let again = client.create(&path, b"", flag::PERSISTENT);
        let refused = matches!(
            again,
            Err(vivarium_tests::client::Failure::Refused(code::NODE_EXISTS))
        );
        assert!(refused, "{again:?}");
    }
}

#[test]
fn an_ensemble_starts_when_all_are_restored() {
    restored_ensemble(Kind::Vivarium, false);
}

#[test]
fn an_ensemble_starts_from_one_restored_voter_that_leads() {
    restored_ensemble(Kind::Vivarium, true);
}

#[test]
fn an_ensemble_of_zookeeper_starts_when_all_are_restored() {
    let Some(java) = peers::newest_zookeeper("an_ensemble_of_zookeeper_starts") else {
        return;
    };
    restored_ensemble(Kind::ZooKeeper(java), false);
}
