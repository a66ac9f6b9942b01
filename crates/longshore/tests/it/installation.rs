//! Longshore itself in a cluster: by its chart and by the plain manifests, with its database on a volume, and with the cluster
//! around it as the one in which accounts have namespaces.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::api::Api;
use crate::support::cluster::{Cluster, cluster, unique};
use crate::support::server::client;
use crate::support::{eventually, is_skipped, setting, shell};

/// Seconds that a server may take to start in the cluster.
const START_SECS: u64 = 120;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn chart() -> String {
    root().join("deploy/helm/longshore").display().to_string()
}

/// None when Helm is skipped.
fn helm(arguments: &[&str]) -> Option<String> {
    if is_skipped("helm") {
        return None;
    }
    let program = setting("LONGSHORE_TEST_HELM")
        .expect("LONGSHORE_TEST_HELM must name Helm, or LONGSHORE_TEST_SKIP must hold `helm`");
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "helm {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    Some(String::from_utf8(done.stdout).unwrap())
}

/// Without comments and empty lines.
fn plain(text: &str) -> Vec<&str> {
    text.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty()).collect()
}

#[test]
fn the_plain_manifests_are_what_the_chart_makes() {
    let place = ["--namespace", "longshore-system", "--kube-version", "1.34.0"];
    let Some(made) =
        helm(&[&["template", "longshore", &chart()], &place[..], &["--set", "rbac.create=false"]].concat())
    else {
        return;
    };
    let kept = fs::read_to_string(root().join("deploy/k8s/longshore.yaml")).unwrap();
    let with_role = helm(&[&["template", "longshore", &chart()], &place[..]].concat()).unwrap();

    assert_eq!(plain(&kept), plain(&made), "render the chart anew into deploy/k8s/longshore.yaml");
    for line in ["kind: ValidatingAdmissionPolicy", "kind: ClusterRole", "name: longshore-tenant"] {
        assert!(with_role.contains(line), "{line}");
    }
    assert!(!with_role.contains("longshore-token"), "no token that never ends");
}

#[test]
fn the_chart_has_the_role_that_the_command_prints() {
    let kept = fs::read_to_string(root().join("deploy/helm/longshore/role.yaml")).unwrap();

    assert!(
        kept == server::clients::kube::role::ROLE,
        "copy crates/server/src/clients/kube/role.yaml to deploy/helm/longshore"
    );
}

/// The image of this build, as `docker save` writes one: the binary, the registry's program, what both load, and nothing else.
fn image(name: &str, to: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let binary = folder.path().join("longshore");
    // A build for tests carries what a debugger needs.
    let strip = ["strip", "--strip-all", "-o", binary.to_str().unwrap(), env!("CARGO_BIN_EXE_longshore")];
    assert!(Command::new(strip[0]).args(&strip[1..]).status().unwrap().success());
    let registry = shell::found("docker-registry");
    let mut files = vec![
        ("usr/local/bin/longshore".to_owned(), binary.clone()),
        ("usr/bin/docker-registry".to_owned(), registry.clone()),
    ];
    let libraries: std::collections::BTreeSet<_> =
        shell::libraries_of(&binary).into_iter().chain(shell::libraries_of(&registry)).collect();
    files.extend(
        libraries
            .into_iter()
            .map(|path| (path.display().to_string().trim_start_matches('/').to_owned(), path)),
    );
    files.push(("etc/ssl/certs/ca-certificates.crt".to_owned(), "/etc/ssl/certs/ca-certificates.crt".into()));
    let layer = folder.path().join("layer.tar");
    let mut tar = tar::Builder::new(fs::File::create(&layer).unwrap());
    for (name, path) in files {
        let content = fs::read(&path).unwrap();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, content.as_slice()).unwrap();
    }
    tar.finish().unwrap();
    let digest = hex::encode(Sha256::digest(fs::read(&layer).unwrap()));
    let config = json!({
        "architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        "config": {"Entrypoint": ["/usr/local/bin/longshore"], "Env": ["PATH=/usr/local/bin:/usr/bin"], "User": "10001:10001"},
    });
    let manifest = json!([{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]);
    let mut tar = tar::Builder::new(fs::File::create(to).unwrap());
    for (name, content) in [("manifest.json", manifest), ("config.json", config)] {
        let content = content.to_string();
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, name, content.as_bytes()).unwrap();
    }
    tar.append_path_with_name(&layer, "layer.tar").unwrap();
    tar.finish().unwrap();
}

