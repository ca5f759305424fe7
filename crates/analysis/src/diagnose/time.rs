//! Times as servers write them.

use crate::resilience::days;

/// Seconds since 1970-01-01 of `2026-11-21T19:40:00Z`, with or without a fraction, or of Go's
/// `2026-11-21 19:40:00 +0000 UTC`. Other zones than UTC are not read: no server here writes them.
pub fn instant(text: &str) -> Option<i64> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let part = text.get(range)?;
        part.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| part.parse().ok())?
    };
    let separators = (
        text.get(4..5)?,
        text.get(7..8)?,
        text.get(10..11)?,
        text.get(13..14)?,
        text.get(16..17)?,
    );
    if !matches!(separators, ("-", "-", "T" | " ", ":", ":")) {
        return None;
    }
    let rest = text.get(19..)?;
    let zone = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    if !matches!(zone, "Z" | "+00:00" | " +0000 UTC") {
        return None;
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let day = days(number(0..4)?, number(5..7)?, number(8..10)?)?;
    (hour < 24 && minute < 60 && second <= 60)
        .then(|| day * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// `2h05m`, `4m`, `30 s`.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s.div_euclid(60)),
        s => format!(
            "{}h{:02}m",
            s.div_euclid(3_600),
            s.rem_euclid(3_600).div_euclid(60)
        ),
    }
}

/// Seconds of Go's durations as the kubelet writes them: `1m2.5s`, `950ms`.
pub(crate) fn duration(text: &str) -> Option<i64> {
    // A fraction of a second changes nothing here.
    let mut whole = String::new();
    let mut in_fraction = false;
    for c in text.chars() {
        if c == '.' {
            in_fraction = true;
            continue;
        }
        if !c.is_ascii_digit() {
            in_fraction = false;
        }
        if !in_fraction {
            whole.push(c);
        }
    }
    crate::resilience::values::seconds(&whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let at = Some(1_795_290_000);
        assert_eq!(instant("2026-11-21T19:40:00Z"), at);
        assert_eq!(instant("2026-11-21T19:40:00.123456Z"), at);
        assert_eq!(instant("2026-11-21T19:40:00+00:00"), at);
        assert_eq!(instant("2026-11-21 19:40:00 +0000 UTC"), at);
        for wrong in [
            "",
            "2026-11-21",
            "2026-11-21T19:40:00+02:00",
            "2026-13-21T19:40:00Z",
            "yesterday at noon, UTC",
        ] {
            assert_eq!(instant(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(duration("2m3.456s"), Some(123));
        assert_eq!(duration("31.5s"), Some(31));
        assert_eq!(duration("950ms"), Some(1));
        assert_eq!(duration("soon"), None);
        assert_eq!([30, 600, 7_500].map(span), ["30 s", "10 min", "2h05m"]);
    }
}
