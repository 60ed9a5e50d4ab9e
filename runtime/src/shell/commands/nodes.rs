//! One znode: create, read, write, delete.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use vivarium_core::wire::client::{CreateOp, Reply, Request};
use vivarium_core::wire::records::{Acl, perms};

use super::{Command, Context, surprise};
use crate::shell::Trouble;
use crate::shell::line::{Given, switch, valued};
use crate::shell::print;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "create",
        usage: "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        flags: &[switch("s"), switch("e"), switch("c"), valued("t")],
        run: create,
    },
    Command {
        name: "get",
        usage: "[-s] [-w] [-b] [-x] path",
        flags: &[switch("s"), switch("w"), switch("b"), switch("x")],
        run: get,
    },
    Command {
        name: "set",
        usage: "path data [-s] [-v version] [-b]",
        flags: &[switch("s"), valued("v"), switch("b")],
        run: set,
    },
    Command {
        name: "delete",
        usage: "[-v version] path",
        flags: &[valued("v")],
        run: delete,
    },
    Command {
        name: "stat",
        usage: "[-w] path",
        flags: &[switch("w")],
        run: stat,
    },
    Command {
        name: "sync",
        usage: "path",
        flags: &[],
        run: sync,
    },
];

fn create(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let (ephemeral, sequential) = (given.has("e"), given.has("s"));
    let ttl: Option<i64> = given.number("t").map_err(Trouble::Text)?;
    let refuse = |text: &str| Err(Trouble::Text(text.into()));
    let (kind, flags) = match (given.has("c"), ttl) {
        (true, None) if ephemeral || sequential => {
            return refuse(
                "-c cannot be combined with -s or -e. Containers cannot be ephemeral or \
                 sequential.",
            );
        }
        (true, None) => (CreateOp::Container, 4),
        (true, Some(_)) => return refuse("TTLs cannot be used with Container znodes"),
        (false, Some(_)) if ephemeral => {
            return refuse("TTLs cannot be used with Ephemeral znodes");
        }
        (false, Some(ttl)) => (CreateOp::Ttl(ttl), 5 + i32::from(sequential)),
        (false, None) => {
            let flags = i32::from(ephemeral) + 2 * i32::from(sequential);
            (CreateOp::Create, flags)
        }
    };
    let acl = match given.argument(2) {
        Some(text) => print::parse_acl(text).map_err(Trouble::Text)?,
        None => vec![Acl::world(perms::ALL)],
    };
    let request = Request::Create {
        kind,
        path: path.into(),
        data: given.argument(1).map(str::as_bytes),
        acl: Some(acl),
        flags,
    };
    let answer = context.ask(path, request)?;
    let (Reply::Path(path) | Reply::Created { path, .. }) = answer.reply()? else {
        return Err(surprise());
    };
    writeln!(context.err, "Created {}", answer.local(&path))?;
    Ok(())
}

fn get(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let watch = context.wants_watch(given)?;
    let answer = context.ask(
        path,
        Request::GetData {
            path: path.into(),
            watch,
        },
    )?;
    let Reply::Data { data, stat } = answer.reply()? else {
        return Err(surprise());
    };
    let data = data.unwrap_or(b"null");
    if given.has("x") {
        writeln!(context.out, "{}", print::hexdump(data))?;
    } else if given.has("b") {
        writeln!(context.out, "{}", BASE64.encode(data))?;
    } else {
        writeln!(context.out, "{}", String::from_utf8_lossy(data))?;
    }
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

fn set(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let (path, text) = (context.need(given, 0)?, context.need(given, 1)?);
    let data = if given.has("b") {
        let decoded = BASE64.decode(text);
        decoded.map_err(|why| Trouble::Text(format!("the data is not in base64: {why}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let version = given.number("v").map_err(Trouble::Text)?.unwrap_or(-1);
    let request = Request::SetData {
        path: path.into(),
        data: Some(&data),
        version,
    };
    let answer = context.ask(path, request)?;
    let Reply::Stat(stat) = answer.reply()? else {
        return Err(surprise());
    };
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

fn delete(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let mut version = given.number("v").map_err(Trouble::Text)?;
    if let Some(old) = given.argument(1) {
        writeln!(
            context.err,
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' \
             instead."
        )?;
        let number = old.parse();
        let number = number.map_err(|_| Trouble::Text(format!("`{old}` is no version")))?;
        version = version.or(Some(number));
    }
    let request = Request::Delete {
        path: path.into(),
        version: version.unwrap_or(-1),
    };
    context.ask(path, request).map(drop)
}

fn stat(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let watch = context.wants_watch(given)?;
    let request = Request::Exists {
        path: path.into(),
        watch,
    };
    let answer = context.ask(path, request)?;
    let Reply::Stat(stat) = answer.reply()? else {
        return Err(surprise());
    };
    context.print_stat(&stat)
}

fn sync(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let synced = context.ask(path, Request::Sync { path: path.into() });
    match synced {
        Ok(_) => writeln!(context.out, "Sync is OK")?,
        Err(Trouble::Refused(code, _)) => {
            writeln!(context.out, "Sync has failed. rc={code}")?;
        }
        Err(other) => return Err(other),
    }
    Ok(())
}
