//! How each spelling of a path is interpreted, and what that costs.

use super::*;

#[test]
fn a_usual_path_has_one_interpretation() {
    for path in ["/", "/api/spaces/coworkers/1", "/a.b/c.json", "/API/x_y~z-1", "//a//b/"] {
        let interpretations = PathInterpretations::new(path);
        assert!(interpretations.variants.is_empty() && !interpretations.is_ambiguous(), "{path}");
        assert!(interpretations.all(|path| path == path));
    }
}

#[test]
fn every_spelling_of_a_path_has_that_path_among_its_interpretations() {
    for path in SPELLINGS {
        assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
    }
}

#[test]
fn a_path_that_no_tool_needs_to_write_is_ambiguous() {
    for path in AMBIGUOUS {
        assert!(PathInterpretations::new(path).is_ambiguous(), "{path}");
    }
    for path in UNAMBIGUOUS {
        assert!(!PathInterpretations::new(path).is_ambiguous(), "{path}");
    }
}

/// Paths that look like those and are read in one way.
const UNAMBIGUOUS: [&str; 15] = [
    "/a%20b",
    "/a;b",
    "/caf%C3%A9",
    "/cafe%CC%81",
    "/O%E2%80%99Brien",
    "/%CE%B1%CE%B8%CE%AE%CE%BD%CE%B1",
    "/%E6%9D%B1%E4%BA%AC",
    "/a%zz",
    "/a:b",
    "/a.",
    "/a%3Fb",
    "/100%25",
    "/Coworkers(5)",
    "/Coworkers('x')/(draft)/f(a(b))",
    "/~a/b~",
];

/// Paths that some server reads in another way than others do.
const AMBIGUOUS: [&str; 36] = [
    "/a/../b",
    "/a/./b",
    "/a/%2e%2e/b",
    "/a%2fb",
    "/a%2Fb",
    "/a%252fb",
    "/a%5cb",
    "/a\\b",
    "/a%00",
    "/a%0a",
    "/a%7f",
    "/a%ff",
    "/a%c0%af",
    "/a%u2215b",
    "/%ef%bc%8e",
    "/..;/a",
    "/%252525252561",
    "/a/(S(x))/b",
    "/a/%28s%28x%29%29/b",
    "/(A(a)F(f))",
    "/pro/(S(x))tected",
    "/us%E8rs",
    "/%E2%93%A4sers",
    "/us%E2%80%8Bers",
    "/us%C2%ADers",
    "/us%EF%BB%BFers",
    "/us%EF%B8%8Fers",
    "/%EF%BD%95sers",
    "/x%C2%B2",
    "/%F0%9D%90%AEsers",
    "/a%E2%88%95b",
    "/a%E2%81%84b",
    "/a%EF%BC%8Fb",
    "/a%E2%88%96b",
    "/a%E2%80%A4b",
    "/a%CD%BEb",
];

#[test]
fn cookieless_segments_are_removed_in_every_order() {
    for path in COOKIELESS {
        assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
    }
    for path in ["/api/(token)", "/api(S(x))/token", "/api/(S(x)/token", "/api/(SS(x))/token"] {
        assert!(!is_token(path), "{path}: {:?}", PathInterpretations::new(path));
    }
}

#[test]
fn letters_beyond_ascii_become_the_most_similar_ones_in_it() {
    for path in NEIGHBOURS {
        assert!(is_token(path), "{path}: {:?}", PathInterpretations::new(path));
    }
    for path in ["/api/%E6%9D%B1token", "/api/tok%D0%B6n", "/api/tok%C3%A9%C3%A9n"] {
        assert!(!is_token(path), "{path}: {:?}", PathInterpretations::new(path));
    }
}

#[test]
fn a_path_with_too_many_interpretations_is_over_the_limit() {
    let odd = |piece: &str, times| format!("/{}", piece.repeat(times));
    for path in [
        odd("(S(a))/(F(b))/(A(c))/x;y/", 3),
        odd("(S(x))/", 2_000),
        "/%252525252561".to_owned(),
        odd("%25", 1) + &"25".repeat(8_000) + "41",
    ] {
        let interpretations = PathInterpretations::new(&path);
        assert!(interpretations.is_over_limit() && interpretations.is_ambiguous(), "{path:.60}");
        assert!(
            interpretations.variants.len() <= MAX_INTERPRETATIONS + 1
                && interpretations.work <= 2 * MAX_WORK
        );
    }
    for path in [odd("a%20b;c/", 100), odd("caf%C3%A9/", 50), odd("x(5)/", 200)] {
        assert!(!PathInterpretations::new(&path).is_over_limit(), "{path:.60}");
    }
}

