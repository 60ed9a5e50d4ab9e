//! The format: a magic line with the version, then entries. An entry is its length (4 bytes, big
//! end first), its body and a checksum over both (4 bytes); a body begins with its kind.
//!
//! Knows bytes; what a recording means is [`super::replay`].

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::Bytes;
use vivarium_core::boundary::{Channel, Input};
use vivarium_core::database::Database;
use vivarium_core::ids::{ConnId, Epoch, LinkId, ServerId, WriteSeq, Zxid};
use vivarium_core::log::{CommittedLog, LogEntry};
use vivarium_core::mutants::Mutants;
use vivarium_core::recovery::Recovered;
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::time::{Instant, Now, WallMs};
use vivarium_core::tree::Walked;

/// What is written. Others are refused: an input may have meant something else.
pub const VERSION: u32 = 1;

/// How every recording begins; the version follows, and the end of the line.
pub const MAGIC: &str = "vivarium-recording";

/// No entry but the first is longer than what one read of a socket brings; the first holds a whole
/// tree.
pub(crate) const ENTRY_BYTES_MAX: usize = 1 << 30;

/// Why a recording can not be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Broken {
    /// Offset in the file.
    pub at: u64,
    pub why: String,
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "offset {}: {}", self.at, self.why)
    }
}

impl std::error::Error for Broken {}

/// What an entry is.
pub(crate) mod kind {
    pub(crate) const CONFIG: u8 = 1;
    pub(crate) const STATE: u8 = 2;
    pub(crate) const BOOT: u8 = 3;
    pub(crate) const FLUSH: u8 = 4;
    pub(crate) const MARK: u8 = 5;
    pub(crate) const FULL: u8 = 6;
    pub(crate) const WAKE: u8 = 10;
    pub(crate) const CLIENT_OPENED: u8 = 11;
    pub(crate) const CLIENT_BYTES: u8 = 12;
    pub(crate) const CLIENT_CLOSED: u8 = 13;
    pub(crate) const CLIENT_UNREAD: u8 = 14;
    pub(crate) const LINK_OPENED: u8 = 15;
    pub(crate) const LINK_BYTES: u8 = 16;
    pub(crate) const LINK_DRAINED: u8 = 17;
    pub(crate) const LINK_CLOSED: u8 = 18;
    pub(crate) const DIAL_FAILED: u8 = 19;
    pub(crate) const PERSISTED: u8 = 20;
    pub(crate) const RELOADED: u8 = 21;
    pub(crate) const SNAPSHOT_STORED: u8 = 22;
    pub(crate) const DISK_ROOM: u8 = 23;
    pub(crate) const DISK_FAILED: u8 = 24;
    pub(crate) const STOP: u8 = 25;
}

/// FNV-1a: an entry that was torn or changed is told from a whole one.
pub(crate) fn checksum(bytes: &[u8]) -> u32 {
    let step = |hash: u32, byte: &u8| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    bytes.iter().fold(0x811c_9dc5, step)
}

/// Entries, one after the other.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) out: Vec<u8>,
}

impl Writer {
    /// One entry.
    pub(crate) fn entry(&mut self, kind: u8, body: impl FnOnce(&mut Self)) {
        let start = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.out.push(kind);
        body(self);
        let length = (self.out.len() - start - 4) as u32;
        self.out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        let sum = checksum(&self.out[start..]);
        self.out.extend_from_slice(&sum.to_be_bytes());
    }

    pub(crate) fn byte(&mut self, value: u8) {
        self.out.push(value);
    }

