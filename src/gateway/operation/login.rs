//! Logins: tokens for a password, new tokens for old ones, and their end.
//!
//! Whoever guesses learns nothing: an unknown user, a wrong password, a user without one and one who is switched off are
//! answered alike, after the same work.

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value as Json;
use zeroize::Zeroizing;

use super::Call;
use super::answer::{done, with_json};
use super::error::OperationError;
use super::shape::{Input, Kind, SECRET_CHARS_MAX, Shape, TEXT_CHARS_MAX};
use crate::gateway::authentication::AuthenticationError;
use crate::gateway::body::ResponseBody;
use crate::gateway::rejection::Rejection;
use crate::identity::{Holder, Issued, IssuedRefresh, User};
use crate::keys::database::{DatabaseError, NewLogin, Refreshed, UserRecord};
use crate::secret::{NoRandomness, random_id_of};
use crate::template::{Template, TemplateError, Value};

/// What [`Login`] can be told.
pub const LOGIN_INPUTS: &[Input] = &[
    Input { name: "login", kind: Kind::Text(TEXT_CHARS_MAX), required: true },
    Input { name: "password", kind: Kind::Secret(1024), required: true },
];

/// What [`Refresh`] can be told.
pub const REFRESH_INPUTS: &[Input] =
    &[Input { name: "refresh_token", kind: Kind::Secret(SECRET_CHARS_MAX), required: true }];

/// What both can answer.
pub const TOKEN_NAMES: &[&str] =
    &["access_token", "refresh_token", "expires_in", "refresh_expires_in", "user", "tenant"];

const REFRESH_TOKEN: usize = 1;

/// Lets a user in who has the password.
#[derive(Clone, Debug)]
pub struct Login {
    request: Shape,
    response: Template,
    status: StatusCode,
}

/// Gives new tokens for a refresh token.
#[derive(Clone, Debug)]
pub struct Refresh {
    request: Shape,
    response: Template,
    status: StatusCode,
}

/// Reads the template of what either answers.
///
/// # Errors
///
/// [`TemplateError`], with the path inside the shape.
pub fn response(shape: &Json) -> Result<Template, (String, TemplateError)> {
    Template::read(shape, TOKEN_NAMES)
}

/// Tokens that were just made.
struct Made {
    access: Issued,
    refresh: IssuedRefresh,
}

impl Login {
    /// Puts it together.
    #[must_use]
    pub const fn new(request: Shape, response: Template, status: StatusCode) -> Self {
        Self { request, response, status }
    }

    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let told = call.told(&self.request)?;
        let login = told.text("login").unwrap_or_default().to_owned();
        let password = Zeroizing::new(told.text("password").unwrap_or_default().to_owned());
        let _place = call.services.passwords.place().await.map_err(OperationError::from)?;
        let user = self.user(call, login, password).await?;
        let made = self.begin(call, &user).await?;
        Ok(with_json(self.status, fill(&self.response, call, &made, &user.id, user.tenant.as_deref())))
    }

    /// The user who has this password, and may log in.
    async fn user(
        &self,
        call: &Call<'_>,
        login: String,
        password: Zeroizing<String>,
    ) -> Result<Verified, OperationError> {
        let store = &call.services.store;
        let found = store.read(move |store| store.user_and_hash_by_login(&login)).await?;
        let (user, stored) = found.map_or((None, None), |(user, stored)| (Some(user), stored));
        let passwords = &call.services.passwords;
        let checked = passwords.verify(password.clone(), stored.clone()).await?;
        let user = user.filter(|user| checked.good && user.enabled).ok_or(OperationError::LoginFailed)?;
        let stored = stored.ok_or(OperationError::LoginFailed)?;
        // What cannot be renewed now is renewed next time; the password is right all the same.
        if checked.outdated
            && let Ok(renewed) = passwords.hash(password).await
        {
            let (id, from, to) = (user.id.clone(), stored.clone(), renewed.clone());
            if call.write(move |store| store.renew_password_hash(&id, &from, &to)).await.is_ok_and(|done| done) {
                return Ok(Verified::new(user, renewed));
            }
        }
        Ok(Verified::new(user, stored))
    }

    async fn begin(&self, call: &Call<'_>, user: &Verified) -> Result<Made, OperationError> {
        let id = login_id()?;
        let written = crate::identity::Written {
            id: user.id.clone(),
            tenant: user.tenant.clone(),
            permissions: user.permissions.clone(),
            roles: user.roles.clone(),
            enabled: true,
        };
        let holder = User::new(written).map_err(|error| OperationError::Unavailable(error.to_string()))?;
        let made = issue(call, &holder, &id)?;
        // A login without a refresh token is over with its access token.
        let expires_s =
            if self.response.asks_for(REFRESH_TOKEN) { made.refresh.expires_s } else { made.access.expires_s };
        let login = NewLogin {
            id,
            user: user.id.clone(),
            refresh: made.refresh.digest,
            expires: second(expires_s),
            verified: Some(user.stored.clone()),
        };
        call.write(move |store| store.create_login(login)).await?;
        Ok(made)
    }
}

