//! What comes in: names in any case, the row that is meant, filters and pages.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use axum::extract::{ConnectInfo, FromRequest, Request};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;
use serde_json::{Map, Value, json};
use store::PageOf;
use store::filtered::{By, Filter, Wanted};
use wire::git_repos::MASK;
use wire::page::MAX_LIMIT;
use wire::time::Timestamp;

use crate::app::App;
use crate::clients::git::GitUrl;
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Fields;

/// Rows of a page when only its number is given.
const PAGE_SIZE: u64 = 20;
/// Names that mean something else than a column.
const RESERVED: &[&str] = &["search", "ordering", "page", "page_size", "limit", "offset", "format"];

/// What a column holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    Text,
    Number,
    Time,
    /// A time as RFC 3339 has it, with microseconds.
    TimeIso,
    Status,
    /// An address, shown without the name and password in it.
    Url,
    /// What is sealed: it can be asked whether there is one, and never whether it is this one.
    Secret,
}

/// A column that can be filtered and ordered by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    /// Its name in the seed.
    pub(super) seed: &'static str,
    /// Its name in the store.
    pub(super) store: &'static str,
    /// What it holds.
    pub(super) kind: Kind,
}

/// A table of the seed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Table {
    /// Its columns.
    pub(super) columns: &'static [Column],
    /// Columns of the store that `search` looks through.
    pub(super) search: &'static [&'static str],
}

pub(super) const fn text(seed: &'static str, store: &'static str) -> Column {
    Column { seed, store, kind: Kind::Text }
}

/// Names and values of a request, whatever way they came.
#[derive(Debug)]
pub struct Input {
    /// By their names in lower case.
    values: BTreeMap<String, String>,
    /// `http://host/repo/`, for the addresses of other pages.
    address: String,
}

impl FromRequest<App> for Input {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self> {
        let address = address(app, &request);
        let fields = Fields::from_request(request, app).await?;
        let mut values = BTreeMap::new();
        for (name, value) in fields.into_values() {
            let lower = name.to_lowercase();
            let value = value.trim().to_owned();
            if values.insert(lower.clone(), value.clone()).is_some_and(|other| other != value) {
                return Err(Error::invalid(lower, format!("`{name}` is given twice")));
            }
        }
        Ok(Self { values, address })
    }
}

fn address(app: &App, request: &Request) -> String {
    let headers: &HeaderMap = request.headers();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip());
    let scheme = if app.tls.is_on() { "https" } else { crate::http::request::scheme(peer, headers, app) };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    format!("{scheme}://{host}{}/", request.uri().path().trim_end_matches('/'))
}

impl Input {
    /// A value, also an empty one.
    pub(super) fn given(&self, name: &str) -> Option<&str> {
        self.values.get(&name.to_lowercase()).map(String::as_str)
    }

    /// A value, as the domain takes it.
    pub(super) fn owned(&self, name: &str) -> Option<String> {
        self.given(name).map(str::to_owned)
    }

