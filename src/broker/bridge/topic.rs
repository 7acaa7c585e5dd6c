//! Which topic here is which topic there: the `topic` lines of a bridge (mosquitto.conf(5), "topic").
//!
//! Pure. A message is passed on only under a name that its line can mean on the other side; whatever
//! else a broker sends is nobody's business (CVE-2024-3935 was one byte of such a name).

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use bytestring::ByteString;

use crate::broker::config::{BridgeDirection, BridgeTopic};
use crate::mqtt::topic::TopicError;
use crate::mqtt::{QoS, TopicFilter, TopicName};

/// Which way a message goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From our broker to the other one.
    Out,
    /// From the other one to ours.
    In,
}

impl Way {
    /// Both, for what is asked of each.
    #[cfg(test)]
    const BOTH: [Self; 2] = [Self::Out, Self::In];
}

/// The `topic` lines of a bridge.
#[derive(Debug, Clone, Default)]
pub struct TopicMap {
    lines: Vec<Line>,
}

#[derive(Debug, Clone)]
struct Line {
    direction: BridgeDirection,
    qos: QoS,
    local: End,
    remote: End,
}

/// A line as one of the brokers knows it.
#[derive(Debug, Clone)]
struct End {
    prefix: ByteString,
    /// Prefix and pattern.
    filter: TopicFilter,
}

/// A filter to subscribe to, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// With its prefix.
    pub filter: TopicFilter,
    /// At most.
    pub qos: QoS,
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Its name on the other side.
    pub topic: TopicName,
    /// The most that its lines allow.
    pub qos: QoS,
}

impl TopicMap {
    /// Reads the lines; which of them (from 0) is wrong, and why.
    pub fn new(topics: &[BridgeTopic]) -> Result<Self, (usize, TopicError)> {
        let line = |(at, topic): (usize, &BridgeTopic)| Line::new(topic).map_err(|error| (at, error));
        Ok(Self { lines: topics.iter().enumerate().map(line).collect::<Result<_, _>>()? })
    }

    /// What is subscribed to at the side where this way begins.
    pub fn subscriptions(&self, way: Way) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for line in self.lines.iter().filter(|line| line.goes(way)) {
            let filter = &line.ends(way).0.filter;
            match wanted.iter_mut().find(|other| other.filter == *filter) {
                Some(other) => other.qos = other.qos.max(line.qos),
                None => wanted.push(Wanted { filter: filter.clone(), qos: line.qos }),
            }
        }
        wanted
    }

    /// What may be subscribed to there from a time when a line that only goes out now also came in.
    pub fn unwanted_there(&self) -> Vec<TopicFilter> {
        let wanted = self.subscriptions(Way::In);
        let mut unwanted: Vec<TopicFilter> = Vec::new();
        for line in self.lines.iter().filter(|line| !line.goes(Way::In)) {
            let filter = &line.remote.filter;
            if !unwanted.contains(filter) && !wanted.iter().any(|wanted| wanted.filter == *filter) {
                unwanted.push(filter.clone());
            }
        }
        unwanted
    }

    /// The name of a message on the other side; `None` if no line carries it there. As in mosquitto
    /// the first line that does names it.
    pub fn map(&self, way: Way, topic: &TopicName) -> Option<Mapped> {
        let mut lines = self.lines.iter().filter(|line| line.goes(way));
        let mut mapped = lines.by_ref().find_map(|line| {
            let topic = line.rename(way, topic)?;
            Some(Mapped { topic, qos: line.qos })
        })?;
        // The subscriptions were merged, so the best of them was granted.
        for line in lines.filter(|line| line.ends(way).0.filter.matches(topic)) {
            mapped.qos = mapped.qos.max(line.qos);
        }
        Some(mapped)
    }
}

