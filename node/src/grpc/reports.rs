//! How the library is used: from the relational record, or where none is configured from what this node holds.

use std::time::Duration;

use carrel_domain::account::Role;
use carrel_domain::claim::Claim;
use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, At, Caller, Request as LibraryRequest};
use carrel_domain::state::State;
use carrel_proto::v1::report_service_server::ReportService;
use carrel_proto::v1::{
    ExportReservationsRequest, ExportReservationsResponse, GetNoShowsRequest, GetNoShowsResponse, GetPeaksRequest,
    GetPeaksResponse, GetUtilizationRequest, GetUtilizationResponse, GetWaitsRequest, GetWaitsResponse,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use crate::calendar::ExpandError;
use crate::convert::invalid::Invalid;
use crate::convert::refusal::{history_unavailable, out_of_order, slow_consumer, to_status};
use crate::convert::reports::{self as wire, Asked, People, Source};
use crate::grpc::bounds::Deadline;
use crate::grpc::front::{Front, beside};
use crate::grpc::library::Library;
use crate::grpc::session;
use crate::projection::history::ExportKey;
use crate::projection::reading::Reader;
use crate::projection::reports::Unreported;
use crate::replica::View;
use crate::reports::{Grouping, Question, Report, counting};

/// Some hundred kilobytes: a piece is made within milliseconds.
const LINES_PER_PIECE: usize = 2_000;

/// Pieces that wait for a slow reader.
const PIECES_AHEAD: usize = 2;

/// A reader who takes nothing for so long has gone.
const READER_LIMIT: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub struct Reports<L>(pub Front<L>);

/// One line for each report: who counts it where.
macro_rules! report {
    ($self:ident, $asked:expr, $count:expr, $name:ident) => {{
        let (view, question) = $asked;
        let (report, from) = match &$self.0.record {
            Some(record) => (record.$name(&view, &question).await.map_err(unreported)?, Source::Record),
            None => {
                let counted = view.clone();
                let counted = beside(move || $count(&counted, &question)).await?;
                (counted.map_err(|error| unreported(error.into()))?, Source::State)
            }
        };
        Ok(Response::new(wire::$name(view.catalog(), &report, from)))
    }};
}

#[tonic::async_trait]
impl<L: Library> ReportService for Reports<L> {
    async fn get_utilization(
        &self,
        request: Request<GetUtilizationRequest>,
    ) -> Result<Response<GetUtilizationResponse>, Status> {
        let (metadata, _, GetUtilizationRequest { scope, grouping }) = request.into_parts();
        let asked = self.asked(session::named_by(&metadata)?, wire::asked(scope, grouping)).await?;
        report!(self, asked, counting::utilization, utilization)
    }

    async fn get_no_shows(&self, request: Request<GetNoShowsRequest>) -> Result<Response<GetNoShowsResponse>, Status> {
        let (metadata, _, GetNoShowsRequest { scope, grouping }) = request.into_parts();
        let asked = self.asked(session::named_by(&metadata)?, wire::asked(scope, grouping)).await?;
        report!(self, asked, counting::no_shows, no_shows)
    }

    async fn get_waits(&self, request: Request<GetWaitsRequest>) -> Result<Response<GetWaitsResponse>, Status> {
        let (metadata, _, GetWaitsRequest { scope, grouping }) = request.into_parts();
        let asked = self.asked(session::named_by(&metadata)?, wire::asked(scope, grouping)).await?;
        report!(self, asked, counting::waits, waits)
    }

    async fn get_peaks(&self, request: Request<GetPeaksRequest>) -> Result<Response<GetPeaksResponse>, Status> {
        let (metadata, _, GetPeaksRequest { scope, grouping }) = request.into_parts();
        let asked = wire::asked(scope, grouping).and_then(|asked| match asked.grouping {
            Grouping::Hour => Err(Invalid::field("grouping", "peaks are not told by hour: ask for the utilization")),
            Grouping::All | Grouping::Branch | Grouping::Area => Ok(asked),
        });
        let asked = self.asked(session::named_by(&metadata)?, asked).await?;
        report!(self, asked, peaks, peaks)
    }

    type ExportReservationsStream = ReceiverStream<Result<ExportReservationsResponse, Status>>;

    async fn export_reservations(
        &self,
        request: Request<ExportReservationsRequest>,
    ) -> Result<Response<Self::ExportReservationsStream>, Status> {
        let deadline = Deadline::of(&request);
        let (metadata, _, ExportReservationsRequest { scope, names }) = request.into_parts();
        let session = session::named_by(&metadata)?;
        let (mut view, question) = self.asked(session, wire::asked(scope, 0)).await?;
        let people = if names {
            // Whoever may see a branch need not see who sat there.
            match view.viewer(session).map_err(to_status)?.user.role {
                Role::Admin => People::Names,
                Role::Patron | Role::Librarian(_) | Role::Auditor | Role::Kiosk => {
                    return Err(to_status(Refusal::NotPermitted));
                }
            }
        } else {
            if view.history().pseudonym_secret().is_none() {
                let secret = wire::draw_secret().map_err(|_| out_of_order())?;
                let action = Action::SetPseudonymKey { secret };
                let request = LibraryRequest { caller: Caller::Session(session), retry: None, action };
                let answer = self.0.library.write(request, deadline.remaining()).await?;
                answer.result.map_err(to_status)?;
                view = self.0.read(None).await?;
            }
            People::Pseudonyms(view.history().pseudonym_secret().ok_or_else(out_of_order)?.clone())
        };
        let rows = match self.0.record.clone() {
            Some(record) => Rows::Record { record, after: None },
            None => {
                let (held, question) = (view.clone(), question.clone());
                Rows::State(beside(move || held_claims(&held, &question)).await?.into_iter())
            }
        };
        let mut export = Export { view, question, people, rows, is_begun: false };
        // What cannot begin is refused, and not cut off.
        let first = export.next().await?;
        let (pieces, stream) = mpsc::channel(PIECES_AHEAD);
        tokio::spawn(async move {
            let mut piece = first.map(Ok);
            while let Some(told) = piece {
                let is_over = told.is_err();
                match pieces.send_timeout(told, READER_LIMIT).await {
                    Ok(()) if !is_over => {}
                    Ok(()) => return,
                    Err(mpsc::error::SendTimeoutError::Closed(_)) => return,
                    Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
                        // There may be room for this, when it wakes up.
                        let _ = pieces.try_send(Err(slow_consumer()));
                        return;
                    }
                }
                piece = export.next().await.transpose();
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

impl<L: Library> Reports<L> {
    /// Who may not ask is told so before anything else.
    async fn asked(
        &self,
        session: carrel_domain::id::TokenDigest,
        asked: Result<Asked, Invalid>,
    ) -> Result<(View, Question), Status> {
        let asked = asked?;
        let view = self.0.read(None).await?;
        let role = view.viewer(session).map_err(to_status)?.user.role;
        let question = asked.by(&role, view.catalog()).map_err(to_status)?;
        Ok((view, question))
    }
}

fn peaks(view: &State, question: &Question) -> Result<Report<crate::reports::Peak>, ExpandError> {
    Ok(counting::peaks(view, question))
}

fn unreported(why: Unreported) -> Status {
    match why {
        Unreported::Trouble(trouble) => history_unavailable(&trouble),
        Unreported::Zone(error) => {
            tracing::error!(%error, "a report cannot be made");
            out_of_order()
        }
    }
}

/// People's claims that start within what is asked about, in order of their starts.
fn held_claims(view: &State, question: &Question) -> Vec<Claim> {
    let catalog = view.catalog();
    let asked = |claim: &Claim| {
        claim.holder.is_some()
            && question.interval.contains(claim.interval.start())
            && question.covers(catalog.seat(claim.seat).branch)
    };
    let mut claims: Vec<Claim> = view.every_claim().filter(asked).collect();
    claims.sort_by_key(|claim| (claim.interval.start(), claim.id));
    claims
}

/// One that is under way.
struct Export {
    view: View,
    question: Question,
    people: People,
    rows: Rows,
    is_begun: bool,
}

enum Rows {
    Record { record: Reader, after: Option<ExportKey> },
    State(std::vec::IntoIter<Claim>),
}

impl Export {
    /// None: that was all.
    async fn next(&mut self) -> Result<Option<ExportReservationsResponse>, Status> {
        let (claims, from, at): (Vec<Claim>, Source, At) = match &mut self.rows {
            Rows::Record { record, after } => {
                let read = record.export(&self.question, *after, LINES_PER_PIECE).await;
                let (claims, at) = read.map_err(|trouble| history_unavailable(&trouble))?;
                *after = claims.last().map(|last| (last.interval.start(), last.id)).or(*after);
                (claims, Source::Record, at)
            }
            Rows::State(claims) => (claims.take(LINES_PER_PIECE).collect(), Source::State, self.view.at()),
        };
        let is_first = !std::mem::replace(&mut self.is_begun, true);
        if claims.is_empty() && !is_first {
            return Ok(None);
        }
        let csv = wire::csv(&self.view, &claims, &self.people, is_first).map_err(|_| out_of_order())?;
        Ok(Some(ExportReservationsResponse { csv, source: is_first.then(|| wire::source(from, at)) }))
    }
}
