//! What the fuzzers of files kept, and files that Apache ZooKeeper wrote, run with every build: as
//! they are, cut off, and with bytes changed.

use std::fs;
use std::path::{Path, PathBuf};

use vivarium_storage::fuzzing;

/// Files of one target's corpus.
fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    let files = fs::read_dir(dir.join(target)).expect("the repository is whole");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {target}");
    files
}

/// Each file; each cut off at `cuts` places; each with one of so many bytes changed.
fn run(target: &str, cuts: usize, body: fn(&[u8])) {
    for file in corpus(target) {
        println!("{}", file.display());
        let bytes = fs::read(file).expect("a readable file");
        body(&bytes);
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        for n in 0..cuts.min(used) {
            let at = n * used / cuts.min(used);
            body(&bytes[..at]);
            for mask in [0x01, 0x80, 0xff] {
                let mut bent = bytes.clone();
                bent[at] ^= mask;
                body(&bent);
            }
        }
    }
}

#[test]
fn log_files_hold() {
    run("log_file", 120, fuzzing::log_file);
}

#[test]
fn snapshot_files_hold() {
    run("snapshot_file", 120, fuzzing::snapshot_file);
}

#[test]
fn epoch_files_hold() {
    run("epoch_file", 30, fuzzing::epoch_file);
}

#[test]
fn directories_hold() {
    run("directory", 60, fuzzing::directory);
}
