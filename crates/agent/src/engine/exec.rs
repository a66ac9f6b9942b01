//! Commands beside a container's main process: made with nothing that a caller could widen, carried both ways, and ended
//! when nobody holds them any more. An engine lets such a command go on for ever; what is open is therefore noted in the
//! agent's folder, so that an agent that died finds what it left.

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use bollard::exec::{CreateExecOptions, ResizeExecOptions};
use bollard::models::ExecInspectResponse;
use futures::StreamExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc::{self, Sender};
use uuid::Uuid;
use wire::frames::{self, Frame, FrameReader, HEAD_BYTES};
use wire::link::{Exec, ExecInput, ExecOutput, LinkError, LinkErrorCode};
use wire::policy::Policy;
use wire::terminals::{ExecSpec, TerminalSize};

use super::output::{Pieces, Source};
use super::{CALL_TIMEOUT, Engine, containers, engine_down, hangup, is_not_found, within};
use crate::{Agent, policy};

/// Bytes of output that are sent on together: of a terminal few, so that a key that is pressed meanwhile is not far behind
/// them; of a pipe as many as make, with their head, one frame of the connection.
const TERMINAL_READ_BYTES: usize = 16 << 10;
const PIPE_READ_BYTES: usize = 60 << 10;
/// A terminal can be given a size only once its command runs, a moment after it was started.
const RESIZE_TRIES: u32 = 50;
const RESIZE_PAUSE: Duration = Duration::from_millis(10);
/// The engine closes a command's output a moment before or after it notes its end.
const EXIT_TRIES: u32 = 100;
const EXIT_PAUSE: Duration = Duration::from_millis(20);
/// The variable that marks a command and what it starts; its value is told to nobody else.
pub(super) const MARK: &str = "LONGSHORE_TERMINAL";

/// The commands that are open, and the folder where they are noted.
pub(crate) struct Execs {
    folder: PathBuf,
    open: Mutex<HashSet<String>>,
}

/// A command, as the engine and its marks know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// The engine's id of it.
    pub(super) exec: String,
    /// The engine's id of its container.
    pub(super) container: String,
    /// The value of its mark.
    pub(super) mark: String,
}

impl Execs {
    pub(crate) fn new(state_dir: &std::path::Path) -> Self {
        Self { folder: state_dir.join("execs"), open: Mutex::default() }
    }

    fn open(&self) -> MutexGuard<'_, HashSet<String>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a command before it is started. A note that cannot be written costs only the clean-up after a crash.
    async fn note(&self, command: &Command) {
        self.open().insert(command.exec.clone());
        let (folder, path) = (self.folder.clone(), self.folder.join(&command.exec));
        let text = format!("{} {}\n", command.container, command.mark);
        let written = tokio::task::spawn_blocking(move || {
            std::fs::create_dir_all(folder)?;
            std::fs::write(path, text)
        });
        if !matches!(written.await, Ok(Ok(()))) {
            tracing::debug!(exec.id = command.exec, "a command is not noted");
        }
    }

    async fn forget(&self, exec: &str) {
        self.open().remove(exec);
        if let Err(error) = tokio::fs::remove_file(self.folder.join(exec)).await {
            tracing::debug!(exec.id = exec, "the note of a command stays: {error}");
        }
    }

    /// What an agent that died has left open.
    async fn left(&self) -> Vec<Command> {
        let folder = self.folder.clone();
        let read = move || -> std::io::Result<Vec<Command>> {
            let mut found = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                let text = std::fs::read_to_string(entry.path())?;
                found.extend(Command::of_note(name, &text));
            }
            Ok(found)
        };
        let found = tokio::task::spawn_blocking(read).await.ok().and_then(Result::ok).unwrap_or_default();
        let open = self.open();
        found.into_iter().filter(|command| !open.contains(&command.exec)).collect()
    }
}

impl Command {
    /// None when the file is not one of ours: its name becomes part of a path of the engine's interface.
    fn of_note(exec: String, text: &str) -> Option<Self> {
        let (container, mark) = text.trim_end().split_once(' ')?;
        let is_hex = |text: &str, digits: usize| {
            text.len() == digits && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
        };
        let is_ours = is_hex(&exec, 64) && is_hex(container, 64) && is_hex(mark, 32);
        is_ours.then(|| Self { exec, container: container.to_owned(), mark: mark.to_owned() })
    }
}

