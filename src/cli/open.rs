//! `open`: downloads a document through the daemon, and opens it.
//!
//! A browser is refused by the daemon, since any page could ask in its place. So the document is
//! saved first, where only this user can read it. What another program would run instead of show
//! is saved and not opened: names and types are Nexudus's word, and it relays its customers' files.

mod disposition;

use std::ffi::OsStr;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime};

use http::Method;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use tokio::process::Command;

use super::globals::GlobalArgs;
use super::local_api::{KEY_VARIABLE, LocalApi, LocalRequest, LocalResponse};
use super::{CliError, Printer, serve};
use crate::credentials::PRIVATE_ENV_VARIABLES;
use crate::problem::ExitCode;
use crate::secure_fs;

/// The arguments of `open`.
#[derive(clap::Args, Debug)]
pub(super) struct OpenArgs {
    /// The path of the document, with its query
    #[arg(value_name = "PATH")]
    target: String,
    /// Save it as this new file, and open nothing; `-` is stdout
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
}

/// Downloads the document, and opens it.
pub(super) fn run(args: &OpenArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    // Of this person, whoever's daemon is asked: the system's directory is not theirs, and all in it
    // would be in memory.
    let own = GlobalArgs { system: false, ..globals.clone() };
    let documents = own.sources(vec![]).paths()?.runtime.join("documents");
    serve::control_runtime()?.block_on(async {
        let api = LocalApi::find(globals).await?;
        let (method, target) = (Method::GET, args.target.clone());
        let mut response =
            api.send(LocalRequest { method, target, accept: "*/*", body: None }).await?;
        if let Some(error) = response.error() {
            return Err(error);
        }
        if args.output.as_deref() == Some(Path::new("-")) {
            return print_document(&mut response, print).await;
        }
        let (path, is_opened) = match &args.output {
            Some(path) => (path.clone(), false),
            None => {
                reject_page(&response)?;
                remove_old(&documents);
                let name = file_name(&response, &args.target);
                let is_opened = is_document(&name);
                (private_place(&documents, &name)?, is_opened)
            }
        };
        save(&mut response, &path).await?;
        let outcome = if is_opened { open(&path).await } else { Ok(()) };
        let output = serde_json::json!({ "path": path, "opened": is_opened && outcome.is_ok() });
        match outcome {
            Ok(()) if globals.json => print.json(&output)?,
            Ok(()) => print.line(&path.display().to_string())?,
            Err(error) => return Err(error.with_output(output)),
        }
        if !is_opened && args.output.is_none() {
            print.note("it is saved there and not opened: it is no kind of document");
        }
        Ok(())
    })
}

/// Prints the document as it comes.
async fn print_document(response: &mut LocalResponse, print: Printer) -> Result<(), CliError> {
    while let Some(chunk) = response.chunk().await? {
        if !print.stream(&chunk)? {
            break;
        }
    }
    Ok(())
}

/// Rejects a web page: Nexudus sends one, as a success, where a download has expired.
fn reject_page(response: &LocalResponse) -> Result<(), CliError> {
    let kind = response.headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.unwrap_or_default().to_ascii_lowercase();
    if !kind.starts_with("text/html") && !kind.starts_with("application/xhtml") {
        return Ok(());
    }
    Err(CliError::message(
        ExitCode::Failed,
        "Nexudus sent a web page instead of a document",
        Some(
            "A link to a download expires after minutes: make a new one. --output keeps the page.",
        ),
    ))
}

/// Returns the name that the response gives, or the end of the path.
fn file_name(response: &LocalResponse, target: &str) -> String {
    let given = response.headers.get(CONTENT_DISPOSITION).and_then(disposition::file_name);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let asked = || {
        let pairs = form_urlencoded::parse(query.as_bytes());
        let mut pairs = pairs.filter(|(name, _)| name.eq_ignore_ascii_case("downloadFileName"));
        pairs.next().map(|(_, name)| name.into_owned())
    };
    let last = path.rsplit('/').next().unwrap_or_default().to_owned();
    plain_name(&given.or_else(asked).unwrap_or(last))
}

/// Makes a file name of what others have chosen.
fn plain_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let is_plain = |c: char| c.is_alphanumeric() || " ._-()".contains(c);
    let plain: String = last.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    let plain = plain.trim_matches(['.', ' ', '-']);
    let skipped = plain.chars().count().saturating_sub(MAX_NAME_LENGTH);
    // The end has the extension.
    let plain: String = plain.chars().skip(skipped).collect();
    if plain.is_empty() { "document".to_owned() } else { plain }
}

fn is_document(name: &str) -> bool {
    let extension = Path::new(name).extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|it| DOCUMENTS.contains(&&*it.to_ascii_lowercase()))
}

