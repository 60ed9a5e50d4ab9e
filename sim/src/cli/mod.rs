//! The command line. Real time and threads exist only here: each simulation is one thread's.

mod bench;
mod crashes;
mod explain;
mod mutants;
mod print;
mod recording;
mod replay;
mod runs;
mod shrink;
mod source;
mod stopwatch;
mod verify;
mod view;

use std::ops::Range;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use vivarium_core::mutants::Mutants;
use vivarium_sim::faults::{self, Options};
use vivarium_sim::run::{Run, run_swarm};
use vivarium_sim::scenario::{self, Scenario};
use vivarium_sim::world::Trace;

/// Misuse: bad arguments or a bad file.
pub(crate) const EXIT_USAGE: u8 = 2;
/// Two runs of one seed differ.
pub(crate) const EXIT_NONDETERMINISM: u8 = 13;

/// The commit that was built, for messages; `build.rs` asks git, unless it is told.
pub(crate) const COMMIT: &str = match option_env!("VIVARIUM_COMMIT") {
    Some(commit) => commit,
    None => "unknown",
};

/// Simulates ensembles of Vivarium servers under faults drawn from a seed.
///
/// From a seed to a kept failure: `run --seeds 0..1000 --save failures` looks for failures and
/// keeps them as schedules; `shrink failures/X.schedule` leaves out whatever they fail without,
/// tells the story and writes a regression; `replay FILE --trace` shows it, `view FILE` draws it;
/// `explain FILE` says from which decision on it could not be avoided any more.
#[derive(Parser)]
#[command(name = "vivarium-sim", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a scenario, or swarm runs drawn from seeds.
    Run(RunArgs),
    /// Run one seed in two processes and compare everything that happens.
    Verify(VerifyArgs),
    /// Put known bugs back, one at a time, and count the seeds until one is found.
    Mutants(MutantsArgs),
    /// Record what a run does to every server's files, and let the power fail once after each of
    /// these operations.
    CrashPoints(CrashPointsArgs),
    /// Run a kept schedule again, or a seed, and show as much of it as is wanted; or run what
    /// `vivarium serve --record DIR` has recorded through the same core.
    Replay(replay::ReplayArgs),
    /// Leave out of a failing run whatever it fails without, and keep the rest as a regression.
    Shrink(shrink::ShrinkArgs),
    /// Say from which decision on a failure could not be avoided any more.
    Explain(explain::ExplainArgs),
    /// Draw a run as a page for a browser: servers, clients, disks, messages and faults.
    View(view::ViewArgs),
    /// Measure checked events per core-second.
    Bench(BenchArgs),
}

/// What is run.
#[derive(Args, Clone)]
pub(crate) struct What {
    /// Scenario file; without one everything is drawn from the seed.
    scenario: Option<PathBuf>,
    /// Voting servers of swarm runs; drawn if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// Put this bug back (needs the feature `mutants`).
    #[arg(long)]
    mutant: Option<String>,
}

#[derive(Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    what: What,
    /// The seed, decimal or 0x hexadecimal.
    #[arg(long, value_parser = seed, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds from A up to and without B, as A..B.
    #[arg(long, value_parser = seeds)]
    seeds: Option<Range<u64>>,
    /// One JSON object for each run, one to a line.
    #[arg(long)]
    json: bool,
    /// Threads; each runs whole seeds.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: u16,
    /// One line for each change of state.
    #[arg(long)]
    trace: bool,
    /// With --json: the hash after each 1024 events too.
    #[arg(long, hide = true)]
    checkpoints: bool,
    /// Keep each failing run as a schedule file in this directory.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// One line for each event with a number in A..B.
    #[arg(long, value_parser = seeds)]
    events: Option<Range<u64>>,
}

#[derive(Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    what: What,
    #[arg(long, value_parser = seed, default_value = "1")]
    seed: u64,
}

