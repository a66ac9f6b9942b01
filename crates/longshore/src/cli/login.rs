//! `login`, `logout`, `register` and `whoami`.

use anyhow::Context as _;
use clap::Args;
use reqwest::Url;
use serde_json::json;
use wire::accounts::{AccountView, AuthParams, LoginView, RegistrationMode};
use wire::secret::Secret;

use super::client::{self, Client};
use super::credentials::{self, Credentials, Login};
use super::failure::Failure;
use super::password::{PasswordArgs, transformed};
use super::printer::Printer;
use super::session::Session;
use super::{Global, account, words};

/// Options of `login` and `register`.
#[derive(Args, Debug)]
pub(crate) struct LoginArgs {
    /// Address of the server, such as `https://longshore.example.org`
    #[arg(value_parser = client::parse_server)]
    url: Url,
    /// The account's name; asked for when absent
    #[arg(long, value_name = "NAME")]
    account: Option<String>,
    /// Recognise the server by this fingerprint of its own authority, which it prints when it starts
    #[arg(long, value_name = "HEX", env = "LONGSHORE_FINGERPRINT")]
    fingerprint: Option<String>,
    #[command(flatten)]
    password: PasswordArgs,
}

/// Options of `logout`.
#[derive(Args, Debug)]
pub(crate) struct LogoutArgs {
    /// Log out of every server
    #[arg(long)]
    all: bool,
}

/// The only way to turn a password into what is sent that this version knows.
const TRANSFORM: &str = "sha256-hex";

/// `longshore login`.
pub(crate) async fn login(args: LoginArgs, printer: &Printer) -> anyhow::Result<()> {
    let (client, _) = meet(&args.url, args.fingerprint, printer).await?;
    let account = account_name(args.account, printer)?;
    let password = args.password.read(printer)?;

    enter(&client, &account, &transformed(&password), printer).await
}

/// `longshore register`: makes the account and logs in, unless an admin has to approve it first.
pub(crate) async fn register(args: LoginArgs, printer: &Printer) -> anyhow::Result<()> {
    let (client, params) = meet(&args.url, args.fingerprint, printer).await?;
    if params.registration == RegistrationMode::Closed {
        let message = printer.language.say(words::REGISTRATION_CLOSED, &[&client.server()]);
        return Err(Failure::new(message).hint(printer.language.pick(words::ASK_ADMIN_HINT)).into());
    }
    let account = account_name(args.account, printer)?;
    let password = transformed(&args.password.read_new(printer)?);

    let body = json!({ "account": account, "password": password });
    client.post(&["api", "auth", "register"], &body).await?;

    if params.registration == RegistrationMode::Approval {
        printer.say(words::WAITS_FOR_APPROVAL, &[&account]);
        if printer.is_json {
            let facts = json!({ "account": account, "server": client.server(), "state": "pending" });
            printer.json(&facts.to_string())?;
        }
        return Ok(());
    }
    printer.say(words::REGISTERED, &[&account]);
    enter(&client, &account, &password, printer).await
}

/// `longshore logout`. The login is forgotten here even when the server cannot be told.
pub(crate) async fn logout(args: LogoutArgs, global: &Global, printer: &Printer) -> anyhow::Result<()> {
    let mut credentials = Credentials::load()?;
    let servers: Vec<String> = if args.all {
        credentials.servers.keys().cloned().collect()
    } else {
        vec![Client::from_settings(global.server.as_ref(), printer.language)?.server()]
    };

    let mut gone = Vec::new();
    for server in servers {
        let Some(login) = credentials.servers.remove(&server) else { continue };
        if credentials.current.as_ref() == Some(&server) {
            credentials.current = None;
        }
        credentials.save()?;
        let url = client::parse_server(&server).map_err(Failure::new)?;
        let client = Client::new(url, Some(login.token), login.fingerprint, printer.language)?;
        match client.post_empty(&["api", "auth", "logout"]).await {
            // A token that is no longer accepted needs no logout.
            Err(error) if Failure::of(&error).and_then(|failure| failure.status) != Some(401) => {
                printer.warn(words::LOGOUT_NOT_TOLD, &[&server, &error.to_string()]);
            }
            _ => {}
        }
        printer.say(words::LOGGED_OUT, &[&server]);
        gone.push(server);
    }
    if gone.is_empty() {
        printer.say(words::WAS_NOT_LOGGED_IN, &[]);
    }
    if printer.is_json {
        printer.json(&json!({ "logged_out": gone }).to_string())?;
    }
    Ok(())
}

