//! `vivarium import`: a document's subtree into a running server.
//!
//! First all that is there is compared, then the difference is written, many znodes to a
//! transaction. What a run that broke off has written is there already for the next one.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use vivarium_core::wire::client::{CreateOp, MultiResult, Reply, Request};
use vivarium_core::wire::records::{ErrorCode, Stat};

use super::super::ToolError;
use super::super::client::{Answer, Auth, Client, parse_auth, refusal};
use super::super::progress::Progress;
use super::super::records::{Fields, line, object};
use super::document::{self, Item, Kind};
use super::parse_path;

/// Znodes that are asked for at once, two requests each.
const WINDOW: usize = 100;

/// Transactions larger than that are none that a server with default settings accepts.
const MULTI_BYTES: usize = 900_000;

/// Operations in a transaction: more of them make others wait.
const MULTI_OPERATIONS_MAX: usize = 1_000;

/// Of an operation in a request, beside its strings.
const OPERATION_BYTES: usize = 64;

/// Flags of create.
const FLAG_PERSISTENT: i32 = 0;
const FLAG_CONTAINER: i32 = 4;
const FLAG_TTL: i32 = 5;

/// How often the difference is taken again when others write in between.
const ROUNDS_MAX: u32 = 5;

/// What becomes of a znode that is there and is different.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum OnConflict {
    /// Nothing is written at all
    Fail,
    /// It stays as it is
    Skip,
    /// It gets the document's data and access list
    Overwrite,
}

/// Write a subtree from a JSON document of `vivarium export` into a running server
///
/// Znodes that are there with the same data and access list are passed over, so a run that was
/// broken off can be repeated. Nothing is deleted. Each transaction holds many znodes, parents
/// before children; what others read meanwhile may be half of the subtree.
///
/// Versions, times and zxids are new. Counters of sequential znodes begin anew in parents that are
/// created here: names that exist are met again (NodeExists) until the counter is beyond them.
#[derive(Args, Debug)]
pub struct Import {
    /// The document; - for stdin
    file: PathBuf,
    /// HOST:PORT of a server
    target: String,
    /// Where the top of the subtree goes; where it came from if not given
    #[arg(long, value_parser = parse_path)]
    path: Option<String>,
    /// What to do about znodes that are there and different
    #[arg(long, value_enum, default_value = "fail")]
    on_conflict: OnConflict,
    /// Only say what would be done
    #[arg(long)]
    dry_run: bool,
    /// Who to be at the server: digest:user:password, or another scheme; may be repeated
    #[arg(long, value_name = "SCHEME:CREDENTIALS", value_parser = parse_auth)]
    auth: Vec<Auth>,
    /// Write ephemerals of the document as persistent znodes; without it they are skipped
    #[arg(long)]
    ephemerals: bool,
    /// Bytes of a transaction: less than the server's jute.maxbuffer
    #[arg(long, default_value_t = MULTI_BYTES, value_name = "BYTES")]
    max_bytes: usize,
    /// One JSON object to a line
    #[arg(long)]
    json: bool,
}

/// What is to be done about one znode.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Create,
    /// The versions that were seen, where data or access list differ.
    Change {
        data: Option<i32>,
        acl: Option<i32>,
    },
    Skip,
}

#[derive(Default)]
struct Counts {
    created: u64,
    changed: u64,
    unchanged: u64,
    skipped: u64,
}

struct Importing<'a> {
    options: &'a Import,
    client: Client,
    items: BTreeMap<String, Item>,
    counts: Counts,
}

impl Import {
    pub(in super::super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let items = self.read()?;
        let mut importing = Importing {
            options: self,
            client: Client::connect(&self.target, &self.auth)?,
            items,
            counts: Counts::default(),
        };
        let mut steps = importing.compare()?;
        importing.settle_conflicts(&steps)?;
        importing.report_skipped(&steps, out)?;
        if self.dry_run {
            for (path, step) in &steps {
                importing.report(out, path, *step)?;
            }
            return importing.summary(out);
        }
        for _ in 0..ROUNDS_MAX {
            steps.retain(|(_, step)| *step != Step::Skip);
            if importing.write(&steps, out)? {
                return importing.summary(out);
            }
            // Somebody has written there, too: look again.
            importing.counts.unchanged = 0;
            steps = importing.compare()?;
            let own = importing.counts.created + importing.counts.changed;
            importing.counts.unchanged = importing.counts.unchanged.saturating_sub(own);
            importing.settle_conflicts(&steps)?;
        }
        Err(ToolError::Failed(format!(
            "others write to the same znodes all the time; {} were created and {} changed; run \
             this again when it is quiet",
            importing.counts.created, importing.counts.changed
        )))
    }

