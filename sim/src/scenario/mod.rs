//! Scenarios: a small world and a list of steps in words, from a TOML file.
//!
//! ```toml
//! about = "The leader dies; another takes over."
//! servers = 3
//! clients = ["workload"]
//! steps = [
//!     "start all",
//!     "expect a leader within 20s",
//!     "let old = leader",
//!     "clients start",
//!     "crash old",
//!     "expect leader not old within 20s",
//! ]
//! expect = ["10 writes"]
//! ```
//!
//! After the last step everything heals, every server must serve and agree (unless `settle =
//! false`), and then `expect` must hold. `scenarios/README.md` lists all steps and conditions.

mod cast;
mod parse;
mod play;

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use crate::clients::ClientPlan;
use crate::clock::DRIFT_PPM_MAX;
use crate::config::RunConfig;
use vivarium_core::mutants::Mutants;

pub use parse::{Condition, Span, Step, Who};
pub use play::play;

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    about: String,
    servers: u16,
    #[serde(default)]
    observers: u16,
    #[serde(default)]
    clients: Vec<Spanned<String>>,
    tick_ms: Option<u64>,
    init_limit: Option<u32>,
    sync_limit: Option<u32>,
    session_timeout_ms: Option<u64>,
    snap_count: Option<u32>,
    drift_ppm: Option<i32>,
    #[serde(default = "yes")]
    settle: bool,
    steps: Vec<Spanned<String>>,
    #[serde(default)]
    expect: Vec<Spanned<String>>,
}

const fn yes() -> bool {
    true
}

/// A scenario that can be played.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub about: String,
    servers: u16,
    observers: u16,
    clients: Vec<ClientPlan>,
    tick: Option<Duration>,
    init_limit: Option<u32>,
    sync_limit: Option<u32>,
    session_timeout: Option<Duration>,
    snap_count: Option<u32>,
    drift_max: Option<i32>,
    pub script: Script,
}

/// What happens in a scenario, in words.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Script {
    /// Heal and compare at the end.
    pub settle: bool,
    pub steps: Vec<Line<Step>>,
    pub expect: Vec<Line<Condition>>,
}

/// Something said in the file, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Line<T> {
    pub number: usize,
    pub text: String,
    what: T,
}

/// Why a scenario file is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Line of the file, from 1; 0 if it is about the whole file.
    pub line: usize,
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.reason)
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())]
        .iter()
        .filter(|b| **b == b'\n')
        .count()
        + 1
}

fn lines<T>(
    said: Vec<(usize, String)>,
    mut parse: impl FnMut(&str) -> Result<T, String>,
) -> Result<Vec<Line<T>>, Refusal> {
    let mut all = Vec::with_capacity(said.len());
    for (number, text) in said {
        let refuse = |reason| Refusal {
            line: number,
            reason: format!("\"{text}\": {reason}"),
        };
        let what = parse(&text).map_err(refuse)?;
        all.push(Line { number, text, what });
    }
    Ok(all)
}

impl Script {
    /// The same words for a world that is already there; each with its line.
    ///
    /// # Errors
    /// The first that says nothing, or nothing about this world.
    pub fn read(
        config: &RunConfig,
        settle: bool,
        steps: Vec<(usize, String)>,
        expect: Vec<(usize, String)>,
    ) -> Result<Self, Refusal> {
        let known = parse::Known {
            servers: config.servers(),
            drift_max: config.clock.drift_max,
            clients: config.clients.len() as u32,
        };
        Self::understand(&known, settle, steps, expect)
    }

    fn understand(
        known: &parse::Known,
        settle: bool,
        steps: Vec<(usize, String)>,
        expect: Vec<(usize, String)>,
    ) -> Result<Self, Refusal> {
        let mut names = parse::Names::default();
        let steps = lines(steps, |said| {
            let step = parse::step(said, known, &names)?;
            names.learn(&step);
            Ok(step)
        })?;
        let expect = lines(expect, |said| parse::condition(said, known, &names))?;
        Ok(Self {
            settle,
            steps,
            expect,
        })
    }
}

