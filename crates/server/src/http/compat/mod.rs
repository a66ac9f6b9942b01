//! The routes of the seed documents: their spelling, over the functions of the domain.
//!
//! - `paas.rs`: seed 000; `gpu_platform.rs`: seed 001; `ci_portal/`: seed 002; `helm_repos.rs`, `helm_charts.rs`: seed 004

pub mod ci_portal;
pub mod gpu_platform;
pub mod helm_charts;
pub mod helm_repos;
pub mod paas;
