//! A server without a quorum behind it.

use core::time::Duration;

use super::*;
use crate::wire::client::ConnectResponse;
use crate::wire::records::Acl;

/// Was in a quorum for a while, where `/a` and the session of A came to be.
fn lab() -> (Lab, ConnectResponse) {
    let mut lab = Lab::new();
    let owner = lab.join(A);
    lab.ask(A, 1, &create("/a"));
    lab.commit_all();
    lab.frames(A);
    lab.turn(|clients, ctx| clients.stop_serving(ctx.out, CloseReason::NotServing));
    lab.clients.start_read_only();
    (lab, owner)
}

/// A handshake that says whether it can live with read-only mode.
fn greeting(session: SessionId, password: &[u8], read_only: bool) -> Vec<u8> {
    let mut bytes = hello(session, password, 0);
    *bytes.last_mut().unwrap() = u8::from(read_only);
    bytes
}

fn join(lab: &mut Lab, conn: ConnId) -> ConnectResponse {
    lab.open(conn);
    lab.send(conn, &greeting(SessionId(0), &[0; 16], true));
    lab.handshake(conn)
}

#[test]
fn only_those_who_ask_for_it_are_served() {
    let (mut lab, _) = lab();
    assert!(lab.clients.is_read_only() && !lab.clients.is_serving());
    let old = ConnId(9);
    for (conn, bytes) in [
        (B, greeting(SessionId(0), &[0; 16], false)),
        (old, {
            let mut bytes = greeting(SessionId(0), &[0; 16], false);
            bytes.pop();
            bytes[3] -= 1;
            bytes
        }),
    ] {
        lab.open(conn);
        lab.send(conn, &bytes);
        assert_eq!(
            (lab.unread(conn), &lab.closed[&conn]),
            (0, &CloseReason::ReadOnly)
        );
    }
    let c = ConnId(3);
    let response = join(&mut lab, c);
    assert_eq!(response.read_only, Some(true));
    assert!(response.session.0 != 0 && response.timeout_ms == 6000);
    assert!(lab.upstream.is_empty() && lab.db.sessions().len() == 1);
    lab.ask(c, 1, &get_data("/a", false));
    assert_eq!(lab.xids(c), [(1, 0)]);
}

#[test]
fn what_needs_a_quorum_is_refused_and_what_does_not_is_not() {
    let (mut lab, _) = lab();
    let owner = join(&mut lab, B);
    let (path, version) = ("/a".into(), -1);
    let acl = Some([Acl::world(31)].to_vec());
    let refused = [
        create("/b"),
        set_data("/a", b"y"),
        Request::Delete { path, version },
        Request::SetAcl {
            path: "/a".into(),
            acl,
            version,
        },
        Request::Multi(vec![]),
        Request::Sync { path: "/a".into() },
    ];
    let applied = lab.db.applied().0;
    for request in &refused {
        lab.ask(B, 7, request);
        let frame = &lab.frames(B)[0];
        let header = (frame.xid, frame.zxid, frame.error, frame.body.len());
        assert_eq!(header, (7, applied, -119, 0), "{request:?}");
    }
    lab.ask(B, 8, &exists("/b", true));
    lab.ask(B, 9, &Request::Ping);
    assert_eq!(lab.xids(B), [(8, -101), (-2, 0)]);
    assert_eq!(lab.clients.watch_count(), 1);
    lab.ask(B, 10, &Request::CloseSession);
    assert_eq!(lab.xids(B), [(10, 0)]);
    assert_eq!(lab.closed[&B], CloseReason::SessionClosed(owner.session));
    assert!(lab.upstream.is_empty() && lab.clients.outstanding() == 0);
}

#[test]
fn nobody_is_told_that_his_session_is_over() {
    let (mut lab, owner) = lab();
    let unknown = SessionId(0x0500_0000_0000_0007);
    for (conn, session) in [(B, owner.session), (ConnId(3), unknown)] {
        lab.open(conn);
        let password = crate::session::id::password(session);
        lab.send(conn, &greeting(session, &password, true));
        assert_eq!(
            (lab.unread(conn), &lab.closed[&conn]),
            (0, &CloseReason::ReadOnly)
        );
    }
    // A session of this mode can come back.
    let c = ConnId(4);
    let owner = join(&mut lab, c);
    lab.clients.handle_closed(c);
    lab.open(ConnId(5));
    lab.send(ConnId(5), &greeting(owner.session, &owner.password, true));
    assert_eq!(lab.handshake(ConnId(5)), owner);
}

#[test]
fn read_only_sessions_expire_and_end_with_the_mode() {
    let (mut lab, _) = lab();
    let first = join(&mut lab, B);
    lab.wake(Duration::from_secs(4));
    let c = ConnId(3);
    join(&mut lab, c);
    lab.wake(Duration::from_secs(4));
    assert_eq!(
        (lab.expired.clone(), lab.clients.local_sessions()),
        (vec![first.session], 1)
    );
    lab.turn(|clients, ctx| clients.stop_serving(ctx.out, CloseReason::RoleLeft));
    assert_eq!(
        (&lab.closed[&c], lab.clients.local_sessions()),
        (&CloseReason::RoleLeft, 0)
    );
    assert!(!lab.clients.is_read_only());
    lab.open(ConnId(6));
    lab.send(ConnId(6), &greeting(SessionId(0), &[0; 16], true)[..4]);
    assert_eq!(lab.closed[&ConnId(6)], CloseReason::NotServing);
}
