//! Packages of charts: as they come, as a tar that is packed first, and as one whose checksums were mended.

use std::collections::BTreeSet;
use std::path::Path;

use formats::chart_index::{chart_of, yaml_value};
use formats::chart_package::{KNOWN_TEXTS, Limits, Package, PackageError, read, unpack};

use super::{mended, packed};

const LIMITS: Limits = Limits { unpacked_bytes: 1 << 20, file_bytes: 256 << 10, files: 100 };

pub(super) fn feed(data: &[u8]) {
    taken(data);
    taken(&packed(data));
    taken(&packed(&mended(data)));
}

/// Nothing lies outside of the folder, what is read is what is unpacked, and what is read of its texts has its bounds.
fn taken(data: &[u8]) {
    let package = read(data, LIMITS, KNOWN_TEXTS);
    // Most is refused at once, and then nothing is unpacked either.
    if let Err(PackageError::Corrupt) = package
        && !data.starts_with(&[0x1f, 0x8b])
    {
        return;
    }
    let place = tempfile::tempdir().unwrap();
    let into = place.path().join("into");
    std::fs::create_dir(&into).unwrap();

    let unpacked = unpack(data, LIMITS, &into);

    let beside: Vec<_> = std::fs::read_dir(place.path()).unwrap().collect();
    assert_eq!(beside.len(), 1, "something was written beside the folder: {beside:?}");
    let mut found = BTreeSet::new();
    let bytes = below(&into, &into, &mut found);
    assert!(bytes <= LIMITS.unpacked_bytes, "{bytes} bytes");
    match (package, unpacked) {
        (Ok(package), Ok(schemas)) => {
            assert!(schemas.len() <= LIMITS.files);
            check(&package, &found);
        }
        (Ok(package), Err(_)) => texts(&package),
        (Err(error), Ok(_)) => panic!("what cannot be read was unpacked: {error}"),
        (Err(_), Err(_)) => {}
    }
}

fn check(package: &Package, found: &BTreeSet<String>) {
    for file in &package.files {
        let path = &file.path;
        let is_packed =
            Path::new(path).extension().is_some_and(|kind| kind == "tgz") && path.starts_with("charts/");
        let is_there = found.contains(path) || is_packed || path.ends_with(".helmignore");
        assert!(is_there, "`{path}` is read and not unpacked: {found:?}");
    }
    texts(package);
}

fn texts(package: &Package) {
    assert!(package.files.len() <= LIMITS.files);
    for file in &package.files {
        let has_bad_part = file.path.split('/').any(|part| matches!(part, "" | "." | ".."));
        assert!(!has_bad_part && !file.path.contains(['\\', ':', '\0', '\u{1b}']), "{:?}", file.path);
    }
    let text = |name: &str| package.texts.get(name);
    let schema = text("values.schema.json").and_then(|text| serde_json::from_str(text).ok());
    super::yaml::form(text("values.yaml").map(String::as_str), schema.as_ref());
    if let Some(value) = text("Chart.yaml").and_then(|text| yaml_value(text).ok())
        && let Ok((name, version, metadata)) = chart_of(&value)
    {
        super::chart_index::check_entry(&name, &version, &metadata);
    }
}

/// The files below a folder, and how many bytes they have; nothing but files and folders may be there.
fn below(top: &Path, folder: &Path, found: &mut BTreeSet<String>) -> u64 {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        assert!(kind.is_file() || kind.is_dir(), "{}", entry.path().display());
        if kind.is_dir() {
            bytes += below(top, &entry.path(), found);
            continue;
        }
        bytes += entry.metadata().unwrap().len();
        found.insert(entry.path().strip_prefix(top).unwrap().to_str().unwrap().to_owned());
    }
    bytes
}
