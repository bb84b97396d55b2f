//! The path of a redacted client is plain: no spelling of it chooses other tables.

use nexudus_proxy::config::RedactMode;
use reqwest::StatusCode;

use crate::redaction::{get, keyed, redacted, safe, served};
use crate::support::error_code;

#[tokio::test]
async fn no_spelling_of_a_path_gets_around_it() {
    let (upstream, daemon) = served().await;
    let key = redacted(&daemon, RedactMode::Table, true);
    let before = upstream.requests().len();
    for path in [
        "%63oworkers",
        "coworkers%20",
        "coworkers;x=1",
        "coworkers.json",
        "team%C5%BF",
        "coworkers(7)",
        "%63oworkers?Coworker_Position=CEO",
    ] {
        let path = format!("/api/spaces/{path}");
        let answer = get(&daemon, &key, &path).await;
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
        assert_eq!(error_code(answer).await, "policy.redacted", "{path}");
        let request = keyed(&daemon, &key, "PUT", &path).header("content-type", "application/json");
        let answer = request.body(r#"{"Position":"«PII:BIO:01234567»"}"#).send().await.unwrap();
        assert_eq!(error_code(answer).await, "policy.redacted", "{path}");
    }
    // No limited client sends a path in which a slash may be a letter.
    let answer = get(&daemon, &key, "/api/spaces/coworkers%2F7").await;
    assert_eq!(error_code(answer).await, "policy.denied");
    assert_eq!(upstream.requests().len(), before);
    safe(get(&daemon, &key, "/api//Spaces/COWORKERS/").await).await;
}
