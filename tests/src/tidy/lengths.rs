//! How long lines, functions and files may be.

use super::Finding;
use super::exceptions::Exception;
use super::source::{Source, closing, line_of};

pub const LINE_COLUMNS_MAX: usize = 100;
pub const FUNCTION_LINES_MAX: usize = 70;
pub const FILE_LINES_MAX: usize = 800;

/// Rust lines wider than 100 columns.
pub fn lines(sources: &[Source]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        for (number, line) in source.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > LINE_COLUMNS_MAX {
                let what = format!("{columns} columns, {LINE_COLUMNS_MAX} are allowed");
                findings.push(Finding::new(&source.path, number + 1, what));
            }
        }
    }
    findings
}

/// A function in production code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    pub name: String,
    /// Line of its `fn`, from 1.
    pub line: usize,
    /// From the `fn` to the closing brace.
    pub lines: usize,
}

/// Every function with a body, nested ones too.
pub fn functions(code: &str) -> Vec<Function> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let starts_word = code[..at].chars().next_back().is_none_or(|c| !is_word(c));
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        if !starts_word || name.is_empty() {
            continue;
        }
        if let Some(open) = body(code, at) {
            let (first, last) = (line_of(code, at), line_of(code, closing(code, open) - 1));
            found.push(Function {
                name,
                line: first,
                lines: last - first + 1,
            });
        }
    }
    found
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The brace that opens the body of the function at `at`; `None` if a semicolon comes first.
fn body(code: &str, at: usize) -> Option<usize> {
    let mut depth = 0;
    for (offset, byte) in code.bytes().enumerate().skip(at) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth == 0 => return Some(offset),
            b';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

/// Functions over 70 lines and files over 800, tests left out, and exceptions that are not needed
/// or larger than needed.
pub fn functions_and_files(sources: &[Source], exceptions: &[Exception]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut used = vec![false; exceptions.len()];
    let mut judge = |path: &str, line: usize, name: &str, lines: usize, limit: usize| {
        let index = exceptions
            .iter()
            .position(|e| e.path == path && e.name == name);
        let allowed = index.map_or(limit, |index| exceptions[index].lines);
        if lines > allowed {
            let what = format!("{name} has {lines} lines, {allowed} are allowed");
            findings.push(Finding::new(path, line, what));
        }
        if let Some(index) = index {
            used[index] = true;
            if lines < allowed {
                let what = if lines <= limit {
                    format!("{name} needs no exception any more: remove it")
                } else {
                    format!("{name} has shrunk: lower its exception to {lines}")
                };
                findings.push(Finding::new(path, line, what));
            }
        }
    };
    for source in sources
        .iter()
        .filter(|source| source.is_rust() && !source.is_test_file())
    {
        for function in functions(&source.production()) {
            let (line, lines) = (function.line, function.lines);
            judge(
                &source.path,
                line,
                &function.name,
                lines,
                FUNCTION_LINES_MAX,
            );
        }
        judge(
            &source.path,
            0,
            "file",
            source.production_lines(),
            FILE_LINES_MAX,
        );
    }
    for (exception, used) in exceptions.iter().zip(used) {
        if !used {
            let what = format!("{} is gone: remove its exception", exception.name);
            findings.push(Finding::new(exception.path, 0, what));
        }
    }
    findings
}
