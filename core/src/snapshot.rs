//! From the bytes of a snapshot back to a database.
//!
//! Reads what stands between file header and trailers: sessions, ACL table, nodes, terminator.
//! Takes the bytes in pieces of any size, from a file or from the leader, and trusts none of them:
//! counts reserve no memory, and what makes no tree is an error that says where it stands.
//! [`crate::database::Database::walk`] writes them.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use crate::database::Database;
use crate::ids::{SessionId, Zxid};
use crate::limits::SNAPSHOT_ENTRY_BYTES_MAX;
use crate::mutants::Mutants;
use crate::tree::{AclId, Growth, Misplaced, StoredStat};
use crate::wire::jute::{DecodeError, Decoded, Reader};
use crate::wire::records::Acl;

/// Why bytes are no snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LoadError {
    /// Where the entry that is wrong begins, counted from the session count.
    pub offset: u64,
    pub fault: LoadFault,
}

/// What is wrong with an entry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LoadFault {
    /// The bytes ended before the terminator.
    Unfinished,
    /// The entry can not be read: which kind of entry, and why.
    Undecodable(&'static str, DecodeError),
    /// One entry goes on for longer than any can be.
    EntryTooLong,
    /// A negative count: of what.
    Count(&'static str, i32),
    /// The same session twice.
    SessionTwice(SessionId),
    /// The same number in the ACL table twice.
    AclTwice(i64),
    /// The first node is not the root, but this.
    RootMissing(String),
    /// The same path twice.
    NodeTwice(String),
    /// A node before its parent, or without one.
    ParentMissing(String),
    /// No path that a node can have.
    Path(String),
}

impl fmt::Display for LoadFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unfinished => f.write_str("the snapshot ends before its last node"),
            Self::Undecodable(what, why) => write!(f, "{what}: {why}"),
            Self::EntryTooLong => {
                write!(
                    f,
                    "an entry is longer than {SNAPSHOT_ENTRY_BYTES_MAX} bytes"
                )
            }
            Self::Count(what, n) => write!(f, "negative number of {what}: {n}"),
            Self::SessionTwice(session) => write!(f, "session {session} stands there twice"),
            Self::AclTwice(id) => write!(f, "ACL number {id} stands there twice"),
            Self::RootMissing(path) => write!(f, "the first node is {path:?}, not the root"),
            Self::NodeTwice(path) => write!(f, "node {path:?} stands there twice"),
            Self::ParentMissing(path) => write!(f, "node {path:?} comes without its parent"),
            Self::Path(path) => write!(f, "{path:?} is no path of a node"),
        }
    }
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} (entry at byte {} after the file header)",
            self.fault, self.offset
        )
    }
}

impl core::error::Error for LoadError {}

/// So much of new bytes is tried as the rest of an entry that began earlier; if that is not enough,
/// as much again as there is of it already.
const PIECE_BYTES: usize = 512;

/// What comes next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    SessionCount,
    /// So many are left.
    Sessions(i32),
    AclCount,
    /// So many are left.
    Acls(i32),
    Root,
    Nodes,
    Complete,
}

/// A database that is being read.
#[derive(Debug)]
pub struct SnapshotLoader {
    stage: Stage,
    sessions: BTreeMap<SessionId, i32>,
    /// The snapshot's numbers of ACLs, and ours. Each holds one use until the end.
    acls: BTreeMap<i64, AclId>,
    tree: Growth,
    mutants: Mutants,
    /// An entry that is not whole yet.
    pending: Vec<u8>,
    /// Bytes of whole entries so far.
    offset: u64,
}

impl SnapshotLoader {
    /// `seed` as in [`Database::new`].
    pub fn new(seed: u64, mutants: Mutants) -> Self {
        Self {
            stage: Stage::SessionCount,
            sessions: BTreeMap::new(),
            acls: BTreeMap::new(),
            tree: Growth::new(seed),
            mutants,
            pending: Vec::new(),
            offset: 0,
        }
    }

