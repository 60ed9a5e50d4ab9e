//! Elections among pure state machines: messages are delivered by hand.

use alloc::vec;

use super::*;
use crate::config::{Config, LearnerType, Member, Rules};
use crate::ids::Zxid;
use crate::mutants::Mutants;

fn config(voters: i64, observers: i64) -> Config {
    let member = |kind| Member {
        kind,
        host: "h".into(),
        quorum_port: 1,
        election_port: 2,
        client_address: None,
    };
    let mut members = BTreeMap::new();
    for id in 1..=voters {
        members.insert(ServerId(id), member(LearnerType::Participant));
    }
    for id in voters + 1..=voters + observers {
        members.insert(ServerId(id), member(LearnerType::Observer));
    }
    Config {
        me: ServerId(1),
        members,
        tick: Duration::from_secs(2),
        init_limit: 10,
        sync_limit: 5,
        session_timeout_min: Duration::from_secs(4),
        session_timeout_max: Duration::from_secs(40),
        snap_count: 100_000,
        seed: 1,
        rules: Rules::default(),
        mutants: Mutants::NONE,
    }
}

fn own(id: i64, zxid: i64, epoch: i64) -> Vote {
    Vote {
        leader: ServerId(id),
        zxid: Zxid(zxid),
        round: 0,
        peer_epoch: Epoch(epoch),
    }
}

const START: Instant = Instant(0);

fn at(ms: u64) -> Instant {
    Instant(ms * 1_000_000)
}

struct Town {
    servers: BTreeMap<ServerId, Election>,
    up: Vec<ServerId>,
}

impl Town {
    fn new(voters: i64, observers: i64) -> Self {
        let config = config(voters, observers);
        let servers = config.members.keys();
        let servers = servers
            .map(|id| (*id, Election::new(*id, Voters::of(&config))))
            .collect();
        Self {
            servers,
            up: vec![],
        }
    }

    fn start(&mut self, vote: Vote, id: i64) {
        self.up.push(ServerId(id));
        self.servers
            .get_mut(&ServerId(id))
            .unwrap()
            .enter_looking(vote, START);
        self.settle(START);
    }

    /// The election port of `who` refuses `from`.
    fn refuse(&mut self, from: i64, who: i64, now: Instant) {
        let server = self.servers.get_mut(&ServerId(from)).unwrap();
        server.set_absent(ServerId(who), now);
        self.settle(now);
    }

    fn is_abandoned(&self, id: i64) -> bool {
        self.servers[&ServerId(id)].is_abandoned()
    }

    fn settle(&mut self, now: Instant) {
        loop {
            let mut sent = vec![];
            for (&from, server) in self.servers.iter_mut() {
                sent.extend(server.take_tellings().into_iter().map(|t| (from, t)));
            }
            if sent.is_empty() {
                return;
            }
            for (from, telling) in sent {
                if self.up.contains(&telling.to) && self.up.contains(&from) {
                    let to = self.servers.get_mut(&telling.to).unwrap();
                    to.handle_ballot(from, telling.ballot, now);
                }
            }
        }
    }

    fn decide(&mut self, now: Instant) -> BTreeMap<i64, i64> {
        let mut decisions = BTreeMap::new();
        for id in self.up.clone() {
            let server = self.servers.get_mut(&id).unwrap();
            server.on_wake(now);
            if let Some(leader) = server.take_decision() {
                decisions.insert(id.0, leader.0);
            }
        }
        self.settle(now);
        decisions
    }
}

#[test]
fn three_servers_started_in_order_are_led_by_the_second() {
    let mut town = Town::new(3, 0);
    town.start(own(1, 0, 0), 1);
    town.start(own(2, 0, 0), 2);
    assert_eq!(town.decide(at(100)), BTreeMap::new(), "silence must last");
    assert_eq!(town.decide(at(200)), BTreeMap::from([(1, 2), (2, 2)]));
    town.start(own(3, 0, 0), 3);
    assert_eq!(
        town.decide(at(300)),
        BTreeMap::from([(3, 2)]),
        "a late comer joins"
    );
}

#[test]
fn all_voters_agreeing_need_no_silence() {
    let mut town = Town::new(2, 0);
    town.start(own(1, 0, 0), 1);
    town.start(own(2, 0, 0), 2);
    assert_eq!(town.decide(START), BTreeMap::from([(1, 2), (2, 2)]));
}

#[test]
fn the_longest_history_of_the_newest_epoch_wins() {
    let mut town = Town::new(3, 0);
    town.start(own(3, 100, 1), 3);
    town.start(own(1, 7, 2), 1);
    town.start(own(2, 9, 2), 2);
    assert_eq!(
        town.decide(at(200)),
        BTreeMap::from([(1, 2), (2, 2), (3, 2)])
    );
}

#[test]
fn an_observer_learns_who_leads_and_never_votes() {
    let mut town = Town::new(2, 1);
    town.start(own(3, 900, 9), 3);
    town.start(own(1, 0, 0), 1);
    assert_eq!(
        town.decide(at(200)),
        BTreeMap::new(),
        "one voter of two is no quorum"
    );
    town.start(own(2, 0, 0), 2);
    assert_eq!(town.decide(at(400)), BTreeMap::from([(1, 2), (2, 2)]));
    // It hears of it when it asks again.
    town.decide(at(2_000));
    assert_eq!(town.decide(at(2_001)), BTreeMap::from([(3, 2)]));
}

