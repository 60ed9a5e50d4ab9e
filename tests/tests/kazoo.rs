//! kazoo, the Python client, against real servers.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use vivarium_tests::ensemble::{Ensemble, Plan};
use vivarium_tests::{peers, program, wait};

/// Longest silence of a Python program before the test fails.
const SILENCE: Duration = Duration::from_secs(120);

/// A Python program whose lines are read as they come.
struct Python {
    child: Child,
    lines: Receiver<String>,
}

impl Python {
    fn start(python: &Path, script: &str, hosts: &str) -> Self {
        let script = program::repository().join("tests/kazoo").join(script);
        let mut command = Command::new(python);
        command
            .arg(script)
            .arg(hosts)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python starts");
        let lines = read_lines(child.stdout.take().expect("a pipe"));
        Self { child, lines }
    }

    fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}").expect("the program listens");
    }

    fn hear(&self) -> String {
        self.lines
            .recv_timeout(SILENCE)
            .expect("the program goes on")
    }

    /// Waits for the end; what was printed since the last look.
    fn finish(&mut self) -> String {
        let status = wait::until("the program ends", SILENCE, || {
            self.child.try_wait().expect("an own child can be asked")
        });
        let rest: Vec<_> = self.lines.iter().collect();
        assert!(
            status.success(),
            "the program failed with {status}; its stderr is above"
        );
        rest.join("\n")
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn matrix(ensemble: &Ensemble, test: &str) {
    let Some(python) = peers::kazoo(test) else {
        return;
    };
    let mut program = Python::start(python, "matrix.py", &ensemble.connect_string());
    let said = program.finish();
    let count = said
        .lines()
        .filter(|line| line.ends_with("as expected"))
        .count();
    assert_eq!(count, ensemble.ids().len(), "{said}");
}

#[test]
fn every_operation_on_a_standalone_server() {
    matrix(
        &Plan::new("kazoo-standalone", 1).start(),
        "kazoo on a standalone server",
    );
}

#[test]
fn every_operation_on_each_of_three_servers() {
    matrix(
        &Plan::new("kazoo-three", 3).start(),
        "kazoo on three servers",
    );
}

#[test]
fn every_operation_through_an_observer() {
    let plan = Plan::new("kazoo-observer", 3).observers(1);
    matrix(&plan.start(), "kazoo through an observer");
}

#[test]
fn lock_watch_and_ephemeral_survive_the_leader() {
    let test = "lock, watch and ephemeral while the leader is killed";
    let Some(python) = peers::kazoo(test) else {
        return;
    };
    let mut ensemble = Plan::new("kazoo-leader", 3).start();
    let mut program = Python::start(python, "keeps_working.py", &ensemble.connect_string());
    assert_eq!(program.hear(), "ready");
    for _ in 0..3 {
        let leader = ensemble.wait_leader();
        ensemble.kill(leader);
        // The other two go on while it is away, ...
        ensemble.wait_leader();
        wait_progress(&mut program);
        // ... and when it has come back.
        ensemble.start(leader);
        wait_progress(&mut program);
    }
    program.say("stop");
    println!("{}", program.finish());
}

/// Waits until ten more rounds of the lock have passed.
fn wait_progress(program: &mut Python) {
    let mut count = || {
        program.say("progress");
        program.hear().parse::<u64>().expect("a count")
    };
    let start = count();
    wait::until(
        "ten more rounds of the lock",
        Duration::from_secs(60),
        || (count() >= start + 10).then_some(()),
    );
}
