//! Failures of recovery that ZooKeeper is known for and that need more than one server; those of
//! one directory are in `core/storage/src/tests/known.rs`.
//!
//! - 962, 1319, 1551, 2355, 4394: what is committed while a learner takes a DIFF never reaches it,
//!   or counts before it has come: `a_diff_cut_off_anywhere_leaves_no_hole`
//! - 1154, 5094: a tail that has no quorum is not cut, or in memory only:
//!   `a_tail_is_cut_on_disk_wherever_the_leader_is_lost`
//! - 1549, 1558: a candidate's snapshot holds what has no quorum:
//!   `a_candidate_takes_no_snapshot_of_what_has_no_quorum`
//! - 2845: what was logged and never applied is not part of the offer:
//!   `what_is_logged_is_offered_applied_or_not`
//! - 3642, 3104: half a snapshot counts as state, or is acknowledged: `half_a_snapshot_is_no_state`
//! - 4352, 4925: what came by DIFF or SNAP is missing in what this server sends to others later:
//!   `who_was_synchronized_hands_on_all_of_it`
//! - 4362: requests that are no transactions bring the next snapshot nearer:
//!   `only_transactions_count_towards_a_snapshot`

use std::collections::BTreeSet;

use vivarium_core::config::Rules;
use vivarium_core::ids::ServerId;
use vivarium_core::wire::client::Request;

use crate::client::{create, exists, followers, has, join};
use crate::leader;
use crate::world::World;

fn three() -> World {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(3_000);
    world
}

/// How many snapshots this server has taken.
fn snapshots(world: &World, id: ServerId) -> usize {
    let reports = world.reports(id).iter();
    reports.filter(|r| r.starts_with("SnapshotTaken")).count()
}

/// Creates so many nodes through a server.
fn write(world: &mut World, at: ServerId, prefix: &str, count: usize, data: &[u8]) {
    let (conn, _) = join(world, at);
    for number in 0..count {
        let path = format!("{prefix}{number}");
        let mut request = create(&path, 0);
        if let Request::Create { data: place, .. } = &mut request {
            *place = Some(data);
        }
        world.ask(at, conn, &[(1, request)]);
        world.run_ms(5);
    }
}

#[test]
fn a_candidate_takes_no_snapshot_of_what_has_no_quorum() {
    let mut world = three();
    let old = leader(&world);
    write(&mut world, old, "/n", 20, b"x");
    let others = followers(&world);
    let (conn, _) = join(&mut world, old);
    // Nobody hears of these but the leader's own disk.
    for &id in &others {
        world.crash(id);
    }
    let paths: Vec<String> = (0..20).map(|n| format!("/stray{n}")).collect();
    let requests: Vec<_> = paths.iter().map(|path| (1, create(path, 0))).collect();
    world.ask(old, conn, &requests);
    world.run_ms(20);
    world.crash(old);
    let before = snapshots(&world, old);
    // It wants to lead, alone, with a log that ends later than all others.
    world.start(old);
    world.run_ms(20_000);
    assert!(world.status(old).established.is_none());
    assert!(has(&world, "/stray0")[0], "its log was replayed");
    assert_eq!(snapshots(&world, old), before, "no snapshot of it");
    world.crash(old);
    for &id in &others {
        world.start(id);
    }
    world.run_ms(5_000);
    write(&mut world, others[0], "/later", 5, b"x");
    world.start(old);
    world.run_ms(5_000);
    assert_eq!(has(&world, "/stray0"), [false; 3]);
    assert_eq!(has(&world, "/later4"), [true; 3]);
    world.assert_equal_digests();
    // Nor does it come back with the next start.
    world.crash(old);
    world.start(old);
    world.run_ms(5_000);
    assert_eq!(has(&world, "/stray0"), [false; 3]);
    world.assert_equal_digests();
}

#[test]
fn what_is_logged_is_offered_applied_or_not() {
    let mut world = three();
    let old = leader(&world);
    let (conn, _) = join(&mut world, old);
    world.ask(old, conn, &[(1, create("/last", 0))]);
    // The proposal is on its way; its commit will never be sent.
    world.crash(old);
    world.run_ms(10_000);
    let new = leader(&world);
    assert_ne!(new, old);
    assert_eq!(has(&world, "/last"), [true; 2], "both have logged it");
    write(&mut world, new, "/n", 3, b"x");
    world.start(old);
    world.run_ms(5_000);
    assert_eq!(has(&world, "/last"), [true; 3]);
    world.assert_equal_digests();
}

