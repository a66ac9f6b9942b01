//! Integration tests: one binary, real parts. A part that is missing fails the run unless `LONGSHORE_TEST_SKIP` names it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test that cannot go on fails, and says what it saw"
)]

mod accounts;
mod acme;
mod applications;
mod authz;
mod bad_networks;
mod builds;
mod cdi;
mod chart_faults;
mod chart_pushes;
mod chart_repos;
mod charts;
mod ci_portal;
mod cli;
mod climc;
mod cluster_builds;
mod cluster_restarts;
mod clusters;
mod collections;
mod console;
mod containers;
mod database;
mod deploys;
mod documents;
mod dogfood;
mod engine;
mod engine_secrets;
mod events;
mod faults;
mod files;
mod first_deploys;
mod git_repo_secrets;
mod gpu_platform;
mod gpus;
mod hosted_charts;
mod images;
mod installation;
mod large_files;
mod lease_faults;
mod leases;
mod levels;
mod link;
mod logs;
mod machine_images;
mod machines;
mod namespaces;
mod networks;
mod notifications;
mod oci_charts;
mod openapi;
mod pipeline_attacks;
mod pipelines;
mod pod_gpus;
mod pod_logs;
mod provenance;
mod pushed_releases;
mod quotas;
mod reach;
mod registry;
mod registry_tls;
mod release_faults;
mod releases;
mod restarts;
mod run_faults;
mod run_kills;
mod run_uploads;
mod saves;
mod service;
mod settings;
mod stats;
mod story;
mod support;
mod terminals;
mod tidy;
mod updates;
mod uploads;
mod volumes;
mod webhooks;
mod workload_attacks;
mod workload_faults;
mod workloads;
