//! Tries from inside a sandbox what must not work, and says of each try whether it did.
//!
//! Compiled by the tests as a static program: `probe HOST_PID LOOPBACK_PORT ABSTRACT_NAME HOST_PATH`. Each line is
//! `refused NAME` or `ALLOWED NAME: detail`; the tests know which few may be allowed to whom.

use std::{
    fs::{self, OpenOptions},
    io::{Error, Write},
    net::TcpStream,
    os::linux::net::SocketAddrExt,
    os::unix::net::{SocketAddr, UnixStream},
    path::Path,
};

unsafe extern "C" {
    fn syscall(number: i64, ...) -> i64;
    fn fork() -> i32;
    fn waitpid(pid: i32, status: *mut i32, options: i32) -> i32;
    fn _exit(code: i32) -> !;
}

fn tell(name: &str, allowed: Result<String, Error>) {
    match allowed {
        Ok(detail) => println!("ALLOWED {name}: {detail}"),
        Err(_) => println!("refused {name}"),
    }
}

fn call(name: &str, number: i64, arguments: [u64; 6]) {
    let [a, b, c, d, e, f] = arguments;
    // SAFETY: pointers among the arguments are to static strings or to buffers that outlive the call.
    let value = unsafe { syscall(number, a, b, c, d, e, f) };
    tell(name, if value < 0 { Err(Error::last_os_error()) } else { Ok(value.to_string()) });
}

fn text(text: &'static std::ffi::CStr) -> u64 {
    text.as_ptr() as u64
}

fn write(path: &str, bytes: &[u8]) {
    /// `/dev/null`: what is hidden behind it takes all that is written, and does nothing.
    const NULL: u64 = 0x103;
    let tried = OpenOptions::new().write(true).open(path).and_then(|mut file| {
        if std::os::unix::fs::MetadataExt::rdev(&file.metadata()?) == NULL {
            return Err(Error::other("hidden"));
        }
        file.write_all(bytes)
    });
    tell(&format!("write {path}"), tried.map(|()| String::new()));
}

fn create(path: &str) {
    let tried = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    tell(&format!("create {path}"), tried.map(|_| String::new()));
}

fn read(path: &str) {
    let tried = fs::read(path).and_then(|bytes| {
        if bytes.is_empty() { Err(Error::other("empty")) } else { Ok(bytes.len().to_string()) }
    });
    tell(&format!("read {path}"), tried);
}

