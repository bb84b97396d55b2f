//! nginx and HAProxy, before the same upstream.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tokio::net::UnixStream;

use crate::support::EVENT_TIMEOUT;

/// Another proxy before the same upstream.
pub struct Neighbour {
    process: Child,
    socket: PathBuf,
}

impl Neighbour {
    pub fn nginx(home: &TempDir, upstream: u16) -> Self {
        let (home, socket) = (home.path(), home.path().join("nginx.sock"));
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|kind| format!("{kind}_temp_path {}/{kind};\n", home.display()))
            .concat();
        let config = format!(
            "daemon off;\nmaster_process off;\npid {0}/nginx.pid;\nerror_log {0}/nginx.log;\n\
             events {{ worker_connections 256; }}\n\
             http {{\naccess_log off;\n{temporary}\
             server {{\nlisten unix:{1};\nlocation / {{\n\
             proxy_pass https://127.0.0.1:{upstream};\nproxy_http_version 1.1;\n\
             proxy_set_header Connection \"\";\nproxy_buffer_size 64k;\nproxy_buffers 8 64k;\n\
             }}\n}}\n}}\n",
            home.display(),
            socket.display(),
        );
        let file = home.join("nginx.conf");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-p"]).arg(home).arg("-c").arg(&file);
        Self::start(command, &socket)
    }

    pub fn haproxy(home: &TempDir, upstream: u16) -> Self {
        let socket = home.path().join("haproxy.sock");
        let config = format!(
            "defaults\n mode http\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n\
             frontend in\n bind unix@{}\n default_backend out\n\
             backend out\n server one 127.0.0.1:{upstream} ssl verify none\n",
            socket.display(),
        );
        let file = home.path().join("haproxy.cfg");
        std::fs::write(&file, config).unwrap();
        let mut command = Command::new("haproxy");
        command.args(["-db", "-f"]).arg(&file);
        Self::start(command, &socket)
    }

    fn start(mut command: Command, socket: &Path) -> Self {
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let process = process.expect("it is installed by scripts/prepare.sh");
        Self { process, socket: socket.to_owned() }
    }

    pub async fn ask(&self, target: &str) -> Vec<u8> {
        let connected = async {
            loop {
                match UnixStream::connect(&self.socket).await {
                    Ok(stream) => return stream,
                    // It has not started yet: there is no event to wait for.
                    Err(_) => tokio::task::yield_now().await,
                }
            }
        };
        let stream = tokio::time::timeout(EVENT_TIMEOUT, connected).await.expect("it listens");
        super::exchange(stream, target).await
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}
