//! `vivarium log`: the transactions of the log files.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use serde_json::json;
use vivarium_core::ids::Zxid;
use vivarium_core::wire::txn::{Txn, TxnRecord};
use vivarium_storage::inspect::{LogEnd, LogReport, log_names, read_log, read_on};
use vivarium_storage::{Dir, Files};

use super::ToolError;
use super::directory::{Target, parse_zxid};
use super::progress::Progress;
use super::records::{Fields, line, object, transaction};

/// Time between two looks at a log that is followed.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(200);

#[derive(Args, Debug)]
pub struct Dump {
    /// A log file, dataDir, dataLogDir, or the version-2 in one of them
    path: PathBuf,
    #[command(flatten)]
    choice: Choice,
}

/// Which transactions are printed, and how.
#[derive(Args, Debug)]
struct Choice {
    /// Only from this zxid on (0x...)
    #[arg(long, value_parser = parse_zxid)]
    from: Option<Zxid>,
    /// Only up to this zxid
    #[arg(long, value_parser = parse_zxid)]
    to: Option<Zxid>,
    /// Only of this session (0x...)
    #[arg(long, value_parser = parse_zxid)]
    session: Option<Zxid>,
    /// Only about this path and what is below it
    #[arg(long)]
    under: Option<String>,
    /// Data in full, not only its beginning
    #[arg(long)]
    whole: bool,
    /// One JSON object to a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct Verify {
    /// A log file, dataDir, dataLogDir, or the version-2 in one of them
    path: PathBuf,
    /// One JSON object to a line
    #[arg(long)]
    json: bool,
}

#[derive(Args, Debug)]
pub struct Follow {
    /// dataDir, dataLogDir, or the version-2 in one of them
    path: PathBuf,
    #[command(flatten)]
    choice: Choice,
}

impl Choice {
    fn wants(&self, record: &TxnRecord<'_>) -> bool {
        let header = &record.header;
        self.from.is_none_or(|from| header.zxid >= from)
            && self.to.is_none_or(|to| header.zxid <= to)
            && self.session.is_none_or(|id| header.session.0 == id.0)
            && self
                .under
                .as_deref()
                .is_none_or(|top| touches(&record.txn, top))
    }

    /// Prints one record, if it is wanted. What can not be read is printed as that.
    fn print(
        &self,
        out: &mut dyn Write,
        offset: u64,
        zxid: Zxid,
        bytes: &[u8],
    ) -> Result<(), ToolError> {
        let record = TxnRecord::decode(bytes).map_err(|e| {
            let problem = format!("transaction {zxid} at offset {offset} can not be read: {e}");
            ToolError::Failed(problem)
        })?;
        if !self.wants(&record) {
            return Ok(());
        }
        let fields = transaction(offset, &record, self.whole);
        if self.json {
            writeln!(out, "{}", object(fields))?;
        } else {
            writeln!(out, "{}", line(&fields))?;
        }
        Ok(())
    }
}

/// Is the transaction about `top` or something below it?
fn touches(txn: &Txn<'_>, top: &str) -> bool {
    let top = top.trim_end_matches('/');
    let is_under = |path: &str| {
        let rest = path.strip_prefix(top);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    match txn {
        Txn::Create { path, .. }
        | Txn::Delete { path }
        | Txn::SetData { path, .. }
        | Txn::SetAcl { path, .. }
        | Txn::Check { path, .. } => is_under(path),
        Txn::Multi(subs) => subs.iter().any(|sub| touches(&sub.txn, top)),
        Txn::CloseSession { paths } => paths.iter().flatten().any(|path| is_under(path)),
        Txn::Error { .. } | Txn::CreateSession { .. } => false,
    }
}

impl Dump {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let target = Target::open(&self.path)?;
        let names = target.logs()?;
        let past = |zxid: Zxid| self.choice.to.is_some_and(|to| zxid > to);
        for name in names {
            let total = size(&target, &name)?;
            let mut progress = Progress::bytes(&name, total);
            let report = read(&target, &name, &mut |offset, zxid, bytes| {
                progress.at(offset);
                if past(zxid) {
                    return Ok(false);
                }
                self.choice.print(out, offset, zxid, bytes).map(|()| true)
            })?;
            if report.end == LogEnd::NotReached {
                return Ok(());
            }
        }
        Ok(())
    }
}

