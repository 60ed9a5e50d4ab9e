//! Java's properties format, as far as configuration files use it: keys and values with their line
//! numbers. Knows nothing of what a key means.

use super::place::Place;

/// One `key = value` of a file.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Property {
    /// Where it starts.
    pub place: Place,
    pub key: String,
    /// Without surrounding blanks, as ZooKeeper trims it too.
    pub value: String,
}

/// Reads a whole file. Never fails: in this format every line means something.
///
/// `#` and `!` start a comment line; `=`, `:` or a blank ends a key; a backslash at the end of a
/// line continues it; `\t \n \r \f \uXXXX` are escapes and any other escaped character is itself.
/// Text that is not UTF-8 is read as ISO-8859-1, which is what Java does with all of it.
pub(super) fn parse(bytes: &[u8]) -> Vec<Property> {
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    };
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let mut found = Vec::new();
    let mut lines = text
        .split('\n')
        .map(|l| l.strip_suffix('\r').unwrap_or(l))
        .enumerate();
    while let Some((index, first)) = lines.next() {
        let first = first.trim_start();
        if first.is_empty() || first.starts_with(['#', '!']) {
            continue;
        }
        let mut logical = first.to_owned();
        while ends_in_continuation(&logical) {
            logical.pop();
            let Some((_, next)) = lines.next() else { break };
            logical.push_str(next.trim_start());
        }
        let (key, value) = split(&logical);
        found.push(Property {
            place: Place::Line(index + 1),
            key,
            value: value.trim().to_owned(),
        });
    }
    found
}

/// An odd number of backslashes at the end.
fn ends_in_continuation(line: &str) -> bool {
    line.bytes().rev().take_while(|&b| b == b'\\').count() % 2 == 1
}

/// Splits at the first separator that is not escaped, and resolves escapes on both sides.
fn split(line: &str) -> (String, String) {
    let mut escaped = false;
    let mut end = line.len();
    for (at, c) in line.char_indices() {
        if !escaped && (c == '=' || c == ':' || c.is_ascii_whitespace()) {
            end = at;
            break;
        }
        escaped = c == '\\' && !escaped;
    }
    let rest = line[end..].trim_start();
    let rest = rest.strip_prefix(['=', ':']).unwrap_or(rest).trim_start();
    (unescape(&line[..end]), unescape(rest))
}

fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        match chars.next() {
            Some('t') => out.push('\t'),
            Some('n') => out.push('\n'),
            Some('r') => out.push('\r'),
            Some('f') => out.push('\u{c}'),
            Some('u') => {
                let digits: String = chars.by_ref().take(4).collect();
                let code = u32::from_str_radix(&digits, 16)
                    .ok()
                    .and_then(char::from_u32);
                out.push(code.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => out.push(other),
            None => {}
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(Place, String, String)> {
        parse(text.as_bytes())
            .into_iter()
            .map(|p| (p.place, p.key, p.value))
            .collect()
    }

    fn one(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?}");
        let (_, key, value) = all.remove(0);
        (key, value)
    }

    #[test]
    fn separators_blanks_and_comments() {
        for text in [
            "a=b",
            "a = b",
            "a:b",
            "a b",
            "  a\t=  b  ",
            "a=b\r\n",
            "\u{feff}a=b",
        ] {
            assert_eq!(one(text), ("a".into(), "b".into()), "{text:?}");
        }
        assert_eq!(pairs("# x=1\n! y=2\n\n   # z\n"), []);
        assert_eq!(
            one("server.1=h:2888:3888"),
            ("server.1".into(), "h:2888:3888".into())
        );
        assert_eq!(one("a=b=c"), ("a".into(), "b=c".into()));
        assert_eq!(one("alone"), ("alone".into(), String::new()));
        assert_eq!(one("a=x # no comment here").1, "x # no comment here");
    }

    #[test]
    fn line_numbers_survive_comments_and_continuations() {
        let text = "# head\na=1\\\n   2\n\nb=3\n";
        assert_eq!(
            pairs(text),
            [
                (Place::Line(2), "a".into(), "12".into()),
                (Place::Line(5), "b".into(), "3".into())
            ] as [(_, String, String); 2]
        );
        // An even number of backslashes is text, not a continuation.
        assert_eq!(pairs("a=x\\\\\nb=y").len(), 2);
        assert_eq!(one("a=x\\").1, "x");
    }

    #[test]
    fn escapes() {
        assert_eq!(one("a\\=b=c").0, "a=b");
        assert_eq!(one("a=\\u0041\\tz").1, "A\tz");
        assert_eq!(one("a=C:\\\\data").1, "C:\\data");
        assert_eq!(one("a=\\uZZZZ").1, "\u{fffd}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_latin1() {
        assert_eq!(parse(b"a=\xe9")[0].value, "\u{e9}");
    }
}
