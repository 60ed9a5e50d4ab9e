//! Rule `linearizable-writes`: writes take effect one at a time, between their invocation and their
//! reply, in zxid order, and do what the specification says (ZooKeeper: linearizable writes, FIFO
//! client order; ZAB: local and global primary order). Rule `sync-fresh`: a reply to sync shows all
//! writes that were acknowledged to anybody before it was asked.
//!
//! The zxid is the witness, so no search is needed. Each committed transaction must be a request
//! that some client made and that was not committed before; must have a zxid over that of every
//! write acknowledged before the request was made; must say what the model says at that place in
//! the order. The writes of one connection commit in the order in which they were sent, and none
//! is passed over: every write that gets through leaves a transaction, and the way from the client
//! to the leader is one FIFO stream that ends as a whole. A reply must name the transaction and its
//! outcome. What was asked on a connection that broke may commit later, or never.
//!
//! Which request a transaction is: on the connection that began the session the client's own xid
//! is its number. On later ones servers number requests themselves, their id in the high byte,
//! because clients may count anew. Of several connections to one server it is the newest that was
//! accepted before the transaction was proposed: a server submits what came on an older connection
//! before it asks the leader whether the session may come back, both on one stream, and accepts the
//! new connection only on the answer to its own question, so by then the leader has proposed it
//! (which the checkers see in its log).
//!
//! Three refusals are not predicted, because they depend on what the leader knows and not on the
//! tree: an expired session (judged by the session's clock elsewhere), a moved one, and that there
//! is no room (judged by what the disks say). The last one is at times a server's own word, without
//! a transaction: from the first full disk on what is in front of a connection's writes may have
//! been refused.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;

use bytes::Bytes;
use vivarium_core::config::Rules;
use vivarium_core::ids::{ServerId, SessionId, Zxid};
use vivarium_core::wire::records::{Acl, ErrorCode, Id, op};
use vivarium_core::wire::txn::{CreateMode, Txn, TxnHeader};

use super::access::{Access, Asker, Who};
use super::model::{Draft, Model, Outcome, failed_multi};
use super::{multi, quota, room, sweep};
use crate::clients::ops::{Body, Flags, Op, Reply};

pub const RULE: &str = "linearizable-writes";
pub const RULE_SYNC: &str = "sync-fresh";

const EXPIRED: i32 = ErrorCode::SessionExpired.code();
const MOVED: i32 = ErrorCode::SessionMoved.code();
const ON_LOCAL: i32 = ErrorCode::EphemeralOnLocalSession.code();

#[derive(Clone, Debug)]
struct Open {
    op: Rc<Op>,
    /// Who had been proven on the connection when this was asked.
    who: Who,
    /// Newest zxid acknowledged to anybody when this was asked.
    floor: Zxid,
    /// Nobody waits for the reply any more.
    lost: bool,
    done: Option<(Zxid, Outcome)>,
}

/// The writes of one connection that were not committed yet, as xids in order.
#[derive(Clone, Debug)]
struct Lane {
    server: ServerId,
    /// Newest zxid proposed by anybody when the connection was accepted.
    since: Zxid,
    waiting: VecDeque<i32>,
}

/// The request that a transaction is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Match {
    lane: usize,
    xid: i32,
}

/// What a committed transaction means to the other checkers.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub draft: Draft,
    /// The leader claims that this session has expired.
    pub expired: Option<SessionId>,
}

#[derive(Clone, Default, Debug)]
pub struct Linear {
    /// Servers may refuse writes by themselves.
    skips: bool,
    /// Sessions that servers take back by themselves.
    fitted: BTreeSet<SessionId>,
    /// What transactions led to that were taken for the wrong request.
    mistaken: BTreeMap<(SessionId, Zxid), (Rc<Op>, Outcome)>,
    /// Transactions that refuse a write for want of room.
    refusals: BTreeSet<(SessionId, Zxid)>,
    open: BTreeMap<(SessionId, i32), Open>,
    lanes: BTreeMap<SessionId, Vec<Lane>>,
    floor: Zxid,
}

