//! `tail`: requests as they end. Paths without queries; no header, no body.

use serde_json::json;

use super::daemon_client::with_daemon;
use super::globals::GlobalArgs;
use super::{CliError, Printer};
use crate::admin::api::{Event, RequestRecord};
use crate::admin::client::Error;

/// The arguments of `tail`.
#[derive(clap::Args, Debug)]
pub(super) struct TailArgs {
    /// Only these statuses: 404, or a class such as 4xx
    #[arg(long, value_name = "STATUS")]
    status: Option<StatusFilter>,
    /// Only this named client
    #[arg(long, value_name = "NAME")]
    client: Option<String>,
}

/// Prints until the daemon ends, the reader has gone or Ctrl-C is pressed.
pub(super) fn run(
    options: &TailArgs,
    globals: &GlobalArgs,
    print: Printer,
) -> Result<(), CliError> {
    with_daemon(globals, async |daemon| {
        let mut events = daemon.events("request").await?;
        while let Some(event) = events.next().await {
            let line = match event {
                Event::Request(request) if options.wants(&request) => {
                    if globals.json {
                        json!(request).to_string()
                    } else {
                        format_request(&request, print)
                    }
                }
                Event::Lost(count) => {
                    print.warning(&format!("{count} requests came too fast and are not shown"));
                    continue;
                }
                Event::Request(_) | Event::Ready(_) | Event::Session(_) => continue,
            };
            if !print.stream_line(&line)? {
                return Ok(());
            }
        }
        Err(Error::ConnectionClosed(None).into())
    })
}

impl TailArgs {
    fn wants(&self, request: &RequestRecord) -> bool {
        let status = self.status.is_none_or(|wanted| wanted.contains(request.status));
        let client = self.client.as_ref().is_none_or(|name| request.client.as_ref() == Some(name));
        status && client
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
