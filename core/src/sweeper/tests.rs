use super::*;
use crate::mutants::Mutants;
use crate::prepare::lab::{Lab, create_with, set};
use crate::wire::client::CreateOp;
use crate::wire::records::op;

/// A server whose sweeper looks every minute.
struct Swept {
    lab: Lab,
    sweeper: Sweeper,
    now: Now,
}

fn rules() -> Rules {
    Rules {
        extended_types: true,
        ..Rules::default()
    }
}

impl Swept {
    fn under(rules: &Rules) -> Self {
        Self {
            lab: Lab::under(rules, Mutants::NONE),
            sweeper: Sweeper::start(rules, Mutants::NONE, Instant(0)),
            // The lab's transactions happen in second 1.
            now: Now {
                mono: Instant(0),
                wall: WallMs(1_000),
            },
        }
    }

    fn new() -> Self {
        Self::under(&rules())
    }

    fn container(&mut self, path: &str) {
        self.lab
            .write(&create_with(CreateOp::Container, path, 4))
            .unwrap();
    }

    fn ttl(&mut self, path: &str, ms: i64) {
        self.lab
            .write(&create_with(CreateOp::Ttl(ms), path, 5))
            .unwrap();
    }

    fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono + Duration::from_millis(ms);
        self.now.wall.0 += ms as i64;
    }

    /// What one step finds; nothing is deleted.
    fn step(&mut self) -> Vec<String> {
        self.sweeper
            .step(&self.lab.db, &self.lab.outstanding, self.now)
    }

    /// Sweeps to the end of the round that is due; everything found is deleted at once.
    fn sweep(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            for path in self.step() {
                self.propose(&path);
                self.lab.apply_all();
                all.push(path);
            }
            if self.sweeper.round.is_none() {
                return all;
            }
            let wait = self.sweeper.deadline().unwrap() - self.now.mono;
            self.pass(wait.as_millis() as u64);
        }
    }

    fn propose(&mut self, path: &str) {
        let session = core::mem::replace(&mut self.lab.session, crate::ids::SessionId::NOBODY);
        self.lab
            .propose_bytes(op::DELETE_CONTAINER, path.as_bytes());
        self.lab.session = session;
    }
}

#[test]
fn a_container_goes_with_its_last_child_within_one_interval() {
    let mut swept = Swept::new();
    swept.container("/k");
    swept.lab.create("/k/c").unwrap();
    swept.pass(60_000);
    assert_eq!(swept.sweep(), [""; 0], "it has a child");
    swept.lab.delete("/k/c", -1).unwrap();
    swept.pass(59_999);
    assert_eq!(swept.sweep(), [""; 0], "too early");
    swept.pass(1);
    assert_eq!(swept.sweep(), ["/k"]);
    assert!(!swept.lab.has("/k"));
}

#[test]
fn a_container_that_was_never_used_stays_unless_told_otherwise() {
    let mut swept = Swept::new();
    swept.container("/k");
    swept.pass(1_000_000_000);
    assert_eq!(swept.sweep(), [""; 0]);
    let mut swept = Swept::under(&Rules {
        container_never_used: Duration::from_secs(300),
        ..rules()
    });
    swept.container("/k");
    swept.pass(300_001);
    swept.lab.set("/k", b"still wanted", -1).unwrap();
    assert_eq!(swept.lab.stat("/k").mtime, 1_002);
    assert_eq!(swept.sweep(), [""; 0], "300 s after 1.002 are not over");
    swept.pass(60_000);
    assert_eq!(swept.sweep(), ["/k"]);
}

#[test]
fn a_ttl_node_goes_when_it_is_old_and_childless() {
    let mut swept = Swept::new();
    swept.ttl("/t", 60_000);
    swept.lab.create("/t/c").unwrap();
    swept.ttl("/young", 1_000_000);
    swept.pass(120_000);
    assert_eq!(swept.sweep(), [""; 0], "it has a child");
    swept.lab.delete("/t/c", -1).unwrap();
    swept.pass(60_000);
    assert_eq!(swept.sweep(), ["/t"]);
    assert!(swept.lab.has("/young"));
}

#[test]
fn new_data_restarts_the_clock_of_a_ttl_node_and_a_new_access_list_does_not() {
    let mut swept = Swept::new();
    swept.ttl("/t", 60_000);
    swept.ttl("/u", 60_000);
    swept.pass(60_000);
    assert_eq!(swept.sweep(), [""; 0], "not older than its TTL");
    // The lab's clock stands; move the machine's instead: /t was changed at its end.
    swept.pass(60_000);
    swept.lab.propose(&set("/t", b"new", -1));
    let acl = [crate::wire::records::Acl::world(31)];
    swept.lab.apply_all();
    swept.lab.set_acl("/u", &acl, -1).unwrap();
    swept.now.wall = WallMs(swept.lab.stat("/t").mtime + 60_000);
    assert_eq!(swept.sweep(), ["/u"]);
}

