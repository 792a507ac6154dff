//! The system calls that an app may not make (docs/sandbox.md), and the few that a keeper may.
//!
//! Pure: in, nothing; out, a BPF program over `struct seccomp_data` (seccomp(2)).

use libc::{c_long, sock_filter};

const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENT_0: u32 = 16;
const ARGUMENT_1: u32 = 24;
const ARGUMENT_2: u32 = 32;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned();
const ENOSYS: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.cast_unsigned();
const EAFNOSUPPORT: u32 = libc::SECCOMP_RET_ERRNO | libc::EAFNOSUPPORT.cast_unsigned();

const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
const AT_LEAST: u32 = libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K;
const ANY_BIT: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
const RETURN: u32 = libc::BPF_RET | libc::BPF_K;

#[cfg(target_arch = "x86_64")]
const NATIVE: u32 = 0xC000_003E; // AUDIT_ARCH_X86_64
#[cfg(target_arch = "aarch64")]
const NATIVE: u32 = 0xC000_00B7; // AUDIT_ARCH_AARCH64

/// x32 calls carry this bit; no native call has a number that high.
const X32_BIT: u32 = 0x4000_0000;

/// All flags by which clone(2) makes a namespace.
const NEW_NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWCGROUP;

const REFUSED: &[c_long] = &[
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_mount_setattr,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_clock_adjtime,
    libc::SYS_adjtimex,
    libc::SYS_nfsservctl,
    libc::SYS_vhangup,
    libc::SYS_lookup_dcookie,
    libc::SYS_fanotify_init,
];

#[cfg(target_arch = "x86_64")]
const REFUSED_HERE: &[c_long] = &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt];
#[cfg(target_arch = "aarch64")]
const REFUSED_HERE: &[c_long] = &[];

/// Programs fall back when the kernel seems not to have these.
const ABSENT: &[c_long] = &[
    libc::SYS_clone3,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
];

/// All that a keeper does after its set-up.
const KEEPER: &[c_long] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_ppoll,
    libc::SYS_kill,
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_ioctl,
    libc::SYS_fsync,
    libc::SYS_lseek,
    libc::SYS_pread64,
    libc::SYS_close,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_exit_group,
    libc::SYS_brk,
    libc::SYS_mmap,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_futex,
    libc::SYS_restart_syscall,
    libc::SYS_rt_sigreturn,
    libc::SYS_rt_sigprocmask,
    libc::SYS_getrandom,
];

/// The low half of a value that is known to fit: BPF's codes and the kernel's ioctl numbers.
#[expect(
    clippy::cast_possible_truncation,
    reason = "ioctl numbers have 32 bits, codes 16"
)]
const fn low(value: u64) -> u32 {
    value as u32
}

#[expect(clippy::cast_possible_truncation, reason = "BPF codes have 16 bits")]
const fn code(code: u32) -> u16 {
    code as u16
}

const fn statement(operation: u32, k: u32) -> sock_filter {
    sock_filter {
        code: code(operation),
        jt: 0,
        jf: 0,
        k,
    }
}

const fn jump(operation: u32, k: u32, when: u8, otherwise: u8) -> sock_filter {
    sock_filter {
        code: code(operation),
        jt: when,
        jf: otherwise,
        k,
    }
}

fn number(call: c_long) -> u32 {
    u32::try_from(call).expect("system call numbers are small")
}

