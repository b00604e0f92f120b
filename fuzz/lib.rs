//! The targets, as libFuzzer calls them (`fuzz_targets`).

pub mod targets;
