//! Identities, and what is told to those who have none.

use alloc::borrow::Cow;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use super::lab::{A, B, Lab, config, create, frame, get_data};
use crate::acl::digest_identity;
use crate::boundary::CloseReason;
use crate::config::{Config, LearnerType, Member, Rules};
use crate::ids::ServerId;
use crate::mutants::Mutants;
use crate::wire::client::{Reply, Request};
use crate::wire::records::{Acl, op};

fn digest(auth: &[u8]) -> Request<'_> {
    Request::Auth {
        scheme: "digest".into(),
        auth: Some(auth),
    }
}

/// A node for the owner of that password alone.
fn private(lab: &mut Lab) {
    let Request::Create {
        kind,
        path,
        data,
        flags,
        ..
    } = create("/mine")
    else {
        panic!()
    };
    let entry = Acl {
        perms: 31,
        id: digest_identity(b"u:p"),
    };
    let acl = Some(vec![entry]);
    let request = Request::Create {
        kind,
        path,
        data,
        acl,
        flags,
    };
    lab.ask(A, 1, &request);
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0)]);
}

/// What whoAmI says.
fn who(lab: &mut Lab) -> Vec<(String, String)> {
    lab.ask(A, 7, &Request::WhoAmI);
    let frames = lab.frames(A);
    let Reply::Identities(identities) = frames[0].reply(op::WHO_AM_I) else {
        panic!()
    };
    let owned =
        |(scheme, user): &(Cow<'_, str>, Cow<'_, str>)| (scheme.to_string(), user.to_string());
    identities.iter().map(owned).collect()
}

fn pair(scheme: &str, user: &str) -> (String, String) {
    (scheme.into(), user.into())
}

#[test]
fn who_am_i_names_users_without_their_hashes() {
    let mut lab = Lab::new();
    lab.join(A);
    assert_eq!(who(&mut lab), [pair("ip", "127.0.0.1")]);
    for auth in [&b"bob:secret"[..], b"bob:secret", b"plain", b":p"] {
        lab.ask(A, -4, &digest(auth));
    }
    assert_eq!(lab.xids(A), [(-4, 0); 4]);
    let users = ["bob", "plain", ""].map(|user| pair("digest", user));
    assert_eq!(who(&mut lab)[1..], users, "the same identity counts once");
}

#[test]
fn who_am_i_waits_its_turn_and_tells_who_asked() {
    let mut lab = Lab::new();
    lab.join(A);
    let mut script = frame(1, &create("/a"));
    script.extend(frame(2, &Request::WhoAmI));
    script.extend(frame(-4, &digest(b"u:p")));
    lab.send(A, &script);
    lab.commit_all();
    let frames = lab.frames(A);
    let Reply::Identities(identities) = frames[1].reply(op::WHO_AM_I) else {
        panic!()
    };
    assert_eq!(identities.len(), 1, "not yet authenticated when it asked");
    assert_eq!(frames[1].zxid, lab.db.applied().0);
}

#[test]
fn the_super_digest_opens_every_list() {
    let super_digest = Some(digest_identity(b"super:test").id);
    let mut lab = Lab::under(Rules {
        super_digest,
        ..Rules::default()
    });
    lab.join(A);
    private(&mut lab);
    lab.ask(A, -4, &digest(b"super:wrong"));
    lab.ask(A, 2, &get_data("/mine", false));
    lab.ask(A, -4, &digest(b"super:test"));
    lab.ask(A, 3, &get_data("/mine", false));
    assert_eq!(lab.xids(A), [(-4, 0), (2, -102), (-4, 0), (3, 0)]);
    let users = [pair("super", ""), pair("digest", "super")];
    assert_eq!(who(&mut lab)[2..], users);
    let delete = Request::Delete {
        path: "/zookeeper".into(),
        version: -1,
    };
    lab.ask(A, 4, &delete);
    lab.commit_all();
    assert_eq!(lab.xids(A), [(4, -8)], "no list protects it");
}

#[test]
fn without_a_super_digest_nobody_is_super() {
    let mut lab = Lab::new();
    lab.join(A);
    private(&mut lab);
    lab.ask(A, -4, &digest(b"super:test"));
    lab.ask(A, 2, &get_data("/mine", false));
    assert_eq!(lab.xids(A), [(-4, 0), (2, -102)]);
}

#[test]
fn the_scheme_digest_can_be_switched_off() {
    let mut lab = Lab::under(Rules {
        digest_auth: false,
        ..Rules::default()
    });
    lab.join(A);
    lab.ask(A, -4, &digest(b"u:p"));
    assert_eq!(lab.xids(A), [(-4, -115)]);
    assert_eq!(lab.closed[&A], CloseReason::AuthFailed);
}

