//! Sessions that live in one server's memory.

use core::time::Duration;

use super::*;
use crate::config::Rules;
use crate::session::Scope;
use crate::wire::client::{ConnectResponse, CreateOp};
use crate::wire::records::Acl;

fn lab(upgrading: bool) -> Lab {
    Lab::member(Rules {
        local_sessions: true,
        local_sessions_upgrading: upgrading,
        ..Rules::default()
    })
}

fn ephemeral(path: &str) -> Request<'_> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: None,
        acl: Some([Acl::world(31)].to_vec()),
        flags: 1,
    }
}

/// Opens a connection; nothing is asked upstream.
fn join(lab: &mut Lab, conn: ConnId) -> ConnectResponse {
    lab.open(conn);
    lab.send(conn, &hello(SessionId(0), &[0; 16], 0));
    assert!(lab.upstream.is_empty(), "no transaction");
    lab.handshake(conn)
}

fn renew(lab: &mut Lab, conn: ConnId, owner: &ConnectResponse) {
    lab.open(conn);
    lab.send(conn, &hello(owner.session, &owner.password, 0));
}

#[test]
fn a_local_session_needs_no_transaction() {
    let mut lab = lab(false);
    let owner = join(&mut lab, A);
    assert_eq!((owner.timeout_ms, owner.session.0 >> 56), (6000, 3));
    assert!(lab.db.sessions().is_empty());
    assert_eq!(lab.clients.local_sessions(), 1);
    assert_eq!(lab.clients.take_touched(), [], "the leader is not told");
    lab.ask(A, 1, &create("/a"));
    let Some(Upstream::Request { scope, session, .. }) = lab.upstream.front() else {
        panic!()
    };
    assert_eq!((*scope, *session), (Scope::Local, owner.session));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0)]);
    // Back on the same server, after the connection was lost.
    lab.clients.handle_closed(A);
    renew(&mut lab, B, &owner);
    assert!(lab.upstream.is_empty());
    assert_eq!(lab.handshake(B), owner);
}

#[test]
fn its_end_needs_none_either() {
    let mut lab = lab(false);
    let owner = join(&mut lab, A);
    let mut script = frame(1, &create("/a"));
    script.extend(frame(2, &Request::CloseSession));
    lab.send(A, &script);
    assert_eq!((lab.upstream.len(), lab.unread(A)), (1, 0), "in turn");
    assert_eq!(lab.clients.local_sessions(), 0);
    lab.commit_all();
    let frames = lab.frames(A);
    assert_eq!((frames[0].xid, frames[1].xid), (1, 2));
    assert_eq!(frames[0].zxid, frames[1].zxid, "never back in time");
    assert_eq!(lab.closed[&A], CloseReason::SessionClosed(owner.session));
    assert_eq!(lab.db.applied().counter(), 1);
    renew(&mut lab, B, &owner);
    lab.commit_all();
    assert_eq!(lab.handshake(B), ConnectResponse::refusal(Some(false)));
}

#[test]
fn only_its_server_expires_it() {
    let mut lab = lab(false);
    let owner = join(&mut lab, A);
    lab.wake(Duration::from_secs(4));
    lab.ask(A, 1, &Request::Ping);
    assert!(lab.clients.deadline().is_some());
    lab.clients.handle_closed(A);
    // Four seconds, six of the timeout, two of the tick.
    lab.wake(Duration::from_secs(6));
    assert_eq!(lab.expired, []);
    lab.wake(Duration::from_secs(2));
    assert_eq!(lab.expired, [owner.session]);
    assert_eq!(lab.clients.local_sessions(), 0);
    assert!(lab.upstream.is_empty());
    renew(&mut lab, B, &owner);
    lab.commit_all();
    assert_eq!(lab.handshake(B).timeout_ms, 0);
}

#[test]
fn an_idle_connection_goes_before_its_session() {
    let mut lab = lab(false);
    let owner = join(&mut lab, A);
    lab.wake(Duration::from_secs(6));
    assert_eq!(lab.closed[&A], CloseReason::Idle);
    renew(&mut lab, B, &owner);
    assert_eq!(lab.handshake(B), owner, "the session had another tick");
}

