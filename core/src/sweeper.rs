//! Containers and TTL nodes that nobody needs any more (ZooKeeper's `ContainerManager`).
//!
//! Knows: when a node is due, how often to look, how fast to remove. Works through the tree's own
//! set of such nodes, a bounded piece at a time. Refuses to know: how a node is deleted; the leader
//! does that, by a transaction like any other.

use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use crate::config::Rules;
use crate::database::Database;
use crate::limits::{SWEEP_NODES_PER_STEP, SWEEP_PAUSE_MIN};
use crate::mutants::{Mutant, Mutants};
use crate::prepare::Outstanding;
use crate::time::{Instant, Now, WallMs};
use crate::tree::{NodeId, StoredStat};

const MINUTE: Duration = Duration::from_secs(60);

/// When to look at what.
#[derive(Debug)]
pub(crate) struct Sweeper {
    interval: Duration,
    /// Between two steps of a round.
    pause: Duration,
    /// Most nodes that go in one step; 0 is a sweeper that never begins.
    per_step: u32,
    never_used: Duration,
    next_round: Instant,
    round: Option<Round>,
    mutants: Mutants,
}

/// A round under way.
#[derive(Clone, Copy, Debug)]
struct Round {
    /// All up to this node were looked at.
    after: Option<NodeId>,
    next_step: Instant,
}

impl Sweeper {
    /// The first round begins after one interval: what a client has just made may still be filled.
    pub(crate) fn start(rules: &Rules, mutants: Mutants, now: Instant) -> Self {
        let interval = rules.container_check_interval.max(SWEEP_PAUSE_MIN);
        let spacing = MINUTE.checked_div(rules.container_max_per_minute);
        let per_step = spacing.map_or(0, |spacing| {
            let spacing = spacing.as_nanos().max(1);
            u32::try_from((SWEEP_PAUSE_MIN.as_nanos() / spacing).max(1)).unwrap_or(u32::MAX)
        });
        Self {
            interval,
            pause: spacing.unwrap_or_default().max(SWEEP_PAUSE_MIN),
            per_step,
            never_used: rules.container_never_used,
            next_round: now + interval,
            round: None,
            mutants,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        if self.per_step == 0 {
            return None;
        }
        Some(self.round.map_or(self.next_round, |round| round.next_step))
    }

    /// Goes on as far as the clock allows. Gives the full paths of nodes to delete now: each is due
    /// in the tree as it is, and in the tree as it will be after all that is proposed.
    pub(crate) fn step(
        &mut self,
        db: &Database,
        outstanding: &Outstanding,
        now: Now,
    ) -> Vec<String> {
        if self.deadline().is_none_or(|at| at > now.mono) {
            return Vec::new();
        }
        let mut round = self.round.take().unwrap_or_else(|| {
            self.next_round = now.mono + self.interval;
            Round {
                after: None,
                next_step: now.mono,
            }
        });
        let mut due = Vec::new();
        for (looked_at, (id, node)) in db.tree().sweepable(round.after).enumerate() {
            if looked_at == SWEEP_NODES_PER_STEP || due.len() == self.per_step as usize {
                round.next_step = now.mono + self.pause;
                self.round = Some(round);
                return due;
            }
            round.after = Some(id);
            if !self.is_due(node.stored(), node.child_count(), now.wall) {
                continue;
            }
            let path = node.path();
            let to_come = outstanding.node(db, &path);
            if to_come.is_some_and(|(stat, children)| self.is_due(&stat, children, now.wall)) {
                due.push(path);
            }
        }
        // A round that took longer than the interval is not followed by another at once.
        self.next_round = self.next_round.max(now.mono + self.pause);
        due
    }

    /// A container goes when its last child has gone, or when none came for long; a TTL node when
    /// it has no children and was not changed for so long. A wall clock that was set back only
    /// makes nodes younger.
    fn is_due(&self, stat: &StoredStat, children: usize, wall: WallMs) -> bool {
        if children > 0 {
            return false;
        }
        let age_ms = wall.0.saturating_sub(stat.mtime);
        if stat.is_container() {
            let never_used_ms = i64::try_from(self.never_used.as_millis()).unwrap_or(i64::MAX);
            return stat.cversion > 0 || (never_used_ms != 0 && age_ms > never_used_ms);
        }
        let is_over = |ttl| age_ms > ttl || self.mutants.has(Mutant::SweptEarly);
        stat.ttl_ms().is_some_and(|ttl| ttl != 0 && is_over(ttl))
    }
}

#[cfg(test)]
mod tests;
