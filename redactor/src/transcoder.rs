//! The encodings of a JSON text: UTF-8 passes, UTF-16 and UTF-32 become UTF-8.
//!
//! RFC 8259 wants UTF-8. A text in another encoding would look like no text that a rule knows, and
//! many clients decode it all the same.

use super::Error;

/// Finds out the encoding from the first bytes, and converts.
#[derive(Debug)]
pub(crate) struct Transcoder {
    encoding: Encoding,
    /// The first bytes, or those of a character that is not complete.
    held: Vec<u8>,
    /// The first half of a pair of surrogates.
    surrogate: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Unknown,
    Utf8,
    /// Bytes of a unit, and whether the lowest comes first.
    Wide {
        width: usize,
        is_little: bool,
    },
}

impl Transcoder {
    pub(crate) fn new() -> Self {
        Self { encoding: Encoding::Unknown, held: Vec::new(), surrogate: None }
    }

    /// Says whether the text is UTF-8, and needs no conversion from here on.
    pub(crate) fn is_utf8(&self) -> bool {
        self.encoding == Encoding::Utf8
    }

    /// Appends this piece of the text in UTF-8; `is_last`: nothing follows.
    pub(crate) fn convert(
        &mut self,
        input: &[u8],
        is_last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.held.extend_from_slice(input);
        if self.encoding == Encoding::Unknown {
            if self.held.len() < 4 && !is_last {
                return Ok(());
            }
            let (encoding, mark) = detect(&self.held);
            self.encoding = encoding;
            self.held.drain(..mark);
        }
        match self.encoding {
            Encoding::Unknown | Encoding::Utf8 => out.append(&mut self.held),
            Encoding::Wide { width, is_little } => {
                let whole = self.held.len() - self.held.len() % width;
                for unit in self.held[..whole].chunks_exact(width) {
                    push_unit(unit, is_little, &mut self.surrogate, out)?;
                }
                self.held.drain(..whole);
            }
        }
        let is_cut = !self.held.is_empty() || self.surrogate.is_some();
        if is_last && is_cut { Err(Error::Encoding) } else { Ok(()) }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.held.capacity()
    }
}

/// Returns the encoding and the length of the byte order mark. A JSON text begins with an ASCII
/// character, so that the zeros among its first bytes tell the encoding without a mark too.
fn detect(start: &[u8]) -> (Encoding, usize) {
    let wide = |width, is_little| Encoding::Wide { width, is_little };
    match start {
        [0xef, 0xbb, 0xbf, ..] => (Encoding::Utf8, 3),
        [0xff, 0xfe, 0, 0, ..] => (wide(4, true), 4),
        [0, 0, 0xfe, 0xff, ..] => (wide(4, false), 4),
        [0xff, 0xfe, ..] => (wide(2, true), 2),
        [0xfe, 0xff, ..] => (wide(2, false), 2),
        [0, 0, 0, _, ..] => (wide(4, false), 0),
        [_, 0, 0, 0, ..] => (wide(4, true), 0),
        [0, _, ..] => (wide(2, false), 0),
        [_, 0, ..] => (wide(2, true), 0),
        _ => (Encoding::Utf8, 0),
    }
}

fn push_unit(
    unit: &[u8],
    is_little: bool,
    surrogate: &mut Option<u32>,
    out: &mut Vec<u8>,
) -> Result<(), Error> {
    let add = |sum: u32, byte: &u8| (sum << 8) | u32::from(*byte);
    let code = if is_little { unit.iter().rev().fold(0, add) } else { unit.iter().fold(0, add) };
    let code = match surrogate.take() {
        Some(high) if unit.len() == 2 && (0xdc00..0xe000).contains(&code) => {
            0x1_0000 + ((high - 0xd800) << 10) + (code - 0xdc00)
        }
        Some(_) => return Err(Error::Encoding),
        None if unit.len() == 2 && (0xd800..0xdc00).contains(&code) => {
            *surrogate = Some(code);
            return Ok(());
        }
        None => code,
    };
    let letter = char::from_u32(code).ok_or(Error::Encoding)?;
    out.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "{\"é\":\"😀\"}";

    fn convert(bytes: &[u8], piece: usize) -> Result<String, Error> {
        let (mut transcoder, mut out) = (Transcoder::new(), vec![]);
        for piece in bytes.chunks(piece) {
            transcoder.convert(piece, false, &mut out)?;
        }
        transcoder.convert(b"", true, &mut out)?;
        String::from_utf8(out).map_err(|_| Error::Encoding)
    }

    #[test]
    fn every_encoding_becomes_utf_8() {
        let wide16 = |order: fn(u16) -> [u8; 2]| TEXT.encode_utf16().flat_map(order).collect();
        let wide32 =
            |order: fn(u32) -> [u8; 4]| TEXT.chars().map(u32::from).flat_map(order).collect();
        let all: [(Vec<u8>, &[u8]); 5] = [
            (TEXT.as_bytes().to_vec(), b"\xef\xbb\xbf"),
            (wide16(u16::to_le_bytes), b"\xff\xfe"),
            (wide16(u16::to_be_bytes), b"\xfe\xff"),
            (wide32(u32::to_le_bytes), b"\xff\xfe\0\0"),
            (wide32(u32::to_be_bytes), b"\0\0\xfe\xff"),
        ];
        for (bytes, mark) in all {
            for piece in 1..6 {
                assert_eq!(convert(&bytes, piece).unwrap(), TEXT);
                assert_eq!(convert(&[mark, &bytes].concat(), piece).unwrap(), TEXT);
            }
        }
    }

    #[test]
    fn what_is_cut_or_unpaired_is_refused() {
        for bytes in
            [&b"{\0}"[..], b"\xff\xfe\x00\xd8{\0", b"\xff\xfe\x00\xdc", b"\0\0\xfe\xff\0\x11\0\0"]
        {
            assert_eq!(convert(bytes, 9), Err(Error::Encoding), "{bytes:?}");
        }
        for short in ["", "1", "{}", "[1]"] {
            assert_eq!(convert(short.as_bytes(), 1).unwrap(), short);
        }
    }
}
