//! Files that hold nothing but room, for when there is none. Knows no use for it.

use crate::error::{About, MAKE_STABLE, StorageError};
use crate::files::{Dir, Files};

/// Makes a file of zeros behind `head`, all of its room taken and stable. False if there is no room
/// for it; nothing is left of it then.
pub(crate) fn take<F: Files>(
    files: &mut F,
    dir: Dir,
    name: &str,
    head: &[u8],
    len: u64,
) -> Result<bool, StorageError> {
    let made = files
        .write_at(dir, name, 0, head)
        .about("create", dir, name)
        .and_then(|()| files.set_len(dir, name, len).about("extend", dir, name))
        .and_then(|()| {
            files
                .allocate(dir, name, 0, len)
                .about("take room for", dir, name)
        })
        .and_then(|()| files.sync(dir, name).about(MAKE_STABLE, dir, name));
    match made {
        Ok(()) => Ok(true),
        Err(e) if e.is_full() => {
            release(files, dir, name)?;
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

/// Removes the file, if it is there.
pub(crate) fn release<F: Files>(files: &mut F, dir: Dir, name: &str) -> Result<(), StorageError> {
    let names = files.list(dir).about("list", dir, name)?;
    if names.iter().any(|other| other == name) {
        files.remove(dir, name).about("remove", dir, name)?;
    }
    Ok(())
}
