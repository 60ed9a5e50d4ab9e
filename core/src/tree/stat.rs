//! The stat of a znode as it is stored, and how clients see it.
//!
//! Knows ZooKeeper's encoding of the owner field (`EphemeralType`): 0 is nobody, the sign bit
//! alone a container, a high byte of 0xff with two zero bytes a TTL, anything else a session.

use alloc::vec::Vec;

use crate::ids::{SessionId, Zxid};
use crate::time::WallMs;
use crate::wire::jute::{Decoded, Reader, Write};
use crate::wire::records::Stat;
use crate::wire::txn::CreateMode;

/// Owner of container nodes.
pub const OWNER_CONTAINER: i64 = i64::MIN;

/// High byte of owners that are an extended type, of which TTL is the only one.
pub const OWNER_EXTENDED: i64 = OWNER_TTL;

/// Owner of TTL nodes, before the TTL in the low 40 bits.
pub const OWNER_TTL: i64 = 0xff00_0000_0000_0000_u64 as i64;

/// Longest TTL in milliseconds: 40 bits.
pub const TTL_MS_MAX: i64 = (1 << 40) - 1;

/// What a server stores of a znode besides its data and ACL.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct StoredStat {
    pub czxid: i64,
    pub mzxid: i64,
    /// Zxid of the newest create or delete of a child; only moves up.
    pub pzxid: i64,
    /// Milliseconds since 1970.
    pub ctime: i64,
    /// Milliseconds since 1970.
    pub mtime: i64,
    pub version: i32,
    /// Creates of children so far; deletes do not count. Clients see another number.
    pub cversion: i32,
    pub aversion: i32,
    /// Session, container or TTL, encoded.
    pub owner: i64,
}

impl StoredStat {
    /// Of a node that this transaction creates.
    pub const fn created(zxid: Zxid, time: WallMs, owner: i64) -> Self {
        Self {
            czxid: zxid.0,
            mzxid: zxid.0,
            pzxid: zxid.0,
            ctime: time.0,
            mtime: time.0,
            version: 0,
            cversion: 0,
            aversion: 0,
            owner,
        }
    }

    /// Of the nodes that every tree begins with.
    pub const fn primordial() -> Self {
        Self::created(Zxid::ZERO, WallMs(0), 0)
    }

    /// The session that owns the node, if it is ephemeral.
    pub fn session(&self) -> Option<SessionId> {
        let is_session = self.owner != 0 && !self.is_container() && self.ttl_ms().is_none();
        is_session.then_some(SessionId(self.owner))
    }

    pub const fn is_container(&self) -> bool {
        self.owner == OWNER_CONTAINER
    }

    /// Milliseconds that a TTL node may stay unchanged and childless.
    pub fn ttl_ms(&self) -> Option<i64> {
        (self.owner & !TTL_MS_MAX == OWNER_TTL).then_some(self.owner & TTL_MS_MAX)
    }

    /// Does the leader's sweeper look at it?
    pub fn is_sweepable(&self) -> bool {
        self.is_container() || self.ttl_ms().is_some()
    }

    /// A child was created; `cversion` is the count that the leader predicted. Neither count nor
    /// zxid ever goes back: an old transaction may be replayed over a newer snapshot.
    pub(crate) fn child_created(&mut self, cversion: i32, zxid: Zxid) {
        if cversion > self.cversion {
            self.cversion = cversion;
            self.pzxid = self.pzxid.max(zxid.0);
        }
    }

    /// As clients see it: `cversion` counts deletes too, only sessions are owners.
    pub fn visible(&self, data_length: usize, children: usize) -> Stat {
        let num_children = i32::try_from(children).unwrap_or(i32::MAX);
        Stat {
            czxid: self.czxid,
            mzxid: self.mzxid,
            ctime: self.ctime,
            mtime: self.mtime,
            version: self.version,
            cversion: self.cversion.wrapping_mul(2).wrapping_sub(num_children),
            aversion: self.aversion,
            ephemeral_owner: self.session().map_or(0, |session| session.0),
            data_length: i32::try_from(data_length).unwrap_or(i32::MAX),
            num_children,
            pzxid: self.pzxid,
        }
    }

    /// Reads ZooKeeper's `StatPersisted`.
    pub fn read(r: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            czxid: r.i64()?,
            mzxid: r.i64()?,
            ctime: r.i64()?,
            mtime: r.i64()?,
            version: r.i32()?,
            cversion: r.i32()?,
            aversion: r.i32()?,
            owner: r.i64()?,
            pzxid: r.i64()?,
        })
    }

    /// Appends ZooKeeper's `StatPersisted`, 60 bytes.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.put_i64(self.czxid);
        out.put_i64(self.mzxid);
        out.put_i64(self.ctime);
        out.put_i64(self.mtime);
        out.put_i32(self.version);
        out.put_i32(self.cversion);
        out.put_i32(self.aversion);
        out.put_i64(self.owner);
        out.put_i64(self.pzxid);
    }
}

/// The owner field of a node created in this mode; `None` for a TTL that can not be stored.
pub fn owner(mode: CreateMode, session: SessionId) -> Option<i64> {
    match mode {
        CreateMode::Persistent => Some(0),
        CreateMode::Ephemeral => Some(session.0),
        CreateMode::Container => Some(OWNER_CONTAINER),
        CreateMode::Ttl(ms @ 1..=TTL_MS_MAX) => Some(OWNER_TTL | ms),
        CreateMode::Ttl(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_apart() {
        let of = |owner| StoredStat {
            owner,
            ..StoredStat::primordial()
        };
        assert_eq!(of(0).session(), None);
        assert_eq!(
            of(0x1000_0000_0001).session(),
            Some(SessionId(0x1000_0000_0001))
        );
        assert_eq!(of(OWNER_CONTAINER).session(), None);
        assert!(of(OWNER_CONTAINER).is_container());
        let ttl = owner(CreateMode::Ttl(5_000), SessionId(7)).unwrap();
        assert_eq!(ttl as u64, 0xff00_0000_0000_1388);
        assert_eq!(of(ttl).ttl_ms(), Some(5_000));
        assert_eq!(of(ttl).session(), None);
        // Server 255 makes sessions with this high byte; the kind bytes tell them apart.
        assert!(of(0xff00_0100_0000_0001_u64 as i64).session().is_some());
        assert_eq!(owner(CreateMode::Ttl(0), SessionId(7)), None);
        assert_eq!(owner(CreateMode::Ttl(TTL_MS_MAX + 1), SessionId(7)), None);
    }

    #[test]
    fn clients_see_no_container_or_ttl_owner_and_another_cversion() {
        let stat = StoredStat {
            cversion: 3,
            owner: OWNER_CONTAINER,
            ..StoredStat::primordial()
        };
        let visible = stat.visible(9, 1);
        assert_eq!((visible.cversion, visible.num_children), (5, 1));
        assert_eq!((visible.ephemeral_owner, visible.data_length), (0, 9));
        let full = StoredStat {
            cversion: i32::MAX,
            ..stat
        };
        assert_eq!(full.visible(0, 0).cversion, -2);
    }

    #[test]
    fn a_replayed_create_takes_nothing_back() {
        let mut stat = StoredStat {
            cversion: 5,
            pzxid: 90,
            ..StoredStat::primordial()
        };
        stat.child_created(5, Zxid(100));
        assert_eq!((stat.cversion, stat.pzxid), (5, 90));
        stat.child_created(6, Zxid(80));
        assert_eq!((stat.cversion, stat.pzxid), (6, 90));
        stat.child_created(7, Zxid(100));
        assert_eq!((stat.cversion, stat.pzxid), (7, 100));
    }
}
