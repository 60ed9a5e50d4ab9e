//! Steps and conditions from words.

use std::collections::BTreeSet;
use std::time::Duration;

use vivarium_core::ids::ServerId;

use crate::clients::Standing;

/// A server in a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Who {
    Number(ServerId),
    /// Whoever leads at that moment.
    Leader,
    /// Some server that serves and does not lead at that moment: the one with the lowest number.
    Follower,
    /// Whoever was given this name by `let`.
    Named(String),
    /// A client, where clients are allowed.
    Client(u32),
}

/// How long a condition is waited for or must hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Span {
    Now,
    Within(Duration),
    For(Duration),
}

/// What can be expected.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Condition {
    SomeLeader,
    NoLeader,
    Leader(Who),
    LeaderIsNot(Who),
    Leads(Who),
    Serving(Vec<Who>),
    ServingAll,
    NotServing(Vec<Who>),
    Sync(Who, String),
    /// Acknowledged since the last `mark`: at least so many, or none.
    Writes(u64),
    NoWrites,
    Level,
    /// How far a client has got with its recipe.
    Stands(u32, Standing),
}

/// One thing to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    StartAll,
    Start(Vec<Who>),
    Stop(Vec<Who>),
    Crash(Vec<Who>),
    PowerOffAll,
    PowerOff(Vec<Who>),
    Let(String, Who),
    Pause(Who),
    Resume(Who),
    Partition(Vec<Who>, Vec<Who>),
    Isolate(Who),
    Mute(Who),
    Deafen(Who),
    Cut(Who, Who),
    Mend,
    Heal,
    Reset(Who),
    SlowDisk(Who, u64),
    StallDisk(Who),
    /// There is no room left on it.
    FillDisk(Who),
    /// The clocks run at another rate: parts per million.
    Drift(Who, i32),
    DisksWell,
    /// Its program dies without a word, and is started again.
    KillClient(u32),
    StartClient(u32),
    ClientsStart,
    ClientsStop,
    Mark,
    Wait(Duration),
    Expect(Condition, Span),
}

/// Who exists.
pub(super) struct Known {
    pub(super) servers: u16,
    /// How far clocks may drift, in parts per million.
    pub(super) drift_max: i32,
    pub(super) clients: u32,
}

/// Names given by `let` so far.
#[derive(Default)]
pub(super) struct Names(BTreeSet<String>);

impl Names {
    pub(super) fn learn(&mut self, step: &Step) {
        if let Step::Let(name, _) = step {
            self.0.insert(name.clone());
        }
    }
}

/// Words with their context.
struct Words<'a> {
    rest: &'a [&'a str],
    known: &'a Known,
    names: &'a Names,
}

/// Splits into words; brackets, commas and bars are words of their own.
fn words(said: &str) -> Vec<String> {
    let mut spaced = String::with_capacity(said.len() + 8);
    for c in said.chars() {
        if matches!(c, ',' | '[' | ']' | '|' | '=') {
            spaced.extend([' ', c, ' ']);
        } else {
            spaced.push(c);
        }
    }
    spaced.split_whitespace().map(str::to_owned).collect()
}

