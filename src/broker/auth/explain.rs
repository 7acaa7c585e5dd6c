//! Why an ACL file decided as it did, in a sentence: for failure hints and `log_type denied`.
//!
//! Decides nothing itself; slow beside [`Acl::check`], and never on the way of a message.

use super::acl::{Acl, RuleRef, Section};
use super::{Access, Decision, Subject};

/// A decision with what led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation<'a> {
    /// The decision, as [`Acl::check`] makes it.
    pub decision: Decision,
    /// The lines that match the topic and bind this client, in the order they were asked, up to
    /// the one that decided.
    pub rules: Vec<RuleRef<'a>>,
    /// One sentence, lower case, no full stop.
    pub text: String,
}

impl Acl {
    /// As [`Acl::check`], with the lines that were considered and a sentence for people.
    pub fn explain(&self, who: Subject<'_>, topic: &str, access: Access) -> Explanation<'_> {
        let decision = self.check(who, topic, access);
        let section = self.section(who);
        let own = self.own(who).iter().map(|rule| (rule, None, section));
        let patterns = self.patterns.iter().map(|rule| (rule, Some(who), Section::Everybody));
        let asked = own.chain(patterns.filter(|_| !self.refuses_name(who)));
        let mut rules = Vec::new();
        for (rule, substitute, section) in asked {
            if rule.matches(substitute, topic) {
                rules.push(self.rule_ref(rule, section));
                if rule.decide(substitute, topic, access).is_some() {
                    break;
                }
            }
        }
        let text = self.sentence(who, topic, access, decision, &rules);
        Explanation { decision, rules, text }
    }

    /// The list that binds the client, under the name that the file gives it.
    fn section(&self, who: Subject<'_>) -> Section<'_> {
        let name = who.user().and_then(|name| self.users.get_key_value(name));
        name.map_or(Section::Anonymous, |(name, _)| Section::User(name))
    }

    fn sentence(
        &self,
        who: Subject<'_>,
        topic: &str,
        access: Access,
        decision: Decision,
        rules: &[RuleRef<'_>],
    ) -> String {
        let name = who.user().unwrap_or("an anonymous client");
        let word = access.word();
        match (decision.line, rules.last()) {
            (Some(_), Some(last)) if decision.allowed => {
                format!("{name} has {word} access: {}", self.cite(last))
            }
            (Some(_), Some(last)) => format!("{name} is denied: {}", self.cite(last)),
            _ if self.refuses_name(who) => format!(
                "{name} is denied: with pattern lines no client whose name or id holds `+` or `#` gets in"
            ),
            (_, Some(last)) => {
                format!("no line grants {name} {word} on {topic}; {} does not", self.cite(last))
            }
            (_, None) => {
                let text = format!("no line grants {name} {word} on {topic}");
                match self.grants_the_anonymous(who, topic, access) {
                    Some(other) => {
                        format!("{text}; {} binds clients without a user name only", self.cite(&other))
                    }
                    None => text,
                }
            }
        }
    }

    /// The commonest mistake: a line before the first `user` that was meant for all users.
    fn grants_the_anonymous(&self, who: Subject<'_>, topic: &str, access: Access) -> Option<RuleRef<'_>> {
        who.user()?;
        let grants =
            |rule: &&super::acl::Rule| rule.decide(None, topic, access).is_some_and(|found| found.allowed);
        let rule = self.anonymous.iter().find(grants)?;
        Some(self.rule_ref(rule, Section::Anonymous))
    }

    /// `topic readwrite home/#` under `user bob` (student/acl:14)
    fn cite(&self, rule: &RuleRef<'_>) -> String {
        let place = format!("({}:{})", self.name(), rule.line);
        match rule.section {
            Section::Anonymous => format!("`{}` before the first `user` {place}", rule.text),
            Section::User(name) => format!("`{}` under `user {name}` {place}", rule.text),
            Section::Everybody => format!("`{}` {place}", rule.text),
        }
    }
}
