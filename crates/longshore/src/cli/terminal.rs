//! `longshore container exec`: a command in a container, with or without a terminal here, and its exit status as our own.

use std::io::IsTerminal as _;
use std::os::fd::AsFd as _;
use std::time::Duration;

use clap::{Args, Subcommand};
use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt as _, StreamExt as _};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use wire::ids::TerminalId;
use wire::terminals::{
    CHANNEL_ERROR, CHANNEL_INPUT, CHANNEL_OUTPUT, EndReason, SUBPROTOCOL, ServerMessage, TerminalCreate,
    TerminalSize, TerminalTicket, TerminalView, ViewerMessage,
};

use super::container::ContainerArg;
use super::failure::{ExitWith, Failure};
use super::printer::{Sanitizer, Stream};
use super::session::Session;
use super::socket::Socket;
use super::{environment, human, words};

/// Bytes of input that are sent together.
const READ_BYTES: usize = 16 << 10;
/// Bytes of each stream that are held for `--json`.
const CAPTURED_BYTES_MAX: usize = 1 << 20;
/// How long a connection that broke is tried again.
const OUTAGE: Duration = Duration::from_mins(2);
/// First and longest pause between tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// The server asks for a sign of life every 15 seconds.
const SILENCE: Duration = Duration::from_mins(1);

/// What to run where.
#[derive(Args, Debug)]
pub(crate) struct ExecArgs {
    /// Its name or number
    container: ContainerArg,
    /// Pass standard input on
    #[arg(long, short)]
    interactive: bool,
    /// Give the command a terminal
    #[arg(long, short)]
    tty: bool,
    /// Set a variable
    #[arg(long, short, value_name = "KEY=VALUE")]
    env: Vec<String>,
    /// Run in this folder
    #[arg(long, short, value_name = "PATH")]
    workdir: Option<String>,
    /// Come back to a terminal that is open
    #[arg(long, value_name = "ID", conflicts_with_all = ["command", "env", "workdir"], requires = "tty")]
    session: Option<TerminalId>,
    /// Only look at it
    #[arg(long, requires = "session")]
    read_only: bool,
    /// The command; a shell when absent, with `-it`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// Verbs of `longshore container terminal`.
#[derive(Debug, Subcommand)]
pub(crate) enum TerminalCommand {
    /// List the open terminals of a container
    #[command(visible_alias = "ls")]
    List {
        /// Its name or number
        container: ContainerArg,
    },
    /// End a terminal and its command
    End {
        /// The container's name or number
        container: ContainerArg,
        /// The terminal's id
        terminal: TerminalId,
    },
}

/// Runs a verb.
pub(crate) async fn run(command: TerminalCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        TerminalCommand::List { container } => {
            let path = ["api", "v1", "containers", &container.0, "terminals"];
            let answer = session.client.get(&path, &[]).await?;
            if session.shown_as_json(&answer)? {
                return Ok(());
            }
            let terminals: Vec<TerminalView> = answer.view()?;
            if terminals.is_empty() {
                session.printer.say(words::NOTHING_THERE, &[]);
            }
            let now = environment::now();
            let row = |terminal: &TerminalView| {
                [
                    terminal.id.to_string(),
                    terminal.command.join(" "),
                    terminal.opened_by.to_string(),
                    terminal.viewers.to_string(),
                    human::ago(terminal.opened_at, now, session.printer.language),
                ]
            };
            let rows: Vec<_> = terminals.iter().map(row).collect();
            session.printer.table(["ID", "COMMAND", "OPENED BY", "VIEWERS", "OPENED"], &rows)
        }
        TerminalCommand::End { container, terminal } => {
            let id = terminal.to_string();
            let path = ["api", "v1", "containers", &container.0, "terminals", &id];
            let answer = session.client.delete(&path).await?;
            session.done(&answer, words::TERMINAL_ENDED, &[&id])
        }
    }
}

/// `longshore container exec`.
pub(crate) async fn exec(session: &Session, args: ExecArgs) -> anyhow::Result<()> {
    let language = session.printer.language;
    if args.tty && session.printer.is_json {
        return Err(Failure::usage(language.pick(words::NO_TERMINAL_WITH_JSON)).into());
    }
    if args.command.is_empty() && args.session.is_none() && !(args.tty && args.interactive) {
        let failure = Failure::usage(language.pick(words::NO_COMMAND));
        return Err(failure.hint(language.pick(words::NO_COMMAND_HINT)).into());
    }
    let mut env = std::collections::BTreeMap::new();
    for text in &args.env {
        let (key, value) = super::container::variable(text).map_err(Failure::usage)?;
        env.insert(key, value);
    }
    let is_new = args.session.is_none();
    let wanted = TerminalCreate {
        command: Some(args.command).filter(|command| !command.is_empty()),
        tty: is_new.then_some(args.tty),
        input: is_new.then_some(args.interactive),
        env,
        working_dir: args.workdir,
        session: args.session,
        read_only: args.read_only,
        ..TerminalCreate::default()
    };
    let at = At::Container(args.container);
    if args.tty {
        return interactive(session, &at, wanted).await;
    }
    piped(session, &at, wanted, args.interactive).await
}

