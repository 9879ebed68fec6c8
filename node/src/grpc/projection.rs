//! `carrel.admin.v1.ProjectionService`: how the relational record is, on the admin port.

use std::fmt::Write;

use carrel_proto::admin::v1 as wire;
use carrel_proto::admin::v1::get_projection_response::Phase as WirePhase;
use carrel_proto::admin::v1::projection_service_server::{ProjectionService, ProjectionServiceServer};
use tonic::{Code, Request, Response, Status};

use crate::grpc::cluster::admin_refusal;
use crate::live::LiveReplica;
use crate::projection::proving::{Proof, TableProof};
use crate::projection::{AskError, Phase, Projection};

#[derive(Clone, Debug)]
pub struct Record {
    replica: LiveReplica,
    /// None: this node was given no database.
    projection: Option<Projection>,
}

impl Record {
    #[must_use]
    pub fn service(replica: LiveReplica, projection: Option<Projection>) -> ProjectionServiceServer<Self> {
        ProjectionServiceServer::new(Self { replica, projection })
    }

    fn projection(&self) -> Result<&Projection, Status> {
        let none = "this node keeps no relational record: start the nodes with --postgres-url-file FILE";
        self.projection.as_ref().ok_or_else(|| admin_refusal(Code::FailedPrecondition, "NO_RECORD", none))
    }
}

#[tonic::async_trait]
impl ProjectionService for Record {
    async fn get_projection(
        &self,
        _: Request<wire::GetProjectionRequest>,
    ) -> Result<Response<wire::GetProjectionResponse>, Status> {
        let (status, view) = (self.projection()?.status(), self.replica.view());
        let phase = match status.phase {
            Phase::Elsewhere => WirePhase::Elsewhere,
            Phase::Connecting => WirePhase::Connecting,
            Phase::BeginningAgain => WirePhase::BeginningAgain,
            Phase::Following => WirePhase::Following,
            Phase::Waiting => WirePhase::Waiting,
            Phase::Halted => WirePhase::Halted,
        };
        Ok(Response::new(wire::GetProjectionResponse {
            phase: phase.into(),
            applied_index: status.applied_index.unwrap_or_default(),
            state_index: view.at().index,
            kept_events: view.outbox().len(),
            parked_rows: status.parked_rows,
            server_version: status.server_version.unwrap_or_default(),
            trouble: status.trouble.map(|trouble| trouble.to_string()).unwrap_or_default(),
        }))
    }

    async fn verify_projection(
        &self,
        _: Request<wire::VerifyProjectionRequest>,
    ) -> Result<Response<wire::VerifyProjectionResponse>, Status> {
        let proof = self.projection()?.prove().await.map_err(|error| not_asked(&error))?;
        Ok(Response::new(wire::VerifyProjectionResponse { proof: Some(told(&proof)) }))
    }

    async fn rebuild_projection(
        &self,
        request: Request<wire::RebuildProjectionRequest>,
    ) -> Result<Response<wire::RebuildProjectionResponse>, Status> {
        let adopt = request.into_inner().adopt;
        let proof = self.projection()?.rebuild(adopt).await.map_err(|error| not_asked(&error))?;
        Ok(Response::new(wire::RebuildProjectionResponse { proof: Some(told(&proof)) }))
    }
}

fn not_asked(error: &AskError) -> Status {
    let (code, reason) = match error {
        AskError::NotLeader => (Code::FailedPrecondition, "NOT_LEADER"),
        AskError::Trouble(_) => (Code::FailedPrecondition, "RECORD_NOT_READABLE"),
        AskError::Busy => (Code::ResourceExhausted, "TOO_MANY_ASK"),
    };
    admin_refusal(code, reason, error.to_string())
}

fn told(proof: &Proof) -> wire::ProjectionProof {
    let table = |table: &TableProof| wire::TableProof {
        table: table.table.to_owned(),
        rows: table.rows,
        archived_rows: table.archived,
        state_hash: hex(&table.state_hash),
        record_hash: hex(&table.record_hash),
        difference_count: table.difference_count,
        differences: table.differences.clone(),
    };
    wire::ProjectionProof {
        equal: proof.holds(),
        applied_index: proof.at.applied_index,
        tables: proof.tables.iter().map(table).collect(),
        missing_transitions: proof.missing_transitions,
        gaps: proof.gaps,
        parked_rows: proof.parked,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
