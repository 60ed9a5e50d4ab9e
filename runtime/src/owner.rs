//! Who has what this server needs: a port, a lock. As far as the system tells: Linux only
//! (`/proc`); elsewhere nobody is found, and the caller says so in general terms.

use std::path::Path;

/// A process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Owner {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// The process that listens on TCP `port`; none if it belongs to another user, or ended meanwhile.
pub(crate) fn of_port(port: u16) -> Option<Owner> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"];
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| listeners(&table, port))
        .map(|inode| format!("socket:[{inode}]"))
        .collect();
    if inodes.is_empty() {
        return None;
    }
    for process in std::fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = process.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if holds(&process.path(), &inodes) {
            let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
            return Some(Owner {
                pid,
                name: name.trim().to_owned(),
            });
        }
    }
    None
}

/// The process that holds a lock on the file.
#[cfg(unix)]
pub(crate) fn of_lock(path: &Path) -> Option<Owner> {
    use std::os::unix::fs::MetadataExt;
    let inode = std::fs::metadata(path).ok()?.ino();
    let locks = std::fs::read_to_string("/proc/locks").ok()?;
    let pid = locker(&locks, inode)?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
    Some(Owner {
        pid,
        name: name.trim().to_owned(),
    })
}

/// The process in the line of `/proc/locks` for this inode: `1: FLOCK ADVISORY WRITE 42 08:01:77 0
/// EOF`. A line with an arrow is one that waits.
fn locker(locks: &str, inode: u64) -> Option<u32> {
    let suffix = format!(":{inode}");
    locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let holds = *fields.get(1)? != "->" && fields.get(5)?.ends_with(&suffix);
        if holds { fields[4].parse().ok() } else { None }
    })
}

fn holds(process: &Path, inodes: &[String]) -> bool {
    let Ok(handles) = std::fs::read_dir(process.join("fd")) else {
        return false;
    };
    handles
        .flatten()
        .filter_map(|handle| std::fs::read_link(handle.path()).ok())
        .any(|target| {
            inodes
                .iter()
                .any(|inode| target.as_os_str() == inode.as_str())
        })
}

/// Inodes of the sockets in state LISTEN (0A) on `port`.
fn listeners(table: &str, port: u16) -> Vec<u64> {
    let suffix = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter_map(|line| {
            let fields: Vec<&str> = line.split_ascii_whitespace().collect();
            let listens = fields.get(1)?.ends_with(&suffix) && *fields.get(3)? == "0A";
            if listens {
                fields.get(9)?.parse().ok()
            } else {
                None
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_of_a_table() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   \
                     uid  timeout inode\n\
             0: 0100007F:0885 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        \
                     0 4242 1 0000000000000000 100 0 0 10 0\n\
             1: 0100007F:0885 0100007F:9999 01 00000000:00000000 00:00000000 00000000     0        \
                     0 4343 1 0000000000000000 100 0 0 10 0\n";
        assert_eq!(listeners(table, 2181), [4242]);
        assert_eq!(listeners(table, 2182), [] as [u64; 0]);
    }

    #[test]
    fn lockers_of_a_table() {
        let locks = "1: POSIX  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF\n\
             2: FLOCK  ADVISORY  WRITE 42 08:01:77 0 EOF\n\
             2: -> FLOCK  ADVISORY  WRITE 43 08:01:77 0 EOF\n";
        assert_eq!(locker(locks, 77), Some(42));
        assert_eq!(locker(locks, 7), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn this_process_is_found() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let port = socket.local_addr().expect("bound").port();
        let owner = of_port(port).expect("this process");
        assert_eq!(owner.pid, std::process::id());
        drop(socket);
    }
}
