//! Charts: the catalogue of what the repositories have, and what is in a version. A package is looked into only after its digest
//! was compared with the index's, or, where that gives none, with the one that was fetched the first time.

use std::fs::File;
use std::io::{BufReader, Seek as _};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use store::chart_repos::Row as Repo;
use store::charts::{self as rows, Filter, Row};
use wire::chart_repos::ChartRepoBackend;
use wire::charts::{
    ChartContentView, ChartDependency, ChartQuery, ChartVersionQuery, ChartVersionView, ChartView,
    DigestCheck,
};
use wire::page::{Page, PageQuery};
use wire::time::Timestamp;
use wire::values_form::ValuesFormView;

use super::chart_repos::{find as find_repo, source_of, viewer};
use super::chart_sync::trust_of;
use crate::app::App;
use crate::blobs::{BlobKind, blocking};
use crate::caller::Caller;
use crate::chart_index::{Metadata, Version, parse_version, shown, yaml_value};
use crate::chart_package::{self, KNOWN_TEXTS, LIMITS, Package, PackageError};
use crate::chart_pages::State;
use crate::clients::helm_repo::{self, Source};
use crate::clients::http_out;
use crate::clients::registry::manifest::MAX_PROVENANCE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::{picture, values_form};

/// How long fetching a package may take.
const PACKAGE_PATIENCE: Duration = Duration::from_mins(2);
/// How long fetching a picture may take.
const ICON_PATIENCE: Duration = Duration::from_secs(10);
/// Largest drawing (SVG) in bytes; other pictures are drawn again and may be larger.
const MAX_DRAWING_BYTES: usize = 256 << 10;
/// Longest text of a `Chart.yaml` that is shown.
const MAX_SHOWN_CHARS: usize = 2000;
/// Words in one search.
const MAX_WORDS: usize = 10;

/// What people call things in Chinese, and what charts say in English.
const CHINESE: &[(&str, &[&str])] = &[
    ("数据库", &["database", "sql"]),
    ("缓存", &["cache", "redis", "memcached"]),
    ("消息", &["message", "queue", "mq", "kafka"]),
    ("队列", &["queue"]),
    ("存储", &["storage"]),
    ("对象存储", &["object", "s3", "minio"]),
    ("搜索", &["search"]),
    ("监控", &["monitoring", "metrics", "prometheus"]),
    ("指标", &["metrics"]),
    ("日志", &["log"]),
    ("追踪", &["tracing"]),
    ("网关", &["gateway", "ingress"]),
    ("代理", &["proxy"]),
    ("负载均衡", &["load balanc", "proxy"]),
    ("网页", &["web"]),
    ("服务器", &["server"]),
    ("博客", &["blog", "wordpress"]),
    ("维基", &["wiki"]),
    ("论坛", &["forum"]),
    ("电商", &["e-commerce", "ecommerce", "shop"]),
    ("仓库", &["registry", "repository"]),
    ("镜像", &["image", "registry"]),
    ("持续集成", &["ci", "jenkins", "gitlab"]),
    ("代码", &["git", "code"]),
    ("认证", &["auth", "identity"]),
    ("密钥", &["secret", "vault"]),
    ("证书", &["certificate", "cert-manager"]),
    ("网络", &["network"]),
    ("机器学习", &["machine learning", "machinelearning", "ml"]),
    ("人工智能", &["ai", "inference", "machine learning"]),
    ("推理", &["inference"]),
    ("训练", &["training"]),
    ("向量", &["vector"]),
    ("笔记本", &["notebook", "jupyter"]),
    ("大数据", &["spark", "hadoop", "analytics"]),
    ("分析", &["analytics"]),
    ("工作流", &["workflow"]),
    ("备份", &["backup"]),
    ("邮件", &["mail"]),
    ("虚拟机", &["virtual machine", "vm"]),
    ("显卡", &["gpu"]),
];

/// Charts that the caller sees.
pub async fn list(app: &App, caller: &Caller, query: &ChartQuery) -> Result<Page<ChartView>> {
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let repos = match query.repo.as_deref().filter(|repo| !repo.is_empty()) {
        None => None,
        Some(repo) => Some(vec![find_repo(app, caller, repo).await?.id]),
    };
    let words = words(query.search.as_deref().unwrap_or_default())?;
    let filter = Filter {
        viewer: viewer(caller),
        repos: repos.as_deref(),
        name: query.name.as_deref().filter(|name| !name.is_empty()),
        words: &words,
        kind: query.kind,
        category: query.category.as_deref().filter(|category| !category.is_empty()),
    };
    let state = State::now(&app.db);
    let question = format!("{filter:?} {page:?}");
    if let Some(kept) = app.chart_pages.get(&question, state) {
        return Ok(kept);
    }
    let found = super::page_of(rows::list(&app.db, filter, page).await?, page, view);
    app.chart_pages.put(question, state, &found);
    Ok(found)
}

