//! The kinds that accounts may make, and every field of them that may be given. The cluster's own policies forbid much of what
//! is refused here as well; this is the first of two walls, and the one that explains itself.

use super::shape::Field;
use super::shape::Shape;
use super::shape::Shape::{
    Bool, Dropped, Keys, List, Map, Number, NumberOrText, Object, OneOf, Refused, Text,
};

/// A kind of object.
pub struct Kind {
    /// Its name, such as `Deployment`.
    pub name: &'static str,
    /// Its version, such as `apps/v1`.
    pub version: &'static str,
    /// Its name in paths.
    pub plural: &'static str,
    /// Whether only admins may make it.
    pub is_for_admins: bool,
    pub(super) shape: Shape,
}

impl Kind {
    /// The path of all of them in a namespace.
    pub fn path(&self, namespace: &str) -> String {
        let group = if self.version.contains('/') { "apis" } else { "api" };
        format!("/{group}/{}/namespaces/{namespace}/{}", self.version, self.plural)
    }
}

/// The kind of a name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().find(|kind| kind.name == name)
}

const fn of(
    name: &'static str,
    version: &'static str,
    plural: &'static str,
    fields: &'static [Field],
) -> Kind {
    Kind { name, version, plural, is_for_admins: false, shape: Object(fields) }
}

/// Every kind that can be made.
pub static KINDS: [Kind; 10] = [
    of(
        "Deployment",
        "apps/v1",
        "deployments",
        &[API_VERSION, KIND, METADATA, ("spec", Object(DEPLOYMENT)), STATUS],
    ),
    of(
        "StatefulSet",
        "apps/v1",
        "statefulsets",
        &[API_VERSION, KIND, METADATA, ("spec", Object(STATEFUL_SET)), STATUS],
    ),
    Kind {
        is_for_admins: true,
        ..of(
            "DaemonSet",
            "apps/v1",
            "daemonsets",
            &[API_VERSION, KIND, METADATA, ("spec", Object(DAEMON_SET)), STATUS],
        )
    },
    of("Job", "batch/v1", "jobs", &[API_VERSION, KIND, METADATA, ("spec", Object(JOB)), STATUS]),
    of("CronJob", "batch/v1", "cronjobs", &[API_VERSION, KIND, METADATA, ("spec", Object(CRON_JOB)), STATUS]),
    of("Service", "v1", "services", &[API_VERSION, KIND, METADATA, ("spec", Object(SERVICE)), STATUS]),
    of(
        "ConfigMap",
        "v1",
        "configmaps",
        &[API_VERSION, KIND, METADATA, ("data", Map(&Text)), ("binaryData", Map(&Text)), ("immutable", Bool)],
    ),
    of(
        "Secret",
        "v1",
        "secrets",
        &[
            API_VERSION,
            KIND,
            METADATA,
            ("data", Map(&Text)),
            ("stringData", Map(&Text)),
            ("immutable", Bool),
            (
                "type",
                OneOf(&["Opaque", "kubernetes.io/tls", "kubernetes.io/basic-auth", "kubernetes.io/ssh-auth"]),
            ),
        ],
    ),
    of(
        "PersistentVolumeClaim",
        "v1",
        "persistentvolumeclaims",
        &[API_VERSION, KIND, METADATA, ("spec", Object(CLAIM)), STATUS],
    ),
    of(
        "Ingress",
        "networking.k8s.io/v1",
        "ingresses",
        &[API_VERSION, KIND, METADATA, ("spec", Object(INGRESS)), STATUS],
    ),
];

const API_VERSION: Field = ("apiVersion", Text);
const KIND: Field = ("kind", Text);
const METADATA: Field = ("metadata", Object(METADATA_FIELDS));
const STATUS: Field = ("status", Dropped);

const METADATA_FIELDS: &[Field] = &[
    ("name", Text),
    ("namespace", Text),
    ("labels", LABELS),
    ("annotations", ANNOTATIONS),
    ("uid", Dropped),
    ("resourceVersion", Dropped),
    ("generation", Dropped),
    ("creationTimestamp", Dropped),
    ("managedFields", Dropped),
    ("selfLink", Dropped),
    ("generateName", Refused("a workload needs a name of its own: give `name`")),
    ("ownerReferences", Refused("would tie it to another object, and delete it with that")),
    ("finalizers", Refused("would keep it from being deleted")),
    ("deletionTimestamp", Dropped),
    ("deletionGracePeriodSeconds", Dropped),
];
const TEMPLATE_METADATA: Field = (
    "metadata",
    Object(&[
        ("name", Dropped),
        ("namespace", Dropped),
        ("creationTimestamp", Dropped),
        ("labels", LABELS),
        ("annotations", ANNOTATIONS),
    ]),
);
const LABELS: Shape = Keys(is_own_label, "labels of Kubernetes and Longshore themselves are theirs to set");
const ANNOTATIONS: Shape = Keys(
    is_own_annotation,
    "annotations steer parts of the cluster; plain names and `prometheus.io/…` are free",
);

