//! Where the bytes of a log come from: a file, standard input, compressed or not.
//!
//! Reads a path or `-`; emits a reader of plain bytes. Refuses directories, and what it knows not to be
//! text (other compressions, the journal's own files), with what to do instead.

use std::{
    fs::File,
    io::{self, Cursor, ErrorKind, Read},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flate2::bufread::MultiGzDecoder;

/// A log, open.
pub struct Input {
    reader: Box<dyn Read>,
    /// Size of the file, where it is one.
    pub size: Option<u64>,
    /// Bytes that have been read of it, before they are decompressed.
    pub position: Arc<AtomicU64>,
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// The system says no.
    #[error("cannot read {}", path.display())]
    Open {
        /// What was opened.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Not a log.
    #[error("{} is {what}: {instead}", path.display())]
    Unfit {
        /// What was opened.
        path: PathBuf,
        /// What it is.
        what: &'static str,
        /// What to do instead.
        instead: &'static str,
    },
}

/// What a file begins with that is no text, what it is, and what to do instead.
const UNFIT: &[(&[u8], &str, &str)] = &[
    (
        b"\xfd7zXZ\0",
        "compressed with xz",
        "use `xz -dc FILE | oom-agent parse -`",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd",
        "use `zstd -dc FILE | oom-agent parse -`",
    ),
    (
        b"BZh",
        "compressed with bzip2",
        "use `bzip2 -dc FILE | oom-agent parse -`",
    ),
    (
        b"\x04\x22\x4d\x18",
        "compressed with lz4",
        "use `lz4 -dc FILE | oom-agent parse -`",
    ),
    (
        b"LPKSHHRH",
        "a file of the journal",
        "use `journalctl -k -o json --file FILE | oom-agent parse -`",
    ),
];

const UTF16: (&[u8], &str, &str) = (
    b"",
    "encoded as UTF-16",
    "use `iconv -f UTF-16 -t UTF-8 FILE | oom-agent parse -`",
);

/// A byte order mark and a character of ASCII.
fn is_utf16(begin: &[u8]) -> bool {
    matches!(begin, [0xff, 0xfe, _, 0, ..] | [0xfe, 0xff, 0, _, ..])
}

const GZIP: &[u8] = b"\x1f\x8b";
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

impl Input {
    /// Opens a file; `-` is standard input.
    pub fn open(path: &Path) -> Result<Self, InputError> {
        let failed = |source| InputError::Open {
            path: path.to_owned(),
            source,
        };
        if path.as_os_str() == "-" {
            return Self::new(io::stdin(), None, path);
        }
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if metadata.is_dir() {
            return Err(failed(ErrorKind::IsADirectory.into()));
        }
        let size = metadata.is_file().then_some(metadata.len());
        Self::new(file, size, path)
    }

    /// Anything that can be read; `path` is its name in messages.
    pub fn new(
        reader: impl Read + 'static,
        size: Option<u64>,
        path: &Path,
    ) -> Result<Self, InputError> {
        let position = Arc::new(AtomicU64::new(0));
        let mut counted = Counted {
            reader,
            position: position.clone(),
        };
        let mut magic = Vec::new();
        let read = counted.by_ref().take(8).read_to_end(&mut magic);
        read.map_err(|source| InputError::Open {
            path: path.to_owned(),
            source,
        })?;
        let unfit = UNFIT.iter().find(|(begin, ..)| magic.starts_with(begin));
        if let Some((_, what, instead)) = unfit.or(is_utf16(&magic).then_some(&UTF16)) {
            return Err(InputError::Unfit {
                path: path.to_owned(),
                what,
                instead,
            });
        }
        let compressed = magic.starts_with(GZIP);
        if magic.starts_with(BYTE_ORDER_MARK) {
            magic.drain(..BYTE_ORDER_MARK.len());
        }
        let whole = Cursor::new(magic).chain(counted);
        Ok(Self {
            reader: if compressed {
                let buffered = io::BufReader::with_capacity(1 << 18, whole);
                Box::new(MultiGzDecoder::new(buffered))
            } else {
                Box::new(whole)
            },
            size,
            position,
        })
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

/// Counts what is read.
struct Counted<R> {
    reader: R,
    position: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.position.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}
