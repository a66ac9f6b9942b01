//! What manifests may say, and everything that is tried to make them say more.

use std::time::{Duration, Instant};

use super::*;

const USER: &Rights = &Rights { is_admin: false, hosts: None };
const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - name: web
        image: alice/app:v1
        ports: [{containerPort: 8000}]
        resources: {limits: {cpu: 500m, memory: 64Mi}}
      volumes: [{name: tmp, emptyDir: {}}]
";

/// The deployment with something else in its pod.
fn with_pod(addition: &str) -> String {
    DEPLOYMENT.replace("      volumes:", &format!("      {addition}\n      volumes:"))
}

fn with_container(addition: &str) -> String {
    DEPLOYMENT.replace("        ports:", &format!("        {addition}\n        ports:"))
}

fn violations(text: &str) -> Vec<String> {
    violations_as(text, USER)
}

fn violations_as(text: &str, rights: &Rights) -> Vec<String> {
    match read(text.as_bytes(), rights) {
        Ok(_) => Vec::new(),
        Err(error) => match error.extra.get("violations") {
            Some(Value::Array(listed)) => listed
                .iter()
                .map(|violation| {
                    format!(
                        "{}: {}",
                        violation["path"].as_str().unwrap(),
                        violation["message"].as_str().unwrap()
                    )
                })
                .collect(),
            _ => vec![error.detail],
        },
    }
}

