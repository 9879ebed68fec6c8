//! Reports over the record: Postgres counts, in one statement each.
//!
//! The same as `reports::counting` does over the state, which is what the tests hold this against. Numbers and words in
//! the statements are all of our own making.

use std::collections::BTreeMap;

use carrel_domain::catalog::Catalog;
use carrel_domain::id::{AreaId, BranchId};
use carrel_domain::state::State;
use carrel_domain::time::{SECOND_US, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};

use crate::calendar::ExpandError;
use crate::projection::database::instant;
use crate::projection::reading::{ReadTrouble, Reader};
use crate::reports::walls::{Ends, offsets};
use crate::reports::{Group, Grouping, NoShows, Peak, Question, Report, Tally, Utilization, Waits, counting};

/// Why there is no report.
#[derive(Debug)]
pub enum Unreported {
    Trouble(ReadTrouble),
    Zone(ExpandError),
}

impl From<ReadTrouble> for Unreported {
    fn from(trouble: ReadTrouble) -> Self {
        Self::Trouble(trouble)
    }
}

impl From<ExpandError> for Unreported {
    fn from(error: ExpandError) -> Self {
        Self::Zone(error)
    }
}

/// People's claims that kept a seat within the interval ($1, $2): when they begin and end there, and whether somebody
/// sat there until the end, or still sits. All of it is in one index, and where a seat is comes along ($3, $4): of a
/// million claims nothing else is looked up.
const KEPT: &str = "SELECT ($3::int[])[c.seat_id + 1] AS area_id, ($4::int[])[c.seat_id + 1] AS branch_id, \
     c.starts_at, greatest(c.starts_at, $1) AS begun, \
     greatest(least(CASE WHEN c.state IN ('CONFIRMED', 'CHECKED_IN', 'AWAY') THEN c.ends_at \
     ELSE least(c.ends_at, c.changed_at) END, $2), c.starts_at, $1) AS ended, \
     c.state IN ('COMPLETED', 'RELEASED') AS used, c.state IN ('CHECKED_IN', 'AWAY') AS in_use \
     FROM claims c \
     WHERE c.starts_at < $2 AND c.starts_at > $1 - interval '2 days' AND c.ends_at > $1 AND c.holder_id IS NOT NULL \
     AND c.state IN ('CONFIRMED', 'CHECKED_IN', 'AWAY', 'COMPLETED', 'NO_SHOW', 'RELEASED')";

impl Reader {
    /// # Errors
    /// If the record cannot be read, or a time zone is unknown here.
    pub async fn utilization(&self, view: &State, question: &Question) -> Result<Report<Utilization>, Unreported> {
        let sql = utilization(view.catalog(), question)?;
        let (base_s, places) = (base_s(question), Places::of(view.catalog(), question));
        let (tallies, at) = self
            .answered(async {
                let mut moment = self.moment().await?;
                let now = instant(moment.at.time);
                let asked = sqlx::query(AssertSqlSafe(sql)).bind(instant(question.interval.start()));
                let asked = asked.bind(instant(question.interval.end())).bind(places.areas).bind(places.branches);
                let rows = asked.bind(now).fetch_all(&mut *moment.transaction).await?;
                let mut tallies: BTreeMap<AreaId, Tally> = BTreeMap::new();
                for row in &rows {
                    let area = AreaId(place(row, 0)?);
                    tally(row, base_s, tallies.entry(area).or_default())?;
                }
                Ok((tallies, moment.at))
            })
            .await?;
        let tally = |area| tallies.get(&area).cloned().unwrap_or_default();
        Ok(Report { lines: crate::reports::utilization(view.catalog(), question, tally)?, at })
    }