    /// A value that is there and not empty.
    pub(super) fn filled(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    /// A number that names a row.
    pub(super) fn id(&self) -> Result<Option<i64>> {
        self.filled("id").map(|text| number("id", text)).transpose()
    }

    /// Says of all fields at once what such clients expect to hear: which are missing, empty or too long.
    pub(super) fn check(&self, required: &[&str], lengths: &[(&str, usize)]) -> Result<()> {
        let mut errors = Map::new();
        for name in required {
            match self.given(name) {
                None => {
                    errors.insert((*name).to_owned(), json!(["This field is required."]));
                }
                Some("") => {
                    errors.insert((*name).to_owned(), json!(["This field may not be blank."]));
                }
                Some(_) => {}
            }
        }
        for (name, max) in lengths {
            if self.given(name).is_some_and(|value| value.chars().count() > *max) {
                let sentence = format!("Ensure this field has no more than {max} characters.");
                errors.insert((*name).to_owned(), json!([sentence]));
            }
        }
        wrong(errors)
    }

    /// What to list.
    pub(super) fn filter(&self, table: Table) -> Result<Filter> {
        let mut filter = Filter::default();
        for column in table.columns {
            let name = column.seed.to_lowercase();
            if RESERVED.contains(&name.as_str()) {
                continue;
            }
            let Some(value) = self.values.get(&name) else { continue };
            // An empty text is a value; an empty number or time is a field of a form that was left empty.
            if value.is_empty()
                && matches!(column.kind, Kind::Number | Kind::Time | Kind::TimeIso | Kind::Status)
            {
                continue;
            }
            let wanted = match column.kind {
                Kind::Text => Wanted::Text(value.clone()),
                Kind::Url => Wanted::Text(match value.parse::<GitUrl>() {
                    Ok(url) => url.as_str().to_owned(),
                    Err(_) => value.clone(),
                }),
                Kind::Secret => match value.as_str() {
                    "" => Wanted::Filled(false),
                    MASK => Wanted::Filled(true),
                    _ => Wanted::AnyOf(Vec::new()),
                },
                Kind::Number => Wanted::Number(number(column.seed, value)?),
                Kind::Time => {
                    let from = second(column.seed, value)?;
                    Wanted::Between(from, from.saturating_add(1_000_000))
                }
                Kind::TimeIso => Wanted::Number(microsecond(column.seed, value)?),
                Kind::Status => Wanted::AnyOf(match value.as_str() {
                    "1" | "queued" => vec!["queued"],
                    "2" | "running" => vec!["running"],
                    "3" | "succeeded" => vec!["succeeded"],
                    "4" => vec!["failed", "cancelled"],
                    "failed" => vec!["failed"],
                    "cancelled" => vec!["cancelled"],
                    _ => Vec::new(),
                }),
            };
            filter.wanted.push((column.store, wanted));
        }
        if let Some(text) = self.filled("search") {
            filter.search = Some((table.search, text.chars().take(200).collect()));
        }
        for name in self.filled("ordering").unwrap_or_default().split(',').take(10) {
            let (name, is_descending) = match name.trim().strip_prefix('-') {
                Some(name) => (name, true),
                None => (name.trim(), false),
            };
            let column = table.columns.iter().find(|column| {
                column.seed.eq_ignore_ascii_case(name) && !matches!(column.kind, Kind::Secret)
            });
            let by = column.map(|column| match column.kind {
                Kind::Status => By::Number(column.store, super::STATUSES),
                _ => By::Column(column.store),
            });
            filter.order.extend(by.map(|by| (by, is_descending)));
        }
        (filter.limit, filter.offset) = match self.page()? {
            None => (None, 0),
            Some(page) => (Some(page.limit), page.offset),
        };
        Ok(filter)
    }

    /// As such clients know it: a page that is no number is not found, and a size that is none counts as not given.
    fn page(&self) -> Result<Option<Page>> {
        let parsed = |text: &str| text.parse().ok().filter(|number: &u64| i64::try_from(*number).is_ok());
        let size = |name: &str| {
            let limit = self.filled(name).and_then(parsed).filter(|limit| *limit > 0);
            limit.unwrap_or(PAGE_SIZE).min(MAX_LIMIT)
        };
        if self.filled("page").is_some() || self.filled("page_size").is_some() {
            let number = self.filled("page").map_or(Some(1), parsed);
            let before = number.and_then(|number| number.checked_sub(1)).ok_or_else(invalid_page)?;
            let limit = size("page_size");
            return Ok(Some(Page { limit, offset: before.saturating_mul(limit), is_numbered: true }));
        }
        if self.filled("limit").is_some() || self.filled("offset").is_some() {
            let offset = self.filled("offset").and_then(parsed).unwrap_or(0);
            return Ok(Some(Page { limit: size("limit"), offset, is_numbered: false }));
        }
        Ok(None)
    }

    /// Rows as a bare array, or as the page that was asked for.
    pub(super) fn rows<R: Serialize>(&self, found: PageOf<R>) -> Result<Response> {
        let Some(page) = self.page()? else {
            return Ok(axum::Json(found.rows).into_response());
        };
        let is_beyond = page.is_numbered && page.offset > 0 && page.offset >= found.total;
        if is_beyond {
            return Err(invalid_page());
        }
        let next = page.offset.saturating_add(page.limit);
        let next = (next < found.total).then(|| self.address_of(&page, next));
        let previous =
            (page.offset > 0).then(|| self.address_of(&page, page.offset.saturating_sub(page.limit)));
        let body = json!({"count": found.total, "next": next, "previous": previous, "results": found.rows});
        Ok(axum::Json(body).into_response())
    }

    fn address_of(&self, page: &Page, offset: u64) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in &self.values {
            if !matches!(name.as_str(), "page" | "page_size" | "limit" | "offset") {
                query.append_pair(name, value);
            }
        }
        if page.is_numbered {
            query.append_pair("page", &(offset / page.limit + 1).to_string());
            query.append_pair("page_size", &page.limit.to_string());
        } else {
            query.append_pair("limit", &page.limit.to_string());
            query.append_pair("offset", &offset.to_string());
        }
        format!("{}?{}", self.address, query.finish())
    }
}

struct Page {
    limit: u64,
    offset: u64,
    is_numbered: bool,
}

fn invalid_page() -> Error {
    Error::new(ErrorKind::NotFound, "invalid_page", "Invalid page.")
}

/// 400 with these sentences, if there are any.
pub(super) fn wrong(errors: Map<String, Value>) -> Result<()> {
    let Some(field) = errors.keys().next().cloned() else { return Ok(()) };
    Err(Error::invalid(field, "a field is wrong").with("errors", errors))
}

/// 400 for one field.
pub(super) fn wrong_field(field: &str, sentence: impl Into<String>) -> Error {
    let errors = Map::from_iter([(field.to_owned(), json!([sentence.into()]))]);
    Error::invalid(field, "a field is wrong").with("errors", errors)
}

/// 400 because no row is named: never all of them.
pub(super) fn no_row() -> Error {
    wrong_field("id", "This field is required.")
}

/// A number in a path, or 404.
pub(super) fn path_id(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::not_found("row", text))
}

fn number(field: &str, text: &str) -> Result<i64> {
    text.parse().map_err(|_| wrong_field(field, "A valid integer is required."))
}

/// `%Y%m%d %H%M%S` in microseconds.
fn second(field: &str, text: &str) -> Result<i64> {
    let time = chrono::NaiveDateTime::parse_from_str(text, "%Y%m%d %H%M%S");
    time.map(|time| time.and_utc().timestamp_micros()).map_err(|_| {
        wrong_field(field, "Datetime has wrong format. Use this format instead: YYYYMMDD hhmmss.")
    })
}

/// RFC 3339 in microseconds.
fn microsecond(field: &str, text: &str) -> Result<i64> {
    text.parse().map(|time: Timestamp| time.0).map_err(|_| {
        wrong_field(
            field,
            "Datetime has wrong format. Use this format instead: YYYY-MM-DDThh:mm[:ss[.uuuuuu]][+HH:MM|-HH:MM|Z].",
        )
    })
}
