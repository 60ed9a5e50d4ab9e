//! A known bug that can be put back: a multiRead that waits for older requests of its session
//! answers its first read when it comes, the others when their turn comes. Knows where one read of
//! the request ends, and nothing else.

use alloc::vec::Vec;

use super::desk::{Desk, Who};
use crate::database::Database;
use crate::reads;
use crate::wire::jute::{Decoded, Reader};

/// Bytes of the header that stands before each read, and alone at the end.
const HEADER_BYTES: usize = 9;

/// Bytes of the first read, if there is one.
fn first(body: &[u8]) -> Decoded<Option<usize>> {
    let mut r = Reader::new(body);
    let (_, is_end, _) = (r.i32()?, r.bool()?, r.i32()?);
    if is_end {
        return Ok(None);
    }
    let path = r.string_or_empty()?.len();
    r.bool()?;
    Ok(Some(HEADER_BYTES + 4 + path + 1))
}

impl Desk {
    /// Takes the first read out of a multiRead and answers it now. Gives what is left of the
    /// request.
    pub(super) fn tear(
        &mut self,
        who: Who<'_>,
        (xid, op): (i32, i32),
        body: &[u8],
        db: &Database,
    ) -> Vec<u8> {
        let (Ok(Some(length)), Some(end)) = (first(body), body.len().checked_sub(HEADER_BYTES))
        else {
            return body.to_vec();
        };
        let alone = [&body[..length], &body[end..]].concat();
        let mut answer = Vec::new();
        let read = who.reads(&self.rules, op, &alone);
        if reads::answer(db, read, &mut answer).result.is_ok() {
            answer.truncate(answer.len() - HEADER_BYTES);
            self.torn.insert((who.conn, xid), answer);
        }
        body[length..].to_vec()
    }
}
