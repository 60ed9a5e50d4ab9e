//! One command of the program under test, run to its end: what it prints, and what it complains of.

use std::path::Path;
use std::process::{Command, Output};

use crate::program;

pub fn run(arguments: &[&str]) -> Output {
    Command::new(program::vivarium())
        .args(arguments)
        .output()
        .expect("the program runs")
}

/// What a command prints that must succeed.
pub fn printed(arguments: &[&str]) -> String {
    let output = run(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("text")
}

/// What a command says as JSON that must succeed.
pub fn told(arguments: &[&str]) -> serde_json::Value {
    serde_json::from_str(&printed(arguments)).expect("JSON")
}

/// What a command says that must fail.
pub fn complaint(arguments: &[&str]) -> String {
    ended_with(1, arguments)
}

/// What a command says that was given something that makes no sense.
pub fn complaint_of_use(arguments: &[&str]) -> String {
    ended_with(2, arguments)
}

fn ended_with(code: i32, arguments: &[&str]) -> String {
    let output = run(arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).expect("text")
}

/// A path as an argument.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("a path of text")
}
