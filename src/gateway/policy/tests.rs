//! What each sort of caller may ask, and in which spellings.

use proptest::prelude::*;

use super::*;

#[test]
fn the_token_endpoint_is_known_in_every_spelling() {
    for path in ["/api/token", "/api/sys/users/token"] {
        assert_eq!(endpoint_of(path), TokenPathMatch::Exact, "{path}");
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
        assert_eq!(endpoint_of(path), TokenPathMatch::Ambiguous, "{path}");
    }
    for path in ["/", "/api", "/api/tokens", "/api/token/x", "/a/pi/token", "/apitoken"]
        .into_iter()
        .chain(["/api/sys/users", "/api/sys/users/5/token", "/api/sys/token"])
    {
        assert_eq!(endpoint_of(path), TokenPathMatch::Other, "{path}");
    }
}

#[test]
fn a_rule_that_forbids_holds_in_every_spelling_and_for_everybody() {
    let policy = Policy::new(rules(["DELETE /**", "* /api/sys/users/**"]), AnonymousAccess::Full);
    let judged = |method, path: &str| {
        policy.check_rules(method, &PathInterpretations::new(path), AccessLevel::Full)
    };
    let users = Err(Error::Denied("* /api/sys/users/**".to_owned()));
    for path in ["/api/sys/users", "/API/SYS/USERS/1", "/api/sys/x/../users", "/api/sys%2fusers/1"]
    {
        assert_eq!(judged("GET", path), users, "{path}");
    }
    assert_eq!(judged("DELETE", "/x"), Err(Error::Denied("DELETE /**".to_owned())));
    assert_eq!(judged("GET", "/api/sys/usersettings"), Ok(MatchedRule::None));
}

#[test]
fn a_rule_that_forbids_holds_whatever_iis_makes_of_a_path() {
    let policy = Policy::new(rules(["DELETE /api/spaces/invoices/*"]), AnonymousAccess::Full);
    for path in [
        "/api/spaces/(S(x))/invoices/1",
        "/api/spaces/inv/(S(x))oices/1",
        "/api/spaces/%28s%28x%29%29/invoices/1",
        "/api/sp%C3%A0ces/invoices/1",
        "/api/sp%E0ces/invoices/1",
        "/api/spaces/in%E2%80%8Bvoices/1",
        "/api/spaces%E2%88%95invoices/1",
        "/api/spaces/%E2%93%98nvoices/1",
        "/api/spaces/invoices.json/1",
        "/api/spaces/invoices/1.json",
        "/api/spaces/invoices(1)",
        "/api/spaces/invoices('1').json",
        "/api/spaces/invoices/1;x",
        "/api/spaces/invoices/1::$DATA",
    ] {
        for reach in [AccessLevel::Full, AccessLevel::Client(&none())] {
            let refused = policy.check_rules("DELETE", &PathInterpretations::new(path), reach);
            assert!(matches!(refused, Err(Error::Denied(_))), "{path}: {refused:?}");
        }
    }
    for path in ["/api/spaces/invoices", "/api/spaces/invoices/1/lines", "/api/spaces/invoice(1)"] {
        assert!(
            policy
                .check_rules("DELETE", &PathInterpretations::new(path), AccessLevel::Full)
                .is_ok(),
            "{path}"
        );
    }
}

#[test]
fn a_limited_caller_gets_nothing_that_stands_for_something_else() {
    let everything = ClientPolicy { allow: rules(["* /**"]), ..none() };
    for reach in [AccessLevel::ReadOnly, AccessLevel::Client(&everything)] {
        for path in [
            "/api/$batch",
            "/api/%24batch",
            "/api/$batch.json",
            "/api/$batch/1",
            "/api/spaces/$batch",
            "/api/batch",
            "/API/Batch/",
            "/api/batch.json",
            "/api/batch/1",
            "/api/auth/me.json",
            "/api/auth/me.",
            "/api/auth/me.x/y",
            "/api/auth/me/x",
            "/api/auth/me%2ejson",
            "/api/auth/me%C3%A8/../x",
            "/en/user/me.json",
            "/api/public/user/me/x",
        ] {
            for method in ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] {
                let refused = judged(method, path, reach);
                // A dot at the end vanishes: that is `me` itself, and its token is taken out.
                let is_me = path == "/api/auth/me." && refused == Ok(MatchedRule::None);
                let is_refused = matches!(refused, Err(Error::Indirect(_) | Error::Ambiguous));
                assert!(is_refused || is_me, "{method} {path}: {refused:?}");
            }
        }
        for path in ["/api/auth/me", "/api/auth/me/", "/api/batches", "/api/auth/media"] {
            assert!(judged("GET", path, reach).is_ok(), "{path}");
        }
    }
    assert!(judged("POST", "/api/$batch", AccessLevel::Full).is_ok());
}

