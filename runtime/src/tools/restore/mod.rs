//! `vivarium restore`: a new data directory with the history of another up to some transaction.
//!
//! What is written is one snapshot of exactly that state and the epochs. The state is replayed from
//! the newest snapshot before, and its digest must be the one that the leader had logged with the
//! transaction. ZooKeeper's snapshots may hold effects of later transactions; where the digest
//! shows that, an older snapshot is taken.

mod at;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use vivarium_core::database::Database;
use vivarium_core::ids::{Epoch, Zxid};
use vivarium_core::time::WallMs;
use vivarium_storage::inspect::{
    check_up, check_up_trusting_logs, log_zxid, read_epochs, snapshot_zxid,
};
use vivarium_storage::rebuild::write_state;
use vivarium_storage::{Dir, RealFiles};

use super::ToolError;
use super::backup::{
    self, Manifest, about, capture, directories, logged_digest, read_bytes, single,
};
use super::directory::at as server_files;
use super::file_set::FileSet;
use super::records::{Fields, line, object, time};
use at::{At, Span, Split};

/// Make a data directory from a backup, as of any transaction or time in it
///
/// TARGET gets one snapshot of exactly that state and the epochs; Vivarium and ZooKeeper start from
/// it. A myid that is there stays. TARGET must hold no history: to replace one, stop the server and
/// move its version-2 away, in dataLogDir too.
///
/// Ensembles: the members vote for the newest history, so a member that still has the old one wins
/// over the restored ones, or is overwritten by them, whichever are more. Therefore
///   1. stop all servers, observers too;
///   2. move version-2 away on every one of them, in dataDir and dataLogDir; leave myid;
///   3. restore on all voters, from the same backup with the same --at;
///   4. start them. Observers may start empty.
///
/// With fewer restored voters start a restored one and wait until it leads: empty voters that form
/// a majority among themselves begin a new, empty history, and overwrite the restored one.
///
/// The accepted epoch is written as high as the backup has seen it, so the next leader's zxids are
/// beyond all that was left out. A standalone server goes on at the restored zxid: restart its
/// clients, which otherwise refuse a server that is behind what they have seen. Sessions are
/// restored with their ephemerals, and expire if their clients do not come back.
#[derive(Args, Debug)]
#[command(verbatim_doc_comment)]
pub struct Restore {
    /// The directory of a backup, NAME.snapshot, or the dataDir of a server, which may run
    from: PathBuf,
    /// dataDir to be made, or the zoo.cfg that names it
    target: PathBuf,
    /// zxid (0x...), or time in UTC (2026-01-31T23:59:59Z, or ms since 1970); default: the newest
    #[arg(long, value_name = "ZXID|TIME", value_parser = at::parse)]
    at: Option<At>,
    /// dataLogDir of TARGET, if it is another directory
    #[arg(long, value_name = "DIR")]
    log_dir: Option<PathBuf>,
    /// dataLogDir of FROM, if FROM is no backup and it is another directory
    #[arg(long, value_name = "DIR")]
    from_log_dir: Option<PathBuf>,
    /// Only from this line of FROM's backup.json, counted from 0; default: the newest that fits
    #[arg(long, value_name = "NUMBER")]
    line: Option<usize>,
    /// As with snapshot.trust.empty=true: without any snapshot, believe that the logs hold all
    #[arg(long)]
    trust_empty: bool,
    /// Only say what would be restored and what left out
    #[arg(long)]
    dry_run: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

/// An unbroken history to restore from.
struct History {
    set: FileSet,
    /// Checksums of its files, where a manifest has them.
    sums: Vec<(PathBuf, u64, String)>,
    split: Split,
    /// Without any snapshot the logs are believed to hold everything.
    trusts_logs: bool,
}

/// What will be written.
struct Found {
    database: Database,
    /// `None` where the logs alone are believed.
    snapshot: Option<String>,
    replayed: u64,
    /// Whether the log had a digest to compare with.
    compared: bool,
}

impl Restore {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let (data_dir, log_dir) = directories(&self.target, self.log_dir.as_deref())?;
        refuse_history(&data_dir)?;
        refuse_history(&log_dir)?;
        let (histories, accepted) = self.histories()?;
        let history = self.choose(&histories)?;
        let limit = history.limit(self.at);
        let mut found = history.state(limit)?;
        let zxid = found.database.applied();
        history.compare_sums(found.snapshot.as_deref().unwrap_or_default(), zxid)?;
        let newest = histories.iter().filter_map(History::last).max();
        let current = zxid.epoch();
        let reached = newest.map_or(current, |(zxid, _)| zxid.epoch());
        let accepted = accepted.max(current).max(reached);
        self.report(out, &found, history, &histories)?;
        if self.dry_run {
            return Ok(());
        }
        write(&data_dir, &log_dir, &mut found.database, accepted)?;
        if !self.json {
            let dir = data_dir.display();
            writeln!(out, "{dir} holds all transactions up to {zxid}")?;
        }
        Ok(())
    }

