//! What accounts try in order to get out of their namespaces, and the positive control: an administrator could.

use serde_json::json;

use crate::support::cluster::Cluster;
use crate::support::eventually;
use crate::support::process::ServerProcess;
use crate::support::room::{POD_SECS, Room, SERVICE, deployment, send};

/// The administrator, in a namespace without walls of ours: what succeeds there is refused elsewhere by our doing.
struct Administrator<'a> {
    cluster: &'a Cluster,
    free: String,
}

impl<'a> Administrator<'a> {
    fn beside(room: &'a Room) -> Self {
        let free = format!("{}-free", room.name);
        room.cluster.kubectl(&["create", "namespace", &free]);
        Self { cluster: &room.cluster, free }
    }

    /// What the cluster says of a file, tried without effect there or, when it names a place itself, where it says.
    fn could(&self, text: &str) -> Result<String, String> {
        let arguments = ["apply", "--server-side", "--force-conflicts", "--dry-run=server", "-f", "-"];
        let there = self.cluster.try_kubectl(&[&["-n", &self.free][..], &arguments].concat(), text);
        there.or_else(|_| self.cluster.try_kubectl(&arguments, text))
    }

    fn leave(self) {
        self.cluster.kubectl(&["delete", "namespace", &self.free, "--wait=false"]);
    }
}

