//! `k8s-repo-create|update|list|show|sync|delete`: chart repositories as seed 004 has its people type them, usage text included;
//! also when the program is called `climc`. Read by hand, because the usage text is a contract.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use reqwest::{Method, RequestBuilder, StatusCode, Url};
use serde_json::{Map, Value, json};

use super::client::Answer;
use super::failure::{ExitWith, FAILED, Failure, USAGE};
use super::printer::Stream;
use super::session::Session;
use super::{Cli, Command, Global, client};

/// What all these commands begin with.
const PREFIX: &str = "k8s-repo-";
/// The other name of the program.
const OTHER_NAME: &str = "climc";

/// One command.
struct Verb {
    name: &'static str,
    usage: &'static str,
    help: &'static str,
    positionals: &'static [&'static str],
    /// Options with a value, and which values there are if not any.
    values: &'static [(&'static str, &'static [&'static str])],
    switches: &'static [&'static str],
}

const KINDS: &[&str] = &["internal", "external"];

const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        usage: "Usage: climc k8s-repo-create [--public] [--help] [--type {internal,external}] <NAME> <URL>",
        help: "Create repo

Positional arguments:
    <NAME>
        ID or name of the repo
    <URL>
        Repository url

Optional arguments:
    [--public]
        Make repostitory public
    [--help]
        Print usage and this help message and exit.
    [--type {internal,external}]
        Repository type
",
        positionals: &["NAME", "URL"],
        values: &[("type", KINDS)],
        switches: &["public"],
    },
    Verb {
        name: "update",
        usage: "Usage: climc k8s-repo-update [--url URL] [--help] [--name NAME] <NAME>",
        help: "Update repo

Positional arguments:
    <NAME>
        ID or name of the repo

Optional arguments:
    [--url URL]
        Repository url to change
    [--help]
        Print usage and this help message and exit.
    [--name NAME]
        Repository name to change
",
        positionals: &["NAME"],
        values: &[("url", &[]), ("name", &[])],
        switches: &[],
    },
    Verb {
        name: "list",
        usage: "Usage: climc k8s-repo-list [--offset OFFSET] [--order-by ORDER_BY] [--order {desc,asc}] [--details] [--search SEARCH] [--type {internal,external}] [--help] [--limit LIMIT]",
        help: "List repos

Optional arguments:
    [--offset OFFSET]
        Page offset
    [--order-by ORDER_BY]
        Name of the field to be ordered by
    [--order {desc,asc}]
        List order
    [--details]
        Show more details
    [--search SEARCH]
        Filter results by a simple keyword search
    [--type {internal,external}]
        Helm repostitory type
    [--help]
        Print usage and this help message and exit.
    [--limit LIMIT]
        Page limit
",
        positionals: &[],
        values: &[
            ("offset", &[]),
            ("order-by", &[]),
            ("order", &["desc", "asc"]),
            ("search", &[]),
            ("type", KINDS),
            ("limit", &[]),
        ],
        switches: &["details"],
    },
    Verb {
        name: "show",
        usage: "Usage: climc k8s-repo-show [--help] <NAME>",
        help: "Show details of a repo

Positional arguments:
    <NAME>
        ID or name of the repo

Optional arguments:
    [--help]
        Print usage and this help message and exit.
",
        positionals: &["NAME"],
        values: &[],
        switches: &[],
    },
    Verb {
        name: "sync",
        usage: "Usage: climc k8s-repo-sync [--help] <NAME>",
        help: "Sync repo

Positional arguments:
    <NAME>
        ID or name of the repo

Optional arguments:
    [--help]
        Print usage and this help message and exit.
",
        positionals: &["NAME"],
        values: &[],
        switches: &[],
    },
    Verb {
        name: "delete",
        usage: "Usage: climc k8s-repo-delete [--help] <NAME>",
        help: "Delete repo

Positional arguments:
    <NAME>
        ID or name of the repo

Optional arguments:
    [--help]
        Print usage and this help message and exit.
",
        positionals: &["NAME"],
        values: &[],
        switches: &[],
    },
];

/// One of these commands as it was typed.
#[derive(Debug)]
pub(crate) struct Invocation {
    /// The word, with its prefix; none when only help is wanted.
    word: Option<String>,
    rest: Vec<String>,
    is_debug: bool,
}

