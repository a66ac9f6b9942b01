//! A WebSocket over the same connection as everything else: its addresses, certificates and token.

use std::time::Duration;

use reqwest::header::{self, HeaderValue};
use reqwest::{Method, StatusCode};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::client::generate_key;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::client::Client;
use super::failure::Failure;

/// Longest wait for the server to become a WebSocket.
const OPEN: Duration = Duration::from_secs(30);
/// The longest message that a server sends.
const MESSAGE_BYTES_MAX: usize = 1 << 20;

/// An open WebSocket.
pub(crate) type Socket = WebSocketStream<reqwest::Upgraded>;

impl Client {
    /// Opens a WebSocket on a route.
    pub(crate) async fn socket(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        protocol: &'static str,
    ) -> anyhow::Result<Socket> {
        let key = generate_key();
        let request = self
            .request(Method::GET, path)
            .query(query)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_VERSION, "13")
            .header(header::SEC_WEBSOCKET_KEY, &key)
            .header(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
        let response = tokio::time::timeout(OPEN, request.send())
            .await
            .map_err(|_| self.no_answer())?
            .map_err(|error| self.unreachable(&error))?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            // A good answer of another kind comes from something that is not a Longshore server, or an old one.
            self.accepted(response).await?;
            return Err(Failure::new("the server did not open a WebSocket").into());
        }
        let accepted = response.headers().get(header::SEC_WEBSOCKET_ACCEPT);
        if accepted.is_none_or(|value| value.as_bytes() != derive_accept_key(key.as_bytes()).as_bytes()) {
            return Err(Failure::new("something between here and the server answered in its place").into());
        }
        let upgraded = response.upgrade().await.map_err(|error| self.unreachable(&error))?;
        let config = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_BYTES_MAX))
            .max_frame_size(Some(MESSAGE_BYTES_MAX));
        Ok(WebSocketStream::from_raw_socket(upgraded, Role::Client, Some(config)).await)
    }
}
