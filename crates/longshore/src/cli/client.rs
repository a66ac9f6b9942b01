//! Talks HTTP to a server: addresses, time-outs, the caller's token, and errors turned into words and hints.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use reqwest::header::{self, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use wire::problem::Problem;
use wire::secret::Secret;

use super::credentials::Credentials;
use super::environment;
use super::failure::Failure;
use super::words::{self, Language};

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_secs(10);
/// Longest wait for the whole answer to a small request.
const ANSWER: Duration = Duration::from_mins(1);
/// Longest wait for an answer for which the server asks somebody else first.
const SLOW_ANSWER: Duration = Duration::from_mins(3);
/// Longest silence of a stream. The server sends a comment at least every 15 seconds.
pub(crate) const SILENCE: Duration = Duration::from_mins(1);
/// Longest time in which an upload moves no byte; also how long the server may look at a whole archive.
const UPLOAD_STALL: Duration = Duration::from_mins(10);
/// The most bytes of an answer that is held in memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Which server, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    server: Url,
    token: Option<Secret>,
    /// Fingerprint of the server's own authority, when it is recognised by that.
    fingerprint: Option<String>,
    language: Language,
}

/// What a server answered: kept as text, so that `--json` shows it as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The body.
    pub(crate) text: String,
    /// The headers.
    pub(crate) headers: HeaderMap,
}

impl Answer {
    /// The body as the type that this version knows.
    pub(crate) fn view<T: DeserializeOwned>(&self) -> anyhow::Result<T> {
        serde_json::from_str(&self.text).map_err(|error| {
            Failure::new(format!("the server's answer is not what this version expects: {error}"))
                .hint("compare `longshore version` with the server's; `--json` shows the answer as it is")
                .into()
        })
    }
}

/// Reads a server's address as people type it. Without a scheme it is `https`, or `http` for this machine itself.
pub(crate) fn parse_server(text: &str) -> Result<Url, String> {
    let text = text.trim();
    // What stands before an `@` may be a password.
    let shown = text.rsplit('@').next().unwrap_or_default();
    let wrong = |why: &str| format!("`{shown}` is not a server's address: {why}");
    let full = if text.contains("://") {
        text.to_owned()
    } else {
        let is_local = ["localhost", "127.", "[::1]"].iter().any(|start| text.starts_with(start));
        format!("{}://{text}", if is_local { "http" } else { "https" })
    };
    let mut url = Url::parse(&full).map_err(|_| wrong("use `https://longshore.example.org`"))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong("use `https://…` or `http://…`"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!(
            "the address must not hold an account or a password: use `{}` and `--account`",
            url.host_str().unwrap_or_default()
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(wrong("leave out everything from `?` or `#`"));
    }
    let path = url.path().trim_end_matches('/').to_owned();
    url.set_path(&path);
    Ok(url)
}

/// The address as it is shown and kept.
pub(crate) fn show_server(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Whether what is sent to this address can be read on its way.
pub(crate) fn is_in_the_clear(url: &Url) -> bool {
    let is_loopback = url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    url.scheme() == "http" && !is_loopback
}

/// What to ask, and where.
pub(crate) struct Route<'a> {
    /// The method.
    pub(crate) method: Method,
    /// The path's segments.
    pub(crate) path: &'a [&'a str],
    /// The query.
    pub(crate) query: &'a [(&'a str, String)],
}

impl Client {
    /// A client for the server that the option, the environment or the last login names, in this order.
    pub(crate) fn from_settings(option: Option<&Url>, language: Language) -> anyhow::Result<Self> {
        let credentials = Credentials::load()?;
        let from_environment = match environment::text("LONGSHORE_URL") {
            Some(text) => {
                Some(parse_server(&text).map_err(|e| Failure::usage(format!("LONGSHORE_URL: {e}")))?)
            }
            None => None,
        };
        let current = credentials.current.as_deref().and_then(|text| parse_server(text).ok());
        let server = option.cloned().or(from_environment).or(current).ok_or_else(|| {
            Failure::new(language.pick(words::NO_SERVER)).hint(language.pick(words::NO_SERVER_HINT))
        })?;
        let login = credentials.servers.get(&show_server(&server));
        let token = environment::text("LONGSHORE_TOKEN")
            .map(Secret::new)
            .or_else(|| login.map(|login| login.token.clone()));
        let fingerprint = environment::text("LONGSHORE_FINGERPRINT")
            .or_else(|| login.and_then(|login| login.fingerprint.clone()));
        Self::new(server, token, fingerprint, language)
    }

