//! Access lists, and who one is.

use vivarium_core::wire::client::{Reply, Request};

use super::{Command, Context, surprise};
use crate::shell::Trouble;
use crate::shell::line::{Given, switch, valued};
use crate::shell::print;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "getAcl",
        usage: "[-s] path",
        flags: &[switch("s")],
        run: get_acl,
    },
    Command {
        name: "setAcl",
        usage: "[-s] [-v version] [-R] path acl",
        flags: &[switch("s"), valued("v"), switch("R")],
        run: set_acl,
    },
    Command {
        name: "addauth",
        usage: "scheme auth",
        flags: &[],
        run: add_auth,
    },
    Command {
        name: "whoami",
        usage: "",
        flags: &[],
        run: who_am_i,
    },
];

fn get_acl(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let path = context.need(given, 0)?;
    let answer = context.ask(path, Request::GetAcl { path: path.into() })?;
    let Reply::Acl { acl, stat } = answer.reply()? else {
        return Err(surprise());
    };
    for entry in &acl {
        writeln!(context.out, "{}", print::acl(entry))?;
    }
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

fn set_acl(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let (path, text) = (context.need(given, 0)?, context.need(given, 1)?);
    let acl = print::parse_acl(text).map_err(Trouble::Text)?;
    let version = given.number("v").map_err(Trouble::Text)?.unwrap_or(-1);
    let set = |context: &mut Context<'_>, at: &str| {
        let request = Request::SetAcl {
            path: at.into(),
            acl: Some(acl.clone()),
            version,
        };
        let answer = context.ask(at, request)?;
        match answer.reply()? {
            Reply::Stat(stat) => Ok(stat),
            _ => Err(surprise()),
        }
    };
    if given.has("R") {
        return super::subtrees::walk(context, path, false, &mut |context, at, _| {
            if let Err(trouble) = set(context, at) {
                writeln!(context.err, "{trouble}")?;
            }
            Ok(true)
        });
    }
    let stat = set(context, path)?;
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

fn add_auth(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let scheme = context.need(given, 0)?;
    let auth = given.argument(1).unwrap_or_default();
    context.session.authenticate(scheme, auth.as_bytes())
}

fn who_am_i(context: &mut Context<'_>, _: &Given) -> Result<(), Trouble> {
    let answer = context.ask("", Request::WhoAmI)?;
    let Reply::Identities(all) = answer.reply()? else {
        return Err(surprise());
    };
    writeln!(context.out, "Auth scheme: User")?;
    for (scheme, user) in all {
        writeln!(context.out, "{scheme}: {user}")?;
    }
    Ok(())
}
