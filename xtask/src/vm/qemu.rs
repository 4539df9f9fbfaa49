//! One boot of a guest in QEMU, without acceleration: any machine can do it.
//!
//! Takes a kernel, and an initramfs with a command for its first process, or a disk; emits what the serial
//! console said, what the guest sent through its second serial port, and the command's exit code. Refuses to
//! wait longer than the deadline.

use std::{
    ffi::{OsStr, OsString},
    fmt,
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    path::Path,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, RecvTimeoutError},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::pipe::fcntl_setpipe_size;

use super::{
    kernels::Kernel,
    machine::{self, Machine},
};
use crate::arch::Arch;

/// Emulation, both CPUs on one thread of the host: a kernel that patches its own code trips over CPUs
/// that really run at once, and what they would gain is lost again in keeping them in step.
const ACCEL: &str = "tcg,thread=single";

/// The first words of the first process.
const UP: &str = "vm-init: up";

/// What `vm-init` prints before it powers the machine off.
const EXIT: &str = "vm-init: exit ";

/// How the guest asks for a console as slow as a real one, `console: slow`, and for a fast one.
const CONSOLE: &str = "console: ";

/// What to boot.
pub(crate) struct Guest<'a> {
    /// The kernel, and with it the kind of machine.
    pub(crate) kernel: &'a Kernel,
    /// What it boots into.
    pub(crate) start: Start<'a>,
    /// More words for the kernel's command line.
    pub(crate) append: &'a str,
    /// MiB, a quarter of it on a second memory node.
    pub(crate) memory: u32,
    /// The file for what the guest sends through its second serial port.
    pub(crate) outbox: &'a Path,
    /// The file for its console, byte by byte.
    pub(crate) console: &'a Path,
    /// From power on to power off.
    pub(crate) timeout: Duration,
}

/// What a guest boots into.
pub(crate) enum Start<'a> {
    /// A cpio archive, and the command that its first process runs.
    Initramfs(&'a Path, &'a [String]),
    /// An image of a disk with a system on it, which may reboot. It is an NVM Express one, for which kernels need no module.
    Disk(&'a Path),
}

/// How a guest ended.
pub(crate) struct Outcome {
    /// Whether the guest got as far as its first process.
    pub(crate) up: bool,
    /// The command's exit code; `None` if the guest died or was still running at its deadline.
    pub(crate) exit: Option<i32>,
    /// Whether the deadline ended it.
    pub(crate) timed_out: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.exit {
            Some(code) => write!(f, "exit {code}"),
            None if self.timed_out => f.write_str("no end before its deadline"),
            None => f.write_str("the guest died"),
        }
    }
}

/// What there is to do where QEMU has no such machine.
pub(crate) fn lacks(arch: Arch) -> Option<String> {
    let Machine { qemu, package, .. } = machine::of(arch);
    let version = Command::new(qemu)
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    let there = version.is_ok_and(|status| status.success());
    (!there).then(|| format!("needs {qemu} (apt-get install {package})"))
}

/// Boots the guest; every line of its console goes to `on_line`.
pub(crate) fn boot(guest: &Guest<'_>, mut on_line: impl FnMut(&str)) -> Result<Outcome> {
    let deadline = Instant::now() + guest.timeout;
    let mut qemu = Qemu::start(guest)?;
    let console = File::create(guest.console).context("console log")?;
    let lines = lines(qemu.0.stdout.take().context("no stdout")?, console);
    let mut outcome = Outcome {
        up: false,
        exit: None,
        timed_out: false,
    };
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if line == UP {
                    outcome.up = true;
                } else if let Some(code) = line.strip_prefix(EXIT) {
                    outcome.exit = Some(code.parse().with_context(|| line.clone())?);
                } else {
                    on_line(&line);
                }
            }
            Err(RecvTimeoutError::Timeout) => {
                outcome.timed_out = true;
                return Ok(outcome);
            }
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    let status = qemu.0.wait()?;
    ensure!(status.success(), "QEMU: {status}");
    Ok(outcome)
}

/// A running QEMU; killed when dropped.
struct Qemu(Child);

