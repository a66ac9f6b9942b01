//! Charts that accounts keep here: each account has one repository of its own, made with its first chart, whose index and packages
//! this server serves. A version that is there is not replaced: whoever means another one gives it another number.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};

use sha2::{Digest as _, Sha256};
use store::chart_repos::{self, Known, Outcome, Row, Settings, Viewer};
use store::{Tx, charts};
use wire::chart_repos::{ChartRepoBackend, ChartRepoKind};
use wire::charts::{ChartVersionView, DigestCheck};
use wire::ids::{AccountId, ChartRepoId};
use wire::names::AccountName;
use wire::time::Timestamp;

use super::audit::{self, Event};
use super::chart_sync::Prepared;
use super::charts::{Fetched, version_view};
use super::images::NewImage;
use super::{hosted_packages, provenance};
use crate::app::App;
use crate::blobs::{BlobKind, Upload, blocking};
use crate::caller::Caller;
use crate::chart_index::{self, Chart, Version};
use crate::chart_package::{self, KNOWN_TEXTS, LIMITS};
use crate::error::{Error, ErrorKind, Result};

/// Tries when somebody else changes the same repository at the same time.
const TRIES: usize = 5;
/// Versions that one account may keep here.
const MAX_VERSIONS: u64 = 5_000;

/// A chart that was uploaded.
#[derive(Clone, Debug)]
pub struct Uploaded {
    /// The repository that has it.
    pub repo: ChartRepoId,
    /// The chart's name.
    pub name: String,
    /// What was stored.
    pub version: ChartVersionView,
}

/// Stores a package in the caller's own repository, or in another account's when an admin does it.
pub async fn upload(
    app: &App,
    caller: &Caller,
    owner: &str,
    package: Upload,
    provenance: Option<Vec<u8>>,
) -> Result<Uploaded> {
    let owner = owner_of(app, caller, owner).await?;
    let limit = app.config.charts.package_bytes;
    if package.bytes == 0 {
        return Err(Error::new(ErrorKind::Invalid, "upload_empty", "nothing was uploaded"));
    }
    if package.bytes > limit {
        let detail = format!("the package is larger than the {} MiB that this server takes", limit >> 20);
        return Err(Error::new(ErrorKind::TooLarge, "too_large", detail));
    }
    let looked = look_into(package).await?;
    let (name, bytes) = (looked.name.clone(), looked.bytes);
    let addition = Addition {
        name: looked.name,
        version: looked.version,
        metadata: looked.metadata,
        digest: looked.digest,
        provenance,
        image: None,
    };
    let (repo, version) = keep_and_add(app, caller, &owner, looked.file, addition).await?;
    tracing::debug!(chart = name, bytes, "a chart was uploaded");
    Ok(Uploaded { repo, name, version: version_view(version) })
}

/// What is added to an account's charts.
#[derive(Clone, Debug)]
pub(super) struct Addition {
    /// The chart's name.
    pub(super) name: String,
    /// The version.
    pub(super) version: Version,
    /// What the chart says of itself.
    pub(super) metadata: chart_index::Metadata,
    /// The SHA-256 of the package in hex.
    pub(super) digest: String,
    /// Its signature.
    pub(super) provenance: Option<Vec<u8>>,
    /// What makes it the content of a tag in our registry, when it was pushed there.
    pub(super) image: Option<NewImage>,
}

/// Keeps a package that was looked into, and adds it to an account's charts.
pub(super) async fn keep_and_add(
    app: &App,
    caller: &Caller,
    owner: &(AccountId, AccountName),
    mut file: File,
    addition: Addition,
) -> Result<(ChartRepoId, Version)> {
    // A package that is stored must not be taken for one that nobody names before its row is there.
    let _guard = app.chart_syncs.packages.lock().await;
    let blobs = app.blobs.clone();
    let stored = addition.digest.clone();
    let signature = addition.provenance.clone();
    // Before its row: what a row names is there.
    let signature = blocking(move || {
        let signature = signature.map(|text| blobs.put(BlobKind::HostedChart, &text));
        let signature = signature.transpose()?;
        if blobs.path(BlobKind::HostedChart, &stored).exists() {
            return Ok(signature);
        }
        file.rewind()?;
        let (mut copy, path) = blobs.incoming()?;
        let copied = std::io::copy(&mut file, &mut copy);
        let kept = copied.and_then(|_| blobs.keep(&copy, &path, BlobKind::HostedChart, &stored, true));
        if kept.is_err() {
            crate::blobs::discard(&path);
        }
        kept.map(|()| signature)
    })
    .await?;
    let version = Version { provenance: signature, ..addition.version };
    let addition = Addition { version, ..addition };
    for _ in 0..TRIES {
        if let Some(version) = add(app, caller, owner, addition.clone()).await? {
            let repo = find(app, owner.0).await?.ok_or_else(busy)?;
            return Ok((repo.id, version));
        }
    }
    Err(busy())
}

