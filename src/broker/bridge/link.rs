//! The life of one bridge: when it connects, to whom, and what it asks for then.
//!
//! While the other broker is away, messages wait in the bridge's session at ours, bounded as every
//! client's (`max_queued_messages`); those that come in wait in its session there.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use super::backoff::Backoff;
use super::conversation::{Conversation, End};
use super::lane::Lost;
use super::relay::{Relay, Side};
use super::terms::Terms;
use super::topic::{TopicMap, Way};
use super::wire::{Failure, Names, PATIENCE, Wire, connect_here, connect_there, is_clean_here};
use super::{Order, Orders, trust};
use crate::broker::config::{BridgeConfig, BridgeNotifications, BridgeStart, Compat, SessionLimits};
use crate::broker::engine::Bridged;
use crate::broker::log::LogTypes;
use crate::broker::server::Inside;
use crate::mqtt::packet::{ConnAck, Publish, RetainHandling, SubscriptionOptions};
use crate::mqtt::{Packet, ProtocolVersion, QoS, ReasonCode};
use crate::net::framed::Received;
use crate::net::{Dial, Endpoint, Transport};
use crate::text::escape;

/// How often a lazy bridge looks how much waits for it.
const LAZY_LOOK: Duration = Duration::from_secs(1);

/// See the module.
pub struct Link {
    inside: Inside,
    orders: Orders,
    host: String,
    config: Arc<BridgeConfig>,
    names: Names,
    map: TopicMap,
    backoff: Backoff,
    /// Index into the addresses.
    at: usize,
    /// The mark of a bridge is tried.
    private: bool,
    /// Our broker had no session of this bridge when it began.
    new_here: bool,
    session: Session,
    lost: (Lost, Lost),
}

/// A session at the other broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Session {
    /// The bridge was not let in yet, and knows no more of one than ours does.
    Unknown,
    /// There may be one that is not ours, and it is to end.
    Unwanted,
    /// The one that the bridge began or went on with.
    Joined,
}

/// How an attempt ended.
enum Attempt {
    /// There was no conversation.
    Failed(String),
    /// The mark of a bridge was refused: once more without.
    Plainly,
    /// The other broker has a session that is not ours: once more, for a new one.
    Anew,
    /// There was one, for so long.
    Spoke(End, Duration),
    /// Orders came before there was one.
    Orders,
}

impl Link {
    /// A bridge that has not begun.
    pub fn new(
        inside: Inside,
        orders: Orders,
        config: Arc<BridgeConfig>,
        host: String,
        seed: u64,
    ) -> Result<Self, String> {
        let names = Names::new(&config, &host)?;
        let map = topics(&config)?;
        let private = config.try_private;
        let (backoff, lost) = (Backoff::new(seed), (Lost::default(), Lost::default()));
        Ok(Self {
            inside,
            orders,
            host,
            config,
            names,
            map,
            backoff,
            at: 0,
            private,
            new_here: false,
            session: Session::Unknown,
            lost,
        })
    }

    /// Until it is told to end.
    pub async fn run(mut self) {
        self.prepare().await;
        let mut over = false;
        loop {
            match self.orders.take() {
                Some(Order::Stop) => break,
                Some(Order::Remove) => {
                    self.inside.forget(&self.names.here);
                    break;
                }
                Some(Order::Run(config)) => {
                    over = false;
                    if let Err(why) = self.adopt(config).await {
                        self.error(&why);
                    }
                }
                None => {}
            }
            if over {
                self.orders.any().await;
                continue;
            }
            if let BridgeStart::Lazy { threshold, .. } = self.config.start
                && !self.has_waited(threshold).await
            {
                continue;
            }
            let attempt = self.attempt().await;
            over = self.after(attempt).await;
        }
    }

