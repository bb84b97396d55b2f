//! The 2FA code of a password login: typed once, or made from the shared secret (RFC 6238).
//!
//! No code is offered twice. A server that refuses a code may count the refusals, and a code of
//! one step (30 s, unless the secret says otherwise) that was accepted once is refused the second
//! time.

use std::time::{Duration, SystemTime};

use crate::credentials::{SecondFactor, TotpSecret, TotpSecretError};
use crate::secret::Secret;
use crate::session::store::record::wall_millis;

/// A 2FA code, or why there is none now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TotpCode {
    /// No second factor is stored for the account.
    None,
    /// The user typed this code.
    Typed(Secret),
    /// The code was made for this step.
    Generated {
        /// The digits.
        code: Secret,
        /// Number of the step since 1970.
        step: u64,
    },
    /// The code of this step was offered already; the next one comes after this time.
    Wait(Duration),
    /// The shared secret makes no code.
    Invalid(TotpSecretError),
}

impl TotpCode {
    /// Returns the code of `factor` at `now`; `last` is the newest step offered so far.
    pub(crate) fn new(factor: Option<&SecondFactor>, last: u64, now: SystemTime) -> Self {
        let shared = match factor {
            None => return Self::None,
            Some(SecondFactor::Code(code)) => return Self::Typed(code.clone()),
            Some(SecondFactor::Shared(shared)) => shared,
        };
        let secret = match TotpSecret::parse(shared) {
            Ok(secret) => secret,
            Err(error) => return Self::Invalid(error),
        };
        let millis = wall_millis(now);
        let period = secret.period() * 1_000;
        let step = millis / period;
        // Not `step <= last`: after a clock was set back far, that would wait for hours. The code
        // is fresh in any case.
        if step == last {
            return Self::Wait(Duration::from_millis(period - millis % period));
        }
        Self::Generated { code: secret.code(millis / 1_000), step }
    }

    /// Returns the digits to offer.
    pub(crate) fn digits(&self) -> Option<&Secret> {
        match self {
            Self::Typed(code) | Self::Generated { code, .. } => Some(code),
            Self::None | Self::Wait(_) | Self::Invalid(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the seed "12345678901234567890" at 59 s, cut to six digits.
    #[test]
    fn codes_are_those_of_rfc_6238() {
        for secret in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            "gezd gnbv gy3t qojq gezd gnbv gy3t qojq",
            "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ====",
        ] {
            let code = shared(secret, 0, 59_000);
            assert_eq!(
                code,
                TotpCode::Generated { code: Secret::new("287082"), step: 1 },
                "{secret}"
            );
        }
        assert_eq!(
            shared("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ", 0, 1_111_111_109_000)
                .digits()
                .unwrap()
                .expose(),
            "081804"
        );
    }

    #[test]
    fn a_step_is_offered_once() {
        let secret = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";

        assert_eq!(shared(secret, 1, 59_000), TotpCode::Wait(Duration::from_secs(1)));
        assert!(matches!(shared(secret, 1, 60_000), TotpCode::Generated { step: 2, .. }));
        assert!(matches!(shared(secret, 9, 60_000), TotpCode::Generated { step: 2, .. }));
    }

    #[test]
    fn what_is_not_base32_makes_no_code() {
        for secret in ["", " ", "not base 32!", "189"] {
            let invalid = TotpCode::Invalid(TotpSecretError::NotBase32);
            assert_eq!(shared(secret, 0, 59_000), invalid, "{secret:?}");
        }
        assert_eq!(TotpCode::new(None, 0, SystemTime::UNIX_EPOCH).digits(), None);
    }

    fn shared(secret: &str, last: u64, millis: u64) -> TotpCode {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        TotpCode::new(Some(&SecondFactor::Shared(Secret::new(secret))), last, now)
    }
}
