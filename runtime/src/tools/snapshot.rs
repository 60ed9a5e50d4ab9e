//! `vivarium snapshot`: what a snapshot holds.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};
use vivarium_core::database::Database;
use vivarium_core::time::WallMs;
use vivarium_core::tree::NodeRef;
use vivarium_storage::inspect::read_snapshot;

use super::ToolError;
use super::directory::Target;
use super::file_set::FileSet;
use super::records::{Fields, acl_text, data, line, object, time};

/// Znodes named in each list of `stat`.
const TOP: usize = 10;

#[derive(Args, Debug)]
pub struct Dump {
    /// A snapshot file; of dataDir or its version-2 the newest
    path: PathBuf,
    /// Only this znode and what is below it; without sessions
    #[arg(long)]
    under: Option<String>,
    /// Data in full, not only its beginning
    #[arg(long)]
    whole: bool,
    /// One JSON object to a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct Verify {
    /// A snapshot file; of dataDir or its version-2 all
    path: PathBuf,
    /// One JSON object to a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct Stat {
    /// A snapshot file; of dataDir or its version-2 the newest
    path: PathBuf,
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct Export {
    /// A snapshot file; of dataDir or its version-2 the newest
    path: PathBuf,
    /// The top of the subtree
    #[arg(long, default_value = "/")]
    under: String,
}

/// The snapshot that is meant by a path, read.
fn newest(path: &std::path::Path) -> Result<(String, Database), ToolError> {
    let target = Target::open(path)?;
    let name = target.snapshots()?.swap_remove(0);
    let database = read(&target, &name)?;
    Ok((name, database))
}

/// One snapshot, with the progress of reading it.
fn read(target: &Target, name: &str) -> Result<Database, ToolError> {
    let set = FileSet::of(&target.files)?.retain(|entry| entry.name == name);
    let total = set.bytes();
    Ok(read_snapshot(&set.watched(name, total), name)?)
}

/// Calls `visit` for a node and everything below it, parents first, names in order.
pub(super) fn walk(
    database: &Database,
    top: &str,
    visit: &mut dyn FnMut(&str, NodeRef<'_>) -> Result<(), ToolError>,
) -> Result<(), ToolError> {
    let Some(node) = database.tree().get(top) else {
        return Err(ToolError::Failed(format!("there is no znode {top}")));
    };
    let mut waiting = vec![(if top.is_empty() { "/" } else { top }.to_owned(), node)];
    while let Some((path, node)) = waiting.pop() {
        visit(&path, node)?;
        let base = path.trim_end_matches('/');
        let children: Vec<&str> = node.children().collect();
        for name in children.into_iter().rev() {
            let path = format!("{base}/{name}");
            let child = database.tree().get(&path).expect("children exist");
            waiting.push((path, child));
        }
    }
    Ok(())
}

fn znode(path: &str, node: NodeRef<'_>, whole: bool) -> Fields {
    let stored = node.stored();
    let owner = match (stored.session(), stored.ttl_ms()) {
        (Some(session), _) => format!("session:{session}"),
        (None, Some(ms)) => format!("ttl:{ms}"),
        (None, None) if stored.is_container() => "container".to_owned(),
        (None, None) => "none".to_owned(),
    };
    let zxid = |zxid: i64| json!(format!("0x{zxid:x}"));
    vec![
        ("path", json!(path)),
        ("owner", json!(owner)),
        ("czxid", zxid(stored.czxid)),
        ("mzxid", zxid(stored.mzxid)),
        ("pzxid", zxid(stored.pzxid)),
        ("ctime", json!(time(WallMs(stored.ctime)))),
        ("mtime", json!(time(WallMs(stored.mtime)))),
        ("version", json!(stored.version)),
        ("cversion", json!(stored.cversion)),
        ("aversion", json!(stored.aversion)),
        ("children", json!(node.child_count())),
        ("acl", json!(acl_text(node.acl()))),
        ("data", data(node.data(), whole)),
    ]
}

impl Dump {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let (_, database) = newest(&self.path)?;
        let mut print = |kind: &'static str, mut fields: Fields| -> Result<(), ToolError> {
            if self.json {
                fields.insert(0, ("kind", json!(kind)));
                writeln!(out, "{}", object(fields))?;
            } else {
                writeln!(out, "{kind} {}", line(&fields))?;
            }
            Ok(())
        };
        if self.under.is_none() {
            for (session, timeout_ms) in database.sessions() {
                let id = json!(session.to_string());
                print(
                    "session",
                    vec![("id", id), ("timeout_ms", json!(timeout_ms))],
                )?;
            }
        }
        let top = self.under.as_deref().unwrap_or("/");
        walk(&database, top, &mut |path, node| {
            print("znode", znode(path, node, self.whole))
        })
    }
}

