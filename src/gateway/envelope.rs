//! Finds `"WasSuccessful": false` in a response that passes by: Nexudus gives refused actions a
//! status of success too.
//!
//! The body is neither held nor delayed. The scan looks for the name alone, which costs next to
//! nothing; only from there on it reads on to the end of the object, to know whether that object is
//! the whole body. In valid JSON the name in quotation marks can be nothing but a key, or a string
//! that no colon follows.

use std::sync::LazyLock;

use http::header::CONTENT_TYPE;
use http::response::Parts;
use http_body::SizeHint;
use memchr::memmem::Finder;

use super::content::is_plain;

/// A scan of one body.
#[derive(Clone, Copy, Debug)]
pub(super) struct EnvelopeScan {
    state: ScanState,
    /// How many more bytes are looked at.
    left: u32,
    /// The last bytes of the data so far: the name may come in two pieces.
    tail: [u8; NAME.len() - 1],
    tail_length: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ScanState {
    /// The name has not come.
    Searching,
    /// The name has come: a colon must follow.
    Colon,
    /// The colon has come: `false` must follow, of which so many letters are here.
    Value(u8),
    /// The value is `false`: what follows is skipped to the end of the object.
    Rest(Nesting),
    /// The object has ended, and nothing but blanks has followed.
    Closed,
    /// The body is too long for an envelope.
    TooLong,
}

/// A place in JSON, from an object on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Nesting {
    /// How many objects and arrays deeper.
    depth: u32,
    in_string: bool,
    is_escaped: bool,
}

/// Says whether the body that follows a head can be an envelope.
pub(super) fn can_be_envelope(head: &Parts, size: &SizeHint) -> bool {
    head.status.is_success()
        && size.exact() != Some(0)
        && size.lower() <= u64::from(MAX_ENVELOPE)
        && head.headers.get(CONTENT_TYPE).is_some_and(|it| is_json(it.as_bytes()))
        && is_plain(&head.headers)
}

impl EnvelopeScan {
    /// Begins before the first byte of a body.
    pub(super) fn new() -> Self {
        let tail = [0; NAME.len() - 1];
        Self { state: ScanState::Searching, left: MAX_ENVELOPE, tail, tail_length: 0 }
    }

    /// Reads the next data. Returns whether the body, if it ended here, would be an envelope that
    /// tells a failure.
    pub(super) fn read(&mut self, mut data: &[u8]) -> bool {
        let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => self.state = ScanState::TooLong,
        }
        while let Some((&byte, rest)) = data.split_first() {
            data = match self.state {
                ScanState::TooLong => return false,
                ScanState::Searching => self.search(data),
                ScanState::Colon | ScanState::Value(_) | ScanState::Rest(_) | ScanState::Closed => {
                    self.step(byte);
                    rest
                }
            };
        }
        self.state == ScanState::Closed
    }

    /// Looks for the name, and returns the data behind it; none if it has not come.
    fn search<'a>(&mut self, data: &'a [u8]) -> &'a [u8] {
        let mut joined = [0; 2 * (NAME.len() - 1)];
        let (before, more) = (usize::from(self.tail_length), data.len().min(NAME.len() - 1));
        joined[..before].copy_from_slice(&self.tail[..before]);
        joined[before..before + more].copy_from_slice(&data[..more]);
        let end = match find_name(&joined[..before + more]) {
            // What is wholly in the tail would have been found before.
            Some(end) => Some(end - before),
            None => find_name(data),
        };
        if let Some(end) = end {
            (self.state, self.tail_length) = (ScanState::Colon, 0);
            return &data[end..];
        }
        if let Some(last) = data.last_chunk() {
            (self.tail, self.tail_length) = (*last, last.len() as u8);
        } else {
            let kept = (before + more).min(self.tail.len());
            self.tail[..kept].copy_from_slice(&joined[before + more - kept..before + more]);
            self.tail_length = kept as u8;
        }
        &[]
    }

    /// Takes one byte behind the name.
    fn step(&mut self, byte: u8) {
        self.state = match self.state {
            ScanState::Rest(nesting) => nesting.step(byte),
            state @ (ScanState::Colon | ScanState::Value(0) | ScanState::Closed)
                if byte.is_ascii_whitespace() =>
            {
                state
            }
            ScanState::Colon if byte == b':' => ScanState::Value(0),
            ScanState::Value(had) if byte == FALSE[usize::from(had)] => {
                match usize::from(had + 1) == FALSE.len() {
                    true => ScanState::Rest(Nesting::default()),
                    false => ScanState::Value(had + 1),
                }
            }
            ScanState::TooLong => ScanState::TooLong,
            // Another value, or an object inside of another: the name may come again.
            ScanState::Searching | ScanState::Colon | ScanState::Value(_) | ScanState::Closed => {
                ScanState::Searching
            }
        };
    }
}

impl Nesting {
    /// Takes one byte of the object behind the value that was looked for.
    fn step(self, byte: u8) -> ScanState {
        let Self { depth, in_string, is_escaped } = self;
        if in_string {
            return ScanState::Rest(Self {
                in_string: byte != b'"' || is_escaped,
                is_escaped: byte == b'\\' && !is_escaped,
                ..self
            });
        }
        match byte {
            b'"' => ScanState::Rest(Self { in_string: true, ..self }),
            b'{' | b'[' => ScanState::Rest(Self { depth: depth + 1, ..self }),
            b'}' | b']' if depth == 0 => ScanState::Closed,
            b'}' | b']' => ScanState::Rest(Self { depth: depth - 1, ..self }),
            _ => ScanState::Rest(self),
        }
    }
}

