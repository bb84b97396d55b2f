//! A password or a key as printed by an external command: `op read …`, `pass show …`, `age -d …`.
//!
//! The command gets no shell and no input. Its standard error is discarded: password managers echo
//! secrets there.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use zeroize::Zeroizing;

use crate::secret::Secret;

/// Why a command gave no secret.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    /// The command could not be started.
    #[error("could not start `{program}`")]
    Start {
        /// The first word of the command.
        program: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The command failed.
    #[error("`{program}` failed ({status})")]
    Failed {
        /// The first word of the command.
        program: String,
        /// The exit status.
        status: std::process::ExitStatus,
    },
    /// The command did not end in time.
    #[error("`{program}` did not end within {} s", COMMAND_TIMEOUT.as_secs())]
    Timeout {
        /// The first word of the command.
        program: String,
    },
    /// The command succeeded, but printed nothing, or no text where a password must be text.
    #[error("`{program}` printed no text")]
    Empty {
        /// The first word of the command.
        program: String,
    },
}

/// Runs `argv` and returns the first line of its output.
///
/// # Errors
///
/// A variant for each way in which a command can fail; none contains its output.
pub(super) async fn first_line(argv: &[String]) -> Result<Secret, Error> {
    let printed = output(argv).await?;
    let line = std::str::from_utf8(&printed).ok().and_then(|text| text.lines().next());
    let program = argv.first().cloned().unwrap_or_default();
    line.filter(|line| !line.is_empty()).map(Secret::new).ok_or(Error::Empty { program })
}

/// Runs `argv` and returns its whole output: text or any bytes.
///
/// # Errors
///
/// As [`first_line`].
pub(super) async fn output(argv: &[String]) -> Result<Zeroizing<Vec<u8>>, Error> {
    let program = argv.first().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    super::PRIVATE_ENV_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    let mut child = command
        .args(argv.get(1..).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| Error::Start { program: program.clone(), source })?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let ended = async {
        // The buffer has room from the start: into a full buffer the output would be read by way of
        // the stack.
        let mut printed = Zeroizing::new(Vec::with_capacity(OUTPUT_CAPACITY));
        stdout.read_to_end(&mut printed).await?;
        Ok((printed, child.wait().await?))
    };
    let (printed, status) = tokio::time::timeout(COMMAND_TIMEOUT, ended)
        .await
        .map_err(|_| Error::Timeout { program: program.clone() })?
        .map_err(|source| Error::Start { program: program.clone(), source })?;
    if !status.success() {
        return Err(Error::Failed { program, status });
    }
    if printed.is_empty() {
        return Err(Error::Empty { program });
    }
    Ok(printed)
}

/// More bytes than any secret has.
const OUTPUT_CAPACITY: usize = 4 << 10;

/// Longest run of the command. A password manager may wait for a person's finger.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_line_is_the_secret() {
        let secret = first_line(&argv(&["printf", "hunter2\\nsecond\\n"])).await.unwrap();
        assert_eq!(secret.expose(), "hunter2");
    }

    #[tokio::test]
    async fn each_failure_names_the_program_and_nothing_it_said() {
        let failed = first_line(&argv(&["sh", "-c", "echo hunter2; exit 3"])).await.unwrap_err();
        assert_eq!(failed.to_string(), "`sh` failed (exit status: 3)");
        let missing = first_line(&argv(&["/nonexistent/op"])).await.unwrap_err();
        assert_eq!(missing.to_string(), "could not start `/nonexistent/op`");
        let empty = first_line(&argv(&["true"])).await.unwrap_err();
        assert_eq!(empty.to_string(), "`true` printed no text");
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
