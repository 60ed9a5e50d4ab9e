//! What becomes of each line of a `zoo.cfg` that was written for ZooKeeper: one verdict per line,
//! where loading stops at the first that can not be obeyed. Does not say whether the lines fit
//! together; [`load`](super::load) does.

use std::path::Path;

use super::ConfigError;
use super::keys::{self, Treatment};
use super::properties::{self, Property};

/// What becomes of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Obeyed as ZooKeeper obeys it.
    Honoured,
    /// Has no effect here, or another one: which.
    Changed(String),
    /// A server does not start with it: why.
    Refused(String),
    /// Nobody has heard of it; ZooKeeper would have made a system property of it.
    Unknown(Option<&'static str>),
}

/// One line and its verdict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Surveyed {
    /// Counted from 1.
    pub line: usize,
    pub key: String,
    pub value: String,
    pub verdict: Verdict,
}

/// Keys that ZooKeeper's file has no effect for, and that are obeyed here.
const OBEYED_ONLY_HERE: &[&str] = &[
    "jute.maxbuffer",
    "readonlymode.enabled",
    "znode.container.checkIntervalMs",
    "znode.container.maxNeverUsedIntervalMs",
    "znode.container.maxPerMinute",
];

/// A verdict for each line of a file.
///
/// # Errors
/// The file can not be read.
pub fn survey(path: &Path) -> Result<Vec<Surveyed>, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    Ok(survey_text(&bytes))
}

/// What changes for a file by what is not in it.
pub fn changed_defaults(lines: &[Surveyed]) -> Vec<String> {
    let has = |key: &str| lines.iter().any(|line| line.key == key);
    let mut changes = Vec::new();
    if !has("autopurge.purgeInterval") {
        changes.push(
            "old snapshots and logs are removed every hour; autopurge.purgeInterval=0 keeps all"
                .to_owned(),
        );
    }
    if !has("4lw.commands.whitelist") {
        changes.push(
            "all four-letter words are answered, not srvr alone; 4lw.commands.whitelist=srvr \
             keeps the others away"
                .to_owned(),
        );
    }
    changes
}

fn survey_text(bytes: &[u8]) -> Vec<Surveyed> {
    let properties = properties::parse(bytes);
    properties.into_iter().map(judge).collect()
}

fn judge(p: Property) -> Surveyed {
    let bare = keys::without_prefix(&p.key);
    let key = bare.unwrap_or(&p.key);
    let verdict = match keys::treatment(key) {
        Some(Treatment::Used) if bare.is_some() || OBEYED_ONLY_HERE.contains(&key) => {
            Verdict::Changed("obeyed here; in ZooKeeper's file it has no effect".to_owned())
        }
        Some(Treatment::Used) => Verdict::Honoured,
        Some(Treatment::Ignored(why)) => Verdict::Changed(format!("has no effect: {why}")),
        Some(Treatment::Only(value, _)) if p.value.eq_ignore_ascii_case(value) => Verdict::Honoured,
        Some(Treatment::Only(_, why) | Treatment::Refused(why)) => Verdict::Refused(why.to_owned()),
        None => Verdict::Unknown(keys::nearest(key)),
    };
    let super::Place::Line(line) = p.place else {
        unreachable!("these properties come from a file")
    };
    Surveyed {
        line,
        key: p.key,
        value: p.value,
        verdict,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_has_a_verdict() {
        let text = b"tickTime=2000\n# no line\nforceSync=no\nsslQuorum=true\nsslQuorum=false\n\
                     zookeeper.snapCount=7\ncolour=red\nclientPrt=2181\njute.maxbuffer=9\n";
        let found = survey_text(text);
        let verdicts: Vec<_> = found.iter().map(|s| (s.line, &s.verdict)).collect();
        let changed = |n: usize| matches!(verdicts[n].1, Verdict::Changed(_));
        let refused = |n: usize| matches!(verdicts[n].1, Verdict::Refused(_));
        assert_eq!(verdicts[0], (1, &Verdict::Honoured));
        assert!(changed(1) && verdicts[1].0 == 3, "{verdicts:?}");
        assert!(refused(2), "{verdicts:?}");
        assert_eq!(verdicts[3].1, &Verdict::Honoured, "no TLS, as asked");
        assert!(changed(4), "{verdicts:?}");
        assert_eq!(verdicts[5].1, &Verdict::Unknown(None));
        assert_eq!(verdicts[6].1, &Verdict::Unknown(Some("clientPort")));
        assert!(changed(7), "{verdicts:?}");
        assert_eq!(changed_defaults(&found).len(), 2);
        assert!(
            changed_defaults(&survey_text(
                b"autopurge.purgeInterval=1\n4lw.commands.whitelist=*\n"
            ))
            .is_empty()
        );
    }
}
