use alloc::string::ToString;

use super::*;
use crate::config::Rules;
use crate::mutants::Mutants;
use crate::prepare::lab::{Lab, create, create_with, created, delete, set};
use crate::snapshot::SnapshotLoader;
use crate::wire::client::{CreateOp, Request};
use crate::wire::records::Acl;

const Q_LIMITS: &str = "/zookeeper/quota/q/zookeeper_limits";
const Q_STATS: &str = "/zookeeper/quota/q/zookeeper_stats";

fn with_data<'a>(path: &'a str, data: &'a [u8]) -> Request<'a> {
    Request::Create {
        kind: CreateOp::Create2,
        path: path.into(),
        data: Some(data),
        acl: Some([Acl::world(31)].into()),
        flags: 0,
    }
}

fn enforcing() -> Lab {
    let rules = Rules {
        enforce_quota: true,
        ..Rules::default()
    };
    Lab::under(&rules, Mutants::NONE)
}

/// `/q` with these limits, in the order in which `setquota` makes the nodes.
fn limited(mut lab: Lab, limits: &str) -> Lab {
    lab.write(&with_data("/q", b"12345")).unwrap();
    lab.create("/zookeeper/quota/q").unwrap();
    lab.write(&with_data(Q_LIMITS, limits.as_bytes())).unwrap();
    lab.write(&with_data(Q_STATS, b"count=0,bytes=0")).unwrap();
    lab
}

fn shown(lab: &Lab, path: &str) -> String {
    let data = lab.db.tree().get(path).expect("it exists").data();
    String::from_utf8(data.expect("not null").to_vec()).unwrap()
}

fn reloaded(lab: &mut Lab) -> crate::database::Database {
    let id = lab.db.begin_walk();
    let mut bytes = Vec::new();
    while lab.db.walk(id, 1_000, &mut bytes) == crate::database::Walked::More {}
    let mut loader = SnapshotLoader::new(3, Mutants::NONE);
    loader.feed(&bytes).unwrap();
    loader.finish(lab.db.walk_zxid(id)).unwrap()
}

#[test]
fn stats_show_what_the_subtree_holds_and_their_stat_stands_still() {
    let mut lab = limited(Lab::new(), "count=9,bytes=9");
    assert_eq!(shown(&lab, Q_STATS), "count=1,bytes=5");
    let before = lab.stat(Q_STATS);
    lab.write(&with_data("/q/a", b"xyz")).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=8");
    assert_eq!(lab.changes.len(), 2, "nobody hears of the stats");
    lab.set("/q/a", b"1234567890", -1).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=15");
    assert_eq!(lab.changes.len(), 1);
    lab.create("/qq").unwrap();
    lab.create("/other").unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=15");
    lab.delete("/q/a", -1).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=1,bytes=5");
    let after = lab.stat(Q_STATS);
    assert_eq!(
        (after.version, after.mzxid, after.mtime),
        (0, before.mzxid, before.mtime)
    );
    assert_eq!(after, before, "of equal length again");
}

#[test]
fn multis_sessions_and_sweeps_count_too() {
    let mut lab = limited(Lab::new(), "count=9");
    let sub = [
        create("/q/a"),
        create("/q/b"),
        delete("/q/a", -1),
        set("/q/b", b"yy", -1),
    ];
    assert_eq!(lab.multi(sub.into()), [0, 0, 0, 0]);
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=7");
    assert_eq!(
        lab.multi([create("/q/c"), create("/q/c")].into()),
        [0, -110]
    );
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=7");
    lab.create_flags("/q/e", 1).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=3,bytes=8");
    lab.write(&Request::CloseSession).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=7");
}

#[test]
fn what_is_created_as_stats_is_replaced_and_answered_as_it_was_sent() {
    let mut lab = Lab::new();
    lab.write(&with_data("/q", b"12345")).unwrap();
    lab.create("/zookeeper/quota/q").unwrap();
    let outcome = lab.write(&with_data(Q_STATS, b"anything at all")).unwrap();
    assert_eq!(created(&outcome).1.data_length, 15);
    assert_eq!(shown(&lab, Q_STATS), "count=1,bytes=5");
    lab.create("/q/a").unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=1,bytes=5", "not marked yet");
    lab.create(Q_LIMITS).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=6");
    lab.create("/q/b").unwrap();
    lab.delete(Q_LIMITS, -1).unwrap();
    lab.create("/q/c").unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=3,bytes=7", "no longer marked");
    lab.set(Q_STATS, b"mine", -1).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "mine");
}

