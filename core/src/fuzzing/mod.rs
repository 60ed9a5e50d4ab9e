//! Bodies of the fuzz targets. They are ordinary functions, so they compile with every build and
//! run on chosen inputs with the tests; the crate `fuzz` only calls them.
//!
//! Each takes any bytes and panics if a decoder breaks its word: what it accepts must be what it
//! writes again, and what it measures must be what it reads.

mod client;
mod conversation;
mod peers;
mod tape;

use alloc::string::String;
use alloc::vec::Vec;

pub use conversation::client_conversation;
pub use peers::peer_conversation;

use bytes::Bytes;

use crate::database::{Database, Walked};
use crate::ids::Zxid;
use crate::limits::CLIENT_FRAME_BYTES_MAX;
use crate::mutants::Mutants;
use crate::recovery::Recovery;
use crate::snapshot::SnapshotLoader;
use crate::tree::digest;
use crate::wire::client::{ConnectRequest, Reply, Request, RequestHeader, measure_frame};
use crate::wire::election::{self, InitialMessage, Notification, Verifier};
use crate::wire::jute::{DecodeError, Reader};
use crate::wire::quorum::{
    Forwarded, LearnerInfo, QuorumPacket, Revalidated, SessionTouch, measure_packet,
};
use crate::wire::splitter::Splitter;
use crate::wire::txn::{TxnHeader, TxnRecord};

