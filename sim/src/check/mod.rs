//! The checkers, one rule family per file, on in every run. This file only carries observations to
//! them: what servers do after each turn, what reaches the platter, what clients ask and are told.
//!
//! The first violation is kept and everything after it is ignored: a run ends there. Checkers never
//! influence the run, and draw nothing.

pub mod access;
pub mod atlas;
pub mod connections;
pub mod digest;
pub mod durability;
mod eager;
pub mod ephemerals;
pub mod epochs;
pub mod leadership;
pub mod linear;
pub mod liveness;
pub mod locals;
pub mod model;
pub mod multi;
pub mod prefix;
pub mod probe;
pub mod quota;
pub mod read_only;
mod replies;
pub mod room;
pub mod sequence;
pub mod session;
pub mod sweep;
pub mod unread;
pub mod view;
pub mod watches;

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use vivarium_core::boundary::Outbox;
use vivarium_core::ids::{Epoch, ServerId, SessionId, Zxid};
use vivarium_core::log::LogEntry;
use vivarium_core::node::Node;
use vivarium_core::wire::txn::{Txn, TxnRecord};

use self::access::Who;
use self::connections::{Connections, Welcomed};
use self::model::Model;
use self::view::{LogMove, View};
use crate::clients::ops::{Op, WatchEvent};
use crate::observe::{ClientId, Setup, SimTime, Violation};

/// What a client keeps of a request until its reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ticket {
    pub sent: SimTime,
    /// Newest zxid acknowledged to anybody at that moment.
    floor: Zxid,
    /// Who the client had claimed to be by then.
    who: Who,
}

/// One server as the checkers saw it last.
#[derive(Clone, Copy, Debug)]
struct Last {
    view: View,
    open: bool,
}

/// All checkers of one run.
#[derive(Debug)]
pub struct Checks {
    setup: Setup,
    model: Model,
    connections: Connections,
    /// Digest of the tree after each committed transaction.
    digests: Vec<u64>,
    /// Ends of sessions and failed multis, which every server's tree is asked about when it
    /// applies them.
    probes: BTreeMap<Zxid, probe::Probe>,
    prefix: prefix::Prefix,
    leadership: leadership::Leadership,
    epochs: epochs::Epochs,
    durability: durability::Durability,
    linear: linear::Linear,
    sequences: sequence::Sequences,
    sessions: session::Sessions,
    watches: watches::Watches,
    ephemerals: ephemerals::Ephemerals,
    liveness: liveness::Liveness,
    locals: locals::Locals,
    unread: unread::Unread,
    read_only: read_only::ReadOnly,
    room: room::Room,
    last: BTreeMap<ServerId, Last>,
    moves: Vec<LogMove>,
    events: u64,
    acknowledged: u64,
    first: Option<Violation>,
}

impl Checks {
    pub fn new(setup: &Setup) -> Self {
        let model = Model::under(&setup.rules);
        let watches = watches::Watches::new(&model.access);
        Self {
            setup: setup.clone(),
            model,
            connections: Connections::new(setup),
            digests: Vec::new(),
            probes: BTreeMap::new(),
            prefix: prefix::Prefix::default(),
            leadership: leadership::Leadership::default(),
            epochs: epochs::Epochs::default(),
            durability: durability::Durability::default(),
            linear: linear::Linear::new(&setup.rules),
            sequences: sequence::Sequences::default(),
            sessions: session::Sessions::default(),
            watches,
            ephemerals: ephemerals::Ephemerals::default(),
            liveness: liveness::Liveness::default(),
            locals: locals::Locals::new(&setup.rules),
            unread: unread::Unread::default(),
            read_only: read_only::ReadOnly::default(),
            room: room::Room::default(),
            last: BTreeMap::new(),
            moves: Vec::new(),
            events: 0,
            acknowledged: 0,
            first: None,
        }
    }

    /// The first broken promise. The run is over then.
    pub fn violation(&mut self) -> Option<Violation> {
        self.first.clone()
    }

    /// Observations so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Writes whose success a client has seen.
    pub fn writes_acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// Newest committed zxid.
    pub fn committed(&self) -> Zxid {
        self.prefix.last()
    }

    /// The replicated state by the specification.
    pub fn model(&self) -> &Model {
        &self.model
    }

    fn broken(&mut self, rule: &'static str, evidence: String) {
        let liveness = rule == liveness::RULE;
        self.first.get_or_insert(Violation {
            rule,
            evidence,
            liveness,
        });
    }

