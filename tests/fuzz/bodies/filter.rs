//! Topic names against topic filters: the matcher, the tree and a matcher that is too simple to be
//! wrong agree. Lines of the input: a name, then filters.

use mqttlab::mqtt::topic::TopicTree;
use mqttlab::mqtt::{TopicFilter, TopicName};

/// Runs one input.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut lines = text.split('\n');
    let Ok(name) = TopicName::new(lines.next().unwrap_or_default().to_owned()) else { return };
    let mut tree = TopicTree::default();
    let mut expected = Vec::new();
    for line in lines.take(64) {
        let Ok(filter) = TopicFilter::new(line.to_owned()) else { continue };
        let matches = simple(filter.path(), name.as_str());
        assert_eq!(filter.matches(&name), matches, "{filter:?} against {name:?}");
        let path = filter.path().to_owned();
        let is_new = tree.get_mut(&path).is_none();
        tree.entry(&path, || path.clone());
        if matches && is_new {
            expected.push(path);
        }
    }
    let mut found = Vec::new();
    tree.for_each_match(name.as_str(), |path: &String| found.push(path.clone()));
    found.sort();
    expected.sort();
    assert_eq!(found, expected, "the tree for {name:?}");
}

/// 4.7, word for word.
fn simple(filter: &str, name: &str) -> bool {
    if name.starts_with('$') && (filter.starts_with('+') || filter.starts_with('#')) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let name: Vec<&str> = name.split('/').collect();
    for (at, level) in filter.iter().enumerate() {
        match *level {
            "#" => return name.len() >= at,
            "+" if at < name.len() => {}
            level if name.get(at) == Some(&level) => {}
            _ => return false,
        }
    }
    filter.len() == name.len()
}
