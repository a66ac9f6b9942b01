//! Requests to one cluster: each with a bound on its time and on its answer, each in somebody's name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, TryStreamExt as _};
use http::{Method, Request, header};
use http_body_util::{BodyExt as _, Limited};
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wire::ids::ClusterId;
use wire::names::NamespaceName;
use wire::secret::Secret;

use super::forward::{Connector, Web};
use super::mirror::Kept;
use super::{Failure, Mirrors, News, OWN_NAME, kubeconfig};
use crate::error::Result;

/// How long an API server may take for one request.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// Largest answer that is read into memory.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Who applies, as the cluster notes it beside each field.
pub(super) const FIELD_MANAGER: &str = "longshore";

/// In whose name a request is made.
#[derive(Clone, Copy, Debug)]
pub enum As<'a> {
    /// Ours, for what we keep in order.
    Longshore,
    /// The account's whose namespace this is: what the cluster would not allow it, it does not get through us either.
    Tenant(&'a NamespaceName),
}

/// A success.
#[derive(Debug)]
pub struct Answer {
    /// The object, list or status.
    pub body: Value,
    /// What the API server warns of.
    pub warnings: Vec<String>,
}

/// The clusters to which there is a client.
#[derive(Default)]
pub struct Clusters {
    known: Mutex<HashMap<ClusterId, Cluster>>,
    /// How often something changed that lists of workloads show.
    changes: watch::Sender<u64>,
}

impl Clusters {
    /// Tells of changes in any cluster, by their number.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says that something changed that lists of workloads show.
    pub fn changed(&self) {
        self.changes.send_modify(|number| *number += 1);
    }

    /// The client of a cluster, if it was made before.
    pub fn get(&self, id: ClusterId) -> Option<Cluster> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Keeps a client.
    pub fn put(&self, id: ClusterId, cluster: Cluster) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).insert(id, cluster);
    }

    /// Forgets a client, because its cluster was removed.
    pub fn forget(&self, id: ClusterId) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

/// One cluster. Cloning it is cheap.
#[derive(Clone)]
pub struct Cluster {
    client: kube::Client,
    config: Arc<kube::Config>,
    connector: Connector,
    web: Web,
    /// What is kept of it, as far as somebody follows it.
    pub mirrors: Arc<Mirrors>,
}

impl Cluster {
    /// Makes a client from what [`kubeconfig::read`] kept; the cluster around us when there is none. Asks nobody yet.
    pub async fn open(credentials: Option<&Secret>) -> Result<Self> {
        let (client, config) = kubeconfig::client(credentials).await?;
        let config = Arc::new(config);
        let connector = Connector::new(Arc::clone(&config));
        Ok(Self { client, config, web: connector.web(), connector, mirrors: Arc::default() })
    }

    /// A client that does everything in somebody's name.
    pub(super) fn acting_as(&self, user: String) -> Result<kube::Client, Failure> {
        acting_as(&self.config, user)
    }

    /// What makes connections to its pods.
    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    /// What sends requests to its pods.
    pub(super) fn web(&self) -> &Web {
        &self.web
    }

    /// Follows a kind of objects until told to stop.
    pub async fn follow(&self, kept: &Kept, stop: &CancellationToken, tell: impl Fn(News) + Sync) {
        match self.mirrors.of(kept.kind) {
            Some(mirror) => mirror.follow(self, kept, stop, tell).await,
            None => self.mirrors.pods.follow(self, kept, stop, tell).await,
        }
    }

    /// Reads an object or a list.
    pub async fn get(&self, who: As<'_>, path: &str) -> Result<Value, Failure> {
        Ok(self.call(who, Method::GET, path, None).await?.body)
    }

    /// Reads an object or a list as it is written, for whoever has no use for all of it.
    pub(super) async fn bytes(&self, who: As<'_>, path: &str) -> Result<Bytes, Failure> {
        let request = request(who, Method::GET, path, None)?;
        let sent = tokio::time::timeout(PATIENCE, self.exchange_bytes(request)).await;
        Ok(sent.map_err(|_| too_slow())??.0)
    }

