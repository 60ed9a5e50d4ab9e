//! One learner as its leader sees it (ZooKeeper's `LearnerHandler`): how far it has come, and what
//! waits to be sent behind a snapshot.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::boundary::CloseReason;
use crate::database::{WalkId, Walked};
use crate::ids::{Epoch, LinkId, ServerId, Zxid};
use crate::limits::{
    LINK_QUEUE_BYTES_MAX, SNAPSHOT_HELD_BYTES_MAX, SNAPSHOT_TURN_BYTES, SNAPSHOT_WINDOW_BYTES,
};
use crate::shared::Shared;
use crate::time::Instant;

/// How far a learner has come. Each stage holds what only it needs.
#[derive(Debug)]
pub(super) enum Stage {
    /// Nothing was said yet.
    Unknown,
    /// FOLLOWERINFO or OBSERVERINFO came; waits for the epoch.
    Introduced,
    /// LEADERINFO was sent; waits for ACKEPOCH.
    Invited,
    /// ACKEPOCH came with the learner's last zxid; waits for the quorum of them.
    Promised { last: Zxid },
    /// The way to our history was sent, with NEWLEADER at its end; waits for its ACK.
    Synchronizing,
    /// Holds our history. UPTODATE was sent if `serving`.
    Synchronized { serving: bool },
}

/// A snapshot on its way to the learner, and everything that must follow it.
#[derive(Debug)]
struct Stream {
    walk: WalkId,
    behind: VecDeque<Bytes>,
    behind_bytes: usize,
}

/// One learner.
#[derive(Debug)]
pub(super) struct Handler {
    pub(super) link: LinkId,
    /// Known from `Stage::Introduced` on.
    pub(super) server: Option<ServerId>,
    /// Has a vote (and said so by FOLLOWERINFO).
    pub(super) votes: bool,
    /// Gets PROPOSAL and COMMIT; otherwise INFORM.
    pub(super) follower: bool,
    pub(super) accepted: Epoch,
    pub(super) stage: Stage,
    /// Silence beyond this ends the link.
    pub(super) deadline: Instant,
    /// When it began to get proposals as they are made.
    pub(super) forwarding_since: Instant,
    /// Rounds of the pings that are not answered, oldest first.
    pub(super) pings: VecDeque<u64>,
    /// The newest round of pings that was answered.
    pub(super) confirmed: u64,
    /// Its disk has no room, by its own word.
    pub(super) lacks_room: bool,
    stream: Option<Stream>,
}

impl Handler {
    pub(super) fn new(link: LinkId, deadline: Instant, now: Instant) -> Self {
        Self {
            link,
            server: None,
            votes: false,
            follower: false,
            accepted: Epoch(0),
            stage: Stage::Unknown,
            deadline,
            forwarding_since: now,
            pings: VecDeque::new(),
            confirmed: 0,
            lacks_room: false,
            stream: None,
        }
    }

    /// Does it get what is proposed and committed from now on?
    pub(super) fn is_forwarding(&self) -> bool {
        matches!(
            self.stage,
            Stage::Synchronizing | Stage::Synchronized { .. }
        )
    }

    /// Sends, or queues behind the snapshot that is on its way.
    pub(super) fn send(&mut self, packet: &Bytes, sh: &mut Shared) {
        match self.stream.as_mut() {
            None => sh.send_shared(self.link, packet.clone()),
            Some(stream) => {
                stream.behind_bytes += packet.len();
                stream.behind.push_back(packet.clone());
                if stream.behind_bytes > LINK_QUEUE_BYTES_MAX {
                    sh.close_link(self.link, CloseReason::PeerSlow);
                }
            }
        }
    }

    pub(super) fn begin_stream(&mut self, walk: WalkId) {
        assert!(self.stream.is_none(), "one snapshot at a time");
        self.stream = Some(Stream {
            walk,
            behind: VecDeque::new(),
            behind_bytes: 0,
        });
    }

    /// The next piece of the snapshot, as far as the socket keeps up. True while more is to come.
    pub(super) fn step_stream(&mut self, signature: &[u8], sh: &mut Shared) -> bool {
        let Some(stream) = self.stream.as_mut() else {
            return false;
        };
        if sh.db.walk_held(stream.walk) > SNAPSHOT_HELD_BYTES_MAX {
            sh.close_link(self.link, CloseReason::PeerSlow);
            return true;
        }
        if sh.links.in_flight(self.link) >= SNAPSHOT_WINDOW_BYTES {
            return true;
        }
        let mut chunk = alloc::vec::Vec::new();
        let walked = sh.db.walk(stream.walk, SNAPSHOT_TURN_BYTES, &mut chunk);
        if walked == Walked::More {
            sh.send_shared(self.link, Bytes::from(chunk));
            return true;
        }
        let stream = self.stream.take().expect("seen above");
        sh.db.end_walk(stream.walk);
        chunk.extend_from_slice(signature);
        sh.send_shared(self.link, Bytes::from(chunk));
        for packet in stream.behind {
            sh.send_shared(self.link, packet);
        }
        false
    }

