//! Why this machine cannot be a member of its fleet.

use crate::credentials::FleetSecretError;
use crate::problem::{Problem, ProblemDetails, ProblemKind};

/// Why this machine cannot be a member of its fleet.
#[derive(Debug, thiserror::Error)]
pub enum FleetError {
    /// A secret is missing or unusable.
    #[error(transparent)]
    Secret(#[from] FleetSecretError),
    /// The keys or the URL of the engine are not usable together.
    #[error("the section [fleet] cannot be used: {0}")]
    Unusable(String),
    /// A command without the daemon would act behind the back of the fleet.
    #[error("the session is shared with other machines, and no daemon runs here")]
    NeedsMember,
}

impl Problem for FleetError {
    fn details(&self) -> ProblemDetails {
        match self {
            Self::Secret(error) => error.details(),
            Self::Unusable(_) => ProblemKind::ConfigInvalid
                .with_hint("Correct the section [fleet], or set fleet.engine = \"\"."),
            Self::NeedsMember => ProblemKind::DaemonNotRunning.into(),
        }
    }
}
