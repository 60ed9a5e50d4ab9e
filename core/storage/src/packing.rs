//! How the bytes of a snapshot file are packed: as they are, with gzip, or with snappy in the
//! framing of the library that ZooKeeper uses (`zookeeper.snapshot.compression.method`).
//!
//! The framing of snappy: magic, int version 1, int compatible version 1; then blocks, each an int
//! length and so many bytes of raw snappy. Knows nothing of what is packed.

use std::borrow::Cow;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::files::{Dir, Files};

const SNAPPY_MAGIC: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";

/// What ZooKeeper's library puts into one block.
const SNAPPY_BLOCK_BYTES: usize = 32 << 10;

/// A block of a reader that is told to use larger ones is not larger than this.
const SNAPPY_BLOCK_BYTES_MAX: usize = 16 << 20;

/// No block unpacks to more than this many times its bytes: three of them give 64 at most.
const SNAPPY_RATIO_MAX: usize = 32;

/// A way of packing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Packing {
    #[default]
    Plain,
    Gzip,
    Snappy,
}

impl Packing {
    /// What the names of such files end with.
    pub(crate) const fn suffix(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }
}

/// Packs a stream.
#[derive(Debug)]
pub(crate) enum Packer {
    Plain,
    Gzip(GzEncoder<Vec<u8>>),
    /// What is not a whole block yet, and whether the magic was written.
    Snappy(Vec<u8>, bool),
}

impl Packer {
    pub(crate) fn new(packing: Packing) -> Self {
        match packing {
            Packing::Plain => Self::Plain,
            Packing::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            Packing::Snappy => Self::Snappy(Vec::new(), false),
        }
    }

    /// Takes the next bytes and gives what of the file is ready.
    pub(crate) fn pack<'a>(&mut self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        match self {
            Self::Plain => Cow::Borrowed(bytes),
            Self::Gzip(encoder) => {
                encoder.write_all(bytes).expect("a vector takes everything");
                Cow::Owned(core::mem::take(encoder.get_mut()))
            }
            Self::Snappy(block, begun) => {
                let mut out = Vec::new();
                if !core::mem::replace(begun, true) {
                    out.extend_from_slice(&SNAPPY_MAGIC);
                }
                block.extend_from_slice(bytes);
                let mut whole = block.chunks_exact(SNAPPY_BLOCK_BYTES);
                whole.by_ref().for_each(|full| put_snappy(full, &mut out));
                *block = whole.remainder().to_vec();
                Cow::Owned(out)
            }
        }
    }

    /// The rest of the file.
    pub(crate) fn finish(self) -> Vec<u8> {
        match self {
            Self::Plain => Vec::new(),
            Self::Gzip(encoder) => encoder.finish().expect("a vector takes everything"),
            Self::Snappy(block, begun) => {
                assert!(begun, "no snapshot is empty");
                let mut out = Vec::new();
                if !block.is_empty() {
                    put_snappy(&block, &mut out);
                }
                out
            }
        }
    }
}

fn put_snappy(block: &[u8], out: &mut Vec<u8>) {
    let packed = snap::raw::Encoder::new()
        .compress_vec(block)
        .expect("a block is far smaller than 4 GiB");
    let len = i32::try_from(packed.len()).expect("a block is far smaller than 2 GiB");
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(&packed);
}

/// A file from its beginning.
struct Raw<'f, F> {
    files: &'f F,
    name: &'f str,
    offset: u64,
}

impl<F: Files> Read for Raw<'_, F> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self
            .files
            .read_at(Dir::Snapshots, self.name, self.offset, buf)?;
        self.offset += n as u64;
        Ok(n)
    }
}

/// The unpacked bytes of a snapshot file. Errors of kind `InvalidData`, `InvalidInput` and
/// `UnexpectedEof` are about the content, all others the file system's.
pub(crate) fn unpack<'f, F: Files>(
    files: &'f F,
    name: &'f str,
    packing: Packing,
) -> Box<dyn Read + 'f> {
    let raw = Raw {
        files,
        name,
        offset: 0,
    };
    match packing {
        Packing::Plain => Box::new(raw),
        Packing::Gzip => Box::new(MultiGzDecoder::new(raw)),
        Packing::Snappy => Box::new(Snappy::new(raw)),
    }
}

/// The same over the bytes of a file.
pub(crate) fn unpack_from(raw: Box<dyn Read + Send>, packing: Packing) -> Box<dyn Read + Send> {
    match packing {
        Packing::Plain => raw,
        Packing::Gzip => Box::new(MultiGzDecoder::new(raw)),
        Packing::Snappy => Box::new(Snappy::new(raw)),
    }
}

/// Does this error say that the content is wrong?
pub(crate) fn is_content(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof
    )
}

struct Snappy<R> {
    raw: R,
    begun: bool,
    /// Unpacked, and how much of it was given out.
    block: Vec<u8>,
    at: usize,
}

