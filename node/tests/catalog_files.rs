//! Catalogue files as people write them, and everything that they get wrong.

use std::fmt::Write;
use std::fs;

use carrel_node::catalog::campus::{SEED, generate};
use carrel_node::catalog::{FAULTS_SHOWN_MAX, Faults, ReadError, read_csv, read_file, read_yaml, write_yaml};
use carrel_node::convert::catalog::{from_draft, to_draft};
use carrel_proto::v1;
use flate2::Compression;
use flate2::write::GzEncoder;

const POLICY: &str = "\
policies:
  - &default
    id: default
    grid_minutes: 30
    min_minutes: 30
    max_minutes: 480
    window_days: 14
    grace_minutes: 15
    lead_minutes: 15
    offer_minutes: 10
    max_reservations: 6
    max_minutes_per_day: 600
    strikes_to_suspend: 3
    strike_days: 30
    suspension_days: 3
";

/// Lines 16 to 27.
const BRANCH: &str = "\
branches:
  - id: main
    display_name: Main Library
    time_zone: Europe/Berlin
    policy: default
    hours:
      week: { mon-sun: \"08:00-22:00\" }
    areas:
      - id: reading-room
        display_name: Reading Room
        seats:
          - { id: r-001 }
";

fn small() -> String {
    format!("{POLICY}{BRANCH}")
}

/// The small catalogue with `old` replaced by `new`.
fn with(old: &str, new: &str) -> String {
    let small = small();
    assert_eq!(small.matches(old).count(), 1, "{old}");
    small.replace(old, new)
}

fn shown(faults: &Faults) -> Vec<String> {
    faults.first.iter().map(|fault| format!("{}: {}", fault.line, fault.problem)).collect()
}

fn faults(source: &str) -> Vec<String> {
    shown(&read_yaml(source).expect_err("it has faults"))
}

#[test]
fn a_seat_needs_an_id_and_the_rest_follows() {
    let catalog = read_yaml(&small()).expect("no faults");
    let seat = &catalog.branches[0].areas[0].seats[0];
    assert_eq!((seat.id.as_str(), seat.label.as_str()), ("r-001", "r-001"));
    assert_eq!((seat.accessible, seat.x, seat.y, seat.amenities.len()), (false, 0.0, 0.0, 0));
    assert_eq!(catalog.branches[0].hours.as_ref().expect("hours").week.len(), 7);
}

#[test]
fn text_is_what_stands_there() {
    let seat = |label: &str| {
        let source = with("{ id: r-001 }", &format!("{{ id: r-001, label: {label}, x: 0.5, y: -12 }}"));
        read_yaml(&source).expect("no faults").branches[0].areas[0].seats[0].clone()
    };
    for (written, read) in
        [("007", "007"), ("1.50", "1.50"), ("no", "no"), ("0x1F", "0x1F"), ("\"~\"", "~"), ("'ü ☕'", "ü ☕")]
    {
        assert_eq!(seat(written).label, read);
    }
    assert_eq!((seat("1").x, seat("1").y), (0.5, -12.0));
}

#[test]
fn windows_writes_files_too() {
    let windows = format!("\u{FEFF}{}", small().replace('\n', "\r\n"));
    assert_eq!(read_yaml(&windows).expect("no faults"), read_yaml(&small()).expect("no faults"));
    assert_eq!(
        faults(&windows.replace("r-001", "R 1")),
        ["27: id: 'R 1': an id has lower-case letters, digits and '-' only, and starts with a letter or digit"]
    );
}

#[test]
fn a_policy_may_be_another_with_a_difference() {
    let source = with("branches:", "  - { <<: *default, id: short, max_minutes: 60 }\nbranches:");
    let policies = read_yaml(&source).expect("no faults").policies;
    assert_eq!((policies[1].id.as_str(), policies[1].max_minutes, policies[1].grid_minutes), ("short", 60, 30));
}

#[test]
fn rules_that_are_left_out_are_as_usual_and_meals_are_hours() {
    let source =
        with("    suspension_days: 3", "    suspension_days: 3\n    proof_required: true\n    max_per_week: 5");
    let source = source.replace("    areas:", "    meals: \"12:00-13:30, 18:00-19:00\"\n    areas:");
    let catalog = read_yaml(&source).expect("no faults");
    let policy = &catalog.policies[0];
    assert_eq!((policy.proof_required, policy.max_per_week, policy.hold_minutes), (Some(true), Some(5), None));
    assert_eq!(catalog.branches[0].meals.as_ref().map(|meals| meals.spans.len()), Some(2));
    assert_eq!(read_yaml(&write_yaml(&catalog)).expect("no faults"), catalog);
    // Whoever imports it is told all of it.
    let told = from_draft(&to_draft(&catalog).expect("no faults"));
    assert_eq!((told.policies[0].hold_minutes, told.policies[0].away_minutes), (Some(2), Some(30)));
    assert_eq!(read_yaml(&write_yaml(&told)).expect("no faults"), told);
    assert_eq!(from_draft(&to_draft(&told).expect("no faults")), told);
    assert_eq!(
        faults(&source.replace("proof_required: true", "proof_required: maybe")),
        ["16: proof_required: 'maybe' is neither true nor false"]
    );
    assert_eq!(
        faults(&source.replace("max_per_week: 5", "max_per_week: 500")),
        ["17: max_per_week: 500 is not between 0 and 100"]
    );
}

#[test]
fn what_is_written_reads_back() {
    let mut catalog = read_yaml(&small()).expect("no faults");
    let texts = [
        "1",
        "007",
        "true",
        "No",
        "null",
        "~",
        "- a",
        "a: b",
        "a #b",
        "#",
        "'quoted'",
        "\"double\"",
        "back\\slash",
        " space ",
        "{brace}",
        "[bracket]",
        "*star",
        "&and",
        "!bang",
        "%",
        "@",
        "`",
        "a, b",
        "2027-01-01",
        "1e5",
        ".5",
        "Ünïcödé ☕",
        "א ב",
        "a\u{2028}b",
        "\u{FEFF}a",
        "?",
        "=",
        "<<",
        "...",
        "---",
        "- ",
        "a'b",
        "nan",
        "0o7",
        "12:30",
        "a\u{A0}",
    ];
    let area = &mut catalog.branches[0].areas[0];
    area.seats.clear();
    for (index, text) in texts.into_iter().enumerate() {
        area.seats.push(v1::area::Seat {
            id: format!("{index}"),
            label: text.to_owned(),
            amenities: vec!["window".to_owned(), "power".to_owned(), text.to_lowercase()],
            accessible: index % 2 == 0,
            x: index as f64 / 100.0,
            y: -(index as f64),
        });
    }
    area.seats[0].amenities = vec!["power".to_owned()];
    area.seats[1].amenities = vec!["monitor".to_owned(), "power".to_owned()];
    area.seats[2].amenities = vec!["power".to_owned(), "monitor".to_owned(), "window".to_owned()];
    assert_eq!(read_yaml(&write_yaml(&catalog)).expect("no faults"), catalog);
    let empty = v1::Catalog::default();
    assert_eq!(read_yaml(&write_yaml(&empty)).expect("no faults"), empty);
    catalog.branches[0].areas[0].seats.clear();
    catalog.branches.push(v1::Branch { id: "annex".to_owned(), areas: Vec::new(), ..catalog.branches[0].clone() });
    assert_eq!(read_yaml(&write_yaml(&catalog)).expect("no faults"), catalog);
}

#[test]
fn every_fault_is_told_with_its_line() {
    let source = "\
policies:
  - id: default
    grid_minutes: 30
    min_minutes: 45
    max_minutes: 480
    window_days: 1000
    grace_minutes: fifteen
    lead_minutes: 15
    offer_minutes: 10
    max_reservations: 6
    max_minutes_per_day: 600
    strikes_to_suspend: 3
    strike_days: 30
  - id: strict
    grid_minutes: 30
    min_minutes:
    max_minutes: 480
    window_days: 1000
    grace_minutes: -1
    lead_minutes: 15
    offer_minutes: 10
    max_reservations: 6
    max_minutes_per_day: 600
    strikes_to_suspend: 3
    strike_days: 30
    suspension_days: 3
branches:
  - id: main
    name: Main Library
    time_zone: Europe/Berln
    policy: defualt
    hours:
      week: { mon-fri: \"08:00-25:00\", wed: closed, sat: \"12:00-10:00\", so: closed }
      periods:
        - { first_date: 2027-02-30, last_date: 2027-03-01, week: { mon-sun: closed } }
        - { first_date: 2027-03-02, last_date: 2027-03-01, week: { mon-sun: closed } }
        - { first_date: 2027-04-01, last_date: 2027-04-10, week: { mon-sun: closed } }
        - first_date: 2027-04-10
          last_date: 2027-04-11
          week: { mon-sun: closed }
      exceptions:
        2027-02-30: closed
        2027-03-01: { hours: \"08:00-12:00, 11:00-13:00\" }
        2027-03-02: 8
        2027-03-02: closed
    areas:
      - id: reading-room
        display_name: Reading Room
        policy: default
        policy: strict
        seats:
          - { id: r-001, x: .nan, y: NaN }
          - { id: r-002, power: yes, x: 1e9 }
          - { id: ☕, amenities: window }
          - { id: r-001, amenities: [Window, window, window, [door]] }
          - r-005
          - { label: Nobody, power: true, colour: red, amenities: [power] }
      - { id: reading-room, seats: { id: r-007 } }
      -
";
    let expected = [
        "2: suspension_days: it is missing",
        "4: min_minutes: 45 is not a multiple of grid_minutes, 30",
        "6: window_days: 1000 is not between 0 and 365",
        "7: grace_minutes: 'fifteen' is not a whole number",
        "14: min_minutes: it is missing",
        "18: window_days: 1000 is not between 0 and 365",
        "19: grace_minutes: -1 is less than nothing",
        "28: display_name: it is missing",
        "29: 'name' is not a field of a branch: they are id, display_name, time_zone, policy, hours, meals, areas",
        "30: time_zone: there is no time zone 'Europe/Berln'",
        "31: policy: there is no policy 'defualt'",
        "33: '12:00-10:00' closes before it opens",
        "33: '25:00' is not a time from 00:00 to 24:00",
        "33: 'so' is not a day like mon, nor days like mon-fri",
        "33: week: there is nothing for sun (closed?)",
        "33: week: wed is there twice",
        "35: '2027-02-30' is not a date like 2027-01-31",
        "36: last_date: it is before first_date",
        "38: periods: this one and the one on line 37 overlap",
        "42: '2027-02-30' is not a date like 2027-01-31",
        "43: '11:00-13:00' begins before the span in front of it ends",
        "44: '8' is not a time like \"08:00-22:00\", nor closed",
        "45: '2027-03-02' is there twice",
        "50: 'policy' is there twice",
        "52: x: '.nan' is not a number",
        "52: y: NaN is not between -10000 and 10000 metres",
        "53: power: 'yes' is neither true nor false",
        "53: x: 1000000000 is not between -10000 and 10000 metres",
        "54: amenities: it is not a list",
        "54: id: '☕': an id has lower-case letters, digits and '-' only, and starts with a letter or digit",
        "55: amenities: 'Window' is not lower case",
        "55: amenities: one of them is named twice",
        "55: amenities: one of them is not text",
        "55: id: there is already a seat 'r-001' in branch 'main'",
        "56: this is not a seat, which is a map of id, label, power, monitor, accessible, amenities, x, y",
        "57: 'colour' is not a field of a seat: they are id, label, power, monitor, accessible, amenities, x, y",
        "57: amenities: one of them is named twice",
        "57: id: it is missing",
        "58: display_name: it is missing",
        "58: id: there is already an area 'reading-room' in branch 'main'",
        "58: seats: it is not a list",
        "59: this is not an area, which is a map of id, display_name, policy, hours, seats",
    ];
    assert_eq!(faults(source), expected);
}

#[test]
fn what_the_rules_find_has_the_line_of_the_file() {
    let mut source = with("          - { id: r-001 }\n", "");
    for number in 0..900 {
        // The last seat has the number of one in the middle.
        let number = if number == 800 { 400 } else { number };
        writeln!(source, "          - {{ id: r-{number:03} }}").expect("a string");
    }
    assert_eq!(faults(&source), ["827: id: there is already a seat 'r-400' in branch 'main'"]);
}

#[test]
fn faults_are_many_and_the_first_are_told() {
    let mut source = with("          - { id: r-001 }\n", "");
    for _ in 0..1_000 {
        source.push_str("          - { id: R }\n");
    }
    let faults = read_yaml(&source).expect_err("it has faults");
    assert_eq!((faults.first.len(), faults.count), (FAULTS_SHOWN_MAX, 1_000));
    assert_eq!((faults.first[0].line, faults.first[99].line), (27, 126));
    assert!(faults.to_string().ends_with("and 900 more"), "{faults}");
}

#[test]
fn what_is_no_catalogue_is_refused() {
    for (source, told) in [
        ("", "1: there is nothing in it"),
        ("# nothing\n", "1: there is nothing in it"),
        ("---\n", "1: there is nothing in it"),
        ("- a\n- b\n", "1: this is not a catalogue, which is a map of policies, branches"),
        ("just text", "1: this is not a catalogue, which is a map of policies, branches"),
        ("policies: []\nbranches:\n\t- id: main\n", "3: tabs disallowed within this context (block indentation)"),
        ("policies: [", "1: unclosed bracket '['"),
        ("policies: *nowhere", "1: reference to unknown value"),
        (
            "policies: []\nbranches: []\n---\npolicies: []\n",
            "3: YAML document too large or too complex: limits breached: Documents { documents: 2 }",
        ),
        ("policies: []\n? [a]\n: b\n", "2: expected string scalar"),
    ] {
        assert_eq!(faults(source), [told], "{source}");
    }
    assert_eq!(
        faults("policies: {}\nbranches: no\n"),
        ["1: policies: it is not a list", "2: branches: it is not a list"]
    );
    assert_eq!(
        faults("policies: []\npolicies: []\nseats: []\n"),
        [
            "1: branches: it is missing",
            "2: 'policies' is there twice",
            "3: 'seats' is not a field of a catalogue: they are policies, branches"
        ]
    );
}

#[test]
fn nesting_and_repetition_are_bounded() {
    let deep = format!("policies: {}{}", "[".repeat(10_000), "]".repeat(10_000));
    assert_eq!(faults(&deep).len(), 1);
    // Ten levels of ten aliases each.
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let below = format!("*a{}", level - 1);
        writeln!(bomb, "a{level}: &a{level} [{}]", [below.as_str(); 10].join(", ")).expect("a string");
    }
    assert_eq!(faults(&bomb).len(), 1);
}

#[test]
fn a_catalogue_has_a_largest_size() {
    let mut source = with("          - { id: r-001 }\n", "");
    for number in 0..30_001 {
        writeln!(source, "          - {{ id: r-{number}, power: true, x: 1, y: 2 }}").expect("a string");
    }
    assert_eq!(faults(&source), ["16: seats: 30001 are more than the 30000 allowed"]);
}

#[test]
fn files_are_told_apart_by_their_names() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).expect("the file can be written");
        path
    };
    let current = read_yaml(&small()).expect("no faults");
    assert_eq!(read_file(&file("a.YML", small().as_bytes()), None).expect("no faults"), current);

    let error = |path: std::path::PathBuf| read_file(&path, Some(&current)).expect_err("refused").to_string();
    assert!(error(file("a.txt", b"")).ends_with("a.txt is neither YAML (.yaml, .yml) nor CSV (.csv) by its name"));
    assert!(error(folder.path().join("none.yaml")).starts_with("cannot read "));
    assert!(
        error(file("b.yaml", b"policies: []\nbranches: [\xFF\xFE]")).ends_with("line 2: this is not text in UTF-8")
    );
    assert!(error(file("c.yaml", &[0, 1, 2, 0xFF, 0xD8])).ends_with("line 1: this is not text in UTF-8"));
    assert!(error(file("d.yaml", b"\0\0\0\0")).contains("line 1: "));
    assert!(error(file("e.yaml", &vec![b'a'; 17 << 20])).contains("is larger than 16777216 bytes"));
    assert!(error(file("f.yaml", &vec![b'a'; 10 << 20])).contains("line 1: this is not a catalogue"));
    assert!(error(file("h.csv", b"")).contains("line 1: the column 'branch' is missing"));
    let seats = file("g.csv", b"branch,area,seat\nmain,reading-room,r-9\n");
    assert!(matches!(read_file(&seats, None), Err(ReadError::NothingToPutSeatsIn { .. })));
    assert_eq!(read_file(&seats, Some(&current)).expect("no faults").branches[0].areas[0].seats[0].id, "r-9");
}