    /// Takes the next bytes, however they are cut. Gives back how many belong to the snapshot:
    /// all, unless the terminator was among them. After an error the loader is of no use.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<usize, LoadError> {
        let mut at = 0;
        while !self.is_complete() && !self.pending.is_empty() && at < bytes.len() {
            at += self.finish_entry(&bytes[at..])?;
        }
        if !self.is_complete() && self.pending.is_empty() {
            at += self.take_entries(&bytes[at..])?;
            if !self.is_complete() {
                self.keep(bytes[at..].to_vec())?;
                at = bytes.len();
            }
        }
        Ok(at)
    }

    /// Goes on with the entry that began in earlier bytes, copying little of these: they may hold
    /// thousands of others. Says how many of these it used.
    fn finish_entry(&mut self, bytes: &[u8]) -> Result<usize, LoadError> {
        let before = self.pending.len();
        let piece = &bytes[..bytes.len().min(before.max(PIECE_BYTES))];
        let mut joined = core::mem::take(&mut self.pending);
        joined.extend_from_slice(piece);
        match self.take_entries(&joined)? {
            0 => {
                self.keep(joined)?;
                Ok(piece.len())
            }
            used => Ok(used - before),
        }
    }

    /// Keeps the beginning of an entry.
    fn keep(&mut self, bytes: Vec<u8>) -> Result<(), LoadError> {
        if bytes.len() > SNAPSHOT_ENTRY_BYTES_MAX {
            return Err(self.error(LoadFault::EntryTooLong));
        }
        self.pending = bytes;
        Ok(())
    }

    /// Was the terminator read?
    pub fn is_complete(&self) -> bool {
        self.stage == Stage::Complete
    }

    /// The database, as of `zxid`.
    pub fn finish(self, zxid: Zxid) -> Result<Database, LoadError> {
        if !self.is_complete() {
            return Err(self.error(LoadFault::Unfinished));
        }
        let mut tree = self.tree.finish();
        for &id in self.acls.values() {
            tree.release_acl(id);
        }
        Ok(Database::with_tree(tree, self.sessions, zxid, self.mutants))
    }

    fn error(&self, fault: LoadFault) -> LoadError {
        LoadError {
            offset: self.offset,
            fault,
        }
    }

    /// Reads whole entries and says how many bytes they took.
    fn take_entries(&mut self, bytes: &[u8]) -> Result<usize, LoadError> {
        let mut used = 0;
        while !self.is_complete() {
            let mut r = Reader::new(&bytes[used..]);
            match self.take_entry(&mut r) {
                Ok(()) => {}
                Err(LoadFault::Undecodable(_, DecodeError::Truncated)) => break,
                Err(fault) => return Err(self.error(fault)),
            }
            used += r.position();
            self.offset += r.position() as u64;
        }
        Ok(used)
    }

    fn take_entry(&mut self, r: &mut Reader<'_>) -> Result<(), LoadFault> {
        let undecodable = |what| move |why| LoadFault::Undecodable(what, why);
        match self.stage {
            Stage::SessionCount => {
                let count = r.i32().map_err(undecodable("session count"))?;
                self.stage = Stage::Sessions(checked(count, "sessions")?).next();
            }
            Stage::Sessions(left) => {
                let (session, timeout_ms) = read_session(r).map_err(undecodable("session"))?;
                if self.sessions.insert(session, timeout_ms).is_some() {
                    return Err(LoadFault::SessionTwice(session));
                }
                self.stage = Stage::Sessions(left - 1).next();
            }
            Stage::AclCount => {
                let count = r.i32().map_err(undecodable("ACL count"))?;
                self.stage = Stage::Acls(checked(count, "ACLs")?).next();
            }
            Stage::Acls(left) => {
                // Not kept for its end to come, if it can not be that long.
                let announced = announced_acl(r.rest());
                if announced > SNAPSHOT_ENTRY_BYTES_MAX {
                    return Err(LoadFault::EntryTooLong);
                }
                let (id, list) = read_acl(r).map_err(undecodable("ACL"))?;
                let ours = self.tree.retain_acl(&list);
                if self.acls.insert(id, ours).is_some() {
                    return Err(LoadFault::AclTwice(id));
                }
                self.stage = Stage::Acls(left - 1).next();
            }
            Stage::Root | Stage::Nodes => self.take_node(r)?,
            Stage::Complete => {}
        }
        Ok(())
    }

    fn take_node(&mut self, r: &mut Reader<'_>) -> Result<(), LoadFault> {
        let undecodable = |why| LoadFault::Undecodable("node", why);
        let path = r.string_or_empty().map_err(undecodable)?;
        if path == "/" {
            if self.stage == Stage::Root {
                return Err(LoadFault::RootMissing(path.into()));
            }
            self.stage = Stage::Complete;
            return Ok(());
        }
        let data = r.buffer().map_err(undecodable)?;
        let acl = r.i64().map_err(undecodable)?;
        let stat = StoredStat::read(r).map_err(undecodable)?;
        if self.stage == Stage::Root {
            if !path.is_empty() {
                return Err(LoadFault::RootMissing(path.into()));
            }
            let acl = self.acl(acl);
            self.tree.replace_root(data, acl, stat);
            self.stage = Stage::Nodes;
            return Ok(());
        }
        let misplaced = |why| match why {
            Misplaced::Path => LoadFault::Path((&*path).into()),
            Misplaced::ParentMissing => LoadFault::ParentMissing((&*path).into()),
            Misplaced::Twice => LoadFault::NodeTwice((&*path).into()),
        };
        let (parent, name) = self.tree.place(&path).map_err(misplaced)?;
        let acl = self.acl(acl);
        let planted = self.tree.insert(parent, (&path, name), data, acl, stat);
        planted.map_err(misplaced)
    }

    /// A use of the list that the snapshot knows by this number. ZooKeeper writes the table before
    /// the nodes while both change, so that a number may be missing; replaying the log brings the
    /// list (ZOOKEEPER-4846). Until then nobody may do anything with the node.
    fn acl(&mut self, stored: i64) -> AclId {
        let list = match (stored, self.acls.get(&stored)) {
            (-1, _) => Acl::world(crate::wire::records::perms::ALL),
            (_, Some(&id)) => {
                self.tree.retain_acl_id(id);
                return id;
            }
            (_, None) => Acl::world(0),
        };
        self.tree.retain_acl(&[list])
    }
}

impl Stage {
    /// The stage after a list is the next list.
    fn next(self) -> Self {
        match self {
            Self::Sessions(0) => Self::AclCount,
            Self::Acls(0) => Self::Root,
            stage => stage,
        }
    }
}

fn checked(count: i32, what: &'static str) -> Result<i32, LoadFault> {
    if count < 0 {
        Err(LoadFault::Count(what, count))
    } else {
        Ok(count)
    }
}

fn read_session(r: &mut Reader<'_>) -> Decoded<(SessionId, i32)> {
    Ok((SessionId(r.i64()?), r.i32()?))
}

/// The least length of the ACL entry at the front, by the count in it.
fn announced_acl(bytes: &[u8]) -> usize {
    const MEMBER_BYTES_MIN: usize = 12;
    let mut r = Reader::new(bytes);
    let count = r.i64().and_then(|_| r.i32()).unwrap_or(0);
    usize::try_from(count).map_or(0, |n| n.saturating_mul(MEMBER_BYTES_MIN))
}

fn read_acl(r: &mut Reader<'_>) -> Decoded<(i64, Vec<Acl>)> {
    Ok((r.i64()?, Acl::read_list(r)?))
}
