//! The token endpoint as the member of a fleet asks it: the same calls, the same record of login
//! attempts and the same 2FA codes as for a machine that is alone.

use std::sync::Arc;

use std::time::Duration;

use super::context::FetchContext;
use super::endpoint::{Grant, Issuer};
use super::login::LoginFate;
use super::outcome::{FetchError, FetchOutcome};
use super::token_fetch::TokenFetch;
use super::token_response::TokenError;
use crate::fleet::{Redeem, RedeemError, Redeemed, Redemption};
use crate::secret::Secret;
use crate::session::error::Error;
use crate::session::state::event::{FetchRequest, Trigger};
use crate::session::token::TokenGrant;

/// The token endpoint for a member.
#[derive(Debug)]
pub(crate) struct FleetIssuer<I> {
    context: Arc<FetchContext<I>>,
}

impl<I: Issuer> FleetIssuer<I> {
    pub(crate) fn new(context: Arc<FetchContext<I>>) -> Self {
        Self { context }
    }

    /// Makes an attempt that nothing but this call belongs to.
    fn attempt(&self) -> TokenFetch<I> {
        let request = FetchRequest {
            newer_than: None,
            trigger: Trigger::Schedule,
            failures: 0,
            has_valid_token: true,
        };
        TokenFetch::new(self.context.clone(), request, FetchOutcome::default())
    }

    fn is_late(&self, wanted: &Redemption) -> bool {
        wanted.starts_before <= self.context.clock.boot()
    }

    async fn refresh(&self, token: Secret, wanted: &Redemption) -> Result<Redeemed, RedeemError> {
        let mut attempt = self.attempt();
        attempt.deadline = self.context.clock.boot() + LONGEST_CALL;
        match attempt.issue(&Grant::Refresh(token), &wanted.client_id).await {
            Ok(grant) => Ok(redeemed(grant, None)),
            // What follows is the member's decision, and no error yet.
            Err(TokenError::Refused | TokenError::TotpRequired | TokenError::PasswordReset) => {
                Err(RedeemError::Refused)
            }
            Err(TokenError::Ambiguous(cause)) => {
                Err(self.failed(FetchError::transient(cause, None).error, RedeemError::Unanswered))
            }
            Err(TokenError::Unavailable { retry_after, cause }) => {
                let error = FetchError::transient(cause, retry_after).error;
                Err(self.failed(error, RedeemError::Unanswered))
            }
            Err(TokenError::Transient { retry_after, cause }) => {
                let error = FetchError::transient(cause, retry_after).error;
                Err(self.failed(error, RedeemError::NotSent))
            }
        }
    }

    async fn log_in(&self, wanted: Redemption) -> Result<Redeemed, RedeemError> {
        let mut attempt = self.attempt();
        attempt.start_deadline();
        let found = match attempt.load_login().await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                return Err(self.failed(FetchError::from(error).error, RedeemError::NotSent));
            }
            Err(stopping) => return Err(self.failed(stopping.error, RedeemError::NotSent)),
        };
        // A person may have been asked for a finger meanwhile.
        if self.is_late(&wanted) {
            return Err(RedeemError::NotSent);
        }
        attempt.deadline = self.context.clock.boot() + LONGEST_CALL;
        let account = found.login.email.clone();
        match attempt.prove(found, Some(wanted.client_id)).await {
            Ok((grant, _)) => Ok(redeemed(grant, Some(account))),
            Err(failure) => Err(self.failed(
                failure.error.error,
                match failure.fate {
                    LoginFate::NotOffered => RedeemError::NotSent,
                    // Each member that is cut off has one try. Of the fleet's tries an outage costs none.
                    LoginFate::Unanswered if !wanted.is_apart => RedeemError::NotSent,
                    LoginFate::Unanswered => RedeemError::Unanswered,
                    LoginFate::Unknown => RedeemError::Unanswered,
                    LoginFate::Refused => RedeemError::Refused,
                },
            )),
        }
    }

    fn failed(&self, error: Error, outcome: RedeemError) -> RedeemError {
        if let Some(source) = &self.context.fleet {
            source.record_failure(error);
        }
        outcome
    }
}

impl<I: Issuer> Redeem for FleetIssuer<I> {
    async fn redeem(&mut self, wanted: Redemption) -> Result<Redeemed, RedeemError> {
        if self.is_late(&wanted) || *self.context.stopping.borrow() {
            return Err(RedeemError::NotSent);
        }
        let redeemed = match wanted.refresh.clone() {
            Some(token) => self.refresh(token, &wanted).await,
            None => self.log_in(wanted).await,
        };
        if let (Ok(_), Some(source)) = (&redeemed, &self.context.fleet) {
            source.record_success();
        }
        redeemed
    }
}

fn redeemed(grant: TokenGrant, account: Option<String>) -> Redeemed {
    let TokenGrant { access, refresh, lifetime } = grant;
    Redeemed { access, refresh, lifetime, account }
}

/// Longest call to the token endpoint: the lease of the fleet holds for that long.
const LONGEST_CALL: Duration = Duration::from_secs(30);
