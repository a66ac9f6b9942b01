//! `longshore git-repo`: git repositories that pipelines build.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Map, Value, json};
use wire::deploys::DeployTarget;
use wire::git_repos::{GitProvider, GitRepoOptions, GitRepoTested, GitRepoView};
use wire::ids::GitRepoId;
use wire::names::AccountName;
use wire::page::Page;
use wire::runs::RunExecutor;

use super::failure::Failure;
use super::list::{self, PageArgs, WhoseArgs};
use super::session::Session;
use super::{environment, git_repo_secret, human, words};

/// Verbs of `longshore git-repo`.
#[derive(Debug, Subcommand)]
pub(crate) enum GitRepoCommand {
    /// List git repositories, newest first
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show a git repository
    Show {
        /// Its name or number
        repo: String,
    },
    /// Add a git repository
    #[command(alias = "create")]
    Add {
        /// A name for it
        name: String,
        /// `https://…`, `http://…`, `ssh://…` or `user@host:path`
        url: String,
        /// Add it for another account (admins only)
        #[arg(long, value_name = "NAME")]
        account: Option<AccountName>,
        #[command(flatten)]
        more: Box<ContentArgs>,
    },
    /// Change a git repository
    #[command(alias = "update")]
    Set {
        /// Its name or number
        repo: String,
        /// Another name
        #[arg(long, value_name = "NAME")]
        rename: Option<String>,
        /// Another address
        #[arg(long)]
        url: Option<String>,
        #[command(flatten)]
        more: Box<ContentArgs>,
    },
    /// Delete a git repository with its runs; images stay
    #[command(visible_alias = "rm", alias = "delete")]
    Remove {
        /// Its name or number
        repo: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
    /// Look whether the git server lets Longshore in
    Test {
        /// Its name or number
        repo: String,
    },
    /// Secrets that steps of its builds may read
    #[command(subcommand)]
    Secret(git_repo_secret::GitRepoSecretCommand),
}

/// What a git repository is told. An empty value takes one back.
#[derive(Args, Debug)]
pub(crate) struct ContentArgs {
    /// Branch, tag or commit to build [default: the remote's default branch]
    #[arg(long, value_name = "REF")]
    branch: Option<String>,
    /// The images' tag [default: made from the time of each run]
    #[arg(long)]
    tag: Option<String>,
    /// The folder to build
    #[arg(long, value_name = "PATH")]
    build_path: Option<String>,
    /// The Dockerfile
    #[arg(long, value_name = "PATH")]
    dockerfile: Option<String>,
    /// Where images go: `[owner/]repository` [default: made from the name]
    #[arg(long)]
    image: Option<String>,
    /// What it is
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// The user at the git server; its password or token comes from standard input
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// A file with the certificate of the authority that the git server's is signed by (PEM)
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// A file with the private key for `ssh://`
    #[arg(long, value_name = "FILE")]
    ssh_key: Option<PathBuf>,
    /// A file with what webhooks are signed with
    #[arg(long, value_name = "FILE")]
    webhook_secret: Option<PathBuf>,
    /// A branch or tag whose pushes start a run, with `*` for any part; may be given several times
    #[arg(long, value_name = "PATTERN")]
    on_branch: Vec<String>,
    /// A path whose changes start a run, with `*` for any part; may be given several times
    #[arg(long, value_name = "PATTERN")]
    on_path: Vec<String>,
    /// Look for new commits every so many minutes; 0 for never
    #[arg(long, value_name = "MINUTES")]
    poll: Option<u32>,
    /// Start a run at these times (cron's five fields, UTC), such as `30 2 * * 1-5`
    #[arg(long, value_name = "CRON")]
    schedule: Option<String>,
    /// A workload that gets each new image (`deployment/NAME`), or a container (`container/NAME`)
    #[arg(long, value_name = "KIND/NAME")]
    deploy: Option<String>,
    /// Its namespace
    #[arg(long, value_name = "NAME", requires = "deploy")]
    deploy_namespace: Option<String>,
    /// The container in its pods [default: the one with an image of the same repository]
    #[arg(long, value_name = "NAME", requires = "deploy")]
    deploy_container: Option<String>,
    /// Seconds that its new pods may take [default: 300]
    #[arg(long, value_name = "SECONDS", requires = "deploy")]
    deploy_timeout: Option<u32>,
    /// Where its images are built [default: the server's choice]
    #[arg(long)]
    executor: Option<Executor>,
    /// Fetch submodules too
    #[arg(long)]
    submodules: Option<bool>,
    /// Fetch large files that Git LFS keeps elsewhere
    #[arg(long)]
    lfs: Option<bool>,
    /// A file with a token by which the git server hears how commits fare
    #[arg(long, value_name = "FILE")]
    status_token: Option<PathBuf>,
    /// The kind of the git server, for `--status-token` [default: guessed from its name]
    #[arg(long)]
    provider: Option<Provider>,
    /// The runner that says where images go, by its name
    #[arg(long, value_name = "NAME")]
    runner: Option<String>,
}

/// Where images are built.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Executor {
    /// Wherever the server's settings say
    Default,
    /// On a machine, by its Docker engine
    Docker,
    /// In a Kubernetes cluster, by a job
    Kubernetes,
}

