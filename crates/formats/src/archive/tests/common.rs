//! Rules that hold for zips and tars alike: each case is packed both ways and once more with gzip.

use std::{
    io::{self, Write},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    super::{ArchiveError, Limits, Shown, transcode},
    DOCKERFILE, accept, accept_with, assert_refused, file_with,
    pack::{TarEntry, Zip, ZipEntry, gzip, tar},
    refuse_with,
};

/// An entry that both formats can hold.
#[derive(Clone)]
pub(super) enum Thing {
    File(String, Vec<u8>),
    Folder(String),
    Link(String, String),
}

pub(super) fn file(name: &str) -> Thing {
    Thing::File(name.to_owned(), b"content".to_vec())
}

pub(super) fn folder(name: &str) -> Thing {
    Thing::Folder(name.to_owned())
}

pub(super) fn link(name: &str, target: &str) -> Thing {
    Thing::Link(name.to_owned(), target.to_owned())
}

fn dockerfile() -> Thing {
    Thing::File(DOCKERFILE.0.to_owned(), DOCKERFILE.1.to_vec())
}

pub(super) fn pack_zip(things: &[Thing]) -> Vec<u8> {
    Zip::of(things.iter().map(|thing| match thing {
        Thing::File(name, content) => ZipEntry::deflated(name.as_bytes(), content),
        Thing::Folder(name) => ZipEntry::folder(name.as_bytes()),
        Thing::Link(name, target) => ZipEntry::link(name.as_bytes(), target),
    }))
    .bytes()
}

pub(super) fn pack_tar(things: &[Thing]) -> Vec<u8> {
    let mut entries = Vec::new();
    for thing in things {
        let entry = match thing {
            Thing::File(name, content) => TarEntry::file(name.as_bytes(), content),
            Thing::Folder(name) => TarEntry::folder(name.as_bytes()),
            Thing::Link(name, target) => TarEntry::link(name.as_bytes(), target.as_bytes()),
        };
        if entry.name.len() > 100 {
            entries.push(TarEntry::long_name(&entry.name));
        }
        if entry.target.len() > 100 {
            entries.push(TarEntry::new(b'K', "././@LongLink", &[&entry.target[..], &[0]].concat()));
        }
        entries.push(entry);
    }
    tar(entries)
}

/// The same things as zip, tar and tar.gz.
fn packed(things: &[Thing]) -> [Vec<u8>; 3] {
    let tar = pack_tar(things);
    [pack_zip(things), gzip(&tar), tar]
}

/// A Dockerfile and then the things must be refused, in every format.
#[track_caller]
fn assert_things_refused(things: &[Thing], code: &str) {
    let things = [&[dockerfile()], things].concat();
    for bytes in packed(&things) {
        assert_refused(&bytes, code);
    }
}

#[track_caller]
fn assert_things_accepted(things: &[Thing], paths: &[&str]) {
    let things = [&[dockerfile()], things].concat();
    for bytes in packed(&things) {
        assert_eq!(accept(&bytes).paths(), [&["Dockerfile"], paths].concat());
    }
}

#[test]
fn a_name_that_climbs_out_is_refused() {
    for name in ["../x", "a/../../x", "a/../x", "..", "../", "a/..", "./../x"] {
        assert_things_refused(&[file(name)], "archive_path_escapes");
    }
}

#[test]
fn an_absolute_name_is_refused() {
    for name in
        ["/etc/cron.d/x", "//x", "\\\\server\\share\\x", "\\x", "C:\\x", "c:/x", "C:", "./C:/x", "app/C:/x"]
    {
        assert_things_refused(&[file(name)], "archive_path_escapes");
    }
}

#[test]
fn a_backslash_in_a_name_is_refused() {
    for name in ["..\\x", "a\\b", "a/b\\..\\..\\c"] {
        assert_things_refused(&[file(name)], "archive_path_backslash");
    }
}

#[test]
fn a_control_character_in_a_name_is_refused() {
    for name in ["a\nb", "a\x1b[31mb", "a\x7f", "a\u{85}b"] {
        assert_things_refused(&[file(name)], "archive_path_control");
    }
}

#[test]
fn an_empty_or_dot_component_is_refused() {
    for name in ["a//b", "a/./b", "././a", "a/.", ".//a", "a//"] {
        assert_things_refused(&[file(name)], "archive_path_unclean");
    }
}

