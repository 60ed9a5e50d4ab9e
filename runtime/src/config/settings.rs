//! The checked configuration: everything in it fits together. Knows what the keys mean for each
//! other; does not know files, except through what it is given.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use vivarium_core::boundary::FourLetterWord;
use vivarium_core::config::{Config, LearnerType, Member, Rules};
use vivarium_core::ids::ServerId;
use vivarium_core::mutants::Mutants;
use vivarium_storage::Packing;

use super::complaint::Complaint;
use super::place::Place;
use super::raw::{Lined, RawConfig};
use super::rules;
use super::server_line::{Endpoint, ServerLine, is_wildcard, unbracket};

/// ZooKeeper's defaults.
const TICK_MS_DEFAULT: u64 = 3_000;
const SNAP_COUNT_DEFAULT: u32 = 100_000;
/// And its least: fewer are raised to it.
const SNAP_RETAIN_DEFAULT: u32 = 3;
/// ZooKeeper never purges unless told so; here it is the other way round.
const PURGE_INTERVAL_DEFAULT: Duration = Duration::from_secs(3_600);
const RESERVE_KB_DEFAULT: u64 = 4_096;
const FSYNC_WARNING_DEFAULT: Duration = Duration::from_secs(1);

/// The words that may be asked for, in the order in which they are documented.
pub const WORDS: [(&str, FourLetterWord); 7] = [
    ("ruok", FourLetterWord::Ruok),
    ("srvr", FourLetterWord::Srvr),
    ("stat", FourLetterWord::Stat),
    ("mntr", FourLetterWord::Mntr),
    ("conf", FourLetterWord::Conf),
    ("envi", FourLetterWord::Envi),
    ("isro", FourLetterWord::Isro),
];

/// A configuration that can be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// 0 in standalone mode.
    pub me: ServerId,
    /// Empty in standalone mode.
    pub members: BTreeMap<ServerId, Member>,
    pub tick: Duration,
    /// In ticks; 0 in standalone mode.
    pub init_limit: u32,
    /// In ticks; 0 in standalone mode.
    pub sync_limit: u32,
    pub session_timeout_min: Duration,
    pub session_timeout_max: Duration,
    pub snap_count: u32,
    /// Snapshots that are kept, with the logs after the oldest of them.
    pub snap_retain: usize,
    /// Time between two purges, the first at the start; none: never.
    pub purge_interval: Option<Duration>,
    /// Room that is kept for when the disk is full, in bytes.
    pub disk_reserve: u64,
    /// A sync that takes longer is told in the log.
    pub fsync_warning: Duration,
    /// How new snapshots are packed.
    pub packing: Packing,
    /// Start from logs alone where there is no snapshot.
    pub trust_empty: bool,
    /// Snapshots, epochs, `myid`.
    pub data_dir: PathBuf,
    /// Transaction logs; often the same.
    pub log_dir: PathBuf,
    pub client: Endpoint,
    /// Bind the ports between servers on every address instead of the own line's.
    pub listen_on_all: bool,
    /// Words that are answered.
    pub words: Vec<&'static str>,
    /// What clients may do, and how much.
    pub rules: Rules,
}

impl Settings {
    /// What runs without a file: one server, reachable from this machine only.
    pub fn standalone() -> Self {
        let tick = Duration::from_millis(TICK_MS_DEFAULT);
        Self {
            me: ServerId(0),
            members: BTreeMap::new(),
            tick,
            init_limit: 0,
            sync_limit: 0,
            session_timeout_min: 2 * tick,
            session_timeout_max: 20 * tick,
            snap_count: SNAP_COUNT_DEFAULT,
            snap_retain: SNAP_RETAIN_DEFAULT as usize,
            purge_interval: Some(PURGE_INTERVAL_DEFAULT),
            disk_reserve: RESERVE_KB_DEFAULT << 10,
            fsync_warning: FSYNC_WARNING_DEFAULT,
            packing: Packing::Plain,
            trust_empty: false,
            data_dir: PathBuf::from("./vivarium-data"),
            log_dir: PathBuf::from("./vivarium-data"),
            client: Endpoint {
                host: "127.0.0.1".into(),
                port: 2181,
            },
            listen_on_all: false,
            words: WORDS.iter().map(|(name, _)| *name).collect(),
            rules: Rules::default(),
        }
    }

