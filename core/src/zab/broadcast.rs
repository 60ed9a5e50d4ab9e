//! Broadcast as the one who orders writes sees it: requests become proposals, proposals with a
//! quorum of durable copies are committed in order. Serves a leader and a standalone server alike;
//! knows voters, not links: what learners must hear is left in `news` for the leader to send.

use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;

use crate::boundary::Event;
use crate::database::Outcome;
use crate::durable::{Logged, Persisted};
use crate::ids::{Epoch, LinkId, ServerId, SessionId, Zxid};
use crate::limits::{Limit, QUOTA_REPORT_INTERVAL, REFUSAL_REPORT_INTERVAL};
use crate::log::LogEntry;
use crate::mutants::{Mutant, Mutants};
use crate::pipeline::Upstream;
use crate::prepare::{Ask, Outstanding, Refusal};
use crate::quorum::Voters;
use crate::quota::Measure;
use crate::session::Scope;
use crate::session::tracker::{Owner, Standing, Tracker};
use crate::shared::Shared;
use crate::sweeper::Sweeper;
use crate::time::{Instant, Seldom};
use crate::wire::records::{ErrorCode, Id, op};
use crate::wire::txn::TxnHeader;

/// What the learners must be told, in order.
#[derive(Clone, Debug)]
pub(crate) enum News {
    Propose(LogEntry),
    Commit(LogEntry),
    /// This learner's oldest sync is answered.
    Synced(LinkId),
    /// Whether a session that has come to this learner is alive.
    Revalidated(LinkId, SessionId, bool),
}

/// A transaction that waits for its quorum.
#[derive(Debug)]
struct Proposal {
    zxid: Zxid,
    since: Instant,
    /// Servers on whose stable storage it is.
    acks: BTreeSet<ServerId>,
}

/// A sync that waits for everything proposed before it, and for a quorum that still follows.
#[derive(Clone, Copy, Debug)]
struct WaitingSync {
    after: Zxid,
    /// The round of pings that must be answered by a quorum.
    round: u64,
    origin: Owner,
}

/// A request to be ordered, from a client of this server or of a learner.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) origin: Owner,
    pub(crate) session: SessionId,
    /// What this server knows of its own client's session; what others' are, the leader must judge.
    pub(crate) scope: Scope,
    pub(crate) cxid: i32,
    pub(crate) op: i32,
    pub(crate) body: &'a [u8],
    pub(crate) identities: &'a [Id],
}

/// What a learner has sent behind a sync that is not answered.
#[derive(Debug)]
enum Held {
    Request {
        session: SessionId,
        scope: Scope,
        cxid: i32,
        op: i32,
        body: Vec<u8>,
        identities: Vec<Id>,
    },
    Revalidate {
        session: SessionId,
        timeout_ms: i32,
    },
}

impl Held {
    fn is_sync(&self) -> bool {
        matches!(self, Self::Request { op: op::SYNC, .. })
    }
}

/// The order of writes of one epoch.
#[derive(Debug)]
pub(crate) struct Broadcast {
    me: ServerId,
    voters: Voters,
    mutants: Mutants,
    /// Last zxid given out, and the last counter that may be.
    last: Zxid,
    counter_max: u32,
    /// Without a quorum yet, oldest first, zxids rising by one; equal to the tail of the log.
    proposals: VecDeque<Proposal>,
    outstanding: Outstanding,
    tracker: Tracker,
    sweeper: Sweeper,
    syncs: VecDeque<WaitingSync>,
    /// A follower of ZooKeeper's knows its clients' writes and syncs by their order alone. It hangs
    /// for good if a write is committed before the answer to a sync, of whichever session, that it
    /// has sent before. So what a learner sends behind a sync waits for that answer; questions
    /// about sessions, too, for they must not overtake what was asked on an older connection.
    held: BTreeMap<LinkId, VecDeque<Held>>,
    /// Rounds of pings begun, and the newest that a quorum has answered.
    rounds_begun: u64,
    rounds_confirmed: u64,
    /// When the newest sync wants its round. The end of its turn is before that, unless it came at
    /// the end of a turn itself.
    round_due: Instant,
    news: Vec<News>,
    /// The excess that was reported last, and when.
    last_excess: Option<((String, Measure, bool), Instant)>,
    told_frame: Seldom,
    told_memory: Seldom,
    sizes: ProposalSizes,
}

/// Bytes of proposals, for `mntr`; -1 before the first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct ProposalSizes {
    pub(crate) last: i64,
    pub(crate) min: i64,
    pub(crate) max: i64,
}

