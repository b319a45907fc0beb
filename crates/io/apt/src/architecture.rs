//! Debian's name for the architecture of this machine.

use crate::AptError;

/// Debian's name for this machine's architecture.
pub fn architecture() -> Result<&'static str, AptError> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        "x86" => Ok("i386"),
        "arm" => Ok("armhf"),
        "riscv64" => Ok("riscv64"),
        "powerpc64" if cfg!(target_endian = "little") => Ok("ppc64el"),
        "s390x" => Ok("s390x"),
        "loongarch64" => Ok("loong64"),
        other => Err(AptError::Architecture(other)),
    }
}
