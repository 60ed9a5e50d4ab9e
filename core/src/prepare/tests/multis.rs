use super::*;

#[test]
fn operations_see_the_earlier_ones_and_share_one_zxid() {
    let mut lab = Lab::new();
    let ops = [create("/a"), create("/a/b"), set("/a/b", b"y", 0)];
    assert_eq!(lab.multi(ops.into()), [0, 0, 0]);
    let (a, b) = (lab.stat("/a"), lab.stat("/a/b"));
    assert_eq!([a.czxid, a.pzxid, b.czxid, b.mzxid], [lab.zxid.0; 4]);
    assert_eq!(b.version, 1);
}

#[test]
fn the_first_failure_names_itself_and_stops_the_rest() {
    let mut lab = Lab::new();
    assert_eq!(lab.multi([create("/a"), create("/a")].into()), [0, -110]);
    assert!(!lab.has("/a"));
    assert_eq!(fired(&lab), []);
    let ops = [check("/missing", -1), create("/a"), delete("/b", -1)];
    assert_eq!(lab.multi(ops.into()), [-101, -2, -2]);
}

#[test]
fn a_failed_multi_keeps_its_kind_and_the_earlier_bodies() {
    let mut lab = Lab::new();
    let record = lab.propose(&Request::Multi(
        [create("/a"), create("/a"), create("/b")].into(),
    ));
    let record = TxnRecord::decode(&record).unwrap();
    assert_eq!(record.header.kind, op::MULTI);
    let Txn::Multi(subs) = record.txn else {
        panic!("{:?}", record.txn)
    };
    assert_eq!(subs[0].kind, op::CREATE);
    assert!(matches!(&subs[0].txn, Txn::Create { path, .. } if path == "/a"));
    assert_eq!(
        (subs[1].kind, &subs[1].txn),
        (op::ERROR, &Txn::Error { code: -110 })
    );
    assert_eq!(
        (subs[2].kind, &subs[2].txn),
        (op::ERROR, &Txn::Error { code: -2 })
    );
    assert_eq!(record.digest, Some(lab.db.digest()), "nothing changes");
    assert!(lab.outstanding.is_empty());
}

#[test]
fn check_looks_at_existence_permission_and_version() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.create_acl("/secret", &[Acl::world(perms::ALL & !perms::READ)])
        .unwrap();
    assert_eq!(lab.multi([check("/a", 0)].into()), [0]);
    assert_eq!(lab.multi([check("/a", -1)].into()), [0]);
    assert_eq!(lab.multi([check("/a", 7)].into()), [-103]);
    assert_eq!(lab.multi([check("/secret", 7)].into()), [-102]);
    assert_eq!(lab.multi([check("a", 7)].into()), [-8]);
}

#[test]
fn a_node_may_be_replaced_in_one_multi() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    assert_eq!(lab.multi([delete("/a", 0), create("/a")].into()), [0, 0]);
    assert_eq!(lab.stat("/a").czxid, lab.zxid.0);
}

#[test]
fn sequence_numbers_run_on_inside_a_multi_and_back_when_it_fails() {
    let mut lab = Lab::new();
    lab.create("/p").unwrap();
    let ops = [sequential("/p/n"), sequential("/p/n"), sequential("/p/n")];
    assert_eq!(lab.multi(ops.into()), [0, 0, 0]);
    assert!(lab.has("/p/n0000000002"));
    assert_eq!(
        lab.multi([sequential("/p/n"), delete("/missing", -1)].into()),
        [0, -101]
    );
    assert_eq!(
        lab.create_flags("/p/n", SEQUENTIAL),
        Ok("/p/n0000000003".into())
    );
}

#[test]
fn a_failed_multi_leaves_earlier_proposals_as_they_were() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.propose(&set("/a", b"1", 0));
    lab.propose(&create_with(CreateOp::Create, "/e", EPHEMERAL));
    let ops = [
        set("/a", b"2", 1),
        set("/a", b"3", 2),
        delete("/e", -1),
        create("/e"),
        delete("/e", -1),
        create_with(CreateOp::Create, "/f", EPHEMERAL),
        check("/a", 1),
    ];
    lab.propose(&Request::Multi(ops.into()));
    assert_eq!(refused(&lab.propose(&set("/a", b"4", 1))), None);
    let record = lab.propose_bytes(op::CLOSE_SESSION, &[]);
    let Txn::CloseSession { paths } = TxnRecord::decode(&record).unwrap().txn else {
        panic!()
    };
    assert_eq!(paths.unwrap(), ["/e"]);
    lab.apply_all();
    assert!(!lab.has("/e") && !lab.has("/f"));
}

#[test]
fn an_empty_multi_succeeds() {
    let mut lab = Lab::new();
    assert_eq!(lab.multi(Vec::new()), []);
}

