//! What lies at the top of the repository, and that nothing lies there unused.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::Finding;
use super::source::Source;

/// The top level, exactly. A new entry is a decision about the layout.
pub const TOP_LEVEL: &[&str] = &[
    ".cargo",
    ".ci",
    ".gitignore",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "clippy.toml",
    "core",
    "deny.toml",
    "fuzz",
    "runtime",
    "rust-toolchain.toml",
    "rustfmt.toml",
    "scenarios",
    "sim",
    "tests",
];

/// Names at the top of `root`, without `.git` and what `.gitignore` names there.
pub fn names(root: &Path) -> BTreeSet<String> {
    let ignored = fs::read_to_string(root.join(".gitignore")).unwrap_or_default();
    let ignored: Vec<_> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('/'))
        .collect();
    let entries = fs::read_dir(root)
        .expect("the repository can be read")
        .flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    names
        .filter(|name| name != ".git" && !ignored.contains(&&**name))
        .collect()
}

/// What is there and should not be, and the other way round.
pub fn check(found: &BTreeSet<String>) -> Vec<Finding> {
    let expected: BTreeSet<String> = TOP_LEVEL.iter().map(|name| (*name).into()).collect();
    let surplus = found.difference(&expected);
    let surplus = surplus.map(|name| Finding::new(name, 0, "not part of the top level"));
    let missing = expected.difference(found);
    let missing = missing.map(|name| Finding::new(name, 0, "missing at the top level"));
    surplus.chain(missing).collect()
}

/// Files of `scenarios` that nothing outside names, neither by file nor by folder. What lies there
/// as `*.toml` is a scenario, and all of them are run by whoever names them so.
pub fn unused_scenarios(sources: &[Source], scenarios: &[String]) -> Vec<Finding> {
    let users = || {
        sources
            .iter()
            .filter(|source| !source.path.starts_with("scenarios/"))
    };
    let named = |name: &str| users().any(|source| source.text.contains(name));
    let all_run = named("scenarios/*.toml");
    let is_used = |path: &str| {
        let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
        let is_scenario = dir == "scenarios" && name.ends_with(".toml");
        let in_folder = dir.contains('/') && named(dir);
        name == "README.md" || named(name) || in_folder || (is_scenario && all_run)
    };
    let unused = scenarios.iter().filter(|path| !is_used(path));
    unused
        .map(|path| Finding::new(path, 0, "no test or program names this file"))
        .collect()
}

/// Every file below `scenarios`, binary ones too, relative to the root.
pub fn scenarios(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![root.join("scenarios")];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(dir)
            .expect("the repository can be read")
            .flatten()
        {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else {
                let relative = path.strip_prefix(root).expect("below the root");
                found.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    found.sort();
    found
}
