//! Hand-made observations for all checkers, and whole histories through [`Checks`].

use std::collections::BTreeSet;
use std::time::Duration;

use vivarium_core::config::Rules;
use vivarium_core::ids::Epoch;
use vivarium_core::node::RoleName;
use vivarium_core::time::WallMs;
use vivarium_core::wire::records::{Acl, op, perms};
use vivarium_core::wire::txn::{CreateMode, TxnHeader};

use super::*;
use crate::clients::ops::{Body, Flags, Reply};

/// `voters` servers counted from 1, and one observer: 9.
pub(crate) fn setup(voters: i64) -> Setup {
    Setup {
        seed: 0,
        voters: (1..=voters).map(ServerId).collect(),
        observers: BTreeSet::from([ServerId(9)]),
        clients: 1,
        tick: Duration::from_millis(100),
        init_limit: 10,
        sync_limit: 5,
        session_timeout_min: Duration::from_millis(200),
        session_timeout_max: Duration::from_secs(2),
        drift_ppm_max: 1_000,
        rules: Rules::default(),
        liveness_bound: Duration::from_secs(10),
    }
}

/// A server that has done nothing yet.
pub(crate) fn view() -> View {
    View {
        role: RoleName::Looking,
        serving: false,
        established: None,
        accepted: Epoch(0),
        current: Epoch(0),
        applied: Zxid::ZERO,
        logged: Zxid::ZERO,
        digest: 0,
    }
}

pub(crate) fn create_op(path: &str, ephemeral: bool, sequential: bool) -> Op {
    Op::Create {
        path: path.into(),
        data: None,
        acl: Rc::new([Acl::world(perms::ALL)]),
        flags: Flags {
            ephemeral,
            sequential,
            ..Flags::PLAIN
        },
        with_stat: false,
    }
}

pub(crate) fn create_txn(path: &str) -> Txn<'static> {
    Txn::Create {
        path: path.to_owned().into(),
        data: None,
        acl: vec![Acl::world(perms::ALL)],
        mode: CreateMode::Persistent,
        parent_cversion: 1,
    }
}

const S: SessionId = SessionId(7);
const C: ClientId = ClientId(1);

fn z(counter: u32) -> Zxid {
    Zxid::new(Epoch(1), counter)
}

fn entry(zxid: Zxid, cxid: i32, txn: Txn<'_>) -> LogEntry {
    let kind = match txn {
        Txn::CreateSession { .. } => op::CREATE_SESSION,
        Txn::Error { .. } => op::ERROR,
        _ => op::CREATE,
    };
    let header = TxnHeader {
        session: S,
        cxid,
        zxid,
        time: WallMs(5),
        kind,
    };
    let mut record = Vec::new();
    TxnRecord {
        header,
        txn,
        digest: None,
    }
    .encode(&mut record);
    LogEntry {
        zxid,
        record: Bytes::from(record),
    }
}

/// Three servers, 1 leads epoch 1, one session.
struct World {
    checks: Checks,
    /// Digests by the model, as honest servers compute them.
    shadow: Model,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            checks: Checks::new(&setup(3)),
            shadow: Model::new(),
        };
        let draft = world.shadow.draft_open(S, 1_000, z(1));
        world.shadow.commit(draft);
        world.deliver(
            entry(z(1), 0, Txn::CreateSession { timeout_ms: 1_000 }),
            &[1, 2, 3],
            &[1, 2, 3],
        );
        let welcomed = Welcomed {
            asked: SimTime(1),
            server: ServerId(2),
            session: S,
            timeout_ms: 1_000,
            seen: Zxid::ZERO,
            is_new: true,
            read_only: false,
        };
        world.checks.session_opened(SimTime(1), C, &welcomed);
        world
    }

    /// Some servers sync the record, some apply it.
    fn deliver(&mut self, entry: LogEntry, synced: &[i64], applied: &[i64]) {
        let zxid = entry.zxid;
        for id in synced {
            self.checks.on_durable(SimTime(1), ServerId(*id), zxid);
        }
        for id in applied {
            let leads = *id == 1;
            let view = View {
                role: if leads {
                    RoleName::Leading
                } else {
                    RoleName::Following
                },
                serving: true,
                established: leads.then_some(Epoch(1)),
                accepted: Epoch(1),
                current: Epoch(1),
                applied: zxid,
                logged: zxid,
                digest: self.shadow.digest(),
            };
            let moves = [LogMove::Append {
                zxid,
                record: entry.record.clone(),
            }];
            let all = Zxid(i64::MAX);
            let applied = std::slice::from_ref(&entry);
            self.checks
                .turn(SimTime(1), ServerId(*id), &view, &moves, applied, all);
        }
    }

    fn ask(&mut self, xid: i32, op: Op) -> (Rc<Op>, Ticket) {
        let op = Rc::new(op);
        let ticket = self.checks.invoked(SimTime(2), C, S, xid, &op);
        (op, ticket)
    }

    /// What honest servers do with the request.
    fn shadow(&mut self, op: &Op, zxid: Zxid) {
        let (_, draft) = self.shadow.draft(S, op, zxid, 5);
        self.shadow.commit(draft);
    }

    fn rule(&mut self) -> Option<&'static str> {
        self.checks.violation().map(|v| v.rule)
    }
}