/// Takes a command line that is one of ours; none leaves it to the parser of all others.
pub(crate) fn intercept(arguments: impl Iterator<Item = std::ffi::OsString>) -> Option<Cli> {
    let arguments: Vec<String> =
        arguments.map(|argument| argument.into_string().ok()).collect::<Option<_>>()?;
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let is_other_name = Path::new(&program).file_name().is_some_and(|name| name == OTHER_NAME);
    let mut is_debug = false;
    let mut global = Global { server: None, json: false };
    let mut word = None;
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--debug" => is_debug = true,
            "--json" => global.json = true,
            "--server" => global.server = Some(client::parse_server(&arguments.next()?).ok()?),
            "--help" | "-h" | "help" if is_other_name => break,
            _ => {
                word = Some(argument);
                break;
            }
        }
    }
    let is_ours = word.as_ref().map_or(is_other_name, |word| word.starts_with(PREFIX));
    if !is_ours {
        return None;
    }
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--debug" => is_debug = true,
            "--json" => global.json = true,
            "--server" => global.server = Some(client::parse_server(&arguments.next()?).ok()?),
            _ => rest.push(argument),
        }
    }
    Some(Cli { global, command: Command::K8sRepo(Invocation { word, rest, is_debug }) })
}

/// What was typed, sorted.
#[derive(Default)]
struct Typed {
    positionals: Vec<String>,
    values: Map<String, Value>,
    switches: Vec<String>,
}

/// Runs a command. `open` finds the server and the token, which help does not need.
pub(crate) async fn run(
    invocation: Invocation,
    printer: &super::printer::Printer,
    open: impl FnOnce() -> anyhow::Result<Session>,
) -> anyhow::Result<()> {
    let say = |text: &str| printer.raw_to(Stream::Words, format!("{text}\n").as_bytes());
    let Some(word) = &invocation.word else {
        let verbs: Vec<String> = VERBS.iter().map(|verb| format!("    {PREFIX}{}", verb.name)).collect();
        let text = format!(
            "Usage: climc [--debug] [--help] <SUBCOMMAND> ...\n\nSubcommands:\n{}\n",
            verbs.join("\n")
        );
        return printer.raw(text.as_bytes());
    };
    let verb = VERBS.iter().find(|verb| word.strip_prefix(PREFIX) == Some(verb.name));
    let Some(verb) = verb else {
        say(&format!("No such command {word}"))?;
        return Err(ExitWith(USAGE).into());
    };
    if invocation.rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        return printer.raw(format!("{}\n\n{}", verb.usage, verb.help).as_bytes());
    }
    let typed = match sorted(verb, &invocation.rest) {
        Ok(typed) => typed,
        Err(wrong) => {
            say(&format!("{}\n\n{wrong}", verb.usage))?;
            return Err(ExitWith(USAGE).into());
        }
    };
    let session = open()?;
    let answer = ask(&session, request(&session, verb, &typed)?, invocation.is_debug).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    let value: Value = answer.view()?;
    if verb.name == "list" { show_list(&session, &value) } else { show_one(&session, &value) }
}

fn sorted(verb: &Verb, arguments: &[String]) -> Result<Typed, String> {
    let mut typed = Typed::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let Some(option) = argument.strip_prefix("--") else {
            if typed.positionals.len() == verb.positionals.len() {
                return Err(format!("Unknown arguments {argument}"));
            }
            typed.positionals.push(argument.clone());
            continue;
        };
        let (name, inline) =
            option.split_once('=').map_or((option, None), |(name, value)| (name, Some(value.to_owned())));
        if verb.switches.contains(&name) && inline.is_none() {
            typed.switches.push(name.to_owned());
        } else if let Some((_, choices)) = verb.values.iter().find(|(value, _)| *value == name) {
            let value = inline
                .or_else(|| arguments.next().cloned())
                .ok_or_else(|| format!("Missing argument for --{name}"))?;
            if !choices.is_empty() && !choices.contains(&value.as_str()) {
                return Err(format!(
                    "Unknown argument {value} for --{name}, choose from {{{}}}",
                    choices.join(",")
                ));
            }
            typed.values.insert(name.replace('-', "_"), Value::String(value));
        } else {
            return Err(format!("Unknown optional argument {argument}"));
        }
    }
    // An empty one names nothing: a script's variable was not set.
    let given = typed.positionals.iter().take_while(|text| !text.is_empty()).count();
    if given < verb.positionals.len() {
        let missing: Vec<String> = verb.positionals[given..].iter().map(|name| format!("<{name}>")).collect();
        return Err(format!("Not enough arguments, missing {}", missing.join(" ")));
    }
    Ok(typed)
}

