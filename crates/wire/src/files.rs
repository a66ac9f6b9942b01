//! Files in containers: paths that mean one thing, what is shown of a file, and the link calls that reach them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ContainerId, InstanceId};
use crate::link::{ByteCall, Call, Channel, LinkError, StreamCall};
use crate::time::Timestamp;

/// Bytes of a path at most: what the kernel takes.
pub const PATH_BYTES_MAX: usize = 4096;
/// Bytes of one component at most.
pub const NAME_BYTES_MAX: usize = 255;
/// Entries of a folder in one answer at most.
pub const LISTED_MAX: u64 = 500;

/// A path inside a container: absolute, without `.`, `..` and empty components, so that it is the same text everywhere.
/// Symbolic links on its way are followed inside the container by the engine.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(try_from = "String", into = "String")]
#[schema(value_type = String, example = "/srv/app/data")]
pub struct FilePath(String);

/// Why a text is no [`FilePath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// It does not begin at the root.
    #[error("a path in a container begins with `/`")]
    Relative,
    /// It climbs.
    #[error("a path in a container has no `..`")]
    Climbs,
    /// It has characters that no file's name should have.
    #[error("a path in a container has no control characters")]
    Control,
    /// It is too long.
    #[error("a path has at most {PATH_BYTES_MAX} bytes, and {NAME_BYTES_MAX} between two `/`")]
    TooLong,
}

impl FilePath {
    /// The container's root.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the container's root.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &str {
        self.0.rsplit_once('/').map_or("", |(_, name)| name)
    }

    /// The folder that it is in; none for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.0.rsplit_once('/')?;
        match (parent, name) {
            (_, "") => None,
            ("", _) => Some(Self::root()),
            (parent, _) => Some(Self(parent.to_owned())),
        }
    }

    /// Something in this folder.
    pub fn join(&self, name: &str) -> Result<Self, PathError> {
        format!("{}/{name}", self.0).parse()
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for FilePath {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        if text.len() > PATH_BYTES_MAX {
            return Err(PathError::TooLong);
        }
        if !text.starts_with('/') {
            return Err(PathError::Relative);
        }
        if text.chars().any(char::is_control) {
            return Err(PathError::Control);
        }
        let mut path = String::with_capacity(text.len());
        for component in text.split('/') {
            match component {
                "" | "." => {}
                ".." => return Err(PathError::Climbs),
                long if long.len() > NAME_BYTES_MAX => return Err(PathError::TooLong),
                component => {
                    path.push('/');
                    path.push_str(component);
                }
            }
        }
        Ok(if path.is_empty() { Self::root() } else { Self(path) })
    }
}

impl TryFrom<String> for FilePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// An ordinary file.
    File,
    /// A folder.
    Folder,
    /// A symbolic link.
    Link,
    /// A device, a pipe, a socket, or something that could not be looked at.
    Other,
}

/// A file in a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileView {
    /// Its name; what is not UTF-8 is replaced, and such a file cannot be named here.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Length of its content; of a folder nothing is said.
    pub size_bytes: u64,
    /// Its rights, as `chmod` writes them: `644`.
    #[schema(example = "644")]
    pub mode: String,
    /// When its content was changed last.
    pub modified_at: Option<Timestamp>,
    /// Where a link leads in the end, inside the container.
    pub target: Option<String>,
}

impl FileView {
    /// Whether somebody may run it.
    pub fn is_executable(&self) -> bool {
        self.mode.bytes().any(|digit| digit.is_ascii_digit() && (digit - b'0') & 1 == 1)
    }
}

/// A folder in a container, or one file.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct FolderView {
    /// The path that was asked for.
    pub path: FilePath,
    /// What is there.
    pub file: FileView,
    /// What is in it, by name, if it is a folder.
    pub data: Vec<FileView>,
    /// How many are in it.
    pub total: u64,
    /// Rows at most.
    pub limit: u64,
    /// Rows passed over.
    pub offset: u64,
    /// Whether that is all: a very large folder, and one that can only be read with everything below it, are cut off.
    pub is_complete: bool,
}

/// What was unpacked into a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UnpackedView {
    /// Files, folders and links.
    pub entries: u32,
    /// Bytes of the files.
    pub bytes: u64,
}

/// Asks what is at a path. The last component is looked at itself and not followed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StatFile {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// Where.
    pub path: FilePath,
}

