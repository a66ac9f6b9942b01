//! Schedules: times by the clock, in cron's five fields, UTC. The parser is a library's; here is what we allow of it.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use wire::time::Timestamp;

/// Longest schedule in characters.
pub const MAX_CHARS: usize = 100;

/// A schedule such as `30 2 * * 1-5`.
#[derive(Clone, Debug)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads one; in words what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.chars().count() > MAX_CHARS || !text.is_ascii() || text.chars().any(char::is_control) {
            return Err(format!("it has more than {MAX_CHARS} characters, or some that no schedule has"));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        parser.parse(text).map(Self).map_err(|error| error.to_string())
    }

    /// The first time after this one; none when there is none.
    pub fn next_after(&self, time: Timestamp) -> Option<Timestamp> {
        self.find(time, false)
    }

    /// Whether there is a time from one moment to another, both included.
    pub fn has_between(&self, from: Timestamp, to: Timestamp) -> bool {
        self.find(from, true).is_some_and(|time| time <= to)
    }

    fn find(&self, time: Timestamp, is_inclusive: bool) -> Option<Timestamp> {
        // The library reads no fractions: a second that has begun before `time` does not count.
        let has_begun = is_inclusive && time.0.rem_euclid(1_000_000) > 0;
        let start = chrono::DateTime::from_timestamp(time.unix_secs() + i64::from(has_begun), 0)?;
        let next = self.0.find_next_occurrence(&start, is_inclusive).ok()?;
        Some(Timestamp(next.timestamp_micros()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2021-11-25 15:17:00, a Thursday.
    const THEN: Timestamp = Timestamp(1_637_853_420_000_000);

    #[test]
    fn times_are_found_in_order() {
        for (text, minutes) in [
            ("* * * * *", 1),
            ("17 15 * * *", 24 * 60),
            ("0 16 * * *", 43),
            ("30 2 * * 1-5", 673),
            ("@hourly", 43),
        ] {
            let schedule = Schedule::parse(text).unwrap();
            assert_eq!(schedule.next_after(THEN), Some(THEN.plus_secs(minutes * 60)), "{text}");
        }
        let daily = Schedule::parse("17 15 * * *").unwrap();
        assert!(daily.has_between(THEN, THEN));
        assert!(!daily.has_between(THEN.plus_secs(1), THEN.plus_secs(3_600)));
        assert!(!daily.has_between(Timestamp(THEN.0 + 1), THEN.plus_secs(3_600)));
    }

    #[test]
    fn what_is_no_schedule_is_refused() {
        for text in ["", "x", "* * * *", "* * * * * *", "61 * * * *", "0 0 * * * * 2030", "每天"] {
            assert!(Schedule::parse(text).is_err(), "{text}");
        }
        assert!(Schedule::parse(&"*,".repeat(500)).is_err());
        let never = Schedule::parse("0 0 30 2 *").map(|schedule| schedule.next_after(THEN));
        assert!(
            never.is_err() || never.is_ok_and(|time| time.is_none()),
            "there is no thirtieth of February"
        );
    }
}
