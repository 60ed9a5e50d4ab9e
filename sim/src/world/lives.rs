//! Starts and ends of processes, and what their disks do in between.

use std::time::Duration;

use vivarium_core::config::{Config, LearnerType, Member};
use vivarium_core::ids::ServerId;
use vivarium_core::node::Node;
use vivarium_storage::StorageError;

use super::host::Inbound;
use super::{Event, Weight, World};
use crate::clock::Clock;
use crate::decisions::Lane;
use crate::disk::{Durable, Finished};
use crate::observe::SimTime;

/// Time between two looks for room on a full disk, as in production.
const ROOM_RETRY: Duration = Duration::from_millis(500);

impl World {
    /// Starts a server's process, if none runs.
    pub fn start(&mut self, id: ServerId) {
        let h = self.index(id);
        self.start_as(h, self.hosts[h].incarnation + 1);
    }

    /// Starts the process with this number; a later one may have been started meanwhile.
    pub(super) fn start_as(&mut self, h: usize, process: u32) {
        if self.hosts[h].is_up() || process != self.hosts[h].incarnation + 1 {
            return;
        }
        let config = self.node_config(h);
        self.hosts[h].incarnation = process;
        let Some(found) = self.open_disk(h, &config) else {
            return;
        };
        let host = &mut self.hosts[h];
        let id = host.id;
        let now = host.clock.read(self.time.now());
        host.node = Some(Node::boot(config, *found, now));
        self.net.start(&mut self.time, host.machine);
        let t = self.time.now();
        let host = &self.hosts[h];
        self.checks
            .on_restart(t, id, host.node.as_ref().expect("just started"));
        self.tell(h, format_args!("starts"));
        self.recount(Weight::Member, format_args!("n{} starts", h + 1));
        self.plan_turn(h);
        self.tell_room(h);
    }

    /// What a server's configuration file would say.
    fn node_config(&mut self, h: usize) -> Config {
        let voters = self.config.voters;
        let member = |n: u16| {
            let kind = if n <= voters {
                LearnerType::Participant
            } else {
                LearnerType::Observer
            };
            let member = Member {
                kind,
                host: format!("10.1.0.{n}"),
                quorum_port: 2888,
                election_port: 3888,
                client_address: None,
            };
            (ServerId(i64::from(n)), member)
        };
        let host = &mut self.hosts[h];
        Config {
            me: host.id,
            members: (1..=self.config.voters + self.config.observers)
                .map(member)
                .collect(),
            tick: self.config.tick,
            init_limit: self.config.init_limit,
            sync_limit: self.config.sync_limit,
            session_timeout_min: self.config.session_timeout_min,
            session_timeout_max: self.config.session_timeout_max,
            snap_count: self.config.snap_count,
            seed: host.seed_stream.on(Lane::Seed).seed(),
            rules: self.config.rules.clone(),
            mutants: self.config.mutants,
        }
    }

    /// A process ends without a word; with `power` its machine goes dark and loses what was not
    /// synced. It starts again after `down`, if told.
    pub(super) fn crash(&mut self, h: usize, power: bool, down: Option<Duration>) {
        if !self.hosts[h].is_up() {
            return;
        }
        let t = self.time.now();
        let how = if power { "loses power" } else { "is killed" };
        self.tell(h, format_args!("{how}"));
        self.recount(Weight::Fault, format_args!("n{} {how}", h + 1));
        if self.hosts[h].paused.is_some() {
            self.calmed(h);
        }
        let host = &mut self.hosts[h];
        host.wipe();
        host.disk.crash(power);
        self.net.crash(&mut self.time, host.machine, power);
        if power {
            let drift = host.clock.drift_ppm();
            let wall_off_max = self.config.clock.wall_off_max;
            let wall_off = host
                .clock_stream
                .on(Lane::Clock)
                .range_signed(-wall_off_max, wall_off_max);
            host.clock = Clock::new(t, host.clock_stream.below(1 << 40), wall_off, drift);
        }
        self.checks.on_crash(t, host.id);
        if let Some(down) = down {
            self.time
                .plan(t.after(down), Event::Start(h as u16, host.incarnation + 1));
        }
    }

    /// Starts the next group of writes, if the disk is free.
    pub(super) fn start_group(&mut self, h: usize) {
        let host = &mut self.hosts[h];
        if let Some(takes) = host.disk.start_group(&self.config.disk) {
            let at = SimTime(self.time.now().0 + takes);
            self.time.plan(at, Event::Disk(h as u16, host.incarnation));
        }
    }

