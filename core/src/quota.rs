//! Quotas: how many znodes and bytes a subtree holds, and how many it may hold.
//!
//! Knows the nodes `/zookeeper/quota/PATH/zookeeper_limits` and `.../zookeeper_stats`: the first
//! marks the subtree at `/PATH`, the second shows what it holds. What a marked subtree holds is
//! always true, whoever wrote what into the second: so it is the same on every server, also on one
//! that has just read it all from a snapshot. Stats of `/zookeeper` and of the whole tree would
//! count themselves; those are not kept. Refuses to know: who is refused because of a quota.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::path::parent;
use crate::tree::Tree;

const QUOTA: &str = "/zookeeper/quota";
const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

/// What a subtree holds: its root counts too.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    pub count: i64,
    /// Of data, not of names.
    pub bytes: i64,
}

/// What a subtree may hold. `None` is no limit.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Limits {
    pub count: Option<i64>,
    pub bytes: Option<i64>,
    pub count_hard: Option<i64>,
    pub bytes_hard: Option<i64>,
}

/// Which of its limits a subtree would exceed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Measure {
    Count,
    Bytes,
}

/// A write that goes beyond a quota.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Excess {
    /// The subtree.
    pub path: String,
    pub measure: Measure,
    /// Refused; else the write goes through.
    pub is_hard: bool,
    /// What the subtree would hold.
    pub value: i64,
    pub limit: i64,
}

/// The marked subtrees.
#[derive(Clone, Default, Debug)]
pub struct Quotas {
    marked: BTreeMap<String, Usage>,
}

/// A node of the quota tree that means something: for which subtree.
enum Special<'p> {
    Limits(&'p str),
    Stats(&'p str),
}

impl Special<'_> {
    fn of(path: &str) -> Option<Special<'_>> {
        let path = path.strip_prefix(QUOTA)?;
        if let Some(target) = path.strip_suffix(LIMITS) {
            return is_keepable(target).then_some(Special::Limits(target));
        }
        let target = path.strip_suffix(STATS)?;
        (target.is_empty() || target.starts_with('/')).then_some(Special::Stats(target))
    }
}

fn is_keepable(target: &str) -> bool {
    let outside = |rest: &str| !rest.is_empty() && !rest.starts_with('/');
    target.starts_with('/') && target.strip_prefix("/zookeeper").is_none_or(outside)
}

/// The limits of the whole tree, which no server can keep: a client must not create this node.
pub fn is_root_limits(path: &str) -> bool {
    path.strip_prefix(QUOTA) == Some(LIMITS)
}

impl Usage {
    fn text(self) -> String {
        format!("count={},bytes={}", self.count, self.bytes)
    }
}

impl Limits {
    /// Reads `key=number` pairs between `,` and `;`. What can not be read limits nothing, and a
    /// second `=` is passed over: ZooKeeper puts one where its older servers must stop reading.
    pub fn parse(data: &[u8]) -> Self {
        let mut limits = Self::default();
        for pair in data.split(|byte| matches!(byte, b',' | b';')) {
            let mut parts = pair.split(|byte| *byte == b'=');
            let field = match parts.next() {
                Some(b"count") => &mut limits.count,
                Some(b"bytes") => &mut limits.bytes,
                Some(b"countHardLimit") => &mut limits.count_hard,
                Some(b"byteHardLimit") => &mut limits.bytes_hard,
                _ => continue,
            };
            let number = parts
                .next()
                .and_then(|text| core::str::from_utf8(text).ok());
            let number = number.and_then(|text| text.parse().ok());
            *field = number.filter(|number: &i64| *number >= 0);
        }
        limits
    }

    /// What one more node (`count`), or so many more bytes, would exceed; a hard limit stands in
    /// for the soft one. In ZooKeeper's order. A write that frees bytes may still be too large.
    pub fn exceeded(&self, usage: Usage, more: Usage) -> impl Iterator<Item = (Measure, Over)> {
        let measures = [
            (
                Measure::Count,
                usage.count,
                more.count,
                self.count_hard,
                self.count,
            ),
            (
                Measure::Bytes,
                usage.bytes,
                more.bytes,
                self.bytes_hard,
                self.bytes,
            ),
        ];
        measures
            .into_iter()
            .filter_map(|(measure, used, more, hard, soft)| {
                let limit = hard.or(soft).filter(|_| more != 0)?;
                let value = used.saturating_add(more);
                let is_hard = hard.is_some();
                (value > limit).then_some((
                    measure,
                    Over {
                        is_hard,
                        value,
                        limit,
                    },
                ))
            })
    }
}

