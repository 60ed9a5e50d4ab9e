//! Rule `watch-told`: a connection hears of exactly the changes that its watches wait for, each in
//! one event, with the zxid and in the order of the history. Rule `watch-order`: an event comes
//! before any reply that shows the change (ZooKeeper programmer's guide: a client sees the watch
//! event before the new state). Rule `watch-catch-up`: setWatches after a reconnect tells at once
//! what was missed and sets the rest. Rule `watch-found`: checkWatches and removeWatches find what
//! is set, and nothing else.
//!
//! Each connection is followed by a list of its watches and by how far in the history it has been
//! told. A reply at a zxid means that everything up to there has been told; an event of a zxid,
//! everything before it. The events that are due in between follow from the history, change by
//! change: who watches the node itself, who watches above it for good, who watches its children.
//! Whoever may not read the node hears nothing, and loses a one-shot watch all the same. Nothing is
//! demanded by a deadline: pings carry zxids, so a lost event shows with the next reply.
//!
//! Sound: identities only become more, so who could read before an auth request must be told, and
//! who can not after it must not; in between a server may have decided either way. A server applies
//! a transaction, queues its events, and only then answers anything with that zxid on the
//! connection, in one stream; a read sets its watch at the zxid of its reply. The znodes that a
//! closed session leaves go in no order that anybody promises.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use vivarium_core::ids::Zxid;
use vivarium_core::wire::records::{ErrorCode, perms};

use super::access::{Access, Who};
use super::model::{Change, Model, Table, parent_of};
use super::prefix::Broken;
use crate::clients::ops::{Body, Op, Path, Reply, WatchEvent, event, watcher};
use crate::observe::ClientId;

pub const RULE: &str = "watch-told";
pub const RULE_ORDER: &str = "watch-order";
pub const RULE_CATCH_UP: &str = "watch-catch-up";
pub const RULE_FOUND: &str = "watch-found";

/// What a watch waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// Once: getData and exists.
    Data,
    /// Once: getChildren.
    Child,
    Persistent,
    Recursive,
}

/// An event that is due.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Due {
    zxid: Zxid,
    kind: i32,
    path: Path,
    /// The server may have decided before it knew who this is.
    unsure: bool,
}

/// One connection.
#[derive(Clone, Debug)]
struct Connection {
    set: BTreeSet<(Path, Kind)>,
    /// Who this is to the server: from the oldest that it may still go by to the one that was
    /// asked for last, each with whether that request was answered.
    who: VecDeque<(Who, bool)>,
    /// What it was told is not known: nothing is judged.
    blind: bool,
    /// All up to here has been made due.
    at: Zxid,
    due: VecDeque<Due>,
    /// Events made by setWatches, until its reply.
    caught_up: Vec<(i32, String)>,
}

/// The changes of one transaction, in order.
#[derive(Clone, Debug)]
struct Step {
    zxid: Zxid,
    /// The order of what it deletes is nobody's promise.
    unordered: bool,
    changes: Vec<Change>,
}

#[derive(Clone, Default, Debug)]
pub struct Watches {
    access: Access,
    connections: BTreeMap<ClientId, Connection>,
    history: Vec<Step>,
}

impl Connection {
    fn new() -> Self {
        Self {
            set: BTreeSet::new(),
            who: VecDeque::from([(Who::from([]), true)]),
            blind: false,
            at: Zxid::ZERO,
            due: VecDeque::new(),
            caught_up: Vec::new(),
        }
    }

    fn has(&self, path: &Path, kind: Kind) -> bool {
        self.set.contains(&(path.clone(), kind))
    }

    fn takes(&mut self, path: &Path, kind: Kind) -> bool {
        self.set.remove(&(path.clone(), kind))
    }

    /// Makes everything up to `zxid` due.
    fn advance(&mut self, access: &Access, history: &[Step], zxid: Zxid) {
        if zxid <= self.at {
            return;
        }
        let from = history.partition_point(|step| step.zxid <= self.at);
        for step in &history[from..] {
            if step.zxid > zxid {
                break;
            }
            if self.set.is_empty() {
                break;
            }
            for change in &step.changes {
                self.changed(access, step.zxid, change);
            }
        }
        self.at = zxid;
    }

    fn changed(&mut self, access: &Access, zxid: Zxid, change: &Change) {
        let path = &change.path;
        let waits = match change.table {
            Table::Data => {
                let once = self.takes(path, Kind::Data);
                once || self.has(path, Kind::Persistent) || self.is_below_recursive(path)
            }
            Table::Child => {
                let once = self.takes(path, Kind::Child);
                once || self.has(path, Kind::Persistent)
            }
        };
        let may_read = |known: Option<&(Who, bool)>| {
            known.is_some_and(|(who, _)| access.allows(&change.acl, perms::READ, who))
        };
        let due = Due {
            zxid,
            kind: change.kind,
            path: path.clone(),
            unsure: !may_read(self.who.front()),
        };
        // A deletion looks at both tables and is told once.
        let told = change.kind == event::DELETED
            && change.table == Table::Child
            && self.due.back() == Some(&due);
        if waits && may_read(self.who.back()) && !told {
            self.due.push_back(due);
        }
    }

