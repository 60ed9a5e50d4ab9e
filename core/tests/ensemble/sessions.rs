//! Sessions and the servers that they are, were and will be connected to.

use vivarium_core::boundary::CloseReason;
use vivarium_core::config::Rules;
use vivarium_core::ids::ServerId;
use vivarium_core::wire::client::Request;

use crate::client::{answers, create, followers, has, join, resume, welcome};
use crate::leader;
use crate::world::World;

fn started(rules: Rules) -> World {
    let mut world = World::new(3, 0);
    world.set_rules(rules);
    world.start_all();
    world.run_ms(3_000);
    world
}

fn local(local_sessions_upgrading: bool) -> World {
    started(Rules {
        local_sessions: true,
        local_sessions_upgrading,
        ..Rules::default()
    })
}

#[test]
fn a_session_that_moved_is_served_in_one_place() {
    for (from, to) in [(0, 1), (0, 2), (2, 0)] {
        let mut world = started(Rules::default());
        let mut ids = followers(&world);
        ids.push(leader(&world));
        let (from, to) = (ids[from], ids[to]);
        let (old, owner) = join(&mut world, from);
        world.ask(from, old, &[(1, create("/before", 1))]);
        world.run_ms(100);
        let new = resume(&mut world, to, &owner);
        assert_eq!(welcome(&world, new), Some(owner), "{from} to {to}");
        assert_eq!(
            (answers(&world, old), world.closed(old)),
            (vec![(1, 0)], None)
        );
        world.ask(
            from,
            old,
            &[(2, create("/late", 0)), (3, create("/later", 0))],
        );
        world.ask(to, new, &[(4, create("/after", 0))]);
        world.run_ms(100);
        let moved = CloseReason::SessionMoved(owner.session);
        assert_eq!(world.closed(old), Some(&moved), "{from} to {to}");
        assert_eq!(
            (answers(&world, new), world.closed(new)),
            (vec![(4, 0)], None)
        );
        assert_eq!(has(&world, "/late"), [false; 3]);
        assert_eq!(has(&world, "/later"), [false; 3]);
        // It was not the session that ended.
        assert_eq!(has(&world, "/before"), [true; 3]);
        world.assert_equal_digests();
    }
}

/// Where only one of them ran on a clock that the old leader knew.
#[test]
fn a_new_leader_gives_sessions_their_whole_timeout() {
    let mut world = started(Rules::default());
    let old = leader(&world);
    let (conn, owner) = join(&mut world, old);
    world.ask(old, conn, &[(1, create("/e", 1))]);
    world.run_ms(8_000);
    world.crash(old);
    let leads = |world: &World, id: &ServerId| world.status(*id).established.is_some();
    let mut waited = 0;
    while !world.running().iter().any(|id| leads(&world, id)) {
        world.run_ms(10);
        waited += 10;
    }
    assert!(waited > 0, "nobody led for a while");
    world.run_ms(9_900);
    assert_eq!(has(&world, "/e"), [true; 2]);
    world.run_ms(1_000);
    assert_eq!(has(&world, "/e"), [false; 2], "timeout and tick are over");
    let at = leader(&world);
    let late = resume(&mut world, at, &owner);
    assert_eq!(welcome(&world, late).unwrap().timeout_ms, 0);
    // In time, it can be resumed anywhere.
    let (_, owner) = join(&mut world, at);
    world.start(old);
    world.run_ms(2_000);
    world.crash(at);
    world.run_ms(5_000);
    for id in world.running() {
        let conn = resume(&mut world, id, &owner);
        assert_eq!(welcome(&world, conn), Some(owner), "server {id}");
    }
}

