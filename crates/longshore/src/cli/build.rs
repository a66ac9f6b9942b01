//! `longshore build`: how images are made, live or afterwards.

use std::collections::VecDeque;
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use tokio::time::Instant;
use wire::builds::{BuildPhase, BuildView, LogChunk, OperationState};
use wire::ids::BuildId;

use super::client::SILENCE;
use super::failure::Failure;
use super::list::{self, PageArgs, WhoseArgs, name_of};
use super::printer::{Printer, Sanitizer, Stream, one_line};
use super::session::Session;
use super::sse::Events;
use super::{environment, human, words};

/// How long a lost connection is tried again before the command gives up. The build goes on either way.
const OUTAGE: Duration = Duration::from_mins(2);
/// First and longest pause between two tries.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// How often pushed bytes are shown where no line can change in place.
const PUSH_EVERY: Duration = Duration::from_secs(5);
/// Lines of a log that are shown with a failure.
const TAIL_LINES: usize = 20;
/// The most bytes of one line of a log that wait for its end.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Verbs of `longshore build`.
#[derive(Debug, Subcommand)]
pub(crate) enum BuildCommand {
    /// List builds, newest first
    #[command(visible_alias = "ls")]
    List {
        #[command(flatten)]
        page: PageArgs,
        #[command(flatten)]
        whose: WhoseArgs,
    },
    /// Show a build
    Show {
        /// Its id, from `longshore build list`
        #[arg(value_parser = list::parse_id::<BuildId>)]
        id: BuildId,
    },
    /// Show a build's log
    Log(LogArgs),
    /// Stop a build
    Cancel {
        /// Its id, from `longshore build list`
        #[arg(value_parser = list::parse_id::<BuildId>)]
        id: BuildId,
    },
}

/// Which log, and how.
#[derive(Args, Debug)]
pub(crate) struct LogArgs {
    /// The build's id, from `longshore build list`
    #[arg(value_parser = list::parse_id::<BuildId>)]
    id: BuildId,
    /// Go on until the build ends; exit 1 when it fails
    #[arg(long, short)]
    follow: bool,
    /// Begin at this byte
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    offset: u64,
}

/// Runs a verb.
pub(crate) async fn run(command: BuildCommand, session: &Session) -> anyhow::Result<()> {
    match command {
        BuildCommand::List { page, whose } => all(session, &page, &whose).await,
        BuildCommand::Show { id } => show(session, id).await,
        BuildCommand::Log(args) => log(session, args).await,
        BuildCommand::Cancel { id } => {
            let id = id.to_string();
            let answer = session.client.post_empty(&["api", "v1", "builds", &id, "cancel"]).await?;
            session.done(&answer, words::BUILD_CANCELLED, &[&id])
        }
    }
}

async fn all(session: &Session, page: &PageArgs, whose: &WhoseArgs) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "builds"], &whose.query(page)).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let now = environment::now();
    let rows: Vec<_> = list::page::<BuildView>(&session.printer, &answer)?
        .into_iter()
        .map(|build| {
            [
                build.id.to_string(),
                build.image.to_string(),
                name_of(&build.state),
                name_of(&build.phase),
                build.reason.clone().unwrap_or_default(),
                human::ago(build.created_at, now, session.printer.language),
                took(&build).unwrap_or_default(),
            ]
        })
        .collect();
    session.printer.table(["ID", "IMAGE", "STATE", "PHASE", "REASON", "CREATED", "TOOK"], &rows)
}

fn took(build: &BuildView) -> Option<String> {
    let (started, ended) = (build.started_at?, build.ended_at?);
    Some(human::duration(ended.unix_secs() - started.unix_secs()))
}

async fn show(session: &Session, id: BuildId) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "builds", &id.to_string()], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let build: BuildView = answer.view()?;
    let ago = |time| human::ago(time, environment::now(), session.printer.language);
    let pushed = (build.push_total_bytes > 0)
        .then(|| format!("{} of {}", human::size(build.pushed_bytes), human::size(build.push_total_bytes)));
    session.printer.facts(&[
        ("id", Some(build.id.to_string())),
        ("image", Some(build.image.to_string())),
        ("account", Some(build.account.to_string())),
        ("state", Some(name_of(&build.state))),
        ("phase", Some(name_of(&build.phase))),
        ("step", step(&build)),
        ("pushed", pushed),
        ("before it", build.queue_position.map(|count| count.to_string())),
        ("reason", build.reason.clone()),
        ("message", build.message.clone()),
        ("context", Some(human::size(build.context_bytes))),
        ("log", Some(human::size(build.log_bytes))),
        ("machine", build.machine_id.as_ref().map(ToString::to_string)),
        ("image id", build.image_id.map(|id| id.to_string())),
        ("digest", build.digest.as_ref().map(ToString::to_string)),
        ("size", build.size_bytes.map(human::size)),
        ("created", Some(ago(build.created_at))),
        ("took", took(&build)),
    ])
}

