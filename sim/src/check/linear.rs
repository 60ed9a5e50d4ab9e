//! Rule `linearizable-writes`: writes take effect one at a time, between their invocation and their
//! reply, in zxid order, and do what the specification says (ZooKeeper: linearizable writes, FIFO
//! client order; ZAB: local and global primary order). Rule `sync-fresh`: a reply to sync shows all
//! writes that were acknowledged to anybody before it was asked.
//!
//! The zxid is the witness, so no search is needed. Each committed transaction must be a request
//! that some client made and that was not committed before; must have a zxid over that of every
//! write acknowledged before the request was made; must say what the model says at that place in
//! the order. Effects of one session keep the order of its requests. A reply must name the
//! transaction and its outcome. A request whose connection broke may commit later or never.
//!
//! Two refusals are not predicted, because they depend on what the leader knows and not on the
//! tree: an expired session (judged by the session's clock elsewhere) and a moved one.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::{ErrorCode, op};
use vivarium_core::wire::txn::{CreateMode, SubTxn, Txn, TxnHeader};

use super::model::{Draft, Model, Outcome};
use crate::clients::ops::{Body, Flags, Op, Reply};

pub const RULE: &str = "linearizable-writes";
pub const RULE_SYNC: &str = "sync-fresh";

const EXPIRED: i32 = ErrorCode::SessionExpired.code();
const MOVED: i32 = ErrorCode::SessionMoved.code();

#[derive(Clone, Debug)]
struct Open {
    op: Rc<Op>,
    /// Newest zxid acknowledged to anybody when this was asked.
    floor: Zxid,
    /// Nobody waits for the reply any more.
    lost: bool,
    done: Option<(Zxid, Outcome)>,
}

/// What a committed transaction means to the other checkers.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub draft: Draft,
    /// The request, if a client asked.
    pub op: Option<Rc<Op>>,
    /// The leader claims that this session has expired.
    pub expired: Option<SessionId>,
}

#[derive(Clone, Default, Debug)]
pub struct Linear {
    open: BTreeMap<(SessionId, i32), Open>,
    /// Newest cxid with an effect, by session.
    newest: BTreeMap<SessionId, i32>,
    floor: Zxid,
}

impl Linear {
    /// Newest zxid that was acknowledged to any client.
    pub fn floor(&self) -> Zxid {
        self.floor
    }

    /// What a client asked and was not committed yet, as far as anybody knows.
    pub fn request(&self, session: SessionId, cxid: i32) -> Option<Rc<Op>> {
        self.open.get(&(session, cxid)).map(|open| open.op.clone())
    }

    pub fn invoked(&mut self, session: SessionId, cxid: i32, op: &Rc<Op>) {
        let open = Open {
            op: op.clone(),
            floor: self.floor,
            lost: false,
            done: None,
        };
        self.open.insert((session, cxid), open);
    }

    /// The connection is gone; the request may still take effect.
    pub fn lost(&mut self, session: SessionId, cxid: i32) {
        if let Some(open) = self.open.get_mut(&(session, cxid)) {
            open.lost = true;
            if open.done.is_some() {
                self.open.remove(&(session, cxid));
            }
        }
    }

    /// The next transaction of the canonical history.
    pub fn committed(
        &mut self,
        model: &Model,
        header: &TxnHeader,
        txn: &Txn<'_>,
    ) -> Result<Verdict, String> {
        let (session, zxid) = (header.session, header.zxid);
        match txn {
            Txn::CreateSession { timeout_ms } => {
                if model.session(session).is_some() {
                    return Err(format!("{zxid} gives out session {session} again"));
                }
                let draft = model.draft_open(session, *timeout_ms, zxid);
                return Ok(Verdict {
                    draft,
                    op: None,
                    expired: None,
                });
            }
            Txn::CloseSession { .. } if !self.open.contains_key(&(session, header.cxid)) => {
                let draft = model.draft_close(session, zxid);
                return Ok(Verdict {
                    draft,
                    op: None,
                    expired: Some(session),
                });
            }
            _ => {}
        }
        let Some(open) = self.open.get_mut(&(session, header.cxid)) else {
            let cxid = header.cxid;
            return Err(format!(
                "{zxid} is request {cxid} of session {session}: nobody asked"
            ));
        };
        if let Some((before, _)) = &open.done {
            return Err(format!(
                "{zxid} is the request that was committed as {before} before"
            ));
        }
        if zxid <= open.floor {
            let floor = open.floor;
            return Err(format!(
                "{zxid} was asked after {floor} had been acknowledged"
            ));
        }
        let op = open.op.clone();
        let (outcome, draft, expired) = decide(model, header, txn, &op)?;
        if open.lost {
            self.open.remove(&(session, header.cxid));
        } else {
            open.done = Some((zxid, outcome.clone()));
        }
        if !matches!(outcome, Outcome::Error(_)) {
            let newest = self.newest.entry(session).or_insert(i32::MIN);
            if *newest > header.cxid {
                let what = format!("{zxid}: request {} of session {session}", header.cxid);
                return Err(format!("{what} takes effect after its request {newest}"));
            }
            *newest = header.cxid;
        }
        Ok(Verdict {
            draft,
            op: Some(op),
            expired: expired.then_some(session),
        })
    }

