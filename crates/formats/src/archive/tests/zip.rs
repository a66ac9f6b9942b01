//! What is particular to zips.

use std::io::{Cursor, Write};

use ::zip::{CompressionMethod, ZipWriter, write::SimpleFileOptions};

use super::{
    super::Limits,
    DOCKERFILE, accept, accept_with, assert_refused,
    pack::{Descriptor, End64, LINK, REGULAR, Zip, ZipEntry, crc, deflate, extra},
    refuse_with, try_with,
};

fn entry() -> ZipEntry {
    ZipEntry::deflated("data", b"some content, some content, some content")
}

#[track_caller]
fn assert_entry_refused(entry: ZipEntry, code: &str) -> String {
    assert_refused(&Zip::with_dockerfile([entry]).bytes(), code)
}

#[track_caller]
fn assert_entry_accepted(entry: ZipEntry) {
    let accepted = accept(&Zip::with_dockerfile([entry]).bytes());
    assert_eq!(accepted.items.len(), 2);
}

/// A zip as the `zip` crate writes it.
fn honest(options: SimpleFileOptions) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.add_directory("src/", options).unwrap();
    zip.start_file("Dockerfile", options).unwrap();
    zip.write_all(DOCKERFILE.1).unwrap();
    zip.start_file("src/run.sh", options.unix_permissions(0o4755)).unwrap();
    zip.write_all(b"#!/bin/sh\n").unwrap();
    zip.add_symlink("start", "src/run.sh", options).unwrap();
    zip.set_comment("made by a test").unwrap();
    zip.finish().unwrap().into_inner()
}

#[test]
fn an_honest_zip_is_accepted_whole() {
    let zip64 = SimpleFileOptions::default().large_file(true);
    for options in [
        SimpleFileOptions::default(),
        SimpleFileOptions::default().compression_method(CompressionMethod::Stored),
        zip64,
    ] {
        let accepted = accept(&honest(options));

        assert_eq!(accepted.paths(), ["src/", "Dockerfile", "src/run.sh", "start"]);
        assert_eq!(accepted.item("Dockerfile").content, DOCKERFILE.1);
        assert_eq!(accepted.item("Dockerfile").mode, 0o644);
        assert_eq!(accepted.item("src/run.sh").mode, 0o755);
        assert_eq!(accepted.item("start").target.as_deref(), Some("src/run.sh"));
        assert_eq!(accepted.context.unpacked_bytes, 23);
    }
}

#[test]
fn an_honest_zip_from_a_stream_is_accepted() {
    let mut zip = ZipWriter::new_stream(Vec::new());
    zip.start_file("Dockerfile", SimpleFileOptions::default()).unwrap();
    zip.write_all(DOCKERFILE.1).unwrap();
    zip.start_file("big", SimpleFileOptions::default().large_file(true)).unwrap();
    zip.write_all(&vec![b'x'; 300_000]).unwrap();
    let bytes = zip.finish().unwrap().into_inner();

    let accepted = accept(&bytes);

    assert_eq!(accepted.item("big").content, vec![b'x'; 300_000]);
}

#[test]
fn every_form_of_data_descriptor_is_understood() {
    for descriptor in [Descriptor::Signed32, Descriptor::Bare32, Descriptor::Signed64, Descriptor::Bare64] {
        assert_entry_accepted(ZipEntry { descriptor, ..entry() });
        assert_entry_accepted(ZipEntry { descriptor, ..ZipEntry::stored("data", b"stored") });
        assert_entry_accepted(ZipEntry { descriptor, ..ZipEntry::stored("empty", b"") });
    }
}

#[test]
fn a_wrong_data_descriptor_is_refused() {
    assert_entry_refused(ZipEntry { descriptor: Descriptor::Wrong, ..entry() }, "archive_header_mismatch");
}

#[test]
fn a_missing_data_descriptor_is_refused() {
    let entry = ZipEntry { flags: 8, ..entry() };

    assert_entry_refused(entry, "archive_header_mismatch");
}