    fn note(&mut self, rule: &'static str, judged: Result<(), String>) {
        if let Err(evidence) = judged {
            self.broken(rule, evidence);
        }
    }

    fn noted(&mut self, judged: Result<(), prefix::Broken>) {
        if let Err((rule, evidence)) = judged {
            self.broken(rule, evidence);
        }
    }

    /// Counts an observation; false after a violation.
    fn goes_on(&mut self) -> bool {
        self.events += 1;
        self.first.is_none()
    }

    // Servers.

    /// After each flush, before any effect of `out` reaches anybody. `applied` are the
    /// transactions that went into the tree since the last flush.
    pub fn after_turn(
        &mut self,
        t: SimTime,
        id: ServerId,
        node: &Node,
        applied: &[LogEntry],
        out: &Outbox,
    ) {
        if !self.goes_on() {
            return;
        }
        let view = View::of(&node.status());
        let mut moves = std::mem::take(&mut self.moves);
        view::log_moves(out, &mut moves);
        let was_open = self.last.get(&id).is_some_and(|last| last.open);
        // A server that steps down may still have told clients what it committed in this turn.
        let shown = match (was_open, view.is_broadcasting()) {
            (_, true) => Zxid(i64::MAX),
            (true, false) => view::newest_shown(out),
            (false, false) => Zxid::ZERO,
        };
        self.turn(t, id, &view, &moves, applied, shown);
        self.moves = moves;
        for entry in applied {
            if let Some(probe) = self.probes.get(&entry.zxid) {
                let judged = probe.judge(id, entry.zxid, node.database().tree());
                self.noted(judged);
            }
        }
    }

    /// A turn without the machine's types. All applied up to `shown` is committed.
    fn turn(
        &mut self,
        t: SimTime,
        id: ServerId,
        view: &View,
        moves: &[LogMove],
        applied: &[LogEntry],
        shown: Zxid,
    ) {
        for step in moves {
            let judged = self.prefix.log_moved(id, step);
            self.noted(judged);
        }
        for entry in applied {
            let judged = self.prefix.applied(id, entry);
            self.noted(judged);
        }
        self.prefix.settled(id, view.applied);
        let judged = self.epochs.after_turn(id, view);
        self.note(epochs::RULE, judged);
        let became = match self.leadership.after_turn(t, id, view) {
            Ok(became) => became,
            Err(evidence) => {
                self.broken(leadership::RULE, evidence);
                false
            }
        };
        if shown > Zxid::ZERO {
            let mut new = Vec::new();
            let judged = self.prefix.claim(id, shown, &mut new);
            self.noted(judged);
            for (zxid, record) in new {
                self.commit(t, id, zxid, &record);
            }
        }
        if let Some(epoch) = view.established.filter(|_| became) {
            let judged = self.prefix.leads(id, epoch);
            self.noted(judged);
        }
        let open = view.is_broadcasting();
        self.room.serves(t, id, open);
        self.judge_proposals(t, id, moves);
        let reign = open.then_some(view.current);
        self.ephemerals.serves(t, id, reign);
        let last = self.last.insert(id, Last { view: *view, open });
        let known = |l: Last| (l.view.applied, l.view.digest, l.open);
        if last.map(known) != Some((view.applied, view.digest, open)) {
            self.judge_digest(id, view);
        }
    }

    fn judge_proposals(&mut self, t: SimTime, id: ServerId, moves: &[LogMove]) {
        let leads = self.leader().filter(|(leader, _)| *leader == id);
        if let Some(leads) = leads.filter(|_| !moves.is_empty()) {
            let setup = &self.setup;
            let is_calm = |from| self.are_calm(from);
            let judged = self.room.judge_proposals(setup, t, leads, moves, is_calm);
            self.note(room::RULE, judged);
        }
    }

    /// Has no server been touched by a fault since then?
    fn are_calm(&self, from: SimTime) -> bool {
        let is_calm = |id| self.ephemerals.is_calm(id, from);
        self.setup.servers().all(is_calm)
    }

    fn judge_digest(&mut self, id: ServerId, view: &View) {
        let zxid = view.applied;
        let position = self.prefix.position_of(zxid);
        let held = position
            .checked_sub(1)
            .map_or(Zxid::ZERO, |_| self.prefix.at(position - 1));
        let is_known = held == zxid || zxid.counter() == 0 && self.prefix.held_by(id) == position;
        if !is_known || self.digests.len() < position {
            return;
        }
        let model = match position {
            0 => Model::new().digest(),
            n => self.digests[n - 1],
        };
        let judged = digest::judge(id, zxid, view.digest, model);
        self.note(digest::RULE, judged);
    }