/// A shell in a container, in the terminal of this process.
pub(crate) async fn shell(session: &Session, container: ContainerArg) -> anyhow::Result<()> {
    let wanted = TerminalCreate { tty: Some(true), input: Some(true), ..TerminalCreate::default() };
    interactive(session, &At::Container(container), wanted).await
}

/// Refuses where there is no terminal that could be given to somebody.
pub(crate) fn check_terminal(session: &Session) -> anyhow::Result<()> {
    let language = session.printer.language;
    if session.printer.is_json {
        return Err(Failure::usage(language.pick(words::NO_TERMINAL_WITH_JSON)).into());
    }
    if !std::io::stdin().is_terminal() || !session.printer.is_stdout_terminal {
        return Err(Failure::usage(language.pick(words::NOT_A_TERMINAL)).into());
    }
    Ok(())
}

/// Where a command runs.
pub(crate) enum At {
    /// In a container.
    Container(ContainerArg),
    /// In a pod of a namespace.
    Pod { namespace: String, pod: String },
}

/// What `longshore workload exec` takes.
#[derive(Args, Debug)]
pub(crate) struct PodExecArgs {
    /// The namespace
    namespace: String,
    /// The pod, from `longshore workload pods`
    pod: String,
    /// In this container [default: the first one]
    #[arg(long, short, value_name = "NAME")]
    container: Option<String>,
    /// Give it what is typed
    #[arg(long, short)]
    interactive: bool,
    /// With a terminal
    #[arg(long, short)]
    tty: bool,
    /// The command; a shell when absent, with `-it`
    #[arg(last = true, value_name = "COMMAND")]
    command: Vec<String>,
}

/// `longshore workload exec`.
pub(crate) async fn exec_in_pod(session: &Session, args: PodExecArgs) -> anyhow::Result<()> {
    let language = session.printer.language;
    if args.tty && session.printer.is_json {
        return Err(Failure::usage(language.pick(words::NO_TERMINAL_WITH_JSON)).into());
    }
    if args.command.is_empty() && !(args.tty && args.interactive) {
        let failure = Failure::usage(language.pick(words::NO_COMMAND));
        return Err(failure.hint(language.pick(words::NO_COMMAND_HINT)).into());
    }
    let wanted = TerminalCreate {
        command: Some(args.command).filter(|command| !command.is_empty()),
        tty: Some(args.tty),
        input: Some(args.interactive),
        container: args.container,
        ..TerminalCreate::default()
    };
    let at = At::Pod { namespace: args.namespace, pod: args.pod };
    if args.tty {
        return interactive(session, &at, wanted).await;
    }
    piped(session, &at, wanted, args.interactive).await
}

/// Opens the WebSocket of what is wanted.
async fn open(session: &Session, at: &At, wanted: &TerminalCreate) -> anyhow::Result<Socket> {
    let path = match at {
        At::Container(container) => vec!["api", "v1", "containers", &container.0],
        At::Pod { namespace, pod } => vec!["api", "v1", "namespaces", namespace, "pods", pod],
    };
    let tickets = [&path[..], &["terminal-tickets"]].concat();
    let ticket: TerminalTicket = session.client.post(&tickets, wanted).await?.view()?;
    let terminal = [&path[..], &["terminal"]].concat();
    session.client.socket(&terminal, &[("ticket", ticket.ticket)], SUBPROTOCOL).await
}

/// The terminal of this process, without its line discipline; put back when this is dropped.
struct RawMode {
    before: Termios,
}

impl RawMode {
    fn enter() -> anyhow::Result<Self> {
        let stdin = std::io::stdin();
        let before = tcgetattr(stdin.as_fd())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // The terminal is gone with whoever sat at it: nothing is left to put back.
        tcsetattr(std::io::stdin().as_fd(), OptionalActions::Now, &self.before).ok();
    }
}

fn window_size() -> Option<TerminalSize> {
    let size =
        tcgetwinsize(std::io::stdout().as_fd()).or_else(|_| tcgetwinsize(std::io::stdin().as_fd())).ok()?;
    let size = TerminalSize { columns: size.ws_col, rows: size.ws_row };
    size.is_valid().then_some(size)
}

