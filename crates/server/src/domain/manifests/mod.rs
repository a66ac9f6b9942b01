//! Manifests: files by which accounts say what shall run in their namespaces. A file is read as YAML within narrow bounds,
//! understood field by field, and written anew; the cluster never sees what the account wrote.
//!
//! - `shape`: how a document is read along a description; `kinds`: the descriptions
//! - `rendered`: the same for what a chart makes
//! - `ingresses`: under which hosts an account's services may be reached
//! - `pods`: what a pod gets beside what was asked for, and which images it names

mod ingresses;
pub mod kinds;
mod pods;
pub mod rendered;
mod shape;

use serde_json::{Map, Value};
use wire::names::{AccountName, NamespaceName};

pub use ingresses::Hosts;
pub use kinds::{Kind, kind};
pub use pods::{ImageAt, images, set_image};
pub use shape::Violation;
use shape::Violations;

use crate::app::App;
use crate::error::{Error, ErrorKind, Result};

/// Largest file of an account in bytes.
pub const FILE_BYTES_MAX: usize = 256 << 10;

/// Bounds of what is read.
#[derive(Clone, Copy)]
struct Bounds {
    /// Largest file in bytes.
    bytes: usize,
    /// Documents in one file.
    documents: usize,
    /// Values in one file, aliases counted by what they stand for.
    nodes: usize,
}

/// Of a file that an account writes.
const OF_FILES: Bounds = Bounds { bytes: FILE_BYTES_MAX, documents: 20, nodes: 20_000 };
/// Violations that are listed.
const VIOLATIONS_TOLD: usize = 200;
/// Levels of one document.
const DEPTH_MAX: usize = 48;

