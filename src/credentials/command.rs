//! A password or a key as printed by an external command: `op read …`, `pass show …`, `age -d …`.
//!
//! The command gets no shell and no input. Its standard error is discarded: password managers echo
//! secrets there. The command's own end counts, not that of the programs that it leaves behind with
//! its standard output open, as an agent that it starts does.

use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::{ChildStdout, Command};

use crate::children::OwnChild;
use crate::config::explain_refusal;
use crate::secret::{KeyMaterial, Secret, SecretInput, UnusableSecret};

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
        source: io::Error,
    },
    /// The sandbox of the service does not run the command.
    #[error("could not start `{program}`: {why}")]
    Forbidden {
        /// The first word of the command.
        program: String,
        /// Why, and the lines that allow it.
        why: String,
    },
    /// The command failed.
    #[error("`{program}` failed ({status})")]
    Failed {
        /// The first word of the command.
        program: String,
        /// The exit status.
        status: ExitStatus,
    },
    /// The command did not end in time.
    #[error("`{program}` did not end within {} s", COMMAND_TIMEOUT.as_secs())]
    Timeout {
        /// The first word of the command.
        program: String,
    },
    /// The command succeeded, and what it printed cannot be a secret.
    #[error(transparent)]
    Unusable(#[from] UnusableSecret),
}

/// Runs `argv` and returns the password on the first line of its output.
///
/// # Errors
///
/// A variant for each way in which a command can fail; none contains its output.
pub(super) async fn password(argv: &[String]) -> Result<Secret, Error> {
    Ok(output(argv).await?.first_line()?)
}

/// Runs `argv` and returns the key on the first line of its output, or all of it.
///
/// # Errors
///
/// As [`password`].
pub(super) async fn key(argv: &[String]) -> Result<KeyMaterial, Error> {
    Ok(output(argv).await?.key_of_first_line()?)
}

/// Runs `argv` and returns all that it printed.
///
/// # Errors
///
/// As [`password`].
pub(super) async fn output(argv: &[String]) -> Result<SecretInput, Error> {
    let program = argv.first().cloned().unwrap_or_default();
    let mut command = Command::new(&program);
    super::PRIVATE_ENV_VARIABLES.iter().for_each(|name| {
        command.env_remove(name);
    });
    let start_error = |source| Error::Start { program: program.clone(), source };
    let mut child = command
        .args(argv.get(1..).unwrap_or_default())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| spawn_error(&program, source))?;
    let _own = OwnChild::new(child.id());
    let stdout = child.stdout.take().expect("it is piped");
    let mut printed = zeroize::Zeroizing::new(Vec::with_capacity(OUTPUT_CAPACITY));
    let ended = async {
        let status = {
            let mut reading = std::pin::pin!(read_to_end(stdout, &mut printed));
            tokio::select! {
                biased;
                read = &mut reading => {
                    read?;
                    child.wait().await?
                }
                status = child.wait() => {
                    // What the command has printed lies in the pipe already.
                    if let Ok(read) = tokio::time::timeout(PIPE_GRACE, reading).await {
                        read?;
                    }
                    status?
                }
            }
        };
        Ok::<ExitStatus, io::Error>(status)
    };
    let status = tokio::time::timeout(COMMAND_TIMEOUT, ended)
        .await
        .map_err(|_| Error::Timeout { program: program.clone() })?
        .map_err(start_error)?;
    if !status.success() {
        return Err(Error::Failed { program, status });
    }
    Ok(SecretInput::new(format!("the output of `{program}`"), std::mem::take(&mut *printed)))
}

/// Reads to the end, or to more than any secret has, and closes the pipe. Giving up loses nothing
/// that was read.
async fn read_to_end(mut stdout: ChildStdout, printed: &mut Vec<u8>) -> io::Result<()> {
    while printed.len() < OUTPUT_CAPACITY && stdout.read_buf(printed).await? > 0 {}
    Ok(())
}

fn spawn_error(program: &str, source: io::Error) -> Error {
    let program = program.to_owned();
    let is_refused = source.kind() == io::ErrorKind::PermissionDenied;
    match is_refused.then(|| explain_refusal(&program)).flatten() {
        Some(why) => Error::Forbidden { program, why },
        None => Error::Start { program, source },
    }
}

/// More bytes than any secret has.
const OUTPUT_CAPACITY: usize = crate::secret::MAX_LENGTH + 1;

/// Longest wait for output once the command has ended.
const PIPE_GRACE: Duration = Duration::from_millis(250);

/// Longest run of the command. A password manager may wait for a person's finger.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_line_is_the_secret() {
        let secret = password(&argv(&["printf", "hunter2\\nsecond\\n"])).await.unwrap();
        assert_eq!(secret.expose(), "hunter2");
    }

    #[tokio::test]
    async fn each_failure_names_the_program_and_nothing_it_said() {
        let failed = password(&argv(&["sh", "-c", "echo hunter2; exit 3"])).await.unwrap_err();
        assert_eq!(failed.to_string(), "`sh` failed (exit status: 3)");
        let missing = password(&argv(&["/nonexistent/op"])).await.unwrap_err();
        assert_eq!(missing.to_string(), "could not start `/nonexistent/op`");
        let empty = password(&argv(&["true"])).await.unwrap_err();
        assert_eq!(empty.to_string(), "the output of `true` is empty");
        let quoted = password(&argv(&["printf", "\"hunter2\"\\n"])).await.unwrap_err();
        assert_eq!(quoted.to_string(), "the output of `printf` is enclosed in quotes");
        let endless = password(&argv(&["yes"])).await.unwrap_err();
        assert!(!endless.to_string().contains("hunter2"));
    }

    /// A command that starts an agent ends before the agent does, whose standard output is the same
    /// pipe.
    #[tokio::test]
    async fn a_program_that_the_command_leaves_behind_is_not_waited_for() {
        let left = tempfile::NamedTempFile::new().unwrap();
        let script = format!("sleep 600 & echo $! > {}; printf hunter2", left.path().display());
        let started = std::time::Instant::now();

        let secret = password(&argv(&["sh", "-c", &script])).await.unwrap();

        assert_eq!(secret.expose(), "hunter2");
        assert!(started.elapsed() < COMMAND_TIMEOUT / 4);
        let pid: i32 = std::fs::read_to_string(left.path()).unwrap().trim().parse().unwrap();
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    }

    fn argv(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }
}
