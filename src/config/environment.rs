//! The environment variables of a process, as they were at the start.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::Diagnostic;

/// The environment of a process.
#[derive(Clone, Debug, Default)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// Copies the environment of this process. `HOME` falls back to the user database, because
    /// launchd and cron do not set it.
    pub fn from_process() -> Self {
        let mut vars: BTreeMap<_, _> = std::env::vars_os().collect();
        if !vars.contains_key(&OsString::from("HOME"))
            && let Some(home) = std::env::home_dir()
        {
            vars.insert("HOME".into(), home.into());
        }
        Self(vars)
    }

    /// Returns every variable.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, &OsString)> {
        self.0.iter()
    }

    /// Returns the value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<OsString> {
        self.0.get(&OsString::from(name)).cloned()
    }

    /// Returns the value of a variable as text.
    pub(super) fn text(&self, name: &str) -> Result<Option<String>, Diagnostic> {
        let text = self.get(name).map(OsString::into_string).transpose();
        text.map_err(|_| Diagnostic::VariableEncoding(name.to_owned()))
    }
}

impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(vars: [(&str, &str); N]) -> Self {
        Self(vars.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}
