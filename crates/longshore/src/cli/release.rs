//! `longshore release`: charts that are installed into namespaces.

use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use tokio::time::Instant;
use wire::builds::{LogChunk, OperationState};
use wire::page::Page;
use wire::releases::{
    ReleaseAction, ReleaseInstall, ReleaseManifestView, ReleaseOperationView, ReleasePlan,
    ReleaseRevisionView, ReleaseRollback, ReleaseStatusView, ReleaseUpgrade, ReleaseValuesView, ReleaseView,
};

use super::build::LogOutput;
use super::client::{Answer, SILENCE};
use super::failure::Failure;
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::printer::printable;
use super::session::Session;
use super::sse::Events;
use super::{environment, human, words};

/// How long a lost connection is tried again before the command gives up. The operation goes on either way.
const OUTAGE: Duration = Duration::from_mins(2);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_secs(1);

/// Values by name.
type Values = serde_json::Map<String, serde_json::Value>;

/// Verbs of `longshore release`.
#[derive(Debug, Subcommand)]
pub(crate) enum ReleaseCommand {
    /// List releases, newest first
    #[command(visible_alias = "ls")]
    List {
        /// Only of this namespace
        #[arg(long, short, value_name = "NAMESPACE")]
        namespace: Option<String>,
        /// Only from this chart repository
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show a release with what is there of it now
    Show {
        /// Its name or id
        release: String,
    },
    /// Install a chart
    Install(InstallArgs),
    /// Give a release another version of its chart, another chart or other values
    Upgrade(UpgradeArgs),
    /// Go back to an earlier revision
    Rollback {
        /// Its name or id
        release: String,
        /// Which revision [default: the one before]
        #[arg(long, value_name = "NUMBER")]
        to: Option<u64>,
        #[command(flatten)]
        way: WayArgs,
    },
    /// List the revisions of a release
    History {
        /// Its name or id
        release: String,
    },
    /// Print the values of a release that differ from the chart's
    Values {
        /// Its name or id
        release: String,
        /// Of which revision [default: the newest]
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
    },
    /// Print what a release consists of
    Manifest {
        /// Its name or id
        release: String,
        /// Which revision [default: the newest]
        #[arg(long, value_name = "NUMBER")]
        revision: Option<u64>,
        /// Print what is made at certain moments alone
        #[arg(long)]
        hooks: bool,
    },
    /// Print what Helm said when something was done to a release last, to its end
    Log {
        /// Its name or id
        release: String,
    },
    /// Stop what is being done to a release
    Cancel {
        /// Its name or id
        release: String,
    },
    /// Bring a release out of a pending state that nobody works on
    Recover {
        /// Its name or id
        release: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
    },
    /// Remove a release and everything of it
    Uninstall {
        /// Its name or id
        release: String,
        /// Do not wait for the end
        #[arg(long)]
        detach: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// How something is done.
#[derive(Args, Clone, Debug)]
pub(crate) struct WayArgs {
    /// End without waiting until everything answers
    #[arg(long)]
    no_wait: bool,
    /// Seconds that each step may take
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u64).range(10..=3_600))]
    timeout: Option<u64>,
    /// Only say what would change
    #[arg(long)]
    dry_run: bool,
    /// Do not wait for the end
    #[arg(long, conflicts_with = "dry_run")]
    detach: bool,
}

impl WayArgs {
    fn wait(&self) -> Option<bool> {
        self.no_wait.then_some(false)
    }
}

/// Values of one's own.
#[derive(Args, Clone, Debug)]
pub(crate) struct ValuesArgs {
    /// Values that differ from the chart's, as YAML; `-` for standard input
    #[arg(long, short = 'f', value_name = "FILE")]
    values: Option<PathBuf>,
    /// One value, such as `image.tag=1.27`; can be repeated
    #[arg(long, value_name = "KEY=VALUE", conflicts_with = "values", value_parser = parse_set)]
    set: Vec<(Vec<String>, serde_json::Value)>,
    /// Leave out the chart's definitions of kinds
    #[arg(long)]
    skip_crds: bool,
}

/// What to install.
#[derive(Args, Debug)]
pub(crate) struct InstallArgs {
    /// The release's name
    name: String,
    /// Repository and chart, such as `bitnami/nginx`
    chart: String,
    /// Which version [default: the best one]
    #[arg(long)]
    version: Option<String>,
    /// In which namespace [default: your only one]
    #[arg(long, short, value_name = "NAMESPACE")]
    namespace: Option<String>,
    #[command(flatten)]
    values: ValuesArgs,
    #[command(flatten)]
    way: WayArgs,
}

