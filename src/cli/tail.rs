//! `tail`: requests as they end. Paths without queries; no header, no body.
//!
//! `--har` writes them to a file too (`har.rs`), with headers by an allow-list, and with queries and bodies
//! only where asked.

mod har;

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use self::har::HarFile;
use super::daemon_client::connect;
use super::globals::GlobalArgs;
use super::{CliError, Printer, serve};
use crate::admin::api::{ClientStatus, Event, RequestContent, RequestRecord, Status};
use crate::admin::client::{AdminClient, Error};
use crate::clients;
use crate::problem::ExitCode;

/// The arguments of `tail`.
#[derive(clap::Args, Debug)]
pub(super) struct TailArgs {
    /// Only these statuses: 404, or a class such as 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusFilter>,
    /// Only this named client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
    /// Write the requests to this new file too, as an HTTP Archive (HAR 1.2)
    #[arg(long, value_name = "FILE")]
    har: Option<PathBuf>,
    /// With --har: the queries too, personal values redacted
    #[arg(long, requires = "har")]
    with_queries: bool,
    /// With --har: the bodies too, personal values redacted
    #[arg(long, requires = "har")]
    with_bodies: bool,
}

/// Prints until the reader has gone or Ctrl-C is pressed; a daemon that is restarted is followed.
pub(super) fn run(
    options: &TailArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    serve::control_runtime()?.block_on(async {
        let mut daemon = connect(globals).await?;
        options.check_client(&daemon).await?;
        let mut har = options.create_har(&daemon).await?;
        while options.follow(&daemon, globals, print, har.as_mut()).await? {
            if !globals.quiet {
                print.note("the daemon has ended: waiting for the next one…");
            }
            daemon = reconnect(globals).await?;
            if !globals.quiet {
                print.note("a daemon serves again; requests in between are not shown");
            }
        }
        Ok(())
    })
}

/// Waits for the daemon after one that has ended.
async fn reconnect(globals: &GlobalArgs) -> Result<AdminClient, CliError> {
    let deadline = Instant::now() + RESTART_TIMEOUT;
    loop {
        match connect(globals).await {
            Err(error)
                if error.exit_code() == ExitCode::NotRunning && Instant::now() < deadline =>
            {
                tokio::time::sleep(POLL_INTERVAL).await;
            }
            connected => return connected,
        }
    }
}

impl TailArgs {
    /// Prints the requests of one daemon. Returns whether the daemon has ended; else the reader has.
    async fn follow(
        &self,
        daemon: &AdminClient,
        globals: &GlobalArgs,
        print: Printer,
        mut har: Option<&mut HarFile>,
    ) -> Result<bool, CliError> {
        let mut captured = None;
        let mut events = match daemon.events(&self.kinds()).await {
            Err(Error::NotRunning | Error::ConnectionClosed(_)) => return Ok(true),
            events => events?,
        };
        while let Some(event) = events.try_next().await? {
            let line = match event {
                Event::Request(request) if self.wants(&request) => {
                    if let Some(har) = har.as_mut() {
                        har.add(&request, take_content(&mut captured, &request).as_deref())?;
                    }
                    if globals.json {
                        json!(request).to_string()
                    } else {
                        format_request(&request, print)
                    }
                }
                Event::Content(content) => {
                    captured = Some(content);
                    continue;
                }
                Event::Lost(count) => {
                    print.warning(&format!("{count} requests came too fast and are not shown"));
                    continue;
                }
                Event::Request(_) | Event::Ready(_) | Event::Session(_) | Event::Approval(_) => {
                    continue;
                }
            };
            if !print.stream_line(&line)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Refuses the name of a client that does not exist: its requests would never come.
    async fn check_client(&self, daemon: &AdminClient) -> Result<(), CliError> {
        let Some(name) = &self.client else { return Ok(()) };
        let status: Status = daemon.get("/v1/status").await?;
        let is_known = |clients: &Vec<ClientStatus>| clients.iter().any(|it| it.name == *name);
        // Where the file cannot be read, nothing is known of any client.
        if status.clients.as_ref().is_none_or(is_known) {
            return Ok(());
        }
        Err(clients::Error::Missing { name: name.clone() }.into())
    }

    /// Returns the kinds of events that are read, and what is to be captured meanwhile.
    fn kinds(&self) -> String {
        if self.har.is_none() {
            return "request".to_owned();
        }
        let queries = if self.with_queries { ",queries" } else { "" };
        let bodies = if self.with_bodies { ",bodies" } else { "" };
        format!("request,content&content=headers{queries}{bodies}")
    }

    /// Creates the archive, once it is certain that the daemon shows what is asked for.
    async fn create_har(&self, daemon: &AdminClient) -> Result<Option<HarFile>, CliError> {
        let Some(path) = &self.har else { return Ok(None) };
        daemon.events(&self.kinds()).await?;
        let status: Status = daemon.get("/v1/status").await?;
        let address = status.listening.tcp.first();
        let base = address.map_or("http://localhost".to_owned(), |it| format!("http://{it}"));
        Ok(Some(HarFile::create(path, base)?))
    }

    fn wants(&self, request: &RequestRecord) -> bool {
        let status = self.status.is_none_or(|wanted| wanted.contains(request.status));
        let client = self.client.as_ref().is_none_or(|name| request.client.as_ref() == Some(name));
        status && client
    }
}

/// Takes what was captured of this request, if that came.
fn take_content(
    captured: &mut Option<Box<RequestContent>>,
    request: &RequestRecord,
) -> Option<Box<RequestContent>> {
    captured.take().filter(|content| content.request_id == request.request_id)
}

/// One status, or a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StatusFilter {
    from: u16,
    to: u16,
}

impl StatusFilter {
    fn contains(self, status: Option<u16>) -> bool {
        status.is_some_and(|status| (self.from..=self.to).contains(&status))
    }
}

impl std::str::FromStr for StatusFilter {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
        match (class, text.parse::<u16>()) {
            (Some(class @ 1..=5), _) => Ok(Self { from: class * 100, to: class * 100 + 99 }),
            (None, Ok(status @ 100..=599)) => Ok(Self { from: status, to: status }),
            (Some(_) | None, _) => Err("a status such as 404, or a class such as 4xx"),
        }
    }
}

