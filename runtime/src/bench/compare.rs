//! `vivarium bench compare`: the same load on Apache ZooKeeper and on Vivarium, in turns, in one
//! run on one machine; what counts are the ratios.
//!
//! Each make has its servers to itself, on this machine's loopback and disk. ZooKeeper runs with
//! its logging off and is loaded first without being measured, for its virtual machine compiles
//! what it runs often.

use std::path::Path;
use std::time::Duration;

use clap::Args;
use humantime::parse_duration;

use super::load::{Load, Operation, Outcome};
use super::makes::{Ensemble, Make, Peer, Place};
use super::process::{self, Running};
use crate::exit::Exit;

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// Numbers of servers
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    servers: Vec<usize>,
    /// Operations, as `vivarium bench load` knows them
    #[arg(long, value_delimiter = ',', default_value = "set,get,mixed:90")]
    ops: Vec<Operation>,
    /// Connections × requests that wait on each
    #[arg(long, value_delimiter = ',', default_value = "16x16,1x1")]
    clients: Vec<Clients>,
    /// Bytes of data of each znode
    #[arg(long, default_value_t = 100)]
    bytes: usize,
    /// Znodes that are chosen from
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// How long each load is measured
    #[arg(long = "for", value_name = "TIME", default_value = "10s", value_parser = parse_duration)]
    measured: Duration,
    /// How long each goes on before that
    #[arg(long, value_name = "TIME", default_value = "8s", value_parser = parse_duration)]
    warmup: Duration,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

/// `16x16`: connections, and requests of each that wait for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Clients {
    connections: usize,
    window: usize,
}

impl std::str::FromStr for Clients {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split_once('x');
        let numbers = parts.and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match numbers {
            Some((connections, window)) if connections > 0 && window > 0 => Ok(Self {
                connections,
                window,
            }),
            _ => Err(format!(
                "`{text}`: CONNECTIONSxREQUESTS is wanted, such as 16x16"
            )),
        }
    }
}

/// One load on both.
struct Row {
    servers: usize,
    operation: Operation,
    clients: Clients,
    ours: Outcome,
    theirs: Option<Outcome>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    let is_odd = |n: &usize| n % 2 == 1 && *n <= 9;
    if arguments.servers.is_empty() || !arguments.servers.iter().all(is_odd) {
        return Err((Exit::Usage, "--servers must be odd numbers up to 9".into()));
    }
    let scratch = arguments.place.make()?;
    let rows = measure(arguments, scratch.path()).map_err(|why| (Exit::Failure, why))?;
    Ok(if arguments.json {
        json(arguments, &rows)
    } else {
        table(&rows)
    })
}

fn measure(arguments: &Arguments, scratch: &Path) -> Result<Vec<Row>, String> {
    let mut rows = Vec::new();
    for &servers in &arguments.servers {
        let (mut ours, mut theirs) = (Vec::new(), None);
        for make in arguments.peer.makes() {
            let outcomes = loads(arguments, scratch, servers, make)?;
            match make {
                Make::ZooKeeper => theirs = Some(outcomes.into_iter()),
                Make::Vivarium => ours = outcomes,
            }
        }
        for ((operation, clients), ours) in shapes(arguments).zip(ours) {
            rows.push(Row {
                servers,
                operation,
                clients,
                ours,
                theirs: theirs.as_mut().and_then(Iterator::next),
            });
        }
    }
    Ok(rows)
}

/// Every load that is asked for, in order.
fn shapes(arguments: &Arguments) -> impl Iterator<Item = (Operation, Clients)> + '_ {
    let clients = arguments.clients.iter().copied();
    clients.flat_map(|clients| arguments.ops.iter().map(move |op| (*op, clients)))
}

/// All loads on servers of one make.
fn loads(
    arguments: &Arguments,
    scratch: &Path,
    servers: usize,
    make: Make,
) -> Result<Vec<Outcome>, String> {
    let dir = scratch.join(format!("{make:?}-{servers}"));
    let ensemble = Ensemble::start(&arguments.peer, make, servers, &dir)?;
    let outcomes = shapes(arguments).map(|(operation, clients)| {
        process::say(&format!(
            "{make:?}, {servers} servers: {operation:?}, {}x{}",
            clients.connections, clients.window
        ));
        let load = Load {
            servers: ensemble.addresses.clone(),
            pids: ensemble.running.iter().map(Running::pid).collect(),
            operation,
            connections: clients.connections,
            window: clients.window,
            bytes: arguments.bytes,
            keys: arguments.keys,
            rate: None,
            warmup: arguments.warmup,
            measured: arguments.measured,
            keep: false,
        };
        let outcome = load.run()?;
        match outcome.tally.refusals() {
            0 => Ok(outcome),
            count => Err(format!(
                "{make:?} refused {count} requests of {operation:?}"
            )),
        }
    });
    outcomes.collect()
}

/// What is told of one load: key in JSON, words in the table, the value.
type Figure = (&'static str, &'static str, fn(&Outcome) -> f64);

const FIGURES: [Figure; 6] = [
    ("per_second", "answers/s", Outcome::per_second),
    ("per_cpu_second", "per CPU s", Outcome::per_cpu_second),
    ("p50_us", "p50 µs", |o| o.tally.quantile_us(0.5)),
    ("p99_us", "p99 µs", |o| o.tally.quantile_us(0.99)),
    ("p999_us", "p99.9 µs", |o| o.tally.quantile_us(0.999)),
    ("resident_mb", "MB", |o| o.resident as f64 / 1e6),
];

fn table(rows: &[Row]) -> String {
    let mut text = String::from("servers  clients  operation    figure      ");
    text.push_str("     Vivarium     ZooKeeper  ratio");
    for row in rows {
        for (_, about, figure) in FIGURES {
            let clients = format!("{}x{}", row.clients.connections, row.clients.window);
            let operation = format!("{:?}", row.operation).to_lowercase();
            let ours = figure(&row.ours);
            text.push_str(&format!(
                "\n{:7}  {clients:7}  {operation:11}  {about:11}  {ours:12.1}",
                row.servers
            ));
            if let Some(theirs) = row.theirs.as_ref().map(figure) {
                text.push_str(&format!("  {theirs:12.1}  {:5.2}", ours / theirs));
            }
        }
    }
    if cfg!(debug_assertions) {
        text.push_str("\nA debug build: figures of a release build are several times better.");
    }
    text
}

fn json(arguments: &Arguments, rows: &[Row]) -> String {
    let figures = |outcome: &Outcome| {
        let all = FIGURES.iter();
        let all = all.map(|(key, _, figure)| ((*key).to_owned(), figure(outcome).into()));
        serde_json::Value::Object(all.collect())
    };
    let rows = rows.iter().map(|row| {
        serde_json::json!({
            "servers": row.servers,
            "connections": row.clients.connections,
            "in_flight": row.clients.window,
            "operation": format!("{:?}", row.operation).to_lowercase(),
            "vivarium": figures(&row.ours),
            "zookeeper": row.theirs.as_ref().map(figures),
        })
    });
    serde_json::json!({
        "bytes": arguments.bytes,
        "keys": arguments.keys,
        "measured_s": arguments.measured.as_secs_f64(),
        "warmup_s": arguments.warmup.as_secs_f64(),
        "debug_build": cfg!(debug_assertions),
        "rows": rows.collect::<Vec<_>>(),
    })
    .to_string()
}
