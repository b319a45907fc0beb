//! Answers the API's requests.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock, mpsc::Sender},
};

use hornero_api::{
    EndpointId,
    message::{
        ApplyRequest, CancelRequest, CancelRunRequest, ControlStatus, DownRequest, Intent, Nothing,
        OperationLine, PlanRequest, RecycleRequest, ResumeReport, ResumeRequest, RollbackRequest,
        RunRequest, RunSource, RunStatus, StatusReport, SteerRequest, SupportReport, TestReport,
        TestRequest, TestResult, VerifyRequest,
    },
};
use hornero_driver::{Driver, Observation, Request as Job, RequestId, RequestKind};
use hornero_engine_port::Engine;
use hornero_ledger::Ledger;
use hornero_model::{
    Actor, Depth, Digest, HostState, InstanceId, Receipt, ReleaseNumber, RolloutId, ServiceName,
    ServiceSpec, Steer, Timestamp,
};
use hornero_net::HomeNetwork;
use hornero_rollout::{
    Declared, OpenRun, TestOutcome, TestRun, World, check_belonging, last_proven,
};
use hornero_store::{Lease, Store};
use hyper::{Request, StatusCode, body::Incoming};
use tokio::sync::oneshot;

use crate::{
    Input, Tested, belonging, cancel,
    churn::{self, Resume},
    image_tests,
    logs::{self, LAST_LINES_MAX, LogWish},
    offline::audit_report,
    operations::{Held, Operations},
    ports::{Adapters, chain, new_tail},
    provenance::Denied,
    report,
    runs::{self, Begun, Runs, Source},
    server::{Answer, Caller, Handler, Refusal, body, json, stream, whole},
    start::Starter,
    succession::EdgeNews,
    verify,
    witness::Witness,
};

/// Everything that requests are answered from.
pub struct Api {
    /// To the thread that owns the driver.
    pub inputs: Sender<Input>,
    /// What clients follow.
    pub operations: Arc<Operations>,
    /// Every receipt, oldest first.
    pub receipts: Arc<RwLock<Vec<Receipt>>>,
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The engine, for logs and for what this host can't do.
    pub engine: Arc<dyn Engine>,
    /// What starts servers, for tests of images.
    pub adapters: Arc<Adapters>,
    /// One-off work.
    pub runs: Arc<Runs>,
    /// The network, for the services' addresses.
    pub network: HomeNetwork,
    /// What is known of the edge beyond what it counts.
    pub edge: Arc<EdgeNews>,
    /// When this process started.
    pub started: Timestamp,
    /// What gets the ledger's heads.
    pub witness: Option<Arc<Witness>>,
}

/// Whether what a service's servers are made from is not in the store.
fn is_gone(store: &Store, spec: &ServiceSpec) -> bool {
    !store.has_image(&spec.image)
        || spec.configuration.is_some_and(|configuration| !store.has_image(&configuration))
}

