//! Kubernetes quantities, as far as the downward API needs them.

/// The value of `1500m`, `2Gi` or `1e3`, in thousandths.
pub(super) fn milli(quantity: &str) -> Option<i128> {
    let end = quantity
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '-' | '+')))
        .unwrap_or(quantity.len());
    let (number, suffix) = quantity.split_at(end);
    let scale: i128 = match suffix {
        "" => 1000,
        "m" => 1,
        "k" => 1_000_000,
        "M" => 1_000_000_000,
        "G" => 1_000_000_000_000,
        "T" => 1_000_000_000_000_000,
        "Ki" => 1000 << 10,
        "Mi" => 1000 << 20,
        "Gi" => 1000 << 30,
        "Ti" => 1000 << 40,
        exponent => {
            let power: u32 = exponent
                .strip_prefix(['e', 'E'])?
                .parse()
                .ok()
                .filter(|p| *p < 16)?;
            1000 * 10_i128.pow(power)
        }
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let digits = fraction.get(..fraction.len().min(9)).unwrap_or_default();
    let mut value = whole.parse::<i128>().ok()? * scale;
    if !digits.is_empty() {
        value +=
            digits.parse::<i128>().ok()? * scale / 10_i128.pow(u32::try_from(digits.len()).ok()?);
    }
    Some(value)
}

/// The whole number of divisors in a quantity, rounded up, as the downward API writes it.
pub(super) fn divided(quantity: &str, divisor: &str) -> Option<String> {
    let (value, divisor) = (
        milli(quantity)?,
        milli(divisor).filter(|d| *d > 0).unwrap_or(1000),
    );
    Some(((value + divisor - 1) / divisor).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes_and_divisors() {
        assert_eq!(milli("1500m"), Some(1500));
        assert_eq!(milli("1.5"), Some(1500));
        assert_eq!(divided("250m", "1").as_deref(), Some("1"));
        assert_eq!(divided("250m", "1m").as_deref(), Some("250"));
        assert_eq!(divided("64Mi", "1Mi").as_deref(), Some("64"));
        assert_eq!(divided("1e3", "0").as_deref(), Some("1000"));
        assert_eq!(milli("ten"), None);
    }
}
