//! The parts of the binary that the integration tests use too: only this crate sees both the server and the agent.

pub mod in_process;
pub mod join;
pub mod run;
pub mod service;