/// Removes a version from a repository that is named as everywhere; only what is kept here can be removed.
pub async fn delete_from(app: &App, caller: &Caller, repo: &str, name: &str, version: &str) -> Result<()> {
    let row = super::chart_repos::find(app, caller, repo).await?;
    if !caller.may_act_for(row.account_id) {
        return Err(Error::forbidden(
            "not_owner",
            "only its owner and admins can change this chart repository",
        ));
    }
    if row.settings.backend != ChartRepoBackend::Hosted {
        let detail = format!("the charts of `{}` are not kept on this server", row.settings.name);
        return Err(Error::conflict("chart_repo_elsewhere", detail)
            .hint("remove it where it is published, or delete the chart repository here"));
    }
    delete(app, caller, row.account.as_str(), name, version).await
}

/// Removes a version; its package goes when nothing names it any more.
pub async fn delete(app: &App, caller: &Caller, owner: &str, name: &str, version: &str) -> Result<()> {
    let owner = owner_of(app, caller, owner).await?;
    let _guard = app.chart_syncs.packages.lock().await;
    for _ in 0..TRIES {
        let repo = find(app, owner.0).await?.ok_or_else(|| Error::not_found("chart", name))?;
        let mut all = load(app, &repo, name).await?;
        let Some(at) = all.iter().position(|known| known.version == version) else {
            return Err(Error::not_found("version", format!("{name} {version}")));
        };
        let gone = all.remove(at);
        let now = app.now();
        let tx = app.db.begin().await?;
        let known = charts::hashes(&tx, repo.id).await?.get(name).map(|(id, _)| *id);
        let metadata = metadata_of(app, repo.id, name).await?;
        if all.is_empty() {
            charts::delete(&tx, known.as_slice()).await?;
        } else {
            let chart = Chart::of(metadata, all);
            let prepared = Prepared::new(name, &chart)?;
            charts::put(&tx, repo.id, known, &prepared.row(name, &chart), now).await?;
        }
        let counts = Known {
            chart_count: charts::hashes(&tx, repo.id).await?.len() as u64,
            version_count: repo.known.version_count.saturating_sub(1),
            ..Known::default()
        };
        if !chart_repos::synced(&tx, &repo, &Outcome::Read(&counts), now).await? {
            continue;
        }
        super::images::remove_chart(app, &tx, &owner.1, name, version).await?;
        let target = format!("{}/{name}-{version}", owner.1);
        audit::record(
            app,
            caller,
            &tx,
            Event { action: "chart.delete", target: &target, acting_for: Some(owner.0) },
        )
        .await?;
        tx.commit().await?;
        app.signals.jobs.any();
        hosted_packages::forget(app, gone.digest.into_iter().chain(gone.provenance)).await?;
        return Ok(());
    }
    Err(busy())
}

/// The index of an account's repository, as Helm reads it.
pub async fn index(app: &App, caller: Option<&Caller>, owner: &str) -> Result<String> {
    let repo = readable(app, caller, owner).await?;
    let mut text = String::from("apiVersion: v1\nentries:\n");
    let mut written = false;
    for (name, (id, _)) in charts::hashes(&app.db, repo.id).await? {
        let metadata = metadata_of(app, repo.id, &name).await?;
        write_line(&mut text, &format!("  {name}:"));
        written = true;
        for page in charts::versions(&app.db, id).await? {
            let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
            for version in versions {
                // JSON is YAML: whatever is in a text stays in it.
                let entry = serde_json::json!({
                    "apiVersion": "v2", "name": name, "version": version.version, "appVersion": version.app_version,
                    "created": version.created.map(|secs| Timestamp(0).plus_secs(secs)), "description": metadata.description,
                    "digest": version.digest, "urls": version.urls, "deprecated": version.deprecated, "icon": metadata.icon,
                    "home": metadata.home, "keywords": metadata.keywords, "type": metadata.kind, "kubeVersion": metadata.kube_version,
                });
                let entry: BTreeMap<String, serde_json::Value> = match entry {
                    serde_json::Value::Object(map) => {
                        map.into_iter().filter(|(_, value)| !value.is_null()).collect()
                    }
                    _ => BTreeMap::new(),
                };
                write_line(
                    &mut text,
                    &format!("  - {}", serde_json::to_string(&entry).map_err(Error::internal)?),
                );
            }
        }
    }
    if !written {
        "apiVersion: v1\nentries: {}\n".clone_into(&mut text);
    }
    writeln!(text, "generated: \"{}\"", repo.last_sync_at.unwrap_or(repo.created_at))
        .map_err(Error::internal)?;
    Ok(text)
}

