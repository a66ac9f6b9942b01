//! `longshore run`: runs of pipelines.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use reqwest::Method;
use serde_json::json;
use tokio::time::Instant;
use wire::builds::{LogChunk, OperationState};
use wire::ids::RunId;
use wire::runs::{RunStep, RunView};

use super::build::LogOutput;
use super::client::SILENCE;
use super::failure::Failure;
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::session::Session;
use super::sse::Events;
use super::{environment, git_repo, human, image, words};

/// How long a lost connection is tried again before the command gives up. The run goes on either way.
const OUTAGE: Duration = Duration::from_mins(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Verbs of `longshore run`.
#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only of this git repository (its name or number)
        #[arg(long, value_name = "REPO")]
        repo: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show a run
    Show {
        /// Its number, from `longshore run list`
        #[arg(value_parser = list::parse_id::<RunId>)]
        id: RunId,
    },
    /// Build a git repository, or a working copy of one
    Start(StartArgs),
    /// Follow a run to its end; exit 1 when it fails
    Watch {
        /// Its number, from `longshore run list`
        #[arg(value_parser = list::parse_id::<RunId>)]
        id: RunId,
    },
    /// Show a run's log
    Log {
        /// Its number, from `longshore run list`
        #[arg(value_parser = list::parse_id::<RunId>)]
        id: RunId,
        /// Go on until the run ends; exit 1 when it fails
        #[arg(long, short)]
        follow: bool,
    },
    /// Stop a run
    Cancel {
        /// Its number, from `longshore run list`
        #[arg(value_parser = list::parse_id::<RunId>)]
        id: RunId,
    },
    /// Build the commit of a run again
    Retry {
        /// Its number, from `longshore run list`
        #[arg(value_parser = list::parse_id::<RunId>)]
        id: RunId,
        /// Follow it to its end; exit 1 when it fails
        #[arg(long, short)]
        follow: bool,
    },
}

/// What to build.
#[derive(Args, Debug)]
pub(crate) struct StartArgs {
    /// The git repository (its name or number), or a folder of this machine (`.`, `./app`, `/home/me/app`): a working copy,
    /// which is uploaded without git and built as it is
    repo: String,
    /// The git repository that a folder is a working copy of (its name or number) [default: the folder's name]
    #[arg(long = "repo", value_name = "REPO", conflicts_with = "image")]
    copy_of: Option<String>,
    /// Only build an image of a folder: `[owner/]repo[:tag]`; no git repository is needed for that, and it is no run
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// Another branch, tag or commit than the repository's own
    #[arg(long, value_name = "REF")]
    r#ref: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Follow it to its end; exit 1 when it fails
    #[arg(long, short)]
    follow: bool,
}