#[test]
fn a_limited_caller_overrides_neither_method_nor_target() {
    let limits = ClientPolicy { allow: rules(["* /**"]), ..none() };
    let policy = Policy::new(vec![], AnonymousAccess::Full);
    let head = |target: &str, field: Option<&str>| {
        let request = Request::post(target);
        let request = field.into_iter().fold(request, |it, name| it.header(name, "DELETE"));
        request.body(()).unwrap().into_parts().0
    };
    let passes = |head, limits| policy.trial(&head, limits) != Trial::Kept;
    for name in [
        "_method",
        "X-HTTP-Method-Override",
        "x_http_method_override",
        "X-HTTP-Method",
        "X-Method-Override",
        "X-Method",
        "X-Override-URL",
        "X-Original-URL",
        "X-Rewrite-URL",
        "X-MS-Original-URL",
        "Destination",
        "AspFilterSessionId",
    ] {
        assert!(!passes(head("/api/x", Some(name)), Some(&limits)), "{name}");
        assert!(passes(head("/api/x", Some(name)), None), "{name}");
    }
    for query in ["_method=DELETE", "a=b&X-HTTP-Method-Override=DELETE", "%5fmethod=PUT"] {
        assert!(!passes(head(&format!("/api/x?{query}"), None), Some(&limits)), "{query}");
        assert!(passes(head(&format!("/api/x?{query}"), None), None), "{query}");
    }
    assert!(passes(head("/api/x?size=1&method=x", Some("accept")), Some(&limits)));
}

#[test]
fn who_am_i_is_without_its_token_under_every_reading() {
    let limits = ClientPolicy { allow: rules(["* /**"]), ..none() };
    let policy = Policy::new(vec![], AnonymousAccess::Full);
    for path in
        ["/api/auth/me", "/API/auth/ME/", "/en/user/me", "/api/auth/m%C3%AB", "/api/%61uth/me"]
    {
        let head = Request::get(path).body(()).unwrap().into_parts().0;
        let trial = policy.trial(&head, Some(&limits));
        assert_eq!(trial, Trial::Forwarded { without_tokens: true }, "{path}");
    }
}

#[test]
fn a_reader_reads_the_api_and_its_files_and_nothing_else() {
    for reach in
        [AccessLevel::ReadOnly, AccessLevel::Client(&ClientPolicy { read_only: true, ..none() })]
    {
        for path in ["/api/spaces/coworkers", "/api", "/ContentDownload/x", "/CONTENTDOWNLOAD/x"] {
            for method in ["GET", "HEAD", "OPTIONS"] {
                assert!(judged(method, path, reach).is_ok(), "{method} {path}");
            }
            assert_eq!(judged("POST", path, reach), Err(Error::ReadOnly));
        }
        for path in ["/", "/apix", "/en/login", "/x/api/y"] {
            assert_eq!(judged("GET", path, reach), Err(Error::ReadOnly), "{path}");
        }
    }
}

#[test]
fn a_limited_caller_writes_paths_plainly() {
    for reach in [AccessLevel::ReadOnly, AccessLevel::Client(&none())] {
        for path in ["/api/a/../b", "/api/a%2fb", "/api/a%5cb", "/api/%00", "/api/%0a", "/api/%ff"]
        {
            assert_eq!(judged("GET", path, reach), Err(Error::Ambiguous), "{path}");
        }
        assert!(judged("GET", "/api/a%20b", reach).is_ok());
    }
    assert!(judged("GET", "/api/a%2fb", AccessLevel::Full).is_ok());
}

#[test]
fn a_client_gets_what_its_rules_allow_and_none_denies() {
    let limits = ClientPolicy {
        allow: rules(["GET /api/spaces/**", "POST /api/spaces/visitors"]),
        deny: rules(["* /api/spaces/coworkers/**"]),
        ..none()
    };
    let judged = |method, path| judged(method, path, AccessLevel::Client(&limits));
    assert_eq!(judged("HEAD", "/API/spaces/tariffs"), Ok(MatchedRule::Rule(&limits.allow[0])));
    assert_eq!(judged("POST", "/api/spaces/visitors"), Ok(MatchedRule::Rule(&limits.allow[1])));
    assert_eq!(judged("PUT", "/api/spaces/visitors"), Err(Error::NotAllowed));
    assert_eq!(judged("GET", "/api/billing"), Err(Error::NotAllowed));
    assert!(matches!(judged("GET", "/api/spaces/coworkers/1"), Err(Error::Denied(_))));
    // Allowed only as one server would read it, and not as another.
    assert_eq!(judged("GET", "/api/spaces;/../x"), Err(Error::Ambiguous));
    assert_eq!(judged("GET", "/api/x;/spaces"), Err(Error::NotAllowed));
}

