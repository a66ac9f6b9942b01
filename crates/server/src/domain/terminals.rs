//! Terminals: who may run which command in a container or a pod, and who may look. The live part is `terminals.rs`; here every step is
//! decided anew: when a ticket is asked for, when it is shown, and as long as somebody looks.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use store::containers::Row;
use wire::containers::ContainerState;
use wire::ids::TerminalId;
use wire::link::Exec;
use wire::policy::Policy;
use wire::terminals::{EndReason, ExecSpec, TerminalCreate, TerminalTicket, TerminalView};

use super::audit::{self, Event};
use super::containers::{self, find, not_allowed};
use super::{clusters, namespaces, sessions};
use crate::app::App;
use crate::caller::{Caller, RequestContext};
use crate::error::{Error, ErrorKind, Result};
use crate::jwt;
use crate::terminals::{self, NewTerminal, Place, Ticket, TooMany, Viewer};

/// Seconds that a ticket is good for.
const TICKET_SECS: i64 = 30;
/// No ticket is longer.
const TICKET_BYTES_MAX: usize = 64;
/// What runs when no command is given: the best shell that the image has.
const SHELL: [&str; 3] = ["/bin/sh", "-c", "command -v bash >/dev/null 2>&1 && exec bash; exec sh"];

/// Where a terminal is wanted, as a request says it.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// A container: its number, or its name among the caller's own.
    Container(&'a str),
    /// A pod of a namespace: its id, or its name among the caller's own.
    Pod {
        /// The namespace.
        namespace: &'a str,
        /// The pod.
        pod: &'a str,
    },
}

/// Where a terminal is, found among what its caller may see.
#[derive(Debug)]
enum Found {
    Container(Box<Row>),
    Pod(Box<store::namespaces::Row>, String),
}

impl Found {
    fn place(&self) -> Place {
        match self {
            Self::Container(row) => Place::Container(row.id),
            Self::Pod(row, pod) => Place::Pod(row.id, pod.clone()),
        }
    }
}

async fn locate(app: &App, caller: &Caller, at: At<'_>) -> Result<Found> {
    Ok(match at {
        At::Container(id) => Found::Container(Box::new(find(app, caller, id).await?)),
        At::Pod { namespace, pod } => {
            let row = namespaces::find(app, caller, namespace).await?;
            if !super::workloads::is_name(pod) {
                return Err(Error::not_found("pod", pod));
            }
            Found::Pod(Box::new(row), pod.to_owned())
        }
    })
}

/// A terminal that its caller may have, before anything was done for it.
#[derive(Debug)]
pub struct Admission {
    found: Found,
    wanted: TerminalCreate,
}

/// Gives a ticket that opens one WebSocket, once, within seconds: for browsers, which can send no token with it.
pub async fn ticket(
    app: &App,
    caller: &Caller,
    at: At<'_>,
    wanted: TerminalCreate,
) -> Result<TerminalTicket> {
    let Admission { found, wanted } = admit(app, caller, at, wanted).await?;
    let ticket = jwt::random_text(&app.random)?;
    let now = app.now();
    let expires_at = now.plus_secs(TICKET_SECS);
    let path = match &found {
        Found::Container(row) => format!("/api/v1/containers/{}/terminal?ticket={ticket}", row.id),
        Found::Pod(row, pod) => format!("/api/v1/namespaces/{}/pods/{pod}/terminal?ticket={ticket}", row.id),
    };
    let kept = Ticket { caller: caller.clone(), place: found.place(), wanted };
    app.terminals.keep_ticket(hash(&ticket), kept, now, expires_at).map_err(|TooMany| {
        Error::new(ErrorKind::TooMany(5), "too_many_tickets", "too many tickets wait to be used")
            .hint("use those that you have, or wait some seconds")
    })?;
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
    at: At<'_>,
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
    if locate(app, &caller, at).await?.place() != ticket.place {
        return Err(Error::not_found("terminal", "of this ticket"));
    }
    Ok((caller, ticket.wanted))
}