#[test]
fn an_idle_connection_is_closed_and_its_session_is_not() {
    let mut world = started(Rules::default());
    let ids = followers(&world);
    world.run_ms(123);
    let (idle, owner) = join(&mut world, ids[0]);
    world.ask(ids[0], idle, &[(1, create("/e", 1))]);
    world.run_ms(100);
    let mut quiet = 0;
    while world.closed(idle).is_none() {
        world.run_ms(10);
        quiet += 10;
    }
    assert_eq!(world.closed(idle), Some(&CloseReason::Idle));
    assert!((9_900..=10_100).contains(&quiet), "{quiet}");
    let new = resume(&mut world, ids[1], &owner);
    assert_eq!(welcome(&world, new), Some(owner));
    assert_eq!(has(&world, "/e"), [true; 3]);
}

#[test]
fn writes_of_a_followers_local_session_go_through_the_leader() {
    let mut world = local(false);
    let ids = followers(&world);
    let (conn, owner) = join(&mut world, ids[0]);
    let sessions = |world: &World| {
        let count = |id| {
            let status = world.status(id);
            (status.sessions, status.local_sessions)
        };
        world.ids().into_iter().map(count).collect::<Vec<_>>()
    };
    let expected = |world: &World| {
        let local = |id| (0, usize::from(id == ids[0]));
        world.ids().into_iter().map(local).collect::<Vec<_>>()
    };
    assert_eq!(sessions(&world), expected(&world));
    let script = [
        (1, create("/p", 0)),
        (2, create("/e", 1)),
        (3, Request::Multi(vec![create("/m", 0), create("/e", 1)])),
        (4, Request::Sync { path: "/".into() }),
        (5, create("/q", 0)),
    ];
    world.ask(ids[0], conn, &script);
    world.run_ms(100);
    let heard = answers(&world, conn);
    assert_eq!(heard, [(1, 0), (2, -120), (3, 0), (4, 0), (5, 0)]);
    for (path, is_there) in [("/p", true), ("/q", true), ("/e", false), ("/m", false)] {
        assert_eq!(has(&world, path), [is_there; 3], "{path}");
    }
    // Nobody else has heard of it.
    for id in world.ids().into_iter().filter(|id| *id != ids[0]) {
        let conn = resume(&mut world, id, &owner);
        assert_eq!(welcome(&world, conn).unwrap().timeout_ms, 0, "server {id}");
    }
    assert_eq!(
        (sessions(&world), world.closed(conn)),
        (expected(&world), None)
    );
    world.assert_equal_digests();
}

#[test]
fn an_upgraded_session_moves_and_survives_servers() {
    let mut world = local(true);
    let ids = followers(&world);
    let (old, owner) = join(&mut world, ids[0]);
    let script = [
        (1, create("/p", 0)),
        (2, create("/e", 1)),
        (3, create("/q", 0)),
    ];
    world.ask(ids[0], old, &script);
    world.run_ms(100);
    assert_eq!(answers(&world, old), [(1, 0), (2, 0), (3, 0)]);
    for id in world.ids() {
        let status = world.status(id);
        assert_eq!(
            (status.sessions, status.local_sessions),
            (1, 0),
            "server {id}"
        );
    }
    let new = resume(&mut world, ids[1], &owner);
    assert_eq!(welcome(&world, new), Some(owner));
    world.ask(ids[1], new, &[(4, create("/e2", 1))]);
    world.run_ms(100);
    assert_eq!(answers(&world, new), [(4, 0)]);
    world.ask(ids[0], old, &[(5, create("/late", 0))]);
    world.run_ms(100);
    assert_eq!(
        world.closed(old),
        Some(&CloseReason::SessionMoved(owner.session))
    );
    let gone = leader(&world);
    world.crash(gone);
    world.run_ms(5_000);
    assert_eq!(has(&world, "/e"), [true; 2]);
    let last = resume(&mut world, ids[0], &owner);
    assert_eq!(welcome(&world, last), Some(owner));
    world.ask(ids[0], last, &[(6, Request::CloseSession)]);
    world.run_ms(100);
    assert_eq!(answers(&world, last), [(6, 0)]);
    assert_eq!(
        (has(&world, "/e"), has(&world, "/e2")),
        (vec![false; 2], vec![false; 2])
    );
    world.assert_equal_digests();
}
