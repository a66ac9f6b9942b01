//! Accounts: registration, profile, password, picture, role and state; and the one place that decides for whom a
//! request may be.

use store::accounts::{self, ProfileField, Row};
use store::sessions;
use wire::accounts::{
    AccountCreate, AccountState, AccountUpdate, AccountView, Credentials, RegistrationMode, Role, UserView,
};
use wire::ids::AccountId;
use wire::names::AccountName;
use wire::page::{Page, PageQuery};
use wire::secret::Secret;

use super::audit::{self, Event};
use super::settings;
use crate::app::App;
use crate::blobs::BlobKind;
use crate::caller::{Caller, Proof, RequestContext, Subject};
use crate::error::{Error, ErrorKind, Result};
use crate::picture;

/// Longest nickname, address or number in characters.
const MAX_PROFILE_CHARS: usize = 100;

/// Whom a request names.
#[derive(Clone, Copy, Debug)]
pub enum Named<'a> {
    /// By name (`username`, `account`).
    Account(&'a str),
    /// By number (`user_id`).
    Id(AccountId),
}

/// Decides for whom a request is: for the caller when it names nobody or the caller; for another account only when an
/// admin asks. Everybody else gets one answer, whether or not that account exists.
pub async fn subject(app: &App, caller: &Caller, named: Option<Named<'_>>) -> Result<Subject> {
    let own = Subject { account: caller.account, name: caller.name.clone() };
    let names_caller = match named {
        None => true,
        Some(Named::Id(id)) => id == caller.account,
        Some(Named::Account(name)) => name.parse::<AccountName>().is_ok_and(|name| name == caller.name),
    };
    if names_caller {
        return Ok(own);
    }
    if !caller.is_admin() {
        return Err(Error::forbidden(
            "not_yours",
            "this names another account; you can act for yourself only",
        ));
    }
    let row = match named {
        Some(Named::Id(id)) => {
            accounts::get(&app.db, id).await?.ok_or_else(|| Error::not_found("account", id))?
        }
        Some(Named::Account(name)) => find(app, name).await?,
        None => return Ok(own),
    };
    Ok(Subject { account: row.id, name: row.account })
}

/// The account of this name. For callers that may know that it exists.
pub async fn find(app: &App, name: &str) -> Result<Row> {
    let parsed: AccountName = name.parse().map_err(|_| Error::not_found("account", name))?;
    accounts::by_name(&app.db, &parsed).await?.ok_or_else(|| Error::not_found("account", name))
}

/// Registers an account for whoever asks.
pub async fn register(app: &App, context: &RequestContext, credentials: &Credentials) -> Result<AccountView> {
    let state = match settings::registration(app).await? {
        RegistrationMode::Open => AccountState::Active,
        RegistrationMode::Approval => AccountState::Pending,
        RegistrationMode::Closed => {
            return Err(Error::forbidden("registration_closed", "registration is closed")
                .hint("ask an admin for an account"));
        }
    };
    if let Some(ip) = context.ip {
        app.limits.register_address.take(&ip, app.now().0).map_err(|seconds| {
            Error::new(
                ErrorKind::TooMany(seconds),
                "too_many_registrations",
                "too many registrations from this address",
            )
        })?;
    }
    let new = New { name: &credentials.account, password: &credentials.password, role: Role::User, state };
    let row = insert(app, &new).await?;
    // The new account is the actor: nobody else is known.
    let caller = Caller {
        account: row.id,
        name: row.account.clone(),
        role: row.role,
        proof: Proof::Password,
        ip: context.ip,
        request_id: Some(context.id.clone()),
    };
    let target = row.account.to_string();
    audit::record(
        app,
        &caller,
        &app.db,
        Event { action: "account.register", target: &target, acting_for: None },
    )
    .await?;
    Ok(view(row))
}

/// Makes an account (admin).
pub async fn create(app: &App, caller: &Caller, new: &AccountCreate) -> Result<AccountView> {
    require_admin(caller)?;
    let role = new.role.unwrap_or(Role::User);
    let row =
        insert(app, &New { name: &new.account, password: &new.password, role, state: AccountState::Active })
            .await?;
    let target = row.account.to_string();
    audit::record(
        app,
        caller,
        &app.db,
        Event { action: "account.create", target: &target, acting_for: None },
    )
    .await?;
    Ok(view(row))
}

