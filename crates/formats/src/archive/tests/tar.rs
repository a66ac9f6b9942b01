//! What is particular to tars, plain and in gzip.

use super::{
    super::Limits,
    DOCKERFILE, accept, assert_refused,
    pack::{TarEntry, gzip, pax_records, tar, tar_with_dockerfile, tar_without_end},
    try_with,
};

#[track_caller]
fn assert_entries_refused(entries: impl IntoIterator<Item = TarEntry>, code: &str) -> String {
    let bytes = tar_with_dockerfile(entries);
    assert_refused(&gzip(&bytes), code);
    assert_refused(&bytes, code)
}

#[test]
fn an_honest_tar_is_accepted_whole() {
    let mut builder = ::tar::Builder::new(Vec::new());
    let mut header = ::tar::Header::new_gnu();
    header.set_mode(0o4755);
    header.set_mtime(1_700_000_000);
    header.set_size(3);
    builder.append_data(&mut header.clone(), "Dockerfile", &b"abc"[..]).unwrap();
    let long = format!("{}/{}", "d".repeat(120), "f".repeat(120));
    builder.append_data(&mut header.clone(), &long, &b"def"[..]).unwrap();
    header.set_size(0);
    header.set_entry_type(::tar::EntryType::Symlink);
    builder.append_link(&mut header, "link", "d".repeat(120)).unwrap();
    let bytes = builder.into_inner().unwrap();

    for bytes in [gzip(&bytes), bytes] {
        let accepted = accept(&bytes);
        assert_eq!(accepted.paths(), ["Dockerfile", &long, "link"]);
        assert_eq!(accepted.item(&long).content, b"def");
        assert_eq!(accepted.item("Dockerfile").mode, 0o755);
        assert_eq!(accepted.item("Dockerfile").mtime, 1_700_000_000);
        assert_eq!(accepted.item("link").target, Some("d".repeat(120)));
    }
}

#[test]
fn names_in_every_dialect_are_read() {
    let long = "x".repeat(150);
    let split = TarEntry { patch: Some((345, b"prefix".to_vec())), ..TarEntry::file("in-ustar", b"u") };
    let bytes = tar_with_dockerfile([
        split,
        TarEntry::pax(&[("path", "pax/ü".as_bytes()), ("mtime", b"1.5"), ("SCHILY.xattr.user.x", b"a\nb")]),
        TarEntry::file("short", b"p"),
        TarEntry::long_name(long.as_bytes()),
        TarEntry::file(&long[..100], b"g"),
        TarEntry::pax(&[("linkpath", b"pax/\xc3\xbc")]),
        TarEntry::link("link", "short"),
        TarEntry { is_ustar: false, kind: 0, ..TarEntry::file("v7", b"7") },
        TarEntry { is_ustar: false, kind: 0, ..TarEntry::file("v7-folder/", b"") },
        TarEntry { kind: b'7', ..TarEntry::file("contiguous", b"c") },
    ]);

    let accepted = accept(&bytes);

    let expected =
        ["Dockerfile", "prefix/in-ustar", "pax/ü", &long, "link", "v7", "v7-folder/", "contiguous"];
    assert_eq!(accepted.paths(), expected);
    assert_eq!(accepted.item("link").target.as_deref(), Some("pax/ü"));
    assert_eq!(accepted.item("pax/ü").content, b"p");
}

#[test]
fn what_git_archive_adds_is_left_out() {
    let global = TarEntry::new(
        b'g',
        "pax_global_header",
        &pax_records(&[("comment", b"0123456789abcdef0123456789abcdef01234567")]),
    );
    let bytes = tar([global, TarEntry::folder("repo/"), TarEntry::file("repo/Dockerfile", DOCKERFILE.1)]);

    assert_eq!(accept(&gzip(&bytes)).context.top_folder.as_deref(), Some("repo"));
}

