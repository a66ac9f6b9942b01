//! `.dockerignore`: what of a folder is not uploaded. Follows Docker's rules: the last line that matches a path or a
//! folder above it decides, `!` takes things in again, `**` stands for any folders.

use std::fs;
use std::io;
use std::path::Path;

use anyhow::Context as _;

/// The most bytes that such a file may have.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// One line.
#[derive(Debug)]
struct Rule {
    /// The pattern between its slashes.
    segments: Vec<Vec<char>>,
    /// Whether the line takes things in again.
    is_exception: bool,
}

/// What is left out.
#[derive(Debug, Default)]
pub(crate) struct Ignore {
    rules: Vec<Rule>,
    keeps_git: bool,
}

impl Ignore {
    /// Leaves nothing out, also not `.git`.
    pub(crate) fn nothing() -> Self {
        Self { rules: Vec::new(), keeps_git: true }
    }

    /// Whether folders named `.git` are packed.
    pub(crate) fn keeps_git(&self) -> bool {
        self.keeps_git
    }

    /// Reads the rules of a folder: `<Dockerfile>.dockerignore` if there is one, else `.dockerignore`. The Dockerfile
    /// and the rules themselves are always uploaded.
    pub(crate) fn load(root: &Path, dockerfile: &str) -> anyhow::Result<Self> {
        let own = format!("{dockerfile}.dockerignore");
        for name in [own.as_str(), ".dockerignore"] {
            let path = root.join(name);
            let text = match fs::metadata(&path) {
                Ok(file) if file.len() > FILE_BYTES_MAX => anyhow::bail!("`{}` is too long", path.display()),
                Ok(_) => {
                    fs::read_to_string(&path).with_context(|| format!("cannot read `{}`", path.display()))?
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error).with_context(|| format!("cannot read `{}`", path.display())),
            };
            return Ok(Self::parse(&format!("{text}\n!{dockerfile}\n!{name}\n")));
        }
        Ok(Self::default())
    }

    fn parse(text: &str) -> Self {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let rules = text.lines().filter(|line| !line.starts_with('#')).filter_map(rule);
        Self { rules: rules.collect(), keeps_git: false }
    }

    /// Whether a path (relative to the folder) is left out.
    pub(crate) fn leaves_out(&self, relative: &Path) -> bool {
        let path = segments_of(relative);
        let mut is_out = false;
        for rule in &self.rules {
            if rule.is_exception == is_out
                && (1..=path.len()).any(|end| matches(&rule.segments, &path[..end]))
            {
                is_out = !rule.is_exception;
            }
        }
        is_out
    }

    /// Whether something below a folder that is left out may be taken in again.
    pub(crate) fn may_take_in_below(&self, relative: &Path) -> bool {
        let folder = segments_of(relative);
        self.rules
            .iter()
            .filter(|rule| rule.is_exception)
            .any(|rule| may_match_below(&rule.segments, &folder))
    }
}

fn rule(line: &str) -> Option<Rule> {
    let line = line.trim();
    let (pattern, is_exception) = match line.strip_prefix('!') {
        Some(pattern) => (pattern.trim(), true),
        None => (line, false),
    };
    let mut segments: Vec<Vec<char>> = Vec::new();
    for segment in pattern.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment.chars().collect()),
        }
    }
    (!segments.is_empty()).then_some(Rule { segments, is_exception })
}

fn segments_of(path: &Path) -> Vec<Vec<char>> {
    path.components().map(|part| part.as_os_str().to_string_lossy().chars().collect()).collect()
}

fn is_any_folders(segment: &[char]) -> bool {
    segment == ['*', '*']
}

/// Whether a pattern stands for exactly this path.
fn matches(pattern: &[Vec<char>], path: &[Vec<char>]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return path.is_empty() };
    if is_any_folders(first) {
        // At the end it stands for everything below a folder, not for the folder itself.
        return if rest.is_empty() {
            !path.is_empty()
        } else {
            (0..=path.len()).any(|skip| matches(rest, &path[skip..]))
        };
    }
    let Some((name, below)) = path.split_first() else { return false };
    matches_name(first, name) && matches(rest, below)
}

