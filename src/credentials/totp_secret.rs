//! The 2FA secret as sites show it: base32 in groups, or the `otpauth://` URI of a QR code.
//!
//! The URI (Key Uri Format of Google Authenticator) may name another hash, other digits or another
//! period. What cannot be honoured is refused by name: with other parameters every code would be
//! wrong, and each wrong code is a try.

use totp_rs::Algorithm;

use crate::secret::Secret;

/// A shared secret of RFC 6238 with its parameters.
#[derive(Debug)]
pub struct TotpSecret {
    totp: totp_rs::Totp,
    /// Length of a step, in seconds.
    period: u64,
}

/// Why a text is no 2FA secret that can be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TotpSecretError {
    /// The secret, or the text as a whole, is not base32.
    #[error("the 2FA secret is not base32")]
    NotBase32,
    /// A URI of another kind.
    #[error("the 2FA secret is a URI, and not otpauth://totp/…?secret=…")]
    OtherUri,
    /// Codes by a counter, which only the authenticator knows.
    #[error("the 2FA secret makes codes by a counter (hotp), which this program does not")]
    Hotp,
    /// The URI names no secret, or more than one.
    #[error("the otpauth:// URI does not name one secret")]
    NoSecret,
    /// A hash that RFC 6238 does not know.
    #[error("the 2FA secret asks for another hash than SHA1, SHA256 or SHA512")]
    Algorithm,
    /// Another number of digits.
    #[error("the 2FA secret asks for codes of another length than 6 to 8 digits")]
    Digits,
    /// A period that is no number of seconds, or none that a login could wait for.
    #[error("the 2FA secret asks for a period outside of 1 to 3600 seconds")]
    Period,
}

impl TotpSecret {
    /// Reads a secret, in either form.
    ///
    /// # Errors
    ///
    /// [`TotpSecretError`] names what cannot be honoured, and never the text.
    pub fn parse(text: &Secret) -> Result<Self, TotpSecretError> {
        let text = text.expose().trim();
        match text.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("otpauth") => Self::from_uri(rest),
            Some(_) => Err(TotpSecretError::OtherUri),
            None => Self::new(text, Algorithm::SHA1, 6, DEFAULT_PERIOD),
        }
    }

    fn from_uri(rest: &str) -> Result<Self, TotpSecretError> {
        let without_fragment = rest.split('#').next().unwrap_or_default();
        let (path, query) = without_fragment.split_once('?').unwrap_or((without_fragment, ""));
        let kind = path.split('/').next().unwrap_or_default();
        if kind.eq_ignore_ascii_case("hotp") {
            return Err(TotpSecretError::Hotp);
        }
        if !kind.eq_ignore_ascii_case("totp") {
            return Err(TotpSecretError::OtherUri);
        }
        let mut secret = None;
        let (mut algorithm, mut digits, mut period) = (Algorithm::SHA1, 6, DEFAULT_PERIOD);
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match name.to_ascii_lowercase().as_str() {
                "secret" if secret.is_some() => return Err(TotpSecretError::NoSecret),
                "secret" => secret = Some(Secret::new(value)),
                "algorithm" => algorithm = parse_algorithm(&value)?,
                "digits" => {
                    let allowed = value.parse().ok().filter(|digits| (6..=8).contains(digits));
                    digits = allowed.ok_or(TotpSecretError::Digits)?;
                }
                "period" => {
                    let allowed = value.parse().ok().filter(|it| (1..=MAX_PERIOD).contains(it));
                    period = allowed.ok_or(TotpSecretError::Period)?;
                }
                // Only hotp has one.
                "counter" => return Err(TotpSecretError::Hotp),
                // Names for the person, and extensions of single apps.
                _ => {}
            }
        }
        let secret = secret.ok_or(TotpSecretError::NoSecret)?;
        Self::new(secret.expose(), algorithm, digits, period)
    }

    fn new(
        base32: &str,
        algorithm: Algorithm,
        digits: u8,
        period: u64,
    ) -> Result<Self, TotpSecretError> {
        // Some sites show the secret in groups and lower case, others with padding.
        let plain = base32.chars().filter(|letter| !matches!(letter, ' ' | '-' | '='));
        let plain = plain.map(|letter| letter.to_ascii_uppercase()).collect::<String>();
        let plain = zeroize::Zeroizing::new(plain);
        let secret = match totp_rs::Secret::try_from_base32(plain.as_str()) {
            Ok(secret) if !plain.is_empty() => secret,
            Ok(_) | Err(_) => return Err(TotpSecretError::NotBase32),
        };
        let totp = totp_rs::Builder::new()
            .with_algorithm(algorithm)
            .with_digits(digits)
            .with_step_duration(period)
            .with_secret(secret)
            // Many sites give secrets of 80 bits, shorter than RFC 4226 wants.
            .build_noncompliant();
        Ok(Self { totp, period })
    }

    /// Returns the length of a step, in seconds.
    pub fn period(&self) -> u64 {
        self.period
    }

    /// Returns the code at this time, in seconds since 1970.
    pub fn code(&self, seconds: u64) -> Secret {
        Secret::new(self.totp.generate(seconds).to_string())
    }
}

