//! Kubernetes clusters: the only place that names the library for them. What belongs to an account is asked for in the name of
//! the service account that is made for it in its namespace, so that the cluster's own rules hold beside ours.
//!
//! - `kubeconfig`: what opens a cluster, taken out of a kubeconfig and nothing else with it
//! - `cluster`: requests to one cluster; `failure`: what can come of them; `exec`: commands in pods;
//!   `forward`: connections to ports of pods;
//!   `mirror`: what there is, kept by a watch; `pods`: what is kept of a pod
//! - `objects`: the objects that make a namespace an account's room; `build_objects`: those by which images are built;
//!   `role`: what a cluster has to allow us

pub mod build_objects;
mod cluster;
mod exec;
mod failure;
mod forward;
pub mod kubeconfig;
mod mirror;
pub mod objects;
mod pods;
pub mod role;

pub use cluster::{Answer, As, Cluster, Clusters};
pub use failure::Failure;
pub use forward::{PodPort, PodStream};
pub use mirror::{KEPT, Mirror, Mirrors, News, PODS};
pub use pods::{Container, ContainerState, ContainerStatus, Pod};

/// The name of what we make in each namespace: service account, quota, limits, policy, binding.
pub const OWN_NAME: &str = "longshore";
/// The secret by which a namespace's pods pull their account's images.
pub const PULL_SECRET: &str = "longshore-pull";
/// The role that an account has in its namespaces, made once per cluster.
pub const TENANT_ROLE: &str = "longshore-tenant";
/// Says which row of ours an object belongs to.
pub const NAMESPACE_LABEL: &str = "longshore.io/namespace";
/// Says which release of ours an object belongs to.
pub const RELEASE_LABEL: &str = "longshore.io/release";
/// Says which operation of ours made a revision of a release.
pub const OPERATION_LABEL: &str = "longshore.io/operation";
/// Says which installation made an object.
pub const INSTANCE_LABEL: &str = "longshore.io/instance";
/// Says whose a namespace is, by the account's number.
pub const ACCOUNT_LABEL: &str = "longshore.io/account";
