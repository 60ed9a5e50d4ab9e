//! Schedules as files: one thing to a line, so that two can be compared.
//!
//! ```text
//! vivarium-schedule 1
//! # What a reader should know.
//! mutant = ack-before-sync
//! fails = safety commit-durable: committed without a quorum
//! config tick = "200ms"
//! plan 1
//! plan 1 timeout_ms = 400
//! fault = {"at":"3200ms","fault":{"blackout":{"down":"300ms"}}}
//! client c1 act 12 = 1 0 5
//! net n1>n2 delay 16.. = 3, 255, 17
//! ```
//!
//! A decision has the owner of its stream, what it is about, and its number among those. Several
//! with following numbers share a line. `step`, `expect` and `settle` tell a scenario.

use std::fmt::Write as _;

use serde_json::Value;

use super::{Plot, Schedule, config};
use crate::config::RunConfig;
use crate::decisions::{Address, Decisions, Lane, Machine, Owner};
use crate::fingerprint::Fingerprint;
use crate::rng::Purpose;
use crate::scenario::{Refusal, Script};

/// What is written. Others are refused: a decision may have meant something else.
pub const VERSION: u32 = 1;

const MAGIC: &str = "vivarium-schedule";

/// Decisions on one line.
const LINE_DECISIONS: u32 = 16;

const PURPOSES: [(Purpose, &str); 8] = [
    (Purpose::Net, "net"),
    (Purpose::Disk, "disk"),
    (Purpose::Turn, "turn"),
    (Purpose::Clock, "clock"),
    (Purpose::Client, "client"),
    (Purpose::NodeSeed, "node"),
    (Purpose::Nemesis, "nemesis"),
    (Purpose::Scenario, "scenario"),
];

fn machine_text(machine: Machine) -> String {
    match machine {
        Machine::Server(n) => format!("n{n}"),
        Machine::Client(n) => format!("c{n}"),
    }
}

fn owner_text(owner: Owner) -> String {
    match owner {
        Owner::Server(n) => format!("n{n}"),
        Owner::Client(n) => format!("c{n}"),
        Owner::Link(from, to) => format!("{}>{}", machine_text(from), machine_text(to)),
        Owner::Run(n) => format!("run{n}"),
    }
}

/// Where a decision is found, as it stands in files.
pub fn address_text(address: &Address) -> String {
    let stream = stream_text(address);
    format!("{stream} {}", address.number)
}

fn stream_text(address: &Address) -> String {
    let named = PURPOSES
        .iter()
        .find(|(purpose, _)| *purpose == address.purpose);
    let (_, purpose) = named.expect("what is drawn before a run is no decision");
    let owner = owner_text(address.owner);
    format!("{purpose} {owner} {}", address.lane.name())
}

/// Outcomes; numbers below zero are clocks that go back.
pub fn outcomes_text(outcomes: &[u64]) -> String {
    let text: Vec<String> = outcomes.iter().map(|o| (*o as i64).to_string()).collect();
    text.join(" ")
}

fn write_decisions(text: &mut String, decisions: &Decisions) {
    let mut all = decisions.iter().peekable();
    while let Some((first, outcomes)) = all.next() {
        let mut line = outcomes_text(outcomes);
        let mut last = first.number;
        let follows = |last: u32, next: &Address| {
            let here = Address {
                number: last + 1,
                ..*first
            };
            *next == here && !here.number.is_multiple_of(LINE_DECISIONS)
        };
        while let Some((next, more)) = all.next_if(|(next, _)| follows(last, next)) {
            last = next.number;
            let _ = write!(line, ", {}", outcomes_text(more));
        }
        let dots = if last > first.number { ".." } else { "" };
        let stream = stream_text(first);
        let _ = writeln!(text, "{stream} {}{dots} = {line}", first.number);
    }
}

impl Schedule {
    /// As a file.
    pub fn to_text(&self) -> String {
        let mut text = format!("{MAGIC} {VERSION}\n");
        for line in &self.about {
            let _ = writeln!(text, "# {line}");
        }
        if let Some(mutant) = &self.mutant {
            let _ = writeln!(text, "mutant = {mutant}");
        }
        if let Some(fails) = &self.fails {
            let _ = writeln!(text, "fails = {fails}");
        }
        for (name, value) in config::run_settings(&self.config) {
            let _ = writeln!(text, "config {name} = {value}");
        }
        for (n, plan) in self.config.clients.iter().enumerate() {
            let _ = writeln!(text, "plan {}", n + 1);
            for (name, value) in config::plan_settings(&self.config, plan) {
                let _ = writeln!(text, "plan {} {name} = {value}", n + 1);
            }
        }
        for fault in &self.config.faults {
            let fault = serde_json::to_string(fault).expect("a fault is plain data");
            let _ = writeln!(text, "fault = {fault}");
        }
        if let Plot::Steps(script) = &self.plot {
            let _ = writeln!(text, "settle = {}", script.settle);
            for step in &script.steps {
                let _ = writeln!(text, "step = {}", step.text);
            }
            for expected in &script.expect {
                let _ = writeln!(text, "expect = {}", expected.text);
            }
        }
        write_decisions(&mut text, &self.decisions);
        text
    }

