//! The production driver: one thread that owns the machine and its sockets, two that own the disk.
//!
//! The thread of the machine runs tokio's single-threaded scheduler. Readers, the turn and dials
//! are tasks on it, so a request crosses no channel and wakes no other thread until it is written
//! to disk: when several sockets are readable, all their readers run before the turn does, and the
//! turn takes what they have read as one batch.

mod clock;
mod connection;
mod describe;
mod dial;
mod disk;
mod effects;
mod hub;
mod listen;
mod queue;
mod quiet;
mod recorded;
mod store;
mod table;
#[cfg(test)]
mod tests;
mod timed;
mod turn;

use std::fmt;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpSocket;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{LocalSet, spawn_local};
use vivarium_core::boundary::{Channel, Fault};
use vivarium_core::node::Node;
use vivarium_recording::{Limits, Recorder};

pub use listen::BindError;
pub use recorded::Record;

use crate::config::{Endpoint, Settings};
use crate::exit::Exit;
use clock::Clock;
use disk::{Disk, DiskThreads, Presync};
use effects::Effects;
use hub::{Arrival, Hub};
use listen::Purpose;
use recorded::Recorded;
use turn::{Machine, Turns};

/// How long the last bytes of closed connections may take when the server stops.
const FAREWELL: Duration = Duration::from_secs(1);

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The directory is locked by another server, or can not be used.
    DataDirectory(io::Error),
    /// The directory is damaged: file, offset, cure.
    Data(String),
    Bind(BindError),
    /// The recording can not be written.
    Recording(io::Error),
    /// The system refuses threads, signals or its event queue.
    System(io::Error),
}

impl StartError {
    pub fn exit(&self) -> Exit {
        match self {
            Self::DataDirectory(_) => Exit::DataDirectory,
            Self::Data(_) | Self::Recording(_) | Self::System(_) => Exit::Failure,
            Self::Bind(_) => Exit::Bind,
        }
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DataDirectory(error) => write!(f, "can not use the data directory: {error}"),
            Self::Data(text) => f.write_str(text),
            Self::Bind(error) => error.fmt(f),
            Self::Recording(error) => write!(f, "can not record: {error}"),
            Self::System(error) => write!(f, "the system refuses: {error}"),
        }
    }
}

impl std::error::Error for StartError {}

/// A port that is bound.
type Bound = (TcpSocket, Purpose);

/// Runs a server until it is stopped or can not go on.
///
/// # Errors
/// What kept it from starting.
pub fn run(settings: Settings, record: Option<&Record>) -> Result<Exit, StartError> {
    let files = store::lock(&settings).map_err(StartError::DataDirectory)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::System)?;
    let bound = {
        let _entered = runtime.enter();
        bind(&settings).map_err(StartError::Bind)?
    };
    let seed = seed();
    let mut opened = store::open(&settings, files, seed).map_err(StartError::Data)?;
    let mut clock = Clock::start();
    let (config, now) = (settings.core(seed), clock.read());
    let begin = |record: &Record| {
        let limits = Limits {
            bytes_max: record.bytes_max,
        };
        let state = &mut opened.recovered;
        Recorder::begin(&record.dir, limits, &config, state, now)
    };
    let recorder = record.map(begin).transpose();
    let recorder = recorder.map_err(StartError::Recording)?;
    if let Some(recorder) = &recorder {
        let path = recorder.path().display();
        tracing::warn!("everything is recorded in {path}, passwords of sessions included");
    }
    let machine = Recorded {
        node: Node::boot(config, opened.recovered, now),
        recorder,
    };
    drive(
        &runtime,
        settings,
        machine,
        clock,
        (opened.disk, opened.presync),
        bound,
    )
}

/// Hash seeds and the like: different in each process, never a secret.
fn seed() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

fn bind(settings: &Settings) -> Result<Vec<Bound>, BindError> {
    let clients = listen::bind(Purpose::Clients, "clientPort", &settings.client)?;
    let mut bound = vec![(clients, Purpose::Clients)];
    if let Some(me) = settings.my_member() {
        let key = format!("server.{}", settings.me);
        for (channel, port) in [
            (Channel::Quorum, me.quorum_port),
            (Channel::Election, me.election_port),
        ] {
            let purpose = Purpose::Servers(channel);
            let endpoint = Endpoint {
                host: settings.peer_bind_host().to_owned(),
                port,
            };
            bound.push((listen::bind(purpose, &key, &endpoint)?, purpose));
        }
    }
    Ok(bound)
}

/// Runs a machine with a disk and bound ports until it halts.
fn drive<M: Machine + 'static>(
    runtime: &Runtime,
    settings: Settings,
    machine: M,
    clock: Clock,
    (disk, presync): (impl Disk, impl Presync),
    bound: Vec<Bound>,
) -> Result<Exit, StartError> {
    let (to, reports) = mpsc::unbounded_channel();
    let disk = DiskThreads::start(disk, presync, settings.purge_interval, to)
        .map_err(StartError::System)?;
    let settings = Rc::new(settings);
    let hub = Rc::new(Hub::new());
    let local = LocalSet::new();
    local.block_on(runtime, async {
        watch_signals(&hub).map_err(StartError::System)?;
        for (socket, purpose) in bound {
            spawn_local(listen::accept(hub.clone(), socket, purpose));
        }
        let effects = Effects::new(hub.clone(), settings.clone(), disk);
        let turns = Turns::new(machine, hub.clone(), effects, clock, reports);
        // A task like the readers, so that it runs after those that are ready.
        let ended = spawn_local(turns.run()).await;
        let (fault, effects) = match ended {
            Ok(ended) => ended,
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        };
        effects.finish();
        farewell(&hub).await;
        Ok(last_words(&fault))
    })
}

/// SIGTERM and SIGINT stop the machine.
fn watch_signals(hub: &Rc<Hub>) -> io::Result<()> {
    for (kind, name) in [
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::interrupt(), "SIGINT"),
    ] {
        let mut signals = signal(kind)?;
        let hub = hub.clone();
        spawn_local(async move {
            while signals.recv().await.is_some() {
                tracing::info!("{name}: stopping");
                hub.push(Arrival::Stop);
            }
        });
    }
    Ok(())
}

/// Lets the last bytes of all connections leave.
async fn farewell(hub: &Rc<Hub>) {
    hub.finish_all();
    let all_gone = async {
        while hub.lingering.get() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    if tokio::time::timeout(FAREWELL, all_gone).await.is_err() {
        tracing::debug!(
            connections = hub.lingering.get(),
            "dropped with unread bytes"
        );
    }
}

fn last_words(fault: &Fault) -> Exit {
    let (exit, text) = describe::fault(fault);
    if exit == Exit::Success {
        tracing::info!("{text}");
    } else {
        tracing::error!("halted: {text}");
    }
    exit
}
