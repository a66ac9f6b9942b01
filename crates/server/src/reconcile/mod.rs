//! Makes the world match the store. A reconciler takes no input: it looks at what is wanted and at what is, and does the
//! next step; it is woken by a signal or a timer, and running it twice does nothing twice.
//!
//! - `machines`: follows what machines and their containers do
//! - `observed`: what they were last seen doing, in memory
//! - `containers`: makes containers as their owners want them; `plan`: which step is next; `effects`: how it is done
//! - `machine_images`: what the machines have, fetching, making room
//! - `disk_uses`: counts what accounts hold on machines' disks
//! - `durations`: stops containers whose time is over
//! - `line`: gives graphics processors to those who wait for them
//! - `volumes`: removes those that are to go
//! - `clusters`: asks Kubernetes clusters whether they can be used
//! - `namespaces`: keeps accounts' namespaces in clusters as they should be
//! - `pod_gpus`: keeps what pods may have of graphics processors in step with what containers have
//! - `workloads`: finishes what an earlier server left half done in clusters
//! - `git_repos`: looks for new commits
//! - `chart_repos`: syncs chart repositories when their time has come
//! - `expired`: removes what has outlived its time
//! - `backoff`: waits between tries

mod backoff;
mod chart_repos;
mod clusters;
mod containers;
mod disk_uses;
mod durations;
mod effects;
mod expired;
mod git_repos;
mod line;
mod machine_images;
mod machines;
mod namespaces;
mod observed;
mod plan;
mod pod_gpus;
mod volumes;
mod workloads;

use std::sync::Arc;

use crate::app::App;

/// Starts all reconcilers; they end with the server.
pub fn start(app: &App) {
    let world = Arc::new(observed::World::default());
    app.spawn(chart_repos::run(app.clone()));
    app.spawn(expired::run(app.clone()));
    app.spawn(disk_uses::run(app.clone()));
    app.spawn(durations::run(app.clone()));
    app.spawn(clusters::run(app.clone()));
    app.spawn(namespaces::run(app.clone()));
    app.spawn(pod_gpus::run(app.clone()));
    app.spawn(workloads::run(app.clone()));
    app.spawn(git_repos::run(app.clone()));
    app.spawn(line::run(app.clone()));
    app.spawn(volumes::run(app.clone()));
    app.spawn(machine_images::run(app.clone()));
    app.spawn(machines::run(app.clone(), Arc::clone(&world)));
    app.spawn(containers::run(app.clone(), world));
}
