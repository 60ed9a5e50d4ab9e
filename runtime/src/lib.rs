//! The Vivarium server around the machine of `vivarium-core`.
pub mod config;
