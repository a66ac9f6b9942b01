//! Notifications, received by a real server: signed, told once per run with an id that stays, and never with a secret in
//! an answer.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use serde_json::{Value, json};

use crate::support::eventually;
use crate::support::server::TestServer;

/// What came: path with query, headers, body.
type Heard = Arc<Mutex<Vec<(String, axum::http::HeaderMap, Value)>>>;

/// A server that hears everything; `/refuse` answers 500 and `/robot` as a robot that refuses.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
async fn listener() -> (String, Heard) {
    async fn hear(State(heard): State<Heard>, request: Request) -> axum::response::Response {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        let path = parts.uri.path_and_query().unwrap().to_string();
        let body = serde_json::from_slice(&body).unwrap_or_default();
        heard.lock().unwrap().push((path.clone(), parts.headers, body));
        match path.as_str() {
            "/refuse" => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
            "/robot" => axum::Json(json!({"errcode": 310_000, "errmsg": "sign not match"})).into_response(),
            _ => axum::Json(json!({"errcode": 0, "code": 0})).into_response(),
        }
    }
    let heard = Heard::default();
    let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", socket.local_addr().unwrap());
    let router = Router::new().fallback(hear).with_state(Arc::clone(&heard));
    tokio::spawn(async move { axum::serve(socket, router).await.unwrap() });
    (url, heard)
}

fn mac(key: &str, text: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key.as_bytes());
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_to_hear_of_a_run_hears_of_it_signed() {
    let server = TestServer::without_engine(&[("outbound.allow", "127.0.0.0/8")]).await;
    let alice = server.account("alice").await;
    let (url, heard) = listener().await;
    // The git server is the same: it has no repository, so that runs fail, and hears of the commit's status.
    let repo = json!({"repo_name": "app", "url": format!("{url}/team/app.git"), "branch": "1".repeat(40), "status_token": "CANARY-token"});
    let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json();
    let path = format!("/api/v1/git-repos/{}/notifications", repo["id"]);
    for (kind, address, secret) in [
        ("webhook", format!("{url}/hook?key=CANARY-a"), Some("CANARY-s1")),
        ("feishu", format!("{url}/feishu/CANARY-b"), Some("CANARY-s2")),
        ("dingtalk", format!("{url}/ding?access_token=CANARY-c"), Some("CANARY-s3")),
        ("wecom", format!("{url}/wecom?key=CANARY-d"), None),
        ("webhook", format!("{url}/refuse"), None),
        ("dingtalk", format!("{url}/robot"), None),
    ] {
        let body = json!({"kind": kind, "address": address, "secret": secret});
        let view = alice.post(&path, body).await.expect(201).json();
        assert_eq!(
            (&view["address"], &view["has_secret"]),
            (&json!(format!("{url}/***")), &json!(secret.is_some()))
        );
    }
    assert!(!alice.get(&path).await.expect(200).text.contains("CANARY"));
    alice.post(&path, json!({"kind": "webhook", "address": "file:///etc/passwd"})).await.expect(422);

    let run = alice.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json();
    let find = |prefix: &str| {
        let heard = heard.lock().unwrap();
        heard.iter().find(|(path, _, _)| path.starts_with(prefix)).cloned()
    };
    eventually("everybody has heard", 60, || async {
        ["/hook", "/feishu", "/ding", "/wecom"].iter().all(|prefix| find(prefix).is_some()).then_some(())
    })
    .await;

    let (_, headers, body) = find("/hook").unwrap();
    let text = |name: &str| headers[name].to_str().unwrap().to_owned();
    assert_eq!(
        (&body["type"], &body["run"]["id"], &body["run"]["state"]),
        (&json!("run.ended"), &run["id"], &json!("failed"))
    );
    assert!(text("webhook-id").starts_with("run_"));
    let signed = mac("CANARY-s1", &format!("{}.{}.{body}", text("webhook-id"), text("webhook-timestamp")));
    assert_eq!(text("webhook-signature"), format!("v1,{signed}"));
    let (_, _, body) = find("/feishu").unwrap();
    assert_eq!(body["sign"], mac(&format!("{}\nCANARY-s2", body["timestamp"].as_str().unwrap()), ""));
    assert!(body["content"]["text"].as_str().unwrap().contains("app"), "{body}");
    let (path_heard, _, body) = find("/ding").unwrap();
    assert!(
        path_heard.contains("access_token=CANARY-c&timestamp=") && path_heard.contains("&sign="),
        "{path_heard}"
    );
    assert_eq!(body["msgtype"], "text");

    let targets = eventually("failures are noted", 60, || async {
        let targets = alice.get(&path).await.expect(200).json();
        let noted = |at: usize| targets[at]["last_result"].is_string();
        (noted(4) && noted(5)).then_some(targets)
    })
    .await;
    assert_eq!(targets[0]["last_result"], "sent");
    assert_eq!(targets[4]["last_result"], "it answered 500");
    assert!(targets[5]["last_result"].as_str().unwrap().contains("310000"), "{targets:#}");
    let trial = format!("{path}/{}/test", targets[4]["id"]);
    let refused = alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(502).json();
    assert_eq!(refused["code"], "notification_failed");
    let trial = format!("{path}/{}/test", targets[0]["id"]);
    alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(200);
    alice.delete(&format!("{path}/{}", targets[0]["id"])).await.expect(204);
    assert_eq!(alice.get(&path).await.json().as_array().unwrap().len(), 5);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_inside_are_not_told_anything() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let (url, heard) = listener().await;
    let repo = json!({"repo_name": "app", "url": "https://h.example.org/team/app.git"});
    let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json();
    let path = format!("/api/v1/git-repos/{}/notifications", repo["id"]);
    let target = alice.post(&path, json!({"kind": "webhook", "address": url})).await.expect(201).json();

    let trial = format!("{path}/{}/test", target["id"]);
    let refused = alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(422).json();

    assert_eq!(refused["code"], "address_refused");
    assert!(heard.lock().unwrap().is_empty());
    server.stop().await;
}

