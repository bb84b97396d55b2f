//! A Nexudus that nginx stands in front of and compresses whatever passes, the tokens too: asked for or
//! not.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nexudus_simulator::{Account, DEMO_EMAIL, DEMO_PASSWORD, Simulator};
use socket2::{Domain, Socket, Type};

use crate::shared::eventually;
use crate::support::{Stage, text};

#[test]
fn what_nginx_has_compressed_unasked_serves_a_whole_daemon() {
    let account = Account::new(DEMO_EMAIL, DEMO_PASSWORD);
    let simulator = Simulator::builder().account(account).start().unwrap();
    let front = Front::before(simulator.address().port());
    let grant = format!("grant_type=password&username={DEMO_EMAIL}&password={DEMO_PASSWORD}");
    let token = front.curl(&["-d", &grant, "/api/token"]);
    assert!(token.starts_with(b"\x1f\x8b"), "a token response comes compressed: {token:?}");
    let origin = format!("https://localhost:{}", front.port);
    let ca = front.certificate();
    let stage = Stage::of(simulator, &origin, |home, program| {
        std::fs::write(home.join("ca.pem"), ca).unwrap();
        program
    });

    let me = stage.curl(&["--compressed", &format!("{}/api/auth/me", stage.base())]);

    assert!(me.contains("\"Email\":\"ada@example.test\""), "{me}");
    let raw = stage.tool("curl").args(["-sSi", &format!("{}/api/auth/me", stage.base())]).output();
    let raw = raw.unwrap().stdout;
    let head = text(&raw).to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 200 ok\r\n"), "{head}");
    assert!(head.contains("content-encoding: gzip\r\n"), "what nginx says is relayed: {head}");
    // The token is renewed through nginx too.
    let socket = stage.home.path().join(".local/state/nexudus-proxy/run/admin.sock");
    let refresh = ["-X", "POST", "--unix-socket", socket.to_str().unwrap()];
    let refreshed = stage.curl(&[&refresh[..], &["http://localhost/v1/refresh"]].concat());
    assert!(refreshed.contains("\"generation\":2"), "{refreshed}");
    let calls = stage.simulator.token_calls();
    assert_eq!(calls.len(), 3, "ours above, a login and a renewal: {calls:?}");
}

/// nginx with a certificate of its own: the server behind compresses, the one in front speaks TLS.
struct Front {
    process: Child,
    home: tempfile::TempDir,
    port: u16,
    /// Keeps the port, and listens to nothing.
    _reserved: Socket,
}

impl Front {
    fn before(upstream: u16) -> Self {
        let home = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(home.path().join("front.pem"), made.cert.pem()).unwrap();
        std::fs::write(home.path().join("front.key"), made.signing_key.serialize_pem()).unwrap();
        let reserved = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        reserved.set_reuse_port(true).unwrap();
        reserved.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        let port = reserved.local_addr().unwrap().as_socket().unwrap().port();
        let config = home.path().join("nginx.conf");
        std::fs::write(&config, configuration(home.path(), port, upstream)).unwrap();
        let process = Command::new("nginx")
            .args(["-e", "stderr", "-p"])
            .arg(home.path())
            .arg("-c")
            .arg(&config)
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .expect("the test needs nginx: run scripts/prepare.sh");
        eventually("nginx listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { process, home, port, _reserved: reserved }
    }

    fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.home.path().join("front.pem")).unwrap()
    }

    /// Asks nginx itself, and returns the bytes of the body; the last word is the path.
    fn curl(&self, words: &[&str]) -> Vec<u8> {
        let (path, words) = words.split_last().unwrap();
        let mut curl = Command::new("curl");
        curl.arg("-sS").arg("--cacert").arg(self.home.path().join("front.pem")).args(words);
        curl.arg(format!("https://localhost:{}{path}", self.port)).output().unwrap().stdout
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// nginx drops a header with an underscore, such as `client_id`, unless it is told to keep them.
fn configuration(home: &Path, port: u16, upstream: u16) -> String {
    let home = home.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {home}/{kind};\n"))
        .concat();
    format!(
        "daemon off;\nmaster_process off;\npid {home}/nginx.pid;\nerror_log {home}/nginx.log;\n\
         events {{ worker_connections 256; }}\nhttp {{\naccess_log off;\n{temporary}\
         underscores_in_headers on;\ngzip on;\ngzip_types *;\ngzip_proxied any;\ngzip_min_length 1;\n\
         proxy_http_version 1.1;\nproxy_set_header Connection \"\";\n\
         server {{\nlisten 127.0.0.1:{port} ssl reuseport;\n\
         ssl_certificate {home}/front.pem;\nssl_certificate_key {home}/front.key;\n\
         location / {{\n\
         proxy_pass http://unix:{home}/inner.sock:;\nproxy_set_header Host $http_host;\n\
         proxy_set_header Accept-Encoding gzip;\n}}\n}}\n\
         server {{\nlisten unix:{home}/inner.sock;\n\
         location / {{\n\
         proxy_pass https://127.0.0.1:{upstream};\nproxy_set_header Host $http_host;\n\
         proxy_set_header Accept-Encoding \"\";\n}}\n}}\n}}\n"
    )
}
