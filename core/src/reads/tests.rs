use alloc::string::String;
use alloc::vec;

use super::*;
use crate::acl::digest_identity;
use crate::prepare::lab::{Lab, OTHER, SESSION};
use crate::wire::client::Reply;
use crate::wire::records::Stat;

/// The reply's body or an error, and the watch that is left.
type Answered = (Result<Vec<u8>, i32>, Option<(WatchKind, String)>);

/// Answers for a connection with these identities; the reply's body or the error.
fn read_as(lab: &Lab, identities: &[Id], op: i32, body: &[u8]) -> Answered {
    let (mut out, rules) = (vec![0xee], Rules::default());
    let answer = answer(
        &lab.db,
        Read {
            rules: &rules,
            session: lab.session,
            identities,
            op,
            body,
        },
        &mut out,
    );
    assert_eq!(out.remove(0), 0xee, "answers are appended");
    assert!(
        answer.result.is_ok() || out.is_empty(),
        "errors have no body"
    );
    let watch = answer.watch.map(|(kind, path)| (kind, path.into_owned()));
    (answer.result.map(|()| out).map_err(ErrorCode::code), watch)
}

fn read(lab: &Lab, request: &Request<'_>) -> Answered {
    let mut body = Vec::new();
    request.encode(&mut body);
    read_as(lab, &lab.identities, request.op(), &body)
}

fn get_data(path: &str, watch: bool) -> Request<'_> {
    Request::GetData {
        path: path.into(),
        watch,
    }
}

fn exists(path: &str) -> Request<'_> {
    Request::Exists {
        path: path.into(),
        watch: true,
    }
}

fn children(path: &str, watch: bool) -> Request<'_> {
    Request::GetChildren {
        path: path.into(),
        watch,
    }
}

#[test]
fn exists_leaves_its_watch_on_missing_nodes_too() {
    let mut lab = Lab::new();
    let watch = Some((WatchKind::Data, "/a".into()));
    assert_eq!(read(&lab, &exists("/a")), (Err(-101), watch.clone()));
    lab.create("/a").unwrap();
    let (body, left) = read(&lab, &exists("/a"));
    assert_eq!(
        Stat::read(&mut Reader::new(&body.unwrap())),
        Ok(lab.stat("/a"))
    );
    assert_eq!(left, watch);
    let unwatched = Request::Exists {
        path: "/a".into(),
        watch: false,
    };
    assert_eq!(read(&lab, &unwatched).1, None);
}

#[test]
fn reads_without_permission_leave_no_watch() {
    let mut lab = Lab::new();
    lab.create_acl("/a", &[Acl::world(perms::ALL & !perms::READ)])
        .unwrap();
    let all_children = Request::GetChildren2 {
        path: "/a".into(),
        watch: true,
    };
    for request in [
        exists("/a"),
        get_data("/a", true),
        children("/a", true),
        all_children,
    ] {
        assert_eq!(read(&lab, &request), (Err(-102), None), "{request:?}");
    }
}

#[test]
fn reads_of_missing_nodes_other_than_exists_leave_no_watch() {
    let lab = Lab::new();
    for request in [
        get_data("/a", true),
        children("/a", true),
        get_data("a//", true),
    ] {
        assert_eq!(read(&lab, &request), (Err(-101), None), "{request:?}");
    }
    assert_eq!(read(&lab, &exists("/a\0")), (Err(-8), None));
}

#[test]
fn data_comes_with_its_stat_and_null_stays_null() {
    let mut lab = Lab::new();
    lab.create_acl("/null", &[Acl::world(perms::ALL)]).unwrap();
    let (body, watch) = read(&lab, &get_data("/null", true));
    let stat = lab.stat("/null");
    let expected = Ok(Reply::Data { data: None, stat });
    assert_eq!(Reply::decode(op::GET_DATA, &body.unwrap()), expected);
    assert_eq!(watch, Some((WatchKind::Data, "/null".into())));
    lab.set("/null", b"bytes", -1).unwrap();
    let (body, watch) = read(&lab, &get_data("/null", false));
    let expected = Ok(Reply::Data {
        data: Some(b"bytes"),
        stat: lab.stat("/null"),
    });
    assert_eq!(Reply::decode(op::GET_DATA, &body.unwrap()), expected);
    assert_eq!(watch, None);
}

#[test]
fn the_empty_path_reads_the_root() {
    let lab = Lab::new();
    assert_eq!(
        read(&lab, &get_data("", false)),
        read(&lab, &get_data("/", false))
    );
}

