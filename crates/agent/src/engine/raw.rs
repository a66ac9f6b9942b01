//! The engine's calls that bollard cannot express: a build (it knows no `cgroupparent` and counts memory in 31 bits), a
//! push and a pull (it drops the pushed digest and the layers' ids), and whatever carries credentials (it encodes them in
//! the wrong alphabet), and what programs say (it guesses from the bytes whether they are framed, which a program can make
//! it guess wrongly, and gathers a line of a terminal however long it gets). Each has a connection of its own: dropping the answer closes it, and that is how the engine
//! is told to stop.

use axum::body::{Body, Bytes};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::net::UnixStream;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::io::StreamReader;
use tokio_util::task::AbortOnDropHandle;
use wire::link::{LINE_BYTES_MAX, LinkError, LinkErrorCode, RegistryCredential};

use super::{Engine, engine_down, refused};

/// An error body is a sentence.
const ERROR_BYTES_MAX: usize = 64 << 10;

/// One line of a build, a push or a pull.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message {
    pub(super) stream: Option<String>,
    pub(super) status: Option<String>,
    /// Of the layer.
    pub(super) id: Option<String>,
    #[serde(rename = "progressDetail")]
    pub(super) progress: Progress,
    /// The work failed; nothing follows.
    pub(super) error: Option<String>,
    pub(super) aux: Option<Aux>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Progress {
    pub(super) current: u64,
    pub(super) total: u64,
}

/// Results for programs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Aux {
    /// Of the image that a build made.
    #[serde(rename = "ID")]
    pub(super) id: Option<String>,
    /// Of the manifest that was pushed.
    #[serde(rename = "Digest")]
    pub(super) digest: Option<String>,
}

/// The lines of an answer.
pub(super) struct Messages {
    lines: futures::stream::BoxStream<'static, Result<String, LinkError>>,
    /// Polls the connection; ends it when dropped.
    _connection: AbortOnDropHandle<()>,
}

impl Messages {
    /// Of lines that no engine sent.
    #[cfg(test)]
    pub(super) fn of(lines: impl futures::Stream<Item = String> + Send + 'static) -> Self {
        let connection = tokio_util::task::TaskTracker::new().spawn(std::future::pending());
        Self { lines: lines.map(Ok).boxed(), _connection: AbortOnDropHandle::new(connection) }
    }

    pub(super) async fn next(&mut self) -> Option<Result<Message, LinkError>> {
        self.next_as().await
    }

    /// The next line, read as something else.
    pub(super) async fn next_as<M: DeserializeOwned>(&mut self) -> Option<Result<M, LinkError>> {
        loop {
            let line = match self.lines.next().await? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            if line.trim().is_empty() {
                continue;
            }
            let message = serde_json::from_str(&line);
            return Some(message.map_err(|error| engine_down(format!("its answer cannot be read: {error}"))));
        }
    }
}

/// Which header carries credentials depends on the call.
pub(super) enum Credential<'a> {
    /// For one registry, in `X-Registry-Auth`.
    One(&'a RegistryCredential),
    /// For those that a Dockerfile may name, in `X-Registry-Config`.
    ByRegistry(&'a RegistryCredential),
    /// As anybody.
    None,
}

#[derive(Serialize)]
struct AuthConfig<'a> {
    username: &'a str,
    password: &'a str,
    serveraddress: &'a str,
}

