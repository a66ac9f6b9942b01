//! Certificates by ACME, from Pebble: Let's Encrypt's own server for tests, with its own resolver beside it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;

use crate::support::eventually;
use crate::support::server::TestServer;
use crate::support::{is_skipped, setting};

const NAME: &str = "cloud.example.org";

/// Pebble and its resolver; both end with this.
struct Pebble {
    children: Vec<Child>,
    directory: String,
    management: String,
    authority: PathBuf,
    http: reqwest::Client,
}

impl Drop for Pebble {
    fn drop(&mut self) {
        for child in &mut self.children {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

fn free_address() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// Starts Pebble, which looks for proofs at this port of 127.0.0.1; none when it is skipped.
async fn pebble(folder: &Path, tls_port: u16) -> Option<Pebble> {
    if is_skipped("acme") {
        return None;
    }
    let programs = setting("LONGSHORE_TEST_PEBBLE").expect(
        "LONGSHORE_TEST_PEBBLE names the folder of `pebble` and `pebble-challtestsrv`; or skip `acme`",
    );
    let programs = PathBuf::from(programs);
    let made = rcgen_certificate(folder);
    let (listen, management, dns, answers) = (free_address(), free_address(), free_address(), free_address());
    let config = json!({"pebble": {
        "listenAddress": listen.to_string(), "managementListenAddress": management.to_string(),
        "certificate": made.0, "privateKey": made.1, "httpPort": 1, "tlsPort": tls_port,
        "ocspResponderURL": "", "externalAccountBindingRequired": false,
    }});
    let file = folder.join("pebble.json");
    std::fs::write(&file, config.to_string()).unwrap();
    let resolver = Command::new(programs.join("pebble-challtestsrv"))
        .args([
            "-defaultIPv4",
            "127.0.0.1",
            "-defaultIPv6",
            "",
            "-http01",
            "",
            "-https01",
            "",
            "-tlsalpn01",
            "",
            "-doh",
            "",
        ])
        .args(["-dnsserver", &dns.to_string(), "-management", &answers.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let server = Command::new(programs.join("pebble"))
        .args(["-config", file.to_str().unwrap(), "-dnsserver", &dns.to_string()])
        .env("PEBBLE_VA_NOSLEEP", "1")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let authority = reqwest::Certificate::from_pem(&std::fs::read(&made.0).unwrap()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let pebble = Pebble {
        children: vec![server, resolver],
        directory: format!("https://{listen}/dir"),
        management: format!("https://{management}"),
        authority: made.0,
        http,
    };
    eventually("Pebble answers", 60, || async {
        pebble.http.get(&pebble.directory).send().await.is_ok().then_some(())
    })
    .await;
    Some(pebble)
}

/// A certificate for Pebble's own address, and its key.
fn rcgen_certificate(folder: &Path) -> (PathBuf, PathBuf) {
    let (certificate, key) = (folder.join("pebble.crt"), folder.join("pebble.key"));
    // Without the words of the system's configuration, by which it would be an authority and no server.
    let config = folder.join("openssl.cnf");
    let text = "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = more\n[name]\nCN = pebble\n[more]\n\
                subjectAltName = IP:127.0.0.1\nbasicConstraints = critical, CA:FALSE\n";
    std::fs::write(&config, text).unwrap();
    let path = |path: &Path| path.display().to_string();
    let words = [
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
        "-config",
        &path(&config),
        "-keyout",
        &path(&key),
        "-out",
        &path(&certificate),
    ];
    let made = Command::new("openssl").args(words).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    (certificate, key)
}

/// A client that believes this root alone, and finds the name here.
fn browser(root: &[u8], address: SocketAddr) -> reqwest::Client {
    let root = reqwest::Certificate::from_pem(root).unwrap();
    reqwest::Client::builder().no_proxy().tls_certs_only([root]).resolve(NAME, address).build().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_gets_its_certificate_by_itself_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    rustls::crypto::ring::default_provider().install_default().ok();
    let address = free_address();
    let Some(pebble) = pebble(folder.path(), address.port()).await else { return };
    let listen = address.to_string();
    let authority = pebble.authority.display().to_string();
    let settings = [
        ("listen", listen.as_str()),
        ("tls.acme_domains", NAME),
        ("tls.acme_directory", &pebble.directory),
        ("tls.acme_authority", &authority),
        ("tls.acme_contact", "admin@example.org"),
        ("registry.tls", "on"),
    ];
    let server = TestServer::without_engine(&settings).await;
    let root = pebble.http.get(format!("{}/roots/0", pebble.management)).send().await.unwrap();
    let root = root.bytes().await.unwrap();
    let url = format!("https://{NAME}:{}/healthz", address.port());

    eventually("the certificate is believed", 90, || async {
        browser(&root, address).get(&url).send().await.is_ok().then_some(())
    })
    .await;

    // The registry shows it, too.
    let registry: SocketAddr = server.registry.parse().unwrap();
    let at_registry = browser(&root, registry).get(format!("https://{NAME}:{}/v2/", registry.port()));
    assert_eq!(at_registry.send().await.unwrap().status().as_u16(), 401);
    let kept = std::fs::read(server.data_dir().join("keys/acme.pem")).unwrap();
    // A server that comes back shows what it has, whether or not the authority is there.
    drop(pebble);
    let server = server.restart().await;
    browser(&root, address).get(&url).send().await.unwrap();
    assert_eq!(std::fs::read(server.data_dir().join("keys/acme.pem")).unwrap(), kept);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_its_authority_starts_all_the_same() {
    let nobody = free_address();
    let directory = format!("https://{nobody}/dir");
    let settings = [("tls.acme_domains", NAME), ("tls.acme_directory", directory.as_str())];
    let server = TestServer::without_engine(&settings).await;

    let stranger =
        reqwest::Client::builder().no_proxy().tls_danger_accept_invalid_certs(true).build().unwrap();
    let answer =
        stranger.get(format!("{}/healthz", server.url.replace("http:", "https:"))).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);
    server.stop().await;
}
