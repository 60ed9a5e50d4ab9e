//! `zoo.cfg`: from the bytes of a file to settings that fit together.
//!
//! Two steps, two types: `RawConfig` is what is written, line by line; [`Settings`] is what
//! can be run. Nothing else in the crate reads configuration text.

mod complaint;
mod flags;
mod keys;
mod myid;
mod place;
mod properties;
mod raw;
mod rules;
mod server_line;
mod settings;
mod survey;
#[cfg(test)]
mod tests;

use std::path::Path;

use vivarium_core::ids::ServerId;

use flags::Flag;
use raw::RawConfig;

pub use complaint::{Complaint, ConfigError};
pub use place::Place;
pub use server_line::{Endpoint, is_wildcard, unbracket};
pub use settings::{Settings, WORDS};
pub use survey::{Surveyed, Verdict, changed_defaults, survey};

/// A usable configuration and what is odd about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// For the log, each naming its line.
    pub warnings: Vec<String>,
}

/// Reads a configuration file, `-D` options in the environment variables of ZooKeeper's scripts
/// and, in an ensemble, the `myid` file beside the data. The file wins over the options.
///
/// # Errors
/// The path, and the line where one is to blame.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    let flags = flags::read(|name| std::env::var(name).ok());
    parse(&bytes, flags, myid::read).map_err(|complaint| ConfigError::refused(path, complaint))
}

/// What runs without a file: [`Settings::standalone`], and what the `-D` options say.
///
/// # Errors
/// The option that can not be obeyed.
pub fn without_file() -> Result<Loaded, ConfigError> {
    let flags = flags::read(|name| std::env::var(name).ok());
    let text = b"dataDir=./vivarium-data\nclientPort=2181\nclientPortAddress=127.0.0.1\n";
    let unasked = |_: &Path| Err("a standalone server has no number".to_owned());
    parse(text, flags, unasked).map_err(|c| ConfigError::refused(Path::new("(no file)"), c))
}

fn parse(
    bytes: &[u8],
    flags: Vec<Flag>,
    my_id: impl FnOnce(&Path) -> Result<ServerId, String>,
) -> Result<Loaded, Complaint> {
    let mut warnings = Vec::new();
    let raw = RawConfig::read(properties::parse(bytes), flags, &mut warnings)?;
    let settings = Settings::check(&raw, my_id, &mut warnings)?;
    Ok(Loaded { settings, warnings })
}
