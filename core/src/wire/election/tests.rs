use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn initial_messages_of_every_age() {
    let bare = b"\0\0\0\0\0\0\0\x03";
    let old = InitialMessage {
        server: ServerId(3),
        addresses: None,
    };
    assert_eq!(InitialMessage::decode(bare), Ok(old.clone()));
    assert_eq!(bytes_of(|out| old.encode(out)), bare);

    let v1 = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x03\0\0\0\x0a[::1]:3888";
    let message = InitialMessage {
        server: ServerId(3),
        addresses: Some("[::1]:3888".into()),
    };
    assert_eq!(InitialMessage::decode(v1), Ok(message.clone()));
    assert_eq!(bytes_of(|out| message.encode(out)), v1);
    assert_eq!(
        message.endpoints().collect::<Vec<_>>(),
        vec![("[::1]", 3888)]
    );
    for end in 0..v1.len() {
        assert_eq!(
            InitialMessage::decode(&v1[..end]),
            Err(DecodeError::Truncated)
        );
    }

    let v2 = b"\xff\xff\xff\xff\xff\xff\0\x01\0\0\0\0\0\0\0\x03\0\0\0\x0ba:3888|b:39";
    let message = InitialMessage {
        server: ServerId(3),
        addresses: Some("a:3888|b:39".into()),
    };
    assert_eq!(InitialMessage::decode(v2), Ok(message.clone()));
    assert_eq!(bytes_of(|out| message.encode(out)), v2);
    assert_eq!(
        message.endpoints().collect::<Vec<_>>(),
        vec![("a", 3888), ("b", 39)]
    );
}

#[test]
fn initial_messages_are_refused_early() {
    let version = Err(DecodeError::Value(
        "protocol version of the initial message",
    ));
    assert_eq!(measure_initial(&(-1i64).to_be_bytes()), version);
    assert_eq!(measure_initial(&(-65_537i64).to_be_bytes()), version);
    for length in [0, -1, 2049] {
        let mut bytes = b"\xff\xff\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\x03".to_vec();
        bytes.put_i32(length);
        assert_eq!(measure_initial(&bytes), Err(DecodeError::Length(length)));
    }
}

#[test]
fn frames_are_bounded() {
    assert_eq!(measure_frame(b"\0\0"), Ok(4));
    assert_eq!(measure_frame(b"\0\x08\0\0"), Ok(4 + 524_288));
    assert_eq!(
        measure_frame(b"\0\x08\0\x01"),
        Err(DecodeError::Length(524_289))
    );
    assert_eq!(measure_frame(b"\0\0\0\0"), Err(DecodeError::Length(0)));
    assert_eq!(
        measure_frame(b"\xff\xff\xff\xff"),
        Err(DecodeError::Length(-1))
    );
}

const VOTE: &[u8] = b"\0\0\0\x02\0\0\0\0\0\0\0\x03\0\0\0\x05\0\0\0\x09\0\0\0\0\0\0\0\x04\
                      \0\0\0\0\0\0\0\x06\0\0\0\x02\0\0\0\x09version=0";

fn vote() -> Notification<'static> {
    Notification {
        state: PeerState::Leading,
        leader: ServerId(3),
        zxid: Zxid(0x5_0000_0009),
        round: 4,
        peer_epoch: Epoch(6),
        version: 2,
        config: Some(b"version=0"),
    }
}

#[test]
fn notifications_of_every_age() {
    assert_eq!(Notification::decode(VOTE), Ok(vote()));
    let frame = bytes_of(|out| vote().encode(out));
    assert_eq!(frame[..4], (VOTE.len() as u32).to_be_bytes());
    assert_eq!(&frame[4..], VOTE);

    let before_3_4 = Notification {
        peer_epoch: Epoch(5),
        version: 0,
        config: None,
        ..vote()
    };
    assert_eq!(Notification::decode(&VOTE[..28]), Ok(before_3_4));
    let of_3_4_6 = Notification {
        version: 0,
        config: None,
        ..vote()
    };
    assert_eq!(Notification::decode(&VOTE[..40]), Ok(of_3_4_6));
    for bad in [0, 27, 29, 36, 39, 41, 43, 44, 52] {
        assert_eq!(
            Notification::decode(&VOTE[..bad]),
            Err(DecodeError::Truncated),
            "{bad} bytes"
        );
    }
    let mut no_state = VOTE.to_vec();
    no_state[3] = 4;
    assert_eq!(
        Notification::decode(&no_state),
        Err(DecodeError::Value("state"))
    );
    let mut no_config = VOTE.to_vec();
    no_config[40..44].copy_from_slice(&[0xff; 4]);
    assert_eq!(
        Notification::decode(&no_config),
        Err(DecodeError::Length(-1))
    );
}

