//! Reviews: one question in, one answer out, and nothing kept.
//!
//! A body that is no review is an error of whoever sent it (4xx). Everything else is answered with
//! 200 and a verdict, since the API server shows the words of a verdict and not those of an error.

use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::post,
};
use cloudtaser_core::names::kubernetes as names;
use cloudtaser_k8s::{Config, Entrypoint, ImageRequest, Review, Verdict};
use tracing::{info, warn};

use crate::{
    log::chain,
    metrics::{self, Metrics},
    registry::Registry,
};

/// The API server takes no object above 3 MiB; a review has two of them.
const MAX_BODY_LEN: usize = 7 << 20;
/// How long a body may take to come in.
const BODY_TIME: Duration = Duration::from_secs(5);

/// What reviews are answered from.
#[derive(Debug)]
pub(crate) struct Webhook {
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) registry: Arc<Registry>,
}

/// What images start, as far as it was found out.
type Images = BTreeMap<ImageRequest, Result<Entrypoint, String>>;

/// The two questions.
#[derive(Clone, Copy, Debug)]
enum Path {
    Mutate,
    Validate,
}

impl Path {
    const fn label(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
        }
    }
}

/// The routes.
pub(crate) fn routes(webhook: Arc<Webhook>) -> Router {
    Router::new()
        .route(names::MUTATE_PATH, post(mutate))
        .route(names::VALIDATE_PATH, post(validate))
        .with_state(webhook)
}

async fn mutate(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    webhook.answer(Path::Mutate, request).await
}

async fn validate(State(webhook): State<Arc<Webhook>>, request: Request) -> Response {
    webhook.answer(Path::Validate, request).await
}

impl Webhook {
    async fn answer(&self, path: Path, request: Request) -> Response {
        let started = Instant::now();
        let answer = match self.read(request).await {
            Ok(review) => {
                let images = self.images(path, &review).await;
                Ok(self.judge(path, &review, &images))
            }
            Err(failed) => Err(failed),
        };
        let (outcome, response) = match answer {
            Ok(verdict) => {
                let outcome = match &verdict.outcome {
                    Ok(patch) if patch.is_empty() => "unchanged",
                    Ok(_) => "patched",
                    Err(refusal) => {
                        self.metrics
                            .refusals
                            .get_or_create(&metrics::Kind { kind: refusal.kind() })
                            .inc();
                        "refused"
                    }
                };
                let kind = [(header::CONTENT_TYPE, "application/json")];
                (outcome, (kind, verdict.to_json()).into_response())
            }
            Err(failed) => (failed.label, (failed.status, failed.text).into_response()),
        };
        let label = path.label();
        let seconds = started.elapsed().as_secs_f64();
        self.metrics.reviews.get_or_create(&metrics::Review { path: label, outcome }).inc();
        self.metrics.review_seconds.get_or_create(&metrics::Path { path: label }).observe(seconds);
        response
    }

    async fn read(&self, request: Request) -> Result<Review, Failed> {
        let kind = request.headers().get(header::CONTENT_TYPE);
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if !kind.starts_with("application/json") {
            return Err(Failed::media_type());
        }
        let body = tokio::time::timeout(BODY_TIME, body_of(request.into_body())).await;
        let body = body.map_err(|_late| Failed::late())??;
        Review::parse(&body).map_err(|error| {
            warn!(error = chain(&error), "a request is no review");
            Failed { status: StatusCode::BAD_REQUEST, label: "malformed", text: error.to_string() }
        })
    }

    /// Asks registries, for the containers of which only the image knows what they start.
    async fn images(&self, path: Path, review: &Review) -> Images {
        let unknown = match path {
            Path::Mutate => catch_unwind(AssertUnwindSafe(|| review.unknown_images(&self.config))),
            Path::Validate => return Images::new(),
        };
        // What is wrong with the pod is said by the verdict.
        let Ok(Ok(unknown)) = unknown else { return Images::new() };
        if unknown.is_empty() {
            return Images::new();
        }
        let images = self.registry.look_up(&review.namespace, unknown).await;
        for answer in images.values() {
            let outcome = if answer.is_ok() { "found" } else { "failed" };
            self.metrics.images.get_or_create(&metrics::Outcome { outcome }).inc();
        }
        images
    }

    /// SECURITY: a panic here would be a fault of ours that a pod can bring about; it ends one
    /// review, with a refusal, and no other.
    fn judge(&self, path: Path, review: &Review, images: &Images) -> Verdict {
        let judged = catch_unwind(AssertUnwindSafe(|| match path {
            Path::Mutate => review.mutate(&self.config, images),
            Path::Validate => review.validate(&self.config),
        }));
        let verdict = judged.unwrap_or_else(|_panic| {
            warn!("a review ended in a panic");
            review.refuse("the operator failed on this pod; its log has more")
        });
        if let Err(refusal) = &verdict.outcome {
            info!(namespace = review.namespace, kind = refusal.kind(), "a pod was refused");
        }
        verdict
    }
}

/// Why there is no verdict.
struct Failed {
    status: StatusCode,
    label: &'static str,
    text: String,
}

impl Failed {
    fn media_type() -> Self {
        let text = "application/json is expected".to_owned();
        Self { status: StatusCode::UNSUPPORTED_MEDIA_TYPE, label: "malformed", text }
    }

    fn late() -> Self {
        let text = "the body did not come in time".to_owned();
        Self { status: StatusCode::REQUEST_TIMEOUT, label: "late", text }
    }
}

async fn body_of(body: Body) -> Result<axum::body::Bytes, Failed> {
    to_bytes(body, MAX_BODY_LEN).await.map_err(|_too_much| Failed {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        label: "oversize",
        text: format!("a review is at most {MAX_BODY_LEN} bytes, and comes whole"),
    })
}
