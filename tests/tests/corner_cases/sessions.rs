//! How sessions end, and what a connection has proven.

use std::time::{Duration, Instant};

use vivarium_tests::ask::{self, flag, op};
use vivarium_tests::ensemble::Plan;
use vivarium_tests::probe::{Probe, fresh};
use vivarium_tests::wait;

use crate::{Bench, Case, TICK_MS, run};

#[test]
fn sessions() {
    run(&Bench::start(Plan::new("corner-sessions", 1)), CASES);
}

const CASES: &[Case] = &[
    (
        "91 an idle session ends between its timeout and a tick later",
        idle_session,
    ),
    (
        "92 ephemerals go with the session, not with the connection",
        ephemerals,
    ),
    (
        "93 closeSession is answered, then nothing more comes",
        close_session,
    ),
    ("94 proofs that are refused", refused_proofs),
    (
        "95 a proof counts for what comes after it",
        proof_in_a_pipeline,
    ),
    (
        "96 a proof belongs to its connection",
        proof_of_a_connection,
    ),
    ("104 sasl where there is none", no_sasl),
    ("105 whoAmI", who_am_i),
];

/// What a busy machine may add to a time.
const SLACK: Duration = Duration::from_secs(2);

fn short(bench: &Bench) -> (Probe, Duration) {
    let probe = Probe::resume(bench.address(), &fresh(2 * TICK_MS), 0).expect("a new session");
    let timeout = probe.session.timeout_ms;
    assert_eq!(timeout, 2 * TICK_MS);
    (probe, Duration::from_millis(timeout as u64))
}

fn tick() -> Duration {
    Duration::from_millis(TICK_MS as u64)
}

fn idle_session(bench: &Bench) {
    let (mut probe, top) = bench.below("idle");
    let (mut owner, timeout) = short(bench);
    let node = format!("{top}/e");
    let before = Instant::now();
    owner.ok(&ask::create(&node, flag::EPHEMERAL));
    wait::until("the session ends", timeout + tick() + SLACK, || {
        (!probe.has(&node)).then_some(())
    });
    assert!(
        before.elapsed() >= timeout,
        "gone after {:?}",
        before.elapsed()
    );
    owner.closed();
    let refusal = Probe::resume(bench.address(), &owner.session, 0).expect_err("an old session");
    assert!(refusal.is_refusal());
}

fn ephemerals(bench: &Bench) {
    let (mut probe, top) = bench.below("drop");
    let (mut owner, timeout) = short(bench);
    let node = format!("{top}/e");
    owner.ok(&ask::create(&node, flag::EPHEMERAL));
    drop(owner);
    let before = Instant::now();
    while before.elapsed() < timeout * 8 / 10 {
        assert!(probe.has(&node), "gone after {:?}", before.elapsed());
    }
    wait::until("the session ends", timeout + tick() + SLACK, || {
        (!probe.has(&node)).then_some(())
    });
    let mut owner = bench.probe();
    owner.ok(&ask::create(&node, flag::EPHEMERAL));
    owner.close();
    assert!(!probe.has(&node));
}

fn close_session(bench: &Bench) {
    let mut probe = bench.probe();
    let xid = probe.send(&ask::bare(op::CLOSE_SESSION));
    let frame = probe.reply(xid);
    assert_eq!((frame.error, frame.body.len()), (0, 0));
    assert!(frame.zxid > 0);
    probe.closed();
}

fn refused_proofs(bench: &Bench) {
    let (mut probe, top) = bench.below("proofs");
    let frame = probe.ok(&ask::auth("digest", Some(b"user")));
    assert_eq!((frame.zxid, frame.body.len()), (0, 0));
    probe.ok(&ask::auth("ip", Some(b"")));
    for (scheme, proof) in [
        ("digest", None),
        ("foo", Some(&b"x"[..])),
        ("world", Some(b"x")),
    ] {
        let mut owner = bench.probe();
        let node = owner.ok(&ask::create(
            &format!("{top}/e"),
            flag::EPHEMERAL_SEQUENTIAL,
        ));
        let frame = owner.call(&ask::auth(scheme, proof));
        assert_eq!(
            (frame.zxid, frame.error, frame.body.len()),
            (0, -115, 0),
            "{scheme}"
        );
        owner.closed();
        assert!(probe.has(&node.path()), "the session goes on");
    }
}

fn proof_in_a_pipeline(bench: &Bench) {
    let (mut probe, top) = bench.below("pipeline");
    let node = format!("{top}/a");
    let id = "user1:+owfoSBn/am19roBPzR1/MfCblE=";
    probe.ok(&ask::create_acl(&node, &[(31, "digest", id)]));
    let before = probe.send(&ask::get_data(&node, false));
    let proof = probe.send(&ask::auth("digest", Some(b"user1:12345")));
    let after = probe.send(&ask::get_data(&node, false));
    // The answer to a proof may overtake.
    let mut found: Vec<_> = (0..3)
        .map(|_| probe.next_frame())
        .map(|frame| (frame.xid, frame.error))
        .collect();
    found.sort();
    assert_eq!(found, [(before, -102), (proof, 0), (after, 0)]);
}

fn proof_of_a_connection(bench: &Bench) {
    let (mut probe, top) = bench.below("connection");
    let node = format!("{top}/a");
    let proof = ask::auth("digest", Some(b"u:p"));
    probe.ok(&proof);
    probe.ok(&ask::create_acl(&node, &[(31, "auth", "")]));
    probe.ok(&ask::get_data(&node, false));
    let session = probe.session.clone();
    let mut again = Probe::resume(bench.address(), &session, 0).expect("the session lives");
    again.refused(&ask::get_data(&node, false), -102);
    again.ok(&proof);
    again.ok(&ask::get_data(&node, false));
}

fn no_sasl(bench: &Bench) {
    let mut probe = bench.probe();
    let frame = probe.ok(&ask::sasl(b"token"));
    assert_eq!((frame.zxid, &*frame.body), (0, &(-1_i32).to_be_bytes()[..]));
    probe.ok(&ask::exists("/", false));
}

fn who_am_i(bench: &Bench) {
    let mut probe = bench.probe();
    let mut found = || {
        let frame = probe.ok(&ask::bare(op::WHO_AM_I));
        let mut fields = frame.fields();
        let count = fields.int();
        let one = |_| (fields.string(), fields.string());
        let mut all: Vec<_> = (0..count).map(one).collect();
        all.sort();
        probe.ok(&ask::auth("digest", Some(b"bob:secret")));
        all
    };
    let address = ("ip".to_owned(), "127.0.0.1".to_owned());
    assert_eq!(found(), std::slice::from_ref(&address));
    assert_eq!(found(), [("digest".to_owned(), "bob".to_owned()), address]);
}