#[test]
fn a_plain_deployment_is_taken_and_made_safe() {
    let manifests = read(DEPLOYMENT.as_bytes(), USER).unwrap();

    let pod = &manifests[0].object["spec"]["template"]["spec"];
    assert_eq!((manifests.len(), manifests[0].name.as_str()), (1, "web"));
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["containers"][0]["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(pod["volumes"][0]["emptyDir"]["sizeLimit"], "2Gi");
    assert!(pod.get("initContainers").is_none());
    let images = images(manifests[0].kind, &manifests[0].object);
    assert_eq!(images[0].path, "spec.template.spec.containers[0].image");
    assert_eq!(images[0].image, "alice/app:v1");
}

#[test]
fn ways_out_of_the_pod_are_refused_each_with_its_place() {
    for (text, path) in [
        (with_pod("hostNetwork: true"), "hostNetwork"),
        (with_pod("hostPID: true"), "hostPID"),
        (with_pod("hostIPC: true"), "hostIPC"),
        (with_pod("hostUsers: true"), "hostUsers"),
        (with_pod("nodeName: node1"), "nodeName"),
        (with_pod("serviceAccountName: longshore"), "serviceAccountName"),
        (with_pod("serviceAccount: admin"), "serviceAccount"),
        (with_pod("automountServiceAccountToken: true"), "automountServiceAccountToken"),
        (with_pod("priorityClassName: system-node-critical"), "priorityClassName"),
        (with_pod("runtimeClassName: kata"), "runtimeClassName"),
        (with_pod("schedulerName: mine"), "schedulerName"),
        (with_pod("imagePullSecrets: [{name: somebodys}]"), "imagePullSecrets[0].name"),
        (
            with_pod("tolerations: [{operator: Exists}, {key: node-role.kubernetes.io/control-plane}]"),
            "tolerations[1].key",
        ),
        (with_pod("tolerations: [{operator: Exists}]"), "tolerations[0].key"),
        (with_pod("tolerations: [{key: null, operator: Exists, effect: NoSchedule}]"), "tolerations[0].key"),
        (with_pod("nodeSelector: {pool: admins}"), "nodeSelector.pool"),
        (with_pod("affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {}}}"), ""),
        (with_pod("ephemeralContainers: [{name: x, image: y}]"), "ephemeralContainers"),
        (
            with_pod("securityContext: {sysctls: [{name: kernel.msgmax, value: '1'}]}"),
            "securityContext.sysctls[0].name",
        ),
        (
            with_pod("securityContext: {seccompProfile: {type: Unconfined}}"),
            "securityContext.seccompProfile.type",
        ),
        (with_pod("securityContext: {seLinuxOptions: {type: spc_t}}"), "securityContext.seLinuxOptions"),
        (
            with_pod("securityContext: {windowsOptions: {hostProcess: true}}"),
            "securityContext.windowsOptions",
        ),
        (with_container("securityContext: {privileged: true}"), "containers[0].securityContext.privileged"),
        (with_container("securityContext: {procMount: Unmasked}"), "containers[0].securityContext.procMount"),
        (
            with_container("securityContext: {capabilities: {add: [SYS_ADMIN]}}"),
            "containers[0].securityContext.capabilities.add[0]",
        ),
        (
            with_container("securityContext: {capabilities: {add: [ALL]}}"),
            "containers[0].securityContext.capabilities.add[0]",
        ),
        (with_container("volumeDevices: [{name: a, devicePath: /dev/sda}]"), "containers[0].volumeDevices"),
        (
            with_container("volumeMounts: [{name: a, mountPath: /a, mountPropagation: Bidirectional}]"),
            "containers[0].volumeMounts[0].mountPropagation",
        ),
        (
            with_container("livenessProbe: {httpGet: {port: 80, host: 169.254.169.254}}"),
            "containers[0].livenessProbe.httpGet.host",
        ),
        (
            with_container("lifecycle: {preStop: {tcpSocket: {port: 80, host: 10.0.0.1}}}"),
            "containers[0].lifecycle.preStop.tcpSocket.host",
        ),
        (
            DEPLOYMENT.replace("containerPort: 8000", "containerPort: 8000, hostPort: 80"),
            "containers[0].ports[0].hostPort",
        ),
        (DEPLOYMENT.replace("emptyDir: {}", "hostPath: {path: /}"), "volumes[0].hostPath"),
        (DEPLOYMENT.replace("emptyDir: {}", "nfs: {server: a, path: /}"), "volumes[0].nfs"),
        (DEPLOYMENT.replace("emptyDir: {}", "csi: {driver: a}"), "volumes[0].csi"),
        (DEPLOYMENT.replace("emptyDir: {}", "gitRepo: {repository: a}"), "volumes[0].gitRepo"),
        (DEPLOYMENT.replace("emptyDir: {}", "flexVolume: {driver: a}"), "volumes[0].flexVolume"),
        (
            DEPLOYMENT.replace(
                "emptyDir: {}",
                "projected: {sources: [{serviceAccountToken: {path: t, audience: api}}]}",
            ),
            "volumes[0].projected.sources[0].serviceAccountToken",
        ),
        (
            DEPLOYMENT.replace("limits: {cpu", "limits: {example.com/device: 1, cpu"),
            "containers[0].resources.limits",
        ),
    ] {
        let found = violations(&text);

        assert_ne!(text, DEPLOYMENT);
        let expected = format!("spec.template.spec.{path}");
        assert!(
            found.len() == 1 && found[0].starts_with(&expected) || path.is_empty() && found.len() == 1,
            "{text}\n{found:?}"
        );
    }
}

#[test]
fn all_violations_are_told_together() {
    let text = with_pod("hostNetwork: true")
        .replace("emptyDir: {}", "hostPath: {path: /}")
        .replace("replicas: 2", "replicas: 1000000000");

    let found = violations(&text);

    assert_eq!(found.len(), 3, "{found:?}");
    assert!(
        found.iter().any(|line| line == "spec.replicas: must be a whole number from 0 to 100"),
        "{found:?}"
    );
}

#[test]
fn fields_that_are_not_known_are_refused_and_not_passed_on() {
    for (from, to) in [
        ("replicas: 2", "replicas: 2\n  podSpecPatch: '{}'"),
        ("metadata: {name: web,", "metadata: {name: web, ownerReferences: [{name: x}],"),
        ("metadata: {name: web,", "metadata: {name: web, finalizers: [a/b],"),
        ("metadata: {name: web,", "metadata: {generateName: web, name: web,"),
        (
            "metadata: {name: web, labels: {app: web}}",
            "metadata: {name: web, labels: {longshore.io/account: '1'}}",
        ),
        (
            "metadata: {name: web, labels: {app: web}}",
            "metadata: {name: web, labels: {pod-security.kubernetes.io/enforce: privileged}}",
        ),
        (
            "metadata: {name: web,",
            "metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/server-snippet: x},",
        ),
        (
            "metadata: {name: web,",
            "metadata: {name: web, annotations: {container.apparmor.security.beta.kubernetes.io/web: unconfined},",
        ),
        ("name: web, labels", "name: longshore, labels"),
        ("name: web, labels", "name: ../web, labels"),
        ("name: web, labels", "name: Web, labels"),
        ("apiVersion: apps/v1", "apiVersion: extensions/v1beta1"),
        ("spec:\n  replicas", "extra: {}\nspec:\n  replicas"),
    ] {
        let text = DEPLOYMENT.replacen(from, to, 1);

        assert_ne!(text, DEPLOYMENT, "{from}");
        assert!(!violations(&text).is_empty(), "{to}");
    }
    let text = DEPLOYMENT.replace(
        "metadata: {name: web,",
        "status: {replicas: 5}\nmetadata: {name: web, uid: x, resourceVersion: '1',",
    );
    let object = &read(text.as_bytes(), USER).unwrap()[0].object;
    assert!(object.get("status").is_none() && object["metadata"].get("uid").is_none());
}

#[test]
fn kinds_beyond_a_namespace_are_refused_however_they_come() {
    for kind in [
        "Namespace",
        "Node",
        "PersistentVolume",
        "ClusterRole",
        "ClusterRoleBinding",
        "Role",
        "RoleBinding",
        "ServiceAccount",
        "Pod",
        "ReplicaSet",
        "List",
        "DeploymentList",
        "Endpoints",
        "EndpointSlice",
        "NetworkPolicy",
        "ResourceQuota",
        "LimitRange",
        "CustomResourceDefinition",
        "ValidatingWebhookConfiguration",
        "MutatingWebhookConfiguration",
        "APIService",
        "PriorityClass",
        "StorageClass",
        "RuntimeClass",
        "Binding",
        "Eviction",
        "TokenRequest",
        "DaemonSet",
        "deployment",
        "DEPLOYMENT",
        "Deployment ",
        "",
        "Application",
    ] {
        let text = format!("apiVersion: v1\nkind: {kind:?}\nmetadata: {{name: a}}\nitems: []\n");
        let found = violations(&text);
        assert!(found.iter().any(|line| line.starts_with("kind: ")), "{kind}: {found:?}");
        assert!(read_one(text.as_bytes(), "Deployment", USER).is_err());
    }
    let hidden = format!(
        "{DEPLOYMENT}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, namespace: kube-system}}\n"
    );
    assert!(read_one(hidden.as_bytes(), "Deployment", USER).unwrap_err().detail.contains("`ConfigMap`"));
    let daemon = "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a, image: b}]}}}\n";
    assert!(read(daemon.as_bytes(), &Rights { is_admin: true, hosts: None }).is_ok());
}

#[test]
fn services_stay_within_the_namespace() {
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: web}\nspec:\n  selector: {app: web}\n  ports: [{port: 80, targetPort: 8000}]\n";
    assert_eq!(violations(service), Vec::<String>::new());
    for (from, to, path) in [
        ("  selector", "  type: LoadBalancer\n  selector", "spec.type"),
        ("  selector", "  type: ExternalName\n  externalName: a.b\n  selector", "spec.externalName"),
        ("  selector", "  externalIPs: [1.1.1.1]\n  selector", "spec.externalIPs"),
        ("  selector", "  loadBalancerIP: 1.1.1.1\n  selector", "spec.loadBalancerIP"),
        ("  selector", "  clusterIP: 10.96.0.10\n  selector", "spec.clusterIP"),
        ("  selector", "  clusterIPs: [10.96.0.10]\n  selector", "spec.clusterIPs"),
        ("{app: web}", "{}", "spec.selector"),
        ("port: 80,", "port: 80, nodePort: 22,", "spec.ports[0].nodePort"),
    ] {
        let text = service.replace(from, to);
        assert!(violations(&text).iter().any(|line| line.starts_with(path)), "{to}: {:?}", violations(&text));
    }
}

