//! Rule `commit-durable`: nothing is committed, and so nothing is acknowledged, that does not lie
//! on the platters of a quorum of voters (ZAB: a proposal is committed by a quorum that has it on
//! stable storage; ZooKeeper: a successful write is persistent).
//!
//! Measured on the simulated platter: a record counts once the disk reports it as synced, a
//! snapshot once its install is. What a restart reads back counts too: a power loss leaves only
//! what is on the platter, and after a mere kill recovery syncs before it gives anything. Judged
//! when a transaction enters the canonical history, again when a client gets its reply, and again
//! for all that a truncated log loses. Sound: a leader commits after acknowledgements that follow
//! syncs, commits its initial history after a quorum has acknowledged NEWLEADER, which follows
//! syncs too, and does not count the vote of a learner for what it has told it to drop.

use std::collections::BTreeMap;

use vivarium_core::ids::{ServerId, Zxid};

use crate::observe::Setup;

pub const RULE: &str = "commit-durable";

#[derive(Clone, Default, Debug)]
struct Platter {
    /// All up to here came with a snapshot.
    base: Zxid,
    /// Synced after that; rising.
    log: Vec<Zxid>,
}

impl Platter {
    fn holds(&self, zxid: Zxid) -> bool {
        zxid <= self.base || self.log.last() == Some(&zxid) || self.log.binary_search(&zxid).is_ok()
    }
}

#[derive(Clone, Default, Debug)]
pub struct Durability {
    platters: BTreeMap<ServerId, Platter>,
}

impl Durability {
    pub fn durable(&mut self, id: ServerId, zxid: Zxid) {
        let platter = self.platters.entry(id).or_default();
        if platter.log.last().is_none_or(|last| *last < zxid) {
            platter.log.push(zxid);
        }
    }

    pub fn truncated(&mut self, id: ServerId, after: Zxid) {
        let platter = self.platters.entry(id).or_default();
        let keep = platter.log.partition_point(|z| *z <= after);
        platter.log.truncate(keep);
        platter.base = platter.base.min(after);
    }

    pub fn installed(&mut self, id: ServerId, zxid: Zxid) {
        self.platters.insert(
            id,
            Platter {
                base: zxid,
                log: Vec::new(),
            },
        );
    }

    /// The server starts with this snapshot and this log.
    pub fn restarted(&mut self, id: ServerId, base: Zxid, log: &[Zxid]) {
        self.platters.insert(
            id,
            Platter {
                base,
                log: log.to_vec(),
            },
        );
    }

    /// Does it lie on this server's platter?
    pub fn holds(&self, id: ServerId, zxid: Zxid) -> bool {
        self.platters.get(&id).is_some_and(|p| p.holds(zxid))
    }

    /// Is this zxid, committed or acknowledged now, where it must be?
    pub fn judge(&self, setup: &Setup, zxid: Zxid, what: &str) -> Result<(), String> {
        let holds = |id: &&ServerId| self.holds(**id, zxid);
        let have = setup.voters.iter().filter(holds).count();
        if have >= setup.majority() {
            return Ok(());
        }
        let who: Vec<i64> = setup.voters.iter().filter(holds).map(|id| id.0).collect();
        Err(format!(
            "{zxid} is {what} and lies on {have} of {} platters (servers {who:?}), not on {}",
            setup.voters.len(),
            setup.majority()
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::setup;

    #[test]
    fn a_synced_quorum_passes() {
        let mut d = Durability::default();
        d.durable(ServerId(1), Zxid(5));
        d.installed(ServerId(3), Zxid(6));
        assert!(d.judge(&setup(3), Zxid(5), "committed").is_ok());
    }

    #[test]
    fn less_than_a_quorum_fires_and_observers_do_not_count() {
        let mut d = Durability::default();
        d.durable(ServerId(1), Zxid(5));
        d.durable(ServerId(9), Zxid(5));
        assert!(d.judge(&setup(3), Zxid(5), "committed").is_err());
        d.durable(ServerId(2), Zxid(5));
        assert!(d.judge(&setup(3), Zxid(5), "committed").is_ok());
        assert!(d.judge(&setup(4), Zxid(5), "committed").is_err());
        d.truncated(ServerId(2), Zxid(4));
        assert!(d.judge(&setup(3), Zxid(5), "committed").is_err());
        d.restarted(ServerId(2), Zxid(0), &[Zxid(5)]);
        assert!(d.judge(&setup(3), Zxid(5), "committed").is_ok());
    }
}
