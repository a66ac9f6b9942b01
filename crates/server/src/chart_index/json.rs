//! An index that is JSON, which Helm takes too: entry by entry.

use std::fmt;
use std::io::BufRead;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::entry::Entry;
use super::{Collector, IndexError, Result};

/// Reads the whole.
pub(super) fn read(reader: impl BufRead, collector: &mut Collector) -> Result<()> {
    let mut failure = None;
    let mut deserializer = serde_json::Deserializer::from_reader(reader);
    let result = Whole { collector, failure: &mut failure }.deserialize(&mut deserializer);
    if let Some(failure) = failure {
        return Err(failure);
    }
    let result = result.and_then(|()| deserializer.end());
    result.map_err(|error| {
        if error.is_io() {
            IndexError::Read(error.into())
        } else {
            IndexError::Malformed(format!("it is not JSON: {error}"))
        }
    })
}

/// The document.
struct Whole<'a> {
    collector: &'a mut Collector,
    failure: &'a mut Option<IndexError>,
}

/// The object of charts.
struct Charts<'a>(Whole<'a>);

/// The list of a chart's versions.
struct Versions<'a> {
    whole: Whole<'a>,
    chart: &'a str,
}

impl<'de> DeserializeSeed<'de> for Whole<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an index")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            if key == "entries" {
                let whole = Whole { collector: &mut *self.collector, failure: &mut *self.failure };
                map.next_value_seed(Charts(whole))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Charts<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Charts<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of charts")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.0.collector.begin();
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.0.collector.begin();
        while let Some(chart) = map.next_key::<String>()? {
            let whole = Whole { collector: &mut *self.0.collector, failure: &mut *self.0.failure };
            map.next_value_seed(Versions { whole, chart: &chart })?;
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Versions<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Versions<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of versions")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while let Some(value) = list.next_element::<Value>()? {
            if let Err(error) = self.whole.collector.take(self.chart, Entry::from_value(&value)) {
                *self.whole.failure = Some(error);
                return Err(A::Error::custom("the index is too large"));
            }
        }
        Ok(())
    }
}
