//! Access to the page: the code, the token, and the fields that a browser sends.
//!
//! A code is exchanged for the token once, within [`CODE_LIFETIME`]. Where the kernel names the user
//! of a connection, the code comes with the link; elsewhere a person types six digits. The token goes
//! into a header that no form and no page of another origin can send. There is no cookie: cookies of
//! 127.0.0.1 are shared by all of its ports.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderName, Method};

use super::Link;
use super::error::UiError;
use crate::secret::Secret;

/// Where the code of a link stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeKind {
    /// In the fragment of the link, which no request carries.
    Link,
    /// On the terminal: a person types it.
    Typed,
}

/// The state of the door.
#[derive(Debug)]
pub(super) struct Gate {
    authority: String,
    origin: String,
    kind: CodeKind,
    token: Secret,
    code: Option<Code>,
}

#[derive(Debug)]
struct Code {
    text: Secret,
    made: Instant,
    wrong: u32,
}

impl Gate {
    /// Makes a door that no code opens yet.
    pub(super) fn new(address: SocketAddr, kind: CodeKind) -> Self {
        let authority = address.to_string();
        let origin = format!("http://{authority}");
        Self { authority, origin, kind, token: random_text(), code: None }
    }

    /// Makes a new link, and the ones before worthless.
    pub(super) fn new_link(&mut self, now: Instant) -> Link {
        let text = match self.kind {
            CodeKind::Link => random_text(),
            CodeKind::Typed => random_digits(),
        };
        let (url, code) = match self.kind {
            CodeKind::Link => (format!("{}/#code={}", self.origin, text.expose()), None),
            CodeKind::Typed => (format!("{}/", self.origin), Some(text.expose().to_owned())),
        };
        self.code = Some(Code { text, made: now, wrong: 0 });
        Link { url, code }
    }

    /// Exchanges a code for the token.
    ///
    /// # Errors
    ///
    /// [`UiError::Code`] for a code that is wrong, used or late, and for every code after
    /// [`MAX_WRONG_CODES`] wrong ones.
    pub(super) fn redeem(&mut self, given: &str, now: Instant) -> Result<Secret, UiError> {
        let Some(code) = &mut self.code else { return Err(UiError::Code) };
        let is_late = now.saturating_duration_since(code.made) >= CODE_LIFETIME;
        let is_right =
            verify_slices_are_equal(code.text.expose().as_bytes(), given.as_bytes()).is_ok();
        if !is_right {
            code.wrong += 1;
        }
        if is_right || is_late || code.wrong >= MAX_WRONG_CODES {
            self.code = None;
        }
        if is_right && !is_late { Ok(self.token.clone()) } else { Err(UiError::Code) }
    }

    /// Checks a request for a file of the page: a name that leads here by DNS gets none.
    pub(super) fn check_host(&self, headers: &HeaderMap) -> Result<(), UiError> {
        let mut hosts = headers.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if host.as_bytes() == self.authority.as_bytes() => Ok(()),
            _ => Err(UiError::Host),
        }
    }

    /// Checks that this page itself sends a request: by the fields that a browser sets, and no script
    /// can.
    ///
    /// A browser leaves `Origin` out of a GET to the page's own origin; every other method has it.
    pub(super) fn check_origin(&self, method: &Method, headers: &HeaderMap) -> Result<(), UiError> {
        self.check_host(headers)?;
        let is_only = |name, wanted: &str| {
            let mut values = headers.get_all(name).iter();
            values.next().is_some_and(|value| value.as_bytes() == wanted.as_bytes())
                && values.next().is_none()
        };
        let is_same_site = is_only(SEC_FETCH_SITE, "same-origin");
        let is_own = if headers.contains_key(ORIGIN) {
            is_only(ORIGIN, &self.origin)
        } else {
            *method == Method::GET
        };
        if is_same_site && is_own { Ok(()) } else { Err(UiError::Origin) }
    }

    /// Checks the token of a request. Its 256 bits need no limit on guesses.
    pub(super) fn check_token(&self, headers: &HeaderMap) -> Result<(), UiError> {
        let given = headers.get(&TOKEN_HEADER).ok_or(UiError::Token)?;
        verify_slices_are_equal(self.token.expose().as_bytes(), given.as_bytes())
            .map_err(|_| UiError::Token)
    }
}

