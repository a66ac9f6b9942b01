//! Reads requests: JSON bodies, queries, forms of any kind, and uploads, each with its bound and a plain error.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::Write as _;

use axum::body::{Body, Bytes};
use axum::extract::multipart::Field;
use axum::extract::{FromRequest, FromRequestParts, Multipart, Query, Request};
use axum::http::{HeaderMap, Method, header, request::Parts};
use futures::{Stream, StreamExt as _};
use percent_encoding::percent_decode;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::app::App;
use crate::blobs::{Upload, blocking};
use crate::caller::Caller;
use crate::error::{Error, ErrorKind, Result};

/// Longest JSON body or form (without its file) in bytes.
const MAX_BODY_BYTES: usize = 1 << 20;
/// Longest single field of a form in bytes.
const MAX_FIELD_BYTES: usize = 64 << 10;
/// Fields in a form.
const MAX_FIELDS: usize = 64;
/// Bytes gathered before they are written to disk.
const WRITE_BYTES: usize = 1 << 20;

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self> {
        let caller = parts.extensions.get::<Self>().cloned();
        caller.ok_or_else(|| Error::unauthenticated("unauthenticated", "log in first"))
    }
}

/// A JSON body.
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Error;

    async fn from_request(request: Request, _: &S) -> Result<Self> {
        if !is_json(request.headers()) {
            let detail = "the body must be JSON, with `Content-Type: application/json`";
            return Err(Error::new(ErrorKind::Malformed, "not_json", detail));
        }
        let bytes = read_all(request.into_body(), MAX_BODY_BYTES).await?;
        parse_json(&bytes).map(Self)
    }
}

/// Broken JSON is 400; JSON that says the wrong thing (unknown, missing or wrong fields) is 422.
fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A list would be taken for an object's values in order, without the names that a reader of the request relies on.
    if first_byte(bytes) == Some(b'[') {
        return Err(Error::new(ErrorKind::Invalid, "invalid", "the body must be a JSON object, not a list"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let read = serde_path_to_error::deserialize(&mut reader);
    read.map_err(|error| match not_json(bytes) {
        Some(refused) => refused,
        None if first_byte(bytes) != Some(b'{') => {
            Error::new(ErrorKind::Invalid, "invalid", "the body must be a JSON object")
        }
        None => wrong_value(&error.path().to_string(), &error.inner().to_string()),
    })
    .and_then(|value| match reader.end() {
        Ok(()) => Ok(value),
        Err(error) => Err(broken_json(&error)),
    })
}

fn first_byte(bytes: &[u8]) -> Option<u8> {
    bytes.iter().copied().find(|byte| !byte.is_ascii_whitespace())
}

/// What is wrong with a body that is no JSON at all; none where only what it says is wrong. The library calls some values of a wrong
/// type an error of the form, so that its own word for an error does not tell.
fn not_json(bytes: &[u8]) -> Option<Error> {
    match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str::<IgnoredAny>(text).err().map(|error| broken_json(&error)),
        Err(_) => {
            Some(Error::new(ErrorKind::Malformed, "not_json", "the body is not valid JSON: it is not UTF-8"))
        }
    }
}

fn broken_json(error: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Malformed, "not_json", format!("the body is not valid JSON: {error}"))
}

/// A value that does not fit, in words for people: `path` names it, `.` when it is the whole.
fn wrong_value(path: &str, message: &str) -> Error {
    let message = message.rsplit_once(" at line ").map_or(message, |(text, _)| text);
    let error = match (path, expected(message)) {
        ("" | ".", _) => Error::new(ErrorKind::Invalid, "invalid", message),
        (path, Some(what)) => Error::invalid(path, format!("`{path}` must be {what}")),
        (path, None) => Error::invalid(path, format!("`{path}` is not valid: {message}")),
    };
    // The library names a field that is missing or not known only in its words.
    let named = ["missing field `", "unknown field `"].iter().find_map(|words| message.strip_prefix(words));
    match named.and_then(|rest| rest.split('`').next()) {
        Some(name) => Error { field: Some(name.to_owned()), detail: message.to_owned(), ..error },
        None => error,
    }
}

/// What the library expected, without the names of its types.
fn expected(message: &str) -> Option<&'static str> {
    let (_, wanted) = message.rsplit_once("expected ")?;
    Some(match wanted.trim_end_matches(|c: char| !c.is_alphanumeric()) {
        "i8" | "i16" | "i32" | "i64" | "u8" | "u16" | "u32" | "u64" | "usize" => {
            "a whole number in its range"
        }
        "a string" | "string" | "str" => "text",
        "a boolean" | "bool" => "`true` or `false`",
        "a sequence" => "a list",
        "a map" => "an object",
        // What is said of a word of several, where something else than a text or an object stands.
        "value" => "one of the words that it takes",
        other if other.starts_with("struct ") => "an object",
        _ => return None,
    })
}