#[test]
fn a_global_record_that_changes_entries_is_refused() {
    for records in
        [&[("path", &b"x"[..])], &[("size", b"5")], &[("linkpath", b"x")], &[("GNU.sparse.major", b"1")]]
    {
        let global = TarEntry::new(b'g', "g", &pax_records(records));
        assert_entries_refused([global, TarEntry::file("a", b"b")], "archive_corrupt");
    }
}

#[test]
fn a_hard_link_is_refused_with_a_hint() {
    let link = TarEntry { target: b"Dockerfile".to_vec(), ..TarEntry::new(b'1', "hard", b"") };

    let message = assert_entries_refused([link], "archive_hard_link");

    assert!(message.contains("--hard-dereference"));
}

#[test]
fn devices_and_pipes_are_refused() {
    for kind in [b'3', b'4', b'6'] {
        assert_entries_refused([TarEntry::new(kind, "dev", b"")], "archive_device");
    }
}

#[test]
fn other_kinds_of_entries_are_refused() {
    for kind in [b'D', b'M', b'N', b'V', b'A', b'8', b'X', 0xff] {
        assert_entries_refused([TarEntry::new(kind, "odd", b"")], "archive_entry_type");
    }
}

#[test]
fn a_sparse_file_is_refused() {
    assert_entries_refused([TarEntry::new(b'S', "sparse", b"")], "archive_sparse");
    let entries = [
        TarEntry::pax(&[("GNU.sparse.major", b"1"), ("GNU.sparse.name", b"../x")]),
        TarEntry::file("GNUSparseFile.0/x", b"x"),
    ];
    assert_entries_refused(entries, "archive_sparse");
}

#[test]
fn a_size_in_a_pax_record_that_differs_is_refused() {
    // The desynchronisation of CVE-2025-62518: the header says 0, the record says where another tar begins.
    let inner = tar([TarEntry::file("smuggled", b"x")]);
    let size = inner.len().to_string();
    let entries = [
        TarEntry::pax(&[("size", size.as_bytes())]),
        TarEntry { size: 0, ..TarEntry::file("carrier", b"") },
        TarEntry::file("inner.tar", &inner),
    ];
    assert_entries_refused(entries, "archive_header_mismatch");

    accept(&tar_with_dockerfile([TarEntry::pax(&[("size", b"1")]), TarEntry::file("a", b"b")]));
}

#[test]
fn two_sources_of_one_name_are_refused() {
    let long = || TarEntry::long_name(b"long");
    let pax = || TarEntry::pax(&[("path", b"pax")]);
    let file = || TarEntry::file("a", b"b");
    assert_entries_refused([long(), pax(), file()], "archive_header_mismatch");
    assert_entries_refused([pax(), long(), file()], "archive_header_mismatch");
    assert_entries_refused([long(), long(), file()], "archive_corrupt");
    assert_entries_refused([pax(), pax(), file()], "archive_corrupt");
    let twice = TarEntry::pax(&[("path", b"a"), ("path", b"b")]);
    assert_entries_refused([twice, file()], "archive_corrupt");
    let target = |name: &[u8]| TarEntry::new(b'K', "././@LongLink", name);
    assert_entries_refused([target(b"a"), target(b"a"), TarEntry::link("l", "x")], "archive_corrupt");
    let pax_target = TarEntry::pax(&[("linkpath", b"b")]);
    assert_entries_refused([target(b"a"), pax_target, TarEntry::link("l", "x")], "archive_header_mismatch");
}

#[test]
fn names_from_extensions_are_held_against_the_rules() {
    let file = || TarEntry::file("a", b"b");
    assert_entries_refused([TarEntry::pax(&[("path", b"../x")]), file()], "archive_path_escapes");
    assert_entries_refused([TarEntry::pax(&[("path", b"a\0b")]), file()], "archive_path_control");
    assert_entries_refused([TarEntry::pax(&[("path", b"")]), file()], "archive_path_unclean");
    assert_entries_refused([TarEntry::long_name(b"/etc/x"), file()], "archive_path_escapes");
    assert_entries_refused([TarEntry::long_name(b"a\0b"), file()], "archive_path_control");
    let link = TarEntry::link("l", "fine");
    assert_entries_refused([TarEntry::pax(&[("linkpath", b"/etc")]), link], "archive_link");
}

