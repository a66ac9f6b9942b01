//! Seed 004's charts, as the system that it documents spells them: a repository's charts with their metadata beside them, and a
//! chart's texts in base64.

use axum::extract::State;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::IntoParams;
use wire::charts::{ChartQuery, ChartVersionQuery, ChartVersionView, ChartView};
use wire::page::PageQuery;

use super::helm_repos::HelmError;
use crate::app::App;
use crate::caller::Caller;
use crate::domain::charts;
use crate::error::{Error, Result};
use crate::http::extract::{Params, Path};

/// What is asked for.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ListQuery {
    /// The repository, by id or name.
    repo: Option<String>,
    /// Only this chart.
    name: Option<String>,
    /// Only charts with this word.
    keyword: Option<String>,
    /// Only versions in this range.
    version: Option<String>,
    /// Whether to list all versions instead of the best of each chart.
    all_version: Option<bool>,
    /// Rows at most.
    limit: Option<u64>,
    /// Rows to pass over.
    offset: Option<u64>,
}

/// Which version.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct ShowQuery {
    /// The repository, by id or name.
    repo: Option<String>,
    /// The version; the best one when absent.
    version: Option<String>,
}

fn repo_of(repo: Option<&str>) -> Result<&str> {
    repo.filter(|repo| !repo.is_empty()).ok_or_else(|| Error {
        code: "missing_repo",
        ..Error::invalid("repo", "Missing repo: name the repository with `repo`")
    })
}

fn row(chart: &ChartView, version: Option<&ChartVersionView>) -> Value {
    let metadata = json!({
        "name": chart.name, "home": chart.home, "sources": chart.sources, "description": chart.description, "keywords": chart.keywords,
        "icon": chart.icon, "type": chart.kind, "repo": chart.repo,
        "version": version.map_or(&chart.version, |version| &version.version),
        "appVersion": version.map_or(&chart.app_version, |version| &version.app_version),
        "created": version.map_or(chart.published_at, |version| version.created_at),
        "deprecated": version.map_or(chart.deprecated, |version| version.deprecated),
        "digest": version.and_then(|version| version.digest.as_ref()),
        "urls": version.map(|version| &version.urls),
    });
    let mut whole = metadata.clone();
    whole["chart"] = metadata;
    whole
}

/// Lists the charts of a repository, or the versions of its charts.
#[utoipa::path(get, path = "/api/charts", tag = "seed 004", params(ListQuery),
    responses((status = 200, body = Value), (status = 400, body = HelmError), (status = 404, body = HelmError), (status = 406, description = "No repository is named", body = HelmError)))]
pub async fn list_charts(
    State(app): State<App>,
    caller: Caller,
    Params(query): Params<ListQuery>,
) -> Result<axum::Json<Value>> {
    let repo = repo_of(query.repo.as_deref())?;
    let page = PageQuery { limit: query.limit, offset: query.offset };
    let by_version = query.all_version.unwrap_or(false) || query.version.is_some();
    if by_version && query.name.as_deref().is_none_or(str::is_empty) {
        return Err(Error::invalid("name", "`version` and `all_version` need the `name` of a chart"));
    }
    let (rows, total): (Vec<Value>, u64) = if let (true, Some(name)) = (by_version, &query.name) {
        let chart = charts::get(&app, &caller, repo, name).await?;
        let asked = ChartVersionQuery { limit: query.limit, offset: query.offset, range: query.version };
        let versions = charts::versions(&app, &caller, repo, name, &asked).await?;
        (versions.data.iter().map(|version| row(&chart, Some(version))).collect(), versions.total)
    } else {
        let asked = ChartQuery {
            limit: query.limit,
            offset: query.offset,
            repo: Some(repo.to_owned()),
            name: query.name,
            search: query.keyword,
            ..ChartQuery::default()
        };
        let found = charts::list(&app, &caller, &asked).await?;
        (found.data.iter().map(|chart| row(chart, None)).collect(), found.total)
    };
    Ok(axum::Json(
        json!({ "charts": rows, "data": rows, "total": total, "limit": page.limit(), "offset": page.offset() }),
    ))
}

/// Shows a version of a chart, its texts in base64.
#[utoipa::path(get, path = "/api/charts/{name}", tag = "seed 004", params(("name" = String, Path, description = "The chart's name"), ShowQuery),
    responses((status = 200, body = Value), (status = 404, body = HelmError), (status = 406, description = "No repository is named", body = HelmError),
        (status = 502, description = "The package cannot be fetched, or is another one", body = HelmError), (status = 504, description = "It took too long", body = HelmError)))]
pub async fn get_chart(
    State(app): State<App>,
    caller: Caller,
    Path(name): Path<String>,
    Params(query): Params<ShowQuery>,
) -> Result<axum::Json<Value>> {
    let repo = repo_of(query.repo.as_deref())?;
    let version = query.version.as_deref().filter(|version| !version.is_empty()).unwrap_or("latest");
    let content = charts::content(&app, &caller, repo, &name, version).await?;
    let encoded = |text: Option<&str>| text.map(|text| STANDARD.encode(text));
    let files = [("values.yaml", content.values.as_deref())]
        .map(|(name, text)| json!({ "name": name, "data": encoded(text) }));
    Ok(axum::Json(json!({ "chart": {
        "name": content.name, "repo": content.repo, "readme": encoded(content.readme.as_deref()), "files": files, "options": content.schema,
        "chart": { "name": content.name, "version": content.version, "appVersion": content.app_version, "description": content.description,
            "type": content.kind, "kubeVersion": content.kube_version, "dependencies": content.dependencies, "digest": content.digest },
    }})))
}
