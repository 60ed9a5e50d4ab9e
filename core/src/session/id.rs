//! Ids and passwords of sessions, which must come out the same on every server of an ensemble.

use crate::ids::{ServerId, SessionId};
use crate::time::WallMs;
use crate::wire::client::{PASSWORD_BYTES, Password};

/// The stored owner of container nodes, which must not be the id of a session.
const CONTAINER_OWNER: i64 = i64::MIN;

/// The password of a session: `java.util.Random` seeded with the id, as ZooKeeper derives it. It
/// is no secret, but every server can check it without asking.
pub fn password(session: SessionId) -> Password {
    const SALT: u64 = 0xB341_5C00;
    const MULTIPLIER: u64 = 0x5_DEEC_E66D;
    const MASK: u64 = (1 << 48) - 1;
    let mut state = (session.0 as u64 ^ SALT ^ MULTIPLIER) & MASK;
    let mut out = [0; PASSWORD_BYTES];
    for four in out.chunks_exact_mut(4) {
        state = state.wrapping_mul(MULTIPLIER).wrapping_add(0xB) & MASK;
        four.copy_from_slice(&((state >> 16) as u32).to_le_bytes());
    }
    out
}

/// Does this prove that somebody owns the session? 0 is nobody's.
pub fn is_password(session: SessionId, given: Option<&[u8]>) -> bool {
    session.0 != 0 && given == Some(&password(session)[..])
}

/// Makes ids of new sessions: the server's id in the top byte, then the time of its start, so that
/// neither another server nor an earlier life of this one made the same.
#[derive(Debug)]
pub struct SessionIds {
    next: i64,
}

impl SessionIds {
    /// `me` is 0 in standalone mode, where ids carry a 1 as in ZooKeeper.
    pub fn start(me: ServerId, now: WallMs) -> Self {
        let server = if me.0 == 0 { 1 } else { me.0 };
        let since_start = ((now.0 as u64) << 24) >> 8;
        Self {
            next: (since_start | (server as u64) << 56) as i64,
        }
    }

    pub fn allocate(&mut self) -> SessionId {
        if self.next == CONTAINER_OWNER || self.next == 0 {
            self.next += 1;
        }
        let id = SessionId(self.next);
        self.next = self.next.wrapping_add(1);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_as_zookeeper_derives_them() {
        let cases: [(i64, &[u8; 16]); 3] = [
            (
                0x0100_0000_0000_0000,
                b"\xf2\x2a\xcd\x4a\x97\xe6\x9d\x6d\x20\xa4\x9b\xb6\x38\xea\xdb\x38",
            ),
            (
                1,
                b"\x05\x4c\xc7\x4a\x37\x32\x7d\xb2\x15\xe7\x02\xe2\x0c\x73\xf0\x05",
            ),
            (
                0x0100_0011_474e_0000,
                b"\xf0\x3e\xda\xd0\xbd\x9d\x4d\xf3\x4e\xc3\x00\x4c\xce\x84\x55\x51",
            ),
        ];
        for (id, expected) in cases {
            assert_eq!(password(SessionId(id)), *expected);
            assert!(is_password(SessionId(id), Some(expected)));
            assert!(!is_password(SessionId(id), Some(&expected[..15])));
        }
        assert!(!is_password(SessionId(0), Some(&password(SessionId(0)))));
        assert!(!is_password(SessionId(1), None));
    }

    #[test]
    fn ids_carry_server_and_time_and_count_up() {
        let mut ids = SessionIds::start(ServerId(3), WallMs(0x0198_aabb_ccdd));
        assert_eq!(ids.allocate(), SessionId(0x0398_aabb_ccdd_0000));
        assert_eq!(ids.allocate(), SessionId(0x0398_aabb_ccdd_0001));
        assert_eq!(
            SessionIds::start(ServerId(0), WallMs(0)).allocate(),
            SessionId(1 << 56)
        );
        assert_eq!(
            SessionIds::start(ServerId(128), WallMs(0)).allocate(),
            SessionId(i64::MIN + 1)
        );
    }
}