fn files() {
    for directory in ["/", "/bin/", "/etc/", "/dev/", "/proc/", "/sys/"] {
        create(&format!("{directory}new"));
    }
    write("/etc/passwd", b"x");
    write("/bin/busybox", b"x");
    for path in [
        "/proc/sys/kernel/core_pattern",
        "/proc/sys/kernel/hostname",
        "/proc/sys/net/ipv4/ip_forward",
        "/proc/sys/vm/drop_caches",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/proc/1/oom_score_adj",
        "/proc/1/mem",
    ] {
        write(path, b"1");
    }
    for path in [
        "/proc/kcore",
        "/proc/kmsg",
        "/proc/keys",
        "/proc/timer_list",
        "/proc/kallsyms",
        "/proc/1/environ",
        "/proc/1/maps",
        "/dev/kmsg",
        "/dev/mem",
        "/dev/vda",
        "/dev/sda",
        "/dev/fuse",
        "/dev/kvm",
    ] {
        read(path);
    }
    for path in ["/proc/1/exe", "/proc/1/root", "/proc/1/cwd", "/proc/1/ns/mnt"] {
        let tried = fs::read_link(path).map(|target| target.display().to_string());
        tell(&format!("follow {path}"), tried);
    }
    let known = [
        "fd", "full", "mqueue", "null", "pts", "ptmx", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    for entry in fs::read_dir("/dev").expect("read /dev") {
        let name = entry.expect("entry").file_name().into_string().expect("text");
        if !known.contains(&name.as_str()) {
            println!("ALLOWED unknown device: {name}");
        }
    }
    tell("see /sys", fs::metadata("/sys/kernel").map(|_| String::new()));
    tell("see /sys/fs/cgroup", fs::metadata("/sys/fs/cgroup").map(|_| String::new()));
}

fn execute_from_scratch() {
    let copied = fs::copy("/probe-empty", "/tmp/program").map(|_| ());
    let tried = copied.and_then(|()| {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions("/tmp/program", fs::Permissions::from_mode(0o4755))?;
        std::process::Command::new("/tmp/program").arg("true").status()
    });
    tell("execute from scratch", tried.map(|status| status.to_string()));
}

fn mounts_and_namespaces() {
    const MOUNT: i64 = 165;
    let tmp = text(c"/tmp");
    call("mount tmpfs", MOUNT, [text(c"tmpfs"), tmp, text(c"tmpfs"), 0, 0, 0]);
    call("mount proc", MOUNT, [text(c"proc"), tmp, text(c"proc"), 0, 0, 0]);
    call("mount bind", MOUNT, [text(c"/"), tmp, 0, 4096, 0, 0]);
    call("remount root writable", MOUNT, [0, text(c"/"), 0, 32 | 4096, 0, 0]);
    call("unmount /proc/sys", 166, [text(c"/proc/sys"), 2, 0, 0, 0, 0]);
    call("pivot_root", 155, [text(c"/tmp"), text(c"/tmp"), 0, 0, 0, 0]);
    call("open_tree", 428, [u64::MAX - 99, text(c"/"), 1, 0, 0, 0]);
    call("fsopen", 430, [text(c"tmpfs"), 0, 0, 0, 0, 0]);
    call("mount_setattr", 442, [u64::MAX - 99, text(c"/"), 0, 0, 0, 0]);
    for (name, flag) in [
        ("user", 0x1000_0000_u64),
        ("mount", 0x2_0000),
        ("process", 0x2000_0000),
        ("network", 0x4000_0000),
        ("ipc", 0x800_0000),
        ("host name", 0x400_0000),
        ("control group", 0x200_0000),
    ] {
        call(&format!("unshare {name} namespace"), 272, [flag, 0, 0, 0, 0, 0]);
        // SAFETY: as fork, with one more flag that must be refused; a child ends at once.
        let pid = unsafe { syscall(56, flag | 17, 0_u64, 0_u64, 0_u64, 0_u64) };
        if pid == 0 {
            // SAFETY: ends the child.
            unsafe { _exit(0) };
        }
        let result = if pid < 0 { Err(Error::last_os_error()) } else { Ok(pid.to_string()) };
        tell(&format!("clone with {name} namespace"), result);
    }
    call("clone3", 435, [0, 0, 0, 0, 0, 0]);
    for name in ["mnt", "net", "pid", "user", "ipc"] {
        let tried = fs::File::open(format!("/proc/self/ns/{name}")).and_then(|file| {
            use std::os::fd::AsRawFd;
            // SAFETY: integers only.
            match unsafe { syscall(308, file.as_raw_fd(), 0) } {
                0 => Ok(String::new()),
                _ => Err(Error::last_os_error()),
            }
        });
        tell(&format!("setns {name}"), tried);
    }
}

fn devices() {
    const MKNOD: i64 = 133;
    call("mknod memory", MKNOD, [text(c"/tmp/mem"), 0o20_666, 0x101, 0, 0, 0]);
    call("mknod null", MKNOD, [text(c"/tmp/null"), 0o20_666, 0x103, 0, 0, 0]);
    call("mknod disk", MKNOD, [text(c"/tmp/disk"), 0o60_666, 0xfe00, 0, 0, 0]);
    call("iopl", 172, [3, 0, 0, 0, 0, 0]);
    call("ioperm", 173, [0, 8, 1, 0, 0, 0]);
    let byte = [b'x'];
    call("TIOCSTI", 16, [0, 0x5412, byte.as_ptr() as u64, 0, 0, 0]);
}

fn kernel() {
    let mut buffer = [0_u8; 4096];
    let room = buffer.as_mut_ptr() as u64;
    for (name, number, arguments) in [
        ("syslog", 103, [3, room, 4096, 0, 0, 0]),
        ("bpf", 321, [0, room, 128, 0, 0, 0]),
        ("keyctl", 250, [0, u64::MAX - 2, 0, 0, 0, 0]),
        ("add_key", 248, [text(c"user"), text(c"k"), text(c"v"), 1, u64::MAX - 2, 0]),
        ("request_key", 249, [text(c"user"), text(c"k"), 0, 0, 0, 0]),
        ("userfaultfd", 323, [1, 0, 0, 0, 0, 0]),
        ("perf_event_open", 298, [room, 0, u64::MAX, u64::MAX, 0, 0]),
        ("io_uring_setup", 425, [1, room, 0, 0, 0, 0]),
        ("kexec_load", 246, [0, 0, 0, 0, 0, 0]),
        ("init_module", 175, [room, 0, text(c""), 0, 0, 0]),
        ("finit_module", 313, [0, text(c""), 0, 0, 0, 0]),
        ("delete_module", 176, [text(c"none"), 0, 0, 0, 0, 0]),
        ("open_by_handle_at", 304, [3, room, 0, 0, 0, 0]),
        ("name_to_handle_at", 303, [3, text(c"/"), room, room, 0, 0]),
        ("quotactl", 179, [0, 0, 0, 0, 0, 0]),
        ("swapon", 167, [text(c"/tmp/disk"), 0, 0, 0, 0, 0]),
        ("reboot", 169, [0xfee1_dead, 672_274_793, 0, 0, 0, 0]),
        ("settimeofday", 164, [room, 0, 0, 0, 0, 0]),
        ("clock_settime", 227, [0, room, 0, 0, 0, 0]),
        ("adjtimex", 159, [room, 0, 0, 0, 0, 0]),
        ("sethostname", 170, [text(c"evil"), 4, 0, 0, 0, 0]),
        ("acct", 163, [0, 0, 0, 0, 0, 0]),
        ("fanotify_init", 300, [0, 0, 0, 0, 0, 0]),
        ("personality without randomised addresses", 135, [0x4_0000, 0, 0, 0, 0, 0]),
        ("ptrace init", 101, [16, 1, 0, 0, 0, 0]),
        ("ptrace myself", 101, [0, 0, 0, 0, 0, 0]),
        ("process_vm_readv", 310, [1, room, 1, room, 1, 0]),
        ("pidfd_getfd", 438, [0, 0, 0, 0, 0, 0]),
        ("nice below the default", 141, [0, 0, u64::MAX - 9, 0, 0, 0]),
    ] {
        call(name, number, arguments);
    }
}

fn network(port: u16, abstract_name: &str) {
    for (name, family, kind) in [
        ("packet socket", 17, 3),
        ("raw socket", 2, 3),
        ("vsock socket", 40, 1),
        ("crypto socket", 38, 5),
        ("bluetooth socket", 31, 3),
    ] {
        call(name, 41, [family, kind, 0, 0, 0, 0]);
    }
    let tried = TcpStream::connect(("127.0.0.1", port));
    tell("reach the host's loopback", tried.map(|_| String::new()));
    let tried = SocketAddr::from_abstract_name(abstract_name)
        .and_then(|address| UnixStream::connect_addr(&address));
    tell("reach a host's abstract socket", tried.map(|_| String::new()));
}

fn others(host_pid: u64, host_path: &str) {
    call("signal a process of the host", 62, [host_pid, 0, 0, 0, 0, 0]);
    tell("see a path of the host", fs::metadata(host_path).map(|_| String::new()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
    let told = if mounts.contains(host_path) { Ok(mounts) } else { Err(Error::other("no")) };
    tell("see a path of the host in the mounts", told);
    let me = std::process::id().to_string();
    for entry in fs::read_dir("/proc").expect("read /proc") {
        let name = entry.expect("entry").file_name().into_string().expect("text");
        if name.bytes().all(|byte| byte.is_ascii_digit()) && name != "1" && name != me {
            println!("ALLOWED see process {name}: of somebody else");
        }
    }
    for entry in fs::read_dir("/proc/self/fd").expect("read fds") {
        let path = entry.expect("entry").path();
        let number: i32 = path.file_name().unwrap().to_str().unwrap().parse().expect("a number");
        let target = fs::read_link(&path).unwrap_or_default();
        if number > 2 && !target.starts_with(format!("/proc/{me}/fd")) {
            println!("ALLOWED open descriptor {number}: {}", target.display());
        }
    }
    let environment: Vec<_> =
        std::env::vars().map(|(name, _)| name).filter(|name| name != "PATH").collect();
    if !environment.is_empty() {
        println!("ALLOWED inherited environment: {environment:?}");
    }
}

/// The 32-bit entry to the kernel has other numbers, which a filter of 64-bit numbers must not meet.
fn old_abi() {
    // SAFETY: the child does one system call and ends.
    unsafe {
        let child = fork();
        if child == 0 {
            let mut number = 20_u64;
            std::arch::asm!("int 0x80", inout("rax") number);
            _exit(if (number as i64) < 0 { 1 } else { 0 });
        }
        let mut status = 0;
        waitpid(child, &mut status, 0);
        tell(
            "32-bit system call",
            if status == 0 { Ok(String::new()) } else { Err(Error::other("")) },
        );
    }
}

fn status() {
    let status = fs::read_to_string("/proc/self/status").expect("read status");
    for line in status.lines() {
        let wanted = [
            "CapInh",
            "CapPrm",
            "CapEff",
            "CapBnd",
            "CapAmb",
            "NoNewPrivs",
            "Seccomp:",
            "Groups",
            "Uid",
        ];
        if wanted.iter().any(|name| line.starts_with(name)) {
            println!("status {}", line.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
    let limits = fs::read_to_string("/proc/self/limits").expect("read limits");
    if !limits
        .lines()
        .any(|line| line.starts_with("Max core file size        0                    0 "))
    {
        println!("ALLOWED core dumps: {limits}");
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [host_pid, port, abstract_name, host_path] = &arguments[..] else { return };
    assert!(Path::new("/proc/self/status").exists(), "no /proc");
    files();
    execute_from_scratch();
    mounts_and_namespaces();
    devices();
    kernel();
    network(port.parse().expect("a port"), abstract_name);
    others(host_pid.parse().expect("a process id"), host_path);
    old_abi();
    status();
    println!("finished");
}
