//! The rights matrix, walked: every route as nobody, as another account, as a disabled account, with an API token and
//! as an admin. A route without a case fails the test.

use reqwest::Method;
use serde_json::{Value, json};
use server::blobs::BlobKind;
use server::http::rights::{Access, RIGHTS};
use store::{builds, containers, images};
use wire::containers::{ContainerSpec, ContainerState};
use wire::ids::BuildId;
use wire::images::{CreateParameters, ImageSource, ImageState};
use wire::machines::{Capacity, MachineFacts, MachineState};

use crate::support::api::Api;
use crate::support::charts::hex_of;
use crate::support::server::TestServer;

/// Things of alice's that others try to reach.
struct Things {
    token: String,
    image: i64,
    build: String,
    container: i64,
    volume: i64,
    collection: String,
    namespace: String,
    workload: String,
    git_repo: i64,
    run: i64,
    runner: i64,
    line: i64,
    chart_repo: String,
    chart_key: String,
    release: String,
    release_operation: String,
}

async fn things_of(server: &TestServer, alice: &Api) -> Things {
    let (db, now) = (&server.app.db, server.app.now());
    let account = store::accounts::by_name(db, &"alice".parse().unwrap()).await.unwrap().unwrap().id;
    let token = alice.post("/api/v1/tokens", json!({"name": "t"})).await.expect(201).json()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let digest: wire::names::Digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
    let facts = MachineFacts {
        machine_id: "m1".parse().unwrap(),
        hostname: "m1".into(),
        ip: "10.9.8.7".into(),
        cpu: std::collections::BTreeMap::new(),
        gpu: std::collections::BTreeMap::new(),
        memory: Capacity::default(),
        disk: Capacity::default(),
        engine_version: None,
        os: "Linux".into(),
        architecture: "amd64".into(),
        registry: "127.0.0.1:5000".into(),
        agent_version: "0".into(),
        lan: None,
    };
    store::machines::upsert(db, &facts, MachineState::Unknown, now).await.unwrap();
    let image = images::New {
        account_id: Some(account),
        owner: "alice".parse().unwrap(),
        repo: "app".parse().unwrap(),
        tag: Some("v1".parse().unwrap()),
        digest: digest.clone(),
        size_bytes: 1,
        layers: Vec::new(),
        parent_image_id: None,
        display_name: None,
        description: None,
        create_parameters: CreateParameters::default(),
        source: ImageSource::Push,
        build_id: None,
        state: ImageState::Ready,
        now,
    };
    let image = images::insert(db, &image).await.unwrap();
    let build = builds::New {
        id: BuildId(uuid::Uuid::now_v7()),
        account_id: account,
        image: &"alice/app:v1".parse().unwrap(),
        dockerfile: "Dockerfile",
        context_blob: None,
        context_bytes: 0,
        save: None,
        now,
    };
    builds::insert(db, &build).await.unwrap();
    let container = containers::New {
        account_id: account,
        name: "box".parse().unwrap(),
        display_name: None,
        machine_id: "m1".parse().unwrap(),
        image_id: image.id,
        image_name: "alice/app:v1".into(),
        image_repository: "alice/app".into(),
        image_digest: digest,
        spec: ContainerSpec {
            ports: Vec::new(),
            env: std::collections::BTreeMap::new(),
            command: None,
            entrypoint: None,
            working_dir: None,
            memory_bytes: 64 << 20,
            cpu_millis: 100,
            pids: 10,
            gpus: Vec::new(),
            shm_bytes: None,
            volumes: Vec::new(),
            tty: false,
        },
        desired: containers::Desired::Stopped,
        now,
        gpu_wish: None,
        max_duration_secs: None,
        restart_policy: wire::containers::RestartPolicy::No,
        placement: containers::Placement::Fixed,
    };
    let container = containers::insert(db, &container).await.unwrap();
    containers::set_state(db, container.id, &container.change(ContainerState::Unknown), now).await.unwrap();
    let kept = store::kept_logs::Row {
        container_id: container.id,
        account_id: account,
        name: container.name.clone(),
        image_name: "alice/app:v1".into(),
        machine_id: "m1".parse().unwrap(),
        bytes: 1,
        dropped_bytes: 0,
        removed_at: now,
    };
    store::kept_logs::put(db, &kept).await.unwrap();
    let (namespace, workload) = a_workload(server, account).await;
    let collection = wire::ids::CollectionId(uuid::Uuid::now_v7());
    store::collections::insert(db, collection, account, now).await.unwrap();
    let collection = collection.to_string();
    let (machine, name) = ("m1".parse().unwrap(), "data".parse().unwrap());
    let volume = store::volumes::insert(db, account, &machine, &name, now).await.unwrap().id.0;
    let (git_repo, run, runner, line) = pipeline_of(server, account).await;
    let chart_repo = wire::ids::ChartRepoId(uuid::Uuid::now_v7());
    let settings = store::chart_repos::Settings {
        name: format!("own-{chart_repo}"),
        url: "http://127.0.0.1:1".into(),
        kind: wire::chart_repos::ChartRepoKind::External,
        backend: wire::chart_repos::ChartRepoBackend::Common,
        is_public: false,
        description: None,
        username: None,
        password: None,
        ca_certificate: None,
        sync_minutes: 0,
        requires_signature: false,
    };
    store::chart_repos::insert(db, chart_repo, account, &settings, now).await.unwrap();
    // A chart whose package and picture are kept, so that nobody has to be asked for them.
    let package = crate::support::charts::package(&[("web/Chart.yaml", b"name: web\nversion: 1.0.0\n")]);
    let digest_of_package = hex_of(&package);
    let pages = [json!([{"v": "1.0.0", "d": digest_of_package}]).to_string()];
    let chart = store::charts::New {
        name: "web",
        version: "1.0.0",
        app_version: None,
        description: "",
        keywords: "",
        category: None,
        published_at: None,
        is_deprecated: false,
        version_count: 1,
        content_hash: "",
        metadata: r#"{"icon":"icon.png"}"#,
        pages: &pages,
    };
    store::charts::put(db, chart_repo, None, &chart, now).await.unwrap();
    server.app.blobs.write(BlobKind::ChartPackage, &digest_of_package, &package).unwrap();
    let icon = hex_of(format!("{chart_repo} {} icon.png", settings.url).as_bytes());
    server.app.blobs.write(BlobKind::ChartIcon, &format!("{icon}-png"), b"png").unwrap();
    let key = store::chart_keys::Row {
        id: wire::ids::ChartKeyId(uuid::Uuid::now_v7()),
        repo_id: Some(chart_repo),
        account_id: account,
        identity: "somebody".into(),
        fingerprint: "00".into(),
        armored: String::new(),
        created_at: now,
    };
    store::chart_keys::insert(db, &key).await.unwrap();
    let (release, release_operation) = release_of(server, account, chart_repo).await;
    let chart_repo = chart_repo.to_string();
    Things {
        chart_repo,
        chart_key: key.id.to_string(),
        release,
        release_operation,
        collection,
        volume,
        token,
        image: image.id.0,
        build: build.id.to_string(),
        container: container.id.0,
        namespace,
        workload,
        git_repo,
        run,
        runner,
        line,
    }
}

