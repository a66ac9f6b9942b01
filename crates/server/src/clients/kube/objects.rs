//! The objects that make a namespace an account's room, and nothing more than that: a quota and default limits, a wall of
//! network policy, a service account for the account itself and none with rights for its pods, and a secret to pull images.

use serde_json::{Value, json};
use wire::ids::{AccountId, InstanceId, NamespaceId};
use wire::link::RegistryCredential;
use wire::names::NamespaceName;

use super::{ACCOUNT_LABEL, INSTANCE_LABEL, NAMESPACE_LABEL, OWN_NAME, PULL_SECRET, TENANT_ROLE};

/// The version of the Pod Security Standards that is asked for: a cluster's upgrade shall not refuse what ran before.
pub(super) const SECURITY_VERSION: &str = "v1.33";
/// Where no pod of an account has business: private networks, carriers' addresses, and the machines' own metadata.
pub(super) const PRIVATE_RANGES: [&str; 5] =
    ["10.0.0.0/8", "100.64.0.0/10", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"];

/// Annotations of a namespace by which the cluster's policy for accounts (`role.yaml`) knows what an Ingress may say.
const INGRESS_DOMAIN: &str = "longshore.io/ingress-domain";
const INGRESS_CLASS: &str = "longshore.io/ingress-class";

/// What all of a namespace's pods together may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Requested processor time in thousandths of a core; pods may use twice as much while it is there.
    pub cpu_millis: u64,
    /// Requested memory in bytes; pods may use twice as much while it is there.
    pub memory_bytes: u64,
    /// Pods.
    pub pods: u64,
    /// Requested disk space in bytes.
    pub storage_bytes: u64,
    /// Graphics processors of each kind.
    pub gpus: u64,
    /// Their kinds, as nodes name them. What is not named here a cluster would not count.
    pub gpu_resources: Vec<String>,
}

/// A namespace as it shall be.
#[derive(Clone, Debug)]
pub struct Room<'a> {
    /// Its row.
    pub id: NamespaceId,
    /// This installation.
    pub instance: InstanceId,
    /// Whose.
    pub account_id: AccountId,
    /// Its name.
    pub name: &'a NamespaceName,
    /// What its pods may have.
    pub quota: &'a Quota,
    /// The addresses of the cluster's pods, as far as they are known: others are outside, and may call published ports.
    pub pod_ranges: &'a [String],
    /// How its pods are reached by names.
    pub ingress: Ingress<'a>,
}

/// How the pods of an account are reached by names.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ingress<'a> {
    /// The account's own domain, if there is one.
    pub domain: Option<&'a str>,
    /// The class that its ingresses have, if not the cluster's default.
    pub class: Option<&'a str>,
    /// The namespace of the ingress controller, if it is known.
    pub controller: Option<&'a str>,
}