/// What changes whenever something in `kube-system` does.
fn of_the_system(room: &Room) -> String {
    let kinds = "configmaps,serviceaccounts,deployments";
    let versions = "jsonpath={.items[*].metadata.resourceVersion}";
    room.cluster.kubectl(&["-n", "kube-system", "get", kinds, "-o", versions])
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_leave_the_namespace_is_refused_though_an_administrator_could() {
    let Some(room) = Room::small().await else { return };
    let before = of_the_system(&room);
    let image = "nowhere.invalid/x:1";
    let plain = deployment(image, "");
    let map = |namespace: &str| {
        format!(
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: smuggled, namespace: {namespace}}}\ndata: {{a: b}}\n"
        )
    };
    let attempts = [
        ("host path", deployment(image, "volumes: [{name: a, hostPath: {path: /}}]")),
        ("host network", deployment(image, "hostNetwork: true")),
        ("host processes", deployment(image, "hostPID: true")),
        ("host memory", deployment(image, "hostIPC: true")),
        ("privileged", plain.replace("        ports:", "        securityContext: {privileged: true}\n        ports:")),
        ("capabilities", plain.replace("        ports:", "        securityContext: {capabilities: {add: [SYS_ADMIN]}}\n        ports:")),
        ("a node by name", deployment(image, "nodeName: node1")),
        ("another service account", deployment(image, "serviceAccountName: longshore")),
        ("a token", deployment(image, "volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: t}}]}}]")),
        ("another namespace", plain.replace("metadata: {name: web,", "metadata: {name: web, namespace: kube-system,")),
        ("a second document", format!("{plain}---\n{}", map("kube-system"))),
        ("a document before", format!("{}---\n{plain}", map("kube-system"))),
        ("a list", format!("apiVersion: v1\nkind: List\nitems:\n- {}\n", json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "smuggled", "namespace": "kube-system"}}))),
        ("a namespace", "apiVersion: v1\nkind: Namespace\nmetadata: {name: smuggled}\n".to_owned()),
        ("a role of the cluster", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {name: smuggled}\nrules: []\n".to_owned()),
        ("a binding", "apiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRoleBinding\nmetadata: {name: smuggled}\nroleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: default, namespace: default}]\n".to_owned()),
        ("external addresses", SERVICE.replace("  selector", "  externalIPs: [10.9.9.9]\n  selector")),
        ("an external name", "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec: {type: ExternalName, externalName: example.org}\n".to_owned()),
        ("a load balancer", SERVICE.replace("NodePort", "LoadBalancer")),
        ("endpoints", "apiVersion: v1\nkind: Endpoints\nmetadata: {name: web}\n".to_owned()),
        ("a volume of the node", "apiVersion: v1\nkind: PersistentVolume\nmetadata: {name: smuggled}\nspec: {capacity: {storage: 1Gi}, accessModes: [ReadWriteOnce], hostPath: {path: /}}\n".to_owned()),
        ("another's volume", "apiVersion: v1\nkind: PersistentVolumeClaim\nmetadata: {name: a}\nspec: {volumeName: b, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}\n".to_owned()),
        ("an owner", plain.replace("metadata: {name: web,", "metadata: {name: web, finalizers: [example.org/keep],")),
        ("a token of a service account", "apiVersion: v1\nkind: Secret\nmetadata: {name: a, annotations: {kubernetes.io/service-account.name: longshore}}\ntype: kubernetes.io/service-account-token\n".to_owned()),
    ];
    let administrator = Administrator::beside(&room);

    for (what, text) in &attempts {
        let answer = room.henry.post("/api/v1/workloads", json!({"manifest": text})).await;
        assert!([403, 422].contains(&answer.status), "{what}: {} {}", answer.status, answer.text);
        for route in ["create_deployment", "create_service", "update_deployment", "update_service"] {
            let answer =
                send(&room.henry, &format!("/deploy/{route}"), &[("namespace", "test")], "a.yaml", text)
                    .await;
            assert!(
                [403, 404, 422].contains(&answer.status),
                "{what} by {route}: {} {}",
                answer.status,
                answer.text
            );
        }
        // The administrator may do each of these: that it was refused is our doing.
        let could = administrator.could(text);
        assert!(could.is_ok(), "{what}: {could:?}");
    }
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let many = "{kind: ConfigMap}\n---\n".repeat(10_000);
    for text in [bomb, many.as_str(), "kind: ConfigMap\nkind: Namespace\n", "\u{7}", ""] {
        room.henry.post("/api/v1/workloads", json!({"manifest": text})).await.expect(422);
    }
    // The same without malice is taken.
    let plain = |name: &str| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n");
    let aliases = format!("{}data: {{a: &word once, b: *word, c: *word}}\n", plain("a"));
    let several = |count: usize| {
        (0..count).map(|number| plain(&format!("a{number}"))).collect::<Vec<_>>().join("---\n")
    };
    for (text, status) in [(aliases, 200), (several(20), 200), (several(21), 422)] {
        room.henry.post("/api/v1/workloads", json!({"manifest": text, "dry_run": true})).await.expect(status);
    }
    let left = room
        .cluster
        .try_kubectl(&["-n", &room.namespace, "get", "deployments,services,configmaps", "-o", "name"], "")
        .unwrap();
    assert_eq!(left.lines().filter(|line| !line.contains("kube-root-ca")).count(), 0, "{left}");
    let after = of_the_system(&room);
    assert_eq!(before, after, "nothing in kube-system was touched");
    administrator.leave();
    room.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_itself_holds_what_we_would_miss() {
    let Some(room) = Room::small().await else { return };
    let tenant = format!("--as=system:serviceaccount:{}:longshore", room.namespace);
    let try_as_tenant = |namespace: &str, arguments: &[&str], input: &str| {
        room.cluster.try_kubectl(&[&["-n", namespace, tenant.as_str()][..], arguments].concat(), input)
    };
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: a}\nspec: {containers: [{name: a, image: b}]}\n";

    for arguments in [
        &["get", "secrets"][..],
        &["get", "pods"],
        &["create", "configmap", "a"],
        &["delete", "deployments", "--all"],
    ] {
        for namespace in ["kube-system", "default", "longshore-system"] {
            let refused = try_as_tenant(namespace, arguments, "").unwrap_err();
            assert!(refused.contains("forbidden"), "{namespace} {arguments:?}: {refused}");
        }
    }
    for arguments in [
        &["delete", "networkpolicy", "longshore"][..],
        &["delete", "resourcequota", "longshore"],
        &["delete", "limitrange", "longshore"],
        &["delete", "rolebinding", "longshore"],
        &["delete", "serviceaccount", "default"],
        &[
            "label",
            "namespace",
            &room.namespace,
            "--overwrite",
            "pod-security.kubernetes.io/enforce=privileged",
        ],
        &["create", "rolebinding", "a", "--clusterrole=cluster-admin", "--user=a"],
        &["create", "token", "longshore"],
        &["get", "nodes"],
        &["get", "namespaces"],
    ] {
        assert!(
            try_as_tenant(&room.namespace, arguments, "").unwrap_err().contains("forbidden"),
            "{arguments:?}"
        );
    }
    assert!(try_as_tenant(&room.namespace, &["create", "-f", "-"], pod).unwrap_err().contains("forbidden"));
    assert!(try_as_tenant(&room.namespace, &["get", "deployments"], "").is_ok(), "its own it may see");
    // Doors beside the objects themselves.
    for (verb, resource, beside) in [
        ("update", "pods", "ephemeralcontainers"),
        ("create", "pods", "eviction"),
        ("patch", "deployments", "status"),
        ("update", "namespaces", "finalize"),
        ("create", "serviceaccounts", "token"),
    ] {
        let beside = format!("--subresource={beside}");
        let may = try_as_tenant(&room.namespace, &["auth", "can-i", verb, resource, &beside], "");
        assert!(may.is_err(), "{verb} {resource} {beside}: {may:?}");
    }
    assert!(try_as_tenant(&room.namespace, &["auth", "can-i", "update", "deployments"], "").is_ok());
    // A deployment that went around our rules starts no pod that could harm the node.
    let privileged = deployment("nowhere.invalid/x:1", "hostNetwork: true");
    try_as_tenant(&room.namespace, &["apply", "--server-side", "-f", "-"], &privileged).unwrap();
    eventually("the cluster lets no such pod in", POD_SECS, || async {
        let object = room.cluster.object(&["-n", &room.namespace, "deployment", "web"])?;
        object["status"]["conditions"]
            .as_array()?
            .iter()
            .any(|condition| {
                condition["type"] == "ReplicaFailure"
                    && condition["message"].as_str().is_some_and(|text| text.contains("PodSecurity"))
            })
            .then_some(())
    })
    .await;
    room.close().await;
}

