use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;

use super::*;
use crate::acl;
use crate::config::Rules;
use crate::wire::records::{Acl, Id, perms};
use WatchKind::{Child, Data, Persistent, Recursive};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// Remembers who was told what, in order.
#[derive(Default)]
struct Heard {
    identities: BTreeMap<ConnId, Vec<Id>>,
    events: Vec<(ConnId, i32, String)>,
}

impl Listeners for Heard {
    fn may_read(&self, conn: ConnId, list: &[Acl]) -> bool {
        let identities = self.identities.get(&conn).map_or(&[][..], Vec::as_slice);
        acl::allows(&Rules::default(), list, perms::READ, identities)
    }

    fn notify(&mut self, conn: ConnId, event: i32, path: &str) {
        self.events.push((conn, event, path.into()));
    }
}

fn new() -> Watches {
    Watches::new(7, Mutants::NONE)
}

fn change(kind: ChangeKind, path: &str) -> Change {
    Change {
        kind,
        path: path.into(),
        acl: [Acl::world(perms::ALL)].into(),
    }
}

fn fire(watches: &mut Watches, kind: ChangeKind, path: &str) -> Vec<(ConnId, i32)> {
    let mut heard = Heard::default();
    watches.fire(&change(kind, path), &mut heard);
    assert!(heard.events.iter().all(|(_, _, told)| told == path));
    heard
        .events
        .into_iter()
        .map(|(conn, event, _)| (conn, event))
        .collect()
}

#[test]
fn the_same_watch_twice_is_one_and_fires_once() {
    let mut watches = new();
    watches.add(Data, "/a", A).unwrap();
    watches.add(Data, "/a", A).unwrap();
    assert_eq!(watches.count(), 1);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), []);
    assert_eq!((watches.count(), watches.path_count()), (0, 0));
}

#[test]
fn a_deleted_node_tells_a_connection_once_whatever_it_watched() {
    let mut watches = new();
    watches.add(Data, "/a", A).unwrap();
    watches.add(Child, "/a", A).unwrap();
    assert_eq!(fire(&mut watches, ChangeKind::Deleted, "/a"), [(A, 2)]);
    assert_eq!(watches.count(), 0);
}

#[test]
fn data_watchers_hear_of_a_deletion_before_child_watchers() {
    let mut watches = new();
    watches.add(Child, "/a", A).unwrap();
    watches.add(Data, "/a", B).unwrap();
    watches.add(Child, "/a", B).unwrap();
    watches.add(Child, "/a", ConnId(3)).unwrap();
    assert_eq!(
        fire(&mut watches, ChangeKind::Deleted, "/a"),
        [(B, 2), (A, 2), (ConnId(3), 2)]
    );
}

#[test]
fn child_watches_wait_for_the_list_of_children_only() {
    let mut watches = new();
    watches.add(Child, "/a", A).unwrap();
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), []);
    assert_eq!(fire(&mut watches, ChangeKind::Created, "/a/b"), []);
    assert_eq!(fire(&mut watches, ChangeKind::ChildrenChanged, "/a/b"), []);
    assert_eq!(
        fire(&mut watches, ChangeKind::ChildrenChanged, "/a"),
        [(A, 4)]
    );
    assert_eq!(fire(&mut watches, ChangeKind::ChildrenChanged, "/a"), []);
}

#[test]
fn data_watches_do_not_wait_for_children() {
    let mut watches = new();
    watches.add(Data, "/a", A).unwrap();
    assert_eq!(fire(&mut watches, ChangeKind::ChildrenChanged, "/a"), []);
    assert_eq!(watches.count(), 1);
}

#[test]
fn a_watch_on_a_missing_node_fires_when_it_is_created() {
    let mut watches = new();
    watches.add(Data, "/a", A).unwrap();
    assert_eq!(fire(&mut watches, ChangeKind::Created, "/a"), [(A, 1)]);
}

#[test]
fn connections_are_told_in_their_order() {
    let mut watches = new();
    for conn in [5, 3, 9, 1] {
        watches.add(Data, "/a", ConnId(conn)).unwrap();
    }
    let told = fire(&mut watches, ChangeKind::DataChanged, "/a");
    assert_eq!(told, [1, 3, 5, 9].map(|conn| (ConnId(conn), 3)));
}