#[test]
fn names_that_only_look_odd_are_accepted() {
    let names =
        ["...", "..a", "a..", ".hidden/file", "a b", "ümläut", "名字", "a:b", "ab:c", "-rf", "`x`", "🚢"];

    assert_things_accepted(&names.map(file), &names);
}

#[test]
fn one_leading_dot_slash_is_taken_off() {
    let things = [folder("./"), file("./Dockerfile"), folder("./src/"), file("./src/main.rs")];

    for bytes in packed(&things) {
        assert_eq!(accept(&bytes).paths(), ["Dockerfile", "src/", "src/main.rs"]);
    }
}

#[test]
fn a_name_that_is_too_long_is_refused() {
    assert_things_refused(&[file(&"d/".repeat(10).repeat(60))], "archive_name_too_long");
    assert_things_refused(&[file(&"x".repeat(65_000))], "archive_name_too_long");
    assert_things_refused(&[file(&format!("a/{}/b", "x".repeat(256)))], "archive_name_too_long");
}

#[test]
fn long_names_and_targets_within_the_limit_survive() {
    let long = format!("{}/{}", "n".repeat(255), "ü".repeat(127));
    let target = format!("{}/{}", "t".repeat(255), "x".repeat(200));
    let hundred = "h".repeat(100);
    let things = [file(&long), file(&hundred), folder(&"f".repeat(100)), link("long-link", &target)];

    for bytes in packed(&[&[dockerfile()], &things[..]].concat()) {
        let accepted = accept(&bytes);
        let folder = format!("{}/", "f".repeat(100));
        assert_eq!(accepted.paths(), ["Dockerfile", &long, &hundred, &folder, "long-link"]);
        assert_eq!(accepted.item("long-link").target.as_deref(), Some(&*target));
    }
}

#[test]
fn a_name_that_is_too_deep_is_refused() {
    assert_things_refused(&[file(&format!("{}x", "d/".repeat(64)))], "archive_too_deep");
    let fits = format!("{}x", "d/".repeat(63));
    assert_things_accepted(&[file(&fits)], &[&fits]);
}

#[test]
fn a_link_that_leaves_the_context_is_refused() {
    for target in
        ["/etc/passwd", "../x", "a/../../x", "a/..", "..", "./../x", "", "a//b", "a\\b", "a\nb", "//"]
    {
        assert_things_refused(&[link("escape", target)], "archive_link");
    }
    for target in ["../../x", "../../../d/x", "x/../../.."] {
        assert_things_refused(&[link("d/escape", target)], "archive_link");
    }
    assert_things_refused(&[link("long", &"x/".repeat(600))], "archive_name_too_long");
}

#[test]
fn a_link_chain_cannot_climb_from_where_another_link_led() {
    // Counted by its letters the second link stays deep inside; followed, it leaves.
    let things = [folder("a/b/c/"), link("a/b/c/top", "../../.."), link("a/b/c/out", "top/../etc")];

    assert_things_refused(&things, "archive_link");
}

#[test]
fn links_that_stay_inside_are_kept() {
    let links = [
        ("current", "v1"),
        ("bin/tool", "../lib/tool"),
        ("a/b/top", "../.."),
        ("dangling", "nowhere/at/all"),
        ("loop", "loop"),
        ("dot", "./v1/./x/"),
        ("self", "."),
    ];
    let things: Vec<Thing> = links.iter().map(|(name, target)| link(name, target)).collect();

    for bytes in packed(&[&[dockerfile()], &things[..]].concat()) {
        let accepted = accept(&bytes);
        for (name, target) in links {
            assert_eq!(accepted.item(name).target.as_deref(), Some(target));
        }
    }
}

#[test]
fn links_are_judged_from_the_root_that_the_context_gets() {
    let things =
        [folder("app/"), file("app/Dockerfile"), link("app/inside", "x"), link("app/out", "../outside")];

    for bytes in packed(&things) {
        assert_refused(&bytes, "archive_link");
    }
}

