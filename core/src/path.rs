//! Path text: which names ZooKeeper accepts, and how a path splits into parent and last component.
//!
//! Knows: the rules of ZooKeeper's `PathUtils.validatePath` and the shorter checks that some
//! operations make instead. Refuses to know: whether a node exists. The empty path is an alias of
//! the root, because the parent of `/x` is what stands before its last `/`.

/// The root as clients write it.
pub const ROOT: &str = "/";

/// Nodes that no client can delete.
const RESERVED: [&str; 4] = [ROOT, "/zookeeper", "/zookeeper/quota", "/zookeeper/config"];

/// The full check: absolute, no empty, `.` or `..` component, no trailing `/`, no character that
/// ZooKeeper forbids. `/` alone is valid.
pub fn is_valid(path: &str) -> bool {
    let Some(names) = path.strip_prefix('/') else {
        return false;
    };
    if names.is_empty() {
        return true;
    }
    names
        .split('/')
        .all(|name| !matches!(name, "" | "." | ".."))
        && !path.chars().any(is_forbidden)
}

/// Control characters, surrogates, private use, specials. Java looks at UTF-16 units, so whatever
/// needs a surrogate pair (all beyond U+FFFF) is forbidden too.
const fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..)
}

/// What create checks before it knows the final name: a `/` somewhere and no U+0000. Gives the
/// text before the last `/`, which is empty for the root.
pub fn creatable_parent(path: &str) -> Option<&str> {
    let (parent, _) = path.rsplit_once('/')?;
    (!has_nul(path)).then_some(parent)
}

/// What delete checks: as for create, and the node is not one that the server needs.
pub fn deletable_parent(path: &str) -> Option<&str> {
    if RESERVED.contains(&path) {
        return None;
    }
    creatable_parent(path)
}

/// U+0000 is the only thing that `exists` refuses.
pub fn has_nul(path: &str) -> bool {
    path.as_bytes().contains(&0)
}

/// The text before the last `/`; empty for children of the root and for text without `/`.
pub fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// One spelling for the root: empty, as its parent text and its digest have it.
pub fn canonical(path: &str) -> &str {
    if path == ROOT { "" } else { path }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_paths_are_accepted() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/...",
            "/.a",
            "/a b",
            "/ü",
            "/a:b%c",
            "/\u{f900}",
        ] {
            assert!(is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn relative_empty_and_trailing_slash_are_refused() {
        for path in ["", "a", "a/b", "/a/", "//", "//a", "/a//b"] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn dot_components_are_refused() {
        for path in ["/.", "/..", "/a/.", "/a/./b", "/a/../b", "/../a"] {
            assert!(!is_valid(path), "{path:?}");
        }
    }

    #[test]
    fn forbidden_characters_are_refused() {
        let chars = [
            '\0',
            '\u{1}',
            '\t',
            '\u{1f}',
            '\u{7f}',
            '\u{9f}',
            '\u{e000}',
            '\u{f8ff}',
            '\u{fff0}',
            '\u{fffd}',
            '\u{ffff}',
            '\u{1f600}',
        ];
        for c in chars {
            assert!(!is_valid(&std::format!("/a{c}")), "{c:?}");
        }
    }

    #[test]
    fn create_checks_only_slash_and_nul_before_the_final_name() {
        assert_eq!(creatable_parent("/a"), Some(""));
        assert_eq!(creatable_parent("/a/../b"), Some("/a/.."));
        assert_eq!(creatable_parent("/p/"), Some("/p"));
        assert_eq!(creatable_parent("a"), None);
        assert_eq!(creatable_parent(""), None);
        assert_eq!(creatable_parent("/a\0"), None);
    }

    #[test]
    fn reserved_nodes_are_not_deletable() {
        for path in RESERVED {
            assert_eq!(deletable_parent(path), None, "{path}");
        }
        assert_eq!(deletable_parent("/zookeeper/other"), Some("/zookeeper"));
        assert_eq!(deletable_parent("/a/"), Some("/a"));
    }

    #[test]
    fn parent_of_a_top_level_node_is_the_empty_alias_of_the_root() {
        assert_eq!(parent("/x"), "");
        assert_eq!(parent("/x/y"), "/x");
        assert_eq!(parent("/"), "");
        assert_eq!(canonical("/"), "");
        assert_eq!(canonical("/x"), "/x");
    }
}