impl Verify {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let target = Target::open(&self.path)?;
        let mut bad = Vec::new();
        for name in target.snapshots()? {
            let database = match read(&target, &name) {
                Ok(database) => database,
                Err(ToolError::Failed(problem)) => {
                    if self.json {
                        writeln!(out, "{}", json!({"snapshot": name, "problem": problem}))?;
                    }
                    bad.push(problem);
                    continue;
                }
                Err(other) => return Err(other),
            };
            let mut fields: Fields = vec![
                ("zxid", json!(database.applied().to_string())),
                ("znodes", json!(database.tree().node_count())),
                ("sessions", json!(database.sessions().len())),
                ("digest", json!(format!("0x{:x}", database.digest()))),
            ];
            if self.json {
                fields.insert(0, ("snapshot", json!(name)));
                writeln!(out, "{}", object(fields))?;
            } else {
                writeln!(out, "{name} {}", line(&fields))?;
            }
        }
        if bad.is_empty() {
            Ok(())
        } else {
            Err(ToolError::Failed(bad.join("\nvivarium: ")))
        }
    }
}

/// The largest by some measure, largest first; equal ones by path.
#[derive(Default)]
struct Ranking(Vec<(usize, String)>);

impl Ranking {
    fn offer(&mut self, size: usize, path: &str) {
        if size == 0 || (self.0.len() == TOP && self.0.last().is_some_and(|(s, _)| *s >= size)) {
            return;
        }
        let at = self.0.partition_point(|(s, _)| *s >= size);
        self.0.insert(at, (size, path.to_owned()));
        self.0.truncate(TOP);
    }

    fn json(&self) -> Value {
        let entry = |(size, path): &(usize, String)| json!({"path": path, "size": size});
        self.0.iter().map(entry).collect()
    }
}

#[derive(Default)]
struct Counts {
    ephemerals: usize,
    containers: usize,
    ttl: usize,
    data_bytes: usize,
    depth: usize,
    by_data: Ranking,
    by_children: Ranking,
}

impl Counts {
    fn of(database: &Database) -> Result<Self, ToolError> {
        let mut counts = Self::default();
        walk(database, "/", &mut |path, node| {
            let stored = node.stored();
            counts.ephemerals += usize::from(stored.session().is_some());
            counts.containers += usize::from(stored.is_container());
            counts.ttl += usize::from(stored.ttl_ms().is_some());
            let bytes = node.data().map_or(0, <[u8]>::len);
            counts.data_bytes += bytes;
            let depth = path.bytes().filter(|b| *b == b'/').count();
            counts.depth = counts.depth.max(if path == "/" { 0 } else { depth });
            counts.by_data.offer(bytes, path);
            counts.by_children.offer(node.child_count(), path);
            Ok(())
        })?;
        Ok(counts)
    }
}

impl Stat {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let (name, database) = newest(&self.path)?;
        let counts = Counts::of(&database)?;
        let fields: Fields = vec![
            ("snapshot", json!(name)),
            ("zxid", json!(database.applied().to_string())),
            ("digest", json!(format!("0x{:x}", database.digest()))),
            ("sessions", json!(database.sessions().len())),
            ("znodes", json!(database.tree().node_count())),
            ("ephemerals", json!(counts.ephemerals)),
            ("containers", json!(counts.containers)),
            ("ttl_nodes", json!(counts.ttl)),
            ("data_bytes", json!(counts.data_bytes)),
            ("depth", json!(counts.depth)),
        ];
        if self.json {
            let mut all = object(fields);
            all["largest_data"] = counts.by_data.json();
            all["most_children"] = counts.by_children.json();
            writeln!(out, "{all}")?;
            return Ok(());
        }
        for (name, value) in &fields {
            writeln!(
                out,
                "{name:<12} {}",
                value.as_str().unwrap_or(&value.to_string())
            )?;
        }
        for (what, ranking) in [
            ("bytes of data", &counts.by_data),
            ("children", &counts.by_children),
        ] {
            writeln!(out, "\nmost {what}:")?;
            for (size, path) in &ranking.0 {
                writeln!(out, "{size:>12} {path}")?;
            }
        }
        Ok(())
    }
}

impl Export {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let (name, database) = newest(&self.path)?;
        let mut nodes = Map::new();
        walk(&database, &self.under, &mut |path, node| {
            let mut fields = object(znode(path, node, true));
            fields.as_object_mut().expect("an object").remove("path");
            nodes.insert(path.to_owned(), fields);
            Ok(())
        })?;
        let document = json!({
            "snapshot": name,
            "zxid": database.applied().to_string(),
            "znodes": nodes,
        });
        serde_json::to_writer_pretty(&mut *out, &document)
            .map_err(|e| ToolError::from(std::io::Error::from(e)))?;
        writeln!(out)?;
        Ok(())
    }
}