/// Domains whose labels describe an application and steer nothing.
const DESCRIBING: [&str; 4] = ["app.kubernetes.io", "checksum", "helm.sh", "prometheus.io"];

fn is_own_label(key: &str) -> bool {
    match key.split_once('/') {
        None => true,
        Some((domain, _)) => {
            let is_below = |above: &str| domain == above || domain.ends_with(&format!(".{above}"));
            DESCRIBING.contains(&domain)
                || !(is_below("kubernetes.io") || is_below("k8s.io") || is_below("longshore.io"))
        }
    }
}

fn is_own_annotation(key: &str) -> bool {
    match key.split_once('/') {
        None => true,
        Some((domain, _)) if DESCRIBING.contains(&domain) => true,
        Some(_) => matches!(
            key,
            "kubernetes.io/change-cause"
                | "kubernetes.io/description"
                | "kubectl.kubernetes.io/default-container"
                | "kubectl.kubernetes.io/restartedAt"
        ),
    }
}

const SELECTOR: Shape = Object(&[
    ("matchLabels", Map(&Text)),
    (
        "matchExpressions",
        List(&Object(&[
            ("key", Text),
            ("operator", OneOf(&["In", "NotIn", "Exists", "DoesNotExist"])),
            ("values", List(&Text)),
        ])),
    ),
]);
const REPLICAS: Field = ("replicas", Number(0, 100));
const TEMPLATE: Field = ("template", Object(&[TEMPLATE_METADATA, ("spec", Object(POD))]));

