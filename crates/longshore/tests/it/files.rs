//! Files in containers through the API, on a real engine: read, written and removed, and never anything outside.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::api::{Answer, Api};
use crate::support::archives::noise;
use crate::support::machine::docker;
use crate::support::shop::Shop;

fn address(container: &Value, route: &str, query: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://x/", query).unwrap();
    format!("/api/v1/containers/{}/files{route}?{}", container["id"], url.query().unwrap())
}

async fn list(api: &Api, container: &Value, path: &str) -> Answer {
    api.get(&address(container, "", &[("path", path)])).await
}

/// The names in a folder.
async fn names(api: &Api, container: &Value, path: &str) -> Vec<String> {
    let view = list(api, container, path).await.expect(200).json();
    let data = view["data"].as_array().unwrap();
    data.iter().map(|file| file["name"].as_str().unwrap().to_owned()).collect()
}

async fn read(api: &Api, container: &Value, path: &str) -> reqwest::Response {
    let path = address(container, "/content", &[("path", path)]);
    api.request(Method::GET, &path).send().await.unwrap()
}

/// The bytes of a file that must be there.
async fn content(api: &Api, container: &Value, path: &str) -> Vec<u8> {
    let answer = read(api, container, path).await;
    assert_eq!(answer.status(), 200, "{path}");
    answer.bytes().await.unwrap().to_vec()
}

async fn write(api: &Api, container: &Value, path: &str, bytes: impl Into<reqwest::Body>) -> Answer {
    let path = address(container, "/content", &[("path", path)]);
    api.send(api.request(Method::PUT, &path).body(bytes)).await
}

async fn remove(api: &Api, container: &Value, path: &str, more: &[(&str, &str)]) -> Answer {
    api.delete(&address(container, "", &[&[("path", path)], more].concat())).await
}

