//! `vivarium export`: a subtree as a JSON document.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use vivarium_core::database::Database;
use vivarium_core::wire::records::Acl;
use vivarium_storage::inspect::{check_up, read_snapshot};

use super::super::ToolError;
use super::super::backup::{
    Manifest, about, capture, note_without_logs, read_bytes, single, sync_dir,
};
use super::super::client::{Auth, parse_auth};
use super::super::directory::at;
use super::super::records::{Fields, line, object};
use super::super::snapshot::walk;
use super::document::{self, About, Item, Kind};
use super::{is_system, live, parse_path};

/// Write a subtree as one JSON document, for `vivarium import` or for reading
///
/// From a running server the subtree is that of one transaction, zxid_to, also while others write
/// ("consistent": true); access lists are those of some moment between zxid_from and zxid_to. A
/// server does not show to clients which znodes are containers or have a TTL: "kinds_known" is
/// false, and they are written as persistent ones. From a data directory, which may be in use, from
/// a backup or from a snapshot all is known and consistent.
///
/// Ephemerals are left out and counted. /zookeeper is left out of /. Data that is UTF-8 stands
/// there as text, other data in base64.
#[derive(Args, Debug)]
pub struct Export {
    /// HOST:PORT of a server, a dataDir, a backup, or a snapshot
    source: String,
    /// The top of the subtree
    #[arg(long, default_value = "/", value_parser = parse_path)]
    path: String,
    /// The file to write; stdout without it
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// dataLogDir, if SOURCE is a dataDir and it is another one
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// Who to be at the server: digest:user:password, or another scheme; may be repeated
    #[arg(long, value_name = "SCHEME:CREDENTIALS", value_parser = parse_auth)]
    auth: Vec<Auth>,
    /// With -o: print the result as JSON
    #[arg(long)]
    json: bool,
    /// Ephemerals, too
    #[arg(long)]
    ephemerals: bool,
}

impl Export {
    pub(in super::super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let path = Path::new(&self.source);
        let (mut head, mut items) = if path.exists() {
            self.read_files(path)?
        } else {
            self.read_server()?
        };
        refuse_hidden(&items)?;
        if !self.ephemerals {
            let before = items.len();
            items.retain(|_, item| item.kind != Kind::Ephemeral);
            head.ephemerals_left_out = (before - items.len()) as u64;
        }
        let Some(file) = &self.output else {
            return document::write(out, &head, &items);
        };
        let tmp = file.with_extension("tmp");
        let written = File::create(&tmp).map_err(|e| about("create", &tmp, &e))?;
        let mut buffered = BufWriter::new(written);
        document::write(&mut buffered, &head, &items)?;
        let written = buffered
            .into_inner()
            .map_err(|e| about("write", &tmp, e.error()))?;
        written.sync_all().map_err(|e| about("sync", &tmp, &e))?;
        fs::rename(&tmp, file).map_err(|e| about("rename", &tmp, &e))?;
        sync_dir(file.parent().unwrap_or_else(|| Path::new("")))?;
        let fields: Fields = vec![
            ("file", json!(file.display().to_string())),
            ("znodes", json!(items.len())),
            ("ephemerals_left_out", json!(head.ephemerals_left_out)),
            ("zxid_from", json!(head.from.to_string())),
            ("zxid_to", json!(head.to.to_string())),
            ("consistent", json!(head.consistent)),
        ];
        if self.json {
            writeln!(out, "{}", object(fields))?;
        } else {
            writeln!(out, "{}", line(&fields))?;
        }
        Ok(())
    }

    fn read_server(&self) -> Result<(About, BTreeMap<String, Item>), ToolError> {
        if !self.source.contains(':') || self.source.contains('/') {
            return Err(ToolError::Failed(format!(
                "{} is neither a file, nor a directory, nor HOST:PORT",
                self.source
            )));
        }
        let found = live::read(&self.source, &self.auth, &self.path)?;
        let head = About {
            source: self.source.clone(),
            path: self.path.clone(),
            from: found.from,
            to: found.to,
            consistent: found.consistent,
            kinds_known: false,
            ephemerals_left_out: 0,
        };
        let items = found.nodes.into_iter().map(|(path, node)| {
            let kind = match node.stat.ephemeral_owner {
                0 => Kind::Persistent,
                _ => Kind::Ephemeral,
            };
            let (data, acl) = (node.data, node.acl);
            (path, Item { kind, data, acl })
        });
        Ok((head, items.collect()))
    }

    fn read_files(&self, path: &Path) -> Result<(About, BTreeMap<String, Item>), ToolError> {
        let database = self.database(path)?;
        let mut items = BTreeMap::new();
        walk(&database, &self.path, &mut |path, node| {
            if self.path == "/" && is_system(path) {
                return Ok(());
            }
            let stored = node.stored();
            let kind = match (stored.session(), stored.ttl_ms()) {
                (Some(_), _) => Kind::Ephemeral,
                (None, Some(ms)) => Kind::Ttl(ms),
                (None, None) if stored.is_container() => Kind::Container,
                (None, None) => Kind::Persistent,
            };
            let data = node.data().map(<[u8]>::to_vec);
            let acl = node.acl().to_vec();
            items.insert(path.to_owned(), Item { kind, data, acl });
            Ok(())
        })?;
        let head = About {
            source: self.source.clone(),
            path: self.path.clone(),
            from: database.applied(),
            to: database.applied(),
            consistent: true,
            kinds_known: true,
            ephemerals_left_out: 0,
        };
        Ok((head, items))
    }

    fn database(&self, path: &Path) -> Result<Database, ToolError> {
        if !path.is_dir() {
            let single = single::open(path)?;
            let total = single.set.bytes();
            return Ok(read_snapshot(
                &single.set.watched("read", total),
                &single.name,
            )?);
        }
        let set = match Manifest::read(path)? {
            Some(manifest) => manifest.lines.last().map(|line| line.set(path)),
            None => {
                let set = capture(&at(path, self.log_dir.as_deref().unwrap_or(path)))?;
                if self.log_dir.is_none() {
                    note_without_logs(&set, path, "--log-dir");
                }
                Some(set)
            }
        };
        let set = set.filter(|set| !set.entries().is_empty()).ok_or_else(|| {
            ToolError::Failed(format!(
                "there is neither a snapshot nor a log in {}",
                path.display()
            ))
        })?;
        let total = read_bytes(&set);
        Ok(check_up(&set.watched("read", total), None)?.database)
    }
}

/// A server shows the hash of a password only to who may change the access list; with what stands
/// there instead nobody could get at an imported znode.
fn refuse_hidden(items: &BTreeMap<String, Item>) -> Result<(), ToolError> {
    let is_hidden = |acl: &Acl| acl.id.scheme == "digest" && acl.id.id.ends_with(":x");
    match items
        .iter()
        .find(|(_, item)| item.acl.iter().any(is_hidden))
    {
        None => Ok(()),
        Some((path, _)) => Err(ToolError::Failed(format!(
            "the access list of {path} is not shown in full: name who may change it with --auth \
             digest:user:password, or the super user; or export from the data directory"
        ))),
    }
}
