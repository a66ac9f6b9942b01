//! What a cluster tells of a namespace: how much of its quota is used, and what happened in it. Asked in the name of the
//! namespace's own account, and bounded, because others write it.

use serde_json::Value;
use wire::namespaces::{NamespaceEventView, NamespaceQuotaView};

use super::{clusters, namespaces};
use crate::app::App;
use crate::caller::Caller;
use crate::clients::kube::{As, OWN_NAME};
use crate::error::Result;

/// Events that are asked for, and those of them that are shown. A cluster keeps them for an hour, in no order.
const EVENTS_ASKED: usize = 500;
const EVENTS_SHOWN: usize = 100;
const WORD_CHARS_MAX: usize = 253;
const MESSAGE_CHARS_MAX: usize = 1024;

/// How much there may be in a namespace, and is.
pub async fn quota(app: &App, caller: &Caller, named: &str) -> Result<Vec<NamespaceQuotaView>> {
    let row = namespaces::find(app, caller, named).await?;
    let cluster = clusters::client_to_look(app, row.cluster_id).await?;
    let path = format!("/api/v1/namespaces/{}/resourcequotas/{OWN_NAME}", row.name);
    let found = cluster.find(As::Tenant(&row.name), &path).await?;
    Ok(found.map(|object| quota_of(&object)).unwrap_or_default())
}

fn quota_of(object: &Value) -> Vec<NamespaceQuotaView> {
    let (hard, used) = (&object["status"]["hard"], &object["status"]["used"]);
    let limits = hard.as_object().into_iter().flatten();
    let mut views: Vec<_> = limits
        .map(|(resource, limit)| NamespaceQuotaView {
            resource: resource.clone(),
            used: word(&used[resource.as_str()]),
            limit: word(limit),
        })
        .collect();
    views.sort_by(|one, other| one.resource.cmp(&other.resource));
    views
}

/// What happened in a namespace, newest first.
pub async fn events(app: &App, caller: &Caller, named: &str) -> Result<Vec<NamespaceEventView>> {
    let row = namespaces::find(app, caller, named).await?;
    let cluster = clusters::client_to_look(app, row.cluster_id).await?;
    let path = format!("/api/v1/namespaces/{}/events?limit={EVENTS_ASKED}", row.name);
    let list = cluster.get(As::Tenant(&row.name), &path).await?;
    Ok(events_of(&list))
}

fn events_of(list: &Value) -> Vec<NamespaceEventView> {
    let items = list["items"].as_array().into_iter().flatten();
    let mut views: Vec<_> = items.map(event).collect();
    // Times are RFC 3339 in UTC, which sort as text.
    views.sort_by(|one, other| other.at.cmp(&one.at));
    views.truncate(EVENTS_SHOWN);
    views
}

fn event(item: &Value) -> NamespaceEventView {
    let times = [
        &item["series"]["lastObservedTime"],
        &item["lastTimestamp"],
        &item["eventTime"],
        &item["metadata"]["creationTimestamp"],
    ];
    let counts = [&item["series"]["count"], &item["count"]];
    NamespaceEventView {
        at: times.into_iter().find_map(Value::as_str).map(|text| short(text, WORD_CHARS_MAX)),
        is_warning: item["type"] == "Warning",
        reason: word(&item["reason"]),
        message: short(item["message"].as_str().unwrap_or_default(), MESSAGE_CHARS_MAX),
        kind: word(&item["involvedObject"]["kind"]),
        name: word(&item["involvedObject"]["name"]),
        count: counts.into_iter().find_map(Value::as_u64).unwrap_or(1),
    }
}

fn word(value: &Value) -> String {
    short(value.as_str().unwrap_or_default(), WORD_CHARS_MAX)
}

fn short(text: &str, chars: usize) -> String {
    text.chars().take(chars).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_quota_is_told_with_what_is_used_of_it() {
        let object = json!({"status": {
            "hard": {"pods": "20", "requests.cpu": "4"}, "used": {"pods": "3"},
        }});
        let view = |resource: &str, used: &str, limit: &str| NamespaceQuotaView {
            resource: resource.to_owned(),
            used: used.to_owned(),
            limit: limit.to_owned(),
        };
        assert_eq!(quota_of(&object), [view("pods", "3", "20"), view("requests.cpu", "", "4")]);
        assert_eq!(quota_of(&json!({})), []);
    }

    #[test]
    fn events_come_newest_first_and_none_is_too_long() {
        let item = |at: &str, name: &str| {
            json!({
                "lastTimestamp": at, "type": "Warning", "reason": "BackOff", "message": "m".repeat(5000), "count": 7,
                "involvedObject": {"kind": "Pod", "name": name},
            })
        };
        let new = json!({
            "lastTimestamp": null, "eventTime": "2026-01-02T00:00:00.000000Z", "type": "Normal",
            "series": {"count": 3, "lastObservedTime": "2026-01-03T00:00:00.000000Z"},
        });
        let items = [item("2026-01-01T00:00:00Z", "old"), new, item("2026-01-02T00:00:00Z", "late")];

        let events = events_of(&json!({"items": items}));

        let told: Vec<_> = events.iter().map(|it| (it.name.as_str(), it.count, it.is_warning)).collect();
        assert_eq!(told, [("", 3, false), ("late", 7, true), ("old", 7, true)]);
        assert_eq!(events[1].message.chars().count(), MESSAGE_CHARS_MAX);
        let many = vec![item("2026-01-01T00:00:00Z", "x"); 300];
        assert_eq!(events_of(&json!({"items": many})).len(), EVENTS_SHOWN);
    }
}
