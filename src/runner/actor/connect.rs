//! Connecting: the CONNECT of a client, and whether its outcome is the one that is expected.

use tokio::time::{Instant, timeout};

use super::{Actor, CALL_WITHIN, CONNECT_WITHIN, topic};
use crate::client::{Client, ConnectFailure, Options, Session};
use crate::mqtt::Property;
use crate::mqtt::codec::Limits;
use crate::mqtt::packet::{ConnAck, Connect, Will};
use crate::net::tap::Tap;
use crate::net::websocket::handshake::UpgradeError;
use crate::net::{ConnectError, Endpoint};
use crate::runner::context::{At, Context};
use crate::runner::link::Command;
use crate::runner::matching::{capture_properties, unmet_property};
use crate::runner::outcome::{Done, Trouble};
use crate::runner::peer::NoCall;
use crate::runner::rumqttc;
use crate::scenario::WillSpec;
use crate::scenario::matcher::PropertyMatch;
use crate::scenario::op::{ConnectOutcome, Open};
use crate::scenario::value::Template;
use crate::text::print_duration;

impl Actor<'_> {
    /// Opens a transport and sends nothing (raw clients), or waits for one (peers).
    pub async fn open_transport(&mut self, at: At<'_>) -> Done {
        self.leave(Command::Drop).await;
        if self.spec.plays {
            return self.accept(at).await;
        }
        let mut options = Options::new(Connect { version: self.version, ..Connect::default() });
        options.raw = true;
        options.connect_timeout = CONNECT_WITHIN;
        let (endpoint, tap) = self.tapped(at).await?;
        self.last_sent = Instant::now();
        let client = Client::open(&endpoint, &options, Session::default(), Some(tap)).await;
        let client = client.map_err(|failure| unconnected(at, self.last_sent, "a connection", &failure))?;
        self.started(self.spawn(at, client));
        Ok(())
    }

    /// Waits until somebody connects to this peer.
    async fn accept(&mut self, at: At<'_>) -> Done {
        let name = &self.spec.name;
        let expected = || format!("somebody connects to {name} within {}", print_duration(CALL_WITHIN));
        let since = Instant::now();
        let accepted = timeout(CALL_WITHIN, at.context.doors.accept(name)).await;
        let transport = accepted.map_err(|_| at.silent(since, expected(), "nobody does"))?.map_err(
            |error| match error {
                NoCall::Io(error) => at.errored(expected(), error.to_string()),
                NoCall::Handshake(why) => {
                    at.failed(format!("{name} is asked for a WebSocket with MQTT"), why)
                }
            },
        )?;
        let tap = at.context.tap(self.spec, self.version);
        let client = Client::accepted(transport, Limits::default(), Some(tap));
        self.started(self.spawn(at, client));
        Ok(())
    }

    /// Connects and checks what comes of it.
    pub async fn open(&mut self, at: At<'_>, open: &Open) -> Done {
        self.leave(Command::Drop).await;
        let mut options = Options::new(self.connect_packet(at, open).await?);
        options.auto_ping = self.spec.auto_ping;
        options.raw = self.spec.raw;
        options.connect_timeout = open.within.unwrap_or(CONNECT_WITHIN);
        let (endpoint, tap) = self.tapped(at).await?;
        self.last_sent = Instant::now();
        let result = if rumqttc::plays(self.spec, at.context.engine) {
            rumqttc::connect(at, &endpoint, &options, &self.inbox, tap, &self.spec.name).await?
        } else {
            // [MQTT-4.1.0-1]: a connection that does not come to be does not end the session.
            let session = self.session.clone();
            let connected = Client::connect(&endpoint, &options, session, Some(tap)).await;
            connected.map(|(client, answer)| (self.spawn(at, client), answer))
        };
        let outcome = result.map(|(link, answer)| {
            self.started(link);
            self.said_connect = true;
            answer
        });
        check_connect(at, self.last_sent, &open.outcome, &outcome)
    }

    /// Where the client connects, and what records the connection that it is about to open.
    async fn tapped(&self, at: At<'_>) -> Done<(Endpoint, Tap)> {
        let Context { recorder, tls, .. } = at.context;
        let name = &self.spec.name;
        let mut endpoint = self.endpoint(at).await?;
        let tap = at.context.tap(self.spec, self.version);
        tls.watch(&mut endpoint, recorder, name, recorder.latest(name));
        Ok((endpoint, tap))
    }

    /// Begins to prove the password of its user (packet lines with `${scram.first}`).
    pub async fn begin_scram(&mut self, at: At<'_>) -> Done {
        let Some(user) = &self.spec.user else {
            return Err(at.errored("a user who proves a password", "the client has no `user`"));
        };
        let password = match &self.spec.password {
            Some(template) => at.resolve(template)?,
            None => at.context.target.lock().await.password(user).unwrap_or_default(),
        };
        self.scram.begin(user, &password);
        Ok(())
    }

    async fn connect_packet(&self, at: At<'_>, open: &Open) -> Done<Connect> {
        let user = open.user.as_ref().unwrap_or(&self.spec.user);
        let given: Option<&Template> = open.password.as_ref().or(match open.user {
            None => self.spec.password.as_ref(),
            Some(_) => None,
        });
        let target = at.context.target.lock().await;
        let default = match (user, &open.user, at.context.case.setup.broker.allow_anonymous) {
            (None, None, None) => target.default_account().cloned(),
            _ => None,
        };
        let user = default.as_ref().map(|account| &account.name).or(user.as_ref());
        let password = match (given, &default, user) {
            (Some(template), ..) => Some(at.resolve(template)?),
            (None, Some(account), _) => Some(account.password.clone()),
            (None, None, Some(user)) => target.password(user),
            (None, None, None) => None,
        };
        drop(target);
        let will = open.will.as_ref().unwrap_or(&self.spec.will);
        let mut properties = self.spec.properties.clone();
        // The step's own say instead of the definition's.
        let kind = std::mem::discriminant::<Property>;
        let of_user = |property: &Property| matches!(property, Property::UserProperty(..));
        properties.retain(|old| of_user(old) || !open.properties.iter().any(|new| kind(new) == kind(old)));
        for property in &open.properties {
            properties.push(property.clone());
        }
        Ok(Connect {
            version: self.version,
            bridge: false,
            clean_start: open.clean.unwrap_or(self.spec.clean),
            keep_alive: open.keep_alive.unwrap_or(self.spec.keep_alive),
            client_id: self.client_id(at)?.into(),
            will: will.as_ref().map(|will| will_packet(at, will)).transpose()?,
            username: user.map(|user| user.as_str().into()),
            password: password.map(Into::into),
            properties,
        })
    }
}

