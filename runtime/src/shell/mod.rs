//! `vivarium shell`: a client to look and to work with, by hand and in scripts. It knows all that
//! ZooKeeper's `zkCli.sh` knows, in the same words, and prints the same.
//!
//! Data goes to stdout, talk to stderr. The exit code is 0 if the last command did its work.

mod commands;
mod complete;
mod line;
mod print;
mod session;

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::Args;
use rustyline::error::ReadlineError;
use rustyline::history::DefaultHistory;
use rustyline::{Config, Editor, ExternalPrinter};
use vivarium_core::wire::records::ErrorCode;

use self::complete::Completion;
use self::session::{Listener, Session, Target};
use crate::exit::Exit;

/// Numbers of commands that `history` shows.
const HISTORY_SHOWN: usize = 11;

/// Look at znodes and change them, by hand or in scripts
///
/// With a COMMAND it is carried out and the shell ends; without one, commands are read from the
/// terminal, with completion of commands and paths, or line by line from stdin. `help` lists them.
/// Options are ZooKeeper's: -server HOST:PORT,...[/chroot], -timeout MS, -r (read-only servers will
/// do), -waitforconnection.
#[derive(Args, Debug)]
pub(crate) struct Shell {
    /// Options of zkCli.sh, then a command and its arguments
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "OPTIONS COMMAND"
    )]
    words: Vec<String>,
}

/// Why a command was not carried out.
#[derive(Debug)]
pub(super) enum Trouble {
    /// By the server: its code, and the path.
    Refused(i32, String),
    Text(String),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Self {
        Self::Text(error.to_string())
    }
}

impl Trouble {
    /// Was it refused for this reason?
    pub(super) fn is(&self, reason: ErrorCode) -> bool {
        matches!(self, Self::Refused(code, _) if *code == reason.code())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, path) = match self {
            Self::Text(text) => return f.write_str(text),
            Self::Refused(code, path) => (*code, path),
        };
        let known = [
            (ErrorCode::NoNode, "Node does not exist: "),
            (
                ErrorCode::NoChildrenForEphemerals,
                "Ephemerals cannot have children: ",
            ),
            (ErrorCode::NodeExists, "Node already exists: "),
            (ErrorCode::NotEmpty, "Node not empty: "),
            (ErrorCode::NotReadOnly, "Not a read-only call: "),
            (ErrorCode::InvalidAcl, "Acl is not valid : "),
            (ErrorCode::NoAuth, "Insufficient permission : "),
            (ErrorCode::BadArguments, "Arguments are not valid : "),
            (ErrorCode::BadVersion, "version No is not valid : "),
            (ErrorCode::QuotaExceeded, "Quota has exceeded : "),
            (ErrorCode::NoWatcher, "No such watcher for "),
            (
                ErrorCode::ReconfigDisabled,
                "Reconfiguration is disabled on this server",
            ),
            (
                ErrorCode::EphemeralOnLocalSession,
                "Unable to create ephemeral node on a local session",
            ),
        ];
        match known.iter().find(|(known, _)| known.code() == code) {
            Some((_, text)) if text.ends_with(' ') => write!(f, "{text}{path}"),
            Some((_, text)) => f.write_str(text),
            None => write!(f, "error {code} for {path}"),
        }
    }
}

/// What the words in front of a command say.
#[derive(Debug)]
struct Options {
    target: Target,
    command: Vec<String>,
}

impl Options {
    fn parse(words: &[String]) -> Result<Self, String> {
        let mut target = Target {
            text: "localhost:2181".into(),
            timeout: Duration::from_secs(30),
            read_only: false,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let missing = || format!("no argument found for option {word}");
            match word.trim_start_matches('-') {
                _ if !word.starts_with('-') => {
                    let command = std::iter::once(word).chain(words).cloned().collect();
                    return Ok(Self { target, command });
                }
                "server" => target.text = words.next().ok_or_else(missing)?.clone(),
                "timeout" => {
                    let text = words.next().ok_or_else(missing)?;
                    let ms = text.parse().ok().filter(|ms| *ms > 0);
                    let ms = ms.ok_or_else(|| format!("-timeout wants milliseconds: {text}"))?;
                    target.timeout = Duration::from_millis(ms);
                }
                "r" => target.read_only = true,
                // The shell waits in any case.
                "waitforconnection" => {}
                "client-configuration" => {
                    let file = words.next().ok_or_else(missing)?;
                    return Err(format!(
                        "{file}: a client configuration is about TLS and SASL, which there is not"
                    ));
                }
                _ => return Err(format!("unknown option {word}; see vivarium shell --help")),
            }
        }
        let command = Vec::new();
        Ok(Self { target, command })
    }
}

