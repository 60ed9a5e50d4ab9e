//! What a follower of ZooKeeper's needs of its leader beyond single packets: answers in the order
//! in which it asked.

use std::collections::BTreeMap;

use vivarium_core::config::{LearnerType, Member};
use vivarium_core::ids::{Epoch, LinkId, ServerId, SessionId, Zxid};
use vivarium_core::wire::quorum::{Forwarded, NO_ZXID, QuorumPacket, packet};
use vivarium_core::wire::records::op;

use crate::roles::{follow, packets, vote_for};
use crate::stage::{Disk, Stage};

const ASKS: LinkId = LinkId(201);
const OTHER: LinkId = LinkId(202);

fn request(op: i32, session: i64, body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    Forwarded {
        session: SessionId(session),
        cxid: 0,
        op,
        body,
    }
    .encode(&mut data);
    let mut bytes = Vec::new();
    QuorumPacket::with_data(packet::REQUEST, NO_ZXID, &data).encode(&mut bytes);
    bytes
}

fn answer(stage: &mut Stage, link: LinkId, kind: i32, zxid: Zxid) {
    let mut bytes = Vec::new();
    QuorumPacket::with_data(kind, zxid, &[]).encode(&mut bytes);
    stage.hear(link, &bytes);
}

/// A leader of three that two others follow.
fn reigning() -> Stage {
    let member = || Member {
        kind: LearnerType::Participant,
        host: "localhost".into(),
        quorum_port: 2888,
        election_port: 3888,
        client_address: None,
    };
    let members: BTreeMap<_, _> = (1..=3).map(|id| (ServerId(id), member())).collect();
    let mut stage = Stage::boot(ServerId(3), members.clone(), Disk::default());
    vote_for(&mut stage, ServerId(3), ServerId(1), &members);
    stage.run_ms(1_000);
    follow(&mut stage, ASKS, ServerId(1), Epoch(1), Zxid::ZERO);
    follow(&mut stage, OTHER, ServerId(2), Epoch(1), Zxid::ZERO);
    assert_eq!(stage.status().established, Some(Epoch(1)));
    stage.sent.clear();
    stage
}

/// ZooKeeper's follower waits for ever for a write of one session that is committed before the sync
/// of another which it has passed on before, and with that write wait all that come later.
#[test]
fn no_write_of_a_learner_overtakes_its_sync() {
    let mut stage = reigning();
    let open = |session| request(op::CREATE_SESSION, session, &[0, 0, 0x27, 0x10]);
    let bytes = [
        request(op::SYNC, 1, b"\0\0\0\x01/"),
        open(2),
        request(op::SYNC, 1, b"\0\0\0\x01/"),
        open(4),
    ];
    stage.hear(ASKS, &bytes.concat());
    let kinds = |stage: &Stage| -> Vec<i32> {
        let said = stage.sent.get(&ASKS).map_or(&[][..], |bytes| bytes);
        let kept = packets(said).into_iter().map(|(kind, _)| kind);
        kept.filter(|kind| *kind != packet::PING).collect()
    };
    assert_eq!(kinds(&stage), [], "nobody has confirmed that we lead");
    answer(&mut stage, OTHER, packet::PING, Epoch(1).zxid());
    let (sync, propose, commit) = (packet::SYNC, packet::PROPOSAL, packet::COMMIT);
    assert_eq!(kinds(&stage), [sync, propose]);
    answer(&mut stage, OTHER, packet::ACK, Zxid::new(Epoch(1), 1));
    answer(&mut stage, OTHER, packet::PING, Epoch(1).zxid());
    assert_eq!(kinds(&stage), [sync, propose, commit, sync, propose]);
}
