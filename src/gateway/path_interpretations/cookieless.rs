//! Cookieless segments, in which ASP.NET carries what a cookie would: `/(S(…))/`. Keys of OData:
//! `name(5)`.
//!
//! .NET Framework removes a cookieless segment from a path before it selects the handler
//! (`CookielessHelper`): a letter and a value in parentheses, once or more, in parentheses. Since
//! 2023 (CVE-2023-36899) it removes only the first of a path, if that is a segment of its own, with
//! a capital letter and plain values. Before, and with `RestoreAggressiveCookielessPathRemoval`, it
//! removed the last as well, and one that is glued to the next segment: `/us/(S(x))ers` was
//! `/users`. ASP.NET 1.x wrote 24 letters and digits without a name.

use std::ops::Range;

/// Returns where the cookieless segments of a path are, each with the slash before it.
pub(super) fn segments(path: &str) -> impl Iterator<Item = Range<usize>> {
    path.match_indices("/(").filter_map(|(start, slash)| {
        let inside = &path[start + slash.len()..];
        let length = measure_values(inside).or_else(|| measure_session_id(inside))?;
        Some(start..start + slash.len() + length)
    })
}

/// Measures `S(x)F(y))`.
fn measure_values(text: &str) -> Option<usize> {
    let mut rest = text;
    loop {
        let value = rest.strip_prefix(|letter: char| letter.is_ascii_alphabetic())?;
        let value = value.strip_prefix('(')?;
        let end = value.find([')', '/']).filter(|end| value[*end..].starts_with(')'))?;
        rest = &value[end + 1..];
        if let Some(after) = rest.strip_prefix(')') {
            return Some(text.len() - after.len());
        }
    }
}

/// Measures the 24 letters of an ASP.NET 1.x session and the parenthesis behind them.
fn measure_session_id(text: &str) -> Option<usize> {
    let (id, after) = text.split_at_checked(24)?;
    let is_id = id.bytes().all(|byte| byte.is_ascii_alphanumeric());
    (is_id && after.starts_with(')')).then_some(id.len() + 1)
}

/// Writes the keys of OData as segments, as one of its conventions has it: `name(5)` is `name/5`.
pub(super) fn with_keys_as_segments(path: &str) -> Option<String> {
    let split = |segment: &str| {
        let (name, key) = segment.split_once('(')?;
        let (key, after) = key.rsplit_once(')')?;
        let is_key = !name.is_empty() && (after.is_empty() || after.starts_with('.'));
        is_key.then(|| format!("{name}/{}{after}", key.trim_matches('\'')))
    };
    let segments: Vec<_> = path.split('/').map(|it| (it, split(it))).collect();
    segments.iter().any(|(_, split)| split.is_some()).then(|| {
        let written = segments.iter().map(|(segment, split)| split.as_deref().unwrap_or(segment));
        written.collect::<Vec<_>>().join("/")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_that_of_dot_net_and_nothing_else() {
        for (path, found) in [
            ("/a/(s(x))/b", &["/(s(x))"][..]),
            ("/(a(f)f(s)s(t))/b", &["/(a(f)f(s)s(t))"]),
            ("/(S())/b", &["/(S())"]),
            ("/a/(x(1))", &["/(x(1))"]),
            ("/pro/(s(x))tected", &["/(s(x))"]),
            ("/(s(x))/(f(y))/b", &["/(s(x))", "/(f(y))"]),
            ("/(lit3py55t21z5v55vlm25s55)/b", &["/(lit3py55t21z5v55vlm25s55)"]),
            ("/coworkers(5)", &[]),
            ("/api/f(a(b))/c", &[]),
            ("/(draft)/b", &[]),
            ("/()/b", &[]),
            ("/(s(x)/b", &[]),
            ("/(s(x/y))/b", &[]),
            ("/(ss(x))/b", &[]),
            ("/(1(x))/b", &[]),
            ("/~(s(x))/b", &[]),
        ] {
            let segments: Vec<_> = segments(path).map(|range| &path[range]).collect();
            assert_eq!(segments, found, "{path}");
        }
    }

    #[test]
    fn a_key_is_a_segment_of_its_own() {
        for (path, written) in [
            ("/coworkers(5)", Some("/coworkers/5")),
            ("/a('x')/b", Some("/a/x/b")),
            ("/a(1)/b(2).json", Some("/a/1/b/2.json")),
            ("/a", None),
            ("/(a)/b", None),
            ("/a(b", None),
            ("/a(b)c", None),
        ] {
            assert_eq!(with_keys_as_segments(path).as_deref(), written, "{path}");
        }
    }
}
