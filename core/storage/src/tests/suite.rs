//! What storage promises without crashes, on both kinds of files.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use vivarium_core::boundary::{SnapshotStep, WriteOp};
use vivarium_core::ids::{Epoch, Zxid};

use super::{
    OPTIONS, append, assert_state, install, perform, records, set_epochs, snapshot_steps,
    take_snapshot, z,
};
use crate::mem::MemFiles;
use crate::{Dir, Files, Options, Performed, RealFiles, Store};

/// A directory that goes away.
#[derive(Debug)]
pub(super) struct Scratch(pub(super) PathBuf);

impl Scratch {
    pub(super) fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let made = MADE.fetch_add(1, Ordering::Relaxed);
        let name = format!("vivarium-storage-{}-{made}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("temporary directory");
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Runs a test on memory, on one real directory, and on two.
macro_rules! on_both {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                on::$name(MemFiles::new());
                let one = Scratch::new();
                on::$name(RealFiles::open(&one.0, &one.0).expect("opened"));
                let data = Scratch::new();
                let logs = Scratch::new();
                on::$name(RealFiles::open(&data.0, &logs.0).expect("opened"));
            }
        )*
    };
}

on_both!(
    a_fresh_directory_has_a_snapshot_and_zxid_zero,
    appends_and_epochs_come_back,
    what_was_not_synced_is_gone,
    a_full_file_is_followed_by_another,
    files_have_exact_bytes,
    a_snapshot_replaces_old_logs,
    truncation_cuts_inside_a_file_and_removes_newer_ones,
    truncation_removes_snapshots_that_hold_what_is_cut,
    truncation_before_the_oldest_snapshot_is_impossible,
    an_install_replaces_everything,
    an_abandoned_install_leaves_everything,
    an_overtaken_background_snapshot_has_no_effect,
    a_large_record_gets_a_large_file,
    a_snapshot_may_be_ahead_of_the_log,
);

fn reopen<F: Files>(store: Store<F>) -> (Store<F>, vivarium_core::recovery::Recovered) {
    Store::open(store.into_files(), OPTIONS).expect("opened again")
}

fn names<F: Files>(store: &Store<F>, dir: Dir, prefix: &str) -> Vec<String> {
    let all = store.files().list(dir).expect("listed");
    all.into_iter()
        .filter(|name| name.starts_with(prefix))
        .collect()
}

fn content<F: Files>(files: &F, dir: Dir, name: &str) -> Vec<u8> {
    let mut out = vec![0; files.len(dir, name).expect("exists") as usize];
    assert_eq!(
        files.read_at(dir, name, 0, &mut out).expect("read"),
        out.len()
    );
    out
}

mod on {
    use super::*;

    pub(super) fn a_fresh_directory_has_a_snapshot_and_zxid_zero<F: Files>(files: F) {
        let (store, state) = Store::open(files, OPTIONS).expect("opened");
        assert_eq!((state.accepted, state.current), (Epoch(0), Epoch(0)));
        assert_state(&state.database, &[]);
        assert_eq!(names(&store, Dir::Snapshots, "snapshot."), ["snapshot.0"]);
        assert_eq!(content(store.files(), Dir::Snapshots, "currentEpoch"), b"0");
        assert_eq!(store.bytes(Dir::Logs).expect("listed"), 0);
        let (_, state) = reopen(store);
        assert_state(&state.database, &[]);
    }