    /// The next transaction of the canonical history.
    fn commit(&mut self, t: SimTime, id: ServerId, zxid: Zxid, bytes: &Bytes) {
        if self.first.is_some() {
            return;
        }
        let Ok(record) = TxnRecord::decode(bytes) else {
            self.broken(
                prefix::RULE,
                format!("server {id} commits unreadable {zxid}"),
            );
            return;
        };
        if record.header.zxid != zxid {
            let inner = record.header.zxid;
            self.broken(
                prefix::RULE,
                format!("server {id} commits {inner} as {zxid}"),
            );
            return;
        }
        let judged = self.durability.judge(&self.setup, zxid, "committed");
        self.note(durability::RULE, judged);
        self.note(multi::RULE, multi::judge_txn(zxid, &record.txn));
        let session = record.header.session;
        let judged = self.locals.judge(&self.model, session, &record.txn);
        self.note(locals::RULE, judged.map_err(|e| format!("{zxid}: {e}")));
        let found = self.linear.find(&self.model, &record.header, &record.txn);
        let op = found.and_then(|found| self.linear.op(session, found));
        if let Some(op) = &op {
            let judged = self.sequences.committed(&self.model, op, &record.txn);
            self.note(sequence::RULE, judged);
        }
        let judged = ephemerals::judge_close(&self.model, session, &record.txn);
        self.note(ephemerals::RULE, judged);
        if let Some(path) = sweep::path(&record.header, &record.txn) {
            let judged = sweep::judge(&self.model, path, zxid, record.header.time.0);
            self.note(sweep::RULE, judged);
        }
        let judged = self
            .linear
            .committed(&self.model, &record.header, &record.txn, found);
        let verdict = match judged {
            Ok(verdict) => verdict,
            Err(evidence) => {
                self.broken(linear::RULE, evidence);
                return;
            }
        };
        self.remember(t, zxid, &record, op.as_deref());
        if let Some(session) = verdict.expired
            && self.model.is_alive(session)
        {
            self.expired(t, session, Some(zxid.epoch()));
        }
        let closes = matches!(record.txn, Txn::CloseSession { .. });
        self.watches.committed(zxid, closes, &verdict.draft.changes);
        if closes {
            self.linear.closed(session);
        }
        self.model.commit(verdict.draft);
        self.digests.push(self.model.digest());
        let judged = self.read_only.committed(&self.model, zxid);
        self.note(read_only::RULE, judged);
    }

    /// What other checkers want to know of a transaction later.
    fn remember(&mut self, t: SimTime, zxid: Zxid, record: &TxnRecord<'_>, op: Option<&Op>) {
        match (&record.txn, op) {
            (Txn::CreateSession { timeout_ms }, _) => {
                self.ephemerals
                    .created(t, record.header.session, *timeout_ms);
            }
            (Txn::CloseSession { .. }, _) => {
                self.probes
                    .insert(zxid, probe::Probe::Closed(record.header.session));
            }
            (txn, Some(op)) if multi::failure(txn).is_some() => {
                self.probes
                    .insert(zxid, probe::Probe::FailedMulti(multi::paths(op)));
            }
            _ => {}
        }
    }

    /// Who keeps the sessions' clocks, and since when.
    fn leader(&self) -> Option<(ServerId, SimTime)> {
        if self.setup.servers().count() == 1 {
            return self.setup.servers().next().map(|id| (id, SimTime::ZERO));
        }
        self.leadership.newest()
    }

    fn expired(&mut self, t: SimTime, session: SessionId, reign: Option<Epoch>) {
        let leader = self.leader();
        let judged = self
            .ephemerals
            .expired(&self.setup, t, session, leader, reign);
        self.note(ephemerals::RULE_EXPIRY, judged);
    }

    /// A server sends to a client of which it was told that it has not read so many bytes.
    pub fn sent_to_client(&mut self, _t: SimTime, id: ServerId, bytes: &[u8], told: usize) {
        let judged = unread::judge_sent(id, bytes, told);
        self.note(unread::RULE, judged);
    }

    /// After a turn: unread bytes by the server's own account, and as it was told of each client.
    pub fn after_turn_unread(
        &mut self,
        t: SimTime,
        id: ServerId,
        own: usize,
        told: &[(u32, usize)],
    ) {
        let leader = self.leader();
        let calm = &self.ephemerals;
        let is_calm = |from: SimTime| {
            leader.is_some_and(|(leader, since)| {
                since < from && calm.is_calm(leader, from) && calm.is_calm(id, from)
            })
        };
        let told = (own, told);
        let judged = self.unread.after_turn(&self.setup, t, id, told, is_calm);
        self.note(unread::RULE, judged);
    }