fn will_packet(at: At<'_>, will: &WillSpec) -> Done<Will> {
    Ok(Will {
        topic: topic(at, &will.topic)?,
        payload: at.payload(&will.payload)?,
        qos: will.qos,
        retain: will.retain,
        properties: will.properties.clone(),
    })
}

/// Why there is no connection: who cannot be reached has not done anything wrong yet.
fn unconnected(at: At<'_>, since: Instant, expected: impl Into<String>, failure: &ConnectFailure) -> Trouble {
    match failure {
        ConnectFailure::Transport(ConnectError::Io(_)) => at.errored(expected, failure.to_string()),
        ConnectFailure::TimedOut => at.silent(since, expected, failure.to_string()),
        _ => at.failed(expected, failure.to_string()),
    }
}

fn check_connect(
    at: At<'_>,
    since: Instant,
    wanted: &ConnectOutcome,
    outcome: &Result<ConnAck, ConnectFailure>,
) -> Done {
    let refusal = match outcome {
        Err(ConnectFailure::Refused(answer)) => Some(Some(answer.code)),
        Err(
            ConnectFailure::Closed(_)
            | ConnectFailure::Transport(ConnectError::WebSocket(UpgradeError::Refused { .. })),
        ) => Some(None),
        _ => None,
    };
    let expected = match wanted {
        // Whatever comes, but an answer that opens no WebSocket and says that it does.
        ConnectOutcome::Any => match outcome {
            Err(ConnectFailure::Transport(ConnectError::WebSocket(invalid @ UpgradeError::Invalid(_)))) => {
                return Err(at.failed("a WebSocket, or none", invalid.to_string()));
            }
            _ => return Ok(()),
        },
        ConnectOutcome::Accepted => "CONNACK 0".to_owned(),
        ConnectOutcome::AcceptedWith { session_present, properties } => {
            if let Ok(answer) = outcome {
                return check_accepted(at, answer, *session_present, properties);
            }
            "CONNACK 0".to_owned()
        }
        ConnectOutcome::Refused => "a refused connection".to_owned(),
        ConnectOutcome::RefusedWith(codes) => {
            let codes: Vec<_> = codes.iter().map(|code| format!("0x{:02x}", code.0)).collect();
            format!("CONNACK {}", codes.join(" or "))
        }
        ConnectOutcome::TlsFails(failure) => failure.to_string(),
        ConnectOutcome::Unreachable => "nobody listens".to_owned(),
    };
    let fine = match (wanted, outcome) {
        (ConnectOutcome::Refused, _) => refusal.is_some(),
        (ConnectOutcome::RefusedWith(codes), _) => {
            refusal.flatten().is_some_and(|code| codes.contains(&code))
        }
        (
            ConnectOutcome::TlsFails(wanted),
            Err(ConnectFailure::Transport(ConnectError::Tls { failure, .. })),
        ) => wanted == failure,
        (ConnectOutcome::Accepted, Ok(_))
        | (ConnectOutcome::Unreachable, Err(ConnectFailure::Transport(ConnectError::Io(_)))) => true,
        _ => false,
    };
    if fine {
        return Ok(());
    }
    Err(match outcome {
        Ok(answer) => at.failed(expected, format!("CONNACK {}", answer.code)),
        Err(failure) => unconnected(at, since, expected, failure),
    })
}

fn check_accepted(
    at: At<'_>,
    answer: &ConnAck,
    session_present: Option<bool>,
    properties: &[PropertyMatch],
) -> Done {
    if let Some(wanted) = session_present.filter(|wanted| *wanted != answer.session_present) {
        let say = |flag: bool| format!("CONNACK 0 session_present={}", u8::from(flag));
        return Err(at.failed(say(wanted), say(answer.session_present)));
    }
    if let Some(unmet) = at.looking(|lookup| unmet_property(properties, &answer.properties, lookup)) {
        return Err(at.failed("CONNACK with the properties asked for", unmet));
    }
    capture_properties(properties, &answer.properties, &mut |name, value| at.capture(name, value));
    Ok(())
}