fn is_json(headers: &HeaderMap) -> bool {
    content_type(headers) == "application/json"
}

/// The kind of a request's body, without parameters, in lower case.
pub fn content_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// The query.
pub struct Params<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(value)| Self(value)).map_err(|rejection| {
            let text = rejection.body_text();
            let text = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            let error = match text.split_once(": ") {
                Some((name, _)) if !name.contains(' ') => Error::invalid(
                    name,
                    format!("`{name}` in the query does not have the form that it must have"),
                ),
                _ => Error::new(ErrorKind::Invalid, "invalid_query", text),
            };
            Error { code: "invalid_query", ..error }
        })
    }
}

/// A path's variables.
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        // A path that cannot be an id names nothing.
        path.map(|axum::extract::Path(value)| Self(value))
            .map_err(|_| Error::new(ErrorKind::NotFound, "not_found", "there is nothing at this address"))
    }
}

/// Writes a stream to an unnamed file, at most `limit` bytes of it.
pub async fn spool<E: std::fmt::Display>(
    app: &App,
    stream: impl Stream<Item = std::result::Result<Bytes, E>>,
    limit: u64,
) -> Result<Upload> {
    let blobs = app.blobs.clone();
    let mut file = blocking(move || blobs.scratch()).await?;
    let mut stream = std::pin::pin!(stream);
    let mut bytes = 0_u64;
    let mut pending: Vec<u8> = Vec::with_capacity(WRITE_BYTES);
    loop {
        let chunk = stream.next().await.transpose();
        let chunk = chunk.map_err(|e| {
            Error::new(ErrorKind::Malformed, "upload_broken", format!("the upload broke off: {e}"))
        })?;
        let is_end = chunk.is_none();
        if let Some(chunk) = chunk {
            bytes += chunk.len() as u64;
            if bytes > limit {
                return Err(too_large(limit));
            }
            pending.extend_from_slice(&chunk);
        }
        if pending.len() >= WRITE_BYTES || (is_end && !pending.is_empty()) {
            let full =
                std::mem::replace(&mut pending, Vec::with_capacity(if is_end { 0 } else { WRITE_BYTES }));
            file = blocking(move || file.write_all(&full).map(|()| file)).await?;
        }
        if is_end {
            return Ok(Upload { file, bytes });
        }
    }
}

/// 413 with the limit in words.
pub fn too_large(limit: u64) -> Error {
    let detail = format!("the file is larger than the {} MiB that this server takes", limit >> 20);
    Error::new(ErrorKind::TooLarge, "too_large", detail)
        .hint("leave out what the build does not need, with a `.dockerignore`")
}

/// Refuses a body at once when its sender announces more than the limit.
pub fn check_length(headers: &HeaderMap, limit: u64) -> Result<()> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|v| v.parse::<u64>().ok());
    // A multipart body is a little longer than its file.
    if announced.is_some_and(|bytes| bytes > limit.saturating_add(MAX_BODY_BYTES as u64)) {
        return Err(too_large(limit));
    }
    Ok(())
}

/// Reads a whole body, at most `limit` bytes of it.
pub(super) async fn read_all(body: Body, limit: usize) -> Result<Bytes> {
    axum::body::to_bytes(body, limit).await.map_err(|error| {
        let is_length = std::error::Error::source(&error)
            .is_some_and(<dyn std::error::Error>::is::<http_body_util::LengthLimitError>);
        if is_length {
            Error::new(
                ErrorKind::TooLarge,
                "too_large",
                format!("the body is larger than {} KiB", limit >> 10),
            )
        } else {
            Error::new(ErrorKind::Malformed, "body_broken", format!("the body broke off: {error}"))
        }
    })
}

/// Named values from wherever they come: query, JSON object, urlencoded form or multipart form. The seed routes take the same
/// names from all of them; a name that comes twice with two values is refused.
#[derive(Debug, Default)]
pub struct Fields {
    values: HashMap<String, String>,
    file: Option<Upload>,
    file_name: Option<String>,
}

