//! `vivarium bench load`: clients that ask any server of the ZooKeeper protocol for as much as it
//! can answer, or for a given rate, and how long the answers take.
//!
//! One thread carries all clients, so the load costs less than any server that it measures; what it
//! cost is among the figures.

mod connection;
mod nodes;
mod tally;
mod workload;

use std::net::{SocketAddr, ToSocketAddrs};
use std::time::{Duration, Instant};

use clap::Args;
use humantime::parse_duration;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use self::connection::{Connection, Plan};
pub(super) use self::tally::Tally;
pub(super) use self::workload::Operation;
use self::workload::{Nodes, Workload};
use super::process::{cpu_time, memory};
use super::report::{Progress, Report};
use crate::exit::Exit;

const DEFAULT_CONNECTIONS: usize = 16;
const DEFAULT_WINDOW: usize = 16;
const DEFAULT_BYTES: usize = 100;
const DEFAULT_KEYS: u64 = 10_000;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// Servers, as HOST:PORT,…; connections are dealt out to them in turn
    #[arg(long, value_delimiter = ',', default_value = "127.0.0.1:2181")]
    servers: Vec<String>,
    /// create, set, get, exists, children, multi:N (sets), mixed:PERCENT (of gets, the rest sets)
    /// or watches (gets that leave a watch, a tenth sets)
    #[arg(long, value_name = "OPERATION", default_value = "set")]
    op: Operation,
    #[arg(long, default_value_t = DEFAULT_CONNECTIONS)]
    connections: usize,
    /// Requests of each connection that wait for an answer, at most
    #[arg(long, default_value_t = DEFAULT_WINDOW)]
    in_flight: usize,
    /// Bytes of data of each znode
    #[arg(long, default_value_t = DEFAULT_BYTES)]
    bytes: usize,
    /// Znodes that are chosen from
    #[arg(long, default_value_t = DEFAULT_KEYS)]
    keys: u64,
    /// Requests per second in all, sent when they are due whatever the answers do; latencies count
    /// from then. Without it each connection sends when an answer comes
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// How long to measure, such as 10s or 2m
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    measured: Duration,
    /// How long to load before that; a Java server needs 6 s and more to be at its best
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = parse_duration)]
    warmup: Duration,
    /// Processes of the servers, whose processor time and memory are told
    #[arg(long, value_name = "PID,…", value_delimiter = ',')]
    pids: Vec<u32>,
    /// Leave the znodes behind
    #[arg(long)]
    keep: bool,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// A load on servers that run.
#[derive(Clone, Debug)]
pub(super) struct Load {
    pub(super) servers: Vec<SocketAddr>,
    pub(super) pids: Vec<u32>,
    pub(super) operation: Operation,
    pub(super) connections: usize,
    pub(super) window: usize,
    pub(super) bytes: usize,
    pub(super) keys: u64,
    pub(super) rate: Option<u64>,
    pub(super) warmup: Duration,
    pub(super) measured: Duration,
    pub(super) keep: bool,
}

/// What a load showed.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    /// How long was measured.
    pub(super) time: Duration,
    /// Processor time of the servers and of this process meanwhile.
    pub(super) servers_cpu: Duration,
    pub(super) own_cpu: Duration,
    /// Bytes in RAM of all servers at the end.
    pub(super) resident: u64,
}

impl Outcome {
    pub(super) fn per_second(&self) -> f64 {
        self.tally.answers() as f64 / self.time.as_secs_f64()
    }

    /// Answers for each second that the servers were on a processor.
    pub(super) fn per_cpu_second(&self) -> f64 {
        self.tally.answers() as f64 / self.servers_cpu.as_secs_f64()
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    if arguments.connections == 0 || arguments.in_flight == 0 || arguments.keys == 0 {
        let text = "--connections, --in-flight and --keys must be at least 1";
        return Err((Exit::Usage, text.into()));
    }
    if arguments.rate == Some(0) || arguments.measured.is_zero() {
        let text = "--rate and --for must be more than nothing";
        return Err((Exit::Usage, text.into()));
    }
    let load = Load {
        servers: resolve(&arguments.servers)?,
        pids: arguments.pids.clone(),
        operation: arguments.op,
        connections: arguments.connections,
        window: arguments.in_flight,
        bytes: arguments.bytes,
        keys: arguments.keys,
        rate: arguments.rate,
        warmup: arguments.warmup,
        measured: arguments.measured,
        keep: arguments.keep,
    };
    let outcome = load.run().map_err(|why| (Exit::Failure, why))?;
    let report = report(&load, &outcome);
    Ok(if arguments.json {
        report.json()
    } else {
        report.table()
    })
}

fn resolve(servers: &[String]) -> Result<Vec<SocketAddr>, (Exit, String)> {
    let one = |server: &String| {
        let found = server.to_socket_addrs().map(|mut all| all.next());
        match found {
            Ok(Some(address)) => Ok(address),
            Ok(None) => Err((Exit::Usage, format!("{server}: no address"))),
            Err(why) => Err((
                Exit::Usage,
                format!("{server}: {why} (HOST:PORT is wanted)"),
            )),
        }
    };
    servers.iter().map(one).collect()
}

impl Load {
    /// Makes the znodes, loads, measures, and takes the znodes away.
    ///
    /// # Errors
    /// The server and what went wrong with it; refusals of single requests are none.
    pub(super) fn run(&self) -> Result<Outcome, String> {
        let runtime = Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|why| why.to_string())?;
        runtime.block_on(async {
            let nodes = Nodes {
                root: nodes::fresh_root(),
                count: self.keys,
            };
            let mut setup = Connection::open(self.servers[0]).await?;
            nodes::make(&mut setup, &nodes, self.bytes).await?;
            let (outcome, created) = self.carry(&nodes).await?;
            if !self.keep {
                let mut setup = Connection::open(self.servers[0]).await?;
                nodes::remove(&mut setup, &nodes, &created).await?;
            }
            Ok(outcome)
        })
    }

