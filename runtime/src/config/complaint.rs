//! What is wrong with a configuration, said to the person who wrote it.

use std::fmt;
use std::path::{Path, PathBuf};

use super::place::Place;

/// A contradiction or a value that can not be used, before it is known which file it stands in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Complaint {
    /// Where to look; none when something is missing from the whole file.
    pub place: Option<Place>,
    pub text: String,
}

impl Complaint {
    pub fn at(place: Place, text: impl Into<String>) -> Self {
        Self {
            place: Some(place),
            text: text.into(),
        }
    }

    pub fn whole(text: impl Into<String>) -> Self {
        Self {
            place: None,
            text: text.into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some(place) => write!(f, "{place}: {}", self.text),
            None => write!(f, "{}", self.text),
        }
    }
}

/// Why there is no configuration.
#[derive(Debug)]
pub enum ConfigError {
    /// The file can not be read at all.
    Unreadable {
        path: PathBuf,
        error: std::io::Error,
    },
    /// The file was read, and says something that can not be done.
    Refused { path: PathBuf, complaint: Complaint },
}

impl ConfigError {
    pub(super) fn refused(path: &Path, complaint: Complaint) -> Self {
        Self::Refused {
            path: path.to_owned(),
            complaint,
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable { path, error } => {
                write!(
                    f,
                    "cannot read the configuration {}: {error}",
                    path.display()
                )
            }
            Self::Refused { path, complaint } => write!(f, "{}: {complaint}", path.display()),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Unreadable { error, .. } => Some(error),
            Self::Refused { .. } => None,
        }
    }
}
