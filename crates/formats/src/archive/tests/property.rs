//! Arbitrary input: nothing panics, and whatever is accepted keeps the rules. `accept`'s checks on the output
//! are an oracle of their own, and for zips the `zip` crate is a second one.

use std::io::{Cursor, Read};

use proptest::{collection::vec, prelude::*, sample::select};

use super::{
    super::Limits,
    check_invariants,
    common::{Thing, file, folder, link, pack_tar, pack_zip},
    is_whole,
    pack::{Descriptor, TarEntry, Zip, ZipEntry, gzip, tar_with_dockerfile},
    read_back, try_with,
};

/// Small limits, so that the limits themselves are met now and then.
const LIMITS: Limits = Limits {
    unpacked_bytes: 1 << 20,
    entries: 12,
    ratio: 20,
    ratio_after_bytes: 4096,
    name_bytes: 300,
    depth: 6,
};

fn check(bytes: &[u8]) -> bool {
    let (result, out) = try_with(bytes, None, &LIMITS);
    match result {
        Ok(context) => {
            check_invariants(&context, &read_back(&out));
            true
        }
        Err(error) => {
            assert!(!is_whole(&out), "{error}");
            assert!(error.is_bad_upload(), "{error}");
            false
        }
    }
}

fn samples() -> Vec<Vec<u8>> {
    let things = [
        folder("app/"),
        file("app/Dockerfile"),
        Thing::File("app/data".to_owned(), (0..2000_u32).flat_map(u32::to_le_bytes).collect()),
        link("app/link", "data"),
        file(&format!("app/{}", "long".repeat(40))),
    ];
    let tar = pack_tar(&things);
    let dialects = tar_with_dockerfile([
        TarEntry::pax(&[("path", b"pax"), ("size", b"1")]),
        TarEntry::file("short", b"p"),
        TarEntry::long_name(&[b'g'; 120]),
        TarEntry::file("g", b"g"),
    ]);
    let descriptors = Zip::with_dockerfile([
        ZipEntry { descriptor: Descriptor::Signed32, ..ZipEntry::deflated("a", b"content") },
        ZipEntry { descriptor: Descriptor::Bare64, ..ZipEntry::stored("b", b"content") },
    ]);
    let end64 = Zip {
        end64: Some(super::pack::End64 { saturated: [true; 3], ..Default::default() }),
        ..descriptors.clone()
    };
    vec![pack_zip(&things), gzip(&tar), tar, gzip(&dialects), dialects, descriptors.bytes(), end64.bytes()]
}

/// One change to the bytes of an archive.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Number(usize, u32),
    Cut(usize),
    Remove(usize, usize),
    Repeat(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<usize>;
    let interesting = select(vec![0, 1, 8, 0xff, 0xffff, 0x1_0000, 0x7fff_ffff, 0xffff_fffe, 0xffff_ffff]);
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Change::Set(at, byte)),
        (at(), 0..8_u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        (at(), interesting).prop_map(|(at, number)| Change::Number(at, number)),
        at().prop_map(Change::Cut),
        (at(), 1..600_usize).prop_map(|(at, count)| Change::Remove(at, count)),
        (at(), 1..600_usize).prop_map(|(at, count)| Change::Repeat(at, count)),
    ]
}

fn apply(bytes: &mut Vec<u8>, change: &Change) {
    if bytes.is_empty() {
        return;
    }
    let len = bytes.len();
    match *change {
        Change::Set(at, byte) => bytes[at % len] = byte,
        Change::Flip(at, bit) => bytes[at % len] ^= 1 << bit,
        Change::Number(at, number) => {
            let at = at % len;
            let number = number.to_le_bytes();
            let count = number.len().min(len - at);
            bytes[at..at + count].copy_from_slice(&number[..count]);
        }
        Change::Cut(at) => bytes.truncate(at % len),
        Change::Remove(at, count) => {
            let at = at % len;
            bytes.drain(at..(at + count).min(len));
        }
        Change::Repeat(at, count) => {
            let at = at % len;
            let part = bytes[at..(at + count).min(len)].to_vec();
            bytes.splice(at..at, part);
        }
    }
}

