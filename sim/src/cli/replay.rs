//! `replay`: a kept run again, as much of it as is wanted.

use std::cell::Cell;
use std::rc::Rc;

use clap::Args;
use vivarium_sim::fingerprint::Fingerprint;
use vivarium_sim::world::Trace;

use super::source::Source;
use super::{print, recording, usage};

#[derive(Args)]
pub(crate) struct ReplayArgs {
    #[command(flatten)]
    source: Source,
    /// Show how everything stands after this event, and nothing of what comes later.
    #[arg(long, value_name = "EVENT", value_parser = clap::value_parser!(u64).range(1..))]
    until: Option<u64>,
    /// One line for each change of state: of every server, or with node=2 of one.
    #[arg(long, num_args = 0..=1, default_missing_value = "all", value_parser = traced)]
    trace: Option<Traced>,
    /// One JSON object.
    #[arg(long)]
    json: bool,
}

/// Whose changes are shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Traced {
    All,
    Node(u16),
}

fn traced(text: &str) -> Result<Traced, String> {
    if text == "all" {
        return Ok(Traced::All);
    }
    let number = text.strip_prefix("node=").and_then(|n| n.parse().ok());
    number
        .map(Traced::Node)
        .ok_or_else(|| format!("\"{text}\": expected all, or node= and the number of a server"))
}

pub(crate) fn replay(args: &ReplayArgs) -> u8 {
    if let Some(path) = recording::meant(args.source.name()) {
        if args.until.is_some() || args.trace.is_some() {
            return usage("--until and --trace are for schedules and seeds, not for recordings");
        }
        return match args.source.bug() {
            Ok(mutants) => recording::run(&path, mutants, args.json),
            Err(refusal) => usage(&refusal),
        };
    }
    let (schedule, mutants) = match args.source.load() {
        Ok(loaded) => loaded,
        Err(refusal) => return usage(&refusal),
    };
    let servers = schedule.config.servers();
    if let Some(Traced::Node(n)) = args.trace
        && !(1..=servers).contains(&n)
    {
        return usage(&format!(
            "--trace node={n}: this run has servers 1 to {servers}"
        ));
    }
    if !args.json {
        let size = schedule.size();
        let (decisions, settings) = (size.decisions, size.settings);
        println!(
            "schedule {}: {decisions} decisions, {settings} settings",
            args.source.name()
        );
        schedule.about.iter().for_each(|line| println!("# {line}"));
    }
    let replay = schedule.replay(mutants, trace(args));
    let run = print::with_panic(replay.run.clone());
    let found = replay.fingerprint();
    if args.json {
        let mut value = serde_json::to_value(&run).expect("a run is plain data");
        value["as_noted"] = (found == schedule.fails).into();
        println!("{value}");
        return run.verdict.exit_code();
    }
    match &found {
        None => print::pass(&run, 0.0),
        Some(_) => print::broken(&run),
    }
    println!("  {}", compared(schedule.fails.as_ref(), found.as_ref()));
    run.verdict.exit_code()
}

/// What is shown of a run.
fn trace(args: &ReplayArgs) -> Trace {
    let over = Rc::new(Cell::new(false));
    let mut trace = Trace::default();
    if let Some(event) = args.until {
        let over = over.clone();
        let narrate = move |line: std::fmt::Arguments<'_>| {
            println!("{line}");
            over.set(true);
        };
        trace.until = Some((event, Box::new(narrate)));
    }
    if let Some(traced) = args.trace {
        trace.lives = Some(Box::new(move |line| {
            let line = line.to_string();
            let wanted = match traced {
                Traced::All => true,
                Traced::Node(n) => [format!("  n{n}  "), "  --  ".to_owned()]
                    .iter()
                    .any(|mark| line.contains(mark)),
            };
            if wanted && !over.get() {
                println!("{line}");
            }
        }));
    }
    trace
}

fn compared(said: Option<&Fingerprint>, found: Option<&Fingerprint>) -> String {
    match (said, found) {
        (None, None) => "it passes, as it was noted".to_owned(),
        (Some(said), Some(found)) if said == found => format!("as it was noted: {said}"),
        (Some(said), Some(found)) => format!("it was noted with {said}, and fails with {found}"),
        (Some(said), None) => format!("it was noted with {said}, and passes"),
        (None, Some(found)) => format!("it passed when it was noted, and fails with {found}"),
    }
}