    /// What there is to restore from, newest first, and the highest accepted epoch.
    fn histories(&self) -> Result<(Vec<History>, Epoch), ToolError> {
        let from = &self.from;
        if let Some(manifest) = Manifest::read(from)? {
            let accepted = manifest.runs.iter().map(|run| run.accepted).max();
            let mut histories = Vec::new();
            for (number, line) in manifest.lines.iter().enumerate().rev() {
                if self.line.is_some_and(|wanted| wanted != number) {
                    continue;
                }
                let path = line.path(from);
                let sums = line
                    .files
                    .iter()
                    .map(|file| (path.join(&file.name), file.bytes, file.sha1.clone()));
                let sums = sums.collect();
                histories.push(self.open(line.set(from), sums)?);
            }
            return Ok((histories, accepted.unwrap_or(Epoch(0))));
        }
        if !from.is_dir() {
            let single = single::open(from)?;
            let accepted = single.run.map_or(Epoch(0), |run| run.accepted);
            let history = self.open(single.set, single.sums)?;
            return Ok((vec![history], accepted));
        }
        let files = server_files(from, self.from_log_dir.as_deref().unwrap_or(from));
        let [accepted, _] = read_epochs(&files)?;
        let set = capture(&files)?;
        if self.from_log_dir.is_none() {
            backup::note_without_logs(&set, from, "--from-log-dir");
        }
        let history = self.open(set, Vec::new())?;
        Ok((vec![history], accepted.unwrap_or(Epoch(0))))
    }

    fn open(&self, set: FileSet, sums: Vec<(PathBuf, u64, String)>) -> Result<History, ToolError> {
        let total = set.bytes();
        let set = set.watched("find the moment", total);
        let split = Split::of(&set, self.at)?;
        let set = set.retain(|_| true);
        Ok(History {
            set,
            sums,
            split,
            trusts_logs: self.trust_empty,
        })
    }

    /// The newest history that reaches back to the wanted moment.
    fn choose<'h>(&self, histories: &'h [History]) -> Result<&'h History, ToolError> {
        let nothing = || {
            let from = self.from.display();
            ToolError::Failed(format!(
                "there is neither a backup nor a snapshot in {from}"
            ))
        };
        let newest = histories.first().ok_or_else(nothing)?;
        let chosen = histories.iter().find(|history| history.reaches(self.at));
        let oldest = histories
            .iter()
            .filter_map(History::oldest)
            .min()
            .ok_or_else(nothing)?;
        let chosen = chosen.ok_or_else(|| {
            ToolError::Failed(format!(
                "the history in {} begins with the snapshot of {oldest}: there is nothing as old \
                 as that to restore",
                self.from.display()
            ))
        })?;
        if let (Some(At::Zxid(wanted)), Some((last, at))) = (self.at, newest.last())
            && wanted > last
        {
            return Err(ToolError::Failed(format!(
                "the history in {} ends at {last} ({}), before {wanted}",
                self.from.display(),
                time(at)
            )));
        }
        let is_beyond = match (self.at, chosen.last()) {
            (Some(At::Zxid(wanted)), Some((last, _))) => wanted > last,
            (Some(At::Time(_)), _) => chosen.split.after.is_none(),
            (_, _) => false,
        };
        if is_beyond && !std::ptr::eq(chosen, newest) {
            let (last, at) = chosen.last().unwrap_or_default();
            return Err(ToolError::Failed(format!(
                "that moment is in no backup: one history ends at {last} ({}), the next begins \
                 with the snapshot of {}; back up more often, before the server purges its logs",
                time(at),
                newest.oldest().unwrap_or_default()
            )));
        }
        Ok(chosen)
    }

    fn report(
        &self,
        out: &mut dyn Write,
        found: &Found,
        history: &History,
        histories: &[History],
    ) -> Result<(), ToolError> {
        let zxid = found.database.applied();
        let digest = if found.compared {
            "as logged"
        } else {
            "none logged"
        };
        let mut fields: Fields = vec![
            ("zxid", json!(zxid.to_string())),
            ("digest", json!(format!("0x{:x}", found.database.digest()))),
            ("digest_check", json!(digest)),
            ("snapshot", json!(found.snapshot)),
            ("replayed", json!(found.replayed)),
            ("znodes", json!(found.database.tree().node_count())),
            ("sessions", json!(found.database.sessions().len())),
        ];
        if let Some(Span { last: (_, at), .. }) = history.split.before {
            fields.push(("time", json!(time(at))));
        }
        let later = history.split.after.map_or(0, |span| span.count);
        fields.push(("left_out", json!(later)));
        if let Some(after) = history.split.after {
            fields.push(("left_out_from", json!(after.first.0.to_string())));
            fields.push(("left_out_from_time", json!(time(after.first.1))));
            fields.push(("left_out_to", json!(after.last.0.to_string())));
            fields.push(("left_out_to_time", json!(time(after.last.1))));
        }
        // Whole histories that began anew after the one that is restored from.
        let newer = histories
            .iter()
            .position(|other| std::ptr::eq(other, history));
        if let Some(newer) = newer.filter(|newer| *newer > 0) {
            fields.push(("left_out_lines", json!(newer)));
        }
        if self.json {
            writeln!(out, "{}", object(fields))?;
        } else {
            writeln!(out, "{}", line(&fields))?;
        }
        out.flush()?;
        Ok(())
    }
}

