//! Open terminals: commands that run in containers, what they have shown last, and those who look at them. In memory alone:
//! when the server ends, the machines end the commands. Who may look is decided in `domain/terminals.rs`.
//!
//! Every terminal keeps its last 256 KiB, and a viewer is a place in them. One that is slow loses its place and is told how
//! much it missed; nothing is kept for it. Without a terminal (`tty: false`) nothing may be missed, and the command waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::{Buf as _, Bytes, BytesMut};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use wire::ids::{AccountId, ContainerId, NamespaceId, TerminalId};
use wire::link::{ExecInput, ExecOutput};
use wire::names::AccountName;
use wire::terminals::{
    CHANNEL_ERROR, CHANNEL_OUTPUT, EndReason, REPLAY_BYTES, ServerMessage, TerminalCreate, TerminalSize,
    TerminalView,
};
use wire::time::Timestamp;

use crate::app::App;
use crate::caller::Caller;
use crate::link::pipe::{CommandInput, CommandOutput};

/// Tickets that wait to be used, of one account and of all.
const TICKETS_PER_ACCOUNT: usize = 64;
const TICKETS_MAX: usize = 8_192;
/// Those who may look at one terminal.
const VIEWERS_MAX: usize = 16;
/// Bytes that a viewer is given together.
const SHOWN_BYTES_MAX: usize = 64 << 10;
/// Bytes of one kind that are gathered in one piece.
const CHUNK_BYTES_MAX: usize = 8 << 10;
/// Bytes that are kept as they came. Fewer might hold much more, with which they were read.
const WHOLE_BYTES_MIN: usize = 16 << 10;
/// Bytes of a terminal that the quickest of its viewers may not have seen yet before the command waits a moment.
const UNSEEN_BYTES_MAX: u64 = (REPLAY_BYTES / 2) as u64;
/// How long a command waits for the quickest of its viewers, so that a flood that nobody sees costs little.
const PACE: Duration = Duration::from_millis(100);
/// How long a terminal whose command has ended is kept for those who come back to it.
const ENDED_KEPT: Duration = Duration::from_mins(1);

/// All terminals of this server, and the tickets for them.
#[derive(Default)]
pub struct Terminals {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    tickets: HashMap<[u8; 32], Kept>,
    terminals: HashMap<TerminalId, Arc<Terminal>>,
}

struct Kept {
    ticket: Ticket,
    expires_at: Timestamp,
}

/// Where a command runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a container of ours.
    Container(ContainerId),
    /// In a pod of a namespace.
    Pod(NamespaceId, String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Container(id) => write!(f, "container {id}"),
            Self::Pod(namespace, pod) => write!(f, "pod {namespace}/{pod}"),
        }
    }
}

/// What a ticket opens, and for whom.
#[derive(Clone, Debug)]
pub struct Ticket {
    /// Who asked for it.
    pub caller: Caller,
    /// Where.
    pub place: Place,
    /// What was asked for.
    pub wanted: TerminalCreate,
}

/// There are as many already as there may be.
#[derive(Debug)]
pub struct TooMany;

/// What a new terminal is.
#[derive(Debug)]
pub struct NewTerminal {
    /// Where.
    pub place: Place,
    /// Who opens it.
    pub opened_by: AccountId,
    /// Who opens it, by name.
    pub opened_by_name: AccountName,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Whether it has a terminal.
    pub is_tty: bool,
    /// Its size.
    pub size: TerminalSize,
    /// The time.
    pub now: Timestamp,
}

impl Terminals {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a ticket under the hash of its secret.
    pub fn keep_ticket(
        &self,
        hash: [u8; 32],
        ticket: Ticket,
        now: Timestamp,
        expires_at: Timestamp,
    ) -> Result<(), TooMany> {
        let mut state = self.state();
        state.tickets.retain(|_, kept| kept.expires_at > now);
        let of_account = |kept: &&Kept| kept.ticket.caller.account == ticket.caller.account;
        if state.tickets.len() >= TICKETS_MAX
            || state.tickets.values().filter(of_account).count() >= TICKETS_PER_ACCOUNT
        {
            return Err(TooMany);
        }
        state.tickets.insert(hash, Kept { ticket, expires_at });
        Ok(())
    }