impl Fields {
    /// A value that must be there.
    pub fn required(&self, name: &str) -> Result<&str> {
        match self.values.get(name).map(String::as_str) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(Error::invalid(name, format!("`{name}` is missing"))),
        }
    }

    /// A value that may be missing; an empty one counts as missing.
    pub fn optional(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Refuses every name but these, where a name that is not heard could be taken for one that was.
    pub fn only(&self, names: &[&str]) -> Result<()> {
        match self.values.keys().find(|name| !names.contains(&name.as_str())) {
            None => Ok(()),
            Some(name) => {
                let shown: String = name.chars().take(80).flat_map(char::escape_debug).collect();
                let expected = names.join("`, `");
                Err(Error::invalid(shown.clone(), format!("unknown field `{shown}`, expected `{expected}`")))
            }
        }
    }

    /// A number that may be missing.
    pub fn number(&self, name: &str) -> Result<Option<u64>> {
        self.optional(name)
            .map(|text| text.parse().map_err(|_| Error::invalid(name, format!("`{name}` is not a number"))))
            .transpose()
    }

    /// The name that the file that came along has where it comes from; not to be trusted.
    pub fn file_name(&self) -> Option<String> {
        self.file_name.clone()
    }

    /// Every name with its value.
    pub fn into_values(self) -> HashMap<String, String> {
        self.values
    }

    /// The file that came along.
    pub fn file(&mut self) -> Option<Upload> {
        self.file.take()
    }

    fn put(&mut self, name: String, value: String) -> Result<()> {
        if self.values.len() >= MAX_FIELDS || value.len() > MAX_FIELD_BYTES {
            return Err(Error::new(
                ErrorKind::TooLarge,
                "too_large",
                "the form has too many or too long fields",
            ));
        }
        // A name given twice could mean one thing to a check and another to the work, unless both say the same.
        match self.values.entry(name) {
            Entry::Vacant(entry) => {
                entry.insert(value);
                Ok(())
            }
            Entry::Occupied(entry) if *entry.get() == value => Ok(()),
            Entry::Occupied(entry) => {
                Err(Error::invalid(entry.key(), format!("`{}` is given twice", entry.key())))
            }
        }
    }
}

impl FromRequest<App> for Fields {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let mut fields = Self::default();
        let query = request.uri().query().unwrap_or_default().to_owned();
        // Also beside a body: a name in the address that nobody reads would look as if it had been heard.
        fields.put_pairs(query.as_bytes())?;
        if request.method() == Method::GET || request.method() == Method::HEAD {
            return Ok(fields);
        }
        match content_type(request.headers()).as_str() {
            "application/json" => {
                let bytes = read_all(request.into_body(), MAX_BODY_BYTES).await?;
                let object: serde_json::Map<String, serde_json::Value> = parse_json(&bytes)?;
                for (name, value) in object {
                    let text = match value {
                        serde_json::Value::Null => continue,
                        serde_json::Value::String(text) => text,
                        serde_json::Value::Number(number) => number.to_string(),
                        serde_json::Value::Bool(switch) => switch.to_string(),
                        _ => {
                            return Err(Error::invalid(
                                name.clone(),
                                format!("`{name}` must be text or a number"),
                            ));
                        }
                    };
                    fields.put(name, text)?;
                }
            }
            "application/x-www-form-urlencoded" => {
                let bytes = read_all(request.into_body(), MAX_BODY_BYTES).await?;
                fields.put_pairs(&bytes)?;
            }
            "multipart/form-data" => {
                let limit = app.config.uploads.max_bytes;
                check_length(request.headers(), limit)?;
                let multipart = Multipart::from_request(request, app).await;
                let mut multipart = multipart.map_err(|e| broken_form(&e.body_text()))?;
                while let Some(field) =
                    multipart.next_field().await.map_err(|e| broken_form(&e.body_text()))?
                {
                    fields.put_part(app, field, limit).await?;
                }
            }
            "" => {}
            _ => {
                let detail = "the body must be JSON, an urlencoded form or a multipart form";
                return Err(Error::new(ErrorKind::Malformed, "unknown_content_type", detail));
            }
        }
        Ok(fields)
    }
}

impl Fields {
    fn put_pairs(&mut self, text: &[u8]) -> Result<()> {
        for pair in text.split(|byte| *byte == b'&') {
            // Whoever reads it replaces what is not text; two passwords could become one.
            let is_text = percent_decode(pair).decode_utf8().is_ok();
            for (name, value) in form_urlencoded::parse(pair) {
                if !is_text {
                    return Err(Error::invalid(name.clone(), format!("`{name}` is not UTF-8 text")));
                }
                self.put(name.into_owned(), value.into_owned())?;
            }
        }
        Ok(())
    }

    async fn put_part(&mut self, app: &App, mut field: Field<'_>, limit: u64) -> Result<()> {
        let name = field.name().unwrap_or_default().to_owned();
        if let Some(file_name) = field.file_name() {
            self.file_name = Some(file_name.chars().take(255).collect());
            if self.file.is_some() {
                return Err(Error::invalid(name, "only one file can be uploaded at a time"));
            }
            self.file =
                Some(spool(app, futures::stream::poll_fn(move |cx| field.poll_next_unpin(cx)), limit).await?);
            return Ok(());
        }
        let mut text = Vec::new();
        while let Some(chunk) = field.chunk().await.map_err(|e| broken_form(&e.body_text()))? {
            text.extend_from_slice(&chunk);
            if text.len() > MAX_FIELD_BYTES {
                return Err(Error::new(
                    ErrorKind::TooLarge,
                    "too_large",
                    format!("the field `{name}` is too long"),
                ));
            }
        }
        let text = String::from_utf8(text)
            .map_err(|_| Error::invalid(name.clone(), format!("`{name}` is not UTF-8 text")))?;
        self.put(name, text)
    }
}

