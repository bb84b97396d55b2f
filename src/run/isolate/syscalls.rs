//! The calls of the kernel that lead out of the namespaces, refused.
//!
//! A unix socket with a path is in no namespace of the network: the person's D-Bus, agents, display and
//! containers are all reached by one, and so are our own. A list of their paths would never be whole, so
//! that the command gets no socket of that family at all, but for pairs between processes of its own.

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};

/// Restricts this process and every one that it starts. Programs with more privileges than their
/// caller (`sudo`) have none from here on.
pub(super) fn restrict() -> Result<(), seccompiler::Error> {
    seccompiler::apply_filter(&program()?)
}

fn program() -> Result<BpfProgram, seccompiler::Error> {
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(
        rules()?,
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPERM.unsigned_abs()),
        architecture,
    )?;
    Ok(filter.try_into()?)
}

/// Returns the refused calls. No condition means each call of that name.
fn rules() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::Error> {
    let equal = |argument, value: i32| condition(argument, SeccompCmpOp::Eq, value);
    let other = |argument, value: i32| condition(argument, SeccompCmpOp::Ne, value);
    let kind = SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK);
    let rules = BTreeMap::from([
        // Of all families, those of the network namespace. One of a virtual machine (`AF_VSOCK`) is
        // in none either.
        (
            libc::SYS_socket,
            vec![SeccompRule::new(vec![
                other(0, libc::AF_INET)?,
                other(0, libc::AF_INET6)?,
                other(0, libc::AF_NETLINK)?,
            ])?],
        ),
        // One of a pair of datagram sockets can be connected to another path afterwards.
        (
            libc::SYS_socketpair,
            vec![SeccompRule::new(vec![condition(1, kind, libc::SOCK_DGRAM)?])?],
        ),
        // Makes sockets past this filter.
        (libc::SYS_io_uring_setup, vec![]),
        // Keys of the person, among them that of the session file.
        (libc::SYS_keyctl, vec![]),
        (libc::SYS_add_key, vec![]),
        (libc::SYS_request_key, vec![]),
        // Types into the terminal, for the shell that reads it next.
        (
            libc::SYS_ioctl,
            vec![
                SeccompRule::new(vec![equal(1, TIOCSTI)?])?,
                SeccompRule::new(vec![equal(1, TIOCLINUX)?])?,
            ],
        ),
    ]);
    // The same calls by the numbers of the x32 interface too.
    #[cfg(target_arch = "x86_64")]
    let rules = rules
        .into_iter()
        .flat_map(|(call, rules)| [(call, rules.clone()), (call | X32_CALL, rules)])
        .collect();
    Ok(rules)
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: i32,
) -> Result<SeccompCondition, seccompiler::Error> {
    // The kernel reads 32 bits of these arguments, whatever the others hold.
    let value = u64::from(value.unsigned_abs());
    Ok(SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?)
}

/// `SOCK_TYPE_MASK` of the kernel: the other bits are flags.
const SOCKET_TYPE_MASK: u64 = 0xf;

/// The requests of ioctl_tty(2).
const TIOCSTI: i32 = 0x5412;
const TIOCLINUX: i32 = 0x541c;

/// `__X32_SYSCALL_BIT`
#[cfg(target_arch = "x86_64")]
const X32_CALL: i64 = 0x4000_0000;
