//! The running hash over everything that happens: two runs are the same run if it is equal.
//!
//! Written here so that it is the same on every machine and in every version. It tells accidents
//! apart; it does not resist an adversary.

/// Events between two checkpoints.
pub const CHECKPOINT_EVENTS: u64 = 1_024;

/// A hash that grows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TraceHash {
    a: u64,
    b: u64,
}

impl Default for TraceHash {
    fn default() -> Self {
        Self {
            a: 0x2d35_8dcc_aa6c_78a5,
            b: 0x8bb8_4b93_962e_acc9,
        }
    }
}

const fn fold(x: u64, y: u64) -> u64 {
    let product = (x as u128) * (y as u128);
    (product as u64) ^ ((product >> 64) as u64)
}

impl TraceHash {
    pub fn word(&mut self, word: u64) {
        self.a = fold(self.a ^ word, 0xa076_1d64_78bd_642f);
        self.b = self.b.rotate_left(23) ^ self.a.wrapping_add(word);
    }

    /// Bytes and their number.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.word(bytes.len() as u64);
        let mut chunks = bytes.chunks_exact(8);
        for chunk in &mut chunks {
            self.word(u64::from_le_bytes(chunk.try_into().expect("eight bytes")));
        }
        let rest = chunks.remainder();
        if !rest.is_empty() {
            let mut last = [0; 8];
            last[..rest.len()].copy_from_slice(rest);
            self.word(u64::from_le_bytes(last));
        }
    }

    /// The hash so far.
    pub fn value(self) -> u64 {
        fold(
            self.a ^ 0xe703_7ed1_a0b4_28db,
            self.b ^ 0x589c_7a1b_5f1e_7a4d,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(parts: &[&[u8]]) -> u64 {
        let mut h = TraceHash::default();
        for part in parts {
            h.bytes(part);
        }
        h.value()
    }

    #[test]
    fn order_length_and_every_byte_count() {
        let base = of(&[b"abc", b"defghijklmnop"]);
        assert_eq!(base, of(&[b"abc", b"defghijklmnop"]));
        assert_ne!(base, of(&[b"defghijklmnop", b"abc"]));
        assert_ne!(base, of(&[b"abcd", b"efghijklmnop"]));
        assert_ne!(base, of(&[b"abc", b"defghijklmnoq"]));
        assert_ne!(of(&[b""]), of(&[b"", b""]));
        assert_ne!(of(&[b"\0"]), of(&[b""]));
    }
}
