//! Where a failure became inevitable: for each moment at which something was decided, how many of
//! other futures from there fail in the same way. A future keeps what was decided so far, and
//! draws everything after it anew: deliveries, what clients do, and faults of the kinds that the
//! run had.
//!
//! Futures are told by running the schedule again up to their moment. Counts runs, not time.

use vivarium_core::mutants::Mutants;

use crate::faults::draw_faults;
use crate::fingerprint::Fingerprint;
use crate::observe::SimTime;
use crate::rng::Streams;
use crate::schedule::text::{address_text, outcomes_text};
use crate::schedule::{Replay, Schedule};
use crate::world::Trace;

/// Of a hundred futures, so many have to fail for a failure to count as inevitable.
pub const INEVITABLE_PERCENT: u32 = 95;

/// A moment at which something was decided.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Moment {
    /// During this event; 0 is before the first.
    pub event: u64,
    pub at: SimTime,
    /// What was decided, as it stands in the file.
    pub what: Vec<String>,
    /// Futures from there that were tried, and that failed in the same way.
    pub futures: u32,
    pub failed: u32,
}

impl Moment {
    pub fn percent(&self) -> u32 {
        100 * self.failed / self.futures.max(1)
    }
}

/// What was found out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Explained {
    pub print: Fingerprint,
    /// In the order of time; the first is the start, where only the configuration is given.
    pub moments: Vec<Moment>,
    pub runs: u64,
}

impl Explained {
    /// The first moment from which on nearly every future fails, to the end.
    pub fn inevitable(&self) -> Option<&Moment> {
        let fails = |m: &&Moment| m.percent() >= INEVITABLE_PERCENT;
        self.moments.iter().rev().take_while(fails).last()
    }

    /// The moment that made the failure most likely, and by how much.
    pub fn steepest(&self) -> Option<(&Moment, u32)> {
        let pairs = self.moments.windows(2);
        let rise = |pair: &[Moment]| pair[1].percent().saturating_sub(pair[0].percent());
        let best = pairs
            .enumerate()
            .max_by_key(|(n, pair)| (rise(pair), usize::MAX - n));
        best.map(|(n, pair)| (&self.moments[n + 1], rise(pair)))
    }
}

/// Tries so many futures from each moment, as long as `go_on` says yes after each moment.
///
/// # Errors
/// The schedule does not fail.
pub fn explain(
    schedule: &Schedule,
    mutants: Mutants,
    futures: u32,
    go_on: &mut dyn FnMut(&Moment) -> bool,
) -> Result<Explained, String> {
    let replay = schedule.replay(mutants, Trace::default());
    let Some(print) = replay.fingerprint() else {
        return Err("this schedule does not fail: there is nothing to explain".to_owned());
    };
    let mut explained = Explained {
        print,
        moments: Vec::new(),
        runs: 1,
    };
    for mut moment in moments(schedule, &replay) {
        let kept = kept(schedule, &replay, moment.event);
        for n in 0..futures {
            let fails =
                future(&kept, mutants, &moment, u64::from(n)) == Some(explained.print.clone());
            moment.futures += 1;
            moment.failed += u32::from(fails);
            explained.runs += 1;
        }
        let more = go_on(&moment);
        explained.moments.push(moment);
        if !more {
            break;
        }
    }
    Ok(explained)
}

/// Every event at which something was decided that is not quiet, and the start.
fn moments(schedule: &Schedule, replay: &Replay) -> Vec<Moment> {
    let decisions = replay.used.iter().map(|used| {
        let outcomes = &schedule.decisions[&used.address];
        let text = format!(
            "{} = {}",
            address_text(&used.address),
            outcomes_text(outcomes)
        );
        (used.event, used.at, text)
    });
    let faults = replay.struck.iter().map(|(n, event, at)| {
        let fault = &schedule.config.faults[*n].fault;
        (*event, *at, format!("fault: {fault:?}"))
    });
    let mut all: Vec<_> = decisions.chain(faults).collect();
    all.sort();
    let mut moments = vec![Moment {
        event: 0,
        at: SimTime::ZERO,
        what: vec!["the start".to_owned()],
        futures: 0,
        failed: 0,
    }];
    for (event, at, text) in all {
        match moments.last_mut().filter(|last| last.event == event) {
            Some(last) => last.what.push(text),
            None => moments.push(Moment {
                event,
                at,
                what: vec![text],
                futures: 0,
                failed: 0,
            }),
        }
    }
    moments
}

