//! Bytes that change on disk, files that get lost: found, and named with file and offset.

use vivarium_core::boundary::WriteOp;
use vivarium_core::ids::{Epoch, Zxid};

use super::{
    History, Medium, OPTIONS, append, assert_state, on_both_media, records, take_snapshot,
};
use crate::mem::MemFiles;
use crate::{Dir, Files, StorageError, Store};

on_both_media!(
    no_bent_byte_of_a_log_costs_a_transaction,
    a_sector_of_zeros_in_synced_history_is_no_end,
    an_ended_log_file_is_strict_to_its_last_byte,
    zeros_at_the_end_of_an_epoch_are_no_end,
    no_bent_byte_of_the_only_snapshot_is_overlooked,
    a_half_written_newest_snapshot_is_passed_over,
    trailers_of_older_servers_may_be_missing,
    a_lost_log_file_is_a_hole,
    lost_snapshots_are_not_an_empty_server,
    epoch_files_must_fit_the_history,
);

/// A server that was stopped after five batches of four transactions.
fn stopped<M: Medium>() -> (M, History) {
    let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
    let history = records(0, 1, 20);
    for batch in history.chunks(4) {
        append(&mut store, batch);
        store.sync().expect("synced");
    }
    (store.into_files(), history)
}

/// One byte is not what it was.
fn bend<F: Files>(files: &mut F, dir: Dir, name: &str, at: u64, mask: u8) {
    let mut byte = [0];
    assert_eq!(files.read_at(dir, name, at, &mut byte).expect("read"), 1);
    byte[0] ^= mask;
    files.write_at(dir, name, at, &byte).expect("written");
    files.sync(dir, name).expect("synced");
}

fn open<M: Medium>(files: M) -> Result<Zxid, StorageError> {
    Store::open(files, OPTIONS).map(|(_, state)| state.database.applied())
}

#[track_caller]
fn assert_damaged<M: Medium>(files: M, file: &str, at: u64) {
    match open(files) {
        Err(e @ StorageError::Damaged { .. }) => {
            let text = e.to_string();
            let StorageError::Damaged { name, offset, .. } = e else {
                unreachable!()
            };
            assert_eq!(name, file);
            assert!(offset <= at, "{offset} names a place behind {at}");
            assert!(text.contains("move version-2 away"), "{text}");
        }
        other => panic!("{file} is bent at {at}, and it is {other:?}"),
    }
}

#[test]
fn after_a_power_loss_only_the_last_batch_can_be_in_doubt() {
    let (files, history) = stopped::<MemFiles>();
    let platter = files.platter();
    let batch = |n: usize| {
        history[..n]
            .iter()
            .map(|(_, txn)| txn.len() as u64 + 13)
            .sum::<u64>()
    };
    for at in 16..16 + batch(16) {
        let mut bent = platter.clone();
        bend(&mut bent, Dir::Logs, "log.1", at, 0x10);
        assert_damaged(bent, "log.1", at);
    }
    for at in 16 + batch(16)..16 + batch(20) {
        let mut bent = platter.clone();
        bend(&mut bent, Dir::Logs, "log.1", at, 0x10);
        assert!(open(bent).expect("torn") >= Zxid(16));
    }
}

mod on {
    use super::*;

    pub(super) fn no_bent_byte_of_a_log_costs_a_transaction<M: Medium>() {
        let (files, history) = stopped::<M>();
        let end = 16
            + history
                .iter()
                .map(|(_, txn)| txn.len() as u64 + 13)
                .sum::<u64>();
        let len = files.len(Dir::Logs, "log.1").expect("exists");
        for at in (0..len).step_by(M::STRIDE) {
            for mask in [0x01, 0x80] {
                let mut bent = files.copy();
                bend(&mut bent, Dir::Logs, "log.1", at, mask);
                if (8..16).contains(&at) || at >= end {
                    // The header's database id, the padding, or one of two marks.
                    assert_eq!(open(bent).expect("opened"), Zxid(20), "at {at}");
                } else {
                    assert_damaged(bent, "log.1", at);
                }
            }
        }
    }