impl Scenario {
    /// Reads a scenario file.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let file: File = toml::from_str(text).map_err(|e| Refusal {
            line: e.span().map_or(0, |span| line_of(text, span.start)),
            reason: e.message().to_owned(),
        })?;
        if file.servers == 0 || file.servers + file.observers > 15 {
            let reason = "a scenario has 1 to 15 servers, observers included".to_owned();
            return Err(Refusal { line: 0, reason });
        }
        let drift_max = file.drift_ppm;
        if drift_max.is_some_and(|ppm| !(0..=DRIFT_PPM_MAX).contains(&ppm)) {
            let reason = format!("drift_ppm lies between 0 and {DRIFT_PPM_MAX}");
            return Err(Refusal { line: 0, reason });
        }
        let mut world = parse::Known {
            servers: file.servers + file.observers,
            drift_max: drift_max.unwrap_or(0),
            clients: 0,
        };
        let said = |all: Vec<Spanned<String>>| -> Vec<(usize, String)> {
            let number = |entry: &Spanned<String>| line_of(text, entry.span().start);
            let pair = |entry: Spanned<String>| (number(&entry), entry.into_inner());
            all.into_iter().map(pair).collect()
        };
        let clients = lines(said(file.clients), |said| cast::plan(said, &world))?;
        world.clients = clients.len() as u32;
        let script = Script::understand(&world, file.settle, said(file.steps), said(file.expect))?;
        Ok(Self {
            about: file.about,
            servers: file.servers,
            observers: file.observers,
            clients: clients.into_iter().map(|line| line.what).collect(),
            tick: file.tick_ms.map(Duration::from_millis),
            init_limit: file.init_limit,
            sync_limit: file.sync_limit,
            session_timeout: file.session_timeout_ms.map(Duration::from_millis),
            snap_count: file.snap_count,
            drift_max,
            script,
        })
    }

    /// The world in which it plays.
    pub fn config(&self, seed: u64, mutants: Mutants) -> RunConfig {
        let mut config = RunConfig::calm(seed, self.servers, self.observers);
        config.mutants = mutants;
        config.clients.clone_from(&self.clients);
        config.tick = self.tick.unwrap_or(config.tick);
        config.init_limit = self.init_limit.unwrap_or(config.init_limit);
        config.sync_limit = self.sync_limit.unwrap_or(config.sync_limit);
        config.session_timeout_max = self.session_timeout.unwrap_or(config.session_timeout_max);
        config.session_timeout_min = config.session_timeout_min.min(config.session_timeout_max);
        config.snap_count = self.snap_count.unwrap_or(config.snap_count);
        config.clock.drift_max = self.drift_max.unwrap_or(config.clock.drift_max);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "about = \"x\"\nservers = 3\n";

    fn refusal(rest: &str) -> Refusal {
        Scenario::parse(&format!("{HEAD}{rest}")).expect_err("refused")
    }

    #[test]
    fn refusals_name_the_line() {
        assert_eq!(refusal("colour = 1\nsteps = []\n").line, 3);
        let r = refusal("steps = [\n  \"start all\",\n  \"start 9\",\n]\n");
        assert_eq!(
            (r.line, r.reason.as_str()),
            (5, "\"start 9\": there is no server 9")
        );
        assert_eq!(refusal("steps = [\"dance\"]").line, 3);
        assert_eq!(refusal("steps = [\"crash old\"]").line, 3);
        assert_eq!(refusal("steps = []\nexpect = [\"sync 1 FULL\"]").line, 4);
        assert_eq!(refusal("steps = [\"drift 1 by 9\"]").line, 3);
        assert_eq!(refusal("drift_ppm = 60000\nsteps = []").line, 0);
        assert_eq!(refusal("clients = [\"no such plan\"]\nsteps = []").line, 3);
    }

    #[test]
    fn every_step_and_condition_is_understood() {
        let said = r#"
            observers = 1
            drift_ppm = 500
            clients = ["workload", "lock at 1, 2", "master"]
            steps = [
                "start all", "start 1, 2", "stop 2", "crash leader", "crash 1, 2",
                "let old = leader", "let other = follower", "power off all", "power off old",
                "pause 1", "resume 1", "partition [1, old] | [3, 4]", "isolate leader",
                "mute leader", "deafen 2", "cut 1 -> 2", "mend", "heal", "reset 1",
                "slow disk 1 by 50", "stall disk other", "disks well",
                "drift old by -500", "clients start",
                "clients stop", "mark", "wait 1500ms",
                "expect a leader within 20s", "expect no leader", "expect leader 3 for 2s",
                "expect leader not old within 1m", "expect serving all within 5s",
                "expect not serving 1, 2", "expect sync old TRUNC within 5s",
                "expect 100 writes within 30s", "expect level within 3s", "expect old leads",
                "kill c2", "revive c2",
                "expect c2 holds within 5s", "isolate c3", "expect c3 away within 5s",
            ]
            expect = ["leader 3", "1 writes"]
        "#;
        let scenario = Scenario::parse(&format!("{HEAD}{said}")).expect("understood");
        assert_eq!(scenario.script.steps.len(), 42);
        assert_eq!(scenario.config(5, Mutants::NONE).servers(), 4);
    }
}
