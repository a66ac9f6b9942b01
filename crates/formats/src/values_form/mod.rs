//! Makes a form of a chart's values: `values.yaml` says what there is and what it is by default, its comments say what it is for, and the
//! schema says what may be given. Everything in them is somebody's text: bounded, and never followed anywhere.
//!
//! - `values`: what there is to set, with the comments before it
//! - `comments`: what comments mean, as chart authors write them
//! - `schema`: what a JSON schema says of single values

mod comments;
mod schema;
mod values;

use std::collections::BTreeMap;

use serde_json::Value;
use wire::values_form::{ValuesField, ValuesFormView, ValuesKind, ValuesSection};

use crate::chart_index::shown;
use comments::Notes;

/// Fields of one form.
const MAX_FIELDS: usize = 1000;
/// Deepest field.
const MAX_DEPTH: usize = 8;
/// Longest description, in characters.
const MAX_DESCRIPTION_CHARS: usize = 1000;
/// Longest title and longest key, in characters.
const MAX_TITLE_CHARS: usize = 200;
/// Longest default, as JSON, in bytes.
const MAX_DEFAULT_BYTES: usize = 4 << 10;

/// A value of `values.yaml`.
#[derive(Clone, Debug, Default)]
struct Found {
    path: Vec<String>,
    kind: Option<ValuesKind>,
    default: Option<Value>,
    description: Option<String>,
    section: Option<String>,
}

/// The form of values and their schema.
pub fn of(values: Option<&str>, schema: Option<&Value>) -> ValuesFormView {
    let notes = Notes::read(values.unwrap_or_default());
    let (found, mut is_shortened, problem) = match values::read(values.unwrap_or_default(), &notes) {
        Ok((found, is_shortened)) => (found, is_shortened, None),
        Err(why) => (Vec::new(), false, Some(why)),
    };
    let mut rules = schema.map(schema::read).unwrap_or_default();
    is_shortened |= rules.is_shortened;
    let mut form =
        Form { sections: Vec::new(), places: BTreeMap::new(), count: 0, notes: &notes, is_shortened };
    for found in found {
        let rule = rules.fields.remove(&found.path).unwrap_or_default();
        form.add(&found, rule);
    }
    // What the schema knows and `values.yaml` does not say; not what holds fields that are there.
    let rest: Vec<_> = std::mem::take(&mut rules.fields).into_iter().collect();
    for (path, rule) in rest {
        let holds_others = form.has_below(&path);
        let is_above = rule.kind == Some(ValuesKind::Object) && holds_others;
        if !is_above {
            form.add(&Found { path, ..Found::default() }, rule);
        }
    }
    let Form { sections, is_shortened, .. } = form;
    ValuesFormView { sections, is_shortened, problem }
}

/// A form that grows.
struct Form<'a> {
    sections: Vec<ValuesSection>,
    places: BTreeMap<Option<String>, usize>,
    count: usize,
    notes: &'a Notes,
    is_shortened: bool,
}

impl Form<'_> {
    fn add(&mut self, found: &Found, rule: schema::Rule) {
        if self.count == MAX_FIELDS {
            self.is_shortened = true;
            return;
        }
        self.count += 1;
        let holder = (found.path.len() > 1).then(|| found.path[0].clone());
        let title = found.section.clone().or(holder);
        let place = *self.places.entry(title.clone()).or_insert_with(|| {
            let description =
                title.as_ref().and_then(|title| self.notes.sections.get(title)).cloned().flatten();
            self.sections.push(ValuesSection { title, description, fields: Vec::new() });
            self.sections.len() - 1
        });
        self.sections[place].fields.push(field(found, rule));
    }

    fn has_below(&self, path: &[String]) -> bool {
        let is_below = |field: &ValuesField| field.path.len() > path.len() && field.path.starts_with(path);
        self.sections.iter().any(|section| section.fields.iter().any(is_below))
    }
}

