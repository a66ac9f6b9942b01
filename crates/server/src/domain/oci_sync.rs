//! Syncs charts that are in a registry: which there are is asked each time, what they are only of those that are new. Digests are
//! remembered, and those of the newest looked at again, so that a tag that was moved is seen. Charts in our own registry come from
//! the database, by the rights of whoever has the repository.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::{Duration, Instant};

use futures::future::join_all;
use sha2::{Digest as _, Sha256};
use store::chart_repos::{Known, Row};
use store::{accounts, charts};
use wire::accounts::{AccountState, Role};
use wire::ids::{AccountId, ChartRepoId};
use wire::names::{AccountName, Digest};

use super::chart_sync::Read;
use super::hosted_charts;
use crate::app::App;
use crate::chart_index::{Chart, Index, Metadata, Version, chart_of, parse_version};
use crate::clients::helm_repo::{Source, Validators};
use crate::clients::http_out;
use crate::clients::oci_charts::{OciCharts, Place, place_of};
use crate::clients::registry::manifest::{MAX_PROVENANCE_BYTES, version_of};
use crate::error::{Error, ErrorKind, Result};

/// Versions that one sync reads; the others have their turn at the next.
const MAX_NEW: usize = 500;
/// Versions of one chart, the greatest.
const MAX_VERSIONS: usize = 2000;
/// The newest versions of a chart that are looked at each time.
const LOOKED_AT: usize = 5;
/// The same of all charts together.
const MAX_LOOKED_AT: usize = 100;
/// Requests to a registry at the same time.
const PARALLEL: usize = 4;
/// Problems that are told.
const MAX_PROBLEMS: usize = 50;

/// A chart in a registry: its repository there, and its tags, the greatest version first.
struct Listed {
    repository: String,
    tags: Vec<String>,
}

/// Which version of a repository has which manifest.
type Digests = BTreeMap<(String, String), Digest>;

/// Whether a place is in our own registry.
fn is_own(app: &App, place: &Place) -> bool {
    let Some(host) = place.base.host_str() else { return false };
    let port = place.base.port_or_known_default().unwrap_or_default();
    let with_port = format!("{host}:{port}");
    let here = [app.config.registry_name(), app.config.registry_listen.to_string()];
    here.iter().any(|name| *name == with_port || name == host)
}

/// Whether an address is that of charts in our own registry.
pub(super) fn is_here(app: &App, url: &str) -> bool {
    matches!(place_of(url), Some(Ok(place)) if is_own(app, &place))
}

/// Reads what is there, if it is something else than what is known.
pub(super) async fn read(
    app: &App,
    account: AccountId,
    repo: Option<ChartRepoId>,
    source: &Source,
    place: &Place,
    known: &Known,
) -> Result<Read> {
    if is_own(app, place) {
        return read_own(app, account, place, known).await;
    }
    let patience = Duration::from_secs(app.config.charts.fetch_secs);
    let reading = read_foreign(app, repo, source, place, known, patience / 2);
    let late = |_| Err(http_out::timed_out("the registry did not answer in time"));
    tokio::time::timeout(patience, reading).await.unwrap_or_else(late)
}

async fn read_foreign(
    app: &App,
    repo: Option<ChartRepoId>,
    source: &Source,
    place: &Place,
    known: &Known,
    patience: Duration,
) -> Result<Read> {
    let until = Instant::now() + patience;
    let registry = OciCharts::registry(source, place);
    let there = OciCharts::new(&app.outbound, &registry, &place.path);
    let mut index = Index::default();
    let listed = sorted(there.list().await?, &mut index);
    let total: u64 = listed.values().map(|chart| chart.tags.len() as u64).sum();
    if total > app.config.charts.versions {
        let limit = app.config.charts.versions;
        return Err(Error::new(
            ErrorKind::BadGateway,
            "index_too_large",
            format!("there are more than {limit} versions"),
        )
        .hint("an admin can allow more versions with `charts.versions`"));
    }
    let moved = if known.body_hash.is_some() { look(&there, &listed).await? } else { Digests::new() };
    if known.body_hash.is_some() && known.body_hash == Some(mark(&listed, &moved)) {
        return Ok(Read::Same { fetched_bytes: there.fetched_bytes() });
    }
    let mut stored = match repo {
        Some(repo) => stored_charts(app, repo).await?,
        None => BTreeMap::new(),
    };
    let mut reader = Reader { there: &there, place, moved: &moved, until, left: MAX_NEW, is_whole: true };
    for (name, chart) in &listed {
        let before = stored.remove(name).unwrap_or_default();
        if let Some(chart) = reader.chart(name, chart, before, &mut index).await? {
            index.versions += chart.versions.len() as u64;
            index.charts.insert(name.clone(), chart);
        }
    }
    if !reader.is_whole {
        tell(
            &mut index,
            "there are more new versions than one sync reads; the others are read at the next".to_owned(),
        );
    }
    let is_whole = reader.is_whole;
    let body_hash = is_whole.then(|| mark(&listed, &digests_of(&listed, &index)));
    let validators = Validators { body_hash, ..Validators::default() };
    let fetched_bytes = there.fetched_bytes();
    Ok(Read::New { index, validators, fetched_bytes, index_bytes: 0 })
}