#[test]
fn skipped_lists_bind_nobody() {
    let mut lab = Lab::under(Rules {
        skip_acl: true,
        ..Rules::default()
    });
    lab.join(A);
    private(&mut lab);
    lab.join(B);
    lab.ask(B, 1, &get_data("/mine", true));
    assert_eq!(lab.xids(B), [(1, 0)]);
    lab.ask(A, 2, &super::set_data("/mine", b"new"));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(2, 0)]);
    assert_eq!(lab.xids(B), [(-1, 0)], "events too");
}

#[test]
fn schemes_without_a_provider_are_refused() {
    for scheme in ["world", "auth", "super", "sasl", "x509", "ensemble", ""] {
        let mut lab = Lab::new();
        lab.join(A);
        let auth = Some(&b"x"[..]);
        lab.ask(
            A,
            -4,
            &Request::Auth {
                scheme: scheme.into(),
                auth,
            },
        );
        assert_eq!(lab.xids(A), [(-4, -115)], "{scheme}");
        assert_eq!(lab.closed[&A], CloseReason::AuthFailed);
        assert!(lab.upstream.is_empty(), "the session stays");
    }
    let mut lab = Lab::new();
    lab.join(A);
    let (scheme, auth) = ("digest".into(), None);
    lab.ask(A, -4, &Request::Auth { scheme, auth });
    assert_eq!(lab.xids(A), [(-4, -115)], "nothing to hash");
}

#[test]
fn sasl_is_answered_with_null_in_its_turn() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    for (xid, token) in [(2, &b"token"[..]), (3, b"")] {
        lab.ask(A, xid, &Request::Sasl { token: Some(token) });
    }
    assert_eq!(lab.unread(A), 0);
    lab.commit_all();
    let frames = lab.frames(A);
    for (frame, xid) in frames[1..].iter().zip([2, 3]) {
        assert_eq!((frame.xid, frame.zxid), (xid, 0));
        assert_eq!(frame.reply(op::SASL), Reply::Token(None));
    }
    assert_eq!(who(&mut lab).len(), 1, "nothing was proven");
    lab.ask(A, 4, &Request::Sasl { token: None });
    assert_eq!(lab.closed[&A], CloseReason::FrameMalformed);
    assert_eq!(lab.unread(A), 0);
}

#[test]
fn proving_who_one_is_does_not_keep_a_session_alive() {
    let mut lab = Lab::new();
    lab.join(A);
    lab.clients.take_touched();
    lab.ask(A, -4, &digest(b"u:p"));
    lab.ask(A, 1, &Request::Sasl { token: Some(b"") });
    assert!(lab.clients.take_touched().is_empty());
    lab.ask(A, 2, &Request::Ping);
    assert_eq!(lab.clients.take_touched().len(), 1);
}

fn demanding() -> Lab {
    let mut lab = Lab::under(Rules {
        enforced_schemes: vec!["sasl".into(), "digest".into()],
        ..Rules::default()
    });
    lab.join(A);
    lab
}

#[test]
fn who_must_authenticate_and_has_not_is_told_so_and_closed() {
    let raw = |op: i32| {
        let mut out = Vec::new();
        crate::wire::client::put_frame(&mut out, |out| {
            crate::wire::client::RequestHeader { xid: 77, op }.write(out);
        });
        out
    };
    let ops = [
        op::PING,
        op::SET_WATCHES,
        op::CLOSE_SESSION,
        op::GET_DATA,
        op::CREATE,
        999,
    ];
    for op in ops {
        let mut lab = demanding();
        lab.clients.take_touched();
        lab.send(A, &raw(op));
        let frames = lab.frames(A);
        let seen: Vec<_> = frames.iter().map(|f| (f.xid, f.zxid, f.error)).collect();
        assert_eq!(seen, [(77, 0, -124)], "operation {op}");
        assert!(frames[0].body.is_empty());
        assert_eq!(lab.closed[&A], CloseReason::AuthenticationRequired);
        assert!(lab.upstream.is_empty() && lab.clients.take_touched().is_empty());
    }
}

#[test]
fn one_of_the_demanded_schemes_is_enough() {
    let mut lab = demanding();
    lab.ask(A, 1, &Request::Sasl { token: Some(b"") });
    lab.ask(A, -4, &digest(b"u:p"));
    lab.ask(A, 2, &Request::Ping);
    lab.ask(A, 3, &get_data("/", false));
    assert_eq!(lab.xids(A), [(1, 0), (-4, 0), (-2, 0), (3, 0)]);
}

