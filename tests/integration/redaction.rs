//! A redacted client never receives a personal value, whatever it or Nexudus sends.

use nexudus_proxy::clients::{self, ClientPolicy, RedactionPolicy};
use nexudus_proxy::config::RedactMode;
use nexudus_proxy::session::SessionStatus;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::raw_upstream::{RawReply, RawUpstream, ok, raw_upstream};
use crate::support::websocket::{open_at, switching};
use crate::support::{Daemon, daemon_before, error_code, problem_json};

pub const MARKER: &str = "Lovelace";
const JSON: &str = "application/json";

#[tokio::test]
async fn a_list_keeps_its_shape_and_loses_its_persons() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);

    let answer = get(&daemon, &key, "/api/spaces/coworkers?page=1&size=2").await;

    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], "application/json; charset=utf-8");
    let text = answer.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert!(!text.contains(MARKER), "{text}");
    assert!(body["Records"][0]["FullName"].as_str().unwrap().starts_with("«PII:NAME:"));
    assert_eq!(body["Records"][0]["Id"], 7);
    // Not in the table: config.redact.fields names it.
    assert!(body["Records"][0]["TariffName"].as_str().unwrap().starts_with("«PII:BIO:"));
    let again = get(&daemon, &key, "/api/spaces/coworkers").await.text().await.unwrap();
    assert_eq!(again, text);
    let head = upstream.requests().pop().unwrap().to_lowercase();
    assert!(
        head.contains("accept: application/json\r\n") && head.contains("accept-encoding: identity")
    );
}

#[tokio::test]
async fn nobody_else_pays_for_it() {
    let (_upstream, daemon) = served().await;
    let key = clients::add(&state(&daemon), "plain", ClientPolicy::default()).unwrap();

    let anonymous = daemon.get("/api/spaces/coworkers").await.text().await.unwrap();
    let keyed = get(&daemon, key.expose(), "/api/spaces/coworkers").await.text().await.unwrap();

    assert!(anonymous.contains(MARKER));
    assert_eq!(anonymous, keyed);
}

#[tokio::test]
async fn callers_without_a_key_are_redacted_where_the_configuration_says_so() {
    let upstream = raw_upstream(reply).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca).set(|config| {
        config.policy.anonymous_redact = RedactMode::All;
        config.redact.keep = vec!["Coworker.ToStringText".to_owned()];
    });
    let daemon = setup.run().await;

    let text = daemon.get("/api/spaces/coworkers").await.text().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();

    assert!(body["Records"][0]["TariffName"].as_str().unwrap().starts_with("«PII:TEXT:"));
    assert_eq!(body["Records"][0]["ToStringText"], "Ada Lovelace");
    assert_eq!(error_code(daemon.get("/api/spaces/coworkers?q=x").await).await, "policy.redacted");
    assert_eq!(error_code(daemon.get("/api/sys/refreshtokens").await).await, "policy.denied");
}

#[tokio::test]
async fn no_header_of_a_request_gets_around_it() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);
    for (name, value) in [
        ("accept", "text/csv"),
        ("accept-encoding", "br, gzip"),
        ("range", "bytes=5-90"),
        ("if-none-match", "\"1\""),
        ("if-range", "\"1\""),
        ("te", "trailers"),
    ] {
        let request = daemon.request("GET", "/api/spaces/coworkers").header(name, value);
        let answer = request.header("nexudus-proxy-key", &key).send().await.unwrap();
        let head = upstream.requests().pop().unwrap();
        assert!(!head.contains(value), "{name}: {head}");
        assert_eq!(answer.status(), 200, "{name}");
        safe(answer).await;
    }
    let answer = keyed(&daemon, &key, "HEAD", "/api/spaces/coworkers").send().await.unwrap();
    assert!(!answer.headers().contains_key("etag"));
    safe(answer).await;
}

