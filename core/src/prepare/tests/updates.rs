use super::*;

#[test]
fn reserved_and_slashless_paths_can_not_be_deleted() {
    let mut lab = Lab::new();
    lab.identities = [Id {
        scheme: "super".into(),
        id: String::new(),
    }]
    .into();
    for path in [
        "/",
        "/zookeeper",
        "/zookeeper/quota",
        "/zookeeper/config",
        "",
        "a",
    ] {
        assert_eq!(lab.delete(path, -1), Err(-8), "{path:?}");
    }
    lab.create("/a").unwrap();
    assert_eq!(lab.delete("/a/", -1), Err(-101));
    assert_eq!(lab.delete("b/a", -1), Err(-101));
    assert_eq!(lab.delete("//a", -1), Err(-101));
}

#[test]
fn delete_checks_the_version_before_the_children() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.create("/a/b").unwrap();
    assert_eq!(lab.delete("/a", 5), Err(-103));
    assert_eq!(lab.delete("/a", 0), Err(-111));
    assert_eq!(lab.delete("/a", -2), Err(-103));
    assert_eq!(lab.delete("/a/b", 0), Ok(()));
    assert_eq!(lab.delete("/a", 0), Ok(()));
}

#[test]
fn delete_needs_permission_on_the_parent_only() {
    let mut lab = Lab::new();
    lab.create_acl("/locked", &[Acl::world(perms::ALL & !perms::DELETE)])
        .unwrap();
    lab.create("/locked/c").unwrap();
    assert_eq!(lab.delete("/locked/missing", -1), Err(-102));
    assert_eq!(lab.delete("/locked/c", -1), Err(-102));
    lab.create("/open").unwrap();
    lab.create_acl("/open/c", &[Acl::world(0)]).unwrap();
    assert_eq!(lab.delete("/open/missing", -1), Err(-101));
    assert_eq!(lab.delete("/open/c", -1), Ok(()));
}

#[test]
fn create_and_delete_move_the_parents_cversion_and_pzxid_only() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    let before = lab.stat("/p");
    lab.create("/p/c").unwrap();
    lab.delete("/p/c", -1).unwrap();
    let after = lab.stat("/p");
    assert_eq!(after.cversion, before.cversion + 2);
    assert_eq!(after.pzxid, lab.zxid.0);
    assert_eq!(
        (after.version, after.mzxid, after.mtime),
        (0, before.mzxid, before.mtime)
    );
    let expected = [
        (ChangeKind::Deleted, "/p/c".into()),
        (ChangeKind::ChildrenChanged, "/p".into()),
    ];
    assert_eq!(fired(&lab), expected);
}

#[test]
fn set_data_raises_the_version_also_for_equal_bytes_and_on_the_root() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    assert_eq!(lab.set("/a", b"x", 0).unwrap().version, 1);
    assert_eq!(fired(&lab), [(ChangeKind::DataChanged, "/a".into())]);
    let stat = lab.set("/a", b"x", 1).unwrap();
    assert_eq!((stat.version, stat.mzxid), (2, lab.zxid.0));
    assert_eq!(lab.set("/a", b"x", 1), Err(-103));
    assert_eq!(lab.set("/", b"root", -1).unwrap().version, 1);
    assert_eq!(lab.set("/a/", b"", -1), Err(-8));
    assert_eq!(lab.set("", b"", -1), Err(-8));
    assert_eq!(lab.set("/b", b"", -1), Err(-101));
    assert_eq!(lab.set("/zookeeper/config", b"", -1), Err(-102));
}

#[test]
fn versions_wrap_around_and_skip_minus_one() {
    assert_eq!(super::writes::next_version(i32::MAX, -1), Ok(i32::MIN));
    assert_eq!(super::writes::next_version(-2, -2), Ok(0));
    assert_eq!(super::writes::next_version(0, 0), Ok(1));
    assert_eq!(
        super::writes::next_version(0, -2),
        Err(ErrorCode::BadVersion)
    );
}

