//! Idle connections, back-pressure, replies that do not fit into a turn.

use core::time::Duration;

use super::*;
use crate::limits::{
    CLIENT_UNREAD_BYTES, CLIENT_UNREAD_GROWTH_MAX, CLIENTS_UNREAD_BYTES_MAX,
    CONNECTION_OUTSTANDING_PART, REPLY_BYTES_AT_ONCE, REQUESTS_OUTSTANDING_MAX,
};

const CONNECTION_OUTSTANDING_MAX: usize = REQUESTS_OUTSTANDING_MAX / CONNECTION_OUTSTANDING_PART;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_connection_without_a_session_is_closed_in_time() {
    let mut lab = Lab::new();
    lab.open(A);
    lab.open(B);
    let due = lab.now.mono + 10 * SECOND;
    assert_eq!(lab.clients.deadline(), Some(due));
    lab.wake(9 * SECOND);
    lab.send(A, b"\0\0");
    lab.send(B, &hello(SessionId(0), &[0; 16], 0));
    assert!(lab.closed.is_empty());
    lab.wake(SECOND);
    assert_eq!(
        lab.closed[&A],
        CloseReason::Idle,
        "trickling bytes do not help"
    );
    assert_eq!(
        lab.closed[&B],
        CloseReason::Idle,
        "nor does a handshake that gets no answer"
    );
    assert_eq!(lab.clients.deadline(), None);
    assert_eq!(lab.clients.outstanding(), 0);
    lab.commit_all();
    assert_eq!(lab.unread(B), 0);
}

#[test]
fn a_silent_session_loses_its_connection_and_nothing_else() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.wake(5 * SECOND);
    lab.ask(A, 1, &Request::Ping);
    lab.clients.take_touched();
    lab.wake(5 * SECOND);
    assert!(lab.closed.is_empty());
    let due = lab.clients.deadline().unwrap();
    assert_eq!(due - lab.now.mono, SECOND);
    lab.wake(SECOND);
    assert_eq!(lab.closed[&A], CloseReason::Idle);
    assert!(lab.upstream.is_empty(), "only the leader expires sessions");
    assert!(lab.db.sessions().contains_key(&owner.session));
    assert_eq!(lab.clients.take_touched(), []);
}

#[test]
fn a_greedy_connection_is_read_only_so_far() {
    let mut lab = Lab::new();
    lab.join(A);
    let total = CONNECTION_OUTSTANDING_MAX + 50;
    let mut script = Vec::new();
    for xid in 1..=total {
        script.extend(frame(xid as i32, &set_data("/", b"")));
    }
    lab.send(A, &script);
    assert_eq!(lab.upstream.len(), CONNECTION_OUTSTANDING_MAX);
    assert_eq!(lab.clients.outstanding(), CONNECTION_OUTSTANDING_MAX);
    assert!(lab.clients.wants_input(), "others may go on");
    lab.commit();
    assert_eq!(lab.upstream.len(), CONNECTION_OUTSTANDING_MAX);
    lab.commit_all();
    let expected: Vec<_> = (1..=total).map(|xid| (xid as i32, 0)).collect();
    assert_eq!(lab.xids(A), expected);
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn beyond_the_limit_a_connection_has_one_request_in_process() {
    let mut lab = Lab::new();
    let greedy = CONNECTION_OUTSTANDING_PART as u64;
    for conn in 0..greedy {
        let conn = ConnId(conn);
        lab.join(conn);
        for xid in 1..=CONNECTION_OUTSTANDING_MAX {
            lab.ask(conn, xid as i32, &set_data("/", b""));
        }
        // These wait for a quorum that never comes.
        lab.upstream.clear();
    }
    assert_eq!(lab.clients.outstanding(), REQUESTS_OUTSTANDING_MAX);
    lab.join(ConnId(greedy));
    let script = [1, 2, 3].map(|xid| frame(xid, &set_data("/", b"")));
    lab.send(ConnId(greedy), &script.concat());
    assert_eq!(
        lab.clients.outstanding(),
        REQUESTS_OUTSTANDING_MAX + 1,
        "as in ZooKeeper, who has none in process is read"
    );
    assert!(lab.clients.wants_input(), "what is held is not much");
}

#[test]
fn requests_held_back_are_bounded() {
    let mut lab = Lab::new();
    lab.open(A);
    let mut bytes = hello(SessionId(0), &[0; 16], 0);
    bytes.extend(frame(1, &set_data("/", &[0; 1_000_000])));
    lab.send(A, &bytes);
    assert!(lab.clients.wants_input());
    for _ in 0..16 {
        lab.send(A, &frame(2, &set_data("/", &[0; 1_048_000])));
    }
    assert!(!lab.clients.wants_input());
    lab.commit_all();
    lab.handshake(A);
    assert_eq!(lab.xids(A).len(), 17);
    assert!(lab.clients.wants_input());
    lab.send(A, b"\0\x0f\xff\xff only a part of a frame");
    assert!(lab.clients.wants_input(), "only the client can end this");
}

/// A lab with a megabyte in `/`, and `count` requests for it.
fn large_reads(count: i32) -> (Lab, Vec<u8>) {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &set_data("/", &[7; 1_000_000]));
    lab.commit_all();
    lab.frames(A);
    let script: Vec<Vec<u8>> = (1..=count)
        .map(|xid| frame(xid, &get_data("/", false)))
        .collect();
    (lab, script.concat())
}