pub(super) fn step(said: &str, known: &Known, names: &Names) -> Result<Step, String> {
    let all = words(said);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let Some((verb, rest)) = all.split_first() else {
        return Err("says nothing".to_owned());
    };
    let mut w = Words { rest, known, names };
    let step = match *verb {
        "start" if w.eat("all") => Step::StartAll,
        "start" => Step::Start(w.servers()?),
        "stop" => Step::Stop(w.servers()?),
        "crash" => Step::Crash(w.servers()?),
        "kill" => Step::KillClient(w.client()?),
        "revive" => Step::StartClient(w.client()?),
        "power" => {
            w.expect("off")?;
            if w.eat("all") {
                Step::PowerOffAll
            } else {
                Step::PowerOff(w.servers()?)
            }
        }
        "let" => w.naming()?,
        "pause" => Step::Pause(w.server()?),
        "resume" => Step::Resume(w.server()?),
        "partition" => {
            let left = w.group()?;
            w.expect("|")?;
            Step::Partition(left, w.group()?)
        }
        "isolate" => Step::Isolate(w.party()?),
        "mute" => Step::Mute(w.server()?),
        "deafen" => Step::Deafen(w.server()?),
        "cut" => {
            let from = w.party()?;
            w.expect("->")?;
            Step::Cut(from, w.party()?)
        }
        "mend" => Step::Mend,
        "heal" => Step::Heal,
        "reset" => Step::Reset(w.server()?),
        "slow" => w.slow_disk()?,
        "drift" => w.drift()?,
        "stall" => {
            w.expect("disk")?;
            Step::StallDisk(w.server()?)
        }
        "fill" => {
            w.expect("disk")?;
            Step::FillDisk(w.server()?)
        }
        "disks" => {
            w.expect("well")?;
            Step::DisksWell
        }
        "clients" if w.eat("start") => Step::ClientsStart,
        "clients" if w.eat("stop") => Step::ClientsStop,
        "mark" => Step::Mark,
        "wait" => Step::Wait(w.duration()?),
        "expect" => {
            let condition = w.condition()?;
            Step::Expect(condition, w.span()?)
        }
        verb => return Err(format!("{verb} is no step")),
    };
    w.end()?;
    Ok(step)
}