/// How much too much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Over {
    pub is_hard: bool,
    pub value: i64,
    pub limit: i64,
}

impl Quotas {
    /// Finds the marked subtrees, counts them, and writes down what they hold.
    pub(crate) fn load(tree: &mut Tree) -> Self {
        let mut quotas = Self::default();
        let mut open = Vec::from([String::from(QUOTA)]);
        while let Some(path) = open.pop() {
            let Some(node) = tree.get(&path) else {
                continue;
            };
            open.extend(node.children().map(|name| format!("{path}/{name}")));
            if let Some(Special::Limits(target)) = Special::of(&path) {
                quotas.mark(tree, target);
            }
        }
        quotas
    }

    /// Paths of the marked subtrees with what they hold, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, Usage)> {
        self.marked
            .iter()
            .map(|(path, usage)| (path.as_str(), *usage))
    }

    /// The limits that hold for a node, which may not exist yet: of the deepest marked subtree that
    /// it is in. With path and usage. `None` also where limits or stats are missing.
    pub fn limits(&self, tree: &Tree, path: &str) -> Option<(&str, Usage, Limits)> {
        if self.marked.is_empty() {
            return None;
        }
        let marked = above(path).find_map(|path| self.marked.get_key_value(path));
        let (target, usage) = marked?;
        tree.get(&format!("{QUOTA}{target}{STATS}"))?;
        let limits = tree.get(&format!("{QUOTA}{target}{LIMITS}"))?;
        Some((
            target,
            *usage,
            Limits::parse(limits.data().unwrap_or_default()),
        ))
    }

    /// A node was created, its data so long.
    pub(crate) fn created(&mut self, tree: &mut Tree, path: &str, length: usize) {
        let more = Usage {
            count: 1,
            bytes: length as i64,
        };
        self.add(tree, path, more);
        match Special::of(path) {
            Some(Special::Limits(target)) => self.mark(tree, target),
            Some(Special::Stats(target)) => {
                let usage = self.marked.get(target).copied();
                let usage = usage.unwrap_or_else(|| weigh(tree, target));
                show(tree, target, usage);
            }
            None => {}
        }
    }

    /// A node without children was deleted, its data so long.
    pub(crate) fn deleted(&mut self, tree: &mut Tree, path: &str, length: usize) {
        let less = Usage {
            count: -1,
            bytes: -(length as i64),
        };
        self.add(tree, path, less);
        if let Some(Special::Limits(target)) = Special::of(path) {
            self.marked.remove(target);
        }
    }

    /// A node's data changed, and its length from one to the other.
    pub(crate) fn changed(&mut self, tree: &mut Tree, path: &str, (from, to): (usize, usize)) {
        let more = Usage {
            count: 0,
            bytes: to as i64 - from as i64,
        };
        self.add(tree, path, more);
        if let Some(Special::Stats(target)) = Special::of(path)
            && let Some(usage) = self.marked.get(target)
        {
            show(tree, target, *usage);
        }
    }

    fn mark(&mut self, tree: &mut Tree, target: &str) {
        let usage = weigh(tree, target);
        show(tree, target, usage);
        self.marked.insert(target.into(), usage);
    }

    fn add(&mut self, tree: &mut Tree, path: &str, more: Usage) {
        if self.marked.is_empty() || more == Usage::default() {
            return;
        }
        for target in above(path) {
            if let Some(usage) = self.marked.get_mut(target) {
                usage.count += more.count;
                usage.bytes += more.bytes;
                show(tree, target, *usage);
            }
        }
    }
}

/// The path itself and all above it but the root, from below.
fn above(path: &str) -> impl Iterator<Item = &str> {
    let paths = core::iter::successors(Some(path), |path| Some(parent(path)));
    paths.take_while(|path| !path.is_empty())
}

fn weigh(tree: &Tree, target: &str) -> Usage {
    let (count, bytes) = tree.weigh(target);
    Usage {
        count: count as i64,
        bytes: bytes as i64,
    }
}

/// Writes the stats of a subtree, if there is a node for them; its Stat says nothing of that.
fn show(tree: &mut Tree, target: &str, usage: Usage) {
    let path = format!("{QUOTA}{target}{STATS}");
    if let Some(node) = tree.locate(&path) {
        tree.set_data(node, &path, Some(usage.text().as_bytes()), |_| ());
    }
}

#[cfg(test)]
mod tests;