    /// Takes a ticket, which is then gone.
    pub fn take_ticket(&self, hash: &[u8; 32], now: Timestamp) -> Option<Ticket> {
        let kept = self.state().tickets.remove(hash)?;
        (kept.expires_at > now).then_some(kept.ticket)
    }

    /// Adds a terminal, unless its opener has as many as it may.
    fn insert(&self, terminal: Arc<Terminal>, per_account: usize) -> Result<(), TooMany> {
        let mut state = self.state();
        if count_of(&state, terminal.opened_by) >= per_account {
            return Err(TooMany);
        }
        state.terminals.insert(terminal.id, terminal);
        Ok(())
    }

    /// How many open terminals an account has opened.
    pub fn count_of(&self, account: AccountId) -> usize {
        count_of(&self.state(), account)
    }

    /// A terminal of a place.
    pub fn get(&self, id: TerminalId, place: &Place) -> Option<Arc<Terminal>> {
        self.state().terminals.get(&id).filter(|terminal| terminal.place == *place).cloned()
    }

    /// A container's terminals, oldest first.
    pub fn of_container(&self, container: ContainerId) -> Vec<TerminalView> {
        let state = self.state();
        let place = Place::Container(container);
        let found = state.terminals.values().filter(|terminal| terminal.place == place);
        let mut views: Vec<TerminalView> = found.map(|terminal| terminal.view(container)).collect();
        views.sort_by_key(|view| view.id);
        views
    }

    /// Ends what an account has opened, and its looks at what others have: its password, role or state has changed.
    pub fn revoke(&self, account: AccountId) {
        let mut state = self.state();
        state.tickets.retain(|_, kept| kept.ticket.caller.account != account);
        for terminal in state.terminals.values() {
            terminal.revoke(account);
        }
    }

    fn remove(&self, id: TerminalId) {
        self.state().terminals.remove(&id);
    }
}

fn count_of(state: &State, account: AccountId) -> usize {
    let is_open = |terminal: &&Arc<Terminal>| terminal.opened_by == account && !terminal.has_ended();
    state.terminals.values().filter(is_open).count()
}

/// A command and what it has shown.
pub struct Terminal {
    id: TerminalId,
    place: Place,
    opened_by: AccountId,
    opened_by_name: AccountName,
    command: Vec<String>,
    is_tty: bool,
    opened_at: Timestamp,
    input: CommandInput,
    screen: Mutex<Screen>,
    /// Counts what viewers may want to see.
    news: watch::Sender<u64>,
    /// Tells the carrier of a change in who looks and how far they are.
    wake: Notify,
    is_waiting_for_room: AtomicBool,
    end_wanted: OnceLock<EndReason>,
}

struct Screen {
    chunks: VecDeque<Chunk>,
    /// Bytes that the chunks hold.
    kept: usize,
    /// Bytes ever shown.
    end: u64,
    /// As far as a moment's wait for viewers reached.
    paced: u64,
    size: TerminalSize,
    viewers: HashMap<u64, Seat>,
    next_viewer: u64,
    /// Who typed last: programs that ask the terminal something are answered once, and by this one.
    typist: Option<u64>,
    alone_since: Option<Instant>,
    active_at: Instant,
    ended: Option<Ended>,
}

/// Bytes of one kind that follow one another.
struct Chunk {
    start: u64,
    channel: u8,
    bytes: Bytes,
}

/// How far a viewer is.
struct Seat {
    at: u64,
    account: AccountId,
    is_revoked: bool,
}

#[derive(Clone, Debug)]
struct Ended {
    reason: EndReason,
    exit_code: Option<i64>,
    message: String,
}

