//! `conf/configure_server.json`, where a CI portal of seed 002 keeps its settings: what of it means something here becomes
//! settings of ours, under the file `longshore.toml`. The seed shows its place and not its content, so that the spellings that such
//! files have are all taken.

use std::path::Path;

use serde_json::{Map, Value};
use url::Url;

use crate::config::{ConfigError, Layer};

/// Where the file is, from the folder in which the server is started.
pub const PLACE: &str = "conf/configure_server.json";

/// Larger files are none of settings.
const MAX_BYTES: u64 = 1 << 20;

/// What the file says.
#[derive(Debug, Default)]
pub struct PortalConfig {
    /// Settings of ours, by their names.
    pub layer: Layer,
    /// What means nothing here, by its path in the file.
    pub unknown: Vec<String>,
}

/// Reads the file; nothing when it is not there.
pub fn read(path: &Path) -> Result<PortalConfig, ConfigError> {
    let wrong = |message: &str| ConfigError::Portal { path: path.to_owned(), message: message.to_owned() };
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    match std::fs::metadata(path) {
        Ok(found) if found.len() > MAX_BYTES => return Err(wrong("it is larger than 1 MiB")),
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(PortalConfig::default()),
        Err(error) => return Err(unreadable(error)),
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let content: Value = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| wrong(&error.to_string()))?;
    let Value::Object(content) = content else { return Err(wrong("it is no JSON object")) };
    understood(&content).map_err(|message| wrong(&message))
}

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    Host,
    Port,
    PublicUrl,
    DatabaseUrl,
    DatabaseEngine,
    DatabaseHost,
    DatabasePort,
    DatabaseUser,
    DatabasePassword,
    DatabaseName,
    Registry,
}

fn understood(content: &Map<String, Value>) -> Result<PortalConfig, String> {
    let mut found: Vec<(Meaning, String)> = Vec::new();
    let mut unknown = Vec::new();
    for (name, value) in content {
        let section = plain(name);
        match value {
            Value::Object(inner) => {
                // Django's own settings have one more level.
                let inner = match (section.as_str(), inner.get("default")) {
                    ("databases", Some(Value::Object(default))) => default,
                    _ => inner,
                };
                for (key, value) in inner {
                    let path = format!("{name}.{key}");
                    take(&mut found, &mut unknown, meaning(&section, &plain(key)), &path, value)?;
                }
            }
            value => take(&mut found, &mut unknown, meaning("", &section), name, value)?,
        }
    }
    let of =
        |wanted: Meaning| found.iter().find(|(meaning, _)| *meaning == wanted).map(|(_, text)| text.as_str());
    let mut layer = Layer::new();
    let mut set = |key: &str, value: String| layer.insert(key.to_owned(), value);
    if of(Meaning::Host).is_some() || of(Meaning::Port).is_some() {
        let host = of(Meaning::Host).unwrap_or("127.0.0.1");
        let host =
            if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
        let listen = format!("{host}:{}", of(Meaning::Port).unwrap_or("8000"));
        listen
            .parse::<std::net::SocketAddr>()
            .map_err(|_| format!("`{listen}` is no address to listen at, such as `192.168.23.182:8000`"))?;
        set("listen", listen);
    }
    if let Some(url) = of(Meaning::PublicUrl) {
        set("public_url", url.to_owned());
    }
    if let Some(address) = of(Meaning::Registry) {
        let host = address.split_once("://").map_or(address, |(_, host)| host);
        set("registry_advertise", host.trim_end_matches('/').to_owned());
    }
    if let Some(url) = of(Meaning::DatabaseUrl) {
        set("database_url", url.to_owned());
    } else if let Some(host) = of(Meaning::DatabaseHost) {
        let name =
            of(Meaning::DatabaseName).ok_or("the database's host is given, and its name is missing")?;
        // The engine is said, or it is in the section's own name.
        let is_postgres = match of(Meaning::DatabaseEngine) {
            Some(engine) => engine.to_lowercase().contains("postgres"),
            None => content.keys().any(|name| plain(name).starts_with("postgres")),
        };
        let (scheme, default_port) = if is_postgres { ("postgres", "5432") } else { ("mysql", "3306") };
        let port = of(Meaning::DatabasePort).unwrap_or(default_port);
        port.parse::<u16>().map_err(|_| format!("`{port}` is no port of a database"))?;
        let host = format!("{scheme}://{host}:{port}/");
        let mut url: Url = host.parse().map_err(|_| format!("`{host}` is no address of a database"))?;
        let login = url
            .set_username(of(Meaning::DatabaseUser).unwrap_or_default())
            .and_then(|()| url.set_password(of(Meaning::DatabasePassword)));
        login.map_err(|()| "the database's user and password make no address".to_owned())?;
        url.set_path(name);
        set("database_url", url.into());
    }
    Ok(PortalConfig { layer, unknown })
}

/// Lower case, without `_` and `-`.
fn plain(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '_' | '-')).flat_map(char::to_lowercase).collect()
}