impl Linear {
    pub fn new(rules: &Rules) -> Self {
        Self {
            skips: rules.eager_acl_check || !rules.throttle.wait_max.is_zero(),
            ..Self::default()
        }
    }

    /// From now on servers may refuse a write without asking the leader.
    pub fn may_be_refused(&mut self) {
        self.skips = true;
    }

    /// Is this reply, which has nothing but a code, the leader's refusal for want of room, and not
    /// a server's own? That shows the zxid of what was answered before, so it may be another's
    /// refusal; the leader's of a multi has more than a code.
    pub fn is_refusal(&self, session: SessionId, op: &Op, zxid: Zxid) -> bool {
        let is_multi = matches!(op, Op::Multi(ops) if !ops.is_empty());
        !is_multi && self.refusals.contains(&(session, zxid))
    }

    /// Newest zxid that was acknowledged to any client.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// The session lives in one server's memory.
    pub fn is_local(&mut self, session: SessionId) {
        self.fitted.insert(session);
    }

    /// A session has a new connection; `proposed` is the newest zxid in any log.
    pub fn connected(&mut self, session: SessionId, server: ServerId, proposed: Zxid) {
        let lanes = self.lanes.entry(session).or_default();
        // The first stays, so that later ones are known to be later.
        let mut index = 0;
        lanes.retain(|lane| {
            index += 1;
            index == 1 || !lane.waiting.is_empty()
        });
        lanes.push(Lane {
            server,
            since: proposed,
            waiting: VecDeque::new(),
        });
    }

    /// On the newest connection.
    pub fn invoked(&mut self, session: SessionId, xid: i32, op: &Rc<Op>, who: &Who) {
        let open = Open {
            op: op.clone(),
            who: who.clone(),
            floor: self.floor,
            lost: false,
            done: None,
        };
        self.open.insert((session, xid), open);
        if let Some(lane) = self
            .lanes
            .get_mut(&session)
            .and_then(|lanes| lanes.last_mut())
        {
            lane.waiting.push_back(xid);
        }
    }

    /// The connection is gone; the request may still take effect.
    pub fn lost(&mut self, session: SessionId, xid: i32) {
        if let Some(open) = self.open.get_mut(&(session, xid)) {
            open.lost = true;
        }
    }

    /// The request that the next transaction must be, if a client asked for it.
    pub fn find(&self, model: &Model, header: &TxnHeader, txn: &Txn<'_>) -> Option<Match> {
        if self.is_fitted(header.session) {
            return self.find_fitting(model, header, txn);
        }
        let lanes = self.lanes.get(&header.session)?;
        let cxid = header.cxid;
        if lanes[0].waiting.front() == Some(&cxid) {
            return Some(Match { lane: 0, xid: cxid });
        }
        // A standalone server's id is 0; then there is only one server. In an ensemble such a
        // number is a client's own, sent through its first connection: refused now that the
        // session is over, and not waited for any more.
        let named = (cxid >> 24) as u8;
        let is_alone = named == 0 && lanes.iter().all(|lane| lane.server == lanes[0].server);
        let fits =
            |lane: &Lane| lane.since < header.zxid && (named == lane.server.0 as u8 || is_alone);
        let lane = lanes
            .iter()
            .rposition(fits)
            .filter(|lane| *lane > 0 && cxid != 0)?;
        Some(Match {
            lane,
            xid: *lanes[lane].waiting.front()?,
        })
    }

