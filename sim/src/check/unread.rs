//! Rule `not-reading`: a client that does not read costs a server a bounded amount of memory and a
//! bounded time: with much unread it gets no more answers, only events, up to a bound; and it is
//! cut off in the end. A server's own account of what is unread is what it was told.
//!
//! Sound: the server is told at the start of each turn, before it takes any request, so a turn that
//! begins above the limit answers nothing, and one that begins below it answers one share at most.
//! What is not taken up is no sign of life, so the session runs out; that is only demanded of calm
//! servers under one leader, as with other sessions.

use std::collections::BTreeMap;

use vivarium_core::ids::ServerId;
use vivarium_core::limits::{
    CLIENT_FRAME_BYTES_MAX, CLIENT_UNREAD_BYTES, CLIENT_UNREAD_GROWTH_MAX, REPLY_BYTES_AT_ONCE,
};
use vivarium_core::wire::jute::Reader;

use crate::observe::{Setup, SimTime};

pub const RULE: &str = "not-reading";

/// Most that one connection may have unread: what is enough to stop answering, one share of a
/// turn and the reply that exceeds it, and events.
const MOST: usize = CLIENT_UNREAD_BYTES
    + REPLY_BYTES_AT_ONCE
    + 2 * CLIENT_FRAME_BYTES_MAX
    + CLIENT_UNREAD_GROWTH_MAX;

#[derive(Clone, Default, Debug)]
pub struct Unread {
    /// Since when there has been too much to answer.
    clogged: BTreeMap<(ServerId, u32), SimTime>,
}

/// Is everything in these frames an event?
fn is_all_events(mut rest: &[u8]) -> bool {
    while let Some((length, frame)) = rest.split_first_chunk::<4>() {
        if Reader::new(frame).i32() != Ok(-1) {
            return false;
        }
        let length = u32::from_be_bytes(*length) as usize;
        rest = frame.get(length..).unwrap_or_default();
    }
    true
}

/// A server that was told of so many unread bytes sends more.
pub fn judge_sent(id: ServerId, bytes: &[u8], told: usize) -> Result<(), String> {
    if told < CLIENT_UNREAD_BYTES || is_all_events(bytes) {
        return Ok(());
    }
    Err(format!(
        "server {id} answers a client that has not read {told} bytes"
    ))
}

impl Unread {
    /// The server is gone, or its process.
    pub fn crashed(&mut self, id: ServerId) {
        self.clogged.retain(|(server, _), _| *server != id);
    }

    /// After a turn: what each connection has unread, and the server's own sum. `is_calm`: has
    /// nothing disturbed the server and its leader since then?
    pub fn after_turn(
        &mut self,
        setup: &Setup,
        t: SimTime,
        id: ServerId,
        (own, told): (usize, &[(u32, usize)]),
        is_calm: impl Fn(SimTime) -> bool,
    ) -> Result<(), String> {
        let sum: usize = told.iter().map(|(_, bytes)| bytes).sum();
        if sum != own {
            return Err(format!(
                "server {id} counts {own} unread bytes; there are {told:?}"
            ));
        }
        let is_clogged = |bytes: usize| bytes >= CLIENT_UNREAD_BYTES;
        self.clogged.retain(|(server, conn), _| {
            *server != id
                || told
                    .iter()
                    .any(|(c, bytes)| c == conn && is_clogged(*bytes))
        });
        let patience = 2 * setup.session_timeout_max + 10 * setup.tick;
        for (conn, bytes) in told.iter().filter(|(_, bytes)| is_clogged(*bytes)) {
            if *bytes > MOST {
                return Err(format!("server {id} holds {bytes} bytes that nobody reads"));
            }
            let since = *self.clogged.entry((id, *conn)).or_insert(t);
            if t.since(since) > patience && is_calm(since) {
                return Err(format!(
                    "server {id} holds {bytes} bytes that nobody reads since {since}, at {t}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::setup;
    use vivarium_core::ids::Zxid;
    use vivarium_core::wire::jute::Write;

    const S: ServerId = ServerId(1);

    fn frame(xid: i32) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_i32(16);
        out.put_i32(xid);
        out.put_i64(Zxid(5).0);
        out.put_i32(0);
        out
    }

    #[test]
    fn an_answer_to_who_does_not_read_fires() {
        let (event, both) = (frame(-1), [frame(-1), frame(7)].concat());
        assert!(judge_sent(S, &both, CLIENT_UNREAD_BYTES - 1).is_ok());
        assert!(judge_sent(S, &event, CLIENT_UNREAD_BYTES).is_ok());
        assert!(judge_sent(S, &both, CLIENT_UNREAD_BYTES).is_err());
    }

    #[test]
    fn a_wrong_account_too_much_and_too_long_fire() {
        let judge = |u: &mut Unread, ms, own, told: &[(u32, usize)], calm| {
            let t = SimTime::from_millis(ms);
            u.after_turn(&setup(3), t, S, (own, told), |_| calm).is_ok()
        };
        let mut u = Unread::default();
        assert!(judge(&mut u, 1, 3, &[(1, 1), (2, 2)], true));
        assert!(!judge(&mut u, 1, 2, &[(1, 1), (2, 2)], true));
        assert!(!judge(&mut u, 1, MOST + 1, &[(1, MOST + 1)], true));
        let much = CLIENT_UNREAD_BYTES;
        assert!(judge(&mut u, 100, much, &[(1, much)], true));
        assert!(judge(&mut u, 5_000, much, &[(1, much)], true));
        assert!(judge(&mut u, 5_200, much, &[(1, much)], false));
        assert!(!judge(&mut u, 5_200, much, &[(1, much)], true));
        u.crashed(S);
        assert!(judge(&mut u, 9_000, much, &[(1, much)], true));
    }
}