    /// # Errors
    /// If the record cannot be read, or a time zone is unknown here.
    pub async fn no_shows(&self, view: &State, question: &Question) -> Result<Report<NoShows>, Unreported> {
        let sql = format!(
            "SELECT {group}, count(*) FILTER (WHERE c.state IN \
             ('CHECKED_IN', 'AWAY', 'COMPLETED', 'RELEASED', 'NO_SHOW')), \
             count(*) FILTER (WHERE c.state = 'NO_SHOW'), count(*) FILTER (WHERE c.state = 'RELEASED'), \
             count(*) FILTER (WHERE c.state = 'CANCELLED') \
             FROM claims c JOIN seats s ON s.id = c.seat_id \
             WHERE c.starts_at >= $1 AND c.starts_at < $2 AND c.holder_id IS NOT NULL {branch} GROUP BY 1, 2, 3",
            group = grouping(view.catalog(), question, "s.branch_id", "s.area_id", "c.starts_at")?,
            branch = of_branch(question, "s.branch_id"),
        );
        let line = |row: &PgRow| {
            let [due, no_shows, released, cancelled] = [3, 4, 5, 6].map(|column| count(row, column));
            Ok(NoShows { due: due?, no_shows: no_shows?, released: released?, cancelled: cancelled? })
        };
        self.lines(question, sql, line).await
    }

    /// # Errors
    /// If the record cannot be read, or a time zone is unknown here.
    pub async fn waits(&self, view: &State, question: &Question) -> Result<Report<Waits>, Unreported> {
        let took = "extract(epoch FROM w.changed_at - w.created_at)::float8 / 60";
        let sql = format!(
            "SELECT {group}, count(*), count(*) FILTER (WHERE w.state = 'FULFILLED'), \
             count(*) FILTER (WHERE w.state = 'EXPIRED'), count(*) FILTER (WHERE w.state = 'LEFT'), \
             avg({took}) FILTER (WHERE w.state = 'FULFILLED'), \
             percentile_cont(0.5) WITHIN GROUP (ORDER BY {took}) FILTER (WHERE w.state = 'FULFILLED'), \
             percentile_cont(0.9) WITHIN GROUP (ORDER BY {took}) FILTER (WHERE w.state = 'FULFILLED') \
             FROM (SELECT w.*, coalesce(s.area_id, a.id) AS area_id, coalesce(s.branch_id, a.branch_id, w.place_id) AS \
             branch_id FROM waits w LEFT JOIN seats s ON w.scope = 'SEAT' AND s.id = w.place_id \
             LEFT JOIN areas a ON w.scope = 'AREA' AND a.id = w.place_id \
             WHERE w.starts_at >= $1 AND w.starts_at < $2) w WHERE true {branch} GROUP BY 1, 2, 3",
            group = grouping(view.catalog(), question, "w.branch_id", "w.area_id", "w.starts_at")?,
            branch = of_branch(question, "w.branch_id"),
        );
        let line = |row: &PgRow| {
            let minutes = |column: usize| Ok::<_, sqlx::Error>(row.try_get::<Option<f64>, _>(column)?.unwrap_or(0.0));
            Ok(Waits {
                waits: count(row, 3)?,
                fulfilled: count(row, 4)?,
                expired: count(row, 5)?,
                left: count(row, 6)?,
                mean_minutes: minutes(7)?,
                median_minutes: minutes(8)?,
                ninetieth_minutes: minutes(9)?,
            })
        };
        self.lines(question, sql, line).await
    }

    /// # Errors
    /// If the record cannot be read.
    pub async fn peaks(&self, view: &State, question: &Question) -> Result<Report<Peak>, Unreported> {
        let key = match question.grouping {
            Grouping::Branch => "branch_id",
            Grouping::Area => "area_id",
            Grouping::All | Grouping::Hour => "0",
        };
        let sql = format!(
            "WITH kept AS ({KEPT}), steps AS ( \
             SELECT {key} AS key, begun AS at, count(*) AS step FROM kept WHERE area_id >= 0 GROUP BY 1, 2 \
             UNION ALL SELECT {key}, ended, -count(*) FROM kept WHERE area_id >= 0 GROUP BY 1, 2), \
             levels AS (SELECT key, at, sum(sum(step)) OVER (PARTITION BY key ORDER BY at) AS level \
             FROM steps GROUP BY key, at) \
             SELECT DISTINCT ON (key) key, level::bigint, at FROM levels ORDER BY key, level DESC, at"
        );
        let places = Places::of(view.catalog(), question);
        let mut lines = counting::seats(view.catalog(), question);
        let at = self
            .answered(async {
                let mut moment = self.moment().await?;
                let asked = sqlx::query(AssertSqlSafe(sql)).bind(instant(question.interval.start()));
                let asked = asked.bind(instant(question.interval.end())).bind(places.areas).bind(places.branches);
                let rows = asked.fetch_all(&mut *moment.transaction).await?;
                for row in &rows {
                    let key = place(row, 0)?;
                    let group = match question.grouping {
                        Grouping::Branch => Group::Branch(BranchId(key)),
                        Grouping::Area => Group::Area(AreaId(key)),
                        Grouping::All | Grouping::Hour => Group::All,
                    };
                    let reached: jiff_sqlx::Timestamp = row.try_get(2)?;
                    let line = lines.entry(group).or_default();
                    line.kept = count(row, 1)?;
                    line.at = (line.kept > 0).then(|| Timestamp(reached.to_jiff().as_microsecond()));
                }
                Ok(moment.at)
            })
            .await?;
        Ok(Report { lines: lines.into_iter().collect(), at })
    }

