//! The network: TCP-like connections between machines.
//!
//! Promises what TCP promises and no more: the bytes of one direction of one connection arrive in
//! order, cut anywhere, or the connection breaks. Each connection has an id that is never used
//! again. Loss is a broken connection, never a hole. Knows machines by number and bytes by count;
//! servers and clients, frames and messages are not its business.

mod pipe;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use vivarium_core::boundary::Channel;

use crate::decisions::Lane;
use crate::observe::SimTime;
use crate::rng::{Purpose, Stream, Streams};
use crate::timeline::Timeline;

use pipe::{Dir, EndState, Pipe, Segment, Unit};

/// A machine on the network: servers first, then clients.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Machine(pub u16);

/// A connection; never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PipeId(pub u32);

/// One end of a connection: the one that dialled, or the one that accepted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Side {
    Dialer,
    Acceptor,
}

/// Which port was dialled.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Port {
    Client,
    Peer(Channel),
}

/// What the network plans for itself.
#[derive(Clone, Copy, Debug)]
pub enum NetEvent {
    /// A dial reaches the other machine.
    Syn(PipeId),
    /// The answer to a dial comes back; `true` if it was accepted.
    Answer(PipeId, bool),
    /// The dialling machine has waited long enough.
    DialTimeout(PipeId),
    /// The head of a direction is due.
    Flow(PipeId, Side),
    /// A sender has waited for an acknowledgement since this time.
    Unanswered(PipeId, Side, SimTime),
    /// The other machine said that it knows no such connection.
    Refused(PipeId, Side),
}

/// Something that a machine notices.
#[derive(Clone, Debug)]
pub struct Arrival {
    pub to: Machine,
    pub pipe: PipeId,
    pub side: Side,
    pub port: Port,
    /// The machine at the other end.
    pub from: Machine,
    pub what: What,
}

#[derive(Clone, Debug)]
pub enum What {
    Opened,
    Bytes(Bytes),
    Closed,
    DialFailed,
}

/// How the network behaves in one run; times in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetConfig {
    /// Each delivery takes at least this long.
    pub delay_min: u64,
    /// And an exponential share with this mean.
    pub delay_mean: u64,
    /// Of a thousand sends, how many are cut into two arrivals.
    pub cut_per_mille: u64,
    /// Of ten thousand sends, how many hold up their direction.
    pub stall_per_10k: u64,
    pub stall_max: u64,
    /// Of a hundred thousand sends, how many end in a reset of their connection.
    pub reset_per_100k: u64,
    /// Of a thousand dials, how many fail though nothing is wrong.
    pub dial_fail_per_mille: u64,
    /// How long a sender waits for an acknowledgement, and a dialler for an answer.
    pub give_up_min: u64,
    pub give_up_max: u64,
}

/// All connections, and which machine can reach which.
#[derive(Debug)]
pub struct Net {
    config: NetConfig,
    machines: usize,
    /// Indexed by the id: connections are never forgotten, only emptied.
    pipes: Vec<Option<Box<Pipe>>>,
    /// Ids of the pipes that are not empty, rising.
    live: Vec<PipeId>,
    /// How many cuts lie on each directed pair.
    cuts: Vec<u16>,
    /// Powered off: everything sent there is lost without a word.
    dark: Vec<bool>,
    /// Accepts connections: a process runs.
    listening: Vec<bool>,
    /// One stream for each directed pair.
    streams: Vec<Stream>,
    /// What was noticed and not yet fetched.
    arrivals: Vec<Arrival>,
    /// Directed pairs whose packets are held up by chance, and until when; not yet fetched.
    stalls: Vec<(Machine, Machine, SimTime)>,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::Dialer, Self::Acceptor];

    pub const fn other(self) -> Self {
        match self {
            Self::Dialer => Self::Acceptor,
            Self::Acceptor => Self::Dialer,
        }
    }
}

