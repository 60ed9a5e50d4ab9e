//! A subtree as a JSON document: one znode to a line, parents before children.

use std::collections::BTreeMap;
use std::io::Write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use vivarium_core::ids::Zxid;
use vivarium_core::wire::records::{Acl, Id, perms};

use super::super::ToolError;
use super::super::records::acl_text;

/// What the field `format` says.
const FORMAT: &str = "vivarium subtree 1";

/// What a znode is, as far as it is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Persistent,
    Ephemeral,
    Container,
    /// Milliseconds.
    Ttl(i64),
}

/// A znode but for its path.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub(super) kind: Kind,
    pub(super) data: Option<Vec<u8>>,
    pub(super) acl: Vec<Acl>,
}

/// What stands around the znodes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct About {
    /// File or server.
    pub(super) source: String,
    /// The top of the subtree.
    pub(super) path: String,
    /// First and last transaction that may be seen in it.
    pub(super) from: Zxid,
    pub(super) to: Zxid,
    /// Data and children are those after the transaction `to`.
    pub(super) consistent: bool,
    /// Whether containers and TTL nodes are told from others. Servers do not show them to clients.
    pub(super) kinds_known: bool,
    pub(super) ephemerals_left_out: u64,
}

/// Writes the document.
pub(super) fn write(
    out: &mut dyn Write,
    about: &About,
    items: &BTreeMap<String, Item>,
) -> Result<(), ToolError> {
    writeln!(out, "{{")?;
    writeln!(out, "\"format\": {},", json!(FORMAT))?;
    writeln!(out, "\"source\": {},", json!(about.source))?;
    writeln!(out, "\"path\": {},", json!(about.path))?;
    writeln!(out, "\"zxid_from\": \"{}\",", about.from)?;
    writeln!(out, "\"zxid_to\": \"{}\",", about.to)?;
    writeln!(out, "\"consistent\": {},", about.consistent)?;
    writeln!(out, "\"kinds_known\": {},", about.kinds_known)?;
    writeln!(
        out,
        "\"ephemerals_left_out\": {},",
        about.ephemerals_left_out
    )?;
    writeln!(out, "\"znodes\": [")?;
    for (number, (path, item)) in items.iter().enumerate() {
        let comma = if number + 1 < items.len() { "," } else { "" };
        writeln!(out, "{}{comma}", line(path, item))?;
    }
    writeln!(out, "]\n}}")?;
    Ok(())
}

fn line(path: &str, item: &Item) -> Value {
    let mut fields = Map::new();
    fields.insert("path".to_owned(), json!(path));
    match &item.data {
        None => fields.insert("data".to_owned(), Value::Null),
        Some(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) => fields.insert("data".to_owned(), json!(text)),
            Err(_) => fields.insert("base64".to_owned(), json!(STANDARD.encode(bytes))),
        },
    };
    let acl = item
        .acl
        .iter()
        .map(|entry| acl_text(std::slice::from_ref(entry)));
    fields.insert("acl".to_owned(), acl.collect());
    match item.kind {
        Kind::Persistent => {}
        Kind::Ephemeral => drop(fields.insert("kind".to_owned(), json!("ephemeral"))),
        Kind::Container => drop(fields.insert("kind".to_owned(), json!("container"))),
        Kind::Ttl(ms) => {
            fields.insert("kind".to_owned(), json!("ttl"));
            fields.insert("ttl_ms".to_owned(), json!(ms));
        }
    }
    Value::Object(fields)
}

/// Reads a document: the top of its subtree, and the znodes.
pub(super) fn read(bytes: &[u8]) -> Result<(String, BTreeMap<String, Item>), String> {
    let value: Value = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    let format = value["format"].as_str().unwrap_or_default();
    if format != FORMAT {
        return Err(format!("its format is {format:?}, known is {FORMAT:?}"));
    }
    let top = value["path"].as_str().ok_or("path is missing")?;
    let list = value["znodes"].as_array().ok_or("znodes is no list")?;
    let mut items = BTreeMap::new();
    for (number, fields) in list.iter().enumerate() {
        let (path, item) = read_item(fields).map_err(|why| {
            let path = fields["path"].as_str().unwrap_or("without a path");
            format!("znode {} ({path}): {why}", number + 1)
        })?;
        let inside = path == top || path.starts_with(&format!("{}/", top.trim_end_matches('/')));
        if !inside {
            return Err(format!("{path} is not below {top}"));
        }
        if items.insert(path.clone(), item).is_some() {
            return Err(format!("{path} is there twice"));
        }
    }
    Ok((top.to_owned(), items))
}

