//! Signatures of charts: found beside their packages, and verified by Helm with the keys that count for their repository. Where they
//! are required, what is not verified is not handed out and not installed, whatever the reason.

use std::io::{Read as _, Seek as _};

use store::chart_repos::Row;
use store::{accounts, chart_keys};
use wire::chart_keys::{ChartProvenanceView, ProvenanceState};
use wire::chart_repos::ChartRepoBackend;
use wire::charts::DigestCheck;
use wire::ids::ReleaseId;
use wire::names::{AccountName, Digest, NamespaceName};
use wire::secret::Secret;

use super::charts::{self, Fetched};
use super::{hosted_charts, oci_sync};
use crate::app::App;
use crate::blobs::blocking;
use crate::caller::Caller;
use crate::chart_index::shown;
use crate::clients::registry::Repository;
use crate::clients::registry::manifest::MAX_PROVENANCE_BYTES;
use crate::error::{Error, ErrorKind, Result};
use crate::key_ring;

/// Seconds that verifying may take.
const VERIFY_SECS: u64 = 30;
/// The namespace that Helm is told, which verifying does not look at.
const NOWHERE: &str = "longshore-verify";
/// Who signed, at most.
const MAX_SIGNERS: usize = 10;

/// What is known of the signature of a version of a chart.
pub async fn show(
    app: &App,
    caller: &Caller,
    repo: &str,
    name: &str,
    version: &str,
) -> Result<ChartProvenanceView> {
    let mut fetched = charts::package(app, caller, repo, name, version).await?;
    verify(app, &mut fetched).await
}

/// Lets a package pass, unless its repository's charts must be signed and this one is not, or not well.
pub(crate) async fn check(app: &App, fetched: Fetched) -> Result<Fetched> {
    // What comes out of our own registry must also be as its account wants it.
    if let Some(account) = oci_sync::charts_behind(app, &fetched.repo).await? {
        check_package(app, account, &fetched.digest).await?;
    }
    check_alone(app, fetched).await
}

/// Lets a blob of our registry pass to whoever pulls it, unless it is the package of a chart that must be signed and is not.
///
/// A chart is pulled as the blob that its manifest names; that blob was recorded among its account's charts before its push was
/// acknowledged, and nothing else in the registry holds it. So its digest decides, whichever manifest, tag or repository of the
/// account led there.
pub(crate) async fn check_pull(app: &App, repository: &Repository, digest: &Digest) -> Result<()> {
    let Some(account) = charts_of(app, repository).await? else { return Ok(()) };
    check_package(app, account, digest.as_str().trim_start_matches("sha256:")).await.map_err(|error| {
        if error.kind == ErrorKind::Invalid { Error { kind: ErrorKind::Forbidden, ..error } } else { error }
    })
}

/// Whether pulling from a repository of our registry takes a look at signatures.
pub(crate) async fn is_required(app: &App, repository: &Repository) -> Result<bool> {
    Ok(charts_of(app, repository).await?.is_some())
}

/// The charts of the account whose repository this is, if they must be signed.
async fn charts_of(app: &App, repository: &Repository) -> Result<Option<Row>> {
    let Ok(owner) = repository.owner.as_str().parse::<AccountName>() else { return Ok(None) };
    let Some(account) = accounts::by_name(&app.db, &owner).await? else { return Ok(None) };
    let charts = hosted_charts::find(app, account.id).await?;
    Ok(charts.filter(|repo| repo.settings.requires_signature))
}

async fn check_package(app: &App, repo: Row, digest: &str) -> Result<()> {
    if !repo.settings.requires_signature {
        return Ok(());
    }
    let Some((name, version)) = hosted_charts::of_package(app, &repo, digest).await? else { return Ok(()) };
    let (file, bytes) = hosted_charts::open(app, digest).await?;
    let digest = digest.to_owned();
    let fetched =
        Fetched { repo, name, version, file, bytes, digest, check: DigestCheck::Index, is_changed: false };
    check_alone(app, fetched).await.map(drop)
}

