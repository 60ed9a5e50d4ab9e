//! The same schedule at slightly other times. When thousands of small delays are taken away at
//! once, a fault that struck between two steps strikes beside them; near by it may fit again.

use crate::decisions::{Decisions, Lane, Owner};
use crate::observe::SimTime;
use crate::rng::{Purpose, Stream, Streams};
use crate::schedule::Schedule;

/// How far faults are shifted, at most; nanoseconds.
const FAR: [u64; 5] = [300_000, 3_000_000, 30_000_000, 150_000_000, 600_000_000];

/// How far a client's acts are shifted, at most.
const ACTS: i64 = 12;

/// One such schedule; the number says which.
pub(super) fn vary(of: &Schedule, number: u64) -> Schedule {
    let mut s = Streams::new(number).stream(Purpose::Scenario, 0);
    let mut varied = of.clone();
    let far = *s.pick(&FAR);
    let together = s.range(0, 2 * far);
    for planned in &mut varied.config.faults {
        let shift = if s.chance(1, 2) {
            together
        } else {
            s.range(0, 2 * far)
        };
        planned.at = SimTime((planned.at.0 + shift).saturating_sub(far));
    }
    varied.config.faults.sort_by_key(|planned| planned.at);
    for n in 1..=varied.config.clients.len() as u16 {
        if s.chance(1, 3) {
            let by = s.range_signed(-ACTS, ACTS);
            shift_acts(&mut varied.decisions, n, by);
        }
    }
    points(&mut varied.decisions, &mut s);
    varied
}

fn shift_acts(decisions: &mut Decisions, client: u16, by: i64) {
    let is_act = |lane: Lane, owner: Owner| lane == Lane::Act && owner == Owner::Client(client);
    let acts: Vec<_> = decisions
        .iter()
        .filter(|(address, _)| is_act(address.lane, address.owner))
        .map(|(address, outcomes)| (*address, outcomes.clone()))
        .collect();
    decisions.retain(|address, _| !is_act(address.lane, address.owner));
    for (mut address, outcomes) in acts {
        let number = i64::from(address.number) + by;
        address.number = u32::try_from(number).unwrap_or(0);
        decisions.entry(address).or_insert(outcomes);
    }
}

/// Between which effects processes die.
fn points(decisions: &mut Decisions, s: &mut Stream) {
    let points = decisions.iter_mut().filter(|(a, _)| a.lane == Lane::Point);
    for (_, outcomes) in points {
        if s.chance(1, 2) {
            *outcomes = vec![s.range(0, 6)];
        }
    }
}