impl Call for StatFile {
    const PATH: &'static str = "/link/v2/files/stat";
    type Reply = StatFileDone;
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatFileDone {
    /// None when there is nothing.
    pub file: Option<FileView>,
}

/// Lists a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListFolder {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// Where.
    pub path: FilePath,
    /// Entries at most.
    pub limit: u64,
    /// Entries to pass over.
    pub offset: u64,
}

impl Call for ListFolder {
    const PATH: &'static str = "/link/v2/files/list";
    type Reply = FolderListing;
}

/// A page of a folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FolderListing {
    /// By name.
    pub files: Vec<FileView>,
    /// How many there are.
    pub total: u64,
    /// Whether there may be more.
    pub is_complete: bool,
}

/// Reads a file or a folder with everything in it: the answer is a tar as the engine makes it, whose first entry is what
/// was asked for. The last component of the path is not followed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReadFiles {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// What.
    pub path: FilePath,
}

impl ByteCall for ReadFiles {
    const PATH: &'static str = "/link/v2/files/read";

    fn channel(&self) -> Channel {
        Channel::Bulk
    }
}

/// Unpacks a tar into a folder that is there; the body is the tar, which the server has made safe.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteFiles {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// Into which folder.
    pub path: FilePath,
}

impl StreamCall for WriteFiles {
    const PATH: &'static str = "/link/v2/files/write";
    const CHANNEL: Channel = Channel::Bulk;
    type Event = WriteFilesEvent;
}

/// How an unpacking ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteFilesEvent {
    /// All of it is there.
    Done,
    /// Some of it may be there.
    Failed(LinkError),
}

/// Removes a file, or a folder with everything in it. The container must run: engines cannot do it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemoveFile {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
    /// What.
    pub path: FilePath,
    /// Also a folder that is not empty.
    pub is_recursive: bool,
}

impl Call for RemoveFile {
    const PATH: &'static str = "/link/v2/files/remove";
    type Reply = RemoveFileDone;
}

/// It is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveFileDone {}

/// Asks to whom files should belong that are given to a container's programs.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GetFileOwner {
    /// This installation.
    pub instance: InstanceId,
    /// Which container.
    pub container: ContainerId,
}

impl Call for GetFileOwner {
    const PATH: &'static str = "/link/v2/files/owner";
    type Reply = FileOwner;
}

/// The numbers of a user and a group, inside the container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileOwner {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_mean_one_thing() {
        let read = |text: &str| text.parse::<FilePath>().map(|path| path.to_string());

        for (text, path) in [
            ("/", "/"),
            ("//", "/"),
            ("/./", "/"),
            ("/srv/app", "/srv/app"),
            ("//srv/./app//", "/srv/app"),
            ("/ü/a b", "/ü/a b"),
            ("/-rf", "/-rf"),
            ("/...", "/..."),
        ] {
            assert_eq!(read(text), Ok(path.to_owned()), "{text}");
        }
        for (text, why) in [
            ("", PathError::Relative),
            ("srv", PathError::Relative),
            ("../x", PathError::Relative),
            ("/..", PathError::Climbs),
            ("/a/../b", PathError::Climbs),
            ("/a/..", PathError::Climbs),
            ("/a\0b", PathError::Control),
            ("/a\nb", PathError::Control),
            ("/\u{1b}[2J", PathError::Control),
        ] {
            assert_eq!(read(text), Err(why), "{text:?}");
        }
        assert_eq!(read(&format!("/{}", "a".repeat(256))), Err(PathError::TooLong));
        assert_eq!(read(&"/a".repeat(3000)), Err(PathError::TooLong));
        assert!(serde_json::from_str::<FilePath>("\"/a/../b\"").is_err());
    }

    #[test]
    fn paths_have_names_and_folders() {
        let path: FilePath = "/srv/app".parse().unwrap();

        assert_eq!((path.name(), path.parent()), ("app", Some("/srv".parse().unwrap())));
        assert_eq!(path.parent().unwrap().parent(), Some(FilePath::root()));
        assert_eq!((FilePath::root().name(), FilePath::root().parent()), ("", None));
        assert_eq!(FilePath::root().join("etc").unwrap().as_str(), "/etc");
        assert_eq!(path.join("..").unwrap_err(), PathError::Climbs);
    }

    #[test]
    fn whoever_may_run_a_file_is_read_from_its_rights() {
        let file = |mode: &str| FileView {
            name: String::new(),
            kind: FileKind::File,
            size_bytes: 0,
            mode: mode.to_owned(),
            modified_at: None,
            target: None,
        };

        assert!(file("755").is_executable() && file("700").is_executable() && file("1").is_executable());
        assert!(!file("644").is_executable() && !file("0").is_executable());
    }
}
