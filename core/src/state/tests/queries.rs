//! Requests that only read.

use super::*;
use pb::client_request::Body as Request;

fn ask(world: &World, body: Request) -> Body {
    let reply = world.state.query(&pb::ClientRequest { body: Some(body) });
    assert_eq!(reply.index, world.index);
    reply.body.unwrap()
}

fn list(world: &World, prefix: &str, after: &[u8], limit: u32) -> (Vec<String>, bool) {
    let (prefix, after) = (Bytes::copy_from_slice(prefix.as_bytes()), Bytes::copy_from_slice(after));
    let request = pb::ListRequest { prefix, after, limit, keys_only: true, stale: false };
    let Body::List(reply) = ask(world, Request::List(request)) else { panic!() };
    let keys = reply.items.iter().map(|item| String::from_utf8_lossy(&item.key).into_owned()).collect();
    (keys, reply.more)
}

#[test]
fn lists_go_page_by_page_in_order() {
    let mut world = World::new();
    for key in ["b/2", "a", "b/1", "b/3", "c"] {
        world.client(put(key, "v"));
    }
    assert_eq!(
        list(&world, "", b"", 0),
        (vec!["a".into(), "b/1".into(), "b/2".into(), "b/3".into(), "c".into()], false)
    );
    assert_eq!(list(&world, "b/", b"", 2), (vec!["b/1".into(), "b/2".into()], true));
    assert_eq!(list(&world, "b/", b"b/2", 2), (vec!["b/3".into()], false));
    assert_eq!(list(&world, "b/", b"c", 2), (vec![], false));
    assert_eq!(list(&world, "b/", b"0", 1), (vec!["b/1".into()], true), "there is nothing in front of it");
    let over = pb::ListRequest { limit: 1_001, ..Default::default() };
    assert!(
        matches!(ask(&world, Request::List(over)), Body::Refusal(it) if it.message.contains("limit is 1001"))
    );
}

#[test]
fn a_page_is_bounded_in_bytes_and_always_gets_on() {
    let mut world = World::new();
    for key in ["a", "b", "c"] {
        world.client(Command::Put {
            key: Bytes::from(key),
            value: Bytes::from(vec![0; crate::limits::VALUE_BYTES]),
        });
    }
    let mut after = Bytes::new();
    let mut seen = Vec::new();
    loop {
        let request = pb::ListRequest { after: after.clone(), ..Default::default() };
        let Body::List(reply) = ask(&world, Request::List(request)) else { panic!() };
        assert!(!reply.items.is_empty());
        after = reply.items.last().unwrap().key.clone();
        seen.extend(reply.items.into_iter().map(|item| item.key));
        if !reply.more {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c"]);
}

#[test]
fn records_are_read_under_their_prefix_and_nowhere_else() {
    let mut world = World::new();
    world.client(put("a", "1"));
    world.submit("job", |it| it.tasks = 2);
    let (keys, _) = list(&world, "/_frame/tasks/", b"", 0);
    assert_eq!(keys, ["/_frame/tasks/job/0000000000", "/_frame/tasks/job/0000000001"]);
    let (keys, _) = list(&world, "/_frame/tasks/", b"/_frame/tasks/job/0000000000", 0);
    assert_eq!(keys, ["/_frame/tasks/job/0000000001"]);
    assert_eq!(list(&world, "", b"", 0).0, ["a"]);
    assert_eq!(list(&world, "/_frame/", b"z", 0).0, Vec::<String>::new());
    let get = pb::GetRequest { key: Bytes::from("/_frame/jobs/job"), stale: false };
    let Body::Get(pb::GetReply { item: Some(item), .. }) = ask(&world, Request::Get(get)) else { panic!() };
    assert_eq!(prost::Message::decode(item.value), Ok(world.job("job")));
}

#[test]
fn executors_are_listed_with_what_they_hold() {
    let mut world = World::new();
    for _ in 0..3 {
        world.executor(4);
    }
    world.submit("job", |it| it.slots_per_task = 2);
    let request = pb::ListExecutorsRequest { after: 1, limit: 1 };
    let Body::ListExecutors(reply) = ask(&world, Request::ListExecutors(request)) else { panic!() };
    assert_eq!((reply.executors.len(), reply.more), (1, true));
    assert_eq!(reply.executors[0].executor.as_ref().unwrap().id, 2);
    let get = |executor| ask(&world, Request::GetExecutor(pb::GetExecutorRequest { executor }));
    let Body::GetExecutor(status) = get(1) else { panic!() };
    assert_eq!((status.slots_used, status.attempts.len()), (2, 1));
    assert!(
        matches!(get(9), Body::Refusal(it) if it.code() == RefusalCode::NotFound && it.message.contains("executor 9"))
    );
}

#[test]
fn jobs_are_listed_by_state_and_type_page_by_page() {
    let mut world = World::new();
    for job in ["a", "b", "c", "d"] {
        world.submit(job, |it| {
            if job == "b" {
                it.set_type(JobType::Service);
            }
        });
    }
    world.cancel("c", 1);
    let names = |request| {
        let Body::ListJobs(reply) = ask(&world, Request::ListJobs(request)) else { panic!() };
        let names: Vec<_> = reply.jobs.into_iter().map(|it| it.job.unwrap().id).collect();
        (names.concat(), reply.more, reply.next)
    };
    let request = pb::ListJobsRequest { limit: 2, ..Default::default() };
    assert_eq!(names(request), ("ab".into(), true, "b".into()));
    let request = pb::ListJobsRequest { after: "b".into(), ..Default::default() };
    assert_eq!(names(request), ("cd".into(), false, String::new()));
    let request = pb::ListJobsRequest { state: JobState::Canceled as i32, ..Default::default() };
    assert_eq!(names(request).0, "c");
    let request = pb::ListJobsRequest {
        r#type: JobType::Batch as i32,
        limit: 1,
        after: "a".into(),
        ..Default::default()
    };
    assert_eq!(names(request), ("c".into(), true, "c".into()));
}

#[test]
fn a_job_is_read_with_its_tasks_page_by_page() {
    let mut world = World::new();
    world.submit("job", |it| it.tasks = 5);
    let get = |from_task, limit| {
        let request = pb::GetJobRequest { id: "job".into(), tasks: true, from_task, limit, stale: false };
        let Body::Job(status) = ask(&world, Request::GetJob(request)) else { panic!() };
        (status.tasks.iter().map(|task| task.number).collect::<Vec<_>>(), status.more_tasks)
    };
    assert_eq!(get(0, 0), (vec![0, 1, 2, 3, 4], false));
    assert_eq!(get(1, 2), (vec![1, 2], true));
    assert_eq!(get(3, 2), (vec![3, 4], false));
    let none = ask(&world, Request::GetJob(pb::GetJobRequest { id: "none".into(), ..Default::default() }));
    assert!(
        matches!(none, Body::Refusal(it) if it.code() == RefusalCode::NotFound && it.message.contains("job none"))
    );
    let wrong = ask(&world, Request::Status(pb::StatusRequest {}));
    assert!(matches!(wrong, Body::Refusal(it) if it.code() == RefusalCode::Invalid));
}
