//! Which crate may know which, and what every manifest says.

use super::Finding;
use super::source::Source;

/// One crate: its manifest, its name and the crates of this workspace that it may name.
pub type Crate = (&'static str, &'static str, &'static [&'static str]);

/// In order: a crate may only name crates above it, so there are no cycles. `sim` and `runtime`
/// never see each other.
pub const CRATES: &[Crate] = &[
    ("core/Cargo.toml", "vivarium-core", &[]),
    (
        "core/storage/Cargo.toml",
        "vivarium-storage",
        &["vivarium-core"],
    ),
    (
        "core/recording/Cargo.toml",
        "vivarium-recording",
        &["vivarium-core"],
    ),
    (
        "sim/Cargo.toml",
        "vivarium-sim",
        &["vivarium-core", "vivarium-storage", "vivarium-recording"],
    ),
    (
        "runtime/Cargo.toml",
        "vivarium",
        &["vivarium-core", "vivarium-storage", "vivarium-recording"],
    ),
    ("tests/Cargo.toml", "vivarium-tests", &[]),
];

/// Dependencies in a manifest: line and name, of every kind.
fn dependencies(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut inside = false;
    for (number, line) in text.lines().enumerate() {
        if let Some(section) = line.strip_prefix('[') {
            inside = section
                .trim_end()
                .trim_end_matches(']')
                .ends_with("dependencies");
        } else if inside && line.starts_with(|c: char| c.is_ascii_alphabetic()) {
            let name = line.split(['=', '.', ' ']).next().unwrap_or_default();
            found.push((number + 1, name.to_owned()));
        }
    }
    found
}

fn manifest<'a>(sources: &'a [Source], path: &str) -> Option<&'a Source> {
    sources.iter().find(|source| source.path == path)
}

/// Edges between crates that `crates` does not allow.
pub fn edges(sources: &[Source], crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (path, _, allowed)) in crates.iter().enumerate() {
        let Some(source) = manifest(sources, path) else {
            findings.push(Finding::new(path, 0, "this manifest is missing"));
            continue;
        };
        for name in *allowed {
            let above = crates[..index]
                .iter()
                .any(|(_, earlier, _)| earlier == name);
            assert!(
                above,
                "{path} may name {name}, which is not above it in the list"
            );
        }
        for (line, name) in dependencies(&source.text) {
            let ours = name == "vivarium" || name.starts_with("vivarium-");
            if ours && !allowed.contains(&&*name) {
                findings.push(Finding::new(path, line, format!("may not know {name}")));
            }
        }
    }
    for source in sources
        .iter()
        .filter(|source| source.path.ends_with("/Cargo.toml"))
    {
        let known = crates.iter().any(|(path, ..)| *path == source.path);
        if !known && source.path != "fuzz/Cargo.toml" {
            findings.push(Finding::new(
                &source.path,
                0,
                "a crate that the list does not have",
            ));
        }
    }
    findings
}

/// Is there a comment above, with nothing but other dependencies of the same group between?
fn has_reason(above: &[&str]) -> bool {
    let group = above
        .iter()
        .rev()
        .take_while(|line| !line.is_empty() && !line.starts_with('['));
    group.into_iter().any(|line| line.starts_with('#'))
}

/// Dependencies on other people's crates without a comment that says why, and crates that do not
/// take the workspace's lints.
pub fn reasons(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources
        .iter()
        .filter(|source| source.path.ends_with("Cargo.toml"))
    {
        let lines: Vec<_> = source.text.lines().collect();
        for (line, name) in dependencies(&source.text) {
            let text = lines[line - 1];
            // Members of the workspace need no reason; an inherited one has it in the root.
            let exempt = name.starts_with("vivarium") || text.contains("workspace = true");
            let reasoned = has_reason(&lines[..line - 1]);
            if !exempt && !reasoned {
                let what = format!("no comment above {name} says why it is there");
                findings.push(Finding::new(&source.path, line, what));
            }
        }
        let is_member = source.text.contains("[package]") && !source.path.starts_with("fuzz/");
        if is_member && !source.text.contains("[lints]\nworkspace = true") {
            findings.push(Finding::new(
                &source.path,
                0,
                "does not take the workspace's lints",
            ));
        }
    }
    findings
}
