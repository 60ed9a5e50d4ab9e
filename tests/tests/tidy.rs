//! The tree is as it should be, and each check can fail.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use vivarium_tests::program;
use vivarium_tests::tidy::exceptions::{EXCEPTIONS, Exception};
use vivarium_tests::tidy::source::{Source, mark_test_files, repository};
use vivarium_tests::tidy::{
    Finding, assert_none, crates, edges, lengths, source, top_level, words,
};

/// The modules of `core` from the ground up. A module may name only modules above its own row, and
/// exactly those that it does name: a new edge is a line to be argued for here.
const CORE: &[edges::Row] = &[
    // The ground: names, numbers, bounds.
    ("ids", &[]),
    ("time", &[]),
    ("limits", &[]),
    ("mutants", &[]),
    ("config", &["ids", "limits", "mutants"]),
    // Bytes and what they mean.
    ("wire", &["ids", "time", "limits", "config"]),
    ("path", &[]),
    ("acl", &["limits", "config", "wire"]),
    // The replicated state.
    ("tree", &["ids", "time", "limits", "wire"]),
    ("quota", &["path", "tree"]),
    ("database", &["ids", "mutants", "wire", "tree", "quota"]),
    ("log", &["ids", "limits"]),
    (
        "snapshot",
        &["ids", "limits", "mutants", "wire", "tree", "database"],
    ),
    ("recovery", &["ids", "mutants", "wire", "database", "log"]),
    // The vocabulary of the driver, and what a server is made of.
    ("boundary", &["ids", "limits", "quota", "recovery"]),
    ("durable", &["ids", "time"]),
    ("quorum", &["ids", "mutants", "config"]),
    ("links", &["ids", "time", "limits", "boundary"]),
    // What clients are promised.
    (
        "watch",
        &[
            "ids", "limits", "mutants", "wire", "path", "tree", "database",
        ],
    ),
    (
        "reads",
        &[
            "ids", "config", "wire", "path", "acl", "tree", "database", "watch",
        ],
    ),
    (
        "prepare",
        &[
            "ids", "time", "limits", "mutants", "config", "wire", "path", "acl", "tree", "quota",
            "database",
        ],
    ),
    (
        "sweeper",
        &[
            "time", "limits", "mutants", "config", "tree", "database", "prepare",
        ],
    ),
    ("session", &["ids", "time", "wire"]),
    (
        "pipeline",
        &[
            "ids", "time", "limits", "mutants", "config", "wire", "path", "acl", "database",
            "boundary", "watch", "reads", "session",
        ],
    ),
    // Servers among themselves.
    (
        "shared",
        &[
            "ids", "time", "limits", "mutants", "config", "wire", "database", "log", "recovery",
            "boundary", "durable", "quorum", "links", "pipeline",
        ],
    ),
    (
        "election",
        &[
            "ids", "time", "limits", "config", "wire", "boundary", "quorum", "shared",
        ],
    ),
    (
        "zab",
        &[
            "ids", "time", "limits", "mutants", "wire", "quota", "database", "log", "snapshot",
            "recovery", "boundary", "durable", "quorum", "prepare", "sweeper", "session",
            "pipeline", "shared",
        ],
    ),
    // On top.
    (
        "node",
        &[
            "ids", "time", "limits", "config", "database", "log", "recovery", "boundary",
            "durable", "links", "watch", "pipeline", "shared", "election", "zab",
        ],
    ),
    (
        "fuzzing",
        &[
            "ids", "time", "limits", "mutants", "config", "wire", "tree", "database", "snapshot",
            "recovery", "boundary", "node",
        ],
    ),
];

fn sources() -> &'static [Source] {
    static READ: OnceLock<Vec<Source>> = OnceLock::new();
    READ.get_or_init(|| repository(program::repository()))
}

#[test]
fn top_level_is_as_decided() {
    assert_none(top_level::check(&top_level::names(program::repository())));
}

#[test]
fn every_scenario_is_used() {
    let files = top_level::scenarios(program::repository());
    assert_none(top_level::unused_scenarios(sources(), &files));
}

#[test]
fn crates_know_only_those_below() {
    assert_none(crates::edges(sources(), crates::CRATES));
    assert_none(crates::reasons(sources()));
}

#[test]
fn modules_of_core_know_only_those_below() {
    for (from, names) in edges::found(sources()) {
        println!("    (\"{from}\", &{names:?}),");
    }
    assert_none(edges::check(sources(), CORE));
}

#[test]
fn lengths_are_bounded() {
    assert_none(lengths::lines(sources()));
    assert_none(lengths::functions_and_files(sources(), EXCEPTIONS));
}

#[test]
fn nothing_is_unfinished() {
    assert_none(words::unfinished(sources()));
}

#[test]
fn no_path_of_a_machine_is_written_down() {
    assert_none(words::machine_paths(sources()));
}

#[test]
fn every_file_says_what_it_knows() {
    assert_none(words::headers(sources()));
}

#[test]
fn core_names_no_std() {
    assert_none(words::core_is_bare(sources()));
}