fn request(session: &Session, verb: &Verb, typed: &Typed) -> anyhow::Result<RequestBuilder> {
    let name = typed.positionals.first().map(String::as_str).unwrap_or_default();
    let one = ["api", "repos", name];
    let client = &session.client;
    Ok(match verb.name {
        "create" => {
            let mut body = typed.values.clone();
            body.insert("name".to_owned(), json!(name));
            body.insert("url".to_owned(), json!(typed.positionals[1]));
            if typed.switches.iter().any(|switch| switch == "public") {
                body.insert("is_public".to_owned(), json!(true));
            }
            client.request(Method::POST, &["api", "repos"]).json(&body)
        }
        "update" => {
            if typed.values.is_empty() {
                return Err(Failure::usage("nothing to change: give --name or --url").into());
            }
            client.request(Method::PUT, &one).json(&typed.values)
        }
        "list" => {
            let mut query: Vec<(String, String)> = typed
                .values
                .iter()
                .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
                .collect();
            for (key, default) in [("limit", "20"), ("offset", "0")] {
                if !typed.values.contains_key(key) {
                    query.push((key.to_owned(), default.to_owned()));
                }
            }
            let details = typed.switches.iter().any(|switch| switch == "details");
            query.push(("details".to_owned(), details.to_string()));
            client.request(Method::GET, &["api", "repos"]).query(&query)
        }
        "show" => client.request(Method::GET, &one),
        "sync" => client.request(Method::POST, &["api", "repos", name, "sync"]).header("content-length", 0),
        _ => client.request(Method::DELETE, &one),
    })
}

/// Sends a request; with `is_debug` both sides of the exchange are shown, without secrets.
async fn ask(session: &Session, request: RequestBuilder, is_debug: bool) -> anyhow::Result<Answer> {
    let show =
        |text: String| session.printer.raw_to(Stream::Words, super::printer::printable(&text).as_bytes());
    if is_debug && let Some(sent) = request.try_clone().and_then(|request| request.build().ok()) {
        let mut text = format!("Request: {} {}\ncurl -X {}", sent.method(), sent.url(), sent.method());
        for (name, value) in sent.headers() {
            let is_secret = matches!(name.as_str(), "authorization" | "cookie");
            let value = if is_secret { "***" } else { value.to_str().unwrap_or("***") };
            write!(text, " -H '{name}: {value}'")?;
        }
        if let Some(body) = sent.body().and_then(reqwest::Body::as_bytes) {
            write!(text, " -d '{}'", masked(&String::from_utf8_lossy(body)))?;
        }
        writeln!(text, " '{}'", sent.url())?;
        show(text)?;
    }
    let (status, answer) = session.client.exchange(request).await?;
    if is_debug {
        let mut text = format!("Response: {status}\n");
        for (name, value) in &answer.headers {
            let value = if name == "set-cookie" { "***" } else { value.to_str().unwrap_or("***") };
            writeln!(text, "{name}: {value}")?;
        }
        text.push_str(&masked(&answer.text));
        text.push('\n');
        show(text)?;
    }
    if status.is_success() {
        return Ok(answer);
    }
    Err(refused(session, status, &answer).into())
}

/// JSON as it stands, without the secrets in it.
fn masked(text: &str) -> String {
    fn mask(value: &mut Value, found: &mut BTreeMap<String, String>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let is_secret = ["password", "token", "secret"].iter().any(|word| key.contains(word));
                    match value {
                        Value::String(text) if is_secret && !text.is_empty() => {
                            found.insert(json!(text).to_string(), json!("***").to_string());
                            *value = json!("***");
                        }
                        value => mask(value, found),
                    }
                }
            }
            Value::Array(items) => items.iter_mut().for_each(|item| mask(item, found)),
            Value::String(text) => {
                if let Some(url) = masked_url(text) {
                    found.insert(json!(text).to_string(), json!(url).to_string());
                    *value = json!(url);
                }
            }
            _ => {}
        }
    }
    let Ok(mut value) = serde_json::from_str::<Value>(text) else { return text.to_owned() };
    let mut secrets = BTreeMap::new();
    mask(&mut value, &mut secrets);
    let mut shown = text.to_owned();
    for (secret, mask) in secrets {
        if !shown.contains(&secret) {
            // It is written in another way than ours: better in another order than shown.
            return value.to_string();
        }
        shown = shown.replace(&secret, &mask);
    }
    shown
}

/// An address without the user and password in it; none when it has none.
fn masked_url(text: &str) -> Option<String> {
    let mut url = Url::parse(text).ok()?;
    if url.username().is_empty() && url.password().is_none() {
        return None;
    }
    url.set_password(None).ok()?;
    url.set_username("***").ok()?;
    Some(url.to_string())
}

fn refused(session: &Session, status: StatusCode, answer: &Answer) -> Failure {
    let value: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let message =
        value["details"].as_str().map_or_else(|| format!("the server answered {status}"), str::to_owned);
    let mut failure = Failure::new(message);
    failure.details =
        value["class"].as_str().map(|class| format!("{class} ({})", status.as_u16())).into_iter().collect();
    failure.body = (!value.is_null()).then(|| answer.text.clone());
    failure.status = Some(status.as_u16());
    failure.exit = FAILED;
    if status == StatusCode::UNAUTHORIZED {
        failure.hint = Some(session.client.login_hint());
    }
    failure
}

