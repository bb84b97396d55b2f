//! The programs that own the stores: run, and their last words kept.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use constrained_ca::ConstrainedRoot;

use super::error::TrustError;
use crate::secure_fs;

/// Runs a program that must succeed, with these bytes on its standard input.
pub(super) fn output(
    program: &'static str,
    command: &mut Command,
    input: Option<&str>,
) -> Result<Output, TrustError> {
    let failed = |source| TrustError::Program { program, source };
    let stdin = if input.is_some() { Stdio::piped() } else { Stdio::null() };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some((mut stdin, input)) = child.stdin.take().zip(input) {
        // A program that ends without reading says why by its exit code. A root fits into the pipe.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    if output.status.success() {
        return Ok(output);
    }
    let words = [output.stderr, output.stdout].concat();
    let words = String::from_utf8_lossy(&words);
    let why = words.lines().map(str::trim).find(|line| !line.is_empty());
    Err(TrustError::Failed {
        line: words_of(command),
        why: why.map_or_else(|| output.status.to_string(), str::to_owned),
    })
}

fn words_of(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// A certificate in a file, for a program that reads no standard input, until dropped.
pub(super) struct TemporaryFile(pub(super) PathBuf);

/// Writes a root into a file of its own.
pub(super) fn temporary(root: &ConstrainedRoot) -> Result<TemporaryFile, TrustError> {
    let name = format!("nexudus-proxy-{}-{}.crt", std::process::id(), fastrand::u64(..));
    let path = std::env::temp_dir().join(name);
    secure_fs::create_new(&path, root.pem().as_bytes())
        .map_err(|source| TrustError::File { path: path.clone(), source })?;
    Ok(TemporaryFile(path))
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        // A certificate is no secret: a file that stays does no harm.
        let _ = std::fs::remove_file(&self.0);
    }
}
