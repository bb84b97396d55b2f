//! What a member keeps on its own disk. The driver seals it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::Heard;
use crate::fence::Fence;
use crate::record::{Attempts, Epoch, Incarnation, Lock, Session};
use crate::register::{RecordSet, Register};

/// Everything that survives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// The highest fence that the member has seen.
    pub seen: Fence,
    /// The newest pair.
    pub session: Register<Session>,
    /// Whether that pair is not yet known to be in the engine.
    pub is_uncommitted: bool,
    /// The last login or logout.
    pub epoch: Register<Epoch>,
    /// Whether the fleet is locked.
    pub lock: Register<Lock>,
    /// Tries of the password.
    pub attempts: Register<Attempts>,
    /// The epoch in which this member knows that the password was refused. A newer record of attempts,
    /// by a member that did not know, does not take that back.
    #[serde(default)]
    pub refused_in: Option<Fence>,
    /// Clients and strays.
    pub set: RecordSet,
    /// A pair that lost its commit and is not yet a spare in the engine.
    pub lost: Option<(Fence, Session)>,
    /// A chain of the member's own.
    pub apart: Option<Apart>,
    /// The epoch in which the member has tried to open one.
    pub apart_tried: Option<Fence>,
    /// The names of this member's runs whose intents may still be open.
    pub mine: BTreeSet<Incarnation>,
    /// When the engine was last known to be current, rather too early than too late.
    #[serde(default)]
    pub heard: Option<Heard>,
}

/// A chain that a member opened while it was cut off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Apart {
    /// The epoch that it was opened in.
    pub epoch: Fence,
    /// Its newest pair.
    pub session: Session,
}
