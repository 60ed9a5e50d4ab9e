//! What a server can be told to refuse: too many connections, handshakes, requests, large requests.

use core::time::Duration;

use super::*;
use crate::config::Rules;
use crate::limits::Limit;

const MS: Duration = Duration::from_millis(1);

fn lab(change: impl FnOnce(&mut Rules)) -> Lab {
    let mut rules = Rules::default();
    change(&mut rules);
    Lab::under(rules)
}

fn write(xid: i32) -> Vec<u8> {
    frame(xid, &set_data("/", b"x"))
}

#[test]
fn the_longest_frame_is_the_configured_one() {
    let mut lab = lab(|r| r.frame_bytes_max = 200);
    lab.join(A);
    let rest = frame(1, &set_data("/", b"")).len() - 4;
    lab.ask(A, 1, &set_data("/", &vec![1; 200 - rest]));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0)], "exactly the limit");
    lab.ask(A, 2, &set_data("/", &vec![1; 201 - rest]));
    assert_eq!(lab.closed[&A], CloseReason::FrameLength(201));
}

#[test]
fn who_comes_too_many_is_closed_at_once() {
    let mut lab = lab(|r| r.address_connections_max = 1);
    lab.open(A);
    lab.open(B);
    assert_eq!(lab.closed[&B], CloseReason::AddressFull { max: 1 });
    lab.send(B, &hello(SessionId(0), &[0; 16], 0));
    lab.clients.handle_closed(B);
    assert_eq!(lab.clients.connections_rejected(), 1);
    lab.clients.handle_closed(A);
    lab.join(ConnId(3));
}

#[test]
fn a_handshake_without_a_token_is_not_answered() {
    let mut lab = lab(|r| r.throttle.tokens = 1);
    lab.open(A);
    lab.open(B);
    lab.send(A, &hello(SessionId(0), &[0; 16], 0));
    lab.send(B, &hello(SessionId(0), &[0; 16], 0));
    assert_eq!(lab.closed[&B], CloseReason::HandshakeThrottled);
    assert_eq!(lab.unread(B), 0);
    assert!(!lab.closed.contains_key(&A));
}

#[test]
fn requests_wait_while_too_many_are_in_process() {
    let mut lab = lab(|r| r.throttle.requests_max = 2);
    lab.join(A);
    lab.join(B);
    lab.send(A, &[write(1), write(2), write(3)].concat());
    lab.send(B, &write(1));
    lab.resume();
    assert_eq!(lab.clients.outstanding(), 2);
    lab.commit();
    lab.resume();
    assert_eq!(lab.clients.outstanding(), 2, "A's third was first");
    lab.commit_all();
    lab.resume();
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0), (2, 0), (3, 0)]);
    assert_eq!(lab.xids(B), [(1, 0)]);
    assert_eq!(lab.clients.throttled().request_throttle_wait_count, 2);
    assert_eq!(lab.clients.throttled().throttled_ops, 0);
}

#[test]
fn a_request_that_waited_too_long_is_told_so() {
    let mut lab = lab(|r| {
        r.throttle.requests_max = 1;
        r.throttle.wait_max = 100 * MS;
    });
    lab.join(A);
    lab.join(B);
    lab.send(A, &write(1));
    lab.send(B, &[write(1), frame(-2, &Request::Ping)].concat());
    lab.wake(50 * MS);
    lab.send(B, &write(2));
    lab.wake(60 * MS);
    lab.commit_all();
    lab.resume();
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0)]);
    let throttled = ErrorCode::ThrottledOp.code();
    assert_eq!(
        lab.xids(B),
        [(1, throttled), (-2, 0), (2, 0)],
        "each by its own time; pings are answered"
    );
    assert_eq!(lab.clients.throttled().throttled_ops, 1);
    assert_eq!(lab.reached, [Limit::Wait { max: 100 * MS }]);
}

#[test]
fn a_stale_request_ends_its_connection() {
    let mut lab = lab(|r| {
        r.throttle.requests_max = 1;
        r.throttle.stale_latency = true;
    });
    lab.join(A);
    lab.join(B);
    lab.send(A, &write(1));
    lab.send(B, &write(1));
    for _ in 0..5 {
        lab.wake(1_000 * MS);
        lab.send(B, &frame(-2, &Request::Ping));
        lab.send(A, &frame(-2, &Request::Ping));
    }
    lab.wake(1_001 * MS);
    lab.commit_all();
    lab.resume();
    assert_eq!(lab.closed[&B], CloseReason::RequestStale);
    assert_eq!(lab.clients.throttled().stale_requests_dropped, 1);
}

#[test]
fn large_requests_are_limited_together() {
    let mut lab = lab(|r| {
        r.throttle.large_request = 1_000;
        r.throttle.large_bytes_max = 3_000;
    });
    lab.join(A);
    lab.join(B);
    let large = |xid| frame(xid, &set_data("/", &[7; 1_400]));
    lab.send(A, &[large(1), large(2), write(3)].concat());
    assert!(!lab.closed.contains_key(&A), "two and a small one fit");
    lab.commit();
    lab.send(B, &large(1));
    assert!(!lab.closed.contains_key(&B), "one of A's is done");
    let third = large(2);
    lab.send(B, &third[..4]);
    let length = third.len() - 4;
    assert_eq!(
        lab.closed[&B],
        CloseReason::LargeRequest(length),
        "before its bytes have come"
    );
    assert_eq!(lab.clients.throttled().large_requests_rejected, 1);
    lab.commit_all();
    lab.send(A, &[large(4), large(5)].concat());
    lab.commit_all();
    assert_eq!(lab.xids(A).len(), 5, "what B had in process is forgotten");
}
