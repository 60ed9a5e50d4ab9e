//! A server as a process of its own: started on a directory, asked until it answers, looked at,
//! ended.
#![allow(
    clippy::disallowed_methods,
    reason = "waits for another process; nobody is served meanwhile"
)]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use vivarium_core::ids::{SessionId, Zxid};
use vivarium_core::wire::client::{ConnectRequest, Request, put_frame};

use super::history::ROOT;
use super::server::put_request;
use crate::exit::Exit;

/// Between two attempts to reach a server that starts.
const PAUSE: Duration = Duration::from_millis(2);

/// A server that does not answer by then will not.
const PATIENCE: Duration = Duration::from_secs(180);

/// Longest wait for one answer; ZooKeeper drops what comes before it is ready.
const ANSWER: Duration = Duration::from_secs(1);

/// After the first answer, before the memory is looked at.
const SETTLE: Duration = Duration::from_secs(1);

/// What one start was seen to take.
#[derive(Clone, Copy, Debug)]
pub(super) struct Started {
    /// From the start of the process to the first answered read.
    pub(super) serving: Duration,
    /// Of all its threads until then, on processors: what other programs do not make longer.
    pub(super) cpu: Duration,
    /// Bytes in RAM, a second later.
    pub(super) resident: u64,
    /// The most that it ever was.
    pub(super) peak: u64,
}

/// The directory of a measurement, removed whatever happens.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn make(dir: &Path) -> Result<Self, (Exit, String)> {
        let failed = |e| (Exit::Usage, format!("can not make {}: {e}", dir.display()));
        fs::create_dir(dir).map_err(failed)?;
        let path = dir.canonicalize().map_err(failed)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can not be removed is left for its owner to see.
        drop(fs::remove_dir_all(&self.0));
    }
}

/// A server; the process is ended whatever happens.
pub(super) struct Running {
    child: Child,
    began: Instant,
    log: PathBuf,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Running {
    /// Starts a server whose output goes to `log`.
    pub(super) fn start(command: &mut Command, log: &Path) -> Result<Self, String> {
        let output = File::create(log).map_err(|e| format!("{}: {e}", log.display()))?;
        let errors = output.try_clone().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        let began = Instant::now();
        let child = command
            .spawn()
            .map_err(|e| format!("{}: {e}", command.get_program().display()))?;
        Ok(Self {
            child,
            began,
            log: log.into(),
        })
    }

    /// Ends the process as a crash would: nothing that it has not written is written any more.
    pub(super) fn kill(&mut self) -> Result<(), String> {
        self.child.kill().map_err(|why| why.to_string())
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Looks at it until it serves a read of `path`: how long that took from its start.
    pub(super) fn wait_serving(
        &mut self,
        address: SocketAddr,
        path: &str,
    ) -> Result<Duration, String> {
        while !is_serving(address, path) {
            let ended = self.child.try_wait().map_err(|e| e.to_string())?;
            if ended.is_some() || self.began.elapsed() > PATIENCE {
                let said = tail(&self.log);
                return Err(format!("the server does not serve; it said: {said}"));
            }
            sleep(PAUSE);
        }
        Ok(self.began.elapsed())
    }
}

/// Says on stderr what is done now.
pub(super) fn say(what: &str) {
    // Nobody is left to be told if stderr is closed.
    let _ = writeln!(io::stderr(), "{what}");
}

/// Ports that nobody uses now.
pub(super) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let bind = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let listeners: io::Result<Vec<TcpListener>> = (0..count).map(bind).collect();
    let ports = listeners?;
    ports
        .iter()
        .map(|one| Ok(one.local_addr()?.port()))
        .collect()
}

/// Starts a server whose output goes to `log`, and looks at it until it serves on `port`.
pub(super) fn observe(command: &mut Command, port: u16, log: &Path) -> Result<Started, String> {
    let mut running = Running::start(command, log)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let serving = running.wait_serving(address, ROOT)?;
    let cpu = cpu_time(running.pid())?;
    sleep(SETTLE);
    let (resident, peak) = memory(running.pid())?;
    Ok(Started {
        serving,
        cpu,
        resident,
        peak,
    })
}

/// The last lines of what a server has said.
fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}

/// A session and a read of it are answered, and `srvr` shows a server.
fn is_serving(address: SocketAddr, path: &str) -> bool {
    read(address, path).unwrap_or(false) && mode(address).is_ok_and(|mode| mode.is_some())
}

pub(super) fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn read(address: SocketAddr, path: &str) -> io::Result<bool> {
    let mut stream = connect(address)?;
    let hello = ConnectRequest {
        protocol: 0,
        last_zxid_seen: Zxid::ZERO,
        timeout_ms: 30_000,
        session: SessionId(0),
        password: None,
        read_only: Some(false),
    };
    let mut bytes = Vec::new();
    put_frame(&mut bytes, |out| hello.encode(out));
    stream.write_all(&bytes)?;
    read_frame(&mut stream)?;
    bytes.clear();
    let read = Request::GetData {
        path: path.into(),
        watch: false,
    };
    put_request(&mut bytes, &read);
    stream.write_all(&bytes)?;
    // xid, zxid, error.
    let reply = read_frame(&mut stream)?;
    Ok(reply.get(12..16) == Some(&[0; 4]))
}

pub(super) fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = Vec::new();
    let length = u64::from(u32::from_be_bytes(length));
    stream.take(length).read_to_end(&mut frame)?;
    Ok(frame)
}

/// What a server says that it is: `leader`, `follower`, `standalone`; nothing while it looks.
pub(super) fn mode(address: SocketAddr) -> io::Result<Option<String>> {
    let mut stream = connect(address)?;
    stream.write_all(b"srvr")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
    Ok(mode.map(str::to_owned))
}

/// Bytes of a process in RAM now, and the most that it ever had.
pub(super) fn memory(pid: u32) -> Result<(u64, u64), String> {
    let file = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        let kib = line.and_then(|rest| rest.split_ascii_whitespace().next()?.parse::<u64>().ok());
        let kib = kib.ok_or_else(|| format!("{file}: no {key}"))?;
        Ok::<u64, String>(kib << 10)
    };
    Ok((value("VmRSS:")?, value("VmHWM:")?))
}

/// Ticks of the clock in which Linux tells processor times, a second (USER_HZ of every platform
/// that this runs on).
const TICKS_PER_SECOND: u32 = 100;

/// How long a process, with all its threads, was on a processor so far.
pub(super) fn cpu_time(pid: u32) -> Result<Duration, String> {
    let file = format!("/proc/{pid}/stat");
    let text = fs::read_to_string(&file).map_err(|e| format!("{file}: {e}"))?;
    // The name, in parentheses, may hold anything; of the fields behind it, the 12th and 13th.
    let fields = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    let mut ticks = fields.split_ascii_whitespace().skip(11);
    let mut next = || ticks.next()?.parse::<u32>().ok();
    match (next(), next()) {
        (Some(user), Some(system)) => {
            Ok(Duration::from_secs(1) / TICKS_PER_SECOND * (user + system))
        }
        _ => Err(format!("{file}: no processor times")),
    }
}
