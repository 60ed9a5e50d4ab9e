//! Files whose syncs are timed. Knows no meaning of a file but whether it is a log.

use std::io::{self, Read};
use std::sync::Arc;
use std::time::Instant;

use vivarium_storage::{Dir, Files, RealFiles};

use crate::meter::Meter;

/// The real files, and who looks at the clock.
#[derive(Debug)]
pub(super) struct TimedFiles {
    pub(super) files: RealFiles,
    pub(super) meter: Arc<Meter>,
}

impl Files for TimedFiles {
    fn list(&self, dir: Dir) -> io::Result<Vec<String>> {
        self.files.list(dir)
    }

    fn len(&self, dir: Dir, name: &str) -> io::Result<u64> {
        self.files.len(dir, name)
    }

    fn read_at(&self, dir: Dir, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.files.read_at(dir, name, offset, buf)
    }

    fn reader(&self, dir: Dir, name: &str) -> io::Result<Option<Box<dyn Read + Send>>> {
        self.files.reader(dir, name)
    }

    fn next_data(&self, dir: Dir, name: &str, offset: u64) -> io::Result<u64> {
        self.files.next_data(dir, name, offset)
    }

    fn write_at(&mut self, dir: Dir, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.files.write_at(dir, name, offset, bytes)
    }

    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> io::Result<()> {
        self.files.set_len(dir, name, len)
    }

    fn allocate(&mut self, dir: Dir, name: &str, offset: u64, len: u64) -> io::Result<()> {
        self.files.allocate(dir, name, offset, len)
    }

    fn sync(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        let begun = Instant::now();
        let synced = self.files.sync(dir, name);
        self.meter.record(name, dir == Dir::Logs, begun.elapsed());
        synced
    }

    fn sync_dir(&mut self, dir: Dir) -> io::Result<()> {
        self.files.sync_dir(dir)
    }

    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> io::Result<()> {
        self.files.rename(dir, from, to)
    }

    fn remove(&mut self, dir: Dir, name: &str) -> io::Result<()> {
        self.files.remove(dir, name)
    }
}