/// Charts by name, with the tags that are versions.
fn sorted(all: BTreeMap<String, Vec<String>>, index: &mut Index) -> BTreeMap<String, Listed> {
    let mut charts = BTreeMap::new();
    for (repository, mut tags) in all {
        let name = repository.rsplit('/').next().unwrap_or(&repository).to_owned();
        let before = tags.len();
        tags.retain(|tag| parse_version(&version_of(tag)).is_some());
        index.skipped += (before - tags.len()) as u64;
        tags.sort_by_cached_key(|tag| std::cmp::Reverse(parse_version(&version_of(tag))));
        tags.dedup();
        if tags.len() > MAX_VERSIONS {
            skip(
                index,
                &name,
                &format!("it has {} versions; the greatest {MAX_VERSIONS} are kept", tags.len()),
            );
            tags.truncate(MAX_VERSIONS);
        }
        if tags.is_empty() {
            continue;
        }
        if charts.contains_key(&name) {
            skip(index, &name, &format!("`{repository}` has the name of another chart"));
            continue;
        }
        charts.insert(name, Listed { repository, tags });
    }
    charts
}

fn skip(index: &mut Index, chart: &str, why: &str) {
    index.skipped += 1;
    tell(index, format!("`{chart}`: {why}"));
}

fn tell(index: &mut Index, problem: String) {
    if index.problems.len() < MAX_PROBLEMS {
        index.problems.push(problem);
    }
}

/// The tags that are looked at each time.
fn newest(listed: &BTreeMap<String, Listed>) -> impl Iterator<Item = (&str, &str)> {
    let of = |chart: &'_ Listed| chart.tags.len().min(LOOKED_AT);
    listed
        .values()
        .flat_map(move |chart| {
            chart.tags[..of(chart)].iter().map(|tag| (chart.repository.as_str(), tag.as_str()))
        })
        .take(MAX_LOOKED_AT)
}

/// Where the newest tags lead now.
async fn look(there: &OciCharts<'_>, listed: &BTreeMap<String, Listed>) -> Result<Digests> {
    let all: Vec<(&str, &str)> = newest(listed).collect();
    let mut digests = Digests::new();
    for some in all.chunks(PARALLEL) {
        let asked = join_all(some.iter().map(|(repository, tag)| there.digest(repository, tag))).await;
        for ((repository, tag), digest) in some.iter().zip(asked) {
            digests.insert(((*repository).to_owned(), (*tag).to_owned()), digest?);
        }
    }
    Ok(digests)
}

/// Where the newest tags led when they were read.
fn digests_of(listed: &BTreeMap<String, Listed>, index: &Index) -> Digests {
    let mut digests = Digests::new();
    for (repository, tag) in newest(listed) {
        let name = repository.rsplit('/').next().unwrap_or(repository);
        let wanted = version_of(tag);
        let versions = index.charts.get(name).map(|chart| chart.versions.as_slice()).unwrap_or_default();
        let version = versions.iter().find(|version| version.version == wanted);
        let digest = version.and_then(|version| version.urls.first()?.rsplit_once('@')?.1.parse().ok());
        if let Some(digest) = digest {
            digests.insert((repository.to_owned(), tag.to_owned()), digest);
        }
    }
    digests
}

/// The mark of a state: all names and tags, and where the newest tags lead.
fn mark(listed: &BTreeMap<String, Listed>, digests: &Digests) -> String {
    let mut hash = Sha256::new();
    for chart in listed.values() {
        hash.update(format!("{} {}\n", chart.repository, chart.tags.len()));
        chart.tags.iter().for_each(|tag| hash.update(format!("{tag}\n")));
    }
    for ((repository, tag), digest) in digests {
        hash.update(format!("{repository}:{tag}@{digest}\n"));
    }
    hex::encode(hash.finalize())
}

/// Reads what is new of charts.
struct Reader<'a> {
    there: &'a OciCharts<'a>,
    place: &'a Place,
    moved: &'a Digests,
    until: Instant,
    left: usize,
    is_whole: bool,
}

