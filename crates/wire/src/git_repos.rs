//! Git repositories: what a pipeline builds, and from where.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deploys::DeployTarget;
use crate::ids::GitRepoId;
use crate::names::AccountName;
use crate::runs::RunExecutor;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What stands in for a secret that is kept and never shown.
pub const MASK: &str = "***";

/// Longest values in characters.
pub mod lengths {
    /// A repository's name.
    pub const NAME: usize = 150;
    /// An address.
    pub const URL: usize = 200;
    /// A branch, tag or commit.
    pub const BRANCH: usize = 150;
    /// The images' tag.
    pub const TAG: usize = 100;
    /// A path in the repository.
    pub const PATH: usize = 150;
    /// The runner's name.
    pub const JOB: usize = 100;
    /// A word of the owner's own.
    pub const KIND: usize = 20;
    /// The image.
    pub const IMAGE: usize = 150;
    /// A description.
    pub const DESCRIPTION: usize = 200;
    /// The name of a certificate.
    pub const CERTIFICATE_NAME: usize = 150;
    /// A second name of the owner's own.
    pub const LABEL: usize = 50;
    /// A certificate or key as text.
    pub const PEM: usize = 65_536;
}

/// The kind of a git server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GitProvider {
    /// Gitea or Forgejo.
    Gitea,
    /// GitHub.
    Github,
    /// GitLab.
    Gitlab,
    /// Bitbucket, Cloud or Data Center.
    Bitbucket,
}

/// What a repository does besides being built when somebody says so.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GitRepoOptions {
    /// Fetch submodules too, each under the same rules as the repository itself.
    pub submodules: bool,
    /// Put the files in their place that Git LFS keeps elsewhere, over `https`; those of submodules stay pointers.
    pub lfs: bool,
    /// Branches and tags whose pushes start a run, with `*` for any part; the repository's own `branch` when empty.
    pub branches: Vec<String>,
    /// Start a run only when a push changed a file under one of these paths, with `*` for any part; any file when empty.
    pub paths: Vec<String>,
    /// Look for new commits every so many minutes; 0 for never.
    pub poll_minutes: u32,
    /// Start a run at these times, whether or not there is anything new: cron's five fields, UTC; never when empty.
    #[schema(example = "30 2 * * 1-5")]
    pub schedule: String,
    /// The kind of the git server, for `status_token`; guessed from its name when absent.
    pub provider: Option<GitProvider>,
    /// Where its images are built; the server's `pipelines.executor` when absent.
    pub executor: Option<RunExecutor>,
    /// What is brought up to date with each image.
    pub deploy: Option<DeployTarget>,
}

/// A git repository. Secrets are said to be there, never shown.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[expect(clippy::struct_excessive_bools, reason = "each says of one secret whether it is kept")]
pub struct GitRepoView {
    /// The repository's number.
    pub id: GitRepoId,
    /// Whose it is.
    pub account: AccountName,
    /// Its name, unique for its account.
    pub repo_name: String,
    /// Where it is fetched from; a user and password in it show as `***`.
    #[schema(example = "https://***@git.example.org/team/app.git")]
    pub url: String,
    /// The branch, tag or commit to build; the remote's default branch when empty.
    pub branch: String,
    /// The images' tag; made from the time of each run when empty.
    pub tag: String,
    /// The folder to build, from the repository's root.
    pub build_path: String,
    /// The Dockerfile, from the repository's root or from `build_path`.
    pub dockerfile: String,
    /// Where images go: `[owner/]repository`; made from the repository's name when empty.
    pub image: String,
    /// The runner whose registry receives the images; this server's own when none has this name.
    pub job: String,
    /// A word of the owner's own.
    pub kind: String,
    /// A second name of the owner's own.
    pub name: String,
    /// What it is.
    pub description: String,
    /// Whether a user and password are kept.
    pub has_credential: bool,
    /// Whether a certificate authority of its own is kept.
    pub has_ca: bool,
    /// Whether an SSH key is kept.
    pub has_ssh_key: bool,
    /// Whether webhooks are taken.
    pub has_webhook_secret: bool,
    /// Whether the git server hears how runs went.
    pub has_status_token: bool,
    /// Where webhooks are sent.
    #[schema(example = "/hook/app")]
    pub webhook_path: String,
    /// What else it does.
    pub options: GitRepoOptions,
    /// The commit that was built last.
    pub last_commit: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
}

