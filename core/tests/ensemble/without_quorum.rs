//! Servers that have lost the others, and clients that can live with that.

use vivarium_core::boundary::CloseReason;
use vivarium_core::config::Rules;
use vivarium_core::ids::ServerId;
use vivarium_core::wire::client::Request;

use crate::client::{
    answers, create, exists, followers, has, join, join_read_only, resume, welcome,
};
use crate::leader;
use crate::world::World;

/// A world of which one server is left, with `/a`.
fn lost(read_only_mode: bool) -> (World, ServerId) {
    let mut world = World::new(3, 0);
    world.set_rules(Rules {
        read_only_mode,
        ..Rules::default()
    });
    world.start_all();
    world.run_ms(3_000);
    let left = followers(&world)[0];
    let (conn, _) = join(&mut world, left);
    world.ask(left, conn, &[(1, create("/a", 0))]);
    world.run_ms(100);
    world.hang_up(left, conn);
    for id in world.ids() {
        if id != left {
            world.crash(id);
        }
    }
    (world, left)
}

#[test]
fn a_minority_serves_reads_to_those_who_ask_for_it() {
    let (mut world, left) = lost(true);
    world.run_ms(1_900);
    let status = world.status(left);
    assert!(
        !status.read_only && !status.serving,
        "the others may be back soon"
    );
    world.run_ms(4_000);
    let status = world.status(left);
    assert!(status.read_only && !status.serving);
    let refused = world.connect(left);
    assert_eq!(world.closed(refused), Some(&CloseReason::ReadOnly));
    assert_eq!(welcome(&world, refused), None);
    let reader = join_read_only(&mut world, left);
    let owner = welcome(&world, reader).unwrap();
    assert_eq!(owner.read_only, Some(true));
    let (path, version) = ("/a".into(), -1);
    let script = [
        (1, exists("/a")),
        (2, create("/b", 0)),
        (3, Request::Delete { path, version }),
        (4, Request::Multi(vec![create("/b", 0)])),
        (5, Request::Sync { path: "/".into() }),
        (6, exists("/b")),
    ];
    world.ask(left, reader, &script);
    let expected = [
        (1, 0),
        (2, -119),
        (3, -119),
        (4, -119),
        (5, -119),
        (6, -101),
    ];
    assert_eq!(answers(&world, reader), expected);
    assert_eq!(
        world.database(left).sessions().len(),
        1,
        "nothing was logged"
    );
    // Nobody waits for it longer than for a session of the ensemble.
    world.run_ms(9_000);
    assert_eq!(world.closed(reader), None);
}

#[test]
fn read_only_clients_are_closed_when_the_quorum_is_back() {
    let (mut world, left) = lost(true);
    world.run_ms(6_000);
    let reader = join_read_only(&mut world, left);
    let owner = welcome(&world, reader).unwrap();
    for id in world.ids().into_iter().filter(|id| *id != left) {
        world.start(id);
    }
    world.run_ms(5_000);
    assert_eq!(world.closed(reader), Some(&CloseReason::RoleLeft));
    for id in world.ids() {
        let status = world.status(id);
        assert!(status.serving && !status.read_only, "server {id}");
        assert_eq!(status.local_sessions, 0, "server {id}");
        let late = resume(&mut world, id, &owner);
        assert_eq!(
            welcome(&world, late).unwrap().timeout_ms,
            0,
            "nobody knows it"
        );
    }
    // The mode is over for those who ask for it, too.
    let reader = join_read_only(&mut world, left);
    world.run_ms(100);
    assert_eq!(welcome(&world, reader).unwrap().read_only, Some(false));
    world.ask(left, reader, &[(1, create("/b", 0))]);
    world.run_ms(100);
    assert_eq!(answers(&world, reader), [(1, 0)]);
    assert_eq!(has(&world, "/b"), [true; 3]);
    assert_eq!(has(&world, "/a"), [true; 3]);
    world.assert_equal_digests();
}

#[test]
fn a_leader_that_lost_its_followers_ends_as_read_only_too() {
    let mut world = World::new(3, 0);
    world.set_rules(Rules {
        read_only_mode: true,
        ..Rules::default()
    });
    world.start_all();
    world.run_ms(3_000);
    let left = leader(&world);
    let (conn, owner) = join(&mut world, left);
    world.isolate(left);
    // Logged here, and on no other server.
    world.ask(left, conn, &[(1, create("/alone", 0))]);
    world.run_ms(10_000);
    assert!(world.status(left).read_only);
    assert_eq!(
        (answers(&world, conn), world.closed(conn)),
        (vec![], Some(&CloseReason::NotServing))
    );
    // Its session may well be alive where the others are.
    let back = resume(&mut world, left, &owner);
    assert_eq!(
        (welcome(&world, back), world.closed(back)),
        (None, Some(&CloseReason::ReadOnly))
    );
    world.rejoin(left);
    world.run_ms(10_000);
    assert!(world.status(left).serving);
    assert_eq!(has(&world, "/alone"), [false; 3]);
    world.assert_equal_digests();
}

#[test]
fn without_the_mode_nobody_is_served() {
    let (mut world, left) = lost(false);
    world.run_ms(20_000);
    let status = world.status(left);
    assert!(!status.read_only && !status.serving);
    let reader = join_read_only(&mut world, left);
    assert_eq!(world.closed(reader), Some(&CloseReason::NotServing));
}
