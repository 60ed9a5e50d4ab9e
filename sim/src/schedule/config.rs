//! What is fixed before a run, as settings by name: those that differ from a calm run's, and back.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::clients::{ClientPlan, Errand, plan::Mix};
use crate::config::RunConfig;
use crate::observe::SimTime;
use vivarium_core::ids::ServerId;

/// A name with dots and its value.
pub type Settings = BTreeMap<String, Value>;

/// Nothing goes wrong.
pub fn calm() -> RunConfig {
    RunConfig::calm(0, 3, 0)
}

/// A client that knows every server and asks for a little of everything.
pub fn plain_plan(config: &RunConfig) -> ClientPlan {
    ClientPlan {
        servers: (1..=config.servers())
            .map(|n| ServerId(i64::from(n)))
            .collect(),
        timeout_ms: 4_000,
        start: SimTime::ZERO,
        quiet_from: SimTime::NEVER,
        people: Vec::new(),
        read_only: false,
        errand: Errand::Mixed(Mix::everything()),
    }
}

/// Settings of the run that are not calm.
pub fn run_settings(config: &RunConfig) -> Settings {
    differences(config, &calm())
}

/// Settings of one client that are not plain.
pub fn plan_settings(config: &RunConfig, plan: &ClientPlan) -> Settings {
    differences(plan, &plain_plan(config))
}

/// What every run has, and what is only for the reader.
const NO_CHOICE: [&str; 3] = ["seed", "heal_at", "families"];

/// All settings that are not as usual, with the client that they are for (from 1).
pub fn settings(config: &RunConfig) -> Vec<(Option<usize>, String)> {
    let of_run = run_settings(config).into_keys();
    let of_run = of_run.filter(|key| !NO_CHOICE.contains(&&**key));
    let of_run = of_run.map(|key| (None, key));
    let mut all: Vec<_> = of_run.collect();
    for (n, plan) in config.clients.iter().enumerate() {
        let of_client = plan_settings(config, plan).into_keys();
        all.extend(of_client.map(|key| (Some(n + 1), key)));
    }
    all
}

fn differences(of: &impl serde::Serialize, from: &impl serde::Serialize) -> Settings {
    let plain = |value: &dyn Fn() -> serde_json::Result<Value>| value().expect("plain data");
    let (of, from) = (
        plain(&|| serde_json::to_value(of)),
        plain(&|| serde_json::to_value(from)),
    );
    let mut found = Settings::new();
    compare("", &of, &from, &mut found);
    found
}

/// Goes down where both are tables.
fn compare(path: &str, of: &Value, from: &Value, found: &mut Settings) {
    match (of, from) {
        (Value::Object(of), Value::Object(from)) => {
            for (key, value) in of {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                compare(&path, value, from.get(key).unwrap_or(&Value::Null), found);
            }
        }
        _ if of != from => {
            found.insert(path.to_owned(), of.clone());
        }
        _ => {}
    }
}

/// The value with one setting changed; an unknown name is refused, as is a value that means
/// nothing.
///
/// # Errors
/// What was expected.
pub fn set<T>(of: &T, name: &str, to: Value) -> Result<T, String>
where
    T: serde::Serialize + DeserializeOwned,
{
    let mut whole = serde_json::to_value(of).expect("plain data");
    let mut at = &mut whole;
    for part in name.split('.') {
        let Value::Object(table) = at else {
            return Err(format!("there is no setting {name}"));
        };
        let known: Vec<String> = table.keys().cloned().collect();
        at = table.get_mut(part).ok_or_else(|| {
            let known = known.join(", ");
            format!("there is no setting {name}; where {part} stands there are {known}")
        })?;
    }
    *at = to;
    serde_json::from_value(whole).map_err(|e| format!("{name}: {e}"))
}

/// As `set`, keeping what is no setting.
///
/// # Errors
/// What was expected.
pub fn set_run(config: &RunConfig, name: &str, to: Value) -> Result<RunConfig, String> {
    let changed: RunConfig = set(config, name, to)?;
    Ok(RunConfig {
        mutants: config.mutants,
        clients: config.clients.clone(),
        faults: config.faults.clone(),
        ..changed
    })
}

/// The usual value of a setting.
pub fn usual(of: &impl serde::Serialize, name: &str) -> Value {
    let mut at = &serde_json::to_value(of).expect("plain data");
    for part in name.split('.') {
        at = at.get(part).unwrap_or(&Value::Null);
    }
    at.clone()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::{Options, draw};

    #[test]
    fn every_drawn_configuration_can_be_written_and_read() {
        for seed in 0..60 {
            let config = draw(seed, Options::default());
            let mut read = calm();
            for (name, value) in run_settings(&config) {
                read = set_run(&read, &name, value).expect("it was written so");
            }
            for plan in &config.clients {
                let mut one = plain_plan(&read);
                for (name, value) in plan_settings(&config, plan) {
                    one = set(&one, &name, value).expect("it was written so");
                }
                read.clients.push(one);
            }
            read.faults.clone_from(&config.faults);
            assert_eq!(format!("{read:?}"), format!("{config:?}"), "seed {seed}");
        }
    }

    #[test]
    fn what_means_nothing_is_refused() {
        let config = calm();
        let unknown = set_run(&config, "net.colour", Value::Null).expect_err("unknown");
        assert!(unknown.contains("delay_mean"), "{unknown}");
        assert!(set_run(&config, "tick", Value::from("5 minutes")).is_err());
        assert!(set_run(&config, "voters.x", Value::Null).is_err());
    }
}