    /// What is fired after a reply that came behind the answer to an auth request goes by the new
    /// identities.
    fn settle(&mut self) {
        while self.who.get(1).is_some_and(|(_, answered)| *answered) {
            self.who.pop_front();
        }
    }

    fn is_below_recursive(&self, path: &Path) -> bool {
        let mut at: &str = path;
        loop {
            if self.has(&at.into(), Kind::Recursive) {
                return true;
            }
            match parent_of(at) {
                Some(above) => at = above,
                None => return false,
            }
        }
    }
}

impl Watches {
    pub fn new(access: &Access) -> Self {
        Self {
            access: access.clone(),
            ..Self::default()
        }
    }

    /// The client has a new connection, and is nobody but who it is by where it is.
    pub fn connected(&mut self, client: ClientId, who: &Who) {
        let mut new = Connection::new();
        new.who = VecDeque::from([(who.clone(), true)]);
        self.connections.insert(client, new);
    }

    /// The client has asked to be known as these, from some moment before the reply on.
    pub fn claims(&mut self, client: ClientId, who: &Who) {
        if let Some(conn) = self.connections.get_mut(&client) {
            conn.who.push_back((who.clone(), false));
        }
    }

    /// What its server shows is not part of the history.
    pub fn is_blind(&mut self, client: ClientId) {
        if let Some(conn) = self.connections.get_mut(&client) {
            conn.blind = true;
        }
    }

    fn sees(&self, client: ClientId) -> bool {
        self.connections.get(&client).is_none_or(|conn| !conn.blind)
    }

    /// The reply to the oldest such request.
    pub fn is_known(&mut self, client: ClientId) {
        let conn = self.connections.get_mut(&client);
        let mut claims = conn.into_iter().flat_map(|conn| conn.who.iter_mut());
        if let Some((_, answered)) = claims.find(|(_, answered)| !answered) {
            *answered = true;
        }
    }

    /// The client's connection is gone, and its watches with it.
    pub fn disconnected(&mut self, client: ClientId) {
        self.connections.remove(&client);
    }

    /// A transaction's changes, when it becomes part of the canonical history.
    pub fn committed(&mut self, zxid: Zxid, unordered: bool, changes: &[Change]) {
        if !changes.is_empty() {
            let changes = changes.to_vec();
            self.history.push(Step {
                zxid,
                unordered,
                changes,
            });
        }
    }

    /// Any reply, before what it sets.
    pub fn replied(&mut self, client: ClientId, zxid: Zxid) -> Result<(), Broken> {
        if !self.sees(client) {
            return Ok(());
        }
        let Some(conn) = self.connections.get_mut(&client) else {
            return Ok(());
        };
        conn.advance(&self.access, &self.history, zxid);
        conn.due.retain(|due| !due.unsure || due.zxid > zxid);
        if zxid > Zxid::ZERO {
            conn.settle();
        }
        match conn.due.front() {
            Some(due) if due.zxid <= zxid => {
                let what = format!("{client} gets a reply at {zxid} before {due:?}");
                Err((RULE_ORDER, what))
            }
            _ => Ok(()),
        }
    }

    /// A good reply to a read or to addWatch: sets its watch.
    pub fn read(&mut self, client: ClientId, op: &Op, reply: &Reply) -> Result<(), Broken> {
        if !self.sees(client) {
            return Ok(());
        }
        let missing = reply.result == Err(ErrorCode::NoNode.code());
        let good = reply.result.is_ok();
        let (kind, path) = match op {
            Op::Exists { path, watch: true } if good || missing => (Kind::Data, path),
            Op::GetData { path, watch: true } if good => (Kind::Data, path),
            Op::GetChildren {
                path, watch: true, ..
            } if good => (Kind::Child, path),
            Op::AddWatch {
                path,
                recursive: false,
            } if good => (Kind::Persistent, path),
            Op::AddWatch {
                path,
                recursive: true,
            } if good => (Kind::Recursive, path),
            _ => return Ok(()),
        };
        self.set(client, kind, path, reply.zxid)
    }

    fn set(&mut self, client: ClientId, kind: Kind, path: &Path, at: Zxid) -> Result<(), Broken> {
        let conn = self
            .connections
            .entry(client)
            .or_insert_with(Connection::new);
        if conn.set.is_empty() && conn.due.is_empty() {
            conn.at = conn.at.max(at);
        }
        if at < conn.at {
            let told = conn.at;
            let what = format!("{client} sets a watch at {at} after it was told of {told}");
            return Err((RULE_ORDER, what));
        }
        conn.set.insert((path.clone(), kind));
        Ok(())
    }