#[test]
fn set_acl_counts_its_own_version_and_fires_nothing() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    let before = lab.set("/a", b"y", -1).unwrap();
    let open = [Acl::world(perms::ALL)];
    assert_eq!(lab.set_acl("/a", &open, 1), Err(-103));
    let after = lab.set_acl("/a", &open, 0).unwrap();
    assert_eq!(after.aversion, 1);
    assert_eq!(
        (after.mzxid, after.mtime, after.version),
        (before.mzxid, before.mtime, 1)
    );
    assert_eq!(fired(&lab), []);
    assert_eq!(lab.set_acl("/b", &[], -1), Err(-114));
    assert_eq!(lab.set_acl("/b", &open, -1), Err(-101));
    assert_eq!(lab.set_acl("b", &[], -1), Err(-8));
}

#[test]
fn a_proposed_access_list_binds_the_next_write() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    let acl = Some([Acl::world(perms::READ)].into());
    lab.propose(&Request::SetAcl {
        path: "/a".into(),
        acl,
        version: -1,
    });
    assert_eq!(refused(&lab.propose(&set("/a", b"", -1))), Some(-102));
    lab.apply_one();
    assert_eq!(refused(&lab.propose(&set("/a", b"", -1))), Some(-102));
    lab.apply_all();
}

#[test]
fn permissions_of_an_unproposed_node_come_from_the_database_while_others_change_it() {
    let mut lab = Lab::new();
    lab.create_acl("/a", &[Acl::world(perms::WRITE)]).unwrap();
    lab.propose(&set("/a", b"1", -1));
    assert_eq!(refused(&lab.propose(&create("/a/b"))), Some(-102));
    assert_eq!(refused(&lab.propose(&set("/a", b"2", 1))), None);
    lab.apply_all();
}

#[test]
fn pipelined_writes_see_each_other() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    assert_eq!(refused(&lab.propose(&set("/a", b"1", 0))), None);
    assert_eq!(refused(&lab.propose(&set("/a", b"2", 0))), Some(-103));
    assert_eq!(refused(&lab.propose(&delete("/a", 1))), None);
    assert_eq!(refused(&lab.propose(&set("/a", b"3", -1))), Some(-101));
    assert_eq!(refused(&lab.propose(&create("/a"))), None);
    assert_eq!(refused(&lab.propose(&create("/a/b"))), None);
    assert_eq!(refused(&lab.propose(&delete("/a", -1))), Some(-111));
    lab.apply_all();
    let stat = lab.stat("/a");
    assert_eq!((stat.version, stat.num_children), (0, 1));
}

#[test]
fn retiring_an_older_change_keeps_the_newer_one() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.propose(&set("/a", b"1", -1));
    lab.propose(&set("/a", b"2", -1));
    lab.apply_one();
    assert_eq!(refused(&lab.propose(&set("/a", b"3", 1))), Some(-103));
    assert_eq!(refused(&lab.propose(&set("/a", b"3", 2))), None);
    lab.apply_all();
    assert_eq!(lab.stat("/a").version, 3);
}

#[test]
fn another_sessions_ephemeral_may_be_deleted() {
    let mut lab = Lab::new();
    lab.create_flags("/e", EPHEMERAL).unwrap();
    lab.session = OTHER;
    assert_eq!(lab.delete("/e", -1), Ok(()));
}

