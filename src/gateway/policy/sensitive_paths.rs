//! The paths for which the policy has rules of its own.

use std::sync::LazyLock;

use crate::config::Rule;
use crate::gateway::path_interpretations::PathInterpretations;

/// A path whose response would let a limited client become an unlimited one.
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

    /// Says whether a rule names this path. A rule that is only wide enough to include it does not.
    pub(super) fn is_named_by(&self, rule: &Rule) -> bool {
        rule.begins_with(self.first_segments) && rule.ends_with(self.last_segments)
    }
}

pub(super) static LOGIN_MATERIAL: LazyLock<[SensitivePath; 3]> = LazyLock::new(|| {
    let material = |label, path, first_segments, last_segments| SensitivePath {
        label,
        rule: rule(path),
        first_segments,
        last_segments,
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

/// The paths whose responses contain the user's own token.
pub(super) static TOKEN_BEARING: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/auth/me"), rule("* /**/user/me")]);

pub(super) static READABLE: LazyLock<[Rule; 2]> =
    LazyLock::new(|| [rule("* /api/**"), rule("* /ContentDownload/**")]);

/// The paths that can stand for other requests: batches of OData and Web API carry some, and no
/// rule of a client foresees how a server treats more segments behind `/api/auth/me`.
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

/// Returns the label of the first indirect path that this one can be read as.
pub(super) fn find_indirect(path: &PathInterpretations<'_>) -> Option<&'static str> {
    // The beginnings of the segments alone rule out most paths.
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
    let matches = |rule: &&Rule| path.any(|path| rule.matches_ignoring_extensions("*", path));
    let rule = INDIRECT.iter().find(matches)?;
    Some(rule.as_str().trim_start_matches("* ").trim_end_matches("/**"))
}

/// Says whether a request or its response can hold a login or a token, under any interpretation of
/// its path.
pub(in crate::gateway) fn carries_login_material(path: &str) -> bool {
    let path = PathInterpretations::new(path);
    let bears_token =
        |path: &str| TOKEN_BEARING.iter().any(|rule| rule.matches_ignoring_extensions("*", path));
    path.any(|path| LOGIN_MATERIAL.iter().any(|it| it.matches(path)))
        || path.any(bears_token)
        || find_indirect(&path).is_some()
}

fn rule(text: &str) -> Rule {
    Rule::parse(text).expect("the rules above are well-formed")
}