#[test]
fn ephemerals_of_local_sessions_are_refused() {
    let mut lab = lab(false);
    let owner = join(&mut lab, A);
    lab.ask(A, 1, &ephemeral("/e"));
    lab.ask(A, 2, &Request::Multi(vec![create("/a"), ephemeral("/e")]));
    lab.ask(A, 3, &create("/p"));
    lab.commit_all();
    let frames = lab.frames(A);
    let xids: Vec<_> = frames.iter().map(|f| (f.xid, f.error)).collect();
    assert_eq!(xids, [(1, -120), (2, 0), (3, 0)]);
    let Reply::Multi(results) = frames[1].reply(op::MULTI) else {
        panic!()
    };
    let refused = |code| MultiResult::Error(code);
    assert_eq!(results, [refused(0), refused(-120)]);
    // Another leader knows nothing of the session; this server does.
    lab.ask(A, 4, &ephemeral("/e"));
    lab.upstream.clear();
    foreign(
        &mut lab,
        owner.session,
        4,
        Txn::Error { code: -112 },
        op::ERROR,
    );
    assert_eq!(lab.xids(A), [(4, -120)]);
    assert_eq!(lab.clients.local_sessions(), 1);
}

#[test]
fn an_upgraded_session_is_global_with_the_same_id() {
    for request in [
        ephemeral("/e"),
        Request::Multi(vec![create("/a"), ephemeral("/e")]),
    ] {
        let mut lab = lab(true);
        let owner = join(&mut lab, A);
        lab.ask(A, 1, &create("/local"));
        assert_eq!(lab.upstream.len(), 1, "only an ephemeral asks for more");
        lab.commit_all();
        lab.ask(A, 2, &request);
        let ops: Vec<_> = lab
            .upstream
            .iter()
            .map(|up| match up {
                Upstream::Request { op, scope, .. } => (*op, *scope),
                Upstream::Revalidate { .. } => panic!(),
            })
            .collect();
        let expected = [op::CREATE_SESSION, request.op()].map(|op| (op, Scope::Global));
        assert_eq!(ops, expected);
        lab.commit_all();
        assert_eq!(lab.xids(A), [(1, 0), (2, 0)]);
        assert_eq!(lab.db.sessions()[&owner.session], 6000);
        assert_eq!(lab.clients.local_sessions(), 0);
        lab.ask(A, 3, &Request::Ping);
        assert_eq!(lab.clients.take_touched(), [(owner.session, 6000)]);
        // From now on the leader is asked, and closes it by a transaction.
        renew(&mut lab, B, &owner);
        assert!(matches!(lab.upstream[0], Upstream::Revalidate { .. }));
        lab.commit_all();
        assert_eq!(lab.handshake(B), owner);
        lab.ask(B, 4, &Request::CloseSession);
        lab.commit_all();
        assert_eq!(lab.xids(B), [(4, 0)]);
        assert!(lab.db.tree().get("/e").is_none() && lab.db.sessions().is_empty());
    }
}

#[test]
fn a_standalone_server_has_no_local_sessions() {
    let mut lab = Lab::new();
    let rules = Rules {
        local_sessions: true,
        ..Rules::default()
    };
    let config = crate::config::Config {
        rules,
        ..super::lab::config(crate::mutants::Mutants::NONE)
    };
    lab.clients = Clients::new(&config, lab.now);
    lab.clients.start_serving(Zxid::ZERO);
    let owner = lab.join(A);
    assert!(lab.db.sessions().contains_key(&owner.session));
}

#[test]
fn local_sessions_end_with_the_role() {
    let mut lab = lab(true);
    let owner = join(&mut lab, A);
    lab.turn(|clients, ctx| clients.stop_serving(ctx.out, CloseReason::NotServing));
    assert_eq!(
        (lab.clients.local_sessions(), lab.clients.deadline()),
        (0, None)
    );
    lab.clients.start_serving(Zxid::ZERO);
    renew(&mut lab, B, &owner);
    lab.commit_all();
    assert_eq!(lab.handshake(B).timeout_ms, 0);
}
