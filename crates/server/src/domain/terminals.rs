//! Terminals: who may run which command in a container and who may look. The live part is `terminals.rs`; here every step is
//! decided anew: when a ticket is asked for, when it is shown, and as long as somebody looks.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::containers::Row;
use wire::containers::ContainerState;
use wire::ids::{ContainerId, TerminalId};
use wire::link::Exec;
use wire::policy::Policy;
use wire::terminals::{EndReason, ExecSpec, TerminalCreate, TerminalTicket, TerminalView};

use super::audit::{self, Event};
use super::containers::{self, find, not_allowed};
use super::sessions;
use crate::app::App;
use crate::caller::{Caller, RequestContext};
use crate::error::{Error, ErrorKind, Result};
use crate::jwt;
use crate::terminals::{self, NewTerminal, Ticket, TooMany, Viewer};

/// Seconds that a ticket is good for.
const TICKET_SECS: i64 = 30;
/// No ticket is longer.
const TICKET_BYTES_MAX: usize = 64;
/// What runs when no command is given: the best shell that the image has.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"];

/// A terminal that its caller may have, before anything was done for it.
#[derive(Debug)]
pub struct Admission {
    container: Row,
    wanted: TerminalCreate,
}

impl Admission {
    /// In which container.
    pub fn container(&self) -> ContainerId {
        self.container.id
    }
}

/// Gives a ticket that opens one WebSocket, once, within seconds: for browsers, which can send no token with it.
pub async fn ticket(app: &App, caller: &Caller, id: &str, wanted: TerminalCreate) -> Result<TerminalTicket> {
    let Admission { container, wanted } = admit(app, caller, id, wanted).await?;
    let ticket = jwt::random_text(&app.random)?;
    let now = app.now();
    let expires_at = now.plus_secs(TICKET_SECS);
    let kept = Ticket { caller: caller.clone(), container: container.id, wanted };
    app.terminals.keep_ticket(hash(&ticket), kept, now, expires_at).map_err(|TooMany| {
        Error::new(ErrorKind::TooMany(5), "too_many_tickets", "too many tickets wait to be used")
            .hint("use those that you have, or wait some seconds")
    })?;
    let path = format!("/api/v1/containers/{}/terminal?ticket={ticket}", container.id);
    Ok(TerminalTicket { ticket, expires_at, path })
}

fn hash(ticket: &str) -> [u8; 32] {
    Sha256::digest(ticket).into()
}

/// Who a ticket was given to, and for what; the ticket is used up, whatever comes of it. What proved who asked for it must
/// still count, and it opens nothing but the container that it was given for.
pub async fn redeem(
    app: &App,
    context: Option<RequestContext>,
    ticket: &str,
    id: &str,
) -> Result<(Caller, TerminalCreate)> {
    let refused = || {
        Error::unauthenticated("bad_ticket", "the ticket is not valid, was used or has ended")
            .hint("ask for another one: each is good for one connection and some seconds")
    };
    if ticket.len() > TICKET_BYTES_MAX {
        return Err(refused());
    }
    let ticket = app.terminals.take_ticket(&hash(ticket), app.now()).ok_or_else(refused)?;
    let mut caller = sessions::still(app, &ticket.caller).await?.ok_or_else(refused)?;
    caller.ip = context.as_ref().and_then(|context| context.ip);
    caller.request_id = context.map(|context| context.id);
    if find(app, &caller, id).await?.id != ticket.container {
        return Err(Error::not_found("container", id));
    }
    Ok((caller, ticket.wanted))
}