impl Ended {
    fn because(reason: EndReason) -> Self {
        let message = match reason {
            EndReason::Exited => "the command has ended",
            EndReason::Failed => "the command could not be started",
            EndReason::Idle => "nobody typed and nothing was shown for too long",
            EndReason::TimeLimit => "it was open for as long as a terminal may be",
            EndReason::Left => "nobody looked at it any more",
            EndReason::Closed => "somebody asked for its end",
            EndReason::Revoked => "you may not look at it any more; log in again",
            EndReason::MachineLost => "the connection to the machine broke; the container goes on",
            EndReason::ServerStopping => "the server stops; the container goes on",
        };
        Self { reason, exit_code: None, message: message.to_owned() }
    }

    fn message(self) -> ServerMessage {
        ServerMessage::Ended { reason: self.reason, exit_code: self.exit_code, message: self.message }
    }
}

impl Screen {
    fn new(size: TerminalSize) -> Self {
        let now = Instant::now();
        Self {
            chunks: VecDeque::new(),
            kept: 0,
            end: 0,
            paced: 0,
            size,
            viewers: HashMap::new(),
            next_viewer: 0,
            typist: None,
            alone_since: Some(now),
            active_at: now,
            ended: None,
        }
    }

    /// Offset of the first byte that is kept.
    fn start(&self) -> u64 {
        self.end - self.kept as u64
    }

    fn append(&mut self, channel: u8, bytes: Bytes) {
        self.active_at = Instant::now();
        if bytes.len() >= WHOLE_BYTES_MIN {
            self.push(channel, bytes);
        } else {
            for piece in bytes.chunks(CHUNK_BYTES_MAX) {
                self.gather(channel, piece);
            }
        }
        self.forget();
    }

    fn gather(&mut self, channel: u8, piece: &[u8]) {
        let fits = |chunk: &&mut Chunk| {
            chunk.channel == channel && chunk.bytes.len() + piece.len() <= CHUNK_BYTES_MAX
        };
        let Some(chunk) = self.chunks.back_mut().filter(fits) else {
            return self.push(channel, Bytes::copy_from_slice(piece));
        };
        let mut bytes = BytesMut::from(std::mem::take(&mut chunk.bytes));
        bytes.extend_from_slice(piece);
        chunk.bytes = bytes.freeze();
        self.end += piece.len() as u64;
        self.kept += piece.len();
    }

    fn push(&mut self, channel: u8, bytes: Bytes) {
        let start = self.end;
        self.end += bytes.len() as u64;
        self.kept += bytes.len();
        self.chunks.push_back(Chunk { start, channel, bytes });
    }

    /// Lets go of what is older than the replay.
    fn forget(&mut self) {
        while self.kept > REPLAY_BYTES {
            let Some(chunk) = self.chunks.front_mut() else { return };
            let surplus = self.kept - REPLAY_BYTES;
            if chunk.bytes.len() <= surplus {
                self.kept -= chunk.bytes.len();
                self.chunks.pop_front();
                continue;
            }
            chunk.bytes.advance(surplus);
            chunk.start += surplus as u64;
            self.kept -= surplus;
        }
    }

    /// The bytes of one kind from an offset that is kept, behind their channel.
    fn read(&self, from: u64) -> Option<Vec<u8>> {
        let first = self.chunks.partition_point(|chunk| chunk.start + chunk.bytes.len() as u64 <= from);
        let channel = self.chunks.get(first)?.channel;
        let of_channel = self.chunks.range(first..).take_while(|chunk| chunk.channel == channel);
        let there: usize = of_channel.clone().map(|chunk| chunk.bytes.len()).sum();
        let mut bytes = Vec::with_capacity(1 + there.min(SHOWN_BYTES_MAX));
        bytes.push(channel);
        for chunk in of_channel {
            let skipped = usize::try_from(from.saturating_sub(chunk.start)).expect("it lies in the chunk");
            let piece = &chunk.bytes[skipped..];
            bytes.extend_from_slice(&piece[..piece.len().min(1 + SHOWN_BYTES_MAX - bytes.len())]);
        }
        Some(bytes)
    }