#[tokio::test]
async fn what_is_not_json_is_not_delivered() {
    let (_upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);
    for path in [
        "/api/csv",
        "/api/html",
        "/api/pdf",
        "/api/lying",
        "/api/announced",
        "/api/gzip",
        "/api/redirect",
        "/api/away",
        "/api/two",
        "/api/jsonp",
    ] {
        let answer = get(&daemon, &key, path).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        let problem = problem_json(answer).await;
        assert_eq!(problem["code"], "policy.redacted", "{path}");
        assert!(!problem.to_string().contains(MARKER), "{problem}");
    }
    for (path, status) in [("/api/error", 500), ("/api/gone", 404)] {
        let answer = get(&daemon, &key, path).await;
        assert_eq!(answer.status(), status, "{path}");
        assert_eq!(safe(answer).await, "", "{path}");
    }
    let answer = get(&daemon, &key, "/api/local").await;
    assert_eq!(answer.headers()["location"].to_str().unwrap().rsplit('/').next(), Some("7"));
    safe(answer).await;
}

#[tokio::test]
async fn no_form_of_a_text_gets_around_it() {
    let (_upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);
    for path in [
        "/api/escaped",
        "/api/utf-16",
        "/api/mark",
        "/api/deep",
        "/api/number",
        "/api/nested",
        "/api/headers",
    ] {
        let answer = get(&daemon, &key, path).await;
        assert_eq!(answer.status(), 200, "{path}");
        let text = safe(answer).await;
        assert!(!text.contains("447700900123"), "{path}: {text}");
    }
    // What was sent before the text broke off is understood.
    let broken = get(&daemon, &key, "/api/broken").await;
    assert_eq!(broken.status(), 200);
    assert!(broken.bytes().await.is_err());
}

#[tokio::test]
async fn a_query_that_could_find_a_value_out_is_refused() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);
    let before = upstream.requests().len();
    for query in [
        "Coworker_FullName=Ada",
        "orderBy=Email",
        "$select=Email",
        "callback=x",
        "q=Ada",
        "coworker_EMAIL=a",
        "Coworker%5fEmail=a",
        "Coworker_MobilePhone=447700900123",
        "from_Coworker_DateOfBirth=1815-01-01",
    ] {
        let answer = get(&daemon, &key, &format!("/api/spaces/coworkers?{query}")).await;
        assert_eq!(error_code(answer).await, "policy.redacted", "{query}");
    }
    assert_eq!(upstream.requests().len(), before);
    let dated = "/api/spaces/coworkers?from_Coworker_UpdatedOn=2026-01-01&Coworker_Active=true&orderBy=UpdatedOn";
    assert_eq!(get(&daemon, &key, dated).await.status(), 200);
}

#[tokio::test]
async fn a_websocket_is_refused() {
    let upstream = raw_upstream(|_| RawReply::Switch).await;
    let daemon = switching(&upstream).run().await;
    let key = redacted(&daemon, RedactMode::Table, false);

    let refused = open_at(daemon.address(), "/live", &key).await.unwrap_err().to_string();

    assert!(refused.contains("403"), "{refused}");
}

#[tokio::test]
async fn a_token_stands_for_its_value_in_filters_and_writes() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, true);
    let body: Value = list(&daemon, &key).await;
    let record = &body["Records"][0];

    let email = record["Email"].as_str().unwrap();
    let filter = format!("/api/spaces/coworkers?Coworker_Email={}", encoded(email));
    safe(get(&daemon, &key, &filter).await).await;
    let request = upstream.requests().pop().unwrap();
    assert!(request.contains("?Coworker_Email=Lovelace%40example.com "), "{request}");

    let written = json!({ "FullName": record["FullName"], "Id": 7 });
    let answer = safe(put(&daemon, &key, "coworkers", &written).await).await;
    let request = upstream.requests().pop().unwrap();
    assert!(request.ends_with(r#"{"FullName":"Ada Lovelace","Id":7}"#), "{request}");
    assert!(answer.contains("«PII:TEXT:"), "{answer}");

    let exposed = json!({ "Description": record["FullName"] });
    let answer = put(&daemon, &key, "resources", &exposed).await;
    assert_eq!(error_code(answer).await, "policy.redacted");
    let unknown = json!({ "FullName": "«PII:NAME:01234567»" });
    let answer = put(&daemon, &key, "coworkers", &unknown).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    assert_eq!(error_code(answer).await, "policy.token-unknown");
}

#[tokio::test]
async fn a_key_that_sends_no_tokens_does_not_write_them() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, false);
    let before = upstream.requests().len();
    for body in
        ["{\"FullName\":\"«PII:NAME:01234567»\"}", "FullName=%C2%ABPII%3ANAME%3A01234567%C2%BB"]
    {
        let request = keyed(&daemon, &key, "PUT", "/api/spaces/coworkers").body(body);
        assert_eq!(error_code(request.send().await.unwrap()).await, "policy.redacted", "{body}");
    }
    assert_eq!(upstream.requests().len(), before);
}

