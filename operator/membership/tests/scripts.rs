//! Runs every story in `scripts/`. A story is a list of commands, each followed by what came of it, indented.
//! `UPDATE_SCRIPTS=1` writes down what comes of them now; read the difference before keeping it.
//!
//! ```text
//! want 3 | given 5 voters          how it begins, or what is asked for from now on
//! settle | step | look             observe, plan and perform until nothing moves | once | without performing
//! show                             members and what runs
//! ordinal 2 dies | returns | loses its volume | gets its old volume back
//!           is cut off | is connected | is mute | answers again | is slow | keeps up | leads
//! leader dies                      the ordinal that leads
//! write 5000 entries
//! leave a change to 1 2 4 half way
//! remember | act on memory         keep an observation, and perform what is decided on it later
//! forget the founding              the performer loses its record
//! run 1 by hand                    somebody changes what runs
//! half a step                      the performer dies in the middle of it
//! calm                             every fault ends; what is lost stays lost
//! ```

mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use carrel_membership::{Desired, Founding, NodeId, Observed, Ordinal, Plan, Replicas, Voters, plan};
use world::{MAX_LOOKS, World};

#[test]
fn every_story_goes_as_written() {
    let update = std::env::var_os("UPDATE_SCRIPTS").is_some();
    let mut differing = Vec::new();
    for path in stories() {
        let written = std::fs::read_to_string(&path).expect("a story is readable");
        let told = tell(&written);
        if told == written {
            continue;
        }
        if update {
            std::fs::write(&path, told).expect("a story is writable");
        } else {
            differing.push(difference(&path, &written, &told));
        }
    }
    assert!(differing.is_empty(), "UPDATE_SCRIPTS=1 rewrites these:\n{}", differing.join("\n"));
}

fn stories() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let entries = std::fs::read_dir(folder).expect("the folder of stories exists");
    let mut stories: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry is readable").path()).collect();
    stories.sort();
    assert!(!stories.is_empty(), "no stories");
    stories
}

fn difference(path: &Path, written: &str, told: &str) -> String {
    let lines = written.lines().zip(told.lines()).enumerate().find(|(_, (written, told))| written != told);
    let end = written.lines().count().min(told.lines().count());
    let (line, (written, told)) = lines.unwrap_or((end, ("(end)", "(end)")));
    format!("{}:{}\n  written: {written}\n  told:    {told}", path.display(), line + 1)
}

/// The story with its outcomes as they are now.
fn tell(written: &str) -> String {
    let mut story = Story { world: World::empty(Replicas::Three), memory: None };
    let mut told = String::new();
    for line in written.lines().filter(|line| !line.starts_with("  ")) {
        told.push_str(line);
        told.push('\n');
        if !line.is_empty() && !line.starts_with('#') {
            for outcome in story.perform(line) {
                writeln!(told, "  {outcome}").expect("a string takes any text");
            }
        }
    }
    told
}

struct Story {
    world: World,
    memory: Option<Observed>,
}

