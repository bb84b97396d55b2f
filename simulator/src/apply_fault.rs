//! Turns a deed into a reply: from nothing, or by spoiling the genuine answer.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::fault::FaultAction;
use crate::response::{self, Framing, Outcome, ResponseBody, SimulatedResponse};

/// Values that a fault may put into its headers.
pub(crate) struct Placeholders<'a> {
    pub(crate) token: &'a str,
    pub(crate) origin: &'a str,
}

impl Placeholders<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{token}", self.token).replace("{origin}", self.origin)
    }

    fn headers(&self, headers: &[(String, String)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect()
    }
}

/// Commits a deed. `genuine` is the answer the request would have had.
pub(crate) fn apply_fault(
    deed: &FaultAction,
    genuine: SimulatedResponse,
    filling: &Placeholders<'_>,
) -> Outcome {
    let mut answer = genuine;
    match deed {
        FaultAction::Pass => {}
        FaultAction::Answer { status, headers, body } => {
            answer = given(*status, filling.headers(headers), body);
        }
        FaultAction::AnswerUnread { status } => {
            answer = SimulatedResponse::empty(*status).with_header("Connection", "close");
        }
        FaultAction::Headers(headers) => answer.headers.extend(filling.headers(headers)),
        FaultAction::Hang => return Outcome::Hang,
        FaultAction::Close | FaultAction::CloseUnread => return Outcome::Close,
        FaultAction::Reset | FaultAction::ResetUnread => return Outcome::Reset,
        FaultAction::SlowBody { chunk, pause } => answer = answer.in_pieces(*chunk, *pause),
        FaultAction::Truncate { after } => answer = answer.cut(*after),
        FaultAction::TruncateChunked { after } => answer = answer.chunked().cut(*after),
        FaultAction::ResetInBody { after } => answer = answer.cut(*after).then_reset(),
        FaultAction::Chunked => answer = answer.chunked(),
        FaultAction::UntilClose => answer.delivery.framing = Framing::UntilClose,
        FaultAction::CloseAfter => answer.delivery.close_after = true,
        FaultAction::Raw(text) => return Outcome::Raw(text.clone().into()),
        FaultAction::MalformedHead => return Outcome::Raw(MALFORMED.into()),
        FaultAction::DoubleLength => answer.delivery.framing = Framing::DoubleLength,
        FaultAction::LengthAndChunked => answer.delivery.framing = Framing::LengthAndChunked,
        FaultAction::SwitchProtocols => return Outcome::Raw(SWITCHED.into()),
        FaultAction::EarlyHints => answer.delivery.early_hints = true,
        FaultAction::Redirect(to) => answer = moved(filling.fill(to)),
        FaultAction::LoginPage => answer = SimulatedResponse::html(200, response::login_page()),
        FaultAction::Blocked => answer = blocked(),
        FaultAction::HtmlError(status) => {
            answer = SimulatedResponse::html(*status, response::error_page(*status))
        }
        FaultAction::Gzip => answer = answer.gzipped(),
        FaultAction::Trailers => answer = answer.with_trailers(),
        FaultAction::Huge(bytes) => answer = huge(*bytes),
        FaultAction::Empty => answer = SimulatedResponse::empty(200),
        FaultAction::Nonsense => answer = nonsense(),
        FaultAction::BusinessFailure => answer = business(200),
        FaultAction::BusinessError => answer = business(500),
        FaultAction::ActionFailed => answer = action_failed(),
        FaultAction::Conflict => answer = conflict(),
        FaultAction::Invalid => answer = response::invalid("Name"),
    }
    Outcome::Answer(answer)
}

const MALFORMED: &str = "HTTP/1.1 two hundred\r\nno colon here\r\n\r\n{}";

const SWITCHED: &str =
    "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";

fn given(status: u16, headers: Vec<(String, String)>, body: &str) -> SimulatedResponse {
    let mut answer = SimulatedResponse::with_body(status, None, body.to_owned().into());
    answer.headers.extend(headers);
    answer
}

fn moved(to: String) -> SimulatedResponse {
    SimulatedResponse::html(302, "<h2>Object moved</h2>").with_header("Location", to)
}

fn huge(bytes: u64) -> SimulatedResponse {
    let mut answer = SimulatedResponse::with_body(200, Some("application/json"), Bytes::new());
    answer.body = ResponseBody::Pattern(bytes);
    answer
}

fn nonsense() -> SimulatedResponse {
    let body = Bytes::from_static(b"{\"access_token\": oops");
    SimulatedResponse::with_body(200, Some("application/json; charset=utf-8"), body)
}

fn conflict() -> SimulatedResponse {
    let body = json!({"Message": "This record was changed by another user."});
    SimulatedResponse::json(409, &body)
}

fn business(status: u16) -> SimulatedResponse {
    let message = "This resource is not available at that time.";
    SimulatedResponse::json(200, &response::envelope(status, message, Value::Null, false))
        .status(status)
}

fn action_failed() -> SimulatedResponse {
    let message = "Ooops! There was a problem while running this action";
    SimulatedResponse::json(500, &response::envelope(500, message, Value::Null, false))
}

fn blocked() -> SimulatedResponse {
    let page = "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE>\
                </HEAD><BODY><H1>403 ERROR</H1><H2>The request could not be satisfied.</H2>\
                Request blocked. Generated by cloudfront (CloudFront)</BODY></HTML>";
    let mut answer = SimulatedResponse::html(403, page)
        .with_header("Server", "CloudFront")
        .with_header("X-Cache", "Error from cloudfront");
    answer.headers.retain(|(name, _)| !matches!(name.as_str(), "Pragma" | "Expires"));
    answer
}

impl SimulatedResponse {
    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn in_pieces(mut self, chunk: usize, pause: Duration) -> Self {
        self.delivery.chunk = chunk;
        self.delivery.pause = pause;
        self
    }

    fn chunked(mut self) -> Self {
        self.delivery.framing = Framing::Chunked;
        self
    }

    fn cut(mut self, after: u64) -> Self {
        self.delivery.cut = Some(after);
        self
    }

    fn then_reset(mut self) -> Self {
        self.delivery.reset = true;
        self
    }

    fn gzipped(mut self) -> Self {
        let ResponseBody::Bytes(bytes) = &self.body else { return self };
        self.body = ResponseBody::Bytes(gzip(bytes));
        self.with_header("Content-Encoding", "gzip")
    }

    fn with_trailers(mut self) -> Self {
        self.delivery.trailers = vec![("X-Checksum".to_owned(), "none".to_owned())];
        self.chunked().with_header("Trailer", "X-Checksum")
    }
}

/// Wraps bytes as a gzip file without compressing them: valid, and needs no library.
fn gzip(plain: &[u8]) -> Bytes {
    let mut out = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let blocks = plain.chunks(0xffff).collect::<Vec<_>>();
    for (index, block) in blocks.iter().enumerate() {
        let length = block.len() as u16;
        out.push(u8::from(index + 1 == blocks.len()));
        out.extend(length.to_le_bytes());
        out.extend((!length).to_le_bytes());
        out.extend_from_slice(block);
    }
    if blocks.is_empty() {
        out.extend([1, 0, 0, 0xff, 0xff]);
    }
    out.extend(crc32fast::hash(plain).to_le_bytes());
    out.extend((plain.len() as u32).to_le_bytes());
    out.into()
}
