use super::*;
use crate::limits::{Limit, ZNODE_BYTES};

const REFUSED: i32 = -125;

/// A lab with room for so many bytes beside its first nodes.
fn room_for(bytes: u64) -> Lab {
    let used = Lab::new().db.tree().memory_bytes();
    let rules = Rules {
        memory_max: used + bytes,
        ..Rules::default()
    };
    Lab::under(&rules, crate::mutants::Mutants::NONE)
}

#[test]
fn what_grows_is_refused_and_what_shrinks_is_not() {
    let mut lab = room_for(2 * ZNODE_BYTES + 1_000);
    lab.create("/a").expect("room");
    lab.write(&set("/a", &[7; 900], -1)).expect("room");
    assert_eq!(lab.outstanding.take_refusal(), None);
    assert_eq!(lab.write(&set("/a", &[7; 2_000], -1)), Err(REFUSED));
    assert!(matches!(
        lab.outstanding.take_refusal(),
        Some(Limit::Memory { .. })
    ));
    lab.create("/b").expect("room for its node");
    assert_eq!(lab.create("/c"), Err(REFUSED));
    lab.write(&set("/a", &[7; 900], -1)).expect("no larger");
    lab.write(&set("/a", b"", -1)).expect("smaller");
    lab.delete("/b", -1).expect("deletes always pass");
    lab.create("/c").expect("there is room again");
}

#[test]
fn what_is_proposed_counts() {
    let mut lab = room_for(3 * ZNODE_BYTES);
    for name in ["/a", "/b", "/c", "/d", "/e"] {
        lab.propose(&create(name));
    }
    lab.apply_all();
    assert!(lab.db.tree().get("/b").is_some());
    assert!(
        lab.db.tree().get("/c").is_none(),
        "known before it is applied"
    );
    assert!(lab.outstanding.proposed_bytes == 0);
}

#[test]
fn without_a_limit_there_is_none() {
    let mut lab = Lab::new();
    lab.create("/a").expect("room");
    lab.write(&set("/a", &[7; 1_000_000], -1)).expect("room");
}