/// Runs a verb.
pub(crate) async fn run(command: RunCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        RunCommand::List { repo, page, whose } => all(session, repo.as_deref(), &page, &whose).await,
        RunCommand::Show { id } => show(session, id).await,
        RunCommand::Start(args) if is_folder(&args.repo) => {
            let path = PathBuf::from(&args.repo);
            anyhow::ensure!(args.r#ref.is_none(), "a folder is built as it is: leave `--ref` out");
            match &args.image {
                Some(name) => image::upload_folder(session, path, name, args.follow).await,
                None => start_folder(session, &path, &args).await,
            }
        }
        RunCommand::Start(args) => {
            let repo = git_repo::find(session, &args.repo).await?;
            let body =
                json!({"git_repo_id": repo.id, "git_ref": args.r#ref, "description": args.description});
            let answer = session.client.post(&["api", "v1", "runs"], &body).await?;
            started(session, &answer, args.follow).await
        }
        RunCommand::Watch { id } | RunCommand::Log { id, follow: true } => follow(session, id).await,
        RunCommand::Log { id, follow: false } => log_so_far(session, id).await,
        RunCommand::Cancel { id } => {
            let id = id.to_string();
            let answer = session.client.post_empty(&["api", "v1", "runs", &id, "cancel"]).await?;
            session.done(&answer, words::RUN_CANCELLED, &[&id])
        }
        RunCommand::Retry { id, follow } => {
            let id = id.to_string();
            let answer = session.client.post_empty(&["api", "v1", "runs", &id, "retry"]).await?;
            started(session, &answer, follow).await
        }
    }
}

/// Names of repositories do not look like this.
fn is_folder(text: &str) -> bool {
    text == "." || text == ".." || ["./", "../", "/"].iter().any(|start| text.starts_with(start))
}

/// Uploads the part of a working copy that its git repository builds, and starts a run of that.
async fn start_folder(session: &Session, path: &Path, args: &StartArgs) -> anyhow::Result<()> {
    let whole = std::fs::canonicalize(path).with_context(|| format!("cannot read `{}`", path.display()))?;
    let name = match &args.copy_of {
        Some(name) => name.clone(),
        None => whole.file_name().unwrap_or_default().to_string_lossy().into_owned(),
    };
    let hint = if args.copy_of.is_none() { words::WORKING_COPY_HINT } else { words::NO_GIT_REPO_HINT };
    let repo = git_repo::find_or(session, &name, hint).await?;
    let inside = |path: &str| path.split('/').filter(|part| !matches!(*part, "" | ".")).collect::<PathBuf>();
    let build_path = inside(&repo.build_path);
    let folder = whole.join(&build_path);
    let dockerfile = inside(&repo.dockerfile);
    // From the root or from the folder, as with a commit.
    let dockerfile = match dockerfile.strip_prefix(&build_path) {
        _ if dockerfile.as_os_str().is_empty() => PathBuf::from("Dockerfile"),
        Ok(rest) if folder.join(rest).is_file() => rest.to_owned(),
        _ => dockerfile,
    };
    let dockerfile = dockerfile.display().to_string();
    let source = image::folder_source(session, &folder, &dockerfile)?;
    let mut query = vec![("git_repo_id", repo.id.to_string()), ("dockerfile", dockerfile)];
    query.extend(args.description.clone().map(|text| ("description", text)));
    let answer = tokio::select! {
        answer = source.send(session, Method::POST, &["api", "v1", "runs", "upload"], &query) => answer?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Failure::new(session.printer.language.pick(words::UPLOAD_STOPPED)).into());
        }
    };
    started(session, &answer, args.follow).await
}

async fn started(session: &Session, answer: &super::client::Answer, follows: bool) -> anyhow::Result<()> {
    let run: RunView = answer.view()?;
    if follows {
        session.printer.say(words::RUN_STARTED, &[&run.name, &run.id.to_string()]);
        return follow(session, run.id).await;
    }
    if session.shown_as_json(answer)? {
        return Ok(());
    }
    session.printer.say(words::RUN_STARTED, &[&run.name, &run.id.to_string()]);
    session.printer.hint(words::RUN_WATCH_HINT, &[&run.id.to_string()]);
    session.printer.data(&run.id.to_string())
}

async fn all(
    session: &Session,
    repo: Option<&str>,
    page: &PageArgs,
    whose: &WhoseArgs,
) -> anyhow::Result<()> {
    let mut query = whose.query(page);
    if let Some(repo) = repo {
        query.push(("git_repo_id", git_repo::find(session, repo).await?.id.to_string()));
    }
    let answer = session.client.get(&["api", "v1", "runs"], &query).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<RunView>(&session.printer, &answer)?
        .into_iter()
        .map(|run| {
            [
                run.id.to_string(),
                run.repo_name.clone(),
                name_of(&run.state),
                run.reason.clone().unwrap_or_default(),
                short(run.commit.as_deref()),
                format!("{}:{}", run.image, run.image_tag),
                name_of(&run.cause),
                human::ago(run.created_at, now, session.printer.language),
                took(&run).unwrap_or_default(),
            ]
        })
        .collect();
    let titles = ["ID", "REPO", "STATE", "REASON", "COMMIT", "IMAGE", "CAUSE", "CREATED", "TOOK"];
    session.printer.table(titles, &rows)
}

fn short(commit: Option<&str>) -> String {
    commit.unwrap_or_default().chars().take(12).collect()
}

fn took(run: &RunView) -> Option<String> {
    let (started, ended) = (run.started_at?, run.ended_at?);
    Some(human::duration(ended.unix_secs() - started.unix_secs()))
}

/// `fetch 2 s, build 31 s, push`
fn steps(steps: &[RunStep]) -> String {
    let shown = steps.iter().map(|step| match step.ended_at {
        Some(ended) => {
            let took = human::duration(ended.unix_secs() - step.started_at.unix_secs());
            format!("{} {took}", name_of(&step.name))
        }
        None => name_of(&step.name),
    });
    shown.collect::<Vec<_>>().join(", ")
}

