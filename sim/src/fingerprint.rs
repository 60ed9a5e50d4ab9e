//! What makes two failures the same: the verdict, the rule, and what was seen in words, without
//! times, numbers, names of servers and paths. Those differ between a run and its smaller copies.

use std::fmt;

use crate::run::Verdict;

/// Words of the evidence that count.
const WORDS_MAX: usize = 6;

/// The same for every run that fails in the same way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Fingerprint {
    /// `safety`, `liveness` or `panic`.
    pub verdict: String,
    /// The checker's rule, or `assertion`.
    pub rule: String,
    /// The first words of the evidence.
    pub what: String,
}

impl Fingerprint {
    /// `None` if nothing is wrong.
    pub fn of(verdict: &Verdict) -> Option<Self> {
        let (kind, rule, evidence) = match verdict {
            Verdict::Pass | Verdict::Halted { .. } => return None,
            Verdict::Safety { rule, evidence } => ("safety", rule.as_str(), evidence),
            Verdict::Liveness { rule, evidence } => ("liveness", rule.as_str(), evidence),
            Verdict::Panic { message } => ("panic", "assertion", message),
        };
        Some(Self {
            verdict: kind.to_owned(),
            rule: rule.to_owned(),
            what: words(evidence),
        })
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.verdict, self.rule, self.what)
    }
}

/// Plain words up to the first value that is shown with its fields.
fn words(evidence: &str) -> String {
    let is_shown = |word: &&str| word.contains(['{', '[', '(']);
    let plain = |word: &&str| word.chars().all(|c| c.is_ascii_alphabetic() || c == '-');
    let words = evidence
        .split_whitespace()
        .take_while(|word| !is_shown(word))
        .map(|word| word.trim_matches([',', ':', ';', '.', '"']))
        .filter(|word| !word.is_empty() && plain(word));
    words.take(WORDS_MAX).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn what(evidence: &str) -> String {
        let rule = "x".to_owned();
        let evidence = evidence.to_owned();
        let print = Fingerprint::of(&Verdict::Safety { rule, evidence });
        print.expect("it is a failure").what
    }

    #[test]
    fn times_numbers_and_values_do_not_count() {
        let one = what("server 3: delivers 0x100000002 right after 0x0 at 1.200000s");
        assert_eq!(one, "server delivers right after at");
        assert_eq!(
            one,
            what("server 1: delivers 0x500000001 right after 0x4 at 9.1s")
        );
        assert_ne!(one, what("server 1 delivers 0x1, which nobody proposed"));
        assert_eq!(what("c1's SetData { path: \"/a\" } got Ok"), "SetData");
        assert_eq!(Fingerprint::of(&Verdict::Pass), None);
    }
}
