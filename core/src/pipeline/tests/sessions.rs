//! Handshakes, renewal, moving, the end of sessions.

use super::lab::config;
use super::*;
use crate::boundary::Outbox;
use crate::wire::client::ConnectResponse;

#[test]
fn a_new_session_is_answered_when_it_is_applied() {
    let mut lab = Lab::new();
    lab.open(A);
    lab.send(A, &hello(SessionId(0), &[0; 16], 0));
    let Some(Upstream::Request {
        session, op, body, ..
    }) = lab.upstream.front()
    else {
        panic!()
    };
    assert_eq!(
        (*op, &body[..]),
        (op::CREATE_SESSION, &6000_i32.to_be_bytes()[..])
    );
    assert_eq!(session.0 >> 56, 3, "the server's id is in the top byte");
    let session = *session;
    assert_eq!((lab.unread(A), lab.clients.outstanding()), (0, 1));
    lab.commit();
    assert_eq!(lab.unread(A), 41);
    let response = lab.handshake(A);
    assert_eq!((response.session, response.timeout_ms), (session, 6000));
    assert_eq!(response.password, crate::session::id::password(session));
    assert_eq!(response.read_only, Some(false));
    assert_eq!(lab.db.sessions()[&session], 6000);
    assert_eq!(lab.clients.take_touched(), [(session, 6000)]);
    assert_eq!(lab.clients.take_touched(), []);
}

#[test]
fn old_clients_get_no_read_only_byte_and_timeouts_are_clamped() {
    let mut lab = Lab::new();
    for (conn, wanted, given) in [(A, -1, 4000), (B, i32::MAX, 40_000)] {
        lab.open(conn);
        let mut request = hello(SessionId(0), &[0; 16], 0);
        request.pop();
        request[3] -= 1;
        request[16..20].copy_from_slice(&i32::to_be_bytes(wanted));
        lab.send(conn, &request);
        lab.commit_all();
        assert_eq!(lab.unread(conn), 40);
        assert_eq!(lab.handshake(conn).timeout_ms, given);
    }
}

#[test]
fn what_is_sent_with_the_handshake_is_kept() {
    let mut lab = Lab::new();
    lab.open(A);
    let mut bytes = hello(SessionId(0), &[0; 16], 0);
    bytes.extend(frame(1, &create("/a")));
    bytes.extend(frame(2, &get_data("/a", false)));
    let (front, back) = bytes.split_at(70);
    lab.send(A, front);
    lab.send(A, back);
    assert_eq!(lab.upstream.len(), 1, "requests wait for the session");
    lab.commit_all();
    lab.handshake(A);
    assert_eq!(lab.xids(A), [(1, 0), (2, 0)]);
}

#[test]
fn a_client_that_has_seen_more_is_sent_away() {
    let mut lab = Lab::new();
    lab.join(A);
    let applied = lab.db.applied();
    lab.open(B);
    lab.send(B, &hello(SessionId(0), &[0; 16], applied.0 + 1));
    let seen = Zxid(applied.0 + 1);
    assert_eq!(lab.closed[&B], CloseReason::ClientAhead { seen, applied });
    assert_eq!(lab.unread(B), 0);
    let c = ConnId(3);
    lab.open(c);
    lab.send(c, &hello(SessionId(0), &[0; 16], applied.0));
    lab.commit_all();
    assert!(lab.handshake(c).timeout_ms > 0);
}

#[test]
fn a_wrong_password_is_refused_and_harms_nobody() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.open(B);
    lab.send(B, &hello(owner.session, &[7; 16], 0));
    assert_eq!(lab.handshake(B), ConnectResponse::refusal(Some(false)));
    assert_eq!(lab.closed[&B], CloseReason::SessionRefused(owner.session));
    assert!(lab.upstream.is_empty());
    lab.ask(A, 1, &Request::Ping);
    assert_eq!(lab.xids(A), [(-2, 0)], "the owner's connection lives on");
}

#[test]
fn a_session_moves_to_its_newest_connection() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.ask(A, 1, &exists("/a", true));
    lab.frames(A);
    lab.open(B);
    lab.send(B, &hello(owner.session, &owner.password, 0));
    assert_eq!(lab.closed[&A], CloseReason::SessionTakenOver(owner.session));
    assert_eq!(
        lab.clients.watch_count(),
        0,
        "watches belong to the connection"
    );
    let expected = Upstream::Revalidate {
        session: owner.session,
        timeout_ms: 6000,
    };
    assert_eq!(lab.upstream.front(), Some(&expected));
    lab.commit_all();
    assert_eq!(lab.handshake(B), owner);
    lab.ask(B, 1, &create("/a"));
    lab.commit_all();
    assert_eq!(lab.xids(B), [(1, 0)]);
}

