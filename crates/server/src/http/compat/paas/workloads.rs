//! `/deploy/…`: deployments, services and pods.

use std::io::{Read as _, Seek as _};

use axum::extract::State;
use serde::Serialize;
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use wire::names::NamespaceName;
use wire::problem::Problem;
use wire::workloads::{PodView, WorkloadApplied, WorkloadKind};

use super::deploy::{acting, page, subject};
use crate::app::App;
use crate::blobs::blocking;
use crate::caller::Caller;
use crate::domain::manifests::FILE_BYTES_MAX;
use crate::domain::namespaces;
use crate::domain::workloads::{self, Application, Mode};
use crate::error::{Error, ErrorKind, Result};
use crate::http::extract::Fields;

/// A manifest.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct ManifestForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// A YAML file with one Deployment or Service; without multipart its text.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The namespace, with or without the account; what the file says, or the account's only one, when not given.
    namespace: Option<String>,
    /// The file's name, when `file` is text.
    filename: Option<String>,
}

/// Whose namespace.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct InNamespaceParams {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The namespace, with or without the account; the account's only one when not given.
    namespace: Option<String>,
    /// Rows at most; all when not given.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Which deployment.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct DeploymentForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The namespace, with or without the account.
    namespace: String,
    /// The deployment's name.
    deployment: String,
}

/// Which service.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "describes the parameters in the OpenAPI document")]
pub struct ServiceForm {
    /// The caller's name; somebody else's for admins.
    username: Option<String>,
    /// The namespace, with or without the account.
    namespace: String,
    /// The service's name.
    service: String,
}

/// A deployment as it is now.
#[derive(Debug, Serialize, ToSchema)]
pub struct UserDeployment {
    /// As the cluster knows the namespace.
    namespace: String,
    /// What it is called.
    name: String,
    /// The id that the cluster gave it.
    uid: String,
    /// Pods that are wished.
    replicas: u64,
    /// Pods of the current revision.
    updated_replicas: u64,
    /// Pods that answer.
    ready_replicas: u64,
    /// The images as the nodes pull them.
    images: Vec<String>,
    /// `ready` or `progressing`.
    status: String,
    /// What is missing.
    message: Option<String>,
    /// When it was made, as the cluster writes it.
    created_at: Option<String>,
}

/// What was deleted.
#[derive(Debug, Serialize, ToSchema)]
pub struct WorkloadDeleted {
    /// As the cluster knows the namespace.
    #[schema(value_type = String)]
    namespace: NamespaceName,
    /// What it was.
    kind: WorkloadKind,
    /// What it was called.
    name: String,
    /// Always true.
    deleted: bool,
}

/// The manifest's text and the name of its file.
async fn manifest(fields: &mut Fields) -> Result<(Vec<u8>, Option<String>)> {
    let name = fields.file_name().or_else(|| fields.optional("filename").map(str::to_owned));
    if let Some(upload) = fields.file() {
        if upload.bytes > FILE_BYTES_MAX as u64 {
            let detail = format!("the file has more than {} KiB", FILE_BYTES_MAX >> 10);
            return Err(Error::new(ErrorKind::TooLarge, "too_large", detail));
        }
        let mut file = upload.file;
        let text = blocking(move || {
            let mut text = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut text)?;
            Ok(text)
        })
        .await?;
        return Ok((text, name));
    }
    let text = fields.required("file")?;
    if !text.contains('\n') && !text.trim_start().starts_with('{') {
        return Err(Error::invalid(
            "file",
            "`file` must be the file itself: send it as multipart, or its text",
        ));
    }
    Ok((text.as_bytes().to_vec(), name))
}

async fn do_apply(
    app: &App,
    caller: &Caller,
    mut fields: Fields,
    mode: Mode,
) -> Result<axum::Json<WorkloadApplied>> {
    let subject = subject(app, caller, &fields).await?;
    let (text, file) = manifest(&mut fields).await?;
    let application = Application {
        subject: &subject,
        namespace: fields.optional("namespace"),
        file: file.as_deref(),
        text: &text,
        mode,
        is_dry_run: false,
    };
    let applied = workloads::apply(app, caller, application).await?;
    applied
        .into_iter()
        .next()
        .map(axum::Json)
        .ok_or_else(|| Error::internal("an applied file answered nothing"))
}

async fn do_delete(
    app: &App,
    caller: &Caller,
    fields: &Fields,
    kind: WorkloadKind,
    parameter: &str,
) -> Result<axum::Json<WorkloadDeleted>> {
    let subject = subject(app, caller, fields).await?;
    let namespace = namespaces::get(app, &acting(caller, &subject), fields.required("namespace")?).await?;
    let name = fields.required(parameter)?;
    let id = workloads::named(app, caller, &namespace.id.to_string(), kind, name).await?;
    workloads::delete(app, caller, id).await?;
    Ok(axum::Json(WorkloadDeleted { namespace: namespace.name, kind, name: name.to_owned(), deleted: true }))
}

/// The namespace that is named, or the account's only one, with the caller that may look into it.
async fn place(app: &App, caller: &Caller, fields: &Fields) -> Result<(Caller, String)> {
    let subject = subject(app, caller, fields).await?;
    let caller = acting(caller, &subject);
    let namespace = match fields.optional("namespace") {
        Some(named) => namespaces::get(app, &caller, named).await?.id,
        None => namespaces::only_one(app, &subject).await?.id,
    };
    Ok((caller, namespace.to_string()))
}