#[test]
fn an_entry_through_a_link_is_refused_in_either_order() {
    assert_things_refused(&[link("a", "b"), file("a/cron.d/x")], "archive_through_link");
    assert_things_refused(&[file("a/cron.d/x"), link("a", "b")], "archive_through_link");
    assert_things_refused(&[folder("a/"), link("a", "b")], "archive_through_link");
    assert_things_refused(&[link("a", "b"), folder("a/")], "archive_through_link");
    assert_things_refused(&[link("d/a", "b"), file("D/A/x")], "archive_case_twin");
    assert_things_refused(&[link("a", "b"), file("A/x")], "archive_through_link");
}

#[test]
fn a_name_that_comes_twice_is_refused() {
    assert_things_refused(&[file("a"), file("a")], "archive_duplicate");
    assert_things_refused(&[file("Dockerfile")], "archive_duplicate");
    assert_things_refused(&[file("./Dockerfile")], "archive_duplicate");
    assert_things_refused(&[folder("d/"), folder("d/")], "archive_duplicate");
    assert_things_refused(&[link("a", "b"), file("a")], "archive_duplicate");
    assert_things_refused(&[file("a"), link("a", "b")], "archive_duplicate");
    assert_things_refused(&[link("a", "b"), link("a", "c")], "archive_duplicate");
}

#[test]
fn names_that_differ_only_by_case_or_form_are_refused() {
    assert_things_refused(&[file("dockerfile")], "archive_case_twin");
    assert_things_refused(&[file("src/A"), file("SRC/b")], "archive_case_twin");
    assert_things_refused(&[file("Ärger"), file("ärger")], "archive_case_twin");
    assert_things_refused(&[file("\u{e9}"), file("e\u{301}")], "archive_case_twin");
    assert_things_refused(&[file("\u{c9}"), file("e\u{301}")], "archive_case_twin");
    assert_things_refused(&[file("ΟΔΟΣ"), file("οδος")], "archive_case_twin");
    assert_things_refused(&[file("οδοσ"), file("οδος")], "archive_case_twin");
    assert_things_refused(&[file("\u{212a}"), file("k")], "archive_case_twin");
    assert_things_refused(&[folder("d/"), file("D")], "archive_case_twin");
}

#[test]
fn a_name_that_is_file_and_folder_is_refused() {
    assert_things_refused(&[file("a"), file("a/b")], "archive_name_clash");
    assert_things_refused(&[file("a/b"), file("a")], "archive_name_clash");
    assert_things_refused(&[folder("a/"), file("a")], "archive_name_clash");
    assert_things_refused(&[file("a"), folder("a/")], "archive_name_clash");
}

#[test]
fn a_folder_may_be_named_after_what_is_in_it() {
    assert_things_accepted(&[file("d/x"), folder("d/"), file("d/y")], &["d/x", "d/", "d/y"]);
}

#[test]
fn too_many_entries_are_refused() {
    let limits = Limits { entries: 10, ..Limits::default() };
    let names = |count: usize| -> Vec<Thing> {
        [dockerfile()].into_iter().chain((1..count).map(|index| file(&format!("f{index}")))).collect()
    };

    for bytes in packed(&names(10)) {
        assert_eq!(accept_with(&bytes, None, &limits).items.len(), 10);
    }
    for bytes in packed(&names(11)) {
        assert_eq!(refuse_with(&bytes, None, &limits).code(), "archive_too_many_entries");
    }
}

#[test]
fn folders_that_names_only_imply_count_as_entries() {
    let limits = Limits { entries: 10, ..Limits::default() };

    for bytes in packed(&[dockerfile(), file("1/2/3/4/5/6/7/8/9")]) {
        accept_with(&bytes, None, &limits);
    }
    for bytes in packed(&[dockerfile(), file("1/2/3/4/5/6/7/8/9/10")]) {
        assert_eq!(refuse_with(&bytes, None, &limits).code(), "archive_too_many_entries");
    }
}

#[test]
fn contents_beyond_the_limit_are_refused() {
    let limits = Limits { unpacked_bytes: 100_000, ..Limits::default() };
    let things = |size: usize| [dockerfile(), Thing::File("big".to_owned(), vec![b'x'; size])];

    for bytes in packed(&things(100_000 - DOCKERFILE.1.len())) {
        accept_with(&bytes, None, &limits);
    }
    for bytes in packed(&things(100_001 - DOCKERFILE.1.len())) {
        assert_eq!(refuse_with(&bytes, None, &limits).code(), "archive_too_large");
    }
}

