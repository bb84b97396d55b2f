//! `ui`: the inspector. This command is the listener: the daemon opens nothing.
//!
//! A loopback port in the person's own process serves a page, relays a few routes of the admin socket
//! to it, and ends with the command. `gate.rs` says who gets in, `routes.rs` what there is.

mod assets;
mod error;
mod gate;
mod key_press;
mod routes;
mod server;
mod verdicts;

use std::cell::RefCell;
use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use serde_json::{Value as Json, json};

use self::gate::{CodeKind, Gate};
use self::routes::Site;
use super::globals::GlobalArgs;
use super::open::open_with_desktop;
#[cfg(unix)]
use super::prompt::guarded;
use super::waiting::{DAEMON, say_waiting};
use super::{CliError, Printer, serve, status};
use crate::admin::client::AdminClient;
use crate::listen;
use crate::peer::can_identify_peers;
use crate::problem::{Problem as _, Report};

/// The arguments of `ui`.
#[derive(clap::Args, Debug)]
pub(super) struct UiArgs {
    /// Print the link, and open no browser
    #[arg(long)]
    no_open: bool,
    /// Listen at this port of 127.0.0.1; by default any free one
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    port: u16,
    /// Show everything, and change nothing: no client is added or revoked
    #[arg(long)]
    read_only: bool,
    /// Show headers, queries and bodies of requests too, personal values redacted
    #[arg(long)]
    bodies: bool,
}

/// Serves the page until Ctrl-C.
pub(super) fn run(args: &UiArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    serve::control_runtime()?.block_on(async {
        // Without a daemon that answers there is nothing to see, and the person should know before a
        // page opens.
        let daemon = status::find(globals, print).await?;
        say_waiting(print, DAEMON, daemon.get::<Json>("/v1/status")).await?;
        if args.bodies {
            // A daemon that shows them to others alone says so here, before a page opens.
            daemon.events(&format!("ready&{CONTENT}")).await?;
        }
        let serving = serve_page(args, globals, print);
        #[cfg(unix)]
        return match guarded(serving).await {
            Ok(ended) => ended,
            Err(INTERRUPT) => Ok(()),
            Err(signal) => Err(CliError::ChildExited(128 + signal)),
        };
        #[cfg(not(unix))]
        serving.await
    })
}

async fn serve_page(args: &UiArgs, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, args.port));
    let socket = listen::bind_tcp(&[address]).map_err(|error| port_error(&error))?.remove(0);
    let address = socket.address().unwrap_or(address);
    let listener = socket.into_listener().map_err(CliError::Runtime)?;
    let kind = if can_identify_peers() { CodeKind::Link } else { CodeKind::Typed };
    let gate = RefCell::new(Gate::new(address, kind));
    let link = gate.borrow_mut().new_link(Instant::now());
    link.show(globals, print)?;
    let (is_read_only, has_bodies) = (args.read_only, args.bodies);
    let site = Site { gate: &gate, globals, is_read_only, has_bodies };
    tokio::select! {
        biased;
        () = open_page(&link, args, print) => Ok(()),
        () = server::serve(listener, &site) => Ok(()),
        printed = print_links(&gate, globals, print) => printed,
    }
}

/// Says why the page cannot be at the port that was asked for.
fn port_error(error: &listen::Error) -> CliError {
    let mut report = Report::all(error).swap_remove(0);
    report.hint =
        Some("Choose another --port, or leave it out: then any free one is taken.".to_owned());
    CliError::Message { report, exit_code: error.kind().exit_code() }
}

/// Opens a browser, and then waits for ever. Some openers are the browser, and end with it.
async fn open_page(link: &Link, args: &UiArgs, print: Printer) {
    if !args.no_open && has_desktop() {
        let opened = open_with_desktop(OsStr::new(&link.url)).await;
        opened.unwrap_or_else(|why| {
            print.note(&format!("no browser was opened ({why}): open the link yourself"));
        });
    }
    std::future::pending().await
}

/// Prints another link each time Enter is pressed.
async fn print_links(
    gate: &RefCell<Gate>,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    loop {
        key_press::enter().await;
        let link = gate.borrow_mut().new_link(Instant::now());
        link.show(globals, print)?;
    }
}

/// A link for a browser.
struct Link {
    url: String,
    /// The code, where a person types it.
    code: Option<String>,
}

impl Link {
    fn show(&self, globals: &GlobalArgs, print: Printer) -> Result<(), CliError> {
        if globals.json {
            let link = json!({ "url": self.url, "code": self.code });
            print.stream_line(&link.to_string())?;
            return Ok(());
        }
        print.stream_line(&self.url)?;
        if globals.quiet {
            return Ok(());
        }
        match &self.code {
            Some(code) => print.note(&format!(
                "type the code {code} there: it works once, for 60 seconds; Enter makes another one, \
                 Ctrl-C ends the page"
            )),
            None => print.note(
                "the link works once, for 60 seconds; Enter makes another one, Ctrl-C ends the page",
            ),
        }
        Ok(())
    }
}

/// Finds the daemon that serves now: after a restart, the next one.
async fn find(globals: &GlobalArgs) -> Result<AdminClient, CliError> {
    status::find(globals, globals.printer().with_quiet(true)).await
}

/// Says whether there is a desktop to open a page on: without one, the opener would start a browser in
/// this terminal.
fn has_desktop() -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    cfg!(any(target_os = "macos", windows)) || is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// The part of the query of `/v1/events` that has everything captured.
const CONTENT: &str = "content=headers,queries,bodies";

/// SIGINT: Ctrl-C is the way to end this.
#[cfg(unix)]
const INTERRUPT: u8 = 2;