/// A release in the namespace of a cluster that is not there, and what was done to it.
async fn release_of(
    server: &TestServer,
    account: wire::ids::AccountId,
    repo: wire::ids::ChartRepoId,
) -> (String, String) {
    let (db, now) = (&server.app.db, server.app.now());
    let release = store::releases::Row {
        id: wire::ids::ReleaseId(uuid::Uuid::now_v7()),
        account_id: account,
        place: store::releases::Place {
            cluster: "away".parse().unwrap(),
            namespace: "alice-test".parse().unwrap(),
            name: "web".into(),
        },
        chart: store::releases::Chart {
            kind: wire::chart_repos::ChartRepoKind::External,
            repo_id: Some(repo),
            repo_name: "own".into(),
            name: "web".into(),
            version: "1.0.0".into(),
            app_version: None,
        },
        revision: 1,
        state: wire::releases::ReleaseState::Deployed,
        reason: None,
        message: None,
        resources: None,
        operation_id: None,
        created_at: now,
        updated_at: now,
    };
    store::releases::insert(db, &release).await.unwrap();
    let operation = store::release_operations::Row {
        id: wire::ids::ReleaseOperationId(uuid::Uuid::now_v7()),
        release_id: release.id,
        account_id: account,
        place: release.place.clone(),
        action: wire::releases::ReleaseAction::Install,
        chart: "web-1.0.0".into(),
        state: wire::builds::OperationState::Queued,
        reason: None,
        message: None,
        payload: None,
        base_revision: 0,
        revision: None,
        cancel_requested: false,
        created_at: now,
        started_at: None,
        ended_at: None,
    };
    store::release_operations::insert(db, &operation).await.unwrap();
    (release.id.to_string(), operation.id.to_string())
}

