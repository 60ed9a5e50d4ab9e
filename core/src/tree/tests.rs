use super::*;

#[test]
fn odd_paths_find_nothing() {
    let tree = Tree::bare(1);
    assert!(tree.get("").is_some() && tree.get("/").is_some());
    for path in ["//", "a", "/a", "/a/", "//a"] {
        assert!(tree.get(path).is_none(), "{path:?}");
    }
}
