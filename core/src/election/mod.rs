//! Fast leader election (ZooKeeper's `FastLeaderElection`), as a pure state machine: votes and
//! time in, votes and a decision out. Knows no connection; see [`exchange`] for those.
//!
//! A server that looks for a leader tells its vote to every voter and adopts a better one that it
//! hears. When a quorum says the same, and a short silence brings nothing better, it is decided. A
//! server that is not looking answers one that is, so a late comer joins what exists.
//!
//! The silence is for voters who could still say something. One whose election port refuses us has
//! no process that could: when all others agree, nothing is waited for, and an ensemble whose
//! leader was killed has the next one after a round trip. Nothing that was acknowledged depends on
//! the silence: a quorum agrees in any case, discovery compares histories, and a leader reigns only
//! with a quorum that promises its epoch. What a hasty decision can cost is another round, when a
//! voter came back in that moment and some heard its better vote in time and some did not. So that
//! it costs no more, whoever decided looks again as soon as a voter that it counted on tells
//! another vote, or its leader does not lead ([`Election::is_abandoned`]); ZooKeeper waits in vain
//! for `initLimit` then. Voters that keep the silence, as Java servers do, come to the same
//! decision a little later: a leader waits for them, and a follower goes on knocking.

pub(crate) mod exchange;
mod vote;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

pub(crate) use vote::Vote;

use crate::ids::{Epoch, ServerId};
use crate::limits::{
    ELECTION_FINALIZE_WAIT, ELECTIONS_AHEAD_MAX, NOTIFICATION_INTERVAL_MAX,
    NOTIFICATION_INTERVAL_MIN,
};
use crate::quorum::Voters;
use crate::time::Instant;
use crate::wire::election::PeerState;

/// What one server says to another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ballot {
    pub(crate) vote: Vote,
    pub(crate) state: PeerState,
}

/// A ballot and whom to tell it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Telling {
    pub(crate) to: ServerId,
    pub(crate) ballot: Ballot,
}

/// One search for a leader.
#[derive(Debug)]
struct Round {
    /// What this server votes for now.
    proposal: Vote,
    /// What this server would vote for if it were alone.
    initial: Vote,
    /// Votes of this round, by voter; this server's own included while it has a vote.
    received: BTreeMap<ServerId, Ballot>,
    /// Votes of servers that have settled, of whatever round.
    settled: BTreeMap<ServerId, Ballot>,
    /// Voters whose election port has refused us, and of whom nothing was heard since.
    absent: BTreeSet<ServerId>,
    interval: Duration,
    tell_again: Instant,
    /// Set while a quorum agrees: when its silence has lasted long enough.
    finalize: Option<Instant>,
}

impl Round {
    /// Who votes as this server does.
    fn agreeing(&self) -> BTreeSet<ServerId> {
        let agreeing = |b: &Ballot| self.proposal.agrees(PeerState::Looking, &b.vote, b.state);
        let received = self.received.iter();
        let agreeing = received.filter(|(_, b)| agreeing(b));
        agreeing.map(|(id, _)| *id).collect()
    }
}

/// The election of one server, over its whole life.
#[derive(Debug)]
pub(crate) struct Election {
    me: ServerId,
    voters: Voters,
    /// Logical clock; starts at 0, is never stored.
    clock: i64,
    /// The last decision, told to servers that look.
    current: Vote,
    state: PeerState,
    round: Option<Round>,
    /// Whose votes led to the last decision, and who still holds to it as far as is known.
    backers: BTreeSet<ServerId>,
    /// The chosen leader itself has said that it does not lead.
    is_disowned: bool,
    /// Neither votes nor answers.
    is_paused: bool,
    tellings: Vec<Telling>,
}

impl Election {
    pub(crate) fn new(me: ServerId, voters: Voters) -> Self {
        Self {
            me,
            voters,
            clock: 0,
            current: Vote::none(),
            state: PeerState::Looking,
            round: None,
            backers: BTreeSet::new(),
            is_disowned: false,
            is_paused: false,
            tellings: Vec::new(),
        }
    }

