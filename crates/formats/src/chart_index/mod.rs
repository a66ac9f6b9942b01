//! Reads the index of a Helm repository (`index.yaml`) without holding it: entry by entry, with bounds on everything, and with
//! what is wrong with single entries counted instead of refused.
//!
//! - `entry`: what is kept of an entry, and which entries are good
//! - `blocks`: the layout that Helm itself writes, line by line; leaves everything else to the others
//! - `yaml`: every other YAML, by the events of a parser; `json`: an index that is JSON
//! - `versions`: how versions are read and ordered

mod blocks;
mod entry;
mod json;
#[cfg(test)]
mod tests;
mod versions;
mod yaml;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _};

pub use entry::{Metadata, Version, shown};
pub use versions::{Parsed, parse_version};
pub use yaml::value as yaml_value;

use entry::Entry;

/// What an index may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Charts.
    pub charts: usize,
    /// Versions of all charts together.
    pub versions: u64,
}

/// Problems that are kept in words; the rest is only counted.
const MAX_PROBLEMS: usize = 50;
/// Bytes that are read from the file at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// What an index says.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// Charts by name.
    pub charts: BTreeMap<String, Chart>,
    /// Versions of all charts.
    pub versions: u64,
    /// Entries that were left out.
    pub skipped: u64,
    /// Why, for the first of them.
    pub problems: Vec<String>,
}

/// A chart of an index.
#[derive(Clone, Debug, Default)]
pub struct Chart {
    /// What it is, as its best version says: the greatest that is no pre-release.
    pub metadata: Metadata,
    /// Its versions, the greatest first.
    pub versions: Vec<Version>,
    best: Option<Parsed>,
}

/// What a chart's own `Chart.yaml` says: its name, its version, what it is; or why it says nothing that can be used.
pub fn chart_of(value: &serde_json::Value) -> Result<(String, Version, Metadata), String> {
    let entry = Entry::from_value(value)?;
    let name = entry.name.clone().ok_or("it has no name")?;
    let (version, _, metadata) = entry.checked(&name)?;
    Ok((name, version, metadata.checked()))
}

impl Chart {
    /// A chart with these versions, in whatever order they are.
    pub fn of(metadata: Metadata, mut versions: Vec<Version>) -> Self {
        versions.sort_by_cached_key(|version| std::cmp::Reverse(parse_version(&version.version)));
        let mut best: Option<Parsed> = None;
        for parsed in versions.iter().filter_map(|version| parse_version(&version.version)) {
            if best.as_ref().is_none_or(|best| parsed.is_better_than(best)) {
                best = Some(parsed);
            }
        }
        Self { metadata, versions, best }
    }

    /// The version that people are shown: the greatest that is no pre-release, or else the greatest.
    pub fn best_version(&self) -> Option<&Version> {
        let is_best = |version: &&Version| parse_version(&version.version).as_ref() == self.best.as_ref();
        self.versions.iter().find(is_best).or_else(|| self.versions.first())
    }
}

/// Why an index cannot be used at all.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It is not an index.
    #[error("{0}")]
    Malformed(String),
    /// It has more than it may.
    #[error("it has more than {0}")]
    TooLarge(String),
    /// The file cannot be read.
    #[error("the index cannot be read: {0}")]
    Read(#[from] std::io::Error),
}

/// Shorthand.
type Result<T, E = IndexError> = std::result::Result<T, E>;

/// Reads an index from the start of a file.
pub fn parse(file: &mut File, limits: Limits) -> Result<Index> {
    let open = |file: &mut File| -> Result<BufReader<File>> {
        file.rewind()?;
        Ok(BufReader::with_capacity(BUFFER_BYTES, file.try_clone()?))
    };
    let mut start = [0; 64];
    file.rewind()?;
    let length = file.read(&mut start)?;
    let first = start[..length].iter().find(|byte| !byte.is_ascii_whitespace());
    let mut collector = Collector::new(limits);
    if first == Some(&b'{') {
        match json::read(open(file)?.into_inner(), &mut collector) {
            // Flow style looks like JSON and is YAML.
            Err(IndexError::Malformed(_)) => collector = Collector::new(limits),
            result => return result.and_then(|()| collector.finish()),
        }
    } else if blocks::read(open(file)?, &mut collector)? {
        return collector.finish();
    } else {
        collector = Collector::new(limits);
    }
    yaml::read(file, &mut collector)?;
    collector.finish()
}

/// Takes entries one by one, keeps the good ones and counts the others.
struct Collector {
    limits: Limits,
    index: Index,
    has_entries: bool,
}

impl Collector {
    fn new(limits: Limits) -> Self {
        Self { limits, index: Index::default(), has_entries: false }
    }

    /// There is a list of charts, be it empty.
    fn begin(&mut self) {
        self.has_entries = true;
    }

    fn skip(&mut self, chart: &str, why: &str) {
        self.index.skipped += 1;
        if self.index.problems.len() < MAX_PROBLEMS {
            let shown: String = chart.chars().take(100).flat_map(char::escape_debug).collect();
            self.index.problems.push(format!("`{shown}`: {why}"));
        }
    }

    /// Takes an entry, or why it is none.
    fn take(&mut self, chart: &str, entry: Result<Entry, String>) -> Result<()> {
        self.index.versions += 1;
        if self.index.versions > self.limits.versions {
            return Err(IndexError::TooLarge(format!("{} versions", self.limits.versions)));
        }
        let checked = entry.and_then(|entry| entry.checked(chart));
        let (version, parsed, metadata) = match checked {
            Ok(checked) => checked,
            Err(why) => {
                self.index.versions -= 1;
                self.skip(chart, &why);
                // Bad entries count too, or an index could be all of them.
                if self.index.skipped > self.limits.versions {
                    return Err(IndexError::TooLarge(format!("{} versions", self.limits.versions)));
                }
                return Ok(());
            }
        };
        if !self.index.charts.contains_key(chart) {
            if self.index.charts.len() >= self.limits.charts {
                return Err(IndexError::TooLarge(format!("{} charts", self.limits.charts)));
            }
            self.index.charts.insert(chart.to_owned(), Chart::default());
        }
        let Some(into) = self.index.charts.get_mut(chart) else { return Ok(()) };
        if into.best.as_ref().is_none_or(|best| parsed.is_better_than(best)) {
            into.best = Some(parsed);
            into.metadata = metadata.checked();
        }
        into.versions.push(version);
        Ok(())
    }

    fn finish(mut self) -> Result<Index> {
        if !self.has_entries {
            return Err(IndexError::Malformed(
                "it has no `entries`, so it is no index of a Helm repository".to_owned(),
            ));
        }
        let mut doubles = Vec::new();
        for (name, chart) in &mut self.index.charts {
            // Parsed once per version and not once per comparison; versions that were not readable are not here.
            chart.versions.sort_by_cached_key(|version| std::cmp::Reverse(parse_version(&version.version)));
            let before = chart.versions.len();
            chart.versions.dedup_by(|later, earlier| later.version == earlier.version);
            doubles.extend(
                (before > chart.versions.len()).then(|| (name.clone(), before - chart.versions.len())),
            );
            chart.versions.shrink_to_fit();
        }
        for (name, count) in doubles {
            self.index.versions -= count as u64;
            self.index.skipped += count as u64 - 1;
            self.skip(&name, "a version is listed twice; the first counts");
        }
        Ok(self.index)
    }
}
