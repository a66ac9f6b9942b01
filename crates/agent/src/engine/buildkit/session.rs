//! A session beside a build: the connection over which the engine's BuildKit asks for secrets and logins when a step or an image needs
//! one. The engine is the client on it. It ends with the build, and with it all access.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::combinators::WithTrailers;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;
use wire::link::{LinkError, LinkErrorCode, RegistryCredential};
use wire::names::SecretName;
use wire::secret::Secret;

use super::super::Engine;
use super::protobuf::{put_bytes, put_number, text};
use crate::serve::Tracked;

const HEALTH: &str = "/grpc.health.v1.Health/Check";
const GET_SECRET: &str = "/moby.buildkit.secrets.v1.Secrets/GetSecret";
const CREDENTIALS: &str = "/moby.filesync.v1.Auth/Credentials";
/// What is asked is a name.
const REQUEST_BYTES_MAX: usize = 64 << 10;
/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;
/// gRPC's own codes.
const OK: &str = "0";
const INVALID_ARGUMENT: &str = "3";
const NOT_FOUND: &str = "5";
const UNIMPLEMENTED: &str = "12";

/// What a build may ask for.
pub(super) struct Given {
    pub(super) secrets: BTreeMap<SecretName, Secret>,
    pub(super) registry: String,
    pub(super) credential: RegistryCredential,
}

/// An open session. Dropping it closes the connection.
pub(super) struct Session {
    /// By which the engine knows it.
    pub(super) id: String,
    _connection: AbortOnDropHandle<()>,
}

impl Session {
    /// Opens a session that answers from what is given.
    pub(super) async fn open(engine: &Engine, given: Given) -> Result<Self, LinkError> {
        let id = Uuid::now_v7().simple().to_string();
        let mut headers = HeaderMap::new();
        let mut put = |name: &'static str, value: &str| {
            headers.append(name, HeaderValue::from_str(value).expect("names are header values"));
        };
        put("x-docker-expose-session-uuid", &id);
        put("x-docker-expose-session-name", "longshore");
        for method in [HEALTH, GET_SECRET, CREDENTIALS] {
            put("x-docker-expose-session-grpc-method", method);
        }
        let io = engine.upgrade("/session", "h2c", headers, "").await.map_err(|error| match error.code {
            LinkErrorCode::EngineDown | LinkErrorCode::Timeout => error,
            _ => {
                let message = format!("the engine knows no sessions, by which steps get secrets: {error}");
                LinkError::new(LinkErrorCode::Unsupported, message)
            }
        })?;
        let given = Arc::new(given);
        let service = service_fn(move |request| answer(Arc::clone(&given), request));
        let mut builder = hyper::server::conn::http2::Builder::new(Tracked(engine.tasks().clone()));
        builder.timer(TokioTimer::new());
        let connection = builder.serve_connection(io.into_inner(), service);
        let serving = async move {
            if let Err(error) = connection.await {
                tracing::debug!("a build's session ended: {error}");
            }
        };
        Ok(Self { id, _connection: AbortOnDropHandle::new(engine.tasks().spawn(serving)) })
    }
}

type Trailers = std::future::Ready<Option<Result<HeaderMap, Infallible>>>;
type Answer = Response<WithTrailers<Full<Bytes>, Trailers>>;

async fn answer(given: Arc<Given>, request: Request<Incoming>) -> Result<Answer, Infallible> {
    let (head, body) = request.into_parts();
    let said = match Limited::new(body, REQUEST_BYTES_MAX).collect().await {
        Ok(body) => given.reply(head.uri.path(), &body.to_bytes()),
        Err(_) => Err(INVALID_ARGUMENT),
    };
    let (body, status) = match said {
        Ok(message) => (framed(&message), OK),
        Err(status) => (Bytes::new(), status),
    };
    let trailers = HeaderMap::from_iter([(
        http::HeaderName::from_static("grpc-status"),
        HeaderValue::from_static(status),
    )]);
    let body = Full::new(body).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

fn framed(message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("secrets are shorter than 4 GiB");
    let mut frame = vec![0];
    frame.extend(length.to_be_bytes());
    frame.extend_from_slice(message);
    frame.into()
}

impl Given {
    /// The answer to a question, or the code of a refusal.
    fn reply(&self, path: &str, frame: &[u8]) -> Result<Vec<u8>, &'static str> {
        // What is compressed was never agreed on.
        let Some((&[0, ..], message)) = frame.split_at_checked(PREFIX_BYTES) else {
            return Err(INVALID_ARGUMENT);
        };
        let name = text(message, 1).unwrap_or_default();
        let mut reply = Vec::new();
        match path {
            HEALTH => put_number(&mut reply, 1, 1),
            GET_SECRET => {
                let secret = name.parse::<SecretName>().ok().and_then(|name| self.secrets.get(&name));
                put_bytes(&mut reply, 1, secret.ok_or(NOT_FOUND)?.expose().as_bytes());
            }
            // Others are asked as anybody.
            CREDENTIALS if name == self.registry => {
                put_bytes(&mut reply, 1, self.credential.username.as_bytes());
                put_bytes(&mut reply, 2, self.credential.password.expose().as_bytes());
            }
            CREDENTIALS => {}
            _ => return Err(UNIMPLEMENTED),
        }
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_given_by_name_and_the_login_to_our_registry_alone() {
        let given = Given {
            secrets: BTreeMap::from([("token".parse().unwrap(), Secret::new("s3cret"))]),
            registry: "127.0.0.1:5000".to_owned(),
            credential: RegistryCredential { username: "alice".to_owned(), password: Secret::new("pass") },
        };
        let ask = |path: &str, name: &str| {
            let mut message = Vec::new();
            put_bytes(&mut message, 1, name.as_bytes());
            given.reply(path, &framed(&message))
        };
        let field = |reply: Result<Vec<u8>, _>, number| text(&reply.unwrap(), number).map(str::to_owned);

        assert_eq!(field(ask(GET_SECRET, "token"), 1).unwrap(), "s3cret");
        assert_eq!(ask(GET_SECRET, "other"), Err(NOT_FOUND));
        assert_eq!(ask(GET_SECRET, "../token"), Err(NOT_FOUND));
        assert_eq!(field(ask(CREDENTIALS, "127.0.0.1:5000"), 2).unwrap(), "pass");
        assert_eq!(ask(CREDENTIALS, "evil.example"), Ok(Vec::new()));
        assert_eq!(ask("/moby.filesync.v1.FileSync/DiffCopy", "/etc"), Err(UNIMPLEMENTED));
        assert_eq!(ask(HEALTH, ""), Ok(vec![8, 1]));
        assert_eq!(given.reply(GET_SECRET, &[1, 0, 0, 0, 0]), Err(INVALID_ARGUMENT));
        assert_eq!(given.reply(GET_SECRET, b"x"), Err(INVALID_ARGUMENT));
    }
}