#[test]
fn a_fresh_root_lists_zookeeper_and_lists_are_ordered() {
    let mut lab = Lab::new();
    let names = |lab: &Lab| {
        let body = read(lab, &children("/", false)).0.unwrap();
        let Ok(Reply::Children(names)) = Reply::decode(op::GET_CHILDREN, &body) else {
            panic!("{body:?}")
        };
        names.into_iter().map(Cow::into_owned).collect::<Vec<_>>()
    };
    assert_eq!(names(&lab), ["zookeeper"]);
    lab.create("/b").unwrap();
    lab.create("/a").unwrap();
    assert_eq!(names(&lab), ["a", "b", "zookeeper"]);
    let (body, watch) = read(
        &lab,
        &Request::GetChildren2 {
            path: "/".into(),
            watch: true,
        },
    );
    let children = ["a", "b", "zookeeper"].map(Cow::Borrowed).into();
    let expected = Reply::Children2 {
        children,
        stat: lab.stat("/"),
    };
    assert_eq!(
        Reply::decode(op::GET_CHILDREN2, &body.unwrap()),
        Ok(expected)
    );
    assert_eq!(watch, Some((WatchKind::Child, "/".into())));
}

#[test]
fn access_lists_show_hashes_to_admins_only() {
    let mut lab = Lab::new();
    let user = digest_identity(b"user:secret");
    let list = [
        Acl {
            perms: perms::ALL,
            id: user.clone(),
        },
        Acl::world(perms::READ),
    ];
    lab.create_acl("/a", &list).unwrap();
    let request = Request::GetAcl { path: "/a".into() };
    let acl_of = |lab: &Lab| {
        let body = read(lab, &request).0.unwrap();
        let Ok(Reply::Acl { acl, stat }) = Reply::decode(op::GET_ACL, &body) else {
            panic!("{body:?}")
        };
        assert_eq!(stat, lab.stat("/a"));
        acl
    };
    assert_eq!(acl_of(&lab)[0].id.id, "user:x");
    lab.identities = [user].into();
    assert_eq!(acl_of(&lab), list);
    lab.create_acl("/secret", &[Acl::world(perms::WRITE)])
        .unwrap();
    assert_eq!(
        read(
            &lab,
            &Request::GetAcl {
                path: "/secret".into()
            }
        )
        .0,
        Err(-102)
    );
    lab.create_acl("/admin", &[Acl::world(perms::ADMIN)])
        .unwrap();
    assert!(
        read(
            &lab,
            &Request::GetAcl {
                path: "/admin".into()
            }
        )
        .0
        .is_ok()
    );
}

fn path_body(path: &str) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_string(path);
    body
}

#[test]
fn ephemerals_are_listed_by_prefix_for_their_session_only() {
    let mut lab = Lab::new();
    lab.create("/ab").unwrap();
    lab.create_flags("/a", 1).unwrap();
    lab.create_flags("/ab/c", 1).unwrap();
    lab.create_flags("/b", 1).unwrap();
    lab.session = OTHER;
    lab.create_flags("/ax", 1).unwrap();
    lab.session = SESSION;
    let list = |body: &[u8]| {
        let body = read_as(&lab, &[], op::GET_EPHEMERALS, body).0.unwrap();
        let paths = Reader::new(&body).vector(Reader::string_or_empty).unwrap();
        paths.into_iter().map(Cow::into_owned).collect::<Vec<_>>()
    };
    assert_eq!(list(&path_body("/a")), ["/a", "/ab/c"]);
    for all in ["", " ", "/"] {
        assert_eq!(list(&path_body(all)), ["/a", "/ab/c", "/b"]);
    }
    assert_eq!(list(&(-1_i32).to_be_bytes()), ["/a", "/ab/c", "/b"], "null");
}

#[test]
fn descendants_are_counted_at_any_depth() {
    let lab = Lab::new();
    let count = |path: &str| {
        let (body, _) = read_as(&lab, &[], op::GET_ALL_CHILDREN_NUMBER, &path_body(path));
        body.map(|body| Reader::new(&body).i32().unwrap())
    };
    assert_eq!(count("/"), Ok(3));
    assert_eq!(count(""), Ok(4));
    assert_eq!(count("/zookeeper"), Ok(2));
    assert_eq!(count("/zookeeper/quota"), Ok(0));
    assert_eq!(count("/missing"), Err(-101));
}

