//! The moment that is restored: a transaction, a time, or the newest.

use std::time::UNIX_EPOCH;

use vivarium_core::ids::Zxid;
use vivarium_core::time::WallMs;
use vivarium_core::wire::txn::TxnHeader;
use vivarium_storage::inspect::{log_names, look, read_log};
use vivarium_storage::{Dir, Files};

use super::super::ToolError;
use super::super::directory::parse_zxid;

/// 1973 in milliseconds: no transaction is older, and numbers below are zxids without their `0x`.
const TIME_MS_MIN: i64 = 100_000_000_000;

/// Up to where history is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum At {
    /// The transaction, or the last one before it.
    Zxid(Zxid),
    /// The last transaction before the first one that is later.
    Time(WallMs),
}

pub(super) fn parse(text: &str) -> Result<At, String> {
    if text.starts_with("0x") {
        return parse_zxid(text).map(At::Zxid);
    }
    if let Ok(ms) = text.parse::<i64>() {
        return if ms >= TIME_MS_MIN {
            Ok(At::Time(WallMs(ms)))
        } else {
            Err(format!(
                "zxids are written in hexadecimal, 0x{ms:x}; times in ms since 1970"
            ))
        };
    }
    let parsed = humantime::parse_rfc3339_weak(text).map_err(|e| {
        format!(
            "{e}; it is a zxid (0x...), a time in UTC (2026-01-31T23:59:59Z) or in ms since 1970"
        )
    })?;
    let since = parsed
        .duration_since(UNIX_EPOCH)
        .map_err(|e| e.to_string())?;
    let ms = i64::try_from(since.as_millis()).map_err(|e| e.to_string())?;
    Ok(At::Time(WallMs(ms)))
}

/// Transactions that stand in the logs, in short.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Span {
    pub(super) count: u64,
    /// Zxid and time of the first and the last.
    pub(super) first: (Zxid, WallMs),
    pub(super) last: (Zxid, WallMs),
}

impl Span {
    fn add(span: &mut Option<Self>, zxid: Zxid, time: WallMs) {
        let span = span.get_or_insert(Self {
            count: 0,
            first: (zxid, time),
            last: (zxid, time),
        });
        span.count += 1;
        span.last = (zxid, time);
    }
}

/// The transactions of the logs up to the wanted moment, and those after it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Split {
    pub(super) before: Option<Span>,
    pub(super) after: Option<Span>,
}

impl Split {
    /// Reads the heads of all transactions. `at` of `None`: all are before.
    pub(super) fn of<F: Files>(files: &F, at: Option<At>) -> Result<Self, ToolError> {
        let mut split = Self::default();
        for name in log_names(files)? {
            let seen = look(files, &name, 0, &mut |_, zxid, record| {
                let Ok(header) = TxnHeader::peek(record) else {
                    return;
                };
                // ZooKeeper may log a transaction twice around a synchronization.
                let last = split.after.or(split.before).map(|span| span.last.0);
                if last.is_some_and(|last| zxid <= last) {
                    return;
                }
                let is_after = split.after.is_some()
                    || match at {
                        None => false,
                        Some(At::Zxid(limit)) => zxid > limit,
                        Some(At::Time(limit)) => header.time > limit,
                    };
                let side = if is_after {
                    &mut split.after
                } else {
                    &mut split.before
                };
                Span::add(side, zxid, header.time);
            })?;
            let len = files.len(Dir::Logs, &name);
            if len.is_ok_and(|len| len > seen.end) {
                // All of it was whole once: this says what has happened to it.
                read_log(files, &name, &mut |_, _, _| true)?;
            }
        }
        Ok(split)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_told_apart() {
        assert_eq!(parse("0x10000000a"), Ok(At::Zxid(Zxid(0x1_0000_000a))));
        let time = Ok(At::Time(WallMs(1_600_000_000_123)));
        assert_eq!(parse("1600000000123"), time);
        assert_eq!(parse("2020-09-13T12:26:40.123Z"), time);
        assert_eq!(parse("2020-09-13 12:26:40.123"), time);
        for bad in ["", "17", "yesterday", "0x", "-1"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
