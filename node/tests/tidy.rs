//! The rules of the house, checking themselves: which crate may know which, where a library has its home, headers,
//! leftovers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("node/ lies in the workspace").to_owned()
}

/// Crate, its folder, and what of its own workspace it may use: nothing points the other way.
const DIRECTION: [(&str, &str, &[&str]); 11] = [
    ("carrel-proto", "proto", &[]),
    ("carrel-domain", "node/domain", &[]),
    ("carrel-membership", "operator/membership", &[]),
    ("carrel-history", "node/history", &[]),
    ("carrel-steward", "operator/steward", &["carrel-membership", "carrel-proto"]),
    ("carrel-node", "node", &["carrel-domain", "carrel-membership", "carrel-proto", "carrel-steward"]),
    ("carrel-fuzz", "node/fuzz", &[]),
    ("carrel-simulation", "node/simulation", &["carrel-domain", "carrel-history", "carrel-membership", "carrel-node"]),
    ("carrel-peers", "node/peers", &["carrel-proto"]),
    ("carrel-operator", "operator", &["carrel-membership", "carrel-proto", "carrel-steward"]),
    ("carrel-e2e", "e2e", &["carrel-history", "carrel-operator", "carrel-proto"]),
];

/// What the pure crates may never name.
const IMPURE: [&str; 11] =
    ["tokio", "tonic", "prost", "openraft", "sqlx", "kube", "axum", "rand", "getrandom", "jiff", "uuid"];

/// A library, and the only folders whose sources may name it.
const HOMES: [(&str, &[&str]); 6] = [
    ("openraft", &["node/src/raft", "node/simulation/src"]),
    ("sqlx", &["node/src/projection"]),
    ("object_store", &["node/src/cli/backup/bucket.rs"]),
    ("rustls", &["node/src/tls"]),
    ("lettre", &["node/src/outward"]),
    ("kube", &["operator/src", "e2e/src"]),
];

/// Second implementations of cryptography: rustls has one, ring.
const SECOND_CRYPTOGRAPHY: [&str; 4] = ["aws-lc-rs", "aws-lc-sys", "openssl", "openssl-sys"];

