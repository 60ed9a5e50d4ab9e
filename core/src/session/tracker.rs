//! The leader's account of who is alive (ZooKeeper's `SessionTrackerImpl`): only a leader or a
//! standalone server expires sessions. Knows deadlines and owners, not znodes.
//!
//! Deadlines are rounded up to the next tick, so a session ends between its timeout and its
//! timeout plus one tick after it was last heard of, and one wake-up serves a whole bucket.
//!
//! A session's clock starts when its createSession is applied. ZooKeeper counts from the proposal:
//! where the commit is slow, a session is over before its client has heard of it.

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
    /// Never heard of; or over, and not remembered.
    Unknown,
    /// Over, or about to be.
    Expired,
    /// Connected through another server by now.
    Moved,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Life {
    /// Its createSession is proposed. No time runs.
    Proposed,
    /// The bucket that holds it; never in the past of the last `expire`.
    Alive { deadline: Instant },
    /// Its closeSession is proposed.
    Closing,
    /// Its closeSession was applied. Kept until then, see [`Tracker::remember`].
    Gone { until: Instant },
}

#[derive(Clone, Copy, Debug)]
struct Tracked {
    timeout: Duration,
    owner: Option<Owner>,
    life: Life,
}

impl Tracked {
    fn bucket(&self) -> Option<Instant> {
        match self.life {
            Life::Alive { deadline: at } | Life::Gone { until: at } => Some(at),
            Life::Proposed | Life::Closing => None,
        }
    }
}

/// Who lives, and until when.
#[derive(Debug)]
pub(crate) struct Tracker {
    tick: Duration,
    /// How long sessions that are over are known as such.
    memory: Duration,
    sessions: BTreeMap<SessionId, Tracked>,
    buckets: BTreeMap<Instant, BTreeSet<SessionId>>,
}

impl Tracker {
    /// Knows nobody.
    pub(crate) fn new(tick: Duration) -> Self {
        assert!(!tick.is_zero());
        Self {
            tick,
            memory: Duration::ZERO,
            sessions: BTreeMap::new(),
            buckets: BTreeMap::new(),
        }
    }

    /// Every known session gets its full timeout anew: a new leader can not know who was heard.
    pub(crate) fn start(tick: Duration, sessions: &BTreeMap<SessionId, i32>, now: Instant) -> Self {
        let mut tracker = Self::new(tick);
        for (&session, &timeout_ms) in sessions {
            tracker.adopt(session, timeout_ms, now);
        }
        tracker
    }

    /// Tells sessions that are over from those it never knew, for this long after their end. Where
    /// an unknown session may be somebody's local one, a request of an ended session that was on
    /// its way must still be refused.
    pub(crate) fn remember(&mut self, memory: Duration) {
        self.memory = memory;
    }

    pub(crate) fn len(&self) -> usize {
        self.sessions.len()
    }

    pub(crate) fn contains(&self, session: SessionId) -> bool {
        self.sessions.contains_key(&session)
    }

    /// A session that exists.
    pub(crate) fn adopt(&mut self, session: SessionId, timeout_ms: i32, now: Instant) {
        self.open(session, timeout_ms, None);
        self.begin(session, now);
    }

    /// A createSession is proposed. False if the session is over: it can not be created again. A
    /// known one only changes its owner.
    pub(crate) fn open(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Option<Owner>,
    ) -> bool {
        let proposed = Tracked {
            timeout: Duration::from_millis(timeout_ms.max(0) as u64),
            owner: None,
            life: Life::Proposed,
        };
        let tracked = self.sessions.entry(session).or_insert(proposed);
        if matches!(tracked.life, Life::Closing | Life::Gone { .. }) {
            return false;
        }
        tracked.owner = owner;
        true
    }

    /// Its createSession was applied: from now on its client may know of it, and it must be heard.
    pub(crate) fn begin(&mut self, session: SessionId, now: Instant) {
        if let Some(tracked) = self.sessions.get(&session)
            && matches!(tracked.life, Life::Proposed | Life::Alive { .. })
        {
            let deadline = self.round_up(now + tracked.timeout);
            self.set_life(session, Life::Alive { deadline });
        }
    }