#[test]
fn a_bomb_is_stopped_early() {
    let things = [dockerfile(), Thing::File("zeros".to_owned(), vec![0; 64 << 20])];
    let tar = pack_tar(&things);
    let nested = gzip(&pack_tar(&[Thing::File("app/Dockerfile".to_owned(), vec![0; 64 << 20])]));

    for bytes in [pack_zip(&things), gzip(&tar), nested] {
        let mut out = Vec::new();
        let (limits, cancelled) = (Limits::default(), AtomicBool::new(false));
        let error = transcode(&file_with(&bytes), None, &mut out, &limits, &cancelled).unwrap_err();
        assert_eq!(error.code(), "archive_ratio");
        assert!(out.len() < 24 << 20, "{} bytes came out", out.len());
    }
    // The same content is fine where it is not packed.
    accept(&tar);
}

#[test]
fn a_small_file_of_zeros_is_no_bomb() {
    for bytes in packed(&[dockerfile(), Thing::File("zeros".to_owned(), vec![0; 8 << 20])]) {
        accept(&bytes);
    }
}

#[test]
fn tens_of_thousands_of_entries_pass() {
    let things: Vec<Thing> = [dockerfile()]
        .into_iter()
        .chain((0..20_000).map(|index| file(&format!("src/module-{:03}/file-{index:05}.rs", index / 100))))
        .collect();

    for bytes in packed(&things) {
        assert_eq!(accept(&bytes).context.entries, 20_001);
    }
}

#[test]
fn the_only_folder_becomes_the_root() {
    let things = [folder("app/"), file("app/Dockerfile"), folder("app/src/"), file("app/src/x")];

    for bytes in packed(&things) {
        let accepted = accept(&bytes);
        assert_eq!(accepted.paths(), ["Dockerfile", "src/", "src/x"]);
        assert_eq!(accepted.context.top_folder.as_deref(), Some("app"));
        assert_eq!(accepted.context.dockerfile, "Dockerfile");
    }
}

#[test]
fn a_dockerfile_at_the_root_keeps_a_folder_a_folder() {
    for things in [[dockerfile(), file("app/Dockerfile")], [file("app/Dockerfile"), dockerfile()]] {
        for bytes in packed(&things) {
            let accepted = accept(&bytes);
            assert_eq!(accepted.items.len(), 2);
            assert_eq!(accepted.context.top_folder, None);
        }
    }
}

#[test]
fn a_dockerfile_in_one_of_several_folders_is_not_taken() {
    for beside in [file("other/x"), file("readme"), link("l", "app"), folder("other/")] {
        for bytes in packed(&[file("app/Dockerfile"), beside.clone()]) {
            let message = assert_refused(&bytes, "dockerfile_missing");
            assert!(message.contains("found `app/Dockerfile`"), "{message}");
        }
    }
}

#[test]
fn a_dockerfile_two_folders_down_is_not_taken() {
    for bytes in packed(&[file("a/b/Dockerfile")]) {
        assert_refused(&bytes, "dockerfile_missing");
        assert_eq!(accept_with(&bytes, Some("a/b/Dockerfile"), &Limits::default()).context.top_folder, None);
        let inner = accept_with(&bytes, Some("b/Dockerfile"), &Limits::default());
        assert_eq!(inner.context.top_folder.as_deref(), Some("a"));
    }
}

#[test]
fn a_missing_dockerfile_is_said_with_what_was_found() {
    for bytes in packed(&[file("src/x"), file("src/dockerfile")]) {
        assert_eq!(
            assert_refused(&bytes, "dockerfile_missing"),
            "there is no `Dockerfile` at the root of the archive or in its only folder; found `src/dockerfile`, \
             so pass that as `dockerfile` or move it"
        );
    }
    for bytes in packed(&[file("x")]) {
        assert_eq!(
            assert_refused(&bytes, "dockerfile_missing"),
            "there is no `Dockerfile` at the root of the archive or in its only folder"
        );
    }
}

