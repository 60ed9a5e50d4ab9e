//! Words that have no place in the tree, and headers that every file has.

use super::Finding;
use super::source::Source;

/// Marks of unfinished work. Written in halves, so that this file does not find itself.
const UNFINISHED: &[&str] = &[
    concat!("FIX", "ME"),
    concat!("TO", "DO"),
    concat!("XX", "X"),
    concat!("to", "do!"),
    concat!("unimpl", "emented!"),
    concat!("db", "g!("),
];

/// Paths that only exist on somebody's machine.
const MACHINE_PATHS: &[&str] = &[
    concat!("/ho", "me/"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/Us", "ers/"),
];

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Does `line` hold `word`, not as a part of a longer word?
fn holds(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let goes_on = word.ends_with(is_word) && after.is_some_and(is_word);
        !before.is_some_and(is_word) && !goes_on
    })
}

/// Unfinished work anywhere.
pub fn unfinished(sources: &[Source]) -> Vec<Finding> {
    each_line(sources, |line| {
        let word = UNFINISHED.iter().find(|word| holds(line, word))?;
        Some(format!("{word} is unfinished work"))
    })
}

/// Paths of a machine anywhere.
pub fn machine_paths(sources: &[Source]) -> Vec<Finding> {
    each_line(sources, |line| {
        let path = MACHINE_PATHS.iter().find(|path| line.contains(**path))?;
        Some(format!("{path} is a path of one machine"))
    })
}

fn each_line(sources: &[Source], check: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources {
        for (number, line) in source.text.lines().enumerate() {
            if let Some(what) = check(line) {
                findings.push(Finding::new(&source.path, number + 1, what));
            }
        }
    }
    findings
}

/// Rust files that do not begin with what they know.
pub fn headers(sources: &[Source]) -> Vec<Finding> {
    let rust = sources
        .iter()
        .filter(|s| s.is_rust() && (!s.is_test_file() || is_root(&s.path)));
    let bare = rust.filter(|source| !source.text.starts_with("//!"));
    bare.map(|s| Finding::new(&s.path, 1, "no header: say what this file knows"))
        .collect()
}

/// Is this the root of an integration test?
fn is_root(path: &str) -> bool {
    path.rsplit_once('/')
        .is_some_and(|(dir, _)| dir.ends_with("/tests") && !dir.contains("/src"))
}

/// `core` may not name the standard library outside its tests, and says so in its root.
pub fn core_is_bare(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.starts_with("core/src/"))
    {
        let code = source.production();
        for (number, line) in code.lines().enumerate() {
            if holds(line, "std::") {
                findings.push(Finding::new(&source.path, number + 1, "core names std"));
            }
        }
        if source.path == "core/src/lib.rs" {
            for attribute in ["#![no_std]", "#![forbid(unsafe_code)]"] {
                if !code.contains(attribute) {
                    let what = format!("the attribute {attribute} is missing");
                    findings.push(Finding::new(&source.path, 0, what));
                }
            }
        }
    }
    findings
}
