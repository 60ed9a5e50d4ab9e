//! Words and levels for what the machine reports: every reason and event has its own sentence.

use std::time::Instant;

use tracing::Level;
use vivarium_core::boundary::{CloseReason, Event, Fault, Whom};
use vivarium_core::limits::{EXTENDED_SERVER_ID_MAX, Limit, SNAPSHOT_HELD_BYTES_MAX};

use super::quiet::Quiet;
use crate::exit::Exit;

/// How loud, and what to say, when a connection is closed.
pub(super) fn close_reason(why: &CloseReason) -> (Level, String) {
    use CloseReason as R;
    let warn = |text: String| (Level::WARN, text);
    let info = |text: String| (Level::INFO, text);
    let debug = |text: &str| (Level::DEBUG, text.to_owned());
    match why {
        R::FrameLength(n) => warn(format!(
            "a frame of {n} bytes: longer than allowed, or negative"
        )),
        R::FrameMalformed => warn("the bytes are no request of the client protocol".into()),
        R::AddressFull { max } => warn(format!(
            "{max} connections from this address are open (maxClientCnxns)"
        )),
        R::ServerFull { max } => warn(format!("{max} connections are open (maxCnxns)")),
        R::HandshakeThrottled => {
            warn("too many handshakes at a time (connection_throttle_tokens)".into())
        }
        R::LargeRequest(bytes) => warn(format!(
            "a request of {bytes} bytes beside too many large ones (largeRequestMaxBytes)"
        )),
        R::RequestStale => warn(
            "a request waited for longer than its session's timeout \
             (request_throttle_drop_stale)"
                .into(),
        ),
        R::NotReading { unread } => warn(format!(
            "it does not read: {unread} bytes of answers and events are left"
        )),
        R::OperationUnknown(op) => {
            warn(format!("operation {op} is not one that a client may send"))
        }
        R::ClientAhead { seen, applied } => info(format!(
            "the client has seen zxid {seen}, this server only {applied}: it must try another"
        )),
        R::SessionRefused(id) => info(format!("session {id} is unknown, or its password is wrong")),
        R::SessionClosed(id) => debug(&format!("session {id} is closed")),
        R::SessionMoved(id) => info(format!("session {id} lives on another server now")),
        R::SessionTakenOver(id) => info(format!("session {id} came back on another connection")),
        R::PeerMalformed(what) => warn(format!("no message between servers: {what}")),
        R::PeerUnknown(id) => warn(format!("server {id} is not in this server's configuration")),
        R::PeerMisbehaved(rule) => warn(format!("broke the protocol: {rule}")),
        R::NotServing => debug("not serving"),
        R::AuthFailed => warn("authentication failed".into()),
        R::AuthenticationRequired => warn("has not authenticated, which is required here".into()),
        R::WatchesFull => warn("it watches more than this server can keep".into()),
        R::Idle => debug("nothing was heard in time"),
        R::Replaced => debug("a newer connection to the same server replaces this one"),
        R::PeerDialsBack => debug("the server with the larger id dials back"),
        R::PeerIsMe => warn("it claims this server's own id: is myid unique?".into()),
        R::PeerAhead => warn("its history is newer than the leader's".into()),
        R::PeerTimeout => warn("it was silent for too long".into()),
        R::PeerSlow => warn("it does not read fast enough".into()),
        R::ReadOnly => debug("this server is in read-only mode"),
        R::RoleLeft => debug("this server changed its role"),
        R::Stopping => debug("this server stops"),
    }
}

/// Logs the end of a connection, unless many ended so just now.
pub(super) fn log_close(
    whom: Whom,
    port: &str,
    address: &str,
    why: &CloseReason,
    quiet: &mut Quiet,
) {
    let (mut level, mut text) = close_reason(why);
    if port == "quorum" && *why == CloseReason::Replaced {
        // Usual on the election port; here two servers may claim one id.
        level = Level::WARN;
    }
    let reason = reason_name(why);
    if level == Level::WARN && matches!(whom, Whom::Client(_)) {
        match quiet.admit(&reason, Instant::now()) {
            None => level = Level::DEBUG,
            Some(0) => {}
            Some(hidden) => text.push_str(&format!(" ({hidden} more of these were not shown)")),
        }
    }
    // The macros need their level at compile time.
    match level {
        Level::WARN => tracing::warn!(?whom, port, address, reason, "closed: {text}"),
        Level::INFO => tracing::info!(?whom, port, address, reason, "closed: {text}"),
        _ => tracing::debug!(?whom, port, address, reason, "closed: {text}"),
    }
}

/// The variant's name, for searching logs.
fn reason_name(why: &CloseReason) -> String {
    let debug = format!("{why:?}");
    let end = debug
        .find(|c: char| !c.is_ascii_alphanumeric())
        .unwrap_or(debug.len());
    debug[..end].to_owned()
}

