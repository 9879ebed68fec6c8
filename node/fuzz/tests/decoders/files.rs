//! Files that people bring: catalogues as YAML and as CSV. What is read can be written, and is then read as the same.

use carrel_node::catalog::{read_csv, read_yaml, write_yaml};
use carrel_node::convert::catalog::{from_draft, to_draft};
use carrel_proto::v1;

use crate::desk;
use carrel_fuzz::soon;

/// Of what can be imported.
fn is_written_as_it_was_read(catalog: &v1::Catalog) {
    let Ok(draft) = to_draft(catalog) else { return };
    let sound = from_draft(&draft);
    let again = read_yaml(&write_yaml(&sound)).expect("what was written can be read");
    assert_eq!(to_draft(&again).map(|draft| from_draft(&draft)), Ok(sound), "{}", write_yaml(&again));
}

#[test]
fn yaml() {
    bolero::check!().with_max_len(8_192).for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        if let Ok(catalog) = soon(|| read_yaml(&text)) {
            is_written_as_it_was_read(&catalog);
        }
    });
}

#[test]
fn csv() {
    let current = desk::catalogue();
    bolero::check!().with_max_len(8_192).for_each(|input: &[u8]| {
        let text = String::from_utf8_lossy(input);
        if let Ok(catalog) = soon(|| read_csv(&text, &current)) {
            is_written_as_it_was_read(&catalog);
        }
    });
}
