//! A client asks what it may do, and no spelling of that is sent on.

use nexudus_proxy::clients::{self, Budget, Budgets, ClientPolicy};
use nexudus_proxy::config::Rule;
use serde_json::{Value, json};

use crate::support::{daemon, request_count, upstream};

#[tokio::test]
async fn the_guide_tells_a_client_what_it_may_and_is_never_sent_on() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    let budgets = Budgets { writes: Budget::parse_count("50/day"), ..Budgets::default() };
    let ask = vec![Rule::parse("DELETE /**").unwrap()].into();
    let limits = ClientPolicy { ask, budgets, ..ClientPolicy::default() };
    let key = clients::add(&daemon.home().join("state"), "bot", limits).unwrap();
    let key = key.expose();

    let answer = daemon.request("GET", GUIDE).bearer_auth(key).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["cache-control"]),
        (200, &"no-store".parse().unwrap())
    );
    let guide: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    assert_eq!((&guide["client"], &guide["ask"]), (&json!("bot"), &json!(["DELETE /**"])));
    assert_eq!(
        guide["budgets"][0],
        json!({
            "what": "writes", "budget": "50/day", "most": 50, "used": 0, "back": null
        })
    );
    assert!(guide["guide"].as_str().unwrap().contains("policy.approval-pending"), "{guide}");
    assert!(!guide.to_string().contains("nxp_"));
    let keyless: Value =
        serde_json::from_slice(&daemon.get(GUIDE).await.bytes().await.unwrap()).unwrap();
    assert_eq!((&keyless["client"], &keyless["read_only"]), (&json!(null), &json!(false)));

    assert_eq!(daemon.post(GUIDE, "{}").await.status(), 405);
    for odd in [
        "/.well-known/Nexudus-Proxy",
        "/.well-known/nexudus-proxy/",
        "/.well-known//nexudus%2dproxy",
    ] {
        assert_eq!(daemon.get(odd).await.status(), 400, "{odd}");
    }
    assert_eq!(request_count(&upstream, "/.well-known"), 0);
}

const GUIDE: &str = "/.well-known/nexudus-proxy";
