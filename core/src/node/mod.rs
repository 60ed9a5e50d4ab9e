//! `Node`: the machine behind the boundary. Routes each input to the part that it concerns and
//! changes roles; decides nothing that a part can decide.

mod roles;
mod status;

pub use status::{RoleName, Status};

use roles::Role;

use crate::boundary::{Action, Appetite, Channel, CloseReason, Fault, Input, Outbox};
use crate::config::Config;
use crate::database::Database;
use crate::durable::Settled;
use crate::election::Election;
use crate::election::exchange::Exchange;
use crate::ids::{LinkId, ServerId, WriteSeq};
use crate::limits::{LEADER_PATIENCE, PARKED_BYTES_MAX, PROPOSALS_OUTSTANDING_MAX};
use crate::log::LogEntry;
use crate::recovery::Recovered;
use crate::shared::Shared;
use crate::time::{Instant, Now};
use crate::zab::Leave;
use crate::zab::broadcast::Broadcast;

/// A ZooKeeper server.
#[derive(Debug)]
pub struct Node {
    sh: Shared,
    election: Election,
    exchange: Exchange,
    role: Role,
    /// The outbox was handed over; the next input begins a new turn.
    is_turn_over: bool,
}

impl Node {
    /// A node with what its disk gave back. The driver then calls `flush` for the first effects.
    pub fn boot(config: Config, found: Recovered, now: Now) -> Self {
        let sh = Shared::boot(config, found, now);
        let election = Election::new(sh.config.me, sh.voters.clone());
        let exchange = Exchange::new(&sh.config);
        let role = Role::IDLE;
        let mut node = Self {
            sh,
            election,
            exchange,
            role,
            is_turn_over: false,
        };
        if node.sh.halted {
            return node;
        }
        if node.sh.config.is_standalone() {
            node.enter_standalone();
        } else {
            node.enter_looking();
        }
        node
    }

    /// Takes one input. Never fails: bad bytes close a link, a lying driver trips an assertion.
    pub fn handle(&mut self, now: Now, input: Input<'_>) {
        assert!(now.mono >= self.sh.now.mono, "time never runs back");
        self.sh.now = now;
        if core::mem::take(&mut self.is_turn_over) {
            self.sh.applied_this_turn.clear();
        }
        if self.sh.halted {
            return;
        }
        if let Err(Leave(why)) = self.dispatch(input) {
            self.leave(why);
        }
        self.after_input();
    }

    /// Ends the turn: hands its effects over in `out`, which must be empty.
    pub fn flush(&mut self, now: Now, out: &mut Outbox) {
        assert!(
            out.is_empty(),
            "the last turn's effects were not carried out"
        );
        assert!(now.mono >= self.sh.now.mono, "time never runs back");
        self.sh.now = now;
        if !self.sh.halted {
            if let Err(Leave(why)) = self.on_turn_end() {
                self.leave(why);
            }
            self.after_input();
            if self.sh.clients.is_serving() {
                let (clients, mut serving) = self.sh.serving();
                clients.shed_unread(&mut serving);
                self.sh.step_snapshot();
            }
        }
        self.is_turn_over = true;
        core::mem::swap(&mut self.sh.out, out);
    }

    /// When the driver must call `handle(Wake)` at the latest. After a flush it lies in the future.
    pub fn deadline(&self) -> Option<Instant> {
        if self.sh.halted {
            return None;
        }
        let role = match &self.role {
            Role::Standalone(order) => order.deadline(),
            Role::Looking { read_only_from } => self
                .parked()
                .map(|(_, opened)| opened + LEADER_PATIENCE)
                .chain(*read_only_from)
                .min(),
            Role::Resting { until } => Some(*until),
            Role::Reloading { .. } => None,
            Role::Leading(leading) => Some(leading.deadline()),
            Role::Learning(learner) => Some(learner.deadline(&self.sh)),
        };
        let election = [self.election.deadline(), self.exchange.deadline()];
        let all = [role, self.sh.clients.deadline()].into_iter();
        all.chain(election).flatten().min()
    }

    /// What may be read before the next flush.
    pub fn appetite(&self) -> Appetite {
        let proposals = self.order().map_or(0, Broadcast::proposals_len);
        let clients = self.sh.clients.wants_input() && proposals < PROPOSALS_OUTSTANDING_MAX;
        let quorum = match &self.role {
            Role::Learning(learner) => learner.wants_input(),
            _ => true,
        };
        Appetite { clients, quorum }
    }

    /// The replicated state, for checkers and dumps.
    pub fn database(&self) -> &Database {
        &self.sh.db
    }

    /// What was committed here since the turn began, in order; for checkers. A role change may
    /// move the state without it: a snapshot, a truncation, or logged transactions that become
    /// part of the history a server stands for.
    pub fn applied_this_turn(&self) -> &[LogEntry] {
        &self.sh.applied_this_turn
    }

    fn order(&self) -> Option<&Broadcast> {
        match &self.role {
            Role::Standalone(order) => Some(order),
            Role::Leading(leading) => leading.order(),
            _ => None,
        }
    }

