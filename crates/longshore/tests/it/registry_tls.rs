//! TLS at the registry's address, with a stock Docker client and in detail.

use serde_json::json;
use store::registry_events;
use wire::page::PageQuery;

use crate::support::eventually;
use crate::support::registry::RawImage;
use crate::support::server::TestServer;
use crate::support::shop::Shop;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_speaks_tls_and_engines_of_this_host_need_no_certificate() {
    // Its engine pushes and pulls at 127.0.0.1, where engines try TLS first.
    let Some(shop) = Shop::open_with(&[("registry.tls", "on")]).await else { return };
    shop.run(json!({})).await;
    let authority = shop.server.data_dir().join("keys/tls-authority.crt");
    let authority = reqwest::Certificate::from_pem(&std::fs::read(authority).unwrap()).unwrap();
    let believing = reqwest::Client::builder().no_proxy().tls_certs_only([authority]).build().unwrap();
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    let registry = &shop.server.registry;
    let realm = async |http: &reqwest::Client, scheme: &str| {
        let answer = http.get(format!("{scheme}://{registry}/v2/")).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 401);
        answer.headers()["www-authenticate"].to_str().unwrap().to_owned()
    };

    let challenge = realm(&believing, "https").await;
    assert!(challenge.contains(&format!(r#"realm="https://{registry}/api/registry/token""#)), "{challenge}");
    let challenge = realm(&stranger, "http").await;
    assert!(challenge.contains(&format!(r#"realm="http://{registry}/api/registry/token""#)), "{challenge}");
    assert!(stranger.get(format!("https://{registry}/v2/")).send().await.is_err(), "nobody else signed it");

    // The whole way over TLS: a token, and what it opens.
    let token = believing
        .get(format!("https://{registry}/api/registry/token?scope=repository:alice/app:pull"))
        .basic_auth("alice", Some("alice password"))
        .send()
        .await
        .unwrap();
    let token = token.json::<serde_json::Value>().await.unwrap()["token"].as_str().unwrap().to_owned();
    let manifest = believing
        .get(format!("https://{registry}/v2/alice/app/manifests/v1"))
        .header("accept", crate::support::registry::MANIFEST)
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    assert_eq!(manifest.status().as_u16(), 200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_registry_reports_though_the_servers_own_port_speaks_tls() {
    let server = TestServer::without_engine(&[("tls.mode", "on")]).await;
    server.account("alice").await;
    let image = RawImage::new("reported");

    server.door_of("alice", "alice/app").await.push("alice/app", "v1", &image).await.expect(201);

    eventually("the push is reported", 30, || async {
        let rows = registry_events::list(&server.app.db, PageQuery::default()).await.unwrap().rows;
        rows.into_iter().find(|row| row.event.digest.as_deref() == Some(&image.digest))
    })
    .await;
    server.stop().await;
}
