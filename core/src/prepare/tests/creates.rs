use super::*;

#[test]
fn create_below_a_missing_parent_is_no_node() {
    let mut lab = Lab::new();
    assert_eq!(lab.create("/a/b"), Err(-101));
    assert_eq!(lab.create("/a"), Ok("/a".into()));
    assert_eq!(lab.create("/a/b"), Ok("/a/b".into()));
}

#[test]
fn create_of_an_existing_path_is_node_exists_but_permission_comes_first() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    assert_eq!(lab.create("/a"), Err(-110));
    lab.create_acl(
        "/p",
        &[user(perms::ALL), Acl::world(perms::READ | perms::ADMIN)],
    )
    .unwrap();
    lab.identities = [digest_identity(b"user:secret")].into();
    lab.create("/p/c").unwrap();
    lab.identities.clear();
    assert_eq!(lab.create("/p/c"), Err(-102));
}

#[test]
fn ephemerals_have_no_children_but_containers_do() {
    let mut lab = Lab::new();
    lab.create_flags("/e", EPHEMERAL).unwrap();
    assert_eq!(lab.create("/e/c"), Err(-108));
    assert_eq!(lab.create_flags("/e/c", SEQUENTIAL), Err(-108));
    lab.write(&create_with(CreateOp::Container, "/k", 4))
        .unwrap();
    assert_eq!(lab.create("/k/c"), Ok("/k/c".into()));
    assert_eq!(lab.create_flags("/k/e", EPHEMERAL), Ok("/k/e".into()));
}

#[test]
fn bad_paths_fail_where_zookeeper_notices_them() {
    let mut lab = Lab::new();
    for path in ["a", "", "/a\0"] {
        assert_eq!(lab.create(path), Err(-8), "{path:?}");
    }
    assert_eq!(lab.create("/a/"), Err(-101));
    assert_eq!(lab.create("/a/../b"), Err(-101));
    lab.create("/a").unwrap();
    for path in [
        "/a/",
        "//a",
        "/..",
        "/a/.",
        "/a\u{1}",
        "/a\u{7f}",
        "/a\u{fffd}",
        "/a\u{1f600}",
    ] {
        assert_eq!(lab.create(path), Err(-8), "{path:?}");
    }
    for path in ["/a b", "/ü", "/..."] {
        assert_eq!(lab.create(path), Ok(path.into()));
    }
}

#[test]
fn the_root_exists_and_takes_sequential_children() {
    let mut lab = Lab::new();
    assert_eq!(lab.create("/"), Err(-110));
    assert_eq!(lab.create_flags("/", SEQUENTIAL), Ok("/0000000000".into()));
    assert_eq!(
        lab.create_flags("/n-", SEQUENTIAL),
        Ok("/n-0000000001".into())
    );
}

#[test]
fn sequence_numbers_count_all_creates_below_the_parent() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    lab.create("/p/x").unwrap();
    assert_eq!(
        lab.create_flags("/p/n-", SEQUENTIAL),
        Ok("/p/n-0000000001".into())
    );
    assert_eq!(
        lab.create_flags("/p/", SEQUENTIAL),
        Ok("/p/0000000002".into())
    );
    assert_eq!(
        lab.create_flags("/p/n-", EPHEMERAL_SEQUENTIAL),
        Ok("/p/n-0000000003".into())
    );
    assert_eq!(lab.stat("/p/n-0000000003").ephemeral_owner, SESSION.0);
}

#[test]
fn deletes_do_not_lower_the_sequence_but_a_new_parent_starts_over() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    for _ in 0..3 {
        let path = lab.create_flags("/p/n", SEQUENTIAL).unwrap();
        lab.delete(&path, -1).unwrap();
    }
    let path = lab.create_flags("/p/n", SEQUENTIAL).unwrap();
    assert_eq!(path, "/p/n0000000003");
    lab.delete(&path, -1).unwrap();
    lab.delete("/p", -1).unwrap();
    lab.create("/p").unwrap();
    assert_eq!(
        lab.create_flags("/p/n", SEQUENTIAL),
        Ok("/p/n0000000000".into())
    );
}

#[test]
fn failed_creates_do_not_advance_the_sequence() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    lab.create("/p/x").unwrap();
    assert_eq!(lab.create("/p/x"), Err(-110));
    assert_eq!(lab.create_acl("/p/y", &[]), Err(-114));
    assert_eq!(
        lab.create_flags("/p/n", SEQUENTIAL),
        Ok("/p/n0000000001".into())
    );
}

