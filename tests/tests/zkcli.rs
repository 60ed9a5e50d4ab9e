//! ZooKeeper's own command line client, `zkCli.sh`, against three servers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::io::Write;
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

/// Types commands in, as at the prompt: what was printed.
fn type_in(java: &Java, server: &str, commands: &str) -> String {
    let mut command = java.command_line(server);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().expect("the client starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin
        .write_all(commands.as_bytes())
        .expect("the client listens");
    drop(stdin);
    let output = child.wait_with_output().expect("the client ends");
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{commands:?} on {server}: {text}");
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
