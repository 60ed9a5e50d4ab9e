//! Rule `swept-early`: a container goes only when it has had children and has none, or, where the
//! rules say so, when it never had any and was not changed for long enough; a TTL node only
//! when it has no child and was not changed for its whole TTL, by the wall clock of the leader that
//! proposes it; nothing else is ever swept (ZooKeeper: `ContainerManager`). Rule `swept-late`: what
//! is due goes in the end.
//!
//! Sound: the sweeper's transaction is judged in the state that the history has at its place, by
//! the time that it carries. For the other rule only the caller knows when enough time has passed.

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::op;
use vivarium_core::wire::txn::{Txn, TxnHeader};

use super::model::{Model, Znode};

pub const RULE: &str = "swept-early";
pub const RULE_LATE: &str = "swept-late";

/// Is this a deletion that no client asked for?
pub fn path<'a>(header: &TxnHeader, txn: &'a Txn<'_>) -> Option<&'a str> {
    let Txn::Delete { path } = txn else {
        return None;
    };
    let swept = header.kind == op::DELETE_CONTAINER && header.session == SessionId(0);
    swept.then_some(&**path)
}

/// May a leader whose wall clock shows `wall_ms` sweep it?
fn is_due(model: &Model, node: &Znode, wall_ms: i64) -> bool {
    if node.num_children > 0 {
        return false;
    }
    let age_ms = wall_ms - node.mtime;
    match node.ttl() {
        Some(ttl) => age_ms > ttl,
        None if node.cversion > 0 => node.is_container(),
        None => node.is_container() && model.never_used_ms.is_some_and(|most| age_ms > most),
    }
}

pub fn judge(model: &Model, path: &str, zxid: Zxid, wall_ms: i64) -> Result<(), String> {
    match model.now(path) {
        None => Err(format!("{zxid} sweeps {path}, which does not exist")),
        Some(node) if is_due(model, node, wall_ms) => Ok(()),
        Some(node) => Err(format!(
            "{zxid} sweeps {path} when the leader's clock shows {wall_ms}; it is {node:?}"
        )),
    }
}

/// A znode that is due although the leader's wall clock has shown its time for `patience_ms`.
pub fn overdue(model: &Model, wall_ms: i64, patience_ms: i64) -> Option<(&str, &Znode)> {
    let all = model.below("/", model.last());
    let mut due = all.filter(|(_, node)| {
        let by_age = node.ttl().is_some() || node.cversion == 0;
        let wall_ms = if by_age {
            wall_ms - patience_ms
        } else {
            wall_ms
        };
        is_due(model, node, wall_ms)
    });
    due.next()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;
    use crate::clients::ops::{Flags, Op};

    const S: SessionId = SessionId(7);

    struct World {
        model: Model,
        next: i64,
    }

    impl World {
        /// `/t` with a TTL of 100 ms and the container `/k`, made at 1000 ms.
        fn new() -> Self {
            let mut model = Model::new();
            let draft = model.draft_open(S, 100, Zxid(1));
            model.commit(draft);
            let mut world = Self { model, next: 1 };
            for (path, container, ttl) in [("/t", false, Some(100)), ("/k", true, None)] {
                let mut op = create_op(path, false, false);
                if let Op::Create { flags, .. } = &mut op {
                    *flags = Flags {
                        container,
                        ttl,
                        ..Flags::PLAIN
                    };
                }
                world.run(&op);
            }
            world
        }

        fn run(&mut self, op: &Op) {
            self.next += 1;
            let (_, draft) = self.model.draft(S, op, Zxid(self.next), 1_000);
            self.model.commit(draft);
        }

        fn judge(&self, path: &str, wall_ms: i64) -> bool {
            judge(&self.model, path, Zxid(99), wall_ms).is_ok()
        }
    }

    #[test]
    fn a_ttl_node_lives_for_its_ttl_and_with_its_children() {
        let mut w = World::new();
        assert!(!w.judge("/t", 1_100) && w.judge("/t", 1_101));
        assert!(overdue(&w.model, 1_150, 50).is_none());
        assert_eq!(overdue(&w.model, 1_151, 50).unwrap().0, "/t");
        w.run(&create_op("/t/a", false, false));
        assert!(!w.judge("/t", 9_000) && overdue(&w.model, 9_000, 0).is_none());
    }

    #[test]
    fn a_container_lives_until_its_last_child_has_gone() {
        let mut w = World::new();
        assert!(!w.judge("/k", 9_000), "it has had no child yet");
        w.run(&create_op("/k/a", false, false));
        assert!(!w.judge("/k", 9_000));
        w.run(&Op::Delete {
            path: "/k/a".into(),
            version: -1,
        });
        assert!(w.judge("/k", 1_000));
        assert_eq!(overdue(&w.model, 1_000, 500).unwrap().0, "/k");
    }

    #[test]
    fn a_container_that_nobody_used_goes_where_that_is_asked_for() {
        let mut w = World::new();
        w.model.never_used_ms = Some(500);
        assert!(!w.judge("/k", 1_500) && w.judge("/k", 1_501));
        assert!(overdue(&w.model, 1_700, 300).is_none_or(|(path, _)| path != "/k"));
        w.run(&create_op("/k/a", false, false));
        assert!(!w.judge("/k", 9_000));
    }

    #[test]
    fn other_znodes_are_never_swept() {
        let mut w = World::new();
        w.run(&create_op("/a", false, false));
        w.run(&create_op("/e", true, false));
        assert!(!w.judge("/a", 9_000) && !w.judge("/e", 9_000) && !w.judge("/none", 9_000));
    }
}
