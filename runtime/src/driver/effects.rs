//! Carries out what a turn decided, in the order of the outbox. Every action is named here: a new
//! one does not compile until it is dealt with.

use std::rc::Rc;
use std::time::Instant;

use vivarium_core::boundary::{Action, CloseReason, Event, Fault, FourLetterWord, Outbox, Whom};
use vivarium_core::ids::ConnId;
use vivarium_core::node::Status;
use vivarium_core::time;

use super::connection::Connection;
use super::describe;
use super::dial;
use super::disk::{DiskThreads, Job};
use super::hub::Hub;
use super::quiet::Quiet;
use crate::config::Settings;
use crate::words::{self, ClientLine, Latency, View};

/// The driver's hands.
#[derive(Debug)]
pub(super) struct Effects {
    hub: Rc<Hub>,
    settings: Rc<Settings>,
    disk: DiskThreads,
    /// Writes of this turn.
    jobs: Vec<Job>,
    /// Connections that this turn wrote to.
    dirty: Vec<Rc<Connection>>,
    /// Connections that this turn closed.
    closing: Vec<Rc<Connection>>,
    /// When each answer's bytes had come in, for the answers of this turn.
    answered: Vec<time::Instant>,
    latency: Latency,
    quiet: Quiet,
    started: Instant,
    leading: Option<Instant>,
}

impl Effects {
    pub(super) fn new(hub: Rc<Hub>, settings: Rc<Settings>, disk: DiskThreads) -> Self {
        Self {
            hub,
            settings,
            disk,
            jobs: Vec::new(),
            dirty: Vec::new(),
            closing: Vec::new(),
            answered: Vec::new(),
            latency: Latency::default(),
            quiet: Quiet::default(),
            started: Instant::now(),
            leading: None,
        }
    }

    /// Performs all actions up to a halt, if there is one, and says why.
    ///
    /// Writes reach the disk thread before bytes reach a socket: what is sent never gets ahead of
    /// what was written before it. Sockets are written once each, at the end.
    pub(super) fn perform(&mut self, out: &Outbox, status: impl Fn() -> Status) -> Option<Fault> {
        let mut halted = None;
        for action in out.actions() {
            if let Action::Halt(fault) = action {
                halted = Some(fault.clone());
                break;
            }
            self.one(action, out, &status);
        }
        self.disk.write(&mut self.jobs);
        for connection in self.dirty.drain(..) {
            connection.flush(&self.hub);
        }
        for connection in self.closing.drain(..) {
            connection.finish(&self.hub);
        }
        halted
    }

    fn one(&mut self, action: &Action, out: &Outbox, status: &impl Fn() -> Status) {
        match action {
            Action::Write { seq, op } => self.jobs.push(Job::Write {
                seq: *seq,
                op: op.clone(),
            }),
            Action::Snapshot(step) => self.disk.snapshot(step.clone()),
            Action::Send { link, bytes } => self.send(Whom::Link(*link), out.bytes(*bytes)),
            Action::SendShared { link, body } => {
                if let Some(link) = self.hub.connection(Whom::Link(*link))
                    && link.send_shared(&self.hub, body.clone())
                {
                    self.dirty.push(link);
                }
            }
            Action::Reply { conn, bytes } => self.send(Whom::Client(*conn), out.bytes(*bytes)),
            Action::Close { whom, why } => self.close(*whom, why),
            Action::Dial { peer, channel } => {
                dial::start(&self.hub, &self.settings, *peer, *channel);
            }
            Action::Command { conn, word } => self.command(*conn, *word, &status()),
            Action::Report(event) => {
                self.note(event);
                describe::log_event(event);
            }
            Action::Halt(_) => unreachable!("the caller stops at a halt"),
        }
    }

    /// A connection that the other side has ended is not there any more: nothing to send to.
    fn send(&mut self, whom: Whom, bytes: &[u8]) {
        let Some(connection) = self.hub.connection(whom) else {
            return;
        };
        if let Some(since) = connection.waiting_since.take() {
            self.answered.push(since);
        }
        if connection.send(&self.hub, bytes) {
            self.dirty.push(connection);
        }
    }

    fn close(&mut self, whom: Whom, why: &CloseReason) {
        let Some(connection) = self.hub.remove(whom) else {
            return;
        };
        let port = match connection.channel {
            None => "client",
            Some(vivarium_core::boundary::Channel::Election) => "election",
            Some(vivarium_core::boundary::Channel::Quorum) => "quorum",
        };
        let address = connection.address.to_string();
        describe::log_close(whom, port, &address, why, &mut self.quiet);
        if matches!(why, CloseReason::NotReading { .. }) {
            connection.abandon();
        }
        self.closing.push(connection);
    }

    fn command(&mut self, conn: ConnId, word: FourLetterWord, status: &Status) {
        let whom = Whom::Client(conn);
        let Some(connection) = self.hub.connection(whom) else {
            return;
        };
        tracing::debug!(client = %connection.address, ?word, "four-letter word");
        let clients: Vec<ClientLine> = match word {
            FourLetterWord::Stat => self
                .hub
                .clients
                .borrow()
                .values()
                .map(|c| c.line())
                .collect(),
            FourLetterWord::Ruok
            | FourLetterWord::Srvr
            | FourLetterWord::Mntr
            | FourLetterWord::Conf
            | FourLetterWord::Envi
            | FourLetterWord::Isro => Vec::new(),
        };
        let view = View {
            settings: &self.settings,
            status,
            latency: self.latency,
            sync_times: self.disk.sync_times(),
            uptime: self.started.elapsed(),
            leading: self.leading.map(|since| since.elapsed()),
            clients: &clients,
        };
        let text = words::answer(word, &view);
        // Words are not requests: they do not count in the latency.
        connection.waiting_since.set(None);
        self.send(whom, text.as_bytes());
        self.closing.extend(self.hub.remove(whom));
    }

    /// Remembers since when this server leads.
    fn note(&mut self, event: &Event) {
        match event {
            Event::Leading => self.leading = Some(Instant::now()),
            Event::Looking { .. }
            | Event::Following { .. }
            | Event::Observing { .. }
            | Event::Left { .. } => self.leading = None,
            Event::Serving { .. }
            | Event::SyncChosen { .. }
            | Event::Synchronized { .. }
            | Event::SessionExpired { .. }
            | Event::DigestMismatch { .. }
            | Event::QuotaExceeded(_)
            | Event::LimitReached(_)
            | Event::SnapshotTaken { .. }
            | Event::SnapshotGivenUp { .. }
            | Event::TakesWrites(_)
            | Event::Note { .. } => {}
        }
    }

    /// Takes the latencies of the answers that left in this turn.
    pub(super) fn measure(&mut self, now: impl FnOnce() -> time::Instant) {
        if self.answered.is_empty() {
            return;
        }
        let now = now();
        for since in self.answered.drain(..) {
            self.latency.record(now - since);
        }
    }

    /// Waits for the disk: everything queued is performed and synced.
    pub(super) fn finish(self) {
        self.disk.finish();
    }
}
