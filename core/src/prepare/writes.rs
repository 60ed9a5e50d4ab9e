//! The checks of every write, and what it will change.
//!
//! Knows: the order of checks of ZooKeeper's `PrepRequestProcessor`: the first one that fails names
//! the error. Refuses to know: how changes are kept, and how transactions are encoded.

use alloc::borrow::Cow;
use alloc::format;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::changes::{Changes, Node};
use super::{Ask, Refusal};
use crate::acl;
use crate::config::Rules;
use crate::database::Database;
use crate::limits::{Limit, ZNODE_BYTES};
use crate::mutants::{Mutant, Mutants};
use crate::path;
use crate::quota::{self, Excess, Usage};
use crate::tree::stat::{TTL_MS_MAX, owner};
use crate::tree::{Prefix, StoredStat};
use crate::wire::client::{CreateOp, Request};
use crate::wire::records::{Acl, ErrorCode, op, perms};
use crate::wire::txn::{CreateMode, SubTxn, Txn};

type Prepared<'a> = Result<Txn<'a>, ErrorCode>;

/// A path of a request or transaction.
type Path<'a> = Cow<'a, str>;

/// Matches every version.
const ANY_VERSION: i32 = -1;

/// One write against the tree to come.
pub(super) struct Writer<'s, 'a> {
    pub(super) changes: &'s mut Changes,
    pub(super) db: &'s Database,
    pub(super) ask: &'s Ask<'a>,
    pub(super) rules: &'s Rules,
    pub(super) excesses: &'s mut Vec<Excess>,
    pub(super) refusal: &'s mut Option<Limit>,
    /// Memory that proposed writes may take.
    pub(super) proposed_bytes: u64,
    pub(super) mutants: Mutants,
    /// The operation at hand is part of a multi.
    pub(super) in_multi: bool,
}

/// What a create asks for.
struct Create<'a> {
    op: CreateOp,
    path: Path<'a>,
    data: Option<&'a [u8]>,
    acl: Vec<Acl>,
    flags: i32,
}

