//! Who plays the clients: plans by name.

use std::time::Duration;

use vivarium_core::ids::ServerId;

use super::parse::Known;
use crate::clients::plan::Mix;
use crate::clients::{ClientPlan, Errand};
use crate::observe::SimTime;

/// `workload`, `reader`, `lock` or `master`; `workload at 1, 2` knows only these servers.
pub(super) fn plan(said: &str, known: &Known) -> Result<ClientPlan, String> {
    let (name, at) = match said.split_once(" at ") {
        Some((name, at)) => (name.trim(), Some(at)),
        None => (said.trim(), None),
    };
    let errand = match name {
        "workload" => Errand::Mixed(Mix::everything()),
        "reader" => Errand::Mixed(Mix::everything().looking()),
        // Held until the client fails: who has it is then a question of sessions alone.
        "lock" => Errand::Lock {
            base: "/lock".into(),
            hold: Duration::from_secs(3_600),
        },
        "master" => Errand::Election {
            path: "/master".into(),
        },
        other => {
            return Err(format!(
                "{other} is none of workload, reader, lock and master"
            ));
        }
    };
    let servers = match at {
        None => (1..=known.servers)
            .map(|n| ServerId(i64::from(n)))
            .collect(),
        Some(list) => servers(list, known)?,
    };
    Ok(ClientPlan {
        servers,
        timeout_ms: 4_000,
        start: SimTime::ZERO,
        quiet_from: SimTime::NEVER,
        people: Vec::new(),
        read_only: false,
        errand,
    })
}

fn servers(list: &str, known: &Known) -> Result<Vec<ServerId>, String> {
    let one = |word: &str| {
        let word = word.trim();
        let n: u16 = word.parse().map_err(|_| format!("{word} is no server"))?;
        let exists = (1..=known.servers).contains(&n);
        if exists {
            Ok(ServerId(i64::from(n)))
        } else {
            Err(format!("there is no server {n}"))
        }
    };
    list.split(',').map(one).collect()
}
