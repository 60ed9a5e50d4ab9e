//! Rule `room`: a write is refused for want of room only where some disk that counts has none, and
//! is proposed only while a quorum of voters has some.
//!
//! What is judged is late news, so both sides get time. Servers tell their leader with the answer
//! to the next ping, the leader tells them with the next ping, and each may be heard late by what
//! `syncLimit` allows: until then a leader may believe what is over. In calm that is all; where a
//! fault struck any server meanwhile, or a server began or ceased to serve, the time counts anew.
//! What a refused write may not do, to take effect all the same, is judged with all writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use vivarium_core::ids::ServerId;
use vivarium_core::wire::records::ErrorCode;
use vivarium_core::wire::txn::{Txn, TxnRecord};

use super::multi;
use super::view::LogMove;
use crate::observe::{Setup, SimTime};

pub const RULE: &str = "room";

/// `NOTREADONLY`, which also says that there is no room.
pub const REFUSED: i32 = ErrorCode::NotReadOnly.code();

#[derive(Clone, Default, Debug)]
pub struct Room {
    /// Voters without room, by their drivers' word.
    low: BTreeSet<ServerId>,
    /// One of them lacked room before.
    ever: bool,
    /// Since when that is so, and the same servers serve.
    since: SimTime,
    serving: BTreeMap<ServerId, bool>,
}

impl Room {
    /// A server hears from its driver whether its disk has room.
    pub fn told(&mut self, setup: &Setup, t: SimTime, id: ServerId, low: bool) {
        let changes = if low {
            setup.voters.contains(&id) && self.low.insert(id)
        } else {
            self.low.remove(&id)
        };
        if changes {
            self.ever = true;
            self.since = t;
        }
    }

    /// A process is gone, with all that it was told.
    pub fn crashed(&mut self, setup: &Setup, t: SimTime, id: ServerId) {
        self.told(setup, t, id, false);
        self.serves(t, id, false);
    }

    /// After a turn.
    pub fn serves(&mut self, t: SimTime, id: ServerId, serves: bool) {
        if self.serving.insert(id, serves) != Some(serves) {
            self.since = t;
        }
    }

    /// A write that was asked at `asked` is refused. `is_calm`: no server was touched by a fault
    /// since then.
    pub fn judge_refusal(
        &self,
        setup: &Setup,
        asked: SimTime,
        is_calm: impl Fn(SimTime) -> bool,
    ) -> Result<(), String> {
        if !self.ever {
            return Err("a write is refused, and no voter has ever lacked room".to_owned());
        }
        // Of the answer to a ping, and of the ping that follows on it.
        let is_old = asked.since(self.since) >= 2 * patience(setup);
        if !self.low.is_empty() || !is_old || !is_calm(self.since) {
            return Ok(());
        }
        let since = self.since;
        Err(format!(
            "a write asked at {asked} is refused, and every voter has room since {since}"
        ))
    }

    /// What a server that leads since `leads` writes into its log in this turn.
    pub fn judge_proposals(
        &self,
        setup: &Setup,
        t: SimTime,
        (id, leads): (ServerId, SimTime),
        moves: &[LogMove],
        is_calm: impl Fn(SimTime) -> bool,
    ) -> Result<(), String> {
        let since = self.since.max(leads);
        let able = setup.voters.len() - self.low.len();
        if able >= setup.majority() || t.since(since) < patience(setup) || !is_calm(since) {
            return Ok(());
        }
        for step in moves {
            if let LogMove::Append { zxid, record } = step
                && changes_nodes(record)
            {
                let low = &self.low;
                return Err(format!(
                    "server {id} proposes {zxid}, and {low:?} have had no room since {since}"
                ));
            }
        }
        Ok(())
    }
}

/// How old what a server knows of another one's disk may be.
fn patience(setup: &Setup) -> Duration {
    let ticks = setup.tick * (setup.sync_limit + 1);
    ticks + ticks * setup.drift_ppm_max / 1_000_000
}

