//! `longshore workload`: what runs in Kubernetes namespaces.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Subcommand;
use wire::ids::WorkloadId;
use wire::workloads::{
    FieldChange, PodView, RevisionView, WorkloadApplied, WorkloadApply, WorkloadKind, WorkloadRollback,
    WorkloadScale, WorkloadView,
};

use super::failure::Failure;
use super::list::{self, PageArgs, name_of};
use super::printer::one_line;
use super::session::Session;
use super::{environment, human, port_forward, rollout, terminal, words};

/// Which workload.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct WorkloadArgs {
    /// `KIND/NAME`, such as `deployment/web`, or its id
    workload: String,
    /// In this namespace [default: the one in which there is such a workload]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// What to apply. Also `longshore deploy`.
#[derive(clap::Args, Clone, Debug)]
pub(crate) struct ApplyArgs {
    /// The file; `-` for standard input
    #[arg(long, short, value_name = "FILE")]
    file: PathBuf,
    /// In this namespace [default: what the file says, or your only one]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    /// Only say what would come of it
    #[arg(long)]
    dry_run: bool,
    /// Wait until it runs, and fail if it does not; for so long at most
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "5m", conflicts_with = "dry_run", value_parser = human::parse_duration)]
    wait: Option<u64>,
}

/// Verbs of `longshore workload`.
#[derive(Debug, Subcommand)]
pub(crate) enum WorkloadCommand {
    /// Apply a file of manifests
    Apply(ApplyArgs),
    /// List workloads
    #[command(visible_alias = "ls")]
    List {
        /// Only of this namespace
        #[arg(long, short, value_name = "NAMESPACE")]
        namespace: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show a workload
    Show {
        #[command(flatten)]
        workload: WorkloadArgs,
    },
    /// List the pods of a namespace
    Pods {
        /// The namespace
        namespace: String,
    },
    /// Print the log of a pod
    Logs {
        /// The namespace
        namespace: String,
        /// The pod, from `longshore workload pods`
        pod: String,
        /// Of this container [default: the first one]
        #[arg(long, short, value_name = "NAME")]
        container: Option<String>,
        /// Of all containers, each line with its container's name before it
        #[arg(long, conflicts_with = "container")]
        all_containers: bool,
        /// The newest lines, of each container
        #[arg(long, value_name = "LINES", default_value_t = 200)]
        tail: u64,
        /// Of the container that ended before the current one
        #[arg(long)]
        previous: bool,
        /// Go on with what is printed
        #[arg(long, short)]
        follow: bool,
    },
    /// Run a command in a pod that runs; its exit status becomes ours
    Exec(terminal::PodExecArgs),
    /// Lead a port of this machine to one of a pod or a service
    PortForward(port_forward::PortForwardArgs),
    /// Change how many pods there are
    Scale {
        #[command(flatten)]
        workload: WorkloadArgs,
        /// How many
        #[arg(long, value_name = "PODS", value_parser = clap::value_parser!(u64).range(0..=100))]
        replicas: u64,
    },
    /// Replace all pods by new ones, one after the other
    Restart {
        #[command(flatten)]
        workload: WorkloadArgs,
    },
    /// List the files that were applied
    Revisions {
        #[command(flatten)]
        workload: WorkloadArgs,
    },
    /// Apply an earlier file again
    Undo {
        #[command(flatten)]
        workload: WorkloadArgs,
        /// Which revision [default: the one before]
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
    },
    /// Delete a workload
    #[command(alias = "rm")]
    Delete {
        #[command(flatten)]
        workload: WorkloadArgs,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: WorkloadCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        WorkloadCommand::Apply(args) => apply(session, args).await,
        WorkloadCommand::PortForward(args) => port_forward::run(session, &args).await,
        WorkloadCommand::List { namespace, page } => {
            let mut query = page.query();
            query.extend(namespace.map(|namespace| ("namespace", namespace)));
            let answer = session.client.get(&["api", "v1", "workloads"], &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let workloads = list::page::<WorkloadView>(&session.printer, &answer)?;
            let rows: Vec<_> = workloads.iter().map(|workload| row(session, workload)).collect();
            session.printer.table(["NAMESPACE", "WORKLOAD", "STATE", "PODS", "REVISION", "CHANGED"], &rows)
        }
        WorkloadCommand::Show { workload } => {
            let id = find(session, &workload).await?;
            let answer = session.client.get(&["api", "v1", "workloads", &id], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            show(session, &answer.view()?)
        }
        WorkloadCommand::Pods { namespace } => pods(session, &namespace).await,
        WorkloadCommand::Logs { namespace, pod, container, all_containers, tail, previous, follow } => {
            let mut query = vec![("tail", tail.to_string()), ("previous", previous.to_string())];
            query.extend(container.map(|container| ("container", container)));
            if all_containers {
                query.push(("all_containers", "true".to_owned()));
            }
            let path = ["api", "v1", "namespaces", &namespace, "pods", &pod, "log"];
            logs(session, &path, query, follow).await
        }
        WorkloadCommand::Exec(args) => terminal::exec_in_pod(session, args).await,
        WorkloadCommand::Scale { workload, replicas } => {
            let id = find(session, &workload).await?;
            let path = ["api", "v1", "workloads", &id, "scale"];
            let answer = session.client.post(&path, &WorkloadScale { replicas }).await?;
            session.done(&answer, words::WORKLOAD_SCALED, &[&workload.workload, &replicas.to_string()])
        }
        WorkloadCommand::Restart { workload } => {
            let id = find(session, &workload).await?;
            let answer = session.client.post_empty(&["api", "v1", "workloads", &id, "restart"]).await?;
            session.done(&answer, words::WORKLOAD_RESTARTED, &[&workload.workload])
        }
        WorkloadCommand::Revisions { workload } => revisions(session, &workload).await,
        WorkloadCommand::Undo { workload, to } => {
            let id = find(session, &workload).await?;
            let path = ["api", "v1", "workloads", &id, "rollback"];
            let answer = session.client.post(&path, &WorkloadRollback { revision: to }).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let applied: WorkloadApplied = answer.view()?;
            session.printer.say(words::WORKLOAD_APPLIED, &[&line(&applied)]);
            Ok(())
        }
        WorkloadCommand::Delete { workload } => {
            let id = find(session, &workload).await?;
            let answer = session.client.delete(&["api", "v1", "workloads", &id]).await?;
            session.done(&answer, words::WORKLOAD_DELETED, &[&workload.workload])
        }
    }
}

/// Prints a log to its end, or what is printed as it comes.
async fn logs(
    session: &Session,
    path: &[&str],
    mut query: Vec<(&str, String)>,
    follow: bool,
) -> anyhow::Result<()> {
    if !follow {
        let answer = session.client.get(path, &query).await?;
        if session.printer.is_json {
            return session.printer.json(&serde_json::json!({ "text": answer.text }).to_string());
        }
        return session.printer.raw(answer.text.as_bytes());
    }
    query.push(("follow", "true".to_owned()));
    let mut stream = session.client.stream(path, &query, "text/plain").await?;
    while let Some(bytes) = stream.chunk().await.map_err(|error| session.client.unreachable(&error))? {
        if session.printer.is_json {
            let text = String::from_utf8_lossy(&bytes);
            session.printer.json(&serde_json::json!({ "text": text }).to_string())?;
        } else {
            session.printer.raw(&bytes)?;
        }
    }
    Ok(())
}

/// Applies a file.
pub(crate) async fn apply(session: &Session, args: ApplyArgs) -> anyhow::Result<()> {
    let ApplyArgs { file, namespace, dry_run, wait } = args;
    let is_stdin = file.as_os_str() == "-";
    let manifest = if is_stdin {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        text
    } else {
        std::fs::read_to_string(&file).with_context(|| format!("cannot read `{}`", file.display()))?
    };
    let name = file.file_name().filter(|_| !is_stdin).map(|name| name.to_string_lossy().into_owned());
    let new = WorkloadApply { manifest, file: name, namespace, dry_run };
    let answer = session.client.post(&["api", "v1", "workloads"], &new).await?;
    let all: Vec<WorkloadApplied> = answer.view()?;
    if !session.shown_as_json(&answer)? {
        say(session, &all, dry_run)?;
    }
    match wait {
        Some(secs) => rollout::until_ready(session, &all, Duration::from_secs(secs)).await,
        None => Ok(()),
    }
}

/// Says what became of a file.
fn say(session: &Session, all: &[WorkloadApplied], dry_run: bool) -> anyhow::Result<()> {
    for applied in all {
        for warning in &applied.warnings {
            session.printer.say(words::WORKLOAD_WARNING, &[warning]);
        }
        let word = if dry_run { words::WORKLOAD_TRIED } else { words::WORKLOAD_APPLIED };
        session.printer.say(word, &[&line(applied)]);
        for change in &applied.changes {
            session.printer.data(&change_line(change))?;
        }
    }
    Ok(())
}

/// A changed field in one line.
fn change_line(change: &FieldChange) -> String {
    let path = &change.path;
    match (&change.before, &change.after) {
        (None, Some(after)) => format!("  + {path}: {}", one_line(after)),
        (Some(before), None) => format!("  - {path}: {}", one_line(before)),
        (before, after) => {
            let value = |value: &Option<String>| one_line(value.as_deref().unwrap_or_default());
            format!("  ~ {path}: {} → {}", value(before), value(after))
        }
    }
}

fn line(applied: &WorkloadApplied) -> String {
    let kind = applied.kind.as_str().to_ascii_lowercase();
    format!("{}/{kind}/{} {}", applied.namespace, applied.name, applied.status)
}

/// The id of a workload that was typed as `KIND/NAME`.
async fn find(session: &Session, wanted: &WorkloadArgs) -> anyhow::Result<String> {
    if let Ok(id) = wanted.workload.parse::<WorkloadId>() {
        return Ok(id.to_string());
    }
    let Some((kind, name)) = wanted.workload.split_once('/') else {
        let usage = Failure::usage(format!("`{}` is no workload: use `KIND/NAME`", wanted.workload));
        return Err(usage.hint("such as `deployment/web`; `longshore workload list` shows yours").into());
    };
    let kind: WorkloadKind = kind.parse().map_err(|error| Failure::usage(format!("{error}")))?;
    let mut query = vec![("limit", wire::page::MAX_LIMIT.to_string())];
    query.extend(wanted.namespace.clone().map(|namespace| ("namespace", namespace)));
    let answer = session.client.get(&["api", "v1", "workloads"], &query).await?;
    let page: wire::page::Page<WorkloadView> = answer.view()?;
    let mut found = page.data.into_iter().filter(|workload| workload.kind == kind && workload.name == name);
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.id.to_string()),
        (None, _) => Err(Failure::new(format!("there is no workload `{}`", wanted.workload))
            .hint("`longshore workload list` shows yours")
            .into()),
        _ => Err(Failure::new(format!("there is a workload `{}` in several namespaces", wanted.workload))
            .hint("say in which: `--namespace NAMESPACE`")
            .into()),
    }
}

async fn pods(session: &Session, namespace: &str) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "namespaces", namespace, "pods"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let pods = answer.view::<Vec<PodView>>()?;
    let rows: Vec<_> = pods
        .iter()
        .map(|pod| {
            [
                pod.name.clone(),
                pod.ready.clone(),
                pod.status.clone(),
                pod.restarts.to_string(),
                pod.message.clone().unwrap_or_default(),
            ]
        })
        .collect();
    session.printer.table(["POD", "READY", "STATUS", "RESTARTS", "WHY"], &rows)
}