fn format_request(request: &RequestRecord, print: Printer) -> String {
    let time = request.time.parse::<jiff::Timestamp>().map(|time| {
        let local = time.to_zoned(jiff::tz::TimeZone::system());
        local.strftime("%H:%M:%S").to_string()
    });
    let time = time.unwrap_or_else(|_| request.time.clone());
    let status = match request.status {
        Some(status @ 200..300) => {
            let color = if request.failure.is_some() { "33" } else { "32" };
            print.style(color, &status.to_string())
        }
        Some(status @ 400..500) => print.style("33", &status.to_string()),
        Some(status @ 500..) => print.style("31", &status.to_string()),
        Some(status) => status.to_string(),
        None => print.style("33", "abandoned"),
    };
    let (time, method) = (print.style("2", &time), print.style("1", &request.method));
    let took = print.style("2", &format!("{} ms", request.elapsed_ms));
    let mut line = format!("{time} {method} {} → {status}  {took}", request.path);
    // Where the time went is worth a place where the request did not go to Nexudus at once.
    let waits = [("queue", request.queue_ms), ("token", request.token_ms)];
    if waits.iter().any(|(_, waited)| *waited > 0) {
        let parts = waits.into_iter().chain([("upstream", request.upstream_ms)]);
        let parts = parts.filter(|(_, waited)| *waited > 0);
        let parts: Vec<_> = parts.map(|(name, waited)| format!("{name} {waited} ms")).collect();
        line.push_str(&print.style("2", &format!(" ({})", parts.join(", "))));
    }
    let facts = [
        ("code", request.code.clone()),
        ("failure", request.failure.clone()),
        ("client", request.client.clone()),
        ("uid", request.uid.map(|uid| uid.to_string())),
        ("pid", request.pid.map(|pid| pid.to_string())),
        ("program", request.program.clone()),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            line.push_str(&format!("  {}{value}", print.style("2", &format!("{name}="))));
        }
    }
    line
}

/// How long the next daemon is waited for: a restart with requests in flight takes a few seconds.
const RESTART_TIMEOUT: Duration = Duration::from_secs(30);

/// How often the command looks for it.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_shown_apart_from_nexudus() {
        let mut request = RequestRecord {
            time: "12:00".to_owned(),
            method: "GET".to_owned(),
            path: "/api/x".to_owned(),
            status: Some(200),
            elapsed_ms: 1_250,
            upstream_ms: 40,
            ..RequestRecord::default()
        };
        let print = Printer::new(crate::cli::print::ColorWhen::Never);
        assert_eq!(format_request(&request, print), "12:00 GET /api/x → 200  1250 ms");

        request.queue_ms = 1_200;

        assert_eq!(
            format_request(&request, print),
            "12:00 GET /api/x → 200  1250 ms (queue 1200 ms, upstream 40 ms)"
        );
    }

    #[test]
    fn a_status_or_a_class_is_understood() {
        let read = |text: &str| text.parse::<StatusFilter>();

        assert!(
            read("4xx").unwrap().contains(Some(429)) && !read("4xx").unwrap().contains(Some(500))
        );
        assert!(read("404").unwrap().contains(Some(404)) && !read("404").unwrap().contains(None));
        for bad in ["", "xx", "9xx", "42", "4x", "600"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
