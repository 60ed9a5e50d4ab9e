//! The first check that fails names the error, whatever else is wrong.

use super::*;

/// Lists as clients may send them.
const GOOD: (&str, &str) = ("world", "anyone");
const BAD: (&str, &str) = ("world", "nobody");

fn list((scheme, text): (&str, &str)) -> Option<Vec<Acl>> {
    let id = Id {
        scheme: scheme.into(),
        id: text.into(),
    };
    Some([Acl { perms: 31, id }].into())
}

fn create_as(path: &'static str, flags: i32, of: (&str, &str)) -> Request<'static> {
    Request::Create {
        kind: CreateOp::Create,
        path: path.into(),
        data: None,
        acl: list(of),
        flags,
    }
}

fn set_list(path: &'static str, of: (&str, &str), version: i32) -> Request<'static> {
    Request::SetAcl {
        path: path.into(),
        acl: list(of),
        version,
    }
}

/// `/closed` allows nothing and has a child, `/open` allows everything and has one, `/e` is
/// ephemeral.
fn furnished() -> Lab {
    let mut lab = Lab::new();
    for path in ["/open", "/open/child", "/closed", "/closed/child"] {
        lab.create(path).unwrap();
    }
    lab.create_flags("/e", EPHEMERAL).unwrap();
    lab.set_acl("/closed", &[Acl::world(0)], -1).unwrap();
    lab
}

/// Each request fails its check and as many of the later ones as can fail with it.
fn assert_order(rows: &[(Request<'static>, i32)]) {
    for (request, code) in rows {
        let mut lab = furnished();
        assert_eq!(lab.write(request).unwrap_err(), *code, "{request:?}");
    }
}

fn assert_session_comes_after(earlier: &[(Request<'static>, i32)], later: &[Request<'static>]) {
    let refused = [ErrorCode::SessionExpired, ErrorCode::SessionMoved];
    for refuse in refused {
        let mut lab = furnished();
        lab.refuse = Some(Refusal::Everything(refuse));
        for (request, code) in earlier {
            assert_eq!(lab.write(request).unwrap_err(), *code, "{request:?}");
        }
        for request in later {
            let code = lab.write(request).unwrap_err();
            assert_eq!(code, refuse.code(), "{request:?}");
        }
    }
}

#[test]
fn of_create() {
    let (flags, ttl) = (create_as("a", 9, BAD), create_as("a", 5, BAD));
    assert_session_comes_after(&[(flags, -8), (ttl, -6)], &[create_as("a", 0, BAD)]);
    assert_order(&[
        (create_as("a", 0, BAD), -8),
        (create_as("/no/\0", 0, BAD), -8),
        (create_as("/no/.", 0, BAD), -114),
        (create_as("/no/.", 0, GOOD), -101),
        (create_as("/closed/.", 0, GOOD), -102),
        (create_as("/closed/child", 0, GOOD), -102),
        (create_as("/e/.", 0, GOOD), -8),
        (create_as("/open/child", 0, GOOD), -110),
        (create_as("/e/child", 0, GOOD), -108),
    ]);
}

#[test]
fn of_delete() {
    assert_session_comes_after(&[], &[delete("a", 5)]);
    assert_order(&[
        (delete("a", 5), -8),
        (delete("/zookeeper/quota", 5), -8),
        (delete("/no/child", 5), -101),
        (delete("/closed/no", 5), -102),
        (delete("/open/no", 5), -101),
        (delete("/open", 5), -103),
        (delete("/open", 0), -111),
    ]);
}

#[test]
fn of_set_data_and_check() {
    let wrong = |path, version| set(path, b"", version);
    assert_session_comes_after(&[], &[wrong("a", 5)]);
    assert_order(&[
        (wrong("/open/", 5), -8),
        (wrong("", -1), -8),
        (wrong("/no", 5), -101),
        (wrong("/closed", 5), -102),
        (wrong("/open", 5), -103),
    ]);
    for (path, code) in [
        ("/open/", -8),
        ("/no", -101),
        ("/closed", -102),
        ("/open", -103),
    ] {
        assert_eq!(furnished().multi([check(path, 5)].into()), [code], "{path}");
    }
}

#[test]
fn of_set_acl() {
    assert_session_comes_after(&[], &[set_list("a", BAD, 5)]);
    assert_order(&[
        (set_list("/no/", BAD, 5), -8),
        (set_list("/no", BAD, 5), -114),
        (set_list("/no", GOOD, 5), -101),
        (set_list("/closed", GOOD, 5), -102),
        (set_list("/open", GOOD, 5), -103),
    ]);
}

#[test]
fn a_dead_session_fails_each_operation_of_a_multi_where_it_stands() {
    let mut lab = furnished();
    lab.refuse = Some(Refusal::Everything(ErrorCode::SessionExpired));
    let ops = [create_as("/a", 9, GOOD), delete("/open", -1)];
    // Impossible flags make the whole request unreadable, before anybody asks for the session.
    assert_eq!(lab.write(&Request::Multi(ops.into())).unwrap_err(), -5);
    assert_eq!(
        lab.multi([check("/open", -1), delete("/no", -1)].into()),
        [-112, -2]
    );
}