/// A namespace of an account's in a cluster that is not there, and a workload in it.
async fn a_workload(server: &TestServer, account: wire::ids::AccountId) -> (String, String) {
    let (db, now) = (&server.app.db, server.app.now());
    let cluster = store::clusters::Row {
        id: wire::ids::ClusterId(uuid::Uuid::now_v7()),
        name: "away".parse().unwrap(),
        server: "https://127.0.0.1:1".into(),
        credentials: None,
        pod_ranges: Vec::new(),
        is_default: true,
        state: wire::clusters::ClusterState::Unreachable,
        state_since: now,
        message: None,
        version: None,
        created_at: now,
    };
    let tx = db.begin().await.unwrap();
    store::clusters::insert(&tx, &cluster).await.unwrap();
    tx.commit().await.unwrap();
    let namespace = store::namespaces::New {
        id: wire::ids::NamespaceId(uuid::Uuid::now_v7()),
        cluster_id: cluster.id,
        account_id: account,
        name: &"alice-test".parse().unwrap(),
        short_name: &"test".parse().unwrap(),
        created_at: now,
    };
    store::namespaces::insert(db, &namespace).await.unwrap();
    let workload = store::workloads::Row {
        id: wire::ids::WorkloadId(uuid::Uuid::now_v7()),
        namespace_id: namespace.id,
        kind: wire::workloads::WorkloadKind::Deployment,
        name: "web".into(),
        file: "web.yaml".into(),
        desired: store::workloads::Desired::Applied,
        revision: 1,
        uid: None,
        created_at: now,
        updated_at: now,
    };
    store::workloads::insert(db, &workload).await.unwrap();
    (namespace.id.to_string(), workload.id.to_string())
}

/// A git repository of alice's with a run that waits, its runner and its first line.
async fn pipeline_of(server: &TestServer, account: wire::ids::AccountId) -> (i64, i64, i64, i64) {
    let (db, now) = (&server.app.db, server.app.now());
    let content = store::git_repos::Content {
        repo_name: "alices".into(),
        url: "https://git.example.org/alice/app.git".into(),
        ..store::git_repos::Content::default()
    };
    let repo = store::git_repos::New { uuid: "u1", account_id: account, content: &content, now };
    let repo = store::git_repos::insert(db, &repo).await.unwrap();
    let run = store::runs::New {
        uuid: BuildId(uuid::Uuid::now_v7()),
        account_id: account,
        git_repo_id: repo,
        name: "event-alices-buildv202601010000",
        repo_name: "alices",
        job: "alices-buildv202601010000",
        kind: "",
        image: "alice/alices",
        image_tag: "v202601010000",
        git_ref: "",
        commit: None,
        description: "",
        cause: wire::runs::RunCause::Manual,
        executor: wire::runs::RunExecutor::Docker,
        retry_of: None,
        now,
    };
    let run_id = store::runs::insert(db, &run).await.unwrap();
    let content = store::runners::Content { name: "alices-buildv202601010000".into(), ..Default::default() };
    let runner = store::runners::New {
        uuid: wire::ids::RunnerUuid(uuid::Uuid::now_v7()),
        account_id: account,
        run_id: Some(run_id),
        content: &content,
        now,
    };
    let runner = store::runners::insert(db, &runner).await.unwrap();
    let line = store::run_log::New {
        account_id: account,
        git_repo_id: repo,
        run_id: Some(run_id),
        repo_name: "alices",
        event_uuid: &run.uuid.to_string(),
        runner_uuid: "",
        msg: "queued",
        now,
    };
    let line = store::run_log::insert(db, &line).await.unwrap();
    (repo.0, run_id.0, runner.0, line.0)
}