#[test]
fn a_local_header_that_says_something_else_is_refused() {
    let cases = [
        ZipEntry { local_name: Some(b"atad".to_vec()), ..entry() },
        ZipEntry { local_name: Some(b"data2".to_vec()), ..entry() },
        ZipEntry { local_method: Some(0), ..entry() },
        ZipEntry { local_flags: Some(1), ..entry() },
        ZipEntry { local_flags: Some(8), ..entry() },
        ZipEntry { local_flags: Some(1 << 11), ..entry() },
        ZipEntry { local_size: Some(41), ..entry() },
        ZipEntry { local_size: Some(0), ..entry() },
        ZipEntry { local_packed_size: Some(1), ..entry() },
        ZipEntry { local_crc: Some(1), ..entry() },
        ZipEntry { local_size: Some(41), descriptor: Descriptor::Signed32, ..entry() },
        ZipEntry { local_signature: 0x0807_4b50, ..entry() },
    ];
    for case in cases {
        assert_entry_refused(case, "archive_header_mismatch");
    }
}

#[test]
fn the_hint_flags_of_a_compressor_may_differ() {
    assert_entry_accepted(ZipEntry { local_flags: Some(2), ..entry() });
}

#[test]
fn a_content_larger_than_announced_is_cut_at_once() {
    let bomb = deflate(&vec![b'x'; 10 << 20]);
    let lying = ZipEntry { packed_size: u32::try_from(bomb.len()).unwrap(), packed: bomb, ..entry() };

    let (result, out) = try_with(&Zip::with_dockerfile([lying]).bytes(), None, &Limits::default());

    assert_eq!(result.unwrap_err().code(), "archive_size_mismatch");
    assert!(out.len() < 4096);
}

#[test]
fn a_content_smaller_than_announced_is_refused() {
    assert_entry_refused(ZipEntry { size: 41, ..entry() }, "archive_size_mismatch");
    assert_entry_refused(ZipEntry { size: 41, ..ZipEntry::stored("a", b"b") }, "archive_header_mismatch");
}

#[test]
fn compressed_content_that_ends_before_its_bytes_is_refused() {
    let mut padded = entry();
    padded.packed.extend(b"smuggled");
    padded.packed_size += 8;

    assert_entry_refused(padded, "archive_header_mismatch");
}

#[test]
fn compressed_content_without_an_end_is_refused() {
    let mut cut = entry();
    cut.packed.pop();
    cut.packed_size -= 1;

    assert_entry_refused(cut, "archive_corrupt");
}

#[test]
fn a_wrong_check_sum_is_refused() {
    assert_entry_refused(ZipEntry { crc: 1, ..entry() }, "archive_corrupt");
    assert_entry_refused(ZipEntry { crc: 1, ..ZipEntry::stored("a", b"b") }, "archive_corrupt");
    assert_entry_refused(ZipEntry { crc: 1, ..ZipEntry::link("a", "b") }, "archive_corrupt");
}

#[test]
fn content_that_is_no_deflate_is_refused() {
    let entry = ZipEntry { method: 8, ..ZipEntry::stored("a", &[0xff; 40]) };

    assert_entry_refused(entry, "archive_corrupt");
}

#[test]
fn an_encrypted_entry_is_refused() {
    for flags in [1, 1 | 1 << 6, 1 << 13] {
        assert_entry_refused(ZipEntry { flags, ..entry() }, "archive_encrypted");
    }
}

#[test]
fn other_compression_methods_are_refused() {
    for method in [1, 6, 9, 12, 14, 93, 95, 99] {
        let message = assert_entry_refused(ZipEntry { method, ..entry() }, "archive_method_unsupported");
        assert!(message.contains(&format!("method {method}")));
    }
    assert_entry_refused(ZipEntry { flags: 1 << 5, ..entry() }, "archive_method_unsupported");
}

#[test]
fn entries_that_share_bytes_are_refused() {
    let same = ZipEntry { is_phantom: true, offset: Some(0), ..ZipEntry::stored("Dockerfile", DOCKERFILE.1) };
    let other_name = ZipEntry { name: b"Dockerfil2".to_vec(), ..same.clone() };
    for phantom in [same, other_name] {
        let message = assert_entry_refused(phantom, "archive_overlap");
        assert!(message.contains("`Dockerfil"), "{message}");
    }
}

