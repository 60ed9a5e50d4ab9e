//! Looks into a server's own tree: right after the transactions that mutants of ours and bugs of
//! others got wrong (the end of a session, a failed multi), and at the end of a run at all of it,
//! znode by znode against the model (rule `tree-digest`, which it spells out).

use vivarium_core::ids::{ServerId, SessionId, Zxid};
use vivarium_core::node::Node;
use vivarium_core::tree::Tree;

use super::model::Model;
use super::prefix::Broken;
use super::{digest, ephemerals, multi};
use crate::clients::ops::Path;

/// What to ask of every server that applies a certain transaction.
#[derive(Clone, Debug)]
pub enum Probe {
    Closed(SessionId),
    /// The paths that the multi would have changed.
    FailedMulti(Vec<Path>),
}

impl Probe {
    /// Later transactions of the same turn may be in the tree as well: a closed session gets no new
    /// ephemerals, and no other transaction leaves this zxid.
    pub fn judge(&self, id: ServerId, zxid: Zxid, tree: &Tree) -> Result<(), Broken> {
        match self {
            Self::Closed(session) => {
                if !tree.has_ephemerals(*session) {
                    return Ok(());
                }
                let left: Vec<String> = tree.ephemerals(*session).collect();
                let judged = ephemerals::judge_left(id, *session, &left);
                judged.map_err(|e| (ephemerals::RULE, e))
            }
            Self::FailedMulti(paths) => {
                for path in paths {
                    let stored = tree.get(path).map(|node| node.stored());
                    let found = stored.map(|s| (Zxid(s.czxid), Zxid(s.mzxid)));
                    let judged = multi::judge_tree(zxid, path, found);
                    judged.map_err(|e| (multi::RULE, format!("server {id}: {e}")))?;
                }
                Ok(())
            }
        }
    }
}

/// Every znode of the server at its applied zxid, which is committed.
pub fn judge_tree(id: ServerId, model: &Model, zxid: Zxid, node: &Node) -> Result<(), Broken> {
    let tree = node.database().tree();
    let mut count = 0;
    for path in model.paths() {
        let Some(wanted) = model.at(path, zxid) else {
            continue;
        };
        count += 1;
        let found = tree.get(path);
        let same = found.is_some_and(|n| {
            n.stat() == wanted.stat()
                && n.data() == wanted.data.as_deref()
                && n.acl() == &*wanted.acl
                && model
                    .children_at(path, zxid)
                    .iter()
                    .map(|c| &**c)
                    .eq(sorted(n.children()))
        });
        if !same && !path.starts_with("/zookeeper/") {
            let found = found.map(|n| (n.stat(), n.data().map(<[u8]>::to_vec)));
            let what = format!("server {id} at {zxid}: {path} is {found:?} instead of {wanted:?}");
            return Err((digest::RULE, what));
        }
    }
    let has = tree.descendants("/").map_or(0, |below| below + 1);
    if count == has {
        return Ok(());
    }
    Err((
        digest::RULE,
        format!("server {id} at {zxid} has {has} znodes instead of {count}"),
    ))
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> impl Iterator<Item = &'a str> {
    let mut names: Vec<&str> = names.collect();
    names.sort_unstable();
    names.into_iter()
}
