//! What is cut, and that what is left fails as before.

use super::*;
use crate::config::RunConfig;
use crate::faults::{Fault, Options, Planned, Target, draw};
use crate::schedule::{config, record};
use std::time::Duration;

/// A demand that can not be met: no bug has to be built in for it.
fn failing() -> Schedule {
    let mut config = config::calm();
    config.clients = vec![config::plain_plan(&config); 2];
    let steps = [
        "start all",
        "wait 2s",
        "crash 1",
        "clients start",
        "wait 100ms",
    ];
    let number = |(n, text): (usize, &&str)| (n + 1, (*text).to_owned());
    let steps = steps.iter().enumerate().map(number).collect();
    let expect = vec![(9, "leader 9".to_owned())];
    assert!(crate::scenario::Script::read(&config, false, Vec::new(), expect).is_err());
    let expect = vec![(9, "no leader".to_owned())];
    let script = crate::scenario::Script::read(&config, false, steps, expect).expect("understood");
    record(config, Plot::Steps(script), Trace::default()).1
}

#[test]
fn what_has_no_part_in_a_failure_goes() {
    let schedule = failing();
    let before = schedule.size();
    let shrunk = shrink(schedule, Mutants::NONE, 5_000, &mut |_| true).expect("it fails");
    let after = shrunk.schedule.size();
    assert!(shrunk.minimal, "{} runs were not enough", shrunk.runs);
    assert!(before.decisions > 500 && after.decisions <= 3, "{after:?}");
    let again = shrunk.schedule.replay(Mutants::NONE, Trace::default());
    assert_eq!(again.fingerprint(), shrunk.schedule.fails);
    assert_eq!(again.run, shrunk.replay.run);
    let Plot::Steps(script) = &shrunk.schedule.plot else {
        panic!("it was a scenario")
    };
    let steps: Vec<&str> = script.steps.iter().map(|line| line.text.as_str()).collect();
    // Either wait is long enough for an election.
    let [first, wait] = steps[..] else {
        panic!("{steps:?}")
    };
    assert!(
        first == "start all" && wait.starts_with("wait "),
        "{steps:?}"
    );
}

#[test]
fn what_does_not_fail_is_refused() {
    let config = RunConfig {
        heal_at: SimTime::from_millis(300),
        ..config::calm()
    };
    let (_, schedule) = record(config, Plot::Swarm, Trace::default());
    let refused = shrink(schedule.clone(), Mutants::NONE, 9, &mut |_| true);
    assert!(refused.expect_err("it passes").contains("does not fail"));
    let mut other = failing();
    other.fails.as_mut().expect("it fails").rule = "another".to_owned();
    let refused = shrink(other, Mutants::NONE, 9, &mut |_| true);
    assert!(
        refused
            .expect_err("another rule")
            .contains("says that it is")
    );
}

#[test]
fn a_machine_that_goes_takes_its_faults_and_decisions_along() {
    let mut config = draw(4, Options::default());
    let crash = |n| Fault::Pause {
        who: Target::Server(vivarium_core::ids::ServerId(n)),
        lasts: Some(Duration::from_millis(5)),
    };
    config.faults = [1, 2, 3]
        .map(|n| Planned {
            at: SimTime::from_millis(10),
            fault: crash(n),
        })
        .to_vec();
    let servers = config.servers();
    let (_, schedule) = record(config, Plot::Swarm, Trace::default());
    let left = without(&schedule, &[Piece::Server(2)]);
    assert_eq!(left.config.servers(), servers - 1);
    let faults: Vec<&Fault> = left.config.faults.iter().map(|p| &p.fault).collect();
    assert_eq!(faults, [&crash(1), &crash(2)]);
    assert!(left.decisions.len() < schedule.decisions.len());
    let text = left.to_text();
    assert!(
        Schedule::parse(&text).is_ok(),
        "only machines that there are"
    );
}

#[test]
fn weaker_versions_are_weaker() {
    let mut schedule = failing();
    schedule.config.faults.push(Planned {
        at: SimTime(1_234_567_891),
        fault: Fault::Crash {
            who: Target::Leader,
            power: true,
            strike: crate::faults::Strike::BetweenEffects,
            down: Some(Duration::from_millis(777)),
        },
    });
    schedule.decisions.clear();
    let mut seen = Vec::new();
    for n in 0.. {
        let Some(candidate) = weaken::weaker(&schedule, n) else {
            break;
        };
        seen.extend(candidate.map(|c| format!("{:?}", c.config.faults[0])));
    }
    for part in [
        "power: false",
        "BetweenTurns",
        "700ms",
        "SimTime(1200000000)",
        "ServerId(3)",
    ] {
        assert!(seen.iter().any(|s| s.contains(part)), "{part} in {seen:#?}");
    }
}