    /// New options, from now on.
    async fn adopt(&mut self, config: Arc<BridgeConfig>) -> Result<(), String> {
        let (names, map) = (Names::new(&config, &self.host)?, topics(&config)?);
        if names.here != self.names.here {
            self.inside.forget(&self.names.here);
        }
        if names.there != self.names.there || config.addresses != self.config.addresses {
            (self.at, self.lost) = (0, (Lost::default(), Lost::default()));
            self.session = Session::Unknown;
        }
        self.private = config.try_private;
        (self.config, self.names, self.map) = (config, names, map);
        self.prepare().await;
        Ok(())
    }

    /// Subscribes at our broker, so that messages wait from now on, and says that the bridge is not
    /// up.
    async fn prepare(&mut self) {
        self.inside.set_bridge(Bridged {
            here: self.names.here.clone(),
            there: self.names.there.clone(),
            keeps_qos_0: matches!(self.config.start, BridgeStart::Lazy { .. }),
        });
        self.tell_down();
        if is_clean_here(&self.config) {
            return;
        }
        let Ok((mut here, answer)) = self.connect_here(1).await else {
            return self.error("our own broker did not let the bridge in");
        };
        self.new_here |= !answer.session_present;
        let handling = RetainHandling::DoNotSend;
        let mut relay =
            Relay::new(self.map.clone(), terms_here(&answer), terms_here(&answer), Default::default());
        self.subscribe_here(&mut relay, handling);
        let wanted = self.map.subscriptions(Way::Out);
        let old = self.inside.subscriptions_of(&self.names.here);
        for filter in old.into_iter().filter(|old| !wanted.iter().any(|wanted| wanted.filter == *old)) {
            relay.unsubscribe(Side::Here, filter);
        }
        relay.take_packets(Side::Here).iter().for_each(|packet| here.push(packet));
        // Messages that come already are not acknowledged, and come again.
        let answered = async {
            while !relay.is_settled() {
                match here.framed.recv().await {
                    Received::Packet(packet @ (Packet::SubAck(_) | Packet::UnsubAck(_)), _) => {
                        if relay.receive(Side::Here, packet).is_err() {
                            return;
                        }
                    }
                    Received::Packet(..) => {}
                    _ => return,
                }
            }
        };
        // Our own broker answers, unless it ends.
        let _ = timeout(PATIENCE, answered).await;
        here.say_goodbye(None).await;
    }

    /// Waits until enough messages wait. False if orders came first.
    async fn has_waited(&mut self, threshold: u32) -> bool {
        let mut look = interval(LAZY_LOOK);
        loop {
            tokio::select! {
                _ = look.tick() => {
                    if self.inside.waiting_for(&self.names.here) >= threshold.max(1) as usize {
                        return true;
                    }
                }
                () = self.orders.any() => return false,
            }
        }
    }

    /// What follows from an attempt: which address is next, and a pause. True if there is to be no
    /// other one.
    async fn after(&mut self, attempt: Attempt) -> bool {
        let addresses = self.config.addresses.len().max(1);
        match attempt {
            Attempt::Orders | Attempt::Spoke(End::Orders | End::Idle, _) => return false,
            Attempt::Plainly => {
                self.private = false;
                return false;
            }
            Attempt::Anew => {
                self.session = Session::Unwanted;
                return false;
            }
            Attempt::Failed(why) => {
                self.error(&why);
                self.at = (self.at + 1) % addresses;
            }
            Attempt::Spoke(End::Main, _) => {
                self.at = 0;
                return false;
            }
            Attempt::Spoke(_, time) => {
                self.backoff.stood(self.config.restart, time);
                self.at = if self.config.round_robin { (self.at + 1) % addresses } else { 0 };
            }
        }
        if self.config.start == BridgeStart::Once {
            return true;
        }
        let pause = self.backoff.next(self.config.restart);
        // Orders end the pause; who takes them is the loop.
        let _ = timeout(pause, self.orders.changed()).await;
        false
    }