fn read_item(fields: &Value) -> Result<(String, Item), String> {
    let path = fields["path"].as_str().ok_or("path is missing")?;
    if path != "/" && !vivarium_core::path::is_valid(path) {
        return Err("it is not a path".to_owned());
    }
    let data = match (fields.get("data"), fields.get("base64")) {
        (Some(Value::Null), None) => None,
        (Some(Value::String(text)), None) => Some(text.as_bytes().to_vec()),
        (None, Some(Value::String(text))) => {
            Some(STANDARD.decode(text).map_err(|e| format!("base64: {e}"))?)
        }
        _ => return Err("it has neither data as text or null, nor base64 as text".to_owned()),
    };
    let list = fields["acl"].as_array().ok_or("acl is no list")?;
    let acl = list
        .iter()
        .map(|entry| parse_acl(entry.as_str().unwrap_or_default()))
        .collect::<Result<Vec<_>, _>>()?;
    let kind = match fields.get("kind").map(|kind| kind.as_str()) {
        None => Kind::Persistent,
        Some(Some("persistent")) => Kind::Persistent,
        Some(Some("ephemeral")) => Kind::Ephemeral,
        Some(Some("container")) => Kind::Container,
        Some(Some("ttl")) => Kind::Ttl(fields["ttl_ms"].as_i64().ok_or("ttl_ms is missing")?),
        Some(other) => return Err(format!("kind {other:?} is not known")),
    };
    Ok((path.to_owned(), Item { kind, data, acl }))
}

/// `scheme:id:perms`; the id may have colons.
fn parse_acl(text: &str) -> Result<Acl, String> {
    let wrong = || format!("{text:?} is no entry of an access list, SCHEME:ID:PERMISSIONS");
    let (scheme, rest) = text.split_once(':').ok_or_else(wrong)?;
    let (id, letters) = rest.rsplit_once(':').ok_or_else(wrong)?;
    let mut mask = 0;
    if let Ok(number) = letters.parse() {
        mask = number;
    } else {
        for letter in letters.chars() {
            mask |= match letter {
                'c' => perms::CREATE,
                'd' => perms::DELETE,
                'r' => perms::READ,
                'w' => perms::WRITE,
                'a' => perms::ADMIN,
                _ => return Err(wrong()),
            };
        }
    }
    Ok(Acl {
        perms: mask,
        id: Id {
            scheme: scheme.to_owned(),
            id: id.to_owned(),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: Kind, data: Option<&[u8]>) -> Item {
        let acl = [
            "world:anyone:cdrwa",
            "digest:u:h+/=:r",
            "x509:CN=a,O=b:",
            "ip:::1:64",
        ];
        Item {
            kind,
            data: data.map(<[u8]>::to_vec),
            acl: acl
                .iter()
                .map(|text| parse_acl(text).expect("sound"))
                .collect(),
        }
    }

    #[test]
    fn a_document_comes_back_as_it_was_written() {
        let about = About {
            source: "here".to_owned(),
            path: "/a".to_owned(),
            from: Zxid(1),
            to: Zxid(2),
            consistent: true,
            kinds_known: true,
            ephemerals_left_out: 0,
        };
        let items: BTreeMap<String, Item> = [
            ("/a", item(Kind::Persistent, None)),
            ("/a/b\"\u{e9}", item(Kind::Ttl(77), Some(b"text\n"))),
            ("/a/c", item(Kind::Container, Some(b"\xff\x00"))),
            ("/a/c/d", item(Kind::Ephemeral, Some(b""))),
        ]
        .map(|(path, item)| (path.to_owned(), item))
        .into();
        let mut out = Vec::new();
        write(&mut out, &about, &items).expect("memory");
        assert_eq!(read(&out), Ok(("/a".to_owned(), items)));
        let text = String::from_utf8(out).expect("text");
        assert_eq!(
            text.lines()
                .filter(|line| line.starts_with("{\"path\":"))
                .count(),
            4
        );
        let wrong = text.replace("\"/a/c/d\"", "\"/b\"");
        assert_eq!(read(wrong.as_bytes()), Err("/b is not below /a".to_owned()));
    }

    #[test]
    fn wrong_documents_are_refused_with_the_place() {
        let with = |fields: &str| {
            let text = format!(
                "{{\"format\": \"{FORMAT}\", \"path\": \"/a\", \"znodes\": [{{{fields}}}]}}"
            );
            read(text.as_bytes()).expect_err("wrong")
        };
        assert!(with("\"path\": \"/a/\"").contains("it is not a path"));
        assert!(with("\"path\": \"/a\"").starts_with("znode 1 (/a): it has neither data"));
        let acl = "\"path\": \"/a\", \"data\": \"\", \"acl\": [\"world:anyone\"]";
        assert!(with(acl).contains("SCHEME:ID:PERMISSIONS"));
        assert!(read(b"{}").is_err() && read(b"").is_err());
    }
}
