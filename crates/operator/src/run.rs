//! The program from start to end.

use std::{io::Write as _, sync::Arc, thread};

use anyhow::Context as _;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};
use tracing::info;

use crate::{
    admin::{self, Admin},
    cluster::Cluster,
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
    let serving = Arc::new(Serving::default());
    let metrics = Arc::new(Metrics::new());
    let stop = Stop::default();
    let keeper = Keeper::new(options, Arc::clone(&serving), Arc::clone(&metrics))?;
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
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let served = runtime
        .context("cannot start the runtime")?
        .block_on(serve(options, webhook, &serving, &metrics));
    stop.raise();
    for thread in [Some(keeping), watching].into_iter().flatten() {
        let _panicked = thread.join();
    }
    served
}

async fn serve(
    options: &Options,
    webhook: Arc<Webhook>,
    serving: &Arc<Serving>,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<()> {
    let hear = |kind| signal(kind).context("cannot hear signals");
    let (mut terminate, mut interrupt) =
        (hear(SignalKind::terminate())?, hear(SignalKind::interrupt())?);
    let tls = cloudtaser_tls::issue::server_config(Arc::clone(serving) as Arc<_>)?;
    let reviews = Port::bind(options.listen, Some(tls)).await;
    let reviews = reviews.with_context(|| format!("cannot listen on {}", options.listen))?;
    let admin = Port::bind(options.metrics, None).await;
    let admin = admin.with_context(|| format!("cannot listen on {}", options.metrics))?;
    info!(reviews = %reviews.address()?, metrics = %admin.address()?, "the operator listens");
    let (stop, stopped) = watch::channel(false);
    let view = Admin { metrics: Arc::clone(metrics), serving: Arc::clone(serving) };
    let both = async {
        let reviews = reviews.serve(webhook::routes(webhook), Arc::clone(metrics), stopped.clone());
        let admin = admin.serve(admin::routes(view), Arc::clone(metrics), stopped.clone());
        tokio::join!(reviews, admin)
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