    /// The same where a server may refuse a request without a transaction, or takes a session back
    /// without asking its leader: then what is in front says nothing for sure, but what a request
    /// must lead to does.
    fn find_fitting(&self, model: &Model, header: &TxnHeader, txn: &Txn<'_>) -> Option<Match> {
        let (session, cxid) = (header.session, header.cxid);
        let lanes = self.lanes.get(&session)?;
        if lanes[0].waiting.contains(&cxid) {
            return Some(Match { lane: 0, xid: cxid });
        }
        let named = (cxid >> 24) as u8;
        let later = lanes.iter().enumerate().skip(1);
        let of_server = later.filter(|(_, lane)| {
            lane.since < header.zxid && named == lane.server.0 as u8 && cxid != 0
        });
        let all = of_server.flat_map(|(n, lane)| {
            let xids = lane.waiting.iter();
            xids.map(move |xid| Match { lane: n, xid: *xid })
        });
        let fits = |found: &Match| {
            let open = self.open.get(&(session, found.xid));
            open.is_some_and(|open| {
                let who = &open.who;
                let by = Asker { session, who };
                decide(model, by, header, txn, (&open.op, open.floor)).is_ok()
            })
        };
        // One that was taken for an error before may be this one: errors fit many.
        let is_done = |found: &Match| {
            let open = self.open.get(&(session, found.xid));
            open.is_some_and(|open| open.done.is_some())
        };
        let mut fitting: Vec<Match> = all.clone().filter(fits).collect();
        fitting.sort_by_key(is_done);
        fitting.first().copied().or_else(|| all.clone().next())
    }

    pub fn op(&self, session: SessionId, found: Match) -> Option<Rc<Op>> {
        self.open
            .get(&(session, found.xid))
            .map(|open| open.op.clone())
    }

    /// The next transaction of the canonical history.
    pub fn committed(
        &mut self,
        model: &Model,
        header: &TxnHeader,
        txn: &Txn<'_>,
        found: Option<Match>,
    ) -> Result<Verdict, String> {
        let (session, zxid) = (header.session, header.zxid);
        if matches!(txn, Txn::Error { code } if *code == room::REFUSED) {
            self.refusals.insert((session, zxid));
        }
        match (txn, found) {
            (Txn::CreateSession { timeout_ms }, _) => {
                if model.session(session).is_some() {
                    return Err(format!("{zxid} gives out session {session} again"));
                }
                let draft = model.draft_open(session, *timeout_ms, zxid);
                Ok(Verdict {
                    draft,
                    expired: None,
                })
            }
            (Txn::Delete { .. }, None) if sweep::path(header, txn).is_some() => {
                let path = sweep::path(header, txn).expect("just looked at");
                sweep::judge(model, path, zxid, header.time.0)?;
                Ok(Verdict {
                    draft: model.draft_sweep(path, zxid),
                    expired: None,
                })
            }
            // By the leader, or asked by a session that had expired meanwhile.
            (Txn::CloseSession { .. }, None) if header.cxid == 0 || !model.is_alive(session) => {
                let draft = model.draft_close(session, zxid);
                Ok(Verdict {
                    draft,
                    expired: Some(session),
                })
            }
            (_, None) => match refusal(txn) {
                // Asked on a connection that is forgotten; it has no effect.
                Some(refused) => {
                    let draft = model.draft_nothing(zxid);
                    let expired = refused.code == EXPIRED;
                    Ok(Verdict {
                        draft,
                        expired: expired.then_some(session),
                    })
                }
                None => {
                    let cxid = header.cxid;
                    Err(format!(
                        "{zxid} is request {cxid} of session {session}, which nobody made or whose \
                         turn it is not: {txn:?}"
                    ))
                }
            },
            (_, Some(found)) => self.asked(model, header, txn, found),
        }
    }

