//! The registry's token server: who may do what to which repository, for at most a minute. And what the registry
//! reports.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{accounts, registry_events};
use subtle::ConstantTimeEq as _;
use utoipa::ToSchema;
use wire::accounts::{AccountState, Credentials};
use wire::ids::AccountId;
use wire::link::RegistryCredential;
use wire::names::{AccountName, ImageName};
use wire::secret::Secret;
use wire::time::Timestamp;

use super::chart_pushes;
use super::sessions::{self, TOKEN_PREFIX};
use crate::app::App;
use crate::caller::{Caller, Proof, RequestContext};
use crate::clients::registry::Repository;
use crate::clients::registry::access::{self, Access, Action, OWN_SUBJECT};
use crate::clients::registry::gate::PushKey;
use crate::error::{Error, ErrorKind, Result};
use crate::keys::REGISTRY_SERVICE;

/// Scopes in one request; a push that mounts from several repositories asks for a handful.
const MAX_SCOPES: usize = 32;
/// Longest scope in bytes.
const MAX_SCOPE_BYTES: usize = 512;
/// Longest repository name in a scope, as the registry has it.
const MAX_NAME_BYTES: usize = 255;
/// Longest password in bytes; engine credentials are the longest.
const MAX_SECRET_BYTES: usize = 8 << 10;
/// Seconds that an engine has for one pull.
const PULL_SECS: u64 = 3600;

/// Who asks for a token.
#[derive(Debug)]
pub enum Login {
    /// Nobody; gets a token for nothing.
    Anonymous,
    /// An account by name, with its password, an API token, or an engine's credential.
    Account {
        /// The account's name as given.
        name: String,
        /// What proves it.
        secret: Secret,
    },
}

/// A request for a token.
#[derive(Debug)]
pub struct TokenRequest {
    /// Who asks.
    pub login: Login,
    /// For which registry; ours when not given.
    pub service: Option<String>,
    /// For what, as given: each may hold several separated by blanks.
    pub scopes: Vec<String>,
}

/// A token for the registry.
#[derive(Debug, Serialize, ToSchema)]
pub struct RegistryToken {
    /// The token.
    pub token: String,
    /// The same again: OAuth2 calls it so.
    pub access_token: String,
    /// What it opens, which may be less than was asked for.
    pub scope: String,
    /// Seconds that it lives.
    pub expires_in: i64,
    /// Since when.
    pub issued_at: Timestamp,
}

/// What an engine's credential opens, besides being its account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct CredentialClaims {
    /// None: whatever the account may pull.
    scopes: Option<Vec<Access>>,
}

/// One thing that a client wants.
#[derive(Debug, PartialEq, Eq)]
struct Scope {
    repository: Repository,
    actions: Vec<Action>,
}

/// Answers a request for a token. A wrong password is an error; wanting more than one may have is not: the token then
/// opens less, and the registry refuses what it does not open.
pub async fn token(app: &App, context: &RequestContext, request: TokenRequest) -> Result<RegistryToken> {
    if let Some(service) = &request.service
        && service != REGISTRY_SERVICE
    {
        return Err(Error::new(
            ErrorKind::Malformed,
            "unknown_service",
            "this is the token server of another registry",
        ));
    }
    let scopes = parse_scopes(&request.scopes)?;
    let identified = match request.login {
        Login::Anonymous => None,
        Login::Account { name, secret } => Some(identify(app, context, &name, secret).await?),
    };
    let mut access = Vec::new();
    for scope in scopes {
        let public = public_access(app, identified.as_ref(), &scope).await?;
        let own = identified.as_ref().and_then(|(caller, limits)| granted(caller, limits.as_ref(), scope));
        access.extend(own.or(public));
    }
    let subject = identified.map(|(caller, _)| caller.name.to_string()).unwrap_or_default();
    let pushes: Vec<PushKey> = access
        .iter()
        .filter_map(Access::push_target)
        .map(|repository| PushKey { subject: subject.clone(), repository })
        .collect();
    if !pushes.is_empty() {
        app.registry.gate().give_push_token(&pushes).await?;
    }
    let now = app.now();
    let scope = access.iter().map(Access::scope).collect::<Vec<_>>().join(" ");
    let lifetime_secs = app.config.registry.token_secs;
    let token = access::sign(&app.keys, &subject, access, now.unix_secs(), lifetime_secs)?;
    let expires_in = i64::from(lifetime_secs);
    Ok(RegistryToken { access_token: token.clone(), token, scope, expires_in, issued_at: now })
}

