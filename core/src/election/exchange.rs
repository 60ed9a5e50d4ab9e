//! The connections on the election port (ZooKeeper's `QuorumCnxManager`): one for each pair of
//! servers, dialled by the one with the larger id; the newest message waits for a connection, the
//! older ones are forgotten. Carries ballots, decides nothing.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use super::{Ballot, Telling, Vote};
use crate::boundary::{Channel, CloseReason, Event};
use crate::config::Config;
use crate::ids::{LinkId, ServerId};
use crate::limits::{
    ELECTION_LINK_SILENCE_MAX, ELECTION_PROBE_PAUSE_MIN, ELECTION_REDIAL_INTERVAL,
};
use crate::shared::Shared;
use crate::time::Instant;
use crate::wire::election::{
    InitialMessage, NOTIFICATION_VERSION, Notification, measure_frame, measure_initial,
    verifier_text,
};
use crate::wire::jute::DecodeError;

/// The next look at a server, and how long after that comes another.
#[derive(Clone, Copy, Debug)]
struct Probe {
    at: Instant,
    pause: Duration,
}

/// The state of the pair with one other server.
#[derive(Debug, Default)]
struct Pair {
    link: Option<LinkId>,
    /// A dial is under way since this moment.
    dialling: Option<Instant>,
    /// The last dial.
    dialled: Option<Instant>,
    /// When the last connection ended.
    lost: Option<Instant>,
    /// When to look again whether a server is there whose connection has ended.
    probe: Option<Probe>,
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
            pair.dialled = Some(now);
            sh.dial(to, Channel::Election);
        }
    }

    /// Finds out at once whether a server whose connection has ended is there; and again a little
    /// later, since the system may still accept for a process that is being killed. Ever less
    /// often, and no more after a while: the side with the larger id ends the connection and dials
    /// itself, so two servers that both asked at once and always would not come to rest.
    pub(crate) fn probe(&mut self, whom: ServerId, sh: &mut Shared) {
        let now = sh.now.mono;
        let recently = |at: Instant| now - at < ELECTION_REDIAL_INTERVAL;
        let waits = |p: &&mut Pair| p.link.is_none() && p.probe.is_none();
        let Some(pair) = self.pairs.get_mut(&whom).filter(waits) else {
            return;
        };
        let pause = ELECTION_PROBE_PAUSE_MIN;
        let at = now + pause;
        pair.probe = Some(Probe { at, pause });
        if !pair.dialled.is_some_and(recently) {
            self.dial(whom, sh);
        }
    }

    /// A server that accepts right after its connection has ended may be one that is being killed.
    fn doubt(&mut self, whom: ServerId, now: Instant) {
        let recently = |at: Instant| now - at < ELECTION_REDIAL_INTERVAL;
        let pair = self.pairs.get_mut(&whom).expect("only members are dialled");
        if pair.lost.is_some_and(recently) && pair.probe.is_none() {
            let pause = ELECTION_PROBE_PAUSE_MIN;
            let at = now + pause;
            pair.probe = Some(Probe { at, pause });
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let probes = self.pairs.values().filter_map(|p| p.probe);
        probes.map(|probe| probe.at).min()
    }

    /// Looks again at those who are still waited for and have not come back.
    pub(crate) fn on_wake(&mut self, awaits: impl Fn(ServerId) -> bool, sh: &mut Shared) {
        let now = sh.now.mono;
        let mut due = Vec::new();
        for (id, pair) in &mut self.pairs {
            let Some(probe) = pair.probe.take_if(|probe| probe.at <= now) else {
                continue;
            };
            if pair.link.is_none() && awaits(*id) {
                let pause = 2 * probe.pause;
                let at = now + pause;
                pair.probe = (pause < ELECTION_REDIAL_INTERVAL).then_some(Probe { at, pause });
                pair.dialling = None;
                due.push(*id);
            }
        }
        for id in due {
            self.dial(id, sh);
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
            self.doubt(peer, sh.now.mono);
        } else {
            self.keep(peer, link, sh);
        }
    }

    /// The pair speaks through this link from now on; the newest connection wins.
    fn keep(&mut self, peer: ServerId, link: LinkId, sh: &mut Shared) {
        let pair = self.pairs.get_mut(&peer).expect("only members are kept");
        pair.dialling = None;
        pair.probe = None;
        pair.unanswered = None;
        if let Some(old) = pair.link.replace(link).filter(|old| *old != link) {
            sh.close_link(old, CloseReason::Replaced);
        }
        if let Some(last) = pair.last {
            self.transmit(link, last, sh);
        }
    }

    pub(crate) fn handle_closed(&mut self, link: LinkId, peer: Option<ServerId>, now: Instant) {
        if let Some(pair) = peer.and_then(|id| self.pairs.get_mut(&id))
            && pair.link == Some(link)
        {
            pair.link = None;
            pair.unanswered = None;
            pair.lost = Some(now);
        }
    }

    /// Is the server out of reach now? It may have dialled us meanwhile.
    pub(crate) fn handle_dial_failed(&mut self, peer: ServerId) -> bool {
        self.pairs.get_mut(&peer).is_some_and(|pair| {
            pair.dialling = None;
            pair.probe = None;
            pair.link.is_none()
        })
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
                self.handle_closed(link, peer, sh.now.mono);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boundary::Action;
    use crate::config::{LearnerType, Member, Rules};
    use crate::ids::Epoch;
    use crate::mutants::Mutants;
    use crate::recovery::Recovery;
    use crate::time::Now;

    const PEER: ServerId = ServerId(1);

    fn config() -> Config {
        let member = |id| {
            let member = Member {
                kind: LearnerType::Participant,
                host: "h".into(),
                quorum_port: 1,
                election_port: 2,
                client_address: None,
            };
            (ServerId(id), member)
        };
        Config {
            me: ServerId(3),
            members: (1..=3).map(member).collect(),
            tick: Duration::from_secs(2),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            snap_count: 100_000,
            seed: 1,
            rules: Rules::default(),
            mutants: Mutants::NONE,
        }
    }

    /// A server with a connection to `PEER`, long ago.
    fn connected() -> (Exchange, Shared) {
        let found = Recovery::fresh(1, Mutants::NONE).finish(Epoch(0), Epoch(0));
        let mut sh = Shared::boot(config(), found, Now::default());
        let mut exchange = Exchange::new(&sh.config);
        exchange.dial(PEER, &mut sh);
        open(&mut exchange, &mut sh, 1);
        pass(&mut sh, 60_000);
        (exchange, sh)
    }

    fn open(exchange: &mut Exchange, sh: &mut Shared, link: u64) {
        let (link, peer) = (LinkId(link), Some(PEER));
        sh.links.open(link, Channel::Election, peer, sh.now.mono);
        exchange.handle_opened(link, peer, sh);
    }

    /// The other side ends the connection while its vote is waited for.
    fn lose(exchange: &mut Exchange, sh: &mut Shared, link: u64) {
        sh.links.forget(LinkId(link));
        exchange.handle_closed(LinkId(link), Some(PEER), sh.now.mono);
        exchange.probe(PEER, sh);
    }

    fn pass(sh: &mut Shared, ms: u64) {
        sh.now.mono = sh.now.mono + Duration::from_millis(ms);
    }

    fn dials(sh: &mut Shared) -> usize {
        let is_dial = |action: &&Action| matches!(action, Action::Dial { .. });
        let count = sh.out.actions().iter().filter(is_dial).count();
        sh.out.clear();
        count
    }

    #[test]
    fn a_killed_server_is_found_missing_although_its_port_still_accepted() {
        let (mut exchange, mut sh) = connected();
        dials(&mut sh);
        lose(&mut exchange, &mut sh, 1);
        assert_eq!(dials(&mut sh), 1, "at once");
        open(&mut exchange, &mut sh, 2);
        lose(&mut exchange, &mut sh, 2);
        exchange.on_wake(|_| true, &mut sh);
        assert_eq!(dials(&mut sh), 0, "it was dialled just now");
        pass(&mut sh, 5);
        assert_eq!(exchange.deadline(), Some(sh.now.mono));
        exchange.on_wake(|_| true, &mut sh);
        assert_eq!(dials(&mut sh), 1);
        assert!(exchange.handle_dial_failed(PEER));
        assert_eq!(exchange.deadline(), None, "known now");
    }

    /// The server with the larger id would dial back, and one that is being killed does not.
    #[test]
    fn who_is_only_dialled_to_be_seen_is_doubted_after_a_loss() {
        let (mut exchange, mut sh) = connected();
        let larger = ServerId(4);
        exchange.pairs.insert(larger, Pair::default());
        let seen = |exchange: &mut Exchange, sh: &mut Shared, link| {
            let link = LinkId(link);
            sh.links
                .open(link, Channel::Election, Some(larger), sh.now.mono);
            exchange.handle_opened(link, Some(larger), sh);
        };
        seen(&mut exchange, &mut sh, 7);
        assert_eq!(exchange.deadline(), None, "it may take its time");
        let pair = exchange.pairs.get_mut(&larger).expect("just inserted");
        pair.link = Some(LinkId(8));
        exchange.handle_closed(LinkId(8), Some(larger), sh.now.mono);
        seen(&mut exchange, &mut sh, 9);
        let soon = sh.now.mono + ELECTION_PROBE_PAUSE_MIN;
        assert_eq!(exchange.deadline(), Some(soon));
    }

    #[test]
    fn nobody_is_looked_for_for_ever_or_for_nothing() {
        let (mut exchange, mut sh) = connected();
        lose(&mut exchange, &mut sh, 1);
        dials(&mut sh);
        let mut count = 0;
        while let Some(at) = exchange.deadline() {
            sh.now.mono = at;
            exchange.on_wake(|_| true, &mut sh);
            count += dials(&mut sh);
        }
        assert_eq!(count, 7, "after 5, 15, 35, 75, 155, 315 and 635 ms");
        pass(&mut sh, 60_000);
        open(&mut exchange, &mut sh, 2);
        lose(&mut exchange, &mut sh, 2);
        dials(&mut sh);
        pass(&mut sh, 20);
        exchange.on_wake(|_| false, &mut sh);
        assert_eq!((dials(&mut sh), exchange.deadline()), (0, None));
    }
}