/// Whether a pattern may stand for something below this folder.
fn may_match_below(pattern: &[Vec<char>], folder: &[Vec<char>]) -> bool {
    for (index, name) in folder.iter().enumerate() {
        match pattern.get(index) {
            Some(segment) if is_any_folders(segment) => return true,
            Some(segment) if matches_name(segment, name) => {}
            _ => return false,
        }
    }
    true
}

/// Whether one part of a pattern stands for one name: `*`, `?`, `[a-z]`, `[^a-z]` and `\` before any of them.
fn matches_name(pattern: &[char], name: &[char]) -> bool {
    let Some((&first, rest)) = pattern.split_first() else { return name.is_empty() };
    match first {
        '*' => (0..=name.len()).any(|skip| matches_name(rest, &name[skip..])),
        '?' => !name.is_empty() && matches_name(rest, &name[1..]),
        '[' if let Some(end) = rest.iter().position(|&c| c == ']').filter(|&end| end > 0) => {
            let Some((&c, below)) = name.split_first() else { return false };
            is_in_class(&rest[..end], c) && matches_name(&rest[end + 1..], below)
        }
        '\\' if !rest.is_empty() => name.first() == rest.first() && matches_name(&rest[1..], &name[1..]),
        _ => name.first() == Some(&first) && matches_name(rest, &name[1..]),
    }
}

fn is_in_class(class: &[char], c: char) -> bool {
    let (class, is_negated) = match class.split_first() {
        Some(('^', class)) => (class, true),
        _ => (class, false),
    };
    let mut is_in = false;
    let mut at = 0;
    while at < class.len() {
        if class.get(at + 1) == Some(&'-') && at + 2 < class.len() {
            is_in |= (class[at]..=class[at + 2]).contains(&c);
            at += 3;
        } else {
            is_in |= class[at] == c;
            at += 1;
        }
    }
    is_in != is_negated
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left_out<'a>(rules: &str, paths: &[&'a str]) -> Vec<&'a str> {
        let ignore = Ignore::parse(rules);
        paths.iter().copied().filter(|path| ignore.leaves_out(Path::new(path))).collect()
    }

    #[test]
    fn lines_are_read_as_docker_reads_them() {
        let paths = ["a", "a/b", "b", "b/a", "b/c/a", "b/c/x.log", "x.log", "[x]", "d/x1", "d/x2"];

        assert_eq!(left_out("# a\n\n  a/ \n", &paths), ["a", "a/b"]);
        assert_eq!(left_out("/a", &paths), ["a", "a/b"]);
        assert_eq!(left_out("**/a", &paths), ["a", "a/b", "b/a", "b/c/a"]);
        assert_eq!(left_out("*/a", &paths), ["b/a"]);
        assert_eq!(left_out("*.log", &paths), ["x.log"]);
        assert_eq!(left_out("**/*.log", &paths), ["b/c/x.log", "x.log"]);
        assert_eq!(left_out("b/**", &paths), ["b/a", "b/c/a", "b/c/x.log"]);
        assert_eq!(left_out("\\[x\\]", &paths), ["[x]"]);
        assert_eq!(left_out("d/x[2-9]", &paths), ["d/x2"]);
        assert_eq!(left_out("d/x[^2]", &paths), ["d/x1"]);
        assert_eq!(left_out("b/../a", &paths), ["a", "a/b"]);
        assert_eq!(left_out("?/?2", &paths), ["d/x2"]);
    }

    #[test]
    fn the_last_line_that_matches_decides() {
        let paths = ["a", "a/keep", "a/drop", "b"];

        assert_eq!(left_out("*\n!a/keep", &paths), ["a", "a/drop", "b"]);
        assert_eq!(left_out("!a/keep\n*", &paths), paths);
        assert_eq!(left_out("a\n!a\na/drop", &paths), ["a/drop"]);
    }

    #[test]
    fn folders_are_entered_only_for_exceptions_below_them() {
        let ignore = Ignore::parse("node_modules\nsrc\n!src/*/keep\n");
        let enters = |path: &str| ignore.may_take_in_below(Path::new(path));

        assert!(enters("src") && enters("src/a"));
        assert!(!enters("node_modules") && !enters("src/a/other"));
        assert!(Ignore::parse("!**/x").may_take_in_below(Path::new("any/where")));
    }
}