pub(crate) fn run(shell: &Shell) -> Result<Exit, (Exit, String)> {
    let options = Options::parse(&shell.words).map_err(|text| (Exit::Usage, text))?;
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let printing = Arc::new(AtomicBool::new(true));
    if !options.command.is_empty() {
        // What is printed is for a script, which wants to hear of nodes alone.
        let show = printer(&printing, None);
        let listener: Listener = Arc::new(move |event| {
            if !event.contains("type:None") {
                show(event);
            }
        });
        let mut desk = Desk::open(options.target, listener, printing)?;
        let done = desk.carry_out(&options.command);
        desk.session.close();
        return Ok(done);
    }
    if is_terminal {
        interactive(options.target, &printing)
    } else {
        piped(options.target, printing)
    }
}

/// Shows events as they come.
fn printer(
    printing: &Arc<AtomicBool>,
    terminal: Option<Box<dyn Fn(String) + Send + Sync>>,
) -> Listener {
    let printing = printing.clone();
    Arc::new(move |event| {
        if !printing.load(Ordering::Relaxed) {
            return;
        }
        let text = format!("\nWATCHER::\n\n{event}\n");
        match &terminal {
            Some(show) => show(text),
            // Nobody is left to be told if stdout is closed.
            None => drop(io::stdout().write_all(text.as_bytes())),
        }
    })
}

/// Reads commands from a script.
fn piped(target: Target, printing: Arc<AtomicBool>) -> Result<Exit, (Exit, String)> {
    let listener = printer(&printing, None);
    let mut desk = Desk::open(target, listener, printing)?;
    let mut last = Exit::Success;
    for line in io::stdin().lock().lines() {
        let line = line.map_err(|why| (Exit::Failure, why.to_string()))?;
        match desk.enter(&line) {
            Some(exit) => last = exit,
            None => break,
        }
    }
    desk.session.close();
    Ok(last)
}

/// Reads commands from somebody who types.
fn interactive(target: Target, printing: &Arc<AtomicBool>) -> Result<Exit, (Exit, String)> {
    let failed = |why: ReadlineError| (Exit::Failure, why.to_string());
    let config = Config::builder().auto_add_history(true).build();
    let mut editor: Editor<Completion, DefaultHistory> =
        Editor::with_config(config).map_err(failed)?;
    let terminal = editor.create_external_printer().map_err(failed)?;
    let terminal = std::sync::Mutex::new(terminal);
    let show = move |text: String| {
        let mut terminal = terminal
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nobody is left to be told if the terminal is gone.
        drop(terminal.print(text));
    };
    say(&format!("Connecting to {}", target.text));
    say("Welcome to Vivarium! `help` lists the commands.");
    let listener = printer(printing, Some(Box::new(show)));
    let mut desk = Desk::open(target, listener, printing.clone())?;
    editor.set_helper(Some(Completion::new(desk.session.clone())));
    let mut last = Exit::Success;
    loop {
        match editor.readline(&desk.prompt()) {
            Ok(line) => match desk.enter(&line) {
                Some(exit) => last = exit,
                None => break,
            },
            // The line is dropped, as shells do.
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => break,
            Err(why) => return Err(failed(why)),
        }
        if let Some(helper) = editor.helper_mut() {
            helper.follow(desk.session.clone());
        }
    }
    desk.session.close();
    Ok(last)
}

fn say(text: &str) {
    // Nobody is left to be told if stderr is closed.
    let _ = writeln!(io::stderr(), "{text}");
}

/// A session, and what was entered.
struct Desk {
    session: Session,
    target: Target,
    listener: Listener,
    printing: Arc<AtomicBool>,
    history: Vec<String>,
}

