//! Decisions: what a run leaves to chance, each under an address that says whose it is, what it is
//! about and which of its kind it is. A run can be noted, decision by decision, and told again.
//!
//! A decision that is not told is quiet: nothing goes wrong, delays are average, clients ask for
//! nothing. So leaving one out changes neither the address nor the outcome of any other. Outcomes
//! are noted, not the words that they were drawn from: "the third of five" keeps its meaning when
//! probabilities change. Knows nothing of what is decided.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::observe::SimTime;
use crate::rng::Purpose;

/// What a decision is about, within its stream.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Lane {
    /// Anything without a lane of its own.
    Other,
    /// How long a packet, an answer or the end of a connection takes.
    Delay,
    /// Where a send is cut in two, and how much later the rest comes.
    Cut,
    /// A send that holds up its direction, and for how long.
    Stall,
    /// A send after which the connection breaks.
    Reset,
    /// What still arrives over a connection that breaks.
    Remains,
    /// A dial that fails though nothing is wrong.
    DialFails,
    /// How long a sender or dialler waits for an answer.
    Patience,
    /// How long a sync takes.
    Sync,
    /// A sync that takes much longer.
    Hiccup,
    /// How long the step of a background snapshot takes.
    Snapshot,
    /// How far the writer had got when its process died.
    Writer,
    /// What a loss of power leaves.
    Power,
    /// From an input to the turn that takes it.
    Turn,
    /// How late timers fire.
    Late,
    /// How many inputs a turn takes.
    Inputs,
    /// A `Wake` that nobody asked for.
    Wake,
    /// Clients are read before peers.
    Clients,
    /// Bytes of a peer that are handed in together.
    Joined,
    /// After how many of a turn's effects the process dies.
    Point,
    /// When a server starts.
    Start,
    /// What a machine's clocks show, and how fast.
    Clock,
    /// A seed for a process.
    Seed,
    /// A crash soon after a server reported something.
    Ambush,
    /// What a client asks for, and what it does then.
    Act,
    /// When it does that next.
    Pause,
    /// Which server it dials.
    Dial,
    /// When it tries again.
    Retry,
    /// Whether it looks for its write at another server.
    Chase,
    /// Whether it gives up a session that only a server without a quorum knows.
    Renounce,
}

impl Lane {
    pub const ALL: [(Self, &'static str); 30] = [
        (Self::Other, "other"),
        (Self::Delay, "delay"),
        (Self::Cut, "cut"),
        (Self::Stall, "stall"),
        (Self::Reset, "reset"),
        (Self::Remains, "remains"),
        (Self::DialFails, "dial-fails"),
        (Self::Patience, "patience"),
        (Self::Sync, "sync"),
        (Self::Hiccup, "hiccup"),
        (Self::Snapshot, "snapshot"),
        (Self::Writer, "writer"),
        (Self::Power, "power"),
        (Self::Turn, "turn"),
        (Self::Late, "late"),
        (Self::Inputs, "inputs"),
        (Self::Wake, "wake"),
        (Self::Clients, "clients"),
        (Self::Joined, "joined"),
        (Self::Point, "point"),
        (Self::Start, "start"),
        (Self::Clock, "clock"),
        (Self::Seed, "seed"),
        (Self::Ambush, "ambush"),
        (Self::Act, "act"),
        (Self::Pause, "pause"),
        (Self::Dial, "dial"),
        (Self::Retry, "retry"),
        (Self::Chase, "chase"),
        (Self::Renounce, "renounce"),
    ];

    pub fn name(self) -> &'static str {
        let found = Self::ALL.iter().find(|(lane, _)| *lane == self);
        found.expect("every lane has a name").1
    }

    pub fn named(name: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, known)| *known == name);
        found.map(|(lane, _)| *lane)
    }

    /// Only shifts what happens a little in time or order.
    pub const fn is_timing(self) -> bool {
        matches!(
            self,
            Self::Delay
                | Self::Cut
                | Self::Patience
                | Self::Sync
                | Self::Snapshot
                | Self::Turn
                | Self::Late
                | Self::Inputs
                | Self::Clients
                | Self::Joined
                | Self::Start
                | Self::Pause
                | Self::Retry
        )
    }
}

