//! Rule `ephemerals`: ephemeral znodes live and die with their session. The transaction that closes
//! a session names exactly the ephemerals that it owns at that place in the order, and a server
//! that has applied it has none of them left. (That an ephemeral can only be made by a live session
//! follows from the model.)
//! Rule `session-expiry`: no session is expired while its client keeps in touch, and none outlives
//! its client forever (ZooKeeper: the leader expires a session after its negotiated timeout without
//! any sign of it; `SessionTrackerImpl`, deadlines rounded up to a tick).
//!
//! What is called too early: some server says that the session has expired
//!
//! - by a transaction of the same reign, within its timeout after the client asked for the
//!   handshake that a server accepted last. The leader itself has vouched for that handshake and
//!   counts from there, so no fault excuses it;
//! - or although a request of it was sent less than its timeout before and answered, and the news
//!   had time to get to the leader. Followers report touches in their answers to the leader's
//!   pings, every half tick; two ticks are granted. Only judged when nothing stood in the way:
//!   since that request, and two ticks before, neither the leader nor the client's server was
//!   touched by a fault, both kept their places, and the client kept its connection; else the touch
//!   may really never have arrived.
//!
//! A request was heard after it was sent, so counting from its sending can only be too kind. Clocks
//! may drift by twice the bound of the run (two clocks). A session that its client has asked to
//! close may be called expired at any time from then on.
//!
//! What is called too late: at the end of a run under one leader and without any fault for twice
//! the timeout and ten ticks, a session whose client was silent for as long is still alive. A
//! liveness rule.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use vivarium_core::ids::{Epoch, ServerId, SessionId};
use vivarium_core::wire::txn::Txn;

use super::connections::Welcomed;
use super::model::Model;
use crate::observe::{ClientId, Setup, SimTime};

pub const RULE: &str = "ephemerals";
pub const RULE_EXPIRY: &str = "session-expiry";

/// Requests remembered per session.
const SIGNS_MAX: usize = 16;

#[derive(Clone, Debug)]
struct Life {
    timeout: Duration,
    client: Option<ClientId>,
    /// Request sent, reply received; oldest first, apart by a quarter of a tick at least.
    signs: VecDeque<(SimTime, SimTime)>,
    last_sign: SimTime,
    /// When the handshake that was accepted last was asked for, and in whose reign.
    granted: Option<(Epoch, SimTime)>,
    /// The client has asked for the end.
    closing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    server: ServerId,
    since: SimTime,
}

/// Sessions' clocks and servers' calm.
#[derive(Clone, Default, Debug)]
pub struct Ephemerals {
    lives: BTreeMap<SessionId, Life>,
    places: BTreeMap<ClientId, Place>,
    /// Faults that last, by server, and when the last one ended.
    faults: BTreeMap<ServerId, (u32, SimTime)>,
    /// In whose epoch each server serves, and since when.
    reigns: BTreeMap<ServerId, (Epoch, SimTime)>,
}

/// The transaction that closes a session, against the model before it.
pub fn judge_close(model: &Model, session: SessionId, txn: &Txn<'_>) -> Result<(), String> {
    let Txn::CloseSession { paths: Some(paths) } = txn else {
        return Ok(());
    };
    let named: BTreeSet<&str> = paths.iter().map(|p| &**p).collect();
    let owned: BTreeSet<&str> = match model.session(session) {
        Some(s) if s.closed.is_none() => s.ephemerals.iter().map(|p| &**p).collect(),
        _ => BTreeSet::new(),
    };
    if named == owned && named.len() == paths.len() {
        return Ok(());
    }
    Err(format!(
        "session {session} owns {owned:?} and is closed with {named:?}"
    ))
}

/// What a server has left of a session after applying its end.
pub fn judge_left(id: ServerId, session: SessionId, left: &[String]) -> Result<(), String> {
    if left.is_empty() {
        return Ok(());
    }
    Err(format!(
        "server {id} closed session {session} and still has its {left:?}"
    ))
}

impl Ephemerals {
    /// A session was created by a transaction; its client may never learn of it.
    pub fn created(&mut self, t: SimTime, session: SessionId, timeout_ms: i32) {
        let timeout = Duration::from_millis(u64::from(timeout_ms.unsigned_abs()));
        let life = Life {
            timeout,
            client: None,
            signs: VecDeque::new(),
            last_sign: t,
            granted: None,
            closing: false,
        };
        self.lives.entry(session).or_insert(life);
    }

    /// A server accepted the client's session, new or old.
    pub fn opened(&mut self, t: SimTime, client: ClientId, welcomed: &Welcomed) {
        let Welcomed {
            asked,
            server,
            session,
            timeout_ms,
            ..
        } = *welcomed;
        self.created(t, session, timeout_ms);
        if let Some(life) = self.lives.get_mut(&session) {
            let timeout = Duration::from_millis(u64::from(timeout_ms.unsigned_abs()));
            life.timeout = life.timeout.min(timeout);
            life.client = Some(client);
            life.last_sign = t;
            let (epoch, since) = self.reigns.get(&server).copied().unwrap_or_default();
            life.granted = (since < asked).then_some((epoch, asked));
        }
        self.places.insert(client, Place { server, since: t });
    }

