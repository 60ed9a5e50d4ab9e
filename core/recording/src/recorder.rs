//! Writes a recording beside a running server. What goes wrong here must not stop the server: a
//! recording ends then, and says why once.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use vivarium_core::boundary::Input;
use vivarium_core::config::Config;
use vivarium_core::ids::Zxid;
use vivarium_core::recovery::Recovered;
use vivarium_core::time::Now;

use crate::entry::{ENTRY_BYTES_MAX, MAGIC, VERSION, Writer, kind};
use crate::shapes::ConfigShape;

/// Recordings in a directory, the one that begins included; older ones are removed.
pub const KEPT: usize = 4;

/// Turns between two notes of the state's digest.
const MARK_TURNS: u64 = 64;

/// The end of a recording's name.
pub(crate) const SUFFIX: &str = ".recording";

/// How much a recording may take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of one file.
    pub bytes_max: u64,
}

/// A recording under way.
#[derive(Debug)]
pub struct Recorder {
    path: PathBuf,
    /// Gone when the recording has ended.
    file: Option<File>,
    pending: Writer,
    written: u64,
    limits: Limits,
    turns: u64,
    marked: Zxid,
    /// Why it ended, until somebody asks.
    ended: Option<String>,
}

impl Recorder {
    /// Begins a recording in this directory, which is made if need be; of older ones the newest
    /// are kept. The state is read, not changed.
    ///
    /// # Errors
    /// The directory or the file can not be written.
    pub fn begin(
        dir: &Path,
        limits: Limits,
        config: &Config,
        state: &mut Recovered,
        now: Now,
    ) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut older = recordings(dir)?;
        let last = older.last().map_or(0, |(number, _)| *number);
        let number = last
            .checked_add(1)
            .ok_or_else(|| io::Error::other("no number is left"))?;
        let most = older.len().saturating_sub(KEPT - 1);
        for (_, path) in older.drain(..most) {
            fs::remove_file(path)?;
        }
        let path = dir.join(format!("{number:010}{SUFFIX}"));
        let mut options = OpenOptions::new();
        // Passwords are in there.
        let file = options
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)?;
        let mut recorder = Self {
            path,
            file: Some(file),
            pending: Writer::default(),
            written: 0,
            limits,
            turns: 0,
            marked: Zxid::ZERO,
            ended: None,
        };
        recorder.head(config, state, now)?;
        Ok(recorder)
    }

    fn head(&mut self, config: &Config, state: &mut Recovered, now: Now) -> io::Result<()> {
        let out = &mut self.pending;
        out.out
            .extend_from_slice(format!("{MAGIC} {VERSION}\n").as_bytes());
        let shape = serde_json::to_vec(&ConfigShape::from(config)).map_err(io::Error::other)?;
        out.entry(kind::CONFIG, |w| w.bytes(&shape));
        out.entry(kind::STATE, |w| w.state(state));
        out.entry(kind::BOOT, |w| w.now(now));
        let size = out.out.len();
        if size as u64 > self.limits.bytes_max || size > ENTRY_BYTES_MAX {
            let most = self.limits.bytes_max.min(ENTRY_BYTES_MAX as u64);
            let what = format!("the state takes {size} bytes, a recording at most {most}");
            return Err(io::Error::other(what));
        }
        self.write_out();
        self.ended
            .take()
            .map_or(Ok(()), |why| Err(io::Error::other(why)))
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the machine is about to be told.
    pub fn input(&mut self, now: Now, input: &mut Input<'_>) {
        if self.file.is_some() {
            self.pending.input(now, input);
        }
    }

    /// The machine is about to end its turn.
    pub fn flush(&mut self, now: Now) {
        if self.file.is_some() {
            self.pending.entry(kind::FLUSH, |w| w.now(now));
        }
    }

    /// The turn has ended; `state` gives the applied zxid and the digest of the tree there. Why the
    /// recording has ended, if it has, once.
    pub fn end_turn(&mut self, state: impl FnOnce() -> (Zxid, u64)) -> Option<String> {
        self.turns += 1;
        if self.file.is_some() && self.turns.is_multiple_of(MARK_TURNS) {
            let (zxid, digest) = state();
            if zxid != self.marked {
                self.marked = zxid;
                self.pending.entry(kind::MARK, |w| {
                    w.word(zxid.0 as u64);
                    w.word(digest);
                });
            }
        }
        self.write_out();
        self.ended.take()
    }

    /// A write to the page cache for each turn: what a dying process was told last is what matters.
    fn write_out(&mut self) {
        let Some(file) = &mut self.file else { return };
        let most = self.limits.bytes_max;
        let full = self.written + self.pending.out.len() as u64 > most;
        if full {
            self.pending.out.clear();
            self.pending.entry(kind::FULL, |_| ());
        }
        let written = file.write_all(&self.pending.out);
        self.written += self.pending.out.len() as u64;
        self.pending.out.clear();
        match written {
            Err(error) => self.end(format!("it can not be written: {error}")),
            Ok(()) if full => self.end(format!("it has reached {most} bytes")),
            Ok(()) => {}
        }
    }

    fn end(&mut self, why: String) {
        self.file = None;
        self.ended = Some(why);
    }
}

impl Drop for Recorder {
    /// A panic of the machine ends a turn in the middle; what led to it is still written.
    fn drop(&mut self) {
        self.write_out();
    }
}

/// Recordings in a directory with their numbers, rising.
pub(crate) fn recordings(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(SUFFIX)?.parse().ok());
        if let Some(number) = number {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}
