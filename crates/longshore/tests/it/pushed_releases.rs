//! Releases of charts that a stock Helm has pushed into our registry, in a real cluster.

use serde_json::json;

use crate::support::releases::{Harbour, MAP, chart, helm_at};

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_that_was_pushed_is_installed_and_its_next_version_too() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let home = harbour.server.folder().to_owned();
    let Some(helm) = helm_at(&home) else { return harbour.close().await };
    let (henry, name, registry) = (&harbour.henry, harbour.name.as_str(), harbour.server.registry.as_str());
    let password = format!("{name} password");
    let done = |arguments: &[&str]| {
        let output = helm(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let push = |version: &str, text: &str| {
        let file = home.join("web.tgz");
        std::fs::write(&file, chart("web", version, &format!("text: {text}\n"), &[MAP])).unwrap();
        done(&["push", &file.display().to_string(), &format!("oci://{registry}/{name}"), "--plain-http"]);
    };
    let text_of = |release: &str| {
        let map = harbour.cluster.object(&["-n", &harbour.namespace, "configmap", release]).unwrap();
        map["data"]["text"].as_str().unwrap().to_owned()
    };
    done(&["registry", "login", registry, "--plain-http", "-u", name, "-p", &password]);
    push("1.0.0", "first");

    harbour.installed(json!({"name": "shop", "chart": format!("{name}/web")})).await;
    assert_eq!(text_of("shop"), "first");
    // As a repository of its own, by the registry's address.
    let url = format!("oci://{registry}/{name}");
    henry
        .post("/api/v1/chart-repos", json!({"name": format!("{name}-oci"), "url": url, "is_public": false}))
        .await
        .expect(201);
    harbour.installed(json!({"name": "other", "chart": format!("{name}-oci/web")})).await;
    assert_eq!(text_of("other"), "first");

    push("1.1.0", "second");
    let wish = json!({"version": "1.1.0"});
    let accepted = henry.post("/api/releases/shop/upgrade", wish).await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");

    assert_eq!((text_of("shop"), text_of("other")), ("second".to_owned(), "first".to_owned()));
    let shop = harbour.release("shop").await;
    assert_eq!((&shop["chart_version"], &shop["revision"]), (&json!("1.1.0"), &json!(2)), "{shop:#}");
    // What releases were made from stays while they are there.
    let used = henry.delete(&format!("/api/v1/chart-repos/{name}")).await.expect(409);
    assert_eq!(used.code(), "chart_repo_in_use");
    let accepted = henry.delete("/api/releases/shop").await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    harbour.close().await;
}