/// A folder of the node as a volume that is kept when its claim goes.
fn volume(cluster: &Cluster, name: &str, folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    // Volumes of this kind are not given to the group of a pod.
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
    let volume = json!({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": name},
        "spec": {"capacity": {"storage": "20Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": name,
            "persistentVolumeReclaimPolicy": "Retain", "hostPath": {"path": folder}}});
    cluster.apply(&volume.to_string());
}

/// Waits until the server in a namespace is ready; the way to it.
async fn ready(cluster: &Cluster, namespace: &str) -> Api {
    let service = cluster.object(&["-n", namespace, "service", "longshore"]).unwrap();
    let url = format!("http://{}:8080", service["spec"]["clusterIP"].as_str().unwrap());
    // No server of this process has chosen it.
    rustls::crypto::ring::default_provider().install_default().ok();
    let api = Api { url, token: None, http: client() };
    eventually("the server in the cluster is ready", START_SECS, || async {
        let answer = api.http.get(format!("{}/readyz", api.url)).send().await.ok()?;
        (answer.status() == 200).then_some(())
    })
    .await;
    api
}

async fn admin(api: &Api) -> Api {
    let login = json!({"account": "admin", "password": "a password of tests"});
    let answer = api.post("/api/auth/login", login).await.expect(200).json();
    api.with_token(answer["access_token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn longshore_runs_in_a_cluster_and_serves_it() {
    let Some(cluster) = cluster() else { return };
    // Only a cluster of our recipe takes an image from this machine.
    let (Some(socket), false) = (cluster.runtime(), is_skipped("helm")) else { return };
    let (namespace, tag) = (unique("longshore-it-"), unique("t"));
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("image.tar");
    image(&format!("localhost/longshore:{tag}"), &tar);
    let import = Command::new("ctr")
        .args(["--address", &socket, "--namespace", "k8s.io", "images", "import", tar.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(import.status.success(), "{}", String::from_utf8_lossy(&import.stderr));
    fs::remove_file(&tar).unwrap();
    volume(&cluster, &namespace, &folder.path().join("data"));
    cluster.kubectl(&["create", "namespace", &namespace]);
    cluster.kubectl(&[
        "-n",
        &namespace,
        "create",
        "secret",
        "generic",
        "admin",
        "--from-literal=password=a password of tests",
    ]);
    // What a release would make of roles is the whole cluster's, which other tests share: its own service account stands in.
    cluster.apply(server::clients::kube::role::ROLE);
    cluster.kubectl(&["-n", &namespace, "create", "serviceaccount", "longshore"]);
    let subject = format!("{namespace}:longshore");
    cluster.kubectl(&[
        "create",
        "clusterrolebinding",
        &namespace,
        "--clusterrole=longshore",
        &format!("--serviceaccount={subject}"),
    ]);
    let kubeconfig = cluster.kubeconfig_path();
    let release = [
        "install",
        "longshore",
        &chart(),
        "--kubeconfig",
        &kubeconfig,
        "--namespace",
        &namespace,
        "--set",
        "rbac.create=false",
        "--set",
        "adminPasswordSecret=admin",
        "--set",
        "image.repository=localhost/longshore",
        "--set",
        &format!("image.tag={tag}"),
        "--set",
        &format!("persistence.storageClassName={namespace}"),
        "--set",
        "resources.requests.cpu=10m",
        "--set",
        &format!("env.LONGSHORE_KUBERNETES_PUBLIC_SERVER=https://{}", cluster.server()),
    ];
    helm(&release).unwrap();

    let api = ready(&cluster, &namespace).await;
    let first = admin(&api).await;
    first.post("/api/v1/clusters", json!({"name": "here", "in_cluster": true})).await.expect(201);
    let henry = unique("henry");
    api.post("/api/auth/register", json!({"account": henry, "password": "a password"})).await.expect(200);
    let login = api
        .post("/api/auth/login", json!({"account": henry, "password": "a password"}))
        .await
        .expect(200)
        .json();
    let login = api.with_token(login["access_token"].as_str().unwrap());
    let made = login.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201).json();
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: conf}\ndata: {a: b}\n";
    login.post("/api/v1/workloads", json!({"manifest": map})).await.expect(200);
    let theirs = made["name"].as_str().unwrap();
    assert_eq!(cluster.object(&["-n", theirs, "configmap", "conf"]).unwrap()["data"]["a"], "b");

    // From inside the server reaches the cluster by a way that people do not have; they get the one that was set.
    let kubeconfig_made =
        login.post("/api/v1/namespaces/test/kubeconfig", json!({})).await.expect(201).json();
    let own = folder.path().join("kubeconfig");
    fs::write(&own, kubeconfig_made["kubeconfig"].as_str().unwrap()).unwrap();
    let own = own.display().to_string();
    let found = cluster.try_kubectl(&["--kubeconfig", &own, "get", "configmap", "conf", "-o", "name"], "");
    assert_eq!(found.unwrap().trim(), "configmap/conf");

    // The pod goes, the volume stays: the same accounts, the same login.
    cluster.kubectl(&["-n", &namespace, "delete", "pods", "--all", "--wait=true"]);
    let api = ready(&cluster, &namespace).await;
    let login = login.with_token(login.token.clone().unwrap());
    assert_eq!(login.get("/api/v1/workloads").await.expect(200).json()["total"], 1);

    // The plain manifests take over what the chart made: they are the same.
    helm(&["uninstall", "longshore", "--kubeconfig", &kubeconfig, "--namespace", &namespace, "--wait"])
        .unwrap();
    // A pod that ends still answers for a while.
    eventually("the pod has ended", START_SECS, || async {
        let pods = cluster.object(&["-n", &namespace, "pods"])?;
        pods["items"].as_array()?.is_empty().then_some(())
    })
    .await;
    let kept: Value = cluster.object(&["-n", &namespace, "pvc", "longshore"]).expect("the volume is kept");
    assert_eq!(kept["status"]["phase"], "Bound");
    let manifests = fs::read_to_string(root().join("deploy/k8s/longshore.yaml")).unwrap();
    let (_, rest) = manifests.split_once("---\n").unwrap();
    let (_, without_claim) = rest.split_once("---\n").unwrap();
    let manifests = without_claim
        .replace("image: \"longshore:0.1.0\"", &format!("image: \"localhost/longshore:{tag}\""))
        .replace("cpu: 100m", "cpu: 10m");
    cluster.try_kubectl(&["-n", &namespace, "apply", "-f", "-"], &manifests).unwrap();
    drop(api);
    let api = ready(&cluster, &namespace).await;
    let again = admin(&api).await;
    assert_eq!(again.get("/api/v1/clusters").await.expect(200).json()["data"][0]["state"], "ready");
    again.delete(&format!("/api/v1/namespaces/{}", made["id"].as_str().unwrap())).await;
    cluster.kubectl(&["delete", "clusterrolebinding", &namespace]);
    cluster.kubectl(&["delete", "namespace", &namespace, "--wait=true"]);
    cluster.kubectl(&["delete", "persistentvolume", &namespace]);
    cluster.kubectl(&["delete", "namespace", theirs, "--wait=false", "--ignore-not-found"]);
}
