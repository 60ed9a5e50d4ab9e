//! Files of the repository, and Rust text with everything blanked out that is not code.

use std::fs;
use std::ops::Range;
use std::path::Path;

/// One text file.
#[derive(Clone, Debug)]
pub struct Source {
    /// Relative to the repository, with forward slashes.
    pub path: String,
    pub text: String,
    /// For Rust files: the text with comments, strings and characters blanked, line for line.
    pub code: String,
    /// Byte ranges of `code` that only exist in tests.
    tests: Vec<Range<usize>>,
    whole_is_test: bool,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let code = if path.ends_with(".rs") {
            blank(text)
        } else {
            String::new()
        };
        let tests = test_regions(&code);
        Self {
            path: path.into(),
            text: text.into(),
            code,
            tests,
            whole_is_test: false,
        }
    }

    pub fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Is the whole file made for tests only?
    pub fn is_test_file(&self) -> bool {
        self.whole_is_test
    }

    /// The code with test regions blanked too.
    pub fn production(&self) -> String {
        let mut bytes = self.code.clone().into_bytes();
        for region in &self.tests {
            for byte in &mut bytes[region.clone()] {
                if *byte != b'\n' {
                    *byte = b' ';
                }
            }
        }
        String::from_utf8(bytes).expect("blanks are ASCII")
    }

    /// Number of lines, those of test modules left out.
    pub fn production_lines(&self) -> usize {
        let whole = self.text.lines().count();
        let lines = |r: &Range<usize>| self.code[r.clone()].lines().count();
        whole.saturating_sub(self.tests.iter().map(lines).sum())
    }
}

/// The line, from 1, of a byte.
pub fn line_of(text: &str, at: usize) -> usize {
    text[..at].bytes().filter(|byte| *byte == b'\n').count() + 1
}

/// All text files of the repository, build products and what git ignores left out.
pub fn repository(root: &Path) -> Vec<Source> {
    let mut sources = Vec::new();
    collect(root, root, &mut sources);
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    mark_test_files(&mut sources);
    sources
}

/// Directories that no check looks into: products, and what belongs to git.
const SKIPPED: &[&str] = &["target", ".git", "vivarium-data"];

fn collect(root: &Path, dir: &Path, sources: &mut Vec<Source>) {
    for entry in fs::read_dir(dir)
        .expect("the repository can be read")
        .flatten()
    {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        if SKIPPED.contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, sources);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let relative = path.strip_prefix(root).expect("below the root");
            let relative = relative.to_string_lossy().replace('\\', "/");
            sources.push(Source::new(&relative, &text));
        }
    }
}

/// Marks what hangs below `#[cfg(test)] mod NAME;`, and the integration tests of crates.
pub fn mark_test_files(sources: &mut [Source]) {
    let mut prefixes = Vec::new();
    for source in sources.iter().filter(|source| source.is_rust()) {
        let dir = module_dir(&source.path);
        for name in test_module_declarations(&source.code) {
            prefixes.push(format!("{dir}/{name}.rs"));
            prefixes.push(format!("{dir}/{name}/"));
        }
    }
    for source in sources.iter_mut().filter(|source| source.is_rust()) {
        let path = &source.path;
        let integration = path.contains("/tests/") && !path.contains("/src/");
        if integration || prefixes.iter().any(|prefix| path.starts_with(&**prefix)) {
            source.whole_is_test = true;
        }
    }
}

/// Where the files of a module's own modules lie.
fn module_dir(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').unwrap_or(("", path));
    match name {
        "mod.rs" | "lib.rs" | "main.rs" => dir.to_owned(),
        _ => path.trim_end_matches(".rs").to_owned(),
    }
}

/// `mod NAME` or `mod NAME {` right behind `#[cfg(test)]`: byte of the `mod`, and the rest.
fn test_modules(code: &str) -> impl Iterator<Item = (usize, &str)> {
    code.match_indices("#[cfg(test)]")
        .filter_map(|(at, attribute)| {
            let rest = code[at + attribute.len()..].trim_start();
            let rest = rest.strip_prefix("pub(crate) ").unwrap_or(rest);
            let start = code.len() - rest.len();
            rest.strip_prefix("mod ").map(|rest| (start, rest))
        })
}

fn test_module_declarations(code: &str) -> Vec<String> {
    let names = test_modules(code).filter_map(|(_, rest)| {
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        rest[end..]
            .trim_start()
            .starts_with(';')
            .then(|| rest[..end].to_owned())
    });
    names.collect()
}

fn test_regions(code: &str) -> Vec<Range<usize>> {
    let regions = test_modules(code).filter_map(|(start, rest)| {
        let open = rest.find(['{', ';'])?;
        let open = code.len() - rest.len() + open;
        code[open..]
            .starts_with('{')
            .then(|| start..closing(code, open))
    });
    regions.collect()
}

/// The byte after the brace that closes the one at `open`; the end of the text if none does.
pub fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// Replaces comments, strings and characters by blanks of the same length.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = end_of_non_code(text, at);
        match end {
            Some(end) => {
                for byte in &mut out[at..end] {
                    if *byte != b'\n' {
                        *byte = b' ';
                    }
                }
                at = end;
            }
            None => at += 1,
        }
    }
    // Only whole comments and literals were blanked, and code outside them is ASCII.
    String::from_utf8_lossy(&out).into_owned()
}

/// If a comment or literal starts at `at`: the byte after its end.
fn end_of_non_code(text: &str, at: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    let rest = &bytes[at..];
    let inside_word = at > 0 && is_word(bytes[at - 1]);
    match rest {
        [b'/', b'/', ..] => Some(find(bytes, at, b"\n")),
        [b'/', b'*', ..] => Some(find(bytes, at + 2, b"*/") + 2),
        [b'"', ..] => Some(end_of_string(bytes, at + 1)),
        [b'b', b'"', ..] if !inside_word => Some(end_of_string(bytes, at + 2)),
        [b'b', b'\'', ..] if !inside_word => end_of_char(text, at + 1),
        [b'r', b'"' | b'#', ..] if !inside_word => end_of_raw(bytes, at + 1),
        [b'b', b'r', b'"' | b'#', ..] if !inside_word => end_of_raw(bytes, at + 2),
        [b'\'', ..] => end_of_char(text, at),
        _ => None,
    }
    .map(|end| end.min(bytes.len()))
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn find(bytes: &[u8], from: usize, needle: &[u8]) -> usize {
    let from = from.min(bytes.len());
    let found = bytes[from..]
        .windows(needle.len())
        .position(|window| window == needle);
    found.map_or(bytes.len(), |offset| from + offset)
}

fn end_of_string(bytes: &[u8], mut at: usize) -> usize {
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// `at` is behind the `r`. `None` for a raw identifier.
fn end_of_raw(bytes: &[u8], at: usize) -> Option<usize> {
    let hashes = bytes[at..].iter().take_while(|byte| **byte == b'#').count();
    if bytes.get(at + hashes) != Some(&b'"') {
        return None;
    }
    let end = [b"\"".as_slice(), &b"#".repeat(hashes)].concat();
    Some(find(bytes, at + hashes + 1, &end) + end.len())
}

/// `at` is the quote. `None` for a lifetime.
fn end_of_char(text: &str, at: usize) -> Option<usize> {
    let mut chars = text[at + 1..].char_indices();
    let (_, first) = chars.next()?;
    if first == '\\' {
        return Some(find(text.as_bytes(), at + 3, b"'") + 1);
    }
    let (offset, second) = chars.next()?;
    (second == '\'').then_some(at + 1 + offset + 1)
}
