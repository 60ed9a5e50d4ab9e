//! The world: servers, clients, network, disks and clocks on one heap of timed events.
//!
//! Each event happens at one moment and changes one machine; what it causes elsewhere is planned.
//! The world asks the machine under test for nothing but turns, and tells checkers everything.

mod damage;
mod effects;
mod host;
mod lives;
mod recount;
mod seats;
mod strike;
mod turn;
mod unread;
mod views;

use std::fmt;
use std::rc::Rc;

use bytes::BytesMut;
use vivarium_core::boundary::Outbox;
use vivarium_core::ids::ServerId;

use crate::check::Checks;
use crate::clock::Clock;
use crate::config::RunConfig;
use crate::decisions::{Lane, Ledger};
use crate::disk::{Disk, Durable};
use crate::hash::{CHECKPOINT_EVENTS, TraceHash};
use crate::net::{Arrival, Machine, Net, NetEvent};
use crate::observe::{ClientAction, Setup, SimTime, Violation};
use crate::rng::{Purpose, Stream, Streams};
use crate::timeline::Timeline;

use host::{Host, View};
pub use recount::{Listener, Seen, Viewer, Weight};
use seats::Seat;
pub use views::Glance;

/// What is planned. Servers and clients are numbered from 0.
#[derive(Clone, Copy, Debug)]
enum Event {
    Net(NetEvent),
    /// A server reads what waits.
    Turn(u16),
    /// A server's timers may be due.
    Wake(u16),
    /// The group of writes under way at this server's disk ends; which process began it.
    Disk(u16, u32),
    /// The step of a background snapshot ends.
    Snapshot(u16, u32),
    /// A server whose disk is full looks for room again; which process.
    Room(u16, u32),
    /// A client's timers may be due.
    Client(u16),
    /// The next fault of the schedule.
    Fault(u32),
    /// A cut ends.
    Mend(u32),
    /// A pause ends; which.
    Resume(u16, u32),
    /// A server starts; the process number that it then has.
    Start(u16, u32),
    /// A server's disk is itself again.
    DiskWell(u16, u32),
    /// A server's packets are held up no longer.
    Calm(u16),
    /// Every fault ends.
    Heal,
}

impl From<NetEvent> for Event {
    fn from(event: NetEvent) -> Self {
        Self::Net(event)
    }
}

/// Where lines of the trace go.
pub type Narrator = Box<dyn FnMut(fmt::Arguments<'_>)>;

/// Which lines are wanted.
#[derive(Default)]
pub struct Trace {
    /// One line for each change of state.
    pub lives: Option<Narrator>,
    /// One line for each event in this range of numbers, with the hash after it.
    pub events: Option<(std::ops::Range<u64>, Narrator)>,
    /// What happens, in words of the protocol.
    pub story: Option<Listener>,
    /// How everything stands after the event with this number, which counts from 1.
    pub until: Option<(u64, Narrator)>,
    /// Everything that can be drawn.
    pub view: Option<Viewer>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trace").finish_non_exhaustive()
    }
}

/// A run under way.
#[derive(Debug)]
pub struct World {
    config: RunConfig,
    setup: Setup,
    time: Timeline<Event>,
    net: Net,
    hosts: Vec<Host>,
    seats: Vec<Seat>,
    checks: Checks,
    hash: TraceHash,
    /// Events that happened.
    events: u64,
    /// The hash after each 1024 events.
    checkpoints: Vec<u64>,
    violation: Option<Violation>,
    /// Pairs that each cut separates, by the number of the cut; emptied when it ends.
    cuts: Vec<Vec<(Machine, Machine)>>,
    ambush_stream: Stream,
    healed: bool,
    /// When a server last got an empty disk.
    replaced: SimTime,
    /// Clients have begun, and have been told to ask for nothing new.
    begun: bool,
    quiet: bool,
    trace: Trace,
    /// Where decisions are noted, or told.
    ledger: Option<Rc<Ledger>>,
    out: Outbox,
    arrivals: Vec<Arrival>,
    durable: Vec<Durable>,
    client_actions: Vec<ClientAction>,
    arena: BytesMut,
    scratch: Vec<u8>,
}