/// What anybody gets of a scope: pulling charts that their account made public. What is given to engines opens what it says alone.
async fn public_access(
    app: &App,
    identified: Option<&(Caller, Option<CredentialClaims>)>,
    scope: &Scope,
) -> Result<Option<Access>> {
    let is_own = identified
        .is_some_and(|(caller, limits)| limits.is_some() || caller.may_pull(&scope.repository.owner));
    if is_own || !scope.actions.contains(&Action::Pull) {
        return Ok(None);
    }
    let is_public = chart_pushes::is_public(app, &scope.repository).await?;
    Ok(is_public.then(|| Access::new(&scope.repository, vec![Action::Pull])))
}

/// What of a scope the caller gets: what its account may do, narrowed by its credential.
fn granted(caller: &Caller, limits: Option<&CredentialClaims>, scope: Scope) -> Option<Access> {
    let owner = &scope.repository.owner;
    let may = |action: &Action| match action {
        Action::Pull => caller.may_pull(owner),
        Action::Push => caller.may_push(owner),
        Action::Delete => false,
    };
    let is_within = |action: &Action| match limits {
        None => true,
        Some(CredentialClaims { scopes: None }) => *action == Action::Pull,
        Some(CredentialClaims { scopes: Some(scopes) }) => {
            scopes.iter().any(|access| access.opens(&scope.repository, *action))
        }
    };
    let actions: Vec<Action> =
        scope.actions.into_iter().filter(|action| may(action) && is_within(action)).collect();
    (!actions.is_empty()).then(|| Access::new(&scope.repository, actions))
}

/// Reads scopes. What cannot be read opens nothing; too much of it is refused.
fn parse_scopes(given: &[String]) -> Result<Vec<Scope>> {
    let mut scopes: Vec<Scope> = Vec::new();
    for (count, text) in
        given.iter().flat_map(|text| text.split(' ')).filter(|text| !text.is_empty()).enumerate()
    {
        if count == MAX_SCOPES {
            let detail = format!("more than {MAX_SCOPES} scopes in one request");
            return Err(Error::new(ErrorKind::Malformed, "too_many_scopes", detail));
        }
        let Some(scope) = parse_scope(text) else { continue };
        match scopes.iter_mut().find(|other| other.repository == scope.repository) {
            None => scopes.push(scope),
            Some(other) => {
                for action in scope.actions {
                    if !other.actions.contains(&action) {
                        other.actions.push(action);
                    }
                }
            }
        }
    }
    Ok(scopes)
}

/// `repository:OWNER/REPO:ACTION,…`, with actions `pull` and `push`; other actions are passed over, other types and
/// names open nothing.
fn parse_scope(text: &str) -> Option<Scope> {
    if text.len() > MAX_SCOPE_BYTES {
        return None;
    }
    let (kind, rest) = text.split_once(':')?;
    let (name, actions) = rest.split_once(':')?;
    if kind != "repository" || name.len() > MAX_NAME_BYTES {
        return None;
    }
    let repository: Repository = name.parse().ok()?;
    let mut known = Vec::new();
    for action in actions.split(',') {
        let action = match action {
            "pull" => Action::Pull,
            "push" => Action::Push,
            _ => continue,
        };
        if !known.contains(&action) {
            known.push(action);
        }
    }
    Some(Scope { repository, actions: known })
}

/// The account behind a name and a password or an API token, for other clients that know only these. What is given to engines
/// opens the registry alone.
pub async fn caller_of_login(
    app: &App,
    context: &RequestContext,
    name: &str,
    secret: &Secret,
) -> Result<Caller> {
    match identify(app, context, name, secret.clone()).await? {
        (caller, None) => Ok(caller),
        (_, Some(_)) => Err(Error::unauthenticated("wrong_password", "wrong account, password or token")),
    }
}

