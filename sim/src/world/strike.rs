//! Faults, carried out; and their end.

use std::time::Duration;

use vivarium_core::ids::ServerId;

use super::host::PendingCrash;
use super::{Event, Weight, World};
use crate::config::{DiskConfig, TurnConfig};
use crate::decisions::Lane;
use crate::faults::{Fault, Party, Shape, Strike, Target};
use crate::net::Machine;
use crate::observe::SimTime;

impl World {
    /// The next fault of the schedule, and a plan for the one after it.
    pub(super) fn next_fault(&mut self, n: usize) {
        if self.healed {
            return;
        }
        let fault = self.config.faults[n].fault.clone();
        if let Some(ledger) = &self.ledger {
            ledger.strikes(n);
        }
        if let Some(next) = self.config.faults.get(n + 1) {
            self.time.plan(next.at, Event::Fault(n as u32 + 1));
        }
        self.strike(&fault);
    }

    /// Strikes now. A fault whose target does not exist at the moment passes.
    pub fn strike(&mut self, fault: &Fault) {
        self.announce(format_args!("fault: {fault:?}"));
        match *fault {
            Fault::Crash {
                who,
                power,
                strike,
                down,
            } => {
                let Some(h) = self.find(who) else { return };
                self.crash_at(strike, h, power, down);
            }
            Fault::CrashSeveral {
                count,
                word,
                power,
                down,
            } => {
                for i in 0..count {
                    let nth = word.rotate_right(8 * i as u32);
                    if let Some(h) = self.find(Target::Any(nth)) {
                        self.crash(h, power, Some(down));
                    }
                }
            }
            Fault::Blackout { down } => {
                for h in 0..self.hosts.len() {
                    self.crash(h, true, down);
                }
            }
            Fault::Pause { who, lasts } => {
                let Some(h) = self.find(who) else { return };
                self.pause(h, lasts);
            }
            Fault::Cut { ref shape, lasts } => self.cut(shape, lasts),
            Fault::ResetLinks { who } => {
                let Some(h) = self.find(who) else { return };
                let pipes: Vec<_> = self.net.pipes_of(self.hosts[h].machine).collect();
                for pipe in pipes {
                    self.net.reset(&mut self.time, pipe);
                }
            }
            Fault::SlowDisk { who, factor, lasts } => {
                let Some(h) = self.find(who) else { return };
                self.hosts[h].disk.slow = factor;
                self.plan_disk_well(h, lasts);
            }
            Fault::StallDisk { who, lasts } => {
                let Some(h) = self.find(who) else { return };
                self.hosts[h].disk.stalled = true;
                self.plan_disk_well(h, lasts);
            }
            Fault::FailDisk { .. }
            | Fault::DiskStrike { .. }
            | Fault::FullDisk { .. }
            | Fault::LyingDisk { .. }
            | Fault::Rot { .. }
            | Fault::Ruin { .. } => self.strike_disk(fault),
            Fault::JumpWall { who, ms } => {
                let Some(h) = self.find(who) else { return };
                self.hosts[h].clock.jump_wall(ms);
            }
            Fault::Drift { who, ppm } => {
                let Some(h) = self.find(who) else { return };
                self.hosts[h].clock.set_drift(self.time.now(), ppm);
                self.hosts[h].wake_at = None;
                self.plan_wake(h);
            }
        }
    }

    fn announce(&mut self, what: std::fmt::Arguments<'_>) {
        self.tell_all(what);
        self.recount(Weight::Fault, what);
    }

    /// Crashes now, or between two effects of one of the next turns.
    fn crash_at(&mut self, strike: Strike, h: usize, power: bool, down: Option<Duration>) {
        match strike {
            Strike::BetweenTurns => self.crash(h, power, down),
            Strike::BetweenEffects => {
                self.hosts[h].strike = Some(PendingCrash {
                    power,
                    down,
                    turns: 0,
                });
            }
        }
    }

    /// The server that a fault is meant for, if it runs.
    pub(super) fn find(&self, who: Target) -> Option<usize> {
        let up: Vec<usize> = (0..self.hosts.len())
            .filter(|h| self.hosts[*h].is_up())
            .collect();
        let nth = |from: &[usize], word: u64| {
            from.get((word % from.len().max(1) as u64) as usize)
                .copied()
        };
        let leads = |h: &usize| {
            let view = &self.hosts[*h].view;
            view.role == vivarium_core::node::RoleName::Leading
        };
        match who {
            Target::Server(id) => Some(self.index(id)).filter(|h| self.hosts[*h].is_up()),
            Target::Leader => up
                .iter()
                .copied()
                .filter(leads)
                .max_by_key(|h| (self.hosts[*h].view.epoch, self.hosts[*h].view.serving)),
            Target::Follower(word) => {
                let others: Vec<usize> = up.into_iter().filter(|h| !leads(h)).collect();
                nth(&others, word)
            }
            Target::Any(word) => nth(&up, word),
            Target::Newest => up.into_iter().max_by_key(|h| {
                let logged = self.hosts[*h].node.as_ref().map(|n| n.status().logged);
                (logged, *h)
            }),
        }
    }

