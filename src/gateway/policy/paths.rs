//! The paths that mean something to the policy itself.

use std::sync::LazyLock;

use crate::config::Rule;
use crate::gateway::path_interpretations::PathInterpretations;

/// How a path relates to the daemon's own endpoints.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::gateway) enum TokenPathMatch {
    /// The path is exactly `/api/token` or `/api/sys/users/token`.
    Exact,
    /// A server could take it for one of them.
    Ambiguous,
    /// It has more readings than are looked at.
    Unknown,
    /// It is something else.
    Other,
}

/// Compares a path with the daemon's own endpoints.
pub(in crate::gateway) fn match_token_path(
    path: &str,
    readings: &PathInterpretations<'_>,
) -> TokenPathMatch {
    // Most paths have another last segment, and are told by that.
    let is_near = |reading: &str| {
        let segment = reading.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        segment
            .get(..TOKEN_SEGMENT_PREFIX.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(TOKEN_SEGMENT_PREFIX))
    };
    let is_it = |reading: &str| {
        is_near(reading)
            && TOKEN_RULES.iter().any(|it| it.matches_ignoring_extensions("POST", reading))
    };
    match is_token_endpoint(path) {
        true => TokenPathMatch::Exact,
        false if readings.any(is_it) => TokenPathMatch::Ambiguous,
        false if readings.is_over_limit() => TokenPathMatch::Unknown,
        false => TokenPathMatch::Other,
    }
}

/// Says whether a path is one of the daemon's own endpoints, as it is documented.
pub(in crate::gateway) fn is_token_endpoint(path: &str) -> bool {
    TOKEN_ENDPOINTS.contains(&path)
}

/// What would let a limited caller become an unlimited one.
pub(super) struct SensitivePath {
    pub(super) label: &'static str,
    rule: Rule,
    first_segments: &'static [&'static str],
    last_segments: &'static [&'static str],
}

impl SensitivePath {
    pub(super) fn matches(&self, path: &str) -> bool {
        self.rule.matches_ignoring_extensions("*", path)
    }

    /// A rule that only happens to be wide enough does not count.
    pub(super) fn is_named_by(&self, rule: &Rule) -> bool {
        rule.begins_with(self.first_segments) && rule.ends_with(self.last_segments)
    }
}

pub(super) static LOGIN_MATERIAL: LazyLock<[SensitivePath; 3]> = LazyLock::new(|| {
    let material = |words, path, begins, ends| SensitivePath {
        label: words,
        rule: rule(path),
        first_segments: begins,
        last_segments: ends,
    };
    [
        material(
            "/api/sys/refreshtokens",
            "* /api/sys/refreshtokens*/**",
            &["api", "sys", "refreshtokens"],
            &[],
        ),
        material("/api/sys/users", "* /api/sys/users*/**", &["api", "sys", "users"], &[]),
        material("*/token/refresh", "* /**/token/refresh", &[], &["token", "refresh"]),
    ]
});

/// Answers that carry the user's own token.
pub(super) static TOKEN_BEARING: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/auth/me"), rule("* /**/user/me")]);

pub(super) static READABLE: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/**"), rule("* /ContentDownload/**")]);

/// What stands for other requests than it looks like: OData's and Web API's batches carry some, and
/// what a server makes of more behind `/api/auth/me` no rule of a client has thought of.
static INDIRECT: LazyLock<[Rule; 6]> = LazyLock::new(|| {
    [
        rule("* /**/$batch*/**"),
        rule("* /api/batch/**"),
        rule("* /api/auth/me.*/**"),
        rule("* /api/auth/me/*/**"),
        rule("* /**/user/me.*/**"),
        rule("* /**/user/me/*/**"),
    ]
});

/// Returns what of it a path can be read as.
pub(super) fn find_indirect(path: &PathInterpretations<'_>) -> Option<&'static str> {
    // Most paths have no segment that begins so, and are told by that.
    let begins = |segment: &str, word: &str| {
        segment.get(..word.len()).is_some_and(|it| it.eq_ignore_ascii_case(word))
    };
    let is_near = |path: &str| {
        let words = ["me", "batch", "$batch"];
        path.split('/').any(|segment| words.iter().any(|word| begins(segment, word)))
    };
    if !path.any(is_near) {
        return None;
    }
    let is_it = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions("*", path));
    let rule = INDIRECT.iter().find(is_it)?;
    Some(rule.as_str().trim_start_matches("* ").trim_end_matches("/**"))
}

static TOKEN_RULES: LazyLock<[Rule; 2]> =
    LazyLock::new(|| TOKEN_ENDPOINTS.map(|path| rule(&format!("* {path}"))));

fn rule(text: &str) -> Rule {
    Rule::parse(text).expect("the rules above are well-formed")
}

/// Where Nexudus hands out tokens.
const TOKEN_ENDPOINTS: [&str; 2] = ["/api/token", "/api/sys/users/token"];

/// How the last segment of both begins.
const TOKEN_SEGMENT_PREFIX: &str = "token";
