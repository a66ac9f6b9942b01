//! Releases on a real cluster by the real Helm: a chart that is installed, answers, is changed, goes back and goes; everything
//! that is tried to get further than one's namespace; and everything that goes wrong on the way.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::charts::{ChartServer, hex_of, package};
use crate::support::cluster::unique;
use crate::support::eventually;
use crate::support::releases::{CLUSTER_SECS, Harbour, MAP, STUCK, chart, command, upload};
use crate::support::server::TestServer;

async fn page(url: &str) -> Option<String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(3)).build().ok()?;
    http.get(url).send().await.ok()?.text().await.ok()
}

/// A web server that shows a text, as charts are written.
fn web_chart(name: &str, version: &str, image: &str) -> Vec<u8> {
    let values = format!("# What the page says\ntext: hello\nimage: {image}\nreplicas: 1\n");
    let deployment = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: {{ .Release.Name }}\n  labels: {{- include \"web.labels\" . | nindent 4 }}\nspec:\n  replicas: {{ .Values.replicas }}\n  \
        selector: {matchLabels: {app: {{ .Release.Name }}}}\n  template:\n    metadata:\n      labels: {app: {{ .Release.Name }}}\n      annotations:\n        checksum/config: {{ .Values.text | sha256sum }}\n    \
        spec:\n      terminationGracePeriodSeconds: 0\n      volumes: [{name: www, configMap: {name: {{ .Release.Name }}}}]\n      containers:\n      - name: web\n        image: {{ .Values.image }}\n        \
        command: [/bin/busybox, httpd, -f, -p, '8000', -h, /www]\n        ports: [{name: http, containerPort: 8000}]\n        volumeMounts: [{name: www, mountPath: /www}]\n        \
        readinessProbe: {httpGet: {path: /, port: http}, periodSeconds: 1}\n";
    let map = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {{ .Release.Name }}\ndata:\n  index.html: {{ .Values.text | quote }}\n";
    let service = "apiVersion: v1\nkind: Service\nmetadata:\n  name: {{ .Release.Name }}\nspec:\n  type: NodePort\n  selector: {app: {{ .Release.Name }}}\n  ports: [{port: 80, targetPort: http}]\n";
    let hook = "apiVersion: batch/v1\nkind: Job\nmetadata:\n  name: {{ .Release.Name }}-init\n  annotations: {helm.sh/hook: 'pre-install', helm.sh/hook-weight: '1'}\nspec:\n  backoffLimit: 0\n  template:\n    spec:\n      restartPolicy: Never\n      \
        containers: [{name: init, image: {{ .Values.image }}, command: [/bin/busybox, 'true']}]\n";
    let test = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: {{ .Release.Name }}-test\n  annotations: {helm.sh/hook: test}\nspec:\n  containers: [{name: c, image: x}]\n";
    let secret = "apiVersion: v1\nkind: Secret\nmetadata:\n  name: {{ .Release.Name }}\nstringData:\n  password: {{ .Values.text }}-word\n";
    let helpers = "{{- define \"web.labels\" -}}\napp.kubernetes.io/name: {{ .Chart.Name }}\nhelm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}\n{{- end }}\n";
    let schema = r#"{"$schema": "http://json-schema.org/draft-07/schema#", "properties": {"replicas": {"type": "integer", "maximum": 3}}}"#;
    chart(
        name,
        version,
        &values,
        &[
            ("templates/_helpers.tpl", helpers),
            ("templates/deployment.yaml", deployment),
            ("templates/map.yaml", map),
            ("templates/service.yaml", service),
            ("templates/secret.yaml", secret),
            ("templates/init.yaml", hook),
            ("templates/tests/test.yaml", test),
            (
                "templates/NOTES.txt",
                "It says {{ .Values.text }}, {{ .Release.Name }} in {{ .Release.Namespace }}.\n",
            ),
            ("values.schema.json", schema),
        ],
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chart_is_installed_answers_is_changed_goes_back_and_goes() {
    let Some(harbour) = Harbour::with_registry().await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    harbour.push_busybox("box").await;
    harbour.upload(web_chart("web", "1.0.0", &format!("{name}/box:v1"))).await;
    let wish = json!({"name": "shop", "chart": format!("{name}/web"), "namespace": "test"});

    // What would come of it: nothing is there afterwards.
    let mut dry = wish.clone();
    dry["dry_run"] = true.into();
    let plan = henry.post("/api/releases", dry).await.expect(200).json();
    assert!(plan["manifest"].as_str().unwrap().contains("index.html: hello"), "{plan:#}");
    assert!(!plan["manifest"].as_str().unwrap().contains("hello-word"), "secrets are not shown");
    assert_eq!(plan["notes"], format!("It says hello, shop in {}.", harbour.namespace));
    assert!(plan["warnings"][0].as_str().unwrap().contains("`shop-test` is a test"), "{plan:#}");
    assert_eq!(plan["changes"].as_array().unwrap().len(), 5);
    assert!(harbour.records("shop").is_empty());
    let mut wrong = wish.clone();
    wrong["values"] = "replicas: many\n".into();
    let refused = henry.post("/api/releases", wrong).await.expect(422);
    assert_eq!(refused.code(), "chart_not_rendered");
    assert!(refused.json()["detail"].as_str().unwrap().contains("replicas"), "{}", refused.text);
    assert_eq!(henry.get("/api/releases").await.expect(200).json()["total"], 0);

    let accepted = henry.post("/api/releases", wish.clone()).await.expect(202).json();
    assert_eq!((&accepted["state"], &accepted["revision"]), (&json!("pending-install"), &json!(0)));
    assert_eq!(henry.post("/api/releases", wish).await.expect(409).code(), "exists");
    let operation = harbour.ended(&accepted).await;
    assert_eq!(operation["state"], "succeeded", "{operation:#} {}", harbour.log(&operation).await);
    assert_eq!((&operation["revision"], &operation["chart"]), (&json!(1), &json!("web-1.0.0")));
    assert!(
        harbour.log(&operation).await.contains("beginning wait for"),
        "{}",
        harbour.log(&operation).await
    );
    let release = harbour.release("shop").await;
    assert_eq!(
        (&release["state"], &release["is_ready"], &release["type"]),
        (&json!("deployed"), &json!(true), &json!("external")),
        "{release:#}"
    );
    assert_eq!((&release["chart_version"], &release["app_version"]), (&json!("1.0.0"), &json!("1.0.0")));
    assert!(release["notes"].as_str().unwrap().starts_with("It says hello"));
    let resource = |kind: &str| {
        let all = release["resources"].as_array().unwrap().clone();
        all.into_iter().find(|resource| resource["kind"] == kind).unwrap()
    };
    assert_eq!(
        (&resource("Job")["hook"], &resource("Deployment")["replicas"]["ready"]),
        (&json!("pre-install"), &json!(1))
    );
    let url = format!(
        "http://10.240.{}.1:{}/",
        harbour.cluster.number(),
        resource("Service")["ports"][0]["node_port"]
    );
    eventually("the page answers", CLUSTER_SECS, || async { (page(&url).await? == "hello").then_some(()) })
        .await;
    let object = harbour.cluster.object(&["-n", &harbour.namespace, "deployment", "shop"]).unwrap();
    assert!(
        object["spec"]["template"]["spec"]["containers"][0]["image"].as_str().unwrap().contains("@sha256:"),
        "{object:#}"
    );
    assert_eq!(object["spec"]["template"]["spec"]["automountServiceAccountToken"], false);
    assert_eq!(
        object["metadata"]["annotations"]["meta.helm.sh/release-name"], "shop",
        "Helm itself has made it"
    );

    // A used repository stays.
    assert_eq!(henry.get(&format!("/api/repos/{name}")).await.expect(200).json()["release_count"], 1);
    henry.delete(&format!("/api/repos/{name}")).await.expect(406);
    // It is an ordinary release for henry's own Helm.
    let own = harbour.own_helm().await;
    let listed: Value = serde_json::from_slice(&own.run(&["list", "-o", "json"]).stdout).unwrap();
    assert_eq!(
        (&listed[0]["name"], &listed[0]["chart"], &listed[0]["status"]),
        (&json!("shop"), &json!("web-1.0.0"), &json!("deployed"))
    );

    let change = json!({"values": "text: goodbye\n", "dry_run": true});
    let plan = henry.post("/api/releases/shop/upgrade", change).await.expect(200).json();
    let diff = plan["diff"].as_str().unwrap();
    assert!(
        diff.contains("-  index.html: hello\n+  index.html: goodbye\n") && !diff.contains("-word"),
        "{diff}"
    );
    let changed = |kind: &str| {
        let changes = plan["changes"].as_array().unwrap();
        changes.iter().find(|change| change["kind"] == kind).unwrap()["change"].clone()
    };
    assert_eq!(
        (changed("ConfigMap"), changed("Secret"), changed("Service")),
        (json!("changed"), json!("changed"), json!("unchanged"))
    );
    let accepted = henry
        .post("/api/releases/shop/upgrade", json!({"values": "text: goodbye\n"}))
        .await
        .expect(202)
        .json();
    let busy = henry.delete("/api/releases/shop").await.expect(409);
    assert_eq!(
        (busy.code(), &busy.json()["operation_id"]),
        ("release_busy".to_owned(), &accepted["operation"]["id"])
    );
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    eventually("the new page answers", CLUSTER_SECS, || async {
        (page(&url).await? == "goodbye").then_some(())
    })
    .await;
    let values = henry.get("/api/releases/shop/values").await.expect(200).json();
    assert_eq!(
        (&values["values"], &values["values_json"]),
        (&json!("text: goodbye\n"), &json!({"text": "goodbye"}))
    );
    let change = json!({"values_json": {"replicas": 2}, "reuse_values": true, "dry_run": true});
    let plan = henry.post("/api/releases/shop/upgrade", change).await.expect(200).json();
    assert!(plan["manifest"].as_str().unwrap().contains("index.html: goodbye"), "the values before stay");

    let accepted = henry.post("/api/releases/shop/rollback", json!({})).await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    eventually("the first page answers again", CLUSTER_SECS, || async {
        (page(&url).await? == "hello").then_some(())
    })
    .await;
    let history = henry.get("/api/releases/shop/history").await.expect(200).json();
    let seen: Vec<_> = history["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row["revision"].as_u64(), row["status"].as_str()))
        .collect();
    assert_eq!(
        seen,
        [(Some(3), Some("deployed")), (Some(2), Some("superseded")), (Some(1), Some("superseded"))]
    );
    assert_eq!(harbour.release("shop").await["revision"], 3);
    let manifest = henry.get("/api/releases/shop/manifest?revision=2").await.expect(200).json();
    assert!(
        manifest["manifest"].as_str().unwrap().contains("goodbye")
            && manifest["hooks"].as_str().unwrap().contains("shop-init")
    );
    henry.get("/api/releases/shop/manifest?revision=9").await.expect(404);

    let accepted = henry.delete("/api/releases/shop").await.expect(202).json();
    assert_eq!(accepted["state"], "uninstalling");
    let operation = harbour.ended(&accepted).await;
    assert_eq!(
        (&operation["state"], &operation["action"]),
        (&json!("succeeded"), &json!("uninstall")),
        "{operation:#}"
    );
    henry.get("/api/releases/shop").await.expect(404);
    assert!(harbour.records("shop").is_empty());
    let selector = format!("longshore.io/release={}", release["id"].as_str().unwrap());
    let left = harbour.cluster.kubectl(&[
        "-n",
        &harbour.namespace,
        "get",
        "deploy,svc,cm,secret,job",
        "-l",
        &selector,
        "-o",
        "name",
    ]);
    assert_eq!(left.trim(), "");
    // How it went can be read when it is gone.
    assert!(harbour.log(&operation).await.contains("[done]"));
    assert_eq!(henry.get(&format!("/api/repos/{name}")).await.expect(200).json()["release_count"], 0);
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_account_sees_and_touches_nothing() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    harbour.upload(chart("maps", "1.0.0", "text: hello\n", &[MAP])).await;
    let operation = harbour.installed(json!({"name": "mine", "chart": format!("{name}/maps")})).await;
    let id = harbour.release("mine").await["id"].as_str().unwrap().to_owned();
    let stranger = unique("mallory");
    let mallory = harbour.server.account(&stranger).await;
    mallory.post("/api/v1/namespaces", json!({"name": "test"})).await.expect(201);

    assert_eq!(mallory.get("/api/releases").await.expect(200).json()["total"], 0);
    assert_eq!(mallory.get("/api/release-operations").await.expect(200).json()["total"], 0);
    mallory.get("/api/releases?all=true").await.expect(403);
    mallory.get(&format!("/api/releases?account={name}")).await.expect(403);
    mallory.get(&format!("/api/releases?namespace={}", harbour.namespace)).await.expect(404);
    for named in ["mine", id.as_str()] {
        for part in ["", "/history", "/values", "/manifest"] {
            mallory.get(&format!("/api/releases/{named}{part}")).await.expect(404);
        }
        for verb in ["upgrade", "rollback", "recover"] {
            mallory.post(&format!("/api/releases/{named}/{verb}"), json!({})).await.expect(404);
        }
        mallory.delete(&format!("/api/releases/{named}")).await.expect(404);
    }
    let path = format!("/api/release-operations/{}", operation["id"].as_str().unwrap());
    mallory.get(&path).await.expect(404);
    mallory.get(&format!("{path}/log")).await.expect(404);
    mallory.post(&format!("{path}/cancel"), json!({})).await.expect(404);
    // Neither into henry's namespace nor from his repository.
    upload(&mallory, &stranger, chart("maps", "1.0.0", "text: x\n", &[MAP])).await.expect(201);
    let own = format!("{stranger}/maps");
    mallory
        .post("/api/releases", json!({"name": "x", "chart": own, "namespace": harbour.namespace}))
        .await
        .expect(404);
    mallory.post("/api/releases", json!({"name": "x", "chart": format!("{name}/maps")})).await.expect(404);
    let other = json!({"name": "x", "chart": own, "values": "text: a\n", "namespace": "test"});
    mallory.post("/api/releases", other).await.expect(202);

    let admin = harbour.server.admin().await;
    assert_eq!(
        admin.get(&format!("/api/releases?account={name}")).await.expect(200).json()["data"][0]["name"],
        "mine"
    );
    assert_eq!(harbour.release("mine").await["revision"], 1);
    let accepted = henry.delete("/api/releases/mine").await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    mallory.delete("/api/v1/namespaces/test").await;
    harbour.close().await;
}

/// What would leave the namespace, each with the place at which it is refused.
fn escapes(unique: &str) -> Vec<(&'static str, String, &'static str)> {
    let pod = |kind: &str, name: &str, more: &str, pod: &str| {
        format!(
            "apiVersion: {}\nkind: {kind}\nmetadata:\n  name: {name}-{unique}\n{more}spec:\n  {}template:\n    metadata: {{labels: {{app: x}}}}\n    spec:\n      restartPolicy: {}\n{pod}",
            if kind == "Job" { "batch/v1" } else { "apps/v1" },
            if kind == "Job" { "" } else { "selector: {matchLabels: {app: x}}\n  " },
            if kind == "Job" { "Never" } else { "Always" },
        )
    };
    let container = "      containers: [{name: c, image: 'registry.invalid/x:1'";
    vec![
        (
            "templates/disk.yaml",
            pod(
                "Deployment",
                "disk",
                "",
                &format!("      volumes: [{{name: h, hostPath: {{path: /}}}}]\n{container}}}]\n"),
            ),
            "templates/disk.yaml: spec.template.spec.volumes[0].hostPath",
        ),
        (
            "templates/root.yaml",
            pod(
                "Deployment",
                "root",
                "",
                &format!("{container}, securityContext: {{privileged: true}}}}]\n"),
            ),
            "templates/root.yaml: spec.template.spec.containers[0].securityContext.privileged",
        ),
        (
            "templates/role.yaml",
            format!(
                "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata:\n  name: escape-{unique}\nrules: []\n"
            ),
            "templates/role.yaml: kind",
        ),
        (
            "templates/other.yaml",
            format!(
                "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: escape-{unique}\n  namespace: kube-system\n"
            ),
            "templates/other.yaml: metadata.namespace",
        ),
        (
            "templates/hook.yaml",
            pod(
                "Job",
                "hook",
                "  annotations: {helm.sh/hook: 'pre-install,post-delete'}\n",
                &format!("      hostNetwork: true\n{container}}}]\n"),
            ),
            "templates/hook.yaml: spec.template.spec.hostNetwork",
        ),
        (
            "crds/kind.yaml",
            format!(
                "apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nmetadata:\n  name: things.{unique}.example.org\nspec:\n  group: {unique}.example.org\n  scope: Cluster\n  names: {{kind: Thing, plural: things}}\n  \
                 versions: [{{name: v1, served: true, storage: true, schema: {{openAPIV3Schema: {{type: object}}}}}}]\n"
            ),
            "crds/kind.yaml: kind",
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_leave_the_namespace_is_refused_though_an_administrators_helm_could() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let (henry, name, id) = (&harbour.henry, harbour.name.as_str(), unique("e"));
    let escapes = escapes(&id);
    let templates: Vec<(&str, &str)> =
        escapes.iter().map(|(path, text, _)| (*path, text.as_str())).chain([MAP]).collect();
    let evil = chart("evil", "1.0.0", "text: x\n", &templates);
    harbour.upload(evil.clone()).await;

    let refused = henry
        .post("/api/releases", json!({"name": "evil", "chart": format!("{name}/evil")}))
        .await
        .expect(422);

    assert_eq!(refused.code(), "manifest_refused");
    let violations = refused.json()["violations"].clone();
    let paths: Vec<&str> =
        violations.as_array().unwrap().iter().map(|violation| violation["path"].as_str().unwrap()).collect();
    for (_, _, path) in &escapes {
        assert!(paths.contains(path), "`{path}` is missing: {violations:#}");
    }
    assert_eq!(paths.len(), escapes.len(), "{violations:#}");
    assert_eq!(henry.get("/api/releases").await.expect(200).json()["total"], 0);
    assert!(harbour.records("evil").is_empty());
    assert!(harbour.cluster.object(&["-n", "kube-system", "configmap", &format!("escape-{id}")]).is_none());
    // Definitions of kinds can be left out, the rest cannot.
    let without = json!({"name": "evil", "chart": format!("{name}/evil"), "skip_crds": true});
    let refused = henry.post("/api/releases", without).await.expect(422).json();
    assert_eq!(refused["violations"].as_array().unwrap().len(), escapes.len() - 1);

    // The same by hand, with all rights: every piece of it comes about.
    let folder = harbour.server.folder().to_owned();
    std::fs::write(folder.join("evil.tgz"), &evil).unwrap();
    let admins = unique("admins");
    harbour.cluster.kubectl(&["create", "namespace", &admins]);
    let kubeconfig = std::path::PathBuf::from(harbour.cluster.kubeconfig_path());
    let helm = |arguments: &[&str]| {
        let output = command(&kubeconfig, &folder, &admins, arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    helm(&["install", "evil", "./evil.tgz", "--no-hooks"]);
    assert!(harbour.cluster.object(&["-n", "kube-system", "configmap", &format!("escape-{id}")]).is_some());
    for (_, kind, object) in [
        ("", "clusterrole", format!("escape-{id}")),
        ("", "crd", format!("things.{id}.example.org")),
        ("", "deployment", format!("disk-{id}")),
        ("", "deployment", format!("root-{id}")),
    ] {
        assert!(harbour.cluster.object(&["-n", &admins, kind, &object]).is_some(), "{kind} {object}");
    }
    helm(&["uninstall", "evil", "--no-hooks"]);
    harbour.cluster.kubectl(&["delete", "crd", &format!("things.{id}.example.org")]);
    harbour.cluster.kubectl(&["delete", "namespace", &admins, "--wait=false"]);
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_that_reach_for_the_server_or_take_all_of_it_are_refused() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    let secrets = harbour.server.data_dir().join("keys");
    let schema = format!(r#"{{"$ref": "file://{}/sealing.key"}}"#, secrets.display());
    let inner = chart(
        "inner",
        "1.0.0",
        "",
        &[("values.schema.json", r#"{"allOf": [{"$ref": "http://169.254.169.254/"}]}"#)],
    );
    let about =
        b"apiVersion: v2\nname: outer\nversion: 1.0.0\ndependencies: [{name: inner, version: 1.0.0}]\n";
    harbour
        .upload(package(&[
            ("outer/Chart.yaml", about),
            ("outer/charts/inner-1.0.0.tgz", &inner),
            ("outer/templates/map.yaml", MAP.1.as_bytes()),
        ]))
        .await;
    harbour.upload(chart("reads", "1.0.0", "text: x\n", &[MAP, ("values.schema.json", &schema)])).await;
    harbour.upload(chart("huge", "1.0.0", "text: x\n", &[("templates/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: |\n{{ range until 40000 }}    a line that is repeated very often\n{{ end }}")])).await;
    harbour.upload(chart("looks", "1.0.0", "text: x\n", &[("templates/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: {{ lookup \"v1\" \"Secret\" \"kube-system\" \"\" | toJson | quote }}}\n")])).await;
    harbour.upload(chart("own", "1.0.0", "text: x\n", &[("templates/x.yaml", "apiVersion: v1\nkind: Secret\ntype: helm.sh/release.v1\nmetadata: {name: sh.helm.release.v1.x.v1}\n")])).await;
    harbour.upload(chart("names", "1.0.0", "text: x\n", &[("templates/x.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata: {x: '{{ getHostByName \"localhost\" }}'}\n")])).await;
    harbour
        .upload(chart(
            "broken",
            "1.0.0",
            "text: x\n",
            &[("templates/x.yaml", "{{ fail \"\\u001b[2Jset a password\" }}")],
        ))
        .await;
    harbour
        .upload(chart(
            "greedy",
            "1.0.0",
            "text: x\n",
            &[("templates/x.yaml", "{{ range until 2000000000 }}x{{ end }}")],
        ))
        .await;
    let install = async |chart: &str, more: Value| {
        let mut body = json!({"name": "x", "chart": format!("{name}/{chart}")});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        henry.post("/api/releases", body).await
    };

    for (chart, status, code) in [
        ("outer", 422, "schema_leads_out"),
        ("reads", 422, "schema_leads_out"),
        ("huge", 422, "chart_too_large"),
        ("looks", 422, "chart_not_rendered"),
        ("own", 422, "manifest_refused"),
        ("broken", 422, "chart_not_rendered"),
        ("nowhere", 404, "not_found"),
    ] {
        let refused = install(chart, json!({})).await;
        assert_eq!((refused.status, refused.code().as_str()), (status, code), "{chart}: {}", refused.text);
    }
    let told = install("broken", json!({})).await.json()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("set a password") && !told.contains('\u{1b}'), "{told}");
    let told = install("greedy", json!({})).await.expect(422).json()["detail"].as_str().unwrap().to_owned();
    assert!(told.contains("memory"), "{told}");
    // Bombs in schemas and in values: whatever they are called, they end, and nothing is installed.
    let laughs = (1..10).fold(String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"), |text, level| {
        format!("{text}a{level}: &a{level} [{}]\n", vec![format!("*a{}", level - 1); 10].join(", "))
    });
    let deep = format!("{{\"properties\": {}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!(
        "{{\"anyOf\": [{}], \"definitions\": {{\"a\": {{\"anyOf\": [{{\"$ref\": \"#\"}}]}}}}}}",
        vec!["{\"$ref\": \"#/definitions/a\"}"; 1000].join(", ")
    );
    for (bomb, values, schema) in [
        ("loops", "text: x\n", r##"{"$ref": "#"}"##),
        ("deep", "text: x\n", &deep),
        ("wide", "text: x\n", &wide),
        ("laughs", laughs.as_str(), "{}"),
    ] {
        harbour.upload(chart(bomb, "1.0.0", values, &[MAP, ("values.schema.json", schema)])).await;
        let refused = install(bomb, json!({})).await;
        assert!(
            matches!(refused.code().as_str(), "chart_not_rendered" | "package_malformed" | "chart_too_large"),
            "{bomb}: {} {}",
            refused.status,
            refused.text
        );
    }
    let refused = install("names", json!({"values": laughs})).await.expect(422);
    assert_eq!(refused.json()["field"], "values", "{}", refused.text);
    // Names are not looked up for templates.
    let plan = install("names", json!({"dry_run": true})).await.expect(200).json();
    assert!(plan["manifest"].as_str().unwrap().contains("x: \"\""), "{plan:#}");
    for (more, field) in [
        (json!({"values": "- a"}), "values"),
        (json!({"values": "a: ["}), "values"),
        (json!({"values": "a: 1", "values_json": {}}), "values_json"),
        (json!({"timeout_secs": 5}), "timeout_secs"),
        (json!({"name": "--post-renderer"}), "name"),
        (json!({"chart": "names"}), "chart"),
        (json!({"post_renderer": "/bin/sh"}), "post_renderer"),
    ] {
        let refused = install("names", more.clone()).await.expect(422);
        assert_eq!(refused.json()["field"], field, "{more}");
    }
    let large = json!({"values": format!("a: {}", "x".repeat(300 << 10))});
    install("names", large).await.expect(413);
    assert_eq!(henry.get("/api/releases").await.json()["total"], 0);
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_helm_that_is_missing_is_said_to_be_missing() {
    let Some(harbour) = Harbour::open(&[("charts.helm", "/nowhere/helm")]).await else { return };
    harbour.upload(chart("maps", "1.0.0", "text: x\n", &[MAP])).await;

    let wish = json!({"name": "x", "chart": format!("{}/maps", harbour.name)});
    let refused = harbour.henry.post("/api/releases", wish).await.expect(503);

    assert_eq!(refused.code(), "helm_missing");
    assert!(refused.json()["hint"].as_str().unwrap().contains("charts.helm"), "{}", refused.text);
    assert_eq!(harbour.henry.get("/api/releases").await.expect(200).json()["total"], 0);
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn charts_of_a_served_repository_are_installed_with_their_digest_and_internal_ones_into_the_system_namespace()
 {
    let Some(harbour) = Harbour::open(&[("outbound.allow", "127.0.0.0/8")]).await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    let bytes = chart("maps", "1.0.0", "text: hello\n", &[MAP]);
    let index = |digest: &str| {
        format!(
            "apiVersion: v1\nentries:\n  maps:\n  - apiVersion: v2\n    name: maps\n    version: 1.0.0\n    digest: {digest}\n    urls: [maps-1.0.0.tgz]\n"
        )
    };
    let served = ChartServer::start(&index(&hex_of(&bytes))).await;
    served.change(|behaviour| {
        behaviour.files.insert("/maps-1.0.0.tgz".into(), bytes.clone());
    });
    let add = |suffix: &str, kind: &str, url: &str| json!({"name": format!("{name}-{suffix}"), "url": url, "type": kind, "is_public": false});
    henry.post("/api/repos", add("virtual", "internal", &served.url)).await.expect(200);
    let other = ChartServer::start(&index(&"0".repeat(64))).await;
    other.change(|behaviour| {
        behaviour.files.insert("/maps-1.0.0.tgz".into(), bytes.clone());
    });
    henry.post("/api/repos", add("wrong", "external", &other.url)).await.expect(200);

    let wrong = json!({"name": "wrong", "chart": format!("{name}-wrong/maps")});
    assert_eq!(henry.post("/api/releases", wrong).await.expect(502).code(), "digest_mismatch");
    let mut wish = json!({"name": "machines", "chart": format!("{name}-virtual/maps"), "namespace": "test"});
    assert_eq!(henry.post("/api/releases", wish.clone()).await.expect(422).json()["field"], "namespace");
    wish.as_object_mut().unwrap().remove("namespace");
    harbour.installed(wish).await;

    let release = harbour.release("machines").await;
    assert_eq!(
        (&release["namespace"], &release["type"]),
        (&json!(format!("{name}-system")), &json!("internal"))
    );
    let space = format!("{name}-system");
    assert_eq!(
        harbour.cluster.object(&["-n", &space, "configmap", "machines"]).unwrap()["data"]["text"],
        "hello"
    );
    assert_eq!(henry.get("/api/releases?type=internal").await.expect(200).json()["total"], 1);
    assert_eq!(henry.get("/api/releases?type=external").await.expect(200).json()["total"], 0);
    // With its namespace it goes, and with it what held its repository.
    henry.delete(&format!("/api/repos/{name}-virtual")).await.expect(406);
    henry.delete("/api/v1/namespaces/system").await;
    eventually("the namespace is gone", CLUSTER_SECS, || async {
        let left = henry.get("/api/releases").await.expect(200).json();
        (left["total"] == 0).then_some(())
    })
    .await;
    henry.delete(&format!("/api/repos/{name}-virtual")).await.expect(200);
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_come_about_says_why_can_be_cancelled_and_is_cleared_away() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    harbour.upload(chart("slow", "1.0.0", "text: hello\nstuck: 0\n", &[MAP, STUCK])).await;
    harbour.installed(json!({"name": "slow", "chart": format!("{name}/slow")})).await;

    let change = json!({"values": "stuck: 1\n", "timeout_secs": 10});
    let accepted = henry.post("/api/releases/slow/upgrade", change).await.expect(202).json();
    let operation = harbour.ended(&accepted).await;
    assert_eq!(
        (&operation["state"], &operation["reason"]),
        (&json!("failed"), &json!("timeout")),
        "{operation:#}"
    );
    let message = operation["message"].as_str().unwrap();
    assert!(
        message.contains("within 10 seconds") && message.contains("Deployment `slow-stuck`"),
        "{message}"
    );
    let release = harbour.release("slow").await;
    assert_eq!(
        (&release["state"], &release["is_ready"], &release["revision"]),
        (&json!("failed"), &json!(false), &json!(2))
    );
    assert_eq!(release["message"], operation["message"]);

    let change = json!({"values": "stuck: 1\ntext: third\n", "timeout_secs": 300});
    let accepted = henry.post("/api/releases/slow/upgrade", change).await.expect(202).json();
    let id = accepted["operation"]["id"].as_str().unwrap();
    eventually("Helm waits", CLUSTER_SECS, || async {
        let log = henry.get(&format!("/api/release-operations/{id}/log")).await.expect(200).text;
        log.contains("beginning wait").then_some(())
    })
    .await;
    henry.post(&format!("/api/release-operations/{id}/cancel"), json!({})).await.expect(202);
    let operation = harbour.ended(&accepted).await;
    assert_eq!(operation["state"], "cancelled", "{operation:#}");
    assert_eq!(
        henry.post(&format!("/api/release-operations/{id}/cancel"), json!({})).await.expect(202).json()["state"],
        "cancelled"
    );
    assert!(
        harbour.records("slow").iter().all(|(_, status)| !status.starts_with("pending")),
        "{:?}",
        harbour.records("slow")
    );
    assert_eq!(harbour.release("slow").await["state"], "failed");

    let accepted = henry.post("/api/releases/slow/rollback", json!({"revision": 1})).await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    let release = harbour.release("slow").await;
    assert_eq!((&release["state"], &release["is_ready"]), (&json!("deployed"), &json!(true)), "{release:#}");
    let accepted = henry.delete("/api/releases/slow").await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_that_a_killed_helm_left_pending_is_recovered() {
    let Some(harbour) = Harbour::open(&[]).await else { return };
    let (henry, name) = (&harbour.henry, harbour.name.as_str());
    let bytes = chart("slow", "1.0.0", "text: hello\nstuck: 0\n", &[MAP, STUCK]);
    harbour.upload(bytes.clone()).await;
    harbour.installed(json!({"name": "slow", "chart": format!("{name}/slow")})).await;
    std::fs::write(harbour.server.folder().join("slow.tgz"), &bytes).unwrap();
    let own = harbour.own_helm().await;
    let mut helm = own.start(&["upgrade", "slow", "./slow.tgz", "--set", "stuck=1,text=half", "--wait"]);
    eventually("it is pending", CLUSTER_SECS, || async {
        let records = harbour.records("slow");
        records.last().is_some_and(|(_, status)| status == "pending-upgrade").then_some(())
    })
    .await;
    helm.kill().unwrap();
    helm.wait().unwrap();

    let accepted =
        henry.post("/api/releases/slow/upgrade", json!({"values": "text: more\n"})).await.expect(202).json();
    let operation = harbour.ended(&accepted).await;
    assert_eq!(
        (&operation["state"], &operation["reason"]),
        (&json!("failed"), &json!("release_pending")),
        "{operation:#}"
    );
    assert!(operation["message"].as_str().unwrap().contains("recover"), "{operation:#}");
    assert_eq!(harbour.release("slow").await["state"], "pending-upgrade");
    let accepted = henry.post("/api/releases/slow/recover", json!({})).await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");

    let release = harbour.release("slow").await;
    assert_eq!((&release["state"], &release["is_ready"]), (&json!("deployed"), &json!(true)), "{release:#}");
    assert_eq!(
        harbour.cluster.object(&["-n", &harbour.namespace, "configmap", "slow"]).unwrap()["data"]["text"],
        "hello"
    );
    // What would reach others the cluster keeps out of henry's own Helm too. What it lets in is held to our rules when it is
    // gone back to.
    let put_in = |file: &str, object: &str| {
        let chart = chart("slow", "2.0.0", "text: x\n", &[MAP, ("templates/x.yaml", object)]);
        std::fs::write(harbour.server.folder().join(file), &chart).unwrap();
        own.run(&["upgrade", "slow", &format!("./{file}")]).status.success()
    };
    assert!(!put_in(
        "evil.tgz",
        "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: x}\nspec: {defaultBackend: {service: {name: x, port: {number: 80}}}}\n",
    ));
    assert!(put_in(
        "odd.tgz",
        "apiVersion: v1\nkind: Service\nmetadata: {name: x}\nspec: {ports: [{port: 80}]}\n"
    ));
    let accepted =
        henry.post("/api/releases/slow/upgrade", json!({"values": "text: last\n"})).await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    let odd = harbour.records("slow").iter().rev().nth(1).unwrap().0;
    let refused = henry.post("/api/releases/slow/rollback", json!({"revision": odd})).await.expect(422);
    assert_eq!(refused.code(), "manifest_refused");
    let accepted = henry.delete("/api/releases/slow").await.expect(202).json();
    assert_eq!(harbour.ended(&accepted).await["state"], "succeeded");
    harbour.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_cluster_there_is_nowhere_to_install() {
    let server = TestServer::without_engine(&[]).await;
    let alice = server.account("alice").await;
    let path = "/charts/alice/api/charts";
    let bytes = chart("maps", "1.0.0", "text: x\n", &[MAP]);
    alice.send(alice.request(Method::POST, path).body(bytes)).await.expect(201);

    let refused = alice.post("/api/releases", json!({"name": "x", "chart": "alice/maps"})).await.expect(422);

    assert_eq!(refused.json()["field"], "namespace");
    server.stop().await;
}