impl History {
    fn snapshots(&self) -> impl Iterator<Item = Zxid> {
        self.set
            .entries()
            .iter()
            .filter_map(|entry| snapshot_zxid(&entry.name))
    }

    fn oldest(&self) -> Option<Zxid> {
        let has_logs = self.split.before.or(self.split.after).is_some();
        let logs_alone = (self.trusts_logs && has_logs).then_some(Zxid::ZERO);
        self.snapshots().min().or(logs_alone)
    }

    /// The last transaction, wherever it stands.
    fn last(&self) -> Option<(Zxid, WallMs)> {
        let logged = self.split.after.or(self.split.before).map(|span| span.last);
        let newest = self.snapshots().max().map(|zxid| (zxid, WallMs(0)));
        logged.max(newest)
    }

    /// Is the wanted moment behind this history's beginning?
    fn reaches(&self, at: Option<At>) -> bool {
        let Some(oldest) = self.oldest() else {
            return false;
        };
        match at {
            None => true,
            Some(At::Zxid(zxid)) => zxid >= oldest,
            // Nothing tells a snapshot's time but the transactions around it.
            Some(At::Time(_)) => {
                let last = self.split.before.map(|span| span.last.0);
                let next = self.split.after.map(|span| span.first.0);
                last.is_some_and(|last| last >= oldest)
                    || next.is_some_and(|next| next.0 == oldest.0.wrapping_add(1))
                    || (last.is_none() && next.is_none())
            }
        }
    }

    /// The zxid up to which is replayed.
    fn limit(&self, at: Option<At>) -> Option<Zxid> {
        match at {
            None => None,
            Some(At::Zxid(zxid)) => Some(zxid),
            Some(At::Time(_)) => {
                let next = self.split.after.map(|span| span.first.0)?;
                Some(
                    self.split
                        .before
                        .map_or(Zxid(next.0 - 1), |span| span.last.0),
                )
            }
        }
    }

    /// Compares the checksums of the files that were read.
    fn compare_sums(&self, snapshot: &str, zxid: Zxid) -> Result<(), ToolError> {
        let start = snapshot_zxid(snapshot).unwrap_or(Zxid::ZERO);
        let logs = self.set.entries().iter();
        let logs = logs.filter_map(|entry| Some((log_zxid(&entry.name)?, &entry.path)));
        let first = logs
            .clone()
            .map(|(first, _)| first)
            .filter(|first| *first <= start.next());
        let first = first.max().unwrap_or(Zxid::ZERO);
        let read = logs
            .filter(|(at, _)| (first..=zxid).contains(at))
            .map(|(_, path)| path);
        let snapshots = self
            .set
            .entries()
            .iter()
            .filter(|entry| entry.name == snapshot);
        let read: Vec<&PathBuf> = read.chain(snapshots.map(|entry| &entry.path)).collect();
        for (path, bytes, sum) in &self.sums {
            if !read.contains(&path) {
                continue;
            }
            let found = backup::sha1(path, *bytes)?;
            if found != *sum {
                return Err(ToolError::Failed(format!(
                    "{} has the checksum {found}, but had {sum} when it was backed up: the disk of \
                     the backup has changed it",
                    path.display()
                )));
            }
        }
        Ok(())
    }

