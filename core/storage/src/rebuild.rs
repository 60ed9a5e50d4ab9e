//! Makes the content of a new data directory from a state: what a restore leaves behind.
//!
//! Knows nothing of where the state comes from. Refuses to add to a directory that has a history.

use vivarium_core::database::Database;
use vivarium_core::ids::Epoch;
use vivarium_core::mutants::Mutants;

use crate::epochs;
use crate::error::StorageError;
use crate::files::{Dir, Files};
use crate::names;
use crate::packing::Packing;
use crate::recover::inventory;
use crate::snapshot;

/// Writes one snapshot of `database` and both epochs into an empty directory; all of it is stable
/// when this returns.
///
/// The snapshot gets its name last. After a crash before that there are epochs without a history,
/// with which no server starts: a half-made directory is never taken for a whole one.
///
/// # Errors
/// `Inconsistent` if the directory holds history or epochs already, or if the epochs do not fit the
/// state; and the file system's.
pub fn write_state<F: Files>(
    files: &mut F,
    database: &mut Database,
    accepted: Epoch,
    current: Epoch,
) -> Result<(), StorageError> {
    let refuse = |problem: String| {
        Err(StorageError::Inconsistent {
            problem,
            cure: "write into an empty directory".to_owned(),
        })
    };
    let found = inventory(files)?;
    let others = found.snapshots.iter().map(|(_, name)| name);
    if let Some(name) = others
        .chain(found.logs.iter().map(|file| &file.name))
        .next()
    {
        return refuse(format!("{name} is there already"));
    }
    let reached = database.applied().epoch();
    if accepted < current || current < reached {
        return refuse(format!(
            "accepted epoch {accepted}, current epoch {current} and a history up to epoch \
             {reached} do not fit together"
        ));
    }
    epochs::write_accepted(files, accepted, Mutants::NONE)?;
    epochs::write_current(files, current, Mutants::NONE)?;
    files
        .sync_dir(Dir::Logs)
        .map_err(|source| StorageError::Io {
            verb: "sync",
            dir: Dir::Logs,
            name: "the directory".to_owned(),
            source,
        })?;
    snapshot::write_database(files, names::BACKGROUND_TMP, Packing::Plain, database)
}

#[cfg(test)]
mod tests {
    use vivarium_core::ids::Zxid;

    use super::*;
    use crate::inspect::check_up;
    use crate::mem::MemFiles;

    fn database(zxid: Zxid) -> Database {
        let mut database = Database::new(1, Mutants::NONE);
        database.set_applied(zxid);
        database
    }

    #[test]
    fn a_written_state_is_what_a_start_finds() {
        let mut files = MemFiles::default();
        let zxid = Zxid::new(Epoch(3), 7);
        write_state(&mut files, &mut database(zxid), Epoch(5), Epoch(3)).expect("empty");
        let found = check_up(&files, None).expect("usable");
        assert_eq!(found.database.applied(), zxid);
        assert_eq!(found.database.digest(), database(zxid).digest());
        assert_eq!(
            (found.accepted, found.current),
            (Some(Epoch(5)), Some(Epoch(3)))
        );
        assert_eq!((found.replayed, found.notes.len()), (0, 0));
        let again = write_state(&mut files, &mut database(zxid), Epoch(5), Epoch(3));
        let said = again.expect_err("no longer empty").to_string();
        assert!(
            said.contains("snapshot.300000007 is there already"),
            "{said}"
        );
    }

    #[test]
    fn epochs_that_do_not_fit_are_refused() {
        for (accepted, current) in [(2, 3), (9, 2)] {
            let mut files = MemFiles::default();
            let mut database = database(Zxid::new(Epoch(3), 7));
            let refused = write_state(&mut files, &mut database, Epoch(accepted), Epoch(current));
            assert!(refused.is_err(), "{accepted} {current}");
            assert_eq!(files.list(Dir::Snapshots).expect("memory"), [""; 0]);
        }
    }
}