    pub(super) fn group_ends(&mut self, h: usize, process: u32) {
        let host = &mut self.hosts[h];
        if !host.is_up() || host.incarnation != process {
            return;
        }
        if host.disk.stalled {
            host.disk.held = true;
            return;
        }
        let mut durable = std::mem::take(&mut self.durable);
        let finished = host.disk.finish_group(&mut durable);
        self.group_has_ended(h, finished, durable);
    }

    /// A server whose disk is full may find room now.
    pub(super) fn look_for_room(&mut self, h: usize, process: u32) {
        let host = &mut self.hosts[h];
        if !host.is_up() || host.incarnation != process {
            return;
        }
        host.disk.retry_planned = false;
        if host.disk.stalled {
            return self.tell_room(h);
        }
        let mut durable = std::mem::take(&mut self.durable);
        let finished = host.disk.retry(&mut durable);
        self.group_has_ended(h, finished, durable);
    }

    /// The machine hears whether there is room whenever that has changed; while there is none
    /// somebody looks for it.
    fn tell_room(&mut self, h: usize) {
        let (t, host) = (self.time.now(), &mut self.hosts[h]);
        let low = host.disk.is_low();
        if low && !std::mem::replace(&mut host.disk.retry_planned, true) {
            let process = host.incarnation;
            self.time
                .plan(t.after(ROOM_RETRY), Event::Room(h as u16, process));
        }
        if std::mem::replace(&mut host.disk.told_low, low) == low {
            return;
        }
        let what = if low { "has no room" } else { "has room again" };
        self.tell(h, format_args!("{what}"));
        self.enter(h, Inbound::DiskRoom { low });
    }

    fn group_has_ended(
        &mut self,
        h: usize,
        finished: Result<Finished, StorageError>,
        mut durable: Vec<Durable>,
    ) {
        let (t, id) = (self.time.now(), self.hosts[h].id);
        for what in durable.drain(..) {
            match what {
                Durable::Record { zxid } => {
                    self.recount_durable(id, zxid);
                    self.checks.on_durable(t, id, zxid);
                }
                Durable::Truncated { after } => self.checks.on_truncated(t, id, after),
                Durable::Installed { zxid, digest } => {
                    self.checks.on_installed(t, id, zxid, digest);
                }
            }
        }
        self.durable = durable;
        match finished {
            Ok(Finished::Persisted { upto }) => self.enter(h, Inbound::Persisted { upto }),
            Ok(Finished::Reloaded { seq, state }) => {
                self.enter(h, Inbound::Reloaded { seq, state });
            }
            Ok(Finished::Waits) => {}
            Ok(Finished::Failed { upto }) => return self.enter(h, Inbound::DiskFailed { upto }),
            Err(refusal) => {
                let evidence = format!("server {id}: a healthy disk refused: {refusal}");
                return self.violate("storage-refused", evidence);
            }
        }
        self.tell_room(h);
        self.start_group(h);
    }

    pub(super) fn plan_snapshot_step(&mut self, h: usize, takes: Option<u64>) {
        if let Some(takes) = takes {
            let at = SimTime(self.time.now().0 + takes);
            self.time
                .plan(at, Event::Snapshot(h as u16, self.hosts[h].incarnation));
        }
    }

    pub(super) fn snapshot_step_ends(&mut self, h: usize, process: u32) {
        let host = &mut self.hosts[h];
        if !host.is_up() || host.incarnation != process {
            return;
        }
        if host.disk.waits() {
            // It comes behind the write that has found no room.
            let wait = ROOM_RETRY.as_nanos() as u64;
            return self.plan_snapshot_step(h, Some(wait));
        }
        let id = host.id;
        match host.disk.finish_snapshot(&self.config.disk) {
            Ok((ok, takes)) => {
                self.plan_snapshot_step(h, takes);
                self.enter(h, Inbound::SnapshotStored { ok });
            }
            Err(refusal) => {
                let evidence = format!("server {id}: a healthy disk refused: {refusal}");
                self.violate("storage-refused", evidence);
            }
        }
    }

    /// A process is told to stop.
    pub fn stop(&mut self, id: ServerId) {
        let h = self.index(id);
        if self.hosts[h].is_up() {
            self.enter(h, Inbound::Stop);
        }
    }
}
