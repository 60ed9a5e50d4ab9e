//! `mutants`: with a known bug put back, how many seeds until a checker finds it?

#[cfg(feature = "mutants")]
use vivarium_core::mutants::Mutant;
use vivarium_core::mutants::Mutants;
use vivarium_sim::catalogue::find;
#[cfg(feature = "mutants")]
use vivarium_sim::catalogue::name;

use super::{MutantsArgs, usage};

/// What to do when the feature is missing.
#[cfg(not(feature = "mutants"))]
const CURE: &str = "known bugs are not built in; use: \
     cargo run --release -p vivarium-sim --features mutants -- mutants";

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
    let _ = (args.seeds, args.jobs, args.json, args.shrink, &args.save);
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
    let small = found
        .as_ref()
        .and_then(|run| smaller(mutant, run.seed, args));
    if args.json {
        let report = serde_json::json!({
            "mutant": name(mutant),
            "found": found.is_some(),
            "seeds": seeds,
            "rule": rule,
            "seconds": seconds,
            "shrunk": small.map(|s| s.decisions),
            "settings": small.map(|s| s.settings),
            "minimal": small.map(|s| s.minimal),
            "shrink_runs": small.map(|s| s.runs),
            "shrink_seconds": small.map(|s| s.seconds),
        });
        println!("{report}");
    } else {
        let what = if found.is_some() { "found" } else { "MISSED" };
        let small = small.map_or_else(String::new, |s| s.to_string());
        println!(
            "{:<28} {what} after {seeds:>5} seeds  {rule:<28} {seconds:.1}s{small}",
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

/// What a run that shows a bug was made into.
#[cfg(feature = "mutants")]
#[derive(Clone, Copy)]
struct Small {
    before: usize,
    decisions: usize,
    settings: usize,
    minimal: bool,
    runs: u64,
    seconds: f64,
}

#[cfg(feature = "mutants")]
impl std::fmt::Display for Small {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let minimal = if self.minimal { ", 1-minimal" } else { "" };
        write!(
            f,
            "  {} -> {} decisions, {} settings{minimal}, {} runs, {:.1}s",
            self.before, self.decisions, self.settings, self.runs, self.seconds
        )
    }
}

/// Makes the run small, if that was asked for.
#[cfg(feature = "mutants")]
fn smaller(mutant: Mutant, seed: u64, args: &MutantsArgs) -> Option<Small> {
    use vivarium_sim::schedule::{Plot, record};
    use vivarium_sim::shrink::shrink;

    let most = args.shrink?.as_secs_f64();
    let (config, plot) = match stage(mutant) {
        None => {
            let mutants = Mutants::with(mutant);
            let nodes = None;
            let options = vivarium_sim::faults::Options { nodes, mutants };
            (vivarium_sim::faults::draw(seed, options), Plot::Swarm)
        }
        Some(text) => {
            let scenario = super::parsed(text);
            (
                scenario.config(seed, Mutants::with(mutant)),
                Plot::Steps(scenario.script),
            )
        }
    };
    let (_, mut schedule) = record(config, plot, vivarium_sim::world::Trace::default());
    schedule.mutant = Some(name(mutant));
    let before = schedule.size().decisions;
    let watch = super::stopwatch::Stopwatch::start();
    let runs_max = super::shrink::RUNS_MAX;
    let mutants = Mutants::with(mutant);
    let shrunk = shrink(schedule, mutants, runs_max, &mut |_| watch.seconds() < most);
    let mut shrunk = shrunk
        .inspect_err(|e| eprintln!("{}: {e}", name(mutant)))
        .ok()?;
    let seconds = watch.seconds();
    let size = shrunk.schedule.size();
    if let Some(dir) = &args.save {
        let story = vivarium_sim::story::story(&shrunk.schedule, mutants);
        shrunk.schedule.about.extend(story);
        let written = super::source::write(&shrunk.schedule, dir, &name(mutant));
        written
            .inspect_err(|e| eprintln!("{}: {e}", name(mutant)))
            .ok();
    }
    Some(Small {
        before,
        decisions: size.decisions,
        settings: size.settings,
        minimal: shrunk.minimal,
        runs: shrunk.runs,
        seconds,
    })
}
