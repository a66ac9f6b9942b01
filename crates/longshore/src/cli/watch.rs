//! `longshore watch`: what happens, line by line.

use clap::Args;
use serde_json::Value;

use super::printer::one_line;
use super::session::Session;
use super::sse;

/// What to watch.
#[derive(Args, Debug)]
pub(crate) struct WatchArgs {
    /// Watch every account's containers (admins only)
    #[arg(long)]
    all: bool,
    /// Leave out what is there already
    #[arg(long, short)]
    new: bool,
}

/// Prints a line for each thing that is there, and then for each that changes, until it is interrupted.
pub(crate) async fn watch(session: &Session, args: &WatchArgs) -> anyhow::Result<()> {
    let printer = &session.printer;
    let query: Vec<_> = args.all.then(|| ("all", "true".to_owned())).into_iter().collect();
    let mut is_shown = !args.new;
    sse::follow(session, &["api", "v1", "events"], &query, |event| {
        if event.name == "listed" {
            is_shown = true;
        }
        if !is_shown || (event.name == "listed" && !printer.is_json) {
            return Ok(());
        }
        let data: Value = serde_json::from_str(&event.data)?;
        if printer.is_json {
            return printer.data(&serde_json::json!({ "event": event.name, "data": data }).to_string());
        }
        printer.data(&line(&event.name, &data))
    })
    .await
}

fn line(kind: &str, data: &Value) -> String {
    let text = |name: &str| data.get(name).map(shown).unwrap_or_default();
    if kind == "removed" {
        return one_line(&format!("{:<10} {} removed", text("kind"), text("id")));
    }
    let name = ["name", "image", "hostname"].into_iter().map(text).find(|text| !text.is_empty());
    let name = name.unwrap_or_else(|| text("id"));
    let more = ["message", "reason", "phase"].into_iter().map(text).find(|text| !text.is_empty());
    one_line(format!("{kind:<10} {name} {} {}", text("state"), more.unwrap_or_default()).trim_end())
}

/// A text as it is, a missing value not at all.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