    /// The session was heard of. False if it is unknown or over.
    pub(crate) fn touch(&mut self, session: SessionId, timeout_ms: i32, now: Instant) -> bool {
        let timeout = Duration::from_millis(timeout_ms.max(0) as u64);
        let later = self.round_up(now + timeout);
        let Some(tracked) = self.sessions.get_mut(&session) else {
            return false;
        };
        match tracked.life {
            Life::Closing | Life::Gone { .. } => return false,
            Life::Proposed => tracked.timeout = timeout,
            Life::Alive { deadline } => {
                tracked.timeout = timeout;
                if later > deadline {
                    self.set_life(session, Life::Alive { deadline: later });
                }
            }
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
            None => Standing::Unknown,
            Some(tracked) if matches!(tracked.life, Life::Closing | Life::Gone { .. }) => {
                Standing::Expired
            }
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
        if let Some(tracked) = self.sessions.get(&session)
            && !matches!(tracked.life, Life::Gone { .. })
        {
            self.set_life(session, Life::Closing);
        }
    }

    /// The session's closeSession was applied.
    pub(crate) fn forget(&mut self, session: SessionId, now: Instant) {
        if self.memory.is_zero() {
            self.leave_bucket(session);
            self.sessions.remove(&session);
        } else if self.sessions.contains_key(&session) {
            let until = self.round_up(now + self.memory);
            self.set_life(session, Life::Gone { until });
        }
    }

    /// One whose time is over: to be expired, or to be forgotten.
    pub(crate) fn first_due(&self, now: Instant) -> Option<SessionId> {
        let (&at, bucket) = self.buckets.first_key_value()?;
        let session = *bucket.first().expect("empty buckets are removed");
        (at <= now).then_some(session)
    }

    /// Marks one session whose deadline has passed as closing and names it.
    pub(crate) fn expire(&mut self, now: Instant) -> Option<SessionId> {
        loop {
            let session = self.first_due(now)?;
            if let Life::Gone { .. } = self.sessions[&session].life {
                self.leave_bucket(session);
                self.sessions.remove(&session);
                continue;
            }
            self.close(session);
            return Some(session);
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.buckets.first_key_value().map(|(at, _)| *at)
    }

    fn round_up(&self, at: Instant) -> Instant {
        let tick = self.tick.as_nanos() as u64;
        Instant((at.0 / tick + 1) * tick)
    }

    /// Keeps the buckets true.
    fn set_life(&mut self, session: SessionId, life: Life) {
        self.leave_bucket(session);
        let tracked = self.sessions.get_mut(&session).expect("it is tracked");
        tracked.life = life;
        if let Some(at) = tracked.bucket() {
            self.buckets.entry(at).or_default().insert(session);
        }
    }

    fn leave_bucket(&mut self, session: SessionId) {
        let Some(at) = self.sessions.get(&session).and_then(Tracked::bucket) else {
            return;
        };
        let bucket = self.buckets.get_mut(&at).expect("it holds the session");
        assert!(bucket.remove(&session), "buckets follow lives");
        if bucket.is_empty() {
            self.buckets.remove(&at);
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
        assert_eq!(t.check(SessionId(9), Owner::Here), Standing::Unknown);
    }

    #[test]
    fn a_session_has_its_whole_timeout_from_when_it_exists() {
        let (mut t, b, here) = (tracker(), SessionId(2), Some(Owner::Here));
        assert!(t.open(b, 250, here));
        assert_eq!(t.expire(at(900)), Some(A), "the one that existed");
        assert_eq!(t.expire(at(900)), None, "no time runs before the commit");
        assert_eq!(
            t.check(b, Owner::Here),
            Standing::Good,
            "it may be asked for behind it"
        );
        assert!(t.touch(b, 350, at(900)));
        t.begin(b, at(1_000));
        assert_eq!(t.deadline(), Some(at(1_400)));
        assert_eq!(t.expire(at(1_399)), None);
        assert_eq!(t.expire(at(1_400)), Some(b));
        t.begin(b, at(1_500));
        assert!(
            !t.open(b, 250, here),
            "what is closing is not created again"
        );
        assert_eq!(
            (t.deadline(), t.check(b, Owner::Here)),
            (None, Standing::Expired)
        );
    }

    #[test]
    fn a_repeated_create_keeps_the_deadline_and_moves_the_session() {
        let mut t = tracker();
        let there = Owner::Learner(LinkId(7));
        assert!(t.open(A, 5_000, Some(there)));
        assert_eq!(t.check(A, Owner::Here), Standing::Moved);
        assert_eq!(t.expire(at(300)), Some(A));
    }

    #[test]
    fn sessions_that_are_over_are_remembered_for_a_while() {
        let mut t = tracker();
        t.close(A);
        t.forget(A, at(100));
        assert_eq!(t.check(A, Owner::Here), Standing::Unknown);
        let mut t = tracker();
        t.remember(Duration::from_millis(500));
        t.close(A);
        t.forget(A, at(100));
        t.close(A);
        assert!(!t.touch(A, 250, at(200)));
        assert_eq!(t.check(A, Owner::Here), Standing::Expired);
        assert_eq!((t.expire(at(699)), t.len()), (None, 1));
        assert_eq!((t.expire(at(700)), t.len()), (None, 0));
        assert_eq!(t.deadline(), None);
    }

    #[test]
    fn a_session_of_a_lost_learner_is_the_first_askers() {
        let mut t = tracker();
        let there = Owner::Learner(LinkId(7));
        t.set_owner(A, there);
        t.disown(LinkId(8));
        assert_eq!(t.check(A, Owner::Here), Standing::Moved);
        t.disown(LinkId(7));
        assert_eq!(t.check(A, Owner::Here), Standing::Good);
        assert_eq!(t.check(A, there), Standing::Moved);
    }
}
