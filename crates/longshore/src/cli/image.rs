//! `longshore image`: what is in the registry, and how it gets there.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reqwest::Method;
use wire::accounts::AccountView;
use wire::builds::BuildView;
use wire::ids::{ImageId, MachineId};
use wire::images::{Dependents, ImageTag, ImageTree, ImageUpdate, ImageView, RepositoryView, TreeImage};
use wire::machine_images::{MachineImageState, MachineImageView};
use wire::names::{ImageName, ImageReference, Owner, RepoName};
use wire::page::Page;

use super::build::{self, LogArgs};
use super::failure::Failure;
use super::ignore::Ignore;
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::printer::one_line;
use super::session::Session;
use super::upload::Source;
use super::{environment, human, pack, words};

/// Verbs of `longshore image`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "ls")]
    List(ListArgs),
    /// List repositories and how many tags each has
    Repositories {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show an image
    Show {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
    },
    /// Upload code with a Dockerfile, build it and put the image into the registry
    Upload(UploadArgs),
    /// Give an image another name; nothing is copied
    Tag {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
        /// The new name, `[owner/]repo[:tag]`; a tag that exists is moved
        name: Reference,
    },
    /// Change what is shown of an image; an empty text removes it
    Update(UpdateArgs),
    /// Show what was made from an image and still needs it
    Dependents {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
    },
    /// Show what an image was made from, and what was made from it
    Tree {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
    },
    /// Have machines fetch an image before somebody needs it there (admins only)
    Prefetch {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
        /// On which machine; may be given several times
        #[arg(long, value_name = "ID", required = true)]
        machine: Vec<MachineId>,
    },
    /// Delete an image
    #[command(alias = "rm")]
    Delete {
        /// `[owner/]repo[:tag]`, or the image's number
        image: ImageArg,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Show a build's log; the same as `longshore build log`
    BuildLog(LogArgs),
}

/// Which images to list.
#[derive(Args, Debug)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    whose: WhoseArgs,
    /// Only images of this owner, such as `public`
    #[arg(long)]
    owner: Option<Owner>,
    /// Only tags of this repository
    #[arg(long)]
    repo: Option<RepoName>,
    /// Only images whose name or description contains this
    #[arg(long, value_name = "TEXT")]
    search: Option<String>,
}

/// What to upload.
#[derive(Args, Debug)]
pub(crate) struct UploadArgs {
    /// A folder (less `.git` and what its `.dockerignore` names), or a zip, tar or tar.gz file
    path: PathBuf,
    /// The image's name, `[owner/]repo[:tag]`
    #[arg(long, short)]
    name: Reference,
    /// The Dockerfile's path in the archive
    #[arg(long, value_name = "PATH")]
    dockerfile: Option<String>,
    /// Return as soon as the build is accepted
    #[arg(long)]
    detach: bool,
    /// Do not show the build's log unless it fails
    #[arg(long, short)]
    quiet: bool,
}

/// What to change of an image.
#[derive(Args, Debug)]
pub(crate) struct UpdateArgs {
    /// `[owner/]repo[:tag]`, or the image's number
    image: ImageArg,
    #[command(flatten)]
    change: ChangeArgs,
}

/// The changes themselves: at least one.
#[derive(Args, Debug)]
#[group(required = true, multiple = true)]
pub(crate) struct ChangeArgs {
    /// The name to show
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
}

/// An image's name as typed and checked.
#[derive(Clone, Debug)]
pub(crate) struct Reference {
    text: String,
    parsed: ImageReference,
}

impl std::str::FromStr for Reference {
    type Err = wire::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self { text: text.to_owned(), parsed: text.parse()? })
    }
}

/// An image by number or by name.
#[derive(Clone, Debug)]
pub(crate) enum ImageArg {
    /// By number.
    Id(ImageId),
    /// By name. A repository whose name is a number needs its owner or tag.
    Name(Reference),
}

impl std::str::FromStr for ImageArg {
    type Err = wire::names::NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse() {
            Ok(id) => Ok(Self::Id(id)),
            Err(_) => Ok(Self::Name(text.parse()?)),
        }
    }
}

