//! Rule `sequence-names`: the numbers that sequential creates get below one parent are unique and
//! rise (ZooKeeper programmer's guide: sequence nodes, the counter belongs to the parent and only
//! goes up).
//!
//! Judged on the committed transactions, per incarnation of the parent (its czxid): a parent that
//! was deleted and created again starts over. Holes are fine, since other creates count too. Not
//! judged past 2^31 - 1, which no run reaches.

use std::collections::BTreeMap;

use vivarium_core::ids::Zxid;
use vivarium_core::wire::txn::{SubTxn, Txn};

use super::model::{Model, parent_of};
use super::multi;
use crate::clients::ops::{Op, Path};

pub const RULE: &str = "sequence-names";

#[derive(Clone, Default, Debug)]
pub struct Sequences {
    /// By parent and its czxid: the newest number.
    newest: BTreeMap<(Path, Zxid), i64>,
}

impl Sequences {
    /// Before the transaction becomes part of the model.
    pub fn committed(&mut self, model: &Model, op: &Op, txn: &Txn<'_>) -> Result<(), String> {
        match (op, txn) {
            (
                Op::Create {
                    path: asked, flags, ..
                },
                Txn::Create { path, .. },
            ) if flags.sequential => self.named(model, asked, path),
            (Op::Multi(ops), Txn::Multi(subs)) if multi::failure(txn).is_none() => {
                self.committed_multi(model, ops, subs)
            }
            _ => Ok(()),
        }
    }

    /// A parent made in the same multi has no czxid in the model yet: its numbers are those of an
    /// incarnation of their own, which the model judges.
    fn committed_multi(
        &mut self,
        model: &Model,
        ops: &[Op],
        subs: &[SubTxn<'_>],
    ) -> Result<(), String> {
        let remade = |op: &Op| match op {
            Op::Create { path, .. } | Op::Delete { path, .. } => Some(path.clone()),
            _ => None,
        };
        let remade: Vec<Path> = ops.iter().filter_map(remade).collect();
        for (op, sub) in ops.iter().zip(subs) {
            let parent = remade_parent(op);
            if parent.is_some_and(|parent| remade.iter().any(|p| **p == *parent)) {
                continue;
            }
            self.committed(model, op, &sub.txn)?;
        }
        Ok(())
    }

    fn named(&mut self, model: &Model, asked: &str, got: &str) -> Result<(), String> {
        let number = got.strip_prefix(asked).and_then(|n| n.parse::<i64>().ok());
        let Some(number) = number else {
            return Err(format!("sequential create of {asked} made {got}"));
        };
        let parent = parent_of(got).unwrap_or("/");
        let Some(incarnation) = model.now(parent).map(|node| node.czxid) else {
            return Err(format!("{got} was created without its parent"));
        };
        let newest = self
            .newest
            .entry((parent.into(), incarnation))
            .or_insert(-1);
        if number <= *newest {
            return Err(format!(
                "{got} is created after number {newest} below {parent}"
            ));
        }
        *newest = number;
        Ok(())
    }
}

fn remade_parent(op: &Op) -> Option<&str> {
    match op {
        Op::Create { path, flags, .. } if flags.sequential => parent_of(path),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::{create_op, create_txn};

    #[test]
    fn rising_numbers_pass_and_others_fire() {
        let mut s = Sequences::default();
        let model = Model::new();
        let op = create_op("/n-", false, true);
        let mut give = |path: &str| s.committed(&model, &op, &create_txn(path));
        assert!(give("/n-0000000001").is_ok());
        assert!(give("/n-0000000005").is_ok());
        assert!(give("/n-0000000005").is_err());
        assert!(give("/n-0000000002").is_err());
        assert!(give("/n-").is_err());
        assert!(give("/n-0000000006").is_ok());
    }

    #[test]
    fn numbers_in_a_multi_count() {
        let mut s = Sequences::default();
        let model = Model::new();
        let op = Op::Multi(vec![
            create_op("/n-", false, true),
            create_op("/n-", false, true),
        ]);
        let sub = |path| SubTxn {
            kind: 1,
            txn: create_txn(path),
        };
        let good = Txn::Multi(vec![sub("/n-0000000000"), sub("/n-0000000001")]);
        assert!(s.committed(&model, &op, &good).is_ok());
        let bad = Txn::Multi(vec![sub("/n-0000000002"), sub("/n-0000000002")]);
        assert!(s.committed(&model, &op, &bad).is_err());
    }
}
