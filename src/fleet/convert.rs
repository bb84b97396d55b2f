//! Between the types of the protocol and ours. The one place of this module that sees a secret in the
//! clear.

use std::time::Duration;

use shared_session::decide::Block;
use shared_session::fence::Fence;
use shared_session::member::{Grant, GrantError};
use shared_session::record;
use shared_session::secret::Secret as SharedSecret;

use super::{Chains, Need, Pair, RedeemError, Redeemed, Redemption};
use crate::secret::Secret;

pub(super) fn to_shared(secret: &Secret) -> SharedSecret {
    SharedSecret::new(secret.expose())
}

pub(super) fn from_shared(secret: &SharedSecret) -> Secret {
    Secret::new(secret.expose())
}

pub(super) fn session(pair: &Pair) -> record::Session {
    record::Session {
        client_id: pair.client_id.clone(),
        account: pair.account.clone().unwrap_or_default(),
        access: to_shared(&pair.access),
        refresh: pair.refresh.as_ref().map(to_shared),
        issued: pair.received,
        lifetime: millis(pair.lifetime),
        by_password: true,
        root: Fence::ZERO,
    }
}

pub(super) fn redemption(wanted: &shared_session::member::Redemption) -> Redemption {
    Redemption {
        client_id: wanted.client_id.clone(),
        refresh: wanted.refresh.as_ref().map(from_shared),
        is_apart: wanted.is_apart,
        starts_before: wanted.starts_before,
    }
}

pub(super) fn grant(redeemed: Result<Redeemed, RedeemError>) -> Result<Grant, GrantError> {
    match redeemed {
        Ok(redeemed) => Ok(Grant {
            access: to_shared(&redeemed.access),
            refresh: redeemed.refresh.as_ref().map(to_shared),
            lifetime: redeemed.lifetime,
            account: redeemed.account,
        }),
        Err(RedeemError::Refused) => Err(GrantError::Refused),
        Err(RedeemError::NotSent) => Err(GrantError::NotSent),
        Err(RedeemError::Unanswered) => Err(GrantError::Unanswered),
    }
}

pub(super) fn need(block: Block) -> Need {
    match block {
        Block::AttemptsLost => Need::AttemptsLost,
        Block::PasswordSpent => Need::PasswordSpent,
        Block::NoPassword => Need::NoPassword,
    }
}

pub(super) fn chains(chains: shared_session::member::Chains) -> Chains {
    let shared_session::member::Chains { shared, spares, strays } = chains;
    Chains { shared, spares, strays }
}

pub(super) fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
