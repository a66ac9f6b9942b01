//! Where images are built in a cluster: a namespace of this installation, which holds nothing but jobs of builds.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;
use store::{builds, jobs};
use wire::ids::{BuildId, ClusterId};
use wire::names::{ClusterName, NamespaceName};

use super::{clusters, namespaces};
use crate::app::App;
use crate::clients::kube::build_objects::{BUILD_LABEL, BuildRoom};
use crate::clients::kube::{As, Cluster, INSTANCE_LABEL};
use crate::error::{Error, Result};

/// What the target of a cleaning begins with when it is a cluster: no machine is called so.
const CLUSTER_TARGET: &str = "cluster/";

/// How long and how often it is looked whether rights have come into force.
const RIGHTS_TRIES: u32 = 50;
const RIGHTS_PAUSE: Duration = Duration::from_millis(200);

/// A cluster with the namespace of builds.
pub(crate) struct Place {
    /// Which cluster.
    pub(crate) id: ClusterId,
    /// Its name.
    pub(crate) name: ClusterName,
    /// Its client.
    pub(crate) cluster: Cluster,
    /// The namespace.
    pub(crate) namespace: NamespaceName,
}

/// Where runs are built that are built in a cluster. Asks the cluster nothing yet.
pub(crate) async fn place(app: &App) -> Result<Place> {
    let config = &app.config.pipelines;
    let row = clusters::pick(app, config.cluster.as_ref()).await?;
    let cluster = clusters::client(app, &row).await?;
    Ok(Place { id: row.id, name: row.name, cluster, namespace: config.namespace.clone() })
}