/// Ends what an agent that died has left open, as far as it still runs.
pub(crate) async fn end_left(engine: &Engine, execs: &Execs) {
    for command in execs.left().await {
        match hangup::end(engine, &command).await {
            Ok(()) => execs.forget(&command.exec).await,
            Err(error) => {
                tracing::warn!(exec.id = command.exec, "a command of an earlier agent goes on: {error}");
            }
        }
    }
}

/// A command that the engine knows and has not started.
pub(crate) struct Made {
    command: Command,
    is_tty: bool,
    has_input: bool,
    size: TerminalSize,
}

/// Makes a command. What the policy refuses never reaches the engine.
pub(crate) async fn make(engine: &Engine, policy: &Policy, call: Exec) -> Result<Made, LinkError> {
    policy::check_exec(policy, &call.exec)?;
    let Some(container) = containers::find(engine, call.instance, call.container).await? else {
        let message = format!("container {} is not on the machine", call.container);
        return Err(LinkError::new(LinkErrorCode::NotFound, message));
    };
    make_in(engine, container, call.exec).await
}

async fn make_in(engine: &Engine, container: String, exec: ExecSpec) -> Result<Made, LinkError> {
    let mark = Uuid::now_v7().simple().to_string();
    let mut env: Vec<String> = Vec::new();
    if exec.is_tty && !exec.env.contains_key("TERM") {
        env.push("TERM=xterm-256color".to_owned());
    }
    env.extend(
        exec.env.iter().filter(|(name, _)| *name != MARK).map(|(name, value)| format!("{name}={value}")),
    );
    env.push(format!("{MARK}={mark}"));
    // The whole request: no user, no privileges, no keys on which the engine would let go of the command.
    let options = CreateExecOptions {
        attach_stdin: Some(exec.has_input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        tty: Some(exec.is_tty),
        env: Some(env),
        cmd: Some(exec.command),
        privileged: Some(false),
        working_dir: exec.working_dir,
        detach_keys: None,
        user: None,
    };
    let docker = engine.docker().await?;
    let made = within(CALL_TIMEOUT, docker.create_exec(&container, options)).await.map_err(not_running)?;
    let command = Command { exec: made.id, container, mark };
    Ok(Made { command, is_tty: exec.is_tty, has_input: exec.has_input, size: exec.size })
}

/// How long a command of ours may take, and how many pieces of what it says wait to be read.
const HELPER_TIMEOUT: Duration = Duration::from_secs(20);
const HELPER_WAITING: usize = 8;

/// What became of a command of ours.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// How it ended; none when it was ended because it said too much.
    pub(super) code: Option<i64>,
    pub(super) out: Vec<u8>,
    pub(super) err: Vec<u8>,
    /// Whether it said more than it was let.
    pub(super) is_cut: bool,
}

/// Runs a command of ours in a container, as the image's user, and takes what it says up to a bound. It is a program of
/// the container's owner for all that: what it says proves nothing, and one that does not end is ended.
pub(super) async fn run_helper(
    agent: &Agent,
    container: &str,
    command: Vec<String>,
    bytes_max: usize,
) -> Result<Outcome, LinkError> {
    let exec = ExecSpec {
        command,
        is_tty: false,
        has_input: false,
        env: BTreeMap::new(),
        working_dir: Some("/".to_owned()),
        size: TerminalSize::default(),
    };
    let made = make_in(agent.engine(), container.to_owned(), exec).await?;
    let (sender, mut receiver) = mpsc::channel::<Bytes>(HELPER_WAITING);
    let holder = agent.clone();
    // In a task of its own: whoever asked may be gone before it is answered, and then it must be ended, too.
    agent.tasks().spawn(async move {
        let is_abandoned = async {
            tokio::select! {
                () = sender.closed() => {}
                () = holder.shutdown().cancelled() => {}
                () = tokio::time::sleep(HELPER_TIMEOUT) => {}
            }
        };
        // It gets no input, and a body that ended would be taken for letting go.
        let input = Body::from_stream(futures::stream::pending::<Result<Bytes, std::convert::Infallible>>());
        made.run(holder.engine(), holder.execs(), input, &sender, is_abandoned).await;
    });
    let mut frames = FrameReader::<ExecOutput>::default();
    let mut outcome = Outcome::default();
    while let Some(piece) = receiver.recv().await {
        frames.push(piece);
        while let Some(frame) = frames.next_frame().map_err(engine_down)? {
            match frame {
                ExecOutput::Out(bytes) => outcome.out.extend(bytes),
                ExecOutput::Err(bytes) => outcome.err.extend(bytes),
                ExecOutput::Exited(code) => outcome.code = Some(code),
                ExecOutput::Failed(error) => return Err(error),
            }
        }
        if outcome.out.len() > bytes_max {
            outcome.out.truncate(bytes_max);
            outcome.is_cut = true;
            return Ok(outcome);
        }
        outcome.err.truncate(bytes_max);
        if outcome.code.is_some() {
            return Ok(outcome);
        }
    }
    Err(super::timed_out(HELPER_TIMEOUT))
}