fn csv_faults(source: &str, current: &v1::Catalog) -> Vec<String> {
    shown(&read_csv(source, current).expect_err("it has faults"))
}

#[test]
fn csv_replaces_the_seats_of_the_areas_that_it_names() {
    let current = generate(SEED);
    let source = "\u{FEFF}\"seat\",Area,branch,amenities,power,y,x,label\r\n\
        n-1,night-hall,lindenhof,window; quiet ;,TRUE,2.5,1,\"Desk \"\"one\"\"\"\r\n\
        \r\n\
        n-2,night-hall,lindenhof,,false,,,\r\n\
        z-001,potting-shed,orangery,,,,,\r\n";
    let changed = read_csv(source, &current).expect("no faults");
    let seats = |branch: usize, area: usize| changed.branches[branch].areas[area].seats.clone();
    assert_eq!(seats(0, 0).len(), 2);
    let first = &seats(0, 0)[0];
    assert_eq!((first.label.as_str(), first.x, first.y), ("Desk \"one\"", 1.0, 2.5));
    assert_eq!(first.amenities, ["power", "window", "quiet"]);
    assert_eq!((seats(0, 0)[1].label.as_str(), seats(0, 0)[1].amenities.len()), ("n-2", 0));
    let mut expected = current.clone();
    expected.branches[0].areas[0].seats = seats(0, 0);
    expected.branches[5].areas[2].seats = seats(5, 2);
    assert_eq!(changed, expected, "and nothing else");
}