/// Fails unless the findings are these, as `path:line: start of the text`.
#[track_caller]
fn assert_found(findings: &[Finding], expected: &[&str]) {
    let lines: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let fits = lines
        .iter()
        .zip(expected)
        .all(|(line, start)| line.starts_with(start));
    assert!(
        fits && lines.len() == expected.len(),
        "found {lines:#?}, expected {expected:#?}"
    );
}

fn one(path: &str, text: &str) -> Vec<Source> {
    vec![Source::new(path, text)]
}

#[test]
fn a_wrong_top_level_is_found() {
    let mut names: BTreeSet<String> = top_level::TOP_LEVEL
        .iter()
        .map(|name| (*name).into())
        .collect();
    assert_found(&top_level::check(&names), &[]);
    names.insert("docs".into());
    names.remove("LICENSE");
    assert_found(
        &top_level::check(&names),
        &["docs:0: not part", "LICENSE:0: missing"],
    );
}

#[test]
fn an_unused_scenario_is_found() {
    let files = [
        "scenarios/a.toml",
        "scenarios/b.toml",
        "scenarios/dir/capture",
        "scenarios/d.toml",
    ];
    let files = files.map(String::from);
    let user = one("sim/src/x.rs", "run(\"a.toml\"); read(\"scenarios/dir\")");
    let unused = top_level::unused_scenarios(&user, &files);
    assert_found(
        &unused,
        &["scenarios/b.toml:0: no test", "scenarios/d.toml:0: no test"],
    );
    let all = one(".ci/run", "for file in scenarios/*.toml; do");
    let unused = top_level::unused_scenarios(&all, &files);
    assert_found(&unused, &["scenarios/dir/capture:0: no test"]);
    let itself = one("scenarios/b.toml", "# b.toml");
    assert_eq!(top_level::unused_scenarios(&itself, &files).len(), 4);
}

#[test]
fn wrong_edges_between_crates_are_found() {
    let list: &[crates::Crate] = &[("a/Cargo.toml", "vivarium-a", &[])];
    let wrong = one(
        "a/Cargo.toml",
        "[package]\n[dev-dependencies]\nvivarium-b.workspace = true\n",
    );
    assert_found(
        &crates::edges(&wrong, list),
        &["a/Cargo.toml:3: may not know vivarium-b"],
    );
    let missing = one("c/Cargo.toml", "");
    let found = crates::edges(&missing, list);
    assert_found(
        &found,
        &[
            "a/Cargo.toml:0: this manifest",
            "c/Cargo.toml:0: a crate that",
        ],
    );
}

#[test]
fn a_dependency_without_a_reason_is_found() {
    let text = "[package]\n[dependencies]\n# Sockets.\ntokio = \"1\"\n\nserde = \"1\"\n\
                bytes.workspace = true\n[lints]\nworkspace = true\n";
    let found = crates::reasons(&one("a/Cargo.toml", text));
    assert_found(&found, &["a/Cargo.toml:6: no comment above serde"]);
    let found = crates::reasons(&one("a/Cargo.toml", "[package]\n"));
    assert_found(&found, &["a/Cargo.toml:0: does not take"]);
}

#[test]
fn wrong_edges_between_modules_are_found() {
    let text = "use crate::{ids::Id,\n    tree::{Node, Walk}};\nfn f() { crate::zab::go(); }\n\
                // crate::comment\n#[cfg(test)]\nmod tests { use crate::node::Node; }\n";
    let files = one("core/src/wire/mod.rs", text);
    let table: &[edges::Row] = &[("ids", &[]), ("tree", &["ids"]), ("wire", &["ids", "tree"])];
    let found = edges::check(&files, table);
    assert_found(
        &found,
        &[
            "core/src/wire/mod.rs:3: wire may not name zab",
            "table:1: no module ids",
            "table:2: no module tree",
        ],
    );
    let unneeded: &[edges::Row] = &[
        ("ids", &[]),
        ("tree", &[]),
        ("zab", &["ids"]),
        ("log", &[]),
        ("wire", &["ids", "tree", "zab", "log"]),
    ];
    let found = edges::check(&files, unneeded);
    assert!(
        found
            .iter()
            .any(|f| f.what == "wire does not name log: remove it"),
        "{found:?}"
    );
    let cycle: &[edges::Row] = &[("wire", &["ids", "tree", "zab"]), ("ids", &[])];
    let found = edges::check(&files, cycle);
    assert!(
        found.iter().any(|f| f.what == "wire is above ids"),
        "{found:?}"
    );
    let hidden = one("core/src/ids.rs", "use super::tree;\n");
    let found = edges::check(&hidden, &[("ids", &[])]);
    assert_found(&found, &["core/src/ids.rs:1: super leaves the module"]);
    let inside = one("core/src/wire/jute.rs", "use super::records;\n");
    assert_found(&edges::check(&inside, &[("wire", &[])]), &[]);
}

#[test]
fn long_lines_are_found() {
    let text = format!("{}\n{}\n", "x".repeat(100), "ü".repeat(101));
    assert_found(
        &lengths::lines(&one("a.rs", &text)),
        &["a.rs:2: 101 columns"],
    );
}

