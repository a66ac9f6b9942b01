//! What all lists have in common: which page of them, and whose.

use clap::Args;
use serde::de::DeserializeOwned;
use wire::names::AccountName;
use wire::page::{MAX_LIMIT, Page};

use super::client::Answer;
use super::printer::Printer;
use super::words;

/// Which page of a list.
#[derive(Args, Clone, Debug)]
pub(crate) struct PageArgs {
    /// Rows at most
    #[arg(long, value_name = "ROWS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=MAX_LIMIT))]
    limit: u64,
    /// Rows to pass over
    #[arg(long, value_name = "ROWS", default_value_t = 0)]
    offset: u64,
}

/// Whose things a list shows.
#[derive(Args, Clone, Debug)]
pub(crate) struct WhoseArgs {
    /// Show another account's (admins only)
    #[arg(long, value_name = "NAME")]
    account: Option<AccountName>,
    /// Show every account's (admins only)
    #[arg(long, conflicts_with = "account")]
    all: bool,
}

impl PageArgs {
    /// The page as query parameters.
    pub(crate) fn query(&self) -> Vec<(&'static str, String)> {
        vec![("limit", self.limit.to_string()), ("offset", self.offset.to_string())]
    }
}

impl WhoseArgs {
    /// Page and owner as query parameters.
    pub(crate) fn query(&self, page: &PageArgs) -> Vec<(&'static str, String)> {
        let mut query = page.query();
        if let Some(account) = &self.account {
            query.push(("account", account.to_string()));
        }
        if self.all {
            query.push(("all", "true".to_owned()));
        }
        query
    }
}

/// Reads a page and says on stderr when there is more of the list.
pub(crate) fn page<T: DeserializeOwned>(printer: &Printer, answer: &Answer) -> anyhow::Result<Vec<T>> {
    let page: Page<T> = answer.view()?;
    let end = page.offset + page.data.len() as u64;
    if page.data.is_empty() && page.offset == 0 {
        printer.say(words::NOTHING_THERE, &[]);
    } else if end < page.total {
        printer.say(words::SHOWN_OF, &[&page.data.len().to_string(), &page.total.to_string()]);
        printer.hint(words::NEXT_PAGE_HINT, &[&end.to_string()]);
    }
    Ok(page.data)
}

/// Reads an id that nobody types by heart.
pub(crate) fn parse_id<T: std::str::FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("`{text}` is not an id: copy one from the list"))
}

/// The name of an enum's value as the server spells it.
pub(crate) fn name_of(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(text)) => text.replace('_', " "),
        _ => String::new(),
    }
}