/// Their talk would not end: a voter answers whoever has no vote.
#[test]
fn an_observer_does_not_tell_voters_what_is_better() {
    let mut town = Town::new(3, 1);
    town.start(own(4, 0, 0), 4);
    town.start(own(3, 0, 0), 3);
    town.decide(at(2_000));
    assert_eq!(town.servers[&ServerId(4)].ballot().vote.leader, ServerId(3));
    town.up.retain(|id| id.0 != 3);
    town.start(own(1, 0, 0), 1);
    assert_eq!(town.decide(at(6_000)), BTreeMap::new());
    assert_eq!(town.servers[&ServerId(1)].ballot().vote.leader, ServerId(1));
}

#[test]
fn settled_followers_without_their_leader_convince_nobody() {
    let mut town = Town::new(3, 0);
    for id in 1..=3 {
        town.start(own(id, 0, 0), id);
    }
    assert_eq!(town.decide(at(200)).len(), 3);
    // Server 3 leads and dies; 2 restarts and hears only 1, which still follows 3.
    town.up.retain(|id| id.0 != 3);
    town.servers.insert(
        ServerId(2),
        Election::new(ServerId(2), Voters::of(&config(3, 0))),
    );
    town.up.retain(|id| id.0 != 2);
    town.start(own(2, 0, 0), 2);
    assert_eq!(town.decide(at(5_000)), BTreeMap::new());
}

/// Who died is not waited for, and each survivor notices when it notices.
#[test]
fn survivors_of_a_killed_leader_agree_without_any_wait() {
    let mut town = Town::new(3, 0);
    for id in 1..=3 {
        town.start(own(id, 0, 0), id);
    }
    assert_eq!(town.decide(START).len(), 3);
    town.up.retain(|id| id.0 == 0);
    town.up.extend([ServerId(1), ServerId(2)]);
    let now = at(5_000);
    let look = |town: &mut Town, id: i64| {
        let server = town.servers.get_mut(&ServerId(id)).unwrap();
        server.enter_looking(own(id, 7, 1), now);
        town.settle(now);
        town.refuse(id, 3, now);
    };
    // Its vote reaches the other one, which still follows.
    look(&mut town, 2);
    assert_eq!(town.decide(now), BTreeMap::new());
    look(&mut town, 1);
    assert_eq!(town.decide(now), BTreeMap::from([(1, 2), (2, 2)]));
    assert!(!town.is_abandoned(1) && !town.is_abandoned(2));
}

#[test]
fn a_voter_that_can_be_reached_is_waited_for() {
    let mut town = Town::new(3, 0);
    town.start(own(1, 0, 0), 1);
    town.refuse(1, 3, START);
    town.servers
        .get_mut(&ServerId(1))
        .unwrap()
        .set_present(ServerId(3));
    town.start(own(2, 0, 0), 2);
    town.refuse(2, 3, START);
    // Server 2 could not reach the third one, server 1 has, in the end.
    assert_eq!(town.decide(at(100)), BTreeMap::from([(2, 2)]));
    assert_eq!(town.decide(at(300)), BTreeMap::from([(1, 2)]));
}

#[test]
fn absent_voters_are_no_part_of_the_quorum() {
    let mut town = Town::new(5, 0);
    town.start(own(1, 0, 0), 1);
    town.start(own(2, 0, 0), 2);
    for from in [1, 2] {
        for who in 3..=5 {
            town.refuse(from, who, START);
        }
    }
    assert_eq!(town.decide(at(10_000)), BTreeMap::new());
}

#[test]
fn the_votes_of_a_dead_candidate_elect_nobody() {
    let mut town = Town::new(5, 0);
    for id in 1..=3 {
        town.start(own(id, 0, 0), id);
    }
    assert_eq!(town.decide(at(100)), BTreeMap::new());
    town.up.retain(|id| id.0 != 3);
    town.refuse(1, 3, at(100));
    town.refuse(2, 3, at(100));
    assert_eq!(town.decide(at(1_000)), BTreeMap::new(), "two of five");
    town.start(own(4, 0, 0), 4);
    let led = BTreeMap::from([(1, 4), (2, 4), (4, 4)]);
    assert_eq!(town.decide(at(3_000)), led);
}

/// The price of not having waited, and how it is paid: at once, not after `initLimit`.
#[test]
fn a_leader_whose_voters_changed_their_minds_knows_it() {
    let mut town = Town::new(3, 0);
    town.start(own(1, 0, 0), 1);
    town.start(own(2, 0, 0), 2);
    town.refuse(2, 3, START);
    assert_eq!(town.decide(START), BTreeMap::from([(2, 2)]));
    assert!(!town.is_abandoned(2));
    // The third comes back with a longer history, and the first, which still waits, hears it.
    town.start(own(3, 9, 0), 3);
    assert!(town.is_abandoned(2));
    assert_eq!(town.decide(at(200)), BTreeMap::from([(1, 3), (3, 3)]));
}

#[test]
fn who_follows_knows_that_the_chosen_one_does_not_lead() {
    let mut town = Town::new(3, 0);
    town.start(own(1, 0, 0), 1);
    town.start(own(2, 0, 0), 2);
    town.refuse(1, 3, START);
    assert_eq!(town.decide(START), BTreeMap::from([(1, 2)]));
    town.start(own(3, 9, 0), 3);
    assert!(town.is_abandoned(1), "server 2 votes for the third now");
}
