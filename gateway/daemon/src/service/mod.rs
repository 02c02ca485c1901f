//! The service: one store, open, with its doors, until somebody ends it.
//!
//! Order of the start: everything is checked and addresses are taken, the store is locked, drives and index are opened (a
//! new store is made), the engine runs, the control socket and the admin interface answer, the doors open, and only then a new store gets the
//! file that makes it one. Order of the end: the NFS door takes no more calls and ends those under way, what is dirty goes
//! to the pool while mounts still serve, the mounts go, what came in between follows, the workers stop, the journal and
//! the index are closed.

mod admin;
mod answers;
mod doors;
mod ending;
mod groups;
mod leaving;
mod listening;
mod nfs;
mod nfs_locks;
mod opening;
mod reload;
mod token;
mod values;
mod waiting;
mod watching;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_writeback::WriteBackStatus;
use fs_api::{Context, Credentials, ROOT_INO, StatFs, Vfs};
use fs_engine::Engine;
use gateway_admin::AuditConfig;
use objstore_env::Env;
use objstore_pool::Pool;
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use self::admin::Admin;
use self::nfs::NfsDoor;
use self::watching::Watching;
use crate::background::{self, Announcement};
use crate::cli::{MountArgs, StoreOptions};
use crate::config::{AdminSection, NfsSection};
use crate::control::{self, Stop};
use crate::exit::{Exit, Failure};
use crate::log::{LogFilter, LogTarget};
use crate::reports::{PoolReport, ServingReport};
use crate::settings::Settings;
use crate::shares::ShareTable;
use crate::signals::Hangup;
use crate::store::{self, Layout, Plan, StoreFile};
use crate::supervisor::{Moment, Supervisor};
use crate::units::Code;

use crate::{board, failpoints, output, resources, signals};
pub(crate) use doors::Places;
pub(crate) use opening::{Locks, open_pool};

/// Threads that run tasks. Session threads answer most requests themselves; these carry waits and background work.
const WORKER_THREADS_MIN: usize = 2;
/// Threads for blocking work: each drive has a bound of its own, a stuck one must not starve the rest.
const BLOCKING_THREADS_MAX: usize = 256;
/// What is left of blocking work when the service ends is waited for this long.
const RUNTIME_END: Duration = Duration::from_secs(2);
/// What a stop waits for the pool at most unless told otherwise. What is not there by then is safe in the journal and
/// goes up after the next start; whoever sends signals wants an end.
pub(crate) const STOP_LIMIT_DEFAULT: Duration = Duration::from_secs(30);

/// What is served, whoever says so: the command line or the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ServiceOptions {
    pub(crate) store: StoreOptions,
    pub(crate) mounts: Vec<PathBuf>,
    pub(crate) nfs: Option<NfsSection>,
    pub(crate) admin: Option<AdminSection>,
    pub(crate) audit: Option<AuditConfig>,
    pub(crate) stop_limit: Duration,
    pub(crate) log: Option<String>,
    /// Where this stands, to be read again.
    pub(crate) config: Option<PathBuf>,
}

impl Default for ServiceOptions {
    fn default() -> Self {
        Self {
            store: StoreOptions::default(),
            mounts: Vec::new(),
            nfs: None,
            admin: None,
            audit: None,
            stop_limit: STOP_LIMIT_DEFAULT,
            log: None,
            config: None,
        }
    }
}

impl From<&MountArgs> for ServiceOptions {
    fn from(args: &MountArgs) -> Self {
        Self { store: args.store.clone(), mounts: vec![args.mountpoint.clone()], ..Self::default() }
    }
}

/// To whom the service speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Presence {
    /// To whoever started it.
    Foreground { json: bool },
    /// To the command that started it, and then to its log.
    Background,
}

