//! A server's turn: what waits is handed in, then effects come out. Also what arrives in front of
//! it, and when it wakes.

use std::net::{IpAddr, Ipv4Addr};

use vivarium_core::boundary::Input;
use vivarium_core::ids::{ConnId, LinkId, ServerId};
use vivarium_core::node::Node;

use super::host::Inbound;
use super::{Event, World};
use crate::decisions::Lane;
use crate::net::{Arrival, Machine, PipeId, Port, What};
use crate::observe::SimTime;

/// Turns of one server between two times that its tree digest goes into the hash.
const DIGEST_TURNS: u64 = 64;

impl World {
    /// Something came over the network for a server.
    pub(super) fn arrive(&mut self, h: usize, arrival: Arrival) {
        let Arrival {
            pipe,
            side,
            port,
            from,
            what,
            ..
        } = arrival;
        let servers = self.hosts.len();
        let host = &mut self.hosts[h];
        if !host.is_up() {
            return;
        }
        let peer = ServerId(i64::from(from.0) + 1);
        let dialled = side == crate::net::Side::Dialer;
        let inbound = match (port, what) {
            (Port::Peer(channel), What::Opened) => {
                assert!(
                    usize::from(from.0) < servers,
                    "clients dial the client port only"
                );
                let peer = dialled.then_some(peer);
                Inbound::LinkOpened {
                    pipe,
                    side,
                    peer,
                    channel,
                }
            }
            (Port::Peer(_), What::Bytes(bytes)) => Inbound::LinkBytes { pipe, from, bytes },
            (Port::Peer(_), What::Closed) => Inbound::LinkClosed { pipe },
            (Port::Peer(channel), What::DialFailed) => Inbound::DialFailed { peer, channel },
            (Port::Client, What::Opened) => Inbound::ClientOpened { pipe, side, from },
            (Port::Client, What::Bytes(bytes)) => Inbound::ClientBytes { pipe, bytes },
            (Port::Client, What::Closed) => Inbound::ClientClosed { pipe },
            (Port::Client, What::DialFailed) => unreachable!("servers do not dial clients"),
        };
        match port {
            Port::Peer(_) => host.inbox.push_back(inbound),
            Port::Client => host.clients.push_back(inbound),
        }
        self.plan_turn(h);
    }

    /// Something else for a server: its disk, or an order.
    pub(super) fn enter(&mut self, h: usize, inbound: Inbound) {
        self.hosts[h].inbox.push_back(inbound);
        self.plan_turn(h);
    }

    pub(super) fn plan_turn(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if host.turn_at.is_some() || host.paused.is_some() || !host.is_up() {
            return;
        }
        let delay = 1 + host
            .turn_stream
            .on(Lane::Turn)
            .below(self.config.turn.delay_max);
        let at = SimTime(self.time.now().0 + delay);
        host.turn_at = Some(at);
        self.time.plan(at, Event::Turn(h as u16));
    }

    pub(super) fn turn_is_due(&mut self, h: usize) {
        let now = self.time.now();
        let host = &mut self.hosts[h];
        if host.turn_at != Some(now) || host.paused.is_some() || !host.is_up() {
            return;
        }
        host.turn_at = None;
        self.turn(h);
    }

    /// Timers are looked at when the earliest of them was planned; it may have moved since.
    pub(super) fn wake_is_due(&mut self, h: usize) {
        let now = self.time.now();
        let host = &mut self.hosts[h];
        if host.wake_at != Some(now) || host.paused.is_some() {
            return;
        }
        host.wake_at = None;
        let Some(node) = &host.node else { return };
        let due = node.deadline().is_some_and(|at| host.clock.when(at) <= now);
        if due {
            self.turn(h);
        } else {
            self.plan_wake(h);
        }
    }

    /// Plans a look at the timers, unless an earlier one is planned. A process that stands still
    /// has no timers: the turn at its resumption plans them.
    pub(super) fn plan_wake(&mut self, h: usize) {
        let now = self.time.now();
        let late_max = self.config.turn.late_max;
        let host = &mut self.hosts[h];
        if host.paused.is_some() {
            return;
        }
        assert!(
            host.wake_at.is_none_or(|at| at >= now),
            "server {}: a look at the timers was missed",
            host.id
        );
        let Some(deadline) = host.node.as_ref().and_then(|n| n.deadline()) else {
            return;
        };
        let due = host.clock.when(deadline).max(now);
        if host
            .wake_at
            .is_some_and(|at| at <= SimTime(due.0.saturating_add(late_max)))
        {
            return;
        }
        let at = SimTime(
            due.0
                .saturating_add(host.turn_stream.on(Lane::Late).range(1, late_max.max(1))),
        );
        host.wake_at = Some(at);
        self.time.plan(at, Event::Wake(h as u16));
    }