#[test]
fn without_read_nothing_is_heard_and_the_watch_is_used_up() {
    let mut watches = new();
    watches.add(Data, "/a", A).unwrap();
    watches.add(Data, "/a", B).unwrap();
    let reader = Id {
        scheme: "digest".into(),
        id: "u:h".into(),
    };
    let mut heard = Heard::default();
    heard.identities.insert(B, [reader.clone()].into());
    let mut secret = change(ChangeKind::DataChanged, "/a");
    secret.acl = [Acl {
        perms: perms::READ,
        id: reader,
    }]
    .into();
    watches.fire(&secret, &mut heard);
    assert_eq!(heard.events, [(B, 3, "/a".into())]);
    assert_eq!(watches.count(), 0);
}

#[test]
fn a_closing_connection_takes_only_its_own_watches() {
    let mut watches = new();
    for n in 0..100 {
        watches.add(Data, &format!("/{n}"), A).unwrap();
        watches.add(Child, &format!("/{n}"), A).unwrap();
    }
    watches.add(Data, "/5", B).unwrap();
    watches.remove_conn(A);
    assert_eq!((watches.count(), watches.path_count()), (1, 1));
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/5"), [(B, 3)]);
    watches.remove_conn(A);
}

#[test]
fn slots_of_forgotten_paths_are_used_again() {
    let mut watches = new();
    for n in 0..1_000 {
        let path = format!("/{n}");
        watches.add(Data, &path, A).unwrap();
        assert_eq!(fire(&mut watches, ChangeKind::DataChanged, &path), [(A, 3)]);
    }
    assert_eq!(watches.paths.iter().count(), 1);
    assert_eq!(watches.watchers.len(), 1);
}

#[test]
fn a_watch_on_the_empty_path_hears_nothing_of_the_root() {
    let mut watches = new();
    for kind in WatchKind::ALL {
        watches.add(kind, "", A).unwrap();
    }
    for path in ["/", "/a"] {
        for kind in [ChangeKind::ChildrenChanged, ChangeKind::DataChanged] {
            assert_eq!(fire(&mut watches, kind, path), [], "{path}");
        }
    }
    assert!(watches.contains(Some(Child), "", A) && !watches.contains(None, "/", A));
    assert!(watches.remove(None, "", A));
    assert_eq!(watches.count(), 0);
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_fires_a_watch_twice() {
    let mut watches = Watches::new(7, Mutants::with(Mutant::WatchFiresTwice));
    watches.add(Data, "/a", A).unwrap();
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
}

#[test]
fn a_persistent_watch_hears_of_everything_and_stays() {
    let mut watches = new();
    watches.add(Persistent, "/a", A).unwrap();
    for (kind, event) in [
        (ChangeKind::Created, 1),
        (ChangeKind::ChildrenChanged, 4),
        (ChangeKind::DataChanged, 3),
        (ChangeKind::Deleted, 2),
        (ChangeKind::Created, 1),
    ] {
        assert_eq!(fire(&mut watches, kind, "/a"), [(A, event)]);
        assert_eq!(fire(&mut watches, kind, "/a/b"), []);
    }
    assert_eq!(watches.count(), 2, "it stands in both tables");
}

#[test]
fn a_recursive_watch_hears_of_all_below_but_never_of_children() {
    let mut watches = new();
    watches.add(Recursive, "/a", A).unwrap();
    watches.add(Recursive, "/", B).unwrap();
    for path in ["/a", "/a/b", "/a/b/c"] {
        for (kind, event) in [
            (ChangeKind::Created, 1),
            (ChangeKind::DataChanged, 3),
            (ChangeKind::Deleted, 2),
        ] {
            let told = fire(&mut watches, kind, path);
            assert_eq!(told, [(A, event), (B, event)], "{path}");
        }
        assert_eq!(fire(&mut watches, ChangeKind::ChildrenChanged, path), []);
    }
    for path in ["/ab", "/", "/b/a"] {
        let told = fire(&mut watches, ChangeKind::DataChanged, path);
        assert_eq!(told, [(B, 3)], "{path}");
    }
    assert_eq!(watches.count(), 2);
    watches.remove_conn(B);
    assert!(watches.remove(Some(Recursive), "/a", A));
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), []);
    assert!(watches.recursive.is_empty());
}

