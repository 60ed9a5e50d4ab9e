//! Where the files of a server lie: told as a directory, as its `zoo.cfg`, or by the server itself.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::time::Duration;

use vivarium_core::ids::Zxid;
use vivarium_storage::inspect::{ReadOnlyFiles, log_names, snapshot_names};

use super::super::ToolError;
use super::super::directory::at;
use crate::config;

/// How long a server may take to answer a four-letter word.
const PATIENCE: Duration = Duration::from_secs(10);

/// A server's directories.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in super::super) struct Source {
    pub(in super::super) data_dir: PathBuf,
    pub(in super::super) log_dir: PathBuf,
    /// `HOST:PORT`, if the server was named.
    pub(in super::super) server: Option<String>,
    /// The zxid that the server told before anything was read.
    pub(in super::super) floor: Option<Zxid>,
}

fn failed<T>(problem: String) -> Result<T, ToolError> {
    Err(ToolError::Failed(problem))
}

/// `dataDir` and `dataLogDir` of what is named: a directory, or a `zoo.cfg`.
pub(in super::super) fn directories(
    named: &Path,
    log_dir: Option<&Path>,
) -> Result<(PathBuf, PathBuf), ToolError> {
    if !named.is_file() {
        return Ok((named.to_owned(), log_dir.unwrap_or(named).to_owned()));
    }
    if log_dir.is_some() {
        return failed(format!(
            "--log-dir and {} exclude each other",
            named.display()
        ));
    }
    let loaded = config::load(named).map_err(|e| ToolError::Failed(e.to_string()))?;
    Ok((loaded.settings.data_dir, loaded.settings.log_dir))
}

impl Source {
    /// `named`: a directory, a `zoo.cfg`, or `HOST:PORT` of a server on this machine.
    pub(super) fn find(
        named: &str,
        log_dir: Option<&Path>,
        server: Option<&str>,
    ) -> Result<Self, ToolError> {
        let path = Path::new(named);
        if path.exists() {
            let floor = server.map(zxid_of).transpose()?;
            let (data_dir, log_dir_found) = directories(path, log_dir)?;
            let source = Self {
                data_dir,
                log_dir: log_dir_found,
                server: server.map(str::to_owned),
                floor,
            };
            if path.is_dir() && log_dir.is_none() {
                source.refuse_without_logs()?;
            }
            return Ok(source);
        }
        if !named.contains(':') || named.contains('/') {
            return failed(format!(
                "{named} is neither a directory, nor a zoo.cfg, nor HOST:PORT"
            ));
        }
        let floor = zxid_of(named)?;
        let (data_dir, log_dir) = told_directories(named)?;
        Ok(Self {
            data_dir,
            log_dir,
            server: Some(named.to_owned()),
            floor: Some(floor),
        })
    }

    pub(in super::super) fn files(&self) -> ReadOnlyFiles {
        at(&self.data_dir, &self.log_dir)
    }

    /// A history without a log is possible, but far rarer than a `dataLogDir` that was forgotten,
    /// and then the backup would lack what was written last, or all where there is only the first,
    /// empty snapshot.
    fn refuse_without_logs(&self) -> Result<(), ToolError> {
        let files = self.files();
        if !snapshot_names(&files)?.is_empty() && log_names(&files)?.is_empty() {
            return failed(format!(
                "there are snapshots in {dir}, but no logs: if the server has a dataLogDir, name \
                 it with --log-dir; if not, name {dir} there",
                dir = self.data_dir.display()
            ));
        }
        Ok(())
    }
}

/// Asks a server one four-letter word.
pub(in super::super) fn ask(server: &str, word: &str) -> Result<String, ToolError> {
    let spoken = || {
        let mut last = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
        for address in server.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(mut stream) => {
                    stream.set_read_timeout(Some(PATIENCE))?;
                    stream.write_all(word.as_bytes())?;
                    let mut text = String::new();
                    stream.read_to_string(&mut text)?;
                    return Ok(text);
                }
                Err(e) => last = e,
            }
        }
        Err(last)
    };
    let answer: std::io::Result<String> = spoken();
    answer.map_err(|e| ToolError::Failed(format!("{server} does not answer {word}: {e}")))
}

fn value<'t>(text: &'t str, key: &str) -> Option<&'t str> {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .map(str::trim)
}

/// The zxid that a server shows.
fn zxid_of(server: &str) -> Result<Zxid, ToolError> {
    let text = ask(server, "srvr")?;
    let zxid = value(&text, "Zxid: 0x").and_then(|hex| i64::from_str_radix(hex, 16).ok());
    zxid.map(Zxid).ok_or_else(|| {
        let first = text.lines().next().unwrap_or_default();
        ToolError::Failed(format!(
            "{server} does not serve: srvr is answered with {first:?}"
        ))
    })
}

/// The directories that a server on this machine tells in `conf`.
fn told_directories(server: &str) -> Result<(PathBuf, PathBuf), ToolError> {
    let text = ask(server, "conf")?;
    let (Some(data), Some(log)) = (value(&text, "dataDir="), value(&text, "dataLogDir=")) else {
        return failed(format!(
            "{server} does not tell its directories; name dataDir or zoo.cfg, and the server with \
             --server, or allow conf in its 4lw.commands.whitelist"
        ));
    };
    let dirs = [data, log].map(|dir| {
        let dir = PathBuf::from(dir);
        // ZooKeeper tells the inner directory.
        let outer = if dir.ends_with("version-2") {
            dir.parent().unwrap_or(&dir).to_owned()
        } else {
            dir
        };
        absolute(server, outer)
    });
    for dir in &dirs {
        if !dir.is_dir() {
            return failed(format!(
                "{server} keeps its data in {}, which is not on this machine: run the backup \
                 there, or take a part of the tree with `vivarium export {server}`",
                dir.display()
            ));
        }
    }
    let [data, log] = dirs;
    Ok((data, log))
}

/// A relative path is meant from where the server runs.
fn absolute(server: &str, dir: PathBuf) -> PathBuf {
    if dir.is_absolute() {
        return dir;
    }
    let port = server.rsplit(':').next().and_then(|port| port.parse().ok());
    let owner = port.and_then(crate::owner::of_port);
    let home = owner.and_then(|owner| std::fs::read_link(format!("/proc/{}/cwd", owner.pid)).ok());
    home.map_or_else(|| dir.clone(), |home| home.join(&dir))
}
