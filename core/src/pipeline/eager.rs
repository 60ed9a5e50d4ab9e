//! What a server refuses by its own tree, before the leader is asked: ZooKeeper's
//! `enableEagerACLCheck`.
//!
//! Knows: which access list guards which write. Refuses to know: everything else about a write.
//! What can not be read, or names no node here, is the business of the leader, which looks at what
//! passes again.

use super::connection::Connection;
use super::desk::Desk;
use crate::acl;
use crate::database::Database;
use crate::path;
use crate::wire::client::{CreateOp, Request, RequestHeader};
use crate::wire::records::{ErrorCode, perms};

impl Desk {
    /// Why a write need not go to the leader, if this server looks at that: `InvalidAcl` or
    /// `NoAuth`.
    ///
    /// Not while older requests of the connection are under way: one of them may change the very
    /// list, or create the node.
    pub(super) fn refuse_eagerly(
        &self,
        c: &Connection,
        header: RequestHeader,
        body: &[u8],
        db: &Database,
    ) -> Option<ErrorCode> {
        if !self.is_eager || !c.is_idle() {
            return None;
        }
        let request = Request::decode(header.op, body).ok()?;
        let (path, mask, list) = match &request {
            Request::Create {
                kind: CreateOp::Create | CreateOp::Create2,
                path,
                acl,
                ..
            } => (path::deletable_parent(path)?, perms::CREATE, Some(acl)),
            Request::Delete { path, .. } => (path::deletable_parent(path)?, perms::DELETE, None),
            Request::SetData { path, .. } => (&**path, perms::WRITE, None),
            Request::SetAcl { path, acl, .. } => (&**path, perms::ADMIN, Some(acl)),
            _ => return None,
        };
        if let Some(list) = list {
            let list = list.as_deref().unwrap_or_default();
            if let Err(error) = acl::resolve(&self.rules, list, &c.identities) {
                return Some(error);
            }
        }
        let node = db.tree().get(path)?;
        let is_allowed = acl::allows(&self.rules, node.acl(), mask, &c.identities);
        (!is_allowed).then_some(ErrorCode::NoAuth)
    }
}
