//! Access control: who a connection is, what a node's list allows it, and which lists may be
//! stored.
//!
//! Knows: the schemes world, auth, digest and ip, as in ZooKeeper's `PrepRequestProcessor` and
//! authentication providers, and the identity `super`. Refuses to know: connections, and the
//! schemes that ZooKeeper only has where it is told so (x509, sasl): here as there they can not be
//! proven or stored, and entries of them match nobody.

use alloc::borrow::Cow;
use alloc::collections::BTreeSet;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::net::IpAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};

use crate::config::Rules;
use crate::limits::ACL_BYTES_MAX;
use crate::wire::records::{Acl, ErrorCode, Id, perms};

const WORLD: &str = "world";
const ANYONE: &str = "anyone";
const AUTH: &str = "auth";
const DIGEST: &str = "digest";
const IP: &str = "ip";
const SUPER: &str = "super";

/// May somebody with these identities do anything of `mask` (see [`perms`])? One bit of it is
/// enough. An empty list allows everybody, and `super` is allowed everywhere.
pub fn allows(rules: &Rules, acl: &[Acl], mask: i32, identities: &[Id]) -> bool {
    if rules.skip_acl || acl.is_empty() || identities.iter().any(|who| who.scheme == SUPER) {
        return true;
    }
    let admits = |entry: &Id| {
        has_provider(rules, &entry.scheme) && identities.iter().any(|who| matches(entry, who))
    };
    acl.iter()
        .filter(|entry| entry.perms & mask != 0)
        .any(|entry| is_anyone(&entry.id) || admits(&entry.id))
}

/// Is this a scheme that identities and entries may have, besides world, auth and super?
fn has_provider(rules: &Rules, scheme: &str) -> bool {
    scheme == IP || (scheme == DIGEST && rules.digest_auth)
}

fn is_anyone(id: &Id) -> bool {
    id.scheme == WORLD && id.id == ANYONE
}

fn matches(entry: &Id, who: &Id) -> bool {
    if entry.scheme != who.scheme {
        return false;
    }
    match entry.scheme.as_str() {
        DIGEST => entry.id == who.id,
        IP => ip_matches(&entry.id, &who.id),
        _ => false,
    }
}

/// Makes the list that is stored from the list in a request: duplicates once, `auth` replaced by
/// the connection's own proven identities.
///
/// # Errors
/// `InvalidAcl` for an empty list, an unknown scheme, a malformed id, `auth` without any proven
/// identity, and a list that grows beyond [`ACL_BYTES_MAX`].
pub fn resolve(rules: &Rules, requested: &[Acl], identities: &[Id]) -> Result<Vec<Acl>, ErrorCode> {
    let mut seen = BTreeSet::new();
    let mut is_first = |entry| requested.len() == 1 || seen.insert(entry);
    let mut resolved = Vec::new();
    let mut room = ACL_BYTES_MAX;
    for entry in requested {
        if !is_first(entry) {
            continue;
        }
        let before = resolved.len();
        if entry.id.scheme == AUTH {
            let is_proven = |who: &&Id| who.scheme == DIGEST && rules.digest_auth;
            let proven = identities.iter().filter(is_proven);
            resolved.extend(proven.map(|who| Acl {
                perms: entry.perms,
                id: who.clone(),
            }));
        } else if is_storable(rules, &entry.id) {
            resolved.push(entry.clone());
        }
        let added = &resolved[before..];
        if added.is_empty() {
            return Err(ErrorCode::InvalidAcl);
        }
        let bytes = added
            .iter()
            .map(|acl| acl.id.scheme.len() + acl.id.id.len() + 12)
            .sum();
        room = room.checked_sub(bytes).ok_or(ErrorCode::InvalidAcl)?;
    }
    if resolved.is_empty() {
        Err(ErrorCode::InvalidAcl)
    } else {
        Ok(resolved)
    }
}

fn is_storable(rules: &Rules, id: &Id) -> bool {
    match id.scheme.as_str() {
        DIGEST => rules.digest_auth && is_digest(&id.id),
        IP => IpBlock::parse(&id.id).is_some(),
        _ => is_anyone(id),
    }
}

/// Exactly two parts around `:` when empty parts at the end do not count (Java's `split`).
fn is_digest(id: &str) -> bool {
    let id = id.trim_end_matches(':');
    !id.is_empty() && id.split(':').count() == 2
}

/// The list as getACL shows it: without ADMIN, digests lose what follows the user name.
pub fn visible<'a>(rules: &Rules, acl: &'a [Acl], identities: &[Id]) -> Cow<'a, [Acl]> {
    if acl.is_empty() {
        return Cow::Owned([Acl::world(perms::ALL)].into());
    }
    if allows(rules, acl, perms::ADMIN, identities) {
        return Cow::Borrowed(acl);
    }
    Cow::Owned(acl.iter().map(redacted).collect())
}

fn redacted(entry: &Acl) -> Acl {
    let mut entry = entry.clone();
    if entry.id.scheme == DIGEST
        && let Some((user, _)) = entry.id.id.split_once(':')
    {
        entry.id.id = format!("{user}:x");
    }
    entry
}