    /// Reads a file.
    ///
    /// # Errors
    /// The first line that means nothing, and what was expected there.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        let mut reader = Reader::new();
        let mut lines = text.lines().enumerate();
        let first = lines.next().map_or("", |(_, line)| line);
        at(1, version(first))?;
        for (index, line) in lines {
            let line = line.trim();
            if let Some(said) = line.strip_prefix('#') {
                reader.about.push(said.trim().to_owned());
            } else if !line.is_empty() {
                at(index + 1, reader.line(index + 1, line))?;
            }
        }
        reader.finish()
    }
}

fn at<T>(line: usize, result: Result<T, String>) -> Result<T, Refusal> {
    result.map_err(|reason| Refusal { line, reason })
}

fn version(line: &str) -> Result<(), String> {
    let expected = format!("expected \"{MAGIC} {VERSION}\"");
    let Some(version) = line.strip_prefix(MAGIC) else {
        return Err(format!("this is no schedule: {expected}"));
    };
    let version = version.trim();
    if version == VERSION.to_string() {
        return Ok(());
    }
    Err(format!(
        "a schedule of version {version}: {expected}; note it again from its seed"
    ))
}

/// A name and its value.
type Setting = (String, Value);

/// What was read so far.
struct Reader {
    about: Vec<String>,
    mutant: Option<String>,
    fails: Option<Fingerprint>,
    config: RunConfig,
    /// Settings of clients: line, client, name and value. They are relative to the whole of the
    /// configuration.
    plans: Vec<(usize, usize, Option<Setting>)>,
    settle: Option<bool>,
    steps: Vec<(usize, String)>,
    expect: Vec<(usize, String)>,
    decisions: Decisions,
    /// Where each owner was first named, and who it is.
    owners: Vec<(usize, Owner)>,
}

impl Reader {
    fn new() -> Self {
        Self {
            about: Vec::new(),
            mutant: None,
            fails: None,
            config: config::calm(),
            plans: Vec::new(),
            settle: None,
            steps: Vec::new(),
            expect: Vec::new(),
            decisions: Decisions::new(),
            owners: Vec::new(),
        }
    }

    fn line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let (left, right) = match line.split_once(" = ") {
            Some((left, right)) => (left, Some(right)),
            None => (line, None),
        };
        let words: Vec<&str> = left.split_whitespace().collect();
        let said = right.ok_or_else(|| format!("\"{left}\" needs \" = \" and a value"));
        match words.as_slice() {
            ["plan", n] if right.is_none() => {
                self.plans.push((number, client(n)?, None));
            }
            ["plan", n, name] => {
                let setting = ((*name).to_owned(), json(said?)?);
                self.plans.push((number, client(n)?, Some(setting)));
            }
            ["mutant"] => {
                let name = said?;
                crate::catalogue::find(name)?;
                self.mutant = Some(name.to_owned());
            }
            ["fails"] => self.fails = Some(fails(said?)?),
            ["config", name] => self.config = config::set_run(&self.config, name, json(said?)?)?,
            ["fault"] => {
                let fault = serde_json::from_str(said?).map_err(|e| format!("no fault: {e}"))?;
                self.config.faults.push(fault);
            }
            ["settle"] => {
                let settle = said?.parse();
                self.settle = Some(settle.map_err(|_| "expected true or false")?);
            }
            ["step"] => self.steps.push((number, said?.to_owned())),
            ["expect"] => self.expect.push((number, said?.to_owned())),
            [purpose, owner, lane, which] => {
                let first = address(purpose, owner, lane, which)?;
                self.owners.push((number, first.owner));
                self.decided(first, which.ends_with(".."), said?)?;
            }
            _ => return Err(format!("\"{left}\": expected one of {}", known())),
        }
        Ok(())
    }

    fn decided(&mut self, first: Address, several: bool, said: &str) -> Result<(), String> {
        for (n, outcomes) in (0..).zip(said.split(',')) {
            if n > 0 && !several {
                return Err("several decisions: expected \"..\" after their number".to_owned());
            }
            let address = Address {
                number: first.number + n,
                ..first
            };
            let outcomes: Result<Vec<u64>, String> =
                outcomes.split_whitespace().map(outcome).collect();
            let outcomes = outcomes?;
            if outcomes.is_empty() {
                return Err("a decision needs an outcome".to_owned());
            }
            if self.decisions.insert(address, outcomes).is_some() {
                return Err(format!("{} was decided before", address_text(&address)));
            }
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Schedule, Refusal> {
        for (line, n, setting) in std::mem::take(&mut self.plans) {
            let plan = self.plan(n, setting);
            at(line, plan)?;
        }
        let (servers, clients) = (self.config.servers(), self.config.clients.len() as u16);
        for (line, owner) in &self.owners {
            at(*line, exists(*owner, servers, clients))?;
        }
        let plot = match self.settle {
            None if self.steps.is_empty() => Plot::Swarm,
            settle => {
                let settle = settle.unwrap_or(true);
                Plot::Steps(Script::read(&self.config, settle, self.steps, self.expect)?)
            }
        };
        Ok(Schedule {
            about: self.about,
            mutant: self.mutant,
            fails: self.fails,
            config: self.config,
            plot,
            decisions: self.decisions,
        })
    }

    fn plan(&mut self, n: usize, setting: Option<Setting>) -> Result<(), String> {
        let known = self.config.clients.len();
        match setting {
            None if n == known + 1 => {
                let plan = config::plain_plan(&self.config);
                self.config.clients.push(plan);
                Ok(())
            }
            None => Err(format!("expected \"plan {}\"", known + 1)),
            Some((name, value)) => {
                let plan = n
                    .checked_sub(1)
                    .and_then(|n| self.config.clients.get_mut(n));
                let plan = plan.ok_or_else(|| format!("expected \"plan {n}\" before it"))?;
                *plan = config::set(plan, &name, value)?;
                Ok(())
            }
        }
    }
}

fn known() -> String {
    let words = "mutant, fails, config, plan, fault, settle, step, expect";
    let streams: Vec<&str> = PURPOSES.iter().map(|(_, name)| *name).collect();
    format!(
        "{words}, or a decision of the streams {}",
        streams.join(", ")
    )
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|e| format!("\"{text}\" is no value: {e}"))
}

