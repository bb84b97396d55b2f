//! The programs, how each is started, and where it works.

/// A program that hard-codes the address of Nexudus.
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// What its file is an argument of; `java` and `go` compile it, a host of `MCP` starts it.
    pub(crate) command: &'static [&'static str],
    pub(crate) file: &'static str,
    pub(crate) environment: &'static [(&'static str, &'static str)],
    pub(crate) works: Works,
    /// Whether its packages are too large for every run of the tests.
    pub(crate) is_large: bool,
}

/// Where a program works without any other change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Works {
    /// Under `run`, and under `run --isolate`.
    Run,
    /// Under `run --isolate` alone.
    Isolated,
}

impl Program {
    const fn new(name: &'static str, command: &'static [&'static str], file: &'static str) -> Self {
        Self { name, command, file, environment: &[], works: Works::Run, is_large: false }
    }

    const fn isolated(self) -> Self {
        Self { works: Works::Isolated, ..self }
    }

    const fn large(self) -> Self {
        Self { is_large: true, ..self }
    }

    const fn with(self, environment: &'static [(&'static str, &'static str)]) -> Self {
        Self { environment, ..self }
    }

    /// Returns its row in the documents.
    pub(crate) fn row(&self) -> String {
        let (set, works) = match self.works {
            Works::Run => ("nothing: `nexudus-proxy run -- …`", "`run`, `run --isolate`"),
            Works::Isolated => {
                ("nothing: `nexudus-proxy run --isolate -- …`", "`run --isolate` only")
            }
        };
        format!("| {} | {set} | {works} |", self.name)
    }
}

const PYTHON: &[&str] = &["/usr/bin/python3"];
const NODE: &[&str] = &["node"];
const RUBY: &[&str] = &["ruby"];
const PHP: &[&str] = &["php"];
const MCP: &[&str] = &["MCP"];

/// Every program, in the order of the table.
pub(crate) const PROGRAMS: &[Program] = &[
    Program::new("curl", &["sh"], "with_curl.sh"),
    Program::new("wget", &["sh"], "with_wget.sh"),
    Program::new("Python requests", PYTHON, "with_requests.py"),
    Program::new("Python httpx", PYTHON, "with_httpx.py"),
    Program::new("Python urllib", PYTHON, "with_urllib.py"),
    Program::new("Python aiohttp (trust_env)", PYTHON, "with_aiohttp.py"),
    Program::new("Python urllib3 alone", PYTHON, "with_urllib3.py").isolated(),
    Program::new("Node 20 fetch", NODE, "with_fetch.mjs"),
    Program::new("Node https.request", NODE, "with_https.mjs"),
    Program::new("Node axios 1", NODE, "with_axios.mjs").large(),
    Program::new("Node axios 0.27", NODE, "with_axios.mjs").with(&[("AXIOS", "axios-old")]).large(),
    Program::new("Node got", NODE, "with_got.mjs").large(),
    Program::new("Node node-fetch", NODE, "with_node_fetch.mjs").large(),
    Program::new("Node request-promise", NODE, "with_request_promise.mjs").large(),
    Program::new("Node undici Client", NODE, "with_undici_client.mjs").isolated().large(),
    Program::new("Ruby net/http", RUBY, "with_net_http.rb"),
    Program::new("Ruby HTTParty", RUBY, "with_httparty.rb"),
    Program::new("PHP curl", PHP, "with_curl.php"),
    Program::new("PHP Guzzle", PHP, "with_guzzle.php"),
    Program::new("PHP streams", PHP, "with_streams.php").isolated(),
    Program::new("Java HttpClient", &["java"], "WithHttpClient.java"),
    Program::new("Java HttpURLConnection", &["java"], "WithUrlConnection.java"),
    Program::new("Go net/http", &["go"], "with_net_http.go"),
    Program::new("Perl LWP", &["perl"], "with_lwp.pl"),
    Program::new("R httr", &["Rscript"], "with_httr.R").large(),
    Program::new("MCP server that logs in", MCP, "mcp_official.py"),
    Program::new("MCP server with a base URL", MCP, "mcp_community.py"),
];