/// Runs a command in a container from outside, past everything of ours; what it prints.
fn inside(shop: &Shop, container: &Value, script: &str) -> String {
    docker(&shop.docker, &["exec", &shop.engine_id(&container["id"]).unwrap(), "sh", "-c", script])
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_written_read_listed_and_removed() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let alice = &shop.alice;
    let data = noise(3 << 20, 7);

    let made = alice.post(&address(&container, "/folders", &[("path", "/srv/data/deep")]), json!({})).await;
    assert_eq!(made.expect(201).json()["kind"], "folder");
    let again = alice.post(&address(&container, "/folders", &[("path", "/srv/data")]), json!({})).await;
    again.expect(200);
    let written = write(alice, &container, "/srv/data/a file ü.bin", data.clone()).await.expect(201).json();
    assert_eq!((&written["kind"], &written["size_bytes"]), (&json!("file"), &json!(3 << 20)));
    assert_eq!(written["mode"], "644");
    write(alice, &container, "/srv/data/empty", "").await.expect(201);

    assert_eq!(content(alice, &container, "/srv/data/a file ü.bin").await, data);
    assert_eq!(content(alice, &container, "/srv/data/empty").await, b"");
    let answer = read(alice, &container, "/srv/data/a file ü.bin").await;
    assert_eq!(answer.headers()["content-length"], data.len().to_string());
    assert_eq!(answer.headers()["x-content-type-options"], "nosniff");
    assert_eq!(answer.headers()["content-security-policy"], "sandbox; default-src 'none'");
    let attachment = answer.headers()["content-disposition"].to_str().unwrap().to_owned();
    assert!(attachment.ends_with("filename*=UTF-8''a%20file%20%C3%BC.bin"), "{attachment}");
    drop(answer);

    assert_eq!(names(alice, &container, "/srv/data").await, ["a file ü.bin", "deep", "empty"]);
    let page = address(&container, "", &[("path", "/srv/data"), ("limit", "1"), ("offset", "1")]);
    let page = alice.get(&page).await.expect(200).json();
    assert_eq!((&page["total"], &page["is_complete"]), (&json!(3), &json!(true)));
    assert_eq!((&page["data"][0]["name"], page["data"].as_array().unwrap().len()), (&json!("deep"), 1));
    let one = list(alice, &container, "/srv/data/empty").await.expect(200).json();
    assert_eq!((&one["file"]["kind"], &one["data"]), (&json!("file"), &json!([])));

    // Written over, it keeps its rights; a program is one when it is said so.
    let tool = address(&container, "/content", &[("path", "/srv/tool"), ("executable", "true")]);
    let sent = alice.request(Method::PUT, &tool).body("#!/bin/sh\necho one\n");
    assert_eq!(alice.send(sent).await.expect(201).json()["mode"], "755");
    write(alice, &container, "/srv/tool", "#!/bin/sh\necho two\n").await.expect(201);
    assert_eq!(inside(&shop, &container, "/srv/tool"), "two");

    assert_eq!(remove(alice, &container, "/srv/data", &[]).await.expect(409).code(), "not_removed");
    remove(alice, &container, "/srv/data/empty", &[]).await.expect(204);
    remove(alice, &container, "/srv/data/deep", &[]).await.expect(204);
    remove(alice, &container, "/srv/data", &[("recursive", "true")]).await.expect(204);
    list(alice, &container, "/srv/data").await.expect(404);
    remove(alice, &container, "/srv/data", &[]).await.expect(404);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn folders_go_in_as_archives_and_come_out_as_a_tar() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let alice = &shop.alice;
    let zip = crate::support::archives::zip_of(&[("app/run.sh", b"#!/bin/sh\n"), ("app/data/x", b"xyz")]);
    let to = |path: &str| address(&container, "/archive", &[("path", path)]);
    let unpack = async |path: &str, bytes: Vec<u8>| {
        alice.send(alice.request(Method::POST, &to(path)).body(bytes)).await
    };

    let done = unpack("/tmp", zip).await.expect(200).json();
    assert_eq!(done["bytes"], 13);
    assert_eq!(inside(&shop, &container, "cat /tmp/app/data/x"), "xyz");
    assert_eq!(unpack("/nowhere", b"x".to_vec()).await.expect(404).code(), "not_found");
    assert_eq!(unpack("/tmp", b"plain".to_vec()).await.expect(422).code(), "not_an_archive");

    // What must not be in it, is not: nothing of it arrives.
    for (kind, target, code) in [
        (tar::EntryType::Symlink, Some("../../etc/shadow"), "archive_link"),
        (tar::EntryType::Link, Some("Dockerfile"), "archive_hard_link"),
        (tar::EntryType::Char, None, "archive_device"),
        (tar::EntryType::Fifo, None, "archive_device"),
    ] {
        let bad = crate::support::archives::tar_with(kind, "evil", target);
        assert_eq!(unpack("/tmp", bad).await.expect(422).code(), code);
    }
    assert_eq!(names(alice, &container, "/tmp").await, [".keep", "app"]);

    let tar = content(alice, &container, "/tmp/app").await;
    let mut found: Vec<String> = tar::Archive::new(tar.as_slice())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    found.sort();
    assert_eq!(found, ["app/", "app/data/", "app/data/x", "app/run.sh"]);
    let single = address(&container, "/content", &[("path", "/tmp/app/data/x"), ("archive", "true")]);
    let single = alice.request(Method::GET, &single).send().await.unwrap();
    assert_eq!(single.headers()["content-type"], "application/x-tar");
    shop.close().await;
}

