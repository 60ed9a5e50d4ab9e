//! Our machine in the place of one side of each conversation. As a learner it comes to the tree
//! that the recorded leader had; as a leader it brings the recorded learner up to date.

use std::collections::{BTreeMap, BTreeSet};

use vivarium_core::boundary::Channel;
use vivarium_core::config::{LearnerType, Member};
use vivarium_core::ids::{Epoch, LinkId, ServerId, Zxid};
use vivarium_core::wire::election::{
    InitialMessage, NOTIFICATION_VERSION, Notification, PeerState, Verifier, verifier_text,
};
use vivarium_core::wire::quorum::{
    Forwarded, LearnerInfo, PROTOCOL_VERSION, QuorumPacket, ack_epoch, decode_ack_epoch, packet,
};
use vivarium_core::wire::records::op;
use vivarium_core::wire::txn::{TxnHeader, TxnRecord};

use crate::script::{Conversation, Piece, RELEASES, Side, history, recorded};
use crate::stage::{Disk, Stage};

const QUORUM: LinkId = LinkId(100);

/// Everything that the two sides of one conversation tell of themselves.
struct Parts {
    name: String,
    pieces: Vec<Piece>,
    learner: ServerId,
    leader: ServerId,
    epoch: Epoch,
    /// What the learner has accepted, holds under, and holds, before it hears of the new epoch.
    accepted: Epoch,
    current: Epoch,
    last: Zxid,
    verifier: Verifier,
}

impl Parts {
    /// `None` where the two did not get as far as NEWLEADER.
    fn of(conversation: &Conversation) -> Option<Self> {
        let pieces = conversation.pieces();
        let find = |kind: i32| pieces.iter().find(|p| p.kind == kind);
        let info = find(packet::FOLLOWERINFO).or_else(|| find(packet::OBSERVERINFO))?;
        let accepted = info.zxid.epoch();
        let ack = find(packet::ACKEPOCH)?;
        let current = decode_ack_epoch(ack.data.as_deref()?).ok()?;
        let text = find(packet::NEWLEADER)?.data.clone()?;
        Some(Self {
            name: conversation.name.clone(),
            learner: conversation.server("Server "),
            leader: conversation.server("to server "),
            epoch: find(packet::LEADERINFO)?.zxid.epoch(),
            accepted,
            current: current.unwrap_or(accepted),
            last: ack.zxid,
            verifier: Verifier::parse(&text),
            pieces,
        })
    }

    fn voters(&self) -> impl Iterator<Item = ServerId> {
        let all = self.verifier.members.iter();
        let votes = all.filter(|(_, member)| member.kind == LearnerType::Participant);
        votes.map(|(id, _)| *id)
    }

    fn of_leader(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|p| p.side == Side::Acceptor)
    }

    fn of_learner(&self) -> impl Iterator<Item = &Piece> {
        self.pieces.iter().filter(|p| p.side == Side::Dialler)
    }

    /// DIFF, TRUNC or SNAP.
    fn mode(&self) -> &Piece {
        let is_mode = |p: &&Piece| (packet::DIFF..=packet::SNAP).contains(&p.kind);
        self.of_leader().find(is_mode).expect("behind LEADERINFO")
    }
}

fn all(release: &str) -> Vec<Parts> {
    let both = [recorded(release, "follower"), recorded(release, "observer")].concat();
    both.iter().filter_map(Parts::of).collect()
}

/// A disk with everything up to there. What nobody ever proposed to others is made up.
fn disk(release: &str, last: Zxid, accepted: Epoch, current: Epoch) -> Disk {
    let mut log = history(release);
    log.retain(|zxid, _| *zxid <= last);
    if last != Zxid::ZERO && !log.contains_key(&last) {
        let (newest, record) = log.last_key_value().expect("something before it");
        assert_eq!(newest.0 + 1, last.0, "only the last one may be missing");
        let mut header = TxnHeader::peek(record).expect("readable");
        header.zxid = last;
        let mut forged = Vec::new();
        header.write(&mut forged);
        forged.extend_from_slice(&record[TxnHeader::BYTES..]);
        log.insert(last, forged);
    }
    let log = log.into_iter().map(|(zxid, record)| (zxid, record.into()));
    Disk::holding(log.collect(), accepted, current)
}

/// Connects this server to a voter on the election port, and lets that one say its vote.
fn vote(stage: &mut Stage, me: ServerId, from: ServerId, parts: &Parts, ballot: &Notification<'_>) {
    let link = LinkId(from.0 as u64);
    let mut bytes = Vec::new();
    if from > me {
        let member = &parts.verifier.members[&from];
        let address = format!("{}:{}", member.host, member.election_port);
        let addresses = Some(address.into());
        let hello = InitialMessage {
            server: from,
            addresses,
        };
        hello.encode(&mut bytes);
        stage.opened(link, None, Channel::Election);
    } else {
        let dial = (from, Channel::Election);
        assert!(stage.dials.contains(&dial), "{}: {dial:?}", parts.name);
        stage.opened(link, Some(from), Channel::Election);
    }
    ballot.encode(&mut bytes);
    stage.hear(link, &bytes);
}