const DEPLOYMENT: &[Field] = &[
    REPLICAS,
    ("selector", SELECTOR),
    TEMPLATE,
    (
        "strategy",
        Object(&[
            ("type", OneOf(&["RollingUpdate", "Recreate"])),
            ("rollingUpdate", Object(&[("maxSurge", NumberOrText), ("maxUnavailable", NumberOrText)])),
        ]),
    ),
    ("minReadySeconds", Number(0, 86_400)),
    ("revisionHistoryLimit", Number(0, 50)),
    ("progressDeadlineSeconds", Number(1, 86_400)),
    ("paused", Bool),
];
const STATEFUL_SET: &[Field] = &[
    REPLICAS,
    ("selector", SELECTOR),
    TEMPLATE,
    ("serviceName", Text),
    ("podManagementPolicy", OneOf(&["OrderedReady", "Parallel"])),
    (
        "updateStrategy",
        Object(&[
            ("type", OneOf(&["RollingUpdate", "OnDelete"])),
            ("rollingUpdate", Object(&[("partition", Number(0, 100)), ("maxUnavailable", NumberOrText)])),
        ]),
    ),
    ("revisionHistoryLimit", Number(0, 50)),
    ("minReadySeconds", Number(0, 86_400)),
    ("ordinals", Object(&[("start", Number(0, 1_000_000))])),
    (
        "persistentVolumeClaimRetentionPolicy",
        Object(&[
            ("whenDeleted", OneOf(&["Retain", "Delete"])),
            ("whenScaled", OneOf(&["Retain", "Delete"])),
        ]),
    ),
    ("volumeClaimTemplates", List(&Object(&[API_VERSION, KIND, METADATA, ("spec", Object(CLAIM)), STATUS]))),
];
const DAEMON_SET: &[Field] = &[
    ("selector", SELECTOR),
    TEMPLATE,
    ("minReadySeconds", Number(0, 86_400)),
    ("revisionHistoryLimit", Number(0, 50)),
    (
        "updateStrategy",
        Object(&[
            ("type", OneOf(&["RollingUpdate", "OnDelete"])),
            ("rollingUpdate", Object(&[("maxUnavailable", NumberOrText), ("maxSurge", NumberOrText)])),
        ]),
    ),
];
const JOB: &[Field] = &[
    ("parallelism", Number(0, 50)),
    ("completions", Number(0, 1_000)),
    ("completionMode", OneOf(&["NonIndexed", "Indexed"])),
    ("backoffLimit", Number(0, 20)),
    ("activeDeadlineSeconds", Number(1, 30 * 86_400)),
    ("ttlSecondsAfterFinished", Number(0, 30 * 86_400)),
    ("suspend", Bool),
    ("selector", Refused("a job chooses its own pods")),
    ("manualSelector", Refused("a job chooses its own pods")),
    TEMPLATE,
];
const CRON_JOB: &[Field] = &[
    ("schedule", Text),
    ("timeZone", Text),
    ("concurrencyPolicy", OneOf(&["Allow", "Forbid", "Replace"])),
    ("suspend", Bool),
    ("startingDeadlineSeconds", Number(10, 7 * 86_400)),
    ("successfulJobsHistoryLimit", Number(0, 20)),
    ("failedJobsHistoryLimit", Number(0, 20)),
    ("jobTemplate", Object(&[TEMPLATE_METADATA, ("spec", Object(JOB))])),
];
const CLAIM: &[Field] = &[
    ("accessModes", List(&OneOf(&["ReadWriteOnce", "ReadOnlyMany", "ReadWriteMany", "ReadWriteOncePod"]))),
    ("resources", Object(&[("requests", Keys(|key| key == "storage", "only `storage` can be asked for"))])),
    ("storageClassName", Text),
    ("volumeMode", OneOf(&["Filesystem"])),
    ("volumeName", Refused("would take a certain volume, which may be somebody's")),
    ("selector", Refused("would choose among volumes, which may be somebody's")),
    ("dataSource", Refused("would copy another volume")),
    ("dataSourceRef", Refused("would copy another volume")),
];
const SERVICE: &[Field] = &[
    ("type", OneOf(&["ClusterIP", "NodePort"])),
    ("selector", Map(&Text)),
    (
        "ports",
        List(&Object(&[
            ("name", Text),
            ("port", Number(1, 65_535)),
            ("targetPort", NumberOrText),
            ("protocol", OneOf(&["TCP", "UDP", "SCTP"])),
            ("nodePort", Number(30_000, 32_767)),
            ("appProtocol", Text),
        ])),
    ),
    ("clusterIP", OneOf(&["None", ""])),
    ("sessionAffinity", OneOf(&["None", "ClientIP"])),
    ("sessionAffinityConfig", Object(&[("clientIP", Object(&[("timeoutSeconds", Number(1, 86_400))]))])),
    ("internalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    ("externalTrafficPolicy", OneOf(&["Cluster", "Local"])),
    ("publishNotReadyAddresses", Bool),
    ("ipFamilies", List(&OneOf(&["IPv4", "IPv6"]))),
    ("ipFamilyPolicy", OneOf(&["SingleStack", "PreferDualStack", "RequireDualStack"])),
    ("externalIPs", Refused("would draw others' traffic to these addresses here")),
    ("externalName", Refused("would make the cluster's names lead elsewhere")),
    ("loadBalancerIP", Refused("load balancers are not given out")),
    ("loadBalancerClass", Refused("load balancers are not given out")),
    ("loadBalancerSourceRanges", Refused("load balancers are not given out")),
    ("allocateLoadBalancerNodePorts", Refused("load balancers are not given out")),
    ("healthCheckNodePort", Refused("load balancers are not given out")),
    ("clusterIPs", Refused("the cluster chooses the address")),
];
/// Which hosts, paths and class may be given, `ingresses` says.
const INGRESS: &[Field] = &[
    ("ingressClassName", Text),
    (
        "rules",
        List(&Object(&[
            ("host", Text),
            (
                "http",
                Object(&[(
                    "paths",
                    List(&Object(&[
                        ("path", Text),
                        ("pathType", OneOf(&["Exact", "Prefix"])),
                        (
                            "backend",
                            Object(&[
                                (
                                    "service",
                                    Object(&[
                                        ("name", Text),
                                        ("port", Object(&[("number", Number(1, 65_535)), ("name", Text)])),
                                    ]),
                                ),
                                ("resource", Refused("leads to something that is no service")),
                            ]),
                        ),
                    ])),
                )]),
            ),
        ])),
    ),
    ("tls", List(&Object(&[("hosts", List(&Text)), ("secretName", Text)]))),
    ("defaultBackend", Refused("would answer for everybody's hosts")),
];

const HOST: &str = "would leave the container for the node it runs on";
const POD: &[Field] = &[
    ("containers", List(&Object(CONTAINER))),
    ("initContainers", List(&Object(CONTAINER))),
    ("volumes", List(&Object(VOLUME))),
    ("restartPolicy", OneOf(&["Always", "OnFailure", "Never"])),
    ("terminationGracePeriodSeconds", Number(0, 600)),
    ("activeDeadlineSeconds", Number(1, 30 * 86_400)),
    ("dnsPolicy", OneOf(&["ClusterFirst", "Default", "None"])),
    (
        "dnsConfig",
        Object(&[
            ("nameservers", List(&Text)),
            ("searches", List(&Text)),
            ("options", List(&Object(&[("name", Text), ("value", Text)]))),
        ]),
    ),
    (
        "nodeSelector",
        Keys(is_open_node_label, "choose by architecture, operating system, zone or `nvidia.com/…`"),
    ),
    (
        "affinity",
        Object(&[
            ("podAffinity", POD_AFFINITY),
            ("podAntiAffinity", POD_AFFINITY),
            ("nodeAffinity", Refused("choose nodes with `nodeSelector`")),
        ]),
    ),
    (
        "topologySpreadConstraints",
        List(&Object(&[
            ("maxSkew", Number(1, 100)),
            ("minDomains", Number(1, 100)),
            ("topologyKey", Text),
            ("whenUnsatisfiable", OneOf(&["DoNotSchedule", "ScheduleAnyway"])),
            ("labelSelector", SELECTOR),
            ("matchLabelKeys", List(&Text)),
        ])),
    ),
    (
        "tolerations",
        List(&Object(&[
            ("key", OneOf(&["nvidia.com/gpu"])),
            ("operator", OneOf(&["Exists", "Equal"])),
            ("value", Text),
            ("effect", OneOf(&["NoSchedule", "PreferNoSchedule"])),
        ])),
    ),
    ("serviceAccountName", OneOf(&["default", ""])),
    ("serviceAccount", OneOf(&["default", ""])),
    ("automountServiceAccountToken", Refused("pods get no token of the cluster")),
    ("securityContext", Object(POD_SECURITY)),
    ("imagePullSecrets", List(&Object(&[("name", OneOf(&["longshore-pull"]))]))),
    ("hostname", Text),
    ("subdomain", Text),
    ("setHostnameAsFQDN", Bool),
    ("hostAliases", List(&Object(&[("ip", Text), ("hostnames", List(&Text))]))),
    ("shareProcessNamespace", Bool),
    ("enableServiceLinks", Bool),
    ("os", Object(&[("name", OneOf(&["linux"]))])),
    ("schedulerName", OneOf(&["default-scheduler"])),
    ("hostNetwork", Refused(HOST)),
    ("hostPID", Refused(HOST)),
    ("hostIPC", Refused(HOST)),
    ("nodeName", Refused("would go around the scheduler")),
    ("priorityClassName", Refused("would push others' pods away")),
    ("priority", Refused("would push others' pods away")),
    ("preemptionPolicy", Refused("would push others' pods away")),
    ("runtimeClassName", Refused("chooses another way to run containers, which is an admin's choice")),
    ("ephemeralContainers", Refused("cannot be part of a template")),
    ("overhead", Refused("is the cluster's to say")),
    ("readinessGates", Refused("would wait for what nobody sets")),
    ("resourceClaims", Refused("devices are asked for as `resources`")),
    ("hostUsers", Refused(HOST)),
];
const POD_AFFINITY_TERM: &[Field] = &[
    ("labelSelector", SELECTOR),
    ("topologyKey", Text),
    ("namespaces", Refused("looks into other namespaces")),
    ("namespaceSelector", Refused("looks into other namespaces")),
];
const POD_AFFINITY: Shape = Object(&[
    ("requiredDuringSchedulingIgnoredDuringExecution", List(&Object(POD_AFFINITY_TERM))),
    (
        "preferredDuringSchedulingIgnoredDuringExecution",
        List(&Object(&[("weight", Number(1, 100)), ("podAffinityTerm", Object(POD_AFFINITY_TERM))])),
    ),
]);

fn is_open_node_label(key: &str) -> bool {
    matches!(
        key,
        "kubernetes.io/arch"
            | "kubernetes.io/os"
            | "topology.kubernetes.io/zone"
            | "topology.kubernetes.io/region"
    ) || key.starts_with("nvidia.com/")
}

/// System settings that belong to the pod alone, as the Pod Security Standards list them.
const SYSCTLS: [&str; 14] = [
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.ping_group_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_wmem",
    "net.core.rmem_default",
    "net.core.wmem_default",
];
const PROFILE: Shape = Object(&[("type", OneOf(&["RuntimeDefault"]))]);
const ID: Shape = Number(0, 2_147_483_647);
const POD_SECURITY: &[Field] = &[
    ("runAsUser", ID),
    ("runAsGroup", ID),
    ("runAsNonRoot", Bool),
    ("fsGroup", ID),
    ("supplementalGroups", List(&ID)),
    ("fsGroupChangePolicy", OneOf(&["OnRootMismatch", "Always"])),
    ("seccompProfile", PROFILE),
    ("appArmorProfile", PROFILE),
    ("sysctls", List(&Object(&[("name", OneOf(&SYSCTLS)), ("value", Text)]))),
    ("seLinuxOptions", Refused(HOST)),
    ("windowsOptions", Refused(HOST)),
];
/// What the Pod Security Standards' baseline lets be added; all of it is what containers have anyway.
const CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
    "NONE",
];
const CONTAINER_SECURITY: &[Field] = &[
    ("runAsUser", ID),
    ("runAsGroup", ID),
    ("runAsNonRoot", Bool),
    ("readOnlyRootFilesystem", Bool),
    ("allowPrivilegeEscalation", Bool),
    ("seccompProfile", PROFILE),
    ("appArmorProfile", PROFILE),
    ("capabilities", Object(&[("add", List(&OneOf(&CAPABILITIES))), ("drop", List(&Text))])),
    ("privileged", Refused(HOST)),
    ("procMount", OneOf(&["Default"])),
    ("seLinuxOptions", Refused(HOST)),
    ("windowsOptions", Refused(HOST)),
];