#[test]
fn a_huge_extension_is_not_read() {
    let long = TarEntry { size: 3 << 30, ..TarEntry::long_name(b"x") };
    assert_entries_refused([long, TarEntry::file("a", b"b")], "archive_name_too_long");
    let pax = TarEntry { size: 3 << 30, ..TarEntry::pax(&[]) };
    assert_entries_refused([pax, TarEntry::file("a", b"b")], "archive_name_too_long");
}

#[test]
fn an_endless_row_of_extensions_is_refused() {
    let limits = Limits { entries: 10, ..Limits::default() };
    let global = TarEntry::new(b'g', "g", &pax_records(&[("comment", b"x")]));
    let bytes = tar_with_dockerfile(vec![global; 100]);

    let (result, _) = try_with(&bytes, None, &limits);

    assert_eq!(result.unwrap_err().code(), "archive_too_many_entries");
}

#[test]
fn extensions_count_as_content() {
    let limits = Limits { unpacked_bytes: 10_000, ..Limits::default() };
    let global = TarEntry::new(b'g', "g", &pax_records(&[("comment", &[b'x'; 3000])]));
    let bytes = tar_with_dockerfile(vec![global; 4]);

    let (result, _) = try_with(&bytes, None, &limits);

    assert_eq!(result.unwrap_err().code(), "archive_too_large");
}

#[test]
fn a_malformed_pax_record_is_refused() {
    let bad: [&[u8]; 9] = [
        b"5 a=b",
        b"99 path=x\n",
        b"x path=x\n",
        b"+9 path=x\n",
        b" path=x\n",
        b"8 pathx\n",
        b"2 \n",
        b"18446744073709551616 a=b\n",
        b"12 size=0x10\n",
    ];
    for records in bad {
        let entries = [TarEntry::new(b'x', "pax", records), TarEntry::file("a", b"b")];
        assert_entries_refused(entries, "archive_corrupt");
    }
}

#[test]
fn an_extension_without_its_header_is_refused() {
    assert_entries_refused([TarEntry::long_name(b"x")], "archive_corrupt");
}

#[test]
fn a_wrong_check_sum_is_refused() {
    let mut bytes = tar_with_dockerfile([TarEntry::file("a", b"b")]);
    bytes[1024] ^= 1;

    assert_refused(&gzip(&bytes), "archive_corrupt");
    assert_refused(&bytes, "archive_corrupt");
}

#[test]
fn a_size_that_is_no_number_is_refused() {
    let with_size = |size: &[u8]| TarEntry { patch: Some((124, size.to_vec())), ..TarEntry::file("a", b"") };
    for size in
        [&b"zzzzzzzzzzz\0"[..], b"-0000000001\0", &[0xff; 12], &[0x80, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]]
    {
        assert_entries_refused([with_size(size)], "archive_corrupt");
    }
    accept(&tar_with_dockerfile([with_size(&[0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])]));
}

#[test]
fn an_announced_size_beyond_the_limit_is_refused_before_it_is_read() {
    for size in [5_u64 << 30, 1 << 40, 1 << 55] {
        let huge = TarEntry { size, ..TarEntry::file("huge", b"") };
        assert_entries_refused([huge], "archive_too_large");
    }
}

#[test]
fn a_folder_or_link_with_content_is_refused() {
    assert_entries_refused([TarEntry::new(b'5', "d/", b"x")], "archive_header_mismatch");
    assert_entries_refused([TarEntry::file("d/", b"x")], "archive_header_mismatch");
    let link = TarEntry { target: b"x".to_vec(), ..TarEntry::new(b'2', "l", b"x") };
    assert_entries_refused([link], "archive_header_mismatch");
    assert_entries_refused([TarEntry::link("l/", "x")], "archive_header_mismatch");
}

