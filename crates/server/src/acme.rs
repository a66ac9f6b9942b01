//! Certificates from an authority that speaks ACME (RFC 8555), such as Let's Encrypt: asked for at the first start, and
//! renewed when two thirds of their time are over. The authority looks for the proof on the server's own port (TLS-ALPN-01,
//! RFC 8737), so that nothing else must listen anywhere. Until there is a certificate, and when the authority does not
//! answer, the server goes on with what it has.

use std::collections::HashMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Identifier, NewAccount, NewOrder,
    OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use wire::time::Timestamp;

use crate::app::App;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::http::error::chain;

/// What the authority says that it wants to talk when it looks for the proof.
pub const PROOF_PROTOCOL: &[u8] = b"acme-tls/1";
/// How often it is looked whether the certificate is to be renewed.
const LOOK_EVERY: Duration = Duration::from_hours(12);
/// First and longest pause after a failure. Authorities count failures, by the hour.
const PAUSES: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(6));
/// How long one order may take.
const ORDER_PATIENCE: Duration = Duration::from_mins(5);

/// The certificates that the server shows: its own, and to the authority the proofs.
#[derive(Debug)]
pub struct Certificates {
    own: RwLock<Arc<CertifiedKey>>,
    proofs: RwLock<HashMap<String, Arc<CertifiedKey>>>,
}