    /// Whether what this viewer sends goes to the command. Every viewer's screen answers when a program asks where the cursor
    /// is, and a program that reads two answers takes the second for keys: only the one who typed last answers, or who came
    /// first of those who are there.
    fn takes(&mut self, viewer: u64, bytes: &[u8]) -> bool {
        if is_answer(bytes) {
            let typist = self.typist.filter(|typist| self.viewers.contains_key(typist));
            return typist.or_else(|| self.viewers.keys().min().copied()).is_none_or(|who| who == viewer);
        }
        self.typist = Some(viewer);
        true
    }

    /// Whether more may be taken from the command now.
    fn has_room(&self, is_tty: bool) -> bool {
        let places = self.viewers.values().map(|place| place.at);
        if is_tty {
            let quickest = places.chain([self.paced]).max().unwrap_or(self.paced);
            return self.end - quickest < UNSEEN_BYTES_MAX;
        }
        // What comes next must not push out what has not been seen.
        let slowest = places.min().unwrap_or(self.end);
        self.end - slowest < UNSEEN_BYTES_MAX
    }
}

impl Terminal {
    fn screen(&self) -> MutexGuard<'_, Screen> {
        self.screen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether its command has a terminal; only then more than one may look.
    pub fn is_tty(&self) -> bool {
        self.is_tty
    }

    /// Who opened it.
    pub fn opened_by(&self) -> AccountId {
        self.opened_by
    }

    fn has_ended(&self) -> bool {
        self.screen().ended.is_some()
    }

    fn tell(&self) {
        self.news.send_modify(|count| *count += 1);
    }

    fn view(&self, container_id: ContainerId) -> TerminalView {
        let screen = self.screen();
        TerminalView {
            id: self.id,
            container_id,
            command: self.command.clone(),
            tty: self.is_tty,
            opened_by: self.opened_by_name.clone(),
            opened_at: self.opened_at,
            viewers: screen.viewers.len(),
            columns: screen.size.columns,
            rows: screen.size.rows,
            exit_code: screen.ended.as_ref().and_then(|ended| ended.exit_code),
        }
    }

    /// Asks for its end.
    pub fn end(&self, reason: EndReason) {
        if self.end_wanted.set(reason).is_ok() {
            self.wake.notify_one();
        }
    }

    fn revoke(&self, account: AccountId) {
        if self.opened_by == account {
            self.end(EndReason::Revoked);
        }
        for place in self.screen().viewers.values_mut().filter(|place| place.account == account) {
            place.is_revoked = true;
        }
        self.tell();
    }

    /// Lets somebody look, from an offset or from the beginning of what is kept.
    pub fn look(self: &Arc<Self>, account: AccountId, wanted: &TerminalCreate) -> Result<Viewer, TooMany> {
        let mut screen = self.screen();
        if screen.viewers.len() >= VIEWERS_MAX {
            return Err(TooMany);
        }
        let at = wanted.from.map_or(screen.start(), |from| from.min(screen.end));
        let number = screen.next_viewer;
        screen.next_viewer += 1;
        screen.viewers.insert(number, Seat { at, account, is_revoked: false });
        screen.alone_since = None;
        screen.active_at = Instant::now();
        let opened = ServerMessage::Opened {
            session: self.id,
            tty: self.is_tty,
            offset: at,
            live_offset: screen.end,
            columns: screen.size.columns,
            rows: screen.size.rows,
        };
        let (shown_size, shown_viewers) = (screen.size, screen.viewers.len());
        drop(screen);
        let news = self.news.subscribe();
        self.tell();
        self.wake.notify_one();
        Ok(Viewer {
            hands: Hands { terminal: Arc::clone(self), viewer: number, is_read_only: wanted.read_only },
            number,
            news,
            opened: Some(opened),
            shown_size,
            shown_viewers,
        })
    }

