//! Rule `quota`: what a marked subtree holds is what its `zookeeper_stats` and the server's own
//! counters say, always. With enforcement no write goes beyond a hard limit, and none is refused
//! that would not (ZooKeeper: `checkQuota`). Rule `memory-limit`: no tree takes more memory than a
//! server may have for it.
//!
//! A leader judges a write by the tree that it has applied, not by the tree to come: what is in
//! flight when a limit is set or reached goes through. Sound: that tree is not older than what was
//! acknowledged to anybody when the write was asked, and the write itself comes later; a verdict
//! is wrong only if it fits none of the states between the two.

use std::collections::BTreeMap;

use vivarium_core::config::Rules;
use vivarium_core::database::Database;
use vivarium_core::ids::{ServerId, Zxid};
use vivarium_core::tree::Tree;
use vivarium_core::wire::records::ErrorCode;
use vivarium_core::wire::txn::Txn;

use super::access::Asker;
use super::model::{Model, Outcome, failed_multi, parent_of};
use super::multi;
use crate::clients::ops::{Op, Path};

pub const RULE: &str = "quota";
pub const RULE_MEMORY: &str = "memory-limit";

const TREE: &str = "/zookeeper/quota";
const LIMITS: &str = "/zookeeper_limits";
const STATS: &str = "/zookeeper_stats";

const REFUSED: i32 = ErrorCode::QuotaExceeded.code();
const BAD_VERSION: i32 = ErrorCode::BadVersion.code();

/// Znodes and bytes of data.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    pub count: i64,
    pub bytes: i64,
}

/// Hard limits only: the others refuse nothing.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Hard {
    count: Option<i64>,
    bytes: Option<i64>,
}

/// A marked subtree at one moment; limits need both of its nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    used: Usage,
    hard: Option<Hard>,
}

/// What a write wants to add where.
pub type Demand = (Path, Usage);

/// What every marked subtree held after each transaction that changed it.
#[derive(Clone, Default, Debug)]
pub struct Ledger {
    /// Hard limits refuse writes.
    pub enforced: bool,
    /// Rising zxids; `None` is not marked any more.
    marked: BTreeMap<Path, Vec<(Zxid, Option<State>)>>,
}

pub fn limits_of(target: &str) -> String {
    format!("{TREE}{target}{LIMITS}")
}

pub fn stats_of(target: &str) -> String {
    format!("{TREE}{target}{STATS}")
}

/// The subtree that this node of the quota tree is about.
fn target_of(path: &str) -> Option<&str> {
    let rest = path.strip_prefix(TREE)?;
    rest.strip_suffix(LIMITS)
        .or_else(|| rest.strip_suffix(STATS))
}

/// Is it a look at what a subtree holds?
pub fn is_look(op: &Op) -> bool {
    matches!(op, Op::GetData { path, .. } if path.starts_with(TREE) && path.ends_with(STATS))
}

