//! What a server knows of its disk besides what is stable: has it room, and does it answer at all.
//! What follows from that for a role is the role's.

use core::time::Duration;

use super::Shared;
use crate::boundary::Event;
use crate::limits::{DISK_QUEUE_BYTES_MAX, MAKE_WAY_INTERVAL, MAKE_WAY_REST_MIN};
use crate::time::{Instant, Seldom};

/// The disk's state, as the driver tells it, and what was done about it.
#[derive(Debug, Default)]
pub(crate) struct DiskState {
    /// Full but for a reserve.
    pub(crate) is_low: bool,
    /// A leader has made way: until then others may elect one of them.
    rests_until: Option<Instant>,
    made_way: Seldom,
}

impl Shared {
    /// Can this server's disk take another write?
    pub(crate) fn has_room(&self) -> bool {
        !self.disk.is_low && !self.is_disk_queue_full()
    }

    /// The disk does not keep up with what it is given, which must not fill memory.
    pub(crate) fn is_disk_queue_full(&self) -> bool {
        self.ledger.unsettled_bytes() > DISK_QUEUE_BYTES_MAX
    }

    /// The oldest write has been on its way for longer than a server may be behind. Such a server
    /// can promise nothing to anybody: it neither leads nor follows before that write is stable.
    pub(crate) fn is_disk_stuck(&self) -> bool {
        let since = self.ledger.waiting_since();
        since.is_some_and(|at| self.now.mono - at > self.disk_patience())
    }

    fn disk_patience(&self) -> Duration {
        let given = self.config.rules.disk_patience;
        if given.is_zero() {
            self.sync_time()
        } else {
            given
        }
    }

    /// Why this leader should make way, if others could lead: its disk is stuck, or it is full. The
    /// latter not again and again.
    pub(crate) fn reason_to_make_way(&mut self) -> Option<&'static str> {
        let now = self.now.mono;
        let why = if self.is_disk_stuck() {
            "the disk is stuck, and others can lead"
        } else if self.disk.is_low && self.disk.made_way.admit(now, MAKE_WAY_INTERVAL) {
            "the disk is full, and others have room"
        } else {
            return None;
        };
        self.disk.rests_until = Some(now + self.sync_time().max(MAKE_WAY_REST_MIN));
        Some(why)
    }

    /// Until when this server keeps out of elections because of its disk.
    pub(crate) fn take_rest(&mut self) -> Option<Instant> {
        let until = self.disk.rests_until.take();
        let stuck = self
            .is_disk_stuck()
            .then(|| self.now.mono + self.config.tick / 2);
        until.max(stuck)
    }

    /// Tells the clients' side whether writes are taken. True if that is news.
    pub(crate) fn set_takes_writes(&mut self, takes: bool) -> bool {
        let is_news = self.clients.takes_writes() != takes;
        if is_news {
            self.clients.set_takes_writes(takes);
            self.report(Event::TakesWrites(takes));
        }
        is_news
    }

    pub(crate) fn on_disk_room(&mut self, low: bool) {
        self.disk.is_low = low;
        if !low {
            self.snapshots.retry();
        }
    }
}
