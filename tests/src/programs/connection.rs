//! A connection that bears any behaviour of its server: an early end, silence, strange frames are
//! results here and not failures.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::wire::Body;

/// Longest silence of a server that owes something. Shorter than any session's timeout.
const PATIENCE: Duration = Duration::from_secs(4);

/// Xids from here on are the tests' own.
pub const BARRIER_XID: i32 = 0x7000_0000;

/// What a connection gave instead of a frame.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    Closed,
    /// Nothing came, and the connection is open.
    Silent,
}

#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    next_barrier: i32,
}

impl Connection {
    pub fn open(server: SocketAddr) -> Self {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_nodelay(true).expect("a TCP option");
        let patience = Some(PATIENCE);
        stream.set_read_timeout(patience).expect("a socket option");
        stream.set_write_timeout(patience).expect("a socket option");
        Self {
            stream,
            next_barrier: BARRIER_XID,
        }
    }

    /// That a server has closed shows when the answer is read.
    pub fn send(&mut self, bytes: &[u8]) {
        drop(self.stream.write_all(bytes));
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), End> {
        self.stream
            .read_exact(bytes)
            .map_err(|error| match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silent,
                _ => End::Closed,
            })
    }

    /// The next frame without its length.
    pub fn frame(&mut self) -> Result<Vec<u8>, End> {
        let mut length = [0; 4];
        self.fill(&mut length)?;
        let length = i32::from_be_bytes(length);
        assert!((0..64 << 20).contains(&length), "frame of length {length}");
        let mut frame = vec![0; length as usize];
        self.fill(&mut frame)?;
        Ok(frame)
    }

    /// Sends a sync, whose reply everything before it must precede. Gives its xid.
    pub fn send_barrier(&mut self) -> i32 {
        self.next_barrier += 1;
        let body = Body::new().int(self.next_barrier).int(9).string("/");
        self.send(&body.frame());
        self.next_barrier
    }
}
