//! The paths of the token endpoints, which the daemon serves itself.

use std::sync::LazyLock;

use super::path_interpretations::PathInterpretations;
use crate::config::Rule;
use crate::session::endpoint::TOKEN_PATH;

/// How a path relates to the token endpoints.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum TokenPathMatch {
    /// The path is exactly `/api/token` or `/api/sys/users/token`.
    Exact,
    /// A server could take the path for one of them.
    Ambiguous,
    /// The path has more interpretations than are examined.
    Unknown,
    /// The path is something else.
    Other,
}

/// Compares a path with the token endpoints.
pub(super) fn match_token_path(
    path: &str,
    interpretations: &PathInterpretations<'_>,
) -> TokenPathMatch {
    // The last segment alone rules out most paths.
    let is_near = |path: &str| {
        let segment = path.trim_end_matches('/').rsplit('/').next().unwrap_or_default();
        segment
            .get(..TOKEN_SEGMENT_PREFIX.len())
            .is_some_and(|it| it.eq_ignore_ascii_case(TOKEN_SEGMENT_PREFIX))
    };
    let is_token = |path: &str| {
        is_near(path) && TOKEN_RULES.iter().any(|it| it.matches_ignoring_extensions("POST", path))
    };
    if is_token_endpoint(path) {
        TokenPathMatch::Exact
    } else if interpretations.any(is_token) {
        TokenPathMatch::Ambiguous
    } else if interpretations.is_over_limit() {
        TokenPathMatch::Unknown
    } else {
        TokenPathMatch::Other
    }
}

/// Says whether a path is one of the token endpoints, in their documented spelling.
pub(super) fn is_token_endpoint(path: &str) -> bool {
    TOKEN_ENDPOINTS.contains(&path)
}

static TOKEN_RULES: LazyLock<[Rule; 2]> = LazyLock::new(|| {
    TOKEN_ENDPOINTS.map(|path| {
        Rule::parse(&format!("* {path}")).expect("the paths of the token endpoints are plain")
    })
});

/// Where Nexudus issues tokens.
const TOKEN_ENDPOINTS: [&str; 2] = [TOKEN_PATH, "/api/sys/users/token"];

/// How the last segment of both begins.
const TOKEN_SEGMENT_PREFIX: &str = "token";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_endpoint_is_known_in_every_spelling() {
        for path in ["/api/token", "/api/sys/users/token"] {
            assert_eq!(token_path_match(path), TokenPathMatch::Exact, "{path}");
        }
        for path in [
            "/API/token",
            "/api/token/",
            "//api/token",
            "/api/%74oken",
            "/x/../api/token",
            "/api/(S(x))/token",
            "/(S(x))/api/token",
            "/api/to%E2%80%8Bken",
            "/api/tok%C3%A8n",
            "/api/token.json",
            "/api.json/token",
            "/api/sys/Users/token",
            "/api/sys/users/token/",
            "/api/sys//users/token.json",
            "/api/sys/users%2ftoken",
            "/api/sys/us%C3%A8rs/token",
            "/api/(S(x))/sys/users/token",
            "/api/sys/users/x/../token",
        ] {
            assert_eq!(token_path_match(path), TokenPathMatch::Ambiguous, "{path}");
        }
        for path in ["/", "/api", "/api/tokens", "/api/token/x", "/a/pi/token", "/apitoken"]
            .into_iter()
            .chain(["/api/sys/users", "/api/sys/users/5/token", "/api/sys/token"])
        {
            assert_eq!(token_path_match(path), TokenPathMatch::Other, "{path}");
        }
    }

    fn token_path_match(path: &str) -> TokenPathMatch {
        match_token_path(path, &PathInterpretations::new(path))
    }
}
