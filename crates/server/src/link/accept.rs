//! An agent's WebSocket: first it is asked who it is, then it is the pipe under a connection. Whether what it answers is
//! the truth is decided in `domain`; this only carries it.

use std::time::Duration;

use axum::body::Body;
use axum::http::request::Parts;
use axum::response::Response;
use http::{HeaderMap, HeaderName, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use websocket::Side;
use wire::link::{Challenge, Proof, Verdict};

/// A proof is two short texts.
const PROOF_BYTES_MAX: usize = 1 << 10;
/// How long an agent may take to answer the challenge, or to take the verdict.
const PATIENCE: Duration = Duration::from_secs(10);

/// An agent's socket.
pub type WebSocket = websocket::WebSocket<TokioIo<Upgraded>>;

/// The answer to a request for a WebSocket, and the socket once that is sent; none when it is no such request.
pub fn upgrade(parts: &mut Parts) -> Option<(Response, impl Future<Output = Option<WebSocket>> + use<>)> {
    let says = |name, word: &str| has_word(&parts.headers, name, word);
    let is_asked = says(header::CONNECTION, "upgrade")
        && says(header::UPGRADE, "websocket")
        && says(header::SEC_WEBSOCKET_VERSION, "13");
    let key = parts.headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| is_asked)?;
    let upgrade = parts.extensions.remove::<OnUpgrade>()?;
    let response = Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, websocket::accept(key.to_str().ok()?))
        .body(Body::empty())
        .ok()?;
    let socket = async { Some(WebSocket::new(TokioIo::new(upgrade.await.ok()?), Side::Server)) };
    Some((response, socket))
}

fn has_word(headers: &HeaderMap, name: HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|one| one.trim().eq_ignore_ascii_case(word))
}

/// Asks an agent to prove who it is; none when it does not answer as an agent would, in time.
pub async fn challenge(socket: &mut WebSocket, nonce: &str) -> Option<Proof> {
    let question = serde_json::to_vec(&Challenge { nonce: nonce.to_owned() }).ok()?;
    let exchange = async {
        socket.send(&question).await.ok()?;
        serde_json::from_slice(&socket.message(PROOF_BYTES_MAX).await.ok()??).ok()
    };
    tokio::time::timeout(PATIENCE, exchange).await.ok()?
}

/// Tells an agent what became of its proof; whether it could be told.
pub async fn tell(socket: &mut WebSocket, verdict: &Verdict) -> bool {
    let Ok(text) = serde_json::to_vec(verdict) else { return false };
    let sent = tokio::time::timeout(PATIENCE, socket.send(&text)).await;
    matches!(sent, Ok(Ok(())))
}