/// Returns where the name ends.
fn find_name(data: &[u8]) -> Option<usize> {
    // .NET writes names in either case of their first letter.
    static REST: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(&NAME[2..]));
    REST.find_iter(data)
        .find(|&at| at >= 2 && data[at - 2] == NAME[0] && matches!(data[at - 1], b'W' | b'w'))
        .map(|at| at + NAME.len() - 2)
}

fn is_json(content_type: &[u8]) -> bool {
    let end = content_type.iter().position(|&byte| byte == b';').unwrap_or(content_type.len());
    let essence = content_type[..end].trim_ascii();
    let ends = |suffix: &[u8]| {
        essence.len() >= suffix.len()
            && essence[essence.len() - suffix.len()..].eq_ignore_ascii_case(suffix)
    };
    ends(b"/json") || ends(b"+json")
}

const NAME: &[u8; 15] = b"\"WasSuccessful\"";
const FALSE: &[u8; 5] = b"false";

/// Longest body that is looked at: real envelopes have less than 4 KiB.
const MAX_ENVELOPE: u32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads `body` in pieces of `size` bytes.
    fn read(body: &str, size: usize) -> bool {
        let mut scan = EnvelopeScan::new();
        body.as_bytes().chunks(size).fold(false, |_, piece| scan.read(piece))
    }

    #[test]
    fn only_an_envelope_that_tells_a_failure_is_one_in_whatever_pieces_it_comes() {
        let deep = "[".repeat(300) + &"]".repeat(300);
        for (body, is_failure) in [
            (r#"{"Status":500,"Message":"no","WasSuccessful":false}"#, true),
            (r#"{"WasSuccessful":false}"#, true),
            ("{ \"WasSuccessful\" :\r\n\tfalse , \"Value\" : null }\r\n", true),
            (r#"{"wasSuccessful":false,"Value":{"a":["}",{"b":"\"]}\\"}]}}"#, true),
            (&format!(r#"{{"WasSuccessful":false,"Value":{deep}}}"#), true),
            (r#"{"Value":{"WasSuccessful":true},"WasSuccessful":false}"#, true),
            (r#"{"Value":[{"WasSuccessful":false}],"WasSuccessful":false}"#, true),
            (r#"{"Value":"WasSuccessful","WasSuccessful":false}"#, true),
            (r#"{"a":"asSuccessful","XasSuccessful":false}"#, false),
            (r#"{"WasSuccessful":true}"#, false),
            (r#"{"WasSuccessful":"false"}"#, false),
            (r#"{"WasSuccessful":fals"#, false),
            (r#"{"WasSuccessful":false"#, false),
            (r#"{"WasSuccessful":false,"Value":{}"#, false),
            (r#"{"WasSuccessful":null}"#, false),
            (r#"{"Value":{"WasSuccessful":false},"WasSuccessful":true}"#, false),
            (r#"{"Records":[{"WasSuccessful":false}]}"#, false),
            (r#"[{"WasSuccessful":false}]"#, false),
            (r#"{"WasSuccessful":false}{}"#, false),
            (r#"{"Message":"\"WasSuccessful\":false"}"#, false),
            (r#"{"NotWasSuccessful":false}"#, false),
            ("", false),
        ] {
            for size in 1..=body.len().max(1) {
                assert_eq!(read(body, size), is_failure, "{body} in pieces of {size}");
            }
        }
    }

    #[test]
    fn a_long_body_is_no_envelope() {
        let envelope = r#"{"WasSuccessful":false}"#;
        let padded = |length: usize| format!("{envelope}{}", " ".repeat(length - envelope.len()));

        let most = MAX_ENVELOPE as usize;
        for size in [1_000, most + 1] {
            assert!(read(&padded(most), size));
            assert!(!read(&padded(most + 1), size));
        }
    }

    #[test]
    fn what_can_be_no_envelope_is_not_looked_at() {
        let can_be = |status: u16, fields: &[(&str, &str)], size: SizeHint| {
            let head = http::Response::builder().status(status);
            let head = fields.iter().fold(head, |head, (name, value)| head.header(*name, *value));
            let (head, ()) = head.body(()).unwrap().into_parts();
            can_be_envelope(&head, &size)
        };
        let json = ("content-type", "Application/JSON");

        assert!(can_be(200, &[json], SizeHint::with_exact(64 << 10)));
        assert!(can_be(201, &[json, ("content-encoding", "identity")], SizeHint::new()));
        assert!(can_be(200, &[("content-type", "application/problem+json;x")], SizeHint::new()));
        assert!(!can_be(200, &[json], SizeHint::with_exact((64 << 10) + 1)));
        assert!(!can_be(200, &[json], SizeHint::with_exact(0)));
        assert!(!can_be(500, &[json], SizeHint::new()));
        assert!(!can_be(200, &[json, ("content-encoding", "gzip")], SizeHint::new()));
        assert!(!can_be(200, &[("content-type", "text/html")], SizeHint::new()));
        assert!(!can_be(200, &[("content-type", "application/jsonx")], SizeHint::new()));
        assert!(!can_be(200, &[], SizeHint::new()));
    }
}
