//! The installation's keys: files in `DATA/keys`, readable by the server alone, made at first start. They never enter
//! the database or a backup of it.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom, SystemRandom};
use wire::secret::Secret;

use crate::error::{Error, Result};
use crate::jwt::{self, TokenKey};
use crate::sealing::SealingKey;

/// Audience of session tokens.
const SESSION_AUDIENCE: &str = "longshore";
/// Audience of what engines show to the registry's token server as a password.
const CREDENTIAL_AUDIENCE: &str = "longshore-registry-credential";
/// Issuer of everything we sign; the registry's configuration names it.
pub const ISSUER: &str = "longshore";
/// Audience of registry tokens; the registry's configuration names it as its service.
pub const REGISTRY_SERVICE: &str = "longshore-registry";

/// All keys.
pub struct Keys {
    /// Signs logins.
    pub session: TokenKey,
    /// Signs short-lived registry credentials for engines.
    pub credential: TokenKey,
    /// Signs registry tokens.
    pub registry: TokenKey,
    /// The certificate that the registry trusts for tokens (PEM), to name in its configuration.
    pub registry_certificate: PathBuf,
    /// What the registry's notifications must carry.
    pub registry_events: Secret,
    /// Seals secrets that are kept in the database.
    pub sealing: SealingKey,
}

impl Keys {
    /// Reads the keys, making those that are missing.
    pub fn open(folder: &Path) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let session = read_or_make(&folder.join("session.key"), random_bytes)?;
        let credential = read_or_make(&folder.join("registry-credential.key"), random_bytes)?;
        let certificate_file = folder.join("registry-token.crt");
        let sealing = read_or_make(&folder.join("sealing.key"), random_bytes)?;
        let pair = read_or_make(&folder.join("registry-token.key"), make_pair)?;
        let certificate = read_or_make(&certificate_file, || make_certificate(&pair))?;
        let certificate = pem_content(&certificate)?;
        let text =
            |name: &str| -> Result<Secret> {
                let bytes = read_or_make(&folder.join(name), || {
                    Ok(jwt::random_text(&SystemRandom::new())?.into_bytes())
                })?;
                Ok(Secret::new(String::from_utf8(bytes).map_err(Error::internal)?.trim().to_owned()))
            };
        Ok(Self {
            session: TokenKey::shared(&session, ISSUER, SESSION_AUDIENCE),
            credential: TokenKey::shared(&credential, ISSUER, CREDENTIAL_AUDIENCE),
            registry: TokenKey::pair(&pair, &certificate, ISSUER, REGISTRY_SERVICE)?,
            registry_certificate: certificate_file,
            registry_events: text("registry-events.token")?,
            sealing: SealingKey::new(&sealing)?,
        })
    }
}

fn random_bytes() -> Result<Vec<u8>> {
    let mut bytes = vec![0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| Error::internal("the system gives no random numbers"))?;
    Ok(bytes)
}

fn make_pair() -> Result<Vec<u8>> {
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::internal)?;
    Ok(pair.serialize_der())
}

fn make_certificate(pkcs8: &[u8]) -> Result<Vec<u8>> {
    let pair = rcgen::KeyPair::try_from(pkcs8).map_err(Error::internal)?;
    let mut params = rcgen::CertificateParams::new(Vec::<String>::new()).map_err(Error::internal)?;
    params.distinguished_name.push(rcgen::DnType::CommonName, "longshore registry tokens");
    let certificate = params.self_signed(&pair).map_err(Error::internal)?;
    Ok(certificate.pem().into_bytes())
}

fn pem_content(pem: &[u8]) -> Result<Vec<u8>> {
    use base64::Engine as _;
    let text = std::str::from_utf8(pem).map_err(Error::internal)?;
    let body: String = text.lines().filter(|line| !line.starts_with("-----")).collect();
    base64::engine::general_purpose::STANDARD.decode(body.trim()).map_err(Error::internal)
}

/// Two servers may start at once: the file is written aside and linked into place, and whoever loses reads the
/// winner's.
pub fn read_or_make(path: &Path, make: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
    match std::fs::read(path) {
        Ok(bytes) => return Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let bytes = make()?;
    let aside = path.with_extension(format!("new-{}", std::process::id()));
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Ok(()) => Ok(bytes),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(std::fs::read(path)?),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let folder = tempfile::tempdir().unwrap();

        let first = Keys::open(&folder.path().join("keys")).unwrap();
        let token = first.registry.sign("1", serde_json::json!({}), 1_000, 60).unwrap();
        let second = Keys::open(&folder.path().join("keys")).unwrap();

        assert!(second.registry.verify::<serde_json::Value>(&token, 1_000).is_some());
        assert_eq!(first.registry_events, second.registry_events);
        for entry in std::fs::read_dir(folder.path().join("keys")).unwrap() {
            let mode = entry.unwrap().metadata().unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }
}
