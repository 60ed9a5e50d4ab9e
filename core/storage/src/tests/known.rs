//! Failures of recovery that ZooKeeper is known for, and the test that shows that each can not
//! happen here. Those that need more than one server are in `core/tests/ensemble/known.rs`.

use vivarium_core::boundary::WriteOp;
use vivarium_core::ids::{Epoch, Zxid};

use super::{
    OPTIONS, append, assert_state, install, perform, records, set_epochs, snapshot_steps,
    take_snapshot, z,
};
use crate::log_format::{header, put_record};
use crate::mem::MemFiles;
use crate::{Dir, Files, Options, Performed, StorageError, Store};

/// Number, what ZooKeeper does or did, the test beside it.
const KNOWN: &[(u32, &str, &str)] = &[
    (
        582,
        "start-up takes epoch and zxid from the log alone, a newer snapshot is ignored",
        "a_snapshot_may_be_ahead_of_the_log",
    ),
    (
        1156,
        "TRUNC cuts one transaction too many or too few",
        "every_cut_is_exact",
    ),
    (
        1489,
        "after TRUNC the log is written on past a hole",
        "every_cut_is_exact",
    ),
    (
        1549,
        "what a snapshot holds survives TRUNC",
        "truncation_removes_snapshots_that_hold_what_is_cut",
    ),
    (
        1621,
        "an empty log file stops the start",
        "empty_files_and_headers_without_records_go_away",
    ),
    (
        1653,
        "a crash between the new history and currentEpoch stops the start",
        "epoch_files_must_fit_the_history",
    ),
    (
        1797,
        "a purge beside a roll removes the new log or snapshot",
        "a_purge_at_any_moment_leaves_what_the_start_needs",
    ),
    (
        1900,
        "TRUNC without a log file ends the thread",
        "a_cut_without_any_log_is_refused_in_words",
    ),
    (
        2307,
        "an epoch counts although its file could not be written",
        "an_epoch_that_could_not_be_written_stops_the_store",
    ),
    (
        2325,
        "lost snapshots are an empty database",
        "lost_snapshots_are_not_an_empty_server",
    ),
    (
        2332,
        "a log file whose header was not finished stops the start",
        "empty_files_and_headers_without_records_go_away",
    ),
    (
        2574,
        "a purge removes the log that begins before the oldest kept snapshot and goes on after it",
        "a_log_that_goes_on_after_the_oldest_kept_snapshot_stays",
    ),
    (
        2832,
        "the log's own tail is replayed over the leader's snapshot",
        "an_install_replaces_everything",
    ),
    (
        2846,
        "logs from before the leader's snapshot are sent to others as committed",
        "an_install_replaces_everything",
    ),
    (
        3056,
        "a directory of an old release without a snapshot can not be started",
        "logs_alone_start_where_they_are_trusted",
    ),
    (
        3231,
        "a purge counts broken snapshots among those that it keeps",
        "a_purge_counts_no_broken_snapshot",
    ),
    (
        3642,
        "half a snapshot of the leader is taken for the state",
        "an_install_cut_off_anywhere_never_mixes_two_histories",
    ),
    (
        3644,
        "logs that were trusted once have no snapshot the next time either",
        "logs_alone_start_where_they_are_trusted",
    ),
    (
        3701,
        "a TRUNC that failed on disk counts as done",
        "a_cut_that_fails_half_way_stops_the_store",
    ),
    (3781, "as 3644", "logs_alone_start_where_they_are_trusted"),
    (
        4269,
        "a lost rename of currentEpoch stops the start",
        "an_epoch_whose_rename_was_lost_is_found",
    ),
    (
        4643,
        "currentEpoch is on disk before the history that it stands for",
        "an_epoch_is_never_ahead_of_its_history",
    ),
    (
        4837,
        "TRUNC leaves snapshots that are newer than its target",
        "truncation_removes_snapshots_that_hold_what_is_cut",
    ),
    (
        4882,
        "after a failed write the server goes on with what only memory has",
        "a_failed_sync_is_never_forgotten",
    ),
    (
        0,
        "a lost log file in the middle is not noticed (developers' list, no number)",
        "a_lost_log_file_is_a_hole",
    ),
];