/// 256 random bits as hexadecimal digits.
fn random_text() -> Secret {
    let mut bits = [0; 32];
    rand::fill(&mut bits).expect("the system has random numbers, or TLS would not work either");
    Secret::new(bits.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

/// Six random digits, each text as likely as any other.
fn random_digits() -> Secret {
    let mut bits = [0; 16];
    rand::fill(&mut bits).expect("the system has random numbers, or TLS would not work either");
    // The remainder of 2^128 by 10^6 is of no consequence.
    Secret::new(format!("{:06}", u128::from_ne_bytes(bits) % 1_000_000))
}

/// The header that carries the token.
const TOKEN_HEADER: HeaderName = HeaderName::from_static("nexudus-proxy-ui");

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// How long a code can be used.
const CODE_LIFETIME: Duration = Duration::from_secs(60);

/// Wrong codes after which a person has to ask for another one: a guess at six digits succeeds once in
/// 200,000 links.
const MAX_WRONG_CODES: u32 = 5;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_code_is_taken_once_and_for_a_minute() {
        let (mut gate, now) = (gate(CodeKind::Link), Instant::now());
        assert!(gate.redeem("", now).is_err(), "no link was made");
        let code = code_of(&gate.new_link(now));

        let token = gate.redeem(&code, now + Duration::from_secs(59)).unwrap();

        assert!(gate.check_token(&headers(&[("nexudus-proxy-ui", token.expose())])).is_ok());
        assert!(gate.redeem(&code, now).is_err(), "used");
        let late = code_of(&gate.new_link(now));
        assert!(gate.redeem(&late, now + CODE_LIFETIME).is_err(), "late");
        let replaced = code_of(&gate.new_link(now));
        let latest = code_of(&gate.new_link(now));
        assert!(gate.redeem(&replaced, now).is_err(), "an older link");
        assert!(gate.redeem(&latest, now).is_ok());
    }

    #[test]
    fn guessing_ends_after_five_wrong_codes() {
        for kind in [CodeKind::Link, CodeKind::Typed] {
            let (mut gate, now) = (gate(kind), Instant::now());
            let code = code_of(&gate.new_link(now));
            (0..MAX_WRONG_CODES).for_each(|_| assert!(gate.redeem("guess", now).is_err()));
            assert!(gate.redeem(&code, now).is_err(), "{kind:?}");

            let code = code_of(&gate.new_link(now));
            assert!(gate.redeem("guess", now).is_err() && gate.redeem(&code, now).is_ok());
        }
    }

    #[test]
    fn a_typed_code_has_six_digits_and_stands_in_no_link() {
        let link = gate(CodeKind::Typed).new_link(Instant::now());

        let code = link.code.unwrap();
        assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        assert_eq!(link.url, "http://127.0.0.1:7000/");
    }

    #[test]
    fn only_this_page_is_answered() {
        let gate = gate(CodeKind::Link);
        let host = ("host", "127.0.0.1:7000");
        let site = ("sec-fetch-site", "same-origin");
        let own = ("origin", "http://127.0.0.1:7000");
        let check = |method, given: &[(&'static str, &str)]| {
            gate.check_origin(&method, &headers(given)).is_ok()
        };

        assert!(check(Method::GET, &[host, site]));
        assert!(check(Method::GET, &[host, site, own]));
        assert!(check(Method::POST, &[host, site, own]));
        for host in ["localhost:7000", "evil.test:7000", "127.0.0.1", "127.0.0.1:7001", ""] {
            assert!(!check(Method::GET, &[("host", host), site, own]), "{host}");
        }
        for other in
            ["http://localhost:7000", "http://127.0.0.1:7001", "https://127.0.0.1:7000", "null"]
        {
            assert!(!check(Method::POST, &[host, site, ("origin", other)]), "{other}");
            assert!(!check(Method::GET, &[host, site, ("origin", other)]), "{other}");
            assert!(!check(Method::POST, &[host, site, own, ("origin", other)]), "two: {other}");
        }
        for other in ["same-site", "cross-site", "none", ""] {
            assert!(!check(Method::GET, &[host, ("sec-fetch-site", other)]), "{other}");
        }
        assert!(!check(Method::POST, &[host, site]), "a form of another page has no own origin");
        assert!(!check(Method::GET, &[host]), "no browser");
        assert!(!check(Method::GET, &[host, host, site]), "two hosts");
    }

    #[test]
    fn no_token_is_no_token() {
        let gate = gate(CodeKind::Link);

        assert!(gate.check_token(&HeaderMap::new()).is_err());
        for wrong in ["", "x", &"0".repeat(64)] {
            assert!(gate.check_token(&headers(&[("nexudus-proxy-ui", wrong)])).is_err(), "{wrong}");
        }
    }

    fn gate(kind: CodeKind) -> Gate {
        Gate::new("127.0.0.1:7000".parse().unwrap(), kind)
    }

    fn code_of(link: &Link) -> String {
        let in_link = link.url.split_once("#code=").map(|(_, code)| code.to_owned());
        link.code.clone().or(in_link).unwrap()
    }

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        let parse = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        let mut headers = HeaderMap::new();
        given.iter().map(parse).for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    }
}
