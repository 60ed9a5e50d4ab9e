//! Rule `session-order`: a session never sees the past again, on whatever server: the zxids of its
//! replies never go down (ZooKeeper: single system image, by lastZxidSeen at reconnect). With the
//! rule that a write's reply carries its own zxid this includes that a session sees its own writes.
//! Rule `read-state`: a read shows exactly the state at the zxid of its reply.
//!
//! Sound: replies of one connection leave in order, each with the zxid that the server has applied
//! at that moment; a server that has applied less than the client has seen refuses the client. A
//! reply with an unknown zxid would show something uncommitted; servers are judged at the end of a
//! turn and clients hear of it later, so whatever is committed is known by then. Refused sessions
//! (-112) are judged by the session's clock elsewhere.

use std::collections::BTreeMap;

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::{ErrorCode, perms};

use super::access::{self, Asker};
use super::model::Model;
use crate::clients::ops::{Body, Op, Reply, SubReply};

pub const RULE: &str = "session-order";
pub const RULE_READ: &str = "read-state";

#[derive(Clone, Default, Debug)]
pub struct Sessions {
    seen: BTreeMap<SessionId, Zxid>,
}

impl Sessions {
    /// A client came with this session and says that it has seen `seen`, by this session or by one
    /// that it had before.
    pub fn opened(&mut self, session: SessionId, seen: Zxid) {
        let known = self.seen.entry(session).or_default();
        *known = seen.max(*known);
    }

    /// The newest that the session has seen.
    pub fn seen(&self, session: SessionId) -> Zxid {
        self.seen.get(&session).copied().unwrap_or_default()
    }

    /// Any reply with a zxid.
    pub fn replied(&mut self, session: SessionId, reply: &Reply) -> Result<(), String> {
        let seen = self.seen.entry(session).or_default();
        if reply.zxid < *seen {
            let now = reply.zxid;
            return Err(format!(
                "session {session} has seen {seen} and is answered at {now}"
            ));
        }
        *seen = reply.zxid;
        Ok(())
    }
}

/// Is the reply to this read what the model says at its zxid?
pub fn judge_read<'a>(
    model: &Model,
    by: impl Into<Asker<'a>>,
    op: &Op,
    reply: &Reply,
) -> Result<(), String> {
    let (by, zxid) = (by.into(), reply.zxid);
    if zxid > model.last() && zxid.counter() != 0 {
        return Err(format!(
            "{op:?} is answered at {zxid}; only {} is committed",
            model.last()
        ));
    }
    // The session's clock and the server's load are no matter of the tree.
    let is_throttled = model.throttles && reply.result == Err(ErrorCode::ThrottledOp.code());
    if reply.result == Err(ErrorCode::SessionExpired.code()) || is_throttled {
        return Ok(());
    }
    let Some(code) = refusal(model, by, op, zxid) else {
        return judge_body(model, by, op, reply);
    };
    if reply.result == Err(code.code()) {
        return Ok(());
    }
    Err(format!(
        "{op:?} of {:?} at {zxid} is answered {:?} instead of {code:?}",
        by.who, reply.result
    ))
}

fn refusal(model: &Model, by: Asker<'_>, op: &Op, zxid: Zxid) -> Option<ErrorCode> {
    let (path, needed) = match op {
        Op::Exists { path, .. }
        | Op::GetData { path, .. }
        | Op::GetChildren { path, .. }
        | Op::CountBelow { path } => (path, perms::READ),
        Op::GetAcl { path } => (path, perms::READ | perms::ADMIN),
        _ => return None,
    };
    match model.at(path, zxid) {
        None => Some(ErrorCode::NoNode),
        Some(node) => model.require_access(by, node, needed).err(),
    }
}

/// Each read of a multiRead, at the one zxid of the reply.
fn judge_each(model: &Model, by: Asker<'_>, ops: &[Op], results: &[SubReply], zxid: Zxid) -> bool {
    let judge = |(op, result): (&Op, &SubReply)| {
        let result = result.clone();
        judge_read(model, by, op, &Reply { zxid, result }).is_ok()
    };
    ops.len() == results.len() && ops.iter().zip(results).all(judge)
}

