//! A subtree out of a server or its files, as JSON, and back into a server.

mod document;
mod export;
mod import;
mod live;

pub use export::Export;
pub use import::Import;

/// Is this a znode of the server itself?
fn is_system(path: &str) -> bool {
    path == "/zookeeper" || path.starts_with("/zookeeper/")
}

/// The form of a path on the command line: `/`, or without a slash at its end.
fn parse_path(text: &str) -> Result<String, String> {
    let path = if text == "/" {
        text
    } else {
        text.trim_end_matches('/')
    };
    if path == "/" || vivarium_core::path::is_valid(path) {
        Ok(path.to_owned())
    } else {
        Err("a path begins with / and has no empty part".to_owned())
    }
}
