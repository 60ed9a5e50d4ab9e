//! Sessions: their ids and passwords.

pub mod id;
