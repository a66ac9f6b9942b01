//! Names for containers whose makers gave none: two short words that are easy to say and to tell apart.

use ring::rand::{SecureRandom as _, SystemRandom};
use wire::names::ContainerName;

use crate::error::{Error, Result};

const QUALITIES: [&str; 32] = [
    "able", "amber", "bold", "brave", "bright", "brisk", "calm", "clear", "coral", "deft", "eager", "fair",
    "fleet", "gentle", "golden", "green", "handy", "keen", "kind", "lively", "lucky", "merry", "neat",
    "nimble", "proud", "quick", "quiet", "silver", "steady", "sunny", "swift", "warm",
];
const THINGS: [&str; 32] = [
    "anchor", "bay", "beacon", "boat", "berth", "breeze", "bridge", "buoy", "canal", "compass", "cove",
    "crane", "dock", "dolphin", "ferry", "gull", "harbour", "heron", "island", "jetty", "kayak", "lagoon",
    "lantern", "mast", "otter", "pearl", "pier", "reef", "river", "sail", "tide", "wharf",
];

/// A name; from the third try on with a number, because the account may have many.
pub(super) fn make(random: &SystemRandom, attempt: u32) -> Result<ContainerName> {
    let mut bytes = [0; 4];
    random.fill(&mut bytes).map_err(|_| Error::internal("the system gives no random numbers"))?;
    let quality = QUALITIES[usize::from(bytes[0]) % QUALITIES.len()];
    let thing = THINGS[usize::from(bytes[1]) % THINGS.len()];
    let number = u16::from_le_bytes([bytes[2], bytes[3]]);
    let name = if attempt < 2 { format!("{quality}-{thing}") } else { format!("{quality}-{thing}-{number}") };
    Ok(name.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_made_up_name_is_a_valid_one() {
        for quality in QUALITIES {
            for thing in THINGS {
                assert!(format!("{quality}-{thing}-65535").parse::<ContainerName>().is_ok());
            }
        }
        assert!(make(&SystemRandom::new(), 0).is_ok());
        assert!(make(&SystemRandom::new(), 9).unwrap().as_str().matches('-').count() == 2);
    }
}
