//! Where the frames of a WebSocket begin and end (RFC 6455 §5.2), and the ping between two of them.
//!
//! Payloads are neither read nor kept: only the lengths in the headers are followed.

/// The place in a stream of frames that has been reached.
#[derive(Debug, Default)]
pub(super) struct FramePosition {
    /// The bytes of a header that has come in part.
    header: [u8; MAX_HEADER],
    header_length: usize,
    payload_left: u64,
}

/// The end that a ping goes to: only a client's frames are masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PingTo {
    Client,
    Host,
}

impl FramePosition {
    /// Follows bytes that pass.
    pub(super) fn follow(&mut self, mut bytes: &[u8]) {
        while let Some(&first) = bytes.first() {
            if self.payload_left > 0 {
                let passed =
                    bytes.len().min(usize::try_from(self.payload_left).unwrap_or(usize::MAX));
                self.payload_left -= passed as u64;
                bytes = &bytes[passed..];
                continue;
            }
            self.header[self.header_length] = first;
            self.header_length += 1;
            bytes = &bytes[1..];
            if let Some(payload) = self.payload_length() {
                (self.header_length, self.payload_left) = (0, payload);
            }
        }
    }

    /// Returns whether a frame may be put in here. A control frame may stand between the fragments
    /// of a message (RFC 6455 §5.4).
    pub(super) fn is_between_frames(&self) -> bool {
        self.header_length == 0 && self.payload_left == 0
    }

    /// Returns the length of the payload once the header is complete.
    fn payload_length(&self) -> Option<u64> {
        let [_, second, rest @ ..] = &self.header;
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let (extended, length) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([rest[0], rest[1]]))),
            127 => (8, u64::from_be_bytes(rest[..8].try_into().ok()?)),
            length => (0, u64::from(length)),
        };
        (self.header_length >= 2 && self.header_length == 2 + extended + mask).then_some(length)
    }
}

impl PingTo {
    /// Returns a ping without a payload.
    pub(super) fn frame(self) -> Vec<u8> {
        match self {
            Self::Client => vec![FIN_PING, 0],
            Self::Host => [&[FIN_PING, 0x80][..], &fastrand::u32(..).to_be_bytes()].concat(),
        }
    }
}

/// A whole ping.
const FIN_PING: u8 = 0x89;

/// The longest header: two bytes, eight of length, four of mask.
const MAX_HEADER: usize = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_followed_in_pieces_of_every_size() {
        let frame = |length: usize, is_masked: bool| {
            let mask = if is_masked { 0x80 } else { 0 };
            let mut frame = match length {
                0..126 => vec![0x82, mask | length as u8],
                126..65_536 => [&[0x82, mask | 126][..], &(length as u16).to_be_bytes()].concat(),
                _ => [&[0x82, mask | 127][..], &(length as u64).to_be_bytes()].concat(),
            };
            frame.resize(frame.len() + length + if is_masked { 4 } else { 0 }, 0xff);
            frame
        };
        for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
            for (is_masked, piece) in [(false, 1), (true, 1), (false, 7), (true, 4_096)] {
                let bytes = frame(length, is_masked);
                let mut position = FramePosition::default();
                let mut passed = 0;
                for piece in bytes.chunks(piece) {
                    position.follow(piece);
                    passed += piece.len();
                    let is_whole = passed == bytes.len();
                    assert_eq!(position.is_between_frames(), is_whole, "{length} {passed}");
                }
                position.follow(&[bytes.clone(), bytes].concat());
                assert!(position.is_between_frames());
            }
        }
    }

    #[test]
    fn a_ping_is_one_whole_frame_and_masked_for_the_host_alone() {
        for (to, length) in [(PingTo::Client, 2), (PingTo::Host, 6)] {
            let mut position = FramePosition::default();
            let frame = to.frame();
            position.follow(&frame);
            assert!(position.is_between_frames());
            assert_eq!((frame.len(), frame[1] & 0x80 != 0), (length, to == PingTo::Host));
        }
    }
}
