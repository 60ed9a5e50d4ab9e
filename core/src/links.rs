//! The connections to other servers as the machine sees them: who is behind a link, what came in
//! and is not a whole message yet, what was sent and not taken yet. Knows no message.

use alloc::borrow::Cow;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::boundary::{Action, Channel, CloseReason, Outbox, Span, Whom};
use crate::ids::{LinkId, ServerId};
use crate::limits::LINK_QUEUE_BYTES_MAX;
use crate::time::Instant;

/// One connection to another server.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) channel: Channel,
    /// Whom this server dialled, or who the other side said that it is.
    pub(crate) peer: Option<ServerId>,
    pub(crate) dialled: bool,
    pub(crate) opened: Instant,
    pub(crate) heard: Instant,
    /// The beginning of a message whose end has not come.
    unparsed: Vec<u8>,
    /// Bytes sent that the socket has not taken.
    in_flight: usize,
}

/// All links, and the only way to write on one.
#[derive(Debug, Default)]
pub(crate) struct Links {
    links: BTreeMap<LinkId, Link>,
}

impl Links {
    pub(crate) fn open(
        &mut self,
        link: LinkId,
        channel: Channel,
        peer: Option<ServerId>,
        now: Instant,
    ) {
        let fresh = Link {
            channel,
            peer,
            dialled: peer.is_some(),
            opened: now,
            heard: now,
            unparsed: Vec::new(),
            in_flight: 0,
        };
        let previous = self.links.insert(link, fresh);
        assert!(previous.is_none(), "the driver reuses a link id");
    }

    pub(crate) fn get(&self, link: LinkId) -> Option<&Link> {
        self.links.get(&link)
    }

    pub(crate) fn get_mut(&mut self, link: LinkId) -> Option<&mut Link> {
        self.links.get_mut(&link)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (LinkId, &Link)> {
        self.links.iter().map(|(id, link)| (*id, link))
    }

    /// The other side, or the network, ended the link.
    pub(crate) fn forget(&mut self, link: LinkId) -> Option<Link> {
        self.links.remove(&link)
    }

    /// Ends a link. Late events of it are ignored from here on.
    pub(crate) fn close(&mut self, link: LinkId, why: CloseReason, out: &mut Outbox) {
        if self.links.remove(&link).is_some() {
            out.push(Action::Close {
                whom: Whom::Link(link),
                why,
            });
        }
    }

    /// Bytes came in: returns everything not yet parsed, to be given back by [`Self::put_back`].
    /// Lent from the driver where nothing was left over; a stream may be anything from packets to
    /// a snapshot without any frame, so cutting it is the reader's business.
    pub(crate) fn take_bytes<'a>(
        &mut self,
        link: LinkId,
        bytes: &'a [u8],
        now: Instant,
    ) -> Option<Cow<'a, [u8]>> {
        let link = self.links.get_mut(&link)?;
        link.heard = now;
        if link.unparsed.is_empty() {
            return Some(Cow::Borrowed(bytes));
        }
        let mut all = core::mem::take(&mut link.unparsed);
        all.extend_from_slice(bytes);
        Some(Cow::Owned(all))
    }

    /// What is left after parsing; nothing happens if the link was closed meanwhile.
    pub(crate) fn put_back(&mut self, link: LinkId, all: Cow<'_, [u8]>, parsed: usize) {
        if let Some(link) = self.links.get_mut(&link) {
            assert!(
                link.unparsed.is_empty(),
                "bytes of one link are parsed one turn at a time"
            );
            link.unparsed = match all {
                Cow::Borrowed(chunk) => chunk[parsed..].to_vec(),
                Cow::Owned(mut rest) => {
                    rest.drain(..parsed);
                    rest
                }
            };
        }
    }

    pub(crate) fn drained(&mut self, link: LinkId, bytes: usize) {
        if let Some(link) = self.links.get_mut(&link) {
            link.in_flight = link.in_flight.saturating_sub(bytes);
        }
    }

    pub(crate) fn in_flight(&self, link: LinkId) -> usize {
        self.links.get(&link).map_or(0, |l| l.in_flight)
    }

    /// Sends what `fill` writes.
    pub(crate) fn send(&mut self, link: LinkId, out: &mut Outbox, fill: impl FnOnce(&mut Vec<u8>)) {
        if self.links.contains_key(&link) {
            let bytes = out.write(fill);
            self.send_span(link, bytes, out);
        }
    }

    /// Sends bytes that are in the arena already, so that one encoding serves several peers.
    pub(crate) fn send_span(&mut self, link: LinkId, bytes: Span, out: &mut Outbox) {
        if self.charge(link, bytes.len(), out) {
            out.push(Action::Send { link, bytes });
        }
    }

    pub(crate) fn send_shared(&mut self, link: LinkId, body: Bytes, out: &mut Outbox) {
        if self.charge(link, body.len(), out) {
            out.push(Action::SendShared { link, body });
        }
    }

    /// Accounts for bytes; a peer that lets them pile up is cut. The role sees that the link is not
    /// open any more.
    fn charge(&mut self, link: LinkId, bytes: usize, out: &mut Outbox) -> bool {
        let Some(state) = self.links.get_mut(&link) else {
            return false;
        };
        state.in_flight += bytes;
        if state.in_flight > LINK_QUEUE_BYTES_MAX {
            self.close(link, CloseReason::PeerSlow, out);
            return false;
        }
        true
    }

    pub(crate) fn is_open(&self, link: LinkId) -> bool {
        self.links.contains_key(&link)
    }
}
