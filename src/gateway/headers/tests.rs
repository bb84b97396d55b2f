//! The headers that a client may send to the upstream, and those that it may not.

use http::HeaderValue;

use super::*;

#[test]
fn a_client_cannot_send_headers_that_speak_for_the_proxy() {
    for name in DROPPED {
        assert!(!forwards_request_header(&HeaderName::from_static(name), None, false), "{name}");
    }
    for name in FORWARDED {
        assert!(forwards_request_header(&HeaderName::from_static(name), None, false), "{name}");
    }
}

/// Fields that look like those and are sent on.
const FORWARDED: [&str; 11] = [
    "accept",
    "content-type",
    "if-none-match",
    "nx-app-version",
    "x_custom",
    "x-membership",
    "x-skip",
    "x-email-address",
    "x-originator",
    "max-forwards",
    "ip",
];

/// Fields that a client may not send on.
const DROPPED: [&str; 56] = [
    "authorization",
    "cookie",
    "client_id",
    "client-id",
    "x_forwarded_for",
    "x-forwarded-host",
    "forwarded",
    "origin",
    "sec-fetch-site",
    "x-http-method-override",
    "x-original-url",
    "x_original_host",
    "x-forwarded",
    "x-real-ip",
    "x_real_ip",
    "cf-connecting-ip",
    "cf_connecting_ip",
    "cf-connecting-ipv6",
    "cf-pseudo-ipv4",
    "true-client-ip",
    "fastly-client-ip",
    "x-client-ip",
    "x-clientip",
    "x-cluster-client-ip",
    "client-ip",
    "clientip",
    "x-proxyuser-ip",
    "wl-proxy-client-ip",
    "proxy-client-ip",
    "x-remote-ip",
    "x-remote-addr",
    "remote_addr",
    "x-originating-ip",
    "x-azure-clientip",
    "x-azure-socketip",
    "x-azure-fdid",
    "x-arr-clientcert",
    "x-waws-unencoded-url",
    "x-appengine-user-ip",
    "x-appengine-remote-addr",
    "x-vercel-forwarded-for",
    "x-nf-client-connection-ip",
    "x-envoy-external-address",
    "x-http-method",
    "x-method-override",
    "x-method",
    "x_method",
    "_method",
    "x-override-url",
    "x-rewrite-url",
    "x-ms-original-url",
    "aspfiltersessionid",
    "destination",
    "transfer-encoding",
    "te",
    "expect",
];

#[test]
fn too_many_connection_options_are_counted() {
    let options = |fields: &[&str]| {
        let values = fields.iter().map(|it| (CONNECTION, HeaderValue::from_str(it).unwrap()));
        has_too_many_options(&values.collect())
    };
    assert!(!options(&["keep-alive, Upgrade, HTTP2-Settings", "close"]));
    assert!(!options(&[&["x"; MAX_CONNECTION_OPTIONS].join(",")]));
    assert!(options(&[&["x"; MAX_CONNECTION_OPTIONS + 1].join(",")]));
    assert!(options(&["x"; MAX_CONNECTION_OPTIONS + 1]));
    // Empty options count too.
    assert!(options(&[&",".repeat(MAX_CONNECTION_OPTIONS)]));
}

#[test]
fn every_connection_header_is_read() {
    let mut all = HeaderMap::new();
    all.append(CONNECTION, HeaderValue::from_static("close, X-One"));
    all.append(CONNECTION, HeaderValue::from_static("x-two"));

    assert!(!forwards_request_header(&HeaderName::from_static("x-one"), Some(&all), true));
    assert!(!forwards_request_header(&HeaderName::from_static("x-two"), Some(&all), true));
    assert!(forwards_request_header(&HeaderName::from_static("x-three"), Some(&all), true));
    assert!(!forwards_request_header(&HeaderName::from_static("x_one"), Some(&all), true));
    all.append(CONNECTION, HeaderValue::from_static("X_Four"));
    for name in ["x-four", "x_four"] {
        assert!(
            !forwards_request_header(&HeaderName::from_static(name), Some(&all), true),
            "{name}"
        );
    }
}
