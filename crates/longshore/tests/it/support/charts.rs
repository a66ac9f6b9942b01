//! A static file server as Helm repository: with and without validators, compression, passwords and TLS, and with every fault that
//! a test wants.

#![expect(clippy::unwrap_used, reason = "a helper that fails is a test that fails")]

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use sha2::{Digest as _, Sha256};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// What the server does.
#[derive(Clone, Default)]
pub(crate) struct Behaviour {
    /// Files by path, such as `/index.yaml`.
    pub(crate) files: std::collections::BTreeMap<String, Vec<u8>>,
    /// Whether it sends `ETag` and answers 304.
    pub(crate) etag: bool,
    /// Whether it sends `Last-Modified` and answers 304.
    pub(crate) last_modified: Option<String>,
    /// Whether it packs what is asked for packed.
    pub(crate) gzip: bool,
    /// Name and password that it wants.
    pub(crate) login: Option<(String, String)>,
    /// Answers everything with this.
    pub(crate) fault: Option<Fault>,
    /// Answers nothing until this is cancelled.
    pub(crate) held: Option<CancellationToken>,
}

/// What a server may do wrong.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// Answers with a status.
    Status(u16),
    /// Sends elsewhere.
    Redirect(String),
    /// Sends elsewhere with another status than 302.
    RedirectAs(u16, String),
    /// Wants to know who asks, and says so in these words.
    Challenge(String),
    /// Says nothing after its headers.
    Stall,
    /// Never ends.
    Endless,
    /// Never ends, a byte at a time.
    Slow,
    /// Announces more than it sends.
    WrongLength,
    /// Says 304, whatever was asked and whatever there is.
    NotModified,
    /// Sends so many parts, made one after the other.
    Generated(usize, fn(usize) -> String),
    /// Sends what there is, and says of everything that it is the same.
    SameTag,
    /// Packs in a way that nobody asked for.
    Encoding(&'static str, Vec<u8>),
}

/// One request that came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

#[derive(Clone)]
struct Shared {
    behaviour: Arc<Mutex<Behaviour>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

/// A running repository; it ends when it is dropped.
pub(crate) struct ChartServer {
    pub(crate) url: String,
    shared: Shared,
    _tasks: JoinSet<()>,
}

impl ChartServer {
    /// A repository with this index.
    pub(crate) async fn start(index: &str) -> Self {
        Self::start_at(index, "127.0.0.1:0").await
    }

    /// A repository with this index, at this address.
    pub(crate) async fn start_at(index: &str, address: &str) -> Self {
        let listener = tokio::net::TcpListener::bind(address).await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let behaviour = Behaviour { etag: true, gzip: true, ..Behaviour::default() };
        let shared = Shared { behaviour: Arc::new(Mutex::new(behaviour)), asked: Arc::default() };
        let router = router(&shared);
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        let server = Self { url, shared, _tasks: tasks };
        server.set_index(index);
        server
    }

    /// The same over TLS, by a certificate for a name of an authority of its own, whose certificate comes with its address.
    pub(crate) async fn over_tls(&self, name: &str) -> (String, String) {
        let (port, authority) = super::tls::serve_for(&[name], router(&self.shared)).await;
        (format!("https://localhost:{port}"), authority)
    }

    pub(crate) fn set_index(&self, index: &str) {
        self.change(|behaviour| {
            behaviour.files.insert("/index.yaml".into(), index.into());
        });
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared.behaviour.lock().unwrap());
    }

    /// What was asked for since the last time.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }
}

