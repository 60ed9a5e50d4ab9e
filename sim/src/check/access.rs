//! Rule `access`: an auth request proves what it should and nothing else, and whoAmI names exactly
//! the identities that were proven on that connection before it was asked. What they may do is
//! judged with the reads and writes themselves: this is the part of the specification that says so.
//!
//! Sound: identities belong to a connection and only ever become more; a request has those that
//! were proven by requests sent before it, because a server takes requests in their order.
//! Source: the ZooKeeper programmer's guide (access control using ACLs), and its
//! `DigestAuthenticationProvider` and `IPAuthenticationProvider`.

use std::rc::Rc;

use vivarium_core::config::Rules;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::records::{Acl, ErrorCode, Id, perms};

use crate::clients::ops::{Body, Op, Reply};
use crate::clients::people::Person;

pub const RULE: &str = "access";

/// The identities of a connection.
pub type Who = Rc<[Id]>;

/// Who asks for something.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    pub session: SessionId,
    pub who: &'a [Id],
}

impl From<SessionId> for Asker<'static> {
    /// Nobody in particular.
    fn from(session: SessionId) -> Self {
        Self { session, who: &[] }
    }
}

/// The switches of access control.
#[derive(Clone, Debug)]
pub struct Access {
    /// Everybody may do everything.
    skip: bool,
    /// The scheme `digest` is known.
    digest: bool,
    /// The identity of the super user.
    chief: Option<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self::new(&Rules::default())
    }
}

fn id(scheme: &str, id: &str) -> Id {
    Id {
        scheme: scheme.into(),
        id: id.into(),
    }
}

/// The identity that a client has by where it is.
pub fn address(ip: &str) -> Who {
    Rc::new([id("ip", ip)])
}

impl Access {
    pub fn new(rules: &Rules) -> Self {
        Self {
            skip: rules.skip_acl,
            digest: rules.digest_auth,
            chief: rules.super_digest.clone(),
        }
    }

    /// May one of these people do anything of `mask`?
    pub fn allows(&self, acl: &[Acl], mask: i32, who: &[Id]) -> bool {
        let is_chief = who.iter().any(|id| id.scheme == "super");
        if self.skip || acl.is_empty() || is_chief {
            return true;
        }
        let mut entries = acl.iter().filter(|entry| entry.perms & mask != 0);
        entries.any(|entry| {
            let text = &*entry.id.id;
            match &*entry.id.scheme {
                "world" => text == "anyone",
                "digest" => self.digest && who.contains(&entry.id),
                "ip" => who
                    .iter()
                    .any(|id| id.scheme == "ip" && is_in(&id.id, text)),
                _ => false,
            }
        })
    }

    /// The list that is stored when somebody asks for this one.
    ///
    /// # Errors
    /// `InvalidAcl`: it is empty, names an unknown scheme or nobody, or `auth` without a proof.
    pub fn resolve(&self, acl: &[Acl], who: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
        let mut asked: Vec<&Acl> = Vec::new();
        for entry in acl {
            if !asked.contains(&entry) {
                asked.push(entry);
            }
        }
        let mut stored = Vec::new();
        for entry in asked {
            let before = stored.len();
            match &*entry.id.scheme {
                "auth" if self.digest => {
                    let proven = who.iter().filter(|id| id.scheme == "digest");
                    stored.extend(proven.map(|id| Acl {
                        perms: entry.perms,
                        id: id.clone(),
                    }));
                }
                "world" if entry.id.id == "anyone" => stored.push(entry.clone()),
                "ip" => stored.push(entry.clone()),
                "digest" if self.digest && entry.id.id.contains(':') => stored.push(entry.clone()),
                _ => {}
            }
            if stored.len() == before {
                return Err(ErrorCode::InvalidAcl);
            }
        }
        if stored.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        Ok(stored)
    }

    /// The list as getACL shows it: whoever may not change it learns names only.
    pub fn shown(&self, acl: &[Acl], who: &[Id]) -> Vec<Acl> {
        let mut acl = acl.to_vec();
        if acl.is_empty() {
            return vec![Acl::world(perms::ALL)];
        }
        if !self.allows(&acl, perms::ADMIN, who) {
            for entry in acl.iter_mut().filter(|entry| entry.id.scheme == "digest") {
                entry.id.id = format!("{}:x", name(&entry.id));
            }
        }
        acl
    }

    /// Who a connection is after an auth request; `None` if it is refused.
    pub fn proven(&self, before: &Who, scheme: &str, auth: &str) -> Option<Who> {
        let new: Vec<Id> = match scheme {
            "ip" => Vec::new(),
            "digest" if self.digest => {
                let person = Person::by_auth(auth).expect("clients know whom they claim to be");
                let is_chief = self.chief.as_deref() == Some(person.digest);
                let chief = is_chief.then(|| id("super", ""));
                chief.into_iter().chain([person.id()]).collect()
            }
            _ => return None,
        };
        let mut all = before.to_vec();
        all.extend(new.into_iter().filter(|id| !before.contains(id)));
        Some(all.into())
    }
}

/// The user name of an identity, as whoAmI shows it.
fn name(id: &Id) -> &str {
    match &*id.scheme {
        "digest" => id.id.split(':').next().unwrap_or_default(),
        _ => &id.id,
    }
}

