//! Durations, sizes, addresses and rates as text. Each is read and written only here, so that a
//! written value can be read again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::Rate;

/// Longest duration that is accepted: a year. Longer ones are mistakes, and would overflow the
/// clock arithmetic of the daemon.
pub(super) const MAX_DURATION: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Reads `30s`, `100ms`, `1m30s`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    // humantime takes a bare `0`; every other number needs its unit.
    humantime::parse_duration(text).ok().filter(|duration| *duration <= MAX_DURATION)
}

/// Writes a duration in the largest unit that divides it; minutes are not used: `120s` reads as
/// well as `2m`, and is compared more easily with its neighbours.
pub fn format_duration(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    [("d", 86_400_000_000_000), ("h", 3_600_000_000_000), ("s", 1_000_000_000)]
        .into_iter()
        .chain([("ms", 1_000_000), ("us", 1_000)])
        .find(|(_, unit)| nanos >= *unit && nanos.is_multiple_of(*unit))
        .map(|(name, unit)| format!("{}{name}", nanos / unit))
        .unwrap_or_else(|| if nanos == 0 { "0s".to_owned() } else { format!("{nanos}ns") })
}

/// Reads `64KiB`, `1MiB`, `1GiB`, `500B` or a plain number of bytes. `KB` is not taken: half the
/// world means 1000 by it.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.get(digits.len()..)?.trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return None,
    };
    let digits = digits.trim_end();
    let number = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok());
    number.flatten().and_then(|number: u64| number.checked_mul(unit))
}

/// Writes a size in the largest unit that divides it.
pub fn format_size(bytes: u64) -> String {
    [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
        .into_iter()
        .find(|(_, unit)| bytes > 0 && bytes.is_multiple_of(*unit))
        .map(|(name, unit): (_, u64)| format!("{}{name}", bytes / unit))
        .unwrap_or_else(|| format!("{bytes}B"))
}

/// Reads `IP:PORT`; `localhost:PORT` is both loopback families, for that is what clients try.
pub(super) fn parse_addresses(text: &str) -> Option<Vec<SocketAddr>> {
    if let Some(port) = text.strip_prefix("localhost:") {
        let port = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse().ok());
        let port = port.flatten()?;
        let both = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        return Some(both.map(|ip| SocketAddr::new(ip, port)).to_vec());
    }
    text.parse().ok().map(|address| vec![address])
}

/// Reads `auto`, `10/100ms` or `5/s`.
pub fn parse_rate(text: &str) -> Option<Rate> {
    if text == "auto" {
        return Some(Rate::Auto);
    }
    let (count, per) = text.split_once('/')?;
    let count = count.parse().ok().filter(|count| *count > 0)?;
    let per = match per {
        "s" | "m" | "h" | "d" => parse_duration(&format!("1{per}")),
        per => parse_duration(per),
    };
    let per = per.filter(|per| !per.is_zero())?;
    Some(Rate::Fixed { count, per })
}

/// Writes a rate, per unit where that is its span: `5/s`.
pub fn format_rate(rate: Rate) -> String {
    match rate {
        Rate::Auto => "auto".to_owned(),
        Rate::Fixed { count, per } => {
            let unit = ["s", "m", "h", "d"]
                .into_iter()
                .find(|unit| parse_duration(&format!("1{unit}")).is_some_and(|whole| whole == per));
            match unit {
                Some(unit) => format!("{count}/{unit}"),
                None => format!("{count}/{}", format_duration(per)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, millis) in
            [("30s", 30_000), ("100ms", 100), ("1m30s", 90_000), ("15d", 1_296_000_000), ("0s", 0)]
        {
            assert_eq!(parse_duration(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "30", "-1s", "soon", "1.5.2s", "10 apples", "400d", "99999999999999y"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [("64KiB", 65_536), ("1 MiB", 1_048_576), ("0", 0), ("12B", 12)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for text in ["", "KiB", "-1", "+1", "1.5MiB", "64kb", "64KB", "99999999999GiB", "1 2"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn a_rate_is_written_as_people_write_it() {
        for text in ["5/s", "100/m", "7/h", "1/d", "10/100ms", "3/2s", "auto"] {
            assert_eq!(format_rate(parse_rate(text).unwrap()), text);
        }
    }

    #[test]
    fn localhost_is_both_families() {
        let both = parse_addresses("localhost:6398").unwrap();

        assert_eq!(
            both.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["127.0.0.1:6398", "[::1]:6398"]
        );
        for text in ["6398", ":6398", "localhost", "localhost:+1", "example.com:80", "127.1:80"] {
            assert_eq!(parse_addresses(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_value_is_read_again(nanos in 0..MAX_DURATION.as_nanos(), bytes: u64, count in 1u32..) {
            let duration = Duration::from_nanos(u64::try_from(nanos).unwrap());
            prop_assert_eq!(parse_duration(&format_duration(duration)), Some(duration));
            prop_assert_eq!(parse_size(&format_size(bytes)), Some(bytes));
            let rate = Rate::Fixed { count, per: duration + Duration::from_nanos(1) };
            prop_assert_eq!(parse_rate(&format_rate(rate)), Some(rate));
        }
    }
}