#[test]
fn a_bomb_of_nested_local_headers_is_refused() {
    // The kernel lies in the last entry; each entry before quotes the next one's header as stored deflate data.
    let kernel = ZipEntry::deflated("kernel", &[0; 4096]);
    let mut quoting = kernel.clone();
    quoting.name = b"quotes".to_vec();
    quoting.packed_size += 36 + 4;
    quoting.size += 36;

    let bytes = Zip::with_dockerfile([quoting, kernel]).bytes();

    assert_refused(&bytes, "archive_overlap");
}

#[test]
fn an_entry_that_reaches_the_next_only_by_its_local_extra_is_refused() {
    // The central record cannot show it: the extra field of the local header moves the content.
    let mut first = ZipEntry { local_extra: extra(0x9999, &[0; 40]), ..ZipEntry::stored("a", &[b'x'; 100]) };
    first.packed.truncate(80);

    let bytes = Zip::with_dockerfile([first, ZipEntry::stored("b", b"")]).bytes();

    assert_refused(&bytes, "archive_overlap");
}

#[test]
fn an_entry_that_reaches_into_the_directory_is_refused() {
    let mut last = ZipEntry::stored("z", &[b'x'; 100]);
    last.packed.truncate(80);

    assert_entry_refused(last, "archive_overlap");
}

#[test]
fn an_entry_beyond_the_end_is_refused() {
    for offset in [1 << 20, u32::MAX - 1] {
        let lost = ZipEntry { is_phantom: true, offset: Some(offset), ..entry() };
        assert_entry_refused(lost, "archive_overlap");
    }
}

#[test]
fn bytes_around_the_archive_are_refused() {
    let zip = Zip::with_dockerfile([entry()]);
    let cases = [
        Zip { suffix: b"tail".to_vec(), ..zip.clone() },
        Zip { directory_gap: b"gap".to_vec(), ..zip.clone() },
        Zip { count: Some(1), ..zip.clone() },
        // A whole zip behind another.
        Zip { suffix: zip.bytes(), ..zip.clone() },
    ];
    for case in cases {
        assert_refused(&case.bytes(), "archive_extra_data");
    }
    let stub = Zip { prefix: b"#!/bin/sh\n".to_vec(), ..zip.clone() };
    assert_refused(&stub.bytes(), "not_an_archive");
    // A first entry that the directory does not know.
    let mut hidden = Vec::new();
    hidden.extend(&Zip::of([entry()]).bytes()[..80]);
    assert_refused(&Zip { prefix: hidden, ..zip }.bytes(), "archive_extra_data");
}

#[test]
fn a_comment_that_looks_like_another_end_is_refused() {
    let zip = Zip::with_dockerfile([entry()]);
    let inner = Zip::with_dockerfile([]).bytes();

    let message = assert_refused(&Zip { comment: inner, ..zip.clone() }.bytes(), "archive_extra_data");
    assert!(message.contains("two ends"));

    accept(&Zip { comment: b"a plain comment, PK and all".to_vec(), ..zip }.bytes());
}

#[test]
fn unused_bytes_between_entries_are_only_unused() {
    accept(&Zip { gap: b"left by an editor".to_vec(), ..Zip::with_dockerfile([entry()]) }.bytes());
}

#[test]
fn a_directory_that_counts_more_than_it_has_is_refused() {
    let zip = Zip { count: Some(3), ..Zip::with_dockerfile([entry()]) };

    assert_refused(&zip.bytes(), "archive_corrupt");
}

#[test]
fn one_part_of_several_is_refused() {
    assert_refused(&Zip { disk: 1, ..Zip::with_dockerfile([]) }.bytes(), "archive_split");
    assert_entry_refused(ZipEntry { disk: 1, ..entry() }, "archive_split");
    assert_refused(b"PK\x07\x08PK\x03\x04", "archive_split");
    let end64 = Some(End64 { disks: 2, ..End64::default() });
    assert_refused(&Zip { end64, ..Zip::with_dockerfile([]) }.bytes(), "archive_split");
}

#[test]
fn an_honest_zip64_end_is_understood() {
    for saturated in [[false; 3], [true; 3], [false, true, false]] {
        let end64 = Some(End64 { saturated, ..End64::default() });
        accept(&Zip { end64, ..Zip::with_dockerfile([entry()]) }.bytes());
    }
}

