//! The service: one store, open, mounted, until somebody ends it.
//!
//! Order of the start: everything is checked, the store is locked, drives and index are opened (a new store is made),
//! the engine runs, the control socket answers, the directory is mounted, and only then a new store gets the file that
//! makes it one. Order of the end: what is dirty goes to the pool while the mount still serves, the mount goes, what
//! came in between follows, the workers stop, the journal and the index are closed.

mod answers;
mod ending;
mod opening;
mod waiting;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_writeback::WriteBackStatus;
use fs_api::{Context, Credentials, StatFs, Vfs};
use fs_engine::Engine;
use gateway_fuse::MountPoint;
use objstore_env::Env;
use objstore_pool::Pool;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc};

use crate::background::{self, Announcement};
use crate::cli::MountArgs;
use crate::control::{self, Stop};
use crate::exit::{Exit, Failure};
use crate::log::LogTarget;
use crate::reports::{MountReport, PoolReport};
use crate::settings::Settings;
use crate::store::{self, Layout, Plan, StoreFile};
use crate::units::Code;

use crate::{board, failpoints, output, resources, signals};
pub(crate) use opening::{Locks, open_pool};

/// Threads that run tasks. Session threads answer most requests themselves; these carry waits and background work.
const WORKER_THREADS_MIN: usize = 2;
/// Threads for blocking work: each drive has a bound of its own, a stuck one must not starve the rest.
const BLOCKING_THREADS_MAX: usize = 256;
/// What is left of blocking work when the service ends is waited for this long.
const RUNTIME_END: Duration = Duration::from_secs(2);

/// Everything that answers questions about the store.
pub(crate) struct Service {
    pub(crate) env: Env,
    pub(crate) layout: Layout,
    pub(crate) store: StoreFile,
    pub(crate) settings: Settings,
    pub(crate) engine: Arc<Engine>,
    pub(crate) pool: Arc<Pool>,
    pub(crate) mountpoint: PathBuf,
    pub(crate) started: Duration,
    stops: mpsc::Sender<Stop>,
    /// Woken when whoever asked for the end was answered.
    answered: Notify,
}

/// Runs the mount that `args` ask for in this process until it ends.
pub(crate) fn run(args: &MountArgs, json: bool) -> Result<Exit, Failure> {
    let log = LogTarget::start(args.in_background);
    if args.in_background {
        background::detach();
    }
    let result = prepare_and_serve(args, json, &log);
    if let Err(failure) = &result
        && args.in_background
    {
        // After the first announcement this one goes nowhere, and the log has it.
        tracing::error!(message = failure.message, "the service ended");
        background::announce(&Announcement::Failed { exit: failure.exit, message: failure.message.clone() });
    }
    result.map(|()| Exit::Ok)
}

fn prepare_and_serve(args: &MountArgs, json: bool, log: &LogTarget) -> Result<(), Failure> {
    let layout = Layout::new(store::data_folder(args.data.as_deref())?);
    store::require_utf8(&args.mountpoint, "mount point")?;
    gateway_fuse::check_device()?;
    let point = MountPoint::check(&args.mountpoint)?;
    let plan = store::plan(args, &layout, point.path())?;
    resources::raise_open_files();
    signals::block()?;
    let runtime = runtime()?;
    let result = runtime.block_on(serve(args, json, log, layout, point, plan, &runtime));
    runtime.shutdown_timeout(RUNTIME_END);
    result
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

async fn serve(
    args: &MountArgs,
    json: bool,
    log: &LogTarget,
    layout: Layout,
    point: MountPoint,
    plan: Plan,
    runtime: &Runtime,
) -> Result<(), Failure> {
    let mut env = objstore_env::real::env(runtime.handle().clone())
        .map_err(|error| Failure::refuse("read", "the system's random device", error))?;
    env.failpoints = failpoints::from_environment()?;
    let point = gateway_fuse::detach_dead(point)?;
    let opened = opening::open(&env, args, &layout, plan).await?;
    if args.in_background {
        log.switch_to_file(&layout.log())
            .map_err(|error| Failure::refuse("write log", layout.log().display(), error))?;
    }
    let (stops, stop_requests) = mpsc::channel(4);
    let service = Arc::new(Service {
        started: env.clock.monotonic(),
        env: env.clone(),
        layout,
        store: opened.store.clone(),
        settings: opened.settings,
        engine: Arc::clone(&opened.engine),
        pool: Arc::clone(&opened.pool),
        mountpoint: point.path().to_path_buf(),
        stops,
        answered: Notify::new(),
    });
    service.pool.start();
    service.engine.start();
    control::serve(&env, service.layout.control(), Arc::clone(&service) as Arc<dyn control::Control>)?;
    let options = gateway_fuse::MountOptions::new(&service.layout.data);
    let vfs = Arc::clone(&service.engine) as Arc<dyn Vfs>;
    let mount = gateway_fuse::mount(vfs, &env, runtime.handle().clone(), &point, options);
    let mount = match mount {
        Ok(mount) => mount,
        Err(error) => {
            service.engine.stop().await?;
            return Err(error.into());
        }
    };
    let created = opened.unfinished.is_some();
    if let Some(unfinished) = opened.unfinished {
        unfinished.finish(&service.layout)?;
    }
    let report = service.mount_report(created, args.in_background).await?;
    tracing::info!(mountpoint = %report.mountpoint.display(), data = %report.data.display(), "serving");
    show(args, json, report);
    let ended = ending::until_ended(&service, mount, stop_requests, signals::watch(&env)).await;
    drop(opened.lock);
    ended
}

fn show(args: &MountArgs, json: bool, report: MountReport) {
    if args.in_background {
        background::announce(&Announcement::Serving(Box::new(report)));
    } else {
        output::report(&report, json, || board::text(&report));
    }
}

impl Service {
    pub(crate) fn code(&self) -> Result<Code, Failure> {
        self.store.code()
    }

    /// Local copies of what the pool has: segments that went up and are still here, and what came back. Together they
    /// keep to `Settings::cache_bytes_max`.
    pub(crate) fn cache_bytes(&self, upload: &WriteBackStatus) -> u64 {
        upload.local_bytes.saturating_sub(upload.dirty_bytes) + self.engine.read_cache_stats().disk_bytes
    }

    /// What `df` says of the mount; where the pool cannot say, what is known of its drives.
    async fn space(&self, pool: &PoolReport) -> StatFs {
        let asked = Vfs::statfs(&*self.engine, &Context::new(0, Credentials::root())).await;
        asked.unwrap_or_else(|error| {
            tracing::warn!(%error, "the space left is not known");
            StatFs { bytes_total: pool.capacity_bytes, bytes_free: pool.free_bytes, inodes_used: 0, inodes_free: 0 }
        })
    }

    async fn mount_report(&self, created: bool, background: bool) -> Result<MountReport, Failure> {
        let pool = self.pool_report().await?;
        let status = self.engine.write_back().status();
        let space = self.space(&pool).await;
        Ok(MountReport {
            pid: std::process::id(),
            created,
            data: self.layout.data.clone(),
            mountpoint: self.mountpoint.clone(),
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
            log: background.then(|| self.layout.log().join("tidegate.log")),
            health: pool.health,
        })
    }
}