async fn check_alone(app: &App, mut fetched: Fetched) -> Result<Fetched> {
    if !fetched.repo.settings.requires_signature {
        return Ok(fetched);
    }
    let seen = verify(app, &mut fetched).await?;
    if seen.state == ProvenanceState::Verified {
        return Ok(fetched);
    }
    let why = seen.message.unwrap_or_default();
    let detail = format!(
        "charts of `{}` must be signed, and this one cannot be trusted: {why}",
        fetched.repo.settings.name
    );
    Err(Error::new(ErrorKind::Invalid, "chart_not_verified", detail)
        .hint("tell whoever keeps the repository; its owner can add a key, or no longer require signatures")
        .with("state", serde_json::to_value(seen.state).unwrap_or_default()))
}

async fn verify(app: &App, fetched: &mut Fetched) -> Result<ChartProvenanceView> {
    let is_required = fetched.repo.settings.requires_signature;
    let answer = |state, message: &str| ChartProvenanceView {
        state,
        is_required,
        signed_by: Vec::new(),
        fingerprint: None,
        message: Some(message.to_owned()),
    };
    let Some(signature) = signature(app, fetched).await? else {
        return Ok(answer(ProvenanceState::Unsigned, "it has no signature (no `.prov` beside its package)"));
    };
    let keys = chart_keys::of_repo(&app.db, Some(fetched.repo.id)).await?;
    let unknown = "it is signed, but with none of the keys that are trusted here; if you know the signer, add the public key to the chart repository";
    if keys.is_empty() {
        return Ok(answer(ProvenanceState::UnknownKey, unknown));
    }
    let mut ring = Vec::new();
    for key in keys {
        ring.extend(key_ring::unwrapped(&key.armored).map_err(Error::internal)?);
    }
    // Helm reads the package's name in the signature, too.
    let file = format!("{}-{}.tgz", fetched.name, fetched.version.version);
    let namespace: NamespaceName = NOWHERE.parse().map_err(|_| Error::internal("a fixed name is none"))?;
    let work = app.helm.workplace(ReleaseId(uuid::Uuid::now_v7()), &namespace, Secret::new("")).await?;
    let mut package = fetched.file.try_clone()?;
    let place = file.clone();
    let work = blocking(move || {
        let mut bytes = Vec::new();
        package.rewind()?;
        package.read_to_end(&mut bytes)?;
        package.rewind()?;
        work.write(&place, &bytes)?;
        work.write(&format!("{place}.prov"), &signature)?;
        work.write("keys.gpg", &ring)?;
        Ok(work)
    })
    .await?;
    let ended = app.helm.ask(&work, &["verify", &file, "--keyring", "keys.gpg"], VERIFY_SECS).await?;
    if !ended.is_success {
        let is_unknown = ended.complaint.contains("unknown entity");
        return Ok(if is_unknown {
            answer(ProvenanceState::UnknownKey, unknown)
        } else {
            let said = shown(&ended.complaint, 300);
            answer(ProvenanceState::Bad, &format!("its signature does not fit its package: {said}"))
        });
    }
    let after = |words: &str| -> Vec<String> {
        let lines = ended.printed.lines().filter_map(|line| line.strip_prefix(words));
        lines.take(MAX_SIGNERS).map(|text| shown(text, 300)).collect()
    };
    let fingerprint = after("Using Key With Fingerprint: ").pop();
    // What Helm is known to say of every package that it has verified.
    if fingerprint.is_none() || after("Chart Hash Verified: ").is_empty() {
        return Ok(answer(ProvenanceState::Bad, "Helm does not say that it verified the package"));
    }
    let signed_by = after("Signed by: ");
    Ok(ChartProvenanceView {
        state: ProvenanceState::Verified,
        is_required,
        signed_by,
        fingerprint,
        message: None,
    })
}

/// The signature of a package; none when it has none.
async fn signature(app: &App, fetched: &Fetched) -> Result<Option<Vec<u8>>> {
    let file = if fetched.repo.settings.backend == ChartRepoBackend::Hosted {
        match &fetched.version.provenance {
            Some(digest) => Some(hosted_charts::open(app, digest).await?.0),
            None => None,
        }
    } else {
        charts::fetch_signature(app, &fetched.repo, &fetched.version).await?
    };
    let Some(mut file) = file else { return Ok(None) };
    blocking(move || {
        let mut bytes = Vec::new();
        file.rewind()?;
        file.take(MAX_PROVENANCE_BYTES).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    })
    .await
}
