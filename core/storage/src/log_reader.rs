//! Reads log files and judges how they end.
//!
//! # When a bad record is a torn tail
//!
//! What a crash can leave in the last file, written by this server: all before its last sync as it
//! was; behind that, any part of the writes: a prefix; a prefix with a spoilt sector; some sectors
//! and others not, so that whole records stand behind a hole. None of it was acknowledged. What
//! rot can leave: a bad record anywhere. The stories, with S the newest mark ("synced up to S", see
//! the format) and X the first offset that does not hold a whole record:
//!
//! 1. Power fails while a batch is written: X >= S, because S was stable before the batch began.
//!    Torn: cut at X, whatever follows.
//! 2. The process is killed, the machine lives: the mark after the last sync is in the file, X is
//!    the end or inside an unsynced batch, X >= S. As 1.
//! 3. A bit flips in a record that was synced: X < S. Refused. So does a sector of zeros in the
//!    middle, which ZooKeeper takes for the end.
//! 4. A bit flips in the last batch before a power loss that also took its mark: X >= S. Taken for
//!    torn. This much is not decidable; it is one batch, and the loss of power and the rot must
//!    come together.
//! 5. The mark itself rots: the other one is at most one batch older, as 4.
//!
//! A file that was ended or cut keeps its marks, and they claim all of it. Files without marks are
//! those that found no room for them, or that ZooKeeper has written. ZooKeeper leaves a torn record
//! where it was and goes on in a new file. Here the doubt is on the other side:
//!
//! 6. An incomplete record with no whole one behind it is torn: a kill while ZooKeeper flushed.
//! 7. A record that is framed (its length leads to its `B`) and has a wrong checksum was written as
//!    a whole: refused, as ZooKeeper does. So is anything bad with a whole record behind it.
//!
//! A file that is not the last was synced as a whole before the next was begun, so with marks only
//! zeros may follow its last record; without marks 6 holds (ZooKeeper's torn tail), and the
//! recovery checks that the next file goes on where this one ended.

use bytes::Bytes;
use vivarium_core::ids::Zxid;
use vivarium_core::wire::txn::TxnHeader;

use crate::checksum::adler32;
use crate::error::{About, CURE_RESYNC, StorageError};
use crate::files::{Dir, Files};
use crate::log_format::{
    FRAME_BYTES, FRAME_END, FRAME_HEAD_BYTES, HEADER_BYTES, MAGIC, MARK_BYTES, MARKS_BYTES,
    VERSION, mark_offset, parse_mark,
};

/// Read at once.
pub(crate) const BLOCK_BYTES: u64 = 256 << 10;

/// A file of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct LogFile {
    pub(crate) name: String,
    /// From the name.
    pub(crate) first: Zxid,
    pub(crate) len: u64,
    /// No other file begins with a larger zxid.
    pub(crate) is_last: bool,
}

/// One record where it stands.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) offset: u64,
    pub(crate) zxid: Zxid,
    /// Header, body and digest.
    pub(crate) txn: Bytes,
}

impl Record {
    pub(crate) fn end(&self) -> u64 {
        self.offset + (self.txn.len() + FRAME_BYTES) as u64
    }
}

/// How a file ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ending {
    /// Behind the last record are zeros, marks or nothing.
    Clean,
    /// Behind the last record is what a crash left of later ones.
    Torn,
    /// The file was never begun: a crash while it was made.
    Unborn,
}

/// What a scan found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Scan {
    /// Behind the last whole record.
    pub(crate) end: u64,
    pub(crate) records: u64,
    pub(crate) last: Option<Zxid>,
    pub(crate) ending: Ending,
    /// The file is padded and marked by this server: how far it was synced at least.
    pub(crate) synced: Option<u64>,
}

/// Why records stop at some offset.
enum Stop {
    /// A length of zero with a checksum of zero, or the end of the file.
    End,
    /// Bytes end, or lead to something that is no `B`.
    Incomplete,
    /// As long as it says, but with another checksum.
    Checksum,
    /// A transaction without a whole header, under a right checksum.
    Headless,
}

/// A window over a file, moved forward.
struct Window<'f, F> {
    files: &'f F,
    name: &'f str,
    len: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl<F: Files> Window<'_, F> {
    /// Up to `n` bytes from `offset`; fewer only at the end of the file.
    fn get(&mut self, offset: u64, n: u64) -> Result<&[u8], StorageError> {
        let end = offset.saturating_add(n).min(self.len).max(offset);
        if offset < self.start || end > self.start + self.bytes.len() as u64 {
            let read = (end - offset)
                .max(BLOCK_BYTES)
                .min(self.len.saturating_sub(offset));
            self.bytes.resize(read as usize, 0);
            let got = self
                .files
                .read_at(Dir::Logs, self.name, offset, &mut self.bytes)
                .about("read", Dir::Logs, self.name)?;
            self.bytes.truncate(got);
            self.start = offset;
        }
        let from = (offset - self.start) as usize;
        let to = ((end - self.start) as usize).min(self.bytes.len());
        Ok(&self.bytes[from.min(to)..to])
    }
}

