//! What a client asks of the broker, and whether the answer is the one that is expected.

use tokio::time::Instant;

use super::{Actor, topic};
use crate::mqtt::packet::{Publish, Subscribe, Subscription, Unsubscribe};
use crate::mqtt::{Packet, PacketId, QoS, ReasonCode, TopicFilter};
use crate::runner::context::At;
use crate::runner::link::{Command, Ending, Sent, Taken};
use crate::runner::outcome::Done;
use crate::scenario::op::{Reply, Request};
use crate::scenario::target::DEFAULT_WITHIN;
use crate::scenario::value::Template;
use crate::text::print_duration;

/// What a broker said to a request.
enum Answer {
    /// The acknowledgement, with its codes.
    Codes(&'static str, Vec<ReasonCode>),
    /// PINGRESP, or nothing to wait for.
    Plain,
    /// The end of the connection.
    Ended(Ending),
    /// Nothing.
    Silence,
}

impl Actor<'_> {
    /// Asks something of the broker and checks the answer.
    pub async fn request(&mut self, at: At<'_>, request: &Request, reply: &Reply) -> Done {
        self.ensure_open(at).await?;
        let since = Instant::now();
        let until = since + DEFAULT_WITHIN;
        let command = request_command(at, request)?;
        let asked = match &command {
            Command::Subscribe(subscribe) => {
                subscribe.subscriptions.iter().map(|one| ReasonCode(one.options.qos.as_u8())).collect()
            }
            _ => Vec::new(),
        };
        let qos0 = matches!(request, Request::Publish { qos: QoS::AtMostOnce, .. });
        let sent = self.send(at, command).await;
        self.unconfirmed |= qos0;
        if *reply == Reply::Unawaited && sent != Some(Sent::Exhausted) {
            return Ok(());
        }
        let answer = match sent {
            None => match self.inbox.ending() {
                Some(ending) => Answer::Ended(ending),
                // The wire client sends whatever it can.
                None => return Err(at.errored("a request that is sent", "rumqttc does not send it")),
            },
            Some(Sent::Exhausted) => return Err(at.errored("a free packet identifier", "all are in use")),
            // Some brokers acknowledge, with an error or not, and close then.
            Some(_) if matches!(reply, Reply::Closed) => match self.inbox.ended(until).await {
                Some(ending) => Answer::Ended(ending),
                None => Answer::Plain,
            },
            Some(Sent::Plain) => Answer::Plain,
            Some(Sent::Ping(wanted)) => match self.inbox.pong(wanted, until).await {
                Taken::Found(()) => Answer::Plain,
                Taken::Ended(ending) => Answer::Ended(ending),
                Taken::TimedOut => Answer::Silence,
            },
            Some(Sent::WithId(id)) => self.acknowledgement(id, until).await,
        };
        if matches!(answer, Answer::Codes(..)) && !qos0 {
            self.unconfirmed = false;
        }
        self.check_reply(at, since, request, reply, answer, &asked)
    }

    /// Hands a command to the connection.
    pub async fn send(&mut self, _at: At<'_>, command: Command) -> Option<Sent> {
        self.last_sent = Instant::now();
        self.link.as_ref()?.send(command).await
    }

    async fn acknowledgement(&self, id: PacketId, until: Instant) -> Answer {
        let taken = self.inbox.take(until, |packets| {
            let at = packets.iter().position(|packet| completes(packet, id))?;
            packets.remove(at)
        });
        match taken.await {
            Taken::Found(packet) => match packet {
                Packet::PubAck(ack) => Answer::Codes("PUBACK", vec![ack.reason]),
                Packet::PubRec(ack) => Answer::Codes("PUBREC", vec![ack.reason]),
                Packet::PubComp(ack) => Answer::Codes("PUBCOMP", vec![ack.reason]),
                Packet::SubAck(ack) => Answer::Codes("SUBACK", ack.codes),
                Packet::UnsubAck(ack) => Answer::Codes("UNSUBACK", ack.codes),
                _ => Answer::Plain,
            },
            Taken::Ended(ending) => Answer::Ended(ending),
            Taken::TimedOut => Answer::Silence,
        }
    }