#[test]
fn a_sequential_name_taken_by_hand_blocks_until_another_child_is_created() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    lab.create("/p/n0000000001").unwrap();
    assert_eq!(lab.create_flags("/p/n", SEQUENTIAL), Err(-110));
    assert_eq!(lab.create_flags("/p/n", SEQUENTIAL), Err(-110));
    lab.create("/p/other").unwrap();
    assert_eq!(
        lab.create_flags("/p/n", SEQUENTIAL),
        Ok("/p/n0000000002".into())
    );
}

#[test]
fn sequence_numbers_count_creates_that_are_still_in_flight() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    for _ in 0..3 {
        lab.propose(&sequential("/p/n"));
    }
    lab.apply_all();
    let names: Vec<&str> = lab.db.tree().get("/p").unwrap().children().collect();
    assert_eq!(names, ["n0000000000", "n0000000001", "n0000000002"]);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_reuses_sequence_numbers_after_a_delete() {
    let mut lab = Lab::with(Mutants::with(
        crate::mutants::Mutant::SequenceFromChildCount,
    ));
    lab.create("/p").unwrap();
    let first = lab.create_flags("/p/n", SEQUENTIAL).unwrap();
    lab.delete(&first, -1).unwrap();
    assert_eq!(lab.create_flags("/p/n", SEQUENTIAL), Ok(first));
}

#[test]
fn unknown_flags_are_bad_arguments_and_flag_4_of_plain_create_is_persistent() {
    let mut lab = Lab::new();
    assert_eq!(lab.create_flags("/a", 7), Err(-8));
    assert_eq!(lab.create_flags("/a", -1), Err(-8));
    let record = lab.propose(&create_with(CreateOp::Create, "/a", 4));
    let record = TxnRecord::decode(&record).unwrap();
    assert_eq!(record.header.kind, op::CREATE);
    assert!(matches!(
        record.txn,
        Txn::Create {
            mode: CreateMode::Persistent,
            ..
        }
    ));
    lab.apply_all();
    assert_eq!(lab.stat("/a").ephemeral_owner, 0);
}

#[test]
fn containers_answer_with_path_and_stat() {
    let mut lab = Lab::new();
    let outcome = lab
        .write(&create_with(CreateOp::Container, "/k", 4))
        .unwrap();
    let (path, stat) = created(&outcome);
    assert_eq!((path.as_str(), stat.ephemeral_owner), ("/k", 0));
    let outcome = lab
        .write(&create_with(
            CreateOp::Container,
            "/k",
            EPHEMERAL_SEQUENTIAL,
        ))
        .unwrap();
    let (path, stat) = created(&outcome);
    assert_eq!((path.as_str(), stat.ephemeral_owner), ("/k0000000001", 0));
}

#[test]
fn ttl_nodes_are_unimplemented_by_default() {
    let mut lab = Lab::new();
    for (kind, flags, error) in [
        (CreateOp::Ttl(1_000), 5, -6),
        (CreateOp::Ttl(0), 6, -6),
        (CreateOp::Create, 5, -6),
        (CreateOp::Container, 6, -6),
        (CreateOp::Ttl(1_000), 0, -8),
        (CreateOp::Ttl(-1), 0, -8),
        (CreateOp::Ttl(1_000), 9, -8),
    ] {
        assert_eq!(
            lab.write(&create_with(kind, "/t", flags)),
            Err(error),
            "{kind:?} {flags}"
        );
    }
}

#[test]
fn ttl_nodes_exist_where_extended_types_are_enabled() {
    let mut lab = extended();
    const MAX: i64 = (1 << 40) - 1;
    for (ttl, flags) in [
        (0, 5),
        (-1, 5),
        (i64::MIN, 6),
        (MAX + 1, 5),
        (1, 0),
        (-1, 0),
        (1, 4),
    ] {
        let request = create_with(CreateOp::Ttl(ttl), "/t", flags);
        assert_eq!(lab.write(&request), Err(-8), "{ttl} {flags}");
    }
    for (kind, flags) in [
        (CreateOp::Create, 5),
        (CreateOp::Create2, 6),
        (CreateOp::Container, 5),
    ] {
        assert_eq!(
            lab.write(&create_with(kind, "/t", flags)),
            Err(-8),
            "{kind:?} {flags}"
        );
    }
    for (ttl, flags, path) in [(MAX, 5, "/t"), (1, 6, "/t0000000001")] {
        let outcome = lab
            .write(&create_with(CreateOp::Ttl(ttl), "/t", flags))
            .unwrap();
        let (created, stat) = created(&outcome);
        assert_eq!((created.as_str(), stat.ephemeral_owner), (path, 0));
        assert_eq!(
            lab.db.tree().get(path).unwrap().stored().ttl_ms(),
            Some(ttl)
        );
    }
    assert_eq!(lab.create("/t/c"), Ok("/t/c".into()));
    assert_eq!(lab.create_flags("/t/e", EPHEMERAL), Ok("/t/e".into()));
}

