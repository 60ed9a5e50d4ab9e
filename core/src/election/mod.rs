//! Fast leader election (ZooKeeper's `FastLeaderElection`), as a pure state machine: votes and
//! time in, votes and a decision out. Knows no connection; see [`exchange`] for those.
//!
//! A server that looks for a leader tells its vote to every voter and adopts a better one that it
//! hears. When a quorum says the same, and a short silence brings nothing better, it is decided. A
//! server that is not looking answers one that is, so a late comer joins what exists.

pub(crate) mod exchange;
mod vote;

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::time::Duration;

pub(crate) use vote::Vote;

use crate::ids::{Epoch, ServerId};
use crate::limits::{ELECTION_FINALIZE_WAIT, NOTIFICATION_INTERVAL_MAX, NOTIFICATION_INTERVAL_MIN};
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
    interval: Duration,
    tell_again: Instant,
    /// Set while a quorum agrees: when its silence has lasted long enough.
    finalize: Option<Instant>,
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

    /// A peer said something; the connection layer has checked that it is a member.
    pub(crate) fn handle_ballot(&mut self, from: ServerId, ballot: Ballot, now: Instant) {
        if self.is_paused {
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
        if self.round.is_none() {
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
        let round = self.round.as_mut().expect("checked by the caller");
        if ballot.vote.round < clock {
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
            if Self::is_led(self.me, clock, &self.voters, &round.received, &ballot) {
                self.decide(ballot.vote);
                return;
            }
        }
        if Self::is_led(self.me, clock, &self.voters, &round.settled, &ballot) {
            self.clock = ballot.vote.round;
            self.decide(ballot.vote);
        }
    }

    /// Does a quorum of these ballots agree with this one, and is its leader known to lead?
    /// Believing in a leader that does not say so itself makes rounds that never end
    /// (ZOOKEEPER-975); a server leads by such votes only if they are of its own round
    /// (ZOOKEEPER-1514).
    fn is_led(
        me: ServerId,
        clock: i64,
        voters: &Voters,
        ballots: &BTreeMap<ServerId, Ballot>,
        ballot: &Ballot,
    ) -> bool {
        let agreeing = ballots
            .iter()
            .filter(|(_, b)| ballot.vote.agrees(ballot.state, &b.vote, b.state))
            .map(|(id, _)| *id)
            .collect();
        if !voters.is_quorum(&agreeing) {
            return false;
        }
        let leader = ballot.vote.leader;
        if leader == me {
            return clock == ballot.vote.round;
        }
        ballots
            .get(&leader)
            .is_some_and(|b| b.state == PeerState::Leading)
    }

    /// Sets or clears the wait for silence, after the ballots or the proposal have changed.
    fn look_for_quorum(&mut self, now: Instant) {
        let Some(round) = self.round.as_mut() else {
            return;
        };
        let agreeing: BTreeSet<ServerId> = round
            .received
            .iter()
            .filter(|(_, b)| round.proposal.agrees(PeerState::Looking, &b.vote, b.state))
            .map(|(id, _)| *id)
            .collect();
        if !self.voters.is_quorum(&agreeing) {
            round.finalize = None;
        } else if self.voters.is_everyone(&agreeing) {
            // Nobody is left who could bring a better vote: no need to wait for silence.
            let decision = round.proposal;
            self.decide(decision);
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
            let decision = round.proposal;
            self.decide(decision);
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

    fn decide(&mut self, vote: Vote) {
        assert!(self.voters.contains(vote.leader), "only a voter can lead");
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
