//! Commands in pods, in the form in which commands in containers come over the link: whoever shows terminals need not know which
//! it is.

use std::time::Duration;

use bytes::Bytes;
use futures::{Sink, SinkExt as _, Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Resource as _;
use kube::api::{AttachParams, Request};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use tokio_tungstenite::tungstenite::{Error, Message};
use wire::link::{ExecInput, ExecOutput, LinkError, LinkErrorCode};
use wire::names::NamespaceName;
use wire::terminals::{ExecSpec, TerminalSize};

use super::cluster::{PATIENCE, too_slow};
use super::{Cluster, Failure, OWN_NAME};
use crate::app::App;
use crate::link::pipe::{self, CommandInput, CommandOutput};

// Each message is of one channel, which its first byte names: `k8s.io/apimachinery/pkg/util/remotecommand`.
const INPUT: u8 = 0;
const OUTPUT: u8 = 1;
const ERRORS: u8 = 2;
const STATUS: u8 = 3;
const SIZE: u8 = 4;
/// Says that a channel has ended, in version 5 of the protocol.
const END: u8 = 255;

/// How often the other side is asked for a sign of life, and how long it may give none.
#[derive(Clone, Copy)]
struct Signs {
    ask_every: Duration,
    silence_max: Duration,
}

/// kubectl's own figures.
const SIGNS: Signs = Signs { ask_every: Duration::from_secs(5), silence_max: Duration::from_mins(1) };

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
        let mut options = AttachParams::default()
            .stdin(spec.has_input)
            .stdout(true)
            // A terminal has one output.
            .stderr(!spec.is_tty)
            .tty(spec.is_tty);
        options.container = container.map(str::to_owned);
        let pods = Request::new(Pod::url_path(&(), Some(namespace.as_str())));
        let request = pods.exec(pod, spec.command.clone(), &options).map_err(kube::Error::BuildRequest)?;
        let connection = timeout(PATIENCE, client.connect(request)).await.map_err(|_| too_slow())??;
        let ends_input = connection.supports_stream_close();
        let (input, output, mut inputs, outputs) = pipe::command();
        let first = spec.is_tty.then(|| message(ExecInput::Resize(spec.size), ends_input));
        app.spawn(async move {
            carry(connection.into_stream(), SIGNS, (first, ends_input), &mut inputs, &outputs).await;
        });
        Ok((input, output))
    }
}

/// Carries what a command is given and what it says, until it has ended, the connection breaks, or nobody listens.
async fn carry(
    socket: impl Stream<Item = Result<Message, Error>> + Sink<Message, Error = Error>,
    signs: Signs,
    (first, ends_input): (Option<Message>, bool),
    inputs: &mut mpsc::Receiver<ExecInput>,
    outputs: &mpsc::Sender<ExecOutput>,
) {
    let (mut to_cluster, mut from_cluster) = socket.split();
    let give = async {
        let mut pings = interval_at(Instant::now() + signs.ask_every, signs.ask_every);
        pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut next, mut has_inputs) = (first, true);
        loop {
            // How a connection ends is for whoever reads to say: the last word may lie there.
            if let Some(message) = next.take()
                && to_cluster.send(message).await.is_err()
            {
                return std::future::pending().await;
            }
            next = tokio::select! {
                _ = pings.tick() => Some(Message::Ping(Bytes::new())),
                input = inputs.recv(), if has_inputs => {
                    // Whoever gives may let go; what is said may still be wanted.
                    has_inputs = input.is_some();
                    input.map(|input| message(input, ends_input))
                }
            };
        }
    };
    let take = async {
        loop {
            let Ok(Some(Ok(said))) = timeout(signs.silence_max, from_cluster.next()).await else {
                return broken();
            };
            let Message::Binary(mut said) = said else { continue };
            let channel = if said.is_empty() { continue } else { said.split_to(1)[0] };
            // The first message of each channel is empty.
            if said.is_empty() {
                continue;
            }
            let piece = match channel {
                OUTPUT => ExecOutput::Out(said),
                ERRORS => ExecOutput::Err(said),
                STATUS => return last_word(&said),
                _ => continue,
            };
            if outputs.send(piece).await.is_err() {
                return broken();
            }
        }
    };
    let last = tokio::select! {
        last = take => last,
        () = give => return,
        () = outputs.closed() => return,
    };
    drop(outputs.send(last).await);
}

/// What a command is given, as the cluster takes it.
fn message(input: ExecInput, ends_input: bool) -> Message {
    let (channel, content) = match input {
        ExecInput::Bytes(bytes) => (INPUT, bytes),
        ExecInput::End if ends_input => (END, Bytes::from_static(&[INPUT])),
        // Before version 5 only the end of all of it can be told.
        ExecInput::End => return Message::Close(None),
        ExecInput::Resize(TerminalSize { columns, rows }) => {
            (SIZE, serde_json::json!({"Width": columns, "Height": rows}).to_string().into())
        }
    };
    Message::Binary([&[channel], &*content].concat().into())
}

