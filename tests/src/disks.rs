//! Small disks that tests fill and free, as tmpfs: where none can be mounted, tests say so.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::Duration;

use crate::ensemble::Ensemble;

/// Small enough to be full soon.
const DISK: &str = "size=16m";

/// A small disk for a server's data.
struct Disk {
    dir: PathBuf,
    /// Whoever takes all its room, until told to stop.
    greedy: Option<(Arc<AtomicBool>, JoinHandle<()>)>,
}

/// One for each server of ours; ZooKeeper stops when its disk is full.
pub struct Disks(BTreeMap<i64, Disk>);

impl Disks {
    /// Mounts them below servers that do not run yet; none where that is not allowed.
    pub fn mount(ensemble: &Ensemble) -> Option<Self> {
        let mut disks = Self(BTreeMap::new());
        let ours = |id: &i64| ensemble.kind(*id).is_vivarium();
        for id in ensemble.ids().into_iter().filter(ours) {
            let dir = ensemble.data_dir(id);
            let my_id = fs::read(dir.join("myid"));
            let mounted = Command::new("mount")
                .args(["-t", "tmpfs", "-o", DISK, "tmpfs"])
                .arg(&dir)
                .status();
            if !mounted.is_ok_and(|status| status.success()) {
                eprintln!("SKIPPED: no tmpfs can be mounted here, so no disk was filled");
                return None;
            }
            let (dir, greedy) = (dir, None);
            let disk = Disk {
                dir: dir.clone(),
                greedy,
            };
            disks.0.insert(id, disk);
            if let Ok(text) = my_id {
                fs::write(dir.join("myid"), text).expect("an empty disk has room");
            }
        }
        Some(disks)
    }

    fn disk(&mut self, id: i64) -> &mut Disk {
        self.0.get_mut(&id).expect("a server of ours")
    }

    /// Where it is mounted.
    pub fn dir(&self, id: i64) -> &Path {
        &self.0[&id].dir
    }

    /// Takes all the room that is left, and all that is given back.
    pub fn fill(&mut self, id: i64) {
        let disk = self.disk(id);
        let path = disk.dir.join("filler");
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let greedy = std::thread::spawn(move || {
            let mut filler = File::create(path).expect("a name needs no room");
            while !seen.load(Ordering::Relaxed) {
                for size in [64 << 10, 4 << 10] {
                    while filler.write_all(&vec![7; size]).is_ok() {}
                }
                sleep(Duration::from_millis(5));
            }
        });
        disk.greedy = Some((stop, greedy));
    }

    /// Gives it back.
    pub fn free(&mut self, id: i64) {
        let disk = self.disk(id);
        let (stop, greedy) = disk.greedy.take().expect("it was filled");
        stop.store(true, Ordering::Relaxed);
        greedy.join().expect("nothing can go wrong");
        fs::remove_file(disk.dir.join("filler")).expect("it was filled");
    }
}

impl Drop for Disks {
    fn drop(&mut self) {
        for disk in self.0.values_mut() {
            if let Some((stop, greedy)) = disk.greedy.take() {
                stop.store(true, Ordering::Relaxed);
                drop(greedy.join());
            }
            // Lazily: after a failure the servers still run.
            drop(Command::new("umount").arg("-l").arg(&disk.dir).status());
        }
    }
}