/// Makes the Deployment of a YAML file, which is kept under its name. Refusals list everything that is wrong, in `violations`.
#[utoipa::path(post, path = "/deploy/create_deployment", tag = "seed 000",
    request_body(content((ManifestForm = "multipart/form-data"), (ManifestForm = "application/json"), (ManifestForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = WorkloadApplied), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "There is one of this name", body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_deployment(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadApplied>> {
    do_apply(&app, &caller, fields, Mode::Create(WorkloadKind::Deployment)).await
}

/// Changes a Deployment to what its file says now.
#[utoipa::path(post, path = "/deploy/update_deployment", tag = "seed 000",
    request_body(content((ManifestForm = "multipart/form-data"), (ManifestForm = "application/json"), (ManifestForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = WorkloadApplied), (status = 403, body = Problem), (status = 404, description = "There is none of this name", body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn update_deployment(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadApplied>> {
    do_apply(&app, &caller, fields, Mode::Update(WorkloadKind::Deployment)).await
}

/// Makes the Service of a YAML file, which is kept under its name.
#[utoipa::path(post, path = "/deploy/create_service", tag = "seed 000",
    request_body(content((ManifestForm = "multipart/form-data"), (ManifestForm = "application/json"), (ManifestForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = WorkloadApplied), (status = 403, body = Problem), (status = 404, body = Problem),
        (status = 409, description = "There is one of this name", body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn create_service(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadApplied>> {
    do_apply(&app, &caller, fields, Mode::Create(WorkloadKind::Service)).await
}

/// Changes a Service to what its file says now.
#[utoipa::path(post, path = "/deploy/update_service", tag = "seed 000",
    request_body(content((ManifestForm = "multipart/form-data"), (ManifestForm = "application/json"), (ManifestForm = "application/x-www-form-urlencoded"))),
    responses((status = 200, body = WorkloadApplied), (status = 403, body = Problem), (status = 404, description = "There is none of this name", body = Problem),
        (status = 409, body = Problem), (status = 413, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub async fn update_service(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadApplied>> {
    do_apply(&app, &caller, fields, Mode::Update(WorkloadKind::Service)).await
}

/// Deletes a Deployment with its pods.
#[utoipa::path(post, path = "/deploy/delete_deployment", tag = "seed 000",
    request_body(content((DeploymentForm = "application/json"), (DeploymentForm = "application/x-www-form-urlencoded"), (DeploymentForm = "multipart/form-data"))),
    responses((status = 200, body = WorkloadDeleted), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn delete_deployment(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadDeleted>> {
    do_delete(&app, &caller, &fields, WorkloadKind::Deployment, "deployment").await
}

/// Deletes a Service.
#[utoipa::path(post, path = "/deploy/delete_service", tag = "seed 000",
    request_body(content((ServiceForm = "application/json"), (ServiceForm = "application/x-www-form-urlencoded"), (ServiceForm = "multipart/form-data"))),
    responses((status = 200, body = WorkloadDeleted), (status = 403, body = Problem), (status = 404, body = Problem), (status = 409, body = Problem), (status = 503, body = Problem)))]
pub async fn delete_service(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<WorkloadDeleted>> {
    do_delete(&app, &caller, &fields, WorkloadKind::Service, "service").await
}

/// All pods of a namespace.
#[utoipa::path(method(get, post), path = "/deploy/list_all_pods", tag = "seed 000", params(InNamespaceParams),
    responses((status = 200, body = Vec<PodView>), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn list_all_pods(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<PodView>>> {
    let (caller, namespace) = place(&app, &caller, &fields).await?;
    page(&fields, workloads::pods(&app, &caller, &namespace).await?).map(axum::Json)
}

async fn do_list(app: &App, caller: &Caller, fields: &Fields) -> Result<axum::Json<Vec<UserDeployment>>> {
    let (caller, namespace) = place(app, caller, fields).await?;
    let found = page(fields, workloads::deployments(app, &caller, &namespace).await?)?;
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let view = |(object, replicas, is_done, message): (Value, wire::workloads::Replicas, bool, String)| {
        let metadata = &object["metadata"];
        let containers = object["spec"]["template"]["spec"]["containers"].as_array().into_iter().flatten();
        UserDeployment {
            namespace: text(&metadata["namespace"]).unwrap_or_default(),
            name: text(&metadata["name"]).unwrap_or_default(),
            uid: text(&metadata["uid"]).unwrap_or_default(),
            replicas: replicas.desired,
            updated_replicas: replicas.updated,
            ready_replicas: replicas.ready,
            images: containers.filter_map(|container| text(&container["image"])).collect(),
            status: if is_done { "ready" } else { "progressing" }.to_owned(),
            message: (!is_done).then_some(message),
            created_at: text(&metadata["creationTimestamp"]),
        }
    };
    Ok(axum::Json(found.into_iter().map(view).collect()))
}

/// All deployments of a namespace; spelled as in the seed.
#[utoipa::path(method(get, post), path = "/deploy/list_all_developments", tag = "seed 000", params(InNamespaceParams),
    responses((status = 200, body = Vec<UserDeployment>), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn list_all_developments(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<UserDeployment>>> {
    do_list(&app, &caller, &fields).await
}

/// Alias of `/deploy/list_all_developments`.
#[utoipa::path(method(get, post), path = "/deploy/list_all_deployments", tag = "seed 000", params(InNamespaceParams),
    responses((status = 200, body = Vec<UserDeployment>), (status = 403, body = Problem), (status = 404, body = Problem), (status = 503, body = Problem)))]
pub async fn list_all_deployments(
    State(app): State<App>,
    caller: Caller,
    fields: Fields,
) -> Result<axum::Json<Vec<UserDeployment>>> {
    do_list(&app, &caller, &fields).await
}