fn router(shared: &Shared) -> Router {
    Router::new().fallback(answer).with_state(shared.clone())
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (path, headers) = (request.uri().path().to_owned(), request.headers().clone());
    shared.asked.lock().unwrap().push(Asked { path: path.clone(), headers: headers.clone() });
    let behaviour = shared.behaviour.lock().unwrap().clone();
    if let Some(held) = &behaviour.held {
        held.cancelled().await;
    }
    match behaviour.fault {
        Some(Fault::Status(status)) => return StatusCode::from_u16(status).unwrap().into_response(),
        Some(Fault::Redirect(to)) => return (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Some(Fault::RedirectAs(status, to)) => {
            return (StatusCode::from_u16(status).unwrap(), [(header::LOCATION, to)]).into_response();
        }
        Some(Fault::Challenge(words)) => {
            return (StatusCode::UNAUTHORIZED, [(header::WWW_AUTHENTICATE, words)]).into_response();
        }
        Some(Fault::Slow) => {
            let body = futures::stream::unfold((), async |()| {
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                Some((Ok::<_, std::io::Error>(Bytes::from_static(b"#")), ()))
            });
            return Body::from_stream(body).into_response();
        }
        Some(Fault::Generated(count, part)) => {
            let parts = (0..count).map(move |number| Ok::<_, std::io::Error>(Bytes::from(part(number))));
            return Body::from_stream(futures::stream::iter(parts)).into_response();
        }
        Some(Fault::SameTag) => {
            let file = behaviour.files.get(&path).cloned().unwrap_or_default();
            return ([(header::ETAG, "\"same\"")], file).into_response();
        }
        Some(Fault::Stall) => {
            return Body::from_stream(futures::stream::pending::<Result<Bytes, std::io::Error>>())
                .into_response();
        }
        Some(Fault::Endless) => {
            let chunk = Bytes::from(vec![b'#'; 64 << 10]);
            return Body::from_stream(futures::stream::repeat_with(move || {
                Ok::<_, std::io::Error>(chunk.clone())
            }))
            .into_response();
        }
        Some(Fault::WrongLength) => {
            let body = futures::stream::iter([
                Ok(Bytes::from_static(b"entries:\n")),
                Err(std::io::Error::other("cut")),
            ]);
            return ([(header::CONTENT_LENGTH, "5000")], Body::from_stream(body)).into_response();
        }
        Some(Fault::NotModified) => return StatusCode::NOT_MODIFIED.into_response(),
        Some(Fault::Encoding(name, body)) => {
            return ([(header::CONTENT_ENCODING, name)], body).into_response();
        }
        None => {}
    }
    if let Some((name, password)) = behaviour.login {
        let expected = base64::engine::general_purpose::STANDARD.encode(format!("{name}:{password}"));
        if headers
            .get(header::AUTHORIZATION)
            .is_none_or(|value| value.as_bytes() != format!("Basic {expected}").as_bytes())
        {
            return StatusCode::UNAUTHORIZED.into_response();
        }
    }
    let Some(file) = behaviour.files.get(&path) else { return StatusCode::NOT_FOUND.into_response() };
    let mut response = HeaderMap::new();
    let etag = format!("\"{}\"", hex_of(file));
    if behaviour.etag {
        response.insert(header::ETAG, etag.parse().unwrap());
        if headers.get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, response).into_response();
        }
    }
    if let Some(time) = &behaviour.last_modified {
        response.insert(header::LAST_MODIFIED, time.parse().unwrap());
        if headers.get(header::IF_MODIFIED_SINCE).is_some_and(|value| value.as_bytes() == time.as_bytes()) {
            return (StatusCode::NOT_MODIFIED, response).into_response();
        }
    }
    let accepts = headers
        .get(header::ACCEPT_ENCODING)
        .is_some_and(|value| value.as_bytes().windows(4).any(|part| part == b"gzip"));
    if behaviour.gzip && accepts {
        response.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        return (response, packed(file)).into_response();
    }
    (response, file.clone()).into_response()
}

/// Bytes, packed.
pub(crate) fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The SHA-256 in hex.
pub(crate) fn hex_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// An index as Helm writes it: charts with their versions, newest first.
pub(crate) fn index(charts: &[(&str, &[&str])]) -> String {
    let mut text = String::from("apiVersion: v1\nentries:\n");
    for (name, versions) in charts {
        writeln!(text, "  {name}:").unwrap();
        for version in *versions {
            let digest = hex_of(format!("{name} {version}").as_bytes());
            writeln!(
                text,
                "  - apiVersion: v2\n    appVersion: {version}\n    created: \"2024-05-06T07:08:09.123456789Z\"\n    description: The chart {name}\n    digest: {digest}\n    \
                 keywords:\n    - {name}-word\n    name: {name}\n    urls:\n    - {name}-{version}.tgz\n    version: {version}"
            )
            .unwrap();
        }
    }
    text + "generated: \"2024-05-06T07:08:09.123456789Z\"\n"
}

/// A package (`.tgz`) with these files, whatever their names are.
pub(crate) fn package(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    packed(&builder.into_inner().unwrap())
}
