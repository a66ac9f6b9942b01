//! A value that can be neither printed nor serialised by accident.

use std::fmt;

use serde::{Deserialize, Serializer};

/// Holds a password, token or key. `Debug` shows `***`; there is no `Display` and no `Serialize`: the few places that
/// must pass it on call [`Secret::expose`] and can be found by that name.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself. Never log it, never store it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// For `#[serde(serialize_with)]` on the fields of link calls, which travel only between server and agent.
    pub fn serialize_exposed<S: Serializer>(secret: &Self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&secret.0)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_printed() {
        let secret = Secret::new("hunter22");

        assert_eq!(format!("{secret:?} {:?}", Some(&secret)), "*** Some(***)");
    }
}