    /// The server is gone, with all that its disk had not synced.
    pub fn on_crash(&mut self, t: SimTime, id: ServerId) {
        self.on_fault(t, id, true);
        self.leadership.crashed(id);
        self.unread.crashed(id);
        self.ephemerals.serves(t, id, None);
        self.room.crashed(&self.setup, t, id);
        self.last.remove(&id);
    }

    /// A server hears that its disk has no room, or has some again.
    pub fn on_room(&mut self, t: SimTime, id: ServerId, low: bool) {
        if self.goes_on() {
            self.room.told(&self.setup, t, id, low);
            self.linear.may_be_refused();
        }
    }

    /// The server starts with what its disk gave back, before its first flush.
    pub fn on_restart(&mut self, t: SimTime, id: ServerId, node: &Node) {
        self.restarted(t, id, &View::of(&node.status()));
    }

    fn restarted(&mut self, t: SimTime, id: ServerId, view: &View) {
        self.on_fault(t, id, false);
        if !self.goes_on() {
            return;
        }
        self.prefix.restarted(id, view.applied);
        let (base, log) = self.prefix.log_of(id);
        self.durability.restarted(id, base, log);
        let judged = self.epochs.restarted(id, view);
        self.note(epochs::RULE, judged);
        self.judge_digest(id, view);
    }

    /// What the server's disk had reported as stable is gone, within what the atlas allows.
    pub fn on_forgot(&mut self, id: ServerId) {
        self.epochs.forgot(id);
    }

    /// See [`atlas::may_forget`].
    pub fn may_forget(
        &self,
        id: ServerId,
        last: Zxid,
        accepted: Epoch,
        others: &[atlas::Other],
    ) -> bool {
        atlas::may_forget(&self.setup, &self.durability, id, last, accepted, others)
    }

    /// A log record is on the platter now.
    pub fn on_durable(&mut self, _t: SimTime, id: ServerId, zxid: Zxid) {
        if self.goes_on() {
            self.durability.durable(id, zxid);
        }
    }

    /// The log on the platter ends with `after` now.
    pub fn on_truncated(&mut self, _t: SimTime, id: ServerId, after: Zxid) {
        if !self.goes_on() {
            return;
        }
        self.durability.truncated(id, after);
        let cut = format!("committed, and cut from server {id}");
        let lost = self
            .prefix
            .committed_after(after)
            .find_map(|zxid| self.durability.judge(&self.setup, zxid, &cut).err());
        self.note(durability::RULE, lost.map_or(Ok(()), Err));
    }

    /// A snapshot of this zxid stands for everything before it on the platter now.
    pub fn on_installed(&mut self, _t: SimTime, id: ServerId, zxid: Zxid, digest: u64) {
        if !self.goes_on() {
            return;
        }
        self.durability.installed(id, zxid);
        let position = self.prefix.position_of(zxid);
        if let Some(last) = position.checked_sub(1)
            && self.prefix.at(last) == zxid
        {
            let judged = digest::judge(id, zxid, digest, self.digests[last]);
            self.note(digest::RULE, judged);
        }
    }

    /// A fault that concerns the server begins or ends: a crash (reported by itself), a pause, a
    /// cut or stalled link, a clock that jumps or runs outside the drift of the setup.
    pub fn on_fault(&mut self, t: SimTime, id: ServerId, begins: bool) {
        self.ephemerals.fault(t, id, begins);
    }

    /// The last fault has healed; everything must serve within the bound.
    pub fn on_healed(&mut self, t: SimTime) {
        self.liveness.healed(t, self.prefix.last());
    }