#[test]
fn half_a_snapshot_is_no_state() {
    let mut cut_inside = 0;
    for events in (0..240).step_by(8) {
        let mut world = three();
        let leader = leader(&world);
        let late = followers(&world)[0];
        write(&mut world, leader, "/before", 3, b"x");
        world.crash(late);
        // More than the leader remembers one by one, and more than one piece of a snapshot.
        write(&mut world, leader, "/n", 520, &[7; 4_000]);
        world.start(late);
        world.run_events(events);
        let half = world.status(late).applied;
        world.crash(late);
        world.start(late);
        let found = world.status(late).applied;
        assert!(found >= half, "what it stood for is still there");
        let nodes = has(&world, "/n0")[(late.0 - 1) as usize];
        let last = has(&world, "/n519")[(late.0 - 1) as usize];
        assert_eq!(nodes, last, "all of it or none, after {events} events");
        cut_inside += usize::from(!nodes);
        world.run_ms(8_000);
        world.assert_equal_digests();
        assert_eq!(has(&world, "/n519"), [true; 3]);
    }
    assert!(
        (2..29).contains(&cut_inside),
        "{cut_inside} of 30 were inside"
    );
}

/// A learner that has missed a few transactions, while others go on, loses its leader after each
/// number of events.
#[test]
fn a_diff_cut_off_anywhere_leaves_no_hole() {
    let mut cut_inside = 0;
    for (round, events) in (0..160).step_by(5).enumerate() {
        let mut world = World::new(3, 1);
        world.start_all();
        world.run_ms(3_000);
        let at = leader(&world);
        // A follower, and the observer in every third round.
        let late = if round % 3 == 0 {
            ServerId(4)
        } else {
            followers(&world)[0]
        };
        let (owner, _) = join(&mut world, at);
        world.ask(at, owner, &[(1, create("/held", 1))]);
        world.run_ms(50);
        world.crash(late);
        write(&mut world, at, "/n", 10, b"x");
        world.hang_up(at, owner);
        // The session is over, and its node gone, before the learner is back.
        world.run_ms(15_000);
        let (conn, _) = join(&mut world, at);
        world.start(late);
        let mut more = 0;
        for _ in 0..events {
            world.run_events(1);
            more += 1;
            if more % 8 == 0 {
                let path = format!("/more{more}");
                world.say(at, conn, &create(&path, 0));
            }
        }
        let has_all = has(&world, "/n9")[(late.0 - 1) as usize];
        cut_inside += usize::from(!has_all && world.status(late).applied.counter() > 0);
        world.isolate(late);
        world.run_ms(1_000);
        world.crash(late);
        world.rejoin(late);
        world.start(late);
        world.run_ms(8_000);
        assert_eq!(has(&world, "/n9"), [true; 4], "after {events} events");
        assert_eq!(has(&world, "/held"), [false; 4], "after {events} events");
        world.assert_equal_digests();
        // And the disk has no hole: it starts with what memory held.
        let applied = world.status(late).applied;
        world.crash(late);
        world.start(late);
        assert!(world.status(late).applied >= applied);
        world.run_ms(5_000);
        world.assert_equal_digests();
    }
    assert!(cut_inside > 0, "none of them was inside");
}

#[test]
fn a_tail_is_cut_on_disk_wherever_the_leader_is_lost() {
    for events in (0..100).step_by(4) {
        let mut world = three();
        let old = leader(&world);
        write(&mut world, old, "/n", 5, b"x");
        let (conn, _) = join(&mut world, old);
        let others = followers(&world);
        for &id in &others {
            world.crash(id);
        }
        let paths: Vec<String> = (0..4).map(|n| format!("/stray{n}")).collect();
        let requests: Vec<_> = paths.iter().map(|path| (1, create(path, 0))).collect();
        world.ask(old, conn, &requests);
        world.run_ms(20);
        world.crash(old);
        for &id in &others {
            world.start(id);
        }
        world.run_ms(5_000);
        write(&mut world, others[0], "/later", 5, b"x");
        world.start(old);
        world.run_events(events);
        world.isolate(old);
        world.run_ms(500);
        world.rejoin(old);
        world.run_ms(8_000);
        world.assert_equal_digests();
        assert_eq!(has(&world, "/later4"), [true; 3], "after {events} events");
        // What memory and disk hold is the same.
        world.crash(old);
        world.start(old);
        world.run_ms(5_000);
        assert_eq!(has(&world, "/stray0"), [false; 3], "after {events} events");
        assert_eq!(has(&world, "/later0"), [true; 3], "after {events} events");
        world.assert_equal_digests();
    }
}

