//! `replay` of what a server has recorded: its inputs go through the same core.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use vivarium_core::mutants::Mutants;
use vivarium_recording::{Replayed, newest, replay};

use super::{EXIT_NONDETERMINISM, print, usage};

/// The core panicked, as the server did.
const EXIT_PANIC: u8 = 12;

/// The file that is meant, if it is a recording or a directory of recordings.
pub(crate) fn meant(what: &str) -> Option<PathBuf> {
    let path = Path::new(what);
    let is_recording = path.is_dir() || path.extension().is_some_and(|e| e == "recording");
    is_recording.then(|| path.to_owned())
}

/// Runs it; of a directory the newest.
pub(crate) fn run(path: &Path, mutants: Mutants, json: bool) -> u8 {
    let file = if path.is_dir() {
        newest(path)
    } else {
        Ok(path.to_owned())
    };
    let read = file.and_then(|file| std::fs::read(&file).map(|bytes| (file, bytes)));
    let (file, bytes) = match read {
        Ok(read) => read,
        Err(e) => return usage(&format!("can not read {}: {e}", path.display())),
    };
    let replayed = catch_unwind(AssertUnwindSafe(|| replay(&bytes, mutants)));
    match replayed {
        Err(_) => {
            let said = print::last_panic().unwrap_or_default();
            println!(
                "FAIL panic rule=assertion\n  {said}\n  recording={}",
                file.display()
            );
            EXIT_PANIC
        }
        Ok(Err(broken)) => usage(&format!("{}: {broken}", file.display())),
        Ok(Ok(replayed)) => report(&file, &replayed, json),
    }
}

fn report(file: &Path, replayed: &Replayed, json: bool) -> u8 {
    let differs = replayed.differs.map(|differs| {
        let ((recorded, was), (found, is)) = (differs.recorded, differs.found);
        let turn = differs.turn;
        format!(
            "after turn {turn} the server had {recorded} with digest 0x{was:x}, \
             this core {found} with 0x{is:x}"
        )
    });
    if json {
        let report = serde_json::json!({
            "recording": file.display().to_string(),
            "inputs": replayed.inputs,
            "turns": replayed.turns,
            "marks": replayed.marks,
            "applied": replayed.applied.to_string(),
            "digest": format!("0x{:x}", replayed.digest),
            "role": format!("{:?}", replayed.role),
            "full": replayed.full,
            "torn": replayed.torn,
            "differs": differs,
        });
        println!("{report}");
    } else {
        let verdict = if differs.is_some() { "FAIL" } else { "SAME" };
        println!(
            "{verdict} {}: {} inputs in {} turns, {} states compared",
            file.display(),
            replayed.inputs,
            replayed.turns,
            replayed.marks
        );
        let (applied, digest, role) = (replayed.applied, replayed.digest, replayed.role);
        println!("  in the end {role:?}, applied {applied}, digest 0x{digest:x}");
        if replayed.full {
            println!("  the recording had reached its bound; the server went on");
        }
        if replayed.torn {
            println!("  its last entry was cut off");
        }
        if let Some(differs) = &differs {
            println!("  {differs}");
        }
    }
    if differs.is_some() {
        EXIT_NONDETERMINISM
    } else {
        0
    }
}
