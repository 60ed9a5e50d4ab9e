//! The leader's account of who is alive (ZooKeeper's `SessionTrackerImpl`): only a leader or a
//! standalone server expires sessions. Knows deadlines and owners, not znodes.
//!
//! Deadlines are rounded up to the next tick, so a session ends between its timeout and its
//! timeout plus one tick after it was last heard of, and one wake-up serves a whole bucket.

use alloc::collections::{BTreeMap, BTreeSet};
use core::time::Duration;

use crate::ids::{LinkId, SessionId};
use crate::time::Instant;

/// The server that a session is connected through.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    /// This server.
    Here,
    /// The learner behind this link.
    Learner(LinkId),
}

/// May a request of a session go on?
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Good,
    /// Unknown, expired or closing.
    Expired,
    /// Connected through another server by now.
    Moved,
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    timeout: Duration,
    /// The bucket in `buckets` that holds this session; never in the past of the last `expire`,
    /// unless closing.
    deadline: Instant,
    owner: Option<Owner>,
    closing: bool,
}

/// Deadlines of all global sessions.
#[derive(Debug)]
pub(crate) struct Tracker {
    tick: Duration,
    sessions: BTreeMap<SessionId, Tracked>,
    buckets: BTreeMap<Instant, BTreeSet<SessionId>>,
}

impl Tracker {
    /// Every known session gets its full timeout anew: a new leader can not know who was heard.
    pub(crate) fn start(tick: Duration, sessions: &BTreeMap<SessionId, i32>, now: Instant) -> Self {
        assert!(!tick.is_zero());
        let mut tracker = Self {
            tick,
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
        };
        for (&session, &timeout_ms) in sessions {
            tracker.open(session, timeout_ms, None, now);
        }
        tracker
    }

    /// A session begins, or a createSession is repeated for a known one.
    pub(crate) fn open(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Option<Owner>,
        now: Instant,
    ) {
        let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
        let deadline = self.round_up(now + timeout);
        self.forget(session);
        self.sessions.insert(
            session,
            Tracked {
                timeout,
                deadline,
                owner,
                closing: false,
            },
        );
        self.buckets.entry(deadline).or_default().insert(session);
    }

    /// The session was heard of. False if it is unknown or closing.
    pub(crate) fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Instant) -> bool {
        let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
        let deadline = self.round_up(now + timeout);
        let Some(tracked) = self.sessions.get_mut(&session) else {
            return false;
        };
        if tracked.closing {
            return false;
        }
        tracked.timeout = timeout;
        if deadline > tracked.deadline {
            let old = core::mem::replace(&mut tracked.deadline, deadline);
            Self::leave_bucket(&mut self.buckets, old, session);
            self.buckets.entry(deadline).or_default().insert(session);
        }
        true
    }

    /// The session is connected through this server from now on.
    pub(crate) fn set_owner(&mut self, session: SessionId, owner: Owner) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.owner = Some(owner);
        }
    }

    /// Where a request of this session stands. The first request settles an unknown owner.
    pub(crate) fn check(&mut self, session: SessionId, owner: Owner) -> Standing {
        match self.sessions.get_mut(&session) {
            None => Standing::Expired,
            Some(tracked) if tracked.closing => Standing::Expired,
            Some(tracked) => match *tracked.owner.get_or_insert(owner) {
                known if known == owner => Standing::Good,
                _ => Standing::Moved,
            },
        }
    }

    /// A learner's link is gone: its sessions may come back through anybody.
    pub(crate) fn disown(&mut self, link: LinkId) {
        for tracked in self.sessions.values_mut() {
            if tracked.owner == Some(Owner::Learner(link)) {
                tracked.owner = None;
            }
        }
    }

    /// A closeSession is on its way; nothing else of this session is taken.
    pub(crate) fn close(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.get_mut(&session) {
            tracked.closing = true;
            Self::leave_bucket(&mut self.buckets, tracked.deadline, session);
        }
    }

    /// The session's closeSession was applied.
    pub(crate) fn forget(&mut self, session: SessionId) {
        if let Some(tracked) = self.sessions.remove(&session) {
            Self::leave_bucket(&mut self.buckets, tracked.deadline, session);
        }
    }

    /// Marks one session whose deadline has passed as closing and names it.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<SessionId> {
        let (&deadline, bucket) = self.buckets.first_key_value()?;
        if deadline > now {
            return None;
        }
        let session = *bucket.first().expect("empty buckets are removed");
        self.close(session);
        Some(session)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.buckets.first_key_value().map(|(at, _)| *at)
    }

    fn round_up(&self, at: Instant) -> Instant {
        let tick = self.tick.as_nanos() as u64;
        Instant((at.0 / tick + 1) * tick)
    }

    fn leave_bucket(
        buckets: &mut BTreeMap<Instant, BTreeSet<SessionId>>,
        deadline: Instant,
        session: SessionId,
    ) {
        if let Some(bucket) = buckets.get_mut(&deadline) {
            bucket.remove(&session);
            if bucket.is_empty() {
                buckets.remove(&deadline);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: SessionId = SessionId(1);
    const TICK: Duration = Duration::from_millis(100);

    fn at(ms: u64) -> Instant {
        Instant(ms * 1_000_000)
    }

    fn tracker() -> Tracker {
        Tracker::start(TICK, &BTreeMap::from([(A, 250)]), at(0))
    }

    #[test]
    fn a_session_ends_between_its_timeout_and_one_tick_later() {
        let mut t = tracker();
        assert_eq!(t.expire(at(250)), None);
        assert_eq!(t.deadline(), Some(at(300)));
        assert_eq!(t.expire(at(300)), Some(A));
        assert_eq!(t.expire(at(300)), None);
        assert!(
            !t.touch(A, 250, at(300)),
            "a closing session can not be saved"
        );
    }

    #[test]
    fn a_touch_moves_the_deadline() {
        let mut t = tracker();
        assert!(t.touch(A, 250, at(299)));
        assert_eq!(t.expire(at(500)), None);
        assert_eq!(t.expire(at(600)), Some(A));
    }

    #[test]
    fn a_request_through_the_old_server_is_moved() {
        let mut t = tracker();
        assert_eq!(t.check(A, Owner::Here), Standing::Good);
        t.set_owner(A, Owner::Learner(LinkId(7)));
        assert_eq!(t.check(A, Owner::Here), Standing::Moved);
        assert_eq!(t.check(A, Owner::Learner(LinkId(7))), Standing::Good);
        assert_eq!(t.check(SessionId(9), Owner::Here), Standing::Expired);
    }
}
