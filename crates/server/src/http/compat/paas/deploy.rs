//! `/deploy/…`: nodes and namespaces.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use wire::clusters::NodeView;
use wire::names::{AccountName, ClusterName, NamespaceName};
use wire::namespaces::{NamespaceCreate, NamespaceQuery, NamespaceState, NamespaceView};
use wire::page::{MAX_LIMIT, PageQuery};
use wire::problem::Problem;
use wire::time::Timestamp;

use super::images::part;
use crate::app::App;
use crate::caller::{Caller, Subject};
use crate::domain::accounts::{self, Named};
use crate::domain::{clusters, namespaces};
use crate::error::{Error, Result};
use crate::http::extract::Fields;

/// A namespace.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserNamespace {
    /// As the cluster knows it, `username-namespace`.
    #[schema(value_type = String)]
    pub namespace: NamespaceName,
    /// Without the account.
    #[schema(value_type = String)]
    pub name: NamespaceName,
    /// Whose.
    #[schema(value_type = String)]
    pub username: AccountName,
    /// In which cluster.
    #[schema(value_type = String)]
    pub cluster: ClusterName,
    /// Where it is.
    pub status: NamespaceState,
    /// What is wrong, or what a deletion waits for.
    pub message: Option<String>,
    /// The id that the cluster gave it.
    pub uid: Option<String>,
    /// When it was wished.
    pub created_at: Timestamp,
}

impl From<NamespaceView> for UserNamespace {
    fn from(view: NamespaceView) -> Self {
        Self {
            namespace: view.name,
            name: view.short_name,
            username: view.account,
            cluster: view.cluster,
            status: view.state,
            message: view.message,
            uid: view.uid,
            created_at: view.created_at,
        }
    }
}

/// Whose namespaces.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct NamespaceListParams {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// Rows at most; all when not given.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Which namespace.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct NamespaceForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// Its name; to make one, without the account; else with or without it.
    namespace: String,
    /// In which cluster, to make one; the default one when not given.
    cluster: Option<String>,
}

/// What became of a namespace.
#[derive(Debug, Serialize, ToSchema)]
pub struct NamespaceDeleted {
    /// As the cluster knows it.
    #[schema(value_type = String)]
    namespace: NamespaceName,
    /// Whether it is gone already.
    deleted: bool,
    /// What the cluster waits for, when it is not.
    message: Option<String>,
}

pub(super) async fn subject(app: &App, caller: &Caller, fields: &Fields) -> Result<Subject> {
    accounts::subject(app, caller, fields.optional("username").map(Named::Account)).await
}

/// The caller with the eyes of the account for which an admin acts: only to find what short names mean there. Changes are made, and
/// recorded, in the caller's own name.
pub(super) fn acting(caller: &Caller, subject: &Subject) -> Caller {
    Caller { account: subject.account, name: subject.name.clone(), ..caller.clone() }
}

/// The rows that were asked for: all of them without a `limit`.
pub(super) fn page<T>(fields: &Fields, rows: Vec<T>) -> Result<Vec<T>> {
    let number =
        |name| Ok::<_, Error>(fields.number(name)?.map(|n| usize::try_from(n).unwrap_or(usize::MAX)));
    let (limit, offset) = (number("limit")?.unwrap_or(usize::MAX), number("offset")?.unwrap_or(0));
    Ok(rows.into_iter().skip(offset).take(limit).collect())
}

/// Which rows.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct RowsParams {
    /// Rows at most; all when not given.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// All nodes of all clusters.
#[utoipa::path(method(get, post), path = "/deploy/list_all_nodes", tag = "seed 000", params(RowsParams),
    responses((status = 200, body = Vec<NodeView>), (status = 503, body = Problem)))]
pub async fn list_all_nodes(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<NodeView>>> {
    page(&fields, clusters::nodes(&app, &caller, None).await?).map(axum::Json)
}

/// Makes the namespace `username-namespace`; answers when it can be used.
#[utoipa::path(post, path = "/deploy/create_namespace", tag = "seed 000",
    request_body(content((NamespaceForm = "application/json"), (NamespaceForm = "application/x-www-form-urlencoded"), (NamespaceForm = "multipart/form-data"))),
    responses((status = 200, body = UserNamespace), (status = 403, body = Problem),
        (status = 409, description = "The cluster has one of this name, whoever made it, or the account has enough", body = Problem),
        (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_namespace(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<UserNamespace>> {
    let subject = subject(&app, &caller, &fields).await?;
    let new = NamespaceCreate {
        name: part(&fields, "namespace")?,
        cluster: fields.optional("cluster").map(|_| part(&fields, "cluster")).transpose()?,
        account: Some(subject.name),
    };
    Ok(axum::Json(namespaces::create(&app, &caller, &new).await?.into()))
}

/// All namespaces of an account, oldest first.
#[utoipa::path(method(get, post), path = "/deploy/list_all_my_namespace", tag = "seed 000", params(NamespaceListParams),
    responses((status = 200, body = Vec<UserNamespace>), (status = 403, body = Problem)))]
pub async fn list_all_my_namespace(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<UserNamespace>>> {
    let subject = subject(&app, &caller, &fields).await?;
    let (limit, offset) = (fields.number("limit")?, fields.number("offset")?);
    let page = PageQuery { limit: limit.or(Some(MAX_LIMIT)), offset };
    let query = NamespaceQuery { account: Some(subject.name), ..NamespaceQuery::default() };
    let found = namespaces::list(&app, &caller, &query, page).await?;
    Ok(axum::Json(found.data.into_iter().map(UserNamespace::from).collect()))
}

/// Deletes a namespace with everything in it: what runs first. 200 when it is gone, 202 while the cluster is at it.
#[utoipa::path(post, path = "/deploy/delete_namespace", tag = "seed 000",
    request_body(content((NamespaceForm = "application/json"), (NamespaceForm = "application/x-www-form-urlencoded"), (NamespaceForm = "multipart/form-data"))),
    responses((status = 200, body = NamespaceDeleted), (status = 202, body = NamespaceDeleted), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem)))]
pub async fn delete_namespace(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<(StatusCode, axum::Json<NamespaceDeleted>)> {
    let subject = subject(&app, &caller, &fields).await?;
    let named = fields.required("namespace")?;
    let found = namespaces::get(&app, &acting(&caller, &subject), named).await?;
    let left = namespaces::delete(&app, &caller, &found.id.to_string()).await?;
    let (status, message) = match left {
        None => (StatusCode::OK, None),
        Some(left) => (StatusCode::ACCEPTED, left.message),
    };
    let deleted = status == StatusCode::OK;
    Ok((status, axum::Json(NamespaceDeleted { namespace: found.name, deleted, message })))
}