fn broken() -> ExecOutput {
    ExecOutput::Failed(LinkError::new(LinkErrorCode::EngineDown, "the connection to the cluster broke"))
}

/// How a command ended, as the cluster says.
fn last_word(status: &[u8]) -> ExecOutput {
    let Ok(status) = serde_json::from_slice::<Status>(status) else { return broken() };
    if status.status.as_deref() == Some("Success") {
        return ExecOutput::Exited(0);
    }
    let causes = status.details.and_then(|details| details.causes);
    let causes = causes.into_iter().flatten();
    let mut code = causes.filter(|cause| cause.reason.as_deref() == Some("ExitCode"));
    if let Some(code) = code.find_map(|cause| cause.message?.parse().ok()) {
        return ExecOutput::Exited(code);
    }
    let said = status.message.unwrap_or_else(|| "the cluster did not start the command".to_owned());
    ExecOutput::Failed(LinkError::new(LinkErrorCode::Conflict, said))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncWriteExt as _, DuplexStream};
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_util::task::TaskTracker;

    use super::*;

    /// A command, and its cluster's end of the connection.
    async fn command(signs: Signs) -> (CommandInput, CommandOutput, DuplexStream) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let socket = WebSocketStream::from_raw_socket(near, Role::Client, None).await;
        let (input, output, mut inputs, outputs) = pipe::command();
        TaskTracker::new()
            .spawn(async move { carry(socket, signs, (None, true), &mut inputs, &outputs).await });
        (input, output, far)
    }

    /// A short message as a server frames it: RFC 6455, section 5.2.
    fn framed(channel: u8, content: &str) -> Vec<u8> {
        let length = u8::try_from(content.len() + 1).unwrap();
        assert!(length < 126);
        [&[0x82, length, channel], content.as_bytes()].concat()
    }

    async fn last_of(output: &mut CommandOutput) -> ExecOutput {
        let mut last = None;
        while let Some(piece) = output.next().await {
            last = Some(piece.unwrap());
        }
        last.unwrap()
    }

    fn is_broken(last: &ExecOutput) -> bool {
        matches!(last, ExecOutput::Failed(error) if error.message == "the connection to the cluster broke")
    }

    #[tokio::test]
    async fn a_connection_that_breaks_at_any_moment_ends_the_command() {
        let status = r#"{"status":"Failure","details":{"causes":[{"reason":"ExitCode","message":"3"}]}}"#;
        let firsts = [OUTPUT, ERRORS, STATUS].map(|channel| framed(channel, "")).concat();
        let said =
            [firsts, framed(OUTPUT, "one\n"), framed(ERRORS, "two\n"), framed(STATUS, status)].concat();
        for cut in 0..=said.len() {
            let began = Instant::now();
            let (_input, mut output, mut far) = command(SIGNS).await;
            far.write_all(&said[..cut]).await.unwrap();
            drop(far);

            let last = last_of(&mut output).await;

            let is_whole = matches!(last, ExecOutput::Exited(3));
            assert_eq!(
                (is_whole, is_broken(&last)),
                (cut == said.len(), cut < said.len()),
                "{cut}: {last:?}"
            );
            assert!(began.elapsed() < SIGNS.silence_max, "{cut}: it was noticed by its silence alone");
        }
    }

    /// Short ones, with room for a machine that has much else to do.
    const SHORT: Signs = Signs { ask_every: Duration::from_millis(50), silence_max: Duration::from_secs(1) };

    #[tokio::test]
    async fn a_cluster_that_gives_no_sign_of_life_is_given_up() {
        let (_input, mut output, _far) = command(SHORT).await;

        assert!(is_broken(&last_of(&mut output).await));
    }

    #[tokio::test]
    async fn a_command_that_says_nothing_goes_on_as_long_as_its_cluster_answers() {
        let (input, mut output, far) = command(SHORT).await;
        drop(input);
        let mut far = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        TaskTracker::new().spawn(async move { while far.next().await.is_some() {} });

        assert!(timeout(SHORT.silence_max * 3, output.next()).await.is_err(), "it has ended");
    }

    #[test]
    fn what_a_command_is_given_names_its_channel() {
        let size = ExecInput::Resize(TerminalSize { columns: 132, rows: 50 });
        assert_eq!(message(ExecInput::Bytes(Bytes::from_static(b"ls\n")), true).into_data(), &b"\0ls\n"[..]);
        assert_eq!(message(size, true).into_data(), &b"\x04{\"Height\":50,\"Width\":132}"[..]);
        assert_eq!(message(ExecInput::End, true).into_data(), &[255, 0][..]);
        assert!(message(ExecInput::End, false).is_close());
    }
}
