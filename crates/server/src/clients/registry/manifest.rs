//! Reads manifests (Docker v2 schema 2, OCI images and indexes, charts) and image configurations. What cannot be read in one
//! way only is refused.

use std::collections::BTreeMap;

use serde::Deserialize;
use wire::images::CreateParameters;
use wire::names::Digest;

/// Longest manifest in bytes, as Distribution has it.
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;
/// Longest configuration in bytes.
pub const MAX_CONFIG_BYTES: usize = 4 << 20;
/// Layers in an image; engines stop at 127.
const MAX_LAYERS: usize = 256;
/// Images in an index.
const MAX_CHILDREN: usize = 64;
/// Longest create parameters in bytes.
const MAX_PARAMETER_BYTES: usize = 256 << 10;
/// Largest blob that is believed, in bytes: 4 TiB.
const MAX_BLOB_BYTES: u64 = 4 << 40;

/// What may be asked for as a manifest.
pub const MANIFEST_TYPES: &str = "application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.oci.image.manifest.v1+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, \
    application/vnd.oci.image.index.v1+json";

/// Configurations that describe a container; others belong to charts, signatures and the like.
const CONFIG_TYPES: &[&str] =
    &["application/vnd.docker.container.image.v1+json", "application/vnd.oci.image.config.v1+json"];

/// The content type of a chart's configuration, which is its `Chart.yaml` as JSON.
const CHART_CONFIG_TYPE: &str = "application/vnd.cncf.helm.config.v1+json";
/// The content type of a chart's package.
const CHART_PACKAGE_TYPE: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// The content type of a package's signature.
const CHART_PROVENANCE_TYPE: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";
/// Largest signature in bytes.
pub const MAX_PROVENANCE_BYTES: u64 = 1 << 20;

/// Something that a manifest names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// Its content type.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// An image in an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Child {
    /// The image's manifest.
    pub manifest: Descriptor,
    /// Operating system, `unknown` for attestations.
    pub os: String,
    /// Processor, as Go names it.
    pub architecture: String,
}

/// A manifest, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// One image.
    Image {
        /// Its configuration.
        config: Descriptor,
        /// Its layers, base first.
        layers: Vec<Descriptor>,
    },
    /// Images for several platforms.
    Index(Vec<Child>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawManifest {
    schema_version: u32,
    config: Option<RawDescriptor>,
    layers: Option<Vec<RawDescriptor>>,
    manifests: Option<Vec<RawDescriptor>>,
    fs_layers: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default)]
    media_type: String,
    digest: Digest,
    size: u64,
    platform: Option<RawPlatform>,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
}

/// Why something in the registry cannot be used, in plain words.
pub type Reason = String;

impl Manifest {
    /// Reads a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, Reason> {
        let raw: RawManifest =
            serde_json::from_slice(bytes).map_err(|error| format!("the manifest cannot be read: {error}"))?;
        if raw.schema_version != 2 || raw.fs_layers.is_some() {
            return Err("the manifest is of the old format (schema 1); push with a current client".to_owned());
        }
        match (raw.config, raw.layers, raw.manifests) {
            (Some(config), Some(layers), None) => {
                if layers.len() > MAX_LAYERS {
                    return Err(format!(
                        "the image has {} layers; at most {MAX_LAYERS} are taken",
                        layers.len()
                    ));
                }
                let layers = layers.into_iter().map(Descriptor::checked).collect::<Result<_, _>>()?;
                Ok(Self::Image { config: Descriptor::checked(config)?, layers })
            }
            (None, None, Some(children)) => {
                if children.is_empty() || children.len() > MAX_CHILDREN {
                    return Err(format!(
                        "the index names {} images; 1 to {MAX_CHILDREN} are taken",
                        children.len()
                    ));
                }
                children.into_iter().map(Child::checked).collect::<Result<_, _>>().map(Self::Index)
            }
            // Two readings of one document: what one program checks, another would not run (CVE-2021-41190).
            _ => Err("the manifest is neither an image nor an index".to_owned()),
        }
    }
}