    /// The state after the last transaction up to `limit`.
    fn state(&self, limit: Option<Zxid>) -> Result<Found, ToolError> {
        let mut set = self.set.retain(|_| true);
        let mut rejected = Vec::new();
        loop {
            let fits = |name: &str| {
                snapshot_zxid(name).is_some_and(|at| limit.is_none_or(|limit| at <= limit))
            };
            if !rejected.is_empty() && !set.entries().iter().any(|entry| fits(&entry.name)) {
                return Err(ToolError::Failed(format!(
                    "nothing leads exactly to {}: {} hold effects of later transactions, and there \
                     is no older snapshot; choose a later moment",
                    limit.map_or_else(|| "the end".to_owned(), |limit| limit.to_string()),
                    rejected.join(", ")
                )));
            }
            let total = read_bytes(&set);
            let watched = set.retain(|_| true).watched("replay", total);
            let found = if self.trusts_logs && rejected.is_empty() {
                check_up_trusting_logs(&watched, limit)?
            } else {
                check_up(&watched, limit)?
            };
            let zxid = found.database.applied();
            let logged = logged_digest(&watched, zxid)?;
            let believed = found.snapshot.is_some() || found.replayed > 0;
            if believed && logged.is_none_or(|logged| logged == found.database.digest()) {
                return Ok(Found {
                    database: found.database,
                    snapshot: found.snapshot,
                    replayed: found.replayed,
                    compared: logged.is_some(),
                });
            }
            let Some(snapshot) = found.snapshot else {
                let problem = if believed {
                    "the logs alone do not lead to the state that they tell of: something was \
                     before them"
                } else {
                    "there is no snapshot to begin with"
                };
                return Err(ToolError::Failed(problem.to_owned()));
            };
            set = set.retain(|entry| entry.name != snapshot);
            rejected.push(snapshot);
        }
    }
}

/// Fails where a server's history lies.
fn refuse_history(dir: &Path) -> Result<(), ToolError> {
    let version = dir.join("version-2");
    for (place, strict) in [(dir, false), (version.as_path(), true)] {
        let entries = match fs::read_dir(place) {
            Ok(entries) => entries,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(e) => return Err(about("list", place, &e)),
        };
        for entry in entries {
            let name = entry.map_err(|e| about("list", place, &e))?.file_name();
            let known = name.to_str().and_then(backup::dir_of).is_some();
            if strict || known || name == backup::NAME {
                return Err(ToolError::Failed(format!(
                    "{} is not empty ({} is in it): stop its server, move version-2 away, in \
                     dataLogDir too, and try again; or name another directory",
                    place.display(),
                    name.display()
                )));
            }
        }
    }
    Ok(())
}

/// Writes the directory, under its lock, and reads it again.
fn write(
    data_dir: &Path,
    log_dir: &Path,
    database: &mut Database,
    accepted: Epoch,
) -> Result<(), ToolError> {
    let failed = |e: std::io::Error| ToolError::Failed(e.to_string());
    let mut files = RealFiles::open(data_dir, log_dir).map_err(failed)?;
    // Once more: now nobody else can begin one.
    refuse_history(data_dir)?;
    refuse_history(log_dir)?;
    let current = database.applied().epoch();
    write_state(&mut files, database, accepted, current)?;
    let found = check_up(&files, None)?;
    let written = (found.database.applied(), found.database.digest());
    if written != (database.applied(), database.digest()) || found.accepted != Some(accepted) {
        return Err(ToolError::Failed(format!(
            "{} does not hold what was written to it: do not use it",
            data_dir.display()
        )));
    }
    let parent = files.path(Dir::Snapshots).parent().map(Path::to_owned);
    parent.map_or(Ok(()), |parent| backup::sync_dir(&parent))
}
