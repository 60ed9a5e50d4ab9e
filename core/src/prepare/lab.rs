//! A standalone server's write path for tests: prepare, hold back as long as wanted, apply. Every
//! applied transaction must leave the tree with the digest that was predicted.

use alloc::borrow::Cow;
use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec::Vec;

use super::{Ask, Outstanding, Refusal};
use crate::config::Rules;
use crate::database::{Change, Database, Outcome};
use crate::ids::{Epoch, SessionId, Zxid};
use crate::mutants::Mutants;
use crate::time::WallMs;
use crate::wire::client::{CreateOp, Request};
use crate::wire::records::{Acl, Id, Stat, op, perms};
use crate::wire::txn::{Txn, TxnRecord};

pub(crate) const SESSION: SessionId = SessionId(0x1_0000_0001);
pub(crate) const OTHER: SessionId = SessionId(0x1_0000_0002);

pub(crate) struct Lab {
    pub(crate) db: Database,
    pub(crate) outstanding: Outstanding,
    pub(crate) zxid: Zxid,
    pub(crate) session: SessionId,
    pub(crate) identities: Vec<Id>,
    pub(crate) refuse: Option<Refusal>,
    proposed: VecDeque<Vec<u8>>,
    /// What the last applied transactions changed, in firing order.
    pub(crate) changes: Vec<Change>,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(Mutants::NONE)
    }

    pub(crate) fn with(mutants: Mutants) -> Self {
        Self::under(&Rules::default(), mutants)
    }

    pub(crate) fn under(rules: &Rules, mutants: Mutants) -> Self {
        Self {
            db: Database::new(7, mutants),
            outstanding: Outstanding::new(rules, mutants),
            zxid: Epoch(1).zxid(),
            session: SESSION,
            identities: Vec::new(),
            refuse: None,
            proposed: VecDeque::new(),
            changes: Vec::new(),
        }
    }

    /// Prepares any bytes; the record waits to be applied.
    pub(crate) fn propose_bytes(&mut self, op: i32, body: &[u8]) -> Vec<u8> {
        self.zxid = self.zxid.next();
        let ask = Ask {
            session: self.session,
            cxid: 9,
            op,
            body,
            identities: &self.identities,
            zxid: self.zxid,
            time: WallMs(1_000 + i64::from(self.zxid.counter())),
            refuse: self.refuse,
        };
        let mut record = Vec::new();
        self.outstanding.prepare(&self.db, &ask, &mut record);
        self.proposed.push_back(record.clone());
        record
    }

    pub(crate) fn propose(&mut self, request: &Request<'_>) -> Vec<u8> {
        let mut body = Vec::new();
        request.encode(&mut body);
        self.propose_bytes(request.op(), &body)
    }

    /// Applies the oldest proposal.
    pub(crate) fn apply_one(&mut self) -> Outcome {
        let bytes = self.proposed.pop_front().expect("something is proposed");
        let record = TxnRecord::decode(&bytes).expect("own records are readable");
        let mut changes = Vec::new();
        let outcome = self.db.apply(&record, &mut changes);
        self.changes.extend(changes);
        assert_eq!(
            Some(self.db.digest()),
            record.digest,
            "digest after {:?}",
            record.txn
        );
        self.outstanding.retire(record.header.zxid);
        outcome
    }

    pub(crate) fn apply_all(&mut self) -> Option<Outcome> {
        let mut last = None;
        while !self.proposed.is_empty() {
            last = Some(self.apply_one());
        }
        assert!(self.outstanding.is_empty(), "everything is applied");
        last
    }

    /// Proposes and applies at once. The error code, or the outcome.
    pub(crate) fn write(&mut self, request: &Request<'_>) -> Result<Outcome, i32> {
        self.changes.clear();
        self.propose(request);
        match self.apply_all().expect("one was proposed") {
            Outcome::Error(code) => Err(code),
            outcome => Ok(outcome),
        }
    }

    pub(crate) fn create(&mut self, path: &str) -> Result<String, i32> {
        self.write(&create(path)).map(|outcome| created(&outcome).0)
    }

    pub(crate) fn create_flags(&mut self, path: &str, flags: i32) -> Result<String, i32> {
        self.write(&create_with(CreateOp::Create, path, flags))
            .map(|outcome| created(&outcome).0)
    }

    pub(crate) fn create_acl(&mut self, path: &str, acl: &[Acl]) -> Result<String, i32> {
        let acl = Some(acl.to_vec());
        let request = Request::Create {
            kind: CreateOp::Create,
            path: path.into(),
            data: None,
            acl,
            flags: 0,
        };
        self.write(&request).map(|outcome| created(&outcome).0)
    }

    pub(crate) fn delete(&mut self, path: &str, version: i32) -> Result<(), i32> {
        self.write(&delete(path, version)).map(|_| ())
    }

    pub(crate) fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, i32> {
        self.write(&set(path, data, version))
            .map(|outcome| match outcome {
                Outcome::DataSet { stat } => stat,
                other => panic!("{other:?}"),
            })
    }

    pub(crate) fn set_acl(&mut self, path: &str, acl: &[Acl], version: i32) -> Result<Stat, i32> {
        let acl = Some(acl.to_vec());
        let request = Request::SetAcl {
            path: path.into(),
            acl,
            version,
        };
        self.write(&request).map(|outcome| match outcome {
            Outcome::AclSet { stat } => stat,
            other => panic!("{other:?}"),
        })
    }

    /// The codes of a multi's operations, 0 for those that succeed.
    pub(crate) fn multi(&mut self, ops: Vec<Request<'_>>) -> Vec<i32> {
        match self.write(&Request::Multi(ops)).expect("a multi") {
            Outcome::Multi(results) => results.iter().map(|(_, outcome)| code(outcome)).collect(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) fn stat(&self, path: &str) -> Stat {
        self.db.tree().get(path).expect("the node exists").stat()
    }

    pub(crate) fn has(&self, path: &str) -> bool {
        self.db.tree().get(path).is_some()
    }
}

pub(crate) fn code(outcome: &Outcome) -> i32 {
    match outcome {
        Outcome::Error(code) => *code,
        _ => 0,
    }
}

pub(crate) fn created(outcome: &Outcome) -> (String, Stat) {
    match outcome {
        Outcome::Created { path, stat } => (path.clone(), *stat),
        other => panic!("{other:?}"),
    }
}

pub(crate) fn create_with(kind: CreateOp, path: &str, flags: i32) -> Request<'_> {
    let acl = Some([Acl::world(perms::ALL)].into());
    Request::Create {
        kind,
        path: Cow::Borrowed(path),
        data: Some(b"x"),
        acl,
        flags,
    }
}

pub(crate) fn create(path: &str) -> Request<'_> {
    create_with(CreateOp::Create, path, 0)
}

pub(crate) fn delete(path: &str, version: i32) -> Request<'_> {
    Request::Delete {
        path: path.into(),
        version,
    }
}

pub(crate) fn set<'a>(path: &'a str, data: &'a [u8], version: i32) -> Request<'a> {
    Request::SetData {
        path: path.into(),
        data: Some(data),
        version,
    }
}

pub(crate) fn check(path: &str, version: i32) -> Request<'_> {
    Request::Check {
        path: path.into(),
        version,
    }
}

/// The error that a prepared record carries, if it is an error transaction.
pub(crate) fn refused(record: &[u8]) -> Option<i32> {
    let record = TxnRecord::decode(record).expect("own records are readable");
    match record.txn {
        Txn::Error { code } => {
            assert_eq!(record.header.kind, op::ERROR);
            Some(code)
        }
        _ => None,
    }
}