impl Broadcast {
    /// Starts after the state in `sh`, with the first transaction of `epoch`, or the next one of
    /// the epoch that the state is in.
    pub(crate) fn start(epoch: Epoch, voters: Voters, sh: &Shared) -> Self {
        assert!(
            sh.tail.is_empty(),
            "the initial history is applied before a reign begins"
        );
        assert!(sh.db.applied().epoch() <= epoch);
        let mutants = sh.config.mutants;
        let mut tracker = Tracker::start(sh.config.tick, sh.db.sessions(), sh.now.mono);
        if sh.config.rules.local_sessions {
            // Longer than any request can be on its way: its link would be given up.
            tracker.remember(2 * sh.sync_time());
        }
        Self {
            me: sh.config.me,
            voters,
            mutants,
            last: sh.db.applied().max(epoch.zxid()),
            counter_max: sh.config.rules.epoch_counter_max,
            proposals: VecDeque::new(),
            outstanding: Outstanding::new(&sh.config.rules, mutants),
            tracker,
            sweeper: Sweeper::start(&sh.config.rules, sh.config.mutants, sh.now.mono),
            syncs: VecDeque::new(),
            held: BTreeMap::new(),
            rounds_begun: 0,
            rounds_confirmed: 0,
            round_due: Instant::default(),
            news: Vec::new(),
            last_excess: None,
            told_frame: Seldom::default(),
            told_memory: Seldom::default(),
            sizes: ProposalSizes {
                last: -1,
                min: -1,
                max: -1,
            },
        }
    }

    pub(crate) fn last_proposed(&self) -> Zxid {
        self.last
    }

    pub(crate) fn proposals_len(&self) -> usize {
        self.proposals.len()
    }

    pub(crate) fn syncs_len(&self) -> usize {
        self.syncs.len()
    }

    pub(crate) fn sizes(&self) -> ProposalSizes {
        self.sizes
    }

    /// No zxid of this epoch is left; the leader must make way for a new one (ZOOKEEPER-1277).
    pub(crate) fn is_exhausted(&self) -> bool {
        self.last.counter() >= self.counter_max
    }

    pub(crate) fn take_news(&mut self) -> Vec<News> {
        if self.mutants.has(Mutant::CommitOutOfOrder) {
            let commits = |news: &News| matches!(news, News::Commit(_));
            self.news
                .chunk_by_mut(|a, b| commits(a) && commits(b))
                .for_each(<[_]>::reverse);
        }
        core::mem::take(&mut self.news)
    }

    // ----- sessions -----

    pub(crate) fn touch(&mut self, session: SessionId, timeout_ms: i32, sh: &Shared) -> bool {
        self.tracker.touch(session, timeout_ms, sh.now.mono)
    }

    /// A learner asks whether a session that has come to it is alive; the answer is news.
    pub(crate) fn handle_revalidate(
        &mut self,
        link: LinkId,
        session: SessionId,
        timeout_ms: i32,
        sh: &Shared,
    ) {
        if self.must_hold(link, false) {
            let held = Held::Revalidate {
                session,
                timeout_ms,
            };
            self.held.entry(link).or_default().push_back(held);
            return;
        }
        let is_alive = self.revalidate(session, timeout_ms, Owner::Learner(link), sh);
        self.news.push(News::Revalidated(link, session, is_alive));
    }

    /// A session has arrived at another server, or at the same one again. Is it alive?
    fn revalidate(
        &mut self,
        session: SessionId,
        timeout_ms: i32,
        owner: Owner,
        sh: &Shared,
    ) -> bool {
        let alive = self.tracker.touch(session, timeout_ms, sh.now.mono);
        if alive {
            self.tracker.set_owner(session, owner);
        }
        alive
    }

    pub(crate) fn disown(&mut self, link: LinkId) {
        self.tracker.disown(link);
        self.syncs.retain(|s| s.origin != Owner::Learner(link));
        self.held.remove(&link);
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let round = self.wants_round().then_some(self.round_due);
        let deadlines = [self.tracker.deadline(), self.sweeper.deadline(), round];
        deadlines.into_iter().flatten().min()
    }

    /// What is due by the clock: sessions to close, nodes to sweep.
    pub(crate) fn on_wake(&mut self, sh: &mut Shared) {
        self.expire_sessions(sh);
        self.sweep(sh);
    }

