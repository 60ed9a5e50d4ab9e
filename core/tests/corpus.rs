//! What the fuzzers kept, run with every build: inputs that reach far, and those that once failed.

use std::fs;
use std::path::{Path, PathBuf};

use vivarium_core::fuzzing;

/// Files of one target's corpus.
fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let files = fs::read_dir(dir.join(target)).expect("the repository is whole");
    let mut files: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    files.sort();
    assert!(!files.is_empty(), "no corpus for {target}");
    files
}

fn run(target: &str, body: fn(&[u8])) {
    for file in corpus(target) {
        println!("{}", file.display());
        body(&fs::read(file).expect("a readable file"));
    }
}

#[test]
fn client_frames_hold() {
    run("client_frame", fuzzing::client_frame);
}

#[test]
fn client_conversations_hold() {
    run("client_conversation", fuzzing::client_conversation);
}

#[test]
fn quorum_packets_hold() {
    run("quorum_packet", fuzzing::quorum_packet);
}

#[test]
fn notifications_hold() {
    run("notification", fuzzing::notification);
}

#[test]
fn conversations_of_hostile_peers_hold() {
    run("peer_conversation", fuzzing::peer_conversation);
}