const KEY_OF: Shape = Object(&[("name", Text), ("key", Text), ("optional", Bool)]);
const FIELD_OF: Shape = Object(&[("apiVersion", Text), ("fieldPath", Text)]);
const RESOURCE_OF: Shape = Object(&[("containerName", Text), ("resource", Text), ("divisor", NumberOrText)]);
const AMOUNTS: Shape = Keys(is_resource, "ask for `cpu`, `memory`, `ephemeral-storage` or GPUs");
const CONTAINER: &[Field] = &[
    ("name", Text),
    ("image", Text),
    ("imagePullPolicy", OneOf(&["Always", "IfNotPresent", "Never"])),
    ("command", List(&Text)),
    ("args", List(&Text)),
    ("workingDir", Text),
    (
        "ports",
        List(&Object(&[
            ("name", Text),
            ("containerPort", Number(1, 65_535)),
            ("protocol", OneOf(&["TCP", "UDP", "SCTP"])),
            ("hostPort", Refused("would take a port of the node: use a Service")),
            ("hostIP", Refused("would take a port of the node: use a Service")),
        ])),
    ),
    (
        "env",
        List(&Object(&[
            ("name", Text),
            ("value", Text),
            (
                "valueFrom",
                Object(&[
                    ("configMapKeyRef", KEY_OF),
                    ("secretKeyRef", KEY_OF),
                    ("fieldRef", FIELD_OF),
                    ("resourceFieldRef", RESOURCE_OF),
                ]),
            ),
        ])),
    ),
    (
        "envFrom",
        List(&Object(&[
            ("prefix", Text),
            ("configMapRef", Object(&[("name", Text), ("optional", Bool)])),
            ("secretRef", Object(&[("name", Text), ("optional", Bool)])),
        ])),
    ),
    (
        "resources",
        Object(&[
            ("limits", AMOUNTS),
            ("requests", AMOUNTS),
            ("claims", Refused("devices are asked for as `limits`")),
        ]),
    ),
    (
        "volumeMounts",
        List(&Object(&[
            ("name", Text),
            ("mountPath", Text),
            ("subPath", Text),
            ("subPathExpr", Text),
            ("readOnly", Bool),
            ("mountPropagation", OneOf(&["None"])),
        ])),
    ),
    ("livenessProbe", Object(PROBE)),
    ("readinessProbe", Object(PROBE)),
    ("startupProbe", Object(PROBE)),
    (
        "lifecycle",
        Object(&[("postStart", Object(HANDLER)), ("preStop", Object(HANDLER)), ("stopSignal", Text)]),
    ),
    ("terminationMessagePath", Text),
    ("terminationMessagePolicy", OneOf(&["File", "FallbackToLogsOnError"])),
    ("securityContext", Object(CONTAINER_SECURITY)),
    ("stdin", Bool),
    ("stdinOnce", Bool),
    ("tty", Bool),
    ("restartPolicy", OneOf(&["Always"])),
    ("volumeDevices", Refused("would give the container a raw disk")),
];