/// A kind of git server.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Provider {
    /// Gitea or Forgejo
    Gitea,
    /// GitHub
    Github,
    /// GitLab
    Gitlab,
    /// Bitbucket
    Bitbucket,
}

impl From<Provider> for GitProvider {
    fn from(provider: Provider) -> Self {
        match provider {
            Provider::Gitea => Self::Gitea,
            Provider::Github => Self::Github,
            Provider::Gitlab => Self::Gitlab,
            Provider::Bitbucket => Self::Bitbucket,
        }
    }
}

impl ContentArgs {
    /// The fields of a request; `before` are the options that are there already.
    fn body(&self, url: Option<String>, before: Option<&GitRepoView>) -> anyhow::Result<Map<String, Value>> {
        let mut body = Map::new();
        let mut put = |name: &str, value: Option<String>| {
            if let Some(value) = value {
                body.insert(name.to_owned(), Value::String(value));
            }
        };
        let url = match &self.user {
            None => url,
            Some(user) => {
                let url = url.or_else(|| before.map(|repo| repo.url.clone())).unwrap_or_default();
                Some(with_login(&url, user, &read_stdin()?)?)
            }
        };
        put("url", url);
        put("branch", self.branch.clone());
        put("tag", self.tag.clone());
        put("build_path", self.build_path.clone());
        put("dockerfile", self.dockerfile.clone());
        put("image", self.image.clone());
        put("description", self.description.clone());
        put("ca_secret", self.ca.as_deref().map(read_file).transpose()?);
        put("ssh_key", self.ssh_key.as_deref().map(read_file).transpose()?);
        let secret = self.webhook_secret.as_deref().map(read_file).transpose()?;
        put("webhook_secret", secret.map(|text| text.trim().to_owned()));
        let token = self.status_token.as_deref().map(read_file).transpose()?;
        put("status_token", token.map(|text| text.trim().to_owned()));
        put("job", self.runner.clone());
        let before = before.map(|repo| repo.options.clone()).unwrap_or_default();
        let options = self.options(before.clone());
        if options != before {
            body.insert("options".to_owned(), serde_json::to_value(options)?);
        }
        Ok(body)
    }

