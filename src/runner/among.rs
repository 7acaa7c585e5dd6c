//! `receives` with `or`: messages of which each comes to one of several clients, whichever.
//!
//! Captures nothing. Copies too many stay in the inboxes, where the strict inbox finds them.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::actor::{list, pick};
use super::context::At;
use super::fence::{Actors, fence};
use super::matching::{describe_message, is_message};
use super::outcome::Done;
use crate::mqtt::Packet;
use crate::scenario::op::{ClientIndex, Expect};
use crate::text::print_duration;

/// Between two looks at the inboxes.
const PAUSE: Duration = Duration::from_millis(10);

/// Waits for messages at any of these clients.
pub async fn receive(at: At<'_>, actors: &Actors<'_>, clients: &[ClientIndex], expect: &Expect) -> Done {
    for client in clients {
        actors[client.0].lock().await.ensure_open(at).await?;
    }
    let until = Instant::now() + expect.within;
    loop {
        // What was sent before has then arrived at whichever of them.
        fence(at, actors).await?;
        if take(at, actors, clients, expect).await {
            return Ok(());
        }
        if Instant::now() >= until {
            return missed(at, actors, clients, expect).await;
        }
        sleep(PAUSE).await;
    }
}

/// Takes the messages out of the inboxes, if all of them are there.
async fn take(at: At<'_>, actors: &Actors<'_>, clients: &[ClientIndex], expect: &Expect) -> bool {
    let patterns = expect.messages.iter();
    let slots: Vec<_> =
        patterns.flat_map(|pattern| std::iter::repeat_n(pattern, pattern.times as usize)).collect();
    let mut there = Vec::new();
    for client in clients {
        let came = actors[client.0].lock().await.unasked();
        there.extend(came.into_iter().enumerate().map(|(index, publish)| (*client, index, publish)));
    }
    let picked = at.looking(|lookup| {
        pick(slots.len(), there.len(), true, |slot, index| is_message(slots[slot], &there[index].2, lookup))
    });
    let Some(picked) = picked else { return false };
    for client in clients {
        let mine = picked.iter().filter(|index| there[**index].0 == *client);
        let taken: Vec<usize> = mine.map(|index| there[*index].1).collect();
        let mut number = 0;
        actors[client.0].lock().await.inbox.with(|packets| {
            packets.retain(|packet| {
                let Packet::Publish(_) = packet else { return true };
                number += 1;
                !taken.contains(&(number - 1))
            });
        });
    }
    true
}

async fn missed(at: At<'_>, actors: &Actors<'_>, clients: &[ClientIndex], expect: &Expect) -> Done {
    let wanted = at.looking(|lookup| {
        let described = expect.messages.iter().map(|pattern| {
            let times = if pattern.times > 1 { format!("{} × ", pattern.times) } else { String::new() };
            times + &describe_message(pattern, lookup)
        });
        described.collect::<Vec<_>>().join(" and ")
    });
    let (mut names, mut came) = (Vec::new(), Vec::new());
    let mut lines = Vec::new();
    for client in clients {
        let actor = actors[client.0].lock().await;
        names.push(actor.spec.name.clone());
        let there = actor.unasked();
        lines.extend(actor.lines(&there));
        let what = if there.is_empty() { "nothing".to_owned() } else { list(&there) };
        came.push(format!("{}: {what}", actor.spec.name));
    }
    let expected = format!("one of {} receives {wanted}", names.join(", "));
    let actual = format!("not within {}; what came: {}", print_duration(expect.within), came.join("; "));
    Err(at.failed(expected, actual).instead(lines))
}
