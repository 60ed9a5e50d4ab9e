//! A few machines on a perfect network with perfect disks, driven through the boundary alone: the
//! smallest world in which an ensemble can be seen to work. What goes wrong in a world is the
//! simulator's business.

mod client;
mod known;
mod limits;
mod nodes;
mod room;
mod sessions;
mod without_quorum;
mod world;
mod zxids;

use vivarium_core::ids::{Epoch, ServerId};
use vivarium_core::node::RoleName;
use world::World;

fn leader(world: &World) -> ServerId {
    let leads = |id: &ServerId| world.status(*id).established.is_some();
    world
        .running()
        .into_iter()
        .find(leads)
        .expect("somebody leads")
}

#[test]
fn five_servers_started_in_order_are_led_by_the_third() {
    let mut world = World::new(5, 0);
    for id in 1..=5 {
        world.start(ServerId(id));
        world.run_ms(300);
    }
    world.run_ms(2_000);
    assert_eq!(leader(&world), ServerId(3));
    for id in world.ids() {
        assert!(world.status(id).serving, "server {id}");
        assert_eq!(world.status(id).current_epoch, Epoch(1));
    }
}

#[test]
fn three_servers_started_in_order_are_led_by_the_second() {
    let mut world = World::new(3, 0);
    for id in 1..=3 {
        world.start(ServerId(id));
        world.run_ms(400);
    }
    world.run_ms(2_000);
    assert_eq!(leader(&world), ServerId(2));
}

#[test]
fn sessions_are_replicated_to_followers_and_observers() {
    let mut world = World::new(3, 1);
    world.start_all();
    world.run_ms(3_000);
    for id in world.ids() {
        let client = world.connect(id);
        world.run_ms(100);
        assert!(
            world.received(client).len() >= 41,
            "server {id} answers a connect request"
        );
    }
    for id in world.ids() {
        assert_eq!(world.database(id).sessions().len(), 4, "server {id}");
    }
    assert_eq!(world.status(ServerId(4)).role, RoleName::Observing);
    world.assert_equal_digests();
}

/// However many wait, a quorum is asked once, and no disk is.
#[test]
fn syncs_of_one_turn_share_one_round_of_pings() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(2_000);
    let leader = leader(&world);
    let clients: Vec<_> = (0..10).map(|_| world.connect(leader)).collect();
    world.run_ms(100);
    (world.writes, world.sent) = (0, Vec::new());
    // xid 1, sync, path "/".
    let sync = [&[0, 0, 0, 13, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1][..], b"/"].concat();
    world.ask_together(leader, &clients, &sync);
    let sent = |world: &World| world.sent.iter().filter(|id| **id == leader).count();
    assert_eq!(sent(&world), 2, "one ping to each follower");
    let answered = |world: &World| {
        let heard = clients.iter().filter(|c| !world.received(**c).is_empty());
        heard.count()
    };
    assert_eq!(
        answered(&world),
        0,
        "nobody has said yet that the leader leads"
    );
    world.run_ms(0);
    assert_eq!(answered(&world), clients.len());
    assert_eq!(
        (sent(&world), world.sent.len()),
        (2, 4),
        "and one answer of each"
    );
    assert_eq!(world.writes, 0);
}

/// The second is read when the first is answered, at the end of a turn: nothing else may have to
/// happen before it gets a round of its own.
#[test]
fn a_sync_behind_a_sync_waits_for_nothing_else() {
    for voters in [1, 3] {
        let mut world = World::new(voters, 0);
        world.start_all();
        world.run_ms(2_000);
        let leader = leader(&world);
        let client = world.connect(leader);
        world.run_ms(100);
        // xid 1 and xid 2, sync, path "/".
        let sync = |xid| {
            [
                &[0, 0, 0, 13, 0, 0, 0, xid, 0, 0, 0, 9, 0, 0, 0, 1][..],
                b"/",
            ]
            .concat()
        };
        world.ask_together(leader, &[client], &[sync(1), sync(2)].concat());
        world.run_ms(3);
        // Each: length, header, path.
        assert_eq!(
            world.received(client).len(),
            2 * (4 + 16 + 5),
            "{voters} voters"
        );
    }
}

#[test]
fn a_follower_that_was_away_catches_up() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(2_000);
    let leader = leader(&world);
    let away = world.ids().into_iter().find(|id| *id != leader).unwrap();
    world.crash(away);
    for _ in 0..5 {
        world.connect(leader);
        world.run_ms(50);
    }
    world.start(away);
    world.run_ms(3_000);
    assert!(world.status(away).serving);
    world.assert_equal_digests();
    assert_eq!(world.database(away).sessions().len(), 5);
}

#[test]
fn a_new_server_gets_a_snapshot_when_the_window_does_not_reach_back() {
    let mut world = World::new(3, 0);
    world.start(ServerId(1));
    world.start(ServerId(2));
    world.run_ms(2_000);
    for _ in 0..600 {
        world.connect(ServerId(2));
    }
    world.run_ms(200);
    world.start(ServerId(3));
    world.run_ms(3_000);
    assert!(
        world
            .reports(ServerId(3))
            .iter()
            .any(|r| r.contains("SNAP"))
    );
    world.assert_equal_digests();
    // What it got survives a restart.
    world.crash(ServerId(3));
    world.start(ServerId(3));
    world.run_ms(3_000);
    world.assert_equal_digests();
    assert_eq!(world.database(ServerId(3)).sessions().len(), 600);
}

#[test]
fn a_new_leader_takes_over_and_cuts_what_the_old_one_never_committed() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(2_000);
    let old = leader(&world);
    world.connect(old);
    world.run_ms(100);
    world.isolate(old);
    // Logged by the old leader alone.
    world.connect(old);
    world.connect(old);
    world.run_ms(30_000);
    let others: Vec<_> = world.ids().into_iter().filter(|id| *id != old).collect();
    let new = leader(&world);
    assert!(others.contains(&new));
    world.connect(new);
    world.run_ms(100);
    world.rejoin(old);
    world.run_ms(5_000);
    assert!(world.status(old).serving);
    world.assert_equal_digests();
    assert_eq!(
        world.database(old).sessions().len(),
        1,
        "one expired, one came, two were cut"
    );
}

#[test]
fn everybody_restarts_with_everything() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(2_000);
    for id in world.ids() {
        world.connect(id);
    }
    world.run_ms(100);
    for id in world.ids() {
        world.crash(id);
    }
    world.start_all();
    world.run_ms(5_000);
    leader(&world);
    for id in world.ids() {
        assert_eq!(world.database(id).sessions().len(), 3);
        assert_eq!(world.status(id).current_epoch, Epoch(2));
    }
}