fn member(kind: LearnerType, host: &str, client: Option<&str>) -> Member {
    Member {
        kind,
        host: host.into(),
        quorum_port: 2888,
        election_port: 3888,
        client_address: client.map(Into::into),
    }
}

#[test]
fn verifier_text_as_java_writes_it() {
    let members = BTreeMap::from([
        (ServerId(1), member(LearnerType::Participant, "zoo1", None)),
        (
            ServerId(2),
            member(LearnerType::Participant, "[::1]", Some("2181")),
        ),
        (
            ServerId(3),
            member(LearnerType::Observer, "zoo3", Some("10.0.0.3:2181")),
        ),
    ]);
    let text = verifier_text(&members, 0x1_0000_0000);
    assert_eq!(
        text,
        "server.1=zoo1:2888:3888:participant\n\
         server.2=[::1]:2888:3888:participant;0.0.0.0:2181\n\
         server.3=zoo3:2888:3888:observer;10.0.0.3:2181\n\
         version=100000000"
    );
    let parsed = Verifier::parse(text.as_bytes());
    assert_eq!(parsed.version, 0x1_0000_0000);
    assert_eq!(parsed.members[&ServerId(1)], members[&ServerId(1)]);
    assert_eq!(parsed.members[&ServerId(3)], members[&ServerId(3)]);
    assert_eq!(
        parsed.members[&ServerId(2)].client_address.as_deref(),
        Some("0.0.0.0:2181")
    );
}

#[test]
fn verifier_text_is_read_without_order_and_leniently() {
    let text = b"version=a\nweight.1=1\nserver.x=1\nserver.2=b:1\nserver.4=:1:2\n\xff=\n\
                 server.1=a:1:2|b:1:2:participant\n\nserver.3=c:5:6";
    let parsed = Verifier::parse(text);
    assert_eq!(parsed.version, 10);
    assert_eq!(
        parsed.members.keys().copied().collect::<Vec<_>>(),
        vec![ServerId(1), ServerId(3)]
    );
    assert_eq!(parsed.members[&ServerId(1)].host, "a");
    assert_eq!(parsed.members[&ServerId(3)].quorum_port, 5);
    assert_eq!(Verifier::parse(b""), Verifier::default());
}

proptest! {
    #[test]
    fn notifications_survive_the_wire(
        numbers in any::<[i64; 4]>(), version in 1..4i32, text in "\\PC{0,40}",
    ) {
        let vote = Notification {
            state: PeerState::Looking,
            leader: ServerId(numbers[0]),
            zxid: Zxid(numbers[1]),
            round: numbers[2],
            peer_epoch: Epoch(numbers[3]),
            version,
            config: (version > 1).then_some(text.as_bytes()),
        };
        let frame = bytes_of(|out| vote.encode(out));
        prop_assert_eq!(measure_frame(&frame), Ok(frame.len()));
        // 40 bytes are read as the layout whose version is not looked at.
        let expected = if version == 1 { Notification { version: 0, ..vote } } else { vote };
        prop_assert_eq!(Notification::decode(&frame[4..]), Ok(expected));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = InitialMessage::decode(&bytes).map(|m| m.endpoints().count());
        let _ = Notification::decode(&bytes);
        let _ = Verifier::parse(&bytes);
        let _ = measure_frame(&bytes);
    }

    #[test]
    fn no_text_panics(
        lines in proptest::collection::vec(
            "(server\\.)?[0-9]{0,3}=?[a-z0-9:;|\\[\\]=]{0,30}", 0..6,
        ),
    ) {
        let _ = Verifier::parse(lines.join("\n").as_bytes());
    }
}
