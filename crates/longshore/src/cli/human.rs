//! Sizes, times and amounts as people read and type them.

use chrono::DateTime;
use wire::time::Timestamp;

use super::words::{self, Language};

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

/// A number of bytes with one decimal: `1.5 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    if bytes < 1024 {
        return format!("{bytes} B");
    }
    // Tenths, so that no floating point is needed; rounded half up.
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = 0;
    while tenths >= 10_235 && unit + 1 < UNITS.len() {
        tenths = (tenths + 512) / 1024;
        unit += 1;
    }
    format!("{}.{} {}", tenths / 10, tenths % 10, UNITS[unit])
}

/// How long ago something was: `3 min ago`.
pub(crate) fn ago(then: Timestamp, now: Timestamp, language: Language) -> String {
    let secs = now.unix_secs().saturating_sub(then.unix_secs());
    let (word, amount) = match secs.abs() {
        0..=9 => return language.pick(words::JUST_NOW).to_owned(),
        s @ 10..=59 => (words::SECONDS_AGO, s),
        s @ 60..=3_599 => (words::MINUTES_AGO, s / 60),
        s @ 3_600..=86_399 => (words::HOURS_AGO, s / 3_600),
        s @ 86_400..=31_535_999 => (words::DAYS_AGO, s / 86_400),
        s => (words::YEARS_AGO, s / 31_536_000),
    };
    let word = if secs < 0 { word.1 } else { word.0 };
    language.say(word, &[&amount.to_string()])
}

/// A length of time: `1 min 5 s`.
pub(crate) fn duration(secs: i64) -> String {
    match secs.max(0) {
        s @ 0..=59 => format!("{s} s"),
        s @ 60..=3_599 => format!("{} min {} s", s / 60, s % 60),
        s => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
    }
}

/// Thousandths of a core: `1.5`.
pub(crate) fn cores(millis: u32) -> String {
    let text = format!("{}.{:03}", millis / 1000, millis % 1000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Reads an amount of memory: bytes, or a number with `k`, `m`, `g` or `t` (powers of 1024).
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not an amount of memory: use `512m`, `1.5g` or a number of bytes");
    let lower = text.trim().to_ascii_lowercase();
    let digits = lower.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor: u64 = match lower[digits.len()..].trim() {
        "" | "b" => 1,
        "k" | "kb" | "kib" => 1 << 10,
        "m" | "mb" | "mib" => 1 << 20,
        "g" | "gb" | "gib" => 1 << 30,
        "t" | "tb" | "tib" => 1 << 40,
        _ => return Err(wrong()),
    };
    let thousandths = parse_thousandths(digits).ok_or_else(wrong)?;
    let bytes = u128::from(thousandths) * u128::from(factor) / 1000;
    u64::try_from(bytes).ok().filter(|&bytes| bytes > 0).ok_or_else(wrong)
}

/// Reads a number of cores, such as `1.5`, as thousandths.
pub(crate) fn parse_cores(text: &str) -> Result<u32, String> {
    parse_thousandths(text)
        .and_then(|millis| u32::try_from(millis).ok())
        .filter(|&millis| millis > 0)
        .ok_or_else(|| format!("`{text}` is not a number of cores: use `1`, `0.5` or `2.25`"))
}

/// Reads a decimal number with at most three decimals as thousandths.
fn parse_thousandths(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let is_number = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || part.len() > 3 || !is_number(whole) || !is_number(part) || text.ends_with('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let part: u64 = format!("{part:0<3}").parse().ok()?;
    whole.checked_mul(1000)?.checked_add(part)
}

/// Reads a length of time: a number with `s`, `m`, `h`, `d` or `w`.
pub(crate) fn parse_duration(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is not a length of time: use `90s`, `10m`, `12h`, `30d` or `4w`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let factor: u64 = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        'w' => 604_800,
        _ => return Err(wrong()),
    };
    let amount: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    amount.checked_mul(factor).filter(|&secs| secs > 0).ok_or_else(wrong)
}

/// Reads a point in time: RFC 3339, or a length of time before now.
pub(crate) fn parse_since(text: &str, now: Timestamp) -> Result<Timestamp, String> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(Timestamp(time.timestamp_micros()));
    }
    let secs = parse_duration(text)
        .map_err(|_| format!("`{text}` is not a time: use `10m`, `2h` or `2026-01-31T12:00:00Z`"))?;
    Ok(now.plus_secs(i64::try_from(secs).unwrap_or(i64::MAX).saturating_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_short_and_rounded() {
        let shown: Vec<String> =
            [0, 1023, 1024, 1536, 1_048_575, 1 << 20, 5 << 30, u64::MAX].into_iter().map(size).collect();

        assert_eq!(
            shown,
            ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "1.0 MiB", "1.0 MiB", "5.0 GiB", "16384.0 PiB"]
        );
    }

    #[test]
    fn memory_is_read_exactly_or_refused() {
        assert_eq!(parse_size("512m"), Ok(512 << 20));
        assert_eq!(parse_size("1.5G"), Ok(3 << 29));
        assert_eq!(parse_size("64MiB"), Ok(64 << 20));
        assert_eq!(parse_size("1048576"), Ok(1 << 20));
        for text in ["", "m", "-1m", "1x", "1.m", ".5g", "1e9", "0", "99999999999t", "1 m x", "٣m"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores_are_read_exactly_or_refused() {
        assert_eq!(parse_cores("1.5"), Ok(1500));
        assert_eq!(parse_cores("0.25"), Ok(250));
        assert_eq!(cores(1500), "1.5");
        assert_eq!(cores(2000), "2");
        for text in ["", "0", "1.2345", "-1", "a", "1.", "4294968"] {
            assert!(parse_cores(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_shown_as_their_distance() {
        let now = Timestamp(0).plus_secs(100_000_000);
        let shown = |secs: i64| ago(now.plus_secs(-secs), now, Language::English);

        assert_eq!(shown(3), "just now");
        assert_eq!(shown(180), "3 min ago");
        assert_eq!(shown(7_200), "2 h ago");
        assert_eq!(shown(172_800), "2 d ago");
        assert_eq!(shown(-3_600), "in 1 h");
        assert_eq!(ago(now.plus_secs(-180), now, Language::Chinese), "3 分钟前");
    }

    #[test]
    fn lengths_of_time_are_read() {
        assert_eq!(parse_duration("30d"), Ok(2_592_000));
        for text in ["", "d", "30", "1y", "0s", "é"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