#[tokio::test]
async fn a_lock_forgets_the_values() {
    let (_upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, true);
    let body: Value = list(&daemon, &key).await;
    let token = body["Records"][0]["Email"].clone();
    let admin = daemon.admin().await;

    let _: SessionStatus = admin.post("/v1/lock").await.unwrap();
    let _: SessionStatus = admin.post("/v1/unlock").await.unwrap();

    let email = encoded(token.as_str().unwrap());
    let filter = format!("/api/spaces/coworkers?Coworker_Email={email}");
    let answer = get(&daemon, &key, &filter).await;
    assert_eq!(error_code(answer).await, "policy.token-unknown");
    let again: Value = list(&daemon, &key).await;
    assert_eq!(again["Records"][0]["Email"], token);
}

pub async fn served() -> (RawUpstream, Daemon) {
    let upstream = raw_upstream(reply).await;
    let setup = daemon_before(upstream.address.port(), &upstream.ca);
    let fields = vec!["Coworker.TariffName".to_owned()];
    let daemon = setup.set(|config| config.redact.fields = fields).run().await;
    (upstream, daemon)
}

pub fn redacted(daemon: &Daemon, mode: RedactMode, resolve: bool) -> String {
    let redaction = RedactionPolicy { mode, resolve, share_tokens: None };
    let limits = ClientPolicy { redaction, ..ClientPolicy::default() };
    clients::add(&state(daemon), "bot", limits).unwrap().expose().to_owned()
}

fn state(daemon: &Daemon) -> std::path::PathBuf {
    daemon.home().join("state")
}

pub fn keyed(daemon: &Daemon, key: &str, method: &str, path: &str) -> reqwest::RequestBuilder {
    daemon.request(method, path).header("nexudus-proxy-key", key)
}

fn encoded(token: &str) -> String {
    token.replace('«', "%C2%AB").replace('»', "%C2%BB")
}

async fn list(daemon: &Daemon, key: &str) -> Value {
    let text = get(daemon, key, "/api/spaces/coworkers").await.text().await.unwrap();
    serde_json::from_str(&text).unwrap()
}

async fn put(daemon: &Daemon, key: &str, entity: &str, body: &Value) -> Response {
    let request = keyed(daemon, key, "PUT", &format!("/api/spaces/{entity}"));
    let request = request.header("content-type", JSON).body(body.to_string());
    request.send().await.unwrap()
}

pub async fn get(daemon: &Daemon, key: &str, path: &str) -> Response {
    keyed(daemon, key, "GET", path).send().await.unwrap()
}

/// Returns the body of a response in which no form of the marker stands, in head or body.
pub async fn safe(answer: Response) -> String {
    let head = format!("{:?}", answer.headers());
    let text = answer.text().await.unwrap();
    for form in [MARKER, "Lovel\\u0061ce", "L\0o\0v"] {
        assert!(!head.contains(form) && !text.contains(form), "{head}\n{text}");
    }
    text
}

pub fn record(id: usize) -> Value {
    json!({ "Id": id, "FullName": format!("Ada {MARKER}"), "Email": format!("{MARKER}@example.com"),
        "ToStringText": format!("Ada {MARKER}"), "TariffName": "Hot desk", "DateOfBirth": "1815-12-10T00:00:00Z" })
}

fn typed(kind: &str, body: &str) -> RawReply {
    answer("200 OK", &format!("Content-Type: {kind}\r\n"), body.as_bytes())
}

