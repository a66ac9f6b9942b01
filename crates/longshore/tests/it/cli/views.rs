//! Answers of a server as the tests need them.

use serde_json::{Value, json};

pub(super) const BUILD: &str = "019a0000-0000-7000-8000-000000000001";
pub(super) const TOKEN: &str = "019a0000-0000-7000-8000-000000000002";

/// A time so many seconds ago, as the server writes it.
pub(super) fn ago(secs: i64) -> String {
    let now = std::process::Command::new("date").arg("+%s").output().unwrap().stdout;
    let now: i64 = String::from_utf8(now).unwrap().trim().parse().unwrap();
    wire::time::Timestamp(0).plus_secs(now - secs).to_string()
}

pub(super) fn account(name: &str) -> Value {
    json!({
        "user_id": 7, "account": name, "nickname": "Alice", "email": "alice@example.org", "phone": null,
        "photo": null, "role": "user", "state": "active", "created_at": ago(200_000),
    })
}

pub(super) fn setting(name: &str, value: &str, choices: &[&str]) -> Value {
    json!({
        "name": name, "value": value, "source": "default", "is_secret": false, "choices": choices, "help": "What it does.",
    })
}

pub(super) fn image(id: i64, name: &str) -> Value {
    let (owner, rest) = name.split_once('/').unwrap();
    let (repo, tag) = rest.split_once(':').unwrap();
    json!({
        "id": id, "name": name, "owner": owner, "repo": repo, "tag": tag, "pull": format!("127.0.0.1:5000/{name}"),
        "digest": format!("sha256:{}", "0".repeat(64)), "size_bytes": 12_345_678, "layers": [],
        "parent_image_id": null, "display_name": null, "description": "a web server",
        "create_parameters": { "exposed_ports": ["8000/tcp"], "entrypoint": ["/hello"] },
        "source": "build", "build_id": BUILD, "state": "ready", "created_at": ago(180),
    })
}

pub(super) fn image_tree() -> Value {
    let node = |id: i64, name: &str, parent: Option<i64>, containers: Value, others: i64| {
        json!({
            "id": id, "name": name, "parent_image_id": parent, "source": "save", "description": "words\nand more",
            "size_bytes": 12_345_678, "added_bytes": 1_048_576, "layers": 2, "containers": containers, "others": others,
            "created_at": ago(180),
        })
    };
    json!({
        "id": 12,
        "images": [
            node(3, "public/base:1", None, json!([]), 4),
            node(12, "alice/app:v1", Some(3), json!([{ "id": 31, "name": "web" }]), 0),
            node(14, "alice/work:1", Some(12), json!([]), 0),
            node(15, "alice/work:2", Some(12), json!([]), 0),
            node(16, "alice/work:1b", Some(14), json!([]), 0),
        ],
        "is_complete": false,
    })
}

pub(super) fn save_preview() -> Value {
    json!({
        "size_bytes": 3_145_728, "max_bytes": 1_073_741_824, "changes": 12, "is_complete": true,
        "biggest": [{ "path": "/srv/model.bin", "size_bytes": 2_097_152 }, { "path": "/tmp/a\u{1b}[2J", "size_bytes": 10 }],
        "layers": 4, "max_layers": 120, "warnings": ["what is in the volume `/data` is not saved"],
        "parent_image_id": 12, "parent_image": "alice/app:v1",
        "parameters": { "exposed_ports": ["8000/tcp"], "env": { "MODE": "a", "KEEP": "b" }, "entrypoint": ["/hello"] },
    })
}

pub(super) fn build(state: &str, phase: &str) -> Value {
    json!({
        "id": BUILD, "account": "alice", "image": "alice/app:v1", "state": state, "reason": null, "message": null,
        "phase": phase, "step": null, "steps": null, "step_text": null, "pushed_bytes": 0, "push_total_bytes": 0,
        "queue_position": null, "context_bytes": 100, "log_bytes": 0, "machine_id": null, "image_id": null,
        "digest": null, "size_bytes": null, "created_at": ago(180), "started_at": null, "ended_at": null,
    })
}

pub(super) fn succeeded(log_bytes: u64) -> Value {
    let mut build = build("succeeded", "done");
    build["log_bytes"] = log_bytes.into();
    build["image_id"] = 12.into();
    build["digest"] = format!("sha256:{}", "0".repeat(64)).into();
    build["size_bytes"] = 1_572_864.into();
    build["started_at"] = "2026-01-01T00:00:00.000000Z".into();
    build["ended_at"] = "2026-01-01T00:01:05.000000Z".into();
    build
}

