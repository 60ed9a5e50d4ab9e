//! What a snapshot costs those who are served meanwhile: the longest turn of the machine while it
//! is walked and written under load, beside the longest without one.

use std::time::Duration;

use clap::Args;
use vivarium_core::ids::ConnId;
use vivarium_core::wire::client::Request;

use super::history::{ROOT, Shape};
use super::process;
use super::report::{Progress, Report};
use super::server::{Call, SEED, Server, Watch, create, put_request};
use crate::exit::Exit;

const DEFAULT_ZNODES: usize = 1_000_000;
const DEFAULT_BYTES: usize = 100;
const DEFAULT_ROUNDS: usize = 3;

/// Requests in one read of a socket.
const BATCH: usize = 50;

/// Each so many requests of a batch one is a create, and one the delete of an older znode.
const CHURN: usize = 10;

/// Znodes that live at any time among those that come and go.
const ALIVE: usize = 1_000;

/// The memory is looked at after so many batches.
const LOOK: usize = 64;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Znodes in the tree
    #[arg(long, default_value_t = DEFAULT_ZNODES)]
    znodes: usize,
    /// Bytes of data of each
    #[arg(long, default_value_t = DEFAULT_BYTES)]
    bytes: usize,
    /// Snapshots to take
    #[arg(long, default_value_t = DEFAULT_ROUNDS)]
    rounds: usize,
    /// Writes after which the next one is taken, as snapCount
    #[arg(long, default_value_t = 100_000)]
    snap_count: u32,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    let &Arguments {
        znodes,
        bytes,
        rounds,
        snap_count,
        json,
    } = arguments;
    if znodes == 0 || rounds == 0 {
        return Err((Exit::Usage, "nothing to measure without any".into()));
    }
    let shape = Shape { znodes, bytes };
    let mut server = Server::boot_from(shape.recovered(SEED), snap_count);
    let conn = server.connect();
    server.watch = Some(Watch::default());
    let mut load = Load {
        shape,
        conn,
        random: SEED,
        made: 0,
    };
    let grown = load.until(&mut server, rounds)?;
    let watch = server.watch.take().expect("set above");
    let mut report = report(&watch);
    report.add(
        "grown_mb",
        "memory that came with the snapshots",
        grown as f64 / 1e6,
        "MB",
    );
    report.given = vec![
        ("znodes", znodes as u64),
        ("bytes", bytes as u64),
        ("rounds", rounds as u64),
        ("snap_count", u64::from(snap_count)),
    ];
    Ok(if json { report.json() } else { report.table() })
}

/// The writes of one client that never waits for an answer before the next fifty.
struct Load {
    shape: Shape,
    conn: ConnId,
    random: u64,
    /// Of those that come and go.
    made: usize,
}

impl Load {
    /// Writes until so many snapshots were taken. Gives by how many bytes the memory was larger
    /// than before the first.
    fn until(&mut self, server: &mut Server, rounds: usize) -> Result<u64, (Exit, String)> {
        let resident = || process::memory(std::process::id()).map_err(|why| (Exit::Failure, why));
        let before = resident()?.0;
        let mut most = before;
        let mut progress = Progress::new("taking snapshots", rounds);
        for batch in 0.. {
            let watch = server.watch.as_ref().expect("being watched");
            if watch.snapshots == rounds {
                break;
            }
            if watch.is_walking && batch % LOOK == 0 {
                most = most.max(resident()?.0);
            }
            progress.at(watch.snapshots);
            let bytes = self.batch();
            server.exchange(self.conn, &bytes);
        }
        Ok(most - before)
    }

    fn batch(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        for number in 0..BATCH {
            match number % CHURN {
                0 => {
                    put_request(&mut out, &create(&Self::temporary(self.made)));
                    self.made += 1;
                }
                1 if self.made > ALIVE => {
                    let path = Self::temporary(self.made - ALIVE);
                    let request = Request::Delete {
                        path: path.as_str().into(),
                        version: -1,
                    };
                    put_request(&mut out, &request);
                }
                _ => {
                    let path = self.any();
                    let data = vec![b'y'; self.shape.bytes];
                    let request = Request::SetData {
                        path: path.as_str().into(),
                        data: Some(&data),
                        version: -1,
                    };
                    put_request(&mut out, &request);
                }
            }
        }
        out
    }

    fn temporary(number: usize) -> String {
        format!("{ROOT}/t{number:08}")
    }

    /// Some znode of the tree; which, does not matter as long as they are spread.
    fn any(&mut self) -> String {
        self.random = self
            .random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Shape::path((self.random >> 33) as usize % self.shape.znodes)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e3
}

fn report(watch: &Watch) -> Report {
    let mut report = Report {
        notes: vec![
            "One server in this process, without sockets and disk: fifty writes in a turn, and a \
             piece of the snapshot in each. A call is one handle or flush. Processor time is what \
             the machine itself takes; the wall clock has in it what else runs here.",
        ],
        ..Report::default()
    };
    let times = |is_walking: bool, of: fn(&Call) -> Duration| {
        let calls = watch.calls.iter().filter(|c| c.is_walking == is_walking);
        let mut times: Vec<Duration> = calls.map(of).collect();
        times.sort_unstable();
        times
    };
    let last = |times: &[Duration]| times.last().map_or(0.0, |t| micros(*t));
    let near = |times: &[Duration]| {
        let at = times.len() * 999 / 1_000;
        times.get(at).map_or(0.0, |t| micros(*t))
    };
    let without = times(false, |c| c.cpu);
    let with = times(true, |c| c.cpu);
    report.add(
        "calls",
        "calls while a snapshot was taken",
        with.len() as f64,
        "",
    );
    let about = "  the longest, processor time";
    report.add("longest_us", about, last(&with), "us");
    let about = "  999 of 1000 are not longer than";
    report.add("most_us", about, near(&with), "us");
    let about = "  the longest, wall clock";
    report.add(
        "longest_wall_us",
        about,
        last(&times(true, |c| c.wall)),
        "us",
    );
    report.add(
        "calls_without",
        "calls between snapshots",
        without.len() as f64,
        "",
    );
    let about = "  the longest, processor time";
    report.add("longest_without_us", about, last(&without), "us");
    let about = "  999 of 1000 are not longer than";
    report.add("most_without_us", about, near(&without), "us");
    let about = "  the longest, wall clock";
    report.add(
        "longest_wall_without_us",
        about,
        last(&times(false, |c| c.wall)),
        "us",
    );
    let megabytes = watch.bytes as f64 / watch.snapshots as f64 / 1e6;
    report.add("snapshot_mb", "one snapshot", megabytes, "MB");
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_small_run_measures_everything() {
        let json = run(&Arguments {
            znodes: 3_000,
            bytes: 10,
            rounds: 2,
            snap_count: 500,
            json: true,
        });
        let json = json.expect("measured");
        for key in [
            "longest_us",
            "longest_without_us",
            "snapshot_mb",
            "grown_mb",
        ] {
            assert!(json.contains(key), "{key} in {json}");
        }
    }
}
