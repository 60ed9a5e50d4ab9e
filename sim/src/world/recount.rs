//! What happens, in words of the protocol, for stories about short runs. Nothing here changes
//! anything, and nothing is put into words unless somebody listens.

use std::fmt;

use bytes::Bytes;
use vivarium_core::boundary::{Action, Channel, Event as Report, Outbox, SnapshotStep, WriteOp};
use vivarium_core::ids::{ServerId, Zxid};
use vivarium_core::node::RoleName;
use vivarium_core::wire::quorum::packet;
use vivarium_core::wire::records::op;

use super::{Glance, World};
use crate::net::{Arrival, Machine, PipeId, Port, Side, What};
use crate::observe::SimTime;

/// How much something matters to a reader, most first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Weight {
    /// Faults, and who dies of them.
    Fault,
    /// Who leads.
    Reign,
    /// What clients ask for.
    Request,
    /// Who starts and who follows.
    Member,
    /// What is proposed and what is stable.
    Record,
}

/// Where they go.
pub type Listener = Box<dyn FnMut(SimTime, Weight, fmt::Arguments<'_>)>;

/// Something that can be drawn. Servers count from 0, machines as on the network.
#[derive(Debug)]
pub enum Seen<'a> {
    Sent {
        pipe: PipeId,
        /// The end that sends.
        side: Side,
        from: Machine,
        to: Machine,
        bytes: usize,
        what: String,
    },
    Arrived {
        pipe: PipeId,
        /// The end that sent.
        side: Side,
        bytes: usize,
    },
    /// A server after something changed.
    State {
        glance: Glance,
    },
    Written {
        server: u16,
        zxid: &'a Zxid,
    },
    Durable {
        server: u16,
        zxid: &'a Zxid,
    },
    /// About one server, or about all.
    Said {
        server: Option<u16>,
        text: String,
    },
}

