//! Each known bug, put back, is visible to a client.

use core::time::Duration;

use super::*;
use crate::mutants::Mutants;

#[test]
fn own_write_not_seen() {
    let mut lab = Lab::with(Mutants::with(Mutant::OwnWriteNotSeen));
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    lab.ask(A, 2, &exists("/a", false));
    lab.commit_all();
    assert_eq!(lab.xids(A), [(1, 0), (2, -101)]);
}

#[test]
fn watch_after_read() {
    let mut lab = Lab::with(Mutants::with(Mutant::WatchAfterRead));
    lab.join(A);
    lab.ask(A, 1, &exists("/a", true));
    lab.ask(A, 2, &create("/a"));
    lab.commit_all();
    lab.ask(A, 3, &exists("/a", false));
    let frames = lab.frames(A);
    let xids: Vec<_> = frames.iter().map(|f| f.xid).collect();
    assert_eq!(xids, [1, 2, 3, -1]);
}

#[test]
fn last_zxid_seen_ignored() {
    let mut lab = Lab::with(Mutants::with(Mutant::LastZxidSeenIgnored));
    lab.open(A);
    lab.send(A, &hello(SessionId(0), &[0; 16], i64::MAX));
    lab.commit_all();
    assert!(lab.handshake(A).timeout_ms > 0);
}

#[test]
fn follower_expires() {
    let mut lab = Lab::with(Mutants::with(Mutant::FollowerExpires));
    let owner = lab.join(A);
    lab.wake(Duration::from_secs(60));
    lab.commit_all();
    assert!(!lab.db.sessions().contains_key(&owner.session));
}

#[test]
fn watch_fires_twice() {
    let mut lab = Lab::with(Mutants::with(Mutant::WatchFiresTwice));
    lab.join(A);
    lab.ask(A, 1, &exists("/a", true));
    lab.ask(A, 2, &create("/a"));
    lab.ask(A, 3, &set_data("/a", b""));
    lab.commit_all();
    assert_eq!(
        lab.frames(A).iter().filter(|f| f.event().is_some()).count(),
        2
    );
}

#[test]
fn multi_read_torn() {
    let mut lab = Lab::with(Mutants::with(Mutant::MultiReadTorn));
    lab.join(A);
    lab.ask(A, 1, &create("/a"));
    let both = alloc::vec![get_data("/a", false), get_data("/a", false)];
    lab.ask(A, 2, &Request::MultiRead(both));
    lab.commit_all();
    let frames = lab.frames(A);
    let Reply::Multi(results) = frames[1].reply(op::MULTI_READ) else {
        panic!("{frames:?}");
    };
    assert_eq!(results[0], MultiResult::Error(-101));
    assert!(matches!(results[1], MultiResult::Data { .. }));
}
