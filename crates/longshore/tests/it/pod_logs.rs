//! Logs of pods with several containers, in one stream.

use reqwest::{Method, Response};
use serde_json::json;

use crate::support::api::Api;
use crate::support::cluster::unique;
use crate::support::eventually;
use crate::support::room::{POD_SECS, Room};
use crate::support::socket::Terminal;

/// A pod whose first container waits for a file, and the others for that one.
fn three_containers(image: &str) -> String {
    let container = |name: &str, script: &str| {
        format!("      - {{name: {name}, image: '{image}', command: [/bin/busybox, sh, -c, '{script}']}}\n")
    };
    let prepare = "echo prepares; until [ -e /go ]; do /bin/busybox sleep 1; done; echo prepared";
    [
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n  selector: {matchLabels: {app: web}}\n",
        "  template:\n    metadata: {labels: {app: web}}\n    spec:\n      terminationGracePeriodSeconds: 0\n",
        "      initContainers:\n",
        &container("prepare", prepare),
        "      containers:\n",
        &container("web", "echo web is up; exec /bin/busybox sleep 1000"),
        &container("side", "echo begins; echo side is up; exec /bin/busybox sleep 1000"),
    ]
    .concat()
}

/// Reads a log that is followed until something stands in it.
async fn until(log: &mut Response, text: &mut String, wanted: &str) {
    while !text.contains(wanted) {
        let piece = tokio::time::timeout(std::time::Duration::from_secs(POD_SECS * 4), log.chunk());
        let piece = piece.await.unwrap_or_else(|_| panic!("`{wanted}` does not come after:\n{text}"));
        let piece = piece.unwrap().unwrap_or_else(|| panic!("the log ends without `{wanted}`:\n{text}"));
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
}

async fn follow(api: &Api, path: &str) -> Response {
    api.request(Method::GET, path).send().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_logs_of_all_containers_come_in_one_stream_each_line_with_its_container() {
    let Some(room) = Room::whole_with(&[("streams.per_account", "1")]).await else { return };
    let henry = &room.henry;
    room.upload("v1", "a page").await;
    let manifest = three_containers(&format!("{}/app:v1", room.name));
    henry.post("/api/v1/workloads", json!({"manifest": manifest})).await.expect(200);
    let pod = eventually("there is a pod", POD_SECS, || async {
        let pods = henry.get("/api/v1/namespaces/test/pods").await.expect(200).json();
        pods[0]["name"].as_str().map(str::to_owned)
    })
    .await;
    let log = format!("/api/v1/namespaces/test/pods/{pod}/log?all_containers=true");
    eventually("the first container runs, and those that do not are left out", POD_SECS, || async {
        (henry.get(&log).await.text == "[prepare] prepares\n").then_some(())
    })
    .await;

    let reader = room.server.login(&room.name, &format!("{} password", room.name)).await;
    let mut followed = follow(&reader, &format!("{log}&follow=true")).await;
    let mut text = String::new();
    until(&mut followed, &mut text, "[prepare] prepares\n").await;
    let second = follow(henry, &format!("{log}&follow=true")).await;
    assert_eq!(second.status(), 429, "one account follows as many as it may");
    let touch = "container=prepare&tty=false&input=false&command=/bin/busybox&command=touch&command=/go";
    let ended = Terminal::in_pod(henry, "test", &pod, touch).await.ended().await;
    assert_eq!(ended["exit_code"], 0, "{ended}");

    // Those that had not started are waited for.
    for wanted in ["[prepare] prepared\n", "[web] web is up\n", "[side] begins\n", "[side] side is up\n"] {
        until(&mut followed, &mut text, wanted).await;
    }
    assert!(text.lines().all(|line| line.starts_with('[')), "{text}");
    let last = henry.get(&format!("{log}&tail=1")).await.expect(200).text;
    assert_eq!(last, "[prepare] prepared\n[web] web is up\n[side] side is up\n");
    let one = henry.get(&format!("/api/v1/namespaces/test/pods/{pod}/log?container=side")).await.expect(200);
    assert_eq!(one.text, "begins\nside is up\n");
    henry.get(&format!("{log}&container=web")).await.expect(422);
    henry.get(&format!("{log}&previous=true")).await.expect(422);
    henry.get("/api/v1/namespaces/test/pods/nothing/log?all_containers=true").await.expect(404);
    let mallory = room.server.account(&unique("mallory")).await;
    mallory.get(&log.replace("/test/", &format!("/{}/", room.namespace))).await.expect(404);

    // Whoever has left reads on no longer, and makes room.
    reader.post("/api/auth/logout", json!({})).await.expect(200);
    while let Some(piece) = followed.chunk().await.unwrap() {
        text.push_str(std::str::from_utf8(&piece).unwrap());
    }
    let again = eventually("there is room again", POD_SECS, || async {
        let again = follow(henry, &format!("{log}&follow=true")).await;
        (again.status() == 200).then_some(again)
    });
    drop(again.await);
    room.close().await;
}