impl Verify {
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let target = Target::open(&self.path)?;
        let mut bad = Vec::new();
        for name in target.logs()? {
            let mut progress = Progress::bytes(&name, size(&target, &name)?);
            let mut unreadable = None;
            let read = read_log(&target.files, &name, &mut |offset, zxid, bytes| {
                progress.at(offset);
                if let Err(e) = TxnRecord::decode(bytes) {
                    unreadable = Some(format!("{zxid} at offset {offset}: {e}"));
                }
                unreadable.is_none()
            });
            drop(progress);
            let problem = match (read, unreadable) {
                (_, Some(problem)) => format!("{name}: {problem}"),
                (Err(e), None) => e.to_string(),
                (Ok(report), None) => {
                    let mut fields = verdict(&report);
                    if self.json {
                        fields.insert(0, ("log", json!(name)));
                        writeln!(out, "{}", object(fields))?;
                    } else {
                        writeln!(out, "{name} {}", line(&fields))?;
                    }
                    continue;
                }
            };
            if self.json {
                writeln!(out, "{}", json!({"log": name, "problem": problem}))?;
            }
            bad.push(problem);
        }
        if bad.is_empty() {
            Ok(())
        } else {
            Err(ToolError::Failed(bad.join("\nvivarium: ")))
        }
    }
}

fn verdict(report: &LogReport) -> Fields {
    let end = match report.end {
        LogEnd::Clean => "clean",
        LogEnd::Torn => "torn",
        LogEnd::Unborn => "unborn",
        LogEnd::NotReached => unreachable!("every record was wanted"),
    };
    let last = report
        .last
        .map_or_else(|| "none".to_owned(), |zxid| zxid.to_string());
    vec![
        ("transactions", json!(report.transactions)),
        ("last", json!(last)),
        ("used", json!(report.used)),
        ("bytes", json!(report.bytes)),
        ("end", json!(end)),
    ]
}

impl Follow {
    /// Prints what is there and then what comes, across files.
    pub(super) fn run(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        let target = Target::open(&self.path)?;
        let mut reached: Option<(String, u64)> = None;
        loop {
            for name in log_names(&target.files)? {
                let from = match &reached {
                    Some((at, offset)) if *at == name => *offset,
                    Some((at, _)) if first(at) > first(&name) => continue,
                    _ => 0,
                };
                let mut failed = Ok(());
                let end = read_on(&target.files, &name, from, &mut |offset, zxid, bytes| {
                    if failed.is_ok() {
                        failed = self.choice.print(out, offset, zxid, bytes);
                    }
                })?;
                failed?;
                reached = Some((name, end));
            }
            out.flush()?;
            rest();
        }
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "a tool that waits for a file that others write"
)]
fn rest() {
    std::thread::sleep(FOLLOW_INTERVAL);
}

/// The zxid in the name of a log file.
fn first(name: &str) -> i64 {
    let hex = name.strip_prefix("log.").unwrap_or_default();
    i64::from_str_radix(hex, 16).unwrap_or(0)
}

fn size(target: &Target, name: &str) -> Result<u64, ToolError> {
    let len = target.files.len(Dir::Logs, name);
    len.map_err(|e| ToolError::Failed(format!("can not look up {name}: {e}")))
}

/// Reads a log file with a visitor that may fail.
fn read(
    target: &Target,
    name: &str,
    visit: &mut dyn FnMut(u64, Zxid, &Bytes) -> Result<bool, ToolError>,
) -> Result<LogReport, ToolError> {
    let mut failed = None;
    let report = read_log(&target.files, name, &mut |offset, zxid, bytes| match visit(
        offset, zxid, bytes,
    ) {
        Ok(go_on) => go_on,
        Err(e) => {
            failed = Some(e);
            false
        }
    })?;
    match failed {
        Some(e) => Err(e),
        None => Ok(report),
    }
}
