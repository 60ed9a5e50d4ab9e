//! Transactions and znodes as text and as JSON. The text is one line each, `key=value` with a
//! blank between, always in the same order, strings in JSON's quotes: made for `grep` and `cut`.

use std::fmt::Write as _;
use std::time::{Duration, UNIX_EPOCH};

use serde_json::{Map, Value, json};
use vivarium_core::time::WallMs;
use vivarium_core::wire::records::{Acl, op, perms};
use vivarium_core::wire::txn::{CreateMode, SubTxn, Txn, TxnRecord};

/// Fields of one line, in order.
pub(super) type Fields = Vec<(&'static str, Value)>;

/// Data that is not asked for whole is cut behind so many bytes.
const DATA_SHOWN_BYTES: usize = 64;

/// One line: values behind their names.
pub(super) fn line(fields: &Fields) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        let gap = if out.is_empty() { "" } else { " " };
        let _ = match value {
            // Numbers, symbols and what was formatted here already stand without quotes.
            Value::String(text) if is_word(text) => write!(out, "{gap}{name}={text}"),
            other => write!(out, "{gap}{name}={other}"),
        };
    }
    out
}

/// The same as a JSON object.
pub(super) fn object(fields: Fields) -> Value {
    let pairs = fields
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value));
    Value::Object(pairs.collect::<Map<_, _>>())
}

fn is_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-:._+|,".contains(&b);
    !text.is_empty() && text.bytes().all(plain)
}

/// A transaction where it stands. `whole`: data is not cut.
pub(super) fn transaction(offset: u64, record: &TxnRecord<'_>, whole: bool) -> Fields {
    let header = &record.header;
    let mut fields = vec![
        ("zxid", json!(header.zxid.to_string())),
        ("time", json!(time(header.time))),
        ("session", json!(header.session.to_string())),
        ("cxid", json!(header.cxid)),
        ("type", json!(kind(header.kind))),
    ];
    body(&record.txn, whole, &mut fields);
    if let Some(digest) = record.digest {
        fields.push(("digest", json!(format!("0x{digest:x}"))));
    }
    fields.push(("offset", json!(offset)));
    fields
}

fn body(txn: &Txn<'_>, whole: bool, fields: &mut Fields) {
    match txn {
        Txn::Create {
            path,
            data: bytes,
            acl,
            mode,
            parent_cversion,
        } => {
            fields.push(("path", json!(path)));
            fields.push(("mode", json!(create_mode(*mode))));
            fields.push(("data", data(*bytes, whole)));
            fields.push(("acl", json!(acl_text(acl))));
            fields.push(("parent_cversion", json!(parent_cversion)));
        }
        Txn::Delete { path } => fields.push(("path", json!(path))),
        Txn::SetData {
            path,
            data: bytes,
            version,
        } => {
            fields.push(("path", json!(path)));
            fields.push(("version", json!(version)));
            fields.push(("data", data(*bytes, whole)));
        }
        Txn::SetAcl { path, acl, version } => {
            fields.push(("path", json!(path)));
            fields.push(("version", json!(version)));
            fields.push(("acl", json!(acl_text(acl))));
        }
        Txn::Check { path, version } => {
            fields.push(("path", json!(path)));
            fields.push(("version", json!(version)));
        }
        Txn::Multi(subs) => {
            let subs: Vec<Value> = subs.iter().map(|sub| part(sub, whole)).collect();
            fields.push(("operations", Value::Array(subs)));
        }
        Txn::Error { code } => fields.push(("error", json!(code))),
        Txn::CreateSession { timeout_ms } => fields.push(("timeout_ms", json!(timeout_ms))),
        Txn::CloseSession { paths } => fields.push(("ephemerals", json!(paths))),
    }
}

fn part(sub: &SubTxn<'_>, whole: bool) -> Value {
    let mut fields = vec![("type", json!(kind(sub.kind)))];
    body(&sub.txn, whole, &mut fields);
    object(fields)
}

/// Text in quotes, other bytes in hexadecimal, null as null.
pub(super) fn data(bytes: Option<&[u8]>, whole: bool) -> Value {
    let Some(bytes) = bytes else {
        return Value::Null;
    };
    let shown = if whole {
        bytes
    } else {
        &bytes[..bytes.len().min(DATA_SHOWN_BYTES)]
    };
    let cut = if shown.len() < bytes.len() {
        format!("... ({} bytes)", bytes.len())
    } else {
        String::new()
    };
    let text = match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        // The cut may have gone through a character.
        Err(e) if !cut.is_empty() && e.error_len().is_none() => {
            std::str::from_utf8(&shown[..e.valid_up_to()]).ok()
        }
        Err(_) => None,
    };
    match text {
        Some(text) if !text.starts_with("hex:") => json!(format!("{text}{cut}")),
        _ => {
            let mut hex = String::from("hex:");
            for byte in shown {
                let _ = write!(hex, "{byte:02x}");
            }
            json!(hex + &cut)
        }
    }
}

