//! `mutants`: with a known bug put back, how many seeds until a checker finds it?

use vivarium_core::mutants::{Mutant, Mutants};

use super::{MutantsArgs, usage};

/// What to do when the feature is missing.
#[cfg(not(feature = "mutants"))]
const CURE: &str = "known bugs are not built in; use: \
     cargo run --release -p vivarium-sim --features mutants -- mutants";

/// The bug's name on the command line: `AckBeforeSync` is `ack-before-sync`.
fn name(mutant: Mutant) -> String {
    let mut name = String::new();
    for c in format!("{mutant:?}").chars() {
        if c.is_ascii_uppercase() && !name.is_empty() {
            name.push('-');
        }
        name.push(c.to_ascii_lowercase());
    }
    name
}

fn find(wanted: &str) -> Result<Mutant, String> {
    let all = Mutant::ALL;
    all.iter()
        .copied()
        .find(|m| name(*m) == wanted)
        .ok_or_else(|| {
            let names: Vec<String> = all.iter().map(|m| name(*m)).collect();
            format!(
                "no known bug is called {wanted}; there are {}",
                names.join(", ")
            )
        })
}

/// The switch for one bug by name.
#[cfg(not(feature = "mutants"))]
pub(crate) fn named(wanted: &str) -> Result<Mutants, String> {
    find(wanted).and_then(|_| Err(CURE.to_owned()))
}

/// The switch for one bug by name.
#[cfg(feature = "mutants")]
pub(crate) fn named(wanted: &str) -> Result<Mutants, String> {
    find(wanted).map(Mutants::with)
}

#[cfg(not(feature = "mutants"))]
pub(crate) fn mutants(args: &MutantsArgs) -> u8 {
    let _ = (args.seeds, args.jobs, args.json);
    match args.only.as_deref().map(find) {
        Some(Err(unknown)) => usage(&unknown),
        _ => usage(CURE),
    }
}

#[cfg(feature = "mutants")]
pub(crate) fn mutants(args: &MutantsArgs) -> u8 {
    let wanted = match args.only.as_deref().map(find) {
        Some(Err(unknown)) => return usage(&unknown),
        Some(Ok(one)) => vec![one],
        None => Mutant::ALL.to_vec(),
    };
    let mut missed = 0;
    for mutant in wanted {
        missed += u8::from(!hunt(mutant, args));
    }
    if missed > 0 {
        println!(
            "{missed} known bugs were not found within {} seeds",
            args.seeds
        );
        return 1;
    }
    0
}

/// The scenario that shows a bug for which much must come together.
#[cfg(feature = "mutants")]
fn stage(mutant: Mutant) -> Option<&'static str> {
    match mutant {
        Mutant::SyncWithoutQuorum => {
            Some(include_str!("../../../scenarios/sync-deposed-leader.toml"))
        }
        Mutant::WritesWithoutRoom | Mutant::RefusedForEver => {
            Some(include_str!("../../../scenarios/full-disks.toml"))
        }
        _ => None,
    }
}

/// One run with these bugs, drawn or on the stage.
#[cfg(feature = "mutants")]
fn run(stage: Option<&str>, seed: u64, mutants: Mutants) -> vivarium_sim::run::Run {
    use vivarium_sim::faults::{Options, draw};
    use vivarium_sim::run::run_swarm;
    use vivarium_sim::scenario::play;
    use vivarium_sim::world::Trace;

    let nodes = None;
    match stage {
        Some(text) => play(&super::parsed(text), seed, mutants, Trace::default()),
        None => run_swarm(draw(seed, Options { nodes, mutants }), Trace::default()),
    }
}

/// Runs seeds with the bug until one fails; says which and how.
#[cfg(feature = "mutants")]
fn hunt(mutant: Mutant, args: &MutantsArgs) -> bool {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU64, Ordering};

    use vivarium_sim::run::Run;

    use super::{print, runs};

    let stage = stage(mutant);
    let watch = super::stopwatch::Stopwatch::start();
    let found: Mutex<Option<Run>> = Mutex::new(None);
    let failing = AtomicU64::new(0);
    runs::each_seed(args.jobs, 0..args.seeds, |seed| {
        print::progress(&format!("{}: seed {seed}", name(mutant)));
        let mutated = print::with_panic(run(stage, seed, Mutants::with(mutant)));
        if !mutated.verdict.is_failure() {
            return true;
        }
        // A seed that fails anyway says nothing about the bug that was put back.
        if run(stage, seed, Mutants::NONE).verdict.is_failure() {
            failing.fetch_add(1, Ordering::Relaxed);
            return true;
        }
        let mut found = found.lock().expect("no worker panics while it reports");
        if found.as_ref().is_none_or(|other| other.seed > mutated.seed) {
            *found = Some(mutated);
        }
        false
    });
    print::progress("");
    let found = found
        .into_inner()
        .expect("no worker panics while it reports");
    let (seeds, rule) = match &found {
        None => (args.seeds, "-".to_owned()),
        Some(run) => (run.seed + 1, rule(&run.verdict)),
    };
    let seconds = watch.seconds();
    let failing = failing.into_inner();
    if failing > 0 {
        eprintln!("{failing} seeds fail without the bug too and were passed over");
    }
    if args.json {
        let report = serde_json::json!({
            "mutant": name(mutant),
            "found": found.is_some(),
            "seeds": seeds,
            "rule": rule,
            "seconds": seconds,
        });
        println!("{report}");
    } else {
        let what = if found.is_some() { "found" } else { "MISSED" };
        println!(
            "{:<28} {what} after {seeds:>5} seeds  {rule:<28} {seconds:.1}s",
            name(mutant)
        );
    }
    found.is_some()
}

#[cfg(feature = "mutants")]
fn rule(verdict: &vivarium_sim::run::Verdict) -> String {
    use vivarium_sim::run::Verdict;
    match verdict {
        Verdict::Pass | Verdict::Halted { .. } => "-".to_owned(),
        Verdict::Safety { rule, .. } | Verdict::Liveness { rule, .. } => rule.clone(),
        Verdict::Panic { .. } => "panic".to_owned(),
    }
}
