//! The sample campus: fresh, without faults, and as large as it says.

use std::collections::BTreeSet;
use std::path::Path;

use carrel_node::catalog::campus::{CAMPUS_YAML, SEED, generate};
use carrel_node::catalog::{read_file, read_yaml, write_yaml};
use carrel_node::convert::catalog::to_draft;

/// Run with UPDATE_CATALOG=1 to write the file anew.
#[test]
fn the_file_is_what_the_generator_makes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalog/campus.yaml");
    let fresh = write_yaml(&generate(SEED));
    if std::env::var_os("UPDATE_CATALOG").is_some() {
        std::fs::write(&path, &fresh).expect("the file can be written");
        return;
    }
    assert!(CAMPUS_YAML == fresh, "node/catalog/campus.yaml is stale: run this test with UPDATE_CATALOG=1");
    assert_eq!(read_file(&path, None).expect("no faults"), generate(SEED));
}

#[test]
fn the_campus_is_a_campus() {
    let campus = generate(SEED);
    let draft = to_draft(&campus).expect("no faults");
    let areas = || draft.branches.iter().flat_map(|branch| &branch.areas);
    let seats = || areas().flat_map(|area| &area.seats);
    assert_eq!(draft.branches.len(), 8);
    assert_eq!(areas().count(), 40);
    assert!((2_400..2_700).contains(&seats().count()), "{} seats", seats().count());
    let zones: BTreeSet<&str> = draft.branches.iter().map(|branch| branch.time_zone.as_str()).collect();
    assert_eq!(zones.len(), 2);
    let having = |amenity: &str| seats().filter(|seat| seat.amenities.iter().any(|a| a.as_str() == amenity)).count();
    assert!(having("power") > 1_000 && having("monitor") > 200 && having("window") > 200);
    assert!(seats().filter(|seat| seat.accessible).count() > 100);

    let first = &campus.branches[0].areas[0];
    let week = &first.hours.as_ref().expect("the first area has hours of its own").week;
    let spans = week.iter().flat_map(|day| &day.spans);
    assert_eq!(spans.map(|span| (span.open_minute, span.close_minute)).collect::<Vec<_>>(), [(0, 1440); 7]);

    // Nobody sits on anybody.
    for area in areas() {
        for (index, seat) in area.seats.iter().enumerate() {
            for other in &area.seats[..index] {
                let apart_cm = (seat.x_cm - other.x_cm).abs().max((seat.y_cm - other.y_cm).abs());
                assert!(apart_cm >= 50, "{} and {} in {} are {apart_cm} cm apart", seat.id, other.id, area.title);
            }
        }
    }
}

#[test]
fn a_seed_is_a_campus() {
    assert_eq!(generate(7), generate(7));
    assert_ne!(generate(7), generate(8));
    for seed in 0..3 {
        let campus = generate(seed);
        assert_eq!(read_yaml(&write_yaml(&campus)).expect("no faults"), campus);
    }
}
