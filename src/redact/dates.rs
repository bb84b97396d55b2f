//! The forms of values that tell nothing by themselves: dates and identifiers.

/// Says whether a text is a date, with or without a time: `2026-11-30`, `2026-11-30T09:34:37.12Z`,
/// `/Date(1764495277000)/`.
pub(super) fn is_date(text: &str) -> bool {
    if let Some(millis) = text.strip_prefix("/Date(").and_then(|rest| rest.strip_suffix(")/")) {
        return !millis.is_empty()
            && millis.bytes().all(|it| it.is_ascii_digit() || b"+-".contains(&it));
    }
    let [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, time @ ..] = text.as_bytes() else {
        return false;
    };
    let is_day = [y1, y2, y3, y4, m1, m2, d1, d2].into_iter().all(u8::is_ascii_digit);
    let is_time = |time: &[u8]| {
        time.len() <= 26
            && matches!(time[0], b'T' | b't' | b' ')
            && time[1..].iter().all(|it| it.is_ascii_digit() || b":.+-Zz".contains(it))
    };
    is_day && (time.is_empty() || is_time(time))
}

/// Says whether a text is a GUID, with or without braces.
pub(super) fn is_guid(text: &str) -> bool {
    let text = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
    match text.len() {
        36 => text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        }),
        32 => text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        _ => false,
    }
}

/// Says whether a text is one identifier or several: numbers or GUIDs, with commas or in brackets.
pub(super) fn is_ids(text: &str) -> bool {
    // Every record has one.
    if is_guid(text) {
        return true;
    }
    let text = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let is_number =
        |id: &str| (1..=19).contains(&id.len()) && id.bytes().all(|it| it.is_ascii_digit());
    text.split(',').map(str::trim).all(|id| is_number(id) || is_guid(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_and_identifiers_are_told_from_text() {
        for date in
            ["2026-11-30", "2026-11-30T09:34:37Z", "2026-11-30 09:34:37.123+01:00", "/Date(1)/"]
        {
            assert!(is_date(date), "{date}");
        }
        for text in
            ["2026-11-3", "2026-11-30x", "2026-11-30T Ada", "/Date(x)/", "+44 7700 900123", ""]
        {
            assert!(!is_date(text), "{text}");
        }
        for ids in ["1", "1,2", "[1, 2]", "5a9df2e1-7a11-4d94-a1f2-3d6f0a4a1b7c"] {
            assert!(is_ids(ids), "{ids}");
        }
        for text in ["", "a", "1,a", "+447700900123", "5a9df2e17a11-4d94-a1f2-3d6f0a4a1b7c", "20 1"]
        {
            assert!(!is_ids(text), "{text}");
        }
    }
}