    fn asked(
        &mut self,
        model: &Model,
        header: &TxnHeader,
        txn: &Txn<'_>,
        found: Match,
    ) -> Result<Verdict, String> {
        let (session, zxid) = (header.session, header.zxid);
        let Some(open) = self.open.get_mut(&(session, found.xid)) else {
            return Err(format!(
                "{zxid}: request {} was answered already",
                found.xid
            ));
        };
        if zxid <= open.floor {
            let floor = open.floor;
            return Err(format!(
                "{zxid} was asked after {floor} had been acknowledged"
            ));
        }
        let by = Asker {
            session,
            who: &open.who,
        };
        let decided = decide(model, by, header, txn, (&open.op, open.floor));
        let about = |e| format!("{e} (request {} of session {session})", found.xid);
        let (outcome, draft, expired) = decided.map_err(about)?;
        let is_sure = !has_failed(&outcome) || !(self.skips || self.fitted.contains(&session));
        if let Some((z, before)) = open.done.replace((zxid, outcome)) {
            self.mistaken
                .insert((session, z), (open.op.clone(), before));
        }
        if let Some(lanes) = self.lanes.get_mut(&session).filter(|_| is_sure) {
            lanes[found.lane].waiting.retain(|xid| *xid != found.xid);
        }
        Ok(Verdict {
            draft,
            expired: expired.then_some(session),
        })
    }

    /// A client gets the reply to a write.
    pub fn replied(&mut self, session: SessionId, xid: i32, reply: &Reply) -> Result<(), String> {
        let Some(mut open) = self.open.remove(&(session, xid)) else {
            return Err(format!(
                "reply to request {xid} of session {session}: nobody waits"
            ));
        };
        if self.is_fitted(session) {
            self.exchange(session, &mut open, reply.zxid);
        }
        let Some((zxid, outcome)) = open.done else {
            if matches!(reply.result, Err(EXPIRED | MOVED)) {
                // Refused before it became a transaction.
                self.passed_over(session, xid);
                return Ok(());
            }
            let of_zxid = |open: &&Open| open.done.as_ref().is_some_and(|d| d.0 == reply.zxid);
            let other = self.open.values().find(of_zxid).map(|open| &open.op);
            return Err(format!(
                "reply {:?} at {} to {:?}, which was never committed; {other:?} was",
                reply.result, reply.zxid, open.op
            ));
        };
        self.forget(session, xid);
        self.refusals.remove(&(session, zxid));
        if reply.zxid != zxid {
            return Err(format!(
                "reply at {} to what was committed as {zxid}",
                reply.zxid
            ));
        }
        if !agrees(&outcome, &reply.result) {
            return Err(format!(
                "{:?} at {zxid}: reply {:?}, but the history gives {outcome:?}",
                open.op, reply.result
            ));
        }
        self.floor = self.floor.max(zxid);
        Ok(())
    }

    /// Are this session's transactions taken for the first request that fits?
    fn is_fitted(&self, session: SessionId) -> bool {
        self.skips || self.fitted.contains(&session)
    }

    /// Of several requests that a transaction fits, the wrong one may have been taken for it. The
    /// zxid of the reply tells which it was.
    fn exchange(&mut self, session: SessionId, open: &mut Open, zxid: Zxid) {
        if open.done.as_ref().is_some_and(|(z, _)| *z == zxid) {
            return;
        }
        if let Some((z, outcome)) = open.done.take() {
            self.mistaken
                .insert((session, z), (open.op.clone(), outcome));
        }
        let of_session = (session, i32::MIN)..=(session, i32::MAX);
        let mut others = self.open.range_mut(of_session).map(|(_, open)| open);
        let other = others.find(|open| open.done.as_ref().is_some_and(|(z, _)| *z == zxid));
        let other = other.map(|other| (other.op.clone(), other.done.take()));
        let taken = match other {
            Some((op, done)) => done.map(|(_, outcome)| (op, outcome)),
            None => self.mistaken.remove(&(session, zxid)),
        };
        let is_alike = |op: &Op| op.path() == open.op.path();
        open.done = taken
            .filter(|(op, outcome)| is_alike(op) || has_failed(outcome))
            .map(|(_, outcome)| (zxid, outcome));
    }

    /// A write was answered without becoming a transaction, rightly.
    pub fn passed_over(&mut self, session: SessionId, xid: i32) {
        if let Some(open) = self.open.remove(&(session, xid))
            && let Some((zxid, outcome)) = open.done
        {
            self.mistaken.insert((session, zxid), (open.op, outcome));
        }
        self.forget(session, xid);
    }

