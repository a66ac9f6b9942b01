//! Reads the package of a chart (`.tgz`) as a stream, without unpacking it onto the disk: names are looked at and never become
//! names here, links and devices are refused, everything has a bound.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Component, Path, PathBuf};

use flate2::read::MultiGzDecoder;
use tar::{Archive, EntryType};
use wire::charts::ChartFile;

/// What a package may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of all files together.
    pub unpacked_bytes: u64,
    /// Bytes of one file.
    pub file_bytes: u64,
    /// Files.
    pub files: usize,
}

/// Bounds as Helm has them.
pub const LIMITS: Limits = Limits { unpacked_bytes: 100 << 20, file_bytes: 5 << 20, files: 10_000 };

/// Longest text that is kept of a package.
const MAX_TEXT_BYTES: u64 = 1 << 20;
/// Longest path.
const MAX_PATH_BYTES: usize = 512;
/// Deepest path.
const MAX_DEPTH: usize = 20;
/// Charts that may be packed within each other.
const MAX_NESTING: usize = 4;

/// What is wrong with a package.
#[derive(Debug, thiserror::Error)]
pub enum PackageError {
    /// It cannot be unpacked.
    #[error("the package cannot be unpacked")]
    Corrupt,
    /// It has more than it may.
    #[error("the package has more than {0}")]
    TooLarge(String),
    /// Something in it has a name that leads out, or is none.
    #[error("a file in the package has a name that is refused")]
    BadName,
    /// Something in it is neither a file nor a folder.
    #[error("the package has a link or a device in it")]
    NotAFile,
    /// There is no room to unpack it.
    #[error("the server's disk is full")]
    NoRoom,
    /// It is no chart.
    #[error("the package is no chart: it has no `Chart.yaml` in its folder")]
    NotAChart,
}

/// What is in a package.
#[derive(Debug, Default)]
pub struct Package {
    /// Files below the chart's folder.
    pub files: Vec<ChartFile>,
    /// The texts that were wanted, by path.
    pub texts: BTreeMap<String, String>,
}

/// The texts by which a chart is known.
pub const KNOWN_TEXTS: &[&str] = &[
    "Chart.yaml",
    "values.yaml",
    "values.schema.json",
    "README.md",
    "readme.md",
    "README",
    "requirements.yaml",
];

/// Reads a package, and the texts in it that are wanted.
pub fn read(source: impl Read, limits: Limits, wanted: &[&str]) -> Result<Package, PackageError> {
    let mut package = Package::default();
    let mut budget = Budget::default();
    walk(source, limits, &mut budget, &mut |path, bytes, content| {
        if wanted.contains(&path) && !package.texts.contains_key(path) {
            let mut text = Vec::new();
            content.take(MAX_TEXT_BYTES).read_to_end(&mut text).map_err(|_| PackageError::Corrupt)?;
            package.texts.insert(path.to_owned(), String::from_utf8_lossy(&text).into_owned());
        }
        package.files.push(ChartFile { path: path.to_owned(), bytes });
        Ok(())
    })?;
    let has_chart = package.files.iter().any(|file| file.path == "Chart.yaml");
    if has_chart { Ok(package) } else { Err(PackageError::NotAChart) }
}

/// Writes a package's files below an empty folder, charts in it that are packages themselves unpacked too, so that nothing
/// of it stays unseen. Gives the schemas of values that are in it.
pub fn unpack(source: impl Read, limits: Limits, into: &Path) -> Result<Vec<Vec<u8>>, PackageError> {
    let mut schemas = Vec::new();
    unpack_chart(source, limits, into, &mut Budget::default(), &mut schemas, 0)?;
    Ok(schemas)
}

