//! Uploads that must not become builds: bad archives, too much of them, cut off, at a full disk or a locked database. Each
//! is answered in plain words and leaves nothing behind.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt as _, stream};
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::api::Api;
use crate::support::archives::{HELLO, tar, tar_with, zip, zip_of};
use crate::support::disk::SmallDisk;
use crate::support::process::ServerProcess;
use crate::support::server::TestServer;

/// Files under the folders for what is uploaded.
fn left_in(data_dir: &Path) -> Vec<String> {
    let folders = ["contexts", "incoming"].map(|folder| data_dir.join("blobs").join(folder));
    let files = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    files.map(|file| file.unwrap().path().display().to_string()).collect()
}

async fn has_no_builds(api: &Api) {
    assert_eq!(api.get("/api/v1/builds").await.expect(200).json()["total"], 0, "nothing was accepted");
}

/// A zip made by hand: one stored entry with a Dockerfile, patched afterwards.
fn patched_zip(files: &[(&str, &[u8])], patch: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut archive = zip_of(files);
    patch(&mut archive);
    archive
}

/// Where a signature first stands in an archive, and every other place.
fn places(archive: &[u8], signature: &[u8]) -> Vec<usize> {
    (0..archive.len()).filter(|at| archive[*at..].starts_with(signature)).collect()
}

const LOCAL: &[u8] = b"PK\x03\x04";
const CENTRAL: &[u8] = b"PK\x01\x02";