/// A mail server that takes every letter, and none for `full@…`: the letters, as they came.
#[expect(clippy::disallowed_methods, reason = "a test's server ends with the test's runtime")]
async fn mail_server() -> (String, Arc<Mutex<Vec<String>>>) {
    use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

    async fn serve(socket: tokio::net::TcpStream, letters: Arc<Mutex<Vec<String>>>) -> std::io::Result<()> {
        let mut stream = BufReader::new(socket);
        stream.write_all(b"220 mail ESMTP\r\n").await?;
        let mut line = String::new();
        while stream.read_line(&mut line).await? > 0 {
            let answer = match line.split([' ', '\r']).next().unwrap_or_default() {
                "EHLO" => "250-mail\r\n250 AUTH PLAIN\r\n",
                "AUTH" => "235 2.7.0 welcome\r\n",
                "RCPT" if line.contains("full@") => "552 5.2.2 mailbox full\r\n",
                "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 2.1.0 ok\r\n",
                "DATA" => {
                    stream.write_all(b"354 go on\r\n").await?;
                    let mut letter = String::new();
                    while !letter.ends_with("\r\n.\r\n") && stream.read_line(&mut letter).await? > 0 {}
                    letters.lock().unwrap().push(letter);
                    "250 2.0.0 taken\r\n"
                }
                _ => "221 2.0.0 bye\r\n",
            };
            stream.write_all(answer.as_bytes()).await?;
            line.clear();
        }
        Ok(())
    }
    let letters = Arc::<Mutex<Vec<String>>>::default();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let taken = Arc::clone(&letters);
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            // Whoever hangs up in the middle sends no letter.
            let taken = Arc::clone(&taken);
            tokio::spawn(async move { serve(socket, taken).await.ok() });
        }
    });
    (address, letters)
}

#[tokio::test(flavor = "multi_thread")]
async fn letters_are_sent_where_there_is_a_mail_server() {
    let (address, letters) = mail_server().await;
    let url = format!("smtp://robot:CANARY-mail@{address}");
    let settings = [("mail.url", url.as_str()), ("mail.from", "Longshore <ci@example.org>")];
    let server = TestServer::without_engine(&settings).await;
    let alice = server.account("alice").await;
    let repo = json!({"repo_name": "app", "url": "https://127.0.0.1/team/app.git", "branch": "1".repeat(40)});
    let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json();
    let path = format!("/api/v1/git-repos/{}/notifications", repo["id"]);
    for bad in ["alice", "https://example.org", "a@b\r\nBcc: c@example.org"] {
        alice.post(&path, json!({"kind": "email", "address": bad})).await.expect(422);
    }
    let target = alice.post(&path, json!({"kind": "email", "address": "alice@example.org"})).await;
    assert_eq!(target.expect(201).json()["address"], "alice@example.org");
    let full =
        alice.post(&path, json!({"kind": "email", "address": "full@example.org"})).await.expect(201).json();

    let trial = format!("{path}/{}/test", full["id"]);
    let refused = alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(502).json();
    assert_eq!(
        (&refused["code"], &refused["detail"]),
        (&json!("notification_failed"), &json!("the mail server answered 552"))
    );
    let again = alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(429).json();
    assert_eq!(again["code"], "too_many_letters");

    let run = alice.post("/api/v1/runs", json!({"git_repo_id": repo["id"]})).await.expect(202).json();
    let letter =
        eventually("the letter comes", 60, || async { letters.lock().unwrap().first().cloned() }).await;

    assert!(letter.contains("To: alice@example.org") && letter.contains("ci@example.org"), "{letter}");
    assert!(
        letter.contains(&format!("Message-ID: <run_{}_", run["uuid"].as_str().unwrap().replace('-', ""))),
        "{letter}"
    );
    assert!(!alice.get(&path).await.expect(200).text.contains("CANARY"));
    server.stop().await;

    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let repo = json!({"repo_name": "app", "url": "https://h.example.org/team/app.git"});
    let repo = alice.post("/api/v1/git-repos", repo).await.expect(201).json();
    let path = format!("/api/v1/git-repos/{}/notifications", repo["id"]);
    let target =
        alice.post(&path, json!({"kind": "email", "address": "alice@example.org"})).await.expect(201).json();
    let trial = format!("{path}/{}/test", target["id"]);
    let refused = alice.send(alice.request(reqwest::Method::POST, &trial)).await.expect(422).json();
    assert_eq!(refused["code"], "no_mail_server");
    server.stop().await;
}
