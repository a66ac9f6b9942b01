//! What services show, under `/app/…` and through their ports: for their account, and without ever getting hold of what opens
//! the console.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::api::{Answer, Api};
use crate::support::cluster::unique;
use crate::support::room::{Room, page};
use crate::support::socket::Socket;

/// An application that shows what it gets, and tries what it can to get more.
const DOCKERFILE: &str = "FROM scratch\nCOPY busybox /bin/busybox\nCOPY www /www\nCOPY upgrade /upgrade\n\
    CMD [\"/bin/busybox\", \"sh\", \"-c\", \"/bin/busybox nc -ll -p 8001 -e /upgrade & exec /bin/busybox httpd -f -p 8000 -h /www\"]\n";
const SHOW: &str =
    "#!/bin/busybox sh\necho 'Content-Type: text/plain'\necho\n/bin/busybox env\n/bin/busybox cat\n";
const STEAL: &str = "#!/bin/busybox sh\necho 'Status: 302 Found'\necho 'Location: /cgi-bin/show'\n\
    echo 'Set-Cookie: longshore_session=mine; Path=/'\necho 'Set-Cookie: a=b; Path=/; Domain=localhost'\n\
    echo 'Clear-Site-Data: \"*\"'\necho 'WWW-Authenticate: Basic'\necho\n";
const WAIT: &str = "#!/bin/busybox sh\necho 'Content-Type: text/plain'\necho\necho first\n\
    while [ ! -e /go ]; do /bin/busybox sleep 0.1; done\necho second\n";
const GO: &str = "#!/bin/busybox sh\necho > /go\necho 'Content-Type: text/plain'\necho\necho gone\n";
/// Says what it was asked, then what it hears. It reads the whole question first: nobody takes an answer to none.
const UPGRADE: &str = "#!/bin/busybox sh\nwhile read -r line; do asked=\"$asked$line\n\"; case \"$line\" in \"\"|\"\r\") break;; esac; done\n\
    echo 'HTTP/1.1 101 Switching Protocols'\necho 'Connection: Upgrade'\necho 'Upgrade: websocket'\necho\necho \"$asked\"\nexec /bin/busybox cat\n";
const MANIFESTS: &str = "apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: web
        image: IMAGE
        ports: [{name: http, containerPort: 8000}]
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports:
  - {name: web, port: 80, targetPort: http}
  - {name: upgrade, port: 81, targetPort: 8001}
  - {name: nobody, port: 82, targetPort: 9}
";

/// An application of henry's that answers.
async fn application(room: &Room) {
    let busybox = std::fs::read("/bin/busybox").unwrap();
    let files: [(&str, &[u8]); 7] = [
        ("busybox", &busybox),
        ("upgrade", UPGRADE.as_bytes()),
        ("www/index.html", b"the first page"),
        ("www/cgi-bin/show", SHOW.as_bytes()),
        ("www/cgi-bin/steal", STEAL.as_bytes()),
        ("www/cgi-bin/wait", WAIT.as_bytes()),
        ("www/cgi-bin/go", GO.as_bytes()),
    ];
    room.upload_with("v1", DOCKERFILE, &files).await;
    let manifest = MANIFESTS.replace("IMAGE", &format!("{}/app:v1", room.name));
    room.henry.post("/api/v1/workloads", json!({"manifest": manifest})).await.expect(200);
    room.rolled_out().await;
}

/// A client that follows no redirect.
fn unled() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap()
}