    /// The process stands still; what comes in waits.
    fn pause(&mut self, h: usize, lasts: Option<Duration>) {
        let now = self.time.now();
        let host = &mut self.hosts[h];
        let again = host.paused.is_some();
        host.pauses += 1;
        host.paused = Some(host.pauses);
        host.turn_at = None;
        host.wake_at = None;
        if let Some(lasts) = lasts {
            self.time
                .plan(now.after(lasts), Event::Resume(h as u16, host.pauses));
        }
        if !again {
            self.disturbed(h);
        }
    }

    /// Tells the checkers that a fault concerns this server from now on.
    pub(super) fn disturbed(&mut self, h: usize) {
        self.checks
            .on_fault(self.time.now(), self.hosts[h].id, true);
    }

    /// Tells the checkers that such a fault has ended.
    pub(super) fn calmed(&mut self, h: usize) {
        self.checks
            .on_fault(self.time.now(), self.hosts[h].id, false);
    }

    /// The process goes on; `which` pause ends, or whichever there is.
    pub(super) fn resume(&mut self, h: usize, which: Option<u32>) {
        let host = &mut self.hosts[h];
        if host.paused.is_none() || (which.is_some() && host.paused != which) {
            return;
        }
        host.paused = None;
        self.calmed(h);
        self.plan_turn(h);
    }

    /// Ends a pause.
    pub fn resume_server(&mut self, id: ServerId) {
        self.resume(self.index(id), None);
    }

    pub(super) fn plan_disk_well(&mut self, h: usize, lasts: Option<Duration>) {
        let now = self.time.now();
        let host = &mut self.hosts[h];
        host.disk_faults += 1;
        if let Some(lasts) = lasts {
            self.time.plan(
                now.after(lasts),
                Event::DiskWell(h as u16, host.disk_faults),
            );
        }
    }

    /// The disk is itself again, if no later fault has struck it.
    pub(super) fn disk_well(&mut self, h: usize, which: Option<u32>) {
        let host = &mut self.hosts[h];
        if which.is_some_and(|n| n != host.disk_faults) {
            return;
        }
        host.disk.slow = 1;
        host.disk.stalled = false;
        host.disk.files().set_room(None);
        if std::mem::take(&mut host.disk.held) {
            let process = host.incarnation;
            self.group_ends(h, process);
        }
        if which.is_some() && self.hosts[h].disk.files().is_damaged() {
            let down = self.hosts[h].down_after_failure;
            self.crash(h, true, down);
        }
    }

    fn cut(&mut self, shape: &Shape, lasts: Option<Duration>) {
        let pairs = self.pairs(shape);
        for (from, to) in &pairs {
            self.net.cut(*from, *to);
        }
        for h in self.servers_in(&pairs) {
            self.disturbed(h);
        }
        let number = self.cuts.len() as u32;
        self.cuts.push(pairs);
        if let Some(lasts) = lasts {
            self.time
                .plan(self.time.now().after(lasts), Event::Mend(number));
        }
    }

    pub(super) fn mend(&mut self, number: usize) {
        let pairs = std::mem::take(&mut self.cuts[number]);
        for (from, to) in &pairs {
            self.net.mend(&mut self.time, *from, *to);
        }
        for h in self.servers_in(&pairs) {
            self.calmed(h);
        }
    }

    /// The servers that a cut keeps apart from other servers, each once. What keeps a client from
    /// a server is no excuse: it shows in what the client hears.
    fn servers_in(&self, pairs: &[(Machine, Machine)]) -> Vec<usize> {
        let servers = self.hosts.len();
        let is_server = |machine: &Machine| usize::from(machine.0) < servers;
        let concerns = |h: &usize| {
            let machine = self.hosts[*h].machine;
            pairs
                .iter()
                .filter(|(from, to)| is_server(from) && is_server(to))
                .any(|(from, to)| *from == machine || *to == machine)
        };
        (0..self.hosts.len()).filter(concerns).collect()
    }