async fn revisions(session: &Session, workload: &WorkloadArgs) -> anyhow::Result<()> {
    let id = find(session, workload).await?;
    let answer = session.client.get(&["api", "v1", "workloads", &id, "revisions"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let language = session.printer.language;
    let revisions = answer.view::<Vec<RevisionView>>()?;
    let rows: Vec<_> = revisions
        .iter()
        .map(|revision| {
            let when = human::ago(revision.created_at, environment::now(), language);
            [revision.revision.to_string(), revision.file.clone(), when]
        })
        .collect();
    session.printer.table(["REVISION", "FILE", "APPLIED"], &rows)
}

fn row(session: &Session, workload: &WorkloadView) -> [String; 6] {
    [
        workload.namespace.to_string(),
        format!("{}/{}", workload.kind.as_str().to_ascii_lowercase(), workload.name),
        name_of(&workload.state),
        workload
            .replicas
            .map(|replicas| format!("{}/{}", replicas.ready, replicas.desired))
            .unwrap_or_default(),
        workload.revision.to_string(),
        human::ago(workload.updated_at, environment::now(), session.printer.language),
    ]
}

fn show(session: &Session, workload: &WorkloadView) -> anyhow::Result<()> {
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let pods = workload.replicas.map(|pods| {
        format!("{} wished, {} of the current revision, {} answer", pods.desired, pods.updated, pods.ready)
    });
    let mut lines = vec![
        ("id", Some(workload.id.to_string())),
        ("kind", Some(workload.kind.as_str().to_owned())),
        ("name", Some(workload.name.clone())),
        ("namespace", Some(workload.namespace.to_string())),
        ("cluster", Some(workload.cluster.to_string())),
        ("state", Some(name_of(&workload.state))),
        ("why", workload.message.clone()),
        ("pods", pods),
    ];
    let printed = workload.log_tail.iter().flat_map(|text| text.lines());
    lines.extend(printed.map(|line| ("log", Some(line.to_owned()))));
    lines.extend(workload.images.iter().map(|image| ("image", Some(image.clone()))));
    for port in &workload.ports {
        let address = port.address.as_deref().unwrap_or("-");
        let node = port.node_port.map(|port| format!(", {port} on every node")).unwrap_or_default();
        lines.push(("port", Some(format!("{address}:{}{node}", port.port))));
    }
    lines.push(("file", Some(format!("{}, revision {}", workload.file, workload.revision))));
    lines.push(("changed", Some(ago(workload.updated_at))));
    session.printer.facts(&lines)
}
