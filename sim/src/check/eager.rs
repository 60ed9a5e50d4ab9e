//! What a server may refuse by its own tree before it asks the leader: an access list that can not
//! be stored, or one that forbids the write at some moment since the session's last reply. Only
//! the check itself; who may make it is decided where replies are judged.
//!
//! Sound: the server had applied at least what the session has seen, and nothing newer than what
//! is committed when the reply arrives.

use std::rc::Rc;

use vivarium_core::ids::Zxid;
use vivarium_core::wire::records::{Acl, ErrorCode, Id, perms};

use super::model::{Model, parent_of};
use crate::clients::ops::Op;

impl Model {
    /// Could a server that had applied `from` or more refuse this write so?
    pub fn refuses_between(&self, (who, op): (&[Id], &Op), code: i32, from: Zxid) -> bool {
        let list: Option<&Rc<[Acl]>> = match op {
            Op::Create { acl, .. } | Op::SetAcl { acl, .. } => Some(acl),
            _ => None,
        };
        let is_bad = list.is_some_and(|list| self.access.resolve(list, who).is_err());
        if is_bad || code != ErrorCode::NoAuth.code() {
            return is_bad && code == ErrorCode::InvalidAcl.code();
        }
        let (path, mask) = match op {
            Op::Create { path, .. } => (parent_of(path).unwrap_or("/"), perms::CREATE),
            Op::Delete { path, .. } => (parent_of(path).unwrap_or("/"), perms::DELETE),
            Op::SetData { path, .. } => (&**path, perms::WRITE),
            Op::SetAcl { path, .. } => (&**path, perms::ADMIN),
            _ => return false,
        };
        let mut versions = self.versions_since(path, from);
        versions.any(|node| !self.access.allows(&node.acl, mask, who))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;
    use vivarium_core::ids::SessionId;

    const S: SessionId = SessionId(7);

    #[test]
    fn a_list_must_have_stood_there_since() {
        let mut model = Model::new();
        let draft = model.draft_open(S, 100, Zxid(1));
        model.commit(draft);
        let list = |perms| Op::SetAcl {
            path: "/a".into(),
            acl: Rc::new([Acl::world(perms)]),
            version: -1,
        };
        let ops = [
            create_op("/a", false, false),
            list(perms::ADMIN),
            list(perms::ALL),
        ];
        for (n, op) in ops.iter().enumerate() {
            let (_, draft) = model.draft(S, op, Zxid(2 + n as i64), 0);
            model.commit(draft);
        }
        let write = Op::SetData {
            path: "/a".into(),
            data: None,
            version: -1,
        };
        let may = |op: &Op, code, from| model.refuses_between((&[], op), code, Zxid(from));
        assert!(may(&write, -102, 1) && may(&write, -102, 3) && !may(&write, -102, 4));
        assert!(!may(&write, -114, 1) && !may(&list(31), -102, 1));
        let empty = Op::SetAcl {
            path: "/a".into(),
            acl: Rc::new([]),
            version: -1,
        };
        assert!(may(&empty, -114, 4) && !may(&empty, -102, 1));
    }
}
