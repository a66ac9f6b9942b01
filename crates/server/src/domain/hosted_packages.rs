//! The packages and signatures of charts that accounts keep here, as files: which of them still belong to a version. A file is there
//! before its version is, and goes after it; what a server that died in between left is found when the next one starts.

use std::collections::HashSet;

use store::{chart_repos, charts};
use wire::chart_repos::ChartRepoBackend;
use wire::ids::ChartRepoId;

use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::chart_index::Version;
use crate::error::{Error, Result};

/// Removes those files of these that no version names any more.
pub(super) async fn forget(app: &App, digests: impl IntoIterator<Item = String>) -> Result<()> {
    let mut gone: Vec<String> = digests.into_iter().collect();
    if gone.is_empty() {
        return Ok(());
    }
    let named = named(app).await?;
    gone.retain(|digest| !named.contains(digest));
    let blobs = app.blobs.clone();
    blocking(move || gone.iter().try_for_each(|digest| blobs.delete(BlobKind::HostedChart, digest))).await
}

/// Removes every file that no version names; how many there were. A database without any such repository may be another one than
/// the files belong to: then nothing is removed.
pub(crate) async fn sweep(app: &App) -> Result<usize> {
    // Nobody stores one now whose version is still to come.
    let _guard = app.chart_syncs.packages.lock().await;
    let named = named(app).await?;
    if named.is_empty() {
        return Ok(0);
    }
    let blobs = app.blobs.clone();
    blocking(move || {
        let mut removed = 0;
        for name in blobs.names(BlobKind::HostedChart)? {
            if !named.contains(&name) {
                blobs.delete(BlobKind::HostedChart, &name)?;
                removed += 1;
            }
        }
        Ok(removed)
    })
    .await
}

/// The digests of all files that versions name.
async fn named(app: &App) -> Result<HashSet<String>> {
    let mut digests = HashSet::new();
    for repo in chart_repos::all(&app.db).await? {
        if repo.settings.backend == ChartRepoBackend::Hosted {
            digests.extend(of(app, repo.id).await?);
        }
    }
    Ok(digests)
}

/// The digests of the files that the versions of a repository name.
pub(super) async fn of(app: &App, repo: ChartRepoId) -> Result<HashSet<String>> {
    let mut digests = HashSet::new();
    for (id, _) in charts::hashes(&app.db, repo).await?.into_values() {
        for page in charts::versions(&app.db, id).await? {
            let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
            digests.extend(versions.into_iter().flat_map(|it| it.digest.into_iter().chain(it.provenance)));
        }
    }
    Ok(digests)
}