pub(super) fn failed(log_bytes: u64) -> Value {
    let mut build = build("failed", "building");
    build["log_bytes"] = log_bytes.into();
    build["reason"] = "build_failed".into();
    build["message"] = "the command returned 2".into();
    build["step"] = 2.into();
    build["steps"] = 3.into();
    build["step_text"] = "RUN make".into();
    build
}

pub(super) fn container(state: &str) -> Value {
    json!({
        "id": 31, "name": "web", "display_name": null, "machine_id": "m1", "image_id": 12, "image": "alice/app:v1",
        "port": 30001, "ports": [{ "container": 8000, "protocol": "tcp", "host": 30001, "bind": "loopback" }],
        "user_id": 7, "account": "alice", "status": state == "running", "state": state, "state_since": ago(60),
        "reason": null, "message": null, "exit_code": null, "env": { "KEY": "s3cret" }, "command": null,
        "entrypoint": null, "working_dir": null, "memory_bytes": 536_870_912, "cpu_millis": 1500, "pids": 256,
        "created_at": ago(180), "shm_bytes": 67_108_864,
        "wished_limits": { "limits": { "memory_bytes": 1_073_741_824, "cpu_millis": 500, "pids": 9 }, "message": "it uses more" },
        "volumes": [{ "volume": 5, "name": "data", "target": "/data", "is_read_only": true }],
        "gpus": { "count": 2, "model": "a100" }, "gpu_ids": ["GPU-0", "GPU-1"],
        "max_duration_secs": 43_200, "restart_policy": "on_failure", "restarts": 2, "ends_at": ago(-43_030), "queue": null,
    })
}

pub(super) fn collection(state: &str, phase: &str) -> Value {
    let is_done = state == "succeeded";
    json!({
        "id": TOKEN, "state": state, "phase": phase, "reason": null, "message": null,
        "bytes_before": if is_done { json!(3_145_728) } else { Value::Null },
        "bytes_after": if is_done { json!(1_048_576) } else { Value::Null },
        "freed_bytes": if is_done { json!(2_097_152) } else { Value::Null },
        "created_at": ago(180), "ended_at": if is_done { json!(ago(60)) } else { Value::Null },
    })
}

pub(super) fn volume() -> Value {
    json!({
        "id": 5, "name": "data", "account": "alice", "machine_id": "m1", "state": "ready",
        "containers": [{ "id": 31, "name": "web" }], "created_at": ago(180),
    })
}

pub(super) fn machine(state: &str) -> Value {
    json!({
        "machine_id": "m1", "hostname": "box", "ip": "192.0.2.7",
        "cpu": { "0": { "type": "Some CPU", "cores": 16 } }, "gpu": { "0": { "type": "Some GPU", "memory": 24_576 } },
        "memory": { "total": 65_536, "free": 32_768 }, "disk": { "total": 1000, "free": 400 },
        "engine_version": "28.2.2", "os": "Debian 13", "architecture": "amd64", "registry": "127.0.0.1:5000",
        "agent_version": "0.1.0", "state": state, "state_since": ago(7200), "online": state == "online", "status": state == "online", "url": "127.0.0.1:5000",
        "drained_at": null, "drain_reason": null, "label": "rack 2", "quarantine_reason": null, "joined_at": ago(90_000),
        "gpus": [gpu("0", "free")], "gpu_problem": "GPU 1 cannot be used: it fell off the bus",
    })
}

pub(super) fn cluster() -> Value {
    json!({
        "id": TOKEN, "name": "lab", "is_default": true, "state": "ready", "state_since": ago(7200), "message": null,
        "version": "v1.34.4", "pod_ranges": ["10.244.0.0/16"], "server": "https://10.0.0.1:6443", "created_at": ago(90_000),
    })
}

pub(super) fn node() -> Value {
    json!({
        "cluster": "lab", "name": "node1", "status": "Ready", "message": null, "is_schedulable": true, "roles": [],
        "cpu_millis": 15_500, "memory_bytes": 68_719_476_736_u64, "pods": 110, "gpus": { "nvidia.com/gpu": 2 },
        "address": "10.0.0.2", "kubelet_version": "v1.34.4", "os": "Debian 13",
    })
}

pub(super) fn namespace() -> Value {
    json!({
        "id": BUILD, "name": "alice-test", "short_name": "test", "cluster": "lab", "account_id": 7, "account": "alice",
        "state": "ready", "state_since": ago(7200), "message": null, "uid": "u", "created_at": ago(7200),
    })
}