    /// Containers and TTL nodes whose time is over are deleted by nobody's transaction.
    fn sweep(&mut self, sh: &mut Shared) {
        for path in self.sweeper.step(&sh.db, &self.outstanding, sh.now) {
            // What is not deleted now is found again.
            if self.is_exhausted() || !sh.clients.takes_writes() {
                return;
            }
            let (session, op) = (SessionId::NOBODY, op::DELETE_CONTAINER);
            self.propose(session, 0, op, path.as_bytes(), &[], None, sh);
        }
    }

    /// Sessions whose time is over are closed by a transaction, like any other write.
    fn expire_sessions(&mut self, sh: &mut Shared) {
        while !self.is_exhausted() {
            let Some(session) = self.tracker.expire(sh.now.mono) else {
                return;
            };
            sh.report(Event::SessionExpired { session });
            self.propose(session, 0, op::CLOSE_SESSION, &[], &[], None, sh);
        }
    }

    // ----- requests -----

    /// Requests of this server's own clients.
    pub(crate) fn handle_upstream(&mut self, item: Upstream, sh: &mut Shared) {
        match item {
            Upstream::Request {
                session,
                scope,
                cxid,
                op,
                body,
                identities,
            } => {
                let (body, identities) = (&body[..], &identities[..]);
                let origin = Owner::Here;
                self.handle_request(
                    Request {
                        origin,
                        session,
                        scope,
                        cxid,
                        op,
                        body,
                        identities,
                    },
                    sh,
                );
            }
            Upstream::Revalidate {
                session,
                timeout_ms,
            } => {
                let valid = self.revalidate(session, timeout_ms, Owner::Here, sh);
                let (clients, mut serving) = sh.serving();
                clients.on_revalidated(session, valid, &mut serving);
            }
        }
    }

    pub(crate) fn handle_request(&mut self, request: Request<'_>, sh: &mut Shared) {
        match request.origin {
            Owner::Learner(link) if self.must_hold(link, request.op == op::SYNC) => {
                self.held.entry(link).or_default().push_back(Held::Request {
                    session: request.session,
                    scope: request.scope,
                    cxid: request.cxid,
                    op: request.op,
                    body: request.body.to_vec(),
                    identities: request.identities.to_vec(),
                });
            }
            _ => self.take_request(request, sh),
        }
    }

    /// Another sync may wait beside those that wait already; all else may not overtake them.
    fn must_hold(&self, link: LinkId, is_sync: bool) -> bool {
        let waits = |sync: &WaitingSync| sync.origin == Owner::Learner(link);
        self.held.contains_key(&link) || (!is_sync && self.syncs.iter().any(waits))
    }

    /// A sync of this learner was answered: goes on with what it sent behind it, up to the next.
    fn release(&mut self, link: LinkId, sh: &mut Shared) {
        let Some(mut held) = self.held.remove(&link) else {
            return;
        };
        let may_go = |this: &Self, next: &Held| !this.must_hold(link, next.is_sync());
        while held.front().is_some_and(|next| may_go(self, next)) {
            match held.pop_front().expect("just seen") {
                Held::Revalidate {
                    session,
                    timeout_ms,
                } => self.handle_revalidate(link, session, timeout_ms, sh),
                Held::Request {
                    session,
                    scope,
                    cxid,
                    op,
                    body,
                    identities,
                } => {
                    let (body, identities) = (&body[..], &identities[..]);
                    let origin = Owner::Learner(link);
                    self.take_request(
                        Request {
                            origin,
                            session,
                            scope,
                            cxid,
                            op,
                            body,
                            identities,
                        },
                        sh,
                    );
                }
            }
        }
        if !held.is_empty() {
            self.held.insert(link, held);
        }
    }

    fn take_request(&mut self, request: Request<'_>, sh: &mut Shared) {
        if self.is_exhausted() {
            // The reign ends in this turn; the client sees a lost connection.
            return;
        }
        let Request {
            origin,
            session,
            scope,
            cxid,
            op,
            body,
            identities,
        } = request;
        let refuse = match op {
            op::SYNC => {
                let round = self.rounds_begun + 1;
                self.round_due = sh.now.mono + Duration::from_nanos(1);
                self.syncs.push_back(WaitingSync {
                    after: self.last,
                    round,
                    origin,
                });
                if self.mutants.has(Mutant::SyncWithoutQuorum) {
                    self.answer_syncs(sh);
                }
                return;
            }
            op::CREATE_SESSION => {
                let timeout_ms = body.first_chunk().map_or(0, |b| i32::from_be_bytes(*b));
                let is_new = self.tracker.open(session, timeout_ms, Some(origin));
                (!is_new).then_some(Refusal::Everything(ErrorCode::SessionExpired))
            }
            op::CLOSE_SESSION => {
                self.tracker.close(session);
                None
            }
            // Of a learner that had not heard yet, or that does not know. The answer takes some
            // room, too, but less.
            _ if !sh.clients.takes_writes() => Some(Refusal::Everything(ErrorCode::NotReadOnly)),
            _ => self.judge_session(session, scope, origin, sh),
        };
        self.propose(session, cxid, op, body, identities, refuse, sh);
    }

