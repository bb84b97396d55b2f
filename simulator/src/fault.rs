//! Misbehaviour: which requests it meets, and what is done to them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rng::Rng;
use crate::{duration_serde, path};

/// One kind of misbehaviour and the requests it is for.
///
/// ```
/// use nexudus_simulator::{FaultAction, Fault};
///
/// // The refresh works, but its reply is lost, once.
/// let lost = Fault::on("/api/token", FaultAction::Close).grant("refresh_token").executed().times(1);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Fault {
    /// Path prefix, without case. Default all paths.
    pub path: String,
    /// Method; `null`: any (default).
    pub method: Option<String>,
    /// For `/api/token`: only this `grant_type`; `null`: any (default).
    pub grant: Option<String>,
    /// Matching requests to leave alone first; counts down. Default 0.
    pub skip: u32,
    /// Requests to meet; counts down, and the fault is over at 0. `null`: no end (default).
    pub times: Option<u32>,
    /// Chance from 0 to 1 that a matching request is met, from the seeded generator. Default 1.
    pub chance: f64,
    /// Whether the request takes effect although its answer is spoiled. Default false.
    /// Deeds that decorate the genuine answer always let it take effect.
    pub executes: bool,
    /// Real time to wait before anything is answered. Default 0.
    #[serde(with = "duration_serde")]
    pub delay: Duration,
    /// Further delay, random from 0 to this. Default 0.
    #[serde(with = "duration_serde")]
    pub jitter: Duration,
    /// The action. Default: only the delay.
    pub deed: FaultAction,
}

/// An action on a request or on its response.
///
/// Over HTTP/2 a deed that only HTTP/1.1 can commit (framing, raw bytes) resets the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultAction {
    /// Nothing: for a fault that only delays.
    Pass,
    /// This answer instead. `{token}` and `{origin}` in header values are filled in.
    Answer {
        /// The status.
        status: u16,
        /// The headers, as `[name, value]`.
        #[serde(default)]
        headers: Vec<(String, String)>,
        /// The body.
        #[serde(default)]
        body: String,
    },
    /// The same, before the request's body is read; then the connection is closed.
    AnswerUnread {
        /// The status.
        status: u16,
    },
    /// The genuine answer with these headers added. `{token}` and `{origin}` are filled in.
    Headers(Vec<(String, String)>),
    /// No answer, the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Close,
    /// The same, before the request's body is read.
    CloseUnread,
    /// The connection is reset without an answer.
    Reset,
    /// The same, before the request's body is read.
    ResetUnread,
    /// The genuine body in pieces of `chunk` bytes, with a pause before each.
    SlowBody {
        /// Bytes per piece.
        chunk: usize,
        /// Pause in real time.
        #[serde(with = "duration_serde")]
        pause: Duration,
    },
    /// The genuine body ends after this many bytes, short of its `Content-Length`.
    Truncate {
        /// Bytes sent.
        after: u64,
    },
    /// The genuine body, chunked, ends after this many bytes without the last chunk.
    TruncateChunked {
        /// Bytes sent.
        after: u64,
    },
    /// The genuine body is cut by a connection reset after this many bytes (0: after the head).
    ResetInBody {
        /// Bytes sent.
        after: u64,
    },
    /// The genuine body, chunked.
    Chunked,
    /// The genuine body without a length, ended by the end of the connection.
    UntilClose,
    /// The genuine answer; the connection is then closed without notice.
    CloseAfter,
    /// These bytes, then the end of the connection.
    Raw(String),
    /// An answer whose head is not HTTP.
    MalformedHead,
    /// Two different `Content-Length`.
    DoubleLength,
    /// `Content-Length` and `Transfer-Encoding` together.
    LengthAndChunked,
    /// `101 Switching Protocols` that the client did not ask for.
    SwitchProtocols,
    /// `103 Early Hints` before the genuine answer.
    EarlyHints,
    /// 302 to this address; `{origin}` is filled in.
    Redirect(String),
    /// 200 with the HTML of a login page.
    LoginPage,
    /// CloudFront's 403.
    Blocked,
    /// An HTML error page with this status.
    HtmlError(u16),
    /// The genuine body, compressed with gzip.
    Gzip,
    /// The genuine body, chunked, followed by trailers.
    Trailers,
    /// 200 with this many bytes that are not JSON.
    Huge(u64),
    /// 200 without a body.
    Empty,
    /// 200, `application/json`, and a body that is not JSON.
    Nonsense,
    /// 200 and `WasSuccessful: false`.
    BusinessFailure,
    /// 500 and the same envelope.
    BusinessError,
    /// 500 and `Ooops! There was a problem while running this action`: for good, or in a burst.
    ActionFailed,
    /// 409 with a body and no `Retry-After`: a genuine conflict.
    Conflict,
    /// 400 and the envelope of a validation error.
    Invalid,
}