/// What each word of a search may be called.
fn words(text: &str) -> Result<Vec<Vec<String>>> {
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || matches!(c, ',' | '，' | '、'))
        .filter(|word| !word.is_empty())
        .collect();
    if words.len() > MAX_WORDS || text.chars().count() > 200 {
        return Err(Error::invalid(
            "search",
            format!("a search has at most {MAX_WORDS} words and 200 characters"),
        ));
    }
    let alternatives = |word: &&str| {
        let known = CHINESE.iter().filter(|(chinese, _)| *chinese == *word).flat_map(|(_, english)| *english);
        std::iter::once((*word).to_owned()).chain(known.map(|english| (*english).to_owned())).collect()
    };
    Ok(words.iter().map(alternatives).collect())
}

/// One chart.
pub async fn get(app: &App, caller: &Caller, repo: &str, name: &str) -> Result<ChartView> {
    let (_, row) = find(app, caller, repo, name).await?;
    Ok(view(row))
}

/// The versions of a chart, the greatest first.
pub async fn versions(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    query: &ChartVersionQuery,
) -> Result<Page<ChartVersionView>> {
    let (_, row) = find(app, caller, repo, name).await?;
    let mut all = stored_versions(app, &row).await?;
    if let Some(range) = query.range.as_deref().filter(|range| !range.trim().is_empty()) {
        let is_range = range.len() <= 200
            && parse_version("1.0.0").is_some_and(|version| version.is_in(range).is_some());
        if !is_range {
            return Err(Error::invalid(
                "range",
                "`range` is no range of versions, such as `>=1.2 <2`, `^1.4` or `1.x`",
            ));
        }
        all.retain(|version| {
            parse_version(&version.version).and_then(|parsed| parsed.is_in(range)) == Some(true)
        });
    }
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let total = all.len() as u64;
    let (skip, take) = (
        usize::try_from(page.offset()).unwrap_or(usize::MAX),
        usize::try_from(page.limit()).unwrap_or(usize::MAX),
    );
    let data = all.into_iter().skip(skip).take(take).map(version_view).collect();
    Ok(Page { data, total, limit: page.limit(), offset: page.offset() })
}

/// What is in a version of a chart; `latest` is its best one.
pub async fn content(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
) -> Result<ChartContentView> {
    let fetched = package(app, caller, repo, name, version).await?;
    let package =
        look_into(fetched.file, KNOWN_TEXTS.iter().map(|text| (*text).to_owned()).collect()).await?;
    let text = |names: &[&str]| names.iter().find_map(|name| package.texts.get(*name)).cloned();
    let chart = text(&["Chart.yaml"]).unwrap_or_default();
    let chart =
        yaml_value(&chart).map_err(|error| broken(&format!("its `Chart.yaml` cannot be read: {error}")))?;
    let field = |name: &str| {
        chart[name].as_str().map(|text| shown(text, MAX_SHOWN_CHARS)).filter(|text| !text.is_empty())
    };
    let is_itself =
        chart["name"] == fetched.name.as_str() && chart["version"] == fetched.version.version.as_str();
    if !is_itself {
        return Err(broken("it is the package of another chart or version"));
    }
    let needs = match &chart["dependencies"] {
        serde_json::Value::Array(_) => chart["dependencies"].clone(),
        _ => text(&["requirements.yaml"])
            .and_then(|text| yaml_value(&text).ok())
            .map(|value| value["dependencies"].clone())
            .unwrap_or_default(),
    };
    let dependencies = needs.as_array().into_iter().flatten().take(200).filter_map(|need| {
        let field = |name: &str| need[name].as_str().map(|text| shown(text, MAX_SHOWN_CHARS));
        Some(ChartDependency {
            name: field("name")?,
            version: field("version").unwrap_or_default(),
            repository: field("repository"),
            condition: field("condition"),
        })
    });
    Ok(ChartContentView {
        repo_id: fetched.repo.id,
        repo: fetched.repo.settings.name,
        name: fetched.name,
        version: fetched.version.version,
        app_version: field("appVersion"),
        description: field("description").unwrap_or_default(),
        kind: field("type"),
        kube_version: field("kubeVersion"),
        readme: text(&["README.md", "readme.md", "README"]),
        values: text(&["values.yaml"]),
        schema: text(&["values.schema.json"]).and_then(|text| serde_json::from_str(&text).ok()),
        dependencies: dependencies.collect(),
        files: package.files,
        digest: fetched.digest,
        digest_check: fetched.check,
        digest_changed: fetched.is_changed,
    })
}

