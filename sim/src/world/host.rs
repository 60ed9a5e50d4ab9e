//! One server machine: its process, disk, clocks, and what waits to be read.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use vivarium_core::boundary::{Appetite, Channel};
use vivarium_core::ids::{Epoch, ServerId, WriteSeq};
use vivarium_core::node::{Node, RoleName};
use vivarium_core::recovery::Recovered;

use super::unread::Unread;
use crate::clock::Clock;
use crate::disk::Disk;
use crate::net::{Machine, PipeId, Side};
use crate::observe::SimTime;
use crate::rng::Stream;

/// Bytes taken by a far side that are worth a turn; fewer are told when there is one anyway.
const DRAINED_TURN_BYTES: usize = 64 << 10;

/// What waits in front of the process.
#[derive(Debug)]
pub(super) enum Inbound {
    LinkOpened {
        pipe: PipeId,
        side: Side,
        peer: Option<ServerId>,
        channel: Channel,
    },
    LinkBytes {
        pipe: PipeId,
        from: Machine,
        bytes: Bytes,
    },
    LinkClosed {
        pipe: PipeId,
    },
    DialFailed {
        peer: ServerId,
        channel: Channel,
    },
    ClientOpened {
        pipe: PipeId,
        side: Side,
        from: Machine,
    },
    ClientBytes {
        pipe: PipeId,
        bytes: Bytes,
    },
    ClientClosed {
        pipe: PipeId,
    },
    Persisted {
        upto: WriteSeq,
    },
    Reloaded {
        seq: WriteSeq,
        state: Box<Recovered>,
    },
    SnapshotStored {
        ok: bool,
    },
    DiskRoom {
        low: bool,
    },
    DiskFailed {
        upto: WriteSeq,
    },
    Stop,
}

/// A crash that waits for a turn with effects.
#[derive(Clone, Copy, Debug)]
pub(super) struct PendingCrash {
    pub(super) power: bool,
    pub(super) down: Option<Duration>,
    /// Turns to let pass first.
    pub(super) turns: u64,
}

/// What a server said about itself last.
#[derive(Clone, Debug)]
pub(super) struct View {
    pub(super) role: RoleName,
    pub(super) epoch: Epoch,
    pub(super) serving: bool,
    /// How it was brought up to date last, since it started.
    pub(super) sync: Option<&'static str>,
}

#[derive(Debug)]
pub(super) struct Host {
    pub(super) id: ServerId,
    pub(super) machine: Machine,
    /// The process, if one runs.
    pub(super) node: Option<Node>,
    /// Counts the starts; events of an older process are stale.
    pub(super) incarnation: u32,
    pub(super) disk: Disk,
    pub(super) clock: Clock,
    /// Standing still, and which pause it is.
    pub(super) paused: Option<u32>,
    pub(super) pauses: u32,
    pub(super) inbox: VecDeque<Inbound>,
    /// Apart, because the node may not want to read its clients.
    pub(super) clients: VecDeque<Inbound>,
    /// Connections that the process holds.
    pub(super) open: BTreeMap<PipeId, Side>,
    /// Those of them that are links of the quorum port.
    pub(super) quorum: BTreeSet<PipeId>,
    /// What the far sides took since the last turn, by connection.
    pub(super) drained: Vec<(PipeId, usize)>,
    /// What clients have not read, by connection.
    pub(super) unread: BTreeMap<PipeId, Unread>,
    pub(super) turn_at: Option<SimTime>,
    pub(super) wake_at: Option<SimTime>,
    pub(super) turns: u64,
    pub(super) strike: Option<PendingCrash>,
    /// Numbers the faults of the disk, so that the end of one does not end a later one.
    pub(super) disk_faults: u32,
    /// How long the process stays away after a failure of its disk.
    pub(super) down_after_failure: Option<Duration>,
    /// Why the last start was refused, if what the disk held has to come from the others.
    pub(super) lost: Option<String>,
    pub(super) view: View,
    pub(super) turn_stream: Stream,
    pub(super) clock_stream: Stream,
    pub(super) seed_stream: Stream,
}