    pub(super) fn appends_and_epochs_come_back<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        set_epochs(&mut store, 3);
        let mut history = records(3, 1, 5);
        append(&mut store, &history);
        store.sync().expect("synced");
        perform(&mut store, WriteOp::AcceptedEpoch(Epoch(12)));
        let (mut store, state) = reopen(store);
        assert_eq!((state.accepted, state.current), (Epoch(12), Epoch(3)));
        assert_state(&state.database, &history);
        assert_eq!(state.recent.min(), Some(z(3, 1)));
        assert_eq!(state.recent.max(), Some(z(3, 5)));
        let newer = records(12, 1, 3);
        perform(&mut store, WriteOp::CurrentEpoch(Epoch(12)));
        append(&mut store, &newer);
        store.sync().expect("synced");
        history.extend(newer);
        let (store, state) = reopen(store);
        assert_eq!(state.current, Epoch(12));
        assert_state(&state.database, &history);
        assert_eq!(
            names(&store, Dir::Logs, "log."),
            ["log.300000001", "log.c00000001"]
        );
    }

    pub(super) fn what_was_not_synced_is_gone<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 6);
        append(&mut store, &history[..4]);
        store.sync().expect("synced");
        append(&mut store, &history[4..]);
        assert_eq!(store.last(), z(0, 6));
        let (_, state) = reopen(store);
        assert_state(&state.database, &history[..4]);
    }

    pub(super) fn a_full_file_is_followed_by_another<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 200);
        for batch in history.chunks(7) {
            append(&mut store, batch);
            store.sync().expect("synced");
        }
        assert!(names(&store, Dir::Logs, "log.").len() > 2);
        for name in names(&store, Dir::Logs, "log.") {
            assert!(store.files().len(Dir::Logs, &name).expect("exists") <= OPTIONS.prealloc_bytes);
        }
        let (_, state) = reopen(store);
        assert_state(&state.database, &history);
    }

    pub(super) fn files_have_exact_bytes<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 1);
        append(&mut store, &history);
        store.sync().expect("synced");
        let log = content(store.files(), Dir::Logs, "log.1");
        assert_eq!(log.len(), 8192);
        assert_eq!(log[..16], *b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0");
        let txn = &history[0].1;
        let end = 16 + 12 + txn.len();
        assert_eq!(
            log[16..24],
            u64::from(adler2::adler32_slice(txn)).to_be_bytes()
        );
        assert_eq!(log[24..28], (txn.len() as i32).to_be_bytes());
        assert_eq!(log[28..end], txn[..]);
        assert_eq!(log[end], b'B');
        assert!(log[end + 1..8192 - 1024].iter().all(|b| *b == 0));

        take_snapshot(&mut store, &history);
        let log = content(store.files(), Dir::Logs, "log.1");
        assert_eq!(log.len(), 4096);
        assert!(log[end + 1..4096 - 1024].iter().all(|b| *b == 0));
        let file = content(store.files(), Dir::Snapshots, "snapshot.1");
        assert_eq!(
            file[..16],
            *b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff"
        );
        let steps = snapshot_steps(&history, usize::MAX);
        let (SnapshotStep::Chunk(body), SnapshotStep::End { digest, .. }) = (&steps[1], &steps[2])
        else {
            panic!("one chunk");
        };
        let mut expected = file[..16].to_vec();
        expected.extend_from_slice(body);
        let seal = |file: &mut Vec<u8>| {
            file.extend(u64::from(adler2::adler32_slice(file)).to_be_bytes());
            file.extend(b"\0\0\0\x01/");
        };
        seal(&mut expected);
        expected.extend(1u64.to_be_bytes());
        expected.extend(2u32.to_be_bytes());
        expected.extend(digest.to_be_bytes());
        seal(&mut expected);
        expected.extend(1u64.to_be_bytes());
        seal(&mut expected);
        assert_eq!(file, expected);
    }

    pub(super) fn a_snapshot_replaces_old_logs<F: Files>(files: F) {
        let options = Options {
            snap_retain: 2,
            ..OPTIONS
        };
        let (mut store, _) = Store::open(files, options).expect("opened");
        let history = records(0, 1, 40);
        for end in [10, 20, 30] {
            append(&mut store, &history[end - 10..end]);
            take_snapshot(&mut store, &history[..end]);
        }
        append(&mut store, &history[30..]);
        store.sync().expect("synced");
        assert_eq!(
            names(&store, Dir::Snapshots, "snapshot."),
            ["snapshot.14", "snapshot.1e"]
        );
        assert_eq!(
            names(&store, Dir::Logs, "log."),
            ["log.1f", "log.b", "log.15"].sorted()
        );
        assert!(store.take_notes().is_empty());
        let (_, state) = reopen(store);
        assert_state(&state.database, &history);
        assert_eq!(state.recent.min(), Some(z(0, 31)));
    }

    pub(super) fn truncation_cuts_inside_a_file_and_removes_newer_ones<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let mut history = records(0, 1, 200);
        append(&mut store, &history);
        let after = Zxid(70);
        let op = WriteOp::Truncate { after };
        assert_eq!(store.perform(&op).expect("cut"), Performed::Reload);
        let state = store.reload().expect("loaded");
        history.truncate(70);
        assert_state(&state.database, &history);
        assert_eq!(store.last(), after);
        let newer = records(1, 1, 3);
        set_epochs(&mut store, 1);
        append(&mut store, &newer);
        store.sync().expect("synced");
        history.extend(newer);
        let (_, state) = reopen(store);
        assert_state(&state.database, &history);
    }

    pub(super) fn truncation_removes_snapshots_that_hold_what_is_cut<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 30);
        append(&mut store, &history[..20]);
        take_snapshot(&mut store, &history[..20]);
        append(&mut store, &history[20..]);
        let op = WriteOp::Truncate { after: Zxid(15) };
        assert_eq!(store.perform(&op).expect("cut"), Performed::Reload);
        let state = store.reload().expect("loaded");
        assert_state(&state.database, &history[..15]);
        assert_eq!(names(&store, Dir::Snapshots, "snapshot."), ["snapshot.0"]);
        let (_, state) = reopen(store);
        assert_state(&state.database, &history[..15]);
    }

    pub(super) fn truncation_before_the_oldest_snapshot_is_impossible<F: Files>(files: F) {
        let options = Options {
            snap_retain: 1,
            ..OPTIONS
        };
        let (mut store, _) = Store::open(files, options).expect("opened");
        let history = records(0, 1, 30);
        append(&mut store, &history[..20]);
        take_snapshot(&mut store, &history[..20]);
        append(&mut store, &history[20..]);
        let op = WriteOp::Truncate { after: Zxid(15) };
        assert_eq!(store.perform(&op).expect("refused"), Performed::Reload);
        let state = store.reload().expect("loaded");
        assert_state(&state.database, &history);
        let notes = store.take_notes().concat();
        assert!(notes.contains("oldest snapshot"), "{notes}");
        let (_, state) = reopen(store);
        assert_state(&state.database, &history);
    }

    pub(super) fn an_install_replaces_everything<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        set_epochs(&mut store, 1);
        let stray = records(1, 1, 60);
        append(&mut store, &stray);
        take_snapshot(&mut store, &stray);
        // The leader of epoch 3 never had the end of what this server has.
        let mut history = stray[..20].to_vec();
        perform(&mut store, WriteOp::AcceptedEpoch(Epoch(3)));
        install(&mut store, &history);
        assert_eq!(store.last(), z(1, 20));
        assert_eq!(
            names(&store, Dir::Snapshots, "snapshot."),
            ["snapshot.100000014"]
        );
        assert!(names(&store, Dir::Logs, "log.").is_empty());
        let newer = records(3, 1, 4);
        perform(&mut store, WriteOp::CurrentEpoch(Epoch(3)));
        append(&mut store, &newer);
        store.sync().expect("synced");
        history.extend(newer);
        let (store, state) = reopen(store);
        assert_state(&state.database, &history);
        assert_eq!((state.accepted, state.current), (Epoch(3), Epoch(3)));
        assert_eq!(names(&store, Dir::Logs, "log."), ["log.300000001"]);
    }

    pub(super) fn an_abandoned_install_leaves_everything<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 20);
        append(&mut store, &history[..10]);
        let mut steps = snapshot_steps(&history[..5], 100);
        steps.pop();
        for step in steps {
            perform(&mut store, WriteOp::Install(step));
        }
        perform(&mut store, WriteOp::Install(SnapshotStep::Abandon));
        append(&mut store, &history[10..]);
        store.sync().expect("synced");
        let (store, state) = reopen(store);
        assert_state(&state.database, &history);
        assert!(names(&store, Dir::Snapshots, "tmp").is_empty());
    }

    pub(super) fn an_overtaken_background_snapshot_has_no_effect<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 20);
        append(&mut store, &history);
        let steps = snapshot_steps(&history, 100);
        store.snapshot_step(&steps[0]).expect("begun");
        let op = WriteOp::Truncate { after: Zxid(12) };
        assert_eq!(store.perform(&op).expect("cut"), Performed::Reload);
        let _ = store.reload().expect("loaded");
        for step in &steps[1..] {
            store.snapshot_step(step).expect("ignored");
        }
        assert_eq!(names(&store, Dir::Snapshots, "snapshot."), ["snapshot.0"]);
        let (_, state) = reopen(store);
        assert_state(&state.database, &history[..12]);
    }

    /// A transaction that the others committed is applied before it is appended here.
    pub(super) fn a_snapshot_may_be_ahead_of_the_log<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let history = records(0, 1, 30);
        append(&mut store, &history[..15]);
        take_snapshot(&mut store, &history[..20]);
        let (mut store, state) = reopen(store);
        assert_state(&state.database, &history[..20]);
        append(&mut store, &history[20..]);
        store.sync().expect("synced");
        let (mut store, state) = reopen(store);
        assert_state(&state.database, &history);
        // The log alone does not lead beyond 15, so nothing between can be kept.
        let op = WriteOp::Truncate { after: Zxid(18) };
        assert_eq!(store.perform(&op).expect("refused"), Performed::Reload);
        assert_state(&store.reload().expect("loaded").database, &history);
        let (mut store, state) = reopen(store);
        assert_state(&state.database, &history);
        let op = WriteOp::Truncate { after: Zxid(22) };
        assert_eq!(store.perform(&op).expect("cut"), Performed::Reload);
        assert_state(&store.reload().expect("loaded").database, &history[..22]);
    }

    pub(super) fn a_large_record_gets_a_large_file<F: Files>(files: F) {
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        let mut history = records(0, 1, 2);
        history.push((z(0, 3), crate::tests::record(z(0, 3), 1 << 20, 9)));
        history.extend(records(0, 4, 5));
        append(&mut store, &history);
        store.sync().expect("synced");
        assert_eq!(names(&store, Dir::Logs, "log."), ["log.1", "log.3"]);
        let len = store.files().len(Dir::Logs, "log.3").expect("exists");
        assert!((1 << 20..(1 << 20) + 8192).contains(&len), "{len}");
        let (_, state) = reopen(store);
        assert_state(&state.database, &history);
    }
}

