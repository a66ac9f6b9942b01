//! Where the images of a run go, and what a run is called.

use sha2::{Digest as _, Sha256};
use store::{git_repos, runners};
use wire::names::{ImageReference, Owner, RepoName, Tag};
use wire::time::Timestamp;

use crate::app::App;
use crate::caller::Subject;
use crate::clients::foreign_registry;
use crate::error::{Error, ErrorKind, Result};

/// The longest name of an image repository.
const IMAGE_REPO_CHARS: usize = 128;
/// The longest name of a job, as Kubernetes has it.
const JOB_CHARS: usize = 63;

/// Where a repository's images go.
pub(super) struct Destination {
    pub(super) owner: Option<Owner>,
    pub(super) repo: RepoName,
    /// The tag that the owner chose.
    pub(super) tag: Option<Tag>,
}

impl Destination {
    /// The whole name, with a tag where the owner chose none.
    pub(super) fn reference(&self, tag: &str) -> Result<ImageReference> {
        let tag = match &self.tag {
            Some(tag) => tag.clone(),
            None => tag.parse()?,
        };
        Ok(ImageReference { owner: self.owner.clone(), repo: self.repo.clone(), tag })
    }
}

/// The runner that a repository names as its `job`, when there is one: it may say where the image goes.
pub(super) async fn named_runner(app: &App, row: &git_repos::Row) -> Result<Option<runners::Row>> {
    if row.content.job.is_empty() {
        return Ok(None);
    }
    let found = runners::by_name(&app.db, Some(row.account_id), &row.content.job).await?;
    Ok(found.into_iter().find(|runner| runner.run_id.is_none()))
}

/// Where an image is copied to, when the runner names another registry than this server's.
pub(super) struct Elsewhere {
    pub(super) address: String,
    pub(super) repository: String,
    pub(super) tag: Option<Tag>,
}

/// Where that is; none when it is this server's.
pub(super) fn elsewhere(app: &App, row: &git_repos::Row, runner: &runners::Row) -> Result<Option<Elsewhere>> {
    let content = &runner.content;
    let address = content.registry_address.trim_end_matches('/');
    if address.is_empty() || super::runners::is_own_registry(app, address) {
        return Ok(None);
    }
    let wrong = |error: Error| {
        let detail = format!("the runner `{}`: {}", content.name, error.detail);
        Error { field: Some("job".to_owned()), ..Error::new(ErrorKind::Invalid, error.code, detail) }
    };
    foreign_registry::base_of(address).map_err(wrong)?;
    let host = address.split_once("://").map_or(address, |(_, host)| host);
    let image = row.content.image.as_str();
    let image = image.strip_prefix(host).and_then(|rest| rest.strip_prefix('/')).unwrap_or(image);
    let (image, image_tag) = match image.rsplit_once(':') {
        Some((image, tag)) if !tag.contains('/') => (image, tag),
        _ => (image, content.image_tag.as_str()),
    };
    let name =
        if content.image_name.is_empty() { slug(&row.content.repo_name) } else { content.image_name.clone() };
    let of_runner = if content.image_repo.is_empty() {
        name
    } else {
        format!("{}/{name}", content.image_repo.trim_matches('/'))
    };
    let repository = if image.is_empty() { of_runner } else { image.to_owned() };
    if !foreign_registry::is_repository(&repository) {
        let detail = format!("`{repository}` (IMAGE_REPO, IMAGE_NAME) is no name of an image in a registry");
        return Err(wrong(Error::invalid("job", detail)));
    }
    let tag = (!image_tag.is_empty()).then(|| image_tag.parse::<Tag>()).transpose()?;
    Ok(Some(Elsewhere { address: address.to_owned(), repository, tag }))
}

/// Where an image goes in this server's registry.
pub(super) fn destination(
    app: &App,
    row: &git_repos::Row,
    runner: Option<&runners::Content>,
    subject: &Subject,
) -> Result<Destination> {
    let wrong = |detail: String| Error::invalid("image", detail);
    // What the repository says itself wins over its runner.
    let of_runner = runner.filter(|runner| !runner.image_name.is_empty()).map(|runner| {
        let owner =
            if runner.image_repo.is_empty() { String::new() } else { format!("{}/", runner.image_repo) };
        let tag = if runner.image_tag.is_empty() { String::new() } else { format!(":{}", runner.image_tag) };
        format!("{owner}{}{tag}", runner.image_name)
    });
    let image = match &of_runner {
        Some(image) if row.content.image.is_empty() => image.as_str(),
        _ => row.content.image.as_str(),
    };
    let own_names = super::runners::own_registries(app);
    let stripped = own_names.iter().find_map(|name| image.strip_prefix(name.as_str())?.strip_prefix('/'));
    let name = stripped.unwrap_or(image);
    let (name, tag) = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (name, None),
    };
    let chosen = if row.content.tag.is_empty() { tag } else { Some(row.content.tag.as_str()) };
    let tag = chosen.map(str::parse::<Tag>).transpose()?;
    if name.is_empty() {
        return Ok(Destination {
            owner: Some(subject.owner()),
            repo: own_name(&row.content.repo_name)?,
            tag,
        });
    }
    let (owner, repo) = match name.split_once('/') {
        Some((owner, repo)) => (Some(owner), repo),
        None => (None, name),
    };
    let advice = format!("name it `{}` or `{}/{}`", slug(repo), subject.name, slug(repo));
    let parsed = |text: &str| format!("`{text}` is not an image of this server's registry; {advice}");
    let owner = owner.map(|owner| owner.parse().map_err(|_| wrong(parsed(image)))).transpose()?;
    let repo = repo.parse().map_err(|_| wrong(parsed(image)))?;
    Ok(Destination { owner: Some(owner.unwrap_or_else(|| subject.owner())), repo, tag })
}

