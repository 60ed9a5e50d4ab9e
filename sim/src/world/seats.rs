//! The clients' places in the world: their connection, their timers, what they ask for.

use bytes::Bytes;
use vivarium_core::ids::ServerId;

use super::{Event, World};
use crate::clients::{Client, ClientPlan, Errand, Standing};
use crate::config::RunConfig;
use crate::net::{Arrival, Machine, PipeId, Port, Side, What};
use crate::observe::{ClientAction, ClientId, SimTime};
use crate::rng::Streams;

/// One client and its only connection.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) client: Client,
    pub(super) pipe: Option<PipeId>,
    /// The server that it is connected to, or was last.
    pub(super) home: usize,
    /// What has arrived and was not read.
    pub(super) shelf: Vec<Bytes>,
    wake_at: Option<SimTime>,
    /// Wakes at this one moment; a client that never comes to rest would stop time.
    restless: (SimTime, u32),
}

/// Wakes of one client at one moment before it counts as broken.
const WAKES_AT_ONCE_MAX: u32 = 1_000;

pub(super) fn seats(config: &RunConfig, streams: &Streams) -> Vec<Seat> {
    let seat = |(n, plan): (usize, &crate::clients::ClientPlan)| Seat {
        client: Client::new(ClientId(n as u32 + 1), plan.clone(), streams.clone()),
        pipe: None,
        home: 0,
        shelf: Vec::new(),
        wake_at: None,
        restless: (SimTime::ZERO, 0),
    };
    config.clients.iter().enumerate().map(seat).collect()
}

impl World {
    /// Every client begins.
    pub fn begin_clients(&mut self) {
        self.begun = true;
        for c in 0..self.seats.len() {
            self.plan_client(c);
        }
    }

    /// Clients ask for nothing new; they only keep their sessions.
    pub fn quiet_clients(&mut self) {
        let now = self.time.now();
        for seat in &mut self.seats {
            seat.client.be_quiet(now);
        }
        self.quiet = true;
    }

    /// Does some client write, now and later? Recipes only write when they can take a step.
    pub fn has_writers(&self) -> bool {
        let writes = |plan: &ClientPlan| matches!(plan.errand, Errand::Mixed(_));
        // A tree that is full takes no more, rightly.
        let may_write = self.config.rules.memory_max == 0;
        may_write && self.begun && !self.quiet && self.config.clients.iter().any(writes)
    }

    /// A client's program dies without a word. `n` counts from 1.
    pub fn kill_client(&mut self, n: u32) {
        let c = n as usize - 1;
        self.with_client(c, |client, checks, out| client.stop(out, checks));
    }

    /// A program that died is started again.
    pub fn restart_client(&mut self, n: u32) {
        let c = n as usize - 1;
        self.seats[c].client.start(self.time.now());
        self.plan_client(c);
    }

    fn client_machine(&self, c: usize) -> Machine {
        Machine((self.hosts.len() + c) as u16)
    }

    fn plan_client(&mut self, c: usize) {
        let now = self.time.now();
        let seat = &mut self.seats[c];
        let Some(due) = seat.client.deadline() else {
            return;
        };
        let due = due.max(now);
        if seat.wake_at.is_none_or(|at| at > due) {
            seat.wake_at = Some(due);
            self.time.plan(due, Event::Client(c as u16));
        }
    }

    pub(super) fn client_is_due(&mut self, c: usize) {
        let now = self.time.now();
        let seat = &mut self.seats[c];
        if seat.wake_at != Some(now) {
            return;
        }
        seat.wake_at = None;
        let before = if seat.restless.0 == now {
            seat.restless.1
        } else {
            0
        };
        seat.restless = (now, before + 1);
        assert!(
            before < WAKES_AT_ONCE_MAX,
            "client c{} does not come to rest",
            c + 1
        );
        if seat.client.deadline().is_some_and(|at| at <= now) {
            self.hash.word(21 << 32 | c as u64);
            self.with_client(c, |client, checks, out| client.on_wake(now, out, checks));
            self.read_on(c);
        }
        self.plan_client(c);
    }

    /// Something came over the network for a client.
    pub(super) fn arrive_at_client(&mut self, c: usize, arrival: Arrival) {
        let now = self.time.now();
        if self.seats[c].pipe != Some(arrival.pipe) {
            return;
        }
        self.hash.word(22 << 32 | c as u64);
        match arrival.what {
            What::Opened => {
                self.with_client(c, |client, checks, out| {
                    client.on_connected(now, out, checks)
                });
            }
            What::Bytes(bytes) => {
                self.hash.bytes(&bytes);
                if !self.seats[c].client.reads() {
                    self.seats[c].shelf.push(bytes);
                    return;
                }
                self.with_client(c, |client, checks, out| {
                    client.on_bytes(now, &bytes, out, checks);
                });
            }
            What::Closed | What::DialFailed => {
                self.seats[c].pipe = None;
                self.seats[c].shelf.clear();
                self.with_client(c, |client, checks, out| client.on_closed(now, out, checks));
            }
        }
        self.plan_client(c);
    }

    pub(super) fn with_client(
        &mut self,
        c: usize,
        call: impl FnOnce(&mut Client, &mut crate::check::Checks, &mut Vec<ClientAction>),
    ) {
        let mut actions = std::mem::take(&mut self.client_actions);
        call(&mut self.seats[c].client, &mut self.checks, &mut actions);
        for action in actions.drain(..) {
            self.client_acts(c, action);
        }
        self.client_actions = actions;
    }

    fn client_acts(&mut self, c: usize, action: ClientAction) {
        let me = self.client_machine(c);
        match action {
            ClientAction::Connect { server } => {
                self.hang_up(c);
                self.seats[c].home = self.index(server);
                let to = Machine(self.index(server) as u16);
                self.seats[c].pipe = Some(self.net.dial(&mut self.time, me, to, Port::Client));
            }
            ClientAction::Send(bytes) => {
                if let Some(pipe) = self.seats[c].pipe {
                    self.hash.bytes(&bytes);
                    self.recount_request(c, &bytes);
                    self.show_sending(pipe, Side::Dialer, &bytes);
                    self.net.send(&mut self.time, pipe, Side::Dialer, bytes);
                }
            }
            ClientAction::Disconnect => self.hang_up(c),
        }
    }

    fn hang_up(&mut self, c: usize) {
        self.seats[c].shelf.clear();
        if let Some(pipe) = self.seats[c].pipe.take() {
            self.net.close(&mut self.time, pipe, Side::Dialer);
        }
    }

    /// How far a client has got with its recipe. `n` counts from 1.
    pub fn client_standing(&self, n: u32) -> Standing {
        self.seats[n as usize - 1].client.standing()
    }

    /// Writes whose success a client has seen.
    pub fn writes_acknowledged(&self) -> u64 {
        self.checks.writes_acknowledged()
    }

    /// The servers that are configured, for clients' lists.
    pub fn server_ids(&self) -> impl Iterator<Item = ServerId> {
        self.hosts.iter().map(|h| h.id)
    }
}
