//! Rule `read-only`: a server without a quorum refuses what needs one, and nothing else; only
//! where the rules allow it, and only clients that asked for it, are served by one at all. What it
//! shows is one state of the history: the reads of one zxid are those of that zxid. That a client
//! never sees an older one than before, on whatever servers, is judged with its session's order.
//!
//! Such a server shows all that it has logged, as ZooKeeper's does; its newest transactions may
//! not be committed yet, or never. So a read is judged when its transaction is committed, at once
//! or later, and not at all if that never happens.

use std::collections::BTreeMap;
use std::rc::Rc;

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::ErrorCode;

use super::access::{Asker, Who};
use super::model::Model;
use super::session;
use crate::clients::ops::{Op, Reply};

pub const RULE: &str = "read-only";

const REFUSED: i32 = ErrorCode::NotReadOnly.code();

/// A read that was answered from a transaction that is not committed yet.
#[derive(Clone, Debug)]
struct Early {
    session: SessionId,
    who: Who,
    op: Rc<Op>,
    reply: Reply,
}

#[derive(Clone, Default, Debug)]
pub struct ReadOnly {
    early: BTreeMap<Zxid, Vec<Early>>,
}

/// Can it not be carried out without a quorum?
fn needs_quorum(op: &Op) -> bool {
    matches!(op, Op::Sync { .. }) || op.is_write() && *op != Op::CloseSession
}

/// Is what needs a quorum refused, and nothing else?
pub fn judge_refusal(op: &Op, reply: &Reply) -> Result<(), String> {
    let is_refused = reply.result == Err(REFUSED);
    if is_refused == needs_quorum(op) {
        return Ok(());
    }
    let result = &reply.result;
    Err(format!("{op:?} is answered {result:?} without a quorum"))
}

impl ReadOnly {
    /// A read was answered. `is_committed`: the zxid of the reply is part of the history.
    pub fn read(
        &mut self,
        model: &Model,
        by: Asker<'_>,
        op: &Op,
        reply: &Reply,
        is_committed: bool,
    ) -> Result<(), String> {
        if is_committed {
            return session::judge_read(model, by, op, reply);
        }
        if reply.zxid > model.last() {
            let early = Early {
                session: by.session,
                who: by.who.into(),
                op: Rc::new(op.clone()),
                reply: reply.clone(),
            };
            self.early.entry(reply.zxid).or_default().push(early);
        }
        Ok(())
    }

    /// A transaction has become part of the model.
    pub fn committed(&mut self, model: &Model, zxid: Zxid) -> Result<(), String> {
        let later = self.early.split_off(&Zxid(zxid.0 + 1));
        let mut upto = std::mem::replace(&mut self.early, later);
        for early in upto.remove(&zxid).unwrap_or_default() {
            let by = Asker {
                session: early.session,
                who: &early.who,
            };
            session::judge_read(model, by, &early.op, &early.reply)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;
    use crate::clients::ops::Body;

    const S: SessionId = SessionId(7);

    fn reply(zxid: i64, result: Result<Body, i32>) -> Reply {
        Reply {
            zxid: Zxid(zxid),
            result,
        }
    }

    #[test]
    fn exactly_what_needs_a_quorum_is_refused() {
        let judge = |op: &Op, result| judge_refusal(op, &reply(1, result)).is_ok();
        let write = create_op("/a", false, false);
        assert!(judge(&write, Err(REFUSED)) && !judge(&write, Err(-101)));
        assert!(judge(&Op::Ping, Ok(Body::Empty)) && !judge(&Op::Ping, Err(REFUSED)));
        assert!(judge(&Op::CloseSession, Ok(Body::Empty)));
        let sync = Op::Sync { path: "/".into() };
        assert!(!judge(&sync, Ok(Body::Synced { path: "/".into() })));
    }

    #[test]
    fn a_read_of_what_is_not_committed_is_judged_when_it_is() {
        let mut model = Model::new();
        let draft = model.draft_open(S, 100, Zxid(1));
        model.commit(draft);
        let exists = Op::Exists {
            path: "/a".into(),
            watch: false,
        };
        let mut r = ReadOnly::default();
        let missing = reply(2, Err(-101));
        r.read(&model, S.into(), &exists, &missing, false).unwrap();
        let (_, draft) = model.draft(S, &create_op("/a", false, false), Zxid(2), 0);
        model.commit(draft);
        assert!(r.committed(&model, Zxid(2)).is_err());
        assert!(r.read(&model, S.into(), &exists, &missing, true).is_err());
        assert!(r.committed(&model, Zxid(3)).is_ok());
    }
}
