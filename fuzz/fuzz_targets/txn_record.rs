//! Shell for libFuzzer; the body is `vivarium_core::fuzzing::txn_record`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| vivarium_core::fuzzing::txn_record(bytes));
