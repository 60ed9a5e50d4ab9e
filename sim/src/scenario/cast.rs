//! Who plays the clients: plans by name.

use std::time::Duration;

use vivarium_core::ids::ServerId;

use super::parse::Known;
use crate::clients::plan::Mix;
use crate::clients::workload::Kind;
use crate::clients::{ClientPlan, Errand};
use crate::observe::SimTime;

/// `workload`, `reader`, `lock` or `master`; `workload at 1, 2` knows only these servers.
pub(super) fn plan(said: &str, known: &Known) -> Result<ClientPlan, String> {
    let (name, at) = match said.split_once(" at ") {
        Some((name, at)) => (name.trim(), Some(at)),
        None => (said.trim(), None),
    };
    let errand = match name {
        "workload" => Errand::Mixed(everything()),
        "reader" => Errand::Mixed(everything().looking()),
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

/// Every kind of request, about fifty a second, on one session that stays where it is.
fn everything() -> Mix {
    let mut mix = Mix {
        pause: Duration::from_millis(20),
        burst_max: 2,
        weights: vec![4; Kind::FIRST],
        move_ppm: 0,
        reconnect_ppm: 0,
        mute_ppm: 0,
        vanish_ppm: 0,
        close_ppm: 0,
        watch_percent: 30,
        roots: 3,
        chase_percent: 0,
        deaf_ppm: 0,
    };
    // What came later is for drawn runs.
    mix.weights.resize(Kind::ALL.len(), 0);
    mix
}
