//! Where the seats of an area stand and what they have: coordinates in centimetres from the north-west corner of a
//! room.

use carrel_proto::v1::area::Seat;

#[derive(Clone, Copy)]
pub enum Layout {
    /// Long desks in pairs that face each other, an aisle between the pairs and one down the middle.
    Rows,
    /// Tables for four or six.
    GroupTables,
    /// Single desks with screens, along three walls.
    Carrels,
    /// Benches of desks with a monitor each.
    Computers,
    /// Armchairs in loose circles.
    Lounge,
}

/// SplitMix64: small, and the same on every machine.
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to `bound`, which it never reaches. The bias is one in 10^17.
    fn below(&mut self, bound: u64) -> u64 {
        self.roll() % bound
    }

    fn percent(&mut self, chance: u64) -> bool {
        self.below(100) < chance
    }
}

/// A desk as it stands, before it is known what it has.
struct Desk {
    x_cm: u32,
    y_cm: u32,
    /// Next to a wall that has windows.
    at_window: bool,
    /// With room for a wheelchair beside it.
    at_aisle: bool,
}

pub fn seats(layout: Layout, count: u32, letter: char, dice: &mut Dice) -> Vec<Seat> {
    let desks: Vec<Desk> = (0..count).map(|index| desk(layout, index, count, dice)).collect();
    (1..).zip(&desks).map(|(number, desk)| seat(layout, number, letter, desk, dice)).collect()
}

fn desk(layout: Layout, index: u32, count: u32, dice: &mut Dice) -> Desk {
    match layout {
        Layout::Rows => {
            // Twelve to a row, six on either side of the aisle; two rows share a table and its lamps.
            let (row, place) = (index / 12, index % 12);
            let aisle_cm = if place < 6 { 0 } else { 160 };
            let gap_cm = (row / 2) * 150;
            Desk {
                x_cm: 120 + place * 95 + aisle_cm,
                y_cm: 120 + row * 130 + gap_cm,
                at_window: place == 0 || place == 11,
                at_aisle: place == 5 || place == 6,
            }
        }
        Layout::GroupTables => {
            // Four tables side by side; of six seats three sit on either side.
            let per_table = if count.is_multiple_of(6) { 6 } else { 4 };
            let (table, place) = (index / per_table, index % per_table);
            let (column, side) = (place % (per_table / 2), place / (per_table / 2));
            Desk {
                x_cm: 150 + (table % 4) * 420 + column * 80,
                y_cm: 150 + (table / 4) * 380 + side * 140,
                at_window: table.is_multiple_of(4),
                at_aisle: column == 0 && side == 0,
            }
        }
        Layout::Carrels => {
            // Down the west wall, along the north wall, down the east wall.
            let wall = count.div_ceil(3);
            let along_cm = 110 * (index % wall);
            let (x_cm, y_cm) = match index / wall {
                0 => (60, 200 + along_cm),
                1 => (220 + along_cm, 60),
                _ => (220 + 110 * wall + 100, 200 + along_cm),
            };
            Desk { x_cm, y_cm, at_window: index / wall == 1, at_aisle: (index % wall).is_multiple_of(8) }
        }
        Layout::Computers => {
            let (bench, place) = (index / 8, index % 8);
            Desk { x_cm: 150 + place * 120, y_cm: 150 + bench * 220, at_window: place == 7, at_aisle: place == 0 }
        }
        Layout::Lounge => {
            // Circles of six around a low table, each chair a little off.
            const AROUND_CM: [(u32, u32); 6] = [(230, 120), (175, 215), (65, 215), (10, 120), (65, 25), (175, 25)];
            let (circle, place) = (index / 6, index % 6);
            let (around_x_cm, around_y_cm) = AROUND_CM[place as usize];
            let mut off_cm = || u32::try_from(dice.below(30)).expect("less than 30");
            Desk {
                x_cm: 120 + (circle % 3) * 420 + around_x_cm + off_cm(),
                y_cm: 120 + (circle / 3) * 400 + around_y_cm + off_cm(),
                at_window: circle.is_multiple_of(3),
                at_aisle: place == 0,
            }
        }
    }
}

fn seat(layout: Layout, number: u32, letter: char, desk: &Desk, dice: &mut Dice) -> Seat {
    let &Desk { x_cm, y_cm, at_window, at_aisle } = desk;
    let (power_percent, monitor_percent) = match layout {
        Layout::Rows => (70, 8),
        Layout::GroupTables => (90, 0),
        Layout::Carrels => (100, 25),
        Layout::Computers => (100, 100),
        Layout::Lounge => (35, 0),
    };
    let quirk = match layout {
        Layout::Rows => (12, "standing-desk"),
        Layout::GroupTables => (25, "whiteboard"),
        Layout::Carrels => (40, "lockable"),
        Layout::Computers => (15, "scanner"),
        Layout::Lounge => (20, "footrest"),
    };
    let always = match layout {
        Layout::Rows => Some("lamp"),
        Layout::GroupTables => Some("group"),
        Layout::Carrels => Some("quiet"),
        Layout::Computers => None,
        Layout::Lounge => Some("armchair"),
    };
    let has = [
        (dice.percent(power_percent), "power"),
        (dice.percent(monitor_percent), "monitor"),
        (always.is_some(), always.unwrap_or_default()),
        (at_window, "window"),
        (dice.percent(quirk.0), quirk.1),
    ];
    Seat {
        id: format!("{letter}-{number:03}"),
        label: format!("{}{number}", letter.to_ascii_uppercase()),
        amenities: has.into_iter().filter(|(has, _)| *has).map(|(_, amenity)| amenity.to_owned()).collect(),
        accessible: at_aisle && dice.percent(60),
        x: f64::from(x_cm) / 100.0,
        y: f64::from(y_cm) / 100.0,
    }
}