#[test]
fn nobody_writes_other_stats_than_the_true_ones() {
    let mut lab = limited(Lab::new(), "");
    let stat = lab.set(Q_STATS, b"not even readable", -1).unwrap();
    assert_eq!((stat.version, stat.data_length), (1, 17));
    assert_eq!(shown(&lab, Q_STATS), "count=1,bytes=5");
    lab.delete(Q_STATS, -1).unwrap();
    lab.create("/q/a").unwrap();
    lab.create(Q_STATS).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=2,bytes=6");
}

#[test]
fn a_subtree_may_come_later_and_go_and_lie_in_another() {
    let mut lab = Lab::new();
    for path in [
        "/zookeeper/quota/q",
        "/zookeeper/quota/q/r",
        Q_LIMITS,
        Q_STATS,
    ] {
        lab.create(path).unwrap();
    }
    assert_eq!(shown(&lab, Q_STATS), "count=0,bytes=0");
    lab.create("/zookeeper/quota/q/r/zookeeper_limits").unwrap();
    let inner = "/zookeeper/quota/q/r/zookeeper_stats";
    lab.create(inner).unwrap();
    lab.create("/q").unwrap();
    lab.create("/q/r").unwrap();
    assert_eq!(shown(&lab, inner), "count=1,bytes=1");
    assert_eq!(
        shown(&lab, Q_STATS),
        "count=2,bytes=2",
        "the inner one is in it"
    );
    let marked: Vec<_> = lab
        .db
        .quotas()
        .iter()
        .map(|(path, _)| path.to_string())
        .collect();
    assert_eq!(marked, ["/q", "/q/r"]);
    lab.delete("/q/r", -1).unwrap();
    lab.delete("/q", -1).unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=0,bytes=0");
}

#[test]
fn a_snapshot_brings_the_marks_and_the_true_stats() {
    let mut lab = limited(Lab::new(), "count=9");
    lab.create("/q/a").unwrap();
    let mut loaded = reloaded(&mut lab);
    assert!(loaded.quotas().iter().eq(lab.db.quotas().iter()));
    assert_eq!(loaded.digest(), lab.db.digest());
    core::mem::swap(&mut loaded, &mut lab.db);
    lab.create("/q/b").unwrap();
    assert_eq!(shown(&lab, Q_STATS), "count=3,bytes=7");
}

#[test]
fn the_whole_tree_and_the_servers_own_part_have_no_quota() {
    let mut lab = enforcing();
    assert_eq!(lab.create("/zookeeper/quota/zookeeper_limits"), Err(-8));
    lab.create("/zookeeper/quota/zookeeper_stats").unwrap();
    for path in [
        "/zookeeper/quota/zookeeper",
        "/zookeeper/quota/zookeeper/zookeeper_limits",
        "/zookeeper/quotas",
        "/zookeeper/quotas/zookeeper_limits",
        "/zookeeper/quota/zookeeperx",
    ] {
        lab.create(path).unwrap();
    }
    assert_eq!(lab.db.quotas().iter().count(), 0);
    lab.create("/zookeeper/quota/zookeeperx/zookeeper_limits")
        .unwrap();
    assert_eq!(lab.db.quotas().iter().count(), 1);
}

#[test]
fn a_hard_count_refuses_and_a_soft_one_only_tells() {
    let mut lab = limited(
        enforcing(),
        "count=2,bytes=-1=;byteHardLimit=-1;countHardLimit=3",
    );
    lab.create("/q/a").unwrap();
    assert!(lab.outstanding.take_excesses().is_empty());
    lab.create("/q/b").unwrap();
    assert_eq!(lab.create("/q/c"), Err(-125));
    assert_eq!(lab.create_flags("/q/s", 2), Err(-125));
    assert_eq!(lab.multi([create("/q/c")].into()), [-125]);
    lab.set("/q/a", b"a longer one", -1).unwrap();
    let excess = lab.outstanding.take_excesses().pop().unwrap();
    assert_eq!(
        (excess.path.as_str(), excess.measure),
        ("/q", Measure::Count)
    );
    assert_eq!((excess.is_hard, excess.value, excess.limit), (true, 4, 3));
    lab.delete("/q/b", -1).unwrap();
    lab.create("/q/c").unwrap();
    let mut soft = limited(enforcing(), "count=1,bytes=-1");
    soft.create("/q/a").unwrap();
    let excess = soft.outstanding.take_excesses().pop().unwrap();
    assert_eq!((excess.is_hard, excess.value, excess.limit), (false, 2, 1));
}