    /// Of a statement whose first columns say the group.
    async fn lines<T>(
        &self,
        question: &Question,
        sql: String,
        line: impl Fn(&PgRow) -> Result<T, sqlx::Error>,
    ) -> Result<Report<T>, Unreported> {
        let report = self.answered(async {
            let mut moment = self.moment().await?;
            let asked = sqlx::query(AssertSqlSafe(sql)).bind(instant(question.interval.start()));
            let rows = asked.bind(instant(question.interval.end())).fetch_all(&mut *moment.transaction).await?;
            let mut lines = BTreeMap::new();
            for row in &rows {
                let area = row.try_get::<Option<i64>, _>(1)?;
                let area = area.map(|id| AreaId(u32::try_from(id).unwrap_or(u32::MAX)));
                let hour = u8::try_from(row.try_get::<i32, _>(2)?).unwrap_or_default();
                lines.insert(question.group(BranchId(small(row, 0)?), area, hour), line(row)?);
            }
            Ok(Report { lines: lines.into_iter().collect(), at: moment.at })
        });
        Ok(report.await?)
    }
}

/// Small enough for a Postgres integer, as far as anybody plans.
fn base_s(question: &Question) -> i64 {
    (question.interval.start().0.div_euclid(SECOND_US)).div_euclid(86_400) * 86_400 - 3 * 86_400
}

/// Where each seat is, by its id: an area and its branch, or -1 where nothing is asked about.
struct Places {
    areas: Vec<i32>,
    branches: Vec<i32>,
}

impl Places {
    fn of(catalog: &Catalog, question: &Question) -> Self {
        let mut places = Self { areas: Vec::new(), branches: Vec::new() };
        for (id, seat) in catalog.seats().filter(|(_, seat)| question.covers(seat.branch)) {
            let of = |place: u32| i32::try_from(place).unwrap_or(-1);
            for (places, place) in [(&mut places.areas, of(seat.area.0)), (&mut places.branches, of(seat.branch.0))] {
                places.resize(places.len().max(id.0 as usize + 1), -1);
                places[id.0 as usize] = place;
            }
        }
        places
    }
}

/// By area and by the hours in which claims begin and end, and those in use are now ($5): see [`Ends`]. A row for each
/// of these that occurs.
///
/// Without OFFSET 0 Postgres writes out each of these terms wherever it is used, and then works it out three times for
/// each of a million claims.
pub(super) fn utilization(catalog: &Catalog, question: &Question) -> Result<String, ExpandError> {
    let (base_s, offset) = (base_s(question), offset_sql(catalog, question, "branch_id", "starts_at")?);
    let second = |at: &str| format!("(floor(date_part('epoch', {at}))::bigint - {base_s})::int + {offset}");
    Ok(format!(
        "SELECT area_id, b / 3600 % 24, e / 3600 % 24, u / 3600 % 24, used, count(*), sum(b), sum(b % 3600), sum(e), \
         sum(e % 3600), sum(u), sum(u % 3600), count(*) FILTER (WHERE is_begun) FROM ( \
         SELECT area_id, used, {begun} AS b, {ended} AS e, \
         CASE WHEN in_use THEN {left} END AS u, starts_at >= $1 AS is_begun FROM ({KEPT}) kept OFFSET 0) ends \
         WHERE area_id >= 0 GROUP BY 1, 2, 3, 4, 5",
        begun = second("begun"),
        ended = second("ended"),
        left = second("greatest(least(ended, $5), begun)"),
    ))
}

