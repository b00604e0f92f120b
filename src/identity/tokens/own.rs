//! Our own tokens: what stands in them, and what must.

use std::sync::Arc;

use serde::Serialize;

use super::claims::{self, Demands, End};
use super::compact::Compact;
use super::error::{IssueError, TokenError};
use super::keyring::Ring;
use super::settings::{ClaimName, ClaimNames, TokenSettings, TokenTypes};
use super::signing_key::{ACCESS, Kind, REFRESH};
use super::{Holder, Issued, IssuedRefresh, Issuer, Refresh, Verified};
use crate::moment::Moment;
use crate::secret::{Digest, Secret, random_id_of};

/// Who makes tokens: this gateway.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) settings: TokenSettings,
    access: Demands,
    refresh: Demands,
    names: ClaimNames,
}

/// The claims of our tokens (RFC 7519, section 4.1; RFC 9068, section 2.2). There is no `client_id`: users sign in here
/// themselves, and no client stands between.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    sid: &'a str,
    jti: &'a str,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roles: Vec<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    permissions: Vec<&'a str>,
}

impl Own {
    pub(super) fn new(settings: TokenSettings) -> Self {
        let demands = |typ, audience: &str| Demands {
            types: TokenTypes::only(typ),
            audiences: vec![audience.to_owned()],
            leeway_s: settings.leeway.as_secs(),
        };
        let name = |name: &str| Some(ClaimName(name.to_owned()));
        Self {
            access: demands(ACCESS, &settings.audience),
            refresh: demands(REFRESH, &settings.refresh_audience()),
            names: ClaimNames { tenant: name("tenant"), roles: name("roles"), permissions: name("permissions") },
            settings,
        }
    }

    /// Makes an access token.
    pub(super) fn issue_access(&self, ring: &Ring, holder: &Holder<'_>, now: Moment) -> Result<Issued, IssueError> {
        let now_s = now.unix_seconds();
        let expires_s = now_s.saturating_add(self.settings.access_lifetime.as_secs());
        let claims = Claims {
            iss: &self.settings.issuer,
            aud: &self.settings.audience,
            sub: holder.user,
            sid: holder.login,
            jti: &random_id_of("at")?,
            iat: now_s,
            exp: expires_s,
            tenant: holder.tenant,
            roles: holder.roles.iter().map(AsRef::as_ref).collect(),
            permissions: holder.permissions.iter().map(AsRef::as_ref).collect(),
        };
        Ok(Issued { token: sign(ring, Kind::Access, &claims)?, expires_s })
    }

    /// Makes a refresh token.
    pub(super) fn issue_refresh(
        &self,
        ring: &Ring,
        user: &str,
        login: &str,
        now: Moment,
    ) -> Result<IssuedRefresh, IssueError> {
        let now_s = now.unix_seconds();
        let expires_s = now_s.saturating_add(self.settings.refresh_lifetime.as_secs());
        let claims = Claims {
            iss: &self.settings.issuer,
            aud: &self.refresh.audiences[0],
            sub: user,
            sid: login,
            jti: &random_id_of("rt")?,
            iat: now_s,
            exp: expires_s,
            tenant: None,
            roles: Vec::new(),
            permissions: Vec::new(),
        };
        let token = sign(ring, Kind::Refresh, &claims)?;
        Ok(IssuedRefresh { digest: token.digest(), token, expires_s })
    }

    /// Whom an access token stands for.
    pub(super) fn verify(&self, ring: &Ring, token: &Compact<'_>, now_s: u64) -> Result<(Verified, End), TokenError> {
        let end = verify(ring, token, &self.access, now_s)?;
        let user = claims::user(&token.claims, &self.names, false)?;
        let issuer = Issuer::Own { login: claims::text(&token.claims, "sid")?.into() };
        Ok((Verified { issuer, user: Arc::new(user), expires_s: end.expires_s }, end))
    }

    /// What a refresh token stands for. `digest` is that of its text.
    pub(super) fn verify_refresh(
        &self,
        ring: &Ring,
        token: &Compact<'_>,
        digest: Digest,
        now_s: u64,
    ) -> Result<Refresh, TokenError> {
        let end = verify(ring, token, &self.refresh, now_s)?;
        let text = |name| claims::text(&token.claims, name).map(Arc::from);
        Ok(Refresh { user: text("sub")?, login: text("sid")?, digest, expires_s: end.expires_s })
    }
}

fn sign(ring: &Ring, kind: Kind, claims: &Claims<'_>) -> Result<Secret, IssueError> {
    let key = ring.signer(claims.iat).ok_or(IssueError::NotConfigured)?;
    let claims = serde_json::to_vec(claims).map_err(|_| IssueError::Signing)?;
    key.token(kind, &claims).map(Secret::new)
}

/// The key first, then the signature, and only then what the token says.
fn verify(ring: &Ring, token: &Compact<'_>, demands: &Demands, now_s: u64) -> Result<End, TokenError> {
    let id = token.key_id.as_deref().ok_or(TokenError::UnknownKey)?;
    let key = ring.find(id).ok_or(TokenError::UnknownKey)?;
    if key.algorithm() != token.algorithm {
        return Err(TokenError::Algorithm);
    }
    key.verify(token.signed, &token.signature)?;
    demands.check(token, now_s)
}
