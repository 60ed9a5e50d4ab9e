//! One committed transaction becomes a changed tree: ZooKeeper's `DataTree.processTxn`.

use alloc::string::String;
use alloc::vec::Vec;

use super::{Change, ChangeKind, Database, Outcome};
use crate::mutants::Mutant;
use crate::quota::Quotas;
use crate::tree::{AclId, NodeId, StoredStat, stat};
use crate::wire::records::{Acl, ErrorCode, op};
use crate::wire::txn::{CreateMode, SubTxn, Txn, TxnHeader, TxnRecord};

/// One transaction, or one operation of a multi, being applied.
struct Applying<'d, 'c> {
    database: &'d mut Database,
    header: TxnHeader,
    changes: Option<&'c mut Vec<Change>>,
}

/// Body of a create.
struct Create<'a> {
    kind: i32,
    path: &'a str,
    data: Option<&'a [u8]>,
    acl: &'a [Acl],
    mode: CreateMode,
    parent_cversion: i32,
}

impl Database {
    pub(super) fn apply_record(
        &mut self,
        record: &TxnRecord<'_>,
        changes: Option<&mut Vec<Change>>,
    ) -> Outcome {
        let header = record.header;
        let mut applying = Applying {
            database: self,
            header,
            changes,
        };
        match &record.txn {
            Txn::Multi(subs) => applying.multi(subs),
            txn => applying.single(header.kind, txn),
        }
    }
}

const fn error(code: ErrorCode) -> Outcome {
    Outcome::Error(code.code())
}

/// Parent path (`""` for the root) and name; `None` for the root itself and for odd paths.
fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/').filter(|(_, name)| !name.is_empty())
}

impl Applying<'_, '_> {
    fn single(&mut self, kind: i32, txn: &Txn<'_>) -> Outcome {
        match txn {
            Txn::Create {
                path,
                data,
                acl,
                mode,
                parent_cversion,
            } => self.create(&Create {
                kind,
                path,
                data: *data,
                acl,
                mode: *mode,
                parent_cversion: *parent_cversion,
            }),
            Txn::Delete { path } => self.delete(path),
            Txn::SetData {
                path,
                data,
                version,
            } => self.set_data(path, *data, *version),
            Txn::SetAcl { path, acl, version } => self.set_acl(path, acl, *version),
            Txn::Check { .. } => Outcome::Checked,
            Txn::Error { code } => Outcome::Error(*code),
            Txn::CreateSession { timeout_ms } => {
                self.database
                    .sessions
                    .insert(self.header.session, *timeout_ms);
                Outcome::SessionCreated
            }
            Txn::CloseSession { paths } => self.close_session(paths.as_deref()),
            // The codec knows no multi inside a multi.
            Txn::Multi(_) => error(ErrorCode::MarshallingError),
        }
    }

