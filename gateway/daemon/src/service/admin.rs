//! The admin interface: what commands can ask a service, and what it counts, over HTTP.

use std::path::PathBuf;
use std::sync::Arc;

use gateway_admin::http::{Api, HttpServer};
use gateway_admin::metrics::Value;
use objstore_base::BoxFuture;
use tokio::net::TcpSocket;
use tokio::sync::mpsc;

use super::{Service, listening, token};
use crate::config::AdminSection;
use crate::control;
use crate::exit::Failure;
use crate::watch_reports::AdminReport;

/// Connections that wait to be taken.
const BACKLOG: u32 = 64;

/// The open interface.
pub(super) struct Admin {
    server: HttpServer,
    token_file: PathBuf,
}

impl Service {
    /// Opens it on a socket that was taken before.
    pub(super) fn open_admin(self: &Arc<Self>, section: &AdminSection, socket: TcpSocket) -> Result<(), Failure> {
        let token_file = section.token_file.clone().unwrap_or_else(|| self.layout.admin_token());
        let token = token::read_or_make(&token_file, &*self.env.rng)?;
        let listener = socket.listen(BACKLOG).map_err(|error| listening::ADMIN.refused(section.listen, &error))?;
        let api = Arc::clone(self) as Arc<dyn Api>;
        let server = HttpServer::start(&self.env, listener, token, self.watching.observatory(), api)?;
        tracing::info!(address = %server.address(), "the admin interface is open");
        *self.admin.lock() = Some(Admin { server, token_file });
        Ok(())
    }

    pub(super) async fn close_admin(&self) {
        let admin = self.admin.lock().take();
        if let Some(admin) = admin {
            admin.server.stop().await;
        }
    }

    pub(super) fn admin_report(&self) -> Option<AdminReport> {
        let admin = self.admin.lock();
        admin.as_ref().map(|admin| AdminReport {
            listen: admin.server.address().to_string(),
            token_file: admin.token_file.clone(),
        })
    }
}

impl Api for Service {
    fn ask(&self, request: bytes::Bytes, lines: mpsc::Sender<bytes::Bytes>) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            let mut ear = lines;
            let heard = match control::parse(&request) {
                // Whoever asked for the end has its answer while the service waits a moment for a command to hear it.
                Ok(request) => control::converse(request, self, &mut ear).await.map(drop),
                Err(refusal) => control::Ear::hear(&mut ear, &refusal).await,
            };
            if let Err(error) = heard {
                tracing::debug!(%error, "whoever asked over HTTP is gone");
            }
        })
    }

    fn values(&self) -> BoxFuture<'_, Vec<Value>> {
        Box::pin(self.metric_values())
    }
}