    pub fn disconnected(&mut self, client: ClientId) {
        self.places.remove(&client);
    }

    /// A request was sent, whatever becomes of it.
    pub fn sent(&mut self, t: SimTime, session: SessionId, closes: bool) {
        if let Some(life) = self.lives.get_mut(&session) {
            life.last_sign = t;
            life.closing |= closes;
        }
    }

    /// A request of the session was answered.
    pub fn answered(&mut self, setup: &Setup, t: SimTime, session: SessionId, sent: SimTime) {
        let Some(life) = self.lives.get_mut(&session) else {
            return;
        };
        let apart = setup.tick / 4;
        if life
            .signs
            .back()
            .is_some_and(|(last, _)| sent.since(*last) < apart)
        {
            return;
        }
        if life.signs.len() == SIGNS_MAX {
            life.signs.pop_front();
        }
        life.signs.push_back((sent, t));
    }

    /// A fault that concerns the server begins or ends: crash, pause, cut, stall, slow clock.
    pub fn fault(&mut self, t: SimTime, id: ServerId, begins: bool) {
        let (active, ended) = self.faults.entry(id).or_default();
        *active = if begins {
            *active + 1
        } else {
            active.saturating_sub(1)
        };
        *ended = t;
    }

    /// After a turn: the server serves in this epoch, or does not serve.
    pub fn serves(&mut self, t: SimTime, id: ServerId, epoch: Option<Epoch>) {
        match epoch {
            None => {
                self.reigns.remove(&id);
            }
            Some(epoch) if self.reigns.get(&id).is_none_or(|(e, _)| *e != epoch) => {
                self.reigns.insert(id, (epoch, t));
            }
            Some(_) => {}
        }
    }

    /// Has the server been left alone since `from`?
    pub fn is_calm(&self, id: ServerId, from: SimTime) -> bool {
        self.faults
            .get(&id)
            .is_none_or(|(active, ended)| *active == 0 && *ended < from)
    }

    /// Some server says that the session has expired; `reign` is the epoch of the transaction that
    /// says so, if it is one.
    pub fn expired(
        &self,
        setup: &Setup,
        t: SimTime,
        session: SessionId,
        leader: Option<(ServerId, SimTime)>,
        reign: Option<Epoch>,
    ) -> Result<(), String> {
        let Some(life) = self.lives.get(&session).filter(|life| !life.closing) else {
            return Ok(());
        };
        let drift = life.timeout.as_nanos() as u64 / 1_000_000 * u64::from(setup.drift_ppm_max);
        let timeout = life.timeout.saturating_sub(Duration::from_nanos(2 * drift));
        if let Some((epoch, granted)) = life.granted
            && reign == Some(epoch)
            && t.since(granted) < timeout
        {
            return Err(format!(
                "session {session} with a timeout of {:?} is expired at {t}; the handshake of \
                 {granted} was accepted",
                life.timeout
            ));
        }
        let Some((leader, leads_since)) = leader else {
            return Ok(());
        };
        let Some(place) = life.client.and_then(|c| self.places.get(&c)) else {
            return Ok(());
        };
        let slack = setup.tick * 2;
        let fresh = |(sent, heard): &&(SimTime, SimTime)| {
            let from = SimTime(sent.0.saturating_sub(slack.as_nanos() as u64));
            t.since(*sent) < timeout
                && t.since(*heard) > slack
                && place.since < from
                && leads_since < from
                && self.is_calm(leader, from)
                && self.is_calm(place.server, from)
        };
        let Some((sent, heard)) = life.signs.iter().find(fresh) else {
            return Ok(());
        };
        Err(format!(
            "session {session} with a timeout of {:?} is expired at {t}; its request of {sent} was \
             answered at {heard} by server {}, and nothing disturbed it or leader {leader}",
            life.timeout, place.server
        ))
    }