/// Archives by the code of their refusal. What each code covers in full is tested where archives are read.
fn bad_archives() -> Vec<(&'static str, Vec<u8>)> {
    let docker = ("Dockerfile", HELLO.as_bytes());
    let twice = |names: [&str; 2]| {
        // The library refuses twins, so the second gets its name afterwards.
        let mut archive = zip_of(&[docker, (names[0], b"a"), ("zzzzzz", b"b")]);
        for at in places(&archive, b"zzzzzz") {
            archive[at..at + 6].copy_from_slice(names[1].as_bytes());
        }
        archive
    };
    vec![
        ("upload_empty", Vec::new()),
        ("not_an_archive", b"<html>this is no archive</html>".to_vec()),
        ("archive_format_unsupported", b"\x28\xb5\x2f\xfd and what follows".to_vec()),
        ("archive_empty", zip_of(&[])),
        ("archive_truncated", {
            let whole = zip(HELLO);
            whole[..whole.len() / 2].to_vec()
        }),
        ("archive_path_escapes", zip_of(&[docker, ("../evil", b"x")])),
        ("archive_path_escapes", zip_of(&[docker, ("/etc/evil", b"x")])),
        ("archive_path_backslash", zip_of(&[docker, ("a\\b", b"x")])),
        ("archive_duplicate", twice(["aaaaaa", "aaaaaa"])),
        ("archive_case_twin", twice(["aaaaaa", "AAAAAA"])),
        ("archive_link", tar_with(tar::EntryType::Symlink, "link", Some("/etc/passwd"))),
        ("archive_link", tar_with(tar::EntryType::Symlink, "link", Some("../../secret"))),
        ("archive_hard_link", tar_with(tar::EntryType::Link, "link", Some("/etc/passwd"))),
        ("archive_device", tar_with(tar::EntryType::Block, "disk", None)),
        ("archive_device", tar_with(tar::EntryType::Fifo, "pipe", None)),
        (
            "archive_encrypted",
            patched_zip(&[docker], |archive| {
                for (signature, flags) in [(LOCAL, 6), (CENTRAL, 8)] {
                    let at = places(archive, signature)[0] + flags;
                    archive[at] |= 1;
                }
            }),
        ),
        (
            "archive_header_mismatch",
            patched_zip(&[docker, ("aaaaaa", b"x")], |archive| {
                let at = places(archive, b"aaaaaa")[0];
                archive[at..at + 6].copy_from_slice(b"bbbbbb");
            }),
        ),
        ("archive_ratio", zip_of(&[docker, ("zeros", &vec![0; 64 << 20])])),
        ("dockerfile_missing", zip_of(&[("README", b"no Dockerfile here")])),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_archives_are_refused_by_both_interfaces_and_leave_nothing() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;

    for (code, archive) in bad_archives() {
        let own = alice.build("app", archive.clone()).await;
        assert_eq!((own.status, own.code().as_str()), (422, code), "{}", own.text);
        assert_eq!(own.headers["content-type"], "application/problem+json");
        let seed = alice.upload_image(&[("repo", "app"), ("tag", "v1")], archive).await;
        assert_eq!((seed.status, seed.code().as_str()), (422, code), "{}", seed.text);
        assert_eq!(left_in(&server.data_dir()), Vec::<String>::new(), "{code}");
    }
    let outside =
        alice.request(Method::POST, "/api/v1/builds?image=app&dockerfile=../Dockerfile").body(zip(HELLO));
    assert_eq!(alice.send(outside).await.expect(422).code(), "dockerfile_outside");
    has_no_builds(&alice).await;

    // The control: an honest archive is accepted here.
    alice.build("app", zip(HELLO)).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bounds_on_size_and_entries_hold() {
    let settings =
        [("uploads.max_bytes", "2000000"), ("uploads.unpacked_bytes", "3000000"), ("uploads.entries", "5")];
    let server = TestServer::without_engine(&settings).await;
    let alice = server.account("alice").await;
    let noise = crate::support::archives::noise(1 << 20, 1);
    let docker = ("Dockerfile", HELLO.as_bytes());

    let unpacks_to_much = zip_of(&[docker, ("a", &vec![b'a'; 4 << 20])]);
    let many: Vec<(String, &[u8])> = (0..6).map(|number| (format!("f{number}"), b"x".as_slice())).collect();
    let many: Vec<(&str, &[u8])> =
        std::iter::once(docker).chain(many.iter().map(|(name, bytes)| (name.as_str(), *bytes))).collect();

    assert_eq!(alice.build("app", unpacks_to_much).await.expect(413).code(), "archive_too_large");
    assert_eq!(alice.build("app", zip_of(&many)).await.expect(413).code(), "archive_too_many_entries");
    assert_eq!(
        alice.build("app", zip_of(&[docker, ("a", &noise), ("b", &noise)])).await.expect(413).code(),
        "too_large"
    );
    assert_eq!(left_in(&server.data_dir()), Vec::<String>::new());
    has_no_builds(&alice).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_of_2_gib_is_refused_at_the_limit_and_not_read_to_its_end() {
    let server = TestServer::without_engine(&[("uploads.max_bytes", "16777216")]).await;
    let alice = server.account("alice").await;
    let block = Bytes::from(vec![0x55_u8; 1 << 20]);
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let blocks = stream::iter(0..2048).map(move |_| {
        counter.fetch_add(1, Ordering::Relaxed);
        Ok::<_, std::io::Error>(block.clone())
    });

    let started = Instant::now();
    let request =
        alice.request(Method::POST, "/api/v1/builds?image=app").body(reqwest::Body::wrap_stream(blocks));
    let answer = alice.send(request).await.expect(413);

    assert_eq!(answer.code(), "too_large");
    assert!(started.elapsed() < Duration::from_mins(1), "{:?}", started.elapsed());
    assert!(sent.load(Ordering::Relaxed) < 2048, "the rest was not read");
    // Announced, it is refused before the first byte.
    let mut socket = tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/v1/builds?image=app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {}\r\nexpect: 100-continue\r\n\r\n",
        alice.token.as_deref().unwrap(),
        2_u64 << 30
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 12];
    socket.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 413");
    assert_eq!(left_in(&server.data_dir()), Vec::<String>::new());
    has_no_builds(&alice).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let archive = zip(HELLO);

    for announced in [archive.len(), archive.len() * 100] {
        let mut socket =
            tokio::net::TcpStream::connect(server.url.trim_start_matches("http://")).await.unwrap();
        let head = format!(
            "POST /api/v1/builds?image=app HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: {announced}\r\n\r\n",
            alice.token.as_deref().unwrap(),
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(&archive[..archive.len() / 2]).await.unwrap();
        drop(socket);
    }
    // A client that waits for its build and goes away: the build stays, its upload does not.
    crate::support::eventually("nothing is left", 20, || async {
        left_in(&server.data_dir()).is_empty().then_some(())
    })
    .await;
    has_no_builds(&alice).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_and_rights_are_checked_before_the_archive() {
    let server = TestServer::without_engine(&[]).await;
    let (alice, admin) = (server.account("alice").await, server.admin().await);
    server.account("bob").await;

    for (image, status) in [
        ("", 422),
        ("A", 422),
        ("a/b/c", 422),
        ("a:-x", 422),
        ("bob/app", 403),
        ("public/app", 403),
        ("nobody/app", 403),
    ] {
        let answer = alice.build(image, b"not looked at".to_vec()).await;
        assert_eq!(answer.status, status, "{image}: {}", answer.text);
    }
    assert_eq!(admin.build("nobody/app", zip(HELLO)).await.status, 404);
    for username in ["bob", "admin", "nobody"] {
        let fields = [("username", username), ("repo", "app"), ("tag", "v1")];
        assert_eq!(alice.upload_image(&fields, zip(HELLO)).await.expect(403).code(), "not_yours");
    }
    let fields = [("username", "bob"), ("repo", "app"), ("tag", "v1"), ("wait", "false")];
    let acted = admin.upload_image(&fields, zip(HELLO)).await.expect(202).json();
    assert_eq!(acted["image"], "bob/app:v1");
    let without_file =
        alice.post("/image/upload_image", json!({"repo": "app", "tag": "v1"})).await.expect(422).json();
    assert_eq!(without_file["field"], "file");
    has_no_builds(&alice).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_upload_takes_little_memory() {
    let Some(server) = ServerProcess::start(&[]).await else { return };
    let alice = server.account("alice").await;
    let is_whole = crate::support::setting("LONGSHORE_TEST_SOAK").is_some();
    let mebibytes: u64 = if is_whole { 1024 } else { 256 };
    // What is measured is the upload, not the first use of everything.
    alice.succeeded(&alice.accepted("warm", zip(HELLO)).await).await;
    let before = server.memory_kib("VmHWM");

    let started = Instant::now();
    let body = large_tar(mebibytes);
    let request =
        alice.request(Method::POST, "/api/v1/builds?image=large").body(reqwest::Body::wrap_stream(body));
    let id = alice.send(request.timeout(Duration::from_mins(5))).await.expect(202).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let accepted = started.elapsed();
    alice.succeeded(&id).await;
    let growth = server.memory_kib("VmHWM") - before;

    eprintln!(
        "{mebibytes} MiB: accepted after {accepted:?}, built after {:?}, {growth} KiB more memory",
        started.elapsed()
    );
    assert!(growth <= 64 << 10, "{growth} KiB more memory for {mebibytes} MiB");
}

/// A tar of the probe, a Dockerfile that copies it and noise that it does not, as a stream.
fn large_tar(mebibytes: u64) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send + 'static {
    let mut beginning = tar(HELLO);
    beginning.truncate(beginning.len() - 1024);
    let mut header = ::tar::Header::new_gnu();
    header.set_path("noise").unwrap();
    header.set_size(mebibytes << 20);
    header.set_mode(0o644);
    header.set_cksum();
    beginning.extend_from_slice(header.as_bytes());
    let noise = Bytes::from(crate::support::archives::noise(1 << 20, 7));
    let blocks = stream::iter(0..mebibytes).map(move |_| Ok(noise.clone()));
    stream::iter([Ok(Bytes::from(beginning))])
        .chain(blocks)
        .chain(stream::iter([Ok(Bytes::from(vec![0; 1024]))]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contexts_that_no_build_needs_are_swept_at_the_start() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let id = alice.accepted("app", zip(HELLO)).await;
    let contexts = server.data_dir().join("blobs/contexts");
    for orphan in ["01900000-0000-7000-8000-000000000000", "no-build"] {
        std::fs::write(contexts.join(orphan), "x").unwrap();
    }

    let server = server.restart().await;

    crate::support::eventually("only what is needed stays", 20, || async {
        (left_in(&server.data_dir()) == [contexts.join(&id).display().to_string()]).then_some(())
    })
    .await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_is_said_and_forgotten_once_there_is_room() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let data_dir = disk.path().join("data");
    let server = TestServer::without_engine(&[("data_dir", data_dir.to_str().unwrap())]).await;
    let alice = server.account("alice").await;
    let noise = crate::support::archives::noise(16 << 20, 3);
    let large = zip_of(&[("Dockerfile", HELLO.as_bytes()), ("noise", &noise)]);

    // The upload alone fits, the context beside it does not; and when even less is free, the upload does not either.
    let context_does_not_fit = alice.build("app", large.clone()).await;
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, &noise).unwrap();
    let upload_does_not_fit = alice.build("app", large).await;
    std::fs::remove_file(&ballast).unwrap();

    for answer in [context_does_not_fit, upload_does_not_fit] {
        assert_eq!((answer.status, answer.code().as_str()), (507, "disk_full"), "{}", answer.text);
    }
    assert_eq!(left_in(&data_dir), Vec::<String>::new());
    has_no_builds(&alice).await;
    alice.build("app", zip(HELLO)).await.expect(202);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_locked_database_refuses_for_a_while_and_loses_nothing() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let url = format!("sqlite://{}", server.data_dir().join("longshore.db").display());
    let other = store::Db::open(&url).await.unwrap();
    let holds_the_lock = other.begin().await.unwrap();

    let refused = alice.build("app", zip(HELLO)).await;
    drop(holds_the_lock);

    assert_eq!((refused.status, refused.code().as_str()), (503, "database_busy"), "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "5");
    assert_eq!(left_in(&server.data_dir()), Vec::<String>::new());
    has_no_builds(&alice).await;
    alice.build("app", zip(HELLO)).await.expect(202);
    server.stop().await;
}
