//! Charts that are pushed into our registry, as `helm push` does it: each is looked into before its client hears of success, and is
//! then in its account's own charts as if it had been uploaded, in the same transaction as its tag.

use store::accounts;
use wire::ids::AccountId;
use wire::images::ImageSource;
use wire::names::{AccountName, ImageName, Tag};

use super::hosted_charts::{self, Addition};
use super::images::{NewImage, unusable};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::registry::client;
use crate::clients::registry::manifest::{ChartManifest, Descriptor, tag_of};
use crate::clients::registry::{Repository, unavailable};
use crate::error::{Error, ErrorKind, Result};

/// What is said of charts that are pushed into no account's repository.
const NO_ACCOUNT: &str =
    "charts belong to an account: push to `oci://REGISTRY/ACCOUNT`, and make its charts public to share them";

/// Whether anybody may pull from a repository: its account's charts are public, and it holds nothing else.
pub(super) async fn is_public(app: &App, repository: &Repository) -> Result<bool> {
    let Ok(owner) = repository.owner.as_str().parse::<AccountName>() else { return Ok(false) };
    let Some(account) = accounts::by_name(&app.db, &owner).await? else { return Ok(false) };
    let charts = hosted_charts::find(app, account.id).await?;
    if !charts.is_some_and(|repo| repo.settings.is_public) {
        return Ok(false);
    }
    let sources = store::images::sources(&app.db, &repository.owner, &repository.repo).await?;
    Ok(sources == [ImageSource::Chart])
}

/// Records a chart that the registry has taken: its package is read, and must be what the name and the manifest say.
pub(super) async fn record(
    app: &App,
    caller: &Caller,
    name: &ImageName,
    chart: &ChartManifest,
    image: NewImage,
) -> Result<()> {
    let owner = name.owner.as_str().parse::<AccountName>().ok().filter(|_| !name.owner.is_public());
    let owner = owner.ok_or_else(|| unusable(NO_ACCOUNT.to_owned()))?;
    let owner: (AccountId, AccountName) = (image.account.unwrap_or(caller.account), owner);
    let limit = app.config.charts.package_bytes;
    if chart.package.size_bytes > limit {
        let detail = format!("the package is larger than the {} MiB that this server takes", limit >> 20);
        return Err(Error::new(ErrorKind::TooLarge, "too_large", detail));
    }
    let repository = Repository::from(name);
    let package = client::blob_file(app, &repository, &chart.package.digest, limit).await?;
    let package = package.ok_or_else(|| unavailable("the registry does not have the package any more"))?;
    let looked = hosted_charts::look_into(package).await.map_err(|error| match error.kind {
        ErrorKind::Invalid => unusable(error.detail),
        _ => error,
    })?;
    if looked.digest != chart.package.digest.as_str().trim_start_matches("sha256:") {
        return Err(unusable("the package is not the one that the manifest names".to_owned()));
    }
    check_names(name, &looked.name, &looked.version.version)?;
    let config = client::config(app, &repository, &chart.config.digest).await?;
    let config =
        config.ok_or_else(|| unusable("the chart's configuration is missing or too long".to_owned()))?;
    let said: serde_json::Value = serde_json::from_slice(&config)
        .map_err(|_| unusable("the chart's configuration is no JSON".to_owned()))?;
    if said["name"] != looked.name.as_str() || said["version"] != looked.version.version.as_str() {
        return Err(unusable("the manifest's configuration is that of another chart or version".to_owned()));
    }
    let provenance = match &chart.provenance {
        Some(signature) => Some(signature_of(app, &repository, signature).await?),
        None => None,
    };
    let addition = Addition {
        name: looked.name,
        version: looked.version,
        metadata: looked.metadata,
        digest: looked.digest,
        provenance,
        image: Some(NewImage { source: ImageSource::Chart, ..image }),
    };
    hosted_charts::keep_and_add(app, caller, &owner, looked.file, addition).await?;
    Ok(())
}

/// The signature that a manifest names.
async fn signature_of(app: &App, repository: &Repository, signature: &Descriptor) -> Result<Vec<u8>> {
    let found = client::config(app, repository, &signature.digest).await?;
    found.map(|bytes| bytes.to_vec()).ok_or_else(|| unusable("the chart's signature is missing".to_owned()))
}

/// A repository has the name of its chart, and a tag that of its version: what is pulled is what was asked for.
fn check_names(name: &ImageName, chart: &str, version: &str) -> Result<()> {
    if chart != name.repo.as_str() {
        let repo = &name.repo;
        return Err(unusable(format!(
            "the chart is called `{chart}` and its repository `{repo}`; both must have one name"
        )));
    }
    let tag = tag_of(version);
    if tag.parse::<Tag>().ok().as_ref() != Some(&name.tag) {
        let given = &name.tag;
        return Err(unusable(format!(
            "the chart's version is {version} and its tag `{given}`; it must be `{tag}`"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_must_agree() {
        let name: ImageName = "alice/web:1.0.0_a".parse().unwrap();
        assert!(check_names(&name, "web", "1.0.0+a").is_ok());
        assert!(check_names(&name, "web", "1.0.0").is_err());
        assert!(check_names(&name, "web2", "1.0.0+a").is_err());
    }
}
