//! Every kept failure under `scenarios/regressions` is run again: it passes now, and where it
//! names a known bug that can be put back, it still finds that bug.

use std::path::PathBuf;

use vivarium_core::mutants::Mutants;
use vivarium_sim::schedule::Schedule;
use vivarium_sim::world::Trace;

fn kept() -> Vec<(PathBuf, Schedule)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scenarios/regressions");
    let entries = std::fs::read_dir(&folder).expect("the folder is part of the repository");
    let mut files: Vec<PathBuf> = entries.map(|e| e.expect("readable").path()).collect();
    files.retain(|f| f.extension().is_some_and(|e| e == "schedule"));
    files.sort();
    assert!(
        files.len() >= 20,
        "only {} regressions are kept",
        files.len()
    );
    let read = |file: PathBuf| {
        let text = std::fs::read_to_string(&file).expect("readable");
        let schedule = Schedule::parse(&text);
        let schedule = schedule.unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        (file, schedule)
    };
    files.into_iter().map(read).collect()
}

#[test]
fn every_kept_failure_passes_now() {
    for (file, schedule) in kept() {
        let file = file.display();
        assert!(
            schedule.fails.is_some(),
            "{file} does not say how it failed"
        );
        let run = schedule.replay(Mutants::NONE, Trace::default()).run;
        assert!(!run.verdict.is_failure(), "{file}: {:?}", run.verdict);
    }
}

#[cfg(feature = "mutants")]
#[test]
fn every_kept_failure_finds_its_bug() {
    let (mut sizes, mut drifted) = (Vec::new(), Vec::new());
    for (file, schedule) in kept().into_iter().filter(|(_, s)| s.mutant.is_some()) {
        let mutants = schedule.mutants().expect("the bug is known");
        let found = schedule.replay(mutants, Trace::default()).fingerprint();
        if found != schedule.fails {
            drifted.push(format!("{}: {found:?}", file.display()));
        }
        sizes.push(schedule.size().decisions);
    }
    assert!(drifted.is_empty(), "to be made anew: {drifted:#?}");
    sizes.sort_unstable();
    let median = sizes[sizes.len() / 2];
    assert!(median <= 25, "decisions that are kept: {sizes:?}");
}
