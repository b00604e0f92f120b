//! Keeping keys fresh in the background: those of issuers, and our own when somebody else has made one.
//!
//! Nothing here is on the way of a request. A failure is logged when it begins, and leaves the keys as they are.

use std::sync::Arc;

use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use super::Tokens;
use super::foreign::{EARLY_EVERY, Foreign, read_file};
use super::settings::JwksSource;
use crate::moment::Moment;

impl Tokens {
    /// Keeps the keys of all issuers fresh, for as long as it is polled: a task of the control plane, to be ended when
    /// these tokens are succeeded by others.
    ///
    /// Keys of issuers are read at once, and then every [`super::IssuerSettings::refresh_every`]; half a minute after a
    /// failure. Our own are read again when a token names one that another process may have made.
    pub async fn follow(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        for index in 0..self.issuers.len() {
            tasks.spawn(Arc::clone(&self).follow_issuer(index));
        }
        tasks.spawn(self.follow_own());
        while tasks.join_next().await.is_some() {}
    }

    async fn follow_issuer(self: Arc<Self>, index: usize) {
        let Some(issuer) = self.issuers.get(index) else { return };
        let mut failing = false;
        loop {
            issuer.early.reading(Moment::now());
            let read = self.refresh(issuer, index).await;
            let name = &issuer.settings.issuer;
            match &read {
                Ok(()) if failing => tracing::info!(issuer = name, "the keys of an issuer can be read again"),
                Err(error) if !failing => {
                    tracing::warn!(
                        issuer = name,
                        "the keys of an issuer cannot be read, and stay as they are: {error}"
                    );
                }
                Ok(()) | Err(_) => {}
            }
            failing = read.is_err();
            let again =
                if failing { EARLY_EVERY.min(issuer.settings.refresh_every) } else { issuer.settings.refresh_every };
            tokio::select! {
                () = sleep(again) => {}
                () = issuer.early.wished() => {}
            }
        }
    }

    /// Reads the keys of an issuer, and puts them in force if they are others.
    async fn refresh(&self, issuer: &Foreign, index: usize) -> Result<(), String> {
        let document = match (&issuer.settings.jwks, &self.client) {
            (JwksSource::Url(url), Some(client)) => client.get(url).await.map_err(|error| error.to_string())?.to_vec(),
            (JwksSource::Url(_), None) => return Err("there is no client for it".to_owned()),
            (JwksSource::File(file), _) => {
                let file = file.clone();
                let read = spawn_blocking(move || read_file(&file)).await.map_err(|error| error.to_string())?;
                read.map_err(|error| error.to_string())?
            }
        };
        self.take_keys(issuer, index, &document).map_err(|error| format!("the document {error}"))
    }

    /// Reads our own keys again when a token names one that we do not know: another process may have made it just now.
    async fn follow_own(self: Arc<Self>) {
        let Some(early) = self.own.as_ref().map(|_| &self.early) else { return };
        loop {
            early.wished().await;
            early.reading(Moment::now());
            let tokens = Arc::clone(&self);
            // What is wrong is told by whoever tends.
            drop(spawn_blocking(move || tokens.tend(Moment::now())).await);
        }
    }
}
