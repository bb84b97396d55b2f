//! Callers of each member, who never rest: one without a key and one with a key, and what they were told.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::members;

/// The callers of all members.
pub(crate) struct Traffic {
    calls: Arc<Mutex<Vec<Call>>>,
    ended: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// A request and its answer.
#[derive(Clone, Debug)]
#[allow(dead_code, reason = "a report of a broken promise shows every field")]
pub(crate) struct Call {
    pub(crate) member: usize,
    pub(crate) has_key: bool,
    pub(crate) began: Instant,
    /// How long it took.
    pub(crate) took: Duration,
    /// The status; none where nothing answered.
    pub(crate) status: Option<u16>,
    /// What the program said, where it is an error.
    pub(crate) error: String,
}

impl Traffic {
    /// Starts the callers of the members behind these sockets.
    pub(crate) fn start(sockets: &[PathBuf], key: &str) -> Self {
        let calls = Arc::new(Mutex::new(vec![]));
        let ended = Arc::new(AtomicBool::new(false));
        let mut threads = vec![];
        for (member, socket) in sockets.iter().enumerate() {
            for key in [None, Some(key.to_owned())] {
                let (calls, ended, socket) = (calls.clone(), ended.clone(), socket.clone());
                threads.push(std::thread::spawn(move || {
                    while !ended.load(Ordering::Relaxed) {
                        let call = call(member, &socket, key.as_deref());
                        calls.lock().unwrap().push(call);
                        // A caller's own pace: ten that never pause would leave the members no time.
                        std::thread::sleep(PAUSE);
                    }
                }));
            }
        }
        Self { calls, ended, threads }
    }

    /// Returns the calls that began after `since` and are over.
    pub(crate) fn since(&self, since: Instant) -> Vec<Call> {
        let calls = self.calls.lock().unwrap();
        calls.iter().filter(|call| call.began >= since).cloned().collect()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            drop(thread.join());
        }
    }
}

fn call(member: usize, socket: &std::path::Path, key: Option<&str>) -> Call {
    let began = Instant::now();
    let answer = members::get(socket, &format!("{}?caller={member}", crate::TARGET), key);
    let is_error = answer.as_ref().is_some_and(|it| it.status != 200);
    Call {
        member,
        has_key: key.is_some(),
        began,
        took: began.elapsed(),
        status: answer.as_ref().map(|it| it.status),
        error: answer.filter(|_| is_error).map(|it| it.body).unwrap_or_default(),
    }
}

const PAUSE: Duration = Duration::from_millis(200);
