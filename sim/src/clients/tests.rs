//! Clients against a hand-held server side.

use super::*;
use crate::check::tests::setup;
use crate::observe::Violation;
use bytes::Bytes;
use vivarium_core::ids::Epoch;
use vivarium_core::wire::jute::Write;

/// One client, and what it did last.
struct Stage {
    client: Client,
    checks: Checks,
    out: Vec<ClientAction>,
    now: SimTime,
}

fn frame(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = vec![0; 4];
    fill(&mut out);
    let length = (out.len() - 4) as u32;
    out[..4].copy_from_slice(&length.to_be_bytes());
    out
}

fn header(xid: i32, zxid: i64, err: i32) -> Vec<u8> {
    frame(|out| put_header(out, xid, zxid, err))
}

fn put_header(out: &mut Vec<u8>, xid: i32, zxid: i64, err: i32) {
    out.put_i32(xid);
    out.put_i64(zxid);
    out.put_i32(err);
}

fn watch_event(zxid: i64, kind: i32, path: &str) -> Vec<u8> {
    frame(|out| {
        put_header(out, XID_EVENT, zxid, 0);
        out.put_i32(kind);
        out.put_i32(3);
        out.put_string(path);
    })
}

impl Stage {
    fn new(errand: Errand) -> Self {
        let plan = ClientPlan {
            servers: vec![ServerId(1)],
            timeout_ms: 900,
            start: SimTime(5),
            quiet_from: SimTime::NEVER,
            people: Vec::new(),
            read_only: false,
            errand,
        };
        let client = Client::new(ClientId(1), plan, Streams::new(3));
        Self {
            client,
            checks: Checks::new(&setup(3)),
            out: Vec::new(),
            now: SimTime(5),
        }
    }

    /// Wakes the client when it wants to be woken, if that is at or before `ms`.
    fn until(&mut self, ms: u64) {
        let end = SimTime::from_millis(ms);
        while let Some(due) = self.client.deadline().filter(|due| *due <= end) {
            self.now = self.now.max(due);
            self.client
                .on_wake(self.now, &mut self.out, &mut self.checks);
        }
        self.now = end;
    }

    fn connect(&mut self) {
        self.until(self.now.0 / 1_000_000 + 1_000);
        assert!(
            matches!(self.out.last(), Some(ClientAction::Connect { .. })),
            "{:?}",
            self.out
        );
        self.client
            .on_connected(self.now, &mut self.out, &mut self.checks);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        for half in bytes.chunks(7) {
            self.client
                .on_bytes(self.now, half, &mut self.out, &mut self.checks);
        }
    }

    fn welcome(&mut self, timeout_ms: i32, session: i64) {
        self.bytes(&frame(|out| {
            out.put_i32(0);
            out.put_i32(timeout_ms);
            out.put_i64(session);
            out.put_buffer(Some(&[if session == 0 { 0 } else { 7 }; 16]));
            out.put_bool(false);
        }));
    }

    /// xid and operation number of each request sent since the last look.
    fn sent(&mut self) -> Vec<(i32, i32)> {
        let sends = self.out.drain(..).filter_map(|a| match a {
            ClientAction::Send(bytes) => Some(bytes),
            _ => None,
        });
        sends
            .map(|bytes: Bytes| (int(&bytes, 4), int(&bytes, 8)))
            .collect()
    }

    fn close(&mut self) {
        self.client
            .on_closed(self.now, &mut self.out, &mut self.checks);
    }

    fn violation(&mut self) -> Option<Violation> {
        self.checks.violation()
    }
}

