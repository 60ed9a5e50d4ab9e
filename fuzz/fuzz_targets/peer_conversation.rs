//! Shell for libFuzzer; the body is `vivarium_core::fuzzing::peer_conversation`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vivarium_core::fuzzing::peer_conversation(bytes));
