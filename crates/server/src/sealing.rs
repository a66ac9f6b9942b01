//! Seals secrets that must be kept and used again (credentials of clusters, of git repositories, of chart repositories), so
//! that whoever has the database or a backup of it has nothing. The key is a file beside the database.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom as _, SystemRandom};
use wire::secret::Secret;

use crate::error::{Error, Result};

/// What sealed text begins with, so that another way to seal can follow this one.
const PREFIX: &str = "sealed1:";

/// Seals and opens.
pub struct SealingKey {
    key: LessSafeKey,
    random: SystemRandom,
}

impl SealingKey {
    /// Takes 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self> {
        let key = UnboundKey::new(&AES_256_GCM, bytes)
            .map_err(|_| Error::internal("the file `sealing.key` does not hold a key of 32 bytes"))?;
        Ok(Self { key: LessSafeKey::new(key), random: SystemRandom::new() })
    }

    /// Seals a secret. `purpose` says what for, such as `cluster ID`: what is sealed for one thing cannot be opened as
    /// another, so that moving it to another row is noticed.
    pub fn seal(&self, purpose: &str, secret: &Secret) -> Result<String> {
        let mut nonce = [0; NONCE_LEN];
        self.random.fill(&mut nonce).map_err(|_| Error::internal("the system gives no random numbers"))?;
        let mut sealed = secret.expose().as_bytes().to_vec();
        self.key
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(purpose.as_bytes()),
                &mut sealed,
            )
            .map_err(|_| Error::internal("the secret is too long to be sealed"))?;
        let text = STANDARD_NO_PAD.encode([nonce.as_slice(), &sealed].concat());
        Ok(format!("{PREFIX}{text}"))
    }

    /// Opens what was sealed for the same purpose with the same key.
    pub fn open(&self, purpose: &str, sealed: &str) -> Result<Secret> {
        let opened = self.opened(purpose, sealed).ok_or_else(|| {
            let detail = format!("a sealed secret ({purpose}) cannot be opened with this server's key");
            Error::unavailable("sealed_by_another_key", detail)
                .hint("bring back `keys/sealing.key` of the data folder, or give the secret again")
        })?;
        Ok(Secret::new(opened))
    }

    fn opened(&self, purpose: &str, sealed: &str) -> Option<String> {
        let mut bytes = STANDARD_NO_PAD.decode(sealed.strip_prefix(PREFIX)?).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let text = self.key.open_in_place(nonce, Aad::from(purpose.as_bytes()), text).ok()?;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_for_its_purpose_and_by_its_key_alone() {
        let (key, other) = (SealingKey::new(&[1; 32]).unwrap(), SealingKey::new(&[2; 32]).unwrap());
        let secret = Secret::new("pässwörd");

        let sealed = key.seal("cluster 1", &secret).unwrap();

        assert_eq!(key.open("cluster 1", &sealed).unwrap(), secret);
        assert_ne!(key.seal("cluster 1", &secret).unwrap(), sealed, "equal secrets do not look equal");
        assert!(!sealed.contains("ssw"));
        assert!(key.open("cluster 2", &sealed).is_err());
        assert!(other.open("cluster 1", &sealed).is_err());
        for broken in ["", "sealed1:", "sealed1:AAAA", "pässwörd", &sealed[..sealed.len() - 4]] {
            assert!(key.open("cluster 1", broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_key_has_32_bytes() {
        assert!(SealingKey::new(&[0; 31]).is_err());
    }
}
