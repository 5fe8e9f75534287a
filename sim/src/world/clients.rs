//! What happens at clients: they ask, wait, try again elsewhere, and give up.

use super::{Event, MILLISECOND, Origin, World, describe};
use crate::{
    client::Busy,
    draw::{Purpose, again, chance, draw, within},
    marks::SimMark,
    network::Endpoint,
    oracle::{Rule, answers, reference},
    plan::MessageKind,
    wrong,
};
use bytes::Bytes;
use prost::Message;
use quorate_core::types::Index;
use quorate_proto::v1::{self as pb, RefusalCode, client_reply::Body};

impl World {
    pub(super) fn client_next(&mut self, place: u8) {
        let now_ms = self.time / MILLISECOND;
        let floor = self.oracles.as_ref().map_or(Index(0), |oracles| oracles.answers.floor());
        let client = &mut self.clients[usize::from(place)];
        if client.busy.is_some() {
            return;
        }
        if client.stalls > 0 {
            self.marks.hit(SimMark::ClientStood);
            return client.stood.push(Event::ClientNext { client: place });
        }
        if self.plan.masters.founders > 0 {
            self.skip_changes(place, now_ms);
        }
        let client = &mut self.clients[usize::from(place)];
        match client.take(now_ms) {
            Ok(request) => {
                let until = self.time + client.plan.give_up_ms * MILLISECOND;
                client.busy =
                    Some(Busy { request: Box::new(request), floor, call: self.time, until, attempts: 0 });
                self.asked_first(place);
                self.client_asks(place);
            }
            Err(Some(at_ms)) => self.queue.push(at_ms * MILLISECOND, Event::ClientNext { client: place }),
            Err(None) => {}
        }
    }

    fn client_asks(&mut self, place: u8) {
        let watched = self.watched();
        let client = &mut self.clients[usize::from(place)];
        let Some(busy) = &mut client.busy else { return };
        client.attempt += 1;
        busy.attempts += 1;
        let (attempt, to) = (client.attempt, client.target);
        let bytes = Bytes::from(busy.request.encode_to_vec());
        let text = watched.then(|| answers::brief(&busy.request));
        let limit = self.time + client.plan.timeout_ms * MILLISECOND;
        self.mark(40, place, attempt, &bytes);
        self.line(Endpoint::Client(place), "ask", || format!("-> {} {}", to + 1, text.unwrap_or_default()));
        let origin = Origin::Client { client: place, attempt };
        if let Some(other) = self.doubled(place, attempt, to) {
            self.marks.hit(SimMark::RequestDoubled);
            self.client_sends(place, other, Event::Request { to: other, origin, bytes: bytes.clone() });
        }
        self.client_sends(place, to, Event::Request { to, origin, bytes });
        self.queue.push(limit, Event::ClientTimeout { client: place, attempt });
    }

    fn client_sends(&mut self, place: u8, to: u8, event: Event) {
        let (from, to) = (Endpoint::Client(place), Endpoint::Master(to));
        if let Some(time) = self.network.send(self.time, from, to, 1, MessageKind::Other)[0] {
            self.queue.push(time, event);
        }
    }

    /// The other master that the request goes to as well, while a fault says so.
    fn doubled(&self, place: u8, attempt: u64, to: u8) -> Option<u8> {
        let ppm = self.clients[usize::from(place)].doubles.iter().map(|(_, ppm)| *ppm).max()?;
        let luck = draw(self.plan.seed, Purpose::Double, &[u64::from(place), attempt]);
        let masters = self.masters.len() as u64;
        let other = (u64::from(to) + within(again(luck, 1), 1, masters - 1)) % masters;
        chance(luck, ppm).then_some(other as u8).filter(|other| *other != to)
    }

    /// A client that stood still goes on.
    pub(super) fn client_goes_on(&mut self, place: u8) {
        let client = &mut self.clients[usize::from(place)];
        client.stalls = client.stalls.saturating_sub(1);
        if client.stalls == 0 {
            for event in core::mem::take(&mut client.stood) {
                self.queue.push(self.time, event);
            }
        }
    }

    pub(super) fn client_timeout(&mut self, place: u8, attempt: u64) {
        let client = &self.clients[usize::from(place)];
        if client.attempt != attempt || client.busy.is_none() {
            return;
        }
        let to = client.target;
        let origin = Origin::Client { client: place, attempt };
        self.client_sends(place, to, Event::RequestGone { to, origin });
        self.client_failed(place, None);
    }

    pub(super) fn client_retry(&mut self, place: u8, attempt: u64) {
        let client = &mut self.clients[usize::from(place)];
        if client.attempt != attempt {
            return;
        }
        if client.stalls > 0 {
            self.marks.hit(SimMark::ClientStood);
            return client.stood.push(Event::ClientRetry { client: place, attempt });
        }
        self.client_asks(place);
    }

