//! Rule `multi-atomic`: a multi happens as a whole or not at all (ZooKeeper: `multi` is all or
//! nothing, one zxid).
//!
//! Three places are judged. The committed transaction: exactly one real error, -2 for everything
//! after it; what was prepared before it stays in the log, as in ZooKeeper, and must be undone when
//! it is applied. The reply: 0 before the failure, -2 after it, no effects. And the tree of each
//! server that has just applied a failed multi: nothing that it names may carry its zxid, because
//! no other transaction has that zxid.

use vivarium_core::ids::Zxid;
use vivarium_core::wire::records::ErrorCode;
use vivarium_core::wire::txn::{SubTxn, Txn};

use crate::clients::ops::{Op, Path, SubReply};

pub const RULE: &str = "multi-atomic";

const AFTER: i32 = ErrorCode::RuntimeInconsistency.code();

/// The shape of the results: `None` for an effect, else the error code. `logged` effects before
/// the failure stand in the log as they were prepared; the error after them undoes them.
fn judge_shape(codes: &[Option<i32>], logged: bool) -> Result<(), String> {
    let Some(failed) = codes.iter().position(|c| c.is_some_and(|code| code != 0)) else {
        if codes.iter().any(Option::is_some) {
            return Err(format!("undone without a failure: {codes:?}"));
        }
        return Ok(());
    };
    let before = codes[..failed]
        .iter()
        .all(|c| *c == Some(0) || (logged && c.is_none()));
    let after = codes[failed + 1..].iter().all(|c| *c == Some(AFTER));
    if before && after {
        Ok(())
    } else {
        Err(format!("half a multi: {codes:?}"))
    }
}

pub fn judge_txn(zxid: Zxid, txn: &Txn<'_>) -> Result<(), String> {
    let Txn::Multi(subs) = txn else { return Ok(()) };
    judge_shape(&codes(subs), true).map_err(|e| format!("transaction {zxid}: {e}"))
}

/// The error of each operation in the log.
fn codes(subs: &[SubTxn<'_>]) -> Vec<Option<i32>> {
    let code = |sub: &SubTxn<'_>| match sub.txn {
        Txn::Error { code } => Some(code),
        _ => None,
    };
    subs.iter().map(code).collect()
}

/// Which operation of a logged multi failed, and why.
pub fn failure(txn: &Txn<'_>) -> Option<(usize, i32)> {
    let Txn::Multi(subs) = txn else { return None };
    let code = |c: Option<i32>| c.filter(|code| *code != 0);
    codes(subs)
        .into_iter()
        .enumerate()
        .find_map(|(i, c)| Some((i, code(c)?)))
}

pub fn judge_reply(zxid: Zxid, results: &[SubReply]) -> Result<(), String> {
    let codes: Vec<_> = results.iter().map(|r| r.as_ref().err().copied()).collect();
    judge_shape(&codes, false).map_err(|e| format!("reply to {zxid}: {e}"))
}

/// The paths that a multi's operations would have changed themselves.
pub fn paths(op: &Op) -> Vec<Path> {
    let Op::Multi(ops) = op else {
        return Vec::new();
    };
    let path = |op: &Op| match op {
        Op::Create { path, flags, .. } if !flags.sequential => Some(path.clone()),
        Op::SetData { path, .. } => Some(path.clone()),
        _ => None,
    };
    ops.iter().filter_map(path).collect()
}

/// What a server's tree says about a path of a failed multi: its czxid and mzxid.
pub fn judge_tree(zxid: Zxid, path: &str, found: Option<(Zxid, Zxid)>) -> Result<(), String> {
    match found {
        Some((czxid, mzxid)) if czxid == zxid || mzxid == zxid => Err(format!(
            "{path} carries the zxid of the failed multi {zxid}"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_txn;
    use crate::clients::ops::Body;

    fn error(code: i32) -> SubTxn<'static> {
        SubTxn {
            kind: -1,
            txn: Txn::Error { code },
        }
    }

    #[test]
    fn whole_transactions_pass_and_halves_fire() {
        let made = || SubTxn {
            kind: 1,
            txn: create_txn("/a"),
        };
        let judge = |subs| judge_txn(Zxid(1), &Txn::Multi(subs));
        assert!(judge(vec![made(), made()]).is_ok());
        assert!(judge(vec![]).is_ok());
        assert!(judge(vec![error(0), error(-101), error(-2)]).is_ok());
        assert!(judge(vec![made(), error(-101), error(-2)]).is_ok());
        assert!(judge(vec![made(), error(-101), error(-101)]).is_err());
        assert!(judge(vec![error(0), error(-101), made()]).is_err());
        assert!(judge(vec![error(0), error(0)]).is_err());
        assert_eq!(
            failure(&Txn::Multi(vec![made(), error(-101)])),
            Some((1, -101))
        );
        assert_eq!(failure(&Txn::Multi(vec![made()])), None);
    }

    #[test]
    fn replies_have_the_same_shape() {
        let judge = |results: &[SubReply]| judge_reply(Zxid(1), results);
        assert!(judge(&[Ok(Body::Empty), Ok(Body::Empty)]).is_ok());
        assert!(judge(&[Err(0), Err(-110), Err(-2)]).is_ok());
        assert!(judge(&[Ok(Body::Empty), Err(-110)]).is_err());
        assert!(judge(&[Err(0), Err(-110), Err(-110)]).is_err());
    }

    #[test]
    fn a_trace_in_the_tree_fires() {
        assert!(judge_tree(Zxid(5), "/a", None).is_ok());
        assert!(judge_tree(Zxid(5), "/a", Some((Zxid(1), Zxid(4)))).is_ok());
        assert!(judge_tree(Zxid(5), "/a", Some((Zxid(5), Zxid(5)))).is_err());
        assert!(judge_tree(Zxid(5), "/a", Some((Zxid(1), Zxid(5)))).is_err());
    }
}