impl Story {
    fn perform(&mut self, command: &str) -> Vec<String> {
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            ["want", count] => self.world.wanted = replicas(count),
            ["given", count, "voters"] => self.world = World::with_voters(number(count), self.world.wanted),
            ["settle"] => return self.settle(),
            ["half", "a", "step"] => return self.half_step(),
            ["calm"] => self.world.calm(),
            ["step"] => return self.step().1,
            ["look"] => return vec![self.world.plan().to_string()],
            ["show"] => return show(&self.world),
            ["ordinal", at, event @ ..] => self.event(Ordinal(number(at)), &event.join(" ")),
            ["leader", "dies"] => {
                let raft = self.world.raft.as_ref().expect("there is a cluster");
                let leader = raft.leader.expect("there is a leader");
                self.event(raft.members[&leader], "dies");
            }
            ["write", count, "entries"] => self.world.write_entries(u64::from(number(count))),
            ["leave", "a", "change", "to", ids @ .., "half", "way"] => {
                self.world.leave_joint(ids.iter().map(|id| NodeId(u64::from(number(id)))).collect());
            }
            ["remember"] => self.memory = Some(self.world.observe()),
            ["act", "on", "memory"] => {
                let memory = self.memory.as_ref().expect("remember comes first");
                let decided = plan(memory, &Desired { replicas: self.world.wanted });
                return self.carry_out(&decided);
            }
            ["run", count, "by", "hand"] => self.world.run_by_hand(number(count)),
            ["forget", "the", "founding"] => self.world.founding = Founding::Never,
            _ => panic!("unknown command: {command}"),
        }
        Vec::new()
    }

    fn event(&mut self, at: Ordinal, event: &str) {
        match event {
            "dies" => self.world.happen(at, |slot| slot.up = false),
            "returns" => self.world.happen(at, |slot| slot.up = true),
            "is cut off" => self.world.happen(at, |slot| slot.cut_off = true),
            "is connected" => self.world.happen(at, |slot| slot.cut_off = false),
            "leads" => self.world.hand_leadership(at),
            "is mute" => self.world.happen(at, |slot| slot.mute = true),
            "answers again" => self.world.happen(at, |slot| slot.mute = false),
            "is slow" => self.world.happen(at, |slot| slot.slow = true),
            "keeps up" => self.world.happen(at, |slot| slot.slow = false),
            "loses its volume" => self.world.lose_volume(at),
            "gets its old volume back" => self.world.restore_volume(at),
            _ => panic!("unknown event: {event}"),
        }
    }

    fn settle(&mut self) -> Vec<String> {
        let mut outcomes = Vec::new();
        for _ in 0..MAX_LOOKS {
            let (moved, told) = self.step();
            if !outcomes.ends_with(&told) {
                outcomes.extend(told);
            }
            if !moved {
                return outcomes;
            }
        }
        panic!("no rest after {MAX_LOOKS} looks:\n{}", outcomes.join("\n"));
    }

    /// One look, what was done about it, and whether anything moved.
    fn step(&mut self) -> (bool, Vec<String>) {
        let decided = self.world.plan();
        let outcomes = self.carry_out(&decided);
        let acted = matches!(decided, Plan::Next { .. });
        let moved = self.world.advance();
        // A rest that does not last is worth a line only if it says what for.
        let passing = moved && matches!(decided, Plan::Settled);
        (acted || moved, if passing { Vec::new() } else { outcomes })
    }

    fn half_step(&mut self) -> Vec<String> {
        let decided = self.world.plan();
        if let Plan::Next { step, .. } = &decided {
            self.world.perform_half(step).expect("the world is as it was looked at");
        }
        vec![decided.to_string()]
    }

    fn carry_out(&mut self, decided: &Plan) -> Vec<String> {
        let mut outcomes = vec![decided.to_string()];
        if let Plan::Next { step, .. } = decided
            && let Err(refused) = self.world.perform(step)
        {
            outcomes.push(format!("refused: {}", refused.0));
        }
        outcomes
    }
}

fn show(world: &World) -> Vec<String> {
    let Some(raft) = &world.raft else { return vec!["no cluster".into()] };
    let mut lines = vec![format!("running: {}, membership {}", world.running.count, raft.log_id)];
    for (id, at) in &raft.members {
        let role = match &raft.voters {
            _ if raft.leader == Some(*id) => "leads",
            Voters::Uniform(voters) if voters.contains(id) => "votes",
            Voters::Joint { outgoing, incoming } => match (outgoing.contains(id), incoming.contains(id)) {
                (true, true) => "votes",
                (true, false) => "votes, going",
                (false, true) => "votes, coming",
                (false, false) => "learns",
            },
            Voters::Uniform(_) => "learns",
        };
        lines.push(format!("ordinal {at}: node {id} {role}"));
    }
    if !raft.removed.is_empty() {
        let removed: Vec<String> = raft.removed.iter().map(|id| id.to_string()).collect();
        lines.push(format!("removed for good: {}", removed.join(" ")));
    }
    lines
}

fn number(word: &str) -> u32 {
    word.parse().unwrap_or_else(|_| panic!("not a number: {word}"))
}

fn replicas(word: &str) -> Replicas {
    Replicas::try_from(number(word)).unwrap_or_else(|refused| panic!("{refused}"))
}
