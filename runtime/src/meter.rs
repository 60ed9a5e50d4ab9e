//! How long the syncs of the log take: what `mntr` shows as `fsynctime`, and a warning for each
//! that is slow. Knows times and names, not files.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Steps between two powers of two: a percentile is at most an eighth too high.
const STEPS: u64 = 8;
/// Enough for centuries in microseconds.
const BUCKETS: usize = 64 * STEPS as usize;

/// Times since the start of the process.
#[derive(Clone, Debug)]
pub(crate) struct Times {
    count: u64,
    sum: Duration,
    min: Duration,
    max: Duration,
    /// By microseconds: eight linear steps in each power of two.
    buckets: Vec<u64>,
    /// Longer than the threshold.
    pub(crate) slow: u64,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            count: 0,
            sum: Duration::ZERO,
            min: Duration::ZERO,
            max: Duration::ZERO,
            buckets: vec![0; BUCKETS],
            slow: 0,
        }
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS {
        return micros as usize;
    }
    let power = u64::from(micros.ilog2());
    let step = (micros >> (power - 3)) & (STEPS - 1);
    ((power - 2) * STEPS + step) as usize
}

/// The largest number of microseconds in the bucket.
fn top(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS + 2, bucket % STEPS);
    ((STEPS + step + 1) << (power - 3)) - 1
}

impl Times {
    fn record(&mut self, took: Duration, threshold: Duration) {
        self.min = if self.count == 0 {
            took
        } else {
            self.min.min(took)
        };
        self.max = self.max.max(took);
        self.sum += took;
        self.count += 1;
        self.slow += u64::from(took > threshold);
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        self.buckets[bucket(micros)] += 1;
    }

    /// The time that so many of a thousand syncs did not exceed; never more than the longest.
    fn quantile(&self, per_mille: u64) -> Duration {
        let wanted = (self.count * per_mille).div_ceil(1_000);
        let mut seen = 0;
        for (at, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return Duration::from_micros(top(at)).min(self.max);
            }
        }
        Duration::ZERO
    }

    /// Lines of `mntr`, in ZooKeeper's units (milliseconds) and under its names.
    pub(crate) fn lines(&self) -> Vec<(&'static str, String)> {
        let ms = |time: Duration| decimal(time.as_secs_f64() * 1_000.0);
        vec![
            (
                "avg_fsynctime",
                ms(self.sum / u32::try_from(self.count.max(1)).unwrap_or(u32::MAX)),
            ),
            ("min_fsynctime", self.min.as_millis().to_string()),
            ("max_fsynctime", self.max.as_millis().to_string()),
            ("cnt_fsynctime", self.count.to_string()),
            ("sum_fsynctime", self.sum.as_millis().to_string()),
            ("p50_fsynctime", ms(self.quantile(500))),
            ("p95_fsynctime", ms(self.quantile(950))),
            ("p99_fsynctime", ms(self.quantile(990))),
            ("p999_fsynctime", ms(self.quantile(999))),
            ("fsync_threshold_exceed_count", self.slow.to_string()),
        ]
    }
}

/// Up to four decimals, `0.0` for nothing.
pub(crate) fn decimal(value: f64) -> String {
    let text = format!("{value:.4}");
    let text = text.trim_end_matches('0');
    if text.ends_with('.') {
        format!("{text}0")
    } else {
        text.to_owned()
    }
}

/// Shared by the thread that syncs and the one that answers `mntr`.
#[derive(Default, Debug)]
pub(crate) struct Meter {
    times: Mutex<Times>,
    threshold: Duration,
}

impl Meter {
    pub(crate) fn new(threshold: Duration) -> Self {
        Self {
            times: Mutex::default(),
            threshold,
        }
    }

    /// Tells the operator of a slow sync; counts it if it was one of the log.
    pub(crate) fn record(&self, file: &str, is_log: bool, took: Duration) {
        if is_log {
            let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
            times.record(took, self.threshold);
        }
        if took > self.threshold {
            tracing::warn!(
                file,
                "a sync to disk took {} ms (fsync.warningthresholdms is {}): every write waits \
                 for it, and a server that waits too long loses its place",
                took.as_millis(),
                self.threshold.as_millis()
            );
        }
    }

    pub(crate) fn times(&self) -> Times {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        times.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_leave_no_gap_and_are_an_eighth_wide() {
        let mut last = 0;
        for micros in 0..100_000 {
            let at = bucket(micros);
            assert!(at == last || at == last + 1, "{micros}");
            last = at;
            assert!(
                micros <= top(at) && top(at) <= micros + micros / 8,
                "{micros}"
            );
        }
        assert!(bucket(u64::MAX) < BUCKETS);
    }

    #[test]
    fn lines_are_those_of_zookeeper() {
        let meter = Meter::new(Duration::from_millis(20));
        for ms in 1..=1_000 {
            meter.record("log.1", true, Duration::from_millis(ms));
        }
        meter.record("snapshot.1", false, Duration::from_secs(9));
        let lines = meter.times().lines();
        let value = |key| {
            let line = lines.iter().find(|(k, _)| *k == key).expect(key);
            line.1.parse::<f64>().expect("a number")
        };
        assert_eq!(
            (value("min_fsynctime"), value("max_fsynctime")),
            (1.0, 1_000.0)
        );
        assert_eq!(
            (value("avg_fsynctime"), value("cnt_fsynctime")),
            (500.5, 1_000.0)
        );
        assert_eq!(value("sum_fsynctime"), 500_500.0);
        for (key, exact) in [
            ("p50_fsynctime", 500.0),
            ("p95_fsynctime", 950.0),
            ("p99_fsynctime", 990.0),
            ("p999_fsynctime", 999.0),
        ] {
            assert!((exact..=exact * 1.125).contains(&value(key)), "{key}");
        }
        assert_eq!(value("fsync_threshold_exceed_count"), 980.0);
    }

    #[test]
    fn nothing_was_synced_yet() {
        let lines = Times::default().lines();
        assert_eq!(lines[0], ("avg_fsynctime", "0.0".to_owned()));
        assert_eq!(lines[8], ("p999_fsynctime", "0.0".to_owned()));
    }
}