    pub(crate) fn round_number(&self) -> i64 {
        self.clock
    }

    /// Starts to look. `own` is the vote for oneself; it does not count where this server has none.
    pub(crate) fn enter_looking(&mut self, own: Vote, now: Instant) {
        self.clock += 1;
        self.is_paused = false;
        self.state = PeerState::Looking;
        let own = if self.voters.contains(self.me) {
            own
        } else {
            Vote::none()
        };
        let proposal = Vote {
            round: self.clock,
            ..own
        };
        self.current = proposal;
        self.round = Some(Round {
            proposal,
            initial: own,
            received: BTreeMap::new(),
            settled: BTreeMap::new(),
            absent: BTreeSet::new(),
            interval: NOTIFICATION_INTERVAL_MIN,
            tell_again: now + NOTIFICATION_INTERVAL_MIN,
            finalize: None,
        });
        self.count_own();
        self.tell_everyone();
        // A single voter agrees with itself.
        self.look_for_quorum(now);
    }

    /// Keeps out until [`Self::enter_looking`]: this server could not lead now, nor follow, and
    /// what it believed last is not true any more.
    pub(crate) fn pause(&mut self) {
        self.is_paused = true;
        self.state = PeerState::Looking;
        self.current = Vote::none();
        self.round = None;
        self.tellings.clear();
    }

    /// The epoch of the leader's reign is known: late comers must see equal votes everywhere
    /// (ZOOKEEPER-1732).
    pub(crate) fn set_established(&mut self, epoch: Epoch) {
        assert!(
            self.round.is_none(),
            "an epoch is established after an election"
        );
        self.current.peer_epoch = epoch;
    }

    /// What must be told since the last call, in order.
    pub(crate) fn take_tellings(&mut self) -> Vec<Telling> {
        core::mem::take(&mut self.tellings)
    }

    /// Our vote, for a peer whose connection has just come up.
    pub(crate) fn ballot(&self) -> Ballot {
        let vote = self.round.as_ref().map_or(self.current, |r| r.proposal);
        Ballot {
            vote,
            state: self.state,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let round = self.round.as_ref()?;
        Some(
            round
                .finalize
                .map_or(round.tell_again, |at| at.min(round.tell_again)),
        )
    }

    /// Is the vote of this server waited for?
    pub(crate) fn awaits(&self, who: ServerId) -> bool {
        self.round.is_some() && self.voters.contains(who)
    }

    /// The election port of this server refuses us: it has no process, and what the last one voted
    /// is void. If that was the candidate of this server, everybody must hear that there is none.
    pub(crate) fn set_absent(&mut self, who: ServerId, now: Instant) {
        let Some(round) = self.round.as_mut() else {
            return;
        };
        if !self.voters.contains(who) || !round.absent.insert(who) {
            return;
        }
        round.received.remove(&who);
        round.settled.remove(&who);
        if round.proposal.leader == who {
            self.clock += 1;
            round.received.clear();
            let initial = round.initial;
            self.adopt(initial);
        }
        self.look_for_quorum(now);
    }

    /// This server can be reached: it may have something to say.
    pub(crate) fn set_present(&mut self, who: ServerId) {
        if let Some(round) = self.round.as_mut() {
            round.absent.remove(&who);
        }
    }

    /// Can the decision not become a reign, as far as is known by now? Means nothing any more once
    /// a quorum has gathered around the leader.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.is_disowned || (self.round.is_none() && !self.voters.is_quorum(&self.backers))
    }

