//! Directories as ZooKeeper leaves them: padded files, torn records inside the history, snapshots
//! under way, repeated records.

use vivarium_core::ids::Zxid;

use super::{Medium, OPTIONS, append, assert_state, on_both_media, records, take_snapshot};
use crate::log_format::{header, put_record};
use crate::{Dir, Files, Options, Packing, StorageError, Store};

on_both_media!(
    padded_and_unpadded_files_follow_each_other,
    a_torn_record_is_passed_over_where_the_next_file_goes_on,
    a_whole_record_with_a_wrong_checksum_is_refused_even_at_the_end,
    whole_records_behind_a_broken_one_are_refused,
    empty_files_and_headers_without_records_go_away,
    a_record_repeated_byte_by_byte_counts_once,
    a_broken_packed_snapshot_is_named_unless_the_logs_cover_it,
    packed_snapshots_are_written_read_and_purged,
    rot_in_a_packed_snapshot_stops_the_server,
    a_purge_counts_no_broken_snapshot,
);

/// A directory with a snapshot of nothing and these log files, stable.
fn directory<M: Medium>(logs: &[(&str, Vec<u8>)]) -> M {
    let (store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
    let mut files = store.into_files();
    for (name, bytes) in logs {
        files.write_at(Dir::Logs, name, 0, bytes).expect("written");
        files.sync(Dir::Logs, name).expect("synced");
    }
    files.sync_dir(Dir::Logs).expect("synced");
    files
}

/// A log file of these transactions of epoch 0, and then `tail`.
fn log(from: u32, to: u32, tail: &[u8]) -> Vec<u8> {
    let mut out = header().to_vec();
    for (_, txn) in records(0, from, to) {
        put_record(&txn, &mut out);
    }
    out.extend_from_slice(tail);
    out
}

fn framed(n: u32) -> Vec<u8> {
    let mut out = Vec::new();
    put_record(&records(0, n, n)[0].1, &mut out);
    out
}

fn snapshots<F: Files>(files: &F) -> Vec<String> {
    let names = files.list(Dir::Snapshots).expect("listed");
    let is_snapshot = |name: &String| name.starts_with("snapshot.");
    names.into_iter().filter(is_snapshot).collect()
}

mod on {
    use super::*;

    pub(super) fn padded_and_unpadded_files_follow_each_other<M: Medium>() {
        let files = directory::<M>(&[
            ("log.1", log(1, 5, &[0; 5000])),
            ("log.6", log(6, 9, &[])),
            ("log.a", log(10, 12, &[0; 7])),
        ]);
        let (store, state) = Store::open(files, OPTIONS).expect("opened");
        assert_state(&state.database, &records(0, 1, 12));
        let files = store.into_files();
        assert_eq!(
            files.len(Dir::Logs, "log.a").expect("exists"),
            log(10, 12, &[0; 7]).len() as u64
        );
    }

    pub(super) fn a_torn_record_is_passed_over_where_the_next_file_goes_on<M: Medium>() {
        let torn = &framed(6)[..40];
        let files = directory::<M>(&[("log.1", log(1, 5, torn)), ("log.6", log(6, 9, torn))]);
        let (mut store, state) = Store::open(files, OPTIONS).expect("opened");
        assert_state(&state.database, &records(0, 1, 9));
        assert!(
            store
                .take_notes()
                .join("\n")
                .contains("log.6 had a torn end")
        );
        append(&mut store, &records(0, 10, 12));
        store.sync().expect("synced");
        let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
        assert_state(&state.database, &records(0, 1, 12));
    }

    pub(super) fn a_whole_record_with_a_wrong_checksum_is_refused_even_at_the_end<M: Medium>() {
        let mut bent = framed(6);
        bent[50] ^= 1;
        let files = directory::<M>(&[("log.1", log(1, 5, &bent))]);
        let refused = Store::open(files, OPTIONS).unwrap_err();
        let StorageError::Damaged {
            name,
            offset,
            problem,
            ..
        } = refused
        else {
            panic!("{refused}");
        };
        assert_eq!(
            (name.as_str(), offset),
            ("log.1", log(1, 5, &[]).len() as u64)
        );
        assert!(problem.contains("0x5"), "{problem}");
    }

    pub(super) fn whole_records_behind_a_broken_one_are_refused<M: Medium>() {
        let mut tail = framed(6);
        tail[10] = 0x7f;
        tail.extend(framed(7));
        tail.extend(framed(8));
        let refused =
            Store::open(directory::<M>(&[("log.1", log(1, 5, &tail))]), OPTIONS).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("at least 2 whole records follow"),
            "{refused}"
        );
        let mut tail = vec![0; 600];
        tail.extend(framed(7));
        let refused =
            Store::open(directory::<M>(&[("log.1", log(1, 5, &tail))]), OPTIONS).unwrap_err();
        assert!(
            refused
                .to_string()
                .contains("at least 1 whole records follow"),
            "{refused}"
        );
    }

    pub(super) fn empty_files_and_headers_without_records_go_away<M: Medium>() {
        for tail in [
            Vec::new(),
            header().to_vec(),
            header()[..9].to_vec(),
            vec![0; 100],
        ] {
            let files = directory::<M>(&[("log.1", log(1, 5, &[])), ("log.6", tail)]);
            let (mut store, state) = Store::open(files, OPTIONS).expect("opened");
            assert_state(&state.database, &records(0, 1, 5));
            append(&mut store, &records(0, 6, 7));
            store.sync().expect("synced");
            let (_, state) = Store::open(store.into_files(), OPTIONS).expect("opened");
            assert_state(&state.database, &records(0, 1, 7));
        }
    }

    pub(super) fn a_record_repeated_byte_by_byte_counts_once<M: Medium>() {
        let mut tail = framed(5);
        tail.extend(framed(6));
        let (_, state) =
            Store::open(directory::<M>(&[("log.1", log(1, 5, &tail))]), OPTIONS).expect("opened");
        assert_state(&state.database, &records(0, 1, 6));
        let refused =
            Store::open(directory::<M>(&[("log.1", log(1, 5, &framed(3)))]), OPTIONS).unwrap_err();
        assert!(refused.to_string().contains("goes backwards"), "{refused}");
    }

    pub(super) fn a_broken_packed_snapshot_is_named_unless_the_logs_cover_it<M: Medium>() {
        let mut files = directory::<M>(&[("log.1", log(1, 5, &[]))]);
        files
            .write_at(Dir::Snapshots, "snapshot.3.gz", 0, b"\x1f\x8b")
            .expect("written");
        let (_, state) = Store::open(files.copy(), OPTIONS).expect("opened");
        assert_state(&state.database, &records(0, 1, 5));
        files
            .write_at(Dir::Snapshots, "snapshot.9.snappy", 0, b"x")
            .expect("written");
        let refused = Store::open(files, OPTIONS).unwrap_err().to_string();
        assert!(
            refused.contains("snapshot.9.snappy") && refused.contains("ends too early"),
            "{refused}"
        );
    }

    pub(super) fn packed_snapshots_are_written_read_and_purged<M: Medium>() {
        for packing in [Packing::Gzip, Packing::Snappy] {
            let options = Options { packing, ..OPTIONS };
            let (mut store, _) = Store::open(M::fresh(), options).expect("opened");
            let history = records(0, 1, 50);
            for end in [10, 20, 30, 40] {
                append(&mut store, &history[end - 10..end]);
                take_snapshot(&mut store, &history[..end]);
            }
            append(&mut store, &history[40..]);
            store.sync().expect("synced");
            let files = store.into_files();
            let end = packing.suffix();
            let kept = ["14", "1e", "28"].map(|zxid| format!("snapshot.{zxid}{end}"));
            assert_eq!(snapshots(&files), kept);
            // Whatever the setting is now, all are read, and replaced one by one.
            let (mut store, state) = Store::open(files, OPTIONS).expect("opened");
            assert_state(&state.database, &history);
            take_snapshot(&mut store, &history);
            let names = snapshots(store.files());
            assert_eq!(names[..2], kept[1..], "the newest three stay");
            assert_eq!(names[2], "snapshot.32");
        }
    }

    pub(super) fn rot_in_a_packed_snapshot_stops_the_server<M: Medium>() {
        let options = Options {
            packing: Packing::Gzip,
            ..OPTIONS
        };
        let (mut store, _) = Store::open(M::fresh(), options).expect("opened");
        let history = records(0, 1, 10);
        append(&mut store, &history);
        take_snapshot(&mut store, &history);
        let mut files = store.into_files();
        let at = files.len(Dir::Snapshots, "snapshot.a.gz").expect("there") / 2;
        files
            .write_at(Dir::Snapshots, "snapshot.a.gz", at, b"rot")
            .expect("written");
        for name in files.list(Dir::Logs).expect("listed") {
            files.remove(Dir::Logs, &name).expect("removed");
        }
        let refused = Store::open(files, options).unwrap_err().to_string();
        assert!(refused.contains("snapshot.a.gz"), "{refused}");
    }

    pub(super) fn a_purge_counts_no_broken_snapshot<M: Medium>() {
        let (mut store, _) = Store::open(M::fresh(), OPTIONS).expect("opened");
        let history = records(0, 1, 60);
        append(&mut store, &history[..10]);
        take_snapshot(&mut store, &history[..10]);
        append(&mut store, &history[10..20]);
        take_snapshot(&mut store, &history[..20]);
        let mut files = store.into_files();
        files
            .set_len(Dir::Snapshots, "snapshot.14", 300)
            .expect("cut");
        let (mut store, _) = Store::open(files, OPTIONS).expect("opened");
        for end in [30, 40] {
            append(&mut store, &history[end - 10..end]);
            take_snapshot(&mut store, &history[..end]);
        }
        let kept = snapshots(store.files());
        // Three that are whole: 10, 30 and 40. The broken one lies between.
        assert_eq!(
            kept,
            ["snapshot.14", "snapshot.1e", "snapshot.28", "snapshot.a"]
        );
        assert_eq!(store.last(), Zxid(40));
    }
}
