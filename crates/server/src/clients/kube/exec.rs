//! Commands in pods, in the form in which commands in containers come over the link: whoever shows terminals need not know which
//! it is.

use futures::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize as PodTerminalSize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;
use wire::link::{ExecInput, ExecOutput, LinkError, LinkErrorCode};
use wire::names::NamespaceName;
use wire::terminals::{ExecSpec, TerminalSize};

use super::{Cluster, Failure, OWN_NAME};
use crate::app::App;
use crate::link::pipe::{self, CommandInput, CommandOutput};

/// Bytes that are read of a command together.
const READ_BYTES: usize = 16 << 10;

impl Cluster {
    /// Runs a command in a pod, in the name of its namespace's own account. It runs when this returns; letting go of the output
    /// ends the connection, and the cluster hangs up what runs.
    pub async fn exec(
        &self,
        app: &App,
        namespace: &NamespaceName,
        pod: &str,
        container: Option<&str>,
        spec: &ExecSpec,
    ) -> Result<(CommandInput, CommandOutput), Failure> {
        let client = self.acting_as(format!("system:serviceaccount:{namespace}:{OWN_NAME}"))?;
        let pods: Api<Pod> = Api::namespaced(client, namespace.as_str());
        let mut options = AttachParams::default()
            .stdin(spec.has_input)
            .stdout(true)
            // A terminal has one output.
            .stderr(!spec.is_tty)
            .tty(spec.is_tty);
        options.container = container.map(str::to_owned);
        let process = pods.exec(pod, spec.command.clone(), &options).await?;
        let (input, output, inputs, outputs) = pipe::command();
        let first_size = spec.is_tty.then_some(spec.size);
        app.spawn(carry(process, first_size, inputs, outputs));
        Ok((input, output))
    }
}

/// Carries what a command is given and what it says, until it has ended or nobody listens.
async fn carry(
    mut process: AttachedProcess,
    first_size: Option<TerminalSize>,
    mut inputs: mpsc::Receiver<ExecInput>,
    outputs: mpsc::Sender<ExecOutput>,
) {
    let (mut stdin, mut sizes) = (process.stdin(), process.terminal_size());
    let (stdout, stderr, status) = (process.stdout(), process.stderr(), process.take_status());
    let give = async {
        let mut next = first_size.map(ExecInput::Resize);
        loop {
            let input = match next.take() {
                Some(input) => input,
                None => match inputs.recv().await {
                    Some(input) => input,
                    // Whoever gives has let go; what is said may still be wanted.
                    None => return std::future::pending::<()>().await,
                },
            };
            match (input, &mut stdin, &mut sizes) {
                (ExecInput::Bytes(bytes), Some(pipe), _) => {
                    let given = pipe.write_all(&bytes).await.and(pipe.flush().await);
                    // A command that has closed its input does not want more of it.
                    stdin = stdin.take().filter(|_| given.is_ok());
                }
                (ExecInput::End, Some(pipe), _) => {
                    drop(pipe.shutdown().await);
                    stdin = None;
                }
                (ExecInput::Resize(size), _, Some(sizes)) => {
                    let size = PodTerminalSize { width: size.columns, height: size.rows };
                    drop(sizes.send(size).await);
                }
                _ => {}
            }
        }
    };
    let take = async {
        tokio::join!(pass(stdout, &outputs, ExecOutput::Out), pass(stderr, &outputs, ExecOutput::Err));
        let status = match status {
            Some(status) => status.await,
            None => None,
        };
        drop(outputs.send(last_word(status.as_ref())).await);
    };
    tokio::select! {
        () = give => {}
        () = take => {}
        () = outputs.closed() => {}
    }
}

async fn pass(
    pipe: Option<impl AsyncRead + Unpin>,
    outputs: &mpsc::Sender<ExecOutput>,
    kind: fn(Vec<u8>) -> ExecOutput,
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; READ_BYTES];
    while let Ok(count) = pipe.read(&mut buffer).await {
        if count == 0 || outputs.send(kind(buffer[..count].to_vec())).await.is_err() {
            return;
        }
    }
}

/// How a command ended, as the cluster says.
fn last_word(status: Option<&Status>) -> ExecOutput {
    let Some(status) = status else {
        return ExecOutput::Failed(LinkError::new(
            LinkErrorCode::EngineDown,
            "the connection to the cluster broke",
        ));
    };
    if status.status.as_deref() == Some("Success") {
        return ExecOutput::Exited(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let causes = causes.into_iter().flatten();
    let mut code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = code.find_map(|cause| cause.message.as_deref()?.parse().ok()) {
        return ExecOutput::Exited(code);
    }
    let said = status.message.clone();
    let said = said.unwrap_or_else(|| "the cluster did not start the command".to_owned());
    ExecOutput::Failed(LinkError::new(LinkErrorCode::Conflict, said))
}