    /// A voter speaks while this server is not looking.
    fn note_change(&mut self, from: ServerId, ballot: &Ballot) {
        let same = ballot.vote.leader == self.current.leader;
        let holds = match ballot.state {
            PeerState::Looking => same && ballot.vote.round <= self.current.round,
            PeerState::Following | PeerState::Leading => same,
            PeerState::Observing => true,
        };
        if !holds {
            self.backers.remove(&from);
            self.is_disowned |= from == self.current.leader;
        }
    }

    /// A peer said something; the connection layer has checked that it is a member.
    pub(crate) fn handle_ballot(&mut self, from: ServerId, ballot: Ballot, now: Instant) {
        if self.is_paused || ballot.vote.round > self.clock + ELECTIONS_AHEAD_MAX {
            return;
        }
        if !self.voters.contains(from) {
            // An observer asks; its own vote means nothing.
            let answer = Vote {
                round: self.clock,
                ..self.ballot().vote
            };
            self.tell(
                from,
                Ballot {
                    vote: answer,
                    state: self.state,
                },
            );
            return;
        }
        self.set_present(from);
        if self.round.is_none() {
            self.note_change(from, &ballot);
            if ballot.state == PeerState::Looking {
                self.tell(
                    from,
                    Ballot {
                        vote: self.current,
                        state: self.state,
                    },
                );
            }
            return;
        }
        if !self.voters.contains(ballot.vote.leader) {
            return;
        }
        match ballot.state {
            PeerState::Looking => self.on_looking(from, ballot, now),
            PeerState::Following | PeerState::Leading => self.on_settled(from, ballot),
            PeerState::Observing => {}
        }
        self.look_for_quorum(now);
    }

    fn on_looking(&mut self, from: ServerId, ballot: Ballot, now: Instant) {
        let clock = self.clock;
        let has_vote = self.voters.contains(self.me);
        let round = self.round.as_mut().expect("checked by the caller");
        if ballot.vote.round < clock {
            // Without a vote it would be answered, and answered again, for ever.
            if !has_vote {
                return;
            }
            let answer = Ballot {
                vote: round.proposal,
                state: PeerState::Looking,
            };
            self.tell(from, answer);
            return;
        }
        // Any message of this round restarts the silence that ends it.
        if let Some(at) = round.finalize.as_mut() {
            *at = now + ELECTION_FINALIZE_WAIT;
        }
        if ballot.vote.round > clock {
            self.clock = ballot.vote.round;
            round.received.clear();
            round.finalize = None;
            let better = ballot.vote.beats(&round.initial);
            let candidate = if better { ballot.vote } else { round.initial };
            self.adopt(candidate);
        } else if ballot.vote.beats(&round.proposal) {
            self.adopt(ballot.vote);
        } else if has_vote && round.proposal.beats(&ballot.vote) {
            // Told when we began to look, it did not count for one that was not looking yet:
            // survivors of the same leader never begin at the same moment.
            let answer = Ballot {
                vote: round.proposal,
                state: PeerState::Looking,
            };
            self.tell(from, answer);
        }
        let round = self.round.as_mut().expect("still looking");
        round.received.insert(from, ballot);
    }

    fn adopt(&mut self, candidate: Vote) {
        let clock = self.clock;
        let round = self.round.as_mut().expect("only a looking server adopts");
        round.proposal = Vote {
            round: clock,
            ..candidate
        };
        round.finalize = None;
        self.current = round.proposal;
        self.count_own();
        self.tell_everyone();
    }

    fn on_settled(&mut self, from: ServerId, ballot: Ballot) {
        let clock = self.clock;
        let round = self.round.as_mut().expect("checked by the caller");
        round.settled.insert(from, ballot);
        if ballot.vote.round == clock {
            round.received.insert(from, ballot);
            if let Some(by) = Self::led(self.me, clock, &self.voters, &round.received, &ballot) {
                self.decide(ballot.vote, by);
                return;
            }
        }
        if let Some(by) = Self::led(self.me, clock, &self.voters, &round.settled, &ballot) {
            self.clock = ballot.vote.round;
            self.decide(ballot.vote, by);
        }
    }

