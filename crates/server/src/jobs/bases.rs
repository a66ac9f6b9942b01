//! On which of our images a Dockerfile builds, read from its steps as the engine tells them. Layers alone do not say it: an
//! image that only adds a label to another has the same.

use wire::names::ImageReference;

/// How a Dockerfile names our registry.
const ARGUMENTS: [&str; 2] = ["${LONGSHORE_REGISTRY}/", "$LONGSHORE_REGISTRY/"];
/// Stages that are remembered; more are not built on.
const MAX_STAGES: usize = 256;

/// The stages so far.
pub(super) struct Bases {
    registries: Vec<String>,
    stages: Vec<Stage>,
}

#[derive(Clone)]
struct Stage {
    name: Option<String>,
    base: Option<ImageReference>,
}

impl Bases {
    /// `registries` are the names by which the registry is known, `host:port`.
    pub(super) fn new(registries: impl IntoIterator<Item = String>) -> Self {
        Self { registries: registries.into_iter().collect(), stages: Vec::new() }
    }

    /// Takes a step's instruction.
    pub(super) fn take(&mut self, instruction: &str) {
        let mut words = instruction.split_whitespace().filter(|word| !word.starts_with("--"));
        if !words.next().is_some_and(|word| word.eq_ignore_ascii_case("FROM"))
            || self.stages.len() >= MAX_STAGES
        {
            return;
        }
        let Some(from) = words.next() else { return };
        let is_named = words.next().is_some_and(|word| word.eq_ignore_ascii_case("AS"));
        let name = words.next().filter(|_| is_named).map(str::to_lowercase);
        let base = match self.stages.iter().rfind(|stage| stage.name.as_deref() == Some(&from.to_lowercase()))
        {
            Some(stage) => stage.base.clone(),
            None => self.image(from),
        };
        self.stages.push(Stage { name, base });
    }

    /// The image that the last stage is built on; none when that is not one of ours, by name.
    pub(super) fn last(self) -> Option<ImageReference> {
        self.stages.into_iter().next_back()?.base
    }

    fn image(&self, from: &str) -> Option<ImageReference> {
        let own = |registry: &String| from.strip_prefix(registry.as_str())?.strip_prefix('/');
        let named = ARGUMENTS.iter().find_map(|argument| from.strip_prefix(argument));
        let name = named.or_else(|| self.registries.iter().find_map(own))?;
        name.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base(steps: &[&str]) -> Option<String> {
        let mut bases = Bases::new(["127.0.0.1:5000".to_owned()]);
        for step in steps {
            bases.take(step);
        }
        bases.last().map(|image| format!("{}/{}:{}", image.owner.unwrap(), image.repo, image.tag))
    }

    #[test]
    fn the_last_stage_says_what_an_image_is_built_on() {
        let ours = Some("alice/base:1".to_owned());

        assert_eq!(
            base(&["ARG LONGSHORE_REGISTRY", "FROM ${LONGSHORE_REGISTRY}/alice/base:1", "LABEL a=b"]),
            ours
        );
        assert_eq!(base(&["FROM $LONGSHORE_REGISTRY/alice/base:1"]), ours);
        assert_eq!(base(&["from --platform=linux/amd64 127.0.0.1:5000/alice/base:1 as Last"]), ours);
        assert_eq!(
            base(&["FROM 127.0.0.1:5000/alice/base:1 AS first", "FROM scratch AS other", "FROM FIRST"]),
            ours
        );
        assert_eq!(base(&["FROM 127.0.0.1:5000/alice/base:1", "FROM scratch"]), None);
    }

    #[test]
    fn what_is_not_ours_is_no_base() {
        for from in [
            "scratch",
            "alice/base:1",
            "127.0.0.1:50001/alice/base:1",
            "evil.example/alice/base:1",
            "127.0.0.1:5000",
            "${OTHER}/alice/base:1",
        ] {
            assert_eq!(base(&[&format!("FROM {from}")]), None, "{from}");
        }
        assert_eq!(base(&["FROM"]), None);
        assert_eq!(base(&["RUN echo FROM 127.0.0.1:5000/alice/base:1"]), None);
    }
}