/// `3 of 8: RUN make`
fn step(build: &BuildView) -> Option<String> {
    let number = build.step?;
    let place = build.steps.map_or_else(|| number.to_string(), |steps| format!("{number} of {steps}"));
    Some(match &build.step_text {
        Some(text) => format!("{place}: {text}"),
        None => place,
    })
}

/// `longshore build log`.
pub(crate) async fn log(session: &Session, args: LogArgs) -> anyhow::Result<()> {
    if !args.follow {
        return log_so_far(session, &args).await;
    }
    let mut screen = Screen::new(&session.printer, Stream::Data, false);
    let ended = tokio::select! {
        ended = follow(session, args.id, args.offset, false, &mut screen) => ended?,
        _ = tokio::signal::ctrl_c() => return Err(detached(session, args.id, &mut screen)),
    };
    screen.finish()?;
    verdict(session, &ended.build, &screen)?;
    session.printer.say(words::BUILD_SUCCEEDED, &[&ended.build.image.to_string()]);
    Ok(())
}

async fn log_so_far(session: &Session, args: &LogArgs) -> anyhow::Result<()> {
    let id = args.id.to_string();
    let query = [("offset", args.offset.to_string())];
    let mut response =
        session.client.stream(&["api", "v1", "builds", &id, "log"], &query, "text/plain").await?;
    let mut text = LogOutput::new(&session.printer);
    while let Some(bytes) =
        tokio::time::timeout(SILENCE, response.chunk()).await?.map_err(|e| session.client.unreachable(&e))?
    {
        text.push(&session.printer, &bytes)?;
    }
    Ok(())
}

/// Passes a log to stdout: cleaned for a terminal, as it is for a pipe, as JSON lines for programs.
pub(crate) struct LogOutput {
    sanitizer: Sanitizer,
}

impl LogOutput {
    /// Nothing passed yet.
    pub(crate) fn new(_: &Printer) -> Self {
        Self { sanitizer: Sanitizer::default() }
    }

    /// Passes a piece on.
    pub(crate) fn push(&mut self, printer: &Printer, bytes: &[u8]) -> anyhow::Result<()> {
        if printer.is_json {
            let text = String::from_utf8_lossy(bytes);
            return printer.data(&serde_json::json!({ "text": text }).to_string());
        }
        if printer.is_stdout_terminal {
            return printer.raw(self.sanitizer.push(bytes).as_bytes());
        }
        printer.raw(bytes)
    }
}

/// Shows a build that was just uploaded until its end. stdout gets the image's name, stderr the log.
pub(crate) async fn follow_upload(session: &Session, id: BuildId, is_quiet: bool) -> anyhow::Result<()> {
    let mut screen = Screen::new(&session.printer, Stream::Words, is_quiet);
    let ended = tokio::select! {
        ended = follow(session, id, 0, true, &mut screen) => ended?,
        _ = tokio::signal::ctrl_c() => return Err(detached(session, id, &mut screen)),
    };
    screen.finish()?;
    if session.printer.is_json {
        session.printer.json(&ended.text)?;
    }
    let build = ended.build;
    verdict(session, &build, &screen)?;

    let size = build.size_bytes.map(human::size).unwrap_or_default();
    session
        .printer
        .say(words::IMAGE_READY, &[&build.image.to_string(), &size, &took(&build).unwrap_or_default()]);
    if !session.printer.is_json {
        session.printer.data(&build.image.to_string())?;
    }
    session.printer.hint(words::RUN_HINT, &[&build.image.to_string()]);
    Ok(())
}

fn detached(session: &Session, id: BuildId, screen: &mut Screen<'_>) -> anyhow::Error {
    screen.bar.finish_and_clear();
    let language = session.printer.language;
    let id = id.to_string();
    let mut failure = Failure::new(language.pick(words::DETACHED));
    failure.details =
        vec![language.say(words::FOLLOW_COMMAND, &[&id]), language.say(words::CANCEL_COMMAND, &[&id])];
    failure.into()
}