/// Reads a file from its beginning. `visit` gets each whole record and says whether to go on;
/// where it stops the reading, the ending is not looked at and told as clean.
pub(crate) fn scan<F: Files>(
    files: &F,
    file: &LogFile,
    visit: &mut dyn FnMut(&Record) -> Result<bool, StorageError>,
) -> Result<Scan, StorageError> {
    let mut window = Window {
        files,
        name: &file.name,
        len: file.len,
        start: 0,
        bytes: Vec::new(),
    };
    let synced = synced_by_marks(files, file)?;
    let mut scan = Scan {
        end: HEADER_BYTES,
        records: 0,
        last: None,
        ending: Ending::Clean,
        synced,
    };
    let head = window.get(0, HEADER_BYTES)?;
    if head.len() < HEADER_BYTES as usize
        || head[..4] != *MAGIC
        || head[4..8] != VERSION.to_be_bytes()
    {
        scan.end = 0;
        scan.ending = judge_header(&mut window, file, synced)?;
        return Ok(scan);
    }
    loop {
        match next_record(&mut window, scan.end)? {
            Ok(record) => {
                let go_on = visit(&record)?;
                scan.end = record.end();
                scan.records += 1;
                scan.last = Some(record.zxid);
                if !go_on {
                    return Ok(scan);
                }
            }
            Err(stop) => {
                scan.ending = judge(&mut window, file, &scan, synced, &stop)?;
                return Ok(scan);
            }
        }
    }
}

/// Visits the whole records from an offset that a record or the header ends at, and says where they
/// end for now. Judges nothing: somebody may be writing there.
pub(crate) fn scan_on<F: Files>(
    files: &F,
    file: &LogFile,
    from: u64,
    visit: &mut dyn FnMut(&Record),
) -> Result<u64, StorageError> {
    let mut window = Window {
        files,
        name: &file.name,
        len: file.len,
        start: 0,
        bytes: Vec::new(),
    };
    let mut offset = from.max(HEADER_BYTES);
    while let Ok(record) = next_record(&mut window, offset)? {
        visit(&record);
        offset = record.end();
    }
    Ok(offset)
}

fn next_record<F: Files>(
    window: &mut Window<'_, F>,
    offset: u64,
) -> Result<Result<Record, Stop>, StorageError> {
    let file_len = window.len;
    let head = window.get(offset, FRAME_HEAD_BYTES as u64)?;
    if head.is_empty() {
        return Ok(Err(Stop::End));
    }
    if head.len() < FRAME_HEAD_BYTES {
        let stop = if head.iter().all(|b| *b == 0) {
            Stop::End
        } else {
            Stop::Incomplete
        };
        return Ok(Err(stop));
    }
    let (sum, len) = split_head(head);
    if sum == 0 && len == 0 {
        return Ok(Err(Stop::End));
    }
    if len <= 0 || offset + FRAME_BYTES as u64 + len as u64 > file_len {
        return Ok(Err(Stop::Incomplete));
    }
    let framed = window.get(offset, FRAME_BYTES as u64 + len as u64)?;
    let Some((&FRAME_END, framed)) = framed.split_last() else {
        return Ok(Err(Stop::Incomplete));
    };
    let txn = &framed[FRAME_HEAD_BYTES..];
    if u64::from(adler32(txn)) != sum {
        return Ok(Err(Stop::Checksum));
    }
    let Ok(header) = TxnHeader::peek(txn) else {
        return Ok(Err(Stop::Headless));
    };
    Ok(Ok(Record {
        offset,
        zxid: header.zxid,
        txn: Bytes::copy_from_slice(txn),
    }))
}

fn split_head(head: &[u8]) -> (u64, i32) {
    let sum = u64::from_be_bytes(head[..8].try_into().expect("eight bytes"));
    let len = i32::from_be_bytes(head[8..12].try_into().expect("four bytes"));
    (sum, len)
}

/// Is there nothing where the next record would begin?
pub(crate) fn is_quiet<F: Files>(
    files: &F,
    file: &LogFile,
    offset: u64,
) -> Result<bool, StorageError> {
    let mut head = [0; FRAME_HEAD_BYTES];
    files
        .read_at(Dir::Logs, &file.name, offset, &mut head)
        .about("read", Dir::Logs, &file.name)?;
    Ok(head.iter().all(|b| *b == 0))
}

/// The newest mark of the file, if it has any.
pub(crate) fn synced_by_marks<F: Files>(
    files: &F,
    file: &LogFile,
) -> Result<Option<u64>, StorageError> {
    if file.len < HEADER_BYTES + MARKS_BYTES {
        return Ok(None);
    }
    let mut newest = None;
    for turn in 0..2 {
        let mut bytes = [0; MARK_BYTES];
        let at = mark_offset(file.len, turn);
        let n = files.read_at(Dir::Logs, &file.name, at, &mut bytes).about(
            "read",
            Dir::Logs,
            &file.name,
        )?;
        if n == MARK_BYTES {
            let synced = parse_mark(&bytes, file.first);
            newest = newest.max(synced.filter(|s| *s <= file.len - MARKS_BYTES));
        }
    }
    Ok(newest)
}

