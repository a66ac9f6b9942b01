//! What a chart makes, read by the same rules as a file of an account: every document is understood and written anew, and all
//! that is wrong with any of them is told together, each with the template that it comes from.

use serde_json::Value;
use wire::names::NamespaceName;
use wire::workloads::WorkloadKind;

use super::{Bounds, Kind, Rights, Violation, Violations, parse, place_as, pods, understand};
use crate::clients::kube::RELEASE_LABEL;
use crate::error::{Error, ErrorKind, Result};

/// Of all that a chart makes together.
pub(super) const OF_CHARTS: Bounds = Bounds { bytes: 1 << 20, documents: 200, nodes: 100_000 };
/// Most of what a chart says when it is installed, in bytes.
const NOTES_BYTES: usize = 16 << 10;
/// When Helm makes an object, if not with the release.
const HOOK: &str = "helm.sh/hook";

/// One understood object.
#[derive(Debug)]
pub struct Made {
    /// What it is.
    pub kind: &'static Kind,
    /// What it is called.
    pub name: String,
    /// When Helm makes it, as in `pre-install`; none for what stays as long as the release.
    pub hook: Option<String>,
    /// The template that it comes from.
    pub source: String,
    /// What goes to the cluster.
    pub object: Value,
}

impl Made {
    /// Its kind, for people and programs.
    pub fn workload_kind(&self) -> Result<WorkloadKind> {
        Ok(self.kind.name.parse()?)
    }

    /// Every image that it names.
    pub fn images(&self) -> Vec<super::ImageAt> {
        pods::images(self.kind, &self.object)
    }
}

/// All that a chart makes.
#[derive(Debug, Default)]
pub struct Rendered {
    /// Its objects.
    pub made: Vec<Made>,
    /// What its author says to whoever installs it.
    pub notes: Option<String>,
    /// What was left out, and why.
    pub warnings: Vec<String>,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// One document of what Helm prints, and the template that it comes from.
#[derive(Debug, PartialEq, Eq)]
pub struct Chunk<'a> {
    /// The template, without the chart's name.
    pub source: &'a str,
    /// The document.
    pub text: &'a str,
}

/// Cuts what Helm prints into documents.
pub fn chunks(text: &str) -> Vec<Chunk<'_>> {
    let mut chunks = Vec::new();
    let (mut begin, mut at) = (0, 0);
    for line in text.split_inclusive('\n') {
        if line.trim_end() == "---" {
            chunks.push(&text[begin..at]);
            begin = at + line.len();
        }
        at += line.len();
    }
    chunks.push(&text[begin..]);
    chunks
        .into_iter()
        .filter(|text| !text.trim().is_empty())
        .map(|text| {
            let line = text.trim_start().lines().next().unwrap_or_default();
            let source = line.strip_prefix("# Source: ").unwrap_or_default().trim();
            let source = source.split_once('/').map_or(source, |(_, path)| path);
            Chunk { source, text }
        })
        .collect()
}

/// Who is to get what a chart makes.
#[derive(Clone, Copy, Debug)]
pub struct Room<'a> {
    /// What the caller may make.
    pub rights: &'a Rights,
    /// The one namespace in which everything has to be.
    pub namespace: &'a NamespaceName,
    /// The release.
    pub release: &'a str,
    /// The template that holds what the chart's author says, if it is one of ours.
    pub notes: Option<&'a str>,
}

/// Reads what Helm printed.
pub fn read(text: &str, room: Room<'_>) -> Result<Rendered> {
    if text.len() > OF_CHARTS.bytes {
        let detail = format!("the chart makes more than {} KiB of manifests", OF_CHARTS.bytes >> 10);
        return Err(Error::new(ErrorKind::Invalid, "chart_too_large", detail));
    }
    let chunks = chunks(text);
    let mut rendered = Rendered::default();
    let mut documents = 0;
    for chunk in chunks {
        let source: String = chunk.source.chars().filter(|c| !c.is_control()).take(200).collect();
        let found = match parse(chunk.text.as_bytes(), OF_CHARTS) {
            Ok(found) => found,
            // Templates that make nothing leave their comments.
            Err(error) if error.code == "not_yaml" && is_only_comments(chunk.text) => continue,
            Err(error) => {
                let message = format!("cannot be read: {error}");
                rendered.violations.push(Violation { path: source, message });
                continue;
            }
        };
        if room.notes.is_some_and(|notes| source.ends_with(notes)) {
            let text = found.first().and_then(|document| document["text"].as_str()).unwrap_or_default();
            rendered.notes = notes(text);
            continue;
        }
        documents += found.len();
        for document in &found {
            take(document, &source, room, &mut rendered);
        }
    }
    if documents > OF_CHARTS.documents {
        let detail = format!("the chart makes {documents} objects; {} can be installed", OF_CHARTS.documents);
        return Err(Error::new(ErrorKind::Invalid, "chart_too_large", detail));
    }
    Ok(rendered)
}

fn is_only_comments(text: &str) -> bool {
    text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#'))
}

/// What is shown in a terminal or a page: without what drives it.
fn notes(text: &str) -> Option<String> {
    let text: String = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect();
    let end = text.floor_char_boundary(NOTES_BYTES.min(text.len()));
    let text = text[..end].trim();
    (!text.is_empty()).then(|| text.to_owned())
}

