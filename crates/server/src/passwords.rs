//! Passwords. What arrives is the secret, plain or as its SHA-256 in hex; both become one value, which goes through
//! Argon2id. Hashing runs behind a bound, on threads that give way to all others, so that a storm of logins takes neither
//! the memory nor the processors that other requests need.

use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version};
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, oneshot};
use wire::secret::Secret;

use crate::error::{Error, Result};

/// Memory of one hash in KiB and its passes: OWASP's first choice for Argon2id (2023).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// Longest password in bytes.
const MAX_PASSWORD_BYTES: usize = 1024;
/// How long a login waits for its turn before it is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// How much a hashing thread gives way (`nice`): beside a thread that answers requests it gets a tenth of a processor, and
/// all of it when there is nothing else to do.
const GIVES_WAY: i32 = 10;

/// Hashes and checks, a bounded number at a time.
pub struct Passwords {
    slots: Semaphore,
    /// Checked when the account does not exist, so that the answer takes as long.
    decoy: String,
}

impl Passwords {
    /// `parallel` hashes at a time, 19 MiB each.
    pub fn new(parallel: usize) -> Result<Self> {
        Ok(Self { slots: Semaphore::new(parallel.max(1)), decoy: hash_canonical("decoy")? })
    }

    /// Hashes a new password for storing.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        let canonical = canonical(password)?;
        self.run(move || hash_canonical(&canonical)).await?
    }

    /// Whether the password fits the stored hash. Without one (no such account) it takes the same time and is false.
    pub async fn verify(&self, password: &Secret, stored: Option<&str>) -> Result<bool> {
        let canonical = canonical(password)?;
        let is_known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let fits = self.run(move || {
            let parsed = PasswordHash::new(&stored).map_err(|e| Error::internal(e.to_string()))?;
            Ok::<_, Error>(Argon2::default().verify_password(canonical.as_bytes(), &parsed).is_ok())
        });
        Ok(fits.await?? && is_known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let slot = tokio::time::timeout(MAX_WAIT, self.slots.acquire()).await;
        let Ok(slot) = slot else {
            return Err(Error::unavailable("busy", "too many logins at the moment")
                .hint("try again in a few seconds"));
        };
        let _slot = slot.map_err(Error::internal)?;
        // A thread of its own: one that has given way once may not take it back. Making it is a hundredth of a hash.
        let (answer, answered) = oneshot::channel();
        let hashing = move || {
            if let Err(error) = rustix::process::nice(GIVES_WAY) {
                tracing::debug!(%error, "a hashing thread does not give way");
            }
            // Whoever asked may be gone.
            drop(answer.send(work()));
        };
        std::thread::Builder::new().name("password".to_owned()).spawn(hashing)?;
        answered.await.map_err(Error::internal)
    }
}

/// The one value behind a plain password and its SHA-256: 64 lower-case hex digits.
fn canonical(password: &Secret) -> Result<String> {
    let text = password.expose();
    if text.is_empty() || text.len() > MAX_PASSWORD_BYTES {
        return Err(Error::invalid("password", format!("a password has 1 to {MAX_PASSWORD_BYTES} bytes")));
    }
    if text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Ok(hex::encode(Sha256::digest(text)))
}

fn hash_canonical(canonical: &str) -> Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| Error::internal(e.to_string()))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2.hash_password(canonical.as_bytes()).map_err(|e| Error::internal(e.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plain_and_hashed_passwords_are_one_credential() {
        let passwords = Passwords::new(1).unwrap();
        let hashed = hex::encode(Sha256::digest("hunter22"));

        let stored = passwords.hash(&Secret::new("hunter22")).await.unwrap();

        assert!(stored.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{stored}");
        for same in ["hunter22", hashed.as_str(), &hashed.to_uppercase()] {
            assert!(passwords.verify(&Secret::new(same), Some(&stored)).await.unwrap(), "{same}");
        }
        for other in ["hunter23", "Hunter22", stored.as_str()] {
            assert!(!passwords.verify(&Secret::new(other), Some(&stored)).await.unwrap(), "{other}");
        }
    }

    #[tokio::test]
    async fn nothing_fits_an_account_that_does_not_exist() {
        let passwords = Passwords::new(1).unwrap();

        for any in ["decoy", "hunter22"] {
            assert!(!passwords.verify(&Secret::new(any), None).await.unwrap());
        }
    }

    #[tokio::test]
    async fn empty_and_endless_passwords_are_refused() {
        let passwords = Passwords::new(1).unwrap();

        for bad in [String::new(), "x".repeat(1025)] {
            assert!(passwords.hash(&Secret::new(bad)).await.is_err());
        }
    }
}