#[test]
fn a_limited_caller_gets_no_login_material_unless_it_is_named() {
    let paths = [
        "/api/sys/users",
        "/api/sys/users/1",
        "/API/sys/Users/",
        "/api/sys/refreshtokens",
        "/api/sys/refreshtokens/3",
        "/api/public/token/refresh",
        "/api/sys/%75sers",
    ];
    for path in paths {
        for allow in [rules([]), rules(["* /**"]), rules(["GET /api/sys/**", "GET /**/refresh"])] {
            let limits = ClientPolicy { allow, ..none() };
            let refused = judged("GET", path, AccessLevel::Client(&limits));
            assert!(matches!(refused, Err(Error::LoginMaterial(_))), "{path}: {refused:?}");
        }
        assert!(matches!(judged("GET", path, AccessLevel::ReadOnly), Err(Error::LoginMaterial(_))));
        assert!(judged("GET", path, AccessLevel::Full).is_ok());
    }
    let named = ClientPolicy { allow: rules(["GET /api/sys/users/**"]), ..none() };
    let judged = |path| judged("GET", path, AccessLevel::Client(&named));
    assert!(judged("/api/sys/users/1").is_ok());
    assert!(matches!(judged("/api/sys/refreshtokens"), Err(Error::LoginMaterial(_))));
    assert!(matches!(judged("/api/sys/users/1/token/refresh"), Err(Error::LoginMaterial(_))));
}

/// One way of writing a path differently that some server undoes.
fn respelled() -> impl Strategy<Value = String> {
    let letter = |plain: char| {
        let code = u32::from(plain);
        prop_oneof![
            6 => Just(plain.to_string()),
            1 => Just(plain.to_ascii_uppercase().to_string()),
            1 => Just(format!("%{code:02x}")),
            1 => Just(format!("%{code:02X}")),
            1 => Just(format!("%25{code:02x}")),
            1 => Just(format!("%2525{code:02x}")),
            1 => Just(format!("%u{code:04x}")),
        ]
    };
    let separator = || {
        prop_oneof![
            6 => Just("/"), 1 => Just("//"), 1 => Just("\\"), 1 => Just("%2f"), 1 => Just("%5C"),
            1 => Just("/./"), 1 => Just("/x/../"), 1 => Just(";a=b/"), 1 => Just("%252f"),
            1 => Just("./"), 1 => Just("%20/"), 1 => Just("/%2e/"), 1 => Just("/y/%2E%2e/"),
        ]
    };
    let word =
        move |text: &str| text.chars().map(letter).collect::<Vec<_>>().prop_map(|it| it.concat());
    let tail = prop_oneof![
        6 => Just(""), 1 => Just("/"), 1 => Just("."), 1 => Just("%20"), 1 => Just(";x"),
        1 => Just("::$data"), 1 => Just("%00"), 1 => Just("%3fa"), 1 => Just("/."),
    ];
    (word("api"), separator(), word("token"), tail)
        .prop_map(|(one, between, other, tail)| format!("/{one}{between}{other}{tail}"))
}

proptest! {
    #[test]
    fn no_spelling_of_a_path_gets_around_a_rule(path in respelled()) {
        let readings = PathInterpretations::new(&path);
        prop_assert_ne!(match_token_path(&path, &readings), TokenPathMatch::Other, "{}", path);
        let limits = ClientPolicy { deny: rules(["* /api/token"]), ..none() };
        let refused = judged("GET", &path, AccessLevel::Client(&limits));
        prop_assert!(matches!(refused, Err(Error::Denied(_) | Error::Ambiguous)), "{path}");
        let allowed = ClientPolicy { allow: rules(["* /api/spaces/**"]), ..none() };
        prop_assert!(judged("GET", &path, AccessLevel::Client(&allowed)).is_err(), "{path}");
    }

    #[test]
    fn judging_never_fails(path in "/[ -~]{0,40}") {
        let _ = judged("GET", &path, AccessLevel::Client(&none()));
    }
}

fn endpoint_of(path: &str) -> TokenPathMatch {
    match_token_path(path, &PathInterpretations::new(path))
}

fn judged<'a>(method: &str, path: &str, reach: AccessLevel<'a>) -> Result<MatchedRule<'a>, Error> {
    Policy::new(vec![], AnonymousAccess::Full).check_rules(
        method,
        &PathInterpretations::new(path),
        reach,
    )
}

fn none() -> ClientPolicy {
    ClientPolicy::default()
}

fn rules<const N: usize>(texts: [&str; N]) -> Vec<Rule> {
    texts.into_iter().map(|text| Rule::parse(text).unwrap()).collect()
}

/// Measured with `CARGO_PROFILE_TEST_OPT_LEVEL=3 cargo test --lib judging_costs`, the bound
/// set to nothing.
#[test]
fn judging_costs_less_than_a_microsecond() {
    let limits = ClientPolicy {
        read_only: true,
        allow: rules(["GET /api/billing/**", "GET /api/spaces/**"]),
        deny: rules(["* /api/spaces/tariffs/**"]),
        ..none()
    };
    let rounds = 100_000;
    let started = std::time::Instant::now();
    for _ in 0..rounds {
        let path = PathInterpretations::new(std::hint::black_box("/api/spaces/coworkers/1"));
        assert_eq!(match_token_path("/api/spaces/coworkers/1", &path), TokenPathMatch::Other);
        assert!(
            Policy::new(vec![], AnonymousAccess::Full)
                .check_rules("GET", &path, AccessLevel::Client(&limits))
                .is_ok()
        );
    }
    let each = started.elapsed() / rounds;
    assert!(each < std::time::Duration::from_micros(200), "{each:?}");
}
