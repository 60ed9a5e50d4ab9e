//! Shell for libFuzzer; the body is `vivarium_storage::fuzzing::snapshot_file`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vivarium_storage::fuzzing::snapshot_file(bytes));
