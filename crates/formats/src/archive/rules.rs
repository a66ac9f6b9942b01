//! Which names and link targets an archive may have, and the tree in which clashes between them show.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry as Slot},
    hash::{BuildHasher, RandomState},
};

use unicode_normalization::UnicodeNormalization;

use super::{
    Limits,
    error::{ArchiveError, Shown},
};

/// How long one component may be: what the file systems under a build allow.
const COMPONENT_BYTES: usize = 255;

/// A name that passed the rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CleanName<'a> {
    /// Relative, without `.`, `..`, empty components or a slash at either end; empty for the root itself.
    pub(super) path: &'a str,
    /// Whether it ended in a slash.
    pub(super) is_folder: bool,
}

/// Holds a name against the rules. One leading `./` is how `tar` packs a folder, so it is taken off.
pub(super) fn clean_name<'a>(raw: &'a str, limits: &Limits) -> Result<CleanName<'a>, ArchiveError> {
    let name = || Shown::new(raw);
    if raw.len() > limits.name_bytes {
        return Err(ArchiveError::NameTooLong { name: name(), limit: limits.name_bytes });
    }
    if raw.chars().any(char::is_control) {
        return Err(ArchiveError::PathControl { name: name() });
    }
    if raw.starts_with(['/', '\\']) || raw.split(['/', '\\']).any(is_drive) {
        return Err(ArchiveError::PathEscapes { name: name() });
    }
    if raw.contains('\\') {
        return Err(ArchiveError::PathBackslash { name: name() });
    }
    if raw == "." || raw == "./" {
        return Ok(CleanName { path: "", is_folder: true });
    }

    let inside = raw.strip_prefix("./").unwrap_or(raw);
    let path = inside.strip_suffix('/').unwrap_or(inside);
    for component in path.split('/') {
        match component {
            "" | "." => return Err(ArchiveError::PathUnclean { name: name() }),
            ".." => return Err(ArchiveError::PathEscapes { name: name() }),
            long if long.len() > COMPONENT_BYTES => {
                return Err(ArchiveError::NameTooLong { name: name(), limit: COMPONENT_BYTES });
            }
            _ => {}
        }
    }
    if path.split('/').count() > limits.depth {
        return Err(ArchiveError::TooDeep { name: name(), limit: limits.depth });
    }
    Ok(CleanName { path, is_folder: inside.ends_with('/') })
}

/// Whether a component would be a drive on Windows, wherever it stands: the folders before it may be taken off.
fn is_drive(component: &str) -> bool {
    matches!(component.as_bytes(), [letter, b':'] if letter.is_ascii_alphabetic())
}

/// Holds the target of a symbolic link at `path` (both relative to the context's root) against the rules.
///
/// A target is some `..`, then names. The `..` climb from a real folder, because no entry may pass through a
/// link, so counting them is exact; the names only descend, if need be through other links for which the same
/// holds. A `..` after a name would climb from wherever a link led, which cannot be judged by counting.
pub(super) fn check_link(path: &str, target: &str, limits: &Limits) -> Result<(), ArchiveError> {
    let refuse = || Err(ArchiveError::Link { name: Shown::new(path), target: Shown::new(target) });
    if target.len() > limits.name_bytes {
        return Err(ArchiveError::NameTooLong { name: Shown::new(path), limit: limits.name_bytes });
    }
    if target.contains('\\') || target.chars().any(char::is_control) {
        return refuse();
    }

    let mut climbable = path.matches('/').count();
    let mut has_descended = false;
    for component in target.strip_suffix('/').unwrap_or(target).split('/') {
        match component {
            // No target at all, or an absolute one.
            "" => return refuse(),
            "." => {}
            ".." if has_descended || climbable == 0 => return refuse(),
            ".." => climbable -= 1,
            _ => has_descended = true,
        }
    }
    Ok(())
}

/// Whether an entry is something that a packing system leaves behind and no build wants.
pub(super) fn is_clutter(path: &str) -> bool {
    path == "__MACOSX" || path.starts_with("__MACOSX/") || path == ".DS_Store" || path.ends_with("/.DS_Store")
}

/// What a name in the tree is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NodeKind {
    File,
    Link,
    Folder,
}

