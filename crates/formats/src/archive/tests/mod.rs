//! Every rule of the archive reader with an archive that breaks it, beside the honest ones that must pass.
//!
//! - `pack.rs`: zips and tars byte by byte, as no library would make them
//! - `zip.rs`, `tar.rs`: what is particular to one format
//! - `common.rs`: what holds for both
//! - `emit.rs`: the writer alone, with a reader that lies to it
//! - `files.rs`: archives that are no build context
//! - `property.rs`: arbitrary and mutated archives, held against an oracle that knows nothing of the rules' code

mod common;
mod emit;
mod files;
mod pack;
mod property;
mod tar;
mod zip;

use std::{
    collections::HashMap,
    io::{Read, Seek, Write},
    sync::atomic::AtomicBool,
};

use unicode_normalization::UnicodeNormalization;

use super::{ArchiveError, Context, Limits, transcode};

const DOCKERFILE: (&str, &[u8]) = ("Dockerfile", b"FROM scratch\n");

/// What came out for one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Item {
    path: String,
    kind: ::tar::EntryType,
    mode: u32,
    mtime: u64,
    target: Option<String>,
    content: Vec<u8>,
}

/// An accepted archive.
#[derive(Debug)]
struct Accepted {
    context: Context,
    items: Vec<Item>,
}

impl Accepted {
    fn paths(&self) -> Vec<&str> {
        self.items.iter().map(|item| item.path.as_str()).collect()
    }

    fn item(&self, path: &str) -> &Item {
        self.items.iter().find(|item| item.path == path).expect("the entry is there")
    }
}

fn file_with(bytes: &[u8]) -> std::fs::File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}

fn try_with(
    bytes: &[u8],
    dockerfile: Option<&str>,
    limits: &Limits,
) -> (Result<Context, ArchiveError>, Vec<u8>) {
    let mut out = Vec::new();
    let result = transcode(&file_with(bytes), dockerfile, &mut out, limits, &AtomicBool::new(false));
    (result, out)
}

/// Transcodes what must be accepted, and reads it back.
fn accept_with(bytes: &[u8], dockerfile: Option<&str>, limits: &Limits) -> Accepted {
    let (result, out) = try_with(bytes, dockerfile, limits);
    let context = result.expect("the archive is honest");
    let items = read_back(&out);
    check_invariants(&context, &items);
    Accepted { context, items }
}

fn accept(bytes: &[u8]) -> Accepted {
    accept_with(bytes, None, &Limits::default())
}

/// Transcodes what must be refused, and checks that what was written until then is no whole tar.
fn refuse_with(bytes: &[u8], dockerfile: Option<&str>, limits: &Limits) -> ArchiveError {
    let (result, out) = try_with(bytes, dockerfile, limits);
    let error = result.expect_err("the archive breaks a rule");
    assert!(!is_whole(&out), "a refused archive left a whole tar behind");
    assert!(error.is_bad_upload());
    error
}

#[track_caller]
fn assert_refused(bytes: &[u8], code: &str) -> String {
    let error = refuse_with(bytes, None, &Limits::default());
    assert_eq!(error.code(), code, "{error}");
    error.to_string()
}

/// Whether a tar reaches its end marker.
fn is_whole(tar: &[u8]) -> bool {
    let mut rest = tar;
    while let Some((block, after)) = rest.split_at_checked(512) {
        if block.iter().all(|&byte| byte == 0) {
            return true;
        }
        let size = ::tar::Header::from_byte_slice(block).entry_size().unwrap();
        let size = usize::try_from(size.next_multiple_of(512)).unwrap();
        let Some(after) = after.get(size..) else { return false };
        rest = after;
    }
    false
}