/// Whose decision it is. Servers and clients count from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Owner {
    Server(u16),
    Client(u16),
    /// One direction between two machines.
    Link(Machine, Machine),
    /// A stream that belongs to nobody.
    Run(u64),
}

/// A machine by name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Machine {
    Server(u16),
    Client(u16),
}

/// Where a decision is found: the stream, what it is about, and how many of its kind came before.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Address {
    pub purpose: Purpose,
    pub owner: Owner,
    pub lane: Lane,
    pub number: u32,
}

/// Outcomes in the order of the draws; what follows on the last one is quiet.
pub type Decisions = BTreeMap<Address, Vec<u64>>;

impl Machine {
    /// Machines on the network are numbered, servers first.
    pub fn numbered(n: u16, servers: u16) -> Self {
        match n.checked_sub(servers) {
            None => Self::Server(n + 1),
            Some(client) => Self::Client(client + 1),
        }
    }
}

impl Owner {
    /// Whose stream `who` is, as the streams of this purpose are numbered.
    fn of(purpose: Purpose, who: u64, servers: u16) -> Self {
        match purpose {
            Purpose::Net => {
                let machine = |n: u64| Machine::numbered(n as u16, servers);
                Self::Link(machine(who >> 16), machine(who & 0xffff))
            }
            Purpose::Disk | Purpose::Turn | Purpose::Clock | Purpose::NodeSeed => {
                Self::Server(who as u16 + 1)
            }
            Purpose::Client => Self::Client(who as u16),
            Purpose::ClientPlan | Purpose::Swarm | Purpose::Nemesis | Purpose::Scenario => {
                Self::Run(who)
            }
        }
    }
}

/// A told decision that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Use {
    pub address: Address,
    /// During this event, counted from 1; 0 is before the first.
    pub event: u64,
    pub at: SimTime,
}

/// What all streams of a run that is noted or told share.
#[derive(Debug)]
pub struct Ledger {
    servers: u16,
    noting: bool,
    decisions: RefCell<Decisions>,
    used: RefCell<Vec<Use>>,
    /// Planned faults that struck: which, at which event and when.
    struck: RefCell<Vec<(usize, u64, SimTime)>>,
    event: Cell<u64>,
    now: Cell<SimTime>,
    /// From this event on everything is drawn.
    free_from: u64,
    /// A run that goes on beyond these is given up.
    events_max: u64,
    time_max: SimTime,
    /// Acts that are not told are drawn: after healing clients do as they please.
    clients_free: Cell<bool>,
}

impl Ledger {
    /// Notes what is drawn.
    pub fn noting(servers: u16) -> Rc<Self> {
        Self::new(
            servers,
            true,
            Decisions::new(),
            (u64::MAX, u64::MAX, SimTime::NEVER),
        )
    }

    /// Tells these decisions, until this event; what comes later is drawn.
    pub fn telling(servers: u16, decisions: Decisions, free_from: u64) -> Rc<Self> {
        Self::new(
            servers,
            false,
            decisions,
            (free_from, u64::MAX, SimTime::NEVER),
        )
    }

    /// Tells these decisions to a run that is only of interest up to this event and time.
    pub fn bounded(
        servers: u16,
        decisions: Decisions,
        events_max: u64,
        time_max: SimTime,
    ) -> Rc<Self> {
        Self::new(servers, false, decisions, (u64::MAX, events_max, time_max))
    }

    fn new(
        servers: u16,
        noting: bool,
        decisions: Decisions,
        (free_from, events_max, time_max): (u64, u64, SimTime),
    ) -> Rc<Self> {
        Rc::new(Self {
            servers,
            noting,
            decisions: RefCell::new(decisions),
            used: RefCell::default(),
            struck: RefCell::default(),
            event: Cell::new(0),
            now: Cell::new(SimTime::ZERO),
            free_from,
            events_max,
            time_max,
            clients_free: Cell::new(false),
        })
    }