/// A voter that knows nothing votes for this server.
pub(crate) fn vote_for(
    stage: &mut Stage,
    me: ServerId,
    from: ServerId,
    members: &BTreeMap<ServerId, Member>,
) {
    assert!(stage.dials.contains(&(from, Channel::Election)));
    let (link, text) = (LinkId(from.0 as u64), verifier_text(members, 0));
    stage.opened(link, Some(from), Channel::Election);
    let mut bytes = Vec::new();
    ballot(me, Zxid::ZERO, Epoch(0), &text).encode(&mut bytes);
    stage.hear(link, &bytes);
}

fn ballot<'a>(leader: ServerId, zxid: Zxid, epoch: Epoch, config: &'a str) -> Notification<'a> {
    Notification {
        state: PeerState::Looking,
        leader,
        zxid,
        round: 1,
        peer_epoch: epoch,
        version: NOTIFICATION_VERSION,
        config: Some(config.as_bytes()),
    }
}

/// Type and zxid of all packets in these bytes, up to a snapshot.
pub(crate) fn packets(mut bytes: &[u8]) -> Vec<(i32, Zxid)> {
    let mut found = Vec::new();
    while let Ok(packet) = QuorumPacket::decode(bytes) {
        let mut out = Vec::new();
        packet.encode(&mut out);
        found.push((packet.kind, packet.zxid));
        bytes = &bytes[out.len()..];
    }
    found
}

fn acked<'a>(all: impl Iterator<Item = (i32, Zxid)> + 'a) -> BTreeSet<Zxid> {
    let acks = all.filter(|(kind, _)| *kind == packet::ACK);
    acks.map(|(_, zxid)| zxid).collect()
}

/// Our machine as the recorded learner, which knows who leads.
fn learn(release: &str, parts: &Parts) -> Stage {
    let disk = disk(release, parts.last, parts.accepted, parts.current);
    let members = parts.verifier.members.clone();
    let text = verifier_text(&members, 0);
    let mut stage = Stage::boot(parts.learner, members, disk);
    for from in parts.voters().filter(|id| *id != parts.learner) {
        let state = if from == parts.leader {
            PeerState::Leading
        } else {
            PeerState::Following
        };
        let ballot = ballot(parts.leader, parts.last, parts.epoch, &text);
        let ballot = Notification { state, ..ballot };
        vote(&mut stage, parts.learner, from, parts, &ballot);
    }
    let dial = (parts.leader, Channel::Quorum);
    assert!(stage.dials.contains(&dial), "{}: follows", parts.name);
    stage.opened(QUORUM, Some(parts.leader), Channel::Quorum);
    for piece in parts.of_leader() {
        stage.hear(QUORUM, &piece.bytes);
        assert_eq!(stage.closed, [], "{}: after {:?}", parts.name, piece);
    }
    stage
}

#[test]
fn a_learner_comes_to_the_tree_of_the_recorded_leader() {
    for release in RELEASES {
        let mut modes = BTreeSet::new();
        for parts in all(release) {
            let name = &parts.name;
            let stage = learn(release, &parts);
            let status = stage.status();
            modes.insert(parts.mode().kind);
            assert!(status.serving, "{name}");
            assert_eq!(status.current_epoch, parts.epoch, "{name}");
            let is_commit = |p: &&Piece| matches!(p.kind, packet::COMMIT | packet::INFORM);
            let last = parts.of_leader().filter(is_commit).last();
            let last = last.map_or_else(|| parts.mode().zxid, |p| p.zxid);
            assert_eq!(status.applied, last, "{name}");
            let all = history(release);
            let record = all.get(&last).expect("it was recorded");
            let record = TxnRecord::decode(record).expect("readable");
            assert_eq!(Some(status.digest), record.digest, "{name}");
            let differs = |report: &&String| report.contains("DigestMismatch");
            assert_eq!(stage.reports.iter().find(differs), None, "{name}");
            // What it said in its turn.
            let ours = packets(&stage.sent[&QUORUM]);
            let theirs = || parts.of_learner().map(|p| (p.kind, p.zxid));
            for kind in [packet::FOLLOWERINFO, packet::OBSERVERINFO, packet::ACKEPOCH] {
                let first = |all: &[(i32, Zxid)]| all.iter().find(|(k, _)| *k == kind).copied();
                let theirs: Vec<_> = theirs().collect();
                assert_eq!(first(&ours), first(&theirs), "{name}");
            }
            // Releases before 3.8.5 acknowledge what the ACK of NEWLEADER covers as well.
            let covered = parts
                .of_leader()
                .take_while(|p| p.kind != packet::NEWLEADER);
            let mut acks = acked(ours.into_iter());
            acks.extend(covered.map(|p| p.zxid));
            let missing: Vec<_> = acked(theirs()).difference(&acks).copied().collect();
            assert_eq!(missing, [], "{name}: without an ACK");
        }
        let every = [packet::DIFF, packet::TRUNC, packet::SNAP];
        assert_eq!(modes, every.into(), "{release}");
    }
}