const INGRESS: &str = "apiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata: {name: web}\nspec:\n  tls: [{hosts: [web.alice.apps.example.org], secretName: web}]\n  \
    rules:\n  - host: web.alice.apps.example.org\n    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}\n";

fn of_alice(class: Option<&str>) -> Rights {
    let hosts = Hosts { domain: "alice.apps.example.org".to_owned(), class: class.map(str::to_owned) };
    Rights { is_admin: false, hosts: Some(hosts) }
}

#[test]
fn an_ingress_has_hosts_of_its_account_alone() {
    let class = |rights: &Rights| {
        read(INGRESS.as_bytes(), rights).unwrap()[0].object["spec"]["ingressClassName"].clone()
    };
    assert_eq!((class(&of_alice(None)), class(&of_alice(Some("inner")))), (Value::Null, "inner".into()));
    for host in ["alice.apps.example.org", "a.b.alice.apps.example.org", "'*.alice.apps.example.org'"] {
        let text = INGRESS.replace("- host: web.alice.apps.example.org", &format!("- host: {host}"));
        assert_eq!(violations_as(&text, &of_alice(None)), [""; 0], "{host}");
    }
    for (from, to, path) in [
        ("- host: web.alice", "- host: bob", "spec.rules[0].host"),
        ("- host: web.alice", "- host: mallice", "spec.rules[0].host"),
        ("- host: web.alice.apps.example.org", "- host: '*.apps.example.org'", "spec.rules[0].host"),
        ("- host: web.alice.apps.example.org", "- host: .alice.apps.example.org", "spec.rules[0].host"),
        ("- host: web.alice.apps.example.org", "- host: ''", "spec.rules[0].host"),
        ("  - host: web.alice.apps.example.org\n    http", "  - http", "spec.rules[0].host"),
        ("hosts: [web.alice", "hosts: [web.bob", "spec.tls[0].hosts[0]"),
        ("path: /,", "path: \"/;}location/{\",", "spec.rules[0].http.paths[0].path"),
        ("path: /,", "path: /a b,", "spec.rules[0].http.paths[0].path"),
        ("Prefix", "ImplementationSpecific", "spec.rules[0].http.paths[0].pathType"),
        (
            "service: {name: web, port: {number: 80}}",
            "resource: {kind: Secret, name: x}",
            "spec.rules[0].http.paths[0].backend.resource",
        ),
        (
            "  tls:",
            "  defaultBackend: {service: {name: web, port: {number: 80}}}\n  tls:",
            "spec.defaultBackend",
        ),
        ("  tls:", "  ingressClassName: another\n  tls:", "spec.ingressClassName"),
        (
            "{name: web}\n",
            "{name: web, annotations: {nginx.ingress.kubernetes.io/server-snippet: x}}\n",
            "metadata.annotations",
        ),
    ] {
        let text = INGRESS.replace(from, to);
        assert_ne!(text, INGRESS, "{from}");
        for class in [None, Some("inner")] {
            let found = violations_as(&text, &of_alice(class));
            assert!(found.iter().any(|line| line.starts_with(path)), "{to}: {found:?}");
        }
    }
    assert!(
        violations(INGRESS)[0].contains("no domain is set"),
        "where there is no domain there is none to give"
    );
}