    /// All or nothing: one failed operation makes errors of all.
    fn multi(&mut self, subs: &[SubTxn<'_>]) -> Outcome {
        let failed = subs
            .iter()
            .position(|sub| matches!(sub.txn, Txn::Error { .. }));
        let Some(failed) = failed else {
            let outcomes = subs
                .iter()
                .map(|sub| (sub.kind, self.single(sub.kind, &sub.txn)));
            return Outcome::Multi(outcomes.collect());
        };
        if self.database.mutants.has(Mutant::MultiHalfApplied) {
            for sub in &subs[..failed] {
                self.single(sub.kind, &sub.txn);
            }
        }
        let outcomes = subs.iter().enumerate().map(|(at, sub)| {
            let code = match sub.txn {
                Txn::Error { code } => code,
                _ if at < failed => ErrorCode::Ok.code(),
                _ => ErrorCode::RuntimeInconsistency.code(),
            };
            (op::ERROR, Outcome::Error(code))
        });
        Outcome::Multi(outcomes.collect())
    }

    fn create(&mut self, create: &Create<'_>) -> Outcome {
        let Some((parent_path, name)) = split(create.path) else {
            return error(ErrorCode::BadArguments);
        };
        let Some(owner) = stat::owner(create.mode, self.header.session) else {
            return error(ErrorCode::BadArguments);
        };
        let zxid = self.header.zxid;
        let tree = &mut self.database.tree;
        let Some(parent) = tree.locate(parent_path) else {
            return error(ErrorCode::NoNode);
        };
        let parent_cversion = match create.parent_cversion {
            -1 => tree.stored(parent).cversion.wrapping_add(1),
            cversion => cversion,
        };
        let acl = tree.retain_acl(create.acl);
        if let Some(node) = tree.locate(create.path) {
            // Replayed over a newer snapshot, whose ACL table may be older than its nodes
            // (ZOOKEEPER-4846).
            tree.set_acl(node, create.path, acl, |_| ());
            if create.kind == op::CREATE {
                tree.update(parent, parent_path, |stat| {
                    stat.child_created(parent_cversion, zxid)
                });
            }
            return error(ErrorCode::NodeExists);
        }
        tree.update(parent, parent_path, |stat| {
            stat.child_created(parent_cversion, zxid)
        });
        let stat = StoredStat::created(zxid, self.header.time, owner);
        let node = tree.insert(parent, (create.path, name), create.data, acl, stat);
        self.changed(ChangeKind::Created, create.path, acl);
        self.children_changed(parent, parent_path);
        let stat = self.database.tree.visible(node);
        let length = create.data.map_or(0, <[u8]>::len);
        let Database { tree, quotas, .. } = self.database;
        quotas.created(tree, create.path, length);
        Outcome::Created {
            path: create.path.into(),
            stat,
        }
    }

    fn delete(&mut self, path: &str) -> Outcome {
        let Some((parent_path, _)) = split(path) else {
            return error(ErrorCode::BadArguments);
        };
        let zxid = self.header.zxid;
        let tree = &mut self.database.tree;
        let Some(parent) = tree.locate(parent_path) else {
            return error(ErrorCode::NoNode);
        };
        // Even if the node is gone already: the snapshot that is replayed over may be newer than
        // the node, and the parent's stat in it older.
        tree.update(parent, parent_path, |stat| {
            stat.pzxid = stat.pzxid.max(zxid.0)
        });
        let Some(node) = tree.locate(path) else {
            return error(ErrorCode::NoNode);
        };
        let acl = tree.acl_id(node);
        self.changed(ChangeKind::Deleted, path, acl);
        let Database {
            tree,
            quotas,
            mutants,
            ..
        } = self.database;
        let (length, children) = (tree.data_length(node), tree.child_count(node));
        tree.remove(node, path);
        if children > 0 {
            // Only in a replay over a newer snapshot: a whole subtree went.
            *quotas = Quotas::load(tree);
        } else if !mutants.has(Mutant::DeletesNotCounted) {
            quotas.deleted(tree, path, length);
        }
        self.children_changed(parent, parent_path);
        Outcome::Deleted
    }

    fn set_data(&mut self, path: &str, data: Option<&[u8]>, version: i32) -> Outcome {
        let path = if path == "/" { "" } else { path };
        let header = self.header;
        let tree = &mut self.database.tree;
        let Some(node) = tree.locate(path) else {
            return error(ErrorCode::NoNode);
        };
        let from = tree.data_length(node);
        tree.set_data(node, path, data, |stat| {
            stat.version = version;
            stat.mzxid = header.zxid.0;
            stat.mtime = header.time.0;
        });
        let (stat, acl) = (tree.visible(node), tree.acl_id(node));
        let lengths = (from, data.map_or(0, <[u8]>::len));
        let Database { tree, quotas, .. } = self.database;
        quotas.changed(tree, path, lengths);
        self.changed(ChangeKind::DataChanged, path, acl);
        Outcome::DataSet { stat }
    }

    fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Outcome {
        let path = if path == "/" { "" } else { path };
        let tree = &mut self.database.tree;
        let Some(node) = tree.locate(path) else {
            return error(ErrorCode::NoNode);
        };
        let acl = tree.retain_acl(acl);
        tree.set_acl(node, path, acl, |stat| stat.aversion = version);
        Outcome::AclSet {
            stat: tree.visible(node),
        }
    }

    /// Deletes what the leader listed, then what this server knows besides (all of it in logs
    /// without a list).
    fn close_session(&mut self, listed: Option<&[alloc::borrow::Cow<'_, str>]>) -> Outcome {
        let session = self.header.session;
        self.database.sessions.remove(&session);
        if self.database.mutants.has(Mutant::EphemeralSurvivesSession) {
            return Outcome::SessionClosed;
        }
        for path in listed.unwrap_or_default() {
            self.delete(path);
        }
        for path in self.database.tree.ephemerals(session) {
            self.delete(&path);
        }
        Outcome::SessionClosed
    }

    fn children_changed(&mut self, parent: NodeId, path: &str) {
        let acl = self.database.tree.acl_id(parent);
        self.changed(ChangeKind::ChildrenChanged, path, acl);
    }

    fn changed(&mut self, kind: ChangeKind, path: &str, acl: AclId) {
        let Some(changes) = &mut self.changes else {
            return;
        };
        let path = String::from(if path.is_empty() { "/" } else { path });
        let acl = self.database.tree.acls().get(acl).clone();
        changes.push(Change { kind, path, acl });
    }
}