    /// A client gets the reply to a write.
    pub fn replied(&mut self, session: SessionId, cxid: i32, reply: &Reply) -> Result<(), String> {
        let Some(open) = self.open.remove(&(session, cxid)) else {
            return Err(format!(
                "reply to request {cxid} of session {session}: nobody waits"
            ));
        };
        let Some((zxid, outcome)) = open.done else {
            if matches!(reply.result, Err(EXPIRED | MOVED)) {
                return Ok(());
            }
            return Err(format!(
                "reply {:?} at {} to {:?}, which was never committed",
                reply.result, reply.zxid, open.op
            ));
        };
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
    header: &TxnHeader,
    txn: &Txn<'_>,
    op: &Op,
) -> Result<(Outcome, Draft, bool), String> {
    let (session, zxid) = (header.session, header.zxid);
    if let Txn::CloseSession { .. } = txn {
        if *op != Op::CloseSession {
            return Err(format!("{zxid} closes a session that asked for {op:?}"));
        }
        return Ok((Outcome::Done, model.draft_close(session, zxid), false));
    }
    if let Some((outcome, expired)) = refusal(txn) {
        let early = expired && model.is_alive(session);
        return Ok((outcome, model.draft_nothing(zxid), early));
    }
    let (outcome, draft) = model.draft(session, op, zxid, header.time.0);
    if !says(op, &outcome, header.kind, txn) {
        return Err(format!(
            "{zxid}: {op:?} must lead to {outcome:?}, the log says {txn:?}"
        ));
    }
    Ok((outcome, draft, false))
}

/// The leader's refusal of the session, alone or inside a multi.
fn refusal(txn: &Txn<'_>) -> Option<(Outcome, bool)> {
    let refused = |code: i32| code == EXPIRED || code == MOVED;
    match txn {
        Txn::Error { code } if refused(*code) => Some((Outcome::Error(*code), *code == EXPIRED)),
        Txn::Multi(subs) => {
            let code = |sub: &SubTxn<'_>| match sub.txn {
                Txn::Error { code } => Some(code),
                _ => None,
            };
            let codes: Option<Vec<i32>> = subs.iter().map(code).collect();
            let codes = codes?;
            let why = codes.iter().copied().find(|c| refused(*c))?;
            let outcome = Outcome::Multi(codes.into_iter().map(Outcome::Error).collect());
            Some((outcome, why == EXPIRED))
        }
        _ => None,
    }
}

/// Is this transaction what `op` with this outcome leaves in the log?
fn says(asked: &Op, outcome: &Outcome, kind: i32, txn: &Txn<'_>) -> bool {
    let same = |a: Option<&[u8]>, b: &Option<Bytes>| a == b.as_deref();
    match (asked, outcome, txn) {
        (_, Outcome::Error(code), Txn::Error { code: logged }) => code == logged,
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
            let Flags { ephemeral, .. } = *flags;
            let wanted = if ephemeral {
                CreateMode::Ephemeral
            } else {
                CreateMode::Persistent
            };
            **path == **logged && same(*d, data) && **acl == **a && *mode == wanted
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
        ) => **path == **logged && **acl == **a && stat.aversion == *version,
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
                    .all(|((o, w), s)| says(o, w, s.kind, &s.txn))
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