    /// Checks `raw`; `my_id` reads the number of this server from the given data directory and is
    /// only asked in an ensemble.
    ///
    /// # Errors
    /// The first contradiction, with the line to look at.
    pub(super) fn check(
        raw: &RawConfig,
        my_id: impl FnOnce(&Path) -> Result<ServerId, String>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Complaint> {
        let tick = tick(raw)?;
        let (session_timeout_min, session_timeout_max) = session_timeouts(raw, tick)?;
        let data_dir = match &raw.data_dir {
            Some(dir) => dir.value.clone(),
            None => return Err(Complaint::whole("dataDir is not set")),
        };
        let log_dir = raw
            .data_log_dir
            .as_ref()
            .map_or_else(|| data_dir.clone(), |l| l.value.clone());
        let distributed = distributed(raw, warnings)?;
        let (mut init_limit, mut sync_limit, mut me) = (0, 0, ServerId(0));
        if distributed {
            init_limit = limit(&raw.init_limit, "initLimit", 10)?;
            sync_limit = limit(&raw.sync_limit, "syncLimit", 5)?;
            check_members(raw, warnings)?;
            me = my_id(&data_dir).map_err(Complaint::whole)?;
            check_me(raw, me, warnings)?;
        }
        let mine = if distributed {
            raw.servers.get(&me)
        } else {
            raw.servers.values().next()
        };
        let members = raw
            .servers
            .iter()
            .map(|(id, line)| (*id, line.value.member.clone()));
        Ok(Self {
            me,
            members: if distributed {
                members.collect()
            } else {
                BTreeMap::new()
            },
            tick,
            init_limit,
            sync_limit,
            session_timeout_min,
            session_timeout_max,
            snap_count: raw
                .snap_count
                .as_ref()
                .map_or(SNAP_COUNT_DEFAULT, |c| c.value.max(2)),
            packing: raw.packing.as_ref().map_or(Packing::Plain, |l| l.value),
            trust_empty: raw.trust_empty.as_ref().is_some_and(|l| l.value),
            snap_retain: raw
                .snap_retain
                .as_ref()
                .map_or(0, |c| c.value)
                .max(SNAP_RETAIN_DEFAULT) as usize,
            purge_interval: purge_interval(raw),
            disk_reserve: disk_reserve(raw),
            fsync_warning: raw
                .fsync_warning_ms
                .as_ref()
                .map_or(FSYNC_WARNING_DEFAULT, |l| Duration::from_millis(l.value)),
            data_dir,
            log_dir,
            client: client_endpoint(raw, mine)?,
            listen_on_all: raw.listen_on_all.as_ref().is_some_and(|l| l.value),
            words: words(raw, warnings),
            rules: raw.rules.finish()?,
        })
    }

    pub fn is_standalone(&self) -> bool {
        self.members.is_empty()
    }

    /// This server's own line; none in standalone mode.
    pub fn my_member(&self) -> Option<&Member> {
        self.members.get(&self.me)
    }

    /// Where a port between servers is bound: the own line's host, or every address.
    pub fn peer_bind_host(&self) -> &str {
        match self.my_member() {
            Some(member) if !self.listen_on_all => unbracket(&member.host),
            _ => "0.0.0.0",
        }
    }

    /// The rules that were set, as `key=value`, under the names that they have in the file.
    pub fn deviations(&self) -> Vec<String> {
        rules::deviations(&self.rules)
    }

    pub fn answers(&self, word: &str) -> bool {
        let is_needed = word == "isro" && self.rules.read_only_mode;
        is_needed || self.words.contains(&word)
    }

    /// What the machine is told.
    pub fn core(&self, seed: u64) -> Config {
        Config {
            me: self.me,
            members: self.members.clone(),
            tick: self.tick,
            init_limit: self.init_limit,
            sync_limit: self.sync_limit,
            session_timeout_min: self.session_timeout_min,
            session_timeout_max: self.session_timeout_max,
            snap_count: self.snap_count,
            seed,
            rules: self.rules.clone(),
            mutants: Mutants::default(),
        }
    }
}

fn tick(raw: &RawConfig) -> Result<Duration, Complaint> {
    match &raw.tick_time {
        None => Ok(Duration::from_millis(TICK_MS_DEFAULT)),
        Some(Lined { place, value: 0 }) => Err(Complaint::at(
            *place,
            "tickTime must be at least 1 millisecond",
        )),
        // Session timeouts travel as 32 bit milliseconds, and the largest is 20 ticks.
        Some(Lined { place, value }) if *value > i32::MAX as u64 / 20 => Err(Complaint::at(
            *place,
            format!("tickTime {value} is too long (milliseconds)"),
        )),
        Some(Lined { value, .. }) => Ok(Duration::from_millis(*value)),
    }
}

fn session_timeouts(raw: &RawConfig, tick: Duration) -> Result<(Duration, Duration), Complaint> {
    let read = |given: &Option<Lined<i64>>, key: &str, default: Duration| match given {
        None | Some(Lined { value: -1, .. }) => Ok(default),
        Some(Lined { place, value }) => match i32::try_from(*value) {
            Ok(ms) if ms > 0 => Ok(Duration::from_millis(ms as u64)),
            _ => Err(Complaint::at(
                *place,
                format!("{key} {value} is out of range"),
            )),
        },
    };
    let min = read(&raw.min_session_timeout, "minSessionTimeout", 2 * tick)?;
    let max = read(&raw.max_session_timeout, "maxSessionTimeout", 20 * tick)?;
    if min > max {
        let place = |l: &Option<Lined<i64>>| l.as_ref().map(|l| l.place);
        return Err(Complaint {
            place: place(&raw.min_session_timeout).max(place(&raw.max_session_timeout)),
            text: format!(
                "minSessionTimeout ({} ms) is longer than maxSessionTimeout ({} ms); \
                 unset, they are 2 and 20 times tickTime",
                min.as_millis(),
                max.as_millis()
            ),
        });
    }
    Ok((min, max))
}

fn disk_reserve(raw: &RawConfig) -> u64 {
    let given = raw.disk_reserve_kb.as_ref().map(|l| l.value);
    given.unwrap_or(RESERVE_KB_DEFAULT) << 10
}

/// None where it is switched off.
fn purge_interval(raw: &RawConfig) -> Option<Duration> {
    let given = raw.purge_interval.as_ref().map(|l| l.value);
    Some(given.unwrap_or(PURGE_INTERVAL_DEFAULT)).filter(|interval| !interval.is_zero())
}

fn limit(given: &Option<Lined<u32>>, key: &str, usual: u32) -> Result<u32, Complaint> {
    match given {
        None => Err(Complaint::whole(format!(
            "{key} is not set; an ensemble needs it (in ticks, {usual} is usual)"
        ))),
        Some(Lined { place, value: 0 }) => Err(Complaint::at(
            *place,
            format!("{key} must be at least 1 tick"),
        )),
        Some(Lined { value, .. }) => Ok(*value),
    }
}

/// More than one voter, or one that insists.
fn distributed(raw: &RawConfig, warnings: &mut Vec<String>) -> Result<bool, Complaint> {
    let is_voter = |l: &&Lined<ServerLine>| l.value.member.kind == LearnerType::Participant;
    let voters = raw.servers.values().filter(is_voter).count();
    let observers = raw.servers.len() - voters;
    let first = raw.servers.values().map(|l| l.place).min();
    let standalone_enabled = raw.standalone_enabled.as_ref().is_none_or(|l| l.value);
    if voters == 0 && observers > 0 {
        let text = "all servers are observers; at least one must be a participant";
        return Err(Complaint {
            place: first,
            text: text.into(),
        });
    }
    if voters == 1 && observers > 0 && standalone_enabled {
        let text = "one participant with observers is no ensemble; \
                    set standaloneEnabled=false to run it as one";
        return Err(Complaint {
            place: first,
            text: text.into(),
        });
    }
    let distributed = voters > 1 || (voters == 1 && !standalone_enabled);
    if voters == 2 {
        warnings.push("2 voters tolerate no failure; use 3".into());
    } else if voters > 2 && voters.is_multiple_of(2) {
        warnings.push(format!(
            "{voters} voters tolerate no more failures than {}; an odd number is better",
            voters - 1
        ));
    }
    Ok(distributed)
}

/// Two servers can not listen on one address.
fn check_members(raw: &RawConfig, warnings: &mut Vec<String>) -> Result<(), Complaint> {
    let mut taken: BTreeMap<(String, u16), (ServerId, Place)> = BTreeMap::new();
    for (id, Lined { place, value }) in &raw.servers {
        let member = &value.member;
        for port in [member.quorum_port, member.election_port] {
            let key = (member.host.to_ascii_lowercase(), port);
            let Some((other, there)) = taken.insert(key, (*id, *place)) else {
                continue;
            };
            let (place, text) = (
                (*place).max(there),
                format!(
                    "server.{id} and server.{other} ({}) both use {}:{port}",
                    (*place).min(there),
                    member.host
                ),
            );
            return Err(Complaint::at(place, text));
        }
        if id.0 > 255 {
            warnings.push(format!(
                "{place}: server.{id} is above 255: its session ids are not told apart from \
                 those of server {}",
                id.0 & 0xff
            ));
        }
    }
    Ok(())
}

fn check_me(raw: &RawConfig, me: ServerId, warnings: &mut Vec<String>) -> Result<(), Complaint> {
    let Some(mine) = raw.servers.get(&me) else {
        let known: Vec<String> = raw
            .servers
            .keys()
            .map(|id| format!("server.{id}"))
            .collect();
        return Err(Complaint::whole(format!(
            "myid says {me}, but there is no server.{me}: the servers are {}",
            known.join(", ")
        )));
    };
    for (id, Lined { place, value }) in &raw.servers {
        if *id != me && is_wildcard(&value.member.host) {
            warnings.push(format!(
                "{place}: {} is no address of server.{id} that this server could reach",
                value.member.host
            ));
        }
    }
    if let Some(Lined { place, value }) = &raw.peer_type
        && *value != mine.value.member.kind
    {
        warnings.push(format!(
            "{place}: peerType differs from {}, which is obeyed ({:?})",
            mine.place, mine.value.member.kind
        ));
    }
    Ok(())
}

/// Where clients connect: `clientPort` and `clientPortAddress`, or the own line's client part.
fn client_endpoint(
    raw: &RawConfig,
    mine: Option<&Lined<ServerLine>>,
) -> Result<Endpoint, Complaint> {
    let part = mine.and_then(|l| l.value.client.as_ref().map(|client| (l.place, client)));
    let address = raw.client_port_address.as_ref();
    if let (None, None, Some(address)) = (&raw.client_port, part, address) {
        return Err(Complaint::at(
            address.place,
            "clientPortAddress is set, but not clientPort",
        ));
    }
    let Some((place, client)) = part else {
        let Some(port) = &raw.client_port else {
            return Err(Complaint::whole("clientPort is not set; 2181 is usual"));
        };
        let host = address.map_or_else(|| "0.0.0.0".to_owned(), |a| a.value.clone());
        return Ok(Endpoint {
            host,
            port: port.value,
        });
    };
    if let Some(port) = &raw.client_port
        && port.value != client.port
    {
        return Err(Complaint::at(
            place.max(port.place),
            format!(
                "clientPort is {} ({}), but the own server line says {} ({place})",
                port.value, port.place, client.port
            ),
        ));
    }
    match address {
        Some(a) if is_wildcard(&client.host) => Ok(Endpoint {
            host: a.value.clone(),
            port: client.port,
        }),
        Some(a) if !is_wildcard(&a.value) && a.value != client.host => Err(Complaint::at(
            place.max(a.place),
            format!(
                "clientPortAddress is {} ({}), but the own server line says {} ({place})",
                a.value, a.place, client.host
            ),
        )),
        _ => Ok(client.clone()),
    }
}

/// All six without a whitelist: ZooKeeper's default of `srvr` alone only makes people add the
/// others, and none of the six tells what `srvr` does not.
fn words(raw: &RawConfig, warnings: &mut Vec<String>) -> Vec<&'static str> {
    let all = || WORDS.iter().map(|(name, _)| *name);
    let Some(Lined { place, value }) = &raw.whitelist else {
        return all().collect();
    };
    let asked: Vec<&str> = value
        .split(',')
        .map(str::trim)
        .filter(|w| !w.is_empty())
        .collect();
    if asked.contains(&"*") {
        return all().collect();
    }
    for word in &asked {
        if !all().any(|known| known == *word) {
            warnings.push(format!("{place}: the word {word} is not answered here"));
        }
    }
    all().filter(|known| asked.contains(known)).collect()
}