#[test]
fn csv_faults_have_lines_too() {
    let current = generate(SEED);
    let source = "branch,area,seat,power,x\n\
        nowhere,night-hall,n-1,,\n\
        lindenhof,nowhere,n-1,,\n\
        lindenhof,night-hall,b-001,,\n\
        lindenhof,night-hall,N 2,perhaps,NaN\n\
        lindenhof,night-hall,\"n\n3\",,one\n\
        lindenhof,night-hall,n-4\n\
        lindenhof,night-hall,n-5,,\n\
        lindenhof,night-hall,n-5,,\n";
    assert_eq!(
        csv_faults(source, &current),
        [
            "2: branch: there is no branch 'nowhere'",
            "3: area: there is no area 'nowhere' in branch 'lindenhof'",
            "4: seat: area 'great-hall', which keeps its seats, has 'b-001' already",
            "5: power: 'perhaps' is neither true nor false",
            "5: seat: 'N 2': an id has lower-case letters, digits and '-' only, and starts with a letter or digit",
            "5: x: NaN is not between -10000 and 10000 metres",
            "6: label: 'n\\n3': it has control characters",
            "6: seat: 'n\\n3': an id has lower-case letters, digits and '-' only, and starts with a letter or digit",
            "6: x: 'one' is not a number",
            "8: it has 3 fields, and the header has 5",
            "10: seat: there is already a seat 'n-5' in branch 'lindenhof'",
        ]
    );
    // A seat that moves to an earlier area collides with one that stays behind.
    assert_eq!(
        csv_faults("branch,area,seat\nlindenhof,great-hall,a-001\n", &current),
        ["2: seat: area 'night-hall', which keeps its seats, has 'a-001' already"]
    );
    assert_eq!(csv_faults("branch;area;seat\n", &current), ["1: columns are separated by commas"]);
    assert_eq!(csv_faults("branch,area,seat\n", &current), ["1: there are no seats in it"]);
    assert_eq!(
        csv_faults("branch,seat,seat,chair\n", &current),
        [
            "1: the column 'area' is missing",
            "1: the column 'seat' is there twice",
            "1: there is no column 'chair': they are branch, area, seat, label, power, monitor, accessible, amenities, x, y",
        ]
    );
    let mut many = String::from("branch,area,seat\n");
    for number in 0..30_001 {
        writeln!(many, "lindenhof,night-hall,n-{number}").expect("a string");
    }
    assert!(csv_faults(&many, &current)[0].starts_with("1: seats: 3"));
}

#[test]
fn a_gzipped_file_is_read_like_any_other_and_bounded_alike() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("campus.yaml");
    let gzip = |bytes: &[u8]| {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        std::io::Write::write_all(&mut packed, bytes).expect("memory takes it");
        packed.finish().expect("memory takes it")
    };
    let campus = carrel_node::catalog::campus::CAMPUS_YAML;
    fs::write(&path, gzip(campus.as_bytes())).expect("written");
    assert_eq!(read_file(&path, None).expect("readable"), read_yaml(campus).expect("readable"));

    let bomb = vec![b'#'; usize::try_from(carrel_node::catalog::FILE_BYTES_MAX).expect("small") + 1];
    fs::write(&path, gzip(&bomb)).expect("written");
    assert!(matches!(read_file(&path, None), Err(ReadError::TooLarge { .. })));
    fs::write(&path, &gzip(b"policies: []")[..12]).expect("written");
    assert!(matches!(read_file(&path, None), Err(ReadError::Read { .. })), "one that breaks off");
}