impl Handler for Api {
    async fn handle(self: Arc<Self>, caller: Caller, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let Some((endpoint, values)) = hornero_api::matched(method.as_str(), &path) else {
            return Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "no_such_endpoint",
                format!("no endpoint `{method} {path}`"),
            )
            .hint("GET /v1/openapi.json lists all"));
        };
        match endpoint.id {
            EndpointId::Status => self.status().await,
            EndpointId::Apply => self.apply(caller, body(request).await?).await,
            EndpointId::Plan => {
                let wanted: PlanRequest = body(request).await?;
                let report = self
                    .ask(move |driver| {
                        report::plan(&wanted, driver.world(), driver.facts(), driver.churn())
                    })
                    .await?;
                json(&report)
            }
            EndpointId::Test => self.test(caller, body(request).await?).await,
            EndpointId::Rollback => {
                let RollbackRequest { service, to, intent } = body(request).await?;
                let lease = self.lease().await?;
                let target = self.target(service.clone(), to).await?;
                self.accept(target, Starter::accept_again).await?;
                let held = Held::new(lease, std::iter::once(&service));
                self.begin(caller, intent, RequestKind::Rollback { service, to }, Some(held))
            }
            EndpointId::Down => {
                let DownRequest { services, force, intent } = body(request).await?;
                match (force, services.as_deref()) {
                    (false, _) => self.down(caller, intent, services).await,
                    (true, Some([service])) => self.end(caller, intent, service.clone()).await,
                    (true, _) => Err(Refusal::new(
                        StatusCode::BAD_REQUEST,
                        "not_one_service",
                        "only one service at a time is taken down by force".to_owned(),
                    )),
                }
            }
            EndpointId::Recycle => {
                let RecycleRequest { object, intent } = body(request).await?;
                let named = object.clone();
                let found = self.ask(move |driver| recycled(driver.world(), &named)).await?;
                let Some((kind, spec)) = found else { return Err(not_found("server", &object)) };
                self.accept(vec![spec], Starter::accept_again).await?;
                // What runs is all that it touches.
                self.begin(caller, intent, kind, None)
            }
            EndpointId::Cancel => {
                let CancelRequest { service, intent } = body(request).await?;
                let under_way = self.ask(Driver::cancellable).await?;
                let service = cancel::chosen(service, &under_way, "cancel")?;
                self.begin(caller, intent, RequestKind::Cancel { service }, None)
            }
            EndpointId::Resume => self.resume(caller, body(request).await?).await,
            EndpointId::Steer => {
                let SteerRequest { service, steer, intent } = body(request).await?;
                let under_way = self.ask(Driver::steerable).await?;
                let command = format!("rollout {}", word(steer));
                let service = cancel::chosen(service, &under_way, &command)?;
                self.begin(caller, intent, RequestKind::Steer { service, steer }, None)
            }
            EndpointId::Run => self.run(caller, body(request).await?).await,
            EndpointId::RunOutput => {
                let from = parameter(&query, "from").unwrap_or("0").parse().map_err(|_| {
                    let text = "`from` is no number";
                    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
                })?;
                let watched = self.runs.watched(values[0]);
                let watched = watched.ok_or_else(|| not_found("run", values[0]))?;
                let id = InstanceId::new(values[0]).map_err(|_| not_found("run", values[0]))?;
                runs::output(Arc::clone(&self.engine), id, watched, from)
            }
            EndpointId::RunCancel => {
                let CancelRunRequest { intent } = body(request).await?;
                let watched = self.runs.watched(values[0]);
                let watched = watched.ok_or_else(|| not_found("run", values[0]))?;
                watched.cancel(asked(caller, intent, "cancel"));
                json(&Nothing {})
            }
            EndpointId::Operation => {
                let number = values[0]
                    .parse()
                    .ok()
                    .filter(|number| self.operations.read(*number, 0).is_some());
                let number = number.ok_or_else(|| not_found("operation", values[0]))?;
                self.follow(number)
            }
            EndpointId::History => self.history(values[0]).await,
            EndpointId::Receipts => {
                let service = parameter(&query, "service");
                let receipts = self.receipts.read().unwrap_or_else(PoisonError::into_inner);
                let found: Vec<&Receipt> = receipts
                    .iter()
                    .rev()
                    .filter(|receipt| report::concerns(receipt, service))
                    .collect();
                json(&found)
            }
            EndpointId::Receipt => {
                let id = values[0]
                    .parse()
                    .map(RolloutId)
                    .map_err(|_| not_found("receipt", values[0]))?;
                let receipts = self.receipts.read().unwrap_or_else(PoisonError::into_inner);
                let receipt = receipts.iter().rev().find(|receipt| receipt.body.id == id);
                json(receipt.ok_or_else(|| not_found("receipt", values[0]))?)
            }
            EndpointId::Audit => self.audit(parameter(&query, "from")),
            EndpointId::AuditVerify => {
                whole(request).await?;
                let ledger = Arc::clone(&self.ledger);
                let verdict = tokio::task::spawn_blocking(move || ledger.verify())
                    .await
                    .map_err(Refusal::internal)?;
                json(&audit_report(verdict.map_err(Refusal::internal)?))
            }
            EndpointId::Verify => {
                let wanted: VerifyRequest = body(request).await?;
                self.verify(wanted).await
            }
            EndpointId::Logs => {
                let wish = log_wish(&query)?;
                logs::answer(Arc::clone(&self.ledger), Arc::clone(&self.engine), values[0], wish)
                    .await
            }
            EndpointId::OpenApi => json(&hornero_api::document()),
            EndpointId::Shutdown => {
                whole(request).await?;
                self.inputs.send(Input::Shutdown).map_err(Refusal::internal)?;
                json(&Nothing {})
            }
        }
    }
}

