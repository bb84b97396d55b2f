//! Passwords and tokens stay where they belong.

use crate::support::{PASSWORD, daemon, upstream};

#[tokio::test]
async fn a_caller_never_sees_a_secret_in_an_answer_of_ours() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let token = upstream.live_access_tokens().remove(0);
    let (_, refresh) = upstream.live_refresh_tokens().remove(0);

    let grant = daemon.request("POST", "/api/token").body("grant_type=password").send();
    let mut said = format!("{:?}", grant.await.unwrap().text().await.unwrap());
    for request in
        ["GET / HTTP/1.1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: HOST\r\nConnection: close\r\n\r\n"]
    {
        said.push_str(&daemon.raw(request).await);
    }
    said.push_str(&format!("{:?}", daemon.running));

    for secret in [PASSWORD, &token, &refresh] {
        assert!(!said.contains(secret), "{said}");
    }
}

#[tokio::test]
async fn a_daemon_that_keeps_its_session_in_memory_writes_no_secret() {
    let upstream = upstream().start().unwrap();
    let daemon = daemon(&upstream).run().await;
    assert_eq!(daemon.get("/api/auth/me").await.status(), 200);
    let token = upstream.live_access_tokens().remove(0);

    let home = daemon.stop().await;

    for file in files(home.path()) {
        let bytes = std::fs::read(&file).unwrap_or_default();
        for secret in [PASSWORD, &token] {
            let found = bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
            assert!(!found, "{} holds a secret", file.display());
        }
    }
}

fn files(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