/// Decides whether the caller may have this terminal now.
pub async fn admit(app: &App, caller: &Caller, at: At<'_>, wanted: TerminalCreate) -> Result<Admission> {
    let found = locate(app, caller, at).await?;
    if let Some(session) = wanted.session {
        let is_new = wanted.command.is_some()
            || wanted.tty.is_some()
            || wanted.input.is_some()
            || !wanted.env.is_empty()
            || wanted.working_dir.is_some()
            || wanted.container.is_some();
        if is_new {
            let detail = "with `session`, `command`, `tty`, `input`, `env`, `working_dir` and `container` cannot be chosen";
            return Err(Error::invalid("session", detail));
        }
        let terminal = app.terminals.get(session, &found.place()).ok_or_else(|| no_terminal(session))?;
        if !terminal.is_tty() {
            let detail = "this command has no terminal and belongs to the one who started it";
            return Err(Error::conflict("not_shared", detail));
        }
        return Ok(Admission { found, wanted });
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
    match &found {
        Found::Container(container) => {
            if wanted.container.is_some() {
                return Err(Error::invalid("container", "only a pod has several containers"));
            }
            if container.state != ContainerState::Running {
                let detail = format!("container `{}` does not run", container.name);
                return Err(Error::conflict("not_running", detail)
                    .hint("start it, and wait until its state is `running`")
                    .with("state", json!(container.state)));
            }
        }
        Found::Pod(..) => {
            if !wanted.env.is_empty() || wanted.working_dir.is_some() {
                let detail = "in a pod `env` and `working_dir` cannot be chosen: let the command set them";
                return Err(Error::invalid("env", detail));
            }
            if wanted.container.as_deref().is_some_and(|name| !super::workloads::is_name(name)) {
                return Err(Error::invalid("container", "this is no name of a container"));
            }
        }
    }
    let limit = app.config.terminals.per_account;
    if app.terminals.count_of(caller.account) as u64 >= limit {
        return Err(too_many_terminals(limit));
    }
    Ok(Admission { found, wanted })
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
    let Admission { found, wanted } = admission;
    let too_many_viewers = |TooMany| {
        let detail = "as many look at this terminal already as may";
        Error::new(ErrorKind::TooMany(60), "too_many_viewers", detail)
    };
    if let Some(session) = wanted.session {
        let terminal = app.terminals.get(session, &found.place()).ok_or_else(|| no_terminal(session))?;
        if terminal.opened_by() != caller.account {
            record(app, caller, found, "terminal.watch").await?;
        }
        return terminal.look(caller.account, wanted).map_err(too_many_viewers);
    }
    record(app, caller, found, "terminal.open").await?;
    let exec = spec(wanted);
    let (command, is_tty, size) = (exec.command.clone(), exec.is_tty, exec.size);
    let opened = match found {
        Found::Container(container) => {
            let call = Exec { instance: app.instance, container: container.id, exec };
            app.hub.exec(&container.machine_id, &call).await?
        }
        Found::Pod(namespace, pod) => {
            let cluster = clusters::client_of(app, namespace.cluster_id).await?;
            cluster.exec(app, &namespace.name, pod, wanted.container.as_deref(), &exec).await?
        }
    };
    let new = NewTerminal {
        place: found.place(),
        opened_by: caller.account,
        opened_by_name: caller.name.clone(),
        command,
        is_tty,
        size,
        now: app.now(),
    };
    let opened = terminals::open(app, new, wanted, opened);
    opened.map_err(|TooMany| too_many_terminals(app.config.terminals.per_account))
}

async fn record(app: &App, caller: &Caller, found: &Found, action: &'static str) -> Result<()> {
    let (target, owner) = match found {
        Found::Container(row) => (row.name.to_string(), row.account_id),
        Found::Pod(row, pod) => (format!("{}/{pod}", row.name), row.account_id),
    };
    audit::record(app, caller, &app.db, Event { action, target: &target, acting_for: Some(owner) }).await
}

/// The terminals of a container, oldest first.
pub async fn list(app: &App, caller: &Caller, id: &str) -> Result<Vec<TerminalView>> {
    let container = find(app, caller, id).await?;
    Ok(app.terminals.of_container(container.id))
}

/// Ends a terminal, whoever looks at it.
pub async fn end(app: &App, caller: &Caller, id: &str, terminal: TerminalId) -> Result<()> {
    let container = find(app, caller, id).await?;
    let place = Place::Container(container.id);
    let terminal = app.terminals.get(terminal, &place).ok_or_else(|| no_terminal(terminal))?;
    record(app, caller, &Found::Container(Box::new(container)), "terminal.end").await?;
    terminal.end(EndReason::Closed);
    Ok(())
}

/// Whether a viewer may go on looking: asked again and again while it does.
pub async fn may_still_look(app: &App, caller: &Caller, admission: &Admission) -> bool {
    match &admission.found {
        Found::Container(row) => match store::containers::get(&app.db, row.id).await {
            Ok(Some(row)) => containers::may_still_read(app, caller, &row).await,
            // Its command has ended with it, which is said in another way.
            Ok(None) | Err(_) => true,
        },
        Found::Pod(row, _) => sessions::may_still_act_for(app, caller, row.account_id).await,
    }
}