    fn check_reply(
        &mut self,
        at: At<'_>,
        since: Instant,
        request: &Request,
        reply: &Reply,
        answer: Answer,
        asked: &[ReasonCode],
    ) -> Done {
        let wanted = describe_reply(request, reply, asked);
        if let Answer::Ended(ending) = &answer {
            if ending.malformed {
                return Err(at.failed(wanted, ending.how.clone()));
            }
            return match reply {
                Reply::Closed | Reply::Denied | Reply::Any => {
                    self.excused = true;
                    Ok(())
                }
                _ => Err(self.lost(at, &wanted, ending)),
            };
        }
        let fine = match (reply, &answer) {
            (Reply::Any | Reply::Unawaited, _)
            | (Reply::Denied | Reply::Positive, Answer::Plain)
            | (Reply::Denied, Answer::Codes(..)) => true,
            (Reply::Closed, _)
            | (_, Answer::Silence | Answer::Ended(_))
            | (Reply::Refused | Reply::Codes(_), Answer::Plain) => false,
            (Reply::Refused, Answer::Codes(_, codes)) => {
                !codes.is_empty() && codes.iter().all(|code| code.0 >= 0x80)
            }
            (Reply::Codes(wanted), Answer::Codes(_, codes)) => wanted == codes,
            (Reply::Positive, Answer::Codes(_, codes)) if asked.is_empty() => {
                codes.iter().all(|code| code.0 < 0x80)
            }
            (Reply::Positive, Answer::Codes(_, codes)) => codes == asked,
        };
        if fine {
            return Ok(());
        }
        let still_open = "no refusal, and the connection is still open";
        Err(match answer {
            Answer::Codes(name, codes) if codes.is_empty() => {
                at.failed(wanted, format!("{name} without a code"))
            }
            Answer::Codes(name, codes) => at.failed(wanted, format!("{name} {}", hex(&codes))),
            Answer::Plain if matches!(reply, Reply::Closed) => at.silent(since, wanted, still_open),
            Answer::Plain => at.failed(wanted, still_open),
            Answer::Silence | Answer::Ended(_) => {
                at.silent(since, wanted, format!("nothing within {}", print_duration(DEFAULT_WITHIN)))
            }
        })
    }

    /// Waits for an UNSUBACK.
    pub async fn unsubscribed(&self, id: PacketId, until: Instant) -> Taken<()> {
        self.inbox
            .take(until, |packets| {
                let index = packets.iter().position(|packet| completes(packet, id))?;
                packets.remove(index).map(|_| ())
            })
            .await
    }
}

/// Whether a packet is the last answer to the request with this identifier.
fn completes(packet: &Packet, wanted: PacketId) -> bool {
    match packet {
        Packet::PubAck(ack) | Packet::PubComp(ack) => ack.id == wanted,
        Packet::PubRec(ack) => ack.id == wanted && ack.reason.0 >= 0x80,
        Packet::SubAck(ack) => ack.id == wanted,
        Packet::UnsubAck(ack) => ack.id == wanted,
        _ => false,
    }
}

fn filter(at: At<'_>, template: &Template) -> Done<TopicFilter> {
    let text = at.resolve(template)?;
    TopicFilter::new(text).map_err(|error| at.errored("a topic filter", error.to_string()))
}

fn request_command(at: At<'_>, request: &Request) -> Done<Command> {
    Ok(match request {
        Request::Publish { topic: name, payload, qos, retain, properties } => Command::Publish(Publish {
            dup: false,
            qos: *qos,
            retain: *retain,
            topic: topic(at, name)?,
            id: None,
            payload: at.payload(payload)?,
            properties: properties.clone(),
        }),
        Request::Subscribe { filters, properties } => {
            let subscriptions = filters
                .iter()
                .map(|(name, options)| Ok(Subscription { filter: filter(at, name)?, options: *options }))
                .collect::<Done<_>>()?;
            Command::Subscribe(Subscribe {
                id: PacketId::FIRST,
                properties: properties.clone(),
                subscriptions,
            })
        }
        Request::Unsubscribe { filters, properties } => {
            let filters = filters.iter().map(|name| filter(at, name)).collect::<Done<_>>()?;
            Command::Unsubscribe(Unsubscribe { id: PacketId::FIRST, properties: properties.clone(), filters })
        }
        Request::Ping => Command::Ping,
    })
}

fn hex(codes: &[ReasonCode]) -> String {
    codes.iter().map(|code| format!("0x{:02x}", code.0)).collect::<Vec<_>>().join(" ")
}

fn describe_reply(request: &Request, reply: &Reply, asked: &[ReasonCode]) -> String {
    let name = match request {
        Request::Publish { qos: QoS::ExactlyOnce, .. } => "PUBREC and PUBCOMP",
        Request::Publish { .. } => "PUBACK",
        Request::Subscribe { .. } => "SUBACK",
        Request::Unsubscribe { .. } => "UNSUBACK",
        Request::Ping => "PINGRESP",
    };
    match reply {
        Reply::Positive if asked.is_empty() => format!("{name} without an error"),
        Reply::Positive => format!("{name} {}", hex(asked)),
        Reply::Denied => "denied, by whatever mechanism".into(),
        Reply::Refused => format!("{name} with an error code"),
        Reply::Closed => "the broker closes the connection".into(),
        Reply::Any | Reply::Unawaited => "any answer".into(),
        Reply::Codes(codes) => format!("{name} {}", hex(codes)),
    }
}
