//! `longshore container save`: a container as an image.

use clap::Args;
use wire::builds::BuildView;
use wire::images::CreateParameters;
use wire::names::{ImageReference, NameError};
use wire::saves::{ContainerSave, KeptParameters, SavePreview};

use super::build;
use super::container::ContainerArg;
use super::failure::Failure;
use super::session::Session;
use super::{human, words};

/// What to save, and as what.
#[derive(Args, Debug)]
pub(crate) struct SaveArgs {
    /// Its name or number
    container: ContainerArg,
    /// The image to make, `[owner/]repo[:tag]`; a tag that exists is moved
    #[arg(required_unless_present = "preview", value_parser = image_name)]
    image: Option<String>,
    /// Only show what the image would be
    #[arg(long, conflicts_with_all = ["image", "message", "detach", "quiet", "no_pause"])]
    preview: bool,
    /// What was changed
    #[arg(long, short, value_name = "TEXT")]
    message: Option<String>,
    /// Leave an inherited variable out
    #[arg(long, value_name = "NAME")]
    drop_env: Vec<String>,
    /// Leave an inherited port out, such as `8000/tcp`
    #[arg(long, value_name = "PORT")]
    drop_port: Vec<String>,
    /// Leave an inherited volume out
    #[arg(long, value_name = "PATH")]
    drop_volume: Vec<String>,
    /// Leave an inherited label out
    #[arg(long, value_name = "NAME")]
    drop_label: Vec<String>,
    /// Let the container run on meanwhile; a file may be saved half-written
    #[arg(long)]
    no_pause: bool,
    #[command(flatten)]
    follow: FollowArgs,
}

/// How much of it to see.
#[derive(Args, Debug)]
struct FollowArgs {
    /// Return as soon as it is accepted
    #[arg(long)]
    detach: bool,
    /// Do not show the log unless it fails
    #[arg(long, short)]
    quiet: bool,
}

/// An image's name as it is typed, checked here only for its form.
fn image_name(text: &str) -> Result<String, NameError> {
    text.parse::<ImageReference>()?;
    Ok(text.to_owned())
}

impl SaveArgs {
    fn drops_anything(&self) -> bool {
        [&self.drop_env, &self.drop_port, &self.drop_volume, &self.drop_label]
            .iter()
            .any(|dropped| !dropped.is_empty())
    }
}

/// Runs the command.
pub(crate) async fn run(session: &Session, args: SaveArgs) -> anyhow::Result<()> {
    let path = ["api", "v1", "containers", &args.container.0, "save"];
    if args.preview {
        return preview(session, &path).await;
    }
    let Some(image) = &args.image else { return Ok(()) };
    let parameters = if args.drops_anything() {
        let preview: SavePreview = session.client.get(&path, &[]).await?.view()?;
        Some(narrowed(session, preview.parameters, &args)?)
    } else {
        None
    };
    let body = ContainerSave {
        image: image.clone(),
        message: args.message.clone(),
        parameters,
        pause: args.no_pause.then_some(false),
    };
    let answer = session.client.post(&path, &body).await?;
    let accepted: BuildView = answer.view()?;
    if args.follow.detach {
        if !session.shown_as_json(&answer)? {
            session.printer.data(&accepted.id.to_string())?;
        }
        session.printer.hint(words::FOLLOW_HINT, &[&accepted.id.to_string()]);
        return Ok(());
    }
    build::follow_upload(session, accepted.id, args.follow.quiet).await
}

/// The inherited parameters without what is to be left out; what is not among them is an error, so that nobody believes
/// something left out that has another name.
fn narrowed(
    session: &Session,
    mut parameters: CreateParameters,
    args: &SaveArgs,
) -> anyhow::Result<KeptParameters> {
    let absent = |what: &str| Failure::new(session.printer.language.say(words::NOT_INHERITED, &[what]));
    for name in &args.drop_env {
        parameters.env.remove(name).ok_or_else(|| absent(name))?;
    }
    for name in &args.drop_label {
        parameters.labels.remove(name).ok_or_else(|| absent(name))?;
    }
    for (list, dropped) in
        [(&mut parameters.exposed_ports, &args.drop_port), (&mut parameters.volumes, &args.drop_volume)]
    {
        for name in dropped {
            let at = list.iter().position(|one| one == name).ok_or_else(|| absent(name))?;
            list.remove(at);
        }
    }
    let CreateParameters { exposed_ports, env, volumes, labels, .. } = parameters;
    Ok(KeptParameters {
        exposed_ports: Some(exposed_ports),
        env: Some(env),
        volumes: Some(volumes),
        labels: Some(labels),
        ..KeptParameters::default()
    })
}

async fn preview(session: &Session, path: &[&str]) -> anyhow::Result<()> {
    let answer = session.client.get(path, &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let preview: SavePreview = answer.view()?;
    let changes = if preview.is_complete {
        preview.changes.to_string()
    } else {
        format!("{} (not all were looked at)", preview.changes)
    };
    session.printer.facts(&[
        ("made from", Some(preview.parent_image)),
        ("written", Some(human::size(preview.size_bytes))),
        ("may be saved", Some(human::size(preview.max_bytes))),
        ("changes", Some(changes)),
        ("layers", Some(format!("{} of {}", preview.layers, preview.max_layers))),
    ])?;
    let rows: Vec<_> =
        preview.biggest.into_iter().map(|file| [human::size(file.size_bytes), file.path]).collect();
    if !rows.is_empty() {
        session.printer.table(["SIZE", "PATH"], &rows)?;
    }
    for warning in &preview.warnings {
        session.printer.warn(words::AS_IT_IS, &[warning]);
    }
    Ok(())
}
