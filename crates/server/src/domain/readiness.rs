//! Whether the server can work: each part it needs, by name.

use std::time::Duration;

use serde::Serialize;
use utoipa::ToSchema;

use crate::app::App;

/// How long one part may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// Whether everything can be used.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Readiness {
    /// Whether all parts can be used.
    pub ready: bool,
    /// The parts.
    pub parts: Vec<Part>,
}

/// One part.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Part {
    /// `database`, `registry`, `engine`.
    pub name: &'static str,
    /// Whether it can be used.
    pub ready: bool,
    /// What is wrong, in plain words.
    pub message: Option<String>,
}

/// Asks every part.
pub async fn check(app: &App) -> Readiness {
    let database = async {
        match tokio::time::timeout(PATIENCE, app.db.ping()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err("the database does not answer".to_owned()),
        }
    };
    let registry = async {
        match tokio::time::timeout(PATIENCE, app.registry.ping(app)).await {
            Ok(result) => result,
            Err(_) => Err("the registry does not answer".to_owned()),
        }
    };
    let engine = async {
        let answer = tokio::time::timeout(PATIENCE, super::machines::local_engine(app)).await;
        answer.unwrap_or_else(|_| Err("the database does not answer".to_owned()))
    };
    let (database, registry, engine) = tokio::join!(database, registry, engine);
    let mut parts = vec![part("database", database), part("registry", registry)];
    if app.config.machine.enabled {
        parts.push(part("engine", engine));
    }
    Readiness { ready: parts.iter().all(|part| part.ready), parts }
}

fn part(name: &'static str, result: Result<(), String>) -> Part {
    Part { name, ready: result.is_ok(), message: result.err() }
}