fn is_resource(key: &str) -> bool {
    matches!(key, "cpu" | "memory" | "ephemeral-storage" | "nvidia.com/gpu" | "amd.com/gpu")
        || key.starts_with("nvidia.com/mig-")
}

const ELSEWHERE: &str = "would make the node call another host";
const HTTP_GET: Field = (
    "httpGet",
    Object(&[
        ("path", Text),
        ("port", NumberOrText),
        ("scheme", OneOf(&["HTTP", "HTTPS"])),
        ("httpHeaders", List(&Object(&[("name", Text), ("value", Text)]))),
        ("host", Refused(ELSEWHERE)),
    ]),
);
const TCP_SOCKET: Field = ("tcpSocket", Object(&[("port", NumberOrText), ("host", Refused(ELSEWHERE))]));
const EXEC: Field = ("exec", Object(&[("command", List(&Text))]));
const HANDLER: &[Field] = &[EXEC, HTTP_GET, TCP_SOCKET, ("sleep", Object(&[("seconds", Number(0, 600))]))];
const PROBE: &[Field] = &[
    EXEC,
    HTTP_GET,
    TCP_SOCKET,
    ("grpc", Object(&[("port", Number(1, 65_535)), ("service", Text)])),
    ("initialDelaySeconds", Number(0, 86_400)),
    ("timeoutSeconds", Number(1, 600)),
    ("periodSeconds", Number(1, 86_400)),
    ("successThreshold", Number(1, 100)),
    ("failureThreshold", Number(1, 10_000)),
    ("terminationGracePeriodSeconds", Number(1, 600)),
];

