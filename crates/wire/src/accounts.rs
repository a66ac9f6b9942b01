//! Accounts, logins and API tokens: requests and views.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{AccountId, TokenId};
use crate::names::AccountName;
use crate::secret::Secret;
use crate::time::Timestamp;

/// What an account may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything, also in the name of other accounts.
    Admin,
    /// Its own things, and reading what is public.
    User,
}

/// Whether an account can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountState {
    /// Registered while registration needs approval; an admin moves it to `active`.
    Pending,
    /// In use.
    Active,
    /// Shut out by an admin: no login, no token, no session works; its things stay.
    Disabled,
}

/// Who may register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RegistrationMode {
    /// Anybody.
    #[default]
    Open,
    /// Anybody, but an admin must approve before the first login.
    Approval,
    /// Nobody; an admin makes accounts.
    Closed,
}

/// An account as its owner and admins see it; for others `email` and `phone` are null.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountView {
    /// The account's number.
    pub user_id: AccountId,
    /// The account's name.
    pub account: AccountName,
    /// The name to show.
    pub nickname: Option<String>,
    /// Only for the account itself and admins.
    pub email: Option<String>,
    /// Only for the account itself and admins.
    pub phone: Option<String>,
    /// Address of the picture, relative to the server.
    pub photo: Option<String>,
    /// What it may do.
    pub role: Role,
    /// Whether it can be used.
    pub state: AccountState,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Seed 001's `get_user`: exactly these six keys.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The account's number.
    pub user_id: AccountId,
    /// The account's name.
    pub account: AccountName,
    /// The name to show.
    pub nickname: Option<String>,
    /// Only for the account itself and admins.
    pub email: Option<String>,
    /// Only for the account itself and admins.
    pub phone: Option<String>,
    /// Address of the picture, relative to the server.
    pub photo: Option<String>,
}

/// Registers an account or logs in. The password is the plain one or its SHA-256 as 64 hex digits: both are one
/// credential, see `GET /api/auth/params`.
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The account's name; folded by NFKC and to lower case.
    pub account: String,
    /// 1 to 1024 bytes.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
}

/// Answer to a login.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct LoginView {
    /// A JWT for `Authorization: Bearer …`.
    pub access_token: String,
}

/// How clients turn a password into what they send.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct AuthParams {
    /// Always `sha256-hex`: send the SHA-256 of the password as 64 lower-case hex digits (or the plain password).
    pub password_transform: String,
    /// Who may register now.
    pub registration: RegistrationMode,
    /// Minutes after a login within which the password can be changed without giving the old one; 0 = no limit.
    pub reauth_minutes: u32,
}

/// Makes an account (admin).
#[derive(Clone, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// The new account's name.
    pub account: String,
    /// Its first password.
    #[schema(value_type = String, format = Password)]
    pub password: Secret,
    /// `user` by default.
    pub role: Option<Role>,
}

/// Changes an account (admin); absent fields stay.
#[derive(Clone, Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountUpdate {
    /// New role. The last admin cannot be made a user.
    pub role: Option<Role>,
    /// New state. The last active admin cannot be disabled.
    pub state: Option<AccountState>,
    /// New password; ends the account's sessions.
    #[schema(value_type = Option<String>, format = Password)]
    pub password: Option<Secret>,
}

/// Makes an API token.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// A name to tell it from others, 1 to 100 characters.
    pub name: String,
    /// Seconds that it lives (at most ten years); none = until it is deleted.
    pub expires_in: Option<u64>,
}

/// A new API token: the only answer that ever holds the secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token's row.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// The secret, `ls_…`; shown once.
    pub token: String,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
}

/// An API token without its secret.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// The token's row.
    pub id: TokenId,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, if ever.
    pub expires_at: Option<Timestamp>,
    /// Last use, to the minute.
    pub last_used_at: Option<Timestamp>,
}