    /// The znodes of the document under their new paths.
    fn read(&self) -> Result<BTreeMap<String, Item>, ToolError> {
        let name = self.file.display();
        let bytes = if self.file.as_os_str() == "-" {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::stdin().lock(), &mut bytes).map(|_| bytes)
        } else {
            std::fs::read(&self.file)
        };
        let bytes = bytes.map_err(|e| ToolError::Failed(format!("can not read {name}: {e}")))?;
        let (top, items) =
            document::read(&bytes).map_err(|why| ToolError::Failed(format!("{name}: {why}")))?;
        let to = self.path.as_deref().unwrap_or(&top);
        Ok(items
            .into_iter()
            .map(|(path, item)| (moved(&path, &top, to), item))
            .collect())
    }
}

/// The path under another top.
fn moved(path: &str, from: &str, to: &str) -> String {
    let rest = path
        .strip_prefix(from.trim_end_matches('/'))
        .unwrap_or_default();
    let moved = format!("{}{rest}", to.trim_end_matches('/'));
    match moved.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    }
}

impl Importing<'_> {
    /// What is to be done about each znode that is not as it should be.
    fn compare(&mut self) -> Result<Vec<(String, Step)>, ToolError> {
        let paths: Vec<String> = self.items.keys().cloned().collect();
        let mut steps = Vec::new();
        let mut progress = Progress::count("znodes compared");
        for batch in paths.chunks(WINDOW) {
            for path in batch {
                let path = path.as_str();
                self.client.ask(&Request::GetData {
                    path: path.into(),
                    watch: false,
                });
                self.client.ask(&Request::GetAcl { path: path.into() });
            }
            for path in batch {
                let (data, acl) = (self.client.answer()?, self.client.answer()?);
                progress.more(1);
                if let Some(step) = self.step(path, &data, &acl)? {
                    steps.push((path.clone(), step));
                }
            }
        }
        Ok(steps)
    }

    fn step(&mut self, path: &str, data: &Answer, acl: &Answer) -> Result<Option<Step>, ToolError> {
        let item = &self.items[path];
        if item.kind == Kind::Ephemeral && !self.options.ephemerals {
            return Ok(Some(Step::Skip));
        }
        if [data, acl]
            .iter()
            .any(|answer| answer.is(ErrorCode::NoNode))
        {
            return Ok(Some(Step::Create));
        }
        if let Some(failed) = [data, acl].into_iter().find(|answer| answer.error != 0) {
            return Err(refusal(path, "read", failed.error));
        }
        let (Reply::Data { data, stat }, Reply::Acl { acl, .. }) = (data.reply()?, acl.reply()?)
        else {
            unreachable!("an answer is decoded by its request");
        };
        let Stat {
            version, aversion, ..
        } = stat;
        let differs = [data != item.data.as_deref(), acl != item.acl];
        if differs == [false, false] {
            self.counts.unchanged += 1;
            return Ok(None);
        }
        if self.options.on_conflict == OnConflict::Skip {
            return Ok(Some(Step::Skip));
        }
        Ok(Some(Step::Change {
            data: differs[0].then_some(version),
            acl: differs[1].then_some(aversion),
        }))
    }

    /// Refuses differences, unless told otherwise, and a place that does not exist.
    fn settle_conflicts(&mut self, steps: &[(String, Step)]) -> Result<(), ToolError> {
        let differs = steps
            .iter()
            .filter(|(_, step)| matches!(step, Step::Change { .. }));
        let differs: Vec<&str> = differs.map(|(path, _)| path.as_str()).collect();
        if self.options.on_conflict == OnConflict::Fail && !differs.is_empty() {
            let shown = differs
                .iter()
                .take(10)
                .copied()
                .collect::<Vec<_>>()
                .join(", ");
            let more = match differs.len() {
                0..=10 => String::new(),
                n => format!(" and {} more", n - 10),
            };
            let written = match self.counts.created {
                0 => "nothing was written".to_owned(),
                n => format!("{n} others were created"),
            };
            return Err(ToolError::Failed(format!(
                "{shown}{more}: there with other data or another access list; {written}; choose \
                 with --on-conflict skip or overwrite"
            )));
        }
        let Some((top, Step::Create)) = steps.first() else {
            return Ok(());
        };
        let parent = vivarium_core::path::parent(top).to_owned();
        if parent.is_empty() || parent == "/" {
            return Ok(());
        }
        let path = parent.as_str().into();
        let found = self.client.call(&Request::Exists { path, watch: false })?;
        if found.error == 0 {
            return Ok(());
        }
        Err(ToolError::Failed(format!(
            "can not create {top}: its parent {parent} does not exist; create it first, or choose \
             another place with --path"
        )))
    }

    fn report_skipped(
        &mut self,
        steps: &[(String, Step)],
        out: &mut dyn Write,
    ) -> Result<(), ToolError> {
        if self.options.dry_run {
            return Ok(());
        }
        for (path, step) in steps.iter().filter(|(_, step)| *step == Step::Skip) {
            self.report(out, path, *step)?;
        }
        Ok(())
    }

    /// Says and counts what is done, or would be.
    fn report(&mut self, out: &mut dyn Write, path: &str, step: Step) -> Result<(), ToolError> {
        let (what, count) = match step {
            Step::Create => ("created", &mut self.counts.created),
            Step::Change { .. } => ("changed", &mut self.counts.changed),
            Step::Skip => ("skipped", &mut self.counts.skipped),
        };
        *count += 1;
        self.print(out, vec![("what", json!(what)), ("path", json!(path))])
    }

    fn print(&self, out: &mut dyn Write, fields: Fields) -> Result<(), ToolError> {
        if self.options.json {
            writeln!(out, "{}", object(fields))?;
        } else {
            writeln!(out, "{}", line(&fields))?;
        }
        Ok(())
    }

    fn summary(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let counts = &self.counts;
        let fields = vec![
            ("what", json!("summary")),
            ("created", json!(counts.created)),
            ("changed", json!(counts.changed)),
            ("unchanged", json!(counts.unchanged)),
            ("skipped", json!(counts.skipped)),
            ("dry_run", json!(self.options.dry_run)),
        ];
        self.print(out, fields)
    }

    /// Carries the steps out. False if others were faster with some of them.
    fn write(&mut self, steps: &[(String, Step)], out: &mut dyn Write) -> Result<bool, ToolError> {
        let total: usize = steps.iter().map(|(path, _)| self.size(path)).sum();
        let mut progress = Progress::bytes("write", total as u64);
        let mut rest = steps;
        while !rest.is_empty() {
            let mut bytes = 0;
            let mut count = 0;
            for (path, _) in rest.iter().take(MULTI_OPERATIONS_MAX) {
                bytes += self.size(path);
                if count > 0 && bytes > self.options.max_bytes {
                    break;
                }
                count += 1;
            }
            let (batch, later) = rest.split_at(count);
            if !self.write_together(batch)? {
                return Ok(false);
            }
            for (path, step) in batch {
                progress.more(self.size(path) as u64);
                if !matches!(step, Step::Change { acl: Some(_), .. }) {
                    self.report(out, path, *step)?;
                }
            }
            rest = later;
        }
        self.write_lists(steps, out)
    }

    /// Access lists of znodes that were there: last, because they may shut us out. No transaction
    /// takes them together with others.
    fn write_lists(
        &mut self,
        steps: &[(String, Step)],
        out: &mut dyn Write,
    ) -> Result<bool, ToolError> {
        for (path, step) in steps {
            let Step::Change {
                acl: Some(version), ..
            } = step
            else {
                continue;
            };
            let request = Request::SetAcl {
                path: path.as_str().into(),
                acl: Some(self.items[path].acl.clone()),
                version: *version,
            };
            let answer = self.client.call(&request)?;
            if answer.is(ErrorCode::BadVersion) {
                return Ok(false);
            }
            if answer.error != 0 {
                return Err(refusal(path, "change the access list of", answer.error));
            }
            self.report(out, path, *step)?;
        }
        Ok(true)
    }

    /// About the bytes of a znode's operations in a request.
    fn size(&self, path: &str) -> usize {
        let item = &self.items[path];
        let acl = item.acl.iter();
        let acl: usize = acl
            .map(|acl| acl.id.scheme.len() + acl.id.id.len() + 12)
            .sum();
        2 * (path.len() + OPERATION_BYTES) + acl + item.data.as_ref().map_or(0, Vec::len)
    }

    /// One transaction. False if the znodes are not any more as they were compared.
    fn write_together(&mut self, batch: &[(String, Step)]) -> Result<bool, ToolError> {
        let mut parts = Vec::new();
        let mut owners = Vec::new();
        for (path, step) in batch {
            for part in operations(path, &self.items[path], *step) {
                parts.push(part);
                owners.push(path);
            }
        }
        if parts.is_empty() {
            return Ok(true);
        }
        let answer = self.client.call(&Request::Multi(parts)).map_err(|e| match e {
            ToolError::Failed(why) => ToolError::Failed(format!(
                "{why}; {} znodes were created and {} changed before; it may be that {} does not \
                 fit into the server's jute.maxbuffer; run this again to go on",
                self.counts.created, self.counts.changed, batch[0].0
            )),
            other @ ToolError::OutputClosed => other,
        })?;
        let failed = if answer.has_body() {
            let Reply::Multi(results) = answer.reply()? else {
                unreachable!("an answer is decoded by its request");
            };
            let inconsistent = ErrorCode::RuntimeInconsistency.code();
            results
                .iter()
                .zip(&owners)
                .find_map(|(result, path)| match result {
                    MultiResult::Error(code) if *code != 0 && *code != inconsistent => {
                        Some((*code, path.as_str()))
                    }
                    _ => None,
                })
        } else {
            None
        };
        match (failed, answer.error) {
            (None, 0) => Ok(true),
            (Some((code, path)), _) => {
                let raced = [ErrorCode::NodeExists, ErrorCode::BadVersion];
                if raced.iter().any(|known| known.code() == code) {
                    return Ok(false);
                }
                Err(refusal(path, "write", code))
            }
            (None, code) => Err(refusal(&batch[0].0, "write", code)),
        }
    }
}

