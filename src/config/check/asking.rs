//! Rules of the addresses at which other proxies ask.

use http::StatusCode;

use super::Checker;
use crate::config::file::{self, Dialect};
use crate::config::values::CheckSettings;
use crate::document::Path;
use crate::gateway::path::normal_form;
use crate::gateway::question::{self, Asking};
use crate::listener::Settings;

impl Checker<'_> {
    /// Where other proxies ask; `like` are the settings that all listening addresses share.
    pub(super) fn checks(&mut self, file: &file::File, like: &Settings) -> Vec<CheckSettings> {
        let mut checks = Vec::with_capacity(file.check.len());
        for (index, written) in file.check.iter().enumerate() {
            let path = self.check_path(index);
            self.not_everybody(&written.from, &path.field("from"));
            let settings = Settings {
                address: written.listen,
                proxy_protocol: None,
                http2: true,
                prior_knowledge: written.tls.is_none(),
                extended_connect: false,
                // One proxy asks for all of its clients.
                proxies: written.from.clone(),
                ..like.clone()
            };
            let asking = Asking {
                dialect: match written.dialect {
                    Dialect::Nginx => question::Dialect::Nginx,
                    Dialect::Forwarded => question::Dialect::Forwarded,
                    Dialect::Envoy => question::Dialect::Envoy,
                },
                path: self.question_path(&written.path, &path.field("path")),
                from: written.from.clone(),
                limit_status: written.limit_status.and_then(|status| StatusCode::from_u16(status).ok()),
            };
            let tls = written.tls.as_ref().map(|tls| self.tls(tls, &path.field("tls")));
            checks.push(CheckSettings { settings, tls, asking });
        }
        checks
    }

    /// The path of the questions, without a slash at its end.
    fn question_path(&mut self, written: &str, path: &Path) -> String {
        let short = if written == "/" { "" } else { written };
        let normal = written == "/" || normal_form(written).is_ok_and(|normal| normal == written);
        if !normal || short.ends_with('/') || written.contains(['?', '#']) {
            self.refuse(path, "is not a path; write for example `/check`, without a slash at its end");
        }
        short.to_owned()
    }

    fn check_path(&self, index: usize) -> Path {
        let check = Path::root().field("check");
        let item = self.document.item(&check, index);
        if self.document.has(&item) { item } else { check }
    }

    /// Where the address of a check stands.
    pub(super) fn check_address_path(&self, index: usize) -> Path {
        self.check_path(index).field("listen")
    }
}
