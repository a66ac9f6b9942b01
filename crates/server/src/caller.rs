//! Who is asking. Made from a token in one place (`http/auth.rs` and the registry's token server), passed to every
//! function of the domain, never from a parameter of the request.

use std::net::IpAddr;

use wire::accounts::Role;
use wire::ids::{AccountId, SessionId, TokenId};
use wire::names::{AccountName, Owner};

/// How the caller proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A login.
    Session {
        /// Which.
        id: SessionId,
        /// When, in seconds since 1970.
        logged_in_at: i64,
    },
    /// An API token.
    Token(TokenId),
    /// The account's password, at the registry.
    Password,
    /// Work that the account asked for earlier and that the server now does.
    Job,
}

/// Who is asking.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: AccountName,
    /// What it may do.
    pub role: Role,
    /// How it proved that.
    pub proof: Proof,
    /// Where the request came from.
    pub ip: Option<IpAddr>,
    /// Joins what happens to the log.
    pub request_id: Option<String>,
}

impl Caller {
    /// Whether the caller may do everything.
    pub fn is_admin(&self) -> bool {
        self.role == Role::Admin
    }

    /// The owner part of the caller's own images.
    pub fn owner(&self) -> Owner {
        Owner::from(&self.name)
    }

    /// Whether the caller may pull images of this owner.
    pub fn may_pull(&self, owner: &Owner) -> bool {
        owner.is_public() || self.is_admin() || owner.as_str() == self.name.as_str()
    }

    /// Whether the caller may push, tag and delete images of this owner: `public` belongs to the admins.
    pub fn may_push(&self, owner: &Owner) -> bool {
        self.is_admin() || (!owner.is_public() && owner.as_str() == self.name.as_str())
    }

    /// Whether the caller may see and change what belongs to this account.
    pub fn may_act_for(&self, account: AccountId) -> bool {
        self.is_admin() || self.account == account
    }
}

/// A request's id and origin, for what happens before a caller is known.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// Joins answer, log and audit.
    pub id: String,
    /// Where it came from, behind trusted proxies.
    pub ip: Option<IpAddr>,
}

/// The account that a request is about: the caller, or the one for which an admin acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The account.
    pub account: AccountId,
    /// Its name.
    pub name: AccountName,
}

impl Subject {
    /// The owner part of its images.
    pub fn owner(&self) -> Owner {
        Owner::from(&self.name)
    }
}