impl<'a> Writer<'_, 'a> {
    /// A write that may also stand in a multi.
    pub(super) fn write(&mut self, request: Request<'a>) -> Prepared<'a> {
        match request {
            Request::Create {
                kind,
                path,
                data,
                acl,
                flags,
            } => {
                let acl = acl.unwrap_or_default();
                self.create(Create {
                    op: kind,
                    path,
                    data,
                    acl,
                    flags,
                })
            }
            Request::Delete { path, version } => self.delete(path, version),
            Request::SetData {
                path,
                data,
                version,
            } => self.set_data(path, data, version),
            Request::Check { path, version } => self.check(path, version),
            _ => Err(ErrorCode::Unimplemented),
        }
    }

    fn create(&mut self, create: Create<'a>) -> Prepared<'a> {
        let flags = Flags::read(create.flags, create.op, self.rules.extended_types)?;
        if flags.mode == CreateMode::Ephemeral {
            self.global_session()?;
        } else {
            self.session()?;
        }
        let parent_path = path::creatable_parent(&create.path).ok_or(ErrorCode::BadArguments)?;
        let acl = acl::resolve(self.rules, &create.acl, self.ask.identities)?;
        let mut parent = self.node(parent_path)?;
        self.allowed(&parent, perms::CREATE)?;
        let path = if flags.sequential {
            let number = self.sequence_number(&parent);
            Cow::Owned(format!("{}{number:010}", create.path))
        } else {
            create.path.clone()
        };
        if !path::is_valid(&path) || quota::is_root_limits(&path) {
            return Err(ErrorCode::BadArguments);
        }
        if self.changes.get(self.db, &path).is_some() {
            return Err(ErrorCode::NodeExists);
        }
        if parent.stat.session().is_some() {
            return Err(ErrorCode::NoChildrenForEphemerals);
        }
        let more = Usage {
            count: 1,
            bytes: create.data.map_or(0, <[u8]>::len) as i64,
        };
        self.within_quota(&path, more)?;
        self.within_memory(path.len() as i64 + more.bytes + ZNODE_BYTES as i64)?;
        let parent_cversion = parent.stat.cversion.wrapping_add(1);
        parent.children += 1;
        // At its end the count stops: a wrapped value is not larger, and servers only raise it.
        parent.stat.child_created(parent_cversion, self.ask.zxid);
        self.changes.put(self.db, parent_path, Some(parent));
        let node = self.new_node(&path, create.data, &acl, flags.mode);
        self.changes.put(self.db, &path, Some(node));
        Ok(Txn::Create {
            path,
            data: create.data,
            acl,
            mode: flags.mode,
            parent_cversion,
        })
    }

    /// The number of creates below the parent so far, failed ones not counted.
    fn sequence_number(&self, parent: &Node) -> i32 {
        if self.mutants.has(Mutant::SequenceFromChildCount) {
            return i32::try_from(parent.children).unwrap_or(i32::MAX);
        }
        parent.stat.cversion
    }

    fn new_node(&self, path: &str, data: Option<&[u8]>, acl: &[Acl], mode: CreateMode) -> Node {
        let owner = owner(mode, self.ask.session).expect("flags allow only a TTL that fits");
        Node {
            stat: StoredStat::created(self.ask.zxid, self.ask.time, owner),
            children: 0,
            acl: Arc::from(acl),
            length: data.map_or(0, <[u8]>::len),
            prefix: Prefix::new(path, data),
        }
    }

    fn delete(&mut self, path: Path<'a>, version: i32) -> Prepared<'a> {
        self.session()?;
        let parent_path = path::deletable_parent(&path).ok_or(ErrorCode::BadArguments)?;
        let parent = self.node(parent_path)?;
        self.allowed(&parent, perms::DELETE)?;
        let node = self.node(&path)?;
        next_version(node.stat.version, version)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        self.remove(&path, parent_path);
        Ok(Txn::Delete { path })
    }

    /// The sweeper's delete: neither permission nor version, but only what no session owns.
    pub(super) fn delete_container(&mut self) -> Prepared<'a> {
        let path = core::str::from_utf8(self.ask.body).map_err(|_| ErrorCode::MarshallingError)?;
        let parent_path = path::deletable_parent(path).ok_or(ErrorCode::BadArguments)?;
        let node = self.node(path)?;
        if node.children > 0 {
            return Err(ErrorCode::NotEmpty);
        }
        if node.stat.session().is_some() {
            return Err(ErrorCode::BadVersion);
        }
        self.remove(path, parent_path);
        Ok(Txn::Delete { path: path.into() })
    }

    /// A node goes, its parent notes when. The count of creates stays.
    fn remove(&mut self, path: &str, parent_path: &str) {
        self.changes.put(self.db, path, None);
        // Only a damaged or foreign snapshot has ephemerals below ephemerals: when their session
        // closes, the upper one takes the lower one along.
        let Some(mut parent) = self.changes.get(self.db, parent_path) else {
            return;
        };
        parent.children = parent.children.saturating_sub(1);
        parent.stat.pzxid = parent.stat.pzxid.max(self.ask.zxid.0);
        self.changes.put(self.db, parent_path, Some(parent));
    }

    fn set_data(&mut self, path: Path<'a>, data: Option<&'a [u8]>, version: i32) -> Prepared<'a> {
        self.session()?;
        let mut node = self.valid_node(&path)?;
        self.allowed(&node, perms::WRITE)?;
        let length = data.map_or(0, <[u8]>::len);
        let more = Usage {
            count: 0,
            bytes: length as i64 - node.length as i64,
        };
        if !self.mutants.has(Mutant::QuotaSkipsData) {
            self.within_quota(&path, more)?;
        }
        let version = next_version(node.stat.version, version)?;
        self.within_memory(more.bytes)?;
        node.length = length;
        node.stat.version = version;
        node.stat.mzxid = self.ask.zxid.0;
        node.stat.mtime = self.ask.time.0;
        node.prefix = Prefix::new(path::canonical(&path), data);
        self.changes.put(self.db, &path, Some(node));
        Ok(Txn::SetData {
            path,
            data,
            version,
        })
    }

    pub(super) fn set_acl(
        &mut self,
        path: Path<'a>,
        acl: Option<Vec<Acl>>,
        version: i32,
    ) -> Prepared<'a> {
        self.session()?;
        if !path::is_valid(&path) {
            return Err(ErrorCode::BadArguments);
        }
        let acl = acl::resolve(self.rules, &acl.unwrap_or_default(), self.ask.identities)?;
        let mut node = self.node(&path)?;
        self.allowed(&node, perms::ADMIN)?;
        let version = next_version(node.stat.aversion, version)?;
        node.stat.aversion = version;
        node.acl = Arc::from(acl.as_slice());
        self.changes.put(self.db, &path, Some(node));
        Ok(Txn::SetAcl { path, acl, version })
    }

    /// Changes nothing, but its transaction carries a version as ZooKeeper's does.
    fn check(&self, path: Path<'a>, version: i32) -> Prepared<'a> {
        self.session()?;
        let node = self.valid_node(&path)?;
        self.allowed(&node, perms::READ)?;
        let version = next_version(node.stat.version, version)?;
        Ok(Txn::Check { path, version })
    }

    pub(super) fn create_session(&self, timeout_ms: i32) -> Prepared<'a> {
        self.session()?;
        Ok(Txn::CreateSession { timeout_ms })
    }

    /// Takes the session's ephemerals with it, proposed ones included.
    pub(super) fn close_session(&mut self) -> Prepared<'a> {
        self.session()?;
        let ephemerals = self.changes.ephemerals_of(self.db, self.ask.session);
        for path in &ephemerals {
            self.remove(path, path::parent(path));
        }
        let paths = ephemerals
            .iter()
            .map(|path| Cow::Owned((**path).into()))
            .collect();
        Ok(Txn::CloseSession { paths: Some(paths) })
    }

    /// All operations or none. Fails as a whole only if it is not a multi that clients may send.
    pub(super) fn multi(&mut self, ops: Vec<Request<'a>>) -> Prepared<'a> {
        let ops = ops.into_iter().map(admit).collect::<Result<Vec<_>, _>>()?;
        self.changes.checkpoint();
        self.in_multi = true;
        let mut failed = false;
        let mut subs = Vec::with_capacity(ops.len());
        for op in ops {
            let kind = op.op();
            let refused = |error: ErrorCode| SubTxn {
                kind: op::ERROR,
                txn: Txn::Error { code: error.code() },
            };
            subs.push(if failed {
                refused(ErrorCode::RuntimeInconsistency)
            } else {
                match self.write(op) {
                    Ok(txn) => SubTxn { kind, txn },
                    Err(error) => {
                        failed = true;
                        refused(error)
                    }
                }
            });
        }
        if failed {
            self.changes.take_back();
        } else {
            self.changes.keep();
        }
        Ok(Txn::Multi(subs))
    }

    fn session(&self) -> Result<(), ErrorCode> {
        match self.ask.refuse {
            Some(Refusal::Everything(error)) => Err(error),
            Some(Refusal::Ephemerals(_)) | None => Ok(()),
        }
    }

    fn global_session(&self) -> Result<(), ErrorCode> {
        match self.ask.refuse {
            Some(Refusal::Ephemerals(error)) => Err(error),
            Some(Refusal::Everything(_)) | None => self.session(),
        }
    }

    fn node(&self, path: &str) -> Result<Node, ErrorCode> {
        self.changes.get(self.db, path).ok_or(ErrorCode::NoNode)
    }

    fn valid_node(&self, path: &str) -> Result<Node, ErrorCode> {
        if path::is_valid(path) {
            self.node(path)
        } else {
            Err(ErrorCode::BadArguments)
        }
    }

    /// May the tree grow by this much (`vivarium.memoryLimit`)? Everything proposed counts as if it
    /// made the tree larger: it is little, and soon known better. What makes it smaller always may.
    fn within_memory(&mut self, more: i64) -> Result<(), ErrorCode> {
        let (limit, more) = (self.rules.memory_max, u64::try_from(more).unwrap_or(0));
        let used = self.db.tree().memory_bytes() + self.proposed_bytes;
        if limit > 0 && more > 0 && used + more > limit {
            *self.refusal = Some(Limit::Memory { max: limit });
            return Err(ErrorCode::QuotaExceeded);
        }
        Ok(())
    }

    /// Would this much more be too much? As in ZooKeeper what counts is the tree as it is: writes
    /// under way are not in it, and neither are the earlier ones of the same multi.
    fn within_quota(&mut self, path: &str, more: Usage) -> Result<(), ErrorCode> {
        if !self.rules.enforce_quota {
            return Ok(());
        }
        let found = self.db.quotas().limits(self.db.tree(), path);
        let Some((target, usage, limits)) = found else {
            return Ok(());
        };
        for (measure, over) in limits.exceeded(usage, more) {
            self.excesses.push(Excess {
                path: target.into(),
                measure,
                is_hard: over.is_hard,
                value: over.value,
                limit: over.limit,
            });
            if over.is_hard {
                return Err(ErrorCode::QuotaExceeded);
            }
        }
        Ok(())
    }

    fn allowed(&self, node: &Node, mask: i32) -> Result<(), ErrorCode> {
        let unchecked = self.in_multi && self.mutants.has(Mutant::MultiUnchecked);
        let allowed = unchecked || acl::allows(self.rules, &node.acl, mask, self.ask.identities);
        if allowed {
            Ok(())
        } else {
            Err(ErrorCode::NoAuth)
        }
    }
}