    /// An attempt failed in a way that may be tried again: at the leader, if it is known, else at the next master.
    fn client_failed(&mut self, place: u8, leader: Option<u64>) {
        let masters = self.plan.masters.clocks.len() as u64;
        let client = &mut self.clients[usize::from(place)];
        let Some(busy) = &client.busy else { return };
        let next =
            leader.filter(|leader| *leader > 0).map_or(u64::from(client.target) + 1, |leader| leader - 1);
        let target = (next % masters) as u8;
        self.marks.hit_if(client.target != target, SimMark::RetriedElsewhere);
        client.target = target;
        client.attempt += 1;
        let attempt = client.attempt;
        let luck = draw(self.plan.seed, Purpose::Client, &[u64::from(place), attempt]);
        if self.time >= busy.until {
            self.line(Endpoint::Client(place), "gives up", String::new);
            self.marks.hit(SimMark::GaveUp);
            self.came_of(place, None);
            self.wrong_refused(place, None);
            self.client_finishes(place, None);
            self.client_rests(place, luck);
        } else {
            let wait = within(luck, 5, 120) * MILLISECOND;
            self.queue.push(self.time + wait, Event::ClientRetry { client: place, attempt });
        }
    }

    /// A request with which something is wrong is refused in the right way, and does nothing.
    fn wrong_refused(&mut self, place: u8, reply: Option<&pb::ClientReply>) {
        let client = &self.clients[usize::from(place)];
        let (Some(which), Some(busy), Some(oracles)) = (client.wrong, &client.busy, &self.oracles) else {
            return;
        };
        let id = answers::request_id(&busy.request);
        let done = id.and_then(|id| oracles.reference.requests.get(&(id.session, id.sequence)));
        let code = reply.map(|reply| reference::refusal(reply).map(pb::Refusal::code));
        let right = code.is_none_or(|code| code == Some(wrong::code(which)));
        self.ledger.hold(Rule::WrongRefused, right && done.is_none(), || {
            format!(
                "client {place} asked for what is wrong ({which:?}), and got {code:?}; the log says {done:?}"
            )
        });
    }

    /// What it waited for is over; whoever runs the machines hears of it.
    fn client_finishes(&mut self, place: u8, reply: Option<&pb::ClientReply>) {
        let client = &mut self.clients[usize::from(place)];
        let request = client.busy.as_ref().map(|busy| busy.request.clone());
        client.finish(self.time, reply);
        if let Some(request) = request {
            self.members_changed(&request, reply);
        }
    }

    fn client_rests(&mut self, place: u8, luck: u64) {
        self.queue.push(self.time + within(luck, 1, 10) * MILLISECOND, Event::ClientNext { client: place });
    }

    pub(super) fn answer_arrives(&mut self, origin: Origin, from: u8, reply: Option<Bytes>) {
        if !self.network.open(Endpoint::Master(from), origin.endpoint()) {
            return;
        }
        match origin {
            Origin::Agent { executor, run, key } => self.agent_answered(executor, run, key, reply),
            Origin::Client { client, attempt } => self.client_answered(client, attempt, reply),
        }
    }

    fn client_answered(&mut self, place: u8, attempt: u64, reply: Option<Bytes>) {
        let client = &mut self.clients[usize::from(place)];
        if client.attempt != attempt {
            self.marks.hit_if(reply.is_some(), SimMark::AnswerAfterTimeout);
            return;
        }
        let Some(busy) = &client.busy else { return };
        let Ok(reply) = reply.map(pb::ClientReply::decode).transpose() else {
            return self.ledger.fail(Rule::Contract, "an answer does not decode".to_owned());
        };
        let Some(reply) = reply else { return self.client_failed(place, None) };
        if let Some(oracles) = &mut self.oracles {
            oracles.answers.answered(
                &mut self.ledger,
                &oracles.consensus,
                &oracles.reference,
                &busy.request,
                busy.floor,
                &reply,
            );
        }
        self.mark(41, place, attempt, &[]);
        self.line(Endpoint::Client(place), "answered", || describe::reply(&reply));
        if let Some(Body::Refusal(refusal)) = &reply.body {
            self.refused(refusal.code());
        }
        let wrong = self.clients[usize::from(place)].wrong;
        if let Some(Body::Refusal(refusal)) = &reply.body {
            let code = refusal.code();
            // What the log says is the answer for ever.
            let later = code == RefusalCode::Exhausted && wrong.is_none() && reply.index == 0;
            if code == RefusalCode::Unavailable || later {
                return self.client_failed(place, Some(refusal.leader));
            }
        }
        self.wrong_refused(place, Some(&reply));
        if wrong.is_none()
            && let Some(busy) = &self.clients[usize::from(place)].busy
        {
            answers::taken(&mut self.ledger, &busy.request, &reply);
        }
        self.came_of(place, Some(&reply));
        self.client_finishes(place, Some(&reply));
        let luck = draw(self.plan.seed, Purpose::Client, &[u64::from(place), attempt, 1]);
        self.client_rests(place, luck);
    }
}