impl Default for Fault {
    fn default() -> Self {
        Self {
            path: String::new(),
            method: None,
            grant: None,
            skip: 0,
            times: None,
            chance: 1.0,
            executes: false,
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            deed: FaultAction::Pass,
        }
    }
}

impl Fault {
    /// Returns a fault for every request whose path begins with `prefix`.
    pub fn on(prefix: impl Into<String>, deed: FaultAction) -> Self {
        Self { path: prefix.into(), deed, ..Self::default() }
    }

    /// Limits it to the next `count` matching requests.
    pub fn times(mut self, count: u32) -> Self {
        self.times = Some(count);
        self
    }

    /// Limits it to one method.
    pub fn method(mut self, method: impl Into<String>) -> Self {
        self.method = Some(method.into());
        self
    }

    /// Limits it to one grant type of the token endpoint.
    pub fn grant(mut self, grant: impl Into<String>) -> Self {
        self.grant = Some(grant.into());
        self
    }

    /// Leaves the first `count` matching requests alone.
    pub fn skip(mut self, count: u32) -> Self {
        self.skip = count;
        self
    }

    /// Meets only this fraction of the matching requests.
    pub fn chance(mut self, chance: f64) -> Self {
        self.chance = chance;
        self
    }

    /// Lets the request take effect first.
    pub fn executed(mut self) -> Self {
        self.executes = true;
        self
    }

    /// Waits this long, in real time, before answering.
    pub fn delayed(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    fn matches(&self, asked: &FaultSubject<'_>) -> bool {
        self.times != Some(0)
            && path::starts_with(asked.path, &self.path)
            && self.method.as_ref().is_none_or(|method| method.eq_ignore_ascii_case(asked.method))
            && self.grant.as_ref().is_none_or(|grant| asked.grant == Some(grant.as_str()))
            && self.deed.comes_before_the_body() == asked.unread
    }
}

impl FaultAction {
    fn comes_before_the_body(&self) -> bool {
        matches!(self, Self::AnswerUnread { .. } | Self::CloseUnread | Self::ResetUnread)
    }

    /// Whether the deed needs the genuine answer.
    pub(crate) fn decorates(&self) -> bool {
        matches!(
            self,
            Self::Pass
                | Self::Headers(_)
                | Self::SlowBody { .. }
                | Self::Truncate { .. }
                | Self::TruncateChunked { .. }
                | Self::ResetInBody { .. }
                | Self::Chunked
                | Self::UntilClose
                | Self::CloseAfter
                | Self::DoubleLength
                | Self::LengthAndChunked
                | Self::EarlyHints
                | Self::Gzip
                | Self::Trailers
        )
    }
}

/// The parts of a request that faults are matched against.
pub(crate) struct FaultSubject<'a> {
    pub(crate) method: &'a str,
    pub(crate) path: &'a str,
    pub(crate) grant: Option<&'a str>,
    pub(crate) unread: bool,
}

/// Returns the fault that meets this request, having counted it.
pub(crate) fn take_matching(
    faults: &mut Vec<Fault>,
    asked: &FaultSubject<'_>,
    rng: &mut Rng,
) -> Option<Fault> {
    let mut picked = None;
    for fault in faults.iter_mut().filter(|fault| fault.matches(asked)) {
        if fault.skip > 0 {
            fault.skip -= 1;
            continue;
        }
        if fault.chance < 1.0 && rng.fraction() >= fault.chance {
            continue;
        }
        fault.times = fault.times.map(|left| left - 1);
        picked = Some(fault.clone());
        break;
    }
    faults.retain(|fault| fault.times != Some(0));
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_skips_then_meets_then_is_over() {
        let mut faults =
            vec![Fault::on("/API/x", FaultAction::Close).skip(1).times(2).method("get")];
        let mut rng = Rng::from_seed(1);
        let asked = FaultSubject { method: "GET", path: "/api/x/1", grant: None, unread: false };
        let mut met = || take_matching(&mut faults, &asked, &mut rng).is_some();

        assert_eq!([met(), met(), met(), met()], [false, true, true, false]);
        assert!(faults.is_empty());
    }

    #[test]
    fn a_chance_is_the_same_for_the_same_seed() {
        let asked = FaultSubject { method: "GET", path: "/", grant: None, unread: false };
        let run = |seed| {
            let mut faults = vec![Fault::on("", FaultAction::Close).chance(0.5)];
            let mut rng = Rng::from_seed(seed);
            (0..64)
                .map(|_| take_matching(&mut faults, &asked, &mut rng).is_some())
                .collect::<Vec<_>>()
        };

        assert_eq!(run(7), run(7));
        assert!(run(7).contains(&true) && run(7).contains(&false));
    }
}
