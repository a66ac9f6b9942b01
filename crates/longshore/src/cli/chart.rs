//! `longshore chart`: what the chart repositories have.

use std::path::PathBuf;

use clap::Subcommand;
use reqwest::Method;
use wire::chart_keys::{ChartProvenanceView, ProvenanceState};
use wire::charts::{ChartContentView, ChartVersionView, ChartView};

use super::chart_key::ChartKeyCommand;
use super::failure::Failure;
use super::list::{self, PageArgs};
use super::session::Session;
use super::upload::Source;
use super::{environment, human, words};

/// Verbs of `longshore chart`.
#[derive(Debug, Subcommand)]
pub(crate) enum ChartCommand {
    /// List or search charts
    #[command(visible_alias = "ls")]
    List {
        /// Words that name, description or keywords must hold; some are known in Chinese too
        words: Vec<String>,
        /// Only of this chart repository
        #[arg(long, value_name = "NAME")]
        repo: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// List the versions of a chart
    Versions {
        /// Repository and chart, such as `bitnami/nginx`
        #[arg(value_parser = parse_chart)]
        chart: (String, String),
        /// Only versions in this range, such as `^1.4` or `>=1.2 <2`
        #[arg(long)]
        range: Option<String>,
        #[command(flatten)]
        page: PageArgs,
    },
    /// Show what is in a version of a chart
    Show {
        /// Repository and chart, such as `bitnami/nginx`
        #[arg(value_parser = parse_chart)]
        chart: (String, String),
        /// Which version
        #[arg(long, default_value = "latest")]
        version: String,
        /// Print its values with their comments
        #[arg(long, conflicts_with = "readme")]
        values: bool,
        /// Print its README
        #[arg(long)]
        readme: bool,
    },
    /// Say who signed a version of a chart; fails when it cannot be trusted
    Verify {
        /// Repository and chart, such as `bitnami/nginx`
        #[arg(value_parser = parse_chart)]
        chart: (String, String),
        /// Which version
        #[arg(long, default_value = "latest")]
        version: String,
    },
    /// Public keys by which signed charts are verified
    #[command(subcommand)]
    Key(ChartKeyCommand),
    /// Keep a chart of one's own on the server; a version that is there is not replaced
    Upload {
        /// The package, as `helm package` makes it
        package: PathBuf,
        /// Whose it will be; another account's for admins
        #[arg(long, value_name = "NAME")]
        account: Option<String>,
    },
    /// Delete a version of a chart that is kept on the server
    #[command(alias = "rm")]
    Delete {
        /// Repository and chart, such as `alice/web`
        #[arg(value_parser = parse_chart)]
        chart: (String, String),
        /// Which version
        version: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

fn parse_chart(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((repo, chart)) if !repo.is_empty() && !chart.is_empty() && !chart.contains('/') => {
            Ok((repo.to_owned(), chart.to_owned()))
        }
        _ => Err(format!("`{text}` is not a repository and a chart, such as `bitnami/nginx`")),
    }
}

/// Runs a verb.
pub(crate) async fn run(command: ChartCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        ChartCommand::List { words, repo, page } => {
            let mut query = page.query();
            if !words.is_empty() {
                query.push(("search", words.join(" ")));
            }
            query.extend(repo.map(|repo| ("repo", repo)));
            let answer = session.client.get(&["api", "v1", "charts"], &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let rows: Vec<_> = list::page::<ChartView>(&session.printer, &answer)?
                .into_iter()
                .map(|chart| {
                    let short: String = chart.description.chars().take(80).collect();
                    [
                        format!("{}/{}", chart.repo, chart.name),
                        chart.version,
                        chart.app_version.unwrap_or_default(),
                        short,
                    ]
                })
                .collect();
            session.printer.table(["CHART", "VERSION", "APP VERSION", "DESCRIPTION"], &rows)
        }
        ChartCommand::Versions { chart: (repo, chart), range, page } => {
            let mut query = page.query();
            query.extend(range.map(|range| ("range", range)));
            let answer =
                session.client.get(&["api", "v1", "charts", &repo, &chart, "versions"], &query).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let (language, now) = (session.printer.language, environment::now());
            let rows: Vec<_> = list::page::<ChartVersionView>(&session.printer, &answer)?
                .into_iter()
                .map(|version| {
                    let made =
                        version.created_at.map(|time| human::ago(time, now, language)).unwrap_or_default();
                    [
                        version.version,
                        version.app_version.unwrap_or_default(),
                        made,
                        version.digest.unwrap_or_default(),
                    ]
                })
                .collect();
            session.printer.table(["VERSION", "APP VERSION", "CREATED", "DIGEST"], &rows)
        }
        ChartCommand::Show { chart: (repo, chart), version, values, readme } => {
            let path = ["api", "v1", "charts", &repo, &chart, "versions", &version];
            let answer = session.client.get(&path, &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let content: ChartContentView = answer.view()?;
            if values || readme {
                let text = if values { content.values } else { content.readme };
                return session.printer.data(&super::printer::printable(text.unwrap_or_default().trim_end()));
            }
            let needs: Vec<String> =
                content.dependencies.iter().map(|need| format!("{} {}", need.name, need.version)).collect();
            session.printer.facts(&[
                ("chart", Some(format!("{}/{}", content.repo, content.name))),
                ("version", Some(content.version)),
                ("app version", content.app_version),
                ("description", Some(content.description)),
                ("kubernetes", content.kube_version),
                ("needs", (!needs.is_empty()).then(|| needs.join(", "))),
                ("files", Some(content.files.len().to_string())),
                ("digest", Some(format!("{} ({})", content.digest, list::name_of(&content.digest_check)))),
            ])
        }
        ChartCommand::Verify { chart: (repo, chart), version } => {
            let path = ["api", "v1", "charts", &repo, &chart, "versions", &version, "provenance"];
            let answer = session.client.get(&path, &[]).await?;
            let seen: ChartProvenanceView = answer.view()?;
            if !session.shown_as_json(&answer)? {
                session.printer.facts(&[
                    ("chart", Some(format!("{repo}/{chart}"))),
                    ("state", Some(list::name_of(&seen.state))),
                    ("signed by", (!seen.signed_by.is_empty()).then(|| seen.signed_by.join(", "))),
                    ("fingerprint", seen.fingerprint),
                ])?;
            }
            if seen.state == ProvenanceState::Verified {
                return Ok(());
            }
            let why = seen.message.unwrap_or_default();
            let text =
                session.printer.language.say(words::CHART_NOT_VERIFIED, &[&format!("{repo}/{chart}"), &why]);
            Err(Failure::new(text).into())
        }
        ChartCommand::Key(command) => super::chart_key::run(command, session).await,
        ChartCommand::Upload { package, account } => {
            let query: Vec<_> = account.map(|account| ("account", account)).into_iter().collect();
            let source = Source::file(package)?;
            let answer = source.send(session, Method::POST, &["api", "v1", "charts"], &query).await?;
            let chart: ChartView = answer.view()?;
            session.done(&answer, words::CHART_UPLOADED, &[&format!("{}/{}", chart.repo, chart.name)])
        }
        ChartCommand::Delete { chart: (repo, chart), version, yes } => {
            let shown = format!("{repo}/{chart} {version}");
            session.ask(yes, words::DELETE_CHART, &[&shown])?;
            let path = ["api", "v1", "charts", &repo, &chart, "versions", &version];
            let answer = session.client.delete(&path).await?;
            session.done(&answer, words::CHART_DELETED, &[&shown])
        }
    }
}