#[test]
fn a_zip64_end_that_lies_is_refused() {
    let lies = [
        End64 { count_delta: 1, ..End64::default() },
        End64 { start_delta: 1, ..End64::default() },
        End64 { size_delta: 1, ..End64::default() },
        End64 { record_size_delta: 1, ..End64::default() },
        End64 { record_size_delta: u64::MAX - 44, ..End64::default() },
        End64 { start_delta: 1, saturated: [true; 3], ..End64::default() },
        End64 { size_delta: u64::MAX - 50, saturated: [true; 3], ..End64::default() },
        // What one of the two numbers lacks the other has.
        End64 { size_delta: 1, start_delta: u64::MAX, saturated: [true, false, true], ..End64::default() },
        End64 { size_delta: 1, start_delta: u64::MAX, saturated: [true, true, false], ..End64::default() },
    ];
    for end64 in lies {
        let zip = Zip { end64: Some(end64), ..Zip::with_dockerfile([entry()]) };
        assert_refused(&zip.bytes(), "archive_zip64_mismatch");
    }
    let many = End64 { count_delta: 1 << 40, saturated: [true; 3], ..End64::default() };
    let zip = Zip { end64: Some(many), ..Zip::with_dockerfile([entry()]) };
    assert_refused(&zip.bytes(), "archive_too_many_entries");
}

#[test]
fn honest_zip64_fields_are_understood() {
    let plain = entry();
    let (size, packed) = (u64::from(plain.size).to_le_bytes(), u64::from(plain.packed_size).to_le_bytes());
    let both = extra(1, &[size, packed].concat());
    let wide = ZipEntry {
        local_size: Some(u32::MAX),
        local_packed_size: Some(u32::MAX),
        local_extra: both.clone(),
        ..plain.clone()
    };
    assert_entry_accepted(wide);
    // Repeated although it would fit, in either header.
    assert_entry_accepted(ZipEntry { local_extra: both.clone(), extra: both, ..plain.clone() });
    assert_entry_accepted(ZipEntry { extra: extra(1, &size), ..plain });
}

#[test]
fn zip64_fields_that_lie_are_refused() {
    let plain = entry();
    let (size, packed) = (u64::from(plain.size).to_le_bytes(), u64::from(plain.packed_size).to_le_bytes());
    let lie = 5_u64.to_le_bytes();
    let cases = [
        ZipEntry { extra: extra(1, &lie), ..plain.clone() },
        ZipEntry { extra: extra(1, &[size, lie].concat()), ..plain.clone() },
        ZipEntry { local_extra: extra(1, &[size, lie].concat()), ..plain.clone() },
        ZipEntry { extra: extra(1, &[1, 2, 3]), ..plain.clone() },
        ZipEntry { local_size: Some(u32::MAX), ..plain.clone() },
        ZipEntry {
            local_size: Some(u32::MAX),
            local_extra: extra(1, &[size, packed].concat()),
            ..plain.clone()
        },
        ZipEntry { size: u32::MAX, ..plain.clone() },
    ];
    for case in cases {
        assert_entry_refused(case, "archive_zip64_mismatch");
    }

    let huge = ZipEntry { size: u32::MAX, extra: extra(1, &(1_u64 << 60).to_le_bytes()), ..plain.clone() };
    assert_entry_refused(huge, "archive_too_large");
    let far = ZipEntry { offset: Some(u32::MAX), extra: extra(1, &u64::MAX.to_le_bytes()), ..plain.clone() };
    assert_entry_refused(far, "archive_overlap");
    let local = ZipEntry { local_size: Some(u32::MAX), local_extra: extra(1, &lie), ..plain.clone() };
    assert_entry_refused(local, "archive_header_mismatch");
}

#[test]
fn extra_fields_that_do_not_add_up_are_refused() {
    let cut = [&extra(0x9999, b"abc")[..], &[1, 0, 99, 0]].concat();
    let twice = extra(1, &40_u64.to_le_bytes()).repeat(2);
    for bad in [cut, twice, vec![1]] {
        assert_entry_refused(ZipEntry { extra: bad.clone(), ..entry() }, "archive_corrupt");
        assert_entry_refused(ZipEntry { local_extra: bad, ..entry() }, "archive_corrupt");
    }
    assert_entry_accepted(ZipEntry { local_extra: vec![0; 3], ..entry() });
}

