//! Runs a recording through the core again and compares the states.

use std::io;
use std::path::{Path, PathBuf};

use vivarium_core::boundary::Outbox;
use vivarium_core::ids::Zxid;
use vivarium_core::mutants::Mutants;
use vivarium_core::node::{Node, RoleName};

use crate::entry::{Broken, ENTRY_BYTES_MAX, MAGIC, Read, Reader, VERSION, checksum, kind};
use crate::recorder::recordings;
use crate::shapes::ConfigShape;

/// How a recording ended when it was run again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replayed {
    pub inputs: u64,
    pub turns: u64,
    /// Notes of the server's state that were compared.
    pub marks: u64,
    /// The state at the end.
    pub applied: Zxid,
    pub digest: u64,
    pub role: RoleName,
    /// The recording had reached its bound; the server went on.
    pub full: bool,
    /// The last entry was cut off: the process died while it was written.
    pub torn: bool,
    /// The first note that is not what this core comes to.
    pub differs: Option<Differs>,
}

/// A state that is not the recorded one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Differs {
    /// After this turn.
    pub turn: u64,
    /// What the server had: zxid and digest.
    pub recorded: (Zxid, u64),
    pub found: (Zxid, u64),
}

/// The newest recording of a directory.
///
/// # Errors
/// The directory can not be read, or holds none.
pub fn newest(dir: &Path) -> io::Result<PathBuf> {
    let last = recordings(dir)?.pop();
    let none = || io::Error::new(io::ErrorKind::NotFound, "there is no recording in it");
    last.map(|(_, path)| path).ok_or_else(none)
}

/// The entry at the front: kind and body. Nothing at the end, or if it was cut off.
fn entry(rest: &[u8]) -> Read<Option<(u8, &[u8], usize)>> {
    let Some(length) = rest.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length) as usize;
    if length == 0 || length > ENTRY_BYTES_MAX {
        return Err(format!("an entry of {length} bytes"));
    }
    let Some(sum) = rest.get(4 + length..8 + length) else {
        return Ok(None);
    };
    if sum != checksum(&rest[..4 + length]).to_be_bytes() {
        return Err("an entry does not have its checksum".to_owned());
    }
    Ok(Some((rest[4], &rest[5..4 + length], 8 + length)))
}

/// Entries of a file.
struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Entries<'a> {
    fn open(bytes: &'a [u8]) -> Result<Self, Broken> {
        let broken = |why: String| Broken { at: 0, why };
        let line = bytes
            .split(|byte| *byte == b'\n')
            .next()
            .unwrap_or_default();
        let expected = format!("{MAGIC} {VERSION}");
        if line != expected.as_bytes() {
            let line = String::from_utf8_lossy(&line[..line.len().min(60)]);
            let why = match line.strip_prefix(MAGIC) {
                Some(version) => format!(
                    "a recording of version {}: expected \"{expected}\"",
                    version.trim()
                ),
                None => format!("this is no recording: expected \"{expected}\""),
            };
            return Err(broken(why));
        }
        Ok(Self {
            bytes,
            at: expected.len() + 1,
        })
    }

    fn broken(&self, why: String) -> Broken {
        Broken {
            at: self.at as u64,
            why,
        }
    }

    fn next(&mut self) -> Result<Option<(u8, Reader<'a>)>, Broken> {
        let found = entry(self.bytes.get(self.at..).unwrap_or_default());
        let found = found.map_err(|why| self.broken(why))?;
        Ok(found.map(|(kind, rest, length)| {
            self.at += length;
            (kind, Reader { rest })
        }))
    }

    /// The next entry, which has to be of this kind.
    fn demand<T>(
        &mut self,
        wanted: u8,
        read: impl FnOnce(&mut Reader<'a>) -> Read<T>,
    ) -> Result<T, Broken> {
        match self.next()? {
            Some((kind, mut reader)) if kind == wanted => {
                read(&mut reader).map_err(|why| self.broken(why))
            }
            Some((kind, _)) => Err(self.broken(format!(
                "an entry of kind {kind} where {wanted} is expected"
            ))),
            None => Err(self.broken("the recording ends before the server has started".to_owned())),
        }
    }
}

/// Runs a recording, with these bugs.
///
/// # Errors
/// The first entry that can not be read. A last one that was cut off is no error.
///
/// # Panics
/// Where the server did.
pub fn replay(bytes: &[u8], mutants: Mutants) -> Result<Replayed, Broken> {
    let mut entries = Entries::open(bytes)?;
    let config = entries.demand(kind::CONFIG, |r| {
        let shape = serde_json::from_slice::<ConfigShape>(r.bytes()?);
        shape.map_err(|e| format!("the configuration: {e}"))
    })?;
    let config = config.into_config(mutants);
    let seed = config.seed;
    let state = entries.demand(kind::STATE, |r| r.state(seed, mutants))?;
    let now = entries.demand(kind::BOOT, Reader::now)?;
    let mut run = Run {
        node: Node::boot(config, state, now),
        out: Outbox::default(),
        seed,
        mutants,
        inputs: 0,
        turns: 0,
        marks: 0,
        full: false,
        differs: None,
    };
    while let Some((kind, mut reader)) = entries.next()? {
        let told = run.tell(kind, &mut reader);
        told.map_err(|why| entries.broken(why))?;
    }
    Ok(run.end(entries.at < bytes.len()))
}

struct Run {
    node: Node,
    out: Outbox,
    seed: u64,
    mutants: Mutants,
    inputs: u64,
    turns: u64,
    marks: u64,
    full: bool,
    differs: Option<Differs>,
}

impl Run {
    fn tell(&mut self, kind: u8, reader: &mut Reader<'_>) -> Read<()> {
        match kind {
            kind::FLUSH => {
                self.node.flush(reader.now()?, &mut self.out);
                self.out.clear();
                self.turns += 1;
            }
            kind::MARK => {
                let recorded = (Zxid(reader.word()? as i64), reader.word()?);
                let found = self.state();
                self.marks += 1;
                if recorded != found {
                    self.differs.get_or_insert(Differs {
                        turn: self.turns,
                        recorded,
                        found,
                    });
                }
            }
            kind::FULL => self.full = true,
            input => {
                let now = reader.now()?;
                let input = reader.input(input, self.seed, self.mutants)?;
                self.node.handle(now, input);
                self.inputs += 1;
            }
        }
        Ok(())
    }

    fn state(&self) -> (Zxid, u64) {
        let database = self.node.database();
        (database.applied(), database.digest())
    }

    fn end(self, torn: bool) -> Replayed {
        let (applied, digest) = self.state();
        Replayed {
            inputs: self.inputs,
            turns: self.turns,
            marks: self.marks,
            applied,
            digest,
            role: self.node.status().role,
            full: self.full,
            torn,
            differs: self.differs,
        }
    }
}