    /// What was there, changed.
    fn options(&self, mut options: GitRepoOptions) -> GitRepoOptions {
        let filled = |list: &[String]| list.iter().filter(|text| !text.is_empty()).cloned().collect();
        if !self.on_branch.is_empty() {
            options.branches = filled(&self.on_branch);
        }
        if !self.on_path.is_empty() {
            options.paths = filled(&self.on_path);
        }
        options.poll_minutes = self.poll.unwrap_or(options.poll_minutes);
        options.schedule = self.schedule.clone().unwrap_or(options.schedule);
        options.submodules = self.submodules.unwrap_or(options.submodules);
        options.lfs = self.lfs.unwrap_or(options.lfs);
        options.executor = match self.executor {
            None => options.executor,
            Some(Executor::Default) => None,
            Some(Executor::Docker) => Some(RunExecutor::Docker),
            Some(Executor::Kubernetes) => Some(RunExecutor::Kubernetes),
        };
        options.provider = self.provider.map(GitProvider::from).or(options.provider);
        if let Some(workload) = &self.deploy {
            let container = workload.strip_prefix("container/").map(str::to_owned);
            options.deploy = (!workload.is_empty()).then(|| DeployTarget {
                workload: container.is_none().then(|| workload.clone()),
                container,
                namespace: self.deploy_namespace.clone(),
                pod_container: self.deploy_container.clone(),
                timeout_secs: self.deploy_timeout,
            });
        }
        options
    }
}

/// What a file holds.
pub(crate) fn read_file(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read `{}`", path.display()))
}

/// A password: one line, never an option, where others could see it.
pub(crate) fn read_stdin() -> anyhow::Result<String> {
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

fn with_login(url: &str, user: &str, password: &str) -> anyhow::Result<String> {
    let mut url: reqwest::Url = url.replace("://***@", "://").parse().context("the address is not one")?;
    let is_set = url.set_username(user).is_ok() && url.set_password(Some(password)).is_ok();
    anyhow::ensure!(is_set, "an address of this kind takes no user and password");
    Ok(url.into())
}

/// Runs a verb.
pub(crate) async fn run(command: GitRepoCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        GitRepoCommand::List { page, whose } => all(session, &page, &whose).await,
        GitRepoCommand::Show { repo } => show(session, &repo).await,
        GitRepoCommand::Add { name, url, account, more } => {
            let mut body = more.body(Some(url), None)?;
            body.insert("repo_name".to_owned(), Value::String(name.clone()));
            if let Some(account) = account {
                body.insert("account".to_owned(), json!(account));
            }
            let answer = session.client.post(&["api", "v1", "git-repos"], &body).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            session.printer.say(words::GIT_REPO_ADDED, &[&name]);
            session.printer.hint(words::GIT_REPO_TEST_HINT, &[&name, &name]);
            Ok(())
        }
        GitRepoCommand::Set { repo, rename, url, more } => {
            let before = find(session, &repo).await?;
            let mut body = more.body(url, Some(&before))?;
            if let Some(name) = rename {
                body.insert("repo_name".to_owned(), Value::String(name));
            }
            let id = before.id.to_string();
            let answer = session.client.patch(&["api", "v1", "git-repos", &id], &body).await?;
            session.done(&answer, words::GIT_REPO_CHANGED, &[&before.repo_name])
        }
        GitRepoCommand::Remove { repo, yes } => {
            let found = find(session, &repo).await?;
            session.ask(yes, words::REMOVE_GIT_REPO, &[&found.repo_name])?;
            let id = found.id.to_string();
            let answer = session.client.delete(&["api", "v1", "git-repos", &id]).await?;
            session.done(&answer, words::GIT_REPO_REMOVED, &[&found.repo_name])
        }
        GitRepoCommand::Test { repo } => {
            let id = find(session, &repo).await?.id.to_string();
            let answer = session.client.post_empty(&["api", "v1", "git-repos", &id, "test"]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let tested: GitRepoTested = answer.view()?;
            session.printer.say(words::GIT_REPO_ANSWERS, &[&tested.git_ref]);
            session.printer.data(&tested.commit)
        }
        GitRepoCommand::Secret(command) => git_repo_secret::run(command, session).await,
    }
}

fn executor_name(executor: RunExecutor) -> String {
    match executor {
        RunExecutor::Docker => "docker".to_owned(),
        RunExecutor::Kubernetes => "kubernetes".to_owned(),
    }
}

/// A repository by its number or its name.
pub(crate) async fn find(session: &Session, text: &str) -> anyhow::Result<GitRepoView> {
    find_or(session, text, words::NO_GIT_REPO_HINT).await
}

/// The same, with what to do when there is none.
pub(crate) async fn find_or(session: &Session, text: &str, hint: words::Word) -> anyhow::Result<GitRepoView> {
    if let Ok(id) = text.parse::<GitRepoId>() {
        let answer = session.client.get(&["api", "v1", "git-repos", &id.to_string()], &[]).await?;
        return answer.view();
    }
    let query = [("repo_name", text.to_owned())];
    let page: Page<GitRepoView> = session.client.get(&["api", "v1", "git-repos"], &query).await?.view()?;
    let mut found = page.data;
    let language = session.printer.language;
    match (found.pop(), found.is_empty()) {
        (Some(repo), true) => Ok(repo),
        (Some(_), false) => Err(Failure::new(language.say(words::GIT_REPO_AMBIGUOUS, &[text])).into()),
        (None, _) => {
            let failure = Failure::new(language.say(words::NO_GIT_REPO, &[text]));
            Err(failure.hint(language.pick(hint)).into())
        }
    }
}

async fn all(session: &Session, page: &PageArgs, whose: &WhoseArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "git-repos"], &whose.query(page)).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<GitRepoView>(&session.printer, &answer)?
        .into_iter()
        .map(|repo| {
            [
                repo.id.to_string(),
                repo.repo_name,
                repo.url,
                repo.branch,
                repo.image,
                repo.last_commit.map(|commit| commit.chars().take(12).collect()).unwrap_or_default(),
                human::ago(repo.created_at, now, session.printer.language),
            ]
        })
        .collect();
    session.printer.table(["ID", "NAME", "URL", "BRANCH", "IMAGE", "LAST COMMIT", "ADDED"], &rows)
}

