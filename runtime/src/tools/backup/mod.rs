//! `vivarium backup`: a copy of a server's data directory, made while the server works.
//!
//! The server is not asked to hold still. Everything that it has acknowledged stands in its log
//! files; finished snapshots and ended logs never change; and the last log only grows. So a copy
//! of the snapshots, then of the logs from the oldest to the last whole transaction, is what a
//! server would find that was killed at that moment. What the purge removes meanwhile makes the
//! tool look again.

mod copying;
mod manifest;
pub(super) mod single;
mod source;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::wire::txn::TxnRecord;
use vivarium_storage::inspect::{
    Checkup, ReadOnlyFiles, check_up, log_names, log_zxid, look, read_epochs, snapshot_names,
    snapshot_zxid,
};
use vivarium_storage::{Dir, Files};

use super::ToolError;
use super::file_set::{Entry, FileSet};
use super::records::{Fields, line as text_line, object};
use copying::{Trouble, copy, log_extent, trace};
pub(super) use copying::{about, replace, sha1, sync_dir};
use manifest::{Line, Run};
pub(super) use manifest::{Manifest, NAME, dir_of};
use source::Source;
pub(super) use source::directories;

/// Held while a backup is written, so that two runs do not mix.
const LOCK: &str = "backup.lock";

/// Looks at a directory whose files go away while they are copied.
const TRIES_MAX: u32 = 8;

/// Copy a server's data directory while it works, adding only what is new
///
/// The directory given with -o becomes an archive: run this again and again into the same one, from
/// the same server, and `vivarium restore` brings back any transaction between the first and the
/// last run. Files are ZooKeeper's own; a copy of the archive directory can be used as dataDir of
/// ZooKeeper, too. backup.json names the files, their checksums, the zxid, the epochs and the
/// digest of the tree.
///
/// With -o NAME.snapshot the backup is one file instead, a snapshot of the newest state, and
/// NAME.snapshot.json beside it. `vivarium restore` takes it, and so does a ZooKeeper that finds it
/// as version-2/snapshot.ZXID.
///
/// Everything that the server has acknowledged before the start of the backup is in it, and perhaps
/// writes that were still under way. One member of an ensemble is enough; what a lagging follower
/// has not seen yet is not in its backup, so take the leader where that matters.
#[derive(Args, Debug)]
pub struct Backup {
    /// dataDir, a zoo.cfg, or HOST:PORT of a server on this machine that answers conf
    source: String,
    /// The directory of the backup, made if it does not exist; or a file, NAME.snapshot
    #[arg(short, long, value_name = "DIR|FILE")]
    output: PathBuf,
    /// dataLogDir, if SOURCE is a directory and it is another one
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// HOST:PORT of the server: the backup must reach the zxid that it shows
    #[arg(long, value_name = "HOST:PORT")]
    server: Option<String>,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// What a run did.
#[derive(Default)]
struct Done {
    files: u64,
    bytes: u64,
    kept: u64,
}

impl Backup {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let source = Source::find(
            &self.source,
            self.log_dir.as_deref(),
            self.server.as_deref(),
        )?;
        let fields = if self.output.extension().is_some_and(|e| e == single::SUFFIX) {
            let (run, bytes) = single::write(&source, &self.output)?;
            self.fields(&run, &[("copied_files", 1), ("copied_bytes", bytes)])
        } else {
            self.archive(&source)?
        };
        if self.json {
            writeln!(out, "{}", object(fields))?;
        } else {
            writeln!(out, "{}", text_line(&fields))?;
        }
        Ok(())
    }

    /// Adds to the directory what is new.
    fn archive(&self, source: &Source) -> Result<Fields, ToolError> {
        let _lock = self.prepare()?;
        let mut archive = Archive {
            dir: &self.output,
            manifest: Manifest::read(&self.output)?.unwrap_or_default(),
        };
        let at = archive.line_for(source)?;
        let mut done = Done::default();
        archive.copy_all(source, at, &mut done)?;
        let run = archive.verify(source, at)?;
        archive.commit(run)?;
        let run = archive.manifest.runs.last().expect("committed above");
        let mut counts = vec![
            ("copied_files", done.files),
            ("copied_bytes", done.bytes),
            ("unchanged_files", done.kept),
        ];
        if at > 0 {
            counts.push(("line", run.line));
        }
        Ok(self.fields(run, &counts))
    }

