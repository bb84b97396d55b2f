//! A daemon, the command that serves its page, and a client of both that writes what it wants.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::{Value as Json, json};

use super::daemon::{Nexudus, PATIENCE, Served};
use super::{Home, home};

/// A daemon, and the command that serves its page.
pub(crate) struct UiStage {
    pub(crate) command: Child,
    pub(crate) port: u16,
    pub(crate) code: String,
    pub(crate) daemon: Served,
    pub(crate) nexudus: Nexudus,
    pub(crate) home: Home,
}

impl UiStage {
    pub(crate) fn start(line: &str) -> Self {
        Self::start_with(line, |_, _| {})
    }

    pub(crate) fn start_with(line: &str, change: impl FnOnce(&Home, &mut Command)) -> Self {
        let (home, nexudus) = (home(), Nexudus::start());
        let mut daemon = nexudus.serve(&home, |_| {});
        daemon.log_until("logged in");
        let mut command = home.command(line);
        change(&home, &mut command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut command = command.spawn().unwrap();
        let mut link = String::new();
        BufReader::new(command.stdout.take().unwrap()).read_line(&mut link).unwrap();
        let link: Json = serde_json::from_str(&link).expect(&link);
        let url = link["url"].as_str().unwrap();
        let (address, code) = url.split_once("/#code=").unwrap();
        let port = address.strip_prefix("http://127.0.0.1:").unwrap().parse().unwrap();
        Self { command, port, code: code.to_owned(), daemon, nexudus, home }
    }

    pub(crate) fn authority(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The fields of the page's own requests, as a browser sends them.
    pub(crate) fn own(&self) -> Vec<(&'static str, &str)> {
        vec![("Sec-Fetch-Site", "same-origin"), ("Origin", self.origin())]
    }

    fn origin(&self) -> &'static str {
        format!("http://{}", self.authority()).leak()
    }

    pub(crate) fn with<'a>(&'a self, token: &'a str) -> Vec<(&'static str, &'a str)> {
        [&self.own()[..], &[("Nexudus-Proxy-Ui", token)]].concat()
    }

    pub(crate) fn begin(&self, code: &str) -> UiAnswer {
        self.ask("POST", "/ui/session", &self.own(), &json!({ "code": code }).to_string())
    }

    pub(crate) fn token(&self) -> String {
        self.begin(&self.code).json()["token"].as_str().unwrap().to_owned()
    }

    /// Sends a request to the page's own address.
    pub(crate) fn ask(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> UiAnswer {
        let authority = self.authority();
        self.send(method, path, &[&[("Host", authority.as_str())], fields].concat(), body)
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> UiAnswer {
        let mut stream = self.connect(method, path, fields, body);
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").expect(&text);
        let status = head[9..12].parse().unwrap();
        UiAnswer { status, head: head.to_owned(), body: body.to_owned() }
    }

    /// Opens a response that does not end.
    pub(crate) fn open(
        &self,
        method: &str,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> BufReader<TcpStream> {
        let authority = self.authority();
        let fields = [&[("Host", authority.as_str())], fields].concat();
        BufReader::new(self.connect(method, path, &fields, body))
    }

    fn connect(&self, method: &str, path: &str, fields: &[(&str, &str)], body: &str) -> TcpStream {
        let fields: String =
            fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\n{fields}Connection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        let begun = Instant::now();
        let mut stream = loop {
            match TcpStream::connect(("127.0.0.1", self.port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
            }
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream
    }
}

impl Drop for UiStage {
    fn drop(&mut self) {
        self.command.kill().ok();
        self.command.wait().ok();
    }
}

/// A response.
pub(crate) struct UiAnswer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl UiAnswer {
    pub(crate) fn json(&self) -> Json {
        let start = self.body.find(['{', '[']).unwrap_or_default();
        let end = self.body.rfind(['}', ']']).map_or(0, |at| at + 1);
        serde_json::from_str(&self.body[start..end]).expect(&self.body)
    }

    pub(crate) fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }
}