#[test]
fn bombs_and_riddles_of_yaml_are_refused_quickly() {
    let line = |pair: &str| {
        let (from, to) = pair.split_at(1);
        format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 10].join(","))
    };
    let lines: String = ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"].into_iter().map(line).collect();
    let laughs = format!("a: &a [x,x,x,x,x,x,x,x,x,x]\n{lines}");
    let quadratic = format!("a: &a {:?}\nb: [{}]\n", "x".repeat(100_000), vec!["*a"; 4_000].join(","));
    let deep = format!("a: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let many = "kind: ConfigMap\n---\n".repeat(10_000);
    let wide = format!("a: [{}]", "1,".repeat(50_000));
    let huge = "a: ".to_owned() + &"x".repeat(FILE_BYTES_MAX);
    for (name, text) in [
        ("laughs", laughs.as_str()),
        ("quadratic", &quadratic),
        ("deep", &deep),
        ("many", &many),
        ("wide", &wide),
        ("huge", &huge),
        ("recursive", "a: &a {b: *a}"),
        ("duplicate", "kind: ConfigMap\nkind: Namespace\n"),
        ("duplicate below", "kind: ConfigMap\nmetadata: {name: a, name: b}\n"),
        ("tag", "kind: !!python/object/apply:os.system [id]\n"),
        ("own tag", "kind: !mine ConfigMap\n"),
        ("binary", "kind: \u{0}\n"),
        ("nothing", ""),
        ("comments", "# nothing\n---\n"),
        ("infinite", "kind: ConfigMap\ndata: .inf\n"),
    ] {
        let began = Instant::now();
        let result = read(text.as_bytes(), USER);
        assert!(result.is_err(), "{name}");
        assert!(began.elapsed() < Duration::from_secs(2), "{name} took {:?}", began.elapsed());
    }
    assert!(read(b"\xff\xfe", USER).is_err());
}

