//! What is replayed, made small or explained: a schedule file, or a run noted from its seed.

use std::path::{Path, PathBuf};

use clap::Args;
use vivarium_core::mutants::Mutants;
use vivarium_sim::run::Run;
use vivarium_sim::scenario::Scenario;
use vivarium_sim::schedule::{Plot, Schedule, record};
use vivarium_sim::world::Trace;

use super::{Program, What, seed};

/// A run by name.
#[derive(Args, Clone)]
pub(crate) struct Source {
    /// A schedule file, or the seed of a drawn run (decimal or 0x hexadecimal); `replay` also takes
    /// a recording or a directory of recordings.
    #[arg(value_name = "FILE|SEED")]
    what: String,
    /// Of a seed: voting servers; drawn if not given.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: Option<u16>,
    /// Of a seed: play this scenario instead of what is drawn.
    #[arg(long)]
    scenario: Option<PathBuf>,
    /// Put this bug back (needs the feature `mutants`); a schedule names its own.
    #[arg(long, conflicts_with = "without_mutant")]
    mutant: Option<String>,
    /// Run a schedule without the bug that it names: it must pass.
    #[arg(long)]
    without_mutant: bool,
}

impl Source {
    /// The schedule and the bugs that it is to run with.
    pub(crate) fn load(&self) -> Result<(Schedule, Mutants), String> {
        if let Ok(seed) = seed(&self.what) {
            let (_, schedule) = self.program()?.record(seed)?;
            let mutants = schedule.mutants()?;
            return Ok((schedule, mutants));
        }
        if self.nodes.is_some() || self.scenario.is_some() {
            return Err("--nodes and --scenario are for seeds; a schedule has its own".to_owned());
        }
        let mut schedule = read(Path::new(&self.what))?;
        if self.mutant.is_some() {
            schedule.mutant.clone_from(&self.mutant);
        }
        let mutants = match self.without_mutant {
            true => Mutants::NONE,
            false => schedule.mutants()?,
        };
        Ok((schedule, mutants))
    }

    fn program(&self) -> Result<Program, String> {
        Program::load(&What {
            scenario: self.scenario.clone(),
            nodes: self.nodes,
            mutant: self.mutant.clone(),
        })
    }

    /// The bug that is asked for.
    pub(crate) fn bug(&self) -> Result<Mutants, String> {
        match &self.mutant {
            None => Ok(Mutants::NONE),
            Some(name) => super::mutants::named(name),
        }
    }

    /// It, as it was given.
    pub(crate) fn name(&self) -> &str {
        &self.what
    }
}

/// Reads a schedule file.
pub(crate) fn read(path: &Path) -> Result<Schedule, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("can not read {shown}: {e}"))?;
    Schedule::parse(&text).map_err(|e| format!("{shown}: {e}"))
}

impl Program {
    /// Runs a seed and notes every decision.
    pub(crate) fn record(&self, seed: u64) -> Result<(Run, Schedule), String> {
        let (config, plot) = match &self.scenario {
            None => (self.draw(seed), Plot::Swarm),
            Some((_, text)) => {
                let scenario = Scenario::parse(text).map_err(|e| e.to_string())?;
                let config = scenario.config(seed, self.mutants);
                (config, Plot::Steps(scenario.script))
            }
        };
        let (run, mut schedule) = record(config, plot, Trace::default());
        schedule.mutant.clone_from(&self.mutant);
        let commit = super::COMMIT;
        schedule
            .about
            .push(format!("Noted from seed {seed} of commit {commit}."));
        Ok((super::print::with_panic(run), schedule))
    }

    /// Keeps a failing run as a schedule; says where.
    pub(crate) fn save(&self, seed: u64, dir: &Path) -> Result<PathBuf, String> {
        let (_, schedule) = self.record(seed)?;
        let name = format!("{}-{seed}", name_of(&schedule));
        write(&schedule, dir, &name)
    }
}

/// What a file is called that shows this failure.
pub(crate) fn name_of(schedule: &Schedule) -> String {
    let rule = schedule
        .fails
        .as_ref()
        .map_or("passes", |print| &print.rule);
    match &schedule.mutant {
        Some(mutant) => mutant.clone(),
        None => rule.to_owned(),
    }
}

/// Writes a schedule file; an older one of that name is replaced.
pub(crate) fn write(schedule: &Schedule, dir: &Path, name: &str) -> Result<PathBuf, String> {
    let path = dir.join(format!("{name}.schedule"));
    let written =
        std::fs::create_dir_all(dir).and_then(|()| std::fs::write(&path, schedule.to_text()));
    written.map_err(|e| format!("can not write {}: {e}", path.display()))?;
    Ok(path)
}

/// The command that shows it again.
pub(crate) fn repeat_command(path: &Path, schedule: &Schedule) -> String {
    let features = match schedule.mutant {
        Some(_) => " --features mutants",
        None => "",
    };
    format!(
        "cargo run --release -p vivarium-sim{features} -- replay {} --trace",
        path.display()
    )
}
