//! `$SYS`: what the broker says of itself, on mosquitto's topics and in its formats (mosquitto(8)).
//!
//! The load averages are sampled at every interval. Topics are brought up to date then only if a
//! subscription can see them (no wildcard covers `$SYS`), else when the first is made: nobody can
//! tell the difference, and a broker whose `$SYS` nobody reads does not pay for it. A value that
//! has not changed is not published again.

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::broker::config::{Compat, Config};
use crate::broker::log::LogTypes;
use crate::mqtt::packet::Publish;
use crate::mqtt::{Properties, Property, QoS, TopicName};

use super::Engine;
use super::deadline::Timer;
use super::session::SessionId;
use super::stats::{Limit, Stats};

/// How mosquitto publishes all of them.
const QUALITY: QoS = QoS::ExactlyOnce;

/// How long a log line waits for a client, seconds; as in mosquitto.
const LOG_EXPIRY: u32 = 20;

/// A count that has a topic, or two names for the same.
struct Gauge {
    topics: &'static [&'static str],
    /// Not in mosquitto 2.0.
    is_new: bool,
    value: fn(&Stats) -> Option<u64>,
}

const fn gauge(topics: &'static [&'static str], value: fn(&Stats) -> Option<u64>) -> Gauge {
    Gauge { topics, is_new: false, value }
}

/// In mosquitto's order.
const GAUGES: &[Gauge] = &[
    gauge(&["$SYS/broker/clients/total"], |it| Some(it.sessions)),
    gauge(&["$SYS/broker/clients/maximum"], |it| Some(it.clients_maximum)),
    gauge(&["$SYS/broker/clients/inactive", "$SYS/broker/clients/disconnected"], |it| {
        Some(it.sessions.saturating_sub(it.clients_connected))
    }),
    gauge(&["$SYS/broker/clients/active", "$SYS/broker/clients/connected"], |it| Some(it.clients_connected)),
    gauge(&["$SYS/broker/clients/expired"], |it| Some(it.clients_expired)),
    gauge(&["$SYS/broker/messages/stored", "$SYS/broker/store/messages/count"], |it| Some(it.stored)),
    gauge(&["$SYS/broker/store/messages/bytes"], |it| Some(it.stored_bytes)),
    gauge(&["$SYS/broker/subscriptions/count"], |it| Some(it.subscriptions)),
    gauge(&["$SYS/broker/shared_subscriptions/count"], |it| Some(it.shared_subscriptions)),
    gauge(&["$SYS/broker/retained messages/count"], |it| Some(it.retained)),
    gauge(&["$SYS/broker/heap/current"], |it| (it.memory > 0).then_some(it.memory)),
    gauge(&["$SYS/broker/heap/maximum"], |it| (it.memory > 0).then_some(it.memory_maximum)),
    gauge(&["$SYS/broker/messages/received"], |it| Some(it.messages_received)),
    gauge(&["$SYS/broker/messages/sent"], |it| Some(it.messages_sent)),
    gauge(&["$SYS/broker/publish/messages/dropped"], |it| Some(it.publish_dropped)),
    gauge(&["$SYS/broker/publish/messages/received"], |it| Some(it.publish_received)),
    gauge(&["$SYS/broker/publish/messages/sent"], |it| Some(it.publish_sent)),
    gauge(&["$SYS/broker/publish/bytes/received"], |it| Some(it.publish_bytes_received)),
    gauge(&["$SYS/broker/publish/bytes/sent"], |it| Some(it.publish_bytes_sent)),
    gauge(&["$SYS/broker/bytes/received"], |it| Some(it.bytes_received)),
    gauge(&["$SYS/broker/bytes/sent"], |it| Some(it.bytes_sent)),
    Gauge { is_new: true, ..gauge(&["$SYS/broker/packet/out/count"], |it| Some(it.waiting)) },
    Gauge { is_new: true, ..gauge(&["$SYS/broker/packet/out/bytes"], |it| Some(it.waiting_bytes)) },
    Gauge { is_new: true, ..gauge(&["$SYS/broker/connections/socket/count"], |it| Some(it.sockets)) },
];

/// A count whose growth a minute is averaged.
struct Rate {
    /// Below `$SYS/broker/load/`.
    name: &'static str,
    count: fn(&Stats) -> u64,
}

/// In mosquitto's order.
const RATES: [Rate; 9] = [
    Rate { name: "messages/received", count: |it| it.messages_received },
    Rate { name: "messages/sent", count: |it| it.messages_sent },
    Rate { name: "publish/dropped", count: |it| it.publish_dropped },
    Rate { name: "publish/received", count: |it| it.publish_received },
    Rate { name: "publish/sent", count: |it| it.publish_sent },
    Rate { name: "bytes/received", count: |it| it.bytes_received },
    Rate { name: "bytes/sent", count: |it| it.bytes_sent },
    Rate { name: "sockets", count: |it| it.sockets_opened },
    Rate { name: "connections", count: |it| it.connects },
];

/// Over how long a growth is averaged, and the last level of the topic.
const SPANS: [(f64, &str); 3] = [(60.0, "1min"), (300.0, "5min"), (900.0, "15min")];

/// Moving averages of the [`RATES`], a minute.
type Loads = [[f64; SPANS.len()]; RATES.len()];

/// See the module.
#[derive(Debug)]
pub(super) struct Sys {
    started: Instant,
    sampled: Instant,
    /// The counts of [`RATES`] when they were sampled.
    counts: [u64; RATES.len()],
    loads: Loads,
    /// What each topic says, in the order of [`topics`]; empty before it was published.
    shown: Vec<String>,
    /// The topics may be behind.
    stale: bool,
}