/// Lower-case letters, digits and single hyphens between them; never empty.
fn slug(text: &str) -> String {
    let mut slug = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_ascii_lowercase() || c.is_ascii_digit() {
            slug.push(c);
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
    }
    let slug = slug.trim_end_matches('-');
    if slug.is_empty() { format!("repo-{}", short_hash(text)) } else { slug.to_owned() }
}

/// The name of the images of a repository that says none.
pub(super) fn own_name(repo_name: &str) -> Result<RepoName> {
    Ok(cut(&slug(repo_name), IMAGE_REPO_CHARS).parse()?)
}

/// A slug that fits; one that was cut stays apart from others that begin alike.
fn cut(slug: &str, room: usize) -> String {
    if slug.len() <= room {
        return slug.to_owned();
    }
    let hash = short_hash(slug);
    format!("{}-{hash}", slug[..room - hash.len() - 1].trim_end_matches('-'))
}

fn short_hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..3])
}

/// The names of a run of a minute.
pub(super) struct RunNames {
    slug: String,
    minute: String,
}

impl RunNames {
    /// Of a run that starts now.
    pub(super) fn new(repo_name: &str, now: Timestamp) -> Self {
        let minute = chrono::DateTime::from_timestamp_micros(now.0).unwrap_or_default();
        Self { slug: slug(repo_name), minute: minute.format("%Y%m%d%H%M").to_string() }
    }

    /// Name, job and tag of the first, second … run of the minute.
    pub(super) fn of(&self, twin: u32) -> (String, String, String) {
        let twin = if twin == 1 { String::new() } else { format!("-{twin}") };
        let tag = format!("v{}{twin}", self.minute);
        let room = JOB_CHARS - "-build".len() - tag.len();
        let job = format!("{}-build{tag}", cut(&self.slug, room));
        (format!("event-{job}"), job, tag)
    }

    /// Which one comes after the repository's latest, of at most so many in a minute.
    pub(super) fn after(&self, latest: &str, most: u32) -> u32 {
        let Some((_, twin)) = latest.rsplit_once(&self.minute) else { return 1 };
        let twin =
            if twin.is_empty() { Some(1) } else { twin.strip_prefix('-').and_then(|n| n.parse().ok()) };
        let is_ours = |twin: &u32| (1..=most).contains(twin) && self.of(*twin).0 == latest;
        twin.filter(is_ours).map_or(1, |twin| twin + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_seed() {
        // 2021-11-25 15:17:00
        let names = RunNames::new("prometh_exporter", Timestamp(1_637_853_420_000_000));

        let (event, job, tag) = names.of(1);
        assert_eq!(event, "event-prometh-exporter-buildv202111251517");
        assert_eq!((job.as_str(), tag.as_str()), ("prometh-exporter-buildv202111251517", "v202111251517"));
        let (event, job, tag) = names.of(2);
        assert_eq!(event, "event-prometh-exporter-buildv202111251517-2");
        assert_eq!(
            (job.as_str(), tag.as_str()),
            ("prometh-exporter-buildv202111251517-2", "v202111251517-2")
        );
        assert_eq!(names.after("event-prometh-exporter-buildv202111251516-7", 99), 1, "of an earlier minute");
        assert_eq!(names.after("event-prometh-exporter-buildv202111251517", 99), 2);
        for twin in [2, 9, 10, 99] {
            assert_eq!(names.after(&names.of(twin).0, 99), twin + 1);
        }
        for other in [
            "event-other-buildv202111251517-3",
            "event-prometh-exporter-buildv202111251517-x",
            "202111251517",
        ] {
            assert_eq!(names.after(other, 99), 1, "{other}");
        }
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "a".repeat(150);
        let other = format!("{}b", "a".repeat(149));

        let jobs: Vec<String> =
            [&long, &other].iter().map(|name| RunNames::new(name, Timestamp(0)).of(99).1).collect();

        assert!(jobs.iter().all(|job| job.len() <= JOB_CHARS), "{jobs:?}");
        assert_ne!(jobs[0], jobs[1]);
        let repos: Vec<String> =
            [&long, &other].iter().map(|name| cut(&slug(name), IMAGE_REPO_CHARS)).collect();
        assert!(repos.iter().all(|repo| repo.parse::<RepoName>().is_ok()), "{repos:?}");
        assert_ne!(repos[0], repos[1]);
    }

    #[test]
    fn slugs_are_never_empty() {
        assert_eq!(slug("My App__v2!"), "my-app-v2");
        assert!(slug("仓库").starts_with("repo-"));
        assert_ne!(slug("仓库"), slug("代码"));
    }
}
