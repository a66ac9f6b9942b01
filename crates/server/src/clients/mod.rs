//! One file or folder per outside system.
//!
//! - `registry/`: CNCF Distribution, supervised or external

pub mod registry;
