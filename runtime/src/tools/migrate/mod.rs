//! `vivarium migrate check`: may the server with this configuration be stopped and Vivarium be
//! started in its place? Asks files and neighbours, changes nothing.

mod neighbours;
mod room;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use vivarium_storage::inspect::check_up;

use super::backup::read_bytes;
use super::directory::at;
use super::file_set::FileSet;
use super::{ToolError, with_output};
use crate::config::{self, Settings, Surveyed, Verdict, changed_defaults};
use crate::exit::Exit;
use neighbours::Neighbour;
use room::Room;

/// The way from ZooKeeper to Vivarium.
#[derive(Subcommand, Debug)]
pub enum MigrateCommand {
    /// Say what becomes of a configuration, its data and its ensemble, changing nothing. Ends with
    /// 0 if Vivarium can take this server's place, 1 if it could not start with its data, 2 if it
    /// does not obey the configuration, 3 if the data directory can not be read
    Check(Check),
}

#[derive(Args, Debug)]
pub struct Check {
    /// ZooKeeper's configuration file
    #[arg(value_name = "ZOO_CFG")]
    config: PathBuf,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Do not ask the servers of the ensemble
    #[arg(long)]
    offline: bool,
}

pub fn run(command: &MigrateCommand) -> Exit {
    let MigrateCommand::Check(check) = command;
    let report = match check.look() {
        Ok(report) => report,
        Err(error) => {
            // Nothing is left to be told if stderr is closed.
            let _ = writeln!(io::stderr(), "vivarium: {error}");
            return Exit::Usage;
        }
    };
    let printed = with_output(|out| {
        if check.json {
            writeln!(out, "{}", report.json())?;
            Ok(())
        } else {
            report.print(out)
        }
    });
    match printed {
        Exit::Success => report.exit(),
        failed => failed,
    }
}

/// What recovery makes of the data.
struct Data {
    /// Snapshot, transactions to replay, znodes, sessions, last zxid.
    found: Vec<(&'static str, Value)>,
    notes: Vec<String>,
}

/// Why there is none.
enum NoData {
    Unreadable(String),
    Damaged(String),
}

/// Everything that was found out.
struct Report {
    config: PathBuf,
    lines: Vec<Surveyed>,
    /// Changes by what the file does not say.
    defaults: Vec<String>,
    /// What is odd about the whole of it, and not about a line.
    oddities: Vec<String>,
    /// Why a server would not start with the configuration.
    refused: Option<String>,
    neighbours: Vec<Neighbour>,
    rooms: Vec<Room>,
    data: Option<Result<Data, NoData>>,
}

impl Check {
    fn look(&self) -> Result<Report, config::ConfigError> {
        let lines = config::survey(&self.config)?;
        let mut report = Report {
            config: self.config.clone(),
            defaults: changed_defaults(&lines),
            oddities: Vec::new(),
            refused: None,
            neighbours: Vec::new(),
            rooms: Vec::new(),
            data: None,
            lines,
        };
        match config::load(&self.config) {
            Err(error) => report.refused = Some(error.to_string()),
            Ok(loaded) => {
                // Those of lines are told with their lines.
                let own = loaded.warnings.into_iter();
                let of_whole = own.filter(|warning| !warning.starts_with("line "));
                report.oddities.extend(of_whole);
                let settings = loaded.settings;
                if !self.offline {
                    report.neighbours = neighbours::ask(&settings);
                }
                report.rooms = room::of(&settings);
                report.data = Some(judge(&settings));
            }
        }
        Ok(report)
    }
}

/// What a start would make of the data.
fn judge(settings: &Settings) -> Result<Data, NoData> {
    let unreadable = |error: ToolError| match error {
        ToolError::Failed(text) => NoData::Unreadable(text),
        ToolError::OutputClosed => unreachable!("nothing was written"),
    };
    for dir in [&settings.data_dir, &settings.log_dir] {
        if !dir.is_dir() {
            return Err(NoData::Unreadable(format!(
                "{} is no directory",
                dir.display()
            )));
        }
    }
    let set = FileSet::of(&at(&settings.data_dir, &settings.log_dir)).map_err(unreadable)?;
    let total = read_bytes(&set);
    let found = check_up(&set.watched("read", total), None);
    let found = found.map_err(|refused| NoData::Damaged(refused.to_string()))?;
    let database = &found.database;
    let mut notes = found.notes;
    if found.snapshot.is_none() {
        notes.push("the directory is empty: is it the one that ZooKeeper uses?".to_owned());
    }
    let snapshot = found.snapshot.unwrap_or_else(|| "none".to_owned());
    Ok(Data {
        found: vec![
            ("snapshot", json!(snapshot)),
            ("replayed", json!(found.replayed)),
            ("zxid", json!(database.applied().to_string())),
            ("digest", json!(format!("0x{:x}", database.digest()))),
            ("znodes", json!(database.tree().node_count())),
            ("sessions", json!(database.sessions().len())),
        ],
        notes,
    })
}

impl Report {
    fn exit(&self) -> Exit {
        match &self.data {
            _ if self.refused.is_some() => Exit::Usage,
            None => Exit::Usage,
            Some(Err(NoData::Unreadable(_))) => Exit::DataDirectory,
            Some(Err(NoData::Damaged(_))) => Exit::Failure,
            Some(Ok(_)) => Exit::Success,
        }
    }