/// The number of a container of alice's that is said to run, on a machine that is not there.
pub(crate) async fn a_running_container(server: &TestServer) -> i64 {
    let alice = server.login("alice", "alice password").await;
    let things = things_of(server, &alice).await;
    let (db, id) = (&server.app.db, wire::ids::ContainerId(things.container));
    let row = containers::get(db, id).await.unwrap().unwrap();
    containers::set_state(db, id, &row.change(ContainerState::Running), server.app.now()).await.unwrap();
    things.container
}

/// The request that tries a route on alice's things. None: the route has no case.
fn attempt(method: &str, path: &str, things: &Things) -> Option<(String, Option<Value>)> {
    let path_of = |id: &str| path.replace("{id}", id);
    let named = json!({"username": "alice", "repo": "app", "tag": "v1", "oldrepo": "app", "oldtag": "v1", "newrepo": "app", "newtag": "v2"});
    let query = "?username=alice&repo=app";
    Some(match (method, path) {
        ("GET", "/api/charts") => (format!("{path}?repo={}", things.chart_repo), None),
        ("GET", "/api/charts/{name}") => (format!("/api/charts/web?repo={}", things.chart_repo), None),
        (_, path_) if path_.starts_with("/charts/") => {
            let path = path_.replace("{account}", "alice").replace("{file}", "web-1.0.0.tgz");
            (path.replace("{name}", "web").replace("{version}", "1.0.0"), None)
        }
        ("POST", "/api/v1/charts") => (path.to_owned(), None),
        (_, path_) if path_.starts_with("/api/v1/charts/") => {
            let path = path_
                .replace("{repo}", &things.chart_repo)
                .replace("{chart}", "web")
                .replace("{version}", "1.0.0");
            let query = if path.ends_with("/file") { "?path=Chart.yaml" } else { "" };
            (format!("{path}{query}"), None)
        }
        ("GET", path) if !path.contains(['{', '_']) => (path.to_owned(), None),
        ("GET", "/ui/{*path}") => ("/ui/images".into(), None),
        ("GET", "/api/docs/{file}") => ("/api/docs/docs.js".into(), None),
        ("GET", "/api/user/get_user/{account}") => ("/api/user/get_user/alice".into(), None),
        ("GET", "/api/user/photo/{name}") => ("/api/user/photo/abc.png".into(), None),
        ("POST", "/api/v1/machines/join") => {
            let join = json!({"token": "x", "machine_id": "m1", "public_key": "", "signature": ""});
            (path.to_owned(), Some(join))
        }
        ("PATCH", "/api/v1/machines/{id}") => ("/api/v1/machines/m1".into(), Some(json!({}))),
        (_, "/api/v1/machines/{id}" | "/api/v1/machines/{id}/release") => (path.replace("{id}", "m1"), None),
        (_, "/deploy/list_all_nodes") => (path.to_owned(), None),
        ("GET", path) if path.starts_with("/deploy/") => {
            (format!("{path}?username=alice&namespace=test"), None)
        }
        ("POST", path) if path.starts_with("/deploy/") => {
            (path.to_owned(), Some(json!({"username": "alice", "namespace": "nowhere"})))
        }
        ("POST", "/api/v1/workloads") => (path.to_owned(), Some(json!({"manifest": ""}))),
        ("POST", "/api/v1/workloads/{id}/scale") => (path_of(&things.workload), Some(json!({"replicas": 1}))),
        ("POST", "/api/v1/workloads/{id}/rollback") => (path_of(&things.workload), Some(json!({}))),
        (_, path_) if path_.starts_with("/api/v1/workloads/") => (path_of(&things.workload), None),
        ("POST", "/api/v1/namespaces") => (path.to_owned(), Some(json!({"name": "test"}))),
        ("POST", "/api/v1/namespaces/{namespace}/kubeconfig") => {
            (path.replace("{namespace}", &things.namespace), Some(json!({})))
        }
        ("POST", "/api/v1/namespaces/{namespace}/pods/{pod}/terminal-tickets") => {
            (path.replace("{namespace}", &things.namespace).replace("{pod}", "web"), Some(json!({})))
        }
        ("GET", path_) if path_.ends_with("/port-forward") => {
            let path = path.replace("{namespace}", &things.namespace);
            (format!("{}?port=80", path.replace("{pod}", "web").replace("{service}", "web")), None)
        }
        (_, "/app/{*path}") => (format!("/app/{}/web/80/", things.namespace), None),
        (_, path_) if path_.starts_with("/api/v1/namespaces/") => {
            (path.replace("{namespace}", &things.namespace).replace("{pod}", "web"), None)
        }
        ("POST", "/api/v1/clusters") => (path.to_owned(), Some(json!({"name": "nowhere"}))),
        ("PATCH", "/api/v1/clusters/{name}") => ("/api/v1/clusters/away".into(), Some(json!({}))),
        (_, "/api/v1/clusters/{name}") => ("/api/v1/clusters/away".into(), None),
        ("POST", "/api/v1/invites") => (path.to_owned(), Some(json!({}))),
        ("DELETE", "/api/v1/invites/{id}") => (path_of(&uuid::Uuid::nil().to_string()), None),
        ("GET", path) if path.contains("list_all_my") => (format!("{path}{query}"), None),
        ("POST", path) if path.starts_with("/image") => (path.to_owned(), Some(named)),
        ("POST", "/api/auth/register" | "/api/auth/login" | "/user/register" | "/user/login") => {
            (path.to_owned(), Some(json!({"account": "alice", "username": "alice", "password": "x"})))
        }
        ("POST", "/api/auth/logout" | "/api/user/set_photo/custom") => (path.to_owned(), None),
        ("POST", "/api/user/set_profile") => {
            (path.to_owned(), Some(json!({"field": "nickname", "value": "n"})))
        }
        ("POST", "/api/user/set_password") => {
            (path.to_owned(), Some(json!({"user_id": 2, "new_password": "alice password"})))
        }
        ("POST", "/api/user/set_photo/default") => {
            (path.to_owned(), Some(json!({"user_id": 2, "photo": "abc.png"})))
        }
        ("POST", "/api/v1/accounts") => {
            (path.to_owned(), Some(json!({"account": "public", "password": "p"})))
        }
        ("GET", "/api/v1/accounts/{account}") => ("/api/v1/accounts/alice".into(), None),
        ("PATCH", "/api/v1/accounts/{account}") => ("/api/v1/accounts/alice".into(), Some(json!({}))),
        ("GET", "/api/v1/accounts/{account}/quota") => ("/api/v1/accounts/alice/quota".into(), None),
        ("PUT", "/api/v1/accounts/{account}/quota") => {
            ("/api/v1/accounts/alice/quota".into(), Some(json!({"gpus": 1})))
        }
        ("POST", "/api/v1/tokens") => (path.to_owned(), Some(json!({"name": ""}))),
        ("DELETE", "/api/v1/tokens/{id}") => (path_of(&things.token), None),
        ("PATCH", "/api/v1/images/{id}") => {
            (path_of(&things.image.to_string()), Some(json!({"description": "d"})))
        }
        ("POST", "/api/v1/images/{id}/tags") => {
            (path_of(&things.image.to_string()), Some(json!({"name": "alice/app:v3"})))
        }
        ("PUT", "/api/v1/images/{id}/machines/{machine}") => {
            (path_of(&things.image.to_string()).replace("{machine}", "m1"), None)
        }
        (_, path_) if path_.starts_with("/api/v1/images/") => (path_of(&things.image.to_string()), None),
        ("POST", "/api/v1/builds") => (format!("{path}?image=-"), None),
        (_, path_) if path_.starts_with("/api/v1/builds/") => (path_of(&things.build), None),
        ("POST", "/api/v1/containers") => (path.to_owned(), Some(json!({"image": "nothing:1"}))),
        ("POST", "/api/v1/registry/collections") => (path.to_owned(), None),
        (_, path_) if path_.starts_with("/api/v1/registry/collections/") => {
            (path_of(&things.collection), None)
        }
        (_, "/api/v1/volumes/{id}") => (path_of(&things.volume.to_string()), None),
        ("PATCH", "/api/v1/containers/{id}") => {
            (path_of(&things.container.to_string()), Some(json!({"name": "stolen"})))
        }
        ("POST", "/api/v1/containers/{id}/save") => {
            (path_of(&things.container.to_string()), Some(json!({"image": "app:v2"})))
        }
        ("POST", "/api/v1/containers/{id}/terminal-tickets") => {
            (path_of(&things.container.to_string()), Some(json!({})))
        }
        (_, path_) if path_.starts_with("/api/v1/containers/") => {
            let path = path_of(&things.container.to_string());
            let query = if path_.contains("/files") { "?path=/tmp" } else { "" };
            (format!("{}{query}", path.replace("{terminal}", &things.build)), None)
        }
        ("POST", "/api/releases") => (path.to_owned(), Some(json!({"name": "", "chart": ""}))),
        ("POST", "/api/releases/{id}/upgrade" | "/api/releases/{id}/rollback") => {
            (path_of(&things.release), Some(json!({})))
        }
        (_, path_) if path_.starts_with("/api/releases/") => (path_of(&things.release), None),
        (_, path_) if path_.starts_with("/api/release-operations/") => {
            (path_of(&things.release_operation), None)
        }
        ("PUT", "/api/v1/settings/{name}") => {
            ("/api/v1/settings/listen".into(), Some(json!({"value": "0.0.0.0:80"})))
        }
        ("DELETE", "/api/v1/settings/{name}") => ("/api/v1/settings/listen".into(), None),
        ("POST", "/api/v1/chart-keys") => (path.to_owned(), Some(json!({"key": 1}))),
        ("DELETE", "/api/v1/chart-keys/{id}") => (path_of(&things.chart_key), None),
        ("POST", "/api/repos" | "/api/v1/chart-repos") => (path.to_owned(), Some(json!({"name": ""}))),
        ("PUT" | "PATCH", "/api/repos/{id}" | "/api/v1/chart-repos/{id}") => {
            (path_of(&things.chart_repo), Some(json!({"name": "stolen"})))
        }
        (_, path_) if path_.starts_with("/api/repos/") || path_.starts_with("/api/v1/chart-repos/") => {
            (path_of(&things.chart_repo), None)
        }
        ("DELETE", "/api/v1/kept-logs/{id}") => (path_of(&things.container.to_string()), None),
        ("POST", "/api/registry/token" | "/api/registry/events") => (path.to_owned(), None),
        (method, path) if is_pipeline(path) => return pipeline_attempt(method, path, things),
        _ => return None,
    })
}