/// `longshore whoami`.
pub(crate) async fn whoami(session: &Session) -> anyhow::Result<()> {
    let answer = session.client.get(&["api", "v1", "me"], &[]).await?;
    if session.shown_as_json(&answer)? {
        return Ok(());
    }
    account::show_facts(session, &answer.view()?)
}

/// Asks the server how it wants passwords; shows at the same time that it is one of ours, before anything secret is
/// sent to it.
async fn meet(
    url: &Url,
    fingerprint: Option<String>,
    printer: &Printer,
) -> anyhow::Result<(Client, AuthParams)> {
    let client = Client::new(url.clone(), None, fingerprint, printer.language)?;
    let answer = client.get(&["api", "auth", "params"], &[]).await?;
    let Ok(params) = answer.view::<AuthParams>() else {
        let message = printer.language.say(words::NOT_LONGSHORE, &[&client.server()]);
        return Err(Failure::new(message).hint(printer.language.pick(words::NOT_LONGSHORE_HINT)).into());
    };
    if params.password_transform != TRANSFORM {
        let message = format!("the server wants passwords as `{}`", params.password_transform);
        return Err(Failure::new(message).hint("use a newer `longshore` to log in there").into());
    }
    if client::is_in_the_clear(url) {
        printer.warn(words::IN_THE_CLEAR, &[&client.server()]);
    }
    Ok((client, params))
}

/// Logs in and keeps the token.
async fn enter(client: &Client, account: &str, password: &str, printer: &Printer) -> anyhow::Result<()> {
    let body = json!({ "account": account, "password": password });
    let answer = client.post(&["api", "auth", "login"], &body).await.map_err(wrong_login)?;
    let token = Secret::new(answer.view::<LoginView>()?.access_token);

    let server = client.server();
    let known = Client::new(
        client::parse_server(&server).map_err(Failure::new)?,
        Some(token.clone()),
        client.fingerprint().map(str::to_owned),
        printer.language,
    )?;
    // The server's spelling of the name, not the typed one.
    let me: AccountView = known.get(&["api", "v1", "me"], &[]).await?.view()?;

    let mut credentials = Credentials::load()?;
    let fingerprint = client.fingerprint().map(str::to_owned);
    let login = Login { account: me.account.to_string(), token, fingerprint };
    credentials.servers.insert(server.clone(), login);
    credentials.current = Some(server.clone());
    credentials.save().context("logged in, but the token could not be kept")?;

    printer.say(words::LOGGED_IN, &[&server, me.account.as_str()]);
    if printer.is_json {
        let file = credentials::file()?;
        // Never the token itself: output ends up in logs. `token create` makes one to pass on.
        let facts = json!({ "server": server, "account": me.account, "credentials_file": file });
        printer.json(&facts.to_string())?;
    }
    Ok(())
}

/// A refused login must not advise to log in.
fn wrong_login(error: anyhow::Error) -> anyhow::Error {
    match error.downcast::<Failure>() {
        Ok(mut failure) if failure.status == Some(401) => {
            failure.hint = None;
            failure.into()
        }
        Ok(failure) => failure.into(),
        Err(error) => error,
    }
}

fn account_name(given: Option<String>, printer: &Printer) -> anyhow::Result<String> {
    use std::io::IsTerminal as _;

    if let Some(account) = given {
        return Ok(account);
    }
    if !std::io::stdin().is_terminal() || !printer.is_stderr_terminal {
        let language = printer.language;
        return Err(Failure::usage(language.pick(words::NO_ACCOUNT))
            .hint(language.pick(words::ACCOUNT_HINT))
            .into());
    }
    Ok(dialoguer::Input::new().with_prompt(printer.language.pick(words::ACCOUNT)).interact_text()?)
}