fn unpack_chart(
    source: impl Read,
    limits: Limits,
    into: &Path,
    budget: &mut Budget,
    schemas: &mut Vec<Vec<u8>>,
    depth: usize,
) -> Result<(), PackageError> {
    if depth > MAX_NESTING {
        return Err(PackageError::TooLarge(format!("{MAX_NESTING} charts within each other")));
    }
    let mut inner: Vec<(PathBuf, Vec<u8>)> = Vec::new();
    let mut has_chart = false;
    walk(source, limits, budget, &mut |path, _, content| {
        has_chart |= path == "Chart.yaml";
        let target = into.join(path);
        let mut bytes = Vec::new();
        content.read_to_end(&mut bytes).map_err(|_| PackageError::Corrupt)?;
        if is_inner_package(path) {
            inner.push((target.with_extension("tgz-unpacked"), bytes));
            return Ok(());
        }
        if target.file_name().is_some_and(|name| name == "values.schema.json") {
            schemas.push(bytes.clone());
        }
        // What a chart wants to be ignored in a folder counts in a package.
        if path.ends_with(".helmignore") {
            return Ok(());
        }
        let folder = target.parent().ok_or(PackageError::BadName)?;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|_| PackageError::BadName)?;
        write_private(&target, &bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::StorageFull => PackageError::NoRoom,
            // Two of one name, or a file where another has a folder.
            _ => PackageError::BadName,
        })
    })?;
    if !has_chart {
        return Err(PackageError::NotAChart);
    }
    for (folder, bytes) in inner {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(|_| PackageError::BadName)?;
        unpack_chart(bytes.as_slice(), limits, &folder, budget, schemas, depth + 1)?;
    }
    Ok(())
}

/// Writes a file that was not there and that only we read.
fn write_private(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(bytes)
}

/// Whether a file is the package of a chart on which this one depends.
fn is_inner_package(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let is_below_charts = parts.len() >= 2
        && parts.len().is_multiple_of(2)
        && parts.iter().step_by(2).all(|part| *part == "charts");
    is_below_charts
        && parts.last().is_some_and(|name| Path::new(name).extension().is_some_and(|kind| kind == "tgz"))
}

/// What was read of a package, and of those in it.
#[derive(Default)]
struct Budget {
    bytes: u64,
    entries: usize,
}

/// What looks at each file: its path below the chart's folder, its length, its content.
type Visit<'a> = dyn FnMut(&str, u64, &mut dyn Read) -> Result<(), PackageError> + 'a;

fn walk(
    source: impl Read,
    limits: Limits,
    budget: &mut Budget,
    visit: &mut Visit<'_>,
) -> Result<(), PackageError> {
    let counted =
        MultiGzDecoder::new(source).take(limits.unpacked_bytes + (limits.files as u64 + 2) * 1024 + 1);
    let mut archive = Archive::new(counted);
    let mut folder: Option<String> = None;
    for entry in archive.entries().map_err(|_| PackageError::Corrupt)? {
        let mut entry = entry.map_err(|_| PackageError::Corrupt)?;
        budget.entries += 1;
        if budget.entries > limits.files {
            return Err(PackageError::TooLarge(format!("{} files", limits.files)));
        }
        match entry.header().entry_type() {
            EntryType::Regular | EntryType::Continuous => {}
            EntryType::Directory | EntryType::XGlobalHeader => continue,
            _ => return Err(PackageError::NotAFile),
        }
        let (top, path) = below_top(&entry.path_bytes())?;
        // Only one folder is the chart; what lies beside it is of no chart.
        if folder.get_or_insert_with(|| top.clone()) != &top {
            return Err(PackageError::BadName);
        }
        let size = entry.size();
        budget.bytes = budget.bytes.saturating_add(size);
        if size > limits.file_bytes {
            return Err(PackageError::TooLarge(format!("{} MiB in one file", limits.file_bytes >> 20)));
        }
        if budget.bytes > limits.unpacked_bytes {
            return Err(PackageError::TooLarge(format!("{} MiB", limits.unpacked_bytes >> 20)));
        }
        visit(&path, size, &mut entry)?;
    }
    Ok(())
}