/// A condition without a time.
pub(super) fn condition(said: &str, known: &Known, names: &Names) -> Result<Condition, String> {
    let all = words(said);
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    let mut w = Words {
        rest: &all,
        known,
        names,
    };
    let condition = w.condition()?;
    w.end()?;
    Ok(condition)
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Result<&'a str, String> {
        let (first, rest) = self
            .rest
            .split_first()
            .ok_or("something is missing at the end")?;
        self.rest = rest;
        Ok(first)
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.rest.first() == Some(&word);
        if found {
            self.rest = &self.rest[1..];
        }
        found
    }

    fn expect(&mut self, word: &str) -> Result<(), String> {
        if self.eat(word) {
            Ok(())
        } else {
            Err(format!("\"{word}\" is missing"))
        }
    }

    fn end(&self) -> Result<(), String> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(format!("\"{word}\" does not belong there")),
        }
    }

    /// A server or a client.
    fn party(&mut self) -> Result<Who, String> {
        let word = self.next()?;
        if let Some(n) = word.strip_prefix('c').and_then(|n| n.parse().ok()) {
            return if (1..=self.known.clients).contains(&n) {
                Ok(Who::Client(n))
            } else {
                Err(format!("there is no client {word}"))
            };
        }
        if let Ok(n) = word.parse::<u16>() {
            return if (1..=self.known.servers).contains(&n) {
                Ok(Who::Number(ServerId(i64::from(n))))
            } else {
                Err(format!("there is no server {n}"))
            };
        }
        match word {
            "leader" => Ok(Who::Leader),
            "follower" => Ok(Who::Follower),
            name if self.names.0.contains(name) => Ok(Who::Named(name.to_owned())),
            name => Err(format!("nobody was named {name} before")),
        }
    }

    fn server(&mut self) -> Result<Who, String> {
        match self.party()? {
            Who::Client(n) => Err(format!("c{n} is no server")),
            who => Ok(who),
        }
    }

    fn client(&mut self) -> Result<u32, String> {
        match self.party()? {
            Who::Client(n) => Ok(n),
            _ => Err("only clients can be killed and revived; servers crash".to_owned()),
        }
    }

    fn servers(&mut self) -> Result<Vec<Who>, String> {
        let mut all = vec![self.server()?];
        while self.eat(",") {
            all.push(self.server()?);
        }
        Ok(all)
    }

    fn group(&mut self) -> Result<Vec<Who>, String> {
        self.expect("[")?;
        let mut all = vec![self.party()?];
        while self.eat(",") {
            all.push(self.party()?);
        }
        self.expect("]")?;
        Ok(all)
    }

    fn naming(&mut self) -> Result<Step, String> {
        let name = self.next()?;
        let plain = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        if !plain || matches!(name, "leader" | "follower" | "all" | "a" | "no" | "not") {
            return Err(format!("{name} can not be a name"));
        }
        self.expect("=")?;
        Ok(Step::Let(name.to_owned(), self.server()?))
    }

    fn slow_disk(&mut self) -> Result<Step, String> {
        self.expect("disk")?;
        let who = self.server()?;
        self.expect("by")?;
        Ok(Step::SlowDisk(who, self.number()?))
    }

    fn drift(&mut self) -> Result<Step, String> {
        let who = self.server()?;
        self.expect("by")?;
        let word = self.next()?;
        let max = self.known.drift_max;
        let ppm = word.parse().ok().filter(|ppm: &i32| ppm.abs() <= max);
        let ppm = ppm.ok_or_else(|| format!("{word} is no drift within drift_ppm = {max}"))?;
        Ok(Step::Drift(who, ppm))
    }

    fn number(&mut self) -> Result<u64, String> {
        let word = self.next()?;
        word.parse().map_err(|_| format!("{word} is no number"))
    }

    fn duration(&mut self) -> Result<Duration, String> {
        let word = self.next()?;
        let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
        let count: u64 = word[..word.len() - unit.len()]
            .parse()
            .map_err(|_| format!("{word} is no duration, as 200ms, 5s or 2m are"))?;
        match unit {
            "ms" => Ok(Duration::from_millis(count)),
            "s" => Ok(Duration::from_secs(count)),
            "m" => Ok(Duration::from_secs(60 * count)),
            _ => Err(format!("{word} is no duration, as 200ms, 5s or 2m are")),
        }
    }

    fn span(&mut self) -> Result<Span, String> {
        if self.eat("within") {
            Ok(Span::Within(self.duration()?))
        } else if self.eat("for") {
            Ok(Span::For(self.duration()?))
        } else {
            Ok(Span::Now)
        }
    }

    fn condition(&mut self) -> Result<Condition, String> {
        if self.eat("a") {
            self.expect("leader")?;
            return Ok(Condition::SomeLeader);
        }
        if self.eat("no") {
            if self.eat("writes") {
                return Ok(Condition::NoWrites);
            }
            self.expect("leader")?;
            return Ok(Condition::NoLeader);
        }
        if self.eat("not") {
            self.expect("serving")?;
            return Ok(Condition::NotServing(self.servers()?));
        }
        if self.eat("serving") {
            let all = self.eat("all");
            return Ok(if all {
                Condition::ServingAll
            } else {
                Condition::Serving(self.servers()?)
            });
        }
        if self.eat("level") {
            return Ok(Condition::Level);
        }
        if self.eat("sync") {
            let who = self.server()?;
            let mode = self.next()?;
            if !matches!(mode, "DIFF" | "TRUNC" | "SNAP") {
                return Err(format!("{mode} is none of DIFF, TRUNC and SNAP"));
            }
            return Ok(Condition::Sync(who, mode.to_owned()));
        }
        if let [count, "writes", rest @ ..] = self.rest
            && let Ok(count) = count.parse()
        {
            self.rest = rest;
            return Ok(Condition::Writes(count));
        }
        if self.rest.first() == Some(&"leader") {
            self.rest = &self.rest[1..];
            let not = self.eat("not");
            let who = self.server()?;
            return Ok(if not {
                Condition::LeaderIsNot(who)
            } else {
                Condition::Leader(who)
            });
        }
        self.predicate()
    }

    /// `WHO leads`, or how far a client has got.
    fn predicate(&mut self) -> Result<Condition, String> {
        match self.party()? {
            Who::Client(n) => {
                let standing = match self.next()? {
                    "holds" => Standing::Holds,
                    "waits" => Standing::Waits,
                    "away" => Standing::Away,
                    word => return Err(format!("{word} is none of holds, waits and away")),
                };
                Ok(Condition::Stands(n, standing))
            }
            who => {
                self.expect("leads")?;
                Ok(Condition::Leads(who))
            }
        }
    }
}
