//! One file or folder per outside system.
//!
//! - `http_out/`: whatever people give an address of, with the rule which addresses may be reached
//! - `kube/`: Kubernetes clusters
//! - `registry/`: CNCF Distribution, supervised or external

pub mod http_out;
pub mod kube;
pub mod registry;
