//! The members of the ensemble, and the versions.

use std::fs;

use vivarium_core::wire::client::{Reply, Request};
use vivarium_core::wire::records::op;

use super::{Command, Context, surprise};
use crate::shell::Trouble;
use crate::shell::line::{Given, switch, valued};
use crate::version;

const NODE: &str = "/zookeeper/config";

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "config",
        usage: "[-c] [-w] [-s]",
        flags: &[switch("c"), switch("w"), switch("s")],
        run: config,
    },
    Command {
        name: "reconfig",
        usage: "[-s] [-v version] [[-file path] | [-members \
                serverID=host:port1:port2;port3[,...]*]] | [-add \
                serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]",
        flags: &[
            switch("s"),
            valued("v"),
            valued("file"),
            valued("members"),
            valued("add"),
            valued("remove"),
        ],
        run: reconfig,
    },
    Command {
        name: "version",
        usage: "",
        flags: &[],
        run: print_version,
    },
];

fn config(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let request = Request::GetData {
        path: NODE.into(),
        watch: given.has("w"),
    };
    let answer = context.ask(NODE, request)?;
    let Reply::Data { data, stat } = answer.reply()? else {
        return Err(surprise());
    };
    let text = String::from_utf8_lossy(data.unwrap_or(b"null"));
    if given.has("c") {
        writeln!(context.out, "{}", clients(&text))?;
    } else {
        writeln!(context.out, "{text}")?;
    }
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

/// The version, and where clients reach the members.
fn clients(text: &str) -> String {
    let (mut version, mut places) = ("", Vec::new());
    for line in text.lines() {
        if let Some(number) = line.strip_prefix("version=") {
            version = number;
        } else if let Some((_, client)) = line.rsplit_once(';') {
            let host = line
                .split_once('=')
                .and_then(|(_, rest)| rest.split(':').next());
            places.push(match (client.contains(':'), host) {
                (false, Some(host)) => format!("{host}:{client}"),
                _ => client.to_owned(),
            });
        }
    }
    format!("{version} {}", places.join(","))
}

fn reconfig(context: &mut Context<'_>, given: &Given) -> Result<(), Trouble> {
    let whole = given.has("file") || given.has("members");
    let stepwise = given.has("add") || given.has("remove");
    if !whole && !stepwise {
        return Err(context.misused());
    }
    if (whole && stepwise) || (given.has("file") && given.has("members")) {
        let text = "-file, -members, and -add with -remove are three ways of which one is taken";
        return Err(Trouble::Text(text.into()));
    }
    let version = match given.value("v") {
        Some(text) => i64::from_str_radix(text, 16)
            .map_err(|_| Trouble::Text(format!("-v wants a version in hexadecimal: {text}")))?,
        None => -1,
    };
    let members = match given.value("file") {
        Some(file) => {
            let text = fs::read_to_string(file);
            let text = text.map_err(|why| Trouble::Text(format!("{file}: {why}")))?;
            let servers = text.lines().map(str::trim);
            let servers = servers.filter(|line| line.starts_with("server."));
            Some(servers.collect::<Vec<_>>().join("\n"))
        }
        None => given.value("members").map(str::to_owned),
    };
    let request = Request::Reconfig {
        joining: given.value("add").map(Into::into),
        leaving: given.value("remove").map(Into::into),
        members: members.map(Into::into),
        version,
    };
    let answer = context.ask("", request)?;
    // It is answered as a read of the new configuration.
    let Ok(Reply::Data { data, stat }) = Reply::decode(op::GET_DATA, answer.bytes()) else {
        return Err(surprise());
    };
    let text = String::from_utf8_lossy(data.unwrap_or_default());
    writeln!(context.out, "Committed new configuration:\n{text}")?;
    if given.has("s") {
        context.print_stat(&stat)?;
    }
    Ok(())
}

fn print_version(context: &mut Context<'_>, _: &Given) -> Result<(), Trouble> {
    writeln!(context.out, "ZooKeeper CLI version: {}", version::SHORT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_places_are_drawn_from_the_members() {
        let text = "server.1=h1:1:2:participant;0.0.0.0:2181\nserver.2=h2:1:2:observer;2182\n\
                    version=1a";
        assert_eq!(clients(text), "1a 0.0.0.0:2181,h2:2182");
    }
}
