use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;

use super::*;
use crate::wire::records::Acl;
use WatchKind::{Child, Data};

const A: ConnId = ConnId(1);
const B: ConnId = ConnId(2);

/// Remembers who was told what, in order.
#[derive(Default)]
struct Heard {
    identities: BTreeMap<ConnId, Vec<Id>>,
    events: Vec<(ConnId, i32, String)>,
}

impl Listeners for Heard {
    fn identities(&self, conn: ConnId) -> &[Id] {
        self.identities.get(&conn).map_or(&[], Vec::as_slice)
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
    watches.add(Data, "/a", A);
    watches.add(Data, "/a", A);
    assert_eq!(watches.count(), 1);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), []);
    assert_eq!((watches.count(), watches.path_count()), (0, 0));
}

#[test]
fn a_deleted_node_tells_a_connection_once_whatever_it_watched() {
    let mut watches = new();
    watches.add(Data, "/a", A);
    watches.add(Child, "/a", A);
    assert_eq!(fire(&mut watches, ChangeKind::Deleted, "/a"), [(A, 2)]);
    assert_eq!(watches.count(), 0);
}

#[test]
fn data_watchers_hear_of_a_deletion_before_child_watchers() {
    let mut watches = new();
    watches.add(Child, "/a", A);
    watches.add(Data, "/a", B);
    watches.add(Child, "/a", B);
    watches.add(Child, "/a", ConnId(3));
    assert_eq!(
        fire(&mut watches, ChangeKind::Deleted, "/a"),
        [(B, 2), (A, 2), (ConnId(3), 2)]
    );
}

#[test]
fn child_watches_wait_for_the_list_of_children_only() {
    let mut watches = new();
    watches.add(Child, "/a", A);
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
    watches.add(Data, "/a", A);
    assert_eq!(fire(&mut watches, ChangeKind::ChildrenChanged, "/a"), []);
    assert_eq!(watches.count(), 1);
}

#[test]
fn a_watch_on_a_missing_node_fires_when_it_is_created() {
    let mut watches = new();
    watches.add(Data, "/a", A);
    assert_eq!(fire(&mut watches, ChangeKind::Created, "/a"), [(A, 1)]);
}

#[test]
fn connections_are_told_in_their_order() {
    let mut watches = new();
    for conn in [5, 3, 9, 1] {
        watches.add(Data, "/a", ConnId(conn));
    }
    let told = fire(&mut watches, ChangeKind::DataChanged, "/a");
    assert_eq!(told, [1, 3, 5, 9].map(|conn| (ConnId(conn), 3)));
}

#[test]
fn without_read_nothing_is_heard_and_the_watch_is_used_up() {
    let mut watches = new();
    watches.add(Data, "/a", A);
    watches.add(Data, "/a", B);
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
        watches.add(Data, &format!("/{n}"), A);
        watches.add(Child, &format!("/{n}"), A);
    }
    watches.add(Data, "/5", B);
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
        watches.add(Data, &path, A);
        assert_eq!(fire(&mut watches, ChangeKind::DataChanged, &path), [(A, 3)]);
    }
    assert_eq!(watches.paths.len(), 1);
}

#[test]
fn the_empty_path_is_the_root() {
    let mut watches = new();
    watches.add(Child, "", A);
    assert_eq!(
        fire(&mut watches, ChangeKind::ChildrenChanged, "/"),
        [(A, 4)]
    );
}

#[cfg(feature = "mutants")]
#[test]
fn the_mutant_fires_a_watch_twice() {
    let mut watches = Watches::new(7, Mutants::with(Mutant::WatchFiresTwice));
    watches.add(Data, "/a", A);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
    assert_eq!(fire(&mut watches, ChangeKind::DataChanged, "/a"), [(A, 3)]);
}

/// Whom a change tells, by a plain set of watches; forgets those.
fn model_fire(
    model: &mut BTreeSet<(String, WatchKind, ConnId)>,
    kind: ChangeKind,
    path: &str,
) -> Vec<ConnId> {
    let hit = |watch: &(String, WatchKind, ConnId)| {
        watch.0 == path && (kind == ChangeKind::Deleted || watch.1 == Data)
    };
    // The set's order is by path, then data before child watches, then connection.
    let mut told = Vec::new();
    for (_, _, conn) in model.iter().filter(|watch| hit(watch)) {
        if !told.contains(conn) {
            told.push(*conn);
        }
    }
    model.retain(|watch| !hit(watch));
    told
}

proptest::proptest! {
    /// Against a plain set of (path, kind, connection).
    #[test]
    fn tables_agree_with_a_plain_set(
        steps in proptest::collection::vec((0..8_u8, 0..5_u8, 0..4_u64), 0..200),
    ) {
        let (mut watches, mut model) = (new(), BTreeSet::new());
        for (step, path, conn) in steps {
            let (path, conn) = (format!("/{path}"), ConnId(conn));
            match step {
                0..=4 => {
                    let kind = if step < 3 { Data } else { Child };
                    watches.add(kind, &path, conn);
                    model.insert((path, kind, conn));
                }
                5 => {
                    watches.remove_conn(conn);
                    model.retain(|(_, _, other)| *other != conn);
                }
                _ => {
                    let kind = if step == 6 { ChangeKind::Deleted } else { ChangeKind::Created };
                    let expected = model_fire(&mut model, kind, &path);
                    let heard = fire(&mut watches, kind, &path);
                    let heard: Vec<ConnId> = heard.into_iter().map(|(conn, _)| conn).collect();
                    proptest::prop_assert_eq!(heard, expected);
                }
            }
            proptest::prop_assert_eq!(watches.count(), model.len());
            let paths: BTreeSet<_> = model.iter().map(|watch| &watch.0).collect();
            proptest::prop_assert_eq!(watches.path_count(), paths.len());
        }
    }
}
