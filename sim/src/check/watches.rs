//! Rule `watch-once`: every event answers a watch that is set, tells the first change after it was
//! set, and removes it. Rule `watch-order`: the event comes before any reply that shows the change,
//! and events come in zxid order (ZooKeeper programmer's guide: one-time triggers; a client sees
//! the watch event before the new state). Rule `watch-catch-up`: setWatches after a reconnect tells
//! at once what was missed and sets the rest.
//!
//! A watch is set by a read at the zxid of its reply, on that connection, and is gone with the
//! connection. The first change after that zxid follows from the canonical history; the watch is
//! due with it. A reply at or after a due watch's zxid breaks the promise; so does an event that
//! no due watch explains. Sound: the server applies a transaction, queues its events and only then
//! answers anything with that zxid on the connection, in one FIFO stream. No event is demanded by
//! a deadline: pings carry zxids, so a lost event shows with the next reply. Simulated clients
//! never take away READ, so no event is filtered.

use std::collections::{BTreeMap, VecDeque};

use vivarium_core::ids::Zxid;

use super::model::{Change, Model, Table};
use super::prefix::Broken;
use crate::clients::ops::{Op, Path, Reply, WatchEvent, event};
use crate::observe::ClientId;

pub const RULE: &str = "watch-once";
pub const RULE_ORDER: &str = "watch-order";
pub const RULE_CATCH_UP: &str = "watch-catch-up";

#[derive(Clone, Debug)]
struct Due {
    zxid: Zxid,
    kind: i32,
    table: Table,
    path: Path,
}

/// The watches of one connection.
#[derive(Clone, Default, Debug)]
struct Connection {
    /// Set and not told; true if the change has been committed.
    set: BTreeMap<(Table, Path), bool>,
    /// By zxid.
    due: VecDeque<Due>,
    /// Events made by setWatches, until its reply.
    caught_up: Vec<(i32, String)>,
    newest: Zxid,
}

#[derive(Clone, Default, Debug)]
pub struct Watches {
    connections: BTreeMap<ClientId, Connection>,
    /// Who waits for a change of a path.
    waiting: BTreeMap<Path, Vec<(ClientId, Table)>>,
}

impl Watches {
    /// The client's connection is gone, and its watches with it.
    pub fn disconnected(&mut self, client: ClientId) {
        let Some(old) = self.connections.remove(&client) else {
            return;
        };
        for (_, path) in old.set.keys() {
            if let Some(list) = self.waiting.get_mut(path) {
                list.retain(|(c, _)| *c != client);
            }
        }
    }

    /// A transaction's changes, when it becomes part of the canonical history.
    pub fn committed(&mut self, zxid: Zxid, changes: &[Change]) {
        for change in changes {
            let Some(list) = self.waiting.get_mut(&change.path) else {
                continue;
            };
            list.retain(|(client, table)| {
                if *table != change.table {
                    return true;
                }
                if let Some(conn) = self.connections.get_mut(client) {
                    conn.set.insert((*table, change.path.clone()), true);
                    let path = change.path.clone();
                    conn.due.push_back(Due {
                        zxid,
                        kind: change.kind,
                        table: *table,
                        path,
                    });
                }
                false
            });
        }
    }

    /// Any reply, before what it sets.
    pub fn replied(&mut self, client: ClientId, zxid: Zxid) -> Result<(), Broken> {
        let Some(conn) = self.connections.get(&client) else {
            return Ok(());
        };
        match conn.due.front() {
            Some(due) if due.zxid <= zxid => {
                let Due {
                    zxid: changed,
                    kind,
                    path,
                    ..
                } = due;
                let what = format!(
                    "{client} gets a reply at {zxid} before event {kind} on {path} of {changed}"
                );
                Err((RULE_ORDER, what))
            }
            _ => Ok(()),
        }
    }

    /// A good reply to a read: sets its watch.
    pub fn read(&mut self, model: &Model, client: ClientId, op: &Op, reply: &Reply) {
        let missing = reply.result == Err(vivarium_core::wire::records::ErrorCode::NoNode.code());
        let (table, path) = match op {
            Op::Exists { path, watch: true } if reply.result.is_ok() || missing => {
                (Table::Data, path)
            }
            Op::GetData { path, watch: true } if reply.result.is_ok() => (Table::Data, path),
            Op::GetChildren {
                path, watch: true, ..
            } if reply.result.is_ok() => (Table::Child, path),
            _ => return,
        };
        self.set(model, client, table, path, reply.zxid);
    }