impl Certificates {
    fn set(&self, certificate: CertifiedKey) {
        *self.own.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certificate);
    }

    fn prove(&self, name: &str, certificate: CertifiedKey) {
        let mut proofs = self.proofs.write().unwrap_or_else(PoisonError::into_inner);
        proofs.insert(name.to_owned(), Arc::new(certificate));
    }

    fn end_proofs(&self) {
        self.proofs.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if hello.alpn().is_some_and(|mut names| names.any(|name| name == PROOF_PROTOCOL)) {
            let proofs = self.proofs.read().unwrap_or_else(PoisonError::into_inner);
            return proofs.get(hello.server_name()?).cloned();
        }
        Some(Arc::clone(&self.own.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

/// What is to be had from whom.
#[derive(Clone, Debug)]
pub struct Acme {
    domains: Vec<String>,
    directory: String,
    contact: Option<String>,
    authority: Option<PathBuf>,
    folder: PathBuf,
    certificates: Arc<Certificates>,
}

impl Acme {
    /// What the settings ask for; none when they name no domain. Begins with the certificate of an earlier start, or with one
    /// that nobody signed.
    pub fn open(config: &Config, folder: &Path) -> Result<Option<Self>> {
        let domains = config.tls.acme_domains.clone();
        if domains.is_empty() {
            return Ok(None);
        }
        let kept = match std::fs::read(folder.join("acme.pem")) {
            Ok(pem) => Some(certified(&pem)?),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        let own = match kept {
            Some(kept) => kept,
            None => self_signed(&domains, None)?,
        };
        let certificates =
            Arc::new(Certificates { own: RwLock::new(Arc::new(own)), proofs: RwLock::default() });
        Ok(Some(Self {
            domains,
            directory: config.tls.acme_directory.clone(),
            contact: config.tls.acme_contact.clone(),
            authority: config.tls.acme_authority.clone(),
            folder: folder.to_owned(),
            certificates,
        }))
    }

    /// What the server shows.
    pub fn certificates(&self) -> Arc<Certificates> {
        Arc::clone(&self.certificates)
    }

    /// Gets and renews the certificate until the server ends.
    pub async fn run(self, app: App) {
        let mut pause = PAUSES.0;
        loop {
            let wait = match self.renew_when_due().await {
                Ok(()) => {
                    pause = PAUSES.0;
                    LOOK_EVERY
                }
                Err(error) => {
                    let cause = error.source.as_ref().map(|source| chain(source.as_ref()));
                    tracing::warn!(%error, cause, "no certificate could be had by ACME; tried again");
                    let wait = pause;
                    pause = (pause * 2).min(PAUSES.1);
                    wait
                }
            };
            tokio::select! {
                () = app.shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn renew_when_due(&self) -> Result<()> {
        let kept = match tokio::fs::read(self.folder.join("acme.pem")).await {
            Ok(pem) => Some(pem),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(pem) = kept
            && let Some(validity) = Validity::of(&pem)?
            && validity.names == sorted(&self.domains)
            && real_now() < validity.renewal_due()
        {
            return Ok(());
        }
        let ordered = tokio::time::timeout(ORDER_PATIENCE, self.order()).await;
        self.certificates.end_proofs();
        let pem = ordered.map_err(|_| unavailable("the authority takes too long"))??;
        let certificate = certified(pem.as_bytes())?;
        write_private(&self.folder.join("acme.pem"), pem.as_bytes())?;
        self.certificates.set(certificate);
        tracing::info!(domains = self.domains.join(", "), "there is a new certificate");
        Ok(())
    }

    /// Key and certificates in one file, as PEM.
    async fn order(&self) -> Result<String> {
        let account = self.account().await?;
        let identifiers: Vec<Identifier> = self.domains.iter().cloned().map(Identifier::Dns).collect();
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await.map_err(refused)?;
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization.map_err(refused)?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => {}
                other => return Err(unavailable(format!("an authorization is {other:?}"))),
            }
            let challenge = authorization.challenge(ChallengeType::TlsAlpn01);
            let mut challenge =
                challenge.ok_or_else(|| unavailable("the authority does not take proofs by TLS-ALPN-01"))?;
            let name = challenge.identifier().to_string();
            let proof = challenge.key_authorization();
            let proof = self_signed(std::slice::from_ref(&name), Some(proof.digest().as_ref()))?;
            self.certificates.prove(&name, proof);
            challenge.set_ready().await.map_err(refused)?;
        }
        let retries = RetryPolicy::default().timeout(ORDER_PATIENCE);
        let status = order.poll_ready(&retries).await.map_err(refused)?;
        if status != OrderStatus::Ready {
            return Err(unavailable(format!(
                "the order is {status:?}: is port 443 of the names this server?"
            )));
        }
        let key = order.finalize().await.map_err(refused)?;
        let certificates = order.poll_certificate(&retries).await.map_err(refused)?;
        Ok(format!("{key}\n{certificates}"))
    }

    /// The account at the authority, made at the first time.
    async fn account(&self) -> Result<Account> {
        let builder = || match &self.authority {
            None => Account::builder(),
            Some(pem) => Account::builder_with_root(pem),
        };
        let file = self.folder.join("acme-account.json");
        match tokio::fs::read(&file).await {
            Ok(bytes) => {
                let kept: Kept = serde_json::from_slice(&bytes).map_err(Error::internal)?;
                if kept.directory == self.directory {
                    let credentials = builder().map_err(refused)?.from_credentials(kept.credentials).await;
                    return credentials.map_err(refused);
                }
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
        let contact = self.contact.as_ref().map(|address| format!("mailto:{address}"));
        let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
        let new =
            NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        let made = builder().map_err(refused)?.create(&new, self.directory.clone(), None).await;
        let (account, credentials) = made.map_err(refused)?;
        let kept = Kept { directory: self.directory.clone(), credentials };
        write_private(&file, &serde_json::to_vec(&kept).map_err(Error::internal)?)?;
        Ok(account)
    }
}

/// An account at an authority.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    directory: String,
    credentials: AccountCredentials,
}

fn unavailable(detail: impl Into<String>) -> Error {
    Error::unavailable("acme", detail)
}

fn refused(error: instant_acme::Error) -> Error {
    unavailable("the authority refuses or does not answer").caused_by(error)
}

/// From when until when a certificate is good, and for whom.
struct Validity {
    from: Timestamp,
    until: Timestamp,
    names: Vec<String>,
}

impl Validity {
    /// Of the first certificate in a file.
    fn of(pem: &[u8]) -> Result<Option<Self>> {
        let Some(der) = CertificateDer::pem_slice_iter(pem).next() else { return Ok(None) };
        let der = der.map_err(Error::internal)?;
        let (_, certificate) = x509_parser::parse_x509_certificate(&der).map_err(Error::internal)?;
        let at = |time: x509_parser::time::ASN1Time| Timestamp(0).plus_secs(time.timestamp());
        let mut names = Vec::new();
        if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
            for name in &alternatives.value.general_names {
                if let x509_parser::extensions::GeneralName::DNSName(name) = name {
                    names.push((*name).to_owned());
                }
            }
        }
        let validity = certificate.validity();
        Ok(Some(Self { from: at(validity.not_before), until: at(validity.not_after), names: sorted(&names) }))
    }

    /// When two thirds of its time are over.
    fn renewal_due(&self) -> Timestamp {
        let secs = self.until.unix_secs() - self.from.unix_secs();
        self.from.plus_secs(secs / 3 * 2)
    }
}

fn sorted(names: &[String]) -> Vec<String> {
    let mut names: Vec<String> = names.iter().map(|name| name.to_ascii_lowercase()).collect();
    names.sort();
    names
}

#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is for real time, also when a test moves the server's clock"
)]
fn real_now() -> Timestamp {
    Timestamp(0).plus_secs(chrono::Utc::now().timestamp())
}

/// A key and its certificates, from one file.
fn certified(pem: &[u8]) -> Result<CertifiedKey> {
    let certificates = CertificateDer::pem_slice_iter(pem).collect::<std::result::Result<Vec<_>, _>>();
    let certificates = certificates.map_err(Error::internal)?;
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(Error::internal)?;
    CertifiedKey::from_der(certificates, key, &rustls::crypto::ring::default_provider())
        .map_err(Error::internal)
}

/// A certificate that nobody believes: for the time before there is one, or as a proof.
fn self_signed(names: &[String], proof: Option<&[u8]>) -> Result<CertifiedKey> {
    let mut params = CertificateParams::new(names.to_vec()).map_err(Error::internal)?;
    params.custom_extensions = proof.map(CustomExtension::new_acme_identifier).into_iter().collect();
    let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::internal)?;
    let certificate = params.self_signed(&pair).map_err(Error::internal)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pair.serialize_der()));
    // Not `from_der`: that refuses what a proof must have, a critical extension that nobody else knows.
    let key = rustls::crypto::ring::sign::any_supported_type(&key).map_err(Error::internal)?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// Whole or not at all, and for nobody else to read.
fn write_private(path: &Path, bytes: &[u8]) -> Result<()> {
    let aside = path.with_extension("new");
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(std::fs::rename(&aside, path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_time_are_over() {
        let mut params =
            CertificateParams::new(vec!["b.example.org".to_owned(), "A.example.org".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2026, 4, 1);
        let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let pem = params.self_signed(&pair).unwrap().pem();

        let validity = Validity::of(format!("{}{pem}", pair.serialize_pem()).as_bytes()).unwrap().unwrap();

        assert_eq!(validity.names, ["a.example.org", "b.example.org"]);
        assert_eq!(validity.renewal_due().to_string(), "2026-03-02T00:00:00.000000Z");
        assert!(certified(format!("{}{pem}", pair.serialize_pem()).as_bytes()).is_ok());
        assert!(Validity::of(b"").unwrap().is_none());
        assert!(self_signed(&["a.example.org".to_owned()], Some(&[7; 32])).is_ok(), "a proof can be shown");
    }
}
