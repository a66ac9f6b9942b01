//! One file or folder per outside system.
//!
//! - `git/`: git servers, through the `git` program
//! - `helm`: releases, through the `helm` program
//! - `helm_repo`: indexes of Helm repositories
//! - `http_out/`: whatever people give an address of, with the rule which addresses may be reached
//! - `kube/`: Kubernetes clusters
//! - `registry/`: CNCF Distribution, supervised or external

pub mod git;
pub mod git_api;
pub mod helm;
pub mod helm_repo;
pub mod http_out;
pub mod kube;
pub mod notify;
pub mod registry;