fn not_running(error: LinkError) -> LinkError {
    match error.code {
        LinkErrorCode::Conflict => LinkError::new(LinkErrorCode::Conflict, "the container does not run"),
        _ => error,
    }
}

/// How the carrying of a command ended.
enum Carried {
    /// Its output is at its end.
    ToTheEnd,
    /// Whoever gave it input has let go of it, or sends nonsense.
    LetGo,
}

impl Made {
    /// Starts the command and carries its input and output until it ends or nobody holds it any more (`is_abandoned`);
    /// then it is ended before this returns.
    pub(crate) async fn run(
        self,
        engine: &Engine,
        execs: &Execs,
        input: Body,
        output: &Sender<Bytes>,
        is_abandoned: impl Future<Output = ()>,
    ) {
        execs.note(&self.command).await;
        let carried = tokio::select! {
            carried = self.carry(engine, input, output) => carried,
            () = is_abandoned => Ok(Carried::LetGo),
        };
        let last = match carried {
            Ok(Carried::ToTheEnd) => match exit_code(engine, &self.command.exec).await {
                Ok(code) => Some(ExecOutput::Exited(code)),
                Err(error) => Some(ExecOutput::Failed(error)),
            },
            Ok(Carried::LetGo) => None,
            Err(error) => Some(ExecOutput::Failed(error)),
        };
        if !matches!(last, Some(ExecOutput::Exited(_)))
            && let Err(error) = hangup::end(engine, &self.command).await
        {
            tracing::warn!(exec.id = self.command.exec, "a command that nobody looks at goes on: {error}");
        }
        execs.forget(&self.command.exec).await;
        if let Some(last) = last
            && output.send(last.encode().into()).await.is_err()
        {
            tracing::debug!("a command ended after those who looked at it");
        }
    }

    async fn carry(
        &self,
        engine: &Engine,
        input: Body,
        output: &Sender<Bytes>,
    ) -> Result<Carried, LinkError> {
        let connection = engine.start_exec(&self.command.exec, self.is_tty).await.map_err(not_running)?;
        let (reader, writer) = tokio::io::split(connection);
        let size = async {
            if self.is_tty {
                first_size(engine, &self.command.exec, self.size).await;
            }
            // Nothing more to do; the other branches decide.
            std::future::pending().await
        };
        tokio::select! {
            read = copy_output(reader, self.is_tty, output) => read.map(|()| Carried::ToTheEnd),
            () = self.copy_input(engine, input, writer) => Ok(Carried::LetGo),
            never = size => never,
        }
    }

    /// Passes input on until its giver lets go, which is how it says that it wants the command ended.
    async fn copy_input(&self, engine: &Engine, input: Body, mut writer: impl AsyncWrite + Unpin) {
        let mut pieces = input.into_data_stream();
        let mut frames = FrameReader::<ExecInput>::default();
        let mut is_open = self.has_input;
        if !is_open && !self.is_tty {
            drop(writer.shutdown().await);
        }
        while let Some(Ok(piece)) = pieces.next().await {
            frames.push(piece);
            loop {
                match frames.next_frame() {
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(exec.id = self.command.exec, "input that cannot be read: {error}");
                        return;
                    }
                    Ok(Some(ExecInput::Bytes(bytes))) if is_open => {
                        // A command that has closed its input may go on without.
                        is_open = writer.write_all(&bytes).await.is_ok();
                    }
                    Ok(Some(ExecInput::Bytes(_))) => {}
                    Ok(Some(ExecInput::End)) => {
                        if self.is_tty && is_open {
                            is_open = writer.write_all(&[END_OF_FILE]).await.is_ok();
                        } else {
                            is_open = false;
                            drop(writer.shutdown().await);
                        }
                    }
                    Ok(Some(ExecInput::Resize(size))) => {
                        if self.is_tty && size.is_valid() {
                            resize(engine, &self.command.exec, size).await;
                        }
                    }
                }
            }
        }
    }
}

/// What a terminal takes for the end of its input: Ctrl-D.
const END_OF_FILE: u8 = 4;

