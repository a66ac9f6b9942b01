//! Commands in the pod of a build, and what it is given by them: the context, what its steps may read, and logins. All of it goes through
//! the cluster's `exec`, so that no object of the cluster ever has it.

use std::time::Duration;

use base64::Engine as _;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use wire::link::{ExecInput, ExecOutput, RegistryCredential};
use wire::names::SecretName;
use wire::secret::Secret;
use wire::terminals::ExecSpec;

use super::build_image::{Stop, Work};
use super::cluster_build::{AWAY_PAUSE, InCluster, registry_name};
use super::pod_stage::{SAID_BYTES, Stage, clip};
use crate::app::App;
use crate::clients::kube::build_objects::{BUILD_CONTAINER, take_context, take_login, take_secrets};
use crate::domain::registry;

/// Bytes that are given to a pod together.
const GIVE_BYTES: usize = 256 << 10;
/// Tries to give a pod what it shall build.
const GIVES: u32 = 5;
/// How long a command may go on that has been given all that it takes, and only has to put it away.
const PUT_AWAY_PATIENCE: Duration = Duration::from_mins(1);

/// What steps of a build may read, by name.
pub(super) type Secrets = [(SecretName, Secret)];

/// How a command in a pod ended.
pub(super) struct Ended {
    pub(super) code: i64,
    pub(super) output: String,
}

impl InCluster {
    /// Gives a pod that waits for it the context, the secrets of its repository and a login to read the registry.
    pub(super) async fn give(&self, work: &Work<'_>, pod: &str, secrets: &Secrets) -> Result<(), Stop> {
        let mut tries = 1;
        loop {
            match self.give_once(work, pod, secrets).await {
                // The connection broke, or the build that a server before us had given everything ended meanwhile and took the command with
                // it, which its pod's state shows a moment later. What was given is thrown away by the next try.
                Err(Stop::Lost(_) | Stop::Failed(..)) if tries < GIVES => {
                    tracing::debug!(tries, "a pod did not get what it shall build");
                    tries += 1;
                    tokio::time::sleep(AWAY_PAUSE).await;
                }
                given => return given,
            }
        }
    }

    async fn give_once(&self, work: &Work<'_>, pod: &str, secrets: &Secrets) -> Result<(), Stop> {
        let (app, build) = (work.app, work.build);
        if !matches!(self.stage(work, pod).await?, Stage::Building) {
            return Ok(());
        }
        let (context, bytes) = work.context().await?;
        let credential =
            registry::build_credential(app, build.account_id, &build.account, work.credential_secs())?;
        let logins = logins(app, &credential);
        let mut last = String::new();
        let mut hear = |text: &str| last.push_str(&clip(text));
        let container = (BUILD_CONTAINER, Some(PUT_AWAY_PATIENCE));
        let taken = self.command(app, pod, container, take_context(bytes), context, &mut hear).await;
        let taken = match taken {
            Ok(Ended { code: 0, .. }) if !secrets.is_empty() => {
                let files = packed(secrets).map_err(|error| Stop::Broken(error.into()))?;
                let command = take_secrets(files.len());
                self.command(app, pod, container, command, files.as_slice(), &mut hear).await
            }
            other => other,
        };
        let taken = match taken {
            Ok(Ended { code: 0, .. }) => {
                let command = take_login(logins.len());
                self.command(app, pod, container, command, logins.as_bytes(), &mut hear).await
            }
            other => other,
        };
        match taken {
            Ok(Ended { code: 0, .. }) => Ok(()),
            taken => match self.stage(work, pod).await? {
                // It has begun long ago, and ended while we were at it.
                Stage::Built | Stage::Failed(..) => Ok(()),
                _ => match taken {
                    Ok(_) => {
                        let message = format!("the pod did not take what it shall build: {last}");
                        Err(Stop::Failed("build_failed", clip(&message)))
                    }
                    Err(stop) => Err(stop),
                },
            },
        }
    }

    /// Runs a command in a container of the pod to its end, for which it has so long after its input's end; what it says of errors
    /// is given to `hear`.
    pub(super) async fn command(
        &self,
        app: &App,
        pod: &str,
        (container, patience): (&str, Option<Duration>),
        command: Vec<String>,
        mut input: impl AsyncRead + Unpin,
        hear: &mut impl FnMut(&str),
    ) -> Result<Ended, Stop> {
        let spec = ExecSpec {
            command,
            is_tty: false,
            has_input: true,
            env: std::collections::BTreeMap::new(),
            working_dir: None,
            size: wire::terminals::TerminalSize::default(),
        };
        let namespace = &self.place.namespace;
        let opened = self.ask(|| self.place.cluster.exec(app, namespace, pod, Some(container), &spec)).await;
        let (given, mut said) = opened.map_err(|failure| Self::lost(&failure.to_string()))?;
        let give = async {
            let mut buffer = vec![0; GIVE_BYTES];
            loop {
                let count = input.read(&mut buffer).await.map_err(|error| Stop::Broken(error.into()))?;
                if count == 0 {
                    given.send(ExecInput::End).await;
                    return Ok::<_, Stop>(());
                }
                if !given.send(ExecInput::Bytes(Bytes::copy_from_slice(&buffer[..count]))).await {
                    return Ok(());
                }
            }
        };
        let take = async {
            let mut output = String::new();
            loop {
                match said.next().await {
                    Some(Ok(ExecOutput::Out(bytes))) if output.len() < SAID_BYTES => {
                        output.push_str(&String::from_utf8_lossy(&bytes));
                    }
                    Some(Ok(ExecOutput::Out(_))) => {}
                    Some(Ok(ExecOutput::Err(bytes))) => hear(&String::from_utf8_lossy(&bytes)),
                    Some(Ok(ExecOutput::Exited(code))) => return Ok(Ended { code, output }),
                    Some(Ok(ExecOutput::Failed(error))) => return Err(Self::lost(&error.message)),
                    Some(Err(error)) => return Err(Self::lost(&error.to_string())),
                    None => return Err(Self::lost("the connection to the cluster broke")),
                }
            }
        };
        let (mut give, mut take) = (std::pin::pin!(give), std::pin::pin!(take));
        tokio::select! {
            given = &mut give => {
                given?;
                let Some(patience) = patience else { return take.await };
                let late = |_| Self::lost("a command in its pod does not end");
                tokio::time::timeout(patience, take).await.map_err(late)?
            }
            ended = &mut take => ended,
        }
    }
}

/// The file by which buildah knows a login, for each name of the registry.
pub(super) fn logins(app: &App, credential: &RegistryCredential) -> String {
    let text = format!("{}:{}", credential.username, credential.password.expose());
    let auth = base64::engine::general_purpose::STANDARD.encode(text);
    let names = [registry_name(app), app.config.registry_listen.to_string()];
    let auths: serde_json::Map<String, Value> =
        names.into_iter().map(|name| (name, json!({"auth": auth}))).collect();
    json!({"auths": auths}).to_string()
}

/// Secrets as a tar, each a file of its name.
fn packed(secrets: &Secrets) -> std::io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, value) in secrets {
        let mut header = tar::Header::new_ustar();
        header.set_size(value.expose().len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name.as_str(), value.expose().as_bytes())?;
    }
    tar.into_inner()
}