/// What an auth request proves. `None`: it is refused, because the scheme has no provider here, or
/// because there is nothing to hash.
pub fn prove(rules: &Rules, scheme: &str, auth: Option<&[u8]>) -> Option<Vec<Id>> {
    if !has_provider(rules, scheme) {
        return None;
    }
    if scheme == IP {
        // Every connection has this identity already.
        return Some(Vec::new());
    }
    let identity = digest_identity(auth?);
    let is_super = rules.super_digest.as_ref() == Some(&identity.id);
    let super_identity = is_super.then(|| Id {
        scheme: SUPER.into(),
        id: String::new(),
    });
    Some(super_identity.into_iter().chain([identity]).collect())
}

/// An identity as whoAmI names it: without the hash of a digest.
pub fn user_name(who: &Id) -> &str {
    match who.scheme.as_str() {
        DIGEST => who.id.split(':').next().unwrap_or_default(),
        _ => &who.id,
    }
}

/// The identity that `auth digest user:password` proves: `user:base64(sha1(user:password))`. The
/// user is what stands before the first `:`, or everything.
pub fn digest_identity(auth: &[u8]) -> Id {
    // Java hashes the text, so bytes that are not UTF-8 are replaced before they are hashed.
    let text = String::from_utf8_lossy(auth);
    let user = text.split(':').next().unwrap_or_default();
    let hash = STANDARD.encode(Sha1::digest(text.as_bytes()));
    Id {
        scheme: DIGEST.into(),
        id: format!("{user}:{hash}"),
    }
}

/// The identity of every connection from that address, as Java's `getHostAddress` writes it: IPv6
/// as eight groups without compression, IPv4-mapped as IPv4.
pub fn ip_identity(address: IpAddr) -> Id {
    let id = match address.to_canonical() {
        IpAddr::V4(v4) => format!("{v4}"),
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            format!("{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{f:x}:{g:x}:{h:x}")
        }
    };
    Id {
        scheme: IP.into(),
        id,
    }
}

/// An address with a prefix length. IPv4 and IPv6 never match each other.
struct IpBlock {
    address: u128,
    /// 32 or 128.
    width: u32,
    prefix: u32,
}

impl IpBlock {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let (address, width) = parse_address(address)?;
        let prefix = match prefix {
            Some(text) => text
                .parse::<i32>()
                .ok()
                .and_then(|n| u32::try_from(n).ok())?,
            None => width,
        };
        (prefix <= width).then_some(Self {
            address,
            width,
            prefix,
        })
    }

    fn contains(&self, address: u128) -> bool {
        let differing = self.address ^ address;
        let free_bits = self.width - self.prefix;
        differing.checked_shr(free_bits).unwrap_or(0) == 0
    }
}

/// An address's bits and their number.
fn parse_address(text: &str) -> Option<(u128, u32)> {
    if text.contains(':') {
        return parse_v6(text).map(|bits| (bits, 128));
    }
    let mut bits = 0;
    let mut parts = 0;
    for part in text.split('.') {
        // Java's parseInt, which takes signs and leading zeros, unlike Rust's address parser.
        let byte = part
            .parse::<i32>()
            .ok()
            .and_then(|n| u8::try_from(n).ok())?;
        bits = bits << 8 | u128::from(byte);
        parts += 1;
        if parts > 4 {
            return None;
        }
    }
    (parts == 4).then_some((bits, 32))
}

/// Eight groups, or fewer around one `::`; no IPv4 at the end.
fn parse_v6(text: &str) -> Option<u128> {
    let (head, tail) = match text.split_once("::") {
        Some((_, tail)) if tail.contains("::") => return None,
        Some((head, tail)) => (head, Some(tail)),
        None => (text, None),
    };
    let (head, head_len) = parse_groups(head)?;
    let Some(tail) = tail else {
        return (head_len == 8).then_some(head);
    };
    let (tail, tail_len) = parse_groups(tail)?;
    if head_len + tail_len >= 8 {
        return None;
    }
    Some(head.checked_shl(16 * (8 - head_len)).unwrap_or(0) | tail)
}

/// Hexadecimal groups with `:` between them, as the low bits, and their number.
fn parse_groups(text: &str) -> Option<(u128, u32)> {
    let (mut bits, mut count) = (0, 0);
    if text.is_empty() {
        return Some((0, 0));
    }
    for group in text.split(':') {
        count += 1;
        if group.len() > 4 || count > 8 {
            return None;
        }
        // Java's parseInt again: signs are read, and two bytes of the result are kept.
        let value = i32::from_str_radix(group, 16).ok()?;
        bits = bits << 16 | u128::from(value as u16);
    }
    Some((bits, count))
}

fn ip_matches(entry: &str, address: &str) -> bool {
    let (Some(block), Some((address, width))) = (IpBlock::parse(entry), parse_address(address))
    else {
        return false;
    };
    block.width == width && block.contains(address)
}

#[cfg(test)]
mod tests;