#[test]
fn what_all_entries_announce_together_is_held_against_the_limit() {
    let limits = Limits { unpacked_bytes: 1000, ..Limits::default() };
    let zip =
        Zip::with_dockerfile([ZipEntry::deflated("a", &[b'x'; 600]), ZipEntry::deflated("b", &[b'x'; 600])]);

    let (result, out) = try_with(&zip.bytes(), None, &limits);

    assert_eq!(result.unwrap_err().code(), "archive_too_large");
    assert!(out.is_empty());
}

#[test]
fn a_missing_dockerfile_is_noticed_before_anything_is_unpacked() {
    let zip = Zip::of([ZipEntry::stored("data", &vec![b'x'; 1 << 20])]);

    let (result, out) = try_with(&zip.bytes(), None, &Limits::default());

    assert_eq!(result.unwrap_err().code(), "dockerfile_missing");
    assert!(out.is_empty());
}

#[test]
fn chinese_names_from_windows_are_understood() {
    let gbk = |name: &str| encoding_rs::GB18030.encode(name).0.into_owned();
    let windows = |name, content| ZipEntry { host: 0, mode: 0, ..ZipEntry::stored(gbk(name), content) };
    let zip = Zip::of([
        windows("项目/", b""),
        windows("项目/Dockerfile", DOCKERFILE.1),
        windows("项目/说明\u{4e97}.txt", b"x"),
        windows("项目/㐀.txt", b"y"),
    ]);

    let accepted = accept(&zip.bytes());

    assert_eq!(accepted.paths(), ["Dockerfile", "说明\u{4e97}.txt", "㐀.txt"]);
    assert_eq!(accepted.context.top_folder.as_deref(), Some("项目"));
}

#[test]
fn the_second_byte_of_a_chinese_character_is_no_backslash() {
    // 0x81 0x5c is one character.
    let accepted = accept(&Zip::with_dockerfile([ZipEntry::stored(b"\x81\x5c".to_vec(), b"x")]).bytes());

    assert_eq!(accepted.paths(), ["Dockerfile", "乗"]);
}

#[test]
fn names_in_no_known_encoding_are_refused() {
    let invalid = ZipEntry::stored(b"\xff\xfe".to_vec(), b"x");
    assert_entry_refused(invalid, "archive_name_encoding");
    let flagged = ZipEntry { flags: 1 << 11, ..ZipEntry::stored(b"\xcf\xee\xc4\xbf".to_vec(), b"x") };
    assert_entry_refused(flagged, "archive_name_encoding");
    let link = ZipEntry { mode: LINK | 0o777, ..ZipEntry::stored("l", b"\xff\xfe") };
    assert_entry_refused(link, "archive_name_encoding");
}

#[test]
fn a_decoded_name_is_held_against_the_rules() {
    let name = [&b"../"[..], b"\xcf\xee\xc4\xbf"].concat();

    assert_entry_refused(ZipEntry::stored(name, b"x"), "archive_path_escapes");
}

#[test]
fn a_nul_in_a_name_is_refused() {
    assert_entry_refused(ZipEntry::stored("a\0b", b"x"), "archive_path_control");
    assert_entry_refused(ZipEntry::stored("Dockerfile\0.txt", b"x"), "archive_path_control");
    assert_entry_refused(ZipEntry::stored("", b"x"), "archive_path_unclean");
}

fn unicode_path(of: &[u8], name: &[u8]) -> Vec<u8> {
    extra(0x7075, &[&[1][..], &crc(of).to_le_bytes(), name].concat())
}

#[test]
fn a_unicode_name_beside_an_old_one_is_taken_if_it_belongs_to_it() {
    let own = ZipEntry { extra: unicode_path(b"n?me", "näme".as_bytes()), ..ZipEntry::stored("n?me", b"x") };
    let stale = ZipEntry { extra: unicode_path(b"other", "ö".as_bytes()), ..ZipEntry::stored("kept", b"x") };

    let accepted = accept(&Zip::with_dockerfile([own, stale]).bytes());

    assert_eq!(accepted.paths(), ["Dockerfile", "näme", "kept"]);
}

#[test]
fn a_unicode_name_is_held_against_the_rules() {
    let hidden = |name: &[u8]| ZipEntry { extra: unicode_path(b"ok", name), ..ZipEntry::stored("ok", b"x") };

    assert_entry_refused(hidden(b"../x"), "archive_path_escapes");
    assert_entry_refused(hidden(b"Dockerfile"), "archive_duplicate");
    assert_entry_refused(hidden(b"\xcf\xee"), "archive_name_encoding");
    assert_entry_refused(hidden(&[b'x'; 5000]), "archive_name_too_long");
}

