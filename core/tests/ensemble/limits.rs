//! What a leader does not take, from its learners' clients and from strangers.

use vivarium_core::config::Rules;
use vivarium_core::ids::{LinkId, ServerId};
use vivarium_core::limits::PARKED_BYTES_MAX;
use vivarium_core::wire::client::Request;

use crate::leader;
use crate::world::World;

fn reports(world: &World, word: &str) -> usize {
    let all = world.reports(leader(world)).iter();
    all.filter(|text| text.contains(word)).count()
}

#[test]
fn the_leader_tells_once_in_a_while_what_it_refuses() {
    let mut world = World::new(3, 0);
    let small = Rules {
        frame_bytes_max: 10_000,
        memory_max: 5_000,
        ..Rules::default()
    };
    world.set_rules(small);
    world.start(ServerId(2));
    world.set_rules(Rules::default());
    world.start(ServerId(1));
    world.run_ms(3_000);
    assert_eq!(leader(&world), ServerId(2));
    let client = world.connect(ServerId(1));
    world.run_ms(100);
    let write = |world: &mut World, bytes: usize| {
        let request = Request::SetData {
            path: "/".into(),
            data: Some(&vec![7; bytes]),
            version: -1,
        };
        world.say(ServerId(1), client, &request);
        world.run_ms(100);
    };
    write(&mut world, 100);
    assert_eq!(reports(&world, "LimitReached"), 0);
    for _ in 0..3 {
        write(&mut world, 8_000);
        write(&mut world, 20_000);
    }
    assert_eq!(reports(&world, "LimitReached(Memory { max: 5000 })"), 1);
    assert_eq!(reports(&world, "LimitReached(Frame { bytes: 200"), 1);
    world.run_ms(5_000);
    write(&mut world, 8_000);
    assert_eq!(reports(&world, "LimitReached(Memory"), 2, "a while later");
    assert_eq!(reports(&world, "LimitReached(Frame"), 1);
}

/// The head of a packet that announces so many bytes of data.
fn announcement(kind: i32, length: i32) -> Vec<u8> {
    [
        &kind.to_be_bytes()[..],
        &0_i64.to_be_bytes(),
        &length.to_be_bytes(),
    ]
    .concat()
}

#[test]
fn a_stranger_can_not_make_the_leader_keep_much() {
    let mut world = World::new(3, 0);
    world.start_all();
    world.run_ms(3_000);
    let leader = leader(&world);
    let link: LinkId = world.intrude(leader);
    let mut sent = announcement(11, 100 << 20);
    sent.resize(PARKED_BYTES_MAX, 0);
    world.hand(leader, link, &sent);
    assert!(world.is_open(leader, link), "so much may come");
    world.hand(leader, link, &[0]);
    assert!(!world.is_open(leader, link));
    world.run_ms(2_000);
    assert_eq!(world.running().len(), 3);
    let serving = |id: &ServerId| world.status(*id).serving;
    assert!(world.ids().iter().all(serving), "nobody is disturbed");
}
