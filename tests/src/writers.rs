//! Writers that remember what was acknowledged, and the check that none of it is missing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::client::{Client, Failure, code, flag};

/// What one writer knows to be durable.
#[derive(Default, Debug)]
pub struct Acknowledged {
    /// Path of each created znode and the zxid of the reply.
    pub created: BTreeMap<String, i64>,
    /// Newest acknowledged value of the writer's register, and its version.
    pub register: Option<(u64, i32)>,
    /// Newest value that was sent at all.
    pub register_sent: u64,
}

/// Threads that write until stopped.
pub struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
    refused: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Acknowledged>>,
}

/// Path under which everything is written.
pub const ROOT: &str = "/writers";

impl Writers {
    /// Starts `count` writers. Each takes its own server first and goes round when it is lost.
    /// `generation` keeps their paths apart from those of earlier writers.
    pub fn start(servers: &[SocketAddr], count: usize, generation: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let refused = Arc::new(AtomicUsize::new(0));
        let threads = (0..count).map(|number| {
            let mut writer = Writer {
                servers: servers.to_vec(),
                turn: number,
                name: format!("{generation}-{number}"),
                acknowledged: Acknowledged::default(),
                refused: Arc::clone(&refused),
                next: 0,
            };
            let (stop, total) = (Arc::clone(&stop), Arc::clone(&acknowledged));
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    writer.one_connection(&stop, &total);
                    std::thread::sleep(Duration::from_millis(20));
                }
                writer.acknowledged
            })
        });
        let threads = threads.collect();
        Self {
            stop,
            acknowledged,
            refused,
            threads,
        }
    }

    /// Writes refused so far because a server takes none.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Writes acknowledged so far, all writers together.
    pub fn count(&self) -> usize {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Stops and hands out what each writer, by name, knows to be durable.
    pub fn stop(self) -> Vec<Acknowledged> {
        self.stop.store(true, Ordering::Relaxed);
        let threads = self.threads.into_iter();
        threads
            .map(|thread| thread.join().expect("a writer saw what must not be"))
            .collect()
    }
}

struct Writer {
    servers: Vec<SocketAddr>,
    turn: usize,
    name: String,
    acknowledged: Acknowledged,
    refused: Arc<AtomicUsize>,
    next: u64,
}

impl Writer {
    fn register(&self) -> String {
        format!("{ROOT}/register-{}", self.name)
    }

    /// Writes over one connection until it breaks or the test stops.
    fn one_connection(&mut self, stop: &AtomicBool, total: &AtomicUsize) {
        let server = self.servers[self.turn % self.servers.len()];
        self.turn += 1;
        let Ok(mut client) = Client::connect(server, 5_000) else {
            return;
        };
        if self.prepare(&mut client).is_err() {
            return;
        }
        while !stop.load(Ordering::Relaxed) {
            match self.one_round(&mut client) {
                Ok(()) => drop(total.fetch_add(2, Ordering::Relaxed)),
                Err(Failure::Lost(_)) => return,
                Err(Failure::Refused(code::NOT_READ_ONLY)) => {
                    self.refused.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(Failure::Refused(code)) => panic!("writer {} refused: {code}", self.name),
            }
        }
    }

    /// Makes the parents, which another writer or an unanswered attempt may have made already.
    fn prepare(&self, client: &mut Client) -> Result<(), Failure> {
        for path in [ROOT, &self.register()] {
            match client.create(path, b"0", flag::PERSISTENT) {
                Ok(_) | Err(Failure::Refused(code::NODE_EXISTS)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// A new znode and a new value of the register. An unanswered create is never repeated, so
    /// that "exists already" is a fault, and so is any other refusal.
    fn one_round(&mut self, client: &mut Client) -> Result<(), Failure> {
        self.next += 1;
        let path = format!("{ROOT}/{}-{:06}", self.name, self.next);
        let (created, zxid) = client.create(&path, &self.next.to_be_bytes(), flag::PERSISTENT)?;
        assert_eq!(created, path);
        self.acknowledged.created.insert(path, zxid);
        self.acknowledged.register_sent = self.next;
        let stat = client.set(&self.register(), &self.next.to_be_bytes(), -1)?;
        self.acknowledged.register = Some((self.next, stat.version));
        Ok(())
    }
}

/// Fails when this server, brought up to date, lacks anything that was acknowledged.
pub fn assert_nothing_lost(client: &mut Client, generation: usize, all: &[Acknowledged]) {
    client.sync(ROOT).expect("sync is answered");
    let mut missing = Vec::new();
    for (number, acknowledged) in all.iter().enumerate() {
        for (path, zxid) in &acknowledged.created {
            match client.exists(path, false).expect("a read is answered") {
                Some(stat) => assert_eq!(stat.czxid, *zxid, "{path} is from another transaction"),
                None => missing.push(format!("{path} of {zxid:#x}")),
            }
        }
        if let Some((value, version)) = acknowledged.register {
            let path = format!("{ROOT}/register-{generation}-{number}");
            let (data, stat) = client.get(&path, false).expect("a read is answered");
            let found = u64::from_be_bytes(data.try_into().expect("8 bytes"));
            assert!(found >= value, "{path} fell from {value} back to {found}");
            assert!(
                found <= acknowledged.register_sent,
                "{path} holds what nobody wrote"
            );
            assert!(stat.version >= version, "{path} has an older version");
        }
    }
    assert!(
        missing.is_empty(),
        "acknowledged writes are missing: {missing:#?}"
    );
}