    /// Reads a list of what is asked of its objects.
    pub async fn list<T: DeserializeOwned>(&self, who: As<'_>, path: &str) -> Result<Vec<T>, Failure> {
        #[derive(Deserialize)]
        struct List<T> {
            items: Option<Vec<T>>,
        }

        let list: List<T> = serde_json::from_slice(&self.bytes(who, path).await?)?;
        Ok(list.items.unwrap_or_default())
    }

    /// Reads an object; none when there is none.
    pub async fn find(&self, who: As<'_>, path: &str) -> Result<Option<Value>, Failure> {
        match self.get(who, path).await {
            Ok(found) => Ok(Some(found)),
            Err(failure) if failure.is_not_found() => Ok(None),
            Err(failure) => Err(failure),
        }
    }

    /// Reads what a list says about its objects, without what is in them.
    pub async fn metadata(&self, who: As<'_>, path: &str) -> Result<Vec<Value>, Failure> {
        let mut request = request(who, Method::GET, path, None)?;
        let kind = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static(kind));
        let answer =
            tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(|_| too_slow())??;
        let mut body = answer.body;
        Ok(match body["items"].take() {
            Value::Array(items) => items.into_iter().map(|mut item| item["metadata"].take()).collect(),
            _ => Vec::new(),
        })
    }

    /// Makes an object; fails when there is one of its name.
    pub async fn create(&self, who: As<'_>, path: &str, object: &Value) -> Result<Answer, Failure> {
        self.call(who, Method::POST, path, Some(("application/json", object))).await
    }

    /// Makes an object as wished, whatever else others wrote into it; with `force` also what others hold. A dry run changes
    /// nothing and says what would come of it.
    pub async fn apply(
        &self,
        who: As<'_>,
        path: &str,
        object: &Value,
        force: bool,
        is_dry_run: bool,
    ) -> Result<Answer, Failure> {
        let dry = if is_dry_run { "&dryRun=All" } else { "" };
        let path = format!("{path}?fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force={force}{dry}");
        let answer =
            self.call(who, Method::PATCH, &path, Some(("application/apply-patch+yaml", object))).await?;
        if !is_dry_run {
            self.mirrors.note(&answer.body);
        }
        Ok(answer)
    }

    /// Changes some of an object's fields.
    pub async fn merge(&self, who: As<'_>, path: &str, change: &Value) -> Result<Answer, Failure> {
        let path = format!("{path}?fieldManager={FIELD_MANAGER}");
        let answer =
            self.call(who, Method::PATCH, &path, Some(("application/merge-patch+json", change))).await?;
        self.mirrors.note(&answer.body);
        Ok(answer)
    }

    /// Deletes an object or, by the path of a list, all of them; what depends on it follows. Whether there was one.
    pub async fn delete(&self, who: As<'_>, path: &str, uid: Option<&str>) -> Result<bool, Failure> {
        let mut options = serde_json::json!({
            "kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background",
        });
        if let Some(uid) = uid {
            options["preconditions"] = serde_json::json!({"uid": uid});
        }
        match self.call(who, Method::DELETE, path, Some(("application/json", &options))).await {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_not_found() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    /// A body that goes on: a log, a watch.
    pub async fn stream(
        &self,
        who: As<'_>,
        path: &str,
    ) -> Result<impl Stream<Item = Result<Bytes, Failure>> + Send + use<>, Failure> {
        let request = request(who, Method::GET, path, None)?;
        let sent = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        let response = sent.map_err(|_| too_slow())??;
        let code = response.status().as_u16();
        if !response.status().is_success() {
            return Err(Failure::of_answer(code, &read(response.into_body()).await?));
        }
        Ok(response.into_body().into_data_stream().map_err(Failure::from))
    }

    async fn call(
        &self,
        who: As<'_>,
        method: Method,
        path: &str,
        body: Option<(&'static str, &Value)>,
    ) -> Result<Answer, Failure> {
        let send = async || {
            let request = request(who, method.clone(), path, body)?;
            tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(|_| too_slow())?
        };
        match send().await {
            Err(failure) if failure.is_forbidden() => {
                self.has_begun().await?;
                send().await
            }
            answer => answer,
        }
    }

    /// Fails where the API server has only just begun: until it has read who may do what, it forbids everybody everything. Whoever was
    /// forbidden something asks this and then once more.
    async fn has_begun(&self) -> Result<(), Failure> {
        let request = request(As::Longshore, Method::GET, "/readyz", None)?;
        let sent = tokio::time::timeout(PATIENCE, self.client.send(request)).await;
        if !sent.map_err(|_| too_slow())??.status().is_success() {
            let detail = "it has just begun, and does not know yet who may do what";
            return Err(Failure::Unreachable(detail.to_owned()));
        }
        Ok(())
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Answer, Failure> {
        let (bytes, warnings) = self.exchange_bytes(request).await?;
        Ok(Answer { body: serde_json::from_slice(&bytes)?, warnings })
    }

    async fn exchange_bytes(&self, request: Request<Body>) -> Result<(Bytes, Vec<String>), Failure> {
        let response = self.client.send(request).await?;
        let status = response.status();
        let warnings = response.headers().get_all(header::WARNING).iter();
        let warnings = warnings.filter_map(|value| value.to_str().ok()).map(warning_text).collect();
        let bytes = read(response.into_body()).await?;
        if !status.is_success() {
            return Err(Failure::of_answer(status.as_u16(), &bytes));
        }
        Ok((bytes, warnings))
    }
}

/// A client that does everything in somebody's name.
pub(super) fn acting_as(config: &kube::Config, user: String) -> Result<kube::Client, Failure> {
    let mut config = config.clone();
    config.auth_info.impersonate = Some(user);
    Ok(kube::Client::try_from(config)?)
}

pub(super) fn too_slow() -> Failure {
    Failure::Unreachable(format!("it took more than {} seconds", PATIENCE.as_secs()))
}

async fn read(body: Body) -> Result<Bytes, Failure> {
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    Ok(collected.map_err(|error| Failure::Unreachable(format!("its answer broke off: {error}")))?.to_bytes())
}

/// `299 - "text"`, RFC 7234's form.
fn warning_text(value: &str) -> String {
    let quoted = value.split_once('"').and_then(|(_, text)| text.trim_end().strip_suffix('"'));
    let text = quoted.unwrap_or(value);
    text.replace("\\\"", "\"")
}

fn request(
    who: As<'_>,
    method: Method,
    path: &str,
    body: Option<(&'static str, &Value)>,
) -> Result<Request<Body>, Failure> {
    let mut request = Request::builder().method(method).uri(path);
    if let As::Tenant(namespace) = who {
        let user = format!("system:serviceaccount:{namespace}:{OWN_NAME}");
        request = request.header("Impersonate-User", user);
    }
    let body = match body {
        None => Body::empty(),
        Some((kind, value)) => {
            request = request.header(header::CONTENT_TYPE, kind);
            Body::from(value.to_string().into_bytes())
        }
    };
    request.body(body).map_err(|error| Failure::Unreachable(format!("the request is not valid: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenants_request_is_made_in_the_name_of_its_namespaces_own_account() {
        let namespace = "henry-test".parse().unwrap();

        let ours = request(As::Longshore, Method::GET, "/version", None).unwrap();
        let theirs = request(As::Tenant(&namespace), Method::GET, "/version", None).unwrap();

        assert!(ours.headers().get("impersonate-user").is_none());
        let user = theirs.headers().get("impersonate-user").unwrap();
        assert_eq!(user, "system:serviceaccount:henry-test:longshore");
    }

    #[test]
    fn warnings_are_read_without_their_frame() {
        assert_eq!(warning_text(r#"299 - "would violate \"restricted\"""#), r#"would violate "restricted""#);
        assert_eq!(warning_text("plain"), "plain");
    }
}