impl Reader<'_> {
    async fn chart(
        &mut self,
        name: &str,
        listed: &Listed,
        before: (Metadata, Vec<Version>),
        index: &mut Index,
    ) -> Result<Option<Chart>> {
        let (mut metadata, before) = before;
        let mut before: BTreeMap<String, Version> =
            before.into_iter().map(|version| (version.version.clone(), version)).collect();
        let (mut versions, mut wanted) = (Vec::new(), Vec::new());
        for tag in &listed.tags {
            let old = before.remove(&version_of(tag));
            let said = self.moved.get(&(listed.repository.clone(), tag.clone()));
            match old {
                Some(old) if said.is_none_or(|said| leads_to(&old, said)) => versions.push(old),
                old => wanted.push((tag.as_str(), old)),
            }
        }
        let mut best: Option<(Version, Metadata)> = None;
        for some in wanted.chunks(PARALLEL) {
            if self.left == 0 || Instant::now() > self.until {
                self.is_whole = false;
                versions.extend(some.iter().filter_map(|(_, old)| old.clone()));
                continue;
            }
            self.left = self.left.saturating_sub(some.len());
            let read =
                join_all(some.iter().map(|(tag, _)| self.version(name, &listed.repository, tag))).await;
            for ((tag, _), read) in some.iter().zip(read) {
                match read? {
                    Ok((version, metadata)) => {
                        versions.push(version.clone());
                        let is_better = |(known, _): &(Version, Metadata)| match (
                            parse_version(&version.version),
                            parse_version(&known.version),
                        ) {
                            (Some(new), Some(known)) => new.is_better_than(&known),
                            _ => false,
                        };
                        if best.as_ref().is_none_or(is_better) {
                            best = Some((version, metadata));
                        }
                    }
                    Err(why) => skip(index, name, &format!("`{tag}`: {why}")),
                }
            }
        }
        if versions.is_empty() {
            return Ok(None);
        }
        let mut chart = Chart::of(Metadata::default(), versions);
        // What a chart says of itself is what its best version says.
        if let Some((version, told)) = best
            && chart.best_version().is_some_and(|best| best.version == version.version)
        {
            metadata = told;
        }
        chart.metadata = metadata;
        Ok(Some(chart))
    }

    /// Reads a version, or why it is none.
    async fn version(
        &self,
        name: &str,
        repository: &str,
        tag: &str,
    ) -> Result<Result<(Version, Metadata), String>> {
        let Some(found) = self.there.chart(repository, tag).await? else {
            return Ok(Err("it is no chart".to_owned()));
        };
        let said = self.there.config(repository, &found.chart.config.digest).await?;
        let (said_name, version, metadata) = match chart_of(&said) {
            Ok(read) => read,
            Err(why) => return Ok(Err(why)),
        };
        if said_name != name || version.version != version_of(tag) {
            return Ok(Err(format!("it says that it is `{said_name}` {}", version.version)));
        }
        let authority =
            self.place.base.as_str().split_once("://").map_or("", |(_, rest)| rest.trim_end_matches('/'));
        let version = Version {
            created: found.created,
            digest: Some(hex_of(&found.chart.package.digest)),
            urls: vec![format!("oci://{authority}/{repository}:{tag}@{}", found.digest)],
            ..version
        };
        Ok(Ok((version, metadata)))
    }
}

fn leads_to(version: &Version, digest: &Digest) -> bool {
    version.urls.iter().any(|url| url.rsplit_once('@').is_some_and(|(_, known)| known == digest.as_str()))
}

fn hex_of(digest: &Digest) -> String {
    digest.as_str().trim_start_matches("sha256:").to_owned()
}

/// The charts that a repository has in the database.
async fn stored_charts(app: &App, repo: ChartRepoId) -> Result<BTreeMap<String, (Metadata, Vec<Version>)>> {
    let mut all = BTreeMap::new();
    for (name, (id, _)) in charts::hashes(&app.db, repo).await? {
        let metadata = hosted_charts::metadata_of(app, repo, &name).await?;
        let mut versions = Vec::new();
        for page in charts::versions(&app.db, id).await? {
            let page: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
            versions.extend(page);
        }
        all.insert(name, (metadata, versions));
    }
    Ok(all)
}

/// The own charts of the account behind a repository that is a place in our own registry, if its owner may have them.
pub(super) async fn charts_behind(app: &App, repo: &Row) -> Result<Option<Row>> {
    match place_of(&repo.settings.url) {
        Some(Ok(place)) if is_own(app, &place) => own_charts(app, repo.account_id, &place).await.map(Some),
        _ => Ok(None),
    }
}