/// What to change.
#[derive(Args, Debug)]
pub(crate) struct UpgradeArgs {
    /// Its name or id
    release: String,
    /// Another chart, such as `bitnami/nginx`
    chart: Option<String>,
    /// Which version [default: the current one]
    #[arg(long)]
    version: Option<String>,
    #[command(flatten)]
    values: ValuesArgs,
    /// Put the values over the current ones instead of in their place
    #[arg(long)]
    reuse_values: bool,
    /// Begin from the chart's own values
    #[arg(long, conflicts_with = "reuse_values")]
    reset_values: bool,
    #[command(flatten)]
    way: WayArgs,
}

/// `a.b=c`: a place and what to put there, numbers and switches as such.
fn parse_set(text: &str) -> Result<(Vec<String>, serde_json::Value), String> {
    let wrong = || format!("`{text}` is no `KEY=VALUE`, such as `image.tag=1.27`");
    let (place, value) = text.split_once('=').ok_or_else(wrong)?;
    let place: Vec<String> = place.split('.').map(str::to_owned).collect();
    if place.iter().any(|part| part.is_empty() || part.contains(['[', ']'])) {
        return Err(format!("{}; use `--values FILE` for lists", wrong()));
    }
    let value = match value {
        "true" => true.into(),
        "false" => false.into(),
        "null" => serde_json::Value::Null,
        _ => value.parse::<i64>().map_or_else(|_| value.into(), Into::into),
    };
    Ok((place, value))
}

impl ValuesArgs {
    /// As text, or as the values that were typed one by one.
    fn read(&self) -> anyhow::Result<(Option<String>, Option<Values>)> {
        if let Some(file) = &self.values {
            let mut text = String::new();
            if file.as_os_str() == "-" {
                std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
            } else {
                text = std::fs::read_to_string(file)
                    .with_context(|| format!("cannot read `{}`", file.display()))?;
            }
            return Ok((Some(text), None));
        }
        if self.set.is_empty() {
            return Ok((None, None));
        }
        let mut values = serde_json::Value::Object(serde_json::Map::new());
        for (place, value) in &self.set {
            let mut at = &mut values;
            for part in place {
                if !at.is_object() {
                    *at = serde_json::Value::Object(serde_json::Map::new());
                }
                at = &mut at[part.as_str()];
            }
            *at = value.clone();
        }
        Ok((None, values.as_object().cloned()))
    }
}

