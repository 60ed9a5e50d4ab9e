use alloc::collections::BTreeSet;
use alloc::format;

use super::*;
use crate::wire::records::perms;

#[test]
fn odd_paths_find_nothing() {
    let tree = Tree::bare(1);
    assert!(tree.get("").is_some() && tree.get("/").is_some());
    for path in ["//", "a", "/a", "/a/", "//a"] {
        assert!(tree.get(path).is_none(), "{path:?}");
    }
}

/// A full-period walk through 0..4096 in no useful order.
fn scattered() -> impl Iterator<Item = u32> {
    (0..4_096).scan(1, |at, _| {
        *at = (*at * 1_365 + 7) & 4_095;
        Some(*at)
    })
}

fn add(tree: &mut Tree, name: &str) {
    let acl = tree.retain_acl(&[Acl::world(perms::READ)]);
    let path = format!("/{name}");
    tree.insert(
        NodeId::ROOT,
        (&path, name),
        None,
        acl,
        StoredStat::primordial(),
    );
}

fn remove(tree: &mut Tree, name: &str) {
    let path = format!("/{name}");
    let id = tree.locate(&path).unwrap();
    tree.remove(id, &path);
}

#[test]
fn many_children_stay_in_order() {
    let mut tree = Tree::bare(1);
    let empty = tree.digest();
    let mut names = BTreeSet::new();
    for i in scattered() {
        let name = format!("n{i}");
        add(&mut tree, &name);
        names.insert(name);
    }
    assert_eq!(names.len(), 4_096);
    assert!(tree.get("/").unwrap().children().eq(&names));
    for i in scattered().filter(|i| i % 5 != 0) {
        let name = format!("n{i}");
        remove(&mut tree, &name);
        names.remove(&name);
    }
    assert!(tree.get("/").unwrap().children().eq(&names));
    assert_eq!(tree.get("/").unwrap().child_count(), names.len());
    for i in 5_000..9_000 {
        let name = format!("n{i}");
        add(&mut tree, &name);
        names.insert(name);
    }
    assert!(tree.get("/").unwrap().children().eq(&names));
    for name in &names {
        remove(&mut tree, name);
    }
    assert_eq!(tree.get("/").unwrap().children().next(), None);
    assert_eq!((tree.digest(), tree.data_bytes()), (empty, 1));
    assert!(tree.index.is_empty());
}

#[test]
fn a_subtree_of_any_depth_goes_at_once() {
    let mut tree = Tree::bare(1);
    let mut path = String::new();
    let mut parent = NodeId::ROOT;
    for _ in 0..3_000 {
        path.push_str("/d");
        let acl = tree.retain_acl(&[Acl::world(perms::ALL)]);
        let stat = StoredStat {
            owner: 7,
            ..StoredStat::primordial()
        };
        parent = tree.insert(parent, (&path, "d"), Some(b"x"), acl, stat);
    }
    assert_eq!(tree.descendants("/d"), Some(2_999));
    assert!(tree.get(&path).is_some());
    let top = tree.locate("/d").unwrap();
    tree.remove(top, "/d");
    assert_eq!(
        (tree.node_count(), tree.ephemeral_count(), tree.data_bytes()),
        (2, 0, 1)
    );
    assert!(tree.index.is_empty());
}

#[test]
fn shared_data_outlives_a_change() {
    let mut tree = Tree::bare(1);
    add(&mut tree, "a");
    let id = tree.locate("/a").unwrap();
    assert_eq!(tree.get("/a").unwrap().data(), None);
    tree.set_data(id, "/a", Some(b"old"), |_| ());
    let old = tree.get("/a").unwrap().shared_data().unwrap();
    tree.set_data(id, "/a", Some(b"new data"), |_| ());
    assert_eq!(&*old, b"old");
    assert_eq!(tree.get("/a").unwrap().data(), Some(&b"new data"[..]));
    assert_eq!(tree.data_bytes(), 1 + 2 + 8);
}
