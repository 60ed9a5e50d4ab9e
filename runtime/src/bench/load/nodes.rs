//! The znodes of a load: made before it, taken away behind it.

use std::time::{SystemTime, UNIX_EPOCH};

use vivarium_core::wire::client::Request;
use vivarium_core::wire::records::ErrorCode;

use super::connection::Connection;
use super::workload::{Nodes, create};
use crate::bench::report::Progress;

/// Requests that are sent together.
const BATCH: u64 = 200;

/// Bytes that are sent together, at most, so that no window of a socket is in the way.
const BATCH_BYTES: u64 = 1 << 20;

/// A path that no other run has.
pub(super) fn fresh_root() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    format!("/vivarium-bench-{ms}-{}", std::process::id())
}

/// Creates the root, the directories and the znodes.
pub(super) async fn make(
    connection: &mut Connection,
    nodes: &Nodes,
    bytes: usize,
) -> Result<(), String> {
    let value = vec![b'v'; bytes];
    ask(connection, vec![create(&nodes.root, b"")]).await?;
    let directory = |n, path: &mut String| nodes.put_directory(n, path);
    make_all(connection, nodes.directories(), &directory, b"").await?;
    let key = |n, path: &mut String| nodes.put_path(n, path);
    make_all(connection, nodes.count, &key, &value).await
}

async fn make_all(
    connection: &mut Connection,
    count: u64,
    put_path: &dyn Fn(u64, &mut String),
    value: &[u8],
) -> Result<(), String> {
    let batch = BATCH.min(BATCH_BYTES / (value.len() as u64 + 1)).max(1);
    let mut progress = Progress::new("creating znodes", count as usize);
    let mut from = 0;
    while from < count {
        let to = (from + batch).min(count);
        let paths = paths(from..to, put_path);
        ask(connection, paths.iter().map(|p| create(p, value)).collect()).await?;
        progress.at(to as usize);
        from = to;
    }
    Ok(())
}

fn paths(range: std::ops::Range<u64>, put_path: &dyn Fn(u64, &mut String)) -> Vec<String> {
    range
        .map(|number| {
            let mut path = String::new();
            put_path(number, &mut path);
            path
        })
        .collect()
}

/// Takes away what was made, and what each client has created.
pub(super) async fn remove(
    connection: &mut Connection,
    nodes: &Nodes,
    created: &[u64],
) -> Result<(), String> {
    for (client, &count) in created.iter().enumerate() {
        let put_path = |n, path: &mut String| nodes.put_created(client, n, path);
        remove_all(connection, count, &put_path).await?;
    }
    let key = |n, path: &mut String| nodes.put_path(n, path);
    remove_all(connection, nodes.count, &key).await?;
    let directory = |n, path: &mut String| nodes.put_directory(n, path);
    remove_all(connection, nodes.directories(), &directory).await?;
    ask(connection, vec![delete(&nodes.root)]).await
}

async fn remove_all(
    connection: &mut Connection,
    count: u64,
    put_path: &dyn Fn(u64, &mut String),
) -> Result<(), String> {
    let mut progress = Progress::new("removing znodes", count as usize);
    let mut from = 0;
    while from < count {
        let to = (from + BATCH).min(count);
        let paths = paths(from..to, put_path);
        ask(connection, paths.iter().map(|p| delete(p)).collect()).await?;
        progress.at(to as usize);
        from = to;
    }
    Ok(())
}

fn delete(path: &str) -> Request<'_> {
    Request::Delete {
        path: path.into(),
        version: -1,
    }
}

/// All of them must succeed; a node that is not there to be removed is as good as removed.
async fn ask(connection: &mut Connection, requests: Vec<Request<'_>>) -> Result<(), String> {
    let codes = connection.ask_all(&requests).await?;
    for (request, code) in requests.iter().zip(codes) {
        let is_gone = code == ErrorCode::NoNode.code() && matches!(request, Request::Delete { .. });
        if code != 0 && !is_gone {
            return Err(format!("the server refuses with {code}: {request:?}"));
        }
    }
    Ok(())
}