fn write_line(text: &mut String, line: &str) {
    text.push_str(line);
    text.push('\n');
}

/// A package of an account's repository, `NAME-VERSION.tgz`, or its signature, the same with `.prov`. Where charts must be signed,
/// one that is not verified is not handed out here either.
pub async fn package(app: &App, caller: Option<&Caller>, owner: &str, file: &str) -> Result<(File, u64)> {
    let repo = readable(app, caller, owner).await?;
    let (file, is_signature) = file.strip_suffix(".prov").map_or((file, false), |package| (package, true));
    for (name, (id, _)) in charts::hashes(&app.db, repo.id).await? {
        if !file.starts_with(&format!("{name}-")) {
            continue;
        }
        for page in charts::versions(&app.db, id).await? {
            let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
            let found = versions.into_iter().find(|version| version.urls.iter().any(|url| url == file));
            let Some(version) = found else { continue };
            let digest = if is_signature { &version.provenance } else { &version.digest };
            let Some(digest) = digest.clone() else { continue };
            let (file, bytes) = open(app, &digest).await?;
            if is_signature {
                return Ok((file, bytes));
            }
            let check = DigestCheck::Index;
            let fetched = Fetched { repo, name, version, file, bytes, digest, check, is_changed: false };
            return provenance::check(app, fetched).await.map(|fetched| (fetched.file, fetched.bytes));
        }
    }
    Err(Error::not_found("package", file))
}

/// A package that is kept here, by its digest.
pub(super) async fn open(app: &App, digest: &str) -> Result<(File, u64)> {
    let path = app.blobs.path(BlobKind::HostedChart, digest);
    blocking(move || {
        let file = File::open(path)?;
        let bytes = file.metadata()?.len();
        Ok((file, bytes))
    })
    .await
}

/// The version of an account's charts whose package has this digest, with its chart's name.
pub(super) async fn of_package(app: &App, repo: &Row, digest: &str) -> Result<Option<(String, Version)>> {
    for (name, (id, _)) in charts::hashes(&app.db, repo.id).await? {
        for page in charts::versions(&app.db, id).await? {
            let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
            let found = versions.into_iter().find(|version| version.digest.as_deref() == Some(digest));
            if let Some(version) = found {
                return Ok(Some((name, version)));
            }
        }
    }
    Ok(None)
}

/// A package that was looked into.
pub(super) struct Looked {
    /// The package, positioned anywhere.
    pub(super) file: File,
    /// Its length.
    pub(super) bytes: u64,
    /// Its SHA-256 in hex.
    pub(super) digest: String,
    /// The chart's name.
    pub(super) name: String,
    /// The version.
    pub(super) version: Version,
    /// What the chart says of itself.
    pub(super) metadata: chart_index::Metadata,
}

/// Looks into a package: what it is, and its digest.
pub(super) async fn look_into(package: Upload) -> Result<Looked> {
    tokio::task::spawn_blocking(move || look(package)).await.map_err(Error::internal)?
}

fn look(package: Upload) -> Result<Looked> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(ErrorKind::Invalid, "package_malformed", error.to_string())
    };
    let Upload { mut file, bytes } = package;
    let mut hash = Sha256::new();
    file.rewind()?;
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
    }
    let digest = hex::encode(hash.finalize());
    file.rewind()?;
    let read =
        chart_package::read(BufReader::new(&file), LIMITS, KNOWN_TEXTS).map_err(|error| wrong(&error))?;
    let text = read.texts.get("Chart.yaml").map(String::as_str).unwrap_or_default();
    let value = chart_index::yaml_value(text)
        .map_err(|error| wrong(&format!("its `Chart.yaml` cannot be read: {error}")))?;
    let (name, version, metadata) = chart_index::chart_of(&value)
        .map_err(|error| wrong(&format!("its `Chart.yaml` is not right: {error}")))?;
    let urls = vec![format!("{name}-{}.tgz", version.version)];
    let version = Version { digest: Some(digest.clone()), urls, ..version };
    Ok(Looked { file, bytes, digest, name, version, metadata })
}