/// Names and targets made of everything that has ever gone wrong.
fn nasty_path() -> impl Strategy<Value = String> {
    let component = select(vec![
        "a",
        "b",
        "A",
        "c",
        "Dockerfile",
        "dockerfile",
        "..",
        ".",
        "",
        "é",
        "e\u{301}",
        "É",
        "x\\y",
        "C:",
        "a\0",
        "__MACOSX",
        ".DS_Store",
        "ß",
        "ss",
        "ς",
        "σ",
    ]);
    (vec(component, 1..4), prop::bool::weighted(0.1)).prop_map(|(components, is_folder)| {
        let mut path = components.join("/");
        if is_folder {
            path.push('/');
        }
        path
    })
}

fn nasty_target() -> impl Strategy<Value = String> {
    vec(select(vec!["..", ".", "a", "b", "c", "", "x\\y"]), 0..5).prop_map(|components| components.join("/"))
}

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        3 => nasty_path().prop_map(|path| file(&path)),
        1 => nasty_path().prop_map(|path| folder(&path)),
        2 => (nasty_path(), nasty_target()).prop_map(|(path, target)| link(&path, &target)),
    ]
}

/// Names that are fine one by one, so that what is tested is how they go together.
fn plain_thing() -> impl Strategy<Value = Thing> {
    let path = || vec(select(vec!["a", "b", "c", "A"]), 1..4).prop_map(|components| components.join("/"));
    let target = vec(select(vec!["..", "a", "b", "c"]), 1..4).prop_map(|components| components.join("/"));
    prop_oneof![
        3 => path().prop_map(|path| file(&path)),
        1 => path().prop_map(|path| folder(&path)),
        3 => (path(), target).prop_map(|(path, target)| link(&path, &target)),
    ]
}

fn check_things(things: &[Thing]) -> bool {
    let tar = pack_tar(things);
    let is_accepted = check(&pack_zip(things));
    assert_eq!(check(&gzip(&tar)), check(&tar));
    is_accepted
}

impl std::fmt::Debug for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(name, content) => write!(f, "file {name:?} of {}", content.len()),
            Self::Folder(name) => write!(f, "folder {name:?}"),
            Self::Link(name, target) => write!(f, "link {name:?} -> {target:?}"),
        }
    }
}

#[test]
fn the_unchanged_samples_are_accepted() {
    for bytes in samples() {
        assert!(check(&bytes));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_bytes_never_panic(
        magic in select(vec![&b""[..], b"PK\x03\x04", b"\x1f\x8b\x08\x00", b"PK\x05\x06"]),
        bytes in vec(any::<u8>(), 0..2000),
    ) {
        check(&[magic, &bytes].concat());
        check(&gzip(&bytes));
    }

    #[test]
    fn mutated_archives_keep_the_rules(which in 0..7_usize, changes in vec(change(), 1..4)) {
        let mut bytes = samples().swap_remove(which);
        for change in &changes {
            apply(&mut bytes, change);
        }
        check(&bytes);
    }

    #[test]
    fn mutated_tars_in_a_valid_gzip_keep_the_rules(which in select(vec![2, 4]), changes in vec(change(), 1..4)) {
        let mut bytes = samples().swap_remove(which);
        for change in &changes {
            apply(&mut bytes, change);
        }
        check(&gzip(&bytes));
    }

    #[test]
    fn nasty_names_never_come_out(things in vec(thing(), 0..8)) {
        let things = [&[file("Dockerfile")], &things[..]].concat();
        check_things(&things);
    }

    #[test]
    fn links_and_names_go_together_or_not_at_all(things in vec(plain_thing(), 0..6)) {
        let things = [&[file("Dockerfile")], &things[..]].concat();
        check_things(&things);
    }

    #[test]
    fn an_accepted_zip_is_the_same_for_the_zip_crate(which in select(vec![0, 5, 6]), changes in vec(change(), 0..2)) {
        let mut bytes = samples().swap_remove(which);
        for change in &changes {
            apply(&mut bytes, change);
        }
        let (result, out) = try_with(&bytes, None, &LIMITS);
        let Ok(context) = result else { return Ok(()) };

        let mut theirs = ::zip::ZipArchive::new(Cursor::new(&bytes)).expect("what we accept is a zip");
        let prefix = context.top_folder.map(|folder| format!("{folder}/")).unwrap_or_default();
        for item in read_back(&out) {
            let mut entry = theirs.by_name(&format!("{prefix}{}", item.path)).expect("the crate sees it too");
            let mut content = Vec::new();
            entry.read_to_end(&mut content).expect("the crate can read it");
            let ours = item.target.map_or(item.content, String::into_bytes);
            prop_assert_eq!(ours, content);
        }
    }
}
