//! Turns a deed into a reply: from nothing, or by spoiling the genuine answer.

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
            answer = SimulatedResponse::with_body(*status, None, body.clone().into());
            answer.headers.extend(filling.headers(headers));
        }
        FaultAction::AnswerUnread { status } => {
            answer = SimulatedResponse::empty(*status).with_header("Connection", "close");
        }
        FaultAction::Headers(headers) => answer.headers.extend(filling.headers(headers)),
        FaultAction::Hang => return Outcome::Hang,
        FaultAction::Close | FaultAction::CloseUnread => return Outcome::Close,
        FaultAction::Reset | FaultAction::ResetUnread => return Outcome::Reset,
        FaultAction::SlowBody { chunk, pause } => {
            answer.delivery.chunk = *chunk;
            answer.delivery.pause = *pause;
        }
        FaultAction::Truncate { after } => answer.delivery.cut = Some(*after),
        FaultAction::TruncateChunked { after } => {
            answer.delivery.framing = Framing::Chunked;
            answer.delivery.cut = Some(*after);
        }
        FaultAction::ResetInBody { after } => {
            answer.delivery.cut = Some(*after);
            answer.delivery.reset = true;
        }
        FaultAction::Chunked => answer.delivery.framing = Framing::Chunked,
        FaultAction::UntilClose => answer.delivery.framing = Framing::UntilClose,
        FaultAction::CloseAfter => answer.delivery.close_after = true,
        FaultAction::Raw(text) => return Outcome::Raw(text.clone().into()),
        FaultAction::MalformedHead => {
            return Outcome::Raw("HTTP/1.1 two hundred\r\nno colon here\r\n\r\n{}".into());
        }
        FaultAction::DoubleLength => answer.delivery.framing = Framing::DoubleLength,
        FaultAction::LengthAndChunked => answer.delivery.framing = Framing::LengthAndChunked,
        FaultAction::SwitchProtocols => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                        Upgrade: websocket\r\n\r\n";
            return Outcome::Raw(head.into());
        }
        FaultAction::EarlyHints => answer.delivery.early_hints = true,
        FaultAction::Redirect(to) => {
            answer = SimulatedResponse::html(302, "<h2>Object moved</h2>")
                .with_header("Location", filling.fill(to));
        }
        FaultAction::LoginPage => answer = SimulatedResponse::html(200, response::login_page()),
        FaultAction::Blocked => answer = blocked(),
        FaultAction::HtmlError(status) => {
            answer = SimulatedResponse::html(*status, response::error_page(*status))
        }
        FaultAction::Gzip => {
            if let ResponseBody::Bytes(bytes) = &answer.body {
                answer.body = ResponseBody::Bytes(gzip(bytes));
                answer = answer.with_header("Content-Encoding", "gzip");
            }
        }
        FaultAction::Trailers => {
            answer.delivery.framing = Framing::Chunked;
            answer.delivery.trailers = vec![("X-Checksum".to_owned(), "none".to_owned())];
            answer = answer.with_header("Trailer", "X-Checksum");
        }
        FaultAction::Huge(bytes) => {
            answer = SimulatedResponse::with_body(200, Some("application/json"), Bytes::new());
            answer.body = ResponseBody::Pattern(*bytes);
        }
        FaultAction::Empty => answer = SimulatedResponse::empty(200),
        FaultAction::Nonsense => {
            let body = Bytes::from_static(b"{\"access_token\": oops");
            answer =
                SimulatedResponse::with_body(200, Some("application/json; charset=utf-8"), body);
        }
        FaultAction::BusinessFailure => answer = business(200),
        FaultAction::BusinessError => answer = business(500),
        FaultAction::Conflict => {
            let body = json!({"Message": "This record was changed by another user."});
            answer = SimulatedResponse::json(409, &body);
        }
        FaultAction::Invalid => answer = response::invalid("Name"),
    }
    Outcome::Answer(answer)
}

fn business(status: u16) -> SimulatedResponse {
    let message = "This resource is not available at that time.";
    SimulatedResponse::json(200, &response::envelope(status, message, Value::Null, false))
        .status(status)
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
