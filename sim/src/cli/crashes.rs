//! `crash-points`: every crash of one recorded run.

use vivarium_sim::crash_points;

use super::stopwatch::Stopwatch;
use super::{CrashPointsArgs, Program, print, usage};

pub(crate) fn crash_points(args: &CrashPointsArgs) -> u8 {
    let program = match Program::load(&args.what) {
        Ok(program) => program,
        Err(refusal) => return usage(&refusal),
    };
    if program.is_scenario() {
        return usage("crash points are those of a swarm run, not of a scenario");
    }
    let watch = Stopwatch::start();
    let outcome = crash_points::crash_points(program.draw(args.seed), args.most);
    let mut all = (0, 0);
    for (id, tried) in &outcome.servers {
        match tried {
            Ok(tried) => {
                println!(
                    "server {id}: {} places between file operations, {} directories: all as they \
                     must be",
                    tried.points, tried.states
                );
                all = (all.0 + tried.points, all.1 + tried.states);
            }
            Err(wrong) => println!("FAIL crash-point server {id}: {wrong}"),
        }
    }
    print::failure(&program, &outcome.run);
    let code = outcome.exit_code();
    println!(
        "{} seed={} commit={} places={} directories={} {:.1}s",
        if code == 0 { "PASS" } else { "FAIL" },
        args.seed,
        super::COMMIT,
        all.0,
        all.1,
        watch.seconds()
    );
    code
}
