//! What a line of the shell means: words, then options and arguments as each command declares them.

/// Splits a line as ZooKeeper's shell does: quotes of either kind hold words together, and do not
/// nest. A quote that does not end holds the rest.
pub(super) fn split(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        let (word, behind) = match first {
            '"' | '\'' => {
                let inner = &rest[1..];
                inner.split_once(first).unwrap_or((inner, ""))
            }
            _ => match rest.find(char::is_whitespace) {
                Some(end) => rest.split_at(end),
                None => (rest, ""),
            },
        };
        words.push(word.to_owned());
        rest = behind.trim_start();
    }
    words
}

/// An option of a command: its name behind the dash, and whether a value follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flag {
    pub(super) name: &'static str,
    pub(super) has_value: bool,
}

pub(super) const fn switch(name: &'static str) -> Flag {
    Flag {
        name,
        has_value: false,
    }
}

pub(super) const fn valued(name: &'static str) -> Flag {
    Flag {
        name,
        has_value: true,
    }
}

/// The words of a command behind its name.
#[derive(Default, Debug)]
pub(super) struct Given {
    flags: Vec<(&'static str, Option<String>)>,
    pub(super) arguments: Vec<String>,
}

impl Given {
    /// Options may stand anywhere; behind `--` there are none.
    ///
    /// # Errors
    /// An option that the command does not have, or one without its value.
    pub(super) fn parse(words: &[String], known: &[Flag]) -> Result<Self, String> {
        let mut given = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word == "--" {
                given.arguments.extend(words.cloned());
                break;
            }
            // A lone dash, and negative numbers, are arguments.
            let name = word.strip_prefix('-').filter(|name| {
                let first = name.chars().next();
                first.is_some_and(|first| !first.is_ascii_digit())
            });
            let Some(name) = name else {
                given.arguments.push(word.clone());
                continue;
            };
            let name = name.strip_prefix('-').unwrap_or(name);
            let flag = known.iter().find(|flag| flag.name == name);
            let flag = flag.ok_or_else(|| format!("Unrecognized option: {word}"))?;
            let value = match flag.has_value {
                true => {
                    let value = words.next().cloned();
                    Some(value.ok_or_else(|| format!("Missing argument for option: {name}"))?)
                }
                false => None,
            };
            given.flags.push((flag.name, value));
        }
        Ok(given)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.flags.iter().any(|(given, _)| *given == name)
    }

    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let found = self.flags.iter().find(|(given, _)| *given == name);
        found.and_then(|(_, value)| value.as_deref())
    }

    /// # Errors
    /// A value that is no such number.
    pub(super) fn number<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, String> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let number = value.parse().map(Some);
        number.map_err(|_| format!("-{name} wants a number, and `{value}` is none"))
    }

    pub(super) fn argument(&self, at: usize) -> Option<&str> {
        self.arguments.get(at).map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_hold_words_together() {
        assert_eq!(
            split("  create /a  'b c' \"d 'e'\" "),
            ["create", "/a", "b c", "d 'e'"]
        );
        assert_eq!(split("set /a \"\""), ["set", "/a", ""]);
        assert_eq!(split("set /a 'x y"), ["set", "/a", "x y"]);
        assert_eq!(split(""), [""; 0]);
    }

    #[test]
    fn options_stand_anywhere() {
        let words = split("/a -v 3 data -s");
        let given = Given::parse(&words, &[switch("s"), valued("v")]).expect("sound");
        assert_eq!(given.arguments, ["/a", "data"]);
        assert!(given.has("s"));
        assert_eq!(given.number("v"), Ok(Some(3)));
        let negative = Given::parse(&split("-v -1 /a"), &[valued("v")]).expect("sound");
        assert_eq!(negative.number("v"), Ok(Some(-1)));
        let raw = Given::parse(&split("/a -- -s"), &[switch("s")]).expect("sound");
        assert_eq!((raw.arguments.len(), raw.has("s")), (2, false));
        assert!(Given::parse(&split("-q"), &[switch("s")]).is_err());
        assert!(Given::parse(&split("-v"), &[valued("v")]).is_err());
    }
}
