//! Who is believed beside keys: whose tokens, and whose webhooks.
//!
//! Both follow the configuration. What is in files of its own - signing keys, secrets of webhooks, keys of issuers - is
//! read again without it, and what was good stays where that fails.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::assembly::Assembly;
use super::outcomes::Outcomes;
use crate::identity::{FileProblem, Tokens};
use crate::moment::Moment;
use crate::webhooks::{Fingerprint, Replays, SecretsFile, Webhooks};

/// Who is believed now.
pub(super) struct Trust {
    tokens: Option<Arc<Tokens>>,
    /// Keeps the keys of issuers fresh.
    following: Option<AbortHandle>,
    webhooks: Option<Providers>,
    /// Deliveries that were here; they outlive every reload.
    replays: Arc<Replays>,
}

/// The secrets of webhooks, and what they were read from.
struct Providers {
    webhooks: Arc<ArcSwap<Webhooks>>,
    read: Option<(SecretsFile, Fingerprint)>,
}

impl Trust {
    /// Nobody.
    pub(super) fn none() -> Self {
        Self { tokens: None, following: None, webhooks: None, replays: Arc::default() }
    }

    /// Takes on what a configuration says. Makes the first signing key if there is none, and begins to fetch the keys of
    /// issuers. Blocks; to be called on the runtime of the control plane.
    ///
    /// # Errors
    ///
    /// Every file that cannot be used, now that it has to be; everything stays as it was then.
    pub(super) fn take_on(&mut self, assembly: &mut Assembly) -> Result<(), Vec<FileProblem>> {
        let config = &assembly.config;
        let tokens = if config.tokens.is_some() || !config.issuers.is_empty() {
            let mut tokens = Tokens::open(config.tokens.clone(), config.issuers.clone(), Moment::now())?;
            if let Some(earlier) = &self.tokens {
                tokens.succeed(earlier);
            }
            Some(Arc::new(tokens))
        } else {
            None
        };
        if let Some(following) = self.following.take() {
            following.abort();
        }
        self.following = tokens.clone().map(|tokens| Handle::current().spawn(tokens.follow()).abort_handle());
        self.tokens = tokens;
        self.webhooks = (!config.webhooks.schemes.is_empty()).then(|| self.providers(assembly));
        Ok(())
    }

    fn providers(&self, assembly: &mut Assembly) -> Providers {
        let (secrets, fingerprint) = assembly.webhook_secrets.take().unzip();
        let settings = &assembly.config.webhooks;
        let replays = Arc::clone(&self.replays);
        let webhooks =
            Webhooks::new(settings.schemes.clone(), settings.tolerance, secrets.unwrap_or_default(), replays);
        Providers {
            webhooks: Arc::new(ArcSwap::from_pointee(webhooks)),
            read: settings.secrets.clone().zip(fingerprint),
        }
    }

    /// Whose tokens are believed.
    pub(super) fn tokens(&self) -> Option<Arc<Tokens>> {
        self.tokens.clone()
    }

    /// Whose webhooks are.
    pub(super) fn webhooks(&self) -> Option<Arc<ArcSwap<Webhooks>>> {
        self.webhooks.as_ref().map(|providers| Arc::clone(&providers.webhooks))
    }

    /// Where the secrets of webhooks are.
    pub(super) fn secrets_file(&self) -> Option<&SecretsFile> {
        self.webhooks.as_ref().and_then(|providers| providers.read.as_ref()).map(|(file, _)| file)
    }

    /// Reads the secrets of webhooks again; says whether others are in force now.
    pub(super) fn reload(&mut self, outcomes: &Outcomes) -> bool {
        let Some(Providers { webhooks, read: Some((file, in_force)) }) = &mut self.webhooks else { return false };
        let contents = match file.load() {
            Ok(contents) if contents.fingerprint() == *in_force => {
                outcomes.nothing_new();
                return false;
            }
            Ok(contents) => contents,
            Err(problems) => {
                outcomes.failed("webhooks", &problems);
                return false;
            }
        };
        let before = webhooks.load();
        match contents.parse(before.schemes()) {
            Ok(secrets) => {
                webhooks.store(Arc::new(before.with_secrets(secrets)));
                *in_force = contents.fingerprint();
                outcomes.succeeded();
                tracing::info!("the secrets of webhooks were reloaded");
                true
            }
            Err(problems) => {
                outcomes.failed("webhooks", &problems);
                false
            }
        }
    }

    /// Forgets deliveries that could not come again.
    pub(super) fn sweep(&self, now: Moment) -> usize {
        self.replays.sweep(now)
    }
}
