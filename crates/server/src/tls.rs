//! TLS of the server's own port and of the registry's. Without a certificate from elsewhere the server is its own authority: it makes one at
//! the first start, and every invitation carries its fingerprint, so that machines recognise the server without anybody
//! copying files.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::path::Path;
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest as _, Sha256};
use tokio_rustls::TlsAcceptor;

use crate::acme::{self, Acme};
use crate::config::{Config, TlsMode};
use crate::error::{Error, Result};
use crate::keys;

/// Days that the authority and what it signs are good for. What the server shows is made anew at every start; nobody but
/// machines and people who were told the fingerprint believes it.
const DAYS: i64 = 3_650;

/// How the server's port is protected.
pub struct Tls {
    acceptor: Option<TlsAcceptor>,
    registry: Option<TlsAcceptor>,
    fingerprint: Option<String>,
    acme: Option<Acme>,
}

impl Tls {
    /// Reads or makes what the settings ask for. `folder` is the one of the keys.
    pub fn open(config: &Config, folder: &Path) -> Result<Self> {
        if let (Some(certificate), Some(key)) = (&config.tls.certificate, &config.tls.key) {
            let chain = CertificateDer::pem_file_iter(certificate)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .map_err(|error| unusable("tls.certificate", certificate, &error))?;
            let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unusable("tls.key", key, &error))?;
            let acceptor = acceptor(chain, key)?;
            let registry = registry_mode(config).then(|| acceptor.clone());
            return Ok(Self { acceptor: Some(acceptor), registry, fingerprint: None, acme: None });
        }
        if let Some(acme) = Acme::open(config, folder)? {
            let mut tls =
                ServerConfig::builder().with_no_client_auth().with_cert_resolver(acme.certificates());
            tls.alpn_protocols =
                [b"h2".as_slice(), b"http/1.1", acme::PROOF_PROTOCOL].map(<[u8]>::to_vec).to_vec();
            let acceptor = TlsAcceptor::from(Arc::new(tls));
            let registry = registry_mode(config).then(|| acceptor.clone());
            return Ok(Self { acceptor: Some(acceptor), registry, fingerprint: None, acme: Some(acme) });
        }
        let is_on = match config.tls.mode {
            TlsMode::On => true,
            TlsMode::Off => false,
            TlsMode::Auto => !config.listen.ip().is_loopback(),
        };
        // Docker's clients believe no certificate of ours unless somebody gives them our authority: that must be asked for.
        let is_registry_on = config.registry.tls == TlsMode::On;
        if !is_on && !is_registry_on {
            return Ok(Self { acceptor: None, registry: None, fingerprint: None, acme: None });
        }
        let pair = keys::read_or_make(&folder.join("tls-authority.key"), || {
            let pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::internal)?;
            Ok(pair.serialize_der())
        })?;
        let pair = KeyPair::try_from(pair.as_slice()).map_err(Error::internal)?;
        let pem = keys::read_or_make(&folder.join("tls-authority.crt"), || {
            Ok(authority()?.self_signed(&pair).map_err(Error::internal)?.pem().into_bytes())
        })?;
        let root = CertificateDer::from_pem_slice(&pem).map_err(Error::internal)?.into_owned();
        let fingerprint = hex::encode(Sha256::digest(&root));
        let leaf_pair = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(Error::internal)?;
        let leaf =
            leaf(config)?.signed_by(&leaf_pair, &Issuer::new(authority()?, pair)).map_err(Error::internal)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_pair.serialize_der()));
        let acceptor = acceptor(vec![leaf.der().clone(), root], key)?;
        Ok(Self {
            registry: is_registry_on.then(|| acceptor.clone()),
            acceptor: is_on.then_some(acceptor),
            fingerprint: is_on.then_some(fingerprint),
            acme: None,
        })
    }

    /// Whether the port speaks TLS.
    pub fn is_on(&self) -> bool {
        self.acceptor.is_some()
    }

    /// What accepts TLS; none when the port is in the clear.
    pub fn acceptor(&self) -> Option<TlsAcceptor> {
        self.acceptor.clone()
    }

    /// What gets certificates, if that is asked for.
    pub fn acme(&self) -> Option<Acme> {
        self.acme.clone()
    }

    /// What accepts TLS at the registry's address; none when that is in the clear.
    pub fn registry_acceptor(&self) -> Option<TlsAcceptor> {
        self.registry.clone()
    }

    /// The SHA-256 of our own authority's certificate, 64 hex digits; none when the certificate is from elsewhere.
    pub fn fingerprint(&self) -> Option<&str> {
        self.fingerprint.as_deref()
    }
}

/// Whether the registry's address speaks TLS when there is a certificate from elsewhere.
fn registry_mode(config: &Config) -> bool {
    match config.registry.tls {
        TlsMode::On => true,
        TlsMode::Off => false,
        TlsMode::Auto => !config.registry_listen.ip().is_loopback(),
    }
}

fn unusable(setting: &str, path: &Path, error: &impl std::fmt::Display) -> Error {
    let detail = format!("`{setting}` names `{}`, which cannot be used: {error}", path.display());
    Error::unavailable("tls", detail).hint("it must be a PEM file that the server may read")
}

fn acceptor(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<TlsAcceptor> {
    let mut config =
        ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key).map_err(|error| {
            Error::unavailable("tls", format!("certificate and key do not fit together: {error}"))
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The same at every start, so that what it signs fits the certificate that was made at the first one.
fn authority() -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::<String>::new()).map_err(Error::internal)?;
    params.distinguished_name.push(DnType::CommonName, "longshore");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
    lasts(&mut params);
    Ok(params)
}

fn leaf(config: &Config) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(names(config)).map_err(Error::internal)?;
    params.distinguished_name.push(DnType::CommonName, "longshore server");
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    lasts(&mut params);
    Ok(params)
}

/// From yesterday, because clocks differ.
#[expect(
    clippy::disallowed_methods,
    reason = "a certificate is for real time, also when a test moves the server's clock"
)]
fn lasts(params: &mut CertificateParams) {
    use chrono::Datelike as _;
    let day = |offset: i64| {
        let date = chrono::Utc::now().date_naive() + chrono::Duration::days(offset);
        let narrow = |number: u32| u8::try_from(number).expect("months and days are small");
        rcgen::date_time_ymd(date.year(), narrow(date.month()), narrow(date.day()))
    };
    params.not_before = day(-1);
    params.not_after = day(DAYS);
}

/// By what names and addresses the server may be called, as far as it knows. Machines do not depend on it.
fn names(config: &Config) -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let public = config.public_url.as_deref().and_then(|url| url.parse::<http::Uri>().ok());
    names.extend([host].into_iter().chain(public.and_then(|url| url.host().map(str::to_owned))));
    let listen = Some(config.listen.ip()).filter(|ip| !ip.is_unspecified());
    let addresses = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    names.extend(addresses.into_iter().chain(listen).chain(outward()).map(|ip| ip.to_string()));
    names.sort();
    names.dedup();
    names.retain(|name| !name.is_empty());
    names
}

/// The address from which this host would leave for the outside. Nothing is sent.
fn outward() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    // TEST-NET-1: routed like any address, and nobody's.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    Some(socket.local_addr().ok()?.ip()).filter(|ip| !ip.is_unspecified())
}
