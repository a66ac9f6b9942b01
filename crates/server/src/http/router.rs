//! Every route, on one page.

use axum::Router;
use axum::middleware::from_fn_with_state;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi as _;
use utoipa_axum::router::OpenApiRouter;

use super::compat::{ci_portal, gpu_platform, helm_charts, helm_repos, paas};
use super::routes::{Description, Routes, routes};
use super::{
    accounts, applications, audit, auth, builds, chart_keys, chart_repos, charts, clusters, collections,
    console, containers, events, files, git_repo_secrets, git_repos, gpus, health, hooks, hosted_charts,
    images, invites, linger, link, machines, namespaces, notifications, openapi, port_forwards, queue,
    registry, releases, request, runs, settings, terminals, tokens, volumes, workloads,
};
use crate::app::App;
use crate::clients::registry::REPORTS_PATH;

/// All routes.
fn all<R: Routes>(routes: R) -> R {
    routes
        .routes(routes!(console::index))
        .routes(routes!(console::ui))
        .routes(routes!(console::ui_folder))
        .routes(routes!(console::page))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(health::metrics))
        .routes(routes!(openapi::document))
        .routes(routes!(openapi::page))
        .routes(routes!(openapi::asset))
        // Seed 001.
        .routes(routes!(gpu_platform::register))
        .routes(routes!(gpu_platform::login))
        .routes(routes!(gpu_platform::params))
        .routes(routes!(gpu_platform::logout))
        .routes(routes!(gpu_platform::get_user))
        .routes(routes!(gpu_platform::set_profile))
        .routes(routes!(gpu_platform::set_password))
        .routes(routes!(gpu_platform::set_photo_custom))
        .routes(routes!(gpu_platform::set_photo_default))
        .routes(routes!(gpu_platform::photo))
        .routes(routes!(gpu_platform::machine_info))
        // Seed 000.
        .routes(routes!(paas::register))
        .routes(routes!(paas::login))
        .routes(routes!(paas::upload_image))
        .routes(routes!(paas::upload_image_alias))
        .routes(routes!(paas::list_all_my_repo))
        .routes(routes!(paas::list_all_my_repo_alias))
        .routes(routes!(paas::list_all_my_images))
        .routes(routes!(paas::list_all_my_images_alias))
        .routes(routes!(paas::tag_image))
        .routes(routes!(paas::tag_image_alias))
        .routes(routes!(paas::delete_image))
        .routes(routes!(paas::delete_image_alias))
        .routes(routes!(paas::list_all_nodes))
        .routes(routes!(paas::create_namespace))
        .routes(routes!(paas::list_all_my_namespace))
        .routes(routes!(paas::delete_namespace))
        .routes(routes!(paas::create_deployment))
        .routes(routes!(paas::update_deployment))
        .routes(routes!(paas::delete_deployment))
        .routes(routes!(paas::create_service))
        .routes(routes!(paas::update_service))
        .routes(routes!(paas::delete_service))
        .routes(routes!(paas::list_all_pods))
        .routes(routes!(paas::list_all_developments))
        .routes(routes!(paas::list_all_deployments))
        // Seed 002.
        .routes(routes!(
            ci_portal::list_repos,
            ci_portal::create_repo,
            ci_portal::update_repo,
            ci_portal::delete_repo
        ))
        .routes(routes!(ci_portal::get_repo, ci_portal::update_repo_by_id, ci_portal::delete_repo_by_id))
        .routes(routes!(
            ci_portal::list_events,
            ci_portal::create_event,
            ci_portal::update_event,
            ci_portal::delete_event
        ))
        .routes(routes!(ci_portal::get_event, ci_portal::update_event_by_id, ci_portal::delete_event_by_id))
        .routes(routes!(
            ci_portal::list_jobs,
            ci_portal::create_job,
            ci_portal::update_job,
            ci_portal::delete_job
        ))
        .routes(routes!(ci_portal::get_job, ci_portal::update_job_by_id, ci_portal::delete_job_by_id))
        .routes(routes!(
            ci_portal::list_log,
            ci_portal::create_log,
            ci_portal::update_log,
            ci_portal::delete_log
        ))
        .routes(routes!(ci_portal::get_log, ci_portal::update_log_by_id, ci_portal::delete_log_by_id))
        .routes(routes!(ci_portal::check))
        // Seed 004.
        .routes(routes!(helm_repos::list, helm_repos::create))
        .routes(routes!(helm_repos::get, helm_repos::update, helm_repos::patch, helm_repos::delete))
        .routes(routes!(helm_repos::sync))
        .routes(routes!(helm_charts::list_charts))
        .routes(routes!(helm_charts::get_chart))
        // Our own.
        .routes(routes!(accounts::me))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::get, accounts::update))
        .routes(routes!(accounts::get_quota, accounts::set_quota))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::delete))
        .routes(routes!(audit::list))
        .routes(routes!(settings::list))
        .routes(routes!(settings::set, settings::reset))
        .routes(routes!(images::list))
        .routes(routes!(images::get, images::update, images::delete))
        .routes(routes!(images::tag))
        .routes(routes!(images::dependents))
        .routes(routes!(images::tree))
        .routes(routes!(images::machines))
        .routes(routes!(images::prefetch))
        .routes(routes!(images::repositories))
        .routes(routes!(builds::list, builds::create))
        .routes(routes!(builds::get))
        .routes(routes!(builds::cancel))
        .routes(routes!(builds::log))
        .routes(routes!(registry::token, registry::token_form))
        .routes(routes!(registry::events))
        .routes(routes!(collections::list, collections::create))
        .routes(routes!(collections::get))
        .routes(routes!(collections::cancel))
        .routes(routes!(containers::list, containers::create))
        .routes(routes!(containers::get, containers::update, containers::delete))
        .routes(routes!(containers::start))
        .routes(routes!(containers::stop))
        .routes(routes!(containers::restart))
        .routes(routes!(containers::log))
        .routes(routes!(containers::stats))
        .routes(routes!(containers::uses))
        .routes(routes!(containers::events))
        .routes(routes!(containers::preview_save, containers::save))
        .routes(routes!(files::list, files::remove))
        .routes(routes!(files::read, files::write))
        .routes(routes!(files::unpack))
        .routes(routes!(files::make_folder))
        .routes(routes!(volumes::list))
        .routes(routes!(volumes::get, volumes::delete))
        .routes(routes!(containers::list_kept_logs))
        .routes(routes!(containers::delete_kept_log))
        .routes(routes!(terminals::create_ticket))
        .routes(routes!(terminals::open))
        .routes(routes!(terminals::create_pod_ticket))
        .routes(routes!(terminals::open_in_pod))
        .routes(routes!(terminals::list))
        .routes(routes!(terminals::end))
        .routes(routes!(machines::list))
        .routes(routes!(machines::get, machines::update, machines::delete))
        .routes(routes!(machines::release))
        .routes(routes!(invites::list, invites::create))
        .routes(routes!(invites::delete))
        .routes(routes!(invites::join))
        .routes(routes!(clusters::list, clusters::create))
        .routes(routes!(clusters::get, clusters::update, clusters::delete))
        .routes(routes!(clusters::nodes))
        .routes(routes!(namespaces::list, namespaces::create))
        .routes(routes!(namespaces::get, namespaces::delete))
        .routes(routes!(namespaces::kubeconfig))
        .routes(routes!(namespaces::quota))
        .routes(routes!(namespaces::events))
        .routes(routes!(workloads::pods))
        .routes(routes!(workloads::pod_log))
        .routes(routes!(port_forwards::to_pod))
        .routes(routes!(port_forwards::to_service))
        .routes(routes!(applications::show))
        .routes(routes!(workloads::list, workloads::apply))
        .routes(routes!(workloads::get, workloads::delete))
        .routes(routes!(workloads::revisions))
        .routes(routes!(workloads::rollback))
        .routes(routes!(workloads::scale))
        .routes(routes!(workloads::restart))
        .routes(routes!(chart_repos::list, chart_repos::create))
        .routes(routes!(chart_repos::get, chart_repos::update, chart_repos::delete))
        .routes(routes!(chart_repos::sync))
        .routes(routes!(chart_repos::syncs))
        .routes(routes!(chart_keys::list, chart_keys::create))
        .routes(routes!(chart_keys::delete))
        .routes(routes!(charts::list, charts::upload))
        .routes(routes!(charts::get))
        .routes(routes!(charts::versions))
        .routes(routes!(charts::content, charts::delete))
        .routes(routes!(charts::values_form))
        .routes(routes!(charts::provenance))
        .routes(routes!(charts::file))
        .routes(routes!(charts::package))
        .routes(routes!(charts::icon))
        .routes(routes!(releases::list, releases::install))
        .routes(routes!(releases::get, releases::uninstall))
        .routes(routes!(releases::upgrade))
        .routes(routes!(releases::rollback))
        .routes(routes!(releases::recover))
        .routes(routes!(releases::history))
        .routes(routes!(releases::values))
        .routes(routes!(releases::manifest))
        .routes(routes!(releases::operations))
        .routes(routes!(releases::operation))
        .routes(routes!(releases::operation_log))
        .routes(routes!(releases::operation_cancel))
        .routes(routes!(hosted_charts::index))
        .routes(routes!(hosted_charts::package))
        .routes(routes!(hosted_charts::upload))
        .routes(routes!(hosted_charts::delete))
        .routes(routes!(events::watch))
        .routes(routes!(link::connect))
        .routes(routes!(gpus::list))
        .routes(routes!(queue::list))
        .routes(routes!(git_repos::list, git_repos::create))
        .routes(routes!(git_repos::get, git_repos::update, git_repos::delete))
        .routes(routes!(git_repos::test))
        .routes(routes!(git_repo_secrets::list))
        .routes(routes!(git_repo_secrets::set, git_repo_secrets::delete))
        .routes(routes!(hooks::receive))
        .routes(routes!(hooks::deliveries))
        .routes(routes!(notifications::list, notifications::create))
        .routes(routes!(notifications::delete))
        .routes(routes!(notifications::test))
        .routes(routes!(runs::list, runs::start))
        .routes(routes!(runs::upload))
        .routes(routes!(runs::get, runs::delete))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::retry))
        .routes(routes!(runs::log))
}

/// The description of every route.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let frame = OpenApiRouter::with_openapi(openapi::Document::openapi());
    let mut document = all(Description(frame)).0.into_openapi();
    openapi::complete(&mut document);
    document
}

/// What the registry beside us may ask of us: to take its reports. For a listener of its own, which speaks to nobody else.
pub fn registry_reports(app: &App) -> Router {
    Router::new()
        .route(REPORTS_PATH, axum::routing::post(registry::events))
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(CatchPanicLayer::custom(request::on_panic))
        .layer(from_fn_with_state(app.clone(), request::layer))
        .with_state(app.clone())
}

/// The server's router, with everything that every request passes.
pub fn router(app: &App) -> Router {
    all(Router::new())
        .layer(axum::extract::DefaultBodyLimit::disable())
        .layer(from_fn_with_state(app.clone(), auth::layer))
        .layer(from_fn_with_state(app.clone(), linger::layer))
        .layer(CatchPanicLayer::custom(request::on_panic))
        .layer(from_fn_with_state(app.clone(), request::layer))
        .with_state(app.clone())
}
