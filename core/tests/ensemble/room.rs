//! Disks that are full or stuck: who refuses what, who makes way, and that all is well afterwards.

use vivarium_core::ids::{ConnId, ServerId};

use crate::client::{answers, create, exists, followers, has, join};
use crate::leader;
use crate::world::World;

/// `NOTREADONLY`.
const REFUSED: i32 = -119;

/// A world that serves, with a client at each of its servers.
fn served(voters: i64) -> (World, Vec<(ServerId, ConnId)>) {
    let mut world = World::new(voters, 0);
    world.start_all();
    world.run_ms(3_000);
    let ids = world.ids();
    let clients = ids.into_iter().map(|id| (id, join(&mut world, id).0));
    let clients: Vec<_> = clients.collect::<Vec<_>>();
    (world, clients)
}

/// Asks each client for a node of its own; the error codes of the answers.
fn writes(world: &mut World, clients: &[(ServerId, ConnId)], name: &str) -> Vec<Option<i32>> {
    let before: Vec<_> = clients
        .iter()
        .map(|(_, conn)| answers(world, *conn).len())
        .collect();
    for (id, conn) in clients {
        let path = format!("/{name}{id}");
        world.ask(*id, *conn, &[(1, create(&path, 0))]);
    }
    world.run_ms(200);
    let heard = clients.iter().zip(before);
    heard
        .map(|((_, conn), n)| answers(world, *conn).get(n).map(|(_, error)| *error))
        .collect()
}

fn reads(world: &mut World, id: ServerId, conn: ConnId) -> (i32, i32) {
    world.ask(id, conn, &[(2, exists("/a1"))]);
    world.run_ms(50);
    *answers(world, conn).last().expect("an answer")
}

#[test]
fn a_lone_server_without_room_refuses_writes_and_goes_on() {
    let mut world = World::alone();
    let id = world.ids()[0];
    world.start(id);
    world.run_ms(100);
    let client = vec![(id, join(&mut world, id).0)];
    assert_eq!(writes(&mut world, &client, "a"), [Some(0)]);
    world.set_low(id, true);
    assert_eq!(writes(&mut world, &client, "b"), [Some(REFUSED)]);
    assert_eq!(reads(&mut world, id, client[0].1), (2, 0));
    assert!(world.status(id).writes_refused && world.status(id).disk_full);
    // Sessions come and go, so that who reads can come, and locks of the dead are freed.
    let (late, _) = join(&mut world, id);
    world.hang_up(id, late);
    world.run_ms(15_000);
    assert_eq!(
        world.database(id).sessions().len(),
        0,
        "both are over by now"
    );
    world.set_low(id, false);
    let client = vec![(id, join(&mut world, id).0)];
    assert_eq!(writes(&mut world, &client, "c"), [Some(0)]);
    assert!(!world.status(id).writes_refused);
    assert_eq!(has(&world, "/b1"), [false]);
}

#[test]
fn one_follower_without_room_keeps_nobody_from_writing() {
    let (mut world, clients) = served(3);
    let full = followers(&world)[0];
    world.set_low(full, true);
    world.run_ms(1_000);
    assert_eq!(writes(&mut world, &clients, "a"), [Some(0); 3]);
    assert!(world.status(full).serving);
}

#[test]
fn too_few_with_room_refuse_writes_at_every_server_and_all_serve_reads() {
    let (mut world, clients) = served(3);
    assert_eq!(writes(&mut world, &clients, "a"), [Some(0); 3]);
    let (chief, full) = (leader(&world), followers(&world));
    for id in &full {
        world.set_low(*id, true);
    }
    world.run_ms(1_000);
    assert_eq!(writes(&mut world, &clients, "b"), [Some(REFUSED); 3]);
    for (id, conn) in &clients {
        assert_eq!(reads(&mut world, *id, *conn), (2, 0), "server {id}");
        assert!(world.status(*id).writes_refused);
    }
    // Now the leader's disk, too. Nobody could do better: it stays.
    world.set_low(chief, true);
    world.run_ms(8_000);
    assert_eq!(leader(&world), chief);
    assert_eq!(has(&world, "/b1"), [false; 3]);
    for id in &full {
        world.set_low(*id, false);
    }
    // Now the others can.
    world.run_ms(5_000);
    assert_ne!(leader(&world), chief);
    let (id, conn) = (full[0], join(&mut world, full[0]).0);
    assert_eq!(writes(&mut world, &[(id, conn)], "c"), [Some(0)]);
    world.run_ms(5_000);
    assert!(world.status(chief).serving, "it follows");
    world.assert_equal_digests();
}

