//! Other people's test suites, as they are published: kazoo's, and that of the Rust crate
//! `zookeeper-client`. What passes on Apache ZooKeeper must pass on Vivarium. The outcome on
//! ZooKeeper is recorded in `tests/suites`; to record it again:
//! `VIVARIUM_TESTS_AGAINST=3.9 cargo test -p vivarium-tests --test suites -- --include-ignored`
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use vivarium_tests::ensemble::Kind;
use vivarium_tests::ports::PortBlock;
use vivarium_tests::suites::{Missing, Outcomes, Record, Shim, complaints, copy, summary};
use vivarium_tests::{peers, program};

const KAZOO_MISSING: &[Missing] = &[
    (
        "kazoo/tests/test_client.py::TestReconfig::",
        "the members are those of the file",
    ),
    ("kazoo/tests/test_client.py::TestSSLClient::", "no TLS"),
    (
        "kazoo/tests/test_sasl.py::TestLegacySASLDigestAuthentication::test_connect_sasl_auth",
        "no SASL",
    ),
    (
        "kazoo/tests/test_sasl.py::TestSASLDigestAuthentication::test_connect_sasl_auth",
        "no SASL",
    ),
];

const ZOOKEEPER_CLIENT_MISSING: &[Missing] = &[
    ("test_update_ensemble", "the members are those of the file"),
    (
        "test_auth_failed",
        "no SASL, so a server that demands it does not start",
    ),
];

/// Parts of kazoo's suite that run at the same time, each with servers of its own. Most tests wait.
const KAZOO_PARTS: &[&[&str]] = &[
    &[
        "test_lock.py",
        "test_queue.py",
        "test_lease.py",
        "test_build.py",
    ],
    &[
        "test_watchers.py",
        "test_connection.py",
        "test_party.py",
        "test_partitioner.py",
    ],
    &[],
];

/// Holds the outcome against the record, or makes the record when the server is ZooKeeper.
fn judge(suite: &str, outcomes: &Outcomes, missing: &[Missing]) {
    let record = Record::of(suite);
    if let Kind::ZooKeeper(java) = Kind::under_test() {
        record.write(&format!("Apache ZooKeeper {}", java.version), outcomes);
        println!(
            "{suite} on ZooKeeper {}: {}",
            java.version,
            summary(outcomes)
        );
        return;
    }
    let expected = record.read();
    println!("{suite} on Apache ZooKeeper: {}", summary(&expected));
    println!("{suite} on Vivarium: {}", summary(outcomes));
    let wrong = complaints(&expected, outcomes, missing);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Runs a part of kazoo's suite: what pytest printed.
fn start_pytest(
    python: &Path,
    source: &Path,
    dir: &Path,
    arguments: &[String],
) -> (Child, PortBlock) {
    let ports = PortBlock::reserve();
    let shim = Shim::new(Kind::under_test(), &dir.join("bin"));
    let out = fs::File::create(dir.join("out.txt")).expect("target is writable");
    let mut command = Command::new(python);
    shim.serve(&mut command);
    command.current_dir(source);
    command.args([
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--color=no",
        "-rfEp",
        "--tb=short",
    ]);
    command
        .args(["-o", "log_cli=false", "--timeout=180"])
        .args(arguments);
    command.env("ZOOKEEPER_PORT_OFFSET", ports.rest().0.to_string());
    command.env("ZOOKEEPER_CLASSPATH", "of-the-shim");
    command
        .env("ZOOKEEPER_VERSION", "3.9.4")
        .env("CI", "1")
        .env("TMPDIR", dir);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a second handle"))
        .stderr(out);
    (command.spawn().expect("Python starts"), ports)
}

fn read_pytest(dir: &Path) -> Outcomes {
    let text = fs::read(dir.join("out.txt")).expect("pytest printed something");
    let text = String::from_utf8_lossy(&text).into_owned();
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let (word, rest) = line.split_once(' ').unwrap_or_default();
        let name = rest.split(" - ").next().unwrap_or_default();
        if name.contains("::") && matches!(word, "PASSED" | "FAILED" | "ERROR") {
            // A test may pass and fail in what follows it.
            let passed = outcomes.entry(name.to_owned()).or_insert(true);
            *passed &= word == "PASSED";
        }
    }
    for (name, passed) in &outcomes {
        if !passed {
            println!("{name} failed; see {}", dir.display());
        }
    }
    outcomes
}

fn kazoo_parts(python: &Path, source: &Path, dir: &Path) -> Outcomes {
    let file = |name: &&str| format!("kazoo/tests/{name}");
    let mut running = Vec::new();
    for (number, part) in KAZOO_PARTS.iter().enumerate() {
        let dir = dir.join(number.to_string());
        fs::create_dir_all(&dir).expect("target is writable");
        let mut arguments: Vec<_> = part.iter().map(file).collect();
        if arguments.is_empty() {
            let others = KAZOO_PARTS.iter().flat_map(|part| part.iter());
            arguments = others
                .map(|name| format!("--ignore={}", file(name)))
                .collect();
            arguments.push("kazoo/tests".into());
        }
        let (child, ports) = start_pytest(python, source, &dir, &arguments);
        running.push((dir, child, ports));
    }
    let mut outcomes = Outcomes::new();
    for (dir, mut child, _ports) in running {
        child.wait().expect("an own child can be waited for");
        outcomes.append(&mut read_pytest(&dir));
    }
    outcomes
}