    /// Why it must end now, if it must; otherwise when to ask again.
    fn overdue(&self, limits: &Limits, opened: Instant) -> Result<Instant, EndReason> {
        let screen = self.screen();
        let now = Instant::now();
        let keep = if self.is_tty { limits.keep } else { Duration::ZERO };
        let mut next = now + Duration::from_hours(1);
        let due = [
            (screen.alone_since.map(|since| since + keep), EndReason::Left),
            (limits.idle.map(|idle| screen.active_at + idle), EndReason::Idle),
            (limits.longest.map(|longest| opened + longest), EndReason::TimeLimit),
        ];
        for (at, reason) in due {
            let Some(at) = at else { continue };
            if at <= now {
                return Err(reason);
            }
            next = next.min(at);
        }
        Ok(next)
    }
}

/// Opens a terminal on a command and lets its opener look at it. The command is carried from here on until it ends or must
/// end.
pub fn open(
    app: &App,
    new: NewTerminal,
    wanted: &TerminalCreate,
    command: (CommandInput, CommandOutput),
) -> Result<Viewer, TooMany> {
    let (input, output) = command;
    let terminal = Arc::new(Terminal {
        id: TerminalId(uuid::Uuid::now_v7()),
        place: new.place,
        opened_by: new.opened_by,
        opened_by_name: new.opened_by_name,
        command: new.command,
        is_tty: new.is_tty,
        opened_at: new.now,
        input,
        screen: Mutex::new(Screen::new(new.size)),
        news: watch::Sender::new(0),
        wake: Notify::new(),
        is_waiting_for_room: AtomicBool::new(false),
        end_wanted: OnceLock::new(),
    });
    let per_account = usize::try_from(app.config.terminals.per_account).unwrap_or(usize::MAX);
    app.terminals.insert(Arc::clone(&terminal), per_account)?;
    let viewer = terminal.look(new.opened_by, wanted)?;
    app.spawn(carry(app.clone(), terminal, output));
    Ok(viewer)
}

/// The settings, as lengths of time.
struct Limits {
    keep: Duration,
    idle: Option<Duration>,
    longest: Option<Duration>,
}

impl Limits {
    fn of(app: &App) -> Self {
        let config = &app.config.terminals;
        let some = |secs: u64| (secs > 0).then(|| Duration::from_secs(secs));
        Self {
            keep: Duration::from_secs(config.keep_secs),
            idle: some(config.idle_secs),
            longest: some(config.longest_secs),
        }
    }
}

/// Carries a command's output to its screen until it ends; dropping the output ends the command.
async fn carry(app: App, terminal: Arc<Terminal>, mut output: CommandOutput) {
    let (limits, opened) = (Limits::of(&app), Instant::now());
    let ended = loop {
        if let Some(reason) = terminal.end_wanted.get() {
            break Ended::because(*reason);
        }
        let next = match terminal.overdue(&limits, opened) {
            Ok(next) => next,
            Err(reason) => break Ended::because(reason),
        };
        let has_room = terminal.screen().has_room(terminal.is_tty);
        terminal.is_waiting_for_room.store(!has_room, Ordering::SeqCst);
        tokio::select! {
            () = app.shutdown.cancelled() => break Ended::because(EndReason::ServerStopping),
            () = terminal.wake.notified() => {}
            () = tokio::time::sleep_until(next) => {}
            () = tokio::time::sleep(PACE), if !has_room && terminal.is_tty => {
                let mut screen = terminal.screen();
                screen.paced = screen.end;
            }
            said = output.next(), if has_room => match take(&terminal, said) {
                None => {}
                Some(ended) => break ended,
            },
        }
    };
    drop(output);
    tracing::info!(terminal.id = %terminal.id, place = %terminal.place, reason = ?ended.reason, "a terminal ended");
    terminal.screen().ended = Some(ended);
    terminal.tell();
    tokio::select! {
        () = app.shutdown.cancelled() => {}
        () = tokio::time::sleep(ENDED_KEPT) => {}
    }
    app.terminals.remove(terminal.id);
}

