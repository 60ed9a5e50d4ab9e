//! Weaker versions of what can not be left out: less of it, shorter, at a round time, the usual
//! instead of the special. A fault is looked at as plain data, so new kinds of fault are weakened,
//! too.

use std::time::Duration;

use serde_json::Value;

use crate::decisions::{Address, Lane};
use crate::faults::Planned;
use crate::plain::{duration_of, duration_text};
use crate::schedule::Schedule;

/// The weakening with this number, if there are so many; nothing if it would change nothing.
pub(super) fn weaker(of: &Schedule, n: usize) -> Option<Option<Schedule>> {
    let mut all = Vec::new();
    for (at, planned) in of.config.faults.iter().enumerate() {
        let value = serde_json::to_value(planned).expect("a fault is plain data");
        let mut versions = Vec::new();
        versions_of(&value, usize::from(of.config.servers()), &mut versions);
        all.extend(
            versions
                .into_iter()
                .map(|version| Weaker::Fault(at, version)),
        );
    }
    for (address, outcomes) in &of.decisions {
        if address.lane.is_timing() {
            continue;
        }
        if outcomes.len() > 1 {
            all.push(Weaker::Outcomes(*address, outcomes[..1].to_vec()));
            all.push(Weaker::Outcomes(
                *address,
                outcomes[..outcomes.len() / 2].to_vec(),
            ));
            all.push(Weaker::Outcomes(
                *address,
                outcomes[..outcomes.len() - 1].to_vec(),
            ));
        }
        let from = usize::from(address.lane == Lane::Act);
        for place in from..outcomes.len() {
            for less in [0, outcomes[place] / 2] {
                let mut outcomes = outcomes.clone();
                if less < outcomes[place] {
                    outcomes[place] = less;
                    all.push(Weaker::Outcomes(*address, outcomes));
                }
            }
        }
    }
    Some(apply(of, all.into_iter().nth(n)?))
}

enum Weaker {
    Fault(usize, Value),
    Outcomes(Address, Vec<u64>),
}

fn apply(of: &Schedule, weaker: Weaker) -> Option<Schedule> {
    let mut changed = of.clone();
    match weaker {
        Weaker::Fault(at, value) => {
            let planned: Planned = serde_json::from_value(value).ok()?;
            if changed.config.faults[at] == planned {
                return None;
            }
            changed.config.faults[at] = planned;
            changed.config.faults.sort_by_key(|planned| planned.at);
        }
        Weaker::Outcomes(address, outcomes) => {
            changed.decisions.insert(address, outcomes);
        }
    }
    Some(changed)
}

/// Every version of a value in which one thing is weaker.
fn versions_of(value: &Value, servers: usize, found: &mut Vec<Value>) {
    match value {
        Value::Bool(true) => found.push(Value::Bool(false)),
        Value::Number(n) => found.extend(less(n.as_u64()).into_iter().map(Value::from)),
        Value::String(text) if text == "between-effects" => {
            found.push(Value::from("between-turns"));
        }
        Value::String(text) => found.extend(rounder(text).into_iter().map(Value::from)),
        Value::Object(table) => {
            for (key, inner) in table {
                let mut versions = Vec::new();
                if key == "who" && inner.get("server").is_none() {
                    versions.extend((1..=servers).map(|n| serde_json::json!({ "server": n })));
                } else if key != "server" {
                    versions_of(inner, servers, &mut versions);
                }
                for version in versions {
                    let mut table = table.clone();
                    table.insert(key.clone(), version);
                    found.push(Value::Object(table));
                }
            }
        }
        _ => {}
    }
}

fn less(n: Option<u64>) -> Vec<u64> {
    match n {
        None | Some(0) => Vec::new(),
        Some(n) => [0, 1, n / 2].into_iter().filter(|less| *less < n).collect(),
    }
}

/// Durations: whole seconds, tenths, hundredths or milliseconds.
fn rounder(text: &str) -> Vec<String> {
    let Ok(d) = duration_of(text) else {
        return Vec::new();
    };
    let nanos = d.as_nanos() as u64;
    let round = |unit: u64| nanos / unit * unit;
    let units = [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 10_000];
    let all = units
        .into_iter()
        .map(round)
        .filter(|r| *r < nanos && *r > 0);
    all.map(|r| duration_text(Duration::from_nanos(r)))
        .collect()
}