/// The value of a query parameter; what Hornero's own values need of percent-decoding is nothing but `:` and `+`.
fn parameter<'q>(query: &'q str, name: &str) -> Option<&'q str> {
    query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// Which lines of a log are asked for.
fn log_wish(query: &str) -> Result<LogWish, Refusal> {
    let bad = |text| Refusal::new(StatusCode::BAD_REQUEST, "bad_request", text);
    let since = parameter(query, "since").map(|text| {
        let time = serde_json::from_value(text.into());
        time.map_err(|_| bad(format!("`{text}` is no RFC 3339 time")))
    });
    let last = parameter(query, "last").map(|text| {
        let number = text.parse().ok().filter(|number| *number <= LAST_LINES_MAX);
        number.ok_or_else(|| bad(format!("`{text}` is no number up to {LAST_LINES_MAX}")))
    });
    let follow = parameter(query, "follow") == Some("true");
    Ok(LogWish { since: since.transpose()?, last: last.transpose()?, follow })
}

/// The command's word for what is done to a rollout.
const fn word(steer: Steer) -> &'static str {
    match steer {
        Steer::Pause => "pause",
        Steer::Resume => "resume",
        Steer::Promote | Steer::PromoteFully => "promote",
        Steer::Abort => "abort",
    }
}

/// Who asks, and why; `word` where no reason is given.
fn asked(caller: Caller, intent: Intent, word: &str) -> Actor {
    let why = if intent.why.is_empty() { word.to_owned() } else { intent.why };
    Actor { who: caller.user, why, commit: intent.commit }
}

fn not_found(kind: &str, name: &str) -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, &format!("no_such_{kind}"), format!("no {kind} `{name}`"))
}

/// What is recycled where `object` is a service or an instance that serves, and what it is made from.
fn recycled(world: &World, object: &str) -> Option<(RequestKind, ServiceSpec)> {
    let instance = InstanceId::new(object).ok().filter(|id| world.instances.contains_key(id));
    let service = match &instance {
        Some(id) => world.instances[id].service.clone(),
        None => ServiceName::new(object).ok()?,
    };
    let set = world.services.get(&service)?.serving.as_ref()?;
    if instance.as_ref().is_some_and(|id| !set.instances.contains(id)) {
        return None;
    }
    let spec = world.release(&service, set.release)?.spec.clone();
    Some((RequestKind::Recycle { service, instance }, spec))
}

/// The results of tests that the image declares: what else failed says nothing of them, and would never be mended.
fn declared(starter: &Starter, image: Digest, run: &TestRun) -> Vec<TestOutcome> {
    let tests = starter.tests_of(&image).unwrap_or_default();
    let is_declared = |one: &&TestOutcome| tests.iter().any(|test| test.name == one.test);
    run.results.iter().filter(is_declared).cloned().collect()
}