impl Descriptor {
    fn checked(raw: RawDescriptor) -> Result<Self, Reason> {
        if raw.size > MAX_BLOB_BYTES {
            return Err(format!("`{}` is said to have {} bytes", raw.digest, raw.size));
        }
        Ok(Self { media_type: raw.media_type, digest: raw.digest, size_bytes: raw.size })
    }

    /// Whether this is the configuration of a container image.
    pub fn is_container_config(&self) -> bool {
        CONFIG_TYPES.contains(&self.media_type.as_str())
    }
}

/// What the manifest of a chart names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChartManifest {
    /// Its `Chart.yaml` as JSON.
    pub config: Descriptor,
    /// Its package.
    pub package: Descriptor,
    /// The package's signature.
    pub provenance: Option<Descriptor>,
}

impl ChartManifest {
    /// The chart in a manifest; none when it is an image or something else.
    pub fn of(manifest: &Manifest) -> Result<Option<Self>, String> {
        let Manifest::Image { config, layers } = manifest else { return Ok(None) };
        if config.media_type != CHART_CONFIG_TYPE {
            return Ok(None);
        }
        let (mut package, mut provenance) = (None, None);
        for layer in layers {
            let place = match layer.media_type.as_str() {
                CHART_PACKAGE_TYPE => &mut package,
                CHART_PROVENANCE_TYPE => &mut provenance,
                _ => return Err("the chart's manifest names something that is no part of a chart".to_owned()),
            };
            if place.replace(layer.clone()).is_some() {
                return Err("the chart's manifest names two packages or two signatures".to_owned());
            }
        }
        if provenance.as_ref().is_some_and(|layer| layer.size_bytes > MAX_PROVENANCE_BYTES) {
            return Err("the chart's signature is larger than 1 MiB".to_owned());
        }
        let package = package.ok_or("the chart's manifest names no package")?;
        Ok(Some(Self { config: config.clone(), package, provenance }))
    }
}

/// The tag under which a version of a chart is: tags have no `+`.
pub fn tag_of(version: &str) -> String {
    version.replace('+', "_")
}

/// The version that a tag stands for.
pub fn version_of(tag: &str) -> String {
    tag.replace('_', "+")
}

impl Child {
    fn checked(mut raw: RawDescriptor) -> Result<Self, Reason> {
        let platform =
            raw.platform.take().unwrap_or(RawPlatform { os: String::new(), architecture: String::new() });
        let manifest = Descriptor::checked(raw)?;
        Ok(Self { manifest, os: platform.os, architecture: platform.architecture })
    }
}

/// The image of an index that this kind of machine would run: ours, else any for Linux, else the first.
pub fn preferred(children: &[Child]) -> usize {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let ours = children.iter().position(|child| child.os == "linux" && child.architecture == architecture);
    ours.or_else(|| children.iter().position(|child| child.os == "linux")).unwrap_or(0)
}

