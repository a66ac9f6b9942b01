//! One file or folder per outside system.
//!
//! - `kube/`: Kubernetes clusters
//! - `registry/`: CNCF Distribution, supervised or external

pub mod kube;
pub mod registry;
