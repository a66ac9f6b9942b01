//! Runs: one execution of a pipeline, from a commit to an image.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::builds::OperationState;
use crate::deploys::DeployProgress;
use crate::ids::{BuildId, GitRepoId, RunId, RunLogId, RunnerId, RunnerUuid};
use crate::names::{AccountName, Digest};
use crate::secret::Secret;
use crate::time::Timestamp;

/// Why a run was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// Somebody said so.
    Manual,
    /// A webhook.
    Webhook,
    /// A look at the git server found a new commit.
    Poll,
    /// Somebody wanted the same again.
    Retry,
    /// The repository's `schedule`.
    Schedule,
    /// Somebody sent a working copy.
    Upload,
}

/// Where a run is executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunExecutor {
    /// A machine's Docker engine.
    Docker,
    /// A job in a namespace of a Kubernetes cluster.
    Kubernetes,
}

/// What a run does, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStepName {
    /// The commit is fetched and packed as a build's context.
    Fetch,
    /// The Dockerfile is built.
    Build,
    /// The image is pushed, and what the registry has is verified.
    Push,
    /// The image is copied to the registry that the repository's runner names.
    Copy,
    /// What the repository names is brought up to date, or back when it does not come up.
    Deploy,
}

/// A step that has begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunStep {
    /// Which.
    pub name: RunStepName,
    /// How it goes; never `queued`: what has not begun is not listed.
    pub state: OperationState,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Of a deploy: what, and what it goes back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deploy: Option<DeployProgress>,
}

/// A run.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunView {
    /// The run's number.
    pub id: RunId,
    /// The run's second name, and the id of its build once there is one.
    pub uuid: BuildId,
    /// Whose it is.
    pub account: AccountName,
    /// What is built.
    pub git_repo_id: GitRepoId,
    /// What is built, by name.
    pub repo_name: String,
    /// The run's name.
    #[schema(example = "event-app-buildv202611251517")]
    pub name: String,
    /// The name of its job.
    #[schema(example = "app-buildv202611251517")]
    pub job: String,
    /// A word of the owner's own.
    pub kind: String,
    /// Where it is.
    pub state: OperationState,
    /// Why it ended badly, for programs: `clone_failed`, `build_failed`, `push_failed`, `deploy_failed`, `timeout`, `cancelled`, `lost` …
    pub reason: Option<String>,
    /// Why it ended badly, in plain words.
    pub message: Option<String>,
    /// Why it was started.
    pub cause: RunCause,
    /// Where it is executed.
    pub executor: RunExecutor,
    /// The branch, tag or commit that was asked for; the remote's default branch when empty.
    pub git_ref: String,
    /// The commit, once it is known.
    pub commit: Option<String>,
    /// The image that it makes, without the tag.
    #[schema(example = "alice/app")]
    pub image: String,
    /// The image's tag; the image is also tagged with the commit's first twelve digits.
    pub image_tag: String,
    /// The image's digest, when it succeeded.
    pub digest: Option<Digest>,
    /// What was begun so far.
    pub steps: Vec<RunStep>,
    /// The run that this one repeats.
    pub retry_of: Option<RunId>,
    /// What it is for.
    pub description: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When a worker first took it.
    pub started_at: Option<Timestamp>,
    /// When it reached a final state.
    pub ended_at: Option<Timestamp>,
}

/// A run to start.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RunStart {
    /// The repository.
    pub git_repo_id: i64,
    /// Another branch, tag or commit than the repository's own.
    pub git_ref: Option<String>,
    /// What it is for, at most 300 characters.
    pub description: Option<String>,
}

/// A runner: what executes a run and where its image goes.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunnerView {
    /// The runner's number.
    pub id: RunnerId,
    /// Its second name.
    pub uuid: RunnerUuid,
    /// Whose it is.
    pub account: AccountName,
    /// What it executes; null for one that repositories name.
    pub run_id: Option<RunId>,
    /// Its name.
    pub name: String,
    /// Where its run is; `queued` when it has none.
    pub state: OperationState,
    /// A word of the owner's own.
    pub kind: String,
    /// The registry's address.
    pub registry_address: String,
    /// The user at the registry.
    pub registry_name: String,
    /// Whether a password for the registry is kept.
    pub has_registry_password: bool,
    /// The project in the registry.
    pub image_repo: String,
    /// The image's name.
    pub image_name: String,
    /// The image's tag.
    pub image_tag: String,
    /// Where the code is.
    pub repo_path: String,
    /// The Dockerfile.
    pub repo_dockerfile: String,
    /// The folder to build.
    pub build_path: String,
    /// What it is.
    pub description: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What to write into a runner; what is absent stays.
#[derive(Clone, Debug, Default)]
pub struct RunnerUpdate {
    /// See [`RunnerView`], as for all.
    pub name: Option<String>,
    /// A word of the owner's own.
    pub kind: Option<String>,
    /// The registry's address.
    pub registry_address: Option<String>,
    /// The user at the registry.
    pub registry_name: Option<String>,
    /// The password at the registry; empty to forget it, `***` to keep it.
    pub registry_password: Option<Secret>,
    /// The project in the registry.
    pub image_repo: Option<String>,
    /// The image's name.
    pub image_name: Option<String>,
    /// The image's tag.
    pub image_tag: Option<String>,
    /// Where the code is.
    pub repo_path: Option<Secret>,
    /// The Dockerfile.
    pub repo_dockerfile: Option<String>,
    /// The folder to build.
    pub build_path: Option<String>,
    /// What it is.
    pub description: Option<String>,
}

/// A line of what happened to runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct RunLogView {
    /// The line's number.
    pub id: RunLogId,
    /// Of which repository.
    pub repo_name: String,
    /// Of which run, by its uuid; empty for none.
    pub event_uuid: String,
    /// Of which runner, by its uuid; empty for none.
    pub runner_uuid: String,
    /// What happened.
    pub msg: String,
    /// When that was written last.
    pub updated_at: Timestamp,
}