/// Finds out who shows this name and secret. Everything wrong is one answer.
async fn identify(
    app: &App,
    context: &RequestContext,
    name: &str,
    secret: Secret,
) -> Result<(Caller, Option<CredentialClaims>)> {
    let wrong = || Error::unauthenticated("wrong_password", "wrong account, password or token");
    let Ok(account) = name.parse::<AccountName>() else {
        // Takes as long as a wrong password for an account.
        return Err(by_password(app, context, name, secret).await.err().unwrap_or_else(wrong));
    };
    if secret.expose().len() > MAX_SECRET_BYTES {
        return Err(wrong());
    }
    if secret.expose().starts_with(TOKEN_PREFIX) {
        let caller = sessions::caller_of_token(app, secret.expose()).await.map_err(plain)?;
        return if caller.name == account { Ok((caller, None)) } else { Err(wrong()) };
    }
    if looks_signed(secret.expose()) {
        // Never taken for a password: an engine that shows an old credential must not lock its account's owner out.
        let (caller, claims) = by_credential(app, secret.expose()).await?.ok_or_else(wrong)?;
        return if caller.name == account { Ok((caller, Some(claims))) } else { Err(wrong()) };
    }
    Ok((by_password(app, context, name, secret).await?, None))
}

/// Whether this is written like a JWT: no password is.
fn looks_signed(secret: &str) -> bool {
    secret.len() > 100
        && secret.starts_with("eyJ")
        && secret.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// At the registry there is one way to be wrong: clients know what to do with 401 only.
fn plain(error: Error) -> Error {
    match error.kind {
        ErrorKind::Unavailable | ErrorKind::Internal | ErrorKind::Full | ErrorKind::TooMany(_) => error,
        _ if matches!(error.code, "account_disabled" | "account_pending") => {
            Error::unauthenticated(error.code, error.detail)
        }
        _ => Error::unauthenticated("wrong_password", "wrong account, password or token"),
    }
}

async fn by_password(app: &App, context: &RequestContext, name: &str, secret: Secret) -> Result<Caller> {
    let key = Sha256::new()
        .chain_update("password\0")
        .chain_update(name)
        .chain_update("\0")
        .chain_update(secret.expose());
    let key: [u8; 32] = key.finalize().into();
    if let Some(caller) = app.callers.get(&key) {
        return Ok(caller);
    }
    let credentials = Credentials { account: name.to_owned(), password: secret };
    let account = sessions::check_password(app, context, &credentials).await.map_err(plain)?;
    let caller = caller_of(account, Proof::Password);
    app.callers.put(key, caller.clone());
    Ok(caller)
}

async fn by_credential(app: &App, secret: &str) -> Result<Option<(Caller, CredentialClaims)>> {
    let Some(verified) = app.keys.credential.verify::<CredentialClaims>(secret, app.now().unix_secs()) else {
        return Ok(None);
    };
    let key: [u8; 32] = Sha256::digest(secret).into();
    if let Some(caller) = app.callers.get(&key) {
        return Ok(Some((caller, verified.claims)));
    }
    let Ok(id) = verified.subject.parse::<AccountId>() else { return Ok(None) };
    let account = accounts::get(&app.db, id).await?;
    let Some(account) = account.filter(|account| account.state == AccountState::Active) else {
        return Ok(None);
    };
    let caller = caller_of(account, Proof::Job);
    app.callers.put(key, caller.clone());
    Ok(Some((caller, verified.claims)))
}

fn caller_of(account: accounts::Row, proof: Proof) -> Caller {
    Caller {
        account: account.id,
        name: account.account,
        role: account.role,
        proof,
        ip: None,
        request_id: None,
    }
}

/// What an engine shows to pull from one repository (`owner/repo`), in the name of an account.
pub fn pull_credential(
    app: &App,
    account: AccountId,
    name: &AccountName,
    repository: &str,
) -> Result<RegistryCredential> {
    let repository: Repository = repository.parse()?;
    let scopes = vec![Access::new(&repository, vec![Action::Pull])];
    credential(app, account, name, CredentialClaims { scopes: Some(scopes) }, PULL_SECS)
}

/// What an engine shows while it builds: whatever the account may pull, and nothing to push.
pub fn build_credential(
    app: &App,
    account: AccountId,
    name: &AccountName,
    secs: u64,
) -> Result<RegistryCredential> {
    credential(app, account, name, CredentialClaims { scopes: None }, secs)
}

/// What an engine shows to push into the repository of one image.
pub fn push_credential(
    app: &App,
    account: AccountId,
    name: &AccountName,
    image: &ImageName,
    secs: u64,
) -> Result<RegistryCredential> {
    let scopes = vec![Access::new(&Repository::from(image), vec![Action::Pull, Action::Push])];
    credential(app, account, name, CredentialClaims { scopes: Some(scopes) }, secs)
}

fn credential(
    app: &App,
    account: AccountId,
    name: &AccountName,
    claims: CredentialClaims,
    secs: u64,
) -> Result<RegistryCredential> {
    let lifetime_secs = i64::try_from(secs).unwrap_or(i64::MAX).clamp(1, 24 * 3600);
    let password =
        app.keys.credential.sign(&account.to_string(), claims, app.now().unix_secs(), lifetime_secs)?;
    Ok(RegistryCredential { username: name.to_string(), password: Secret::new(password) })
}

#[derive(Deserialize)]
struct Envelope {
    events: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct RawEvent {
    id: String,
    timestamp: Timestamp,
    action: String,
    target: RawTarget,
    #[serde(default)]
    actor: RawActor,
}

#[derive(Deserialize)]
struct RawTarget {
    repository: String,
    tag: Option<String>,
    digest: Option<String>,
    size: Option<u64>,
}

#[derive(Default, Deserialize)]
struct RawActor {
    name: Option<String>,
}

/// Whether this is the secret that the registry's reports carry.
pub fn is_events_secret(app: &App, shown: &str) -> bool {
    app.keys.registry_events.expose().as_bytes().ct_eq(shown.as_bytes()).into()
}

/// Records what the registry reports. What is reported again is recorded once; what cannot be read is passed over,
/// since the registry would send it for ever.
pub async fn record_events(app: &App, body: &[u8]) -> Result<()> {
    let envelope: Envelope = serde_json::from_slice(body).map_err(|error| {
        Error::new(ErrorKind::Malformed, "not_json", format!("the events cannot be read: {error}"))
    })?;
    let mut events = Vec::with_capacity(envelope.events.len().min(1024));
    for event in envelope.events {
        match event_row(event) {
            // What we ask the registry ourselves, to verify an image, is no news.
            Ok(row) if row.actor.as_deref() == Some(OWN_SUBJECT) && row.action == "pull" => {}
            Ok(row) => events.push(row),
            Err(error) => tracing::warn!(%error, "the registry reported something that cannot be read"),
        }
    }
    if !events.is_empty() {
        registry_events::insert_many(&app.db, &events).await?;
    }
    Ok(())
}

fn event_row(event: serde_json::Value) -> Result<registry_events::New, String> {
    let event: RawEvent = serde_json::from_value(event).map_err(|error| error.to_string())?;
    let fits = |name: &str, text: &str, most: usize| {
        if text.len() <= most { Ok(()) } else { Err(format!("its `{name}` has {} bytes", text.len())) }
    };
    fits("id", &event.id, 100)?;
    fits("action", &event.action, 50)?;
    fits("repository", &event.target.repository, MAX_NAME_BYTES)?;
    fits("tag", event.target.tag.as_deref().unwrap_or_default(), 128)?;
    fits("digest", event.target.digest.as_deref().unwrap_or_default(), 71)?;
    fits("actor", event.actor.name.as_deref().unwrap_or_default(), 100)?;
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    Ok(registry_events::New {
        at: event.timestamp,
        event_id: event.id,
        action: event.action,
        repository: event.target.repository,
        tag: text(event.target.tag),
        digest: text(event.target.digest),
        actor: text(event.actor.name),
        size_bytes: event.target.size,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(text: &str) -> Option<Scope> {
        parse_scope(text)
    }

    #[test]
    fn a_scope_names_one_repository_and_its_actions() {
        let parsed = scope("repository:alice/app:pull,push").unwrap();

        assert_eq!(parsed.repository.to_string(), "alice/app");
        assert_eq!(parsed.actions, [Action::Pull, Action::Push]);
    }

    #[test]
    fn names_that_are_not_exactly_an_owner_and_a_repository_open_nothing() {
        let long = format!("repository:alice/{}:pull", "a".repeat(300));
        for text in [
            "repository:alice/../bob:pull",
            "repository:Alice/app:pull",
            "repository:alice:pull",
            "repository:alice/:pull",
            "repository:/app:pull",
            "repository:alice/*:pull",
            "repository:*:pull",
            "repository:*/*:pull",
            "repository:alice/app/more:pull",
            "repository:alice%2fapp:pull",
            "repository:alice/app\0:pull",
            "repository:alice/app",
            "repository::pull",
            "repository(plugin):alice/app:pull",
            "Repository:alice/app:pull",
            "registry:catalog:*",
            "alice/app:pull",
            ":::",
            long.as_str(),
        ] {
            assert_eq!(scope(text), None, "{text}");
        }
    }

    #[test]
    fn actions_are_enumerated_and_others_are_passed_over() {
        for text in ["*", "delete", "PULL", "pull ", "", "pull*", "push:pull", "pull;push"] {
            let actions = scope(&format!("repository:alice/app:{text}")).map(|scope| scope.actions);
            assert!(actions.is_none_or(|actions| actions.is_empty()), "{text}");
        }
        assert_eq!(scope("repository:alice/app:pull,*,delete").unwrap().actions, [Action::Pull]);
    }

    #[test]
    fn scopes_may_come_several_at_a_time_but_not_without_end() {
        let given =
            ["repository:a/x:pull repository:a/y:push".to_owned(), "repository:a/x:push,pull".to_owned()];

        let scopes = parse_scopes(&given).unwrap();

        assert_eq!(scopes.len(), 2);
        assert_eq!(scopes[0].actions, [Action::Pull, Action::Push]);
        assert!(parse_scopes(&vec!["repository:a/x:pull".to_owned(); 10_000]).is_err());
        assert!(parse_scopes(&["repository:a/x:pull ".repeat(10_000)]).is_err());
    }

    #[test]
    fn only_what_the_account_may_do_is_granted() {
        let caller = |name: &str, role| Caller {
            account: AccountId(1),
            name: name.parse().unwrap(),
            role,
            proof: Proof::Password,
            ip: None,
            request_id: None,
        };
        let asked = |text: &str| scope(text).unwrap();
        let user = caller("alice", wire::accounts::Role::User);
        let admin = caller("admin", wire::accounts::Role::Admin);
        let pull = |name: &str| Some(Access::new(&name.parse().unwrap(), vec![Action::Pull]));
        let both = |name: &str| Some(Access::new(&name.parse().unwrap(), vec![Action::Pull, Action::Push]));

        assert_eq!(granted(&user, None, asked("repository:alice/app:pull,push")), both("alice/app"));
        assert_eq!(granted(&user, None, asked("repository:public/app:pull,push")), pull("public/app"));
        assert_eq!(granted(&user, None, asked("repository:alicex/app:pull,push")), None);
        assert_eq!(granted(&user, None, asked("repository:alic/app:pull,push")), None);
        assert_eq!(granted(&admin, None, asked("repository:public/app:pull,push")), both("public/app"));
        let only = CredentialClaims {
            scopes: Some(vec![Access::new(&"alice/app".parse().unwrap(), vec![Action::Pull])]),
        };
        assert_eq!(granted(&user, Some(&only), asked("repository:alice/app:pull,push")), pull("alice/app"));
        assert_eq!(granted(&user, Some(&only), asked("repository:alice/app2:pull")), None);
        let foreign = CredentialClaims {
            scopes: Some(vec![Access::new(&"bob/app".parse().unwrap(), vec![Action::Pull])]),
        };
        assert_eq!(
            granted(&user, Some(&foreign), asked("repository:bob/app:pull")),
            None,
            "a credential only narrows"
        );
        let building = CredentialClaims { scopes: None };
        assert_eq!(
            granted(&user, Some(&building), asked("repository:alice/app:pull,push")),
            pull("alice/app")
        );
    }
}
