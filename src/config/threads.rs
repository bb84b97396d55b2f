//! `daemon.threads`: how many threads serve requests.

use super::value::ConfigValue;
use super::value_type::{InvalidValue, ValueType};

/// The number of data threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Threads {
    /// As many as the machine lets this process use, up to `MAX_AUTO_THREADS`.
    Auto,
    /// This many.
    Fixed(usize),
}

impl Threads {
    /// Returns the number of threads on this machine.
    pub fn count(self) -> usize {
        match self {
            // The processors of the affinity mask, and of the quota of the control group.
            Self::Auto => {
                std::thread::available_parallelism().map_or(1, usize::from).min(MAX_AUTO_THREADS)
            }
            Self::Fixed(count) => count,
        }
    }
}

impl ConfigValue for Threads {
    fn from_toml(value: &toml::Value, value_type: &ValueType) -> Result<Self, InvalidValue> {
        match value.as_str() {
            Some("auto") => Ok(Self::Auto),
            Some(_) => Err(InvalidValue::found(value)),
            None => {
                let ValueType::Threads { max } = *value_type else {
                    return Err(InvalidValue::found(value));
                };
                usize::from_toml(value, &ValueType::Integer { min: 1, max }).map(Self::Fixed)
            }
        }
    }

    fn to_toml(&self, _: &ValueType) -> toml::Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Fixed(count) => i64::try_from(*count).unwrap_or(i64::MAX).into(),
        }
    }
}

/// Most threads that can be configured. One thread serves some ten thousand requests a second; the
/// service unit allows the blocking threads of as many data threads (`TasksMax=`).
pub(super) const MAX_THREADS: u64 = 32;

/// Most threads that `auto` chooses: the gain of more has not been measured.
const MAX_AUTO_THREADS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_what_the_machine_has_within_bounds() {
        assert!((1..=MAX_AUTO_THREADS).contains(&Threads::Auto.count()));
        assert_eq!(Threads::Fixed(3).count(), 3);
    }

    #[test]
    fn a_number_from_1_to_32_or_auto_is_taken_and_nothing_else() {
        let read = |value: toml::Value| {
            Threads::from_toml(&value, &ValueType::Threads { max: MAX_THREADS })
        };
        for (value, threads) in [
            (toml::Value::from(1), Threads::Fixed(1)),
            (toml::Value::from(32), Threads::Fixed(32)),
            (toml::Value::from("auto"), Threads::Auto),
        ] {
            assert_eq!(read(value), Ok(threads));
        }
        for wrong in [
            toml::Value::from(0),
            toml::Value::from(33),
            toml::Value::from(-1),
            toml::Value::from(2.0),
            toml::Value::from("2"),
            toml::Value::from("many"),
            toml::Value::from(true),
        ] {
            assert_eq!(read(wrong.clone()), Err(InvalidValue::found(&wrong)));
        }
    }
}
