//! The shell's commands by name: ZooKeeper's own with their options and forms, and a few beyond.

mod access;
mod ensemble;
mod nodes;
mod quota;
mod subtrees;
mod watches;

use std::io::Write;

use vivarium_core::wire::client::Request;
use vivarium_core::wire::records::Stat;

use super::Trouble;
use super::line::{Flag, Given};
use super::print;
use super::session::{Answer, Session};

/// One command.
pub(super) struct Command {
    pub(super) name: &'static str,
    /// Options and arguments.
    pub(super) usage: &'static str,
    flags: &'static [Flag],
    run: fn(&mut Context<'_>, &Given) -> Result<(), Trouble>,
}

/// What a command works with.
pub(super) struct Context<'a> {
    pub(super) session: &'a Session,
    /// Data.
    pub(super) out: &'a mut dyn Write,
    /// Talk.
    pub(super) err: &'a mut dyn Write,
    usage: &'static str,
    name: &'static str,
}

/// Those that the shell itself carries out.
const OF_THE_SHELL: [(&str, &str); 7] = [
    ("close", ""),
    ("connect", "host:port"),
    ("help", ""),
    ("history", ""),
    ("printwatches", "on|off"),
    ("quit", ""),
    ("redo", "cmdno"),
];

fn all() -> impl Iterator<Item = &'static Command> {
    [
        nodes::COMMANDS,
        subtrees::COMMANDS,
        access::COMMANDS,
        watches::COMMANDS,
        quota::COMMANDS,
        ensemble::COMMANDS,
    ]
    .into_iter()
    .flatten()
}

/// Names of all commands, sorted.
pub(super) fn names() -> Vec<&'static str> {
    let own = OF_THE_SHELL.iter().map(|(name, _)| *name);
    let mut names: Vec<&str> = all().map(|command| command.name).chain(own).collect();
    names.sort_unstable();
    names
}

/// How to use the shell and each command.
pub(super) fn usage() -> String {
    let own = OF_THE_SHELL.iter().copied();
    let lines = all().map(|command| (command.name, command.usage));
    let mut lines: Vec<(&str, &str)> = lines.chain(own).collect();
    lines.sort_unstable();
    let mut text = "vivarium shell [-server host:port,...[/chroot]] [-timeout ms] [-r] \
                    [-waitforconnection] [command args]"
        .to_owned();
    for (name, usage) in lines {
        text.push_str(&format!("\n\t{name} {usage}"));
    }
    text
}

/// Carries out a command that is not one of the shell's own.
///
/// # Errors
/// Whatever is wrong with the words, or what the server says.
pub(super) fn run(
    words: &[String],
    session: &Session,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<(), Trouble> {
    let name = words.first().map_or("", String::as_str);
    let Some(command) = all().find(|command| command.name == name) else {
        writeln!(err, "{}", usage())?;
        return Err(Trouble::Text(format!("Command not found {name}")));
    };
    let given = Given::parse(&words[1..], command.flags).map_err(Trouble::Text)?;
    let mut context = Context {
        session,
        out,
        err,
        usage: command.usage,
        name: command.name,
    };
    (command.run)(&mut context, &given)
}

impl Context<'_> {
    fn misused(&self) -> Trouble {
        Trouble::Text(format!("{} {}", self.name, self.usage))
    }

    /// An argument that must be there.
    fn need<'g>(&self, given: &'g Given, at: usize) -> Result<&'g str, Trouble> {
        given.argument(at).ok_or_else(|| self.misused())
    }

    fn ask(&self, path: &str, request: Request<'_>) -> Result<Answer, Trouble> {
        self.session.ask(path, request)
    }

    fn print_stat(&mut self, stat: &Stat) -> Result<(), Trouble> {
        Ok(writeln!(self.out, "{}", print::stat(stat))?)
    }

    /// Is a watch asked for, by -w or in the old form by a word behind the path?
    fn wants_watch(&mut self, given: &Given) -> Result<bool, Trouble> {
        if given.arguments.len() > 1 {
            let name = self.name;
            writeln!(
                self.err,
                "'{name} path [watch]' has been deprecated. Please use '{name} [-w] path' instead."
            )?;
            return Ok(true);
        }
        Ok(given.has("w"))
    }
}

fn surprise() -> Trouble {
    Trouble::Text("the server answers something else than was asked".into())
}
