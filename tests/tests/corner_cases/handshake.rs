//! The handshake, frames, and what is no request.

use std::time::Duration;

use vivarium_tests::ask::{self, Request, op};
use vivarium_tests::client::{Session, connect_request};
use vivarium_tests::ensemble::Plan;
use vivarium_tests::probe::{Probe, TIMEOUT_MS, Welcome, fresh};
use vivarium_tests::wait;
use vivarium_tests::wire::Body;

use crate::{Bench, Case, TICK_MS, run};

#[test]
fn handshake() {
    run(&Bench::start(Plan::new("corner-handshake", 1)), CASES);
}

const CASES: &[Case] = &[
    (
        "1 the answer has the byte that the request had",
        read_only_byte,
    ),
    ("2 the timeout is clamped", timeout_is_clamped),
    (
        "3 a wrong password is refused and harms nobody",
        wrong_password,
    ),
    ("4 an empty or missing password is refused", no_password),
    (
        "5 a client that has seen the future is not answered",
        future,
    ),
    (
        "6 the second connection of a session ends the first",
        second_connection,
    ),
    ("7 a new session needs no password", null_password),
    ("8 each connection negotiates its timeout", renegotiation),
    ("9 the length of a frame is bounded", frame_length),
    ("10 bytes behind the record do not count", trailing_bytes),
    ("11 a short record is refused", short_record),
    ("12 unknown types end the connection", unknown_types),
    ("13 a ping is answered with xid -2", ping),
    ("14 any xid is given back", any_xid),
    ("15 handshake and request in one segment", one_segment),
    (
        "16 a request is carried out though its client is gone",
        gone_client,
    ),
];

/// Sends a handshake: the answer's bytes.
fn shake(bench: &Bench, body: Body) -> (Probe, Vec<u8>) {
    let mut probe = Probe::bare(bench.address());
    probe.raw(&body.frame());
    let answer = probe.bytes();
    (probe, answer)
}

fn head(session: &Session) -> Body {
    let body = Body::new().int(0).long(0).int(session.timeout_ms);
    body.long(session.id)
}

fn resume(bench: &Bench, session: &Session) -> Probe {
    Probe::resume(bench.address(), session, 0).expect("the session lives")
}

fn read_only_byte(bench: &Bench) {
    let session = fresh(TIMEOUT_MS);
    let with = head(&session).buffer(&session.password);
    let (_, answer) = shake(bench, with.clone().byte(0));
    assert_eq!(answer.len(), 37);
    assert_eq!(Welcome::read(&answer).read_only, Some(0));
    let (_, answer) = shake(bench, with);
    assert_eq!(answer.len(), 36);
    assert_eq!(Welcome::read(&answer).read_only, None);
}

fn timeout_is_clamped(bench: &Bench) {
    for wanted in [0, -5, 1] {
        let probe = Probe::resume(bench.address(), &fresh(wanted), 0).expect("a new session");
        assert_eq!(probe.session.timeout_ms, 2 * TICK_MS, "for {wanted}");
    }
    let probe = Probe::resume(bench.address(), &fresh(1_000_000_000), 0).expect("a new session");
    assert_eq!(probe.session.timeout_ms, 20 * TICK_MS);
}

/// A refusal as every client understands it, then the end.
fn refused(bench: &Bench, body: Body) {
    let (mut probe, answer) = shake(bench, body);
    assert_eq!(answer.len(), 37);
    assert!(Welcome::read(&answer).is_refusal(), "{answer:?}");
    probe.closed();
}

fn wrong_password(bench: &Bench) {
    let owner = bench.probe();
    let mut wrong = owner.session.clone();
    wrong.password[7] ^= 1;
    refused(bench, connect_request(&wrong, 0));
    let mut again = resume(bench, &owner.session);
    again.ok(&ask::exists("/", false));
}

fn no_password(bench: &Bench) {
    let owner = bench.probe();
    refused(bench, head(&owner.session).buffer(b"").byte(0));
    refused(bench, head(&owner.session).int(-1).byte(0));
    resume(bench, &owner.session).ok(&ask::exists("/", false));
}

fn future(bench: &Bench) {
    let applied = {
        let mut probe = bench.probe();
        probe.make("/future").zxid
    };
    // Far enough that the other sessions of this test can not reach it meanwhile.
    let mut probe = Probe::bare(bench.address());
    probe.raw(&connect_request(&fresh(TIMEOUT_MS), applied + 1_000_000).frame());
    probe.closed();
    for seen in [applied, -1] {
        let resumed = Probe::resume(bench.address(), &fresh(TIMEOUT_MS), seen);
        resumed.expect("a client that has seen as much as the server");
    }
}

