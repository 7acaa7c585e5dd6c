//! Bridges: the `connection` blocks of mosquitto.conf, each a client of this broker and of another
//! one at the same time, that passes messages between them.
//!
//! `topic`, `relay`, `lane`, `alias`, `terms` and `backoff` decide and are pure; `link` and `conversation` have
//! the streams and the clock. Here they are started, told of new options, and ended.

mod alias;
mod backoff;
mod conversation;
mod lane;
mod link;
mod relay;
mod terms;
mod topic;
pub(super) mod trust;
mod wire;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::config::{BridgeConfig, Config};
use super::log::LogTypes;
use super::server::Inside;
use crate::text::escape;
use link::Link;

/// What a bridge is told from outside.
#[derive(Debug, Clone)]
enum Order {
    /// Its options, when they have changed.
    Run(Arc<BridgeConfig>),
    /// To say goodbye.
    Stop,
    /// To say goodbye and leave no session.
    Remove,
}

/// A bridge's end of its orders.
struct Orders {
    channel: watch::Receiver<Option<Order>>,
}

impl Orders {
    /// The newest order, if it was not taken yet.
    fn take(&mut self) -> Option<Order> {
        // Who gives the last order may be gone when it is taken, and without anybody to give orders
        // there is one: to end.
        let alone = self.channel.has_changed().is_err();
        let order = self.channel.borrow_and_update();
        if order.has_changed() { order.clone() } else { alone.then_some(Order::Stop) }
    }

    /// Waits for an order that cannot wait for the next connection.
    async fn changed(&mut self) {
        let urgent = |order: &Option<Order>| match order {
            Some(Order::Run(config)) => config.reload_at_once,
            other => other.is_some(),
        };
        self.wait_for(urgent).await;
    }

    /// Waits for any order.
    async fn any(&mut self) {
        self.wait_for(Option::is_some).await;
    }

    /// Leaves the order to be taken.
    async fn wait_for(&mut self, wanted: impl Fn(&Option<Order>) -> bool) {
        let mut look = self.channel.clone();
        while matches!(self.channel.has_changed(), Ok(false)) || !wanted(&self.channel.borrow()) {
            // Without anybody to give orders there is one: to end.
            if look.changed().await.is_err() {
                return;
            }
        }
    }
}

/// All bridges of a broker. Dropping it cuts them.
pub struct Bridges {
    inside: Inside,
    host: String,
    seed: u64,
    running: BTreeMap<String, Running>,
}

struct Running {
    config: Arc<BridgeConfig>,
    orders: watch::Sender<Option<Order>>,
    task: JoinHandle<()>,
}

impl Bridges {
    /// Starts those that are configured. The seed decides their pauses.
    pub fn start(inside: Inside, config: &Config, seed: u64) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut bridges = Self { inside, host, seed, running: BTreeMap::new() };
        bridges.reload(config);
        bridges
    }

    /// Starts, changes and ends bridges, as SIGHUP asks. What a bridge does with new options, and
    /// when, is in them (`bridge_reload_type`).
    pub fn reload(&mut self, config: &Config) {
        let gone: Vec<String> = self
            .running
            .keys()
            .filter(|name| !config.bridges.iter().any(|bridge| bridge.name == **name))
            .cloned()
            .collect();
        for name in gone {
            if let Some(running) = self.running.remove(&name) {
                running.orders.send_replace(Some(Order::Remove));
            }
        }
        for bridge in &config.bridges {
            match self.running.get_mut(&bridge.name) {
                Some(running) if *running.config == *bridge => {}
                Some(running) => {
                    running.config = Arc::new(bridge.clone());
                    running.orders.send_replace(Some(Order::Run(Arc::clone(&running.config))));
                }
                None => self.begin(Arc::new(bridge.clone())),
            }
        }
    }

    fn begin(&mut self, config: Arc<BridgeConfig>) {
        let (orders, channel) = watch::channel(None);
        // Bridges of one broker are not to knock in step.
        let seed = config
            .name
            .bytes()
            .fold(self.seed, |seed, byte| (seed ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        let (inside, host) = (self.inside.clone(), self.host.clone());
        match Link::new(inside, Orders { channel }, Arc::clone(&config), host, seed) {
            Ok(link) => {
                let task = tokio::spawn(link.run());
                self.running.insert(config.name.clone(), Running { config, orders, task });
            }
            Err(why) => self.inside.log(LogTypes::ERROR, &format!("Error: {}.", escape(&why))),
        }
    }

    /// Says goodbye to the other brokers, all at once.
    pub fn stop(&mut self) -> impl Future<Output = ()> + use<> {
        let running = std::mem::take(&mut self.running);
        for running in running.values() {
            running.orders.send_replace(Some(Order::Stop));
        }
        async move {
            for running in running.into_values() {
                // A bridge that panicked has been reported by the runtime.
                let _ = running.task.await;
            }
        }
    }
}

impl Drop for Bridges {
    fn drop(&mut self) {
        for running in self.running.values() {
            running.task.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_order_is_obeyed_though_who_gave_it_is_gone() {
        let (sender, channel) = watch::channel(None);
        let mut orders = Orders { channel };
        assert!(orders.take().is_none());
        sender.send_replace(Some(Order::Remove));
        drop(sender);
        orders.changed().await;
        assert!(matches!(orders.take(), Some(Order::Remove)));
        assert!(matches!(orders.take(), Some(Order::Stop)), "there is nobody to wait for");
    }
}
