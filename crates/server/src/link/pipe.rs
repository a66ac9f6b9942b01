//! Calls whose answer is bytes: a command in a container, with input one way and output the other. Dropping either half
//! tells the agent to end it. Commands in pods take the same form, though no agent is in between.

use axum::body::{Body, Bytes};
use futures::{Stream, stream};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio_util::sync::DropGuard;
use wire::files::{ReadFiles, WriteFiles, WriteFilesEvent};
use wire::frames::{Frame, FrameReader};
use wire::ids::MachineId;
use wire::link::{Exec, ExecInput, ExecOutput};

use super::Hub;
use super::call::{CallError, EventStream, broken};

/// Pieces of input that wait for a slow command before whoever gives it waits.
const INPUT_WAITING: usize = 8;

impl Hub {
    /// Runs a command in a container. It has been made when this returns, and is started then.
    pub async fn exec(
        &self,
        machine: &MachineId,
        call: &Exec,
    ) -> Result<(CommandInput, CommandOutput), CallError> {
        let (sender, receiver) = mpsc::channel::<Bytes>(INPUT_WAITING);
        let pieces = stream::unfold(receiver, |mut receiver| async {
            Some((Ok::<_, std::convert::Infallible>(receiver.recv().await?), receiver))
        });
        let (body, cancel) = self.bytes(machine, call, Body::from_stream(pieces)).await?;
        let output = CommandOutput(Output::Link { body, frames: FrameReader::default(), _cancel: cancel });
        Ok((CommandInput(Input::Link(sender)), output))
    }
}

/// A command that is not on a machine of ours: what it is given and what it says, and the other ends of both.
pub fn command() -> (CommandInput, CommandOutput, mpsc::Receiver<ExecInput>, mpsc::Sender<ExecOutput>) {
    let (input, inputs) = mpsc::channel(INPUT_WAITING);
    let (outputs, output) = mpsc::channel(INPUT_WAITING);
    (CommandInput(Input::Local(input)), CommandOutput(Output::Local(output)), inputs, outputs)
}

/// Files of a container, as they arrive. Dropping it ends the reading on the machine.
#[derive(Debug)]
pub struct FilePieces {
    body: Incoming,
    _cancel: DropGuard,
}

impl Hub {
    /// Reads files of a container as a tar.
    pub async fn read_files(&self, machine: &MachineId, call: &ReadFiles) -> Result<FilePieces, CallError> {
        let (body, cancel) = self.bytes(machine, call, Body::empty()).await?;
        Ok(FilePieces { body, _cancel: cancel })
    }
}

impl Hub {
    /// Unpacks a tar in a container; the one event says how that ended.
    pub async fn write_files(
        &self,
        machine: &MachineId,
        call: &WriteFiles,
        tar: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static,
    ) -> Result<EventStream<WriteFilesEvent>, CallError> {
        self.stream(machine, call, Some(Body::from_stream(tar))).await
    }
}

impl FilePieces {
    /// The next piece; none after the last. Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                Err(error) => return Some(Err(broken(error))),
            }
        }
    }
}

/// What a command is given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommandInput(Input);

#[derive(Clone, Debug)]
enum Input {
    Link(mpsc::Sender<Bytes>),
    Local(mpsc::Sender<ExecInput>),
}

impl CommandInput {
    /// Waits until there is room for it; false when the command is over.
    pub async fn send(&self, input: ExecInput) -> bool {
        match &self.0 {
            Input::Link(sender) => sender.send(input.encode().into()).await.is_ok(),
            Input::Local(sender) => sender.send(input).await.is_ok(),
        }
    }
}

/// What a command says. Dropping it ends the command.
#[derive(Debug)]
pub struct CommandOutput(Output);

#[derive(Debug)]
enum Output {
    Link { body: Incoming, frames: FrameReader<ExecOutput>, _cancel: DropGuard },
    Local(mpsc::Receiver<ExecOutput>),
}

impl CommandOutput {
    /// The next piece; none when it ended without a last word. Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Option<Result<ExecOutput, CallError>> {
        let (body, frames) = match &mut self.0 {
            Output::Link { body, frames, .. } => (body, frames),
            Output::Local(receiver) => return receiver.recv().await.map(Ok),
        };
        loop {
            match frames.next_frame() {
                Ok(Some(frame)) => return Some(Ok(frame)),
                Err(error) => return Some(Err(CallError::Broken(error.to_string()))),
                Ok(None) => {}
            }
            match body.frame().await? {
                Ok(frame) => {
                    if let Some(data) = frame.data_ref() {
                        frames.push(data);
                    }
                }
                Err(error) => return Some(Err(broken(error))),
            }
        }
    }
}
