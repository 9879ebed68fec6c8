//! A library in which very many live reservations stand: what a node that begins anew has to be given.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use carrel_proto::client::{Client, new_request_id};
use carrel_proto::v1;
use carrel_proto::v1::batch_create_reservations_response::outcome::Outcome;
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::library::Library;
use crate::workload::patient;

const PASSWORD: &str = "correct horse battery";
/// Everybody has a seat of their own, so that nobody is in another's way.
const PEOPLE: usize = 180;
/// As many wishes as one call takes.
const WISHES: usize = 31;
const CALLS_EACH: usize = 18;
const SLOT_SECONDS: i64 = 30 * 60;
/// Until the first slot: nothing of it begins while the story is told. With the slots, within fourteen days.
const HOURS_AHEAD: i64 = 26;
/// People who book at the same time.
const AT_ONCE: usize = 24;
/// Of the people, who are asked after what became of theirs.
const ASKED: usize = 12;

pub struct Crowd {
    first_slot_seconds: i64,
}

/// Of all of them together: more than 100,000.
pub const LIVE: usize = PEOPLE * CALLS_EACH * WISHES;

/// The catalogue of the stories with a branch for them besides, as a value of the chart.
pub fn catalog(library: &Library) -> anyhow::Result<[String; 2]> {
    let mut text = std::fs::read_to_string("e2e/catalog.yaml").context("the catalogue of the stories")?;
    text += "  - id: stacks\n    display_name: Stacks\n    time_zone: Etc/UTC\n    policy: always\n    hours:\n";
    text += "      week: { mon-sun: \"00:00-24:00\" }\n    areas:\n      - id: rows\n        display_name: Rows\n";
    text += "        seats:\n";
    for seat in 0..PEOPLE {
        writeln!(text, "          - {{ id: r-{seat} }}")?;
    }
    let folder: PathBuf = library.ground.dumps.join(&library.namespace);
    std::fs::create_dir_all(&folder)?;
    let path = folder.join("catalog.yaml");
    std::fs::write(&path, text).with_context(|| path.display().to_string())?;
    Ok(["--set-file".to_owned(), format!("catalog.yaml={}", path.display())])
}

impl Crowd {
    /// Comes, and books all of it.
    pub async fn come(nodes: &[String]) -> anyhow::Result<Self> {
        let now = jiff::Timestamp::now().as_second();
        let crowd = Self { first_slot_seconds: now - now.rem_euclid(SLOT_SECONDS) + HOURS_AHEAD * 3600 };
        let booked: Vec<usize> = stream::iter(0..PEOPLE)
            .map(|person| crowd.book(nodes, person))
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await?;
        let booked: usize = booked.iter().sum();
        ensure!(booked == LIVE, "{booked} of {LIVE} were booked");
        Ok(crowd)
    }

    /// What this node alone says of them.
    pub async fn is_known_to(&self, node: &str) -> anyhow::Result<()> {
        for person in (0..PEOPLE).step_by(PEOPLE / ASKED) {
            let client = logged_in(Client::new([node], patient())?, person).await?;
            let request = v1::ListReservationsRequest {
                page_size: 1000,
                upcoming_only: true,
                ..v1::ListReservationsRequest::default()
            };
            let known = client.list_reservations(request).await?.reservations.len();
            ensure!(known == CALLS_EACH * WISHES, "{node} knows {known} reservations of {person}");
        }
        Ok(())
    }

    async fn book(&self, nodes: &[String], person: usize) -> anyhow::Result<usize> {
        let client = Client::new(nodes, patient())?;
        let request = v1::RegisterRequest {
            request_id: new_request_id(),
            user_id: format!("reader-{person}"),
            password: PASSWORD.into(),
        };
        client.register(request).await?;
        let client = logged_in(client, person).await?;
        let mut booked = 0;
        for call in 0..CALLS_EACH {
            let wishes = (0..WISHES).map(|wish| self.wish(person, call * WISHES + wish)).collect();
            let request = v1::BatchCreateReservationsRequest {
                request_id: new_request_id(),
                wishes,
                ..v1::BatchCreateReservationsRequest::default()
            };
            let outcomes = client.batch_create_reservations(request).await?.outcomes;
            booked += outcomes.iter().filter(|one| matches!(one.outcome, Some(Outcome::Reservation(_)))).count();
        }
        Ok(booked)
    }

    fn wish(&self, person: usize, slot: usize) -> v1::Wish {
        let at = |slot: usize| {
            let seconds = self.first_slot_seconds + i64::try_from(slot).expect("few slots") * SLOT_SECONDS;
            Some(prost_types::Timestamp { seconds, nanos: 0 })
        };
        v1::Wish {
            target: Some(v1::wish::Target::Seat(format!("branches/stacks/seats/r-{person}"))),
            interval: Some(v1::Interval { start_time: at(slot), end_time: at(slot + 1) }),
            ..v1::Wish::default()
        }
    }
}

async fn logged_in(client: Client, person: usize) -> anyhow::Result<Client> {
    let login = v1::LoginRequest { user_id: format!("reader-{person}"), password: PASSWORD.to_owned() };
    let token = client.login(login).await?.session_token;
    Ok(client.with_session(&token)?)
}