async fn show(session: &Session, id: RunId) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "runs", &id.to_string()], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let run: RunView = answer.view()?;
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let filled = |text: String| (!text.is_empty()).then_some(text);
    session.printer.facts(&[
        ("id", Some(run.id.to_string())),
        ("name", Some(run.name.clone())),
        ("repo", Some(run.repo_name.clone())),
        ("account", Some(run.account.to_string())),
        ("state", Some(name_of(&run.state))),
        ("reason", run.reason.clone()),
        ("message", run.message.clone()),
        ("cause", Some(name_of(&run.cause))),
        ("ref", filled(run.git_ref.clone())),
        ("commit", run.commit.clone()),
        ("image", Some(format!("{}:{}", run.image, run.image_tag))),
        ("digest", run.digest.as_ref().map(ToString::to_string)),
        ("steps", filled(steps(&run.steps))),
        ("retry of", run.retry_of.map(|id| id.to_string())),
        ("description", filled(run.description.clone())),
        ("build", Some(run.uuid.to_string())),
        ("created", Some(ago(run.created_at))),
        ("took", took(&run)),
    ])
}

async fn log_so_far(session: &Session, id: RunId) -> anyhow::Result<()> {
    let path = ["api", "v1", "runs", &id.to_string(), "log"];
    let mut response = session.client.stream(&path, &[], "text/plain").await?;
    let mut text = LogOutput::new(&session.printer);
    while let Some(bytes) =
        tokio::time::timeout(SILENCE, response.chunk()).await?.map_err(|e| session.client.unreachable(&e))?
    {
        text.push(&session.printer, &bytes)?;
    }
    Ok(())
}

/// Shows the log to the run's end. A lost connection is taken up again where it broke off.
async fn follow(session: &Session, id: RunId) -> anyhow::Result<()> {
    let mut output = LogOutput::new(&session.printer);
    let mut offset = 0;
    let mut lost_at: Option<Instant> = None;
    let run = loop {
        let before = offset;
        match follow_once(session, id, &mut offset, &mut output).await {
            Ok(Some(run)) => break run,
            Ok(None) => {}
            Err(error) => {
                let is_refused = Failure::of(&error).and_then(|failure| failure.status).is_some();
                if is_refused || Failure::of(&error).is_none() || (offset == 0 && lost_at.is_none()) {
                    return Err(error);
                }
            }
        }
        if offset > before {
            lost_at = None;
        }
        let lost = *lost_at.get_or_insert_with(Instant::now);
        let language = session.printer.language;
        if lost.elapsed() > OUTAGE {
            return Err(Failure::new(language.say(words::NO_ANSWER, &[&session.client.server()])).into());
        }
        session.printer.say(words::TRYING_AGAIN, &[]);
        tokio::time::sleep(PAUSE).await;
    };
    let language = session.printer.language;
    let image = format!("{}:{}", run.image, run.image_tag);
    match run.state {
        OperationState::Succeeded => {
            session.printer.say(words::RUN_SUCCEEDED, &[&run.name, &image]);
            Ok(())
        }
        OperationState::Cancelled => {
            Err(Failure::new(language.say(words::RUN_WAS_CANCELLED, &[&run.name])).into())
        }
        _ => {
            let why = run.message.or(run.reason).unwrap_or_default();
            Err(Failure::new(language.say(words::RUN_FAILED, &[&run.name, &why])).into())
        }
    }
}

/// One connection: the ended run, or nothing when the stream ended before the run did.
async fn follow_once(
    session: &Session,
    id: RunId,
    offset: &mut u64,
    output: &mut LogOutput,
) -> anyhow::Result<Option<RunView>> {
    let client = &session.client;
    let query = [("offset", offset.to_string())];
    let path = ["api", "v1", "runs", &id.to_string(), "log"];
    let mut response = client.stream(&path, &query, "text/event-stream").await?;
    let mut events = Events::default();
    loop {
        let bytes = match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) | Err(_) => return Ok(None),
            Ok(Err(error)) => return Err(client.unreachable(&error).into()),
        };
        for event in events.push(&bytes)? {
            match event.name.as_str() {
                "log" => {
                    let chunk: LogChunk = serde_json::from_str(&event.data)?;
                    let end = event.id.as_deref().and_then(|id| id.parse().ok());
                    if chunk.offset >= *offset {
                        output.push(&session.printer, chunk.text.as_bytes())?;
                    }
                    *offset = end.unwrap_or(chunk.offset + chunk.text.len() as u64).max(*offset);
                }
                "end" => return Ok(Some(serde_json::from_str(&event.data)?)),
                _ => {}
            }
        }
    }
}
