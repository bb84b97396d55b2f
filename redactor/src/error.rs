//! Why a text cannot be rewritten. No error repeats anything of the text.

/// Why a text cannot be rewritten to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is no JSON (RFC 8259).
    #[error("the text is not JSON")]
    Syntax,
    /// The text ends before its value does.
    #[error("the JSON text ends in the middle")]
    Incomplete,
    /// The text is neither UTF-8 nor UTF-16 nor UTF-32.
    #[error("the JSON text has an invalid character encoding")]
    Encoding,
    /// More than [`Error::MAX_DEPTH`] arrays and objects are open.
    #[error("the JSON text is nested too deeply")]
    TooDeep,
    /// A key or a number is longer than any real one.
    #[error("the JSON text has a key or a number that is too long")]
    TooLong,
}

impl Error {
    /// Most arrays and objects inside each other. Each costs six bytes.
    pub const MAX_DEPTH: usize = 65_536;
}
