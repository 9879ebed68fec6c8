//! Who is told of events: for admins.

use carrel_domain::id::WebhookId;
use carrel_domain::request::{Action, Caller};
use carrel_domain::text::WebhookUrl;
use carrel_domain::webhook::WebhookSecret;
use carrel_proto::v1;
use carrel_proto::v1::integration_service_server::IntegrationService;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::convert::invalid::Invalid;
use crate::convert::names;
use crate::convert::refusal::{out_of_order, to_status};
use crate::convert::time::to_timestamp;
use crate::grpc::bounds::Deadline;
use crate::grpc::call::Call;
use crate::grpc::front::Front;
use crate::grpc::library::Library;
use crate::grpc::session;
use crate::outward::secret_text;

#[derive(Debug)]
pub struct Webhooks<L>(pub Front<L>);

#[tonic::async_trait]
impl<L: Library> IntegrationService for Webhooks<L> {
    async fn list_webhooks(
        &self,
        request: Request<v1::ListWebhooksRequest>,
    ) -> Result<Response<v1::ListWebhooksResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.0.read_as(session, request.into_inner().read).await?;
        let webhooks = view.webhooks_for(user).map_err(to_status)?.into_iter().map(|(id, webhook)| v1::Webhook {
            name: names::webhook(id),
            url: webhook.url.to_string(),
            create_time: Some(to_timestamp(webhook.created_at)),
            oldest_undelivered_time: view
                .webhook_event_after(webhook.through)
                .ok()
                .map(|next| to_timestamp(next.at.time)),
            given_up_count: i64::try_from(webhook.given_up_count).unwrap_or(i64::MAX),
        });
        Ok(Response::new(v1::ListWebhooksResponse { webhooks: webhooks.collect() }))
    }

    async fn create_webhook(
        &self,
        request: Request<v1::CreateWebhookRequest>,
    ) -> Result<Response<v1::CreateWebhookResponse>, Status> {
        let url = WebhookUrl::new(&request.get_ref().url).map_err(|problem| Invalid::field("url", problem))?;
        let (webhook, secret) = (WebhookId(Uuid::new_v4().as_u128()), draw_secret()?);
        let action = Action::AddWebhook { webhook, url, secret: secret.clone() };
        let commit = self.unrecorded(&request, action).await?;
        let name = names::webhook(webhook);
        Ok(Response::new(v1::CreateWebhookResponse { name, secret: secret_text(&secret), commit }))
    }

    async fn rotate_webhook_secret(
        &self,
        request: Request<v1::RotateWebhookSecretRequest>,
    ) -> Result<Response<v1::RotateWebhookSecretResponse>, Status> {
        let webhook = names::parse_webhook("name", &request.get_ref().name)?;
        let secret = draw_secret()?;
        let action = Action::RotateWebhookSecret { webhook, secret: secret.clone() };
        let commit = self.unrecorded(&request, action).await?;
        Ok(Response::new(v1::RotateWebhookSecretResponse { secret: secret_text(&secret), commit }))
    }

    async fn delete_webhook(
        &self,
        request: Request<v1::DeleteWebhookRequest>,
    ) -> Result<Response<v1::DeleteWebhookResponse>, Status> {
        let webhook = names::parse_webhook("name", &request.get_ref().name)?;
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, Action::RemoveWebhook { webhook }).await?;
        Ok(Response::new(v1::DeleteWebhookResponse { commit: done.commit }))
    }
}

impl<L: Library> Webhooks<L> {
    /// Not remembered, as a log-in is not: the answer has a secret in it. If it is lost, the webhook is in the list.
    async fn unrecorded<M>(&self, request: &Request<M>, action: Action) -> Result<Option<v1::CommitInfo>, Status> {
        let caller = Caller::Session(session::named_by(request.metadata())?);
        let entry = carrel_domain::request::Request { caller, retry: None, action };
        let answer = self.0.library.write(entry, Deadline::of(request).remaining()).await?;
        Ok(self.0.decided(answer).done().map_err(to_status)?.commit)
    }
}

fn draw_secret() -> Result<WebhookSecret, Status> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|_| out_of_order())?;
    Ok(WebhookSecret(bytes))
}