fn answer(status: &str, fields: &str, body: &[u8]) -> RawReply {
    let head = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\n\r\n", body.len());
    RawReply::Bytes([head.as_bytes(), body].concat())
}

fn reply(head: &str) -> RawReply {
    let target = head.split(' ').nth(1).unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    let list = json!({ "Records": [record(7)] }).to_string();
    let leaky = format!(
        "Content-Type: {JSON}\r\nContent-Disposition: attachment; filename={MARKER}.json\r\nETag: \"1\"\r\n\
         Link: </{MARKER}>\r\nX-User: {MARKER}\r\nSet-Cookie: a={MARKER}\r\nDigest: {MARKER}\r\n\
         Retry-After: {MARKER}\r\n"
    );
    let changed =
        json!({ "Status": 200, "Message": "Ada Lovelace was changed", "WasSuccessful": true });
    match path.trim_start_matches("/api/") {
        "headers" => answer(&format!("200 {MARKER}"), &leaky, list.as_bytes()),
        _ if head.starts_with("PUT") => typed(JSON, &changed.to_string()),
        _ if head.starts_with("HEAD") => answer("200 OK", &leaky, b""),
        "spaces/coworkers" => answer("200 OK", &leaky, list.as_bytes()),
        name => text_reply(name, &list)
            .or_else(|| file_reply(name, target, &list))
            .unwrap_or(RawReply::Keep(ok("{}"))),
    }
}

/// JSON in all its forms.
fn text_reply(name: &str, list: &str) -> Option<RawReply> {
    let wide: Vec<u8> = list.encode_utf16().flat_map(u16::to_le_bytes).collect();
    Some(match name {
        "escaped" => typed(
            JSON,
            &format!(
                r#"{{"\u0046ullName":"{MARKER}","fullname":"Lovel\u0061ce","FULLNAME":"{MARKER}"}}"#
            ),
        ),
        "utf-16" => answer("200 OK", &format!("Content-Type: {JSON}; charset=utf-16\r\n"), &wide),
        "mark" => typed(JSON, &format!("\u{feff}{list}")),
        "deep" => typed(JSON, &format!("{}{list}{}", "[".repeat(10_000), "]".repeat(10_000))),
        "number" => typed(JSON, r#"{"FullName":447700900123,"MobilePhone":[447700900123],"Id":7}"#),
        "nested" => typed(
            JSON,
            &json!({ "CustomData": list, "Errors": [{ "AttemptedValue": MARKER }] }).to_string(),
        ),
        "broken" => typed(JSON, &format!("[{}\"x\",{MARKER}", "0,".repeat(40_000))),
        _ => return None,
    })
}

/// What is no JSON, or leads elsewhere.
fn file_reply(name: &str, target: &str, list: &str) -> Option<RawReply> {
    let coded = format!("Content-Type: {JSON}\r\nContent-Encoding: br\r\n");
    let page = format!("<h1>{target} {MARKER}</h1>");
    Some(match name {
        "csv" => typed("text/csv", &format!("Id,FullName\n7,{MARKER}\n")),
        "html" => typed("text/html", &page),
        "pdf" => typed("application/pdf", &format!("%PDF {MARKER}")),
        "lying" => typed(JSON, &format!("Id,FullName\n7,{MARKER}\n")),
        "announced" => typed("text/plain", list),
        "gzip" => answer("200 OK", &coded, list.as_bytes()),
        "redirect" => {
            answer("302 Found", &format!("Location: /login?email={MARKER}@example.com\r\n"), b"")
        }
        "away" => answer(
            "302 Found",
            &format!("Location: https://files.example.com/{MARKER}.pdf\r\n"),
            b"",
        ),
        "local" => answer(&format!("201 {MARKER}"), "Location: /api/spaces/coworkers/7\r\n", b""),
        "two" => typed(JSON, &format!("{{}} {list}")),
        "jsonp" => typed(JSON, &format!("callback({list})")),
        "error" => answer("500 Oops", "Content-Type: text/html\r\n", page.as_bytes()),
        "gone" => {
            answer(&format!("404 {MARKER}"), &format!("Content-Type: {JSON}\r\n"), page.as_bytes())
        }
        _ => return None,
    })
}