/// A build that ended otherwise than well is a failure of the command.
fn verdict(session: &Session, build: &BuildView, screen: &Screen<'_>) -> anyhow::Result<()> {
    let language = session.printer.language;
    let image = build.image.to_string();
    match build.state {
        OperationState::Succeeded => return Ok(()),
        OperationState::Cancelled => {
            return Err(Failure::new(language.say(words::BUILD_WAS_CANCELLED, &[&image])).into());
        }
        OperationState::Failed | OperationState::Queued | OperationState::Running => {}
    }
    let why = build.message.clone().or_else(|| build.reason.clone()).unwrap_or_else(|| "?".to_owned());
    let message = match step(build).filter(|_| build.phase == BuildPhase::Building) {
        Some(step) => language.say(words::BUILD_FAILED_AT, &[&image, &step, &why]),
        None => language.say(words::BUILD_FAILED, &[&image, &why]),
    };
    let mut failure = Failure::new(message);
    if screen.is_quiet {
        failure.details = screen.tail.iter().cloned().collect();
    }
    Err(failure.hint(language.say(words::LOG_HINT, &[&build.id.to_string()])).into())
}

/// A build that will not change any more.
struct Ended {
    text: String,
    build: BuildView,
}

/// Shows log and states until the build has ended. A lost connection is taken up again where it broke off, but one
/// that never was is an error at once, unless the server `was_there` a moment ago.
async fn follow(
    session: &Session,
    id: BuildId,
    offset: u64,
    was_there: bool,
    screen: &mut Screen<'_>,
) -> anyhow::Result<Ended> {
    let mut offset = offset;
    let mut was_there = was_there;
    let mut pause = PAUSE.0;
    let mut lost_at: Option<Instant> = None;
    loop {
        let before = offset;
        let mut has_heard = false;
        let broke = match follow_once(session, id, &mut offset, &mut has_heard, screen).await {
            Ok(Some(ended)) => return Ok(ended),
            Ok(None) => None,
            Err(error) => Some(error),
        };
        was_there |= has_heard;
        if let Some(error) = broke {
            let is_refused = Failure::of(&error)
                .and_then(|failure| failure.status)
                .is_some_and(|status| (400..500).contains(&status) && status != 429);
            // What is not a failure of the connection is one of ours: stdout is gone, or the answer is nonsense.
            if is_refused || !was_there || Failure::of(&error).is_none() {
                return Err(error);
            }
            if lost_at.is_some_and(|lost| lost.elapsed() > OUTAGE) {
                return Err(error);
            }
        }
        if offset > before || has_heard {
            lost_at = None;
            pause = PAUSE.0;
        }
        if lost_at.is_none() {
            lost_at = Some(Instant::now());
            screen.note(words::TRYING_AGAIN);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

/// One connection: gives the ended build, or nothing when the stream ended before the build did.
async fn follow_once(
    session: &Session,
    id: BuildId,
    offset: &mut u64,
    has_heard: &mut bool,
    screen: &mut Screen<'_>,
) -> anyhow::Result<Option<Ended>> {
    let client = &session.client;
    let query = [("offset", offset.to_string())];
    let id = id.to_string();
    let mut response =
        client.stream(&["api", "v1", "builds", &id, "log"], &query, "text/event-stream").await?;
    let mut events = Events::default();
    let mut ended: Option<Ended> = None;
    loop {
        let bytes = match tokio::time::timeout(SILENCE, response.chunk()).await {
            Ok(Ok(Some(bytes))) => bytes,
            Ok(Ok(None)) | Err(_) => return Ok(ended),
            Ok(Err(_)) if ended.is_some() => return Ok(ended),
            Ok(Err(error)) => return Err(client.unreachable(&error).into()),
        };
        for event in events.push(&bytes)? {
            *has_heard = true;
            match event.name.as_str() {
                "log" => {
                    let chunk: LogChunk = serde_json::from_str(&event.data)?;
                    let end = event.id.as_deref().and_then(|id| id.parse().ok());
                    // Pieces that were shown before the connection broke are not shown twice.
                    if chunk.offset >= *offset || end.is_some_and(|end| end > *offset) {
                        screen.log(&event.data, &chunk.text)?;
                    }
                    *offset = end.unwrap_or(chunk.offset + chunk.text.len() as u64).max(*offset);
                }
                "state" => {
                    let build: BuildView = serde_json::from_str(&event.data)?;
                    screen.state(&event.data, &build)?;
                    if build.state.is_final() {
                        ended = Some(Ended { text: event.data, build });
                    }
                }
                _ => {}
            }
        }
        // The final state may overtake the last lines of the log.
        if ended.as_ref().is_some_and(|ended| *offset >= ended.build.log_bytes) {
            return Ok(ended);
        }
    }
}

/// Shows a build as it goes on.
struct Screen<'a> {
    printer: &'a Printer,
    /// Where the log goes.
    stream: Stream,
    is_quiet: bool,
    bar: ProgressBar,
    sanitizer: Sanitizer,
    /// The end of the log that is no whole line yet.
    partial: String,
    tail: VecDeque<String>,
    phase: Option<BuildPhase>,
    push_shown_at: Option<Instant>,
}

impl<'a> Screen<'a> {
    fn new(printer: &'a Printer, stream: Stream, is_quiet: bool) -> Self {
        let bar = printer.status_bar();
        if !bar.is_hidden() {
            bar.enable_steady_tick(Duration::from_millis(120));
        }
        Self {
            printer,
            stream,
            is_quiet,
            bar,
            sanitizer: Sanitizer::default(),
            partial: String::new(),
            tail: VecDeque::new(),
            phase: None,
            push_shown_at: None,
        }
    }

    /// Whether events are passed on as JSON lines.
    fn is_json_lines(&self) -> bool {
        self.printer.is_json && self.stream == Stream::Data
    }

    fn is_terminal(&self) -> bool {
        match self.stream {
            Stream::Data => self.printer.is_stdout_terminal,
            Stream::Words => self.printer.is_stderr_terminal,
        }
    }

    fn log(&mut self, json: &str, text: &str) -> anyhow::Result<()> {
        if self.is_json_lines() {
            return self.printer.data(json);
        }
        let text = if self.is_terminal() { self.sanitizer.push(text.as_bytes()) } else { text.to_owned() };
        self.partial.push_str(&text);
        let end = match self.partial.rfind('\n') {
            Some(end) => end + 1,
            None if self.partial.len() > LINE_BYTES_MAX => self.partial.len(),
            None => return Ok(()),
        };
        let rest = self.partial.split_off(end);
        let lines = std::mem::replace(&mut self.partial, rest);
        self.lines(&lines)
    }

    /// Shows whole lines; the changing line below them steps aside.
    fn lines(&mut self, lines: &str) -> anyhow::Result<()> {
        for line in lines.lines() {
            if self.tail.len() == TAIL_LINES {
                self.tail.pop_front();
            }
            self.tail.push_back(line.to_owned());
        }
        if self.is_quiet {
            return Ok(());
        }
        self.bar.suspend(|| self.printer.raw_to(self.stream, lines.as_bytes()))
    }

    fn state(&mut self, json: &str, build: &BuildView) -> anyhow::Result<()> {
        if self.is_json_lines() {
            return self.printer.data(json);
        }
        let text = self.state_in_words(build);
        self.bar.set_message(one_line(&text));
        if !self.bar.is_hidden() {
            return Ok(());
        }
        let is_new = self.phase != Some(build.phase);
        let is_push_due = build.phase == BuildPhase::Pushing
            && self.push_shown_at.is_none_or(|shown| shown.elapsed() >= PUSH_EVERY);
        if build.phase != BuildPhase::Done && (is_new || is_push_due) {
            self.printer.line(&format!("-- {text}"));
            self.push_shown_at = Some(Instant::now());
        }
        self.phase = Some(build.phase);
        Ok(())
    }

    fn state_in_words(&self, build: &BuildView) -> String {
        let language = self.printer.language;
        match build.phase {
            BuildPhase::Waiting => {
                language.say(words::QUEUED, &[&build.queue_position.unwrap_or_default().to_string()])
            }
            BuildPhase::Building => match step(build) {
                Some(step) => language.say(words::BUILDING_STEP, &[&step]),
                None => language.pick(words::BUILDING).to_owned(),
            },
            BuildPhase::Pushing => {
                let (pushed, total) = (human::size(build.pushed_bytes), human::size(build.push_total_bytes));
                language.say(words::PUSHING, &[&pushed, &total])
            }
            BuildPhase::Verifying => language.pick(words::VERIFYING).to_owned(),
            BuildPhase::Done => name_of(&build.state),
        }
    }

    fn note(&self, word: words::Word) {
        self.bar.suspend(|| self.printer.say(word, &[]));
    }

    /// Shows what is left of the log and takes the changing line away.
    fn finish(&mut self) -> anyhow::Result<()> {
        self.bar.finish_and_clear();
        let mut rest = std::mem::take(&mut self.partial);
        if rest.is_empty() {
            return Ok(());
        }
        rest.push('\n');
        self.lines(&rest)
    }
}
