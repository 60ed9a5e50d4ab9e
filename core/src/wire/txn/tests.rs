use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

fn header(kind: i32) -> TxnHeader {
    TxnHeader {
        session: SessionId(0x0100_0000_0000_0001),
        cxid: 3,
        zxid: Zxid(0x1_0000_0002),
        time: WallMs(0x0123),
        kind,
    }
}

fn encoded(record: &TxnRecord<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    record.encode(&mut out);
    out
}

const HEADER: &[u8] = b"\x01\0\0\0\0\0\0\x01\0\0\0\x03\0\0\0\x01\0\0\0\x02\0\0\0\0\0\0\x01\x23";
const WORLD_ALL: &[u8] = b"\0\0\0\x01\0\0\0\x1f\0\0\0\x05world\0\0\0\x06anyone";

/// Header, body and optional digest put together by hand.
fn golden(kind: i32, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = HEADER.to_vec();
    out.put_i32(kind);
    for part in parts {
        out.extend_from_slice(part);
    }
    out
}

fn create(mode: CreateMode, parent_cversion: i32) -> Txn<'static> {
    Txn::Create {
        path: "/a".into(),
        data: Some(b"x"),
        acl: vec![Acl::world(31)],
        mode,
        parent_cversion,
    }
}

#[test]
fn every_create_kind_keeps_its_own_body() {
    let front: &[u8] = b"\0\0\0\x02/a\0\0\0\x01x";
    let cases: [(i32, CreateMode, &[u8]); 4] = [
        (op::CREATE, CreateMode::Ephemeral, b"\x01\0\0\0\x07"),
        (op::CREATE2, CreateMode::Persistent, b"\0\0\0\0\x07"),
        (op::CREATE_CONTAINER, CreateMode::Container, b"\0\0\0\x07"),
        (
            op::CREATE_TTL,
            CreateMode::Ttl(500),
            b"\0\0\0\x07\0\0\0\0\0\0\x01\xf4",
        ),
    ];
    for (kind, mode, tail) in cases {
        let bytes = golden(kind, &[front, WORLD_ALL, tail]);
        let record = TxnRecord {
            header: header(kind),
            txn: create(mode, 7),
            digest: None,
        };
        assert_eq!(encoded(&record), bytes);
        assert_eq!(TxnRecord::decode(&bytes), Ok(record));
    }
}

#[test]
fn very_old_create_has_no_parent_cversion() {
    let bytes = golden(op::CREATE, &[b"\0\0\0\x02/a\0\0\0\x01x", WORLD_ALL, b"\0"]);
    let record = TxnRecord::decode(&bytes).unwrap();
    assert_eq!(record.txn, create(CreateMode::Persistent, -1));
}

#[test]
fn digest_is_optional_and_only_version_2_counts() {
    let body: &[u8] = b"\0\0\0\x02/a";
    let v2: &[u8] = b"\0\0\0\x02\0\0\0\0\x51\xc6\xd6\x60";
    let digest = |parts: &[&[u8]]| {
        TxnRecord::decode(&golden(op::DELETE, parts))
            .unwrap()
            .digest
    };
    assert_eq!(digest(&[body]), None);
    assert_eq!(digest(&[body, v2]), Some(0x51c6_d660));
    assert_eq!(digest(&[body, v2, b"later fields"]), Some(0x51c6_d660));
    assert_eq!(digest(&[body, b"\0\0\0\x03\0\0\0\0\x51\xc6\xd6\x60"]), None);
    assert_eq!(digest(&[body, b"\0\0\0\x02\0"]), None);
}

#[test]
fn close_session_with_and_without_list() {
    let v2: &[u8] = b"\0\0\0\x02\0\0\0\0\x51\xc6\xd6\x60";
    let list: &[u8] = b"\0\0\0\x01\0\0\0\x02/e";
    let decode = |parts: &[&[u8]]| {
        let bytes = golden(op::CLOSE_SESSION, parts);
        let record = TxnRecord::decode(&bytes).unwrap();
        let Txn::CloseSession { paths } = record.txn else {
            panic!("not a closeSession")
        };
        let paths = paths.map(|p| p.into_iter().map(String::from).collect::<Vec<_>>());
        (paths, record.digest)
    };
    let named = || Some(vec![String::from("/e")]);
    assert_eq!(decode(&[]), (None, None));
    assert_eq!(decode(&[list]), (named(), None));
    assert_eq!(decode(&[list, v2]), (named(), Some(0x51c6_d660)));
    assert_eq!(
        decode(&[b"\0\0\0\0", v2]),
        (Some(vec![]), Some(0x51c6_d660))
    );
    assert_eq!(
        decode(&[v2]),
        (None, Some(0x51c6_d660)),
        "digest without a list"
    );
}