    // ----- inputs -----

    fn dispatch(&mut self, input: Input<'_>) -> Result<(), Leave> {
        match input {
            Input::Wake => return self.on_wake(),
            Input::ClientOpened { conn, address } => {
                let (clients, serving) = self.sh.serving();
                clients.handle_opened(conn, address, serving.now, serving.out);
            }
            Input::ClientBytes { conn, bytes } => {
                let (clients, mut serving) = self.sh.serving();
                clients.handle_bytes(conn, bytes, &mut serving);
            }
            Input::ClientUnread { conn, bytes } => {
                let (clients, mut serving) = self.sh.serving();
                clients.handle_unread(conn, bytes, &mut serving);
            }
            Input::ClientClosed { conn } => self.sh.clients.handle_closed(conn),
            Input::LinkOpened {
                link,
                peer,
                channel,
            } => self.on_link_opened(link, peer, channel),
            Input::LinkBytes { link, bytes } => return self.on_link_bytes(link, bytes),
            Input::LinkDrained { link, bytes } => self.sh.links.drained(link, bytes),
            Input::LinkClosed { link } => return self.on_link_closed(link),
            Input::DialFailed { peer, channel } => return self.on_dial_failed(peer, channel),
            Input::Persisted { upto } => return self.on_persisted(upto),
            Input::Reloaded { seq, state } => {
                self.on_persisted(seq)?;
                return self.on_reloaded(seq, state);
            }
            Input::SnapshotStored { ok } => self.sh.on_snapshot_stored(ok),
            Input::DiskRoom { low } => self.sh.on_disk_room(low),
            Input::DiskFailed { upto } => {
                self.on_persisted(upto)?;
                self.sh.halt(Fault::Disk);
            }
            Input::Stop => self.stop(),
        }
        Ok(())
    }

    fn on_link_opened(&mut self, link: LinkId, peer: Option<ServerId>, channel: Channel) {
        self.sh.links.open(link, channel, peer, self.sh.now.mono);
        match (channel, peer, &mut self.role) {
            (Channel::Election, ..) => {
                if let Some(peer) = peer {
                    self.election.set_present(peer);
                }
                self.exchange.handle_opened(link, peer, &mut self.sh);
            }
            (Channel::Quorum, Some(peer), Role::Learning(learner)) => {
                learner.handle_opened(link, peer, &mut self.sh);
            }
            (Channel::Quorum, None, Role::Leading(leading)) => {
                leading.handle_opened(link, &self.sh);
            }
            // A follower is often faster than its leader: it waits until we know what we are.
            (Channel::Quorum, None, Role::Looking { .. }) => {}
            (Channel::Quorum, ..) => self.sh.close_link(link, CloseReason::NotServing),
        }
    }

    fn on_link_bytes(&mut self, link: LinkId, bytes: &[u8]) -> Result<(), Leave> {
        let Some(channel) = self.sh.links.get(link).map(|l| l.channel) else {
            return Ok(());
        };
        if channel == Channel::Election {
            let now = self.sh.now.mono;
            for (from, ballot) in self.exchange.handle_bytes(link, bytes, &mut self.sh) {
                self.election.handle_ballot(from, ballot, now);
            }
            return Ok(());
        }
        match &mut self.role {
            Role::Leading(leading) => leading.handle_bytes(link, bytes, &mut self.sh),
            Role::Learning(learner) => learner.handle_bytes(link, bytes, &mut self.sh),
            _ => {
                self.park(link, bytes);
                Ok(())
            }
        }
    }

    /// Keeps the first words of a follower that came before we were elected.
    fn park(&mut self, link: LinkId, bytes: &[u8]) {
        let Some(all) = self.sh.links.take_bytes(link, bytes, self.sh.now.mono) else {
            return;
        };
        if all.len() > PARKED_BYTES_MAX {
            self.sh.close_link(link, CloseReason::NotServing);
        } else {
            self.sh.links.put_back(link, all, 0);
        }
    }