pub(super) fn pod() -> Value {
    json!({
        "name": "web-1", "namespace": "alice-test", "status": "CrashLoopBackOff", "ready": "0/1", "restarts": 3,
        "message": "`web` ends again and again: it ended with exit code 3; its log says why", "ip": "10.244.0.7",
        "node": "node1", "images": ["alice/app:v1"], "containers": ["web"], "created_at": ago(600),
    })
}

pub(super) fn workload() -> Value {
    json!({
        "id": BUILD, "kind": "Deployment", "name": "web", "namespace": "alice-test", "cluster": "lab", "account": "alice",
        "file": "web.yaml", "revision": 2, "state": "progressing", "message": "1 of 2 pods answer: `web` is being started",
        "replicas": { "desired": 2, "updated": 2, "ready": 1 }, "images": ["10.0.0.1:5000/alice/app:v1"],
        "ports": [{ "name": null, "address": "10.96.0.7", "port": 80, "node_port": 30_080 }], "uid": "u",
        "created_at": ago(7200), "updated_at": ago(60),
    })
}

pub(super) fn applied() -> Value {
    json!({
        "namespace": "alice-test", "name": "web", "uid": "u", "kind": "Deployment", "revision": 2, "replicas": 2,
        "images": ["10.0.0.1:5000/alice/app:v1"], "file": "web.yaml", "status": "updated",
        "warnings": ["would violate PodSecurity \"restricted:v1.33\""],
    })
}

pub(super) fn gpu(key: &str, state: &str) -> Value {
    json!({
        "machine_id": "m1", "key": key, "uuid": format!("GPU-{key}"), "type": "Some GPU", "memory": 24_576,
        "memory_used": 1_536, "utilization_percent": 42, "temperature_celsius": 61, "power_watts": 150, "state": state,
        "lease": if state == "leased" {
            json!({ "since": ago(7200), "until": ago(-43_030), "container_id": 31, "container": "web", "account": "alice" })
        } else {
            Value::Null
        },
        "processes": [
            { "pid": 4711, "name": "python3", "user": "root", "memory": 1_024, "container_id": 31, "container": "web", "account": "alice" },
            { "pid": 4712, "name": "blender", "user": "carol", "memory": null, "container_id": null, "container": null, "account": null },
        ],
    })
}

pub(super) fn place(position: u64, is_shown: bool) -> Value {
    json!({
        "position": position, "since": ago(300), "gpus": { "count": 2, "model": "a100" }, "machine_id": null,
        "reason": "waits_for_gpu", "message": is_shown.then_some("it waits for 2 GPUs of `a100`"),
        "container_id": is_shown.then_some(31), "container": is_shown.then_some("web"),
        "account": is_shown.then_some("alice"),
    })
}

pub(super) fn held(machine: &str, state: &str) -> Value {
    json!({
        "machine_id": machine, "state": state, "size_bytes": 1_048_576, "last_used_at": ago(60),
        "pull": (state == "pulling").then(|| json!({
            "current_bytes": 5_242_880, "total_bytes": 10_485_760, "bytes_per_sec": 1_048_576, "layers": 3,
        })),
        "message": null,
    })
}

pub(super) fn quota() -> Value {
    json!({
        "account": "bob", "class": "high",
        "limits": { "gpus": 2, "cpu_millis": 16_000, "memory_bytes": null, "running_containers": 8 },
        "own": { "gpus": 2, "cpu_millis": null, "memory_bytes": null, "running_containers": null },
        "used": { "gpus": 1, "cpu_millis": 2_500, "memory_bytes": 3_221_225_472_u64, "running_containers": 3 },
    })
}

pub(super) fn git_repo() -> Value {
    json!({
        "id": 4, "account": "alice", "repo_name": "app", "url": "https://***@git.example.org/team/app.git", "branch": "main",
        "tag": "", "build_path": "", "dockerfile": "", "image": "", "job": "", "kind": "", "name": "", "description": "the app",
        "has_credential": true, "has_ca": false, "has_ssh_key": false, "has_webhook_secret": true, "has_status_token": false,
        "webhook_path": "/hook/app", "options": { "branches": ["main"], "poll_minutes": 10 },
        "last_commit": "0".repeat(40), "created_at": ago(86_400), "updated_at": ago(60),
    })
}

pub(super) fn git_repo_secret() -> Value {
    json!({ "name": "token", "created_at": ago(86_400), "updated_at": ago(60) })
}

pub(super) fn notification_target() -> Value {
    json!({
        "id": 2, "kind": "feishu", "address": "https://open.feishu.cn/***", "has_secret": true, "last_result": "sent",
        "last_at": ago(60), "created_at": ago(86_400),
    })
}

