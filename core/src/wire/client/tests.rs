use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;
use crate::ids::SessionId;
use crate::limits::CLIENT_FRAME_BYTES_MAX;
use crate::wire::records::{Acl, Id, Stat, op};
use crate::wire::splitter::Splitter;

const SESSION: SessionId = SessionId(0x0100_0000_0000_0000);
const PASSWORD: Password = *b"\xf2\x2a\xcd\x4a\x97\xe6\x9d\x6d\x20\xa4\x9b\xb6\x38\xea\xdb\x38";

fn bytes_of(encode: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::new();
    encode(&mut out);
    out
}

#[test]
fn connect_request_with_and_without_read_only() {
    let mut bytes =
        b"\0\0\0\0\0\0\0\x01\0\0\0\x02\0\0\x75\x30\x01\0\0\0\0\0\0\0\0\0\0\x10".to_vec();
    bytes.extend_from_slice(&PASSWORD);
    let mut request = ConnectRequest {
        protocol: 0,
        last_zxid_seen: Zxid(0x1_0000_0002),
        timeout_ms: 30_000,
        session: SESSION,
        password: Some(&PASSWORD),
        read_only: None,
    };
    assert_eq!(bytes.len(), 44);
    assert_eq!(ConnectRequest::decode(&bytes), Ok(request));
    assert_eq!(bytes_of(|out| request.encode(out)), bytes);
    bytes.push(1);
    request.read_only = Some(true);
    assert_eq!(ConnectRequest::decode(&bytes), Ok(request));
    assert_eq!(bytes_of(|out| request.encode(out)), bytes);
    let null_password = b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff";
    assert_eq!(
        ConnectRequest::decode(null_password).unwrap().password,
        None
    );
    assert_eq!(
        ConnectRequest::decode(&bytes[..43]),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn connect_response_has_the_flag_exactly_if_the_request_had() {
    let mut bytes = b"\0\0\0\0\0\0\x75\x30\x01\0\0\0\0\0\0\0\0\0\0\x10".to_vec();
    bytes.extend_from_slice(&PASSWORD);
    let mut response = ConnectResponse {
        protocol: 0,
        timeout_ms: 30_000,
        session: SESSION,
        password: PASSWORD,
        read_only: None,
    };
    assert_eq!(bytes.len(), 36);
    assert_eq!(bytes_of(|out| response.encode(out)), bytes);
    assert_eq!(ConnectResponse::decode(&bytes), Ok(response));
    bytes.push(0);
    response.read_only = Some(false);
    assert_eq!(bytes_of(|out| response.encode(out)), bytes);
    assert_eq!(ConnectResponse::decode(&bytes), Ok(response));
}

#[test]
fn refusal_is_what_every_client_library_understands() {
    let mut bytes = vec![0; 4 + 4 + 8];
    bytes.extend_from_slice(b"\0\0\0\x10");
    bytes.extend_from_slice(&[0; 16]);
    assert_eq!(
        bytes_of(|out| ConnectResponse::refusal(None).encode(out)),
        bytes
    );
    bytes.push(0);
    assert_eq!(
        bytes_of(|out| ConnectResponse::refusal(Some(true)).encode(out)),
        bytes
    );
}

#[test]
fn frames_are_bounded_as_soon_as_their_length_is_there() {
    assert_eq!(measure_frame(b"\0\0\0", CLIENT_FRAME_BYTES_MAX), Ok(4));
    assert_eq!(measure_frame(b"\0\0\0\0", CLIENT_FRAME_BYTES_MAX), Ok(4));
    assert_eq!(
        measure_frame(b"\0\x0f\xff\xff", CLIENT_FRAME_BYTES_MAX),
        Ok(4 + 1_048_575)
    );
    assert_eq!(
        measure_frame(b"\0\x10\0\0", CLIENT_FRAME_BYTES_MAX),
        Err(DecodeError::Length(1_048_576))
    );
    assert_eq!(
        measure_frame(b"\xff\xff\xff\xff", CLIENT_FRAME_BYTES_MAX),
        Err(DecodeError::Length(-1))
    );
    assert_eq!(
        measure_frame(b"GET / HTTP/1.1", CLIENT_FRAME_BYTES_MAX),
        Err(DecodeError::Length(0x4745_5420))
    );
    assert_eq!(
        bytes_of(|out| put_frame(out, |out| out.put_i32(7))),
        b"\0\0\0\x04\0\0\0\x07"
    );
    let mut splitter = Splitter::default();
    let mut chunk = &b"\0\0\0\x01a\0\0\0\0\0\0"[..];
    assert_eq!(
        splitter.next(&mut chunk, |b| measure_frame(b, CLIENT_FRAME_BYTES_MAX)),
        Ok(Some(&b"\0\0\0\x01a"[..]))
    );
    assert_eq!(
        splitter.next(&mut chunk, |b| measure_frame(b, CLIENT_FRAME_BYTES_MAX)),
        Ok(Some(&b"\0\0\0\0"[..]))
    );
    assert_eq!(
        splitter.next(&mut chunk, |b| measure_frame(b, CLIENT_FRAME_BYTES_MAX)),
        Ok(None)
    );
}

#[test]
fn create_request_as_sent() {
    let bytes =
        b"\0\0\0\x02/a\0\0\0\x01x\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone\0\0\0\x03";
    let request = Request::Create {
        kind: CreateOp::Create,
        path: "/a".into(),
        data: Some(b"x"),
        acl: Some(vec![Acl::world(31)]),
        flags: 3,
    };
    assert_eq!(Request::decode(op::CREATE, bytes), Ok(request.clone()));
    assert_eq!(bytes_of(|out| request.encode(out)), bytes);
    let mut with_ttl = bytes.to_vec();
    with_ttl.put_i64(500);
    let Ok(Request::Create { kind, .. }) = Request::decode(op::CREATE_TTL, &with_ttl) else {
        panic!("createTTL does not decode");
    };
    assert_eq!(kind, CreateOp::Ttl(500));
    assert_eq!(
        Request::decode(op::CREATE_TTL, bytes),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn null_differs_from_empty_where_it_matters() {
    let null_path = b"\xff\xff\xff\xff\0";
    assert_eq!(
        Request::decode(op::EXISTS, null_path),
        Err(DecodeError::Value("path"))
    );
    let empty_path = b"\0\0\0\0\x01";
    assert_eq!(
        Request::decode(op::EXISTS, empty_path),
        Ok(Request::Exists {
            path: "".into(),
            watch: true
        })
    );
    let null_lists = b"\0\0\0\x02/a\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    let Ok(Request::Create { data, acl, .. }) = Request::decode(op::CREATE, null_lists) else {
        panic!("create does not decode");
    };
    assert_eq!((data, acl), (None, None));
}

#[test]
fn a_null_path_is_unreadable_unless_its_text_is_judged_first() {
    let null_path = [&[0xff; 4][..], &[0; 20]].concat();
    let unreadable = Err(DecodeError::Value("path"));
    for op in [
        op::CREATE,
        op::DELETE,
        op::GET_DATA,
        op::GET_CHILDREN,
        op::GET_ACL,
    ] {
        assert_eq!(Request::decode(op, &null_path), unreadable, "{op}");
    }
    for op in [op::SET_DATA, op::SET_ACL, op::CHECK] {
        let request = Request::decode(op, &null_path).unwrap();
        let empty_path = bytes_of(|out| request.encode(out));
        assert_eq!(Request::decode(op, &empty_path), Ok(request), "{op}");
        let mut multi = Vec::new();
        let (done, error) = (false, -1);
        MultiHeader { op, done, error }.write(&mut multi);
        multi.extend_from_slice(&null_path);
        assert_eq!(
            Request::decode(op::MULTI, &multi),
            unreadable,
            "{op} in a multi"
        );
    }
}

#[test]
fn a_null_id_is_unreadable_where_its_scheme_looks_at_it() {
    let body = |scheme: &str| {
        let mut out = Vec::new();
        out.put_string("/a");
        out.put_buffer(None);
        out.put_count(1);
        out.put_i32(31);
        out.put_string(scheme);
        out.put_buffer(None);
        out.put_i32(0);
        out
    };
    for scheme in ["world", "ip", "digest"] {
        let body = body(scheme);
        assert_eq!(
            Request::decode(op::CREATE, &body),
            Err(DecodeError::Value("id in an access list")),
            "{scheme}"
        );
    }
    for scheme in ["auth", "super", "x509", ""] {
        assert!(
            Request::decode(op::CREATE, &body(scheme)).is_ok(),
            "{scheme}"
        );
    }
}

#[test]
fn multi_framing() {
    let bytes = b"\0\0\0\x02\0\xff\xff\xff\xff\0\0\0\x02/a\xff\xff\xff\xff\
                  \0\0\0\x0d\0\xff\xff\xff\xff\0\0\0\x02/b\0\0\0\x04\
                  \xff\xff\xff\xff\x01\xff\xff\xff\xff";
    let request = Request::Multi(vec![
        Request::Delete {
            path: "/a".into(),
            version: -1,
        },
        Request::Check {
            path: "/b".into(),
            version: 4,
        },
    ]);
    assert_eq!(Request::decode(op::MULTI, bytes), Ok(request.clone()));
    assert_eq!(bytes_of(|out| request.encode(out)), bytes);
    let end = b"\xff\xff\xff\xff\x01\xff\xff\xff\xff";
    assert_eq!(Request::decode(op::MULTI, end), Ok(Request::Multi(vec![])));
    assert_eq!(
        Request::decode(op::MULTI, &bytes[..30]),
        Err(DecodeError::Truncated)
    );
}

#[test]
fn multi_refuses_what_may_not_stand_in_it() {
    for op in [
        op::GET_DATA,
        op::SET_ACL,
        op::MULTI,
        op::SYNC,
        op::DELETE_CONTAINER,
        99,
    ] {
        let mut bytes = Vec::new();
        MultiHeader {
            op,
            done: false,
            error: -1,
        }
        .write(&mut bytes);
        bytes.extend_from_slice(&[0; 100]);
        let refused = Request::decode(op::MULTI, &bytes);
        assert_eq!(refused, Err(DecodeError::Value("operation inside multi")));
    }
    let null_acl = b"\0\0\0\x01\0\xff\xff\xff\xff\0\0\0\x02/a\0\0\0\0\xff\xff\xff\xff\0\0\0\0";
    let refused = Request::decode(op::MULTI, null_acl);
    assert_eq!(refused, Err(DecodeError::Value("access list inside multi")));
    // ZooKeeper builds the operation of a createTTL without a look at its list.
    let mut with_ttl = [&[0, 0, 0, 21], &null_acl[4..], &[0; 8]].concat();
    MultiHeader::END.write(&mut with_ttl);
    let Ok(Request::Multi(ops)) = Request::decode(op::MULTI, &with_ttl) else {
        panic!("{with_ttl:?}")
    };
    assert!(matches!(ops[0], Request::Create { acl: None, .. }));
}

#[test]
fn failed_multi_carries_its_errors_in_the_body() {
    let bytes = b"\xff\xff\xff\xff\0\0\0\0\0\0\0\0\0\
                  \xff\xff\xff\xff\0\xff\xff\xff\x9b\xff\xff\xff\x9b\
                  \xff\xff\xff\xff\0\xff\xff\xff\xfe\xff\xff\xff\xfe\
                  \xff\xff\xff\xff\x01\xff\xff\xff\xff";
    let results = [0, -101, -2].map(MultiResult::Error).to_vec();
    assert_eq!(
        bytes_of(|out| Reply::Multi(results.clone()).encode(out)),
        bytes
    );
    assert_eq!(Reply::decode(op::MULTI, bytes), Ok(Reply::Multi(results)));
}

#[test]
fn watcher_event_and_headers() {
    let event = WatcherEvent {
        kind: event::NODE_DELETED,
        state: 3,
        path: "/a".into(),
    };
    let bytes = bytes_of(|out| event.write(out));
    assert_eq!(bytes, b"\0\0\0\x02\0\0\0\x03\0\0\0\x02/a");
    assert_eq!(WatcherEvent::read(&mut Reader::new(&bytes)), Ok(event));
    let header = ReplyHeader {
        xid: xid::NOTIFICATION,
        zxid: Zxid(9),
        error: 0,
    };
    let bytes = bytes_of(|out| header.write(out));
    assert_eq!(bytes, b"\xff\xff\xff\xff\0\0\0\0\0\0\0\x09\0\0\0\0");
    assert_eq!(ReplyHeader::read(&mut Reader::new(&bytes)), Ok(header));
    let header = RequestHeader {
        xid: -2,
        op: op::PING,
    };
    let bytes = bytes_of(|out| header.write(out));
    assert_eq!(bytes, b"\xff\xff\xff\xfe\0\0\0\x0b");
    assert_eq!(RequestHeader::read(&mut Reader::new(&bytes)), Ok(header));
}

#[test]
fn watch_requests_as_sent() {
    let bytes = b"\0\0\0\x02/a\0\0\0\x01";
    let path = Cow::from("/a");
    for (op, request) in [
        (
            op::ADD_WATCH,
            Request::AddWatch {
                path: path.clone(),
                mode: 1,
            },
        ),
        (
            op::CHECK_WATCHES,
            Request::CheckWatches {
                path: path.clone(),
                kind: 1,
            },
        ),
        (
            op::REMOVE_WATCHES,
            Request::RemoveWatches {
                path: path.clone(),
                kind: 1,
            },
        ),
    ] {
        assert_eq!(request.op(), op);
        assert_eq!(bytes_of(|out| request.encode(out)), bytes);
        assert_eq!(Request::decode(op, bytes), Ok(request));
        // Nothing ever happens at either.
        let null = Request::decode(op, b"\xff\xff\xff\xff\0\0\0\0").unwrap();
        assert_eq!(bytes_of(|out| null.encode(out)), [0; 8]);
    }
    assert_eq!(
        (op::CHECK_WATCHES, op::REMOVE_WATCHES, op::ADD_WATCH),
        (17, 18, 106)
    );
    let error = Reply::Error(0);
    assert_eq!(bytes_of(|out| error.encode(out)), b"\0\0\0\0");
    assert_eq!(Reply::decode(op::ADD_WATCH, b"\0\0\0\0"), Ok(error));
}

#[test]
fn set_watches_as_sent() {
    let bytes = b"\0\0\0\x01\0\0\0\x02\0\0\0\x01\0\0\0\x02/a\0\0\0\0\
                  \0\0\0\x02\0\0\0\x02/b\0\0\0\x02/c\
                  \0\0\0\x01\0\0\0\x02/d\0\0\0\x01\0\0\0\x02/e";
    let (relative, data) = (Zxid(0x1_0000_0002), vec!["/a".into()]);
    let child = vec!["/b".into(), "/c".into()];
    let old = Request::SetWatches {
        relative,
        data: data.clone(),
        exist: vec![],
        child: child.clone(),
    };
    let new = Request::SetWatches2 {
        relative,
        data,
        exist: vec![],
        child,
        persistent: vec!["/d".into()],
        recursive: vec!["/e".into()],
    };
    let length = bytes.len() - 20;
    assert_eq!(bytes_of(|out| old.encode(out)), bytes[..length]);
    assert_eq!(Request::decode(101, &bytes[..length]), Ok(old));
    assert_eq!(bytes_of(|out| new.encode(out)), bytes);
    assert_eq!(Request::decode(105, bytes), Ok(new));
    assert_eq!(
        Request::decode(105, &bytes[..length]),
        Err(DecodeError::Truncated)
    );
    // Null lists.
    let null = [&[0; 8][..], &[0xff; 20]].concat();
    let empty = Request::SetWatches2 {
        relative: Zxid(0),
        data: vec![],
        exist: vec![],
        child: vec![],
        persistent: vec![],
        recursive: vec![],
    };
    assert_eq!(Request::decode(105, &null), Ok(empty));
}

#[test]
fn operations_not_offered_are_told_apart_from_bad_bodies() {
    for op in [0, 10, 103, 108, -1, 1000] {
        assert_eq!(
            Request::decode(op, &[0; 64]),
            Err(DecodeError::Value("operation"))
        );
    }
}

fn arb_text() -> impl Strategy<Value = Cow<'static, str>> {
    "\\PC{0,12}".prop_map(Cow::Owned)
}

fn arb_data() -> impl Strategy<Value = Option<&'static [u8]>> {
    prop_oneof![
        Just(None),
        Just(Some(&b""[..])),
        Just(Some(&b"\0\x01data"[..]))
    ]
}

fn arb_acl() -> impl Strategy<Value = Vec<Acl>> {
    let one = (any::<i32>(), "[a-z]{0,6}", "\\PC{0,8}");
    proptest::collection::vec(one, 0..3).prop_map(|list| {
        let acl = |(perms, scheme, id)| Acl {
            perms,
            id: Id { scheme, id },
        };
        list.into_iter().map(acl).collect()
    })
}

fn arb_write(acl_may_be_null: bool) -> BoxedStrategy<Request<'static>> {
    let kind = prop_oneof![
        Just(CreateOp::Create),
        Just(CreateOp::Create2),
        Just(CreateOp::Container),
        any::<i64>().prop_map(CreateOp::Ttl),
    ];
    let acl = (arb_acl(), any::<bool>()).prop_map(move |(acl, null)| {
        if null && acl_may_be_null {
            None
        } else {
            Some(acl)
        }
    });
    prop_oneof![
        (kind, arb_text(), arb_data(), acl, any::<i32>()).prop_map(
            |(kind, path, data, acl, flags)| Request::Create {
                kind,
                path,
                data,
                acl,
                flags
            }
        ),
        (arb_text(), any::<i32>()).prop_map(|(path, version)| Request::Delete { path, version }),
        (arb_text(), any::<i32>()).prop_map(|(path, version)| Request::Check { path, version }),
        (arb_text(), arb_data(), any::<i32>()).prop_map(|(path, data, version)| Request::SetData {
            path,
            data,
            version
        }),
    ]
    .boxed()
}