/// Shows what the command says; how it ended, once it has.
fn take(terminal: &Terminal, said: Option<Result<ExecOutput, crate::link::CallError>>) -> Option<Ended> {
    match said {
        Some(Ok(ExecOutput::Out(bytes))) => terminal.screen().append(CHANNEL_OUTPUT, bytes),
        Some(Ok(ExecOutput::Err(bytes))) => terminal.screen().append(CHANNEL_ERROR, bytes),
        Some(Ok(ExecOutput::Exited(code))) => {
            return Some(Ended { exit_code: Some(code), ..Ended::because(EndReason::Exited) });
        }
        Some(Ok(ExecOutput::Failed(error))) => {
            return Some(Ended { message: error.message, ..Ended::because(EndReason::Failed) });
        }
        Some(Err(error)) => {
            tracing::debug!(terminal.id = %terminal.id, %error, "a command's machine was lost");
            return Some(Ended::because(EndReason::MachineLost));
        }
        None => return Some(Ended::because(EndReason::MachineLost)),
    }
    terminal.tell();
    None
}

/// Something to show to a viewer.
#[derive(Debug, PartialEq, Eq)]
pub enum Shown {
    /// Output, behind its channel.
    Output(Vec<u8>),
    /// A message; `Ended` is the last.
    Message(ServerMessage),
}

/// One look at a terminal. Dropping it ends the look.
pub struct Viewer {
    hands: Hands,
    number: u64,
    news: watch::Receiver<u64>,
    opened: Option<ServerMessage>,
    shown_size: TerminalSize,
    shown_viewers: usize,
}

/// What a viewer does to a terminal.
#[derive(Clone)]
pub struct Hands {
    terminal: Arc<Terminal>,
    viewer: u64,
    is_read_only: bool,
}

impl Viewer {
    /// For whoever passes on what the viewer types.
    pub fn hands(&self) -> Hands {
        self.hands.clone()
    }

    /// Whether the command has a terminal.
    pub fn is_tty(&self) -> bool {
        self.hands.terminal.is_tty
    }

    /// The next thing to show. Nothing is lost when this future is dropped.
    pub async fn next(&mut self) -> Shown {
        if let Some(opened) = self.opened.take() {
            return Shown::Message(opened);
        }
        loop {
            self.news.borrow_and_update();
            if let Some(shown) = self.look() {
                return shown;
            }
            // The terminal keeps the other end as long as there is a viewer of it.
            if self.news.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    fn look(&mut self) -> Option<Shown> {
        let terminal = Arc::clone(&self.hands.terminal);
        let mut screen = terminal.screen();
        let (start, size, viewers) = (screen.start(), screen.size, screen.viewers.len());
        let place = screen.viewers.get_mut(&self.number)?;
        if place.is_revoked {
            return Some(Shown::Message(Ended::because(EndReason::Revoked).message()));
        }
        if size != self.shown_size {
            self.shown_size = size;
            let TerminalSize { columns, rows } = size;
            return Some(Shown::Message(ServerMessage::Resized { columns, rows }));
        }
        if viewers != self.shown_viewers {
            self.shown_viewers = viewers;
            return Some(Shown::Message(ServerMessage::Viewers { count: viewers }));
        }
        if place.at < start {
            let bytes = start - place.at;
            place.at = start;
            return Some(Shown::Message(ServerMessage::Dropped { bytes }));
        }
        let from = place.at;
        if let Some(bytes) = screen.read(from) {
            if let Some(place) = screen.viewers.get_mut(&self.number) {
                place.at = from + bytes.len() as u64 - 1;
            }
            if terminal.is_waiting_for_room.load(Ordering::SeqCst) {
                terminal.wake.notify_one();
            }
            return Some(Shown::Output(bytes));
        }
        screen.ended.clone().map(|ended| Shown::Message(ended.message()))
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        let mut screen = self.hands.terminal.screen();
        screen.viewers.remove(&self.number);
        if screen.viewers.is_empty() {
            screen.alone_since = Some(Instant::now());
        }
        drop(screen);
        self.hands.terminal.tell();
        self.hands.terminal.wake.notify_one();
    }
}

/// What became of something that a viewer did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It was passed on, or there was nobody left to pass it on to.
    Yes,
    /// This viewer may only look.
    ReadOnly,
    /// No terminal has such a size.
    BadSize,
}

impl Hands {
    /// Passes input on, as fast as the command takes it.
    pub async fn input(&self, bytes: Bytes) -> Done {
        if !self.is_read_only && self.terminal.is_tty && !self.terminal.screen().takes(self.viewer, &bytes) {
            return Done::Yes;
        }
        self.send(ExecInput::Bytes(bytes)).await
    }