#[test]
fn who_was_synchronized_hands_on_all_of_it() {
    // By DIFF; and by SNAP, because there is more than a leader remembers.
    for (count, mode) in [(20, "DIFF"), (520, "SNAP")] {
        let mut world = World::new(5, 0);
        let [a, b, c, second, third] = [1, 2, 3, 4, 5].map(ServerId);
        for id in [a, b, c] {
            world.start(id);
        }
        world.run_ms(3_000);
        let first = leader(&world);
        for id in [second, third] {
            world.start(id);
        }
        world.run_ms(3_000);
        write(&mut world, first, "/early", 3, b"x");
        for id in [second, third] {
            world.crash(id);
        }
        write(&mut world, first, "/n", count, b"x");
        world.start(second);
        world.run_ms(5_000);
        let chosen = format!("Synchronized {{ mode: {mode:?}");
        let is_synced = |world: &World, id: ServerId| {
            let last = world
                .reports(id)
                .iter()
                .rfind(|r| r.starts_with("Synchronized"));
            last.is_some_and(|report| report.starts_with(&chosen))
        };
        assert!(is_synced(&world, second), "{:?}", world.reports(second));
        // It leads now, and has to bring up the next one with what it was given.
        world.crash(first);
        world.run_ms(8_000);
        assert_eq!(leader(&world), second);
        world.start(third);
        world.run_ms(8_000);
        let last = format!("/n{}", count - 1);
        assert_eq!(has(&world, &last), [true; 4]);
        world.assert_equal_digests();
        world.crash(third);
        world.start(third);
        world.run_ms(5_000);
        world.assert_equal_digests();
    }
}

#[test]
fn a_snapshot_for_which_too_much_would_be_kept_is_given_up_and_told() {
    let mut world = World::new(3, 0);
    world.set_rules(Rules {
        address_connections_max: 0,
        snapshot_held_max: 0,
        ..Rules::default()
    });
    world.start_all();
    world.run_ms(3_000);
    let (at, slow) = (leader(&world), followers(&world)[0]);
    let given_up = |world: &World, id| {
        let reports = world.reports(id).iter();
        reports.filter(|r| r.starts_with("SnapshotGivenUp")).count()
    };
    // Its disk takes a snapshot's beginning, and nothing after it for a while.
    world.stick(slow);
    write(&mut world, at, "/n", 110, b"x");
    assert_eq!((given_up(&world, slow), given_up(&world, at)), (1, 0));
    assert_eq!(world.status(slow).snapshot_errors, 1);
    assert_eq!(snapshots(&world, slow), 0);
    world.unstick(slow);
    world.run_ms(100);
    write(&mut world, at, "/m", 110, b"x");
    assert!(snapshots(&world, slow) > 0, "the next one had its time");
    world.assert_equal_digests();
}

#[test]
fn only_transactions_count_towards_a_snapshot() {
    let mut world = three();
    let at = leader(&world);
    let (conn, _) = join(&mut world, at);
    for _ in 0..300 {
        world.ask(at, conn, &[(1, exists("/")), (2, exists("/nothing"))]);
    }
    world.run_ms(100);
    assert_eq!(snapshots(&world, at), 0, "reads are no transactions");
    write(&mut world, at, "/n", 110, b"x");
    assert!(snapshots(&world, at) > 0);
}

#[test]
fn the_servers_of_an_ensemble_take_their_snapshots_at_different_moments() {
    let mut world = three();
    let at = leader(&world);
    write(&mut world, at, "/n", 1_000, b"x");
    let taken: Vec<Vec<i64>> = world.ids().iter().map(|id| zxids(&world, *id)).collect();
    for zxids in &taken {
        assert!((9..=20).contains(&zxids.len()), "{zxids:?}");
        // Between half of snapCount, which is 100, and all of it; and it takes a few turns.
        for pair in zxids.windows(2) {
            assert!((50..=110).contains(&(pair[1] - pair[0])), "{zxids:?}");
        }
    }
    let different: BTreeSet<&Vec<i64>> = taken.iter().collect();
    assert_eq!(different.len(), 3, "{taken:?}");
    let gaps: BTreeSet<i64> = taken[0].windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps.len() > 3, "one after the other spread, too: {gaps:?}");
}

/// The counters of the snapshots that this server has taken.
fn zxids(world: &World, id: ServerId) -> Vec<i64> {
    let reports = world.reports(id).iter();
    let taken = reports.filter_map(|r| r.strip_prefix("SnapshotTaken { zxid: "));
    taken
        .map(|rest| {
            let hex: String = rest.chars().filter(char::is_ascii_hexdigit).collect();
            i64::from_str_radix(&hex, 16).unwrap_or_else(|e| panic!("{rest}: {e}"))
        })
        .collect()
}