fn arb_request() -> impl Strategy<Value = Request<'static>> {
    let list = || proptest::collection::vec(arb_text(), 0..4);
    let read = (arb_text(), any::<bool>(), 0..4).prop_map(|(path, watch, which)| match which {
        0 => Request::Exists { path, watch },
        1 => Request::GetData { path, watch },
        2 => Request::GetChildren { path, watch },
        _ => Request::GetChildren2 { path, watch },
    });
    prop_oneof![
        arb_write(true),
        read,
        proptest::collection::vec(arb_write(false), 0..5).prop_map(Request::Multi),
        (arb_text(), proptest::option::of(arb_acl()), any::<i32>())
            .prop_map(|(path, acl, version)| Request::SetAcl { path, acl, version }),
        arb_text().prop_map(|path| Request::GetAcl { path }),
        arb_text().prop_map(|path| Request::Sync { path }),
        (arb_text(), arb_data()).prop_map(|(scheme, auth)| Request::Auth { scheme, auth }),
        (any::<i64>(), list(), list(), list()).prop_map(|(relative, data, exist, child)| {
            Request::SetWatches {
                relative: Zxid(relative),
                data,
                exist,
                child,
            }
        }),
        (any::<i64>(), list(), list(), list(), list(), list()).prop_map(|lists| {
            Request::SetWatches2 {
                relative: Zxid(lists.0),
                data: lists.1,
                exist: lists.2,
                child: lists.3,
                persistent: lists.4,
                recursive: lists.5,
            }
        }),
        (arb_text(), any::<i32>()).prop_map(|(path, mode)| Request::AddWatch { path, mode }),
        (arb_text(), any::<i32>()).prop_map(|(path, kind)| Request::CheckWatches { path, kind }),
        (arb_text(), any::<i32>()).prop_map(|(path, kind)| Request::RemoveWatches { path, kind }),
        any::<i32>().prop_map(|timeout_ms| Request::CreateSession { timeout_ms }),
        Just(Request::Ping),
        Just(Request::CloseSession),
        arb_newer_request(),
    ]
}