    /// The run is over. `None` is a server that is down.
    pub fn at_end<'n>(
        &mut self,
        t: SimTime,
        nodes: impl IntoIterator<Item = (ServerId, Option<&'n Node>)>,
    ) {
        for (id, node) in nodes {
            if !self.goes_on() {
                return;
            }
            let view = node.map(|node| View::of(&node.status()));
            let judged =
                self.liveness
                    .judge_server(&self.setup, t, id, view.as_ref(), &self.prefix);
            self.note(liveness::RULE, judged);
            if let (Some(node), Some(view)) = (node, view)
                && view.is_broadcasting()
            {
                let judged = probe::judge_tree(id, &self.model, view.applied, node);
                self.noted(judged);
                let judged = quota::judge_server(id, &self.model, view.applied, node.database());
                self.note(quota::RULE, judged);
                let judged = quota::judge_memory(id, &self.setup.rules, node.database());
                self.note(quota::RULE_MEMORY, judged);
                if view.applied == self.model.last() {
                    let judged = locals::judge_table(id, &self.model, node.database());
                    self.note(locals::RULE_TABLE, judged);
                }
            }
        }
        if self.first.is_none() {
            let judged = self.liveness.judge_writes(&self.setup, t);
            self.note(liveness::RULE, judged);
            let leader = self.leader();
            let judged = self.ephemerals.overdue(&self.setup, t, &self.model, leader);
            if let Err(evidence) = judged {
                let rule = ephemerals::RULE_EXPIRY;
                self.first.get_or_insert(Violation {
                    rule,
                    evidence,
                    liveness: true,
                });
            }
        }
    }

    /// A znode that should have been swept, when the leader's wall clock shows `wall_ms`.
    pub fn overdue_sweep(&self, wall_ms: i64) -> Option<Violation> {
        let patience = 2 * self.setup.rules.container_check_interval;
        let patience_ms = i64::try_from(patience.as_millis()).unwrap_or(i64::MAX);
        let (path, node) = sweep::overdue(&self.model, wall_ms, patience_ms)?;
        let evidence = format!("{path} has not been swept at {wall_ms}: {node:?}");
        Some(Violation {
            rule: sweep::RULE_LATE,
            evidence,
            liveness: true,
        })
    }

    // Clients.

    /// A client's connection is accepted with a session, new or known.
    pub fn session_opened(&mut self, t: SimTime, client: ClientId, welcomed: &Welcomed) {
        if self.goes_on() {
            let who = self.connections.opened(client, welcomed);
            self.watches.connected(client, &who);
            let proposed = self.prefix.proposed();
            self.linear
                .connected(welcomed.session, welcomed.server, proposed);
            self.ephemerals.opened(t, client, welcomed);
            self.sessions.opened(welcomed.session, welcomed.seen);
            if self.locals.begins(welcomed) {
                self.model.locals.insert(welcomed.session);
                self.linear.is_local(welcomed.session);
            }
            if welcomed.read_only && !self.setup.rules.read_only_mode {
                let what = format!("{client} is served by {} without a quorum", welcomed.server);
                self.broken(read_only::RULE, what);
            }
        }
    }

    /// A server refuses a client's session as expired.
    pub fn session_refused(&mut self, t: SimTime, session: SessionId) {
        if self.goes_on() && self.model.is_alive(session) {
            self.expired(t, session, None);
        }
    }

    /// The client's connection is gone, whoever closed it.
    pub fn disconnected(&mut self, client: ClientId) {
        self.connections.closed(client);
        self.watches.disconnected(client);
        self.ephemerals.disconnected(client);
    }

    /// A request leaves a client. Keep the ticket for the reply.
    pub fn invoked(
        &mut self,
        t: SimTime,
        client: ClientId,
        session: SessionId,
        xid: i32,
        op: &Rc<Op>,
    ) -> Ticket {
        let who = self.connections.who(client);
        if self.goes_on() {
            self.ephemerals.sent(t, session, **op == Op::CloseSession);
            if op.is_write() && !self.is_read_only(client) {
                self.linear.invoked(session, xid, op, &who);
                self.liveness.asked(&self.setup, t);
                self.locals.asked(session, op);
            }
            self.claimed(client, op);
        }
        Ticket {
            sent: t,
            floor: self.linear.floor(),
            who,
        }
    }

    /// Nobody will hear the reply to this request any more.
    pub fn lost(&mut self, session: SessionId, xid: i32, op: &Op) {
        if op.is_write() {
            self.linear.lost(session, xid);
        }
    }

    /// A watch event reaches its client.
    pub fn event(&mut self, _t: SimTime, client: ClientId, event: &WatchEvent) {
        if self.goes_on() {
            let judged = self.watches.event(client, event);
            self.noted(judged);
        }
    }

    /// A client gets bytes that no server may send, or a reply out of turn.
    pub fn malformed(&mut self, t: SimTime, client: ClientId, what: &str) {
        if self.goes_on() {
            self.broken(RULE_PROTOCOL, format!("{client} at {t}: {what}"));
        }
    }
}

/// Rule: what a server sends is what the client protocol says, replies in the order of requests
/// (pings too: xid -2 answers the oldest ping).
pub const RULE_PROTOCOL: &str = "client-protocol";

#[cfg(test)]
pub(crate) mod tests;