#[test]
fn a_refused_session_fails_the_first_operation() {
    let mut lab = Lab::new();
    lab.refuse = Some(Refusal::Everything(ErrorCode::SessionMoved));
    assert_eq!(lab.multi([create("/a"), create("/b")].into()), [-118, -2]);
}

#[test]
fn what_may_not_stand_in_a_multi_makes_it_unreadable() {
    let mut lab = Lab::new();
    let acl = Some([Acl::world(perms::ALL)].into());
    let no_acl = Request::Create {
        kind: CreateOp::Create,
        path: "/n".into(),
        data: None,
        acl: None,
        flags: 0,
    };
    for bad in [
        Request::SetAcl {
            path: "/".into(),
            acl,
            version: -1,
        },
        Request::GetData {
            path: "/".into(),
            watch: false,
        },
        Request::CloseSession,
        no_acl,
        create_with(CreateOp::Create, "/n", 9),
        create_with(CreateOp::Create2, "/n", -1),
        create_with(CreateOp::Create, "/n", 5),
        create_with(CreateOp::Container, "/n", 6),
    ] {
        let multi = Request::Multi([create("/a"), bad.clone()].into());
        assert_eq!(lab.write(&multi), Err(-5), "{bad:?}");
        assert!(!lab.has("/a"));
    }
}

#[test]
fn flags_decide_which_create_stands_in_a_multi() {
    let mut lab = Lab::new();
    let ops = [
        create_with(CreateOp::Create, "/k", 4),
        create_with(CreateOp::Ttl(5), "/p", 0),
        create_with(CreateOp::Create2, "/c", 0),
        create_with(CreateOp::Ttl(5), "/l", 4),
    ];
    let record = lab.propose(&Request::Multi(ops.into()));
    let Txn::Multi(subs) = TxnRecord::decode(&record).unwrap().txn else {
        panic!()
    };
    let kinds: Vec<i32> = subs.iter().map(|sub| sub.kind).collect();
    let (container, create2) = (op::CREATE_CONTAINER, op::CREATE2);
    assert_eq!(kinds, [container, op::CREATE, create2, container]);
    lab.apply_all();
    assert_eq!(
        lab.multi([create_with(CreateOp::Ttl(5), "/t", 5)].into()),
        [-6]
    );
    assert_eq!(
        lab.multi([create_with(CreateOp::Ttl(5), "/t", 9)].into()),
        [-8]
    );
}

#[test]
fn changes_fire_in_the_order_of_the_operations() {
    let mut lab = Lab::new();
    lab.create("/a").unwrap();
    lab.multi([set("/a", b"", -1), create("/b"), delete("/a", -1)].into());
    let expected = [
        (ChangeKind::DataChanged, "/a"),
        (ChangeKind::Created, "/b"),
        (ChangeKind::ChildrenChanged, "/"),
        (ChangeKind::Deleted, "/a"),
        (ChangeKind::ChildrenChanged, "/"),
    ];
    let expected: Vec<_> = expected
        .map(|(kind, path)| (kind, String::from(path)))
        .into();
    assert_eq!(fired(&lab), expected);
}

#[test]
fn a_multi_that_does_not_end_is_unreadable() {
    let mut lab = Lab::new();
    let mut body = Vec::new();
    MultiHeader {
        op: op::DELETE,
        done: false,
        error: -1,
    }
    .write(&mut body);
    delete("/a", -1).encode(&mut body);
    assert_eq!(refused(&lab.propose_bytes(op::MULTI, &body)), Some(-5));
    lab.apply_all();
}

#[test]
fn containers_and_ttl_nodes_keep_their_kind_in_a_multi() {
    let mut lab = extended();
    let ops = [
        create_with(CreateOp::Container, "/k", 4),
        create_with(CreateOp::Create, "/k2", 4),
        create_with(CreateOp::Ttl(7), "/t", 6),
    ];
    let outcome = lab.write(&Request::Multi(ops.into())).unwrap();
    let Outcome::Multi(results) = outcome else {
        panic!("{outcome:?}")
    };
    let kinds: Vec<i32> = results.iter().map(|(kind, _)| *kind).collect();
    let expected = [op::CREATE_CONTAINER, op::CREATE_CONTAINER, op::CREATE_TTL];
    assert_eq!(kinds, expected);
    let stored = |path| *lab.db.tree().get(path).unwrap().stored();
    assert!(stored("/k").is_container() && stored("/k2").is_container());
    assert_eq!(stored("/t0000000002").ttl_ms(), Some(7));
    assert_eq!(
        lab.multi([create_with(CreateOp::Ttl(0), "/z", 5)].into()),
        [-8]
    );
    lab = Lab::new();
    assert_eq!(
        lab.multi([create_with(CreateOp::Ttl(7), "/t", 5)].into()),
        [-6]
    );
}
