//! Who subscribed to what: a tree of filters, at each filter its subscribers and its shares.

use std::fmt::Write as _;
use std::num::NonZeroU32;

use crate::mqtt::packet::SubscriptionOptions;
use crate::mqtt::topic::TopicTree;
use crate::mqtt::{QoS, TopicFilter};
use crate::text::escape;

use super::limits::MAX_PRINT;
use super::session::SessionId;
use super::shared::Group;

/// What a subscription was granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Grant {
    pub qos: QoS,
    pub no_local: bool,
    pub retain_as_published: bool,
    pub id: Option<NonZeroU32>,
}

impl Grant {
    /// All that was asked for.
    pub fn new(options: SubscriptionOptions, id: Option<u32>) -> Self {
        Self {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            id: id.and_then(NonZeroU32::new),
        }
    }
}

/// One session's subscription to the filter where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub session: SessionId,
    pub grant: Grant,
}

/// What stands at one filter. Both lists are sorted: sessions by key, shares by name.
#[derive(Debug, Default)]
struct Node {
    plain: Vec<Member>,
    shared: Vec<Group>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Subscriptions {
    tree: TopicTree<Node>,
    plain: usize,
    shared: usize,
    /// Those of both kinds that can see `$SYS`.
    sys: usize,
}

/// True if the filter matches some topic of the broker's own. No filter that begins with a wildcard
/// does, [MQTT-4.7.2-1].
pub(super) fn sees_sys(filter: &TopicFilter) -> bool {
    filter.path().split('/').next() == Some("$SYS")
}

/// Where a session stands or would stand in a sorted list.
pub(super) fn find(members: &[Member], session: SessionId) -> Result<usize, usize> {
    members.binary_search_by_key(&session, |member| member.session)
}

impl Subscriptions {
    /// Adds a subscription or replaces it; true if it is new. [MQTT-3.8.4-3] 5: [U5-3.8.4-2]
    pub fn insert(&mut self, session: SessionId, filter: &TopicFilter, grant: Grant) -> bool {
        let new = self.place(session, filter, grant);
        self.sys += usize::from(new && sees_sys(filter));
        new
    }

    fn place(&mut self, session: SessionId, filter: &TopicFilter, grant: Grant) -> bool {
        let node = self.tree.entry(filter.path(), Node::default);
        if let Some(shared) = filter.shared() {
            let at = match node.shared.binary_search_by_key(&shared.group, |group| &group.name) {
                Ok(at) => at,
                Err(at) => {
                    node.shared.insert(at, Group::new(shared.group));
                    at
                }
            };
            let new = node.shared[at].insert(session, grant);
            self.shared += usize::from(new);
            return new;
        }
        match find(&node.plain, session) {
            Ok(at) => {
                node.plain[at].grant = grant;
                false
            }
            Err(at) => {
                node.plain.insert(at, Member { session, grant });
                self.plain += 1;
                true
            }
        }
    }

    /// Removes the subscription with exactly this filter `[MQTT-3.10.4-1]`; true if there was one.
    pub fn remove(&mut self, session: SessionId, filter: &TopicFilter) -> bool {
        let Some(node) = self.tree.get_mut(filter.path()) else { return false };
        let removed = if let Some(shared) = filter.shared() {
            let at = node.shared.binary_search_by_key(&shared.group, |group| &group.name);
            let removed = at.is_ok_and(|at| node.shared[at].remove(session));
            node.shared.retain(|group| !group.is_empty());
            self.shared -= usize::from(removed);
            removed
        } else {
            let at = find(&node.plain, session);
            if let Ok(at) = at {
                node.plain.remove(at);
            }
            self.plain -= usize::from(at.is_ok());
            at.is_ok()
        };
        if node.plain.is_empty() && node.shared.is_empty() {
            self.tree.remove(filter.path());
        }
        self.sys -= usize::from(removed && sees_sys(filter));
        removed
    }

    /// Calls `plain` for every subscriber of a topic and `share` for every share of it.
    pub fn visit(&self, topic: &str, mut plain: impl FnMut(Member), mut share: impl FnMut(&Group)) {
        self.tree.for_each_match(topic, |node| {
            node.plain.iter().copied().for_each(&mut plain);
            node.shared.iter().for_each(&mut share);
        });
    }

    /// True if a topic of the broker's own may have a reader.
    pub fn see_sys(&self) -> bool {
        self.sys > 0
    }

    /// The tree as text: a level a line, indented by its depth, with the subscribers to it. Cut short
    /// after [`MAX_PRINT`].
    pub fn print<'a>(&self, name: impl Fn(SessionId) -> &'a str) -> String {
        let mut out = String::new();
        self.tree.walk(|depth, level, node| {
            let _ = write!(out, "{:indent$}{}", "", escape(level), indent = 4 + 2 * depth);
            for member in node.into_iter().flat_map(|node| &node.plain) {
                let _ = write!(out, " ({}, {})", escape(name(member.session)), member.grant.qos);
            }
            for group in node.into_iter().flat_map(|node| &node.shared) {
                for member in group.members() {
                    let share = escape(&group.name);
                    let who = escape(name(member.session));
                    let _ = write!(out, " ($share/{share}: {who}, {})", member.grant.qos);
                }
            }
            out.push('\n');
            let goes_on = out.len() < MAX_PRINT;
            if !goes_on {
                out.push_str("    … and more\n");
            }
            goes_on
        });
        out
    }

    /// How many subscriptions, without the shared ones.
    pub fn plain_len(&self) -> usize {
        self.plain
    }

    /// How many shared subscriptions.
    pub fn shared_len(&self) -> usize {
        self.shared
    }
}
