//! The program from start to end.

use std::{
    io::Write as _,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::Context as _;
use cloudtaser_k8s::Config;
use cloudtaser_relay::broker::{Broker, Desk, Limits};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tracing::{info, warn};

use crate::{
    admin::{self, Admin},
    cluster::Cluster,
    election::Leading,
    enrolment::Enrolment,
    keeper::Keeper,
    log,
    metrics::Metrics,
    options::Options,
    registry::Registry,
    serve::Port,
    serving::Serving,
    stop::Stop,
    watch::Watch,
    webhook::{self, Webhook},
};

/// Runs until it is told to stop.
///
/// # Errors
/// Where the configuration cannot be used, or something cannot be had at the start.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let config = options.read()?;
    if options.check_config {
        return std::io::stdout().write_all(b"the configuration is good\n").context("no output");
    }
    log::start();
    if config.servers.is_empty() {
        warn!("no [[server]] is configured: every opted-in pod is refused");
    }
    let serving = Arc::new(Serving::default());
    let metrics = Arc::new(Metrics::new());
    let stop = Stop::default();
    let leading = Leading::default();
    let keeper = Keeper::new(options, Arc::clone(&serving), Arc::clone(&metrics), leading.clone())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let desk = config.bridge.as_ref().map(|_| Arc::new(Desk::default()));
    let enrolling = match &desk {
        Some(desk) => {
            let shared = (leading, Arc::clone(&metrics), Arc::clone(desk));
            Some(enrol(options, &config, runtime.handle(), shared, &stop)?)
        }
        None => None,
    };
    let watching = if config.pods.watch {
        let watch = Watch::new(Cluster::connect(options)?, config.clone(), Arc::clone(&metrics));
        let stop = stop.clone();
        let thread = thread::Builder::new().name("watch".to_owned());
        Some(thread.spawn(move || watch.run(&stop)).context("cannot start a thread")?)
    } else {
        None
    };
    let registry = Arc::new(Registry::new(config.registry.clone(), Cluster::connect(options)?)?);
    let webhook = Arc::new(Webhook { config, metrics: Arc::clone(&metrics), registry });
    let keeping = {
        let stop = stop.clone();
        thread::Builder::new().name("keeper".to_owned()).spawn(move || keeper.run(&stop))
    };
    let keeping = keeping.context("cannot start a thread")?;
    let served = runtime.block_on(serve(options, webhook, &serving, desk));
    stop.raise();
    for thread in [Some(keeping), watching, enrolling].into_iter().flatten() {
        let _panicked = thread.join();
    }
    served
}

/// Starts what looks after the enrolment.
fn enrol(
    options: &Options,
    config: &Config,
    runtime: &tokio::runtime::Handle,
    shared: (Leading, Arc<Metrics>, Arc<Desk>),
    stop: &Stop,
) -> anyhow::Result<JoinHandle<()>> {
    let key = config.bridge.as_ref().context("there is no bridge")?.key.parse()?;
    let enrolment = Enrolment::new(options, key, runtime.clone(), shared)?;
    let stop = stop.clone();
    let thread = thread::Builder::new().name("enrolment".to_owned());
    thread.spawn(move || enrolment.run(&stop)).context("cannot start a thread")
}

async fn serve(
    options: &Options,
    webhook: Arc<Webhook>,
    serving: &Arc<Serving>,
    desk: Option<Arc<Desk>>,
) -> anyhow::Result<()> {
    let metrics = Arc::clone(&webhook.metrics);
    let hear = |kind| signal(kind).context("cannot hear signals");
    let (mut terminate, mut interrupt) =
        (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let tls = cloudtaser_tls::issue::server_config(Arc::clone(serving) as Arc<_>)?;
    let reviews = Port::bind(options.listen, Some(tls)).await;
    let reviews = reviews.with_context(|| format!("cannot listen on {}", options.listen))?;
    let admin = Port::bind(options.metrics, None).await;
    let admin = admin.with_context(|| format!("cannot listen on {}", options.metrics))?;
    let broker = match desk {
        Some(desk) => {
            // Wrappers keep their sessions: what is not at its end then comes back by another replica.
            let limits = Limits { drain: options.drain.0.saturating_mul(2), ..Limits::default() };
            let bound = Broker::bind(desk, options.broker, None, limits).await;
            Some(bound.with_context(|| format!("cannot listen on {}", options.broker))?)
        }
        None => None,
    };
    let carries = broker.as_ref().map(|broker| broker.address().map(|at| at.to_string()));
    info!(
        reviews = %reviews.address()?, metrics = %admin.address()?, broker = carries.transpose()?,
        "the operator listens"
    );
    let (stop, stopped) = watch::channel(false);
    let view = Admin {
        metrics: Arc::clone(&metrics),
        serving: Arc::clone(serving),
        broker: broker.as_ref().map(Broker::counts),
    };
    let both = async {
        let reviews =
            reviews.serve(webhook::routes(webhook), Arc::clone(&metrics), stopped.clone());
        let admin = admin.serve(admin::routes(view), Arc::clone(&metrics), stopped.clone());
        let mut told = stopped.clone();
        let carrying = async {
            if let Some(broker) = broker {
                let told = async { drop(told.wait_for(|stop| *stop).await) };
                broker.serve(told).await;
            }
        };
        tokio::join!(reviews, admin, carrying)
    };
    let ending = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // The service goes on sending reviews for as long as it does not know.
        serving.set_stopping();
        info!("stopping");
        sleep(options.drain.0).await;
        stop.send_replace(true)
    };
    let _ended = tokio::join!(both, ending);
    Ok(())
}
