//! ZooKeeper atomic broadcast (Junqueira, Reed and Serafini, DSN 2011, as Apache ZooKeeper 3.9.4
//! and later carry it out): discovery, synchronization, broadcast, for leader and learner.

pub(crate) mod broadcast;
pub(crate) mod leader;
pub(crate) mod learner;
mod plan;

use crate::boundary::CloseReason;
use crate::wire::quorum::{QuorumPacket, measure_packet};

/// The role is over: why. The node closes its links and looks for a leader again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Leave(pub(crate) &'static str);

/// What a bad packet costs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Trouble {
    /// The link it came on.
    Close(CloseReason),
    /// The role.
    Leave(Leave),
}

/// The first packet in the bytes and its length, once it is whole.
fn next_packet(bytes: &[u8]) -> Result<Option<(QuorumPacket<'_>, usize)>, CloseReason> {
    const MALFORMED: CloseReason = CloseReason::PeerMalformed("not a quorum packet");
    let length = measure_packet(bytes).map_err(|_| MALFORMED)?;
    if bytes.len() < length {
        return Ok(None);
    }
    let packet = QuorumPacket::decode(bytes).map_err(|_| MALFORMED)?;
    Ok(Some((packet, length)))
}