/// Adds a version; none when somebody else changed the repository at the same time.
async fn add(
    app: &App,
    caller: &Caller,
    owner: &(AccountId, AccountName),
    addition: Addition,
) -> Result<Option<Version>> {
    let Addition { name, version, metadata, image, .. } = addition;
    let now = app.now();
    let repo = match find(app, owner.0).await? {
        Some(repo) => repo,
        None => make(app, owner).await?,
    };
    let mut all = load(app, &repo, &name).await?;
    let same = all.iter().find(|known| known.version == version.version).cloned();
    if let Some(known) = same {
        if known.digest != version.digest {
            return Err(Error::conflict(
                "exists",
                format!("there is a version {} of `{name}` already", version.version),
            )
            .hint("give the new one another number, or delete the old one first"));
        }
        let is_signed_now = version.provenance.is_some() && version.provenance != known.provenance;
        if image.is_none() && !is_signed_now {
            return Ok(Some(known));
        }
        // The same package again, by a manifest that may be another one, or with a signature.
        let tx = app.db.begin().await?;
        if is_signed_now {
            let signed = Version { provenance: version.provenance.clone(), ..known.clone() };
            all.iter_mut()
                .filter(|other| other.version == known.version)
                .for_each(|other| *other = signed.clone());
            let stored = charts::hashes(&tx, repo.id).await?;
            let chart = Chart::of(metadata, all);
            let prepared = Prepared::new(&name, &chart)?;
            charts::put(
                &tx,
                repo.id,
                stored.get(&name).map(|(id, _)| *id),
                &prepared.row(&name, &chart),
                now,
            )
            .await?;
            let counts = Known {
                chart_count: repo.known.chart_count,
                version_count: repo.known.version_count,
                ..Known::default()
            };
            if !chart_repos::synced(&tx, &repo, &Outcome::Read(&counts), now).await? {
                return Ok(None);
            }
        }
        let target = format!("{}/{name}-{}", owner.1, known.version);
        let event = upload_event(owner.0, &target);
        return Ok(accept(app, caller, tx, event, image).await?.then_some(known));
    }
    if repo.known.version_count >= MAX_VERSIONS {
        return Err(Error::conflict(
            "too_many_charts",
            format!("an account keeps at most {MAX_VERSIONS} versions of charts here"),
        )
        .hint("delete those that nobody needs"));
    }
    let version = Version { created: Some(now.unix_secs()), ..version };
    all.push(version.clone());
    let tx = app.db.begin().await?;
    let known = charts::hashes(&tx, repo.id).await?;
    let chart = Chart::of(metadata, all);
    let prepared = Prepared::new(&name, &chart)?;
    charts::put(&tx, repo.id, known.get(&name).map(|(id, _)| *id), &prepared.row(&name, &chart), now).await?;
    let counts = Known {
        chart_count: known.len() as u64 + u64::from(!known.contains_key(&name)),
        version_count: repo.known.version_count + 1,
        ..Known::default()
    };
    if !chart_repos::synced(&tx, &repo, &Outcome::Read(&counts), now).await? {
        return Ok(None);
    }
    let target = format!("{}/{name}-{}", owner.1, version.version);
    let event = upload_event(owner.0, &target);
    Ok(accept(app, caller, tx, event, image).await?.then_some(version))
}

fn upload_event(owner: AccountId, target: &str) -> Event<'_> {
    Event { action: "chart.upload", target, acting_for: Some(owner) }
}

/// Ends what stores a chart: its tag, if it came by one, and the audit log's row go with it; false when another was faster.
async fn accept(
    app: &App,
    caller: &Caller,
    tx: Tx,
    event: Event<'_>,
    image: Option<NewImage>,
) -> Result<bool> {
    if let Some(image) = image
        && !tag(app, &tx, image).await?
    {
        return Ok(false);
    }
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    Ok(true)
}

