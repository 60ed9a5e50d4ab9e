//! What servers tell each other on the election port: who dials, and votes. Also the text form of
//! an ensemble's configuration, which travels in votes and in NEWLEADER.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

use super::jute::{DecodeError, Decoded, Reader, Write};
use crate::config::{LearnerType, Member};
use crate::ids::{Epoch, ServerId, Zxid};
use crate::limits::{ELECTION_ADDRESS_BYTES_MAX, ELECTION_FRAME_BYTES_MAX};

const INITIAL_V1: i64 = -65_536;
const INITIAL_V2: i64 = -65_535;

/// The first bytes on an election connection, from the server that dialled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InitialMessage<'a> {
    pub server: ServerId,
    /// Own election addresses, `host:port`, separated by `|`; `None` from servers before 3.5.
    pub addresses: Option<Cow<'a, str>>,
}

impl<'a> InitialMessage<'a> {
    /// Reads the message at the front; all three forms are understood.
    pub fn decode(bytes: &'a [u8]) -> Decoded<Self> {
        let length = measure_initial(bytes)?;
        let r = &mut Reader::new(bytes.get(..length).ok_or(DecodeError::Truncated)?);
        let first = r.i64()?;
        if first >= 0 {
            return Ok(Self {
                server: ServerId(first),
                addresses: None,
            });
        }
        Ok(Self {
            server: ServerId(r.i64()?),
            addresses: r.string()?,
        })
    }

    /// Appends the form of 3.5 and later (version 1, one address). Servers that are older than
    /// 3.4.6 do not understand it; Java reads the text with one call, so it must leave in one
    /// segment.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match &self.addresses {
            None => out.put_i64(self.server.0),
            Some(addresses) => {
                let several = addresses.contains('|');
                out.put_i64(if several { INITIAL_V2 } else { INITIAL_V1 });
                out.put_i64(self.server.0);
                out.put_string(addresses);
            }
        }
    }

    /// Host and port of each address that is well-formed. IPv6 hosts keep their brackets.
    pub fn endpoints(&self) -> impl Iterator<Item = (&str, u16)> {
        let text = self.addresses.as_deref().unwrap_or_default();
        text.split('|').filter_map(|address| {
            let (host, port) = address.rsplit_once(':')?;
            Some((host, port.parse().ok()?))
        })
    }
}

/// How many bytes the initial message at the front needs; see
/// [`Splitter::next`](super::splitter::Splitter::next).
pub fn measure_initial(bytes: &[u8]) -> Decoded<usize> {
    const FIXED: usize = 8 + 8 + 4;
    let r = &mut Reader::new(bytes);
    let Ok(first) = r.i64() else { return Ok(8) };
    match first {
        0.. => return Ok(8),
        INITIAL_V1 | INITIAL_V2 => {}
        _ => {
            return Err(DecodeError::Value(
                "protocol version of the initial message",
            ));
        }
    }
    if r.i64().is_err() {
        return Ok(FIXED);
    }
    let Ok(length) = r.i32() else {
        return Ok(FIXED);
    };
    match usize::try_from(length) {
        Ok(n) if (1..=ELECTION_ADDRESS_BYTES_MAX).contains(&n) => Ok(FIXED + n),
        _ => Err(DecodeError::Length(length)),
    }
}

/// How many bytes the election frame at the front needs, its length word included; see
/// [`Splitter::next`](super::splitter::Splitter::next).
pub fn measure_frame(bytes: &[u8]) -> Decoded<usize> {
    let Ok(length) = Reader::new(bytes).i32() else {
        return Ok(4);
    };
    match usize::try_from(length) {
        Ok(n) if (1..=ELECTION_FRAME_BYTES_MAX).contains(&n) => Ok(4 + n),
        _ => Err(DecodeError::Length(length)),
    }
}

/// What a server does, as it tells others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(i32)]
pub enum PeerState {
    Looking = 0,
    Following = 1,
    Leading = 2,
    Observing = 3,
}

/// A vote: the payload of every election frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification<'a> {
    /// Of the sender.
    pub state: PeerState,
    /// Who should lead.
    pub leader: ServerId,
    /// The last zxid of `leader`.
    pub zxid: Zxid,
    /// The sender's round, ZooKeeper's "election epoch" or logical clock.
    pub round: i64,
    /// Current epoch of `leader`.
    pub peer_epoch: Epoch,
    /// 0 before 3.4.6, 1 before 3.5, then 2.
    pub version: i32,
    /// The sender's configuration as text, see [`Verifier`]; in version 2.
    pub config: Option<&'a [u8]>,
}

