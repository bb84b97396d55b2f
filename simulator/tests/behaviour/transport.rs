//! Connections: certificates, ALPN, HTTP/2, closing, refusing.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nexudus_simulator::{AcceptMode, Alpn, Certificate, Fault, FaultAction, Simulator};
use rustls::pki_types::ServerName;

use crate::client::{Connection, access, ask, bearer, trust};

const LONG: Duration = Duration::from_secs(5);

#[test]
fn a_bad_certificate_is_refused_and_noticed() {
    for certificate in [Certificate::Expired, Certificate::WrongName, Certificate::UnknownCa] {
        let simulator = Simulator::builder().certificate(certificate).start().unwrap();

        assert!(Connection::with(&simulator, trust(&simulator)).is_err(), "{certificate:?}");
        assert!(simulator.wait_until(|view| view.connections().tls_failures == 1, LONG));
    }
}

#[test]
fn both_loopback_families_share_the_port() {
    let simulator = Simulator::start().unwrap();
    let port = simulator.address().port();

    assert!(std::net::TcpStream::connect(("::1", port)).is_ok());
    assert_eq!(simulator.origin(), format!("https://localhost:{port}"));
}

#[test]
fn connections_can_be_refused_in_several_ways() {
    let simulator = Simulator::start().unwrap();
    for accept in [AcceptMode::Close, AcceptMode::Reset, AcceptMode::Nonsense] {
        simulator.set(|settings| settings.transport.accept = accept);
        assert!(Connection::with(&simulator, trust(&simulator)).is_err());
    }
    simulator.set(|settings| settings.transport.accept = AcceptMode::Serve);
    simulator.stop_listening();
    assert!(std::net::TcpStream::connect(simulator.address()).is_err());
    simulator.resume_listening();
    assert_eq!(ask(&simulator, "GET", "/", "", "").status, 200);
}

#[test]
fn connections_can_be_closed_while_idle_or_after_some_requests() {
    let simulator = Simulator::start().unwrap();
    let mut connection = Connection::to(&simulator);
    assert_eq!(connection.ask("GET", "/", "", "").status, 200);
    simulator.close_idle_connections();
    assert_eq!(connection.rest(), "");

    simulator.set(|settings| settings.transport.idle_close = Some(Duration::from_millis(1)));
    assert_eq!(Connection::to(&simulator).rest(), "");

    simulator.set(|settings| {
        settings.transport.idle_close = None;
        settings.transport.requests_per_connection = Some(2);
    });
    let mut connection = Connection::to(&simulator);
    assert_eq!(connection.ask("GET", "/", "", "").header("connection"), None);
    assert_eq!(connection.ask("GET", "/", "", "").header("connection"), Some("close"));
    assert_eq!(connection.rest(), "");
    assert!(simulator.wait_until(|view| view.connections().open == 0, LONG));
}

#[test]
fn every_answer_can_carry_more_headers_and_a_wrong_date() {
    let simulator = Simulator::start().unwrap();
    let honest = ask(&simulator, "GET", "/", "", "").header("date").map(str::to_owned);
    simulator.set(|settings| {
        settings.transport.headers = vec![("Set-Cookie".to_owned(), "a=b".to_owned())];
        settings.transport.date_skew = 86_400;
    });

    let answer = ask(&simulator, "GET", "/", "", "");

    assert_eq!(answer.header("set-cookie"), Some("a=b"));
    assert!(honest.is_some() && answer.header("date").map(str::to_owned) != honest);
}

#[test]
fn a_client_may_wait_for_100_continue() {
    let simulator = Simulator::start().unwrap();
    let token = access(&simulator);
    let mut connection = Connection::to(&simulator);

    connection.send(format!(
        "POST /_echo HTTP/1.1\r\nHost: x\r\n{}Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
        bearer(&token)
    ));
    assert_eq!(connection.read("POST").status, 100);
    connection.send("abc");
    assert_eq!(connection.read("POST").json()["body"], "abc");
}

#[tokio::test]
async fn http2_is_served_with_the_same_answers() {
    let simulator = Simulator::builder().alpn(Alpn::Http2).start().unwrap();
    let mut config = trust(&simulator);
    config.alpn_protocols = vec![b"h2".to_vec()];
    let tcp = tokio::net::TcpStream::connect(simulator.address()).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = tokio_rustls::TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tls))
            .await
            .unwrap();
    tokio::spawn(connection);
    let request = |body: &'static str| {
        http::Request::post(format!("{}/api/token?a=[1]", simulator.origin()))
            .header("content-type", "application/x-www-form-urlencoded")
            .header("client_id", "h2")
            .body(Full::new(bytes::Bytes::from(body)))
            .unwrap()
    };

    let form = "grant_type=password&username=ada@example.test&password=demo-password";
    let answer = sender.send_request(request(form)).await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.version()), (200, http::Version::HTTP_2));
    assert!(answer.into_body().collect().await.unwrap().to_bytes().len() > 432);
    let seen = simulator.requests();
    assert_eq!(
        (seen[0].version.as_str(), seen[0].target.as_str()),
        ("HTTP/2.0", "/api/token?a=[1]")
    );
    assert_eq!(simulator.token_calls()[0].client_id.as_deref(), Some("h2"));

    simulator.fault(Fault::on("/", FaultAction::Close).times(1));
    assert!(sender.send_request(request(form)).await.is_err());
    simulator.fault(Fault::on("/", FaultAction::Truncate { after: 5 }).times(1));
    let cut = sender.send_request(request(form)).await.unwrap();
    assert!(cut.into_body().collect().await.is_err());
    assert!(simulator.wait_until_async(|view| view.answered() == 1, LONG).await);
}