/// Returns a path in a new directory that only this user can enter.
fn private_place(documents: &Path, name: &str) -> Result<PathBuf, CliError> {
    let directory = documents.join(uuid::Uuid::new_v4().simple().to_string());
    secure_fs::create_dir(&directory).map_err(|error| not_saved(&directory, &error))?;
    Ok(directory.join(name))
}

/// Removes what earlier calls have saved: the programs that show it have read it.
fn remove_old(documents: &Path) {
    for entry in fs::read_dir(documents).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|found| found.modified()).ok();
        let age = modified.and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > KEPT_TIME) {
            // Another call may be faster.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

async fn save(response: &mut LocalResponse, path: &Path) -> Result<(), CliError> {
    let mut file = secure_fs::create_file(path).map_err(|error| not_saved(path, &error))?;
    loop {
        let written = match response.chunk().await {
            Ok(None) => return Ok(()),
            Ok(Some(chunk)) => file.write_all(&chunk).map_err(|error| not_saved(path, &error)),
            Err(error) => Err(error.into()),
        };
        if written.is_err() {
            // Half a document is none.
            let _ = fs::remove_file(path);
            return written;
        }
    }
}

fn not_saved(path: &Path, error: &io::Error) -> CliError {
    let message = format!("could not write {}: {error}", path.display());
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let hint = match directory.filter(|directory| !directory.is_dir()) {
        Some(missing) => format!("Make the directory {} first.", missing.display()),
        None => "Name another new file with --output.".to_owned(),
    };
    CliError::message(ExitCode::Failed, message, Some(&hint))
}

/// Opens the file with the program that the desktop chooses.
async fn open(path: &Path) -> Result<(), CliError> {
    let Err(failed) = open_with_desktop(path.as_os_str()).await else { return Ok(()) };
    let message =
        format!("saved {}, and could not open it with {OPENER}: {failed}", path.display());
    Err(CliError::message(ExitCode::Failed, message, Some("Save it where you want with --output.")))
}

/// Opens a file or an address with the program that the desktop chooses; the error says why not.
pub(super) async fn open_with_desktop(target: &OsStr) -> Result<(), String> {
    let mut command = Command::new(OPENER);
    command.arg(target).stdin(Stdio::null()).stdout(Stdio::null());
    PRIVATE_ENV_VARIABLES.iter().chain([&KEY_VARIABLE]).for_each(|name| {
        command.env_remove(name);
    });
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    // Some openers are the program that shows the file, and end with it.
    match tokio::time::timeout(OPENER_TIMEOUT, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Err(_) => Ok(()),
        Ok(Ok(status)) => Err(status.to_string()),
        Ok(Err(error)) => Err(error.to_string()),
    }
}

#[cfg(target_os = "macos")]
const OPENER: &str = "open";
#[cfg(windows)]
const OPENER: &str = "explorer";
#[cfg(not(any(target_os = "macos", windows)))]
const OPENER: &str = "xdg-open";

/// How long an opener may take to fail.
const OPENER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a saved document is kept.
const KEPT_TIME: Duration = Duration::from_secs(24 * 60 * 60);

/// Longest file name, in characters: with four bytes each, still less than the 255 bytes of most
/// file systems.
const MAX_NAME_LENGTH: usize = 60;

/// The files that a desktop shows and does not run.
const DOCUMENTS: &[&str] = &[
    "csv", "doc", "docx", "gif", "ics", "jpeg", "jpg", "json", "odt", "ods", "pdf", "png", "ppt",
    "pptx", "rtf", "tif", "tiff", "txt", "webp", "xls", "xlsx", "xml", "zip",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_the_directory_or_hide() {
        for (given, name) in [
            ("Invoice 7.pdf", "Invoice 7.pdf"),
            ("../../.bashrc", "bashrc"),
            ("C:\\x\\report.xlsx", "report.xlsx"),
            ("-rf", "rf"),
            ("a\u{1b}[31m\n\".pdf", "a__31m__.pdf"),
            ("", "document"),
            ("..", "document"),
        ] {
            assert_eq!(plain_name(given), name, "{given:?}");
        }
        let long = format!("{}.pdf", "x".repeat(300));
        assert!(plain_name(&long).len() == MAX_NAME_LENGTH && plain_name(&long).ends_with(".pdf"));
    }

    #[test]
    fn what_a_desktop_would_run_is_no_document() {
        for name in ["a.pdf", "a.PDF", "b.tar.zip"] {
            assert!(is_document(name), "{name}");
        }
        for name in ["a", "a.desktop", "a.exe", "a.html", "a.svg", "a.pdf.sh", "pdf"] {
            assert!(!is_document(name), "{name}");
        }
    }
}