fn read_back(tar: &[u8]) -> Vec<Item> {
    assert!(is_whole(tar));
    assert_eq!(tar.len() % 512, 0);
    let mut items = Vec::new();
    for entry in ::tar::Archive::new(tar).entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap()), (0, 0));
        assert_eq!((header.username_bytes(), header.groupname_bytes()), (Some(&b""[..]), Some(&b""[..])));
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        items.push(Item {
            path: String::from_utf8(entry.path_bytes().into_owned()).unwrap(),
            kind: header.entry_type(),
            mode: header.mode().unwrap(),
            mtime: header.mtime().unwrap(),
            target: entry.link_name_bytes().map(|target| String::from_utf8(target.into_owned()).unwrap()),
            content,
        });
    }
    items
}

/// The oracle: rebuilds the tree as an engine would and looks for anything that must not be.
fn check_invariants(context: &Context, items: &[Item]) {
    let mut folded = HashMap::new();
    let mut kinds = HashMap::new();
    for item in items {
        let is_folder = item.kind == ::tar::EntryType::Directory;
        assert_eq!(is_folder, item.path.ends_with('/'), "{item:?}");
        let path = item.path.trim_end_matches('/');
        let components: Vec<&str> = path.split('/').collect();
        assert!(!components.iter().any(|c| matches!(*c, "" | "." | "..")), "{item:?}");
        assert!(!path.contains(|c: char| c == '\\' || c.is_control()), "{item:?}");
        assert!(!components.iter().any(|c| c.len() == 2 && c.ends_with(':')), "{item:?}");
        let mode = match item.kind {
            ::tar::EntryType::Directory => &[0o755][..],
            ::tar::EntryType::Symlink => &[0o777],
            ::tar::EntryType::Regular => &[0o644, 0o755],
            other => panic!("{other:?} has no place in a context"),
        };
        assert!(mode.contains(&item.mode), "{item:?}");
        assert!((315_532_800..4_102_444_800).contains(&item.mtime), "{item:?}");

        for end in 1..=components.len() {
            let spelling = components[..end].join("/");
            let fold: String = spelling.nfc().collect::<String>().to_lowercase().nfc().collect();
            let known = folded.entry(fold).or_insert_with(|| spelling.clone());
            assert_eq!(*known, spelling, "two spellings of one name");
        }
        assert!(kinds.insert(path.to_owned(), item).is_none(), "{path} is there twice");
    }

    for item in items {
        let path = item.path.trim_end_matches('/');
        for (end, _) in path.match_indices('/') {
            let ancestor = kinds.get(&path[..end]);
            assert!(ancestor.is_none_or(|above| above.kind == ::tar::EntryType::Directory), "{item:?}");
        }
        if item.kind == ::tar::EntryType::Symlink {
            assert!(stays_inside(path, &kinds), "{item:?} leads outside");
        }
    }

    let dockerfile = kinds[&context.dockerfile];
    assert_eq!(dockerfile.kind, ::tar::EntryType::Regular);
    assert_eq!(context.entries as usize, items.len());
    assert_eq!(context.unpacked_bytes, items.iter().map(|item| item.content.len() as u64).sum::<u64>());
}

/// Follows a link step by step as a kernel does, through all other links.
fn stays_inside(link: &str, kinds: &HashMap<String, &Item>) -> bool {
    let mut here: Vec<String> = Vec::new();
    let mut todo: Vec<String> = link.rsplit('/').map(str::to_owned).collect();
    let mut links_followed = 0;
    while let Some(step) = todo.pop() {
        match step.as_str() {
            "" | "." => {}
            ".." => {
                if here.pop().is_none() {
                    return false;
                }
            }
            name => {
                here.push(name.to_owned());
                let Some(item) = kinds.get(&here.join("/")) else { continue };
                if item.kind == ::tar::EntryType::Symlink {
                    links_followed += 1;
                    if links_followed > 40 {
                        return true;
                    }
                    here.pop();
                    let target = item.target.as_deref().unwrap();
                    if target.starts_with('/') {
                        return false;
                    }
                    todo.extend(target.rsplit('/').map(str::to_owned));
                }
            }
        }
    }
    true
}