pub(super) fn run(state: &str) -> Value {
    let is_final = state == "succeeded";
    json!({
        "id": 5, "uuid": BUILD, "account": "alice", "git_repo_id": 4, "repo_name": "app",
        "name": "event-app-buildv202601010000", "job": "app-buildv202601010000", "kind": "", "state": state, "reason": null,
        "message": null, "cause": "webhook", "executor": "docker", "git_ref": "refs/heads/main", "commit": "0".repeat(40),
        "image": "alice/app", "image_tag": "v202601010000",
        "digest": if is_final { json!(format!("sha256:{}", "0".repeat(64))) } else { Value::Null },
        "steps": [{
            "name": "fetch", "state": "succeeded", "started_at": "2026-01-01T00:00:00.000000Z",
            "ended_at": "2026-01-01T00:00:02.000000Z",
        }],
        "retry_of": null, "description": "", "created_at": ago(180),
        "started_at": if is_final { json!("2026-01-01T00:00:00.000000Z") } else { Value::Null },
        "ended_at": if is_final { json!("2026-01-01T00:01:05.000000Z") } else { Value::Null },
    })
}

pub(super) fn audit() -> Value {
    json!({
        "id": 1, "at": ago(30), "actor": "admin", "acting_for": "alice", "action": "image.delete",
        "target": "alice/app:\u{1b}[2Jv1", "result": "done", "ip": "192.0.2.9", "request_id": null,
    })
}

pub(super) fn token() -> Value {
    json!({ "id": TOKEN, "name": "ci", "created_at": ago(86_400), "expires_at": ago(-172_830), "last_used_at": null })
}

pub(super) fn chart_key() -> Value {
    json!({
        "id": TOKEN, "repo_id": TOKEN, "identity": "Signer <signer@example.org>", "fingerprint": "AB".repeat(20),
        "added_by": "alice", "created_at": ago(3600),
    })
}

pub(super) fn chart() -> Value {
    json!({
        "repo_id": TOKEN, "repo": "bitnami", "type": "external", "name": "nginx", "version": "1.1.0", "app_version": "1.27",
        "description": "Serves pages", "category": null, "keywords": [], "home": null, "sources": [], "maintainers": [], "icon": null,
        "kube_version": null, "deprecated": false, "version_count": 2, "published_at": null, "updated_at": ago(60),
    })
}

pub(super) fn release() -> Value {
    json!({
        "id": BUILD, "name": "web", "account": "alice", "cluster": "test", "namespace": "alice-test", "type": "external",
        "repo_id": TOKEN, "repo": "bitnami", "chart": "nginx", "chart_version": "1.1.0", "app_version": "1.27", "revision": 2,
        "state": "deployed", "reason": null, "message": null, "operation": release_operation("install", "running"),
        "created_at": ago(7200), "updated_at": ago(3600),
    })
}

pub(super) fn release_status() -> Value {
    let mut status = release();
    status["resources"] = json!([
        { "kind": "Deployment", "name": "web", "hook": null, "state": "ready", "message": null,
          "replicas": { "desired": 1, "updated": 1, "ready": 1 }, "ports": [] },
        { "kind": "Service", "name": "web", "hook": null, "state": "ready", "message": null, "replicas": null,
          "ports": [{ "name": null, "address": "10.0.0.1", "port": 80, "node_port": 30080 }] },
        { "kind": "Job", "name": "init", "hook": "pre-install", "state": "missing", "message": null, "replicas": null, "ports": [] },
    ]);
    status["is_ready"] = true.into();
    status["notes"] = "open it\u{1b}[2J".into();
    status
}

pub(super) fn release_operation(action: &str, state: &str) -> Value {
    json!({
        "id": TOKEN, "release_id": BUILD, "release": "web", "namespace": "alice-test", "action": action, "state": state,
        "reason": null, "message": null, "chart": "nginx-1.1.0", "revision": 2, "cancel_requested": false,
        "created_at": ago(60), "started_at": ago(59), "ended_at": null,
    })
}

pub(super) fn release_plan() -> Value {
    json!({
        "name": "web", "namespace": "alice-test", "chart": "nginx", "chart_version": "1.1.0", "manifest": "---\n",
        "diff": "--- ConfigMap/web\n+++ ConfigMap/web\n@@ -1 +1 @@\n-a\n+b\n",
        "changes": [{ "kind": "ConfigMap", "name": "web", "change": "changed" }], "notes": null,
        "warnings": ["templates/tests/t.yaml: Pod `t` is a test of the chart, and is left out"],
    })
}