impl Desk {
    fn open(
        target: Target,
        listener: Listener,
        printing: Arc<AtomicBool>,
    ) -> Result<Self, (Exit, String)> {
        let session = Session::open(target.clone(), listener.clone());
        let session = session.map_err(|why| (Exit::Failure, why.to_string()))?;
        Ok(Self {
            session,
            target,
            listener,
            printing,
            history: Vec::new(),
        })
    }

    fn prompt(&self) -> String {
        let state = if self.session.is_connected() {
            "CONNECTED"
        } else {
            "CONNECTING"
        };
        let number = self.history.len();
        format!("[zk: {}({state}) {number}] ", self.target.text)
    }

    /// Carries out a line. `None`: the user has had enough.
    fn enter(&mut self, line: &str) -> Option<Exit> {
        let mut words = line::split(line);
        if words.is_empty() {
            return Some(Exit::Success);
        }
        if words[0] == "quit" {
            return None;
        }
        let mut entered = line.trim().to_owned();
        if words[0] == "redo" && words.len() > 1 {
            match self.recall(&words[1]) {
                Ok(old) => {
                    words = line::split(&old);
                    entered = old;
                }
                Err(why) => {
                    say(&why);
                    return Some(Exit::Failure);
                }
            }
        }
        self.history.push(entered);
        Some(self.carry_out(&words))
    }

    fn recall(&self, number: &str) -> Result<String, String> {
        let found = number
            .parse()
            .ok()
            .and_then(|at: usize| self.history.get(at));
        match found {
            None => Err("Command index out of range".into()),
            Some(line) => Ok(line.clone()),
        }
    }

    fn carry_out(&mut self, words: &[String]) -> Exit {
        match self.command(words) {
            Ok(()) => Exit::Success,
            Err(trouble) => {
                say(&trouble.to_string());
                Exit::Failure
            }
        }
    }

    fn command(&mut self, words: &[String]) -> Result<(), Trouble> {
        let (mut out, mut err) = (io::stdout().lock(), io::stderr());
        let argument = words.get(1).map(String::as_str);
        match words[0].as_str() {
            "help" => writeln!(out, "{}", commands::usage())?,
            "history" => {
                let from = self.history.len().saturating_sub(HISTORY_SHOWN);
                for (number, line) in self.history.iter().enumerate().skip(from) {
                    writeln!(out, "{number} - {line}")?;
                }
            }
            "printwatches" => match argument {
                None => {
                    let is_on = self.printing.load(Ordering::Relaxed);
                    let state = if is_on { "on" } else { "off" };
                    writeln!(out, "printwatches is {state}")?;
                }
                Some(wanted) => self.printing.store(wanted == "on", Ordering::Relaxed),
            },
            "close" => self.session.close(),
            "connect" => {
                drop(out);
                self.session.close();
                if let Some(servers) = argument {
                    self.target.text = servers.to_owned();
                }
                self.session = Session::open(self.target.clone(), self.listener.clone())?;
            }
            "quit" => {}
            _ => return commands::run(words, &self.session, &mut out, &mut err),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_come_before_the_command() {
        let words = line::split("-server h:1/x -timeout 500 -r get -s /a");
        let options = Options::parse(&words).expect("sound");
        assert_eq!(options.target.text, "h:1/x");
        assert_eq!(options.target.timeout, Duration::from_millis(500));
        assert!(options.target.read_only);
        assert_eq!(options.command, ["get", "-s", "/a"]);
        for wrong in ["-server", "-timeout x", "-q", "-client-configuration f"] {
            assert!(Options::parse(&line::split(wrong)).is_err(), "{wrong}");
        }
    }

    #[test]
    fn refusals_are_told_as_zookeeper_tells_them() {
        let text = |code: ErrorCode| Trouble::Refused(code.code(), "/a".into()).to_string();
        assert_eq!(text(ErrorCode::NoNode), "Node does not exist: /a");
        assert_eq!(text(ErrorCode::BadVersion), "version No is not valid : /a");
        assert_eq!(text(ErrorCode::ThrottledOp), "error -127 for /a");
    }
}
