//! Takes the debug sections out of an ELF object and leaves everything else: what `llvm-strip -g`
//! does, without needing LLVM, and with the same bytes everywhere.
//!
//! Reads an ELF object; emits one without DWARF, with BTF. Refuses what is not ELF.

use anyhow::{Context, Result};
use object::{
    build::elf::{Builder, SectionData},
    elf,
};

/// Removes `.debug_*` and the relocations for them. `.BTF` and `.BTF.ext` stay: the kernel reads them.
pub(super) fn debug_sections(elf: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(elf).context("the linker's output is not ELF")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        let name = name.trim_start_matches(".rela").trim_start_matches(".rel");
        section.delete =
            name.starts_with(".debug_") || name == ".comment" || name == ".llvm_addrsig";
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
