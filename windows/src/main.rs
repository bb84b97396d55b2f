//! Starts the `nexudus-proxy` beside it without a console window, and ends as it does:
//! `nexudus-proxy-task LOG ARGUMENT…`.
//!
//! A scheduled task gives each program of the console a window, for as long as it runs. This one is no
//! program of the console. The log replaces that of the last start.

#![cfg_attr(windows, windows_subsystem = "windows")]

use std::env;
use std::fs::File;
use std::io;
use std::process::{Command, ExitCode, Stdio};

fn main() -> ExitCode {
    // Without a window nothing can be said but by the exit code: the task shows it.
    run().unwrap_or(ExitCode::FAILURE)
}

fn run() -> io::Result<ExitCode> {
    let mut arguments = env::args_os().skip(1);
    let log = arguments.next().ok_or(io::ErrorKind::InvalidInput)?;
    let program = env::current_exe()?.with_file_name(PROGRAM);
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log)?);
    #[cfg(windows)]
    std::os::windows::process::CommandExt::creation_flags(&mut command, CREATE_NO_WINDOW);
    let code = command.status()?.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
}

const PROGRAM: &str = if cfg!(windows) { "nexudus-proxy.exe" } else { "nexudus-proxy" };

/// Of `CreateProcess`: a console without a window.
#[cfg(windows)]
const CREATE_NO_WINDOW: u32 = 0x0800_0000;