const ITEMS: Field = ("items", List(&Object(&[("key", Text), ("path", Text), ("mode", MODE)])));
const MODE: Shape = Number(0, 0o777);
const CONFIG_MAP: Shape = Object(&[("name", Text), ITEMS, ("defaultMode", MODE), ("optional", Bool)]);
const SECRET: Shape = Object(&[("secretName", Text), ITEMS, ("defaultMode", MODE), ("optional", Bool)]);
const DOWNWARD_ITEMS: Field = (
    "items",
    List(&Object(&[
        ("path", Text),
        ("fieldRef", FIELD_OF),
        ("resourceFieldRef", RESOURCE_OF),
        ("mode", MODE),
    ])),
);
const NODES_DISK: &str = "would read and write the node's own files";
const FOREIGN_DISK: &str = "would have the node mount a disk from elsewhere: use a PersistentVolumeClaim";
const VOLUME: &[Field] = &[
    ("name", Text),
    ("configMap", CONFIG_MAP),
    ("secret", SECRET),
    ("emptyDir", Object(&[("medium", OneOf(&["", "Memory"])), ("sizeLimit", NumberOrText)])),
    ("downwardAPI", Object(&[DOWNWARD_ITEMS, ("defaultMode", MODE)])),
    ("persistentVolumeClaim", Object(&[("claimName", Text), ("readOnly", Bool)])),
    (
        "projected",
        Object(&[
            ("defaultMode", MODE),
            (
                "sources",
                List(&Object(&[
                    ("configMap", Object(&[("name", Text), ITEMS, ("optional", Bool)])),
                    ("secret", Object(&[("name", Text), ITEMS, ("optional", Bool)])),
                    ("downwardAPI", Object(&[DOWNWARD_ITEMS])),
                    ("serviceAccountToken", ANY_REFUSED_TOKEN),
                    ("clusterTrustBundle", Refused("is the cluster's")),
                ])),
            ),
        ]),
    ),
    ("hostPath", Refused(NODES_DISK)),
    ("local", Refused(NODES_DISK)),
    ("nfs", Refused(FOREIGN_DISK)),
    ("iscsi", Refused(FOREIGN_DISK)),
    ("csi", Refused(FOREIGN_DISK)),
    ("cephfs", Refused(FOREIGN_DISK)),
    ("rbd", Refused(FOREIGN_DISK)),
    ("glusterfs", Refused(FOREIGN_DISK)),
    ("flexVolume", Refused(FOREIGN_DISK)),
    ("fc", Refused(FOREIGN_DISK)),
    ("gitRepo", Refused("runs git on the node")),
    ("ephemeral", Refused("use a PersistentVolumeClaim")),
    ("image", Refused("put the files into the image, or copy them with an initContainer")),
];
const ANY_REFUSED_TOKEN: Shape = Refused("pods get no token of the cluster");
