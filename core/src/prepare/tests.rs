use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::lab::{Lab, OTHER, SESSION, check, create, create_with, created, delete, refused, set};
use super::*;
use crate::acl::digest_identity;
use crate::database::{Change, ChangeKind, Outcome};
#[cfg(feature = "mutants")]
use crate::mutants::Mutants;
use crate::wire::client::{CreateOp, MultiHeader};
use crate::wire::jute::Write;
use crate::wire::records::{Acl, perms};
use crate::wire::txn::CreateMode;

const PERSISTENT: i32 = 0;
const EPHEMERAL: i32 = 1;
const SEQUENTIAL: i32 = 2;
const EPHEMERAL_SEQUENTIAL: i32 = 3;

fn user(perms: i32) -> Acl {
    Acl {
        perms,
        id: digest_identity(b"user:secret"),
    }
}

fn extended() -> Lab {
    let rules = Rules {
        extended_types: true,
        ..Rules::default()
    };
    Lab::under(&rules, crate::mutants::Mutants::NONE)
}

fn sequential(path: &str) -> Request<'_> {
    create_with(CreateOp::Create, path, SEQUENTIAL)
}

fn fired(lab: &Lab) -> Vec<(ChangeKind, String)> {
    lab.changes
        .iter()
        .map(|change: &Change| (change.kind, change.path.clone()))
        .collect()
}

mod creates;
mod memory;
mod multis;
mod order;
mod records;
mod updates;
