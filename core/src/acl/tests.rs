use super::*;

fn id(scheme: &str, id: &str) -> Id {
    Id {
        scheme: scheme.into(),
        id: id.into(),
    }
}

fn open() -> Rules {
    Rules::default()
}

fn acl(perms: i32, scheme: &str, text: &str) -> Acl {
    Acl {
        perms,
        id: id(scheme, text),
    }
}

fn is_invalid(scheme: &str, text: &str) -> bool {
    resolve(&open(), &[acl(31, scheme, text)], &[]) == Err(ErrorCode::InvalidAcl)
}

#[test]
fn digest_identities_match_the_published_vectors() {
    let vectors = [
        ("super:test", "super:D/InIHSb7yEEbrWz8b9l71RjZJU="),
        ("user1:12345", "user1:+owfoSBn/am19roBPzR1/MfCblE="),
        ("bob", "bob:SBgazSKz7a68ikR4aKfffOYpkgo="),
        ("a:b:c", "a:cLzgnoJ6mP5qz3w+mwvPE2vDgu0="),
    ];
    for (auth, expected) in vectors {
        assert_eq!(digest_identity(auth.as_bytes()), id("digest", expected));
    }
}

#[test]
fn one_granted_bit_of_the_mask_is_enough() {
    let list = [Acl::world(perms::READ)];
    assert!(allows(&open(), &list, perms::READ, &[]));
    assert!(allows(&open(), &list, perms::READ | perms::ADMIN, &[]));
    assert!(!allows(&open(), &list, perms::ADMIN, &[]));
}

#[test]
fn an_empty_list_allows_everybody_and_super_is_allowed_everywhere() {
    assert!(allows(&open(), &[], perms::WRITE, &[]));
    let nobody = [acl(0, "digest", "a:b")];
    assert!(!allows(&open(), &nobody, perms::WRITE, &[]));
    assert!(allows(&open(), &nobody, perms::WRITE, &[id("super", "")]));
}

#[test]
fn digest_matches_by_equality_only() {
    let list = [acl(perms::WRITE, "digest", "u:h")];
    assert!(allows(
        &open(),
        &list,
        perms::WRITE,
        &[id("ip", "1.2.3.4"), id("digest", "u:h")]
    ));
    assert!(!allows(
        &open(),
        &list,
        perms::WRITE,
        &[id("digest", "u:x")]
    ));
    assert!(!allows(&open(), &list, perms::WRITE, &[id("ip", "u:h")]));
}

#[test]
fn ip_matches_under_the_prefix_within_one_family() {
    let loopback = [acl(31, "ip", "127.0.0.0/8")];
    assert!(allows(
        &open(),
        &loopback,
        perms::READ,
        &[id("ip", "127.0.0.1")]
    ));
    assert!(!allows(
        &open(),
        &loopback,
        perms::READ,
        &[id("ip", "128.0.0.1")]
    ));
    assert!(!allows(
        &open(),
        &loopback,
        perms::READ,
        &[id("ip", "0:0:0:0:0:0:0:1")]
    ));
    let all = [acl(31, "ip", "9.9.9.9/0")];
    assert!(allows(&open(), &all, perms::READ, &[id("ip", "1.2.3.4")]));
    let v6 = [acl(31, "ip", "2001:db8::/32")];
    assert!(allows(
        &open(),
        &v6,
        perms::READ,
        &[id("ip", "2001:db8:0:0:0:0:0:1")]
    ));
    assert!(!allows(
        &open(),
        &v6,
        perms::READ,
        &[id("ip", "2001:db9:0:0:0:0:0:1")]
    ));
    assert!(!allows(
        &open(),
        &v6,
        perms::READ,
        &[id("ip", "32.1.13.184")]
    ));
    let all_v6 = [acl(31, "ip", "::/0")];
    assert!(allows(
        &open(),
        &all_v6,
        perms::READ,
        &[id("ip", "2001:db9:0:0:0:0:0:1")]
    ));
}

#[test]
fn ip_identities_are_written_as_java_writes_them() {
    assert_eq!(
        ip_identity("10.0.0.1".parse().unwrap()),
        id("ip", "10.0.0.1")
    );
    assert_eq!(
        ip_identity("::1".parse().unwrap()),
        id("ip", "0:0:0:0:0:0:0:1")
    );
    assert_eq!(
        ip_identity("::ffff:10.0.0.1".parse().unwrap()),
        id("ip", "10.0.0.1")
    );
}

#[test]
fn empty_lists_and_unknown_schemes_are_invalid() {
    assert_eq!(resolve(&open(), &[], &[]), Err(ErrorCode::InvalidAcl));
    for (scheme, text) in [
        ("world", "foo"),
        ("super", ""),
        ("x509", "CN=a"),
        ("sasl", "bob"),
        ("foo", "bar"),
        ("", "anyone"),
    ] {
        assert!(is_invalid(scheme, text), "{scheme}:{text}");
    }
}

#[test]
fn malformed_ip_ids_are_invalid() {
    for text in [
        "300.1.1.1",
        "1.2.3",
        "1.2.3.4.5",
        "10.0.0.0/33",
        "10.0.0.0/-1",
        "10.0.0.0/x",
        "10.0.0.0/8/8",
        "",
        "::1/129",
        "1::2::3",
        "::ffff:1.2.3.4",
        "host",
    ] {
        assert!(is_invalid("ip", text), "{text}");
    }
    for text in [
        "10.0.0.0/0",
        "10.0.0.0/32",
        "1.2.3.4",
        "::1",
        "::1/128",
        "1:2:3:4:5:6:7:8",
    ] {
        assert!(!is_invalid("ip", text), "{text}");
    }
}