fn int(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn election() -> Errand {
    Errand::Election {
        path: "/master".into(),
    }
}

#[test]
fn a_session_is_opened_pinged_and_resumed() {
    let mut s = Stage::new(election());
    s.connect();
    let hello = s.sent();
    assert_eq!(hello.len(), 1);
    s.welcome(900, 9);
    assert_eq!(s.sent(), [(1, 1)], "the recipe's create");
    s.until(s.now.0 / 1_000_000 + 310);
    assert_eq!(s.sent(), [(XID_PING, 11)]);
    s.close();
    assert_eq!(s.client.standing(), Standing::Away);
    s.connect();
    let Some(ClientAction::Send(again)) = s.out.last() else {
        panic!("{:?}", s.out)
    };
    assert_eq!(
        again[20..28],
        9_i64.to_be_bytes(),
        "the session is asked for again"
    );
    assert_eq!(again[32], 7, "with its password");
    assert_eq!(s.violation(), None);
}

#[test]
fn silence_makes_the_client_go_elsewhere() {
    let mut s = Stage::new(election());
    s.connect();
    s.welcome(900, 9);
    s.out.clear();
    s.until(s.now.0 / 1_000_000 + 601);
    assert!(s.out.iter().any(|a| matches!(a, ClientAction::Disconnect)));
}

#[test]
fn a_refused_session_is_given_up() {
    let mut s = Stage::new(election());
    s.connect();
    s.welcome(900, 9);
    s.close();
    s.connect();
    s.welcome(0, 0);
    assert_eq!(s.client.session(), None);
    s.connect();
    s.welcome(900, 10);
    assert_eq!(s.client.session(), Some(SessionId(10)));
    assert_eq!(s.violation(), None);
}

#[test]
fn a_reply_out_of_turn_is_reported() {
    let mut s = Stage::new(election());
    s.connect();
    s.welcome(900, 9);
    s.bytes(&header(2, 0, 0));
    assert_eq!(s.violation().unwrap().rule, crate::check::RULE_PROTOCOL);
}

#[test]
fn a_candidate_stands_by_and_sets_its_watch_again() {
    let mut election = Election::new(ClientId(1), "/master".into());
    let exists = Err(ErrorCode::NodeExists.code());
    let reply = |result| Reply {
        zxid: Zxid::new(Epoch(1), 1),
        result,
    };
    let op = election.step().unwrap();
    election.heard(SessionId(9), &op, &reply(exists));
    let op = election.step().unwrap();
    assert_eq!(
        op,
        Op::GetData {
            path: "/master".into(),
            watch: true
        }
    );
    let stat = vivarium_core::wire::records::Stat {
        ephemeral_owner: 8,
        ..Default::default()
    };
    election.heard(
        SessionId(9),
        &op,
        &reply(Ok(ops::Body::Data { data: None, stat })),
    );
    assert_eq!(
        (election.step(), election.standing()),
        (None, Standing::Waits)
    );
    election.told(&ops::WatchEvent {
        zxid: Zxid(2),
        kind: 2,
        path: "/master".into(),
    });
    let op = election.step().unwrap();
    let made = ops::Body::Created {
        path: "/master".into(),
        stat: None,
    };
    election.heard(SessionId(9), &op, &reply(Ok(made)));
    assert_eq!(election.standing(), Standing::Holds);
}

#[test]
fn the_lock_waits_for_the_one_before() {
    let mut lock = Lock::new("/lock".into(), Duration::from_secs(1));
    let me = SessionId(9);
    let mut step = |result: Result<ops::Body, i32>| {
        let op = lock.step(SimTime(0), me).unwrap();
        lock.heard(
            SimTime(0),
            me,
            &op,
            &Reply {
                zxid: Zxid(1),
                result,
            },
        );
        op
    };
    let names = |list: &[&str]| {
        let names = list.iter().map(|n| (*n).to_owned()).collect();
        Ok(ops::Body::Children { names, stat: None })
    };
    let other = "0x8-0000000003";
    let mine = "0x9-0000000004";
    step(Err(ErrorCode::NodeExists.code()));
    step(names(&[other]));
    step(Ok(ops::Body::Created {
        path: format!("/lock/{mine}"),
        stat: None,
    }));
    step(names(&[mine, other]));
    let op = step(Ok(ops::Body::Stat(Default::default())));
    assert_eq!(
        op,
        Op::Exists {
            path: format!("/lock/{other}").into(),
            watch: true
        }
    );
    assert_eq!(lock.step(SimTime(0), me), None);
    let path = format!("/lock/{other}");
    lock.told(&ops::WatchEvent {
        zxid: Zxid(2),
        kind: event::DELETED,
        path,
    });
    let op = lock.step(SimTime(0), me).unwrap();
    lock.heard(
        SimTime(0),
        me,
        &op,
        &Reply {
            zxid: Zxid(2),
            result: names(&[mine]),
        },
    );
    assert_eq!(lock.standing(), Standing::Holds);
    assert_eq!(lock.step(SimTime(0), me), None);
    let op = lock.step(SimTime(2_000_000_000), me).unwrap();
    assert_eq!(
        op,
        Op::Delete {
            path: format!("/lock/{mine}").into(),
            version: -1
        }
    );
}

#[test]
fn watches_are_set_again_after_a_reconnect() {
    let mut s = Stage::new(election());
    s.connect();
    s.welcome(900, 9);
    s.sent();
    s.client.watched.insert((Table::Child, "/a".into()), false);
    s.client.watched.insert((Table::Data, "/b".into()), true);
    s.close();
    s.connect();
    s.welcome(900, 9);
    assert_eq!(s.sent()[1].0, XID_SET_WATCHES);
    s.bytes(&watch_event(-1, event::CREATED, "/b"));
    assert!(!s.client.watched.contains_key(&(Table::Data, "/b".into())));
    assert_eq!(s.violation(), None);
}

#[test]
fn draws_repeat_and_use_every_kind() {
    let draw = || {
        let mut rng = Streams::new(11).stream(Purpose::Client, 1);
        let mut mix = plan::Mix::draw(&setup(3), &mut rng);
        mix.weights = vec![1; workload::Kind::ALL.len()];
        let mut mixed = Mixed::new(ClientId(1), mix);
        let mut asked = Vec::new();
        for _ in 0..500 {
            mixed.act(&mut rng, &mut asked);
        }
        asked
    };
    let asked = draw();
    assert_eq!(asked, draw());
    let mut numbers: Vec<i32> = asked.iter().map(Op::number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let of_kinds = [
        1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 17, 18, 19, 21, 22, 100, 103, 104, 106, 107,
    ];
    assert_eq!(numbers, of_kinds);
}
