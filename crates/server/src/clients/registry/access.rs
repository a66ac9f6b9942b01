//! The tokens that Distribution accepts: signed by us, seconds to live, naming each repository and action.

use serde::{Deserialize, Serialize};

use super::Repository;
use crate::error::Result;
use crate::keys::Keys;

/// Seconds after its end during which the door still takes a token, as Distribution does.
const LEEWAY_SECS: i64 = 30;
/// Who we are when we ask the registry ourselves; reserved, so that no account has this name.
pub const OWN_SUBJECT: &str = "longshore";

/// What may be done to a repository's content. There is no `*`: it would stand for what others add later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Read it.
    Pull,
    /// Add to it.
    Push,
    /// Remove from it; only the server itself.
    Delete,
}

/// Access to one repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Vec<Action>,
}

impl Access {
    /// Access to a repository.
    pub fn new(repository: &Repository, actions: Vec<Action>) -> Self {
        Self { kind: "repository".to_owned(), name: repository.to_string(), actions }
    }

    /// The repository into which this lets somebody push, if it does.
    pub fn push_target(&self) -> Option<Repository> {
        self.actions.contains(&Action::Push).then(|| self.name.parse().ok())?
    }

    /// Whether this opens a repository for an action.
    pub fn opens(&self, repository: &Repository, action: Action) -> bool {
        self.kind == "repository" && self.name == repository.to_string() && self.actions.contains(&action)
    }

    /// `repository:owner/repo:pull,push`, as token servers report it.
    pub fn scope(&self) -> String {
        let actions: Vec<&str> = self.actions.iter().map(|action| action.as_str()).collect();
        format!("{}:{}:{}", self.kind, self.name, actions.join(","))
    }
}

impl Action {
    /// As scopes spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::Push => "push",
            Self::Delete => "delete",
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    access: Vec<Access>,
    nbf: i64,
    jti: String,
}

/// What a token opens, and to whom.
#[derive(Debug)]
pub struct Verified {
    /// An account's name; empty for nobody.
    pub subject: String,
    access: Vec<Access>,
}

impl Verified {
    /// Whether the token opens this.
    pub fn allows(&self, repository: &Repository, action: Action) -> bool {
        self.access.iter().any(|access| access.opens(repository, action))
    }
}

/// Seconds after the end of a token's life during which the door still takes it.
pub fn leeway_secs(lifetime_secs: u32) -> i64 {
    i64::from(lifetime_secs / 2).min(LEEWAY_SECS)
}

/// Signs a token that lives so long. `now` is in seconds since 1970.
pub fn sign(keys: &Keys, subject: &str, access: Vec<Access>, now: i64, lifetime_secs: u32) -> Result<String> {
    let claims = Claims { access, nbf: now, jti: uuid::Uuid::now_v7().simple().to_string() };
    keys.registry.sign(subject, claims, now, lifetime_secs.into())
}

/// Reads a token of ours, which live so long; none for every other.
pub fn verify(keys: &Keys, token: &str, now: i64, lifetime_secs: u32) -> Option<Verified> {
    let verified = keys.registry.verify::<Claims>(token, now - leeway_secs(lifetime_secs))?;
    Some(Verified { subject: verified.subject, access: verified.claims.access })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_opens_what_it_names_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::open(&folder.path().join("keys")).unwrap();
        let repository = |text: &str| text.parse::<Repository>().unwrap();

        let access = vec![Access::new(&repository("alice/app"), vec![Action::Pull])];
        let token = sign(&keys, "alice", access, 1_000, 60).unwrap();
        let verified = verify(&keys, &token, 1_000, 60).unwrap();

        assert_eq!(verified.subject, "alice");
        assert!(verified.allows(&repository("alice/app"), Action::Pull));
        assert!(!verified.allows(&repository("alice/app"), Action::Push));
        assert!(!verified.allows(&repository("alice/app2"), Action::Pull));
        assert!(!verified.allows(&repository("alicex/app"), Action::Pull));
        assert!(verify(&keys, &token, 1_000 + 60 + 30 - 1, 60).is_some());
        assert!(verify(&keys, &token, 1_000 + 60 + 30, 60).is_none());
    }
}