    async fn carry(&self, nodes: &Nodes) -> Result<(Outcome, Vec<u64>), String> {
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let server = self.servers[number % self.servers.len()];
            connections.push(Connection::open(server).await?);
        }
        let begin = Instant::now();
        let measured = begin + self.warmup;
        let plan = Plan {
            begin,
            measured,
            end: measured + self.measured,
            window: self.window,
            interval: self.rate.map(|rate| {
                let each = rate as f64 / self.connections as f64;
                Duration::from_secs_f64(1.0 / each)
            }),
        };
        let mut tasks = JoinSet::new();
        for (number, connection) in connections.into_iter().enumerate() {
            let workload = Workload::new(self.operation, nodes, number, self.bytes);
            tasks.spawn(async move {
                let (tally, workload) = connection.drive(workload, plan).await?;
                Ok::<_, String>((number, tally, workload.created()))
            });
        }
        let gauge = async {
            tokio::time::sleep_until(plan.measured.into()).await;
            let before = self.cpu()?;
            watch(plan).await;
            Ok::<_, String>((before, self.cpu()?))
        };
        let (before, after) = gauge.await?;
        let mut created = vec![0; self.connections];
        let mut tally = Tally::new();
        while let Some(done) = tasks.join_next().await {
            let (number, one, made) = done.map_err(|why| why.to_string())??;
            tally.add(&one);
            created[number] = made;
        }
        let mut resident = 0;
        for pid in &self.pids {
            resident += memory(*pid)?.0;
        }
        let outcome = Outcome {
            tally,
            time: self.measured,
            servers_cpu: after.0.saturating_sub(before.0),
            own_cpu: after.1.saturating_sub(before.1),
            resident,
        };
        Ok((outcome, created))
    }

    /// Processor time of the servers and of this process so far.
    fn cpu(&self) -> Result<(Duration, Duration), String> {
        let mut servers = Duration::ZERO;
        for pid in &self.pids {
            servers += cpu_time(*pid)?;
        }
        Ok((servers, cpu_time(std::process::id())?))
    }
}

/// Waits for the end of the measurement and says how far it is.
async fn watch(plan: Plan) {
    let seconds = (plan.end - plan.measured).as_secs() as usize;
    let mut progress = Progress::new("measuring, seconds", seconds);
    loop {
        let now = Instant::now();
        if now >= plan.end {
            return;
        }
        progress.at((now - plan.measured).as_secs() as usize);
        let next = (now + Duration::from_secs(1)).min(plan.end);
        tokio::time::sleep_until(next.into()).await;
    }
}

fn report(load: &Load, outcome: &Outcome) -> Report {
    let mut report = Report {
        given: vec![
            ("connections", load.connections as u64),
            ("in_flight", load.window as u64),
            ("bytes", load.bytes as u64),
            ("keys", load.keys),
            ("rate", load.rate.unwrap_or(0)),
            ("servers", load.servers.len() as u64),
        ],
        notes: vec![match load.rate {
            None => "Each connection sent when an answer freed a place; latencies from then.",
            Some(_) => "Requests were sent at a rate; latencies from when they were due.",
        }],
        ..Report::default()
    };
    let about = "answers per second";
    report.add("per_second", about, outcome.per_second(), "requests");
    outcome.tally.report(&mut report);
    if !load.pids.is_empty() {
        let cpu = outcome.servers_cpu.as_secs_f64();
        report.add("server_cpu_s", "processor time of the servers", cpu, "s");
        let about = "answers per second of it";
        report.add(
            "per_cpu_second",
            about,
            outcome.per_cpu_second(),
            "requests",
        );
        let megabytes = outcome.resident as f64 / 1e6;
        report.add("resident_mb", "memory of the servers", megabytes, "MB");
    }
    let own = outcome.own_cpu.as_secs_f64();
    report.add("own_cpu_s", "processor time of this load", own, "s");
    report
}
