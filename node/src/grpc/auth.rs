//! Accounts and sessions. A password is hashed or checked here, before anything is proposed: the log carries hashes.

use carrel_domain::refusal::Refusal;
use carrel_domain::request::{Action, Caller};
use carrel_proto::v1::auth_service_server::AuthService;
use carrel_proto::v1::{
    ChangePasswordRequest, ChangePasswordResponse, GetSessionRequest, GetSessionResponse, ListSessionsRequest,
    ListSessionsResponse, LoginRequest, LoginResponse, LogoutRequest, LogoutResponse, RegisterRequest,
    RegisterResponse, RevokeSessionRequest, RevokeSessionResponse,
};
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Request, Response, Status};

use crate::convert::refusal::{credentials_invalid, registration_closed, to_status};
use crate::convert::time::to_timestamp;
use crate::convert::{names, reply, request};
use crate::grpc::bounds::Deadline;
use crate::grpc::call::Call;
use crate::grpc::front::{Front, Registration};
use crate::grpc::library::Library;
use crate::grpc::session::{self, SessionToken};
use crate::replica::Freshness;

/// A password that is changed while it is being checked is checked once more, and no more: nobody changes it twice a
/// second.
const LOGIN_ATTEMPTS: usize = 2;

#[derive(Debug)]
pub struct Auth<L>(pub Front<L>);

impl<L: Library> Auth<L> {
    /// Refuses who may not make an account here. What makes it is in no session: who is staff at this moment is all
    /// that matters.
    async fn admit(&self, metadata: &MetadataMap) -> Result<(), Status> {
        let is_admitted = match self.0.registration {
            Registration::Open => true,
            Registration::ByStaff if metadata.get("authorization").is_none() => false,
            Registration::ByStaff => {
                let by = session::named_by(metadata)?;
                self.0.library.read(Freshness::Linearizable).await?.makes_accounts(by).map_err(to_status)?
            }
        };
        if is_admitted { Ok(()) } else { Err(registration_closed()) }
    }
}

#[tonic::async_trait]
impl<L: Library> AuthService for Auth<L> {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<RegisterResponse>, Status> {
        self.admit(request.metadata()).await?;
        let mut call = Call::of_anybody(request)?;
        let (name, password) = request::register(std::mem::take(&mut call.message))?;
        let password = self.0.passwords.hash(password).await?;
        let done = self.0.write(&call, Action::Register { name, password }).await?;
        Ok(Response::new(RegisterResponse { user: done.user()?, commit: done.commit }))
    }

    /// Says and takes the same whether the name or the password is wrong.
    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        let deadline = Deadline::of(&request);
        let token = SessionToken::draw()?;
        let cookie = session::cookie(request.metadata(), &token.to_text());
        let LoginRequest { user_id, password } = request.into_inner();
        if password.len() > request::PASSWORD_BYTES_MAX {
            return Err(credentials_invalid());
        }
        let name = names::user_id("user_id", &user_id).ok();
        for _ in 0..LOGIN_ATTEMPTS {
            let view = self.0.library.read(Freshness::Linearizable).await?;
            let found = name.as_ref().and_then(|name| view.credentials(name));
            let stored = found.as_ref().map(|credentials| credentials.password.clone());
            let is_right = self.0.passwords.verify(password.clone(), stored).await?;
            let credentials = found.filter(|_| is_right).ok_or_else(credentials_invalid)?;
            let (user, password, token_digest) = (credentials.user, credentials.password, token.digest());
            let action = Action::StartSession { user, password, token: token_digest };
            // Not recorded: an answer that is lost costs one session that nobody uses.
            let entry = carrel_domain::request::Request { caller: Caller::Anonymous, retry: None, action };
            match self.0.decided(self.0.library.write(entry, deadline.remaining()).await?).done() {
                Ok(done) => {
                    let told = if cookie.is_some() { String::new() } else { token.to_text() };
                    return Ok(with_cookie(done.login(told)?, cookie));
                }
                Err(Refusal::PasswordChanged) => {}
                Err(Refusal::UserNotFound) => return Err(credentials_invalid()),
                Err(refusal) => return Err(to_status(refusal)),
            }
        }
        Err(to_status(Refusal::PasswordChanged))
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<LogoutResponse>, Status> {
        let cookie = session::cookie(request.metadata(), "");
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, Action::EndSession).await?;
        Ok(with_cookie(LogoutResponse { commit: done.commit }, cookie))
    }

    /// By whoever has the session and knows the password besides.
    async fn change_password(
        &self,
        request: Request<ChangePasswordRequest>,
    ) -> Result<Response<ChangePasswordResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let deadline = Deadline::of(&request);
        let (password, new_password) = request::change_password(request.into_inner())?;
        if password.len() > request::PASSWORD_BYTES_MAX {
            return Err(credentials_invalid());
        }
        let view = self.0.library.read(Freshness::Linearizable).await?;
        let viewer = view.viewer(session).map_err(to_status)?.user;
        let old = view.credentials(&viewer.name).map(|credentials| credentials.password);
        let is_right = self.0.passwords.verify(password, old.clone()).await?;
        let old = old.filter(|_| is_right).ok_or_else(credentials_invalid)?;
        let new = self.0.passwords.hash(new_password).await?;
        let (caller, action) = (Caller::Session(session), Action::ChangePassword { old, new });
        // Not recorded: what tells a repetition from another request would be a hash of secrets.
        let entry = carrel_domain::request::Request { caller, retry: None, action };
        let answer = self.0.library.write(entry, deadline.remaining()).await?;
        let done = self.0.decided(answer).done().map_err(to_status)?;
        Ok(Response::new(ChangePasswordResponse { commit: done.commit }))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let (view, user) = self.0.read_as(session, request.into_inner().read).await?;
        let sessions = view.sessions(user).iter().map(|view| reply::session(view, session)).collect();
        Ok(Response::new(ListSessionsResponse { sessions }))
    }

    async fn revoke_session(
        &self,
        request: Request<RevokeSessionRequest>,
    ) -> Result<Response<RevokeSessionResponse>, Status> {
        let call = Call::of_session(request)?;
        let done = self.0.write(&call, request::revoke_session(&call.message)?).await?;
        Ok(Response::new(RevokeSessionResponse { commit: done.commit }))
    }

    async fn get_session(&self, request: Request<GetSessionRequest>) -> Result<Response<GetSessionResponse>, Status> {
        let session = session::named_by(request.metadata())?;
        let view = self.0.read(request.into_inner().read).await?;
        let viewer = view.viewer(session).map_err(to_status)?;
        Ok(Response::new(GetSessionResponse {
            user: Some(reply::user(&viewer.user)),
            expire_time: Some(to_timestamp(viewer.expires_at)),
            unread_count: reply::count(viewer.unread_count),
        }))
    }
}

fn with_cookie<T>(answer: T, cookie: Option<MetadataValue<Ascii>>) -> Response<T> {
    let mut response = Response::new(answer);
    if let Some(cookie) = cookie {
        response.metadata_mut().insert("set-cookie", cookie);
    }
    response
}