/// Another voter follows, with the same history as the leader.
pub(crate) fn follow(stage: &mut Stage, link: LinkId, me: ServerId, epoch: Epoch, held: Zxid) {
    let before = Epoch(epoch.0 - 1);
    stage.opened(link, None, Channel::Quorum);
    let mut data = Vec::new();
    LearnerInfo {
        server: me,
        protocol: PROTOCOL_VERSION,
        config_version: Some(0),
    }
    .encode(&mut data);
    let current = ack_epoch(Some(before));
    for packet in [
        QuorumPacket::with_data(packet::FOLLOWERINFO, before.zxid(), &data),
        QuorumPacket::with_data(packet::ACKEPOCH, held, &current),
        QuorumPacket::bare(packet::ACK, epoch.zxid()),
    ] {
        let mut bytes = Vec::new();
        packet.encode(&mut bytes);
        stage.hear(link, &bytes);
    }
}

/// Our machine as the leader that the recorded learner has met, at the start of its reign.
fn lead(release: &str, parts: &Parts) -> Stage {
    let before = Epoch(parts.epoch.0 - 1);
    let held = parts.mode().zxid;
    let members = parts.verifier.members.clone();
    let text = verifier_text(&members, 0);
    let disk = disk(release, held, before, before);
    let mut stage = Stage::boot(parts.leader, members, disk);
    let ballot = ballot(parts.leader, held, before, &text);
    vote(&mut stage, parts.leader, parts.learner, parts, &ballot);
    // Perhaps the third would bring a better vote.
    stage.run_ms(1_000);
    if parts.last > held {
        // Who knows more may not be in the quorum that begins the reign.
        let third = parts
            .voters()
            .find(|id| ![parts.leader, parts.learner].contains(id));
        let third = third.expect("three voters");
        follow(&mut stage, LinkId(101), third, parts.epoch, held);
    }
    stage.opened(QUORUM, None, Channel::Quorum);
    for piece in parts.of_learner() {
        stage.hear(QUORUM, &piece.bytes);
        let lost: Vec<_> = stage.closed.iter().filter(|(l, _)| *l == QUORUM).collect();
        assert!(lost.is_empty(), "{}: {lost:?} after {piece:?}", parts.name);
    }
    stage
}

#[test]
fn a_leader_brings_the_recorded_learner_up_to_date() {
    for release in RELEASES {
        let mut modes = BTreeSet::new();
        for parts in all(release) {
            // Who came to a reign that had begun met a leader that others follow as well.
            let begins = parts.mode().zxid.epoch() < parts.epoch && parts.accepted < parts.epoch;
            if !begins || parts.voters().all(|id| id != parts.learner) {
                continue;
            }
            let name = &parts.name;
            let stage = lead(release, &parts);
            let said = packets(&stage.sent[&QUORUM]);
            let (mode, new) = (parts.mode(), parts.epoch.zxid());
            let expected = [
                (packet::LEADERINFO, new),
                (mode.kind, mode.zxid),
                (packet::NEWLEADER, new),
                (packet::UPTODATE, Zxid(-1)),
            ];
            assert_eq!(said[..4], expected, "{name}");
            assert_eq!(stage.status().established, Some(parts.epoch), "{name}");
            let followers = 1 + usize::from(parts.last > mode.zxid);
            assert_eq!(stage.status().synced_followers, followers, "{name}");
            // Each of its clients' writes is proposed, in its order, from the first zxid on.
            let is_write = |p: &&Piece| {
                let data = p.data.as_deref().unwrap_or_default();
                p.kind == packet::REQUEST
                    && Forwarded::decode(data).is_ok_and(|asked| asked.op != op::SYNC)
            };
            let writes = parts.of_learner().filter(is_write).count();
            let proposed = said.iter().filter(|(kind, _)| *kind == packet::PROPOSAL);
            assert_eq!(proposed.count(), writes, "{name}");
            modes.insert(mode.kind);
        }
        let every = [packet::DIFF, packet::TRUNC];
        assert_eq!(modes, every.into(), "{release}");
    }
}