#[test]
fn a_merge_key_smuggles_nothing_past_the_rules() {
    let text = DEPLOYMENT
        .replace("    spec:\n      containers", "    spec:\n      <<: {hostNetwork: true}\n      containers");

    assert_ne!(text, DEPLOYMENT);
    assert!(!violations(&text).is_empty());
}

#[test]
fn json_is_yaml_too_and_keys_that_differ_in_case_are_not_the_same() {
    let text = r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"1"},"Kind":"Namespace"}"#;
    assert_eq!(violations(text), ["Kind: is not a field that can be given here; did you mean `kind`?"]);
    assert!(violations(&text.replace(r#","Kind":"Namespace""#, "")).is_empty());
}

#[test]
fn a_namespace_that_is_named_is_told() {
    let named = DEPLOYMENT.replace("metadata: {name: web,", "metadata: {name: web, namespace: test,");
    assert_eq!(read(named.as_bytes(), USER).unwrap()[0].namespace.as_ref().unwrap().as_str(), "test");
    assert!(
        !violations(
            &DEPLOYMENT.replace("metadata: {name: web,", "metadata: {name: web, namespace: ../kube-system,")
        )
        .is_empty()
    );
}

#[test]
fn what_is_not_text_says_so() {
    let text = with_container("env: [{name: PORT, value: 8000}, {name: ON, value: yes}]");
    let found = violations(&text);
    assert!(found.iter().any(|line| line.contains("write \"8000\" in quotes")), "{found:?}");
}

#[test]
fn each_document_of_a_file_keeps_the_text_of_its_author() {
    let map = "# What it says\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: words}\ndata:\n  text: |\n    a\n     --- b\n";
    let cut = |file: &str| {
        let manifests = read(file.as_bytes(), USER).unwrap();
        texts(file, &manifests, USER)
    };

    let file = format!("---\n{DEPLOYMENT}---\n# nothing\n---  \n{map}");
    assert_eq!(cut(&file).unwrap(), [DEPLOYMENT, map]);
    let windows = format!("{DEPLOYMENT}---\r\n{map}");
    assert_eq!(cut(&windows).unwrap(), [DEPLOYMENT, map]);
    let on_the_line = "--- {apiVersion: v1, kind: ConfigMap, metadata: {name: a}}\n--- {apiVersion: v1, kind: ConfigMap, metadata: {name: b}}\n";
    assert_eq!(cut(on_the_line), None);
}
