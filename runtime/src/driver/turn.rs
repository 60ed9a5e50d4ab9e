//! The turn: everything that has arrived goes to the machine, then its effects are carried out.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Sleep;
use vivarium_core::boundary::{Appetite, Fault, Input, Outbox, Whom};
use vivarium_core::node::Status;
use vivarium_core::time::{Instant, Now};

use super::clock::Clock;
use super::disk::Report;
use super::effects::Effects;
use super::hub::{Arrival, Hub, Inbox};

/// How long the machine may take to halt after it was asked to stop.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// What is driven: the node, or what stands in for it in tests.
pub(super) trait Machine {
    fn handle(&mut self, now: Now, input: Input<'_>);
    fn flush(&mut self, now: Now, out: &mut Outbox);
    fn deadline(&self) -> Option<Instant>;
    fn appetite(&self) -> Appetite;
    fn status(&self) -> Status;
}

/// The loop around a machine.
pub(super) struct Turns<M> {
    machine: M,
    hub: Rc<Hub>,
    effects: Effects,
    clock: Clock,
    out: Outbox,
    reports: UnboundedReceiver<Report>,
    /// Reports that wait for the next turn.
    reported: Vec<Report>,
    arrivals: Vec<Arrival>,
    /// Connections whose other side is gone, to forget after their last answers were sent.
    gone: Vec<Whom>,
    timer: Pin<Box<Sleep>>,
    /// When to stop waiting for the machine's halt.
    give_up: Option<Instant>,
}

impl<M: Machine> Turns<M> {
    pub(super) fn new(
        machine: M,
        hub: Rc<Hub>,
        effects: Effects,
        clock: Clock,
        reports: UnboundedReceiver<Report>,
    ) -> Self {
        Self {
            machine,
            hub,
            effects,
            clock,
            out: Outbox::default(),
            reports,
            reported: Vec::new(),
            arrivals: Vec::new(),
            gone: Vec::new(),
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            give_up: None,
        }
    }

    /// Turns until the machine halts; why, and the hands to finish with.
    pub(super) async fn run(mut self) -> (Fault, Effects) {
        loop {
            if let Some(fault) = self.turn() {
                return (fault, self.effects);
            }
            let mut waited = false;
            poll_fn(|cx| {
                let polled = self.poll_news(cx);
                waited |= polled.is_pending();
                polled
            })
            .await;
            if !waited {
                // News without end must not keep the readers from running.
                tokio::task::yield_now().await;
            }
        }
    }

    /// Ready when there is something for a turn.
    fn poll_news(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while let Poll::Ready(Some(report)) = self.reports.poll_recv(cx) {
            self.reported.push(report);
        }
        if self.hub.poll_arrivals(cx).is_ready() || !self.reported.is_empty() {
            return Poll::Ready(());
        }
        let Some(deadline) = self.next_deadline() else {
            return Poll::Pending;
        };
        let at = tokio::time::Instant::from_std(self.clock.at(deadline));
        // An alarm that is set too early costs one look at the clock; setting it anew with every
        // turn costs more.
        if at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.clock.mono() >= deadline {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(at);
        }
        Poll::Pending
    }

    fn next_deadline(&self) -> Option<Instant> {
        match (self.machine.deadline(), self.give_up) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// One turn. The fault, if it was the last.
    fn turn(&mut self) -> Option<Fault> {
        let now = self.clock.read();
        self.take_arrivals(now);
        for report in self.reported.drain(..) {
            self.machine.handle(now, disk_input(report));
        }
        // Last, so that a ping that has arrived saves its session.
        if self
            .machine
            .deadline()
            .is_some_and(|deadline| deadline <= now.mono)
        {
            self.machine.handle(now, Input::Wake);
        }
        self.machine.flush(now, &mut self.out);
        let machine = &self.machine;
        let mut halted = self.effects.perform(&self.out, || machine.status());
        self.out.clear();
        let clock = &mut self.clock;
        self.effects.measure(|| clock.mono());
        for whom in self.gone.drain(..) {
            if let Some(connection) = self.hub.remove(whom) {
                connection.finish(&self.hub);
            }
        }
        self.hub
            .inbox
            .borrow_mut()
            .end_turn(self.machine.appetite());
        if halted.is_none() && self.give_up.is_some_and(|at| at <= now.mono) {
            tracing::warn!("the machine did not stop in time");
            halted = Some(Fault::Stopped);
        }
        halted
    }

    fn take_arrivals(&mut self, now: Now) {
        let hub = self.hub.clone();
        let mut inbox = hub.inbox.borrow_mut();
        // First, so that who does not read is not answered once more.
        for conn in inbox.unread.drain(..) {
            let Some(connection) = hub.connection(Whom::Client(conn)) else {
                continue;
            };
            let bytes = connection.tell_unread();
            self.machine
                .handle(now, Input::ClientUnread { conn, bytes });
        }
        inbox.take_arrivals(&mut self.arrivals);
        let mut arrivals = std::mem::take(&mut self.arrivals);
        for arrival in arrivals.drain(..) {
            self.arrived(now, arrival, &inbox);
        }
        self.arrivals = arrivals;
        for link in inbox.drained.drain(..) {
            // Closed here since: the machine has forgotten it.
            let Some(connection) = hub.connection(Whom::Link(link)) else {
                continue;
            };
            let bytes = connection.take_drained();
            self.machine.handle(now, Input::LinkDrained { link, bytes });
        }
    }

    fn arrived(&mut self, now: Now, arrival: Arrival, inbox: &Inbox) {
        let input = match arrival {
            Arrival::Opened(connection) => {
                let Whom::Client(conn) = connection.whom else {
                    return;
                };
                Input::ClientOpened {
                    conn,
                    address: connection.address.ip(),
                }
            }
            Arrival::LinkOpened {
                link,
                peer,
                channel,
            } => {
                let Whom::Link(link) = link.whom else { return };
                Input::LinkOpened {
                    link,
                    peer,
                    channel,
                }
            }
            Arrival::Bytes { whom, start, end } => {
                // What was closed by the machine is not heard any more.
                let Some(connection) = self.hub.connection(whom) else {
                    return;
                };
                let bytes = inbox.bytes(start, end);
                match whom {
                    Whom::Client(conn) => {
                        connection.heard(now.mono);
                        Input::ClientBytes { conn, bytes }
                    }
                    Whom::Link(link) => Input::LinkBytes { link, bytes },
                }
            }
            Arrival::Closed(whom) => {
                if self.hub.connection(whom).is_none() {
                    return;
                }
                self.gone.push(whom);
                match whom {
                    Whom::Client(conn) => Input::ClientClosed { conn },
                    Whom::Link(link) => Input::LinkClosed { link },
                }
            }
            Arrival::DialFailed { peer, channel } => Input::DialFailed { peer, channel },
            Arrival::Stop => {
                self.give_up = Some(now.mono + STOP_PATIENCE);
                Input::Stop
            }
        };
        self.machine.handle(now, input);
    }
}

fn disk_input(report: Report) -> Input<'static> {
    match report {
        Report::Persisted { upto } => Input::Persisted { upto },
        Report::Reloaded { seq, state } => Input::Reloaded { seq, state },
        Report::SnapshotStored { ok } => Input::SnapshotStored { ok },
        Report::Room { low } => Input::DiskRoom { low },
        Report::Failed { upto } => Input::DiskFailed { upto },
    }
}