/// The first part of a path, and the rest.
fn below_top(path: &[u8]) -> Result<(String, String), PackageError> {
    let text = std::str::from_utf8(path).map_err(|_| PackageError::BadName)?;
    if text.len() > MAX_PATH_BYTES || text.contains(|c: char| c.is_control() || matches!(c, '\\' | ':')) {
        return Err(PackageError::BadName);
    }
    let mut parts = Vec::new();
    for part in Path::new(text).components() {
        match part {
            Component::Normal(part) => parts.push(part.to_str().ok_or(PackageError::BadName)?),
            Component::CurDir => {}
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => {
                return Err(PackageError::BadName);
            }
        }
    }
    match parts.as_slice() {
        [top, rest @ ..] if !rest.is_empty() && rest.len() < MAX_DEPTH => {
            Ok(((*top).to_owned(), rest.join("/")))
        }
        _ => Err(PackageError::BadName),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// An archive with these names, whatever they are.
    fn package(files: &[(&str, EntryType, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, kind, content) in files {
            let mut header = tar::Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_entry_type(*kind);
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            header.set_cksum();
            builder.append(&header, *content).unwrap();
        }
        packed(&builder.into_inner().unwrap())
    }

    const FILE: EntryType = EntryType::Regular;
    const CHART: (&str, EntryType, &[u8]) = ("a/Chart.yaml", FILE, b"name: a\nversion: 1.0.0\n");

    #[test]
    fn a_chart_is_read() {
        let bytes = package(&[
            ("a", EntryType::Directory, b""),
            CHART,
            ("a/templates/x.yaml", FILE, b"x"),
            ("a/README.md", FILE, b"# A"),
        ]);

        let package = read(bytes.as_slice(), LIMITS, KNOWN_TEXTS).unwrap();

        assert_eq!(
            package.files.iter().map(|file| file.path.as_str()).collect::<Vec<_>>(),
            ["Chart.yaml", "templates/x.yaml", "README.md"]
        );
        assert_eq!(package.texts["README.md"], "# A");
        assert!(!package.texts.contains_key("templates/x.yaml"));
    }

    #[test]
    fn a_chart_is_unpacked_with_the_charts_in_it() {
        let inner = package(&[
            ("b/Chart.yaml", FILE, b"name: b\nversion: 1.0.0\n"),
            ("b/values.schema.json", FILE, b"{}"),
        ]);
        let bytes = package(&[
            CHART,
            ("a/charts/b-1.tgz", FILE, &inner),
            ("a/files/charts/c.tgz", FILE, b"x"),
            ("a/.helmignore", FILE, b"*"),
        ]);
        let folder = tempfile::tempdir().unwrap();

        let schemas = unpack(bytes.as_slice(), LIMITS, folder.path()).unwrap();

        assert_eq!(schemas, [b"{}"]);
        let has = |path: &str| folder.path().join(path).exists();
        assert!(has("Chart.yaml") && has("charts/b-1.tgz-unpacked/Chart.yaml") && has("files/charts/c.tgz"));
        assert!(!has(".helmignore") && !has("charts/b-1.tgz"));
        let twice = package(&[CHART, CHART]);
        let other = tempfile::tempdir().unwrap();
        assert!(matches!(unpack(twice.as_slice(), LIMITS, other.path()), Err(PackageError::BadName)));
    }

    #[test]
    fn what_leads_out_is_refused() {
        for name in ["../a/x", "/a/x", "a/../../x", "a\\..\\x", "C:/a/x", "b/x", "x", "a/\u{1}x"] {
            let bytes = package(&[CHART, (name, FILE, b"x")]);
            assert!(matches!(read(bytes.as_slice(), LIMITS, &[]), Err(PackageError::BadName)), "{name}");
        }
        for kind in [EntryType::Symlink, EntryType::Link, EntryType::Fifo, EntryType::Block, EntryType::Char]
        {
            let bytes = package(&[CHART, ("a/x", kind, b"")]);
            assert!(matches!(read(bytes.as_slice(), LIMITS, &[]), Err(PackageError::NotAFile)), "{kind:?}");
        }
    }

    #[test]
    fn what_is_too_much_or_no_chart_is_refused() {
        let small = Limits { unpacked_bytes: 100, file_bytes: 60, files: 3 };
        let large = [b'x'; 61];
        for files in [
            vec![CHART, ("a/x", FILE, &large[..])],
            vec![CHART, ("a/x", FILE, &large[..50]), ("a/y", FILE, &large[..50])],
            vec![CHART, ("a/x", FILE, b""), ("a/y", FILE, b""), ("a/z", FILE, b"")],
        ] {
            assert!(matches!(read(package(&files).as_slice(), small, &[]), Err(PackageError::TooLarge(_))));
        }
        assert!(matches!(
            read(package(&[("a/x", FILE, b"")]).as_slice(), LIMITS, &[]),
            Err(PackageError::NotAChart)
        ));
        let no_tar = packed(b"not a tar at all, but long enough to be a header? no");
        for broken in [b"".as_slice(), b"no".as_slice(), no_tar.as_slice()] {
            assert!(read(broken, LIMITS, &[]).is_err());
        }
        let whole = package(&[CHART]);
        assert!(read(&whole[..whole.len() / 2], LIMITS, &[]).is_err());
    }

    #[test]
    fn a_bomb_ends_early() {
        let bytes = packed(&vec![0; 200 << 20]);
        let begun = std::time::Instant::now();

        assert!(read(bytes.as_slice(), LIMITS, &[]).is_err());
        assert!(begun.elapsed().as_secs() < 20);
    }
}
