//! What was rendered and checked, as a chart of its own: Helm renders it to just the same, and keeps with it what people ask
//! Helm for, such as the chart's name and version, the values and the notes.

use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::blobs::write_private;

/// A template that only repeats.
const OBJECTS: &str = "{{- range $path, $_ := .Files.Glob \"objects/*.json\" }}\n---\n{{ $.Files.Get $path | fromJson | toYaml }}\n{{- end }}\n";
const NOTES: &str = "{{ .Files.Get \"notes.txt\" }}\n";

/// The name of the folder in which it lies.
pub(crate) const FOLDER: &str = "./frozen";
/// The name of the file with the values that differ from the chart's.
pub(crate) const VALUES: &str = "values.json";

/// A chart that makes what was checked and nothing else.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FrozenChart {
    /// What the chart says of itself.
    pub(crate) metadata: Value,
    /// The chart's own values, as text.
    pub(crate) defaults: String,
    /// The values that differ from them.
    pub(crate) values: Value,
    /// Everything that it makes, hooks too.
    pub(crate) objects: Vec<Value>,
    /// What its author says to whoever installs it.
    pub(crate) notes: Option<String>,
}

impl FrozenChart {
    /// Writes it, and the values, into a folder.
    pub(crate) fn write(&self, into: &Path) -> std::io::Result<()> {
        let folder = into.join(FOLDER);
        for name in ["objects", "templates"] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder.join(name))?;
        }
        // YAML is a superset of JSON.
        write_private(&folder.join("Chart.yaml"), self.metadata.to_string().as_bytes())?;
        write_private(&folder.join("values.yaml"), self.defaults.as_bytes())?;
        write_private(&folder.join("templates/objects.yaml"), OBJECTS.as_bytes())?;
        for (number, object) in self.objects.iter().enumerate() {
            write_private(&folder.join(format!("objects/{number:04}.json")), object.to_string().as_bytes())?;
        }
        if let Some(notes) = &self.notes {
            write_private(&folder.join("notes.txt"), notes.as_bytes())?;
            write_private(&folder.join("templates/NOTES.txt"), NOTES.as_bytes())?;
        }
        match write_private(&into.join(VALUES), self.values.to_string().as_bytes()) {
            // What was rendered with is there already.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
            written => written,
        }
    }
}
