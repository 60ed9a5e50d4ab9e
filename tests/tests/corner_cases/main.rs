//! The corner cases of ZooKeeper's client protocol, against real servers and byte by byte. One
//! server serves many cases, each below a node of its own; a case that needs other settings starts
//! its own server.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "real processes in real time; nothing here is replayed"
)]

mod access;
mod create;
mod delete_set;
mod ensemble;
mod handshake;
mod multi;
mod reads;
mod sessions;
mod stat;
mod watches;

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};

use vivarium_tests::ensemble::{Ensemble, Plan};
use vivarium_tests::probe::Probe;

/// Length of a tick in the servers of these tests.
pub const TICK_MS: i32 = 500;

/// A running standalone server.
pub struct Bench {
    pub ensemble: Ensemble,
}

impl Bench {
    pub fn start(plan: Plan) -> Self {
        Self {
            ensemble: plan.start(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.ensemble.client_address(1)
    }

    /// A connection with a new session.
    pub fn probe(&self) -> Probe {
        Probe::connect(self.address())
    }

    /// A connection, and the path of a new open node.
    pub fn below(&self, name: &str) -> (Probe, String) {
        let mut probe = self.probe();
        let path = format!("/{name}");
        probe.make(&path);
        (probe, path)
    }
}

/// A name and what must hold.
pub type Case = (&'static str, fn(&Bench));

/// Runs every case, also behind failed ones.
pub fn run(bench: &Bench, cases: &[Case]) {
    let mut failed = Vec::new();
    for (name, case) in cases {
        println!("--- {name}");
        if catch_unwind(AssertUnwindSafe(|| case(bench))).is_err() {
            println!("--- {name}: FAILED");
            failed.push(*name);
        }
    }
    let (bad, all) = (failed.len(), cases.len());
    assert!(
        failed.is_empty(),
        "{bad} of {all} cases failed: {failed:#?}"
    );
}
