//! Drawn access lists and proofs: who claims to be whom, and what only some may do. Clients mostly
//! keep a way back into what they lock, because a tree that nobody may touch shows nothing.

use std::rc::Rc;

use vivarium_core::wire::records::{Acl, Id, perms};

use super::ops::Op;
use super::people::{CHIEF, PEOPLE, Person};
use crate::rng::Stream;

fn entry(perms: i32, scheme: &str, id: &str) -> Acl {
    Acl {
        perms,
        id: Id {
            scheme: scheme.into(),
            id: id.into(),
        },
    }
}

/// A proof of being somebody; now and then one that no server accepts.
pub(super) fn auth(rng: &mut Stream) -> Op {
    let person = if rng.chance(1, 8) {
        &CHIEF
    } else {
        rng.pick(&PEOPLE)
    };
    let scheme = match rng.below(32) {
        0 => "nonsense",
        1 => "world",
        2 => "ip",
        _ => "digest",
    };
    Op::Auth {
        scheme,
        auth: person.auth,
    }
}

/// A list that lets in some and not others, drawn by somebody who has proven to be `known`.
pub(super) fn guard(rng: &mut Stream, known: &[&'static Person]) -> Rc<[Acl]> {
    let own = match known {
        [] => rng.pick(&PEOPLE),
        known => rng.pick(known),
    };
    let some = |rng: &mut Stream| rng.range(0, 31) as i32;
    let mut list = match rng.below(8) {
        // An empty list of proven identities is refused.
        0 => vec![entry(perms::ALL, "auth", "")],
        1 => vec![entry(some(rng), "world", "anyone")],
        // Half of the clients.
        2 => vec![entry(perms::ALL, "ip", "10.0.0.4/30")],
        3 => vec![entry(perms::READ, "world", "anyone")],
        _ => Vec::new(),
    };
    let other = rng.pick(&PEOPLE);
    if rng.chance(1, 2) {
        list.push(entry(some(rng), "digest", other.digest));
    }
    if rng.chance(7, 8) || list.is_empty() {
        list.push(entry(perms::ALL, "digest", own.digest));
    }
    if rng.chance(1, 32) {
        list.push(entry(perms::ALL, "nonsense", "x"));
    }
    list.into()
}
