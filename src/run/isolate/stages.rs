//! The two processes between a `run` and its command, each this program again.
//!
//! The first makes the namespaces and the listeners in them, the second is process 1 inside: it
//! arranges the mounts, gives its privileges up and starts the command. Both then only forward
//! signals and pass the exit code on.
//!
//! A namespace of users is made by a process with one thread, before anything else has begun. The
//! second stage makes another one: over the first, which owns the mounts and the network, the command
//! has no capability, even as root.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::RawFd;
use std::path::PathBuf;

use nix::sched::{CloneFlags, unshare};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use tokio::process::Command;
use tokio::task::JoinSet;

use super::channel::StageChannel;
use super::plan::{IsolationPlan, Refusal, StageReport, Step as _};
use super::{loopback, mounts, syscalls};
use crate::children;
use crate::run::command::{ForwardedSignals, exit_code, wait};

/// One of the two processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StageKind {
    /// Makes the namespaces.
    Namespaces,
    /// Is process 1 inside.
    Init,
}

/// The arguments of a stage.
struct StageArgs {
    socket: PathBuf,
    /// The command.
    argv: Vec<OsString>,
}

/// Runs a stage, if this process was started as one, and returns how to exit.
pub(in crate::run) fn run_stage(args: &[OsString]) -> Option<u8> {
    let (name, args) = args.split_first()?;
    let (stage, run): (_, fn(&StageArgs) -> io::Result<u8>) = if name == NAMESPACES_NAME {
        (StageKind::Namespaces, namespaces)
    } else if name == INIT_NAME {
        (StageKind::Init, init)
    } else {
        return None;
    };
    let (socket, argv) = args.split_first()?;
    let args = StageArgs { socket: socket.into(), argv: argv.to_vec() };
    // The process of the `run` sees that the connection has ended without a report.
    let result = close_inherited().and_then(|()| run(&args));
    Some(result.unwrap_or_else(|_| stage.failure_code()))
}

impl StageKind {
    /// Returns the exit code of a stage that cannot even report.
    fn failure_code(self) -> u8 {
        match self {
            Self::Namespaces | Self::Init => 125,
        }
    }
}

/// Returns the command line of the first stage.
pub(super) fn first(socket: &std::path::Path, argv: &[OsString]) -> std::process::Command {
    stage_command(NAMESPACES_NAME, socket.as_os_str(), argv)
}

fn stage_command(name: &str, socket: &OsStr, argv: &[OsString]) -> std::process::Command {
    use std::os::unix::process::CommandExt as _;
    // Leads to this very program, also after its file was replaced.
    let mut command = std::process::Command::new("/proc/self/exe");
    command.arg0(name).arg(socket).args(argv);
    command
}

/// Closes every descriptor but the three that each program has. An open directory leads past every
/// mount, and a socket of the network outside can be connected again. Called before this process has
/// opened anything.
fn close_inherited() -> io::Result<()> {
    let names = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name()));
    let names: Vec<OsString> = names.collect::<io::Result<_>>()?;
    let numbers = names.iter().filter_map(|name| name.to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number > 2) {
        match nix::unistd::close(number) {
            // The directory that was read is in its own list.
            Ok(()) | Err(nix::Error::EBADF) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn namespaces(args: &StageArgs) -> io::Result<u8> {
    let (channel, plan) = StageChannel::open(&args.socket)?;
    let listeners = match make_namespaces(&plan) {
        Ok(listeners) => listeners,
        Err(refusal) => {
            channel.send(&StageReport::Refused(refusal), &[])?;
            return Ok(StageKind::Namespaces.failure_code());
        }
    };
    channel.send(&StageReport::Listening, &listeners)?;
    // The process of the `run` accepts the connections.
    drop((channel, listeners));
    in_runtime(async {
        let mut signals = ForwardedSignals::new()?;
        let command = stage_command(INIT_NAME, args.socket.as_os_str(), &args.argv);
        let mut child = Command::from(command).spawn()?;
        Ok(exit_code(wait(&mut child, &mut signals).await?))
    })
}

fn make_namespaces(plan: &IsolationPlan) -> Result<Vec<TcpListener>, Refusal> {
    let all = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWIPC;
    unshare(all).step("make namespaces of users, mounts, network and processes")?;
    end_with_parent()?;
    map_user((0, plan.uid), (0, plan.gid))?;
    loopback::switch_on().step("switch the loopback interface on")?;
    plan.listen.iter().map(listen).collect()
}

fn listen(address: &SocketAddr) -> Result<TcpListener, Refusal> {
    let listener = TcpListener::bind(address).step(format!("listen at {address}"))?;
    listener.set_nonblocking(true).step(format!("listen at {address}"))?;
    Ok(listener)
}

fn init(args: &StageArgs) -> io::Result<u8> {
    let (channel, plan) = StageChannel::open(&args.socket)?;
    if let Err(refusal) = close_in(&plan) {
        channel.send(&StageReport::Refused(refusal), &[])?;
        return Ok(StageKind::Init.failure_code());
    }
    in_runtime(async {
        let mut signals = ForwardedSignals::new()?;
        let mut orphans = JoinSet::new();
        orphans.spawn(children::reap_orphans());
        let (program, arguments) = args.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = match Command::new(program).args(arguments).spawn() {
            Ok(child) => child,
            Err(error) => {
                let errno = error.raw_os_error().unwrap_or_default();
                channel.send(&StageReport::NotStarted { errno }, &[])?;
                return Ok(StageKind::Init.failure_code());
            }
        };
        channel.send(&StageReport::Started, &[])?;
        drop(channel);
        Ok(exit_code(wait(&mut child, &mut signals).await?))
    })
}

/// Arranges what the command sees, and gives up what it must not have.
fn close_in(plan: &IsolationPlan) -> Result<(), Refusal> {
    end_with_parent()?;
    mounts::arrange(plan)?;
    unshare(CloneFlags::CLONE_NEWUSER).step("make a second namespace of users")?;
    map_user((plan.uid, 0), (plan.gid, 0))?;
    end_with_parent()?;
    syscalls::restrict().map_err(|_| Refusal {
        step: "restrict the calls of the kernel".to_owned(),
        errno: nix::libc::ENOSYS,
    })?;
    // The command cannot look into this process.
    prctl::set_dumpable(false).step("close this process to debuggers")
}

/// Has the kernel end this process with its parent, however that ends: what is inside must not go on
/// alone. A change of privileges takes it back (PR_SET_PDEATHSIG(2const)).
fn end_with_parent() -> Result<(), Refusal> {
    prctl::set_pdeathsig(Signal::SIGKILL).step("end with the `run`")
}

/// Gives the user and the group their numbers in a new namespace of users: inside, and outside.
fn map_user(user: (u32, u32), group: (u32, u32)) -> Result<(), Refusal> {
    let map = |(inside, outside): (u32, u32)| format!("{inside} {outside} 1");
    let step = "name the user in the new namespace";
    // Needed before the groups, or a process could leave a group that keeps it out of a file.
    fs::write("/proc/self/setgroups", "deny").step(step)?;
    fs::write("/proc/self/uid_map", map(user)).step(step)?;
    fs::write("/proc/self/gid_map", map(group)).step(step)
}

/// A thread cannot be started in the first stage: it would be in another namespace than its process.
fn in_runtime(future: impl Future<Output = io::Result<u8>>) -> io::Result<u8> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

const NAMESPACES_NAME: &str = "nexudus-proxy: namespaces of run";

const INIT_NAME: &str = "nexudus-proxy: init of run";