/// A user who has given the password.
struct Verified {
    id: String,
    tenant: Option<String>,
    permissions: Vec<String>,
    roles: Vec<String>,
    /// What is stored of the password that was right.
    stored: String,
}

impl Verified {
    fn new(user: UserRecord, stored: String) -> Self {
        let UserRecord { id, tenant, permissions, roles, .. } = user;
        Self { id, tenant, permissions, roles, stored }
    }
}

impl Refresh {
    /// Puts it together.
    #[must_use]
    pub const fn new(request: Shape, response: Template, status: StatusCode) -> Self {
        Self { request, response, status }
    }

    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let told = call.told(&self.request)?;
        let token = told.text("refresh_token").unwrap_or_default();
        let presented = call.tokens()?.verify_refresh(token, call.now).map_err(OperationError::RefreshRefused)?;
        let user = call.services.directory.user(&presented.user).filter(|user| user.enabled);
        let user = user.ok_or(OperationError::LoginEnded)?;
        let made = issue(call, &user, &presented.login)?;
        let (id, digest) = (presented.login.to_string(), presented.digest);
        let (next, expires) = (made.refresh.digest, second(made.refresh.expires_s));
        match call.write(move |store| store.refresh_login(&id, &digest, next, expires)).await? {
            Refreshed::Renewed(_) => {
                Ok(with_json(self.status, fill(&self.response, call, &made, &user.id, user.tenant.as_deref())))
            }
            Refreshed::Reused => {
                tracing::warn!(
                    user = &*user.id,
                    login = &*presented.login,
                    "a refresh token came twice: the login is ended"
                );
                Err(OperationError::TokenReused.into())
            }
            Refreshed::Gone => Err(OperationError::LoginEnded.into()),
        }
    }
}

/// Ends the login of the caller's token.
pub(super) async fn logout(call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
    // Whoever else has made the token ends it.
    let id = call.principal().login().ok_or(AuthenticationError::TokenNotAccepted)?.to_string();
    let ended = call
        .write(move |store| match store.end_login(&id) {
            // Somebody was faster.
            Err(DatabaseError::NoLogin) => Ok(()),
            ended => ended.map(drop),
        })
        .await;
    ended?;
    Ok(done())
}

fn issue(call: &Call<'_>, user: &User, login: &str) -> Result<Made, OperationError> {
    let tokens = call.tokens()?;
    let holder = Holder {
        user: &user.id,
        login,
        tenant: user.tenant.as_deref(),
        roles: &user.roles,
        permissions: &user.permissions,
    };
    let access = tokens.issue_access(&holder, call.now)?;
    let refresh = tokens.issue_refresh(&user.id, login, call.now)?;
    Ok(Made { access, refresh })
}

fn fill(template: &Template, call: &Call<'_>, made: &Made, user: &str, tenant: Option<&str>) -> String {
    let left = |expires_s: u64| Value::Number(expires_s.saturating_sub(call.now.unix_seconds()));
    template.fill(&|index| match TOKEN_NAMES.get(index).copied() {
        Some("access_token") => made.access.token.expose().into(),
        Some("refresh_token") => made.refresh.token.expose().into(),
        Some("expires_in") => left(made.access.expires_s),
        Some("refresh_expires_in") => left(made.refresh.expires_s),
        Some("user") => user.into(),
        Some("tenant") => tenant.map_or(Value::Absent, Value::from),
        Some(_) | None => Value::Absent,
    })
}

fn login_id() -> Result<String, NoRandomness> {
    random_id_of("login")
}

fn second(seconds: u64) -> Timestamp {
    i64::try_from(seconds).ok().and_then(|seconds| Timestamp::from_second(seconds).ok()).unwrap_or(Timestamp::MAX)
}