async fn first_size(engine: &Engine, exec: &str, size: TerminalSize) {
    for _ in 0..RESIZE_TRIES {
        if resize(engine, exec, size).await {
            return;
        }
        tokio::time::sleep(RESIZE_PAUSE).await;
    }
}

/// Whether the terminal has the size now. One without is still of use.
async fn resize(engine: &Engine, exec: &str, size: TerminalSize) -> bool {
    let options = ResizeExecOptions { height: size.rows, width: size.columns };
    let resized = match engine.docker().await {
        Ok(docker) => within(CALL_TIMEOUT, docker.resize_exec(exec, options)).await,
        Err(error) => Err(error),
    };
    if let Err(error) = &resized {
        tracing::trace!(exec.id = exec, "cannot resize a terminal: {error}");
    }
    resized.is_ok()
}

/// Sends output on to its end. A slow reader holds the command up: nothing is kept here.
async fn copy_output(
    mut reader: impl AsyncRead + Unpin,
    is_tty: bool,
    output: &Sender<Bytes>,
) -> Result<(), LinkError> {
    let mut buffer = vec![0; if is_tty { TERMINAL_READ_BYTES } else { PIPE_READ_BYTES }];
    let mut pieces = Pieces::new(is_tty);
    loop {
        let length = reader.read(&mut buffer).await.map_err(engine_down)?;
        if length == 0 {
            return Ok(());
        }
        let frames = framed(&pieces.take(&buffer[..length])?);
        if !frames.is_empty() {
            let gone = |_| engine_down("nobody reads the command's output any more");
            output.send(frames.into()).await.map_err(gone)?;
        }
    }
}

/// Output as it travels: pieces of one source that follow one another are one frame.
fn framed(pieces: &[(Source, &[u8])]) -> Vec<u8> {
    let mut frames = Vec::with_capacity(pieces.iter().map(|(_, piece)| piece.len() + HEAD_BYTES).sum());
    for same in pieces.chunk_by(|(one, _), (other, _)| one == other) {
        frames::append(
            ExecOutput::OUTPUT_KINDS[same[0].0 as usize],
            same.iter().map(|(_, piece)| *piece),
            &mut frames,
        );
    }
    frames
}

async fn exit_code(engine: &Engine, exec: &str) -> Result<i64, LinkError> {
    for _ in 0..EXIT_TRIES {
        match inspect(engine, exec).await? {
            Some(ExecInspectResponse { running: Some(false), exit_code: Some(code), .. }) => return Ok(code),
            // With its container.
            None => return Ok(EXIT_OF_KILLED),
            Some(_) => tokio::time::sleep(EXIT_PAUSE).await,
        }
    }
    let message = "the command closed its output and goes on; how it ends cannot be told";
    Err(LinkError::new(LinkErrorCode::Timeout, message))
}

/// Of a command that was ended together with its container.
const EXIT_OF_KILLED: i64 = 137;

/// What the engine says of a command; none when it does not know it any more.
pub(super) async fn inspect(engine: &Engine, exec: &str) -> Result<Option<ExecInspectResponse>, LinkError> {
    let docker = engine.docker().await?;
    match within(CALL_TIMEOUT, docker.inspect_exec(exec)).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_not_found(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_that_follow_one_another_travel_as_one_frame() {
        let pieces: [(Source, &[u8]); 4] =
            [(Source::Out, b"one "), (Source::Out, b"two"), (Source::Err, b"no"), (Source::Out, b"three")];
        let mut reader = FrameReader::<ExecOutput>::default();

        reader.push(framed(&pieces).into());

        let mut read = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            read.push(frame);
        }
        assert_eq!(
            read,
            [
                ExecOutput::Out(Bytes::from_static(b"one two")),
                ExecOutput::Err(Bytes::from_static(b"no")),
                ExecOutput::Out(Bytes::from_static(b"three"))
            ]
        );
        assert!(framed(&[]).is_empty());
    }

    #[test]
    fn notes_that_are_not_ours_are_passed_over() {
        let (exec, container, mark) = ("a".repeat(64), "b".repeat(64), "c".repeat(32));
        let note = format!("{container} {mark}\n");

        assert!(Command::of_note(exec.clone(), &note).is_some());
        assert!(Command::of_note("../../etc".into(), &note).is_none());
        assert!(Command::of_note(exec.clone(), &format!("{container}/.. {mark}")).is_none());
        assert!(Command::of_note(exec.clone(), &format!("{container} '; reboot; '")).is_none());
        assert!(Command::of_note(exec, "").is_none());
    }
}
