//! Znodes and what stands below them: list, draw, find, count, copy within a tree, delete.

use vivarium_core::wire::client::{Reply, Request};
use vivarium_core::wire::jute::Reader;
use vivarium_core::wire::records::{ErrorCode, Stat, op};

use super::{Command, Context, surprise};
use crate::shell::Trouble;
use crate::shell::line::{Given, switch, valued};

/// Deletes that make up one transaction, unless -b says otherwise.
const BATCH: usize = 1_000;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "ls",
        usage: "[-s] [-w] [-R] path",
        flags: &[switch("s"), switch("w"), switch("R")],
        run: ls,
    },
    Command {
        name: "ls2",
        usage: "path [watch]",
        flags: &[switch("w")],
        run: ls2,
    },
    Command {
        name: "tree",
        usage: "[-d depth] path",
        flags: &[valued("d")],
        run: tree,
    },
    Command {
        name: "find",
        usage: "[-name text] [-data text] path",
        flags: &[valued("name"), valued("data")],
        run: find,
    },
    Command {
        name: "deleteall",
        usage: "path [-b batch size]",
        flags: &[valued("b")],
        run: delete_all,
    },
    Command {
        name: "rmr",
        usage: "path",
        flags: &[valued("b")],
        run: delete_all,
    },
    Command {
        name: "getAllChildrenNumber",
        usage: "path",
        flags: &[],
        run: children_number,
    },
    Command {
        name: "getEphemerals",
        usage: "[path]",
        flags: &[],
        run: ephemerals,
    },
];

/// Names of the children, sorted, and the node's Stat.
fn children(
    context: &Context<'_>,
    path: &str,
    watch: bool,
) -> Result<(Vec<String>, Stat), Trouble> {
    let request = Request::GetChildren2 {
        path: path.into(),
        watch,
    };
    let answer = context.ask(path, request)?;
    let Reply::Children2 { children, stat } = answer.reply()? else {
        return Err(surprise());
    };
    let mut names: Vec<String> = children.into_iter().map(Into::into).collect();
    names.sort_unstable();
    Ok((names, stat))
}

fn below(path: &str, name: &str) -> String {
    format!("{}/{name}", path.trim_end_matches('/'))
}

/// Every node of a subtree, parents before their children. A node that goes away meanwhile is left
/// out.
pub(super) fn walk(
    context: &mut Context<'_>,
    path: &str,
    watch: bool,
    visit: &mut dyn FnMut(&mut Context<'_>, &str, usize) -> Result<bool, Trouble>,
) -> Result<(), Trouble> {
    let mut stack = vec![(path.to_owned(), 0)];
    while let Some((at, depth)) = stack.pop() {
        let names = match children(context, &at, watch) {
            Ok((names, _)) => names,
            Err(trouble) if depth > 0 && trouble.is(ErrorCode::NoNode) => continue,
            Err(trouble) => return Err(trouble),
        };
        if visit(context, &at, depth)? {
            let deeper = names.iter().rev().map(|name| (below(&at, name), depth + 1));
            stack.extend(deeper);
        }
    }
    Ok(())
}

fn ls(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let watch = context.wants_watch(given)?;
    if given.has("R") {
        writeln!(context.out, "{path}")?;
        return list_below(context, path, watch);
    }
    let (names, stat) = children(context, path, watch)?;
    writeln!(context.out, "[{}]", names.join(", "))?;
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

/// All children of a node before the children of the first of them.
fn list_below(context: &mut Context<'_>, path: &str, watch: bool) -> Result<(), Trouble> {
    let mut stack = vec![path.to_owned()];
    while let Some(at) = stack.pop() {
        let names = match children(context, &at, watch) {
            Ok((names, _)) => names,
            Err(trouble) if at != path && trouble.is(ErrorCode::NoNode) => continue,
            Err(trouble) => return Err(trouble),
        };
        let paths: Vec<String> = names.iter().map(|name| below(&at, name)).collect();
        for path in &paths {
            writeln!(context.out, "{path}")?;
        }
        stack.extend(paths.into_iter().rev());
    }
    Ok(())
}

fn ls2(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    writeln!(
        context.err,
        "'ls2' has been deprecated. Please use 'ls [-s] path' instead."
    )?;
    let path = context.need(given, 0)?;
    let watch = given.has("w") || given.arguments.len() > 1;
    let (names, stat) = children(context, path, watch)?;
    writeln!(context.out, "[{}]", names.join(", "))?;
    context.print_stat(&stat)
}

fn tree(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let deepest = given.number("d").map_err(Trouble::Text)?;
    let deepest = deepest.unwrap_or(usize::MAX);
    walk(context, path, false, &mut |context, at, depth| {
        let name = match at.rsplit_once('/') {
            Some((_, name)) if depth > 0 => name,
            _ => at,
        };
        writeln!(context.out, "{:width$}{name}", "", width = 2 * depth)?;
        Ok(depth < deepest)
    })
}

fn find(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let (name, data) = (given.value("name"), given.value("data"));
    walk(context, path, false, &mut |context, at, _| {
        let own = at.rsplit('/').next().unwrap_or_default();
        let mut fits = name.is_none_or(|name| own.contains(name));
        if let Some(wanted) = data.filter(|_| fits) {
            fits = match read(context, at) {
                Ok(data) => String::from_utf8_lossy(&data).contains(wanted),
                Err(trouble) if trouble.is(ErrorCode::NoNode) => false,
                Err(trouble) => return Err(trouble),
            };
        }
        if fits {
            writeln!(context.out, "{at}")?;
        }
        Ok(true)
    })
}

fn read(context: &Context<'_>, path: &str) -> Result<Vec<u8>, Trouble> {
    let request = Request::GetData {
        path: path.into(),
        watch: false,
    };
    let answer = context.ask(path, request)?;
    match answer.reply()? {
        Reply::Data { data, .. } => Ok(data.unwrap_or_default().to_vec()),
        _ => Err(surprise()),
    }
}

/// Children before their parents. What appears below while this goes on makes a delete fail; what
/// goes away by itself does not.
fn delete_all(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    if path == "/" {
        let text = "the root can not be deleted: name what is below it";
        return Err(Trouble::Text(text.into()));
    }
    let batch = given.number("b").map_err(Trouble::Text)?.unwrap_or(BATCH);
    let mut paths = Vec::new();
    walk(context, path, false, &mut |_, at, _| {
        paths.push(at.to_owned());
        Ok(true)
    })?;
    paths.reverse();
    for some in paths.chunks(batch.max(1)) {
        context.session.delete_together(path, some)?;
    }
    Ok(())
}

fn children_number(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let answer = context
        .session
        .ask_path(path, op::GET_ALL_CHILDREN_NUMBER)?;
    let number = Reader::new(answer.bytes()).i32().map_err(|_| surprise())?;
    writeln!(context.out, "{number}")?;
    Ok(())
}

fn ephemerals(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = given.argument(0).unwrap_or("/");
    let answer = context.session.ask_path(path, op::GET_EPHEMERALS)?;
    let mut reader = Reader::new(answer.bytes());
    let count = reader.count().map_err(|_| surprise())?.unwrap_or(0);
    let mut names = Vec::new();
    for _ in 0..count {
        let name = reader.string_or_empty().map_err(|_| surprise())?;
        names.push(answer.local(&name).to_owned());
    }
    names.sort_unstable();
    writeln!(context.out, "[{}]", names.join(", "))?;
    Ok(())
}