pub(super) fn log_event(event: &Event) {
    match event {
        Event::Looking { round } => tracing::info!(round, "looking for a leader"),
        Event::Leading => tracing::info!("leading"),
        Event::Following { leader } => tracing::info!(%leader, "following"),
        Event::Observing { leader } => tracing::info!(%leader, "observing"),
        Event::Serving { epoch, zxid } => tracing::info!(%epoch, %zxid, "serving clients"),
        Event::Left { why } => tracing::warn!("left the role: {why}"),
        Event::SyncChosen {
            learner,
            mode,
            from,
        } => {
            tracing::info!(%learner, mode, %from, "synchronizing a learner");
        }
        Event::Synchronized { mode, zxid } => {
            tracing::info!(mode, %zxid, "synchronized with the leader");
        }
        Event::SessionExpired { session } => tracing::info!(%session, "session expired"),
        Event::DigestMismatch { zxid } => tracing::error!(
            %zxid,
            "the tree differs from the one that the leader had after this transaction"
        ),
        Event::QuotaExceeded(excess) => tracing::warn!(
            path = excess.path,
            measure = ?excess.measure,
            value = excess.value,
            limit = excess.limit,
            "quota exceeded: {}",
            if excess.is_hard { "refused" } else { "not refused, the limit is a soft one" }
        ),
        Event::LimitReached(limit) => tracing::warn!("{}", refused_by(limit)),
        Event::SnapshotTaken { zxid } => tracing::info!(%zxid, "snapshot taken"),
        Event::SnapshotGivenUp { zxid } => tracing::warn!(
            %zxid,
            "snapshot given up: more than {} MiB changed while it was written, the disk is too \
             slow for it; the next one is begun after snapCount transactions",
            SNAPSHOT_HELD_BYTES_MAX >> 20
        ),
        Event::TakesWrites(false) => tracing::error!(
            "writes are refused (-119): too few servers have room on their disks; reads go on"
        ),
        Event::TakesWrites(true) => tracing::info!("writes are taken again"),
        Event::Note { text } => tracing::info!("{text}"),
    }
}

fn refused_by(limit: &Limit) -> String {
    match limit {
        Limit::Frame { bytes, max } => format!(
            "refused: a write of {bytes} bytes from a server that takes longer ones than this \
             leader ({max}): jute.maxbuffer should be the same everywhere"
        ),
        Limit::Memory { max } => format!(
            "refused: a write that makes the tree larger than {max} bytes (vivarium.memoryLimit)"
        ),
        Limit::Wait { max } => format!(
            "refused: a request that waited for longer than {} ms (throttled_op_wait_time)",
            max.as_millis()
        ),
        Limit::Watches { watches } => format!(
            "refused: one more watch, beside the {watches} on this server: all of them, or those \
             of one connection, would need more memory than they may"
        ),
    }
}

/// The exit code and the last words of a node that can not go on.
pub(super) fn fault(fault: &Fault) -> (Exit, String) {
    match fault {
        Fault::Disk => {
            let text = "the disk refused a write; nothing acknowledged is lost. Look above for \
                        the cause, and start again when it is cured";
            (Exit::Failure, text.into())
        }
        Fault::CommitMismatch {
            expected: Some(next),
            committed,
        } => {
            let text = format!("the leader committed {committed}, but {next} is next here");
            (Exit::UnmatchedCommit, text)
        }
        Fault::CommitMismatch {
            expected: None,
            committed,
        } => {
            let text = format!("the leader committed {committed}, which was never proposed here");
            (Exit::UnmatchedCommit, text)
        }
        Fault::RecordUndecodable { zxid } => (
            Exit::Failure,
            format!("transaction {zxid} can not be decoded"),
        ),
        Fault::ServerIdTooLarge { id } => (
            Exit::Failure,
            format!(
                "extendedTypesEnabled is true, but server {id} is a member: with TTL nodes no \
                 server's id may be above {EXTENDED_SERVER_ID_MAX}"
            ),
        ),
        Fault::OwnerUnknown { owner } => (
            Exit::Failure,
            format!(
                "extendedTypesEnabled is true, but a znode's owner {owner} is neither a session \
                 nor a TTL: the data is damaged, or was written by a server whose id is above \
                 {EXTENDED_SERVER_ID_MAX}"
            ),
        ),
        Fault::Stopped => (Exit::Success, "stopped".into()),
    }
}

#[cfg(test)]
mod tests {
    use vivarium_core::ids::{ServerId, Zxid};

    use super::*;

    #[test]
    fn garbage_between_servers_is_loud_and_quiet_ends_are_quiet() {
        let level = |why| close_reason(&why).0;
        assert_eq!(level(CloseReason::PeerMalformed("x")), Level::WARN);
        assert_eq!(level(CloseReason::PeerUnknown(ServerId(9))), Level::WARN);
        assert_eq!(level(CloseReason::FrameLength(-1)), Level::WARN);
        assert_eq!(level(CloseReason::Idle), Level::DEBUG);
        assert_eq!(level(CloseReason::RoleLeft), Level::DEBUG);
    }

    #[test]
    fn names_of_reasons() {
        assert_eq!(reason_name(&CloseReason::FrameLength(-1)), "FrameLength");
        let ahead = CloseReason::ClientAhead {
            seen: Zxid(2),
            applied: Zxid(1),
        };
        assert_eq!(reason_name(&ahead), "ClientAhead");
        assert_eq!(reason_name(&CloseReason::Idle), "Idle");
    }

    #[test]
    fn exit_codes() {
        let mismatch = Fault::CommitMismatch {
            expected: None,
            committed: Zxid(1),
        };
        assert_eq!(fault(&mismatch).0, Exit::UnmatchedCommit);
        assert_eq!(fault(&Fault::Disk).0, Exit::Failure);
        assert_eq!(fault(&Fault::Stopped).0, Exit::Success);
    }
}
