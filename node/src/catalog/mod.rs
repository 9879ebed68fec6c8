//! Catalogue files: YAML for the whole of a catalogue, CSV for the seats of some of its areas.
//!
//! ```yaml
//! policies:
//!   - id: default
//!     grid_minutes: 30          # and every other field of a policy; the later ones may be left out
//! branches:
//!   - id: main                  # ids: lower-case letters, digits and '-'
//!     display_name: Main Library
//!     time_zone: Europe/Berlin  # IANA name
//!     policy: default
//!     hours:
//!       week: { mon-fri: "08:00-22:00", sat: "10:00-13:00, 14:00-18:00", sun: closed }
//!       periods:                # other weeks, both dates included
//!         - { display_name: Exams, first_date: 2027-01-18, last_date: 2027-02-13, week: { mon-sun: "06:00-24:00" } }
//!       exceptions:             # single dates, before any week
//!         2026-12-25: closed
//!         2026-12-24: { display_name: Christmas Eve, hours: "08:00-12:00" }
//!     meals: "12:00-13:30"      # every day; may be left out
//!     areas:
//!       - id: reading-room      # may have a policy and hours of its own
//!         display_name: Reading Room
//!         seats:
//!           - { id: r-001, label: "1", power: true, monitor: true, accessible: true, amenities: [window], x: 1.5, y: 2
//!             }
//! ```
//!
//! A seat needs only its id; its label is then the id. `power` and `monitor` are amenities with a shorter way to write
//! them. Everything wrong with a file is told at once, each with its line, and nothing of such a file is used. Either
//! may be gzipped, under the same name.

pub mod campus;
mod csv;
mod hours;
mod tree;
mod write;
mod yaml;

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use carrel_proto::v1;
use flate2::read::GzDecoder;
use thiserror::Error;

pub use self::csv::read_csv;
pub use self::write::write_yaml;
pub use self::yaml::read_yaml;

/// The largest catalogue has 30,000 lines of seats, of 130 bytes each: four times that.
pub const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// What gzipped files begin with.
const GZIP: [u8; 2] = [0x1f, 0x8b];
/// As many as a person reads before mending the first.
pub const FAULTS_SHOWN_MAX: usize = 100;

#[derive(Debug, Error)]
pub enum ReadError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: io::Error },
    #[error("{path} is larger than {FILE_BYTES_MAX} bytes, and so no catalogue")]
    TooLarge { path: PathBuf },
    #[error("{path} is neither YAML (.yaml, .yml) nor CSV (.csv) by its name")]
    UnknownFormat { path: PathBuf },
    #[error("{path} has seats only: import a YAML file with their branches and areas first")]
    NothingToPutSeatsIn { path: PathBuf },
    #[error("{path}: {faults}")]
    Faults { path: PathBuf, faults: Faults },
}

/// What is wrong with a file; never nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults {
    /// The first of them, in the order of the file.
    pub first: Vec<LineFault>,
    /// All of them.
    pub count: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LineFault {
    /// The first is 1.
    pub line: u64,
    pub problem: String,
}

/// The campus that comes with Carrel.
///
/// # Panics
/// Never: a test reads the same text.
#[must_use]
pub fn sample() -> v1::Catalog {
    read_yaml(campus::CAMPUS_YAML).expect("the campus is proven fresh and readable by a test")
}

/// The catalogue that the file describes. A CSV file changes `current`, the catalogue as it stands.
///
/// # Errors
/// If the file cannot be read, or anything in it is wrong.
pub fn read_file(path: &Path, current: Option<&v1::Catalog>) -> Result<v1::Catalog, ReadError> {
    let extension = path.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
    let faults = |faults| ReadError::Faults { path: path.to_owned(), faults };
    match extension.as_deref() {
        Some("yaml" | "yml") => read_yaml(&text(path)?).map_err(faults),
        Some("csv") => {
            let Some(current) = current else { return Err(ReadError::NothingToPutSeatsIn { path: path.to_owned() }) };
            read_csv(&text(path)?, current).map_err(faults)
        }
        _ => Err(ReadError::UnknownFormat { path: path.to_owned() }),
    }
}

fn text(path: &Path) -> Result<String, ReadError> {
    let read = File::open(path).and_then(read_at_most);
    let mut bytes = read.map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    if bytes.starts_with(&GZIP) {
        // Whatever its name: a ConfigMap holds a megabyte, and a large campus only so.
        let unpacked = read_at_most(GzDecoder::new(&bytes[..]));
        bytes = unpacked.map_err(|source| ReadError::Read { path: path.to_owned(), source })?;
    }
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let readable = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = readable.iter().filter(|&&byte| byte == b'\n').count() as u64 + 1;
        let faults = Faults::new(vec![LineFault { line, problem: "this is not text in UTF-8".to_owned() }]);
        ReadError::Faults { path: path.to_owned(), faults }
    })
}

/// One byte more than may be, at most: so that more is noticed.
fn read_at_most(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    from.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

impl Faults {
    fn new(mut all: Vec<LineFault>) -> Self {
        all.sort();
        all.dedup();
        let count = all.len();
        all.truncate(FAULTS_SHOWN_MAX);
        Self { first: all, count }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.count == 1 { "" } else { "s" };
        write!(f, "{} fault{plural}", self.count)?;
        for LineFault { line, problem } in &self.first {
            write!(f, "\n  line {line}: {problem}")?;
        }
        match self.count - self.first.len() {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

impl std::error::Error for Faults {}