struct New<'a> {
    name: &'a str,
    password: &'a Secret,
    role: Role,
    state: AccountState,
}

async fn insert(app: &App, new: &New<'_>) -> Result<Row> {
    let name: AccountName =
        new.name.parse().map_err(|e| Error { field: Some("account".into()), ..Error::from(e) })?;
    if name.is_reserved() {
        return Err(Error::new(ErrorKind::Invalid, "reserved_name", format!("`{name}` is reserved"))
            .hint("choose another name"));
    }
    let exists = || Error::conflict("account_exists", format!("the account `{name}` exists already"));
    // Before the expensive part; the unique index decides between two at once.
    if accounts::by_name(&app.db, &name).await?.is_some() {
        return Err(exists());
    }
    let password_hash = app.passwords.hash(new.password).await?;
    let row = accounts::New {
        account: &name,
        password_hash: &password_hash,
        role: new.role,
        state: new.state,
        now: app.now(),
    };
    accounts::insert(&app.db, &row).await.map_err(|error| match error {
        store::Error::Duplicate => exists(),
        other => other.into(),
    })
}

/// Makes the account `admin` when there is none, at start. Returns whether it was made.
pub async fn ensure_admin(app: &App, password: &Secret) -> Result<bool> {
    let name = AccountName::admin();
    if accounts::by_name(&app.db, &name).await?.is_some() {
        return Ok(false);
    }
    let password_hash = app.passwords.hash(password).await?;
    let new = accounts::New {
        account: &name,
        password_hash: &password_hash,
        role: Role::Admin,
        state: AccountState::Active,
        now: app.now(),
    };
    match accounts::insert(&app.db, &new).await {
        Ok(_) => Ok(true),
        // Another server of this installation was faster.
        Err(store::Error::Duplicate) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Lists accounts (admin).
pub async fn list(
    app: &App,
    caller: &Caller,
    search: Option<&str>,
    page: PageQuery,
) -> Result<Page<AccountView>> {
    require_admin(caller)?;
    let found = accounts::list(&app.db, search, page).await?;
    Ok(super::page_of(found, page, view))
}

/// One account in full: one's own, or any for an admin; for others it does not exist.
pub async fn get(app: &App, caller: &Caller, name: &str) -> Result<AccountView> {
    let row = find(app, name).await?;
    if !caller.may_act_for(row.id) {
        return Err(Error::not_found("account", name));
    }
    Ok(view(row))
}

/// One account as everybody may see it (seed 001): email and phone only for itself and admins.
pub async fn get_user(app: &App, caller: &Caller, name: &str) -> Result<UserView> {
    let row = find(app, name).await?;
    let is_open = caller.may_act_for(row.id);
    Ok(UserView {
        user_id: row.id,
        account: row.account,
        nickname: row.nickname,
        email: row.email.filter(|_| is_open),
        phone: row.phone.filter(|_| is_open),
        photo: row.photo,
    })
}

/// Changes one field of the caller's profile.
pub async fn set_profile(app: &App, caller: &Caller, field: &str, value: Option<&str>) -> Result<()> {
    let which = match field {
        "nickname" => ProfileField::Nickname,
        "email" => ProfileField::Email,
        "phone" => ProfileField::Phone,
        _ => return Err(Error::invalid("field", "`field` is `nickname`, `email` or `phone`")),
    };
    let value = value.map(str::trim).filter(|value| !value.is_empty());
    if let Some(value) = value {
        check_profile(field, value)?;
    }
    let tx = app.db.begin().await?;
    accounts::set_profile(&tx, caller.account, which, value, app.now()).await?;
    let target = format!("{}.{field}", caller.name);
    audit::record(app, caller, &tx, Event { action: "account.update", target: &target, acting_for: None })
        .await?;
    Ok(tx.commit().await?)
}

fn check_profile(field: &str, value: &str) -> Result<()> {
    let refuse = |what: &str| Err(Error::invalid("value", what.to_owned()));
    if value.chars().count() > MAX_PROFILE_CHARS {
        return refuse(&format!("`{field}` has at most {MAX_PROFILE_CHARS} characters"));
    }
    // Direction overrides could make one name look like another.
    let is_hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    if value.chars().any(is_hidden) {
        return refuse(&format!("`{field}` holds characters that cannot be seen"));
    }
    match field {
        "email" => {
            let is_email = value.split_once('@').is_some_and(|(user, host)| {
                !user.is_empty()
                    && host.contains('.')
                    && !host.starts_with('.')
                    && !host.ends_with('.')
                    && !host.contains('@')
            });
            if !is_email || value.contains(char::is_whitespace) {
                return refuse("this is not an email address");
            }
        }
        "phone" => {
            let digits = value.chars().filter(char::is_ascii_digit).count();
            let is_phone = (3..=20).contains(&digits)
                && value.chars().all(|c| c.is_ascii_digit() || "+-() ".contains(c));
            if !is_phone {
                return refuse("this is not a telephone number");
            }
        }
        _ => {}
    }
    Ok(())
}

/// A new password for a subject. For oneself: within `auth.reauth_minutes` of a login, or with the current password.
/// Ends the account's other sessions and its open terminals; API tokens stay. An admin's change for another ends all its sessions.
pub async fn set_password(
    app: &App,
    caller: &Caller,
    subject: &Subject,
    new: &Secret,
    current: Option<&Secret>,
) -> Result<()> {
    let is_own = subject.account == caller.account;
    if is_own {
        check_recent(app, caller, current).await?;
    }
    let password_hash = app.passwords.hash(new).await.map_err(|error| match &error.field {
        Some(_) => Error { field: Some("new_password".to_owned()), ..error },
        None => error,
    })?;
    let keep = match caller.proof {
        Proof::Session { id, .. } if is_own => Some(id),
        _ => None,
    };
    let tx = app.db.begin().await?;
    accounts::set_password(&tx, subject.account, &password_hash, app.now()).await?;
    sessions::delete_of_account(&tx, subject.account, keep).await?;
    let event = Event {
        action: "account.password",
        target: subject.name.as_str(),
        acting_for: Some(subject.account),
    };
    audit::record(app, caller, &tx, event).await?;
    tx.commit().await?;
    app.callers.forget(subject.account);
    app.terminals.revoke(subject.account);
    Ok(())
}

async fn check_recent(app: &App, caller: &Caller, current: Option<&Secret>) -> Result<()> {
    if let Some(current) = current {
        let row = accounts::get(&app.db, caller.account)
            .await?
            .ok_or_else(|| Error::not_found("account", &caller.name))?;
        let now = app.now().0;
        let key = row.account.to_string();
        app.limits.login_account.take(&key, now).map_err(|seconds| {
            Error::new(ErrorKind::TooMany(seconds), "too_many_logins", "too many wrong passwords")
        })?;
        if !app.passwords.verify(current, Some(&row.password_hash)).await? {
            return Err(Error::forbidden("wrong_password", "the current password is wrong"));
        }
        app.limits.login_account.give_back(&key);
        return Ok(());
    }
    let minutes = i64::from(app.config.auth.reauth_minutes);
    let is_recent = match caller.proof {
        Proof::Session { logged_in_at, .. } => {
            minutes == 0 || app.now().unix_secs() - logged_in_at <= minutes * 60
        }
        _ => false,
    };
    if is_recent {
        return Ok(());
    }
    Err(Error::forbidden(
        "reauth_required",
        "changing the password needs a fresh login or the current password",
    )
    .hint("log in again, or send the current one as `password`"))
}

/// A picture of the subject's own: decoded, shrunk and encoded anew, whatever it claims to be.
pub async fn set_photo(app: &App, caller: &Caller, subject: &Subject, bytes: Vec<u8>) -> Result<()> {
    let encoded =
        tokio::task::spawn_blocking(move || picture::reencode(&bytes)).await.map_err(Error::internal)?;
    let encoded = encoded.map_err(|error| {
        let kind = if error.code() == "picture_too_large" { ErrorKind::TooLarge } else { ErrorKind::Invalid };
        Error { field: Some("photo".into()), ..Error::new(kind, error.code(), error.to_string()) }
    })?;
    let blobs = app.blobs.clone();
    let digest = crate::blobs::blocking(move || blobs.put(BlobKind::Picture, &encoded)).await?;
    store_photo(app, caller, subject, &format!("/api/user/photo/{digest}.png")).await
}

/// One of the built-in pictures.
pub async fn set_default_photo(app: &App, caller: &Caller, subject: &Subject, name: &str) -> Result<()> {
    if !picture::DEFAULTS.contains(&name) {
        return Err(Error::invalid("photo", format!("`photo` is one of {}", picture::DEFAULTS.join(", "))));
    }
    store_photo(app, caller, subject, &format!("/api/user/photo/{name}")).await
}

async fn store_photo(app: &App, caller: &Caller, subject: &Subject, path: &str) -> Result<()> {
    let tx = app.db.begin().await?;
    accounts::set_profile(&tx, subject.account, ProfileField::Photo, Some(path), app.now()).await?;
    let event =
        Event { action: "account.photo", target: subject.name.as_str(), acting_for: Some(subject.account) };
    audit::record(app, caller, &tx, event).await?;
    Ok(tx.commit().await?)
}

/// A picture's PNG, built-in or own.
pub async fn photo(app: &App, _: &Caller, name: &str) -> Result<Vec<u8>> {
    if let Some(png) = picture::draw_default(name) {
        return Ok(png);
    }
    let digest = name.strip_suffix(".png").unwrap_or_default();
    if digest.len() != 64 || !digest.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(Error::not_found("picture", name));
    }
    let path = app.blobs.path(BlobKind::Picture, digest);
    match tokio::fs::read(path).await {
        Ok(png) => Ok(png),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(Error::not_found("picture", name)),
        Err(error) => Err(error.into()),
    }
}

/// Changes role, state or password of an account (admin). There is always an active admin left.
pub async fn update(app: &App, caller: &Caller, name: &str, change: &AccountUpdate) -> Result<AccountView> {
    require_admin(caller)?;
    let row = find(app, name).await?;
    let password_hash = match &change.password {
        Some(password) => Some(app.passwords.hash(password).await?),
        None => None,
    };
    let now = app.now();
    let tx = app.db.begin().await?;
    let mut done = Vec::new();
    if let Some(role) = change.role {
        accounts::set_role(&tx, row.id, role, now).await?;
        done.push("account.role");
    }
    if let Some(state) = change.state {
        accounts::set_state(&tx, row.id, state, now).await?;
        done.push("account.state");
    }
    if let Some(hash) = &password_hash {
        accounts::set_password(&tx, row.id, hash, now).await?;
        done.push("account.password");
    }
    if accounts::count_active_admins(&tx).await? == 0 {
        return Err(Error::conflict("last_admin", "this would leave no active admin")
            .hint("make another account an admin first"));
    }
    let is_shut_out = change.state.is_some_and(|state| state != AccountState::Active);
    if is_shut_out || password_hash.is_some() {
        sessions::delete_of_account(&tx, row.id, None).await?;
    }
    for action in done {
        let event = Event { action, target: row.account.as_str(), acting_for: None };
        audit::record(app, caller, &tx, event).await?;
    }
    tx.commit().await?;
    app.callers.forget(row.id);
    if is_shut_out || change.role.is_some() || password_hash.is_some() {
        app.terminals.revoke(row.id);
    }
    get(app, caller, name).await
}

pub(super) fn require_admin(caller: &Caller) -> Result<()> {
    if caller.is_admin() { Ok(()) } else { Err(Error::forbidden("admin_only", "only an admin can do this")) }
}

fn view(row: Row) -> AccountView {
    AccountView {
        user_id: row.id,
        account: row.account,
        nickname: row.nickname,
        email: row.email,
        phone: row.phone,
        photo: row.photo,
        role: row.role,
        state: row.state,
        created_at: row.created_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn profile_values_are_checked_by_their_kind() {
        for (field, value) in
            [("nickname", "小明 🚢"), ("email", "a.b+c@example.org"), ("phone", "+86 (10) 1234-5678")]
        {
            assert!(check_profile(field, value).is_ok(), "{value}");
        }
        let long = "x".repeat(101);
        for (field, value) in [
            ("nickname", long.as_str()),
            ("nickname", "a\u{202e}b"),
            ("nickname", "a\nb"),
            ("email", "nobody"),
            ("email", "a b@example.org"),
            ("email", "a@b@c.d"),
            ("phone", "call me"),
            ("phone", "12"),
        ] {
            assert!(check_profile(field, value).is_err(), "{value}");
        }
    }
}
