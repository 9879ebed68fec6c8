//! Which branches and areas there are. The names are invented.

use super::layout::Layout;

#[derive(Clone, Copy)]
pub enum Region {
    Berlin,
    NewYork,
}

impl Region {
    pub fn time_zone(self) -> &'static str {
        match self {
            Self::Berlin => "Europe/Berlin",
            Self::NewYork => "America/New_York",
        }
    }
}

/// Hours of a day from opening to closing; nothing: closed.
pub type DayPlan = Option<(i32, i32)>;

pub struct BranchPlan {
    pub id: &'static str,
    pub display_name: &'static str,
    pub region: Region,
    pub weekdays: DayPlan,
    pub saturday: DayPlan,
    pub sunday: DayPlan,
    pub areas: &'static [AreaPlan],
}

pub struct AreaPlan {
    pub id: &'static str,
    pub display_name: &'static str,
    pub layout: Layout,
    pub seats: u32,
    /// Empty: the branch's.
    pub policy: &'static str,
    pub never_closes: bool,
}

const fn area(id: &'static str, display_name: &'static str, layout: Layout, seats: u32) -> AreaPlan {
    let policy = match layout {
        Layout::Rows | Layout::Computers | Layout::Lounge => "",
        Layout::GroupTables => "group-rooms",
        Layout::Carrels => "carrels",
    };
    AreaPlan { id, display_name, layout, seats, policy, never_closes: false }
}

const fn never_closes(plan: AreaPlan) -> AreaPlan {
    AreaPlan { never_closes: true, ..plan }
}

pub const BRANCHES: [BranchPlan; 8] = [
    BranchPlan {
        id: "lindenhof",
        display_name: "Lindenhof Central Library",
        region: Region::Berlin,
        weekdays: Some((8, 24)),
        saturday: Some((9, 22)),
        sunday: Some((10, 20)),
        areas: &[
            never_closes(area("night-hall", "Night Hall", Layout::Rows, 64)),
            area("great-hall", "Great Reading Hall", Layout::Rows, 220),
            area("east-gallery", "East Gallery", Layout::Rows, 96),
            area("carrels", "Tower Carrels", Layout::Carrels, 48),
            area("media-lab", "Media Lab", Layout::Computers, 60),
            area("group-rooms", "Group Rooms, Floor 2", Layout::GroupTables, 72),
            area("winter-garden", "Winter Garden", Layout::Lounge, 40),
        ],
    },
    BranchPlan {
        id: "ried",
        display_name: "Haus am Ried, Law Library",
        region: Region::Berlin,
        weekdays: Some((8, 23)),
        saturday: Some((9, 20)),
        sunday: Some((10, 18)),
        areas: &[
            area("statutes", "Statutes Reading Room", Layout::Rows, 140),
            area("commentary", "Commentary Room", Layout::Rows, 84),
            area("carrels", "Doctoral Carrels", Layout::Carrels, 36),
            area("moot-rooms", "Moot Court Rooms", Layout::GroupTables, 32),
            area("terminals", "Case Law Terminals", Layout::Computers, 24),
        ],
    },
    BranchPlan {
        id: "kiesel",
        display_name: "Kiesel Science Library",
        region: Region::Berlin,
        weekdays: Some((7, 22)),
        saturday: Some((9, 18)),
        sunday: None,
        areas: &[
            area("atrium", "Atrium", Layout::Rows, 160),
            area("quiet-floor", "Quiet Floor", Layout::Rows, 110),
            area("computing", "Computing Room", Layout::Computers, 72),
            area("workshops", "Workshop Tables", Layout::GroupTables, 48),
            area("carrels", "Window Carrels", Layout::Carrels, 30),
            area("landing", "Stair Landing", Layout::Lounge, 18),
        ],
    },
    BranchPlan {
        id: "afra",
        display_name: "Sankt Afra Medical Library",
        region: Region::Berlin,
        weekdays: Some((7, 23)),
        saturday: Some((8, 20)),
        sunday: Some((10, 18)),
        areas: &[
            area("anatomy", "Anatomy Reading Room", Layout::Rows, 120),
            area("clinic", "Clinic Study", Layout::Rows, 60),
            area("case-rooms", "Case Discussion Rooms", Layout::GroupTables, 40),
            area("imaging", "Imaging Stations", Layout::Computers, 28),
        ],
    },
    BranchPlan {
        id: "old-mill",
        display_name: "Old Mill Music and Arts Library",
        region: Region::Berlin,
        weekdays: Some((9, 20)),
        saturday: Some((10, 16)),
        sunday: None,
        areas: &[
            area("scores", "Score Room", Layout::Rows, 48),
            area("listening", "Listening Carrels", Layout::Carrels, 24),
            area("drawing", "Drawing Tables", Layout::GroupTables, 28),
            area("mill-loft", "Mill Loft", Layout::Lounge, 22),
        ],
    },
    BranchPlan {
        id: "orangery",
        display_name: "Orangery Reading Rooms",
        region: Region::Berlin,
        weekdays: Some((9, 19)),
        saturday: Some((10, 17)),
        sunday: Some((12, 17)),
        areas: &[
            area("citrus-room", "Citrus Room", Layout::Rows, 56),
            area("palm-room", "Palm Room", Layout::Lounge, 34),
            area("potting-shed", "Potting Shed", Layout::GroupTables, 20),
        ],
    },
    BranchPlan {
        id: "harrowgate",
        display_name: "Harrowgate Hall",
        region: Region::NewYork,
        weekdays: Some((8, 24)),
        saturday: Some((10, 20)),
        sunday: Some((10, 24)),
        areas: &[
            area("main-stacks", "Main Stacks Reading Room", Layout::Rows, 180),
            area("mezzanine", "Mezzanine", Layout::Rows, 72),
            area("carrels", "Thesis Carrels", Layout::Carrels, 60),
            area("commons", "Learning Commons", Layout::GroupTables, 64),
            area("computers", "Computer Commons", Layout::Computers, 48),
            area("fireside", "Fireside Lounge", Layout::Lounge, 26),
        ],
    },
    BranchPlan {
        id: "wexcombe",
        display_name: "Wexcombe Engineering Library",
        region: Region::NewYork,
        weekdays: Some((7, 23)),
        saturday: Some((9, 21)),
        sunday: Some((11, 23)),
        areas: &[
            area("drafting-hall", "Drafting Hall", Layout::Rows, 100),
            area("silent-room", "Silent Room", Layout::Rows, 54),
            area("simulation-lab", "Simulation Lab", Layout::Computers, 40),
            area("project-bays", "Project Bays", Layout::GroupTables, 48),
            area("carrels", "North Wall Carrels", Layout::Carrels, 22),
        ],
    },
];
