//! The files of workloads on disk, `<manifests_dir>/<account>/<file>`: what people find when they look. What is applied again
//! comes from the database.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::PathBuf;

use wire::names::AccountName;

use crate::app::App;
use crate::blobs::blocking;
use crate::error::{Error, Result};

/// Longest name of a file.
const NAME_BYTES_MAX: usize = 100;

/// The name under which a file is kept: the last part of the one that was given, if it is plain.
pub(super) fn checked_name(given: &str) -> Result<String> {
    let name = given.rsplit(['/', '\\']).next().unwrap_or_default();
    // Letters of every script, and what browsers make of a second download: `nginx (1).yaml`.
    let is_plain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '-' | '+' | ' ' | '(' | ')');
    let has_ending =
        [".yaml", ".yml", ".json"].iter().any(|ending| name.to_ascii_lowercase().ends_with(ending));
    let is_valid = name.len() <= NAME_BYTES_MAX
        && name.chars().all(is_plain)
        && !name.starts_with(['.', ' '])
        && has_ending;
    if !is_valid {
        let shown: String = given.chars().take(100).flat_map(char::escape_debug).collect();
        let detail = format!(
            "`{shown}` is no name for a file: use at most {NAME_BYTES_MAX} bytes of letters, digits, blanks, `.`, `_`, `-`, `+`, `(` and `)`, ending with `.yaml`, `.yml` or `.json`"
        );
        return Err(Error::invalid("file", detail));
    }
    Ok(name.to_owned())
}

/// Writes a file whole or not at all. An account's name holds nothing that could lead elsewhere.
pub(super) async fn write(app: &App, account: &AccountName, name: &str, content: String) -> Result<()> {
    let root = app.config.manifests_dir.clone();
    let folder: PathBuf =
        root.unwrap_or_else(|| app.config.data_dir.join("manifests")).join(account.as_str());
    let (target, aside) = (folder.join(name), folder.join(format!(".{}", uuid::Uuid::now_v7().simple())));
    blocking(move || {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&aside)?;
        let written = file.write_all(content.as_bytes()).and_then(|()| file.sync_all());
        match written.and_then(|()| std::fs::rename(&aside, &target)) {
            Ok(()) => Ok(()),
            Err(error) => {
                std::fs::remove_file(&aside)?;
                Err(error)
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_kept_under_plain_names_alone() {
        assert_eq!(checked_name("nginx.yaml").unwrap(), "nginx.yaml");
        assert_eq!(checked_name("/home/me/nginx-1_a.yml").unwrap(), "nginx-1_a.yml");
        assert_eq!(checked_name("C:\\files\\a.json").unwrap(), "a.json");
        assert_eq!(checked_name("部署 (1).yaml").unwrap(), "部署 (1).yaml");
        let long = format!("{}.yaml", "a".repeat(100));
        for name in [
            "",
            "..",
            "../..",
            "a",
            ".yaml",
            ".a.yaml",
            "a/.yaml",
            "a\0.yaml",
            "a\n.yaml",
            "a\u{202e}.yaml",
            " a.yaml",
            &long,
        ] {
            assert!(checked_name(name).is_err(), "{name:?}");
        }
    }
}