/// The values of a version of a chart, prepared for a form.
pub async fn values_form(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
) -> Result<ValuesFormView> {
    let fetched = package(app, caller, repo, name, version).await?;
    let wanted = ["values.yaml", "values.schema.json"].map(str::to_owned).to_vec();
    let package = look_into(fetched.file, wanted).await?;
    let made = tokio::task::spawn_blocking(move || {
        let schema = package.texts.get("values.schema.json");
        let schema = schema.and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
        values_form::of(package.texts.get("values.yaml").map(String::as_str), schema.as_ref())
    });
    made.await.map_err(Error::internal)
}

/// One file of a version of a chart, as text.
pub async fn file(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
    path: &str,
) -> Result<String> {
    let fetched = package(app, caller, repo, name, version).await?;
    let mut package = look_into(fetched.file, vec![path.to_owned()]).await?;
    package.texts.remove(path).ok_or_else(|| Error::not_found("file", path))
}

/// A package whose digest was checked.
pub(crate) struct Fetched {
    /// Its repository.
    pub(crate) repo: Repo,
    /// The chart's name.
    pub(crate) name: String,
    /// The version.
    pub(crate) version: Version,
    /// The package, from its start.
    pub(crate) file: File,
    /// Its length.
    pub(crate) bytes: u64,
    /// Its SHA-256 in hex.
    pub(crate) digest: String,
    /// How it was checked.
    pub(crate) check: DigestCheck,
    /// Whether another one was fetched under this version before.
    pub(crate) is_changed: bool,
}

/// The package of a version, to be handed on: the file and its length.
pub async fn download(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
) -> Result<(File, u64, String)> {
    let fetched = package(app, caller, repo, name, version).await?;
    let fetched = super::provenance::check(app, fetched).await?;
    Ok((fetched.file, fetched.bytes, format!("{}-{}.tgz", fetched.name, fetched.version.version)))
}

/// Fetches the package of a version, or takes the one that is kept, and checks its digest.
pub(crate) async fn package(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
) -> Result<Fetched> {
    let (repo, row) = find(app, caller, repo, name).await?;
    let wanted = if version == "latest" { row.version.clone() } else { version.to_owned() };
    let found = stored_versions(app, &row).await?.into_iter().find(|version| version.version == wanted);
    let version = found.ok_or_else(|| {
        Error::not_found("version", format!("{}/{} {wanted}", repo.settings.name, row.name))
    })?;
    let is_hosted = repo.settings.backend == ChartRepoBackend::Hosted;
    let is_here = super::oci_sync::is_here(app, &repo.settings.url);
    let kept = match &version.digest {
        Some(digest) if is_hosted => {
            let (file, bytes) = super::hosted_charts::open(app, digest).await?;
            Some((file, digest.clone(), bytes))
        }
        // Who may see what our own registry has is asked each time.
        Some(_) if is_here => None,
        Some(digest) => kept_package(app, digest).await?,
        None => None,
    };
    let (file, digest, bytes) = match kept {
        Some((file, digest, bytes)) => (file, digest, bytes),
        None => fetch_package(app, &repo, &version).await?,
    };
    if let Some(expected) = version.digest.as_ref().filter(|expected| **expected != digest) {
        let detail = "the package is not the one that the index describes: its digest is another one";
        return Err(Error::new(ErrorKind::BadGateway, "digest_mismatch", detail)
            .hint("do not install it; tell whoever keeps the repository")
            .with("expected", expected.as_str())
            .with("found", digest.as_str()));
    }
    let first = rows::first_digest(&app.db, repo.id, &row.name, &version.version, &digest, app.now()).await?;
    let (check, is_changed) = match &version.digest {
        Some(_) => (DigestCheck::Index, first != digest),
        None if first != digest => {
            return Err(Error::new(
                ErrorKind::BadGateway,
                "package_changed",
                "the package is not the one that was fetched the first time, and the index gives no digest",
            )
            .hint("do not install it; ask whoever keeps the repository why it changed")
            .with("expected", first.as_str())
            .with("found", digest.as_str()));
        }
        None => (DigestCheck::FirstUse, false),
    };
    let file = if is_hosted { file } else { keep(app, file, digest.clone()).await? };
    Ok(Fetched { repo, name: row.name, version, file, bytes, digest, check, is_changed })
}

