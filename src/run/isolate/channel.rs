//! The connection between a stage and the process of the `run`: one JSON document a line, and the
//! listeners beside it.
//!
//! A unix socket with a path reaches across namespaces of the network, and needs no descriptor that
//! a process between the two would inherit.

use std::io::{self, BufRead as _, BufReader, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;

use super::plan::{IsolationPlan, StageReport};

/// The end of a stage.
#[derive(Debug)]
pub(super) struct StageChannel(UnixStream);

impl StageChannel {
    /// Connects to the process of the `run`, and returns the plan that it sends.
    pub(super) fn open(socket: &Path) -> io::Result<(Self, IsolationPlan)> {
        let stream = UnixStream::connect(socket)?;
        let mut line = String::new();
        // Nothing follows the plan, so that the reader takes nothing that it would lose.
        BufReader::new(&stream).read_line(&mut line)?;
        Ok((Self(stream), serde_json::from_str(&line)?))
    }

    /// Sends a report, and listeners with it.
    pub(super) fn send(&self, report: &StageReport, listeners: &[TcpListener]) -> io::Result<()> {
        let mut line = serde_json::to_vec(report)?;
        line.push(b'\n');
        let descriptors: Vec<BorrowedFd<'_>> = listeners.iter().map(|it| it.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); CONTROL_LENGTH];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("too many listeners"));
        }
        let sent = sendmsg(&self.0, &[IoSlice::new(&line)], &mut control, SendFlags::NOSIGNAL)?;
        (&self.0).write_all(&line[sent..])
    }
}

/// The end of the `run`.
#[derive(Debug)]
pub(super) struct RunChannel(tokio::net::UnixStream);

impl RunChannel {
    /// Sends the plan to the stage that has connected.
    pub(super) async fn open(
        stream: tokio::net::UnixStream,
        plan: &IsolationPlan,
    ) -> io::Result<Self> {
        use tokio::io::AsyncWriteExt as _;
        let mut line = serde_json::to_vec(plan)?;
        line.push(b'\n');
        let mut stream = stream;
        stream.write_all(&line).await?;
        Ok(Self(stream))
    }

    /// Waits for the report of the stage.
    pub(super) async fn receive(&self) -> io::Result<(StageReport, Vec<TcpListener>)> {
        let (mut line, mut listeners) = (vec![], vec![]);
        while !line.ends_with(b"\n") {
            let read = || receive_some(&self.0, &mut line, &mut listeners);
            if self.0.async_io(Interest::READABLE, read).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok((serde_json::from_slice(&line)?, listeners))
    }
}

fn receive_some(
    stream: &tokio::net::UnixStream,
    line: &mut Vec<u8>,
    listeners: &mut Vec<TcpListener>,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); CONTROL_LENGTH];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut buffer = [0; 4096];
    let iov = &mut [IoSliceMut::new(&mut buffer)];
    let received = recvmsg(stream, iov, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            listeners.extend(descriptors.map(TcpListener::from));
        }
    }
    line.extend_from_slice(&buffer[..received.bytes]);
    Ok(received.bytes)
}

/// Most listeners of one `run`. The kernel takes 253 descriptors in a message.
pub(in crate::run) const MAX_LISTENERS: usize = 250;

const CONTROL_LENGTH: usize = cmsg_space!(ScmRights(MAX_LISTENERS));
