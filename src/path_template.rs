//! The template of a path: the path without the identifiers in it.

/// Returns the path without its query, in lower case, and with `*` for every segment that looks
/// like an identifier (digits, GUIDs, long hexadecimal).
pub fn from_path(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.split('/')
        .map(|segment| if is_identifier(segment) { "*".into() } else { segment.to_lowercase() })
        .collect::<Vec<_>>()
        .join("/")
}

fn is_identifier(segment: &str) -> bool {
    let digits = segment.bytes().all(|byte| byte.is_ascii_digit());
    let hex = segment.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    !segment.is_empty() && (digits || (hex && segment.len() >= LONG_HEX_THRESHOLD))
}

/// From this length on a hexadecimal segment is an identifier: no English word of that length
/// has only the letters a to f.
const LONG_HEX_THRESHOLD: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_kind_of_object_have_one_template() {
        assert_eq!(from_path("/api/spaces/Coworkers/1400000001?size=1"), "/api/spaces/coworkers/*");
        assert_eq!(from_path("/a/00000000-0000-4000-8000-000000000001/b"), "/a/*/b");
        assert_eq!(from_path("/a/0123456789abcdef"), "/a/*");
        assert_eq!(from_path("/api/feed//facade/"), "/api/feed//facade/");
    }
}
