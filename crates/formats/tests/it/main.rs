//! Everything that strangers send, fed to what reads it.
//!
//! - `fuzz.rs`: a corpus, and mutations of it that are the same in every run
//! - `targets/`: what is fed, and what must hold whatever it was; `fuzz/` feeds it for longer

mod fuzz;
mod targets;
