//! A rule for requests that are allowed or denied: `METHOD /path/**`.
//!
//! The method is a name or `*`; GET includes HEAD. In the path `*` stands for any part of one
//! segment and `**` for any number of segments, none included, so that `/a/**` is also `/a`. Case
//! and empty segments do not count. A rule is written decoded. The gateway chooses the
//! interpretations of a request's path that the rule is matched against.

use std::fmt;

/// A compiled rule. Matching allocates nothing.
#[derive(Clone, PartialEq, Eq)]
pub struct Rule {
    as_str: String,
    /// `None` is `*`.
    method: Option<String>,
    segments: Vec<Segment>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Segment {
    /// `**`
    Any,
    /// Lower case; may hold `*`.
    One(String),
}

/// Why a text is not a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseError(&'static str);

impl Rule {
    /// Reads `METHOD /path`.
    ///
    /// # Errors
    ///
    /// The reason why the text is no rule.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut words = text.split_whitespace();
        let (Some(method), Some(path), None) = (words.next(), words.next(), words.next()) else {
            return Err(ParseError("a rule is a method and a path, such as `GET /api/spaces/**`"));
        };
        let method = match method {
            "*" => None,
            name if name.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                Some(name.to_ascii_uppercase())
            }
            _ => return Err(ParseError("the method of a rule is a name, or `*` for all of them")),
        };
        if !path.starts_with('/') {
            return Err(ParseError("the path of a rule begins with `/`"));
        }
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let segments = segments.map(|segment| match segment {
            "**" => Segment::Any,
            glob => Segment::One(normalize_case(glob)),
        });
        let segments = segments.collect();
        Ok(Self { as_str: text.trim().to_owned(), method, segments })
    }

    /// Returns the rule as it was written.
    pub fn as_str(&self) -> &str {
        &self.as_str
    }

    /// Says whether the rule is about this request; `path` is one reading of its path.
    pub fn matches(&self, method: &str, path: &str) -> bool {
        self.is_about(method) && self.matches_path(path, glob_matches)
    }

    /// Says the same for a server that removes the extension of a segment to choose a format, as
    /// ASP.NET does: `/users.json/5` is `/users/5` too. For deny rules.
    pub fn matches_ignoring_extensions(&self, method: &str, path: &str) -> bool {
        let fits = |glob: &[u8], segment: &[u8]| {
            let dots = [segment.iter().position(is_dot), segment.iter().rposition(is_dot)];
            glob_matches(glob, segment)
                || dots
                    .into_iter()
                    .flatten()
                    .any(|dot| dot > 0 && glob_matches(glob, &segment[..dot]))
        };
        self.is_about(method) && self.matches_path(path, fits)
    }

    fn is_about(&self, method: &str) -> bool {
        match self.method.as_deref() {
            None => true,
            Some(ours) => ours == method || (ours == "GET" && method == "HEAD"),
        }
    }

    /// Matches segment by segment. When one does not fit, the last `**` takes one segment more;
    /// earlier ones need not be tried again.
    fn matches_path(&self, path: &str, fits: impl Fn(&[u8], &[u8]) -> bool) -> bool {
        let (mut at, mut rest) = (0, path);
        let mut retry: Option<(usize, &str)> = None;
        loop {
            match (self.segments.get(at), next_segment(rest)) {
                (None, None) => return true,
                (Some(Segment::Any), _) => {
                    at += 1;
                    retry = Some((at, rest));
                    continue;
                }
                (Some(Segment::One(glob)), Some((segment, after)))
                    if fits(glob.as_bytes(), segment.as_bytes()) =>
                {
                    at += 1;
                    rest = after;
                    continue;
                }
                (Some(Segment::One(_)) | None, _) => {}
            }
            let Some((from, tried)) = retry else { return false };
            let Some((_, after)) = next_segment(tried) else { return false };
            retry = Some((from, after));
            (at, rest) = (from, after);
        }
    }

    /// Says whether the rule spells these segments out at its beginning; the last may go on.
    pub fn begins_with(&self, words: &[&str]) -> bool {
        let Some((last, before)) = words.split_last() else { return true };
        let one = |at: usize| match self.segments.get(at) {
            Some(Segment::One(glob)) => Some(glob.as_str()),
            Some(Segment::Any) | None => None,
        };
        before.iter().enumerate().all(|(at, word)| one(at) == Some(word))
            && one(before.len()).is_some_and(|glob| glob.starts_with(last))
    }

    /// Says whether the rule spells these segments out at its end.
    pub fn ends_with(&self, words: &[&str]) -> bool {
        let start = self.segments.len().checked_sub(words.len());
        let end = start.and_then(|start| self.segments.get(start..));
        end.is_some_and(|end| {
            end.iter()
                .zip(words)
                .all(|(segment, word)| *segment == Segment::One((*word).to_owned()))
        })
    }

    /// Says why no request can ever match, if that is so.
    pub fn why_unmatchable(&self) -> Option<&'static str> {
        let has = |part: &dyn Fn(&str) -> bool| {
            self.segments.iter().any(|segment| match segment {
                Segment::One(glob) => part(glob),
                Segment::Any => false,
            })
        };
        if self.method.as_deref().is_some_and(|method| !FORWARDED_METHODS.contains(&method)) {
            return Some("its method is never forwarded");
        }
        if has(&|glob| glob == "." || glob == "..") {
            return Some("dot segments are resolved before rules are matched");
        }
        if has(&|glob| glob.contains(['?', '#'])) {
            return Some("rules are matched against the path alone, without the query");
        }
        if has(&|glob| glob.contains('%')) {
            return Some("a rule is written decoded, without `%`");
        }
        if has(&|glob| glob.contains(['\\', ';']) || glob.ends_with('.')) {
            return Some(
                "paths are compared without `\\`, without `;…` and without dots at the end",
            );
        }
        let is_about_one = [&["api", "token"][..], &["api", "sys", "users", "token"]]
            .iter()
            .any(|path| self.segments.len() == path.len() && self.ends_with(path));
        (self.as_str.ends_with("/token") && is_about_one)
            .then_some("the daemon itself responds at a token endpoint")
    }

    /// Says whether the rule is about any request that only reads.
    pub fn can_read(&self) -> bool {
        let reads = ["GET", "HEAD", "OPTIONS"];
        let method = self.method.as_deref().is_none_or(|method| reads.contains(&method));
        let below = match self.segments.first() {
            Some(Segment::One(glob)) => {
                READABLE_ROOTS.iter().any(|name| glob_matches(glob.as_bytes(), name.as_bytes()))
            }
            Some(Segment::Any) => true,
            None => false,
        };
        method && below
    }

    /// Says whether every request that `other` is about is one of ours too; may miss some.
    pub fn covers(&self, other: &Self) -> bool {
        let methods = match (self.method.as_deref(), other.method.as_deref()) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(ours), Some(theirs)) => ours == theirs || (ours == "GET" && theirs == "HEAD"),
        };
        let paths = match self.segments.split_last() {
            Some((Segment::Any, before)) => {
                other.segments.len() >= before.len()
                    && before.iter().zip(&other.segments).all(|(ours, theirs)| ours == theirs)
            }
            Some((Segment::One(_), _)) | None => self.segments == other.segments,
        };
        methods && paths
    }
}