/// These tests have deadlines of a second: one that fails gets a second chance, alone.
fn second_chance(python: &Path, source: &Path, dir: &Path, outcomes: &mut Outcomes) {
    let known = |name: &str| {
        KAZOO_MISSING
            .iter()
            .any(|(start, _)| name.starts_with(start))
    };
    let failed = outcomes
        .iter()
        .filter(|(name, passed)| !**passed && !known(name));
    let failed: Vec<_> = failed.map(|(name, _)| name.clone()).collect();
    if failed.is_empty() || failed.len() > 10 {
        return;
    }
    let dir = dir.join("again");
    fs::create_dir_all(&dir).expect("target is writable");
    let (mut child, _ports) = start_pytest(python, source, &dir, &failed);
    child.wait().expect("an own child can be waited for");
    for (name, passed) in read_pytest(&dir) {
        if passed {
            println!("{name} passes alone");
        }
        outcomes.insert(name, passed);
    }
}

#[test]
fn kazoo() {
    let Some((python, source)) = peers::kazoo_suite("kazoo's own tests") else {
        return;
    };
    let dir = program::scratch("kazoo-suite");
    let mut outcomes = kazoo_parts(&python, &source, &dir);
    second_chance(&python, &source, &dir, &mut outcomes);
    judge("kazoo-2.11.0", &outcomes, KAZOO_MISSING);
    drop(fs::remove_dir_all(&dir));
}

/// The crate's source beside a crate that stands in for the one that starts containers.
fn assemble(source: &Path) -> PathBuf {
    let dir = program::target_dir().join("peers/zookeeper-client-suite");
    copy(source, &dir);
    let stand_in = dir.join("testcontainers");
    fs::create_dir_all(stand_in.join("src")).expect("target is writable");
    let ours = program::repository().join("tests/shims/testcontainers.rs");
    fs::copy(ours, stand_in.join("src/lib.rs")).expect("target is writable");
    let manifest =
        "[package]\nname = \"testcontainers\"\nversion = \"0.0.0\"\nedition = \"2024\"\n";
    fs::write(stand_in.join("Cargo.toml"), manifest).expect("target is writable");
    let path = dir.join("Cargo.toml");
    let mut text = fs::read_to_string(&path).expect("a crate has a manifest");
    text.push_str(
        "\n[dev-dependencies.testcontainers]\npath = \"testcontainers\"\n\n[workspace]\n",
    );
    fs::write(&path, text).expect("target is writable");
    dir
}

/// `test NAME ... ok` and the like.
fn read_libtest(text: &str) -> Outcomes {
    let mut outcomes = Outcomes::new();
    for line in text.lines() {
        let Some((name, end)) = line
            .strip_prefix("test ")
            .and_then(|line| line.split_once(" ... "))
        else {
            continue;
        };
        let name = name.trim_end_matches(" - should panic").to_owned();
        match end.trim() {
            "ok" => drop(outcomes.insert(name, true)),
            "FAILED" => drop(outcomes.insert(name, false)),
            _ => {}
        }
    }
    outcomes
}

#[test]
#[ignore = "builds a hundred crates"]
fn zookeeper_client() {
    let Some(source) = peers::zookeeper_client("the tests of zookeeper-client") else {
        return;
    };
    let suite = assemble(&source);
    let dir = program::scratch("zookeeper-client");
    let shim = Shim::new(Kind::under_test(), &dir.join("bin"));
    let ports = PortBlock::reserve();
    let mut command = Command::new("cargo");
    shim.serve(&mut command);
    command
        .current_dir(&suite)
        .args(["test", "--test", "zookeeper", "--", "--test-threads=3"]);
    command.env("CARGO_TARGET_DIR", suite.join("target"));
    command
        .env("CARGO_PROFILE_DEV_LTO", "off")
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    command
        .env_remove("RUSTFLAGS")
        .env("SHIM_JAVA", shim.dir.join("java"));
    let (first, count) = ports.rest();
    command
        .env("SHIM_PORTS", format!("{first} {count}"))
        .env("SHIM_DIR", &dir);
    let output = command.stdin(Stdio::null()).output().expect("cargo runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    fs::write(dir.join("out.txt"), &text).expect("target is writable");
    let outcomes = read_libtest(&text);
    if outcomes.is_empty() {
        panic!("{}", String::from_utf8_lossy(&output.stderr));
    }
    for (name, _) in outcomes.iter().filter(|(_, passed)| !**passed) {
        println!("{name} failed; see {}", dir.display());
    }
    judge(
        "zookeeper-client-0.11.2",
        &outcomes,
        ZOOKEEPER_CLIENT_MISSING,
    );
    drop(fs::remove_dir_all(&dir));
}
