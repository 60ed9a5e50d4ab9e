use proptest::prelude::*;

use super::*;

#[test]
fn the_header_says_who_asked_what_when() {
    let mut lab = Lab::new();
    let record = lab.propose(&create_with(CreateOp::Create2, "/a", PERSISTENT));
    let record = TxnRecord::decode(&record).unwrap();
    let expected = TxnHeader {
        session: SESSION,
        cxid: 9,
        zxid: lab.zxid,
        time: WallMs(1_001),
        kind: op::CREATE2,
    };
    assert_eq!(record.header, expected);
    assert!(matches!(
        record.txn,
        Txn::Create {
            parent_cversion: 1,
            ..
        }
    ));
    lab.apply_all();
}

#[test]
fn a_refused_write_takes_its_zxid_and_keeps_the_digest() {
    let mut lab = Lab::new();
    let before = lab.db.digest();
    let record = lab.propose(&delete("/missing", -1));
    let record = TxnRecord::decode(&record).unwrap();
    assert_eq!(
        (record.header.zxid, record.header.kind),
        (lab.zxid, op::ERROR)
    );
    assert_eq!(record.txn, Txn::Error { code: -101 });
    assert_eq!(record.digest, Some(before));
    assert_eq!(lab.apply_all(), Some(Outcome::Error(-101)));
    assert_eq!(lab.db.applied(), lab.zxid);
}

#[test]
fn operations_that_are_no_writes_are_refused() {
    let mut lab = Lab::new();
    for (op, error) in [
        (op::CHECK, -6),
        (op::GET_DATA, -6),
        (999, -6),
        (op::RECONFIG, -123),
    ] {
        assert_eq!(refused(&lab.propose_bytes(op, b"")), Some(error), "{op}");
    }
}

#[test]
fn a_body_beyond_a_clients_frame_is_unreadable() {
    let mut lab = Lab::new();
    let mut body = Vec::new();
    set("/", &[0; crate::limits::CLIENT_FRAME_BYTES_MAX], -1).encode(&mut body);
    assert_eq!(refused(&lab.propose_bytes(op::SET_DATA, &body)), Some(-5));
}

#[test]
fn clearing_forgets_all_proposals() {
    let mut lab = Lab::new();
    lab.propose(&create("/a"));
    lab.outstanding.clear();
    assert!(lab.outstanding.is_empty());
    assert_eq!(refused(&lab.propose(&create("/a/b"))), Some(-101));
}

const WRITES: [i32; 11] = [
    op::CREATE,
    op::CREATE2,
    op::CREATE_CONTAINER,
    op::CREATE_TTL,
    op::DELETE,
    op::SET_DATA,
    op::SET_ACL,
    op::MULTI,
    op::CREATE_SESSION,
    op::CLOSE_SESSION,
    op::DELETE_CONTAINER,
];

/// A short path over few names, so that operations meet each other.
fn path() -> impl Strategy<Value = String> {
    let names = prop::sample::select(alloc::vec!["a", "b", "c"]);
    prop::collection::vec(names, 1..4).prop_map(|names| format!("/{}", names.join("/")))
}

fn simple() -> impl Strategy<Value = Request<'static>> {
    let version = prop_oneof![3 => Just(-1), 2 => 0..3_i32];
    (0..12_u32, path(), version).prop_map(|(choice, path, version)| match choice {
        0..=4 => Request::Create {
            kind: if choice == 0 {
                CreateOp::Container
            } else {
                CreateOp::Create
            },
            path: path.into(),
            data: Some(b"data"),
            acl: Some([Acl::world(perms::ALL)].into()),
            flags: choice.min(3) as i32,
        },
        5..=7 => Request::Delete {
            path: path.into(),
            version,
        },
        8 | 9 => Request::SetData {
            path: path.into(),
            data: Some(b"other"),
            version,
        },
        10 => Request::Check {
            path: path.into(),
            version,
        },
        _ => Request::SetData {
            path: "/".into(),
            data: None,
            version: -1,
        },
    })
}

fn request() -> impl Strategy<Value = (bool, Request<'static>)> {
    let set_acl =
        (path(), prop::sample::select(alloc::vec![31, 31, 27, 23])).prop_map(|(path, mask)| {
            Request::SetAcl {
                path: path.into(),
                acl: Some([Acl::world(mask)].into()),
                version: -1,
            }
        });
    let request = prop_oneof![
        8 => simple(),
        3 => prop::collection::vec(simple(), 0..5).prop_map(Request::Multi),
        1 => set_acl,
        1 => Just(Request::CloseSession),
    ];
    (any::<bool>(), request)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// However far applying lags behind, every record is the same, and every predicted digest
    /// comes true.
    #[test]
    fn lag_changes_no_record(
        requests in prop::collection::vec((request(), 0..4_usize), 1..60),
    ) {
        let (mut prompt, mut lagging) = (Lab::new(), Lab::new());
        let mut behind = 0;
        for ((other, request), applied) in &requests {
            let session = if *other { OTHER } else { SESSION };
            (prompt.session, lagging.session) = (session, session);
            let expected = prompt.propose(request);
            prompt.apply_all();
            prop_assert_eq!(lagging.propose(request), expected, "{:?}", request);
            behind += 1;
            for _ in 0..(*applied).min(behind) {
                lagging.apply_one();
                behind -= 1;
            }
        }
        lagging.apply_all();
        prop_assert_eq!(prompt.db.digest(), lagging.db.digest());
    }

    #[test]
    fn no_body_panics(
        choice in 0..WRITES.len(),
        body in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let mut lab = Lab::new();
        lab.propose_bytes(WRITES[choice], &body);
        lab.apply_all();
    }

    /// Readable requests with one byte changed reach deeper than arbitrary bytes.
    #[test]
    fn no_damaged_request_panics(
        (_, request) in request(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut lab = Lab::new();
        let mut body = Vec::new();
        request.encode(&mut body);
        body.put_u8(0);
        let at = at.index(body.len());
        body[at] = byte;
        lab.propose_bytes(request.op(), &body);
        lab.apply_all();
    }
}
