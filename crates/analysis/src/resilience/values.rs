//! Fields of objects, by path. A field of another type than expected counts as absent: the API
//! server would not have taken the object, and a check of manifests says that elsewhere.

use serde_json::Value;

/// What is under a path, as `Value::pointer` finds it; that one looks for escapes in every part anew, and is asked here
/// hundreds of times an object.
pub(crate) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    if path.contains('~') {
        return value.pointer(path);
    }
    path.split('/')
        .skip(1)
        .try_fold(value, |found, part| match found {
            Value::Object(fields) => fields.get(part),
            Value::Array(entries) => entries.get(part.parse::<usize>().ok()?),
            _ => None,
        })
}

/// A text.
pub(crate) fn text<'a>(value: &'a Value, path: &str) -> Option<&'a str> {
    at(value, path).and_then(Value::as_str)
}

/// A whole number. Fields of the API hold 32 bits; a larger one is not a value of theirs, and sums of
/// these do not overflow.
pub(crate) fn int(value: &Value, path: &str) -> Option<i64> {
    let found = at(value, path).and_then(Value::as_i64)?;
    i32::try_from(found).ok().map(i64::from)
}

/// A flag.
pub(crate) fn flag(value: &Value, path: &str) -> Option<bool> {
    at(value, path).and_then(Value::as_bool)
}

/// Entries of a list; none when it is absent.
pub(crate) fn list<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    at(value, path)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

/// Texts of a list.
pub(crate) fn texts<'a>(value: &'a Value, path: &str) -> Vec<&'a str> {
    list(value, path).iter().filter_map(Value::as_str).collect()
}

/// Is there anything?
pub(crate) fn has(value: &Value, path: &str) -> bool {
    at(value, path).is_some_and(|found| !found.is_null())
}

/// One part of a path.
pub(crate) fn escape(part: &str) -> String {
    part.replace('~', "~0").replace('/', "~1")
}

/// A length of time as people write it in settings: `30`, `30s`, `5m`, `1h30m`, `250ms`. Seconds,
/// rounded up; nothing when it is not one, or longer than a human life.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    length(text).filter(|seconds| seconds.abs() < 1 << 31)
}

fn length(text: &str) -> Option<i64> {
    let text = text.trim();
    if let Ok(whole) = text.parse::<i64>() {
        return Some(whole);
    }
    let (mut total, mut number, mut rest) = (0_i64, String::new(), text);
    if rest.is_empty() {
        return None;
    }
    while let Some(c) = rest.chars().next() {
        if c.is_ascii_digit() {
            number.push(c);
            rest = rest.get(1..)?;
            continue;
        }
        let n: i64 = number.parse().ok()?;
        number.clear();
        let (unit, length) = [("ms", 0), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)]
            .into_iter()
            .find(|(unit, _)| rest.starts_with(unit))
            .map(|(unit, seconds)| (unit.len(), seconds))?;
        total = total.checked_add(if length == 0 {
            n.div_euclid(1000) + i64::from(n % 1000 != 0)
        } else {
            n.checked_mul(length)?
        })?;
        rest = rest.get(unit..)?;
    }
    number.is_empty().then_some(total)
}

/// An amount of a resource in its base unit times 1000 (`250m` is 250, `1Gi` is 2^30 * 1000). No
/// machine has more than 2^80 of anything.
pub(crate) fn quantity(value: &Value) -> Option<i128> {
    amount(value).filter(|amount| *amount < 1 << 80)
}

fn amount(value: &Value) -> Option<i128> {
    let text = match value {
        Value::String(text) => text.trim().to_owned(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let end = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.'))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    // Billionths and millionths, which the API server writes for metrics, round up.
    if let Some(part) = match unit {
        "n" => Some(1_000_000),
        "u" => Some(1_000),
        _ => None,
    } {
        let whole = number.parse::<i128>().ok()?;
        return Some(whole.div_euclid(part) + i128::from(whole.rem_euclid(part) > 0));
    }
    let scale: i128 = match unit {
        "" => 1000,
        "m" => 1,
        "k" => 1000 * 1000,
        "M" => 1000 * 1_000_000,
        "G" => 1000 * 1_000_000_000,
        "T" => 1000 * 1_000_000_000_000,
        "P" => 1000 * 1_000_000_000_000_000,
        "E" => 1000 * 1_000_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        "Pi" => 1000 << 50,
        "Ei" => 1000 << 60,
        exponent => {
            let digits = exponent.strip_prefix(['e', 'E'])?;
            let power = digits.parse::<u32>().ok().filter(|power| *power <= 18)?;
            1000 * 10_i128.pow(power)
        }
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let mut amount = whole.parse::<i128>().ok()?.checked_mul(scale)?;
    let mut unit = scale;
    for digit in part.chars().take(9) {
        unit /= 10;
        amount = amount.checked_add(i128::from(digit.to_digit(10)?).checked_mul(unit)?)?;
    }
    Some(amount)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_json_pointers() {
        let value = serde_json::json!({"a": [{"b/c": 1}, {"": 2}], "": 3});
        for path in [
            "",
            "/",
            "/a",
            "/a/0/b~1c",
            "/a/1/",
            "/a/2",
            "/a/x",
            "/a/0/b/c",
            "/none",
        ] {
            assert_eq!(at(&value, path), value.pointer(path), "{path}");
        }
    }

    #[test]
    fn lengths_of_time() {
        for (text, expected) in [
            ("30", Some(30)),
            ("30s", Some(30)),
            ("1h30m", Some(5400)),
            ("250ms", Some(1)),
            ("", None),
            ("soon", None),
            ("5m3", None),
        ] {
            assert_eq!(seconds(text), expected, "{text}");
        }
    }

    #[test]
    fn amounts() {
        let of = |text: &str| quantity(&Value::from(text));
        assert_eq!(of("250m"), Some(250));
        assert_eq!(of("1.5"), Some(1500));
        assert_eq!(of("1Gi"), Some(1000 << 30));
        assert_eq!(of("2Ei"), Some(2000 << 60));
        assert_eq!(of("1e3"), Some(1_000_000));
        assert_eq!(of("1500000001n"), Some(1501));
        assert_eq!(quantity(&Value::from(2)), Some(2000));
        assert_eq!(of("much"), None);
    }
}
