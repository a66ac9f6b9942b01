//! Ingresses: an account's own hosts, and nothing that a controller could understand as more. A controller serves all accounts
//! with one configuration, so that whoever may name any host takes others' visitors, and whoever may write any annotation or
//! path has written that configuration (CVE-2023-5044, CVE-2025-1974). The cluster's policy says the same, for those who use
//! their own `kubectl`.

use serde_json::Value;

use super::shape::Violations;

/// Where an account's applications may be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hosts {
    /// The account's own domain, such as `alice.apps.example.org`: this host, and every one below it.
    pub domain: String,
    /// The class that every ingress has, if the cluster's own default is not meant.
    pub class: Option<String>,
}

impl Hosts {
    fn has(&self, host: &str) -> bool {
        let below = host.strip_suffix(&self.domain).and_then(|rest| rest.strip_suffix('.'));
        host == self.domain || below.is_some_and(|rest| rest.split('.').all(|label| !label.is_empty()))
    }
}

/// Checks an ingress and gives it its class.
pub(super) fn complete(object: &mut Value, hosts: Option<&Hosts>, wrong: &mut Violations) {
    let Some(hosts) = hosts else {
        wrong.add("kind", "an Ingress cannot be made here: no domain is set for applications");
        return;
    };
    let spec = &mut object["spec"];
    let rules = spec["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    if rules.is_empty() {
        wrong.add("spec.rules", "is missing: say for which host it is");
    }
    for (place, rule) in rules.iter().enumerate() {
        check_host(&rule["host"], hosts, &format!("spec.rules[{place}].host"), wrong);
        for (number, path) in rule["http"]["paths"].as_array().into_iter().flatten().enumerate() {
            let at = format!("spec.rules[{place}].http.paths[{number}]");
            if !path["path"].as_str().is_none_or(is_plain_path) {
                wrong.add(
                    &format!("{at}.path"),
                    "must begin with `/` and have letters, digits and `-._~%/` alone",
                );
            }
            if path["backend"]["service"]["name"].as_str().is_none_or(str::is_empty) {
                wrong.add(&format!("{at}.backend.service.name"), "is missing: say which service answers");
            }
        }
    }
    for (place, tls) in spec["tls"].as_array().into_iter().flatten().enumerate() {
        for (number, host) in tls["hosts"].as_array().into_iter().flatten().enumerate() {
            check_host(host, hosts, &format!("spec.tls[{place}].hosts[{number}]"), wrong);
        }
    }
    let class = spec["ingressClassName"].as_str().filter(|class| !class.is_empty());
    match (&hosts.class, class) {
        (Some(own), Some(class)) if own != class => {
            wrong.add("spec.ingressClassName", format!("must be `{own}`, or left out"));
        }
        (None, Some(_)) => wrong.add("spec.ingressClassName", "is the cluster's to choose: leave it out"),
        (Some(own), _) if spec.is_object() => spec["ingressClassName"] = own.as_str().into(),
        _ => {}
    }
}

fn check_host(host: &Value, hosts: &Hosts, path: &str, wrong: &mut Violations) {
    if !host.as_str().is_some_and(|host| hosts.has(host)) {
        wrong.add(path, format!("must be `{0}` or a name below it, such as `web.{0}`", hosts.domain));
    }
}

/// Without anything that a controller's configuration would be written with.
fn is_plain_path(path: &str) -> bool {
    path.starts_with('/')
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~%/".contains(&byte))
}
