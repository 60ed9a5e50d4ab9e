//! A short run as a story of at most 20 lines: who led, what was asked and proposed, who died
//! between which effects, and what was broken in the end.

use std::cell::RefCell;
use std::rc::Rc;

use vivarium_core::mutants::Mutants;

use crate::fingerprint::Fingerprint;
use crate::observe::SimTime;
use crate::run::Verdict;
use crate::schedule::Schedule;
use crate::world::{Trace, Weight};

/// Lines of a story.
pub const LINES_MAX: usize = 20;

/// Longest line; what is longer is cut.
const COLUMNS: usize = 160;

/// Runs the schedule and tells what happened.
pub fn story(schedule: &Schedule, mutants: Mutants) -> Vec<String> {
    let heard: Rc<RefCell<Vec<(SimTime, Weight, String)>>> = Rc::default();
    let listening = heard.clone();
    let trace = Trace {
        story: Some(Box::new(move |at, weight, what| {
            listening.borrow_mut().push((at, weight, what.to_string()));
        })),
        ..Trace::default()
    };
    let run = schedule.replay(mutants, trace).run;
    let mut lines = vec![opening(schedule)];
    let mut told = heard.borrow().clone();
    gather(&mut told);
    shorten(&mut told, LINES_MAX - 2);
    lines.extend(
        told.into_iter()
            .map(|(at, _, what)| cut(format!("{at} {what}"))),
    );
    lines.push(cut(ending(&run.verdict, SimTime(run.simulated_ns))));
    lines
}

fn opening(schedule: &Schedule) -> String {
    let config = &schedule.config;
    let bug = match &schedule.mutant {
        None => String::new(),
        Some(mutant) => format!("; the known bug {mutant} is put back"),
    };
    format!(
        "{} voters, {} observers, {} clients{bug}.",
        config.voters,
        config.observers,
        config.clients.len()
    )
}

fn ending(verdict: &Verdict, at: SimTime) -> String {
    let evidence = match verdict {
        Verdict::Pass => return format!("{at} nothing is wrong."),
        Verdict::Halted { evidence } => evidence,
        Verdict::Safety { evidence, .. } | Verdict::Liveness { evidence, .. } => evidence,
        Verdict::Panic { message } => message,
    };
    let print = Fingerprint::of(verdict);
    let rule = print.map_or_else(|| "halted".to_owned(), |print| print.rule);
    format!("{at} {rule}: {evidence}")
}

/// What is said several times in a row is said once.
fn gather(told: &mut Vec<(SimTime, Weight, String)>) {
    let mut gathered: Vec<(SimTime, Weight, String, u32)> = Vec::new();
    for (at, weight, what) in told.drain(..) {
        match gathered.last_mut().filter(|last| last.2 == what) {
            Some(last) => last.3 += 1,
            None => gathered.push((at, weight, what, 1)),
        }
    }
    let times = |(at, weight, what, count)| match count {
        1 => (at, weight, what),
        _ => (at, weight, format!("{what} ({count} times)")),
    };
    told.extend(gathered.into_iter().map(times));
}

/// Leaves out what matters least, the oldest of it first.
fn shorten(told: &mut Vec<(SimTime, Weight, String)>, most: usize) {
    while told.len() > most {
        let least = told.iter().map(|(_, weight, _)| *weight).max();
        let first = told
            .iter()
            .position(|(_, weight, _)| Some(*weight) == least);
        told.remove(first.expect("there is one"));
    }
}

fn cut(line: String) -> String {
    let line = line.replace('\n', " ");
    match line.char_indices().nth(COLUMNS) {
        None => line,
        Some((end, _)) => format!("{}...", &line[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Fault, Planned, Strike, Target};
    use crate::schedule::{Plot, config};
    use std::time::Duration;

    #[test]
    fn who_led_and_who_died_is_told() {
        let mut config = config::calm();
        config.clients = vec![config::plain_plan(&config)];
        config.heal_at = SimTime::from_millis(4_000);
        config.faults.push(Planned {
            at: SimTime::from_millis(3_000),
            fault: Fault::Crash {
                who: Target::Leader,
                power: false,
                strike: Strike::BetweenEffects,
                down: Some(Duration::from_millis(100)),
            },
        });
        let schedule = Schedule {
            about: Vec::new(),
            mutant: None,
            fails: None,
            config,
            plot: Plot::Swarm,
            decisions: Default::default(),
        };
        let lines = story(&schedule, Mutants::NONE);
        assert!(lines.len() <= LINES_MAX, "{lines:#?}");
        let text = lines.join("\n");
        for part in [
            "3 voters",
            "leads epoch 1",
            "fault: Crash",
            "n3 dies",
            "nothing is wrong",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
