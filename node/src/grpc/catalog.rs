//! The catalogue: everybody may see it, an admin may replace it.

use carrel_domain::catalog::Draft;
use carrel_domain::request::Action;
use carrel_proto::v1::catalog_service_server::CatalogService;
use carrel_proto::v1::{
    Catalog as WireCatalog, ExportCatalogRequest, ExportCatalogResponse, ImportCatalogRequest, ImportCatalogResponse,
    ListBranchesRequest, ListBranchesResponse,
};
use tonic::{Request, Response, Status};

use crate::convert::refusal::catalog_invalid;
use crate::convert::{self, reply, request};
use crate::grpc::call::Call;
use crate::grpc::front::{Front, beside};
use crate::grpc::library::Library;
use crate::grpc::session;

#[derive(Debug)]
pub struct Catalog<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> CatalogService for Catalog<L> {
    async fn list_branches(
        &self,
        request: Request<ListBranchesRequest>,
    ) -> Result<Response<ListBranchesResponse>, Status> {
        let view = self.0.read(request.into_inner().read).await?;
        Ok(Response::new(ListBranchesResponse { branches: view.branches().iter().map(reply::branch).collect() }))
    }

    async fn export_catalog(
        &self,
        request: Request<ExportCatalogRequest>,
    ) -> Result<Response<ExportCatalogResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, _) = self.0.read_as(session, request.into_inner().read).await?;
        let catalog = Some(convert::catalog::from_draft(&view.catalog_draft()));
        Ok(Response::new(ExportCatalogResponse { catalog, revision: view.catalog().revision.cast_signed() }))
    }

    async fn import_catalog(
        &self,
        request: Request<ImportCatalogRequest>,
    ) -> Result<Response<ImportCatalogResponse>, Status> {
        let mut call = Call::of_session(request)?;
        let expected_revision = request::expected_revision(call.message.expected_revision)?;
        let draft = Box::new(draft_of(call.message.catalog.take().unwrap_or_default()).await?);
        let action = Action::ImportCatalog { draft, expected_revision };
        let done = self.0.write(&call, action).await?;
        Ok(Response::new(reply::import(done.import()?, done.commit)))
    }
}

/// Tens of thousands of seats take milliseconds to check.
async fn draft_of(catalog: WireCatalog) -> Result<Draft, Status> {
    beside(move || convert::catalog::to_draft(&catalog)).await?.map_err(|faults| catalog_invalid(&faults))
}
