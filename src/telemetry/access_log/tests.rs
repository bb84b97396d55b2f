//! The contents of a line, and the values that it never has.

use super::*;
use crate::telemetry::broadcast::BroadcastItem;
use crate::telemetry::ended_request::Process;

#[tokio::test]
async fn a_subscriber_sees_the_path_and_never_the_query() {
    let telemetry = Arc::<Telemetry>::default();
    let mut receiver = telemetry.requests.subscribe();
    let request = http::Request::get("/api/x?password=hunter2").body(()).unwrap();

    let process = Process { pid: 7, program: "curl".to_owned() };
    let peer = PeerInfo { peer: "a peer".to_owned(), uid: Some(1000), process: process.into() };
    let mut access = AccessEntry::begin(&telemetry, &request, same, || Some(peer.into()));
    let mut response = Response::new(());
    response
        .extensions_mut()
        .insert(ResponseInfo { code: Some("guard.user"), ..Default::default() });
    access.record_response(&response, &RequestTiming::default());
    access.add_bytes(7);
    drop(access);

    let BroadcastItem::Request(seen) = receiver.recv().await else { panic!("not a request") };
    assert_eq!((seen.path.as_str(), seen.status, seen.bytes), ("/api/x", Some(200), 7));
    assert_eq!(seen.code.as_deref(), Some("guard.user"));
    assert_eq!((seen.uid, seen.pid, seen.program.as_deref()), (Some(1000), Some(7), Some("curl")));
    assert!(!serde_json::to_string(&*seen).unwrap().contains("hunter2"));
    assert_eq!(telemetry.metrics.problems(), [("guard.user", 1)].into());
}

#[tokio::test]
async fn a_key_in_place_of_the_method_is_removed_as_one_in_the_path_is() {
    let telemetry = Arc::<Telemetry>::default();
    let mut receiver = telemetry.requests.subscribe();
    let request = http::Request::builder().method("SECRET").uri("/x").body(()).unwrap();
    fn loggable(text: &str) -> &str {
        if text.contains("SECRET") { "[redacted]" } else { text }
    }

    drop(AccessEntry::begin(&telemetry, &request, loggable, || Some(Arc::default())));

    let BroadcastItem::Request(seen) = receiver.recv().await else { panic!("not a request") };
    assert_eq!((seen.method.as_str(), seen.path.as_str()), ("[redacted]", "/x"));
}

#[tokio::test]
async fn no_line_is_kept_without_a_reader() {
    let telemetry = Arc::<Telemetry>::default();
    drop(telemetry.requests.subscribe());
    let request = http::Request::get("/").body(()).unwrap();

    fn loggable(_: &str) -> &str {
        panic!("no line is wanted")
    }
    let access = AccessEntry::begin(&telemetry, &request, loggable, || panic!("no line is wanted"));

    assert!(access.line.is_none());
}

#[test]
fn a_request_has_a_span_only_while_its_line_is_wanted() {
    let span_at = |level: tracing::Level| {
        let lines = tracing_subscriber::fmt().with_max_level(level);
        let subscriber = lines.with_writer(std::io::sink).finish();
        tracing::subscriber::with_default(subscriber, || {
            let (telemetry, peer) = (Arc::default(), Arc::default());
            let request = http::Request::get("/").body(()).unwrap();
            let access = AccessEntry::begin(&telemetry, &request, same, || Some(peer));
            access.span().metadata().map(|metadata| metadata.name())
        })
    };

    assert_eq!(span_at(tracing::Level::DEBUG), Some("request"));
    assert_eq!(span_at(tracing::Level::INFO), None);
}

fn same(text: &str) -> &str {
    text
}
