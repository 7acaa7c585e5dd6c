//! Many filters against one topic: a tree with a node a level.
//!
//! Nodes live in one arena and are walked with explicit stacks, so a topic of 65,535 slashes costs
//! memory and time in proportion to its length, and never the thread's stack. Knows nothing of
//! subscribers or messages.

use std::collections::{BTreeMap, HashMap};

use slab::Slab;
use smallvec::SmallVec;

/// Index of a node in the arena.
type NodeId = u32;

/// The node that stands for nothing read yet; it is never removed.
const ROOT: NodeId = 0;

/// A map from topic filters to values of `V`, searched by topic name.
///
/// `$share/NAME/` is not looked at: the caller inserts the path of the filter it means.
#[derive(Debug)]
pub struct TopicTree<V> {
    nodes: Slab<Node<V>>,
    values: usize,
}

/// One level of some path.
#[derive(Debug)]
struct Node<V> {
    parent: NodeId,
    children: Children,
    plus: Option<NodeId>,
    hash: Option<NodeId>,
    value: Option<V>,
}

/// The children that are no wildcard. Most nodes have none or one,
/// for which a map would be ten times as large.
#[derive(Debug, Default)]
enum Children {
    #[default]
    None,
    One(Box<str>, NodeId),
    Few(BTreeMap<Box<str>, NodeId>),
    /// Found at one place instead of by halving, each half of which is far away in memory.
    Many(HashMap<Box<str>, NodeId>),
}

/// Children up to which halving is as fast.
const FEW: usize = 64;

impl Children {
    fn get(&self, level: &str) -> Option<NodeId> {
        match self {
            Self::One(name, id) => (**name == *level).then_some(*id),
            Self::Few(map) => map.get(level).copied(),
            Self::Many(map) => map.get(level).copied(),
            Self::None => None,
        }
    }

    fn insert(&mut self, level: &str, id: NodeId) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(level.into(), id),
            Self::One(name, other) => Self::Few(BTreeMap::from([(name, other), (level.into(), id)])),
            Self::Few(mut map) => {
                map.insert(level.into(), id);
                if map.len() > FEW { Self::Many(map.into_iter().collect()) } else { Self::Few(map) }
            }
            Self::Many(mut map) => {
                map.insert(level.into(), id);
                Self::Many(map)
            }
        };
    }

    fn remove(&mut self, id: NodeId, level: &str) {
        match self {
            Self::One(_, child) if *child == id => *self = Self::None,
            Self::Few(map) => {
                map.remove(level);
                if map.is_empty() {
                    *self = Self::None;
                }
            }
            Self::Many(map) => {
                map.remove(level);
                if map.is_empty() {
                    *self = Self::None;
                }
            }
            _ => {}
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }
}

impl<V> Default for TopicTree<V> {
    fn default() -> Self {
        let mut nodes = Slab::new();
        nodes.insert(Node::new(ROOT));
        Self { nodes, values: 0 }
    }
}

impl<V> Node<V> {
    fn new(parent: NodeId) -> Self {
        Self { parent, children: Children::None, plus: None, hash: None, value: None }
    }

    fn child(&self, level: &str) -> Option<NodeId> {
        match level {
            "+" => self.plus,
            "#" => self.hash,
            level => self.children.get(level),
        }
    }

    fn is_useless(&self) -> bool {
        self.value.is_none() && self.plus.is_none() && self.hash.is_none() && self.children.is_empty()
    }
}

impl<V> TopicTree<V> {
    fn node(&self, id: NodeId) -> &Node<V> {
        &self.nodes[id as usize]
    }

    fn node_mut(&mut self, id: NodeId) -> &mut Node<V> {
        &mut self.nodes[id as usize]
    }

    fn find(&self, path: &str) -> Option<NodeId> {
        path.split('/').try_fold(ROOT, |at, level| self.node(at).child(level))
    }

