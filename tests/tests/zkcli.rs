//! ZooKeeper's own command line client, `zkCli.sh`, against three servers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::io::{Read, Write, pipe};
use std::process::Stdio;

use vivarium_tests::ensemble::Plan;
use vivarium_tests::peers::{self, Java};

/// Runs one command: what it printed on both channels. Fails unless the client succeeded as told.
fn run(java: &Java, server: &str, words: &[&str], succeeds: bool) -> String {
    let mut command = java.command_line(server);
    let output = command
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the client starts");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        output.status.success(),
        succeeds,
        "{words:?} on {server}: {text}"
    );
    text
}

/// Types commands in, as at the prompt: what was printed on both channels, in its order.
fn type_in(java: &Java, server: &str, commands: &str) -> String {
    let (mut output, input) = pipe().expect("a pipe");
    let mut command = java.command_line(server);
    command.stdin(Stdio::piped());
    command.stdout(input.try_clone().expect("a second handle"));
    let mut child = command.stderr(input).spawn().expect("the client starts");
    // It holds the writing ends, too.
    drop(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(commands.as_bytes())
        .expect("the client listens");
    drop(stdin);
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).expect("a pipe");
    let status = child.wait().expect("the client ends");
    let text = String::from_utf8_lossy(&bytes).into_owned();
    assert!(status.success(), "{commands:?} on {server}: {text}");
    text
}

/// Fails unless a line of the output is, or ends in, `line`.
#[track_caller]
fn assert_line(text: &str, line: &str) {
    assert!(
        text.lines().any(|found| found.trim_end().ends_with(line)),
        "no {line:?} in {text}"
    );
}

#[test]
fn the_command_line_client_works() {
    let Some(java) = peers::zookeeper("zkCli.sh against three servers") else {
        return;
    };
    let ensemble = Plan::new("zkcli", 3).start();
    let servers: Vec<_> = ensemble
        .ids()
        .iter()
        .map(|id| ensemble.client_address(*id).to_string())
        .collect();
    let all = ensemble.connect_string();
    assert_line(&run(java, &servers[0], &["ls", "/"], true), "[zookeeper]");
    assert_line(
        &run(java, &servers[1], &["create", "/cli", "hello"], true),
        "Created /cli",
    );
    let text = run(java, &all, &["get", "-s", "/cli"], true);
    for line in [
        "hello",
        "dataVersion = 0",
        "ephemeralOwner = 0x0",
        "dataLength = 5",
    ] {
        assert_line(&text, line);
    }
    run(
        java,
        &servers[0],
        &["set", "-v", "0", "/cli", "changed"],
        true,
    );
    let text = run(
        java,
        &servers[0],
        &["set", "-v", "0", "/cli", "again"],
        false,
    );
    assert!(text.contains("version No is not valid"), "{text}");
    let text = type_in(
        java,
        &servers[2],
        "create -s -e /cli/member- m\nls /cli\nquit\n",
    );
    assert_line(&text, "Created /cli/member-0000000000");
    assert_line(&text, "[member-0000000000]");
    let text = run(java, &all, &["get", "-s", "/cli"], true);
    // The ephemeral member went with the closed session: two changes of the children.
    for line in [
        "changed",
        "dataVersion = 1",
        "numChildren = 0",
        "cversion = 2",
    ] {
        assert_line(&text, line);
    }
    run(java, &servers[1], &["create", "/cli/child"], true);
    assert!(run(java, &all, &["delete", "/cli"], false).contains("Node not empty: /cli"));
    run(java, &servers[2], &["deleteall", "/cli"], true);
    assert!(run(java, &all, &["get", "/cli"], false).contains("Node does not exist: /cli"));
    assert_line(&run(java, &all, &["ls", "/"], true), "[zookeeper]");
}

/// What is typed, and lines that must come in this order. Events are counted apart: the client
/// prints them whenever it gets to it.
fn session(java: &Java, server: &str, typed: &[(&str, &[&str])]) {
    let commands: Vec<_> = typed.iter().map(|(command, _)| *command).collect();
    let text = type_in(java, server, &(commands.join("\n") + "\nquit\n"));
    let is_event = |line: &&str| line.starts_with("WatchedEvent");
    let (events, lines): (Vec<_>, Vec<_>) = text.lines().partition(is_event);
    let (mut events, mut lines) = (events.into_iter(), lines.into_iter());
    for (command, expected) in typed {
        for line in *expected {
            let found = if is_event(line) {
                events.any(|found| found.starts_with(line))
            } else {
                lines.any(|found| found.trim_end().ends_with(line))
            };
            assert!(found, "{command}: no {line:?} in its place in {text}");
        }
    }
}

#[test]
fn the_command_line_client_of_3_9_works() {
    let Some(java) = peers::newest_zookeeper("zkCli.sh of 3.9") else {
        return;
    };
    let plan = Plan::new("zkcli39", 1).property("zookeeper.extendedTypesEnabled", "true");
    let ensemble = plan.start();
    let server = ensemble.client_address(1).to_string();
    session(
        java,
        &server,
        &[
            ("create -c /box", &["Created /box"]),
            ("create -t 600000 /brief data", &["Created /brief"]),
            ("create -e /mine", &["Created /mine"]),
            ("create -s /box/n", &["Created /box/n0000000000"]),
            (
                "create -e /mine/no",
                &["Ephemerals cannot have children: /mine/no"],
            ),
            ("stat /brief", &["ephemeralOwner = 0x0", "dataLength = 4"]),
            ("getEphemerals", &["[/mine]"]),
            ("getEphemerals /box", &["[]"]),
            ("getAllChildrenNumber /", &["7"]),
            ("whoami", &["ip: 127.0.0.1"]),
            ("addauth digest bob:secret", &[]),
            ("whoami", &["digest: bob"]),
        ],
    );
    const QUOTA: &str = "absolute path is /zookeeper/quota/box/zookeeper_limits";
    session(
        java,
        &server,
        &[
            ("addWatch /brief", &[]),
            (
                "create /brief/deep",
                &[&event("NodeCreated", "/brief/deep"), "Created /brief/deep"],
            ),
            (
                "set /brief/deep x",
                &[&event("NodeDataChanged", "/brief/deep")],
            ),
            ("addWatch -m PERSISTENT /box", &[]),
            ("set /box one", &[&event("NodeDataChanged", "/box")]),
            (
                "removewatches /box -a",
                &[&event("PersistentWatchRemoved", "/box")],
            ),
            ("removewatches /box -a", &["No such watcher for /box"]),
            ("set /box two", &[]),
            ("setquota -n 3 /box", &[]),
            ("setquota -N 4 /box", &[]),
            (
                "listquota /box",
                &[
                    QUOTA,
                    "Output quota for /box count=3,bytes=-1=;byteHardLimit=-1;countHardLimit=4",
                    "Output stat for /box count=2,bytes=3",
                ],
            ),
            ("delquota -n /box", &[]),
            (
                "listquota /box",
                &["Output quota for /box count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=4"],
            ),
            ("delquota /box", &[]),
            ("listquota /box", &["quota for /box does not exist."]),
        ],
    );
}

/// A line that the client prints for an event, up to its zxid.
fn event(kind: &str, path: &str) -> String {
    format!("WatchedEvent state:SyncConnected type:{kind} path:{path}")
}
