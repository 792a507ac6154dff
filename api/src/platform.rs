//! Everything that the parts of the api share, and the one way in which records change.

use crate::control::Builder;
use crate::deploy::Deploys;
use crate::feeds::{Addressed, Feeds};
use crate::fleet::Fleet;
use crate::log::Log;
use crate::rates::Rates;
use crate::records::{App, BuildState, Change, Records, RecordsError, Want};
use crate::rendezvous::Waiting;
use crate::seal::Keyring;
use crate::tasks::Tasks;
use crate::turns::Turns;
use crate::vars::VarsError;
use crate::{ApiError, route};
use link::config::Config;
use link::stop::Stop;
use model::app;
use model::dyno;
use model::feed::{self, Item, Key};
use model::limits::LOG_READERS_MAX;
use std::sync::Arc;
use store::Store;
use tokio::sync::Semaphore;

/// The control plane.
#[derive(Debug)]
pub(crate) struct Platform {
    pub(crate) config: Config,
    pub(crate) records: Records,
    pub(crate) keyring: Keyring,
    pub(crate) fleet: Fleet,
    pub(crate) feeds: Feeds,
    pub(crate) turns: Turns,
    pub(crate) deploys: Deploys,
    pub(crate) builder: Builder,
    pub(crate) log: Log,
    pub(crate) waiting: Waiting,
    /// Places for those who read logs and outputs.
    pub(crate) readers: Arc<Semaphore>,
    pub(crate) rates: Rates,
    pub(crate) tasks: Tasks,
    pub(crate) stop: Stop,
    writer: Arc<tokio::sync::Mutex<()>>,
}

impl Platform {
    /// Opens the store and the key, and publishes what the records say.
    pub(crate) fn open(config: &Config, stop: Stop) -> Result<Arc<Self>, ApiError> {
        let keyring = Keyring::open(&config.data_dir)?;
        let folder = config.data_dir.join("store");
        match std::fs::create_dir(&folder) {
            Err(source) if source.kind() != std::io::ErrorKind::AlreadyExists => {
                return Err(ApiError::Folder {
                    path: folder,
                    source,
                });
            }
            _ => {}
        }
        let records = Records::new(Store::open(&folder.join("store.db"))?);
        records.sweep()?;
        let epoch = records.next_epoch()?;
        let platform = Arc::new(Self {
            fleet: Fleet::new(records.wants()?),
            feeds: Feeds::new(epoch),
            log: Log::new(&config.data_dir),
            config: config.clone(),
            records,
            keyring,
            turns: Turns::default(),
            deploys: Deploys::default(),
            builder: Builder::default(),
            waiting: Waiting::default(),
            readers: Arc::new(Semaphore::new(LOG_READERS_MAX)),
            rates: Rates::default(),
            tasks: Tasks::default(),
            stop,
            writer: Arc::default(),
        });
        for app in platform.records.apps()? {
            platform.publish(app.id);
        }
        Ok(platform)
    }

    /// Begins a change: waits until no other one is under way.
    pub(crate) async fn begin(self: &Arc<Self>) -> Change {
        let turn = Arc::clone(&self.writer).lock_owned().await;
        Change::new(Arc::clone(self), turn)
    }

    /// Tells the peers how an app is now. Cheap when nothing changed.
    pub(crate) fn publish(&self, app: app::Id) {
        self.feeds
            .publish(app, |is_out| match self.items(app, is_out) {
                Ok(items) => Some(items),
                Err(error) => {
                    crate::say::failed("tell the peers of an app", &error);
                    None
                }
            });
    }

    fn items(
        &self,
        id: app::Id,
        is_out: &dyn Fn(Key) -> bool,
    ) -> Result<(Vec<Addressed>, Vec<Key>), RecordsError> {
        let Some(app) = self.records.app(id)? else {
            return Ok((Vec::new(), Vec::new()));
        };
        let current = self.records.release(id, app.current)?;
        let is_released = current
            .as_ref()
            .is_some_and(|release| release.slug.is_some());
        let to_all = |item| Addressed { node: None, item };
        let mut items = vec![to_all(Item::App(feed::App {
            id,
            name: app.name.clone(),
            commit: current.and_then(|release| release.commit),
        }))];
        let mut hosts = vec![self.config.app_host(&app.name)];
        let own = self.records.domains(id)?.into_iter();
        hosts.extend(own.map(|domain| domain.hostname));
        let (route, wants) = self
            .fleet
            .look(|view| (route::of(&app, hosts, is_released, view), view.of(id)));
        items.push(to_all(Item::Route(route)));
        if let Some(build) = self.records.waiting_build(id)? {
            items.push(to_all(Item::Build(feed::Pending {
                build: build.id,
                app: id,
                is_free: build.state == BuildState::Ordered,
            })));
        }
        let mut kept = Vec::new();
        for want in wants {
            if is_out(Key::Want(want.dyno)) {
                kept.push(Key::Want(want.dyno));
                continue;
            }
            match self.order(&app, &want) {
                Ok(order) => items.push(Addressed {
                    node: Some(want.node.clone()),
                    item: Item::Want(Box::new(order)),
                }),
                Err(error) => crate::say::failed("order a dyno", &error),
            }
        }
        Ok((items, kept))
    }

    /// The order as a dynod gets it: with the slug's manifest and the opened config vars.
    fn order(&self, app: &App, want: &Want) -> Result<dyno::Want, VarsError> {
        let slug = self.records.slug(app.id, want.slug)?;
        let slug = slug.ok_or_else(|| VarsError::Missing(format!("of slug {}", want.slug)))?;
        let vars = self.vars(app.id, &want.config)?;
        let mut config: std::collections::BTreeMap<String, String> = vars
            .into_iter()
            .map(|(key, value)| (key.into(), value))
            .collect();
        if let Some(overlay) = &want.overlay {
            config.append(&mut self.unseal(app.id, overlay)?);
        }
        Ok(dyno::Want {
            dyno: want.dyno,
            name: want.name.clone(),
            app: app.id,
            owner: app.owner,
            app_name: app.name.clone(),
            release: want.release,
            purpose: want.purpose.clone(),
            command: want.command.clone(),
            slug: slug.manifest,
            config,
            size: want.size,
            boot_timeout_ms: model::limits::BOOT_TIMEOUT_MS,
        })
    }
}
