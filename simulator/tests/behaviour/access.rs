//! The paths that a token opens, and how a refusal looks.

use nexudus_simulator::{Account, DEMO_EMAIL, PORTAL_TOKEN_MARK, Simulator, UnauthorizedStyle};

use crate::client::{access, ask, get};

#[test]
fn me_is_the_flat_user_object_with_its_secret() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);

    for target in ["/api/auth/me", "/en/user/me", "/API/Auth/Me/"] {
        let me = get(&simulator, target, &token).json();
        assert_eq!(me["Email"], DEMO_EMAIL);
        assert_eq!(me["DefaultBusinessId"], 1_400_000_010);
        assert_eq!(me["DefaultSimpleTimeZoneId"], 2_023);
        assert!(me["AccessToken"].as_str().unwrap().contains(PORTAL_TOKEN_MARK));
    }
    assert_eq!(simulator.requests()[1].account.as_deref(), Some(DEMO_EMAIL));
    assert_eq!(simulator.requests()[1].bearer.as_deref(), Some(token.as_str()));
}

#[test]
fn a_missing_token_is_refused_as_chosen() {
    let simulator = Simulator::start().unwrap();
    let ask = || get(&simulator, "/api/auth/me", "nonsense");

    assert_eq!((ask().status, ask().body.len(), ask().header("www-authenticate")), (401, 0, None));
    let ways = [
        (UnauthorizedStyle::Json, 401, "{"),
        (UnauthorizedStyle::Html, 401, "<"),
        (UnauthorizedStyle::Redirect, 302, "<"),
        (UnauthorizedStyle::LoginPage, 200, "<"),
    ];
    for (refusal, status, start) in ways {
        simulator.set(|settings| settings.access.refusal = refusal);
        let answer = ask();
        assert_eq!(answer.status, status);
        assert!(answer.text().starts_with(start));
        assert_eq!(answer.header("location").is_some(), refusal == UnauthorizedStyle::Redirect);
    }
    simulator.set(|settings| {
        settings.access.refusal = UnauthorizedStyle::Empty;
        settings.access.www_authenticate = Some("Basic realm=\"x\"".to_owned());
    });
    assert_eq!(ask().header("www-authenticate"), Some("Basic realm=\"x\""));
}

#[test]
fn a_member_gets_401_from_the_api_and_200_from_me() {
    let member = Account::new(DEMO_EMAIL, nexudus_simulator::DEMO_PASSWORD).member();
    let simulator = Simulator::builder().account(member).start().unwrap();
    let token = access(&simulator);

    let refused = get(&simulator, "/api/spaces/coworkers", &token);
    assert_eq!((refused.status, refused.body.len()), (401, 0));
    assert_eq!(get(&simulator, "/api/auth/me", &token).status, 200);
    simulator.set(|settings| settings.access.me_without_api_access = false);
    assert_eq!(get(&simulator, "/api/auth/me", &token).status, 401);
}

#[test]
fn single_paths_can_be_forbidden() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.change_account(DEMO_EMAIL, |account| {
        account.forbidden.push("/api/billing".to_owned());
    });

    assert_eq!(get(&simulator, "/API/Billing/charges", &token).status, 401);
    assert_eq!(get(&simulator, "/api/spaces/bookings", &token).status, 200);
    simulator.set(|settings| settings.access.no_permission_status = 403);
    assert_eq!(get(&simulator, "/api/billing/charges", &token).status, 403);
}

#[test]
fn basic_is_accepted_without_a_second_factor_only() {
    let simulator = Simulator::start().unwrap();
    // ada@example.test:demo-password
    let basic = "Authorization: Basic YWRhQGV4YW1wbGUudGVzdDpkZW1vLXBhc3N3b3Jk\r\n";
    let me = || ask(&simulator, "GET", "/api/auth/me", basic, "").status;

    assert_eq!(me(), 200);
    simulator.change_account(DEMO_EMAIL, |a| a.totp_secret = Some("GEZDGNBVGY3TQOJQ".to_owned()));
    assert_eq!(me(), 401);
    simulator.set(|settings| settings.access.basic_with_totp = true);
    assert_eq!(me(), 200);
    simulator.set(|settings| settings.access.basic = false);
    assert_eq!(me(), 401);
}

#[test]
fn a_wrong_password_by_basic_is_a_failed_login() {
    let simulator = Simulator::start().unwrap();
    simulator.set(|settings| settings.token.lockout_after = Some(2));
    // ada@example.test:wrong, and :demo-password
    let me = |pair: &str| {
        let basic = format!("Authorization: Basic {pair}\r\n");
        ask(&simulator, "GET", "/api/auth/me", &basic, "").status
    };
    let (wrong, right) =
        ("YWRhQGV4YW1wbGUudGVzdDp3cm9uZw==", "YWRhQGV4YW1wbGUudGVzdDpkZW1vLXBhc3N3b3Jk");

    assert_eq!((me(wrong), simulator.failed_logins(DEMO_EMAIL)), (401, 1));
    assert_eq!((me(right), simulator.failed_logins(DEMO_EMAIL)), (200, 0));
    assert_eq!((me(wrong), me(wrong), me(right)), (401, 401, 401), "locked out");
    assert_eq!(
        simulator.requests().last().unwrap().note.as_deref(),
        Some("locked out after failed logins")
    );
    simulator.forget_failed_logins();
    assert_eq!(me(right), 200);
}
