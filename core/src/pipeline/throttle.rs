//! Requests that wait because too many others are in process, and large requests that are too many
//! (ZooKeeper's `RequestThrottler` and its guard against large requests). Off by default.
//!
//! Knows who waits and since when; what a request is, and how one is answered, is the desk's.

use alloc::collections::VecDeque;
use core::time::Duration;

use crate::config;
use crate::ids::ConnId;
use crate::limits::{Limit, REFUSAL_REPORT_INTERVAL};
use crate::time::{Instant, Seldom};
use crate::wire::client::RequestHeader;
use crate::wire::records::op;

/// What happened so far, for `mntr`.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Throttled {
    /// Requests answered `THROTTLEDOP`.
    pub throttled_ops: u64,
    /// Requests that were stale when their turn came.
    pub stale_requests_dropped: u64,
    /// Times that a connection's requests began to wait.
    pub request_throttle_wait_count: u64,
    pub large_requests_rejected: u64,
}

/// When the bytes of one connection came that were not taken up yet. Kept only while requests may
/// have to wait.
#[derive(Default, Debug)]
pub(super) struct Arrivals {
    /// Bytes received up to then, and when; oldest first.
    marks: VecDeque<(u64, Instant)>,
    received: u64,
    taken: u64,
}

impl Arrivals {
    fn note(&mut self, bytes: usize, now: Instant) {
        self.received += bytes as u64;
        self.marks.push_back((self.received, now));
    }

    /// When the next message, of so many bytes, was complete.
    pub(super) fn take(&mut self, bytes: usize) -> Option<Instant> {
        self.taken += bytes as u64;
        while self.marks.front().is_some_and(|m| m.0 < self.taken) {
            self.marks.pop_front();
        }
        let &(upto, at) = self.marks.front()?;
        if upto == self.taken {
            self.marks.pop_front();
        }
        Some(at)
    }
}

/// What becomes of a request whose turn has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    Serve,
    /// Answer `THROTTLEDOP`.
    TooLate,
    /// Close the connection.
    Stale,
}

#[derive(Debug)]
pub(super) struct Throttle {
    rules: config::Throttle,
    /// Connections whose next request waits, oldest first. May name some that are gone.
    waiting: VecDeque<ConnId>,
    /// Bytes of large requests in process.
    large_bytes: usize,
    told: Seldom,
    pub(super) counters: Throttled,
}

impl Throttle {
    pub(super) fn new(rules: &config::Throttle) -> Self {
        Self {
            rules: rules.clone(),
            waiting: VecDeque::new(),
            large_bytes: 0,
            told: Seldom::default(),
            counters: Throttled::default(),
        }
    }

    // ----- requests in process -----

    /// Must a request wait while so many are in process?
    pub(super) fn is_full(&self, outstanding: usize) -> bool {
        self.rules.requests_max > 0 && outstanding >= self.rules.requests_max
    }

    /// The connection's next request has to wait.
    pub(super) fn enqueue(&mut self, conn: ConnId) {
        self.counters.request_throttle_wait_count += 1;
        self.waiting.push_back(conn);
    }

    /// Whose turn it is, if there is room.
    pub(super) fn dequeue(&mut self, outstanding: usize) -> Option<ConnId> {
        if self.is_full(outstanding) {
            return None;
        }
        self.waiting.pop_front()
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
    }

    /// Bytes of a client have come.
    pub(super) fn note(&self, arrivals: &mut Arrivals, bytes: usize, now: Instant) {
        if self.rules.requests_max > 0 {
            arrivals.note(bytes, now);
        }
    }

    /// Judges the next request of a connection: a frame of `bytes`, its length word included.
    pub(super) fn judge(
        &mut self,
        arrivals: &mut Arrivals,
        frame: &[u8],
        session_timeout: Duration,
        now: Instant,
    ) -> Verdict {
        if self.rules.requests_max == 0 {
            return Verdict::Serve;
        }
        let waited = arrivals
            .take(frame.len())
            .map_or(Duration::ZERO, |at| now - at);
        let op = frame.get(8..12).and_then(|b| b.try_into().ok());
        let op = op.map_or(0, i32::from_be_bytes);
        if self.rules.drop_stale
            && self.rules.stale_latency
            && op != op::CLOSE_SESSION
            && waited > session_timeout
        {
            self.counters.stale_requests_dropped += 1;
            return Verdict::Stale;
        }
        let is_exempt = matches!(op, op::PING | op::CLOSE_SESSION | op::AUTH | op::SASL);
        if !is_exempt && !self.rules.wait_max.is_zero() && waited > self.rules.wait_max {
            self.counters.throttled_ops += 1;
            return Verdict::TooLate;
        }
        Verdict::Serve
    }

    /// What is to be reported when a request is too late.
    pub(super) fn tell(&mut self, now: Instant) -> Option<Limit> {
        let max = self.rules.wait_max;
        self.told
            .admit(now, REFUSAL_REPORT_INTERVAL)
            .then_some(Limit::Wait { max })
    }

    // ----- large requests -----

    fn is_large(&self, frame: usize) -> bool {
        self.rules.large_request > 0 && frame > self.rules.large_request
    }

    /// May a frame of this length come, beside the large ones in process?
    pub(super) fn admits(&self, frame: usize) -> bool {
        !self.is_large(frame)
            || self.large_bytes.saturating_add(frame) <= self.rules.large_bytes_max
    }

    /// A request with a body of this length is in process.
    pub(super) fn begin(&mut self, body: usize) {
        let frame = body + RequestHeader::BYTES;
        if self.is_large(frame) {
            self.large_bytes += frame;
        }
    }

    /// It is not any more.
    pub(super) fn end(&mut self, body: usize) {
        let frame = body + RequestHeader::BYTES;
        if self.is_large(frame) {
            self.large_bytes -= frame;
        }
    }
}