    fn forget(&mut self, session: SessionId, xid: i32) {
        for lane in self.lanes.get_mut(&session).into_iter().flatten() {
            lane.waiting.retain(|waiting| *waiting != xid);
        }
    }

    /// The session is closed for good: forgets what was lost with it.
    pub fn closed(&mut self, session: SessionId) {
        let of_session = (session, i32::MIN)..=(session, i32::MAX);
        let lost: Vec<_> = self
            .open
            .range(of_session)
            .filter(|(_, o)| o.lost)
            .map(|(key, _)| *key)
            .collect();
        for (session, xid) in lost {
            let lost = self.open.remove(&(session, xid)).expect("just seen");
            if let Some((zxid, outcome)) = lost.done.filter(|_| self.is_fitted(session)) {
                self.mistaken.insert((session, zxid), (lost.op, outcome));
            }
        }
        for lane in self.lanes.get_mut(&session).into_iter().flatten() {
            let open = &self.open;
            lane.waiting
                .retain(|xid| open.contains_key(&(session, *xid)));
        }
    }
}

/// A reply to sync, asked when `floor` was acknowledged.
pub fn judge_sync(floor: Zxid, reply: &Reply) -> Result<(), String> {
    if reply.result.is_ok() && reply.zxid < floor {
        return Err(format!(
            "sync answered at {}, but {floor} was acknowledged",
            reply.zxid
        ));
    }
    Ok(())
}

/// What the transaction should be and whether it is.
fn decide(
    model: &Model,
    by: Asker<'_>,
    header: &TxnHeader,
    txn: &Txn<'_>,
    (op, floor): (&Op, Zxid),
) -> Result<(Outcome, Draft, bool), String> {
    let (session, zxid) = (header.session, header.zxid);
    if let Txn::CloseSession { .. } = txn {
        if *op != Op::CloseSession {
            return Err(format!("{zxid} closes a session that asked for {op:?}"));
        }
        return Ok((Outcome::Done, model.draft_close(session, zxid), false));
    }
    // A leader that has not heard of a local session says no more than that.
    if let Some(Refused { outcome, code }) = refusal(txn)
        && (!model.is_local(session) || code == room::REFUSED)
    {
        let early = code == EXPIRED && model.is_alive(session);
        return Ok((outcome, model.draft_nothing(zxid), early));
    }
    if let Some(refused) = quota::refusal(model, by, (op, floor), (txn, zxid)) {
        return Ok((refused?, model.draft_nothing(zxid), false));
    }
    let (outcome, draft) = model.draft(by, op, zxid, header.time.0);
    if !says((&model.access, by.who), op, &outcome, header.kind, txn) {
        let who = by.who;
        return Err(format!(
            "{zxid}: {op:?} of {who:?} must lead to {outcome:?}, the log says {txn:?}"
        ));
    }
    // What a multi says of it is the leader's word; a server knows better about a single create.
    let outcome = match (refusal(txn), txn) {
        (Some(said), Txn::Multi(_)) => said.outcome,
        _ => outcome,
    };
    if !has_failed(&outcome) {
        model.quotas.judge(&draft.demands, floor, zxid)?;
    }
    Ok((outcome, draft, false))
}

fn has_failed(outcome: &Outcome) -> bool {
    match outcome {
        Outcome::Multi(outcomes) => outcomes.iter().any(has_failed),
        outcome => matches!(outcome, Outcome::Error(_)),
    }
}

/// What the leader says without a look at the tree.
struct Refused {
    outcome: Outcome,
    code: i32,
}

