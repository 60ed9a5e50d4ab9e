//! `zoo.cfg`: from the bytes of a file to settings that fit together.
//!
//! Two steps, two types: `RawConfig` is what is written, line by line; [`Settings`] is what
//! can be run. Nothing else in the crate reads configuration text.

mod complaint;
mod keys;
mod myid;
mod properties;
mod raw;
mod server_line;
mod settings;
#[cfg(test)]
mod tests;

use std::path::Path;

use vivarium_core::ids::ServerId;

pub use complaint::{Complaint, ConfigError};
pub use server_line::{Endpoint, is_wildcard, unbracket};
pub use settings::{Settings, WORDS};

/// A usable configuration and what is odd about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded {
    pub settings: Settings,
    /// For the log, each naming its line.
    pub warnings: Vec<String>,
}

/// Reads a configuration file and, in an ensemble, the `myid` file beside the data.
///
/// # Errors
/// The path, and the line where one is to blame.
pub fn load(path: &Path) -> Result<Loaded, ConfigError> {
    let bytes = std::fs::read(path).map_err(|error| ConfigError::Unreadable {
        path: path.to_owned(),
        error,
    })?;
    parse(&bytes, myid::read).map_err(|complaint| ConfigError::refused(path, complaint))
}

fn parse(
    bytes: &[u8],
    my_id: impl FnOnce(&Path) -> Result<ServerId, String>,
) -> Result<Loaded, Complaint> {
    let mut warnings = Vec::new();
    let raw = raw::RawConfig::read(&properties::parse(bytes), &mut warnings)?;
    let settings = Settings::check(&raw, my_id, &mut warnings)?;
    Ok(Loaded { settings, warnings })
}
