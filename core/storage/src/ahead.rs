//! The unpacked bytes of a snapshot file in blocks, each with the checksum of all before it. Where
//! the files allow it, a thread of its own reads, unpacks and sums while the blocks before are
//! decoded; what it may be ahead is bounded.

use std::io::{self, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use crate::checksum::Running;
use crate::files::{Dir, Files};
use crate::names;
use crate::packing::{unpack, unpack_from};

/// Bytes of a block, but for the last.
pub(crate) const BLOCK_BYTES: usize = 256 << 10;

/// Blocks that the thread may be ahead.
const AHEAD: usize = 4;

/// The next bytes.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    /// Of all before them.
    pub(crate) sum: Running,
}

/// Where blocks come from.
pub(crate) enum Blocks<'f> {
    Here(Maker<Box<dyn Read + 'f>>),
    Thread {
        blocks: Receiver<io::Result<Option<Block>>>,
        /// Back to the thread, to be filled again.
        used: Sender<Vec<u8>>,
    },
}

impl<'f> Blocks<'f> {
    /// Of the snapshot `name`, from its beginning.
    pub(crate) fn open<F: Files>(files: &'f F, name: &'f str) -> io::Result<Self> {
        let packing = names::packing(name);
        if let Some(file) = files.reader(Dir::Snapshots, name)? {
            let maker = Maker::new(unpack_from(file, packing));
            let (give, blocks) = sync_channel(AHEAD);
            let (used, back) = channel();
            let thread = std::thread::Builder::new().name("snapshot".into());
            // Without a thread the same is done here.
            if thread.spawn(move || run(maker, &give, &back)).is_ok() {
                return Ok(Self::Thread { blocks, used });
            }
        }
        Ok(Self::Here(Maker::new(unpack(files, name, packing))))
    }

    /// The next block; none at the end. Errors are those of [`unpack`].
    pub(crate) fn next(&mut self) -> io::Result<Option<Block>> {
        match self {
            Self::Here(maker) => maker.make(),
            Self::Thread { blocks, .. } => {
                let lost = |_| Err(io::Error::other("the thread that reads it has ended"));
                blocks.recv().unwrap_or_else(lost)
            }
        }
    }

    /// Takes back the bytes of a block.
    pub(crate) fn reuse(&mut self, bytes: Vec<u8>) {
        match self {
            Self::Here(maker) => maker.spare = bytes,
            // The thread may have come to its end.
            Self::Thread { used, .. } => drop(used.send(bytes)),
        }
    }
}

/// Fills blocks until the end, an error, or until nobody wants more.
fn run(
    mut maker: Maker<Box<dyn Read + Send>>,
    blocks: &SyncSender<io::Result<Option<Block>>>,
    back: &Receiver<Vec<u8>>,
) {
    loop {
        maker.spare = back.try_recv().unwrap_or_default();
        let made = maker.make();
        let is_last = !matches!(made, Ok(Some(_)));
        if blocks.send(made).is_err() || is_last {
            return;
        }
    }
}

/// Reads and sums.
pub(crate) struct Maker<R> {
    source: R,
    sum: Running,
    /// For the next block.
    spare: Vec<u8>,
}

impl<R: Read> Maker<R> {
    fn new(source: R) -> Self {
        Self {
            source,
            sum: Running::new(),
            spare: Vec::new(),
        }
    }

    /// The next block; none at the end. What was read before an error is lost: the error is the
    /// news.
    fn make(&mut self) -> io::Result<Option<Block>> {
        let mut bytes = core::mem::take(&mut self.spare);
        bytes.resize(BLOCK_BYTES, 0);
        let mut filled = 0;
        while filled < bytes.len() {
            match self.source.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        bytes.truncate(filled);
        let sum = self.sum.clone();
        self.sum.add(&bytes);
        Ok((filled > 0).then_some(Block { bytes, sum }))
    }
}