/// Everything that answers questions about the store.
pub(crate) struct Service {
    pub(crate) env: Env,
    pub(crate) layout: Layout,
    pub(crate) store: StoreFile,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) started: Duration,
    shares: Arc<ShareTable>,
    mounted: Mutex<Vec<PathBuf>>,
    nfs: Mutex<Option<NfsDoor>>,
    admin: Mutex<Option<Admin>>,
    watching: Watching,
    /// What it serves, as far as it follows its configuration.
    running: Mutex<ServiceOptions>,
    reloading: tokio::sync::Mutex<()>,
    log_filter: LogFilter,
    supervisor: Arc<Supervisor>,
    stops: mpsc::Sender<Stop>,
    /// Woken when whoever asked for the end was answered.
    answered: Notify,
}

/// Serves `options` in this process until it ends.
pub(crate) fn run(options: ServiceOptions, presence: Presence) -> Result<Exit, Failure> {
    let (log, filter) = LogTarget::start(presence == Presence::Background, options.log.as_deref());
    if presence == Presence::Background {
        background::detach();
    }
    let result = prepare_and_serve(options, presence, &log, filter);
    if let Err(failure) = &result
        && presence == Presence::Background
    {
        // After the first announcement this one goes nowhere, and the log has it.
        tracing::error!(message = failure.message, "the service ended");
        background::announce(&Announcement::Failed { exit: failure.exit, message: failure.message.clone() });
    }
    result.map(|()| Exit::Ok)
}

fn prepare_and_serve(
    options: ServiceOptions,
    presence: Presence,
    log: &LogTarget,
    filter: LogFilter,
) -> Result<(), Failure> {
    let layout = Layout::new(store::data_folder(options.store.data.as_deref())?);
    store::free_stuck_mounts(&layout);
    let places = Places::check(&options)?;
    let plan = store::plan(&options.store, &layout, &places.mountpoints())?;
    resources::raise_open_files();
    signals::block(hangup(&options))?;
    let runtime = runtime()?;
    let start = Start { options, presence, layout, places, plan, filter };
    let result = runtime.block_on(serve(start, log, &runtime));
    runtime.shutdown_timeout(RUNTIME_END);
    result
}

/// Without a configuration there is nothing to read again.
const fn hangup(options: &ServiceOptions) -> Hangup {
    if options.config.is_some() { Hangup::Reloads } else { Hangup::Ends }
}

pub(crate) fn runtime() -> Result<Runtime, Failure> {
    let cores = std::thread::available_parallelism().map_or(WORKER_THREADS_MIN, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.max(WORKER_THREADS_MIN))
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .thread_name("tidegate")
        .enable_all()
        .build()
        .map_err(|error| Failure::refuse("start", "threads", error))
}

/// What was found to be possible.
struct Start {
    options: ServiceOptions,
    presence: Presence,
    layout: Layout,
    places: Places,
    plan: Plan,
    filter: LogFilter,
}

async fn serve(start: Start, log: &LogTarget, runtime: &Runtime) -> Result<(), Failure> {
    let Start { options, presence, layout, places, plan, filter } = start;
    let mut env = objstore_env::real::env(runtime.handle().clone())
        .map_err(|error| Failure::refuse("read", "the system's random device", error))?;
    env.failpoints = failpoints::from_environment()?;
    let places = places.detach_dead()?;
    let supervisor = Arc::new(Supervisor::from_environment());
    supervisor.watch(&env);
    let watching = Watching::start(&env, options.audit.as_ref())?;
    let opened = opening::open(&env, &options.store, &layout, plan).await?;
    if presence == Presence::Background {
        log.switch_to_file(&layout.log())
            .map_err(|error| Failure::refuse("write log", layout.log().display(), error))?;
    }
    let privileged_port = options.nfs.as_ref().is_some_and(|nfs| nfs.privileged_port);
    let hangup = hangup(&options);
    let (stops, stop_requests) = mpsc::channel(4);
    let service = Arc::new(Service {
        started: env.clock.monotonic(),
        env: env.clone(),
        layout,
        store: opened.store.clone(),
        settings: opened.settings,
        engine: Arc::clone(&opened.engine),
        pool: Arc::clone(&opened.pool),
        shares: Arc::new(ShareTable::open(&env, &opened.engine, privileged_port).await?),
        mounted: Mutex::default(),
        nfs: Mutex::default(),
        admin: Mutex::default(),
        watching,
        running: Mutex::new(options),
        reloading: tokio::sync::Mutex::new(()),
        log_filter: filter,
        supervisor,
        stops,
        answered: Notify::new(),
    });
    service.pool.start();
    service.engine.start();
    control::serve(&env, service.layout.control(), Arc::clone(&service) as Arc<dyn control::Control>)?;
    let mounts = match service.open_doors(places, runtime).await {
        Ok(mounts) => mounts,
        Err(failure) => {
            service.engine.stop().await?;
            return Err(failure);
        }
    };
    let created = opened.unfinished.is_some();
    if let Some(unfinished) = opened.unfinished {
        unfinished.finish(&service.layout)?;
    }
    let report = service.serving_report(created, presence).await?;
    tracing::info!(mounts = ?report.mounts, data = %report.data.display(), "serving");
    show(presence, report);
    service.supervisor.tell(Moment::Ready, &service.summary());
    let ended = ending::until_ended(&service, mounts, stop_requests, signals::watch(&env, hangup)).await;
    drop(opened.lock);
    ended
}