/// What an app is held to: everything but what reaches beyond its sandbox.
pub(crate) fn app() -> Vec<sock_filter> {
    let mut program = native_only();
    for call in REFUSED.iter().chain(REFUSED_HERE) {
        program.extend([jump(EQUAL, number(*call), 0, 1), statement(RETURN, EPERM)]);
    }
    for call in ABSENT {
        program.extend([jump(EQUAL, number(*call), 0, 1), statement(RETURN, ENOSYS)]);
    }
    program.extend(on(
        libc::SYS_clone,
        &[
            statement(LOAD, ARGUMENT_0),
            jump(ANY_BIT, NEW_NAMESPACES.cast_unsigned(), 0, 1),
            statement(RETURN, EPERM),
            statement(RETURN, ALLOW),
        ],
    ));
    program.extend(on(
        libc::SYS_personality,
        &[
            statement(LOAD, ARGUMENT_0),
            jump(EQUAL, 0, 2, 0),
            jump(EQUAL, u32::MAX, 1, 0), // asks, sets nothing
            statement(RETURN, EPERM),
            statement(RETURN, ALLOW),
        ],
    ));
    program.extend(on(
        libc::SYS_ioctl,
        &[
            statement(LOAD, ARGUMENT_1),
            jump(EQUAL, low(libc::TIOCSTI), 1, 0),
            jump(EQUAL, low(libc::TIOCLINUX), 0, 1),
            statement(RETURN, EPERM),
            statement(RETURN, ALLOW),
        ],
    ));
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        program.extend(on(call, &sockets()));
    }
    program.push(statement(RETURN, ALLOW));
    program
}

/// What a keeper is held to.
pub(crate) fn keeper() -> Vec<sock_filter> {
    let mut program = native_only();
    for call in KEEPER {
        program.extend([jump(EQUAL, number(*call), 0, 1), statement(RETURN, ALLOW)]);
    }
    #[cfg(target_arch = "x86_64")]
    program.extend([
        jump(EQUAL, number(libc::SYS_poll), 0, 1),
        statement(RETURN, ALLOW),
    ]);
    program.push(statement(RETURN, EPERM));
    program
}

/// Leaves the number of the call in the accumulator, for native calls alone.
fn native_only() -> Vec<sock_filter> {
    vec![
        statement(LOAD, ARCHITECTURE),
        jump(EQUAL, NATIVE, 1, 0),
        statement(RETURN, ENOSYS),
        statement(LOAD, NUMBER),
        jump(AT_LEAST, X32_BIT, 0, 1),
        statement(RETURN, ENOSYS),
    ]
}

/// Runs `body`, which must return on every path, for one call alone.
fn on(call: c_long, body: &[sock_filter]) -> Vec<sock_filter> {
    let length = u8::try_from(body.len()).expect("bodies are short");
    let mut program = vec![jump(EQUAL, number(call), 0, length)];
    program.extend_from_slice(body);
    program
}