/// What a step adds to a transaction.
fn operations<'a>(path: &'a str, item: &'a Item, step: Step) -> Vec<Request<'a>> {
    let data = item.data.as_deref();
    match step {
        Step::Create => {
            let (kind, flags) = match item.kind {
                Kind::Persistent | Kind::Ephemeral => (CreateOp::Create, FLAG_PERSISTENT),
                Kind::Container => (CreateOp::Container, FLAG_CONTAINER),
                Kind::Ttl(ms) => (CreateOp::Ttl(ms), FLAG_TTL),
            };
            vec![Request::Create {
                kind,
                path: path.into(),
                data,
                acl: Some(item.acl.clone()),
                flags,
            }]
        }
        Step::Change {
            data: Some(version),
            ..
        } => vec![Request::SetData {
            path: path.into(),
            data,
            version,
        }],
        Step::Change { data: None, .. } | Step::Skip => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subtree_moves_as_a_whole() {
        let cases = [
            ("/a/b/c", "/a/b", "/x", "/x/c"),
            ("/a/b", "/a/b", "/x", "/x"),
            ("/a/b", "/a/b", "/", "/"),
            ("/a/b/c", "/a/b", "/", "/c"),
            ("/c", "/", "/x", "/x/c"),
            ("/", "/", "/x", "/x"),
            ("/c", "/", "/", "/c"),
        ];
        for (path, from, to, expected) in cases {
            assert_eq!(moved(path, from, to), expected, "{path} of {from} to {to}");
        }
    }
}
