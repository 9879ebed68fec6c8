//! The built page, `web/dist`, as a table of files in the binary. Built by `make page` and committed, so that this
//! needs no Node.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=web/dist");
    let dist = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("web/dist");
    let mut files = Vec::new();
    walk(&dist, &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for file in &files {
        let path = file.strip_prefix(&dist).map_err(io::Error::other)?.to_string_lossy().replace('\\', "/");
        let is_copy = [".br", ".gz"].iter().any(|ending| path.ends_with(ending));
        if is_copy || path == "sources.sha256" {
            continue;
        }
        let copy = |ending: &str| {
            let copy = PathBuf::from(format!("{}{ending}", file.display()));
            if copy.exists() { format!("Some(include_bytes!({copy:?}))") } else { "None".to_owned() }
        };
        writeln!(
            table,
            "File {{ path: {path:?}, plain: include_bytes!({file:?}), gzip: {}, brotli: {} }},",
            copy(".gz"),
            copy(".br"),
        )
        .map_err(io::Error::other)?;
    }
    table.push(']');
    fs::write(Path::new(&env::var("OUT_DIR").map_err(io::Error::other)?).join("page_files.rs"), table)
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.is_dir() { walk(&path, found)? } else { found.push(path) }
    }
    Ok(())
}
