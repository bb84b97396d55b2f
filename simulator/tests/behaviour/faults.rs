//! Every way an answer can be spoiled.

use std::time::Duration;

use nexudus_simulator::{Fault, FaultAction, Route, Simulator};

use crate::client::{Answer, Connection, access, bearer, get};

const LONG: Duration = Duration::from_secs(5);

/// Asks once for the list of bookings under a fault.
fn met(deed: FaultAction) -> Answer {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.fault(Fault::on("/api/spaces", deed).times(1));
    let answer = get(&simulator, "/api/spaces/bookings", &token);
    assert_eq!(get(&simulator, "/api/spaces/bookings", &token).status, 200);
    answer
}

#[test]
fn an_answer_can_be_missing() {
    for deed in
        [FaultAction::Close, FaultAction::CloseUnread, FaultAction::Reset, FaultAction::ResetUnread]
    {
        assert_eq!(met(deed).status, 0);
    }
}

#[test]
fn an_answer_can_be_cut() {
    for deed in [
        FaultAction::Truncate { after: 100 },
        FaultAction::TruncateChunked { after: 100 },
        FaultAction::ResetInBody { after: 0 },
    ] {
        let answer = met(deed.clone());
        assert_eq!((answer.status, answer.whole), (200, false), "{deed:?}");
    }
}

#[test]
fn framing_can_lie() {
    let lengths = |answer: &Answer| {
        answer.headers.iter().filter(|(name, _)| name == "Content-Length").count()
    };

    let double = met(FaultAction::DoubleLength);
    let both = met(FaultAction::LengthAndChunked);

    assert_eq!(lengths(&double), 2);
    assert_eq!((lengths(&both), both.header("transfer-encoding")), (1, Some("chunked")));
    assert_eq!(lengths(&met(FaultAction::UntilClose)), 0);
    assert!(met(FaultAction::Chunked).whole);
    assert_eq!(met(FaultAction::MalformedHead).status, 0);
    assert_eq!(met(FaultAction::SwitchProtocols).status, 101);
}

#[test]
fn bodies_can_be_other_than_expected() {
    assert_eq!(
        met(FaultAction::LoginPage).header("content-type"),
        Some("text/html; charset=utf-8")
    );
    assert_eq!(met(FaultAction::Blocked).header("server"), Some("CloudFront"));
    assert!(met(FaultAction::HtmlError(503)).text().contains("503"));
    assert_eq!(met(FaultAction::Conflict).header("retry-after"), None);
    assert_eq!(met(FaultAction::BusinessError).status, 500);
    let failed = met(FaultAction::ActionFailed);
    assert!(failed.status == 500 && failed.text().contains("Ooops!"), "{}", failed.text());
    assert_eq!(met(FaultAction::BusinessFailure).json()["WasSuccessful"], false);
    assert_eq!(met(FaultAction::Huge(300_000)).body.len(), 300_000);
    let zipped = met(FaultAction::Gzip);
    assert_eq!(zipped.header("content-encoding"), Some("gzip"));
    assert_eq!(zipped.body[..2], [0x1f, 0x8b]);
    assert!(met(FaultAction::Trailers).whole);
}

#[test]
fn headers_can_be_added_and_filled_in() {
    let header = |value: &str| vec![("X-Echo".to_owned(), value.to_owned())];

    let token = met(FaultAction::Headers(header("{token}")));
    let redirect = met(FaultAction::Redirect("{origin}/login".to_owned()));

    assert!(token.header("x-echo").unwrap().starts_with("simulated-access-"));
    assert!(redirect.header("location").unwrap().starts_with("https://localhost:"));
    let answer = FaultAction::Answer { status: 418, headers: header("1"), body: "tea".to_owned() };
    assert_eq!((met(answer.clone()).status, met(answer).text().as_str()), (418, "tea"));
}

#[test]
fn hints_come_before_the_answer() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.fault(Fault::on("/", FaultAction::EarlyHints));
    let mut connection = Connection::to(&simulator);

    assert_eq!(connection.ask("GET", "/api/auth/me", &bearer(&token), "").status, 103);
    assert_eq!(connection.read("GET").status, 200);
}

#[test]
fn a_write_can_be_carried_out_and_its_answer_lost() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    simulator.fault(Fault::on("/api/spaces", FaultAction::Close).times(1));
    simulator.fault(Fault::on("/api/spaces", FaultAction::Reset).executed().times(1));
    let post = || {
        let body = r#"{"Name":"Attic"}"#;
        crate::client::ask(&simulator, "POST", "/api/spaces/resources", &bearer(&token), body)
    };

    assert_eq!((post().status, simulator.executed_writes().len()), (0, 0));
    assert_eq!((post().status, simulator.executed_writes().len()), (0, 1));
    assert_eq!((post().status, simulator.executed_writes().len()), (200, 2));
}

#[test]
fn a_refusal_can_come_before_the_body_is_read() {
    let simulator = Simulator::start().unwrap();
    simulator.fault(Fault::on("/up", FaultAction::AnswerUnread { status: 413 }));
    let mut connection = Connection::to(&simulator);

    connection.send("POST /up HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nsome");

    assert_eq!(connection.read("POST").status, 413);
    assert!(!simulator.requests()[0].complete);
}

#[test]
fn held_requests_are_judged_when_released() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    let hold = simulator.hold(Route::Path("/api/spaces".to_owned()));
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| get(&simulator, "/api/spaces/bookings", &token).status);
        assert!(simulator.wait_until(|view| view.held() == 1, LONG));
        assert_eq!(get(&simulator, "/api/auth/me", &token).status, 200);
        simulator.revoke_access_tokens();
        hold.release();
        assert_eq!(asked.join().unwrap(), 401);
    });
}

#[test]
fn held_answers_belong_to_requests_already_carried_out() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    let hold = simulator.hold_responses(Route::All);
    let mut connection = Connection::to(&simulator);
    connection.send(format!(
        "POST /en/basket/CreateInvoice HTTP/1.1\r\nHost: x\r\n{}Content-Length: 0\r\n\r\n",
        bearer(&token)
    ));

    assert!(simulator.wait_until(|view| view.held() == 1, LONG));
    assert_eq!(simulator.executed_writes().len(), 1);
    drop(connection);
    assert!(simulator.wait_until(|view| view.requests().any(|seen| seen.client_left), LONG));
    drop(hold);
    assert!(simulator.wait_until(|view| view.held() == 0 && view.connections().open == 0, LONG));
}

#[test]
fn a_hang_ends_when_the_client_leaves() {
    let simulator = Simulator::start().unwrap();
    simulator.fault(Fault::on("/", FaultAction::Hang));
    let mut connection = Connection::to(&simulator);
    connection.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(simulator.wait_until(|view| view.requests().any(|seen| seen.complete), LONG));

    drop(connection);

    assert!(simulator.wait_until(|view| view.connections().open == 0, LONG));
}

#[test]
fn a_slow_body_arrives_whole() {
    let pause = Duration::from_millis(1);
    assert!(met(FaultAction::SlowBody { chunk: 4_000, pause }).whole);
}
