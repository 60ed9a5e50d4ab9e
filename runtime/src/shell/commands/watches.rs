//! Watches that stay, and the end of watches.

use vivarium_core::wire::client::{Request, watch_mode, watcher_type};

use super::{Command, Context};
use crate::shell::Trouble;
use crate::shell::line::{Given, switch, valued};
use crate::shell::session::Watch;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "addWatch",
        usage: "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - \
                default is PERSISTENT_RECURSIVE",
        flags: &[valued("m")],
        run: add,
    },
    Command {
        name: "removewatches",
        usage: "path [-c|-d|-a] [-l]",
        flags: &[switch("c"), switch("d"), switch("a"), switch("l")],
        run: remove,
    },
];

fn add(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let mode = match given.value("m").map(str::to_ascii_uppercase).as_deref() {
        Some("PERSISTENT") => watch_mode::PERSISTENT,
        Some("PERSISTENT_RECURSIVE") | None => watch_mode::PERSISTENT_RECURSIVE,
        Some(other) => {
            let text = format!("{other} is none of PERSISTENT, PERSISTENT_RECURSIVE");
            return Err(Trouble::Text(text));
        }
    };
    let request = Request::AddWatch {
        path: path.into(),
        mode,
    };
    context.ask(path, request).map(drop)
}

fn remove(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    use Watch::{Child, Data, Exist, Persistent, Recursive};
    let path = context.need(given, 0)?;
    let (kind, forgotten): (i32, &[Watch]) = if given.has("c") {
        (watcher_type::CHILDREN, &[Child])
    } else if given.has("d") {
        (watcher_type::DATA, &[Data, Exist])
    } else {
        (
            watcher_type::ANY,
            &[Child, Data, Exist, Persistent, Recursive],
        )
    };
    let request = Request::RemoveWatches {
        path: path.into(),
        kind,
    };
    // -l: it is enough that this shell forgets them, if no server can be told.
    match context.ask(path, request) {
        Err(trouble) if !given.has("l") => return Err(trouble),
        _ => context.session.forget(path, forgotten),
    }
    Ok(())
}