/// Asks as a browser does that is logged in: with the cookie.
async fn browse(api: &Api, method: Method, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut request = api.anonymous().request(method, path);
    request = request.header("cookie", format!("longshore_session={}; a=b", api.token.as_deref().unwrap()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    api.send(request).await
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).map_or("", |value| value.to_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_is_shown_to_its_account_and_sees_nothing_that_opens_the_console() {
    let Some(room) = Room::whole_with(&[("app_listen", "127.0.0.1:0")]).await else { return };
    application(&room).await;
    let henry = &Api { http: unled(), ..room.henry.clone() };
    let token = room.henry.token.clone().unwrap();
    let apart = room.server.app.config.app_listen.unwrap();
    let at_apart = Api { url: format!("http://{apart}"), ..henry.clone() };

    // A program with a token is served here; what it gets could not use the origin in a browser.
    let first = henry.get("/app/test/web/80/").await.expect(200);
    assert_eq!(first.text, "the first page");
    assert!(text(&first.headers, "content-security-policy").starts_with("sandbox"), "{:?}", first.headers);
    assert_eq!(
        henry.get(&format!("/app/{}/web/web/index.html", room.namespace)).await.expect(200).text,
        "the first page"
    );
    let sent = henry
        .request(Method::POST, "/app/test/web/80/cgi-bin/show?q=%20")
        .header("x-own", "1")
        .body("the body");
    let shown = henry.send(sent).await.expect(200).text;
    for line in [
        "REQUEST_METHOD=POST",
        "QUERY_STRING=q=%20",
        "HTTP_X_OWN=1",
        "HTTP_X_FORWARDED_PREFIX=/app/test/web/80",
        "the body",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}: {shown}");
    }
    assert!(!shown.contains(&token) && !shown.contains("HTTP_AUTHORIZATION"), "{shown}");

    // A browser is sent to an origin where there is nothing but applications.
    let sent = browse(henry, Method::GET, "/app/test/web/80/x?y=z", &[]).await.expect(307);
    let expected = format!("http://127.0.0.1:{}/app/test/web/80/x?y=z", apart.port());
    assert_eq!(text(&sent.headers, "location"), expected);
    browse(henry, Method::POST, "/app/test/web/80/", &[]).await.expect(403);
    let shown = browse(&at_apart, Method::GET, "/app/test/web/80/cgi-bin/show", &[]).await.expect(200);
    assert!(shown.text.contains("HTTP_COOKIE=a=b\n") && !shown.text.contains(&token), "{}", shown.text);
    assert_eq!(text(&shown.headers, "content-security-policy"), "");
    let stolen = browse(&at_apart, Method::GET, "/app/test/web/80/cgi-bin/steal", &[]).await.expect(302);
    assert_eq!(text(&stolen.headers, "location"), "/app/test/web/80/cgi-bin/show");
    let cookies: Vec<_> = stolen.headers.get_all("set-cookie").iter().collect();
    assert_eq!(cookies, ["a=b; Path=/app/test/web/80/"]);
    assert!(
        stolen.headers.get("clear-site-data").is_none() && stolen.headers.get("www-authenticate").is_none()
    );
    assert_eq!(
        text(&at_apart.get("/app/test/web/80?q").await.expect(307).headers, "location"),
        "/app/test/web/80/?q"
    );
    at_apart.get("/api/v1/me").await.expect(404);
    browse(&at_apart, Method::GET, "/", &[]).await.expect(404);
    // What runs there is of another origin, and can change nothing with the cookie that the browser sends along.
    let origin = format!("http://{apart}");
    let forged = browse(henry, Method::POST, "/api/auth/logout", &[("origin", &origin)]).await.expect(403);
    assert_eq!(forged.code(), "foreign_origin");
    browse(&at_apart, Method::POST, "/app/test/web/80/cgi-bin/show", &[("origin", "http://evil.example")])
        .await
        .expect(403);
    browse(&at_apart, Method::POST, "/app/test/web/80/cgi-bin/show", &[("origin", &origin)])
        .await
        .expect(200);
    let two = henry.anonymous().request(Method::GET, "/api/v1/me");
    let two = two.header("cookie", format!("longshore_session=mallorys; longshore_session={token}"));
    assert_eq!(henry.send(two).await.expect(401).code(), "two_sessions");

    // Of others it does not exist, whoever they are: their browser would run it.
    let mallory = room.server.account(&unique("mallory")).await;
    let id = henry.get("/api/v1/namespaces/test").await.expect(200).json()["id"].as_str().unwrap().to_owned();
    for other in [&mallory, &room.server.admin().await] {
        for namespace in ["test", &room.namespace, &id] {
            let there = Api { url: at_apart.url.clone(), http: unled(), ..other.clone() };
            other.get(&format!("/app/{namespace}/web/80/")).await.expect(404);
            browse(&there, Method::GET, &format!("/app/{namespace}/web/80/"), &[]).await.expect(404);
        }
    }
    at_apart.anonymous().get("/app/test/web/80/").await.expect(401);
    assert_eq!(
        henry.get("/app/test/nothing/80/").await.expect(404).json()["detail"],
        "there is no service `nothing`"
    );
    let port = henry.get("/app/test/web/8000/").await.expect(404).json();
    assert_eq!(port["hint"], "service `web` has: 80, 81, 82");
    let refused = henry.get("/app/test/web/82/").await.expect(502).json();
    assert!(refused["detail"].as_str().unwrap().contains("nothing answers on port 9"), "{refused}");
    henry.get("/app/kube-system/kube-dns/53/").await.expect(404);

    streams_go_on(&room, &at_apart).await;
    room.close().await;
}

/// What is sent bit by bit arrives bit by bit, and what is upgraded goes both ways until the login has ended.
async fn streams_go_on(room: &Room, at_apart: &Api) {
    let waiting = room.henry.request(Method::GET, "/app/test/web/80/cgi-bin/wait");
    let mut stream = waiting.send().await.unwrap();
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "first\n");
    room.henry.get("/app/test/web/80/cgi-bin/go").await.expect(200);
    assert_eq!(stream.chunk().await.unwrap().unwrap(), "second\n");
    assert_eq!(stream.chunk().await.unwrap(), None);

    let login = room.server.login(&room.name, &format!("{} password", room.name)).await;
    let host = at_apart.url.strip_prefix("http://").unwrap();
    let ask = |more: &str| {
        let token = login.token.as_deref().unwrap();
        format!(
            "GET /app/test/web/81/a%2fb//c/?q=%20 HTTP/1.1\r\nHost: {host}\r\nCookie: longshore_session={token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n{more}\r\n"
        )
    };
    let mut foreign = TcpStream::connect(host).await.unwrap();
    foreign.write_all(ask("Origin: http://evil.example\r\n").as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    foreign.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 403");
    let mut socket = TcpStream::connect(host).await.unwrap();
    socket.write_all(ask(&format!("Origin: http://{host}\r\n")).as_bytes()).await.unwrap();
    let mut heard = String::new();
    until(&mut socket, &mut heard, "GET /a%2fb//c/?q=%20 HTTP/1.1").await;
    assert!(heard.starts_with("HTTP/1.1 101"), "{heard}");
    socket.write_all(b"are you there\n").await.unwrap();
    until(&mut socket, &mut heard, "are you there\n").await;
    assert!(!heard.contains(login.token.as_deref().unwrap()), "{heard}");
    login.post("/api/auth/logout", json!({})).await.expect(200);
    let mut rest = Vec::new();
    tokio::time::timeout(std::time::Duration::from_mins(1), socket.read_to_end(&mut rest))
        .await
        .unwrap()
        .ok();
}

async fn until(socket: &mut TcpStream, heard: &mut String, wanted: &str) {
    let mut buffer = [0; 1024];
    while !heard.contains(wanted) {
        let read = tokio::time::timeout(std::time::Duration::from_mins(1), socket.read(&mut buffer)).await;
        let count = read.unwrap_or_else(|_| panic!("{wanted:?} never came, but {heard:?}")).unwrap();
        assert!(count > 0, "{wanted:?} never came, but {heard:?}");
        heard.push_str(&String::from_utf8_lossy(&buffer[..count]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_origin_of_their_own_applications_are_no_part_of_the_consoles_pages() {
    let Some(room) = Room::small().await else { return };
    let path = "/app/test/web/80/x.js";

    let script = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "no-cors")];
    let refused = browse(&room.henry, Method::GET, path, &script).await.expect(403);
    let opened = [("sec-fetch-site", "same-origin"), ("sec-fetch-mode", "navigate")];
    let missing = browse(&room.henry, Method::GET, path, &opened).await.expect(404);

    assert_eq!(refused.code(), "not_a_page");
    assert_eq!(missing.json()["detail"], "there is no service `web`");
    room.close().await;
}

/// `longshore workload port-forward`; the address where it listens.
fn forward(api: &Api, target: &str, ports: &str) -> (Child, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_longshore"))
        .args(["workload", "port-forward", "test", target, ports])
        .env_clear()
        .env("LONGSHORE_URL", &api.url)
        .env("LONGSHORE_TOKEN", api.token.as_deref().unwrap())
        .env("LONGSHORE_CONFIG_DIR", "/nonexistent")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    (child, line.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_here_leads_to_one_of_a_pod() {
    let Some(room) = Room::whole().await else { return };
    application(&room).await;
    let henry = &room.henry;
    let pods = henry.get("/api/v1/namespaces/test/pods").await.expect(200).json();
    let pod = pods[0]["name"].as_str().unwrap();
    let path = format!("/api/v1/namespaces/test/pods/{pod}/port-forward");

    for (target, ports) in [(pod, "0:8000"), ("service/web", "0:web")] {
        let (mut child, address) = forward(henry, target, ports);
        for _ in 0..3 {
            assert_eq!(page(&format!("http://{address}/")).await.as_deref(), Some("the first page"));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let mut raw = Socket::open(henry, &format!("{path}?port=8000"), &[]).await.unwrap();
    assert!(raw.pen.send(Message::Binary("GET / HTTP/1.0\r\n\r\n".into())).await);
    let mut heard = Vec::new();
    while let Some(Message::Binary(bytes)) = raw.next().await {
        heard.extend(bytes);
    }
    assert!(heard.ends_with(b"the first page"), "{}", String::from_utf8_lossy(&heard));
    let mut closed = Socket::open(henry, &format!("{path}?port=9"), &[]).await.unwrap();
    assert!(closed.next().await.is_none(), "nobody listens there");
    for (query, status) in
        [("port=0", 422), ("port=70000", 422), ("port=http", 422), ("", 422), ("port=80&x=y", 422)]
    {
        assert_eq!(
            Socket::open(henry, &format!("{path}?{query}"), &[]).await.err().unwrap().status,
            status,
            "{query}"
        );
    }
    let nowhere = "/api/v1/namespaces/test/pods/nowhere/port-forward?port=80";
    assert_eq!(Socket::open(henry, nowhere, &[]).await.err().unwrap().status, 404);
    henry.get(&format!("{path}?port=8000")).await.expect(400);

    let mallory = room.server.account(&unique("mallory")).await;
    for namespace in ["test", &room.namespace] {
        for goal in [format!("pods/{pod}"), "services/web".to_owned()] {
            let path = format!("/api/v1/namespaces/{namespace}/{goal}/port-forward?port=80");
            assert_eq!(Socket::open(&mallory, &path, &[]).await.err().unwrap().status, 404);
        }
    }
    let foreign = [("cookie", format!("longshore_session={}", henry.token.as_deref().unwrap()))];
    let foreign = [(foreign[0].0, foreign[0].1.as_str()), ("origin", "http://evil.example")];
    let refusal =
        Socket::open(&henry.anonymous(), &format!("{path}?port=8000"), &foreign).await.err().unwrap();
    assert_eq!((refusal.status, refusal.code()), (403, "foreign_origin"));
    room.close().await;
}
