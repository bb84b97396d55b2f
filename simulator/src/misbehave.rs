//! Turns a deed into a reply: from nothing, or by spoiling the genuine answer.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{self, Answer, Body, Framing, Reply};
use crate::checksum::Crc32;
use crate::fault::Deed;

/// What header values can be filled with.
pub(crate) struct Filling<'a> {
    pub(crate) token: &'a str,
    pub(crate) origin: &'a str,
}

impl Filling<'_> {
    fn fill(&self, text: &str) -> String {
        text.replace("{token}", self.token).replace("{origin}", self.origin)
    }

    fn headers(&self, headers: &[(String, String)]) -> Vec<(String, String)> {
        headers.iter().map(|(name, value)| (name.clone(), self.fill(value))).collect()
    }
}

/// Commits a deed. `genuine` is the answer the request would have had.
pub(crate) fn commit(deed: &Deed, genuine: Answer, filling: &Filling<'_>) -> Reply {
    let mut answer = genuine;
    match deed {
        Deed::Pass => {}
        Deed::Answer { status, headers, body } => {
            answer = Answer::with_body(*status, None, body.clone().into());
            answer.headers.extend(filling.headers(headers));
        }
        Deed::AnswerUnread { status } => {
            answer = Answer::empty(*status).header("Connection", "close");
        }
        Deed::Headers(headers) => answer.headers.extend(filling.headers(headers)),
        Deed::Hang => return Reply::Hang,
        Deed::Close | Deed::CloseUnread => return Reply::Close,
        Deed::Reset | Deed::ResetUnread => return Reply::Reset,
        Deed::SlowBody { chunk, pause } => {
            answer.delivery.chunk = *chunk;
            answer.delivery.pause = *pause;
        }
        Deed::Truncate { after } => answer.delivery.cut = Some(*after),
        Deed::TruncateChunked { after } => {
            answer.delivery.framing = Framing::Chunked;
            answer.delivery.cut = Some(*after);
        }
        Deed::ResetInBody { after } => {
            answer.delivery.cut = Some(*after);
            answer.delivery.reset = true;
        }
        Deed::Chunked => answer.delivery.framing = Framing::Chunked,
        Deed::UntilClose => answer.delivery.framing = Framing::UntilClose,
        Deed::CloseAfter => answer.delivery.close_after = true,
        Deed::Raw(text) => return Reply::Raw(text.clone().into()),
        Deed::MalformedHead => {
            return Reply::Raw("HTTP/1.1 two hundred\r\nno colon here\r\n\r\n{}".into());
        }
        Deed::DoubleLength => answer.delivery.framing = Framing::DoubleLength,
        Deed::LengthAndChunked => answer.delivery.framing = Framing::LengthAndChunked,
        Deed::SwitchProtocols => {
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                        Upgrade: websocket\r\n\r\n";
            return Reply::Raw(head.into());
        }
        Deed::EarlyHints => answer.delivery.early_hints = true,
        Deed::Redirect(to) => {
            answer =
                Answer::html(302, "<h2>Object moved</h2>").header("Location", filling.fill(to));
        }
        Deed::LoginPage => answer = Answer::html(200, answer::login_page()),
        Deed::Blocked => answer = blocked(),
        Deed::HtmlError(status) => answer = Answer::html(*status, answer::error_page(*status)),
        Deed::Gzip => {
            if let Body::Bytes(bytes) = &answer.body {
                answer.body = Body::Bytes(gzip(bytes));
                answer = answer.header("Content-Encoding", "gzip");
            }
        }
        Deed::Trailers => {
            answer.delivery.framing = Framing::Chunked;
            answer.delivery.trailers = vec![("X-Checksum".to_owned(), "none".to_owned())];
            answer = answer.header("Trailer", "X-Checksum");
        }
        Deed::Huge(bytes) => {
            answer = Answer::with_body(200, Some("application/json"), Bytes::new());
            answer.body = Body::Pattern(*bytes);
        }
        Deed::Empty => answer = Answer::empty(200),
        Deed::Nonsense => {
            let body = Bytes::from_static(b"{\"access_token\": oops");
            answer = Answer::with_body(200, Some("application/json; charset=utf-8"), body);
        }
        Deed::BusinessFailure => answer = business(200),
        Deed::BusinessError => answer = business(500),
        Deed::Conflict => {
            let body = json!({"Message": "This record was changed by somebody else."});
            answer = Answer::json(409, &body);
        }
        Deed::Invalid => answer = answer::invalid("Name"),
    }
    Reply::Answer(answer)
}

fn business(status: u16) -> Answer {
    let message = "This resource is not available at that time.";
    Answer::json(200, &answer::envelope(status, message, Value::Null, false)).status(status)
}

fn blocked() -> Answer {
    let page = "<!DOCTYPE HTML><HTML><HEAD><TITLE>ERROR: The request could not be satisfied</TITLE>\
                </HEAD><BODY><H1>403 ERROR</H1><H2>The request could not be satisfied.</H2>\
                Request blocked. Generated by cloudfront (CloudFront)</BODY></HTML>";
    let mut answer = Answer::html(403, page)
        .header("Server", "CloudFront")
        .header("X-Cache", "Error from cloudfront");
    answer.headers.retain(|(name, _)| !matches!(name.as_str(), "Pragma" | "Expires"));
    answer
}

impl Answer {
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
    let mut crc32 = Crc32::default();
    crc32.update(plain);
    out.extend(crc32.value().to_le_bytes());
    out.extend((plain.len() as u32).to_le_bytes());
    out.into()
}
