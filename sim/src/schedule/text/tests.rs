//! Files that are taken, and files that are refused.

use super::*;
use crate::faults::{Options, draw};
use crate::run::run_swarm;
use crate::schedule::record;
use crate::world::Trace;
use vivarium_core::mutants::Mutants;

const HEAD: &str = "vivarium-schedule 1\nplan 1\n";

fn refusal(rest: &str) -> (usize, String) {
    let refused = Schedule::parse(&format!("{HEAD}{rest}")).expect_err("refused");
    (refused.line, refused.reason)
}

/// What was noted is the run that was drawn, in memory and from a file.
#[test]
fn a_noted_run_happens_again() {
    for seed in 0..12 {
        let drawn = run_swarm(draw(seed, Options::default()), Trace::default());
        let config = draw(seed, Options::default());
        let (noted, schedule) = record(config, Plot::Swarm, Trace::default());
        assert_eq!(noted, drawn, "noting changes nothing");
        let told = schedule.replay(Mutants::NONE, Trace::default());
        assert_eq!(told.run, drawn, "seed {seed}");
        let text = schedule.to_text();
        let read = Schedule::parse(&text).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(read.to_text(), text);
        let again = read.replay(Mutants::NONE, Trace::default());
        assert_eq!(again.run, drawn, "seed {seed}");
    }
}

/// Nothing is told: nothing goes wrong.
#[test]
fn a_quiet_run_passes() {
    let mut config = config::calm();
    config.heal_at = crate::observe::SimTime::from_millis(3_000);
    config.clients = vec![config::plain_plan(&config); 2];
    let schedule = Schedule {
        about: Vec::new(),
        mutant: None,
        fails: None,
        config,
        plot: Plot::Swarm,
        decisions: Decisions::new(),
    };
    let run = schedule.replay(Mutants::NONE, Trace::default()).run;
    assert_eq!(run.verdict, crate::run::Verdict::Pass);
    assert!(run.writes > 0, "after healing clients do as they please");
}

#[test]
fn refusals_name_the_line_and_what_was_expected() {
    let other = Schedule::parse("vivarium-schedule 9\n").expect_err("another version");
    assert_eq!(other.line, 1);
    assert!(
        other.reason.contains("expected \"vivarium-schedule 1\""),
        "{other}"
    );
    let none = Schedule::parse("about = \"x\"\n").expect_err("no schedule");
    assert!(none.reason.contains("no schedule"), "{none}");
    for (rest, expected) in [
        ("tides n1 delay 3 = 1", "expected one of"),
        ("net n1>n2 colour 3 = 1", "delay"),
        ("net n1 delay 3 = 1", "no such stream"),
        (
            "net n1>n9 delay 3 = 1",
            "this run has 3 servers and 1 clients",
        ),
        (
            "client c2 act 3 = 1",
            "this run has 3 servers and 1 clients",
        ),
        ("client c1 act x = 1", "expected a decision's number"),
        ("client c1 act 3 = one", "expected an outcome"),
        ("client c1 act 3 = 1, 1", "expected \"..\""),
        ("client c1 act 3", "needs \" = \""),
        ("config voters = many", "no value"),
        ("config colour = 1", "there is no setting"),
        ("plan 3", "expected \"plan 2\""),
        ("plan 2 timeout_ms = 5", "expected \"plan 2\" before it"),
        ("fault = {}", "no fault"),
        ("mutant = gremlin", "no known bug"),
        ("fails = badly", "expected a verdict"),
        ("step = dance", "no step"),
        ("nonsense", "expected one of"),
    ] {
        let (line, reason) = refusal(rest);
        assert_eq!(line, 3, "{rest}: {reason}");
        assert!(reason.contains(expected), "{rest}: {reason}");
    }
    let twice = refusal("client c1 act 3 = 1\nclient c1 act 2.. = 1, 1");
    assert_eq!(twice.0, 4);
    assert!(twice.1.contains("decided before"), "{}", twice.1);
}
