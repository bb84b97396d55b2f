//! Tests of the session task, against a scripted issuer and a clock moved by hand.

mod harness;
mod killed;
mod logins;
mod origins;
mod requests;
mod restarts;
mod time;
mod writes;

use http::Method;

use crate::config::{SessionStore, UpstreamAuth};
use crate::credentials::{CredentialSource, Credentials, Login, SecondFactor};
use crate::secret::Secret;
use crate::session::refresh::endpoint::Probe;
use crate::session::refresh::token_response::TokenError;
use crate::session::status::SessionState;
use crate::session::{BodyKind, Cause, Error, OfflineSession, Session, UnauthorizedCause};

use self::harness::*;
