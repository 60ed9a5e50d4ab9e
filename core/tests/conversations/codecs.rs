//! What was recorded is read, and written again as the same bytes.

use std::collections::BTreeSet;

use vivarium_core::wire::election::{
    InitialMessage, Notification, Verifier, measure_frame, measure_initial, verifier_text,
};
use vivarium_core::wire::quorum::{
    Forwarded, LearnerInfo, QuorumPacket, Revalidated, SessionTouch, ack_epoch, decode_ack_epoch,
    decode_leader_info, leader_info, packet,
};
use vivarium_core::wire::txn::TxnRecord;

use crate::script::{Piece, RELEASES, Side, recorded};

/// The data of a packet, read and written again.
fn again(piece: &Piece) -> Option<Vec<u8>> {
    let data = piece.data.as_deref()?;
    let mut out = Vec::new();
    match piece.kind {
        packet::FOLLOWERINFO | packet::OBSERVERINFO => {
            LearnerInfo::decode(data)
                .expect("readable")
                .encode(&mut out);
        }
        packet::LEADERINFO => {
            assert_eq!(decode_leader_info(data), Ok(0x10000));
            out.extend(leader_info());
        }
        packet::ACKEPOCH => out.extend(ack_epoch(decode_ack_epoch(data).expect("readable"))),
        packet::REQUEST => Forwarded::decode(data).expect("readable").encode(&mut out),
        packet::PROPOSAL | packet::INFORM => {
            let record = TxnRecord::decode(data).expect("readable");
            assert_eq!(record.header.zxid, piece.zxid);
            record.encode(&mut out);
        }
        packet::PING => {
            let all = SessionTouch::decode_all(Some(data)).expect("readable");
            all.iter().for_each(|touch| touch.encode(&mut out));
        }
        packet::REVALIDATE if piece.side == Side::Dialler => {
            SessionTouch::decode(data)
                .expect("readable")
                .encode(&mut out);
        }
        packet::REVALIDATE => Revalidated::decode(data)
            .expect("readable")
            .encode(&mut out),
        packet::NEWLEADER => return verifier(data),
        other => panic!("packet of type {other} with data"),
    }
    Some(out)
}

/// The order of the lines is Java's secret.
fn verifier(data: &[u8]) -> Option<Vec<u8>> {
    let lines = |text: &[u8]| -> BTreeSet<String> {
        let text = String::from_utf8_lossy(text).into_owned();
        text.lines().map(str::to_owned).collect()
    };
    let found = Verifier::parse(data);
    let text = verifier_text(&found.members, found.version);
    assert_eq!(lines(text.as_bytes()), lines(data));
    Some(data.to_vec())
}

#[test]
fn every_packet_is_written_as_it_was_read() {
    for release in RELEASES {
        let mut kinds = BTreeSet::new();
        for conversation in [recorded(release, "follower"), recorded(release, "observer")].concat()
        {
            for piece in conversation.pieces().into_iter().filter(|p| p.kind != 0) {
                let found = QuorumPacket::decode(&piece.bytes).expect("it was cut");
                let mut out = Vec::new();
                found.encode(&mut out);
                assert_eq!(out, piece.bytes, "{}: {found:?}", conversation.name);
                assert_eq!(
                    again(&piece),
                    piece.data,
                    "{}: {found:?}",
                    conversation.name
                );
                kinds.insert(piece.kind);
            }
        }
        // All but those of reconfiguration.
        let all: BTreeSet<i32> = (packet::REQUEST..=packet::ACKEPOCH)
            .filter(|kind| *kind != packet::COMMITANDACTIVATE)
            .collect();
        assert_eq!(kinds, all, "{release}");
    }
}

/// Frames of one side: how many.
fn notifications(name: &str, mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let length = measure_frame(bytes).expect("only frames are said");
        if bytes.len() < length {
            break;
        }
        let found = Notification::decode(&bytes[4..length]).expect("readable");
        let mut out = Vec::new();
        found.encode(&mut out);
        assert_eq!(out, bytes[..length], "{name}: {found:?}");
        let config = found.config.expect("since 3.5");
        assert_eq!(Verifier::parse(config).members.len(), 4, "{name}");
        verifier(config);
        bytes = &bytes[length..];
        count += 1;
    }
    count
}

#[test]
fn every_vote_is_written_as_it_was_read() {
    for release in RELEASES {
        let mut count = 0;
        for conversation in recorded(release, "election") {
            let name = &conversation.name;
            let bytes = conversation.said_by(Side::Dialler);
            let length = measure_initial(&bytes).expect("the first message");
            let hello = InitialMessage::decode(&bytes).expect("readable");
            assert_eq!(hello.endpoints().count(), 1, "{name}");
            let mut out = Vec::new();
            hello.encode(&mut out);
            assert_eq!(out, bytes[..length], "{name}");
            count += notifications(name, &bytes[length..]);
            count += notifications(name, &conversation.said_by(Side::Acceptor));
        }
        assert!(count >= 10, "{release}: {count} votes");
    }
}