#[test]
fn an_ambiguous_path_costs_no_more_than_a_few_walks_over_it() {
    for piece in ["%ef%b7%ba", "a./", "a;b/", "%c3%a8/", "%ef%b7%ba/", "%ff", "%e3%8c%80"] {
        let path = format!("/{}", piece.repeat((16 << 10) / piece.len()));
        best_fit::DECOMPOSED.set(0);
        let interpretations = PathInterpretations::new(&path);
        assert!(interpretations.is_over_limit() && interpretations.is_ambiguous(), "{piece}");
        let kept: usize = interpretations.variants.iter().map(String::len).sum();
        assert!(kept <= MAX_WORK, "{piece}: {kept}");
        let decomposed = best_fit::DECOMPOSED.get();
        assert!(decomposed <= 16 << 10, "{piece}: {decomposed}");
    }
    // Honest ones of some hundred bytes.
    for path in ["caf%C3%A9%20", "%E6%9D%B1%E4%BA%AC", "%D0%B6/", "O%E2%80%99Brien/"] {
        let path = format!("/api/{}", path.repeat(600 / path.len()));
        assert!(
            !PathInterpretations::new(&path).is_over_limit(),
            "{path}: {}",
            PathInterpretations::new(&path).work
        );
    }
}

#[test]
fn a_key_of_odata_is_a_segment_for_deny_rules() {
    let interpretations = PathInterpretations::new("/api/Coworkers(5)");
    let is = |wanted: &'static str| move |path: &str| path == wanted;
    assert!(interpretations.any(is("/api/coworkers/5")));
    assert!(interpretations.all(is("/api/coworkers(5)")));
}

fn is_token(path: &str) -> bool {
    PathInterpretations::new(path).any(|path| {
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        segments.map(str::to_ascii_lowercase).eq(["api", "token"])
    })
}

#[test]
fn other_paths_have_other_interpretations() {
    for path in ["/api/tokens", "/api/t%6fkens", "/api/x/token", "/api%20token", "/%61pitoken"] {
        let is_it = |path: &str| path.trim_end_matches('/') == "/api/token";
        assert!(!PathInterpretations::new(path).any(is_it), "{path}");
    }
}

const COOKIELESS: [&str; 23] = [
    "/(S(x))/api/token",
    "/api/(S(x))/token",
    "/api/token/(S(x))/",
    "/api/token/(S(x))",
    "/api/(s(x))/token",
    "/api/(S())/token",
    "/api/(A(a)F(f)S(s))/token",
    "/api/(S(a.b%20c))/token",
    "/api/%28S%28x%29%29/token",
    "/api/%2528S(x))/token",
    "/api/%252528S(x))/token",
    "/api%2f(S(x))%2ftoken",
    "/api\\(S(x))\\token",
    "/api/(S(x))/(F(y))/token",
    "/(S(x))/api/(S(x))/token",
    "/api/(S(/(S(x))y))/token",
    "/api/to/(S(x))ken",
    "/api/(S(x));a/token",
    "/api/(S(x))./token",
    "/api/x/../(S(x))/%74oken",
    "/api/(S(..))/token",
    "/api/(lit3py55t21z5v55vlm25s55)/token",
    "/~/api/token",
];

const NEIGHBOURS: [&str; 24] = [
    "/api/tok%C3%A8n",
    "/api/tok%E8n",
    "/api/toke%CC%81n",
    "/%C3%A1pi/t%C3%B8ken",
    "/%E2%93%90pi/token",
    "/ap%E2%93%98/token",
    "/%F0%9D%90%9Api/token",
    "/api/to%E2%80%8Bken",
    "/api/to%C2%ADken",
    "/api/to%EF%BB%BFken",
    "/api/to%EF%B8%8Fken",
    "/api/to%E2%81%A0ken",
    "/api%E2%88%95token",
    "/api%EF%BC%8Ftoken",
    "/api%E2%81%84token",
    "/api%E2%88%96token",
    "/api/token%E2%80%A4",
    "/api/x/%E2%80%A4%E2%80%A4/token",
    "/api/%EF%BC%8574oken",
    "/api/%CF%84%CF%89ken",
    "/api/%E2%81%BD/../token",
    "/api/token%E3%80%80",
    "/%C3%A6pi/token",
    "/api/%EF%BC%88S(x))/token",
];

const SPELLINGS: [&str; 33] = [
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
    "/api/token;/x",
    "/api/token.",
    "/api/token...",
    "/api/token%20",
    "/api/token%09",
    "/api/token%00.json",
    "/api/token%3fa=b",
    "/api/token%23a",
    "/api;a=b/token%3fa",
    "/api/./token",
    "/api/x/../token",
    "/x/..%2fapi/token",
    "/x/..;/api/token",
    "/api/token::$data",
    "/api/%u0074oken",
    "/api/x/%2e%2e/token",
    "/api%c0%aftoken",
    "/api/%ef%bd%94oken",
    "/api/to%e2%84%aaen",
    "/api/token:$i30:$INDEX_ALLOCATION",
    "/api%e0%80%aftoken",
];
