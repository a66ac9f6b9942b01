//! One file or folder per outside system.
//!
//! - `foreign_registry`: registries that people name, to which images are copied
//! - `git/`: git servers, through the `git` program; `git_api`: telling them how commits fare
//! - `helm`: releases, through the `helm` program
//! - `helm_repo`: indexes of Helm repositories
//! - `http_out/`: whatever people give an address of, with the rule which addresses may be reached
//! - `kube/`: Kubernetes clusters
//! - `mail`: e-mail
//! - `notify`: programs and group robots that hear of runs
//! - `registry/`: CNCF Distribution, supervised or external

pub mod foreign_registry;
pub mod git;
pub mod git_api;
pub mod helm;
pub mod helm_repo;
pub mod http_out;
pub mod kube;
pub mod mail;
pub mod notify;
pub mod oci_charts;
pub mod registry;
