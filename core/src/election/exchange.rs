//! The connections on the election port (ZooKeeper's `QuorumCnxManager`): one for each pair of
//! servers, dialled by the one with the larger id; the newest message waits for a connection, the
//! older ones are forgotten. Carries ballots, decides nothing.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Ballot, Telling, Vote};
use crate::boundary::{Channel, CloseReason, Event};
use crate::config::Config;
use crate::ids::{LinkId, ServerId};
use crate::limits::{ELECTION_LINK_SILENCE_MAX, ELECTION_REDIAL_INTERVAL};
use crate::shared::Shared;
use crate::time::Instant;
use crate::wire::election::{
    InitialMessage, NOTIFICATION_VERSION, Notification, measure_frame, measure_initial,
    verifier_text,
};
use crate::wire::jute::DecodeError;

/// The state of the pair with one other server.
#[derive(Debug, Default)]
struct Pair {
    link: Option<LinkId>,
    /// A dial is under way since this moment.
    dialling: Option<Instant>,
    /// Our last message, for a connection that comes up later.
    last: Option<Ballot>,
    /// First message on the present link that was not answered by anything.
    unanswered: Option<Instant>,
}

/// All pairs of this server.
#[derive(Debug)]
pub(crate) struct Exchange {
    me: ServerId,
    /// `host:port` of our own election port, told to those whom we dial.
    address: String,
    /// Configuration text in each message; Java servers insist on a valid one.
    verifier: String,
    pairs: BTreeMap<ServerId, Pair>,
}

impl Exchange {
    pub(crate) fn new(config: &Config) -> Self {
        let others = config.members.keys().filter(|id| **id != config.me);
        let address = config
            .members
            .get(&config.me)
            .map_or_else(String::new, |m| format!("{}:{}", m.host, m.election_port));
        Self {
            me: config.me,
            address,
            verifier: verifier_text(&config.members, 0),
            pairs: others.map(|id| (*id, Pair::default())).collect(),
        }
    }

    /// Sends a ballot, or keeps it and dials.
    pub(crate) fn say(&mut self, telling: Telling, sh: &mut Shared) {
        let Some(pair) = self.pairs.get_mut(&telling.to) else {
            return;
        };
        pair.last = Some(telling.ballot);
        match pair.link {
            Some(link) => {
                let now = sh.now.mono;
                let since = *pair.unanswered.get_or_insert(now);
                if now - since > ELECTION_LINK_SILENCE_MAX {
                    // Half-open: the other side may have been gone for long without our noticing.
                    pair.link = None;
                    sh.close_link(link, CloseReason::PeerTimeout);
                    self.dial(telling.to, sh);
                } else {
                    self.transmit(link, telling.ballot, sh);
                }
            }
            None => self.dial(telling.to, sh),
        }
    }

    fn dial(&mut self, to: ServerId, sh: &mut Shared) {
        let now = sh.now.mono;
        let pair = self.pairs.get_mut(&to).expect("only members are dialled");
        let busy = pair
            .dialling
            .is_some_and(|since| now - since < ELECTION_REDIAL_INTERVAL);
        if !busy {
            pair.dialling = Some(now);
            sh.dial(to, Channel::Election);
        }
    }

    fn transmit(&self, link: LinkId, ballot: Ballot, sh: &mut Shared) {
        let Vote {
            leader,
            zxid,
            round,
            peer_epoch,
        } = ballot.vote;
        let config = Some(self.verifier.as_bytes());
        let state = ballot.state;
        let version = NOTIFICATION_VERSION;
        let message = Notification {
            state,
            leader,
            zxid,
            round,
            peer_epoch,
            version,
            config,
        };
        sh.send(link, |out| message.encode(out));
    }

    /// A connection of ours or of somebody else is up.
    pub(crate) fn handle_opened(&mut self, link: LinkId, peer: Option<ServerId>, sh: &mut Shared) {
        let Some(peer) = peer else { return };
        let addresses = Some(Cow::Borrowed(self.address.as_str()));
        let hello = InitialMessage {
            server: self.me,
            addresses,
        };
        // One write: Java reads the text with a single call.
        sh.send(link, |out| hello.encode(out));
        if peer > self.me {
            // Dialled only to be seen: the server with the larger id keeps its own connection. The
            // pair stays `dialling`, so that the answer has time to come.
            sh.close_link(link, CloseReason::PeerDialsBack);
        } else {
            self.keep(peer, link, sh);
        }
    }

