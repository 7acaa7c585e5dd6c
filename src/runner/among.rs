//! `receives` with `or`: messages of which each comes to one of several clients, whichever.
//!
//! Captures nothing. Copies too many stay in the inboxes, where the strict inbox finds them.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use tokio::time::{Instant, timeout_at};

use super::actor::{all_wanted, list, pick, wanted};
use super::context::At;
use super::fence::{Actors, fence};
use super::link::Inbox;
use super::matching::is_message;
use super::outcome::Done;
use crate::mqtt::Packet;
use crate::scenario::op::{ClientIndex, Expect};
use crate::text::print_duration;

/// Waits for messages at any of these clients.
pub async fn receive(at: At<'_>, actors: &Actors<'_>, clients: &[ClientIndex], expect: &Expect) -> Done {
    let mut inboxes = Vec::new();
    for client in clients {
        let mut actor = actors[client.0].lock().await;
        actor.ensure_open(at).await?;
        inboxes.push(actor.inbox.clone());
    }
    let since = Instant::now();
    let until = since + expect.within;
    loop {
        // What was sent before has then arrived at whichever of them.
        fence(at, actors).await?;
        let over = Instant::now() >= until;
        if until_there(at, actors, clients, expect, &inboxes, until).await {
            return Ok(());
        }
        if over {
            return missed(at, actors, clients, expect, since).await;
        }
    }
}

/// Takes the messages as soon as all of them are there; false if they are not in time.
async fn until_there(
    at: At<'_>,
    actors: &Actors<'_>,
    clients: &[ClientIndex],
    expect: &Expect,
    inboxes: &[Inbox],
    until: Instant,
) -> bool {
    loop {
        // From before the look, so that nothing that comes meanwhile goes unnoticed.
        let mut changes: Vec<Pin<Box<_>>> = inboxes.iter().map(|inbox| Box::pin(inbox.changed())).collect();
        for change in &mut changes {
            change.as_mut().enable();
        }
        if take(at, actors, clients, expect).await {
            return true;
        }
        let any = poll_fn(|context| {
            let came = changes.iter_mut().any(|change| change.as_mut().poll(context).is_ready());
            if came { Poll::Ready(()) } else { Poll::Pending }
        });
        if timeout_at(until, any).await.is_err() {
            return false;
        }
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

async fn missed(
    at: At<'_>,
    actors: &Actors<'_>,
    clients: &[ClientIndex],
    expect: &Expect,
    since: Instant,
) -> Done {
    let wanted = wanted(at, expect, " and ");
    let (mut names, mut came) = (Vec::new(), Vec::new());
    let mut lines = Vec::new();
    let mut silent = true;
    for client in clients {
        let actor = actors[client.0].lock().await;
        names.push(actor.spec.name.clone());
        let there = actor.unasked();
        silent &= all_wanted(at, expect, &there);
        lines.extend(actor.lines(&there));
        let what = if there.is_empty() { "nothing".to_owned() } else { list(&there) };
        came.push(format!("{}: {what}", actor.spec.name));
    }
    let expected = format!("one of {} receives {wanted}", names.join(", "));
    let actual = format!("not within {}; what came: {}", print_duration(expect.within), came.join("; "));
    let trouble = if silent { at.silent(since, expected, actual) } else { at.failed(expected, actual) };
    Err(trouble.instead(lines))
}