#[test]
fn a_good_history_passes() {
    let mut w = World::new();
    let (op, ticket) = w.ask(1, create_op("/a", false, false));
    w.shadow(&op, z(2));
    w.deliver(entry(z(2), 1, create_txn("/a")), &[1, 3], &[1, 2, 3]);
    let result = Ok(Body::Created {
        path: "/a".into(),
        stat: None,
    });
    let reply = Reply { zxid: z(2), result };
    w.checks.replied(SimTime(3), C, S, 1, &op, &ticket, &reply);
    let (op, ticket) = w.ask(
        2,
        Op::Exists {
            path: "/a".into(),
            watch: false,
        },
    );
    let stat = w.shadow.now("/a").unwrap().stat();
    let reply = Reply {
        zxid: z(2),
        result: Ok(Body::Stat(stat)),
    };
    w.checks.replied(SimTime(3), C, S, 2, &op, &ticket, &reply);
    assert_eq!(w.checks.violation(), None);
    assert_eq!(w.checks.committed(), z(2));
}

#[test]
fn a_commit_on_one_platter_fires() {
    let mut w = World::new();
    let (op, _) = w.ask(1, create_op("/a", false, false));
    w.shadow(&op, z(2));
    w.deliver(entry(z(2), 1, create_txn("/a")), &[1], &[1]);
    assert_eq!(w.rule(), Some(durability::RULE));
}

#[test]
fn another_tree_fires() {
    let mut w = World::new();
    w.ask(1, create_op("/a", false, false));
    w.deliver(entry(z(2), 1, create_txn("/a")), &[1, 2], &[1]);
    assert_eq!(w.rule(), Some(digest::RULE));
}

#[test]
fn a_transaction_that_nobody_asked_for_fires() {
    let mut w = World::new();
    w.deliver(entry(z(2), 1, create_txn("/a")), &[1, 2], &[1]);
    assert_eq!(w.rule(), Some(linear::RULE));
}

#[test]
fn a_second_leader_fires() {
    let mut w = World::new();
    let view = View {
        role: RoleName::Leading,
        established: Some(Epoch(1)),
        accepted: Epoch(1),
        current: Epoch(1),
        ..view()
    };
    w.checks
        .turn(SimTime(2), ServerId(2), &view, &[], &[], Zxid::ZERO);
    assert_eq!(w.rule(), Some(leadership::RULE));
}

#[test]
fn a_restart_with_another_tree_fires() {
    let restart = |digest| {
        let mut w = World::new();
        let view = View {
            accepted: Epoch(1),
            current: Epoch(1),
            applied: z(1),
            digest,
            ..view()
        };
        w.checks.on_crash(SimTime(2), ServerId(2));
        w.checks.restarted(SimTime(3), ServerId(2), &view);
        w.rule()
    };
    assert_eq!(restart(Model::new().digest()), None);
    assert_eq!(restart(1), Some(digest::RULE));
}
