//! The requests that rules match, and the texts that are rules.

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
        ("GET /refresh*s/x", &["/refreshs/x", "/refreshtokens/x"], &["/refresh/x", "/refresh/s/x"]),
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
    for path in ["/api/users/5", "/api/users.json/5", "/api/Users.x.JSON/5.xml", "/api.v1/users/5"]
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
fn a_rule_about_a_command_is_about_the_path_that_takes_it() {
    for text in
        ["RUN *DELETE* /api/spaces/coworkers", "run *delete* /api/spaces/Coworkers/runCommand/"]
    {
        let rule = Rule::parse(text).unwrap();
        assert!(rule.is_command() && rule.as_str() == text);
        assert!(rule.names_command("COWORKER_DELETE") && rule.names_command("delete"), "{text}");
        assert!(!rule.names_command("CANCEL_CONTRACT"), "{text}");
        assert!(rule.matches("POST", "/API/spaces/coworkers/runCommand"), "{text}");
        assert!(!rule.matches("GET", "/api/spaces/coworkers/runcommand"), "{text}");
        assert!(!rule.matches("POST", "/api/spaces/coworkers"), "{text}");
        for method in ["GET", "POST", "DELETE"] {
            for path in ["", "/", ".json", "/1", "/1/x"] {
                let path = format!("/api/spaces/coworkers/RunCommand{path}");
                assert!(rule.matches_ignoring_extensions(method, &path), "{text}: {path}");
            }
        }
        assert!(!rule.matches_ignoring_extensions("POST", "/api/spaces/coworkers/1"), "{text}");
    }
    let every = Rule::parse("RUN * /**").unwrap();
    assert!(every.covers(&Rule::parse("RUN VOID_INVOICE /api/billing/*").unwrap()));
    assert!(!every.covers(&Rule::parse("POST /api/a/runcommand").unwrap()));
    assert!(Rule::parse("POST /**").unwrap().covers(&every) && !every.can_read());
    assert!(!Rule::parse("DELETE /**").unwrap().covers(&every));
}

#[test]
fn a_text_that_is_no_rule_is_refused() {
    for text in
        ["", "/a", "GET", "GET a", "GET /a /b", "GE/T /a", "RUN", "RUN /a", "RUN x a", "RUN é /a"]
    {
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
