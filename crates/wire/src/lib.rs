//! What crosses a process boundary and nothing else: ids, validated names, requests, views, the error body and the
//! calls of the agent link. No I/O and no runtime: browsers, the CLI, the server and the agent agree here.
//!
//! - `ids`, `names`, `time`, `secret`: the small types that everything else is made of
//! - `problem`, `page`: the shape of errors and of lists
//! - `accounts`, `audit`, `builds`, `chart_repos`, `charts`, `containers`, `container_uses`, `git_repos`, `git_repo_secrets`, `gpus`, `images`, `invites`, `machine_images`, `machines`, `queue`, `quotas`, `releases`, `runs`, `settings`, `deploys`, `notifications`, `webhooks`: one file per noun, requests and views
//! - `policy`: what a container may ask for; checked by the server and again by the agent
//! - `files`: files in containers, `saves`: containers as images, `limits`: what containers may use, `volumes`: folders that
//!   outlive them, all with their link calls
//! - `clusters`, `namespaces`, `workloads`: Kubernetes
//! - `terminals`: commands in containers, and what a viewer and the server say to each other on their WebSocket
//! - `link`: the calls between server and agent; `frames`: pieces of a byte stream that belong together

pub mod accounts;
pub mod audit;
pub mod builds;
pub mod chart_keys;
pub mod chart_repos;
pub mod charts;
pub mod clusters;
pub mod container_uses;
pub mod containers;
pub mod deploys;
pub mod disk_uses;
mod double_option;
pub mod files;
pub mod frames;
pub mod git_repo_secrets;
pub mod git_repos;
pub mod gpus;
pub mod ids;
pub mod images;
pub mod invites;
pub mod limits;
pub mod link;
pub mod machine_images;
pub mod machines;
pub mod names;
pub mod namespaces;
pub mod notifications;
pub mod page;
pub mod policy;
pub mod problem;
pub mod queue;
pub mod quotas;
pub mod registry;
pub mod releases;
pub mod runs;
pub mod saves;
pub mod secret;
pub mod settings;
pub mod terminals;
pub mod time;
pub mod values_form;
pub mod volumes;
pub mod webhooks;
pub mod workloads;
