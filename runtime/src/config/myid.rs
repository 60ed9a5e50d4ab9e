//! The file `myid`: which of the servers in the configuration this one is.

use std::path::Path;

use vivarium_core::ids::ServerId;

/// Reads `dataDir/myid`.
///
/// # Errors
/// Text that names the file, what stands in it, and the cure.
pub(super) fn read(data_dir: &Path) -> Result<ServerId, String> {
    let path = data_dir.join("myid");
    let shown = path.display();
    match std::fs::read(&path) {
        Ok(bytes) => parse(&bytes).map_err(|why| format!("{shown}: {why}")),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Err(format!(
            "{shown} is missing: write this server's number into it, the N of its server.N line"
        )),
        Err(e) => Err(format!("cannot read {shown}: {e}")),
    }
}

/// The number on the first line.
fn parse(bytes: &[u8]) -> Result<ServerId, String> {
    let first = bytes.split(|&b| b == b'\n').next().unwrap_or_default();
    let first = first
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(first)
        .trim_ascii();
    if first.is_empty() {
        return Err("the first line is empty; it must be this server's number".into());
    }
    let text = std::str::from_utf8(first).ok();
    match text.and_then(|t| t.parse::<i64>().ok()) {
        Some(id) if id >= 0 => Ok(ServerId(id)),
        _ => Err(format!(
            "{} is not a server number{}",
            show(first),
            hint(first)
        )),
    }
}

/// Printable text as it is, and every other byte as it stands in the file.
fn show(bytes: &[u8]) -> String {
    let bytes = &bytes[..bytes.len().min(40)];
    let hex: Vec<String> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    if bytes.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        format!("`{}`", String::from_utf8_lossy(bytes))
    } else {
        format!(
            "`{}` (bytes {})",
            String::from_utf8_lossy(bytes),
            hex.join(" ")
        )
    }
}

fn hint(bytes: &[u8]) -> &'static str {
    let curly = [
        &b"\xe2\x80\x9c"[..],
        b"\xe2\x80\x9d",
        b"\xe2\x80\x98",
        b"\xe2\x80\x99",
    ];
    if curly
        .iter()
        .any(|q| bytes.windows(q.len()).any(|w| w == *q))
    {
        "; the curly quotes came with the text that it was copied from: write the bare digits"
    } else if bytes.contains(&b'"') || bytes.contains(&b'\'') {
        "; write the bare digits, without quotes"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for (text, id) in [
            ("1", 1),
            ("3\n", 3),
            ("  7 \r\nrest", 7),
            ("\u{feff}2\n", 2),
        ] {
            assert_eq!(parse(text.as_bytes()), Ok(ServerId(id)), "{text:?}");
        }
    }

    #[test]
    fn errors_show_what_is_there() {
        for (text, says) in [
            ("", "first line is empty"),
            ("\n1\n", "first line is empty"),
            ("one", "`one` is not a server number"),
            ("-1", "`-1` is not a server number"),
            ("\"1\"", "without quotes"),
            ("\u{201c}1\u{201d}", "bytes e2 80 9c 31 e2 80 9d"),
            ("\u{201c}1\u{201d}", "curly quotes"),
        ] {
            let error = parse(text.as_bytes()).expect_err(text);
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = read(Path::new("/nowhere/at/all")).expect_err("no such directory");
        assert!(
            error.starts_with("/nowhere/at/all/myid is missing"),
            "{error}"
        );
    }
}