fn is_pipeline(path: &str) -> bool {
    let ours = ["/repo", "/event", "/job", "/log", "/check", "/api/v1/git-repos", "/api/v1/runs", "/hook"];
    ours.iter().any(|prefix| path == *prefix || path.starts_with(&format!("{prefix}/")))
}

fn pipeline_attempt(method: &str, path: &str, things: &Things) -> Option<(String, Option<Value>)> {
    let id = match path.trim_start_matches("/api/v1").split('/').nth(1)? {
        "repo" | "git-repos" => things.git_repo,
        "event" | "runs" => things.run,
        "job" => things.runner,
        _ => things.line,
    };
    let url = "https://git.example.org/x.git";
    Some(match (method, path) {
        ("POST", "/api/v1/git-repos/{id}/notifications") => {
            let body = json!({"kind": "webhook", "address": "https://h.example.org/x"});
            (path.replace("{id}", &id.to_string()), Some(body))
        }
        (method, path) if path.contains("/secrets/{name}") => {
            let body = (method == "PUT").then(|| json!({"value": "stolen"}));
            (path.replace("{id}", &id.to_string()).replace("{name}", "token"), body)
        }
        (_, path) if path.contains("{target}") => {
            (path.replace("{id}", &id.to_string()).replace("{target}", "1"), None)
        }
        ("POST", "/hook/{repo}") => ("/hook/alices".into(), Some(json!({}))),
        ("POST", "/check") => {
            (path.to_owned(), Some(json!({"repo": "alices", "user": "alice", "token": "wrong"})))
        }
        ("POST", "/repo") => {
            (path.to_owned(), Some(json!({"user": "alice", "repo_name": "new", "repo": url})))
        }
        ("POST", "/event") => (path.to_owned(), Some(json!({"repo": "alices"}))),
        ("POST", "/job") => (path.to_owned(), Some(json!({"event": things.run}))),
        ("POST", "/log") => (path.to_owned(), Some(json!({"Repo_name": "alices", "msg": "m"}))),
        ("PATCH", "/repo" | "/event" | "/job" | "/log") => {
            (path.to_owned(), Some(json!({"id": id, "desc": "d", "msg": "m"})))
        }
        ("DELETE", "/repo" | "/event" | "/job" | "/log") => (format!("{path}?id={id}"), None),
        ("POST", "/api/v1/git-repos") => {
            (path.to_owned(), Some(json!({"account": "alice", "repo_name": "new", "url": url})))
        }
        ("POST", "/api/v1/runs/upload") => (format!("{path}?git_repo_id={}", things.git_repo), None),
        ("POST", "/api/v1/runs") => (path.to_owned(), Some(json!({"git_repo_id": things.git_repo}))),
        ("PATCH", _) => (path.replace("{id}", &id.to_string()), Some(json!({}))),
        _ => (path.replace("{id}", &id.to_string()), None),
    })
}

