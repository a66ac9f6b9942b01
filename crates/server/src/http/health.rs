//! Whether the server lives and whether it can work.

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;
use crate::domain::readiness::{self, Readiness};

/// The process lives.
#[derive(Debug, Serialize, ToSchema)]
pub struct Alive {
    /// Always `ok`.
    status: &'static str,
    /// The server's version.
    version: &'static str,
}

/// Says that the process lives; asks nothing of database, registry or engine.
#[utoipa::path(get, path = "/healthz", tag = "about", security(()), responses((status = 200, body = Alive)))]
pub async fn healthz() -> axum::Json<Alive> {
    axum::Json(Alive { status: "ok", version: env!("CARGO_PKG_VERSION") })
}

/// Says whether database, registry and this host's engine can be used, each by name.
#[utoipa::path(get, path = "/readyz", tag = "about", security(()),
    responses((status = 200, description = "Everything can be used", body = Readiness), (status = 503, description = "Something cannot", body = Readiness)))]
pub async fn readyz(State(app): State<App>) -> Response {
    let readiness = readiness::check(&app).await;
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(readiness)).into_response()
}

/// Figures for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "about", responses((status = 200, description = "Prometheus text", content_type = "text/plain")))]
pub async fn metrics(State(app): State<App>) -> Response {
    let connected = u32::try_from(app.hub.connected().len()).unwrap_or(u32::MAX);
    metrics::gauge!("longshore_machines_connected").set(f64::from(connected));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], app.metrics.render())
        .into_response()
}
