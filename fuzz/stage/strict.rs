//! The strictest reader of HTTP/1.1: bytes that could be read in two ways are an error.

/// A whole message.
#[derive(Clone, Debug)]
pub struct Message {
    pub start: String,
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Length of the message in bytes.
    pub length: usize,
}

/// The beginning of some bytes.
#[derive(Debug)]
pub enum Read {
    Message(Message),
    /// A message without an error so far, and not complete.
    Partial,
    Wrong(&'static str),
}

impl Message {
    /// Returns the values of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        let named = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// Returns the value of a header that is there once.
    pub fn one(&self, name: &str) -> Option<&str> {
        match self.all(name)[..] {
            [value] => Some(value),
            _ => None,
        }
    }

    /// Returns a request's method.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or_default()
    }

    /// Returns a request's target.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }
}

/// Reads requests as long as they are well-formed and whole.
pub fn requests(bytes: &[u8]) -> Vec<Message> {
    let mut left = bytes;
    let mut all = vec![];
    while let Read::Message(message) = request(left) {
        left = &left[message.length..];
        let is_last = message.start.ends_with("HTTP/1.0") || !message.all("connection").is_empty();
        all.push(message);
        if is_last {
            break;
        }
    }
    all
}

/// Reads a request.
pub fn request(bytes: &[u8]) -> Read {
    let head = match head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Read::Partial,
        Err(why) => return Read::Wrong(why),
    };
    let parts: Vec<&str> = head.start.split(' ').collect();
    let [method, target, version] = parts[..] else { return Read::Wrong("a request line") };
    if !is_token(method) || target.is_empty() || !matches!(version, "HTTP/1.1" | "HTTP/1.0") {
        return Read::Wrong("a request line");
    }
    body(bytes, head, Some(0))
}

/// Reads a response. Without knowing whether it is one to HEAD, it has a body if one follows.
pub fn response(bytes: &[u8], to_head: Option<bool>) -> Read {
    let head = match head(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return Read::Partial,
        Err(why) => return Read::Wrong(why),
    };
    let status = match head.start.as_bytes() {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1' | b'0', b' ', status @ ..] => status,
        _ => return Read::Wrong("a status line"),
    };
    let ([a @ b'1'..=b'5' | a @ b'6'..=b'9', b, c] | [a @ b'1'..=b'9', b, c, b' ', ..]) = status
    else {
        return Read::Wrong("a status line");
    };
    if !b.is_ascii_digit() || !c.is_ascii_digit() {
        return Read::Wrong("a status");
    }
    let rest = &bytes[head.length..];
    let follows = to_head.map_or(!rest.is_empty() && !rest.starts_with(b"HTTP/1."), |it| !it);
    let has_none = *a == b'1' || matches!([*a, *b, *c], [b'2', b'0', b'4'] | [b'3', b'0', b'4']);
    if has_none || !follows { Read::Message(head) } else { body(bytes, head, None) }
}

/// Reads the body that a head announces. Without a length the body is as long as `otherwise`, or ends
/// with the connection.
fn body(bytes: &[u8], mut head: Message, otherwise: Option<usize>) -> Read {
    let (lengths, codings) = (head.all("content-length"), head.all("transfer-encoding"));
    let rest = &bytes[head.length..];
    let taken = match (&lengths[..], &codings[..]) {
        ([], []) => otherwise.unwrap_or(rest.len()),
        ([length], []) => {
            let is_number = !length.is_empty() && length.bytes().all(|byte| byte.is_ascii_digit());
            let Some(length) = length.parse().ok().filter(|_| is_number) else {
                return Read::Wrong("a length");
            };
            length
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => {
            return match chunks(rest) {
                Ok(Some((body, length))) => {
                    head.length += length;
                    Read::Message(Message { body, ..head })
                }
                Ok(None) => Read::Partial,
                Err(why) => Read::Wrong(why),
            };
        }
        _ => return Read::Wrong("an ambiguous length"),
    };
    let Some(body) = rest.get(..taken) else { return Read::Partial };
    head.body = body.to_vec();
    head.length += taken;
    Read::Message(head)
}

fn head(bytes: &[u8]) -> Result<Option<Message>, &'static str> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    // A byte is a character: values may hold any but controls.
    let text: String = bytes[..end].iter().copied().map(char::from).collect();
    let mut lines = text.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let mut fields = vec![];
    for line in lines {
        let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
        if !is_token(name) {
            return Err("a field name");
        }
        fields.push((name.to_owned(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let is_control = |byte: u8| byte.is_ascii_control() && byte != b'\t';
    if start.bytes().any(|byte| byte.is_ascii_control())
        || fields.iter().any(|(_, value)| value.bytes().any(is_control))
    {
        return Err("a control character");
    }
    Ok(Some(Message { start, fields, body: vec![], length: end + 4 }))
}

/// Reads chunks without extensions, up to the last one, without trailers.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, &'static str> {
    let mut body = vec![];
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
            return Ok(None);
        };
        let digits = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "a chunk size")?;
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err("a chunk size");
        }
        let size = usize::from_str_radix(digits, 16).map_err(|_| "a chunk size")?;
        let start = at + end + 2;
        let Some(after) = start.checked_add(size) else { return Err("a chunk size") };
        let Some(mark) = bytes.get(after..).and_then(|rest| rest.get(..2)) else { return Ok(None) };
        if mark != b"\r\n" {
            return Err("the end of a chunk");
        }
        body.extend_from_slice(&bytes[start..after]);
        at = after + 2;
        if size == 0 {
            return Ok(Some((body, at)));
        }
    }
}

fn is_token(text: &str) -> bool {
    let is_mark = |byte: u8| b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || is_mark(byte))
}