#[test]
fn devices_pipes_and_sockets_are_refused() {
    for kind in [0o010_000, 0o020_000, 0o060_000, 0o140_000] {
        assert_entry_refused(ZipEntry { mode: kind | 0o644, ..entry() }, "archive_device");
    }
    assert_entry_refused(ZipEntry { mode: 0o170_000, ..entry() }, "archive_entry_type");
}

#[test]
fn a_kind_that_contradicts_the_name_is_refused() {
    let slash = ZipEntry { mode: REGULAR | 0o644, ..ZipEntry::stored("a/", b"") };
    assert_entry_refused(slash, "archive_header_mismatch");
    let link = ZipEntry { mode: LINK | 0o777, ..ZipEntry::stored("a/", b"x") };
    assert_entry_refused(link, "archive_header_mismatch");
    let full = ZipEntry { host: 0, mode: 0, ..ZipEntry::stored("a/", b"content") };
    assert_entry_refused(full, "archive_header_mismatch");
}

#[test]
fn a_folder_with_an_empty_deflate_stream_is_a_folder() {
    let packed = deflate(b"");
    let java = ZipEntry {
        host: 0,
        mode: 0,
        method: 8,
        packed_size: u32::try_from(packed.len()).unwrap(),
        packed,
        descriptor: Descriptor::Signed32,
        ..ZipEntry::stored("META-INF/", b"")
    };

    assert_entry_accepted(java);
}

#[test]
fn modes_are_two_and_windows_files_may_run() {
    let with = |name: &str, host, mode| ZipEntry { host, mode, ..ZipEntry::stored(name, b"x") };
    let zip = Zip::with_dockerfile([
        with("setuid", 3, REGULAR | 0o6755),
        with("open", 3, REGULAR | 0o666),
        with("group", 3, REGULAR | 0o610),
        with("none", 3, 0),
        with("windows", 0, 0),
    ]);

    let accepted = accept(&zip.bytes());

    let mode = |name: &str| accepted.item(name).mode;
    assert_eq!(["setuid", "open", "group", "none", "windows"].map(mode), [0o755, 0o644, 0o755, 0o644, 0o755]);
}

#[test]
fn times_are_kept_within_bounds() {
    let with = |name: &str, extra| ZipEntry { extra, ..ZipEntry::stored(name, b"x") };
    let stamp = |seconds: i32| extra(0x5455, &[&[1][..], &seconds.to_le_bytes()].concat());
    let zip = Zip::with_dockerfile([
        with("stamped", stamp(1_600_000_001)),
        with("ancient", stamp(-5)),
        ZipEntry { time: (0xffff, 0xffff), ..ZipEntry::stored("never", b"x") },
        ZipEntry { time: (0, 0xfe21), ..ZipEntry::stored("far", b"x") },
    ]);

    let accepted = accept(&zip.bytes());

    let mtime = |name: &str| accepted.item(name).mtime;
    // 2024-01-01 12:00:00, as the test zips say by default.
    assert_eq!(mtime("Dockerfile"), 1_704_110_400);
    assert_eq!(mtime("stamped"), 1_600_000_001);
    assert_eq!(["ancient", "never", "far"].map(mtime), [315_532_800; 3]);
}

#[test]
fn a_long_link_target_in_a_zip_does_not_fill_memory() {
    let target = "x".repeat(1 << 20);

    assert_entry_refused(ZipEntry::link("l", &target), "archive_name_too_long");
}

#[test]
fn a_zip_within_larger_limits_is_not_held_to_the_defaults() {
    let limits = Limits { name_bytes: 4096, depth: 1000, ..Limits::default() };
    let name = format!("{}x", "d/".repeat(900));

    accept_with(&Zip::with_dockerfile([ZipEntry::stored(&*name, b"x")]).bytes(), None, &limits);

    let error = refuse_with(
        &Zip::with_dockerfile([ZipEntry::stored(&*name, b"x")]).bytes(),
        None,
        &Limits::default(),
    );
    assert_eq!(error.code(), "archive_name_too_long");
}