fn field(found: &Found, rule: schema::Rule) -> ValuesField {
    let text = |text: String| Some(shown(&text, MAX_DESCRIPTION_CHARS)).filter(|text| !text.is_empty());
    let kind = rule.kind.or(found.kind);
    let is_text = kind.is_none_or(|kind| kind == ValuesKind::String);
    ValuesField {
        is_secret: is_text && found.path.last().is_some_and(|name| is_secret(name)),
        path: found.path.clone(),
        title: rule.title.map(|title| shown(&title, MAX_TITLE_CHARS)),
        description: rule.description.or_else(|| found.description.clone()).and_then(text),
        kind,
        default: found.default.clone().or(rule.default).filter(is_short),
        choices: rule.choices,
        minimum: rule.minimum,
        maximum: rule.maximum,
        min_length: rule.min_length,
        max_length: rule.max_length,
        pattern: rule.pattern,
        is_required: rule.is_required,
    }
}

fn is_short(value: &Value) -> bool {
    serde_json::to_vec(value).is_ok_and(|bytes| bytes.len() <= MAX_DEFAULT_BYTES)
}

/// Whether a name is that of a secret itself, and not of where one is.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends =
        ["password", "passwd", "token", "secretkey", "accesskey", "apikey", "privatekey", "passphrase"];
    name == "secret" || ends.iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const BITNAMI: &str = "# Copyright of somebody.\n\n## @section Global parameters\n## What counts everywhere.\n##\n\n## @param global.imageRegistry Global image registry\n## @param global.pullSecrets [array] Names of secrets\n##\nglobal:\n  imageRegistry: \"\"\n  pullSecrets: []\n\n## @section Common parameters\n\n## @param replicaCount Number of replicas\n## Several lines, which are not of the parameter.\nreplicaCount: 1\n## @param auth.password [string, nullable] Word that opens it\n## @skip auth.hidden\nauth:\n  password: null\n  hidden: x\n## @extra service\nservice:\n  # -- not read before @param\n  type: ClusterIP\n";
    const DOCS: &str = "# -- How many there are\n# at the same time\nreplicas: 2 # by the way\nimage:\n  # -- (string) Where it comes from\n  # @default -- the chart's\n  repository: nginx\n  # plain words\n  # on two lines\n  tag: \"1.27\"\n\n# -- What it may use\n# @section -- Limits\nresources: {}\n# @schema\n# type: integer\n# @schema\n# -- A port\nport: 8080\nratio: 0.5\nlist: [1, {a: b}]\nwide: yes\nempty:\n";

    fn fields(form: &ValuesFormView) -> BTreeMap<String, (Option<String>, &ValuesField)> {
        let all = form.sections.iter().flat_map(|section| {
            section.fields.iter().map(|field| (field.path.join("."), (section.title.clone(), field)))
        });
        all.collect()
    }

    #[test]
    fn comments_as_bitnami_writes_them_are_understood() {
        let form = of(Some(BITNAMI), None);

        let titles: Vec<_> = form.sections.iter().map(|section| section.title.as_deref()).collect();
        assert_eq!(titles, [Some("Global parameters"), Some("Common parameters")]);
        let all = fields(&form);
        let of = |path: &str| all[path].1;
        assert_eq!(of("global.imageRegistry").description.as_deref(), Some("Global image registry"));
        assert_eq!(of("global.imageRegistry").default, Some(json!("")));
        assert_eq!(of("global.pullSecrets").kind, Some(ValuesKind::Array));
        assert_eq!(of("replicaCount").kind, Some(ValuesKind::Integer));
        assert_eq!(of("replicaCount").description.as_deref(), Some("Number of replicas"));
        assert_eq!(
            (of("auth.password").kind, of("auth.password").is_secret),
            (Some(ValuesKind::String), true)
        );
        assert!(!all.contains_key("auth.hidden"), "what is to be skipped");
        assert_eq!(of("service.type").description.as_deref(), Some("not read before @param"));
    }

    #[test]
    fn comments_as_helm_docs_reads_them_are_understood() {
        let form = of(Some(DOCS), None);

        let all = fields(&form);
        let of = |path: &str| all[path].1;
        assert_eq!(of("replicas").description.as_deref(), Some("How many there are at the same time"));
        assert_eq!((of("replicas").default.clone(), all["replicas"].0.clone()), (Some(json!(2)), None));
        assert_eq!(of("image.repository").description.as_deref(), Some("Where it comes from"));
        assert_eq!(all["image.repository"].0.as_deref(), Some("image"));
        assert_eq!(of("image.tag").description.as_deref(), Some("plain words on two lines"));
        assert_eq!(
            (of("image.tag").kind, of("image.tag").default.clone()),
            (Some(ValuesKind::String), Some(json!("1.27")))
        );
        assert_eq!(
            (all["resources"].0.as_deref(), of("resources").kind),
            (Some("Limits"), Some(ValuesKind::Object))
        );
        assert_eq!(of("port").description.as_deref(), Some("A port"));
        assert_eq!(of("ratio").kind, Some(ValuesKind::Number));
        assert_eq!(of("list").default, Some(json!([1, {"a": "b"}])));
        assert_eq!(of("wide").default, Some(json!(true)));
        assert_eq!((of("empty").kind, of("empty").default.clone()), (None, None));
    }

    #[test]
    fn the_schema_says_what_may_be_given() {
        let schema = json!({
            "$defs": {"port": {"type": "integer", "minimum": 1, "maximum": 65535}},
            "required": ["port"],
            "properties": {
                "port": {"$ref": "#/$defs/port", "title": "Port", "default": 1},
                "mode": {"enum": ["a", "b", null], "description": "What it does"},
                "image": {"type": "object", "properties": {"tag": {"type": ["string", "null"], "pattern": "^v", "maxLength": 9}, "extra": {"type": "boolean"}}},
                "round": {"$ref": "#/properties/round"},
                "outside": {"$ref": "https://example.org/schema.json"},
            },
        });

        let form = of(Some("port: 80\nimage:\n  tag: v1\n"), Some(&schema));

        let all = fields(&form);
        let port = all["port"].1;
        assert_eq!(
            (port.minimum, port.maximum, port.is_required, port.title.as_deref()),
            (Some(1.0), Some(65535.0), true, Some("Port"))
        );
        assert_eq!(port.default, Some(json!(80)), "what Helm takes, not what the schema calls so");
        assert_eq!(all["mode"].1.choices, [json!("a"), json!("b")]);
        assert_eq!(all["image.tag"].1.pattern.as_deref(), Some("^v"));
        assert_eq!(
            (all["image.extra"].1.kind, all["image.extra"].0.as_deref()),
            (Some(ValuesKind::Boolean), Some("image"))
        );
        assert!(!all.contains_key("image"));
        assert!(form.problem.is_none() && !form.is_shortened);
    }

    #[test]
    fn everything_is_bounded_and_nothing_panics() {
        let many: Vec<String> = (0..3000).map(|number| format!("key{number}: {number}\n")).collect();
        let many = many.concat();
        let form = of(Some(&many), None);
        assert!(form.is_shortened);
        assert_eq!(form.sections[0].fields.len(), MAX_FIELDS);
        let deep: Vec<String> = (0..60).map(|depth| format!("{}a:\n", " ".repeat(depth))).collect();
        let deep = deep.concat();
        assert!(of(Some(&deep), None).is_shortened);
        let long = format!("a: {}\nb: 1\n", "x".repeat(100_000));
        assert_eq!(fields(&of(Some(&long), None))["a"].1.default, None);
        let aliases: Vec<String> = (0..40).map(|number| format!("b{number}: [*a, *a]\n")).collect();
        let bomb = format!("a: &a [x,x]\n{}", aliases.concat());
        assert!(of(Some(&bomb), None).problem.is_none());
        for odd in [
            "",
            "- a\n",
            "a: [",
            "a: &a [*a]\n",
            "? [a]\n: b\n",
            "\u{0}",
            "a: \u{1b}[31m\n",
            "--- a\n--- b\n",
            "%YAML 9.9\n---\na: 1\n",
            "{a: {b: 1}}",
        ] {
            of(Some(odd), None);
        }
        let mut wide = json!({"type": "object"});
        for _ in 0..40 {
            wide = json!({"properties": {"a": wide.clone(), "b": wide.clone()}});
            if serde_json::to_vec(&wide).unwrap().len() > 1 << 20 {
                break;
            }
        }
        assert!(of(None, Some(&wide)).is_shortened);
        let turned = of(Some("# \u{202e}gone\na: b\n"), None);
        assert_eq!(fields(&turned)["a"].1.description.as_deref(), Some("gone"));
    }
}
