//! What a restart costs: how long until a server answers from a directory with many znodes, and
//! how much memory it holds; Apache ZooKeeper beside it, on a copy of the same files.

use std::fs;
use std::path::Path;
use std::process::Command;

use clap::{Args, ValueEnum};
use vivarium_storage::Packing;

use super::history::Shape;
use super::makes::{self, Make, Peer, Place};
use super::process::{self, Started};
use super::report::{Progress, Report};
use crate::exit::Exit;

const DEFAULT_ZNODES: usize = 500_000;
const DEFAULT_BYTES: usize = 100;
const DEFAULT_LOGGED: usize = 50_000;
const DEFAULT_ROUNDS: usize = 3;

/// Where both ZooKeeper and Vivarium keep snapshots and logs.
const VERSION_DIR: &str = "version-2";

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Znodes in the directory
    #[arg(long, default_value_t = DEFAULT_ZNODES)]
    znodes: usize,
    /// Bytes of data of each
    #[arg(long, default_value_t = DEFAULT_BYTES)]
    bytes: usize,
    /// How many of them stand in the log behind the snapshot
    #[arg(long, default_value_t = DEFAULT_LOGGED)]
    logged: usize,
    /// How the snapshot is packed
    #[arg(long, value_enum, default_value_t = Form::Plain)]
    packing: Form,
    /// Starts of each server; the figures are medians
    #[arg(long, default_value_t = DEFAULT_ROUNDS)]
    rounds: usize,
    #[command(flatten)]
    peer: Peer,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Form {
    Plain,
    Gzip,
    Snappy,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    if arguments.znodes == 0 || arguments.rounds == 0 {
        return Err((Exit::Usage, "nothing to measure without any".into()));
    }
    let scratch = arguments.place.make()?;
    let report = measure(arguments, scratch.path()).map_err(|why| (Exit::Failure, why))?;
    Ok(if arguments.json {
        report.json()
    } else {
        report.table()
    })
}

fn measure(arguments: &Arguments, scratch: &Path) -> Result<Report, String> {
    let shape = Shape {
        znodes: arguments.znodes,
        bytes: arguments.bytes,
    };
    let packing = match arguments.packing {
        Form::Plain => Packing::Plain,
        Form::Gzip => Packing::Gzip,
        Form::Snappy => Packing::Snappy,
    };
    let origin = scratch.join("origin");
    fs::create_dir(&origin).map_err(|e| e.to_string())?;
    shape.write(&origin, arguments.logged, packing)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut progress = Progress::new("starting", arguments.rounds);
    for round in 0..arguments.rounds {
        progress.at(round);
        for make in arguments.peer.makes() {
            let command = arguments.peer.command(make, scratch)?;
            let started = start(command, scratch, &origin)?;
            match make {
                Make::ZooKeeper => theirs.push(started),
                Make::Vivarium => ours.push(started),
            }
        }
    }
    Ok(report(arguments, &ours, &theirs))
}

/// One start on a fresh copy of the directory.
fn start(mut command: Command, scratch: &Path, origin: &Path) -> Result<Started, String> {
    let dir = scratch.join("copy");
    let (from, to) = (origin.join(VERSION_DIR), dir.join(VERSION_DIR));
    let copy = || {
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        fs::create_dir_all(&to)?;
        for entry in fs::read_dir(&from)? {
            let name = entry?.file_name();
            fs::copy(from.join(&name), to.join(&name))?;
        }
        process::free_ports(1)
    };
    let port = copy().map_err(|e| e.to_string())?[0];
    let config = makes::configure(scratch, &dir, port, &[])?;
    command.arg(config);
    process::observe(&mut command, port, &scratch.join("server.log"))
}

/// The middle one, by what `of` says.
fn median(starts: &[Started], of: impl Fn(&Started) -> f64) -> f64 {
    let mut values: Vec<f64> = starts.iter().map(of).collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn report(arguments: &Arguments, ours: &[Started], theirs: &[Started]) -> Report {
    let mut report = Report {
        given: vec![
            ("znodes", arguments.znodes as u64),
            ("bytes", arguments.bytes as u64),
            ("logged", arguments.logged as u64),
            ("rounds", arguments.rounds as u64),
        ],
        notes: vec![
            "From the start of the process to the first answered read and srvr, page cache warm. \
             Memory is resident, a second later.",
        ],
        ..Report::default()
    };
    let serving = |starts: &[Started]| median(starts, |s| s.serving.as_secs_f64() * 1e3);
    let resident = |starts: &[Started]| median(starts, |s| s.resident as f64);
    let peak = |starts: &[Started]| median(starts, |s| s.peak as f64);
    let cpu = |starts: &[Started]| median(starts, |s| s.cpu.as_secs_f64() * 1e3);
    let (time, memory) = (serving(ours), resident(ours));
    report.add("serve_ms", "Vivarium serves after", time, "ms");
    report.add("serve_cpu_ms", "  processor time", cpu(ours), "ms");
    report.add("resident_mb", "  memory", memory / 1e6, "MB");
    report.add("peak_mb", "  memory at most", peak(ours) / 1e6, "MB");
    let each = memory / arguments.znodes as f64;
    let about = "  memory for each znode";
    report.add("znode_bytes", about, each, "bytes");
    let own = each - (arguments.bytes + Shape::name_bytes()) as f64;
    let about = "  of which beside its name and data";
    report.add("znode_overhead_bytes", about, own, "bytes");
    if !theirs.is_empty() {
        let (their_time, their_memory) = (serving(theirs), resident(theirs));
        let about = "ZooKeeper serves after";
        report.add("zookeeper_serve_ms", about, their_time, "ms");
        let about = "  processor time";
        report.add("zookeeper_serve_cpu_ms", about, cpu(theirs), "ms");
        let about = "  memory";
        report.add("zookeeper_resident_mb", about, their_memory / 1e6, "MB");
        let about = "  memory at most";
        report.add("zookeeper_peak_mb", about, peak(theirs) / 1e6, "MB");
        let about = "ZooKeeper's time is so many of ours";
        report.add("time_ratio", about, their_time / time, "times");
        let about = "ZooKeeper's processor time is so many of ours";
        report.add(
            "cpu_ratio",
            about,
            cpu(theirs) / cpu(ours).max(1.0),
            "times",
        );
        let about = "ZooKeeper's memory is so many of ours";
        report.add("memory_ratio", about, their_memory / memory, "times");
    }
    report
}