/// Where they go.
pub type Viewer = Box<dyn FnMut(SimTime, Seen<'_>)>;

impl World {
    pub(super) fn show<'a>(&mut self, seen: impl FnOnce() -> Seen<'a>) {
        let now = self.time.now();
        if let Some(viewer) = &mut self.trace.view {
            viewer(now, seen());
        }
    }

    pub(super) fn show_sending(&mut self, pipe: PipeId, side: Side, bytes: &[u8]) {
        if self.trace.view.is_none() {
            return;
        }
        let Some((port, from, to)) = self.net.ends(pipe, side) else {
            return;
        };
        let what = match (port, side) {
            (Port::Peer(Channel::Quorum), _) => packet_words(bytes),
            (Port::Peer(Channel::Election), _) => "vote".to_owned(),
            (Port::Client, Side::Dialer) => request(bytes).unwrap_or_else(|| "session".to_owned()),
            (Port::Client, Side::Acceptor) => format!("{} bytes of answers", bytes.len()),
        };
        let what = what.strip_prefix("sending ").unwrap_or(&what).to_owned();
        let bytes = bytes.len();
        self.show(|| Seen::Sent {
            pipe,
            side,
            from,
            to,
            bytes,
            what,
        });
    }

    pub(super) fn show_arrival(&mut self, arrival: &Arrival) {
        if let What::Bytes(bytes) = &arrival.what {
            let (pipe, side, bytes) = (arrival.pipe, arrival.side.other(), bytes.len());
            self.show(|| Seen::Arrived { pipe, side, bytes });
        }
    }

    pub(super) fn recount(&mut self, weight: Weight, what: fmt::Arguments<'_>) {
        let now = self.time.now();
        if let Some(listener) = &mut self.trace.story {
            listener(now, weight, what);
        }
    }

    pub(super) fn recount_report(&mut self, h: usize, report: &Report) {
        if self.trace.story.is_none() {
            return;
        }
        let ServerId(id) = self.hosts[h].id;
        let view = self.hosts[h].view.clone();
        match report {
            Report::Serving { epoch, zxid } if view.role == RoleName::Leading => self.recount(
                Weight::Reign,
                format_args!(
                    "n{id} leads epoch {}, its history ends with {zxid}",
                    epoch.0
                ),
            ),
            Report::Serving { epoch, zxid } => {
                let sync = view.sync.unwrap_or("nothing");
                let epoch = epoch.0;
                self.recount(
                    Weight::Member,
                    format_args!("n{id} follows in epoch {epoch} from {zxid} on, after {sync}"),
                );
            }
            Report::Left { .. } => {
                self.recount(
                    Weight::Member,
                    format_args!("n{id} ends its role: {report:?}"),
                );
            }
            _ => {}
        }
    }

    /// A record goes into the queue of a server's disk.
    pub(super) fn recount_write(&mut self, h: usize, write: &WriteOp) {
        if let WriteOp::Append { zxid, .. } = write {
            let server = h as u16;
            self.show(|| Seen::Written { server, zxid });
        }
        if self.trace.story.is_none() {
            return;
        }
        let leads = self.hosts[h].view.role == RoleName::Leading;
        let verb = if leads { "proposes" } else { "logs" };
        let ServerId(id) = self.hosts[h].id;
        if let WriteOp::Append { zxid, .. } = write {
            self.recount(
                Weight::Record,
                format_args!("n{id} {verb} {zxid}, not yet durable"),
            );
        }
    }

    /// A process dies after so many of a turn's effects.
    pub(super) fn recount_death(&mut self, h: usize, out: &Outbox, done: usize) {
        if self.trace.story.is_none() {
            return;
        }
        let actions = out.actions();
        let ServerId(id) = self.hosts[h].id;
        let words = |n: usize| actions.get(n).map(|action| in_words(out, action));
        let after = done.checked_sub(1).and_then(words);
        let after = match after {
            Some(after) => format!("after {after}"),
            None => "before any effect of a turn".to_owned(),
        };
        let before = match words(done) {
            Some(before) => format!("before {before}"),
            None => "after the last effect".to_owned(),
        };
        self.recount(Weight::Fault, format_args!("n{id} dies {after}, {before}"));
    }

    /// A client sends something.
    pub(super) fn recount_request(&mut self, c: usize, bytes: &Bytes) {
        if self.trace.story.is_none() {
            return;
        }
        let home = self.seats[c].home + 1;
        if let Some(asked) = request(bytes) {
            self.recount(
                Weight::Request,
                format_args!("c{} asks n{home}: {asked}", c + 1),
            );
        }
    }

    pub(super) fn recount_durable(&mut self, id: ServerId, zxid: Zxid) {
        let server = self.index(id) as u16;
        self.show(|| Seen::Durable {
            server,
            zxid: &zxid,
        });
        let ServerId(id) = id;
        self.recount(Weight::Record, format_args!("{zxid} is durable at n{id}"));
    }
}

/// An effect, by what it means to others.
fn in_words(out: &Outbox, action: &Action) -> String {
    match action {
        Action::Send { bytes, .. } => packet_words(out.bytes(*bytes)),
        Action::SendShared { body, .. } => packet_words(body),
        Action::Write { op, .. } => match op {
            WriteOp::Append { zxid, .. } => format!("logging {zxid}"),
            WriteOp::AcceptedEpoch(epoch) => format!("writing acceptedEpoch {}", epoch.0),
            WriteOp::CurrentEpoch(epoch) => format!("writing currentEpoch {}", epoch.0),
            WriteOp::Truncate { after } => format!("truncating after {after}"),
            WriteOp::Install(step) => step_words("installing", step),
        },
        Action::Snapshot(step) => step_words("saving", step),
        Action::Reply { .. } => "a reply to a client".to_owned(),
        Action::Close { whom, .. } => format!("closing {whom:?}"),
        Action::Dial { peer, channel } => format!("dialling n{} ({channel:?})", peer.0),
        Action::Command { word, .. } => format!("an answer to {word:?}"),
        Action::Report(report) => format!("reporting {report:?}"),
        Action::Halt(fault) => format!("halting: {fault:?}"),
    }
}