/// What else would reach beyond a namespace, its quota or its walls.
fn further_attempts() -> Vec<(&'static str, String)> {
    let image = "nowhere.invalid/x:1";
    let with_pod = |more: &str| deployment(image, more);
    let with_container = |more: &str| {
        deployment(image, "").replace("        ports:", &format!("        {more}\n        ports:"))
    };
    let object = |version: &str, kind: &str, rest: &str| {
        format!("apiVersion: {version}\nkind: {kind}\nmetadata: {{name: smuggled}}\n{rest}\n")
    };
    let job = "spec: {parallelism: 1000000000, template: {spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}";
    let claim = "spec: {dataSource: {kind: PersistentVolumeClaim, name: theirs}, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}";
    let twin = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "twin"}, "spec": {
        "selector": {"matchLabels": {"a": "b"}}, "template": {"metadata": {"labels": {"a": "b"}}, "spec": {
            "containers": [{"name": "a", "image": image}], "volumes": [{"name": "a", "hostPath": {"path": "/"}}]}}}});
    vec![
        (
            "a port of the node",
            deployment(image, "").replace("containerPort: 8000", "containerPort: 8000, hostPort: 80"),
        ),
        ("another's pull secret", with_pod("imagePullSecrets: [{name: somebodys}]")),
        ("a priority", with_pod("priorityClassName: system-node-critical")),
        ("another runtime", with_pod("runtimeClassName: kata")),
        ("another scheduler", with_pod("schedulerName: mine")),
        ("every taint", with_pod("tolerations: [{operator: Exists}]")),
        (
            "a taint of the control plane",
            with_pod("tolerations: [{key: node-role.kubernetes.io/control-plane, operator: Exists}]"),
        ),
        ("a pool of nodes", with_pod("nodeSelector: {pool: admins}")),
        (
            "nodes by affinity",
            with_pod(
                "affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}",
            ),
        ),
        ("a token by default", with_pod("automountServiceAccountToken: true")),
        (
            "a setting of the kernel",
            with_pod("securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}"),
        ),
        ("no filter of system calls", with_pod("securityContext: {seccompProfile: {type: Unconfined}}")),
        ("a share of the network", with_pod("volumes: [{name: a, nfs: {server: 192.0.2.1, path: /}}]")),
        ("a driver's volume", with_pod("volumes: [{name: a, csi: {driver: example.org}}]")),
        (
            "a probe of another host",
            with_container("livenessProbe: {httpGet: {port: 80, host: 169.254.169.254}}"),
        ),
        ("a device", with_container("resources: {limits: {example.com/device: 1}}")),
        (
            "a label of ours",
            deployment(image, "").replace(
                "metadata: {name: web, labels: {app: web}}",
                "metadata: {name: web, labels: {longshore.io/workload: a}}",
            ),
        ),
        (
            "an annotation that steers",
            deployment(image, "").replace(
                "metadata: {name: web,",
                "metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/server-snippet: a},",
            ),
        ),
        ("a name of ours", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: longshore}\n".to_owned()),
        ("the same as JSON", twin.to_string()),
        ("a horde of pods", object("batch/v1", "Job", job)),
        ("a copy of another's volume", object("v1", "PersistentVolumeClaim", claim)),
        ("a service for anywhere", object("v1", "Service", "spec: {ports: [{port: 80}]}")),
        (
            "a slice of endpoints",
            object(
                "discovery.k8s.io/v1",
                "EndpointSlice",
                "addressType: IPv4\nendpoints: [{addresses: [192.0.2.1]}]",
            ),
        ),
        (
            "an open wall",
            object("networking.k8s.io/v1", "NetworkPolicy", "spec: {podSelector: {}, ingress: [{}]}"),
        ),
        ("a quota", object("v1", "ResourceQuota", "spec: {hard: {pods: '1000'}}")),
        ("limits", object("v1", "LimitRange", "spec: {limits: []}")),
        ("a service account", object("v1", "ServiceAccount", "")),
        (
            "a role",
            object(
                "rbac.authorization.k8s.io/v1",
                "Role",
                "rules: [{apiGroups: ['*'], resources: ['*'], verbs: ['*']}]",
            ),
        ),
        (
            "a binding in the namespace",
            object(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                "roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}\nsubjects: [{kind: ServiceAccount, name: default, namespace: default}]",
            ),
        ),
        ("a bare pod", object("v1", "Pod", "spec: {containers: [{name: a, image: b}]}")),
        ("a class of priorities", object("scheduling.k8s.io/v1", "PriorityClass", "value: 1000")),
        ("a class of storage", object("storage.k8s.io/v1", "StorageClass", "provisioner: example.org/a")),
        (
            "a hook of the API server",
            object("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "webhooks: []"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_break_walls_and_quotas_is_refused_though_an_administrator_could() {
    let Some(room) = Room::small().await else { return };
    let administrator = Administrator::beside(&room);
    let attempts = further_attempts();

    for (what, text) in &attempts {
        let answer = room.henry.post("/api/v1/workloads", json!({"manifest": text})).await.expect(422);
        let violations = answer.json()["violations"].as_array().cloned().unwrap_or_default();
        assert!(violations.iter().all(|it| it["path"].is_string() && it["message"].is_string()), "{what}");
        assert!(!violations.is_empty(), "{what}: {}", answer.text);
        let fields = [("namespace", "test")];
        send(&room.henry, "/deploy/create_deployment", &fields, "a.yaml", text).await.expect(422);
    }

    assert_eq!(room.henry.get("/api/v1/workloads").await.expect(200).json()["total"], 0);
    // The administrator may do all of it: that it was refused is our doing.
    let all = attempts.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n---\n");
    let done = administrator.could(&all).unwrap();
    assert_eq!(done.lines().count(), attempts.len(), "{done}");
    // What the cluster would take in another way than by applying, or drop without a word, or never take.
    let create = |text: &str| {
        let arguments =
            ["-n", &administrator.free, "create", "--dry-run=server", "--validate=false", "-f", "-"];
        administrator.cluster.try_kubectl(&arguments, text)
    };
    for (what, path, text) in outside_of_what_can_be_applied() {
        let answer = room.henry.post("/api/v1/workloads", json!({"manifest": text})).await.expect(422);
        let violations = answer.json()["violations"].as_array().cloned().unwrap_or_default();
        assert!(
            violations.iter().any(|it| it["path"].as_str().unwrap().ends_with(path)),
            "{what}: {}",
            answer.text
        );
        match create(&text) {
            Ok(_) => assert_ne!(path, NEVER_TAKEN, "{what}"),
            Err(refused) => assert!(path == NEVER_TAKEN && refused.contains(path), "{what}: {refused}"),
        }
    }
    assert_eq!(room.henry.get("/api/v1/workloads").await.expect(200).json()["total"], 0);
    administrator.leave();
    room.close().await;
}

/// Not even an administrator may put it into a template.
const NEVER_TAKEN: &str = "ephemeralContainers";

/// What is said where the cluster looks away: (what, the path at which it is refused, the file).
fn outside_of_what_can_be_applied() -> Vec<(&'static str, &'static str, String)> {
    let image = "nowhere.invalid/x:1";
    let with_environment = |more: &str| {
        deployment(image, "").replace("        ports:", &format!("        {more}\n        ports:"))
    };
    vec![
        (
            "a name that the cluster makes up",
            "metadata.generateName",
            deployment(image, "").replace("metadata: {name: web,", "metadata: {generateName: web-,"),
        ),
        (
            "a container beside those of a template",
            NEVER_TAKEN,
            deployment(image, "ephemeralContainers: [{name: b, image: c}]"),
        ),
        (
            "a secret of another namespace",
            "secretKeyRef.namespace",
            with_environment(
                "env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: b, namespace: kube-system}}}]",
            ),
        ),
        (
            "all secrets of another namespace",
            "secretRef.namespace",
            with_environment("envFrom: [{secretRef: {name: a, namespace: kube-system}}]"),
        ),
        (
            "a setting of another namespace",
            "configMapKeyRef.namespace",
            with_environment(
                "env: [{name: A, valueFrom: {configMapKeyRef: {name: a, key: b, namespace: kube-system}}}]",
            ),
        ),
        (
            "a volume of another namespace",
            "secret.namespace",
            deployment(image, "volumes: [{name: a, secret: {secretName: a, namespace: kube-system}}]"),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bombs_of_yaml_take_little_memory() {
    let server = ServerProcess::start_on(&[("machine.enabled", "false")]).await;
    let alice = server.account("alice").await;
    let line = |from: char, to: char| format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(","));
    let laughs: String =
        "abcdefgh".chars().zip("bcdefghi".chars()).map(|(from, to)| line(from, to)).collect();
    let laughs = format!("a: &a [x,x,x,x,x,x,x,x,x,x]\n{laughs}");
    let quadratic = format!("a: &a {:?}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 4_000].join(","));
    let deep = format!("a: {}{}", "[".repeat(100_000), "]".repeat(100_000));
    let wide = format!("a: [{}]", "1,".repeat(100_000));
    let many = "{kind: ConfigMap}\n---\n".repeat(10_000);
    let harmless = format!("kind: Nothing\ndata: {:?}\n", "x".repeat(200_000));
    let refused =
        async |text: &str| alice.post("/api/v1/workloads", json!({"manifest": text})).await.expect(422);
    // What is measured are the bombs, not the first use of everything.
    for _ in 0..5 {
        refused(&harmless).await;
    }
    let before = server.memory_kib("VmHWM");

    for bomb in [&laughs, &quadratic, &deep, &wide, &many] {
        for _ in 0..5 {
            assert!(refused(bomb).await.json()["detail"].is_string());
        }
    }

    let growth = server.memory_kib("VmHWM") - before;
    assert!(growth <= 16 << 10, "{growth} KiB more memory");
}
