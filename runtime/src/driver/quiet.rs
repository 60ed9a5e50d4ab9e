//! Keeps one kind of message from filling the log: whoever connects a thousand times a second with
//! nonsense must not fill the disk. Knows kinds and times, not messages.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Time after which a kind may be told anew.
const WINDOW: Duration = Duration::from_secs(10);

/// Messages of one kind in that time.
const SHOWN_MAX: u32 = 50;

#[derive(Default, Debug)]
pub(super) struct Quiet {
    kinds: BTreeMap<String, Window>,
}

#[derive(Debug)]
struct Window {
    begun: Instant,
    shown: u32,
    hidden: u64,
}

impl Quiet {
    /// May a message of this kind be shown? If so, how many before it were not.
    pub(super) fn admit(&mut self, kind: &str, now: Instant) -> Option<u64> {
        let window = self.kinds.entry(kind.to_owned()).or_insert(Window {
            begun: now,
            shown: 0,
            hidden: 0,
        });
        if now.saturating_duration_since(window.begun) >= WINDOW {
            window.begun = now;
            window.shown = 0;
        }
        if window.shown == SHOWN_MAX {
            window.hidden += 1;
            return None;
        }
        window.shown += 1;
        Some(std::mem::take(&mut window.hidden))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_kind_is_counted_and_others_are_told() {
        let (mut quiet, start) = (Quiet::default(), Instant::now());
        let shown = (0..1_000).filter(|_| quiet.admit("a", start).is_some());
        assert_eq!(shown.count(), SHOWN_MAX as usize);
        assert_eq!(quiet.admit("b", start), Some(0));
        let almost = start + WINDOW.mul_f64(0.99);
        assert_eq!(quiet.admit("a", almost), None);
        let later = start + WINDOW;
        assert_eq!(quiet.admit("a", later), Some(1_001 - u64::from(SHOWN_MAX)));
        assert_eq!(quiet.admit("a", later), Some(0));
    }
}
