//! Calls whose answer is bytes: a command in a container, with input one way and output the other. Dropping either half
//! tells the agent to end it. Commands in pods take the same form, though no agent is in between.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use axum::body::{Body, Bytes};
use futures::Stream;
use futures::future::poll_fn;
use h2::{Reason, RecvStream, SendStream};
use tokio::sync::mpsc;
use wire::files::{ReadFiles, WriteFiles, WriteFilesEvent};
use wire::frames::{Frame, FrameReader};
use wire::ids::MachineId;
use wire::link::{Exec, ExecInput, ExecOutput};

use super::Hub;
use super::call::{CallError, EventStream, piece, poll_room};

/// Pieces of input that wait for a slow command before whoever gives it waits.
const INPUT_WAITING: usize = 8;

impl Hub {
    /// Runs a command in a container. It has been made when this returns, and is started then.
    pub async fn exec(
        &self,
        machine: &MachineId,
        call: &Exec,
    ) -> Result<(CommandInput, CommandOutput), CallError> {
        let (to, body) = self.bytes(machine, call).await?;
        let way = Arc::new(Way { to: Mutex::new(to), turn: tokio::sync::Mutex::default() });
        let end = End(Arc::downgrade(&way));
        let output = Output::Link { body, frames: FrameReader::default(), _end: end };
        Ok((CommandInput(Input::Link(way)), CommandOutput(output)))
    }
}

/// The way to a command on a machine. Without it the command's input is at its end.
#[derive(Debug)]
struct Way {
    to: Mutex<SendStream<Bytes>>,
    /// Of several who give input one waits for room, and the others for their turn.
    turn: tokio::sync::Mutex<()>,
}

impl Way {
    fn to(&self) -> MutexGuard<'_, SendStream<Bytes>> {
        self.to.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, frame: Bytes) -> bool {
        let _turn = self.turn.lock().await;
        poll_fn(|context| poll_room(&mut self.to(), context)).await
            && self.to().send_data(frame, false).is_ok()
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        // A command that is over takes no end.
        drop(self.to().send_data(Bytes::new(), true));
    }
}

/// Ends a command when nobody listens to it any more.
#[derive(Debug)]
struct End(Weak<Way>);

impl Drop for End {
    fn drop(&mut self) {
        if let Some(way) = self.0.upgrade() {
            way.to().send_reset(Reason::CANCEL);
        }
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
    body: RecvStream,
}

impl Hub {
    /// Reads files of a container as a tar.
    pub async fn read_files(&self, machine: &MachineId, call: &ReadFiles) -> Result<FilePieces, CallError> {
        let (mut to, body) = self.bytes(machine, call).await?;
        // Nothing goes with it.
        drop(to.send_data(Bytes::new(), true));
        Ok(FilePieces { body })
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
        piece(&mut self.body).await
    }
}

/// What a command is given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CommandInput(Input);

#[derive(Clone, Debug)]
enum Input {
    Link(Arc<Way>),
    Local(mpsc::Sender<ExecInput>),
}

impl CommandInput {
    /// Waits until there is room for it; false when the command is over.
    pub async fn send(&self, input: ExecInput) -> bool {
        match &self.0 {
            Input::Link(way) => way.send(input.encode().into()).await,
            Input::Local(sender) => sender.send(input).await.is_ok(),
        }
    }
}

/// What a command says. Dropping it ends the command.
#[derive(Debug)]
pub struct CommandOutput(Output);

#[derive(Debug)]
enum Output {
    Link { body: RecvStream, frames: FrameReader<ExecOutput>, _end: End },
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
            match piece(body).await? {
                Ok(bytes) => frames.push(bytes),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}
