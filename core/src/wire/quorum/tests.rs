use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::wire::splitter::Splitter;

fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn packets_as_on_the_wire() {
    let commit = QuorumPacket::bare(packet::COMMIT, Zxid(0x1_0000_0002));
    let bytes = b"\0\0\0\x04\0\0\0\x01\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(bytes_of(|out| commit.encode(out)), bytes);
    assert_eq!(QuorumPacket::decode(bytes), Ok(commit));

    let ids = vec![Id {
        scheme: "ip".into(),
        id: "::1".into(),
    }];
    let request = QuorumPacket {
        kind: packet::REQUEST,
        zxid: NO_ZXID,
        data: Some(b"d"),
        authinfo: Some(ids),
    };
    let bytes = b"\0\0\0\x01\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\x01d\0\0\0\x01\
                  \0\0\0\x02ip\0\0\0\x03::1";
    assert_eq!(bytes_of(|out| request.encode(out)), bytes);
    assert_eq!(QuorumPacket::decode(bytes), Ok(request));
}

#[test]
fn every_prefix_of_a_packet_waits_and_nothing_more_is_taken() {
    let ids = vec![
        Id {
            scheme: "ip".into(),
            id: "".into()
        };
        3
    ];
    let packet = QuorumPacket {
        kind: packet::REQUEST,
        zxid: Zxid(7),
        data: Some(b"data"),
        authinfo: Some(ids),
    };
    let whole = bytes_of(|out| packet.encode(out));
    for end in 0..whole.len() {
        assert_eq!(
            QuorumPacket::decode(&whole[..end]),
            Err(DecodeError::Truncated)
        );
        let need = measure_packet(&whole[..end]).unwrap();
        assert!(
            end < need && need <= whole.len(),
            "{need} bytes wanted for {end}"
        );
    }
    let mut with_snapshot = whole.clone();
    with_snapshot.extend_from_slice(b"raw bytes of a snapshot");
    assert_eq!(measure_packet(&with_snapshot), Ok(whole.len()));
    let mut splitter = Splitter::default();
    let mut chunk = &with_snapshot[..10];
    assert_eq!(splitter.next(&mut chunk, measure_packet), Ok(None));
    let mut chunk = &with_snapshot[10..];
    assert_eq!(
        splitter.next(&mut chunk, measure_packet),
        Ok(Some(&whole[..]))
    );
    assert_eq!(chunk, b"raw bytes of a snapshot");
}

#[test]
fn strangers_are_recognised_by_their_first_bytes() {
    let refused = Err(DecodeError::Value("packet type"));
    assert_eq!(measure_packet(b"GET / HTTP/1.1\r\n"), refused);
    assert_eq!(measure_packet(b"\x16\x03\x01\x02\0"), refused);
    assert_eq!(measure_packet(&[0; 4]), refused);
    assert_eq!(measure_packet(&20i32.to_be_bytes()), refused);
    let fixed = |length: i32| {
        bytes_of(|out| {
            out.put_i32(packet::ACK);
            out.put_i64(0);
            out.put_i32(length);
        })
    };
    assert_eq!(measure_packet(&fixed(-2)), Err(DecodeError::Length(-2)));
    assert_eq!(
        measure_packet(&fixed(i32::MAX)),
        Err(DecodeError::Length(i32::MAX))
    );
    let counted = |count: i32| {
        let mut bytes = fixed(-1);
        bytes.put_i32(count);
        bytes
    };
    assert_eq!(measure_packet(&counted(-2)), Err(DecodeError::Length(-2)));
    assert_eq!(
        measure_packet(&counted(1_000_000)),
        Err(DecodeError::Length(1_000_000))
    );
    let mut long_id = counted(1);
    long_id.put_i32(AUTHINFO_BYTES_MAX as i32);
    assert_eq!(
        measure_packet(&long_id),
        Err(DecodeError::Length(AUTHINFO_BYTES_MAX as i32))
    );
}

