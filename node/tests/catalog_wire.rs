//! Catalogues as they come over the wire, from clients that send anything.

use carrel_domain::catalog::{Catalog, Fault};
use carrel_node::catalog::campus::{SEED, generate};
use carrel_node::convert::catalog::{from_draft, to_draft};
use carrel_proto::v1;
use carrel_proto::v1::day_hours::Span;

/// What is told of the campus after `spoil`.
fn faults(spoil: impl FnOnce(&mut v1::Catalog)) -> Vec<String> {
    let mut catalog = generate(SEED);
    spoil(&mut catalog);
    to_draft(&catalog).expect_err("it has faults").iter().map(Fault::to_string).collect()
}

#[test]
fn a_catalogue_goes_in_and_comes_out() {
    let campus = generate(SEED);
    let draft = to_draft(&campus).expect("no faults");
    assert_eq!(from_draft(&draft), campus);
    // Also by way of the state, which knows its branches by name.
    let exported = from_draft(&Catalog::default().replaced_by(&draft).draft());
    let again = to_draft(&exported).expect("no faults");
    assert_eq!(from_draft(&again), exported);
    let seats = |catalog: &v1::Catalog| -> usize {
        catalog.branches.iter().flat_map(|branch| &branch.areas).map(|area| area.seats.len()).sum()
    };
    assert_eq!(seats(&exported), seats(&campus));
    assert_eq!(from_draft(&to_draft(&v1::Catalog::default()).expect("no faults")), v1::Catalog::default());
}

#[test]
fn metres_are_kept_to_the_centimetre() {
    let mut campus = generate(SEED);
    campus.branches[0].areas[0].seats[0].x = 1.234_9;
    campus.branches[0].areas[0].seats[0].y = -10_000.0;
    let draft = to_draft(&campus).expect("no faults");
    assert_eq!((draft.branches[0].areas[0].seats[0].x_cm, draft.branches[0].areas[0].seats[0].y_cm), (123, -1_000_000));
    for metres in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 10_000.01, -1e300] {
        let told = faults(|campus| campus.branches[0].areas[0].seats[0].x = metres);
        assert_eq!(told.len(), 1, "{metres}");
        assert!(told[0].starts_with("branches[0].areas[0].seats[0].x: "), "{}", told[0]);
    }
}

#[test]
fn nothing_of_an_empty_entry_is_taken_for_granted() {
    let told = faults(|campus| {
        campus.policies.push(v1::Policy::default());
        campus.branches.push(v1::Branch::default());
        campus.branches[0].areas.push(v1::Area::default());
        campus.branches[0].areas[1].seats[3] = v1::area::Seat::default();
    });
    for expected in [
        "policies[3].id: it is empty",
        "policies[3].grid_minutes: 0 is not between 1 and 1440",
        "branches[8].id: it is empty",
        "branches[8].display_name: it is empty",
        "branches[8].time_zone: it is empty",
        "branches[8].policy: it is empty",
        "branches[8].hours: they are missing",
        "branches[0].areas[7].id: it is empty",
        "branches[0].areas[7].display_name: it is empty",
        "branches[0].areas[1].seats[3].id: it is empty",
        "branches[0].areas[1].seats[3].label: it is empty",
    ] {
        assert!(told.iter().any(|told| told == expected), "{expected}\n{told:#?}");
    }
}

#[test]
fn hours_are_read_with_suspicion() {
    fn hours(campus: &mut v1::Catalog) -> &mut v1::Hours {
        campus.branches[0].hours.as_mut().expect("a branch has hours")
    }
    let told = faults(|campus| {
        let hours = hours(campus);
        hours.week[0].spans = vec![Span { open_minute: -5, close_minute: 70_000 }];
        hours.week[1].spans = vec![Span { open_minute: 600, close_minute: 500 }];
        hours.periods[0].first_date = "2027-02-30".to_owned();
        hours.periods[1].week.pop();
        hours.exceptions[0].date = "\u{202E}".to_owned();
        hours.exceptions[1].display_name = "a\u{7}".to_owned();
    });
    assert_eq!(
        told,
        [
            "branches[0].hours: from minute -5 to minute 70000 is not within a day",
            "branches[0].hours: '2027-02-30' is not a date like 2027-01-31",
            "branches[0].hours: a week has seven days, Monday first, and this one has 6",
            "branches[0].hours: '\\u{202e}' is not a date like 2027-01-31",
            "branches[0].hours: 'a\\u{7}': it has control characters",
            "branches[0].hours: a span closes before it opens, or after 24:00",
        ]
    );
    assert_eq!(
        faults(|campus| hours(campus).exceptions = vec![v1::hours::DayException::default(); 100_000]),
        ["branches[0].hours: 100000 exceptions are more than the 400 allowed"]
    );
    assert_eq!(
        faults(|campus| hours(campus).periods = vec![v1::hours::Period::default(); 100_000]),
        ["branches[0].hours: 100000 periods are more than the 50 allowed"]
    );
}

#[test]
fn a_flood_is_counted_and_not_read() {
    let told = faults(|campus| campus.branches[0].areas[0].seats = vec![v1::area::Seat::default(); 1_000_000]);
    assert_eq!(told.len(), 1);
    assert!(told[0].ends_with("are more than the 30000 allowed"), "{}", told[0]);
    let told = faults(|campus| campus.branches[0].areas[0].seats[0].amenities = vec![String::new(); 1_000_000]);
    assert_eq!(told, ["branches[0].areas[0].seats[0].amenities: more than 16"]);
    assert_eq!(faults(|campus| campus.policies = vec![v1::Policy::default(); 1_000]).len(), 1);
}

#[test]
fn one_slip_is_one_fault() {
    assert_eq!(
        faults(|campus| campus.policies[0].max_minutes = -480),
        ["policies[0].max_minutes: -480 is less than nothing"]
    );
    assert_eq!(
        faults(|campus| campus.branches[3].areas[1].policy = "No Such".to_owned()).len(),
        1,
        "an id that cannot be read is not also one that is not there"
    );
    let told = faults(|campus| {
        for seat in &mut campus.branches[0].areas[0].seats {
            seat.id = "☕".to_owned();
        }
    });
    assert_eq!(told.len(), 64, "ids that cannot be read are no duplicates of each other");
    let told = faults(|campus| campus.branches[0].areas[0].seats[0].label = "x".repeat(1_000_000));
    assert!(told[0].len() < 200, "what was sent is not sent back: {} bytes", told[0].len());
}
