//! `api`: asks through the daemon that serves, and walks the pages of a list.
//!
//! A response goes to stdout as it comes, whatever its status. The error of a 4xx or 5xx goes to
//! stderr and into the exit code, so that `nexudus-proxy api … | jq` needs no other flag.

mod pages;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use http::Method;

use self::pages::Pages;
use super::globals::GlobalArgs;
use super::local_api::{LocalApi, LocalRequest};
use super::{CliError, Printer, serve};
use crate::problem::ExitCode;

/// The arguments of `api`.
#[derive(clap::Args, Debug)]
#[command(override_usage = "nexudus-proxy api [OPTIONS] [METHOD] PATH")]
#[command(
    after_help = "A client key in NEXUDUS_PROXY_KEY is shown. Exit code: 4 for a 401, 5 for a \
    403, 1 for any other 4xx or 5xx of Nexudus; else as the daemon's own error says."
)]
pub(super) struct ApiArgs {
    /// The method (GET, or POST with --input) and the path with its query
    #[arg(required = true, num_args = 1..=2, value_name = "METHOD PATH")]
    words: Vec<String>,
    /// Ask for every page of a list, and print one document with all Records
    #[arg(long, conflicts_with = "input")]
    all: bool,
    /// Print each record of a list on a line of its own
    #[arg(long, conflicts_with = "input")]
    ndjson: bool,
    /// Send this file as the JSON body; `-` is stdin
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
}

/// Asks, and prints the response.
pub(super) fn run(args: &ApiArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let request = args.request()?;
    let walks = args.all || args.ndjson;
    if walks && request.method != Method::GET {
        return Err(CliError::message(
            ExitCode::Usage,
            "--all and --ndjson are for lists, which are read with GET",
            Some("Leave the method out."),
        ));
    }
    serve::control_runtime()?.block_on(async {
        let api = LocalApi::find(globals).await?;
        if walks {
            Pages::new(&api, request.target, args.all).print(args.ndjson, print).await
        } else {
            print_response(&api, request, print).await
        }
    })
}

impl ApiArgs {
    fn request(&self) -> Result<LocalRequest, CliError> {
        let usual = if self.input.is_some() { "POST" } else { "GET" };
        let (method, target) = match self.words.as_slice() {
            [method, target] => (method.as_str(), target),
            [target, ..] => (usual, target),
            [] => unreachable!("clap requires one"),
        };
        let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).map_err(|_| {
            let hint = "Write the method before the path: `nexudus-proxy api DELETE /api/…`.";
            CliError::message(ExitCode::Usage, format!("`{method}` is no method"), Some(hint))
        })?;
        let body = self.input.as_deref().map(read_input).transpose()?;
        Ok(LocalRequest { method, target: target.clone(), accept: "application/json", body })
    }
}

fn read_input(path: &Path) -> Result<Bytes, CliError> {
    let mut bytes = vec![];
    let read = if path == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes))
    };
    match read {
        Ok(_) => Ok(bytes.into()),
        Err(error) => {
            let message = format!("could not read {}: {error}", path.display());
            Err(CliError::message(ExitCode::Failed, message, None))
        }
    }
}

async fn print_response(
    api: &LocalApi,
    request: LocalRequest,
    print: Printer,
) -> Result<(), CliError> {
    let mut response = api.send(request).await?;
    let mut last = b'\n';
    while let Some(chunk) = response.chunk().await? {
        last = chunk.last().copied().unwrap_or(last);
        if !print.stream(&chunk)? {
            return Ok(());
        }
    }
    let Some(error) = response.error() else { return Ok(()) };
    // A pipe gets the bytes of Nexudus alone; a person reads the error on a line of its own.
    if print.is_on_terminal() && last != b'\n' {
        print.stream(b"\n")?;
    }
    Err(error)
}
