//! Seed 002's interface: Django REST Framework's conventions, the seed's names, and what must never be seen or touched.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::server::TestServer;

const URL: &str = "https://username:CANARY-pass@bitbucket.org/8labteam/prometh_exporter.git";

/// The names in an object, in order of the alphabet.
fn keys(object: &Value) -> Vec<&str> {
    sorted(&object.as_object().unwrap().keys().map(String::as_str).collect::<Vec<_>>())
}

fn sorted<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut names = names.to_vec();
    names.sort_unstable();
    names
}

async fn put(api: &Api, path: &str) -> u16 {
    api.send(api.request(Method::PUT, path).json(&json!({}))).await.status
}

/// What the seed's page does: `$.post` sends a form.
async fn post_form(api: &Api, path: &str, form: &[(&str, &str)]) -> crate::support::api::Answer {
    api.send(api.request(Method::POST, path).form(form)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_is_added_by_a_form_and_has_every_column_of_the_seed() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let form = [
        ("repo_name", "prometh_exporter"),
        ("REPO", URL),
        ("Branch", "master"),
        ("build_path", "."),
        ("dockerfile", "Dockerfile"),
        ("job", "nightly"),
        ("TYPE", "bitbucket"),
        ("image", "exporter"),
        ("Desc", "the exporter"),
        ("ca_secret", "CANARY-ca"),
        ("name", "exporter"),
        ("csrfmiddlewaretoken", "x"),
    ];

    let row = post_form(&alice, "/repo/", &form).await.expect(201).json();

    assert_eq!(
        keys(&row),
        sorted(&[
            "id",
            "repo_name",
            "repo",
            "branch",
            "tag",
            "build_path",
            "dockerfile",
            "job",
            "type",
            "image",
            "desc",
            "Time",
            "Time_iso",
            "user",
            "ca_secret",
            "name"
        ])
    );
    assert_eq!(row["repo"], "https://***@bitbucket.org/8labteam/prometh_exporter.git");
    assert_eq!(
        (&row["ca_secret"], &row["user"], &row["type"]),
        (&json!("***"), &json!("alice"), &json!("bitbucket"))
    );
    let time = row["Time"].as_str().unwrap();
    assert!(time.len() == 15 && time.as_bytes()[8] == b' ', "{time}");
    let id = row["id"].as_i64().unwrap();
    for path in [format!("/repo/{id}/"), format!("/repo/{id}")] {
        assert_eq!(alice.get(&path).await.expect(200).json(), row);
    }
    assert_eq!(alice.get("/repo/").await.expect(200).json(), json!([row]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_field_by_field_as_such_clients_expect() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let required = json!(["This field is required."]);

    let none = alice.post("/repo/", json!({})).await.expect(400).json();
    assert_eq!(none, json!({"repo_name": required, "repo": required}));
    let blank =
        alice.post("/repo/", json!({"repo_name": "", "repo": "https://h/x"})).await.expect(400).json();
    assert_eq!(blank, json!({"repo_name": ["This field may not be blank."]}));
    for (field, max) in [
        ("repo_name", 150),
        ("repo", 200),
        ("branch", 150),
        ("tag", 100),
        ("build_path", 150),
        ("dockerfile", 150),
        ("job", 100),
        ("type", 20),
        ("image", 150),
        ("desc", 200),
        ("name", 50),
    ] {
        let mut body = json!({"repo_name": "app", "repo": "https://h.example.org/x"});
        body[field] = json!("x".repeat(max + 1));
        let answer = alice.post("/repo/", body).await.expect(400).json();
        let sentence = format!("Ensure this field has no more than {max} characters.");
        assert_eq!(answer, json!({field: [sentence]}));
    }
    let body = json!({"repo_name": "app", "repo": "https://h.example.org/x"});
    alice.post("/repo/", body.clone()).await.expect(201);
    let twice = alice.post("/repo/", body).await.expect(400).json();
    assert_eq!(twice, json!({"repo_name": ["gitstat with this repo name already exists."]}));

    let lines =
        json!({"repo_name": "lines", "repo": "x", "type": "a\nb", "desc": "a\nb", "build_path": "../x"});
    let named = alice.post("/repo/", lines).await.expect(400).json();
    assert_eq!(named["type"], json!(["`type` is one line of text"]));
    assert_eq!(named["desc"], json!(["`desc` is one line of text"]));
    assert!(named["build_path"][0].as_str().unwrap().starts_with("`build_path`"), "{named}");
    let job = json!({"name": "lines", "REGISTORY_ADD": "a\nb"});
    let named = alice.post("/job/", job).await.expect(400).json();
    assert_eq!(named, json!({"REGISTORY_ADD": ["`REGISTORY_ADD` is one line of text"]}));
    let event = json!({"repo": "app", "Desc": "a\nb"});
    let named = alice.post("/event/", event).await.expect(400).json();
    assert_eq!(named, json!({"Desc": ["`Desc` is one line of at most 300 characters"]}));

    assert_eq!(alice.get("/repo/999/").await.expect(404).json(), json!({"detail": "Not found."}));
    assert_eq!(alice.get("/repo/x/").await.expect(404).json(), json!({"detail": "Not found."}));
    for path in ["/repo/", "/event/", "/job/", "/log/", "/check/", "/repo/1/"] {
        assert_eq!(put(&alice, path).await, 405, "{path}");
    }
    assert_eq!(
        alice.get("/check/").await.expect(405).json(),
        json!({"detail": "Method \"GET\" not allowed."})
    );
    let anonymous = server.api.get("/repo/").await.expect(401);
    assert_eq!(anonymous.json(), json!({"detail": "Authentication credentials were not provided."}));
    assert_eq!(anonymous.headers["content-type"], "application/json");
    let text = alice.request(Method::POST, "/repo/").header("content-type", "text/plain").body("x");
    assert!(alice.send(text).await.expect(415).json()["detail"].is_string());
    let broken = alice.request(Method::POST, "/repo/").header("content-type", "application/json").body("{");
    assert!(alice.send(broken).await.expect(400).json()["detail"].is_string());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_found_by_path_id_or_name_and_never_all_at_once() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let mut ids = Vec::new();
    for name in ["one", "two", "three"] {
        let body = json!({"repo_name": name, "repo": "https://h.example.org/x"});
        ids.push(alice.post("/repo/", body).await.expect(201).json()["id"].as_i64().unwrap());
    }

    for (path, body) in [
        (format!("/repo/{}/", ids[0]), json!({"desc": "a"})),
        (format!("/repo/?id={}", ids[0]), json!({"desc": "b"})),
        ("/repo/".to_owned(), json!({"id": ids[0], "desc": "c"})),
        (format!("/repo/?id={}", ids[0]), json!({"id": ids[0], "ID": ids[0], "desc": "as it was read"})),
        ("/repo/".to_owned(), json!({"repo_name": "one", "desc": "d"})),
    ] {
        let changed = alice.patch(&path, body.clone()).await.expect(200).json();
        assert_eq!((&changed["id"], &changed["desc"]), (&json!(ids[0]), &body["desc"]));
    }
    let two = alice.patch(&format!("/repo/?id={}", ids[0]), json!({"id": ids[1], "desc": "x"})).await;
    assert_eq!(two.expect(400).json(), json!({"id": ["`id` is given twice"]}));
    let renamed = alice.patch("/repo/", json!({"id": ids[0], "repo_name": "first"})).await.expect(200).json();
    assert_eq!(renamed["repo_name"], "first");
    for path in ["/repo/", "/event/", "/job/", "/log/"] {
        let none = json!({"detail": "Not found."});
        assert_eq!(alice.get(&format!("{path}%ff%fe/")).await.expect(404).json(), none);
        let missing = json!({"id": ["This field is required."]});
        assert_eq!(alice.patch(path, json!({"desc": "all"})).await.expect(400).json(), missing);
        assert_eq!(alice.delete(path).await.expect(400).json(), missing);
    }
    assert_eq!(alice.delete(&format!("/repo/{}/", ids[0])).await.expect(204).text, "");
    alice.delete(&format!("/repo/?id={}", ids[1])).await.expect(204);
    let body = alice.request(Method::DELETE, "/repo/").json(&json!({"repo_name": "three"}));
    alice.send(body).await.expect(204);
    assert_eq!(alice.get("/repo/").await.expect(200).json(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_several_jobs_have_names_none_of_them() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let add = async |api: &Api, desc: &str| {
        let job = json!({"name": "twin", "desc": desc});
        api.post("/job/", job).await.expect(201).json()["id"].clone()
    };
    let first = add(&alice, "1").await;
    add(&alice, "2").await;
    add(&bob, "his").await;
    let said = json!({"detail": "there are several runners `twin`; name one by its number"});

    for api in [&alice, &server.admin().await] {
        let delete = api.request(Method::DELETE, "/job/").form(&[("name", "twin")]);
        assert_eq!(api.send(delete).await.expect(409).json(), said);
        let changed = api.patch("/job/", json!({"name": "twin", "desc": "x"})).await;
        assert_eq!(changed.expect(409).json(), said);
    }
    let rows = alice.get("/job/?name=twin").await.expect(200).json();
    assert_eq!((&rows[0]["desc"], &rows[1]["desc"]), (&json!("2"), &json!("1")));

    alice.delete(&format!("/job/?id={first}")).await.expect(204);
    alice.patch("/job/", json!({"name": "twin", "desc": "x"})).await.expect(200);
    bob.delete("/job/?name=twin").await.expect(204);
    server.admin().await.patch("/job/", json!({"name": "twin", "desc": "y"})).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_filtered_searched_ordered_and_paged() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    for (name, branch, kind) in
        [("a", "main", "x"), ("b", "dev", "x"), ("c", "main", "y"), ("d", "main", "x")]
    {
        let body = json!({"repo_name": name, "repo": format!("https://h.example.org/{name}"), "branch": branch, "type": kind});
        alice.post("/repo/", body).await.expect(201);
    }
    let names = async |query: &str| -> Vec<String> {
        let rows = alice.get(&format!("/repo/{query}")).await.expect(200).json();
        let rows = rows.as_array().cloned().unwrap_or_else(|| rows["results"].as_array().unwrap().clone());
        rows.iter().map(|row| row["repo_name"].as_str().unwrap().to_owned()).collect()
    };

    assert_eq!(names("").await, ["d", "c", "b", "a"]);
    assert_eq!(names("?branch=main&type=x").await, ["d", "a"]);
    assert_eq!(names("?TYPE=y").await, ["c"]);
    assert_eq!(names("?search=example.org/B").await, ["b"]);
    assert_eq!(names("?search=EXAMPLE org/b").await, ["b"], "each word is somewhere");
    assert_eq!(names("?search=c,nowhere").await, Vec::<String>::new());
    let many = "a,".repeat(33);
    let refused = alice.get(&format!("/repo/?search={many}")).await.expect(400).json();
    assert_eq!(refused, json!({"search": ["a search has at most 32 words"]}));
    let refused = alice.get(&format!("/api/v1/git-repos?search={many}")).await.expect(422).json();
    assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid"), &json!("search")));
    assert_eq!(names("?id=&Time=").await, ["d", "c", "b", "a"], "fields that were left empty");
    assert_eq!(names("?ordering=branch,-repo_name").await, ["b", "d", "c", "a"]);
    assert_eq!(names("?user=alice&id=1").await, ["a"]);
    assert_eq!(names("?user=bob").await, Vec::<String>::new());
    assert_eq!(names("?repo=https://h.example.org/c").await, ["c"]);
    let time = alice.get("/repo/1/").await.json()["Time"].as_str().unwrap().to_owned();
    assert!(names(&format!("?Time={time}")).await.contains(&"a".to_owned()));
    assert_eq!(names("?Time=20010101 000000").await, Vec::<String>::new());

    let page = alice.get("/repo/?page=2&page_size=3").await.expect(200).json();
    assert_eq!(keys(&page), sorted(&["count", "next", "previous", "results"]));
    assert_eq!((&page["count"], &page["next"]), (&json!(4), &json!(null)));
    assert_eq!(page["results"][0]["repo_name"], "a");
    let previous = page["previous"].as_str().unwrap().strip_prefix(&server.url).unwrap().to_owned();
    assert_eq!(alice.get(&previous).await.expect(200).json()["results"].as_array().unwrap().len(), 3);
    let page = alice.get("/repo/?limit=1&offset=1").await.expect(200).json();
    assert_eq!((page["results"][0]["repo_name"].as_str(), page["next"].is_string()), (Some("c"), true));
    assert_eq!(alice.get("/repo/?page=9").await.expect(404).json(), json!({"detail": "Invalid page."}));
    for odd in ["?page_size=x", "?page_size=0", "?limit=x", "?limit=-1", "?limit=0", "?offset=x"] {
        assert_eq!(names(odd).await, ["d", "c", "b", "a"], "{odd} counts as not given");
    }
    for bad in ["?page=0", "?page=x", "?id=x", "?Time=yesterday"] {
        let status = alice.get(&format!("/repo/{bad}")).await.status;
        assert!(matches!(status, 400 | 404), "{bad}: {status}");
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn states_are_ordered_and_filtered_as_they_are_shown() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    // One takes connections and never answers, the other one takes none.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_url = format!("http://{}/x.git", silent.local_addr().unwrap());
    let start = async |name: &str, url: &str| {
        alice.post("/repo/", json!({"repo_name": name, "repo": url})).await.expect(201);
        alice.post("/event/", json!({"repo": name})).await.expect(201).json()["id"].clone()
    };
    let row = async |id: &Value| alice.get(&format!("/event/{id}/")).await.expect(200).json();
    let is = async |id: &Value, state: &str| {
        crate::support::eventually("the run gets there", 60, || async {
            (row(id).await["status_text"] == state).then_some(())
        })
        .await;
    };
    let failed = start("a-failed", "http://127.0.0.1:9/x.git").await;
    is(&failed, "failed").await;
    let running = start("b-running", &silent_url).await;
    is(&running, "running").await;
    let cancelled = start("c-cancelled", &silent_url).await;
    alice.patch("/event/", json!({"id": cancelled, "action": "cancel"})).await.expect(200);
    is(&cancelled, "cancelled").await;

    for path in ["/event/", "/job/"] {
        let shown = async |query: &str, field: &str| -> Vec<Value> {
            let rows = alice.get(&format!("{path}{query}")).await.expect(200).json();
            rows.as_array().unwrap().iter().map(|row| row[field].clone()).collect()
        };
        assert_eq!(shown("?ordering=status", "status").await, ["2", "4", "4"], "{path}");
        assert_eq!(shown("?ordering=-status", "status").await, ["4", "4", "2"], "{path}");
        let words = shown("?ordering=status_text", "status_text").await;
        assert_eq!(words, ["cancelled", "failed", "running"], "{path}");
        assert_eq!(shown("?status_text=failed", "status_text").await, ["failed"], "{path}");
        assert_eq!(shown("?status_text=nothing", "id").await, Vec::<Value>::new(), "{path}");
        assert_eq!(shown("?status_text=", "id").await, Vec::<Value>::new(), "{path}");
        assert_eq!(shown("?ctime_iso=", "id").await.len(), 3, "{path}");
        assert_eq!(alice.get(&format!("{path}?ctime_iso=now")).await.status, 400, "{path}");
    }
    // What is shown of a row finds it again.
    for (path, fields) in [
        ("/event/", &["status_text", "reason", "message", "commit", "ctime_iso", "Desc"][..]),
        ("/job/", &["status_text", "ctime_iso", "IMAGE_TAG"]),
        ("/log/", &["create_at_iso"]),
        ("/repo/", &["Time_iso"]),
    ] {
        let rows = alice.get(path).await.expect(200).json();
        for row in rows.as_array().unwrap() {
            for field in fields {
                let query = [("id", row["id"].to_string()), (field, row[field].as_str().unwrap().to_owned())];
                let found =
                    alice.send(alice.request(Method::GET, path).query(&query)).await.expect(200).json();
                assert_eq!(found.as_array().unwrap().len(), 1, "{path} {field} {row}");
            }
        }
    }
    for field in ["reason", "message"] {
        let rows = alice.get(&format!("/event/?{field}=")).await.expect(200).json();
        assert_eq!((&rows[0]["id"], rows.as_array().unwrap().len()), (&running, 1), "{field}");
    }
    for field in ["commit", "digest"] {
        let rows = alice.get(&format!("/event/?{field}=")).await.expect(200).json();
        assert_eq!(rows.as_array().unwrap().len(), 3, "{field}");
    }
    alice.patch("/event/", json!({"id": running, "action": "cancel"})).await.expect(200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_sealed_masked_and_kept_until_they_are_replaced() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let body = json!({"repo_name": "app", "repo": URL, "ca_secret": "CANARY-ca"});
    let id = alice.post("/repo/", body).await.expect(201).json()["id"].clone();
    let job = json!({"name": "nightly", "REGISTORY_ADD": "r.example.org", "REGISTRY_NAME": "robot", "REGISTRY_PASS": "CANARY-registry", "REPO_PATH": URL});
    let job = alice.post("/job/", job).await.expect(201).json();
    assert_eq!((&job["REGISTRY_PASS"], &job["status"]), (&json!("***"), &json!("1")));
    let row = async || {
        let id = wire::ids::GitRepoId(id.as_i64().unwrap());
        store::git_repos::get(&server.app.db, id).await.unwrap().unwrap().content
    };
    let before = row().await;

    let masked = json!({"id": id, "repo": "https://***@bitbucket.org/8labteam/other.git", "ca_secret": "***", "desc": "x"});
    alice.patch("/repo/", masked).await.expect(200);
    let after = row().await;
    assert_eq!((&after.credential, &after.ca_secret), (&before.credential, &before.ca_secret));
    let job = alice
        .patch("/job/", json!({"name": "nightly", "REGISTRY_PASS": "***", "desc": "x"}))
        .await
        .expect(200)
        .json();
    assert_eq!(job["REGISTRY_PASS"], "***");
    // Lists tell whether there is a secret, and of an address what is shown of it.
    for (path, count) in [
        ("/repo/?ca_secret=***", 1),
        ("/repo/?ca_secret=", 0),
        ("/repo/?ca_secret=CANARY-ca", 0),
        ("/repo/?repo=https://***@bitbucket.org/8labteam/other.git", 1),
        ("/repo/?repo=https://bitbucket.org/8labteam/other.git", 1),
        ("/job/?REGISTRY_PASS=***", 1),
        ("/job/?registry_pass=CANARY-registry", 0),
    ] {
        let rows = alice.get(path).await.expect(200).json();
        assert_eq!(rows.as_array().unwrap().len(), count, "{path}: {rows}");
    }
    // The password is for its host: no other one gets it by a change of the address.
    let moved = json!({"id": id, "repo": "https://***@evil.example.org/8labteam/other.git"});
    assert!(alice.patch("/repo/", moved).await.expect(400).json()["repo"].is_array());
    let moved = json!({"id": id, "repo": "https://evil.example.org/8labteam/other.git"});
    let moved = alice.patch("/repo/", moved).await.expect(200).json();
    assert_eq!(moved["repo"], "https://evil.example.org/8labteam/other.git");
    assert_eq!(row().await.credential, None);

    let mut seen = String::new();
    for path in ["/repo/", "/job/", "/event/", "/log/", "/api/v1/git-repos", "/api/v1/audit"] {
        seen.push_str(&server.admin().await.get(path).await.expect(200).text);
    }
    assert!(!seen.contains("CANARY"), "{seen}");
    let mut databases = 0;
    for file in std::fs::read_dir(server.data_dir()).unwrap().flatten() {
        if file.file_name().to_string_lossy().starts_with("longshore.db") {
            let bytes = std::fs::read(file.path()).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            assert!(!text.contains("CANARY"), "{}", file.path().display());
            databases += 1;
        }
    }
    assert!(databases > 0, "the database was looked at");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_git_could_mistake_is_refused_and_nothing_is_stored() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let good = json!({"repo_name": "app", "repo": "https://h.example.org/x"});
    let cases = [
        ("repo", "--upload-pack=touch /tmp/pwn"),
        ("repo", "ext::sh -c touch% /tmp/pwn"),
        ("repo", "file:///etc"),
        ("repo", "/etc"),
        ("repo", "ssh://-oProxyCommand=touch/x"),
        ("repo", "https://h.example.org/x\u{0}"),
        ("repo", "https://h.example.org/x\nfoo"),
        ("repo", "git://h.example.org/x"),
        ("branch", "--upload-pack=touch /tmp/pwn"),
        ("branch", "-x"),
        ("branch", "a..b"),
        ("branch", "a@{1}"),
        ("branch", "$(touch /tmp/pwn)"),
        ("branch", "a b"),
        ("branch", "a:b"),
        ("tag", "v 1"),
        ("tag", "-v1"),
        ("build_path", "../../etc"),
        ("build_path", "a/../../b"),
        ("dockerfile", "../../../etc/shadow"),
        ("image", "--privileged"),
        ("image", "app --privileged"),
        ("image", "a$(b)"),
        ("image", "a;b"),
    ];

    for (field, value) in cases {
        let mut body = good.clone();
        body[field] = json!(value);
        let answer = alice.post("/repo/", body).await.expect(400).json();
        assert!(answer[field].is_array(), "{field} {value:?}: {answer}");
    }
    assert_eq!(alice.get("/repo/").await.expect(200).json(), json!([]));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_check_proves_itself_by_its_token() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, bob) = (server.account("alice").await, server.account("bob").await);
    let token = async |api: &Api| {
        api.post("/api/v1/tokens", json!({"name": "ci"})).await.expect(201).json()["token"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    let (hers, his) = (token(&alice).await, token(&bob).await);
    alice.post("/repo/", json!({"repo_name": "hers", "repo": "https://h.example.org/x"})).await.expect(201);
    let check = async |repo: &str, user: &str, token: &str| {
        server.api.post("/check/", json!({"repo": repo, "user": user, "token": token})).await
    };

    let missing = server.api.post("/check/", json!({"repo": "hers"})).await.expect(400).json();
    assert_eq!(keys(&missing), sorted(&["user", "token"]));
    let wrong = check("hers", "alice", "ls_wrong").await.expect(401);
    let others = check("hers", "alice", &his).await.expect(401);
    assert_eq!(wrong.json(), others.json(), "one answer for both");
    check("hers", "bob", &his).await.expect(403);
    check("nobodys", "bob", &his).await.expect(404);
    assert_eq!(alice.get("/event/").await.json(), json!([]), "nothing was started");
    // A bearer token is no answer to what the body must say.
    alice.post("/check/", json!({"repo": "hers", "user": "alice"})).await.expect(400);

    let started = check("hers", "alice", &hers).await.expect(201).json();
    assert_eq!(
        keys(&started),
        sorted(&[
            "repo",
            "event",
            "event_uuid",
            "job",
            "Runner_uuid",
            "image",
            "Image_tag",
            "status",
            "commit"
        ])
    );
    assert_eq!((&started["status"], &started["image"]), (&json!("1"), &json!("alice/hers")));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_longest_name_of_a_repository_makes_names_that_fit() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let names = ["Long_name.".repeat(15), format!("{}x", "a".repeat(149)), format!("{}y", "a".repeat(149))];

    let mut images = std::collections::BTreeSet::new();
    for name in &names {
        // Nobody is asked there: loopback is out of reach.
        let repo = json!({"repo_name": name, "repo": "http://127.0.0.1:9/x.git"});
        alice.post("/repo/", repo).await.expect(201);
        let event = alice.post("/event/", json!({"repo": name})).await.expect(201).json();
        let length = |field: &str| event[field].as_str().unwrap().len();
        assert!(length("job") <= 63 && length("name") <= 100 && length("image") <= 150, "{event}");
        images.insert(event["image"].to_string());
    }
    assert_eq!(images.len(), names.len(), "each has an image of its own: {images:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_come_from_the_minute_and_stay_apart_within_it() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    // Connections are taken and never answered.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/x.git", silent.local_addr().unwrap());
    let repo = json!({"repo_name": "prometh_exporter", "repo": url});
    let repo = alice.post("/repo/", repo).await.expect(201).json();

    let mut events = Vec::new();
    for _ in 0..3 {
        let event = json!({"repo": "prometh_exporter", "Desc": "by hand", "status": "3"});
        events.push(alice.post("/event/", event).await.expect(201).json());
    }

    let minute = events[0]["Image_tag"].as_str().unwrap().to_owned();
    assert!(minute.len() == 13 && minute.starts_with("v20"), "{minute}");
    assert_eq!(events[0]["name"], format!("event-prometh-exporter-build{minute}"));
    assert_eq!(events[0]["job"], format!("prometh-exporter-build{minute}"));
    if events[2]["Image_tag"].as_str().unwrap().starts_with(&minute) {
        assert_eq!(events[2]["name"], format!("event-prometh-exporter-build{minute}-3"));
        assert_eq!(events[2]["Image_tag"], format!("{minute}-3"));
    }
    assert_eq!(
        (&events[0]["Desc"], &events[0]["status"]),
        (&json!("by hand"), &json!("1")),
        "states are the server's"
    );
    assert_eq!(
        keys(&events[0]),
        sorted(&[
            "id",
            "uuid",
            "name",
            "status",
            "status_text",
            "reason",
            "message",
            "repo",
            "job",
            "type",
            "image",
            "Image_tag",
            "ctime",
            "ctime_iso",
            "Desc",
            "commit",
            "digest"
        ])
    );
    let jobs = alice.get("/job/").await.expect(200).json();
    assert_eq!(
        keys(&jobs[0]),
        sorted(&[
            "id",
            "uuid",
            "name",
            "status",
            "status_text",
            "type",
            "REGISTORY_ADD",
            "REGISTRY_NAME",
            "IMAGE_TAG",
            "REPO_PATH",
            "IMAGE_REPO",
            "REGISTRY_PASS",
            "IMAGE_NAME",
            "REPO_DOCKERFILE",
            "BUILD_PATH",
            "desc",
            "ctime",
            "ctime_iso",
            "event"
        ])
    );
    assert_eq!(
        (&jobs[2]["IMAGE_NAME"], &jobs[2]["IMAGE_REPO"]),
        (&json!("prometh-exporter"), &json!("alice"))
    );
    let lines = alice.get(&format!("/log/?event_uuid={}", events[0]["uuid"].as_str().unwrap())).await.json();
    assert_eq!(
        keys(&lines[0]),
        sorted(&["id", "Repo_name", "event_uuid", "Runner_uuid", "msg", "create_at", "create_at_iso"])
    );
    assert_eq!(lines[0]["Repo_name"], "prometh_exporter");
    let said = json!({"Repo_name": "prometh_exporter", "event_uuid": events[0]["uuid"], "Runner_uuid": lines[0]["Runner_uuid"], "msg": "hello"});
    let line = alice.post("/log/", said).await.expect(201).json();
    let changed = alice.patch("/log/", json!({"id": line["id"], "msg": "bye"})).await.expect(200).json();
    assert_eq!(changed["msg"], "bye");
    assert!(changed["create_at_iso"].as_str() > line["create_at_iso"].as_str());
    alice.delete(&format!("/log/{}/", line["id"])).await.expect(204);

    // A repository whose run has not ended stays; the third run waits for the others and ends at once.
    alice.delete(&format!("/repo/{}/", repo["id"])).await.expect(409);
    for event in events.iter().rev() {
        alice.patch("/event/", json!({"id": event["id"], "action": "cancel"})).await.expect(200);
    }
    crate::support::eventually("every run has ended", 30, || async {
        let rows = alice.get("/event/").await.json();
        rows.as_array().unwrap().iter().all(|row| row["reason"] == "cancelled").then_some(())
    })
    .await;
    alice.delete(&format!("/repo/{}/", repo["id"])).await.expect(204);
    for path in ["/event/", "/job/", "/log/"] {
        assert_eq!(alice.get(path).await.json(), json!([]), "{path}");
    }
    server.stop().await;
}
