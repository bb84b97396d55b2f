//! What a server could take a path for.
//!
//! Rules judge the plausible readings of a path; the original bytes are forwarded. Nexudus runs on
//! ASP.NET behind IIS: case does not count, `\` separates, `;` and `::` begin what is cut off,
//! trailing dots and spaces vanish, and percent-encoding may be undone more than once.

/// Returns the path in the one spelling that rules are written in: decoded, lower case, without
/// empty and dot segments, without a slash at the end.
pub(super) fn canonical(path: &str) -> String {
    let decoded = decoded(path);
    let mut segments: Vec<String> = vec![];
    for segment in decoded.split(['/', '\\']) {
        let segment = segment.split(';').next().unwrap_or_default();
        let segment = segment.split("::").next().unwrap_or_default();
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => {
                let trimmed = segment.trim_end_matches(['.', ' ']);
                if !trimmed.is_empty() {
                    segments.push(trimmed.to_lowercase());
                }
            }
        }
    }
    format!("/{}", segments.join("/"))
}

/// Undoes percent-encoding until nothing changes, at most [`ROUNDS`] times.
fn decoded(path: &str) -> String {
    let mut bytes = path.as_bytes().to_vec();
    for _ in 0..ROUNDS {
        let next = decoded_once(&bytes);
        if next == bytes {
            break;
        }
        bytes = next;
    }
    // Full-width and other odd spellings of ASCII are left alone: IIS does not fold them in paths.
    String::from_utf8_lossy(&bytes).into_owned()
}

fn decoded_once(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((&byte, after)) = rest.split_first() {
        let unicode = after.first().is_some_and(|byte| byte.eq_ignore_ascii_case(&b'u'));
        let code = match byte {
            b'%' if unicode => after.get(1..5).and_then(hexadecimal).filter(|code| *code < 128),
            b'%' => after.get(..2).and_then(hexadecimal),
            _ => None,
        };
        match code.and_then(|code| u8::try_from(code).ok()) {
            Some(decoded) => {
                out.push(decoded);
                rest = &after[if unicode { 5 } else { 2 }..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(digits).ok()?;
    let all_digits = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    all_digits.then(|| u32::from_str_radix(text, 16).ok()).flatten()
}

/// A proxy, a web server and a framework may each decode once; one more for good measure.
const ROUNDS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_path_has_one_canonical_form() {
        for spelling in [
            "/api/token",
            "/API/Token",
            "/api/token/",
            "//api//token",
            "/api/%74oken",
            "/api/%2574oken",
            "/api/%252574oken",
            "/api\\token",
            "/api%5ctoken",
            "/api%2ftoken",
            "/api/token;x=1",
            "/api;v=2/token",
            "/api/token.",
            "/api/token%20",
            "/api/./token",
            "/api/x/../token",
            "/x/..%2fapi/token",
            "/api/token::$data",
            "/api/%u0074oken",
            "/api/x/%2e%2e/token",
        ] {
            assert_eq!(canonical(spelling), "/api/token", "{spelling}");
        }
    }

    #[test]
    fn other_paths_stay_other() {
        assert_eq!(canonical("/"), "/");
        assert_eq!(canonical("/api/tokens"), "/api/tokens");
        assert_eq!(canonical("/api/spaces/coworkers/1"), "/api/spaces/coworkers/1");
        assert_eq!(canonical("/a%zz%2"), "/a%zz%2");
        assert_eq!(canonical("/%e2%82"), "/\u{fffd}");
    }
}