    /// The pair speaks through this link from now on; the newest connection wins.
    fn keep(&mut self, peer: ServerId, link: LinkId, sh: &mut Shared) {
        let pair = self.pairs.get_mut(&peer).expect("only members are kept");
        pair.dialling = None;
        pair.unanswered = None;
        if let Some(old) = pair.link.replace(link).filter(|old| *old != link) {
            sh.close_link(old, CloseReason::Replaced);
        }
        if let Some(last) = pair.last {
            self.transmit(link, last, sh);
        }
    }

    pub(crate) fn handle_closed(&mut self, link: LinkId, peer: Option<ServerId>) {
        if let Some(pair) = peer.and_then(|id| self.pairs.get_mut(&id))
            && pair.link == Some(link)
        {
            pair.link = None;
            pair.unanswered = None;
        }
    }

    pub(crate) fn handle_dial_failed(&mut self, peer: ServerId) {
        if let Some(pair) = self.pairs.get_mut(&peer) {
            pair.dialling = None;
        }
    }

    /// Reads what came in on a link; returns the ballots, with the server behind the link.
    pub(crate) fn handle_bytes(
        &mut self,
        link: LinkId,
        bytes: &[u8],
        sh: &mut Shared,
    ) -> Vec<(ServerId, Ballot)> {
        let mut ballots = Vec::new();
        let Some(all) = sh.links.take_bytes(link, bytes, sh.now.mono) else {
            return ballots;
        };
        let mut at = 0;
        let read = self.read_all(link, &all, &mut at, sh, &mut ballots);
        match read {
            Ok(()) => sh.links.put_back(link, all, at),
            Err(why) => {
                let peer = sh.links.get(link).and_then(|l| l.peer);
                sh.close_link(link, why);
                self.handle_closed(link, peer);
            }
        }
        ballots
    }

    fn read_all(
        &mut self,
        link: LinkId,
        all: &[u8],
        at: &mut usize,
        sh: &mut Shared,
        ballots: &mut Vec<(ServerId, Ballot)>,
    ) -> Result<(), CloseReason> {
        loop {
            let rest = &all[*at..];
            let Some(peer) = sh.links.get(link).map(|l| l.peer) else {
                return Ok(());
            };
            match peer {
                None => {
                    let malformed = |_: DecodeError| {
                        CloseReason::PeerMalformed("not the first message of an election")
                    };
                    let length = measure_initial(rest).map_err(malformed)?;
                    if rest.is_empty() || rest.len() < length {
                        return Ok(());
                    }
                    let hello = InitialMessage::decode(rest).map_err(malformed)?;
                    *at += length;
                    self.on_initial(link, hello.server, sh)?;
                }
                Some(peer) => {
                    let length = measure_frame(rest)
                        .map_err(|_| CloseReason::PeerMalformed("election frame length"))?;
                    if rest.is_empty() || rest.len() < length {
                        return Ok(());
                    }
                    *at += length;
                    self.on_frame(peer, &rest[4..length], sh, ballots);
                }
            }
        }
    }

    /// Somebody dialled us and says who it is.
    fn on_initial(
        &mut self,
        link: LinkId,
        from: ServerId,
        sh: &mut Shared,
    ) -> Result<(), CloseReason> {
        if from == self.me {
            return Err(CloseReason::PeerIsMe);
        }
        if !self.pairs.contains_key(&from) {
            return Err(CloseReason::PeerUnknown(from));
        }
        if from < self.me {
            let pair = self.pairs.get_mut(&from).expect("checked above");
            // Ours may be dead without our knowing; the other side would not dial otherwise.
            if let Some(old) = pair.link.take() {
                sh.close_link(old, CloseReason::Replaced);
            }
            self.dial(from, sh);
            return Err(CloseReason::PeerDialsBack);
        }
        sh.links.get_mut(link).expect("bytes came from it").peer = Some(from);
        self.keep(from, link, sh);
        Ok(())
    }

    fn on_frame(
        &mut self,
        from: ServerId,
        payload: &[u8],
        sh: &mut Shared,
        ballots: &mut Vec<(ServerId, Ballot)>,
    ) {
        if let Some(pair) = self.pairs.get_mut(&from) {
            pair.unanswered = None;
        }
        match Notification::decode(payload) {
            Ok(n) => {
                let vote = Vote {
                    leader: n.leader,
                    zxid: n.zxid,
                    round: n.round,
                    peer_epoch: n.peer_epoch,
                };
                ballots.push((
                    from,
                    Ballot {
                        vote,
                        state: n.state,
                    },
                ));
            }
            Err(why) => {
                // One bad message does not end the connection, as in Java: a peer of another
                // version may send what we can not read and still be needed for a quorum.
                let text = format!("server {from} sent a vote that {why}; ignored");
                sh.report(Event::Note { text });
            }
        }
    }
}