fn parse_algorithm(text: &str) -> Result<Algorithm, TotpSecretError> {
    // Some apps write the names as Java does (HmacSHA256), others with a dash.
    let mut plain = text.to_ascii_uppercase().replace('-', "");
    if let Some(hash) = plain.strip_prefix("HMAC") {
        plain = hash.to_owned();
    }
    match plain.as_str() {
        "SHA1" => Ok(Algorithm::SHA1),
        "SHA256" => Ok(Algorithm::SHA256),
        "SHA512" => Ok(Algorithm::SHA512),
        _ => Err(TotpSecretError::Algorithm),
    }
}

/// As every authenticator app has it.
const DEFAULT_PERIOD: u64 = 30;

/// Longest period, in seconds: a login may wait for the next code.
const MAX_PERIOD: u64 = 3_600;

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, seconds: u64) -> Result<String, TotpSecretError> {
        let secret = TotpSecret::parse(&Secret::new(text))?;
        Ok(secret.code(seconds).expose().to_owned())
    }

    /// RFC 6238, appendix B: the seeds of 20, 32 and 64 bytes at 59 s and 1111111109 s.
    #[test]
    fn codes_are_those_of_rfc_6238_for_each_hash() {
        let seed = |length| {
            let bytes: Vec<u8> = b"1234567890".iter().copied().cycle().take(length).collect();
            totp_rs::Secret::from(bytes).to_base32()
        };
        for (algorithm, length, at_59, later) in [
            ("SHA1", 20, "94287082", "07081804"),
            ("SHA256", 32, "46119246", "68084774"),
            ("SHA512", 64, "90693936", "25091201"),
        ] {
            let uri = format!(
                "otpauth://totp/Nexudus:ada%40example.test?secret={}&issuer=Nexudus&algorithm={}\
                 &digits=8&period=30",
                seed(length),
                algorithm.to_lowercase()
            );
            assert_eq!(code(&uri, 59).as_deref(), Ok(at_59), "{algorithm}");
            assert_eq!(code(&uri, 1_111_111_109).as_deref(), Ok(later), "{algorithm}");
        }
    }

    #[test]
    fn every_spelling_of_one_secret_makes_the_same_code() {
        for text in [
            "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ",
            " gezd gnbv gy3t qojq gezd gnbv gy3t qojq ",
            "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ====",
            "OTPAUTH://TOTP/a?SECRET=gezdgnbvgy3tqojqgezdgnbvgy3tqojq",
            "otpauth://totp/a?secret=GEZDGNBV%20GY3TQOJQ%20GEZDGNBVGY3TQOJQ%3D%3D&x=1#part",
            "otpauth://totp/a?secret=%47EZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&digits=6&algorithm=HmacSHA1",
        ] {
            assert_eq!(code(text, 59).as_deref(), Ok("287082"), "{text}");
        }
        let minute = "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&period=60&digits=7";
        assert_eq!(code(minute, 119).as_deref(), Ok("4287082"), "the step is 1 in both");
    }

    #[test]
    fn what_cannot_be_honoured_is_refused_by_name() {
        use TotpSecretError::*;
        for (text, error) in [
            ("", NotBase32),
            ("not base 32!", NotBase32),
            ("189", NotBase32),
            ("https://example.test/?secret=GEZDGNBV", OtherUri),
            ("otpauth://yaotp/a?secret=GEZDGNBV", OtherUri),
            ("otpauth://hotp/a?secret=GEZDGNBV&counter=1", Hotp),
            ("otpauth://totp/a?secret=GEZDGNBV&counter=1", Hotp),
            ("otpauth://totp/a", NoSecret),
            ("otpauth://totp/a?secret=GEZDGNBV&secret=GEZDGNBV", NoSecret),
            ("otpauth://totp/a?secret=", NotBase32),
            ("otpauth://totp/a?secret=GEZDGNBV&algorithm=MD5", Algorithm),
            ("otpauth://totp/a?secret=GEZDGNBV&digits=5", Digits),
            ("otpauth://totp/a?secret=GEZDGNBV&digits=ten", Digits),
            ("otpauth://totp/a?secret=GEZDGNBV&period=0", Period),
        ] {
            assert_eq!(code(text, 59), Err(error), "{text}");
        }
    }
}