fn broken_form(detail: &str) -> Error {
    Error::new(ErrorKind::Malformed, "form_broken", format!("the form cannot be read: {detail}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only what is refused is looked at")]
    struct Sample {
        user_id: i64,
        color: Option<SampleColor>,
        ports: Option<Vec<SamplePort>>,
    }

    #[derive(Debug, serde::Deserialize)]
    #[expect(dead_code, reason = "only what is refused is looked at")]
    struct SamplePort {
        container: u16,
    }

    #[derive(Debug, serde::Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum SampleColor {
        Red,
        Blue,
    }

    #[test]
    fn what_is_wrong_with_a_body_is_said_in_plain_words() {
        let cases = [
            (r#"{"user_id":"2"}"#, "`user_id` must be a whole number in its range", Some("user_id")),
            (r#"{"user_id":1,"ports":["8000:80"]}"#, "`ports[0]` must be an object", Some("ports[0]")),
            (
                r#"{"user_id":1,"ports":[{"container":70000}]}"#,
                "`ports[0].container` must be a whole number in its range",
                Some("ports[0].container"),
            ),
            (r#"{"user_id":1,"ports":7}"#, "`ports` must be a list", Some("ports")),
            (r"{}", "missing field `user_id`", Some("user_id")),
            (
                r#"{"user_id":1,"role":2}"#,
                "unknown field `role`, expected one of `user_id`, `color`, `ports`",
                Some("role"),
            ),
            (r#"{"user_id":1,"color":5}"#, "`color` must be one of the words that it takes", Some("color")),
            (
                r#"{"user_id":1,"color":"green"}"#,
                "`color` is not valid: unknown variant `green`, expected `red` or `blue`",
                Some("color"),
            ),
            (r"[1]", "the body must be a JSON object, not a list", None),
            ("null", "the body must be a JSON object", None),
            (" 5", "the body must be a JSON object", None),
            (r#""x""#, "the body must be a JSON object", None),
            ("true", "the body must be a JSON object", None),
        ];
        for (body, detail, field) in cases {
            let error = parse_json::<Sample>(body.as_bytes()).unwrap_err();
            assert_eq!(
                (error.detail.as_str(), error.field.as_deref(), error.kind),
                (detail, field, ErrorKind::Invalid),
                "{body}"
            );
        }
        let broken: [&[u8]; 8] = [
            b"",
            b"{",
            b"{\"user_id\":1} x",
            b"{\"user_id\":\"2\"",
            b"{\"user_id\":1,\"color\":}",
            b"{\"user_id\":1,\"color\":\"\xff\"}",
            b"nonsense",
            b"5 x",
        ];
        for body in broken {
            let error = parse_json::<Sample>(body).unwrap_err();
            assert_eq!(
                (error.code, error.kind),
                ("not_json", ErrorKind::Malformed),
                "{}",
                body.escape_ascii()
            );
        }
        let map = parse_json::<serde_json::Map<String, serde_json::Value>>(b"null").unwrap_err();
        assert_eq!(map.detail, "the body must be a JSON object");
    }

    #[test]
    fn names_that_are_not_heard_are_refused_where_it_matters() {
        let mut fields = Fields::default();
        fields.put_pairs(b"username=alice&role=admin").unwrap();

        assert_eq!(fields.only(&["username", "password"]).unwrap_err().field.as_deref(), Some("role"));
        assert!(fields.only(&["username", "role"]).is_ok());
    }

    #[test]
    fn two_passwords_that_are_not_text_do_not_become_one() {
        for (form, field) in [
            (&b"username=alice&password=%FF%FFabc"[..], "password"),
            (b"password=%fe", "password"),
            (b"password=\xffabc&x=1", "password"),
            (b"a%C3=1", "a\u{fffd}"),
        ] {
            let error = Fields::default().put_pairs(form).unwrap_err();
            assert_eq!((error.kind, error.field.as_deref()), (ErrorKind::Invalid, Some(field)), "{form:?}");
        }
        let mut fields = Fields::default();
        fields.put_pairs("name=%E4%BA%8C+é&&empty=&sign=%26".as_bytes()).unwrap();
        assert_eq!(fields.required("name").unwrap(), "二 é");
        assert_eq!(fields.required("sign").unwrap(), "&");
    }

    #[test]
    fn a_name_given_twice_is_refused() {
        let mut fields = Fields::default();

        assert!(fields.put_pairs(b"username=alice&username=bob").is_err());
    }
}
