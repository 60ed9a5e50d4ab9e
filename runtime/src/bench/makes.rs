//! The two makes of servers that are measured side by side, Apache ZooKeeper and Vivarium: how each
//! is started, alone or as an ensemble on this machine's loopback. ZooKeeper runs with its logging
//! off. Knows nothing of loads and figures.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use super::process::{self, Running, Scratch};
use crate::exit::Exit;

/// The class with ZooKeeper's `main`.
const ZOOKEEPER_MAIN: &str = "org.apache.zookeeper.server.quorum.QuorumPeerMain";

/// In the directory of each server.
const CONFIG_FILE: &str = "zoo.cfg";

/// Options of every measurement that can start both makes.
#[derive(Args, Debug)]
pub(super) struct Peer {
    /// Class path of Apache ZooKeeper; without it Vivarium is measured alone
    #[arg(long, value_name = "CLASSPATH")]
    zookeeper: Option<String>,
    /// Options for its virtual machine; the default is the heap that zkServer.sh gives
    #[arg(
        long,
        value_name = "OPTIONS",
        default_value = "-Xmx1000m",
        allow_hyphen_values = true
    )]
    java_options: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Make {
    ZooKeeper,
    Vivarium,
}

impl Peer {
    /// What is measured: Apache ZooKeeper, where a class path is given, and Vivarium.
    pub(super) fn makes(&self) -> impl Iterator<Item = Make> + use<> {
        let theirs = self.zookeeper.is_some().then_some(Make::ZooKeeper);
        theirs.into_iter().chain([Make::Vivarium])
    }

    /// A command that lacks only the file of configuration; `home` is for what it needs beside.
    ///
    /// # Panics
    /// If ZooKeeper is asked for without a class path.
    pub(super) fn command(&self, make: Make, home: &Path) -> Result<Command, String> {
        if make == Make::Vivarium {
            let program = std::env::current_exe().map_err(|why| why.to_string())?;
            let mut command = Command::new(program);
            command.arg("serve").env("VIVARIUM_LOG", "warn");
            return Ok(command);
        }
        let classpath = self.zookeeper.as_ref().expect("`makes` gave it");
        let logback = home.join("logback.xml");
        let silent = "<configuration><root level=\"OFF\"/></configuration>\n";
        fs::write(&logback, silent).map_err(|why| why.to_string())?;
        let mut command = Command::new("java");
        command.args(self.java_options.split_ascii_whitespace());
        command.arg(format!("-Dlogback.configurationFile={}", logback.display()));
        command.args([
            "-Dorg.slf4j.simpleLogger.defaultLogLevel=off",
            "-Dzookeeper.admin.enableServer=false",
            "-cp",
            classpath,
            ZOOKEEPER_MAIN,
        ]);
        Ok(command)
    }
}

/// The directory of a measurement that starts servers.
#[derive(Args, Debug)]
pub(super) struct Place {
    /// Directory to work in, which must not exist; removed at the end
    #[arg(long, value_name = "DIR", default_value = "vivarium-bench")]
    dir: PathBuf,
}

impl Place {
    pub(super) fn make(&self) -> Result<Scratch, (Exit, String)> {
        Scratch::make(&self.dir)
    }
}

/// Servers that run, and where clients reach them. They end with this value.
pub(super) struct Ensemble {
    make: Make,
    homes: Vec<PathBuf>,
    pub(super) running: Vec<Running>,
    pub(super) addresses: Vec<SocketAddr>,
}

impl Ensemble {
    /// Starts servers with directories below `dir` and waits until each of them serves.
    pub(super) fn start(
        peer: &Peer,
        make: Make,
        servers: usize,
        dir: &Path,
    ) -> Result<Self, String> {
        let ports = process::free_ports(3 * servers).map_err(|why| why.to_string())?;
        let (clients, peers) = ports.split_at(servers);
        let members: Vec<String> = (0..servers)
            .filter(|_| servers > 1)
            .map(|at| {
                let (quorum, election) = (peers[2 * at], peers[2 * at + 1]);
                format!("server.{}=127.0.0.1:{quorum}:{election}", at + 1)
            })
            .collect();
        let mut ensemble = Self {
            make,
            homes: Vec::new(),
            running: Vec::new(),
            addresses: Vec::new(),
        };
        for (at, &port) in clients.iter().enumerate() {
            let home = dir.join(format!("server-{}", at + 1));
            let data = home.join("data");
            fs::create_dir_all(&data).map_err(|why| why.to_string())?;
            if !members.is_empty() {
                fs::write(data.join("myid"), format!("{}\n", at + 1))
                    .map_err(|why| why.to_string())?;
            }
            configure(&home, &data, port, &members)?;
            ensemble.running.push(run(peer, make, &home)?);
            ensemble.homes.push(home);
            ensemble.addresses.push((Ipv4Addr::LOCALHOST, port).into());
        }
        for (running, address) in ensemble.running.iter_mut().zip(&ensemble.addresses) {
            running.wait_serving(*address, "/zookeeper")?;
        }
        Ok(ensemble)
    }

    /// Starts a server anew, whose process has ended, and waits until it serves.
    pub(super) fn restart(&mut self, peer: &Peer, at: usize) -> Result<(), String> {
        self.running[at] = run(peer, self.make, &self.homes[at])?;
        self.running[at].wait_serving(self.addresses[at], "/zookeeper")?;
        Ok(())
    }
}

/// Starts the server whose file of configuration is in `home`.
fn run(peer: &Peer, make: Make, home: &Path) -> Result<Running, String> {
    let mut command = peer.command(make, home)?;
    Running::start(command.arg(home.join(CONFIG_FILE)), &home.join("log"))
}

/// Writes `zoo.cfg` in `home`, for a server with this data directory and client port.
pub(super) fn configure(
    home: &Path,
    data: &Path,
    port: u16,
    members: &[String],
) -> Result<PathBuf, String> {
    let mut lines = vec![
        "tickTime=2000".to_owned(),
        "initLimit=10".to_owned(),
        "syncLimit=5".to_owned(),
        "maxClientCnxns=0".to_owned(),
        format!("dataDir={}", data.display()),
        "clientPortAddress=127.0.0.1".to_owned(),
        format!("clientPort={port}"),
        "4lw.commands.whitelist=srvr".to_owned(),
    ];
    lines.extend_from_slice(members);
    let config = home.join(CONFIG_FILE);
    fs::write(&config, lines.join("\n") + "\n").map_err(|why| why.to_string())?;
    Ok(config)
}
