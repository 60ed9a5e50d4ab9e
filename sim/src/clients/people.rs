//! The people whom clients can prove to be, with the identity that each proof gives. Both are
//! written down, so that nothing here is computed as the server computes it. Knows nothing of
//! what anybody may do.

use vivarium_core::wire::records::Id;

/// Somebody with a password.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Person {
    /// What an auth request of the scheme `digest` carries.
    pub auth: &'static str,
    /// What it proves: name, colon, base64 of the SHA-1 of `auth`.
    pub digest: &'static str,
}

pub const PEOPLE: [Person; 3] = [
    Person {
        auth: "ann:1",
        digest: "ann:/z4T+iO8KvuCdw3Y3chpp6R6RTg=",
    },
    Person {
        auth: "bob:2",
        digest: "bob:PCGRUm8WFBmVOxjVyjYw7YBN8J8=",
    },
    Person {
        auth: "cid:3",
        digest: "cid:vXRR2hOmpQC9KbB93tvycFQgOWo=",
    },
];

/// Who may do everything, where the rules name a super user.
pub const CHIEF: Person = Person {
    auth: "super:test",
    digest: "super:D/InIHSb7yEEbrWz8b9l71RjZJU=",
};

impl Person {
    /// Who proves this.
    pub fn by_auth(auth: &str) -> Option<&'static Self> {
        let all = PEOPLE.iter().chain([&CHIEF]);
        all.into_iter().find(|person| person.auth == auth)
    }

    /// As it stands in access lists.
    pub fn id(&self) -> Id {
        Id {
            scheme: "digest".into(),
            id: self.digest.into(),
        }
    }
}