impl<R: Read> Snappy<R> {
    fn new(raw: R) -> Self {
        Self {
            raw,
            begun: false,
            block: Vec::new(),
            at: 0,
        }
    }

    /// The next block. False at the end of the file.
    fn advance(&mut self) -> io::Result<bool> {
        if !self.begun {
            let mut magic = [0; SNAPPY_MAGIC.len()];
            self.raw.read_exact(&mut magic)?;
            if magic[..8] != SNAPPY_MAGIC[..8] {
                return Err(invalid("the magic is not that of snappy".to_owned()));
            }
            self.begun = true;
        }
        let mut len = [0; 4];
        match self.raw.read(&mut len)? {
            0 => return Ok(false),
            n => self.raw.read_exact(&mut len[n..])?,
        }
        let len = i32::from_be_bytes(len);
        let is_sane = |n: &usize| (1..=SNAPPY_BLOCK_BYTES_MAX).contains(n);
        let Some(len) = usize::try_from(len).ok().filter(is_sane) else {
            return Err(invalid(format!("a snappy block of {len} bytes")));
        };
        // Grows with what is there: the length may be anything.
        let mut packed = Vec::new();
        let wanted = len as u64;
        if (&mut self.raw).take(wanted).read_to_end(&mut packed)? < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let unpacked = snap::raw::decompress_len(&packed).map_err(|e| invalid(e.to_string()))?;
        if unpacked > SNAPPY_BLOCK_BYTES_MAX || unpacked > len * SNAPPY_RATIO_MAX {
            return Err(invalid(format!("a snappy block of {unpacked} bytes")));
        }
        self.block = snap::raw::Decoder::new()
            .decompress_vec(&packed)
            .map_err(|e| invalid(e.to_string()))?;
        self.at = 0;
        Ok(true)
    }
}

impl<R: Read> Read for Snappy<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.at == self.block.len() {
            if !self.advance()? {
                return Ok(0);
            }
        }
        let n = buf.len().min(self.block.len() - self.at);
        buf[..n].copy_from_slice(&self.block[self.at..self.at + n]);
        self.at += n;
        Ok(n)
    }
}

fn invalid(problem: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::MemFiles;

    fn round_trip(packing: Packing, pieces: &[&[u8]]) -> (Vec<u8>, Vec<u8>) {
        let mut packer = Packer::new(packing);
        let mut packed: Vec<u8> = pieces
            .iter()
            .flat_map(|piece| packer.pack(piece).into_owned())
            .collect();
        packed.extend(packer.finish());
        let mut files = MemFiles::default();
        files
            .write_at(Dir::Snapshots, "f", 0, &packed)
            .expect("memory");
        let mut unpacked = Vec::new();
        unpack(&files, "f", packing)
            .read_to_end(&mut unpacked)
            .expect("what was packed");
        (packed, unpacked)
    }

    #[test]
    fn what_was_packed_comes_back() {
        let long: Vec<u8> = (0..200_000_u32)
            .flat_map(|n| (n / 7).to_be_bytes())
            .collect();
        for packing in [Packing::Plain, Packing::Gzip, Packing::Snappy] {
            let pieces: &[&[u8]] = &[b"ab", b"", &long, b"c"];
            let (packed, unpacked) = round_trip(packing, pieces);
            assert_eq!(unpacked, pieces.concat(), "{packing:?}");
            if packing != Packing::Plain {
                assert!(packed.len() < long.len() / 2, "{packing:?} does not pack");
            }
        }
    }

    /// What `SnappyOutputStream` of snappy-java 1.1.10 writes for `hello` in one block.
    #[test]
    fn the_framing_is_that_of_zookeepers_library() {
        let (packed, _) = round_trip(Packing::Snappy, &[b"hello"]);
        let expected = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07\x05\x10hello";
        assert_eq!(packed, expected);
    }

    #[test]
    fn wrong_content_is_told_from_a_wrong_disk() {
        let mut files = MemFiles::default();
        let bad: [(&str, Packing, &[u8]); 5] = [
            ("a", Packing::Gzip, b"ZKSN\0\0\0\x02 no gzip at all"),
            ("b", Packing::Gzip, b"\x1f\x8b\x08"),
            ("c", Packing::Snappy, b"ZKSN\0\0\0\x02 no snappy at all"),
            (
                "d",
                Packing::Snappy,
                b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\x7f\xff\xff\xff",
            ),
            (
                "e",
                Packing::Snappy,
                b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x07\x05",
            ),
        ];
        for (name, packing, bytes) in bad {
            files
                .write_at(Dir::Snapshots, name, 0, bytes)
                .expect("memory");
            let error = unpack(&files, name, packing)
                .read_to_end(&mut Vec::new())
                .expect_err(name);
            assert!(is_content(&error), "{name}: {error:?}");
        }
        let error = unpack(&files, "missing", Packing::Gzip)
            .read_to_end(&mut Vec::new())
            .expect_err("no such file");
        assert!(!is_content(&error), "{error:?}");
    }
}