impl Engine {
    /// Posts to a path that was written here. The answer's lines come as the work goes on.
    pub(super) async fn post(
        &self,
        path: &str,
        query: &[(&str, String)],
        credential: Credential<'_>,
        body: Body,
    ) -> Result<Messages, LinkError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let path = format!("{path}?{query}");
        let (body, connection) = self.send(Method::POST, &path, &credential, body).await?;
        let reader = StreamReader::new(body.into_data_stream().map_err(std::io::Error::other));
        let lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE_BYTES_MAX));
        Ok(Messages { lines: lines.map_err(engine_down).boxed(), _connection: connection })
    }

    /// Reads from a path that was written here. The bytes come as they are read.
    pub(super) async fn get(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<impl Stream<Item = Result<Bytes, LinkError>> + Send + use<>, LinkError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let path = format!("{path}?{query}");
        let (body, connection) = self.send(Method::GET, &path, &Credential::None, Body::empty()).await?;
        // The connection is polled elsewhere and ends with the stream.
        let bytes = body.into_data_stream().map_err(engine_down);
        Ok(bytes.map(move |bytes| {
            let _connection = &connection;
            bytes
        }))
    }

    /// Posts words without a body to a path that was written here, and waits for the end of the answer.
    pub(super) async fn post_json(&self, path: &str, query: &[(&str, String)]) -> Result<(), LinkError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        let path = format!("{path}?{query}");
        let (body, _connection) = self
            .send_as(Method::POST, &path, &Credential::None, "application/json", Body::from("{}"))
            .await?;
        let mut body = body.into_data_stream();
        while let Some(piece) = body.next().await {
            piece.map_err(engine_down)?;
        }
        Ok(())
    }

    /// Puts a body at a path that was written here.
    pub(super) async fn put(
        &self,
        path: &str,
        query: &[(&str, String)],
        body: Body,
    ) -> Result<(), LinkError> {
        let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(query).finish();
        self.send(Method::PUT, &format!("{path}?{query}"), &Credential::None, body).await.map(drop)
    }

    /// Asks an image's own registry for it, past everything that the engine has stored; an error when the registry does
    /// not show it with this credential (or, if it is not ours, to everybody).
    pub(super) async fn ask_registry(
        &self,
        reference: &str,
        credential: &RegistryCredential,
    ) -> Result<(), LinkError> {
        let is_ours = reference.strip_prefix(self.registry()).is_some_and(|rest| rest.starts_with('/'));
        let credential = if is_ours { Credential::One(credential) } else { Credential::None };
        let path = format!("/distribution/{reference}/json");
        self.send(Method::GET, &path, &credential, Body::empty()).await.map(drop)
    }

    /// Starts a command that was made, and takes over the connection: what is written is its input, what is read its
    /// output.
    pub(super) async fn start_exec(&self, exec: &str, is_tty: bool) -> Result<TokioIo<Upgraded>, LinkError> {
        let mut headers = http::HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
        let body = serde_json::json!({ "Detach": false, "Tty": is_tty }).to_string();
        self.upgrade(&format!("/exec/{exec}/start"), "tcp", headers, body).await
    }

    /// Posts to a path that was written here, and takes over the connection.
    pub(super) async fn upgrade(
        &self,
        path: &str,
        protocol: &'static str,
        headers: http::HeaderMap,
        body: impl Into<Body>,
    ) -> Result<TokioIo<Upgraded>, LinkError> {
        let version = self.docker().await?.client_version();
        let mut request = Request::post(format!("/v{version}{path}"))
            .header(header::HOST, "docker")
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, protocol)
            .body(body.into())
            .map_err(|error| LinkError::new(LinkErrorCode::Invalid, format!("`{path}`: {error}")))?;
        request.headers_mut().extend(headers);

        let socket = UnixStream::connect(&self.socket).await.map_err(engine_down)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(engine_down)?;
        let connection = connection.with_upgrades();
        // Ends by itself when the connection is taken over, or with the answer that refuses that.
        let connection = AbortOnDropHandle::new(self.tasks.spawn(async move { drop(connection.await) }));
        let response = sender.send_request(request).await.map_err(engine_down)?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            let (head, body) = response.into_parts();
            return Err(refusal(head.status, body).await);
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(engine_down)?;
        drop(connection);
        Ok(TokioIo::new(upgraded))
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        credential: &Credential<'_>,
        body: Body,
    ) -> Result<(Incoming, AbortOnDropHandle<()>), LinkError> {
        self.send_as(method, path, credential, "application/x-tar", body).await
    }

    async fn send_as(
        &self,
        method: Method,
        path: &str,
        credential: &Credential<'_>,
        content_type: &'static str,
        body: Body,
    ) -> Result<(Incoming, AbortOnDropHandle<()>), LinkError> {
        let version = self.docker().await?.client_version();
        let (header, secret) = self.credential_header(credential);
        let request = Request::builder()
            .method(method)
            .uri(format!("/v{version}{path}"))
            .header(header::HOST, "docker")
            .header(header::CONTENT_TYPE, content_type)
            .header(header, secret)
            .body(body)
            .map_err(|error| LinkError::new(LinkErrorCode::Invalid, format!("`{path}`: {error}")))?;

        let socket = UnixStream::connect(&self.socket).await.map_err(engine_down)?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(socket)).await.map_err(engine_down)?;
        let connection = AbortOnDropHandle::new(self.tasks.spawn(async move {
            // Whoever reads the answer sees the same error.
            drop(connection.await);
        }));
        let response = sender.send_request(request).await.map_err(engine_down)?;
        let (head, body) = response.into_parts();
        if !head.status.is_success() {
            return Err(refusal(head.status, body).await);
        }
        Ok((body, connection))
    }

    fn credential_header(&self, credential: &Credential<'_>) -> (&'static str, http::HeaderValue) {
        let auth = |credential: &RegistryCredential| {
            serde_json::to_value(AuthConfig {
                username: &credential.username,
                password: credential.password.expose(),
                serveraddress: &self.registry,
            })
            .expect("text can be written as JSON")
        };
        let (header, json) = match credential {
            Credential::One(credential) => ("x-registry-auth", auth(credential)),
            Credential::None => ("x-registry-auth", serde_json::Map::new().into()),
            Credential::ByRegistry(credential) => {
                let by_registry = serde_json::Map::from_iter([(self.registry.clone(), auth(credential))]);
                ("x-registry-config", by_registry.into())
            }
        };
        // The engine reads the URL-safe alphabet and silently asks anonymously when it meets the other one.
        let encoded = BASE64_URL_SAFE.encode(json.to_string());
        let mut value = http::HeaderValue::from_str(&encoded).expect("base64 is a header value");
        value.set_sensitive(true);
        (header, value)
    }
}

async fn refusal(status: StatusCode, body: Incoming) -> LinkError {
    let bytes = Limited::new(body, ERROR_BYTES_MAX)
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    complaint(status, &bytes)
}

/// What an answer that is not 2xx says.
pub(super) fn complaint(status: StatusCode, body: &[u8]) -> LinkError {
    #[derive(Deserialize)]
    struct ErrorBody {
        message: String,
    }
    let message = serde_json::from_slice(body)
        .map_or_else(|_| String::from_utf8_lossy(body).into_owned(), |body: ErrorBody| body.message);
    refused(status.as_u16(), &message)
}