#[derive(Args)]
pub(crate) struct MutantsArgs {
    /// Only this bug.
    #[arg(long)]
    only: Option<String>,
    /// Seeds to try for each.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=512))]
    jobs: u16,
    /// Make the run that shows it small, too, for at most so many seconds: 60s.
    #[arg(long, value_parser = shrink::budget)]
    shrink: Option<std::time::Duration>,
    /// Keep what was made small in this directory.
    #[arg(long, requires = "shrink", value_name = "DIR")]
    save: Option<PathBuf>,
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct CrashPointsArgs {
    #[command(flatten)]
    what: What,
    /// The seed of the swarm run, decimal or 0x hexadecimal.
    #[arg(long, value_parser = seed, default_value = "1")]
    seed: u64,
    /// Directories tried for each place, of all that a power loss there may leave.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(3..=4096))]
    most: u64,
}

#[derive(Args)]
pub(crate) struct BenchArgs {
    /// Seconds to run for.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    #[arg(long)]
    json: bool,
}

/// What is run, ready to be.
pub(crate) struct Program {
    /// A scenario's file and text. Each run reads it anew: plans are not shared between threads.
    scenario: Option<(PathBuf, String)>,
    nodes: Option<u16>,
    mutants: Mutants,
    mutant: Option<String>,
}

pub(crate) fn main() -> ExitCode {
    print::remember_panics();
    let code = match Cli::parse().command {
        Command::Run(args) => runs::run(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Mutants(args) => mutants::mutants(&args),
        Command::CrashPoints(args) => crashes::crash_points(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Shrink(args) => shrink::shrink(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::View(args) => view::view(&args),
        Command::Bench(args) => bench::bench(&args),
    };
    ExitCode::from(code)
}

/// Complains about misuse.
pub(crate) fn usage(message: &str) -> u8 {
    eprintln!("vivarium-sim: {message}");
    EXIT_USAGE
}

fn seed(text: &str) -> Result<u64, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => text.parse(),
    };
    parsed.map_err(|_| format!("{text} is no seed: a decimal or 0x hexadecimal number of 64 bits"))
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("a range is written A..B")?;
    let range = seed(from)?..seed(to)?;
    if range.is_empty() {
        Err(format!("{text} is empty"))
    } else {
        Ok(range)
    }
}

fn parsed(text: &str) -> Scenario {
    Scenario::parse(text).expect("was understood when it was loaded")
}

impl Program {
    pub(crate) fn load(what: &What) -> Result<Self, String> {
        let scenario = match &what.scenario {
            None => None,
            Some(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|e| format!("can not read {}: {e}", path.display()))?;
                Scenario::parse(&text).map_err(|e| format!("{}: {e}", path.display()))?;
                Some((path.clone(), text))
            }
        };
        let mutants = match &what.mutant {
            None => Mutants::NONE,
            Some(name) => mutants::named(name)?,
        };
        Ok(Self {
            scenario,
            nodes: what.nodes,
            mutants,
            mutant: what.mutant.clone(),
        })
    }

    /// One run. What a panic said is told in full.
    pub(crate) fn run(&self, seed: u64, trace: Trace) -> Run {
        let run = match &self.scenario {
            Some((_, text)) => scenario::play(&parsed(text), seed, self.mutants, trace),
            None => run_swarm(self.draw(seed), trace),
        };
        print::with_panic(run)
    }

    /// The drawn configuration of a swarm run.
    pub(crate) fn draw(&self, seed: u64) -> vivarium_sim::config::RunConfig {
        faults::draw(
            seed,
            Options {
                nodes: self.nodes,
                mutants: self.mutants,
            },
        )
    }

    /// It plays a file instead of what is drawn.
    pub(crate) fn is_scenario(&self) -> bool {
        self.scenario.is_some()
    }

    /// The configuration in words.
    pub(crate) fn describe(&self, seed: u64) -> String {
        match &self.scenario {
            Some((path, text)) => {
                let scenario = parsed(text);
                let config = scenario.config(seed, self.mutants);
                format!("scenario  {}: {}\n{config}", path.display(), scenario.about)
            }
            None => self.draw(seed).to_string(),
        }
    }

    /// Arguments that say the same on the command line.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut all = Vec::new();
        if let Some((path, _)) = &self.scenario {
            all.push(path.display().to_string());
        }
        if let Some(nodes) = self.nodes {
            all.extend(["--nodes".to_owned(), nodes.to_string()]);
        }
        if let Some(mutant) = &self.mutant {
            all.extend(["--mutant".to_owned(), mutant.clone()]);
        }
        all
    }

    /// The command that repeats a run.
    pub(crate) fn repeat(&self, seed: u64) -> String {
        let features = if self.mutant.is_some() {
            " --features mutants"
        } else {
            ""
        };
        let mut words = vec![format!(
            "cargo run --release -p vivarium-sim{features} -- run"
        )];
        words.extend(self.arguments());
        words.push(format!("--seed {seed} --trace"));
        words.join(" ")
    }
}