#[test]
fn every_known_failure_has_its_test() {
    let sources = [
        include_str!("known.rs"),
        include_str!("foreign.rs"),
        include_str!("rot.rs"),
        include_str!("crash.rs"),
    ];
    // The names of those that run on both kinds of files.
    let listed = |(source, opening): (&'static str, &str)| {
        let (_, both) = source.split_once(opening).expect("a list");
        both.split_once(");").expect("the list ends").0.lines()
    };
    let both: Vec<&str> = [
        (include_str!("suite.rs"), "on_both!(\n"),
        (include_str!("foreign.rs"), "on_both_media!(\n"),
        (include_str!("rot.rs"), "on_both_media!(\n"),
    ]
    .into_iter()
    .flat_map(listed)
    .collect();
    for (number, failure, name) in KNOWN {
        let test = format!("#[test]\nfn {name}() {{");
        let is_there = sources.iter().any(|source| source.contains(&test))
            || both.iter().any(|line| line.trim() == format!("{name},"));
        assert!(is_there, "{number} ({failure}): no test {name}");
    }
    assert!(
        KNOWN
            .iter()
            .map(|(number, ..)| number)
            .is_sorted_by_key(|n| (*n == 0, *n))
    );
}

#[test]
fn every_cut_is_exact() {
    let mut files = Vec::new();
    let history = records(0, 1, 60);
    // One with all in one file, one with a file for each batch, one with a snapshot between.
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    append(&mut store, &history);
    store.sync().expect("synced");
    files.push(store.into_files());
    let mut all = MemFiles::new();
    for batch in history.chunks(7) {
        let (mut store, _) = Store::open(all, OPTIONS).expect("opened");
        append(&mut store, batch);
        store.sync().expect("synced");
        all = store.into_files();
    }
    files.push(all);
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    append(&mut store, &history[..30]);
    take_snapshot(&mut store, &history[..30]);
    append(&mut store, &history[30..]);
    store.sync().expect("synced");
    files.push(store.into_files());
    for (kind, files) in files.into_iter().enumerate() {
        for after in 0..=60 {
            let (mut store, _) = Store::open(files.clone(), OPTIONS).expect("opened");
            let after = Zxid(after);
            let cut = store.perform(&WriteOp::Truncate { after });
            assert_eq!(cut.expect("cut"), Performed::Reload);
            let mut expected = history[..after.0 as usize].to_vec();
            assert_state(&store.reload().expect("loaded").database, &expected);
            set_epochs(&mut store, 1);
            let newer = records(1, 1, 3);
            append(&mut store, &newer);
            store.sync().expect("synced");
            expected.extend(newer);
            let platter = store.into_files().platter();
            let (_, state) = Store::open(platter, OPTIONS).expect("opened");
            let at = format!("kind {kind} cut after {after}");
            assert_eq!(state.database.applied(), z(1, 3), "{at}");
            assert_eq!(
                state.database.digest(),
                super::database_of(&expected).digest(),
                "{at}"
            );
        }
    }
}

#[test]
fn a_cut_without_any_log_is_refused_in_words() {
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    let history = records(0, 1, 20);
    install(&mut store, &history);
    let files = store.into_files();
    assert!(files.list(Dir::Logs).expect("listed").is_empty());
    let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
    let op = WriteOp::Truncate { after: Zxid(12) };
    assert_eq!(store.perform(&op).expect("refused"), Performed::Reload);
    assert_state(&store.reload().expect("loaded").database, &history);
    let notes = store.take_notes().concat();
    assert!(notes.contains("can not be cut after 0xc"), "{notes}");
}

/// Files that refuse to change some of them.
struct Stubborn {
    files: MemFiles,
    /// Names with this in them.
    refused: Option<&'static str>,
}

impl Stubborn {
    fn ask(&self, name: &str) -> std::io::Result<()> {
        match self.refused {
            Some(part) if name.contains(part) => Err(std::io::Error::other("no")),
            _ => Ok(()),
        }
    }
}

impl Files for Stubborn {
    fn list(&self, dir: Dir) -> std::io::Result<Vec<String>> {
        self.files.list(dir)
    }
    fn len(&self, dir: Dir, name: &str) -> std::io::Result<u64> {
        self.files.len(dir, name)
    }
    fn read_at(&self, dir: Dir, name: &str, at: u64, buf: &mut [u8]) -> std::io::Result<usize> {
        self.files.read_at(dir, name, at, buf)
    }
    fn write_at(&mut self, dir: Dir, name: &str, at: u64, bytes: &[u8]) -> std::io::Result<()> {
        self.ask(name)?;
        self.files.write_at(dir, name, at, bytes)
    }
    fn set_len(&mut self, dir: Dir, name: &str, len: u64) -> std::io::Result<()> {
        self.ask(name)?;
        self.files.set_len(dir, name, len)
    }
    fn sync(&mut self, dir: Dir, name: &str) -> std::io::Result<()> {
        self.files.sync(dir, name)
    }
    fn sync_dir(&mut self, dir: Dir) -> std::io::Result<()> {
        self.files.sync_dir(dir)
    }
    fn rename(&mut self, dir: Dir, from: &str, to: &str) -> std::io::Result<()> {
        self.files.rename(dir, from, to)
    }
    fn remove(&mut self, dir: Dir, name: &str) -> std::io::Result<()> {
        self.ask(name)?;
        self.files.remove(dir, name)
    }
}

