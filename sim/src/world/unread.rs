//! What clients have not read: kept back at their seats, counted at the servers, and told to those
//! as a driver tells what its sockets have not taken.

use bytes::Bytes;
use vivarium_core::boundary::Input;
use vivarium_core::ids::ConnId;
use vivarium_core::limits::CLIENT_UNREAD_BYTES;

use super::World;
use crate::net::PipeId;

/// Bytes of one connection: as they are, and as the process was told last.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Unread {
    now: usize,
    told: usize,
}

impl World {
    /// A server sends on this connection. What goes to a client that does not read stays with the
    /// server, where a real one would keep it once the sockets are full.
    pub(super) fn note_sent(&mut self, h: usize, pipe: PipeId, bytes: &Bytes) {
        let host = &mut self.hosts[h];
        let told = host.unread.get(&pipe).map_or(0, |unread| unread.told);
        let (t, id) = (self.time.now(), host.id);
        self.checks.sent_to_client(t, id, bytes, told);
        let reads = |seat: &super::Seat| seat.client.reads() || seat.pipe != Some(pipe);
        if !self.seats.iter().all(reads) {
            host.unread.entry(pipe).or_default().now += bytes.len();
        }
    }

    /// Tells the process what its clients have read, or not read.
    pub(super) fn hand_in_unread(&mut self, h: usize) -> bool {
        let t = self.time.now();
        let host = &mut self.hosts[h];
        let now = host.clock.read(t);
        let open = &host.open;
        host.unread.retain(|pipe, _| open.contains_key(pipe));
        let node = host.node.as_mut().expect("it runs");
        let mut fed = false;
        for (pipe, unread) in &mut host.unread {
            if unread.now != unread.told {
                unread.told = unread.now;
                self.hash.word(23 << 32 | unread.now as u64);
                let (conn, bytes) = (ConnId(u64::from(pipe.0)), unread.now);
                node.handle(now, Input::ClientUnread { conn, bytes });
                fed = true;
            }
        }
        fed
    }

    /// After a turn: what the process thinks that its clients have not read.
    pub(super) fn check_unread(&mut self, h: usize) {
        let t = self.time.now();
        let host = &self.hosts[h];
        let Some(node) = &host.node else { return };
        let open = host
            .unread
            .iter()
            .filter(|(p, _)| host.open.contains_key(p));
        let told: Vec<(u32, usize)> = open.map(|(pipe, unread)| (pipe.0, unread.told)).collect();
        let own = node.unread_bytes();
        self.checks.after_turn_unread(t, host.id, own, &told);
    }

    /// The client reads again: it gets what has piled up, and its server hears of it.
    pub(super) fn read_on(&mut self, c: usize) {
        let seat = &mut self.seats[c];
        if seat.shelf.is_empty() || !seat.client.reads() {
            return;
        }
        let (now, pipe, home) = (self.time.now(), seat.pipe, seat.home);
        let shelf = std::mem::take(&mut seat.shelf);
        for bytes in shelf {
            if self.seats[c].pipe != pipe {
                break;
            }
            self.with_client(c, |client, checks, out| {
                client.on_bytes(now, &bytes, out, checks);
            });
        }
        let unread = pipe.and_then(|pipe| self.hosts[home].unread.get_mut(&pipe));
        if let Some(unread) = unread {
            unread.now = 0;
            // The process waits for this; anything else it may hear with whatever comes next.
            if unread.told >= CLIENT_UNREAD_BYTES {
                self.plan_turn(home);
            }
        }
    }
}