    fn set(&mut self, model: &Model, client: ClientId, table: Table, path: &Path, zxid: Zxid) {
        let conn = self.connections.entry(client).or_default();
        let key = (table, path.clone());
        if conn.set.contains_key(&key) {
            return;
        }
        match model.first_event(path, table, zxid) {
            Some((zxid, kind)) => {
                conn.set.insert(key, true);
                let at = conn.due.partition_point(|d| d.zxid <= zxid);
                conn.due.insert(
                    at,
                    Due {
                        zxid,
                        kind,
                        table,
                        path: path.clone(),
                    },
                );
            }
            None => {
                conn.set.insert(key, false);
                self.waiting
                    .entry(path.clone())
                    .or_default()
                    .push((client, table));
            }
        }
    }

    /// An event arrives.
    pub fn event(&mut self, client: ClientId, got: &WatchEvent) -> Result<(), Broken> {
        let conn = self.connections.entry(client).or_default();
        if got.zxid == Zxid(-1) {
            conn.caught_up.push((got.kind, got.path.clone()));
            return Ok(());
        }
        let WatchEvent { zxid, kind, path } = got;
        if *zxid < conn.newest {
            let newest = conn.newest;
            let what = format!("{client} gets event {kind} on {path} of {zxid} after {newest}");
            return Err((RULE_ORDER, what));
        }
        conn.newest = *zxid;
        if let Some(first) = conn.due.front().filter(|d| d.zxid < *zxid) {
            let what = format!(
                "{client} gets event {kind} on {path} of {zxid} before that on {} of {}",
                first.path, first.zxid
            );
            return Err((RULE_ORDER, what));
        }
        let mut explained = false;
        let set = &mut conn.set;
        conn.due.retain(|due| {
            let same = due.zxid == *zxid && due.kind == *kind && *due.path == **path;
            // One deletion answers both tables with one event; else one event, one watch.
            let takes = same && (!explained || *kind == event::DELETED);
            if takes {
                set.remove(&(due.table, due.path.clone()));
                explained = true;
            }
            !takes
        });
        if explained {
            return Ok(());
        }
        let what = format!("{client} gets event {kind} on {path} of {zxid}; no watch explains it");
        Err((RULE, what))
    }

