//! Messages out of a byte stream that may be cut anywhere. Knows how long messages are, from a
//! function of the protocol, and nothing else about them.

use alloc::vec::Vec;

/// Room that an empty buffer keeps; more is given back, so that a connection that once sent a
/// megabyte does not hold it for life.
const CAPACITY_KEPT: usize = 64 << 10;

/// Splits one stream. A message that is whole in the chunk is lent from the chunk; only messages
/// that span chunks are copied.
#[derive(Default, Debug)]
pub struct Splitter {
    held: Vec<u8>,
    /// Bytes of `held` that were given out.
    at: usize,
}

impl Splitter {
    /// The next message at the front of what is held and `chunk`, which is cut accordingly.
    /// `None`: the chunk is used up (the rest of it is kept) and the message is not whole.
    ///
    /// `measure` gets the bytes that are there and tells how many bytes the message is known to
    /// need; it is whole when that is not more than there are. It may say a lower bound first and
    /// is asked again when that many are there.
    pub fn next<'a, 'c: 'a, E>(
        &'a mut self,
        chunk: &mut &'c [u8],
        measure: impl Fn(&[u8]) -> Result<usize, E>,
    ) -> Result<Option<&'a [u8]>, E> {
        self.drop_used();
        if self.held.is_empty() {
            let need = measure(chunk)?;
            if need <= chunk.len() {
                let (message, rest) = chunk.split_at(need);
                *chunk = rest;
                return Ok(Some(message));
            }
        }
        loop {
            let have = self.held.len() - self.at;
            let need = measure(&self.held[self.at..])?;
            if need <= have {
                let start = self.at;
                self.at += need;
                return Ok(Some(&self.held[start..start + need]));
            }
            if chunk.is_empty() {
                return Ok(None);
            }
            let (taken, rest) = chunk.split_at(chunk.len().min(need - have));
            self.held.extend_from_slice(taken);
            *chunk = rest;
        }
    }

    /// Keeps a chunk for later without splitting it.
    pub fn keep(&mut self, chunk: &[u8]) {
        self.drop_used();
        self.held.extend_from_slice(chunk);
    }

    /// Bytes kept that were not given out.
    pub fn held(&self) -> usize {
        self.held.len() - self.at
    }

    /// Forgets what was given out, moving what is left only when that is the smaller part.
    fn drop_used(&mut self) {
        if self.at == self.held.len() {
            self.at = 0;
            self.held.clear();
            self.held.shrink_to(CAPACITY_KEPT);
        } else if self.at > self.held.len() / 2 {
            self.held.drain(..self.at);
            self.at = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use proptest::prelude::*;

    use super::*;

    /// Messages of one length byte and that many bytes; 255 is refused.
    fn measure(bytes: &[u8]) -> Result<usize, u8> {
        match bytes.first() {
            None => Ok(1),
            Some(255) => Err(255),
            Some(n) => Ok(1 + usize::from(*n)),
        }
    }

    #[test]
    fn a_whole_message_is_lent_from_the_chunk() {
        let chunk = [2, b'a', b'b', 0, 3, b'x'];
        let mut rest = &chunk[..];
        let mut splitter = Splitter::default();
        let first = splitter.next(&mut rest, measure).unwrap().unwrap().as_ptr();
        assert_eq!(first, chunk.as_ptr(), "not copied");
        assert_eq!(splitter.next(&mut rest, measure).unwrap(), Some(&[0][..]));
        assert_eq!(splitter.next(&mut rest, measure).unwrap(), None);
        assert!(rest.is_empty());
        assert_eq!(splitter.held(), 2);
        assert_eq!(
            splitter.next(&mut &b"yz\xff"[..], measure).unwrap(),
            Some(&b"\x03xyz"[..])
        );
        assert_eq!(splitter.next(&mut &b"\xff"[..], measure), Err(255));
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(
            messages in proptest::collection::vec(
                proptest::collection::vec(any::<u8>(), 0..40), 0..20,
            ),
            cuts in proptest::collection::vec((1..30usize, any::<bool>()), 1..200),
        ) {
            let mut stream = Vec::new();
            for message in &messages {
                stream.push(message.len() as u8);
                stream.extend_from_slice(message);
            }
            let mut splitter = Splitter::default();
            let mut found = Vec::new();
            let mut rest = &stream[..];
            let mut cuts = cuts.iter().cycle();
            while !rest.is_empty() {
                let &(size, split_now) = cuts.next().unwrap();
                let (mut chunk, later) = rest.split_at(size.min(rest.len()));
                rest = later;
                if !split_now {
                    splitter.keep(chunk);
                    continue;
                }
                while let Some(message) = splitter.next(&mut chunk, measure).unwrap() {
                    found.push(message[1..].to_vec());
                }
            }
            while let Some(message) = splitter.next(&mut &[][..], measure).unwrap() {
                found.push(message[1..].to_vec());
            }
            prop_assert_eq!(found, messages);
            prop_assert_eq!(splitter.held(), 0);
        }
    }
}
