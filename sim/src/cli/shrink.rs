//! `shrink`: a failing run made small, kept as a regression and told as a story.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vivarium_sim::shrink::{Shrunk, shrink as smaller};
use vivarium_sim::story::story;

use super::source::{Source, name_of, repeat_command, write};
use super::stopwatch::Stopwatch;
use super::{print, usage};

/// Without a budget of its own the library would go on for as long as it is let.
pub(crate) const RUNS_MAX: u64 = 1_000_000;

#[derive(Args)]
pub(crate) struct ShrinkArgs {
    #[command(flatten)]
    source: Source,
    /// How long it may take, in seconds: 60s.
    #[arg(long, default_value = "60s", value_parser = budget)]
    budget: Duration,
    /// Where the regression is written.
    #[arg(long, default_value = "scenarios/regressions")]
    out: PathBuf,
    /// What it is called; the bug or the rule if not given.
    #[arg(long)]
    name: Option<String>,
    #[arg(long)]
    json: bool,
}

pub(crate) fn budget(text: &str) -> Result<Duration, String> {
    let seconds = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let seconds = seconds.filter(|s: &u64| (1..=86_400).contains(s));
    seconds
        .map(Duration::from_secs)
        .ok_or_else(|| format!("\"{text}\": expected 1s to 86400s"))
}

pub(crate) fn shrink(args: &ShrinkArgs) -> u8 {
    let (schedule, mutants) = match args.source.load() {
        Ok(loaded) => loaded,
        Err(refusal) => return usage(&refusal),
    };
    let before = schedule.size();
    let watch = Stopwatch::start();
    let shrunk = smaller(schedule, mutants, RUNS_MAX, &mut |progress| {
        if progress.runs.is_multiple_of(8) {
            let (runs, left) = (progress.runs, progress.decisions);
            print::progress(&format!("{runs} runs: {left} decisions left"));
        }
        watch.seconds() < args.budget.as_secs_f64()
    });
    print::progress("");
    let seconds = watch.seconds();
    let Shrunk {
        mut schedule,
        runs,
        minimal,
        ..
    } = match shrunk {
        Ok(shrunk) => shrunk,
        Err(refusal) => return usage(&refusal),
    };
    let after = schedule.size();
    let story = story(&schedule, mutants);
    schedule.about.extend(story.iter().cloned());
    let name = args.name.clone().unwrap_or_else(|| name_of(&schedule));
    let path = match write(&schedule, &args.out, &name) {
        Ok(path) => path,
        Err(refusal) => return usage(&refusal),
    };
    if args.json {
        let report = serde_json::json!({
            "decisions_before": before.decisions,
            "decisions": after.decisions,
            "settings_before": before.settings,
            "settings": after.settings,
            "runs": runs,
            "seconds": seconds,
            "minimal": minimal,
            "file": path.display().to_string(),
            "story": story,
        });
        println!("{report}");
        return 0;
    }
    println!(
        "{} -> {} decisions, {} -> {} settings, {runs} runs, {seconds:.1}s",
        before.decisions, after.decisions, before.settings, after.settings
    );
    println!(
        "{}",
        match minimal {
            true => "1-minimal: without any single one of them it does not fail so",
            false => "the budget ended before it was shown that no single one can be left out",
        }
    );
    println!();
    story.iter().for_each(|line| println!("{line}"));
    println!();
    println!("kept as {}", path.display());
    println!("repeat: {}", repeat_command(&path, &schedule));
    0
}