impl Line {
    fn new(topic: &BridgeTopic) -> Result<Self, TopicError> {
        let end = |prefix: &str| {
            let filter = match &topic.pattern {
                // The prefixes are the topics.
                None => TopicName::new(prefix.to_owned())?.as_byte_string().clone(),
                Some(pattern) => format!("{prefix}{pattern}").into(),
            };
            if !prefix.is_empty() {
                TopicName::new(prefix.to_owned())?;
            }
            let filter = TopicFilter::new(filter)?;
            // A share would be stripped as if it were a prefix.
            if filter.shared().is_some() {
                return Err(TopicError::BadShare);
            }
            Ok(End { prefix: prefix.into(), filter })
        };
        Ok(Self {
            direction: topic.direction,
            qos: topic.qos,
            local: end(&topic.local_prefix)?,
            remote: end(&topic.remote_prefix)?,
        })
    }

    fn goes(&self, way: Way) -> bool {
        match self.direction {
            BridgeDirection::Both => true,
            BridgeDirection::Out => way == Way::Out,
            BridgeDirection::In => way == Way::In,
        }
    }

    /// Where a way begins and where it ends.
    fn ends(&self, way: Way) -> (&End, &End) {
        match way {
            Way::Out => (&self.local, &self.remote),
            Way::In => (&self.remote, &self.local),
        }
    }

