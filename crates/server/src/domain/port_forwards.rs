//! Ways to ports of pods and services: which pod and port is meant, and how many ways an account may have at a time. Whoever
//! goes one goes it in the name of the namespace's own account.

use serde_json::Value;
use wire::ids::AccountId;

use super::workloads::{is_name, pods_behind};
use super::{clusters, namespaces, sessions};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, Cluster, Pod, PodPort};
use crate::error::{Error, ErrorKind, Result};
use crate::streams::{Place, TooMany};

/// Connections of one account to pods that are open at the same time.
pub const PER_ACCOUNT: u64 = 256;

/// To what a way leads.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// A pod.
    Pod(&'a str),
    /// A pod of a service.
    Service(&'a str),
}

/// Who may go a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum For {
    /// Whoever may act for the namespace's account.
    Acting,
    /// The namespace's own account and nobody else: what it shows is a page in the browser of whoever looks.
    OwnerAlone,
}

/// A way, and the account's place for it.
pub struct Way {
    /// Where it leads.
    pub port: PodPort,
    /// Held as long as the way is used.
    pub place: Place,
}

/// Finds the way to a port. What the caller may not see does not exist.
pub async fn find(
    app: &App,
    caller: &Caller,
    namespace: &str,
    goal: Goal<'_>,
    port: &str,
    who: For,
) -> Result<Way> {
    let row = namespaces::find(app, caller, namespace).await?;
    if who == For::OwnerAlone && row.account_id != caller.account {
        return Err(Error::not_found("namespace", namespace));
    }
    let place = app.port_forwards.enter(caller.account).map_err(|TooMany(most)| {
        let detail = format!("an account has at most {most} connections to pods at the same time");
        Error::new(ErrorKind::TooMany(5), "too_many_connections", detail)
    })?;
    let cluster = clusters::client_of(app, row.cluster_id).await?;
    let (pod, port) = match goal {
        Goal::Pod(pod) if !is_name(pod) => return Err(Error::not_found("pod", pod)),
        Goal::Pod(pod) => {
            let port = number(port)
                .ok_or_else(|| Error::invalid("port", "`port` is the number of a port, 1 to 65535"))?;
            (pod.to_owned(), port)
        }
        Goal::Service(service) => of_service(&cluster, &row, service, port, caller.account).await?,
    };
    Ok(Way { port: PodPort { cluster, namespace: row.name, pod, port }, place })
}

/// Whether what was begun may go on: not when the login it was begun with has ended.
pub async fn may_go_on(app: &App, caller: &Caller) -> bool {
    // A database that is busy for a moment ends nobody's work.
    !matches!(sessions::still(app, caller).await, Ok(None))
}

fn number(text: &str) -> Option<u16> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|port| is_plain && *port > 0)
}

/// A pod that stands behind a service, and the port there.
async fn of_service(
    cluster: &Cluster,
    namespace: &store::namespaces::Row,
    name: &str,
    port: &str,
    account: AccountId,
) -> Result<(String, u16)> {
    let missing = || Error::not_found("service", name);
    if !is_name(name) {
        return Err(missing());
    }
    let path = format!("/api/v1/namespaces/{}/services/{name}", namespace.name);
    let service = cluster.find(As::Tenant(&namespace.name), &path).await?.ok_or_else(missing)?;
    let target = target_of(&service, port).ok_or_else(|| {
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let ports: Vec<_> = ports.map(|port| port["port"].to_string()).collect();
        Error::not_found("port", port).hint(format!("service `{name}` has: {}", ports.join(", ")))
    })?;
    let selector = &service["spec"]["selector"];
    if selector.as_object().is_none_or(serde_json::Map::is_empty) {
        let detail = format!("service `{name}` names no pods (`selector`)");
        return Err(Error::conflict("no_selector", detail));
    }
    let mut pods = pods_behind(cluster, &namespace.name, selector).await?;
    pods.retain(|pod| pod.is_ready());
    pods.sort_by(|one, other| one.metadata.name.cmp(&other.metadata.name));
    // Who looks stays with one pod, as long as there are the same ones: what a pod remembers of its visitor is there.
    let count = pods.len().max(1);
    let turn = usize::try_from(account.0.unsigned_abs()).unwrap_or_default() % count;
    let Some(pod) = pods.get(turn) else {
        let detail = format!("no pod of service `{name}` is ready");
        return Err(Error::unavailable("no_pod", detail)
            .hint(format!("`longshore workload pods {}` says why", namespace.name)));
    };
    let port = port_in(pod, target).ok_or_else(|| {
        let detail = format!("service `{name}` means a port `{target}`, which its pods do not have");
        Error::conflict("no_such_port", detail)
    })?;
    Ok((pod.metadata.name.to_string(), port))
}

/// What a service means by one of its ports, by number or name: the port of its pods, as it is written.
fn target_of<'a>(service: &'a Value, port: &str) -> Option<&'a Value> {
    let ports = service["spec"]["ports"].as_array()?;
    let wanted = number(port);
    let is_meant = |candidate: &&Value| match wanted {
        Some(number) => candidate["port"] == number,
        None => candidate["name"].as_str() == Some(port),
    };
    let found = ports
        .iter()
        .filter(|candidate| candidate["protocol"].as_str().unwrap_or("TCP") == "TCP")
        .find(is_meant)?;
    Some(if found["targetPort"].is_null() { &found["port"] } else { &found["targetPort"] })
}

/// The number of a port of a pod that may be given by its name.
fn port_in(pod: &Pod, target: &Value) -> Option<u16> {
    let Some(name) = target.as_str() else { return u16::try_from(target.as_u64()?).ok() };
    let mut ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    ports.find(|port| port.name.as_deref() == Some(name)).map(|port| port.container_port)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_services_are_found_by_number_and_by_name() {
        let service = json!({"spec": {"ports": [
            {"name": "web", "port": 80, "targetPort": "http"}, {"name": "raw", "port": 81}, {"port": 82, "protocol": "UDP"},
        ]}});
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"name": "http", "containerPort": 8000}]}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let found = |port: &str| target_of(&service, port).and_then(|target| port_in(&pod, target));

        assert_eq!(
            (found("80"), found("web"), found("81"), found("raw")),
            (Some(8000), Some(8000), Some(81), Some(81))
        );
        for wrong in ["82", "8000", "0", "", "+80", "http", "99999"] {
            assert_eq!(found(wrong), None, "{wrong}");
        }
    }
}