#[test]
fn a_dockerfile_elsewhere_can_be_named() {
    let things = [file("docker/prod.Dockerfile"), file("x")];

    for bytes in packed(&things) {
        for name in ["docker/prod.Dockerfile", "./docker/prod.Dockerfile"] {
            let accepted = accept_with(&bytes, Some(name), &Limits::default());
            assert_eq!(accepted.context.dockerfile, "docker/prod.Dockerfile");
        }
    }
}

#[test]
fn a_path_that_exists_from_the_root_and_from_the_folder_means_the_root() {
    for bytes in packed(&[file("a/a/Dockerfile"), file("a/Dockerfile")]) {
        let accepted = accept_with(&bytes, Some("a/Dockerfile"), &Limits::default());
        assert_eq!(accepted.paths(), ["a/a/Dockerfile", "a/Dockerfile"]);
    }
}

#[test]
fn a_dockerfile_outside_is_refused() {
    for name in ["../Dockerfile", "/etc/passwd", "a/../../x", "", ".", "x/", "a\\b", "C:\\x", "a\0b"] {
        for bytes in packed(&[dockerfile()]) {
            let error = refuse_with(&bytes, Some(name), &Limits::default());
            assert_eq!(error.code(), "dockerfile_outside", "{name:?}");
        }
    }
}

#[test]
fn a_dockerfile_that_is_no_plain_file_is_refused() {
    for thing in [link("Dockerfile", "x"), folder("Dockerfile/")] {
        for bytes in packed(&[thing.clone(), file("x")]) {
            assert_refused(&bytes, "dockerfile_not_a_file");
        }
    }
    for bytes in packed(&[link("app/Dockerfile", "x"), file("app/x")]) {
        assert_refused(&bytes, "dockerfile_not_a_file");
    }
}

#[test]
fn clutter_of_a_mac_is_left_out() {
    let things = [
        folder("app/"),
        file("app/Dockerfile"),
        file("app/.DS_Store"),
        folder("__MACOSX/"),
        file("__MACOSX/._app"),
        file("__MACOSX/app/._Dockerfile"),
        file("._app"),
        file(".DS_Store"),
        file("app/__MACOSX"),
    ];

    for bytes in packed(&things) {
        assert_eq!(accept(&bytes).paths(), ["Dockerfile", "__MACOSX"]);
    }
}

#[test]
fn clutter_is_no_way_around_the_rules() {
    assert_things_refused(&[file("__MACOSX/../../x")], "archive_path_escapes");
    assert_things_refused(&[file("__MACOSX/a\nb")], "archive_path_control");
}

#[test]
fn an_archive_with_nothing_but_clutter_is_empty() {
    for bytes in packed(&[folder("__MACOSX/"), file(".DS_Store")]) {
        assert_refused(&bytes, "archive_empty");
    }
}

#[test]
fn an_archive_without_entries_is_empty() {
    for bytes in packed(&[]) {
        assert_refused(&bytes, "archive_empty");
    }
    assert_refused(&[0; 512], "archive_empty");
}

#[test]
fn what_is_no_archive_is_refused_in_words() {
    let cases: [(&[u8], &str); 9] = [
        (b"<!DOCTYPE html><html>login</html>", "an HTML page"),
        (b"\r\n  <html><body>502 Bad Gateway", "an HTML page"),
        (b"<?xml version=\"1.0\"?>", "an XML document"),
        (b"{\"error\":1}", "a JSON document"),
        (b"FROM scratch\n", "a single Dockerfile"),
        (b"hello", "something else"),
        (b"PK", "something else"),
        (b"%PDF-1.7", "something else"),
        (&[0x7f; 4096], "something else"),
    ];
    for (bytes, what) in cases {
        let message = assert_refused(bytes, "not_an_archive");
        assert!(message.starts_with(&format!("the upload is {what}, not an archive")), "{message}");
    }
    assert_refused(&gzip(b"just a packed text"), "not_an_archive");
    assert_refused(&gzip(&[b'x'; 2000]), "not_an_archive");
}

#[test]
fn an_empty_upload_is_refused() {
    assert_refused(b"", "upload_empty");
}