    /// An event arrives.
    pub fn event(&mut self, client: ClientId, got: &WatchEvent) -> Result<(), Broken> {
        if !self.sees(client) {
            return Ok(());
        }
        let conn = self
            .connections
            .entry(client)
            .or_insert_with(Connection::new);
        if got.zxid == Zxid(-1) {
            conn.caught_up.push((got.kind, got.path.clone()));
            return Ok(());
        }
        conn.advance(&self.access, &self.history, got.zxid);
        let path: Path = got.path.as_str().into();
        let is_it = |due: &Due| due.zxid == got.zxid && due.kind == got.kind && due.path == path;
        let at = self.history.partition_point(|step| step.zxid < got.zxid);
        let unordered = self
            .history
            .get(at)
            .is_some_and(|step| step.zxid == got.zxid && step.unordered);
        if let Some(found) = conn.due.iter().position(is_it) {
            // What was unsure and is passed over was not told.
            let mut index = 0;
            conn.due.retain(|due| {
                index += 1;
                let may_come = unordered && due.zxid == got.zxid;
                index > found || !due.unsure || may_come
            });
        }
        let found = conn.due.iter().position(is_it);
        match (found, conn.due.front()) {
            (Some(0), _) => {}
            (Some(_), Some(front)) if unordered && front.zxid == got.zxid => {}
            (Some(_), Some(front)) => {
                let what = format!("{client} is told {got:?} before {front:?}");
                return Err((RULE_ORDER, what));
            }
            (None, _) | (Some(_), None) => {
                let set = &conn.set;
                let what = format!("{client} is told {got:?}; it waits for {set:?}");
                return Err((RULE, what));
            }
        }
        conn.due.remove(found.expect("it was found"));
        Ok(())
    }

    /// The reply to checkWatches or removeWatches.
    pub fn find(&mut self, client: ClientId, op: &Op, reply: &Reply) -> Result<(), Broken> {
        let Op::FindWatch { path, kind, remove } = op else {
            return Ok(());
        };
        let is_throttled = reply.result == Err(ErrorCode::ThrottledOp.code());
        if is_throttled || !self.sees(client) {
            return Ok(());
        }
        let conn = self
            .connections
            .entry(client)
            .or_insert_with(Connection::new);
        let kinds: &[Kind] = match *kind {
            watcher::CHILD => &[Kind::Child],
            watcher::DATA => &[Kind::Data],
            watcher::PERSISTENT => &[Kind::Persistent],
            watcher::RECURSIVE => &[Kind::Recursive],
            _ => &[Kind::Data, Kind::Child, Kind::Persistent, Kind::Recursive],
        };
        let found = kinds.iter().any(|kind| conn.has(path, *kind));
        let wanted = match found {
            true => Ok(Body::Empty),
            false => Err(ErrorCode::NoWatcher.code()),
        };
        if reply.result != wanted {
            let set = &conn.set;
            let result = &reply.result;
            let what = format!("{client}: {op:?} is answered {result:?}; set are {set:?}");
            return Err((RULE_FOUND, what));
        }
        if *remove {
            for kind in kinds {
                conn.takes(path, *kind);
            }
        }
        Ok(())
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
            persistent,
            recursive,
        } = op
        else {
            return Ok(());
        };
        if !self.sees(client) {
            return Ok(());
        }
        let zxid = reply.zxid;
        let conn = self
            .connections
            .entry(client)
            .or_insert_with(Connection::new);
        let mut got = std::mem::take(&mut conn.caught_up);
        if reply.result.is_err() {
            return Ok(());
        }
        let mut told: Vec<(i32, String)> = Vec::new();
        let mut keep: Vec<(Kind, &Path)> = Vec::new();
        for path in data {
            match model.at(path, zxid) {
                None => told.push((event::DELETED, path.to_string())),
                Some(n) if n.mzxid > *relative => {
                    told.push((event::DATA_CHANGED, path.to_string()));
                }
                Some(_) => keep.push((Kind::Data, path)),
            }
        }
        for path in exist {
            match model.at(path, zxid) {
                None => keep.push((Kind::Data, path)),
                Some(_) => told.push((event::CREATED, path.to_string())),
            }
        }
        for path in child {
            match model.at(path, zxid) {
                None => told.push((event::DELETED, path.to_string())),
                Some(n) if n.pzxid > *relative => {
                    told.push((event::CHILDREN_CHANGED, path.to_string()));
                }
                Some(_) => keep.push((Kind::Child, path)),
            }
        }
        keep.extend(persistent.iter().map(|path| (Kind::Persistent, path)));
        keep.extend(recursive.iter().map(|path| (Kind::Recursive, path)));
        got.sort_unstable();
        told.sort_unstable();
        if got != told {
            let what = format!("{client}: {op:?} at {zxid} tells {got:?} instead of {told:?}");
            return Err((RULE_CATCH_UP, what));
        }
        keep.into_iter()
            .try_for_each(|(kind, path)| self.set(client, kind, path, zxid))
    }
}

#[cfg(test)]
#[path = "watches_tests.rs"]
mod tests;