/// The leader's refusal of the session or of all writes, alone or inside a multi.
fn refusal(txn: &Txn<'_>) -> Option<Refused> {
    let refused = |code: i32| [EXPIRED, MOVED, room::REFUSED].contains(&code);
    let (outcome, code) = match txn {
        Txn::Error { code } => (Outcome::Error(*code), *code),
        Txn::Multi(subs) => {
            let (at, code) = multi::failure(txn)?;
            (failed_multi(subs.len(), at, code), code)
        }
        _ => return None,
    };
    refused(code).then_some(Refused { outcome, code })
}

/// A leader that does not know a local session says that it has expired.
fn is_said_by(code: i32, logged: i32) -> bool {
    code == logged || (code, logged) == (ON_LOCAL, EXPIRED)
}

fn mode_of(flags: Flags) -> CreateMode {
    match flags.ttl {
        _ if flags.container => CreateMode::Container,
        Some(ms) => CreateMode::Ttl(ms),
        None if flags.ephemeral => CreateMode::Ephemeral,
        None => CreateMode::Persistent,
    }
}

/// Is this transaction what `op` with this outcome leaves in the log?
fn says(
    (access, who): (&Access, &[Id]),
    asked: &Op,
    outcome: &Outcome,
    kind: i32,
    txn: &Txn<'_>,
) -> bool {
    let same = |a: Option<&[u8]>, b: &Option<Bytes>| a == b.as_deref();
    let is_list = |stored: &[Acl], asked: &[Acl]| {
        access
            .resolve(asked, who)
            .is_ok_and(|list| *list == *stored)
    };
    match (asked, outcome, txn) {
        (_, Outcome::Error(code), Txn::Error { code: logged }) => is_said_by(*code, *logged),
        // Before the failure of a multi: prepared, then undone.
        (_, Outcome::Error(0), _) => kind == asked.number(),
        (
            Op::Create {
                data, acl, flags, ..
            },
            Outcome::Created { path, .. },
            Txn::Create {
                path: logged,
                data: d,
                acl: a,
                mode,
                ..
            },
        ) => {
            let is_kind = *mode == mode_of(*flags);
            **path == **logged && same(*d, data) && is_list(a, acl) && is_kind
        }
        (Op::Delete { path, .. }, Outcome::Done, Txn::Delete { path: logged }) => {
            kind == op::DELETE && **path == **logged
        }
        (
            Op::SetData { path, data, .. },
            Outcome::Stat(stat),
            Txn::SetData {
                path: logged,
                data: d,
                version,
            },
        ) => **path == **logged && same(*d, data) && stat.version == *version,
        (
            Op::SetAcl { path, acl, .. },
            Outcome::Stat(stat),
            Txn::SetAcl {
                path: logged,
                acl: a,
                version,
            },
        ) => **path == **logged && is_list(a, acl) && stat.aversion == *version,
        (Op::Check { path, .. }, Outcome::Done, Txn::Check { path: logged, .. }) => {
            **path == **logged
        }
        (Op::Multi(ops), Outcome::Multi(outcomes), Txn::Multi(subs)) => {
            ops.len() == subs.len()
                && outcomes.len() == subs.len()
                && ops
                    .iter()
                    .zip(outcomes)
                    .zip(subs)
                    .all(|((o, w), s)| says((access, who), o, w, s.kind, &s.txn))
        }
        _ => false,
    }
}

/// Is this reply what the outcome looks like to the client?
fn agrees(outcome: &Outcome, result: &Result<Body, i32>) -> bool {
    match (outcome, result) {
        (Outcome::Error(code), Err(got)) => code == got,
        (Outcome::Created { path, stat }, Ok(Body::Created { path: p, stat: s })) => {
            **path == **p && s.is_none_or(|s| s == *stat)
        }
        (Outcome::Done, Ok(Body::Empty)) => true,
        (Outcome::Stat(stat), Ok(Body::Stat(s))) => stat == s,
        (Outcome::Multi(outcomes), Ok(Body::Multi(results))) => {
            outcomes.len() == results.len()
                && outcomes.iter().zip(results).all(|(o, r)| agrees(o, r))
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "linear_tests.rs"]
mod tests;
