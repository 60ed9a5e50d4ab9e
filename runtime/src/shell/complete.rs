//! Completion on a terminal: the first word from the commands, words that begin with `/` from the
//! znodes that there are.

use rustyline::completion::Completer;
use rustyline::{Context, Helper, Highlighter, Hinter, Result, Validator};
use vivarium_core::wire::client::{Reply, Request};

use super::commands;
use super::session::Session;

#[derive(Helper, Highlighter, Hinter, Validator)]
pub(super) struct Completion {
    session: Session,
}

impl Completion {
    pub(super) fn new(session: Session) -> Self {
        Self { session }
    }

    /// Looks at another session from now on.
    pub(super) fn follow(&mut self, session: Session) {
        self.session = session;
    }

    /// Paths that begin like this one.
    fn paths(&self, begun: &str) -> Vec<String> {
        let Some((parent, begin)) = begun.rsplit_once('/') else {
            return Vec::new();
        };
        let at = if parent.is_empty() { "/" } else { parent };
        let request = Request::GetChildren {
            path: at.into(),
            watch: false,
        };
        let answer = self.session.ask(at, request);
        let Ok(Ok(Reply::Children(names))) = answer.as_ref().map(|answer| answer.reply()) else {
            return Vec::new();
        };
        let fitting = names.iter().filter(|name| name.starts_with(begin));
        let mut paths: Vec<String> = fitting.map(|name| format!("{parent}/{name}")).collect();
        paths.sort_unstable();
        paths
    }
}

impl Completer for Completion {
    type Candidate = String;

    fn complete(&self, line: &str, at: usize, _: &Context<'_>) -> Result<(usize, Vec<String>)> {
        let begun = &line[..at];
        let start = begun
            .rfind(char::is_whitespace)
            .map_or(0, |space| space + 1);
        let word = &begun[start..];
        let found = if word.starts_with('/') {
            self.paths(word)
        } else if begun[..start].trim().is_empty() {
            let names = commands::names().into_iter();
            let fitting = names.filter(|name| name.starts_with(word));
            fitting.map(|name| format!("{name} ")).collect()
        } else {
            Vec::new()
        };
        Ok((start, found))
    }
}