/// `scheme:id:perms`, with a comma between entries; permissions as zkCli writes them.
pub(super) fn acl_text(list: &[Acl]) -> String {
    let entry = |acl: &Acl| format!("{}:{}:{}", acl.id.scheme, acl.id.id, permissions(acl.perms));
    list.iter().map(entry).collect::<Vec<_>>().join(",")
}

fn permissions(mask: i32) -> String {
    let letters = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    let known = letters.iter().fold(0, |all, (bit, _)| all | bit);
    if mask & !known != 0 {
        return mask.to_string();
    }
    let set = letters.iter().filter(|(bit, _)| mask & bit != 0);
    set.map(|(_, letter)| letter).collect()
}

fn create_mode(mode: CreateMode) -> String {
    match mode {
        CreateMode::Persistent => "persistent".to_owned(),
        CreateMode::Ephemeral => "ephemeral".to_owned(),
        CreateMode::Container => "container".to_owned(),
        CreateMode::Ttl(ms) => format!("ttl:{ms}"),
    }
}

/// UTC, to the millisecond.
pub(super) fn time(at: WallMs) -> String {
    let ms = u64::try_from(at.0).unwrap_or(0);
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(ms)).to_string()
}

fn kind(number: i32) -> String {
    let name = match number {
        op::CREATE => "create",
        op::DELETE => "delete",
        op::SET_DATA => "setData",
        op::SET_ACL => "setACL",
        op::CHECK => "check",
        op::MULTI => "multi",
        op::CREATE2 => "create2",
        op::RECONFIG => "reconfig",
        op::CREATE_CONTAINER => "createContainer",
        op::DELETE_CONTAINER => "deleteContainer",
        op::CREATE_TTL => "createTTL",
        op::CREATE_SESSION => "createSession",
        op::CLOSE_SESSION => "closeSession",
        op::ERROR => "error",
        other => return other.to_string(),
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use vivarium_core::ids::{SessionId, Zxid};
    use vivarium_core::wire::txn::TxnHeader;

    use super::*;

    fn header(kind: i32) -> TxnHeader {
        TxnHeader {
            session: SessionId(0x1_0000_0abc),
            cxid: 3,
            zxid: Zxid(0x1_0000_0002),
            time: WallMs(1_600_000_000_123),
            kind,
        }
    }

    #[test]
    fn a_create_is_one_line() {
        let record = TxnRecord {
            header: header(op::CREATE),
            txn: Txn::Create {
                path: "/a b".into(),
                data: Some(b"hello"),
                acl: vec![Acl::world(perms::ALL)],
                mode: CreateMode::Ephemeral,
                parent_cversion: 4,
            },
            digest: Some(0xbeef),
        };
        assert_eq!(
            line(&transaction(16, &record, false)),
            "zxid=0x100000002 time=2020-09-13T12:26:40.123Z session=0x100000abc cxid=3 \
             type=create path=\"/a b\" mode=ephemeral data=hello acl=world:anyone:cdrwa \
             parent_cversion=4 digest=0xbeef offset=16"
        );
    }

    #[test]
    fn a_multi_shows_its_parts() {
        let subs = vec![
            SubTxn {
                kind: op::DELETE,
                txn: Txn::Delete { path: "/x".into() },
            },
            SubTxn {
                kind: op::ERROR,
                txn: Txn::Error { code: -101 },
            },
        ];
        let record = TxnRecord {
            header: header(op::MULTI),
            txn: Txn::Multi(subs),
            digest: None,
        };
        let parts = json!([{"type": "delete", "path": "/x"}, {"type": "error", "error": -101}]);
        assert_eq!(object(transaction(0, &record, false))["operations"], parts);
    }

    #[test]
    fn data_is_shown_so_that_it_can_be_told_apart() {
        assert_eq!(data(None, true), Value::Null);
        assert_eq!(data(Some(b""), true), json!(""));
        assert_eq!(data(Some(b"\xff\x00"), true), json!("hex:ff00"));
        assert_eq!(data(Some(b"hex:ff00"), true), json!("hex:6865783a66663030"));
        let long = "\u{e9}".repeat(50);
        assert_eq!(data(Some(long.as_bytes()), true), json!(long));
        let cut = format!("{}... (100 bytes)", "\u{e9}".repeat(32));
        assert_eq!(data(Some(long.as_bytes()), false), json!(cut));
        assert_eq!(
            line(&vec![("data", json!("")), ("n", json!(-1))]),
            "data=\"\" n=-1"
        );
    }

    #[test]
    fn permissions_are_those_of_zkcli() {
        assert_eq!(permissions(31), "cdrwa");
        assert_eq!(permissions(0), "");
        assert_eq!(permissions(64), "64");
    }
}