/// Version of notifications that this server sends.
pub const NOTIFICATION_VERSION: i32 = 2;

impl<'a> Notification<'a> {
    /// Reads a frame's payload. Its length tells how old the sender is: 28 bytes end before the
    /// peer's epoch, 40 bytes have a version that is not looked at.
    pub fn decode(payload: &'a [u8]) -> Decoded<Self> {
        let r = &mut Reader::new(payload);
        let state = match r.i32()? {
            0 => PeerState::Looking,
            1 => PeerState::Following,
            2 => PeerState::Leading,
            3 => PeerState::Observing,
            _ => return Err(DecodeError::Value("state")),
        };
        let (leader, zxid, round) = (ServerId(r.i64()?), Zxid(r.i64()?), r.i64()?);
        let peer_epoch = if r.is_at_end() {
            zxid.epoch()
        } else {
            Epoch(r.i64()?)
        };
        let version = match payload.len() {
            28 | 40 => 0,
            _ => r.i32()?,
        };
        let config = if version > 1 { r.buffer()? } else { None };
        if version > 1 && config.is_none() {
            return Err(DecodeError::Length(-1));
        }
        Ok(Self {
            state,
            leader,
            zxid,
            round,
            peer_epoch,
            version,
            config,
        })
    }

    /// Appends a frame: length, then the payload in the layout of its version.
    pub fn encode(&self, out: &mut Vec<u8>) {
        super::client::put_frame(out, |out| {
            out.put_i32(self.state as i32);
            out.put_i64(self.leader.0);
            out.put_i64(self.zxid.0);
            out.put_i64(self.round);
            out.put_i64(self.peer_epoch.0);
            out.put_i32(self.version);
            if self.version > 1 {
                out.put_buffer(Some(self.config.unwrap_or_default()));
            }
        });
    }
}

/// An ensemble's configuration as its text says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Verifier {
    pub members: BTreeMap<ServerId, Member>,
    /// 0 for a configuration that never went through reconfig.
    pub version: i64,
}

impl Verifier {
    /// Reads the text in any order. A line that does not make sense is left out: a vote counts
    /// whatever configuration comes with it.
    pub fn parse(text: &[u8]) -> Self {
        let mut found = Self::default();
        for line in String::from_utf8_lossy(text).lines() {
            let Some((key, value)) = line.trim().split_once('=') else {
                continue;
            };
            if key == "version" {
                found.version = i64::from_str_radix(value, 16).unwrap_or(0).max(0);
            } else if let Some(id) = key.strip_prefix("server.")
                && let Ok(id) = id.parse()
                && let Some(member) = parse_member(value)
            {
                found.members.insert(ServerId(id), member);
            }
        }
        found
    }
}

/// The text of a configuration: a line per member, the version last, no newline at the end. Java
/// servers fail on a text that is not valid, so every vote must carry a real one.
pub fn verifier_text(members: &BTreeMap<ServerId, Member>, version: i64) -> String {
    let mut text = String::new();
    for (id, member) in members {
        let role = match member.kind {
            LearnerType::Participant => "participant",
            LearnerType::Observer => "observer",
        };
        let (host, quorum, election) = (&member.host, member.quorum_port, member.election_port);
        write!(text, "server.{id}={host}:{quorum}:{election}:{role}").expect("a String grows");
        if let Some(client) = &member.client_address {
            let host = if client.contains(':') { "" } else { "0.0.0.0:" };
            write!(text, ";{host}{client}").expect("a String grows");
        }
        text.push('\n');
    }
    text + &format!("version={version:x}")
}

/// `host:quorum:election[:role][;client]`, the first address if there are several.
fn parse_member(value: &str) -> Option<Member> {
    let (server, client) = match value.split_once(';') {
        None => (value, None),
        Some((server, client)) => (server, client.split(';').next().filter(|c| !c.is_empty())),
    };
    let observer = server.ends_with(":observer");
    let addresses = server
        .trim_end_matches(":observer")
        .trim_end_matches(":participant");
    let mut parts = addresses.split('|').next()?.rsplitn(3, ':');
    let election_port = parts.next()?.parse().ok()?;
    let quorum_port = parts.next()?.parse().ok()?;
    let host = parts.next().filter(|h| !h.is_empty())?;
    Some(Member {
        kind: if observer {
            LearnerType::Observer
        } else {
            LearnerType::Participant
        },
        host: host.into(),
        quorum_port,
        election_port,
        client_address: client.map(Into::into),
    })
}

#[cfg(test)]
mod tests;