/// Runs a verb.
pub(crate) async fn run(command: ImageCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        ImageCommand::List(args) => all(session, args).await,
        ImageCommand::Repositories { page, whose } => repositories(session, &page, &whose).await,
        ImageCommand::Show { image } => show(session, &image).await,
        ImageCommand::Upload(args) => upload(session, args).await,
        ImageCommand::Tag { image, name } => {
            let id = find(session, &image).await?.to_string();
            let body = ImageTag { name: full_name(session, &name).await? };
            let answer = session.client.post(&["api", "v1", "images", &id, "tags"], &body).await?;
            session.done(&answer, words::IMAGE_TAGGED, &[&body.name.to_string()])
        }
        ImageCommand::Update(args) => update(session, args).await,
        ImageCommand::Dependents { image } => dependents(session, &image).await,
        ImageCommand::Tree { image } => tree(session, &image).await,
        ImageCommand::Prefetch { image, machine } => prefetch(session, &image, &machine).await,
        ImageCommand::Delete { image, yes } => delete(session, &image, yes).await,
        ImageCommand::BuildLog(args) => build::log(session, args).await,
    }
}

/// The name with the caller as owner where none was typed.
async fn full_name(session: &Session, name: &Reference) -> anyhow::Result<ImageName> {
    if let Some(owner) = name.parsed.owner.clone() {
        return Ok(name.parsed.clone().with_default_owner(&owner));
    }
    let me: AccountView = session.client.get(&["api", "v1", "me"], &[]).await?.view()?;
    let owner = Owner::from(&me.account);
    Ok(name.parsed.clone().with_default_owner(&owner))
}

/// The number of an image.
async fn find(session: &Session, image: &ImageArg) -> anyhow::Result<ImageId> {
    let name = match image {
        ImageArg::Id(id) => return Ok(*id),
        ImageArg::Name(name) => full_name(session, name).await?.to_string(),
    };
    let answer = session.client.get(&["api", "v1", "images"], &[("name", name.clone())]).await?;
    let page: Page<ImageView> = answer.view()?;
    let found = page.data.iter().find(|image| image.name == name);
    found.map(|image| image.id).ok_or_else(|| {
        let language = session.printer.language;
        Failure::new(language.say(words::NO_IMAGE, &[&name])).hint(language.pick(words::NO_IMAGE_HINT)).into()
    })
}