async fn kept_package(app: &App, digest: &str) -> Result<Option<(File, String, u64)>> {
    let path = app.blobs.path(BlobKind::ChartPackage, digest);
    let digest = digest.to_owned();
    blocking(move || match File::open(path) {
        Ok(file) => {
            let bytes = file.metadata()?.len();
            Ok(Some((file, digest, bytes)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    })
    .await
}

async fn fetch_package(app: &App, repo: &Repo, version: &Version) -> Result<(File, String, u64)> {
    let source = source_of(app, repo, trust_of(app, repo).await?)?;
    if let Some(place) = &source.place {
        return super::oci_sync::package(app, repo, &source, place, version, PACKAGE_PATIENCE).await;
    }
    let base = helm_repo::index_url(&source.url);
    let url = version.urls.first().ok_or_else(|| broken("the index says nowhere where it is"))?;
    let url = base.join(url).map_err(|_| broken("the index gives no good address for it"))?;
    http_out::parse_url(url.as_str())?;
    let limit = app.config.charts.package_bytes;
    helm_repo::file(&app.outbound, &app.blobs, &at(&source, url), limit, PACKAGE_PATIENCE).await
}

/// The signature of a version that is kept elsewhere; none when it has none.
pub(super) async fn fetch_signature(app: &App, repo: &Repo, version: &Version) -> Result<Option<File>> {
    let source = source_of(app, repo, trust_of(app, repo).await?)?;
    if let Some(place) = &source.place {
        return super::oci_sync::signature(app, repo, &source, place, version, PACKAGE_PATIENCE).await;
    }
    let Some(url) = version.urls.first() else { return Ok(None) };
    let base = helm_repo::index_url(&source.url);
    let mut url = base.join(url).map_err(|_| broken("the index gives no good address for it"))?;
    url.set_path(&format!("{}.prov", url.path()));
    http_out::parse_url(url.as_str())?;
    let there = at(&source, url);
    let found = helm_repo::file(&app.outbound, &app.blobs, &there, MAX_PROVENANCE_BYTES, PACKAGE_PATIENCE);
    match found.await {
        Ok((file, _, _)) => Ok(Some(file)),
        Err(error) if error.code == "file_missing" => Ok(None),
        Err(error) => Err(error),
    }
}

/// The same source, at another address: what is secret stays with the repository's own.
fn at(source: &Source, url: reqwest::Url) -> Source {
    let is_same = http_out::same_origin(&source.url, &url);
    Source { credential: source.credential.clone().filter(|_| is_same), url, place: None, ..source.clone() }
}

/// Keeps a package for the next who asks; the oldest go when there are too many.
async fn keep(app: &App, mut file: File, digest: String) -> Result<File> {
    let (blobs, limit) = (app.blobs.clone(), app.config.charts.cache_bytes);
    blocking(move || {
        if !blobs.path(BlobKind::ChartPackage, &digest).exists() {
            file.rewind()?;
            let (mut copy, path) = blobs.incoming()?;
            let copied = std::io::copy(&mut file, &mut copy);
            match copied.and_then(|_| blobs.keep(&copy, &path, BlobKind::ChartPackage, &digest, false)) {
                Ok(()) => blobs.bound(BlobKind::ChartPackage, limit)?,
                Err(error) => {
                    crate::blobs::discard(&path);
                    return Err(error);
                }
            }
        }
        file.rewind()?;
        Ok(file)
    })
    .await
}

async fn look_into(file: File, wanted: Vec<String>) -> Result<Package> {
    let read = tokio::task::spawn_blocking(move || {
        let wanted: Vec<&str> = wanted.iter().map(String::as_str).collect();
        chart_package::read(BufReader::new(file), LIMITS, &wanted)
    });
    read.await.map_err(Error::internal)?.map_err(|error| match error {
        PackageError::TooLarge(_) => {
            Error::new(ErrorKind::BadGateway, "package_too_large", error.to_string())
        }
        _ => Error::new(ErrorKind::BadGateway, "package_malformed", error.to_string()),
    })
}

fn broken(why: &str) -> Error {
    Error::new(ErrorKind::BadGateway, "package_malformed", format!("the package cannot be used: {why}"))
}

/// A picture of a chart, harmless: drawn again as PNG, or a drawing (SVG) to be shown without its programs.
pub async fn icon(app: &App, caller: &Caller, repo: &str, name: &str) -> Result<(Vec<u8>, &'static str)> {
    let (repo, row) = find(app, caller, repo, name).await?;
    let none = || Error::not_found("picture of the chart", name);
    let metadata: Metadata = serde_json::from_str(&row.metadata).map_err(Error::internal)?;
    let text = metadata.icon.ok_or_else(none)?;
    let base = repo.settings.url.clone();
    let known = hex::encode(Sha256::digest(format!("{} {base} {text}", repo.id)));
    for (suffix, kind) in [("png", "image/png"), ("svg", "image/svg+xml")] {
        let path = app.blobs.path(BlobKind::ChartIcon, &format!("{known}-{suffix}"));
        match blocking(move || std::fs::read(path)).await {
            Ok(bytes) => return Ok((bytes, kind)),
            Err(error) if is_missing(&error) => {}
            Err(error) => return Err(error),
        }
    }
    let source = source_of(app, &repo, trust_of(app, &repo).await?)?;
    let url = helm_repo::index_url(&source.url).join(&text).map_err(|_| none())?;
    http_out::parse_url(url.as_str()).map_err(|_| none())?;
    let (mut file, _, _) = helm_repo::file(
        &app.outbound,
        &app.blobs,
        &at(&source, url),
        picture::MAX_BYTES as u64,
        ICON_PATIENCE,
    )
    .await?;
    let (blobs, limit) = (app.blobs.clone(), app.config.charts.cache_bytes / 8);
    let drawn = blocking(move || {
        let mut bytes = Vec::new();
        file.rewind()?;
        std::io::Read::read_to_end(&mut file, &mut bytes)?;
        let (suffix, kind, bytes) = match picture::reencode(&bytes) {
            Ok(png) => ("png", "image/png", png),
            Err(_) if is_drawing(&bytes) => ("svg", "image/svg+xml", bytes),
            Err(_) => return Ok(None),
        };
        blobs.write(BlobKind::ChartIcon, &format!("{known}-{suffix}"), &bytes)?;
        blobs.bound(BlobKind::ChartIcon, limit)?;
        Ok(Some((bytes, kind)))
    });
    drawn.await?.ok_or_else(|| {
        Error::new(
            ErrorKind::BadGateway,
            "icon_unusable",
            "the chart's picture is no PNG, JPEG, WebP, GIF or SVG",
        )
    })
}

fn is_missing(error: &Error) -> bool {
    let source = error.source.as_ref().and_then(|source| source.downcast_ref::<std::io::Error>());
    source.is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

/// Whether it is an SVG drawing. Whoever is sent it is told to run nothing in it.
fn is_drawing(bytes: &[u8]) -> bool {
    let text = std::str::from_utf8(bytes).map(str::trim_start).unwrap_or_default();
    let begins = text.starts_with("<svg") || (text.starts_with("<?xml") && text.contains("<svg"));
    begins && bytes.len() <= MAX_DRAWING_BYTES
}

async fn find(app: &App, caller: &Caller, repo: &str, name: &str) -> Result<(Repo, Row)> {
    let repo = find_repo(app, caller, repo).await?;
    let filter = Filter {
        viewer: viewer(caller),
        repos: Some(&[repo.id]),
        name: Some(name),
        words: &[],
        kind: None,
        category: None,
    };
    let found = rows::list(&app.db, filter, PageQuery { limit: Some(1), offset: None }).await?.rows.pop();
    let row = found.ok_or_else(|| Error::not_found("chart", format!("{}/{name}", repo.settings.name)))?;
    Ok((repo, row))
}

async fn stored_versions(app: &App, row: &Row) -> Result<Vec<Version>> {
    let mut all = Vec::new();
    for page in rows::versions(&app.db, row.id).await? {
        let versions: Vec<Version> = serde_json::from_str(&page).map_err(Error::internal)?;
        all.extend(versions);
    }
    Ok(all)
}

pub(super) fn version_view(version: Version) -> ChartVersionView {
    ChartVersionView {
        version: version.version,
        app_version: version.app_version,
        created_at: version.created.map(|secs| Timestamp(0).plus_secs(secs)),
        digest: version.digest,
        urls: version.urls,
        deprecated: version.deprecated,
    }
}

fn view(row: Row) -> ChartView {
    // It was written by us; what cannot be read is shown as if nothing was said.
    let metadata: Metadata = serde_json::from_str(&row.metadata).unwrap_or_default();
    let icon = metadata.icon.is_some().then(|| format!("/api/v1/charts/{}/{}/icon", row.repo_id, row.name));
    ChartView {
        repo_id: row.repo_id,
        repo: row.repo_name,
        kind: row.repo_kind,
        name: row.name,
        version: row.version,
        app_version: row.app_version,
        description: row.description,
        category: row.category,
        keywords: metadata.keywords,
        home: metadata.home,
        sources: metadata.sources,
        maintainers: metadata.maintainers,
        icon,
        kube_version: metadata.kube_version,
        deprecated: row.is_deprecated,
        version_count: row.version_count,
        published_at: row.published_at,
        updated_at: row.updated_at,
    }
}
