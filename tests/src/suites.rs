//! Other people's test suites: what they need, how they are run against a server, and how the
//! outcome is held against the record of the same suite on Apache ZooKeeper.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::ensemble::Kind;
use crate::program;

/// How one test of a suite ended, by its name in that suite. Skipped tests are left out.
pub type Outcomes = BTreeMap<String, bool>;

/// A test that needs what Vivarium does not have: the beginning of its name, and what that is.
pub type Missing = (&'static str, &'static str);

/// The file with a suite's outcome on ZooKeeper: a line for each test, `passes NAME` or
/// `fails NAME`.
#[derive(Debug)]
pub struct Record(PathBuf);

impl Record {
    /// `suite` is the suite's name and version.
    pub fn of(suite: &str) -> Self {
        Self(program::repository().join(format!("tests/suites/{suite}.txt")))
    }

    pub fn read(&self) -> Outcomes {
        let text = fs::read_to_string(&self.0).expect("the record is there");
        let line = |line: &str| match line.split_once(' ') {
            Some(("passes", name)) => Some((name.to_owned(), true)),
            Some(("fails", name)) => Some((name.to_owned(), false)),
            _ if line.is_empty() || line.starts_with('#') => None,
            _ => panic!("{}: what is {line:?}?", self.0.display()),
        };
        text.lines().filter_map(line).collect()
    }

    pub fn write(&self, server: &str, outcomes: &Outcomes) {
        let mut text = format!("# On {server}: {}\n", summary(outcomes));
        for (name, passed) in outcomes {
            let word = if *passed { "passes" } else { "fails" };
            let _ = writeln!(text, "{word} {name}");
        }
        fs::write(&self.0, text).expect("the repository is writable");
    }
}

/// One line.
pub fn summary(outcomes: &Outcomes) -> String {
    let passed = outcomes.values().filter(|passed| **passed).count();
    format!("{passed} passed, {} failed", outcomes.len() - passed)
}

/// What is wrong with `found`: each test that ZooKeeper passes must pass, or be known as missing;
/// and what is known as missing must not pass.
pub fn complaints(record: &Outcomes, found: &Outcomes, missing: &[Missing]) -> Vec<String> {
    let mut wrong = Vec::new();
    let known = |name: &str| missing.iter().find(|(start, _)| name.starts_with(start));
    for name in record
        .iter()
        .filter_map(|(name, passes)| passes.then_some(name))
    {
        match (found.get(name), known(name)) {
            (Some(true), None) | (Some(false), Some(_)) => {}
            (Some(true), Some((_, why))) => {
                wrong.push(format!("{name} passes, but is on the list: {why}"));
            }
            (Some(false), None) => wrong.push(format!("{name} fails, and passes on ZooKeeper")),
            (None, _) => wrong.push(format!("{name} did not run")),
        }
    }
    for name in found.keys().filter(|name| !record.contains_key(*name)) {
        wrong.push(format!("{name} is not in the record"));
    }
    for (start, _) in missing {
        if !record.keys().any(|name| name.starts_with(start)) {
            wrong.push(format!("nothing in the record starts with {start}"));
        }
    }
    wrong
}

/// A directory with a program `java` that starts this server, whatever it is asked for, and the
/// environment that the program needs.
pub struct Shim {
    pub dir: PathBuf,
    environment: Vec<(&'static str, std::ffi::OsString)>,
}

impl Shim {
    pub fn new(kind: Kind, dir: &Path) -> Self {
        fs::create_dir_all(dir).expect("target is writable");
        let at = dir.join("java");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut environment = vec![("SHIM_REAL_PATH", path)];
        match kind {
            Kind::Vivarium => {
                let shim = program::repository().join("tests/shims/java");
                fs::copy(shim, &at).expect("target is writable");
                environment.push(("VIVARIUM", program::vivarium().into()));
            }
            Kind::ZooKeeper(java) => {
                let classpath = java.classpath();
                let text = format!(
                    "#!/bin/sh\nPATH=$SHIM_REAL_PATH exec java -Xmx256m -XX:+UseSerialGC \
                     -XX:TieredStopAtLevel=1 -cp '{classpath}' \"$@\"\n"
                );
                fs::write(&at, text).expect("target is writable");
                executable(&at);
            }
        }
        Self {
            dir: dir.to_owned(),
            environment,
        }
    }

    /// Lets a command, and what it starts, find this `java`.
    pub fn serve(&self, command: &mut Command) {
        for (name, value) in &self.environment {
            command.env(name, value);
        }
        let mut path = self.dir.clone().into_os_string();
        path.push(":");
        path.push(std::env::var_os("PATH").unwrap_or_default());
        command.env("PATH", path);
    }
}

fn executable(path: &Path) {
    let status = Command::new("chmod").arg("+x").arg(path).status();
    assert!(status.is_ok_and(|status| status.success()), "chmod");
}

/// Copies a directory with everything in it.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("target is writable");
    for entry in fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("a directory");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a file").is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("target is writable");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcomes(list: &[(&str, bool)]) -> Outcomes {
        let pair = |(name, passed): &(&str, bool)| ((*name).to_owned(), *passed);
        list.iter().map(pair).collect()
    }

    #[test]
    fn what_zookeeper_passes_must_pass() {
        let record = outcomes(&[("a::1", true), ("a::2", true), ("b", false), ("c", true)]);
        let found = outcomes(&[("a::1", true), ("a::2", true), ("b", false), ("c", false)]);
        let missing = [("c", "a reason")];
        assert_eq!(complaints(&record, &found, &missing), [""; 0]);
        let wrong = |name: &str, passed: Option<bool>| {
            let mut found = found.clone();
            match passed {
                Some(passed) => found.insert(name.into(), passed),
                None => found.remove(name),
            };
            complaints(&record, &found, &missing).len()
        };
        assert_eq!(wrong("a::1", Some(false)), 1);
        assert_eq!(wrong("a::1", None), 1);
        assert_eq!(wrong("b", Some(true)), 0);
        assert_eq!(wrong("c", Some(true)), 1);
        assert_eq!(wrong("d", Some(true)), 1);
        assert_eq!(
            complaints(&record, &found, &[("c", ""), ("x", "")]).len(),
            1
        );
    }
}