fn is_in(path: &str, target: &str) -> bool {
    let rest = path.strip_prefix(target);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Usage {
    pub fn text(self) -> String {
        format!("count={},bytes={}", self.count, self.bytes)
    }
}

impl State {
    /// `limits` is the data of the node, if there are limits.
    pub fn new(used: Usage, limits: Option<&[u8]>) -> Self {
        let read = |text: &str, key: &str| {
            let pairs = text
                .split([',', ';'])
                .filter_map(|pair| pair.split_once('='));
            let mut values = pairs.filter(|(k, _)| *k == key);
            values.next_back().and_then(|(_, v)| v.parse().ok())
        };
        let hard = limits.map(|data| {
            let text = String::from_utf8_lossy(data);
            Hard {
                count: read(&text, "countHardLimit"),
                bytes: read(&text, "byteHardLimit"),
            }
        });
        Self { used, hard }
    }

    fn refuses(&self, more: Usage) -> bool {
        let Some(hard) = self.hard else { return false };
        let over = |used: i64, more: i64, limit: Option<i64>| {
            more != 0 && limit.is_some_and(|limit| used + more > limit)
        };
        over(self.used.count, more.count, hard.count)
            || over(self.used.bytes, more.bytes, hard.bytes)
    }
}

impl Ledger {
    /// The subtrees whose state these changes may have changed.
    pub fn touched(&self, changed: &[Path]) -> Vec<Path> {
        let mut targets: Vec<Path> = self.marked.keys().cloned().collect();
        targets.retain(|target| changed.iter().any(|path| is_in(path, target)));
        let named = changed.iter().filter_map(|path| target_of(path));
        targets.extend(named.filter(|t| !t.is_empty()).map(Path::from));
        targets.sort_unstable();
        targets.dedup();
        targets
    }

    pub fn note(&mut self, zxid: Zxid, target: Path, state: Option<State>) {
        let known = self.marked.contains_key(&target);
        if known || state.is_some() {
            self.marked.entry(target).or_default().push((zxid, state));
        }
    }

    fn state(&self, target: &str, zxid: Zxid) -> Option<State> {
        let states = self.marked.get(target)?;
        let end = states.partition_point(|(z, _)| *z <= zxid);
        states[..end].last()?.1
    }

    /// By the limits of the deepest marked subtree that the path is in, as of `zxid`.
    fn refuses(&self, (path, more): &Demand, zxid: Zxid) -> bool {
        let mut paths = std::iter::successors(Some(&**path), |path| parent_of(path));
        let state = paths.find_map(|path| self.state(path, zxid));
        state.is_some_and(|state| state.refuses(*more))
    }

    /// The moments from `floor` to before `zxid` at which something was different.
    fn moments(&self, floor: Zxid, zxid: Zxid) -> impl Iterator<Item = Zxid> {
        let changes = self.marked.values().flat_map(move |states| {
            let start = states.partition_point(|(z, _)| *z <= floor);
            states[start..].iter().map(|(z, _)| *z)
        });
        std::iter::once(floor).chain(changes.filter(move |z| *z < zxid))
    }

    /// A write went through.
    pub fn judge(&self, demands: &[Demand], floor: Zxid, zxid: Zxid) -> Result<(), String> {
        let fits = |z: Zxid| !demands.iter().any(|demand| self.refuses(demand, z));
        if !self.enforced || demands.is_empty() || self.moments(floor, zxid).any(fits) {
            return Ok(());
        }
        Err(format!(
            "{zxid} wants {demands:?}, which a hard quota forbids ever since {floor}"
        ))
    }

    fn has_marked(&self, zxid: Zxid) -> impl Iterator<Item = &str> {
        let is_marked = move |path: &&Path| self.state(path, zxid).is_some();
        self.marked.keys().filter(is_marked).map(|path| &**path)
    }
}

/// The leader's refusal for a quota, alone or inside a multi: what it leads to, if it is right.
pub fn refusal(
    model: &Model,
    by: Asker<'_>,
    (op, floor): (&Op, Zxid),
    (txn, zxid): (&Txn<'_>, Zxid),
) -> Option<Result<Outcome, String>> {
    let (outcome, upto) = match (op, txn) {
        (_, Txn::Error { code: REFUSED }) => (Outcome::Error(REFUSED), op.clone()),
        (Op::Multi(ops), Txn::Multi(subs)) => {
            let (at, _) = multi::failure(txn).filter(|(_, code)| *code == REFUSED)?;
            let upto = Op::Multi(ops.get(..=at)?.to_vec());
            (failed_multi(subs.len(), at, REFUSED), upto)
        }
        _ => return None,
    };
    let (otherwise, draft) = model.draft(by, &upto, zxid, 0);
    let last = match &otherwise {
        Outcome::Multi(outcomes) => outcomes.last(),
        other => Some(other),
    };
    // The version is looked at after the quota.
    let got_there = !matches!(last, Some(Outcome::Error(code)) if *code != BAD_VERSION);
    let quotas = &model.quotas;
    let forbidden = draft.demands.last().is_some_and(|demand| {
        quotas
            .moments(floor, zxid)
            .any(|z| quotas.refuses(demand, z))
    });
    // Nobody but the leader knows how much memory is taken; what takes no more is never refused.
    let grows = |(_, more): &Demand| more.count > 0 || more.bytes > 0;
    let is_full = model.is_memory_limited
        && !matches!(last, Some(Outcome::Error(_)))
        && draft.demands.last().is_some_and(grows);
    Some(if quotas.enforced && got_there && forbidden || is_full {
        Ok(outcome)
    } else {
        Err(format!(
            "{zxid}: no quota forbids {op:?} since {floor}; it must lead to {otherwise:?}"
        ))
    })
}

/// What one multi of a simulated client adds at most: its operations are held against the limit
/// one by one.
const MULTI_BYTES: u64 = 40_000;

/// A tree never becomes much larger than the rules allow.
pub fn judge_memory(id: ServerId, rules: &Rules, database: &Database) -> Result<(), String> {
    let (used, most) = (database.tree().memory_bytes(), rules.memory_max);
    if most == 0 || used <= most + MULTI_BYTES {
        return Ok(());
    }
    Err(format!(
        "the tree of server {id} takes {used} bytes; {most} are allowed"
    ))
}

/// What a subtree of a server's tree holds, counted znode by znode.
fn count(tree: &Tree, path: &str) -> Usage {
    let mut used = Usage::default();
    let mut open = vec![path.to_owned()];
    while let Some(path) = open.pop() {
        let Some(node) = tree.get(&path) else {
            continue;
        };
        used.count += 1;
        used.bytes += node.data().map_or(0, <[u8]>::len) as i64;
        open.extend(node.children().map(|name| format!("{path}/{name}")));
    }
    used
}

/// A server's counters and stats nodes at its applied zxid, which is committed.
pub fn judge_server(
    id: ServerId,
    model: &Model,
    zxid: Zxid,
    database: &Database,
) -> Result<(), String> {
    let quotas = database.quotas();
    if !quotas
        .iter()
        .map(|(path, _)| path)
        .eq(model.quotas.has_marked(zxid))
    {
        let has: Vec<_> = quotas.iter().collect();
        return Err(format!("server {id} at {zxid} has other quotas: {has:?}"));
    }
    for (path, kept) in quotas.iter() {
        let used = count(database.tree(), path);
        let stats = database.tree().get(&stats_of(path));
        let shown = stats.map(|node| node.data().unwrap_or_default().to_vec());
        let same = (kept.count, kept.bytes) == (used.count, used.bytes);
        if !same || shown.as_ref().is_some_and(|s| *s != used.text().as_bytes()) {
            let shown = shown.map(|s| String::from_utf8_lossy(&s).into_owned());
            return Err(format!(
                "server {id} at {zxid}: {path} holds {used:?}, counted {kept:?}, shown {shown:?}"
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger() -> Ledger {
        let mut ledger = Ledger {
            enforced: true,
            ..Ledger::default()
        };
        for (zxid, count) in [(5, 1), (7, 2), (9, 3)] {
            let used = Usage { count, bytes: 0 };
            let state = State::new(used, Some(b"count=1,countHardLimit=2"));
            ledger.note(Zxid(zxid), "/a".into(), Some(state));
        }
        ledger
    }

    fn one(path: &str) -> [Demand; 1] {
        [(path.into(), Usage { count: 1, bytes: 0 })]
    }

    #[test]
    fn a_write_beyond_a_limit_fires_unless_it_was_in_flight() {
        let l = ledger();
        assert!(l.judge(&one("/a/x"), Zxid(6), Zxid(8)).is_ok());
        assert!(l.judge(&one("/a/x"), Zxid(7), Zxid(8)).is_err());
        assert!(l.judge(&one("/ab"), Zxid(7), Zxid(8)).is_ok());
        let free = Ledger {
            enforced: false,
            ..l
        };
        assert!(free.judge(&one("/a/x"), Zxid(7), Zxid(8)).is_ok());
    }

    #[test]
    fn bytes_count_only_for_who_changes_them() {
        let used = Usage { count: 9, bytes: 9 };
        let state = State::new(used, Some(b"byteHardLimit=8"));
        assert!(!state.refuses(Usage { count: 1, bytes: 0 }));
        assert!(state.refuses(Usage { count: 0, bytes: 1 }));
        assert!(!state.refuses(Usage {
            count: 0,
            bytes: -1
        }));
        assert!(!State::new(used, None).refuses(Usage { count: 1, bytes: 1 }));
    }

    #[test]
    fn subtrees_are_found_by_their_znodes_and_by_their_marks() {
        let l = ledger();
        let touched = |path: &str| l.touched(&[path.into()]);
        assert_eq!(touched("/a/x"), ["/a".into()]);
        assert_eq!(touched(&limits_of("/b")), ["/b".into()]);
        assert!(touched("/ab").is_empty());
    }
}
