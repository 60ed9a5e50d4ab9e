//! Idle connections, back-pressure, replies that do not fit into a turn.

use core::time::Duration;

use super::*;
use crate::limits::{CONNECTION_OUTSTANDING_MAX, REPLY_BYTES_PER_TURN, REQUESTS_OUTSTANDING_MAX};

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
fn appetite_ends_at_the_bound_and_comes_back() {
    let mut lab = Lab::new();
    let per_connection = CONNECTION_OUTSTANDING_MAX;
    for conn in 0..REQUESTS_OUTSTANDING_MAX / per_connection {
        let conn = ConnId(conn as u64);
        lab.join(conn);
        assert!(lab.clients.wants_input());
        for xid in 1..=per_connection {
            lab.ask(conn, xid as i32, &set_data("/", b""));
        }
        if conn.0 < 3 {
            assert!(lab.clients.wants_input());
            lab.upstream.clear();
        }
    }
    assert!(!lab.clients.wants_input());
    // Silence that is this server's own doing closes nobody.
    lab.wake(Duration::from_secs(100));
    assert!(lab.closed.is_empty());
    lab.commit();
    assert!(lab.clients.wants_input());
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

#[test]
fn a_burst_of_large_replies_is_spread_over_turns() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &set_data("/", &[7; 1_000_000]));
    lab.commit_all();
    lab.frames(A);
    let mut script = Vec::new();
    for xid in 1..=40 {
        script.extend(frame(xid, &get_data("/", false)));
    }
    lab.send(A, &script);
    let first = lab.unread(A);
    assert!((REPLY_BYTES_PER_TURN..REPLY_BYTES_PER_TURN + 1_100_000).contains(&first));
    assert!(!lab.clients.wants_input());
    let due = lab.clients.deadline().unwrap();
    assert!(due > lab.now.mono && due - lab.now.mono < SECOND);
    lab.wake(due - lab.now.mono);
    assert!(lab.unread(A) > first);
    lab.wake(SECOND / 1000);
    let expected: Vec<_> = (1..=40).map(|xid| (xid, 0)).collect();
    assert_eq!(lab.xids(A), expected);
    assert!(lab.clients.wants_input());

    // The same for reads that waited for a write.
    lab.ask(A, 1, &create("/a"));
    lab.send(A, &script);
    lab.commit_all();
    assert!(lab.unread(A) < REPLY_BYTES_PER_TURN + 1_100_000);
    lab.wake(SECOND / 1000);
    lab.wake(SECOND / 1000);
    assert_eq!(lab.xids(A).len(), 41);
    assert_eq!(lab.clients.outstanding(), 0);
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