    /// Links on our quorum port whose owners wait for us to become the leader.
    fn parked(&self) -> impl Iterator<Item = (LinkId, Instant)> + '_ {
        let waiting =
            |(_, l): &(LinkId, &crate::links::Link)| l.channel == Channel::Quorum && !l.dialled;
        self.sh
            .links
            .iter()
            .filter(waiting)
            .map(|(id, l)| (id, l.opened))
    }

    fn on_link_closed(&mut self, link: LinkId) -> Result<(), Leave> {
        let Some(closed) = self.sh.links.forget(link) else {
            return Ok(());
        };
        match (closed.channel, &mut self.role) {
            (Channel::Election, _) => {
                let now = self.sh.now.mono;
                self.exchange.handle_closed(link, closed.peer, now);
                if let Some(peer) = closed.peer.filter(|p| self.election.awaits(*p)) {
                    self.exchange.probe(peer, &mut self.sh);
                }
            }
            (Channel::Quorum, Role::Leading(leading)) => leading.handle_closed(link, &mut self.sh),
            (Channel::Quorum, Role::Learning(learner)) => {
                return learner.handle_closed(link, &self.sh);
            }
            (Channel::Quorum, _) => {}
        }
        Ok(())
    }

    fn on_dial_failed(&mut self, peer: ServerId, channel: Channel) -> Result<(), Leave> {
        match (channel, &mut self.role) {
            (Channel::Election, _) => {
                if self.exchange.handle_dial_failed(peer) {
                    self.election.set_absent(peer, self.sh.now.mono);
                }
            }
            (Channel::Quorum, Role::Learning(learner)) => {
                return learner.handle_dial_failed(peer, &self.sh);
            }
            (Channel::Quorum, _) => {}
        }
        Ok(())
    }

    fn on_persisted(&mut self, upto: WriteSeq) -> Result<(), Leave> {
        while let Some((seq, settled)) = self.sh.settle(upto) {
            match &mut self.role {
                Role::Standalone(order) => {
                    if let Settled::Logged(proof) = settled {
                        order.count_own(proof, &mut self.sh);
                    }
                }
                Role::Leading(leading) => leading.on_settled(settled, &mut self.sh),
                Role::Learning(learner) => learner.on_settled(seq, settled, &mut self.sh),
                Role::Looking { .. } | Role::Resting { .. } | Role::Reloading { .. } => {}
            }
        }
        Ok(())
    }

    // ----- time and turns -----

    fn on_wake(&mut self) -> Result<(), Leave> {
        let now = self.sh.now.mono;
        let (clients, mut serving) = self.sh.serving();
        clients.on_wake(&mut serving);
        self.election.on_wake(now);
        let election = &self.election;
        self.exchange
            .on_wake(|id| election.awaits(id), &mut self.sh);
        match &mut self.role {
            Role::Standalone(order) => order.on_wake(&mut self.sh),
            Role::Leading(leading) => return leading.on_wake(&mut self.sh),
            Role::Learning(learner) => return learner.on_wake(&mut self.sh),
            Role::Looking { read_only_from } => {
                let is_due = read_only_from.is_some_and(|from| from <= now);
                self.end_patience(now);
                if is_due {
                    self.start_read_only();
                }
            }
            Role::Resting { until } => {
                if *until <= now {
                    self.end_rest();
                }
            }
            Role::Reloading { .. } => {}
        }
        Ok(())
    }

    /// Followers that wait for a leader that we may never be must look elsewhere.
    fn end_patience(&mut self, now: Instant) {
        let late: alloc::vec::Vec<_> = self
            .parked()
            .filter(|(_, at)| *at + LEADER_PATIENCE <= now)
            .collect();
        for (link, _) in late {
            self.sh.close_link(link, CloseReason::NotServing);
        }
    }

    /// What every input may have led to: requests for the leader, votes to tell, a decision.
    fn after_input(&mut self) {
        let (clients, mut serving) = self.sh.serving();
        clients.resume_throttled(&mut serving);
        let mut items = self.sh.clients.take_upstream().into_iter();
        while !self.is_between_epochs()
            && let Some(item) = items.next()
        {
            match &mut self.role {
                Role::Standalone(order) => order.handle_upstream(item, &mut self.sh),
                Role::Leading(leading) => leading.handle_upstream(item, &mut self.sh),
                Role::Learning(learner) => learner.handle_upstream(item, &mut self.sh),
                Role::Looking { .. } | Role::Resting { .. } | Role::Reloading { .. } => {}
            }
        }
        self.sh.clients.hold_upstream(items.collect());
        if self.sh.halted {
            return;
        }
        self.tell_established();
        self.follow_election();
    }

    /// A server that stands alone has nobody to make way for: what comes now waits for the next
    /// epoch.
    fn is_between_epochs(&self) -> bool {
        matches!(&self.role, Role::Standalone(order) if order.is_exhausted())
    }

    fn on_turn_end(&mut self) -> Result<(), Leave> {
        match &mut self.role {
            Role::Leading(leading) => leading.on_turn_end(&mut self.sh),
            Role::Standalone(order) => {
                for (session, timeout_ms) in self.sh.clients.take_touched() {
                    order.touch(session, timeout_ms, &self.sh);
                }
                if order.wants_round() {
                    // Alone, we are the quorum that must still be there.
                    let round = order.begin_round();
                    order.confirm_round(round, &mut self.sh);
                }
                let has_room = self.sh.has_room();
                self.sh.set_takes_writes(has_room);
                // Nobody follows who would have to hear.
                order.take_news();
                self.renew_standalone();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stop(&mut self) {
        self.end_role(CloseReason::Stopping);
        let links: alloc::vec::Vec<_> = self.sh.links.iter().map(|(id, _)| id).collect();
        for link in links {
            self.sh.close_link(link, CloseReason::Stopping);
        }
        self.sh.halt(Fault::Stopped);
    }
}

// The outbox is a list of these: keep it dense.
const _: () = assert!(size_of::<Action>() <= 64);