impl Api {
    /// Asks the thread that owns the driver.
    async fn ask<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Driver) -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let (sender, receiver) = oneshot::channel();
        let question = Box::new(move |driver: &Driver| {
            // A client that went away needs no answer.
            let _ = sender.send(look(driver));
        });
        self.inputs.send(Input::Ask(question)).map_err(Refusal::internal)?;
        receiver.await.map_err(|_| Refusal::internal("the control process is ending"))
    }

    async fn status(&self) -> Answer {
        let network = self.network.clone();
        let internal = tokio::task::spawn_blocking(move || network.service_addresses()).await;
        let internal = internal.map_err(Refusal::internal)?.unwrap_or_default();
        let internal =
            internal.into_iter().map(|(name, address)| (name, IpAddr::from(address))).collect();
        let (engine, of_instances) = (Arc::clone(&self.engine), Arc::clone(&self.engine));
        let support = tokio::task::spawn_blocking(move || engine.support()).await;
        let support = support.map_err(Refusal::internal)?.into_iter();
        let limits = support
            .filter(|feature| feature.state != HostState::Pass)
            .map(|feature| SupportReport {
                feature: feature.name,
                reason: feature.reason,
                cost: feature.cost,
                remedy: feature.remedy,
            })
            .collect();
        let started = self.started;
        let journal_fault = self.operations.journal_fault();
        let witness = self.witness.as_ref().map(|witness| witness.status());
        let edge = Arc::clone(&self.edge);
        let report = self
            .ask(move |driver| StatusReport {
                services: report::services(driver, &internal, &*of_instances),
                routes: report::routes(driver, &internal),
                control: ControlStatus {
                    pid: std::process::id(),
                    version: hornero_model::program_version().to_owned(),
                    started,
                    journal_fault,
                    witness,
                    absent: false,
                },
                edge: report::edge(driver).map(|report| edge.complete(report)),
                limits,
                runs: driver.world().runs.values().map(runs::status).collect(),
            })
            .await?;
        json(&report)
    }

    /// Runs an image's tests now, and records how they went; a client that goes away ends neither.
    async fn test(&self, caller: Caller, TestRequest { service }: TestRequest) -> Answer {
        let adapters = Arc::clone(&self.adapters);
        let lease = self.lease().await?;
        let inputs = self.inputs.clone();
        let ran = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            let (starter, runtime) = (&adapters.starter, &adapters.runtime);
            let run = image_tests::run(starter, runtime, service.image, &service, &new_tail());
            let (recorded, answer) = std::sync::mpsc::channel();
            let tested = Tested {
                by: Actor {
                    who: caller.user,
                    why: "its tests were asked for".to_owned(),
                    commit: None,
                },
                image: service.image,
                results: declared(starter, service.image, &run),
                recorded,
            };
            inputs.send(Input::Tested(tested)).map_err(Refusal::internal)?;
            match answer.recv() {
                Ok(Ok(())) => Ok(run),
                Ok(Err(error)) => Err(Refusal::internal(chain(&error))),
                Err(_) => Err(Refusal::internal("the control process is ending")),
            }
        });
        let ran = ran.await.map_err(Refusal::internal)??;
        let tests = ran.results.into_iter();
        let tests = tests
            .map(|one| TestResult { name: one.test, passed: one.passed, detail: one.detail })
            .collect();
        json(&TestReport { tests, log_tail: ran.log_tail })
    }

    /// Compares what runs with its images.
    async fn verify(&self, wanted: VerifyRequest) -> Answer {
        let VerifyRequest { service, full } = wanted;
        let (only, others) = (service.clone(), service.is_none());
        let known = move |driver: &Driver| {
            let services = driver.world().services.values();
            let asked = services.filter(|one| match &only {
                Some(only) => one.name == *only,
                None => !one.removed,
            });
            asked.map(|service| service.name.clone()).collect::<Vec<_>>()
        };
        let services = self.ask(known).await?;
        if let (Some(name), true) = (&service, services.is_empty()) {
            return Err(not_found("service", name.as_str()));
        }
        let engine = Arc::clone(&self.engine);
        let depth = if full { Depth::Full } else { Depth::Fast };
        let report = tokio::task::spawn_blocking(move || {
            let asked = verify::Asked { services: &services, others };
            verify::run(&*engine, asked, depth)
        });
        let report = report.await.map_err(Refusal::internal)?;
        json(&report.map_err(|error| Refusal::internal(format!("{error:#}")))?)
    }

    async fn apply(&self, caller: Caller, wanted: ApplyRequest) -> Answer {
        let ApplyRequest { services, directory, adopt, remove, planned, retry_failed, intent } =
            wanted;
        let lease = self.lease().await?;
        let declared = directory.map(|directory| Declared {
            directory,
            adopt: adopt.into_iter().collect(),
            remove: remove.into_iter().collect(),
            planned,
        });
        // Said before anything is begun; the driver looks again when its turn comes.
        if let Some(declared) = declared.clone() {
            let services = services.clone();
            let checked =
                self.ask(move |driver| check_belonging(driver.world(), &declared, &services));
            checked.await?.map_err(|error| belonging::refusal(&error))?;
        }
        self.accept(services.clone(), Starter::accept).await?;
        let held = Held::new(lease, services.iter().map(|service| &service.name));
        let kind = match declared {
            Some(declared) => RequestKind::Bring { declared: Box::new(declared), services },
            None => RequestKind::Apply { services },
        };
        self.begin_again(caller, intent, kind, Some(held), retry_failed)
    }

    /// Begins one-off work.
    async fn run(&self, caller: Caller, wanted: RunRequest) -> Answer {
        let RunRequest { source, command, timeout, intent } = wanted;
        if command.is_empty() {
            let text = "a run has a command";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, "bad_request", text));
        }
        // Held until the ledger says that it needs its image.
        let lease = self.lease().await?;
        let source = match source {
            RunSource::Server(server) => {
                self.accept(vec![(*server).clone()], Starter::accept).await?;
                Source { release: None, server: *server }
            }
            RunSource::Release { service, number } => {
                let name = service.clone();
                let look = move |driver: &Driver| runs::source(driver.world(), &name, number);
                let source = self.ask(look).await?.ok_or_else(|| match number {
                    Some(number) => not_found("release", &format!("{service}@{number}")),
                    None => not_found("service", service.as_str()),
                })?;
                self.accept(vec![source.server.clone()], Starter::accept_again).await?;
                source
            }
        };
        let by = asked(caller, intent, "run");
        let run = source.run(command, timeout, &new_tail()).map_err(Refusal::internal)?;
        let (runs, server) = (Arc::clone(&self.runs), source.server);
        let (open, actor) = (run.clone(), by.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            runs.begin(actor, open, server)
        });
        match begun.await.map_err(Refusal::internal)? {
            Begun::Yes { since } => {
                let status: RunStatus = runs::status(&OpenRun { run, by, since });
                json(&status)
            }
            Begun::TooMany(open) => {
                let text = format!("{open} runs are under way, as many as may be at once");
                let refusal = Refusal::new(StatusCode::CONFLICT, "too_many_runs", text);
                Err(refusal.hint("`hornero status` lists them, `hornero cancel RUN` ends one"))
            }
            Begun::Not(error) => Err(Refusal::internal(chain(&error))),
        }
    }

    /// Ends one-off work of these services, or all of it, before they go down.
    async fn end_runs(&self, by: Actor, services: Option<Vec<ServiceName>>) -> Result<(), Refusal> {
        let runs = Arc::clone(&self.runs);
        let which = move |run: &hornero_model::Run| match &services {
            Some(services) => runs::by_name(run, services),
            None => true,
        };
        let ended = tokio::task::spawn_blocking(move || runs.end(&by, which));
        ended.await.map_err(Refusal::internal)
    }

    async fn history(&self, name: &str) -> Answer {
        let service: ServiceName = name.parse().map_err(|_| not_found("service", name))?;
        let found = self
            .ask(move |driver| driver.world().services.get(&service).map(report::history))
            .await?;
        json(&found.ok_or_else(|| not_found("service", name))?)
    }

    async fn down(
        &self,
        caller: Caller,
        intent: Intent,
        services: Option<Vec<ServiceName>>,
    ) -> Answer {
        let up: Vec<ServiceName> = self
            .ask(|driver| {
                let services = driver.world().services.values();
                let there = services.filter(|service| {
                    !service.removed || driver.world().rollout_of(&service.name).is_some()
                });
                there.map(|service| service.name.clone()).collect()
            })
            .await?;
        let by = Actor { who: caller.user.clone(), why: "down".to_owned(), commit: None };
        self.end_runs(by, services.clone()).await?;
        let asked = services.unwrap_or_else(|| up.clone());
        let services: Vec<ServiceName> =
            asked.into_iter().filter(|name| up.contains(name)).collect();
        // An empty list means every service to the driver; nothing to do is answered by an empty apply.
        let kind = match services.is_empty() {
            true => RequestKind::Apply { services: Vec::new() },
            false => RequestKind::Down { services },
        };
        // What runs is all that it touches, and that no collection takes.
        self.begin(caller, intent, kind, None)
    }

    /// Lets go on what a limit of churn stopped.
    async fn resume(&self, caller: Caller, wanted: ResumeRequest) -> Answer {
        let ResumeRequest { service, intent } = wanted;
        if let Some(name) = service.clone() {
            let (known, by_home) = self
                .ask(move |driver| {
                    let known = driver.world().services.contains_key(&name);
                    let shared =
                        driver.world().services.get(&name).and_then(|of| of.shared.as_ref());
                    let own = shared.is_some() || driver.churn().stopped_by(Some(&name)).is_some();
                    (known, !own && driver.churn().stopped_by(None).is_some())
                })
                .await?;
            if !known {
                return Err(not_found(
                    "service",
                    service.as_ref().map_or("", |name| name.as_str()),
                ));
            }
            if by_home {
                let text = "the limit of the whole home was reached, not one of this service";
                return Err(Refusal::new(StatusCode::CONFLICT, "home_stopped", text)
                    .hint("`hornero resume --reason …` without a service lets all go on"));
            }
        }
        let (resumed, answer) = std::sync::mpsc::channel();
        let by = Actor { who: caller.user, why: intent.why, commit: intent.commit };
        self.inputs
            .send(Input::Resume(Resume { by, service, resumed }))
            .map_err(Refusal::internal)?;
        let answer = tokio::task::spawn_blocking(move || answer.recv()).await;
        let stopped = match answer.map_err(Refusal::internal)? {
            Ok(outcome) => outcome.map_err(|error| Refusal::internal(chain(&error)))?,
            Err(_) => return Err(Refusal::internal("the control process is ending")),
        };
        json(&ResumeReport { resumed: stopped.iter().map(churn::resumed).collect() })
    }

    /// Takes one service down before everything else that waits.
    async fn end(&self, caller: Caller, intent: Intent, service: ServiceName) -> Answer {
        let name = service.clone();
        let known = self
            .ask(move |driver| driver.world().services.get(&name).is_some_and(|of| !of.removed))
            .await?;
        if !known {
            return Err(not_found("service", service.as_str()));
        }
        let by = Actor { who: caller.user.clone(), why: "down by force".to_owned(), commit: None };
        self.end_runs(by, Some(vec![service.clone()])).await?;
        self.begin(caller, intent, RequestKind::End { service }, None)
    }

    /// Holds collections off, waiting for one that is under way. Taken before anything is asked of an image, so that
    /// what was found whole stays so until the ledger says that it is needed. Clients hold leases of their own, which
    /// exclude only collections as well.
    async fn lease(&self) -> Result<Lease, Refusal> {
        let adapters = Arc::clone(&self.adapters);
        let lease = tokio::task::spawn_blocking(move || adapters.starter.store().lease());
        lease.await.map_err(Refusal::internal)?.map_err(|error| Refusal::internal(chain(&error)))
    }

    /// Refuses images that nobody who is trusted vouches for, before anything is done with them.
    async fn accept(
        &self,
        services: Vec<ServiceSpec>,
        check: fn(&Starter, &[ServiceSpec]) -> Result<(), Denied>,
    ) -> Result<(), Refusal> {
        let store = self.adapters.starter.store();
        if let Some(gone) = services.iter().find(|it| is_gone(store, it)) {
            let text = format!(
                "the image of `{}`, `{}`, or its configuration is no longer in this home",
                gone.name,
                gone.image.short()
            );
            let hint = format!(
                "`hornero history {}` lists other releases; `hornero up` bakes what is declared",
                gone.name
            );
            return Err(Refusal::new(StatusCode::CONFLICT, "image_gone", text).hint(hint));
        }
        let lost = |spec: &ServiceSpec| {
            let secret = self.adapters.starter.lost_secret(spec)?;
            Some((spec.name.clone(), secret.name.clone(), secret.version.clone()))
        };
        if let Some((service, name, version)) = services.iter().find_map(lost) {
            let text =
                format!("secret `{name}` of `{service}` has no version `{version}` any more");
            let hint =
                format!("`hornero up` takes the newest; `hornero secret set {name}` sets one");
            return Err(Refusal::new(StatusCode::CONFLICT, "secret_missing", text).hint(hint));
        }
        let adapters = Arc::clone(&self.adapters);
        let accepted = tokio::task::spawn_blocking(move || check(&adapters.starter, &services));
        accepted.await.map_err(Refusal::internal)?.map_err(|denied| {
            Refusal::new(StatusCode::CONFLICT, denied.code, denied.to_string()).hint(denied.hint)
        })
    }

    /// What a rollback leads back to; nothing where it can't begin, which the driver tells why.
    async fn target(
        &self,
        service: ServiceName,
        to: Option<ReleaseNumber>,
    ) -> Result<Vec<ServiceSpec>, Refusal> {
        self.ask(move |driver| {
            let world = driver.world();
            let to = to.or_else(|| last_proven(world, &service));
            let release = world.services.get(&service).zip(to);
            let release = release.and_then(|(service, to)| service.releases.get(&to));
            release.map(|release| release.spec.clone()).into_iter().collect()
        })
        .await
    }

    /// Hands a request to the driver and follows it; what is held is held whoever follows.
    fn begin(
        &self,
        caller: Caller,
        intent: Intent,
        kind: RequestKind,
        held: Option<Held>,
    ) -> Answer {
        self.begin_again(caller, intent, kind, held, false)
    }

    /// The same, where releases that failed may be tried again.
    fn begin_again(
        &self,
        caller: Caller,
        intent: Intent,
        kind: RequestKind,
        held: Option<Held>,
        retry_failed: bool,
    ) -> Answer {
        let why = match intent.why.is_empty() {
            false => intent.why,
            true => match &kind {
                RequestKind::Apply { .. } | RequestKind::Bring { .. } => "up".to_owned(),
                RequestKind::Rollback { .. } => "rollback".to_owned(),
                RequestKind::Down { .. } => "down".to_owned(),
                RequestKind::End { .. } => "down by force".to_owned(),
                RequestKind::Recycle { .. } => "recycle".to_owned(),
                RequestKind::Cancel { .. } => "cancel".to_owned(),
                RequestKind::Steer { steer, .. } => format!("rollout {}", word(*steer)),
            },
        };
        let number = self.operations.open(held);
        let by = Actor { who: caller.user, why, commit: intent.commit };
        let request = Job { id: RequestId(number), by, kind, retry_failed };
        self.inputs
            .send(Input::Observe(Observation::Request(request)))
            .map_err(Refusal::internal)?;
        self.follow(number)
    }

    /// Streams an operation's lines to their end; the operation does not care who reads.
    fn follow(&self, number: u64) -> Answer {
        let operations = Arc::clone(&self.operations);
        let (lines, answer) = stream();
        tokio::spawn(async move {
            let mut sent = 0;
            while let Some((new, mut changed)) = operations.read(number, sent) {
                let count = new.len();
                for line in new {
                    let last = matches!(line, OperationLine::Finished { .. });
                    if !lines.send(&line).await || last {
                        return;
                    }
                }
                sent += count;
                // Lines that came since the read are seen here: the receiver compares, it does not count.
                if *changed.borrow_and_update() > sent {
                    continue;
                }
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    () = lines.closed() => return,
                }
            }
        });
        answer
    }

    fn audit(&self, from: Option<&str>) -> Answer {
        let from: u64 = from.unwrap_or("1").parse().map_err(|_| {
            Refusal::new(StatusCode::BAD_REQUEST, "bad_request", "`from` is no sequence number")
        })?;
        let ledger = Arc::clone(&self.ledger);
        let (lines, answer) = stream();
        tokio::task::spawn_blocking(move || {
            /// Events a read: few enough that a reader who goes away costs little.
            const PAGE: usize = 500;
            let mut next = from;
            loop {
                let events = match ledger.read(next, PAGE) {
                    Ok(events) => events,
                    Err(error) => {
                        return lines.fail_blocking("ledger", chain(&error));
                    }
                };
                let Some(last) = events.last() else { return };
                next = last.sequence + 1;
                if !events.iter().all(|event| lines.send_blocking(event)) {
                    return;
                }
            }
        });
        answer
    }
}