/// Operations that came with 3.5 and later.
fn arb_newer_request() -> impl Strategy<Value = Request<'static>> {
    let text = || proptest::option::of(arb_text());
    let watch = false;
    let read = prop_oneof![
        arb_text().prop_map(move |path| Request::GetData { path, watch }),
        arb_text().prop_map(move |path| Request::GetChildren { path, watch }),
    ];
    let texts = (text(), text(), text(), any::<i64>());
    prop_oneof![
        proptest::collection::vec(read, 0..5).prop_map(Request::MultiRead),
        arb_data().prop_map(|token| Request::Sasl { token }),
        Just(Request::WhoAmI),
        texts.prop_map(|(joining, leaving, members, version)| Request::Reconfig {
            joining,
            leaving,
            members,
            version,
        }),
    ]
}

fn arb_stat() -> impl Strategy<Value = Stat> {
    any::<[i64; 6]>().prop_map(|v| Stat {
        czxid: v[0],
        mzxid: v[1],
        ctime: v[2],
        mtime: v[3],
        version: v[4] as i32,
        cversion: v[5] as i32,
        aversion: v[0] as i32,
        ephemeral_owner: v[1],
        data_length: v[2] as i32,
        num_children: v[3] as i32,
        pzxid: v[4],
    })
}

fn arb_reply() -> impl Strategy<Value = (i32, Reply<'static>)> {
    let names = || proptest::collection::vec(arb_text(), 0..5);
    let result = prop_oneof![
        arb_text().prop_map(MultiResult::Path),
        (arb_text(), arb_stat()).prop_map(|(path, stat)| MultiResult::Created { path, stat }),
        Just(MultiResult::Deleted),
        arb_stat().prop_map(MultiResult::DataSet),
        Just(MultiResult::Checked),
        (arb_data(), arb_stat()).prop_map(|(data, stat)| MultiResult::Data { data, stat }),
        names().prop_map(MultiResult::Children),
        any::<i32>().prop_map(MultiResult::Error),
    ];
    prop_oneof![
        Just((op::DELETE, Reply::Empty)),
        arb_data().prop_map(|token| (op::SASL, Reply::Token(token))),
        proptest::collection::vec((arb_text(), arb_text()), 0..4)
            .prop_map(|identities| (op::WHO_AM_I, Reply::Identities(identities))),
        arb_text().prop_map(|path| (op::SYNC, Reply::Path(path))),
        (arb_text(), arb_stat())
            .prop_map(|(path, stat)| (op::CREATE_CONTAINER, Reply::Created { path, stat })),
        arb_stat().prop_map(|stat| (op::EXISTS, Reply::Stat(stat))),
        (arb_data(), arb_stat())
            .prop_map(|(data, stat)| (op::GET_DATA, Reply::Data { data, stat })),
        (arb_acl(), arb_stat()).prop_map(|(acl, stat)| (op::GET_ACL, Reply::Acl { acl, stat })),
        names().prop_map(|children| (op::GET_CHILDREN, Reply::Children(children))),
        (names(), arb_stat()).prop_map(|(children, stat)| {
            (op::GET_CHILDREN2, Reply::Children2 { children, stat })
        }),
        proptest::collection::vec(result, 0..5)
            .prop_map(|results| (op::MULTI, Reply::Multi(results))),
    ]
}