fn take(
    found: &mut Vec<(Meaning, String)>,
    unknown: &mut Vec<String>,
    meaning: Option<Meaning>,
    path: &str,
    value: &Value,
) -> Result<(), String> {
    let Some(meaning) = meaning else {
        unknown.push(path.to_owned());
        return Ok(());
    };
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        Value::Null => return Ok(()),
        _ => return Err(format!("`{path}` is no text and no number")),
    };
    if !text.is_empty() {
        found.push((meaning, text));
    }
    Ok(())
}

/// What a name stands for, in a section or outside of all.
fn meaning(section: &str, key: &str) -> Option<Meaning> {
    use Meaning as M;

    let is_database =
        |text: &str| matches!(text, "mysql" | "database" | "databases" | "db" | "postgres" | "postgresql");
    // `mysql_host` outside of sections is `host` in the section `mysql`.
    if section.is_empty() {
        for prefix in ["mysql", "database", "db", "postgresql", "postgres", "server", "registry"] {
            if let Some(rest) = key.strip_prefix(prefix).filter(|rest| !rest.is_empty()) {
                return meaning(prefix, rest);
            }
        }
        return match key {
            "host" | "ip" | "listen" => Some(M::Host),
            "port" => Some(M::Port),
            "publicurl" => Some(M::PublicUrl),
            "database" => Some(M::DatabaseUrl),
            "registry" | "registoryadd" => Some(M::Registry),
            _ => None,
        };
    }
    if is_database(section) {
        return match key {
            "url" => Some(M::DatabaseUrl),
            "engine" => Some(M::DatabaseEngine),
            "host" | "ip" => Some(M::DatabaseHost),
            "port" => Some(M::DatabasePort),
            "user" | "username" => Some(M::DatabaseUser),
            "password" | "passwd" | "pass" | "pwd" => Some(M::DatabasePassword),
            "name" | "db" | "database" | "dbname" => Some(M::DatabaseName),
            _ => None,
        };
    }
    match (section, key) {
        ("server" | "http" | "uwsgi", "host" | "ip" | "listen") => Some(M::Host),
        ("server" | "http" | "uwsgi", "port") => Some(M::Port),
        ("server" | "http", "url" | "publicurl") => Some(M::PublicUrl),
        ("registry", "address" | "add" | "host" | "url" | "registoryadd") => Some(M::Registry),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layer_of(text: &str) -> Vec<(String, String)> {
        let Value::Object(content) = serde_json::from_str(text).unwrap() else { panic!("an object") };
        understood(&content).unwrap().layer.into_iter().collect()
    }

    fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
        expected.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn the_spellings_of_such_files_mean_the_same() {
        let expected = pairs(&[
            ("database_url", "mysql://root:p%40ss%2Fword@192.168.1.99:3307/portal_for_zyy"),
            ("listen", "192.168.23.182:8000"),
        ]);
        for text in [
            r#"{"ip": "192.168.23.182", "port": 8000, "mysql": {"host": "192.168.1.99", "port": 3307, "user": "root", "password": "p@ss/word", "db": "portal_for_zyy"}}"#,
            r#"{"server": {"HOST": "192.168.23.182", "PORT": "8000"}, "MYSQL_HOST": "192.168.1.99", "MYSQL_PORT": "3307", "MYSQL_USER": "root", "MYSQL_PASSWORD": "p@ss/word", "MYSQL_DB": "portal_for_zyy"}"#,
            r#"{"host": "192.168.23.182", "port": 8000, "DATABASES": {"default": {"ENGINE": "django.db.backends.mysql", "NAME": "portal_for_zyy", "USER": "root", "PASSWORD": "p@ss/word", "HOST": "192.168.1.99", "PORT": 3307}}}"#,
        ] {
            assert_eq!(layer_of(text), expected, "{text}");
        }
        assert_eq!(
            layer_of(
                r#"{"db": {"engine": "postgresql", "host": "h", "name": "ci"}, "registry": {"address": "http://10.0.0.1:5000/"}}"#
            ),
            pairs(&[("database_url", "postgres://h:5432/ci"), ("registry_advertise", "10.0.0.1:5000")])
        );
        assert_eq!(
            layer_of(r#"{"postgres": {"host": "h", "name": "ci"}}"#),
            pairs(&[("database_url", "postgres://h:5432/ci")])
        );
    }

    #[test]
    fn what_means_nothing_is_named_and_what_is_wrong_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("configure_server.json");
        assert!(read(&path).unwrap().layer.is_empty(), "a file that is not there says nothing");
        std::fs::write(&path, r#"{"debug": true, "mysql": {"charset": "utf8"}, "port": null}"#).unwrap();
        let read_now = read(&path).unwrap();
        assert!(read_now.layer.is_empty());
        assert_eq!(read_now.unknown, ["debug", "mysql.charset"]);
        for (text, said) in [
            ("{", "EOF"),
            ("[]", "no JSON object"),
            (r#"{"port": 99999}"#, "no address to listen at"),
            (r#"{"port": [1]}"#, "`port` is no text"),
            (r#"{"db": {"host": "h"}}"#, "name is missing"),
            (r#"{"db": {"host": "h", "name": "n", "port": "x"}}"#, "no port"),
        ] {
            std::fs::write(&path, text).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
