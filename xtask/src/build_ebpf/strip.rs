//! Takes the debug sections out of an ELF object and leaves everything else: what `llvm-strip -g`
//! does, without needing LLVM, and with the same bytes everywhere.
//!
//! Reads an ELF object; emits one without DWARF, with BTF. Refuses what is not ELF.

use anyhow::{Context, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

/// Removes `.debug_*` with its relocations. `.BTF` and `.BTF.ext` stay, for the kernel reads them;
/// relocations for them go, for loaders take both as they stand.
pub(super) fn debug_sections(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(elf).context("the linker's output is not ELF")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        section.delete = [".debug_", ".rel.debug_", ".rel.BTF", ".comment"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    }
    builder.delete_orphans();
    // LLVM keeps section names in .strtab; the writer wants a table of their own.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("cannot write the stripped object")?;
    Ok(stripped)
}
