//! Finds out whether the build context is the whole archive or its only top-level folder.

use super::{
    error::{ArchiveError, Shown},
    rules::{NodeKind, is_clutter},
};

/// Looks at all names of an archive, in any order.
pub(super) struct RootFinder<'a> {
    dockerfile: &'a str,
    folder: Option<String>,
    has_more: bool,
    is_at_root: bool,
    is_in_folder: bool,
    near_miss: NearMiss<'a>,
}

impl<'a> RootFinder<'a> {
    pub(super) fn new(dockerfile: &'a str) -> Self {
        Self {
            dockerfile,
            folder: None,
            has_more: false,
            is_at_root: false,
            is_in_folder: false,
            near_miss: NearMiss::new(dockerfile),
        }
    }

    /// Takes note of a clean name.
    pub(super) fn see(&mut self, path: &str, kind: NodeKind) {
        // `._app` is what tar on a Mac adds beside `app`.
        let is_beside = path.starts_with("._") && kind == NodeKind::File && !path.contains('/');
        if path.is_empty() || is_clutter(path) || is_beside {
            return;
        }
        self.near_miss.see(path, kind);
        self.is_at_root |= path == self.dockerfile;

        let (top, rest) = path.split_once('/').unwrap_or((path, ""));
        let is_folder = kind == NodeKind::Folder || !rest.is_empty();
        match &self.folder {
            None if is_folder => self.folder = Some(top.to_owned()),
            Some(folder) if is_folder && folder == top => {}
            _ => self.has_more = true,
        }
        self.is_in_folder |= rest == self.dockerfile;
    }

    /// Whether more names cannot change the answer: the root is the archive's.
    pub(super) fn is_settled(&self) -> bool {
        self.has_more || self.is_at_root
    }

    /// Once all names were seen: the folder that becomes the root, nothing if the root is the archive's, or
    /// that there is no Dockerfile in either.
    pub(super) fn decide(mut self) -> Result<Option<String>, ArchiveError> {
        if self.folder.is_none() && !self.has_more {
            return Err(ArchiveError::Empty);
        }
        if self.is_at_root {
            return Ok(None);
        }
        if self.is_in_folder && !self.has_more {
            return Ok(self.folder);
        }
        Err(self.near_miss.missing())
    }
}

/// Remembers a file whose name is nearly the one that is looked for.
pub(super) struct NearMiss<'a> {
    dockerfile: &'a str,
    found: Option<Shown>,
}

impl<'a> NearMiss<'a> {
    pub(super) fn new(dockerfile: &'a str) -> Self {
        Self { dockerfile, found: None }
    }

    /// Takes note of a clean name.
    pub(super) fn see(&mut self, path: &str, kind: NodeKind) {
        fn file_name(path: &str) -> &str {
            path.rsplit_once('/').map_or(path, |(_, name)| name)
        }
        let is_near = file_name(path).eq_ignore_ascii_case(file_name(self.dockerfile));
        if self.found.is_none() && kind == NodeKind::File && is_near {
            self.found = Some(Shown::new(path));
        }
    }

    /// The error that says what was looked for and what was found.
    pub(super) fn missing(&mut self) -> ArchiveError {
        ArchiveError::DockerfileMissing { path: Shown::new(self.dockerfile), found: self.found.take() }
    }
}
