//! What can be left out of a schedule, and what is left without it.

use std::collections::BTreeSet;

use serde_json::Value;
use vivarium_core::ids::ServerId;

use crate::config::RunConfig;
use crate::decisions::{Address, Decisions, Machine, Owner};
use crate::faults::Planned;
use crate::scenario::Script;
use crate::schedule::{Plot, Schedule, config};

/// Something that can be left out. Places are those in the schedule at hand.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Piece {
    Decision(Address),
    Fault(usize),
    Step(usize),
    Expected(usize),
    /// From 1.
    Client(u16),
    /// From 1.
    Server(u16),
    /// A setting of the run or of a client (from 1) that becomes usual.
    Setting(Option<usize>, String),
}

pub(super) fn faults(of: &Schedule) -> Vec<Piece> {
    (0..of.config.faults.len()).map(Piece::Fault).collect()
}

pub(super) fn steps(of: &Schedule) -> Vec<Piece> {
    let Plot::Steps(script) = &of.plot else {
        return Vec::new();
    };
    let steps = (0..script.steps.len()).map(Piece::Step);
    steps
        .chain((0..script.expect.len()).map(Piece::Expected))
        .collect()
}

/// The latest first: what comes after the failure's cause goes at once.
pub(super) fn decisions(of: &Schedule) -> Vec<Piece> {
    of.decisions
        .keys()
        .rev()
        .map(|a| Piece::Decision(*a))
        .collect()
}

pub(super) fn timing(of: &Schedule) -> Vec<Piece> {
    let timing = of.decisions.keys().filter(|a| a.lane.is_timing());
    timing.map(|a| Piece::Decision(*a)).collect()
}

pub(super) fn clients(of: &Schedule) -> Vec<Piece> {
    (1..=of.config.clients.len() as u16)
        .map(Piece::Client)
        .collect()
}

/// One that votes has to stay.
pub(super) fn servers(of: &Schedule) -> Vec<Piece> {
    let first = if of.config.voters > 1 { 1 } else { 2 };
    (first..=of.config.servers()).map(Piece::Server).collect()
}

/// How many there are of each is no setting to change on its own: machines are cut by name.
pub(super) fn settings(of: &Schedule) -> Vec<Piece> {
    let all = config::settings(&of.config).into_iter();
    let all = all.filter(|(of, name)| of.is_some() || !["voters", "observers"].contains(&&**name));
    all.map(|(of, name)| Piece::Setting(of, name)).collect()
}

/// The schedule without these pieces.
pub(super) fn without(of: &Schedule, pieces: &[Piece]) -> Schedule {
    let gone: BTreeSet<&Piece> = pieces.iter().collect();
    let mut left = of.clone();
    left.decisions
        .retain(|address, _| !gone.contains(&Piece::Decision(*address)));
    let mut n = 0;
    left.config.faults.retain(|_| {
        n += 1;
        !gone.contains(&Piece::Fault(n - 1))
    });
    if let Plot::Steps(script) = &of.plot
        && let Some(script) = fewer(&of.config, script, &gone)
    {
        left.plot = Plot::Steps(script);
    }
    for piece in pieces.iter().rev() {
        match piece {
            Piece::Client(n) => without_client(&mut left, *n),
            Piece::Server(n) => without_server(&mut left, *n),
            Piece::Setting(client, name) => usual(&mut left.config, *client, name),
            Piece::Decision(_) | Piece::Fault(_) | Piece::Step(_) | Piece::Expected(_) => {}
        }
    }
    left
}

/// Nothing if the rest makes no sense: somebody is named who was not given that name.
fn fewer(config: &RunConfig, script: &Script, gone: &BTreeSet<&Piece>) -> Option<Script> {
    let steps = script.steps.iter().enumerate();
    let steps = steps.filter(|(n, _)| !gone.contains(&Piece::Step(*n)));
    let expect = script.expect.iter().enumerate();
    let expect = expect.filter(|(n, _)| !gone.contains(&Piece::Expected(*n)));
    Script::read(
        config,
        script.settle,
        steps
            .map(|(_, line)| (line.number, line.text.clone()))
            .collect(),
        expect
            .map(|(_, line)| (line.number, line.text.clone()))
            .collect(),
    )
    .ok()
}

