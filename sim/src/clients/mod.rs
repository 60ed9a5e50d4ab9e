//! Simulated client programs: they speak the client protocol's bytes and tell the checkers what
//! they asked and heard.

pub mod ops;
