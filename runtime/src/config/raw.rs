//! The file as written: every value typed, with the line it stands on. Knows each key alone; what
//! contradicts what is for `settings`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use vivarium_core::config::LearnerType;
use vivarium_core::ids::ServerId;
use vivarium_storage::Packing;

use super::complaint::Complaint;
use super::flags::Flag;
use super::keys::{self, Treatment};
use super::place::Place;
use super::properties::Property;
use super::rules::{self, Draft};
use super::server_line::{self, ServerLine};

/// A smaller reserve would take no transaction, a larger one only room.
const RESERVE_KB: std::ops::RangeInclusive<u64> = 64..=1 << 20;

/// A value and where it was given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Lined<T> {
    pub place: Place,
    pub value: T,
}

/// A configuration file, not yet checked for sense.
#[derive(Clone, Default, Debug)]
pub(super) struct RawConfig {
    pub tick_time: Option<Lined<u64>>,
    pub init_limit: Option<Lined<u32>>,
    pub sync_limit: Option<Lined<u32>>,
    pub data_dir: Option<Lined<PathBuf>>,
    pub data_log_dir: Option<Lined<PathBuf>>,
    pub client_port: Option<Lined<u16>>,
    pub client_port_address: Option<Lined<String>>,
    /// -1 asks for the default.
    pub min_session_timeout: Option<Lined<i64>>,
    pub max_session_timeout: Option<Lined<i64>>,
    pub peer_type: Option<Lined<LearnerType>>,
    pub snap_count: Option<Lined<u32>>,
    pub snap_retain: Option<Lined<u32>>,
    pub purge_interval: Option<Lined<Duration>>,
    pub fsync_warning_ms: Option<Lined<u64>>,
    pub disk_reserve_kb: Option<Lined<u64>>,
    pub packing: Option<Lined<Packing>>,
    pub trust_empty: Option<Lined<bool>>,
    pub whitelist: Option<Lined<String>>,
    pub standalone_enabled: Option<Lined<bool>>,
    pub listen_on_all: Option<Lined<bool>>,
    pub servers: BTreeMap<ServerId, Lined<ServerLine>>,
    pub rules: Draft,
}

