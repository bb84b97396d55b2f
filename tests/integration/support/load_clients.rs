//! Callers that read and write at once, and expect every answer.

use std::collections::BTreeMap;

use nexudus_simulator::Simulator;
use tokio::task::JoinSet;

use super::Daemon;

/// Requests under way.
#[derive(Default)]
pub struct LoadClients {
    under_way: JoinSet<Result<u16, reqwest::Error>>,
    sent: usize,
}

impl LoadClients {
    /// Sends this many requests; every other one is a write with a body of its own.
    pub fn send(&mut self, daemon: &Daemon, count: usize) {
        for _ in 0..count {
            self.sent += 1;
            let request = match self.sent % 2 {
                0 => daemon.request("GET", "/api/spaces/coworkers?size=1"),
                _ => daemon.request("POST", "/api/echo").body(format!("write {}", self.sent)),
            };
            self.under_way.spawn(async move {
                let answer = request.send().await?;
                let status = answer.status().as_u16();
                answer.bytes().await?;
                Ok(status)
            });
        }
    }

    /// Returns how many were sent.
    pub fn sent(&self) -> usize {
        self.sent
    }

    /// Waits until all of them are answered, and well.
    pub async fn wait_all(&mut self) {
        while let Some(answer) = self.under_way.join_next().await {
            assert_eq!(answer.unwrap().unwrap(), 200);
        }
    }

    /// Takes the answers that have come, which must be good ones.
    pub fn check_finished(&mut self) {
        while let Some(answer) = self.under_way.try_join_next() {
            assert_eq!(answer.unwrap().unwrap(), 200);
        }
    }
}

/// Asserts that this many different writes were carried out, each once.
pub fn executed_once(upstream: &Simulator, count: usize) {
    let mut times = BTreeMap::new();
    for write in upstream.executed_writes() {
        *times.entry((write.target.clone(), write.text())).or_insert(0) += 1;
    }
    let twice: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(twice.is_empty(), "executed more than once: {twice:?}");
    assert_eq!(times.len(), count);
}