#[test]
fn one_event_whatever_modes_match() {
    let mut watches = new();
    for kind in [Data, Child, Persistent, Recursive] {
        watches.add(kind, "/a/b", A).unwrap();
    }
    watches.add(Recursive, "/a", A).unwrap();
    watches.add(Recursive, "/", A).unwrap();
    assert_eq!(
        watches.count(),
        4,
        "pairs of path and connection in each table"
    );
    assert_eq!(
        fire(&mut watches, ChangeKind::DataChanged, "/a/b"),
        [(A, 3)]
    );
    assert!(!watches.contains(Some(Data), "/a/b", A), "used up");
    assert_eq!(fire(&mut watches, ChangeKind::Deleted, "/a/b"), [(A, 2)]);
    for (kind, stays) in [
        (Data, false),
        (Child, false),
        (Persistent, true),
        (Recursive, true),
    ] {
        assert_eq!(watches.contains(Some(kind), "/a/b", A), stays, "{kind:?}");
    }
}

#[test]
fn only_the_named_mode_is_removed() {
    let mut watches = new();
    let all = [Data, Child, Persistent, Recursive];
    for gone in all {
        for kind in all {
            watches.add(kind, "/a", A).unwrap();
            watches.add(kind, "/a", B).unwrap();
        }
        assert!(watches.remove(Some(gone), "/a", A));
        assert!(!watches.remove(Some(gone), "/a", A));
        for kind in all {
            assert_eq!(watches.contains(Some(kind), "/a", A), kind != gone);
            assert!(watches.contains(Some(kind), "/a", B));
        }
        assert!(!watches.contains(None, "/b", A));
        assert!(watches.remove(None, "/a", A));
        assert!(!watches.contains(None, "/a", A));
        assert!(!watches.remove(None, "/a", A));
        assert!(watches.remove(None, "/a", B));
        assert_eq!((watches.count(), watches.paths.bytes()), (0, 0));
        assert!(watches.by_conn.is_empty());
    }
}

#[test]
fn what_is_used_up_is_refused_and_nothing_is_registered() {
    let mut watches = new();
    watches.path_bytes_per_connection_max = 2 * path_cost("/1");
    watches.bytes_max = 3 * path_cost("/1") + 4 * WATCH_BYTES;
    watches.add(Persistent, "/1", A).unwrap();
    watches.add(Data, "/2", A).unwrap();
    assert_eq!(
        watches.add(Data, "/3", A),
        Err(Full),
        "the connection's share"
    );
    watches.add(Child, "/2", A).unwrap();
    assert_eq!(watches.add(Data, "/3", B), Err(Full), "the server's memory");
    assert!(watches.remove(Some(Data), "/2", A));
    assert_eq!((watches.count(), watches.path_count()), (3, 2));
    watches.add(Data, "/3", B).unwrap();
    watches.remove_conn(A);
    watches.add(Data, "/4", B).unwrap();
    assert_eq!(watches.summary().watches, 2);
}

#[test]
fn the_table_of_data_watches_can_be_listed() {
    let mut watches = new();
    watches.add(Child, "/c", A).unwrap();
    watches.add(Data, "/a", A).unwrap();
    watches.add(Recursive, "/a", B).unwrap();
    watches.add(Persistent, "/b", B).unwrap();
    watches.add(Child, "/c", ConnId(3)).unwrap();
    let size = Summary {
        connections: 2,
        paths: 2,
        watches: 3,
    };
    assert_eq!(watches.summary(), size);
    let by_path = watches.by_path();
    let mut by_path: Vec<_> = by_path.map(|(p, c)| (p, c.collect::<Vec<_>>())).collect();
    by_path.sort();
    assert_eq!(by_path, [("/a", [A, B].to_vec()), ("/b", [B].to_vec())]);
    let by_conn = watches.by_connection();
    let by_conn: Vec<_> = by_conn.map(|(c, p)| (c, p.collect::<Vec<_>>())).collect();
    assert_eq!(by_conn, [(A, ["/a"].to_vec()), (B, ["/a", "/b"].to_vec())]);
}

/// Every watch by itself; looks at all of them for everything.
#[derive(Default)]
struct Naive(BTreeSet<(ConnId, String, WatchKind)>);

impl Naive {
    fn of(&self, conn: ConnId) -> impl Iterator<Item = (&str, WatchKind)> {
        let own = self.0.iter().filter(move |(c, _, _)| *c == conn);
        own.map(|(_, path, kind)| (&**path, *kind))
    }