fn closed_paths(record: &[u8]) -> Vec<String> {
    match TxnRecord::decode(record).unwrap().txn {
        Txn::CloseSession { paths } => paths
            .unwrap()
            .into_iter()
            .map(alloc::borrow::Cow::into_owned)
            .collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn closing_a_session_lists_committed_and_proposed_ephemerals_but_no_deleted_ones() {
    let mut lab = Lab::new();
    lab.propose_bytes(op::CREATE_SESSION, &5_000_i32.to_be_bytes());
    lab.create("/p").unwrap();
    lab.create_flags("/p/committed", EPHEMERAL).unwrap();
    lab.create_flags("/p/deleted", EPHEMERAL).unwrap();
    lab.create_flags("/p/changed", EPHEMERAL).unwrap();
    lab.session = OTHER;
    lab.create_flags("/p/other", EPHEMERAL).unwrap();
    lab.session = SESSION;
    lab.propose(&set("/p/changed", b"", -1));
    lab.propose(&delete("/p/deleted", -1));
    lab.propose(&create_with(CreateOp::Create, "/p/proposed", EPHEMERAL));
    lab.propose(&create_with(CreateOp::Create, "/p/short", EPHEMERAL));
    lab.propose(&delete("/p/short", -1));
    let record = lab.propose_bytes(op::CLOSE_SESSION, &[]);
    assert_eq!(
        closed_paths(&record),
        ["/p/changed", "/p/committed", "/p/proposed"]
    );
    let cversion = lab.stat("/p").cversion;
    lab.apply_all();
    let parent = lab.stat("/p");
    assert_eq!(parent.num_children, 1);
    assert_eq!(parent.pzxid, lab.zxid.0);
    assert!(parent.cversion > cversion);
    assert!(lab.has("/p/other"));
    assert_eq!(lab.db.sessions().len(), 0);
}

#[test]
fn a_recreated_ephemeral_belongs_to_its_new_owner() {
    let mut lab = Lab::new();
    lab.create_flags("/e", EPHEMERAL).unwrap();
    lab.propose(&delete("/e", -1));
    lab.session = OTHER;
    lab.propose(&create_with(CreateOp::Create, "/e", EPHEMERAL));
    lab.session = SESSION;
    let empty: [String; 0] = [];
    assert_eq!(
        closed_paths(&lab.propose_bytes(op::CLOSE_SESSION, &[])),
        empty
    );
    lab.apply_all();
    lab.session = OTHER;
    assert_eq!(
        closed_paths(&lab.propose_bytes(op::CLOSE_SESSION, &[])),
        ["/e"]
    );
    lab.apply_all();
    assert!(!lab.has("/e"));
}

#[test]
fn create_session_is_recorded_with_its_timeout() {
    let mut lab = Lab::new();
    let record = lab.propose_bytes(op::CREATE_SESSION, &30_000_i32.to_be_bytes());
    let txn = TxnRecord::decode(&record).unwrap().txn;
    assert_eq!(txn, Txn::CreateSession { timeout_ms: 30_000 });
    lab.apply_all();
    assert_eq!(lab.db.sessions().get(&SESSION), Some(&30_000));
}

#[test]
fn the_sweeper_deletes_childless_nodes_that_no_session_owns() {
    let mut lab = Lab::new();
    lab.write(&create_with(CreateOp::Container, "/k", 4))
        .unwrap();
    lab.create("/k/c").unwrap();
    lab.create_flags("/e", EPHEMERAL).unwrap();
    let record = lab.propose_bytes(op::DELETE_CONTAINER, b"/k/c");
    assert_eq!(refused(&record), Some(-6), "the sweeper is no session");
    lab.session = SessionId::NOBODY;
    for (path, error) in [
        ("/k", -111),
        ("/e", -103),
        ("/missing", -101),
        ("/", -8),
        ("k", -8),
    ] {
        let record = lab.propose_bytes(op::DELETE_CONTAINER, path.as_bytes());
        assert_eq!(refused(&record), Some(error), "{path}");
    }
    lab.session = SESSION;
    lab.propose(&delete("/k/c", -1));
    lab.session = SessionId::NOBODY;
    let record = lab.propose_bytes(op::DELETE_CONTAINER, b"/k");
    assert_eq!(
        TxnRecord::decode(&record).unwrap().header.kind,
        op::DELETE_CONTAINER
    );
    lab.apply_all();
    assert!(!lab.has("/k"));
}

#[test]
fn a_foreign_ephemeral_with_ephemeral_children_goes_without_a_panic() {
    let mut lab = Lab::new();
    for (path, mode) in [
        ("/e", CreateMode::Ephemeral),
        ("/e/c", CreateMode::Ephemeral),
    ] {
        lab.zxid = lab.zxid.next();
        let header = TxnHeader {
            session: SESSION,
            cxid: 1,
            zxid: lab.zxid,
            time: WallMs(1),
            kind: op::CREATE,
        };
        let acl = [Acl::world(perms::ALL)].into();
        let path = path.into();
        let txn = Txn::Create {
            path,
            data: None,
            acl,
            mode,
            parent_cversion: -1,
        };
        lab.db.apply(
            &TxnRecord {
                header,
                txn,
                digest: None,
            },
            &mut Vec::new(),
        );
    }
    lab.propose_bytes(op::CLOSE_SESSION, &[]);
    lab.apply_all();
    assert!(!lab.has("/e") && !lab.has("/e/c"));
}
