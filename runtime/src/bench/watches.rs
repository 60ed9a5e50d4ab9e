//! What watches cost: to set, to keep, to fire, to have while nobody is told, to forget.

use std::time::{Duration, Instant};

use clap::Args;
use vivarium_core::ids::ConnId;
use vivarium_core::wire::client::{Request, watch_mode};

use super::report::{Progress, Report};
use super::server::{Server, create, put_request};
use crate::exit::Exit;

const DEFAULT_WATCHES: usize = 1_000_000;
const DEFAULT_CONNECTIONS: usize = 10_000;
const DEFAULT_PATHS: usize = 100_000;

/// Requests in one read of a socket.
const BATCH: usize = 50;

/// Writes that are timed one by one.
const WRITES: usize = 10_000;

/// Times that a watched node is written.
const ROUNDS: usize = 5;

/// Paths that the connection watches that is closed.
const OWN_WATCHES: usize = 100_000;

/// Node that nobody watches, three levels deep.
const QUIET: &str = "/bench/quiet/node";

/// Node that every connection watches.
const HOT: &str = "/bench/hot";

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// One-shot watches
    #[arg(long, default_value_t = DEFAULT_WATCHES)]
    watches: usize,
    /// Connections, each with as many of them
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS)]
    connections: usize,
    /// Watched nodes, each watched by as many connections
    #[arg(long, default_value_t = DEFAULT_PATHS)]
    paths: usize,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    let &Arguments {
        watches,
        connections,
        paths,
        json,
    } = arguments;
    if watches == 0 || connections == 0 || paths == 0 {
        return Err((Exit::Usage, "nothing to measure without any".into()));
    }
    if watches.div_ceil(connections) > paths {
        let text = format!("{connections} connections can not watch {paths} paths {watches} times");
        return Err((Exit::Usage, text));
    }
    let given = [
        ("watches", watches),
        ("connections", connections),
        ("paths", paths),
    ];
    let mut bench = Measuring::prepare(connections, paths);
    bench.report.given = given.map(|(key, n)| (key, n as u64)).to_vec();
    bench.registration(watches)?;
    bench.writes_past_watches(watches);
    bench.firing();
    bench.closing();
    bench.report.notes = vec![
        "One server in this process: requests are decoded, carried out and answered, without \
         sockets and disk.",
        "Times are medians; closing happens once. Bytes are the growth of this process's resident \
         memory (/proc/self/statm).",
    ];
    Ok(if json {
        bench.report.json()
    } else {
        bench.report.table()
    })
}

struct Measuring {
    server: Server,
    connections: Vec<ConnId>,
    paths: Vec<String>,
    report: Report,
    /// A write before anything was watched, in nanoseconds.
    plain_write: f64,
}

impl Measuring {
    fn prepare(connections: usize, paths: usize) -> Self {
        let mut server = Server::boot();
        let mut progress = Progress::new("connecting", connections);
        let connections: Vec<ConnId> = (0..connections)
            .map(|at| {
                progress.at(at);
                server.connect()
            })
            .collect();
        let paths: Vec<String> = (0..paths).map(|n| format!("/bench/n{n:09}")).collect();
        let parents = ["/bench", "/bench/quiet", QUIET, HOT];
        let all: Vec<&str> = parents
            .into_iter()
            .chain(paths.iter().map(|p| &**p))
            .collect();
        let mut progress = Progress::new("creating nodes", all.len());
        let mut bytes = Vec::new();
        for (at, batch) in all.chunks(BATCH).enumerate() {
            progress.at(at * BATCH);
            bytes.clear();
            batch
                .iter()
                .for_each(|path| put_request(&mut bytes, &create(path)));
            server.exchange(connections[0], &bytes);
        }
        let mut bench = Self {
            server,
            connections,
            paths,
            report: Report::default(),
            plain_write: 0.0,
        };
        // The first round is for what grows once.
        bench.time_writes();
        bench.plain_write = bench.time_writes();
        bench
    }

    /// Lets the connections read `count` nodes in all, none of them one node twice. Gives the
    /// nanoseconds of one read.
    fn read_all(&mut self, what: &'static str, count: usize, watch: bool) -> f64 {
        let each = count.div_ceil(self.connections.len());
        let (mut progress, mut done) = (Progress::new(what, count), 0);
        let (mut bytes, mut times) = (Vec::new(), Vec::new());
        for (number, &conn) in self.connections.iter().enumerate() {
            let own = each.min(count - done);
            let mut left = (0..own).map(|n| &self.paths[(number * each + n) % self.paths.len()]);
            while left.len() > 0 {
                bytes.clear();
                let batch = left.len().min(BATCH);
                for path in left.by_ref().take(BATCH) {
                    put_request(&mut bytes, &get_data(path, watch));
                }
                let start = Instant::now();
                self.server.exchange(conn, &bytes);
                times.push(start.elapsed() / batch as u32);
                progress.at(done);
            }
            done += own;
        }
        median(&mut times)
    }

    fn registration(&mut self, watches: usize) -> Result<(), (Exit, String)> {
        let plain = self.read_all("reading without a watch", watches, false);
        let before = resident_bytes()?;
        let watched = self.read_all("reading with a watch", watches, true);
        let grown = resident_bytes()?.saturating_sub(before);
        let count = self.server.status().watch_count;
        assert_eq!(count, watches, "each read left its watch");
        let report = &mut self.report;
        report.add("read_ns", "getData without a watch", plain, "ns");
        report.add(
            "read_watched_ns",
            "getData that sets a watch",
            watched,
            "ns",
        );
        let added = watched - plain;
        report.add("register_ns", "  of which the watch", added, "ns");
        let bytes = grown as f64 / watches as f64;
        report.add("bytes_per_watch", "memory for each watch", bytes, "bytes");
        let megabytes = grown as f64 / 1e6;
        report.add(
            "memory_mb",
            format!("memory for {watches} watches"),
            megabytes,
            "MB",
        );
        Ok(())
    }