async fn try_as(api: &Api, method: &str, path: &str, things: &Things) -> u16 {
    let (uri, body) = attempt(method, path, things)
        .unwrap_or_else(|| panic!("{method} {path} has no case in tests/it/authz.rs"));
    let mut request = api.request(method.parse::<Method>().unwrap(), &uri);
    if let Some(body) = body {
        request = request.json(&body);
    }
    if path == "/api/user/set_photo/custom" {
        request = request.header("account", "alice").multipart(reqwest::multipart::Form::new());
    }
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_route_keeps_out_whom_it_should() {
    let server = TestServer::without_engine(&[
        ("auth.failures_per_minute", "1000"),
        ("auth.failures_per_minute_address", "1000"),
    ])
    .await;
    let alice = server.account("alice").await;
    assert_eq!(
        alice.get("/api/v1/me").await.json()["user_id"],
        2,
        "the cases below name alice by this number"
    );
    let bob = server.account("bob").await;
    let disabled = server.account("eve").await;
    let admin = server.admin().await;
    admin.patch("/api/v1/accounts/eve", json!({"state": "disabled"})).await.expect(200);
    let things = things_of(&server, &alice).await;
    let secret =
        bob.post("/api/v1/tokens", json!({"name": "t"})).await.json()["token"].as_str().unwrap().to_owned();
    let bobs_token = bob.with_token(secret);
    let mut wrong = Vec::new();

    for (method, path, access) in RIGHTS {
        let mut check = |who: &str, status: u16, is_right: bool| {
            if !is_right {
                wrong.push(format!("{method} {path} as {who}: {status}, but the matrix says {access:?}"));
            }
        };
        let anonymous = try_as(&server.api, method, path, &things).await;
        match access {
            Access::Public => {
                let is_login = path.ends_with("/login") && anonymous == 401;
                check("nobody", anonymous, is_login || !matches!(anonymous, 401 | 403));
                continue;
            }
            _ => check("nobody", anonymous, anonymous == 401),
        }
        if *access == Access::Secret {
            check("an admin", 0, try_as(&admin, method, path, &things).await == 401);
            continue;
        }
        check("a disabled account", 0, try_as(&disabled, method, path, &things).await == 401);
        for (who, api) in [("another account", &bob), ("another account's API token", &bobs_token)] {
            if path.ends_with("/logout") {
                continue;
            }
            let status = try_as(api, method, path, &things).await;
            let is_right = match access {
                Access::Admin | Access::Acting => status == 403,
                Access::Own | Access::OwnOrTicket | Access::OwnerAlone => status == 404,
                Access::Basic => matches!(status, 403 | 404),
                _ => !matches!(status, 401 | 403),
            };
            check(who, status, is_right);
        }
    }
    for (method, path, access) in RIGHTS.iter().filter(|(method, _, _)| *method == "GET") {
        // What is only a WebSocket answers no simple request.
        if *access == Access::OwnerAlone {
            let status = try_as(&admin, method, path, &things).await;
            if status != 404 {
                wrong.push(format!("{method} {path} as the admin: {status}, but it is the owner's alone"));
            }
        } else if !matches!(access, Access::Public | Access::Secret | Access::OwnOrTicket | Access::Basic) {
            let status = try_as(&admin, method, path, &things).await;
            // The container has not been made, so that it has no files and cannot be saved; nor is there the cluster.
            let is_away = status == 409 && (path.contains("/files") || path.ends_with("/save"))
                || status == 503
                    && (path.ends_with("nodes")
                        || path.ends_with("{namespace}/quota")
                        || path.ends_with("{namespace}/events")
                        || path.contains("/pods")
                        || path.ends_with("/port-forward")
                        || path.starts_with("/deploy/")
                        || path.starts_with("/api/releases/"));
            if status >= 400 && !is_away {
                wrong.push(format!("{method} {path} as the admin: {status}"));
            }
        }
    }

    assert!(wrong.is_empty(), "{wrong:#?}");
    let kept = alice.get(&format!("/api/v1/images/{}", things.image)).await.expect(200).json();
    assert_eq!(kept["description"], Value::Null, "nobody's attempt changed anything");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_foreign_looks_exactly_like_what_does_not_exist() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let bob = server.account("bob").await;
    let things = things_of(&server, &alice).await;
    let cases = [
        (
            format!("/api/v1/images/{}", things.image),
            "/api/v1/images/999999".to_owned(),
            things.image.to_string(),
        ),
        (
            format!("/api/v1/containers/{}", things.container),
            "/api/v1/containers/999999".into(),
            things.container.to_string(),
        ),
        (
            format!("/api/v1/volumes/{}", things.volume),
            "/api/v1/volumes/999999".into(),
            things.volume.to_string(),
        ),
        (
            format!("/api/v1/builds/{}", things.build),
            format!("/api/v1/builds/{}", uuid::Uuid::now_v7()),
            things.build.clone(),
        ),
        (
            format!("/api/v1/git-repos/{}", things.git_repo),
            "/api/v1/git-repos/999999".into(),
            things.git_repo.to_string(),
        ),
        (format!("/api/v1/runs/{}", things.run), "/api/v1/runs/999999".into(), things.run.to_string()),
        (format!("/repo/{}", things.git_repo), "/repo/999999".into(), things.git_repo.to_string()),
        (format!("/event/{}", things.run), "/event/999999".into(), things.run.to_string()),
        (format!("/job/{}", things.runner), "/job/999999".into(), things.runner.to_string()),
        (format!("/log/{}", things.line), "/log/999999".into(), things.line.to_string()),
    ];

    for (foreign, absent, id) in cases {
        let mut bodies = Vec::new();
        for (path, shown) in [(&foreign, id.as_str()), (&absent, absent.rsplit('/').next().unwrap())] {
            let answer = bob.get(path).await.expect(404);
            let mut body = answer.json();
            if body["request_id"].is_string() {
                body["request_id"] = Value::Null;
            }
            bodies.push(body.to_string().replace(shown, "ID"));
        }
        assert_eq!(bodies[0], bodies[1], "{foreign}");
    }
    server.stop().await;
}