impl Room<'_> {
    /// The labels by which an object is known to be ours, and whose.
    pub fn labels(&self) -> Value {
        json!({
            "app.kubernetes.io/managed-by": OWN_NAME,
            INSTANCE_LABEL: self.instance.to_string(),
            NAMESPACE_LABEL: self.id.to_string(),
            ACCOUNT_LABEL: self.account_id.to_string(),
        })
    }

    /// Whether an object says that it is this namespace of this installation.
    pub fn is_ours(&self, object: &Value) -> bool {
        let label = |name: &str| object["metadata"]["labels"][name].as_str().unwrap_or_default();
        label(NAMESPACE_LABEL) == self.id.to_string() && label(INSTANCE_LABEL) == self.instance.to_string()
    }

    /// The namespace's own path.
    pub fn path(&self) -> String {
        format!("/api/v1/namespaces/{}", self.name)
    }

    /// The namespace itself.
    pub fn namespace(&self) -> Value {
        let mut labels = self.labels();
        // What would escape to the node is refused by the cluster itself, whoever asks.
        labels["pod-security.kubernetes.io/enforce"] = "baseline".into();
        labels["pod-security.kubernetes.io/enforce-version"] = SECURITY_VERSION.into();
        labels["pod-security.kubernetes.io/warn"] = "restricted".into();
        labels["pod-security.kubernetes.io/warn-version"] = SECURITY_VERSION.into();
        // What the cluster's own policy for accounts goes by.
        let annotations = json!({
            INGRESS_DOMAIN: self.ingress.domain.unwrap_or_default(), INGRESS_CLASS: self.ingress.class.unwrap_or_default(),
        });
        json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": {"name": self.name.as_str(), "labels": labels, "annotations": annotations},
        })
    }

    /// What is in it, each with its path, in the order in which it is made: walls before doors.
    pub fn content(&self, pull_secret: Option<&Value>) -> Vec<(String, Value)> {
        let core = self.path();
        let networking = format!("/apis/networking.k8s.io/v1/namespaces/{}", self.name);
        let rights = format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{}", self.name);
        let mut content = vec![
            (format!("{networking}/networkpolicies/{OWN_NAME}"), self.network_policy()),
            self.quota(),
            (format!("{core}/limitranges/{OWN_NAME}"), self.limit_range()),
            (format!("{core}/serviceaccounts/default"), self.pods_account()),
            (format!("{core}/serviceaccounts/{OWN_NAME}"), self.tenants_account()),
            (format!("{rights}/rolebindings/{OWN_NAME}"), self.role_binding()),
        ];
        if let Some(secret) = pull_secret {
            content.push((format!("{core}/secrets/{PULL_SECRET}"), secret.clone()));
        }
        content
    }

    fn object(&self, version: &str, kind: &str, name: &str) -> Value {
        let metadata = json!({"name": name, "namespace": self.name.as_str(), "labels": self.labels()});
        json!({"apiVersion": version, "kind": kind, "metadata": metadata})
    }

    /// The path of its quota, and the quota.
    pub fn quota(&self) -> (String, Value) {
        (format!("{}/resourcequotas/{OWN_NAME}", self.path()), self.resource_quota())
    }

    fn resource_quota(&self) -> Value {
        let quota = self.quota;
        let mut object = self.object("v1", "ResourceQuota", OWN_NAME);
        object["spec"] = json!({"hard": {
            "requests.cpu": format!("{}m", quota.cpu_millis),
            "limits.cpu": format!("{}m", quota.cpu_millis.saturating_mul(2)),
            "requests.memory": quota.memory_bytes.to_string(),
            "limits.memory": quota.memory_bytes.saturating_mul(2).to_string(),
            "requests.ephemeral-storage": (quota.storage_bytes / 2).to_string(),
            "requests.storage": quota.storage_bytes.to_string(),
            "pods": quota.pods.to_string(),
            "services": "20",
            "services.nodeports": "5",
            "services.loadbalancers": "0",
            "persistentvolumeclaims": "10",
            "configmaps": "50",
            "secrets": "50",
            "count/deployments.apps": "20",
            "count/statefulsets.apps": "20",
            "count/jobs.batch": "50",
            "count/cronjobs.batch": "20",
            "count/ingresses.networking.k8s.io": "10",
        }});
        for resource in &quota.gpu_resources {
            object["spec"]["hard"][format!("requests.{resource}")] = quota.gpus.to_string().into();
        }
        object
    }

    fn limit_range(&self) -> Value {
        let mut object = self.object("v1", "LimitRange", OWN_NAME);
        object["spec"] = json!({"limits": [{
            "type": "Container",
            "default": {"cpu": "500m", "memory": "512Mi", "ephemeral-storage": "2Gi"},
            "defaultRequest": {"cpu": "100m", "memory": "128Mi", "ephemeral-storage": "100Mi"},
        }]});
        object
    }

    fn network_policy(&self) -> Value {
        let same_namespace = json!({"podSelector": {}});
        let mut from = vec![same_namespace.clone()];
        // Who calls a published port comes from outside of the pods' addresses. Without knowing those it cannot be told
        // from another account's pod, and stays out.
        if !self.pod_ranges.is_empty() {
            from.push(json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": self.pod_ranges}}));
        }
        if let Some(controller) = self.ingress.controller {
            from.push(
                json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": controller}}}),
            );
        }
        let names = json!([{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]);
        let system =
            json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}});
        let mut object = self.object("networking.k8s.io/v1", "NetworkPolicy", OWN_NAME);
        object["spec"] = json!({
            "podSelector": {},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": from}],
            "egress": [
                {"to": [same_namespace]},
                {"to": [system], "ports": names},
                {"to": [{"ipBlock": {"cidr": "0.0.0.0/0", "except": PRIVATE_RANGES}}]},
            ],
        });
        object
    }

    /// What pods run as: it may nothing and has no token, but it knows where images come from.
    fn pods_account(&self) -> Value {
        let mut object = self.object("v1", "ServiceAccount", "default");
        object["automountServiceAccountToken"] = false.into();
        object["imagePullSecrets"] = json!([{"name": PULL_SECRET}]);
        object
    }

    /// In whose name we do what the account asks for.
    fn tenants_account(&self) -> Value {
        let mut object = self.object("v1", "ServiceAccount", OWN_NAME);
        object["automountServiceAccountToken"] = false.into();
        object
    }

    fn role_binding(&self) -> Value {
        bound(self.object("rbac.authorization.k8s.io/v1", "RoleBinding", OWN_NAME), self.name)
    }

    /// The secret by which pods pull from the registry at `address`.
    pub fn pull_secret(&self, address: &str, credential: &RegistryCredential) -> Value {
        use base64::Engine as _;
        let base64 = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
        let (name, password) = (&credential.username, credential.password.expose());
        let entry =
            json!({"username": name, "password": password, "auth": base64(&format!("{name}:{password}"))});
        let file = json!({"auths": {address: entry}}).to_string();
        let mut object = self.object("v1", "Secret", PULL_SECRET);
        object["type"] = "kubernetes.io/dockerconfigjson".into();
        object["data"] = json!({".dockerconfigjson": base64(&file)});
        object
    }
}

/// A role binding that lets a namespace's own service account do what accounts may.
pub(super) fn bound(mut binding: Value, namespace: &NamespaceName) -> Value {
    binding["roleRef"] =
        json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": TENANT_ROLE});
    binding["subjects"] =
        json!([{"kind": "ServiceAccount", "name": OWN_NAME, "namespace": namespace.as_str()}]);
    binding
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_ours_by_its_labels_and_never_by_its_name() {
        let quota = Quota {
            cpu_millis: 1,
            memory_bytes: 1,
            pods: 1,
            storage_bytes: 1,
            gpus: 0,
            gpu_resources: Vec::new(),
        };
        let name = "henry-test".parse().unwrap();
        let id = NamespaceId(uuid::Uuid::now_v7());
        let instance = InstanceId(uuid::Uuid::now_v7());
        let room = Room {
            id,
            instance,
            account_id: AccountId(7),
            name: &name,
            quota: &quota,
            pod_ranges: &[],
            ingress: Ingress::default(),
        };
        let mut found = room.namespace();

        assert!(room.is_ours(&found));

        found["metadata"]["labels"][INSTANCE_LABEL] = "another".into();
        assert!(!room.is_ours(&found));
        assert!(!room.is_ours(&json!({"metadata": {"name": "henry-test"}})));
    }
}