/// What ends a run that goes on for longer than anybody wanted; no promise is broken.
const BEYOND_BOUNDS: &str = "beyond-bounds";

/// Bytes that one block of the sending arena holds.
const ARENA_BYTES: usize = 64 << 10;

impl World {
    /// Everything at rest: no server runs, no client acts, no fault is planned.
    pub fn new(config: RunConfig, trace: Trace) -> Self {
        let streams = Streams::new(config.seed);
        Self::with(config, &streams, trace)
    }

    /// As `new`, with streams that may be noted or told.
    pub fn with(config: RunConfig, streams: &Streams, trace: Trace) -> Self {
        let setup = config.setup();
        let servers = config.servers();
        let machines = usize::from(servers) + config.clients.len();
        let mut net = Net::new(config.net.clone(), machines, streams);
        let mut time = Timeline::default();
        let hosts = (0..servers)
            .map(|h| new_host(h, &config, streams))
            .collect();
        let seats = seats::seats(&config, streams);
        for client in servers..machines as u16 {
            net.start(&mut time, Machine(client));
        }
        Self {
            checks: Checks::new(&setup),
            time,
            net,
            hosts,
            seats,
            hash: TraceHash::default(),
            events: 0,
            checkpoints: Vec::new(),
            violation: None,
            cuts: Vec::new(),
            ambush_stream: streams.stream(Purpose::Nemesis, 1_000),
            healed: false,
            replaced: SimTime::ZERO,
            begun: false,
            quiet: false,
            trace,
            ledger: streams.ledger().cloned(),
            out: Outbox::default(),
            arrivals: Vec::new(),
            durable: Vec::new(),
            client_actions: Vec::new(),
            arena: BytesMut::with_capacity(ARENA_BYTES),
            scratch: Vec::new(),
            setup,
            config,
        }
    }

    /// Plans the start of every server and client, the schedule of faults and its end.
    pub fn begin_swarm(&mut self) {
        for h in 0..self.config.servers() {
            let stream = &mut self.hosts[usize::from(h)].turn_stream;
            let at = stream.on(Lane::Start).below(200_000_000);
            self.time.plan(SimTime(at), Event::Start(h, 1));
        }
        self.begin_clients();
        if let Some(first) = self.config.faults.first() {
            self.time.plan(first.at, Event::Fault(0));
        }
        self.time.plan(self.config.heal_at, Event::Heal);
    }

