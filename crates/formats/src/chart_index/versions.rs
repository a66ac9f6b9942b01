//! Versions as Helm reads them: semantic ones, with a `v` before them or parts left out if need be.

use std::cmp::Ordering;

use semver::{BuildMetadata, Prerelease, Version};

/// A version that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed(Version);

impl Parsed {
    /// Whether it is a pre-release.
    pub fn is_prerelease(&self) -> bool {
        !self.0.pre.is_empty()
    }

    /// Whether people should rather be shown this one.
    pub fn is_better_than(&self, other: &Self) -> bool {
        match (self.is_prerelease(), other.is_prerelease()) {
            (false, true) => true,
            (true, false) => false,
            _ => self > other,
        }
    }

    /// Whether a range as Helm writes it (`>=1.2 <2 || 3.x`, `^1`, `~1.2`, `1.2 - 2.3`) holds this version; none when that is no
    /// range.
    pub fn is_in(&self, range: &str) -> Option<bool> {
        let mut is_in = false;
        for part in range.split("||") {
            let comparators = comparators(part)?;
            let requirement = semver::VersionReq::parse(&comparators).ok()?;
            // As Helm does: pre-releases only where the range names one.
            let mentions = requirement.comparators.iter().any(|comparator| !comparator.pre.is_empty());
            is_in |= if self.is_prerelease() && !mentions { false } else { requirement.matches(&self.0) };
        }
        Some(is_in)
    }
}

impl PartialOrd for Parsed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parsed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

/// Reads a version; none when it is none.
pub fn parse_version(text: &str) -> Option<Parsed> {
    if text.len() > 256 || text.ends_with(['-', '+']) {
        return None;
    }
    let bare = text.strip_prefix('v').unwrap_or(text);
    if let Ok(version) = Version::parse(bare) {
        return Some(Parsed(version));
    }
    let (rest, build) = bare.split_once('+').map_or((bare, ""), |(rest, build)| (rest, build));
    let (core, pre) = rest.split_once('-').map_or((rest, ""), |(core, pre)| (core, pre));
    let mut numbers = [0_u64; 3];
    let parts: Vec<&str> = core.split('.').collect();
    if parts.len() > 3 {
        return None;
    }
    for (number, part) in numbers.iter_mut().zip(&parts) {
        if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    let [major, minor, patch] = numbers;
    let (pre, build) = (Prerelease::new(pre).ok()?, BuildMetadata::new(build).ok()?);
    Some(Parsed(Version { major, minor, patch, pre, build }))
}

/// A range without `||` in the words of the library: separated by commas, without `v`, hyphens spelled out.
fn comparators(part: &str) -> Option<String> {
    let part = part.trim();
    if part.is_empty() || part == "*" {
        return Some("*".to_owned());
    }
    if let Some((low, high)) = part.split_once(" - ") {
        return Some(format!(">={}, <={}", bare(low.trim()), bare(high.trim())));
    }
    let mut found: Vec<String> = Vec::new();
    let mut operator = String::new();
    for word in part.split([',', ' ']).filter(|word| !word.is_empty()) {
        let digits = word.find(|c: char| !"<>=!~^".contains(c)).unwrap_or(word.len());
        operator.push_str(&word[..digits]);
        if digits == word.len() {
            continue;
        }
        let text = bare(&word[digits..]);
        // The library reads a bare version as a caret range, Helm as that version.
        let is_whole = text.split(['-', '+']).next().unwrap_or_default().split('.').count() == 3;
        let has_wildcard = text.split(['.', '-']).any(|part| matches!(part, "x" | "X" | "*"));
        let plain = |text: &str| text.replace(".x", "").replace(".X", "").replace(".*", "");
        found.push(match operator.as_str() {
            "" if is_whole && !has_wildcard => format!("={text}"),
            "" if has_wildcard => text.replace(['x', 'X'], "*"),
            "" => format!("{text}.*"),
            "!=" => return None,
            "=>" => format!(">={text}"),
            "=<" => format!("<={text}"),
            other => format!("{other}{}", plain(&text)),
        });
        operator.clear();
    }
    (!found.is_empty() && operator.is_empty()).then(|| found.join(", "))
}

fn bare(text: &str) -> String {
    text.strip_prefix('v').unwrap_or(text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_helm_reads_them() {
        for good in [
            "1.2.3",
            "v1.2.3",
            "1.2",
            "1",
            "v2",
            "1.2.3-rc.1+build.5",
            "1.2-beta",
            "0.0.0",
            "01.2.3",
            "2024.1",
        ] {
            assert!(parse_version(good).is_some(), "{good}");
        }
        for bad in [
            "",
            "v",
            "latest",
            "1.2.3.4",
            "1..2",
            "a.b.c",
            "1.2.3-",
            "../1",
            "1.2.3_4",
            "-1.0.0",
            "99999999999999999999999.0.0",
        ] {
            assert!(parse_version(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn versions_have_an_order() {
        let sorted = ["0.9.0", "1.0.0-alpha", "1.0.0-rc.1", "1.0.0", "v1.0.1", "1.2", "1.10.0", "2"];
        let mut shuffled = sorted;
        shuffled.reverse();
        shuffled.sort_by_key(|text| parse_version(text));

        assert_eq!(shuffled, sorted);
        assert!(parse_version("1.0.0").unwrap().is_better_than(&parse_version("2.0.0-rc.1").unwrap()));
    }

    #[test]
    fn ranges_hold_what_helm_lets_them_hold() {
        let cases = [
            ("*", "1.2.3", true),
            ("", "1.2.3", true),
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "1.2.4", false),
            ("1.2.x", "1.2.9", true),
            ("1.x", "1.9.0", true),
            ("1.x", "2.0.0", false),
            ("1", "1.4.0", true),
            ("^1.2", "1.9.9", true),
            ("^1.2", "2.0.0", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            (">=1.2 <2", "1.5.0", true),
            (">= 1.2, < 2", "2.0.0", false),
            ("1.2 - 2.3.4", "2.3.4", true),
            ("<1 || >=3", "3.1.0", true),
            ("<1 || >=3", "2.0.0", false),
            (">=1.0.0", "2.0.0-rc.1", false),
            (">=2.0.0-0", "2.0.0-rc.1", true),
            ("v1.2.3", "1.2.3", true),
        ];
        for (range, version, expected) in cases {
            assert_eq!(
                parse_version(version).unwrap().is_in(range),
                Some(expected),
                "{version} in {range:?}"
            );
        }
        for bad in ["nonsense", ">=", ">=a", "1.2.3.4"] {
            assert_eq!(parse_version("1.0.0").unwrap().is_in(bad), None, "{bad}");
        }
    }
}
