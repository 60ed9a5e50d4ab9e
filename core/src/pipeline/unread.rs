//! Clients that do not read what they are sent.
//!
//! The driver tells, for each connection whose socket did not take everything, how many bytes are
//! left ([`Input::ClientUnread`](crate::boundary::Input::ClientUnread)). A client with much unread
//! is not answered before it reads on, so its requests cost nothing; what comes unasked, watch
//! events, piles up to a bound, and then the connection is closed. The same happens to those that
//! have read nothing for longest when all of it together is too much.

use alloc::vec::Vec;

use super::connection::Connection;
use super::{Clients, Serving};
use crate::boundary::CloseReason;
use crate::ids::ConnId;
use crate::limits::{
    CLIENT_UNREAD_BYTES, CLIENT_UNREAD_GROWTH_MAX, CLIENTS_UNREAD_BYTES_LEFT,
    CLIENTS_UNREAD_BYTES_MAX,
};
use crate::time::Instant;

/// What one client has not read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Unread {
    /// As the driver told last.
    pub(super) bytes: usize,
    /// The least of it since there was too much to answer.
    least: usize,
    /// When the client read last, or had read everything.
    progress: Instant,
}

impl Unread {
    /// Too much to send more answers.
    pub(super) fn is_clogged(&self) -> bool {
        self.bytes >= CLIENT_UNREAD_BYTES
    }

    fn update(&mut self, bytes: usize, now: Instant) {
        if bytes < self.bytes || self.bytes == 0 {
            self.progress = now;
        }
        let was_clogged = self.is_clogged();
        self.bytes = bytes;
        self.least = if was_clogged {
            self.least.min(bytes)
        } else {
            bytes
        };
    }

    /// What piled up although no answers were sent.
    fn growth(&self) -> usize {
        if self.is_clogged() {
            self.bytes - self.least
        } else {
            0
        }
    }
}

impl Clients {
    /// So many bytes for this client have not left the driver.
    pub fn handle_unread(&mut self, conn: ConnId, bytes: usize, ctx: &mut Serving<'_>) {
        let Some(c) = self.connections.get_mut(&conn) else {
            return;
        };
        let before = c.unread;
        c.unread.update(bytes, ctx.now.mono);
        self.unread_bytes = self.unread_bytes - before.bytes + bytes;
        if bytes < before.bytes {
            // Who takes its answers is alive: its pings may be stuck behind them.
            c.heard = ctx.now.mono;
            self.desk.touch(c, ctx.now.mono);
        }
        if c.unread.growth() > CLIENT_UNREAD_GROWTH_MAX {
            return self.close(conn, CloseReason::NotReading { unread: bytes }, ctx.out);
        }
        if before.is_clogged() && !c.unread.is_clogged() {
            self.advance(conn, &[], ctx);
        }
    }

    /// At the end of a turn: closes those that have read nothing for longest, if all clients
    /// together have too much unread.
    pub fn shed_unread(&mut self, ctx: &mut Serving<'_>) {
        if self.unread_bytes <= CLIENTS_UNREAD_BYTES_MAX {
            return;
        }
        let unread = |c: &Connection| (c.unread.bytes > 0).then_some((c.unread.progress, c.id));
        let mut idle: Vec<(Instant, ConnId)> =
            self.connections.values().filter_map(unread).collect();
        idle.sort_unstable();
        for (_, conn) in idle {
            if self.unread_bytes <= CLIENTS_UNREAD_BYTES_LEFT {
                return;
            }
            let unread = self.connections[&conn].unread.bytes;
            self.close(conn, CloseReason::NotReading { unread }, ctx.out);
        }
    }

    /// Bytes that clients have not read.
    pub fn unread_bytes(&self) -> usize {
        self.unread_bytes
    }
}
