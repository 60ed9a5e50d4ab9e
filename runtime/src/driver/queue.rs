//! Bytes on their way to one socket: small ones gathered, large ones by reference. Knows nothing of
//! sockets but that they take some bytes of what they are offered.

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::Bytes;

/// Gathered bytes per piece. A piece in use never grows past this, so what was sent is freed.
const PIECE_BYTES: usize = 64 << 10;

/// Payloads from here on travel by reference; below, a copy is cheaper than an entry of its own.
const SHARED_BYTES_MIN: usize = 4 << 10;

/// Slices offered to the socket at once.
const SLICES_MAX: usize = 16;

/// Empty buffers kept for reuse.
const SPARE_MAX: usize = 64;

/// Buffers that no queue needs right now, so that a turn allocates nothing.
#[derive(Default, Debug)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    fn take(&mut self) -> Vec<u8> {
        self.0.pop().unwrap_or_default()
    }

    fn put(&mut self, mut buffer: Vec<u8>) {
        if self.0.len() < SPARE_MAX && buffer.capacity() <= PIECE_BYTES {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}

#[derive(Debug)]
enum Piece {
    Gathered(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Gathered(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// First in, first out.
#[derive(Default, Debug)]
pub(super) struct OutQueue {
    pieces: VecDeque<Piece>,
    /// Bytes of the first piece that have left.
    sent: usize,
    /// Bytes that have not left.
    waiting: usize,
}

impl OutQueue {
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    pub(super) fn push(&mut self, bytes: &[u8], spare: &mut Spare) {
        self.waiting += bytes.len();
        if let Some(Piece::Gathered(last)) = self.pieces.back_mut()
            && last.len() + bytes.len() <= PIECE_BYTES
        {
            last.extend_from_slice(bytes);
        } else if !bytes.is_empty() {
            let mut piece = spare.take();
            piece.extend_from_slice(bytes);
            self.pieces.push_back(Piece::Gathered(piece));
        }
    }

    pub(super) fn push_shared(&mut self, bytes: Bytes, spare: &mut Spare) {
        if bytes.len() < SHARED_BYTES_MIN {
            self.push(&bytes, spare);
        } else {
            self.waiting += bytes.len();
            self.pieces.push_back(Piece::Shared(bytes));
        }
    }

    /// Offers the bytes to `write` until all have left or it says `WouldBlock`; how many it took.
    ///
    /// # Errors
    /// Whatever else `write` fails with; a taker that takes nothing is `WriteZero`.
    pub(super) fn drain(
        &mut self,
        spare: &mut Spare,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut total = 0;
        while self.waiting > 0 {
            let taken = match self.offer(&mut write) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => taken,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(e),
            };
            total += taken;
            self.advance(taken, spare);
        }
        Ok(total)
    }

    fn offer(
        &self,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>,
    ) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES_MAX];
        let mut count = 0;
        for (index, piece) in self.pieces.iter().take(SLICES_MAX).enumerate() {
            let from = if index == 0 { self.sent } else { 0 };
            slices[index] = IoSlice::new(&piece.bytes()[from..]);
            count = index + 1;
        }
        write(&slices[..count])
    }

    fn advance(&mut self, taken: usize, spare: &mut Spare) {
        assert!(
            taken <= self.waiting,
            "a socket took more than it was offered"
        );
        self.waiting -= taken;
        self.sent += taken;
        while let Some(first) = self.pieces.front() {
            let len = first.bytes().len();
            if self.sent < len {
                break;
            }
            self.sent -= len;
            if let Some(Piece::Gathered(buffer)) = self.pieces.pop_front() {
                spare.put(buffer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Drains through a taker of at most `step` bytes per call and `calls` calls.
    fn drained(queue: &mut OutQueue, step: usize, mut calls: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let taken = queue.drain(&mut Spare::default(), |slices| {
            if calls == 0 {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            calls -= 1;
            let all: Vec<u8> = slices.iter().flat_map(|s| s.iter().copied()).collect();
            let n = step.min(all.len());
            out.extend_from_slice(&all[..n]);
            Ok(n)
        });
        assert_eq!(taken.expect("the taker never fails"), out.len());
        out
    }

    #[test]
    fn order_and_partial_writes() {
        let mut spare = Spare::default();
        let mut queue = OutQueue::default();
        let mut expected = Vec::new();
        for i in 0..40_u8 {
            let small = vec![i; 100 + usize::from(i)];
            let large = vec![i | 0x80; SHARED_BYTES_MIN + usize::from(i)];
            queue.push(&small, &mut spare);
            queue.push_shared(Bytes::from(large.clone()), &mut spare);
            expected.extend(small);
            expected.extend(large);
        }
        queue.push(&[], &mut spare);
        assert_eq!(queue.waiting(), expected.len());
        let mut found = drained(&mut queue, 777, 10);
        assert_eq!(found.len(), 7_770);
        assert_eq!(queue.waiting(), expected.len() - 7_770);
        found.extend(drained(&mut queue, 5_000, usize::MAX));
        assert_eq!(found, expected);
        assert_eq!(queue.waiting(), 0);
        assert!(queue.pieces.is_empty());
    }

    #[test]
    fn a_lasting_backlog_frees_what_was_sent() {
        let mut spare = Spare::default();
        let mut queue = OutQueue::default();
        queue.push(&[7; 50_000], &mut spare);
        for _ in 0..100 {
            queue.push(&[7; 50_000], &mut spare);
            assert_eq!(drained(&mut queue, 50_000, 1).len(), 50_000);
        }
        assert_eq!(queue.waiting(), 50_000);
        assert!(queue.pieces.len() <= 2);
    }

    #[test]
    fn a_taker_of_nothing_is_an_error() {
        let mut queue = OutQueue::default();
        queue.push(b"x", &mut Spare::default());
        let error = queue
            .drain(&mut Spare::default(), |_| Ok(0))
            .expect_err("no progress");
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
