//! Settings of the installation, as an admin sees and changes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Where a setting's value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingSource {
    /// Nobody set it.
    Default,
    /// `longshore.toml`.
    File,
    /// A variable of the server's environment.
    Environment,
    /// An option of the server's command line.
    CommandLine,
    /// An admin, while the server runs.
    Admin,
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SettingView {
    /// Its name, as in `longshore.toml`.
    pub name: String,
    /// What holds now, as text; none when nothing is set, or when it is a secret.
    pub value: Option<String>,
    /// Where that comes from.
    pub source: SettingSource,
    /// Whether it is a secret, which is never shown.
    pub is_secret: bool,
    /// What an admin can choose while the server runs; with nothing in it the setting is read when the server starts.
    pub choices: Vec<String>,
    /// What it does.
    pub help: String,
}

/// Chooses another value while the server runs.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SettingSet {
    /// One of the setting's `choices`.
    pub value: String,
}