#[test]
fn unreadable_bodies_and_other_operations_are_errors() {
    let lab = Lab::new();
    for op in [
        op::EXISTS,
        op::GET_DATA,
        op::GET_ACL,
        op::GET_CHILDREN,
        op::GET_CHILDREN2,
    ] {
        assert!(is_read(op));
        assert_eq!(read_as(&lab, &[], op, b"\0\0").0, Err(-5), "{op}");
        assert_eq!(
            read_as(&lab, &[], op, &[0xff; 5]).0,
            Err(-5),
            "a null path, {op}"
        );
    }
    for op in [op::GET_EPHEMERALS, op::GET_ALL_CHILDREN_NUMBER] {
        assert!(is_read(op));
        assert_eq!(read_as(&lab, &[], op, b"\0\0").0, Err(-5), "{op}");
    }
    assert!(!is_read(op::PING));
    assert_eq!(read_as(&lab, &[], op::PING, b"").0, Err(-6));
}

#[test]
fn watches_set_again_show_what_was_missed() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    let seen = lab.zxid;
    let again = |lab: &Lab, watch, path| rewatch(&lab.db, watch, path, seen);
    let data = Rewatched::Register(WatchKind::Data);
    assert_eq!(again(&lab, Rewatch::Data, "/a"), data);
    assert_eq!(
        again(&lab, Rewatch::Child, "/a"),
        Rewatched::Register(WatchKind::Child)
    );
    assert_eq!(again(&lab, Rewatch::Exist, "/b"), data);
    assert_eq!(
        again(&lab, Rewatch::Exist, "/a"),
        Rewatched::Missed(event::NODE_CREATED)
    );
    assert_eq!(
        again(&lab, Rewatch::Data, "/b"),
        Rewatched::Missed(event::NODE_DELETED)
    );
    assert_eq!(
        again(&lab, Rewatch::Child, "/b"),
        Rewatched::Missed(event::NODE_DELETED)
    );
    lab.set("/a", b"", -1).unwrap();
    assert_eq!(
        again(&lab, Rewatch::Data, "/a"),
        Rewatched::Missed(event::NODE_DATA_CHANGED)
    );
    assert_eq!(
        again(&lab, Rewatch::Child, "/a"),
        Rewatched::Register(WatchKind::Child)
    );
    lab.create("/a/c").unwrap();
    assert_eq!(
        again(&lab, Rewatch::Child, "/a"),
        Rewatched::Missed(event::NODE_CHILDREN_CHANGED)
    );
}

#[test]
fn a_multi_read_answers_each_of_its_reads() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.create("/a/b").unwrap();
    lab.create_acl("/closed", &[Acl::world(perms::ALL & !perms::READ)])
        .unwrap();
    let request = Request::MultiRead(vec![
        get_data("/a", true),
        children("/missing", true),
        get_data("/closed", false),
        children("", false),
        children("/a", true),
    ]);
    let (body, watch) = read(&lab, &request);
    assert_eq!(watch, None);
    let stat = lab.stat("/a");
    let names = |names: &[&'static str]| {
        MultiResult::Children(names.iter().map(|name| Cow::Borrowed(*name)).collect())
    };
    let expected = Reply::Multi(vec![
        MultiResult::Data {
            data: Some(b"x"),
            stat,
        },
        MultiResult::Error(-101),
        MultiResult::Error(-102),
        names(&["a", "closed", "zookeeper"]),
        names(&["b"]),
    ]);
    assert_eq!(Reply::decode(op::MULTI_READ, &body.unwrap()), Ok(expected));
    let (body, _) = read(&lab, &Request::MultiRead(vec![]));
    let nothing = Reply::Multi(vec![]);
    assert_eq!(Reply::decode(op::MULTI_READ, &body.unwrap()), Ok(nothing));
}

#[test]
fn a_multi_read_with_anything_but_two_reads_is_unreadable() {
    let lab = Lab::new();
    let odd = [
        crate::prepare::lab::create("/r"),
        crate::prepare::lab::check("/", -1),
        exists("/"),
        Request::GetChildren2 {
            path: "/".into(),
            watch: false,
        },
    ];
    for one in odd {
        let request = Request::MultiRead(vec![get_data("/", false), one.clone()]);
        assert_eq!(read(&lab, &request), (Err(-5), None), "{one:?}");
    }
    let null_path = b"\0\0\0\x04\0\xff\xff\xff\xff\xff\xff\xff\xff\0";
    let mut body = null_path.to_vec();
    MultiHeader::END.write(&mut body);
    let refused = read_as(&lab, &[], op::MULTI_READ, &body);
    assert_eq!(refused, (Err(-5), None));
    let endless = read_as(&lab, &[], op::MULTI_READ, &[]);
    assert_eq!(endless, (Err(-5), None));
}