fn tally(row: &PgRow, base_s: i64, tally: &mut Tally) -> Result<(), sqlx::Error> {
    let count = row.try_get::<i64, _>(5)?;
    let ends = |hour: u8, column: usize| {
        let sum_s = row.try_get::<i64, _>(column)? + count * base_s;
        Ok::<_, sqlx::Error>(Ends { hour, count, sum_s, rest_sum_s: row.try_get(column + 1)? })
    };
    let hour = |column: usize| {
        let hour = row.try_get::<Option<i32>, _>(column)?;
        Ok::<_, sqlx::Error>(hour.map(|hour| u8::try_from(hour).unwrap_or_default()))
    };
    let begun_at = hour(1)?.unwrap_or_default();
    let begun = ends(begun_at, 6)?;
    let ended = ends(hour(2)?.unwrap_or_default(), 8)?;
    tally.kept.add(ended, 1);
    tally.kept.add(begun, -1);
    let left = match hour(3)? {
        Some(now) => Some(ends(now, 10)?),
        None => row.try_get::<bool, _>(4)?.then_some(ended),
    };
    if let Some(left) = left {
        tally.used.add(left, 1);
        tally.used.add(begun, -1);
    }
    tally.reservations[usize::from(begun_at)] += row.try_get::<i64, _>(12)?.cast_unsigned();
    Ok(())
}

/// Branch, area and hour, or nothing in the place of those that make no line of their own.
fn grouping(catalog: &Catalog, question: &Question, branch: &str, area: &str, at: &str) -> Result<String, ExpandError> {
    let (none, no_area) = ("0::bigint", "NULL::bigint");
    Ok(match question.grouping {
        Grouping::All => format!("{none}, {no_area}, 0"),
        Grouping::Branch => format!("{branch}, {no_area}, 0"),
        Grouping::Area => format!("{branch}, {area}, 0"),
        Grouping::Hour => {
            let offset = offset_sql(catalog, question, branch, at)?;
            let hour = format!("((floor(date_part('epoch', {at}))::bigint + {offset}) / 3600 % 24)::int");
            format!("{none}, {no_area}, {hour}")
        }
    })
}

/// How far the wall of a branch is ahead of UTC, in seconds. Postgres knows zones, too, and takes longer than for all
/// the rest.
fn offset_sql(catalog: &Catalog, question: &Question, branch: &str, at: &str) -> Result<String, ExpandError> {
    let by_zone = offsets(catalog, question)?;
    let of_zone = |zone: &crate::reports::walls::Offsets| {
        let mut changes: Vec<_> = zone.iter().collect();
        let (_, last) = changes.pop().unwrap_or_default();
        let mut sql = String::new();
        // Each holds until the one after it begins.
        let until = zone.iter().skip(1).map(|(from, _)| from);
        for ((_, offset), until) in changes.into_iter().zip(until) {
            let until_s = until.0.div_euclid(SECOND_US);
            sql += &format!(" WHEN {at} < to_timestamp({until_s}) THEN {offset}");
        }
        if sql.is_empty() { format!("{last}") } else { format!("(CASE{sql} ELSE {last} END)") }
    };
    if by_zone.len() < 2 {
        return Ok(by_zone.values().next().map_or_else(|| "0".to_owned(), of_zone));
    }
    let mut sql = String::from("(CASE");
    for (name, zone) in &by_zone {
        let branches = catalog.every_branch().filter(|(_, branch)| branch.time_zone.as_str() == name);
        let ids: Vec<String> = branches.map(|(id, _)| id.0.to_string()).collect();
        sql += &format!(" WHEN {branch} IN ({}) THEN {}", ids.join(", "), of_zone(zone));
    }
    Ok(sql + " ELSE 0 END)")
}

fn of_branch(question: &Question, column: &str) -> String {
    question.branch.map(|branch| format!("AND {column} = {}", branch.0)).unwrap_or_default()
}

fn count(row: &PgRow, column: usize) -> Result<u64, sqlx::Error> {
    row.try_get::<i64, _>(column).map(i64::cast_unsigned)
}

fn small(row: &PgRow, column: usize) -> Result<u32, sqlx::Error> {
    row.try_get::<i64, _>(column).map(|id| u32::try_from(id).unwrap_or(u32::MAX))
}

fn place(row: &PgRow, column: usize) -> Result<u32, sqlx::Error> {
    row.try_get::<i32, _>(column).map(|id| u32::try_from(id).unwrap_or(u32::MAX))
}
