//! Adler-32 as ZooKeeper uses it: over single records, and over a stream that goes on.

use adler2::Adler32;

pub(crate) fn adler32(bytes: &[u8]) -> u32 {
    let mut sum = Adler32::new();
    sum.write_slice(bytes);
    sum.checksum()
}

/// The checksum of all bytes so far.
#[derive(Clone, Debug)]
pub(crate) struct Running(Adler32);

impl Running {
    pub(crate) fn new() -> Self {
        Self(Adler32::new())
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.0.write_slice(bytes);
    }

    /// As it stands in the files: zero extended.
    pub(crate) fn value(&self) -> i64 {
        i64::from(self.0.checksum())
    }
}