/// Is it more than a session's beginning or end, or a refusal?
fn changes_nodes(record: &[u8]) -> bool {
    let Ok(TxnRecord { txn, .. }) = TxnRecord::decode(record) else {
        return false;
    };
    let is_idle = matches!(
        txn,
        Txn::Error { .. } | Txn::CreateSession { .. } | Txn::CloseSession { .. }
    );
    !is_idle && multi::failure(&txn).is_none()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use vivarium_core::ids::{SessionId, Zxid};
    use vivarium_core::time::WallMs;
    use vivarium_core::wire::records::op;
    use vivarium_core::wire::txn::TxnHeader;

    use super::*;
    use crate::check::tests::setup;

    const LEADER: (ServerId, SimTime) = (ServerId(1), SimTime::ZERO);

    fn append(txn: Txn<'_>) -> [LogMove; 1] {
        let kind = match txn {
            Txn::Delete { .. } => op::DELETE,
            Txn::CloseSession { .. } => op::CLOSE_SESSION,
            _ => op::ERROR,
        };
        let header = TxnHeader {
            session: SessionId(1),
            cxid: 1,
            zxid: Zxid(9),
            time: WallMs(0),
            kind,
        };
        let mut bytes = Vec::new();
        let digest = None;
        TxnRecord {
            header,
            txn,
            digest,
        }
        .encode(&mut bytes);
        let (zxid, record) = (Zxid(9), Bytes::from(bytes));
        [LogMove::Append { zxid, record }]
    }

    fn delete() -> [LogMove; 1] {
        append(Txn::Delete { path: "/a".into() })
    }

    #[test]
    fn a_refusal_needs_somebody_without_room() {
        let setup = setup(3);
        let mut room = Room::default();
        let late = |ms| SimTime::ZERO.after(2 * patience(&setup) + Duration::from_millis(ms));
        assert!(room.judge_refusal(&setup, late(0), |_| false).is_err());
        room.told(&setup, SimTime::ZERO, ServerId(9), true);
        assert!(room.judge_refusal(&setup, late(0), |_| true).is_err());
        room.told(&setup, SimTime::ZERO, ServerId(2), true);
        assert!(room.judge_refusal(&setup, late(0), |_| true).is_ok());
        room.told(&setup, SimTime::from_millis(1), ServerId(2), false);
        assert!(room.judge_refusal(&setup, late(0), |_| true).is_ok());
        assert!(room.judge_refusal(&setup, late(1), |_| false).is_ok());
        assert!(room.judge_refusal(&setup, late(1), |_| true).is_err());
        room.serves(SimTime::from_millis(2), ServerId(3), true);
        assert!(room.judge_refusal(&setup, late(1), |_| true).is_ok());
    }

    #[test]
    fn nothing_is_proposed_that_no_quorum_has_room_for() {
        let setup = setup(3);
        let mut room = Room::default();
        let at = SimTime::ZERO.after(patience(&setup));
        let judge = |room: &Room, at, moves: &[LogMove], calm| {
            room.judge_proposals(&setup, at, LEADER, moves, |_| calm)
        };
        room.told(&setup, SimTime::ZERO, ServerId(2), true);
        assert!(judge(&room, at, &delete(), true).is_ok());
        room.told(&setup, SimTime::ZERO, ServerId(1), true);
        assert!(judge(&room, at, &delete(), true).is_err());
        assert!(judge(&room, at, &delete(), false).is_ok());
        assert!(judge(&room, SimTime(at.0 - 1), &delete(), true).is_ok());
        for idle in [
            Txn::Error { code: REFUSED },
            Txn::CloseSession { paths: None },
        ] {
            assert!(judge(&room, at, &append(idle), true).is_ok());
        }
        room.crashed(&setup, SimTime::ZERO, ServerId(1));
        assert!(judge(&room, at, &delete(), true).is_ok());
    }
}