fn take(document: &Value, source: &str, room: Room<'_>, rendered: &mut Rendered) {
    let hook = document["metadata"]["annotations"][HOOK].as_str().map(str::to_owned);
    let events: Vec<&str> = hook.iter().flat_map(|hook| hook.split(',')).map(str::trim).collect();
    let name = document["metadata"]["name"].as_str().unwrap_or_default();
    let kind = document["kind"].as_str().unwrap_or_default();
    if !events.is_empty() && events.iter().all(|event| event.starts_with("test")) {
        let shown: String =
            format!("{kind} `{name}`").chars().filter(|c| !c.is_control()).take(200).collect();
        rendered.warnings.push(format!("{source}: {shown} is a test of the chart, and is left out"));
        return;
    }
    let mut document = document.clone();
    // Our own label on what is installed already: it says nothing new, and nobody else can give it.
    if document["metadata"]["labels"][RELEASE_LABEL] == room.release
        && let Some(labels) = document["metadata"]["labels"].as_object_mut()
    {
        labels.remove(RELEASE_LABEL);
    }
    let mut wrong = Violations::default();
    let understood = understand(&document, room.rights, &mut wrong);
    if let Some(namespace) = understood.as_ref().and_then(|manifest| manifest.namespace.as_ref())
        && namespace != room.namespace
    {
        wrong.add(
            "metadata.namespace",
            format!("leads out of the release's namespace, which is `{}`", room.namespace),
        );
    }
    let is_good = wrong.0.is_empty();
    let place =
        |violation: Violation| Violation { path: format!("{source}: {}", violation.path), ..violation };
    rendered.violations.extend(wrong.0.into_iter().map(place));
    if let (true, Some(manifest)) = (is_good, understood) {
        let mut object = manifest.object;
        place_as(&mut object, room.namespace, RELEASE_LABEL, room.release);
        rendered.made.push(Made {
            kind: manifest.kind,
            name: manifest.name,
            hook: hook.filter(|hook| !hook.trim().is_empty()),
            source: source.to_owned(),
            object,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str =
        "---\n# Source: web/templates/map.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n";

    fn read_as(text: &str, is_admin: bool) -> Rendered {
        let namespace = "alice-test".parse().unwrap();
        let rights = Rights { is_admin, hosts: None };
        let room =
            Room { rights: &rights, namespace: &namespace, release: "r1", notes: Some("notes-1.yaml") };
        read(text, room).unwrap()
    }

    #[test]
    fn what_a_chart_makes_is_placed_and_its_notes_are_kept() {
        let text = format!(
            "{MAP}---\n# Source: web/templates/empty.yaml\n# nothing\n---\n# Source: web/templates/notes-1.yaml\napiVersion: x\ntext: \"a\\e[2J\\nb\"\n"
        );

        let rendered = read_as(&text, false);

        assert!(rendered.violations.is_empty(), "{:?}", rendered.violations);
        assert_eq!(rendered.notes.as_deref(), Some("a[2J\nb"));
        let [map] = rendered.made.as_slice() else { panic!("{:?}", rendered.made) };
        assert_eq!(
            (map.source.as_str(), map.object["metadata"]["namespace"].as_str()),
            ("templates/map.yaml", Some("alice-test"))
        );
        assert_eq!(map.object["metadata"]["labels"][RELEASE_LABEL], "r1");
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_template() {
        let text = format!(
            "{MAP}---\n# Source: web/templates/role.yaml\napiVersion: rbac.authorization.k8s.io/v1\nkind: ClusterRole\nmetadata: {{name: a}}\n\
             ---\n# Source: web/templates/other.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: b, namespace: kube-system}}\n\
             ---\n# Source: web/templates/hook.yaml\napiVersion: batch/v1\nkind: Job\nmetadata: {{name: c, annotations: {{helm.sh/hook: pre-install}}}}\n\
             spec: {{template: {{spec: {{hostPID: true, containers: [{{name: c, image: a}}]}}}}}}\n\
             ---\n# Source: web/templates/broken.yaml\na: [\n"
        );

        let rendered = read_as(&text, false);

        let paths: Vec<&str> = rendered.violations.iter().map(|violation| violation.path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "templates/role.yaml: kind",
                "templates/other.yaml: metadata.namespace",
                "templates/hook.yaml: spec.template.spec.hostPID",
                "templates/broken.yaml"
            ]
        );
    }

    #[test]
    fn tests_are_left_out_and_what_runs_at_other_times_too_is_not() {
        let hook = |events: &str| {
            format!(
                "---\n# Source: web/templates/t.yaml\napiVersion: v1\nkind: Pod\nmetadata: {{name: t, annotations: {{helm.sh/hook: \"{events}\"}}}}\n"
            )
        };

        let test = read_as(&hook("test, test-failure"), false);
        let both = read_as(&hook("test,post-install"), false);

        assert_eq!((test.violations.len(), test.made.len(), test.warnings.len()), (0, 0, 1));
        assert_eq!(both.violations.len(), 1);
    }

    #[test]
    fn only_our_own_label_of_this_release_is_known() {
        let labelled = |value: &str| {
            format!(
                "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: a, labels: {{longshore.io/release: {value}}}}}\n"
            )
        };

        assert!(read_as(&labelled("r1"), false).violations.is_empty());
        assert_eq!(read_as(&labelled("r2"), false).violations.len(), 1);
    }
}