    /// Connects to both brokers and lets them talk.
    async fn attempt(&mut self) -> Attempt {
        let Some((host, port)) = self.config.addresses.get(self.at).cloned() else {
            return Attempt::Failed("there is no address".to_owned());
        };
        let name = escape(&self.config.name);
        let place = format!("{name} ({host}:{port})");
        self.notice(&format!("Connecting bridge (step 1) {place}"));
        let dialled = tokio::select! {
            dialled = dial(&self.config, &host, port) => dialled,
            () = self.orders.changed() => return Attempt::Orders,
        };
        let transport = match dialled {
            Ok(transport) => transport,
            Err(why) => return Attempt::Failed(format!("Error creating bridge: {why}.")),
        };
        self.notice(&format!("Connecting bridge (step 2) {place}"));
        let limits = self.inside.config().limits.clone();
        let mut there = Wire::new(transport, self.config.version, limits.max_packet_size);
        self.debug(&format!("Bridge {} sending CONNECT", escape(&self.names.there)));
        let most = limits.max_packet_size;
        let anew = self.session == Session::Unwanted;
        let connect = connect_there(&self.config, &self.names, self.private, anew, most);
        let shaken = tokio::select! {
            shaken = there.hand_shake(connect) => shaken,
            () = self.orders.changed() => return Attempt::Orders,
        };
        match shaken {
            Ok(answer) => {
                self.notice(&format!("Received CONNACK on connection {}.", escape(&self.names.here)));
                if self.is_unknown(&answer) {
                    there.say_goodbye(None).await;
                    return if anew || self.config.clean_session {
                        Attempt::Failed("the other broker has a session that was to end".to_owned())
                    } else {
                        Attempt::Anew
                    };
                }
                self.converse(there, &answer, &limits, &place).await
            }
            Err(failure) => self.refused(&failure),
        }
    }

    /// Whether the other broker goes on with a session that we know nothing of, which 5.0 forbids us to do.
    /// 5: `[MQTT-3.2.2-4]`
    fn is_unknown(&self, answer: &ConnAck) -> bool {
        let none = match self.session {
            Session::Unknown => self.new_here || is_clean_here(&self.config),
            Session::Unwanted => true,
            Session::Joined => false,
        };
        self.config.version.is_v5() && answer.session_present && (none || self.config.clean_session)
    }

    /// A broker that does not know the mark of a bridge refuses the protocol, or just closes.
    fn refused(&self, failure: &Failure) -> Attempt {
        let unknown = match failure {
            Failure::Refused(answer) => {
                [ReasonCode::V3_UNACCEPTABLE_PROTOCOL, ReasonCode::UNSUPPORTED_PROTOCOL_VERSION]
                    .contains(&answer.code)
            }
            Failure::Closed(_) => true,
            Failure::Other(_) => false,
        };
        if unknown && self.private && !self.config.version.is_v5() {
            return Attempt::Plainly;
        }
        Attempt::Failed(match failure {
            Failure::Refused(answer) => {
                format!("Connection Refused: {}", refusal(answer, self.config.version))
            }
            other => format!("Bridge {}: {other}.", escape(&self.config.name)),
        })
    }

