//! The environment variables in which users of ZooKeeper's scripts put Java's `-D` options. Knows
//! how those are written, not what they mean.

use super::place::Place;

/// In the order in which `zkServer.sh` hands them to Java: the last of two values counts.
pub(super) const VARIABLES: [&str; 2] = ["SERVER_JVMFLAGS", "JVMFLAGS"];

/// A system property that is set by an option.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Flag {
    pub place: Place,
    pub name: String,
    pub value: String,
}

/// The `-Dname=value` options of all variables, oldest first. Other options are Java's own.
pub(super) fn read(mut variable: impl FnMut(&str) -> Option<String>) -> Vec<Flag> {
    let mut found = Vec::new();
    for name in VARIABLES {
        let text = variable(name).unwrap_or_default();
        for word in words(&text) {
            let Some(option) = word.strip_prefix("-D") else {
                continue;
            };
            let (key, value) = option.split_once('=').unwrap_or((option, ""));
            found.push(Flag {
                place: Place::Variable(name),
                name: key.to_owned(),
                value: value.trim().to_owned(),
            });
        }
    }
    found
}

/// Words as a shell would split them; quotes keep blanks and vanish.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in text.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(server: &str, all: &str) -> Vec<(&'static str, String, String)> {
        let flags = read(|name| match name {
            "SERVER_JVMFLAGS" => Some(server.to_owned()),
            "JVMFLAGS" => Some(all.to_owned()),
            _ => None,
        });
        flags
            .into_iter()
            .map(|f| match f.place {
                Place::Variable(name) => (name, f.name, f.value),
                Place::Line(_) => panic!("flags stand in no file"),
            })
            .collect()
    }

    #[test]
    fn options_are_found_among_others() {
        let found = pairs("-Xmx1g -Da=1", "  -Db='x y'\t-D\"c=z\" -verbose -Dbare");
        let own = |v: &'static str, k: &str, x: &str| (v, k.to_owned(), x.to_owned());
        assert_eq!(
            found,
            [
                own("SERVER_JVMFLAGS", "a", "1"),
                own("JVMFLAGS", "b", "x y"),
                own("JVMFLAGS", "c", "z"),
                own("JVMFLAGS", "bare", ""),
            ]
        );
    }

    #[test]
    fn nothing_is_found_in_nothing() {
        assert_eq!(read(|_| None), []);
        assert_eq!(pairs("", "-Xmx1g"), []);
    }
}
