//! Logins, and finding out who a token belongs to.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use store::{accounts, sessions, tokens};
use wire::accounts::{AccountState, Credentials, LoginView};
use wire::ids::{AccountId, SessionId};
use wire::names::AccountName;

use crate::app::App;
use crate::caller::{Caller, Proof, RequestContext};
use crate::error::{Error, ErrorKind, Result};

/// What every API token begins with.
pub const TOKEN_PREFIX: &str = "ls_";
/// A token's last use is stored at most this often, in microseconds.
const TOUCH_MICROS: i64 = 60_000_000;

/// The claims of a session's JWT besides the registered ones.
#[derive(Debug, Serialize, Deserialize)]
struct SessionClaims {
    sid: SessionId,
    account: AccountName,
}

/// Logs in. 404 for an unknown account, 401 for a wrong password, both after the same work; 429 after too many wrong
/// passwords for one account or from one address.
pub async fn login(app: &App, context: &RequestContext, credentials: &Credentials) -> Result<LoginView> {
    let account = check_password(app, context, credentials).await?;
    let now = app.now();
    let session = sessions::Row {
        id: SessionId(uuid::Uuid::now_v7()),
        account_id: account.id,
        logged_in_at: now,
        expires_at: now.plus_secs(i64::from(app.config.auth.session_hours) * 3600),
    };
    let claims = SessionClaims { sid: session.id, account: account.account.clone() };
    let lifetime_secs = session.expires_at.unix_secs() - now.unix_secs();
    let access_token =
        app.keys.session.sign(&account.id.to_string(), claims, now.unix_secs(), lifetime_secs)?;
    sessions::insert(&app.db, &session).await?;
    Ok(LoginView { access_token })
}

/// The account behind a name and password, with the limits of a login. Also the registry's way in.
pub async fn check_password(
    app: &App,
    context: &RequestContext,
    credentials: &Credentials,
) -> Result<accounts::Row> {
    let now = app.now().0;
    // What cannot be an account's name is treated like one that does not exist, and limited under its own spelling.
    let name = credentials.account.parse::<AccountName>().ok();
    let key: String = match &name {
        Some(name) => name.as_str().to_owned(),
        None => credentials.account.chars().take(64).collect(),
    };
    let too_many = |seconds| {
        Error::new(ErrorKind::TooMany(seconds), "too_many_logins", "too many wrong passwords")
            .hint(format!("try again in {seconds} seconds"))
    };
    if let Some(ip) = context.ip {
        app.limits.login_address.take(&ip, now).map_err(too_many)?;
    }
    if let Err(seconds) = app.limits.login_account.take(&key, now) {
        if let Some(ip) = context.ip {
            app.limits.login_address.give_back(&ip);
        }
        return Err(too_many(seconds));
    }
    let account = match &name {
        Some(name) => accounts::by_name(&app.db, name).await?,
        None => None,
    };
    let stored = account.as_ref().map(|account| account.password_hash.as_str());
    let is_right = app.passwords.verify(&credentials.password, stored).await?;
    let wrong = || Error::unauthenticated("wrong_password", "the password is wrong");
    let Some(account) = account else {
        if app.config.auth.hide_unknown {
            return Err(wrong());
        }
        let shown: String = key.escape_debug().collect();
        return Err(Error::new(
            ErrorKind::NotFound,
            "no_such_account",
            format!("there is no account `{shown}`"),
        )
        .hint("check the spelling, or register"));
    };
    if !is_right {
        return Err(wrong());
    }
    app.limits.login_account.give_back(&key);
    if let Some(ip) = context.ip {
        app.limits.login_address.give_back(&ip);
    }
    check_state(&account)?;
    Ok(account)
}

fn check_state(account: &accounts::Row) -> Result<()> {
    match account.state {
        AccountState::Active => Ok(()),
        AccountState::Pending => {
            Err(Error::forbidden("account_pending", "this account waits for an admin's approval"))
        }
        AccountState::Disabled => {
            Err(Error::forbidden("account_disabled", "this account was disabled by an admin"))
        }
    }
}