    fn add_child(&mut self, parent: NodeId, level: &str) -> NodeId {
        let id = NodeId::try_from(self.nodes.insert(Node::new(parent)))
            .expect("four thousand million nodes do not fit in memory");
        let node = self.node_mut(parent);
        match level {
            "+" => node.plus = Some(id),
            "#" => node.hash = Some(id),
            level => node.children.insert(level, id),
        }
        id
    }

    /// The value at exactly this filter path, made by `default` if there is none.
    pub fn entry(&mut self, path: &str, default: impl FnOnce() -> V) -> &mut V {
        let mut at = ROOT;
        for level in path.split('/') {
            at = match self.node(at).child(level) {
                Some(child) => child,
                None => self.add_child(at, level),
            };
        }
        if self.node(at).value.is_none() {
            self.values += 1;
        }
        self.node_mut(at).value.get_or_insert_with(default)
    }

    /// The value at exactly this filter path.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut V> {
        let id = self.find(path)?;
        self.node_mut(id).value.as_mut()
    }

    /// Takes the value at exactly this path out, and prunes what is empty then.
    pub fn remove(&mut self, path: &str) -> Option<V> {
        let mut at = self.find(path)?;
        let value = self.node_mut(at).value.take()?;
        self.values -= 1;
        for level in path.rsplit('/') {
            if at == ROOT || !self.node(at).is_useless() {
                break;
            }
            let parent = self.nodes.remove(at as usize).parent;
            let node = self.node_mut(parent);
            match level {
                "+" => node.plus = None,
                "#" => node.hash = None,
                level => node.children.remove(at, level),
            }
            at = parent;
        }
        Some(value)
    }

    /// Calls `visit` for the value of every filter that matches `topic` (4.7 `[MQTT-4.7.3-4]`), in no order that
    /// means anything but the same one every time.
    pub fn for_each_match<'a>(&'a self, topic: &str, mut visit: impl FnMut(&'a V)) {
        // What is still to be looked at: a node, and the rest of the topic behind it.
        let mut todo: SmallVec<[(NodeId, Option<&str>); 16]> = SmallVec::new();
        todo.push((ROOT, Some(topic)));
        while let Some((at, rest)) = todo.pop() {
            let node = self.node(at);
            // [MQTT-4.7.2-1]
            let wildcards = at != ROOT || !topic.starts_with('$');
            // `a/#` matches `a` too, so `#` is looked at behind the last level as well.
            if let Some(hash) = node.hash.filter(|_| wildcards) {
                self.node(hash).value.iter().for_each(&mut visit);
            }
            let Some(rest) = rest else {
                node.value.iter().for_each(&mut visit);
                continue;
            };
            let (level, rest) = match rest.split_once('/') {
                Some((level, rest)) => (level, Some(rest)),
                None => (rest, None),
            };
            if let Some(plus) = node.plus.filter(|_| wildcards) {
                todo.push((plus, rest));
            }
            if let Some(child) = node.children.get(level) {
                todo.push((child, rest));
            }
        }
    }

    /// Calls `visit` for every level of every path, parents first and else in the order of the names,
    /// with its depth and the value that stands there, until it answers false.
    pub fn walk<'a>(&'a self, mut visit: impl FnMut(usize, &'a str, Option<&'a V>) -> bool) {
        let mut todo: Vec<(usize, &str, NodeId)> = Vec::new();
        let push = |todo: &mut Vec<(usize, &'a str, NodeId)>, depth, node: &'a Node<V>| {
            let from = todo.len();
            match &node.children {
                Children::None => {}
                Children::One(name, id) => todo.push((depth, name, *id)),
                Children::Few(map) => todo.extend(map.iter().map(|(name, id)| (depth, &**name, *id))),
                Children::Many(map) => {
                    todo.extend(map.iter().map(|(name, id)| (depth, &**name, *id)));
                    todo[from..].sort_unstable();
                }
            }
            todo.extend(node.plus.map(|id| (depth, "+", id)));
            todo.extend(node.hash.map(|id| (depth, "#", id)));
            todo[from..].reverse();
        };
        push(&mut todo, 0, self.node(ROOT));
        while let Some((depth, level, id)) = todo.pop() {
            let node = self.node(id);
            if !visit(depth, level, node.value.as_ref()) {
                return;
            }
            push(&mut todo, depth + 1, node);
        }
    }

    /// How many values.
    pub fn len(&self) -> usize {
        self.values
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(paths: &[&str]) -> TopicTree<String> {
        let mut tree = TopicTree::default();
        for path in paths {
            tree.entry(path, || (*path).to_owned());
        }
        tree
    }

    #[test]
    fn many_children_are_found_and_walked_in_order_like_few() {
        let names: Vec<String> = (0..3 * FEW).map(|n| format!("a/{n:04}")).collect();
        let paths: Vec<&str> = names.iter().map(String::as_str).collect();
        let mut tree = tree(&paths);
        for name in &names {
            let mut found = vec![];
            tree.for_each_match(name, |value| found.push(value.clone()));
            assert_eq!(found.as_slice(), std::slice::from_ref(name));
        }
        let mut walked = vec![];
        tree.walk(|_, _, value| {
            walked.extend(value.cloned());
            true
        });
        assert_eq!(walked, names);
        for name in &names {
            assert_eq!(tree.remove(name).as_ref(), Some(name));
        }
        assert!(tree.is_empty());
        tree.for_each_match("a/0001", |_| panic!("nothing is left"));
    }

    #[test]
    fn a_walk_has_every_level_once() {
        let filters = tree(&["a/b", "a/+/c", "a", "#", "/x", "a/#"]);
        let mut lines = vec![];
        filters.walk(|depth, level, value| {
            lines.push(format!("{depth}{level}{}", if value.is_some() { "!" } else { "" }));
            lines.len() < 8
        });
        assert_eq!(lines, ["0", "1x!", "0a!", "1b!", "1+", "2c!", "1#!", "0#!"]);
    }

    fn matches(tree: &TopicTree<String>, topic: &str) -> Vec<String> {
        let mut found = vec![];
        tree.for_each_match(topic, |value| found.push(value.clone()));
        found.sort();
        found
    }

    #[test]
    fn the_examples_of_the_standard() {
        let filters = tree(&["sport/tennis/player1/#", "sport/#", "#", "+", "+/+", "/+", "a/+"]);
        assert_eq!(matches(&filters, "sport/tennis/player1"), ["#", "sport/#", "sport/tennis/player1/#"]);
        assert_eq!(matches(&filters, "sport"), ["#", "+", "sport/#"]);
        assert_eq!(matches(&filters, "/finance"), ["#", "+/+", "/+"]);
        assert_eq!(matches(&filters, "a/"), ["#", "+/+", "a/+"]);
        assert_eq!(matches(&filters, "a"), ["#", "+"]);
    }

    #[test]
    fn a_wildcard_at_the_start_does_not_match_dollar_topics() {
        let filters = tree(&["#", "+/x", "$SYS/#", "$SYS/+"]);
        assert_eq!(matches(&filters, "$SYS/x"), ["$SYS/#", "$SYS/+"]);
    }

    #[test]
    fn removing_prunes() {
        let mut filters = tree(&["a/b/c", "a/b", "+/#", "a/d", "a/e"]);
        for path in ["a/b/c", "+/#", "a/e", "a/d", "a/b"] {
            assert_eq!(filters.remove(path).as_deref(), Some(path));
            assert_eq!(filters.remove(path), None);
        }
        assert!(filters.is_empty());
        assert_eq!(filters.nodes.len(), 1);
    }

    #[test]
    fn the_deepest_topic_does_not_overflow_the_stack() {
        let deepest = "/".repeat(65_535);
        let mut topics = tree(&[&deepest]);
        assert_eq!(matches(&topics, &deepest).len(), 1);
        assert!(topics.remove(&deepest).is_some());
        assert_eq!(topics.nodes.len(), 1);
        drop(tree(&[&deepest]));
    }
}