#[test]
fn multi_wraps_bodies_in_buffers() {
    let bytes = golden(
        op::MULTI,
        &[
            b"\0\0\0\x02",
            b"\0\0\0\x02\0\0\0\x06\0\0\0\x02/a",
            b"\xff\xff\xff\xff\0\0\0\x04\xff\xff\xff\xfe",
        ],
    );
    let subs = vec![
        SubTxn {
            kind: op::DELETE,
            txn: Txn::Delete { path: "/a".into() },
        },
        SubTxn {
            kind: op::ERROR,
            txn: Txn::Error { code: -2 },
        },
    ];
    let record = TxnRecord {
        header: header(op::MULTI),
        txn: Txn::Multi(subs),
        digest: None,
    };
    assert_eq!(encoded(&record), bytes);
    assert_eq!(TxnRecord::decode(&bytes), Ok(record));
}

#[test]
fn unknown_kinds_and_nested_multis_are_refused() {
    for kind in [0, 3, 22, 1000, -2] {
        let refused = TxnRecord::decode(&golden(kind, &[&[0; 64]])).map(|r| r.header.kind);
        assert_eq!(refused, Err(DecodeError::Value("transaction type")));
    }
    let nested = golden(op::MULTI, &[b"\0\0\0\x01\0\0\0\x0e\0\0\0\x04\0\0\0\0"]);
    assert_eq!(
        TxnRecord::decode(&nested).map(|r| r.header.kind),
        Err(DecodeError::Value("transaction type"))
    );
    assert_eq!(TxnHeader::peek(&nested), Ok(header(op::MULTI)));
    assert_eq!(TxnHeader::peek(&nested[..31]), Err(DecodeError::Truncated));
}

fn arb_acl() -> impl Strategy<Value = Vec<Acl>> {
    let one = (any::<i32>(), "[a-z]{0,6}", "\\PC{0,8}");
    proptest::collection::vec(one, 0..3).prop_map(|list| {
        let acl = |(perms, scheme, id)| Acl {
            perms,
            id: crate::wire::records::Id { scheme, id },
        };
        list.into_iter().map(acl).collect()
    })
}

fn arb_data() -> impl Strategy<Value = Option<&'static [u8]>> {
    prop_oneof![
        Just(None),
        Just(Some(&b""[..])),
        Just(Some(&b"\0\x01data"[..]))
    ]
}

fn arb_single() -> impl Strategy<Value = (i32, Txn<'static>)> {
    let path = || "(/[a-z]{1,4}){1,3}".prop_map(Cow::<'static, str>::Owned);
    let mode = prop_oneof![
        Just((op::CREATE, CreateMode::Persistent)),
        Just((op::CREATE2, CreateMode::Ephemeral)),
        Just((op::CREATE_CONTAINER, CreateMode::Container)),
        any::<i64>().prop_map(|ms| (op::CREATE_TTL, CreateMode::Ttl(ms))),
    ];
    prop_oneof![
        (path(), arb_data(), arb_acl(), mode, any::<i32>()).prop_map(
            |(path, data, acl, (kind, mode), parent_cversion)| {
                (
                    kind,
                    Txn::Create {
                        path,
                        data,
                        acl,
                        mode,
                        parent_cversion,
                    },
                )
            }
        ),
        path().prop_map(|path| (op::DELETE, Txn::Delete { path })),
        (path(), arb_data(), any::<i32>()).prop_map(|(path, data, version)| (
            op::SET_DATA,
            Txn::SetData {
                path,
                data,
                version
            }
        )),
        (path(), any::<i32>())
            .prop_map(|(path, version)| (op::CHECK, Txn::Check { path, version })),
        any::<i32>().prop_map(|code| (op::ERROR, Txn::Error { code })),
    ]
}

fn arb_txn() -> impl Strategy<Value = (i32, Txn<'static>)> {
    let paths = proptest::collection::vec("/[a-z]{1,4}", 0..4);
    prop_oneof![
        4 => arb_single(),
        1 => any::<i32>().prop_map(|t| (op::CREATE_SESSION, Txn::CreateSession { timeout_ms: t })),
        1 => proptest::option::of(paths).prop_map(|paths| {
            let paths = paths.map(|p| p.into_iter().map(Cow::Owned).collect());
            (op::CLOSE_SESSION, Txn::CloseSession { paths })
        }),
        1 => ("/[a-z]{1,4}", arb_acl(), any::<i32>()).prop_map(|(path, acl, version)| {
            (op::SET_ACL, Txn::SetAcl { path: path.into(), acl, version })
        }),
        1 => proptest::collection::vec(arb_single(), 0..4).prop_map(|subs| {
            let subs = subs.into_iter().map(|(kind, txn)| SubTxn { kind, txn }).collect();
            (op::MULTI, Txn::Multi(subs))
        }),
    ]
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded((kind, txn) in arb_txn(), digest in any::<Option<u64>>()) {
        let record = TxnRecord { header: header(kind), txn, digest };
        let bytes = encoded(&record);
        prop_assert_eq!(TxnHeader::peek(&bytes), Ok(record.header));
        prop_assert_eq!(TxnRecord::decode(&bytes), Ok(record));
    }

    #[test]
    fn no_bytes_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in -12..22i32,
    ) {
        let _ = TxnRecord::decode(&bytes);
        if bytes.len() >= TxnHeader::BYTES {
            bytes[28..32].copy_from_slice(&kind.to_be_bytes());
            let _ = TxnRecord::decode(&bytes);
        }
    }
}
