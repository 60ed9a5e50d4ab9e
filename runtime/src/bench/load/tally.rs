//! What came of a load: latencies by kind of request, errors by code, events.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::workload::Kind;
use crate::bench::report::Report;

/// Longest latency that is told from longer ones.
const LATENCY_MAX: Duration = Duration::from_secs(600);

#[derive(Clone, Debug)]
pub(in crate::bench) struct Tally {
    /// In nanoseconds.
    reads: Histogram<u64>,
    writes: Histogram<u64>,
    /// How often each code, success apart.
    pub(super) errors: BTreeMap<i32, u64>,
    /// Watch events.
    pub(super) events: u64,
}

impl Tally {
    pub(super) fn new() -> Self {
        let empty = Histogram::new_with_max(LATENCY_MAX.as_nanos() as u64, 3)
            .expect("three digits up to minutes");
        Self {
            reads: empty.clone(),
            writes: empty,
            errors: BTreeMap::new(),
            events: 0,
        }
    }

    pub(super) fn answered(&mut self, kind: Kind, latency: Duration, error: i32) {
        let histogram = match kind {
            Kind::Read => &mut self.reads,
            Kind::Write => &mut self.writes,
        };
        histogram.saturating_record(latency.as_nanos() as u64);
        if error != 0 {
            *self.errors.entry(error).or_default() += 1;
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.reads += &other.reads;
        self.writes += &other.writes;
        for (code, count) in &other.errors {
            *self.errors.entry(*code).or_default() += count;
        }
        self.events += other.events;
    }

    /// Requests that were answered, refusals among them.
    pub(in crate::bench) fn answers(&self) -> u64 {
        self.reads.len() + self.writes.len()
    }

    pub(in crate::bench) fn refusals(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Microseconds below which this part of all answers came.
    pub(in crate::bench) fn quantile_us(&self, quantile: f64) -> f64 {
        let mut all = self.reads.clone();
        all += &self.writes;
        all.value_at_quantile(quantile) as f64 / 1e3
    }

    pub(super) fn report(&self, report: &mut Report) {
        type Keys = [&'static str; 5];
        const READS: Keys = [
            "read_p50_us",
            "read_p90_us",
            "read_p99_us",
            "read_p999_us",
            "read_max_us",
        ];
        const WRITES: Keys = [
            "write_p50_us",
            "write_p90_us",
            "write_p99_us",
            "write_p999_us",
            "write_max_us",
        ];
        const QUANTILES: [(f64, &str); 5] = [
            (0.5, "half of them within"),
            (0.9, "90 % within"),
            (0.99, "99 % within"),
            (0.999, "99.9 % within"),
            (1.0, "the slowest"),
        ];
        for (name, histogram, keys) in [
            ("reads", &self.reads, READS),
            ("writes", &self.writes, WRITES),
        ] {
            if histogram.is_empty() {
                continue;
            }
            for (key, (quantile, about)) in keys.into_iter().zip(QUANTILES) {
                let value = histogram.value_at_quantile(quantile) as f64 / 1e3;
                report.add(key, format!("{name}: {about}"), value, "µs");
            }
        }
        report.add("refused", "refused", self.refusals() as f64, "requests");
        report.add("events", "watch events", self.events as f64, "events");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tally_keeps_kinds_apart_and_adds_up() {
        let mut one = Tally::new();
        for ms in 1..=100 {
            one.answered(Kind::Read, Duration::from_millis(ms), 0);
        }
        let mut other = Tally::new();
        other.answered(Kind::Write, Duration::from_secs(2), -101);
        other.events = 3;
        one.add(&other);
        assert_eq!((one.answers(), one.refusals(), one.events), (101, 1, 3));
        let mut report = Report::default();
        one.report(&mut report);
        let figure = |key: &str| report.figures.iter().find(|f| f.key == key).unwrap().value;
        assert!((figure("read_p50_us") - 50_000.0).abs() < 100.0);
        assert!((figure("read_max_us") - 100_000.0).abs() < 100.0);
        assert!((figure("write_p50_us") - 2_000_000.0).abs() < 2_000.0);
    }
}
