//! Machines as QEMU emulates them: which program, which board, which serial ports.
//!
//! Emits words of QEMU's command line. Refuses nothing: QEMU says what it cannot do.

use std::path::Path;

use crate::arch::Arch;

/// A board with a console on its first serial port.
pub(super) struct Machine {
    /// The program.
    pub(super) qemu: &'static str,
    /// Debian's package with it.
    pub(super) package: &'static str,
    /// The console as the kernel calls it.
    pub(super) console: &'static str,
    /// Board and CPU.
    board: &'static [&'static str],
    /// How a second port is plugged in, where `-serial` alone does not do.
    second_port: Option<&'static str>,
}

const PC: Machine = Machine {
    qemu: "qemu-system-x86_64",
    package: "qemu-system-x86",
    console: "ttyS0",
    board: &["-cpu", "max"],
    second_port: None,
};

/// The board has one port of its own, a PL011; the second is of the PC's kind, on PCI. The CPU is what clouds
/// rent: newer ones sign pointers, which costs much where it is emulated.
const VIRT: Machine = Machine {
    qemu: "qemu-system-aarch64",
    package: "qemu-system-arm",
    console: "ttyAMA0",
    board: &["-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"],
    second_port: Some("pci-serial,chardev=outbox"),
};

/// The machine of this kind.
pub(super) fn of(arch: Arch) -> &'static Machine {
    match arch {
        Arch::X86 => &PC,
        Arch::Arm => &VIRT,
    }
}

impl Machine {
    /// Board, CPU, and the two serial ports: the console on standard output, the other into a file.
    pub(super) fn args(&self, outbox: &Path) -> Vec<String> {
        let mut args: Vec<String> = self.board.iter().map(|&word| word.to_owned()).collect();
        let outbox = outbox.display();
        let ports = match self.second_port {
            None => vec!["-serial".to_owned(), format!("file:{outbox}")],
            Some(device) => vec![
                "-chardev".to_owned(),
                format!("file,id=outbox,path={outbox}"),
                "-device".to_owned(),
                device.to_owned(),
            ],
        };
        args.extend(["-serial".to_owned(), "stdio".to_owned()]);
        args.extend(ports);
        args
    }
}
