//! `vivarium bench failover`: the leader of a loaded ensemble is killed, again and again; how long
//! no write is acknowledged, on Vivarium and on Apache ZooKeeper.
//!
//! One client writes without a pause, each time when the last write was answered. When it loses its
//! server it takes its session to the next one at once, without the waits by which client libraries
//! spare servers: what is measured are the servers.
#![allow(
    clippy::disallowed_methods,
    reason = "waits for another process; nobody is served meanwhile"
)]

use std::io::{self, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use clap::Args;
use humantime::parse_duration;
use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::client::{
    ConnectRequest, ConnectResponse, ReplyHeader, Request, put_frame,
};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::ErrorCode;

use super::makes::{Ensemble, Make, Peer, Place};
use super::process::{self, connect, read_frame};
use super::report::Report;
use super::server::{create, put_request};
use crate::exit::Exit;

/// The znode that is written.
const PATH: &str = "/failover";

/// Between two rounds of asking every server for a connection.
const PAUSE: Duration = Duration::from_millis(1);

/// Writes go on for so long after the first one that the new leader acknowledged.
const AFTER: Duration = Duration::from_secs(1);

/// An ensemble that acknowledges nothing for so long after a loss has failed.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Args, Debug)]
pub(crate) struct Arguments {
    #[command(flatten)]
    peer: Peer,
    /// Servers of each ensemble
    #[arg(long, default_value_t = 3)]
    servers: usize,
    /// Leaders that are killed, one after the other; each is started again before the next
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// How long is written before each leader is killed
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = parse_duration)]
    before: Duration,
    #[command(flatten)]
    place: Place,
    /// Print one JSON object instead of a table
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<String, (Exit, String)> {
    if arguments.servers < 3 || arguments.servers.is_multiple_of(2) || arguments.servers > 9 {
        let why = "--servers must be an odd number from 3 to 9";
        return Err((Exit::Usage, why.into()));
    }
    if arguments.rounds == 0 {
        return Err((Exit::Usage, "--rounds 0 measures nothing".into()));
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
    let (mut ours, mut theirs) = (Vec::new(), None);
    for make in arguments.peer.makes() {
        let gaps = rounds(arguments, scratch, make)?;
        match make {
            Make::ZooKeeper => theirs = Some(gaps),
            Make::Vivarium => ours = gaps,
        }
    }
    let mut report = Report {
        given: vec![
            ("servers", arguments.servers as u64),
            ("rounds", arguments.rounds as u64),
        ],
        notes: vec![
            "From the last write acknowledged before the leader's process was killed to the next, \
             or between any two after that, whichever is longest.",
        ],
        ..Report::default()
    };
    let (median, worst) = (middle(&ours), longest(&ours));
    let about = "Vivarium: longest time without a write, median";
    report.add("gap_median_ms", about, median, "ms");
    report.add("gap_max_ms", "  at most", worst, "ms");
    if let Some(theirs) = theirs {
        let (their_median, their_worst) = (middle(&theirs), longest(&theirs));
        let about = "ZooKeeper: longest time without a write, median";
        report.add("zookeeper_gap_median_ms", about, their_median, "ms");
        report.add("zookeeper_gap_max_ms", "  at most", their_worst, "ms");
        let about = "ZooKeeper's median is so many of ours";
        report.add("gap_ratio", about, their_median / median, "times");
    }
    Ok(report)
}

fn in_ms(gaps: &[Duration]) -> Vec<f64> {
    let mut all: Vec<f64> = gaps.iter().map(|gap| gap.as_secs_f64() * 1e3).collect();
    all.sort_unstable_by(f64::total_cmp);
    all
}

fn middle(gaps: &[Duration]) -> f64 {
    in_ms(gaps)[gaps.len() / 2]
}

fn longest(gaps: &[Duration]) -> f64 {
    in_ms(gaps)[gaps.len() - 1]
}

/// All rounds on one ensemble: the longest gap of each.
fn rounds(arguments: &Arguments, scratch: &Path, make: Make) -> Result<Vec<Duration>, String> {
    let dir = scratch.join(format!("{make:?}"));
    let mut ensemble = Ensemble::start(&arguments.peer, make, arguments.servers, &dir)?;
    let mut gaps = Vec::new();
    for round in 0..arguments.rounds {
        let (gap, killed) = one_round(arguments, &mut ensemble, round)?;
        process::say(&format!(
            "{make:?}, round {} of {}: {:.1} ms",
            round + 1,
            arguments.rounds,
            gap.as_secs_f64() * 1e3
        ));
        gaps.push(gap);
        ensemble.restart(&arguments.peer, killed)?;
    }
    Ok(gaps)
}

/// Kills the leader under writes: the gap, and whom.
fn one_round(
    arguments: &Arguments,
    ensemble: &mut Ensemble,
    round: usize,
) -> Result<(Duration, usize), String> {
    let record = Record::default();
    let addresses = ensemble.addresses.clone();
    let (killed, at) = thread::scope(|scope| {
        let writer = scope.spawn(|| Writer::new(addresses, round).write_on(&record));
        let done = kill_leader(arguments, ensemble, &record);
        record.is_over.store(true, Ordering::Relaxed);
        let written = writer.join().expect("the writer does not panic");
        let done = done?;
        written.map_err(|why| format!("the writer: {why}"))?;
        Ok::<_, String>(done)
    })?;
    let acknowledged = record.acknowledged.into_inner().expect("nobody panicked");
    let pairs = acknowledged.windows(2).filter(|pair| pair[1] > at);
    let gap = pairs.map(|pair| pair[1] - pair[0]).max();
    Ok((gap.expect("a write after the kill was waited for"), killed))
}

/// Whom, and when.
fn kill_leader(
    arguments: &Arguments,
    ensemble: &mut Ensemble,
    record: &Record,
) -> Result<(usize, Instant), String> {
    record.wait_beyond(Instant::now())?;
    sleep(arguments.before);
    let leads = |at: &usize| {
        let mode = process::mode(ensemble.addresses[*at]);
        mode.is_ok_and(|mode| mode.as_deref() == Some("leader"))
    };
    let leader = (0..ensemble.addresses.len()).find(leads);
    let leader = leader.ok_or("no server says that it leads")?;
    let at = Instant::now();
    ensemble.running[leader].kill()?;
    // An answer of the dead leader may still have been on its way.
    record.wait_beyond(at)?;
    sleep(AFTER);
    record.wait_beyond(Instant::now())?;
    Ok((leader, at))
}

/// When writes were acknowledged.
#[derive(Default)]
struct Record {
    acknowledged: Mutex<Vec<Instant>>,
    is_over: AtomicBool,
}

impl Record {
    fn wait_beyond(&self, at: Instant) -> Result<(), String> {
        let is_beyond = || {
            let all = self.acknowledged.lock().expect("nobody panicked");
            all.last().is_some_and(|last| *last > at)
        };
        while !is_beyond() {
            if at.elapsed() > PATIENCE {
                return Err("no write is acknowledged any more".into());
            }
            sleep(PAUSE);
        }
        Ok(())
    }
}

/// A client with one write under way, always.
struct Writer {
    servers: Vec<SocketAddr>,
    next: usize,
    session: SessionId,
    password: Option<Vec<u8>>,
    seen: Zxid,
}

impl Writer {
    fn new(servers: Vec<SocketAddr>, first: usize) -> Self {
        Self {
            servers,
            next: first,
            session: SessionId(0),
            password: None,
            seen: Zxid::ZERO,
        }
    }

    /// Writes until it is told to stop, then looks whether the last write is there.
    fn write_on(mut self, record: &Record) -> Result<(), String> {
        let mut last = 0_u64;
        let mut stream = self.connected()?;
        while !record.is_over.load(Ordering::Relaxed) {
            let text = (last + 1).to_string();
            match self.write(&mut stream, &text) {
                Ok(()) => {
                    let mut all = record.acknowledged.lock().expect("nobody panicked");
                    all.push(Instant::now());
                    last += 1;
                }
                Err(_) => stream = self.connected()?,
            }
        }
        let holds = loop {
            match self.read(&mut stream) {
                Ok(holds) => break holds,
                Err(_) => stream = self.connected()?,
            }
        };
        match holds.parse::<u64>() {
            Ok(found) if found >= last => Ok(()),
            _ => Err(format!(
                "acknowledged {last}, and the znode holds {holds:?}"
            )),
        }
    }

    /// The next server that takes the session.
    fn connected(&mut self) -> Result<TcpStream, String> {
        let began = Instant::now();
        while began.elapsed() < PATIENCE {
            for _ in 0..self.servers.len() {
                let server = self.servers[self.next % self.servers.len()];
                self.next += 1;
                if let Ok(stream) = self.enter(server) {
                    return Ok(stream);
                }
            }
            sleep(PAUSE);
        }
        Err("no server takes its session".into())
    }

    fn enter(&mut self, server: SocketAddr) -> io::Result<TcpStream> {
        let mut stream = connect(server)?;
        let mut bytes = Vec::new();
        put_frame(&mut bytes, |out| {
            let request = ConnectRequest {
                protocol: 0,
                last_zxid_seen: self.seen,
                timeout_ms: 30_000,
                session: self.session,
                password: self.password.as_deref(),
                read_only: Some(false),
            };
            request.encode(out);
        });
        stream.write_all(&bytes)?;
        let answer = read_frame(&mut stream)?;
        let unreadable = |_| io::Error::other("an unreadable welcome");
        let welcome = ConnectResponse::decode(&answer).map_err(unreadable)?;
        if welcome.timeout_ms <= 0 {
            return Err(io::Error::other("the session is gone"));
        }
        self.session = welcome.session;
        self.password = Some(welcome.password.to_vec());
        Ok(stream)
    }

    fn write(&mut self, stream: &mut TcpStream, text: &str) -> io::Result<()> {
        let set = Request::SetData {
            path: PATH.into(),
            data: Some(text.as_bytes()),
            version: -1,
        };
        match self.ask(stream, &set)?.0 {
            0 => Ok(()),
            code if code == ErrorCode::NoNode as i32 => {
                self.ask(stream, &create(PATH))?;
                self.write(stream, text)
            }
            code => Err(io::Error::other(format!("refused with {code}"))),
        }
    }

    /// What a quorum holds.
    fn read(&mut self, stream: &mut TcpStream) -> io::Result<String> {
        self.ask(stream, &Request::Sync { path: PATH.into() })?;
        let read = Request::GetData {
            path: PATH.into(),
            watch: false,
        };
        let (_, frame) = self.ask(stream, &read)?;
        let mut reader = Reader::new(frame.get(16..).unwrap_or_default());
        let data = reader.buffer().ok().flatten().unwrap_or_default();
        Ok(String::from_utf8_lossy(data).into_owned())
    }

    /// The error code and the whole frame of the answer.
    fn ask(&mut self, stream: &mut TcpStream, request: &Request<'_>) -> io::Result<(i32, Vec<u8>)> {
        let mut bytes = Vec::new();
        put_request(&mut bytes, request);
        stream.write_all(&bytes)?;
        let frame = read_frame(stream)?;
        let header = ReplyHeader::read(&mut Reader::new(&frame));
        let header = header.map_err(|_| io::Error::other("an answer without a header"))?;
        self.seen = self.seen.max(header.zxid);
        Ok((header.error, frame))
    }
}
