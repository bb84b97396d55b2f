//! The simulator on its own, for people who test scripts without an account.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use nexudus_simulator::{
    Account, Alpn, Certificate, DEMO_EMAIL, DEMO_PASSWORD, RecordedRequest, Settings, Simulator,
    StartError, duration_serde,
};

/// A local Nexudus with invented data, to try scripts against.
///
/// The server speaks HTTPS with a certificate from an authority made at start; tell your client to trust
/// the file it names. Everything can be turned while it runs, over the control address.
#[derive(Parser)]
#[command(version, after_long_help = EXAMPLES)]
struct Arguments {
    /// Address to listen on; port 0 picks one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6443")]
    listen: SocketAddr,
    /// Address for turning settings over plain HTTP (`GET /` lists it all), or `off`
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:6444")]
    control: String,
    /// E-mail of the account
    #[arg(long, default_value = DEMO_EMAIL)]
    email: String,
    /// Password of the account
    #[arg(long, default_value = DEMO_PASSWORD)]
    password: String,
    /// Turn two-factor authentication on, with this base32 secret (at most 32 letters)
    #[arg(long, value_name = "BASE32")]
    totp_secret: Option<String>,
    /// Make the account a plain member: no API access
    #[arg(long)]
    member: bool,
    /// Life of an access token [default: 604799s]
    #[arg(long, value_name = "DURATION", value_parser = duration_serde::parse)]
    access_token_life: Option<Duration>,
    /// Where to write the certificate authority to trust [default: a file in the temporary directory]
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Turn a setting, e.g. `throttle.next=3`; repeatable
    #[arg(long, value_name = "KNOB=VALUE")]
    set: Vec<String>,
    /// Fault of the certificate
    #[arg(long, value_name = "KIND", default_value = "good",
          value_parser = ["good", "expired", "wrong-name", "unknown-ca"])]
    certificate: String,
    /// Offer HTTP/1.1 only
    #[arg(long)]
    http1_only: bool,
    /// Another name or address for the certificate; repeatable
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Seed of the invented data and of the chances of faults
    #[arg(long, value_name = "N", default_value_t = 0)]
    data_seed: u64,
    /// Do not print a line per request
    #[arg(long, short)]
    quiet: bool,
}

const EXAMPLES: &str = "\
Examples:
  Tokens that live 20 seconds, and a member without API access:
    nexudus-simulator --access-token-life 20s --member

  Two-factor authentication, and a lock-out after three failed logins:
    nexudus-simulator --totp-secret GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ --set token.lockout_after=3

  Ten requests in five seconds, then 429:
    nexudus-simulator --set throttle.status=429 \\
      --set 'throttle.windows=[{\"limit\": 10, \"per\": \"5s\"}]'

  While it runs:
    curl localhost:6444/                                     # every setting
    curl localhost:6444/seen                                 # what arrived
    curl -d '{\"seconds\": 604800}' localhost:6444/advance      # a week later
    curl -d '\"access\"' localhost:6444/revoke                  # kill the tokens
    curl -d '{\"path\": \"/api/spaces\", \"times\": 1, \"deed\": \"reset\"}' localhost:6444/faults

Ends on Ctrl-C or SIGTERM. Exit codes: 0 ended, 1 could not start, 2 usage.";

#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Usage(String),
    #[error("could not start")]
    Start(#[from] StartError),
    #[error("could not write the authority to {0}")]
    Authority(PathBuf, #[source] std::io::Error),
    #[error("could not listen for signals")]
    Signals(#[source] std::io::Error),
}

fn main() -> ExitCode {
    let outcome = run(Arguments::parse());
    let Err(error) = outcome else { return ExitCode::SUCCESS };
    let mut text = format!("error: {error}\n");
    let mut cause = std::error::Error::source(&error);
    while let Some(inner) = cause {
        text += &format!("  caused by: {inner}\n");
        cause = inner.source();
    }
    let _ = std::io::stderr().write_all(text.as_bytes());
    ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
}

fn run(arguments: Arguments) -> Result<(), Error> {
    let mut settings = Settings::default();
    if let Some(life) = arguments.access_token_life {
        settings.token.access_life = life;
    }
    for assignment in &arguments.set {
        settings = settings.with(assignment).map_err(Error::Usage)?;
    }
    let mut account = Account::new(&arguments.email, &arguments.password);
    account.totp_secret = arguments.totp_secret;
    if account.totp_secret.as_ref().is_some_and(|s| nexudus_simulator::totp_code(s, 0).is_none()) {
        return Err(Error::Usage("--totp-secret is not base32 of at most 20 bytes".to_owned()));
    }
    if arguments.member {
        account = account.member();
    }
    let mut builder = Simulator::builder()
        .account(account)
        .set(|initial| *initial = settings)
        .listen(arguments.listen)
        .seed(arguments.data_seed)
        .certificate(match arguments.certificate.as_str() {
            "expired" => Certificate::Expired,
            "wrong-name" => Certificate::WrongName,
            "unknown-ca" => Certificate::UnknownCa,
            _ => Certificate::Good,
        })
        .alpn(if arguments.http1_only { Alpn::Http1 } else { Alpn::Both });
    for name in arguments.name {
        builder = builder.name(name);
    }
    if arguments.control != "off" {
        let wrong = |_| Error::Usage(format!("not an address: {}", arguments.control));
        builder = builder.control(arguments.control.parse().map_err(wrong)?);
    }
    if !arguments.quiet {
        builder = builder.on_request(|seen| print_line(&format_request(seen)));
    }
    let simulator = builder.start()?;
    let ca = arguments.ca_out.unwrap_or_else(|| {
        let port = simulator.address().port();
        std::env::temp_dir().join(format!("nexudus-simulator-{port}.pem"))
    });
    simulator.write_ca(&ca).map_err(|error| Error::Authority(ca.clone(), error))?;
    print_startup(&simulator, &arguments.email, &arguments.password, &ca);
    wait_for_the_end().map_err(Error::Signals)
}

fn print_startup(simulator: &Simulator, email: &str, password: &str, ca: &std::path::Path) {
    let (origin, ca) = (simulator.origin(), ca.display());
    print_line(&format!("listening on {origin}"));
    if let Some(control) = simulator.control_address() {
        print_line(&format!("settings on  http://{control}"));
    }
    print_line(&format!("trust        {ca}"));
    print_line(&format!("log in as    {email} / {password}"));
    print_line(&format!(
        "try          curl --cacert {ca} -d grant_type=password --data-urlencode 'username={email}' \
         --data-urlencode 'password={password}' {origin}/api/token"
    ));
}

fn format_request(seen: &RecordedRequest) -> String {
    let status = seen.status.map_or_else(|| "---".to_owned(), |status| status.to_string());
    let account = seen.account.as_deref().unwrap_or("-");
    let note = seen.note.as_ref().map(|note| format!("  ({note})")).unwrap_or_default();
    format!("{status} {} {} {account}{note}", seen.method, seen.target)
}

/// The one place that prints. A closed pipe is no reason to stop.
fn print_line(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn wait_for_the_end() -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut terminate = signal(SignalKind::terminate())?;
            tokio::select! {
                ended = tokio::signal::ctrl_c() => ended,
                _ = terminate.recv() => Ok(()),
            }
        }
        #[cfg(not(unix))]
        tokio::signal::ctrl_c().await
    })
}
