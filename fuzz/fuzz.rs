//! Feeds one target, which the environment names (`LONGSHORE_FUZZ_TARGET`), with what libFuzzer makes up.
#![no_main]

use std::sync::OnceLock;

#[path = "../crates/formats/tests/it/targets/mod.rs"]
mod targets;

static TARGET: OnceLock<targets::Target> = OnceLock::new();

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let target = TARGET.get_or_init(|| {
        let wanted = std::env::var("LONGSHORE_FUZZ_TARGET").expect("LONGSHORE_FUZZ_TARGET names a target");
        let found = targets::ALL.iter().find(|(name, _)| *name == wanted);
        found.unwrap_or_else(|| panic!("there is no target `{wanted}`")).1
    });
    target(data);
});