impl NetConfig {
    /// A quiet local network.
    pub const fn calm() -> Self {
        Self {
            delay_min: 50_000,
            delay_mean: 100_000,
            cut_per_mille: 20,
            stall_per_10k: 0,
            stall_max: 3_000_000_000,
            reset_per_100k: 0,
            dial_fail_per_mille: 0,
            give_up_min: 2_000_000_000,
            give_up_max: 5_000_000_000,
        }
    }
}

impl Net {
    pub fn new(config: NetConfig, machines: usize, streams: &Streams) -> Self {
        assert!(
            machines < 1 << 12,
            "machine numbers share a word with their pair's"
        );
        let pair = |i: usize| ((i / machines) as u64) << 16 | (i % machines) as u64;
        let pairs = machines * machines;
        Self {
            config,
            machines,
            pipes: Vec::new(),
            live: Vec::new(),
            cuts: vec![0; pairs],
            dark: vec![false; machines],
            listening: vec![false; machines],
            streams: (0..pairs)
                .map(|i| streams.stream(Purpose::Net, pair(i)))
                .collect(),
            arrivals: Vec::new(),
            stalls: Vec::new(),
        }
    }

    /// What was noticed since the last call, in order; the vector given is the next buffer.
    pub fn take_arrivals(&mut self, buffer: &mut Vec<Arrival>) {
        assert!(buffer.is_empty(), "arrivals would be lost");
        std::mem::swap(&mut self.arrivals, buffer);
    }

    pub fn has_arrivals(&self) -> bool {
        !self.arrivals.is_empty()
    }

    /// The next directed pair that chance slows down, and until when, for the checkers.
    pub fn take_stall(&mut self) -> Option<(Machine, Machine, SimTime)> {
        self.stalls.pop()
    }

    fn pair(&self, from: Machine, to: Machine) -> usize {
        usize::from(from.0) * self.machines + usize::from(to.0)
    }

    fn stream(&mut self, from: Machine, to: Machine) -> &mut Stream {
        let pair = self.pair(from, to);
        &mut self.streams[pair]
    }

    /// Do packets get from one machine to the other?
    pub fn reaches(&self, from: Machine, to: Machine) -> bool {
        self.cuts[self.pair(from, to)] == 0
            && !self.dark[usize::from(from.0)]
            && !self.dark[usize::from(to.0)]
    }

    fn delay(&mut self, from: Machine, to: Machine) -> u64 {
        let NetConfig {
            delay_min,
            delay_mean,
            ..
        } = self.config;
        delay_min
            + self
                .stream(from, to)
                .on(Lane::Delay)
                .exponential(delay_mean)
    }

    fn give_up(&mut self, from: Machine, to: Machine) -> u64 {
        let NetConfig {
            give_up_min,
            give_up_max,
            ..
        } = self.config;
        let stream = self.stream(from, to).on(Lane::Patience);
        stream.range(give_up_min, give_up_max)
    }

    fn pipe(&mut self, id: PipeId) -> Option<&mut Pipe> {
        self.pipes[id.0 as usize].as_deref_mut()
    }

    /// Starts a connection. The dialler hears `Opened` or `DialFailed`.
    pub fn dial<E: From<NetEvent>>(
        &mut self,
        time: &mut Timeline<E>,
        from: Machine,
        to: Machine,
        port: Port,
    ) -> PipeId {
        let id = PipeId(u32::try_from(self.pipes.len()).expect("fewer than 2^32 connections"));
        self.pipes.push(Some(Box::new(Pipe::new(port, from, to))));
        self.live.push(id);
        let (now, delay) = (time.now().0, self.delay(from, to));
        let patience = self.give_up(from, to);
        time.plan(SimTime(now + delay), NetEvent::Syn(id).into());
        time.plan(SimTime(now + patience), NetEvent::DialTimeout(id).into());
        id
    }