proptest! {
    #[test]
    fn requests_survive_the_wire(request in arb_request()) {
        let bytes = bytes_of(|out| request.encode(out));
        prop_assert_eq!(Request::decode(request.op(), &bytes), Ok(request));
    }

    #[test]
    fn replies_survive_the_wire((op, reply) in arb_reply()) {
        let bytes = bytes_of(|out| reply.encode(out));
        prop_assert_eq!(Reply::decode(op, &bytes), Ok(reply));
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), op in -12..110i32) {
        let _ = Request::decode(op, &bytes);
        let _ = Reply::decode(op, &bytes);
        let _ = ConnectRequest::decode(&bytes);
        let _ = ConnectResponse::decode(&bytes);
        let _ = WatcherEvent::read(&mut Reader::new(&bytes));
        let _ = measure_frame(&bytes, CLIENT_FRAME_BYTES_MAX);
    }

    #[test]
    fn no_damage_panics(
        request in arb_request(), at in any::<prop::sample::Index>(), to in any::<u8>(),
    ) {
        let mut bytes = bytes_of(|out| request.encode(out));
        if !bytes.is_empty() {
            let at = at.index(bytes.len());
            bytes[at] = to;
            let _ = Request::decode(request.op(), &bytes);
            let _ = Request::decode(request.op(), &bytes[..at]);
        }
    }
}

#[test]
fn bytes_that_are_no_text_become_replacement_characters() {
    let request = Request::decode(op::GET_ACL, b"\0\0\0\x02/\xff").unwrap();
    let Request::GetAcl { path } = request else {
        panic!("not a getACL")
    };
    assert_eq!(String::from(path), "/\u{fffd}");
}