    pub(crate) fn word(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_be_bytes());
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.out
            .extend_from_slice(&(bytes.len() as u32).to_be_bytes());
        self.out.extend_from_slice(bytes);
    }

    pub(crate) fn now(&mut self, now: Now) {
        self.word(now.mono.0);
        self.word(now.wall.0 as u64);
    }

    /// What a disk gave. The tree is walked to its end.
    pub(crate) fn state(&mut self, state: &mut Recovered) {
        self.word(state.accepted.0 as u64);
        self.word(state.current.0 as u64);
        let walk = state.database.begin_walk();
        self.word(state.database.walk_zxid(walk).0 as u64);
        let mut tree = Vec::new();
        while state.database.walk(walk, 1 << 20, &mut tree) == Walked::More {}
        state.database.end_walk(walk);
        self.bytes(&tree);
        self.word(state.recent.iter().count() as u64);
        for entry in state.recent.iter() {
            self.word(entry.zxid.0 as u64);
            self.bytes(&entry.record);
        }
    }

    /// An input and its time. `Reloaded` is read out: its state goes into the tree that it is for.
    pub(crate) fn input(&mut self, now: Now, input: &mut Input<'_>) {
        let kind = kind_of(input);
        self.entry(kind, |w| {
            w.now(now);
            match input {
                Input::Wake | Input::Stop => {}
                Input::ClientOpened { conn, address } => {
                    w.word(conn.0);
                    w.address(*address);
                }
                Input::ClientBytes { conn, bytes } => {
                    w.word(conn.0);
                    w.bytes(bytes);
                }
                Input::ClientClosed { conn } => w.word(conn.0),
                Input::ClientUnread { conn, bytes } => {
                    w.word(conn.0);
                    w.word(*bytes as u64);
                }
                Input::LinkOpened {
                    link,
                    peer,
                    channel,
                } => {
                    w.word(link.0);
                    w.byte(u8::from(peer.is_some()));
                    w.word(peer.map_or(0, |peer| peer.0 as u64));
                    w.channel(*channel);
                }
                Input::LinkBytes { link, bytes } => {
                    w.word(link.0);
                    w.bytes(bytes);
                }
                Input::LinkDrained { link, bytes } => {
                    w.word(link.0);
                    w.word(*bytes as u64);
                }
                Input::LinkClosed { link } => w.word(link.0),
                Input::DialFailed { peer, channel } => {
                    w.word(peer.0 as u64);
                    w.channel(*channel);
                }
                Input::Persisted { upto } | Input::DiskFailed { upto } => w.word(upto.0),
                Input::Reloaded { seq, state } => {
                    w.word(seq.0);
                    w.state(state);
                }
                Input::SnapshotStored { ok } => w.byte(u8::from(*ok)),
                Input::DiskRoom { low } => w.byte(u8::from(*low)),
            }
        });
    }

    fn channel(&mut self, channel: Channel) {
        self.byte(u8::from(channel == Channel::Quorum));
    }

    fn address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.bytes(&address.octets()),
            IpAddr::V6(address) => self.bytes(&address.octets()),
        }
    }
}

fn kind_of(input: &Input<'_>) -> u8 {
    match input {
        Input::Wake => kind::WAKE,
        Input::ClientOpened { .. } => kind::CLIENT_OPENED,
        Input::ClientBytes { .. } => kind::CLIENT_BYTES,
        Input::ClientClosed { .. } => kind::CLIENT_CLOSED,
        Input::ClientUnread { .. } => kind::CLIENT_UNREAD,
        Input::LinkOpened { .. } => kind::LINK_OPENED,
        Input::LinkBytes { .. } => kind::LINK_BYTES,
        Input::LinkDrained { .. } => kind::LINK_DRAINED,
        Input::LinkClosed { .. } => kind::LINK_CLOSED,
        Input::DialFailed { .. } => kind::DIAL_FAILED,
        Input::Persisted { .. } => kind::PERSISTED,
        Input::Reloaded { .. } => kind::RELOADED,
        Input::SnapshotStored { .. } => kind::SNAPSHOT_STORED,
        Input::DiskRoom { .. } => kind::DISK_ROOM,
        Input::DiskFailed { .. } => kind::DISK_FAILED,
        Input::Stop => kind::STOP,
    }
}

/// The body of an entry, read from its front.
pub(crate) struct Reader<'a> {
    pub(crate) rest: &'a [u8],
}

