//! The system call filter: an allow list; what is not on it answers as if the kernel did not have it.

use std::{collections::BTreeMap, sync::OnceLock};

use crate::{
    calls::{self, Architecture},
    filter::{self, CallVerdict, Instruction},
    sys::{self, check},
};

/// Socket families a program may use; VSOCK would reach a hypervisor, ALG and others the kernel's odd corners.
const FAMILIES: &[u32] =
    &[libc::AF_UNIX as u32, libc::AF_INET as u32, libc::AF_INET6 as u32, libc::AF_NETLINK as u32];

/// Execution domains that only describe an ordinary Linux process (`uname26`, no address randomisation for
/// debuggers excluded): PER_LINUX, PER_LINUX32, and asking which it is.
const PERSONALITIES: &[u32] = &[0x0, 0x8, 0xffff_ffff];

/// Flags of clone that make a namespace.
const NAMESPACE_FLAGS: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Requests that put input into the terminal that the caller came from.
const TERMINAL_INPUT: &[u32] = &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32];

/// The compiled filter; compiled once a process, so a process that starts many sandboxes should ask for it early.
pub(crate) fn program() -> &'static [Instruction] {
    static PROGRAM: OnceLock<Vec<Instruction>> = OnceLock::new();
    PROGRAM.get_or_init(|| compile(Architecture::HERE))
}

fn compile(architecture: Architecture) -> Vec<Instruction> {
    filter::compile(architecture.audit(), &rules(architecture))
}

/// What becomes of each system call that does not answer ENOSYS.
fn rules(architecture: Architecture) -> BTreeMap<u32, CallVerdict> {
    let mut rules: BTreeMap<u32, CallVerdict> =
        architecture.allowed().map(|number| (number, CallVerdict::Allow)).collect();
    let families = CallVerdict::OneOf { argument: 0, values: FAMILIES };
    for (call, verdict) in [
        (calls::SOCKET, families),
        (calls::SOCKETPAIR, families),
        (calls::PERSONALITY, CallVerdict::OneOf { argument: 0, values: PERSONALITIES }),
        // The flags are the first argument on both architectures.
        (calls::CLONE, CallVerdict::NoneOfBits { argument: 0, bits: NAMESPACE_FLAGS }),
        (calls::IOCTL, CallVerdict::NoneOf { argument: 1, values: TERMINAL_INPUT }),
    ] {
        rules.insert(architecture.number(&call), verdict);
    }
    rules
}

#[repr(C)]
struct Program {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Puts the calling thread under `program`, for good. `no_new_privs` must be set.
pub(crate) fn install(program: &[Instruction]) -> sys::Result<()> {
    let program =
        Program { length: program.len() as libc::c_ushort, instructions: program.as_ptr() };
    // SAFETY: the program lives across the call; the kernel copies and checks it.
    check(unsafe {
        libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0_u64, &raw const program)
    })
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        calls::Call,
        filter::{Answer, answer},
    };

    const ALL: [Architecture; 2] = [Architecture::X86_64, Architecture::Aarch64];

    #[test]
    fn every_number_gets_the_verdict_of_the_list() {
        for architecture in ALL {
            let (program, rules, here) =
                (compile(architecture), rules(architecture), architecture.audit());
            for number in (0..2_000).chain([0x4000_0000, 0x4000_0001, u32::MAX]) {
                let expected = match rules.get(&number) {
                    Some(CallVerdict::OneOf { .. }) => continue,
                    Some(_) => Answer::Allow,
                    None => Answer::Missing,
                };
                assert_eq!(answer(&program, here, number, [0; 6]), expected, "{number}");
            }
            assert!(program.len() < 400, "{}", program.len());
        }
    }

    #[test]
    fn calls_of_another_architecture_end_the_process() {
        for architecture in ALL {
            let program = compile(architecture);
            let others = ALL.into_iter().filter(|other| *other != architecture);
            // The 32-bit ABIs of both: AUDIT_ARCH_I386 and AUDIT_ARCH_ARM.
            for other in others.map(Architecture::audit).chain([0x4000_0003, 0x4000_0028, 0]) {
                for number in 0..500 {
                    assert_eq!(answer(&program, other, number, [0; 6]), Answer::Kill, "{number}");
                }
            }
        }
    }

    #[test]
    fn the_filter_of_this_machine_is_installed() {
        assert_eq!(program(), compile(Architecture::HERE));
        #[cfg(target_arch = "x86_64")]
        assert_eq!(Architecture::HERE, Architecture::X86_64);
        #[cfg(target_arch = "aarch64")]
        assert_eq!(Architecture::HERE, Architecture::Aarch64);
    }

    #[test]
    fn arguments_are_looked_at() {
        for architecture in ALL {
            let program = compile(architecture);
            let ask = |call: Call, arguments: [u64; 6]| {
                answer(&program, architecture.audit(), architecture.number(&call), arguments)
            };
            let first = |value: u64| [value, 0, 0, 0, 0, 0];
            assert_eq!(ask(calls::SOCKET, first(libc::AF_INET6 as u64)), Answer::Allow);
            for family in [libc::AF_VSOCK, libc::AF_ALG, libc::AF_PACKET, 0] {
                assert_eq!(ask(calls::SOCKET, first(family as u64)), Answer::Missing);
                assert_eq!(ask(calls::SOCKETPAIR, first(family as u64)), Answer::Missing);
            }
            // The kernel takes the lower half as the family: what stands in the upper must not hide it.
            let hidden = 1 << 32 | libc::AF_VSOCK as u64;
            assert_eq!(ask(calls::SOCKET, first(hidden)), Answer::Missing);
            assert_eq!(ask(calls::CLONE, first(libc::CLONE_VM as u64 | 17)), Answer::Allow);
            for flag in [libc::CLONE_NEWUSER, libc::CLONE_NEWNS, libc::CLONE_NEWNET] {
                let flags = first((flag | libc::CLONE_VM) as u64);
                assert_eq!(ask(calls::CLONE, flags), Answer::Missing);
            }
            let input = 1 << 32 | libc::TIOCSTI;
            assert_eq!(ask(calls::IOCTL, [0, libc::TCGETS, 0, 0, 0, 0]), Answer::Allow);
            assert_eq!(ask(calls::IOCTL, [0, input, 0, 0, 0, 0]), Answer::Missing);
            assert_eq!(ask(calls::PERSONALITY, first(0xffff_ffff)), Answer::Allow);
            assert_eq!(ask(calls::PERSONALITY, first(0x4_0000)), Answer::Missing);
        }
    }
}
