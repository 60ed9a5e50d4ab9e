//! Python programs beside the tests: what they are told, and what they say.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::{program, wait};

/// Longest silence of a Python program before the test fails.
const SILENCE: Duration = Duration::from_secs(120);

/// A Python program whose lines are read as they come.
pub struct Python {
    child: Child,
    lines: Receiver<String>,
}

impl Python {
    /// Runs a program of `tests/kazoo` on these servers.
    pub fn start(python: &Path, script: &str, hosts: &str) -> Self {
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

    /// Sends a line.
    pub fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        writeln!(stdin, "{line}").expect("the program listens");
    }

    /// The next line.
    pub fn hear(&self) -> String {
        self.lines
            .recv_timeout(SILENCE)
            .expect("the program goes on")
    }

    /// Waits for the end; what was printed since the last look.
    pub fn finish(&mut self) -> String {
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

impl Python {
    /// Waits until `keeps_working.py` has passed ten more rounds of its lock.
    pub fn wait_progress(&mut self) {
        let mut count = || {
            self.say("progress");
            self.hear().parse::<u64>().expect("a count")
        };
        let start = count();
        wait::until(
            "ten more rounds of the lock",
            Duration::from_secs(60),
            || (count() >= start + 10).then_some(()),
        );
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