    /// One turn.
    pub(super) fn turn(&mut self, h: usize) {
        self.hash.word(h as u64);
        // First, so that who does not read is not answered once more.
        let told = self.hand_in_unread(h);
        let inputs_max = self.config.turn.inputs_max as u64;
        let spurious = self.config.turn.spurious_wake_per_mille;
        let host = &mut self.hosts[h];
        host.turns += 1;
        let waiting = (host.inbox.len() + host.clients.len()) as u64;
        let most = inputs_max.min(waiting).max(1);
        host.turn_stream.on(Lane::Inputs);
        let most = if most > 1 {
            host.turn_stream.range_or(1, most, most)
        } else {
            1
        };
        let spurious = host.turn_stream.on(Lane::Wake).maybe(spurious, 1_000);
        if spurious {
            let now = host.clock.read(self.time.now());
            host.node
                .as_mut()
                .expect("it runs")
                .handle(now, Input::Wake);
        }
        let hungry = host.node.as_ref().expect("it runs").appetite();
        let mut fed = self.hand_in_drained(h) || told || spurious;
        for _ in 0..most {
            let host = &mut self.hosts[h];
            host.turn_stream.on(Lane::Clients);
            let some = hungry.clients && !host.clients.is_empty();
            let first = some && host.turn_stream.chance(1, 2);
            let Some(inbound) = host.take(hungry, first) else {
                break;
            };
            self.hand_in(h, inbound);
            fed = true;
        }
        self.end_turn(h, fed);
        let host = &self.hosts[h];
        let hungry = host.node.as_ref().map(Node::appetite);
        if hungry.is_some_and(|hungry| host.has_input(hungry)) {
            self.plan_turn(h);
        }
        self.plan_wake(h);
    }

    /// Due timers, then the effects of the turn. `fed` tells whether it had any input.
    fn end_turn(&mut self, h: usize, mut fed: bool) {
        let t = self.time.now();
        let host = &mut self.hosts[h];
        let now = host.clock.read(t);
        let Some(node) = &mut host.node else { return };
        if node.deadline().is_some_and(|at| at <= now.mono) {
            node.handle(now, Input::Wake);
            fed = true;
        }
        let mut out = std::mem::take(&mut self.out);
        node.flush(now, &mut out);
        assert!(
            node.deadline().is_none_or(|at| at > now.mono),
            "after a flush the deadline lies in the future"
        );
        if host.turns.is_multiple_of(DIGEST_TURNS) {
            self.hash.word(node.database().digest());
        }
        // Without any input the node still shows what the turn before has applied.
        let applied = if fed { node.applied_this_turn() } else { &[] };
        self.checks.after_turn(t, host.id, node, applied, &out);
        self.perform(h, &out);
        self.check_unread(h);
        out.clear();
        self.out = out;
    }

    /// Tells the process what its peers have taken; false if there is nothing to tell.
    fn hand_in_drained(&mut self, h: usize) -> bool {
        let mut fed = false;
        let host = &mut self.hosts[h];
        let now = host.clock.read(self.time.now());
        let node = host.node.as_mut().expect("it runs");
        for (pipe, bytes) in host.drained.drain(..) {
            if host.open.contains_key(&pipe) {
                self.hash.word(2 << 32 | bytes as u64);
                node.handle(
                    now,
                    Input::LinkDrained {
                        link: LinkId(u64::from(pipe.0)),
                        bytes,
                    },
                );
                fed = true;
            }
        }
        fed
    }

    /// Hands one input to the process.
    fn hand_in(&mut self, h: usize, inbound: Inbound) {
        let host = &mut self.hosts[h];
        let now = host.clock.read(self.time.now());
        let node = host.node.as_mut().expect("it runs");
        match inbound {
            Inbound::LinkBytes { pipe, from, bytes } => {
                self.hand_in_link_bytes(h, pipe, from, bytes)
            }
            Inbound::LinkOpened {
                pipe,
                peer,
                channel,
                ..
            } => {
                self.hash.word(1 << 32 | u64::from(pipe.0));
                let link = LinkId(u64::from(pipe.0));
                node.handle(
                    now,
                    Input::LinkOpened {
                        link,
                        peer,
                        channel,
                    },
                );
            }
            Inbound::LinkClosed { pipe } => {
                self.hash.word(3 << 32 | u64::from(pipe.0));
                node.handle(
                    now,
                    Input::LinkClosed {
                        link: LinkId(u64::from(pipe.0)),
                    },
                );
            }
            Inbound::DialFailed { peer, channel } => {
                self.hash.word(4 << 32 | peer.0 as u64);
                node.handle(now, Input::DialFailed { peer, channel });
            }
            Inbound::ClientOpened { .. }
            | Inbound::ClientBytes { .. }
            | Inbound::ClientClosed { .. } => self.hand_in_client(h, inbound),
            Inbound::Persisted { .. }
            | Inbound::Reloaded { .. }
            | Inbound::SnapshotStored { .. }
            | Inbound::DiskRoom { .. }
            | Inbound::DiskFailed { .. }
            | Inbound::Stop => self.hand_in_local(h, inbound),
        }
    }