/// The own charts of the account that a place in our registry names, if this account may have them.
async fn own_charts(app: &App, account: AccountId, place: &Place) -> Result<Row> {
    let none = || {
        Error::new(
            ErrorKind::BadGateway,
            "index_missing",
            "there are no charts at this address of this server's registry",
        )
        .hint("the address is `oci://REGISTRY/ACCOUNT`, or one chart of it, once charts were pushed there")
    };
    let owner = place.path.split('/').next().unwrap_or_default();
    let owner: AccountName = owner.parse().map_err(|_| none())?;
    let owner = accounts::by_name(&app.db, &owner).await?.ok_or_else(none)?;
    let charts = hosted_charts::find(app, owner.id).await?.ok_or_else(none)?;
    let asker = accounts::get(&app.db, account).await?.filter(|asker| asker.state == AccountState::Active);
    let is_admin = asker.as_ref().is_some_and(|asker| asker.role == Role::Admin);
    let may = asker.is_some_and(|asker| asker.id == owner.id) || is_admin || charts.settings.is_public;
    if may { Ok(charts) } else { Err(none()) }
}

async fn read_own(app: &App, account: AccountId, place: &Place, known: &Known) -> Result<Read> {
    let charts = own_charts(app, account, place).await?;
    let only = place.path.split_once('/').map(|(_, chart)| chart);
    let mut index = Index::default();
    let mut hash = Sha256::new();
    for (name, (metadata, mut versions)) in stored_charts(app, charts.id).await? {
        if only.is_some_and(|only| only != name) {
            continue;
        }
        for version in &mut versions {
            hash.update(
                serde_json::to_vec(&(&name, &version.version, &version.digest)).map_err(Error::internal)?,
            );
            let tag = crate::clients::registry::manifest::tag_of(&version.version);
            version.urls =
                vec![format!("oci://{}/{}/{name}:{tag}", app.config.registry_name(), charts.account)];
        }
        index.versions += versions.len() as u64;
        index.charts.insert(name, Chart::of(metadata, versions));
    }
    let mark = hex::encode(hash.finalize());
    if known.body_hash.as_deref() == Some(&mark) {
        return Ok(Read::Same { fetched_bytes: 0 });
    }
    let validators = Validators { body_hash: Some(mark), ..Validators::default() };
    Ok(Read::New { index, validators, fetched_bytes: 0, index_bytes: 0 })
}

/// The signature of a version, of the manifest that it was read with; none when it has none.
pub(super) async fn signature(
    app: &App,
    repo: &Row,
    source: &Source,
    place: &Place,
    version: &Version,
    patience: Duration,
) -> Result<Option<File>> {
    if is_own(app, place) {
        own_charts(app, repo.account_id, place).await?;
        return match &version.provenance {
            Some(digest) => Ok(Some(hosted_charts::open(app, digest).await?.0)),
            None => Ok(None),
        };
    }
    let Some((repository, digest)) = manifest_of(version) else { return Ok(None) };
    let registry = OciCharts::registry(source, place);
    let there = OciCharts::new(&app.outbound, &registry, &place.path);
    let found = there.chart(repository, digest).await?;
    let Some(signature) = found.and_then(|found| found.chart.provenance) else { return Ok(None) };
    let blob = there.blob(&app.blobs, repository, &signature.digest, MAX_PROVENANCE_BYTES, patience).await?;
    if blob.1 != hex_of(&signature.digest) {
        return Err(Error::new(
            ErrorKind::BadGateway,
            "digest_mismatch",
            "the registry sent another signature than its manifest names",
        ));
    }
    Ok(Some(blob.0))
}

/// The repository and the manifest's digest of `oci://host/repository:tag@digest`, as it was written here.
fn manifest_of(version: &Version) -> Option<(&str, &str)> {
    let (_, path) = version.urls.first()?.strip_prefix("oci://")?.split_once('/')?;
    let (named, digest) = path.split_once('@')?;
    Some((named.rsplit_once(':')?.0, digest))
}

/// Fetches the package of a version by the digest that it was read with: the file from anywhere, its SHA-256 in hex, its length.
pub(super) async fn package(
    app: &App,
    repo: &Row,
    source: &Source,
    place: &Place,
    version: &Version,
    patience: Duration,
) -> Result<(File, String, u64)> {
    let broken =
        || Error::internal(format!("version {} of a chart in a registry has no address", version.version));
    let digest = version.digest.as_deref().ok_or_else(broken)?;
    if is_own(app, place) {
        own_charts(app, repo.account_id, place).await?;
        let (file, bytes) = hosted_charts::open(app, digest).await?;
        return Ok((file, digest.to_owned(), bytes));
    }
    let (repository, _) = manifest_of(version).ok_or_else(broken)?;
    let digest: Digest = format!("sha256:{digest}").parse().map_err(|_| broken())?;
    let registry = OciCharts::registry(source, place);
    let there = OciCharts::new(&app.outbound, &registry, &place.path);
    there.blob(&app.blobs, repository, &digest, app.config.charts.package_bytes, patience).await
}