#[test]
fn a_burst_of_large_replies_is_spread_over_turns() {
    let (mut lab, script) = large_reads(40);
    lab.send(A, &script);
    let first = lab.unread(A);
    assert!((REPLY_BYTES_AT_ONCE..REPLY_BYTES_AT_ONCE + 1_100_000).contains(&first));
    assert!(
        lab.clients.wants_input(),
        "others have their turn meanwhile"
    );
    let due = lab.clients.deadline().unwrap();
    assert!(due > lab.now.mono && due - lab.now.mono < SECOND);
    lab.wake(due - lab.now.mono);
    assert!(lab.unread(A) > first);
    for _ in 0..40 {
        lab.wake(SECOND / 1000);
    }
    let expected: Vec<_> = (1..=40).map(|xid| (xid, 0)).collect();
    assert_eq!(lab.xids(A), expected);

    // The same for reads that waited for a write.
    lab.ask(A, 1, &create("/a"));
    lab.send(A, &script);
    lab.commit_all();
    assert!(lab.unread(A) < REPLY_BYTES_AT_ONCE + 1_100_000);
    for _ in 0..40 {
        lab.wake(SECOND / 1000);
    }
    assert_eq!(lab.xids(A).len(), 41);
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn who_does_not_read_hears_of_no_write_either() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    lab.tell_unread(A, CLIENT_UNREAD_BYTES);
    lab.commit_all();
    assert_eq!(lab.unread(A), 0);
    lab.tell_unread(A, 0);
    assert_eq!(lab.xids(A), [(1, 0)]);
}

#[test]
fn who_does_not_read_is_not_answered() {
    let (mut lab, script) = large_reads(40);
    lab.send(A, &script);
    let given = lab.unread(A);
    lab.tell_unread(A, given);
    for _ in 0..100 {
        lab.wake(SECOND / 1000);
    }
    assert_eq!(lab.unread(A), given, "no answer more");
    lab.tell_unread(A, CLIENT_UNREAD_BYTES);
    assert_eq!(lab.unread(A), given, "not yet");
    lab.clients.take_touched();
    lab.tell_unread(A, CLIENT_UNREAD_BYTES - 1);
    assert!(lab.unread(A) > given, "it reads on");
    assert_eq!(lab.clients.take_touched().len(), 1, "who reads is alive");
    lab.tell_unread(A, 0);
    for _ in 0..100 {
        lab.wake(SECOND / 1000);
    }
    assert_eq!(lab.xids(A).len(), 40);
    assert_eq!(lab.clients.unread_bytes(), 0);
}

#[test]
fn who_never_reads_is_cut_off_in_time() {
    let (mut lab, script) = large_reads(40);
    lab.send(A, &script);
    let unread = lab.unread(A);
    lab.tell_unread(A, unread);
    lab.wake(5 * SECOND);
    assert!(lab.closed.is_empty());
    lab.wake(2 * SECOND);
    assert_eq!(lab.closed[&A], CloseReason::NotReading { unread });
    assert_eq!(lab.clients.unread_bytes(), 0);
}

#[test]
fn events_pile_up_to_a_bound() {
    let (mut lab, script) = large_reads(1);
    lab.send(A, &script);
    lab.tell_unread(A, 70 << 20);
    assert!(
        lab.closed.is_empty(),
        "one answer of any size is no offence"
    );
    lab.tell_unread(A, 60 << 20);
    lab.tell_unread(A, (60 << 20) + CLIENT_UNREAD_GROWTH_MAX);
    assert!(lab.closed.is_empty());
    let unread = (60 << 20) + CLIENT_UNREAD_GROWTH_MAX + 1;
    lab.tell_unread(A, unread);
    assert_eq!(lab.closed[&A], CloseReason::NotReading { unread });
}

#[test]
fn all_together_have_a_bound_and_the_slowest_go_first() {
    let mut lab = Lab::new();
    let each = CLIENTS_UNREAD_BYTES_MAX / 16;
    for conn in 0..17 {
        lab.join(ConnId(conn));
        lab.tell_unread(ConnId(conn), each);
        lab.wake(SECOND / 1000);
        lab.shed();
        assert_eq!(lab.closed.is_empty(), conn < 16, "{conn}");
        if conn == 8 {
            // The first has taken something.
            lab.tell_unread(ConnId(0), each - 1);
        }
    }
    let closed: Vec<u64> = lab.closed.keys().map(|c| c.0).collect();
    assert_eq!(closed, [1, 2, 3], "down to seven eighths");
}

#[test]
fn identities_are_bounded() {
    let mut lab = Lab::new();
    lab.join(A);
    let long = [b'u'; 20_000];
    lab.ask(
        A,
        -4,
        &Request::Auth {
            scheme: "digest".into(),
            auth: Some(&long),
        },
    );
    assert_eq!(lab.xids(A), [(-4, -115)]);
    lab.join(B);
    for n in 0..100_u8 {
        if lab.closed.contains_key(&B) {
            break;
        }
        lab.ask(
            B,
            -4,
            &Request::Auth {
                scheme: "digest".into(),
                auth: Some(&[b'a', n]),
            },
        );
    }
    assert_eq!(lab.closed[&B], CloseReason::AuthFailed);
    assert_eq!(lab.frames(B).len(), crate::limits::IDENTITIES_MAX);
}
