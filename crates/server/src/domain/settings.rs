//! Settings: how the installation is set, for admins, and the few that hold at once when an admin chooses otherwise. Such a
//! choice is a row and wins over file, environment and command line until it is taken back.

use store::settings;
use wire::accounts::RegistrationMode;
use wire::settings::{SettingSet, SettingSource, SettingView};

use super::accounts::require_admin;
use super::audit::{self, Event};
use crate::app::App;
use crate::caller::Caller;
use crate::config::{Kind, Shown, Source, environment_name};
use crate::error::{Error, Result};

const REGISTRATION: &str = "auth.registration";

/// Settings that can be chosen while the server runs, with what they can be.
const CHOICES: &[(&str, &[&str])] = &[(REGISTRATION, &["open", "approval", "closed"])];

/// Who may register now.
pub async fn registration(app: &App) -> Result<RegistrationMode> {
    let chosen = settings::get(&app.db, REGISTRATION).await?;
    let chosen = chosen.and_then(|text| serde_json::from_value(text.into()).ok());
    Ok(chosen.unwrap_or(app.config.auth.registration))
}

/// All settings.
pub async fn list(app: &App, caller: &Caller) -> Result<Vec<SettingView>> {
    require_admin(caller)?;
    let mut views = Vec::with_capacity(app.config.shown.len());
    for shown in &app.config.shown {
        views.push(view(app, shown).await?);
    }
    Ok(views)
}

/// Chooses a value while the server runs.
pub async fn set(app: &App, caller: &Caller, name: &str, wanted: &SettingSet) -> Result<SettingView> {
    let (shown, choices) = changeable(app, caller, name)?;
    let value = wanted.value.trim();
    if !choices.contains(&value) {
        let detail = format!("`{name}` is one of: {}", choices.join(", "));
        return Err(Error::invalid("value", detail));
    }
    let tx = app.db.begin().await?;
    settings::set(&tx, name, value).await?;
    let target = format!("{name} = {value}");
    audit::record(app, caller, &tx, Event { action: "setting.set", target: &target, acting_for: None })
        .await?;
    tx.commit().await?;
    view(app, shown).await
}

/// Takes a choice back: what the server was started with holds again.
pub async fn reset(app: &App, caller: &Caller, name: &str) -> Result<SettingView> {
    let (shown, _) = changeable(app, caller, name)?;
    let tx = app.db.begin().await?;
    if settings::delete(&tx, name).await? {
        audit::record(app, caller, &tx, Event { action: "setting.reset", target: name, acting_for: None })
            .await?;
    }
    tx.commit().await?;
    view(app, shown).await
}

fn changeable<'a>(app: &'a App, caller: &Caller, name: &str) -> Result<(&'a Shown, &'static [&'static str])> {
    require_admin(caller)?;
    let found = app.config.shown.iter().find(|shown| shown.setting.key == name);
    let shown = found.ok_or_else(|| Error::not_found("setting", name))?;
    let choices = choices_of(name);
    if choices.is_empty() {
        let detail = format!("`{name}` is read when the server starts");
        return Err(Error::conflict("setting_fixed", detail).hint(format!(
            "write it into `longshore.toml` or set {}, and restart the server",
            environment_name(name)
        )));
    }
    Ok((shown, choices))
}

fn choices_of(name: &str) -> &'static [&'static str] {
    CHOICES.iter().find(|(key, _)| *key == name).map_or(&[], |(_, choices)| choices)
}

async fn view(app: &App, shown: &Shown) -> Result<SettingView> {
    let key = shown.setting.key;
    let choices = choices_of(key);
    let chosen = if choices.is_empty() { None } else { settings::get(&app.db, key).await? };
    let (value, source) = match chosen {
        Some(text) => (Some(text), SettingSource::Admin),
        None => (shown.value.clone(), source_of(shown.source)),
    };
    Ok(SettingView {
        name: key.to_owned(),
        value,
        source,
        is_secret: shown.setting.kind == Kind::Secret,
        choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
        help: shown.setting.help.to_owned(),
    })
}

fn source_of(source: Source) -> SettingSource {
    match source {
        Source::Default => SettingSource::Default,
        Source::File => SettingSource::File,
        Source::Environment => SettingSource::Environment,
        Source::CommandLine => SettingSource::CommandLine,
    }
}
