//! `explain`: the probability of a failure along its decisions.

use clap::Args;
use vivarium_sim::explain::{Explained, Moment, explain as search};

use super::source::Source;
use super::stopwatch::Stopwatch;
use super::{print, usage};

#[derive(Args)]
pub(crate) struct ExplainArgs {
    #[command(flatten)]
    source: Source,
    /// Other futures to try from each decision.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    futures: u32,
    /// Decisions beyond which a run is too long to explain: shrink it first.
    #[arg(long, default_value_t = 200)]
    most: usize,
    #[arg(long)]
    json: bool,
}

pub(crate) fn explain(args: &ExplainArgs) -> u8 {
    let (schedule, mutants) = match args.source.load() {
        Ok(loaded) => loaded,
        Err(refusal) => return usage(&refusal),
    };
    let decisions = schedule.size().decisions;
    if decisions > args.most {
        let most = args.most;
        return usage(&format!(
            "{decisions} decisions are more than {most}: shrink it first"
        ));
    }
    let watch = Stopwatch::start();
    let mut shown = |moment: &Moment| {
        if !args.json {
            line(moment);
        }
        true
    };
    let explained = match search(&schedule, mutants, args.futures, &mut shown) {
        Ok(explained) => explained,
        Err(refusal) => return usage(&refusal),
    };
    print::progress("");
    let seconds = watch.seconds();
    if args.json {
        let all: Vec<_> = explained.moments.iter().map(json).collect();
        let inevitable = explained.inevitable().map(json);
        let report = serde_json::json!({
            "fails": explained.print.to_string(),
            "moments": all,
            "inevitable": inevitable,
            "runs": explained.runs,
            "seconds": seconds,
        });
        println!("{report}");
    } else {
        conclude(&explained, seconds);
    }
    0
}

/// Ten marks for a hundred percent.
fn line(moment: &Moment) {
    let percent = moment.percent();
    let marks = "#".repeat(percent as usize / 10);
    let at = moment.at.to_string();
    let event = moment.event;
    let mut what = moment.what.iter();
    let first = what.next().map_or("", String::as_str);
    println!("{at:>13} event {event:<7} {percent:>3}% {marks:<10}  {first}");
    what.for_each(|more| println!("{:46}{more}", ""));
}

fn conclude(explained: &Explained, seconds: f64) {
    println!(
        "fails with {} ({} runs, {seconds:.1}s)",
        explained.print, explained.runs
    );
    match explained.inevitable() {
        Some(moment) => println!(
            "inevitable from {} on, event {}: {}",
            moment.at,
            moment.event,
            moment.what.join("; ")
        ),
        None => println!("it could still be avoided after the last decision"),
    }
    if let Some((moment, by)) = explained.steepest().filter(|(_, by)| *by > 0) {
        println!(
            "largest rise, by {by} percent, at {}, event {}: {}",
            moment.at,
            moment.event,
            moment.what.join("; ")
        );
    }
}

fn json(moment: &Moment) -> serde_json::Value {
    serde_json::json!({
        "at": moment.at.to_string(),
        "event": moment.event,
        "what": moment.what,
        "futures": moment.futures,
        "failed": moment.failed,
    })
}
