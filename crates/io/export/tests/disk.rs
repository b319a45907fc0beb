//! Disks that boot: a Debian image with its own kernel, under QEMU's software emulation and UEFI firmware.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use hornero_bake::{BakeContext, BakeOptions, LockMode, progress};
use hornero_export::{ExportOptions, Format, export};
use hornero_model::Digest;
use hornero_spec::{AtPath, Sources, Variables};
use hornero_store::Store;
use support::{Heard, Running, succeed, wait};

/// Emulated, on a busy machine: about 8 s when it has two cores for itself.
const BOOT: Duration = Duration::from_secs(120);
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// A server that tells what it sees, when asked; and ends when asked for `/cgi-bin/end`.
const IMAGE: &str = r#"
image "site" {
  debian   = "bookworm"
  packages = ["linux-image-cloud-amd64", "systemd-boot-efi", "busybox-static"]
  run = [<<-STEP
    mkdir -p /srv/site/cgi-bin /var/scratch
    echo hello from the disk > /srv/site/index.html
    cat > /srv/site/cgi-bin/facts <<-'END'
    #!/bin/busybox sh
    echo "Content-Type: text/plain"
    echo
    echo "user=$(busybox id -u):$(busybox id -g) host=$(busybox hostname) greeting=$GREETING pwd=$(cat /proc/$PPID/cwd/here)"
    echo "root=$(busybox grep ' / erofs ro' /proc/mounts | busybox wc -l)"
    (echo x > /etc/written) 2>/dev/null && echo "root is written"
    (echo x > /var/scratch/x && echo x > /tmp/x && echo x > /scratch/deep/x) && echo "scratch=written"
    echo "name=$(busybox cat /etc/hostname)"
    echo "resolver=$(busybox cat /etc/resolv.conf)"
    echo "route=$(busybox ip route | busybox head -n 1)"
    echo "privileges=$(busybox grep NoNewPrivs /proc/self/status)"
    END
    printf '#!/bin/busybox sh\nbusybox kill -15 -1\n' > /srv/site/cgi-bin/end
    chmod 755 /srv/site/cgi-bin/*
    echo /srv/site > /srv/site/here
  STEP
  ]
  command = ["busybox", "httpd", "-f", "-p", "80"]
  workdir = "/srv/site"
  user    = "www-data"
  env     = { GREETING = "how are you" }
  scratch = ["/var/scratch", "/scratch/deep"]
}
"#;

struct Nothing;

impl Sources for Nothing {
    fn read(&self, _: &str, _: usize) -> Result<Vec<u8>, String> {
        Err("there is nothing".to_owned())
    }

    fn look(&self, _: &str) -> AtPath {
        AtPath::Missing
    }
}

/// The image, baked once and kept for the next run of the tests.
fn image() -> (Store, Digest) {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("export-home");
    let source = home.join("source");
    fs::create_dir_all(&source).unwrap();
    let spec =
        hornero_spec::parse("hornero.hcl", IMAGE.as_bytes(), &Variables::default(), &Nothing)
            .unwrap_or_else(|errors| panic!("{errors:?}"));
    let store = Store::open(home.join("store")).unwrap();
    let context = BakeContext::new(&home, &progress::Silent);
    let names: Vec<_> = spec.images.keys().cloned().collect();
    hornero_bake::lock(&context, &spec, &source, LockMode::Keep).unwrap();
    let baked =
        hornero_bake::bake(&context, &store, &spec, &source, &names, BakeOptions::default());
    let image = baked.unwrap_or_else(|error| panic!("{error:?}")).remove(0).digest;
    (store, image)
}

/// A machine that runs from the disk.
struct Machine {
    process: Running,
    port: u16,
    serial: PathBuf,
}

impl Machine {
    /// Starts it; what comes to its port here is sent to port 80 of `address` there.
    fn start(disk: &Path, format: &str, address: &str) -> Self {
        let variables = disk.with_extension("variables");
        fs::copy(FIRMWARE_VARIABLES, &variables).unwrap();
        let serial = disk.with_extension("serial");
        // Free when QEMU takes it a moment later, but for bad luck, which the machine's end would tell.
        let port =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let mut qemu = Command::new("qemu-system-x86_64");
        qemu.args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-m", "512"])
            .args([
                "-smp",
                "2",
                "-display",
                "none",
                "-monitor",
                "none",
                "-nodefaults",
                "-no-reboot",
            ])
            .arg("-serial")
            .arg(format!("file:{}", serial.display()))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=0,readonly=on,file={FIRMWARE}"))
            .arg("-drive")
            .arg(format!("if=pflash,format=raw,unit=1,file={}", variables.display()))
            .arg("-drive")
            .arg(format!("if=none,id=disk,format={format},readonly=on,file={}", disk.display()))
            .args(["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"])
            // The server's network is QEMU's own, in user space, and leads nowhere.
            .arg("-netdev")
            .arg(format!("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-{address}:80"))
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            .stdin(Stdio::null());
        Self { process: Running(qemu.spawn().unwrap()), port, serial }
    }

    fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.serial).unwrap_or_default()).into_owned()
    }

    fn get(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        // What a script says of itself ends its lines in its own way.
        let answer = answer.replace("\r\n", "\n");
        let (head, body) = answer.split_once("\n\n")?;
        head.contains(" 200 ").then(|| body.to_owned())
    }

    /// Asks until there is an answer, which is what a health check does.
    fn wait_for(&mut self, path: &str) -> String {
        let begun = std::time::Instant::now();
        loop {
            if let Some(body) = self.get(path) {
                return body;
            }
            let ended = self.process.0.try_wait().unwrap();
            assert!(
                ended.is_none() && begun.elapsed() < BOOT,
                "no answer; it said {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

#[test]
fn disks_boot_to_their_health_check() {
    let (store, image) = image();
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let options = ExportOptions { host_name: "the-site".into(), ..ExportOptions::default() };
    let [raw, qcow2] = [Format::Raw, Format::Qcow2].map(|format| {
        let out = dir.path().join(format.name());
        let heard = Heard::default();
        let exported = export(&store, &image, format, &out, &options, &heard).unwrap();
        let (started, written) = *heard.0.lock().unwrap();
        assert_eq!(started, written);
        assert!(exported.added.contains(&"/scratch/deep".to_owned()), "{:?}", exported.added);
        out
    });
    // The same once more, and the same in both.
    let again = dir.path().join("again");
    export(&store, &image, Format::Qcow2, &again, &options, &Heard::default()).unwrap();
    succeed(Command::new("cmp").arg(&qcow2).arg(&again));
    fs::remove_file(again).unwrap();
    succeed(Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&qcow2));
    succeed(Command::new("qemu-img").arg("compare").arg(&raw).arg(&qcow2));

    // One after the other: two emulated machines at once only wait for each other.
    let mut machine = Machine::start(&raw, "raw", "10.0.2.15");
    assert_eq!(machine.wait_for("/index.html"), "hello from the disk\n");
    let facts = machine.wait_for("/cgi-bin/facts");
    for fact in [
        "user=33:33 host=the-site greeting=how are you pwd=/srv/site\n",
        "root=1\n",
        "scratch=written\n",
        "name=the-site\n",
        "privileges=NoNewPrivs:\t1\n",
    ] {
        assert!(facts.contains(fact), "`{fact}` is not in {facts}");
    }
    assert!(!facts.contains("root is written"), "{facts}");
    assert!(machine.said().contains("`eth0` has the address 10.0.2.15"), "{}", machine.said());
    drop(machine);

    // With a fixed address, and the same disk otherwise.
    let words = ["ip=10.0.2.40/24", "gateway=10.0.2.2", "dns=10.0.2.3,10.0.2.4"];
    let fixed = ExportOptions {
        overwrite: true,
        kernel_arguments: words.map(|word| format!("hornero.{word}")).into(),
        ..options
    };
    export(&store, &image, Format::Qcow2, &qcow2, &fixed, &Heard::default()).unwrap();
    let mut machine = Machine::start(&qcow2, "qcow2", "10.0.2.40");
    assert_eq!(machine.wait_for("/index.html"), "hello from the disk\n");
    let facts = machine.wait_for("/cgi-bin/facts");
    for fact in [
        "resolver=nameserver 10.0.2.3\nnameserver 10.0.2.4\n",
        "route=default via 10.0.2.2 dev eth0",
    ] {
        assert!(facts.contains(fact), "`{fact}` is not in {facts}");
    }
    // A server that has ended is not started again: the machine goes with it, and says why.
    machine.get("/cgi-bin/end");
    wait("the machine's end", BOOT, || machine.process.0.try_wait().unwrap());
    let said = machine.said();
    assert!(said.contains("hornero: `busybox` was ended by signal 15"), "{said}");
}
