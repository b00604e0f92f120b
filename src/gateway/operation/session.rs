//! Sessions of customers: whoever has a key gets a token for one customer, who sees with it what is the customer's.

use std::time::Duration;

use http::{Response, StatusCode};
use jiff::Timestamp;
use serde_json::Value as Json;

use super::Call;
use super::answer::{time, with_json};
use super::error::OperationError;
use crate::gateway::body::ResponseBody;
use crate::gateway::parameter::Word;
use crate::gateway::rejection::Rejection;
use crate::keys::database::NewSession;
use crate::secret::{random_base62, random_id_of};
use crate::template::{Template, TemplateError, Value};

/// What it can answer.
pub const SESSION_NAMES: &[&str] = &["id", "token", "expires_at", "expires_in", "customer"];

/// Random characters of a token: 256 bits.
const TOKEN_CHARS: usize = 43;

/// Bytes that the name of a customer may have.
const CUSTOMER_BYTES_MAX: usize = 128;

/// Lets a customer see what is the customer's.
#[derive(Clone, Debug)]
pub struct CreateSession {
    /// Who the customer is.
    pub customer: Word,
    /// For how long.
    pub lifetime: Duration,
    /// What is answered.
    pub response: Template,
    /// With which status.
    pub status: StatusCode,
}

impl CreateSession {
    /// Reads the template of what is answered.
    ///
    /// # Errors
    ///
    /// [`TemplateError`], with the path inside the shape.
    pub fn response(shape: &Json) -> Result<Template, (String, TemplateError)> {
        Template::read(shape, SESSION_NAMES)
    }

    pub(super) async fn perform(&self, call: &Call<'_>) -> Result<Response<ResponseBody>, Rejection> {
        let route = call.admission.permit().route();
        let customer = self.customer.of(&route.patterns, call.path()).into_owned();
        if customer.is_empty()
            || customer.len() > CUSTOMER_BYTES_MAX
            || !customer.bytes().all(|byte| byte.is_ascii_graphic())
        {
            let what = format!("the customer must be 1 to {CUSTOMER_BYTES_MAX} visible ASCII characters");
            return Err(OperationError::Invalid(what).into());
        }
        let secret = random_base62("st_", TOKEN_CHARS).map_err(OperationError::from)?;
        let id = random_id_of("session").map_err(OperationError::from)?;
        let now_ns = i128::from(call.now.unix_ns);
        let lifetime_ns = i128::try_from(self.lifetime.as_nanos()).unwrap_or(i128::MAX);
        let expires = Timestamp::from_nanosecond(now_ns.saturating_add(lifetime_ns)).unwrap_or(Timestamp::MAX);
        let caller = call.caller();
        let session = NewSession {
            id: id.clone(),
            digest: secret.digest(),
            tenant: caller.tenant,
            environment: caller.environment,
            customer: customer.clone(),
            expires,
        };
        call.write(move |store| store.create_session(session)).await?;
        let content = self.response.fill(&|index| match SESSION_NAMES.get(index).copied() {
            Some("id") => id.as_str().into(),
            Some("token") => secret.expose().into(),
            Some("expires_at") => time(Some(expires)),
            Some("expires_in") => Value::Number(self.lifetime.as_secs()),
            Some("customer") => customer.as_str().into(),
            Some(_) | None => Value::Absent,
        });
        Ok(with_json(self.status, content))
    }
}
