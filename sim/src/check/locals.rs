//! Rule `local-sessions`: a session that lives in one server's memory leaves no trace in the
//! replicated state: no transaction creates or closes it, and no server has it in its table. It
//! becomes global only where that is allowed, and only after it has asked for an ephemeral znode;
//! where it is not, exactly that is refused. Rule `session-table`: at the end every server's table
//! of sessions is that of the history.
//!
//! Sound: a client knows whether its session began on a server that gives out local ones, and a
//! transaction about it can only follow what it asked. Source: ZOOKEEPER-1147, and the upgrade in
//! `QuorumZooKeeperServer`. Sessions of servers without a quorum are local, too.

use std::collections::BTreeSet;

use vivarium_core::config::Rules;
use vivarium_core::database::Database;
use vivarium_core::ids::{ServerId, SessionId};
use vivarium_core::wire::txn::Txn;

use super::connections::Welcomed;
use super::model::Model;
use crate::clients::ops::Op;

pub const RULE: &str = "local-sessions";
pub const RULE_TABLE: &str = "session-table";

#[derive(Clone, Default, Debug)]
pub struct Locals {
    enabled: bool,
    upgrading: bool,
    /// Those that have asked for an ephemeral znode where they could become global for it.
    upgradable: BTreeSet<SessionId>,
}

/// Does it make an ephemeral znode?
fn owns(op: &Op) -> bool {
    match op {
        Op::Create { flags, .. } => flags.ephemeral,
        Op::Multi(ops) => ops.iter().any(owns),
        _ => false,
    }
}

impl Locals {
    pub fn new(rules: &Rules) -> Self {
        Self {
            enabled: rules.local_sessions,
            upgrading: rules.local_sessions && rules.local_sessions_upgrading,
            upgradable: BTreeSet::new(),
        }
    }

    /// Does this handshake begin a local session?
    pub fn begins(&self, welcomed: &Welcomed) -> bool {
        welcomed.is_new && (self.enabled || welcomed.read_only)
    }

    /// A request leaves a client for a server that has a quorum.
    pub fn asked(&mut self, session: SessionId, op: &Op) {
        if self.upgrading && owns(op) {
            self.upgradable.insert(session);
        }
    }

    /// The next transaction, against the model before it.
    pub fn judge(&self, model: &Model, session: SessionId, txn: &Txn<'_>) -> Result<(), String> {
        let is_local = model.is_local(session);
        match txn {
            Txn::CreateSession { .. } if is_local || self.enabled => {
                if is_local && self.upgradable.contains(&session) {
                    return Ok(());
                }
                Err(format!("session {session} becomes global without a reason"))
            }
            Txn::CloseSession { .. } if is_local => Err(format!(
                "session {session} is local and closed by a transaction"
            )),
            _ => Ok(()),
        }
    }
}

/// A server's table at the end of the history.
pub fn judge_table(id: ServerId, model: &Model, database: &Database) -> Result<(), String> {
    let wanted: BTreeSet<SessionId> = model.alive().map(|(session, _)| session).collect();
    let found: BTreeSet<SessionId> = database.sessions().keys().copied().collect();
    if wanted == found {
        return Ok(());
    }
    let (lost, more): (Vec<_>, Vec<_>) = (
        wanted.difference(&found).collect(),
        found.difference(&wanted).collect(),
    );
    Err(format!(
        "server {id} lacks sessions {lost:?} and has {more:?} too many"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::tests::create_op;
    use vivarium_core::ids::Zxid;

    const S: SessionId = SessionId(7);
    const OPEN: Txn<'_> = Txn::CreateSession { timeout_ms: 100 };
    const CLOSE: Txn<'_> = Txn::CloseSession { paths: None };

    fn locals(upgrading: bool) -> (Locals, Model) {
        let mut model = Model::new();
        model.locals.insert(S);
        let rules = Rules {
            local_sessions: true,
            local_sessions_upgrading: upgrading,
            ..Rules::default()
        };
        (Locals::new(&rules), model)
    }

    #[test]
    fn only_who_asked_for_an_ephemeral_becomes_global() {
        let (mut l, mut model) = locals(true);
        l.asked(S, &create_op("/a", false, false));
        assert!(l.judge(&model, S, &OPEN).is_err());
        l.asked(S, &Op::Multi(vec![create_op("/a", true, false)]));
        assert!(l.judge(&model, S, &OPEN).is_ok());
        assert!(l.judge(&model, SessionId(8), &OPEN).is_err());
        assert!(l.judge(&model, S, &CLOSE).is_err());
        let draft = model.draft_open(S, 100, Zxid(1));
        model.commit(draft);
        assert!(l.judge(&model, S, &CLOSE).is_ok());
        let (mut l, model) = locals(false);
        l.asked(S, &create_op("/a", true, false));
        assert!(l.judge(&model, S, &OPEN).is_err());
    }

    #[test]
    fn without_the_switch_sessions_are_global() {
        let l = Locals::new(&Rules::default());
        assert!(l.judge(&Model::new(), S, &OPEN).is_ok());
        assert!(l.judge(&Model::new(), S, &CLOSE).is_ok());
    }
}