fn encoded(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

/// A client's stream, cut in two at the place that the first byte says.
pub fn client_frame(bytes: &[u8]) {
    let Some((cut, stream)) = bytes.split_first() else {
        return;
    };
    let (front, back) = stream.split_at(stream.len().min(usize::from(*cut)));
    let mut splitter = Splitter::default();
    for mut chunk in [front, back] {
        while let Ok(Some(frame)) =
            splitter.next(&mut chunk, |b| measure_frame(b, CLIENT_FRAME_BYTES_MAX))
        {
            client_payload(&frame[4..]);
        }
    }
}

fn client_payload(payload: &[u8]) {
    if let Ok(request) = ConnectRequest::decode(payload) {
        let again = encoded(|out| request.encode(out));
        assert_eq!(ConnectRequest::decode(&again), Ok(request));
    }
    let mut r = Reader::new(payload);
    let Ok(header) = RequestHeader::read(&mut r) else {
        return;
    };
    if let Ok(request) = Request::decode(header.op, r.rest()) {
        let again = encoded(|out| request.encode(out));
        assert_eq!(Request::decode(header.op, &again), Ok(request));
    }
    if let Ok(reply) = Reply::decode(header.op, r.rest()) {
        let again = encoded(|out| reply.encode(out));
        assert_eq!(Reply::decode(header.op, &again), Ok(reply));
    }
}

/// A stream between leader and learner.
pub fn quorum_packet(bytes: &[u8]) {
    match (measure_packet(bytes), QuorumPacket::decode(bytes)) {
        (Ok(length), Ok(packet)) => {
            assert!(length <= bytes.len());
            let again = encoded(|out| packet.encode(out));
            assert_eq!(QuorumPacket::decode(&again).as_ref(), Ok(&packet));
            let data = packet.data.unwrap_or_default();
            let _ = LearnerInfo::decode(data);
            let _ = Forwarded::decode(data);
            let _ = Revalidated::decode(data);
            if let Ok(touches) = SessionTouch::decode_all(packet.data) {
                assert_eq!(touches.len() * 12, data.len());
            }
        }
        (Ok(length), Err(DecodeError::Truncated)) => assert!(length > bytes.len()),
        (Err(measured), Err(decoded)) => assert_eq!(measured, decoded),
        (measured, decoded) => panic!("measured {measured:?}, decoded {decoded:?}"),
    }
}

/// What comes on the election port.
pub fn notification(bytes: &[u8]) {
    if let Ok(initial) = InitialMessage::decode(bytes) {
        let _ = initial.endpoints().count();
    }
    let _ = election::measure_frame(bytes);
    let Ok(vote) = Notification::decode(bytes) else {
        return;
    };
    let text = Verifier::parse(vote.config.unwrap_or_default());
    let written = election::verifier_text(&text.members, text.version);
    assert_eq!(Verifier::parse(written.as_bytes()).version, text.version);
    let again = encoded(|out| vote.encode(out));
    // A vote without configuration text is not written in the layout that it came in.
    if vote.version > 1 {
        assert_eq!(Notification::decode(&again[4..]), Ok(vote));
    }
}

/// A record of the transaction log.
pub fn txn_record(bytes: &[u8]) {
    let Ok(record) = TxnRecord::decode(bytes) else {
        return;
    };
    assert_eq!(TxnHeader::peek(bytes), Ok(record.header));
    let again = encoded(|out| record.encode(out));
    assert_eq!(TxnRecord::decode(&again), Ok(record));
}

/// The digest is kept by differences; it must be what the whole tree sums up to.
fn check_digest(database: &Database) {
    let mut sum = 0_u64;
    let mut open = Vec::from([String::new()]);
    while let Some(path) = open.pop() {
        let node = database.tree().get(&path).expect("listed by its parent");
        sum = sum.wrapping_add(digest::of(&path, node.data(), node.stored()));
        open.extend(node.children().map(|name| alloc::format!("{path}/{name}")));
    }
    assert_eq!(database.digest(), sum);
}

/// A snapshot between file header and trailers, cut in two at the place that the first byte says.
pub fn snapshot(bytes: &[u8]) {
    let Some((cut, body)) = bytes.split_first() else {
        return;
    };
    let (front, back) = body.split_at(body.len().min(usize::from(*cut)));
    let mut loader = SnapshotLoader::new(1, Mutants::NONE);
    let fed = loader.feed(front).and_then(|_| loader.feed(back));
    let Ok(mut database) = fed.and_then(|_| loader.finish(Zxid::ZERO)) else {
        return;
    };
    check_digest(&database);
    let mut again = Vec::new();
    let walk = database.begin_walk();
    while database.walk(walk, 64, &mut again) == Walked::More {}
    let mut loader = SnapshotLoader::new(2, Mutants::NONE);
    assert_eq!(loader.feed(&again), Ok(again.len()));
    let loaded = loader.finish(Zxid::ZERO).expect("a walk came to its end");
    assert_eq!(loaded.digest(), database.digest());
    assert_eq!(loaded.tree().node_count(), database.tree().node_count());
    assert_eq!(loaded.sessions(), database.sessions());
}

/// A transaction log: records, each behind one byte with its length.
pub fn history(bytes: &[u8]) {
    let mut recovery = Recovery::fresh(1, Mutants::NONE);
    let mut rest = bytes;
    while let Some((length, behind)) = rest.split_first() {
        let (record, behind) = behind.split_at(behind.len().min(usize::from(*length)));
        let before = recovery.zxid();
        let refused = recovery.replay(Bytes::copy_from_slice(record)).is_err();
        assert!(recovery.zxid() >= before && !(refused && recovery.zxid() > before));
        rest = behind;
    }
    check_digest(recovery.database());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn bodies_hold_on_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..150)) {
            client_frame(&bytes);
            quorum_packet(&bytes);
            notification(&bytes);
            txn_record(&bytes);
            snapshot(&bytes);
            history(&bytes);
            client_conversation(&bytes);
            peer_conversation(&bytes);
        }

        #[test]
        fn bodies_hold_on_small_numbers(bytes in proptest::collection::vec(0..4u8, 0..150)) {
            client_frame(&bytes);
            quorum_packet(&bytes);
            notification(&bytes);
            txn_record(&bytes);
            snapshot(&bytes);
            history(&bytes);
            client_conversation(&bytes);
            peer_conversation(&bytes);
        }
    }
}
