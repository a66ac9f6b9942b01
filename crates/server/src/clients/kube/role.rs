//! What a cluster has to allow Longshore, and what it allows accounts: one file for `kubectl apply`, printed by
//! `longshore cluster role`.

use serde_json::Value;

use super::{As, Cluster, Failure, TENANT_ROLE};
use crate::error::{Error, Result};

/// The file.
pub const ROLE: &str = include_str!("role.yaml");

/// What we cannot do without, to be checked when a cluster is added: verb, group, resource, name.
const NEEDED: &[(&str, &str, &str, &str)] = &[
    ("create", "", "namespaces", ""),
    ("delete", "", "namespaces", ""),
    ("list", "", "nodes", ""),
    ("impersonate", "", "serviceaccounts", "longshore"),
    ("create", "", "serviceaccounts", "longshore"),
    ("create", "", "secrets", "longshore-pull"),
    ("create", "", "resourcequotas", "longshore"),
    ("create", "", "limitranges", "longshore"),
    ("create", "networking.k8s.io", "networkpolicies", "longshore"),
    ("create", "rbac.authorization.k8s.io", "rolebindings", "longshore"),
    ("bind", "rbac.authorization.k8s.io", "clusterroles", "longshore-tenant"),
];

/// What of [`NEEDED`] the cluster does not allow us, in words.
pub async fn missing(cluster: &Cluster) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for (verb, group, resource, name) in NEEDED {
        let review = serde_json::json!({
            "apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": {"verb": verb, "group": group, "resource": resource, "name": name}},
        });
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let answer = cluster.create(As::Longshore, path, &review).await?;
        if answer.body["status"]["allowed"] != true {
            missing.push(format!("{verb} {resource}"));
        }
    }
    Ok(missing)
}

/// Refuses where the cluster does not hold accounts to our rules by itself, as it must before they reach it without us.
pub async fn ensure_tenant_policy(cluster: &Cluster) -> Result<()> {
    let path =
        format!("/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings/{TENANT_ROLE}");
    match cluster.find(As::Longshore, &path).await {
        Ok(Some(binding)) if holds_everybody(&binding) => return Ok(()),
        Ok(_) => {}
        Err(failure) if failure.is_forbidden() => {}
        Err(failure) => return Err(failure.into()),
    }
    Err(Error::conflict(
        "no_tenant_policy",
        format!(
            "the cluster has no policy `{TENANT_ROLE}` in force, which holds accounts' own `kubectl` to the rules"
        ),
    )
    .hint("an admin of the cluster runs: longshore cluster role | kubectl apply -f -"))
}

/// Whether a binding is in force as the file has it: one that only warns, or that leaves namespaces out, holds nobody.
fn holds_everybody(binding: &Value) -> bool {
    let spec = &binding["spec"];
    let actions = spec["validationActions"].as_array();
    spec["policyName"] == TENANT_ROLE
        && actions.is_some_and(|actions| actions.iter().any(|action| action == "Deny"))
        && spec["matchResources"]["namespaceSelector"].as_object().is_none_or(serde_json::Map::is_empty)
        && spec["matchResources"]["objectSelector"].as_object().is_none_or(serde_json::Map::is_empty)
        && spec["matchResources"]["resourceRules"].is_null()
        && spec["matchResources"]["excludeResourceRules"].is_null()
}

/// Brings the accounts' role up to date where we may; where we may not, an admin of the cluster has to have made it.
pub async fn ensure_tenant_role(cluster: &Cluster) -> Result<()> {
    let path = format!("/apis/rbac.authorization.k8s.io/v1/clusterroles/{TENANT_ROLE}");
    match cluster.apply(As::Longshore, &path, &tenant_role()?, true, false).await {
        Ok(_) => return Ok(()),
        Err(failure) if failure.is_forbidden() => {}
        Err(failure) => return Err(failure.into()),
    }
    if cluster.find(As::Longshore, &path).await?.is_some() {
        return Ok(());
    }
    Err(Error::conflict(
        "no_tenant_role",
        format!("the cluster has no role `{TENANT_ROLE}`, and we may not make it"),
    )
    .hint("an admin of the cluster runs: longshore cluster role | kubectl apply -f -"))
}

/// The accounts' role, out of the file.
fn tenant_role() -> Result<Value> {
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(ROLE).map_err(|error| Error::internal(error.to_string()))?;
    let is_wanted =
        |document: &Value| document["kind"] == "ClusterRole" && document["metadata"]["name"] == TENANT_ROLE;
    documents
        .into_iter()
        .find(is_wanted)
        .ok_or_else(|| Error::internal("the file of roles lacks the accounts' role"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_policy_in_force_everywhere_counts() {
        let documents: Vec<Value> = serde_saphyr::from_multiple(ROLE).unwrap();
        let is_wanted = |it: &Value| {
            it["kind"] == "ValidatingAdmissionPolicyBinding" && it["metadata"]["name"] == TENANT_ROLE
        };
        let good = documents.into_iter().find(is_wanted).unwrap();
        assert!(holds_everybody(&good));

        for (path, value) in [
            ("validationActions", serde_json::json!(["Warn", "Audit"])),
            ("policyName", serde_json::json!("another")),
            ("matchResources", serde_json::json!({"namespaceSelector": {"matchLabels": {"a": "b"}}})),
            ("matchResources", serde_json::json!({"excludeResourceRules": [{"resources": ["services"]}]})),
        ] {
            let mut bad = good.clone();
            bad["spec"][path] = value;
            assert!(!holds_everybody(&bad), "{bad}");
        }
    }

    #[test]
    fn the_accounts_role_opens_nothing_beyond_a_namespace() {
        let role = tenant_role().unwrap();

        let rules = role["rules"].as_array().unwrap();
        assert!(!rules.is_empty());
        for rule in rules {
            let words = |name: &str| rule[name].as_array().cloned().unwrap_or_default();
            for word in words("apiGroups").into_iter().chain(words("resources")).chain(words("verbs")) {
                let word = word.as_str().unwrap().to_owned();
                assert_ne!(word, "*");
                for forbidden in
                    ["impersonate", "escalate", "bind", "serviceaccounts", "rolebindings", "namespaces"]
                {
                    assert!(!word.contains(forbidden), "{word}");
                }
            }
        }
    }
}