    fn hand_in_client(&mut self, h: usize, inbound: Inbound) {
        let host = &mut self.hosts[h];
        let now = host.clock.read(self.time.now());
        let node = host.node.as_mut().expect("it runs");
        match inbound {
            Inbound::ClientBytes { pipe, bytes } => {
                self.hash.word(u64::from(pipe.0));
                self.hash.bytes(&bytes);
                let conn = ConnId(u64::from(pipe.0));
                node.handle(
                    now,
                    Input::ClientBytes {
                        conn,
                        bytes: &bytes,
                    },
                );
            }
            Inbound::ClientOpened { pipe, from, .. } => {
                self.hash.word(5 << 32 | u64::from(pipe.0));
                let conn = ConnId(u64::from(pipe.0));
                node.handle(
                    now,
                    Input::ClientOpened {
                        conn,
                        address: address(from),
                    },
                );
            }
            Inbound::ClientClosed { pipe } => {
                self.hash.word(6 << 32 | u64::from(pipe.0));
                node.handle(
                    now,
                    Input::ClientClosed {
                        conn: ConnId(u64::from(pipe.0)),
                    },
                );
            }
            _ => unreachable!("it does not come from a client"),
        }
    }

    /// What comes from the machine itself: its disk, and whoever stops it.
    fn hand_in_local(&mut self, h: usize, inbound: Inbound) {
        let host = &mut self.hosts[h];
        let now = host.clock.read(self.time.now());
        let node = host.node.as_mut().expect("it runs");
        match inbound {
            Inbound::Persisted { upto } => {
                self.hash.word(7 << 32 | upto.0);
                node.handle(now, Input::Persisted { upto });
            }
            Inbound::Reloaded { seq, state } => {
                self.hash.word(8 << 32 | seq.0);
                self.hash.word(state.database.digest());
                node.handle(now, Input::Reloaded { seq, state });
            }
            Inbound::SnapshotStored { ok } => {
                self.hash.word(9 << 32 | u64::from(ok));
                node.handle(now, Input::SnapshotStored { ok });
            }
            Inbound::DiskRoom { low } => {
                self.hash.word(20 << 32 | u64::from(low));
                node.handle(now, Input::DiskRoom { low });
                self.checks.on_room(self.time.now(), self.hosts[h].id, low);
            }
            Inbound::DiskFailed { upto } => {
                self.hash.word(10 << 32 | upto.0);
                node.handle(now, Input::DiskFailed { upto });
            }
            Inbound::Stop => {
                self.hash.word(11 << 32);
                node.handle(now, Input::Stop);
            }
            _ => unreachable!("it came over the network"),
        }
    }

    /// Bytes of a peer, now and then together with those that wait right behind them.
    fn hand_in_link_bytes(&mut self, h: usize, pipe: PipeId, from: Machine, bytes: bytes::Bytes) {
        let host = &mut self.hosts[h];
        let now = host.clock.read(self.time.now());
        let mut joined = std::mem::take(&mut self.scratch);
        joined.clear();
        host.turn_stream.on(Lane::Joined);
        while joined.len() < 64 << 10 && host.turn_stream.chance(3, 4) {
            let Some(more) = host.take_more_of(pipe) else {
                break;
            };
            if joined.is_empty() {
                joined.extend_from_slice(&bytes);
            }
            joined.extend_from_slice(&more);
        }
        let all = if joined.is_empty() {
            &bytes[..]
        } else {
            &joined[..]
        };
        self.hash.word(u64::from(pipe.0));
        self.hash.bytes(all);
        let node = host.node.as_mut().expect("it runs");
        node.handle(
            now,
            Input::LinkBytes {
                link: LinkId(u64::from(pipe.0)),
                bytes: all,
            },
        );
        let taken = all.len();
        self.scratch = joined;
        let sender = &mut self.hosts[usize::from(from.0)];
        let listens = sender.is_up() && sender.open.contains_key(&pipe);
        if listens && sender.drain(pipe, taken) {
            self.plan_turn(usize::from(from.0));
        }
    }
}

/// A client machine's address; each has its own.
fn address(of: Machine) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, (of.0 >> 8) as u8, of.0 as u8))
}