#[test]
fn a_wall_clock_that_was_set_back_makes_nothing_due_and_breaks_nothing() {
    let mut swept = Swept::new();
    swept.ttl("/t", 1);
    swept.pass(60_000);
    swept.now.wall = WallMs(-5_000);
    assert_eq!(swept.sweep(), [""; 0]);
    swept.pass(60_000);
    swept.now.wall = WallMs(i64::MIN);
    assert_eq!(swept.sweep(), [""; 0]);
    swept.pass(60_000);
    swept.now.wall = WallMs(i64::MAX);
    assert_eq!(swept.sweep(), ["/t"]);
}

#[test]
fn what_is_proposed_counts() {
    let mut swept = Swept::new();
    for path in ["/filled", "/gone", "/changed", "/due"] {
        swept.ttl(path, 1);
    }
    swept.now.wall = WallMs(1_010);
    swept.now.mono = Instant(0) + Duration::from_secs(60);
    swept
        .lab
        .propose(&create_with(CreateOp::Create, "/filled/c", 0));
    swept.propose("/gone");
    let fresh = swept.lab.zxid.counter() + 5;
    swept.now.wall = WallMs(1_000 + i64::from(fresh));
    for _ in 0..4 {
        swept.lab.propose(&set("/changed", b"new", -1));
    }
    let mut found = Vec::new();
    while swept.now.mono.0 == 0 || found.is_empty() || swept.sweeper.round.is_some() {
        found.extend(swept.step());
        swept.now.mono = swept.sweeper.deadline().unwrap();
    }
    assert_eq!(found, ["/due"]);
    // It is found once more, but not once its end is proposed.
    swept.propose("/due");
    assert_eq!(swept.step(), [""; 0]);
    swept.lab.apply_all();
    assert!(swept.lab.has("/filled/c") && swept.lab.has("/changed"));
}

#[test]
fn deletions_are_spaced_evenly() {
    let mut swept = Swept::under(&Rules {
        container_max_per_minute: 600,
        ..rules()
    });
    for n in 0..5 {
        swept.ttl(&alloc::format!("/t{n}"), 1);
    }
    swept.pass(60_000);
    for _ in 0..5 {
        assert_eq!(swept.step().len(), 1);
        assert_eq!(swept.step(), [""; 0], "not twice at once");
        swept.pass(99);
        assert_eq!(swept.step(), [""; 0]);
        swept.pass(1);
    }
    assert_eq!(swept.step(), [""; 0]);
    assert_eq!(
        swept.sweeper.deadline(),
        Some(Instant(0) + Duration::from_secs(120))
    );
}

#[test]
fn a_round_longer_than_the_interval_is_followed_by_a_pause() {
    let mut swept = Swept::under(&Rules {
        container_max_per_minute: 600,
        container_check_interval: Duration::from_millis(100),
        ..rules()
    });
    for n in 0..3 {
        swept.ttl(&alloc::format!("/t{n}"), 1);
    }
    swept.pass(60_000);
    for _ in 0..6 {
        swept.step();
        assert!(swept.sweeper.deadline() > Some(swept.now.mono));
        swept.pass(100);
    }
}

#[test]
fn a_high_rate_takes_several_at_once_and_a_rate_of_nothing_none() {
    let mut swept = Swept::under(&Rules {
        container_max_per_minute: 180_000,
        ..rules()
    });
    for n in 0..5 {
        swept.ttl(&alloc::format!("/t{n}"), 1);
    }
    swept.pass(60_000);
    assert_eq!(swept.step().len(), 3);
    let never = Sweeper::start(
        &Rules {
            container_max_per_minute: 0,
            ..rules()
        },
        Mutants::NONE,
        Instant(0),
    );
    assert_eq!(never.deadline(), None);
}

#[test]
fn a_step_looks_at_a_bounded_number_of_nodes() {
    let mut swept = Swept::new();
    for n in 0..=SWEEP_NODES_PER_STEP {
        swept.ttl(&alloc::format!("/t{n:04}"), 1_000_000_000);
    }
    swept.pass(60_000);
    assert_eq!(swept.step(), [""; 0]);
    assert!(swept.sweeper.round.is_some(), "one is left");
    assert!(swept.sweeper.deadline().unwrap() > swept.now.mono);
    swept.pass(1_000);
    assert_eq!(swept.step(), [""; 0]);
    assert!(swept.sweeper.round.is_none());
}