    /// Is a snapshot on its way?
    pub(super) fn is_streaming(&self) -> bool {
        self.stream.is_some()
    }

    /// The handler ends; a walk must not outlive it.
    pub(super) fn end(&mut self, sh: &mut Shared) {
        if let Some(stream) = self.stream.take() {
            sh.db.end_walk(stream.walk);
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;
    use alloc::format;
    use alloc::vec;
    use core::time::Duration;

    use super::*;
    use crate::boundary::{Action, Channel};
    use crate::config::{Config, Rules};
    use crate::database::Database;
    use crate::ids::SessionId;
    use crate::mutants::Mutants;
    use crate::recovery::Recovery;
    use crate::time::{Now, WallMs};
    use crate::wire::records::{Acl, op};
    use crate::wire::txn::{CreateMode, Txn, TxnHeader, TxnRecord};

    const MIB: usize = 1 << 20;

    fn apply(db: &mut Database, kind: i32, txn: Txn<'_>) {
        let header = TxnHeader {
            session: SessionId(0),
            cxid: 0,
            zxid: Zxid(db.applied().0 + 1),
            time: WallMs(0),
            kind,
        };
        let digest = None;
        db.apply_unwatched(&TxnRecord {
            header,
            txn,
            digest,
        });
    }

    fn create(db: &mut Database, path: &str, data: &[u8]) {
        let txn = Txn::Create {
            path: path.into(),
            data: Some(data),
            acl: vec![Acl::world(31)],
            mode: CreateMode::Persistent,
            parent_cversion: 1,
        };
        apply(db, op::CREATE, txn);
    }

    fn set(db: &mut Database, path: &str, data: &[u8]) {
        let txn = Txn::SetData {
            path: path.into(),
            data: Some(data),
            version: 1,
        };
        apply(db, op::SET_DATA, txn);
    }

    /// A leader with so many nodes of a MiB, and a learner that gets them.
    fn streaming(nodes: usize) -> (Shared, Handler) {
        let config = Config {
            me: ServerId(0),
            members: BTreeMap::new(),
            tick: Duration::from_secs(2),
            init_limit: 10,
            sync_limit: 5,
            session_timeout_min: Duration::from_secs(4),
            session_timeout_max: Duration::from_secs(40),
            snap_count: 100,
            seed: 1,
            rules: Rules::default(),
            mutants: Mutants::NONE,
        };
        let found = Recovery::fresh(1, Mutants::NONE).finish(Epoch(0), Epoch(0));
        let mut sh = Shared::boot(config, found, Now::default());
        let data = vec![7; MIB];
        (0..nodes).for_each(|n| create(&mut sh.db, &format!("/n{n:03}"), &data));
        let link = LinkId(1);
        let now = Instant(0);
        sh.links.open(link, Channel::Quorum, Some(ServerId(2)), now);
        let mut handler = Handler::new(link, now, now);
        let walk = sh.db.begin_walk();
        handler.begin_stream(walk);
        (sh, handler)
    }

    /// Bytes that left for the learner, not counting what closed its link.
    fn sent(sh: &Shared) -> usize {
        let bytes = sh.out.actions().iter().map(|action| match action {
            Action::SendShared { body, .. } => body.len(),
            _ => 0,
        });
        bytes.sum()
    }

    #[test]
    fn a_learner_that_does_not_read_holds_a_window_and_no_more() {
        let (mut sh, mut handler) = streaming(20);
        for turn in 0..1_000 {
            assert!(handler.step_stream(b"end", &mut sh), "it has not read");
            // The tree goes on changing meanwhile.
            set(&mut sh.db, &format!("/n{:03}", turn % 20), b"new");
        }
        // One piece beyond the window, and a piece ends with a whole node.
        assert!(sent(&sh) <= SNAPSHOT_WINDOW_BYTES + SNAPSHOT_TURN_BYTES + 2 * MIB);
        let held = sh
            .db
            .walk_held(handler.stream.as_ref().expect("streaming").walk);
        assert!(
            (15 * MIB..21 * MIB).contains(&held),
            "old states, once each: {held}"
        );
        // It reads all of it in the end, and what is sent is as it was in the beginning.
        let mut turns = 0;
        while handler.step_stream(b"end", &mut sh) {
            sh.links.drained(handler.link, usize::MAX);
            turns += 1;
        }
        assert!(turns < 200);
        assert!(sent(&sh) > 20 * MIB);
        assert!(sh.links.is_open(handler.link));
    }

    #[test]
    fn a_learner_for_which_too_much_must_be_kept_is_cut() {
        let (mut sh, mut handler) = streaming(262);
        let mut change = |sh: &mut Shared, n: usize| {
            handler.step_stream(b"end", sh);
            set(&mut sh.db, &format!("/n{n:03}"), b"new");
        };
        // The first few are on their way already: nothing is kept of them.
        (0..250).for_each(|n| change(&mut sh, n));
        assert!(sh.links.is_open(LinkId(1)), "not before the limit");
        (250..262).for_each(|n| change(&mut sh, n));
        assert!(!sh.links.is_open(LinkId(1)));
        handler.end(&mut sh);
    }
}