    /// Does a watch hear of a change, in the first step or only as a child watch?
    fn hears(watch: (&str, WatchKind), kind: ChangeKind, path: &str) -> Option<usize> {
        let (at, mode) = watch;
        let inside = at == "/" || path == at || path.starts_with(&format!("{at}/"));
        match (mode, kind) {
            (Recursive, ChangeKind::ChildrenChanged) => None,
            (Recursive, _) => inside.then_some(0),
            (Data, ChangeKind::ChildrenChanged) => None,
            (Child, ChangeKind::ChildrenChanged) => (at == path).then_some(0),
            (Child, ChangeKind::Deleted) => (at == path).then_some(1),
            (Child, _) => None,
            _ => (at == path).then_some(0),
        }
    }

    fn fire(&mut self, kind: ChangeKind, path: &str) -> Vec<ConnId> {
        let conns: BTreeSet<ConnId> = self.0.iter().map(|watch| watch.0).collect();
        let mut steps = [Vec::new(), Vec::new()];
        for conn in conns {
            let first = self
                .of(conn)
                .filter_map(|w| Self::hears(w, kind, path))
                .min();
            if let Some(step) = first {
                steps[step].push(conn);
            }
        }
        self.0.retain(|(_, at, mode)| {
            let hears = Self::hears((at, *mode), kind, path).is_some();
            !(hears && matches!(mode, Data | Child))
        });
        steps.concat()
    }

    fn summary(&self) -> (usize, Summary) {
        let data = self.0.iter().filter(|w| w.2 != Child);
        let data: BTreeSet<_> = data.map(|(conn, path, _)| (conn, path)).collect();
        let child = self.0.iter().filter(|w| matches!(w.2, Child | Persistent));
        let child: BTreeSet<_> = child.map(|(conn, path, _)| (conn, path)).collect();
        let summary = Summary {
            connections: data.iter().map(|w| w.0).collect::<BTreeSet<_>>().len(),
            paths: data.iter().map(|w| w.1).collect::<BTreeSet<_>>().len(),
            watches: data.len(),
        };
        (data.len() + child.len(), summary)
    }
}

proptest::proptest! {
    /// Against a plain list of (connection, path, kind).
    #[test]
    fn tables_agree_with_a_plain_list(
        steps in proptest::collection::vec((0..10_u8, 0..4_usize, 0..7_usize, 0..6_u64), 0..200),
    ) {
        let (mut watches, mut naive) = (new(), Naive::default());
        for (step, kind, path, conn) in steps {
            let path = ["/", "/a", "/a/b", "/a/b/c", "/ab", "/a/d", "/e"][path];
            let (mode, conn) = (WatchKind::ALL[kind], ConnId(conn));
            match step {
                0..=4 => {
                    watches.add(mode, path, conn).unwrap();
                    naive.0.insert((conn, path.into(), mode));
                }
                5 => {
                    watches.remove_conn(conn);
                    naive.0.retain(|watch| watch.0 != conn);
                }
                6 => {
                    let wanted = (kind != 0).then_some(mode);
                    let before = naive.0.len();
                    naive.0.retain(|(c, p, m)| {
                        !(*c == conn && p == path && wanted.is_none_or(|w| w == *m))
                    });
                    let removed = naive.0.len() < before;
                    proptest::prop_assert_eq!(watches.contains(wanted, path, conn), removed);
                    proptest::prop_assert_eq!(watches.remove(wanted, path, conn), removed);
                }
                _ => {
                    let change = [
                        ChangeKind::Created,
                        ChangeKind::Deleted,
                        ChangeKind::DataChanged,
                        ChangeKind::ChildrenChanged,
                    ][kind];
                    let expected = naive.fire(change, path);
                    let heard = fire(&mut watches, change, path);
                    let heard: Vec<ConnId> = heard.into_iter().map(|(conn, _)| conn).collect();
                    proptest::prop_assert_eq!(heard, expected);
                }
            }
            let sizes = (watches.count(), watches.summary());
            proptest::prop_assert_eq!(sizes, naive.summary());
            let paths: BTreeSet<_> = naive.0.iter().map(|watch| &watch.1).collect();
            proptest::prop_assert_eq!(watches.path_count(), paths.len());
            let cost: u64 = paths.iter().map(|path| path_cost(path)).sum();
            proptest::prop_assert_eq!(watches.paths.bytes(), cost);
            let conns: BTreeSet<_> = naive.0.iter().map(|watch| watch.0).collect();
            proptest::prop_assert!(watches.by_conn.keys().eq(&conns));
        }
    }
}