    /// This event happens now; they count from 1. False if that is beyond the bounds.
    pub fn at_event(&self, event: u64, now: SimTime) -> bool {
        self.event.set(event);
        self.now.set(now);
        event <= self.events_max && now <= self.time_max
    }

    /// A planned fault strikes.
    pub fn strikes(&self, fault: usize) {
        let (event, now) = (self.event.get(), self.now.get());
        self.struck.borrow_mut().push((fault, event, now));
    }

    /// Everything has healed.
    pub fn healed(&self) {
        self.clients_free.set(true);
    }

    /// What was noted, or is told.
    pub fn decisions(&self) -> Decisions {
        self.decisions.borrow().clone()
    }

    /// Told decisions that were asked for so far.
    pub fn used(&self) -> Vec<Use> {
        self.used.borrow().clone()
    }

    /// Planned faults that struck so far: which, at which event and when.
    pub fn struck(&self) -> Vec<(usize, u64, SimTime)> {
        self.struck.borrow().clone()
    }

    fn is_free(&self) -> bool {
        self.event.get() >= self.free_from
    }
}

/// One stream's place in the ledger.
#[derive(Clone, Debug)]
pub struct Cursor {
    ledger: Rc<Ledger>,
    purpose: Purpose,
    owner: Owner,
    /// Decisions so far, by what they are about and for whom.
    counts: BTreeMap<(Lane, Owner), u32>,
    address: Address,
    /// Outcomes so far, if they are noted; all of them, if they are told.
    outcomes: Vec<u64>,
    /// The decision is told.
    told: bool,
    /// Draws of this decision so far.
    place: usize,
}

/// Where an outcome comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Draw it, and say what came out.
    Draw,
    Told(u64),
    Quiet,
}

impl Cursor {
    pub fn new(ledger: Rc<Ledger>, purpose: Purpose, who: u64) -> Self {
        let owner = Owner::of(purpose, who, ledger.servers);
        let mut cursor = Self {
            ledger,
            purpose,
            owner,
            counts: BTreeMap::new(),
            address: Address {
                purpose,
                owner,
                lane: Lane::Other,
                number: 0,
            },
            outcomes: Vec::new(),
            told: false,
            place: 0,
        };
        cursor.open(Lane::Other, None);
        cursor
    }

    /// The next decision of this kind begins.
    pub fn open(&mut self, lane: Lane, owner: Option<Owner>) {
        let owner = owner.unwrap_or(self.owner);
        let count = self.counts.entry((lane, owner)).or_default();
        self.address = Address {
            purpose: self.purpose,
            owner,
            lane,
            number: *count,
        };
        *count += 1;
        self.place = 0;
        self.outcomes.clear();
        self.told = false;
        if self.ledger.noting || self.ledger.is_free() {
            return;
        }
        if let Some(told) = self.ledger.decisions.borrow().get(&self.address) {
            self.outcomes.clone_from(told);
            self.told = true;
            self.ledger.used.borrow_mut().push(Use {
                address: self.address,
                event: self.ledger.event.get(),
                at: self.ledger.now.get(),
            });
        }
    }

    /// The next draw of the decision.
    pub fn outcome(&mut self) -> Outcome {
        let place = self.place;
        self.place += 1;
        let ledger = &self.ledger;
        if ledger.noting || ledger.is_free() {
            return Outcome::Draw;
        }
        if self.told {
            return self
                .outcomes
                .get(place)
                .map_or(Outcome::Quiet, |v| Outcome::Told(*v));
        }
        // Every act that was noted is told, so one that is not told is new.
        let free = ledger.clients_free.get() && self.address.lane == Lane::Act;
        if free { Outcome::Draw } else { Outcome::Quiet }
    }

    /// What came out of a draw, and what would have been quiet.
    pub fn note(&mut self, outcome: u64, quiet: u64) {
        if !self.ledger.noting {
            return;
        }
        self.outcomes.push(outcome);
        if outcome != quiet {
            let mut decisions = self.ledger.decisions.borrow_mut();
            decisions.insert(self.address, self.outcomes.clone());
        }
    }
}