    /// Does a quorum of these ballots agree with this one, and is its leader known to lead? Gives
    /// the quorum. Believing in a leader that does not say so itself makes rounds that never end
    /// (ZOOKEEPER-975); a server leads by such votes only if they are of its own round
    /// (ZOOKEEPER-1514).
    fn led(
        me: ServerId,
        clock: i64,
        voters: &Voters,
        ballots: &BTreeMap<ServerId, Ballot>,
        ballot: &Ballot,
    ) -> Option<BTreeSet<ServerId>> {
        let agreeing: BTreeSet<_> = ballots
            .iter()
            .filter(|(_, b)| ballot.vote.agrees(ballot.state, &b.vote, b.state))
            .map(|(id, _)| *id)
            .collect();
        let leader = ballot.vote.leader;
        let leads = if leader == me {
            clock == ballot.vote.round
        } else {
            let says = ballots.get(&leader);
            says.is_some_and(|b| b.state == PeerState::Leading)
        };
        (leads && voters.is_quorum(&agreeing)).then_some(agreeing)
    }

    /// Sets or clears the wait for silence, after the ballots or the proposal have changed.
    fn look_for_quorum(&mut self, now: Instant) {
        let Some(round) = self.round.as_mut() else {
            return;
        };
        let agreeing = round.agreeing();
        if !self.voters.is_quorum(&agreeing) {
            round.finalize = None;
            return;
        }
        let silent = agreeing.union(&round.absent).copied().collect();
        if self.voters.is_everyone(&silent) {
            // Nobody is left who could bring a better vote: no need to wait for silence.
            let decision = round.proposal;
            self.decide(decision, agreeing);
        } else if round.finalize.is_none() {
            round.finalize = Some(now + ELECTION_FINALIZE_WAIT);
        }
    }

    /// Timers: silence after a quorum decides; otherwise everybody is told again.
    pub(crate) fn on_wake(&mut self, now: Instant) {
        let Some(round) = self.round.as_mut() else {
            return;
        };
        if round.finalize.is_some_and(|at| at <= now) {
            let (decision, by) = (round.proposal, round.agreeing());
            self.decide(decision, by);
        } else if round.tell_again <= now {
            round.interval = (2 * round.interval).min(NOTIFICATION_INTERVAL_MAX);
            round.tell_again = now + round.interval;
            self.tell_everyone();
        }
    }

    /// The decision, once: who leads.
    pub(crate) fn take_decision(&mut self) -> Option<ServerId> {
        if self.is_paused || self.round.is_some() || self.state != PeerState::Looking {
            return None;
        }
        let leader = self.current.leader;
        self.state = match leader {
            leader if leader == self.me => PeerState::Leading,
            _ if self.voters.contains(self.me) => PeerState::Following,
            _ => PeerState::Observing,
        };
        Some(leader)
    }

    fn decide(&mut self, vote: Vote, backers: BTreeSet<ServerId>) {
        assert!(self.voters.contains(vote.leader), "only a voter can lead");
        assert!(self.voters.is_quorum(&backers), "a quorum decides");
        self.backers = backers;
        self.is_disowned = false;
        self.current = vote;
        self.round = None;
    }

    fn count_own(&mut self) {
        let voters = &self.voters;
        if let Some(round) = self.round.as_mut().filter(|_| voters.contains(self.me)) {
            let own = Ballot {
                vote: round.proposal,
                state: PeerState::Looking,
            };
            round.received.insert(self.me, own);
        }
    }

    fn tell_everyone(&mut self) {
        let ballot = self.ballot();
        let others = self.voters.iter().filter(|id| *id != self.me);
        self.tellings
            .extend(others.map(|to| Telling { to, ballot }));
    }

    fn tell(&mut self, to: ServerId, ballot: Ballot) {
        self.tellings.push(Telling { to, ballot });
    }
}

#[cfg(test)]
mod tests;