/// Links, odd paths and everything else that could lead out of a container lead to something in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_leads_out_of_a_container() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({})).await;
    let alice = &shop.alice;
    // A file of the machine, at a path that the container does not have.
    let folder = tempfile::tempdir().unwrap();
    let outside = folder.path().join("secret");
    std::fs::write(&outside, "the machine's own").unwrap();
    let outside = outside.to_str().unwrap();
    let pid = docker(
        &shop.docker,
        &["inspect", "-f", "{{.State.Pid}}", &shop.engine_id(&container["id"]).unwrap()],
    );
    let script = format!(
        "mkdir -p /w && ln -s {outside} /w/out && ln -s ../../../../../..{outside} /w/climb && ln -s / /w/root && \
         ln -s /proc/1/root /w/proc && ln -s /w/loop /w/loop && ln -s {} /w/folder && ln -s /etc/passwd /w/passwd",
        folder.path().display()
    );
    inside(&shop, &container, &script);
    // Whoever followed them from the machine's side would leave the container.
    for path in ["out", "folder/secret"] {
        let followed = std::fs::read_to_string(format!("/proc/{pid}/root/w/{path}"));
        assert_eq!(followed.unwrap(), "the machine's own", "{path}");
    }

    let direct = [
        outside.to_owned(),
        format!("/proc/self/root{outside}"),
        format!("/proc/1/root{outside}"),
        format!("/proc/{pid}/root{outside}"),
        format!("/proc/self/cwd{outside}"),
        "/w/out".to_owned(),
        "/w/climb".to_owned(),
        "/w/folder/secret".to_owned(),
        format!("/w/root{outside}"),
        format!("/w/proc{outside}"),
        "/w/loop".to_owned(),
        "/etc/passwd/x".to_owned(),
    ];
    for path in &direct {
        let answer = read(alice, &container, path).await;
        assert!([404, 409].contains(&answer.status().as_u16()), "{path}: {}", answer.status());
        let listed = list(alice, &container, path).await;
        assert!([404, 409].contains(&listed.status), "{path}: {}", listed.text);
    }
    // A folder as a tar has the link, not what it would lead to here.
    let tar = content(alice, &container, "/w").await;
    assert!(!tar.windows(13).any(|part| part == b"the machine's"), "the machine's file is in the tar");
    for path in ["/../etc/passwd", "/w/../../etc", "etc/passwd", "", "/a/%00", "/a\u{7}b", &"/a".repeat(3000)]
    {
        let path = path.replace("%00", "\0");
        let answer = list(alice, &container, &path).await;
        assert_eq!((answer.status, answer.json()["field"].clone()), (422, json!("path")), "{path:?}");
    }
    // Inside, links lead where they do for its own programs.
    assert_eq!(
        content(alice, &container, "/w/passwd").await,
        content(alice, &container, "/etc/passwd").await
    );
    assert_eq!(names(alice, &container, "/w/root/w").await.len(), 7);

    // Written through a link: into the container, or nowhere.
    for path in ["/w/out", "/w/climb", "/w/folder/secret", "/proc/self/root/tmp/x"] {
        write(alice, &container, path, "overwritten").await;
    }
    assert_eq!(std::fs::read_to_string(outside).unwrap(), "the machine's own");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    write(alice, &container, "/w/passwd", "new").await.expect(201);
    assert_eq!(inside(&shop, &container, "cat /etc/passwd"), "new", "the file that the link leads to");
    // Removing a link removes the link.
    remove(alice, &container, "/w/folder", &[("recursive", "true")]).await.expect(204);
    assert!(std::path::Path::new(outside).exists());
    assert_eq!(
        remove(alice, &container, "/", &[("recursive", "true")]).await.expect(422).json()["field"],
        "path"
    );
    let script = "touch -- /w/-rf '/w/a;b' \"/w/\\$(x)\"; ls /w";
    inside(&shop, &container, script);
    for name in ["/w/-rf", "/w/a;b", "/w/$(x)"] {
        remove(alice, &container, name, &[]).await.expect(204);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_peoples_files_are_not_there() {
    let Some(shop) = Shop::open().await else { return };
    let container = shop.run_shell(json!({"name": "mine"})).await;
    write(&shop.alice, &container, "/tmp/secret", "alice's").await.expect(201);
    let bob = shop.server.account("bob").await;
    let engine_id = shop.engine_id(&container["id"]).unwrap();
    // The engine gives them to whoever names the container.
    let taken = docker(&shop.docker, &["cp", &format!("{}:/tmp/secret", &engine_id[..12]), "-"]);
    assert!(taken.contains("alice's"), "{taken}");

    for id in [container["id"].to_string(), "mine".to_owned(), engine_id[..12].to_owned(), engine_id] {
        for (method, route) in [
            (Method::GET, "files?path=/tmp"),
            (Method::GET, "files/content?path=/tmp/secret"),
            (Method::PUT, "files/content?path=/tmp/secret"),
            (Method::POST, "files/archive?path=/tmp"),
            (Method::POST, "files/folders?path=/tmp/x"),
            (Method::DELETE, "files?path=/tmp/secret"),
        ] {
            let path = format!("/api/v1/containers/{id}/{route}");
            let answer = bob.request(method.clone(), &path).body("bob's").send().await.unwrap();
            assert_eq!(answer.status(), 404, "{method} {path}");
            let anonymous = bob.anonymous().request(method, &path).body("x").send().await.unwrap();
            assert_eq!(anonymous.status(), 401);
        }
    }
    assert_eq!(content(&shop.alice, &container, "/tmp/secret").await, b"alice's");

    // An admin may, and it is written down.
    let admin = shop.server.admin().await;
    assert_eq!(content(&admin, &container, "/tmp/secret").await, b"alice's");
    let log = admin.get("/api/v1/audit?action=container.file_read").await.expect(200).json();
    assert_eq!((&log["total"], &log["data"][0]["target"]), (&json!(1), &json!("mine:/tmp/secret")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_that_does_not_run_or_has_no_shell_has_files_too() {
    let Some(shop) = Shop::open().await else { return };
    let bare = shop.run(json!({})).await;
    let alice = &shop.alice;

    assert!(names(alice, &bare, "/").await.contains(&"probe".to_owned()));
    write(alice, &bare, "/note", "kept").await.expect(201);
    assert_eq!(content(alice, &bare, "/note").await, b"kept");
    let refused = remove(alice, &bare, "/note", &[]).await.expect(409);
    assert_eq!(refused.code(), "not_removed");
    assert!(refused.json()["detail"].as_str().unwrap().contains("has no `rm`"), "{}", refused.text);

    shop.act(&bare["id"], "stop").await;
    shop.until(&bare["id"], "stopped").await;
    assert_eq!(content(alice, &bare, "/note").await, b"kept");
    let view = list(alice, &bare, "/").await.expect(200).json();
    let note = view["data"].as_array().unwrap().iter().find(|file| file["name"] == "note").unwrap();
    assert_eq!((&note["size_bytes"], &view["is_complete"]), (&json!(4), &json!(true)));
    assert_eq!(remove(alice, &bare, "/note", &[]).await.expect(409).code(), "not_running");
    shop.close().await;
}

/// What is given to a container belongs to those who run there, and carries no rights of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_belong_to_the_image_s_user() {
    let Some(shop) = Shop::open().await else { return };
    let context = crate::support::shell::context("USER user\n");
    crate::support::shop::push_context(&shop.docker, &shop.server.registry, "alice/user:v1", &context);
    let container = shop.run_of("user:v1", json!({})).await;

    write(&shop.alice, &container, "/tmp/note", "x").await.expect(201);
    shop.alice
        .post(&address(&container, "/folders", &[("path", "/tmp/folder")]), json!({}))
        .await
        .expect(201);

    assert_eq!(
        inside(&shop, &container, "find /tmp -uid 1000 -gid 1000 -name 'note' -o -uid 1000 -name folder")
            .lines()
            .count(),
        2
    );
    assert_eq!(inside(&shop, &container, "echo y > /tmp/folder/own && cat /tmp/folder/own"), "y");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_sent_and_read_is_bounded() {
    let settings = [("uploads.max_bytes", "100000"), ("files.per_account", "1")];
    let Some(shop) = Shop::open_with(&settings).await else { return };
    let container = shop.run_shell(json!({})).await;
    let alice = &shop.alice;

    write(alice, &container, "/tmp/small", vec![0; 100_000]).await.expect(201);
    assert_eq!(write(alice, &container, "/tmp/big", vec![0; 100_001]).await.expect(413).code(), "too_large");
    let endless = futures::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![0; 10_000])));
    let endless = reqwest::Body::wrap_stream(endless);
    assert_eq!(write(alice, &container, "/tmp/big", endless).await.expect(413).code(), "too_large");
    // One that breaks off changes nothing.
    let broken = futures::stream::iter([Ok(vec![0; 100]), Err(std::io::Error::other("gone"))]);
    let path = address(&container, "/content", &[("path", "/tmp/small")]);
    let sent = alice.request(Method::PUT, &path).body(reqwest::Body::wrap_stream(broken)).send().await;
    assert!(sent.is_err() || sent.unwrap().status() == 400);
    assert_eq!(content(alice, &container, "/tmp/small").await.len(), 100_000);
    list(alice, &container, "/tmp/big").await.expect(404);

    // Somebody who reads and does not go on holds a place, and nothing else.
    inside(&shop, &container, "head -c 60000000 /dev/zero > /tmp/huge");
    let slow = read(alice, &container, "/tmp/huge").await;
    assert_eq!(slow.status(), 200);
    let second = write(alice, &container, "/tmp/second", "x").await.expect(429);
    assert_eq!(second.code(), "too_many_transfers");
    // The engine holds a container while it reads its files; however slow the reader is, that is over at once.
    assert_eq!(names(alice, &container, "/tmp").await.len(), 3);
    shop.act(&container["id"], "restart").await;
    shop.until(&container["id"], "running").await;
    drop(slow);
    let again = || async { (read(alice, &container, "/tmp/small").await.status() == 200).then_some(()) };
    crate::support::eventually("the place is given back", 20, again).await;

    // A program in the container that never ends, or never stops talking, is ended.
    inside(&shop, &container, "rm /bin/rm; ln -s /bin/sleep /bin/rm");
    let refused = remove(alice, &container, "/tmp/small", &[]).await;
    assert_eq!(refused.status, 409, "{}", refused.text);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_copied_both_ways_on_the_command_line() {
    let Some(shop) = Shop::open().await else { return };
    shop.run_shell(json!({"name": "box"})).await;
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name).display().to_string();
    let run = |words: &[&str]| {
        let done = std::process::Command::new(env!("CARGO_BIN_EXE_longshore"))
            .args(words)
            .env_clear()
            .env("HOME", home.path())
            .env("LONGSHORE_URL", &shop.alice.url)
            .env("LONGSHORE_TOKEN", shop.alice.token.as_ref().unwrap())
            .output()
            .unwrap();
        let words = String::from_utf8_lossy(&done.stderr).into_owned();
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned(), words)
    };
    let copy = |from: &str, to: &str| {
        let (code, _, words) = run(&["container", "cp", from, to]);
        assert_eq!(code, Some(0), "{from} -> {to}: {words}");
    };
    std::fs::create_dir_all(home.path().join("app/.git")).unwrap();
    std::fs::create_dir(home.path().join("app/empty")).unwrap();
    std::fs::write(home.path().join("app/run"), "#!/bin/sh\necho ran\n").unwrap();
    let program = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(home.path().join("app/run"), program).unwrap();
    std::fs::write(home.path().join("app/.git/HEAD"), "x").unwrap();
    std::os::unix::fs::symlink("run", home.path().join("app/link")).unwrap();

    // A folder into one that is there, into a new name, and what is in it.
    copy(&at("app"), "box:/tmp");
    copy(&at("app"), "box:/srv/other");
    copy(&format!("{}/.", at("app")), "box:/tmp");
    copy(&at("app/run"), "box:/tmp/app/empty/");
    copy(&at("app/run"), "box:/usr-run");
    let (_, listed, _) = run(&["container", "file", "list", "box", "/tmp", "--json"]);
    let listed: Value = serde_json::from_str(&listed).unwrap();
    let names: Vec<_> = listed["data"].as_array().unwrap().iter().map(|file| file["name"].clone()).collect();
    assert_eq!(names, [".git", ".keep", "app", "empty", "link", "run"]);

    copy("box:/tmp/app", &at("back"));
    copy("box:/tmp/app", home.path().to_str().unwrap());
    copy("box:/tmp/app/run", &at("single"));
    assert_eq!(std::fs::read(home.path().join("single")).unwrap(), b"#!/bin/sh\necho ran\n");
    for name in ["run", "link", "empty/run"] {
        let text = std::fs::read_to_string(home.path().join("back").join(name)).unwrap();
        assert_eq!(text, "#!/bin/sh\necho ran\n", "{name}");
    }
    assert!(std::process::Command::new(at("back/run")).status().unwrap().success(), "programs stay programs");
    assert_eq!(std::fs::read_to_string(home.path().join("back/.git/HEAD")).unwrap(), "x");

    let (code, _, words) = run(&["container", "cp", "box:/nowhere", &at("nothing")]);
    assert_eq!((code, words.contains("there is no file `/nowhere`")), (Some(1), true), "{words}");
    let (code, _, words) = run(&["container", "cp", &at("app"), &at("app2")]);
    assert_eq!((code, words.contains("CONTAINER:/PATH")), (Some(2), true), "{words}");
    let (code, ..) = run(&["container", "file", "delete", "box", "/tmp/app", "-r", "-y"]);
    assert_eq!(code, Some(0));
    shop.close().await;
}
