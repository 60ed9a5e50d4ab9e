//! A backup that is one file: a snapshot of the newest state, and a manifest beside it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use vivarium_core::database::Database;
use vivarium_core::ids::Zxid;
use vivarium_storage::inspect::{check_up, read_snapshot, snapshot_zxid};
use vivarium_storage::rebuild::write_state;
use vivarium_storage::{Dir, RealFiles};

use super::super::ToolError;
use super::super::file_set::{Entry, FileSet};
use super::copying::{Trouble, about, replace, sha1, sync_dir};
use super::manifest::Run;
use super::source::Source;
use super::{TRIES_MAX, capture, read_bytes, run_of};

/// Names of such backups end with it.
pub(in super::super) const SUFFIX: &str = "snapshot";

/// At the end of a snapshot: its zxid, a checksum, the string `/`.
const LAST_TRAILER_BYTES: u64 = 21;

/// A snapshot, wherever it lies, as a data directory of its own.
pub(in super::super) struct Single {
    pub(in super::super) set: FileSet,
    /// In the set.
    pub(in super::super) name: String,
    /// What the manifest says, if there is one.
    pub(in super::super) run: Option<Run>,
    /// Path, bytes and checksum, likewise.
    pub(in super::super) sums: Vec<(PathBuf, u64, String)>,
}

/// Bytes of a file and their checksum.
type Sum = (u64, String);

fn failed<T>(problem: String) -> Result<T, ToolError> {
    Err(ToolError::Failed(problem))
}

fn manifest_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".json");
    name.into()
}

/// Writes the newest state of a server's directory as one file; gives its size, too.
pub(super) fn write(source: &Source, file: &Path) -> Result<(Run, u64), ToolError> {
    let (mut database, run) = state(source)?;
    // In a directory of its own beside the file, so that the rename at the end stays on one disk.
    let tmp = file.with_extension("tmp");
    if tmp.exists() {
        fs::remove_dir_all(&tmp).map_err(|e| about("remove", &tmp, &e))?;
    }
    let mut files = RealFiles::open(&tmp, &tmp).map_err(|e| about("create", &tmp, &e))?;
    write_state(&mut files, &mut database, run.accepted, run.current)?;
    let name = format!("snapshot.{:x}", run.zxid.0);
    let written = read_snapshot(&files, &name)?;
    if (written.applied(), written.digest()) != (run.zxid, run.digest) {
        return failed(format!(
            "{} does not hold what was written to it",
            tmp.display()
        ));
    }
    let path = files.path(Dir::Snapshots).join(&name);
    let bytes = path
        .metadata()
        .map_err(|e| about("look up", &path, &e))?
        .len();
    let mut fields = run.fields();
    fields.insert("bytes".to_owned(), json!(bytes));
    fields.insert("sha1".to_owned(), json!(sha1(&path, bytes)?));
    fs::rename(&path, file).map_err(|e| about("rename", &path, &e))?;
    let mut text = serde_json::to_vec_pretty(&Value::Object(fields))
        .map_err(|e| ToolError::Failed(format!("can not write the manifest: {e}")))?;
    text.push(b'\n');
    replace(&manifest_of(file), &text)?;
    drop(files);
    fs::remove_dir_all(&tmp).map_err(|e| about("remove", &tmp, &e))?;
    sync_dir(file.parent().unwrap_or_else(|| Path::new("")))?;
    Ok((run, bytes))
}

fn state(source: &Source) -> Result<(Database, Run), ToolError> {
    let mut vanished = String::new();
    for _ in 0..TRIES_MAX {
        let set = capture(&source.files())?;
        let total = read_bytes(&set);
        let set = set.watched("read", total);
        if set.entries().is_empty() {
            let dir = source.data_dir.display();
            return failed(format!("there is neither a snapshot nor a log in {dir}"));
        }
        match check_up(&set, None).map_err(Trouble::from) {
            Ok(found) => {
                let run = run_of(source, &set, &found)?;
                return Ok((found.database, run));
            }
            Err(Trouble::Vanished(name)) => vanished = name,
            Err(Trouble::Failed(error)) => return Err(error),
        }
    }
    failed(format!(
        "files go away while they are read, {vanished} as the last"
    ))
}

/// Looks at a snapshot file under any name.
pub(in super::super) fn open(file: &Path) -> Result<Single, ToolError> {
    let len = fs::metadata(file)
        .map_err(|e| about("look up", file, &e))?
        .len();
    let name = file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let (name, run, sums) = if snapshot_zxid(name).is_some() {
        (name.to_owned(), None, Vec::new())
    } else {
        let (run, sums) = manifest(file)?.unzip();
        let zxid = match &run {
            Some(run) => run.zxid,
            None => told_zxid(file, len)?,
        };
        let sums: Vec<Sum> = sums.into_iter().collect();
        let sums = sums
            .into_iter()
            .map(|(bytes, sum)| (file.to_owned(), bytes, sum));
        (format!("snapshot.{:x}", zxid.0), run, sums.collect())
    };
    let entry = Entry {
        dir: Dir::Snapshots,
        name: name.clone(),
        path: file.to_owned(),
        len,
    };
    let set = FileSet::new(vec![entry]);
    Ok(Single {
        set,
        name,
        run,
        sums,
    })
}

/// What stands beside the file: the run, and the file's size and checksum.
fn manifest(file: &Path) -> Result<Option<(Run, Sum)>, ToolError> {
    let path = manifest_of(file);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(about("read", &path, &e)),
    };
    let read = || {
        let value: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        let run = Run::read(&value)?;
        let bytes = value["bytes"].as_u64().ok_or("bytes is no number")?;
        let sha1 = value["sha1"].as_str().ok_or("sha1 is missing")?;
        Ok::<_, String>((run, (bytes, sha1.to_owned())))
    };
    read().map(Some).map_err(|why| {
        ToolError::Failed(format!(
            "{} does not belong to a backup: {why}",
            path.display()
        ))
    })
}

/// The zxid that a snapshot of ZooKeeper 3.9 or Vivarium has at its end.
fn told_zxid(file: &Path, len: u64) -> Result<Zxid, ToolError> {
    let mut end = [0; LAST_TRAILER_BYTES as usize];
    let at = len.saturating_sub(LAST_TRAILER_BYTES);
    let read = File::open(file).and_then(|file| file.read_exact_at(&mut end, at));
    let zxid = i64::from_be_bytes(end[..8].try_into().expect("eight bytes"));
    if read.is_ok() && end.ends_with(b"\0\0\0\x01/") && zxid >= 0 {
        return Ok(Zxid(zxid));
    }
    failed(format!(
        "{} is neither a backup nor a snapshot that tells its zxid; a file of an older ZooKeeper \
         tells it in its name, snapshot.HEX",
        file.display()
    ))
}