async fn all(session: &Session, args: ListArgs) -> anyhow::Result<()> {
    let mut query = args.whose.query(&args.page);
    query.extend(args.owner.map(|owner| ("owner", owner.to_string())));
    query.extend(args.repo.map(|repo| ("repo", repo.to_string())));
    query.extend(args.search.map(|text| ("search", text)));
    let answer = session.client.get(&["api", "v1", "images"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<ImageView>(&session.printer, &answer)?
        .into_iter()
        .map(|image| {
            [
                image.id.to_string(),
                image.name,
                human::size(image.size_bytes),
                name_of(&image.source),
                human::ago(image.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["ID", "NAME", "SIZE", "SOURCE", "CREATED"], &rows)
}

async fn repositories(session: &Session, page: &PageArgs, whose: &WhoseArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "repositories"], &whose.query(page)).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<RepositoryView>(&session.printer, &answer)?
        .into_iter()
        .map(|repository| {
            [
                format!("{}/{}", repository.owner, repository.repo),
                repository.tags.to_string(),
                human::ago(repository.updated_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["REPOSITORY", "TAGS", "UPDATED"], &rows)
}

async fn show(session: &Session, image: &ImageArg) -> anyhow::Result<()> {
    let id = find(session, image).await?.to_string();
    let answer = session.client.get(&["api", "v1", "images", &id], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let image: ImageView = answer.view()?;
    let held = session.client.get(&["api", "v1", "images", &id, "machines"], &[]).await?;
    let machines: Vec<String> = held.view::<Page<MachineImageView>>()?.data.iter().map(on_machine).collect();
    let parameters = &image.create_parameters;
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    session.printer.facts(&[
        ("id", Some(image.id.to_string())),
        ("name", Some(image.name)),
        ("display name", image.display_name),
        ("description", image.description),
        ("state", Some(name_of(&image.state))),
        ("pull", Some(image.pull)),
        ("digest", Some(image.digest.to_string())),
        ("size", Some(format!("{} in {} layers", human::size(image.size_bytes), image.layers.len()))),
        ("source", Some(name_of(&image.source))),
        ("build", image.build_id.map(|id| id.to_string())),
        ("parent", image.parent_image_id.map(|id| id.to_string())),
        ("ports", some(parameters.exposed_ports.join(", "))),
        ("entrypoint", some(parameters.entrypoint.join(" "))),
        ("command", some(parameters.command.join(" "))),
        ("user", parameters.user.clone()),
        ("machines", some(machines.join(", "))),
        ("created", Some(human::ago(image.created_at, environment::now(), session.printer.language))),
    ])
}

/// Where an image is, or is to be, in a word or two each.
fn on_machine(held: &MachineImageView) -> String {
    match (held.state, held.pull) {
        (MachineImageState::Held, _) => held.machine_id.to_string(),
        (MachineImageState::Pulling, Some(pull)) => format!(
            "{} (pulling, {} of {}, {}/s)",
            held.machine_id,
            human::size(pull.current_bytes),
            human::size(pull.total_bytes),
            human::size(pull.bytes_per_sec)
        ),
        (state, _) => format!("{} ({})", held.machine_id, name_of(&state)),
    }
}

async fn prefetch(session: &Session, image: &ImageArg, machines: &[MachineId]) -> anyhow::Result<()> {
    let id = find(session, image).await?.to_string();
    for machine in machines {
        let path = ["api", "v1", "images", &id, "machines", machine.as_str()];
        let answer = session.client.put(&path, &serde_json::json!({})).await?;
        session.done(&answer, words::IMAGE_PREFETCHED, &[machine.as_str()])?;
    }
    Ok(())
}

async fn update(session: &Session, args: UpdateArgs) -> anyhow::Result<()> {
    let id = find(session, &args.image).await?.to_string();
    let emptied = |text: String| Some(text).filter(|text| !text.is_empty());
    let body = ImageUpdate {
        display_name: args.change.display_name.map(emptied),
        description: args.change.description.map(emptied),
    };
    let answer = session.client.patch(&["api", "v1", "images", &id], &body).await?;
    session.done(&answer, words::IMAGE_UPDATED, &[&id])
}

async fn dependents(session: &Session, image: &ImageArg) -> anyhow::Result<()> {
    let id = find(session, image).await?.to_string();
    let answer = session.client.get(&["api", "v1", "images", &id, "dependents"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let dependents: Dependents = answer.view()?;
    if dependents.is_empty() {
        session.printer.say(words::NO_DEPENDENTS, &[]);
    }
    for line in dependents_as_lines(&dependents) {
        session.printer.data(&line)?;
    }
    Ok(())
}

/// What still needs an image, one line each.
pub(crate) fn dependents_as_lines(dependents: &Dependents) -> Vec<String> {
    let shown = |name: &Option<String>| name.clone().unwrap_or_else(|| "(somebody else's)".to_owned());
    let images = dependents.images.iter().map(|image| format!("image {} {}", image.id, shown(&image.name)));
    let containers = dependents
        .containers
        .iter()
        .map(|container| format!("container {} {}", container.id, shown(&container.name)));
    images.chain(containers).collect()
}

async fn tree(session: &Session, image: &ImageArg) -> anyhow::Result<()> {
    let id = find(session, image).await?.to_string();
    let answer = session.client.get(&["api", "v1", "images", &id, "tree"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let tree: ImageTree = answer.view()?;
    for line in tree_as_lines(&tree) {
        session.printer.data(&line)?;
    }
    if !tree.is_complete {
        session.printer.warn(words::TREE_IS_CUT, &[]);
    }
    Ok(())
}

/// A family as lines, indented by generation, depth first; the image that was asked for is marked.
fn tree_as_lines(tree: &ImageTree) -> Vec<String> {
    let mut children: BTreeMap<ImageId, Vec<&TreeImage>> = BTreeMap::new();
    let is_shown = |id: &ImageId| tree.images.iter().any(|image| image.id == *id);
    let mut waiting: Vec<(usize, &TreeImage)> = Vec::new();
    for image in &tree.images {
        match image.parent_image_id.filter(is_shown) {
            Some(parent) => children.entry(parent).or_default().push(image),
            None => waiting.insert(0, (0, image)),
        }
    }
    let mut lines = Vec::new();
    while let Some((depth, image)) = waiting.pop() {
        let indent = "  ".repeat(depth);
        let mark = if image.id == tree.id { " *" } else { "" };
        let size = human::size(image.added_bytes);
        let said = image.description.as_deref().map(|text| format!("  {text}")).unwrap_or_default();
        lines.push(one_line(&format!("{indent}{} ({}, +{size}){mark}{said}", image.name, image.id)));
        for container in &image.containers {
            let name = container.name.as_deref().unwrap_or_default();
            lines.push(one_line(&format!("{indent}  container {name} ({})", container.id)));
        }
        if image.others > 0 {
            lines.push(format!("{indent}  and {} of others", image.others));
        }
        let generation = children.remove(&image.id).unwrap_or_default();
        waiting.extend(generation.into_iter().rev().map(|child| (depth + 1, child)));
    }
    lines
}

async fn delete(session: &Session, image: &ImageArg, yes: bool) -> anyhow::Result<()> {
    let id = find(session, image).await?.to_string();
    let shown = match image {
        ImageArg::Id(id) => id.to_string(),
        ImageArg::Name(name) => name.text.clone(),
    };
    session.ask(yes, words::DELETE_IMAGE, &[&shown])?;
    let answer = session.client.delete(&["api", "v1", "images", &id]).await?;
    session.done(&answer, words::IMAGE_DELETED, &[&shown])
}

/// Builds a folder of this machine; `name` is that of the image.
pub(crate) async fn upload_folder(
    session: &Session,
    path: PathBuf,
    name: &str,
    follows: bool,
) -> anyhow::Result<()> {
    let name = name.parse::<Reference>()?;
    let args = UploadArgs { path, name, dockerfile: None, detach: !follows, quiet: false };
    upload(session, args).await
}

async fn upload(session: &Session, args: UploadArgs) -> anyhow::Result<()> {
    let source = source(session, &args)?;
    // A refused token is learned before the first byte of the upload and not after its last.
    session.client.get(&["api", "v1", "me"], &[]).await?;

    let mut query = vec![("image", args.name.text.clone())];
    query.extend(args.dockerfile.clone().map(|path| ("dockerfile", path)));
    let answer = tokio::select! {
        answer = source.send(session, Method::POST, &["api", "v1", "builds"], &query) => answer?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(session.printer.language.pick(words::UPLOAD_STOPPED)).into());
        }
    };
    let accepted: BuildView = answer.view()?;

    if args.detach {
        if !session.shown_as_json(&answer)? {
            session.printer.data(&accepted.id.to_string())?;
        }
        session.printer.hint(words::FOLLOW_HINT, &[&accepted.id.to_string()]);
        return Ok(());
    }
    build::follow_upload(session, accepted.id, args.quiet).await
}

fn source(session: &Session, args: &UploadArgs) -> anyhow::Result<Source> {
    if !pack::is_folder(&args.path)? {
        return Source::file(args.path.clone());
    }
    folder_source(session, &args.path, args.dockerfile.as_deref().unwrap_or("Dockerfile"))
}

/// A folder to build, when it has the Dockerfile.
pub(crate) fn folder_source(session: &Session, path: &Path, dockerfile: &str) -> anyhow::Result<Source> {
    let language = session.printer.language;
    if !path.join(dockerfile).is_file() {
        let shown = path.display().to_string();
        let message = language.say(words::NO_DOCKERFILE, &[&shown, dockerfile]);
        return Err(Failure::new(message).hint(language.pick(words::NO_DOCKERFILE_HINT)).into());
    }
    Source::folder(session, path.to_owned(), Ignore::load(path, dockerfile)?)
}