#[test]
fn a_session_that_is_gone_is_refused() {
    let mut lab = Lab::new();
    let gone = SessionId(0x0300_0000_0000_0009);
    lab.open(A);
    lab.send(A, &hello(gone, &crate::session::id::password(gone), 0));
    lab.commit_all();
    assert_eq!(lab.handshake(A), ConnectResponse::refusal(Some(false)));
    assert_eq!(lab.closed[&A], CloseReason::SessionRefused(gone));
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn writes_of_a_renewed_session_are_not_mistaken_for_older_ones() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.ask(A, 1, &create("/first"));
    lab.open(B);
    lab.send(B, &hello(owner.session, &owner.password, 0));
    let revalidate = lab.upstream.pop_back().unwrap();
    lab.upstream.push_front(revalidate);
    lab.commit();
    lab.handshake(B);
    // The same xid again, while the old connection's write and one that went through another
    // server are still on their way.
    lab.ask(B, 1, &create("/second"));
    lab.commit();
    assert!(lab.db.tree().get("/first").is_some());
    assert_eq!(lab.unread(B), 0, "that was the old connection's write");
    foreign(
        &mut lab,
        owner.session,
        1,
        Txn::Error { code: -110 },
        op::ERROR,
    );
    assert_eq!(lab.unread(B), 0, "that was another server's");
    lab.commit();
    let replies = lab.frames(B);
    assert_eq!(replies[0].reply(op::CREATE), Reply::Path("/second".into()));
}

#[test]
fn close_session_is_answered_then_the_connection_closes() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    let mut script = frame(1, &create("/a"));
    script.extend(frame(2, &Request::CloseSession));
    script.extend(frame(3, &create("/never")));
    lab.send(A, &script);
    lab.send(A, &frame(4, &create("/never")));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0), (2, 0)]);
    assert_eq!(lab.closed[&A], CloseReason::SessionClosed(owner.session));
    assert!(lab.db.tree().get("/never").is_none());
    assert!(lab.db.sessions().is_empty());
    lab.open(B);
    lab.send(B, &hello(owner.session, &owner.password, 0));
    lab.commit_all();
    assert_eq!(lab.handshake(B).timeout_ms, 0);
}

#[test]
fn a_session_closed_elsewhere_loses_its_connection() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.ask(A, 1, &create("/a"));
    let close = Txn::CloseSession {
        paths: Some(vec![]),
    };
    foreign(&mut lab, owner.session, 0, close, op::CLOSE_SESSION);
    assert_eq!(lab.unread(A), 0);
    assert_eq!(lab.closed[&A], CloseReason::SessionClosed(owner.session));
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn a_session_closed_while_it_is_asked_for_is_refused() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.open(B);
    lab.send(B, &hello(owner.session, &owner.password, 0));
    let close = Txn::CloseSession {
        paths: Some(vec![]),
    };
    foreign(&mut lab, owner.session, 0, close, op::CLOSE_SESSION);
    assert_eq!(lab.handshake(B).timeout_ms, 0);
    assert_eq!(lab.closed[&B], CloseReason::SessionRefused(owner.session));
    let session = owner.session;
    lab.turn(|clients, ctx| clients.on_revalidated(session, true, ctx));
}

#[test]
fn a_session_that_moved_closes_without_a_reply() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.ask(A, 1, &create("/a"));
    let moved = Txn::Error {
        code: ErrorCode::SessionMoved.code(),
    };
    foreign(&mut lab, owner.session, 1, moved, op::ERROR);
    assert_eq!(lab.unread(A), 0);
    assert_eq!(lab.closed[&A], CloseReason::SessionMoved(owner.session));
}

#[test]
fn an_answer_is_for_the_connection_that_asked() {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    let (session, c) = (owner.session, ConnId(3));
    for conn in [B, c] {
        lab.open(conn);
        lab.send(conn, &hello(session, &owner.password, 0));
    }
    // The session was alive when B asked; B has been taken over from since.
    lab.turn(|clients, ctx| clients.on_revalidated(session, true, ctx));
    assert_eq!(lab.unread(c), 0, "its own question is not answered");
    lab.turn(|clients, ctx| clients.on_revalidated(session, false, ctx));
    assert_eq!(lab.handshake(c), ConnectResponse::refusal(Some(false)));
    assert_eq!(lab.closed[&c], CloseReason::SessionRefused(session));
    // Nobody has asked this.
    lab.turn(|clients, ctx| clients.on_revalidated(session, true, ctx));
    assert_eq!(lab.clients.outstanding(), 0);
}

#[test]
fn ids_of_live_sessions_are_not_given_again() {
    let mut lab = Lab::new();
    let first = lab.join(A);
    // A restart at the same moment: the clock was set back.
    lab.clients = Clients::new(&config(crate::mutants::Mutants::NONE), lab.now);
    lab.clients.start_serving(crate::ids::Zxid::ZERO);
    let mut out = Outbox::default();
    lab.open(B);
    let mut ctx = Serving {
        now: lab.now,
        db: &lab.db,
        out: &mut out,
    };
    lab.clients
        .handle_bytes(B, &hello(SessionId(0), &[0; 16], 0), &mut ctx);
    let Some(Upstream::Request { session, .. }) = lab.clients.take_upstream().pop() else {
        panic!("no session asked for");
    };
    assert_eq!(session.0, first.session.0 + 1);
}