#[test]
fn other_archive_formats_are_named() {
    let cases: [(&[u8], &str); 5] = [
        (b"\xfd7zXZ\0rest", "an xz file"),
        (b"\x28\xb5\x2f\xfdrest", "a zstd file"),
        (b"BZh91AY&SY", "a bzip2 file"),
        (b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
        (b"Rar!\x1a\x07\x01\0", "a rar archive"),
    ];
    for (bytes, what) in cases {
        let message = assert_refused(bytes, "archive_format_unsupported");
        assert_eq!(message, format!("the upload is {what}; send a zip, tar or tar.gz file instead"));
    }
}

#[test]
fn a_cut_off_upload_is_refused_wherever_it_ends() {
    let content: Vec<u8> =
        (0..40_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let things = [dockerfile(), Thing::File("data".to_owned(), content), file("last")];

    for whole in packed(&things) {
        for part in [600, whole.len() / 2, whole.len() - 1100, whole.len() - 1024, whole.len() - 20] {
            let error = super::try_with(&whole[..part], None, &Limits::default()).0;
            // A tar may lose zeros after its end.
            if let Err(error) = error {
                assert_eq!(error.code(), "archive_truncated", "{part} of {}: {error}", whole.len());
            } else {
                assert!(
                    part > whole.len() - 1024 && !whole.starts_with(b"PK") && !whole.starts_with(b"\x1f")
                );
            }
        }
    }
}

#[test]
fn a_cancelled_transcoding_stops() {
    struct CancelAtFirstWrite<'a>(&'a AtomicBool, usize);
    impl Write for CancelAtFirstWrite<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.store(true, Ordering::Relaxed);
            self.1 += bytes.len();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let content: Vec<u8> =
        (0..1_000_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();

    for bytes in packed(&[dockerfile(), Thing::File("data".to_owned(), content)]) {
        let cancelled = AtomicBool::new(false);
        let mut out = CancelAtFirstWrite(&cancelled, 0);
        let error =
            transcode(&file_with(&bytes), None, &mut out, &Limits::default(), &cancelled).unwrap_err();
        assert_eq!(error.code(), "archive_cancelled");
        assert!(!error.is_bad_upload());
        assert!(out.1 < 1 << 20);
    }
}

#[test]
fn a_full_disk_is_not_the_senders_fault() {
    struct Full(io::ErrorKind);
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    for bytes in packed(&[dockerfile()]) {
        for (kind, is_full) in [
            (io::ErrorKind::StorageFull, true),
            (io::ErrorKind::QuotaExceeded, true),
            (io::ErrorKind::Other, false),
        ] {
            let (limits, cancelled) = (Limits::default(), AtomicBool::new(false));
            let error =
                transcode(&file_with(&bytes), None, &mut Full(kind), &limits, &cancelled).unwrap_err();
            assert_eq!(error.code(), "archive_write_failed");
            assert_eq!(error.is_storage_full(), is_full);
            assert!(!error.is_bad_upload());
        }
    }
}

#[test]
fn the_cursor_of_the_upload_does_not_matter() {
    use std::io::{Seek, SeekFrom};
    for bytes in packed(&[dockerfile()]) {
        let mut file = file_with(&bytes);
        file.seek(SeekFrom::End(0)).unwrap();
        transcode(&file, None, &mut io::sink(), &Limits::default(), &AtomicBool::new(false)).unwrap();
        assert_eq!(file.stream_position().unwrap(), bytes.len() as u64);
    }
}

#[test]
fn messages_show_names_harmlessly_and_short() {
    for bytes in packed(&[dockerfile(), file("a\u{1b}[2J\u{202e}`\nb")]) {
        let message = assert_refused(&bytes, "archive_path_control");
        assert!(message.contains(r"`a\u{1b}[2J\u{202e}\u{60}\u{a}b`"), "{message}");
    }
    let long = Shown::new(&format!("{}{}", "x".repeat(5000), "end")).to_string();
    assert_eq!(long.chars().count(), 101);
    assert!(long.ends_with("end"));
}

#[test]
fn every_message_is_a_plain_sentence() {
    let name = || Shown::new("x");
    let errors = [
        ArchiveError::UploadEmpty,
        ArchiveError::Truncated,
        ArchiveError::HardLink { name: name() },
        ArchiveError::Ratio { limit: 100 },
        ArchiveError::Read(io::Error::other("disk")),
    ];
    for error in errors {
        let message = error.to_string();
        assert!(message.starts_with(char::is_lowercase) && !message.ends_with('.'), "{message}");
    }
}
