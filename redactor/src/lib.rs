//! Rewrites strings of a JSON text as it streams through.
//!
//! [`Rewriter::write`] takes the text in pieces of any size and appends what may be passed on. The
//! caller's [`Rules`] see each key once, with the [`Scope`] of the object around it, and each string
//! in a scope that asks for it, without its escapes. What the rules do not change is copied byte for
//! byte.
//!
//! Only whole, understood tokens are passed on. A text that is not JSON ends with an [`Error`]; the
//! caller then cuts its response off. The state stays below 1 MiB, whatever the text: values that
//! are too long to be looked at as a whole are looked at in parts, or become `null`.

mod cursor;
mod error;
mod escape;
mod key_cache;
mod machine;
mod rewriter;
mod rules;
mod scalar;
mod string_value;
mod summary;
mod transcoder;

pub use self::error::Error;
pub use self::escape::write_escaped;
pub use self::rewriter::Rewriter;
pub use self::rules::{Action, Outcome, Rules, Scope};
pub use self::summary::Summary;