    pub fn now(&self) -> SimTime {
        self.time.now()
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn config(&self) -> &RunConfig {
        &self.config
    }

    pub fn events(&self) -> u64 {
        self.events
    }

    pub fn hash(&self) -> u64 {
        self.hash.value()
    }

    pub fn checkpoints(&self) -> &[u64] {
        &self.checkpoints
    }

    pub fn healed(&self) -> bool {
        self.healed
    }

    /// Takes what broke, if anything did.
    pub fn violation(&mut self) -> Option<Violation> {
        self.violation.take().or_else(|| self.checks.violation())
    }

    fn violate(&mut self, rule: &'static str, evidence: String) {
        if self.violation.is_none() {
            self.violation = Some(Violation {
                rule,
                evidence,
                liveness: false,
            });
        }
    }

    /// Lets events happen until nothing is planned before `until`; then time is `until`. Stops at
    /// the first violation.
    pub fn run_until(&mut self, until: SimTime) -> Option<Violation> {
        while self.time.next_at().is_some_and(|at| at <= until) {
            self.step();
            let violation = self.violation();
            if violation.is_some() {
                return violation;
            }
        }
        self.time.advance(until);
        None
    }

    /// Lets one event happen.
    fn step(&mut self) {
        let event = self.time.pop().expect("an event is planned");
        self.events += 1;
        if let Some(ledger) = &self.ledger
            && !ledger.at_event(self.events, self.time.now())
        {
            self.violate(
                BEYOND_BOUNDS,
                "nobody wants to know how it goes on".to_owned(),
            );
        }
        self.hash.word(self.time.now().0);
        match event {
            Event::Net(event) => self.net.happen(&mut self.time, event),
            Event::Turn(h) => self.turn_is_due(usize::from(h)),
            Event::Wake(h) => self.wake_is_due(usize::from(h)),
            Event::Disk(h, process) => self.group_ends(usize::from(h), process),
            Event::Snapshot(h, process) => self.snapshot_step_ends(usize::from(h), process),
            Event::Room(h, process) => self.look_for_room(usize::from(h), process),
            Event::Client(c) => self.client_is_due(usize::from(c)),
            Event::Fault(n) => self.next_fault(n as usize),
            Event::Mend(cut) => self.mend(cut as usize),
            Event::Resume(h, pause) => self.resume(usize::from(h), Some(pause)),
            Event::Start(h, process) => self.start_as(usize::from(h), process),
            Event::DiskWell(h, fault) => self.disk_well(usize::from(h), Some(fault)),
            Event::Calm(h) => self.calmed(usize::from(h)),
            Event::Heal => self.heal(),
        }
        while self.net.has_arrivals() {
            self.deliver();
        }
        while let Some((from, to, until)) = self.net.take_stall() {
            let servers = self.hosts.len();
            let between_servers = [from, to].iter().all(|m| usize::from(m.0) < servers);
            for machine in [from, to].into_iter().filter(|_| between_servers) {
                self.disturbed(usize::from(machine.0));
                self.time.plan(until, Event::Calm(machine.0));
            }
        }
        self.note_event(event);
    }

    fn note_event(&mut self, event: Event) {
        let number = self.events - 1;
        if self.events.is_multiple_of(CHECKPOINT_EVENTS) {
            self.checkpoints.push(self.hash.value());
        }
        let stands = self
            .trace
            .until
            .as_ref()
            .is_some_and(|(event, _)| *event == self.events);
        if stands {
            let (now, standing) = (self.time.now(), self.standing());
            if let Some((event, narrate)) = &mut self.trace.until {
                narrate(format_args!("after event {event}, at {now}: {standing}"));
            }
        }
        if let Some((range, narrate)) = &mut self.trace.events
            && range.contains(&number)
        {
            let (hash, now) = (self.hash.value(), self.time.now());
            narrate(format_args!("{number} {hash:016x} {now} {event:?}"));
        }
    }

    /// Hands what the network brought to the machines.
    fn deliver(&mut self) {
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.net.take_arrivals(&mut arrivals);
        for arrival in arrivals.drain(..) {
            self.show_arrival(&arrival);
            let machine = usize::from(arrival.to.0);
            match machine.checked_sub(self.hosts.len()) {
                None => self.arrive(machine, arrival),
                Some(client) => self.arrive_at_client(client, arrival),
            }
        }
        self.arrivals = arrivals;
    }

    /// Index of a server.
    fn index(&self, id: ServerId) -> usize {
        let index = usize::try_from(id.0 - 1).expect("servers count from 1");
        assert!(index < self.hosts.len(), "no server {id} in this run");
        index
    }
}

fn new_host(h: u16, config: &RunConfig, streams: &Streams) -> Host {
    let who = u64::from(h);
    let mut clock_stream = streams.stream(Purpose::Clock, who);
    let wall_off = clock_stream
        .on(Lane::Clock)
        .range_signed(-config.clock.wall_off_max, config.clock.wall_off_max);
    let drift_max = i64::from(config.clock.drift_max);
    let drift = clock_stream.range_signed(-drift_max, drift_max) as i32;
    let mono = clock_stream.below(1 << 50);
    Host {
        id: ServerId(i64::from(h) + 1),
        machine: Machine(h),
        node: None,
        incarnation: 0,
        disk: Disk::new(streams.stream(Purpose::Disk, who), &config.disk),
        clock: Clock::new(SimTime::ZERO, mono, wall_off, drift),
        paused: None,
        pauses: 0,
        inbox: Default::default(),
        clients: Default::default(),
        open: Default::default(),
        quorum: Default::default(),
        drained: Vec::new(),
        unread: Default::default(),
        turn_at: None,
        wake_at: None,
        turns: 0,
        strike: None,
        disk_faults: 0,
        down_after_failure: None,
        lost: None,
        view: View::default(),
        turn_stream: streams.stream(Purpose::Turn, who),
        clock_stream,
        seed_stream: streams.stream(Purpose::NodeSeed, who),
    }
}
