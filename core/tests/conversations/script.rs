//! A recorded conversation: a file of text, and the packets in it.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use vivarium_core::ids::{ServerId, Zxid};
use vivarium_core::mutants::Mutants;
use vivarium_core::snapshot::SnapshotLoader;
use vivarium_core::wire::quorum::{QuorumPacket, measure_packet, packet};

/// Text at the end of a snapshot between servers, with its length.
const SIGNATURE: &[u8] = b"\0\0\0\x0aBenWasHere";

/// Folders of the releases of ZooKeeper that were recorded.
pub(crate) const RELEASES: [&str; 2] = [
    "scenarios/conversations/3.8.0",
    "scenarios/conversations/3.9.4",
];

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Dialler,
    Acceptor,
}

/// One connection, in the order of what was said.
#[derive(Clone)]
pub(crate) struct Conversation {
    /// Release and file, for messages.
    pub(crate) name: String,
    head: String,
    chunks: Vec<(Side, Vec<u8>)>,
}

/// A piece of one side of a conversation on the quorum port.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) side: Side,
    /// 0 for the body of a snapshot with its signature.
    pub(crate) kind: i32,
    pub(crate) zxid: Zxid,
    pub(crate) data: Option<Vec<u8>>,
    pub(crate) bytes: Vec<u8>,
}

/// All conversations of one release whose file begins so.
pub(crate) fn recorded(release: &str, prefix: &str) -> Vec<Conversation> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let files = fs::read_dir(root.join(release)).expect("the repository is whole");
    let mut paths: Vec<_> = files.map(|file| file.expect("a file").path()).collect();
    paths.sort();
    let name = |path: &Path| path.file_stem().map(|s| s.to_string_lossy().into_owned());
    let fits = |path: &&std::path::PathBuf| name(path).is_some_and(|n| n.starts_with(prefix));
    let found: Vec<_> = paths
        .iter()
        .filter(fits)
        .map(|path| {
            let text = fs::read_to_string(path).expect("readable");
            Conversation::read(&format!("{release} {}", name(path).expect("a name")), &text)
        })
        .collect();
    assert!(!found.is_empty(), "no {prefix} of {release}");
    found
}

impl Conversation {
    fn read(name: &str, text: &str) -> Self {
        let (mut head, mut chunks) = (String::new(), Vec::new());
        for line in text.lines() {
            if let Some(words) = line.strip_prefix("# ") {
                head.push_str(words);
                continue;
            }
            let (mark, digits) = line.split_at(1);
            match mark {
                ">" => chunks.push((Side::Dialler, Vec::new())),
                "<" => chunks.push((Side::Acceptor, Vec::new())),
                _ => assert_eq!(mark, " ", "{name}: {line}"),
            }
            let (_, chunk) = chunks.last_mut().expect("somebody speaks");
            let digits = digits.trim_start();
            for at in (0..digits.len()).step_by(2) {
                let byte = u8::from_str_radix(&digits[at..at + 2], 16);
                chunk.push(byte.expect("hexadecimal"));
            }
        }
        Self {
            name: name.to_owned(),
            head,
            chunks,
        }
    }

    /// The server that the head names behind these words.
    pub(crate) fn server(&self, words: &str) -> ServerId {
        let (_, rest) = self.head.split_once(words).expect("the head names it");
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next();
        ServerId(digits.expect("a number").parse().expect("a number"))
    }

    /// All that one side said.
    pub(crate) fn said_by(&self, side: Side) -> Vec<u8> {
        let own = self.chunks.iter().filter(|(by, _)| *by == side);
        own.flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }

    /// Both sides' packets, each where its last byte was said.
    pub(crate) fn pieces(&self) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let (mut dialler, mut acceptor) = (Cutter::default(), Cutter::default());
        for (side, bytes) in &self.chunks {
            let cutter = match side {
                Side::Dialler => &mut dialler,
                Side::Acceptor => &mut acceptor,
            };
            cutter.unread.extend_from_slice(bytes);
            while let Some(piece) = cutter.cut(*side) {
                pieces.push(piece);
            }
        }
        pieces
    }
}

/// What was said on one side and not cut yet.
#[derive(Default)]
struct Cutter {
    unread: Vec<u8>,
    /// Behind SNAP comes no packet.
    in_snapshot: bool,
}

impl Cutter {
    fn cut(&mut self, side: Side) -> Option<Piece> {
        if self.in_snapshot {
            let mut loader = SnapshotLoader::new(0, Mutants::NONE);
            let read = loader.feed(&self.unread).expect("a readable snapshot");
            let end = read + SIGNATURE.len();
            if !loader.is_complete() || self.unread.len() < end {
                return None;
            }
            assert_eq!(&self.unread[read..end], SIGNATURE);
            self.in_snapshot = false;
            let bytes = self.unread.drain(..end).collect();
            return Some(Piece {
                side,
                kind: 0,
                zxid: Zxid(-1),
                data: None,
                bytes,
            });
        }
        let length = measure_packet(&self.unread).expect("only packets are said");
        if self.unread.is_empty() || self.unread.len() < length {
            return None;
        }
        let bytes: Vec<u8> = self.unread.drain(..length).collect();
        let found = QuorumPacket::decode(&bytes).expect("it was measured");
        self.in_snapshot = found.kind == packet::SNAP;
        let (kind, zxid, data) = (found.kind, found.zxid, found.data.map(<[u8]>::to_vec));
        Some(Piece {
            side,
            kind,
            zxid,
            data,
            bytes,
        })
    }
}

/// Every transaction that one release's recordings show, by its zxid.
pub(crate) fn history(release: &str) -> BTreeMap<Zxid, Vec<u8>> {
    let mut found = BTreeMap::new();
    let quorum = ["follower", "observer"].map(|prefix| recorded(release, prefix));
    for piece in quorum.iter().flatten().flat_map(Conversation::pieces) {
        if matches!(piece.kind, packet::PROPOSAL | packet::INFORM) {
            found.insert(piece.zxid, piece.data.expect("a transaction"));
        }
    }
    found
}