    pub(super) fn a_sector_of_zeros_in_synced_history_is_no_end<M: Medium>() {
        let (files, _) = stopped::<M>();
        let mut bent = files.copy();
        bent.write_at(Dir::Logs, "log.1", 512, &[0; 512])
            .expect("written");
        assert_damaged(bent, "log.1", 512);
    }

    pub(super) fn an_ended_log_file_is_strict_to_its_last_byte<M: Medium>() {
        let (files, history) = stopped::<M>();
        let (store, _) = Store::open(files, OPTIONS).expect("opened");
        let files = store.into_files();
        let end = 16
            + history
                .iter()
                .map(|(_, txn)| txn.len() as u64 + 13)
                .sum::<u64>();
        for at in (16..end).step_by(M::STRIDE).chain([end - 1]) {
            let mut bent = files.copy();
            bend(&mut bent, Dir::Logs, "log.1", at, 0x04);
            assert_damaged(bent, "log.1", at);
        }
    }

    /// A new epoch begins wherever the old one ended, so its first transaction does not show that
    /// one before it is missing.
    pub(super) fn zeros_at_the_end_of_an_epoch_are_no_end<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        for op in [WriteOp::AcceptedEpoch, WriteOp::CurrentEpoch].map(|op| op(Epoch(2))) {
            let _ = store.perform(&op).expect("performed");
        }
        let history = records(1, 1, 20);
        append(&mut store, &history);
        store.sync().expect("synced");
        let (mut store, _) = Store::open(store.into_files(), OPTIONS).expect("opened again");
        append(&mut store, &records(2, 1, 3));
        store.sync().expect("synced");
        let files = store.into_files();
        let end = 16
            + history
                .iter()
                .map(|(_, txn)| txn.len() as u64 + 13)
                .sum::<u64>();
        for from in (16..end).step_by(M::STRIDE) {
            let mut bent = files.copy();
            let zeros = vec![0; (end - from) as usize];
            bent.write_at(Dir::Logs, "log.100000001", from, &zeros)
                .expect("written");
            assert_damaged(bent, "log.100000001", from);
        }
    }

    pub(super) fn no_bent_byte_of_the_only_snapshot_is_overlooked<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        let history = records(0, 1, 20);
        append(&mut store, &history);
        take_snapshot(&mut store, &history);
        let mut files = store.into_files();
        let len = files.len(Dir::Snapshots, "snapshot.14").expect("exists");
        // With the older snapshot and the logs: the message tells that nothing else is needed. Only
        // at the very end the file looks as if its writing was cut off.
        for at in (0..len).step_by(M::STRIDE) {
            let mut bent = files.copy();
            bend(&mut bent, Dir::Snapshots, "snapshot.14", at, 0x08);
            if at >= len - 5 {
                let (mut store, state) = Store::open(bent, OPTIONS).expect("opened");
                assert_state(&state.database, &history);
                let notes = store.take_notes().join("\n");
                assert!(notes.contains("snapshot.14 is not usable"), "{at}: {notes}");
                continue;
            }
            let refused = Store::open(bent.copy(), OPTIONS).unwrap_err().to_string();
            let advice =
                "move snapshot.14 out of version-2 and start again, snapshot.0 and the logs";
            assert!(refused.contains(advice), "{refused}");
            bent.remove(Dir::Snapshots, "snapshot.14").expect("removed");
            assert_eq!(open(bent).expect("as advised"), Zxid(20));
        }
        // Without: refused, although both snapshot.0 and the log are whole or gone.
        files.remove(Dir::Logs, "log.1").expect("removed");
        for at in (0..len).step_by(M::STRIDE) {
            let mut bent = files.copy();
            bend(&mut bent, Dir::Snapshots, "snapshot.14", at, 0x08);
            assert_damaged(bent, "snapshot.14", len);
        }
    }

    pub(super) fn a_half_written_newest_snapshot_is_passed_over<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        let history = records(0, 1, 20);
        append(&mut store, &history);
        take_snapshot(&mut store, &history);
        let mut files = store.into_files();
        let len = files.len(Dir::Snapshots, "snapshot.14").expect("exists");
        for keep in [0, 5, 16, 100, len - 60, len - 53, len - 40, len - 10] {
            files
                .set_len(Dir::Snapshots, "snapshot.14", keep)
                .expect("cut");
            let (_, state) = Store::open(files.copy(), OPTIONS).expect("opened");
            assert_state(&state.database, &history);
        }
    }

    pub(super) fn trailers_of_older_servers_may_be_missing<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        let history = records(0, 1, 20);
        append(&mut store, &history);
        take_snapshot(&mut store, &history);
        let mut files = store.into_files();
        let len = files.len(Dir::Snapshots, "snapshot.14").expect("exists");
        for trailers in [21, 21 + 33] {
            files
                .set_len(Dir::Snapshots, "snapshot.14", len - trailers)
                .expect("cut");
            let (mut store, state) = Store::open(files.copy(), OPTIONS).expect("opened");
            assert_state(&state.database, &history);
            assert_eq!(store.take_notes(), [""; 0]);
        }
    }

    pub(super) fn a_lost_log_file_is_a_hole<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        append(&mut store, &records(0, 1, 300));
        store.sync().expect("synced");
        let files = store.into_files();
        let logs: Vec<String> = files.list(Dir::Logs).expect("listed");
        assert!(logs.len() > 3);
        let mut sorted = logs;
        sorted.sort_by_key(|name| crate::names::parse_log(name));
        for name in &sorted[..sorted.len() - 1] {
            let mut bent = files.copy();
            bent.remove(Dir::Logs, name).expect("removed");
            let refused = open(bent).unwrap_err().to_string();
            assert!(refused.contains("those between are missing"), "{refused}");
        }
    }

    pub(super) fn lost_snapshots_are_not_an_empty_server<M: Medium>() {
        let (mut files, _) = stopped::<M>();
        files.remove(Dir::Snapshots, "snapshot.0").expect("removed");
        let refused = open(files.copy()).unwrap_err().to_string();
        assert!(refused.contains("there is no snapshot"), "{refused}");
        files.remove(Dir::Logs, "log.1").expect("removed");
        // Only epochs are left, and they say zero: a server that never did anything.
        assert_eq!(open(files.copy()).expect("fresh"), Zxid::ZERO);
        files
            .write_at(Dir::Snapshots, "acceptedEpoch", 0, b"4")
            .expect("written");
        let refused = open(files).unwrap_err().to_string();
        assert!(refused.contains("history is missing"), "{refused}");
    }

    pub(super) fn epoch_files_must_fit_the_history<M: Medium>() {
        type Outcome = Result<(i64, i64), &'static str>;
        let cases: [(&str, &str, Outcome); 7] = [
            ("3", "3", Ok((3, 3))),
            ("5", "3", Ok((5, 3))),
            ("3\n", "2", Ok((3, 3))),
            ("2", "2", Err("currentEpoch says 2")),
            ("3", "4", Err("acceptedEpoch says 3")),
            ("x", "3", Err("should hold one epoch number")),
            ("", "3", Err("should hold one epoch number")),
        ];
        for (accepted, current, expected) in cases {
            let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
            crate::tests::set_epochs(&mut store, 3);
            append(&mut store, &records(3, 1, 2));
            store.sync().expect("synced");
            let mut files = store.into_files();
            for (name, text) in [("acceptedEpoch", accepted), ("currentEpoch", current)] {
                files
                    .write_at(Dir::Snapshots, name, 0, text.as_bytes())
                    .expect("written");
                files
                    .set_len(Dir::Snapshots, name, text.len() as u64)
                    .expect("cut");
            }
            match (Store::open(files, OPTIONS), expected) {
                (Ok((store, state)), Ok((accepted, current))) => {
                    assert_eq!((state.accepted.0, state.current.0), (accepted, current));
                    let (_, again) = Store::open(store.into_files(), OPTIONS).expect("opened");
                    assert_eq!((again.accepted.0, again.current.0), (accepted, current));
                }
                (Err(e), Err(text)) => assert!(e.to_string().contains(text), "{e}"),
                (other, _) => panic!("{accepted:?} and {current:?}: {:?}", other.err()),
            }
        }
    }
}