/// A git repository to add.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GitRepoCreate {
    /// Whose it is: one's own account when absent, another one for admins.
    pub account: Option<String>,
    /// See [`GitRepoView`] for this and the following ones.
    pub repo_name: String,
    /// `https://`, `http://` or `ssh://`, also `user@host:path`; a user and password in it are taken out and kept sealed.
    #[schema(value_type = String)]
    pub url: Option<Secret>,
    /// Branch, tag or commit.
    #[serde(default)]
    pub branch: String,
    /// The images' tag.
    #[serde(default)]
    pub tag: String,
    /// The folder to build.
    #[serde(default)]
    pub build_path: String,
    /// The Dockerfile.
    #[serde(default)]
    pub dockerfile: String,
    /// Where images go.
    #[serde(default)]
    pub image: String,
    /// The runner.
    #[serde(default)]
    pub job: String,
    /// A word of the owner's own.
    #[serde(default)]
    pub kind: String,
    /// A second name of the owner's own.
    #[serde(default)]
    pub name: String,
    /// What it is.
    #[serde(default)]
    pub description: String,
    /// The certificate authority that signs the git server's certificate (PEM), or the name of one that an admin has put in
    /// the server's `certificates` folder.
    #[schema(value_type = Option<String>)]
    pub ca_secret: Option<Secret>,
    /// A private key for `ssh://` (OpenSSH or PEM, without a passphrase).
    #[schema(value_type = Option<String>)]
    pub ssh_key: Option<Secret>,
    /// What webhooks are signed with.
    #[schema(value_type = Option<String>)]
    pub webhook_secret: Option<Secret>,
    /// A token with which the git server hears how runs went.
    #[schema(value_type = Option<String>)]
    pub status_token: Option<Secret>,
    /// What else it does.
    pub options: Option<GitRepoOptions>,
}

/// What to change of a git repository; what is absent stays. An empty secret is removed, and `***` keeps the one that is
/// there.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GitRepoUpdate {
    /// See [`GitRepoCreate`], as for all.
    pub repo_name: Option<String>,
    /// Where it is fetched from. Another host forgets the user and password that were kept.
    #[schema(value_type = Option<String>)]
    pub url: Option<Secret>,
    /// Branch, tag or commit.
    pub branch: Option<String>,
    /// The images' tag.
    pub tag: Option<String>,
    /// The folder to build.
    pub build_path: Option<String>,
    /// The Dockerfile.
    pub dockerfile: Option<String>,
    /// Where images go.
    pub image: Option<String>,
    /// The runner.
    pub job: Option<String>,
    /// A word of the owner's own.
    pub kind: Option<String>,
    /// A second name of the owner's own.
    pub name: Option<String>,
    /// What it is.
    pub description: Option<String>,
    /// The certificate authority.
    #[schema(value_type = Option<String>)]
    pub ca_secret: Option<Secret>,
    /// The SSH key.
    #[schema(value_type = Option<String>)]
    pub ssh_key: Option<Secret>,
    /// What webhooks are signed with.
    #[schema(value_type = Option<String>)]
    pub webhook_secret: Option<Secret>,
    /// The token for the git server.
    #[schema(value_type = Option<String>)]
    pub status_token: Option<Secret>,
    /// What else it does.
    pub options: Option<GitRepoOptions>,
}

/// What a look at the git server found.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct GitRepoTested {
    /// The commit that a run would build now.
    pub commit: String,
    /// The branch or tag that it is of.
    #[schema(example = "refs/heads/main")]
    pub git_ref: String,
}