    /// Bytes into a connection. Into a closed one they vanish.
    pub fn send<E: From<NetEvent>>(
        &mut self,
        time: &mut Timeline<E>,
        id: PipeId,
        side: Side,
        bytes: Bytes,
    ) {
        let Some((from, to)) = self.open_ends(id, side) else {
            return;
        };
        if bytes.is_empty() {
            return;
        }
        let NetConfig {
            cut_per_mille,
            stall_per_10k,
            stall_max,
            reset_per_100k,
            ..
        } = self.config;
        let len = bytes.len() as u64;
        let stream = self.stream(from, to);
        let reset = stream.on(Lane::Reset).maybe(reset_per_100k, 100_000);
        let stalled = stream.on(Lane::Stall).maybe(stall_per_10k, 10_000);
        let stall = if stalled {
            stream.range(1, stall_max)
        } else {
            0
        };
        stream.on(Lane::Cut);
        let cut =
            (len > 1 && stream.chance(cut_per_mille, 1_000)).then(|| stream.range(1, len - 1));
        let delay = self.delay(from, to) + stall;
        let due = SimTime(time.now().0 + delay);
        if stalled {
            self.stalls.push((from, to, due));
        }
        match cut {
            None => self.enqueue(time, id, side, due, Unit::Bytes(bytes)),
            Some(at) => {
                let gap = self.delay(from, to);
                let (head, tail) = (bytes.slice(..at as usize), bytes.slice(at as usize..));
                self.enqueue(time, id, side, due, Unit::Bytes(head));
                self.enqueue(time, id, side, SimTime(due.0 + gap), Unit::Bytes(tail));
            }
        }
        if reset {
            self.reset(time, id);
        }
    }

    /// Both machines of a connection, seen from `side`, if that end is open.
    fn open_ends(&mut self, id: PipeId, side: Side) -> Option<(Machine, Machine)> {
        let pipe = self.pipe(id)?;
        let open = pipe.state(side) == EndState::Open;
        open.then(|| (pipe.machine(side), pipe.machine(side.other())))
    }

    fn enqueue<E: From<NetEvent>>(
        &mut self,
        time: &mut Timeline<E>,
        id: PipeId,
        side: Side,
        due: SimTime,
        unit: Unit,
    ) {
        let Some(pipe) = self.pipe(id) else { return };
        let dir = pipe.dir_mut(side);
        if dir.broken {
            return;
        }
        let due = dir.push(due, unit);
        if !dir.planned && !dir.waiting {
            dir.planned = true;
            time.plan(due, NetEvent::Flow(id, side).into());
        }
    }