#[test]
fn a_link_without_a_target_is_refused() {
    assert_entries_refused([TarEntry::link("l", "")], "archive_link");
}

#[test]
fn names_that_are_no_utf8_are_refused() {
    assert_entries_refused([TarEntry::file(b"\xcf\xee".to_vec(), b"x")], "archive_name_encoding");
    assert_entries_refused([TarEntry::link("l", b"\xcf\xee".to_vec())], "archive_name_encoding");
}

#[test]
fn anything_but_zeros_after_the_end_is_refused() {
    let honest = tar_with_dockerfile([]);
    let tail = |tail: &[u8]| [&honest[..], tail].concat();
    for bytes in [tail(b"x"), tail(&honest), [&honest[..honest.len() - 512], &honest].concat()] {
        assert_refused(&gzip(&bytes), "archive_extra_data");
        assert_refused(&bytes, "archive_extra_data");
    }
    accept(&tail(&[0; 10_240]));
    assert_refused(&tail(&vec![0; 9 << 20]), "archive_extra_data");
}

#[test]
fn one_block_of_zeros_is_an_end_and_none_is_not() {
    let open = tar_without_end([TarEntry::file(DOCKERFILE.0, DOCKERFILE.1)]);

    accept(&[&open[..], &[0; 512]].concat());
    assert_refused(&open, "archive_truncated");
    assert_refused(&gzip(&open), "archive_truncated");
}

#[test]
fn several_gzip_members_are_one_stream() {
    let bytes = tar_with_dockerfile([TarEntry::file("a", &vec![b'x'; 100_000])]);
    let (first, second) = bytes.split_at(50_000);

    let accepted = accept(&[gzip(first), gzip(b""), gzip(second)].concat());

    assert_eq!(accepted.item("a").content, vec![b'x'; 100_000]);
}

#[test]
fn an_endless_row_of_gzip_members_is_refused() {
    let bytes = gzip(b"").repeat(100_002);

    assert_refused(&bytes, "archive_corrupt");
}

#[test]
fn bytes_after_the_gzip_end_are_refused() {
    let honest = gzip(&tar_with_dockerfile([]));

    for tail in [&b"x"[..], &[0; 512], b"PK\x05\x06"] {
        assert_refused(&[&honest[..], tail].concat(), "archive_extra_data");
    }
    assert_refused(&[&honest[..], &honest[..]].concat(), "archive_extra_data");
    assert_refused(&[&honest[..], b"\x1f"].concat(), "archive_truncated");
}

#[test]
fn a_damaged_gzip_is_refused() {
    let honest = gzip(&tar_with_dockerfile([]));
    let len = honest.len();
    for at in [len - 1, len - 8, len / 2] {
        let mut bytes = honest.clone();
        bytes[at] ^= 0x55;
        let (result, _) = try_with(&bytes, None, &Limits::default());
        assert!(result.is_err());
    }
    let mut bytes = honest;
    bytes[len - 6] ^= 0x55;
    assert_refused(&bytes, "archive_corrupt");
}

#[test]
fn a_missing_dockerfile_in_a_tar_is_noticed_at_the_end() {
    let bytes = tar([TarEntry::file("a", b"b"), TarEntry::file("c", b"d")]);

    assert_refused(&bytes, "dockerfile_missing");
    assert_refused(&gzip(&bytes), "dockerfile_missing");
}

#[test]
fn times_are_kept_within_bounds() {
    let with = |name: &str, mtime| TarEntry { mtime, ..TarEntry::file(name, b"x") };
    let bytes = tar_with_dockerfile([with("old", 0), with("far", 1 << 40), with("fine", 1_234_567_890)]);

    let accepted = accept(&bytes);

    let mtime = |name: &str| accepted.item(name).mtime;
    assert_eq!(["old", "far", "fine"].map(mtime), [315_532_800, 315_532_800, 1_234_567_890]);
}
