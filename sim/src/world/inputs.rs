//! Marks about what a plan and its clients put in: how different runs are is itself tested.

use super::World;
use crate::{
    client::Client,
    marks::{SimCounts, SimMark},
    plan::{FlowPlan, Operation, Plan},
};
use bytes::Bytes;
use quorate_proto::v1::{self as pb, RefusalCode, client_reply::Body, client_request::Body as Ask};

/// Marks of a plan's knobs, and of the jobs in it.
pub(super) fn planned(plan: &Plan, marks: &mut SimCounts) {
    let (masters, timing) = (plan.masters.clocks.len(), plan.masters.timing_ms);
    let executors = plan.executors.clocks.len();
    for (reached, mark) in [
        (masters == 1, SimMark::OneMaster),
        (masters == 3, SimMark::ThreeMasters),
        (masters == 5, SimMark::FiveMasters),
        (masters == 7, SimMark::SevenMasters),
        (executors == 1, SimMark::OneExecutor),
        (executors >= 10, SimMark::ManyExecutors),
        (plan.clients.len() >= 8, SimMark::ManyClients),
        (timing[0] <= 10, SimMark::FastHeartbeat),
        (timing[0] >= 250, SimMark::SlowHeartbeat),
        (plan.masters.snapshot_entries == 1, SimMark::SnapshotEach),
        (plan.masters.snapshot_entries >= 100_000, SimMark::SnapshotNever),
        (plan.masters.trailing_entries == 0, SimMark::TrailingNone),
        (plan.masters.trailing_entries == quorate_core::limits::TRAILING_ENTRIES, SimMark::TrailingMost),
        (plan.executors.lease_ms[0] <= 400, SimMark::LeaseShort),
        (plan.executors.lease_ms[0] >= 8_000, SimMark::LeaseLong),
        (plan.disk.sync_max_us <= 10, SimMark::DiskFast),
        (plan.disk.sync_max_us >= 200_000, SimMark::DiskSlow),
        (plan.network.latency_max_us >= 60_000, SimMark::NetworkSlow),
    ] {
        marks.hit_if(reached, mark);
    }
    flows(&plan.masters.flow, marks);
    let batches = (0..masters).filter(|&master| plan.masters.batch_most_us(master) > 0).count();
    marks.hit_if(batches == masters, SimMark::BatchesAll);
    marks.hit_if(batches > 0 && batches < masters, SimMark::BatchesSome);
    for planned in plan.clients.iter().flat_map(|client| &client.operations) {
        let (Operation::Submit { job } | Operation::SubmitAhead { job, .. }) = &planned.operation else {
            continue;
        };
        marks.hit(if job.service { SimMark::JobService } else { SimMark::JobBatch });
        marks.hit_if(job.tasks > 10, SimMark::JobWide);
        marks.hit_if(job.slots > 1, SimMark::JobManySlots);
    }
}

/// Marks of how much masters have on their way at a time.
fn flows(flows: &[FlowPlan], marks: &mut SimCounts) {
    for flow in flows {
        let one_message = flow.inflight_messages == 1 || flow.inflight_bytes == 1;
        let chunk_bytes = quorate_core::limits::SNAPSHOT_CHUNK_BYTES_MIN as u64;
        marks.hit_if(flow.uncommitted_bytes == 1, SimMark::FlowUncommitted);
        marks.hit_if(flow.append_entries == 1 || flow.append_bytes == 1, SimMark::FlowAppendOne);
        marks.hit_if(one_message, SimMark::FlowInflightOne);
        marks.hit_if(flow.snapshot_chunk_bytes == chunk_bytes, SimMark::FlowChunkSmall);
    }
    marks.hit_if(flows.windows(2).any(|pair| pair[0] != pair[1]), SimMark::FlowDiffers);
}

/// Done, refused, unknown; `None`: nobody asks whether that happens.
type Outcomes = (SimMark, Option<SimMark>, Option<SimMark>);