#[test]
fn nothing_is_refused_and_nothing_told_where_quotas_are_not_enforced() {
    let mut lab = limited(Lab::new(), "countHardLimit=1;byteHardLimit=1");
    lab.create("/q/a").unwrap();
    lab.set("/q/a", b"a longer one", -1).unwrap();
    assert!(lab.outstanding.take_excesses().is_empty());
}

#[test]
fn hard_bytes_judge_each_difference_but_none() {
    let mut lab = limited(enforcing(), "byteHardLimit=6");
    lab.create("/q/a").unwrap();
    assert!(lab.set("/q/a", b"y", -1).is_ok(), "equal length");
    assert_eq!(lab.set("/q/a", b"yy", -1), Err(-125));
    assert_eq!(lab.set("/q/a", b"yy", 7), Err(-125), "before the version");
    assert_eq!(lab.write(&with_data("/q/b", b"x")), Err(-125));
    lab.write(&with_data("/q/b", b"")).unwrap();
    lab.set(Q_LIMITS, b"byteHardLimit=2", -1).unwrap();
    assert_eq!(
        lab.set("/q", b"1234", -1),
        Err(-125),
        "shrinking, and still above"
    );
    assert!(lab.set("/q", b"54321", -1).is_ok(), "as long as before");
    assert!(lab.set("/q", b"1", -1).is_ok());
    // Deletes are always allowed.
    lab.set(Q_LIMITS, b"byteHardLimit=0", -1).unwrap();
    lab.delete("/q/a", -1).unwrap();
}

#[test]
fn what_is_under_way_is_not_counted_but_its_data_is_compared() {
    let mut lab = limited(enforcing(), "countHardLimit=2;byteHardLimit=7");
    for path in ["/q/a", "/q/b", "/q/c"] {
        lab.propose(&with_data(path, b""));
    }
    lab.propose(&set("/q", b"1234567", -1));
    lab.propose(&set("/q", b"1234567", -1));
    lab.apply_all();
    assert_eq!(shown(&lab, Q_STATS), "count=4,bytes=7");
    assert_eq!(lab.stat("/q").version, 2);
}

#[test]
fn only_the_deepest_limits_judge_and_only_with_stats() {
    let mut lab = limited(enforcing(), "countHardLimit=1");
    lab.create("/zookeeper/quota/q/r").unwrap();
    lab.create("/zookeeper/quota/q/r/zookeeper_limits").unwrap();
    assert!(lab.create("/q/r").is_ok(), "no stats, no judgement");
    lab.create("/zookeeper/quota/q/r/zookeeper_stats").unwrap();
    assert!(lab.create("/q/r/s").is_ok(), "the inner one has no limits");
    assert_eq!(lab.create("/q/s"), Err(-125));
}

#[test]
fn quota_comes_after_all_checks_of_a_create() {
    let mut lab = limited(enforcing(), "countHardLimit=1");
    assert_eq!(lab.create("/q/a\u{1}"), Err(-8));
    assert_eq!(lab.create("/q"), Err(-110));
    assert_eq!(lab.create("/q/a/b"), Err(-101));
    assert_eq!(
        lab.write(&create_with(CreateOp::Container, "/q/k", 4)),
        Err(-125)
    );
}

#[test]
fn limits_are_read_as_zookeeper_writes_them_and_rubbish_limits_nothing() {
    let limits = |text: &str| Limits::parse(text.as_bytes());
    let written = limits("count=5,bytes=-1=;byteHardLimit=100;countHardLimit=6");
    assert_eq!(
        written,
        Limits {
            count: Some(5),
            bytes: None,
            count_hard: Some(6),
            bytes_hard: Some(100),
        }
    );
    assert_eq!(limits("count=,bytes=7").bytes, Some(7));
    for text in [
        "",
        "count",
        "count=",
        "count=x",
        "=5",
        "count=9999999999999999999",
        "\u{1f600};,",
    ] {
        assert_eq!(limits(text), Limits::default(), "{text:?}");
    }
}
