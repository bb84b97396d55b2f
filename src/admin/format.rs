//! Formats numbers and durations for people.

/// Formats a duration in its two largest units: `6d 3h`, `2m 5s`, `0s`.
pub fn format_duration(seconds: u64) -> String {
    let units = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let first = units.iter().position(|(_, size)| seconds >= *size).unwrap_or(units.len() - 1);
    let mut rest = seconds;
    let mut parts = vec![];
    for (at, (name, size)) in units.iter().enumerate().skip(first).take(2) {
        let count = rest / size;
        rest %= size;
        if count > 0 || at == first {
            parts.push(format!("{count}{name}"));
        }
    }
    parts.join(" ")
}

/// Formats a count with its noun, which takes an `s` unless the count is one: `1 request`,
/// `0 requests`.
pub fn pluralize(number: u64, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        number => format!("{number} {noun}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_has_the_singular() {
        assert_eq!(
            [0, 1, 2].map(|number| pluralize(number, "request")),
            ["0 requests", "1 request", "2 requests"]
        );
    }

    #[test]
    fn a_duration_has_its_two_largest_units() {
        for (seconds, formatted) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (125, "2m 5s"),
            (7_230, "2h"),
            (529_200, "6d 3h"),
            (86_400, "1d"),
        ] {
            assert_eq!(format_duration(seconds), formatted);
        }
    }
}