/// Decides whether the caller may have this terminal now.
pub async fn admit(app: &App, caller: &Caller, id: &str, wanted: TerminalCreate) -> Result<Admission> {
    let container = find(app, caller, id).await?;
    if let Some(session) = wanted.session {
        let is_new = wanted.command.is_some()
            || wanted.tty.is_some()
            || wanted.input.is_some()
            || !wanted.env.is_empty()
            || wanted.working_dir.is_some();
        if is_new {
            let detail =
                "with `session`, `command`, `tty`, `input`, `env` and `working_dir` cannot be chosen";
            return Err(Error::invalid("session", detail));
        }
        let terminal = app.terminals.get(session, container.id).ok_or_else(|| no_terminal(session))?;
        if !terminal.is_tty() {
            let detail = "this command has no terminal and belongs to the one who started it";
            return Err(Error::conflict("not_shared", detail));
        }
        return Ok(Admission { container, wanted });
    }
    if wanted.from.is_some() {
        return Err(Error::invalid(
            "from",
            "`from` is an offset in a terminal that is there: name its `session`",
        ));
    }
    let violations = Policy::default().check_exec(&spec(&wanted));
    if !violations.is_empty() {
        return Err(not_allowed("this command", &violations));
    }
    if container.state != ContainerState::Running {
        let detail = format!("container `{}` does not run", container.name);
        return Err(Error::conflict("not_running", detail)
            .hint("start it, and wait until its state is `running`")
            .with("state", json!(container.state)));
    }
    let limit = app.config.terminals.per_account;
    if app.terminals.count_of(caller.account) as u64 >= limit {
        return Err(too_many_terminals(limit));
    }
    Ok(Admission { container, wanted })
}

fn no_terminal(id: TerminalId) -> Error {
    Error::not_found("terminal", id)
}

fn too_many_terminals(limit: u64) -> Error {
    let detail = format!("an account has at most {limit} terminals open");
    Error::new(ErrorKind::TooMany(60), "too_many_terminals", detail).hint("close one that is not used")
}

fn spec(wanted: &TerminalCreate) -> ExecSpec {
    let shell = || SHELL.map(str::to_owned).to_vec();
    ExecSpec {
        command: wanted.command.clone().unwrap_or_else(shell),
        is_tty: wanted.tty.unwrap_or(true),
        has_input: wanted.input.unwrap_or(true),
        env: wanted.env.clone(),
        working_dir: wanted.working_dir.clone(),
        size: wanted.size(),
    }
}

/// Opens a terminal that was admitted, or lets its caller look at one that is there.
pub async fn open(app: &App, caller: &Caller, admission: &Admission) -> Result<Viewer> {
    let Admission { container, wanted } = admission;
    let too_many_viewers = |TooMany| {
        let detail = "as many look at this terminal already as may";
        Error::new(ErrorKind::TooMany(60), "too_many_viewers", detail)
    };
    if let Some(session) = wanted.session {
        let terminal = app.terminals.get(session, container.id).ok_or_else(|| no_terminal(session))?;
        if terminal.opened_by() != caller.account {
            record(app, caller, container, "terminal.watch").await?;
        }
        return terminal.look(caller.account, wanted).map_err(too_many_viewers);
    }
    record(app, caller, container, "terminal.open").await?;
    let exec = spec(wanted);
    let call = Exec { instance: app.instance, container: container.id, exec };
    let command = app.hub.exec(&container.machine_id, &call).await?;
    let new = NewTerminal {
        container: container.id,
        opened_by: caller.account,
        opened_by_name: caller.name.clone(),
        command: call.exec.command,
        is_tty: call.exec.is_tty,
        size: call.exec.size,
        now: app.now(),
    };
    let opened = terminals::open(app, new, wanted, command);
    opened.map_err(|TooMany| too_many_terminals(app.config.terminals.per_account))
}

async fn record(app: &App, caller: &Caller, container: &Row, action: &'static str) -> Result<()> {
    let event = Event { action, target: container.name.as_str(), acting_for: Some(container.account_id) };
    audit::record(app, caller, &app.db, event).await
}

/// The terminals of a container, oldest first.
pub async fn list(app: &App, caller: &Caller, id: &str) -> Result<Vec<TerminalView>> {
    let container = find(app, caller, id).await?;
    Ok(app.terminals.of_container(container.id))
}

/// Ends a terminal, whoever looks at it.
pub async fn end(app: &App, caller: &Caller, id: &str, terminal: TerminalId) -> Result<()> {
    let container = find(app, caller, id).await?;
    let found = app.terminals.get(terminal, container.id).ok_or_else(|| no_terminal(terminal))?;
    record(app, caller, &container, "terminal.end").await?;
    found.end(EndReason::Closed);
    Ok(())
}

/// Whether a viewer may go on looking: asked again and again while it does.
pub async fn may_still_look(app: &App, caller: &Caller, container: ContainerId) -> bool {
    match store::containers::get(&app.db, container).await {
        Ok(Some(row)) => containers::may_still_read(app, caller, &row).await,
        // Its command has ended with it, which is said in another way.
        Ok(None) | Err(_) => true,
    }
}
