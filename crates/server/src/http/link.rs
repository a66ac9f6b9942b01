//! `/api/v1/link`: where agents outside this process connect.

use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use serde::Deserialize;
use subtle::ConstantTimeEq as _;
use utoipa::IntoParams;
use wire::ids::MachineId;
use wire::link::{Channel, LEVEL_HEADER, LINK_LEVEL, MACHINE_HEADER};
use wire::problem::Problem;

use super::extract::Params;
use crate::app::App;
use crate::error::{Error, ErrorKind, Result};
use crate::link::accept;

/// Which of the agent's two connections this is.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct LinkQuery {
    /// `control` or `bulk`.
    #[param(value_type = String)]
    channel: Channel,
}

/// Takes a connection of an agent: a WebSocket on which the agent then serves the calls of the link. The agent proves
/// itself by the installation's link token (`Authorization: Bearer`).
#[utoipa::path(get, path = "/api/v1/link", tag = "machines", security(("link" = [])),
    params(
        LinkQuery,
        ("longshore-machine" = String, Header, description = "The machine's id"),
        ("longshore-link-level" = u32, Header, description = "The level of the link's protocol"),
    ),
    responses((status = 101, description = "The connection is a WebSocket now"), (status = 400, body = Problem),
        (status = 401, body = Problem), (status = 409, body = Problem), (status = 422, body = Problem)))]
pub async fn connect(State(app): State<App>, request: Request) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    // First of all: who is not an agent learns nothing else.
    check_token(&app, &parts.headers)?;
    check_level(&parts.headers)?;
    let machine = machine(&parts.headers)?;
    let Params(LinkQuery { channel }) = Params::from_request_parts(&mut parts, &app).await?;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut parts, &app).await;
    let upgrade = upgrade.map_err(|rejection| {
        Error::new(
            ErrorKind::Malformed,
            "not_a_websocket",
            format!("this address takes WebSockets only: {rejection}"),
        )
    })?;
    let hub = app.hub.clone();
    let served = move |socket| accept::serve_socket(hub, machine, channel, socket);
    Ok(accept::bounded(upgrade).on_upgrade(served))
}

fn check_token(app: &App, headers: &HeaderMap) -> Result<()> {
    let given =
        headers.get(header::AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
    let is_right = given.is_some_and(|given| given.ct_eq(app.keys.link.expose().as_bytes()).into());
    if is_right {
        Ok(())
    } else {
        Err(Error::unauthenticated("bad_link_token", "the link's token is missing or wrong"))
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
