//! Hand-made histories of writes, good and bad.

use super::*;
use crate::check::tests::{create_op, create_txn};
use vivarium_core::time::WallMs;

const S: SessionId = SessionId(7);

struct World {
    linear: Linear,
    model: Model,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            linear: Linear::default(),
            model: Model::new(),
        };
        world
            .commit(1, 0, &Txn::CreateSession { timeout_ms: 100 })
            .unwrap();
        world.linear.connected(S, ServerId(1), Zxid(0));
        world
    }

    fn ask(&mut self, cxid: i32, op: Op) {
        let nobody: Who = Rc::new([]);
        self.linear.invoked(S, cxid, &Rc::new(op), &nobody);
    }

    fn commit(&mut self, zxid: i64, cxid: i32, txn: &Txn<'_>) -> Result<Verdict, String> {
        let kind = match txn {
            Txn::Delete { .. } => op::DELETE,
            _ => op::CREATE,
        };
        let header = TxnHeader {
            session: S,
            cxid,
            zxid: Zxid(zxid),
            time: WallMs(5),
            kind,
        };
        let found = self.linear.find(&self.model, &header, txn);
        let verdict = self.linear.committed(&self.model, &header, txn, found)?;
        self.model.commit(verdict.draft.clone());
        Ok(verdict)
    }

    fn reply(&mut self, zxid: i64, cxid: i32, result: Result<Body, i32>) -> Result<(), String> {
        self.linear.replied(
            S,
            cxid,
            &Reply {
                zxid: Zxid(zxid),
                result,
            },
        )
    }
}

fn created(path: &str) -> Result<Body, i32> {
    Ok(Body::Created {
        path: path.into(),
        stat: None,
    })
}

#[test]
fn a_plain_history_passes() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.ask(2, create_op("/a", false, false));
    w.commit(2, 1, &create_txn("/a")).unwrap();
    w.commit(3, 2, &Txn::Error { code: -110 }).unwrap();
    w.reply(2, 1, created("/a")).unwrap();
    w.reply(3, 2, Err(-110)).unwrap();
    assert_eq!(w.linear.floor(), Zxid(3));
}

#[test]
fn a_wrong_outcome_fires_in_the_log_and_in_the_reply() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    assert!(w.commit(2, 1, &Txn::Error { code: -110 }).is_err());
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    assert!(w.commit(2, 1, &create_txn("/b")).is_err());
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.commit(2, 1, &create_txn("/a")).unwrap();
    assert!(w.reply(2, 1, Err(-110)).is_err());
}

#[test]
fn a_reply_without_its_commit_fires() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    assert!(w.reply(2, 1, created("/a")).is_err());
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.commit(2, 1, &create_txn("/a")).unwrap();
    assert!(w.reply(1, 1, created("/a")).is_err());
}

/// The session was closed through a later connection; what its first one still sends, long lost, is
/// no request of the later one.
#[test]
fn a_late_request_of_the_first_connection_is_none_of_a_later_one() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.linear.lost(S, 1);
    w.linear.connected(S, ServerId(2), Zxid(1));
    w.ask(2, create_op("/b", false, false));
    w.linear.closed(S);
    let header = TxnHeader {
        session: S,
        cxid: 1,
        zxid: Zxid(9),
        time: WallMs(5),
        kind: op::ERROR,
    };
    let none = Txn::Error { code: -112 };
    assert!(w.linear.find(&w.model, &header, &none).is_none());
    let through_two = TxnHeader {
        cxid: 2 << 24 | 5,
        ..header
    };
    assert!(w.linear.find(&w.model, &through_two, &none).is_some());
}

#[test]
fn real_time_order_is_kept() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.commit(5, 1, &create_txn("/a")).unwrap();
    w.reply(5, 1, created("/a")).unwrap();
    w.ask(2, create_op("/b", false, false));
    let header = TxnHeader {
        session: S,
        cxid: 2,
        zxid: Zxid(4),
        time: WallMs(5),
        kind: op::CREATE,
    };
    let txn = create_txn("/b");
    let found = w.linear.find(&w.model, &header, &txn);
    assert!(w.linear.committed(&w.model, &header, &txn, found).is_err());
}

#[test]
fn numbers_of_renewed_connections_are_the_servers() {
    let number = |n: i32| 2 << 24 | n;
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.linear.lost(S, 1);
    w.linear.connected(S, ServerId(2), Zxid(1));
    w.ask(2, create_op("/b", false, false));
    w.ask(3, create_op("/c", false, false));
    w.commit(2, number(7), &create_txn("/b")).unwrap();
    w.commit(3, number(8), &create_txn("/c")).unwrap();
    w.reply(2, 2, created("/b")).unwrap();
    w.reply(3, 3, created("/c")).unwrap();
    assert!(w.commit(4, number(9), &create_txn("/d")).is_err());
    w.ask(4, create_op("/d", false, false));
    assert!(
        w.commit(4, 3 << 24, &create_txn("/d")).is_err(),
        "another server's number"
    );
}

#[test]
fn a_transaction_belongs_to_the_connection_that_was_open_when_it_was_proposed() {
    let number = |n: i32| (2 << 24) | n;
    let history = || {
        let mut w = World::new();
        w.linear.connected(S, ServerId(2), Zxid(1));
        w.ask(1, create_op("/x/y", false, false));
        w.linear.lost(S, 1);
        w.linear.connected(S, ServerId(2), Zxid(5));
        w.ask(2, create_op("/x/y", false, false));
        w
    };
    let error = Txn::Error { code: -101 };
    // Proposed before the second connection: the first one's.
    let mut w = history();
    w.commit(5, number(7), &error).unwrap();
    assert!(w.reply(5, 2, Err(-101)).is_err());
    // Proposed after it: the first one's request never got through.
    let mut w = history();
    w.commit(6, number(7), &error).unwrap();
    w.reply(6, 2, Err(-101)).unwrap();
}

#[test]
fn requests_of_a_session_keep_their_order_and_happen_once() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.ask(2, create_op("/b", false, false));
    assert!(w.commit(2, 2, &create_txn("/b")).is_err());
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.commit(2, 1, &create_txn("/a")).unwrap();
    assert!(w.commit(3, 1, &Txn::Error { code: -110 }).is_err());
    assert!(w.commit(4, 9, &create_txn("/x")).is_err());
}

#[test]
fn a_lost_request_may_commit_once() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.linear.lost(S, 1);
    w.commit(2, 1, &create_txn("/a")).unwrap();
    assert!(w.commit(3, 1, &create_txn("/a")).is_err());
}

#[test]
fn refusals_of_the_session_are_reported_not_predicted() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    let verdict = w.commit(2, 1, &Txn::Error { code: EXPIRED }).unwrap();
    assert_eq!(verdict.expired, Some(S));
    assert!(w.model.now("/a").is_none());
    let verdict = w.commit(3, 0, &Txn::CloseSession { paths: None }).unwrap();
    assert_eq!(verdict.expired, Some(S));
    assert!(!w.model.is_alive(S));
    w.commit(4, 9, &Txn::CloseSession { paths: None }).unwrap();
}

#[test]
fn an_end_that_nobody_asked_for_fires() {
    let mut w = World::new();
    assert!(w.commit(2, 9, &Txn::CloseSession { paths: None }).is_err());
}

#[test]
fn a_stale_sync_fires() {
    let reply = |zxid| Reply {
        zxid: Zxid(zxid),
        result: Ok(Body::Synced { path: "/".into() }),
    };
    assert!(judge_sync(Zxid(4), &reply(4)).is_ok());
    assert!(judge_sync(Zxid(4), &reply(3)).is_err());
}
