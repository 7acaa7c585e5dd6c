//! Many filters against one topic: a tree with a node a level.

use super::TopicFilter;

/// A map from topic filters to values of `V`, searched by topic name.
///
/// `$share/NAME/` is not looked at: the caller inserts the path of the filter it means.
#[derive(Debug)]
pub struct TopicTree<V> {
    _values: Vec<V>,
}

impl<V> Default for TopicTree<V> {
    fn default() -> Self {
        Self { _values: Vec::new() }
    }
}

impl<V> TopicTree<V> {
    /// The value at exactly this filter path, made by `default` if there is none.
    pub fn entry(&mut self, path: &str, default: impl FnOnce() -> V) -> &mut V {
        let _ = (path, default);
        unimplemented!()
    }

    /// The value at exactly this filter path.
    pub fn get_mut(&mut self, path: &str) -> Option<&mut V> {
        let _ = path;
        unimplemented!()
    }

    /// Takes the value at exactly this path out, and prunes what is empty then.
    pub fn remove(&mut self, path: &str) -> Option<V> {
        let _ = path;
        unimplemented!()
    }

    /// Calls `visit` for the value of every filter that matches `topic` (4.7), in no order that
    /// means anything but the same one every time.
    pub fn for_each_match<'a>(&'a self, topic: &str, visit: impl FnMut(&'a V)) {
        let _ = (topic, visit);
        unimplemented!()
    }

    /// For a tree whose paths are topic names: calls `visit` for every value that `filter`
    /// matches, until `visit` says stop. Used for retained messages.
    pub fn for_each_in<'a>(&'a self, filter: &TopicFilter, visit: impl FnMut(&'a V)) {
        let _ = (filter, visit);
        unimplemented!()
    }

    /// How many values.
    pub fn len(&self) -> usize {
        unimplemented!()
    }

    /// True without any.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