    /// This end is closed by its process; what was sent before still arrives, then the end of it.
    pub fn close<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, id: PipeId, side: Side) {
        let Some(pipe) = self.pipe(id) else { return };
        if pipe.state(side) == EndState::Closed {
            return;
        }
        let opening = pipe.state(side) == EndState::Opening;
        let (from, to) = (pipe.machine(side), pipe.machine(side.other()));
        pipe.set_state(side, EndState::Closed);
        if !opening {
            let due = SimTime(time.now().0 + self.delay(from, to));
            self.enqueue(time, id, side, due, Unit::End);
        }
        self.forget_if_over(id);
    }

    /// The connection breaks: of what is in flight a drawn prefix arrives, cut anywhere, then both
    /// ends learn that it is over.
    pub fn reset<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, id: PipeId) {
        for side in Side::BOTH {
            let Some(pipe) = self.pipe(id) else { return };
            if pipe.dir(side).broken {
                continue;
            }
            let (from, to) = (pipe.machine(side), pipe.machine(side.other()));
            let flying = pipe.dir(side).bytes() as u64;
            let keep = self.stream(from, to).on(Lane::Remains).range(0, flying);
            let due = SimTime(time.now().0 + self.delay(from, to));
            self.pipe(id)
                .expect("still there")
                .dir_mut(side)
                .cut_to(keep as usize);
            self.enqueue(time, id, side, due, Unit::End);
            self.pipe(id).expect("still there").dir_mut(side).broken = true;
        }
    }

    /// A machine's process is gone. With `power` the whole machine is dark: nobody is told, and
    /// nothing reaches it. Otherwise its kernel ends the connections, after a drawn part of what
    /// was in flight.
    pub fn crash<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, who: Machine, power: bool) {
        self.listening[usize::from(who.0)] = false;
        self.dark[usize::from(who.0)] = power;
        for id in self.live.clone() {
            let Some(pipe) = self.pipe(id) else { continue };
            let Some(side) = pipe.side_of(who) else {
                continue;
            };
            let opening = pipe.state(side) == EndState::Opening;
            // A dial that has not got here yet finds whatever runs when it does.
            if pipe.state(side) == EndState::Closed || (opening && side == Side::Acceptor) {
                continue;
            }
            let to = pipe.machine(side.other());
            let flying = pipe.dir(side).bytes() as u64;
            pipe.set_state(side, EndState::Closed);
            if !power && !opening {
                let keep = self.stream(who, to).on(Lane::Remains).range(0, flying);
                let due = SimTime(time.now().0 + self.delay(who, to));
                self.pipe(id)
                    .expect("still there")
                    .dir_mut(side)
                    .cut_to(keep as usize);
                self.enqueue(time, id, side, due, Unit::End);
            }
            self.forget_if_over(id);
        }
    }

    /// A process runs on this machine and accepts connections.
    pub fn start<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, who: Machine) {
        self.listening[usize::from(who.0)] = true;
        if std::mem::replace(&mut self.dark[usize::from(who.0)], false) {
            self.resume(time);
        }
    }

    /// Packets from one machine to another vanish from now on. Cuts add up.
    pub fn cut(&mut self, from: Machine, to: Machine) {
        let pair = self.pair(from, to);
        self.cuts[pair] += 1;
    }

    /// Takes back one [`Net::cut`].
    pub fn mend<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, from: Machine, to: Machine) {
        let pair = self.pair(from, to);
        self.cuts[pair] = self.cuts[pair].saturating_sub(1);
        if self.cuts[pair] == 0 {
            self.resume(time);
        }
    }

    /// From now on nothing goes wrong by chance.
    pub fn calm(&mut self) {
        self.config.stall_per_10k = 0;
        self.config.reset_per_100k = 0;
        self.config.dial_fail_per_mille = 0;
    }

    /// Lets held up directions flow again where packets get through.
    fn resume<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>) {
        for id in self.live.clone() {
            for side in Side::BOTH {
                let Some(pipe) = self.pipe(id) else { continue };
                let (from, to) = (pipe.machine(side), pipe.machine(side.other()));
                if !pipe.dir(side).waiting || !self.reaches(from, to) {
                    continue;
                }
                let due = SimTime(time.now().0 + self.delay(from, to));
                let dir = self.pipe(id).expect("still there").dir_mut(side);
                dir.waiting = false;
                dir.planned = true;
                dir.not_before(due);
                time.plan(due, NetEvent::Flow(id, side).into());
            }
        }
    }

    /// Which port a connection is for, and its machines: the one at this side, and the other.
    pub fn ends(&self, id: PipeId, side: Side) -> Option<(Port, Machine, Machine)> {
        let pipe = self.pipes.get(id.0 as usize)?.as_ref()?;
        Some((pipe.port, pipe.machine(side), pipe.machine(side.other())))
    }

    /// Connections between servers or with clients that are open at `who`'s end, oldest first.
    pub fn pipes_of(&self, who: Machine) -> impl Iterator<Item = PipeId> {
        self.live.iter().copied().filter(move |id| {
            self.pipes[id.0 as usize].as_ref().is_some_and(|p| {
                p.side_of(who)
                    .is_some_and(|side| p.state(side) == EndState::Open)
            })
        })
    }

    /// Carries out what was planned.
    pub fn happen<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, event: NetEvent) {
        match event {
            NetEvent::Syn(id) => self.syn(time, id),
            NetEvent::Answer(id, accepted) => self.answer(time, id, accepted),
            NetEvent::DialTimeout(id) => self.answer(time, id, false),
            NetEvent::Flow(id, side) => self.flow(time, id, side),
            NetEvent::Unanswered(id, side, since) => self.unanswered(id, side, since),
            NetEvent::Refused(id, side) => self.break_end(id, side),
        }
    }

    fn syn<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, id: PipeId) {
        let dial_fail_per_mille = self.config.dial_fail_per_mille;
        let Some(pipe) = self.pipe(id) else { return };
        if pipe.state(Side::Dialer) != EndState::Opening {
            return;
        }
        let (from, to) = (pipe.machine(Side::Dialer), pipe.machine(Side::Acceptor));
        if !self.reaches(from, to) {
            return;
        }
        let stream = self.stream(from, to).on(Lane::DialFails);
        let unlucky = stream.maybe(dial_fail_per_mille, 1_000);
        let accepted = self.listening[usize::from(to.0)] && !unlucky;
        let back = SimTime(time.now().0 + self.delay(to, from));
        if accepted {
            let pipe = self.pipe(id).expect("still there");
            pipe.set_state(Side::Acceptor, EndState::Open);
            // The first byte can not overtake the answer that makes the connection.
            pipe.dir_mut(Side::Acceptor).not_before(back);
            self.notice(id, Side::Acceptor, What::Opened);
        }
        if self.reaches(to, from) {
            time.plan(back, NetEvent::Answer(id, accepted).into());
        }
    }

    fn answer<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, id: PipeId, accepted: bool) {
        let Some(pipe) = self.pipe(id) else { return };
        let (from, to) = (pipe.machine(Side::Dialer), pipe.machine(Side::Acceptor));
        match pipe.state(Side::Dialer) {
            EndState::Open => return,
            EndState::Opening if accepted => {
                pipe.set_state(Side::Dialer, EndState::Open);
                self.notice(id, Side::Dialer, What::Opened);
            }
            EndState::Opening => {
                pipe.set_state(Side::Dialer, EndState::Closed);
                self.notice(id, Side::Dialer, What::DialFailed);
            }
            // The dialler is gone; its machine refuses the connection that the answer confirms.
            EndState::Closed if accepted && self.reaches(from, to) => {
                let at = SimTime(time.now().0 + self.delay(from, to));
                time.plan(at, NetEvent::Refused(id, Side::Acceptor).into());
            }
            EndState::Closed => {}
        }
        let now = time.now();
        if let Some(pipe) = self.pipe(id) {
            let dir = pipe.dir_mut(Side::Acceptor);
            if std::mem::take(&mut dir.waiting) {
                dir.planned = true;
                time.plan(now, NetEvent::Flow(id, Side::Acceptor).into());
            }
        }
        self.forget_if_over(id);
    }

    fn notice(&mut self, id: PipeId, side: Side, what: What) {
        let pipe = self.pipes[id.0 as usize]
            .as_ref()
            .expect("a connection that is noticed");
        let (to, from, port) = (pipe.machine(side), pipe.machine(side.other()), pipe.port);
        self.arrivals.push(Arrival {
            to,
            pipe: id,
            side,
            port,
            from,
            what,
        });
    }

    /// The head of a direction is due: everything due arrives, if packets get through.
    fn flow<E: From<NetEvent>>(&mut self, time: &mut Timeline<E>, id: PipeId, side: Side) {
        let Some(pipe) = self.pipe(id) else { return };
        let (from, to) = (pipe.machine(side), pipe.machine(side.other()));
        pipe.dir_mut(side).planned = false;
        if pipe.dir(side).head().is_none() {
            return;
        }
        let (there, back) = (self.reaches(from, to), self.reaches(to, from));
        if !there || !back {
            self.await_answer(time, id, side, from, to);
        }
        if !there {
            self.pipe(id).expect("still there").dir_mut(side).waiting = true;
            return;
        }
        if back {
            self.pipe(id).expect("still there").dir_mut(side).unanswered = None;
        }
        self.deliver_due(time, id, side, from, to);
        self.forget_if_over(id);
    }

    fn deliver_due<E: From<NetEvent>>(
        &mut self,
        time: &mut Timeline<E>,
        id: PipeId,
        side: Side,
        from: Machine,
        to: Machine,
    ) {
        let far = side.other();
        loop {
            let Some(pipe) = self.pipe(id) else { return };
            // A dialler whose answer is still under way has not got the connection yet.
            if pipe.state(far) == EndState::Opening {
                pipe.dir_mut(side).waiting = true;
                return;
            }
            let Some(&Segment { due, .. }) = pipe.dir(side).head() else {
                return;
            };
            if due > time.now() {
                pipe.dir_mut(side).planned = true;
                time.plan(due, NetEvent::Flow(id, side).into());
                return;
            }
            let unit = pipe.dir_mut(side).pop();
            let closed = pipe.state(far) == EndState::Closed;
            match unit {
                Unit::Bytes(_) if closed => {
                    pipe.dir_mut(side).clear();
                    let sender_open = pipe.state(side) == EndState::Open;
                    if sender_open && self.reaches(to, from) {
                        let at = SimTime(time.now().0 + self.delay(to, from));
                        time.plan(at, NetEvent::Refused(id, side).into());
                    }
                }
                Unit::Bytes(bytes) => self.notice(id, far, What::Bytes(bytes)),
                Unit::End if closed => {}
                Unit::End => self.break_end(id, far),
            }
        }
    }

    /// An end learns that the connection is over.
    fn break_end(&mut self, id: PipeId, side: Side) {
        let Some(pipe) = self.pipe(id) else { return };
        match pipe.state(side) {
            EndState::Closed => return,
            EndState::Opening => self.notice(id, side, What::DialFailed),
            EndState::Open => self.notice(id, side, What::Closed),
        }
        self.pipe(id)
            .expect("still there")
            .set_state(side, EndState::Closed);
        self.forget_if_over(id);
    }

    /// The sender starts to wait for an acknowledgement.
    fn await_answer<E: From<NetEvent>>(
        &mut self,
        time: &mut Timeline<E>,
        id: PipeId,
        side: Side,
        from: Machine,
        to: Machine,
    ) {
        let now = time.now();
        let dir: &mut Dir = self.pipe(id).expect("still there").dir_mut(side);
        if dir.unanswered.is_some() {
            return;
        }
        dir.unanswered = Some(now);
        let at = SimTime(now.0 + self.give_up(from, to));
        time.plan(at, NetEvent::Unanswered(id, side, now).into());
    }

    /// The sender has waited long enough: to it the connection is broken; the other end knows
    /// nothing of that.
    fn unanswered(&mut self, id: PipeId, side: Side, since: SimTime) {
        let Some(pipe) = self.pipe(id) else { return };
        let (from, to) = (pipe.machine(side), pipe.machine(side.other()));
        if pipe.dir(side).unanswered != Some(since) {
            return;
        }
        if self.reaches(from, to) && self.reaches(to, from) {
            self.pipe(id).expect("still there").dir_mut(side).unanswered = None;
            return;
        }
        self.break_end(id, side);
    }

    /// Drops a connection that neither end has any more and in which nothing flies.
    fn forget_if_over(&mut self, id: PipeId) {
        let over = self.pipes[id.0 as usize]
            .as_ref()
            .is_some_and(|p| p.is_over());
        if over {
            self.pipes[id.0 as usize] = None;
            let at = self.live.binary_search(&id).expect("live pipes are listed");
            self.live.remove(at);
        }
    }
}