/// A value as it stands in a table.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn show_list(session: &Session, value: &Value) -> anyhow::Result<()> {
    let rows: Vec<[String; 7]> = value["data"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|repo| {
            ["id", "name", "url", "is_public", "status", "type", "owner"].map(|field| cell(&repo[field]))
        })
        .collect();
    session.printer.table(["ID", "Name", "Url", "Is_Public", "Status", "Type", "Owner"], &rows)?;
    let number = |field: &str| value[field].as_u64().unwrap_or(0);
    let (total, limit, offset) = (number("total"), number("limit").max(1), number("offset"));
    let (pages, page) = (total.div_ceil(limit), offset / limit + 1);
    session.printer.data(&format!(
        "***  Total: {total} Pages: {pages} Limit: {limit} Offset: {offset} Page: {page}  ***"
    ))
}

fn show_one(session: &Session, value: &Value) -> anyhow::Result<()> {
    let mut facts: Vec<(&str, Option<String>)> = Vec::new();
    let object = value.as_object().into_iter().flatten();
    for (field, value) in object.filter(|(field, value)| !value.is_null() && field.as_str() != "sync") {
        facts.push((field, Some(cell(value))));
    }
    let sync = value["sync"].as_object().into_iter().flatten();
    for (field, value) in sync.filter(|(_, value)| value.is_number() || value.is_boolean()) {
        facts.push((field, Some(cell(value))));
    }
    session.printer.facts(&facts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(words: &str) -> Option<(Option<String>, Vec<String>, bool, bool)> {
        let cli = intercept(words.split(' ').map(Into::into))?;
        let Command::K8sRepo(invocation) = cli.command else { return None };
        Some((invocation.word, invocation.rest, invocation.is_debug, cli.global.json))
    }

    #[test]
    fn only_its_own_commands_are_taken() {
        let create = Some("k8s-repo-create".to_owned());

        assert_eq!(typed("longshore image list"), None);
        assert_eq!(typed("longshore --json image list"), None);
        assert_eq!(typed("longshore --help"), None);
        assert_eq!(typed("/usr/bin/climc image list"), None);
        assert_eq!(typed("/usr/bin/climc --help"), Some((None, vec![], false, false)));
        assert_eq!(
            typed("climc --debug k8s-repo-create --type external a b --json"),
            Some((create, ["--type", "external", "a", "b"].map(str::to_owned).to_vec(), true, true))
        );
    }

    #[test]
    fn what_is_typed_wrongly_is_said_as_the_seed_says_it() {
        let wrong = |name: &str, words: &[&str]| {
            let verb = VERBS.iter().find(|verb| verb.name == name).unwrap();
            sorted(verb, &words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).err()
        };

        assert_eq!(wrong("sync", &[]).as_deref(), Some("Not enough arguments, missing <NAME>"));
        assert_eq!(wrong("create", &[]).as_deref(), Some("Not enough arguments, missing <NAME> <URL>"));
        assert_eq!(wrong("create", &["a"]).as_deref(), Some("Not enough arguments, missing <URL>"));
        assert_eq!(wrong("create", &["a", ""]).as_deref(), Some("Not enough arguments, missing <URL>"));
        assert_eq!(wrong("show", &[""]).as_deref(), Some("Not enough arguments, missing <NAME>"));
        assert!(wrong("create", &["--type", "odd", "a", "b"]).unwrap().contains("internal,external"));
        assert!(wrong("create", &["a", "b", "c"]).is_some());
        assert!(wrong("list", &["--limit"]).is_some());
        assert!(wrong("list", &["--nonsense"]).is_some());
        assert_eq!(wrong("list", &["--type=internal", "--details", "--limit", "5"]), None);
    }

    #[test]
    fn secrets_are_not_shown() {
        assert_eq!(
            masked(r#"{"url":"u", "list":[{"access_token":"y"}],"name":"","password":"x"}"#),
            r#"{"url":"u", "list":[{"access_token":"***"}],"name":"","password":"***"}"#
        );
        assert_eq!(
            masked(r#"{"b":"","password":"\u0078y","token":""}"#),
            r#"{"b":"","password":"***","token":""}"#
        );
        assert_eq!(
            masked(r#"{"name":"a","url":"http://u:geheim@127.0.0.1:1/good","other":"http://h/x"}"#),
            r#"{"name":"a","url":"http://***@127.0.0.1:1/good","other":"http://h/x"}"#
        );
        assert!(!masked(r#"{"details":"x","url":"https:\/\/geheim@h\/"}"#).contains("geheim"));
    }
}