#[test]
fn digest_ids_have_exactly_two_parts() {
    for text in ["u", "u:", ":", "", "a:b:c", "::c"] {
        assert!(is_invalid("digest", text), "{text}");
    }
    for text in ["u:h", ":h", "u:h:", "u:h::"] {
        assert!(!is_invalid("digest", text), "{text}");
    }
}

#[test]
fn duplicates_are_stored_once_in_the_order_of_the_request() {
    let (a, b) = (acl(31, "digest", "z:h"), Acl::world(1));
    let list = [a.clone(), b.clone(), a.clone()];
    assert_eq!(resolve(&open(), &list, &[]), Ok([a, b].into()));
}

#[test]
fn zero_permissions_are_stored_as_given() {
    let list = [Acl::world(0)];
    assert_eq!(resolve(&open(), &list, &[]), Ok(list.into()));
}

#[test]
fn auth_becomes_one_entry_per_proven_identity() {
    let request = [acl(5, "auth", "ignored")];
    assert_eq!(
        resolve(&open(), &request, &[id("ip", "1.2.3.4")]),
        Err(ErrorCode::InvalidAcl)
    );
    let who = [
        id("ip", "1.2.3.4"),
        id("digest", "u:h"),
        id("digest", "v:i"),
    ];
    let expected = [acl(5, "digest", "u:h"), acl(5, "digest", "v:i")];
    assert_eq!(resolve(&open(), &request, &who), Ok(expected.into()));
}

#[test]
fn auth_can_not_blow_a_list_up_without_bound() {
    let who: Vec<Id> = (0..1_000)
        .map(|n| id("digest", &format!("user{n}:hash")))
        .collect();
    let request: Vec<Acl> = (0..10_000).map(|perms| acl(perms, "auth", "")).collect();
    assert_eq!(resolve(&open(), &request, &who), Err(ErrorCode::InvalidAcl));
}

#[test]
fn get_acl_hides_hashes_from_readers_without_admin() {
    let list = [acl(perms::ALL, "digest", "u:h"), Acl::world(perms::READ)];
    let hidden = [acl(perms::ALL, "digest", "u:x"), Acl::world(perms::READ)];
    assert_eq!(*visible(&open(), &list, &[]), hidden);
    assert_eq!(*visible(&open(), &list, &[id("digest", "u:h")]), list);
    assert_eq!(*visible(&open(), &[], &[]), [Acl::world(perms::ALL)]);
}

#[test]
fn without_its_provider_digest_is_an_unknown_scheme() {
    let rules = Rules {
        digest_auth: false,
        ..open()
    };
    let who = [id("digest", "u:h")];
    let entry = acl(31, "digest", "u:h");
    let list = [entry.clone()];
    assert!(!allows(&rules, &list, perms::READ, &who));
    assert_eq!(resolve(&rules, &list, &who), Err(ErrorCode::InvalidAcl));
    let auth = [acl(31, "auth", "")];
    assert_eq!(resolve(&rules, &auth, &who), Err(ErrorCode::InvalidAcl));
    assert_eq!(prove(&rules, "digest", Some(b"u:p")), None);
    // What is stored already is still hidden.
    let mixed = [entry, Acl::world(perms::READ)];
    assert_eq!(visible(&rules, &mixed, &who)[0].id.id, "u:x");
}

#[test]
fn skipped_lists_allow_everything_but_must_still_be_valid() {
    let rules = Rules {
        skip_acl: true,
        ..open()
    };
    let nobody = [acl(0, "digest", "u:h")];
    assert!(allows(&rules, &nobody, perms::WRITE, &[]));
    assert_eq!(*visible(&rules, &nobody, &[]), nobody, "nothing is hidden");
    assert_eq!(resolve(&rules, &[], &[]), Err(ErrorCode::InvalidAcl));
}

#[test]
fn the_super_digest_proves_two_identities() {
    let rules = Rules {
        super_digest: Some("super:D/InIHSb7yEEbrWz8b9l71RjZJU=".into()),
        ..open()
    };
    let proven = prove(&rules, "digest", Some(b"super:test")).unwrap();
    let digest = digest_identity(b"super:test");
    assert_eq!(proven, [id("super", ""), digest]);
    let other = prove(&rules, "digest", Some(b"super:other")).unwrap();
    assert_eq!(other, [digest_identity(b"super:other")]);
    assert_eq!(prove(&rules, "ip", None), Some(Vec::new()));
    assert_eq!(prove(&rules, "digest", None), None);
}

#[test]
fn ipv6_text_is_read_as_java_reads_it() {
    for text in [
        "::",
        "1::",
        "1:2:3:4:5:6:7::",
        "::2:3:4:5:6:7:8",
        "-1::",
        "+a::/16",
    ] {
        assert!(!is_invalid("ip", text), "{text}");
    }
    let odd = [
        ":::",
        ":1",
        "1:",
        "12345::",
        "g::",
        "1:2:3:4:5:6:7",
        "1:2:3:4:5:6:7:8:9",
        "1:2:3:4:5:6:7::8",
        "1:2:3:4:5:6:7:8::",
        "fe80::1%eth0",
    ];
    for text in odd {
        assert!(is_invalid("ip", text), "{text}");
    }
    let list = [acl(31, "ip", "-1::1:2")];
    assert!(allows(
        &open(),
        &list,
        perms::READ,
        &[id("ip", "ffff:0:0:0:0:0:1:2")]
    ));
}