impl Qemu {
    fn start(guest: &Guest<'_>) -> Result<Self> {
        let machine = machine::of(guest.kernel.arch);
        let (drive, words) = match guest.start {
            Start::Initramfs(archive, command) => (
                vec![
                    OsString::from("-no-reboot"),
                    "-initrd".into(),
                    archive.into(),
                ],
                command_line(machine.console, guest.append, command)?,
            ),
            Start::Disk(image) => (
                disk(image),
                format!(
                    "console={} quiet panic=-1 root=/dev/nvme0n1 rw OOM_TESTS_GUEST=1 {}",
                    machine.console, guest.append
                ),
            ),
        };
        let child = Command::new(machine.qemu)
            .args(["-accel", ACCEL, "-smp", "2", "-m"])
            .arg(guest.memory.to_string())
            .args(nodes(guest.memory))
            .args(["-display", "none", "-monitor", "none"])
            .args(machine.args(guest.outbox))
            .args(["-nic", "none"])
            .args(drive)
            .args([OsStr::new("-kernel"), guest.kernel.image.as_os_str()])
            .args(["-append", &words])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| machine.qemu)?;
        Ok(Self(child))
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn disk(image: &Path) -> Vec<OsString> {
    let mut drive = OsString::from("if=none,id=disk,format=raw,file=");
    drive.push(image);
    vec![
        "-drive".into(),
        drive,
        "-device".into(),
        "nvme,serial=disk,drive=disk".into(),
    ]
}

/// Two memory nodes; both CPUs belong to the first.
fn nodes(memory: u32) -> Vec<String> {
    let nodes = [
        ("node0", memory - memory / 4, ",cpus=0-1"),
        ("node1", memory / 4, ""),
    ];
    let args = nodes.map(|(id, size, cpus)| {
        [
            "-object".to_owned(),
            format!("memory-backend-ram,id={id},size={size}M"),
            "-numa".to_owned(),
            format!("node,memdev={id}{cpus}"),
        ]
    });
    args.concat()
}

/// The kernel's command line; what stands behind `--` becomes the arguments of the first process.
fn command_line(console: &str, append: &str, command: &[String]) -> Result<String> {
    /// `COMMAND_LINE_SIZE` of x86 and arm64, and the kernel's bound on arguments of the first process.
    const MAX_LEN: usize = 2048;
    const MAX_ARGS: usize = 32;
    // A panic reboots at once, and `-no-reboot` turns that into an end.
    let mut words = vec![format!(
        "console={console} quiet panic=-1 rdinit=/init OOM_TESTS_GUEST=1 {append} --"
    )];
    for arg in command {
        ensure!(
            !arg.contains(['"', '\n']),
            "the kernel cannot pass on {arg:?}"
        );
        let quoted = arg.is_empty() || arg.contains(' ');
        words.push(if quoted {
            format!("\"{arg}\"")
        } else {
            arg.clone()
        });
    }
    let line = words.join(" ");
    ensure!(
        line.len() < MAX_LEN,
        "the command line has {} bytes",
        line.len()
    );
    ensure!(
        command.len() < MAX_ARGS,
        "the command has {} words",
        command.len()
    );
    Ok(line)
}

/// A console at 115,200 baud, slowed down by reading no faster.
struct Slow<R> {
    console: R,
    slow: Arc<AtomicBool>,
}

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        const BYTES: usize = 64;
        const BAUD: u64 = 115_200;
        if !self.slow.load(Ordering::Relaxed) {
            return self.console.read(buffer);
        }
        // Ten bits a byte.
        thread::sleep(Duration::from_nanos(
            1_000_000_000 * 10 * BYTES as u64 / BAUD,
        ));
        let end = buffer.len().min(BYTES);
        self.console.read(&mut buffer[..end])
    }
}

/// The console line by line, and all of it into a file; closed when QEMU ends.
fn lines(console: ChildStdout, mut log: File) -> mpsc::Receiver<String> {
    let (to, lines) = mpsc::channel();
    // What is in the pipe has left the guest.
    let _ = fcntl_setpipe_size(&console, 4096);
    thread::spawn(move || {
        let slow = Arc::new(AtomicBool::new(false));
        let mut console = BufReader::new(Slow {
            console,
            slow: Arc::clone(&slow),
        });
        let mut line = Vec::new();
        while console
            .read_until(b'\n', &mut line)
            .is_ok_and(|len| len > 0)
        {
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']).to_owned();
            if let Some(speed) = text.strip_prefix(CONSOLE) {
                slow.store(speed == "slow", Ordering::Relaxed);
            }
            if log.write_all(&line).is_err() || to.send(text).is_err() {
                return;
            }
            line.clear();
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_stands_behind_the_dashes_as_the_kernel_reads_it() {
        let words =
            |words: &[&str]| -> Vec<String> { words.iter().map(|&word| word.to_owned()).collect() };
        let line = command_line("ttyS0", "quiet", &words(&["/bin/sh", "-c", "echo a=b"])).unwrap();
        assert!(line.ends_with("quiet -- /bin/sh -c \"echo a=b\""), "{line}");
        assert!(command_line("ttyS0", "", &words(&["say \"hi\""])).is_err());
        assert!(command_line("ttyS0", "", &words(&["x".repeat(2048).as_str()])).is_err());
        assert!(command_line("ttyS0", "", &words(&["x"; 32])).is_err());
    }
}
