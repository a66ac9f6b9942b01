//! The objects by which images are built in a cluster: a namespace of our own with a wall around it, and a job for each build.
//! A pod builds as an ordinary user, in a user namespace of its own: first the container that runs what the Dockerfile says, and
//! only when that has ended the one that pushes, so that nothing of the first ever sees what opens the registry for writing.

use std::net::IpAddr;

use serde_json::{Value, json};
use wire::ids::{AccountId, BuildId, InstanceId};
use wire::names::NamespaceName;

use super::objects::bound;
use super::objects::{PRIVATE_RANGES, SECURITY_VERSION};
use super::{ACCOUNT_LABEL, INSTANCE_LABEL, NAMESPACE_LABEL, OWN_NAME};

/// Says which build an object is of.
pub const BUILD_LABEL: &str = "longshore.io/build";
/// The container that builds.
pub const BUILD_CONTAINER: &str = "build";
/// The container that pushes.
pub const PUSH_CONTAINER: &str = "push";
/// What the namespace's label says: it is no account's.
const ROOM: &str = "builds";
/// Seconds that a job stays which nobody removed.
const KEEP_SECS: u32 = 600;
/// Seconds that a pod may take to end.
const GRACE_SECS: u32 = 10;
/// Memory for what steps may read.
const SECRETS_BYTES: u32 = 8 << 20;
/// The user in the builder's image.
const USER: u32 = 1000;

/// Waits for what it shall build, and builds it. All that it is told it is told by variables and files. A cache that has grown too
/// large is left for a new one, and goes when that is left too: builds that still use it are over by then. Where the volume has
/// less room than a cache may take, none is used.
const BUILD: &str = r#"set -eu
child=
trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null; exit 143' TERM INT
mkdir -p /work/home /work/tmp /work/run /work/storage
chmod g-s /work/storage /work/run /work/tmp
until [ -e /work/in/ready ]; do sleep 0.2; done
printf '%s' "$REGISTRIES" >/work/registries.conf
driver=overlay
buildah --storage-driver overlay --root /work/storage --runroot /work/run info >/dev/null 2>&1 || driver=vfs
printf '%s' "$driver" >/work/driver
storage=/work/storage
if [ -n "${CACHE_KIB:-}" ] && df -Pk /cache | { read -r _; read -r _ _ _ free _; [ "$free" -gt "$CACHE_KIB" ]; }; then
  number=$(cat /cache/number 2>/dev/null || true)
  case "$number" in '' | *[!0-9]*) number=0 ;; esac
  mkdir -p "/cache/$number"
  used=$(buildah unshare du -sk "/cache/$number" | { read -r used _; echo "$used"; })
  if [ "$used" -gt "$CACHE_KIB" ]; then
    number=$((number + 1))
    echo "$number" >/cache/number.new
    mv /cache/number.new /cache/number
  fi
  for old in /cache/[0-9]*; do
    [ "${old##*/}" -ge $((number - 1)) ] || buildah unshare rm -rf "$old"
  done
  mkdir -p "/cache/$number"
  chmod g-s "/cache/$number"
  storage=/cache/$number
fi
printf '%s' "$storage" >/work/store
set --
for file in /secrets/*; do
  [ ! -f "$file" ] || set -- "$@" --secret "id=${file##*/},src=$file"
done
# An argument that no Dockerfile asks for is complained of.
! grep -q LONGSHORE_REGISTRY "/work/in/context/$DOCKERFILE" || set -- --build-arg LONGSHORE_REGISTRY="$REGISTRY"
buildah --storage-driver "$driver" --root "$storage" --runroot /work/run --registries-conf /work/registries.conf \
  bud "$@" --isolation chroot --format docker --layers --pull-always --authfile /work/in/auth.json \
  --iidfile /work/iid --file "/work/in/context/$DOCKERFILE" /work/in/context &
