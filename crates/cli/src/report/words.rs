//! Numbers and times in the words of the report.

use std::fmt::Write as _;

use jiff::Timestamp;

pub(super) fn signed_ms(ms: f64) -> String {
    match signed(ms).as_str() {
        "0" => "0".to_owned(),
        text => format!("{text} ms"),
    }
}

/// A whole number with its sign, the typographic minus.
pub(super) fn signed(value: f64) -> String {
    let rounded = value.round();
    if rounded == 0.0 {
        "0".to_owned()
    } else if rounded < 0.0 {
        format!("\u{2212}{}", -rounded)
    } else {
        format!("+{rounded}")
    }
}

/// Minutes and seconds since the start, with tenths where there are some.
pub(super) fn clock(ms: f64) -> String {
    let tenths = (ms / 100.0).round().max(0.0) as u64;
    let (hours, minutes, seconds, tenth) = (
        tenths / 36_000,
        tenths / 600 % 60,
        tenths / 10 % 60,
        tenths % 10,
    );
    let mut text = if hours > 0 {
        format!("{hours}:{minutes:02}:{seconds:02}")
    } else {
        format!("{minutes}:{seconds:02}")
    };
    if tenth > 0 {
        let _ = write!(text, ".{tenth}");
    }
    text
}

/// A duration for people.
pub(super) fn lasting(ms: f64) -> String {
    if ms < 1_000.0 {
        format!("{ms:.0} ms")
    } else if ms < 60_000.0 {
        format!("{:.1} s", ms / 1_000.0)
    } else {
        let seconds = (ms / 1_000.0).round() as u64;
        format!("{} min {:02} s", seconds / 60, seconds % 60)
    }
}

/// Milliseconds between two instants, negative when they are the other way round.
pub(super) fn since(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() * 1_000.0
}

pub(super) fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

pub(super) fn time_of_day(at: Timestamp) -> String {
    at.strftime("%H:%M:%S").to_string()
}

pub(super) fn dash() -> String {
    "\u{2013}".to_owned()
}

pub(super) fn known(n: Option<u64>) -> String {
    n.map_or_else(|| "?".to_owned(), grouped)
}

/// Thousands apart by a thin space.
pub(super) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}