fn step_words(verb: &str, step: &SnapshotStep) -> String {
    match step {
        SnapshotStep::Begin { zxid } => format!("{verb} a snapshot of {zxid}: its begin"),
        SnapshotStep::Chunk(bytes) => format!("{verb} {} bytes of a snapshot", bytes.len()),
        SnapshotStep::End { zxid, .. } => format!("{verb} a snapshot of {zxid}: its end"),
        SnapshotStep::Abandon => format!("{verb} a snapshot: given up"),
    }
}

fn packet_words(bytes: &[u8]) -> String {
    let kind = bytes.first_chunk().map(|b| i32::from_be_bytes(*b));
    let zxid = bytes.get(4..12).and_then(|b| b.first_chunk());
    let zxid = zxid.map(|b| Zxid(i64::from_be_bytes(*b)));
    let name = match kind {
        Some(packet::REQUEST) => "REQUEST",
        Some(packet::PROPOSAL) => "PROPOSAL",
        Some(packet::ACK) => "ACK",
        Some(packet::COMMIT) => "COMMIT",
        Some(packet::PING) => return "sending PING".to_owned(),
        Some(packet::REVALIDATE) => "REVALIDATE",
        Some(packet::SYNC) => "SYNC",
        Some(packet::INFORM) => "INFORM",
        Some(packet::NEWLEADER) => "NEWLEADER",
        Some(packet::FOLLOWERINFO) => "FOLLOWERINFO",
        Some(packet::UPTODATE) => "UPTODATE",
        Some(packet::DIFF) => "DIFF",
        Some(packet::TRUNC) => "TRUNC",
        Some(packet::SNAP) => "SNAP",
        Some(packet::OBSERVERINFO) => "OBSERVERINFO",
        Some(packet::LEADERINFO) => "LEADERINFO",
        Some(packet::ACKEPOCH) => "ACKEPOCH",
        _ => return format!("sending {} bytes", bytes.len()),
    };
    zxid.map_or_else(
        || format!("sending {name}"),
        |zxid| format!("sending {name} {zxid}"),
    )
}

/// A request in words; nothing for what only keeps a session.
fn request(bytes: &[u8]) -> Option<String> {
    let word = |at: usize| {
        bytes
            .get(at..at + 4)?
            .first_chunk()
            .map(|b| i32::from_be_bytes(*b))
    };
    // The first frame of a connection is no request.
    if word(4)? == 0 {
        return None;
    }
    let name = match word(8)? {
        op::CREATE | op::CREATE2 => "create",
        op::DELETE => "delete",
        op::EXISTS => "exists",
        op::GET_DATA => "getData",
        op::SET_DATA => "setData",
        op::GET_ACL => "getACL",
        op::SET_ACL => "setACL",
        op::GET_CHILDREN | op::GET_CHILDREN2 => "getChildren",
        op::SYNC => "sync",
        op::MULTI => return Some("multi".to_owned()),
        op::MULTI_READ => return Some("multiRead".to_owned()),
        op::CREATE_CONTAINER => "create a container",
        op::CREATE_TTL => "create a TTL node",
        op::REMOVE_WATCHES => "removeWatches",
        op::CHECK_WATCHES => "checkWatches",
        op::ADD_WATCH => "addWatch",
        op::SET_WATCHES | op::SET_WATCHES2 => return Some("setWatches".to_owned()),
        op::AUTH => return Some("addAuth".to_owned()),
        op::CLOSE_SESSION => return Some("close its session".to_owned()),
        op::GET_EPHEMERALS => "getEphemerals",
        op::GET_ALL_CHILDREN_NUMBER => "getAllChildrenNumber",
        _ => return None,
    };
    let length = usize::try_from(word(12)?).ok()?;
    let path = bytes
        .get(16..16 + length)
        .and_then(|p| std::str::from_utf8(p).ok());
    Some(format!("{name} {}", path.unwrap_or_default()))
}