fn client(n: &str) -> Result<usize, String> {
    n.parse()
        .map_err(|_| format!("{n}: expected the number of a client"))
}

fn fails(text: &str) -> Result<Fingerprint, String> {
    let refused = || "expected a verdict, a rule, a colon and words".to_owned();
    let (head, what) = text
        .split_once(": ")
        .or_else(|| Some((text.strip_suffix(':')?, "")))
        .ok_or_else(refused)?;
    let (verdict, rule) = head.split_once(' ').ok_or_else(refused)?;
    Ok(Fingerprint {
        verdict: verdict.to_owned(),
        rule: rule.to_owned(),
        what: what.to_owned(),
    })
}

fn outcome(text: &str) -> Result<u64, String> {
    let number: Result<i64, _> = text.parse();
    let number = number.map_err(|_| format!("\"{text}\": expected an outcome, a whole number"))?;
    Ok(number as u64)
}

fn address(purpose: &str, owner: &str, lane: &str, number: &str) -> Result<Address, String> {
    let found = PURPOSES.iter().find(|(_, name)| *name == purpose);
    let (purpose, _) =
        found.ok_or_else(|| format!("\"{purpose}\": expected one of {}", known()))?;
    let lane = Lane::named(lane).ok_or_else(|| {
        let all: Vec<&str> = Lane::ALL.iter().map(|(_, name)| *name).collect();
        format!(
            "nothing is decided about \"{lane}\": expected one of {}",
            all.join(", ")
        )
    })?;
    let digits = number.strip_suffix("..").unwrap_or(number);
    let number = digits
        .parse()
        .map_err(|_| format!("\"{number}\": expected a decision's number"))?;
    let owner = owner_of(owner).ok_or_else(|| {
        format!("\"{owner}\": expected n1 for a server, c1 for a client, n1>c1 for a link")
    })?;
    let fits = match purpose {
        Purpose::Net => matches!(owner, Owner::Link(..)),
        Purpose::Client => matches!(owner, Owner::Client(_)),
        Purpose::Scenario => matches!(owner, Owner::Run(_)),
        Purpose::Nemesis => matches!(owner, Owner::Server(_) | Owner::Run(_)),
        _ => matches!(owner, Owner::Server(_)),
    };
    if !fits {
        return Err(format!("there is no such stream of {}", owner_text(owner)));
    }
    Ok(Address {
        purpose: *purpose,
        owner,
        lane,
        number,
    })
}

fn machine_of(text: &str) -> Option<Machine> {
    let n = |text: &str| text.parse().ok().filter(|n: &u16| *n > 0);
    match text.split_at_checked(1)? {
        ("n", number) => n(number).map(Machine::Server),
        ("c", number) => n(number).map(Machine::Client),
        _ => None,
    }
}

fn owner_of(text: &str) -> Option<Owner> {
    if let Some(number) = text.strip_prefix("run") {
        return number.parse().ok().map(Owner::Run);
    }
    if let Some((from, to)) = text.split_once('>') {
        return Some(Owner::Link(machine_of(from)?, machine_of(to)?));
    }
    machine_of(text).map(|machine| match machine {
        Machine::Server(n) => Owner::Server(n),
        Machine::Client(n) => Owner::Client(n),
    })
}

fn exists(owner: Owner, servers: u16, clients: u16) -> Result<(), String> {
    let there = |machine: Machine| match machine {
        Machine::Server(n) => n <= servers,
        Machine::Client(n) => n <= clients,
    };
    let all = match owner {
        Owner::Server(n) => there(Machine::Server(n)),
        Owner::Client(n) => there(Machine::Client(n)),
        Owner::Link(from, to) => there(from) && there(to),
        Owner::Run(_) => true,
    };
    if all {
        return Ok(());
    }
    let owner = owner_text(owner);
    Err(format!(
        "there is no {owner}: this run has {servers} servers and {clients} clients"
    ))
}

#[cfg(test)]
mod tests;
