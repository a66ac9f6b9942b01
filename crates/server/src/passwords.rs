//! Passwords. What arrives is the secret, plain or as its SHA-256 in hex; both become one value, which goes through
//! Argon2id. Hashing runs behind a bound, on threads that give way to all others, so that a storm of logins takes neither
//! the memory nor the processors that other requests need.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use argon2::password_hash::phc::{Output, ParamsString, PasswordHash, Salt};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::sync::{Semaphore, oneshot};
use wire::secret::Secret;

use crate::error::{Error, Result};

/// Memory of one hash in KiB and its passes: OWASP's first choice for Argon2id (2023).
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
/// What is asked for of the C library, in KiB: more than it ever keeps for itself (32 MiB), so that what is freed is the
/// system's again at once. What is beyond [`MEMORY_KIB`] is never touched and costs nothing.
const RESERVED_KIB: usize = 33 * 1024;
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
    /// Memory that hashes have left, for those that follow soon.
    memories: Arc<Mutex<Memories>>,
    /// Checked when the account does not exist, so that the answer takes as long.
    decoy: String,
}

/// Memory between two hashes. Getting it from the system again costs a third of a hash.
#[derive(Default)]
struct Memories {
    free: Vec<Vec<Block>>,
    /// Whether any was used since [`Passwords::tidy`] looked last.
    is_used: bool,
}

impl Passwords {
    /// `parallel` hashes at a time, 19 MiB each.
    pub fn new(parallel: usize) -> Result<Self> {
        let decoy = hash_canonical("decoy", &mut memory())?;
        Ok(Self { slots: Semaphore::new(parallel.max(1)), memories: Arc::default(), decoy })
    }

    /// Hashes a new password for storing.
    pub async fn hash(&self, password: &Secret) -> Result<String> {
        let canonical = canonical(password)?;
        self.run(move |memory| hash_canonical(&canonical, memory)).await?
    }

    /// Gives memory back that no hash has used since this was called last.
    pub fn tidy(&self) {
        let mut memories = self.memories.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut memories.is_used) {
            memories.free.clear();
        }
    }

    /// Whether the password fits the stored hash. Without one (no such account) it takes the same time and is false.
    pub async fn verify(&self, password: &Secret, stored: Option<&str>) -> Result<bool> {
        let canonical = canonical(password)?;
        let is_known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        let fits = self.run(move |memory| fits(&canonical, &stored, memory));
        Ok(fits.await?? && is_known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Vec<Block>) -> T + Send + 'static,
    ) -> Result<T> {
        let slot = tokio::time::timeout(MAX_WAIT, self.slots.acquire()).await;
        let Ok(slot) = slot else {
            return Err(Error::unavailable("busy", "too many logins at the moment")
                .hint("try again in a few seconds"));
        };
        let _slot = slot.map_err(Error::internal)?;
        // A thread of its own: one that has given way once may not take it back. Making it is a hundredth of a hash.
        let (answer, answered) = oneshot::channel();
        let memories = Arc::clone(&self.memories);
        let hashing = move || {
            let lock = || memories.lock().unwrap_or_else(PoisonError::into_inner);
            let left = lock().free.pop();
            let mut memory = left.unwrap_or_else(memory);
            if let Err(error) = rustix::process::nice(GIVES_WAY) {
                tracing::debug!(%error, "a hashing thread does not give way");
            }
            let worked = work(&mut memory);
            let mut memories = lock();
            memories.free.push(memory);
            memories.is_used = true;
            drop(memories);
            // Whoever asked may be gone.
            drop(answer.send(worked));
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

fn memory() -> Vec<Block> {
    Vec::with_capacity(RESERVED_KIB)
}

fn hash_canonical(canonical: &str, memory: &mut Vec<Block>) -> Result<String> {
    let params = Params::new(MEMORY_KIB, PASSES, 1, None).map_err(|e| Error::internal(e.to_string()))?;
    let hash = PasswordHash {
        algorithm: Algorithm::Argon2id.ident(),
        version: Some(Version::V0x13.into()),
        params: ParamsString::try_from(&params).map_err(|e| Error::internal(e.to_string()))?,
        salt: Some(Salt::generate()),
        hash: None,
    };
    let output = output_of(canonical, &hash, memory)?;
    Ok(PasswordHash { hash: Some(output), ..hash }.to_string())
}

fn fits(canonical: &str, stored: &str, memory: &mut Vec<Block>) -> Result<bool> {
    let stored = PasswordHash::new(stored).map_err(|e| Error::internal(e.to_string()))?;
    let output = output_of(canonical, &stored, memory)?;
    Ok(stored.hash.is_some_and(|hash| hash.as_bytes().ct_eq(output.as_bytes()).into()))
}

/// What the password becomes with the parameters and the salt of this hash.
fn output_of(canonical: &str, hash: &PasswordHash, memory: &mut Vec<Block>) -> Result<Output> {
    let unreadable = || Error::internal("a stored password hash is not one of ours");
    let algorithm = Algorithm::try_from(hash.algorithm.as_str()).map_err(|_| unreadable())?;
    let params = Params::try_from(hash).map_err(|_| unreadable())?;
    let salt = hash.salt.ok_or_else(unreadable)?;
    let blocks = params.block_count();
    if algorithm != Algorithm::Argon2id || blocks > RESERVED_KIB {
        return Err(unreadable());
    }
    memory.resize(blocks, Block::default());
    let mut output = [0; Params::DEFAULT_OUTPUT_LEN];
    Argon2::new(algorithm, Version::V0x13, params)
        .hash_password_into_with_memory(canonical.as_bytes(), &salt, &mut output, &mut memory[..])
        .map_err(|e| Error::internal(e.to_string()))?;
    Output::new(&output).map_err(|e| Error::internal(e.to_string()))
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
    async fn what_a_general_library_hashed_fits_and_ours_fits_there() {
        use argon2::{PasswordHasher as _, PasswordVerifier as _};
        let passwords = Passwords::new(1).unwrap();
        let canonical = hex::encode(Sha256::digest("hunter22"));

        let theirs = Argon2::default().hash_password(canonical.as_bytes()).unwrap().to_string();
        let ours = passwords.hash(&Secret::new("hunter22")).await.unwrap();

        assert!(passwords.verify(&Secret::new("hunter22"), Some(&theirs)).await.unwrap());
        assert!(Argon2::default().verify_password(canonical.as_bytes(), ours.as_str()).is_ok());
        assert_ne!(
            ours,
            passwords.hash(&Secret::new("hunter22")).await.unwrap(),
            "each has a salt of its own"
        );
        for foreign in ["", "$argon2id$", "$argon2i$v=19$m=16,t=2,p=1$c2FsdHNhbHQ$aGFzaGhhc2hoYXNo"] {
            assert!(passwords.verify(&Secret::new("hunter22"), Some(foreign)).await.is_err(), "{foreign}");
        }
    }

    #[tokio::test]
    async fn memory_that_is_not_used_any_more_is_given_back() {
        let passwords = Passwords::new(1).unwrap();
        let kept = || passwords.memories.lock().unwrap().free.len();

        passwords.hash(&Secret::new("hunter22")).await.unwrap();
        assert_eq!(kept(), 1);
        passwords.tidy();
        assert_eq!(kept(), 1, "it was used a moment ago");
        passwords.tidy();
        assert_eq!(kept(), 0);
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