impl RawConfig {
    /// Types every property; what is odd but usable goes to `warnings`. The file wins over flags.
    ///
    /// # Errors
    /// The first value that can not be used, with its line.
    pub(super) fn read(
        mut properties: Vec<Property>,
        flags: Vec<Flag>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Complaint> {
        let mut raw = Self::default();
        for property in &mut properties {
            strip_prefix(property, warnings);
        }
        for flag in flags {
            if let Some(p) = property_of(flag, warnings)
                && !properties.iter().any(|other| other.key == p.key)
                && admit(&p, warnings)?
            {
                raw.take(&p, true, warnings)
                    .map_err(|text| Complaint::at(p.place, text))?;
            }
        }
        let mut seen: BTreeMap<&str, &Property> = BTreeMap::new();
        for property in &properties {
            if let Some(before) = seen.insert(&property.key, property) {
                repeated(before, property, warnings)?;
            }
        }
        // A value that a later line replaces is read as well: what is wrong there was meant too.
        let has_data_dir = seen.contains_key("dataDir");
        for property in &properties {
            if admit(property, warnings)? {
                raw.take(property, has_data_dir, warnings)
                    .map_err(|text| Complaint::at(property.place, text))?;
            }
        }
        Ok(raw)
    }

    fn take(
        &mut self,
        p: &Property,
        has_data_dir: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        match p.key.as_str() {
            "tickTime" => self.tick_time = Some(number(p)?),
            "initLimit" => self.init_limit = Some(number(p)?),
            "syncLimit" => self.sync_limit = Some(number(p)?),
            "dataDir" => self.data_dir = Some(path(p)?),
            "dataLogDir" => self.data_log_dir = Some(path(p)?),
            "datadir" => self.misspelt_data_dir(p, has_data_dir, warnings)?,
            "clientPort" => {
                let value = server_line::port(&p.value, "clientPort")?;
                self.client_port = Some(Lined {
                    place: p.place,
                    value,
                });
            }
            "clientPortAddress" => {
                let value = server_line::unbracket(&p.value).to_owned();
                if value.is_empty() {
                    return Err("clientPortAddress is empty".into());
                }
                self.client_port_address = Some(Lined {
                    place: p.place,
                    value,
                });
            }
            "minSessionTimeout" => self.min_session_timeout = Some(number(p)?),
            "maxSessionTimeout" => self.max_session_timeout = Some(number(p)?),
            "peerType" => {
                let value = server_line::parse_role(&p.value)?;
                self.peer_type = Some(Lined {
                    place: p.place,
                    value,
                });
            }
            "snapCount" => self.snap_count = Some(number(p)?),
            "snapshot.compression.method" => {
                let value = packing(&p.value)?;
                self.packing = Some(Lined {
                    place: p.place,
                    value,
                });
            }
            "snapshot.trust.empty" => self.trust_empty = Some(boolean(p)?),
            "4lw.commands.whitelist" => {
                self.whitelist = Some(Lined {
                    place: p.place,
                    value: p.value.clone(),
                });
            }
            "standaloneEnabled" => self.standalone_enabled = Some(boolean(p)?),
            "quorumListenOnAllIPs" => self.listen_on_all = Some(boolean(p)?),
            "autopurge.snapRetainCount" => self.snap_retain = Some(number(p)?),
            "autopurge.purgeInterval" => self.purge_interval = Some(purge_interval(p)?),
            "fsync.warningthresholdms" => self.fsync_warning_ms = Some(number(p)?),
            "vivarium.diskReserve" => self.disk_reserve_kb = Some(reserve(p)?),
            key if rules::is_rule(key) => self.rules.take(key, &p.value, p.place)?,
            key => {
                let id = key
                    .strip_prefix("server.")
                    .expect("every used key is handled above");
                self.server(id, p)?;
            }
        }
        Ok(())
    }

    fn misspelt_data_dir(
        &mut self,
        p: &Property,
        has_data_dir: bool,
        warnings: &mut Vec<String>,
    ) -> Result<(), String> {
        if has_data_dir {
            warnings.push(format!(
                "{}: datadir is not a key of ZooKeeper, and dataDir is given too: ignored",
                p.place
            ));
            return Ok(());
        }
        warnings.push(format!(
            "{}: THE KEY IS dataDir, NOT datadir. It is taken as dataDir here; \
             ZooKeeper itself would refuse to start. Correct the file.",
            p.place
        ));
        self.data_dir = Some(path(p)?);
        Ok(())
    }

    fn server(&mut self, id: &str, p: &Property) -> Result<(), String> {
        let id = match id.parse::<i64>() {
            Ok(id) if id >= 0 => ServerId(id),
            _ => return Err(format!("`{}` must end in a server's number", p.key)),
        };
        let value = server_line::parse(&p.value).map_err(|why| format!("{}: {why}", p.key))?;
        if let Some(twin) = self.servers.insert(
            id,
            Lined {
                place: p.place,
                value,
            },
        ) {
            // `server.1` and `server.01` are one server under two keys.
            return Err(format!("server {id} was already given at {}", twin.place));
        }
        Ok(())
    }
}

/// ZooKeeper takes a name that it does not know for none.
fn packing(value: &str) -> Result<Packing, String> {
    match value.to_ascii_lowercase().as_str() {
        "" => Ok(Packing::Plain),
        "gz" => Ok(Packing::Gzip),
        "snappy" => Ok(Packing::Snappy),
        other => Err(format!(
            "snapshot.compression.method is {other}; it can be gz, snappy, or nothing"
        )),
    }
}

/// A key that stands in the file twice: the last wins, as in ZooKeeper, except where a server
/// would silently vanish from the ensemble.
fn repeated(
    before: &Property,
    now: &Property,
    warnings: &mut Vec<String>,
) -> Result<(), Complaint> {
    if now.key.starts_with("server.") && before.value != now.value {
        return Err(Complaint::at(
            now.place,
            format!(
                "{} is already `{}` at {}: two servers can not share a number",
                now.key, before.value, before.place
            ),
        ));
    }
    let value = if rules::is_secret(&now.key) {
        "the later value".to_owned()
    } else {
        format!("`{}`", now.value)
    };
    warnings.push(format!(
        "{}: {} was already given at {}; {value} is used",
        now.place, now.key, before.place
    ));
    Ok(())
}

/// Takes `zookeeper.K` for `K`.
fn strip_prefix(p: &mut Property, warnings: &mut Vec<String>) {
    let Some(key) = keys::without_prefix(&p.key).map(str::to_owned) else {
        return;
    };
    warnings.push(format!(
        "{}: {} is taken as {key}; ZooKeeper itself would not read it with the prefix",
        p.place, p.key
    ));
    p.key = key;
}

/// What a `-D` option says, as if it stood in the file.
fn property_of(flag: Flag, warnings: &mut Vec<String>) -> Option<Property> {
    let Flag { place, name, value } = flag;
    let Some(key) = keys::key_of_property(&name).map(str::to_owned) else {
        // Others are for Java itself.
        if name.starts_with("zookeeper.") {
            warnings.push(format!("{place}: unknown option -D{name}, ignored"));
        }
        return None;
    };
    Some(Property { place, key, value })
}

/// Is the key to be read?
fn admit(p: &Property, warnings: &mut Vec<String>) -> Result<bool, Complaint> {
    let (place, key) = (p.place, &p.key);
    match keys::treatment(key) {
        Some(Treatment::Used) => return Ok(true),
        Some(Treatment::Ignored(why)) => {
            warnings.push(format!("{place}: {key} has no effect: {why}"));
        }
        Some(Treatment::Only(value, why)) => {
            let same = match value {
                "no" => !p.value.eq_ignore_ascii_case("yes"),
                _ => p.value.eq_ignore_ascii_case(value),
            };
            if !same {
                let text = format!("{key}={} can not be obeyed: {why}", p.value);
                return Err(Complaint::at(place, text));
            }
        }
        Some(Treatment::Refused(why)) => {
            return Err(Complaint::at(
                place,
                format!("{key} can not be obeyed: {why}"),
            ));
        }
        None => warnings.push(match keys::nearest(key) {
            Some(meant) => {
                format!("{place}: unknown key {key}, ignored; did you mean {meant}?")
            }
            None => format!("{place}: unknown key {key}, ignored"),
        }),
    }
    Ok(false)
}

fn number<T: std::str::FromStr>(p: &Property) -> Result<Lined<T>, String> {
    match p.value.parse() {
        Ok(value) => Ok(Lined {
            place: p.place,
            value,
        }),
        Err(_) if p.value.parse::<i128>().is_ok() => {
            Err(format!("{}: {} is out of range", p.key, p.value))
        }
        Err(_) => Err(format!("{}: `{}` is not a whole number", p.key, p.value)),
    }
}

fn boolean(p: &Property) -> Result<Lined<bool>, String> {
    match p.value.to_ascii_lowercase().as_str() {
        "true" => Ok(Lined {
            place: p.place,
            value: true,
        }),
        "false" => Ok(Lined {
            place: p.place,
            value: false,
        }),
        _ => Err(format!(
            "{}: `{}` is neither true nor false",
            p.key, p.value
        )),
    }
}

fn path(p: &Property) -> Result<Lined<PathBuf>, String> {
    if p.value.is_empty() {
        return Err(format!("{} is empty", p.key));
    }
    Ok(Lined {
        place: p.place,
        value: PathBuf::from(&p.value),
    })
}

/// Hours, or a number with a unit as in ZooKeeper's newest releases.
fn purge_interval(p: &Property) -> Result<Lined<Duration>, String> {
    let (digits, unit) = match p.value.char_indices().last() {
        Some((at, 's')) => (&p.value[..at], 1),
        Some((at, 'm')) => (&p.value[..at], 60),
        Some((at, 'h')) => (&p.value[..at], 3_600),
        Some((at, 'd')) => (&p.value[..at], 86_400),
        _ => (&p.value[..], 3_600),
    };
    let seconds = digits.parse::<u32>().ok().map(|n| u64::from(n) * unit);
    match seconds {
        Some(seconds) => Ok(Lined {
            place: p.place,
            value: Duration::from_secs(seconds),
        }),
        None => Err(format!("{}: `{}` is not a number of hours", p.key, p.value)),
    }
}

/// KiB, or none.
fn reserve(p: &Property) -> Result<Lined<u64>, String> {
    let reserve: Lined<u64> = number(p)?;
    if reserve.value == 0 || RESERVE_KB.contains(&reserve.value) {
        return Ok(reserve);
    }
    let (least, most) = (RESERVE_KB.start(), RESERVE_KB.end());
    Err(format!(
        "{}: `{}` is neither 0 nor a number of KiB from {least} to {most}",
        p.key, p.value
    ))
}