/// Reading went beyond the entry, or met what means nothing.
pub(crate) type Read<T> = Result<T, String>;

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Read<&'a [u8]> {
        let (head, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or("an entry ends too early")?;
        self.rest = rest;
        Ok(head)
    }

    pub(crate) fn byte(&mut self) -> Read<u8> {
        Ok(self.take(1)?[0])
    }

    fn flag(&mut self) -> Read<bool> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(format!("{other} is neither yes nor no")),
        }
    }

    pub(crate) fn word(&mut self) -> Read<u64> {
        let bytes = self.take(8)?;
        Ok(u64::from_be_bytes(bytes.try_into().expect("eight bytes")))
    }

    pub(crate) fn bytes(&mut self) -> Read<&'a [u8]> {
        let length = self.take(4)?.try_into().expect("four bytes");
        self.take(u32::from_be_bytes(length) as usize)
    }

    pub(crate) fn now(&mut self) -> Read<Now> {
        Ok(Now {
            mono: Instant(self.word()?),
            wall: WallMs(self.word()? as i64),
        })
    }

    fn size(&mut self) -> Read<usize> {
        usize::try_from(self.word()?).map_err(|_| "a count too large for this machine".to_owned())
    }

    fn epoch(&mut self) -> Read<Epoch> {
        let word = self.word()?;
        word.try_into()
            .map(Epoch)
            .map_err(|_| format!("{word} is no epoch"))
    }

    pub(crate) fn state(&mut self, seed: u64, mutants: Mutants) -> Read<Recovered> {
        let (accepted, current) = (self.epoch()?, self.epoch()?);
        let zxid = Zxid(self.word()? as i64);
        let mut loader = SnapshotLoader::new(seed, mutants);
        loader
            .feed(self.bytes()?)
            .map_err(|e| format!("the tree: {e}"))?;
        let database: Database = loader.finish(zxid).map_err(|e| format!("the tree: {e}"))?;
        let mut recent = CommittedLog::default();
        for _ in 0..self.word()? {
            let zxid = Zxid(self.word()? as i64);
            let record = Bytes::copy_from_slice(self.bytes()?);
            recent.push(LogEntry { zxid, record });
        }
        Ok(Recovered {
            database,
            recent,
            accepted,
            current,
        })
    }

    fn channel(&mut self) -> Read<Channel> {
        Ok(match self.flag()? {
            true => Channel::Quorum,
            false => Channel::Election,
        })
    }

    fn address(&mut self) -> Read<IpAddr> {
        let bytes = self.bytes()?;
        if let Ok(octets) = <[u8; 4]>::try_from(bytes) {
            return Ok(IpAddr::V4(Ipv4Addr::from(octets)));
        }
        let octets = <[u8; 16]>::try_from(bytes);
        let octets = octets.map_err(|_| "an address has 4 or 16 bytes".to_owned())?;
        Ok(IpAddr::V6(Ipv6Addr::from(octets)))
    }

    /// The input of this kind; `seed` is that of the node's hash tables.
    pub(crate) fn input(&mut self, kind: u8, seed: u64, mutants: Mutants) -> Read<Input<'a>> {
        Ok(match kind {
            kind::WAKE => Input::Wake,
            kind::STOP => Input::Stop,
            kind::CLIENT_OPENED => Input::ClientOpened {
                conn: ConnId(self.word()?),
                address: self.address()?,
            },
            kind::CLIENT_BYTES => Input::ClientBytes {
                conn: ConnId(self.word()?),
                bytes: self.bytes()?,
            },
            kind::CLIENT_CLOSED => Input::ClientClosed {
                conn: ConnId(self.word()?),
            },
            kind::CLIENT_UNREAD => Input::ClientUnread {
                conn: ConnId(self.word()?),
                bytes: self.size()?,
            },
            kind::LINK_OPENED => {
                let link = LinkId(self.word()?);
                let dialled = self.flag()?;
                let peer = ServerId(self.word()? as i64);
                Input::LinkOpened {
                    link,
                    peer: dialled.then_some(peer),
                    channel: self.channel()?,
                }
            }
            kind::LINK_BYTES => Input::LinkBytes {
                link: LinkId(self.word()?),
                bytes: self.bytes()?,
            },
            kind::LINK_DRAINED => Input::LinkDrained {
                link: LinkId(self.word()?),
                bytes: self.size()?,
            },
            kind::LINK_CLOSED => Input::LinkClosed {
                link: LinkId(self.word()?),
            },
            kind::DIAL_FAILED => Input::DialFailed {
                peer: ServerId(self.word()? as i64),
                channel: self.channel()?,
            },
            kind::PERSISTED => Input::Persisted {
                upto: WriteSeq(self.word()?),
            },
            kind::DISK_FAILED => Input::DiskFailed {
                upto: WriteSeq(self.word()?),
            },
            kind::RELOADED => Input::Reloaded {
                seq: WriteSeq(self.word()?),
                state: Box::new(self.state(seed, mutants)?),
            },
            kind::SNAPSHOT_STORED => Input::SnapshotStored { ok: self.flag()? },
            kind::DISK_ROOM => Input::DiskRoom { low: self.flag()? },
            other => return Err(format!("there is no entry of kind {other}")),
        })
    }
}