/// Makes it the content of its tag; false when somebody else gives the tag something at the same time.
async fn tag(app: &App, tx: &Tx, image: NewImage) -> Result<bool> {
    match super::images::insert_ready(app, tx, image).await {
        Ok(_) => Ok(true),
        Err(error) if error.code == "exists" => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whose repository, when the caller may change it.
async fn owner_of(app: &App, caller: &Caller, owner: &str) -> Result<(AccountId, AccountName)> {
    if owner == caller.name.as_str() {
        return Ok((caller.account, caller.name.clone()));
    }
    let account = super::accounts::find(app, owner).await?;
    if !caller.is_admin() {
        return Err(Error::forbidden("not_owner", "charts go into one's own repository"));
    }
    Ok((account.id, account.account))
}

/// An account's own charts, if it has any.
pub(super) async fn find(app: &App, owner: AccountId) -> Result<Option<Row>> {
    let all = chart_repos::of_account(&app.db, owner, ChartRepoBackend::Hosted).await?;
    Ok(all.into_iter().next())
}

async fn make(app: &App, owner: &(AccountId, AccountName)) -> Result<Row> {
    let id = ChartRepoId(uuid::Uuid::now_v7());
    let scheme = if app.tls.is_on() { "https" } else { "http" };
    let base = app.config.public_url.clone().unwrap_or_else(|| format!("{scheme}://{}", app.config.listen));
    let settings = Settings {
        name: owner.1.to_string(),
        url: format!("{}/charts/{}", base.trim_end_matches('/'), owner.1),
        kind: ChartRepoKind::External,
        backend: ChartRepoBackend::Hosted,
        is_public: false,
        description: None,
        username: None,
        password: None,
        ca_certificate: None,
        sync_minutes: 0,
        requires_signature: false,
    };
    match chart_repos::insert(&app.db, id, owner.0, &settings, app.now()).await {
        Ok(()) => {}
        Err(store::Error::Duplicate) => {
            // Made by another request meanwhile, or the name is in use.
            if let Some(repo) = find(app, owner.0).await? {
                return Ok(repo);
            }
            return Err(Error::conflict(
                "exists",
                format!("another chart repository is called `{}`", owner.1),
            )
            .hint("rename that one"));
        }
        Err(error) => return Err(error.into()),
    }
    find(app, owner.0).await?.ok_or_else(|| Error::not_found("chart repository", &owner.1))
}

/// The repository of an account, for whoever may read it: everybody when it is public.
async fn readable(app: &App, caller: Option<&Caller>, owner: &str) -> Result<Row> {
    let none = || Error::not_found("chart repository", owner);
    let account = owner.parse::<AccountName>().map_err(|_| none())?;
    let account = store::accounts::by_name(&app.db, &account).await?;
    let repo = match &account {
        Some(account) => find(app, account.id).await?,
        None => None,
    };
    match (repo, caller) {
        (Some(repo), _) if repo.settings.is_public => Ok(repo),
        (Some(repo), Some(caller)) if caller.may_act_for(repo.account_id) => Ok(repo),
        // One's own is there, and empty, before its first chart.
        (None, Some(caller)) if caller.name.as_str() == owner => {
            make(app, &(caller.account, caller.name.clone())).await
        }
        // Whoever shows no name may have one: clients send theirs only when asked for it.
        (_, None) => Err(Error::unauthenticated(
            "unauthenticated",
            "log in with an account and its password or API token",
        )),
        (_, Some(_)) => Err(none()),
    }
}

async fn load(app: &App, repo: &Row, name: &str) -> Result<Vec<Version>> {
    let Some((id, _)) = charts::hashes(&app.db, repo.id).await?.remove(name) else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for page in charts::versions(&app.db, id).await? {
        let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
        all.extend(versions);
    }
    Ok(all)
}

/// What a chart of a repository says of itself.
pub(super) async fn metadata_of(app: &App, repo: ChartRepoId, name: &str) -> Result<chart_index::Metadata> {
    let filter = charts::Filter {
        viewer: Viewer::Admin,
        repos: Some(&[repo]),
        name: Some(name),
        words: &[],
        kind: None,
        category: None,
    };
    let page = wire::page::PageQuery { limit: Some(1), offset: None };
    let row = charts::list(&app.db, filter, page).await?.rows.pop();
    row.map_or_else(
        || Ok(chart_index::Metadata::default()),
        |row| serde_json::from_str(&row.metadata).map_err(Error::internal),
    )
}

fn busy() -> Error {
    Error::conflict("changed_meanwhile", "the repository is changed by somebody else all the time")
        .hint("try again")
}