fn usual(of: &mut RunConfig, client: Option<usize>, name: &str) {
    match client {
        None => {
            let value = config::usual(&config::calm(), name);
            if let Ok(changed) = config::set_run(of, name, value) {
                *of = changed;
            }
        }
        Some(n) => {
            let plain = config::plain_plan(of);
            let value = config::usual(&plain, name);
            if let Ok(changed) = config::set(&of.clients[n - 1], name, value) {
                of.clients[n - 1] = changed;
            }
        }
    }
}

/// The number that is left of `n` when `gone` goes.
fn closed_up(n: u16, gone: u16) -> Option<u16> {
    match n.cmp(&gone) {
        std::cmp::Ordering::Less => Some(n),
        std::cmp::Ordering::Equal => None,
        std::cmp::Ordering::Greater => Some(n - 1),
    }
}

fn rename(decisions: &Decisions, name: impl Fn(Machine) -> Option<Machine>) -> Decisions {
    let owner = |owner| {
        Some(match owner {
            Owner::Server(n) => match name(Machine::Server(n))? {
                Machine::Server(n) | Machine::Client(n) => Owner::Server(n),
            },
            Owner::Client(n) => match name(Machine::Client(n))? {
                Machine::Server(n) | Machine::Client(n) => Owner::Client(n),
            },
            Owner::Link(from, to) => Owner::Link(name(from)?, name(to)?),
            Owner::Run(n) => Owner::Run(n),
        })
    };
    let renamed = decisions.iter().filter_map(|(address, outcomes)| {
        let owner = owner(address.owner)?;
        Some((Address { owner, ..*address }, outcomes.clone()))
    });
    renamed.collect()
}

fn without_client(of: &mut Schedule, gone: u16) {
    of.config.clients.remove(usize::from(gone) - 1);
    of.decisions = rename(&of.decisions, |machine| match machine {
        Machine::Server(_) => Some(machine),
        Machine::Client(n) => closed_up(n, gone).map(Machine::Client),
    });
    renumber(of, "client", gone);
}

fn without_server(of: &mut Schedule, gone: u16) {
    if gone <= of.config.voters {
        assert!(of.config.voters > 1, "somebody has to vote");
        of.config.voters -= 1;
    } else {
        of.config.observers -= 1;
    }
    of.decisions = rename(&of.decisions, |machine| match machine {
        Machine::Server(n) => closed_up(n, gone).map(Machine::Server),
        Machine::Client(_) => Some(machine),
    });
    renumber(of, "server", gone);
    let all = config::plain_plan(&of.config).servers;
    for plan in &mut of.config.clients {
        let left = plan
            .servers
            .iter()
            .filter_map(|id| closed_up(id.0 as u16, gone));
        let left: Vec<ServerId> = left.map(|n| ServerId(i64::from(n))).collect();
        plan.servers = if left.is_empty() { all.clone() } else { left };
    }
}

/// Faults name machines as they are numbered now. Those that named the one that is gone go too.
fn renumber(of: &mut Schedule, kind: &str, gone: u16) {
    let faults = of.config.faults.iter().filter_map(|planned| {
        let mut value = serde_json::to_value(planned).expect("a fault is plain data");
        if !renumbered(&mut value, kind, gone) {
            return None;
        }
        serde_json::from_value::<Planned>(value).ok()
    });
    of.config.faults = faults.collect();
}

fn renumbered(value: &mut Value, kind: &str, gone: u16) -> bool {
    match value {
        Value::Object(table) => table.iter_mut().all(|(key, value)| {
            let number = value.as_u64().filter(|_| key == kind);
            match number.map(|n| closed_up(n as u16, gone)) {
                None => renumbered(value, kind, gone),
                Some(None) => false,
                Some(Some(n)) => {
                    *value = Value::from(n);
                    true
                }
            }
        }),
        Value::Array(all) => all.iter_mut().all(|value| renumbered(value, kind, gone)),
        _ => true,
    }
}