impl Place {
    /// Makes the namespace and puts right what is not as it should be. One that was there before is never taken over.
    pub(crate) async fn furnish(&self, app: &App) -> Result<()> {
        let registry = registry_addresses(app).await?;
        let room = self.room(app, &registry);
        let found = match self.cluster.find(As::Longshore, &room.path()).await? {
            Some(found) => found,
            None => match self.cluster.create(As::Longshore, "/api/v1/namespaces", &room.namespace()).await {
                Ok(made) => made.body,
                Err(failure) if failure.is_exists() => self.cluster.get(As::Longshore, &room.path()).await?,
                Err(failure) => return Err(failure.into()),
            },
        };
        if !room.is_ours(&found) {
            let detail = format!(
                "cluster `{}` has a namespace `{}` that is not for this server's builds; it is left alone",
                self.name, self.namespace
            );
            return Err(Error::conflict("namespace_taken", detail)
                .hint("an admin sets `pipelines.namespace` to another name"));
        }
        if found["metadata"]["deletionTimestamp"].is_string() {
            let detail = format!("somebody deletes the namespace `{}` in the cluster", self.namespace);
            return Err(Error::unavailable("namespace_deleted", detail));
        }
        let mut namespace = room.namespace();
        // Only this very object: one that took its place meanwhile is somebody's.
        namespace["metadata"]["uid"] = found["metadata"]["uid"].clone();
        self.cluster.apply(As::Longshore, &room.path(), &namespace, true, false).await?;
        for (path, object) in room.content() {
            self.cluster.apply(As::Longshore, &path, &object, true, false).await?;
        }
        self.until_allowed().await?;
        let config = &app.config.pipelines;
        if config.cache_bytes > 0 {
            let claim = room.cache_claim(config.cache_bytes, config.cache_class.as_deref());
            let path = format!("{}/persistentvolumeclaims", room.path());
            match self.cluster.create(As::Tenant(&self.namespace), &path, &claim).await {
                Ok(_) => {}
                Err(failure) if failure.is_exists() => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    /// Waits until the cluster knows of rights that were given a moment ago.
    async fn until_allowed(&self) -> Result<()> {
        let mut tries = 1;
        loop {
            match self.cluster.get(As::Tenant(&self.namespace), &format!("{}?limit=1", self.jobs())).await {
                Ok(_) => return Ok(()),
                Err(failure) if failure.is_forbidden() && tries < RIGHTS_TRIES => tries += 1,
                Err(failure) => return Err(failure.into()),
            }
            tokio::time::sleep(RIGHTS_PAUSE).await;
        }
    }

    /// The namespace as it shall be.
    pub(crate) fn room<'a>(&'a self, app: &'a App, registry: &'a [(IpAddr, u16)]) -> BuildRoom<'a> {
        BuildRoom {
            instance: app.instance,
            name: &self.namespace,
            registry,
            allow: &app.config.outbound.allow,
        }
    }

    /// Removes a job with its pod; whether there was one.
    pub(crate) async fn remove_job(&self, job: &Value) -> Result<bool> {
        let meta = &job["metadata"];
        let name = meta["name"].as_str().unwrap_or_default();
        let path = format!("{}/{name}", self.jobs());
        Ok(self.cluster.delete(As::Tenant(&self.namespace), &path, meta["uid"].as_str()).await?)
    }

    /// The path of its jobs.
    pub(crate) fn jobs(&self) -> String {
        format!("/apis/batch/v1/namespaces/{}/jobs", self.namespace)
    }
}

/// The registry's name for pods.
pub(crate) fn registry_name(app: &App) -> String {
    namespaces::registry_address(app)
}

/// Whether the registry is asked in the clear: its door speaks no TLS, and no port of it is one where others do.
fn is_in_the_clear(app: &App) -> bool {
    let name = registry_name(app);
    let port = name.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    app.tls.registry_acceptor().is_none() && port.is_some_and(|port| port != 443)
}

async fn registry_addresses(app: &App) -> Result<Vec<(IpAddr, u16)>> {
    let name = registry_name(app);
    let has_port = name.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let place = if has_port { name.clone() } else { format!("{name}:443") };
    let found = tokio::net::lookup_host(&place).await.map_err(|error| {
        Error::unavailable("registry_unknown", format!("the registry's name `{name}` leads nowhere: {error}"))
            .hint("`registry_advertise` is the registry's name for pods")
    })?;
    let mut addresses: Vec<_> = found.map(|address| (address.ip(), address.port())).collect();
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

/// What buildah is told of registries: how ours is reached, whichever of its names a Dockerfile has.
pub(crate) fn registries(app: &App) -> String {
    let (name, insecure) = (registry_name(app), is_in_the_clear(app));
    let here = app.config.registry_listen.to_string();
    let others = (here != name).then_some(here);
    let names = std::iter::once(name.clone()).chain(others);
    let each = names.map(|prefix| {
        format!("[[registry]]\nprefix = \"{prefix}\"\nlocation = \"{name}\"\ninsecure = {insecure}\n")
    });
    format!("unqualified-search-registries = [\"docker.io\"]\n{}", each.collect::<String>())
}

/// Asks that what ended builds left in a cluster be removed.
pub(crate) async fn enqueue_cleaning(app: &App, conn: &impl store::Conn, cluster: ClusterId) -> Result<()> {
    let now = app.now();
    let target = format!("{CLUSTER_TARGET}{cluster}");
    let job =
        jobs::New { kind: jobs::Kind::CleanBuilds, target: &target, account_id: None, run_at: now, now };
    jobs::enqueue(conn, &job).await?;
    Ok(())
}

/// The cluster that a cleaning is for, if it is for one.
pub(crate) fn cluster_of_target(target: &str) -> Option<ClusterId> {
    target.strip_prefix(CLUSTER_TARGET)?.parse().ok()
}

/// Removes the jobs of builds that have ended.
pub(crate) async fn clean(app: &App, id: ClusterId) -> Result<()> {
    let Some(row) = store::clusters::get(&app.db, id).await? else { return Ok(()) };
    let cluster = clusters::client(app, &row).await?;
    let namespace = app.config.pipelines.namespace.clone();
    let place = Place { id, name: row.name, cluster, namespace };
    let selector = format!("{INSTANCE_LABEL}%3D{}", app.instance);
    let path = format!("{}?labelSelector={selector}", place.jobs());
    let listed = match place.cluster.get(As::Tenant(&place.namespace), &path).await {
        Ok(listed) => listed,
        // No namespace, no jobs.
        Err(failure) if failure.is_not_found() || failure.is_forbidden() => return Ok(()),
        Err(failure) => return Err(failure.into()),
    };
    // Read after the list: a job is made after its build is there.
    let unfinished = builds::unfinished(&app.db).await?;
    for job in listed["items"].as_array().into_iter().flatten() {
        let build = job["metadata"]["labels"][BUILD_LABEL].as_str().unwrap_or_default();
        let build = build.parse::<BuildId>().ok();
        if build.is_some_and(|build| unfinished.iter().any(|row| row.id == build)) {
            continue;
        }
        place.remove_job(job).await?;
    }
    Ok(())
}
