//! One learner as its leader sees it (ZooKeeper's `LearnerHandler`): how far it has come, and what
//! waits to be sent behind a snapshot.

use alloc::collections::VecDeque;

use bytes::Bytes;

use crate::boundary::CloseReason;
use crate::database::{WalkId, Walked};
use crate::ids::{Epoch, LinkId, ServerId, Zxid};
use crate::limits::{LINK_QUEUE_BYTES_MAX, SNAPSHOT_TURN_BYTES, SNAPSHOT_WINDOW_BYTES};
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
