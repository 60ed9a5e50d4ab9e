//! Kinds of znodes and quotas, through a whole ensemble.

use std::time::Duration;

use vivarium_core::config::Rules;
use vivarium_core::ids::{ConnId, ServerId};
use vivarium_core::wire::client::{CreateOp, Request};
use vivarium_core::wire::records::Acl;

use crate::leader;
use crate::world::World;

fn rules() -> Rules {
    Rules {
        extended_types: true,
        enforce_quota: true,
        container_check_interval: Duration::from_secs(10),
        ..Rules::default()
    }
}

fn create<'a>(kind: CreateOp, path: &'a str, flags: i32, data: &'a [u8]) -> Request<'a> {
    Request::Create {
        kind,
        path: path.into(),
        data: Some(data),
        acl: Some([Acl::world(31)].into()),
        flags,
    }
}

fn started() -> World {
    let mut world = World::new(3, 1);
    world.set_rules(rules());
    world.start_all();
    world.run_ms(3_000);
    world
}

/// A session at a server that does not lead.
fn follower(world: &mut World) -> (ServerId, ConnId) {
    let leader = leader(world);
    let other = world.ids().into_iter().find(|id| *id != leader).unwrap();
    let client = world.connect(other);
    world.run_ms(100);
    (other, client)
}

fn has(world: &World, path: &str) -> Vec<bool> {
    let found = |id: ServerId| world.database(id).tree().get(path).is_some();
    world.ids().into_iter().map(found).collect()
}

#[test]
fn the_leader_sweeps_and_all_servers_see_it() {
    let mut world = started();
    let (at, client) = follower(&mut world);
    for request in [
        create(CreateOp::Container, "/k", 4, b""),
        create(CreateOp::Create, "/k/c", 0, b""),
        create(CreateOp::Container, "/unused", 4, b""),
        create(CreateOp::Ttl(3_000), "/t", 5, b""),
        create(CreateOp::Ttl(60_000), "/later", 5, b""),
    ] {
        world.say(at, client, &request);
    }
    world.run_ms(100);
    assert_eq!(has(&world, "/t"), [true; 4]);
    world.say(
        at,
        client,
        &Request::Delete {
            path: "/k/c".into(),
            version: -1,
        },
    );
    world.run_ms(10_100);
    for (path, stays) in [
        ("/k", false),
        ("/t", false),
        ("/unused", true),
        ("/later", true),
    ] {
        assert_eq!(has(&world, path), [stays; 4], "{path}");
    }
    world.assert_equal_digests();
}

#[test]
fn a_new_leader_sweeps_what_the_old_one_has_left() {
    let mut world = started();
    let (at, client) = follower(&mut world);
    world.say(at, client, &create(CreateOp::Ttl(1_000), "/t", 5, b""));
    world.run_ms(100);
    let old = leader(&world);
    world.crash(old);
    world.run_ms(5_000);
    assert_ne!(leader(&world), old);
    world.run_ms(10_000);
    world.start(old);
    world.run_ms(5_000);
    assert_eq!(has(&world, "/t"), [false; 4]);
    world.assert_equal_digests();
}

#[test]
fn all_servers_count_alike_and_a_soft_excess_is_told_once() {
    let mut world = started();
    let (at, client) = follower(&mut world);
    let limits: &[u8] = b"count=1,bytes=-1";
    for (path, data) in [
        ("/q", &b"12345"[..]),
        ("/zookeeper/quota/q", b""),
        ("/zookeeper/quota/q/zookeeper_limits", limits),
        ("/zookeeper/quota/q/zookeeper_stats", b""),
        ("/q/a", b"1"),
        ("/q/b", b"2"),
    ] {
        world.say(at, client, &create(CreateOp::Create, path, 0, data));
        world.run_ms(20);
    }
    let told = |world: &World| {
        let reports = world.reports(leader(world)).iter();
        reports
            .filter(|text| text.contains("QuotaExceeded"))
            .count()
    };
    assert_eq!(told(&world), 1);
    let late = world
        .ids()
        .into_iter()
        .find(|id| *id != at && *id != leader(&world))
        .unwrap();
    world.crash(late);
    world.run_ms(200);
    world.say(at, client, &create(CreateOp::Create, "/q/c", 0, b"3"));
    world.run_ms(1_000);
    assert_eq!(told(&world), 2, "a while later, once more");
    world.start(late);
    world.run_ms(3_000);
    for id in world.ids() {
        let tree = world.database(id).tree();
        let stats = tree.get("/zookeeper/quota/q/zookeeper_stats").unwrap();
        assert_eq!(stats.data(), Some(&b"count=4,bytes=8"[..]), "server {id}");
    }
    world.assert_equal_digests();
}

#[test]
#[should_panic(expected = "ServerIdTooLarge")]
fn a_member_whose_sessions_would_look_like_ttl_nodes_is_refused() {
    let mut world = World::new(255, 0);
    world.start(ServerId(1));
    world.crash(ServerId(1));
    world.set_rules(rules());
    world.start(ServerId(2));
}