/// How a conversation ended.
enum Ended {
    /// The server said so.
    Said { reason: EndReason, exit_code: Option<i64>, message: String },
    /// The connection broke.
    Lost,
}

/// A terminal here for a terminal there. A connection that breaks is taken up again where it broke off.
async fn interactive(session: &Session, at: &At, mut wanted: TerminalCreate) -> anyhow::Result<()> {
    check_terminal(session)?;
    if let Some(size) = window_size() {
        (wanted.columns, wanted.rows) = (Some(size.columns), Some(size.rows));
    }
    let mut socket = open(session, at, &wanted).await?;
    let raw = RawMode::enter()?;
    let mut keyboard = tokio::io::stdin();
    let mut lost_at: Option<Instant> = None;
    let mut pause = PAUSE.0;
    let ended = loop {
        let mut place =
            Place { session: wanted.session, offset: wanted.from.unwrap_or(0), has_opened: false };
        let ended = converse(session, socket, &mut keyboard, &mut place).await?;
        if place.has_opened {
            lost_at = None;
            pause = PAUSE.0;
        }
        let (Ended::Lost, Some(id)) = (&ended, place.session) else { break ended };
        let since = *lost_at.get_or_insert_with(Instant::now);
        wanted = TerminalCreate {
            session: Some(id),
            from: Some(place.offset),
            read_only: wanted.read_only,
            ..TerminalCreate::default()
        };
        socket = loop {
            if since.elapsed() > OUTAGE {
                drop(raw);
                return Err(lost(session, at, id));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            match open(session, at, &wanted).await {
                Ok(socket) => break socket,
                // The server says that it is over; anything else may be better in a moment.
                Err(error) if status_of(&error).is_some_and(|status| (400..500).contains(&status)) => {
                    drop(raw);
                    return Err(error);
                }
                Err(_) => {}
            }
        };
    };
    drop(raw);
    finish(session, ended)
}

fn status_of(error: &anyhow::Error) -> Option<u16> {
    Failure::of(error)?.status.filter(|status| *status != 429)
}

fn lost(session: &Session, at: &At, id: TerminalId) -> anyhow::Error {
    let language = session.printer.language;
    let failure = Failure::new(language.pick(words::CONNECTION_LOST));
    match at {
        At::Container(container) => {
            failure.hint(language.say(words::COME_BACK_HINT, &[&container.0, &id.to_string()])).into()
        }
        At::Pod { .. } => failure.into(),
    }
}

/// Where a conversation is, for the next one.
struct Place {
    session: Option<TerminalId>,
    offset: u64,
    has_opened: bool,
}

/// One connection, until it ends.
async fn converse(
    session: &Session,
    socket: Socket,
    keyboard: &mut tokio::io::Stdin,
    place: &mut Place,
) -> anyhow::Result<Ended> {
    let (mut sink, mut messages) = socket.split();
    let mut resized = signal(SignalKind::window_change())?;
    let mut buffer = vec![0; READ_BYTES];
    let mut is_open = true;
    loop {
        tokio::select! {
            message = next(&mut messages) => match message {
                Some(Message::Binary(bytes)) => {
                    let Some((_, output)) = bytes.split_first() else { continue };
                    place.offset += output.len() as u64;
                    session.printer.raw_to(Stream::Data, output)?;
                }
                Some(Message::Text(text)) => match serde_json::from_str(&text) {
                    Ok(ServerMessage::Opened { session, offset, columns, rows, .. }) => {
                        (place.session, place.offset, place.has_opened) = (Some(session), offset, true);
                        // One that was there before may have another window's size.
                        if window_size().is_some_and(|size| size != TerminalSize { columns, rows })
                            && !fit(&mut sink).await
                        {
                            return Ok(Ended::Lost);
                        }
                    }
                    Ok(ServerMessage::Dropped { bytes }) => place.offset += bytes,
                    Ok(ServerMessage::Ended { reason, exit_code, message }) => {
                        return Ok(Ended::Said { reason, exit_code, message });
                    }
                    _ => {}
                },
                Some(_) => {}
                None => return Ok(Ended::Lost),
            },
            read = keyboard.read(&mut buffer), if is_open => {
                let length = read?;
                let message = if length == 0 {
                    is_open = false;
                    say(&ViewerMessage::EndOfInput)
                } else {
                    input(&buffer[..length])
                };
                if sink.send(message).await.is_err() {
                    return Ok(Ended::Lost);
                }
            }
            _ = resized.recv() => {
                if !fit(&mut sink).await {
                    return Ok(Ended::Lost);
                }
            }
        }
    }
}

/// Gives the terminal there the size of the window here; false when the connection is over.
async fn fit(sink: &mut SplitSink<Socket, Message>) -> bool {
    let Some(TerminalSize { columns, rows }) = window_size() else { return true };
    sink.send(say(&ViewerMessage::Resize { columns, rows })).await.is_ok()
}

/// The next message; none when the connection is over or silent for too long.
async fn next(messages: &mut SplitStream<Socket>) -> Option<Message> {
    match tokio::time::timeout(SILENCE, messages.next()).await {
        Ok(Some(Ok(message))) => Some(message),
        _ => None,
    }
}

fn input(bytes: &[u8]) -> Message {
    let mut message = Vec::with_capacity(bytes.len() + 1);
    message.push(CHANNEL_INPUT);
    message.extend_from_slice(bytes);
    Message::Binary(message.into())
}

fn say(message: &ViewerMessage) -> Message {
    Message::Text(serde_json::to_string(message).expect("messages can be written as JSON").into())
}

/// What a command without a terminal says.
#[derive(Default)]
struct Captured {
    out: Vec<u8>,
    err: Vec<u8>,
    is_cut: bool,
}

impl Captured {
    fn take(&mut self, channel: u8, bytes: &[u8]) {
        let kept = if channel == CHANNEL_ERROR { &mut self.err } else { &mut self.out };
        let room = CAPTURED_BYTES_MAX.saturating_sub(kept.len());
        self.is_cut |= bytes.len() > room;
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

/// A command without a terminal: its streams are ours, and nothing of them is left out.
async fn piped(session: &Session, at: &At, wanted: TerminalCreate, has_input: bool) -> anyhow::Result<()> {
    let socket = open(session, at, &wanted).await?;
    let (mut sink, mut messages) = socket.split();
    let printer = &session.printer;
    let mut captured = Captured::default();
    let mut sanitizers = [Sanitizer::default(), Sanitizer::default()];
    let show = async {
        while let Some(message) = next(&mut messages).await {
            match message {
                Message::Binary(bytes) => {
                    let Some((&channel, output)) = bytes.split_first() else { continue };
                    if printer.is_json {
                        captured.take(channel, output);
                        continue;
                    }
                    let is_error = channel != CHANNEL_OUTPUT;
                    let (stream, is_terminal) = if is_error {
                        (Stream::Words, printer.is_stderr_terminal)
                    } else {
                        (Stream::Data, printer.is_stdout_terminal)
                    };
                    if is_terminal {
                        let text = sanitizers[usize::from(is_error)].push(output);
                        printer.raw_to(stream, text.as_bytes())?;
                    } else {
                        printer.raw_to(stream, output)?;
                    }
                }
                Message::Text(text) => {
                    if let Ok(ServerMessage::Ended { reason, exit_code, message }) =
                        serde_json::from_str(&text)
                    {
                        return anyhow::Ok(Ended::Said { reason, exit_code, message });
                    }
                }
                _ => {}
            }
        }
        Ok(Ended::Lost)
    };
    let ended = tokio::select! {
        ended = show => ended?,
        () = feed(&mut sink, has_input) => unreachable!("it only feeds"),
    };
    if printer.is_json {
        let exit_code = if let Ended::Said { exit_code, .. } = &ended { *exit_code } else { None };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (out, err) = (text(&captured.out), text(&captured.err));
        let document =
            json!({ "exit_code": exit_code, "stdout": out, "stderr": err, "is_cut": captured.is_cut });
        printer.json(&document.to_string())?;
    }
    finish(session, ended)
}

/// Passes standard input on, if it is wanted; never ends, because what the command says decides.
async fn feed(sink: &mut SplitSink<Socket, Message>, has_input: bool) {
    if has_input {
        let mut stdin = tokio::io::stdin();
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let length = stdin.read(&mut buffer).await.unwrap_or(0);
            let message =
                if length == 0 { say(&ViewerMessage::EndOfInput) } else { input(&buffer[..length]) };
            if sink.send(message).await.is_err() || length == 0 {
                break;
            }
        }
    }
    std::future::pending::<()>().await;
}

/// Turns the end of a command into ours.
fn finish(session: &Session, ended: Ended) -> anyhow::Result<()> {
    let language = session.printer.language;
    match ended {
        Ended::Said { reason: EndReason::Exited, exit_code: Some(0), .. } => Ok(()),
        Ended::Said { reason: EndReason::Exited, exit_code: Some(code), .. } => {
            // As a shell tells the end of a program.
            Err(ExitWith(u8::try_from(code & 0xff).unwrap_or(1).max(1)).into())
        }
        Ended::Said { message, .. } => Err(Failure::new(message).into()),
        Ended::Lost => Err(Failure::new(language.pick(words::CONNECTION_LOST)).into()),
    }
}