/// What the flags of a create mean for the operation that carries them.
#[derive(Clone, Copy)]
struct Flags {
    sequential: bool,
    mode: CreateMode,
}

impl Flags {
    /// `extended`: may there be TTL nodes? In ZooKeeper's order: a flag that no create knows, TTL
    /// nodes where there may be none, a TTL that does not fit the mode. createTTL makes nothing
    /// else; ZooKeeper lets a TTL of -1 pass there and fails on it later.
    fn read(flags: i32, op: CreateOp, extended: bool) -> Result<Self, ErrorCode> {
        let (ephemeral, sequential, ttl) = match flags {
            0 | 4 => (false, false, false),
            1 => (true, false, false),
            2 => (false, true, false),
            3 => (true, true, false),
            5 => (false, false, true),
            6 => (false, true, true),
            _ => return Err(ErrorCode::BadArguments),
        };
        if ttl && !extended {
            return Err(ErrorCode::Unimplemented);
        }
        let mode = match op {
            CreateOp::Ttl(ms @ 1..=TTL_MS_MAX) if ttl => CreateMode::Ttl(ms),
            CreateOp::Ttl(_) => return Err(ErrorCode::BadArguments),
            _ if ttl => return Err(ErrorCode::BadArguments),
            CreateOp::Container => CreateMode::Container,
            CreateOp::Create | CreateOp::Create2 if ephemeral => CreateMode::Ephemeral,
            CreateOp::Create | CreateOp::Create2 => CreateMode::Persistent,
        };
        Ok(Self { sequential, mode })
    }
}