    fn verdict(&self) -> String {
        match self.exit() {
            Exit::Success => {
                let warned = self.neighbours.iter().any(|n| n.warning().is_some());
                let aside = if warned {
                    "; read the warnings first"
                } else {
                    ""
                };
                format!("Vivarium can take this server's place{aside}")
            }
            Exit::DataDirectory => "the data directory can not be read".to_owned(),
            Exit::Failure => "Vivarium would not start with this data".to_owned(),
            _ => "Vivarium would not start with this configuration".to_owned(),
        }
    }

    fn print(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        writeln!(out, "configuration {}", self.config.display())?;
        let honoured = |line: &&Surveyed| line.verdict == Verdict::Honoured;
        let count = self.lines.iter().filter(honoured).count();
        writeln!(out, "  {count} lines are obeyed as in ZooKeeper")?;
        for line in self.lines.iter().filter(|line| !honoured(line)) {
            let (number, key, value) = (line.line, &line.key, &line.value);
            let (word, why) = words(&line.verdict);
            writeln!(out, "  line {number}: {key}={value}: {word}{why}")?;
        }
        for change in &self.defaults {
            writeln!(out, "  changed: {change}")?;
        }
        for oddity in &self.oddities {
            writeln!(out, "  note: {oddity}")?;
        }
        if let Some(why) = &self.refused {
            writeln!(out, "  refused: {why}")?;
        }
        if !self.neighbours.is_empty() {
            writeln!(out, "servers")?;
        }
        for neighbour in &self.neighbours {
            writeln!(out, "  {neighbour}")?;
            if let Some(warning) = neighbour.warning() {
                writeln!(out, "    warning: {warning}")?;
            }
        }
        self.print_data(out)?;
        writeln!(out, "{}", self.verdict())?;
        Ok(())
    }

    fn print_data(&self, out: &mut dyn Write) -> Result<(), ToolError> {
        for room in &self.rooms {
            writeln!(out, "{room}")?;
        }
        match &self.data {
            None => {}
            Some(Err(NoData::Unreadable(why) | NoData::Damaged(why))) => {
                writeln!(out, "  refused: {why}")?;
            }
            Some(Ok(data)) => {
                for (name, value) in &data.found {
                    let text = value
                        .as_str()
                        .map_or_else(|| value.to_string(), str::to_owned);
                    writeln!(out, "  {name:<9} {text}")?;
                }
                for note in &data.notes {
                    writeln!(out, "  note: {note}")?;
                }
            }
        }
        Ok(())
    }

    fn json(&self) -> Value {
        let lines = self.lines.iter().map(|line| {
            let (word, why) = words(&line.verdict);
            json!({
                "line": line.line, "key": line.key, "value": line.value,
                "verdict": word.trim_end_matches(": "), "why": why,
            })
        });
        let data = match &self.data {
            None => Value::Null,
            Some(Err(NoData::Unreadable(why) | NoData::Damaged(why))) => {
                json!({"starts": false, "problem": why})
            }
            Some(Ok(data)) => {
                let mut all = json!({"starts": true, "notes": data.notes});
                for (name, value) in &data.found {
                    all[*name] = value.clone();
                }
                all
            }
        };
        json!({
            "config": self.config.display().to_string(),
            "lines": lines.collect::<Vec<_>>(),
            "changed": self.defaults,
            "notes": self.oddities,
            "refused": self.refused,
            "servers": self.neighbours.iter().map(Neighbour::json).collect::<Vec<_>>(),
            "directories": self.rooms.iter().map(Room::json).collect::<Vec<_>>(),
            "data": data,
            "ready": self.exit() == Exit::Success,
        })
    }
}

/// The word for a verdict, and what it needs said.
fn words(verdict: &Verdict) -> (&'static str, String) {
    let text = |t: &dyn Display| t.to_string();
    match verdict {
        Verdict::Honoured => ("honoured", String::new()),
        Verdict::Changed(how) => ("changed: ", text(how)),
        Verdict::Refused(why) => ("refused: ", text(why)),
        Verdict::Unknown(None) => ("unknown: ", "ignored".to_owned()),
        Verdict::Unknown(Some(meant)) => ("unknown: ", format!("ignored; did you mean {meant}?")),
    }
}
