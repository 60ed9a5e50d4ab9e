//! Figures as a table or as JSON, and a line on stderr while something takes long.

use std::io::Write;
use std::time::{Duration, Instant};

/// One figure.
#[derive(Debug)]
pub(super) struct Figure {
    /// Key in JSON, with the unit at its end.
    pub(super) key: &'static str,
    /// What a reader of the table is told.
    pub(super) about: String,
    pub(super) value: f64,
    pub(super) unit: &'static str,
}

/// What was asked for and what was measured.
#[derive(Default, Debug)]
pub(super) struct Report {
    pub(super) given: Vec<(&'static str, u64)>,
    pub(super) figures: Vec<Figure>,
    /// What the figures do not say by themselves.
    pub(super) notes: Vec<&'static str>,
}

impl Report {
    pub(super) fn add(
        &mut self,
        key: &'static str,
        about: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) {
        let about = about.into();
        self.figures.push(Figure {
            key,
            about,
            value,
            unit,
        });
    }

    pub(super) fn json(&self) -> String {
        let given = self.given.iter().map(|(key, n)| format!("\"{key}\":{n}"));
        let figures = self.figures.iter();
        let figures = figures.map(|f| format!("\"{}\":{:.1}", f.key, f.value));
        let build = [format!("\"debug_build\":{}", cfg!(debug_assertions))];
        let all: Vec<String> = given.chain(figures).chain(build).collect();
        format!("{{{}}}", all.join(","))
    }

    pub(super) fn table(&self) -> String {
        let mut text = String::new();
        let width = self.figures.iter().map(|f| f.about.chars().count()).max();
        let width = width.unwrap_or(0);
        for Figure {
            about, value, unit, ..
        } in &self.figures
        {
            text.push_str(&format!("{about:width$}  {value:>12.1} {unit}\n"));
        }
        for note in &self.notes {
            text.push_str(&format!("\n{note}"));
        }
        if cfg!(debug_assertions) {
            text.push_str("\nA debug build: figures of a release build are several times better.");
        }
        text.trim_end().to_owned()
    }
}

/// Says on stderr how far a step is, once a second from its second second on.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    of: usize,
    next: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str, of: usize) -> Self {
        let next = Instant::now() + Duration::from_secs(1);
        Self { what, of, next }
    }

    pub(super) fn at(&mut self, done: usize) {
        let now = Instant::now();
        if now < self.next {
            return;
        }
        self.next = now + Duration::from_secs(1);
        // Nobody is left to be told if stderr is closed.
        let _ = writeln!(std::io::stderr(), "{}: {done} of {}", self.what, self.of);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_show_every_figure() {
        let mut report = Report {
            given: vec![("watches", 10)],
            notes: vec!["A note."],
            ..Report::default()
        };
        report.add("write_ns", "a write", 12.34, "ns");
        report.add("close_ms", "closing", 5.0, "ms");
        let debug = cfg!(debug_assertions);
        let json = format!(
            "{{\"watches\":10,\"write_ns\":12.3,\"close_ms\":5.0,\"debug_build\":{debug}}}"
        );
        assert_eq!(report.json(), json);
        let table = "a write          12.3 ns\nclosing           5.0 ms\n\nA note.";
        assert!(report.table().starts_with(table), "{}", report.table());
    }
}
