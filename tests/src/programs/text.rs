//! Programs as their readers see them.

use std::fmt;

use super::{Body, Field, Program, Request, Step, Twist};
use crate::ask::op;

/// An operation's name.
pub fn name(op: i32) -> String {
    let name = match op {
        op::CREATE => "create",
        op::DELETE => "delete",
        op::EXISTS => "exists",
        op::GET_DATA => "getData",
        op::SET_DATA => "setData",
        op::GET_ACL => "getACL",
        op::SET_ACL => "setACL",
        op::GET_CHILDREN => "getChildren",
        op::SYNC => "sync",
        op::PING => "ping",
        op::GET_CHILDREN2 => "getChildren2",
        op::CHECK => "check",
        op::MULTI => "multi",
        op::CREATE2 => "create2",
        op::RECONFIG => "reconfig",
        op::CHECK_WATCHES => "checkWatches",
        op::REMOVE_WATCHES => "removeWatches",
        op::CREATE_CONTAINER => "createContainer",
        op::CREATE_TTL => "createTTL",
        op::MULTI_READ => "multiRead",
        op::AUTH => "auth",
        op::SET_WATCHES => "setWatches",
        op::SASL => "sasl",
        op::GET_EPHEMERALS => "getEphemerals",
        op::GET_ALL_CHILDREN_NUMBER => "getAllChildrenNumber",
        op::SET_WATCHES2 => "setWatches2",
        op::ADD_WATCH => "addWatch",
        op::WHO_AM_I => "whoAmI",
        op::CLOSE_SESSION => "closeSession",
        _ => return format!("operation {op}"),
    };
    name.into()
}

/// Bytes as text where they are text, and short.
pub fn bytes(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        _ if bytes.len() > 200 => format!("{} bytes of {}", bytes.len(), bytes[0]),
        Ok(text) if !text.contains('\0') => format!("{text:?}"),
        _ => format!("{bytes:02x?}"),
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Byte(n) => write!(f, "{n}"),
            Self::Int(n) => write!(f, "{n}"),
            Self::Long(n) => write!(f, "{n}"),
            Self::Buffer(None) => f.write_str("null"),
            Self::Buffer(Some(data)) => f.write_str(&bytes(data)),
            Self::Below(path) => write!(f, "~{}", path.escape_debug()),
            Self::Quota(path) => write!(f, "/zookeeper/quota~{path}"),
            Self::Plain(path) => write!(f, "{path:?}"),
            Self::Seen(seen) => write!(f, "{seen:?}"),
        }
    }
}

fn put_fields(f: &mut fmt::Formatter<'_>, fields: &[Field]) -> fmt::Result {
    fields.iter().try_for_each(|field| write!(f, " {field}"))
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", name(self.op))?;
        match &self.body {
            Body::Fields(fields) => put_fields(f, fields)?,
            Body::Parts(parts) => {
                for (op, fields) in parts {
                    write!(f, " [{}", name(*op))?;
                    put_fields(f, fields)?;
                    f.write_str("]")?;
                }
            }
        }
        match self.twist {
            None => {}
            Some(Twist::Cut(at)) => write!(f, ", cut at {at}/1000")?,
            Some(Twist::Trailing(n)) => write!(f, ", {n} bytes behind it")?,
            Some(Twist::Patch(at, n)) => write!(f, ", {n} written at {at}/1000")?,
        }
        write!(f, " (xid {})", self.xid)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open {
                slot,
                server,
                hello,
            } => write!(f, "{slot} opens a session at server {server}: {hello:?}"),
            Self::Resume {
                slot,
                of,
                server,
                hello,
                password,
            } => write!(
                f,
                "{slot} resumes the session of {of} at server {server}, {password:?} password: \
                 {hello:?}"
            ),
            Self::Drop { slot } => write!(f, "{slot} hangs up"),
            Self::Ask { slot, requests } => {
                write!(f, "{slot} asks")?;
                requests
                    .iter()
                    .try_for_each(|request| write!(f, "\n      {request}"))
            }
            Self::Raw { slot, bytes, .. } => write!(f, "{slot} sends {bytes:02x?}"),
        }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, step) in self.steps.iter().enumerate() {
            writeln!(f, "{number:3}  {step}")?;
        }
        Ok(())
    }
}
