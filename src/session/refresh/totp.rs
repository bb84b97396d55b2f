//! The 2FA code of a password login: typed once, or made from the shared secret (RFC 6238).
//!
//! No code is offered twice. A server that refuses a code may count the refusals, and a code of
//! one 30 s step that was accepted once is refused the second time.

use std::time::{Duration, SystemTime};

use crate::credentials::SecondFactor;
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
    /// The shared secret is not base32.
    Invalid,
}

impl TotpCode {
    /// Returns the code of `factor` at `now`; `last` is the newest step offered so far.
    pub(crate) fn new(factor: Option<&SecondFactor>, last: u64, now: SystemTime) -> Self {
        let shared = match factor {
            None => return Self::None,
            Some(SecondFactor::Code(code)) => return Self::Typed(code.clone()),
            Some(SecondFactor::Shared(shared)) => shared,
        };
        // Some sites show the secret in groups and lower case, others with padding.
        let plain: String = shared
            .expose()
            .chars()
            .filter(|letter| !matches!(letter, ' ' | '-' | '='))
            .map(|letter| letter.to_ascii_uppercase())
            .collect();
        let plain = Secret::new(plain);
        let secret = match totp_rs::Secret::try_from_base32(plain.expose()) {
            Ok(secret) if !plain.is_empty() => secret,
            Ok(_) | Err(_) => return Self::Invalid,
        };
        let millis = wall_millis(now);
        let step = millis / STEP_MILLIS;
        // Not `step <= last`: after a clock was set back far, that would wait for hours. The code
        // is fresh in any case.
        if step == last {
            return Self::Wait(Duration::from_millis(STEP_MILLIS - millis % STEP_MILLIS));
        }
        let totp = totp_rs::Builder::new().with_secret(secret).build_noncompliant();
        Self::Generated { code: Secret::new(totp.generate(millis / 1_000).to_string()), step }
    }

    /// Returns the digits to offer.
    pub(crate) fn digits(&self) -> Option<&Secret> {
        match self {
            Self::Typed(code) | Self::Generated { code, .. } => Some(code),
            Self::None | Self::Wait(_) | Self::Invalid => None,
        }
    }
}

/// 30 s, as every authenticator app has it.
const STEP_MILLIS: u64 = 30_000;

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
            assert_eq!(shared(secret, 0, 59_000), TotpCode::Invalid, "{secret:?}");
        }
        assert_eq!(TotpCode::new(None, 0, SystemTime::UNIX_EPOCH).digits(), None);
    }

    fn shared(secret: &str, last: u64, millis: u64) -> TotpCode {
        let now = SystemTime::UNIX_EPOCH + Duration::from_millis(millis);
        TotpCode::new(Some(&SecondFactor::Shared(Secret::new(secret))), last, now)
    }
}