/// Is the IPv4 address in this block, or is it that address? Blocks of lists are drawn, so their
/// form is known.
fn is_in(address: &str, block: &str) -> bool {
    let bits = |text: &str| {
        let parts = text.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
        parts.fold(0_u32, |all, part| all << 8 | part)
    };
    let (base, prefix) = block.split_once('/').unwrap_or((block, "32"));
    let free = 32 - prefix.parse::<u32>().unwrap_or(32);
    (bits(address) ^ bits(base)).checked_shr(free).unwrap_or(0) == 0
}

/// The reply to an auth request; `proves` says whether it should prove something.
pub fn judge_auth(proves: bool, op: &Op, reply: &Reply) -> Result<(), String> {
    let wanted = match proves {
        true => Ok(Body::Empty),
        false => Err(ErrorCode::AuthFailed.code()),
    };
    if reply.result == wanted && reply.zxid == Zxid::ZERO {
        return Ok(());
    }
    let (result, zxid) = (&reply.result, reply.zxid);
    Err(format!(
        "{op:?} is answered {result:?} at {zxid} instead of {wanted:?} at 0"
    ))
}

/// What whoAmI tells somebody with these identities.
pub fn judge_who(who: &[Id], told: &[Id]) -> Result<(), String> {
    let sorted = |ids: &[Id]| {
        let mut ids = ids.to_vec();
        ids.sort_by(|a, b| (&a.scheme, &a.id).cmp(&(&b.scheme, &b.id)));
        ids
    };
    let wanted: Vec<Id> = who.iter().map(|one| id(&one.scheme, name(one))).collect();
    if sorted(told) == sorted(&wanted) {
        return Ok(());
    }
    Err(format!("whoAmI names {told:?} where {who:?} was proven"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clients::people::{CHIEF, PEOPLE};

    fn list(entries: &[(&str, &str, i32)]) -> Vec<Acl> {
        let entry = |(scheme, name, perms): &(&str, &str, i32)| Acl {
            perms: *perms,
            id: id(scheme, name),
        };
        entries.iter().map(entry).collect()
    }

    #[test]
    fn lists_let_in_whom_they_name() {
        let access = Access::default();
        let nobody = address("10.0.0.4");
        let ann = access.proven(&nobody, "digest", "ann:1").unwrap();
        let acl = list(&[("digest", PEOPLE[0].digest, 3), ("ip", "10.0.0.4/30", 1)]);
        assert!(access.allows(&acl, 2, &ann) && !access.allows(&acl, 2, &nobody));
        assert!(access.allows(&acl, 1, &address("10.0.0.7")));
        assert!(!access.allows(&acl, 1, &address("10.0.0.8")));
        assert!(!access.allows(&acl, 4, &ann) && access.allows(&[], 4, &nobody));
    }

    #[test]
    fn the_chief_and_a_server_without_lists_know_no_limits() {
        let rules = Rules {
            super_digest: Some(CHIEF.digest.into()),
            ..Rules::default()
        };
        let acl = list(&[("digest", "x:y", 31)]);
        let access = Access::new(&rules);
        let chief = access
            .proven(&address("10.0.0.1"), "digest", CHIEF.auth)
            .unwrap();
        assert!(access.allows(&acl, 1, &chief));
        let skip = Access::new(&Rules {
            skip_acl: true,
            ..rules
        });
        assert!(skip.allows(&acl, 1, &[]));
    }

    #[test]
    fn auth_stands_for_all_that_was_proven() {
        let access = Access::default();
        let nobody = address("10.0.0.4");
        let auth = list(&[("auth", "", 5), ("auth", "", 5)]);
        assert_eq!(access.resolve(&auth, &nobody), Err(ErrorCode::InvalidAcl));
        let ann = access.proven(&nobody, "digest", "ann:1").unwrap();
        let both = access.proven(&ann, "digest", "bob:2").unwrap();
        assert_eq!(access.resolve(&auth, &both).unwrap().len(), 2);
        assert!(access.proven(&nobody, "nonsense", "ann:1").is_none());
    }

    #[test]
    fn whoever_may_not_change_a_list_sees_names_only() {
        let access = Access::default();
        let acl = list(&[("digest", "u:secret", 31), ("world", "anyone", 1)]);
        assert_eq!(access.shown(&acl, &[])[0].id.id, "u:x");
        assert_eq!(access.shown(&acl, &[id("digest", "u:secret")]), acl);
    }

    #[test]
    fn other_identities_than_the_proven_fire() {
        let who = [id("ip", "10.0.0.1"), PEOPLE[1].id()];
        let told = |ids: &[(&str, &str)]| {
            let ids: Vec<Id> = ids.iter().map(|(s, n)| id(s, n)).collect();
            judge_who(&who, &ids).is_ok()
        };
        assert!(told(&[("digest", "bob"), ("ip", "10.0.0.1")]));
        assert!(!told(&[("ip", "10.0.0.1")]));
        assert!(!told(&[
            ("digest", "bob"),
            ("digest", "ann"),
            ("ip", "10.0.0.1")
        ]));
    }
}
