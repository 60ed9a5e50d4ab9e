//! Disks that fail, lie and forget; starts that are refused; and the operator, who starts a server
//! again, or gives it an empty disk where the others hold all that it had.

use std::time::Duration;

use vivarium_core::config::Config;
use vivarium_core::ids::ServerId;
use vivarium_core::recovery::Recovered;
use vivarium_storage::faulty::{Kind, Rot, Strike};

use super::{Event, World};
use crate::check::atlas::Other;
use crate::crash_points::Recording;
use crate::disk::Opened;
use crate::faults::{Fault, Target};

/// How long the operator waits before the next try.
const OPERATOR_WAITS: Duration = Duration::from_millis(250);

impl World {
    /// Faults of a disk's content and of its answers.
    pub(super) fn strike_disk(&mut self, fault: &Fault) {
        match *fault {
            Fault::FailDisk { who, down } => {
                let Some(h) = self.find(who) else { return };
                self.arm(h, Kind::Sync, 0, down.as_nanos() as u64, down);
            }
            Fault::DiskStrike {
                who,
                kind,
                after,
                word,
                lasts,
                down,
            } => {
                let Some(h) = self.find(who) else { return };
                let strays = [Kind::StrayRead, Kind::StrayWrite];
                if strays.contains(&kind) && !self.can_spare(h) {
                    return;
                }
                match kind {
                    Kind::Write | Kind::Sync | Kind::SyncFull => {}
                    Kind::Read | Kind::StrayRead => {
                        self.crash(h, word.is_multiple_of(2), Some(down));
                    }
                    Kind::StrayWrite => self.plan_disk_well(h, Some(lasts)),
                }
                self.arm(h, kind, after, word, down);
            }
            Fault::FullDisk {
                who,
                room,
                lasts,
                down,
            } => {
                let Some(h) = self.find(who) else { return };
                self.hosts[h].down_after_failure = Some(down);
                self.hosts[h].disk.files().set_room(Some(room));
                self.plan_disk_well(h, lasts);
            }
            Fault::LyingDisk { who, lasts, down } => {
                let Some(h) = self.find(who).filter(|h| self.can_spare(*h)) else {
                    return;
                };
                self.hosts[h].down_after_failure = Some(down);
                self.hosts[h].disk.files().set_lying(true);
                self.plan_disk_well(h, Some(lasts));
            }
            Fault::Rot {
                who,
                kind,
                word,
                down,
            } => {
                let Some(h) = self.find(who).filter(|h| self.can_spare(*h)) else {
                    return;
                };
                self.rot(h, kind, word, down);
            }
            Fault::Ruin { count, word, down } => {
                for i in 0..count {
                    let word = word.rotate_right(8 * i as u32);
                    if let Some(h) = self.find(Target::Any(word)) {
                        self.rot(h, Rot::Sector, word, down);
                    }
                }
            }
            _ => unreachable!("{fault:?} is no fault of a disk"),
        }
    }

    /// Whether the voters that are not damaged would still be a majority without this one.
    fn can_spare(&self, h: usize) -> bool {
        let voters = usize::from(self.config.voters);
        let sound = |other: &usize| {
            let host = &self.hosts[*other];
            *other != h && host.lost.is_none() && !host.disk.files().is_suspect()
        };
        h >= voters || (0..voters).filter(sound).count() > voters / 2
    }

    fn arm(&mut self, h: usize, kind: Kind, after: u64, word: u64, down: Duration) {
        let host = &mut self.hosts[h];
        host.down_after_failure = Some(down);
        host.disk.files().arm(Strike { kind, after, word });
    }

    fn rot(&mut self, h: usize, kind: Rot, word: u64, down: Duration) {
        self.crash(h, true, Some(down));
        self.hosts[h].disk.files().rot(kind, word);
    }

    /// What a starting process finds on its disk. `None` if it does not start; then the operator
    /// has been called.
    pub(super) fn open_disk(&mut self, h: usize, config: &Config) -> Option<Box<Recovered>> {
        let id = self.hosts[h].id;
        let may_forget = self.may_forget(h);
        if let Some(lost) = self.hosts[h].lost.take() {
            if !may_forget {
                self.hosts[h].lost = Some(lost);
                self.call_operator(h);
                return None;
            }
            self.tell(h, format_args!("gets an empty disk"));
            self.hosts[h].disk.replace();
            self.forgot(h);
        }
        let opened = self.hosts[h]
            .disk
            .open(config.seed, config.mutants, may_forget);
        match opened {
            Ok(Opened::Ready { found, forgot }) => {
                if forgot {
                    self.tell(h, format_args!("has forgotten what its disk had reported"));
                    self.forgot(h);
                }
                Some(found)
            }
            Ok(Opened::Refused { why, lost }) => {
                self.tell(h, format_args!("does not start: {why}"));
                self.hosts[h].lost = lost.then(|| why.to_string());
                self.call_operator(h);
                None
            }
            Err(evidence) => {
                self.violate("disk-kept", format!("server {id}: {evidence}"));
                None
            }
        }
    }

    fn call_operator(&mut self, h: usize) {
        let at = self.time.now().after(OPERATOR_WAITS);
        let next = self.hosts[h].incarnation + 1;
        self.time.plan(at, Event::Start(h as u16, next));
    }

    /// The server goes on without something that it had promised, which the atlas allows.
    fn forgot(&mut self, h: usize) {
        self.checks.on_forgot(self.hosts[h].id);
        self.replaced = self.time.now();
        if self.healed {
            self.checks.on_healed(self.time.now());
        }
    }

    /// Whether nothing depends on what this server's disk has reported as stable.
    fn may_forget(&self, h: usize) -> bool {
        let host = &self.hosts[h];
        let others: Vec<Other> = self
            .glances()
            .filter(|g| g.id != host.id)
            .map(|g| Other {
                id: g.id,
                epoch: (g.up && g.serving).then_some(g.epoch),
            })
            .collect();
        let told = host.disk.told();
        self.checks
            .may_forget(host.id, told.applied, told.accepted, &others)
    }

    /// Writes down from now on what happens to every server's files. None runs yet.
    pub fn record_disks(&mut self) {
        for host in &mut self.hosts {
            host.disk.record();
        }
    }

    /// What was written down.
    pub fn recordings(&self) -> impl Iterator<Item = (ServerId, &Recording)> {
        self.hosts
            .iter()
            .filter_map(move |host| host.disk.recording().map(|r| (host.id, r)))
    }

    /// When a server last began again with an empty disk.
    pub fn replaced(&self) -> crate::observe::SimTime {
        self.replaced
    }

    /// The voters that can not start because of what their disks have lost, if the others are no
    /// majority: then nothing may be served any more, and nobody can help.
    pub fn halted_for_good(&self) -> Option<String> {
        let voters = usize::from(self.config.voters);
        let lost: Vec<&super::Host> = self.hosts[..voters]
            .iter()
            .filter(|host| host.lost.is_some())
            .collect();
        if voters - lost.len() > voters / 2 {
            return None;
        }
        let each = |host: &&super::Host| {
            let ServerId(id) = host.id;
            format!("server {id}: {}", host.lost.as_deref().unwrap_or_default())
        };
        Some(lost.iter().map(each).collect::<Vec<_>>().join("; "))
    }
}