    /// The directed pairs that a cut separates.
    fn pairs(&self, shape: &Shape) -> Vec<(Machine, Machine)> {
        let servers = self.hosts.len() as u16;
        let all = servers + self.seats.len() as u16;
        let bit = |word: u64, n: u16| word >> (n % 64) & 1 == 1;
        let pairs = |cut: &dyn Fn(u16, u16) -> bool| {
            let both = (0..all).flat_map(|a| (0..all).map(move |b| (a, b)));
            both.filter(|(a, b)| a != b && (*a < servers || *b < servers) && cut(*a, *b))
                .map(|(a, b)| (Machine(a), Machine(b)))
                .collect()
        };
        let of = |who: Target| self.find(who).map(|h| h as u16);
        match shape {
            Shape::Split(word) => pairs(&|a, b| bit(*word, a) != bit(*word, b)),
            Shape::Groups(left, right) => {
                let left: Vec<u16> = left.iter().map(|p| self.machine(*p).0).collect();
                let right: Vec<u16> = right.iter().map(|p| self.machine(*p).0).collect();
                pairs(&|a, b| {
                    (left.contains(&a) && right.contains(&b))
                        || (right.contains(&a) && left.contains(&b))
                })
            }
            Shape::Isolate(who) => {
                of(*who).map_or_else(Vec::new, |one| pairs(&|a, b| a == one || b == one))
            }
            Shape::Mute(who) => {
                of(*who).map_or_else(Vec::new, |one| pairs(&|a, b| a == one && b < servers))
            }
            Shape::Deaf(who) => {
                of(*who).map_or_else(Vec::new, |one| pairs(&|a, b| b == one && a < servers))
            }
            Shape::Bridge(word) => {
                let bridge = (*word >> 56) as u16 % servers;
                pairs(&|a, b| {
                    a != bridge
                        && b != bridge
                        && b < servers
                        && a < servers
                        && bit(*word, a) != bit(*word, b)
                })
            }
            Shape::OneWay(word) => {
                let from = (*word >> 56) as u16 % servers;
                let to = (*word >> 48) as u16 % servers;
                pairs(&|a, b| a == from && b == to)
            }
            Shape::Directed(from, to) => {
                let (from, to) = (self.machine(*from).0, self.machine(*to).0);
                pairs(&|a, b| a == from && b == to)
            }
            Shape::Home(word) => match self.home(*word) {
                Some(home) => pairs(&|a, b| (a.max(b), a.min(b)) == home),
                None => Vec::new(),
            },
            Shape::Orphan(word) => {
                let heir = of(Target::Follower(*word));
                let Some((leader, heir)) = of(Target::Leader).zip(heir) else {
                    return Vec::new();
                };
                pairs(&|a, b| a == leader && b < servers && b != heir)
            }
            Shape::Clients(word) => pairs(&|a, b| {
                let (client, server) = (a.max(b), a.min(b));
                client >= servers && bit(*word, client * 5 + server)
            }),
        }
    }

    /// Some client with a session and the server that it has it on, by machine.
    fn home(&self, word: u64) -> Option<(u16, u16)> {
        let servers = self.hosts.len();
        let homes = self.seats.iter().enumerate().filter_map(|(c, seat)| {
            let home = self.index(seat.client.server()?);
            Some(((servers + c) as u16, home as u16))
        });
        let homes: Vec<_> = homes.collect();
        let nth = word % homes.len().max(1) as u64;
        homes.get(nth as usize).copied()
    }

    fn machine(&self, party: Party) -> Machine {
        match party {
            Party::Server(id) => Machine(self.index(id) as u16),
            Party::Client(n) => {
                assert!((1..=self.seats.len() as u32).contains(&n), "no client c{n}");
                Machine((self.hosts.len() as u32 + n - 1) as u16)
            }
        }
    }

    /// Every disk is itself again.
    pub fn disks_well(&mut self) {
        for h in 0..self.hosts.len() {
            self.disk_well(h, None);
        }
    }

    /// Every cut ends.
    pub fn mend_network(&mut self) {
        for number in 0..self.cuts.len() {
            self.mend(number);
        }
    }

    /// Every fault ends: packets get through, disks and processes run, nobody is down.
    pub fn heal(&mut self) {
        if std::mem::replace(&mut self.healed, true) {
            return;
        }
        self.announce(format_args!("everything heals"));
        // A disk or a processor that can not keep up with its clients is no fault that ends.
        self.config.disk = DiskConfig::calm();
        self.config.turn = TurnConfig::calm();
        self.net.calm();
        self.mend_network();
        for h in 0..self.hosts.len() {
            self.hosts[h].strike = None;
            self.hosts[h].disk.files().disarm();
            self.disk_well(h, None);
            self.resume(h, None);
            if !self.hosts[h].is_up() {
                let delay = self.hosts[h].turn_stream.on(Lane::Start).below(100_000_000);
                let at = SimTime(self.time.now().0 + delay);
                self.time
                    .plan(at, Event::Start(h as u16, self.hosts[h].incarnation + 1));
            }
        }
        self.checks.on_healed(self.time.now());
        if let Some(ledger) = &self.ledger {
            ledger.healed();
        }
    }
}