/// The schedule without the faults that strike after this event.
fn kept(schedule: &Schedule, replay: &Replay, event: u64) -> Schedule {
    let mut kept = schedule.clone();
    let struck = replay.struck.iter().filter(|(_, at, _)| *at <= event);
    let struck: Vec<usize> = struck.map(|(n, ..)| *n).collect();
    let faults = schedule.config.faults.iter().enumerate();
    let faults = faults.filter(|(n, _)| struck.contains(n));
    kept.config.faults = faults.map(|(_, planned)| planned.clone()).collect();
    kept
}

/// How one future ends.
fn future(kept: &Schedule, mutants: Mutants, from: &Moment, n: u64) -> Option<Fingerprint> {
    let mut schedule = kept.clone();
    // Far from the seeds that people use, and another one for each moment and future.
    let key = 0x5eed_0000_0000_0000 ^ (from.event << 16) ^ n;
    let mut drawn = schedule.config.clone();
    drawn.faults.clear();
    draw_faults(&mut drawn, &Streams::new(key));
    let later = drawn
        .faults
        .into_iter()
        .filter(|planned| planned.at > from.at);
    schedule.config.faults.extend(later);
    schedule.config.faults.sort_by_key(|planned| planned.at);
    let event = from.event + 1;
    schedule
        .future(mutants, (event, key), Trace::default())
        .fingerprint()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::{Plot, config, record};

    /// A demand that a calm run never meets: it fails in every future, from the start on.
    #[test]
    fn what_can_not_be_avoided_is_inevitable_from_the_start() {
        let config = config::calm();
        let steps = vec![(1, "start all".to_owned()), (2, "wait 2200ms".to_owned())];
        let expect = vec![(3, "no leader".to_owned())];
        let script = crate::scenario::Script::read(&config, false, steps, expect);
        let plot = Plot::Steps(script.expect("understood"));
        let (_, mut schedule) = record(config, plot, Trace::default());
        schedule
            .decisions
            .retain(|a, _| a.lane == crate::decisions::Lane::Clock);
        let explained = explain(&schedule, Mutants::NONE, 6, &mut |_| true).expect("it fails");
        assert_eq!(explained.print.rule, "scenario");
        let start = &explained.moments[0];
        assert_eq!((start.futures, start.percent()), (6, 100));
        assert_eq!(explained.inevitable().map(|m| m.event), Some(0));
        assert_eq!(explained.runs, 1 + 6 * explained.moments.len() as u64);
    }

    #[test]
    fn the_first_of_those_that_fail_to_the_end_is_inevitable() {
        let moment = |event, failed| Moment {
            event,
            at: SimTime(event),
            what: Vec::new(),
            futures: 100,
            failed,
        };
        let explained = |failed: &[u32]| Explained {
            print: Fingerprint {
                verdict: String::new(),
                rule: String::new(),
                what: String::new(),
            },
            moments: (0..).zip(failed).map(|(n, f)| moment(n, *f)).collect(),
            runs: 0,
        };
        let found = explained(&[0, 99, 40, 95, 100]);
        assert_eq!(found.inevitable().map(|m| m.event), Some(3));
        assert_eq!(found.steepest().map(|(m, by)| (m.event, by)), Some((1, 99)));
        assert_eq!(explained(&[0, 50]).inevitable(), None);
    }
}