    /// What the session may not do. Of a learner's local session the leader has never heard; it
    /// believes the learner, as ZooKeeper does, but tells those that were global and have ended.
    fn judge_session(
        &mut self,
        session: SessionId,
        scope: Scope,
        origin: Owner,
        sh: &Shared,
    ) -> Option<Refusal> {
        if scope == Scope::Local {
            let error = ErrorCode::EphemeralOnLocalSession;
            return Some(Refusal::Ephemerals(error));
        }
        match self.tracker.check(session, origin) {
            Standing::Good => None,
            Standing::Moved => Some(Refusal::Everything(ErrorCode::SessionMoved)),
            Standing::Unknown
                if sh.config.rules.local_sessions
                    && origin != Owner::Here
                    && session.server_byte() != self.me.0 as u8 =>
            {
                Some(Refusal::Ephemerals(ErrorCode::SessionExpired))
            }
            Standing::Unknown | Standing::Expired => {
                Some(Refusal::Everything(ErrorCode::SessionExpired))
            }
        }
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "the fields of one transaction header and body"
    )]
    fn propose(
        &mut self,
        session: SessionId,
        cxid: i32,
        op: i32,
        body: &[u8],
        identities: &[Id],
        refuse: Option<Refusal>,
        sh: &mut Shared,
    ) {
        let zxid = self.last.next();
        let time = sh.now.wall;
        let ask = Ask {
            session,
            cxid,
            op,
            body,
            identities,
            zxid,
            time,
            refuse,
        };
        let mut record = Vec::new();
        self.outstanding.prepare(&sh.db, &ask, &mut record);
        self.report_excesses(sh);
        self.report_refusal(sh);
        self.last = zxid;
        let size = record.len() as i64;
        self.sizes = ProposalSizes {
            last: size,
            min: if self.sizes.min < 0 {
                size
            } else {
                self.sizes.min.min(size)
            },
            max: self.sizes.max.max(size),
        };
        let entry = LogEntry {
            zxid,
            record: Bytes::from(record),
        };
        let (since, acks) = (sh.now.mono, BTreeSet::new());
        self.proposals.push_back(Proposal { zxid, since, acks });
        self.news.push(News::Propose(entry.clone()));
        sh.append(entry);
        if self.mutants.has(Mutant::AckBeforeSync) {
            self.count_own(Persisted::forged(Logged(zxid)), sh);
        }
    }

    /// A client that writes in a loop must not fill the log.
    fn report_excesses(&mut self, sh: &mut Shared) {
        for excess in self.outstanding.take_excesses() {
            let what = (excess.path.clone(), excess.measure, excess.is_hard);
            let again = self.last_excess.as_ref().is_some_and(|(last, at)| {
                *last == what && sh.now.mono - *at < QUOTA_REPORT_INTERVAL
            });
            if !again {
                self.last_excess = Some((what, sh.now.mono));
                sh.report(Event::QuotaExceeded(excess));
            }
        }
    }

    fn report_refusal(&mut self, sh: &mut Shared) {
        let Some(limit) = self.outstanding.take_refusal() else {
            return;
        };
        let told = match limit {
            Limit::Frame { .. } => &mut self.told_frame,
            Limit::Memory { .. } => &mut self.told_memory,
            Limit::Wait { .. } | Limit::Watches { .. } => unreachable!("no limit of writes"),
        };
        if told.admit(sh.now.mono, REFUSAL_REPORT_INTERVAL) {
            sh.report(Event::LimitReached(limit));
        }
    }

    // ----- syncs -----

    /// Is a round of pings needed, so that a sync can be answered? Asked once a turn: all syncs of
    /// a turn share one round, and a deposed leader never gets its answers.
    pub(crate) fn wants_round(&self) -> bool {
        self.syncs
            .back()
            .is_some_and(|s| s.round > self.rounds_begun)
    }

    /// A round of pings leaves now; its number.
    pub(crate) fn begin_round(&mut self) -> u64 {
        self.rounds_begun += 1;
        self.rounds_begun
    }

    /// A quorum has answered the pings of this round.
    pub(crate) fn confirm_round(&mut self, round: u64, sh: &mut Shared) {
        assert!(round <= self.rounds_begun, "answers come after questions");
        self.rounds_confirmed = self.rounds_confirmed.max(round);
        self.answer_syncs(sh);
    }

    // ----- votes -----

    /// This server's own copy is durable.
    pub(crate) fn count_own(&mut self, proof: Persisted<Logged>, sh: &mut Shared) {
        self.count(self.me, proof.get().0, sh);
    }

    /// A learner says that its copy is durable. Votes for what is committed already, or was never
    /// proposed in this reign, mean nothing.
    pub(crate) fn count(&mut self, from: ServerId, zxid: Zxid, sh: &mut Shared) {
        let Some(first) = self.proposals.front().map(|p| p.zxid) else {
            return;
        };
        let distance = zxid.0.checked_sub(first.0);
        let Some(position) = distance.and_then(|d| usize::try_from(d).ok()) else {
            return;
        };
        let Some(proposal) = self.proposals.get_mut(position) else {
            return;
        };
        assert_eq!(proposal.zxid, zxid, "proposals have no holes");
        proposal.acks.insert(from);
        self.commit_ready(sh);
    }

    /// The server is about to be told to drop what has no quorum yet: its vote for it is void.
    /// Without this a transaction could count a copy that no longer exists.
    pub(crate) fn void_votes(&mut self, of: ServerId) {
        for proposal in &mut self.proposals {
            proposal.acks.remove(&of);
        }
    }

    /// Since when the oldest proposal waits for this server's vote, among those since `start`.
    pub(crate) fn waiting_for(&self, server: ServerId, start: Instant) -> Option<Instant> {
        let unacked = self.proposals.iter().find(|p| !p.acks.contains(&server))?;
        Some(unacked.since.max(start))
    }

    /// Proposals of this reign that are not committed.
    pub(crate) fn uncommitted<'a>(
        &self,
        sh: &'a Shared,
    ) -> impl Iterator<Item = &'a LogEntry> + use<'a> {
        assert_eq!(
            self.proposals.len(),
            sh.tail.len(),
            "what is proposed is logged"
        );
        sh.tail.iter()
    }

    /// Commits in the order of zxids only (ZAB's total order).
    fn commit_ready(&mut self, sh: &mut Shared) {
        while let Some(oldest) = self.proposals.front() {
            if !self.voters.is_quorum(&oldest.acks) {
                break;
            }
            self.commit_oldest(sh);
        }
        self.answer_syncs(sh);
    }

    fn commit_oldest(&mut self, sh: &mut Shared) {
        let proposal = self.proposals.pop_front().expect("the caller has seen it");
        let entry = sh.tail.front().expect("what is proposed is logged").clone();
        assert_eq!(entry.zxid, proposal.zxid);
        // Learners hear of the commit before our own clients do; either order is allowed.
        self.news.push(News::Commit(entry));
        let Some((header, outcome)) = sh.commit_next() else {
            return;
        };
        self.outstanding.retire(proposal.zxid);
        self.on_committed(&header, &outcome, sh.now.mono);
    }

    fn on_committed(&mut self, header: &TxnHeader, outcome: &Outcome, now: Instant) {
        match outcome {
            Outcome::SessionCreated => self.tracker.begin(header.session, now),
            Outcome::SessionClosed => self.tracker.forget(header.session, now),
            _ => {}
        }
    }

    /// Answers the syncs behind which nothing is uncommitted any more, oldest first.
    fn answer_syncs(&mut self, sh: &mut Shared) {
        while let Some(sync) = self.syncs.front().copied() {
            let is_behind = self.proposals.front().is_some_and(|p| p.zxid <= sync.after);
            let is_unconfirmed =
                sync.round > self.rounds_confirmed && !self.mutants.has(Mutant::SyncWithoutQuorum);
            if is_behind || is_unconfirmed {
                return;
            }
            self.syncs.pop_front();
            match sync.origin {
                Owner::Learner(link) => {
                    self.news.push(News::Synced(link));
                    self.release(link, sh);
                }
                Owner::Here => {
                    let (clients, mut serving) = sh.serving();
                    clients.on_synced(&mut serving);
                }
            }
        }
    }
}