impl Default for View {
    fn default() -> Self {
        Self {
            role: RoleName::Looking,
            epoch: Epoch(0),
            serving: false,
            sync: None,
        }
    }
}

impl Host {
    pub(super) fn is_up(&self) -> bool {
        self.node.is_some()
    }

    /// Forgets everything that a process had in memory or at its sockets.
    pub(super) fn wipe(&mut self) {
        self.node = None;
        self.paused = None;
        self.inbox.clear();
        self.clients.clear();
        self.open.clear();
        self.quorum.clear();
        self.drained.clear();
        self.unread.clear();
        self.turn_at = None;
        self.wake_at = None;
        self.strike = None;
        self.view = View::default();
    }

    /// The next thing to read, if it is still of interest: what comes over a connection that the
    /// process has closed is not. `hungry`: what the process wants to read.
    pub(super) fn take(&mut self, hungry: Appetite, first: bool) -> Option<Inbound> {
        loop {
            let from_clients = hungry.clients && (first || self.next_of_inbox(hungry).is_none());
            let next = if from_clients {
                self.clients.pop_front()
            } else {
                None
            };
            let next = match next {
                None => self.inbox.remove(self.next_of_inbox(hungry)?)?,
                Some(next) => next,
            };
            match &next {
                Inbound::LinkOpened {
                    pipe,
                    side,
                    channel,
                    ..
                } => {
                    self.open.insert(*pipe, *side);
                    if *channel == Channel::Quorum {
                        self.quorum.insert(*pipe);
                    }
                    return Some(next);
                }
                Inbound::ClientOpened { pipe, side, .. } => {
                    self.open.insert(*pipe, *side);
                    return Some(next);
                }
                Inbound::LinkClosed { pipe } | Inbound::ClientClosed { pipe } => {
                    self.quorum.remove(pipe);
                    if self.open.remove(pipe).is_some() {
                        return Some(next);
                    }
                }
                Inbound::LinkBytes { pipe, .. } | Inbound::ClientBytes { pipe, .. } => {
                    if self.open.contains_key(pipe) {
                        return Some(next);
                    }
                }
                Inbound::DialFailed { .. }
                | Inbound::Persisted { .. }
                | Inbound::Reloaded { .. }
                | Inbound::SnapshotStored { .. }
                | Inbound::DiskRoom { .. }
                | Inbound::DiskFailed { .. }
                | Inbound::Stop => return Some(next),
            }
        }
    }

    /// Is there anything that the process would read now?
    pub(super) fn has_input(&self, hungry: Appetite) -> bool {
        hungry.clients && !self.clients.is_empty() || self.next_of_inbox(hungry).is_some()
    }

    /// The oldest that may be read. A link that is not read shows neither bytes nor its end.
    fn next_of_inbox(&self, hungry: Appetite) -> Option<usize> {
        if hungry.quorum {
            return (!self.inbox.is_empty()).then_some(0);
        }
        let waits = |inbound: &Inbound| match inbound {
            Inbound::LinkBytes { pipe, .. } | Inbound::LinkClosed { pipe } => {
                self.quorum.contains(pipe) && self.open.contains_key(pipe)
            }
            _ => false,
        };
        self.inbox.iter().position(|inbound| !waits(inbound))
    }

    /// Bytes of the same connection that wait right behind.
    pub(super) fn take_more_of(&mut self, of: PipeId) -> Option<Bytes> {
        match self.inbox.front() {
            Some(Inbound::LinkBytes { pipe, .. }) if *pipe == of => {}
            _ => return None,
        }
        match self.inbox.pop_front() {
            Some(Inbound::LinkBytes { bytes, .. }) => Some(bytes),
            _ => unreachable!("the front was looked at"),
        }
    }

    /// Notes that the far side took bytes; true if that is worth a turn of its own.
    pub(super) fn drain(&mut self, link: PipeId, count: usize) -> bool {
        let at = match self.drained.iter().position(|(pipe, _)| *pipe == link) {
            Some(at) => at,
            None => {
                self.drained.push((link, 0));
                self.drained.len() - 1
            }
        };
        self.drained[at].1 += count;
        self.drained[at].1 >= DRAINED_TURN_BYTES
    }
}