fn judge_body(model: &Model, by: Asker<'_>, op: &Op, reply: &Reply) -> Result<(), String> {
    if let (Op::WhoAmI, Ok(Body::Who(told))) = (op, &reply.result) {
        return access::judge_who(by.who, told);
    }
    let node = |path: &str| model.at(path, reply.zxid);
    let good = match (op, &reply.result) {
        (Op::Exists { path, .. }, Ok(Body::Stat(stat))) => {
            node(path).is_some_and(|n| n.stat() == *stat)
        }
        (Op::GetData { path, .. }, Ok(Body::Data { data, stat })) => {
            node(path).is_some_and(|n| n.stat() == *stat && n.data == *data)
        }
        (Op::GetChildren { path, .. }, Ok(Body::Children { names, stat })) => {
            node(path).is_some_and(|n| stat.is_none_or(|s| s == n.stat()))
                && model.has_children(path, reply.zxid, names)
        }
        (Op::GetAcl { path }, Ok(Body::Acl { acl, stat })) => node(path)
            .is_some_and(|n| n.stat() == *stat && model.access.shown(&n.acl, by.who) == *acl),
        (Op::Sync { path }, Ok(Body::Synced { path: p })) => **path == **p,
        (Op::CountBelow { path }, Ok(Body::Count(count))) => {
            i32::try_from(model.below(path, reply.zxid).count()) == Ok(*count)
        }
        (Op::Ephemerals { path }, Ok(Body::Paths(paths))) => {
            let mut got: Vec<&str> = paths.iter().map(|p| &**p).collect();
            got.sort_unstable();
            let owned = model.below("/", reply.zxid).filter(|(p, n)| {
                n.is_ephemeral() && n.owner == by.session.0 && p.starts_with(&**path)
            });
            owned.map(|(p, _)| p).eq(got)
        }
        (Op::MultiRead(ops), Ok(Body::Multi(results))) => {
            judge_each(model, by, ops, results, reply.zxid)
        }
        (Op::Ping | Op::SetWatches { .. } | Op::AddWatch { .. }, Ok(Body::Empty)) => true,
        // Judged with the watches.
        (Op::FindWatch { .. }, _) => true,
        _ => false,
    };
    if good {
        return Ok(());
    }
    let expected = match op {
        Op::GetChildren { path, .. } => format!("{:?}", model.children_at(path, reply.zxid)),
        Op::Exists { path, .. } | Op::GetData { path, .. } | Op::GetAcl { path } => {
            format!("{:?}", node(path))
        }
        Op::MultiRead(ops) => {
            let paths = ops.iter().filter_map(Op::path);
            format!(
                "{:?}",
                paths.map(|path| (path, node(path))).collect::<Vec<_>>()
            )
        }
        _ => "success".to_owned(),
    };
    Err(format!(
        "{op:?} of {:?} at {} is answered {:?}; the history gives {expected}",
        by.who, reply.zxid, reply.result
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;

    const S: SessionId = SessionId(7);

    fn reply(zxid: i64, result: Result<Body, i32>) -> Reply {
        Reply {
            zxid: Zxid(zxid),
            result,
        }
    }

    /// Session at 1, `/a` at 2, `/a/b` at 3.
    fn model() -> Model {
        let mut model = Model::new();
        let draft = model.draft_open(S, 100, Zxid(1));
        model.commit(draft);
        for (zxid, path) in [(2, "/a"), (3, "/a/b")] {
            let (_, draft) = model.draft(S, &create_op(path, false, false), Zxid(zxid), 0);
            model.commit(draft);
        }
        model
    }

    #[test]
    fn going_back_fires() {
        let mut s = Sessions::default();
        for zxid in [1, 1, 4] {
            s.replied(S, &reply(zxid, Ok(Body::Empty))).unwrap();
        }
        s.replied(SessionId(8), &reply(2, Ok(Body::Empty))).unwrap();
        assert!(s.replied(S, &reply(3, Ok(Body::Empty))).is_err());
    }

    #[test]
    fn reads_are_judged_at_their_zxid() {
        let m = model();
        let get = Op::GetData {
            path: "/a".into(),
            watch: false,
        };
        let stat = |zxid| m.at("/a", Zxid(zxid)).unwrap().stat();
        let data = |stat| Ok(Body::Data { data: None, stat });
        assert!(judge_read(&m, S, &get, &reply(1, Err(-101))).is_ok());
        assert!(judge_read(&m, S, &get, &reply(2, data(stat(2)))).is_ok());
        assert!(judge_read(&m, S, &get, &reply(3, data(stat(3)))).is_ok());
        assert!(judge_read(&m, S, &get, &reply(3, data(stat(2)))).is_err());
        assert!(judge_read(&m, S, &get, &reply(2, Err(-101))).is_err());
        assert!(judge_read(&m, S, &get, &reply(9, data(stat(3)))).is_err());
    }

    #[test]
    fn children_are_judged_at_their_zxid() {
        let m = model();
        let get = Op::GetChildren {
            path: "/a".into(),
            watch: false,
            with_stat: false,
        };
        let names = |n: &[&str]| {
            let names = n.iter().map(|s| (*s).to_owned()).collect();
            Ok(Body::Children { names, stat: None })
        };
        assert!(judge_read(&m, S, &get, &reply(2, names(&[]))).is_ok());
        assert!(judge_read(&m, S, &get, &reply(3, names(&["b"]))).is_ok());
        assert!(judge_read(&m, S, &get, &reply(2, names(&["b"]))).is_err());
        assert!(judge_read(&m, S, &get, &reply(3, names(&[]))).is_err());
        assert!(judge_read(&m, S, &get, &reply(3, names(&["b", "b"]))).is_err());
    }
}