#[test]
fn learner_info_of_every_age() {
    let bytes = b"\0\0\0\0\0\0\0\x02\0\x01\0\0\0\0\0\0\0\0\0\x05";
    let info = LearnerInfo {
        server: ServerId(2),
        protocol: PROTOCOL_VERSION,
        config_version: Some(5),
    };
    assert_eq!(LearnerInfo::decode(bytes), Ok(info));
    assert_eq!(bytes_of(|out| info.encode(out)), bytes);
    let old = LearnerInfo {
        config_version: None,
        ..info
    };
    assert_eq!(LearnerInfo::decode(&bytes[..12]), Ok(old));
    assert_eq!(
        LearnerInfo::decode(&bytes[..8]),
        Ok(LearnerInfo { protocol: 1, ..old })
    );
    assert_eq!(
        LearnerInfo::decode(&bytes[..7]),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn payloads() {
    let request = Forwarded {
        session: SessionId(1),
        cxid: 2,
        op: 3,
        body: b"body",
    };
    let bytes = bytes_of(|out| request.encode(out));
    assert_eq!(bytes, b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\0\x03body");
    assert_eq!(Forwarded::decode(&bytes), Ok(request));
    assert_eq!(Forwarded::decode(&bytes[..15]), Err(DecodeError::Truncated));

    let touch = SessionTouch {
        session: SessionId(5),
        timeout_ms: 4000,
    };
    let one = bytes_of(|out| touch.encode(out));
    assert_eq!(one, b"\0\0\0\0\0\0\0\x05\0\0\x0f\xa0");
    let two = [&one[..], &one[..]].concat();
    assert_eq!(SessionTouch::decode_all(Some(&two)), Ok(vec![touch, touch]));
    assert_eq!(SessionTouch::decode_all(None), Ok(vec![]));
    assert_eq!(
        SessionTouch::decode_all(Some(&two[..20])),
        Err(DecodeError::Truncated)
    );

    let answer = Revalidated {
        session: SessionId(5),
        valid: true,
    };
    let bytes = bytes_of(|out| answer.encode(out));
    assert_eq!(bytes, b"\0\0\0\0\0\0\0\x05\x01");
    assert_eq!(Revalidated::decode(&bytes), Ok(answer));

    assert_eq!(leader_info(), *b"\0\x01\0\0");
    assert_eq!(decode_leader_info(&leader_info()), Ok(PROTOCOL_VERSION));
    assert_eq!(ack_epoch(None), *b"\xff\xff\xff\xff");
    assert_eq!(
        decode_ack_epoch(&ack_epoch(Some(Epoch(7)))),
        Ok(Some(Epoch(7)))
    );
    assert_eq!(decode_ack_epoch(&ack_epoch(None)), Ok(None));
    assert_eq!(
        decode_ack_epoch(b"\xff\xff\xff\xfe"),
        Err(DecodeError::Value("current epoch"))
    );
}

proptest! {
    #[test]
    fn packets_survive_the_wire(
        kind in 1..20i32,
        zxid in any::<i64>(),
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..50)),
        ids in proptest::option::of(proptest::collection::vec(("[a-z]{0,5}", "\\PC{0,9}"), 0..5)),
        after in proptest::collection::vec(any::<u8>(), 0..30),
    ) {
        let authinfo = ids.map(|ids| {
            ids.into_iter().map(|(scheme, id)| Id { scheme, id }).collect::<Vec<_>>()
        });
        let packet = QuorumPacket { kind, zxid: Zxid(zxid), data: data.as_deref(), authinfo };
        let mut bytes = bytes_of(|out| packet.encode(out));
        let length = bytes.len();
        bytes.extend_from_slice(&after);
        prop_assert_eq!(measure_packet(&bytes), Ok(length));
        prop_assert_eq!(QuorumPacket::decode(&bytes), Ok(packet));
    }

    #[test]
    fn no_bytes_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..120), length in -3..90i32,
    ) {
        let _ = QuorumPacket::decode(&bytes);
        if bytes.len() >= 16 {
            bytes[..4].copy_from_slice(&1i32.to_be_bytes());
            bytes[12..16].copy_from_slice(&length.to_be_bytes());
            let _ = QuorumPacket::decode(&bytes);
        }
        let _ = LearnerInfo::decode(&bytes);
        let _ = Forwarded::decode(&bytes);
        let _ = SessionTouch::decode_all(Some(&bytes));
        let _ = Revalidated::decode(&bytes);
        let _ = decode_leader_info(&bytes);
        let _ = decode_ack_epoch(&bytes);
    }
}