    /// Says that no more input will come.
    pub async fn end_of_input(&self) -> Done {
        self.send(ExecInput::End).await
    }

    /// Changes the size for everybody.
    pub async fn resize(&self, size: TerminalSize) -> Done {
        if !size.is_valid() {
            return Done::BadSize;
        }
        let done = self.send(ExecInput::Resize(size)).await;
        if done == Done::Yes {
            self.terminal.screen().size = size;
            self.terminal.tell();
        }
        done
    }

    /// Ends the command.
    pub fn end(&self) -> Done {
        if self.is_read_only {
            return Done::ReadOnly;
        }
        self.terminal.end(EndReason::Closed);
        Done::Yes
    }

    async fn send(&self, input: ExecInput) -> Done {
        if self.is_read_only {
            return Done::ReadOnly;
        }
        self.terminal.screen().active_at = Instant::now();
        // A command that is over takes nothing; the viewer is told of its end by other means.
        self.terminal.input.send(input).await;
        Done::Yes
    }
}

/// Whether this is what a screen answers by itself: where its cursor is, what it is, its size, its colours and settings.
fn is_answer(bytes: &[u8]) -> bool {
    match bytes {
        // Of an operating system command or a device control string, to its end.
        [0x1b, b']' | b'P', ..] => true,
        [0x1b, b'[', rest @ .., end] => {
            let (is_marked, numbers) = match rest {
                [b'?' | b'>' | b'=', numbers @ ..] => (true, numbers),
                _ => (false, rest),
            };
            let numbers = numbers.strip_suffix(b"$").unwrap_or(numbers);
            let is_plain = numbers.iter().all(|byte| byte.is_ascii_digit() || *byte == b';');
            // Keys end in `R` (F3 with modifiers) and `u`, too, but without a mark, and F3 with these numbers alone.
            let has_place = numbers.contains(&b';') && !matches!(numbers, [b'1', b';', b'2'..=b'8']);
            is_plain
                && match end {
                    b'c' | b'n' | b'y' | b't' => true,
                    b'R' => is_marked || has_place,
                    b'u' => is_marked,
                    _ => false,
                }
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn screen() -> Screen {
        Screen::new(TerminalSize::default())
    }

    fn place(at: u64) -> Seat {
        Seat { at, account: AccountId(1), is_revoked: false }
    }

    #[test]
    fn the_last_bytes_are_kept_and_no_more_however_they_come() {
        for size in [1, 7, 1_000, 20_000] {
            let mut screen = screen();
            let mut written = Vec::new();
            while written.len() < 2 * REPLAY_BYTES {
                let piece: Vec<u8> =
                    (0..size).map(|i| u8::try_from((written.len() + i) % 251).unwrap()).collect();
                screen.append(CHANNEL_OUTPUT, Bytes::copy_from_slice(&piece));
                written.extend(piece);
            }

            assert_eq!(screen.kept, REPLAY_BYTES);
            assert!(screen.chunks.len() <= REPLAY_BYTES / CHUNK_BYTES_MAX * 2 + 2, "{}", screen.chunks.len());
            let mut at = screen.start();
            let mut read = Vec::new();
            while let Some(message) = screen.read(at) {
                let (channel, bytes) = message.split_first().unwrap();
                assert_eq!(*channel, CHANNEL_OUTPUT);
                assert!(bytes.len() <= SHOWN_BYTES_MAX);
                at += bytes.len() as u64;
                read.extend_from_slice(bytes);
            }
            assert_eq!(at, screen.end);
            assert!(read == written[written.len() - REPLAY_BYTES..], "pieces of {size}");
        }
    }

    #[test]
    fn output_and_errors_keep_their_order() {
        let mut screen = screen();
        for (channel, text) in
            [(CHANNEL_OUTPUT, "a"), (CHANNEL_OUTPUT, "b"), (CHANNEL_ERROR, "c"), (CHANNEL_OUTPUT, "d")]
        {
            screen.append(channel, Bytes::from_static(text.as_bytes()));
        }

        assert_eq!(screen.read(0), Some([&[CHANNEL_OUTPUT], &b"ab"[..]].concat()));
        assert_eq!(screen.read(1), Some(vec![CHANNEL_OUTPUT, b'b']));
        assert_eq!(screen.read(2), Some(vec![CHANNEL_ERROR, b'c']));
        assert_eq!(screen.read(3), Some(vec![CHANNEL_OUTPUT, b'd']));
        assert_eq!(screen.read(4), None);
    }

    #[test]
    fn a_terminal_waits_for_its_quickest_viewer_and_a_pipe_for_its_slowest() {
        let mut screen = screen();
        screen.viewers.insert(0, place(0));
        screen.viewers.insert(1, place(0));
        let much = vec![b'x'; usize::try_from(UNSEEN_BYTES_MAX).unwrap()];
        screen.append(CHANNEL_OUTPUT, much.into());
        assert!(!screen.has_room(true) && !screen.has_room(false), "nobody has seen it");

        screen.viewers.insert(0, place(screen.end));
        assert!(screen.has_room(true) && !screen.has_room(false), "one has");

        screen.viewers.insert(0, place(0));
        screen.paced = screen.end;
        assert!(screen.has_room(true) && !screen.has_room(false), "a moment has passed");
    }

    #[test]
    fn a_program_that_asks_the_screen_is_answered_once() {
        let mut screen = screen();
        for viewer in [3, 5] {
            screen.viewers.insert(viewer, place(0));
        }
        let place = b"\x1b[12;40R";
        assert!(screen.takes(3, place) && !screen.takes(5, place), "who came first");

        assert!(screen.takes(5, b"vim\r"));
        assert!(screen.takes(5, place) && !screen.takes(3, place), "who typed last");
        assert!(screen.takes(3, b"\x1b[A"), "keys are everybody's");
        screen.viewers.remove(&3);
        assert!(screen.takes(5, place), "who is left");
    }

    #[test]
    fn answers_of_a_screen_are_told_from_keys() {
        let answers: [&[u8]; 9] = [
            b"\x1b[24;80R",
            b"\x1b[?24;80R",
            b"\x1b[0n",
            b"\x1b[?1;2c",
            b"\x1b[>0;276;0c",
            b"\x1b[8;24;80t",
            b"\x1b[?2026;2$y",
            b"\x1b]11;rgb:0a0a/1010/1515\x1b\\",
            b"\x1bP1$r0m\x1b\\",
        ];
        for answer in answers {
            assert!(is_answer(answer), "{}", answer.escape_ascii());
        }
        let keys: [&[u8]; 10] = [
            b"",
            b"\x1b",
            b"\x1b[",
            b"R",
            b"\x1b[A",
            b"\x1bOR",
            b"\x1b[1;2R",
            b"\x1b[97;5u",
            b"\x1b[200~pasted\x1b[201~",
            b"\x1b[<0;10;5M",
        ];
        for key in keys {
            assert!(!is_answer(key), "{}", key.escape_ascii());
        }
    }

    #[test]
    fn what_a_pipe_has_not_shown_is_never_let_go_of() {
        let mut screen = screen();
        screen.viewers.insert(0, place(0));

        // As the carrier does it: never more than one frame beyond the room.
        while screen.has_room(false) {
            screen.append(CHANNEL_OUTPUT, vec![b'x'; wire::frames::FRAME_BYTES_MAX].into());
        }

        assert_eq!(screen.start(), 0);
    }
}