child=$!
wait "$child"
rm -rf /work/in /secrets/*
"#;

/// Stays until it is removed: what is done in it is done by commands.
const PUSH: &str = "trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
";

/// Takes a context from its input, `$0` bytes; once. What is not wanted any more is read all the same: a cluster may never say
/// how a command ended that left its input unread.
const TAKE_CONTEXT: &str = r#"set -eu
[ ! -e /work/in/ready ] || { head -c "$0" >/dev/null; exit 0; }
rm -rf /work/in
mkdir -p /work/in/context
head -c "$0" | tar -xpf - -C /work/in/context
"#;

/// Takes what steps may read, `$0` bytes, before the build begins.
const TAKE_SECRETS: &str = r#"set -eu
umask 077
[ ! -e /work/in/ready ] || { head -c "$0" >/dev/null; exit 0; }
rm -rf /secrets/*
head -c "$0" | tar -xof - -C /secrets
"#;

/// Takes what opens the registry for reading, `$0` bytes, and lets the build begin.
const TAKE_LOGIN: &str = r#"set -eu
umask 077
mkdir -p /work/in
head -c "$0" >/work/in/auth.new
mv /work/in/auth.new /work/in/auth.json
touch /work/in/ready
"#;

/// Takes what opens the registry for writing, `$0` bytes, and pushes to `$1`; its output is the digest.
const PUSH_IMAGE: &str = r#"set -eu
umask 077
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
head -c "$0" >"$dir/auth.json"
read -r id </work/iid || [ -n "$id" ]
export HOME="$dir"
buildah --storage-driver "$(cat /work/driver)" --root "$(cat /work/store)" --runroot /work/run \
  --registries-conf /work/registries.conf push --authfile "$dir/auth.json" --digestfile "$dir/digest" \
  "${id#sha256:}" "docker://$1" >&2
cat "$dir/digest"
"#;

/// The claim of the volume in which layers are kept for later builds.
pub const CACHE_CLAIM: &str = "longshore-cache";

/// A command for [`BUILD_CONTAINER`] that takes a context of so many bytes.
pub fn take_context(bytes: u64) -> Vec<String> {
    shell(TAKE_CONTEXT, [bytes.to_string()])
}

/// A command for [`BUILD_CONTAINER`] that takes a tar of secrets of so many bytes.
pub fn take_secrets(bytes: usize) -> Vec<String> {
    shell(TAKE_SECRETS, [bytes.to_string()])
}

/// A command for [`BUILD_CONTAINER`] that takes logins of so many bytes.
pub fn take_login(bytes: usize) -> Vec<String> {
    shell(TAKE_LOGIN, [bytes.to_string()])
}

/// A command for [`PUSH_CONTAINER`] that takes logins of so many bytes and pushes to a name.
pub fn push_image(bytes: usize, destination: &str) -> Vec<String> {
    shell(PUSH_IMAGE, [bytes.to_string(), destination.to_owned()])
}

fn shell<const N: usize>(script: &str, arguments: [String; N]) -> Vec<String> {
    ["sh".to_owned(), "-c".to_owned(), script.to_owned()].into_iter().chain(arguments).collect()
}

/// The namespace of builds as it shall be.
#[derive(Clone, Debug)]
pub struct BuildRoom<'a> {
    /// This installation.
    pub instance: InstanceId,
    /// Its name.
    pub name: &'a NamespaceName,
    /// Where the registry is.
    pub registry: &'a [(IpAddr, u16)],
    /// Further ranges that may be reached.
    pub allow: &'a [String],
}

impl BuildRoom<'_> {
    fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/managed-by": OWN_NAME,
            INSTANCE_LABEL: self.instance.to_string(),
            NAMESPACE_LABEL: ROOM,
        })
    }

    /// Whether an object is of this installation's builds.
    pub fn is_ours(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str().unwrap_or_default();
        label(NAMESPACE_LABEL) == ROOM && label(INSTANCE_LABEL) == self.instance.to_string()
    }

    /// The namespace's own path.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.name)
    }

    /// The namespace itself. What a user namespace needs is allowed in `baseline` and not in `restricted`.
    pub fn namespace(&self) -> Value {
        let mut labels = self.labels();
        labels["pod-security.kubernetes.io/enforce"] = "baseline".into();
        labels["pod-security.kubernetes.io/enforce-version"] = SECURITY_VERSION.into();
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.name.as_str(), "labels": labels},
        })
    }

    /// What is in it, each with its path: walls before doors.
    pub fn content(&self) -> Vec<(String, Value)> {
        let core = self.path();
        let networking = format!("/apis/networking.k8s.io/v1/namespaces/{}", self.name);
        let rights = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name);
        vec![
            (format!("{networking}/networkpolicies/{OWN_NAME}"), self.network_policy()),
            (format!("{core}/serviceaccounts/default"), self.service_account("default")),
            (format!("{core}/serviceaccounts/{OWN_NAME}"), self.service_account(OWN_NAME)),
            (format!("{rights}/rolebindings/{OWN_NAME}"), self.role_binding()),
        ]
    }

    /// The claim for layers that later builds take over.
    pub fn cache_claim(&self, bytes: u64, class: Option<&str>) -> Value {
        let mut object = self.object("v1", "PersistentVolumeClaim", CACHE_CLAIM);
        object["spec"] = json!({
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": bytes.to_string()}},
        });
        if let Some(class) = class {
            object["spec"]["storageClassName"] = class.into();
        }
        object
    }

    fn object(&self, version: &str, kind: &str, name: &str) -> Value {
        let metadata = json!({"name": name, "namespace": self.name.as_str(), "labels": self.labels()});
        json!({"apiVersion": version, "kind": kind, "metadata": metadata})
    }

    /// Nobody calls a build, and a build calls the registry and what is public.
    fn network_policy(&self) -> Value {
        let names = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
        let system =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
        let mut egress = vec![
            json!({"to": [system], "ports": names}),
            json!({"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE_RANGES}}]}),
        ];
        for (address, port) in self.registry {
            let bits = if address.is_ipv4() { 32 } else { 128 };
            let block = json!({"ipBlock": {"cidr": format!("{address}/{bits}")}});
            egress.push(json!({"to": [block], "ports": [{"protocol": "TCP", "port": port}]}));
        }
        for range in self.allow {
            let is_v6 = range.contains(':');
            let cidr = match (range.contains('/'), is_v6) {
                (true, _) => range.clone(),
                (false, true) => format!("{range}/128"),
                (false, false) => format!("{range}/32"),
            };
            egress.push(json!({"to": [{"ipBlock": {"cidr": cidr}}]}));
        }
        let mut object = self.object("networking.k8s.io/v1", "NetworkPolicy", OWN_NAME);
        object["spec"] =
            json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"], "ingress": [], "egress": egress});
        object
    }

    fn service_account(&self, name: &str) -> Value {
        let mut object = self.object("v1", "ServiceAccount", name);
        object["automountServiceAccountToken"] = false.into();
        object
    }

    fn role_binding(&self) -> Value {
        bound(self.object("rbac.authorization.k8s.io/v1", "RoleBinding", OWN_NAME), self.name)
    }
}

/// A build's job as it shall be. Nothing in it is secret.
#[derive(Clone, Debug)]
pub struct BuildJob<'a> {
    /// Where.
    pub room: &'a BuildRoom<'a>,
    /// Which build.
    pub build: BuildId,
    /// Whose.
    pub account: AccountId,
    /// The builder's image.
    pub image: &'a str,
    /// The registry's name.
    pub registry: &'a str,
    /// What buildah is told of registries.
    pub registries: &'a str,
    /// The Dockerfile's path in the context.
    pub dockerfile: &'a str,
    /// Memory of each container.
    pub memory_bytes: u64,
    /// Processor time of each container.
    pub cpu_millis: u32,
    /// Disk space of the pod.
    pub storage_bytes: u64,
    /// The image repository, by whose layers it is quicker, and how many bytes of them it keeps; none keeps nothing.
    pub cache: Option<(&'a str, u64)>,
    /// Seconds after which the cluster ends it.
    pub deadline_secs: u64,
}

/// The name of a build's job.
pub fn job_name(build: BuildId) -> String {
    format!("build-{build}")
}

impl BuildJob<'_> {
    /// The job.
    pub fn object(&self) -> Value {
        let mut labels = self.room.labels();
        labels[BUILD_LABEL] = self.build.to_string().into();
        labels[ACCOUNT_LABEL] = self.account.to_string().into();
        json!({
            "apiVersion": "batch/v1", "kind": "Job",
            "metadata": {"name": job_name(self.build), "namespace": self.room.name.as_str(), "labels": labels},
            "spec": {
                "backoffLimit": 0, "completions": 1, "parallelism": 1,
                "activeDeadlineSeconds": self.deadline_secs, "ttlSecondsAfterFinished": KEEP_SECS,
                "template": {"metadata": {"labels": labels}, "spec": self.pod()},
            },
        })
    }

    fn pod(&self) -> Value {
        let mut env = json!([
            {"name": "HOME", "value": "/work/home"},
            {"name": "TMPDIR", "value": "/work/tmp"},
            {"name": "XDG_RUNTIME_DIR", "value": "/work/run"},
            {"name": "BUILDAH_ISOLATION", "value": "chroot"},
            {"name": "_CONTAINERS_USERNS_CONFIGURED", "value": ""},
            {"name": "REGISTRY", "value": self.registry},
            {"name": "REGISTRIES", "value": self.registries},
            {"name": "DOCKERFILE", "value": literal(self.dockerfile)},
        ]);
        let mut mounts = json!([{"name": "work", "mountPath": "/work"}]);
        let mut volumes = json!([
            {"name": "work", "emptyDir": {"sizeLimit": self.storage_bytes.to_string()}},
            // What steps may read is on no disk, and only where steps run.
            {"name": "secrets", "emptyDir": {"medium": "Memory", "sizeLimit": SECRETS_BYTES.to_string()}},
        ]);
        let mut security = json!({"runAsNonRoot": true, "runAsUser": USER, "runAsGroup": USER});
        if let (Some((repo, bytes)), Some(env), Some(mounts), Some(volumes)) =
            (self.cache, env.as_array_mut(), mounts.as_array_mut(), volumes.as_array_mut())
        {
            env.push(json!({"name": "CACHE_KIB", "value": (bytes / 1024).to_string()}));
            // One account never sees another's.
            let part = format!("account-{}/{repo}", self.account);
            mounts.push(json!({"name": "cache", "mountPath": "/cache", "subPath": part}));
            volumes.push(json!({"name": "cache", "persistentVolumeClaim": {"claimName": CACHE_CLAIM}}));
            // Only the volume's root is given to the group: what is in it belongs to many users.
            security["fsGroup"] = USER.into();
            security["fsGroupChangePolicy"] = "OnRootMismatch".into();
        }
        json!({
            "restartPolicy": "Never",
            "serviceAccountName": "default",
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": GRACE_SECS,
            "securityContext": security,
            "initContainers": [self.container(BUILD_CONTAINER, BUILD, &env, &with_secrets(&mounts))],
            "containers": [
                self.container(PUSH_CONTAINER, PUSH, &json!([{"name": "TMPDIR", "value": "/tmp"}]), &mounts),
            ],
            "volumes": volumes,
        })
    }

    fn container(&self, name: &str, script: &str, env: &Value, mounts: &Value) -> Value {
        json!({
            "name": name, "image": self.image, "imagePullPolicy": "IfNotPresent",
            "command": ["sh", "-c", script], "env": env,
            // `newuidmap` makes the user namespace; it may no more than that.
            "securityContext": {
                "allowPrivilegeEscalation": true,
                "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
            },
            "resources": {
                "requests": {
                    "cpu": format!("{}m", self.cpu_millis.min(100)),
                    "memory": self.memory_bytes.min(128 << 20).to_string(),
                    "ephemeral-storage": self.storage_bytes.min(100 << 20).to_string(),
                },
                "limits": {
                    "cpu": format!("{}m", self.cpu_millis),
                    "memory": self.memory_bytes.to_string(),
                    "ephemeral-storage": self.storage_bytes.to_string(),
                },
            },
            "volumeMounts": mounts,
        })
    }
}

/// A value in which the cluster puts nothing in place of `$(NAME)`.
fn literal(value: &str) -> String {
    value.replace('$', "$$")
}

/// The mounts of the container in which steps run.
fn with_secrets(mounts: &Value) -> Value {
    let secrets = json!({"name": "secrets", "mountPath": "/secrets"});
    mounts.as_array().into_iter().flatten().cloned().chain([secrets]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_runs_as_an_ordinary_user_and_knows_no_secret() {
        let name = "longshore-builds".parse().unwrap();
        let room = BuildRoom {
            instance: InstanceId(uuid::Uuid::now_v7()),
            name: &name,
            registry: &[("10.1.2.3".parse().unwrap(), 5000)],
            allow: &[],
        };
        let job = BuildJob {
            room: &room,
            build: BuildId(uuid::Uuid::now_v7()),
            account: AccountId(7),
            image: "builder:1",
            registry: "10.1.2.3:5000",
            registries: "",
            dockerfile: "Dockerfile",
            memory_bytes: 1 << 30,
            cpu_millis: 1_000,
            storage_bytes: 1 << 30,
            cache: Some(("app", 1 << 20)),
            deadline_secs: 60,
        };

        let object = job.object();

        assert!(room.is_ours(&object) && room.is_ours(&room.namespace()));
        let pod = &object["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        for container in [&pod["initContainers"][0], &pod["containers"][0]] {
            let capabilities = &container["securityContext"]["capabilities"];
            assert_eq!(*capabilities, json!({"drop": ["ALL"], "add": ["SETUID", "SETGID"]}));
            assert!(container["securityContext"]["privileged"].is_null());
            assert_eq!(container["resources"]["limits"]["memory"], "1073741824");
        }
        let mounts = &pod["initContainers"][0]["volumeMounts"];
        assert_eq!(mounts[1]["subPath"], "account-7/app");
        let mounts_secrets = |list: &str| pod[list][0]["volumeMounts"].to_string().contains("secrets");
        assert!(mounts_secrets("initContainers") && !mounts_secrets("containers"), "{pod:#}");
        let wall = &room.content()[0].1["spec"];
        assert_eq!(wall["ingress"], json!([]));
        assert_eq!(wall["egress"][2]["to"][0]["ipBlock"]["cidr"], "10.1.2.3/32");
    }

    #[test]
    fn what_another_installation_made_is_not_ours() {
        let name = "longshore-builds".parse().unwrap();
        let room =
            BuildRoom { instance: InstanceId(uuid::Uuid::now_v7()), name: &name, registry: &[], allow: &[] };
        let other = BuildRoom { instance: InstanceId(uuid::Uuid::now_v7()), ..room.clone() };

        assert!(!room.is_ours(&other.namespace()));
        assert!(!room.is_ours(&json!({"metadata": {"name": "longshore-builds"}})));
    }
}