impl Sys {
    /// Of a broker that starts now.
    pub fn new(now: Instant) -> Self {
        Self {
            started: now,
            sampled: now,
            counts: [0; RATES.len()],
            loads: Loads::default(),
            shown: Vec::new(),
            stale: true,
        }
    }

    /// Takes what happened since the last sample into the averages, as mosquitto does.
    fn sample(&mut self, stats: &Stats, now: Instant) {
        let secs = now.saturating_duration_since(self.sampled).as_secs_f64();
        if secs <= 0.0 {
            return;
        }
        self.sampled = now;
        for ((rate, before), averages) in RATES.iter().zip(&mut self.counts).zip(&mut self.loads) {
            let count = (rate.count)(stats);
            let a_minute = (count - *before) as f64 * 60.0 / secs;
            *before = count;
            for (average, (span, _)) in averages.iter_mut().zip(SPANS) {
                *average = a_minute + (-secs / span).exp() * (*average - a_minute);
            }
        }
    }

    /// All topics and what they are to say; `None`: not known.
    fn topics(&self, config: &Config, stats: &Stats, now: Instant) -> Vec<(String, Option<String>)> {
        let uptime = now.saturating_duration_since(self.started).as_secs();
        let mut all = vec![
            ("$SYS/broker/version".to_owned(), Some(config.banner())),
            ("$SYS/broker/uptime".to_owned(), Some(format!("{uptime} seconds"))),
        ];
        for gauge in GAUGES {
            let value = (gauge.value)(stats).filter(|_| !gauge.is_new || config.compat != Compat::V20);
            let value = value.map(|value| value.to_string());
            all.extend(gauge.topics.iter().map(|topic| ((*topic).to_owned(), value.clone())));
        }
        // Ours.
        for limit in Limit::ALL {
            let topic = format!("$SYS/broker/limits/{}/refused", limit.name());
            all.push((topic, Some(stats.refused.count(limit).to_string())));
        }
        for (index, (_, span)) in SPANS.iter().enumerate() {
            for (rate, averages) in RATES.iter().zip(&self.loads) {
                let topic = format!("$SYS/broker/load/{}/{span}", rate.name);
                all.push((topic, Some(format!("{:.2}", averages[index]))));
            }
        }
        all
    }

    /// The topics whose value is another than they say.
    fn changes(&mut self, config: &Config, stats: &Stats, now: Instant) -> Vec<(String, String)> {
        let all = self.topics(config, stats, now);
        self.shown.resize(all.len(), String::new());
        let mut changed = Vec::new();
        for ((topic, value), shown) in all.into_iter().zip(&mut self.shown) {
            let Some(value) = value.filter(|value| value != shown) else { continue };
            shown.clone_from(&value);
            changed.push((topic, value));
        }
        changed
    }
}

impl Engine {
    /// The next interval is over.
    pub(super) fn on_sys_interval(&mut self, now: Instant) {
        let Some(interval) = self.config.sys_interval else { return };
        self.deadlines.set(Timer::Sys, now + interval);
        self.sys.sample(&self.stats, now);
        self.sys.stale = true;
        if self.subscriptions.see_sys() {
            self.refresh_sys(now);
        }
    }

    /// Brings the topics up to date, if an interval has passed since. Called before a subscription
    /// that can see them is made, so that it finds them.
    pub(super) fn refresh_sys(&mut self, now: Instant) {
        if self.config.sys_interval.is_none() || !std::mem::take(&mut self.sys.stale) {
            return;
        }
        let stats = self.stats();
        for (topic, value) in self.sys.changes(&self.config, &stats, now) {
            self.announce(&topic, value, true, None, now);
        }
    }

    /// `sys_interval` may have changed.
    pub(super) fn arm_sys(&mut self, before: Option<Duration>, now: Instant) {
        match self.config.sys_interval {
            None => self.deadlines.cancel(&Timer::Sys),
            interval if interval == before => {}
            Some(interval) => self.deadlines.set(Timer::Sys, now + interval),
        }
    }

    /// A message of the broker's own, which no rule forbids it to publish. A client that may not read
    /// it does not get it.
    fn announce(&mut self, topic: &str, payload: String, retain: bool, expiry: Option<u32>, now: Instant) {
        let Ok(topic) = TopicName::new(topic.to_owned()) else { return };
        let mut properties = Properties::new();
        if let Some(secs) = expiry {
            properties.push(Property::MessageExpiryInterval(secs));
        }
        let payload = Bytes::from(payload);
        let publish = Publish { dup: false, qos: QUALITY, retain, topic, id: None, payload, properties };
        self.publish(publish, SessionId::BROKER, now);
    }

    /// A line of the log, for those who subscribed to it (`log_dest topic`). `line` has its time stamp.
    /// Debug lines are not for topics. What this itself gives rise to in the log must not come here
    /// again: the caller sees to that.
    pub fn announce_log(&mut self, kind: LogTypes, line: String, now: Instant) {
        if !self.subscriptions.see_sys() {
            return;
        }
        let level = LOG_TOPICS.iter().find(|(known, _)| kind.has(*known));
        if let Some((_, level)) = level {
            self.announce(&format!("$SYS/broker/log/{level}"), line, false, Some(LOG_EXPIRY), now);
        }
    }
}

/// mosquitto's last levels of `$SYS/broker/log/`; a denial, which is ours, is a notice.
const LOG_TOPICS: &[(LogTypes, &str)] = &[
    (LogTypes::ERROR, "E"),
    (LogTypes::WARNING, "W"),
    (LogTypes::NOTICE, "N"),
    (LogTypes::DENIED, "N"),
    (LogTypes::INFORMATION, "I"),
    (LogTypes::SUBSCRIBE, "M/subscribe"),
    (LogTypes::UNSUBSCRIBE, "M/unsubscribe"),
    (LogTypes::WEBSOCKETS, "WS"),
];