    /// While both brokers are there.
    async fn converse(
        &mut self,
        there: Wire,
        answer: &ConnAck,
        limits: &SessionLimits,
        place: &str,
    ) -> Attempt {
        let theirs = Terms::of(self.config.version, answer).narrowed(&self.config, answer);
        let ours = match limits.max_inflight_messages {
            0 => u16::MAX,
            most => most,
        };
        let theirs_takes = theirs.receive_maximum.unwrap_or(u16::MAX);
        let window = ours.min(theirs_takes);
        // What the bridge says of itself may take none of the messages' places. 5: [MQTT-3.3.4-7]
        let best = if ours < theirs_takes { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let Ok((here, welcome)) = self.connect_here(window).await else {
            there.say_goodbye(None).await;
            return Attempt::Failed("our own broker did not let the bridge in".to_owned());
        };
        self.new_here |= !welcome.session_present;
        self.look_at_sessions(answer);
        let lost = std::mem::take(&mut self.lost);
        let mut relay = Relay::new(self.map.clone(), terms_here(&welcome), theirs, lost);
        // Before 5.0 what was not acknowledged is sent again all the same. 3.1.1: [MQTT-4.4.0-1]
        if !answer.session_present && (self.config.version.is_v5() || self.config.clean_session) {
            relay.begin_anew();
        }
        self.session = Session::Joined;
        self.subscribe_here(&mut relay, RetainHandling::Send);
        self.ask_there(&mut relay, best);
        let began = Instant::now();
        let name = escape(&self.config.name);
        let mut conversation = Conversation {
            inside: &self.inside,
            orders: &mut self.orders,
            relay,
            here,
            there,
            name: &name,
            up: (self.config.notifications != BridgeNotifications::None)
                .then(|| (self.names.here.as_str(), self.names.notice(true))),
            idle: match self.config.start {
                BridgeStart::Lazy { idle, .. } => Some(idle),
                _ => None,
            },
            main: (self.at > 0 && !self.config.round_robin).then(|| self.config.addresses[0].clone()),
        };
        let end = conversation.run().await;
        let Conversation { relay, here, there, .. } = conversation;
        self.lost = relay.into_lost();
        self.tell_down();
        here.say_goodbye(None).await;
        if matches!(end, End::Main | End::Idle | End::Orders | End::Here) {
            let tells = self.config.notifications == BridgeNotifications::Both;
            let mut notice = self.names.notice(false);
            notice.retain = theirs.retain;
            there.say_goodbye(tells.then_some(notice)).await;
        }
        self.log_end(&end, place);
        Attempt::Spoke(end, began.elapsed())
    }

    /// Which identifiers may be stale, from which sessions are new.
    fn look_at_sessions(&mut self, answer: &ConnAck) {
        // 3.1 does not say.
        let known_there = match self.config.version {
            ProtocolVersion::V31 => !self.config.clean_session,
            _ => answer.session_present,
        };
        let new_here = std::mem::take(&mut self.new_here);
        match (new_here, known_there) {
            (true, true) => self.lost = (Lost::all(), Lost::default()),
            (true, false) => self.lost = (Lost::default(), Lost::default()),
            (false, false) => self.lost = (Lost::default(), Lost::all()),
            (false, true) => {}
        }
    }

    /// A connection to our own broker, which gives `window` messages at once.
    async fn connect_here(&self, window: u16) -> Result<(Wire, ConnAck), Failure> {
        let mut here = Wire::new(self.inside.connect(), ProtocolVersion::V5, 0);
        let answer = here.hand_shake(connect_here(&self.config, &self.names, window)).await?;
        Ok((here, answer))
    }

    /// The topics that go out. Nothing that came in goes out again, and what is retained stays so.
    fn subscribe_here(&self, relay: &mut Relay, retain_handling: RetainHandling) {
        let options = SubscriptionOptions {
            no_local: true,
            retain_as_published: true,
            retain_handling,
            ..SubscriptionOptions::default()
        };
        for wanted in self.map.subscriptions(Way::Out) {
            self.debug(&format!(
                "Bridge {} doing local SUBSCRIBE on topic {}",
                escape(&self.names.here),
                escape(wanted.filter.as_str())
            ));
            relay.subscribe(Side::Here, wanted, options);
        }
    }

    /// What the other broker is asked and told first; told with this quality at best.
    fn ask_there(&self, relay: &mut Relay, best: QoS) {
        if self.config.notifications == BridgeNotifications::Both {
            relay.tell(Side::There, Publish { qos: best, ..self.names.notice(true) });
        }
        let name = escape(&self.names.here);
        if self.config.attempt_unsubscribe {
            for filter in self.map.unwanted_there() {
                let shown = escape(filter.as_str());
                let id = relay.unsubscribe(Side::There, filter);
                self.debug(&format!("Bridge {name} sending UNSUBSCRIBE (Mid: {id}, Topic: {shown})"));
            }
        }
        let v5 = self.config.version.is_v5();
        let options =
            SubscriptionOptions { no_local: v5, retain_as_published: v5, ..SubscriptionOptions::default() };
        for wanted in self.map.subscriptions(Way::In) {
            let (shown, qos) = (escape(wanted.filter.as_str()), wanted.qos);
            let id = relay.subscribe(Side::There, wanted, options);
            let byte = if v5 { "0x0c" } else { "0x00" };
            self.debug(&format!(
                "Bridge {name} sending SUBSCRIBE (Mid: {id}, Topic: {shown}, QoS: {qos}, Options: {byte})"
            ));
        }
    }

    /// Tells clients of ours that the bridge is not up.
    fn tell_down(&self) {
        if self.config.notifications != BridgeNotifications::None {
            self.inside.announce(&self.names.here, self.names.notice(false));
        }
    }

    fn log_end(&self, end: &End, place: &str) {
        let id = escape(&self.names.here);
        let old = self.inside.config().compat == Compat::V20;
        let place = place.rsplit_once('(').map_or(place, |(_, place)| place.trim_end_matches(')'));
        let line = match (end, old) {
            (End::Closed, true) => format!("Client {id} closed its connection."),
            (End::Closed, false) => {
                format!("Client {id} [{place}] disconnected: connection closed by client.")
            }
            (End::Silent, true) => format!("Client {id} has exceeded timeout, disconnecting."),
            (End::Silent, false) => format!("Client {id} [{place}] disconnected: exceeded timeout."),
            (End::Failed(why), true) => format!("Client {id} disconnected: {}.", escape(why)),
            (End::Failed(why), false) => format!("Client {id} [{place}] disconnected: {}.", escape(why)),
            (_, true) => format!("Client {id} disconnected."),
            (_, false) => format!("Client {id} [{place}] disconnected."),
        };
        self.notice(&line);
    }

    fn notice(&self, text: &str) {
        self.inside.log(LogTypes::NOTICE, text);
    }

    fn debug(&self, text: &str) {
        self.inside.log(LogTypes::DEBUG, text);
    }

    fn error(&self, text: &str) {
        self.inside.log(LogTypes::ERROR, text);
    }
}

fn terms_here(answer: &ConnAck) -> Terms {
    Terms::of(ProtocolVersion::V5, answer)
}

fn topics(config: &BridgeConfig) -> Result<TopicMap, String> {
    TopicMap::new(&config.topics)
        .map_err(|(line, error)| format!("topic {} of bridge {}: {error}", line + 1, escape(&config.name)))
}

/// A connected stream to the other broker.
async fn dial(config: &BridgeConfig, host: &str, port: u16) -> Result<Transport, String> {
    let endpoint = match &config.tls {
        None => Endpoint::Tcp { host: host.to_owned(), port },
        Some(tls) => {
            let tls = tls.clone();
            let config = tokio::task::spawn_blocking(move || trust::load(&tls)).await;
            let config = config.map_err(|error| error.to_string())??;
            Endpoint::Tls { host: host.to_owned(), port, server_name: host.to_owned(), config, tap: None }
        }
    };
    let dial = Dial {
        from: config.bind_address.clone(),
        keepalive: config.tcp_keepalive,
        user_timeout: config.tcp_user_timeout,
    };
    match timeout(PATIENCE, endpoint.connect_as(&dial)).await {
        Ok(connected) => connected.map_err(|error| error.to_string()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

/// mosquitto's words for a refusal.
fn refusal(answer: &ConnAck, version: ProtocolVersion) -> String {
    if version.is_v5() {
        // A redirection (0x9C, 0x9D) is not followed: who may send us elsewhere is not configured.
        return answer.code.to_string();
    }
    match answer.code {
        ReasonCode::V3_UNACCEPTABLE_PROTOCOL => "unacceptable protocol version",
        ReasonCode::V3_IDENTIFIER_REJECTED => "identifier rejected",
        ReasonCode::V3_SERVER_UNAVAILABLE => "broker unavailable",
        ReasonCode::V3_BAD_CREDENTIALS => "bad user name or password",
        ReasonCode::V3_NOT_AUTHORIZED => "not authorised",
        _ => "unknown reason",
    }
    .to_owned()
}