const fn outcomes(ask: &Ask) -> Option<Outcomes> {
    use SimMark as M;
    Some(match ask {
        Ask::Put(_) => (M::PutDone, Some(M::PutRefused), Some(M::PutUnknown)),
        Ask::Get(_) => (M::GetDone, Some(M::GetRefused), Some(M::GetUnknown)),
        Ask::Delete(_) => (M::DeleteDone, Some(M::DeleteRefused), Some(M::DeleteUnknown)),
        Ask::CompareAndSet(_) => (M::SwapDone, Some(M::SwapRefused), Some(M::SwapUnknown)),
        Ask::List(_) => (M::ListDone, None, Some(M::ListUnknown)),
        Ask::SubmitJob(_) => (M::SubmitDone, Some(M::SubmitRefused), Some(M::SubmitUnknown)),
        Ask::CancelJob(_) => (M::CancelDone, Some(M::CancelRefused), Some(M::CancelUnknown)),
        Ask::GetJob(_) => (M::GetJobDone, Some(M::GetJobRefused), None),
        Ask::ListJobs(_) => (M::ListJobsDone, None, None),
        Ask::DeleteJob(_) => (M::DeleteJobDone, Some(M::DeleteJobRefused), None),
        Ask::RemoveExecutor(_) => (M::RemoveExecutorDone, Some(M::RemoveExecutorRefused), None),
        Ask::KeepSession(_) => (M::KeepSessionDone, Some(M::KeepSessionRefused), None),
        Ask::RaiseAlarm(_) => (M::RaiseAlarmDone, None, None),
        Ask::DisarmAlarm(_) => (M::DisarmAlarmDone, None, None),
        Ask::CloseSession(_) => (M::CloseSessionDone, None, None),
        _ => return None,
    })
}

const fn refusal(code: RefusalCode) -> Option<SimMark> {
    Some(match code {
        RefusalCode::Invalid => SimMark::RefusedInvalid,
        RefusalCode::NotFound => SimMark::RefusedNotFound,
        RefusalCode::AlreadyExists => SimMark::RefusedAlreadyExists,
        RefusalCode::Precondition => SimMark::RefusedPrecondition,
        RefusalCode::Unavailable => SimMark::RefusedUnavailable,
        RefusalCode::SessionExpired => SimMark::RefusedSessionExpired,
        RefusalCode::Exhausted => SimMark::RefusedExhausted,
        // Clients hold no lease.
        RefusalCode::Stale | RefusalCode::Unspecified => return None,
    })
}

/// The key that a request is about.
fn key(ask: &Ask) -> Option<&Bytes> {
    match ask {
        Ask::Put(put) => Some(&put.key),
        Ask::Get(get) => Some(&get.key),
        Ask::Delete(delete) => Some(&delete.key),
        Ask::CompareAndSet(set) => Some(&set.key),
        _ => None,
    }
}

impl World {
    /// A client asks for something for the first time.
    pub(super) fn asked_first(&mut self, place: u8) {
        let asks =
            |client: &Client| client.busy.as_ref().and_then(|busy| key(busy.request.body.as_ref()?).cloned());
        let Some(own) = asks(&self.clients[usize::from(place)]) else { return };
        let same =
            self.clients.iter().filter(|client| asks(client).is_some_and(|other| other == own)).count();
        self.marks.hit_if(same > 1, SimMark::SameKey);
    }

    /// A client was refused something.
    pub(super) fn refused(&mut self, code: RefusalCode) {
        if let Some(mark) = refusal(code) {
            self.marks.hit(mark);
        }
    }

    /// What came of a client's operation; `None`: it gave up.
    pub(super) fn came_of(&mut self, place: u8, reply: Option<&pb::ClientReply>) {
        let Some(busy) = &self.clients[usize::from(place)].busy else { return };
        let Some((done, refused, unknown)) = busy.request.body.as_ref().and_then(outcomes) else { return };
        let mark = match reply.and_then(|reply| reply.body.as_ref()) {
            None => unknown,
            Some(Body::Refusal(refusal)) => {
                self.marks.hit_if(refusal.code() == RefusalCode::SessionExpired, SimMark::SessionExpired);
                let logged = reply.is_some_and(|reply| reply.index > 0);
                self.marks.hit_if(logged && refusal.code() == RefusalCode::Exhausted, SimMark::RefusedRoom);
                refused
            }
            Some(Body::CompareAndSet(set)) if !set.succeeded => Some(SimMark::SwapMissed),
            Some(_) => {
                self.marks.hit_if(busy.attempts > 1, SimMark::RetriedDone);
                Some(done)
            }
        };
        if let Some(mark) = mark {
            self.marks.hit(mark);
        }
    }
}
