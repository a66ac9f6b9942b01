//! Reads what strangers send, byte by byte and within bounds: nothing here knows a network, a database or an account, so that all of it
//! can be fed with anything (`tests/it/fuzz.rs`, `scripts/fuzz`).
//!
//! - `archive/`: zip and tar → a safe tar, without touching the disk
//! - `chart_index/`: the index of a Helm repository, entry by entry
//! - `chart_package`: the package of a chart, as a stream
//! - `key_ring`: public keys in armor
//! - `values_form/`: a form of a chart's values, made of their comments and the schema

pub mod archive;
pub mod chart_index;
pub mod chart_package;
pub mod key_ring;
pub mod values_form;