#[test]
fn reconfiguration_is_disabled_and_its_body_is_read_first() {
    let mut lab = Lab::new();
    lab.join(A);
    let (joining, leaving, members) = (None, None, Some("server.1=x".into()));
    let request = Request::Reconfig {
        joining,
        leaving,
        members,
        version: -1,
    };
    lab.ask(A, 1, &create("/a"));
    lab.ask(A, 2, &request);
    let mut short = frame(3, &request);
    short.truncate(short.len() - 8);
    let length = i32::try_from(short.len() - 4).unwrap();
    short[..4].copy_from_slice(&length.to_be_bytes());
    lab.send(A, &short);
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0), (2, -123), (3, -5)]);
    assert!(lab.closed.is_empty());
}

#[test]
fn a_multi_read_is_answered_in_its_turn_and_leaves_no_watch() {
    let mut lab = Lab::new();
    lab.join(A);
    let mut script = frame(1, &create("/a"));
    script.extend(frame(2, &Request::MultiRead(vec![get_data("/a", true)])));
    lab.send(A, &script);
    lab.commit_all();
    let frames = lab.frames(A);
    let Reply::Multi(results) = frames[1].reply(op::MULTI_READ) else {
        panic!()
    };
    assert_eq!(results.len(), 1);
    assert_eq!(lab.clients.watch_count(), 0);
}

/// A member of an ensemble that looks at access lists before it asks its leader.
fn eager() -> Lab {
    let mut config = config(Mutants::NONE);
    config.rules.eager_acl_check = true;
    let member = Member {
        kind: LearnerType::Participant,
        host: "a".into(),
        quorum_port: 1,
        election_port: 2,
        client_address: None,
    };
    config.members = [(config.me, member)].into();
    Lab::start(config)
}

fn with_list(path: &str, entry: Acl) -> Request<'_> {
    Request::SetAcl {
        path: path.into(),
        acl: Some(vec![entry]),
        version: -1,
    }
}

#[test]
fn an_eager_server_refuses_by_its_own_lists_before_the_leader_is_asked() {
    let mut lab = eager();
    lab.join(A);
    private(&mut lab);
    let delete = |path: &str| Request::Delete {
        path: String::from(path).into(),
        version: -1,
    };
    let mut bad = Acl::world(31);
    bad.id.id = "foo".into();
    let refused = [
        (create("/mine/a"), -102),
        (delete("/mine/a"), -102),
        (super::set_data("/mine", b""), -102),
        (with_list("/mine", Acl::world(31)), -102),
        (with_list("/missing", bad), -114),
    ];
    for (request, error) in refused {
        lab.ask(A, 9, &request);
        let frames = lab.frames(A);
        let seen = (frames[0].xid, frames[0].zxid, frames[0].error);
        assert_eq!(seen, (9, 0, error), "{request:?}");
        assert!(lab.upstream.is_empty(), "{request:?}");
    }
    let passed = [
        (delete("/mine"), 0),
        (super::set_data("/missing", b""), -101),
        (delete("/zookeeper"), -8),
        (super::set_data("a", b""), -8),
    ];
    for (request, error) in passed {
        lab.ask(A, 9, &request);
        assert_eq!((lab.unread(A), lab.upstream.len()), (0, 1), "{request:?}");
        lab.commit_all();
        assert_eq!(lab.xids(A), [(9, error)], "{request:?}");
    }
}

#[test]
fn an_eager_server_leaves_what_its_own_writes_may_change_to_the_leader() {
    let mut lab = eager();
    lab.join(A);
    private(&mut lab);
    lab.ask(
        A,
        1,
        &Request::Delete {
            path: "/mine".into(),
            version: -1,
        },
    );
    lab.ask(A, 2, &create("/mine"));
    lab.ask(A, 3, &create("/mine/a"));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0), (2, 0), (3, 0)]);
}

#[test]
fn a_server_that_stands_alone_is_never_eager() {
    let mut lab = Lab::start(Config {
        me: ServerId(0),
        rules: Rules {
            eager_acl_check: true,
            ..Rules::default()
        },
        ..config(Mutants::NONE)
    });
    lab.join(A);
    private(&mut lab);
    lab.ask(A, 2, &create("/mine/a"));
    assert_eq!(lab.upstream.len(), 1);
    lab.commit_all();
    assert_eq!(lab.frames(A)[0].zxid, lab.db.applied().0);
}
