//! Covers secrets in what builds print. Each is covered by as many stars as it has bytes, so that places in a log stay what
//! they are.

use std::borrow::Cow;

use wire::names::SecretName;
use wire::secret::Secret;

/// Shorter lines of a secret are not covered: they would be found everywhere.
const SHORTEST: usize = 4;

/// What is not to be seen.
#[derive(Default)]
pub(super) struct Veil {
    /// Longest first: one may be a part of another.
    lines: Vec<Secret>,
}

impl Veil {
    /// Over these secrets, line by line.
    pub(super) fn over(secrets: &[(SecretName, Secret)]) -> Self {
        let lines = secrets.iter().flat_map(|(_, value)| value.expose().lines());
        let mut lines: Vec<&str> = lines.map(str::trim).filter(|line| line.len() >= SHORTEST).collect();
        lines.sort_by_key(|line| std::cmp::Reverse(line.len()));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_covered_line_by_line_and_nothing_moves() {
        let secret = |value: &str| ("name".parse().unwrap(), Secret::new(value));
        let veil = Veil::over(&[secret("s3cret"), secret("first line\n x \nlong s3cret line\n")]);

        assert_eq!(veil.cover("a s3cret, a long s3cret line, x"), "a ******, a ****************, x");
        assert_eq!(veil.cover("first line"), "**********");
        assert!(matches!(veil.cover("nothing"), Cow::Borrowed("nothing")));
    }
}
