//! The model keeps what was synced, and loses the rest in every way that it should.

use super::*;

const D: Dir = Dir::Logs;

fn content(files: &MemFiles, name: &str) -> Vec<u8> {
    let mut out = vec![0; files.len(D, name).expect("exists") as usize];
    let n = files.read_at(D, name, 0, &mut out).expect("exists");
    assert_eq!(n, out.len());
    out
}

/// A file "a" that holds four stable sectors of ones.
fn stable() -> MemFiles {
    let mut files = MemFiles::new();
    files.write_at(D, "a", 0, &[1; 2048]).expect("written");
    files.sync(D, "a").expect("synced");
    files.sync_dir(D).expect("synced");
    assert!(files.is_stable());
    files
}

#[test]
fn readers_see_pending_writes_and_a_crash_may_lose_them() {
    let mut files = stable();
    files.write_at(D, "a", 2000, &[2; 100]).expect("written");
    files.set_len(D, "a", 2050).expect("cut");
    files.write_at(D, "a", 2060, &[3]).expect("written");
    let seen = content(&files, "a");
    assert_eq!(seen.len(), 2061);
    assert_eq!(
        (seen[1999], seen[2000], seen[2049], seen[2050], seen[2060]),
        (1, 2, 2, 0, 3)
    );
    assert_eq!(content(&files.platter(), "a"), [1; 2048]);
    let mut kept = files.clone();
    kept.crash(|_, below| below - 1);
    assert_eq!(content(&kept, "a"), seen);
    files.sync(D, "a").expect("synced");
    assert_eq!(content(&files.platter(), "a"), seen);
}

#[test]
fn a_name_is_lost_until_its_directory_is_synced() {
    let mut files = stable();
    files.write_at(D, "b.tmp", 0, b"x").expect("written");
    files.sync(D, "b.tmp").expect("synced");
    files.rename(D, "b.tmp", "a").expect("renamed");
    assert_eq!(content(&files, "a"), b"x");
    assert_eq!(content(&files.platter(), "a").len(), 2048);
    files.sync_dir(D).expect("synced");
    assert_eq!(content(&files.platter(), "a"), b"x");
    files.remove(D, "a").expect("removed");
    assert_eq!(
        files.len(D, "a").unwrap_err().kind(),
        io::ErrorKind::NotFound
    );
    assert_eq!(content(&files.platter(), "a"), b"x");
}

#[test]
fn sectors_survive_each_for_itself_and_synced_bytes_always() {
    let mut files = stable();
    files.write_at(D, "a", 500, &[2; 1000]).expect("written");
    let mut turn = 0;
    files.crash(|choice, _| match choice {
        Choice::Sector(..) => {
            turn += 1;
            turn % 2
        }
        _ => 0,
    });
    let seen = content(&files, "a");
    assert_eq!((seen[499], seen[500], seen[511]), (1, 2, 2));
    assert_eq!(
        (seen[512], seen[1023], seen[1024], seen[1499], seen[1500]),
        (1, 1, 2, 2, 1)
    );
}

#[test]
fn the_last_sector_of_a_prefix_may_be_spoilt_but_nothing_before_it() {
    for manner in [1, 2] {
        let mut files = stable();
        files.write_at(D, "a", 500, &[2; 1000]).expect("written");
        files.crash(|choice, below| match choice {
            Choice::Manner(..) => manner,
            Choice::Bytes(..) => 600,
            _ => below - 1,
        });
        let seen = content(&files, "a");
        assert_eq!(seen[..500], [1; 500]);
        assert_eq!(seen[500..1024], [2; 524]);
        assert_ne!(seen[1024..1100], [2; 76]);
        assert_eq!(seen[1100..], [1; 948]);
    }
}

#[test]
fn rot_changes_one_stable_byte() {
    let mut files = stable();
    assert!(files.rot(D, "a", 7, 0x10));
    assert!(!files.rot(D, "a", 2048, 1));
    assert!(!files.rot(D, "b", 0, 1));
    assert_eq!(content(&files, "a")[7], 0x11);
}

#[test]
fn names_survive_each_for_itself() {
    for lost in 0..3 {
        let mut files = stable();
        files.write_at(D, "b", 0, b"x").expect("written");
        files.sync(D, "b").expect("synced");
        files.rename(D, "b", "c").expect("renamed");
        files.remove(D, "a").expect("removed");
        let mut turn = 0;
        files.crash(|choice, below| match choice {
            Choice::Name(_) => {
                turn += 1;
                u64::from(turn - 1 != lost)
            }
            _ => below - 1,
        });
        // A rename that survives needs no creation before it.
        let left = [vec!["c"], vec!["b"], vec!["a", "c"]];
        assert_eq!(files.list(D).expect("listed"), left[lost]);
    }
}

#[test]
fn a_sector_of_4096_bytes_survives_as_one() {
    let mut files = MemFiles::with_sectors(4096);
    files.write_at(D, "a", 0, &[1; 10_000]).expect("written");
    files.sync(D, "a").expect("synced");
    files.sync_dir(D).expect("synced");
    files.write_at(D, "a", 4000, &[2; 5000]).expect("written");
    let mut turn = 0;
    files.crash(|choice, _| match choice {
        Choice::Sector(..) => {
            turn += 1;
            turn % 2
        }
        _ => 0,
    });
    let seen = content(&files, "a");
    assert_eq!(turn, 3);
    assert_eq!(
        (seen[4095], seen[4096], seen[8191], seen[8192]),
        (2, 1, 1, 2)
    );
}

#[test]
fn after_a_failed_sync_a_later_one_writes_only_what_is_written_again() {
    let mut files = stable();
    files.write_at(D, "a", 0, &[2; 1024]).expect("written");
    assert!(files.fail_sync(D, "a", |_, _| 0));
    assert!(!files.fail_sync(D, "b", |_, _| 0));
    assert_eq!(content(&files, "a")[..1024], [2; 1024]);
    files.sync(D, "a").expect("it says");
    assert!(!files.is_stable());
    files.write_at(D, "a", 512, &[2; 512]).expect("written");
    files.sync(D, "a").expect("synced");
    let seen = content(&files.platter(), "a");
    assert_eq!(
        (seen[0], seen[511], seen[512], seen[1023], seen[1024]),
        (1, 1, 2, 2, 1)
    );
    files.write_at(D, "a", 0, &[2; 512]).expect("written");
    files.sync(D, "a").expect("synced");
    assert!(files.is_stable());
    assert_eq!(content(&files, "a")[..1024], [2; 1024]);
}
