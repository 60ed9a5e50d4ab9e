//! `bench`: how many checked events one core gets through in a second.

use vivarium_sim::faults::{Options, draw};
use vivarium_sim::run::run_swarm;
use vivarium_sim::world::Trace;

use super::BenchArgs;
use super::stopwatch::Stopwatch;

pub(crate) fn bench(args: &BenchArgs) -> u8 {
    let watch = Stopwatch::start();
    let (mut events, mut seed, mut simulated, mut code) = (0, 0, 0, 0);
    while watch.seconds() < args.seconds as f64 {
        let run = run_swarm(draw(seed, Options::default()), Trace::default());
        if run.verdict.is_failure() && code == 0 {
            code = run.verdict.exit_code();
        }
        events += run.events;
        simulated += run.simulated_ns;
        seed += 1;
    }
    let seconds = watch.seconds();
    let rate = events as f64 / seconds;
    let factor = simulated as f64 / 1e9 / seconds;
    if args.json {
        let report = serde_json::json!({
            "seeds": seed,
            "events": events,
            "seconds": seconds,
            "events_per_core_second": rate,
            "simulated_seconds_per_core_second": factor,
            "checkers": true,
            "debug_build": cfg!(debug_assertions),
            "commit": super::COMMIT,
        });
        println!("{report}");
    } else {
        println!(
            "{rate:.0} checked events per core-second ({events} events, {seed} swarm seeds, \
             {seconds:.1} s, checkers on, simulated time {factor:.0} times real time{})",
            if cfg!(debug_assertions) {
                "; debug build, use --release"
            } else {
                ""
            }
        );
    }
    code
}