#[derive(Deserialize)]
struct RawImage {
    config: Option<RawConfig>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct RawConfig {
    exposed_ports: Option<BTreeMap<String, serde_json::Value>>,
    env: Option<Vec<String>>,
    entrypoint: Option<Words>,
    cmd: Option<Words>,
    working_dir: Option<String>,
    user: Option<String>,
    volumes: Option<BTreeMap<String, serde_json::Value>>,
    labels: Option<BTreeMap<String, String>>,
}

/// Some tools write one word without its list.
#[derive(Deserialize)]
#[serde(untagged)]
enum Words {
    Many(Vec<String>),
    One(String),
}

impl Words {
    fn into_vec(self) -> Vec<String> {
        match self {
            Self::Many(words) => words,
            Self::One(word) => vec![word],
        }
    }
}

/// Reads how containers of an image are made by default.
pub fn create_parameters(config: &[u8]) -> Result<CreateParameters, Reason> {
    let raw: RawImage = serde_json::from_slice(config)
        .map_err(|error| format!("the image's configuration cannot be read: {error}"))?;
    let raw = raw.config.unwrap_or_default();
    let keys =
        |map: Option<BTreeMap<String, serde_json::Value>>| map.unwrap_or_default().into_keys().collect();
    let text = |text: Option<String>| text.filter(|text| !text.is_empty());
    let env = raw.env.unwrap_or_default().into_iter().map(|line| match line.split_once('=') {
        Some((name, value)) => (name.to_owned(), value.to_owned()),
        None => (line, String::new()),
    });
    let parameters = CreateParameters {
        exposed_ports: keys(raw.exposed_ports),
        env: env.collect(),
        entrypoint: raw.entrypoint.map(Words::into_vec).unwrap_or_default(),
        command: raw.cmd.map(Words::into_vec).unwrap_or_default(),
        working_dir: text(raw.working_dir),
        user: text(raw.user),
        volumes: keys(raw.volumes),
        labels: raw.labels.unwrap_or_default(),
    };
    let bytes = serde_json::to_vec(&parameters).map_or(usize::MAX, |text| text.len());
    if bytes > MAX_PARAMETER_BYTES {
        let most = MAX_PARAMETER_BYTES >> 10;
        return Err(format!("the image's environment, labels and commands are longer than {most} KiB"));
    }
    Ok(parameters)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn descriptor(letter: char) -> serde_json::Value {
        json!({"mediaType": "m", "size": 7, "digest": format!("sha256:{}", String::from(letter).repeat(64))})
    }

    fn parse(value: &serde_json::Value) -> Result<Manifest, Reason> {
        Manifest::parse(value.to_string().as_bytes())
    }

    #[test]
    fn images_and_indexes_are_told_apart() {
        let image = json!({"schemaVersion": 2, "config": descriptor('a'), "layers": [descriptor('b'), descriptor('c')]});
        let index = json!({"schemaVersion": 2, "manifests": [descriptor('a')]});

        assert!(matches!(parse(&image), Ok(Manifest::Image { layers, .. }) if layers.len() == 2));
        assert!(matches!(parse(&index), Ok(Manifest::Index(children)) if children.len() == 1));
    }

    #[test]
    fn manifests_that_can_be_read_in_two_ways_are_refused() {
        let both = json!({"schemaVersion": 2, "config": descriptor('a'), "layers": [], "manifests": [descriptor('b')]});
        let old = json!({"schemaVersion": 1, "fsLayers": []});
        let neither = json!({"schemaVersion": 2});
        let twice = r#"{"schemaVersion": 2, "layers": [], "layers": []}"#;

        for manifest in [both, old, neither, json!([]), json!(null)] {
            assert!(parse(&manifest).is_err(), "{manifest}");
        }
        assert!(Manifest::parse(twice.as_bytes()).is_err());
    }

    #[test]
    fn manifests_are_bounded() {
        let layers: Vec<_> = (0..=MAX_LAYERS).map(|_| descriptor('b')).collect();
        let huge = json!({"digest": format!("sha256:{}", "a".repeat(64)), "size": u64::MAX});
        let negative = json!({"digest": format!("sha256:{}", "a".repeat(64)), "size": -1});
        let other = json!({"digest": format!("sha512:{}", "a".repeat(128)), "size": 1});

        for manifest in [
            json!({"schemaVersion": 2, "config": descriptor('a'), "layers": layers}),
            json!({"schemaVersion": 2, "config": descriptor('a'), "layers": [huge]}),
            json!({"schemaVersion": 2, "config": negative, "layers": []}),
            json!({"schemaVersion": 2, "config": other, "layers": []}),
            json!({"schemaVersion": 2, "manifests": []}),
        ] {
            assert!(parse(&manifest).is_err());
        }
    }

    fn layer(media_type: &str, size_bytes: u64) -> Descriptor {
        let digest = format!("sha256:{}", "a".repeat(64)).parse().unwrap();
        Descriptor { media_type: media_type.to_owned(), digest, size_bytes }
    }

    fn chart(config: &str, layers: &[(&str, u64)]) -> Result<Option<ChartManifest>, String> {
        let layers = layers.iter().map(|(kind, size)| layer(kind, *size)).collect();
        ChartManifest::of(&Manifest::Image { config: layer(config, 1), layers })
    }

    #[test]
    fn a_chart_has_one_package_and_perhaps_a_signature() {
        let signed = chart(CHART_CONFIG_TYPE, &[(CHART_PROVENANCE_TYPE, 9), (CHART_PACKAGE_TYPE, 7)])
            .unwrap()
            .unwrap();
        assert_eq!((signed.package.size_bytes, signed.provenance.unwrap().size_bytes), (7, 9));
        assert!(chart(CHART_CONFIG_TYPE, &[(CHART_PACKAGE_TYPE, 7)]).unwrap().unwrap().provenance.is_none());
        assert_eq!(chart("application/vnd.oci.image.config.v1+json", &[("x", 1)]), Ok(None));
        assert_eq!(ChartManifest::of(&Manifest::Index(Vec::new())), Ok(None));
        for bad in [
            &[][..],
            &[(CHART_PROVENANCE_TYPE, 9)],
            &[(CHART_PACKAGE_TYPE, 7), (CHART_PACKAGE_TYPE, 7)],
            &[(CHART_PACKAGE_TYPE, 7), ("application/vnd.oci.image.layer.v1.tar+gzip", 7)],
            &[(CHART_PACKAGE_TYPE, 7), (CHART_PROVENANCE_TYPE, MAX_PROVENANCE_BYTES + 1)],
        ] {
            assert!(chart(CHART_CONFIG_TYPE, bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_and_versions_stand_for_each_other() {
        assert_eq!(tag_of("1.0.0-rc.1+build.5"), "1.0.0-rc.1_build.5");
        assert_eq!(version_of("1.0.0-rc.1_build.5"), "1.0.0-rc.1+build.5");
    }

    #[test]
    fn the_image_for_our_kind_of_machine_is_preferred() {
        let child = |os: &str, architecture: &str| Child {
            manifest: Descriptor {
                media_type: String::new(),
                digest: format!("sha256:{}", "a".repeat(64)).parse().unwrap(),
                size_bytes: 1,
            },
            os: os.to_owned(),
            architecture: architecture.to_owned(),
        };
        let (own, other) = match std::env::consts::ARCH {
            "aarch64" => ("arm64", "amd64"),
            _ => ("amd64", "arm64"),
        };

        assert_eq!(preferred(&[child("windows", own), child("linux", other), child("linux", own)]), 2);
        assert_eq!(preferred(&[child("unknown", "unknown"), child("linux", "riscv64")]), 1);
        assert_eq!(preferred(&[child("plan9", "mips")]), 0);
    }

    #[test]
    fn create_parameters_are_read_from_the_configuration() {
        let config = json!({"architecture": "amd64", "config": {
            "ExposedPorts": {"8000/tcp": {}}, "Env": ["PATH=/bin", "A=b=c", "EMPTY"], "Entrypoint": ["/hello"],
            "Cmd": "serve", "WorkingDir": "/srv", "User": "", "Volumes": null, "Labels": {"a": "b"},
        }});

        let parameters = create_parameters(config.to_string().as_bytes()).unwrap();

        assert_eq!(parameters.exposed_ports, ["8000/tcp"]);
        assert_eq!(parameters.env["A"], "b=c");
        assert_eq!(parameters.env["EMPTY"], "");
        assert_eq!(parameters.entrypoint, ["/hello"]);
        assert_eq!(parameters.command, ["serve"]);
        assert_eq!(parameters.working_dir.as_deref(), Some("/srv"));
        assert_eq!(parameters.user, None);
        assert_eq!(parameters.labels["a"], "b");
        assert_eq!(create_parameters(b"{}").unwrap(), CreateParameters::default());
        assert!(create_parameters(b"[").is_err());
    }

    #[test]
    fn create_parameters_are_bounded() {
        let config = json!({"config": {"Labels": {"a": "x".repeat(MAX_PARAMETER_BYTES)}}});

        assert!(create_parameters(config.to_string().as_bytes()).is_err());
    }
}