async fn show(session: &Session, text: &str) -> anyhow::Result<()> {
    let id = find(session, text).await?.id.to_string();
    let answer = session.client.get(&["api", "v1", "git-repos", &id], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let repo: GitRepoView = answer.view()?;
    let filled = |text: String| (!text.is_empty()).then_some(text);
    let secrets = [
        (repo.has_credential, "password"),
        (repo.has_ca, "certificate authority"),
        (repo.has_ssh_key, "SSH key"),
        (repo.has_webhook_secret, "webhook secret"),
        (repo.has_status_token, "status token"),
    ];
    let kept: Vec<&str> = secrets.into_iter().filter_map(|(is_kept, name)| is_kept.then_some(name)).collect();
    let poll = repo.options.poll_minutes;
    session.printer.facts(&[
        ("id", Some(repo.id.to_string())),
        ("name", Some(repo.repo_name)),
        ("account", Some(repo.account.to_string())),
        ("url", Some(repo.url)),
        ("branch", filled(repo.branch)),
        ("tag", filled(repo.tag)),
        ("build path", filled(repo.build_path)),
        ("dockerfile", filled(repo.dockerfile)),
        ("image", filled(repo.image)),
        ("runner", filled(repo.job)),
        ("description", filled(repo.description)),
        ("kept", filled(kept.join(", "))),
        ("webhooks", repo.has_webhook_secret.then_some(repo.webhook_path)),
        ("built by", repo.options.executor.map(executor_name)),
        ("runs on pushes to", filled(repo.options.branches.join(", "))),
        ("runs on changes of", filled(repo.options.paths.join(", "))),
        ("looks every", (poll > 0).then(|| human::duration(i64::from(poll) * 60))),
        ("runs at", filled(repo.options.schedule)),
        ("deploys to", repo.options.deploy.and_then(|target| target.workload.or(target.container))),
        ("last commit", repo.last_commit),
        ("added", Some(human::ago(repo.created_at, environment::now(), session.printer.language))),
    ])
}
