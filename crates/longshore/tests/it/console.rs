//! The web console as it is served: what browsers are told about it, and that nothing else comes out of its folder. What
//! people do with it is tested in a browser (`console/tests`).

use crate::support::server::{TestServer, client};

/// What the console's page names from our own server.
fn files_of(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in page.split(['"', '\'']) {
        if part.starts_with("/ui/assets/") || part.starts_with("/api/docs/") {
            found.push(part.to_owned());
        }
    }
    found
}

#[tokio::test]
async fn every_address_of_the_console_is_one_page_under_a_strict_policy() {
    let server = TestServer::without_engine(&[]).await;
    let mut pages = Vec::new();

    for path in ["/", "/ui", "/ui/", "/ui/overview", "/ui/containers/7/log"] {
        let answer = client().get(format!("{}{path}", server.url)).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let policy = answer.headers()["content-security-policy"].to_str().unwrap().to_owned();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("require-trusted-types-for 'script'"),
            "{policy}"
        );
        assert!(!policy.contains("unsafe") && !policy.contains("http") && !policy.contains('*'), "{policy}");
        assert_ne!(answer.headers()["cache-control"], "public", "{path}");
        pages.push(answer.text().await.unwrap());
    }

    assert!(pages.iter().all(|page| *page == pages[0]));
    let page = &pages[0];
    assert!(!page.contains("<style") && !page.contains("style="), "{page}");
    assert!(!page.split(' ').any(|word| word.starts_with("on") && word.contains('=')), "{page}");
    let modules = page.matches("<script type=\"module\" crossorigin src=\"/ui/").count();
    assert_eq!(page.matches("<script").count(), modules, "{page}");
    server.stop().await;
}

#[tokio::test]
async fn what_the_page_names_is_there_packed_for_those_who_take_it_and_kept_for_ever() {
    let server = TestServer::without_engine(&[]).await;
    let page = client().get(&server.url).send().await.unwrap().text().await.unwrap();

    let files = files_of(&page);
    assert!(!files.is_empty(), "{page}");
    for file in files {
        let plain = client().get(format!("{}{file}", server.url)).send().await.unwrap();
        assert_eq!(plain.status(), 200, "{file}");
        assert!(!plain.headers().contains_key("content-encoding"), "{file}");
        if file.starts_with("/ui/assets/") {
            assert_eq!(plain.headers()["cache-control"], "public, max-age=31536000, immutable");
            let kind = plain.headers()["content-type"].to_str().unwrap().to_owned();
            let packed =
                client().get(format!("{}{file}", server.url)).header("accept-encoding", "br, gzip;q=0.8");
            let packed = packed.send().await.unwrap();
            assert_eq!(packed.headers()["content-type"], *kind, "{file}");
            let refused = client().get(format!("{}{file}", server.url)).header("accept-encoding", "gzip;q=0");
            assert!(!refused.send().await.unwrap().headers().contains_key("content-encoding"), "{file}");
            let ending = std::path::Path::new(&file).extension().and_then(|ending| ending.to_str());
            if matches!(ending, Some("js" | "css")) {
                assert_eq!(packed.headers()["content-encoding"], "gzip", "{file}");
            }
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn nothing_but_the_consoles_own_files_comes_out_of_its_folder() {
    let server = TestServer::without_engine(&[]).await;

    for path in [
        "assets/nothing.js",
        "assets/..%2f..%2fpackage.json",
        "assets/%2e%2e/%2e%2e/package.json",
        "assets/..%2f..%2f..%2fCargo.toml",
        "assets/%2fetc%2fpasswd",
        "assets/",
    ] {
        let answer = client().get(format!("{}/ui/{path}", server.url)).send().await.unwrap();
        let (status, body) = (answer.status(), answer.text().await.unwrap());
        assert!(
            status == 404 || (status == 200 && body.starts_with("<!doctype html>")),
            "{path}: {status} {body}"
        );
        assert!(
            !body.contains("[workspace]") && !body.contains("root:") && !body.contains("devDependencies"),
            "{path}: {body}"
        );
    }
    server.stop().await;
}