    /// Nanoseconds of one write to the node that nobody watches.
    fn time_writes(&mut self) -> f64 {
        let mut bytes = Vec::new();
        put_request(&mut bytes, &set_data(QUIET));
        let writer = self.connections[0];
        let mut times: Vec<Duration> = (0..WRITES)
            .map(|_| {
                let start = Instant::now();
                self.server.exchange(writer, &bytes);
                start.elapsed()
            })
            .collect();
        median(&mut times)
    }

    fn watch_recursively(&mut self, conn: ConnId, path: &str) {
        let mut bytes = Vec::new();
        let request = Request::AddWatch {
            path: path.into(),
            mode: watch_mode::PERSISTENT_RECURSIVE,
        };
        put_request(&mut bytes, &request);
        self.server.exchange(conn, &bytes);
    }

    fn writes_past_watches(&mut self, watches: usize) {
        let plain = self.plain_write;
        let past = self.time_writes();
        let conn = self.server.connect();
        self.watch_recursively(conn, "/elsewhere");
        let beside = self.time_writes();
        self.watch_recursively(conn, "/");
        let told = self.time_writes();
        self.server.disconnect(conn);
        let report = &mut self.report;
        report.add(
            "write_ns",
            "setData before anything is watched",
            plain,
            "ns",
        );
        let about = format!("setData that tells nobody, among {watches} watches");
        report.add("write_unwatched_ns", about, past, "ns");
        let about = "the same, with a recursive watch elsewhere";
        report.add("write_beside_recursive_ns", about, beside, "ns");
        let about = "the same, with a recursive watch on the root, which is told";
        report.add("write_root_recursive_ns", about, told, "ns");
    }

    /// One write of which every connection is told.
    fn firing(&mut self) {
        let (mut watch, mut write) = (Vec::new(), Vec::new());
        put_request(&mut watch, &get_data(HOT, true));
        put_request(&mut write, &set_data(HOT));
        let listeners = self.connections.len();
        let mut progress = Progress::new("firing", ROUNDS);
        let mut times: Vec<Duration> = (0..ROUNDS)
            .map(|round| {
                progress.at(round);
                let connections = &self.connections;
                connections
                    .iter()
                    .for_each(|&conn| self.server.exchange(conn, &watch));
                let start = Instant::now();
                self.server.exchange(connections[0], &write);
                let passed = start.elapsed();
                assert!(self.server.replied > listeners * HOT.len(), "all are told");
                passed
            })
            .collect();
        let median = median(&mut times);
        let about = format!("setData that tells {listeners} connections");
        let report = &mut self.report;
        report.add("fire_us", about, median / 1e3, "us");
        let each = median / listeners as f64;
        report.add("fire_listener_ns", "  for each of them", each, "ns");
    }

    /// The end of one connection that watches much.
    fn closing(&mut self) {
        let conn = self.server.connect();
        let own = OWN_WATCHES.min(self.paths.len());
        let mut bytes = Vec::new();
        for batch in self.paths[..own].chunks(BATCH) {
            bytes.clear();
            batch
                .iter()
                .for_each(|path| put_request(&mut bytes, &get_data(path, true)));
            self.server.exchange(conn, &bytes);
        }
        let before = self.server.status().watch_count;
        let start = Instant::now();
        self.server.disconnect(conn);
        let passed = start.elapsed().as_nanos() as f64;
        assert_eq!(self.server.status().watch_count, before - own);
        let about = format!("closing a connection with {own} watches");
        let report = &mut self.report;
        report.add("close_ms", about, passed / 1e6, "ms");
        report.add(
            "close_watch_ns",
            "  for each of them",
            passed / own as f64,
            "ns",
        );
    }
}

fn get_data(path: &str, watch: bool) -> Request<'_> {
    Request::GetData {
        path: path.into(),
        watch,
    }
}

fn set_data(path: &str) -> Request<'_> {
    Request::SetData {
        path: path.into(),
        data: Some(b"y"),
        version: -1,
    }
}

/// In nanoseconds. What else runs on this machine disturbs the few, not the middle.
fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_nanos() as f64
}

/// Memory of this process that is in RAM.
fn resident_bytes() -> Result<u64, (Exit, String)> {
    /// Linux counts in pages; all systems with this file that we know have pages of this size.
    const PAGE: u64 = 4096;
    let file = "/proc/self/statm";
    let fail = |why: String| (Exit::Failure, format!("{file}: {why}"));
    let text = std::fs::read_to_string(file).map_err(|e| fail(e.to_string()))?;
    let pages = text.split_ascii_whitespace().nth(1);
    let pages = pages.and_then(|n| n.parse::<u64>().ok());
    let pages = pages.ok_or_else(|| fail("no second number".into()))?;
    Ok(pages * PAGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(watches: usize, connections: usize, paths: usize) -> Result<String, (Exit, String)> {
        run(&Arguments {
            watches,
            connections,
            paths,
            json: true,
        })
    }

    #[test]
    fn a_small_run_measures_everything() {
        let json = of(45, 20, 10).expect("measured");
        for key in [
            "watches\":45",
            "bytes_per_watch",
            "fire_us",
            "close_ms",
            "register_ns",
        ] {
            assert!(json.contains(key), "{key} in {json}");
        }
    }

    #[test]
    fn what_can_not_be_is_refused() {
        assert_eq!(of(0, 1, 1).unwrap_err().0, Exit::Usage);
        assert_eq!(of(21, 2, 10).unwrap_err().0, Exit::Usage);
    }
}
