//! What comments in `values.yaml` mean: the marks of helm-docs (`# --`) and of Bitnami's generator (`## @param`), and plain words.

use std::collections::{BTreeMap, BTreeSet};

use wire::values_form::ValuesKind;

/// Lines that are looked at.
const MAX_LINES: usize = 50_000;
/// Lines of one comment.
const MAX_COMMENT_LINES: usize = 40;

/// What the marks in comments say, wherever they stand.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What is said of single values, by their keys with dots between.
    pub(super) parameters: BTreeMap<String, Parameter>,
    /// Values that are to be left out.
    pub(super) skipped: BTreeSet<String>,
    /// Titles with what is said of them.
    pub(super) sections: BTreeMap<String, Option<String>>,
    /// Lines from which on a section counts, counted from 1.
    begins: BTreeMap<usize, String>,
    lines: Vec<String>,
}

/// What is said of one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parameter {
    pub(super) description: String,
    pub(super) kind: Option<ValuesKind>,
}

/// What a comment before a key says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Comment {
    pub(super) description: Option<String>,
    pub(super) section: Option<String>,
    pub(super) kind: Option<ValuesKind>,
}

impl Notes {
    /// Reads the marks of a whole text.
    pub(super) fn read(text: &str) -> Self {
        let mut notes =
            Self { lines: text.lines().take(MAX_LINES).map(str::to_owned).collect(), ..Self::default() };
        let mut described: Option<String> = None;
        for (number, line) in text.lines().take(MAX_LINES).enumerate() {
            let Some(comment) = comment_of(line) else {
                described = None;
                continue;
            };
            if let Some(rest) = mark(comment, "@param") {
                if let Some((path, parameter)) = parameter(rest) {
                    notes.parameters.insert(path, parameter);
                }
                described = None;
            } else if let Some(rest) = mark(comment, "@skip") {
                notes.skipped.extend(rest.split_whitespace().next().map(str::to_owned));
            } else if let Some(title) = mark(comment, "@section").filter(|title| !title.starts_with("--")) {
                notes.sections.entry(title.to_owned()).or_default();
                notes.begins.insert(number + 1, title.to_owned());
                described = Some(title.to_owned());
            } else if comment.starts_with('@') {
                described = described.filter(|_| mark(comment, "@descriptionStart").is_some());
            } else if let Some(title) = &described
                && let Some(said) = notes.sections.get_mut(title)
            {
                append(said, comment);
            }
        }
        notes
    }

    /// The title that counts at a line.
    pub(super) fn section_at(&self, line: usize) -> Option<&str> {
        self.begins.range(..=line).next_back().map(|(_, title)| title.as_str())
    }

    /// What the comment right before a line says.
    pub(super) fn before(&self, line: usize) -> Comment {
        let above = self.lines.get(..line.saturating_sub(1)).unwrap_or_default();
        let mut lines: Vec<&str> =
            above.iter().rev().map_while(|line| comment_of(line)).take(MAX_COMMENT_LINES).collect();
        lines.reverse();
        read_comment(&lines)
    }
}

/// The words of a line that is a comment.
fn comment_of(line: &str) -> Option<&str> {
    Some(line.trim_start().strip_prefix('#')?.trim_start_matches('#').trim())
}

/// What follows a mark.
fn mark<'a>(comment: &'a str, name: &str) -> Option<&'a str> {
    let rest = comment.strip_prefix(name)?;
    (rest.is_empty() || rest.starts_with(char::is_whitespace)).then(|| rest.trim())
}

/// `path [string, nullable] What it is for`.
fn parameter(text: &str) -> Option<(String, Parameter)> {
    let (path, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    if path.is_empty() {
        return None;
    }
    let rest = rest.trim();
    let (kind, description) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((marks, rest)) => (marks.split(',').find_map(|word| kind(word.trim())), rest.trim()),
        None => (None, rest),
    };
    Some((path.to_owned(), Parameter { description: description.to_owned(), kind }))
}

fn kind(word: &str) -> Option<ValuesKind> {
    Some(match word {
        "string" | "tpl" | "tpl/string" => ValuesKind::String,
        "int" | "integer" => ValuesKind::Integer,
        "float" | "number" => ValuesKind::Number,
        "bool" | "boolean" => ValuesKind::Boolean,
        "list" | "array" | "tpl/array" => ValuesKind::Array,
        "object" | "dict" | "map" | "tpl/object" => ValuesKind::Object,
        _ => return None,
    })
}

fn read_comment(lines: &[&str]) -> Comment {
    let mut comment = Comment::default();
    let mut is_schema = false;
    // Of several descriptions the last one belongs to the key.
    let begin = lines.iter().rposition(|line| line.starts_with("-- ") || *line == "--");
    for line in &lines[begin.unwrap_or(0)..] {
        if mark(line, "@schema").is_some() {
            is_schema = !is_schema;
            continue;
        }
        if is_schema || line.starts_with('@') {
            if let Some(title) = mark(line, "@section").and_then(|title| title.strip_prefix("--")) {
                comment.section = Some(title.trim().to_owned()).filter(|title| !title.is_empty());
            }
            continue;
        }
        let mut text = line.strip_prefix("--").filter(|_| begin.is_some()).unwrap_or(line).trim();
        if comment.description.is_none()
            && begin.is_some()
            && let Some((word, rest)) = text.strip_prefix('(').and_then(|rest| rest.split_once(')'))
        {
            comment.kind = kind(word.split('/').next().unwrap_or(word).trim());
            text = rest.trim();
        }
        append(&mut comment.description, text);
    }
    // What frames a comment says nothing.
    let is_said = |text: &String| text.contains(char::is_alphanumeric);
    comment.description = comment.description.filter(is_said);
    comment
}

fn append(text: &mut Option<String>, more: &str) {
    let is_frame = !more.contains(char::is_alphanumeric);
    if is_frame {
        return;
    }
    match text {
        None => *text = Some(more.to_owned()),
        Some(text) if text.len() < 4 * super::MAX_DESCRIPTION_CHARS => {
            text.push(' ');
            text.push_str(more);
        }
        Some(_) => {}
    }
}