fn stubborn() -> Store<Stubborn> {
    let files = Stubborn {
        files: MemFiles::new(),
        refused: None,
    };
    let (store, _) = Store::open(files, OPTIONS).expect("opened");
    store
}

#[test]
fn an_epoch_that_could_not_be_written_stops_the_store() {
    let mut store = stubborn();
    set_epochs(&mut store, 1);
    store.files_mut().refused = Some("acceptedEpoch");
    let refused = store.perform(&WriteOp::AcceptedEpoch(Epoch(2)));
    assert!(matches!(refused, Err(StorageError::Io { .. })));
    store.files_mut().refused = None;
    for op in [
        WriteOp::AcceptedEpoch(Epoch(2)),
        WriteOp::CurrentEpoch(Epoch(2)),
    ] {
        let refused = store.perform(&op);
        assert!(matches!(refused, Err(StorageError::FailedBefore)));
    }
    let (_, state) = Store::open(store.into_files().files.platter(), OPTIONS).expect("opened");
    assert_eq!((state.accepted, state.current), (Epoch(1), Epoch(1)));
}

#[test]
fn a_cut_that_fails_half_way_stops_the_store() {
    let mut store = stubborn();
    let history = records(0, 1, 200);
    append(&mut store, &history);
    store.sync().expect("synced");
    // Later files go, the one that is to be cut does not change.
    store.files_mut().refused = Some("log.1");
    let after = Zxid(10);
    let failed = store.perform(&WriteOp::Truncate { after });
    assert!(matches!(failed, Err(StorageError::Io { .. })));
    assert!(matches!(store.reload(), Err(StorageError::FailedBefore)));
    let (mut store, state) =
        Store::open(store.into_files().files.platter(), OPTIONS).expect("opened");
    let left = state.database.applied().0 as usize;
    assert!((11..200).contains(&left), "{left}");
    assert_state(&state.database, &history[..left]);
    assert_eq!(
        store.perform(&WriteOp::Truncate { after }).expect("cut"),
        Performed::Reload
    );
    assert_state(&store.reload().expect("loaded").database, &history[..10]);
}

#[test]
fn a_log_that_goes_on_after_the_oldest_kept_snapshot_stays() {
    // ZooKeeper rolls the log when a snapshot begins, but may take one without a roll.
    let history = records(0, 1, 60);
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    for end in [20, 30, 40, 50] {
        install(&mut store, &history[..end]);
        let mut files = store.into_files();
        let name = format!("snapshot.{end:x}");
        files
            .rename(Dir::Snapshots, &name, &format!("kept.{end:x}"))
            .expect("renamed");
        store = Store::open(files, OPTIONS).expect("opened").0;
    }
    let mut files = store.into_files();
    for end in [20, 30, 40, 50] {
        let (from, to) = (format!("kept.{end:x}"), format!("snapshot.{end:x}"));
        files.rename(Dir::Snapshots, &from, &to).expect("renamed");
    }
    for (name, from, to) in [("log.1", 1, 15), ("log.10", 16, 44), ("log.2d", 45, 60)] {
        let mut bytes = header().to_vec();
        for (_, txn) in records(0, from, to) {
            put_record(&txn, &mut bytes);
        }
        files.write_at(Dir::Logs, name, 0, &bytes).expect("written");
    }
    let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
    assert!(store.purge() > 0);
    let mut files = store.into_files();
    assert_eq!(files.list(Dir::Logs).expect("listed"), ["log.10", "log.2d"]);
    // Any of the kept snapshots leads to the end, the oldest, too.
    for newer in ["snapshot.32", "snapshot.28"] {
        let (_, state) = Store::open(files.clone(), OPTIONS).expect("opened");
        assert_state(&state.database, &history);
        files.remove(Dir::Snapshots, newer).expect("removed");
    }
    let (_, state) = Store::open(files, OPTIONS).expect("opened");
    assert_state(&state.database, &history);
}

#[test]
fn a_purge_at_any_moment_leaves_what_the_start_needs() {
    let options = Options {
        snap_retain: 1,
        ..OPTIONS
    };
    let history = records(0, 1, 80);
    let (mut store, _) = Store::open(MemFiles::new(), options).expect("opened");
    let check = |store: &Store<MemFiles>, last: usize| {
        let platter = store.files().platter();
        let (_, state) = Store::open(platter, options).expect("opened");
        assert_state(&state.database, &history[..last]);
    };
    for end in (20..=80).step_by(20) {
        append(&mut store, &history[end - 20..end]);
        store.purge();
        store.sync().expect("synced");
        store.purge();
        check(&store, end);
        for step in snapshot_steps(&history[..end], 300) {
            store.snapshot_step(&step).expect("stored");
            store.purge();
            check(&store, end);
        }
    }
}