fn function_of(lines: usize) -> String {
    format!(
        "fn long<const N: usize>(a: [u8; 3]) -> u8 {{\n{}}}\n",
        "    a;\n".repeat(lines - 2)
    )
}

#[test]
fn long_functions_and_files_are_found() {
    let long = one("a.rs", &function_of(71));
    let found = lengths::functions_and_files(&long, &[]);
    assert_found(&found, &["a.rs:1: long has 71 lines, 70 are allowed"]);
    assert_found(
        &lengths::functions_and_files(&one("a.rs", &function_of(70)), &[]),
        &[],
    );
    let test = format!("#[cfg(test)]\nmod tests {{\n{}}}\n", function_of(900));
    assert_found(&lengths::functions_and_files(&one("a.rs", &test), &[]), &[]);
    let file = "use a;\n".repeat(801);
    let found = lengths::functions_and_files(&one("a.rs", &file), &[]);
    assert_found(&found, &["a.rs:0: file has 801 lines"]);
}

#[test]
fn exceptions_can_only_shrink() {
    let allow = |lines| {
        [Exception {
            path: "a.rs",
            name: "long",
            lines,
        }]
    };
    let long = one("a.rs", &function_of(80));
    assert_found(&lengths::functions_and_files(&long, &allow(80)), &[]);
    let found = lengths::functions_and_files(&long, &allow(79));
    assert_found(&found, &["a.rs:1: long has 80 lines, 79 are allowed"]);
    let found = lengths::functions_and_files(&long, &allow(81));
    assert_found(
        &found,
        &["a.rs:1: long has shrunk: lower its exception to 80"],
    );
    let short = one("a.rs", &function_of(60));
    let found = lengths::functions_and_files(&short, &allow(80));
    assert_found(&found, &["a.rs:1: long needs no exception any more"]);
    let found = lengths::functions_and_files(&one("b.rs", ""), &allow(80));
    assert_found(&found, &["a.rs:0: long is gone"]);
}

#[test]
fn unfinished_work_is_found() {
    for word in [
        "FIX-ME",
        "TO-DO",
        "XX-X",
        "to-do!()",
        "unimpl-emented!()",
        "db-g!(x)",
    ] {
        let text = format!("fn f() {{\n    {} // why\n}}\n", word.replace('-', ""));
        assert_eq!(words::unfinished(&one("a.rs", &text)).len(), 1, "{text}");
    }
    let fine = one("a.rs", "fn mastodon() {} // XXXL, 0xXXXX_, methodology\n");
    assert_found(&words::unfinished(&fine), &[]);
}

#[test]
fn paths_of_a_machine_are_found() {
    let text = format!("see\n/{}/me/notes\n", "home");
    assert_found(
        &words::machine_paths(&one("README.md", &text)),
        &["README.md:2: "],
    );
}

#[test]
fn a_missing_header_is_found() {
    assert_found(
        &words::headers(&one("a/src/b.rs", "use c;\n")),
        &["a/src/b.rs:1: no header"],
    );
    assert_found(
        &words::headers(&one("a/src/b.rs", "//! What it knows.\n")),
        &[],
    );
}

#[test]
fn std_in_core_is_found() {
    let found = words::core_is_bare(&one("core/src/a.rs", "use alloc::b;\nuse std::time;\n"));
    assert_found(&found, &["core/src/a.rs:2: core names std"]);
    let root = one("core/src/lib.rs", "#![no_std]\n");
    assert_found(
        &words::core_is_bare(&root),
        &["core/src/lib.rs:0: the attribute #![forbid"],
    );
}

#[test]
fn only_code_is_looked_at() {
    let text = "let a = \"fn x() {\"; // fn y() {\nlet b = '{'; let c: &'static str = r#\"}\"#;\n\
                /* fn z() { */ let d = b'\\''; let e = b\"}\\\"\";\nfn real() {}\n";
    let source = Source::new("a.rs", text);
    let names: Vec<_> = lengths::functions(&source.code)
        .into_iter()
        .map(|function| function.name)
        .collect();
    assert_eq!(names, ["real"]);
    assert_eq!(source.code.lines().count(), text.lines().count());
    assert_eq!(source::line_of(text, text.find("real").expect("there")), 4);
}

#[test]
fn test_files_are_recognised() {
    let mut files = vec![
        Source::new("a/src/lib.rs", "mod b;\n"),
        Source::new(
            "a/src/b.rs",
            "#[cfg(test)]\nmod tests;\n#[cfg(test)]\nmod lab;\n",
        ),
        Source::new("a/src/b/tests.rs", ""),
        Source::new("a/src/b/tests/more.rs", ""),
        Source::new("a/src/b/lab.rs", ""),
        Source::new("a/src/b/real.rs", ""),
        Source::new("a/tests/whole.rs", ""),
    ];
    mark_test_files(&mut files);
    let tests: Vec<_> = files
        .iter()
        .filter(|file| file.is_test_file())
        .map(|file| &*file.path)
        .collect();
    let expected = [
        "a/src/b/tests.rs",
        "a/src/b/tests/more.rs",
        "a/src/b/lab.rs",
        "a/tests/whole.rs",
    ];
    assert_eq!(tests, expected);
}