/// The first path segments below which readers may read.
const READABLE_ROOTS: [&str; 2] = ["api", "contentdownload"];

/// The methods that are forwarded at all.
const FORWARDED_METHODS: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];

/// Folds the case of a text, for the comparison of rules and paths: through upper case, because a
/// server may compare that way, and `ſ` and the Kelvin sign have the upper and the lower case of
/// plain letters.
pub fn normalize_case(text: &str) -> String {
    if text.is_ascii() { text.to_ascii_lowercase() } else { text.to_uppercase().to_lowercase() }
}

fn is_dot(byte: &u8) -> bool {
    *byte == b'.'
}

/// Returns the first segment that is not empty, and what follows it.
fn next_segment(path: &str) -> Option<(&str, &str)> {
    let path = path.trim_start_matches('/');
    (!path.is_empty()).then(|| path.split_once('/').unwrap_or((path, "")))
}

/// Matches one segment. Upper-case letters of the path are read as lower-case ones.
fn glob_matches(glob: &[u8], text: &[u8]) -> bool {
    let (mut at, mut here) = (0, 0);
    let mut retry: Option<(usize, usize)> = None;
    loop {
        match (glob.get(at), text.get(here)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                at += 1;
                retry = Some((at, here));
            }
            (Some(wanted), Some(byte)) if *wanted == byte.to_ascii_lowercase() => {
                at += 1;
                here += 1;
            }
            (Some(_) | None, _) => match retry {
                Some((from, tried)) if tried < text.len() => {
                    retry = Some((from, tried + 1));
                    (at, here) = (from, tried + 1);
                }
                Some(_) | None => return false,
            },
        }
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.as_str)
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.as_str)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn two_stars_include_the_bare_prefix_and_one_star_is_one_segment() {
        for (text, yes, no) in [
            (
                "GET /api/spaces/**",
                &["/api/spaces", "/api/spaces/", "/API/Spaces/1/x"][..],
                &["/api", "/api/spacesx"][..],
            ),
            ("GET /**", &["/", "/a", "/a/b"], &[]),
            ("GET /a/*/c", &["/a/b/c", "//a//b//c"], &["/a/c", "/a/b/b/c"]),
            ("GET /**/c", &["/c", "/a/c", "/a/c/c"], &["/c/a", "/ac"]),
            ("GET /a/**/b/**/c", &["/a/b/c", "/a/x/b/y/z/c", "/a/b/b/c/c"], &["/a/c/b", "/a/b"]),
            (
                "GET /refresh*s/x",
                &["/refreshs/x", "/refreshtokens/x"],
                &["/refresh/x", "/refresh/s/x"],
            ),
            ("GET /*a*b", &["/xaxb", "/ab", "/aab"], &["/ba", "/a"]),
        ] {
            let rule = Rule::parse(text).unwrap();
            yes.iter().for_each(|path| assert!(rule.matches("GET", path), "{text} {path}"));
            no.iter().for_each(|path| assert!(!rule.matches("GET", path), "{text} {path}"));
        }
    }

    #[test]
    fn get_includes_head_and_a_star_every_method() {
        let rule = |text| Rule::parse(text).unwrap();
        assert!(rule("get /a").matches("HEAD", "/a"));
        assert!(!rule("HEAD /a").matches("GET", "/a"));
        assert!(!rule("GET /a").matches("POST", "/a"));
        assert!(rule("* /a").matches("POST", "/a"));
    }

    #[test]
    fn an_extension_hides_no_segment_from_a_rule_that_forbids() {
        let rule = Rule::parse("GET /api/users/*").unwrap();
        for path in
            ["/api/users/5", "/api/users.json/5", "/api/Users.x.JSON/5.xml", "/api.v1/users/5"]
        {
            assert!(rule.matches_ignoring_extensions("GET", path), "{path}");
        }
        for path in ["/api/users", "/api/.users/5", "/api/usersx.json/5", "/api/x.users/5"] {
            assert!(!rule.matches_ignoring_extensions("GET", path), "{path}");
        }
        assert!(!rule.matches("GET", "/api/users.json/5"));
        assert!(!rule.matches_ignoring_extensions("POST", "/api/users.json/5"));
    }

    #[test]
    fn a_text_that_is_no_rule_is_refused() {
        for text in ["", "/a", "GET", "GET a", "GET /a /b", "GE/T /a"] {
            assert!(Rule::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_rule_that_no_request_can_match_is_known() {
        for text in [
            "TRACE /a",
            "GET /a/../b",
            "GET /a?b=c",
            "GET /a%20b",
            "GET /a;b",
            "* /api/token",
            "POST /api/sys/users/token",
        ] {
            assert!(Rule::parse(text).unwrap().why_unmatchable().is_some(), "{text}");
        }
        for text in ["* /**", "GET /api/tokens", "DELETE /x/api/token", "GET /a.b/*"] {
            assert_eq!(Rule::parse(text).unwrap().why_unmatchable(), None, "{text}");
        }
    }

    #[test]
    fn a_wider_rule_covers_a_narrower_one() {
        let covers = |one, other| Rule::parse(one).unwrap().covers(&Rule::parse(other).unwrap());
        assert!(covers("* /**", "GET /a"));
        assert!(covers("GET /a/**", "HEAD /A/b"));
        assert!(covers("GET /a/**", "GET /a"));
        assert!(!covers("GET /a/**", "* /a/b"));
        assert!(!covers("GET /a/b", "GET /a/**"));
    }

    proptest! {
        #[test]
        fn matching_agrees_with_the_plain_definition(
            glob in "(/(\\*\\*|[ab*]{1,3})){0,4}", path in "(/[abAB]{0,3}){0,5}"
        ) {
            let rule = Rule::parse(&format!("GET /{glob}")).unwrap();
            let segments: Vec<_> = path.split('/').filter(|it| !it.is_empty()).collect();
            prop_assert_eq!(rule.matches("GET", &path), plainly(&rule.segments, &segments));
        }
    }

    /// The definition, with no care for how long it takes.
    fn plainly(rule: &[Segment], path: &[&str]) -> bool {
        match (rule.split_first(), path) {
            (None, path) => path.is_empty(),
            (Some((Segment::Any, rest)), path) => {
                (0..=path.len()).any(|taken| plainly(rest, &path[taken..]))
            }
            (Some((Segment::One(_), _)), []) => false,
            (Some((Segment::One(glob), rest)), [first, path @ ..]) => {
                let fits = plain_glob(glob.as_bytes(), first.to_lowercase().as_bytes());
                fits && plainly(rest, path)
            }
        }
    }

    fn plain_glob(glob: &[u8], text: &[u8]) -> bool {
        match (glob, text) {
            ([], text) => text.is_empty(),
            ([b'*', rest @ ..], text) => (0..=text.len()).any(|at| plain_glob(rest, &text[at..])),
            ([wanted, rest @ ..], [byte, text @ ..]) => wanted == byte && plain_glob(rest, text),
            ([_, ..], []) => false,
        }
    }
}