fn damaged(file: &LogFile, offset: u64, problem: String) -> StorageError {
    StorageError::Damaged {
        dir: Dir::Logs,
        name: file.name.clone(),
        offset,
        problem,
        cure: CURE_RESYNC.to_owned(),
    }
}

/// A file without a right header. It is made stable before its first record, so a crash leaves it
/// only where no record ever was.
fn judge_header<F: Files>(
    window: &mut Window<'_, F>,
    file: &LogFile,
    synced: Option<u64>,
) -> Result<Ending, StorageError> {
    const PROBLEM: &str = "the header is not that of a transaction log";
    if let Some(synced) = synced.filter(|synced| *synced > HEADER_BYTES) {
        let problem = format!("{PROBLEM}; all up to offset {synced} had been synced");
        return Err(damaged(file, 0, problem));
    }
    if let Some((at, count)) = first_record_from(window, 0)? {
        let problem = format!("{PROBLEM}; at least {count} records follow from offset {at}");
        return Err(damaged(file, 0, problem));
    }
    if file.is_last || file.len == 0 {
        return Ok(Ending::Unborn);
    }
    Err(damaged(file, 0, PROBLEM.to_owned()))
}

/// The rule of the module's head.
fn judge<F: Files>(
    window: &mut Window<'_, F>,
    file: &LogFile,
    scan: &Scan,
    synced: Option<u64>,
    stop: &Stop,
) -> Result<Ending, StorageError> {
    let last = scan
        .last
        .map_or_else(|| "none".to_owned(), |zxid| zxid.to_string());
    let what = match stop {
        Stop::End => "the records end",
        Stop::Incomplete => "a record is incomplete",
        Stop::Checksum => "a record has a wrong checksum",
        Stop::Headless => "a record is shorter than its header",
    };
    let refuse = |why: String| {
        let problem = format!("{what} (last whole transaction before: {last}), but {why}");
        Err(damaged(file, scan.end, problem))
    };
    if matches!(stop, Stop::Headless) {
        return refuse("its checksum is right: no crash leaves that".to_owned());
    }
    if let Some(synced) = synced {
        let records_end = file.len - MARKS_BYTES;
        if scan.end < synced {
            let behind = first_record_from(window, scan.end + 1)?.map_or(0, |(_, n)| n);
            return refuse(format!(
                "all up to offset {synced} had been synced; at least {behind} whole records follow"
            ));
        }
        if is_zero(window, scan.end, records_end)? {
            return Ok(Ending::Clean);
        }
        if !file.is_last {
            return refuse(
                "a later log file exists, so all of this one had been synced".to_owned(),
            );
        }
        return Ok(Ending::Torn);
    }
    if is_zero(window, scan.end, file.len)? {
        return Ok(Ending::Clean);
    }
    if let Some((at, count)) = first_record_from(window, scan.end + 1)? {
        return refuse(format!(
            "at least {count} whole records follow from offset {at}, so it is not the torn end of \
             the file"
        ));
    }
    if matches!(stop, Stop::Checksum) {
        return refuse("it was written to its end".to_owned());
    }
    Ok(Ending::Torn)
}

fn is_zero<F: Files>(window: &mut Window<'_, F>, from: u64, to: u64) -> Result<bool, StorageError> {
    let mut at = from;
    loop {
        at = window.files.next_data(Dir::Logs, window.name, at).about(
            "look into",
            Dir::Logs,
            window.name,
        )?;
        if at >= to {
            break;
        }
        let block = window.get(at, (to - at).min(BLOCK_BYTES))?;
        if block.is_empty() {
            break;
        }
        if block.iter().any(|b| *b != 0) {
            return Ok(false);
        }
        at += block.len() as u64;
    }
    Ok(true)
}

/// Looks for a whole record at any offset from `from`, whatever stands between. Gives its offset
/// and how many follow each other from there. Used only when something is wrong: it holds the rest
/// of the file in memory.
fn first_record_from<F: Files>(
    window: &mut Window<'_, F>,
    from: u64,
) -> Result<Option<(u64, u64)>, StorageError> {
    let rest = window.get(from, window.len.saturating_sub(from))?;
    let used = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let rest = &rest[..used];
    for at in 0..rest.len() {
        let mut count = 0;
        let mut next = at;
        while let Some(end) = whole_record(rest, next) {
            count += 1;
            next = end;
        }
        if count > 0 {
            return Ok(Some((from + at as u64, count)));
        }
    }
    Ok(None)
}

/// The end of the record that begins at `at`, if there is a whole one.
fn whole_record(bytes: &[u8], at: usize) -> Option<usize> {
    let head = bytes.get(at..at + FRAME_HEAD_BYTES)?;
    let (sum, len) = split_head(head);
    let len = usize::try_from(len)
        .ok()
        .filter(|len| *len >= TxnHeader::BYTES)?;
    let start = at + FRAME_HEAD_BYTES;
    let end = start.checked_add(len)?;
    let is_framed = bytes.get(end) == Some(&FRAME_END);
    let txn = bytes.get(start..end)?;
    (is_framed && sum <= u64::from(u32::MAX) && u64::from(adler32(txn)) == sum).then_some(end + 1)
}