    /// The reply to setWatches.
    pub fn set_watches(
        &mut self,
        model: &Model,
        client: ClientId,
        op: &Op,
        reply: &Reply,
    ) -> Result<(), Broken> {
        let Op::SetWatches {
            relative,
            data,
            exist,
            child,
        } = op
        else {
            return Ok(());
        };
        let zxid = reply.zxid;
        let conn = self.connections.entry(client).or_default();
        let mut got = std::mem::take(&mut conn.caught_up);
        if reply.result.is_err() {
            return Ok(());
        }
        let mut told: Vec<(i32, String)> = Vec::new();
        let mut keep: Vec<(Table, &Path)> = Vec::new();
        for path in data {
            match model.at(path, zxid) {
                None => told.push((event::DELETED, path.to_string())),
                Some(n) if n.mzxid > *relative => {
                    told.push((event::DATA_CHANGED, path.to_string()));
                }
                Some(_) => keep.push((Table::Data, path)),
            }
        }
        for path in exist {
            match model.at(path, zxid) {
                None => keep.push((Table::Data, path)),
                Some(_) => told.push((event::CREATED, path.to_string())),
            }
        }
        for path in child {
            match model.at(path, zxid) {
                None => told.push((event::DELETED, path.to_string())),
                Some(n) if n.pzxid > *relative => {
                    told.push((event::CHILDREN_CHANGED, path.to_string()));
                }
                Some(_) => keep.push((Table::Child, path)),
            }
        }
        got.sort_unstable();
        told.sort_unstable();
        if got != told {
            let what = format!("{client}: {op:?} at {zxid} tells {got:?} instead of {told:?}");
            return Err((RULE_CATCH_UP, what));
        }
        for (table, path) in keep {
            self.set(model, client, table, path, zxid);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;
    use crate::clients::ops::Body;
    use vivarium_core::ids::SessionId;

    const C: ClientId = ClientId(1);
    const S: SessionId = SessionId(7);

    struct World {
        model: Model,
        watches: Watches,
        next: i64,
    }

    impl World {
        fn new() -> Self {
            let mut model = Model::new();
            let draft = model.draft_open(S, 100, Zxid(1));
            model.commit(draft);
            Self {
                model,
                watches: Watches::default(),
                next: 1,
            }
        }

        fn run(&mut self, op: &Op) {
            self.next += 1;
            let (_, draft) = self.model.draft(S, op, Zxid(self.next), 0);
            self.watches.committed(Zxid(self.next), &draft.changes);
            self.model.commit(draft);
        }

        fn read(&mut self, op: &Op, zxid: i64, found: bool) {
            let result = if found { Ok(Body::Empty) } else { Err(-101) };
            self.watches.read(
                &self.model,
                C,
                op,
                &Reply {
                    zxid: Zxid(zxid),
                    result,
                },
            );
        }

        fn event(&mut self, zxid: i64, kind: i32, path: &str) -> Result<(), Broken> {
            self.watches.event(
                C,
                &WatchEvent {
                    zxid: Zxid(zxid),
                    kind,
                    path: path.into(),
                },
            )
        }
    }

    fn exists(path: &str) -> Op {
        Op::Exists {
            path: path.into(),
            watch: true,
        }
    }

    fn children(path: &str) -> Op {
        Op::GetChildren {
            path: path.into(),
            watch: true,
            with_stat: false,
        }
    }

    fn delete(path: &str) -> Op {
        Op::Delete {
            path: path.into(),
            version: -1,
        }
    }

    #[test]
    fn event_then_reply_passes_once() {
        let mut w = World::new();
        w.read(&exists("/a"), 1, false);
        w.run(&create_op("/a", false, false));
        assert!(w.watches.replied(C, Zxid(1)).is_ok());
        w.event(2, event::CREATED, "/a").unwrap();
        assert!(w.watches.replied(C, Zxid(2)).is_ok());
        assert_eq!(w.event(2, event::CREATED, "/a").unwrap_err().0, RULE);
    }

    #[test]
    fn a_reply_that_overtakes_the_event_fires() {
        let mut w = World::new();
        w.read(&exists("/a"), 1, false);
        w.run(&create_op("/a", false, false));
        assert_eq!(w.watches.replied(C, Zxid(2)).unwrap_err().0, RULE_ORDER);
    }

    #[test]
    fn a_watch_set_in_the_past_is_due_at_once() {
        let mut w = World::new();
        w.run(&create_op("/a", false, false));
        w.run(&create_op("/a/b", false, false));
        w.read(&children("/a"), 2, true);
        assert!(w.watches.replied(C, Zxid(2)).is_ok());
        assert!(w.watches.replied(C, Zxid(3)).is_err());
        w.event(3, event::CHILDREN_CHANGED, "/a").unwrap();
    }

    #[test]
    fn one_deletion_answers_both_tables() {
        let mut w = World::new();
        w.run(&create_op("/a", false, false));
        w.read(&exists("/a"), 2, true);
        w.read(&children("/a"), 2, true);
        w.run(&delete("/a"));
        w.event(3, event::DELETED, "/a").unwrap();
        assert!(w.watches.replied(C, Zxid(3)).is_ok());
        assert_eq!(w.event(3, event::DELETED, "/a").unwrap_err().0, RULE);
    }

    #[test]
    fn wrong_events_fire() {
        let mut w = World::new();
        w.run(&create_op("/a", false, false));
        w.read(&exists("/a"), 2, true);
        w.read(&children("/"), 2, true);
        w.run(&create_op("/b", false, false));
        w.run(&delete("/a"));
        assert_eq!(w.event(4, event::DELETED, "/a").unwrap_err().0, RULE_ORDER);
        let mut w = World::new();
        w.read(&exists("/a"), 1, false);
        w.run(&create_op("/a", false, false));
        assert_eq!(w.event(2, event::DATA_CHANGED, "/a").unwrap_err().0, RULE);
        let mut w = World::new();
        w.read(&exists("/a"), 1, false);
        w.watches.disconnected(C);
        w.run(&create_op("/a", false, false));
        assert_eq!(w.event(2, event::CREATED, "/a").unwrap_err().0, RULE);
    }

    #[test]
    fn catching_up_tells_what_was_missed_and_sets_the_rest() {
        let mut w = World::new();
        for path in ["/a", "/b"] {
            w.run(&create_op(path, false, false)); // 2 and 3
        }
        let set = Op::SetWatches {
            relative: Zxid(2),
            data: vec!["/a".into(), "/b".into()],
            exist: vec!["/c".into()],
            child: vec!["/gone".into()],
        };
        let reply = Reply {
            zxid: Zxid(3),
            result: Ok(Body::Empty),
        };
        w.event(-1, event::DELETED, "/gone").unwrap();
        w.event(-1, event::DATA_CHANGED, "/b").unwrap();
        w.watches.set_watches(&w.model, C, &set, &reply).unwrap();
        w.run(&create_op("/c", false, false));
        w.event(4, event::CREATED, "/c").unwrap();
        let broken = w
            .watches
            .set_watches(&w.model, C, &set, &reply)
            .unwrap_err();
        assert_eq!(broken.0, RULE_CATCH_UP);
    }
}