fn second_connection(bench: &Bench) {
    let (mut first, top) = bench.below("second");
    first.ok(&ask::create(&format!("{top}/e"), ask::flag::EPHEMERAL));
    first.ok(&ask::get_data(&top, true));
    let mut second = resume(bench, &first.session);
    first.closed();
    assert!(second.has(&format!("{top}/e")));
    second.ok(&ask::set_data(&top, b"new", -1));
    assert_eq!(second.fired(), [], "the watch went with its connection");
}

fn null_password(bench: &Bench) {
    let (_, answer) = shake(bench, head(&fresh(TIMEOUT_MS)).int(-1).byte(0));
    let welcome = Welcome::read(&answer);
    assert!(welcome.session.id != 0 && welcome.session.timeout_ms == TIMEOUT_MS);
    assert_eq!(welcome.session.password.len(), 16);
}

fn renegotiation(bench: &Bench) {
    let mut session = bench.probe().session;
    for (wanted, given) in [(3_000, 3_000), (1, 2 * TICK_MS), (99_999, 20 * TICK_MS)] {
        session.timeout_ms = wanted;
        let probe = resume(bench, &session);
        assert_eq!(probe.session.timeout_ms, given);
        assert_eq!(probe.session.id, session.id);
        assert_eq!(probe.session.password, session.password);
    }
}

fn frame_length(bench: &Bench) {
    const LONGEST: usize = 1_048_575;
    let (mut probe, top) = bench.below("length");
    let empty = ask::set_data(&top, b"", -1).body.bytes().len() + 8;
    let data = vec![b'x'; LONGEST - empty];
    let frame = probe.ok(&ask::set_data(&top, &data, -1));
    assert_eq!(frame.stat().data_length as usize, data.len());
    for length in [LONGEST as i32 + 1, -1, 0] {
        let mut probe = bench.probe();
        let session = probe.session.clone();
        probe.raw(&length.to_be_bytes());
        probe.closed();
        resume(bench, &session).ok(&ask::exists(&top, false));
    }
}

fn trailing_bytes(bench: &Bench) {
    let mut probe = bench.probe();
    let body = Body::new().string("/").byte(0).raw(b"more than asked for");
    let op = op::EXISTS;
    probe.ok(&Request { op, body });
    probe.ok(&ask::exists("/", false));
}

fn short_record(bench: &Bench) {
    let mut probe = bench.probe();
    let body = Body::new().raw(&[0, 0]);
    let op = op::GET_DATA;
    probe.refused(&Request { op, body }, -5);
    probe.ok(&ask::exists("/", false));
}

fn unknown_types(bench: &Bench) {
    for op in [op::CHECK, 10, 999, 0, 23, 108, -1] {
        let mut probe = bench.probe();
        let frame = probe.call(&ask::check_as(op, "/", -1));
        assert_eq!((frame.zxid, frame.error), (-1, -6), "type {op}");
        assert!(frame.body.is_empty());
        probe.closed();
    }
}

fn ping(bench: &Bench) {
    let mut probe = bench.probe();
    probe.send_as(77, &ask::bare(op::PING));
    let frame = probe.next_frame();
    assert_eq!((frame.xid, frame.error), (-2, 0));
    assert!(frame.zxid >= 0 && frame.body.is_empty());
}

fn any_xid(bench: &Bench) {
    let mut probe = bench.probe();
    for xid in [0, -7, i32::MIN, i32::MAX] {
        probe.send_as(xid, &ask::exists("/", false));
        assert_eq!(probe.reply(xid).error, 0);
    }
}

fn one_segment(bench: &Bench) {
    let mut probe = Probe::bare(bench.address());
    let mut bytes = connect_request(&fresh(TIMEOUT_MS), 0).frame();
    let request = Body::new().int(1).int(op::GET_DATA);
    bytes.extend(request.string("/").byte(0).frame());
    probe.raw(&bytes);
    assert!(!Welcome::read(&probe.bytes()).is_refusal());
    assert_eq!(probe.reply(1).error, 0);
}

fn gone_client(bench: &Bench) {
    let (mut probe, top) = bench.below("gone");
    let node = format!("{top}/made");
    probe.send(&ask::create(&node, 0));
    drop(probe);
    let mut other = bench.probe();
    wait::until("the node is there", Duration::from_secs(5), || {
        other.has(&node).then_some(())
    });
}