    /// A client for one server. With a fingerprint only what that authority signed is believed.
    pub(crate) fn new(
        server: Url,
        token: Option<Secret>,
        fingerprint: Option<String>,
        language: Language,
    ) -> anyhow::Result<Self> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_LANGUAGE, HeaderValue::from_static(language.code()));
        // A redirect would carry a password or an upload to an address that nobody named.
        let mut http = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("longshore/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers);
        if let Some(fingerprint) = &fingerprint {
            let tls = agent::tls::client_config(Some(fingerprint)).map_err(Failure::usage)?;
            http = http.tls_backend_preconfigured(tls);
        }
        let http = http.build().context("cannot prepare HTTPS")?;
        Ok(Self { http, server, token, fingerprint, language })
    }

    /// Fingerprint of the server's own authority, when it is recognised by that.
    pub(crate) fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }

    /// The server's address as shown.
    pub(crate) fn server(&self) -> String {
        show_server(&self.server)
    }

    /// Whether there is a token to send.
    pub(crate) fn has_token(&self) -> bool {
        self.token.is_some()
    }

    /// The address of a route; each part is escaped.
    fn url(&self, path: &[&str]) -> Url {
        let mut url = self.server.clone();
        url.path_segments_mut().expect("http addresses have paths").pop_if_empty().extend(path);
        url
    }

    /// A request to extend, with the token.
    pub(super) fn request(&self, method: Method, path: &[&str]) -> RequestBuilder {
        let request = self.http.request(method, self.url(path));
        match &self.token {
            Some(token) => request.bearer_auth(token.expose()),
            None => request,
        }
    }

    /// Reads something.
    pub(crate) async fn get(&self, path: &[&str], query: &[(&str, String)]) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::GET, path).query(query)).await
    }

    /// Sends something.
    pub(crate) async fn post(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::POST, path).json(body)).await
    }

    /// Asks for something to be done that needs no words.
    pub(crate) async fn post_empty(&self, path: &[&str]) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::POST, path).header(header::CONTENT_LENGTH, 0)).await
    }

    /// Changes something.
    pub(crate) async fn patch(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::PATCH, path).json(body)).await
    }

    /// Sets something, all of it.
    pub(crate) async fn put(&self, path: &[&str], body: &impl Serialize) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::PUT, path).json(body)).await
    }

    /// Asks for something to be done that is said in the query.
    pub(crate) async fn ask(&self, route: &Route<'_>) -> anyhow::Result<Answer> {
        let request = self.request(route.method.clone(), route.path).query(route.query);
        self.answer(request.header(header::CONTENT_LENGTH, 0)).await
    }

    /// Deletes something.
    pub(crate) async fn delete(&self, path: &[&str]) -> anyhow::Result<Answer> {
        self.answer(self.request(Method::DELETE, path)).await
    }

    /// Reads something whose refusal is an answer too, such as `/readyz`: the status and the body.
    pub(crate) async fn probe(&self, path: &[&str]) -> anyhow::Result<(StatusCode, Answer)> {
        let request = self.request(Method::GET, path).timeout(ANSWER);
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        Ok((status, self.body(response, ANSWER_BYTES_MAX).await?))
    }

    /// Sends a request whose refusal is an answer too: the status and the body.
    pub(super) async fn exchange(&self, request: RequestBuilder) -> anyhow::Result<(StatusCode, Answer)> {
        let response = request.timeout(SLOW_ANSWER).send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        Ok((status, self.body(response, ANSWER_BYTES_MAX).await?))
    }

    /// Opens a stream of bytes; the caller bounds its silence.
    pub(crate) async fn stream(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        accept: &'static str,
    ) -> anyhow::Result<Response> {
        let request = self.request(Method::GET, path).query(query).header(header::ACCEPT, accept);
        let answer = tokio::time::timeout(ANSWER, request.send())
            .await
            .map_err(|_| self.no_answer())?
            .map_err(|error| self.unreachable(&error))?;
        self.accepted(answer).await
    }

    /// Sends a long body. `sent` counts its bytes as they leave; when it stands still for too long, the upload ends.
    pub(crate) async fn upload(
        &self,
        route: &Route<'_>,
        body: reqwest::Body,
        length: Option<u64>,
        sent: &Arc<AtomicU64>,
    ) -> anyhow::Result<Answer> {
        let mut request = self
            .request(route.method.clone(), route.path)
            .query(route.query)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .body(body);
        if let Some(length) = length {
            request = request.header(header::CONTENT_LENGTH, length);
        }
        let stalled = async {
            let mut seen = sent.load(Ordering::Relaxed);
            loop {
                tokio::time::sleep(UPLOAD_STALL).await;
                let now = sent.load(Ordering::Relaxed);
                if now == seen {
                    return;
                }
                seen = now;
            }
        };
        let response = tokio::select! {
            response = request.send() => response.map_err(|error| self.upload_broken(&error))?,
            () = stalled => return Err(self.no_answer().into()),
        };
        let response = self.accepted(response).await?;
        self.body(response, ANSWER_BYTES_MAX).await
    }

    /// A server that refuses an upload may hang up before its answer could be read.
    fn upload_broken(&self, error: &reqwest::Error) -> Failure {
        let failure = self.unreachable(error);
        if error.is_connect() || error.is_timeout() {
            return failure;
        }
        failure.hint(self.language.pick(words::UPLOAD_BROKEN_HINT))
    }

    async fn answer(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = request.timeout(ANSWER).send().await.map_err(|error| self.unreachable(&error))?;
        let response = self.accepted(response).await?;
        self.body(response, ANSWER_BYTES_MAX).await
    }

    /// Reads a body of at most so many bytes.
    async fn body(&self, mut response: Response, bytes_max: usize) -> anyhow::Result<Answer> {
        let headers = response.headers().clone();
        let mut bytes = Vec::new();
        let read = async {
            while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
                bytes.extend_from_slice(&chunk);
                if bytes.len() > bytes_max {
                    let limit = super::human::size(bytes_max as u64);
                    return Err(Failure::new(format!("the server's answer is longer than {limit}")));
                }
            }
            Ok(())
        };
        tokio::time::timeout(ANSWER, read).await.map_err(|_| self.no_answer())??;
        Ok(Answer { text: String::from_utf8_lossy(&bytes).into_owned(), headers })
    }

    /// Lets good answers through and turns others into failures.
    pub(super) async fn accepted(&self, response: Response) -> anyhow::Result<Response> {
        let status = response.status();
        if status.is_success() {
            return Ok(response);
        }
        if status.is_redirection() {
            let target = response.headers().get(header::LOCATION).and_then(|value| value.to_str().ok());
            let message = self.language.say(words::REDIRECTED, &[&self.server(), target.unwrap_or("?")]);
            return Err(Failure::new(message).hint(self.language.pick(words::REDIRECTED_HINT)).into());
        }
        // An error that cannot be read whole is still an error with a status.
        let answer = self.body(response, 1 << 20).await;
        let (text, headers) = answer.map(|a| (a.text, a.headers)).unwrap_or_default();
        Err(self.refused(status, &text, &headers).into())
    }

    fn refused(&self, status: StatusCode, text: &str, headers: &HeaderMap) -> Failure {
        let problem = serde_json::from_str::<Problem>(text);
        let is_ours = problem.is_ok();
        let mut failure = match problem {
            Ok(problem) => {
                let mut failure = Failure::new(problem.detail.clone());
                failure.details = facts_of(&problem);
                failure.hint = problem.hint;
                failure.body = Some(text.to_owned());
                failure
            }
            Err(_) => self.not_ours(status, text),
        };
        failure.status = Some(status.as_u16());
        // What a problem document says comes from the server and from no proxy, whatever its status.
        let is_gateway = matches!(status, StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT);
        if failure.hint.is_none() && !(is_gateway && is_ours) {
            failure.hint = self.hint_for(status, headers);
        }
        failure
    }

    /// A refusal that is not a problem document: from a proxy, or from something that is no Longshore server.
    fn not_ours(&self, status: StatusCode, text: &str) -> Failure {
        let value = serde_json::from_str::<serde_json::Value>(text).ok();
        let detail = value.as_ref().and_then(|v| v.get("detail").or_else(|| v.get("message"))?.as_str());
        let mut failure = match detail {
            Some(detail) => Failure::new(detail),
            None => Failure::new(
                self.language.say(words::ANSWERED_STATUS, &[&self.server(), &status.to_string()]),
            ),
        };
        failure.body = value.is_some().then(|| text.to_owned());
        failure
    }

    fn hint_for(&self, status: StatusCode, headers: &HeaderMap) -> Option<String> {
        match status {
            StatusCode::UNAUTHORIZED => Some(self.login_hint()),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                let wait = headers.get(header::RETRY_AFTER)?.to_str().ok()?;
                Some(self.language.say(words::RETRY_AFTER_HINT, &[wait]))
            }
            StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => {
                Some(self.language.pick(words::PROXY_HINT).to_owned())
            }
            _ => None,
        }
    }

    /// How to get a token that the server accepts.
    pub(crate) fn login_hint(&self) -> String {
        if environment::text("LONGSHORE_TOKEN").is_some() {
            return self.language.pick(words::TOKEN_VARIABLE_HINT).to_owned();
        }
        self.language.say(words::LOGIN_HINT, &[&self.server()])
    }

    pub(super) fn no_answer(&self) -> Failure {
        Failure::new(self.language.say(words::NO_ANSWER, &[&self.server()]))
            .hint(self.language.pick(words::NO_ANSWER_HINT))
    }

    /// No answer came, or it broke off.
    pub(crate) fn unreachable(&self, error: &reqwest::Error) -> Failure {
        if error.is_timeout() && !error.is_connect() {
            return self.no_answer();
        }
        let cause = root_cause(error);
        let message = self.language.say(words::UNREACHABLE, &[&self.server(), &cause]);
        let hint = if is_about_certificate(error) {
            words::CERTIFICATE_HINT
        } else if error.is_connect() || error.is_timeout() {
            words::UNREACHABLE_HINT
        } else {
            words::BROKEN_OFF_HINT
        };
        Failure::new(message).hint(self.language.say(hint, &[&self.server()]))
    }
}

