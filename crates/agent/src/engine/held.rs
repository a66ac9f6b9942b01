//! Which images of our registry the machine has, and making room: what no container was made from and what can be fetched
//! again may go. The engine has the last word: nothing is ever forced.

use std::collections::HashSet;

use bollard::models::ImageSummary;
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveImageOptions};
use wire::link::{LinkError, LinkErrorCode, RegistryImage, RegistryReference};
use wire::machine_images::{
    CleanImages, CleanImagesDone, HELD_IMAGES_MAX, HeldImage, ListImages, ListImagesDone,
};
use wire::names::Digest;

use super::{CALL_TIMEOUT, Engine, is_not_found, within};

/// What the machine has of our registry.
pub(crate) async fn list(engine: &Engine, _: ListImages) -> Result<ListImagesDone, LinkError> {
    let used = used_ids(engine).await?;
    let mut images = Vec::new();
    for image in summaries(engine).await? {
        let is_used = used.contains(&image.id);
        let size_bytes = u64::try_from(image.size).unwrap_or_default();
        for (repository, digest) in image.repo_digests.iter().filter_map(|name| ours(engine, name)) {
            images.push(HeldImage { repository, digest, size_bytes, is_used });
        }
    }
    images.truncate(HELD_IMAGES_MAX);
    let data_root = engine.info().await?.data_root;
    // A file system may hang.
    let disk = tokio::task::spawn_blocking(move || disk(&data_root)).await;
    let (disk_total_bytes, disk_free_bytes) = disk.unwrap_or_default();
    Ok(ListImagesDone { images, disk_total_bytes, disk_free_bytes })
}

/// What the file system of a folder can hold for those who are not root, and what of it is left; zeros when it is not known.
/// What is kept back for root or by a quota counts neither as full nor as free, as `df` has it.
fn disk(folder: &str) -> (u64, u64) {
    let Ok(found) = rustix::fs::statvfs(folder) else { return (0, 0) };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize);
    let (used, free) = (bytes(found.f_blocks.saturating_sub(found.f_bfree)), bytes(found.f_bavail));
    (used.saturating_add(free), free)
}

/// Forgets images until enough is freed.
pub(crate) async fn clean(engine: &Engine, call: CleanImages) -> Result<CleanImagesDone, LinkError> {
    let mut done = CleanImagesDone { removed: Vec::new(), freed_bytes: 0 };
    for candidate in call.candidates.into_iter().take(HELD_IMAGES_MAX) {
        if done.freed_bytes >= call.bytes {
            break;
        }
        if let Some(freed) = remove(engine, &candidate).await? {
            tracing::info!(bytes = freed, "forgot image `{}` to make room", candidate.repository);
            done.freed_bytes = done.freed_bytes.saturating_add(freed);
            done.removed.push(candidate);
        }
    }
    Ok(done)
}

/// What an image took that is not there any more; none when it stays.
async fn remove(engine: &Engine, candidate: &RegistryImage) -> Result<Option<u64>, LinkError> {
    if !matches!(candidate.reference, RegistryReference::Digest(_)) {
        let message = "images are forgotten by digest: a tag may have moved";
        return Err(LinkError::new(LinkErrorCode::Invalid, message));
    }
    let repository = engine.repository(&candidate.repository)?;
    let reference = engine.reference(candidate)?;
    let docker = engine.docker().await?;
    let image = match within(CALL_TIMEOUT, docker.inspect_image(&reference)).await {
        Ok(image) => image,
        Err(error) if is_not_found(&error) => return Ok(Some(0)),
        Err(error) => return Err(error),
    };
    let tags = image.repo_tags.unwrap_or_default();
    let digests = image.repo_digests.unwrap_or_default();
    let is_its_own = |name: &String| {
        name.strip_prefix(&repository).is_some_and(|rest| rest.starts_with(':') || rest.starts_with('@'))
    };
    // Under another name it is somebody's who did not ask us.
    if !tags.iter().chain(&digests).all(is_its_own) {
        return Ok(None);
    }
    let id = image.id.unwrap_or_default();
    if id.is_empty() || used_ids(engine).await?.contains(&id) {
        return Ok(None);
    }
    // Tags first: with the last one of a repository the engine forgets the digests too.
    for name in tags.iter().chain(&digests) {
        let removal = docker.remove_image(name, None::<RemoveImageOptions>, None);
        match within(CALL_TIMEOUT, removal).await {
            Ok(_) => {}
            Err(error) if is_not_found(&error) => {}
            // A container was made from it just now, or an image was built on it.
            Err(error) if error.code == LinkErrorCode::Conflict => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(u64::try_from(image.size.unwrap_or_default()).unwrap_or_default()))
}

/// The ids of all images that containers were made from.
async fn used_ids(engine: &Engine) -> Result<HashSet<String>, LinkError> {
    let docker = engine.docker().await?;
    let options = ListContainersOptions { all: true, ..ListContainersOptions::default() };
    let containers = within(CALL_TIMEOUT, docker.list_containers(Some(options))).await?;
    Ok(containers.into_iter().filter_map(|container| container.image_id).collect())
}

async fn summaries(engine: &Engine) -> Result<Vec<ImageSummary>, LinkError> {
    let docker = engine.docker().await?;
    let options = ListImagesOptions { digests: true, ..ListImagesOptions::default() };
    within(CALL_TIMEOUT, docker.list_images(Some(options))).await
}

/// Repository and digest of `127.0.0.1:5000/owner/repo@sha256:…` when it is our registry's.
fn ours(engine: &Engine, name: &str) -> Option<(String, Digest)> {
    let name = name.strip_prefix(engine.registry())?.strip_prefix('/')?;
    let (repository, digest) = name.split_once('@')?;
    let is_repository = engine.repository(repository).is_ok();
    Some((repository.to_owned(), digest.parse().ok()?)).filter(|_| is_repository)
}
