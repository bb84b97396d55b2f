//! Promises of the keeper, against a scripted issuer and a clock moved by hand.

mod killed;
mod logins;
mod origins;
mod requests;
mod restarts;
mod time;
mod world;
mod writes;

use http::Method;

use crate::config::Store;
use crate::credentials::{Credentials, Login, Origin, SecondFactor};
use crate::secret::Secret;
use crate::session::answer::Failure;
use crate::session::issuer::Probe;
use crate::session::view::Word;
use crate::session::{Body, Cause, Error, Session, Verdict, Visit};

use self::world::*;
