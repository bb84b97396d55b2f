//! Ways in which a path can be spelt, and ways in which servers read one.

use proptest::prelude::*;

/// Writes these segments in one of the ways in which some server would still find them.
pub fn spelling(segments: &'static [&'static str]) -> impl Strategy<Value = String> {
    let separator = prop::sample::select(SEPARATORS);
    let end = prop::sample::select(ENDS);
    let segment = |text: &'static str| {
        let letters: Vec<_> = text.chars().map(letter).collect();
        letters.prop_map(|letters| letters.concat())
    };
    let parts: Vec<_> = segments.iter().map(|text| (separator.clone(), segment(text))).collect();
    (parts, end).prop_map(|(parts, end)| {
        let path: String =
            parts.into_iter().map(|(separator, text)| separator.to_owned() + &text).collect();
        // A target begins with a slash, or it is none.
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{slash}{path}{end}")
    })
}

/// What some server leaves out at the end of a path.
const ENDS: &[&str] = &[
    "",
    "",
    "/",
    "//",
    ".",
    "..",
    "%20",
    "%2e",
    ";x=1",
    ";",
    "%00",
    "%09",
    "?x=%2f",
    "::$DATA",
    "%3fa=b",
    "/.",
    "%23a",
    "/(S(x))/",
    ".json",
    "%E2%80%8B",
];

/// What some server takes for a slash.
const SEPARATORS: &[&str] = &[
    "/",
    "/",
    "/",
    "//",
    "\\",
    "%2f",
    "%5c",
    "%252F",
    "/./",
    "/x/../",
    "/%2e/",
    "/y/%2E%2e/",
    ";a=b/",
    ";/",
    "/.//",
    "/(S(x))/",
    "//(S(x))/",
    "/%28a%28b%29F(f)%29/",
    "%E2%88%95",
];

fn letter(letter: char) -> impl Strategy<Value = String> {
    let upper = letter.to_ascii_uppercase();
    let wide = char::from_u32(letter as u32 + 0xfee0).unwrap().to_string();
    let wide: String = wide.bytes().map(|byte| format!("%{byte:02X}")).collect();
    prop_oneof![
        12 => Just(letter.to_string()),
        3 => Just(upper.to_string()),
        2 => Just(format!("%{:02x}", letter as u32)),
        1 => Just(format!("%{:02X}", upper as u32)),
        1 => Just(format!("%25{:02x}", letter as u32)),
        1 => Just(format!("%2525{:02X}", upper as u32)),
        1 => Just(format!("%u00{:02x}", letter as u32)),
        1 => Just(format!("{letter}%CC%81")),
        1 => Just(format!("%E2%80%8B{letter}")),
        1 => Just(wide),
    ]
}

/// Reads a path as servers do, plainly and each in its own way; shares nothing with the daemon's.
pub fn readings(path: &[u8]) -> Vec<Vec<String>> {
    let mut found = vec![];
    let mut bytes = path.to_vec();
    for _ in 0..4 {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        for cuts in [false, true] {
            for backslash in [false, true] {
                let text = if backslash { text.replace('\\', "/") } else { text.clone() };
                let mut segments: Vec<String> = vec![];
                for segment in text.split('/') {
                    let segment =
                        if cuts { segment.split(';').next().unwrap_or_default() } else { segment };
                    match segment.trim_end_matches(['.', ' ']) {
                        _ if segment == ".." => drop(segments.pop()),
                        "" => {}
                        plain => segments.push(plain.to_owned()),
                    }
                }
                found.push(segments);
            }
        }
        bytes = decoded(&bytes);
    }
    found
}

fn decoded(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![];
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes.get(at + 1..at + 3).and_then(|two| std::str::from_utf8(two).ok());
        let code = code.and_then(|two| u8::from_str_radix(two, 16).ok());
        match code.filter(|_| bytes[at] == b'%') {
            Some(code) => {
                out.push(code);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    out
}