/// Ends the caller's own session; without effect for an API token.
pub async fn logout(app: &App, caller: &Caller) -> Result<()> {
    if let Proof::Session { id, .. } = caller.proof {
        sessions::delete(&app.db, id).await?;
        app.callers.forget(caller.account);
    }
    Ok(())
}

/// Who a token (JWT or `ls_…`) belongs to. The answer is remembered for a second.
pub async fn caller_of_token(app: &App, token: &str) -> Result<Caller> {
    let key: [u8; 32] = Sha256::digest(token).into();
    if let Some(caller) = app.callers.get(&key) {
        return Ok(caller);
    }
    let (account, proof) = if token.starts_with(TOKEN_PREFIX) {
        of_api_token(app, &key).await?
    } else {
        of_session(app, token).await?
    };
    let account = accounts::get(&app.db, account).await?.ok_or_else(refused)?;
    if account.state != AccountState::Active {
        return Err(Error::unauthenticated("account_disabled", "this account cannot be used at the moment"));
    }
    let caller = Caller {
        account: account.id,
        name: account.account,
        role: account.role,
        proof,
        ip: None,
        request_id: None,
    };
    app.callers.put(key, caller.clone());
    Ok(caller)
}

/// The caller as it is now, for work that goes on after its request was let in; none when its session, its token or its
/// account cannot be used any more.
pub async fn still(app: &App, caller: &Caller) -> Result<Option<Caller>> {
    let now = app.now();
    let has_proof = match caller.proof {
        Proof::Session { id, .. } => {
            sessions::get(&app.db, id).await?.is_some_and(|session| session.expires_at > now)
        }
        Proof::Token(id) => {
            let token = tokens::get(&app.db, id).await?;
            token.is_some_and(|token| token.expires_at.is_none_or(|end| end > now))
        }
        Proof::Password | Proof::Job => true,
    };
    if !has_proof {
        return Ok(None);
    }
    let account =
        accounts::get(&app.db, caller.account).await?.filter(|account| account.state == AccountState::Active);
    Ok(account.map(|account| Caller { role: account.role, ..caller.clone() }))
}

/// Whether work that goes on for an account may still go on for the caller. A database that is busy for a moment ends nothing.
pub(super) async fn may_still_act_for(app: &App, caller: &Caller, account: AccountId) -> bool {
    match still(app, caller).await {
        Ok(Some(caller)) => caller.may_act_for(account),
        Ok(None) => false,
        Err(_) => true,
    }
}

fn refused() -> Error {
    Error::unauthenticated("bad_token", "the token is not valid or has ended").hint("log in again")
}

async fn of_api_token(app: &App, key: &[u8; 32]) -> Result<(AccountId, Proof)> {
    let row = tokens::by_secret_hash(&app.db, &hex::encode(key)).await?.ok_or_else(refused)?;
    let now = app.now();
    if row.expires_at.is_some_and(|end| end <= now) {
        return Err(refused());
    }
    if row.last_used_at.is_none_or(|last| now.0 - last.0 > TOUCH_MICROS) {
        // Only a note for people: a busy database must not refuse the request because of it.
        if let Err(error) = tokens::touch(&app.db, row.id, now).await {
            tracing::debug!(%error, "cannot store a token's last use");
        }
    }
    Ok((row.account_id, Proof::Token(row.id)))
}

async fn of_session(app: &App, token: &str) -> Result<(AccountId, Proof)> {
    let now = app.now();
    let verified = app.keys.session.verify::<SessionClaims>(token, now.unix_secs()).ok_or_else(refused)?;
    let row = sessions::get(&app.db, verified.claims.sid).await?.ok_or_else(refused)?;
    if row.account_id.to_string() != verified.subject || row.expires_at <= now {
        return Err(refused());
    }
    Ok((row.account_id, Proof::Session { id: row.id, logged_in_at: row.logged_in_at.unix_secs() }))
}
