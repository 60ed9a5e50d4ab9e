//! `vivarium shell`: prints what ZooKeeper's own command line client prints for the same commands,
//! and what it has beyond that.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::io::{BufRead, BufReader, Read, Write, pipe};
use std::process::{Command, Stdio};

use vivarium_tests::client::flag;
use vivarium_tests::ensemble::{Ensemble, Kind, Plan};
use vivarium_tests::peers;
use vivarium_tests::program;

fn server(name: &str) -> (Ensemble, String) {
    let plan = Plan::new(name, 1).kind(Kind::Vivarium);
    let plan = plan.property("zookeeper.extendedTypesEnabled", "true");
    let ensemble = plan.start();
    let address = ensemble.client_address(1).to_string();
    (ensemble, address)
}

fn shell(server: &str) -> Command {
    let mut command = Command::new(program::vivarium());
    command.args(["shell", "-server", server]);
    command
}

/// What a client prints on both channels for a script.
fn printed(mut command: Command, script: &str) -> String {
    let (mut output, input) = pipe().expect("a pipe");
    command.stdin(Stdio::piped());
    command.stdout(input.try_clone().expect("a second handle"));
    let mut child = command.stderr(input).spawn().expect("the client starts");
    // It holds the writing ends, too.
    drop(command);
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(script.as_bytes()).expect("it listens");
    drop(stdin);
    let mut bytes = Vec::new();
    output.read_to_end(&mut bytes).expect("a pipe");
    child.wait().expect("the client ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The lines that answer commands: without prompts, what is typed, the talk at the start, and
/// events, which come when they come. Times are two makes' own.
fn answers(text: &str, script: &str) -> Vec<String> {
    let is_talk = |line: &str| {
        let starts = [
            "Connecting to",
            "Welcome to",
            "JLine",
            "WATCHER",
            "Watched",
            "SLF4J",
        ];
        line.is_empty() || starts.iter().any(|start| line.starts_with(start))
    };
    let lines = text.lines().map(|line| {
        let mut rest = line.trim();
        while let Some((_, behind)) = rest.strip_prefix("[zk: ").and_then(|l| l.split_once("] ")) {
            rest = behind;
        }
        rest.trim_end_matches('\u{7}')
    });
    let lines = lines.filter(|line| !is_talk(line) && !line.starts_with("[zk: "));
    let lines = lines.filter(|line| script.lines().all(|typed| typed != *line));
    lines
        .map(|line| match line.split_once(" = ") {
            Some((key @ ("ctime" | "mtime"), time)) => {
                // Java's Date: six words, of which the fifth is the zone.
                assert_eq!(time.split(' ').count(), 6, "{line}");
                format!("{key} = some time")
            }
            // Of two servers, two sessions.
            Some((key @ "ephemeralOwner", owner)) if owner != "0x0" => format!("{key} = somebody"),
            _ => line.to_owned(),
        })
        .collect()
}

const SCRIPT: &str = "create /a one
create /a again
create -s /a/s- two
create -s -e /a/e- 'three and more'
create -c /a/container
create -t 60000 /a/ttl x
create /a/s-0000000000/b
create /nowhere/b
create -c -e /x
ls /a
ls -s /a
ls -R /a
ls /none
get /a
get -s /a/e-0000000001
get -b /a
get /a/s-0000000000/b
set /a changed
set -v 0 /a again
set -s -v 1 /a twice
set -b /a aGVsbG8=
get /a
stat /a
stat /none
getAcl /a
setAcl /a world:anyone:cdra,ip:10.0.0.0/8:r
getAcl -s /a
set /a refused
setAcl /a world:anyone:cdrwa
setAcl /a nobody:x:r
addauth digest user:secret
create /mine data auth::cdrwa
getAcl /mine
whoami
sync /a
getAllChildrenNumber /a
getEphemerals /a
getEphemerals
addWatch -m PERSISTENT /a
removewatches /a
setquota -n 10 /a
setquota -B 1000 /a
listquota /a
delquota -n /a
listquota /a
delquota /a
listquota /a
setquota -n 0 /a
delete /a
delete -v 7 /mine
delete /mine
deleteall /a
ls /
stat /a
printwatches
printwatches off
printwatches
";

#[test]
fn commands_print_what_zkcli_prints() {
    let test = "commands_print_what_zkcli_prints";
    let Some(java) = peers::newest_zookeeper(test) else {
        return;
    };
    let (_one, ours) = server("shell-ours");
    let (_other, theirs) = server("shell-theirs");
    let theirs = printed(java.command_line(&theirs), SCRIPT);
    let ours = printed(shell(&ours), SCRIPT);
    assert_eq!(answers(&ours, SCRIPT), answers(&theirs, SCRIPT), "{theirs}");
}

#[test]
fn what_is_beyond_zkcli() {
    let (_ensemble, server) = server("shell-beyond");
    let script = "create /app config
create /app/a one
create /app/a/deep two
create /app/b
tree /app
tree -d 1 /app
find -name ee /app
find -data one /
ls2 /app
rmr /app
bogus
redo 1
history
";
    let text = printed(shell(&server), script);
    for wanted in [
        "/app\n  a\n    deep\n  b\n",
        "/app\n  a\n  b\n",
        "\n/app/a/deep\n",
        "\n/app/a\n",
        "'ls2' has been deprecated",
        "[a, b]\ncZxid = 0x",
        "Command not found bogus",
        "\tcreate [-s] [-e] [-c] [-t ttl] path [data] [acl]",
        // Redone, and then its parent is gone.
        "Node does not exist: /app/a",
        "2 - create /app/a/deep two",
    ] {
        assert!(text.contains(wanted), "{wanted:?} in {text}");
    }
}

#[test]
fn one_command_has_an_exit_code_and_a_chroot() {
    let (ensemble, server) = server("shell-one");
    let run = |words: &[&str]| {
        let mut command = shell(&server);
        let output = command.args(words).output().expect("the shell runs");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), out, err)
    };
    assert_eq!(run(&["create", "/base", "r"]).0, Some(0));
    let (code, out, err) = run(&["get", "/missing"]);
    assert_eq!((code, &*out), (Some(1), ""));
    assert_eq!(err, "Node does not exist: /missing\n");
    let below = format!("{server}/base");
    let chrooted = |words: &[&str]| {
        let mut command = Command::new(program::vivarium());
        command.args(["shell", "-server", &below]).args(words);
        let output = command.output().expect("the shell runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    assert_eq!(chrooted(&["create", "/inner", "i"]), "Created /inner\n");
    assert_eq!(chrooted(&["get", "/"]), "r\n");
    assert_eq!(chrooted(&["ls", "-R", "/"]), "/\n/inner\n");
    assert_eq!(run(&["get", "/base/inner"]).1, "i\n");
    // Nothing is served there.
    let mut command = Command::new(program::vivarium());
    command.args([
        "shell",
        "-server",
        "127.0.0.1:1",
        "-timeout",
        "300",
        "ls",
        "/",
    ]);
    let output = command.output().expect("the shell runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("can not connect to 127.0.0.1:1"), "{said}");
    drop(ensemble);
}

#[test]
fn a_session_outlives_its_server_with_its_watches() {
    let (mut ensemble, server) = server("shell-outlives");
    let mut shell = shell(&server)
        .args(["-timeout", "20000"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("the shell starts");
    let mut input = shell.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
    let mut wait_for = |wanted: &str| {
        let found = lines.find(|line| line.as_ref().expect("text").contains(wanted));
        assert!(found.is_some(), "the shell ends before it prints {wanted}");
    };
    writeln!(input, "create -e /mine x\nget -w /mine\naddWatch /\nsync /").expect("it listens");
    wait_for("Sync is OK");
    ensemble.kill(1);
    wait_for("state:Disconnected");
    ensemble.start(1);
    wait_for("state:SyncConnected");
    let mut client = ensemble.client(1);
    // The session lives, or its node would be gone; and what it watched is told to it.
    client.set("/mine", b"changed", -1).expect("it is there");
    wait_for("type:NodeDataChanged path:/mine");
    client
        .create("/other", b"", flag::PERSISTENT)
        .expect("nobody has it");
    wait_for("type:NodeCreated path:/other");
    drop(input);
    assert!(shell.wait().expect("the shell ends").success());
    // Its session was closed, not left to expire.
    assert_eq!(client.exists("/mine", false).expect("an answer"), None);
}