/// Inside a multi, the flags of a create have a say in which operation it is. Java decides this
/// while it reads the request, so impossible ones make the whole request unreadable.
fn admit(request: Request<'_>) -> Result<Request<'_>, ErrorCode> {
    let Request::Create {
        kind,
        path,
        data,
        acl,
        flags,
    } = request
    else {
        return Ok(request);
    };
    let kind = match (kind, flags) {
        (CreateOp::Ttl(ttl), 5 | 6) => CreateOp::Ttl(ttl),
        (_, 4) => CreateOp::Container,
        // A flag that no create knows is found out by the checks of a plain one.
        (CreateOp::Ttl(_), _) => CreateOp::Create,
        (kind, 0..=3) => kind,
        _ => return Err(ErrorCode::MarshallingError),
    };
    Ok(Request::Create {
        kind,
        path,
        data,
        acl,
        flags,
    })
}

/// The version after a write that expects the current one to be `expected`. -1 is skipped, because
/// it would match everything.
pub(super) const fn next_version(current: i32, expected: i32) -> Result<i32, ErrorCode> {
    if expected != ANY_VERSION && expected != current {
        return Err(ErrorCode::BadVersion);
    }
    let next = current.wrapping_add(1);
    Ok(if next == ANY_VERSION { 0 } else { next })
}