trait Sorted {
    fn sorted(self) -> Self;
}

impl<const N: usize> Sorted for [&str; N] {
    fn sorted(mut self) -> Self {
        self.sort_unstable();
        self
    }
}

#[test]
#[should_panic(expected = "does not follow")]
fn an_append_that_leaves_a_hole_is_a_broken_invariant() {
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    append(&mut store, &records(0, 2, 2));
}

#[test]
#[should_panic(expected = "does not follow")]
fn an_append_of_an_old_zxid_is_a_broken_invariant() {
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    append(&mut store, &records(0, 1, 2));
    append(&mut store, &records(0, 2, 2));
}

#[cfg(feature = "mutants")]
#[test]
fn mutants_do_what_they_are_named_for() {
    use vivarium_core::mutants::{Mutant, Mutants};

    let with = |mutant| Options {
        mutants: Mutants::with(mutant),
        ..OPTIONS
    };
    let history = records(1, 1, 5);
    let options = with(Mutant::EpochNotPersisted);
    let (mut store, _) = Store::open(MemFiles::new(), options).expect("opened");
    set_epochs(&mut store, 1);
    append(&mut store, &history);
    store.sync().expect("synced");
    perform(&mut store, WriteOp::AcceptedEpoch(Epoch(2)));
    let (_, state) = Store::open(store.into_files(), options).expect("opened");
    assert_eq!(state.accepted, Epoch(1), "the promise is forgotten");
    assert_state(&state.database, &history);

    let options = with(Mutant::TruncOffByOne);
    let (mut store, _) = Store::open(MemFiles::new(), options).expect("opened");
    set_epochs(&mut store, 1);
    append(&mut store, &history);
    let op = WriteOp::Truncate { after: z(1, 2) };
    assert_eq!(store.perform(&op).expect("cut"), Performed::Reload);
    assert_state(&store.reload().expect("loaded").database, &history[..3]);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused() {
    let data = Scratch::new();
    let logs = Scratch::new();
    let first = RealFiles::open(&data.0, &logs.0).expect("opened");
    let refused = RealFiles::open(&data.0, &data.0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    assert!(
        refused.to_string().contains("another server uses"),
        "{refused}"
    );
    let other = Scratch::new();
    let refused = RealFiles::open(&other.0, &logs.0).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    RealFiles::open(&data.0, &data.0).expect("free again");
}

#[test]
fn history_in_the_wrong_directory_is_refused() {
    let data = Scratch::new();
    let logs = Scratch::new();
    std::fs::create_dir(logs.0.join("version-2")).expect("made");
    std::fs::write(logs.0.join("version-2/snapshot.5"), b"").expect("written");
    let refused = RealFiles::open(&data.0, &logs.0).unwrap_err();
    assert!(
        refused
            .to_string()
            .contains("snapshot.5 belongs into dataDir"),
        "{refused}"
    );
}
