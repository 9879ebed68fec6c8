//! Claims that the state holds no more, as they were when they ended.

use carrel_domain::claim::{Claim, ClaimState, Origin, StateName};
use carrel_domain::id::{ClaimId, PolicyId, SeatId, UserId, WaitId};
use carrel_domain::request::At;
use carrel_domain::time::{Interval, Timestamp};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};

use crate::projection::database::instant;
use crate::projection::reading::{ReadTrouble, Reader};
use crate::projection::rows::{origin, state_name};
use crate::reports::Question;

const CLAIM: &str = "SELECT c.id, c.seat_id, c.starts_at, c.ends_at, c.holder_id, c.origin, c.state, c.policy_id, \
     c.revision, c.created_at, c.changed_at, c.previous_id, c.wait_id, c.exempt FROM claims c";

const TERMINAL: &str = "c.state NOT IN ('HELD', 'CONFIRMED', 'CHECKED_IN', 'AWAY')";

/// After which row of an export to go on.
pub type ExportKey = (Timestamp, ClaimId);

impl Reader {
    /// # Errors
    /// If the record cannot be read.
    pub async fn claim(&self, id: ClaimId) -> Result<Option<Claim>, ReadTrouble> {
        let found = self.claims(format!("{CLAIM} WHERE c.id = {} AND {TERMINAL}", id.0)).await?;
        Ok(found.into_iter().next())
    }

    /// A person's claims that are over, the newest first, from this one on.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub async fn claims_of(
        &self,
        user: UserId,
        from: ClaimId,
        state: Option<StateName>,
        limit: usize,
    ) -> Result<Vec<Claim>, ReadTrouble> {
        // Words of our own, and numbers.
        let and_state = state.map(|state| format!("AND c.state = '{}'", state_name(state))).unwrap_or_default();
        let (user, from) = (user.0, from.0);
        let sql = format!(
            "{CLAIM} WHERE c.holder_id = {user} AND c.id <= {from} AND {TERMINAL} {and_state} ORDER BY c.id DESC LIMIT \
             {limit}"
        );
        self.claims(sql).await
    }

    /// People's claims that start within what is asked about, by start, behind a place; and up to where the record is.
    ///
    /// # Errors
    /// If the record cannot be read.
    pub async fn export(
        &self,
        question: &Question,
        after: Option<ExportKey>,
        limit: usize,
    ) -> Result<(Vec<Claim>, At), ReadTrouble> {
        let branch = question.branch.map(|branch| format!("AND s.branch_id = {}", branch.0)).unwrap_or_default();
        // The first comparison is what the index is asked for.
        let sql = format!(
            "{CLAIM} JOIN seats s ON s.id = c.seat_id WHERE c.starts_at >= $1 AND c.starts_at < $2 \
             AND (c.starts_at, c.id) > ($1, $3) AND c.holder_id IS NOT NULL {branch} ORDER BY c.starts_at, c.id LIMIT \
             {limit}"
        );
        let (after_time, after_id) = after.unwrap_or((question.interval.start(), ClaimId(0)));
        let after_id = i64::try_from(after_id.0).unwrap_or(i64::MAX);
        let to = instant(question.interval.end());
        self.answered(async {
            let mut moment = self.moment().await?;
            let asked = sqlx::query(AssertSqlSafe(sql)).bind(instant(after_time)).bind(to).bind(after_id);
            let rows = asked.fetch_all(&mut *moment.transaction).await?;
            Ok((rows.iter().map(claim).collect::<Result<_, _>>()?, moment.at))
        })
        .await
    }

    async fn claims(&self, sql: String) -> Result<Vec<Claim>, ReadTrouble> {
        self.answered(async {
            let mut moment = self.moment().await?;
            let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut *moment.transaction).await?;
            Ok(rows.iter().map(claim).collect::<Result<_, _>>()?)
        })
        .await
    }
}

fn claim(row: &PgRow) -> Result<Claim, sqlx::Error> {
    let number = |column: usize| row.try_get::<i64, _>(column).map(i64::cast_unsigned);
    let optional = |column: usize| row.try_get::<Option<i64>, _>(column).map(|id| id.map(i64::cast_unsigned));
    let small = |column: usize| number(column).map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    let time = |column: usize| {
        let at: jiff_sqlx::Timestamp = row.try_get(column)?;
        Ok::<_, sqlx::Error>(Timestamp(at.to_jiff().as_microsecond()))
    };
    let unknown = |what: &str| sqlx::Error::Decode(format!("an unknown {what}").into());
    let (word, changed_at) = (row.try_get::<&str, _>(6)?, time(10)?);
    Ok(Claim {
        id: ClaimId(number(0)?),
        seat: SeatId(small(1)?),
        interval: Interval::new(time(2)?, time(3)?).map_err(|_| unknown("interval"))?,
        holder: optional(4)?.map(UserId),
        origin: origin_of(row.try_get(5)?).ok_or_else(|| unknown("origin"))?,
        state: state_of(word, changed_at).ok_or_else(|| unknown("state"))?,
        policy: PolicyId(small(7)?),
        revision: small(8)?,
        created_at: time(9)?,
        changed_at,
        previous: optional(11)?.map(ClaimId),
        wait: optional(12)?.map(WaitId),
        exempt: row.try_get(13)?,
    })
}

fn origin_of(word: &str) -> Option<Origin> {
    use Origin as O;
    [O::Booking, O::Hold, O::Offer, O::WalkIn, O::Maintenance, O::Closure].into_iter().find(|of| origin(*of) == word)
}

/// Of a claim that is live the deadline is for the state to say.
fn state_of(word: &str, deadline: Timestamp) -> Option<ClaimState> {
    use ClaimState as S;
    let all = [
        S::Held { deadline },
        S::Confirmed { deadline },
        S::CheckedIn,
        S::Away { deadline, reported_by: None },
        S::Expired,
        S::Cancelled,
        S::Displaced,
        S::NoShow,
        S::Released,
        S::Completed,
    ];
    all.into_iter().find(|state| state_name(state.name()) == word)
}