    /// `None` if the line does not match, or what is behind the prefix is no topic on the other side:
    /// nothing at all, too long, or one of the topics with `$` that only a line with `$` may mean.
    fn rename(&self, way: Way, topic: &TopicName) -> Option<TopicName> {
        let (from, to) = self.ends(way);
        if !from.filter.matches(topic) {
            return None;
        }
        if from.prefix == to.prefix {
            return Some(topic.clone());
        }
        // `r/#` matches `r`, which does not begin with `r/`.
        let rest = topic.as_str().strip_prefix(&*from.prefix)?;
        let renamed = TopicName::new(format!("{}{rest}", to.prefix)).ok()?;
        to.filter.matches(&renamed).then_some(renamed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn topic(
        pattern: Option<&str>,
        direction: BridgeDirection,
        qos: QoS,
        prefixes: (&str, &str),
    ) -> BridgeTopic {
        BridgeTopic {
            pattern: pattern.map(str::to_owned),
            direction,
            qos,
            local_prefix: prefixes.0.to_owned(),
            remote_prefix: prefixes.1.to_owned(),
        }
    }

    fn both(pattern: Option<&str>, local: &str, remote: &str) -> BridgeTopic {
        topic(pattern, BridgeDirection::Both, QoS::AtLeastOnce, (local, remote))
    }

    fn map(topics: &[BridgeTopic], way: Way, name: &str) -> Option<String> {
        let map = TopicMap::new(topics).expect("good lines");
        let mapped = map.map(way, &TopicName::new(name.to_owned()).expect("a topic"))?;
        Some(mapped.topic.to_string())
    }

    fn filters(map: &TopicMap, way: Way) -> Vec<String> {
        map.subscriptions(way).iter().map(|wanted| format!("{} {}", wanted.filter, wanted.qos)).collect()
    }

    /// The table of mosquitto.conf(5).
    #[test]
    fn prefixes_are_exchanged_as_the_manual_says() {
        let rows = [
            (Some("pattern"), "L/", "R/", Some(("L/pattern", "R/pattern"))),
            (Some("pattern"), "L/", "", Some(("L/pattern", "pattern"))),
            (Some("pattern"), "", "R/", Some(("pattern", "R/pattern"))),
            (Some("pattern"), "", "", Some(("pattern", "pattern"))),
            (None, "local", "remote", Some(("local", "remote"))),
            (None, "local", "", None),
            (None, "", "remote", None),
            (None, "", "", None),
        ];
        for (pattern, local, remote, full) in rows {
            let line = both(pattern, local, remote);
            let Some((here, there)) = full else {
                assert_eq!(TopicMap::new(&[line]).expect_err("invalid"), (0, TopicError::Empty));
                continue;
            };
            assert_eq!(map(std::slice::from_ref(&line), Way::Out, here).as_deref(), Some(there));
            assert_eq!(map(&[line], Way::In, there).as_deref(), Some(here));
        }
    }

    #[test]
    fn trees_are_remapped_and_the_manuals_example_works() {
        let tree = [both(Some("#"), "local/topic/", "remote/topic/")];
        assert_eq!(map(&tree, Way::Out, "local/topic/a/b").as_deref(), Some("remote/topic/a/b"));
        assert_eq!(map(&tree, Way::In, "remote/topic/a").as_deref(), Some("local/topic/a"));
        assert_eq!(map(&tree, Way::In, "local/topic/a"), None);

        let prefixes = ("test/mosquitto/org/", "$SYS/broker/");
        let example = [topic(Some("clients/total"), BridgeDirection::In, QoS::AtMostOnce, prefixes)];
        let there = "$SYS/broker/clients/total";
        assert_eq!(map(&example, Way::In, there).as_deref(), Some("test/mosquitto/org/clients/total"));
        assert_eq!(map(&example, Way::Out, "test/mosquitto/org/clients/total"), None);
        let example = TopicMap::new(&example).expect("good");
        assert_eq!(filters(&example, Way::In), ["$SYS/broker/clients/total 0"]);
        assert!(filters(&example, Way::Out).is_empty());
    }

    #[test]
    fn names_that_the_other_side_crafted_go_nowhere() {
        let line = [both(Some("#"), "", "r/")];
        // Shorter than the prefix although the filter matches; nothing behind the prefix; a topic of
        // the broker's own that no line asks for; names that no line asked for at all.
        for name in ["r", "r/", "r/$SYS/broker/uptime", "r/$share/g/x", "other", "R/x", "$SYS/x"] {
            assert_eq!(map(&line, Way::In, name), None, "{name}");
        }
        let long = format!("r/{}", "x".repeat(65_530));
        assert!(map(&line, Way::In, &long).is_some());
        assert_eq!(map(&[both(Some("#"), "long/prefix/", "r/")], Way::In, &long), None);
        assert_eq!(map(&[both(Some("a/#"), "", "")], Way::In, "b/x"), None);
    }

    #[test]
    fn the_first_line_names_and_the_best_grants() {
        let lines = [
            topic(Some("a/#"), BridgeDirection::Out, QoS::AtMostOnce, ("", "one/")),
            topic(Some("a/b"), BridgeDirection::Both, QoS::ExactlyOnce, ("", "two/")),
            topic(Some("a/+"), BridgeDirection::In, QoS::AtLeastOnce, ("", "two/")),
            topic(Some("a/#"), BridgeDirection::Out, QoS::AtLeastOnce, ("", "three/")),
        ];
        let map = TopicMap::new(&lines).expect("good");
        let name = |text: &str| TopicName::new(text.to_owned()).expect("a topic");
        let out = map.map(Way::Out, &name("a/b")).expect("goes out");
        assert_eq!((out.topic.as_str(), out.qos), ("one/a/b", QoS::ExactlyOnce));
        let out = map.map(Way::Out, &name("a/c")).expect("goes out");
        assert_eq!((out.topic.as_str(), out.qos), ("one/a/c", QoS::AtLeastOnce));
        let back = map.map(Way::In, &name("two/a/c")).expect("comes in");
        assert_eq!((back.topic.as_str(), back.qos), ("a/c", QoS::AtLeastOnce));
        assert_eq!(filters(&map, Way::Out), ["a/# 1", "a/b 2"]);
        assert_eq!(filters(&map, Way::In), ["two/a/b 2", "two/a/+ 1"]);
        let unwanted: Vec<_> = map.unwanted_there().iter().map(ToString::to_string).collect();
        assert_eq!(unwanted, ["one/a/#", "three/a/#"]);
    }

    #[test]
    fn wildcards_in_prefixes_and_shares_are_refused() {
        for (pattern, local, remote) in [
            (Some("a"), "+/", ""),
            (Some("a"), "", "x/#"),
            (Some("$share/g/a"), "", ""),
            (Some("a#"), "", ""),
        ] {
            assert!(TopicMap::new(&[both(pattern, local, remote)]).is_err(), "{pattern:?} {local} {remote}");
        }
    }

    #[test]
    fn without_prefixes_nothing_is_renamed_either_way() {
        let line = [both(Some("+/x"), "same/", "same/")];
        for way in Way::BOTH {
            assert_eq!(map(&line, way, "same/a/x").as_deref(), Some("same/a/x"));
        }
    }
}