    fn fields(&self, run: &Run, counts: &[(&'static str, u64)]) -> Fields {
        let mut fields: Fields = vec![
            ("backup", json!(self.output.display().to_string())),
            ("zxid", json!(run.zxid.to_string())),
            ("digest", json!(format!("0x{:x}", run.digest))),
            ("znodes", json!(run.znodes)),
            ("sessions", json!(run.sessions)),
        ];
        fields.extend(counts.iter().map(|(name, count)| (*name, json!(count))));
        fields
    }

    /// Makes the directory and keeps other runs out.
    fn prepare(&self) -> Result<File, ToolError> {
        let dir = &self.output;
        fs::create_dir_all(dir).map_err(|e| about("create", dir, &e))?;
        let known = [NAME, LOCK, copying::TMP, "version-2"];
        if !dir.join(NAME).exists() {
            let entries = fs::read_dir(dir).map_err(|e| about("list", dir, &e))?;
            for entry in entries.flatten() {
                let name = entry.file_name();
                if !known.iter().any(|known| name == *known) || !dir.join(LOCK).exists() {
                    return Err(ToolError::Failed(format!(
                        "{} is no backup, but {} is in it: name an empty directory, or one that a \
                         backup was made into",
                        dir.display(),
                        name.display()
                    )));
                }
            }
        }
        let path = dir.join(LOCK);
        let file = File::create(&path).map_err(|e| about("create", &path, &e))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(ToolError::Failed(format!(
                "another backup into {} is under way",
                dir.display()
            ))),
            Err(TryLockError::Error(e)) => Err(about("lock", &path, &e)),
        }
    }
}

/// The digest that the log has for a transaction; `None` if it has none, or not the transaction.
pub(super) fn logged_digest<F: Files>(files: &F, zxid: Zxid) -> Result<Option<u64>, ToolError> {
    let record = find_record(files, zxid)?;
    Ok(record.and_then(|bytes| TxnRecord::decode(&bytes).ok()?.digest))
}

/// The bytes of a transaction, if it stands in a log.
fn find_record<F: Files>(files: &F, zxid: Zxid) -> Result<Option<bytes::Bytes>, ToolError> {
    let names = log_names(files)?;
    let after = names.partition_point(|name| log_zxid(name).is_some_and(|first| first <= zxid));
    let Some(name) = after.checked_sub(1).map(|at| &names[at]) else {
        return Ok(None);
    };
    let mut found = None;
    look(files, name, 0, &mut |_, at, record| {
        if at == zxid {
            found = Some(record.clone());
        }
    })?;
    Ok(found)
}

/// The last transaction of a log file.
fn last_of<F: Files>(files: &F, name: &str) -> Result<Option<Zxid>, ToolError> {
    let mut last = None;
    look(files, name, 0, &mut |_, zxid, _| last = Some(zxid))?;
    Ok(last)
}

/// The files of a directory in use as far as they are whole, without a copy. They must not be
/// removed before all was read.
pub(super) fn capture(files: &ReadOnlyFiles) -> Result<FileSet, ToolError> {
    let attempt = || -> Result<FileSet, Trouble> {
        let mut entries = Vec::new();
        let mut add = |dir: Dir, name: &str, len: u64| {
            let path = match dir {
                Dir::Snapshots => files.snapshots.join(name),
                Dir::Logs => files.logs.join(name),
            };
            let name = name.to_owned();
            entries.push(Entry {
                dir,
                name,
                path,
                len,
            });
        };
        for (_, name) in snapshot_names(files)? {
            let (bytes, _) = trace(files, Dir::Snapshots, &name)?;
            add(Dir::Snapshots, &name, bytes);
        }
        let names = log_names(files)?;
        for (number, name) in names.iter().enumerate() {
            if let Some(extent) = log_extent(files, name, number + 1 == names.len())? {
                add(Dir::Logs, name, extent);
            }
        }
        Ok(FileSet::new(entries))
    };
    for _ in 0..TRIES_MAX {
        match attempt() {
            Ok(set) => return Ok(set),
            Err(Trouble::Vanished(_)) => {}
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
    let dir = files.snapshots.display();
    Err(ToolError::Failed(format!(
        "files of {dir} go away while they are looked at"
    )))
}

/// Tells who reads a directory without logs that they may lie elsewhere. It may also be one that
/// was just restored.
pub(super) fn note_without_logs(set: &FileSet, dir: &Path, option: &str) {
    if set.entries().iter().any(|entry| entry.dir == Dir::Logs) {
        return;
    }
    // Nothing is lost with it: a closed stderr wants no notes.
    let _ = writeln!(
        std::io::stderr(),
        "vivarium: note: there are no logs in {}; if the server has a dataLogDir, name it with \
         {option}, or what it wrote last is missing here",
        dir.display()
    );
}

/// Names in the directories of a server, by which a purge meanwhile is seen.
fn listing(files: &ReadOnlyFiles) -> BTreeSet<OsString> {
    let dirs = [&files.snapshots, &files.logs];
    let entries = dirs.into_iter().filter_map(|dir| fs::read_dir(dir).ok());
    entries
        .flatten()
        .flatten()
        .map(|entry| entry.file_name())
        .collect()
}

struct Archive<'a> {
    dir: &'a Path,
    manifest: Manifest,
}

impl Archive<'_> {
    /// The last line if the source continues it, else a new one.
    fn line_for(&mut self, source: &Source) -> Result<usize, ToolError> {
        if let (Some(line), Some(run)) = (self.manifest.lines.last(), self.manifest.runs.last())
            && self.continues_for_sure(line, run, source)?
        {
            return Ok(self.manifest.lines.len() - 1);
        }
        let number = self.manifest.lines.len();
        let folder = match number {
            0 => String::new(),
            _ => format!("line-{}", number + 1),
        };
        let files = Vec::new();
        self.manifest.lines.push(Line { folder, files });
        Ok(number)
    }

    /// The same as [`Self::continues`], looked at again where files went away meanwhile.
    fn continues_for_sure(
        &self,
        line: &Line,
        run: &Run,
        source: &Source,
    ) -> Result<bool, ToolError> {
        let mut tries = 0;
        loop {
            let before = listing(&source.files());
            let answer = self.continues(line, run, source);
            tries += 1;
            if answer.is_ok() || tries == TRIES_MAX || listing(&source.files()) == before {
                return answer;
            }
        }
    }

    /// Does the source have the last transaction of this line, byte for byte? Then it has all
    /// before it, too: no two histories share a transaction and differ before.
    fn continues(&self, line: &Line, run: &Run, source: &Source) -> Result<bool, ToolError> {
        let files = source.files();
        let stored = line.set(self.dir);
        // Another member cuts the same history into other files: they do not mix.
        let names = log_names(&files)?;
        if let Some(oldest) = names.first() {
            let own = log_names(&stored)?;
            let older = own.partition_point(|name| log_zxid(name) < log_zxid(oldest));
            let overlaps = match older.checked_sub(1) {
                Some(at) => last_of(&stored, &own[at])? >= log_zxid(oldest),
                None => false,
            };
            if overlaps || own[older..].iter().any(|name| !names.contains(name)) {
                return Ok(false);
            }
        }
        if let Some(record) = find_record(&stored, run.zxid)? {
            return Ok(find_record(&files, run.zxid)? == Some(record));
        }
        let stored = line
            .files
            .iter()
            .find(|file| snapshot_zxid(&file.name) == Some(run.zxid));
        let Some(stored) = stored else {
            return Ok(false);
        };
        let path = files.snapshots.join(&stored.name);
        Ok(path.exists() && sha1(&path, stored.bytes)? == stored.sha1)
    }

    fn copy_all(&mut self, source: &Source, at: usize, done: &mut Done) -> Result<(), ToolError> {
        let to = self.manifest.lines[at].path(self.dir);
        fs::create_dir_all(&to).map_err(|e| about("create", &to, &e))?;
        let mut vanished = String::new();
        for _ in 0..TRIES_MAX {
            match self.copy_once(source, at, &to, done) {
                Ok(()) => return sync_dir(&to),
                Err(Trouble::Vanished(name)) => vanished = name,
                Err(Trouble::Failed(error)) => return Err(error),
            }
        }
        Err(ToolError::Failed(format!(
            "files of {} go away while they are copied, {vanished} as the last; nothing was added \
             to the backup",
            source.data_dir.display()
        )))
    }

    /// Snapshots before logs: a snapshot is worth nothing without the logs after it.
    fn copy_once(
        &mut self,
        source: &Source,
        at: usize,
        to: &Path,
        done: &mut Done,
    ) -> Result<(), Trouble> {
        let files = source.files();
        for (_, name) in snapshot_names(&files)?.iter().rev() {
            let (bytes, modified) = trace(&files, Dir::Snapshots, name)?;
            let known = self.manifest.lines[at].find(name);
            if known.is_some_and(|f| f.source_bytes == bytes && f.source_modified_ns == modified) {
                done.kept += 1;
                continue;
            }
            if let Some(stored) = copy(&files, Dir::Snapshots, name, bytes, to)? {
                done.files += 1;
                done.bytes += stored.bytes;
                self.manifest.lines[at].put(stored);
            }
        }
        let names = log_names(&files)?;
        for (number, name) in names.iter().enumerate() {
            let is_last = number + 1 == names.len();
            let (bytes, modified) = trace(&files, Dir::Logs, name)?;
            let known = self.manifest.lines[at].find(name);
            let same =
                known.is_some_and(|f| f.source_bytes == bytes && f.source_modified_ns == modified);
            if same && !is_last {
                done.kept += 1;
                continue;
            }
            let Some(extent) = log_extent(&files, name, is_last)? else {
                continue;
            };
            // The line was continued, so what both have is the same.
            if known.is_some_and(|f| f.bytes == extent) {
                done.kept += 1;
                continue;
            }
            if let Some(stored) = copy(&files, Dir::Logs, name, extent, to)? {
                done.files += 1;
                done.bytes += stored.bytes;
                self.manifest.lines[at].put(stored);
            }
        }
        Ok(())
    }

    /// Reads the line as a starting server would, and compares it with what the server has told
    /// and logged.
    fn verify(&self, source: &Source, at: usize) -> Result<Run, ToolError> {
        let set = self.manifest.lines[at].set(self.dir);
        if set.entries().is_empty() {
            let dir = source.data_dir.display();
            let problem = format!("there is neither a snapshot nor a log in {dir}");
            return Err(ToolError::Failed(problem));
        }
        let total = read_bytes(&set);
        let set = set.watched("verify", total);
        let found = check_up(&set, None)?;
        let mut run = run_of(source, &set, &found)?;
        let before = self.manifest.runs.last();
        run.accepted = before.map_or(run.accepted, |before| before.accepted.max(run.accepted));
        run.line = at as u64;
        Ok(run)
    }

    /// From here on the run counts.
    fn commit(&mut self, run: Run) -> Result<(), ToolError> {
        let dir = self.manifest.lines[run.line as usize].path(self.dir);
        // For a server that is started on a copy of this directory.
        replace(
            &dir.join("acceptedEpoch"),
            run.accepted.0.to_string().as_bytes(),
        )?;
        replace(
            &dir.join("currentEpoch"),
            run.current.0.to_string().as_bytes(),
        )?;
        sync_dir(dir.parent().expect("version-2 lies in a directory"))?;
        self.manifest.runs.push(run);
        let mut text = serde_json::to_vec_pretty(&self.manifest.json())
            .map_err(|e| ToolError::Failed(format!("can not write the manifest: {e}")))?;
        text.push(b'\n');
        replace(&self.dir.join(NAME), &text)
    }
}

/// What was found, compared with what the server has told and logged.
fn run_of(source: &Source, set: &FileSet, found: &Checkup) -> Result<Run, ToolError> {
    let zxid = found.database.applied();
    compare_digests(set, found)?;
    // The start of an epoch is shown by a server, but is no transaction.
    if let Some(floor) = source.floor.filter(|floor| floor.counter() > 0)
        && zxid < floor
    {
        return Err(ToolError::Failed(format!(
            "the server was at {floor} before the backup began, but its files end at {zxid}: do \
             {} and {} belong to it?",
            source.data_dir.display(),
            source.log_dir.display()
        )));
    }
    let [accepted, current] = read_epochs(&source.files())?;
    let current = current.unwrap_or(Epoch(0)).max(zxid.epoch());
    Ok(Run {
        time: now(),
        zxid,
        accepted: accepted.unwrap_or(Epoch(0)).max(current),
        current,
        digest: found.database.digest(),
        znodes: found.database.tree().node_count() as u64,
        sessions: found.database.sessions().len() as u64,
        server: source.server.clone(),
        data_dir: source.data_dir.display().to_string(),
        log_dir: source.log_dir.display().to_string(),
        line: 0,
    })
}

/// About what a start reads of these files: the newest snapshot and the logs after it.
pub(super) fn read_bytes(set: &FileSet) -> u64 {
    let newest = set
        .entries()
        .iter()
        .filter_map(|e| snapshot_zxid(&e.name))
        .max();
    let counts = |name: &str| match (log_zxid(name), snapshot_zxid(name)) {
        (Some(first), _) => newest.is_none_or(|newest| first > newest),
        (_, Some(zxid)) => Some(zxid) == newest,
        (None, None) => false,
    };
    let counted = set.entries().iter().filter(|entry| counts(&entry.name));
    counted.map(|entry| entry.len).sum()
}

/// Fails if the tree is not the one that its leader had after the same transaction.
pub(super) fn compare_digests<F: Files>(files: &F, found: &Checkup) -> Result<(), ToolError> {
    let zxid = found.database.applied();
    match logged_digest(files, zxid)? {
        Some(logged) if logged != found.database.digest() => Err(ToolError::Failed(format!(
            "the tree at {zxid} has the digest 0x{:x}, but its leader has logged 0x{logged:x}",
            found.database.digest()
        ))),
        _ => Ok(()),
    }
}

#[allow(
    clippy::disallowed_types,
    reason = "a backup tells the operator when it was made"
)]
fn now() -> String {
    humantime::format_rfc3339_millis(std::time::SystemTime::now()).to_string()
}