/// One understood document.
#[derive(Debug)]
pub struct Manifest {
    /// What it is.
    pub kind: &'static Kind,
    /// What it is called.
    pub name: String,
    /// The namespace that it names, if it names one.
    pub namespace: Option<NamespaceName>,
    /// What goes to the cluster, once images and namespace are put in.
    pub object: Value,
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// What may be made.
#[derive(Clone, Debug)]
pub struct Rights {
    /// Whether kinds for admins may be.
    pub is_admin: bool,
    /// Under which hosts; none where no domain is set.
    pub hosts: Option<Hosts>,
}

impl Rights {
    /// Of whoever writes, for an account.
    pub fn of(app: &App, is_admin: bool, account: &AccountName) -> Self {
        let config = &app.config.kubernetes;
        let domain = config.ingress_domain.as_ref().map(|domain| format!("{account}.{domain}"));
        let hosts = domain.map(|domain| Hosts { domain, class: config.ingress_class.clone() });
        Self { is_admin, hosts }
    }
}

/// Reads a file of one or several documents. Everything that is wrong with any of them is told together.
pub fn read(text: &[u8], rights: &Rights) -> Result<Vec<Manifest>> {
    let documents = parse(text, OF_FILES)?;
    let mut wrong = Violations::default();
    let mut manifests = Vec::new();
    let is_several = documents.len() > 1;
    for (number, document) in documents.iter().enumerate() {
        let before = wrong.0.len();
        if let Some(manifest) = understand(document, rights, &mut wrong) {
            manifests.push(manifest);
        }
        if is_several {
            for violation in wrong.0.iter_mut().skip(before) {
                violation.path = format!("document {}: {}", number + 1, violation.path);
            }
        }
    }
    refuse(wrong.0)?;
    Ok(manifests)
}

/// The text of each document of a file, as whoever wrote it wrote it; nothing where the file cannot be cut at lines of `---`.
pub fn texts(text: &str, manifests: &[Manifest], rights: &Rights) -> Option<Vec<String>> {
    let mut texts = vec![String::new()];
    for line in text.split_inclusive('\n') {
        match texts.last_mut() {
            Some(text) if line.trim_end() != "---" => text.push_str(line),
            _ => texts.push(String::new()),
        }
    }
    texts.retain(|text| {
        text.lines().any(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'))
    });
    let is_same = |text: &String, manifest: &Manifest| matches!(read(text.as_bytes(), rights).as_deref(), Ok([alone]) if alone.object == manifest.object);
    let are_same =
        texts.len() == manifests.len() && texts.iter().zip(manifests).all(|(text, it)| is_same(text, it));
    are_same.then_some(texts)
}

/// Reads a file that holds exactly one document of one kind.
pub fn read_one(text: &[u8], wanted: &str, rights: &Rights) -> Result<Manifest> {
    let documents = parse(text, OF_FILES)?;
    if let [document] = documents.as_slice()
        && document["kind"] == wanted
    {
        let mut wrong = Violations::default();
        let manifest = understand(document, rights, &mut wrong);
        refuse(wrong.0)?;
        return manifest.ok_or_else(|| Error::internal("a manifest without violations was not understood"));
    }
    let kinds: Vec<String> = documents.iter().map(|document| shown(&document["kind"])).collect();
    Err(Error::invalid(
        "file",
        format!("the file must hold one {wanted} and nothing else; it holds: {}", kinds.join(", ")),
    ))
}

/// Violations as an error that lists all of them.
pub fn refuse(violations: Vec<Violation>) -> Result<()> {
    refuse_as("the manifest cannot be taken", violations)
}

/// The same, in the words for what it is.
pub fn refuse_as(what: &str, violations: Vec<Violation>) -> Result<()> {
    if violations.is_empty() {
        return Ok(());
    }
    let count = violations.len();
    let first = &violations[0];
    let rest = if count == 1 { String::new() } else { format!(" (and {} more)", count - 1) };
    let detail = format!("{what}: `{}` {}{rest}", first.path, first.message);
    let listed: Vec<Value> = violations
        .into_iter()
        .take(VIOLATIONS_TOLD)
        .map(|violation| serde_json::json!({"path": violation.path, "message": violation.message}))
        .collect();
    Err(Error::new(ErrorKind::Invalid, "manifest_refused", detail).with("violations", listed))
}

/// A text that holds one document, within the bounds of what charts make.
pub fn document(text: &str) -> Result<Value> {
    let mut documents = parse(text.as_bytes(), rendered::OF_CHARTS)?;
    match (documents.pop(), documents.is_empty()) {
        (Some(document), true) => Ok(document),
        _ => Err(Error { code: "not_yaml", ..Error::invalid("file", "it holds several documents") }),
    }
}

fn parse(text: &[u8], bounds: Bounds) -> Result<Vec<Value>> {
    let wrong = |detail: String| Error { code: "not_yaml", ..Error::invalid("file", detail) };
    if text.len() > bounds.bytes {
        let detail = format!("the file has more than {} KiB", bounds.bytes >> 10);
        return Err(Error::new(ErrorKind::TooLarge, "too_large", detail));
    }
    let text = std::str::from_utf8(text).map_err(|_| wrong("the file is not UTF-8 text".to_owned()))?;
    let budget = serde_saphyr::budget! {
        max_documents: bounds.documents,
        max_nodes: bounds.nodes,
        max_events: bounds.nodes * 3,
        max_depth: DEPTH_MAX,
        max_aliases: 500,
        max_anchors: 200,
        max_merge_keys: 200,
        max_total_scalar_bytes: bounds.bytes * 2,
    };
    let alias_limits = serde_saphyr::alias_limits! { max_total_replayed_events: bounds.nodes };
    // Tags of one's own mean nothing to a cluster, and `0644` means what it means to `kubectl`.
    let options = serde_saphyr::options! {
        budget: budget,
        alias_limits: alias_limits,
        legacy_octal_numbers: true,
        reject_unsupported_tags: true,
        with_snippet: false,
    };
    let documents: Vec<Value> = serde_saphyr::from_multiple_with_options(text, options)
        .map_err(|error| wrong(format!("the file cannot be read as YAML: {error}")))?;
    let documents: Vec<Value> = documents.into_iter().filter(|document| !document.is_null()).collect();
    if documents.is_empty() {
        return Err(wrong("the file holds nothing".to_owned()));
    }
    Ok(documents)
}

fn shown(value: &Value) -> String {
    match value.as_str() {
        Some(text) => format!("`{}`", text.chars().take(60).flat_map(char::escape_debug).collect::<String>()),
        None => "something without a `kind`".to_owned(),
    }
}

fn understand(document: &Value, rights: &Rights, wrong: &mut Violations) -> Option<Manifest> {
    let Some(kind) =
        document["kind"].as_str().and_then(kind).filter(|kind| rights.is_admin || !kind.is_for_admins)
    else {
        let listed: Vec<_> = kinds::KINDS
            .iter()
            .filter(|kind| rights.is_admin || !kind.is_for_admins)
            .map(|kind| kind.name)
            .collect();
        wrong.add(
            "kind",
            format!("{} cannot be made here; use one of: {}", shown(&document["kind"]), listed.join(", ")),
        );
        return None;
    };
    if document["apiVersion"] != kind.version {
        wrong.add("apiVersion", format!("must be `{}` for a {}", kind.version, kind.name));
    }
    let before = wrong.0.len();
    let mut object = shape::read(&kind.shape, document, "", wrong)?;
    let name = checked_name(&object["metadata"]["name"], wrong);
    let namespace = match object["metadata"].get("namespace").and_then(Value::as_str) {
        None | Some("") => None,
        Some(text) => match text.parse::<NamespaceName>() {
            Ok(namespace) => Some(namespace),
            Err(error) => {
                wrong.add("metadata.namespace", error.to_string());
                None
            }
        },
    };
    match kind.name {
        "Service" => check_service(&object, wrong),
        "Ingress" => ingresses::complete(&mut object, rights.hosts.as_ref(), wrong),
        _ => {}
    }
    if wrong.0.len() == before {
        pods::complete(kind, &mut object, wrong);
    }
    Some(Manifest { kind, name: name?, namespace, object })
}

fn checked_name(name: &Value, wrong: &mut Violations) -> Option<String> {
    let path = "metadata.name";
    let Some(name) = name.as_str().filter(|name| !name.is_empty()) else {
        wrong.add(path, "is missing");
        return None;
    };
    let is_label = |part: &str| {
        let bytes = part.as_bytes();
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        bytes.first().is_some_and(|&byte| is_word(byte))
            && bytes.last().is_some_and(|&byte| is_word(byte))
            && bytes.iter().all(|&byte| is_word(byte) || byte == b'-')
    };
    if name.len() > 63 || !name.split('.').all(is_label) {
        wrong.add(
            path,
            "must be 1 to 63 of `a-z`, `0-9`, `-` and `.`, beginning and ending with a letter or digit",
        );
        return None;
    }
    if name == "longshore" || name.starts_with("longshore-") || name == "kube-root-ca.crt" {
        wrong.add(path, "is a name that Longshore and the cluster use themselves");
        return None;
    }
    Some(name.to_owned())
}

/// A service without a selector sends its traffic wherever somebody else says.
fn check_service(object: &Value, wrong: &mut Violations) {
    let has_selector = object["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
    if !has_selector {
        wrong.add("spec.selector", "is missing: say which pods the service is for");
    }
}

/// Puts an object into its namespace, under our labels.
pub fn place(object: &mut Value, namespace: &NamespaceName, workload: &str) {
    place_as(object, namespace, "longshore.io/workload", workload);
}

fn place_as(object: &mut Value, namespace: &NamespaceName, label: &str, id: &str) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.insert("namespace".to_owned(), namespace.as_str().into());
    let labels = metadata.entry("labels").or_insert_with(|| Value::Object(Map::new()));
    labels[label] = id.into();
}

#[cfg(test)]
mod tests;
