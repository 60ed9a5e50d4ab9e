//! Which module of `core` may name which, read from every `crate::` in it.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use super::source::{Source, line_of};

/// One module and the modules that it names.
pub type Row = (&'static str, &'static [&'static str]);

/// The first module names after each `crate::`, with the byte where it stands.
fn named(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, root) in code.match_indices("crate::") {
        if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &code[at + root.len()..];
        if let Some(group) = rest.strip_prefix('{') {
            found.extend(first_names(group).into_iter().map(|name| (at, name)));
        } else {
            found.push((at, first_word(rest)));
        }
    }
    found
}

fn first_word(text: &str) -> String {
    text.trim_start()
        .chars()
        .take_while(|c| c.is_alphanumeric() || *c == '_')
        .collect()
}

/// The first name of each item of a `use` group, up to the brace that closes it.
fn first_names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut names = vec![first_word(group)];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_word(&group[at + 1..])),
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

/// The module of `core` that a file belongs to; `None` for the crate's root.
fn module(path: &str) -> Option<&str> {
    let path = path.strip_prefix("core/src/")?;
    let first = path.split('/').next()?;
    (first != "lib.rs").then(|| first.trim_end_matches(".rs"))
}

/// Does this file lie directly below the crate's root, so that `super` leaves the module?
fn is_module_root(path: &str) -> bool {
    let inner = path.trim_start_matches("core/src/");
    !inner.contains('/') || (inner.ends_with("/mod.rs") && inner.matches('/').count() == 1)
}

/// The edges that the code has, from module to modules; tests left out.
pub fn found(sources: &[Source]) -> BTreeMap<String, BTreeSet<String>> {
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test_file())
    {
        let Some(from) = module(&source.path) else {
            continue;
        };
        let to = edges.entry(from.to_owned()).or_default();
        for (_, name) in named(&source.production()) {
            if name != from {
                to.insert(name);
            }
        }
    }
    edges
}

/// Names that the table does not allow, rows that are out of order or not needed, and `super` where
/// it would hide an edge.
pub fn check(sources: &[Source], table: &[Row]) -> Vec<Finding> {
    let mut findings = order(table);
    let allowed: BTreeMap<_, _> = table.iter().copied().collect();
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test_file())
    {
        let Some(from) = module(&source.path) else {
            continue;
        };
        let code = source.production();
        let Some(names) = allowed.get(from) else {
            findings.push(Finding::new(&source.path, 0, format!("{from} has no row")));
            continue;
        };
        for (at, name) in named(&code) {
            if name != from && !names.contains(&&*name) {
                let what = format!("{from} may not name {name}");
                findings.push(Finding::new(&source.path, line_of(&code, at), what));
            }
        }
        if is_module_root(&source.path) {
            for (at, _) in code.match_indices("super::") {
                let what = "super leaves the module: write crate";
                findings.push(Finding::new(&source.path, line_of(&code, at), what));
            }
        }
    }
    findings.extend(unneeded(&found(sources), table));
    findings
}

/// Every row names earlier rows only: the table is free of cycles by its order.
fn order(table: &[Row]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (from, names)) in table.iter().enumerate() {
        for name in *names {
            if !table[..index].iter().any(|(earlier, _)| earlier == name) {
                findings.push(Finding::new(
                    "table",
                    index + 1,
                    format!("{from} is above {name}"),
                ));
            }
        }
    }
    findings
}

fn unneeded(found: &BTreeMap<String, BTreeSet<String>>, table: &[Row]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, (from, names)) in table.iter().enumerate() {
        match found.get(*from) {
            None => findings.push(Finding::new(
                "table",
                index + 1,
                format!("no module {from}"),
            )),
            Some(used) => {
                for name in names.iter().filter(|name| !used.contains(**name)) {
                    let what = format!("{from} does not name {name}: remove it");
                    findings.push(Finding::new("table", index + 1, what));
                }
            }
        }
    }
    findings
}
