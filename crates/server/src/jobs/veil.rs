//! Covers secrets in what builds print. Each is covered by as many stars as it has bytes, so that places in a log stay what
//! they are.

use std::borrow::Cow;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use wire::names::SecretName;
use wire::secret::Secret;

/// Shorter lines of a secret are not covered: they would be found everywhere.
const SHORTEST: usize = 4;

/// The same of what is written in base64 or for addresses, of which every few letters occur.
const SHORTEST_ENCODED: usize = 8;

/// What is not to be seen.
#[derive(Default)]
pub(super) struct Veil {
    /// Longest first: one may be a part of another.
    lines: Vec<Secret>,
}

impl Veil {
    /// Over these secrets, line by line, as they are and as programs write them into headers and addresses.
    pub(super) fn over(secrets: &[(SecretName, Secret)]) -> Self {
        let mut lines = Vec::new();
        for (_, value) in secrets {
            let value = value.expose();
            let parts = value.lines().chain([value]).map(str::trim).filter(|part| part.len() >= SHORTEST);
            lines.extend(parts.flat_map(|part| {
                // A line's end is not in a log as such.
                let raw = (!part.contains('\n')).then(|| part.to_owned());
                raw.into_iter().chain(encoded(part).into_iter().filter(|text| text.len() >= SHORTEST_ENCODED))
            }));
        }
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
        lines.dedup();
        Self { lines: lines.into_iter().map(Secret::new).collect() }
    }

    /// A text without them.
    pub(super) fn cover<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut covered = Cow::Borrowed(text);
        for line in &self.lines {
            let line = line.expose();
            if covered.contains(line) {
                covered = Cow::Owned(covered.replace(line, &"*".repeat(line.len())));
            }
        }
        covered
    }
}

/// A text in base64, but for what depends on what comes after it; and as part of an address.
fn encoded(text: &str) -> [String; 2] {
    let whole = &text.as_bytes()[..text.len() / 3 * 3];
    let address = form_urlencoded::byte_serialize(text.as_bytes()).collect();
    [BASE64_STANDARD.encode(whole), address]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_line_by_line_and_nothing_moves() {
        let secret = |value: &str| ("name".parse().unwrap(), Secret::new(value));
        let veil = Veil::over(&[secret("s3cret"), secret("first line\n x \nlong s3cret line\n")]);

        assert_eq!(veil.cover("a s3cret, a long s3cret line, x"), "a ******, a ****************, x");
        assert_eq!(veil.cover("first line"), "**********");
        for text in [
            "long s3cret line",
            "long+s3cret+line",
            "bG9uZyBzM2NyZXQgbGluZQ==",
            "Zmlyc3QgbGluZQogeCAKbG9uZyBzM2NyZXQgbGluZQo=",
        ] {
            let covered = veil.cover(text).into_owned();
            assert!(covered.starts_with("************") && covered.len() == text.len(), "{text}: {covered}");
        }
        assert!(matches!(veil.cover("nothing"), Cow::Borrowed("nothing")));
    }
}