fn manifest(folder: &str) -> toml::Table {
    let path = root().join(folder).join("Cargo.toml");
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse().unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn dependencies(manifest: &toml::Table, table: &str) -> BTreeSet<String> {
    let table = manifest.get(table).and_then(toml::Value::as_table);
    table.into_iter().flat_map(|table| table.keys().cloned()).collect()
}

/// Every source file of the workspace, relative to its root.
fn sources() -> Vec<PathBuf> {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder of the workspace can be read") {
            let path = entry.expect("an entry of the workspace can be read").path();
            let name = path.file_name().expect("an entry has a name").to_string_lossy().into_owned();
            if path.is_dir() && !name.starts_with('.') && name != "target" && name != "node_modules" {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    for folder in ["proto", "node", "operator", "e2e"] {
        walk(&root().join(folder), &mut found);
    }
    assert!(found.len() > 20, "the walk has missed the sources");
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).expect("sources lie in the workspace").to_string_lossy().into_owned()
}

#[test]
fn crates_depend_only_in_one_direction() {
    for (name, folder, allowed) in DIRECTION {
        let manifest = manifest(folder);
        let ours: BTreeSet<String> =
            dependencies(&manifest, "dependencies").into_iter().filter(|dep| dep.starts_with("carrel-")).collect();
        let allowed: BTreeSet<String> = allowed.iter().map(ToString::to_string).collect();
        assert!(ours.is_subset(&allowed), "{name} may use {allowed:?}, its Cargo.toml names {ours:?}");
    }
}

#[test]
fn every_crate_is_in_the_table_above() {
    let workspace = fs::read_to_string(root().join("Cargo.toml")).expect("the workspace has a manifest");
    let workspace: toml::Table = workspace.parse().expect("the workspace's manifest is TOML");
    let members = workspace["workspace"]["members"].as_array().expect("members are a list");
    let members: BTreeSet<&str> = members.iter().filter_map(toml::Value::as_str).collect();
    let table: BTreeSet<&str> = DIRECTION.iter().map(|(_, folder, _)| *folder).collect();
    assert_eq!(members, table, "say in DIRECTION what a new crate may use");
}

#[test]
fn the_pure_crates_know_no_io() {
    for folder in ["node/domain", "operator/membership"] {
        let named = dependencies(&manifest(folder), "dependencies");
        for impure in IMPURE {
            assert!(!named.contains(impure), "{folder} is pure and names {impure}");
        }
        assert!(root().join(folder).join("clippy.toml").exists(), "{folder} is pure: its clippy.toml bans clocks");
    }
}

#[test]
fn versions_and_lints_are_the_workspaces() {
    for (name, folder, _) in DIRECTION {
        let manifest = manifest(folder);
        assert_eq!(manifest["lints"]["workspace"].as_bool(), Some(true), "{name} inherits the lints");
        for table in ["dependencies", "dev-dependencies", "build-dependencies"] {
            for (dependency, how) in manifest.get(table).and_then(toml::Value::as_table).into_iter().flatten() {
                let inherited = how.get("workspace").and_then(toml::Value::as_bool) == Some(true);
                assert!(inherited, "{name} gives {dependency} a version of its own: the workspace has them all");
            }
        }
    }
}

#[test]
fn there_is_one_cryptography() {
    let lock = fs::read_to_string(root().join("Cargo.lock")).expect("the workspace has a lock file");
    for other in SECOND_CRYPTOGRAPHY {
        assert!(!lock.contains(&format!("name = \"{other}\"")), "{other} is in the tree");
    }
}

#[test]
fn a_library_has_one_home() {
    for path in sources() {
        let file = relative(&path);
        if file.contains("/tests/") || file.contains("/benches/") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("a source file is text");
        for (library, homes) in HOMES {
            let named = text.lines().any(|line| {
                let code = line.split("//").next().unwrap_or_default();
                code.contains(&format!("{library}::")) || code.contains(&format!("{library}_rt"))
            });
            let is_home = homes.iter().any(|home| file.starts_with(home));
            assert!(!named || is_home, "{file} names {library}, whose home is {homes:?}");
        }
    }
}

/// `node/web/build/sources.js` computes the same when the page is built.
#[test]
fn the_built_page_is_of_these_sources() {
    fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(dir).expect("a folder of the page can be read") {
            let path = entry.expect("an entry of the page can be read").path();
            // Made of the proto files at each build.
            if path.ends_with("web/src/gen") {
                continue;
            }
            if path.is_dir() { walk(&path, found) } else { found.push(path) }
        }
    }
    let web = root().join("node/web");
    let mut files = Vec::new();
    for folder in ["build", "proto", "public", "src"] {
        walk(&web.join(folder), &mut files);
    }
    walk(&root().join("proto/proto/carrel/v1"), &mut files);
    files.push(root().join("proto/proto/carrel/admin/v1/cluster.proto"));
    for file in ["buf.gen.yaml", "index.html", "package-lock.json", "package.json", "tsconfig.json", "vite.config.js"] {
        files.push(web.join(file));
    }
    files.sort_by_key(|path| relative(path));
    let hex = |digest: &[u8]| digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut whole = Sha256::new();
    for path in &files {
        let mut text = fs::read(path).expect("a source of the page can be read");
        if path.extension().is_some_and(|extension| extension == "proto") {
            let said = String::from_utf8(text).expect("a proto file is text");
            let lines = said.split('\n').filter(|line| !line.trim_start().starts_with("//"));
            text = lines.collect::<Vec<_>>().join("\n").into_bytes();
        }
        whole.update(format!("{} {}\n", relative(path), hex(&Sha256::digest(&text))));
    }
    let built_of = fs::read_to_string(web.join("dist/sources.sha256")).expect("the page has been built");
    assert_eq!(
        built_of.trim(),
        hex(&whole.finalize()),
        "the page is older than its sources: `make page` builds it anew"
    );
}

#[test]
fn files_say_what_they_are_and_nothing_is_left_over() {
    // In pieces, so that this file does not find itself.
    let leftovers = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:"), concat!("db", "g!(")];
    for path in sources() {
        let file = relative(&path);
        let text = fs::read_to_string(&path).expect("a source file is text");
        assert!(text.starts_with("//!"), "{file} begins without a //! header that says what it is");
        for leftover in leftovers {
            assert!(!text.contains(leftover), "{file} still has {leftover}");
        }
        for (number, line) in text.lines().enumerate() {
            // Code is rustfmt's business, and long text in quotes is left whole.
            let is_comment = line.trim_start().starts_with("//");
            let width = line.chars().count();
            assert!(!is_comment || width <= 120, "{file}:{} has a comment of {width} characters", number + 1);
        }
        let name = path.file_stem().expect("a source file has a name").to_string_lossy();
        let vague = ["utils", "util", "common", "manager", "helper", "helpers", "misc"];
        assert!(!vague.contains(&name.as_ref()), "{file}: a name that says nothing");
    }
}
