//! `/api/v1/link`: where agents outside this process connect.

use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequestParts as _, Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;
use utoipa::IntoParams;
use wire::ids::{AgentProcessId, MachineId};
use wire::link::{Channel, LEVEL_HEADER, LINK_LEVEL, MACHINE_HEADER, Verdict};
use wire::problem::Problem;

use super::extract::Params;
use super::machine_door;
use crate::app::App;
use crate::domain::invites;
use crate::error::{Error, ErrorKind, Result};
use crate::jwt;
use crate::link::accept::{self, WebSocket};

/// Which of the agent's connections this is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LinkQuery {
    /// `control`, `bulk` or `registry`.
    #[param(value_type = String)]
    channel: Channel,
}

/// Takes a connection of an agent: a WebSocket on which the agent first proves by its machine's key who it is (see
/// `docs/LINK.md`), and then serves the calls of the link.
#[utoipa::path(get, path = "/api/v1/link", tag = "machines", security(()),
    params(
        LinkQuery,
        ("longshore-machine" = String, Header, description = "The machine's id"),
        ("longshore-link-level" = u32, Header, description = "The level of the link's protocol"),
    ),
    responses((status = 101, description = "The connection is a WebSocket now; the server's first message is a challenge"),
        (status = 400, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn connect(
    State(app): State<App>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    request: Request,
) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    check_level(&parts.headers)?;
    let machine = machine(&parts.headers)?;
    let Params(LinkQuery { channel }) = Params::from_request_parts(&mut parts, &app).await?;
    let (response, socket) = accept::upgrade(&mut parts).ok_or_else(|| {
        Error::new(ErrorKind::Malformed, "not_a_websocket", "this address takes WebSockets only".to_owned())
    })?;
    let place = app.hub.unproven().ok_or_else(|| {
        Error::unavailable(
            "too_many_agents",
            "too many agents connect at the same time; this one may try again soon",
        )
    })?;
    let caller = Agent { app: app.clone(), machine, channel, peer };
    app.spawn(async move {
        let Some(mut socket) = socket.await else { return };
        // What proving takes is not kept for as long as the connection is.
        let proved = Box::pin(caller.prove(&mut socket)).await;
        drop(place);
        if let Some((process, welcome)) = proved {
            welcome.run_until_cancelled(caller.serve(process, socket)).await;
        }
    });
    Ok(response)
}

/// Whoever opened a socket, and what it claims.
struct Agent {
    app: App,
    machine: MachineId,
    channel: Channel,
    peer: SocketAddr,
}

impl Agent {
    /// Has it prove what it claims, and tells it what became of that; the process that holds the socket, and what is
    /// cancelled when it is not welcome any more.
    async fn prove(&self, socket: &mut WebSocket) -> Option<(AgentProcessId, CancellationToken)> {
        let nonce = jwt::random_text(&self.app.random).ok()?;
        let proof = accept::challenge(socket, &nonce).await?;
        let proved = invites::prove(&self.app, &self.machine, self.channel, &nonce, &proof, self.peer).await;
        let (verdict, welcome) = match proved {
            Ok(welcome) => (Verdict::Welcome, Some(welcome)),
            Err(error) => {
                tracing::warn!(machine.id = %self.machine, peer = %self.peer, code = error.code, "an agent may not connect: {error}");
                let message = match &error.hint {
                    Some(hint) => format!("{}; {hint}", error.detail),
                    None => error.detail.clone(),
                };
                (Verdict::Refused { code: error.code.to_owned(), message }, None)
            }
        };
        let is_told = accept::tell(socket, &verdict).await;
        welcome.filter(|_| is_told).map(|welcome| (proof.process, welcome))
    }

    async fn serve(self, process: AgentProcessId, socket: WebSocket) {
        if self.channel == Channel::Registry {
            let serving = Box::pin(machine_door::serve(&self.app, &self.machine, self.peer, socket));
            self.app.hub.attach_registry(&self.machine, process, serving).await;
            return;
        }
        let attached = self.app.hub.attach_process(self.machine, self.channel, Some(process), socket).await;
        if let Err(error) = attached {
            tracing::warn!("{error}");
        }
    }
}

fn check_level(headers: &HeaderMap) -> Result<()> {
    let level = headers.get(LEVEL_HEADER).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    let detail = match level {
        Some(LINK_LEVEL) => return Ok(()),
        Some(level) if level < LINK_LEVEL => {
            format!(
                "the agent speaks level {level} of the link, this server level {LINK_LEVEL}: upgrade the agent"
            )
        }
        Some(level) => {
            format!(
                "the agent speaks level {level} of the link, this server level {LINK_LEVEL}: upgrade the server"
            )
        }
        None => format!("the agent does not say which level of the link it speaks (`{LEVEL_HEADER}`)"),
    };
    Err(Error::conflict("wrong_link_level", detail))
}

fn machine(headers: &HeaderMap) -> Result<MachineId> {
    let text = headers.get(MACHINE_HEADER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    text.parse().map_err(|error: wire::names::NameError| Error::invalid(MACHINE_HEADER, error))
}