/// Runs a verb.
pub(crate) async fn run(command: ReleaseCommand, session: &Session) -> anyhow::Result<()> {
    let client = &session.client;
    match command {
        ReleaseCommand::List { namespace, repo, page, whose } => {
            let mut query = whose.query(&page);
            query.extend(namespace.map(|name| ("namespace", name)));
            query.extend(repo.map(|name| ("repo", name)));
            let answer = client.get(&["api", "releases"], &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let rows: Vec<_> = list::page::<ReleaseView>(&session.printer, &answer)?
                .iter()
                .map(|release| row(session, release))
                .collect();
            let titles = ["NAME", "NAMESPACE", "CHART", "REVISION", "STATE", "CHANGED", "WHY"];
            session.printer.table(titles, &rows)
        }
        ReleaseCommand::Show { release } => {
            let answer = client.get(&["api", "releases", &release], &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            show(session, &answer.view()?)
        }
        ReleaseCommand::Install(args) => {
            let (values, values_json) = args.values.read()?;
            let new = ReleaseInstall {
                name: args.name,
                chart: args.chart,
                version: args.version,
                namespace: args.namespace,
                values,
                values_json,
                wait: args.way.wait(),
                timeout_secs: args.way.timeout,
                skip_crds: args.values.skip_crds,
                dry_run: args.way.dry_run,
                ..ReleaseInstall::default()
            };
            let answer = client.post(&["api", "releases"], &new).await?;
            begun(session, &answer, &args.way).await
        }
        ReleaseCommand::Upgrade(args) => {
            let (values, values_json) = args.values.read()?;
            let change = ReleaseUpgrade {
                chart: args.chart,
                version: args.version,
                // A single value is meant beside the others.
                reuse_values: args.reuse_values || (values_json.is_some() && !args.reset_values),
                values,
                values_json,
                reset_values: args.reset_values,
                wait: args.way.wait(),
                timeout_secs: args.way.timeout,
                skip_crds: args.values.skip_crds,
                dry_run: args.way.dry_run,
            };
            let answer = client.post(&["api", "releases", &args.release, "upgrade"], &change).await?;
            begun(session, &answer, &args.way).await
        }
        ReleaseCommand::Rollback { release, to, way } => {
            let change = ReleaseRollback {
                revision: to,
                wait: way.wait(),
                timeout_secs: way.timeout,
                dry_run: way.dry_run,
            };
            let answer = client.post(&["api", "releases", &release, "rollback"], &change).await?;
            begun(session, &answer, &way).await
        }
        ReleaseCommand::History { release } => history(session, &release).await,
        ReleaseCommand::Values { release, revision } => {
            let answer = client.get(&["api", "releases", &release, "values"], &of(revision)).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let values: ReleaseValuesView = answer.view()?;
            session.printer.data(printable(&values.values).trim_end())
        }
        ReleaseCommand::Manifest { release, revision, hooks } => {
            let answer = client.get(&["api", "releases", &release, "manifest"], &of(revision)).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let manifest: ReleaseManifestView = answer.view()?;
            let text = if hooks { manifest.hooks } else { manifest.manifest };
            session.printer.data(printable(&text).trim_end())
        }
        ReleaseCommand::Log { release } => {
            let operation = newest(session, &release).await?;
            follow(session, &operation).await.map(drop)
        }
        ReleaseCommand::Cancel { release } => {
            let operation = newest(session, &release).await?;
            let path = ["api", "release-operations", &operation.id.to_string(), "cancel"];
            let answer = client.post_empty(&path).await?;
            session.done(&answer, words::RELEASE_CANCELLED, &[&release])
        }
        ReleaseCommand::Recover { release, detach } => {
            let answer = client.post_empty(&["api", "releases", &release, "recover"]).await?;
            watched(session, &answer, detach).await
        }
        ReleaseCommand::Uninstall { release, detach, yes } => {
            session.ask(yes, words::UNINSTALL_RELEASE, &[&release])?;
            let answer = client.delete(&["api", "releases", &release]).await?;
            watched(session, &answer, detach).await
        }
    }
}

fn of(revision: Option<u64>) -> Vec<(&'static str, String)> {
    revision.map(|revision| ("revision", revision.to_string())).into_iter().collect()
}

/// Shows a plan, or sees what was accepted to its end.
async fn begun(session: &Session, answer: &Answer, way: &WayArgs) -> anyhow::Result<()> {
    if way.dry_run {
        if session.shown_as_json(answer)? {
            return Ok(());
        }
        return plan(session, &answer.view()?);
    }
    watched(session, answer, way.detach).await
}

/// Sees what was accepted to its end, unless nobody waits for it.
async fn watched(session: &Session, answer: &Answer, detach: bool) -> anyhow::Result<()> {
    let release: ReleaseView = answer.view()?;
    let Some(operation) = release.operation.clone().filter(|_| !detach) else {
        if session.shown_as_json(answer)? {
            return Ok(());
        }
        session.printer.say(words::RELEASE_BEGUN, &[&release.name, &name_of(&release.state)]);
        session.printer.hint(words::RELEASE_LOG_HINT, &[&release.name]);
        return session.printer.data(&release.id.to_string());
    };
    let ended = follow(session, &operation).await?;
    if ended.action == ReleaseAction::Uninstall {
        if session.printer.is_json {
            return session.printer.json(&serde_json::to_string(&ended)?);
        }
        session.printer.say(words::RELEASE_UNINSTALLED, &[&release.name]);
        return Ok(());
    }
    let answer = session.client.get(&["api", "releases", &release.id.to_string()], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let status: ReleaseStatusView = answer.view()?;
    session.printer.say(
        words::RELEASE_DEPLOYED,
        &[&status.release.name, &status.release.revision.to_string(), &name_of(&status.release.state)],
    );
    match status.notes {
        Some(notes) => session.printer.data(printable(&notes).trim_end()),
        None => Ok(()),
    }
}

fn plan(session: &Session, plan: &ReleasePlan) -> anyhow::Result<()> {
    for warning in &plan.warnings {
        session.printer.warn(words::RELEASE_LEFT_OUT, &[warning]);
    }
    for change in plan.changes.iter().filter(|change| change.change != "unchanged") {
        session.printer.line(&format!("{} {} {}", change.change, change.kind.as_str(), change.name));
    }
    if plan.diff.is_empty() {
        session.printer.say(words::RELEASE_SAME, &[&plan.name]);
        return Ok(());
    }
    session.printer.data(printable(&plan.diff).trim_end())
}

fn row(session: &Session, release: &ReleaseView) -> [String; 7] {
    [
        release.name.clone(),
        release.namespace.to_string(),
        format!("{}/{} {}", release.repo, release.chart, release.chart_version),
        release.revision.to_string(),
        name_of(&release.state),
        human::ago(release.updated_at, environment::now(), session.printer.language),
        release.message.clone().unwrap_or_default(),
    ]
}

fn show(session: &Session, status: &ReleaseStatusView) -> anyhow::Result<()> {
    let release = &status.release;
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let operation = release
        .operation
        .as_ref()
        .map(|operation| format!("{} {}", name_of(&operation.action), name_of(&operation.state)));
    let ready = status.is_ready.map(|is_ready| if is_ready { "yes" } else { "no" }.to_owned());
    let mut lines = vec![
        ("id", Some(release.id.to_string())),
        ("name", Some(release.name.clone())),
        ("namespace", Some(release.namespace.to_string())),
        ("cluster", Some(release.cluster.to_string())),
        ("chart", Some(format!("{}/{} {}", release.repo, release.chart, release.chart_version))),
        ("app version", release.app_version.clone()),
        ("revision", Some(release.revision.to_string())),
        ("state", Some(name_of(&release.state))),
        ("why", release.message.clone()),
        ("last operation", operation),
        ("ready", ready),
        ("changed", Some(ago(release.updated_at))),
    ];
    for resource in &status.resources {
        let mut text =
            vec![format!("{} {}: {}", resource.kind.as_str(), resource.name, name_of(&resource.state))];
        text.extend(resource.hook.iter().map(|hook| format!(" ({hook})")));
        for port in &resource.ports {
            let node = port.node_port.map(|port| format!(", {port} on every node")).unwrap_or_default();
            text.push(format!(", port {}{node}", port.port));
        }
        text.extend(resource.message.iter().map(|message| format!(": {message}")));
        lines.push(("object", Some(text.concat())));
    }
    session.printer.facts(&lines)?;
    match &status.notes {
        Some(notes) => session.printer.data(&format!("\n{}", printable(notes).trim_end())),
        None => Ok(()),
    }
}

async fn history(session: &Session, release: &str) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "releases", release, "history"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let rows: Vec<_> = list::page::<ReleaseRevisionView>(&session.printer, &answer)?
        .into_iter()
        .map(|revision| {
            [
                revision.revision.to_string(),
                revision.updated.chars().take(19).collect(),
                revision.status,
                revision.chart,
                revision.app_version.unwrap_or_default(),
                revision.description,
            ]
        })
        .collect();
    session.printer.table(["REVISION", "UPDATED", "STATUS", "CHART", "APP VERSION", "DESCRIPTION"], &rows)
}

/// What was done to a release last. It may be gone.
async fn newest(session: &Session, release: &str) -> anyhow::Result<ReleaseOperationView> {
    let answer = session.client.get(&["api", "releases", release], &[]).await?;
    let status: ReleaseStatusView = answer.view()?;
    let query = [("release_id", status.release.id.to_string()), ("limit", "1".to_owned())];
    let answer = session.client.get(&["api", "release-operations"], &query).await?;
    let page: Page<ReleaseOperationView> = answer.view()?;
    let newest = page.data.into_iter().next();
    newest.ok_or_else(|| Failure::new(format!("nothing was done to `{release}` yet")).into())
}

/// Shows the log to the operation's end. A lost connection is taken up again where it broke off.
async fn follow(session: &Session, operation: &ReleaseOperationView) -> anyhow::Result<ReleaseOperationView> {
    let mut output = LogOutput::new(&session.printer);
    let mut offset = 0;
    let mut lost_at: Option<Instant> = None;
    let language = session.printer.language;
    let ended = loop {
        let before = offset;
        match follow_once(session, operation, &mut offset, &mut output).await {
            Ok(Some(ended)) => break ended,
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
        if lost.elapsed() > OUTAGE {
            return Err(Failure::new(language.say(words::NO_ANSWER, &[&session.client.server()])).into());
        }
        session.printer.say(words::TRYING_AGAIN, &[]);
        tokio::time::sleep(PAUSE).await;
    };
    let (name, action) = (ended.release.clone(), name_of(&ended.action));
    match ended.state {
        OperationState::Succeeded => Ok(ended),
        OperationState::Cancelled => {
            Err(Failure::new(language.say(words::RELEASE_WAS_CANCELLED, &[&name, &action])).into())
        }
        _ => {
            let why = ended.message.or(ended.reason).unwrap_or_default();
            Err(Failure::new(language.say(words::RELEASE_FAILED, &[&name, &action, &why])).into())
        }
    }
}

/// One connection: the ended operation, or nothing when the stream ended before it did.
async fn follow_once(
    session: &Session,
    operation: &ReleaseOperationView,
    offset: &mut u64,
    output: &mut LogOutput,
) -> anyhow::Result<Option<ReleaseOperationView>> {
    let client = &session.client;
    let query = [("offset", offset.to_string())];
    let path = ["api", "release-operations", &operation.id.to_string(), "log"];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_values_are_put_in_their_place() {
        let set = ["a.b=1", "a.c=text", "d=true", "a.b=2"].map(|text| parse_set(text).unwrap()).to_vec();
        let values = ValuesArgs { values: None, set, skip_crds: false };

        let (_, json) = values.read().unwrap();

        assert_eq!(serde_json::json!(json), serde_json::json!({"a": {"b": 2, "c": "text"}, "d": true}));
        for wrong in ["a", "=1", "a..b=1", "a[0]=1"] {
            assert!(parse_set(wrong).is_err(), "{wrong}");
        }
    }
}
