//! A standalone node is recorded and run again; recordings end, are torn, are refused.

use std::collections::BTreeMap;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vivarium_core::boundary::{Action, Channel, Input, Outbox};
use vivarium_core::config::{Config, LearnerType, Member, Rules};
use vivarium_core::ids::{ConnId, Epoch, LinkId, ServerId, WriteSeq, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::node::Node;
use vivarium_core::recovery::{Recovered, Recovery};
use vivarium_core::time::{Instant, Now, WallMs};

use crate::entry::{Reader, Writer};
use crate::recorder::recordings;
use crate::shapes::ConfigShape;
use crate::{KEPT, Limits, Recorder, newest, replay};

const WIDE: Limits = Limits { bytes_max: 1 << 20 };

fn config() -> Config {
    Config {
        me: ServerId(0),
        members: BTreeMap::new(),
        tick: Duration::from_millis(500),
        init_limit: 10,
        sync_limit: 5,
        session_timeout_min: Duration::from_secs(1),
        session_timeout_max: Duration::from_secs(10),
        snap_count: 1_000,
        seed: 7,
        rules: Rules::default(),
        mutants: Mutants::NONE,
    }
}

fn now(ms: u64) -> Now {
    Now {
        mono: Instant(ms * 1_000_000),
        wall: WallMs(1_700_000_000_000 + ms as i64),
    }
}

fn nothing() -> Recovered {
    Recovery::fresh(7, Mutants::NONE).finish(Epoch(0), Epoch(0))
}

/// A directory of its own for each test.
fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("vivarium-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&dir);
    dir
}

/// A client that asks for a new session.
fn hello() -> Vec<u8> {
    let mut body = vec![0; 4 + 8];
    body.extend_from_slice(&4_000_i32.to_be_bytes());
    body.extend_from_slice(&[0; 8]);
    body.extend_from_slice(&16_i32.to_be_bytes());
    body.extend_from_slice(&[0; 16]);
    let mut frame = (body.len() as i32).to_be_bytes().to_vec();
    frame.extend_from_slice(&body);
    frame
}

/// A server whose disk answers at once, with a session for each hundred turns; the applied zxid
/// and the digest at its end, and why its recording ended.
fn live(dir: &Path, limits: Limits, turns: u64) -> ((Zxid, u64), Option<String>) {
    let mut state = nothing();
    let recorder = Recorder::begin(dir, limits, &config(), &mut state, now(0));
    let mut recorder = recorder.expect("a scratch directory can be written");
    let mut node = Node::boot(config(), state, now(0));
    let mut out = Outbox::default();
    let mut written = WriteSeq(0);
    let mut ended = None;
    for turn in 1..=turns {
        let at = now(turn);
        let hello = hello();
        let conn = ConnId(turn);
        let address = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let mut inputs = Vec::new();
        if turn % 100 == 1 {
            inputs.push(Input::ClientOpened { conn, address });
            inputs.push(Input::ClientBytes {
                conn,
                bytes: &hello,
            });
        }
        inputs.push(Input::Wake);
        inputs.push(Input::Persisted { upto: written });
        for mut input in inputs {
            recorder.input(at, &mut input);
            node.handle(at, input);
        }
        recorder.flush(at);
        node.flush(at, &mut out);
        for action in out.actions() {
            if let Action::Write { seq, .. } = action {
                written = *seq;
            }
        }
        out.clear();
        let database = node.database();
        let why = recorder.end_turn(|| (database.applied(), database.digest()));
        ended = ended.or(why);
    }
    let database = node.database();
    ((database.applied(), database.digest()), ended)
}

#[test]
fn a_recording_comes_to_the_same_state() {
    let dir = directory("same");
    let (end, ended) = live(&dir, WIDE, 300);
    assert_eq!(ended, None);
    let file = newest(&dir).expect("it was recorded");
    let mode = fs::metadata(&file)
        .expect("it is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let bytes = fs::read(&file).expect("readable");
    let again = replay(&bytes, Mutants::NONE).expect("whole");
    assert_eq!((again.applied, again.digest), end);
    assert!(again.applied > Zxid::ZERO && again.marks >= 2, "{again:?}");
    assert_eq!((again.turns, again.differs), (300, None));
    assert!(!again.torn && !again.full);
    // Whatever the last write left of it.
    for cut in 1..200 {
        let torn = replay(&bytes[..bytes.len() - cut], Mutants::NONE).expect("torn, not broken");
        assert!(torn.turns <= 300 && torn.differs.is_none());
    }
    let mut rotten = bytes.clone();
    let middle = rotten.len() / 2;
    rotten[middle] ^= 1;
    let refused = replay(&rotten, Mutants::NONE).expect_err("it does not have its checksum");
    assert!(refused.at > 0, "{refused}");
    fs::remove_dir_all(&dir).expect("its own directory");
}

/// A state that is not the server's is seen.
#[test]
fn another_state_is_noticed() {
    let dir = directory("another");
    live(&dir, WIDE, 64);
    let mut bytes = fs::read(newest(&dir).expect("recorded")).expect("readable");
    let mut wrong = Writer::default();
    wrong.entry(crate::entry::kind::MARK, |w| {
        w.word(5);
        w.word(6);
    });
    bytes.extend_from_slice(&wrong.out);
    let again = replay(&bytes, Mutants::NONE).expect("whole");
    let differs = again.differs.expect("zxid 5 was never applied");
    assert_eq!((differs.turn, differs.recorded), (64, (Zxid(5), 6)));
    fs::remove_dir_all(&dir).expect("its own directory");
}

#[test]
fn a_recording_is_bounded_and_old_ones_go() {
    let dir = directory("bounded");
    let few = Limits { bytes_max: 2_000 };
    let (_, ended) = live(&dir, few, 300);
    assert!(ended.expect("it was full").contains("2000 bytes"));
    let file = newest(&dir).expect("recorded");
    assert!(fs::metadata(&file).expect("it is there").len() <= 2_100);
    let again = replay(&fs::read(&file).expect("readable"), Mutants::NONE).expect("whole");
    assert!(again.full && again.turns < 300);
    for _ in 0..KEPT + 2 {
        live(&dir, WIDE, 1);
    }
    let kept = recordings(&dir).expect("readable");
    let numbers: Vec<u64> = kept.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, [4, 5, 6, 7]);
    let none = Limits { bytes_max: 10 };
    let refused = Recorder::begin(&dir, none, &config(), &mut nothing(), now(0));
    assert!(
        refused
            .expect_err("no room for the state")
            .to_string()
            .contains("at most 10")
    );
    fs::remove_dir_all(&dir).expect("its own directory");
}

#[test]
fn every_input_is_read_as_it_was_written() {
    let address = IpAddr::V6("::1".parse().expect("an address"));
    let link = LinkId(3);
    let peer = ServerId(2);
    let inputs = || {
        vec![
            Input::Wake,
            Input::Stop,
            Input::ClientOpened {
                conn: ConnId(1),
                address,
            },
            Input::ClientBytes {
                conn: ConnId(1),
                bytes: b"abc",
            },
            Input::ClientClosed { conn: ConnId(1) },
            Input::ClientUnread {
                conn: ConnId(1),
                bytes: 9,
            },
            Input::LinkOpened {
                link,
                peer: Some(peer),
                channel: Channel::Quorum,
            },
            Input::LinkOpened {
                link,
                peer: None,
                channel: Channel::Election,
            },
            Input::LinkBytes { link, bytes: b"" },
            Input::LinkDrained { link, bytes: 4 },
            Input::LinkClosed { link },
            Input::DialFailed {
                peer,
                channel: Channel::Election,
            },
            Input::Persisted { upto: WriteSeq(8) },
            Input::Reloaded {
                seq: WriteSeq(9),
                state: Box::new(nothing()),
            },
            Input::SnapshotStored { ok: true },
            Input::DiskRoom { low: true },
            Input::DiskFailed { upto: WriteSeq(8) },
        ]
    };
    for mut input in inputs() {
        let shown = |input: &Input<'_>| match input {
            Input::Reloaded { seq, state } => format!("{seq:?} {}", state.database.digest()),
            other => format!("{other:?}"),
        };
        let mut writer = Writer::default();
        writer.input(now(5), &mut input);
        let kind = writer.out[4];
        let body = &writer.out[5..writer.out.len() - 4];
        let mut reader = Reader { rest: body };
        assert_eq!(reader.now(), Ok(now(5)));
        let read = reader
            .input(kind, 7, Mutants::NONE)
            .expect("as it was written");
        assert_eq!(shown(&read), shown(&input));
        assert!(reader.rest.is_empty());
        for cut in 17..body.len() {
            let mut short = Reader {
                rest: &body[16..cut],
            };
            assert!(
                short.input(kind, 7, Mutants::NONE).is_err(),
                "{input:?} cut at {cut}"
            );
        }
    }
}

#[test]
fn a_configuration_keeps_its_values() {
    let mut config = config();
    let member = Member {
        kind: LearnerType::Observer,
        host: "[::1]".to_owned(),
        quorum_port: 1,
        election_port: 2,
        client_address: Some("h:3".to_owned()),
    };
    config.members.insert(ServerId(4), member);
    config.rules.super_digest = Some("super:x".to_owned());
    let text = serde_json::to_vec(&ConfigShape::from(&config)).expect("plain data");
    let read: ConfigShape = serde_json::from_slice(&text).expect("as it was written");
    let read = read.into_config(Mutants::NONE);
    assert_eq!(format!("{read:?}"), format!("{config:?}"));
}

#[test]
fn what_is_no_recording_is_refused() {
    for (bytes, expected) in [
        (&b""[..], "this is no recording"),
        (b"vivarium-recording 9\n", "a recording of version 9"),
        (b"vivarium-recording 1\n", "before the server has started"),
        (
            b"vivarium-recording 1\n\xff\xff\xff\xff1234",
            "an entry of 4294967295 bytes",
        ),
    ] {
        let refused = replay(bytes, Mutants::NONE).expect_err("refused");
        assert!(refused.why.contains(expected), "{refused}");
    }
}
