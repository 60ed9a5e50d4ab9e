//! The end of an epoch's zxids (ZOOKEEPER-1277).

use vivarium_core::config::Rules;
use vivarium_core::ids::{Epoch, ServerId, Zxid};
use vivarium_core::wire::client::Request;

use crate::client::{answers, create, followers, has, join, resume, welcome};
use crate::leader;
use crate::world::World;

/// Writes through a server until 60 nodes are acknowledged, coming back whenever the connection is
/// lost. Returns those nodes, and how often that was.
fn write(world: &mut World, at: ServerId) -> (Vec<String>, usize) {
    let (mut conn, owner) = join(world, at);
    let (mut acknowledged, mut lost) = (Vec::new(), 0);
    let mut next = 0;
    while acknowledged.len() < 60 {
        let path = format!("/n{next}");
        next += 1;
        world.ask(at, conn, &[(next, create(&path, 0))]);
        world.run_ms(20);
        if answers(world, conn).last() == Some(&(next, 0)) {
            acknowledged.push(path);
        }
        if world.closed(conn).is_some() {
            lost += 1;
            world.run_ms(3_000);
            conn = resume(world, at, &owner);
            assert_eq!(welcome(world, conn), Some(owner), "sessions go on");
        }
    }
    (acknowledged, lost)
}

#[test]
fn a_leader_whose_zxids_are_used_up_makes_way() {
    for at_leader in [true, false] {
        let mut world = World::new(3, 0);
        world.set_rules(Rules {
            epoch_counter_max: 20,
            ..Rules::default()
        });
        world.start_all();
        world.run_ms(3_000);
        let at = if at_leader {
            leader(&world)
        } else {
            followers(&world)[0]
        };
        let (acknowledged, lost) = write(&mut world, at);
        assert!(lost >= 3, "{lost}");
        let now = world.status(leader(&world)).current_epoch;
        assert!(now >= Epoch(4), "{now:?}");
        for path in &acknowledged {
            assert_eq!(has(&world, path), [true; 3], "{path}");
        }
        assert!(world.status(leader(&world)).applied.counter() <= 20);
        world.assert_equal_digests();
    }
}

#[test]
fn a_history_that_ends_with_its_epochs_last_zxid_goes_on() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(3_000);
    let at = leader(&world);
    let (_, owner) = join(&mut world, at);
    for id in world.ids() {
        world.crash(id);
        world.forge_last_counter(id, u32::MAX);
    }
    world.start_all();
    world.run_ms(3_000);
    let at = leader(&world);
    assert_eq!(world.status(at).current_epoch, Epoch(2));
    let conn = resume(&mut world, at, &owner);
    world.ask(at, conn, &[(1, create("/a", 0))]);
    world.run_ms(100);
    assert_eq!(answers(&world, conn), [(1, 0)]);
    assert_eq!(world.status(at).applied, Zxid::new(Epoch(2), 1));
    world.assert_equal_digests();
}

/// All of it in one turn, over the edge: whatever comes after it is answered by the next epoch.
#[test]
fn a_standalone_server_goes_on_in_the_next_epoch() {
    const ME: ServerId = ServerId(1);
    let mut world = World::alone();
    world.start(ME);
    let (_, owner) = join(&mut world, ME);
    world.crash(ME);
    world.forge_last_counter(ME, u32::MAX - 4);
    world.start(ME);
    let conn = resume(&mut world, ME, &owner);
    assert_eq!(welcome(&world, conn), Some(owner));
    let paths: Vec<_> = (0..8).map(|n| format!("/e{n}")).collect();
    let mut script: Vec<_> = (0..)
        .zip(&paths)
        .map(|(xid, path)| (xid, create(path, 1)))
        .collect();
    script.push((8, Request::Sync { path: "/".into() }));
    world.ask(ME, conn, &script);
    world.run_ms(100);
    let all: Vec<_> = (0..9).map(|xid| (xid, 0)).collect();
    assert_eq!((answers(&world, conn), world.closed(conn)), (all, None));
    assert_eq!(world.status(ME).applied, Zxid::new(Epoch(1), 5));
    // What it has written can be read again, and belongs to whom it belonged.
    world.crash(ME);
    world.start(ME);
    for path in &paths {
        assert_eq!(has(&world, path), [true]);
    }
    let conn = resume(&mut world, ME, &owner);
    world.ask(ME, conn, &[(1, Request::CloseSession)]);
    world.run_ms(100);
    assert_eq!(answers(&world, conn), [(1, 0)]);
    assert_eq!(world.database(ME).tree().ephemeral_count(), 0);
    assert_eq!(world.status(ME).applied, Zxid::new(Epoch(1), 6));
}
