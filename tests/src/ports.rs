//! Loopback ports that no other test takes, not even one of another process.
//!
//! The blocks lie below the range from which systems draw the ports of outgoing connections, so a
//! server that is restarted finds its port free. The first port of a block is held open for as
//! long as the block is in use: that is the lock between test processes.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

const FIRST: u16 = 11_000;
const BLOCK: u16 = 32;
const BLOCKS: u16 = 600;

/// Ports reserved until this is dropped.
pub struct PortBlock {
    _guard: TcpListener,
    next: u16,
    end: u16,
}

impl PortBlock {
    /// The next block whose ports are all free.
    pub fn reserve() -> Self {
        static TURN: AtomicU16 = AtomicU16::new(0);
        let start = (std::process::id() % u32::from(BLOCKS)) as u16;
        for _ in 0..BLOCKS {
            let turn = TURN.fetch_add(1, Ordering::Relaxed);
            let first = FIRST + (start.wrapping_add(turn.wrapping_mul(7)) % BLOCKS) * BLOCK;
            let Ok(guard) = TcpListener::bind((Ipv4Addr::LOCALHOST, first)) else {
                continue;
            };
            if (first + 1..first + BLOCK).all(is_free) {
                return Self {
                    _guard: guard,
                    next: first + 1,
                    end: first + BLOCK,
                };
            }
        }
        panic!("no block of {BLOCK} free ports from {FIRST} on");
    }

    /// The first of the ports that are left, and how many there are.
    pub fn rest(&self) -> (u16, u16) {
        (self.next, self.end - self.next)
    }

    /// The next port of the block.
    pub fn take(&mut self) -> u16 {
        assert!(self.next < self.end, "a test needs more than {BLOCK} ports");
        self.next += 1;
        self.next - 1
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

const _: () = assert!(FIRST as u32 + BLOCK as u32 * BLOCKS as u32 <= 32_768);