fn show(presence: Presence, report: ServingReport) {
    match presence {
        Presence::Background => background::announce(&Announcement::Serving(Box::new(report))),
        Presence::Foreground { json } => output::report(&report, json, || board::text(&report)),
    }
}

impl Service {
    pub(crate) fn code(&self) -> Result<Code, Failure> {
        self.store.code()
    }

    /// One line for a service manager.
    fn summary(&self) -> String {
        let (mounts, shares) = (self.mounted.lock().len(), self.shares.paths().len());
        match self.nfs.lock().as_ref().and_then(|door| door.addresses().first()) {
            Some(address) => format!("serving {mounts} mounts, and {shares} shares over NFS at {address}"),
            None => format!("serving {mounts} mounts"),
        }
    }

    /// Local copies of what the pool has: segments that went up and are still here, and what came back. Together they
    /// keep to `Settings::cache_bytes_max`.
    pub(crate) fn cache_bytes(&self, upload: &WriteBackStatus) -> u64 {
        upload.local_bytes.saturating_sub(upload.dirty_bytes) + self.engine.read_cache_stats().disk_bytes
    }

    /// What `df` says of the mount; where the pool cannot say, what is known of its drives.
    async fn space(&self, pool: &PoolReport) -> StatFs {
        let asked = Vfs::statfs(&*self.engine, &Context::new(0, Credentials::root()), ROOT_INO).await;
        asked.unwrap_or_else(|error| {
            tracing::warn!(%error, "the space left is not known");
            StatFs { bytes_total: pool.capacity_bytes, bytes_free: pool.free_bytes, inodes_used: 0, inodes_free: 0 }
        })
    }

    async fn serving_report(&self, created: bool, presence: Presence) -> Result<ServingReport, Failure> {
        let pool = self.pool_report().await?;
        let status = self.engine.write_back().status();
        let space = self.space(&pool).await;
        let mounts = self.mounted.lock().clone();
        Ok(ServingReport {
            pid: std::process::id(),
            created,
            data: self.layout.data.clone(),
            mountpoint: mounts.first().cloned(),
            mounts,
            nfs: self.nfs_report(),
            admin: self.admin_report(),
            store_uuid: self.store.store_uuid.to_string(),
            code: self.store.code.clone(),
            drives: self.store.drives.iter().map(|drive| self.layout.drive(drive)).collect(),
            survives: pool.survives.clone(),
            compression: format!("{:?}", self.settings.compression).to_lowercase(),
            capacity_bytes: space.bytes_total,
            free_bytes: space.bytes_free,
            cache_bytes: self.cache_bytes(&status),
            cache_bytes_max: self.settings.cache_bytes_max,
            dirty_bytes: status.dirty_bytes,
            dirty_bytes_max: self.settings.dirty_bytes_max,
            log: (presence == Presence::Background).then(|| self.layout.log().join("tidegate.log")),
            health: pool.health,
        })
    }
}