#[test]
fn logs_alone_start_where_they_are_trusted() {
    let trusting = Options {
        trust_empty: true,
        ..OPTIONS
    };
    for epoch in [0, 1] {
        let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
        set_epochs(&mut store, epoch);
        let history = records(epoch, 1, 100);
        append(&mut store, &history);
        store.sync().expect("synced");
        let mut files = store.into_files();
        files.remove(Dir::Snapshots, "snapshot.0").expect("removed");
        let refused = Store::open(files.clone(), OPTIONS).unwrap_err().to_string();
        assert!(refused.contains("snapshot.trust.empty=true"), "{refused}");
        let (mut store, state) = Store::open(files.clone(), trusting).expect("opened");
        assert_state(&state.database, &history);
        assert_eq!(
            (state.accepted, state.current),
            (Epoch(epoch), Epoch(epoch))
        );
        assert!(store.take_notes().concat().contains("believed"));
        // There is a snapshot now, so nobody has to be trusted any more.
        let (_, state) = Store::open(store.into_files().platter(), OPTIONS).expect("opened");
        assert_state(&state.database, &history);
        // Not even then is it believed that nothing came before the middle.
        let logs = files.list(Dir::Logs).expect("listed");
        let first = logs.iter().min_by_key(|name| crate::names::parse_log(name));
        files
            .remove(Dir::Logs, first.expect("some"))
            .expect("removed");
        let refused = Store::open(files, trusting).unwrap_err().to_string();
        assert!(refused.contains("those between are missing"), "{refused}");
    }
    // Epochs alone are a lost history for those who trust, too.
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    set_epochs(&mut store, 3);
    let mut files = store.into_files();
    files.remove(Dir::Snapshots, "snapshot.0").expect("removed");
    let refused = Store::open(files, trusting).unwrap_err().to_string();
    assert!(refused.contains("history is missing"), "{refused}");
}

#[test]
fn an_epoch_whose_rename_was_lost_is_found() {
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    set_epochs(&mut store, 2);
    append(&mut store, &records(2, 1, 3));
    append(&mut store, &records(5, 1, 3));
    store.sync().expect("synced");
    let mut files = store.into_files();
    // Without the promise nothing says that the two belong together.
    let refused = Store::open(files.clone(), OPTIONS).unwrap_err().to_string();
    assert!(refused.contains("currentEpoch says 2"), "{refused}");
    // With a promise that is lost, too, the temporary file tells; without, it is not needed.
    let tmp = "currentEpoch.tmp";
    files
        .write_at(Dir::Snapshots, tmp, 0, b"5")
        .expect("written");
    let refused = Store::open(files.clone(), OPTIONS).unwrap_err().to_string();
    assert!(refused.contains("acceptedEpoch says 2"), "{refused}");
    files
        .write_at(Dir::Snapshots, "acceptedEpoch", 0, b"5")
        .expect("written");
    for name in [None, Some(tmp)] {
        let mut files = files.clone();
        if let Some(name) = name {
            files.remove(Dir::Snapshots, name).expect("removed");
        }
        let (_, state) = Store::open(files, OPTIONS).expect("opened");
        assert_eq!((state.accepted, state.current), (Epoch(5), Epoch(5)));
    }
    files
        .remove(Dir::Snapshots, "acceptedEpoch")
        .expect("removed");
    let (_, state) = Store::open(files, OPTIONS).expect("opened");
    assert_eq!((state.accepted, state.current), (Epoch(5), Epoch(5)));
}

#[test]
fn an_epoch_is_never_ahead_of_its_history() {
    let (mut store, _) = Store::open(MemFiles::new(), OPTIONS).expect("opened");
    set_epochs(&mut store, 1);
    let history = records(1, 1, 9);
    append(&mut store, &history);
    perform(&mut store, WriteOp::AcceptedEpoch(Epoch(2)));
    let newer = records(1, 10, 12);
    append(&mut store, &newer);
    perform(&mut store, WriteOp::CurrentEpoch(Epoch(2)));
    let platter = store.into_files().platter();
    let (_, state) = Store::open(platter, OPTIONS).expect("opened");
    assert_eq!(state.current, Epoch(2));
    assert_state(&state.database, &records(1, 1, 12));
}