#[test]
fn a_ttl_is_judged_before_the_session_and_that_before_the_path() {
    let mut lab = extended();
    lab.refuse = Some(Refusal::Everything(ErrorCode::SessionExpired));
    assert_eq!(lab.write(&create_with(CreateOp::Ttl(0), "odd", 5)), Err(-8));
    assert_eq!(
        lab.write(&create_with(CreateOp::Ttl(1), "odd", 5)),
        Err(-112)
    );
}

#[test]
fn a_ttl_node_has_its_own_transaction_and_outlives_its_session() {
    let mut lab = extended();
    let record = lab.propose(&create_with(CreateOp::Ttl(500), "/t", 5));
    let record = TxnRecord::decode(&record).unwrap();
    assert_eq!(record.header.kind, op::CREATE_TTL);
    assert!(matches!(
        record.txn,
        Txn::Create {
            mode: CreateMode::Ttl(500),
            ..
        }
    ));
    lab.write(&Request::CloseSession).unwrap();
    assert!(lab.has("/t"));
}

#[test]
fn access_lists_are_judged_before_the_parent_and_the_parent_before_the_name() {
    let mut lab = Lab::new();
    assert_eq!(lab.create_acl("/missing/c", &[]), Err(-114));
    assert_eq!(lab.create("/missing/\u{1}"), Err(-101));
    let null_list = Request::Create {
        kind: CreateOp::Create,
        path: "/a".into(),
        data: None,
        acl: None,
        flags: PERSISTENT,
    };
    assert_eq!(lab.write(&null_list), Err(-114));
}

#[test]
fn access_lists_are_stored_resolved() {
    let mut lab = Lab::new();
    let auth = Acl {
        perms: perms::ALL,
        id: Id {
            scheme: "auth".into(),
            id: String::new(),
        },
    };
    assert_eq!(
        lab.create_acl("/a", core::slice::from_ref(&auth)),
        Err(-114)
    );
    lab.identities = [digest_identity(b"a:1"), digest_identity(b"b:2")].into();
    lab.create_acl("/a", &[auth]).unwrap();
    let expected: Vec<Acl> = lab
        .identities
        .iter()
        .cloned()
        .map(|id| Acl { perms: 31, id })
        .collect();
    assert_eq!(lab.db.tree().get("/a").unwrap().acl(), expected);
}

#[test]
fn null_and_empty_data_stay_apart() {
    let mut lab = Lab::new();
    lab.create_acl("/null", &[Acl::world(perms::ALL)]).unwrap();
    assert_eq!(lab.db.tree().get("/null").unwrap().data(), None);
    lab.set("/null", b"", -1).unwrap();
    assert_eq!(lab.db.tree().get("/null").unwrap().data(), Some(&[][..]));
    assert_eq!(lab.stat("/null").data_length, 0);
}

#[test]
fn a_new_node_has_one_zxid_and_time_and_moves_its_parent() {
    let mut lab = Lab::new();
    let root = lab.stat("/");
    assert_eq!((root.cversion, root.num_children, root.pzxid), (-1, 1, 0));
    let outcome = lab.write(&create_with(CreateOp::Create2, "/a", 0)).unwrap();
    let (_, stat) = created(&outcome);
    assert_eq!([stat.czxid, stat.mzxid, stat.pzxid], [lab.zxid.0; 3]);
    assert_eq!(
        (stat.ctime, stat.mtime, stat.version, stat.cversion),
        (1_001, 1_001, 0, 0)
    );
    let root = lab.stat("/");
    assert_eq!(
        (root.cversion, root.num_children, root.pzxid),
        (0, 2, stat.czxid)
    );
    lab.create("/a/b").unwrap();
    assert_eq!(lab.stat("/"), root, "a grandchild changes nothing");
}

#[test]
fn creates_fire_created_then_children_changed() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    let expected = [
        (ChangeKind::Created, "/a".into()),
        (ChangeKind::ChildrenChanged, "/".into()),
    ];
    assert_eq!(fired(&lab), expected);
}

#[test]
fn a_dead_or_moved_session_is_refused_after_the_flags() {
    let mut lab = Lab::new();
    lab.refuse = Some(Refusal::Everything(ErrorCode::SessionExpired));
    assert_eq!(lab.create("not a path"), Err(-112));
    assert_eq!(lab.create_flags("/a", 9), Err(-8));
    lab.refuse = Some(Refusal::Everything(ErrorCode::SessionMoved));
    assert_eq!(lab.delete("/", -1), Err(-118));
    assert_eq!(lab.set("a", b"", -1), Err(-118));
    assert_eq!(lab.set_acl("a", &[], -1), Err(-118));
}
