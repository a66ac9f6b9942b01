//! API tokens: 256 random bits, of which only the SHA-256 is stored. That is enough: nothing can be guessed.

use sha2::{Digest as _, Sha256};
use store::{accounts, tokens};
use wire::accounts::{TokenCreate, TokenCreated, TokenView};
use wire::ids::TokenId;
use wire::page::{Page, PageQuery};

use super::audit::{self, Event};
use super::sessions::TOKEN_PREFIX;
use crate::app::App;
use crate::caller::Caller;
use crate::error::{Error, Result};
use crate::jwt;

/// Longest life of a token in seconds: ten years.
const MAX_LIFETIME_SECS: u64 = 10 * 365 * 24 * 3600;
/// Tokens per account.
const MAX_TOKENS: u64 = 200;

/// Makes a token for the caller.
pub async fn create(app: &App, caller: &Caller, new: &TokenCreate) -> Result<TokenCreated> {
    let name = new.name.trim();
    if name.is_empty() || name.chars().count() > 100 || name.chars().any(char::is_control) {
        return Err(Error::invalid("name", "a token's name has 1 to 100 characters"));
    }
    let lifetime_secs = match new.expires_in {
        Some(secs) if secs == 0 || secs > MAX_LIFETIME_SECS => {
            return Err(Error::invalid(
                "expires_in",
                format!("`expires_in` is 1 to {MAX_LIFETIME_SECS} seconds"),
            ));
        }
        other => other.and_then(|secs| i64::try_from(secs).ok()),
    };
    let secret = format!("{TOKEN_PREFIX}{}", jwt::random_text(&app.random)?);
    let now = app.now();
    let row = tokens::Row {
        id: TokenId(uuid::Uuid::now_v7()),
        account_id: caller.account,
        name: name.to_owned(),
        secret_hash: hex::encode(Sha256::digest(&secret)),
        created_at: now,
        expires_at: lifetime_secs.map(|secs| now.plus_secs(secs)),
        last_used_at: None,
    };
    let page = PageQuery { limit: Some(0), offset: None };
    let tx = app.db.begin().await?;
    // Several may be made at once.
    accounts::locked(&tx, caller.account).await?;
    if tokens::list(&tx, caller.account, page).await?.total >= MAX_TOKENS {
        return Err(Error::conflict(
            "too_many_tokens",
            format!("an account has at most {MAX_TOKENS} tokens"),
        )
        .hint("delete those that are not used: `longshore token list`"));
    }
    tokens::insert(&tx, &row).await?;
    let target = row.id.to_string();
    audit::record(app, caller, &tx, Event { action: "token.create", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    Ok(TokenCreated { id: row.id, name: row.name, token: secret, expires_at: row.expires_at })
}

/// Lists the caller's tokens.
pub async fn list(app: &App, caller: &Caller, page: PageQuery) -> Result<Page<TokenView>> {
    let found = tokens::list(&app.db, caller.account, page).await?;
    Ok(super::page_of(found, page, |row| TokenView {
        id: row.id,
        name: row.name,
        created_at: row.created_at,
        expires_at: row.expires_at,
        last_used_at: row.last_used_at,
    }))
}

/// Deletes one of the caller's tokens; it is refused from now on.
pub async fn delete(app: &App, caller: &Caller, id: TokenId) -> Result<()> {
    let tx = app.db.begin().await?;
    if !tokens::delete(&tx, caller.account, id).await? {
        return Err(Error::not_found("token", id));
    }
    let target = id.to_string();
    audit::record(app, caller, &tx, Event { action: "token.delete", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    app.callers.forget(caller.account);
    Ok(())
}