    /// At the end of a run: sessions that should be gone.
    pub fn overdue(
        &self,
        setup: &Setup,
        t: SimTime,
        model: &Model,
        leader: Option<(ServerId, SimTime)>,
    ) -> Result<(), String> {
        let Some((_, leads_since)) = leader else {
            return Ok(());
        };
        let grace = setup.tick * 10;
        for (id, _) in model.alive() {
            let Some(life) = self.lives.get(&id) else {
                continue;
            };
            let from =
                t.0.saturating_sub((life.timeout * 2 + grace).as_nanos() as u64);
            let from = SimTime(from);
            let calm = leads_since < from && setup.servers().all(|s| self.is_calm(s, from));
            if life.last_sign < from && calm {
                let (timeout, last) = (life.timeout, life.last_sign);
                return Err(format!(
                    "session {id} with timeout {timeout:?} is alive at {t}, silent since {last}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{create_op, setup};
    use std::borrow::Cow;
    use vivarium_core::ids::Zxid;

    const S: SessionId = SessionId(7);
    const C: ClientId = ClientId(1);
    const L: ServerId = ServerId(2);

    fn ms(ms: u64) -> SimTime {
        SimTime::from_millis(ms)
    }

    fn welcomed(asked: SimTime) -> Welcomed {
        Welcomed {
            asked,
            server: ServerId(1),
            session: S,
            timeout_ms: 1_000,
            seen: Zxid::ZERO,
            is_new: true,
            read_only: false,
        }
    }

    /// Ticks of 100 ms, a timeout of 1 s; requests answered from 1.0 s to 2.0 s.
    fn in_touch() -> Ephemerals {
        let mut e = Ephemerals::default();
        e.opened(ms(100), C, &welcomed(ms(90)));
        for at in (1_000..=2_000).step_by(100) {
            e.sent(ms(at), S, false);
            e.answered(&setup(3), ms(at + 5), S, ms(at));
        }
        e
    }

    #[test]
    fn expiry_after_silence_passes_and_before_fires() {
        let e = in_touch();
        let leader = Some((L, ms(50)));
        assert!(e.expired(&setup(3), ms(3_100), S, leader, None).is_ok());
        assert!(e.expired(&setup(3), ms(2_500), S, leader, None).is_err());
    }

    #[test]
    fn expiry_right_after_a_handshake_fires_whatever_the_faults() {
        let reign = Some(Epoch(3));
        let mut e = Ephemerals::default();
        e.serves(ms(300), ServerId(1), reign);
        e.opened(ms(500), C, &welcomed(ms(400)));
        e.fault(ms(600), ServerId(1), true);
        e.disconnected(C);
        let fires =
            |e: &Ephemerals, at, reign| e.expired(&setup(3), ms(at), S, None, reign).is_err();
        assert!(fires(&e, 1_300, reign));
        assert!(!fires(&e, 1_400, reign));
        assert!(!fires(&e, 1_300, Some(Epoch(4))));
        assert!(!fires(&e, 1_300, None));
        e.sent(ms(700), S, true);
        assert!(!fires(&e, 1_300, reign));
        // A server that changed sides in the middle of the handshake may have asked anybody.
        let mut e = Ephemerals::default();
        e.serves(ms(450), ServerId(1), reign);
        e.opened(ms(500), C, &welcomed(ms(400)));
        assert!(!fires(&e, 1_300, reign));
    }

    #[test]
    fn expiry_is_excused_by_faults_moves_and_young_leaders() {
        let fires = |change: fn(&mut Ephemerals), leads_since| {
            let mut e = in_touch();
            change(&mut e);
            e.expired(&setup(3), ms(2_500), S, Some((L, leads_since)), None)
                .is_err()
        };
        assert!(fires(|_| (), ms(50)));
        assert!(!fires(|_| (), ms(1_900)));
        assert!(!fires(|e| e.fault(ms(2_400), L, true), ms(50)));
        assert!(!fires(|e| e.fault(ms(2_400), ServerId(1), false), ms(50)));
        assert!(fires(|e| e.fault(ms(2_400), ServerId(3), true), ms(50)));
        assert!(!fires(|e| e.disconnected(C), ms(50)));
    }

    #[test]
    fn a_session_that_never_dies_fires() {
        let mut e = in_touch();
        let mut model = Model::new();
        let draft = model.draft_open(S, 1_000, Zxid(1));
        model.commit(draft);
        let overdue = |e: &Ephemerals, at, leads_since| {
            let leader = Some((L, ms(leads_since)));
            e.overdue(&setup(3), ms(at), &model, leader).is_err()
        };
        assert!(!overdue(&e, 4_900, 50));
        assert!(overdue(&e, 5_100, 50));
        assert!(
            !overdue(&e, 5_100, 3_000),
            "a new leader counts from its own start"
        );
        e.fault(ms(4_000), L, false);
        assert!(!overdue(&e, 5_100, 50));
    }

    #[test]
    fn a_close_names_what_the_session_owns() {
        let mut model = Model::new();
        let draft = model.draft_open(S, 1_000, Zxid(1));
        model.commit(draft);
        let (_, draft) = model.draft(S, &create_op("/e", true, false), Zxid(2), 0);
        model.commit(draft);
        let close = |paths: &[&'static str]| Txn::CloseSession {
            paths: Some(paths.iter().map(|p| Cow::Borrowed(*p)).collect()),
        };
        assert!(judge_close(&model, S, &close(&["/e"])).is_ok());
        assert!(judge_close(&model, S, &close(&[])).is_err());
        assert!(judge_close(&model, S, &close(&["/e", "/f"])).is_err());
        assert!(judge_left(L, S, &[]).is_ok());
        assert!(judge_left(L, S, &["/e".to_owned()]).is_err());
    }
}
