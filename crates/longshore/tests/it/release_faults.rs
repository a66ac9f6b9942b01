//! Releases when the server is killed in the middle: every operation ends once, and what the row says is what the cluster has.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::api::Api;
use crate::support::cluster::{cluster, unique};
use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::releases::{CLUSTER_SECS, MAP, STUCK, chart, ended, helm_program, records, upload};

/// Helms that work on something.
fn helms(release: &str) -> usize {
    let wanted = format!("LONGSHORE_RELEASE={release}");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let environments = processes.filter_map(|entry| std::fs::read(entry.path().join("environ")).ok());
    environments.filter(|text| text.split(|byte| *byte == 0).any(|line| line == wanted.as_bytes())).count()
}

async fn release(api: &Api, name: &str) -> Value {
    api.get(&format!("/api/releases/{name}")).await.expect(200).json()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_the_middle_of_an_installation_or_an_upgrade_converges() {
    let (Some(cluster), Some(helm)) = (cluster(), helm_program()) else { return };
    let helm = helm.display().to_string();
    let settings = [("machine.enabled", "false"), ("charts.helm", helm.as_str())];
    let mut server = ServerProcess::start_on(&settings).await;
    let admin = server.admin().await;
    cluster.add_to(&admin).await;
    let name = unique("henry");
    let henry = server.account(&name).await;
    henry.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);
    let namespace = format!("{name}-test");
    upload(&henry, &name, chart("slow", "1.0.0", "text: hello\nstuck: 0\n", &[MAP, STUCK])).await.expect(201);

    // At any moment of an installation, with pauses that are the same in every run.
    for (number, pause) in [0_u64, 120, 400].into_iter().enumerate() {
        let chart = format!("{name}/slow");
        let wish = json!({"name": format!("web{number}"), "chart": chart, "values": format!("text: number {number}\n")});
        let accepted = henry.post("/api/releases", wish).await.expect(202).json();
        tokio::time::sleep(Duration::from_millis(pause)).await;
        server.kill();
        server.start_again().await;
        let operation = ended(&henry, &accepted).await;
        assert_eq!(
            (&operation["state"], &operation["revision"]),
            (&json!("succeeded"), &json!(1)),
            "{operation:#}"
        );
        let found = release(&henry, &format!("web{number}")).await;
        assert_eq!((&found["state"], &found["revision"]), (&json!("deployed"), &json!(1)), "{found:#}");
        assert_eq!(records(&cluster, &namespace, &format!("web{number}")), [(1, "deployed".to_owned())]);
    }

    // While Helm waits for what never comes.
    let change = json!({"values": "stuck: 1\ntext: half\n", "timeout_secs": 10});
    let accepted = henry.post("/api/releases/web0/upgrade", change).await.expect(202).json();
    eventually("Helm works on it", CLUSTER_SECS, || async {
        let records = records(&cluster, &namespace, "web0");
        records.last().is_some_and(|(_, status)| status == "pending-upgrade").then_some(())
    })
    .await;
    server.kill();
    server.start_again().await;
    let operation = ended(&henry, &accepted).await;
    assert_eq!(
        (&operation["state"], &operation["reason"]),
        (&json!("failed"), &json!("timeout")),
        "{operation:#}"
    );
    assert_eq!(helms(accepted["id"].as_str().unwrap()), 0, "no Helm of the killed server goes on");
    let found = release(&henry, "web0").await;
    let last = records(&cluster, &namespace, "web0").pop().unwrap();
    assert_eq!((found["state"].as_str(), found["revision"].as_u64()), (Some("failed"), Some(last.0)));
    assert_eq!(last.1, "failed");

    let accepted = henry.post("/api/releases/web0/rollback", json!({"revision": 1})).await.expect(202).json();
    server.kill();
    server.start_again().await;
    let operation = ended(&henry, &accepted).await;
    assert_eq!(operation["state"], "succeeded", "{operation:#}");
    assert_eq!(cluster.object(&["-n", &namespace, "configmap", "web0"]).unwrap()["data"]["text"], "number 0");
    let accepted = henry.delete("/api/releases/web0").await.expect(202).json();
    server.kill();
    server.start_again().await;
    assert_eq!(ended(&henry, &accepted).await["state"], "succeeded");
    henry.get("/api/releases/web0").await.expect(404);
    assert!(records(&cluster, &namespace, "web0").is_empty());
    assert!(cluster.object(&["-n", &namespace, "configmap", "web0"]).is_none());
    henry.delete("/api/v1/namespaces/test").await;
}
