//! How the shell shows things: as ZooKeeper's does, so that scripts which read it go on.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use vivarium_core::wire::client::event;
use vivarium_core::wire::records::{Acl, Id, Stat, perms};

/// Letters of permissions in the order in which they are shown.
const LETTERS: [(i32, char); 5] = [
    (perms::CREATE, 'c'),
    (perms::DELETE, 'd'),
    (perms::READ, 'r'),
    (perms::WRITE, 'w'),
    (perms::ADMIN, 'a'),
];

/// A time as Java prints a `Date`, in this machine's time zone.
fn date(ms: i64) -> String {
    let Ok(time) = Timestamp::from_millisecond(ms) else {
        return ms.to_string();
    };
    let zoned = time.to_zoned(TimeZone::system());
    zoned.strftime("%a %b %d %H:%M:%S %Z %Y").to_string()
}

pub(super) fn stat(stat: &Stat) -> String {
    format!(
        "cZxid = 0x{:x}\nctime = {}\nmZxid = 0x{:x}\nmtime = {}\npZxid = 0x{:x}\ncversion = {}\n\
         dataVersion = {}\naclVersion = {}\nephemeralOwner = 0x{:x}\ndataLength = {}\n\
         numChildren = {}",
        stat.czxid,
        date(stat.ctime),
        stat.mzxid,
        date(stat.mtime),
        stat.pzxid,
        stat.cversion,
        stat.version,
        stat.aversion,
        stat.ephemeral_owner,
        stat.data_length,
        stat.num_children
    )
}

pub(super) fn permissions(mask: i32) -> String {
    let set = LETTERS.iter().filter(|(bit, _)| mask & bit != 0);
    set.map(|(_, letter)| *letter).collect()
}

pub(super) fn acl(entry: &Acl) -> String {
    let Id { scheme, id } = &entry.id;
    format!("'{scheme},'{id}\n: {}", permissions(entry.perms))
}

/// `scheme:id:permissions`, and several of them behind commas.
///
/// # Errors
/// The entry that is none.
pub(super) fn parse_acl(text: &str) -> Result<Vec<Acl>, String> {
    let one = |entry: &str| {
        let wrong = || format!("{entry} does not have the form scheme:id:perm");
        let (scheme, rest) = entry.split_once(':').ok_or_else(wrong)?;
        // An id may hold colons.
        let (id, letters) = rest.rsplit_once(':').ok_or_else(wrong)?;
        let mut mask = 0;
        for letter in letters.chars() {
            let known = LETTERS.iter().find(|(_, known)| *known == letter);
            let known = known.ok_or_else(|| format!("Unknown perm type: {letter}"))?;
            mask |= known.0;
        }
        Ok(Acl {
            perms: mask,
            id: Id {
                scheme: scheme.to_owned(),
                id: id.to_owned(),
            },
        })
    };
    text.split(',').map(one).collect()
}

/// What a watch's event is called.
pub(super) fn event_name(kind: i32) -> &'static str {
    match kind {
        event::NODE_CREATED => "NodeCreated",
        event::NODE_DELETED => "NodeDeleted",
        event::NODE_DATA_CHANGED => "NodeDataChanged",
        event::NODE_CHILDREN_CHANGED => "NodeChildrenChanged",
        _ => "None",
    }
}

/// Sixteen bytes a line: offset, bytes, and those that are text.
pub(super) fn hexdump(data: &[u8]) -> String {
    let lines = data.chunks(16).enumerate().map(|(at, chunk)| {
        let hex: Vec<String> = chunk.iter().map(|byte| format!("{byte:02x}")).collect();
        let text = chunk.iter().map(|&byte| match byte {
            b' '..=b'~' => byte as char,
            _ => '.',
        });
        let text: String = text.collect();
        format!("{:08x}  {:47}  {text}", at * 16, hex.join(" "))
    });
    let lines: Vec<String> = lines.collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_lists_are_read_and_shown() {
        let list = parse_acl("world:anyone:r,digest:user:hash=:cdrwa").expect("two entries");
        assert_eq!(acl(&list[0]), "'world,'anyone\n: r");
        assert_eq!(acl(&list[1]), "'digest,'user:hash=\n: cdrwa");
        assert!(parse_acl("world:anyone").is_err());
        assert_eq!(
            parse_acl("world:anyone:x").expect_err("no such letter"),
            "Unknown perm type: x"
        );
    }

    #[test]
    fn bytes_are_dumped_in_lines() {
        let dump = hexdump(b"0123456789abcdef\x00z");
        let lines: Vec<&str> = dump.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].ends_with("  0123456789abcdef"), "{dump}");
        assert!(lines[1].starts_with("00000010  00 7a "), "{dump}");
    }
}