/// UNIX, INET and INET6 with TCP, UDP or what the kernel itself refuses (ICMP), and NETLINK with
/// protocol 0 (routes); no MPTCP, SCTP, VSOCK, ALG and the like.
fn sockets() -> Vec<sock_filter> {
    let value = |v: i32| v.cast_unsigned();
    let mut program = vec![
        statement(LOAD, ARGUMENT_0),
        jump(EQUAL, value(libc::AF_UNIX), 0, 1),
        statement(RETURN, ALLOW),
        jump(EQUAL, value(libc::AF_NETLINK), 0, 4),
        statement(LOAD, ARGUMENT_2),
        jump(EQUAL, value(libc::NETLINK_ROUTE), 0, 1),
        statement(RETURN, ALLOW),
        statement(RETURN, EAFNOSUPPORT),
        jump(EQUAL, value(libc::AF_INET), 2, 0),
        jump(EQUAL, value(libc::AF_INET6), 1, 0),
        statement(RETURN, EAFNOSUPPORT),
        statement(LOAD, ARGUMENT_2),
    ];
    let protocols = [
        0,
        libc::IPPROTO_TCP,
        libc::IPPROTO_UDP,
        libc::IPPROTO_ICMP,
        libc::IPPROTO_ICMPV6,
    ];
    for protocol in protocols {
        program.extend([jump(EQUAL, value(protocol), 0, 1), statement(RETURN, ALLOW)]);
    }
    program.push(statement(RETURN, EPERM));
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program over one call, as the kernel would.
    fn run(program: &[sock_filter], arch: u32, call: u32, arguments: [u32; 3]) -> u32 {
        let (mut at, mut value) = (0, 0);
        loop {
            let step = program[at];
            let (code, skip) = (u32::from(step.code), |yes: bool| {
                1 + usize::from(if yes { step.jt } else { step.jf })
            });
            at += match code {
                LOAD => {
                    value = match step.k {
                        NUMBER => call,
                        ARCHITECTURE => arch,
                        k => arguments[(k as usize - 16) / 8],
                    };
                    1
                }
                EQUAL => skip(value == step.k),
                AT_LEAST => skip(value >= step.k),
                ANY_BIT => skip(value & step.k != 0),
                RETURN => return step.k,
                other => panic!("code {other}"),
            };
        }
    }

    #[test]
    fn app_calls() {
        let program = app();
        let check = |call: c_long, arguments: [u32; 3], wanted: u32| {
            let got = run(&program, NATIVE, number(call), arguments);
            assert_eq!(got, wanted, "{call} {arguments:?}");
        };
        let family = |f: i32| f.cast_unsigned();
        check(libc::SYS_read, [0; 3], ALLOW);
        check(libc::SYS_mount, [0; 3], EPERM);
        check(libc::SYS_fanotify_init, [0; 3], EPERM);
        check(libc::SYS_clone3, [0; 3], ENOSYS);
        check(libc::SYS_io_uring_setup, [0; 3], ENOSYS);
        check(
            libc::SYS_clone,
            [libc::SIGCHLD.cast_unsigned(), 0, 0],
            ALLOW,
        );
        check(
            libc::SYS_clone,
            [libc::CLONE_NEWUSER.cast_unsigned(), 0, 0],
            EPERM,
        );
        check(libc::SYS_personality, [0; 3], ALLOW);
        check(libc::SYS_personality, [u32::MAX, 0, 0], ALLOW);
        check(libc::SYS_personality, [0x40000, 0, 0], EPERM);
        check(libc::SYS_ioctl, [0, low(libc::TIOCSTI), 0], EPERM);
        check(libc::SYS_ioctl, [0, low(libc::TIOCLINUX), 0], EPERM);
        check(libc::SYS_ioctl, [0, low(libc::TIOCGWINSZ), 0], ALLOW);
        check(libc::SYS_socket, [family(libc::AF_INET), 1, 0], ALLOW);
        check(libc::SYS_socket, [family(libc::AF_UNIX), 1, 0], ALLOW);
        check(libc::SYS_socket, [family(libc::AF_INET6), 1, 6], ALLOW);
        check(libc::SYS_socket, [family(libc::AF_INET), 1, 262], EPERM); // MPTCP
        check(libc::SYS_socket, [family(libc::AF_INET), 1, 132], EPERM); // SCTP
        check(libc::SYS_socket, [family(libc::AF_NETLINK), 3, 0], ALLOW);
        check(
            libc::SYS_socket,
            [family(libc::AF_NETLINK), 3, 4],
            EAFNOSUPPORT,
        );
        check(
            libc::SYS_socket,
            [family(libc::AF_VSOCK), 1, 0],
            EAFNOSUPPORT,
        );
        check(
            libc::SYS_socketpair,
            [family(libc::AF_PACKET), 1, 0],
            EAFNOSUPPORT,
        );
        assert_eq!(run(&program, 0x4000_0003, 1, [0; 3]), ENOSYS, "i386");
        assert_eq!(run(&program, NATIVE, X32_BIT | 1, [0; 3]), ENOSYS, "x32");
    }

    #[test]
    fn keeper_calls() {
        let program = keeper();
        for call in KEEPER {
            assert_eq!(run(&program, NATIVE, number(*call), [0; 3]), ALLOW);
        }
        for call in [
            libc::SYS_openat,
            libc::SYS_execve,
            libc::SYS_ptrace,
            libc::SYS_socket,
        ] {
            assert_eq!(run(&program, NATIVE, number(call), [0; 3]), EPERM);
        }
    }
}