/// Whether the server was reached and not believed.
fn is_about_certificate(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<rustls::Error>() {
            return true;
        }
        // An I/O error hides what it was made from.
        let inside = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        cause = match inside {
            Some(inside) => Some(inside),
            None => error.source(),
        };
    }
    false
}

/// What lies at the bottom of an error, in lower case as our messages are.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = cause.to_string();
    // "Connection refused (os error 111)": the number helps nobody.
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars.next().map(|first| first.to_lowercase().chain(chars).collect()).unwrap_or_default()
}

/// Facts of a problem that help a person: the field, everything that is refused, the step, the end of the log, what depends on
/// an image.
fn facts_of(problem: &Problem) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(field) = &problem.field {
        lines.push(format!("field: {field}"));
    }
    let violations = problem.extra.get("violations").and_then(serde_json::Value::as_array);
    for violation in violations.into_iter().flatten() {
        // Those of containers have no place; their sentence names them all.
        if let (Some(path), Some(message)) = (violation["path"].as_str(), violation["message"].as_str()) {
            lines.push(format!("- `{path}` {message}"));
        }
    }
    let text = |key: &str| problem.extra.get(key).and_then(serde_json::Value::as_str);
    if let Some(step) = text("step") {
        lines.push(format!("step: {step}"));
    }
    if let Some(log) = text("log_tail") {
        lines.extend(log.lines().map(str::to_owned));
    }
    let dependents = problem.extra.get("dependents").cloned();
    if let Some(dependents) =
        dependents.and_then(|value| serde_json::from_value::<wire::images::Dependents>(value).ok())
    {
        lines.extend(super::image::dependents_as_lines(&dependents));
    }
    if let Some(id) = &problem.request_id {
        lines.push(format!("request: {id}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_that_is_refused_is_listed() {
        let problem = |violations: serde_json::Value| -> Problem {
            let body = serde_json::json!({"type": "about:blank", "title": "x", "status": 422, "code": "x", "detail": "x", "violations": violations});
            serde_json::from_value(body).unwrap()
        };

        let manifest = problem(
            serde_json::json!([{"path": "spec.a", "message": "must go"}, {"path": "b", "message": "too"}]),
        );
        assert_eq!(facts_of(&manifest), ["- `spec.a` must go", "- `b` too"]);
        let container = problem(serde_json::json!([{"field": "privileged", "message": "no"}]));
        assert_eq!(facts_of(&container), Vec::<String>::new());
    }

    #[test]
    fn addresses_are_read_as_people_type_them() {
        let read = |text| parse_server(text).map(|url| show_server(&url));

        assert_eq!(read("127.0.0.1:8080").unwrap(), "http://127.0.0.1:8080");
        assert_eq!(read("longshore.example.org/").unwrap(), "https://longshore.example.org");
        assert_eq!(read("http://host/base/").unwrap(), "http://host/base");
        for text in ["", "ftp://host", "https://alice:hunter22@host", "https://host/?a=1", "https://"] {
            assert!(read(text).is_err(), "{text}");
        }
        assert!(!read("https://alice:hunter22@host").unwrap_err().contains("hunter22"));
    }

    #[test]
    fn only_this_machine_may_be_reached_in_the_clear_without_a_word() {
        let is_clear = |text| is_in_the_clear(&parse_server(text).unwrap());

        assert!(is_clear("http://192.0.2.1:8080"));
        assert!(!is_clear("http://127.0.0.1:8080"));
        assert!(!is_clear("http://[::1]:8080"));
        assert!(!is_clear("https://192.0.2.1"));
    }

    #[test]
    fn routes_are_escaped_and_kept_below_the_server() {
        let client = |text| Client::new(parse_server(text).unwrap(), None, None, Language::English).unwrap();
        rustls::crypto::ring::default_provider().install_default().ok();

        assert_eq!(client("http://host").url(&["api", "a/b?c"]).as_str(), "http://host/api/a%2Fb%3Fc");
        assert_eq!(client("http://host/base/").url(&["api"]).as_str(), "http://host/base/api");
    }
}