#[test]
fn a_full_follower_that_can_not_acknowledge_keeps_its_place_and_catches_up() {
    let (mut world, clients) = served(3);
    let full = followers(&world)[0];
    world.set_low(full, true);
    world.run_ms(1_000);
    world.stick(full);
    for round in 0..20 {
        assert_eq!(
            writes(&mut world, &clients, &format!("r{round}-")),
            [Some(0); 3]
        );
        world.run_ms(500);
    }
    assert!(world.status(full).serving && world.status(full).disk_stuck);
    world.unstick(full);
    world.set_low(full, false);
    world.run_ms(100);
    assert!(!world.status(full).disk_stuck);
    world.crash(full);
    world.start(full);
    world.run_ms(3_000);
    world.assert_equal_digests();
}

#[test]
fn a_leader_with_a_stuck_disk_makes_way_and_does_not_come_back_before_it_is_cured() {
    let (mut world, clients) = served(3);
    assert_eq!(writes(&mut world, &clients, "a"), [Some(0); 3]);
    let old = leader(&world);
    world.stick(old);
    let (at, conn) = clients[clients
        .iter()
        .position(|(id, _)| *id != old)
        .expect("others")];
    assert_eq!(writes(&mut world, &[(at, conn)], "b"), [Some(0)]);
    // syncLimit is 2.5 s here.
    world.run_ms(4_500);
    let new = leader(&world);
    assert_ne!(new, old);
    // Were the new one to fail, the old one could not lead: it does not even try.
    let others = world.ids().into_iter().filter(|id| *id != old);
    for id in others {
        let (conn, _) = join(&mut world, id);
        assert_eq!(
            writes(&mut world, &[(id, conn)], &format!("c{id}")),
            [Some(0)]
        );
    }
    world.crash(new);
    world.run_ms(20_000);
    let status = world.status(old);
    assert!(!status.serving && status.disk_stuck);
    world.start(new);
    world.run_ms(5_000);
    assert_ne!(leader(&world), old);
    world.unstick(old);
    world.run_ms(5_000);
    assert!(world.status(old).serving);
    world.assert_equal_digests();
}

#[test]
fn a_leader_with_a_stuck_disk_stays_where_nobody_else_could_lead() {
    let (mut world, clients) = served(3);
    assert_eq!(writes(&mut world, &clients, "a"), [Some(0); 3]);
    let (old, others) = (leader(&world), followers(&world));
    world.crash(others[0]);
    world.stick(old);
    let conn = clients.iter().find(|(id, _)| *id == old).expect("all").1;
    world.ask(old, conn, &[(1, create("/late", 0))]);
    world.run_ms(8_000);
    assert_eq!(leader(&world), old);
    let (conn, _) = (conn, ());
    assert_eq!(
        has(&world, "/late"),
        [false; 2],
        "without a quorum of copies"
    );
    world.unstick(old);
    world.run_ms(1_000);
    assert_eq!(has(&world, "/late"), [true; 2]);
    assert_eq!(answers(&world, conn).last(), Some(&(1, 0)));
}

#[test]
fn a_full_leader_hands_over_to_those_who_have_room() {
    let (mut world, clients) = served(5);
    assert_eq!(writes(&mut world, &clients, "a"), [Some(0); 5]);
    let old = leader(&world);
    world.set_low(old, true);
    world.run_ms(2_000);
    let new = leader(&world);
    assert_ne!(new, old);
    let (conn, _) = join(&mut world, new);
    assert_eq!(writes(&mut world, &[(new, conn)], "b"), [Some(0)]);
    world.run_ms(4_000);
    assert!(world.status(old).serving, "it follows");
    world.assert_equal_digests();
}