#[derive(Clone, Copy)]
struct Node {
    /// The hash of the exact spelling, to tell a twin from the thing itself.
    spelling: u64,
    kind: NodeKind,
    /// Whether an entry named it, not only the path of another entry.
    is_named: bool,
}

/// All names seen so far, as keyed hashes: 50,000 long names fit into 2 MiB, and whoever packs the archive
/// does not know the key and so cannot aim at a collision.
pub(super) struct NameTree {
    nodes: HashMap<u64, Node>,
    hasher: RandomState,
    /// The folder of the last entry, whose ancestors need no second look.
    last_folder: String,
    max_nodes: u32,
}

impl NameTree {
    pub(super) fn new(limits: &Limits) -> Self {
        Self {
            nodes: HashMap::new(),
            hasher: RandomState::new(),
            last_folder: String::new(),
            max_nodes: limits.entries,
        }
    }

    /// Adds an entry, or says with what it clashes.
    pub(super) fn add(&mut self, path: &str, kind: NodeKind) -> Result<(), ArchiveError> {
        let key = fold(path);
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        if parent != self.last_folder {
            let ends = path.match_indices('/').zip(key.match_indices('/'));
            for ((end, _), (key_end, _)) in ends {
                self.add_ancestor(path, &path[..end], &key[..key_end])?;
            }
            self.last_folder.clear();
            self.last_folder.push_str(parent);
        }
        self.add_leaf(path, &key, kind)
    }

    fn add_ancestor(&mut self, path: &str, ancestor: &str, key: &str) -> Result<(), ArchiveError> {
        let spelling = self.hasher.hash_one(ancestor);
        let name = || Shown::new(path);
        match self.nodes.entry(self.hasher.hash_one(key)) {
            Slot::Vacant(slot) => {
                slot.insert(Node { spelling, kind: NodeKind::Folder, is_named: false });
            }
            Slot::Occupied(slot) => match slot.get() {
                node if node.kind == NodeKind::Link => {
                    return Err(ArchiveError::ThroughLink { name: name() });
                }
                node if node.spelling != spelling => {
                    return Err(ArchiveError::CaseTwin { name: name() });
                }
                node if node.kind == NodeKind::File => {
                    return Err(ArchiveError::Clash { name: name() });
                }
                _ => {}
            },
        }
        self.check_count()
    }

    fn add_leaf(&mut self, path: &str, key: &str, kind: NodeKind) -> Result<(), ArchiveError> {
        let spelling = self.hasher.hash_one(path);
        let name = || Shown::new(path);
        match self.nodes.entry(self.hasher.hash_one(key)) {
            Slot::Vacant(slot) => {
                slot.insert(Node { spelling, kind, is_named: true });
            }
            Slot::Occupied(mut slot) => match (slot.get().kind, kind) {
                _ if slot.get().spelling != spelling => {
                    return Err(ArchiveError::CaseTwin { name: name() });
                }
                (NodeKind::Folder, NodeKind::Folder) if !slot.get().is_named => {
                    slot.get_mut().is_named = true;
                }
                (NodeKind::Folder, NodeKind::Link) | (NodeKind::Link, NodeKind::Folder) => {
                    return Err(ArchiveError::ThroughLink { name: name() });
                }
                (NodeKind::Folder, NodeKind::File) | (NodeKind::File, NodeKind::Folder) => {
                    return Err(ArchiveError::Clash { name: name() });
                }
                _ => return Err(ArchiveError::Duplicate { name: name() }),
            },
        }
        self.check_count()
    }

    fn check_count(&self) -> Result<(), ArchiveError> {
        if self.nodes.len() > self.max_nodes as usize {
            return Err(ArchiveError::TooManyEntries { limit: self.max_nodes });
        }
        Ok(())
    }
}

/// The form in which two names are compared: as a file system that ignores case and Unicode form would.
///
/// Upper case first and then lower, because that also brings letters together that have several lower forms
/// (`σ`/`ς`, `k`/`K`).
fn fold(path: &str) -> Cow<'_, str> {
    if path.is_ascii() {
        return if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(path.to_ascii_lowercase())
        } else {
            Cow::Borrowed(path)
        };
    }
    let lowered = path.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase);
    Cow::Owned(lowered.nfc().collect())
}
